//! What a stanza's children say about its worth, decided once for archives, offline storage, carbons, push and client state.

use super::{Kind, MessageType, PresenceType, Stanza};
use crate::ns;
use crate::xml::ElementRef;

/// A set of known children.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Marks(u64);

macro_rules! marks {
    ($($(#[$doc:meta])* $name:ident = $bit:literal),+ $(,)?) => {
        impl Marks { $($(#[$doc])* pub const $name: Self = Self(1 << $bit);)+ }
    };
}

marks! {
    /// `<body/>` (RFC 6121 §5.2.3).
    BODY = 0,
    /// `<subject/>` (RFC 6121 §5.2.4).
    SUBJECT = 1,
    /// `<thread/>` (RFC 6121 §5.2.5).
    THREAD = 2,
    /// `<error/>` (RFC 6120 §8.3.2).
    ERROR = 3,
    /// Delayed delivery (XEP-0203).
    DELAY = 4,
    /// A chat state (XEP-0085).
    CHAT_STATE = 5,
    /// A receipt is asked for (XEP-0184).
    RECEIPT_REQUEST = 6,
    /// A receipt (XEP-0184).
    RECEIPT = 7,
    /// `<private/>` (XEP-0280 §9).
    CARBON_PRIVATE = 8,
    /// A carbon copy (XEP-0280).
    CARBON_COPY = 9,
    /// `<no-copy/>` (XEP-0334).
    NO_COPY = 10,
    /// `<no-store/>` (XEP-0334).
    NO_STORE = 11,
    /// `<no-permanent-store/>` (XEP-0334).
    NO_PERMANENT_STORE = 12,
    /// `<store/>` (XEP-0334).
    STORE = 13,
    /// What rooms say to occupants (XEP-0045).
    MUC_USER = 14,
    /// A room is joined (XEP-0045).
    MUC = 15,
    /// Entity capabilities (XEP-0115).
    CAPS = 16,
    /// A stanza id (XEP-0359).
    STANZA_ID = 17,
    /// An origin id (XEP-0359).
    ORIGIN_ID = 18,
    /// A publish-subscribe notification (XEP-0060).
    PUBSUB_EVENT = 19,
    /// A call is proposed, taken or refused (XEP-0353).
    JINGLE_MESSAGE = 20,
    /// Encrypted content (XEP-0027, XEP-0373, XEP-0380, XEP-0384).
    ENCRYPTED = 21,
    /// A marker: received, displayed, acknowledged (XEP-0333).
    MARKER = 22,
    /// Markers are asked for (XEP-0333).
    MARKABLE = 23,
    /// An invitation to a room (XEP-0249, XEP-0045 §7.8).
    INVITE = 24,
    /// A retraction (XEP-0424).
    RETRACT = 25,
    /// Reactions (XEP-0444).
    REACTIONS = 26,
    /// A correction (XEP-0308).
    CORRECT = 27,
    /// A vCard's avatar (XEP-0153).
    VCARD_UPDATE = 28,
    /// An occupant id (XEP-0421).
    OCCUPANT_ID = 29,
    /// `<show/>` (RFC 6121 §4.7.2.1).
    SHOW = 30,
    /// `<status/>` (RFC 6121 §4.7.2.2).
    STATUS = 31,
    /// `<priority/>` (RFC 6121 §4.7.2.3).
    PRIORITY = 32,
    /// A forwarded stanza (XEP-0297).
    FORWARDED = 33,
    /// A call for attention (XEP-0224).
    ATTENTION = 34,
    /// A data form (XEP-0004).
    DATA = 35,
    /// Extended addresses (XEP-0033).
    ADDRESSES = 36,
    /// A child that is none of the known ones.
    OTHER = 63,
}

/// Marks of children that only go with something else, or describe only this moment.
const ASIDE: Marks = Marks(
    Marks::THREAD.0
        | Marks::DELAY.0
        | Marks::CHAT_STATE.0
        | Marks::RECEIPT_REQUEST.0
        | Marks::CARBON_PRIVATE.0
        | Marks::NO_COPY.0
        | Marks::NO_STORE.0
        | Marks::NO_PERMANENT_STORE.0
        | Marks::STORE.0
        | Marks::CAPS.0
        | Marks::STANZA_ID.0
        | Marks::ORIGIN_ID.0
        | Marks::MARKABLE.0
        | Marks::OCCUPANT_ID.0
        | Marks::ADDRESSES.0
        | Marks::MUC_USER.0,
);

/// Marks of children that belong in an archive even without a body.
const LASTING: Marks = Marks(
    Marks::BODY.0
        | Marks::SUBJECT.0
        | Marks::ENCRYPTED.0
        | Marks::RECEIPT.0
        | Marks::MARKER.0
        | Marks::JINGLE_MESSAGE.0
        | Marks::INVITE.0
        | Marks::RETRACT.0
        | Marks::REACTIONS.0
        | Marks::CORRECT.0,
);

/// Marks of children for which a person is disturbed.
const CALLING: Marks = Marks(
    Marks::BODY.0
        | Marks::ENCRYPTED.0
        | Marks::JINGLE_MESSAGE.0
        | Marks::INVITE.0
        | Marks::ATTENTION.0
        | Marks::SUBJECT.0,
);

impl Marks {
    /// The empty set.
    pub const NONE: Self = Self(0);

    /// Whether it has any of `other`.
    pub const fn any(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether it has all of `other`.
    pub const fn all(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Both together.
    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Without `other`.
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether it is empty.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(super) fn of(stanza: &Stanza) -> Self {
        let own = stanza.element().ns();
        stanza.children().fold(Self::NONE, |marks, child| marks.or(Self::child(child, own)))
    }

    fn child(child: ElementRef<'_>, own: &str) -> Self {
        let name = child.name();
        let known = match child.ns() {
            content if content == own => match name {
                "body" => Self::BODY,
                "subject" => Self::SUBJECT,
                "thread" => Self::THREAD,
                "error" => Self::ERROR,
                "show" => Self::SHOW,
                "status" => Self::STATUS,
                "priority" => Self::PRIORITY,
                _ => Self::OTHER,
            },
            ns::DELAY => Self::DELAY,
            ns::CHATSTATES => Self::CHAT_STATE,
            ns::RECEIPTS if name == "request" => Self::RECEIPT_REQUEST,
            ns::RECEIPTS => Self::RECEIPT,
            ns::CARBONS if name == "private" => Self::CARBON_PRIVATE,
            ns::CARBONS => Self::CARBON_COPY,
            ns::HINTS => match name {
                "no-copy" => Self::NO_COPY,
                "no-store" => Self::NO_STORE,
                "no-permanent-store" => Self::NO_PERMANENT_STORE,
                "store" => Self::STORE,
                _ => Self::OTHER,
            },
            ns::MUC_USER if child.child("invite", ns::MUC_USER).is_some() => Self::MUC_USER.or(Self::INVITE),
            ns::MUC_USER => Self::MUC_USER,
            ns::MUC => Self::MUC,
            ns::CAPS => Self::CAPS,
            ns::SID if name == "stanza-id" => Self::STANZA_ID,
            ns::SID if name == "origin-id" => Self::ORIGIN_ID,
            ns::PUBSUB_EVENT => Self::PUBSUB_EVENT,
            ns::JINGLE_MESSAGE => Self::JINGLE_MESSAGE,
            ns::OMEMO | ns::OMEMO_AXOLOTL | ns::OPENPGP | ns::OPENPGP_LEGACY | ns::EME => Self::ENCRYPTED,
            ns::CHAT_MARKERS if name == "markable" => Self::MARKABLE,
            ns::CHAT_MARKERS => Self::MARKER,
            ns::CONFERENCE => Self::INVITE,
            ns::RETRACT => Self::RETRACT,
            ns::REACTIONS => Self::REACTIONS,
            ns::CORRECT => Self::CORRECT,
            ns::VCARD_UPDATE => Self::VCARD_UPDATE,
            ns::OCCUPANT_ID => Self::OCCUPANT_ID,
            ns::FORWARD => Self::FORWARDED,
            ns::ATTENTION => Self::ATTENTION,
            ns::DATA => Self::DATA,
            ns::ADDRESS => Self::ADDRESSES,
            _ => Self::OTHER,
        };
        if name.is_empty() { Self::OTHER } else { known }
    }
}

impl std::ops::BitOr for Marks {
    type Output = Self;

    fn bitor(self, rhs: Self) -> Self {
        self.or(rhs)
    }
}

/// What a stanza is worth. Hints (XEP-0334) count in messages that are no errors only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Class {
    /// Worth keeping until the recipient is back (XEP-0160 §3): chat and normal messages that are more than a chat state.
    pub storable: bool,
    /// Worth keeping for good (XEP-0313 §5): storable, with a body or another lasting content.
    pub permanent: bool,
    /// To be copied to the account's other sessions (XEP-0280 §6.1). For an error it says whether what it returns would have been.
    pub copyable: bool,
    /// To be delivered at once even to an inactive client (XEP-0352), and worth a push.
    pub urgent: bool,
    /// Only of this moment: the next one of its sort replaces it, and nobody misses it later.
    pub chatter: bool,
}

impl Class {
    pub(super) const fn of(kind: Kind, marks: Marks) -> Self {
        match kind {
            Kind::Iq(_) => {
                Self { storable: false, permanent: false, copyable: false, urgent: true, chatter: false }
            }
            Kind::Presence(kind) => {
                let chatter = matches!(kind, PresenceType::Available | PresenceType::Unavailable);
                let urgent = !chatter && !matches!(kind, PresenceType::Probe);
                Self { storable: false, permanent: false, copyable: false, urgent, chatter }
            }
            Kind::Message(kind) => Self::message(kind, marks),
        }
    }

    const fn message(kind: MessageType, marks: Marks) -> Self {
        let error = matches!(kind, MessageType::Error);
        let talk = matches!(kind, MessageType::Normal | MessageType::Chat);
        let substance = !marks.without(ASIDE).is_empty();
        let hinted = marks.any(Marks::STORE);
        let storable = talk && !marks.any(Marks::NO_STORE) && (substance || hinted);
        let permanent = storable && !marks.any(Marks::NO_PERMANENT_STORE) && (hinted || marks.any(LASTING));
        let payload = marks.any(LASTING) || marks.any(Marks::CHAT_STATE);
        let copyable = match kind {
            MessageType::Chat => !marks.any(Marks::NO_COPY),
            MessageType::Normal => payload && !marks.any(Marks::NO_COPY),
            MessageType::Error => payload,
            MessageType::Groupchat | MessageType::Headline => false,
        };
        let copyable = copyable && !marks.any(Marks::CARBON_PRIVATE.or(Marks::CARBON_COPY));
        Self {
            storable,
            permanent,
            copyable,
            urgent: error || marks.any(CALLING),
            chatter: !error && !substance && marks.any(Marks::CHAT_STATE),
        }
    }
}
