//! Runs a machine over a byte stream.
//!
//! One task a connection. While a connection is idle it holds no read buffer; while its peer does not read, it holds a bounded
//! number of bytes and takes no more commands, so that the host's queue fills instead; while its host thinks, it still
//! writes. A panic of a machine or host costs this connection and no other.

use std::any::Any;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::{Arc, OnceLock};
use std::task::Poll;
use std::time::Duration;

use nuncio_sansio::{Close, Eof, Host, Input, Machine, Output, Time, TlsFacts, TlsVersion, Waiting};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, Sleep, sleep_until, timeout_at};

use crate::clock::Clock;
use crate::guard::Renegotiation;
use crate::metrics::{NetMetrics, label};
use crate::rate::{Bucket, RateLimit};
use crate::tls::{Connector, Kind, TlsHosts};
use crate::wire::{ALERT, Got, HandshakeError, Wire};

/// After so many commands in a row the socket has its turn.
const STREAK: u32 = 64;
/// How many bytes a peer may still send while its connection is being closed.
const LINGER_BYTES: u64 = 1 << 20;

/// What TLS there is for a connection.
#[derive(Clone, Debug)]
pub enum Security {
    /// None. A machine that asks for it loses its connection.
    None,
    /// The receiving role.
    Server(Arc<TlsHosts>),
    /// The initiating role.
    Client {
        /// Whom to believe, what to show.
        connector: Arc<Connector>,
        /// The name that the server must prove: a domain as A-labels, or an address.
        server_name: String,
    },
}

/// What is alike for all connections of a kind: they share it, for each of them is to be small.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The clock.
    pub clock: Clock,
    /// What is counted.
    pub metrics: Arc<NetMetrics>,
    /// How long a TLS handshake may take.
    pub handshake: Duration,
    /// How long a peer may leave bytes unread without taking a single one of them.
    pub write_stall: Duration,
    /// How long to wait for the peer's end of a connection that is being closed, what is still to be written included.
    pub close: Duration,
    /// So many bytes waiting to be written, and the connection takes no command.
    pub out_watermark: usize,
    /// So many bytes waiting to be written, and nothing is read either: the machine's own answers to a peer that reads
    /// nothing must not pile up. Far above the watermark, because two ends that both do not read while they have much to
    /// say would wait for each other.
    pub out_limit: usize,
    /// How fast a peer may send, in bytes. A faster one is slowed. Whoever keeps the other end of the `Arc` can change it.
    pub rate: Option<Arc<RateLimit>>,
}

impl Settings {
    /// The defaults: 10 s for a handshake, 60 s of stalled writing, 5 s for closing, 64 KiB waiting before commands stop, 1 MiB
    /// before reading does, any rate.
    #[must_use]
    pub fn new(clock: Clock, metrics: Arc<NetMetrics>) -> Self {
        Self {
            clock,
            metrics,
            handshake: Duration::from_secs(10),
            write_stall: Duration::from_secs(60),
            close: Duration::from_secs(5),
            out_watermark: 64 * 1024,
            out_limit: 1024 * 1024,
            rate: None,
        }
    }
}

/// How to run one connection.
#[derive(Clone, Debug)]
pub struct Options {
    /// What it shares with others.
    pub settings: Arc<Settings>,
    /// The peer, for the log.
    pub peer: Option<SocketAddr>,
    /// What TLS there is.
    pub security: Security,
    /// Whether TLS begins before the first byte (XEP-0368); the machine's first input is then [`Input::Tls`].
    pub direct_tls: bool,
    /// Where it is written why a TLS handshake failed, for whoever must tell a person. Default: nowhere.
    pub handshake_failure: Option<Arc<OnceLock<HandshakeFailure>>>,
}

impl Options {
    /// Without TLS.
    #[must_use]
    pub const fn new(settings: Arc<Settings>) -> Self {
        Self { settings, peer: None, security: Security::None, direct_tls: false, handshake_failure: None }
    }
}

