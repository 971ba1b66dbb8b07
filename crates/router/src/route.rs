//! The way of a stanza: admit, enter, leave, locate, arrive, choose, deliver, settle.
//!
//! Every gate is one function below its heading. Gates of an account are steps in its lane; between two lanes nothing is locked.

use std::sync::Arc;

use nuncio_store::Ticket;
use nuncio_xmpp::error::{Condition, StanzaError, StreamCondition, StreamError};
use nuncio_xmpp::jid::{BareJid, Jid};
use nuncio_xmpp::ns;
use nuncio_xmpp::stanza::{IqType, Kind, Marks, MessageType, PresenceType, Stanza};
use smallvec::SmallVec;

use crate::choose::{self, Addressed, Choice, Resource};
use crate::delivery::{Delivery, Fate};
use crate::lane::{Lane, SessionState, Step, Stepped};
use crate::offline;
use crate::points::{
    Ask, At, Boxed, Copies, CopyAt, Order, Place, PoliceAt, Reply, StampAt, Standing, Verdict,
};
use crate::presence;
use crate::router::Router;
use crate::session::{Session, SessionId};

/// How often offline messages are read anew because some came or went meanwhile, before they are left for the next time.
const READS: usize = 16;

/// Where a stanza goes.
pub(crate) enum Target {
    Account(Arc<Lane>),
    Server,
    /// An address of ours that nobody has.
    Nobody,
    /// Another domain.
    Elsewhere,
    /// The store failed.
    Failed,
}

/// What came of an arrival.
#[derive(Default)]
pub(crate) struct Arrival {
    /// Whose outbox has something in it now.
    pub(crate) lane: Option<Arc<Lane>>,
    /// What was written for it.
    pub(crate) ticket: Option<Ticket>,
    /// An error for the sender.
    pub(crate) refusal: Option<Box<StanzaError>>,
    /// A request that a handler is asked with.
    pub(crate) ask: Option<At>,
    /// What the sender hears in place of the recipient: presence, which is no error.
    pub(crate) answer: Option<Box<Stanza>>,
}

impl Arrival {
    fn refused(condition: Condition) -> Self {
        Self { refusal: Some(Box::new(StanzaError::new(condition))), ..Self::default() }
    }
}

/// What Leaving gave.
pub(crate) enum Left {
    /// Something came or went in the spool since it was read: once more.
    Again(Stanza),
    /// The session is over: nothing was done.
    Over,
    /// Everything was done in the lane.
    Done,
    /// It goes on.
    Goes(Stanza),
    /// The sender gets this error, if it may get one.
    Refused(Option<Stanza>),
}

/// How far a stanza came without waiting.
pub(crate) enum Begun {
    /// To its end; see [`Router::submit`].
    Done(Option<Ticket>),
    /// There is more to do.
    Waits(Box<Rest>),
}

/// What is left to do for a stanza.
pub(crate) enum Rest {
    /// It is broadcast: offline messages may be due.
    Broadcast(Stanza),
    /// It has left, and something waits in the sender's outbox.
    Posted(Stepped<Left>),
    /// Its recipient's account is not in memory.
    Away(Ticket, Stanza, BareJid),
    /// It has arrived; the recipient's outbox waits, or a handler.
    Arrived(Ticket, Stanza, Arrival),
}

impl Router {
    // ---- admit -------------------------------------------------------------------------------------------------------------

    /// Takes a stanza of a session. Returns once it is routed and handled (RFC 6120 §10.1); the ticket resolves once it is
    /// durable too and may be acknowledged. None if the session was over before the stanza had left it: nothing came of it.
    ///
    /// # Errors
    /// The stream is to be closed with this error.
    pub async fn submit(
        self: &Arc<Self>,
        session: &Arc<Session>,
        stanza: Stanza,
    ) -> Result<Option<Ticket>, StreamError> {
        Ok(match self.begin(session, stanza)? {
            Begun::Done(ticket) => ticket,
            Begun::Waits(rest) => self.finish(session, rest).await,
        })
    }

