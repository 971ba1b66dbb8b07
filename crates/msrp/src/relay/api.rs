//! What a relay's machine and its host say to each other.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use bytes::Bytes;
use nuncio_sansio::{Entropy, TlsFacts};
use zeroize::Zeroizing;

use super::nonce::NonceKey;
use super::registry::{LinkId, Next, Owner, Route, RouteError};
use crate::digest::Algorithm;
use crate::head::{FailureReport, Flag, Head, end_line};
use crate::ident::Ident;
use crate::limits::Limits;
use crate::range::ByteRange;
use crate::status::Status;
use crate::transaction::TIMEOUT;
use crate::uri::{Hop, Host, Path, Uri};

/// How frames are put on a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Framing {
    /// TCP or TLS: chunks stay open while there is more of them.
    #[default]
    Stream,
    /// WebSocket (RFC 7977 §5.2): each [`nuncio_sansio::Output::Send`] is one whole frame, to be sent as one message.
    Message,
}

/// The settings of a relay's connection.
#[derive(Debug)]
pub struct Config {
    /// Bounds of a frame.
    pub limits: Limits,
    /// By which hops this relay is known: [`super::Registry::ours`].
    pub ours: Vec<Hop>,
    /// How frames are put on it.
    pub framing: Framing,
    /// How long the next hop may take for a response: 30 seconds (RFC 4976 §6.4.1).
    pub response: Duration,
    /// How long a new connection may take until a request of it succeeds: 30 seconds (RFC 4976 §6.1).
    pub probation: Duration,
    /// How long a connection stays without traffic: an hour for clients of ours, 5 minutes for others (RFC 4976 §5.4, §6.5).
    pub idle_own: Duration,
    /// See [`Config::idle_own`].
    pub idle_foreign: Duration,
    /// Requests that wait for a response.
    pub transactions: usize,
    /// How many bytes of memory SENDs that wait for a response may hold, about. All connections together may hold eight times as much; beyond that
    /// each may hold a 128th of it. Whoever has waited longest then waits in vain, as if the time were over.
    pub transaction_bytes: usize,
    /// How many bytes they hold on all connections with this counter.
    pub all_sent: Arc<AtomicUsize>,
    /// How long a flow may be held on a connection that others share, from another relay, until it is given up for them. A receiver that takes half
    /// a lane in a quarter of this time goes on: slow is not gone. Where several sessions speak, the time beyond such quarters is rationed: this
    /// much altogether, and a sixth of all time more.
    pub patience: Duration,
    /// Requests for nothing, or malformed ones, after which the connection is closed; each good one makes up for one of them. Of those with one
    /// To-Path one in half a minute counts, on a connection that was good for something: what was sent before its 481 could be read is no guess.
    pub strikes: u32,
    /// Failed logins after which the connection of a client is closed (RFC 4976 §6.3).
    pub failures: u32,
    /// The realm of challenges; none for the host that the client has put into its To-Path.
    pub realm: Option<String>,
    /// The hashes of challenges, the strongest first. Without MD5 old clients cannot log in.
    pub algorithms: Vec<Algorithm>,
    /// The key of the nonces, one for all connections.
    pub nonces: Arc<NonceKey>,
    /// The bounds and the default of `Expires`, in seconds.
    pub expires: Expires,
    /// Whether methods that we do not know are forwarded (RFC 4976 §6.4.2).
    pub unknown_methods: bool,
}

/// For how long a URI may be good, in seconds.
#[derive(Clone, Copy, Debug)]
pub struct Expires {
    /// The least that may be asked for.
    pub least: u32,
    /// What is given when nothing is asked for.
    pub default: u32,
    /// The most.
    pub most: u32,
}

