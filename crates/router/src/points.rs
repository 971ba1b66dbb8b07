//! The points at which extensions plug in. Each is a trait; what registers where is in [`crate::Host`].
//!
//! Filters stand at gates, in a named stage with a trait of its own, never a number: filters of one stage commute, because police are
//! pure and all are asked, a stamp owns the elements it writes, and a copier only adds readers.

use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use nuncio_store::{Fault, Look};
use nuncio_xmpp::error::{Condition, StanzaError};
use nuncio_xmpp::jid::{BareJid, Jid};
use nuncio_xmpp::stanza::{IqType, Kind, Marks, Stanza};
use nuncio_xmpp::xml::{Builder, Element, ElementRef};
use smallvec::SmallVec;

use crate::facts::Fact;
use crate::lane::{AccountState, SessionState, Step};
use crate::router::Router;
use crate::session::{Session, SessionId};

/// A boxed future.
pub type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What every extension is given: the router and the time.
#[derive(Clone, Copy)]
pub struct Cx<'a> {
    /// The router.
    pub router: &'a Arc<Router>,
    /// When the stanza or request at hand came.
    pub now: Timestamp,
}

// ---- filters ---------------------------------------------------------------------------------------------------------------

/// Where police may stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoliceAt {
    /// Whatever a connection brings, once.
    Entering,
    /// The sender is a local account.
    Leaving,
    /// The recipient is a local account.
    Arriving,
}

/// Where stamps may stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StampAt {
    /// Whatever a connection brings, once.
    Entering,
    /// The sender is a local account.
    Leaving,
    /// The recipient is a local account.
    Arriving,
    /// One resource, copies and returns too.
    Delivering,
}

/// Where copiers may stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyAt {
    /// The sender is a local account, the recipient another one.
    Leaving,
    /// The recipient is a local account.
    Arriving,
}

/// What a filter wants to see; the gate's table skips it for everything else.
#[derive(Clone, Copy, Debug)]
pub struct Wants {
    kinds: u8,
    marks: Option<Marks>,
}

impl Wants {
    /// Everything.
    pub const ALL: Self = Self { kinds: 7, marks: None };
    /// Messages.
    pub const MESSAGES: Self = Self { kinds: 1, marks: None };
    /// Presence.
    pub const PRESENCES: Self = Self { kinds: 2, marks: None };
    /// IQs.
    pub const IQS: Self = Self { kinds: 4, marks: None };

    /// Only stanzas with one of these marks.
    #[must_use]
    pub const fn with(mut self, marks: Marks) -> Self {
        self.marks = Some(marks);
        self
    }

    /// What either wants.
    #[must_use]
    pub const fn or(mut self, other: Self) -> Self {
        self.kinds |= other.kinds;
        if other.marks.is_none() {
            self.marks = None;
        }
        self
    }

    pub(crate) fn takes(&self, stanza: &Stanza) -> bool {
        let bit = match stanza.kind() {
            Kind::Message(_) => 1,
            Kind::Presence(_) => 2,
            Kind::Iq(_) => 4,
        };
        self.kinds & bit != 0 && self.marks.is_none_or(|marks| stanza.marks().any(marks))
    }
}

/// What a filter sees of the place where it stands.
#[derive(Clone, Copy)]
pub struct Standing<'a> {
    /// Router and time.
    pub cx: Cx<'a>,
    /// The account whose gate this is: the sender's at Leaving, the recipient's at Arriving and Delivering; none at Entering.
    pub account: Option<&'a AccountState>,
    /// The session that sent the stanza, if a session of this server did; only at Entering and Leaving.
    pub session: Option<SessionId>,
}

/// May it pass? Pure: asked twice it says the same, and it changes nothing.
pub trait Police: Send + Sync + 'static {
    /// What it looks at.
    fn wants(&self) -> Wants {
        Wants::ALL
    }
    /// The verdict. All police of a gate are asked; `Drop` beats `Refuse` beats `Pass`.
    fn judge(&self, at: &Standing<'_>, stanza: &Stanza) -> Verdict;
}

/// A police verdict.
#[derive(Clone, Debug)]
pub enum Verdict {
    /// It may pass.
    Pass,
    /// The sender gets this error; nobody gets one for an error or a result.
    Refuse(StanzaError),
    /// It ends here in silence.
    Drop,
}

impl Verdict {
    /// Refusals of several police become the one that stands first here; conditions that are not listed come last, by name.
    const ORDER: [Condition; 6] = [
        Condition::NotAcceptable,
        Condition::PolicyViolation,
        Condition::NotAllowed,
        Condition::Forbidden,
        Condition::ServiceUnavailable,
        Condition::ResourceConstraint,
    ];

    fn rank(condition: Condition) -> (usize, &'static str) {
        let place = Self::ORDER.iter().position(|known| *known == condition);
        (place.unwrap_or(Self::ORDER.len()), condition.as_str())
    }

