//! What is written together or not at all.

use std::sync::Arc;

use bytes::Bytes;

use crate::log::{Log, Row, RowId};
use crate::store::Inner;
use crate::{Blobs, Fault, Range, Table, Ticket};

/// The largest value of a table, body of a log or blob: 256 MiB.
pub const MAX_VALUE: usize = 256 * 1024 * 1024;
/// The largest key and the largest owner: 8 KiB (a bare JID needs at most 2047 octets, RFC 7622 §3.1).
pub const MAX_KEY: usize = 8 * 1024;

/// Writes that become durable together, or none of them.
///
/// Build it with [`Store::batch`](crate::Store::batch), fill it, [`commit`](Batch::commit) it. All its checks are
/// judged first, against what every batch committed earlier has left behind; then its writes happen in their order.
#[derive(Debug)]
#[must_use = "a batch does nothing until it is committed"]
pub struct Batch {
    store: Arc<Inner>,
    ops: Vec<Op>,
    bytes: usize,
    fault: Option<Fault>,
}

/// One write, or one check. `shape` is the number of the table, log or blobs.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    Check { shape: u32, owner: Arc<str>, key: Bytes, expected: Option<Bytes> },
    Put { shape: u32, owner: Arc<str>, key: Bytes, value: Bytes },
    Delete { shape: u32, owner: Arc<str>, key: Bytes },
    DeleteRange { shape: u32, owner: Arc<str>, range: Range },
    Append { shape: u32, body: Bytes, first: RowId, rows: Vec<Row> },
    Remove { shape: u32, owner: Arc<str>, id: RowId },
    Redact { shape: u32, owner: Arc<str>, id: RowId, body: Bytes },
    Trim { shape: u32, owner: Option<Arc<str>>, before: RowId },
    DropOwner { owner: Arc<str> },
}

impl Op {
    /// Calls `see` with every owner that the write is about; `None` stands for all of them.
    pub(crate) fn owners(&self, mut see: impl FnMut(Option<&str>)) {
        match self {
            Self::Check { .. } => {}
            Self::Put { owner, .. }
            | Self::Delete { owner, .. }
            | Self::DeleteRange { owner, .. }
            | Self::Remove { owner, .. }
            | Self::Redact { owner, .. }
            | Self::DropOwner { owner } => see(Some(owner)),
            Self::Append { rows, .. } => rows.iter().for_each(|row| see(Some(&row.owner))),
            Self::Trim { owner, .. } => see(owner.as_deref()),
        }
    }
}

impl Batch {
    pub(crate) fn new(store: Arc<Inner>) -> Self {
        Self { store, ops: Vec::new(), bytes: 0, fault: None }
    }

    /// Sets the value of a key.
    pub fn put(&mut self, table: &Table, owner: &str, key: &[u8], value: impl Into<Bytes>) {
        self.put_in(&table.store, table.shape, owner, key, value.into());
    }

    /// Removes a key; it need not exist.
    pub fn delete(&mut self, table: &Table, owner: &str, key: &[u8]) {
        let op = Op::Delete { shape: table.shape, owner: owner.into(), key: Bytes::copy_from_slice(key) };
        self.push(&table.store, op, owner.len() + key.len());
    }

    /// Removes every key of the range.
    pub fn delete_range(&mut self, table: &Table, owner: &str, range: Range) {
        if !range.is_empty() {
            self.push(
                &table.store,
                Op::DeleteRange { shape: table.shape, owner: owner.into(), range },
                owner.len(),
            );
        }
    }

    /// Demands that a key has this value (`None`: that it does not exist) before the batch's first write.
    /// If it has not, the whole batch fails with [`Fault::Conflict`].
    pub fn check(&mut self, table: &Table, owner: &str, key: &[u8], expected: Option<&[u8]>) {
        let op = Op::Check {
            shape: table.shape,
            owner: owner.into(),
            key: Bytes::copy_from_slice(key),
            expected: expected.map(Bytes::copy_from_slice),
        };
        self.push(&table.store, op, owner.len() + key.len() + expected.map_or(0, <[u8]>::len));
    }

