//! What the initiating role is given, hears and is told.

use std::time::Duration;

use bytes::Bytes;
use nuncio_sansio::TlsFacts;
use nuncio_xmpp::error::{Condition, StanzaError, StreamCondition, StreamError};
use nuncio_xmpp::jid::{BareJid, Jid};
use nuncio_xmpp::stanza::{Stanza, StanzaFault};
use nuncio_xmpp::xml::{Element, Limits};

use crate::c2s::{Idle, Start};
use crate::error::Error;
use crate::redirect::{Decision, Host};
use crate::sasl::SaslCondition;
use crate::sasl::client::{Credentials, Policy, Proven};
use crate::sm::Pace;

/// Where the connection goes; needed to understand a redirect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The host that was connected to.
    pub host: Host,
    /// Its port.
    pub port: u16,
    /// Redirects followed in a row to get here.
    pub redirects: u8,
}

/// Settings of one connection of a client.
///
/// TLS is always required; there is no setting for that. The driver must have verified the server's certificate for the domain of
/// `account`, whatever the place is called (S0-31), before it says that TLS is up.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// The account. Its domain is the `to` of every header, also after a redirect (S0-31).
    pub account: BareJid,
    /// How to log in.
    pub credentials: Credentials,
    /// Which mechanisms are acceptable.
    pub policy: Policy,
    /// Whether TLS comes before the first byte (XEP-0368).
    pub start: Start,
    /// The resource to wish for; the server chooses one without.
    pub resource: Option<String>,
    /// A session to resume (XEP-0198 §5).
    pub resume: Option<Resumption>,
    /// Whether to enable stream management.
    pub stream_management: bool,
    /// Where the connection goes.
    pub place: Place,
    /// What the server may send.
    pub limits: Limits,
    /// Time from the start to a bound resource.
    pub negotiation: Duration,
    /// How long the server may take to close its direction after we closed ours.
    pub closing: Duration,
    /// When we ask for acknowledgements.
    pub pace: Pace,
    /// What is done when the server is silent.
    pub idle: Option<Idle>,
    /// The `xml:lang` of our stream.
    pub lang: Option<String>,
}

impl ClientConfig {
    /// The usual settings.
    pub fn new(account: BareJid, credentials: Credentials, start: Start, place: Place) -> Self {
        Self {
            account,
            credentials,
            policy: Policy::default(),
            start,
            resource: None,
            resume: None,
            stream_management: true,
            place,
            limits: Limits { stanza_bytes: 4 << 20, ..Limits::default() },
            negotiation: Duration::from_secs(30),
            closing: Duration::from_secs(5),
            pace: Pace::default(),
            idle: Some(Idle::default()),
            lang: None,
        }
    }
}

/// A session that may go on over another connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resumption {
    /// The id that the server gave.
    pub id: String,
    /// The bound address.
    pub jid: Jid,
    /// How many stanzas of the server were handled, modulo 2^32.
    pub inbound: u32,
    /// How many stanzas the server has acknowledged, modulo 2^32.
    pub acked: u32,
    /// Those sent after that, oldest first, rendered for `jabber:client`.
    pub unacked: Vec<Bytes>,
    /// Where the server wants to be reconnected first.
    pub location: Option<String>,
}

/// A client asks nothing: all that it needs is in its [`ClientConfig`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Never {}

/// A fact for the host.
#[derive(Debug)]
pub enum Event {
    /// TLS is up.
    Secured(TlsFacts),
    /// The login succeeded, and the server has proven itself as far as the mechanism allows.
    Authenticated(Proven),
    /// A resource was bound.
    Bound(Jid),
    /// The server offers no stream management, or refused it, or the old session is gone. Only where it was asked for.
    Unmanaged(Option<Condition>),
    /// Stream management is on; whether the session can be resumed.
    Enabled {
        /// Whether it can.
        resumable: bool,
    },
    /// The old session goes on. What the server had not handled was sent again.
    Resumed(Jid),
    /// A stanza. It counts as handled as soon as the host has heard this.
    Stanza(Stanza),
    /// A stanza of the server that breaks the rules; it is dropped, but counted.
    Invalid(Element, StanzaFault),
    /// An element that is no stanza.
    Nonza(Element),
    /// The server has handled that many more stanzas.
    Acked {
        /// How many more.
        fresh: u32,
    },
    /// The stream has ended. The last event.
    Ended(End),
}

/// How a stream ended.
#[derive(Debug)]
pub struct End {
    /// Why.
    pub reason: Reason,
    /// The server ended the stream by its own word, with the closing tag or with an error: nothing that it sent was cut off.
    pub clean: bool,
    /// The stream error that we sent, if we sent one.
    pub error: Option<StreamCondition>,
    /// How to go on with the session, if that is possible.
    pub resumption: Option<Resumption>,
    /// Stanzas that were never sent, oldest first. Without a resumption those are in here too that were sent and not acknowledged.
    pub unsent: Vec<Bytes>,
}

/// Why a stream ended.
#[derive(Debug)]
pub enum Reason {
    /// [`Command::Close`].
    Host,
    /// The server closed it.
    Peer,
    /// The server closed it with an error.
    PeerError(StreamError),
    /// The server wants the client elsewhere (RFC 6120 §4.9.3.19); what to do about it.
    Redirected(Decision),
    /// The server refused the login.
    Login(SaslCondition),
    /// The server refused to bind a resource.
    Bind(StanzaError),
    /// The server has no TLS. It is required here (RFC 7590 §3.1).
    NoTls,
    /// Something was wrong; the error says whose fault.
    Failed(Error),
    /// TCP ended, or broke, without the stream's closing tag.
    Lost,
    /// TLS ended without `close_notify` (S0-23).
    Truncated,
    /// The server did not answer a probe.
    Silent,
    /// Negotiation took too long.
    Slow,
}

impl Reason {
    /// Whether it makes sense to connect again with the same settings, after a wait (see [`crate::backoff`]).
    pub fn may_retry(&self) -> bool {
        match self {
            Self::Peer | Self::Lost | Self::Truncated | Self::Silent | Self::Slow => true,
            Self::Login(condition) => *condition == SaslCondition::TemporaryAuthFailure,
            Self::PeerError(error) => !matches!(
                error.condition,
                StreamCondition::Conflict
                    | StreamCondition::HostUnknown
                    | StreamCondition::HostGone
                    | StreamCondition::NotAuthorized
                    | StreamCondition::UnsupportedVersion
            ),
            Self::Host | Self::Redirected(_) | Self::Bind(_) | Self::NoTls | Self::Failed(_) => false,
        }
    }
}

/// What the host tells the stream.
#[derive(Debug)]
pub enum Command {
    /// Send a stanza, rendered for a stream with the default namespace `jabber:client`. Until a resource is bound it waits (S0-07).
    Stanza(Bytes),
    /// Send an element that is no stanza. Dropped before a resource is bound.
    Nonza(Bytes),
    /// Close the stream: with this error, or in peace. What the server still sends is still processed.
    Close(Option<StreamError>),
}
