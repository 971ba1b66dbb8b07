//! What leaves a relay on a connection: SENDs in chunks, whole frames, and what comes of them (RFC 4976 §6.4).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::{Bytes, BytesMut};
use nuncio_sansio::{Close, Time};

use super::api::{Closed, Event, Flow, Forwarded, Frame, Framing, Origin, Piece, Reporter};
use super::registry::{LinkId, Next};
use super::{Link, Status};
use crate::digest::Challenge;
use crate::head::{Flag, Head, Start, end_line};
use crate::ident::Ident;
use crate::range::ByteRange;
use crate::transaction::Transactions;
use crate::wire::Chunk;

/// Of a SEND that was interrupted so many bytes are to come before it goes on in another chunk: each costs the next hop a head, which may be as
/// long as [`crate::Limits::head_bytes`], and a response. With [`Framing::Message`] each piece is a chunk, so there it holds from the first one on.
const WORTH_A_HEAD: usize = 2_048;

/// So many connections may have as much waiting for responses as one may.
const FULL: usize = 8;
/// The part of it that each may have when they do.
const LITTLE: usize = 128;

/// Requests, other than SEND, that may be answered: where the answer goes.
pub(super) type Origins = Transactions<Origin>;

/// A SEND on its way out.
pub(super) struct Outgoing {
    forwarded: Box<Forwarded>,
    reporter: Option<Arc<Reporter>>,
    /// Where in its message the next byte stands.
    offset: u64,
    /// Whether a chunk of it has gone, or stands open.
    begun: bool,
    /// What is to be sent with the next piece.
    held: BytesMut,
}

/// The chunk that stands open.
pub(super) struct Out {
    flow: Flow,
    chunk: Chunk,
    /// Where in the message it begins.
    from: u64,
}

/// A chunk that was sent, and waits for its response.
pub(super) struct Sent {
    reporter: Arc<Reporter>,
    range: Option<ByteRange>,
    source: LinkId,
}

impl Link {
    /// A piece of a SEND for this connection.
    pub(super) fn piece(&mut self, now: Time, flow: Flow, piece: Piece) {
        match piece {
            Piece::Head(forwarded) => {
                // What was not ended before is not continued.
                self.end_flow(now, flow, Flag::Abort);
                let reporter = Reporter::new(&forwarded).map(Arc::new);
                let offset = forwarded.head.range.map_or(0, ByteRange::offset);
                let held = BytesMut::new();
                self.flows.insert(flow, Outgoing { forwarded, reporter, offset, begun: false, held });
            }
            Piece::Data(bytes) => self.data_out(now, flow, bytes),
            Piece::End(flag) => self.end_flow(now, flow, flag),
        }
    }

    /// Sends bytes of a SEND, or keeps the few that are not worth a chunk of their own.
    fn data_out(&mut self, now: Time, flow: Flow, bytes: Bytes) {
        let open = self.open.as_ref().is_some_and(|open| open.flow == flow);
        let Some(outgoing) = self.flows.get_mut(&flow) else { return };
        match self.config.framing {
            Framing::Stream if open || !outgoing.begun => self.write_data(now, flow, bytes),
            Framing::Stream => {
                outgoing.held.extend_from_slice(&bytes);
                if outgoing.held.len() >= WORTH_A_HEAD {
                    let held = std::mem::take(&mut outgoing.held).freeze();
                    self.write_data(now, flow, held);
                }
            }
            Framing::Message => {
                // Something is always kept for the chunk that ends it.
                let worth = !outgoing.held.is_empty() && outgoing.held.len() + bytes.len() > WORTH_A_HEAD;
                let held = if worth { std::mem::take(&mut outgoing.held).freeze() } else { Bytes::new() };
                outgoing.held.extend_from_slice(&bytes);
                if worth {
                    self.write_data(now, flow, held);
                    self.interrupt(now);
                }
            }
        }
    }

