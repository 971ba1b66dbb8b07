//! One batch in SQL.

use std::ops::Bound;

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Result, params_from_iter};

use super::{INLINE, signed};
use crate::Range;
use crate::batch::Op;

/// Whether every check of the batch holds.
pub(super) fn judge(connection: &Connection, ops: &[Op]) -> Result<bool> {
    for op in ops {
        if let Op::Check { shape, owner, key, expected } = op {
            let sql = "SELECT coalesce(value, (SELECT content FROM large WHERE id = cells.large))
                       FROM cells WHERE shape = ?1 AND owner = ?2 AND key = ?3";
            let mut statement = connection.prepare_cached(sql)?;
            let found = statement.query_row((shape, &**owner, &key[..]), |row| {
                Ok(expected.as_deref() == Some(row.get_ref(0)?.as_blob()?))
            });
            if !found.optional()?.unwrap_or_else(|| expected.is_none()) {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

/// Does the writes of the batch in their order.
pub(super) fn write(connection: &Connection, ops: &[Op]) -> Result<()> {
    for op in ops {
        match op {
            Op::Check { .. } => {}
            Op::Put { shape, owner, key, value } => put(connection, *shape, owner, key, value)?,
            Op::Delete { shape, owner, key } => {
                let sql = "DELETE FROM cells WHERE shape = ?1 AND owner = ?2 AND key = ?3";
                connection.prepare_cached(sql)?.execute((shape, &**owner, &key[..]))?;
            }
            Op::DeleteRange { shape, owner, range } => {
                let (keys, values) = within(*shape, owner, range);
                connection
                    .prepare_cached(&format!("DELETE FROM cells WHERE {keys}"))?
                    .execute(params_from_iter(values))?;
            }
            Op::Append { shape, body, first, rows } => {
                let sql = "INSERT INTO bodies (rows, body) VALUES (?1, ?2)";
                connection.prepare_cached(sql)?.execute((rows.len() as i64, &body[..]))?;
                let stored = connection.last_insert_rowid();
                let sql =
                    "INSERT INTO rows (log, owner, id, body, redacted, meta) VALUES (?1, ?2, ?3, ?4, 0, ?5)";
                let mut statement = connection.prepare_cached(sql)?;
                for (id, row) in (first.0..).zip(rows) {
                    statement.execute((shape, &*row.owner, signed(id), stored, &row.meta[..]))?;
                }
            }
            Op::Remove { shape, owner, id } => {
                let sql = "DELETE FROM rows WHERE log = ?1 AND owner = ?2 AND id = ?3";
                connection.prepare_cached(sql)?.execute((shape, &**owner, signed(id.0)))?;
            }
            Op::Redact { shape, owner, id, body } => {
                let sql = "SELECT 1 FROM rows WHERE log = ?1 AND owner = ?2 AND id = ?3";
                if connection.prepare_cached(sql)?.exists((shape, &**owner, signed(id.0)))? {
                    connection
                        .prepare_cached("INSERT INTO bodies (rows, body) VALUES (1, ?1)")?
                        .execute([&body[..]])?;
                    let stored = connection.last_insert_rowid();
                    let sql =
                        "UPDATE rows SET body = ?4, redacted = 1 WHERE log = ?1 AND owner = ?2 AND id = ?3";
                    connection.prepare_cached(sql)?.execute((shape, &**owner, signed(id.0), stored))?;
                }
            }
            Op::Trim { shape, owner: Some(owner), before } => {
                let sql = "DELETE FROM rows WHERE log = ?1 AND owner = ?2 AND id < ?3";
                connection.prepare_cached(sql)?.execute((shape, &**owner, signed(before.0)))?;
            }
            Op::Trim { shape, owner: None, before } => {
                let sql = "DELETE FROM rows WHERE log = ?1 AND id < ?2";
                connection.prepare_cached(sql)?.execute((shape, signed(before.0)))?;
            }
            Op::DropOwner { owner } => {
                for sql in [
                    "DELETE FROM cells WHERE shape IN (SELECT id FROM shapes) AND owner = ?1",
                    "DELETE FROM rows WHERE log IN (SELECT id FROM shapes) AND owner = ?1",
                ] {
                    connection.prepare_cached(sql)?.execute([&**owner])?;
                }
            }
        }
    }
    Ok(())
}

fn put(connection: &Connection, shape: u32, owner: &str, key: &[u8], value: &[u8]) -> Result<()> {
    let (inline, large) = if value.len() <= INLINE {
        (Some(value), None)
    } else {
        connection.prepare_cached("INSERT INTO large (content) VALUES (?1)")?.execute([value])?;
        (None, Some(connection.last_insert_rowid()))
    };
    let sql = "INSERT INTO cells (shape, owner, key, value, large) VALUES (?1, ?2, ?3, ?4, ?5)
               ON CONFLICT DO UPDATE SET value = excluded.value, large = excluded.large";
    connection.prepare_cached(sql)?.execute((shape, owner, key, inline, large))?;
    Ok(())
}

/// The cells of a range as an SQL condition, and the condition's values.
pub(super) fn within(shape: u32, owner: &str, range: &Range) -> (String, Vec<Value>) {
    let mut sql = String::from("shape = ?1 AND owner = ?2");
    let mut values = vec![Value::from(shape), Value::from(owner.to_owned())];
    for (bound, included, excluded) in [(&range.from, ">=", ">"), (&range.to, "<=", "<")] {
        let (operator, key) = match bound {
            Bound::Unbounded => continue,
            Bound::Included(key) => (included, key),
            Bound::Excluded(key) => (excluded, key),
        };
        values.push(Value::from(key.to_vec()));
        sql.push_str(&format!(" AND key {operator} ?{}", values.len()));
    }
    (sql, values)
}
