//! Large values by name.

use std::sync::Arc;

use bytes::Bytes;

use crate::store::{About, Inner};
use crate::{Batch, Fault, Ticket};

/// Large values by name, for each owner apart: uploads, pictures. They can be read in parts. Clones are the same.
#[derive(Clone, Debug)]
pub struct Blobs {
    pub(crate) store: Arc<Inner>,
    pub(crate) shape: u32,
}

impl Blobs {
    /// Stores a blob under a name, in place of what was there. At most [`MAX_VALUE`](crate::MAX_VALUE) bytes.
    pub fn put(&self, owner: &str, name: &[u8], content: impl Into<Bytes>) -> Ticket {
        let mut batch = Batch::new(Arc::clone(&self.store));
        batch.put_blob(self, owner, name, content);
        batch.commit()
    }

    /// Removes a blob; it need not exist.
    pub fn delete(&self, owner: &str, name: &[u8]) -> Ticket {
        let mut batch = Batch::new(Arc::clone(&self.store));
        batch.delete_blob(self, owner, name);
        batch.commit()
    }

    /// A whole blob.
    pub async fn get(&self, owner: &str, name: &[u8]) -> Result<Option<Bytes>, Fault> {
        let (shape, whose, name) = (self.shape, Arc::<str>::from(owner), Bytes::copy_from_slice(name));
        self.store.read(About::Owner(owner), move |view| view.get(shape, &whose, &name)).await
    }

    /// At most `length` bytes of a blob from `offset` on; empty behind its end, `None` if there is no such blob.
    pub async fn read(
        &self,
        owner: &str,
        name: &[u8],
        offset: u64,
        length: usize,
    ) -> Result<Option<Bytes>, Fault> {
        let (shape, whose, name) = (self.shape, Arc::<str>::from(owner), Bytes::copy_from_slice(name));
        self.store
            .read(About::Owner(owner), move |view| view.part(shape, &whose, &name, offset, length))
            .await
    }

    /// The size of a blob in bytes.
    pub async fn size(&self, owner: &str, name: &[u8]) -> Result<Option<u64>, Fault> {
        let (shape, whose, name) = (self.shape, Arc::<str>::from(owner), Bytes::copy_from_slice(name));
        self.store.read(About::Owner(owner), move |view| view.size(shape, &whose, &name)).await
    }

    /// An owner's names and sizes in bytes, in the byte order of the names, behind `after`, at most `limit`.
    pub async fn list(
        &self,
        owner: &str,
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Bytes, u64)>, Fault> {
        let (shape, whose, after) = (self.shape, Arc::<str>::from(owner), after.map(Bytes::copy_from_slice));
        self.store
            .read(About::Owner(owner), move |view| view.sizes(shape, &whose, after.as_deref(), limit))
            .await
    }

    /// The owners that have at least one blob, in byte order, behind `after`, at most `limit` of them.
    pub async fn owners(&self, after: Option<&str>, limit: usize) -> Result<Vec<String>, Fault> {
        let (shape, after) = (self.shape, after.map(str::to_owned));
        self.store.read(About::Everyone, move |view| view.owners(shape, after.as_deref(), limit)).await
    }
}
