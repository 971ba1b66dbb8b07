//! What a stream between servers asks, hears, tells and is told.
//!
//! The machine keeps the rules of the wire and a table of domain pairs; it judges nobody. Who the other end is, the host finds out and says:
//! in answers ([`Verdict`]) and by [`Command::Decide`]. Addresses in here are prepared domains (RFC 7622).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use nuncio_sansio::TlsFacts;
use nuncio_xmpp::error::{StreamCondition, StreamError};
use nuncio_xmpp::stanza::Stanza;
use nuncio_xmpp::xml::Limits;

pub use super::dialback::{Condition, DialbackError};
use crate::c2s::Idle;
pub use crate::c2s::Start;
pub use crate::client::Place;
use crate::error::Error;
use crate::redirect::Decision;
use crate::sasl::SaslCondition;
use crate::sm::Pace;

/// Two domains that speak with each other over a stream, seen from here, whoever opened the connection (RFC 7712 §4, XEP-0220 §1).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pair {
    /// Ours.
    pub local: Arc<str>,
    /// Theirs.
    pub remote: Arc<str>,
}

impl Pair {
    /// Our domain and theirs, both prepared.
    pub fn new(local: impl Into<Arc<str>>, remote: impl Into<Arc<str>>) -> Self {
        Self { local: local.into(), remote: remote.into() }
    }
}

impl std::fmt::Display for Pair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} with {}", self.local, self.remote)
    }
}

/// How a stream that we open begins.
#[derive(Clone, Debug)]
pub struct Opening {
    /// Whether TLS comes before the first byte (XEP-0368).
    pub start: Start,
    /// For whom: `from` and `to` of our headers, whatever the place is called (S0-31).
    pub pair: Pair,
    /// What for.
    pub purpose: Purpose,
    /// Where the connection goes; what a redirect means depends on it (S0-30, S0-32).
    pub place: Place,
}

/// What we open a stream for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To send stanzas: the pair of [`Opening`] is authenticated at once, by SASL EXTERNAL where the peer offers it, else by dialback.
    Stanzas,
    /// To ask for dialback keys only ([`Command::Verify`]). Nothing is authenticated unless [`Command::Assert`] says so.
    Verify,
}

/// Whether a stream uses TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tls {
    /// Nothing is done in clear. As initiator: `<starttls/>` is sent even where it is not offered, since somebody may have removed the
    /// offer (RFC 7590 §3.1, S3-30).
    Required,
    /// It is used where both can.
    Optional,
    /// It is not offered and not used.
    Never,
}

/// Settings of streams between servers.
#[derive(Clone, Debug)]
pub struct S2sConfig {
    /// What a peer may send before a pair is authorised.
    pub before: Limits,
    /// What it may send after.
    pub after: Limits,
    /// Whether streams that we open use TLS. For those that the peer opens, [`Accepted::tls`] says.
    pub tls: Tls,
    /// From the first byte to the first authorised pair. What the host takes for [`Question::External`], [`Question::Server`] and for its
    /// decision about an assertion ([`S2sConfig::dialback_within`]) comes on top.
    pub negotiation: Duration,
    /// How long the peer may take to answer [`Command::Assert`] and [`Command::Verify`], and the host for [`Event::Asserted`].
    pub dialback_within: Duration,
    /// How long the peer may take to close its direction after we closed ours (RFC 6120 §4.4).
    pub closing: Duration,
    /// When a silent peer is probed and given up; none to wait for ever. It can be given up only where stream management is on.
    pub idle: Option<Idle>,
    /// A stream that has carried no stanza for this long is closed in peace; none to keep it for ever.
    pub unused: Option<Duration>,
    /// Whether stream management is offered and used (XEP-0198).
    pub stream_management: bool,
    /// How long after the loss of its connection a stream may be resumed (XEP-0198 §5); none for never.
    pub resume: Option<Duration>,
    /// When acknowledgements are asked for and how fast we answer.
    pub pace: Pace,
    /// Whether bidirectional streams are offered and used (XEP-0288). Used only inside TLS, and as initiator only after
    /// [`Verdict::Accepted`].
    pub bidi: bool,
    /// Whether dialback is offered and used (XEP-0220).
    pub dialback: bool,
    /// How many pairs one stream may carry, those under way included. Also the bound for [`Command::Verify`] under way.
    pub max_pairs: usize,
    /// Refused assertions and failed SASL exchanges after which a stream without any authorised pair is closed.
    pub tries: u8,
    /// The `xml:lang` of our stream header, for the text of errors.
    pub lang: String,
}

