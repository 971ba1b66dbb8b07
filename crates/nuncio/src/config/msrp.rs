//! The table `[msrp]`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Config;

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

/// What is wrong with values that have the right type: key, what, and what would be right.
pub(super) fn problems(config: &Config) -> Vec<(&'static str, String, String)> {
    let msrp = &config.msrp;
    let mut found = Vec::new();
    let mut between = |key, value: u64, least: u64, most: u64| {
        if value < least || value > most {
            found.push((key, format!("is {value}"), format!("take a number from {least} to {most}")));
        }
    };
    between("msrp.credentials_seconds", msrp.credentials_seconds.into(), 60, 86_400);
    between("msrp.expires_least", msrp.expires_least.into(), 1, 86_400);
    between("msrp.expires_most", msrp.expires_most.into(), msrp.expires_least.into(), 604_800);
    let (least, most) = (msrp.expires_least.into(), msrp.expires_most.into());
    if let Some(default) = msrp.expires_default {
        between("msrp.expires_default", default.into(), least, most);
    }
    between("msrp.idle_seconds", msrp.idle_seconds, 60, 604_800);
    between("msrp.peer_idle_seconds", msrp.peer_idle_seconds, 60, 604_800);
    for (key, value) in [
        ("msrp.uris_per_account", msrp.uris_per_account),
        ("msrp.connects_per_account", msrp.connects_per_account),
        ("msrp.connects_per_host", msrp.connects_per_host),
        ("msrp.connections_per_account", msrp.connections_per_account),
        ("msrp.connections_out", msrp.connections_out),
    ] {
        between(key, value as u64, 1, 1_000_000);
    }
    between("msrp.buffer_bytes", msrp.buffer_bytes as u64, 16_384, 16 << 20);
    between("msrp.buffers_bytes", msrp.buffers_bytes as u64, 1 << 20, 1 << 40);
    between("msrp.hold_seconds", msrp.hold_seconds, 1, 3_600);
    let mut say = |key, what: String, remedy: &str| found.push((key, what, remedy.to_owned()));
    if msrp.algorithms.is_empty() {
        say("msrp.algorithms", "is empty".to_owned(), "take `sha-256`, or `sha-256` and `md5`");
    }
    if let Some(host) = &msrp.host {
        if nuncio_dna::Domain::new(host).is_err() {
            say("msrp.host", format!("`{host}` is no domain name"), "write it as `relay.example.org`");
        }
        let known = config.domain.iter().any(|domain| domain.name == *host);
        if !known
            && msrp.certificate.is_none()
            && config.domain.iter().all(|domain| domain.certificate.is_some())
        {
            say(
                "msrp.host",
                format!("`{host}` has no certificate"),
                "add `msrp.certificate` and `msrp.key`, or leave `msrp.host` out: then the first domain is in the URIs",
            );
        }
    } else if msrp.certificate.is_some() {
        say("msrp.certificate", "has no host".to_owned(), "add `msrp.host`, the name that it is for");
    }
    match (&msrp.certificate, &msrp.key) {
        (Some(_), None) => say(
            "msrp.certificate",
            "has no key beside it".to_owned(),
            "add `msrp.key` with the certificate's private key",
        ),
        (None, Some(_)) => say(
            "msrp.key",
            "has no certificate beside it".to_owned(),
            "add `msrp.certificate` with the chain, leaf first",
        ),
        _ => {}
    }
    for relay in msrp.relays.iter().filter(|relay| relay.parse::<nuncio_dna::Pattern>().is_err()) {
        let what = format!("`{relay}` is no domain");
        say("msrp.relays", what, "take `relay.example`, `*.example` or `*`");
    }
    for network in &msrp.allow_networks {
        if let Err(why) = crate::federation::parse_network(network) {
            say("msrp.allow_networks", format!("{why:#}"), "take an address, a slash and a number of bits");
        }
    }
    found
}
