//! What the receiving role asks, hears, tells and is told.

use std::time::Duration;

use bytes::Bytes;
use nuncio_sansio::TlsFacts;
use nuncio_xmpp::error::{Condition, StanzaError, StreamCondition, StreamError};
use nuncio_xmpp::jid::{BareJid, Jid};
use nuncio_xmpp::ns;
use nuncio_xmpp::stanza::Stanza;
use nuncio_xmpp::xml::{Builder, Element, Limits, Which, XmlError};

use crate::error::{Error, Misbehaved, Refused};
use crate::sasl::server::{self, Policy};
use crate::sasl::{Authenticated, SaslCondition};
use crate::sm::Pace;

/// How the connection begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// In clear: STARTTLS comes first, and nothing else is offered (RFC 6120 §5).
    Tcp,
    /// Inside TLS (XEP-0368): the first input is [`nuncio_sansio::Input::Tls`], and STARTTLS is never offered.
    DirectTls,
}

/// Settings that all client streams of a listener share.
#[derive(Clone, Debug)]
pub struct C2sConfig {
    /// What the peer may send before it is authenticated.
    pub before: Limits,
    /// What it may send after.
    pub after: Limits,
    /// Time from the first byte to a bound resource; a slow sender loses the connection.
    pub negotiation: Duration,
    /// How long the peer may take to close its direction after we closed ours (RFC 6120 §4.4).
    pub closing: Duration,
    /// Failed SASL exchanges on one connection before it is closed (RFC 6120 §6.4.5: 2 to 5). Values outside are moved inside.
    pub tries: u8,
    /// Whether stream management is offered (XEP-0198).
    pub stream_management: bool,
    /// When we ask for acknowledgements and how fast we answer.
    pub pace: Pace,
    /// What is done when nothing is heard of a bound client; none to wait for ever.
    pub idle: Option<Idle>,
    /// Attempts to bind a resource before the stream is closed (RFC 6120 §7.7.3: 5 to 10).
    pub bindings: u8,
    /// First-level elements (name, namespace) of a bound stream that are no stanzas and go to the host as [`Event::Nonza`].
    pub nonzas: Vec<(String, String)>,
    /// The `xml:lang` of our stream header, for the text of errors.
    pub lang: String,
}

impl Default for C2sConfig {
    fn default() -> Self {
        Self {
            before: Limits::before_authentication(),
            after: Limits::default(),
            negotiation: Duration::from_secs(30),
            closing: Duration::from_secs(5),
            tries: 3,
            stream_management: true,
            pace: Pace::default(),
            idle: Some(Idle::default()),
            bindings: 5,
            nonzas: ["active", "inactive"].map(|name| (name.to_owned(), ns::CSI.to_owned())).to_vec(),
            lang: "en".to_owned(),
        }
    }
}

/// Finding out whether a silent client is still there (RFC 6120 §4.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Idle {
    /// Probe after this much silence: with `<r/>` where stream management is enabled, else with a space.
    pub after: Duration,
    /// A client that must answer (with stream management, or when the host asks it: [`Event::Quiet`]) and is silent for this long after the
    /// probe is given up: `connection-timeout`, and its session counts as lost, not as ended.
    pub answer_within: Duration,
}

impl Default for Idle {
    fn default() -> Self {
        Self { after: Duration::from_secs(240), answer_within: Duration::from_secs(30) }
    }
}

