//! Who gets a stanza: the delivery rules of RFC 6121 §8.5 as pure tables.

use nuncio_xmpp::error::Condition;
use nuncio_xmpp::stanza::MessageType;

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

/// What the rules say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    /// These sessions.
    Deliver(Vec<SessionId>),
    /// Nobody is there: keep it offline if it is worth it ([`nuncio_xmpp::stanza::Class`]), else tell or drop as the rules say.
    Offline,
    /// The sender gets this error.
    Bounce(Condition),
    /// It ends here in silence.
    Drop,
}

/// Who gets a message (RFC 6121 §8.5.2.1, §8.5.3.1, §8.5.4).
pub fn message(kind: MessageType, to: Addressed, resources: &[Resource]) -> Choice {
    if let Addressed::Full(Some(id)) = to {
        return Choice::Deliver(vec![id]);
    }
    match (kind, to) {
        (MessageType::Error, _) => return Choice::Drop,
        (MessageType::Groupchat, _) => return Choice::Bounce(Condition::ServiceUnavailable),
        _ => {}
    }
    let able: Vec<_> =
        resources.iter().filter(|one| one.available && one.priority >= 0).map(|one| one.id).collect();
    match (kind, able.is_empty()) {
        (_, false) => Choice::Deliver(able),
        (MessageType::Headline, true) => Choice::Drop,
        (_, true) => Choice::Offline,
    }
}
