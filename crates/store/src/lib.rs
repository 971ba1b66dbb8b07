//! What a server keeps, in three shapes over memory or SQLite. Knows nothing of XMPP.
//!
//! - [`Table`]: values by ordered key; ranges, atomic batches, compare-and-set.
//! - [`Log`]: bodies in order of arrival, each stored once, with a row for each owner that has a part in it.
//! - [`Blobs`]: large values that are read in parts.
//!
//! Everything belongs to an *owner*: an account's bare JID, or `""` for what is nobody's. Owners never see each
//! other's keys, and [`Store::drop_owner`] removes every trace of one.
//!
//! Writes are collected in a [`Batch`], which happens as a whole or not at all. A commit returns at once with a
//! [`Ticket`] that resolves when the batch is on the disk: deliver at once, acknowledge when the ticket is done.
//!
//! ```
//! use nuncio_store::{Range, Row, Store};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), nuncio_store::Fault> {
//! let store = Store::memory();
//! let roster = store.table("roster");
//! let archive = store.log("archive");
//! let (juliet, romeo) = ("juliet@capulet.example", "romeo@montague.example");
//!
//! // One batch: a roster item, and a message that both have a row of.
//! let mut batch = store.batch();
//! batch.put(&roster, juliet, romeo.as_bytes(), "subscription=both");
//! let ids = batch.append(&archive, "<message>Art thou not Romeo?</message>", &[Row::new(juliet, ">"), Row::new(romeo, "<")]);
//! assert!(ids[0] < ids[1]);
//! batch.commit().await?;
//!
//! let items = roster.range(juliet, Range::prefix(b"romeo@"), 10, false).await?;
//! assert_eq!(items.len(), 1);
//!
//! // Romeo retracts his copy, then leaves; Juliet's stays as it was.
//! archive.redact(romeo, ids[1], "").await?;
//! store.drop_owner(romeo).await?;
//! assert_eq!(archive.count(romeo).await?, 0);
//! assert_eq!(archive.read(juliet, None, 10).await?[0].body, "<message>Art thou not Romeo?</message>");
//! # Ok(()) }
//! ```

mod batch;
mod blobs;
mod fault;
mod log;
mod memory;
mod metrics;
mod options;
mod range;
mod sqlite;
mod store;
mod table;
mod ticket;

pub use batch::{Batch, MAX_KEY, MAX_VALUE};
pub use blobs::Blobs;
pub use fault::Fault;
pub use log::{Entry, Log, Row, RowId};
pub use options::Options;
pub use range::Range;
pub use store::{Look, Store};
pub use table::Table;
pub use ticket::Ticket;
