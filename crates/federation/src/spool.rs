//! Messages that wait for another server and were acknowledged to their senders: they survive the process (XEP-0198, RFC 6120 §10.1).

use std::sync::Arc;

use nuncio_dna::Time;
use nuncio_router::store::{Entry, Fault, Log, Row, RowId, Store, Ticket};
use nuncio_xmpp::ns;
use nuncio_xmpp::stanza::{Kind, MessageType, Stanza};
use nuncio_xmpp::xml::Element;

/// Whose rows they are in the log.
const OWNER: &str = "federation";
/// Rows that are read at once.
const PAGE: usize = 500;

/// The rows.
#[derive(Debug)]
pub(crate) struct Spool {
    log: Log,
}

/// A row. When this is dropped, what it was for has come to its end, and the row goes.
#[derive(Debug)]
pub(crate) struct Kept {
    spool: Arc<Spool>,
    row: RowId,
    stays: bool,
}

impl Drop for Kept {
    fn drop(&mut self) {
        if !self.stays {
            // If that fails, the message is sent once more after a restart.
            drop(self.spool.log.remove(OWNER, &[self.row]));
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
        Arc::new(Self { log: store.log("elsewhere") })
    }

    /// Writes a stanza. The ticket resolves once it is on the disk.
    pub(crate) fn keep(self: &Arc<Self>, stanza: &Stanza, now: Time) -> (Option<Kept>, Ticket) {
        let time = now.as_secs().to_be_bytes().to_vec();
        let (ids, ticket) = self.log.append(stanza.bytes(ns::CLIENT), &[Row::new(OWNER, time)]);
        let kept = ids.first().map(|row| Kept { spool: Arc::clone(self), row: *row, stays: false });
        (kept, ticket)
    }

    /// What the last process left, in its order, with the time at which each was taken.
    pub(crate) async fn restore(self: &Arc<Self>) -> Result<Vec<(Kept, Time, Stanza)>, Fault> {
        let (mut all, mut last) = (Vec::new(), None);
        loop {
            let page = self.log.read(OWNER, last, PAGE).await?;
            let full = page.len() == PAGE;
            last = page.last().map(|entry| entry.id);
            for entry in page {
                // A row that cannot be read goes: it was never ours.
                let kept = Kept { spool: Arc::clone(self), row: entry.id, stays: false };
                if let Some((time, stanza)) = read(&entry) {
                    all.push((kept, time, stanza));
                }
            }
            if !full {
                return Ok(all);
            }
        }
    }
}

fn read(entry: &Entry) -> Option<(Time, Stanza)> {
    let time = <[u8; 8]>::try_from(entry.meta.as_ref()).ok().map(u64::from_be_bytes)?;
    let element = Element::parse_in(ns::CLIENT, entry.body.clone()).ok()?;
    Some((Time::from_secs(time), Stanza::from_element(element).ok()?))
}
