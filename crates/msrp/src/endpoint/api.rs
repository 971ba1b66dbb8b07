//! What an endpoint's machine and its host say to each other.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::head::{FailureReport, Field};
use crate::ident::Ident;
use crate::limits::Limits;
use crate::media::AcceptTypes;
use crate::range::ByteRange;
use crate::status::Status;
use crate::transaction::TIMEOUT;
use crate::uri::{Path, Uri};

/// The host's name for a session; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u64);

/// How a request is matched with a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compare {
    /// Whole paths, by RFC 4975 §6.1. The rule.
    #[default]
    Path,
    /// Session ids only, for peers behind a middlebox that rewrites paths (S1-R3). Never by default.
    SessionId,
}

/// Who decides when a message with `Success-Report: yes` was delivered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reports {
    /// The machine, when the last byte has been handed to the host.
    #[default]
    Automatic,
    /// The host, by [`Command::Report`]: a gateway knows only later.
    Host,
}

/// A session as offer and answer have agreed on it.
#[derive(Clone, Debug)]
pub struct Session {
    /// The host's name for it.
    pub id: SessionId,
    /// Our URI, as we gave it to the peer.
    pub local: Uri,
    /// The way to the peer: our own relays (Use-Path), then the path of the peer's SDP. Requests of the peer come with exactly this as
    /// their From-Path (S1-03).
    pub path: Path,
    /// How requests are matched.
    pub compare: Compare,
    /// What we accept.
    pub accept: AcceptTypes,
    /// What the peer accepts.
    pub peer_accepts: AcceptTypes,
    /// The longest message we accept, in bytes.
    pub max_size: u64,
    /// The longest message the peer wants, in bytes.
    pub peer_max_size: Option<u64>,
    /// Who reports success.
    pub reports: Reports,
}

impl Session {
    /// Whether a request with these paths belongs to this session, and comes from the party that it was agreed with (S1-03).
    pub fn matches(&self, to: &Path, from: &Path) -> bool {
        match self.compare {
            Compare::Path => to.uris() == std::slice::from_ref(&self.local) && *from == self.path,
            Compare::SessionId => {
                let id = |path: &Path| path.last().and_then(Uri::session_id).map(str::to_owned);
                id(to).is_some_and(|to| self.local.session_id() == Some(&*to))
                    && id(from).is_some_and(|from| id(&self.path) == Some(from))
            }
        }
    }
}

impl Session {
    /// Whether a REPORT with these paths belongs to this session: it may come from a relay on the way, which knows the way only as far as
    /// itself (RFC 4976 §6.4.1).
    pub fn reports(&self, to: &Path, from: &Path) -> bool {
        self.matches(to, from)
            || (to.uris() == std::slice::from_ref(&self.local) && self.path.uris().starts_with(from.uris()))
    }
}

/// The settings of a connection.
#[derive(Clone, Debug)]
pub struct Config {
    /// Bounds of a frame.
    pub limits: Limits,
    /// How long a response may take: 30 seconds (RFC 4975 §7.1.1).
    pub response: Duration,
    /// How long a new connection may take until a session is bound to it.
    pub binding: Duration,
    /// How long an incomplete message may stay without another byte.
    pub incomplete: Duration,
    /// Incomplete messages of a session.
    pub messages: usize,
    /// Gaps in an incomplete message.
    pub gaps: usize,
    /// Sessions on one connection.
    pub sessions: usize,
    /// Requests of ours without a response; and messages of ours without their success report.
    pub transactions: usize,
    /// Requests for no session, or malformed ones, after which the connection is closed.
    pub strikes: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            limits: Limits::DEFAULT,
            response: TIMEOUT,
            binding: Duration::from_secs(30),
            incomplete: Duration::from_secs(300),
            messages: 64,
            gaps: 64,
            sessions: 256,
            transactions: 4_096,
            strikes: 16,
        }
    }
}