/// Why a TLS handshake failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HandshakeFailure {
    /// For a person.
    pub why: String,
    /// One side refused the other. Otherwise the connection broke, and the next attempt may succeed.
    pub refused: bool,
}

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The machine closed it.
    Closed(Close),
    /// The connection broke, or a handshake failed, and the machine had nothing more to do.
    Broken,
    /// The machine or its host panicked.
    Panicked,
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Why.
    pub why: Why,
    /// Bytes of protocol (inside TLS) that were read.
    pub bytes_in: u64,
    /// Bytes of protocol that were written.
    pub bytes_out: u64,
}

/// Runs a machine over `io` until the connection is over; then tells the host, exactly once.
///
/// The machine is drained once before the first input, so that one that speaks first does. An [`Eof`] is its last input from
/// the peer: [`Eof::Reset`] also stands for a failed handshake, a peer that does not read, and a renegotiation. A machine
/// that does not close within [`Settings::close`] after it is closed by force.
pub fn drive<Io, M, H>(
    io: Io,
    machine: M,
    host: H,
    options: Options,
) -> impl Future<Output = Ended> + use<Io, M, H>
where
    Io: AsyncRead + AsyncWrite + Unpin + Send,
    M: Machine + Send,
    H: Host<M>,
{
    let now = Instant::now();
    // Made outside of the future, which then holds it once; what an async function is called with it would hold twice.
    let mut driver = Driver {
        machine,
        wire: Wire::new(io, Arc::clone(&options.settings.metrics)),
        host,
        bucket: options.settings.rate.as_ref().map(|limit| Bucket::full(limit.get(), now)),
        options,
        now,
        eof: None,
        deadline: None,
        slowed: false,
    };
    async move {
        let ran = contained(pin!(driver.run())).await;
        let why = ran.unwrap_or_else(|panic| panicked(&driver.options, &*panic));
        driver.wire.finish();
        if let Err(panic) = contained(Box::pin(driver.host.closed()).as_mut()).await {
            // It is logged; there is nobody else to tell.
            let _ended = panicked(&driver.options, &*panic);
        }
        let (bytes_in, bytes_out) = driver.wire.counted();
        tracing::debug!(
            peer = driver.options.peer.map(tracing::field::display),
            ?why,
            bytes_in,
            bytes_out,
            "connection ended"
        );
        Ended { why, bytes_in, bytes_out }
    }
}

/// Runs a future whose panic shall cost nobody else.
async fn contained<T>(mut future: Pin<&mut impl Future<Output = T>>) -> Result<T, Box<dyn Any + Send>> {
    poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
        Ok(Poll::Pending) => Poll::Pending,
        Ok(Poll::Ready(value)) => Poll::Ready(Ok(value)),
        Err(panic) => Poll::Ready(Err(panic)),
    })
    .await
}

fn panicked(options: &Options, panic: &(dyn Any + Send)) -> Why {
    options.settings.metrics.panicked();
    tracing::error!(
        peer = options.peer.map(tracing::field::display),
        panic = message(panic),
        "a connection's task panicked"
    );
    Why::Panicked
}

fn message(payload: &(dyn Any + Send)) -> &str {
    payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}

/// What ends a wait.
enum Turn<C> {
    Command(C),
    Got(Result<Got, Renegotiation>),
    Timer,
}

/// What a machine wants that takes its time.
enum Due<'a, A> {
    Asked(Pin<Box<A>>),
    Told(Waiting<'a>),
}

struct Driver<Io, M, H> {
    machine: M,
    wire: Wire<Io>,
    host: H,
    options: Options,
    /// What the peer may still send, if there is a limit.
    bucket: Option<Bucket>,
    /// When the driver last woke up. The time is asked for once each time.
    now: Instant,
    /// What the machine was told of the end of the peer's direction, and when it must have closed at last.
    eof: Option<(Eof, Instant)>,
    /// What the machine waits for.
    deadline: Option<Time>,
    /// Whether the peer waits for its rate.
    slowed: bool,
}