    fn write_data(&mut self, now: Time, flow: Flow, bytes: Bytes) {
        if self.open.as_ref().is_some_and(|open| open.flow != flow) {
            self.interrupt(now);
        }
        let mut rest = bytes;
        while !rest.is_empty() {
            let Some(room) = self.open_chunk(flow).map(|open| open.chunk.admit(&rest)) else { return };
            let piece = rest.split_to(room.min(rest.len()));
            if let Some(outgoing) = self.flows.get_mut(&flow) {
                let length = u64::try_from(piece.len()).unwrap_or(u64::MAX);
                outgoing.offset = outgoing.offset.saturating_add(length);
            }
            match self.config.framing {
                Framing::Stream => self.wire.send(piece),
                Framing::Message => self.wire.write(|out| out.extend_from_slice(&piece)),
            }
            if !rest.is_empty() {
                // The body has what would end this chunk: another identifier carries on (RFC 4975 §7.1).
                self.interrupt(now);
            }
        }
    }

    /// The chunk that stands open for this flow, or a new one.
    fn open_chunk(&mut self, flow: Flow) -> Option<&mut Out> {
        if self.open.is_none() {
            let outgoing = self.flows.get_mut(&flow)?;
            outgoing.begun = true;
            let head = outgoing.head(Ident::random(&*self.entropy));
            self.wire.write(|out| head.write(out));
            self.open = Some(Out { flow, chunk: Chunk::new(head.id), from: outgoing.offset });
        }
        self.open.as_mut()
    }

    /// Ends the chunk that stands open so that something else can be written.
    pub(super) fn interrupt(&mut self, now: Time) {
        self.close_chunk(now, Flag::More);
    }

    fn close_chunk(&mut self, now: Time, flag: Flag) {
        let Some(open) = self.open.take() else { return };
        self.wire.write(|out| open.chunk.end(flag, out));
        self.finish_frame();
        let Some(outgoing) = self.flows.get(&open.flow) else { return };
        // What its origin has given up, or was told of, nobody waits for.
        if flag == Flag::Abort {
            return;
        }
        let range = outgoing.reporter.as_ref().and_then(|reporter| outgoing.range(open.from, reporter));
        self.begin(now, open.chunk.id(), open.flow, range);
    }

    /// Waits for the response to a chunk.
    fn begin(&mut self, now: Time, id: Ident, flow: Flow, range: Option<ByteRange>) {
        let reporter = self.flows.get(&flow).and_then(|outgoing| outgoing.reporter.clone());
        let Some(reporter) = reporter else { return };
        let sent = Sent { reporter, range, source: flow.source };
        // Who has waited longest waits in vain, as with too many.
        while self.sent_bytes.room(self.config.transaction_bytes) < sent.size() {
            let Some(oldest) = self.sent.pop_oldest() else { break };
            self.sent_bytes.remove(oldest.size());
            self.silent(&oldest);
        }
        self.sent_bytes.add(sent.size());
        if let Some(oldest) = self.sent.begin(now, id, sent) {
            self.sent_bytes.remove(oldest.size());
            self.silent(&oldest);
        }
    }

    /// The end of a SEND.
    fn end_flow(&mut self, now: Time, flow: Flow, flag: Flag) {
        let held = match self.flows.get_mut(&flow) {
            Some(outgoing) => std::mem::take(&mut outgoing.held).freeze(),
            None => return,
        };
        self.write_data(now, flow, held);
        let bodiless = self.flows.get(&flow).filter(|it| it.forwarded.head.content_type.is_none());
        if let Some(outgoing) = bodiless {
            let mut head = outgoing.forwarded.head.clone();
            head.id = Ident::random(&*self.entropy);
            let range = head.range;
            self.interrupt(now);
            self.wire.write(|out| {
                head.write(out);
                end_line(&head.id, flag, out);
            });
            self.finish_frame();
            if flag != Flag::Abort {
                self.begin(now, head.id, flow, range);
            }
        } else {
            if self.open.as_ref().is_some_and(|open| open.flow != flow) {
                self.interrupt(now);
            }
            self.open_chunk(flow);
            self.close_chunk(now, flag);
        }
        self.flows.remove(&flow);
    }

