//! One account in memory, and the steps that happen in it.
//!
//! A step is a closure under the lane's lock: synchronous, it never awaits and never enters another lane. It sees the account as a
//! whole, and what it does is seen as a whole. What it sends to other addresses waits in the outbox and is routed, in order, once the
//! step is over; what it writes gives tickets that come back with the step's result.

use std::cell::Cell;
use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use hashbrown::HashSet;
use jiff::Timestamp;
use nuncio_store::{Batch, Ticket};
use nuncio_xmpp::jid::{BareJid, Jid};
use nuncio_xmpp::ns;
use nuncio_xmpp::stanza::{Kind, PresenceType, Stanza};
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::delivery::Delivery;
use crate::facts::Fact;
use crate::offline::Spool;
use crate::points::{Cx, Pace, PoliceAt, Sees, Sight, StampAt, Standing, Verdict};
use crate::roster::Roster;
use crate::router::Router;
use crate::session::{Entry, Offered, Session, SessionId};
use crate::slots::{AccountSlot, SessionSlot, Slots};

/// A local account in memory.
pub struct Lane {
    jid: BareJid,
    state: Mutex<AccountState>,
    /// Tells that something of the outbox was routed.
    pub(crate) drained: Notify,
}

/// Everything about an account that decisions are made from.
#[derive(Debug)]
pub struct AccountState {
    /// Its address.
    pub jid: BareJid,
    /// Its roster.
    pub roster: Roster,
    /// Its sessions in the order of their binding, with and without connection.
    pub sessions: Vec<SessionState>,
    /// Whether it may not log in.
    pub disabled: bool,
    /// Whether it was deleted: nothing arrives any more.
    pub(crate) gone: bool,
    pub(crate) slots: Slots,
    pub(crate) spool: Spool,
    pub(crate) outbox: Outbox,
    /// When it was last needed, for the eviction of idle accounts.
    pub(crate) touched: Instant,
}

/// What waits to be routed.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    pub(crate) waiting: VecDeque<Parcel>,
    /// Parcels put in, ever.
    pub(crate) pushed: u64,
    /// Parcels routed, ever.
    pub(crate) routed: u64,
    /// Whether somebody is routing them.
    pub(crate) draining: bool,
    /// What the parcel written to the store last has written. Tickets resolve in the order of their writes, so it stands for all before it.
    pub(crate) written: Option<Ticket>,
}

impl Outbox {
    /// Whether anything waits or is being routed.
    pub(crate) fn is_open(&self) -> bool {
        self.draining || !self.waiting.is_empty()
    }
}

/// A stanza on its way to another address.
#[derive(Clone, Debug)]
pub(crate) struct Parcel {
    pub(crate) stanza: Stanza,
    /// Whether the sender is told if it cannot be delivered.
    pub(crate) bounces: bool,
}

/// A session as its account sees it.
#[derive(Debug)]
pub struct SessionState {
    /// The session.
    pub session: Arc<Session>,
    /// Its last broadcast presence while it is available; none before the initial presence and after unavailable.
    pub presence: Option<Stanza>,
    /// The priority of that presence (RFC 6121 §4.7.2.3).
    pub priority: i8,
    /// Whom it sent directed presence to and who is not told of its end by broadcast (RFC 6121 §4.6).
    pub directed: HashSet<Jid>,
    /// Whether it asked for the roster and so gets pushes (RFC 6121 §2.1.6).
    pub interested: bool,
    pub(crate) slots: Slots,
}

impl SessionState {
    pub(crate) fn new(session: Arc<Session>) -> Self {
        Self {
            session,
            presence: None,
            priority: 0,
            directed: HashSet::new(),
            interested: false,
            slots: Slots::default(),
        }
    }

    /// Its number.
    pub fn id(&self) -> SessionId {
        self.session.id()
    }

    /// Its full address.
    pub fn jid(&self) -> &Jid {
        self.session.jid()
    }

    /// Its resource.
    pub fn resource(&self) -> &str {
        self.session.jid().resource().unwrap_or_default()
    }

