//! Listening sockets, and the budget of connections before it is known who is there.

use std::collections::HashMap;
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::{Instant, sleep, sleep_until};

use crate::metrics::{NetMetrics, label};
use crate::rate::{Bucket, Rate};

/// How long accepting rests after the system refused, for lack of file descriptors mostly.
const REST: Duration = Duration::from_millis(100);

/// The unit by which addresses are budgeted: an IPv4 address, or the /64 network of an IPv6 address, which one host has for
/// itself.
#[must_use]
pub fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(v4),
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
    }
}

/// How many connections there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BudgetLimits {
    /// Connections in all.
    pub total: usize,
    /// Connections of one network ([`network_of`]).
    pub per_network: usize,
    /// Connections of one network that have not authenticated.
    pub unauthenticated_per_network: usize,
    /// How fast one network may connect, in connections. A faster one is refused.
    pub rate_per_network: Rate,
    /// How fast connections are accepted in all. Faster ones wait in the system's backlog.
    pub rate: Rate,
}

impl Default for BudgetLimits {
    /// 100 000 in all, 1000 and 100 unauthenticated of one network, which may open 50 a second (200 at once); 1000 a second
    /// (2000 at once) in all.
    fn default() -> Self {
        Self {
            total: 100_000,
            per_network: 1000,
            unauthenticated_per_network: 100,
            rate_per_network: Rate { per_second: 50, burst: 200 },
            rate: Rate { per_second: 1000, burst: 2000 },
        }
    }
}

#[derive(Debug)]
struct Entry {
    open: usize,
    unauthenticated: usize,
    bucket: Bucket,
}

#[derive(Debug)]
struct Counts {
    limits: BudgetLimits,
    total: usize,
    networks: HashMap<IpAddr, Entry>,
    // When the map has this many entries, those that remember nothing are dropped.
    sweep_at: usize,
    bucket: Bucket,
}

const SWEEP: usize = 1024;

/// The budget of connections that several listeners share. Cheap to clone; clones are the same budget.
#[derive(Clone, Debug)]
pub struct Budget {
    counts: Arc<Mutex<Counts>>,
    metrics: Arc<NetMetrics>,
}

impl Budget {
    /// A budget of which nothing is used.
    #[must_use]
    pub fn new(limits: BudgetLimits, metrics: Arc<NetMetrics>) -> Self {
        let counts = Counts {
            limits,
            total: 0,
            networks: HashMap::new(),
            sweep_at: SWEEP,
            bucket: Bucket::full(limits.rate, Instant::now()),
        };
        Self { counts: Arc::new(Mutex::new(counts)), metrics }
    }

    /// Sets the limits from now on. Connections that stand are not touched.
    pub fn set(&self, limits: BudgetLimits) {
        self.counts.lock().limits = limits;
    }

    /// Takes a place for a connection from this address.
    ///
    /// # Errors
    /// The name of the budget that is exhausted: `connections`, `connections_per_network`,
    /// `unauthenticated_per_network`, `connection_rate_per_network`. It has been counted.
    pub fn admit(&self, address: IpAddr) -> Result<Permit, &'static str> {
        let network = network_of(address);
        let admitted = self.counts.lock().admit(network, Instant::now());
        match admitted {
            Ok(()) => {
                let place = Place { budget: self.clone(), network, authenticated: AtomicBool::new(false) };
                Ok(Permit { place: Arc::new(place) })
            }
            Err(reason) => {
                self.metrics.refused(reason);
                Err(reason)
            }
        }
    }

    /// How many connections hold a place.
    #[must_use]
    pub fn open(&self) -> usize {
        self.counts.lock().total
    }

    /// How long the next accept should wait.
    fn pause(&self) -> Option<Duration> {
        let counts = &mut *self.counts.lock();
        counts.bucket.ready(counts.limits.rate, Instant::now()).err()
    }
}

impl Counts {
    fn admit(&mut self, network: IpAddr, now: Instant) -> Result<(), &'static str> {
        let limits = self.limits;
        self.bucket.take(limits.rate, 1, now);
        if self.total >= limits.total {
            return Err(label::CONNECTIONS);
        }
        if self.networks.len() >= self.sweep_at {
            self.networks
                .retain(|_, entry| entry.open > 0 || !entry.bucket.is_full(limits.rate_per_network, now));
            self.sweep_at = (2 * self.networks.len()).max(SWEEP);
        }
        let entry = self.networks.entry(network).or_insert_with(|| Entry {
            open: 0,
            unauthenticated: 0,
            bucket: Bucket::full(limits.rate_per_network, now),
        });
        if entry.open >= limits.per_network {
            return Err(label::CONNECTIONS_PER_NETWORK);
        }
        if entry.unauthenticated >= limits.unauthenticated_per_network {
            return Err(label::UNAUTHENTICATED_PER_NETWORK);
        }
        if entry.bucket.ready(limits.rate_per_network, now).is_err() {
            return Err(label::CONNECTION_RATE_PER_NETWORK);
        }
        entry.bucket.take(limits.rate_per_network, 1, now);
        entry.open += 1;
        entry.unauthenticated += 1;
        self.total += 1;
        Ok(())
    }
}

#[derive(Debug)]
struct Place {
    budget: Budget,
    network: IpAddr,
    authenticated: AtomicBool,
}

