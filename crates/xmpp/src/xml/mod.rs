//! XML as XMPP restricts it (RFC 6120 §11): an incremental tokenizer, immutable elements over the received bytes, and a writer.

mod builder;
mod chars;
mod limits;
#[cfg(test)]
mod tests;
mod tokenizer;
pub(crate) mod tree;
mod write;

pub use builder::Builder;
pub(crate) use builder::{Closed, declare};
pub use limits::{Limits, Which, XmlError};
pub use tokenizer::{Frame, Header, Tokenizer};
pub use tree::{Attribute, Content, Element, ElementRef};
pub use write::{escape_attr, escape_text};