    /// What two verdicts come to, in whichever order they were given.
    #[must_use]
    pub fn join(self, other: Self) -> Self {
        match (self, other) {
            (Self::Drop, _) | (_, Self::Drop) => Self::Drop,
            (Self::Pass, verdict) | (verdict, Self::Pass) => verdict,
            (Self::Refuse(one), Self::Refuse(two)) => {
                let (a, b) = (Self::rank(one.condition), Self::rank(two.condition));
                Self::Refuse(if a <= b { one } else { two })
            }
        }
    }
}

/// A child element's name and namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name {
    /// The local name; `*` for every element of the namespace.
    pub name: &'static str,
    /// The namespace.
    pub ns: &'static str,
}

/// Takes owned elements off a stanza and puts them on.
pub trait Stamp: Send + Sync + 'static {
    /// What it looks at.
    fn wants(&self) -> Wants {
        Wants::ALL
    }
    /// The children it writes and strips; nobody else may own them at this gate.
    fn owns(&self) -> &'static [Name];
    /// Strips and adds.
    fn stamp(&self, at: &Standing<'_>, stanza: &Stanza, edit: &mut Edit);
}

/// Whether a child is meant.
type Which = Box<dyn Fn(ElementRef<'_>) -> bool>;

/// What a stamp wants changed. Everything is stripped before anything is added.
#[derive(Default)]
pub struct Edit {
    pub(crate) strip: Vec<Which>,
    pub(crate) add: SmallVec<[Addition; 2]>,
}

/// A child that is added.
pub(crate) enum Addition {
    Built(Box<Builder>),
    Closed(Bytes),
}

impl Edit {
    /// Strips the children for which `which` is true. It is asked about every child: it must look at name and namespace itself.
    pub fn strip(&mut self, which: impl Fn(ElementRef<'_>) -> bool + 'static) {
        self.strip.push(Box::new(which));
    }

    /// Adds a child.
    pub fn add(&mut self, child: Builder) {
        self.add.push(Addition::Built(Box::new(child)));
    }

    /// Adds a child that is written already: one element, well-formed, with all of its declarations.
    pub fn add_closed(&mut self, child: Bytes) {
        self.add.push(Addition::Closed(child));
    }

    pub(crate) fn apply(&mut self, stanza: &mut Stanza) {
        for which in &self.strip {
            stanza.strip(which);
        }
        for child in self.add.drain(..) {
            match child {
                Addition::Built(child) => stanza.add(&child),
                Addition::Closed(child) => stanza.add_closed(child),
            }
        }
    }
}

/// Gives the same stanza to more readers. Copies enter at Delivering: no police, no further copies, and they never bounce.
pub trait Copier: Send + Sync + 'static {
    /// What it looks at.
    fn wants(&self) -> Wants {
        Wants::MESSAGES
    }
    /// Adds copies for sessions of the account. `chosen` are the sessions that get the stanza itself (at Leaving: the one that sent it).
    fn copy(&self, at: &Standing<'_>, stanza: &Stanza, chosen: &[SessionId], copies: &mut Copies);
}

/// The copies to be made.
#[derive(Default)]
pub struct Copies(pub(crate) Vec<(SessionId, Stanza)>);

impl Copies {
    /// A copy for one session, written completely, with `from` and `to`.
    pub fn push(&mut self, to: SessionId, copy: Stanza) {
        self.0.push((to, copy));
    }
}

/// Decides when one resource gets a stanza (XEP-0352).
pub trait Pacer: Send + Sync + 'static {
    /// When. All pacers are asked; the latest answer counts, in the order of [`Pace`].
    fn pace(&self, at: &Standing<'_>, to: &SessionState, stanza: &Stanza) -> Pace;
}

/// When a stanza goes out to one resource.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pace {
    /// At once, and what is held goes first.
    Now,
    /// With the next one that goes at once, or when the session is released. Bounded; what is over the bound goes at once.
    Later,
    /// Likewise, in place of one that is held under the same key.
    Latest(String),
    /// Not at all.
    Never,
}

// ---- handlers --------------------------------------------------------------------------------------------------------------

/// At which kind of place a handler answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum At {
    /// A client before a resource is bound.
    Unbound,
    /// A served domain.
    Server,
    /// An account: to its bare address, by anyone, or without `to` by itself.
    Account,
    /// A resource of an account, asked before it is delivered there: [`Reply::Pass`] delivers it.
    Resource,
}

/// Where something was asked.
#[derive(Clone, Debug)]
pub struct Place {
    /// Its kind.
    pub at: At,
    /// Its address.
    pub jid: Jid,
}

