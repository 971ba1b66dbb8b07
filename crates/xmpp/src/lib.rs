//! The words of XMPP: XML tokens and trees, JIDs, stanzas, errors, namespaces, and payloads that two extensions share.
//!
//! Nothing here knows a clock, a socket or randomness. A stream's bytes go into [`xml::Tokenizer`] and come out as
//! [`xml::Frame`]s; a complete first-level element is an [`xml::Element`], which [`stanza::Stanza`] gives a kind, addresses and
//! edits, and which is spliced, never rebuilt, when it leaves again.

pub mod error;
#[doc(hidden)]
pub mod fuzz;
pub mod jid;
pub mod ns;
pub mod payload;
pub mod stanza;
pub mod xml;