    /// A whole frame for this connection.
    pub(super) fn frame(&mut self, now: Time, mut frame: Frame) {
        self.interrupt(now);
        if frame.head.method().is_some() {
            // RFC 4976 §6.4: identifiers of two connections may be alike.
            loop {
                frame.head.id = Ident::random(&*self.entropy);
                let body = frame.body.as_deref().unwrap_or_default();
                if !crate::head::ends_early(&frame.head.id, body) {
                    break;
                }
            }
            if let Some(origin) = frame.origin.clone() {
                // Who waits longest of too many waits in vain.
                let _forgotten = self.origins.begin(now, frame.head.id, origin);
            }
        }
        self.wire.write(|out| frame.write(out));
        self.finish_frame();
        if let Some(right) = frame.login {
            self.login_behind(now, right);
        }
    }

    /// RFC 4976 §6.3: a client that tries passwords at a relay behind us is cut off as well.
    fn login_behind(&mut self, now: Time, right: bool) {
        // One right login does not make up for all wrong ones: it may be another account's.
        let failures = self.forwarded_failures;
        self.forwarded_failures = if right { failures.saturating_sub(1) } else { failures + 1 };
        if self.forwarded_failures >= self.config.failures && self.relay.is_none() {
            self.close(now, Closed::Failures, Close::Orderly);
        }
    }

    /// A response of the next hop (RFC 4976 §6.4.3). One that nobody waits for is dropped.
    pub(super) fn response(&mut self, _now: Time, mut head: Head) {
        let Start::Response { status, .. } = head.start else { return };
        if let Some(sent) = self.sent.answer(&head.id) {
            self.sent_bytes.remove(sent.size());
            if !status.is_success() {
                self.report(&sent, status);
            }
            return;
        }
        let early =
            self.open.as_ref().filter(|open| open.chunk.id() == head.id).map(|open| (open.flow, open.from));
        if let Some((flow, from)) = early.filter(|_| !status.is_success()) {
            // An error before the chunk has ended: its origin is told at once, and may stop.
            if let Some(outgoing) = self.flows.get_mut(&flow)
                && let Some(reporter) = outgoing.reporter.take()
            {
                let range = outgoing.range(from, &reporter);
                self.report(&Sent { reporter, range, source: flow.source }, status);
            }
            return;
        }
        let Some(origin) = self.origins.answer(&head.id) else { return };
        let Some((to, from)) = head.to.moved(origin.moved, &head.from) else { return };
        let login = origin.tries.then(|| verdict(status, &head)).flatten();
        head.id = origin.id;
        (head.to, head.from) = (to, from);
        let frame = Frame { login, ..Frame::new(Box::new(Head { content_type: None, ..head })) };
        self.wire.event(Event::Frame { next: Next::Link(origin.link), frame });
    }

    fn report(&mut self, sent: &Sent, status: Status) {
        let range = sent.range.unwrap_or(ByteRange::EMPTY);
        if let Some(frame) = sent.reporter.report(range, status, &*self.entropy) {
            self.wire.event(Event::Frame { next: Next::Link(sent.source), frame });
        }
    }

    /// Nothing came for 30 seconds: 408 to the origin, if it wanted an answer (S1-L10).
    fn silent(&mut self, sent: &Sent) {
        if !sent.reporter.strict {
            return;
        }
        let range = sent.range.unwrap_or(ByteRange::EMPTY);
        if let Some(report) = sent.reporter.report(range, Status::TIMEOUT, &*self.entropy) {
            // Slow is not gone: what follows of its SEND goes on, whatever its origin makes of the report.
            let frame = Frame { about: None, ..report };
            self.wire.event(Event::Frame { next: Next::Link(sent.source), frame });
        }
    }

