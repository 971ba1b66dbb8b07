//! Who gets a stanza that arrives at a local account: the delivery rules of RFC 6121 §8.5 as pure tables.
//!
//! Where the RFC leaves a choice:
//! - Messages of type normal and chat to the account go to *all sessions of the highest priority* among those that are available with a
//!   priority that is not negative. The others get carbons (XEP-0280) if they want to.
//! - What the RFC lets a server either drop or return, it returns, the same for an account that does not exist, has nobody available, or has
//!   not bound that resource. So no error tells these apart (RFC 6120 §13.10.2); only that a message is kept offline tells that there is an
//!   account.
//! - Probes to nobody are answered like probes of strangers: `unsubscribed` (RFC 6121 §4.3.2).

use nuncio_xmpp::error::Condition;
use nuncio_xmpp::stanza::{IqType, Kind, MessageType, PresenceType};
use smallvec::{SmallVec, smallvec};

use crate::session::SessionId;

/// A session of the recipient as the rules see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resource {
    /// Which.
    pub id: SessionId,
    /// Whether it is available.
    pub available: bool,
    /// The priority of its presence.
    pub priority: i8,
}

/// What a stanza was addressed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Addressed {
    /// The account.
    Bare,
    /// A full address that this session has bound; none has, if none.
    Full(Option<SessionId>),
}

/// Sessions that get a stanza.
pub type Chosen = SmallVec<[SessionId; 4]>;

/// What the rules say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    /// These sessions, at least one.
    Deliver(Chosen),
    /// Nobody is there: keep it offline if it is worth it ([`nuncio_xmpp::stanza::Class`]), else tell or drop as the rules say.
    Offline,
    /// The sender gets this error.
    Bounce(Condition),
    /// It ends here in silence.
    Drop,
}

impl Choice {
    fn deliver(to: Chosen, otherwise: Self) -> Self {
        if to.is_empty() { otherwise } else { Self::Deliver(to) }
    }
}

/// Who gets a message (RFC 6121 §8.5.2.1.1, §8.5.2.2.1, §8.5.3, Table 1).
pub fn message(kind: MessageType, to: Addressed, resources: &[Resource]) -> Choice {
    let all = || resources.iter().filter(|one| one.available && one.priority >= 0);
    match (kind, to) {
        (_, Addressed::Full(Some(id))) => Choice::Deliver(smallvec![id]),
        (MessageType::Error, _) => Choice::Drop,
        (MessageType::Groupchat, _)
        | (MessageType::Normal | MessageType::Headline, Addressed::Full(None)) => {
            Choice::Bounce(Condition::ServiceUnavailable)
        }
        (MessageType::Headline, Addressed::Bare) => {
            Choice::deliver(all().map(|one| one.id).collect(), Choice::Drop)
        }
        (MessageType::Normal, Addressed::Bare) | (MessageType::Chat, _) => {
            let highest = all().map(|one| one.priority).max();
            let best = all().filter(|one| Some(one.priority) == highest).map(|one| one.id);
            Choice::deliver(best.collect(), Choice::Offline)
        }
    }
}

/// Who gets presence (RFC 6121 §8.5.2.1.2, §8.5.2.2.2, §8.5.3.1, §8.5.3.2.2). `None`: the server itself acts, by the rules of subscriptions
/// (§3) and probes (§4.3).
pub fn presence(kind: PresenceType, to: Addressed, resources: &[Resource]) -> Option<Choice> {
    match (kind, to) {
        (PresenceType::Available | PresenceType::Unavailable | PresenceType::Error, Addressed::Bare) => {
            let available = resources.iter().filter(|one| one.available).map(|one| one.id);
            Some(Choice::deliver(available.collect(), Choice::Drop))
        }
        (
            PresenceType::Available | PresenceType::Unavailable | PresenceType::Error,
            Addressed::Full(Some(id)),
        ) => Some(Choice::Deliver(smallvec![id])),
        (PresenceType::Subscribe | PresenceType::Probe, _) => None,
        (
            PresenceType::Subscribed | PresenceType::Unsubscribe | PresenceType::Unsubscribed,
            Addressed::Bare,
        )
        | (
            PresenceType::Subscribed | PresenceType::Unsubscribe | PresenceType::Unsubscribed,
            Addressed::Full(Some(_)),
        ) => None,
        (_, Addressed::Full(None)) => Some(Choice::Drop),
    }
}

/// Who gets an IQ (RFC 6121 §8.5.2.1.3, §8.5.2.2.3, §8.5.3.1, §8.5.3.2.3). `sees`: the sender may know of the resource's
/// presence. `None`: the server itself answers.
pub fn iq(kind: IqType, to: Addressed, sees: bool) -> Option<Choice> {
    match (kind, to) {
        (IqType::Get | IqType::Set, Addressed::Bare) => None,
        (IqType::Get | IqType::Set, Addressed::Full(Some(id))) if sees => {
            Some(Choice::Deliver(smallvec![id]))
        }
        (IqType::Get | IqType::Set, Addressed::Full(_)) => {
            Some(Choice::Bounce(Condition::ServiceUnavailable))
        }
        (IqType::Result | IqType::Error, Addressed::Full(Some(id))) => Some(Choice::Deliver(smallvec![id])),
        (IqType::Result | IqType::Error, _) => Some(Choice::Drop),
    }
}

/// What becomes of a stanza to an account that does not exist (RFC 6121 §8.5.1, Table 1). `None` for probes: the
/// server answers with `unsubscribed`.
pub fn nobody(kind: Kind, bare: bool) -> Option<Choice> {
    match kind {
        Kind::Message(MessageType::Error) | Kind::Iq(IqType::Result | IqType::Error) => Some(Choice::Drop),
        Kind::Message(MessageType::Headline) if bare => Some(Choice::Drop),
        Kind::Message(_) | Kind::Iq(_) => Some(Choice::Bounce(Condition::ServiceUnavailable)),
        Kind::Presence(PresenceType::Probe) => None,
        Kind::Presence(_) => Some(Choice::Drop),
    }
}

#[cfg(test)]
mod tests;
