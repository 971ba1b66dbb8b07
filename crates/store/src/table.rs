//! Values by ordered key.

use std::sync::Arc;

use bytes::Bytes;

use crate::store::{About, Inner};
use crate::{Batch, Fault, Range, Ticket};

/// Values by key, for each owner apart, in the byte order of the keys. Clones are the same table.
///
/// Reads see every write that was committed before them for the same owner, durable or not yet: they wait for it.
#[derive(Clone, Debug)]
pub struct Table {
    pub(crate) store: Arc<Inner>,
    pub(crate) shape: u32,
}

impl Table {
    /// The value of a key.
    pub async fn get(&self, owner: &str, key: &[u8]) -> Result<Option<Bytes>, Fault> {
        let (shape, whose, key) = (self.shape, Arc::<str>::from(owner), Bytes::copy_from_slice(key));
        self.store.read(About::Owner(owner), move |view| view.get(shape, &whose, &key)).await
    }

    /// Keys and values of a range, in the order of the keys or the reverse, at most `limit` of them.
    pub async fn range(
        &self,
        owner: &str,
        range: Range,
        limit: usize,
        reverse: bool,
    ) -> Result<Vec<(Bytes, Bytes)>, Fault> {
        if limit == 0 || range.is_empty() {
            return Ok(Vec::new());
        }
        let (shape, whose) = (self.shape, Arc::<str>::from(owner));
        self.store
            .read(About::Owner(owner), move |view| view.range(shape, &whose, &range, limit, reverse))
            .await
    }

    /// The owners that have at least one key, in byte order, behind `after`, at most `limit` of them.
    pub async fn owners(&self, after: Option<&str>, limit: usize) -> Result<Vec<String>, Fault> {
        let (shape, after) = (self.shape, after.map(str::to_owned));
        self.store.read(About::Everyone, move |view| view.owners(shape, after.as_deref(), limit)).await
    }

    /// Sets the value of a key.
    pub fn put(&self, owner: &str, key: &[u8], value: impl Into<Bytes>) -> Ticket {
        let mut batch = Batch::new(Arc::clone(&self.store));
        batch.put(self, owner, key, value);
        batch.commit()
    }

    /// Removes a key; it need not exist.
    pub fn delete(&self, owner: &str, key: &[u8]) -> Ticket {
        let mut batch = Batch::new(Arc::clone(&self.store));
        batch.delete(self, owner, key);
        batch.commit()
    }

    /// Removes every key of a range.
    pub fn delete_range(&self, owner: &str, range: Range) -> Ticket {
        let mut batch = Batch::new(Arc::clone(&self.store));
        batch.delete_range(self, owner, range);
        batch.commit()
    }

    /// Sets (or with `None` removes) a value if it still is what the caller believes (`None`: absent).
    /// `Ok(true)` means that it was and that the new value is durable; `Ok(false)` that nothing was written.
    pub async fn compare_and_set(
        &self,
        owner: &str,
        key: &[u8],
        expected: Option<&[u8]>,
        new: Option<&[u8]>,
    ) -> Result<bool, Fault> {
        let mut batch = Batch::new(Arc::clone(&self.store));
        batch.check(self, owner, key, expected);
        match new {
            Some(value) => batch.put(self, owner, key, Bytes::copy_from_slice(value)),
            None => batch.delete(self, owner, key),
        }
        match batch.commit().await {
            Ok(()) => Ok(true),
            Err(Fault::Conflict) => Ok(false),
            Err(fault) => Err(fault),
        }
    }
}