    /// Whether it is available (RFC 6121 §4.2.1).
    pub const fn is_available(&self) -> bool {
        self.presence.is_some()
    }

    /// An extension's value, if it was ever written.
    pub fn slot<T: 'static>(&self, slot: SessionSlot<T>) -> Option<&T> {
        self.slots.of_session(slot)
    }

    /// An extension's value, to change.
    pub fn slot_mut<T: Default + Send + Sync + 'static>(&mut self, slot: SessionSlot<T>) -> &mut T {
        self.slots.of_session_mut(slot)
    }
}

impl AccountState {
    pub(crate) fn new(jid: BareJid, roster: Roster, disabled: bool, waiting: usize) -> Self {
        Self {
            jid,
            roster,
            sessions: Vec::new(),
            disabled,
            gone: false,
            slots: Slots::default(),
            spool: Spool::new(waiting),
            outbox: Outbox::default(),
            touched: Instant::now(),
        }
    }

    /// The session of this number.
    pub fn session(&self, id: SessionId) -> Option<&SessionState> {
        self.sessions.iter().find(|session| session.id() == id)
    }

    /// The session of this number, to change.
    pub fn session_mut(&mut self, id: SessionId) -> Option<&mut SessionState> {
        self.sessions.iter_mut().find(|session| session.id() == id)
    }

    /// The session that has bound this resource.
    pub fn resource(&self, resource: &str) -> Option<&SessionState> {
        self.sessions.iter().find(|session| session.resource() == resource)
    }

    /// The sessions that are available.
    pub fn available(&self) -> impl Iterator<Item = &SessionState> {
        self.sessions.iter().filter(|session| session.is_available())
    }

    /// Whether anybody of the account is available.
    pub fn is_available(&self) -> bool {
        self.available().next().is_some()
    }

    /// An extension's value, if it was ever written.
    pub fn slot<T: 'static>(&self, slot: AccountSlot<T>) -> Option<&T> {
        self.slots.of_account(slot)
    }

    /// An extension's value, to change.
    pub fn slot_mut<T: Default + Send + Sync + 'static>(&mut self, slot: AccountSlot<T>) -> &mut T {
        self.slots.of_account_mut(slot)
    }

    /// Whether nothing would be lost if the account left the memory.
    pub(crate) fn is_idle(&self) -> bool {
        self.sessions.is_empty() && !self.outbox.is_open()
    }
}

/// What a step gave.
#[derive(Debug)]
pub struct Stepped<R> {
    /// What the closure returned.
    pub value: R,
    /// Resolves when everything that the step wrote is durable.
    pub ticket: Ticket,
    /// Whether anything waits in the outbox, or is being routed.
    pub(crate) posted: bool,
}

/// A step in an account's lane.
pub struct Step<'a> {
    /// The router.
    pub router: &'a Arc<Router>,
    /// The account.
    pub account: &'a mut AccountState,
    /// When the step happens.
    pub now: Timestamp,
    /// How many of the account's connections listeners have ended in this step, beside its sessions.
    pub ended: usize,
    tickets: Vec<Ticket>,
    /// Sessions whose queues went over their bound in this step.
    pub(crate) over: Vec<(SessionId, Offered)>,
    /// Deliveries that returned in this step.
    pub(crate) returned: Vec<Arc<Delivery>>,
}