impl Config {
    /// The RFC's times, and both hashes.
    pub fn new(ours: Vec<Hop>, nonces: Arc<NonceKey>) -> Self {
        Self {
            limits: Limits::DEFAULT,
            ours,
            framing: Framing::Stream,
            response: TIMEOUT,
            probation: Duration::from_secs(30),
            idle_own: Duration::from_secs(3_600),
            idle_foreign: Duration::from_secs(300),
            transactions: 4_096,
            transaction_bytes: 4 * 1_024 * 1_024,
            all_sent: Arc::default(),
            patience: Duration::from_secs(10),
            strikes: 16,
            failures: 3,
            realm: None,
            algorithms: vec![Algorithm::Sha256, Algorithm::Md5],
            nonces,
            expires: Expires { least: 60, default: 1_800, most: 86_400 },
            unknown_methods: true,
        }
    }
}

/// Whose a URI is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The name of the account, for logs and limits.
    pub name: Arc<str>,
    /// The account's generation: whoever keeps the accounts changes it when what was given out to the account so far is void.
    pub generation: u64,
}

impl Holder {
    /// See the fields.
    pub fn new(name: &str, generation: u64) -> Self {
        Self { name: name.into(), generation }
    }
}

/// The account that credentials belong to.
#[derive(Clone)]
pub struct Account {
    /// Which.
    pub holder: Holder,
    /// The password.
    pub password: Zeroizing<String>,
    /// Whether it may use the relay: if not, 403.
    pub allowed: bool,
    /// For how many seconds from now the credentials are good; none if they do not end. No URI outlives them.
    pub seconds: Option<u32>,
}

impl std::fmt::Debug for Account {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Account({})", self.holder.name)
    }
}

/// What the machine asks.
#[derive(Clone, Debug)]
pub enum Question {
    /// Where a request goes: [`super::Registry::route`].
    Route {
        /// Its To-Path.
        to: Path,
        /// Its From-Path.
        from: Path,
    },
    /// Whether a TLS client's certificate is that of this host, and the host a relay that we serve (RFC 4976 §6.3, S1-L14). On yes,
    /// [`super::Registry::proven`] is to be told as well.
    Relay {
        /// The chain, leaf first, DER.
        chain: Vec<Bytes>,
        /// The name it claims.
        host: Host,
    },
    /// Whose credentials these are.
    Credentials {
        /// The user.
        username: String,
        /// The realm that was challenged for.
        realm: String,
    },
    /// Whose certificate this is: that of a client who shows no credentials, from an authority that vouches for clients. Answered by
    /// [`Answer::Credentials`]; on none the client is challenged.
    Certified {
        /// The `id-on-xmppAddr` names in it, as written there.
        addresses: Vec<String>,
    },
    /// A URI for an account: [`super::Registry::issue`].
    Issue {
        /// The account.
        holder: Holder,
        /// To whom it belongs.
        owner: Owner,
        /// The From-Path of the AUTH.
        from: Path,
        /// For how many seconds.
        seconds: u32,
    },
}

/// What the machine's questions are answered with.
#[derive(Clone, Debug)]
pub enum Answer {
    /// To [`Question::Route`].
    Route(Result<Route, RouteError>),
    /// To [`Question::Relay`].
    Relay(bool),
    /// To [`Question::Credentials`] and [`Question::Certified`]; none if there is no such account.
    Credentials(Option<Account>),
    /// To [`Question::Issue`].
    Issued(Result<Uri, Status>),
}

/// What keeps its order: one session's requests from one connection to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Flow {
    /// The connection that it comes from.
    pub source: LinkId,
    /// [`Route::session`].
    pub session: u64,
    /// The connection that it goes to; none before there is one. An owner may write to several with one URI, and each has a lane of its own.
    pub to: Option<LinkId>,
}

/// What it costs that something waits, beside what it is.
const WAITING: usize = 128;

/// A piece of a SEND on its way through the relay: a head, any number of bodies, an end.
#[derive(Clone, Debug)]
pub enum Piece {
    /// The head, with its paths as the next hop shall see them.
    Head(Box<Forwarded>),
    /// Bytes of its body.
    Data(Bytes),
    /// Its end.
    End(Flag),
}

