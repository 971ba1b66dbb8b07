//! The thread that writes: what has been queued meanwhile becomes one transaction.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::file::{Database, PATIENCE};
use super::queue::{Job, Queue};
use super::{Shapes, apply, due, kind_code, signed};
use crate::Fault;
use crate::batch::Op;

pub(super) fn start(
    database: Arc<Database>,
    connection: Connection,
    queue: Arc<Queue>,
    shapes: Arc<Shapes>,
) -> Result<JoinHandle<()>, Fault> {
    let path = database.path.clone();
    let writer = Writer { database, connection: Some(connection), queue, shapes };
    let thread = std::thread::Builder::new().name("store-writer".to_owned()).spawn(move || writer.run());
    thread.map_err(|error| Fault::io(&path, "start a thread for", &error))
}

struct Writer {
    database: Arc<Database>,
    /// `None` after a failed transaction: the next one begins with a fresh connection, which finds what is on the disk.
    connection: Option<Connection>,
    queue: Arc<Queue>,
    shapes: Arc<Shapes>,
}

/// However the thread ends, nobody waits for it for ever.
impl Drop for Writer {
    fn drop(&mut self) {
        self.queue.abandon();
    }
}

impl Writer {
    fn run(mut self) {
        let mut failing = false;
        let mut last = (Instant::now(), 0);
        while let Some(jobs) = self.queue.take(last) {
            last = (Instant::now(), jobs.len());
            match self.transact(&jobs) {
                Ok(outcomes) => {
                    self.queue.metrics.transactions.inc();
                    self.queue.metrics.group.observe(jobs.len() as f64);
                    if std::mem::take(&mut failing) {
                        tracing::info!(path = %self.database.path.display(), "the store can write again");
                    }
                    self.queue.settle(jobs, outcomes);
                }
                Err(fault) => {
                    if !std::mem::replace(&mut failing, true) {
                        tracing::error!(%fault, "the store cannot write");
                    }
                    self.connection = None;
                    self.queue.fail(jobs, &fault);
                }
            }
        }
        if let Some(connection) = self.connection.take() {
            truncate_wal(&connection);
        }
    }

    /// One transaction of many batches. A batch whose check fails writes nothing and disturbs no other, since a
    /// batch is judged before its first write; any error while writing fails the whole transaction.
    fn transact(&mut self, jobs: &[Job]) -> Result<Vec<Result<(), Fault>>, Fault> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => {
                let connection = self.database.open_writer()?;
                // On a full disk the write-ahead log may be what fills it, and even a deletion needs room in it.
                truncate_wal(&connection);
                connection
            }
        };
        let fault = |error: rusqlite::Error| self.database.fault("write", &error);
        let transaction =
            Transaction::new_unchecked(&connection, TransactionBehavior::Immediate).map_err(fault)?;
        let noted = note(&transaction, &self.shapes).map_err(fault)?;
        let mut outcomes = Vec::with_capacity(jobs.len());
        let mut dropped = false;
        for job in jobs {
            let agreed = apply::judge(&transaction, &job.ops).map_err(fault)?;
            if agreed {
                apply::write(&transaction, &job.ops).map_err(fault)?;
                dropped |= job.ops.iter().any(|op| matches!(op, Op::DropOwner { .. }));
            }
            outcomes.push(if agreed { Ok(()) } else { Err(Fault::Conflict) });
        }
        let begun = Instant::now();
        transaction.commit().map_err(fault)?;
        self.queue.metrics.commit.observe(begun.elapsed().as_secs_f64());
        remember(&self.shapes, &noted);
        if dropped {
            truncate_wal(&connection);
        }
        self.connection = Some(connection);
        Ok(outcomes)
    }
}

/// Moves everything into the database proper and empties the write-ahead log, where deleted content would live on.
/// A reader at work may hinder it; then a later checkpoint does it.
fn truncate_wal(connection: &Connection) {
    let emptied = connection
        .busy_timeout(Duration::from_millis(250))
        .and_then(|()| connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())));
    let restored = connection.busy_timeout(PATIENCE);
    if let Err(error) = emptied.and(restored) {
        tracing::debug!(%error, "the write-ahead log could not be emptied now");
    }
}

/// Writes down shapes that the database does not know and numbers that the logs are about to give.
fn note(connection: &Connection, shapes: &Shapes) -> rusqlite::Result<Vec<(u32, u64)>> {
    let mut noted = Vec::new();
    for shape in shapes.0.lock().iter() {
        let wanted = due(shape);
        if shape.noted && wanted.is_none() {
            continue;
        }
        let given = wanted.unwrap_or(0);
        let sql = "INSERT INTO shapes (id, kind, name, given) VALUES (?1, ?2, ?3, ?4)
                   ON CONFLICT (id) DO UPDATE SET given = max(given, excluded.given)";
        let mut statement = connection.prepare_cached(sql)?;
        statement.execute((shape.number, kind_code(shape.kind), &shape.name, signed(given)))?;
        noted.push((shape.number, given));
    }
    Ok(noted)
}

/// What was noted is durable.
fn remember(shapes: &Shapes, noted: &[(u32, u64)]) {
    if noted.is_empty() {
        return;
    }
    for shape in shapes.0.lock().iter_mut() {
        if let Some((_, given)) = noted.iter().find(|(number, _)| *number == shape.number) {
            shape.noted = true;
            shape.numbers.noted(*given);
        }
    }
}