impl Default for S2sConfig {
    fn default() -> Self {
        Self {
            before: Limits::before_authentication(),
            after: Limits::default(),
            tls: Tls::Required,
            negotiation: Duration::from_secs(30),
            dialback_within: Duration::from_secs(60),
            closing: Duration::from_secs(5),
            idle: Some(Idle::default()),
            unused: Some(Duration::from_secs(600)),
            stream_management: true,
            resume: Some(Duration::from_secs(60)),
            pace: Pace::default(),
            bidi: true,
            dialback: true,
            max_pairs: 10_000,
            tries: 5,
            lang: "en".to_owned(),
        }
    }
}

/// A question to the host. While one is open the stream does not go on.
#[derive(Debug)]
pub enum Question {
    /// Receiving: is `to` ours (else `host-unknown`, `host-gone`, `see-other-host`), and may `from` speak with us at all? Asked for each
    /// header until the peer is authenticated; what it said before TLS is forgotten (S0-33). A redirect is given only inside TLS; before,
    /// the peer is told `internal-server-error` instead (S0-32). Answered with [`Answer::Header`].
    Header {
        /// The domain that is addressed; none if the header has no `to`.
        to: Option<String>,
        /// The domain that speaks; none if the header has no `from`.
        from: Option<String>,
        /// What TLS found out, once it has.
        tls: Option<TlsFacts>,
    },
    /// Receiving, inside TLS: does the certificate of the handshake, if there is one, prove that the peer is `pair.remote`? Asked once, before features:
    /// EXTERNAL is offered only if it does (XEP-0178 §3). May take seconds (DNS, POSH). Answered with [`Answer::External`].
    External {
        /// The pair of the headers.
        pair: Pair,
        /// What TLS found out.
        tls: TlsFacts,
    },
    /// Initiating, after TLS (or without, where that is allowed) and the peer's header: do we believe that this is `pair.remote`? The verdict of RFC 7712 §4
    /// falls here (S3-06 to S3-09). Answered with [`Answer::Server`].
    Server {
        /// The pair that the stream was opened for.
        pair: Pair,
        /// What TLS found out; none in clear.
        tls: Option<TlsFacts>,
    },
    /// Initiating: the dialback key for the pair that the stream was opened for, since the peer takes no certificate of ours. Answered with
    /// [`Answer::Key`].
    Key {
        /// The pair.
        pair: Pair,
        /// The id of the peer's header, which goes into the key.
        id: String,
    },
    /// As the authoritative server: did we make this key for the stream `id` from `pair.local` to `pair.remote`? To be compared in constant time.
    /// Answered with [`Answer::Verify`].
    Verify {
        /// The pair: `pair.local` sent the key, `pair.remote` got it.
        pair: Pair,
        /// The id of the stream on which it got the key.
        id: String,
        /// The key.
        key: String,
    },
    /// Initiating, after authentication, where the peer manages streams: is there a stream to be resumed that was opened for the pair? The host says so only
    /// if the peer is proven as it was then. Until [`Event::Resumed`] or [`Event::NotResumed`] there must be no [`Command::Stanza`]; it would be dropped.
    /// Answered with [`Answer::Previous`].
    Previous {
        /// The first pair that the peer has accepted.
        pair: Pair,
    },
    /// Receiving, after authentication: the peer wants to resume a stream. The host lets it if that was of a pair that the peer has authenticated now, too, and
    /// it is proven as it was then; it first ends the stream if it is still there ([`Command::Supersede`]). Answered with [`Answer::Resume`].
    Resume {
        /// The id of [`Event::Resumable`]; whatever the peer claims.
        previd: String,
        /// What the peer has handled.
        h: u32,
    },
}

/// A stream that has lost its connection: how far it has come (XEP-0198 §5). Counts are modulo 2^32.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Previous {
    /// Its name.
    pub id: String,
    /// Stanzas that came, counted once all of them are handled: whoever keeps this waits for that.
    pub inbound: u32,
    /// Stanzas that were sent.
    pub sent: u32,
    /// Those of them that the peer has acknowledged.
    pub acked: u32,
}

/// There is nothing to resume, or not for this peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NotResumed {
    /// What was handled of the stream, if that is still known and the peer may know it.
    pub h: Option<u32>,
}

