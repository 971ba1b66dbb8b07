//! What is sent: messages in chunks, one of which may stand open (RFC 4975 §7.1).

use bytes::Bytes;
use nuncio_sansio::Time;

use super::api::{Body, Event, Failure, Message, SessionEnd, SessionId};
use super::{Endpoint, count, remember};
use crate::head::{FailureReport, Field, Flag, Head, Method, Start};
use crate::ident::Ident;
use crate::media::essence;
use crate::range::ByteRange;
use crate::reassembly::Spans;
use crate::status::Status;
use crate::wire::Chunk;

/// Up to here a chunk need not be interruptible (RFC 4975 §7.1.1).
const SHORT: usize = 2_048;
/// Refused media types that are remembered in a session.
const TYPES: usize = 64;

/// A message of ours.
pub(super) struct Outgoing {
    content_type: Box<str>,
    fields: Vec<Field>,
    pub(super) success_report: bool,
    failure_report: FailureReport,
    /// Its length, once it is known.
    pub(super) total: Option<u64>,
    /// So many bytes are sent.
    pub(super) sent: u64,
    /// Its last byte is sent.
    last: bool,
    /// Chunks without an answer.
    unanswered: usize,
    /// [`Event::Sent`] is told.
    told: bool,
    /// What the peer has reported success for.
    pub(super) reported: Spans,
    /// It has reported success at all: an empty message has no bytes to report on.
    pub(super) confirmed: bool,
}

/// The chunk whose head is written and whose end-line is not.
pub(super) struct Open {
    pub(super) session: SessionId,
    message: Ident,
    chunk: Chunk,
}

/// A request that waits for its response.
pub(super) struct Waiting {
    pub(super) session: SessionId,
    /// The message; none for a request without content.
    message: Option<Ident>,
    /// Silence is a failure (`Failure-Report: yes`).
    strict: bool,
}

impl Endpoint {
    /// The request that binds a session to this connection.
    pub(super) fn greet(&mut self, now: Time, id: SessionId) {
        let message = Ident::random(&*self.entropy);
        self.send_bodiless(now, id, message, FailureReport::Yes);
    }

    fn send_bodiless(&mut self, now: Time, id: SessionId, message: Ident, failure_report: FailureReport) {
        let Some(mut head) = self.send_head(id, message) else { return };
        head.range = Some(ByteRange::EMPTY);
        head.failure_report = failure_report;
        self.urgent(now, &head);
        self.begin(now, head.id, id, None, failure_report);
    }

    fn send_head(&self, id: SessionId, message: Ident) -> Option<Head> {
        let session = &self.sessions.get(&id)?.session;
        let tid = Ident::random(&*self.entropy);
        let mut head = Head::request(tid, Method::Send, session.path.clone(), session.local.clone().into());
        head.message_id = Some(message);
        Some(head)
    }

    /// Waits for the response to a request.
    fn begin(
        &mut self,
        now: Time,
        tid: Ident,
        session: SessionId,
        message: Option<Ident>,
        failure_report: FailureReport,
    ) {
        if failure_report == FailureReport::No {
            return;
        }
        let strict = failure_report == FailureReport::Yes;
        if let Some(oldest) = self.waiting.begin(now, tid, Waiting { session, message, strict }) {
            self.timed_out(now, &oldest);
        }
    }

    /// A new message.
    pub(super) fn send(&mut self, now: Time, message: Message) {
        let Message {
            session: id,
            id: message_id,
            content_type,
            fields,
            body,
            success_report,
            failure_report,
        } = message;
        let failed = |why| Event::Failed { session: id, message: message_id, why };
        let Some(bound) = self.sessions.get_mut(&id) else {
            self.wire.event(failed(Failure::Refused));
            return;
        };
        let (total, whole) = match body {
            Body::None => {
                if failure_report != FailureReport::No {
                    // A relay that takes it may still report that it went nowhere (RFC 4976 §6.4.1). The first request of all may be there before its
                    // session is.
                    remember(&mut bound.lately, message_id);
                }
                self.send_bodiless(now, id, message_id, failure_report);
                return;
            }
            Body::Whole(bytes) => (Some(count(&bytes)), Some(bytes)),
            Body::Stream(total) => (total, None),
        };
        let refused_type =
            essence(&content_type).is_none_or(|essence| bound.refused_types.contains(&essence));
        let why = if refused_type || !bound.session.peer_accepts.accepts(&content_type) {
            Some(Failure::Type)
        } else if bound.session.peer_max_size.is_some_and(|most| total.is_some_and(|total| total > most)) {
            Some(Failure::Size)
        } else if bound.outgoing.contains_key(&message_id) || bound.outgoing.len() >= self.config.transactions
        {
            Some(Failure::Refused)
        } else {
            None
        };
        if let Some(why) = why {
            self.wire.event(failed(why));
            return;
        }
        let outgoing = Outgoing {
            content_type,
            fields,
            success_report,
            failure_report,
            total,
            sent: 0,
            last: false,
            unanswered: 0,
            told: false,
            reported: Spans::default(),
            confirmed: false,
        };
        bound.outgoing.insert(message_id, outgoing);
        match whole {
            Some(bytes) if bytes.len() <= SHORT => self.send_short(now, id, message_id, &bytes),
            Some(bytes) => self.send_data(now, id, message_id, bytes, true),
            None => {}
        }
    }

