//! POSH documents: reading what others wrote, writing what others shall read.

use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::json;
use sha2::{Digest as _, Sha256, Sha512};

use super::{MAX_DOCUMENT, https_host};
use crate::Reason;
use crate::x509::printable;

/// RFC 7711's own example lacks the padding once: it is optional. Bits beyond the last octet are zero (§3.1).
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// No document of use is deeper than its array of objects.
const MAX_DEPTH: usize = 8;

/// Two certificates at a time are usual; this allows for a farm of servers.
const MAX_FINGERPRINTS: usize = 64;

/// A document that can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Document {
    /// The certificates' fingerprints (RFC 7711 §3.1).
    Fingerprints {
        /// One of each certificate, by the strongest hash that it is given for.
        fingerprints: Vec<Fingerprint>,
        /// How long the document is good, from its retrieval on; not zero.
        expires: Duration,
    },
    /// Where the fingerprints stand (RFC 7711 §3.2).
    Reference {
        /// An https address that passes [`https_host`](super::https_host).
        url: String,
        /// How long the reference is good, from its retrieval on; not zero.
        expires: Duration,
    },
}

/// The hash functions that count, weakest first. SHA-1 does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hash {
    /// `sha-256`
    Sha256,
    /// `sha-512`
    Sha512,
}

impl Hash {
    /// The name in documents (IANA's Hash Function Textual Names).
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha-256",
            Self::Sha512 => "sha-512",
        }
    }

    fn of(self, certificate: &[u8]) -> Vec<u8> {
        match self {
            Self::Sha256 => Sha256::digest(certificate).to_vec(),
            Self::Sha512 => Sha512::digest(certificate).to_vec(),
        }
    }
}

/// The fingerprint of one certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fingerprint {
    /// By which hash function.
    pub hash: Hash,
    /// The hash of the certificate's DER.
    pub digest: Vec<u8>,
}

impl Fingerprint {
    /// Whether it is this certificate's (DER).
    #[must_use]
    pub fn matches(&self, certificate: &[u8]) -> bool {
        self.hash.of(certificate) == self.digest
    }
}

impl Document {
    /// Reads a document. `url` is only for the reasons.
    ///
    /// # Errors
    /// What is wrong with it: one of the `posh-` reasons.
    pub fn parse(body: &[u8], url: &str) -> Result<Self, Reason> {
        let url = || printable(url);
        if body.len() > MAX_DOCUMENT {
            return Err(Reason::PoshTooLarge { url: url() });
        }
        if depth(body) > MAX_DEPTH {
            return Err(Reason::PoshTooDeep { url: url() });
        }
        let json: Json = serde_json::from_slice(body).map_err(|_| Reason::PoshNotJson { url: url() })?;
        if let Some(member) = json.duplicate() {
            return Err(Reason::PoshDuplicateMember { url: url(), member: printable(member) });
        }
        let Json::Object(_) = &json else { return Err(Reason::PoshNotObject { url: url() }) };
        let expires = match json.member("expires") {
            None => return Err(Reason::PoshNoExpiry { url: url() }),
            Some(Json::Whole(0)) => return Err(Reason::PoshExpiresZero { url: url() }),
            Some(Json::Whole(secs)) => Duration::from_secs(*secs),
            Some(_) => return Err(Reason::PoshBadExpiry { url: url() }),
        };
        match (json.member("fingerprints"), json.member("url")) {
            (Some(_), Some(_)) => Err(Reason::PoshBothKinds { url: url() }),
            (None, None) => Err(Reason::PoshNoFingerprints { url: url() }),
            (None, Some(Json::Text(to))) if https_host(to).is_some() => {
                Ok(Self::Reference { url: to.clone(), expires })
            }
            (None, Some(_)) => Err(Reason::PoshBadReference { url: url() }),
            (Some(Json::Array(items)), None) => {
                if items.is_empty() {
                    return Err(Reason::PoshNoFingerprints { url: url() });
                }
                if items.len() > MAX_FINGERPRINTS {
                    return Err(Reason::PoshTooManyFingerprints { url: url() });
                }
                let mut fingerprints = Vec::new();
                for item in items {
                    let found = fingerprint(item).map_err(|()| Reason::PoshBadFingerprint { url: url() })?;
                    fingerprints.extend(found);
                }
                if fingerprints.is_empty() {
                    return Err(Reason::PoshNoKnownHash { url: url() });
                }
                Ok(Self::Fingerprints { fingerprints, expires })
            }
            (Some(_), None) => Err(Reason::PoshBadFingerprint { url: url() }),
        }
    }