/// An answer. One that does not fit its question is our own fault and ends the stream with `internal-server-error`.
#[derive(Debug)]
pub enum Answer {
    /// To [`Question::Header`].
    Header(Result<Accepted, StreamError>),
    /// To [`Question::External`].
    External(Verdict),
    /// To [`Question::Server`].
    Server(Verdict),
    /// To [`Question::Key`]; none if dialback is not to be tried: the stream ends with [`Reason::Unauthenticated`].
    Key(Option<String>),
    /// To [`Question::Verify`]: it is ours, it is not ([`DialbackError::Invalid`]), or there is no telling (`item-not-found` for a domain that is not
    /// served here).
    Verify(Result<(), DialbackError>),
    /// To [`Question::Previous`].
    Previous(Option<Previous>),
    /// To [`Question::Resume`].
    Resume(Result<Previous, NotResumed>),
}

/// A domain of ours that may be spoken to.
#[derive(Clone, Debug)]
pub struct Accepted {
    /// Its name, prepared: `to`, or the default domain where there is none.
    pub local: String,
    /// Whether TLS is required, offered, or not to be had for lack of a certificate.
    pub tls: Tls,
}

/// What the host thinks of a peer.
#[derive(Clone, Debug)]
pub enum Verdict {
    /// It has proven to be who it says.
    Accepted,
    /// It has not, but may try dialback, or be used with less.
    Unproven,
    /// It will not be spoken with: the stream ends with this error.
    Refused(StreamError),
}

/// What the peer offers to us as initiator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offers {
    /// SASL EXTERNAL: it would take our certificate.
    pub external: bool,
    /// Dialback: declared in its header, or a feature.
    pub dialback: bool,
    /// It can handle dialback errors (XEP-0220 §2.4.2). Without that nothing may be supposed (RFC 7712 §4.4.2, S3-12).
    pub dialback_errors: bool,
    /// Bidirectional streams (XEP-0288).
    pub bidi: bool,
    /// Stream management.
    pub stream_management: bool,
}

/// Who may send stanzas of a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// They.
    In,
    /// We.
    Out,
    /// Both.
    Both,
}

/// By what a pair was authorised on the wire. What that is worth, the host knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// SASL EXTERNAL.
    External,
    /// `<db:result type='valid'/>`.
    Dialback,
}