impl Piece {
    /// About how many bytes of memory it holds while it waits, for [`crate::lanes::Lanes`].
    pub fn size(&self) -> usize {
        WAITING
            + match self {
                Self::Head(forwarded) => size_of::<Forwarded>() + forwarded.head.text(),
                Self::Data(bytes) => bytes.len(),
                Self::End(_) => 0,
            }
    }
}

/// The head of a SEND that is forwarded.
#[derive(Clone, Debug)]
pub struct Forwarded {
    /// Where to. What follows of its flow, up to its end, goes to the same connection.
    pub next: Next,
    /// As the next hop shall see it, but for the transaction identifier.
    pub head: Head,
    /// How many URIs at the front of its From-Path are ours.
    pub moved: usize,
    /// Which of the SENDs it is that came on its connection.
    pub number: u64,
}

impl Forwarded {
    /// The report of its failure to its origin, if that wants one (RFC 4976 §6.4.1): what a host sends back where there is no way on.
    pub fn report(&self, status: Status, entropy: &dyn Entropy) -> Option<Frame> {
        let range = self.head.range.unwrap_or(ByteRange::EMPTY);
        Reporter::new(self)?.report(range, status, entropy)
    }
}

/// What is needed to report on a SEND long after it has gone.
#[derive(Debug)]
pub(super) struct Reporter {
    to: Path,
    from: Uri,
    message: Ident,
    pub(super) total: Option<u64>,
    pub(super) strict: bool,
    number: u64,
}

impl Reporter {
    /// None if nobody wants to hear.
    pub(super) fn new(forwarded: &Forwarded) -> Option<Self> {
        let head = &forwarded.head;
        if head.failure_report == FailureReport::No {
            return None;
        }
        // Our own URI that the origin wrote to is the last of ours; behind it is the way back.
        let (ours, back) = head.from.uris().split_at_checked(forwarded.moved)?;
        Some(Self {
            to: Path::new(back.to_vec())?,
            from: ours.last()?.clone(),
            message: head.message_id?,
            total: head.range.and_then(ByteRange::total),
            strict: head.failure_report == FailureReport::Yes,
            number: forwarded.number,
        })
    }

    /// About how many bytes of memory it holds.
    pub(super) fn size(&self) -> usize {
        size_of::<Self>() + self.to.text() + self.from.as_str().len()
    }

    pub(super) fn report(&self, range: ByteRange, status: Status, entropy: &dyn Entropy) -> Option<Frame> {
        let id = Ident::random(entropy);
        let mut head = Head::request(id, crate::Method::Report, self.to.clone(), self.from.clone().into());
        head.message_id = Some(self.message);
        head.range = Some(range);
        head.status = Some(crate::ReportStatus::of(status));
        Some(Frame { about: Some(self.number), ..Frame::new(Box::new(head)) })
    }
}

/// A whole frame, not interruptible: a response, a report, a request that is no SEND.
#[derive(Clone, Debug)]
pub struct Frame {
    /// The head.
    pub head: Box<Head>,
    /// The body, at most [`Limits::other_body`] bytes.
    pub body: Option<Bytes>,
    /// Of a request that may be answered: where it came from.
    pub origin: Option<Origin>,
    /// Of an answer to a login at a relay behind us, with credentials: whether they were right.
    pub login: Option<bool>,
    /// Of a report of ours: the [`Forwarded::number`] of the SEND that has failed, on the connection where the report goes. As long as that is
    /// still being read, the failure is told by the response to it, and what follows of it is dropped. Its origin is told once either way: a
    /// report beside the response would be a second word, and a response of 200 the opposite of the first (RFC 4976 §6.4.1 demands one
    /// or the other at each hop; a previous hop that is a relay makes a report of the response, §6.4.3).
    pub about: Option<u64>,
}

impl Frame {
    /// One without a body, that nobody answers.
    pub(super) const fn new(head: Box<Head>) -> Self {
        Self { head, body: None, origin: None, login: None, about: None }
    }

