//! How sessions begin, lose their connection, go on and end. Each is a step in the account's lane.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use nuncio_store::Ticket;
use nuncio_stream::Authenticated;
use nuncio_stream::c2s::{Enabled, ResumeFailed, Resumed};
use nuncio_xmpp::error::{Condition, StanzaError, StreamCondition, StreamError};

use super::{Offered, Phase, Queue, Session, SessionId, Sm};
use crate::delivery::Fate;
use crate::facts;
use crate::lane::{SessionState, Step};
use crate::limits::Meter;
use crate::presence;
use crate::router::Router;

/// Why no resource was bound.
enum Unbound {
    Gone,
    Full,
}

impl Router {
    /// Binds a resource (RFC 6120 §7). A session that has it already ends with `conflict`. Returns the session and the number of its connection.
    ///
    /// # Errors
    /// The stanza error that the client is told.
    pub async fn bind(
        self: &Arc<Self>,
        who: Authenticated,
        resource: Option<String>,
    ) -> Result<(Arc<Session>, u64), StanzaError> {
        if self.closing.load(Ordering::Acquire) {
            return Err(StanzaError::new(Condition::ResourceConstraint).with_text("the server is stopping"));
        }
        let account = who.account().clone();
        let resource = resource.unwrap_or_else(|| self.entropy().token());
        let jid = account.with_resource(&resource).map_err(|_| StanzaError::new(Condition::BadRequest))?;
        let lane = match self.lane(&account).await {
            Ok(Some(lane)) => lane,
            Ok(None) => return Err(StanzaError::new(Condition::NotAuthorized)),
            Err(fault) => return Err(crate::points::failed(&fault)),
        };
        let limits = &self.config().limits;
        let stepped = lane.step(self, |step| {
            if step.account.gone || step.account.disabled {
                return Err(Unbound::Gone);
            }
            if let Some(old) = step.account.resource(&resource).map(SessionState::id) {
                step.end(old, Some(StreamError::new(StreamCondition::Conflict)));
            }
            if step.account.sessions.len() >= limits.sessions {
                // A session that may never come back makes room for one that is here.
                let sleeping = step.account.sessions.iter().find(|state| !state.session.is_connected());
                let Some(sleeping) = sleeping.map(SessionState::id) else {
                    return Err(Unbound::Full);
                };
                step.end(sleeping, None);
            }
            let session = Session::new(
                self.number(),
                jid.clone(),
                who,
                step.now,
                Arc::clone(&lane),
                Queue::new(limits.queue_stanzas, limits.queue_bytes),
                Meter::new(limits.stanzas_per_second, limits.bytes_per_second),
            );
            // Most accounts have one.
            step.account.sessions.reserve_exact(1);
            step.account.sessions.push(SessionState::new(Arc::clone(&session)));
            self.metrics().sessions.inc();
            step.fact(&facts::Bound { session: session.id(), jid: jid.clone() });
            Ok(session)
        });
        self.route_outbox(&lane).await;
        match stepped.value {
            Ok(session) => {
                let connection = session.connection();
                Ok((session, connection))
            }
            Err(Unbound::Gone) => Err(StanzaError::new(Condition::NotAuthorized)),
            Err(Unbound::Full) => {
                self.metrics().sessions_refused.inc();
                Err(StanzaError::new(Condition::ResourceConstraint)
                    .with_text("too many sessions of this account"))
            }
        }
    }

    /// Turns stream management on (XEP-0198 §3). `number` is the stream's number of the last stanza before.
    ///
    /// # Errors
    /// It is on already, or the session is over.
    pub(crate) fn enable(
        &self,
        session: &Arc<Session>,
        resume: bool,
        max: Option<u32>,
        number: u64,
    ) -> Result<Enabled, Condition> {
        let most = self.config().resume;
        let wished = max.map_or(most, |max| Duration::from_secs(max.into()).min(most));
        let id = (resume && !wished.is_zero()).then(|| self.entropy().token());
        {
            let mut out = session.out.lock();
            if out.sm.is_some() || matches!(out.phase, Phase::Ended) {
                return Err(Condition::UnexpectedRequest);
            }
            out.sm = Some(Sm { id: id.clone(), max: wished });
            // Under the same lock, so that an end of the session either comes before or takes it out again.
            if let Some(id) = &id {
                self.resumable.lock().insert(id.clone(), Arc::clone(session));
            }
        }
        session.inbound.lock().offset = number;
        let max = id.is_some().then(|| u32::try_from(wished.as_secs()).unwrap_or(u32::MAX));
        Ok(Enabled { id, max, location: None })
    }