/// A fact for the host.
#[derive(Debug)]
pub enum Event {
    /// Headers are exchanged. Comes again after TLS and after SASL, each time with a new id; earlier ones are void.
    Opened {
        /// The id of the receiving side's header: dialback keys are made for it.
        id: String,
        /// The pair of the headers; none while the peer has not said who it is.
        pair: Option<Pair>,
    },
    /// TLS is up.
    Secured(TlsFacts),
    /// Initiating: the peer's features, each time they come inside TLS (or in clear, where TLS is not used).
    Offered(Offers),
    /// The stream now carries this pair. Stanzas of it may be sent and come, as `way` says.
    Authorised {
        /// The pair.
        pair: Pair,
        /// Who may send.
        way: Way,
        /// How.
        by: By,
    },
    /// The peer asserts to be `pair.remote` (`<db:result/>`, at first or piggybacked: RFC 7712 §4.4.1). The host proves that, or not, in its own
    /// time, but within [`S2sConfig::dialback_within`], and says [`Command::Decide`]. The key must not be verified on this connection (XEP-0288 §2).
    Asserted {
        /// The pair.
        pair: Pair,
        /// The key.
        key: String,
        /// The id that the key was made for, if it was.
        id: String,
    },
    /// The answer to [`Command::Assert`], or to our first assertion. Unsolicited ones never get here (S3-13). A positive one comes after its
    /// [`Event::Authorised`].
    Answered {
        /// The pair.
        pair: Pair,
        /// What became of it.
        outcome: Result<(), DialbackError>,
    },
    /// The answer to [`Command::Verify`], exactly one for each.
    Verified {
        /// The pair.
        pair: Pair,
        /// The id of the question.
        id: String,
        /// Whether the key is theirs.
        outcome: Result<(), DialbackError>,
    },
    /// A dialback answer that nobody asked for, or a doubled assertion; it was ignored (XEP-0220 §3.1, S3-13).
    Unsolicited {
        /// The pair that it names.
        pair: Pair,
    },
    /// Initiating: the peer offered EXTERNAL and refused it; dialback follows if it can.
    ExternalFailed(SaslCondition),
    /// Each [`Command::Stanza`] that the stream is given from here on is counted for [`Event::Acked`]; earlier ones are not. Before the first
    /// [`Event::Authorised`] where we are the initiator.
    Managed,
    /// The stream may be resumed after the loss of its connection, by whoever opened it.
    Resumable {
        /// Its name.
        id: String,
        /// For how long.
        within: Duration,
    },
    /// A stream goes on on this one: the answer to [`Answer::Previous`] or [`Answer::Resume`] is carried out. Whatever was sent on the former after `h` is to be sent
    /// again. From here on everything is counted as after [`Event::Managed`], and the stream may be resumed again by the same name.
    Resumed {
        /// What the peer has handled of the former.
        h: u32,
    },
    /// Initiating: the peer does not resume the stream of [`Answer::Previous`].
    NotResumed {
        /// What it has handled of it, if it still knows.
        h: Option<u32>,
    },
    /// The peer manages no stream after all: no [`Event::Acked`] will come.
    Unmanaged,
    /// A stanza of an authorised pair.
    Stanza {
        /// The pair.
        pair: Pair,
        /// Its number on the stream, from 1. To be given back in [`Command::Handled`].
        number: u64,
        /// The stanza.
        stanza: Box<Stanza>,
    },
    /// A stanza that is refused: malformed, or of a pair that is not authorised although its sender is. It is counted, and handled.
    Rejected {
        /// Its number on the stream.
        number: u64,
        /// The error for its sender, to be sent by whatever way leads there; none where none may be sent.
        reply: Option<Box<Stanza>>,
    },
    /// The peer has handled the stanzas up to this count.
    Acked {
        /// The count, modulo 2^32.
        h: u32,
        /// How many more than before.
        fresh: u32,
    },
    /// The peer has closed its stream, but some of its stanzas are not handled yet. The stream ends by itself when they are, and after the
    /// closing time at the latest.
    Finishing,
    /// The stream has ended. The last event. Before it, each open assertion and verification of ours is answered with
    /// [`DialbackError::Ended`].
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
    /// How many of the host's [`Command::Stanza`] went out; later ones did not.
    pub sent: u64,
    /// How far the stream has come, if only its connection was lost and it may be resumed.
    pub resumable: Option<Previous>,
}

/// Why a stream ended.
#[derive(Debug)]
pub enum Reason {
    /// The peer closed it.
    Peer,
    /// The peer closed it with a stream error.
    PeerError(StreamError),
    /// The peer, whom we called, wants us elsewhere (RFC 6120 §4.9.3.19); what to do about it.
    Redirected(Decision),
    /// [`Command::Close`].
    Host,
    /// The host believed the peer not, or knows it not.
    Refused(StreamCondition),
    /// TLS is required here and the peer has none (RFC 7590 §3.1).
    NoTls,
    /// Initiating: the peer takes neither a certificate of ours nor dialback.
    Unauthenticated(Option<SaslCondition>),
    /// Dialback failed and the stream carries nothing: initiating, the peer refused the pair that it was opened for; receiving, the host said
    /// [`DialbackError::Invalid`].
    Dialback(DialbackError),
    /// Nothing was sent either way for long.
    Unused,
    /// Something was wrong; the error says whose fault.
    Failed(Error),
    /// TCP ended, or broke, without the stream's closing tag.
    Lost,
    /// TLS ended without `close_notify` (S0-23).
    Truncated,
    /// The peer did not answer a probe.
    Silent,
    /// It goes on on another connection.
    Superseded,
    /// Negotiation took too long.
    Slow,
}

macro_rules! reasons {
    ($($reason:pat => $name:literal),* $(,)?) => {
        impl Reason {
            /// Every name of a reason in metrics and histories.
            pub const NAMES: &[&str] = &[$($name),*];

            /// Its name in metrics and histories.
            pub const fn as_str(&self) -> &'static str {
                match self { $($reason => $name),* }
            }
        }
    };
}

