//! Where another domain's servers are.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use nuncio_dna::Domain;
use nuncio_net::dns::Security;
use nuncio_net::evidence;
use nuncio_stream::client::Place;
use nuncio_stream::redirect::{Decision, Host};

use crate::Federation;
use crate::failure::Failure;

/// Where servers listen unless something says otherwise.
const PORT: u16 = 5269;

/// A server that the operator names for a domain, whatever DNS says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fixed {
    /// Its address.
    pub address: SocketAddr,
    /// Whether TLS comes before the first byte (XEP-0368).
    pub direct_tls: bool,
}

/// Why a text names no server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadFixed;

impl fmt::Display for BadFixed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no address and port, such as 192.0.2.1:5269 or tls:[2001:db8::1]:5270")
    }
}

impl std::error::Error for BadFixed {}

impl FromStr for Fixed {
    type Err = BadFixed;

    /// An address and a port; `tls:` before them for direct TLS.
    fn from_str(text: &str) -> Result<Self, BadFixed> {
        let (address, direct_tls) = match text.strip_prefix("tls:") {
            Some(rest) => (rest, true),
            None => (text, false),
        };
        Ok(Self { address: address.parse().map_err(|_| BadFixed)?, direct_tls })
    }
}

/// One server to try, with all of its addresses.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// As DNS names it; none where the operator named an address.
    pub(crate) host: Option<Domain>,
    pub(crate) port: u16,
    pub(crate) addresses: Vec<SocketAddr>,
    pub(crate) direct_tls: bool,
    /// Redirects followed in a row to get here.
    pub(crate) redirects: u8,
}

impl Target {
    pub(crate) fn fixed(fixed: &Fixed) -> Self {
        Self {
            host: None,
            port: fixed.address.port(),
            addresses: vec![fixed.address],
            direct_tls: fixed.direct_tls,
            redirects: 0,
        }
    }

    /// For the stream.
    pub(crate) fn place(&self, connected: SocketAddr) -> Place {
        let host = match (&self.host, connected) {
            (Some(host), _) => Host::Name(host.as_str().to_owned()),
            (None, SocketAddr::V4(address)) => Host::V4(*address.ip()),
            (None, SocketAddr::V6(address)) => Host::V6(*address.ip()),
        };
        Place { host, port: self.port, redirects: self.redirects }
    }

    /// Whether a connection to `other` that reached `connected` is one to this server: the same host and port, or one of its addresses.
    pub(crate) fn is_at(&self, other: &Self, connected: SocketAddr) -> bool {
        let same_host = self.host.is_some() && self.host == other.host && self.port == other.port;
        same_host || self.addresses.contains(&connected)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.host, self.addresses.first()) {
            (Some(host), _) => write!(f, "{host}:{}", self.port)?,
            (None, Some(address)) => write!(f, "{address}")?,
            (None, None) => write!(f, "port {}", self.port)?,
        }
        f.write_str(if self.direct_tls { " (direct TLS)" } else { "" })
    }
}

/// What stands for a route where many pairs look for the same way: its first address in order.
pub(crate) fn turn_of(route: &[Target]) -> String {
    let first = route.iter().flat_map(|target| &target.addresses).min();
    first.map(ToString::to_string).unwrap_or_default()
}

impl Federation {
    /// The servers of a domain, in the order in which to try them. Never empty.
    pub(crate) async fn route(&self, remote: &str, domain: &Domain) -> Result<Vec<Target>, Failure> {
        Box::pin(self.mind().route(remote, domain)).await.servers
    }

    /// Where a server wants us that is proven already (RFC 6120 §4.9.3.19). What is claimed there stays the same, and is judged again (S0-31).
    pub(crate) async fn redirected(
        &self,
        from: &Target,
        decision: &Decision,
    ) -> Result<Vec<Target>, Failure> {
        let redirects = from.redirects.saturating_add(1);
        let at = |port: u16| from.addresses.iter().map(|old| SocketAddr::new(old.ip(), port)).collect();
        match decision {
            Decision::SameHost { port } => {
                Ok(vec![Target { port: *port, addresses: at(*port), redirects, ..from.clone() }])
            }
            Decision::Address { host, port } => {
                let port = port.unwrap_or(PORT);
                let ip = match host {
                    Host::V4(ip) => (*ip).into(),
                    Host::V6(ip) => (*ip).into(),
                    Host::Name(name) => {
                        return Err(Failure::passing(
                            "redirected",
                            format!("to {name}, which is no address"),
                        ));
                    }
                };
                let addresses = vec![SocketAddr::new(ip, port)];
                Ok(vec![Target { host: None, port, addresses, direct_tls: false, redirects }])
            }
            Decision::Resolve { name, port } => {
                let host = Domain::new(name)
                    .map_err(|_| Failure::passing("redirected", format!("to {name}, which is no host")))?;
                let mut route = match port {
                    None => Box::pin(self.route(name, &host)).await?,
                    Some(port) => {
                        let place = evidence::Place {
                            host: host.clone(),
                            port: *port,
                            direct_tls: false,
                            security: Security::Indeterminate,
                            named: false,
                        };
                        let addresses = self.collector.addresses(&place).await;
                        let addresses = addresses
                            .map_err(|error| Failure::passing("redirected", format!("to {name}: {error}")))?;
                        vec![Target {
                            host: Some(host),
                            port: *port,
                            addresses,
                            direct_tls: false,
                            redirects,
                        }]
                    }
                };
                route.iter_mut().for_each(|target| target.redirects = redirects);
                Ok(route)
            }
            Decision::Refuse(why) => {
                Err(Failure::passing("redirected", format!("they want us elsewhere: {why}")))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fixed_servers_are_read() {
        let one: Fixed = "127.0.0.2:5269".parse().unwrap();
        assert_eq!(one, Fixed { address: "127.0.0.2:5269".parse().unwrap(), direct_tls: false });
        assert!("tls:[::1]:5270".parse::<Fixed>().unwrap().direct_tls);
        for bad in ["", "127.0.0.1", "xmpp.example:5269", "tls:", "tls:tls:[::1]:1"] {
            assert_eq!(bad.parse::<Fixed>(), Err(BadFixed), "{bad}");
        }
    }
}