    /// Goes on with a session (XEP-0198 §5): everything after the client's `h` is queued again. The connection that had it is closed.
    ///
    /// # Errors
    /// There is no such session of this account, or `h` counts more than was sent.
    pub(crate) async fn resume(
        self: &Arc<Self>,
        who: &Authenticated,
        previd: &str,
        h: u32,
    ) -> Result<(Arc<Session>, u64, Resumed), ResumeFailed> {
        let unknown = || {
            self.metrics().resume_failed.inc();
            ResumeFailed { condition: Condition::ItemNotFound, h: None }
        };
        let session = self.resumable.lock().get(previd).map(Arc::clone).ok_or_else(unknown)?;
        if session.jid().bare() != *who.account() {
            return Err(unknown());
        }
        // What the old connection is handling is handled, and durable, before it is counted.
        let _turn = session.turn.lock().await;
        let open: Vec<Ticket> =
            session.inbound.lock().open.iter().map(|(_, ticket)| ticket.clone()).collect();
        if let Err(fault) = Ticket::join(open).await {
            tracing::error!(account = %who.account(), %fault, "a session cannot go on: its writes failed");
            return Err(unknown());
        }
        let lane = Arc::clone(&session.lane);
        let id = session.id();
        let stepped = lane.step(self, |step| {
            if step.account.disabled || step.account.session(id).is_none() {
                return None;
            }
            let (settled, outbound, connection, slept) = {
                let mut out = session.out.lock();
                let outbound = out.queue.sent();
                let settled = out.queue.resume(h)?;
                let slept = matches!(out.phase, Phase::Hibernated);
                (settled, outbound, out.connect(), slept)
            };
            for delivery in settled {
                if delivery.settle()
                    && let Some(row) = delivery.row()
                {
                    step.forget_row(row);
                }
            }
            step.stream_ended(id);
            if slept {
                self.metrics().hibernated.dec();
            }
            let mut inbound = session.inbound.lock();
            let base = inbound.h();
            *inbound = super::Inbound { base, ..super::Inbound::default() };
            drop(inbound);
            step.fact(&facts::Resumed { session: id, jid: session.jid().clone() });
            Some((connection, Resumed { jid: session.jid().clone(), inbound: base, outbound }))
        });
        self.route_outbox(&lane).await;
        let (connection, resumed) = stepped.value.ok_or_else(unknown)?;
        self.metrics().resumed.inc();
        let session = Arc::clone(&session);
        Ok((session, connection, resumed))
    }

    /// A connection is gone. `lost`: without the stream's end, so that a session that can be resumed waits.
    pub(crate) async fn disconnected(self: &Arc<Self>, session: &Arc<Session>, connection: u64, lost: bool) {
        let lane = Arc::clone(&session.lane);
        let _ = lane.step(self, |step| {
            let (own, keep) = {
                let mut out = session.out.lock();
                out.forget(connection);
                let resumable = out.sm.as_ref().is_some_and(|sm| sm.id.is_some());
                (out.is_of(connection), resumable && (lost || out.kept))
            };
            if !own {
                return;
            }
            if keep && !self.closing.load(Ordering::Acquire) {
                step.hibernate(session.id(), None);
            } else {
                step.end(session.id(), None);
            }
        });
        self.route_outbox(&lane).await;
    }

    /// Ends a session that was not resumed in time.
    async fn expire(self: &Arc<Self>, session: &Arc<Session>, connection: u64) {
        let lane = Arc::clone(&session.lane);
        let _ = lane.step(self, |step| {
            let due = {
                let out = session.out.lock();
                matches!(out.phase, Phase::Hibernated) && out.connection == connection
            };
            if due {
                self.metrics().expired.inc();
                step.end(session.id(), None);
            }
        });
        self.route_outbox(&lane).await;
    }

