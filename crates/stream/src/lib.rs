//! XMPP streams (RFC 6120) as pure state machines: header, STARTTLS, SASL, resource binding, stream management (XEP-0198), closing.
//!
//! [`c2s`] is the receiving role towards clients, [`client`] the initiating one. Both are [`nuncio_sansio::Machine`]s: they touch neither
//! socket nor clock, ask their host what they do not know, and stay failed once they have failed. [`iq`] is what both know of requests that
//! wait for their answers.

pub mod backoff;
pub mod c2s;
pub mod client;
pub mod error;
#[doc(hidden)]
pub mod fuzz;
mod header;
pub mod iq;
mod ledger;
pub mod redirect;
pub mod s2s;
pub mod sasl;
mod sm;
mod wire;

pub use c2s::{Answer, C2sConfig, Command, Event, Question, Start};
pub use header::{Words, write_server};
pub use sasl::Authenticated;
pub use sm::Pace;
