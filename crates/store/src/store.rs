//! The store itself: which shapes there are, where they are kept.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use prometheus_client::registry::Registry;

use crate::batch::{Batch, Op};
use crate::log::{Entry, Log, Span};
use crate::memory::Memory;
use crate::metrics::Metrics;
use crate::sqlite::Sqlite;
use crate::{Blobs, Fault, Options, Range, Table, Ticket};

/// All that a server keeps, in three shapes. Clones are the same store.
#[derive(Clone, Debug)]
pub struct Store(Arc<Inner>);

#[derive(Debug)]
pub(crate) struct Inner {
    backend: Backend,
    metrics: Metrics,
}

#[derive(Debug)]
enum Backend {
    Memory(Memory),
    Sqlite(Sqlite),
}

/// What a name stands for. A table and a log may have the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    Table,
    Log,
    Blobs,
}

/// Whose earlier writes a read has to see.
#[derive(Clone, Copy, Debug)]
pub(crate) enum About<'a> {
    Owner(&'a str),
    Everyone,
}

/// What one read sees of the store: one state of it, nothing half done.
pub(crate) trait View {
    fn get(&self, shape: u32, owner: &str, key: &[u8]) -> Result<Option<Bytes>, Fault>;
    fn range(
        &self,
        shape: u32,
        owner: &str,
        range: &Range,
        limit: usize,
        reverse: bool,
    ) -> Result<Vec<(Bytes, Bytes)>, Fault>;
    fn owners(&self, shape: u32, after: Option<&str>, limit: usize) -> Result<Vec<String>, Fault>;
    fn part(
        &self,
        shape: u32,
        owner: &str,
        key: &[u8],
        offset: u64,
        length: usize,
    ) -> Result<Option<Bytes>, Fault>;
    fn size(&self, shape: u32, owner: &str, key: &[u8]) -> Result<Option<u64>, Fault>;
    fn sizes(
        &self,
        shape: u32,
        owner: &str,
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Bytes, u64)>, Fault>;
    fn entries(
        &self,
        shape: u32,
        owner: &str,
        span: Span,
        limit: usize,
        reverse: bool,
    ) -> Result<Vec<Entry>, Fault>;
    fn count(&self, shape: u32, owner: &str) -> Result<u64, Fault>;
    fn row_owners(&self, shape: u32, after: Option<&str>, limit: usize) -> Result<Vec<String>, Fault>;
}

impl Inner {
    pub(crate) fn commit(&self, ops: Vec<Op>, bytes: usize) -> Ticket {
        match &self.backend {
            Backend::Memory(memory) => {
                self.metrics.batches.inc();
                self.metrics.writes.inc_by(ops.len() as u64);
                memory.commit(ops).map_or_else(
                    |fault| {
                        self.metrics.fault(&fault);
                        Ticket::failed(fault)
                    },
                    |()| Ticket::done(),
                )
            }
            Backend::Sqlite(sqlite) => sqlite.commit(ops, bytes),
        }
    }

    pub(crate) async fn read<T: Send + 'static>(
        &self,
        about: About<'_>,
        look: impl FnOnce(&dyn View) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Fault> {
        match &self.backend {
            Backend::Memory(memory) => {
                self.metrics.reads.inc();
                memory.read(look)
            }
            Backend::Sqlite(sqlite) => sqlite.read(about, look).await,
        }
    }
}

/// What [`Store::look`] sees of one owner.
pub struct Look<'a> {
    view: &'a dyn View,
    owner: &'a str,
}

impl Look<'_> {
    /// Like [`Table::get`].
    ///
    /// # Errors
    /// The store failed.
    pub fn get(&self, table: &Table, key: &[u8]) -> Result<Option<Bytes>, Fault> {
        self.view.get(table.shape, self.owner, key)
    }

    /// Like [`Table::range`], in the order of the keys.
    ///
    /// # Errors
    /// The store failed.
    pub fn range(&self, table: &Table, range: &Range, limit: usize) -> Result<Vec<(Bytes, Bytes)>, Fault> {
        if limit == 0 || range.is_empty() {
            return Ok(Vec::new());
        }
        self.view.range(table.shape, self.owner, range, limit, false)
    }

    /// Like [`Log::count`].
    ///
    /// # Errors
    /// The store failed.
    pub fn count(&self, log: &Log) -> Result<u64, Fault> {
        self.view.count(log.shape, self.owner)
    }
}

impl fmt::Debug for Look<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Look").field(&self.owner).finish()
    }
}

impl Store {
    /// A store that keeps everything in memory and loses it with the last clone. Every ticket is done at once.
    pub fn memory() -> Self {
        Self(Arc::new(Inner { backend: Backend::Memory(Memory::default()), metrics: Metrics::default() }))
    }