    /// Ends one session with a stream error. False if it is over already.
    pub async fn end_session(self: &Arc<Self>, session: &Arc<Session>, with: StreamError) -> bool {
        let lane = Arc::clone(&session.lane);
        let ended = lane.step(self, |step| step.end(session.id(), Some(with))).value;
        self.route_outbox(&lane).await;
        ended
    }
}

impl Step<'_> {
    /// Ends a session: its presence is withdrawn, its connection is closed with this error, and what nobody has taken returns.
    /// False if there is no such session.
    pub(crate) fn end(&mut self, id: SessionId, farewell: Option<StreamError>) -> bool {
        if self.account.session(id).is_none() {
            return false;
        }
        presence::ended(self, id);
        let Some(place) = self.account.sessions.iter().position(|state| state.id() == id) else {
            return false;
        };
        let state = self.account.sessions.remove(place);
        let session = state.session;
        let (entries, sm, slept) = {
            let mut out = session.out.lock();
            let slept = matches!(out.phase, Phase::Hibernated);
            out.detach(Phase::Ended, farewell);
            out.phase = Phase::Ended;
            (out.queue.drain(), out.sm.take(), slept)
        };
        if let Some(id) = sm.and_then(|sm| sm.id) {
            self.router.resumable.lock().remove(&id);
        }
        for delivery in entries.into_iter().filter_map(super::Entry::into_delivery) {
            if delivery.let_go() == Fate::Returns {
                self.returned.push(delivery);
            }
        }
        self.router.metrics().sessions.dec();
        if slept {
            self.router.metrics().hibernated.dec();
        }
        self.fact(&facts::Ended { session: id, jid: session.jid().clone() });
        true
    }

    /// A session without connection waits to be resumed.
    fn hibernate(&mut self, id: SessionId, farewell: Option<StreamError>) {
        let Some(session) = self.account.session(id).map(|state| Arc::clone(&state.session)) else {
            return;
        };
        let (max, connection, unacknowledged) = {
            let mut out = session.out.lock();
            out.detach(Phase::Hibernated, farewell);
            let max = out.sm.as_ref().map_or(Duration::ZERO, |sm| sm.max);
            (max, out.connection, out.queue.unacknowledged())
        };
        self.stream_ended(id);
        self.router.metrics().hibernated.inc();
        self.fact(&facts::Hibernated { session: id, jid: session.jid().clone(), unacknowledged });
        // A session that has ended meanwhile is not kept by those who would end it.
        let (router, session) = (Arc::downgrade(self.router), Arc::downgrade(&session));
        tokio::spawn(async move {
            tokio::time::sleep(max).await;
            if let (Some(router), Some(session)) = (router.upgrade(), session.upgrade()) {
                router.expire(&session, connection).await;
            }
        });
    }

    /// What lives as long as a stream is forgotten.
    fn stream_ended(&mut self, id: SessionId) {
        let router = self.router;
        if let Some(state) = self.account.session_mut(id) {
            for slot in &router.points().stream_slots {
                state.slots.clear(*slot);
            }
        }
    }

    /// A session's queue is over its bound: its connection ends. If it can be resumed the queue stays, up to a second bound.
    pub(crate) fn overflowed(&mut self, id: SessionId, offered: Offered) {
        let Some(state) = self.account.session(id) else { return };
        let (connected, resumable) = {
            let out = state.session.out.lock();
            let resumable = out.sm.as_ref().is_some_and(|sm| sm.id.is_some());
            (matches!(out.phase, Phase::Connected), resumable)
        };
        if !connected && offered == Offered::Over {
            return;
        }
        tracing::warn!(account = %self.account.jid, session = %id, connected, "a session does not read: its queue is over its bound");
        self.router.metrics().overflowed.inc();
        let why = StreamError::new(StreamCondition::ResourceConstraint)
            .with_text("the queue of this stream is full");
        if connected && resumable && offered == Offered::Over {
            self.hibernate(id, Some(why));
        } else {
            self.end(id, Some(why));
        }
    }
}