/// What the machine asks.
#[derive(Clone, Debug)]
pub enum Question {
    /// A request has come for a session that is not bound to this connection. [`super::Directory::bind`] has the answer.
    Bind {
        /// Its To-Path.
        to: Path,
        /// Its From-Path.
        from: Path,
        /// Whether the connection is inside TLS.
        secured: bool,
        /// The certificate of a TLS client, DER, to be held against the fingerprints of the SDP (RFC 8122).
        certificate: Option<Bytes>,
    },
}

/// What the machine's questions are answered with.
#[derive(Clone, Debug)]
pub enum Answer {
    /// The session, now bound to this connection; or why not.
    Bind(Result<Arc<Session>, BindError>),
}

/// Why a request gets no session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BindError {
    /// There is no such session, or it was not given to whoever sent this: 481.
    #[error("no such session")]
    Unknown,
    /// It is bound to another connection: 506.
    #[error("the session is bound to another connection")]
    Elsewhere,
    /// The certificate is none of those that the SDP promised: TLS is torn down at once (RFC 8122 §6.2, S1-R6).
    #[error("the certificate has none of the agreed fingerprints")]
    Fingerprint,
}

/// The body of a message that is to be sent.
#[derive(Clone, Debug)]
pub enum Body {
    /// A request without content: keeps a connection alive, binds a session.
    None,
    /// All of it.
    Whole(Bytes),
    /// It comes by [`Command::Data`]; its length, if it is known.
    Stream(Option<u64>),
}

/// A message that is to be sent.
#[derive(Clone, Debug)]
pub struct Message {
    /// The session.
    pub session: SessionId,
    /// A new identifier, from [`Ident::random`]; the old one when content of a failed session is sent again (RFC 4975 §5.4).
    pub id: Ident,
    /// The media type. Without meaning if there is no body.
    pub content_type: Box<str>,
    /// MIME fields and extensions.
    pub fields: Vec<Field>,
    /// The content.
    pub body: Body,
    /// Whether the peer shall report success.
    pub success_report: bool,
    /// When we want to hear of failure.
    pub failure_report: FailureReport,
}

/// What the host can tell the machine.
#[derive(Clone, Debug)]
pub enum Command {
    /// A session of which we are the active side: binds it to this connection, and sends a request without content at once, so that the
    /// peer knows whose connection this is (RFC 4975 §5.4, RFC 6135 §4.2.2).
    Open(Arc<Session>),
    /// Sends a message.
    Send(Message),
    /// More of a message with [`Body::Stream`].
    Data {
        /// The session.
        session: SessionId,
        /// The message.
        message: Ident,
        /// The bytes.
        bytes: Bytes,
        /// Whether they are the last.
        last: bool,
    },
    /// Gives up a message that is being sent (`#`).
    Abort {
        /// The session.
        session: SessionId,
        /// The message.
        message: Ident,
    },
    /// Refuses an incoming message: what comes of it is answered with this status, 413 or 403, and not handed out.
    Refuse {
        /// The session.
        session: SessionId,
        /// The message.
        message: Ident,
        /// Why.
        status: Status,
    },
    /// Reports on an incoming message, if its sender wants that: success for [`Reports::Host`], failure at any time.
    Report {
        /// The session.
        session: SessionId,
        /// The message.
        message: Ident,
        /// Its length in bytes.
        length: u64,
        /// What became of it.
        status: Status,
    },
    /// Ends a session: what is for it from now on is answered with 481.
    End(SessionId),
    /// Asks a relay for a URI (RFC 4976 §5.1). TLS only.
    Auth(super::Login),
    /// Ends all sessions and closes the connection.
    Close,
}

/// Why an incoming message will not be complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Incomplete {
    /// The sender gave it up (`#`).
    Sender,
    /// Nothing more of it came for too long.
    Silence,
    /// It was refused with this status.
    Refused(Status),
    /// Its session has ended.
    Session,
}

