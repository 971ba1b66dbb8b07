//! A session: one bound resource. It outlives its connection if stream management was enabled with resumption (XEP-0198).

mod life;
mod queue;

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use jiff::Timestamp;
use nuncio_store::{Fault, Ticket};
use nuncio_stream::Authenticated;
use nuncio_xmpp::error::{StreamCondition, StreamError};
use nuncio_xmpp::jid::Jid;
use parking_lot::{Mutex, MutexGuard};

use crate::delivery::Delivery;
use crate::lane::Lane;
use crate::limits::Meter;
pub(crate) use queue::{Entry, Push, Queue};

/// So many places for stanzas that are not durable yet are kept when none is left.
const OPEN_KEPT: usize = 4;

/// A session's number, never used again while the process lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub(crate) u64);

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// What a connection has to send.
#[derive(Debug)]
pub enum Outgoing {
    /// A stanza, rendered for `jabber:client`.
    Stanza(Bytes),
    /// An element that is no stanza.
    Nonza(Bytes),
    /// Close the stream, with this error or in peace. Nothing follows.
    Close(Option<StreamError>),
}

/// A bound resource of an account.
pub struct Session {
    id: SessionId,
    jid: Jid,
    who: Authenticated,
    since: Timestamp,
    pub(crate) lane: Arc<Lane>,
    pub(crate) out: Mutex<Out>,
    pub(crate) inbound: Mutex<Inbound>,
    /// Whether more offline messages wait than its queue could take at once.
    pub(crate) more: AtomicBool,
    /// Held while a stanza of the client is being handled, so that a resumption knows what was.
    pub(crate) turn: tokio::sync::Mutex<()>,
    pub(crate) meter: Mutex<Meter>,
}

/// The way out, under one lock that is never held across an await.
pub(crate) struct Out {
    pub(crate) queue: Queue,
    pub(crate) phase: Phase,
    pub(crate) sm: Option<Sm>,
    /// What the connection is to close with, once everything before is sent.
    close: Option<Option<Box<StreamError>>>,
    /// Whether the session is kept although we close its stream ourselves.
    pub(crate) kept: bool,
    /// Wakes the connection's task, which waits for something to send.
    waker: Option<Waker>,
    /// The generation of the connection; an older one has nothing to say any more.
    connection: u64,
    /// The last words of connections that were taken off the session.
    farewells: Vec<(u64, Option<StreamError>)>,
}

/// Whether there is a connection.
#[derive(Clone, Copy)]
pub(crate) enum Phase {
    /// There is.
    Connected,
    /// Waits to be resumed.
    Hibernated,
    /// Over.
    Ended,
}

/// Stream management is on.
#[derive(Clone, Debug)]
pub(crate) struct Sm {
    /// The id for resumption, if it can be resumed.
    pub(crate) id: Option<String>,
    /// For how long.
    pub(crate) max: std::time::Duration,
}

/// What came in on behalf of the client, for XEP-0198's `h`.
#[derive(Default)]
pub(crate) struct Inbound {
    /// Our `h` when this stream's numbers began to count.
    pub(crate) base: u32,
    /// The stream's number at that point.
    pub(crate) offset: u64,
    /// The last number taken.
    pub(crate) last: u64,
    /// What is handled and not yet told to be: the number on the stream, and when it is durable.
    pub(crate) open: VecDeque<(u64, Ticket)>,
    /// Everything up to this number is handled and durable, which is not yet told. It is before all that is open.
    done: Option<u64>,
}

impl Inbound {
    /// A stanza was handled.
    pub(crate) fn taken(&mut self, number: u64, durable: Ticket) {
        self.last = number;
        if self.open.is_empty() && matches!(durable.peek(), Some(Ok(()))) {
            self.done = Some(number);
        } else {
            self.open.push_back((number, durable));
        }
    }