/// An IQ request.
#[derive(Clone)]
pub struct Ask {
    /// The IQ.
    pub stanza: Stanza,
    /// Who asks; for [`At::Unbound`] the account if it is known, else the domain.
    pub from: Jid,
    /// Where.
    pub place: Place,
    /// The session that asks, if it is one of this server.
    pub session: Option<Arc<Session>>,
    /// The account that asks before a resource is bound, if it is proven ([`At::Unbound`]).
    pub unbound: Option<BareJid>,
    /// Where the connection comes from, before a resource is bound ([`At::Unbound`]).
    pub peer: Option<IpAddr>,
}

impl Ask {
    /// `get` or `set`.
    pub fn is_set(&self) -> bool {
        matches!(self.stanza.kind(), Kind::Iq(IqType::Set))
    }

    /// The request's payload.
    ///
    /// # Errors
    /// `bad-request` if there is none, which the parser rules out.
    pub fn payload(&self) -> Result<ElementRef<'_>, StanzaError> {
        self.stanza.payload().ok_or_else(|| StanzaError::new(Condition::BadRequest))
    }

    /// The account whose place this is.
    pub fn account(&self) -> BareJid {
        self.place.jid.bare()
    }

    /// Whether an account asks at its own place.
    pub fn is_own(&self) -> bool {
        self.place.jid.bare_str() == self.from.bare_str()
    }

    /// Demands that an account asks at its own place.
    ///
    /// # Errors
    /// `service-unavailable` for everyone else, which is also what an account that does not exist says.
    pub fn own(&self) -> Result<(), StanzaError> {
        if self.is_own() { Ok(()) } else { Err(StanzaError::new(Condition::ServiceUnavailable)) }
    }
}

/// What a handler says.
#[derive(Debug)]
pub enum Reply {
    /// A result with this payload.
    Result(Builder),
    /// An empty result.
    Empty,
    /// Not for me: at a resource it is delivered, elsewhere it is `service-unavailable`.
    Pass,
    /// The answer is sent otherwise (or never).
    Silent,
}

/// Whether the stream waits for a handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// It waits, so that what follows sees the effect (RFC 6120 §10.1).
    InLine,
    /// It does not: slow, and without effect on what follows.
    Aside,
}

/// Owns one payload at one kind of place.
pub trait Handler: Send + Sync + 'static {
    /// Whether the stream waits.
    const ORDER: Order = Order::InLine;

    /// What is told instead where there is no such account: it must be what the handler tells those whom it tells nothing, so that nobody learns
    /// which accounts exist (RFC 6120 §13.10.2).
    const NOBODY: Condition = Condition::ServiceUnavailable;

    /// Answers one request. A `set` returns once what it wrote is durable: it awaits its tickets.
    fn handle(&self, cx: &Cx<'_>, ask: Ask) -> impl Future<Output = Result<Reply, StanzaError>> + Send;
}

/// [`Handler`] as the tables hold it.
pub(crate) trait AnyHandler: Send + Sync {
    fn order(&self) -> Order;
    fn nobody(&self) -> Condition;
    fn handle<'a>(&'a self, cx: &'a Cx<'a>, ask: Ask) -> Boxed<'a, Result<Reply, StanzaError>>;
}

impl<H: Handler> AnyHandler for H {
    fn order(&self) -> Order {
        H::ORDER
    }

    fn nobody(&self) -> Condition {
        H::NOBODY
    }

    fn handle<'a>(&'a self, cx: &'a Cx<'a>, ask: Ask) -> Boxed<'a, Result<Reply, StanzaError>> {
        Box::pin(Handler::handle(self, cx, ask))
    }
}

// ---- listeners, judges -----------------------------------------------------------------------------------------------------

/// Hears facts. Refuses nothing; works in the step in which it happened, and spawns what needs to wait.
pub trait Listener<F: Fact>: Send + Sync + 'static {
    /// It has happened.
    fn heard(&self, step: &mut Step<'_>, fact: &F);
}

/// A question that several answer together.
pub trait Question: 'static {
    /// What is asked.
    type About<'a>;
    /// The answers, which join in any order.
    type Answer: Join;
}

/// Answers that become one.
pub trait Join: Sized {
    /// What is true if nobody objects.
    fn neutral() -> Self;
    /// Two answers as one; commutative.
    #[must_use]
    fn join(self, other: Self) -> Self;
}

impl Join for bool {
    fn neutral() -> Self {
        true
    }

    fn join(self, other: Self) -> Self {
        self && other
    }
}

/// One of many answers to a question, from memory.
pub trait Judge<Q: Question>: Send + Sync + 'static {
    /// The answer.
    fn judge(&self, cx: &Cx<'_>, about: &Q::About<'_>) -> Q::Answer;
}

/// May this address know of the account's presence? Asked at every place where it could show: broadcast, probe, IQ to a
/// resource, XEP-0012, disco. Answers join by *and*; the core's own is RFC 6121's: the account itself, a subscription `from` or
/// `both`, or directed presence.
#[derive(Clone, Copy, Debug)]
pub struct Sees;

