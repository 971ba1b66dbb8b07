//! What goes wrong on a stream, by whose fault it is, and the one mapping to the wire.

use nuncio_xmpp::error::{StreamCondition, StreamError};
use nuncio_xmpp::xml::XmlError;

use crate::sm::TooHigh;

/// Why a stream cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The peer broke the protocol.
    #[error("peer misbehaved: {0}")]
    Misbehaved(#[from] Misbehaved),
    /// The peer speaks something that we do not.
    #[error("peer is incompatible: {0}")]
    Incompatible(#[from] Incompatible),
    /// We could, but will not.
    #[error("refused: {0}")]
    Refused(#[from] Refused),
    /// The peer did nothing wrong.
    #[error("our own fault: {0}")]
    Ours(#[from] Ours),
}

/// Protocol violations.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Misbehaved {
    /// The bytes are no restricted XML, or exceed a limit.
    #[error("{0}")]
    Xml(#[from] XmlError),
    /// The stream header is not in the streams namespace, or has the wrong default namespace (RFC 6120 §4.8).
    #[error("stream header with a wrong namespace")]
    Namespace,
    /// The stream header lacks the prefix where it is due (RFC 6120 §4.8.5).
    #[error("stream header without the stream prefix")]
    Prefix,
    /// The root element is no stream.
    #[error("root element is not a stream")]
    NotAStream,
    /// An address of the stream header is none.
    #[error("malformed address in the stream header")]
    HeaderAddress,
    /// The `to` of a header after SASL is another domain than the account's.
    #[error("stream header to another domain than the authenticated account's")]
    HeaderTo,
    /// The `from` of a header after SASL is not the account (RFC 6120 §4.7.1).
    #[error("stream header from another than the authenticated account")]
    HeaderFrom,
    /// Anything but negotiation before authentication (S0-05, RFC 6120 §4.9.3.12).
    #[error("data before authentication")]
    Unauthenticated,
    /// A stanza to others before a resource is bound (S0-05, RFC 6120 §4.3.5).
    #[error("stanza to others before a resource is bound")]
    Unbound,
    /// A first-level element that is neither a stanza nor negotiated (RFC 6120 §4.9.3.24).
    #[error("first-level element that is not understood")]
    Element,
    /// A stanza whose `from` is not the client's own (RFC 6120 §8.1.2.1).
    #[error("stanza with another's address in from")]
    From,
    /// More failed SASL exchanges than allowed (RFC 6120 §6.4.5).
    #[error("too many failed logins")]
    Guesses,
    /// `h` is missing or no number.
    #[error("malformed stream management counter")]
    Counter,
    /// More acknowledged than sent (XEP-0198 §6).
    #[error("acknowledged {} stanzas of {}", .0.h, .0.sent)]
    TooHigh(TooMany),
    /// Stream management was asked for twice (XEP-0198 §3).
    #[error("stream management enabled twice")]
    EnabledTwice,
    /// An element of a content namespace with a prefix (RFC 6120 §4.8.5).
    #[error("prefix on an element of the content namespace")]
    ElementPrefix,
    /// More attempts to bind a resource than allowed (RFC 6120 §7.7.3).
    #[error("too many attempts to bind a resource")]
    Binding,
    /// The server breaks SASL, or is not who it should be.
    #[error("login: {0}")]
    Sasl(crate::sasl::client::ClientError),
    /// Between servers: a stanza or dialback element without a usable `to` or `from` (RFC 6120 §4.9.3.7).
    #[error("no usable address in to or from")]
    Addressing,
    /// A dialback element that cannot be understood (XEP-0220 §2).
    #[error("malformed dialback element")]
    Dialback,
    /// SASL data that are no base64.
    #[error("SASL data are not base64")]
    Encoding,
    /// Bytes came where the peer had to wait.
    #[error("data where none is allowed")]
    OutOfTurn,
}

/// The two counts of [`Misbehaved::TooHigh`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooMany {
    /// What the peer acknowledged.
    pub h: u32,
    /// What it was sent.
    pub sent: u32,
}

/// Differences that no side is to blame for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Incompatible {
    /// A version before 1.0, or none (RFC 6120 §4.7.5).
    #[error("stream version is not 1.0 or later")]
    Version,
    /// The server bound no full address.
    #[error("no full address was bound")]
    Bind,
}

/// Policy.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// What the host answered for the domain.
    #[error("domain is refused: {}", .0.condition.as_str())]
    Domain(StreamError),
    /// The domain has no certificate, so STARTTLS cannot go on.
    #[error("no certificate for the domain")]
    NoCertificate,
    /// Negotiation took too long.
    #[error("negotiation took too long")]
    Slow,
    /// No sign of life.
    #[error("no answer to a probe")]
    Silent,
}