    /// Takes a stanza as far as it goes without waiting for anything: mostly to its end, since accounts that talk are in memory.
    /// What is left is for [`Router::finish`], before the next stanza of this session.
    ///
    /// # Errors
    /// The stream is to be closed with this error.
    pub(crate) fn begin(
        self: &Arc<Self>,
        session: &Arc<Session>,
        mut stanza: Stanza,
    ) -> Result<Begun, StreamError> {
        self.admit(session, &mut stanza)?;
        let Some(stanza) = self.enter(session, stanza) else {
            return Ok(Begun::Done(Some(Ticket::done())));
        };
        if Step::is_broadcast(&stanza) {
            return Ok(Begun::Waits(Box::new(Rest::Broadcast(stanza))));
        }
        let left = session.lane.step(self, |step| step.leave(session, stanza, None));
        if left.posted {
            return Ok(Begun::Waits(Box::new(Rest::Posted(left))));
        }
        Ok(self.left(session, left))
    }

    /// The part of [`Router::begin`] that waits.
    pub(crate) async fn finish(
        self: &Arc<Self>,
        session: &Arc<Session>,
        mut rest: Box<Rest>,
    ) -> Option<Ticket> {
        loop {
            let begun = match *rest {
                Rest::Broadcast(stanza) => {
                    let left = self.leave_broadcast(session, stanza).await;
                    if left.posted {
                        self.route_outbox(&session.lane).await;
                    }
                    self.left(session, left)
                }
                Rest::Posted(left) => {
                    self.route_outbox(&session.lane).await;
                    self.left(session, left)
                }
                Rest::Away(ticket, stanza, account) => {
                    let target = self.load_target(account).await;
                    self.go(session, ticket, stanza, &target)
                }
                Rest::Arrived(ticket, stanza, arrival) => {
                    if let Some(lane) = &arrival.lane {
                        self.route_outbox(lane).await;
                    }
                    if let Some(at) = arrival.ask {
                        self.ask(at, stanza, session).await;
                    }
                    return Some(ticket);
                }
            };
            match begun {
                Begun::Done(ticket) => return ticket,
                Begun::Waits(more) => rest = more,
            }
        }
    }

    /// Puts the sender's address on (RFC 6120 §8.1.2.1, RFC 6121 §3), and an address to those that have none (RFC 6120 §10.3).
    fn admit(&self, session: &Session, stanza: &mut Stanza) -> Result<(), StreamError> {
        let me = session.jid();
        if let Some(from) = stanza.from()
            && (from.bare_str() != me.bare_str()
                || from.resource().is_some_and(|from| me.resource() != Some(from)))
        {
            return Err(StreamError::new(StreamCondition::InvalidFrom));
        }
        match stanza.kind() {
            Kind::Message(_) => &self.metrics().messages,
            Kind::Presence(_) => &self.metrics().presences,
            Kind::Iq(_) => &self.metrics().iqs,
        }
        .inc();
        let bare = matches!(
            stanza.kind(),
            Kind::Presence(
                PresenceType::Subscribe
                    | PresenceType::Subscribed
                    | PresenceType::Unsubscribe
                    | PresenceType::Unsubscribed
            )
        );
        stanza.set_from(Some(if bare { me.bare().to_jid() } else { me.clone() }));
        if stanza.to().is_none() && !matches!(stanza.kind(), Kind::Presence(_)) {
            stanza.set_to(Some(me.bare().to_jid()));
        }
        self.undate(stanza);
        Ok(())
    }

    /// Only we say when something has reached one of our domains (XEP-0203, security considerations).
    pub(crate) fn undate(&self, stanza: &mut Stanza) {
        if stanza.marks().any(Marks::DELAY) {
            stanza.strip(|child| {
                let by = || Jid::new(&child.attr("from")?).ok();
                child.is("delay", ns::DELAY)
                    && by().is_some_and(|by| by.local().is_none() && self.domain(by.domain()).is_some())
            });
        }
    }

    // ---- enter -------------------------------------------------------------------------------------------------------------

    /// Whatever a connection brings passes here once.
    fn enter(self: &Arc<Self>, session: &Arc<Session>, mut stanza: Stanza) -> Option<Stanza> {
        let at = Standing { cx: self.cx(), account: None, session: Some(session.id()) };
        match self.points().police(PoliceAt::Entering, &at, &stanza) {
            Verdict::Pass => {}
            Verdict::Refuse(error) => {
                self.metrics().refused.inc();
                self.tell(session, stanza.error(error));
                return None;
            }
            Verdict::Drop => {
                self.metrics().refused.inc();
                return None;
            }
        }
        self.points().stamp(StampAt::Entering, &at, &mut stanza);
        Some(stanza)
    }

