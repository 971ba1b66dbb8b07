//! `<see-other-host/>`: its format, and whether to follow it (RFC 6120 §4.9.3.19).

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use nuncio_xmpp::error::{StreamCondition, StreamError};
use nuncio_xmpp::jid;

/// Redirects in a row that a client follows; RFC 6120 §4.9.3.19 wants a bound between 2 and 5.
pub const MAX_REDIRECTS: u8 = 5;

/// A host as it can stand in a domainpart.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Host {
    /// A domain name, prepared by RFC 7622.
    Name(String),
    /// An IPv4 address.
    V4(Ipv4Addr),
    /// An IPv6 address; written in square brackets.
    V6(Ipv6Addr),
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::V4(address) => write!(f, "{address}"),
            Self::V6(address) => write!(f, "[{address}]"),
        }
    }
}

/// Where to connect instead: a domainpart, or a domainpart and a port (S0-29). XEP-0198 uses the same form for `location`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SeeOtherHost {
    /// The host.
    pub host: Host,
    /// The port, never 0. Without one a name is resolved through its SRV records.
    pub port: Option<u16>,
}

impl fmt::Display for SeeOtherHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => write!(f, "{}:{port}", self.host),
            None => write!(f, "{}", self.host),
        }
    }
}

/// Why a text names no other host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadRedirect {
    /// Nothing there.
    #[error("no host in it")]
    Empty,
    /// Not a domainpart: a user, a path, a scheme, white space.
    #[error("not a domainpart")]
    Host,
    /// Not a number from 1 to 65535.
    #[error("not a port")]
    Port,
}

impl FromStr for SeeOtherHost {
    type Err = BadRedirect;

    /// Reads the character data of `<see-other-host/>`; white space around it is pretty printing and is ignored.
    fn from_str(text: &str) -> Result<Self, BadRedirect> {
        let text = text.trim_matches([' ', '\t', '\r', '\n']);
        if text.is_empty() {
            return Err(BadRedirect::Empty);
        }
        if let Some(rest) = text.strip_prefix('[') {
            let (address, rest) = rest.split_once(']').ok_or(BadRedirect::Host)?;
            let host = Host::V6(address.parse().map_err(|_| BadRedirect::Host)?);
            let port = match rest.strip_prefix(':') {
                Some(port) => Some(read_port(port)?),
                None if rest.is_empty() => None,
                None => return Err(BadRedirect::Host),
            };
            return Ok(Self { host, port });
        }
        let (host, port) = match text.split_once(':') {
            Some((host, port)) => (host, Some(read_port(port)?)),
            None => (text, None),
        };
        if host.is_empty() {
            return Err(BadRedirect::Empty);
        }
        if let Ok(address) = host.parse() {
            return Ok(Self { host: Host::V4(address), port });
        }
        let forbidden = |c: char| c.is_whitespace() || c.is_control() || "@/\\?#[]%<>\"'&".contains(c);
        if host.contains(forbidden) {
            return Err(BadRedirect::Host);
        }
        let name = jid::prepare_domain(host).map_err(|_| BadRedirect::Host)?;
        Ok(Self { host: Host::Name(name), port })
    }
}

/// Digits only, so that neither a sign nor white space passes.
fn read_port(text: &str) -> Result<u16, BadRedirect> {
    if text.is_empty() || text.len() > 5 || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(BadRedirect::Port);
    }
    match text.parse() {
        Ok(0) | Err(_) => Err(BadRedirect::Port),
        Ok(port) => Ok(port),
    }
}

/// What a stream was when the redirect came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The stream was inside TLS and the server's certificate was accepted for the original domain.
    pub authenticated_server: bool,
    /// Redirects already followed in a row.
    pub followed: u8,
}

/// What to do with a redirect. Whatever it is, `to`, the TLS policy and the reference identifiers stay those of the
/// original attempt (S0-31); that is why none of them is in here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Same host, other port: connect there without resolving anything (S0-30).
    SameHost {
        /// The port.
        port: u16,
    },
    /// Connect to this address.
    Address {
        /// The address, a [`Host::V4`] or [`Host::V6`].
        host: Host,
        /// The port; the usual one if there is none.
        port: Option<u16>,
    },
    /// Resolve this name as RFC 6120 §3.2 says: SRV first, or the name's addresses when a port is given (§3.2.3).
    Resolve {
        /// The name.
        name: String,
        /// The port.
        port: Option<u16>,
    },
    /// Do not follow.
    Refuse(Refusal),
}

