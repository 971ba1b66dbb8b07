//! Bodies in the order of their arrival, with a row for each owner.

use std::fmt;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

use crate::store::{About, Inner};
use crate::{Batch, Fault, Ticket};

/// The number of a row: unique in its log, higher than that of every row appended earlier, never given twice, also
/// not after a crash. Gaps are normal. At least 1, and it fits an `i64`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RowId(pub(crate) u64);

impl RowId {
    /// A number that was written down elsewhere, such as in a client's query.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The number itself.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for RowId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One owner's share in an appended body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Whose row it is.
    pub owner: Arc<str>,
    /// What is true of this row only: a peer's address, a direction. Small; it is read with every entry.
    pub meta: Bytes,
}

impl Row {
    /// A row for `owner`.
    pub fn new(owner: &str, meta: impl Into<Bytes>) -> Self {
        Self { owner: owner.into(), meta: meta.into() }
    }
}

/// A row as it is read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its number.
    pub id: RowId,
    /// What was appended with the row.
    pub meta: Bytes,
    /// The shared body, or what [`Batch::redact`] put in its place for this owner.
    pub body: Bytes,
    /// Whether the body is this owner's own, by [`Batch::redact`].
    pub redacted: bool,
}

/// An append-only list with a view for each owner: one body is stored once, however many owners have a row of it.
/// Clones are the same log. Reads see every write that was committed before them for the same owner.
#[derive(Clone, Debug)]
pub struct Log {
    pub(crate) store: Arc<Inner>,
    pub(crate) shape: u32,
    pub(crate) numbers: Arc<Numbers>,
}

impl Log {
    /// Appends one body with a row for each owner; see [`Batch::append`].
    pub fn append(&self, body: impl Into<Bytes>, rows: &[Row]) -> (Vec<RowId>, Ticket) {
        let mut batch = Batch::new(Arc::clone(&self.store));
        let ids = batch.append(self, body, rows);
        (ids, batch.commit())
    }

    /// An owner's entries behind `after` (`None`: from the first), oldest first, at most `limit`.
    pub async fn read(&self, owner: &str, after: Option<RowId>, limit: usize) -> Result<Vec<Entry>, Fault> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.entries(owner, (from, Bound::Unbounded), limit, false).await
    }

    /// An owner's entries before `before` (`None`: from the last), newest first, at most `limit`.
    pub async fn read_back(
        &self,
        owner: &str,
        before: Option<RowId>,
        limit: usize,
    ) -> Result<Vec<Entry>, Fault> {
        let to = before.map_or(Bound::Unbounded, Bound::Excluded);
        self.entries(owner, (Bound::Unbounded, to), limit, true).await
    }

    /// One entry of an owner.
    pub async fn get(&self, owner: &str, id: RowId) -> Result<Option<Entry>, Fault> {
        Ok(self.entries(owner, (Bound::Included(id), Bound::Included(id)), 1, false).await?.pop())
    }

    /// How many rows an owner has.
    pub async fn count(&self, owner: &str) -> Result<u64, Fault> {
        let (shape, whose) = (self.shape, Arc::<str>::from(owner));
        self.store.read(About::Owner(owner), move |view| view.count(shape, &whose)).await
    }

    /// The owners that have at least one row, in byte order, behind `after`, at most `limit` of them.
    pub async fn owners(&self, after: Option<&str>, limit: usize) -> Result<Vec<String>, Fault> {
        let (shape, after) = (self.shape, after.map(str::to_owned));
        self.store.read(About::Everyone, move |view| view.row_owners(shape, after.as_deref(), limit)).await
    }

    /// Removes rows of one owner; they need not exist.
    pub fn remove(&self, owner: &str, ids: &[RowId]) -> Ticket {
        let mut batch = Batch::new(Arc::clone(&self.store));
        ids.iter().for_each(|id| batch.remove(self, owner, *id));
        batch.commit()
    }

    /// Replaces what one owner sees of a row's body; see [`Batch::redact`].
    pub fn redact(&self, owner: &str, id: RowId, body: impl Into<Bytes>) -> Ticket {
        let mut batch = Batch::new(Arc::clone(&self.store));
        batch.redact(self, owner, id, body);
        batch.commit()
    }

    /// Removes all rows that are older than `before`: one owner's, or with `None` everybody's, which walks the
    /// whole log's index.
    pub fn trim(&self, owner: Option<&str>, before: RowId) -> Ticket {
        let mut batch = Batch::new(Arc::clone(&self.store));
        batch.trim(self, owner, before);
        batch.commit()
    }

    async fn entries(
        &self,
        owner: &str,
        span: Span,
        limit: usize,
        reverse: bool,
    ) -> Result<Vec<Entry>, Fault> {
        if limit == 0 {
            return Ok(Vec::new());
        }
        let (shape, whose) = (self.shape, Arc::<str>::from(owner));
        self.store
            .read(About::Owner(owner), move |view| view.entries(shape, &whose, span, limit, reverse))
            .await
    }
}

/// Bounds of row numbers.
pub(crate) type Span = (Bound<RowId>, Bound<RowId>);

/// How many numbers a log reserves on disk before it gives them out, so that none is given twice after a crash.
pub(crate) const RESERVE: u64 = 1 << 20;

/// Where the numbers of one log come from.
#[derive(Debug)]
pub(crate) struct Numbers {
    next: AtomicU64,
    /// Every number up to this one is noted on disk as given.
    reserved: AtomicU64,
}

impl Numbers {
    /// Continues behind `given`, with everything up to `reserved` noted.
    pub(crate) fn new(given: u64, reserved: u64) -> Self {
        Self { next: AtomicU64::new(given + 1), reserved: AtomicU64::new(reserved) }
    }

    /// Takes `count` consecutive numbers and returns the first.
    pub(crate) fn take(&self, count: u64) -> u64 {
        self.next.fetch_add(count, Ordering::Relaxed)
    }

    /// What should be noted next, once half of the reserve has been used.
    pub(crate) fn wanted(&self) -> Option<u64> {
        let next = self.next.load(Ordering::Relaxed);
        (next + RESERVE / 2 > self.reserved.load(Ordering::Relaxed)).then_some(next + RESERVE)
    }

    pub(crate) fn noted(&self, reserved: u64) {
        self.reserved.fetch_max(reserved, Ordering::Relaxed);
    }
}
