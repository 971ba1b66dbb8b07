//! The contract that every protocol of Nuncio keeps: it touches neither socket nor clock.
//!
//! A protocol is a [`Machine`]. Its driver hands it [`Input`]s together with the [`Time`], then drains
//! [`Machine::poll`] until it yields [`Output::Wait`]. A [`Host`] is whoever answers the machine's questions
//! and hears its events: on the server that is the router, in tests a script.
//!
//! The same machine runs over TCP and TLS (crate `nuncio-net`) and in virtual time ([`pair`]).

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;

pub mod pair;
mod timers;
mod tls;

pub use timers::Timers;
pub use tls::{ClientCertificate, TlsFacts, TlsVersion};

/// A point in time, counted from an origin that only the driver knows. Monotonic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(Duration);

impl Time {
    /// The origin.
    pub const ZERO: Self = Self(Duration::ZERO);

    /// The point that lies `since` after the origin.
    pub const fn from_origin(since: Duration) -> Self {
        Self(since)
    }

    /// How long after the origin this point lies.
    pub const fn since_origin(self) -> Duration {
        self.0
    }

    /// The time from `earlier` to `self`; zero if `earlier` is later.
    pub const fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl std::ops::Add<Duration> for Time {
    type Output = Self;

    fn add(self, rhs: Duration) -> Self {
        Self(self.0.saturating_add(rhs))
    }
}

/// What a driver tells a machine.
#[derive(Debug)]
pub enum Input<'a, A, C> {
    /// Bytes from the peer, after TLS if there is any. Never empty.
    Bytes(&'a [u8]),
    /// The TLS handshake that [`Output::StartTls`] asked for, or that came before the first byte (direct TLS), is done.
    Tls(TlsFacts),
    /// The peer will send nothing more.
    Eof(Eof),
    /// The answer to the one open [`Output::Ask`].
    Answer(A),
    /// The application wants something.
    Command(C),
    /// Time has passed; a deadline of [`Output::Wait`] may be due.
    Time,
}

/// How the peer's direction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Eof {
    /// TCP ended outside of TLS, or TLS ended with `close_notify`.
    Clean,
    /// TCP ended inside TLS without `close_notify`: what came before may have been cut short (RFC 6120 §4.4).
    Truncated,
    /// The connection broke.
    Reset,
}

/// What a machine wants from its driver.
#[derive(Debug)]
pub enum Output<Q, E> {
    /// Send these bytes to the peer, after everything sent before.
    Send(Bytes),
    /// Everything sent so far goes out in clear; then a TLS handshake follows. Bytes that the peer sent in clear after its last
    /// element are to be discarded by the machine, never read as part of the TLS-protected stream (RFC 6120 §5.4.3.3).
    StartTls {
        /// The receiving role: the domain that the peer's stream header was addressed to; it chooses the certificate
        /// before the server name of the ClientHello does. The initiating role, and no `to`: none.
        domain: Option<String>,
    },
    /// A question to the host. At most one is open; until its answer comes the machine accepts bytes but does not act on them.
    Ask(Q),
    /// A fact for the host.
    Event(E),
    /// Flush what was sent, then close. Nothing follows.
    Close(Close),
    /// Nothing more to do before the next input, or before the deadline.
    Wait(Option<Time>),
}

/// How to close.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Close {
    /// Flush, `close_notify` if inside TLS, wait for the peer's for a bounded time, then close TCP.
    Orderly,
    /// Close TCP at once and write nothing.
    Abort,
}

/// A protocol: a pure state machine.
pub trait Machine: 'static {
    /// What it must ask before it can go on.
    type Question;
    /// What its questions are answered with.
    type Answer;
    /// Facts that it reports.
    type Event;
    /// What the application can tell it.
    type Command;

    /// Takes one input. Must be followed by draining [`Machine::poll`].
    fn handle(&mut self, now: Time, input: Input<'_, Self::Answer, Self::Command>);

    /// The next output. Drain until [`Output::Wait`] or [`Output::Close`].
    fn poll(&mut self, now: Time) -> Output<Self::Question, Self::Event>;

    /// Whether the machine takes more bytes now. While it is false the driver leaves them in the socket, which is what slows a peer down.
    fn wants_bytes(&self) -> bool {
        true
    }
}

/// What is left of an event that cannot be dealt with at once.
pub type Waiting<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// Who answers a machine's questions and hears its events.
///
/// The driver awaits `ask` and `event` before it goes on with this connection, so a slow host slows this peer and nobody else.
pub trait Host<M: Machine>: Send {
    /// Answers a question.
    fn ask(&mut self, question: M::Question) -> impl Future<Output = M::Answer> + Send;

    /// Hears a fact. Commands that follow from it are returned by [`Host::command`].
    fn event(&mut self, event: M::Event) -> impl Future<Output = ()> + Send;

    /// What the driver calls: hears a fact, and returns what there is to wait for, if anything. A host whose events mostly need no
    /// waiting does here what it can do at once, so that no future is made for it.
    fn hear(&mut self, event: M::Event) -> Option<Waiting<'_>> {
        Some(Box::pin(self.event(event)))
    }

    /// Waits for the next thing to tell the machine. Cancel-safe: dropping the future loses nothing.
    fn command(&mut self) -> impl Future<Output = M::Command> + Send;

    /// The connection is over, for whatever reason. Called exactly once.
    fn closed(&mut self) -> impl Future<Output = ()> + Send;
}

/// Where tokens, nonces and ids come from: the operating system's randomness in the server, a counter in tests.
pub trait Entropy: Send + Sync {
    /// Fills `out` with unpredictable bytes.
    fn fill(&self, out: &mut [u8]);

    /// 128 bits as 26 lower-case base32 characters: an id that nobody can guess.
    fn token(&self) -> String {
        const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
        let mut raw = [0; 16];
        self.fill(&mut raw);
        let mut bits = u128::from_be_bytes(raw);
        let letters = [0_u8; 26].map(|_| {
            let letter = ALPHABET[(bits & 31) as usize];
            bits >>= 5;
            letter
        });
        String::from_utf8_lossy(&letters).into_owned()
    }
}