/// A question to the host. While one is open the stream does not go on.
#[derive(Debug)]
pub enum Question {
    /// Is this domain ours, and what may clients do there? A redirect (`see-other-host`) can be given only where `tls` is known;
    /// before, the stream says `internal-server-error` instead, since nobody should follow one (S0-32). Asked for each stream header until the client is authenticated. Answered with
    /// [`Answer::Domain`].
    Domain {
        /// The `to` of the stream header, prepared (RFC 7622); none if it has none: the default domain, or
        /// `host-unknown`.
        to: Option<String>,
        /// What TLS found out, once it has: the server name of the handshake is in it.
        tls: Option<Box<TlsFacts>>,
    },
    /// Further stream features than those that the stream itself knows (starttls, mechanisms, channel-binding types, bind, session, sm). Asked
    /// for each features element inside TLS. Answered with [`Answer::Offer`].
    Offer(Box<Moment>),
    /// Something that a SASL exchange needs. Answered with [`Answer::Sasl`].
    Sasl {
        /// The stream's domain.
        domain: String,
        /// The addresses of the client's certificate that are accounts of the domain, without doubles; only for EXTERNAL.
        addresses: Vec<BareJid>,
        /// What it needs.
        lookup: server::Lookup,
    },
    /// An IQ get or set to the server (or to the own account) before a resource is bound, for handlers that work there (XEP-0077).
    /// Answered with [`Answer::Unbound`]. Other stanzas are never asked about: S0-05.
    Unbound {
        /// The stream's domain.
        domain: String,
        /// Who asks, once that is known.
        who: Option<Authenticated>,
        /// The IQ; its `from` is the account if it is known, else none.
        stanza: Box<Stanza>,
    },
    /// Bind a resource (RFC 6120 §7). The host decides about conflicts. Answered with [`Answer::Bind`].
    Bind {
        /// Who.
        who: Authenticated,
        /// The resource that the client wishes, prepared.
        resource: Option<String>,
    },
    /// Enable stream management for the bound session. Answered with [`Answer::Enable`].
    Enable {
        /// The bound address.
        jid: Jid,
        /// Whether the client wants to resume later.
        resume: bool,
        /// For how many seconds at most.
        max: Option<u32>,
    },
    /// Resume a session (XEP-0198 §5). Answered with [`Answer::Resume`].
    Resume {
        /// Who. The host must refuse sessions of other accounts as if they did not exist.
        who: Authenticated,
        /// The id that [`Enabled`] gave.
        previd: String,
        /// How many stanzas the client has handled.
        h: u32,
    },
}

/// The point of negotiation at which features are offered.
#[derive(Clone, Debug)]
pub struct Moment {
    /// The stream's domain.
    pub domain: String,
    /// Who it is, after SASL.
    pub authenticated: Option<Authenticated>,
    /// What TLS found out.
    pub tls: TlsFacts,
}

/// An answer. One that does not fit its question is our own fault and ends the stream with `internal-server-error`.
#[derive(Debug)]
pub enum Answer {
    /// To [`Question::Domain`]; a stream error if it is not served (`host-unknown`, `host-gone`, `see-other-host`, ...).
    Domain(Result<Domain, StreamError>),
    /// To [`Question::Offer`].
    Offer(Vec<Builder>),
    /// To [`Question::Sasl`].
    Sasl(server::Answer),
    /// To [`Question::Unbound`]: what to send back; none if no handler takes it.
    Unbound(Option<Stanza>),
    /// To [`Question::Bind`]: the full address, or a stanza error (`conflict`, `resource-constraint`, `bad-request`).
    Bind(Result<Jid, StanzaError>),
    /// To [`Question::Enable`].
    Enable(Result<Enabled, Condition>),
    /// To [`Question::Resume`].
    Resume(Result<Resumed, ResumeFailed>),
}

/// A domain that is served.
#[derive(Clone, Debug)]
pub struct Domain {
    /// Its name, prepared.
    pub name: String,
    /// Which mechanisms may be used. EXTERNAL is offered only if this allows it and the client's certificate is trusted and
    /// names an account of this domain.
    pub policy: Policy,
    /// Whether there is a certificate for it. Without one STARTTLS fails with `<failure/>`.
    pub tls: bool,
}

/// Stream management is on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Enabled {
    /// The id for resumption; none if the session cannot be resumed. Unpredictable: see [`nuncio_sansio::Entropy::token`].
    pub id: Option<String>,
    /// For how many seconds at most.
    pub max: Option<u32>,
    /// Where to reconnect first, as [`crate::redirect::SeeOtherHost`] writes it.
    pub location: Option<String>,
}

