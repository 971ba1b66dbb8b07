//! From a hop to a TCP connection (RFC 4975 §5.4, RFC 4976 §8).

use std::net::SocketAddr;
use std::time::Duration;

use nuncio_msrp::uri::{Hop, Host};
use nuncio_msrp::{Scheme, Transport};
use nuncio_net::OsEntropy;
use nuncio_net::dial::{self, Haste};
use nuncio_net::dns::{DnsConfig, Resolver, Srv, in_order};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

use crate::error::ConnectError;

/// The port of relays without SRV records (RFC 4976 §8).
pub const PORT: u16 = 2855;
/// Addresses that are tried for one hop.
const MOST: usize = 16;

/// Host and port, for people.
pub(crate) fn place(hop: &Hop) -> String {
    match hop.port {
        Some(port) => format!("{}:{port}", hop.host),
        None => hop.host.to_string(),
    }
}

/// The name that a TLS server of this hop has to prove.
pub(crate) fn server_name(hop: &Hop) -> String {
    match &hop.host {
        Host::Name(name) => name.to_string(),
        Host::Address(address) => address.to_string(),
    }
}

/// Connects to a hop. Where its port is missing, `_msrps._tcp` says it; the name to be proven stays that of the hop, whatever DNS says (S3-31).
pub(crate) async fn connect(hop: &Hop, within: Duration) -> Result<TcpStream, ConnectError> {
    if hop.transport != Transport::Tcp {
        return Err(ConnectError::Transport(hop.transport.as_str().to_owned()));
    }
    let place = place(hop);
    let connecting = async {
        let addresses =
            addresses(hop).await.map_err(|why| ConnectError::Resolve { place: place.clone(), why })?;
        dial::connect(&addresses, Haste::default())
            .await
            .map_err(|source| ConnectError::Tcp { place: place.clone(), source })
    };
    timeout(within, connecting).await.unwrap_or_else(|_| {
        Err(ConnectError::Tcp { place: place.clone(), source: std::io::ErrorKind::TimedOut.into() })
    })
}

async fn addresses(hop: &Hop) -> Result<Vec<SocketAddr>, String> {
    let name = match (&hop.host, hop.port) {
        (Host::Address(address), port) => return Ok(vec![(*address, port.unwrap_or(PORT)).into()]),
        (Host::Name(name), Some(port)) => return lookup(name, port).await,
        (Host::Name(name), None) => name,
    };
    let owner = match hop.scheme {
        Scheme::Msrps => format!("_msrps._tcp.{name}"),
        Scheme::Msrp => format!("_msrp._tcp.{name}"),
    };
    // Without an answer the name's own addresses are tried, as without records.
    let answer = match DnsConfig::system() {
        Ok(config) => Resolver::with(config).srv(&owner).await.ok(),
        Err(_) => None,
    };
    let records = answer.map(|answer| answer.records).unwrap_or_default();
    if records.is_empty() {
        return lookup(name, PORT).await;
    }
    if records.iter().any(Srv::is_denial) {
        return Err(format!("{owner} says that there is no such service"));
    }
    let (mut all, mut last) = (Vec::new(), String::from("no address"));
    for srv in in_order(records, |srv| (srv.priority, srv.weight), &OsEntropy) {
        match lookup(&srv.target, srv.port).await {
            Ok(found) => all.extend(found),
            Err(error) => last = error,
        }
    }
    all.truncate(MOST);
    if all.is_empty() { Err(last) } else { Ok(all) }
}

async fn lookup(name: &str, port: u16) -> Result<Vec<SocketAddr>, String> {
    let found: Vec<_> =
        lookup_host((name, port)).await.map_err(|error| error.to_string())?.take(MOST).collect();
    if found.is_empty() { Err("no address".to_owned()) } else { Ok(found) }
}
