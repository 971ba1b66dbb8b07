//! Where to connect: what is wished for, which hosts and ports that means, and the TCP connection to one of them.

use std::io;
use std::net::{IpAddr, SocketAddr};

use nuncio_net::dial::{self, Haste};
use nuncio_stream::Start;
use nuncio_stream::client::Place;
use nuncio_stream::redirect::{Decision, Host, SeeOtherHost};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::config::{ClientConfig, Server};
use crate::resolve::Services;

/// Places that are tried for one target, and addresses for one place: whoever publishes thousands of them shall not make us knock at all.
const MOST: usize = 16;

/// What is wished for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    host: Host,
    /// Without one, a name is looked up as a domain: its SRV records say which hosts and ports (RFC 6120 §3.2.1).
    port: Option<u16>,
    /// What is spoken there, unless an SRV record says it.
    start: Start,
    redirects: u8,
}

/// A host and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Spot {
    pub(crate) place: Place,
    pub(crate) start: Start,
}

impl Target {
    /// As configured.
    pub(crate) fn configured(config: &ClientConfig) -> Self {
        let start = config.start;
        let usual = Some(usual_port(start));
        let (host, port) = match &config.server {
            Server::Domain => (host(config.account.domain()), None),
            // Whoever names a host wants that host (RFC 6120 §3.2.3).
            Server::Host(name, port) => (host(name), port.or(usual)),
            Server::Address(address) => (ip_host(address.ip()), Some(address.port())),
        };
        Self { host, port, start, redirects: 0 }
    }

    /// Where the server wants to see a session again (XEP-0198 §5).
    pub(crate) fn location(location: &str, start: Start) -> Option<Self> {
        let SeeOtherHost { host, port } = location.parse().ok()?;
        Some(Self { host, port, start, redirects: 0 })
    }

    /// Where a redirect leads; none if it is not followed. Everything but the place stays as it was (S0-31).
    pub(crate) fn redirected(decision: &Decision, from: &Spot) -> Option<Self> {
        let redirects = from.place.redirects.saturating_add(1);
        let (host, port) = match decision {
            Decision::SameHost { port } => (from.place.host.clone(), Some(*port)),
            Decision::Address { host, port } => (host.clone(), *port),
            Decision::Resolve { name, port } => (Host::Name(name.clone()), *port),
            Decision::Refuse(_) => return None,
        };
        Some(Self { host, port, start: from.start, redirects })
    }

    /// The places that this means, the best first.
    ///
    /// # Errors
    /// The domain has decidedly no such service, or the resolver gives up.
    pub(crate) async fn spots(self, config: &ClientConfig) -> io::Result<Vec<Spot>> {
        let redirects = self.redirects;
        let spot = |host, port, start| Spot { place: Place { host, port, redirects }, start };
        let usual = usual_port(self.start);
        let domain = match (&self.host, self.port) {
            (Host::Name(name), None) => name.clone(),
            (_, port) => return Ok(vec![spot(self.host, port.unwrap_or(usual), self.start)]),
        };
        // Servers that do not answer are as good as none (RFC 6120 §3.2.1, step 9).
        let looked_up = timeout(config.connect_timeout, config.resolver.services(&domain)).await;
        match looked_up.unwrap_or(Ok(Services::Unknown))? {
            Services::At(found) => Ok(found
                .into_iter()
                .take(MOST)
                .map(|one| spot(host(&one.host), one.port, one.start))
                .collect()),
            Services::Nowhere => Err(io::Error::new(
                io::ErrorKind::NotFound,
                format!("{domain} serves no clients, as its DNS says"),
            )),
            Services::Unknown => Ok(vec![spot(self.host, usual, self.start)]),
        }
    }
}

/// A TCP connection to the first address of the place that takes one.
pub(crate) async fn open(config: &ClientConfig, spot: &Spot) -> io::Result<TcpStream> {
    let ips = match &spot.place.host {
        Host::V4(ip) => vec![IpAddr::V4(*ip)],
        Host::V6(ip) => vec![IpAddr::V6(*ip)],
        Host::Name(name) => {
            timeout(config.connect_timeout, config.resolver.addresses(name)).await.map_err(|_| {
                io::Error::new(io::ErrorKind::TimedOut, format!("no address of {name} came in time"))
            })??
        }
    };
    let addresses: Vec<_> =
        ips.into_iter().take(MOST).map(|ip| SocketAddr::new(ip, spot.place.port)).collect();
    if addresses.is_empty() {
        return Err(io::Error::new(io::ErrorKind::NotFound, format!("{} has no address", spot.place.host)));
    }
    dial::connect(&addresses, Haste { each: config.connect_timeout, ..Haste::default() }).await
}

/// The port where nothing names one.
const fn usual_port(start: Start) -> u16 {
    match start {
        Start::Tcp => 5222,
        Start::DirectTls => 5223,
    }
}

fn host(name: &str) -> Host {
    name.parse().map_or_else(|_| Host::Name(name.to_owned()), ip_host)
}

fn ip_host(ip: IpAddr) -> Host {
    match ip {
        IpAddr::V4(ip) => Host::V4(ip),
        IpAddr::V6(ip) => Host::V6(ip),
    }
}
