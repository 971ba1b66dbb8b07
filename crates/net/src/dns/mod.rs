//! Names to services and addresses: a stub resolver over UDP and TCP (RFC 1035, RFC 7766) with a cache.
//!
//! - [`Resolver::addresses`], [`Resolver::srv`] and [`Resolver::tlsa`] look up one name; an [`Answer`] says how far it can be believed ([`Security`]);
//! - [`Resolver::services`] looks up several SRV names and mixes what it finds into one order (RFC 2782, XEP-0368);
//! - [`DnsConfig::system`] reads the servers from `resolv.conf`.
//!
//! It asks recursive servers; it does not walk from the root. Many callers with one question ask it once. Nothing here trusts a
//! packet: one that does not repeat the question and its random id is as if it had not come (RFC 5452 §9). Nothing here says either
//! that a name is *right*: who is at the other end is proven by TLS, unless an answer is [`Security::Secure`].
//!
//! Signatures are checked here, up to a trust anchor, or by a server on this machine, or not at all: [`Validation`]. An answer that contradicts its signatures is
//! an error ([`DnsError::Bogus`]), and no error ever means that there is nothing.
//!
//! The crate `domain` reads and writes the packets and checks signatures; only this module names it.

mod cache;
mod config;
mod exchange;
mod grafts;
mod order;
mod reply;
mod resolver;
#[cfg(test)]
pub(crate) mod tests;
mod validate;

use std::net::IpAddr;

use nuncio_dna::{Time, Tlsa};

pub use config::{Anchors, BadAnchors, DnsConfig, Validation};
pub use nuncio_dna::dns::{Alias, Security};
pub use order::in_order;
pub use resolver::{Resolver, Service, Services};

/// What is known about a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer<T> {
    /// The name that the records belong to, after all aliases: ASCII in lower case, no dot at its end.
    pub name: String,
    /// The records; none if the name has none of this type.
    pub records: Vec<T>,
    /// False if there is no such name at all (NXDOMAIN).
    pub exists: bool,
    /// How far this can be believed, aliases included; never [`Security::Bogus`].
    pub security: Security,
    /// The aliases that led from the name asked for to `name`, each with what can be said of the reply that it was in.
    pub aliases: Vec<Alias>,
    /// Until when this holds: the least TTL, or the end of a signature if that is sooner.
    pub expires: Time,
}

/// An SRV record (RFC 2782).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Srv {
    /// Lower is tried first.
    pub priority: u16,
    /// The share among those of one priority.
    pub weight: u16,
    /// The port.
    pub port: u16,
    /// The host: ASCII in lower case, no dot at its end. The root, written as `.`, means that there is decidedly no such service.
    pub target: String,
}

impl Srv {
    /// Whether this record says that there is no such service.
    #[must_use]
    pub fn is_denial(&self) -> bool {
        self.target == "."
    }
}

/// Why there is no answer. A name without records is an answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DnsError {
    /// Not a name: too long, an empty label, letters that are not ASCII.
    #[error("{0:?} is no DNS name")]
    Name(String),
    /// No server answered in time.
    #[error("no name server answered in time")]
    Timeout,
    /// No server can be reached.
    #[error("no name server can be reached: {0}")]
    Unreachable(String),
    /// The servers answered that they cannot or will not answer: the response code (RFC 6895 §2.3), such as 2 for SERVFAIL. A server that
    /// validates answers so when signatures are wrong.
    #[error("the name server answered {}", code_name(*.0))]
    Refused(u8),
    /// An answer that is none.
    #[error("the name server's answer is broken")]
    Broken,
    /// The answer contradicts its signatures, or lacks some that it should have (RFC 4035 §4.3); why.
    #[error("the answer's signatures are wrong: {0}")]
    Bogus(String),
    /// Aliases that lead nowhere, or to too many others.
    #[error("too many aliases")]
    Aliases,
}

/// The mnemonic of a response code, as other tools print it.
fn code_name(code: u8) -> String {
    match code {
        1 => "FORMERR".to_owned(),
        2 => "SERVFAIL".to_owned(),
        4 => "NOTIMP".to_owned(),
        5 => "REFUSED".to_owned(),
        other => format!("with code {other}"),
    }
}

/// One record of a type that can be asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Data {
    Address(IpAddr),
    Srv(Srv),
    Tlsa(Tlsa),
}

/// A type that can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Kind {
    A,
    Aaaa,
    Srv,
    Tlsa,
}

/// An absolute name in lower case.
type Name = domain::base::Name<Vec<u8>>;