    // ---- leave -------------------------------------------------------------------------------------------------------------

    /// The gate of the sender's account is passed, and what it made the account send is routed.
    fn left(self: &Arc<Self>, session: &Arc<Session>, left: Stepped<Left>) -> Begun {
        Begun::Done(match left.value {
            Left::Over => None,
            // What it sent, such as a request for a subscription, counts too.
            Left::Done | Left::Again(_) => Some(Ticket::join([left.ticket, session.lane.written()])),
            Left::Refused(reply) => {
                self.tell(session, reply);
                Some(left.ticket)
            }
            Left::Goes(stanza) => {
                return match self.located(&stanza) {
                    Ok(target) => self.go(session, left.ticket, stanza, &target),
                    Err(account) => Begun::Waits(Box::new(Rest::Away(left.ticket, stanza, account))),
                };
            }
        })
    }

    /// Leaving for presence that is broadcast: a first one that is not negative is followed by the offline messages in the same step, so
    /// they are read before, and once more if some came or went meanwhile.
    async fn leave_broadcast(self: &Arc<Self>, session: &Arc<Session>, mut stanza: Stanza) -> Stepped<Left> {
        let lane = &session.lane;
        for _ in 0..READS {
            let waiting = self.waiting(lane).await.unwrap_or_else(|fault| {
                tracing::error!(account = %lane.jid(), %fault, "offline messages cannot be read; they stay");
                self.metrics().store_faults.inc();
                None
            });
            let stepped = lane.step(self, |step| step.leave(session, stanza, waiting));
            match stepped.value {
                Left::Again(back) => stanza = back,
                _ => return stepped,
            }
        }
        lane.step(self, |step| step.leave(session, stanza, None))
    }

    /// From the sender's gate to the recipient's, and the answer back.
    fn go(self: &Arc<Self>, session: &Arc<Session>, left: Ticket, stanza: Stanza, target: &Target) -> Begun {
        let mut arrival = self.arrive(target, &stanza, session.is_managed());
        let ticket = Ticket::join(std::iter::once(left).chain(arrival.ticket.take()));
        if let Some(error) = arrival.refusal.take() {
            self.metrics().bounced.inc();
            self.tell(session, stanza.error(*error));
        }
        if arrival.lane.is_some() || arrival.ask.is_some() {
            return Begun::Waits(Box::new(Rest::Arrived(ticket, stanza, arrival)));
        }
        Begun::Done(Some(ticket))
    }

    /// Says something to a session, as the server that answers it.
    pub(crate) fn tell(self: &Arc<Self>, session: &Session, stanza: Option<Stanza>) {
        if let Some(stanza) = stanza {
            let told = session.lane.step(self, |step| step.deliver(session.id(), &stanza));
            // If that was one too many the session's end is to be told; most often there is nothing.
            if told.posted {
                let (router, lane) = (Arc::clone(self), Arc::clone(&session.lane));
                self.spawn(async move { router.route_outbox(&lane).await });
            }
        }
    }

    // ---- locate ------------------------------------------------------------------------------------------------------------

    /// Where the address lives.
    pub(crate) async fn locate(self: &Arc<Self>, stanza: &Stanza) -> Target {
        match self.located(stanza) {
            Ok(target) => target,
            Err(account) => Box::pin(self.load_target(account)).await,
        }
    }

    /// Where the address lives, or the account that has to be loaded to know.
    pub(crate) fn located(&self, stanza: &Stanza) -> Result<Target, BareJid> {
        let Some(to) = stanza.to() else {
            return Ok(Target::Nobody);
        };
        if self.domain(to.domain()).is_none() {
            return Ok(Target::Elsewhere);
        }
        if to.is_domain() {
            return Ok(Target::Server);
        }
        if let Some(lane) = self.lane_of(to) {
            return Ok(Target::Account(lane));
        }
        match stanza.kind() {
            // Nobody of the account is there to see it: not worth loading it, whether or not it exists.
            Kind::Presence(PresenceType::Available | PresenceType::Unavailable) => Ok(Target::Nobody),
            _ => Err(to.bare()),
        }
    }

