//! Settings of a relay.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use nuncio_dna::{Pattern, posh};
use nuncio_msrp::digest::Algorithm;
use nuncio_msrp::relay::{Bounds, Expires, SealKeys};
use nuncio_net::{Rate, dial::Haste};

/// Settings of a [`crate::Relay`].
#[derive(Clone, Debug)]
pub struct RelayConfig {
    /// The host in the URIs that are issued: a name that leads here, as A-labels.
    pub host: String,
    /// The port in them.
    pub port: u16,
    /// Other names under which clients may ask for URIs, at the same port.
    pub others: Vec<String>,
    /// The port under which WebSocket clients know it (RFC 7977), if there is one.
    pub websocket: Option<u16>,
    /// What seals the URIs of clients behind other relays. Machines of the same name that share it know each other's, and each knows its own
    /// when it starts again.
    pub seal: Option<Arc<SealKeys>>,
    /// The hashes of challenges, the strongest first.
    pub algorithms: Vec<Algorithm>,
    /// For how long URIs are good, in seconds.
    pub expires: Expires,
    /// URIs and connections that an account may have, and how fast.
    pub bounds: Bounds,
    /// For how long a nonce of a challenge is good.
    pub nonce: Duration,
    /// How long a new connection may take until a request of it succeeds (RFC 4976 §6.1).
    pub probation: Duration,
    /// How long a connection of a client stays without traffic (RFC 4976 §5.4).
    pub idle_own: Duration,
    /// How long any other does.
    pub idle_foreign: Duration,
    /// How long the next hop may take for a response.
    pub response: Duration,
    /// Failed logins after which a connection is closed.
    pub failures: u32,
    /// Requests for nothing after which a connection is closed.
    pub strikes: u32,
    /// How long a TLS handshake may take.
    pub handshake: Duration,
    /// A peer that takes nothing for so long is gone.
    pub write: Duration,
    /// How long a connection may take to end.
    pub close: Duration,
    /// How fast one connection may send.
    pub rate: Rate,
    /// So many bytes of one session may wait for a slow connection before its sender is held.
    pub lane: usize,
    /// So many bytes may wait for all connections together before every sender is held with its first one.
    pub waiting: usize,
    /// How long a session may be held on a connection that others share, behind a relay, until it is given up for them.
    pub patience: Duration,
    /// Connections that the relay makes, at once.
    pub outgoing: usize,
    /// How addresses of a next hop are tried.
    pub haste: Haste,
    /// If not empty, only these relays may log clients in (RFC 4976 §6.3), once they have proven who they are.
    pub relays: Vec<Pattern>,
    /// Whether a next hop may be reached in clear, where its URI is `msrp:`.
    pub clear: bool,
    /// Where hosts are, whatever DNS says. DNS then proves nothing about them.
    pub hosts: BTreeMap<String, SocketAddr>,
    /// Networks that may be connected to although they are not public: an address, and how many leading bits count.
    pub networks: Vec<(IpAddr, u8)>,
}

impl RelayConfig {
    /// The RFC's times, for a relay of this name and port.
    #[must_use]
    pub fn new(host: &str, port: u16) -> Self {
        Self {
            host: host.to_owned(),
            port,
            others: Vec::new(),
            websocket: None,
            seal: None,
            algorithms: vec![Algorithm::Sha256, Algorithm::Md5],
            expires: Expires { least: 60, default: 1_800, most: 86_400 },
            bounds: Bounds::default(),
            nonce: Duration::from_secs(300),
            probation: Duration::from_secs(30),
            idle_own: Duration::from_secs(3_600),
            idle_foreign: Duration::from_secs(300),
            response: Duration::from_secs(30),
            failures: 3,
            strikes: 16,
            handshake: Duration::from_secs(30),
            write: Duration::from_secs(60),
            close: Duration::from_secs(5),
            rate: Rate::UNLIMITED,
            lane: 128 * 1_024,
            waiting: 32 * 1_024 * 1_024,
            patience: Duration::from_secs(10),
            outgoing: 10_000,
            haste: Haste::default(),
            relays: Vec::new(),
            clear: false,
            hosts: BTreeMap::new(),
            networks: Vec::new(),
        }
    }

    /// Whether a next hop may have this address: what peers write into a path must not aim us at our own machines (RFC 4975 §14.5).
    pub(crate) fn allows(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        posh::is_public(address)
            || self.networks.iter().any(|(network, bits)| within(address, *network, *bits))
    }
}

/// Whether an address lies in a network.
fn within(address: IpAddr, network: IpAddr, bits: u8) -> bool {
    let same = |one: &[u8], other: &[u8]| {
        let mut left = u32::from(bits);
        one.iter().zip(other).all(|(one, other)| {
            let count = left.min(8);
            left -= count;
            let mask = u8::MAX.checked_shl(8 - count).unwrap_or(0);
            one & mask == other & mask
        })
    };
    match (address, network) {
        (IpAddr::V4(one), IpAddr::V4(other)) => same(&one.octets(), &other.octets()),
        (IpAddr::V6(one), IpAddr::V6(other)) => same(&one.octets(), &other.octets()),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// S1-L18, RFC 4975 §14.5.
    #[test]
    fn only_public_addresses_and_those_that_are_allowed() {
        let mut config = RelayConfig::new("relay.example", 2855);
        config.networks = ["10.1.0.0", "127.0.0.1", "fd00::"]
            .map(|one| one.parse().unwrap())
            .into_iter()
            .zip([16, 32, 8])
            .collect();
        for (address, allowed) in [
            ("9.9.9.9", true),
            ("10.1.255.3", true),
            ("10.2.0.1", false),
            ("127.0.0.1", true),
            ("127.0.0.2", false),
            ("::ffff:127.0.0.2", false),
            ("::ffff:127.0.0.1", true),
            ("192.168.1.1", false),
            ("169.254.169.254", false),
            ("2620:fe::fe", true),
            ("fd12::1", true),
            ("fe80::1", false),
            ("::1", false),
        ] {
            assert_eq!(config.allows(address.parse().unwrap()), allowed, "{address}");
        }
        config.networks = vec![("0.0.0.0".parse().unwrap(), 0)];
        assert!(config.allows("192.168.1.1".parse().unwrap()) && !config.allows("::1".parse().unwrap()));
    }
}
