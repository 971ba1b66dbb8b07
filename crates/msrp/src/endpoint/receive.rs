//! What comes: chunks of messages and reports (RFC 4975 §7.3).

use bytes::Bytes;
use nuncio_sansio::Time;

use super::api::{Event, Failure, Incomplete, Reports, SessionEnd, SessionId};
use super::{Done, Endpoint, Timer, count, remember};
use crate::head::{FailureReport, Flag, Head};
use crate::ident::Ident;
use crate::range::ByteRange;
use crate::reassembly::{Assembly, Refused};
use crate::status::Status;

/// A message that is not complete yet.
pub(super) struct Incoming {
    assembly: Assembly,
    failure_report: FailureReport,
}

/// The frame that is being read.
pub(super) enum Reading {
    /// None.
    Nothing,
    /// What comes until its end is of no interest.
    Swallow,
    /// A request without content.
    Bodiless(SessionId, Box<Head>, Ident),
    /// A chunk; so many bytes of the message come before the next one.
    Chunk(SessionId, Box<Head>, Ident, u64),
    /// A chunk of a message that was complete before.
    Again(SessionId, Box<Head>, Done),
}

impl Reading {
    pub(super) const fn session(&self) -> Option<SessionId> {
        match self {
            Self::Nothing | Self::Swallow => None,
            Self::Bodiless(id, ..) | Self::Chunk(id, ..) | Self::Again(id, ..) => Some(*id),
        }
    }
}

impl Refused {
    const fn status(self) -> Status {
        match self {
            Self::Long | Self::Scattered => Status::STOP,
            Self::Contradiction => Status::BAD_REQUEST,
        }
    }
}

impl Endpoint {
    /// The head of a SEND for this session.
    pub(super) fn incoming(&mut self, now: Time, id: SessionId, head: Box<Head>) {
        match self.admit(now, id, &head) {
            Ok(reading) => {
                self.reading = match reading {
                    Admitted::Bodiless(message) => Reading::Bodiless(id, head, message),
                    Admitted::Chunk(message, offset) => Reading::Chunk(id, head, message, offset),
                    Admitted::Again(done) => Reading::Again(id, head, done),
                }
            }
            Err(status) => {
                if let Some(message) = head.message_id {
                    self.drop_incoming(now, id, message, Incomplete::Refused(status));
                }
                self.refuse(now, &head, status);
            }
        }
    }

    fn admit(&mut self, now: Time, id: SessionId, head: &Head) -> Result<Admitted, Status> {
        let bound = self.sessions.get_mut(&id).ok_or(Status::NO_SESSION)?;
        let message = head.message_id.ok_or(Status::BAD_REQUEST)?;
        let Some(content_type) = &head.content_type else { return Ok(Admitted::Bodiless(message)) };
        if let Some((_, status)) = bound.refused.iter().find(|(refused, _)| *refused == message) {
            return Err(*status);
        }
        if let Some(done) = bound.done.iter().find(|done| done.id == message) {
            return Ok(Admitted::Again(*done));
        }
        if !bound.session.accept.accepts(content_type) {
            return Err(Status::MEDIA_TYPE);
        }
        // A first chunk without a range begins at the beginning (RFC 4975 §7.3.1).
        let offset = head.range.map_or(0, ByteRange::offset);
        let known = bound.incoming.len();
        let new = !bound.incoming.contains_key(&message);
        if new && known >= self.config.messages {
            return Err(Status::STOP);
        }
        let incoming = bound.incoming.entry(message).or_insert_with(|| Incoming {
            assembly: Assembly::new(bound.session.max_size, self.config.gaps),
            failure_report: head.failure_report,
        });
        let check = head.range.map_or(Ok(()), |range| incoming.assembly.check(range));
        if new {
            if let Err(refused) = check {
                bound.incoming.remove(&message);
                return Err(refused.status());
            }
            self.wire.event(Event::Incoming {
                session: id,
                message,
                content_type: content_type.clone(),
                fields: head.fields.clone(),
                total: head.range.and_then(ByteRange::total),
                success_report: head.success_report,
            });
        }
        check.map_err(Refused::status)?;
        self.timers.set(Timer::Incomplete(id, message), now + self.config.incomplete);
        Ok(Admitted::Chunk(message, offset))
    }

