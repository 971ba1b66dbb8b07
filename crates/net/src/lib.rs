//! Sockets, TLS and HTTP: whatever touches the network and knows no protocol.
//!
//! - [`listen`]: sockets that accept, and the budget of connections before it is known who is there;
//! - [`driver`]: runs any sans-IO machine of [`nuncio_sansio`] over a byte stream, with or without TLS;
//! - [`tls`]: certificates by host, hand-shakes and their facts, for both roles;
//! - [`dns`]: names to services and addresses;
//! - [`dial`]: a connection to whichever address of a host answers first (RFC 8305);
//! - [`guard`]: ends a connection whose peer wants to renegotiate TLS (RFC 6120 §5.3.5);
//! - [`ca`]: a certificate authority of one's own for a first start without any configuration;
//! - [`https`]: documents of other people's web servers, for POSH;
//! - [`evidence`]: what DNS, TLS and web servers say of a peer's domain, collected for [`nuncio_dna`] to judge;
//! - [`http`]: the few GET routes of operation;
//! - [`metrics`]: what all of them count.

pub mod ca;
mod clock;
pub mod dial;
pub mod dns;
pub mod driver;
mod entropy;
pub mod evidence;
mod flight;
pub mod guard;
pub mod http;
pub mod https;
pub mod listen;
pub mod metrics;
mod rate;
pub mod tls;
mod wire;

#[cfg(test)]
mod tests;

pub use clock::Clock;
pub use driver::{Ended, HandshakeFailure, Options, Security, Settings, drive};
pub use entropy::OsEntropy;
pub use evidence::{Collector, CollectorConfig, Place, Route, Wants};
pub use https::{Https, HttpsConfig};
pub use listen::{Budget, BudgetLimits, Incoming, Listener, Permit};
pub use metrics::NetMetrics;
pub use rate::{Bucket, Rate, RateLimit};
pub use tls::{Connector, TlsHosts, TlsSettings};
