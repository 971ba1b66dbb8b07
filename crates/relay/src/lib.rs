//! An MSRP relay (RFC 4976) over sockets: hosts [`nuncio_msrp::relay`]'s machines, one for each connection.
//!
//! ```text
//! socket ──net::drive──▶ relay::Link ──Question::Route──▶ Hub (Registry) ── connects, if need be (`out`) ──▶ judged by nuncio_dna
//!                          ▲    │
//!                 Command  │    └─Event::Piece──▶ LinkHost ──▶ Mailbox of the other connection
//!                          └────────── Mailbox (orders, frames, then lanes that take turns)
//! ```
//! - Nobody waits for another connection: what is pushed into a [mailbox](mailbox) beyond a lane's bound has its source held, which stops reading.
//! - Who may use it says whoever runs it ([`Accounts`]); who a next hop or another relay is says [`nuncio_dna::judge`].
//! - Session URIs are secrets: they are never logged, only hosts and numbers of connections are.

mod accounts;
mod config;
mod host;
mod hub;
mod mailbox;
mod metrics;
mod out;
mod relay;
mod websocket;

pub use accounts::{Account, Accounts, Boxed, Holder};
pub use config::RelayConfig;
pub use metrics::{Login, RelayMetrics, Route, Way, Why};
pub use nuncio_msrp::digest::Algorithm;
pub use nuncio_msrp::relay::{Bounds, Expires, SealKeys};
pub use relay::{Parts, Relay, StartError};
