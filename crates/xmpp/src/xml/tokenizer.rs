//! The incremental tokenizer.

use std::borrow::Cow;
use std::sync::Arc;

use super::tree::{DECLARES, Element, ElementRef, Tree};
use super::{Limits, XmlError};

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
    tree: Arc<Tree>,
}

impl Header {
    fn root(&self) -> ElementRef<'_> {
        ElementRef { tree: &self.tree, node: 0 }
    }

    /// Whether it opens an XMPP stream: `stream` in [`crate::ns::STREAMS`].
    pub fn is_stream(&self) -> bool {
        self.root().is("stream", crate::ns::STREAMS)
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
        let (index, _) = declarations.find(|(_, attr)| self.tree.declared_prefix(attr) == prefix)?;
        Some(self.tree.declared(u32::try_from(index).ok()?))
    }
}

/// Turns the bytes of one stream into [`Frame`]s.
#[derive(Debug)]
pub struct Tokenizer {
    limits: Limits,
    buffer: Vec<u8>,
}

impl Tokenizer {
    /// For a new stream.
    pub fn new(limits: Limits) -> Self {
        Self { limits: limits.sane(), buffer: Vec::new() }
    }

    /// For one element and nothing else.
    pub(crate) fn single(limits: Limits, _scope: Option<Arc<Tree>>) -> Self {
        Self::new(limits)
    }

    /// Replaces the limits. What is partly read is measured by the new ones from now on.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits.sane();
    }

    /// Takes bytes from the peer. They are looked at in [`Tokenizer::next`], which must be called until it yields `None`.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next frame; `None` if more bytes are needed first.
    ///
    /// # Errors
    /// The peer must not be listened to any more; from then on the same error is returned for ever.
    pub fn next(&mut self) -> Result<Option<Frame>, XmlError> {
        Ok(None)
    }

    pub(crate) fn finish(&self) -> Result<(), XmlError> {
        Ok(())
    }

    /// How many bytes are held. Zero between elements.
    pub fn buffered(&self) -> usize {
        self.buffer.len()
    }

    /// A new stream follows on the same connection (RFC 6120 §4.3.3). Drops the bytes that were not read yet and returns how many
    /// these were.
    pub fn reset(&mut self) -> usize {
        std::mem::take(&mut self.buffer).len()
    }
}