    /// The store in a folder, made with the folder if there is none. Only one process can have it open.
    ///
    /// Fails with [`Fault::InUse`], [`Fault::Newer`], [`Fault::Corrupt`], [`Fault::Io`] or [`Fault::Full`].
    /// Blocks the thread for as long as the disk takes, and so does dropping the last clone of a store that has not
    /// been [closed](Self::close): it writes what is queued.
    pub fn open(folder: &Path, options: &Options) -> Result<Self, Fault> {
        let metrics = Metrics::default();
        let sqlite = Sqlite::open(folder, options, metrics.clone())?;
        Ok(Self(Arc::new(Inner { backend: Backend::Sqlite(sqlite), metrics })))
    }

    /// The table of that name; it comes into being with its first use.
    pub fn table(&self, name: &'static str) -> Table {
        let (shape, _) = self.declare(Kind::Table, name);
        Table { store: Arc::clone(&self.0), shape }
    }

    /// The log of that name. If the store has none yet, this blocks until it is noted on disk.
    pub fn log(&self, name: &'static str) -> Log {
        let (shape, numbers) = self.declare(Kind::Log, name);
        Log { store: Arc::clone(&self.0), shape, numbers }
    }

    /// The blobs of that name; they come into being with their first use.
    pub fn blobs(&self, name: &'static str) -> Blobs {
        let (shape, _) = self.declare(Kind::Blobs, name);
        Blobs { store: Arc::clone(&self.0), shape }
    }

    fn declare(&self, kind: Kind, name: &'static str) -> (u32, Arc<crate::log::Numbers>) {
        match &self.0.backend {
            Backend::Memory(memory) => memory.declare(kind, name),
            Backend::Sqlite(sqlite) => sqlite.declare(kind, name),
        }
    }

    /// Several reads of one owner at once: they see one state, and cost little more than a single one.
    ///
    /// Like every read it sees what was committed before for the same owner. Fails with what `reads` fails with, or like any
    /// read.
    pub async fn look<T: Send + 'static>(
        &self,
        owner: &str,
        reads: impl FnOnce(&Look<'_>) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Fault> {
        let whose = Arc::<str>::from(owner);
        self.0.read(About::Owner(owner), move |view| reads(&Look { view, owner: &whose })).await
    }

    /// An empty batch for the shapes of this store.
    pub fn batch(&self) -> Batch {
        Batch::new(Arc::clone(&self.0))
    }

    /// The same as [`Batch::commit`].
    pub fn commit(&self, batch: Batch) -> Ticket {
        if batch.belongs_to(&self.0) {
            batch.commit()
        } else {
            Ticket::failed(Fault::misuse(&"a batch of one store was committed to another"))
        }
    }

    /// Removes everything that belongs to `owner` from every shape; see [`Batch::drop_owner`].
    pub fn drop_owner(&self, owner: &str) -> Ticket {
        let mut batch = self.batch();
        batch.drop_owner(owner);
        batch.commit()
    }

    /// Waits until everything that has been committed by now has been settled, be it durable or failed.
    pub async fn settled(&self) {
        match &self.0.backend {
            Backend::Memory(_) => {}
            Backend::Sqlite(sqlite) => sqlite.settled().await,
        }
    }

    /// Waits while more than half of the room for waiting writes is taken. Who calls this before taking in more work
    /// does not block in [`Batch::commit`].
    pub async fn ready(&self) {
        match &self.0.backend {
            Backend::Memory(_) => {}
            Backend::Sqlite(sqlite) => sqlite.ready().await,
        }
    }

    /// Waits until everything that has been committed by now has been settled, then tells the store's
    /// [health](Self::health).
    pub async fn flush(&self) -> Result<(), Fault> {
        self.settled().await;
        self.health()
    }

    /// Whether the last transaction could be written; if not, why. It recovers with the next one that can be:
    /// after a fault every later batch is tried anew.
    pub fn health(&self) -> Result<(), Fault> {
        match &self.0.backend {
            Backend::Memory(_) => Ok(()),
            Backend::Sqlite(sqlite) => sqlite.health(),
        }
    }

    /// Writes what is queued and closes the store for all its clones; the folder is free then. Later reads and
    /// writes fail with [`Fault::Closed`]. Calling it twice waits for the same end.
    pub async fn close(&self) -> Result<(), Fault> {
        match &self.0.backend {
            Backend::Memory(memory) => {
                memory.close();
                Ok(())
            }
            Backend::Sqlite(sqlite) => sqlite.close().await,
        }
    }

    /// Adds the store's metrics to a registry, all with the prefix `store`.
    pub fn register(&self, registry: &mut Registry) {
        self.0.metrics.register(registry);
    }
}