impl<Io, M, H> Driver<Io, M, H>
where
    Io: AsyncRead + AsyncWrite + Unpin + Send,
    M: Machine + Send,
    H: Host<M>,
{
    async fn run(&mut self) -> Why {
        if self.options.direct_tls {
            self.secured(Kind::Direct, None).await;
        }
        let mut sleep = pin!(sleep_until(self.now));
        let mut streak = 0;
        loop {
            if let Some(close) = self.drain().await {
                if close == Close::Orderly {
                    Box::pin(self.close()).await;
                }
                self.wire.kill();
                return Why::Closed(close);
            }
            match self.eof {
                Some((Eof::Reset, _)) => return Why::Broken,
                Some((_, until)) if self.now >= until => return Why::Broken,
                _ => {}
            }
            let turn = self.turn(sleep.as_mut(), streak >= STREAK).await;
            streak = if matches!(turn, Turn::Command(_)) && streak < STREAK { streak + 1 } else { 0 };
            match turn {
                Turn::Command(command) => self.machine.handle(self.time(), Input::Command(command)),
                Turn::Got(Ok(Got::Bytes(count))) => {
                    if let (Some(bucket), Some(limit)) = (self.bucket.as_mut(), &self.options.settings.rate) {
                        bucket.take(limit.get(), count as u64, self.now);
                    }
                }
                Turn::Got(Ok(Got::Eof(eof))) => self.end(eof),
                Turn::Got(Err(Renegotiation)) => {
                    self.renegotiated();
                    self.end(Eof::Reset);
                }
                Turn::Timer if self.deadline.is_some_and(|deadline| deadline <= self.time()) => {
                    self.machine.handle(self.time(), Input::Time);
                }
                Turn::Timer => {}
            }
            if self.stalled() {
                self.options.settings.metrics.budget_hit(label::WRITE_STALL);
                tracing::info!(
                    peer = self.options.peer.map(tracing::field::display),
                    "the peer does not read; its connection is dropped"
                );
                self.wire.kill();
                self.end(Eof::Reset);
            }
        }
    }

    fn time(&self) -> Time {
        self.options.settings.clock.time(self.now)
    }

    /// The peer has attempted a renegotiation: drops the connection, writes nothing (S2-04), and tells the operator (S2-08).
    fn renegotiated(&mut self) {
        self.wire.kill();
        self.options.settings.metrics.renegotiation();
        tracing::warn!(
            peer = self.options.peer.map(tracing::field::display),
            "the peer attempted a TLS renegotiation; its connection was dropped"
        );
    }

    /// Tells the machine that the peer's direction is over; once.
    fn end(&mut self, eof: Eof) {
        if eof == Eof::Truncated {
            self.options.settings.metrics.truncated();
            tracing::info!(
                peer = self.options.peer.map(tracing::field::display),
                "the connection ended inside TLS without close_notify"
            );
        }
        if eof == Eof::Reset {
            self.wire.kill();
        }
        let until = self.now + self.options.settings.close;
        if self.eof.is_none() {
            self.machine.handle(self.time(), Input::Eof(eof));
        }
        self.eof = Some((eof, until));
    }

    /// Drains the machine. Returns how to close, if that is what it wants.
    async fn drain(&mut self) -> Option<Close> {
        'drained: loop {
            // Taken apart before anything is awaited: otherwise the future has room for all that a machine can say. What the host
            // does is large while it lasts, and most of the time it does nothing.
            let domain = 'tls: {
                let due = match self.machine.poll(self.time()) {
                    Output::Send(bytes) => {
                        self.wire.push(bytes);
                        continue 'drained;
                    }
                    Output::Ask(question) => Due::Asked(Box::pin(self.host.ask(question))),
                    Output::Event(event) => match self.host.hear(event) {
                        Some(waiting) => Due::Told(waiting),
                        None => continue 'drained,
                    },
                    Output::StartTls { domain } => break 'tls domain,
                    Output::Close(close) => return Some(close),
                    Output::Wait(deadline) => {
                        self.deadline = deadline;
                        return None;
                    }
                };
                match due {
                    Due::Asked(asked) => {
                        let answer = alongside(&mut self.wire, &mut self.now, asked).await;
                        self.machine
                            .handle(self.options.settings.clock.time(self.now), Input::Answer(answer));
                    }
                    Due::Told(told) => alongside(&mut self.wire, &mut self.now, told).await,
                }
                continue 'drained;
            };
            self.secured(Kind::StartTls, domain).await;
        }
    }

    /// Waits for the next thing to happen, and writes meanwhile.
    async fn turn(&mut self, mut sleep: Pin<&mut Sleep>, socket_first: bool) -> Turn<M::Command> {
        let mut until = self.deadline.and_then(|deadline| self.options.settings.clock.instant(deadline));
        let mut by = |other: Option<Instant>| until = until.into_iter().chain(other).min();
        by(self.eof.map(|(_, until)| until));
        let mut may_read = self.eof.is_none() && self.machine.wants_bytes();
        if may_read
            && let (Some(bucket), Some(limit)) = (self.bucket.as_mut(), &self.options.settings.rate)
            && let Err(wait) = bucket.ready(limit.get(), self.now)
        {
            if !std::mem::replace(&mut self.slowed, true) {
                self.options.settings.metrics.budget_hit(label::BYTES_PER_SECOND);
            }
            may_read = false;
            by(Some(self.now + wait));
        }
        self.slowed &= !may_read;
        let Self { machine, wire, host, options, now, .. } = self;
        let mut command = pin!(host.command());
        let mut full = wire.waiting() >= options.settings.out_watermark;
        // What this turn begins with, the last one has ended with.
        let mut woken = false;
        poll_fn(|cx| {
            if std::mem::replace(&mut woken, true) {
                *now = Instant::now();
            }
            let mut asked = false;
            if !full && !socket_first {
                asked = true;
                if let Poll::Ready(command) = command.as_mut().poll(cx) {
                    return Poll::Ready(Turn::Command(command));
                }
            }
            if wire.has_pending() {
                let _written_or_not = wire.poll_flush(cx);
                full = wire.waiting() >= options.settings.out_watermark;
            }
            if wire.write_broken() && !may_read {
                return Poll::Ready(Turn::Got(Ok(Got::Eof(Eof::Reset))));
            }
            if may_read && wire.waiting() < options.settings.out_limit {
                let time = options.settings.clock.time(*now);
                if let Poll::Ready(got) =
                    wire.poll_read(cx, |bytes| machine.handle(time, Input::Bytes(bytes)))
                {
                    return Poll::Ready(Turn::Got(got));
                }
            }
            if !full
                && !asked
                && let Poll::Ready(command) = command.as_mut().poll(cx)
            {
                return Poll::Ready(Turn::Command(command));
            }
            // Whatever waits to be written may have begun to wait just now.
            let stall = wire.stalled_since().map(|since| since + options.settings.write_stall);
            if let Some(until) = until.into_iter().chain(stall).min() {
                // Deadlines move away with every stanza. The sleep stays where it is, and wakes up once for nothing.
                if sleep.deadline() > until || sleep.is_elapsed() {
                    sleep.as_mut().reset(until);
                }
                if sleep.as_mut().poll(cx).is_ready() {
                    *now = Instant::now();
                    return Poll::Ready(Turn::Timer);
                }
            }
            Poll::Pending
        })
        .await
    }

    fn stalled(&self) -> bool {
        self.wire.stalled_since().is_some_and(|since| self.now >= since + self.options.settings.write_stall)
    }

    /// Handshakes, and tells the machine what came of it.
    async fn secured(&mut self, kind: Kind, domain: Option<String>) {
        let facts = Box::pin(self.secure(kind, domain.as_deref())).await;
        self.now = Instant::now();
        match facts {
            Some(facts) => self.machine.handle(self.time(), Input::Tls(facts)),
            None => self.end(Eof::Reset),
        }
    }

    /// Everything sent so far goes out in clear, then comes the handshake. None if it failed.
    async fn secure(&mut self, kind: Kind, domain: Option<&str>) -> Option<TlsFacts> {
        let metrics = &self.options.settings.metrics;
        let peer = self.options.peer.map(tracing::field::display);
        if self.eof.is_some() {
            return None;
        }
        let limit = Instant::now() + self.options.settings.handshake;
        let handshake = async {
            poll_fn(|cx| self.wire.poll_flush(cx)).await;
            if self.wire.inside_tls() || self.wire.write_broken() {
                return Err(HandshakeError::Eof);
            }
            match &self.options.security {
                Security::None => Err(HandshakeError::Unknown),
                Security::Server(hosts) => self.wire.accept_tls(hosts, kind, domain).await,
                Security::Client { connector, server_name } => {
                    self.wire.connect_tls(connector, kind, server_name).await
                }
            }
        };
        let failure = match timeout_at(limit, handshake).await {
            Ok(Ok(facts)) => {
                metrics.handshake(
                    version(facts.version),
                    if facts.resumed { label::RESUMED } else { label::FULL },
                );
                return Some(facts);
            }
            Ok(Err(HandshakeError::Unknown)) => {
                metrics.handshake(label::NONE, label::REFUSED);
                HandshakeError::Unknown
            }
            Ok(Err(error)) => {
                metrics.handshake(label::NONE, label::FAILED);
                if matches!(error, HandshakeError::Renegotiation(_)) {
                    self.renegotiated();
                    return None;
                }
                error
            }
            Err(_) => {
                metrics.handshake(label::NONE, label::TIMEOUT);
                metrics.budget_hit(label::TLS_HANDSHAKE_TIME);
                tracing::info!(peer, "the TLS handshake took too long");
                return None;
            }
        };
        tracing::info!(peer, %failure, "the TLS handshake failed");
        // Of several attempts on one connection only the first can fail.
        let refused = !matches!(failure, HandshakeError::Io(_) | HandshakeError::Eof);
        let failure = HandshakeFailure { why: failure.to_string(), refused };
        if let Some(told) = &self.options.handshake_failure {
            drop(told.set(failure));
        }
        // Closing with bytes unread would take the alert back out of the peer's hands.
        let goodbye = async {
            self.wire.finish_writing().await;
            self.linger().await;
        };
        let _taken = timeout_at(Instant::now() + ALERT, goodbye).await;
        None
    }

    /// Flushes, says `close_notify` if inside TLS, ends our direction, and waits for the peer's end (RFC 6120 §4.4); all in bounded time.
    async fn close(&mut self) {
        let limit = Instant::now() + self.options.settings.close;
        let closing = async {
            self.wire.finish_writing().await;
            if self.eof.is_none() {
                self.linger().await;
            }
        };
        if timeout_at(limit, closing).await.is_err() {
            tracing::debug!(
                peer = self.options.peer.map(tracing::field::display),
                "the peer did not end its direction in time"
            );
        }
    }

    /// Reads and drops what the peer still sends, until its end.
    async fn linger(&mut self) {
        let mut left = LINGER_BYTES;
        while let Ok(Got::Bytes(count)) = poll_fn(|cx| self.wire.poll_read(cx, |_| ())).await {
            left = left.saturating_sub(count as u64);
            if left == 0 {
                return;
            }
        }
    }
}

/// Awaits the host and writes meanwhile, so that a host that waits for somebody never keeps a peer from what it is owed.
async fn alongside<Io, T>(
    wire: &mut Wire<Io>,
    now: &mut Instant,
    mut future: Pin<Box<impl Future<Output = T> + ?Sized>>,
) -> T
where
    Io: AsyncRead + AsyncWrite + Unpin,
{
    let mut waited = false;
    poll_fn(|cx| {
        // First the host: mostly it is ready at once, and what follows goes out together.
        if let Poll::Ready(value) = future.as_mut().poll(cx) {
            if waited {
                *now = Instant::now();
            }
            return Poll::Ready(value);
        }
        waited = true;
        if wire.has_pending() {
            let _written_or_not = wire.poll_flush(cx);
        }
        Poll::Pending
    })
    .await
}

fn version(version: TlsVersion) -> &'static str {
    match version {
        TlsVersion::Tls12 => label::TLS12,
        TlsVersion::Tls13 => label::TLS13,
    }
}
