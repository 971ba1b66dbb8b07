//! The backend on disk: one SQLite database, one thread that writes, a few that read.

mod apply;
mod file;
mod queue;
mod readers;
mod view;
mod writer;

use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::batch::Op;
use crate::log::{Numbers, RESERVE};
use crate::metrics::Metrics;
use crate::store::{About, Kind, View};
use crate::{Fault, Options, Ticket};
use file::{Database, Lock};
use queue::Queue;
use readers::Readers;
use view::Snapshot;

/// A value that is larger lies beside its key, so that ranges over keys need not step over it.
const INLINE: usize = 64 * 1024;

/// An open database.
#[derive(Debug)]
pub(crate) struct Sqlite {
    shapes: Arc<Shapes>,
    queue: Arc<Queue>,
    readers: Arc<Readers>,
    threads: Mutex<Option<Threads>>,
    closed: Mutex<Ticket>,
    metrics: Metrics,
}

/// What ends with the store.
#[derive(Debug)]
struct Threads {
    readers: Vec<std::thread::JoinHandle<()>>,
    writer: std::thread::JoinHandle<()>,
    lock: Lock,
}

/// The shapes that the database has or is about to have.
#[derive(Debug, Default)]
struct Shapes(Mutex<Vec<Shape>>);

#[derive(Debug)]
struct Shape {
    number: u32,
    kind: Kind,
    name: String,
    numbers: Arc<Numbers>,
    /// Whether the database knows it. Until then each transaction begins with noting it.
    noted: bool,
}

/// How a kind is written in the database.
const fn kind_code(kind: Kind) -> i64 {
    match kind {
        Kind::Table => 1,
        Kind::Log => 2,
        Kind::Blobs => 3,
    }
}

impl Sqlite {
    pub(crate) fn open(folder: &Path, options: &Options, metrics: Metrics) -> Result<Self, Fault> {
        file::make_folder(folder)?;
        let lock = Lock::take(folder)?;
        let database = Arc::new(Database::new(folder, options));
        let connection = database.create()?;
        let shapes = Arc::new(Shapes(Mutex::new(file::load_shapes(&database, &connection)?)));
        let queue = Arc::new(Queue::new(options, metrics.clone()));
        let readers = Arc::new(Readers::default());
        let writer =
            writer::start(Arc::clone(&database), connection, Arc::clone(&queue), Arc::clone(&shapes))?;
        let mut threads = Threads { readers: Vec::new(), writer, lock };
        let closed = Mutex::new(Ticket::done());
        for number in 0..options.readers.max(1) {
            match readers::start(number, Arc::clone(&database), Arc::clone(&readers)) {
                Ok(thread) => threads.readers.push(thread),
                Err(fault) => {
                    stop(&queue, &readers, threads);
                    return Err(fault);
                }
            }
        }
        Ok(Self { shapes, queue, readers, threads: Mutex::new(Some(threads)), closed, metrics })
    }

    pub(crate) fn declare(&self, kind: Kind, name: &str) -> (u32, Arc<Numbers>) {
        let (number, numbers, fresh) = {
            let mut shapes = self.shapes.0.lock();
            match shapes.iter().find(|shape| shape.kind == kind && shape.name == name) {
                Some(shape) => (shape.number, Arc::clone(&shape.numbers), !shape.noted),
                None => {
                    let number = shapes.iter().map(|shape| shape.number).max().unwrap_or(0) + 1;
                    let numbers = Arc::new(Numbers::new(0, 0));
                    let name = name.to_owned();
                    shapes.push(Shape { number, kind, name, numbers: Arc::clone(&numbers), noted: false });
                    (number, numbers, true)
                }
            }
        };
        // A number may be told to the world before its row is durable, so the reserve is noted before the first one.
        if fresh
            && kind == Kind::Log
            && let Err(fault) = self.queue.push(Vec::new(), 0).wait()
        {
            tracing::warn!(log = name, %fault, "the numbers of a log could not be reserved; they are with its first row");
        }
        (number, numbers)
    }

    pub(crate) fn commit(&self, ops: Vec<Op>, bytes: usize) -> Ticket {
        self.queue.push(ops, bytes)
    }

    pub(crate) async fn read<T: Send + 'static>(
        &self,
        about: About<'_>,
        look: impl FnOnce(&dyn View) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Fault> {
        self.queue.wait_for(self.queue.last(about)).await;
        self.metrics.reads.inc();
        let (answer, outcome) = oneshot::channel();
        self.readers.push(Box::new(move |snapshot: Result<Snapshot<'_>, Fault>| {
            // Nobody waits any more for the answer to a read that was given up.
            if !answer.is_closed() {
                let _ = answer.send(snapshot.and_then(|snapshot| snapshot.whole(look)));
            }
        }));
        outcome.await.unwrap_or(Err(Fault::Closed))
    }

    pub(crate) async fn settled(&self) {
        self.queue.wait_for(self.queue.last(About::Everyone)).await;
    }

    pub(crate) async fn ready(&self) {
        self.queue.ready().await;
    }

    pub(crate) fn health(&self) -> Result<(), Fault> {
        self.queue.health()
    }

    /// Ends the threads behind what is queued. The ticket resolves once the files are closed.
    pub(crate) fn close(&self) -> Ticket {
        let mut closed = self.closed.lock();
        if let Some(threads) = self.threads.lock().take() {
            let (settle, ticket) = Ticket::pair();
            *closed = ticket;
            let (queue, readers) = (Arc::clone(&self.queue), Arc::clone(&self.readers));
            let ended = std::thread::Builder::new().name("store-close".to_owned()).spawn(move || {
                stop(&queue, &readers, threads);
                settle.settle(queue.outcome());
            });
            if let Err(error) = ended {
                tracing::warn!(%error, "the store could not be closed in order; what was reported durable is");
            }
        }
        closed.clone()
    }
}

impl Drop for Sqlite {
    fn drop(&mut self) {
        if let Some(threads) = self.threads.lock().take() {
            stop(&self.queue, &self.readers, threads);
        }
    }
}

/// Blocks until all threads have ended: the readers first, so that the writer's is the last connection and tidies up.
fn stop(queue: &Queue, readers: &Readers, threads: Threads) {
    readers.close();
    threads.readers.into_iter().for_each(|thread| drop(thread.join()));
    queue.close();
    drop(threads.writer.join());
    drop(threads.lock);
}

/// Numbers that the database cannot mean: it holds signed ones.
fn unsigned(number: i64) -> rusqlite::Result<u64> {
    u64::try_from(number).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(0, number))
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// The next stretch of numbers that a log should note, if it is time.
fn due(shape: &Shape) -> Option<u64> {
    (shape.kind == Kind::Log).then(|| shape.numbers.wanted()).flatten()
}

/// The numbers of a log that a database already has: they go on behind everything that was ever noted.
fn resumed(given: u64) -> Numbers {
    Numbers::new(given, given + RESERVE)
}
