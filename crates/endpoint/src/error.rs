//! What can go wrong, and whose fault it is.

use std::io;

use nuncio_msrp::endpoint::{Closed, Failure, LoginError};
use nuncio_msrp::sdp::{Rejected, SdpError};
use nuncio_msrp::uri::{PathError, UriError};
use nuncio_msrp::{Ident, Status};
use nuncio_net::tls::{ConnectError as TlsConnectError, OwnError};

/// Why there is no endpoint.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// There is no certificate.
    #[error(transparent)]
    Certificate(#[from] OwnError),
    /// TLS cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsConnectError),
    /// An address cannot be listened on.
    #[error(transparent)]
    Listen(#[from] nuncio_net::listen::BindError),
    /// The host is neither a name nor an address.
    #[error(transparent)]
    Host(#[from] UriError),
}

/// Why there is no connection, or no session on it.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The name leads nowhere.
    #[error("{place}: no address: {why}")]
    Resolve {
        /// Host and port.
        place: String,
        /// What the resolver said.
        why: String,
    },
    /// No address takes a connection.
    #[error("{place}: no connection: {source}")]
    Tcp {
        /// Host and port.
        place: String,
        /// What the system said of the last address.
        source: io::Error,
    },
    /// Authorities that cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsConnectError),
    /// The transport of the URI is none that is spoken here.
    #[error("the transport {0:?} is not spoken here")]
    Transport(String),
    /// The session was over before it began.
    #[error("{}", ended(place, end))]
    Ended {
        /// Host and port, or that of the relay.
        place: String,
        /// Why.
        end: End,
    },
    /// Our own URI is that of another session, or has no session id.
    #[error("our URI is in use, or has no session id")]
    Uri,
}

fn ended(place: &str, end: &End) -> String {
    match end {
        // It names the place itself.
        End::RelayGone { .. } => end.to_string(),
        end => format!("{place}: {end}"),
    }
}

/// Why fingerprints that were named say nothing of the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unjudged {
    /// There is no TLS, hence no certificate.
    #[error("without TLS there is no certificate that a fingerprint could be of")]
    Clear,
    /// The certificate that is seen is a relay's, which is judged by its name (RFC 6135 §4.3).
    #[error("with a relay between, its certificate is seen and not the peer's: a fingerprint says nothing")]
    Relay,
}