    pub(crate) async fn load_target(self: &Arc<Self>, bare: BareJid) -> Target {
        match self.lane(&bare).await {
            Ok(Some(lane)) => Target::Account(lane),
            Ok(None) => Target::Nobody,
            Err(fault) => {
                tracing::error!(account = %bare, %fault, "an account cannot be loaded");
                self.metrics().store_faults.inc();
                Target::Failed
            }
        }
    }

    // ---- arrive ------------------------------------------------------------------------------------------------------------

    /// The gate of the recipient. `durable`: the sender counts on what it is told was handled (XEP-0198).
    pub(crate) fn arrive(self: &Arc<Self>, target: &Target, stanza: &Stanza, durable: bool) -> Arrival {
        match target {
            Target::Account(lane) => {
                let stepped = lane.step(self, |step| step.arrive(stanza, durable));
                let mut arrival = stepped.value;
                arrival.lane = stepped.posted.then(|| Arc::clone(lane));
                arrival.ticket = Some(stepped.ticket);
                arrival
            }
            Target::Server => match stanza.kind() {
                Kind::Iq(IqType::Get | IqType::Set) => {
                    Arrival { ask: Some(At::Server), ..Arrival::default() }
                }
                Kind::Message(_) => Arrival::refused(Condition::ServiceUnavailable),
                Kind::Iq(IqType::Result | IqType::Error) => {
                    self.answered(stanza);
                    Arrival::default()
                }
                Kind::Presence(_) => Arrival::default(),
            },
            // Not told apart from an account that is not available (RFC 6121 §8.5.1, RFC 6120 §13.10.2).
            Target::Nobody => {
                let bare = stanza.to().is_none_or(Jid::is_bare);
                match choose::nobody(stanza.kind(), bare) {
                    Some(Choice::Bounce(_)) if matches!(stanza.kind(), Kind::Iq(_)) => {
                        Arrival::refused(self.nobody(stanza))
                    }
                    Some(Choice::Bounce(condition)) => Arrival::refused(condition),
                    Some(Choice::Deliver(_) | Choice::Offline | Choice::Drop) => Arrival::default(),
                    None => {
                        Arrival { answer: presence::stranger(stanza).map(Box::new), ..Arrival::default() }
                    }
                }
            }
            Target::Elsewhere => self.depart(stanza, true, durable),
            Target::Failed => Arrival::refused(Condition::InternalServerError),
        }
    }

    /// A handler answers a session's request.
    async fn ask(self: &Arc<Self>, at: At, stanza: Stanza, session: &Arc<Session>) {
        let Some(handler) = self.handler(at, &stanza) else {
            let reply = self.unanswered(at, &stanza).await;
            self.tell(session, reply);
            return;
        };
        if handler.order() == Order::Aside {
            let (router, session) = (Arc::clone(self), Arc::clone(session));
            self.spawn(async move {
                let reply = router.answer(at, &stanza, Some(Arc::clone(&session))).await;
                router.tell(&session, reply);
            });
            return;
        }
        let reply = self.answer(at, &stanza, Some(Arc::clone(session))).await;
        self.tell(session, reply);
    }