/// A session that goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resumed {
    /// The bound address.
    pub jid: Jid,
    /// Our `h`: stanzas of the client that were handled, modulo 2^32.
    pub inbound: u32,
    /// How many stanzas were sent to the client in the session so far, modulo 2^32. If the `h` of the question is not between
    /// the count of the last acknowledgement and this one, the host should fail the resumption.
    ///
    /// The stream then counts from the client's `h`: the host re-sends everything after it as [`Command::Stanza`].
    pub outbound: u32,
}

/// There is no such session, or not for this account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResumeFailed {
    /// `item-not-found` where nothing is known of it, `feature-not-implemented` where nothing is ever resumed.
    pub condition: Condition,
    /// Our `h` of a session that timed out, if still known.
    pub h: Option<u32>,
}

/// A fact for the host.
#[derive(Debug)]
pub enum Event {
    /// A stream header was accepted for this domain.
    Opened {
        /// The domain.
        domain: String,
        /// The id of our header.
        id: String,
    },
    /// TLS is up.
    Secured(Box<TlsFacts>),
    /// A SASL exchange failed. The failure is sent after the host has heard this: it may take its time.
    LoginFailed {
        /// The domain.
        domain: String,
        /// The mechanism, if it is one of ours.
        mechanism: Option<&'static str>,
        /// The prepared localpart that was claimed, as far as the exchange came.
        username: Option<String>,
        /// What the client is told.
        condition: SaslCondition,
        /// What the log is told.
        why: &'static str,
        /// Whether a password or proof did not fit: what lock-outs count.
        guess: bool,
    },
    /// A SASL exchange succeeded.
    Authenticated(Authenticated),
    /// A resource was bound; from here on [`Command::Stanza`] is sent at once. Earlier ones were dropped.
    Bound(Jid),
    /// Stream management was enabled for the bound session. Every [`Command::Stanza`] that the stream took since
    /// [`Answer::Enable`] counts.
    Enabled(Enabled),
    /// A session was resumed.
    Resumed {
        /// The bound address.
        jid: Jid,
        /// The client's `h`: everything after it is to be sent again, with [`Command::Stanza`], before anything new.
        h: u32,
    },
    /// A stanza of the bound client, `from` stamped with its full address.
    Stanza {
        /// Its number on this stream, counted from 1 for every stanza, whether or not stream management is enabled.
        number: u64,
        /// The stanza; boxed, since what a stream tells is moved from hand to hand.
        stanza: Box<Stanza>,
    },
    /// A stanza that needs nobody but the stream: a malformed one, or a request about the stream itself. The host sends `reply` as a
    /// [`Command::Stanza`] like any other, so that its queue of unacknowledged stanzas stays complete: the stream sends no counted stanza
    /// of its own. The number counts as handled once everything before it is.
    Answered {
        /// Its number.
        number: u64,
        /// The answer, if one is due.
        reply: Option<Box<Stanza>>,
    },
    /// A known element that is no stanza and is for the session's extensions (XEP-0352 `<active/>` and `<inactive/>`). Never routed; not counted.
    Nonza(Element),
    /// A client without stream management is silent: it was sent a space, which nobody must answer. The host may ask it what every client
    /// answers (XEP-0199), and says [`Command::Unanswered`] if it does not.
    Quiet {
        /// How long the answer may take.
        within: Duration,
    },
    /// The client has handled the stanzas up to this count.
    Acked {
        /// The count, modulo 2^32.
        h: u32,
        /// How many more than before.
        fresh: u32,
    },
    /// The client has closed its stream, but some of its stanzas are not handled yet. [`Command::Stanza`] is still sent. The stream ends by
    /// itself a tenth of a second after all is handled and the last stanza was sent, and after the closing time at the latest; a host that
    /// knows that nothing more will come says [`Command::Close`].
    Finishing,
    /// The stream has ended. The last event.
    Ended(End),
}

/// How a stream ended.
#[derive(Debug)]
pub struct End {
    /// Why.
    pub reason: Reason,
    /// The peer's closing tag came: nothing that it sent was cut off.
    pub clean: bool,
    /// The stream error that we sent, if we sent one.
    pub error: Option<StreamCondition>,
}

impl End {
    /// Whether the connection was lost rather than the stream ended: a resumable session is kept (XEP-0198 §7, S0-23).
    pub fn lost(&self) -> bool {
        !self.clean && matches!(self.reason, Reason::Lost | Reason::Truncated | Reason::Silent)
    }
}