    /// A message in one chunk that is too short to be interrupted.
    fn send_short(&mut self, now: Time, id: SessionId, message: Ident, bytes: &Bytes) {
        self.interrupt(now);
        let length = count(bytes);
        let Some(mut head) = self.chunk_head(id, message) else { return };
        head.range = ByteRange::at(0, Some(length), Some(length)).ok();
        let frame = head.frame(Some(bytes), Flag::Last, &*self.entropy);
        self.wire.write(|out| out.extend_from_slice(&frame));
        let Some(outgoing) = self.outgoing(id, message) else { return };
        outgoing.sent = length;
        self.sent_chunk(now, head.id, id, message, Flag::Last);
    }

    fn chunk_head(&mut self, id: SessionId, message: Ident) -> Option<Head> {
        let mut head = self.send_head(id, message)?;
        let outgoing = self.outgoing(id, message)?;
        head.range = ByteRange::at(outgoing.sent, None, outgoing.total).ok();
        head.success_report = outgoing.success_report;
        head.failure_report = outgoing.failure_report;
        head.fields.clone_from(&outgoing.fields);
        head.content_type = Some(outgoing.content_type.clone());
        Some(head)
    }

    fn outgoing(&mut self, id: SessionId, message: Ident) -> Option<&mut Outgoing> {
        self.sessions.get_mut(&id)?.outgoing.get_mut(&message)
    }

    /// More of a message. One that has failed meanwhile takes no more.
    pub(super) fn send_data(&mut self, now: Time, id: SessionId, message: Ident, bytes: Bytes, last: bool) {
        let most =
            self.sessions.get(&id).and_then(|bound| bound.session.peer_max_size).unwrap_or(ByteRange::MAX);
        let Some(outgoing) = self.outgoing(id, message).filter(|outgoing| !outgoing.last) else { return };
        let until = outgoing.sent.saturating_add(count(&bytes));
        if until > most.min(outgoing.total.unwrap_or(ByteRange::MAX)) {
            self.abort(now, id, message);
            self.wire.event(Event::Failed { session: id, message, why: Failure::Size });
            return;
        }
        if self.open.as_ref().is_some_and(|open| open.session != id || open.message != message) {
            self.interrupt(now);
        }
        let mut rest = bytes;
        while !rest.is_empty() {
            let Some(open) = self.open_chunk(id, message) else { return };
            let room = open.chunk.admit(&rest);
            let piece = rest.split_to(room.min(rest.len()));
            if let Some(outgoing) = self.outgoing(id, message) {
                outgoing.sent = outgoing.sent.saturating_add(count(&piece));
            }
            self.wire.send(piece);
            if !rest.is_empty() {
                // The body has what would end this chunk: another identifier carries on (RFC 4975 §7.1).
                self.close_chunk(now, Flag::More);
            }
        }
        if last && self.open_chunk(id, message).is_some() {
            self.close_chunk(now, Flag::Last);
        }
    }

    /// The chunk that stands open for this message, or a new one.
    fn open_chunk(&mut self, session: SessionId, message: Ident) -> Option<&mut Open> {
        if self.open.is_none() {
            let head = self.chunk_head(session, message)?;
            self.wire.write(|out| head.write(out));
            self.open = Some(Open { session, message, chunk: Chunk::new(head.id) });
        }
        self.open.as_mut()
    }

    /// Ends the chunk that stands open so that something else can be written.
    pub(super) fn interrupt(&mut self, now: Time) {
        self.close_chunk(now, Flag::More);
    }

    pub(super) fn close_chunk(&mut self, now: Time, flag: Flag) {
        let Some(open) = self.open.take() else { return };
        self.wire.write(|out| open.chunk.end(flag, out));
        self.sent_chunk(now, open.chunk.id(), open.session, open.message, flag);
    }

    /// A chunk is on its way.
    fn sent_chunk(&mut self, now: Time, tid: Ident, id: SessionId, message: Ident, flag: Flag) {
        let Some(outgoing) = self.outgoing(id, message) else { return };
        let failure_report = outgoing.failure_report;
        outgoing.last = flag == Flag::Last;
        if outgoing.last {
            outgoing.total = Some(outgoing.sent);
        }
        if flag == Flag::Abort {
            return;
        }
        if failure_report == FailureReport::Yes {
            outgoing.unanswered += 1;
        }
        self.begin(now, tid, id, Some(message), failure_report);
        self.settle(id, message);
    }