    /// A handler answers a request that no session here waits for.
    pub(crate) fn ask_beside(self: Arc<Self>, at: At, stanza: Stanza) -> Boxed<'static, ()> {
        Box::pin(async move {
            let reply = match self.handler(at, &stanza) {
                Some(_) => self.answer(at, &stanza, None).await,
                None => self.unanswered(at, &stanza).await,
            };
            if let Some(reply) = reply {
                let target = self.locate(&reply).await;
                if let Some(lane) = self.arrive(&target, &reply, false).lane {
                    self.route_outbox(&lane).await;
                }
            }
        })
    }

    /// Whether the handler of a request works beside what its sender says next.
    pub(crate) fn is_aside(&self, at: At, stanza: &Stanza) -> bool {
        self.handler(at, stanza).is_some_and(|handler| handler.order() == Order::Aside)
    }

    fn handler(&self, at: At, stanza: &Stanza) -> Option<&Arc<dyn crate::points::AnyHandler>> {
        let payload = stanza.payload()?;
        let set = matches!(stanza.kind(), Kind::Iq(IqType::Set));
        self.points().handler(at, set, payload.name(), payload.ns())
    }

    /// What a request to an account that does not exist is told: what its handler tells those whom it tells nothing.
    pub fn nobody(&self, stanza: &Stanza) -> Condition {
        let at = if stanza.to().is_some_and(Jid::is_full) { At::Resource } else { At::Account };
        self.handler(at, stanza).map_or(Condition::ServiceUnavailable, |handler| handler.nobody())
    }

    /// What a handler says, as a stanza.
    pub(crate) async fn answer(
        self: &Arc<Self>,
        at: At,
        stanza: &Stanza,
        session: Option<Arc<Session>>,
    ) -> Option<Stanza> {
        let from = stanza.from()?.clone();
        let jid = stanza.to()?.clone();
        let ask = Ask {
            stanza: stanza.clone(),
            from,
            place: Place { at, jid },
            session,
            unbound: None,
            peer: None,
        };
        let said = match self.handler(at, stanza) {
            Some(handler) => handler.handle(&self.cx(), ask).await,
            None => Ok(Reply::Pass),
        };
        match said {
            Ok(Reply::Result(payload)) => Some(stanza.result(Some(payload))),
            Ok(Reply::Empty) => Some(stanza.result(None)),
            Ok(Reply::Silent) => None,
            Ok(Reply::Pass) => self.unanswered(at, stanza).await,
            Err(error) => stanza.error(error),
        }
    }

    /// No handler takes it: a resource gets it itself, everything else is `service-unavailable` (RFC 6120 §8.2.3, RFC 6121 §8.5.2.1.3).
    async fn unanswered(self: &Arc<Self>, at: At, stanza: &Stanza) -> Option<Stanza> {
        if at == At::Resource
            && let Target::Account(lane) = self.locate(stanza).await
        {
            let refusal = lane.step(self, |step| step.deliver_iq(stanza)).value;
            self.route_outbox(&lane).await;
            return stanza.error(refusal?);
        }
        stanza.error(Condition::ServiceUnavailable)
    }
}

