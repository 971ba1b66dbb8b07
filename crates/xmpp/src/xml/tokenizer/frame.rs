//! What the tokenizer yields.

use std::borrow::Cow;
use std::sync::Arc;

use crate::ns;
use crate::xml::tree::{DECLARES, Element, ElementRef, Tree};

/// What a stream brings.
#[derive(Clone, Debug)]
pub enum Frame {
    /// The stream's opening tag.
    Header(Header),
    /// A complete first-level element.
    Element(Element),
    /// Whitespace between first-level elements: a sign of life (RFC 6120 §4.6.1).
    Text,
    /// The stream's closing tag.
    End,
}

/// The opening tag of a stream (RFC 6120 §4.7).
#[derive(Clone, Debug)]
pub struct Header {
    pub(super) tree: Arc<Tree>,
}

impl Header {
    pub(super) fn root(&self) -> ElementRef<'_> {
        ElementRef { tree: &self.tree, node: 0 }
    }

    /// Whether it opens an XMPP stream: `stream` in [`ns::STREAMS`].
    pub fn is_stream(&self) -> bool {
        self.root().is("stream", ns::STREAMS)
    }

    /// The name without prefix.
    pub fn name(&self) -> &str {
        self.root().name()
    }

    /// The namespace name; empty if there is none.
    pub fn ns(&self) -> &str {
        self.root().ns()
    }

    /// The prefix; empty without one. RFC 6120 §4.8.5 lets a server insist on `stream`.
    pub fn prefix(&self) -> &str {
        self.root().prefix()
    }

    /// The value of an attribute without prefix.
    pub fn attr(&self, name: &str) -> Option<Cow<'_, str>> {
        self.root().attr(name)
    }

    /// The stream's default language (RFC 6120 §4.7.4).
    pub fn lang(&self) -> Option<Cow<'_, str>> {
        self.root().lang()
    }

    /// The default namespace of the stream's content; empty if none is declared.
    pub fn default_ns(&self) -> &str {
        self.root().default_ns()
    }

    /// The namespace that the tag binds to `prefix`.
    pub fn declares(&self, prefix: &str) -> Option<&str> {
        let attrs = self.tree.attrs.iter().enumerate();
        let mut declarations = attrs.filter(|(_, attr)| attr.flags & DECLARES != 0 && attr.prefix_len != 0);
        let (index, _) = declarations.find(|(_, attr)| self.tree.local(attr) == prefix)?;
        Some(self.tree.declared(u32::try_from(index).ok()?))
    }

    /// The bytes as received.
    pub fn raw(&self) -> &[u8] {
        self.tree.text.as_bytes()
    }
}
