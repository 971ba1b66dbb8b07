//! Stanzas of our own.

use super::{IqType, Kind, MessageType, PresenceType, Stanza};
use crate::error::StanzaError;
use crate::jid::Jid;
use crate::ns;
use crate::xml::{Builder, ElementRef};

/// Builds a stanza.
#[derive(Clone, Debug)]
pub struct StanzaBuilder {
    kind: Kind,
    to: Option<Jid>,
    from: Option<Jid>,
    id: Option<String>,
    root: Builder,
}

/// A message.
pub fn message(kind: MessageType) -> StanzaBuilder {
    of(Kind::Message(kind))
}

/// A presence.
pub fn presence(kind: PresenceType) -> StanzaBuilder {
    of(Kind::Presence(kind))
}

/// An IQ.
pub fn iq(kind: IqType, id: &str) -> StanzaBuilder {
    of(Kind::Iq(kind)).id(Some(id))
}

pub(super) fn of(kind: Kind) -> StanzaBuilder {
    StanzaBuilder { kind, to: None, from: None, id: None, root: Builder::new(kind.name(), ns::CLIENT) }
}

impl StanzaBuilder {
    /// To whom.
    #[must_use]
    pub fn to(mut self, to: impl Into<Option<Jid>>) -> Self {
        self.to = to.into();
        self
    }

    /// From whom.
    #[must_use]
    pub fn from(mut self, from: impl Into<Option<Jid>>) -> Self {
        self.from = from.into();
        self
    }

    /// With an `id`.
    #[must_use]
    pub fn id<'a>(mut self, id: impl Into<Option<&'a str>>) -> Self {
        self.id = id.into().map(Into::into);
        self
    }

    /// With `xml:lang`.
    #[must_use]
    pub fn lang(mut self, lang: &str) -> Self {
        self.root = self.root.lang(lang);
        self
    }

    /// With one more child. One in the stanza's namespace is built with [`ns::CLIENT`].
    #[must_use]
    pub fn child(mut self, child: Builder) -> Self {
        self.root = self.root.child(child);
        self
    }

    /// With one more child, if there is one.
    #[must_use]
    pub fn child_opt(mut self, child: Option<Builder>) -> Self {
        self.root = self.root.child_opt(child);
        self
    }

    /// With a copy of a received element.
    #[must_use]
    pub fn copy(mut self, element: ElementRef<'_>) -> Self {
        self.root = self.root.copy(element);
        self
    }

    /// With a `<body/>`.
    #[must_use]
    pub fn body(self, text: &str) -> Self {
        self.child(Builder::new("body", ns::CLIENT).text(text))
    }

    /// The stanza.
    pub fn build(self) -> Stanza {
        let root = self
            .root
            .attr_opt("from", self.from.as_ref().map(Jid::as_str))
            .attr_opt("to", self.to.as_ref().map(Jid::as_str))
            .attr_opt("type", self.kind.type_attr())
            .attr_opt("id", self.id.as_deref());
        Stanza::assemble(root.element(), self.kind, self.to, self.from)
    }
}

impl Stanza {
    /// The error that goes back to the sender: addresses swapped, and for an IQ with its payload (RFC 6120 §8.3.1). `None` for errors
    /// and results, which are never answered by an error.
    pub fn error(&self, error: impl Into<StanzaError>) -> Option<Self> {
        if self.is_error() || self.kind == Kind::Iq(IqType::Result) {
            return None;
        }
        let mut builder = self.answer(self.kind.to_error());
        if let Some(payload) = self.payload() {
            builder = builder.copy(payload);
        }
        Some(builder.child(error.into().builder()).build())
    }

    /// The result that goes back to the sender of an IQ: addresses swapped (RFC 6120 §8.2.3).
    pub fn result(&self, payload: Option<Builder>) -> Self {
        self.answer(Kind::Iq(IqType::Result)).child_opt(payload).build()
    }

    fn answer(&self, kind: Kind) -> StanzaBuilder {
        of(kind).to(self.from.clone()).from(self.to.clone()).id(self.id())
    }
}