    /// Bytes of a body.
    pub(super) fn data(&mut self, now: Time, bytes: Bytes) {
        let Reading::Chunk(id, _, message, offset) = &mut self.reading else { return };
        let (id, message, at) = (*id, *message, *offset);
        let incoming = self.sessions.get_mut(&id).and_then(|bound| bound.incoming.get_mut(&message));
        let Some(incoming) = incoming else { return };
        match incoming.assembly.data(at, bytes.len()) {
            Ok(()) => {
                *offset = at.saturating_add(count(&bytes));
                self.timers.set(Timer::Incomplete(id, message), now + self.config.incomplete);
                self.wire.event(Event::Data { session: id, message, offset: at, bytes });
            }
            Err(refused) => self.give_up(now, refused.status()),
        }
    }

    /// The message that is being read is refused; so is what else comes of it.
    fn give_up(&mut self, now: Time, status: Status) {
        let reading = std::mem::replace(&mut self.reading, Reading::Swallow);
        let Reading::Chunk(id, head, message, _) = reading else { return };
        self.drop_incoming(now, id, message, Incomplete::Refused(status));
        if let Some(bound) = self.sessions.get_mut(&id) {
            bound.refuse(message, status);
        }
        self.refuse(now, &head, status);
    }

    /// The end of a frame.
    pub(super) fn end(&mut self, now: Time, flag: Flag) {
        match std::mem::replace(&mut self.reading, Reading::Nothing) {
            Reading::Nothing | Reading::Swallow => {}
            Reading::Bodiless(id, head, message) => {
                let known = self.sessions.get(&id).is_some_and(|bound| bound.incoming.contains_key(&message));
                if known {
                    let offset = head.range.map_or(0, ByteRange::offset);
                    self.end_chunk(now, id, head, message, offset, flag);
                } else {
                    self.wire.event(Event::Alive(id));
                    self.accept(now, &head);
                }
            }
            Reading::Chunk(id, head, message, offset) => self.end_chunk(now, id, head, message, offset, flag),
            Reading::Again(id, head, done) => {
                if flag == Flag::Last {
                    self.wire.event(Event::Duplicate { session: id, message: done.id });
                }
                self.accept(now, &head);
                let automatic =
                    self.sessions.get(&id).is_some_and(|bound| bound.session.reports == Reports::Automatic);
                if flag == Flag::Last && head.success_report && automatic {
                    self.write_report(now, id, done.id, done.length, Status::OK);
                }
            }
        }
    }

    fn end_chunk(
        &mut self,
        now: Time,
        id: SessionId,
        head: Box<Head>,
        message: Ident,
        offset: u64,
        flag: Flag,
    ) {
        let Some(bound) = self.sessions.get_mut(&id) else { return };
        let Some(incoming) = bound.incoming.get_mut(&message) else { return };
        if flag == Flag::Abort {
            self.drop_incoming(now, id, message, Incomplete::Sender);
            self.accept(now, &head);
            return;
        }
        if flag == Flag::Last
            && let Err(refused) = incoming.assembly.end(offset)
        {
            self.reading = Reading::Chunk(id, head, message, offset);
            self.give_up(now, refused.status());
            self.reading = Reading::Nothing;
            return;
        }
        let complete = incoming.assembly.complete();
        let automatic = bound.session.reports == Reports::Automatic;
        if let Some(length) = complete {
            bound.incoming.remove(&message);
            remember(
                &mut bound.done,
                Done {
                    id: message,
                    length,
                    success_report: head.success_report,
                    failure_report: head.failure_report,
                },
            );
            self.timers.clear(Timer::Incomplete(id, message));
            self.wire.event(Event::Complete { session: id, message, length });
        }
        // The host has heard everything before the peer hears that it was taken.
        self.accept(now, &head);
        if let Some(length) = complete.filter(|_| automatic && head.success_report) {
            self.write_report(now, id, message, length, Status::OK);
        }
    }

    /// Answers 200, if the sender wants that (RFC 4975 §7.2).
    fn accept(&mut self, now: Time, head: &Head) {
        if head.failure_report == FailureReport::Yes
            && let Some(response) = head.response(Status::OK)
        {
            self.urgent(now, &response);
        }
    }