impl Step<'_> {
    // ---- leave, in the sender's lane ---------------------------------------------------------------------------------------

    fn leave(&mut self, session: &Session, mut stanza: Stanza, waiting: Option<offline::Waiting>) -> Left {
        let id = session.id();
        if self.account.session(id).is_none() {
            return Left::Over;
        }
        if waiting.as_ref().is_some_and(|waiting| !self.account.spool.is_current(waiting)) {
            return Left::Again(stanza);
        }
        match self.router.points().police(PoliceAt::Leaving, &self.standing(Some(id)), &stanza) {
            Verdict::Pass => {}
            Verdict::Refuse(error) => {
                self.router.metrics().refused.inc();
                return Left::Refused(stanza.error(error));
            }
            Verdict::Drop => {
                self.router.metrics().refused.inc();
                return Left::Done;
            }
        }
        self.stamp_leaving(&mut stanza, Some(id));
        if matches!(stanza.kind(), Kind::Presence(_)) {
            let due = presence::outgoing(self, id, &stanza);
            if due && let Some(waiting) = waiting {
                self.flush(id, waiting);
            }
            return Left::Done;
        }
        let to_oneself = stanza.to().is_none_or(|to| to.bare_str() == self.account.jid.as_str());
        if !to_oneself {
            self.copies(CopyAt::Leaving, &stanza, &[id]);
        }
        Left::Goes(stanza)
    }

    fn copies(&mut self, gate: CopyAt, stanza: &Stanza, chosen: &[SessionId]) {
        let mut copies = Copies::default();
        let at = self.standing(None);
        for copier in self.router.points().copiers(gate, stanza) {
            copier.copy(&at, stanza, chosen, &mut copies);
        }
        for (to, copy) in copies.0 {
            self.deliver(to, &copy);
        }
    }

    // ---- arrive, in the recipient's lane -----------------------------------------------------------------------------------

    fn arrive(&mut self, stanza: &Stanza, durable: bool) -> Arrival {
        if self.account.gone {
            return self.router.arrive(&Target::Nobody, stanza, durable);
        }
        match self.router.points().police(PoliceAt::Arriving, &self.standing(None), stanza) {
            Verdict::Pass => {}
            Verdict::Refuse(error) => {
                self.router.metrics().refused.inc();
                return Arrival { refusal: Some(Box::new(error)), ..Arrival::default() };
            }
            Verdict::Drop => {
                self.router.metrics().refused.inc();
                return Arrival::default();
            }
        }
        match stanza.kind() {
            Kind::Message(kind) => {
                Arrival { refusal: self.choose(kind, stanza, durable).map(Box::new), ..Arrival::default() }
            }
            Kind::Presence(_) => {
                if self.router.points().has_stamps(StampAt::Arriving, stanza) {
                    let mut stanza = stanza.clone();
                    self.stamp_arriving(&mut stanza);
                    presence::incoming(self, &stanza);
                } else {
                    presence::incoming(self, stanza);
                }
                Arrival::default()
            }
            Kind::Iq(IqType::Get | IqType::Set) => match stanza.to() {
                Some(to) if to.is_full() => self.arrive_at_resource(stanza),
                _ => Arrival { ask: Some(At::Account), ..Arrival::default() },
            },
            Kind::Iq(kind @ (IqType::Result | IqType::Error)) => {
                if let Some(Choice::Deliver(ids)) = choose::iq(kind, self.addressed(stanza), false) {
                    ids.into_iter().for_each(|id| _ = self.deliver(id, stanza));
                } else if stanza.to().is_none_or(Jid::is_bare) {
                    self.router.answered(stanza);
                }
                Arrival::default()
            }
        }
    }

    fn stamp_arriving(&self, stanza: &mut Stanza) {
        self.router.points().stamp(StampAt::Arriving, &self.standing(None), stanza);
    }

    pub(crate) fn addressed(&self, stanza: &Stanza) -> Addressed {
        match stanza.to().and_then(|to| to.resource()) {
            Some(resource) => Addressed::Full(self.account.resource(resource).map(SessionState::id)),
            None => Addressed::Bare,
        }
    }

    /// A request to a full address: a handler may answer in place of the resource, else the resource gets it.
    fn arrive_at_resource(&mut self, stanza: &Stanza) -> Arrival {
        if self.router.handler(At::Resource, stanza).is_some() {
            return Arrival { ask: Some(At::Resource), ..Arrival::default() };
        }
        Arrival { refusal: self.deliver_iq(stanza).map(Box::new), ..Arrival::default() }
    }

    /// A request goes to the resource if it is there and its presence is known to the asker (RFC 6121 §8.5.3.1 and §8.5.3.2.3: both
    /// errors are the same).
    fn deliver_iq(&mut self, stanza: &Stanza) -> Option<StanzaError> {
        let (Kind::Iq(kind), to) = (stanza.kind(), self.addressed(stanza)) else { return None };
        let sees = match (to, stanza.from()) {
            (Addressed::Full(Some(id)), Some(from)) => {
                self.sees(from, Some(id)) || self.router.is_own_domain(from)
            }
            _ => false,
        };
        match choose::iq(kind, to, sees) {
            Some(Choice::Deliver(ids)) => {
                let delivery = Delivery::new(stanza.clone(), self.now, None);
                delivery.hold();
                for id in ids {
                    self.hand(id, stanza, Some(&delivery));
                }
                self.release(&delivery);
                None
            }
            Some(Choice::Bounce(condition)) => Some(condition.into()),
            Some(Choice::Offline | Choice::Drop) | None => Some(Condition::ServiceUnavailable.into()),
        }
    }

    // ---- choose ------------------------------------------------------------------------------------------------------------

    pub(crate) fn resources(&self) -> SmallVec<[Resource; 4]> {
        let resource = |state: &SessionState| Resource {
            id: state.id(),
            available: state.is_available(),
            priority: state.priority,
        };
        self.account.sessions.iter().map(resource).collect()
    }

    /// Who gets a message (RFC 6121 §8.5), and the error if nobody does.
    fn choose(&mut self, kind: MessageType, stanza: &Stanza, durable: bool) -> Option<StanzaError> {
        match choose::message(kind, self.addressed(stanza), &self.resources()) {
            Choice::Drop => None,
            Choice::Bounce(condition) => Some(StanzaError::new(condition)),
            Choice::Deliver(sessions) => {
                let mut stanza = stanza.clone();
                self.stamp_arriving(&mut stanza);
                self.copies(CopyAt::Arriving, &stanza, &sessions);
                self.deliver_message(stanza, &sessions, durable);
                None
            }
            Choice::Offline => {
                let mut stanza = stanza.clone();
                self.stamp_arriving(&mut stanza);
                self.copies(CopyAt::Arriving, &stanza, &[]);
                let received = self.now;
                self.offline_or_error(&stanza, received)
            }
        }
    }

    /// Nobody is there: what is worth it waits, what is not vanishes, and the sender is told if it should not have.
    fn offline_or_error(&mut self, stanza: &Stanza, received: jiff::Timestamp) -> Option<StanzaError> {
        let class = stanza.class();
        if class.storable {
            if self.is_offline_full() {
                return Some(StanzaError::new(Condition::ServiceUnavailable));
            }
            self.keep_offline(stanza, received);
            return None;
        }
        // A body that must not be stored is the sender's to keep (RFC 6121 §8.5.2.2.1, XEP-0334 §4).
        stanza.body_text().map(|_| StanzaError::new(Condition::ServiceUnavailable))
    }

    // ---- deliver -----------------------------------------------------------------------------------------------------------

    /// Puts a message into the queues of the sessions that were chosen.
    fn deliver_message(&mut self, stanza: Stanza, sessions: &[SessionId], durable: bool) {
        if !stanza.class().storable {
            for session in sessions {
                self.deliver(*session, &stanza);
            }
            return;
        }
        let row = if durable { self.spool(&stanza, self.now) } else { None };
        let delivery = Delivery::new(stanza, self.now, row);
        delivery.hold();
        for session in sessions {
            self.hand(*session, delivery.stanza(), Some(&delivery));
        }
        self.release(&delivery);
    }

    /// The router's own hold on a delivery ends: if no queue took it, it returns.
    pub(crate) fn release(&mut self, delivery: &Arc<Delivery>) {
        if delivery.let_go() == Fate::Returns {
            self.returned.push(Arc::clone(delivery));
        }
    }

    // ---- settle ------------------------------------------------------------------------------------------------------------

    /// A delivery that no queue took, or that its last queue gave up, is chosen for once more: other sessions, else offline, else it
    /// bounces. It is not policed, stamped or copied again; a note of the delay is added (XEP-0203).
    pub(crate) fn choose_again(&mut self, delivery: &Arc<Delivery>) {
        self.router.metrics().returned.inc();
        let stanza = delivery.stanza();
        let Kind::Message(kind) = stanza.kind() else {
            self.bounce(stanza, Condition::ServiceUnavailable.into());
            return;
        };
        let choice = if self.account.gone {
            Choice::Bounce(Condition::ServiceUnavailable)
        } else {
            choose::message(kind, Addressed::Bare, &self.resources())
        };
        let error = match choice {
            Choice::Deliver(sessions) => {
                let delayed = offline::delayed(stanza, self.account.jid.domain(), delivery.received());
                delivery.hold();
                for session in sessions {
                    self.hand(session, &delayed, Some(delivery));
                }
                self.release(delivery);
                return;
            }
            Choice::Offline => match delivery.row() {
                Some(row) => {
                    self.account.spool.wait(row);
                    None
                }
                // It was accepted: the limit, which is for what comes anew, does not send it back.
                None => {
                    self.keep_offline(stanza, delivery.received());
                    None
                }
            },
            Choice::Bounce(condition) => {
                delivery.row().into_iter().for_each(|row| self.forget_row(row));
                Some(condition.into())
            }
            Choice::Drop => {
                delivery.row().into_iter().for_each(|row| self.forget_row(row));
                None
            }
        };
        if let Some(error) = error {
            self.bounce(stanza, error);
        }
    }

    fn bounce(&mut self, stanza: &Stanza, error: StanzaError) {
        if let Some(bounce) = stanza.error(error) {
            self.router.metrics().bounced.inc();
            self.post_unpoliced(bounce, false);
        }
    }
}