/// Why a message of ours failed, or may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// A response or a report said so. 408 stands for a local time-out as well (RFC 4975 §10.4).
    Status(Status),
    /// The session ended before everything was answered, or before the success report that was asked for (RFC 4975 §7.1.1).
    Session,
    /// It was not sent: the peer does not accept the type (RFC 4975 §8.6), or has refused it before (415).
    Type,
    /// It was not sent: it is longer than the peer's `max-size`.
    Size,
    /// It was not sent: there is no such session, it has failed, or the identifier is in use.
    Refused,
}

/// Why a session is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionEnd {
    /// The host ended it.
    Host,
    /// The peer knows no such session (481).
    Gone,
    /// The peer has it on another connection (506).
    Elsewhere,
    /// A report said that bytes were not received: to be set up anew before anything is sent again (RFC 4975 §7.3.2).
    Failed(Status),
    /// The connection is over.
    Connection,
}

/// Facts for the host.
#[derive(Clone, Debug)]
pub enum Event {
    /// A session is bound to this connection.
    Bound(SessionId),
    /// A request without content has come.
    Alive(SessionId),
    /// The first chunk of a message begins.
    Incoming {
        /// The session.
        session: SessionId,
        /// The message.
        message: Ident,
        /// Its media type.
        content_type: Box<str>,
        /// MIME fields and extensions.
        fields: Vec<Field>,
        /// Its length, if the sender said it. A claim, no promise.
        total: Option<u64>,
        /// Whether the sender wants a success report.
        success_report: bool,
    },
    /// Bytes of a message. Where they overlap with earlier ones, they replace them (RFC 4975 §7.3.1).
    Data {
        /// The session.
        session: SessionId,
        /// The message.
        message: Ident,
        /// So many bytes of the message come before.
        offset: u64,
        /// The bytes.
        bytes: Bytes,
    },
    /// All of a message is there.
    Complete {
        /// The session.
        session: SessionId,
        /// The message.
        message: Ident,
        /// Its length in bytes.
        length: u64,
    },
    /// A message came again that was complete before: it was acknowledged and not handed out (RFC 4975 §5.4).
    Duplicate {
        /// The session.
        session: SessionId,
        /// The message.
        message: Ident,
    },
    /// A message will not be complete.
    Incomplete {
        /// The session.
        session: SessionId,
        /// The message.
        message: Ident,
        /// Why.
        why: Incomplete,
    },
    /// A message of ours is sent, and the next hop has taken all of it as far as it says so.
    Sent {
        /// The session.
        session: SessionId,
        /// The message.
        message: Ident,
    },
    /// The peer reports success for a part of a message of ours.
    Progress {
        /// The session.
        session: SessionId,
        /// The message.
        message: Ident,
        /// Which part.
        range: ByteRange,
    },
    /// The peer has reported success for all of a message of ours.
    Delivered {
        /// The session.
        session: SessionId,
        /// The message.
        message: Ident,
    },
    /// A message of ours failed, or may have. Told once a message.
    Failed {
        /// The session.
        session: SessionId,
        /// The message.
        message: Ident,
        /// Why.
        why: Failure,
    },
    /// A session is over; nothing more is told of it.
    Ended {
        /// The session.
        session: SessionId,
        /// Why.
        why: SessionEnd,
    },
    /// A relay has answered [`Command::Auth`].
    Auth(Result<super::Granted, super::LoginError>),
    /// The connection is over.
    Closed(Closed),
}

/// Why a connection is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    /// The host closed it.
    Host,
    /// The peer closed it, between two frames.
    Peer,
    /// It ended inside a frame.
    Cut,
    /// What came is no MSRP.
    Syntax,
    /// No session was bound to it in time.
    Unbound,
    /// Too many requests for nothing, or malformed ones.
    Strikes,
    /// The certificate has none of the agreed fingerprints.
    Fingerprint,
}
