//! The table `[msrp]`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use nuncio_dna::Pattern;
use serde::{Deserialize, Serialize};

use super::Config;
use super::number::Number;
use super::source::{At, Source};

/// The MSRP relay.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default)]
pub(crate) struct Msrp {
    /// Whether there is one.
    pub(crate) enabled: bool,
    /// The host in its URIs; absent: the first domain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) host: Option<String>,
    /// The port in its URIs; absent: the one that is listened on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) port: Option<u16>,
    /// The port for WebSocket in its URIs; absent: the one that is listened on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) websocket_port: Option<u16>,
    /// PEM chain of `host`; absent: that of the domain of this name, or the local authority's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) certificate: Option<PathBuf>,
    /// PEM private key of the certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) key: Option<PathBuf>,
    /// Hashes of Digest that are offered.
    pub(crate) algorithms: Vec<Hash>,
    /// For how long credentials are good.
    pub(crate) credentials_seconds: u32,
    /// The least time that a URI may be asked for.
    pub(crate) expires_least: u32,
    /// For how long a URI is good when nothing is asked for; absent: as long as it may.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) expires_default: Option<u32>,
    /// The most.
    pub(crate) expires_most: u32,
    /// Silence after which a client's connection is closed.
    pub(crate) idle_seconds: u64,
    /// Silence after which any other connection is closed.
    pub(crate) peer_idle_seconds: u64,
    /// URIs of one account.
    pub(crate) uris_per_account: usize,
    /// Connections a minute on behalf of one account.
    pub(crate) connects_per_account: usize,
    /// Connections a minute to one port of one host; to all its ports four times as many.
    pub(crate) connects_per_host: usize,
    /// Connections that the relay makes on behalf of one account, at once.
    pub(crate) connections_per_account: usize,
    /// Connections that the relay makes, at once.
    pub(crate) connections_out: usize,
    /// Bytes a second that one connection may send; 0 for any.
    pub(crate) bytes_per_second: u32,
    /// Bytes of one session that wait for a slow reader before its sender is held.
    pub(crate) buffer_bytes: usize,
    /// Bytes that wait for all readers together before each sender is held at once.
    pub(crate) buffers_bytes: usize,
    /// How long one session may hold up others that come through the same relay, until it is given up.
    pub(crate) hold_seconds: u64,
    /// Whether next hops may be reached in clear.
    pub(crate) clear: bool,
    /// If not empty, only these relays may log clients in.
    pub(crate) relays: Vec<String>,
    /// PEM files of authorities that vouch for next hops and relays; empty: those of federation.
    pub(crate) authorities: Vec<PathBuf>,
    /// Where hosts are, whatever DNS says.
    pub(crate) hosts: BTreeMap<String, SocketAddr>,
    /// Networks that may be connected to although they are not public.
    pub(crate) allow_networks: Vec<String>,
}

impl Default for Msrp {
    fn default() -> Self {
        Self {
            enabled: true,
            host: None,
            port: None,
            websocket_port: None,
            certificate: None,
            key: None,
            algorithms: vec![Hash::Sha256, Hash::Md5],
            credentials_seconds: 3_600,
            expires_least: 60,
            expires_default: None,
            expires_most: 86_400,
            idle_seconds: 3_600,
            peer_idle_seconds: 300,
            uris_per_account: 256,
            connects_per_account: 30,
            connects_per_host: 60,
            connections_per_account: 64,
            connections_out: 10_000,
            bytes_per_second: 0,
            buffer_bytes: 131_072,
            buffers_bytes: 33_554_432,
            hold_seconds: 10,
            clear: false,
            relays: Vec::new(),
            authorities: Vec::new(),
            hosts: BTreeMap::new(),
            allow_networks: Vec::new(),
        }
    }
}

/// A hash of Digest.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub(crate) enum Hash {
    /// SHA-256 (RFC 7616).
    #[serde(rename = "sha-256")]
    Sha256,
    /// MD5 (RFC 4976), for old clients.
    #[serde(rename = "md5")]
    Md5,
}

impl Hash {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Sha256 => "sha-256",
            Self::Md5 => "md5",
        }
    }
}

/// Says everything that is wrong with values that have the right type.
pub(super) fn check(config: &Config, source: &mut Source) {
    numbers(config, source);
    ports(config, source);
    identity(config, source);
    let msrp = &config.msrp;
    for (index, hash) in msrp.algorithms.iter().enumerate() {
        if msrp.algorithms.iter().take(index).any(|other| other == hash) {
            let at = At::key("msrp.algorithms").nth(index);
            source.say(&at, format!("`{}` stands twice", hash.as_str()), "keep one of the two");
        }
    }
    if msrp.algorithms.is_empty() {
        let remedy = "take `sha-256`, or `sha-256` and `md5`";
        source.say(&At::key("msrp.algorithms"), "is empty, so nobody could log in", remedy);
    }
    for (index, relay) in msrp.relays.iter().enumerate() {
        if let Err(why) = relay.parse::<Pattern>() {
            let at = At::key("msrp.relays").nth(index);
            source.say(&at, format!("`{relay}` is {why}"), "take `relay.example`, `*.example` or `*`");
        }
    }
    for (index, network) in msrp.allow_networks.iter().enumerate() {
        if let Err(why) = crate::federation::parse_network(network) {
            let remedy = "write an address, a slash and how many bits count, as in `10.0.0.0/8`";
            source.say(&At::key("msrp.allow_networks").nth(index), format!("{why:#}"), remedy);
        }
    }
    hosts(&msrp.hosts, source);
}

