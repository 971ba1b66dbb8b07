//! What can be wrong with a first-level element that would be a stanza.

use super::{IqType, Kind, MessageType, PresenceType, Stanza, build};
use crate::error::{Condition, StanzaError};
use crate::jid::{Jid, JidError};
use crate::ns;
use crate::xml::Element;

/// Why an element is no stanza, or not a valid one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StanzaFault {
    /// Another name or namespace: not to be answered but, at most, by `unsupported-stanza-type` (RFC 6120 §4.9.3.24).
    #[error("{name:?} in {ns:?} is no stanza")]
    NotAStanza {
        /// The element's name.
        name: String,
        /// The element's namespace.
        ns: String,
    },
    /// An address breaks the rules of RFC 7622 (RFC 6120 §8.3.3.8).
    #[error("attribute {attr}: {error}")]
    BadAddress {
        /// `to` or `from`.
        attr: &'static str,
        /// What is wrong.
        error: JidError,
    },
    /// An IQ (RFC 6120 §8.2.3) or a presence (RFC 6121 §4.7.1) with an unknown type, or an IQ without one.
    #[error("unknown or missing type")]
    BadType,
    /// An IQ without `id` (RFC 6120 §8.1.3).
    #[error("iq without id")]
    MissingId,
    /// An IQ with too few or too many children (RFC 6120 §8.2.3).
    #[error("{0}")]
    IqShape(&'static str),
}

impl StanzaFault {
    /// The condition that answers it.
    pub const fn condition(&self) -> Condition {
        match self {
            Self::BadAddress { .. } => Condition::JidMalformed,
            Self::NotAStanza { .. } | Self::BadType | Self::MissingId | Self::IqShape(_) => {
                Condition::BadRequest
            }
        }
    }

    /// The error stanza that goes back to the sender of `element`. An address that cannot be read is left out. `None` where none may
    /// be sent: for no stanza at all, and for errors and results (RFC 6120 §8.3.1).
    pub fn reply(&self, element: &Element) -> Option<Stanza> {
        let named = of_name(element)?;
        if element.attr("type").is_some_and(|word| word == "error" || word == "result") {
            return None;
        }
        let address = |attr| element.attr(attr).and_then(|value| Jid::new(&value).ok());
        let error = StanzaError::new(self.condition()).with_text(self.to_string());
        let builder = build::of(named.to_error()).to(address("from")).from(address("to"));
        let builder = builder.id(element.attr("id").as_deref());
        Some(builder.child(error.builder()).build())
    }
}

fn of_name(element: &Element) -> Option<Kind> {
    if !ns::is_content(element.ns()) {
        return None;
    }
    match element.name() {
        "message" => Some(Kind::Message(MessageType::Normal)),
        "presence" => Some(Kind::Presence(PresenceType::Available)),
        "iq" => Some(Kind::Iq(IqType::Get)),
        _ => None,
    }
}

/// The kind that an element's name and type say.
pub(super) fn kind(element: &Element) -> Result<Kind, StanzaFault> {
    let Some(named) = of_name(element) else {
        return Err(StanzaFault::NotAStanza { name: element.name().into(), ns: element.ns().into() });
    };
    let word = element.attr("type");
    let read = match (named, word.as_deref()) {
        (Kind::Message(_), word) => {
            Some(Kind::Message(word.and_then(MessageType::from_word).unwrap_or(MessageType::Normal)))
        }
        (Kind::Presence(_), None) => Some(named),
        // The empty word stands for the missing attribute; written out it is none of the values.
        (Kind::Presence(_), Some("")) | (Kind::Iq(_), None) => None,
        (Kind::Presence(_), Some(word)) => PresenceType::from_word(word).map(Kind::Presence),
        (Kind::Iq(_), Some(word)) => IqType::from_word(word).map(Kind::Iq),
    };
    read.ok_or(StanzaFault::BadType)
}

/// What RFC 6120 §8.2.3 demands of an IQ.
pub(super) fn check_iq(stanza: &Stanza) -> Result<(), StanzaFault> {
    let Kind::Iq(kind) = stanza.kind() else { return Ok(()) };
    if stanza.id().is_none() {
        return Err(StanzaFault::MissingId);
    }
    let children = stanza.children().count();
    match kind {
        IqType::Get | IqType::Set if children != 1 => {
            Err(StanzaFault::IqShape("iq get and set have exactly one child"))
        }
        IqType::Result if children > 1 => Err(StanzaFault::IqShape("iq result has at most one child")),
        IqType::Error if stanza.own_child("error").is_none() => {
            Err(StanzaFault::IqShape("iq error has an error child"))
        }
        IqType::Error if children > 2 => {
            Err(StanzaFault::IqShape("iq error has the error and at most one more child"))
        }
        IqType::Get | IqType::Set | IqType::Result | IqType::Error => Ok(()),
    }
}