/// Faults of this server.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Ours {
    /// The host's answer does not fit the question.
    #[error("answer to another question")]
    Answer,
    /// The driver's input does not fit the state.
    #[error("input out of order")]
    Input,
}

impl From<XmlError> for Error {
    fn from(error: XmlError) -> Self {
        Self::Misbehaved(Misbehaved::Xml(error))
    }
}

impl From<TooHigh> for Error {
    fn from(TooHigh { h, sent }: TooHigh) -> Self {
        Self::Misbehaved(Misbehaved::TooHigh(TooMany { h, sent }))
    }
}

impl Error {
    /// The stream condition that the peer is told (RFC 6120 §4.9.3). The only place where that is decided.
    pub fn condition(&self) -> StreamCondition {
        match self {
            Self::Misbehaved(fault) => match fault {
                Misbehaved::Xml(error) => error.condition(),
                Misbehaved::Namespace => StreamCondition::InvalidNamespace,
                Misbehaved::Prefix | Misbehaved::ElementPrefix => StreamCondition::BadNamespacePrefix,
                Misbehaved::NotAStream
                | Misbehaved::Counter
                | Misbehaved::Encoding
                | Misbehaved::Dialback => StreamCondition::BadFormat,
                Misbehaved::HeaderAddress | Misbehaved::Addressing => StreamCondition::ImproperAddressing,
                Misbehaved::HeaderTo => StreamCondition::HostUnknown,
                Misbehaved::HeaderFrom | Misbehaved::From => StreamCondition::InvalidFrom,
                Misbehaved::Unauthenticated | Misbehaved::Unbound => StreamCondition::NotAuthorized,
                Misbehaved::Element => StreamCondition::UnsupportedStanzaType,
                Misbehaved::Guesses
                | Misbehaved::Sasl(_)
                | Misbehaved::Binding
                | Misbehaved::OutOfTurn
                | Misbehaved::EnabledTwice => StreamCondition::PolicyViolation,
                Misbehaved::TooHigh(_) => StreamCondition::UndefinedCondition,
            },
            Self::Incompatible(Incompatible::Version) => StreamCondition::UnsupportedVersion,
            Self::Incompatible(Incompatible::Bind) => StreamCondition::UndefinedCondition,
            Self::Refused(Refused::Domain(error)) => error.condition,
            Self::Refused(Refused::NoCertificate) => StreamCondition::InternalServerError,
            Self::Refused(Refused::Slow | Refused::Silent) => StreamCondition::ConnectionTimeout,
            Self::Ours(_) => StreamCondition::InternalServerError,
        }
    }

    /// The whole stream error for the peer. What the log says is never part of it.
    pub fn stream_error(&self) -> StreamError {
        match self {
            Self::Refused(Refused::Domain(error)) => error.clone(),
            Self::Misbehaved(Misbehaved::TooHigh(TooMany { h, sent })) => {
                TooHigh { h: *h, sent: *sent }.error()
            }
            _ => StreamError::new(self.condition()),
        }
    }
}