impl Place {
    fn authenticated(&self) {
        if !self.authenticated.swap(true, Ordering::Relaxed)
            && let Some(entry) = self.budget.counts.lock().networks.get_mut(&self.network)
        {
            entry.unauthenticated = entry.unauthenticated.saturating_sub(1);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.authenticated();
        let mut counts = self.budget.counts.lock();
        counts.total = counts.total.saturating_sub(1);
        if let Some(entry) = counts.networks.get_mut(&self.network) {
            entry.open = entry.open.saturating_sub(1);
        }
    }
}

/// A place in the budget. Given back when its last clone is dropped.
#[derive(Clone, Debug)]
pub struct Permit {
    place: Arc<Place>,
}

impl Permit {
    /// The connection has authenticated: it counts no longer as one that has not.
    pub fn authenticated(&self) {
        self.place.authenticated();
    }
}

/// Why a listener could not be made.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {source}")]
pub struct BindError {
    /// The address.
    pub address: SocketAddr,
    /// What the system said.
    pub source: io::Error,
}

/// A connection that was accepted and admitted.
#[derive(Debug)]
pub struct Incoming {
    /// The connection. Small writes are not delayed.
    pub stream: TcpStream,
    /// Who connected.
    pub peer: SocketAddr,
    /// The address that it connected to.
    pub local: SocketAddr,
    /// Its place in the budget; keep it as long as the connection.
    pub permit: Permit,
    /// Keeps the gauge of open connections right; keep it as long as the connection.
    pub counted: Counted,
}

/// One connection in the gauge of open connections.
#[derive(Debug)]
pub struct Counted {
    kind: &'static str,
    metrics: Arc<NetMetrics>,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.metrics.closed(self.kind);
    }
}

/// Listens on several addresses for one kind of connection.
#[derive(Debug)]
pub struct Listener {
    kind: &'static str,
    sockets: Vec<TcpListener>,
    addresses: Vec<SocketAddr>,
    next: usize,
    budget: Budget,
}

impl Listener {
    /// Binds every address, inside a tokio runtime. `kind` is the label in the metrics. Port 0 picks one; [`Listener::addresses`] says which.
    /// An IPv6 address listens for IPv6 only where the system says so, elsewhere for both; then the same IPv4 port is not
    /// an error.
    ///
    /// # Errors
    /// The first address that cannot be bound. Without any address there is nothing to accept, which is none.
    pub fn bind(
        kind: &'static str,
        addresses: &[SocketAddr],
        backlog: u32,
        budget: Budget,
    ) -> Result<Self, BindError> {
        let mut sockets: Vec<TcpListener> = Vec::with_capacity(addresses.len());
        let mut real = Vec::with_capacity(addresses.len());
        // IPv6 first: where it takes IPv4 along, its IPv4 twin is served already.
        let mut ordered = addresses.to_vec();
        ordered.sort_by_key(SocketAddr::is_ipv4);
        for address in ordered {
            let dual = |other: &SocketAddr| {
                other.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED) && other.port() == address.port()
            };
            match listen(address, backlog).and_then(|socket| Ok((socket.local_addr()?, socket))) {
                Ok((bound, socket)) => {
                    real.push(bound);
                    sockets.push(socket);
                }
                Err(error)
                    if error.kind() == io::ErrorKind::AddrInUse
                        && address.ip().is_unspecified()
                        && address.is_ipv4()
                        && real.iter().any(dual) =>
                {
                    tracing::debug!(%address, "served by the IPv6 socket of the same port");
                }
                Err(source) => return Err(BindError { address, source }),
            }
        }
        Ok(Self { kind, sockets, addresses: real, next: 0, budget })
    }

    /// The addresses that are listened on, with real ports.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// The label in the metrics.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        self.kind
    }

    /// The next connection that the budget admits; the others are closed at once. Cancel-safe. Errors of the system are
    /// logged and waited for, never returned: a listener lives as long as its server.
    pub async fn accept(&mut self) -> Incoming {
        loop {
            if let Some(pause) = self.budget.pause() {
                self.budget.metrics.budget_hit(label::ACCEPT_RATE);
                sleep(pause).await;
            }
            let (accepted, local) = poll_fn(|cx| self.poll_accept(cx)).await;
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    self.budget.metrics.accept_error();
                    if !of_one_connection(&error) {
                        tracing::warn!(%error, listener = self.kind, "cannot accept; resting");
                        sleep_until(Instant::now() + REST).await;
                    }
                    continue;
                }
            };
            let permit = match self.budget.admit(peer.ip()) {
                Ok(permit) => permit,
                Err(reason) => {
                    tracing::debug!(%peer, reason, listener = self.kind, "connection refused");
                    continue;
                }
            };
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%peer, %error, "cannot set TCP_NODELAY");
            }
            let metrics = Arc::clone(&self.budget.metrics);
            metrics.opened(self.kind);
            let counted = Counted { kind: self.kind, metrics };
            return Incoming { stream, peer, local, permit, counted };
        }
    }

    // Takes turns, so that a busy address does not starve another.
    fn poll_accept(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<(io::Result<(TcpStream, SocketAddr)>, SocketAddr)> {
        for step in 0..self.sockets.len() {
            let at = (self.next + step) % self.sockets.len();
            if let Poll::Ready(accepted) = self.sockets[at].poll_accept(cx) {
                self.next = at + 1;
                return Poll::Ready((accepted, self.addresses[at]));
            }
        }
        Poll::Pending
    }
}

/// Whether an error of accept concerns only the connection that would have been accepted.
fn of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionRefused
    )
}

fn listen(address: SocketAddr, backlog: u32) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A restart must not wait for the connections of the process before.
    #[cfg(unix)]
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(backlog)
}