    /// The answer to a request that cannot go on, and to which connection it belongs: what a host sends back where there is no way.
    pub fn refused(&self, status: Status) -> Option<(LinkId, Self)> {
        let origin = self.origin.as_ref()?;
        // As it came: our URIs still in its To-Path.
        let (ours, back) = self.head.from.uris().split_at_checked(origin.moved)?;
        let ours: Vec<_> = ours.iter().rev().cloned().collect();
        let request = Head {
            id: origin.id,
            to: Path::new(ours)?.then(&self.head.to),
            from: Path::new(back.to_vec())?,
            ..(*self.head).clone()
        };
        let head = Box::new(request.response(status)?);
        Some((origin.link, Self::new(head)))
    }
}

/// Where a request came from that is no SEND: its response goes back there (RFC 4976 §6.4.3).
#[derive(Clone, Debug)]
pub struct Origin {
    /// The connection.
    pub link: LinkId,
    /// The identifier that it had there.
    pub id: Ident,
    /// How many URIs of its From-Path are ours.
    pub moved: usize,
    /// Whether it is an AUTH with credentials.
    pub tries: bool,
}

impl Frame {
    /// About how many bytes of memory it holds while it waits.
    pub fn size(&self) -> usize {
        WAITING + size_of::<Head>() + self.head.text() + self.body.as_ref().map_or(0, Bytes::len)
    }

    /// Writes it.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        self.head.write(out);
        if self.head.content_type.is_some() {
            out.extend_from_slice(self.body.as_deref().unwrap_or_default());
            out.extend_from_slice(b"\r\n");
        }
        end_line(&self.head.id, Flag::Last, out);
    }
}

/// What the host can tell the machine.
#[derive(Clone, Debug)]
pub enum Command {
    /// A piece of a SEND for this connection. The pieces of a flow in their order; pieces of other flows may come between.
    Piece(Flow, Piece),
    /// A whole frame for this connection.
    Frame(Frame),
    /// The lane of a flow that comes from this connection is full: nothing more is read until every held flow is let go. That is the
    /// back-pressure. On a connection that is shared [`Config::patience`] limits it.
    Hold(Flow),
    /// The lane has room again, or is no more.
    Resume(Flow),
    /// Closes the connection: its account was disabled, the server stops.
    Close,
}

/// Facts for the host.
#[derive(Clone, Debug)]
pub enum Event {
    /// The connection is inside TLS. Where we connected, the host judges the peer's certificates before it gives any command but
    /// [`Command::Close`] (S1-04): until then nothing is sent.
    Secured(Box<TlsFacts>),
    /// A piece of a SEND is to go on: a head to where it says, what follows of its flow to the same connection. The host puts it into the
    /// lane of its flow and must not wait for room there: it says [`Command::Hold`].
    Piece {
        /// What keeps its order.
        flow: Flow,
        /// The piece.
        piece: Piece,
    },
    /// A whole frame is to go on.
    Frame {
        /// Where to.
        next: Next,
        /// The frame.
        frame: Frame,
    },
    /// A credential was accepted and a URI issued.
    Authorized {
        /// The account.
        account: Arc<str>,
    },
    /// Credentials were refused.
    Denied {
        /// The user that was named.
        username: String,
        /// Whether they were wrong; otherwise it is their owner who may not.
        wrong: bool,
    },
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
    /// A request was for someone else (RFC 4976 §6.2, S1-L3).
    NotOurs,
    /// No request succeeded in time (S1-L2).
    Probation,
    /// Too many requests for nothing, or malformed ones.
    Strikes,
    /// Too many failed logins (S1-L4).
    Failures,
    /// Nothing came or went for too long.
    Idle,
}

/// What it is that makes the connection: a peer's or ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// A peer connected to us.
    Inbound,
    /// We connected, because a request has to go there: there is no probation, and no credentials are taken.
    Outbound,
}