/// Why a redirect is not followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It came before the server had proven who it is (S0-32).
    #[error("redirect by a server that has not proven its identity")]
    Unauthenticated,
    /// One too many (S0-32).
    #[error("more than {MAX_REDIRECTS} redirects in a row")]
    TooMany,
    /// The very place that we come from.
    #[error("redirect to the same place")]
    Circle,
}

/// Decides about a redirect to `other` that came from `connected` (host and port of the connection it came over) (S0-30 to S0-32).
pub fn decide(other: &SeeOtherHost, connected: &Host, port: u16, standing: Standing) -> Decision {
    if !standing.authenticated_server {
        return Decision::Refuse(Refusal::Unauthenticated);
    }
    if standing.followed >= MAX_REDIRECTS {
        return Decision::Refuse(Refusal::TooMany);
    }
    if other.host == *connected
        && let Some(to) = other.port
    {
        return if to == port { Decision::Refuse(Refusal::Circle) } else { Decision::SameHost { port: to } };
    }
    match &other.host {
        Host::Name(name) => Decision::Resolve { name: name.clone(), port: other.port },
        host => Decision::Address { host: host.clone(), port: other.port },
    }
}

/// S0-32: in clear a redirect is not to be trusted, so none is given.
pub(crate) fn without(error: StreamError) -> StreamError {
    match error.condition {
        StreamCondition::SeeOtherHost => StreamError::new(StreamCondition::InternalServerError),
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// S0-29.
    #[test]
    fn what_is_written_is_read_back() {
        for text in [
            "other.example",
            "other.example:5222",
            "192.0.2.7",
            "192.0.2.7:9222",
            "[2001:41d0:1:a49b::1]",
            "[2001:41d0:1:a49b::1]:9222",
        ] {
            let read: SeeOtherHost = text.parse().unwrap();
            assert_eq!(read.to_string(), text);
        }
        let rfc: SeeOtherHost = "\n      [2001:41D0:1:A49b::1]:9222\n   ".parse().unwrap();
        assert_eq!(rfc.to_string(), "[2001:41d0:1:a49b::1]:9222");
        assert_eq!("OTHER.example".parse::<SeeOtherHost>().unwrap().to_string(), "other.example");
    }

    /// S0-29: bad ports, user information, nothing at all.
    #[test]
    fn what_is_no_place_is_refused() {
        for (text, why) in [
            ("", BadRedirect::Empty),
            ("   ", BadRedirect::Empty),
            (":5222", BadRedirect::Empty),
            ("other.example:", BadRedirect::Port),
            ("other.example:0", BadRedirect::Port),
            ("other.example:65536", BadRedirect::Port),
            ("other.example:+22", BadRedirect::Port),
            ("other.example:52 22", BadRedirect::Port),
            ("other.example:xmpp", BadRedirect::Port),
            ("xmpp://other.example", BadRedirect::Port),
            ("user@other.example", BadRedirect::Host),
            ("user@other.example:5222", BadRedirect::Host),
            ("other.example/path", BadRedirect::Host),
            ("other example", BadRedirect::Host),
            ("2001:db8::1", BadRedirect::Port),
            ("[2001:db8::1", BadRedirect::Host),
            ("[192.0.2.7]", BadRedirect::Host),
            ("[2001:db8::1]5222", BadRedirect::Host),
            ("[2001:db8::1]:", BadRedirect::Port),
            ("[fe80::1%25eth0]", BadRedirect::Host),
        ] {
            assert_eq!(text.parse::<SeeOtherHost>(), Err(why), "{text}");
        }
    }

    /// S0-30, S0-32.
    #[test]
    fn following() {
        let here = Host::Name("a.example".to_owned());
        let proven = |followed| Standing { authenticated_server: true, followed };
        let decided = |to: &str, standing| decide(&to.parse().unwrap(), &here, 5222, standing);
        assert_eq!(decided("a.example:5333", proven(0)), Decision::SameHost { port: 5333 });
        assert_eq!(
            decided("b.example", proven(4)),
            Decision::Resolve { name: "b.example".to_owned(), port: None }
        );
        assert_eq!(
            decided("b.example:1", proven(0)),
            Decision::Resolve { name: "b.example".to_owned(), port: Some(1) }
        );
        assert_eq!(
            decided("[::1]:1", proven(0)),
            Decision::Address { host: Host::V6(Ipv6Addr::LOCALHOST), port: Some(1) }
        );
        assert_eq!(decided("b.example", proven(MAX_REDIRECTS)), Decision::Refuse(Refusal::TooMany));
        assert_eq!(decided("a.example:5222", proven(0)), Decision::Refuse(Refusal::Circle));
        let unproven = Standing { authenticated_server: false, followed: 0 };
        assert_eq!(decided("b.example", unproven), Decision::Refuse(Refusal::Unauthenticated));
    }
}