    /// What is durable by now and not yet told, as far as it is in order; or why the next will never be.
    pub(crate) fn poll_told(&mut self, cx: &mut Context<'_>) -> Poll<Result<u64, Fault>> {
        while let Some((number, durable)) = self.open.front_mut() {
            match Pin::new(durable).poll(cx) {
                Poll::Ready(Ok(())) => self.done = Some(*number),
                Poll::Ready(Err(fault)) if self.done.is_none() => {
                    self.open.clear();
                    return Poll::Ready(Err(fault));
                }
                Poll::Ready(Err(_)) | Poll::Pending => break,
            }
            self.open.pop_front();
        }
        if self.open.is_empty() {
            // A session that says nothing holds no buffer.
            self.open.shrink_to(OPEN_KEPT);
        }
        self.done.take().map_or(Poll::Pending, |number| Poll::Ready(Ok(number)))
    }

    /// Our `h`, modulo 2^32, once everything that is open is durable.
    pub(crate) const fn h(&self) -> u32 {
        // Modulo 2^32 is what XEP-0198 §4 counts in.
        #[expect(clippy::cast_possible_truncation, reason = "h counts modulo 2^32")]
        let since = self.last.saturating_sub(self.offset) as u32;
        self.base.wrapping_add(since)
    }
}

/// Why a queue refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Offered {
    /// It holds it.
    Taken,
    /// It holds it, but is now over its bound: the connection has to go.
    Over,
    /// It does not take any more.
    Refused,
}

impl Session {
    pub(crate) fn new(
        id: SessionId,
        jid: Jid,
        who: Authenticated,
        since: Timestamp,
        lane: Arc<Lane>,
        queue: Queue,
        meter: Meter,
    ) -> Arc<Self> {
        Arc::new(Self {
            id,
            jid,
            who,
            since,
            lane,
            out: Mutex::new(Out {
                queue,
                phase: Phase::Connected,
                waker: None,
                sm: None,
                close: None,
                kept: false,
                connection: 0,
                farewells: Vec::new(),
            }),
            inbound: Mutex::new(Inbound::default()),
            more: AtomicBool::new(false),
            turn: tokio::sync::Mutex::new(()),
            meter: Mutex::new(meter),
        })
    }

    /// Its number.
    pub const fn id(&self) -> SessionId {
        self.id
    }

    /// Its full address.
    pub const fn jid(&self) -> &Jid {
        &self.jid
    }

    /// How its account was proven.
    pub const fn who(&self) -> &Authenticated {
        &self.who
    }

    /// Since when it is bound.
    pub const fn since(&self) -> Timestamp {
        self.since
    }

    /// Whether there is a connection.
    pub fn is_connected(&self) -> bool {
        matches!(self.out.lock().phase, Phase::Connected)
    }

    /// Whether it is over.
    pub fn is_ended(&self) -> bool {
        matches!(self.out.lock().phase, Phase::Ended)
    }

    /// Whether stream management was enabled.
    pub fn is_managed(&self) -> bool {
        self.out.lock().sm.is_some()
    }

    /// Stanzas that wait to be sent or acknowledged.
    pub fn backlog(&self) -> usize {
        self.out.lock().queue.len()
    }