reasons! {
    Self::Peer => "peer",
    Self::PeerError(_) => "peer-error",
    Self::Redirected(_) => "redirected",
    Self::Host => "host",
    Self::Refused(_) => "refused",
    Self::NoTls => "no-tls",
    Self::Unauthenticated(_) => "unauthenticated",
    Self::Dialback(_) => "dialback",
    Self::Unused => "unused",
    Self::Failed(Error::Misbehaved(_)) => "misbehaved",
    Self::Failed(Error::Incompatible(_)) => "incompatible",
    Self::Failed(Error::Refused(_)) => "policy",
    Self::Failed(Error::Ours(_)) => "ours",
    Self::Lost => "lost",
    Self::Truncated => "truncated",
    Self::Silent => "silent",
    Self::Superseded => "superseded",
    Self::Slow => "slow",
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Peer => f.write_str("closed by the peer"),
            Self::PeerError(error) => {
                write!(f, "closed by the peer with {}", error.condition)?;
                match &error.text {
                    // What a peer writes ends up in logs and terminals.
                    Some(text) => write!(f, ": {}", text.escape_debug()),
                    None => Ok(()),
                }
            }
            Self::Redirected(Decision::SameHost { port }) => write!(f, "redirected to port {port}"),
            Self::Redirected(Decision::Address { host, .. }) => write!(f, "redirected to {host}"),
            Self::Redirected(Decision::Resolve { name, .. }) => write!(f, "redirected to {name}"),
            Self::Redirected(Decision::Refuse(refusal)) => refusal.fmt(f),
            Self::Host => f.write_str("closed by this server"),
            Self::Refused(condition) => write!(f, "refused with {condition}"),
            Self::NoTls => f.write_str("the peer has no TLS"),
            Self::Unauthenticated(None) => f.write_str("the peer takes neither our certificate nor dialback"),
            Self::Unauthenticated(Some(condition)) => {
                write!(f, "the peer refused our certificate ({}) and offers no dialback", condition.as_str())
            }
            Self::Dialback(error) => write!(f, "dialback: {error}"),
            Self::Unused => f.write_str("not used any more"),
            Self::Failed(error) => error.fmt(f),
            Self::Lost => f.write_str("the connection was lost"),
            Self::Truncated => f.write_str("TLS was cut off without close_notify"),
            Self::Silent => f.write_str("no answer to a probe"),
            Self::Superseded => f.write_str("it goes on on another connection"),
            Self::Slow => f.write_str("negotiation took too long"),
        }
    }
}

/// What the host tells the stream.
#[derive(Debug)]
pub enum Command {
    /// Send a stanza, rendered for a stream with the default namespace `jabber:server`, of a pair that is authorised for us. Dropped when the stream is
    /// closed or carries no pair: [`End::sent`] says how many went out.
    Stanza(Bytes),
    /// Every stanza up to this number is handled, and what must be durable is: it may be acknowledged. To be sent whether or not the stream is managed, since
    /// its closing waits for it too.
    Handled {
        /// The number of [`Event::Stanza`].
        number: u64,
    },
    /// Assert that we are `pair.local`, for one more pair on this stream (piggybacking). To another `pair.remote` than those that the stream carries, that is
    /// supposition: the host must have found that the peer's certificate is good for it and that its addresses lead here (RFC 7712 §4.4.2, S3-12); it is sent
    /// only if the peer handles dialback errors. Answered by [`Event::Answered`], at once with [`DialbackError::Unsupported`] where it cannot be sent.
    Assert {
        /// The pair.
        pair: Pair,
        /// The key for the id of [`Event::Opened`].
        key: String,
    },
    /// What became of [`Event::Asserted`]. `Err(Invalid)` on a stream that carries nothing else closes it; otherwise the peer is told `forbidden`
    /// (XEP-0220 §2.2.1).
    Decide {
        /// The pair.
        pair: Pair,
        /// Whether the peer may speak for it.
        outcome: Result<(), DialbackError>,
    },
    /// Ask the peer, as the authoritative server of `pair.remote`, whether a key is its own. Waits until the stream is negotiated. Answered by
    /// [`Event::Verified`].
    Verify {
        /// The pair.
        pair: Pair,
        /// The id of our header on the stream on which we got the key.
        id: String,
        /// The key.
        key: String,
    },
    /// A proof has lapsed: this pair is no longer carried, and stanzas of it are rejected. The others go on.
    Revoke {
        /// The pair.
        pair: Pair,
    },
    /// The peer resumes the stream on another connection, so this one is dead, whatever it seems: it ends at once.
    Supersede,
    /// Close the stream: with this error, or in peace. What the peer still sends is still processed (RFC 6120 §4.4).
    Close(Option<StreamError>),
}