fn numbers(config: &Config, source: &mut Source) {
    let msrp = &config.msrp;
    let (credentials, least, most) =
        (u64::from(msrp.credentials_seconds), u64::from(msrp.expires_least), u64::from(msrp.expires_most));
    let buffers = msrp.buffers_bytes as u64;
    let mut all = vec![
        Number::new("msrp.credentials_seconds", credentials, 60, 86_400),
        // No URI is good for longer than the login that it was given for.
        Number::new("msrp.expires_least", least, 1, 86_400).most(credentials, "msrp.credentials_seconds"),
        Number::new("msrp.expires_most", most, 1, 604_800).least(least, "msrp.expires_least"),
        Number::new("msrp.idle_seconds", msrp.idle_seconds, 60, 604_800),
        Number::new("msrp.peer_idle_seconds", msrp.peer_idle_seconds, 60, 604_800),
        Number::new("msrp.buffer_bytes", msrp.buffer_bytes as u64, 16_384, 16 << 20)
            .most(buffers, "msrp.buffers_bytes"),
        Number::new("msrp.buffers_bytes", buffers, 1 << 20, 1 << 40),
        Number::new("msrp.hold_seconds", msrp.hold_seconds, 1, 3_600),
    ];
    let counts = [
        ("msrp.uris_per_account", msrp.uris_per_account),
        ("msrp.connects_per_account", msrp.connects_per_account),
        ("msrp.connects_per_host", msrp.connects_per_host),
        ("msrp.connections_per_account", msrp.connections_per_account),
        ("msrp.connections_out", msrp.connections_out),
    ];
    all.extend(counts.map(|(key, value)| Number::new(key, value as u64, 1, 1_000_000)));
    all.extend(msrp.expires_default.map(|default| {
        Number::new("msrp.expires_default", default.into(), 1, 604_800)
            .least(least, "msrp.expires_least")
            .most(most, "msrp.expires_most")
    }));
    all.iter().for_each(|number| number.check(source));
    if (1..1_000).contains(&msrp.bytes_per_second) {
        let what = format!("is {}, at which a session never gets anywhere", msrp.bytes_per_second);
        source.say(&At::key("msrp.bytes_per_second"), what, "take 1000 or more, or 0 for any");
    }
}

fn ports(config: &Config, source: &mut Source) {
    let msrp = &config.msrp;
    for (key, port, usual) in
        [("msrp.port", msrp.port, "2855"), ("msrp.websocket_port", msrp.websocket_port, "443")]
    {
        if port == Some(0) {
            let remedy =
                format!("take the port under which others reach the relay, {usual} mostly, or leave it out");
            source.say(&At::key(key), "is 0, and nobody listens there", remedy);
        }
    }
    let listens = !config.listen.msrp_websocket.is_empty();
    if msrp.websocket_port.is_some() && !listens {
        let what = "is for WebSocket, which is not listened for";
        let remedy = "add `listen.msrp_websocket = [\"0.0.0.0:8443\"]`, or leave it out";
        source.say(&At::key("msrp.websocket_port"), what, remedy);
    }
    if msrp.enabled && listens && config.listen.msrp.as_ref().is_some_and(Vec::is_empty) {
        let what = "is never listened on: `listen.msrp` is empty, so that there is no relay";
        let remedy = "leave `listen.msrp` out for its default, or give it an address";
        source.say(&At::key("listen.msrp_websocket"), what, remedy);
    }
}

/// The host in the relay's URIs, and its certificate.
fn identity(config: &Config, source: &mut Source) {
    let msrp = &config.msrp;
    let key = At::key;
    if let Some(host) = &msrp.host {
        let known = config.domain.iter().any(|domain| domain.name == *host);
        if nuncio_dna::Domain::new(host).is_err() {
            let remedy = "write a name that leads to the relay, as in `relay.example.org`";
            source.say(&key("msrp.host"), format!("`{host}` is no domain name"), remedy);
        } else if !known
            && msrp.certificate.is_none()
            && config.domain.iter().all(|domain| domain.certificate.is_some())
        {
            let remedy = "add `msrp.certificate` and `msrp.key`, or leave `msrp.host` out: then the first domain is in the URIs";
            source.say(&key("msrp.host"), format!("`{host}` has no certificate"), remedy);
        }
    } else if msrp.certificate.is_some() {
        let remedy = "add `msrp.host`, the name that it is for";
        source.say(&key("msrp.certificate"), "has no host beside it", remedy);
    }
    match (&msrp.certificate, &msrp.key) {
        (Some(_), None) => {
            let remedy = "add `msrp.key = \"FILE\"` with the certificate's private key";
            source.say(&key("msrp.certificate"), "has no key beside it", remedy);
        }
        (None, Some(_)) => {
            let remedy = "add `msrp.certificate = \"FILE\"` with the chain, leaf first";
            source.say(&key("msrp.key"), "has no certificate beside it", remedy);
        }
        _ => {}
    }
}

fn hosts(hosts: &BTreeMap<String, SocketAddr>, source: &mut Source) {
    const FORM: &str = "write `\"relay.example\" = \"192.0.2.1:2855\"`";
    for (host, address) in hosts {
        let at = At::key("msrp.hosts").below(host);
        match nuncio_dna::Domain::new(host) {
            Err(_) => source.say(&at, format!("`{host}` is no domain name"), FORM),
            // As it is compared with URIs.
            Ok(name) if name.as_str() != host => {
                let remedy = format!("write it as `\"{}\" = \"{address}\"`", name.as_str());
                source.say(&at, format!("`{host}` is not how the name stands in URIs"), remedy);
            }
            Ok(_) => {}
        }
        if address.port() == 0 {
            source.say(&at, format!("`{address}` has port 0, where nobody listens"), FORM);
        } else if address.ip().is_unspecified() {
            source.say(&at, format!("`{address}` is an address to listen on, not one to connect to"), FORM);
        }
    }
}