    /// Forgets an incomplete message and says so.
    pub(super) fn drop_incoming(&mut self, _now: Time, id: SessionId, message: Ident, why: Incomplete) {
        let Some(bound) = self.sessions.get_mut(&id) else { return };
        if bound.incoming.remove(&message).is_some() {
            self.timers.clear(Timer::Incomplete(id, message));
            self.wire.event(Event::Incomplete { session: id, message, why });
        }
    }

    /// The host does not want a message.
    pub(super) fn refuse_message(&mut self, now: Time, id: SessionId, message: Ident, status: Status) {
        let Some(bound) = self.sessions.get_mut(&id) else { return };
        bound.refuse(message, status);
        self.drop_incoming(now, id, message, Incomplete::Refused(status));
        if matches!(&self.reading, Reading::Chunk(of, _, reading, _) if *of == id && *reading == message)
            && let Reading::Chunk(_, head, ..) = std::mem::replace(&mut self.reading, Reading::Swallow)
        {
            self.refuse(now, &head, status);
        }
    }

    /// The host reports on a message: success only where it was asked for, failure unless it was declined (RFC 4975 §7.1.3, §7.1.4).
    pub(super) fn report(&mut self, now: Time, id: SessionId, message: Ident, length: u64, status: Status) {
        let Some(bound) = self.sessions.get(&id) else { return };
        let done = bound.done.iter().find(|done| done.id == message);
        let incoming = bound.incoming.get(&message);
        let wanted = if status.is_success() {
            done.is_some_and(|done| done.success_report)
        } else {
            done.is_some_and(|done| done.failure_report != FailureReport::No)
                || incoming.is_some_and(|incoming| incoming.failure_report != FailureReport::No)
        };
        if wanted {
            self.write_report(now, id, message, length, status);
        }
    }

    fn write_report(&mut self, now: Time, id: SessionId, message: Ident, length: u64, status: Status) {
        let Some(bound) = self.sessions.get(&id) else { return };
        let Ok(range) = ByteRange::at(0, Some(length), Some(length)) else { return };
        let session = &bound.session;
        let tid = Ident::random(&*self.entropy);
        // RFC 4975 §7.1.3: the way back is the From-Path that the message came with, which is our own way to the peer.
        let local = session.local.clone().into();
        let mut head = Head::request(tid, crate::Method::Report, session.path.clone(), local);
        head.message_id = Some(message);
        head.range = Some(range);
        head.status = Some(crate::ReportStatus::of(status));
        self.urgent(now, &head);
    }

    /// A report of the peer on a message of ours (RFC 4975 §7.3.2). Unknown ones are ignored.
    pub(super) fn reported(&mut self, now: Time, id: SessionId, head: &Head) {
        let (Some(message), Some(status)) =
            (head.message_id, head.status.as_ref().and_then(crate::ReportStatus::known))
        else {
            return;
        };
        let Some(bound) = self.sessions.get_mut(&id) else { return };
        if !status.is_success() {
            if let Some(at) = bound.lately.iter().position(|sent| *sent == message) {
                bound.lately.remove(at);
                self.wire.event(Event::Failed { session: id, message, why: Failure::Status(status) });
            } else if bound.outgoing.contains_key(&message) {
                self.fail(now, id, message, Failure::Status(status));
            } else {
                return;
            }
            match status {
                // The message is unwanted; the session is sound.
                Status::FORBIDDEN | Status::STOP | Status::MEDIA_TYPE => {}
                Status::NO_SESSION => self.end_session(now, id, SessionEnd::Gone),
                Status::OTHER_CONNECTION => self.end_session(now, id, SessionEnd::Elsewhere),
                // RFC 4975 §7.3.2: bytes were lost on the way.
                status => self.end_session(now, id, SessionEnd::Failed(status)),
            }
            return;
        }
        let Some(outgoing) = bound.outgoing.get_mut(&message) else { return };
        if !outgoing.success_report {
            return;
        }
        // Nobody can confirm what was not sent.
        let whole = ByteRange::at(0, Some(outgoing.sent), outgoing.total);
        let Some(range) = head.range.or_else(|| whole.ok()) else { return };
        let until = range.end().unwrap_or(outgoing.sent).min(outgoing.sent);
        outgoing.confirmed = true;
        outgoing.reported.add(range.offset(), until, self.config.gaps);
        self.wire.event(Event::Progress { session: id, message, range });
        self.settle(id, message);
    }
}

enum Admitted {
    Bodiless(Ident),
    Chunk(Ident, u64),
    Again(Done),
}