thread_local! {
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// Notices, in builds with debug assertions, a step inside a step.
struct Inside;

impl Inside {
    fn enter() -> Self {
        debug_assert!(!INSIDE.replace(true), "a step was begun inside a step: lanes never nest");
        Self
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        INSIDE.set(false);
    }
}

impl Lane {
    pub(crate) fn new(state: AccountState) -> Arc<Self> {
        Arc::new(Self { jid: state.jid.clone(), state: Mutex::new(state), drained: Notify::new() })
    }

    /// The account's address.
    pub const fn jid(&self) -> &BareJid {
        &self.jid
    }

    /// One step. The caller routes what it sent: [`Router::route_outbox`]; [`Router::step`] does both.
    pub(crate) fn step<R>(&self, router: &Arc<Router>, work: impl FnOnce(&mut Step<'_>) -> R) -> Stepped<R> {
        let _inside = Inside::enter();
        let mut state = self.state.lock();
        state.touched = Instant::now();
        let mut step = Step {
            router,
            account: &mut state,
            now: router.now(),
            ended: 0,
            tickets: Vec::new(),
            over: Vec::new(),
            returned: Vec::new(),
        };
        let value = work(&mut step);
        step.finish();
        let ticket = Ticket::join(step.tickets);
        let posted = state.outbox.is_open();
        Stepped { value, ticket, posted }
    }

    /// The outbox alone, for those who route it.
    pub(crate) fn outbox<R>(&self, look: impl FnOnce(&mut Outbox) -> R) -> R {
        look(&mut self.state.lock().outbox)
    }

    /// Resolves once what the account has sent is durable where it arrived, as far as it has arrived.
    pub(crate) fn written(&self) -> Ticket {
        self.outbox(|outbox| outbox.written.clone()).unwrap_or_else(Ticket::done)
    }

    /// Whether the account was deleted.
    pub(crate) fn is_gone(&self) -> bool {
        self.state.lock().gone
    }

    /// Whether it may not log in.
    pub(crate) fn is_disabled(&self) -> bool {
        self.state.lock().disabled
    }

    /// Whether it can leave the memory: nothing would be lost, and it was not needed for so long.
    pub(crate) fn is_idle_for(&self, age: std::time::Duration) -> bool {
        let state = self.state.lock();
        state.is_idle() && state.touched.elapsed() >= age
    }
}

impl fmt::Debug for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Lane").field(&self.jid.as_str()).finish()
    }
}