    /// Tells what is now known of a message, and forgets it when that is everything.
    pub(super) fn settle(&mut self, id: SessionId, message: Ident) {
        let Some(bound) = self.sessions.get_mut(&id) else { return };
        let Some(outgoing) = bound.outgoing.get_mut(&message).filter(|outgoing| outgoing.last) else {
            return;
        };
        let answered = outgoing.unanswered == 0;
        let delivered = outgoing.confirmed && outgoing.reported.covers(outgoing.sent);
        let told = outgoing.told;
        outgoing.told |= answered;
        let quiet = outgoing.failure_report == FailureReport::No;
        let over = (answered && !outgoing.success_report) || delivered;
        if answered && !told {
            self.wire.event(Event::Sent { session: id, message });
        }
        if over {
            if delivered {
                self.wire.event(Event::Delivered { session: id, message });
            }
            bound.outgoing.remove(&message);
            if !delivered && !quiet {
                remember(&mut bound.lately, message);
            }
        }
    }

    /// Gives up a message.
    pub(super) fn abort(&mut self, now: Time, id: SessionId, message: Ident) {
        let Some(outgoing) = self.outgoing(id, message) else { return };
        let (started, last) = (outgoing.sent > 0, outgoing.last);
        if !last {
            let is_open =
                self.open.as_ref().is_some_and(|open| open.session == id && open.message == message);
            if started && !is_open {
                self.interrupt(now);
                self.open_chunk(id, message);
                self.close_chunk(now, Flag::Abort);
            } else if is_open {
                self.close_chunk(now, Flag::Abort);
            }
        }
        self.forget(id, message);
    }

    fn forget(&mut self, id: SessionId, message: Ident) {
        if let Some(bound) = self.sessions.get_mut(&id) {
            bound.outgoing.remove(&message);
        }
        self.waiting.take(|waiting| waiting.session == id && waiting.message == Some(message));
    }

    /// A response. One that nobody waits for is ignored.
    pub(super) fn response(&mut self, now: Time, head: &Head) {
        if let Some(attempt) = self.login.take_if(|attempt| attempt.id == head.id) {
            self.login_response(now, attempt, head);
            return;
        }
        let Start::Response { status, .. } = head.start else { return };
        let waiting = match self.waiting.answer(&head.id) {
            Some(waiting) => waiting,
            None => {
                // An error may come before the chunk has ended.
                let Some(open) = self.open.as_ref().filter(|open| open.chunk.id() == head.id) else { return };
                if status.is_success() {
                    return;
                }
                Waiting { session: open.session, message: Some(open.message), strict: false }
            }
        };
        let id = waiting.session;
        match (waiting.message, status.is_success()) {
            (Some(message), true) => {
                if let Some(outgoing) = self.outgoing(id, message).filter(|_| waiting.strict) {
                    outgoing.unanswered = outgoing.unanswered.saturating_sub(1);
                }
                self.settle(id, message);
            }
            (None, true) => {}
            (Some(message), false) => self.fail(now, id, message, Failure::Status(status)),
            (None, false) => self.fail_session(now, id, status),
        }
    }

    /// Nothing came for 30 seconds.
    pub(super) fn timed_out(&mut self, now: Time, waiting: &Waiting) {
        match waiting.message {
            Some(message) if waiting.strict => {
                self.fail(now, waiting.session, message, Failure::Status(Status::TIMEOUT));
            }
            // Whoever does not answer to the request that binds a session is not there.
            None if waiting.strict => {
                self.end_session(now, waiting.session, SessionEnd::Failed(Status::TIMEOUT));
            }
            _ => {}
        }
    }

    /// A message has failed: nothing more of it is sent (RFC 4975 §10).
    pub(super) fn fail(&mut self, now: Time, id: SessionId, message: Ident, why: Failure) {
        if self.open.as_ref().is_some_and(|open| open.session == id && open.message == message) {
            self.close_chunk(now, Flag::Abort);
        }
        let Some(bound) = self.sessions.get_mut(&id) else { return };
        let Some(outgoing) = bound.outgoing.get(&message) else { return };
        if why == Failure::Status(Status::MEDIA_TYPE)
            && bound.refused_types.len() < TYPES
            && let Some(essence) = essence(&outgoing.content_type)
        {
            bound.refused_types.push(essence);
        }
        self.forget(id, message);
        self.wire.event(Event::Failed { session: id, message, why });
        if let Failure::Status(status) = why {
            self.fail_session(now, id, status);
        }
    }

    fn fail_session(&mut self, now: Time, id: SessionId, status: Status) {
        match status {
            Status::NO_SESSION => self.end_session(now, id, SessionEnd::Gone),
            Status::OTHER_CONNECTION => self.end_session(now, id, SessionEnd::Elsewhere),
            _ => {}
        }
    }
}
