//! SASL (RFC 4422) as XMPP uses it (RFC 6120 §6): both roles, without clock, socket or randomness of their own.
//!
//! Messages are the raw bytes inside `<auth/>`, `<challenge/>`, `<response/>` and `<success/>`; base64 and XML are the stream's.
//! The server's side is [`server::Exchange`], the client's [`client::Exchange`]. Both get an [`Offer`]: the mechanisms
//! and channel-binding types exactly as they went over the wire, because XEP-0474 hashes them.

use std::fmt;
use std::str::FromStr;

use bytes::Bytes;

pub mod client;
mod keys;
pub mod scram;
pub mod server;
#[cfg(test)]
mod tests;

pub use keys::{Hash, Keys, KeysError};
pub use server::Authenticated;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// The longest message either side reads, in bytes. Three identities of 1023 bytes, escaped, and their frame fit.
pub const MAX_MESSAGE: usize = 10_000;

/// The longest user name and the longest password, in bytes: what RFC 7622 §3.3.1 gives a localpart.
pub const MAX_NAME: usize = 1023;

/// A mechanism of this implementation. Ordered by strength: what binds the channel is stronger than what does not, whatever
/// the hash, and a certificate is stronger than any password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mechanism {
    /// RFC 4616: the password itself. Only inside TLS.
    Plain,
    /// RFC 5802.
    ScramSha1,
    /// RFC 7677.
    ScramSha256,
    /// SCRAM with SHA-512.
    ScramSha512,
    /// RFC 5802 with channel binding.
    ScramSha1Plus,
    /// RFC 7677 with channel binding.
    ScramSha256Plus,
    /// SCRAM with SHA-512 and channel binding.
    ScramSha512Plus,
    /// RFC 4422 appendix A: the client certificate of the TLS handshake (XEP-0178).
    External,
}

impl Mechanism {
    /// All of them, strongest first.
    pub const ALL: [Self; 8] = [
        Self::External,
        Self::ScramSha512Plus,
        Self::ScramSha256Plus,
        Self::ScramSha1Plus,
        Self::ScramSha512,
        Self::ScramSha256,
        Self::ScramSha1,
        Self::Plain,
    ];

    /// The SCRAM mechanism of `hash`, with channel binding if `plus`.
    pub const fn scram(hash: Hash, plus: bool) -> Self {
        match (hash, plus) {
            (Hash::Sha1, false) => Self::ScramSha1,
            (Hash::Sha1, true) => Self::ScramSha1Plus,
            (Hash::Sha256, false) => Self::ScramSha256,
            (Hash::Sha256, true) => Self::ScramSha256Plus,
            (Hash::Sha512, false) => Self::ScramSha512,
            (Hash::Sha512, true) => Self::ScramSha512Plus,
        }
    }

    /// The registered name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha1 => "SCRAM-SHA-1",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
            Self::ScramSha1Plus => "SCRAM-SHA-1-PLUS",
            Self::ScramSha256Plus => "SCRAM-SHA-256-PLUS",
            Self::ScramSha512Plus => "SCRAM-SHA-512-PLUS",
            Self::External => "EXTERNAL",
        }
    }

    /// The hash, if it is a SCRAM mechanism.
    pub const fn hash(self) -> Option<Hash> {
        match self {
            Self::ScramSha1 | Self::ScramSha1Plus => Some(Hash::Sha1),
            Self::ScramSha256 | Self::ScramSha256Plus => Some(Hash::Sha256),
            Self::ScramSha512 | Self::ScramSha512Plus => Some(Hash::Sha512),
            Self::Plain | Self::External => None,
        }
    }

    /// Whether it binds the channel.
    pub const fn is_plus(self) -> bool {
        matches!(self, Self::ScramSha1Plus | Self::ScramSha256Plus | Self::ScramSha512Plus)
    }
}

impl fmt::Display for Mechanism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Mechanism {
    type Err = UnknownMechanism;

    /// Names are case-sensitive (RFC 4422 §3.1).
    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|mechanism| mechanism.as_str() == name).ok_or(UnknownMechanism)
    }
}

/// The name is no mechanism of this implementation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown mechanism")]
pub struct UnknownMechanism;

/// A channel-binding type. Ordered by strength.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ChannelBinding {
    /// RFC 5929 §4: the hash of the server's certificate.
    TlsServerEndPoint,
    /// RFC 9266: 32 bytes that only this connection's two ends know.
    TlsExporter,
}

impl ChannelBinding {
    /// The registered prefix, as it stands after `p=` and in XEP-0440.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TlsServerEndPoint => "tls-server-end-point",
            Self::TlsExporter => "tls-exporter",
        }
    }

    /// The type of this name, if it is one of ours.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::TlsExporter, Self::TlsServerEndPoint].into_iter().find(|kind| kind.as_str() == name)
    }
}

