//! Reads in SQL.

use std::ops::Bound;

use bytes::Bytes;
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row, params_from_iter};

use super::apply::within;
use super::file::Database;
use super::{signed, unsigned};
use crate::log::{Entry, RowId, Span};
use crate::store::View;
use crate::{Fault, Range};

/// The database as one read sees it.
pub(super) struct Snapshot<'a> {
    pub(super) connection: &'a Connection,
    pub(super) database: &'a Database,
}

impl Snapshot<'_> {
    /// Looks at one state of the database, however many statements that takes.
    pub(super) fn whole<T>(&self, look: impl FnOnce(&dyn View) -> Result<T, Fault>) -> Result<T, Fault> {
        // Prepared, unlike those of a transaction of rusqlite's. A look that panics leaves its transaction open, and its reader
        // lets the connection go.
        self.try_to(|connection| connection.prepare_cached("BEGIN")?.execute(()))?;
        let outcome = look(self);
        self.try_to(|connection| connection.prepare_cached("COMMIT")?.execute(()))?;
        outcome
    }

    fn try_to<'a, T>(&'a self, read: impl FnOnce(&'a Connection) -> rusqlite::Result<T>) -> Result<T, Fault> {
        read(self.connection).map_err(|error| self.database.fault("read", &error))
    }

    /// Names in order, by a seek for each: an owner's many keys are stepped over.
    fn names(
        &self,
        first: &str,
        next: &str,
        shape: u32,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<String>, Fault> {
        self.try_to(|connection| {
            let mut found: Vec<String> = Vec::new();
            while found.len() < limit {
                let (sql, last) = match found.last().map(String::as_str).or(after) {
                    Some(last) => (next, last),
                    None => (first, ""),
                };
                let mut statement = connection.prepare_cached(sql)?;
                let Some(owner) = statement.query_row((shape, last), |row| row.get(0)).optional()? else {
                    break;
                };
                found.push(owner);
            }
            Ok(found)
        })
    }
}

fn bytes(row: &Row<'_>, column: usize) -> rusqlite::Result<Bytes> {
    Ok(Bytes::copy_from_slice(row.get_ref(column)?.as_blob()?))
}

