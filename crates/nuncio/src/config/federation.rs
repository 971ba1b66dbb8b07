//! The table `[federation]`.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

/// Other servers.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default)]
pub(crate) struct Federation {
    /// Whether this server talks to others; absent: unless it serves only `localhost`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) enabled: Option<bool>,
    /// What a peer must prove.
    pub(crate) require: String,
    /// If not empty, only these domains.
    pub(crate) allow: Vec<String>,
    /// Not these domains.
    pub(crate) deny: Vec<String>,
    /// Rules for peers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) peer: Vec<Peer>,
    /// PEM files of authorities; empty: the system's.
    pub(crate) authorities: Vec<PathBuf>,
    /// Files of revocation lists, DER or PEM.
    pub(crate) revocation_lists: Vec<PathBuf>,
    /// Whether streams are encrypted.
    pub(crate) tls: Encryption,
    /// Whether dialback is offered and used.
    pub(crate) dialback: bool,
    /// Whether streams go both ways.
    pub(crate) bidi: bool,
    /// Stanzas that wait for one pair of domains.
    pub(crate) queue_stanzas: usize,
    /// Bytes that wait for one pair of domains.
    pub(crate) queue_bytes: usize,
    /// How long a stanza waits.
    pub(crate) queue_seconds: u64,
    /// How long before its end a proof is renewed.
    pub(crate) renew_seconds: u64,
    /// How long after the loss of its connection a stream may be resumed.
    pub(crate) resume_seconds: u64,
    /// A stream that carried nothing for so long is closed.
    pub(crate) unused_seconds: u64,
    /// Where domains are, whatever DNS says.
    pub(crate) hosts: BTreeMap<String, Servers>,
    /// DNS.
    pub(crate) dns: Dns,
    /// POSH.
    pub(crate) posh: Posh,
}

impl Default for Federation {
    fn default() -> Self {
        Self {
            enabled: None,
            require: "authenticated".to_owned(),
            allow: Vec::new(),
            deny: Vec::new(),
            peer: Vec::new(),
            authorities: Vec::new(),
            revocation_lists: Vec::new(),
            tls: Encryption::Required,
            dialback: true,
            bidi: true,
            queue_stanzas: 1_000,
            queue_bytes: 1 << 20,
            queue_seconds: 120,
            renew_seconds: 30,
            resume_seconds: 60,
            unused_seconds: 600,
            hosts: BTreeMap::new(),
            dns: Dns::default(),
            posh: Posh::default(),
        }
    }
}

/// What is demanded of one peer, or of all below a domain.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(crate) struct Peer {
    /// The domain, `*.` and a domain, or `*`.
    pub(crate) domain: String,
    /// What it must prove; absent: what everybody must.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) require: Option<String>,
    /// Whether its TLSA records do not count.
    pub(crate) ignore_dane: bool,
    /// SHA-256 of certificates or keys that are accepted as they are.
    pub(crate) pins: Vec<String>,
    /// How long its POSH documents count beyond their expiry while its web server fails.
    pub(crate) posh_stale_seconds: u64,
}

/// Whether streams between servers are encrypted.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Encryption {
    /// Nothing is done in clear.
    Required,
    /// Where both can.
    Optional,
    /// Never: for closed networks that are protected otherwise. A policy that allows it has to be set too.
    Never,
}

/// One server or several.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum Servers {
    /// One.
    One(String),
    /// Several, tried in this order.
    Several(Vec<String>),
}

impl Servers {
    pub(crate) const fn all(&self) -> &[String] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::Several(all) => all.as_slice(),
        }
    }

    pub(crate) const fn is_list(&self) -> bool {
        matches!(self, Self::Several(_))
    }
}

/// By hand, so that what is wrong is said in words.
impl<'de> Deserialize<'de> for Servers {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Servers;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("an address with its port as text, or a list of such")
            }

            fn visit_str<E: serde::de::Error>(self, one: &str) -> Result<Servers, E> {
                Ok(Servers::One(one.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut all: A) -> Result<Servers, A::Error> {
                let mut found = Vec::new();
                while let Some(one) = all.next_element()? {
                    found.push(one);
                }
                Ok(Servers::Several(found))
            }
        }
        from.deserialize_any(Either)
    }
}

/// DNS.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default)]
pub(crate) struct Dns {
    /// Recursive name servers; empty: the system's.
    pub(crate) servers: Vec<SocketAddr>,
    /// Who checks the signatures of DNSSEC.
    pub(crate) validate: Validate,
    /// A file with trust anchors in place of the root's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) trust_anchors: Option<PathBuf>,
}

impl Default for Dns {
    fn default() -> Self {
        Self { servers: Vec::new(), validate: Validate::Local, trust_anchors: None }
    }
}

/// Who checks the signatures of DNSSEC.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Validate {
    /// Nobody.
    Off,
    /// A name server on this machine.
    TrustAd,
    /// This server.
    Local,
}

/// POSH (RFC 7711).
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default)]
pub(crate) struct Posh {
    /// Whether documents are looked for.
    pub(crate) enabled: bool,
    /// PEM files of authorities of web servers; empty: the system's.
    pub(crate) authorities: Vec<PathBuf>,
    /// Networks that may be asked although they are not public.
    pub(crate) allow_networks: Vec<String>,
    /// The port of web servers.
    pub(crate) port: u16,
}

impl Default for Posh {
    fn default() -> Self {
        Self { enabled: true, authorities: Vec::new(), allow_networks: Vec::new(), port: 443 }
    }
}