/// What [`Sees`] is asked about.
#[derive(Clone, Copy)]
pub struct Sight<'a> {
    /// The account.
    pub account: &'a AccountState,
    /// Who wants to know.
    pub asker: &'a Jid,
    /// About this resource only; none for the account.
    pub session: Option<SessionId>,
}

impl Question for Sees {
    type About<'a> = Sight<'a>;
    type Answer = bool;
}

/// May an account be registered by this request (XEP-0077)? Every judge may refuse.
#[derive(Clone, Copy, Debug)]
pub struct MayRegister;

/// What [`MayRegister`] is asked about.
#[derive(Clone, Copy)]
pub struct Registration<'a> {
    /// The address wanted.
    pub jid: &'a BareJid,
    /// The request.
    pub ask: &'a Ask,
}

impl Question for MayRegister {
    type About<'a> = Registration<'a>;
    type Answer = Permission;
}

/// Allowed, unless someone refuses.
#[derive(Clone, Debug, Default)]
pub struct Permission(pub Option<StanzaError>);

impl Join for Permission {
    fn neutral() -> Self {
        Self(None)
    }

    fn join(self, other: Self) -> Self {
        match (self.0, other.0) {
            (Some(one), Some(two)) if Verdict::rank(two.condition) < Verdict::rank(one.condition) => {
                Self(Some(two))
            }
            (one, two) => Self(one.or(two)),
        }
    }
}

/// May this proven account log in? Every judge may refuse, with the SASL condition that the client is told.
#[derive(Clone, Copy, Debug)]
pub struct Login;

impl Question for Login {
    type About<'a> = BareJid;
    type Answer = LoginVerdict;
}

/// Allowed, unless someone refuses.
#[derive(Clone, Copy, Debug, Default)]
pub struct LoginVerdict(pub Option<nuncio_stream::sasl::SaslCondition>);

impl Join for LoginVerdict {
    fn neutral() -> Self {
        Self(None)
    }

    fn join(self, other: Self) -> Self {
        match (self.0, other.0) {
            (Some(one), Some(two)) if two.as_str() < one.as_str() => Self(Some(two)),
            (one, two) => Self(one.or(two)),
        }
    }
}

// ---- greeters, loaders -----------------------------------------------------------------------------------------------------

/// Offers stream features and takes elements of the bound stream that are no stanzas.
pub trait Greeter: Send + Sync + 'static {
    /// A stream feature for this moment of negotiation, if there is one.
    fn offer(&self, _cx: &Cx<'_>, _at: &nuncio_stream::c2s::Moment) -> Option<Builder> {
        None
    }

    /// The elements of a bound stream that it takes. Nobody else may.
    fn takes(&self) -> &'static [Name] {
        &[]
    }

    /// Takes one.
    fn take<'a>(
        &'a self,
        _cx: &'a Cx<'a>,
        _session: &'a Arc<Session>,
        _element: &'a Element,
    ) -> Boxed<'a, ()> {
        Box::pin(std::future::ready(()))
    }
}

/// Fills an account slot from the store when the account comes into memory, before anything happens at it.
pub trait Load<T>: Send + Sync + 'static {
    /// The value. Read together with everything else that is read then, on a thread of the store.
    ///
    /// # Errors
    /// The store failed.
    fn load(&self, look: &Look<'_>) -> Result<T, Fault>;
}

/// A stanza error for a fault of the store: logged here, told as `internal-server-error` without detail.
pub fn failed(fault: &Fault) -> StanzaError {
    tracing::error!(%fault, "the store failed");
    StanzaError::new(Condition::InternalServerError)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_join_in_any_order() {
        let refuse = |condition| Verdict::Refuse(StanzaError::new(condition));
        let told = |verdict: Verdict| match verdict {
            Verdict::Pass => "pass".to_owned(),
            Verdict::Drop => "drop".to_owned(),
            Verdict::Refuse(error) => error.condition.as_str().to_owned(),
        };
        let all = [
            Verdict::Pass,
            Verdict::Drop,
            refuse(Condition::NotAcceptable),
            refuse(Condition::ServiceUnavailable),
            refuse(Condition::ItemNotFound),
            refuse(Condition::Gone),
        ];
        for one in &all {
            for two in &all {
                let (ab, ba) = (one.clone().join(two.clone()), two.clone().join(one.clone()));
                assert_eq!(told(ab), told(ba));
            }
        }
        let joined = refuse(Condition::ServiceUnavailable).join(refuse(Condition::NotAcceptable));
        assert_eq!(told(joined), "not-acceptable");
        assert_eq!(told(refuse(Condition::ItemNotFound).join(refuse(Condition::Gone))), "gone");
    }
}