fn amount(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

impl View for Snapshot<'_> {
    fn get(&self, shape: u32, owner: &str, key: &[u8]) -> Result<Option<Bytes>, Fault> {
        let sql = "SELECT coalesce(value, (SELECT content FROM large WHERE id = cells.large))
                   FROM cells WHERE shape = ?1 AND owner = ?2 AND key = ?3";
        self.try_to(|connection| {
            connection.prepare_cached(sql)?.query_row((shape, owner, key), |row| bytes(row, 0)).optional()
        })
    }

    fn range(
        &self,
        shape: u32,
        owner: &str,
        range: &Range,
        limit: usize,
        reverse: bool,
    ) -> Result<Vec<(Bytes, Bytes)>, Fault> {
        let (keys, mut values) = within(shape, owner, range);
        values.push(Value::from(amount(limit)));
        let sql = format!(
            "SELECT key, coalesce(value, (SELECT content FROM large WHERE id = cells.large))
             FROM cells WHERE {keys} ORDER BY key {} LIMIT ?{}",
            if reverse { "DESC" } else { "ASC" },
            values.len()
        );
        self.try_to(|connection| {
            let mut statement = connection.prepare_cached(&sql)?;
            let found =
                statement.query_map(params_from_iter(values), |row| Ok((bytes(row, 0)?, bytes(row, 1)?)))?;
            found.collect()
        })
    }

    fn owners(&self, shape: u32, after: Option<&str>, limit: usize) -> Result<Vec<String>, Fault> {
        self.names(
            "SELECT owner FROM cells WHERE shape = ?1 AND owner >= ?2 ORDER BY owner LIMIT 1",
            "SELECT owner FROM cells WHERE shape = ?1 AND owner > ?2 ORDER BY owner LIMIT 1",
            shape,
            after,
            limit,
        )
    }

    fn part(
        &self,
        shape: u32,
        owner: &str,
        key: &[u8],
        offset: u64,
        length: usize,
    ) -> Result<Option<Bytes>, Fault> {
        let sql = "SELECT coalesce(substr(value, ?4, ?5), (SELECT substr(content, ?4, ?5) FROM large WHERE id = cells.large),
                          CASE WHEN value = x'' THEN value END)  -- of nothing, substr is NULL
                   FROM cells WHERE shape = ?1 AND owner = ?2 AND key = ?3";
        let start = signed(offset).saturating_add(1);
        self.try_to(|connection| {
            let mut statement = connection.prepare_cached(sql)?;
            statement.query_row((shape, owner, key, start, amount(length)), |row| bytes(row, 0)).optional()
        })
    }

    fn size(&self, shape: u32, owner: &str, key: &[u8]) -> Result<Option<u64>, Fault> {
        let sql = "SELECT coalesce(length(value), (SELECT length(content) FROM large WHERE id = cells.large))
                   FROM cells WHERE shape = ?1 AND owner = ?2 AND key = ?3";
        self.try_to(|connection| {
            let mut statement = connection.prepare_cached(sql)?;
            statement.query_row((shape, owner, key), |row| unsigned(row.get(0)?)).optional()
        })
    }

    fn sizes(
        &self,
        shape: u32,
        owner: &str,
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Bytes, u64)>, Fault> {
        let range = after.map_or_else(Range::all, |after| Range::all().after(after));
        let (keys, mut values) = within(shape, owner, &range);
        values.push(Value::from(amount(limit)));
        let sql = format!(
            "SELECT key, coalesce(length(value), (SELECT length(content) FROM large WHERE id = cells.large))
             FROM cells WHERE {keys} ORDER BY key LIMIT ?{}",
            values.len()
        );
        self.try_to(|connection| {
            let mut statement = connection.prepare_cached(&sql)?;
            let found = statement
                .query_map(params_from_iter(values), |row| Ok((bytes(row, 0)?, unsigned(row.get(1)?)?)))?;
            found.collect()
        })
    }

    fn entries(
        &self,
        shape: u32,
        owner: &str,
        span: Span,
        limit: usize,
        reverse: bool,
    ) -> Result<Vec<Entry>, Fault> {
        let from = match span.0 {
            Bound::Unbounded => 0,
            Bound::Included(id) => signed(id.0),
            Bound::Excluded(id) => signed(id.0).saturating_add(1),
        };
        let to = match span.1 {
            Bound::Unbounded => i64::MAX,
            Bound::Included(id) => signed(id.0),
            Bound::Excluded(id) => signed(id.0) - 1,
        };
        let sql = if reverse {
            "SELECT rows.id, meta, bodies.body, redacted FROM rows LEFT JOIN bodies ON bodies.id = rows.body
             WHERE log = ?1 AND owner = ?2 AND rows.id BETWEEN ?3 AND ?4 ORDER BY rows.id DESC LIMIT ?5"
        } else {
            "SELECT rows.id, meta, bodies.body, redacted FROM rows LEFT JOIN bodies ON bodies.id = rows.body
             WHERE log = ?1 AND owner = ?2 AND rows.id BETWEEN ?3 AND ?4 ORDER BY rows.id ASC LIMIT ?5"
        };
        self.try_to(|connection| {
            let mut statement = connection.prepare_cached(sql)?;
            let found = statement.query_map((shape, owner, from, to, amount(limit)), |row| {
                let id = RowId(unsigned(row.get(0)?)?);
                Ok(Entry { id, meta: bytes(row, 1)?, body: bytes(row, 2)?, redacted: row.get(3)? })
            })?;
            found.collect()
        })
    }

    fn count(&self, shape: u32, owner: &str) -> Result<u64, Fault> {
        self.try_to(|connection| {
            let mut statement =
                connection.prepare_cached("SELECT count(*) FROM rows WHERE log = ?1 AND owner = ?2")?;
            statement.query_row((shape, owner), |row| unsigned(row.get(0)?))
        })
    }

    fn row_owners(&self, shape: u32, after: Option<&str>, limit: usize) -> Result<Vec<String>, Fault> {
        self.names(
            "SELECT owner FROM rows WHERE log = ?1 AND owner >= ?2 ORDER BY owner LIMIT 1",
            "SELECT owner FROM rows WHERE log = ?1 AND owner > ?2 ORDER BY owner LIMIT 1",
            shape,
            after,
            limit,
        )
    }
}
