//! What a peer may cost before it is refused, and how it is refused.

use crate::error::StreamCondition;

/// Limits that the tokenizer enforces while it reads, before it allocates for what exceeds them. All are inclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one first-level element, tags included. RFC 6120 §13.12 lets nobody set it below 10 000.
    pub stanza_bytes: usize,
    /// Bytes before and of the stream's opening tag.
    pub header_bytes: usize,
    /// Open elements inside the stream; a stanza itself is at depth 1.
    pub depth: u16,
    /// Attributes of one element, namespace declarations included.
    pub attributes: u16,
    /// Bytes of one name, prefix included.
    pub name_bytes: u16,
    /// Bytes of one attribute value as written.
    pub attribute_bytes: usize,
    /// Namespace declarations in scope at one place, those of the stream header included.
    pub namespaces: u16,
    /// Elements and runs of text in one first-level element.
    pub nodes: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            stanza_bytes: 256 * 1024,
            header_bytes: 4096,
            depth: 64,
            attributes: 64,
            name_bytes: 256,
            attribute_bytes: 16 * 1024,
            namespaces: 64,
            nodes: 16 * 1024,
        }
    }
}

impl Limits {
    /// For a peer that nobody has vouched for yet.
    pub fn before_authentication() -> Self {
        Self {
            stanza_bytes: 10_000,
            header_bytes: 4096,
            depth: 16,
            attributes: 32,
            name_bytes: 128,
            attribute_bytes: 3072,
            namespaces: 32,
            nodes: 256,
        }
    }

    /// For what this program wrote itself.
    pub(crate) const fn own() -> Self {
        Self {
            stanza_bytes: MOST,
            header_bytes: MOST,
            depth: u16::MAX,
            attributes: u16::MAX,
            name_bytes: u16::MAX,
            attribute_bytes: MOST,
            namespaces: u16::MAX,
            nodes: MOST as u32,
        }
    }

    /// With sizes that the 31-bit offsets of the node index can hold.
    pub(crate) fn sane(self) -> Self {
        Self {
            stanza_bytes: self.stanza_bytes.min(MOST),
            header_bytes: self.header_bytes.min(MOST),
            attribute_bytes: self.attribute_bytes.min(MOST),
            nodes: self.nodes.min(MOST as u32),
            ..self
        }
    }
}

const MOST: usize = 0x4000_0000;

/// Which limit was exceeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Which {
    /// [`Limits::stanza_bytes`].
    StanzaBytes,
    /// [`Limits::header_bytes`].
    HeaderBytes,
    /// [`Limits::depth`].
    Depth,
    /// [`Limits::attributes`].
    Attributes,
    /// [`Limits::name_bytes`].
    NameBytes,
    /// [`Limits::attribute_bytes`].
    AttributeBytes,
    /// [`Limits::namespaces`].
    Namespaces,
    /// [`Limits::nodes`].
    Nodes,
}

impl Which {
    /// Every limit.
    pub const ALL: [Self; Self::Nodes as usize + 1] = [
        Self::StanzaBytes,
        Self::HeaderBytes,
        Self::Depth,
        Self::Attributes,
        Self::NameBytes,
        Self::AttributeBytes,
        Self::Namespaces,
        Self::Nodes,
    ];

    /// Its name in metrics: that of the field of [`Limits`].
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::StanzaBytes => "stanza_bytes",
            Self::HeaderBytes => "header_bytes",
            Self::Depth => "depth",
            Self::Attributes => "attributes",
            Self::NameBytes => "name_bytes",
            Self::AttributeBytes => "attribute_bytes",
            Self::Namespaces => "namespaces",
            Self::Nodes => "nodes",
        }
    }
}

impl std::fmt::Display for Which {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::StanzaBytes => "bytes of a stanza",
            Self::HeaderBytes => "bytes of the stream header",
            Self::Depth => "depth",
            Self::Attributes => "attributes of an element",
            Self::NameBytes => "bytes of a name",
            Self::AttributeBytes => "bytes of an attribute value",
            Self::Namespaces => "namespace declarations in scope",
            Self::Nodes => "elements and texts of a stanza",
        })
    }
}

/// Why bytes were refused. `at` counts the bytes of the stream before the offence, or of the document for [`super::Element::parse`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum XmlError {
    /// XML 1.0 or Namespaces in XML is violated (RFC 6120 §11.3).
    #[error("not well-formed at byte {at}: {why}")]
    NotWellFormed {
        /// What is wrong.
        why: &'static str,
        /// Where.
        at: u64,
    },
    /// A feature of XML that XMPP forbids (RFC 6120 §11.1).
    #[error("restricted xml at byte {at}: {what}")]
    Restricted {
        /// The feature.
        what: &'static str,
        /// Where.
        at: u64,
    },
    /// A limit is exceeded.
    #[error("{which}: more than {limit}")]
    Limit {
        /// Which one.
        which: Which,
        /// The most that is allowed.
        limit: u64,
    },
    /// The bytes are not UTF-8, or the XML declaration names another encoding (RFC 6120 §11.6).
    #[error("not utf-8 at byte {at}")]
    BadEncoding {
        /// Where.
        at: u64,
    },
    /// Text that is not whitespace between first-level elements.
    #[error("text between first-level elements at byte {at}")]
    StrayText {
        /// Where.
        at: u64,
    },
    /// The bytes end before the element does. Only [`super::Element::parse`] says so; a stream just waits.
    #[error("the element is not complete")]
    Incomplete,
}

impl XmlError {
    /// The stream error that answers it (RFC 6120 §4.9.3).
    pub const fn condition(&self) -> StreamCondition {
        match self {
            Self::NotWellFormed { .. } | Self::Incomplete => StreamCondition::NotWellFormed,
            Self::Restricted { .. } => StreamCondition::RestrictedXml,
            Self::Limit { .. } => StreamCondition::PolicyViolation,
            Self::BadEncoding { .. } => StreamCondition::UnsupportedEncoding,
            Self::StrayText { .. } => StreamCondition::BadFormat,
        }
    }
}
