//! The store itself: which shapes there are, where they are kept.

use std::sync::Arc;

use bytes::Bytes;

use crate::batch::{Batch, Op};
use crate::log::{Entry, Log, Span};
use crate::memory::Memory;
use crate::{Blobs, Fault, Range, Table, Ticket};

/// All that a server keeps, in three shapes. Clones are the same store.
#[derive(Clone, Debug)]
pub struct Store(Arc<Inner>);

#[derive(Debug)]
pub(crate) struct Inner {
    backend: Backend,
}

#[derive(Debug)]
enum Backend {
    Memory(Memory),
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
    pub(crate) fn commit(&self, ops: Vec<Op>, _bytes: usize) -> Ticket {
        match &self.backend {
            Backend::Memory(memory) => memory.commit(ops).map_or_else(Ticket::failed, |()| Ticket::done()),
        }
    }

    pub(crate) async fn read<T: Send + 'static>(
        &self,
        _about: About<'_>,
        look: impl FnOnce(&dyn View) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Fault> {
        match &self.backend {
            Backend::Memory(memory) => memory.read(look),
        }
    }
}

impl Store {
    /// A store that keeps everything in memory and loses it with the last clone.
    pub fn memory() -> Self {
        Self(Arc::new(Inner { backend: Backend::Memory(Memory::default()) }))
    }

    /// The table of that name; it comes into being with its first use.
    pub fn table(&self, name: &'static str) -> Table {
        let (shape, _) = self.declare(Kind::Table, name);
        Table { store: Arc::clone(&self.0), shape }
    }

    /// The log of that name; it comes into being with its first use.
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
        }
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

    /// Waits until everything that has been committed by now has been settled, durable or failed.
    pub async fn settled(&self) {}

    /// Waits while the writer is so far behind that a commit would have to block.
    pub async fn ready(&self) {}

    /// Waits until everything that has been committed by now is durable, and reports the first fault if something
    /// is not that nobody has been told of yet.
    pub async fn flush(&self) -> Result<(), Fault> {
        Ok(())
    }

    /// Makes everything durable and closes the store. Later reads and writes fail with [`Fault::Closed`].
    pub async fn close(&self) -> Result<(), Fault> {
        match &self.0.backend {
            Backend::Memory(memory) => memory.close(),
        }
        Ok(())
    }
}