impl fmt::Display for ChannelBinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A channel-binding type together with this connection's data for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    /// The type.
    pub kind: ChannelBinding,
    /// The data, never empty.
    pub data: Bytes,
}

impl Binding {
    /// The bindings of a TLS connection, strongest first: those types only for which TLS gave bytes.
    pub fn of(tls: &nuncio_sansio::TlsFacts) -> Vec<Self> {
        let exporter = tls.exporter.as_ref().map(|data| Bytes::copy_from_slice(data));
        [
            (ChannelBinding::TlsExporter, exporter),
            (ChannelBinding::TlsServerEndPoint, tls.server_end_point.clone()),
        ]
        .into_iter()
        .filter_map(|(kind, data)| data.filter(|data| !data.is_empty()).map(|data| Self { kind, data }))
        .collect()
    }
}

/// What a server's stream features offered: names as they stood in the XML, in any order. Once sent it must not change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Offer {
    /// The `<mechanism/>`s of RFC 6120 §6.4.1, also those that this module does not know.
    pub mechanisms: Vec<String>,
    /// The types of `<sasl-channel-binding/>` (XEP-0440); none if the feature was not sent.
    pub channel_bindings: Option<Vec<String>>,
}

impl Offer {
    /// Whether `mechanism` is in it.
    pub fn has(&self, mechanism: &str) -> bool {
        self.mechanisms.iter().any(|name| name == mechanism)
    }

    /// Whether any offered mechanism binds the channel.
    pub fn has_plus(&self) -> bool {
        self.mechanisms.iter().any(|name| name.ends_with("-PLUS"))
    }

    /// The value of SCRAM's attribute `h` (XEP-0474 §"Server Sends Downgrade Protection Hash"), base64.
    pub fn downgrade_hash(&self, hash: Hash) -> String {
        fn append(text: &mut String, names: &[String]) {
            let mut sorted: Vec<&str> = names.iter().map(String::as_str).collect();
            sorted.sort_unstable();
            text.push_str(&sorted.join("\u{1e}"));
        }
        let mut text = String::new();
        append(&mut text, &self.mechanisms);
        if let Some(bindings) = &self.channel_bindings {
            text.push('\u{1f}');
            append(&mut text, bindings);
        }
        STANDARD.encode(hash.digest(text.as_bytes()))
    }
}

macro_rules! conditions {
    ($($(#[$doc:meta])* $name:ident = $text:literal),* $(,)?) => {
        /// Why a SASL exchange failed: the child of `<failure/>` (RFC 6120 §6.5).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum SaslCondition { $($(#[$doc])* $name),* }

        impl SaslCondition {
            /// All of them, in the RFC's order.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The element's name.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text),* }
            }
        }
    };
}

conditions! {
    /// §6.5.1: the client sent `<abort/>`.
    Aborted = "aborted",
    /// §6.5.2: the credentials were right, the account is switched off.
    AccountDisabled = "account-disabled",
    /// §6.5.3: the credentials were right but are too old.
    CredentialsExpired = "credentials-expired",
    /// §6.5.4: this mechanism needs TLS first.
    EncryptionRequired = "encryption-required",
    /// §6.5.5: the data is no base64.
    IncorrectEncoding = "incorrect-encoding",
    /// §6.5.6: the authorization identity is malformed or may not be assumed.
    InvalidAuthzid = "invalid-authzid",
    /// §6.5.7: the mechanism was not offered.
    InvalidMechanism = "invalid-mechanism",
    /// §6.5.8: the message breaks the mechanism's grammar.
    MalformedRequest = "malformed-request",
    /// §6.5.9: the account may not use a mechanism as weak as this one.
    MechanismTooWeak = "mechanism-too-weak",
    /// §6.5.10: no such user or wrong credentials; never which of them.
    NotAuthorized = "not-authorized",
    /// §6.5.11: the server could not find out.
    TemporaryAuthFailure = "temporary-auth-failure",
}

impl SaslCondition {
    /// The condition of an element name; none for an unknown one, which a client treats like [`Self::NotAuthorized`].
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|condition| condition.as_str() == name)
    }
}

impl fmt::Display for SaslCondition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Runs the server's side on arbitrary bytes: the body of a fuzz target. Never panics.
#[doc(hidden)]
pub fn fuzz_server(data: &[u8]) {
    server::fuzz(data);
}

/// Runs the client's side on arbitrary bytes: the body of a fuzz target. Never panics.
#[doc(hidden)]
pub fn fuzz_client(data: &[u8]) {
    client::fuzz(data);
}