macro_rules! reasons {
    ($($reason:pat => $name:literal),* $(,)?) => {
        /// Every name of a reason in metrics.
        pub const NAMES: &[&str] = &[$($name),*];

        /// Its name in metrics.
        pub const fn as_str(&self) -> &'static str {
            match self { $($reason => $name),* }
        }
    };
}

macro_rules! budgets {
    ($($reason:pat => $name:literal),* $(,)?) => {
        /// Every name that [`Reason::budget`] may give.
        pub fn budgets() -> impl Iterator<Item = &'static str> {
            Which::ALL.into_iter().map(Which::as_str).chain([$($name),*])
        }

        /// The budget that was exceeded, if one was: a name for metrics.
        pub const fn budget(&self) -> Option<&'static str> {
            match self {
                Self::Failed(Error::Misbehaved(Misbehaved::Xml(XmlError::Limit { which, .. }))) => {
                    Some(which.as_str())
                }
                $($reason => Some($name),)*
                _ => None,
            }
        }
    };
}

impl Reason {
    reasons! {
        Self::Peer => "peer",
        Self::PeerError(_) => "peer_error",
        Self::Host => "host",
        Self::Failed(Error::Misbehaved(_)) => "misbehaved",
        Self::Failed(Error::Incompatible(_)) => "incompatible",
        Self::Failed(Error::Refused(_)) => "refused",
        Self::Failed(Error::Ours(_)) => "ours",
        Self::Lost => "lost",
        Self::Truncated => "truncated",
        Self::Silent => "silent",
        Self::Slow => "slow",
    }

    budgets! {
        Self::Failed(Error::Misbehaved(Misbehaved::Guesses)) => "failed_logins_per_stream",
        Self::Failed(Error::Misbehaved(Misbehaved::Binding)) => "bindings",
        Self::Slow | Self::Failed(Error::Refused(Refused::Slow)) => "login_seconds",
    }
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Peer => f.write_str("closed by the client"),
            Self::PeerError(error) => write!(f, "closed by the client with {}", error.condition.as_str()),
            Self::Host => f.write_str("closed by the server"),
            Self::Failed(error) => error.fmt(f),
            Self::Lost => f.write_str("the connection was lost"),
            Self::Truncated => f.write_str("TLS was cut off without close_notify"),
            Self::Silent => f.write_str("no answer to a probe"),
            Self::Slow => f.write_str("negotiation took too long"),
        }
    }
}

/// Why a stream ended.
#[derive(Debug)]
pub enum Reason {
    /// The client closed it.
    Peer,
    /// The client closed it with a stream error.
    PeerError(StreamError),
    /// [`Command::Close`].
    Host,
    /// Something was wrong; the error says whose fault.
    Failed(Error),
    /// TCP ended, or broke, without the stream's closing tag.
    Lost,
    /// TLS ended without `close_notify`: what came before may have been cut short (RFC 6120 §4.4, S0-23).
    Truncated,
    /// The client did not answer a probe (RFC 6120 §4.6.4).
    Silent,
    /// Negotiation took too long.
    Slow,
}

/// What the host tells the stream.
#[derive(Debug)]
pub enum Command {
    /// Send a stanza, rendered for a stream with the default namespace `jabber:client`. Counted. Dropped unless the stream is bound and open.
    Stanza(Bytes),
    /// Send an element that is no stanza, rendered likewise. Not counted.
    Nonza(Bytes),
    /// Every stanza up to this number is handled, and what must be durable is: it may be acknowledged. To be sent whether or not stream
    /// management is enabled, since the closing of the stream waits for it too.
    Handled {
        /// The number of [`Event::Stanza`].
        number: u64,
    },
    /// What the client was asked after [`Event::Quiet`] is not answered in time. If nothing at all was heard of it since, it is given up:
    /// a client that answers wrongly, or to somebody else, is still there.
    Unanswered,
    /// Close the stream: with this error, or in peace. What the client still sends is still processed (RFC 6120 §4.4).
    Close(Option<StreamError>),
}