    /// Resolves once everything that was queued has been taken by the connection, or there is none, or this time is over.
    pub async fn flushed(&self, within: std::time::Duration) {
        let end = tokio::time::Instant::now() + within;
        while tokio::time::Instant::now() < end {
            let (here, waiting) = {
                let out = self.out.lock();
                (matches!(out.phase, Phase::Connected), out.queue.has_ready())
            };
            if !here || !waiting {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    }

    /// The next thing that connection number `connection` has to send, and the delivery that is settled by it (without stream management
    /// nothing else will tell). After [`Outgoing::Close`] it is never ready again.
    pub(crate) fn poll_next(
        &self,
        connection: u64,
        cx: &mut Context<'_>,
    ) -> Poll<(Outgoing, Option<Arc<Delivery>>)> {
        let mut out = self.out.lock();
        if !out.is_of(connection) {
            let last = out.farewells.iter().position(|(number, _)| *number == connection);
            let Some(place) = last else { return Poll::Pending };
            let (_, farewell) = out.farewells.swap_remove(place);
            return Poll::Ready((Outgoing::Close(farewell), None));
        }
        let managed = out.sm.is_some();
        if let Some(next) = out.queue.pop(managed) {
            return Poll::Ready(next);
        }
        if let Some(close) = out.close.take() {
            return Poll::Ready((Outgoing::Close(close.map(|error| *error)), None));
        }
        match &mut out.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        Poll::Pending
    }

    /// The connection's task has something to do. It is woken outside of the lock, which is the first thing that it takes.
    fn wake(mut out: MutexGuard<'_, Out>) {
        let waker = out.waker.take();
        drop(out);
        waker.into_iter().for_each(Waker::wake);
    }

    /// Offers a rendered stanza. `pace` has been decided.
    pub(crate) fn offer(&self, entry: Entry, pace: crate::points::Pace) -> Offered {
        let mut out = self.out.lock();
        match &out.phase {
            Phase::Ended => return Offered::Refused,
            Phase::Connected | Phase::Hibernated => {}
        }
        let pushed = out.queue.push(entry, pace);
        let asleep = matches!(out.phase, Phase::Hibernated);
        Self::wake(out);
        match pushed {
            Push::Taken => Offered::Taken,
            // Without a connection nothing can be ended: the queue may fill up to its second bound.
            Push::Over if asleep => Offered::Taken,
            Push::Over => Offered::Over,
            Push::Refused => Offered::Refused,
        }
    }

    /// Whether it is time for more offline messages.
    pub(crate) fn wants_more(&self) -> bool {
        self.more.load(Ordering::Acquire) && self.out.lock().queue.is_low()
    }

    /// Sends an element that is no stanza, after what is queued.
    pub fn nonza(&self, bytes: Bytes) {
        let mut out = self.out.lock();
        out.queue.push_nonza(bytes);
        Self::wake(out);
    }

    /// Lets the stanzas go that pacers hold back.
    pub fn release(&self) {
        let mut out = self.out.lock();
        out.queue.release();
        Self::wake(out);
    }

    /// The number of its connection.
    pub(crate) fn connection(&self) -> u64 {
        self.out.lock().connection
    }

    /// Tells the connection to close after what is queued. `keep`: the session may be resumed nevertheless.
    pub(crate) fn close(&self, with: Option<StreamError>, keep: bool) {
        let mut out = self.out.lock();
        out.close.get_or_insert_with(|| with.map(Box::new));
        out.kept = keep;
        Self::wake(out);
    }
}

impl Out {
    /// A new connection takes over. Returns its number.
    pub(crate) fn connect(&mut self) -> u64 {
        self.detach(Phase::Ended, Some(StreamError::new(StreamCondition::Conflict)));
        self.close = None;
        self.kept = false;
        self.connection += 1;
        self.phase = Phase::Connected;
        self.connection
    }

    /// Takes the connection off, if there is one, with these last words.
    pub(crate) fn detach(&mut self, into: Phase, farewell: Option<StreamError>) {
        if let Phase::Connected = std::mem::replace(&mut self.phase, into) {
            self.farewells.push((self.connection, farewell));
            self.waker.take().into_iter().for_each(Waker::wake);
        }
    }

    /// Whether this connection is the session's.
    pub(crate) const fn is_of(&self, connection: u64) -> bool {
        matches!(self.phase, Phase::Connected) && self.connection == connection
    }

    /// The connection is gone: what it was to be told is forgotten.
    pub(crate) fn forget(&mut self, connection: u64) {
        self.farewells.retain(|(number, _)| *number != connection);
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("id", &self.id.0).field("jid", &self.jid).finish_non_exhaustive()
    }
}