    /// Appends one body with a row for each owner, and says at once which numbers the rows have: consecutive,
    /// higher than every number that this log has ever given, also before a restart.
    /// The same owner may have several rows. Without rows nothing is stored.
    pub fn append(&mut self, log: &Log, body: impl Into<Bytes>, rows: &[Row]) -> Vec<RowId> {
        let body = body.into();
        if rows.is_empty() {
            return Vec::new();
        }
        let first = log.numbers.take(rows.len() as u64);
        let ids = (first..).take(rows.len()).map(RowId).collect();
        self.limit("a log's body", body.len(), MAX_VALUE);
        let mut bytes = body.len();
        for row in rows {
            self.limit("an owner", row.owner.len(), MAX_KEY);
            self.limit("a row's meta", row.meta.len(), MAX_VALUE);
            bytes += row.owner.len() + row.meta.len();
        }
        self.push(
            &log.store,
            Op::Append { shape: log.shape, body, first: RowId(first), rows: rows.to_vec() },
            bytes,
        );
        ids
    }

    /// Removes one owner's row; it need not exist. The body goes with its last row.
    pub fn remove(&mut self, log: &Log, owner: &str, id: RowId) {
        self.push(&log.store, Op::Remove { shape: log.shape, owner: owner.into(), id }, owner.len());
    }

    /// Replaces what one owner sees of a row's body. Other owners' rows keep theirs; a missing row stays missing.
    pub fn redact(&mut self, log: &Log, owner: &str, id: RowId, body: impl Into<Bytes>) {
        let body = body.into();
        self.limit("a log's body", body.len(), MAX_VALUE);
        let bytes = owner.len() + body.len();
        self.push(&log.store, Op::Redact { shape: log.shape, owner: owner.into(), id, body }, bytes);
    }

    /// Removes all rows that are older than `before`: one owner's, or everybody's.
    pub fn trim(&mut self, log: &Log, owner: Option<&str>, before: RowId) {
        let op = Op::Trim { shape: log.shape, owner: owner.map(Into::into), before };
        self.push(&log.store, op, owner.map_or(0, str::len));
    }

    /// Stores a blob under a name, in place of what was there.
    pub fn put_blob(&mut self, blobs: &Blobs, owner: &str, name: &[u8], content: impl Into<Bytes>) {
        self.put_in(&blobs.store, blobs.shape, owner, name, content.into());
    }

    /// Removes a blob; it need not exist.
    pub fn delete_blob(&mut self, blobs: &Blobs, owner: &str, name: &[u8]) {
        let op = Op::Delete { shape: blobs.shape, owner: owner.into(), key: Bytes::copy_from_slice(name) };
        self.push(&blobs.store, op, owner.len() + name.len());
    }

    /// Removes everything that belongs to `owner` from every shape, also from shapes that nobody has declared in
    /// this run. The owner `""` cannot be dropped.
    pub fn drop_owner(&mut self, owner: &str) {
        if owner.is_empty() {
            self.fault
                .get_or_insert_with(|| Fault::misuse(&"the owner \"\" is nobody and cannot be dropped"));
        }
        let store = Arc::clone(&self.store);
        self.push(&store, Op::DropOwner { owner: owner.into() }, owner.len());
    }

    /// How many writes and checks the batch holds.
    pub fn len(&self) -> usize {
        self.ops.len()
    }

    /// Whether the batch holds nothing.
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    /// Hands the batch to the writer. Batches take effect in the order in which they are committed.
    /// When the writer is far behind, this blocks until there is room (see [`Store::ready`](crate::Store::ready)).
    pub fn commit(self) -> Ticket {
        match self.fault {
            Some(fault) => Ticket::failed(fault),
            None if self.ops.is_empty() => Ticket::done(),
            None => self.store.commit(self.ops, self.bytes),
        }
    }

    pub(crate) fn belongs_to(&self, store: &Arc<Inner>) -> bool {
        Arc::ptr_eq(&self.store, store)
    }

    fn put_in(&mut self, store: &Arc<Inner>, shape: u32, owner: &str, key: &[u8], value: Bytes) {
        self.limit("a value", value.len(), MAX_VALUE);
        let bytes = owner.len() + key.len() + value.len();
        let op = Op::Put { shape, owner: owner.into(), key: Bytes::copy_from_slice(key), value };
        self.limit("a key", key.len(), MAX_KEY);
        self.limit("an owner", owner.len(), MAX_KEY);
        self.push(store, op, bytes);
    }

    fn push(&mut self, store: &Arc<Inner>, op: Op, bytes: usize) {
        if !self.belongs_to(store) {
            self.fault.get_or_insert_with(|| Fault::misuse(&"a batch of one store got a shape of another"));
        }
        self.ops.push(op);
        self.bytes += bytes;
    }

    fn limit(&mut self, what: &str, size: usize, limit: usize) {
        if size > limit {
            self.fault.get_or_insert_with(|| {
                Fault::misuse(&format!("{what} of {size} bytes; at most {limit} are stored"))
            });
        }
    }
}