impl Step<'_> {
    /// Router and time.
    pub const fn cx(&self) -> Cx<'_> {
        Cx { router: self.router, now: self.now }
    }

    /// What a filter sees here.
    pub const fn standing(&self, session: Option<SessionId>) -> Standing<'_> {
        Standing { cx: self.cx(), account: Some(self.account), session }
    }

    /// Sends a stanza on the account's own behalf, or on a session's whose stanza has passed Leaving's stamps, once the step is over. `from` and
    /// `to` are set. Police at Leaving may stop it, which is not told. If it cannot be delivered, nobody is told.
    pub fn send(&mut self, stanza: Stanza) {
        self.post(stanza, false);
    }

    /// Likewise, but its `from` gets an error if it cannot be delivered.
    pub fn send_or_bounce(&mut self, stanza: Stanza) {
        self.post(stanza, true);
    }

    fn post(&mut self, stanza: Stanza, bounces: bool) {
        match self.router.points().police(PoliceAt::Leaving, &self.standing(None), &stanza) {
            Verdict::Pass => self.post_unpoliced(stanza, bounces),
            Verdict::Refuse(_) | Verdict::Drop => {
                self.router.metrics().refused.inc();
            }
        }
    }

    /// Sends what the router itself answers: bounces and replies.
    pub(crate) fn post_unpoliced(&mut self, stanza: Stanza, bounces: bool) {
        self.account.outbox.waiting.push_back(Parcel { stanza, bounces });
        self.account.outbox.pushed += 1;
    }

    /// Puts the account's Leaving stamps on a stanza that it is about to send.
    pub fn stamp_leaving(&self, stanza: &mut Stanza, session: Option<SessionId>) {
        self.router.points().stamp(StampAt::Leaving, &self.standing(session), stanza);
    }

    /// Delivers a stanza to one session, which need not be available: pushes, presence of contacts, copies. Passes Delivering's stamps
    /// and pacers. False if the session is over or full.
    pub fn deliver(&mut self, to: SessionId, stanza: &Stanza) -> bool {
        self.hand(to, stanza, None)
    }

    /// Delivers to one session something that somebody answers for.
    pub(crate) fn hand(&mut self, to: SessionId, stanza: &Stanza, delivery: Option<&Arc<Delivery>>) -> bool {
        let Some(state) = self.account.session(to) else {
            return false;
        };
        let points = self.router.points();
        let at = self.standing(None);
        let mut stamped = None;
        if points.has_stamps(StampAt::Delivering, stanza) {
            let mut own = stanza.clone();
            points.stamp(StampAt::Delivering, &at, &mut own);
            stamped = Some(own);
        }
        let stanza = stamped.as_ref().unwrap_or(stanza);
        let pace =
            points.pacers.iter().map(|pacer| pacer.pace(&at, state, stanza)).max().unwrap_or(Pace::Now);
        let pace = match pace {
            // Somebody answers for it: it may wait, but is neither merged nor thrown away.
            Pace::Latest(_) | Pace::Never if delivery.is_some() => Pace::Later,
            pace => pace,
        };
        let entry = Entry::stanza(stanza.bytes(ns::CLIENT), delivery.cloned());
        // What its pacer drops is taken too, but is in no queue.
        let queued = pace != Pace::Never;
        let offered = state.session.offer(entry, pace);
        match offered {
            Offered::Taken => {}
            Offered::Over | Offered::Refused => self.over.push((to, offered)),
        }
        if offered != Offered::Refused && queued {
            self.router.metrics().delivered.inc();
        }
        if offered == Offered::Refused
            && let Some(delivery) = delivery
        {
            delivery.let_go();
        }
        offered != Offered::Refused
    }

    /// Tells the listeners of a fact, at once.
    pub fn fact<F: Fact>(&mut self, fact: &F) {
        let router = self.router;
        for listener in router.points().listeners::<F>() {
            listener.heard(self, fact);
        }
    }

    /// Whether anybody listens to such facts: one that happens often need not be made for nobody.
    pub(crate) fn is_heard<F: Fact>(&self) -> bool {
        !self.router.points().listeners::<F>().is_empty()
    }

    /// The step's result is durable only once this is.
    pub fn wait(&mut self, ticket: Ticket) {
        self.tickets.push(ticket);
    }

    /// Commits a batch as part of the step.
    pub fn commit(&mut self, batch: Batch) {
        self.tickets.push(batch.commit());
    }

    /// Whether this address may know of the account's presence, or of one session's: the account itself, a contact with a subscription
    /// `from` or `both`, whoever got directed presence; and nobody objects ([`Sees`]).
    pub fn sees(&self, asker: &Jid, session: Option<SessionId>) -> bool {
        sees(&self.cx(), self.account, asker, session)
    }

    /// The name of the account's presence broadcasts: is this stanza one that a session broadcasts?
    pub(crate) fn is_broadcast(stanza: &Stanza) -> bool {
        stanza.to().is_none()
            && matches!(stanza.kind(), Kind::Presence(PresenceType::Available | PresenceType::Unavailable))
    }

    /// What is left to do when the closure is done: sessions over their bounds lose their connection, deliveries that returned are
    /// chosen for anew. Each can cause the other, and each session ends only once.
    fn finish(&mut self) {
        loop {
            if let Some((id, offered)) = self.over.pop() {
                self.overflowed(id, offered);
            } else if !self.returned.is_empty() {
                let mut returned = std::mem::take(&mut self.returned);
                returned.sort_by_key(|delivery| delivery.number());
                for delivery in returned {
                    self.choose_again(&delivery);
                }
            } else {
                break;
            }
        }
    }
}

/// Whether this address may know of an account's presence. See [`Step::sees`].
pub(crate) fn sees(cx: &Cx<'_>, account: &AccountState, asker: &Jid, session: Option<SessionId>) -> bool {
    let bare = asker.bare();
    // Whoever got directed presence at one address may ask from another of the same entity: an occupant's request comes from a nick, the
    // room's probe from the room (RFC 6121 §4.6.6).
    let directed = |state: &SessionState| {
        state.directed.contains(asker) || state.directed.iter().any(|to| to.bare_str() == bare.as_str())
    };
    let core = bare == account.jid
        || account.roster.shares_with(&bare)
        || match session {
            Some(id) => account.session(id).is_some_and(directed),
            None => account.sessions.iter().any(directed),
        };
    core && cx.router.points().judge::<Sees>(cx, &Sight { account, asker, session })
}
