//! Stanzas (RFC 6120 §8): a shared body with its own header and edits.
//!
//! A received stanza is never rebuilt. Its start tag is written anew on every stream that it leaves on, its content is copied as a
//! range of the received bytes, and what was stripped or added is spliced in.

mod build;
mod class;
mod fault;
mod render;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use smallvec::SmallVec;

pub use build::{StanzaBuilder, iq, message, presence};
pub use class::{Class, Marks};
pub use fault::StanzaFault;

use crate::jid::Jid;
use crate::ns;
use crate::xml::{Builder, Element, ElementRef};

macro_rules! kinds {
    ($(#[$outer:meta])* $name:ident { $($(#[$inner:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$outer])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$inner])* $variant),+ }

        impl $name {
            /// Every value.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The value of the attribute `type`; empty where the attribute is left out.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }

            fn from_word(word: &str) -> Option<Self> {
                match word { $($word => Some(Self::$variant),)+ _ => None }
            }
        }
    };
}

kinds! {
    /// The types of messages (RFC 6121 §5.2.2).
    MessageType {
        /// A single message outside of a conversation; also what an unknown type is read as.
        Normal = "normal",
        /// One of a conversation.
        Chat = "chat",
        /// One of a room's.
        Groupchat = "groupchat",
        /// An alert that expects no answer.
        Headline = "headline",
        /// An error.
        Error = "error",
    }
}

kinds! {
    /// The types of presence (RFC 6121 §4.7.1).
    PresenceType {
        /// Available: no `type`.
        Available = "",
        /// No longer available.
        Unavailable = "unavailable",
        /// Asks for a subscription.
        Subscribe = "subscribe",
        /// Grants one.
        Subscribed = "subscribed",
        /// Gives one up.
        Unsubscribe = "unsubscribe",
        /// Refuses or withdraws one.
        Unsubscribed = "unsubscribed",
        /// A server asks for the current presence.
        Probe = "probe",
        /// An error.
        Error = "error",
    }
}

kinds! {
    /// The types of IQs (RFC 6120 §8.2.3).
    IqType {
        /// Asks.
        Get = "get",
        /// Changes.
        Set = "set",
        /// Answers.
        Result = "result",
        /// Answers that it could not be done.
        Error = "error",
    }
}

/// What a stanza is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `<message/>`
    Message(MessageType),
    /// `<presence/>`
    Presence(PresenceType),
    /// `<iq/>`
    Iq(IqType),
}

impl Kind {
    /// The element's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Message(_) => "message",
            Self::Presence(_) => "presence",
            Self::Iq(_) => "iq",
        }
    }

    /// The value of `type` that is written; `None` where the attribute is left out.
    pub const fn type_attr(self) -> Option<&'static str> {
        match self {
            Self::Message(MessageType::Normal) | Self::Presence(PresenceType::Available) => None,
            Self::Message(kind) => Some(kind.as_str()),
            Self::Presence(kind) => Some(kind.as_str()),
            Self::Iq(kind) => Some(kind.as_str()),
        }
    }

    /// The same element with the type `error`.
    pub const fn to_error(self) -> Self {
        match self {
            Self::Message(_) => Self::Message(MessageType::Error),
            Self::Presence(_) => Self::Presence(PresenceType::Error),
            Self::Iq(_) => Self::Iq(IqType::Error),
        }
    }

    /// Whether the type is `error`.
    pub const fn is_error(self) -> bool {
        matches!(
            self,
            Self::Message(MessageType::Error) | Self::Presence(PresenceType::Error) | Self::Iq(IqType::Error)
        )
    }
}

/// A stanza. A clone shares the body; what [`Stanza::set_to`] and its like change is each one's own.
#[derive(Clone, Debug)]
pub struct Stanza {
    element: Element,
    kind: Kind,
    to: Option<Jid>,
    from: Option<Jid>,
    id: Option<Arc<str>>,
    lang: Option<Arc<str>>,
    marks: Marks,
    /// What the start tag carries besides the five attributes above: declarations and foreign attributes, each after a space.
    head: Bytes,
    /// The content cannot be copied as one range.
    rebuild: bool,
    /// Node indices of children that are left out, rising.
    stripped: SmallVec<[u32; 4]>,
    /// Children that follow, each as written under the content namespace.
    added: SmallVec<[Bytes; 1]>,
}