    pub(super) fn expire_sent(&mut self, now: Time) {
        while let Some(sent) = self.sent.expired(now) {
            self.sent_bytes.remove(sent.size());
            self.silent(&sent);
        }
        while self.origins.expired(now).is_some() {}
    }

    /// The connection is over: what it has not answered has failed, and what it has not got whole has failed with this status.
    pub(super) fn fail_all(&mut self, now: Time, status: Status) {
        for flow in self.flows.keys().copied().collect::<Vec<_>>() {
            // What was not even sent whole is a problem that we know of: who asked for `partial` hears of it too (RFC 4976 §6.4.1).
            if let Some(outgoing) = self.flows.get_mut(&flow)
                && let Some(reporter) = outgoing.reporter.take()
            {
                // Chunks that went before are followed by themselves, where anybody answers them.
                let open = self.open.as_ref().filter(|open| open.flow == flow).map(|open| open.from);
                let begun = outgoing.forwarded.head.range.map_or(0, ByteRange::offset);
                let begin = if reporter.strict { open.unwrap_or(outgoing.offset) } else { begun };
                let range = outgoing.range(begin, &reporter);
                self.report(&Sent { reporter, range, source: flow.source }, status);
            }
            self.end_flow(now, flow, Flag::Abort);
        }
        self.sent_bytes.clear();
        for sent in self.sent.drain().filter(|sent| sent.reporter.strict).collect::<Vec<_>>() {
            self.report(&sent, Status::TIMEOUT);
        }
    }
}

/// Whether credentials that were tried at a relay behind us were right; none if that does not show.
fn verdict(status: Status, response: &Head) -> Option<bool> {
    let stale = || response.all_fields("WWW-Authenticate").filter_map(Challenge::parse).any(|it| it.stale);
    match status {
        Status::UNAUTHORIZED if !stale() => Some(false),
        status if status.is_success() => Some(true),
        _ => None,
    }
}

/// The bytes of memory of what waits for responses: on one connection, and a part of that on all.
pub(super) struct SentBytes {
    own: usize,
    all: Arc<AtomicUsize>,
}

impl SentBytes {
    pub(super) const fn new(all: Arc<AtomicUsize>) -> Self {
        Self { own: 0, all }
    }

    /// How much more there may be here. Where all together hold what [`FULL`] connections may, each may have little.
    fn room(&self, most: usize) -> usize {
        let full = self.all.load(Ordering::Relaxed) >= most.saturating_mul(FULL);
        (if full { most / LITTLE } else { most }).saturating_sub(self.own)
    }

    fn add(&mut self, bytes: usize) {
        self.own += bytes;
        self.all.fetch_add(bytes, Ordering::Relaxed);
    }

    fn remove(&mut self, bytes: usize) {
        self.own = self.own.saturating_sub(bytes);
        self.all.fetch_sub(bytes, Ordering::Relaxed);
    }

    fn clear(&mut self) {
        self.remove(self.own);
    }
}

impl Drop for SentBytes {
    fn drop(&mut self) {
        self.clear();
    }
}

impl Sent {
    /// About how many bytes of memory it holds.
    fn size(&self) -> usize {
        size_of::<Self>() + self.reporter.size()
    }
}

impl Outgoing {
    /// What has gone out since this byte of the message.
    fn range(&self, from: u64, reporter: &Reporter) -> Option<ByteRange> {
        ByteRange::at(from, Some(self.offset.saturating_sub(from)), reporter.total).ok()
    }

    /// The head of the next chunk.
    fn head(&self, id: Ident) -> Head {
        let mut head = self.forwarded.head.clone();
        let total = head.range.and_then(ByteRange::total);
        // RFC 4976 §6.4.1: the range is what it will be; its end is open, because it may be interrupted.
        head.range =
            ByteRange::at(self.offset, None, total).or_else(|_| ByteRange::at(self.offset, None, None)).ok();
        head.id = id;
        head
    }
}
