//! Messages that wait for another server and were acknowledged to their senders: they survive the process (XEP-0198, RFC 6120 §10.1).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use nuncio_dna::Time;
use nuncio_router::store::{Fault, Range, Store, Table, Ticket};
use nuncio_xmpp::ns;
use nuncio_xmpp::stanza::{Kind, MessageType, Stanza};
use nuncio_xmpp::xml::Element;

/// Whose rows they are in the table.
const OWNER: &str = "federation";
/// Rows that are read at once.
const PAGE: usize = 500;

/// The rows.
#[derive(Debug)]
pub(crate) struct Spool {
    table: Table,
    next: AtomicU64,
}

/// A row. When this is dropped, what it was for has come to its end, and the row goes.
#[derive(Debug)]
pub(crate) struct Kept {
    spool: Arc<Spool>,
    row: u64,
    stays: bool,
}

impl Drop for Kept {
    fn drop(&mut self) {
        if !self.stays {
            // If that fails, the message is sent once more after a restart.
            drop(self.spool.table.delete(OWNER, &self.row.to_be_bytes()));
        }
    }
}

impl Kept {
    /// The row stays for the next process.
    pub(crate) fn stay(mut self) {
        self.stays = true;
    }
}

/// Whether a stanza is worth a row: what is no message is of no use later.
pub(crate) const fn is_kept(stanza: &Stanza) -> bool {
    matches!(stanza.kind(), Kind::Message(kind) if !matches!(kind, MessageType::Error))
}

impl Spool {
    pub(crate) fn new(store: &Store) -> Arc<Self> {
        Arc::new(Self { table: store.table("elsewhere"), next: AtomicU64::new(1) })
    }

    /// Writes a stanza. The ticket resolves once it is on the disk.
    pub(crate) fn keep(self: &Arc<Self>, stanza: &Stanza, now: Time) -> (Kept, Ticket) {
        let row = self.next.fetch_add(1, Ordering::Relaxed);
        let mut value = now.as_secs().to_be_bytes().to_vec();
        stanza.render(&mut value, ns::CLIENT);
        let ticket = self.table.put(OWNER, &row.to_be_bytes(), value);
        (Kept { spool: Arc::clone(self), row, stays: false }, ticket)
    }

    /// What the last process left, in its order, with the time at which each was taken.
    pub(crate) async fn restore(self: &Arc<Self>) -> Result<Vec<(Kept, Time, Stanza)>, Fault> {
        let mut all = Vec::new();
        let mut range = Range::prefix(&[]);
        loop {
            let page = self.table.range(OWNER, range, PAGE, false).await?;
            let Some((last, _)) = page.last() else { return Ok(all) };
            range = Range::prefix(&[]).after(last);
            let full = page.len() == PAGE;
            for (key, value) in page {
                let Ok(row) = <[u8; 8]>::try_from(&key[..]).map(u64::from_be_bytes) else { continue };
                self.next.fetch_max(row + 1, Ordering::Relaxed);
                let kept = Kept { spool: Arc::clone(self), row, stays: false };
                let Some((time, xml)) = value.split_first_chunk::<8>() else { continue };
                let element = Element::parse_in(ns::CLIENT, value.slice_ref(xml)).ok();
                // A row that cannot be read goes: it was never ours.
                if let Some(stanza) = element.and_then(|element| Stanza::from_element(element).ok()) {
                    all.push((kept, Time::from_secs(u64::from_be_bytes(*time)), stanza));
                }
            }
            if !full {
                return Ok(all);
            }
        }
    }
}