impl Stanza {
    /// Reads a first-level element as a stanza. An unknown type of a message is read as `normal` (RFC 6121 §5.2.2).
    ///
    /// A child in a content namespace that is not the stanza's own is left out: on a stream with that content namespace it would
    /// turn into something that nobody here has looked at.
    ///
    /// # Errors
    /// What is wrong with it; [`StanzaFault::reply`] makes the answer.
    pub fn from_element(element: Element) -> Result<Self, StanzaFault> {
        let kind = fault::kind(&element)?;
        let root = element.root();
        let address = |attr: &'static str| {
            let value = root.attr(attr);
            value
                .map(|value| Jid::new(&value))
                .transpose()
                .map_err(|error| StanzaFault::BadAddress { attr, error })
        };
        let (to, from) = (address("to")?, address("from")?);
        let stanza = Self::assemble(element, kind, to, from);
        fault::check_iq(&stanza)?;
        Ok(stanza)
    }

    /// Puts a stanza together without looking at what its type demands.
    fn assemble(element: Element, kind: Kind, to: Option<Jid>, from: Option<Jid>) -> Self {
        let shape = render::Shape::of(element.root());
        let id = element.attr("id").map(Arc::from);
        let lang = element.root().lang().map(Arc::from);
        let mut stanza = Self {
            element,
            kind,
            to,
            from,
            id,
            lang,
            marks: Marks::NONE,
            head: shape.head,
            rebuild: shape.rebuild,
            stripped: shape.stripped,
            added: SmallVec::new(),
        };
        stanza.marks = Marks::of(&stanza);
        stanza
    }

    /// What it is.
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// The element's name.
    pub const fn name(&self) -> &'static str {
        self.kind.name()
    }

    /// To whom.
    pub const fn to(&self) -> Option<&Jid> {
        self.to.as_ref()
    }

    /// From whom.
    pub const fn from(&self) -> Option<&Jid> {
        self.from.as_ref()
    }

    /// Its `id`.
    pub fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// Its own `xml:lang`.
    pub fn lang(&self) -> Option<&str> {
        self.lang.as_deref()
    }

    /// Whether it is of type `error`.
    pub const fn is_error(&self) -> bool {
        self.kind.is_error()
    }

    /// Changes `to`.
    pub fn set_to(&mut self, to: Option<Jid>) {
        self.to = to;
    }

    /// Changes `from`.
    pub fn set_from(&mut self, from: Option<Jid>) {
        self.from = from;
    }

    /// Changes `id`.
    pub fn set_id(&mut self, id: Option<&str>) {
        self.id = id.map(Arc::from);
    }

    /// Changes the kind: the name and the type.
    pub fn set_kind(&mut self, kind: Kind) {
        self.kind = kind;
    }

    /// Changes `xml:lang`.
    pub fn set_lang(&mut self, lang: Option<&str>) {
        self.lang = lang.map(Arc::from);
    }

    /// The element as received, edits not included.
    pub const fn element(&self) -> &Element {
        &self.element
    }

    /// The received children that are not stripped.
    pub fn children(&self) -> impl Iterator<Item = ElementRef<'_>> {
        self.element.root().children().filter(|child| self.stripped.binary_search(&child.node).is_err())
    }

    /// The first of [`Stanza::children`] with this name and namespace.
    pub fn child(&self, name: &str, ns: &str) -> Option<ElementRef<'_>> {
        self.children().find(|child| child.is(name, ns))
    }

    /// The child of a name that is in the stanza's own namespace, whatever stream it came from: `body`, `error`, `show`.
    pub fn own_child(&self, name: &str) -> Option<ElementRef<'_>> {
        self.child(name, self.element.ns())
    }

    /// The payload of an IQ: its first child that is not the `<error/>` (RFC 6120 §8.2.3). `None` for other kinds.
    pub fn payload(&self) -> Option<ElementRef<'_>> {
        let own = self.element.ns();
        match self.kind {
            Kind::Iq(_) => self.children().find(|child| !child.is("error", own)),
            Kind::Message(_) | Kind::Presence(_) => None,
        }
    }

    /// The text of the first `<body/>` (RFC 6121 §5.2.3).
    pub fn body_text(&self) -> Option<Cow<'_, str>> {
        self.own_child("body").map(ElementRef::text)
    }

    /// Leaves out the children that `which` names. Children that were added stay.
    pub fn strip(&mut self, mut which: impl FnMut(ElementRef<'_>) -> bool) {
        let nodes: SmallVec<[u32; 4]> =
            self.children().filter(|child| which(*child)).map(|child| child.node).collect();
        if nodes.is_empty() {
            return;
        }
        self.stripped.extend(nodes);
        self.stripped.sort_unstable();
        self.marks = Marks::of(self);
    }

    /// Adds a child after all others. One in a content namespace becomes one in the namespace of the stream that the stanza leaves
    /// on. [`Stanza::children`] and [`Stanza::marks`] tell of received children only.
    pub fn add(&mut self, child: &Builder) {
        let parent_ns = if ns::is_content(child.ns()) { child.ns() } else { ns::CLIENT };
        self.added.push(child.bytes(parent_ns));
    }

    /// Adds a child that is written already, complete and with all of its declarations.
    pub fn add_closed(&mut self, child: Bytes) {
        self.added.push(child);
    }

    /// Whether anything was added.
    pub fn has_added(&self) -> bool {
        !self.added.is_empty()
    }

    /// Takes back what was added.
    pub fn clear_added(&mut self) {
        self.added.clear();
    }

    /// What is known about its children, those left out not included.
    pub const fn marks(&self) -> Marks {
        self.marks
    }

    /// What it is worth.
    pub const fn class(&self) -> Class {
        Class::of(self.kind, self.marks)
    }
}