/// Why a session could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The text is no SDP, or has no MSRP in it.
    #[error("the SDP cannot be used: {0}")]
    Sdp(#[from] SdpError),
    /// Offer and answer do not fit.
    #[error("there is no agreement: {0}")]
    Rejected(#[from] Rejected),
    /// The path is malformed.
    #[error(transparent)]
    Path(#[from] PathError),
    /// No connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// Fingerprints were named that cannot be judged.
    #[error(transparent)]
    Unjudged(#[from] Unjudged),
    /// Nobody could come: there is neither a listener nor a relay.
    #[error("nobody could connect: there is neither a listener nor a relay")]
    Unreachable,
}

/// Why a relay gave no URI.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    /// No connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// No relay was named.
    #[error("there is no relay")]
    None,
    /// The relay said no.
    #[error("{relay}: {why}")]
    Login {
        /// The relay.
        relay: String,
        /// Why.
        why: LoginError,
    },
    /// A login that was repeated gave another URI than the one that the peer knows, which is not renewed therefore.
    #[error("{relay}: the login was repeated, and gave another URI than the session has")]
    Moved {
        /// The first relay.
        relay: String,
    },
    /// The connection was lost meanwhile.
    #[error("{relay}: {lost}")]
    Lost {
        /// The relay.
        relay: String,
        /// Why.
        lost: Lost,
    },
}

/// Why a connection is over.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Lost {
    /// We closed it.
    #[error("the connection was closed here")]
    Local,
    /// The peer closed it, between two frames.
    #[error("the peer closed the connection")]
    Peer,
    /// It ended inside a frame, or broke.
    #[error("the connection broke")]
    Cut,
    /// What came is no MSRP.
    #[error("the peer does not speak MSRP")]
    Syntax,
    /// No session was bound to it in time.
    #[error("no session was bound to the connection in time")]
    Unbound,
    /// Too many requests for nothing.
    #[error("the peer sent too many requests for nothing")]
    Strikes,
    /// The certificate is none of those that the SDP promised.
    #[error("the peer's certificate has none of the agreed fingerprints")]
    Fingerprint,
    /// There was no TLS.
    #[error("TLS failed: {0}")]
    Handshake(String),
    /// Nothing comes any more, not even answers.
    #[error("the peer does not answer any more")]
    Silent,
}

impl Lost {
    /// What it means where the peer is a relay of ours.
    fn of_relay(&self) -> String {
        match self {
            Self::Peer | Self::Cut => {
                "the relay closed the connection: it has stopped, or has ended this login".to_owned()
            }
            Self::Silent => "the relay does not answer any more".to_owned(),
            other => other.to_string(),
        }
    }
}

impl From<Closed> for Lost {
    fn from(closed: Closed) -> Self {
        match closed {
            Closed::Host => Self::Local,
            Closed::Peer => Self::Peer,
            Closed::Cut => Self::Cut,
            Closed::Syntax => Self::Syntax,
            Closed::Unbound => Self::Unbound,
            Closed::Strikes => Self::Strikes,
            Closed::Fingerprint => Self::Fingerprint,
        }
    }
}

/// Why a session is over.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum End {
    /// We ended it.
    #[error("the session was ended here")]
    Local,
    /// The peer, or a relay on the way, knows no such session (481).
    #[error("the peer knows no such session (481)")]
    Gone,
    /// The peer has it on another connection (506).
    #[error("the session is bound to another connection (506)")]
    Elsewhere,
    /// A report, or silence, says that bytes were lost.
    #[error("the session failed with {0}")]
    Failed(Status),
    /// The URI that our relay gave for it is void or has expired, and why it was not renewed.
    #[error("our URI at the relay is not good any more: {0}")]
    Relay(String),
    /// The connection to our own relay is over, and with it the URI that it gave: nothing is known of the peer.
    #[error("{relay}: {}", .lost.of_relay())]
    RelayGone {
        /// Host and port of the relay.
        relay: String,
        /// Why.
        lost: Lost,
    },
    /// The connection is over.
    #[error(transparent)]
    Connection(Lost),
}

/// Why a message was not delivered, as far as is known.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// A response or a report said so; 408 stands for silence as well (RFC 4975 §10.4).
    #[error("refused with {0}")]
    Status(Status),
    /// The peer does not accept the type.
    #[error("the peer does not accept this media type")]
    Type,
    /// It is longer than the peer's `max-size`.
    #[error("the message is longer than the peer accepts")]
    Size,
    /// The identifier is in use, or too much is under way.
    #[error("too many messages are under way, or the identifier is in use")]
    Busy,
    /// The session ended before all was answered, or before the report that was asked for.
    #[error(transparent)]
    Ended(#[from] End),
    /// What was to be sent cannot be read; the message was given up with `#`.
    #[error("cannot read what is to be sent: {0}")]
    Source(#[from] io::Error),
}

impl SendError {
    pub(crate) const fn of(failure: Failure) -> Option<Self> {
        match failure {
            Failure::Status(status) => Some(Self::Status(status)),
            Failure::Type => Some(Self::Type),
            Failure::Size => Some(Self::Size),
            Failure::Refused => Some(Self::Busy),
            // The end of the session says why.
            Failure::Session => None,
        }
    }
}

/// Why a message that had begun will not be complete.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("message {id} broke off after {came} bytes: {why}")]
pub struct Broken {
    /// The message.
    pub id: Ident,
    /// Its media type.
    pub content_type: Box<str>,
    /// So many bytes had come.
    pub came: u64,
    /// Why.
    pub why: Why,
}

/// What broke a message off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    /// The sender gave it up (`#`).
    #[error("the sender gave it up")]
    Sender,
    /// Nothing more came.
    #[error("nothing more came")]
    Silence,
    /// It was refused here.
    #[error("it was refused with {0}")]
    Refused(Status),
    /// The session ended.
    #[error("the session ended")]
    Session,
    /// It could not be stored here.
    #[error("it cannot be stored: {0}")]
    Store(io::ErrorKind),
}