    /// How long the document is good, from its retrieval on.
    #[must_use]
    pub const fn expires(&self) -> Duration {
        match self {
            Self::Fingerprints { expires, .. } | Self::Reference { expires, .. } => *expires,
        }
    }
}

/// The strongest fingerprint of a descriptor; none when it uses other hashes only.
fn fingerprint(descriptor: &Json) -> Result<Option<Fingerprint>, ()> {
    let Json::Object(members) = descriptor else { return Err(()) };
    let mut best: Option<Fingerprint> = None;
    for (name, value) in members {
        let hash = match name.as_str() {
            "sha-256" => Hash::Sha256,
            "sha-512" => Hash::Sha512,
            _ => continue,
        };
        let Json::Text(text) = value else { return Err(()) };
        let digest = BASE64.decode(text).map_err(|_| ())?;
        let length = match hash {
            Hash::Sha256 => 32,
            Hash::Sha512 => 64,
        };
        if digest.len() != length {
            return Err(());
        }
        if best.as_ref().is_none_or(|best| best.hash < hash) {
            best = Some(Fingerprint { hash, digest });
        }
    }
    Ok(best)
}

/// The deepest nesting of brackets outside strings, known before any memory is spent.
fn depth(body: &[u8]) -> usize {
    let (mut now, mut most) = (0_usize, 0);
    let (mut quoted, mut escaped) = (false, false);
    for byte in body {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'{' | b'[' if !quoted => {
                now += 1;
                most = most.max(now);
            }
            b'}' | b']' if !quoted => now = now.saturating_sub(1),
            _ => {}
        }
    }
    most
}

/// JSON that keeps what `serde_json::Value` would hide: members that come twice.
enum Json {
    Object(Vec<(String, Self)>),
    Array(Vec<Self>),
    Text(String),
    Whole(u64),
    Other,
}

impl Json {
    fn member(&self, name: &str) -> Option<&Self> {
        match self {
            Self::Object(members) => members.iter().find(|(key, _)| key == name).map(|(_, value)| value),
            _ => None,
        }
    }

    fn duplicate(&self) -> Option<&str> {
        match self {
            Self::Object(members) => {
                let mut keys: Vec<_> = members.iter().map(|(key, _)| key.as_str()).collect();
                keys.sort_unstable();
                let twice = keys.windows(2).find_map(|pair| match pair {
                    [one, other] if one == other => Some(*one),
                    _ => None,
                });
                twice.or_else(|| members.iter().find_map(|(_, value)| value.duplicate()))
            }
            Self::Array(items) => items.iter().find_map(Self::duplicate),
            Self::Text(_) | Self::Whole(_) | Self::Other => None,
        }
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Any)
    }
}

struct Any;

impl<'de> Visitor<'de> for Any {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Json, E> {
        Ok(Json::Other)
    }

    fn visit_i64<E>(self, number: i64) -> Result<Json, E> {
        Ok(u64::try_from(number).map_or(Json::Other, Json::Whole))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Json, E> {
        Ok(Json::Whole(number))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Json, E> {
        Ok(Json::Other)
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Other)
    }

    fn visit_str<E>(self, text: &str) -> Result<Json, E> {
        Ok(Json::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Json, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(Json::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Json, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = access.next_entry()? {
            members.push(member);
        }
        Ok(Json::Object(members))
    }
}

/// The document to publish for own certificates (DER): give the next one first and the one in use after it (RFC 7711 §3.1).
///
/// `expires` is how long others may keep it: shorter than the time between publishing a certificate's fingerprint and using it.
#[must_use]
pub fn publish(certificates: &[&[u8]], expires: Duration) -> String {
    let fingerprints: Vec<_> = certificates
        .iter()
        .map(|certificate| {
            let text = |hash: Hash| BASE64.encode(hash.of(certificate));
            json!({ Hash::Sha256.name(): text(Hash::Sha256), Hash::Sha512.name(): text(Hash::Sha512) })
        })
        .collect();
    format!("{:#}\n", json!({ "fingerprints": fingerprints, "expires": expires.as_secs() }))
}

/// The document for a tenant to publish, which refers to ours (RFC 7711 §3.2). None when `url` is no https address of a host.
#[must_use]
pub fn reference(url: &str, expires: Duration) -> Option<String> {
    https_host(url).map(|_| format!("{:#}\n", json!({ "url": url, "expires": expires.as_secs() })))
}
