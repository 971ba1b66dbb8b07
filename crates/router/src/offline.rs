//! Messages for accounts with nobody there (XEP-0160), and the spool of those on their way.
//!
//! Both are rows of one log. A message that was accepted from a stream with stream management gets its row before it is acknowledged; while
//! a [`Delivery`] answers for it the row is *live*, afterwards it is removed, or it waits for the next session. So a process that dies
//! leaves what it had acknowledged, and nobody had taken, as offline messages.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use hashbrown::HashSet;
use jiff::Timestamp;
use nuncio_store::{Entry as Row, Fault, Log, RowId, Ticket};
use nuncio_xmpp::jid::BareJid;
use nuncio_xmpp::ns;
use nuncio_xmpp::stanza::Stanza;
use nuncio_xmpp::xml::{Builder, Element};

use crate::clock;
use crate::delivery::Delivery;
use crate::lane::{Lane, Step};
use crate::router::Router;
use crate::session::{Session, SessionId};

/// Rows that are read at once.
const PAGE: usize = 64;

/// What an account knows of its rows.
#[derive(Debug)]
pub(crate) struct Spool {
    /// Rises with every row that comes or goes.
    version: u64,
    /// Rows that nobody answers for.
    waiting: usize,
    /// Rows that a delivery answers for.
    live: HashSet<RowId>,
    /// Rows whose removal may not be visible to readers yet.
    gone: VecDeque<(RowId, Ticket)>,
}

/// What was known when reading began, and what was read: if nothing has changed since, it is what is there.
#[derive(Clone, Debug)]
pub(crate) struct Waiting {
    version: u64,
    gone: HashSet<RowId>,
    live: HashSet<RowId>,
    rows: Vec<Row>,
    /// Whether these are all, or only as many as a queue takes at once.
    complete: bool,
}

impl Spool {
    pub(crate) fn new(waiting: usize) -> Self {
        Self { version: 0, waiting, live: HashSet::new(), gone: VecDeque::new() }
    }

    fn prune(&mut self) {
        while self.gone.front().is_some_and(|(_, ticket)| ticket.peek().is_some()) {
            self.gone.pop_front();
        }
    }

    /// To be taken before rows are read. The flag: whether any wait.
    fn plan(&mut self) -> (Waiting, bool) {
        self.prune();
        let gone = self.gone.iter().map(|(id, _)| *id).collect();
        let any = self.waiting > 0;
        let live = if any { self.live.clone() } else { HashSet::new() };
        (Waiting { version: self.version, gone, live, rows: Vec::new(), complete: true }, any)
    }

    /// Whether what was read is what is there.
    pub(crate) fn is_current(&self, read: &Waiting) -> bool {
        read.version == self.version || (read.rows.is_empty() && self.waiting == 0)
    }

    /// Deliveries answer for the rows that were read from here on.
    fn take(&mut self, read: Waiting) -> Vec<Row> {
        self.version += 1;
        self.waiting = self.waiting.saturating_sub(read.rows.len());
        self.live.extend(read.rows.iter().map(|row| row.id));
        read.rows
    }

    /// A delivery answers for a new row.
    pub(crate) fn live(&mut self, id: RowId) {
        self.version += 1;
        self.live.insert(id);
    }

    /// A row waits: a new one, or one whose delivery found nobody.
    pub(crate) fn wait(&mut self, id: RowId) {
        self.version += 1;
        self.live.remove(&id);
        self.waiting += 1;
    }

    /// A delivery is settled, its row is being removed.
    pub(crate) fn settled(&mut self, id: RowId, removal: Ticket) {
        self.version += 1;
        self.live.remove(&id);
        self.prune();
        self.gone.push_back((id, removal));
    }

    /// Rows that wait.
    pub(crate) const fn waiting(&self) -> usize {
        self.waiting
    }
}

/// Writes a row for a stanza. Its meta is the time of arrival.
fn append(log: &Log, of: &BareJid, stanza: &Stanza, received: Timestamp) -> (Option<RowId>, Ticket) {
    let meta = received.as_millisecond().to_be_bytes().to_vec();
    let (ids, ticket) = log.append(stanza.bytes(ns::CLIENT), &[nuncio_store::Row::new(of.as_str(), meta)]);
    (ids.first().copied(), ticket)
}

/// Reads a row back.
fn restore(row: &Row) -> Option<(Stanza, Timestamp)> {
    let element = Element::parse_in(ns::CLIENT, row.body.clone()).ok()?;
    let stanza = Stanza::from_element(element).ok()?;
    let time = <[u8; 8]>::try_from(row.meta.as_ref()).ok().map(i64::from_be_bytes)?;
    Some((stanza, Timestamp::from_millisecond(time).ok()?))
}

/// The stanza with a note of its delay (XEP-0203), unless the domain has put one on before.
pub(crate) fn delayed(stanza: &Stanza, domain: &str, since: Timestamp) -> Stanza {
    let mut stanza = stanza.clone();
    let noted = stanza
        .children()
        .any(|child| child.is("delay", ns::DELAY) && child.attr("from").is_some_and(|from| from == domain));
    if !noted {
        let delay = Builder::new("delay", ns::DELAY).attr("from", domain).attr("stamp", clock::stamp(since));
        stanza.add(&delay);
    }
    stanza
}

