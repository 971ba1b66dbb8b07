//! Federation: streams to and from other servers, the domain pairs that they carry, and why we believe who is at the other end.
//!
//! - Each pair of domains, one of ours and one of theirs, has one ordered, bounded queue ([`QueueLimits`]) and one way out at a time: a stream that is proven for it.
//! - A stream may carry many pairs, in one direction or both (RFC 7712 §4.4, XEP-0288). Each has a proof of its own, made by `nuncio_dna::judge`, which ends.
//! - Nothing enters the router without such a proof: its entrance takes one ([`nuncio_router::Router::receive`]).
//! - A way is looked for when something waits: a stream that is there, else one to the same host, else a new one. What fails is tried again later and
//!   later; a dead peer costs its own queue only.
//! - What was tried and failed, in both directions, is remembered with codes, and said by the commands `federation.list` and `federation.explain`.
//!
//! The rules of the wire are in `nuncio_stream::s2s`; sockets, DNS and HTTPS in `nuncio_net`; judgement in `nuncio_dna`.

mod callback;
pub mod check;
mod config;
mod failure;
mod federation;
mod former;
mod history;
mod host;
mod live;
mod metrics;
mod mind;
mod open;
mod pairs;
mod prove;
mod queue;
mod reached;
mod route;
mod show;
mod spool;

pub use config::FederationConfig;
pub use federation::{Federation, Parts};
pub use history::Attempt;
pub use metrics::{FederationMetrics, Outcome};
pub use queue::QueueLimits;
pub use route::{BadFixed, Fixed};