impl Step<'_> {
    /// Writes a row that keeps a stanza while it is being delivered. The step's ticket waits for it.
    pub(crate) fn spool(&mut self, stanza: &Stanza, received: Timestamp) -> Option<RowId> {
        let (id, ticket) = append(self.router.offline(), &self.account.jid, stanza, received);
        self.wait(ticket);
        if let Some(id) = id {
            self.account.spool.live(id);
        }
        id
    }

    /// Whether no message may be kept for the next session: there are too many already.
    pub(crate) fn is_offline_full(&self) -> bool {
        let full = self.account.spool.waiting() >= self.router.config().limits.offline_messages;
        if full {
            self.router.metrics().offline_full.inc();
        }
        full
    }

    /// Keeps a message for the next session.
    pub(crate) fn keep_offline(&mut self, stanza: &Stanza, received: Timestamp) {
        let (id, ticket) = append(self.router.offline(), &self.account.jid, stanza, received);
        self.wait(ticket);
        if let Some(id) = id {
            self.account.spool.wait(id);
        }
        self.router.metrics().offline_stored.inc();
    }

    /// Puts rows that wait into a session's queue, each answered for by a delivery. `read` is current. If there are more than a queue
    /// takes at once, the session's connection asks for the others when its queue is nearly empty.
    pub(crate) fn flush(&mut self, to: SessionId, read: Waiting) {
        if let Some(state) = self.account.session(to) {
            state.session.more.store(!read.complete, Ordering::Release);
        }
        let rows = self.account.spool.take(read);
        for row in rows {
            let Some((stanza, received)) = restore(&row) else {
                tracing::error!(account = %self.account.jid, row = %row.id, "an offline message cannot be read and is removed");
                self.forget_row(row.id);
                continue;
            };
            let delivery = Delivery::new(stanza.clone(), received, Some(row.id));
            delivery.hold();
            let delayed = delayed(&stanza, self.account.jid.domain(), received);
            if self.hand(to, &delayed, Some(&delivery)) {
                self.router.metrics().offline_delivered.inc();
            }
            self.release(&delivery);
        }
    }

    /// The row of a settled delivery goes. Nobody waits for that: if it is lost, the message comes once more.
    pub(crate) fn forget_row(&mut self, id: RowId) {
        let ticket = self.router.offline().remove(self.account.jid.as_str(), &[id]);
        self.account.spool.settled(id, ticket);
    }
}

impl Router {
    /// The log of messages that wait or are on their way.
    pub(crate) fn offline(&self) -> &Log {
        &self.shapes().offline
    }

    /// What waits for an account, as far as it was known when reading began.
    pub(crate) async fn waiting(self: &Arc<Self>, lane: &Lane) -> Result<Option<Waiting>, Fault> {
        let (mut waiting, any) = lane.step(self, |step| step.account.spool.plan()).value;
        if any {
            let (most, most_bytes) =
                (self.config().limits.queue_stanzas / 2, self.config().limits.queue_bytes / 2);
            let (mut last, mut bytes) = (None, 0);
            loop {
                let page = self.offline().read(lane.jid().as_str(), last, PAGE).await?;
                last = page.last().map(|row| row.id);
                let short = page.len() < PAGE;
                for row in page {
                    let usable = !waiting.gone.contains(&row.id) && !waiting.live.contains(&row.id);
                    if usable && !row.redacted {
                        waiting.complete &= waiting.rows.len() < most.max(1) && bytes < most_bytes.max(1);
                        if waiting.complete {
                            bytes += row.body.len();
                            waiting.rows.push(row);
                        }
                    }
                }
                if short || !waiting.complete {
                    break;
                }
            }
        }
        Ok(Some(waiting))
    }

    /// A session's queue is nearly empty and there was more offline than it could take: the next part.
    pub(crate) async fn flush_more(self: &Arc<Self>, session: &Session) {
        let lane = &session.lane;
        match self.waiting(lane).await {
            Ok(Some(waiting)) => {
                let _ = lane.step(self, |step| {
                    let id = session.id();
                    let able = step
                        .account
                        .session(id)
                        .is_some_and(|state| state.is_available() && state.priority >= 0);
                    if !able {
                        session.more.store(false, Ordering::Release);
                    } else if step.account.spool.is_current(&waiting) {
                        step.flush(id, waiting);
                    }
                });
                self.route_outbox(lane).await;
            }
            Ok(None) => {}
            Err(fault) => {
                tracing::error!(account = %lane.jid(), %fault, "offline messages cannot be read; they stay");
                session.more.store(false, Ordering::Release);
            }
        }
    }

    /// Deliveries were settled outside of the lane: their rows go.
    pub(crate) fn settled(self: &Arc<Self>, lane: &Lane, deliveries: &[Arc<Delivery>]) {
        let rows: Vec<RowId> = deliveries
            .iter()
            .filter(|delivery| delivery.settle())
            .filter_map(|delivery| delivery.row())
            .collect();
        if !rows.is_empty() {
            // The removal's ticket is left alone: nobody waits for it.
            let _ = lane.step(self, |step| rows.into_iter().for_each(|row| step.forget_row(row)));
        }
    }
}
