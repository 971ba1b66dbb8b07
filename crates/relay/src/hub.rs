//! What the connections of a relay share.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use nuncio_dna::Policy;
use nuncio_msrp::relay::{
    self, Command, Direction, Frame, LinkId, Next, Owner, Piece, Registry, Route as Way, RouteError,
};
use nuncio_msrp::uri::{Hop, Host, Path, Uri};
use nuncio_msrp::{Scheme, Status};
use nuncio_net::{Clock, Collector, NetMetrics, Options, RateLimit, Settings, TlsHosts};
use nuncio_sansio::{Entropy, Time};
use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore};

use crate::accounts::{Accounts, Holder};
use crate::config::RelayConfig;
use crate::mailbox::{Left, Mailbox, NoRoom, Waiting};
use crate::metrics::{self, RelayMetrics};
use crate::out;

/// So many bytes may be on their way into a socket. More waits in the mailbox, where it counts against a bound. It is both the driver's watermark and
/// its limit: between two different ones a connection takes no command and is read, so it would not hear that it is to be held.
const UNWRITTEN: usize = 32 * 1_024;
/// Connections that are being made, at once.
const DIALS: usize = 256;

pub(crate) struct Hub {
    pub(crate) config: RelayConfig,
    pub(crate) accounts: Arc<dyn Accounts>,
    pub(crate) tls: Arc<TlsHosts>,
    pub(crate) collector: Option<Collector>,
    pub(crate) policy: ArcSwap<Policy>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) clock: Clock,
    pub(crate) metrics: RelayMetrics,
    /// Settings of the machines on TCP and TLS, and on WebSocket.
    pub(crate) stream: Arc<relay::Config>,
    pub(crate) message: Arc<relay::Config>,
    pub(crate) registry: Mutex<Registry>,
    pub(crate) dials: Semaphore,
    settings: Arc<Settings>,
    links: Mutex<HashMap<LinkId, Arc<Mailbox>>>,
    waiting: Arc<Waiting>,
    numbers: AtomicU64,
    /// Connections that we made or are making.
    outgoing: AtomicUsize,
    /// When the credentials end that the client of a connection has shown last.
    ends: Mutex<BTreeSet<(Time, LinkId)>>,
    sooner: Notify,
    /// There is one connection less.
    fewer: Notify,
    stopping: AtomicBool,
}

/// What a hub is made of beside its settings.
pub(crate) struct Pieces {
    pub(crate) accounts: Arc<dyn Accounts>,
    pub(crate) tls: Arc<TlsHosts>,
    pub(crate) collector: Option<Collector>,
    pub(crate) policy: Policy,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) clock: Clock,
    pub(crate) net: Arc<NetMetrics>,
}

impl Hub {
    pub(crate) fn new(
        config: RelayConfig,
        registry: Registry,
        stream: relay::Config,
        message: relay::Config,
        pieces: Pieces,
    ) -> Arc<Self> {
        let Pieces { accounts, tls, collector, policy, entropy, clock, net } = pieces;
        let metrics = RelayMetrics::default();
        Arc::new(Self {
            waiting: Waiting::new(metrics.waiting_bytes.clone(), config.waiting),
            settings: Arc::new(Settings {
                handshake: config.handshake,
                write_stall: config.write,
                close: config.close,
                out_watermark: UNWRITTEN,
                out_limit: UNWRITTEN,
                rate: Some(Arc::new(RateLimit::new(config.rate))),
                ..Settings::new(clock, net)
            }),
            config,
            accounts,
            tls,
            collector,
            policy: ArcSwap::from_pointee(policy),
            entropy,
            clock,
            metrics,
            stream: Arc::new(stream),
            message: Arc::new(message),
            registry: Mutex::new(registry),
            dials: Semaphore::new(DIALS),
            links: Mutex::default(),
            numbers: AtomicU64::new(0),
            outgoing: AtomicUsize::new(0),
            ends: Mutex::default(),
            sooner: Notify::new(),
            fewer: Notify::new(),
            stopping: AtomicBool::new(false),
        })
    }

    pub(crate) fn options(&self) -> Options {
        Options::new(Arc::clone(&self.settings))
    }

    /// A new connection.
    pub(crate) fn open(&self) -> (LinkId, Arc<Mailbox>) {
        self.open_in(&mut self.registry.lock(), None)
    }

    fn open_in(&self, registry: &mut Registry, made: Option<(Hop, Arc<str>)>) -> (LinkId, Arc<Mailbox>) {
        let id = LinkId(self.numbers.fetch_add(1, Ordering::Relaxed) + 1);
        let mail = Mailbox::new(self.config.lane, Arc::clone(&self.waiting));
        let direction = if made.is_some() { Direction::Outbound } else { Direction::Inbound };
        if direction == Direction::Outbound {
            self.outgoing.fetch_add(1, Ordering::Relaxed);
        }
        self.metrics.connections.get_or_create(&way(direction)).inc();
        registry.opened(id, made);
        self.links.lock().insert(id, Arc::clone(&mail));
        if self.stopping.load(Ordering::Acquire) {
            mail.order(Command::Close);
        }
        (id, mail)
    }

    /// A connection is over. What waited for it has failed, with this status for those who want to know.
    pub(crate) fn closed(&self, id: LinkId, direction: Direction, status: Status) {
        {
            let mut registry = self.registry.lock();
            registry.closed(id);
            self.count_uris(&registry);
        }
        let Some(mail) = self.links.lock().remove(&id) else { return };
        self.metrics.connections.get_or_create(&way(direction)).dec();
        if direction == Direction::Outbound {
            self.outgoing.fetch_sub(1, Ordering::Relaxed);
        }
        let Left { pieces, frames } = mail.close();
        for (_, piece, source) in pieces {
            self.undelivered(&piece, &source, status);
        }
        for frame in frames {
            self.refused(&frame, status);
        }
        self.fewer.notify_waiters();
    }

    /// A piece has no way on: its origin hears of it, if it wants to.
    pub(crate) fn undelivered(&self, piece: &Piece, source: &Mailbox, status: Status) {
        if let Piece::Head(forwarded) = piece
            && let Some(report) = forwarded.report(status, &*self.entropy)
        {
            self.metrics.requests.inc();
            if source.frame(report).is_err() {
                self.metrics.dropped.inc();
            }
        }
    }

    /// A request has no way on, and is answered.
    fn refused(&self, frame: &Frame, status: Status) {
        if let Some((origin, answer)) = frame.refused(status)
            && let Some(mail) = self.mail(origin)
            && mail.frame(answer).is_err()
        {
            self.metrics.dropped.inc();
        }
    }

    /// Passes a whole frame on.
    pub(crate) fn frame(&self, next: &Next, frame: Frame) {
        self.metrics.requests.inc();
        let mail = match next {
            Next::Link(link) => self.mail(*link),
            // Nothing is routed like that: see `route`.
            Next::Connect { .. } => None,
        };
        let Some(mail) = mail else {
            self.refused(&frame, Status::TIMEOUT);
            return;
        };
        if let Err(NoRoom(frame)) = mail.frame(frame) {
            self.metrics.dropped.inc();
            self.refused(&frame, Status::TIMEOUT);
        }
    }

    pub(crate) fn mail(&self, link: LinkId) -> Option<Arc<Mailbox>> {
        self.links.lock().get(&link).cloned()
    }

    /// Where a request goes; connects, if need be.
    pub(crate) fn route(self: &Arc<Self>, link: LinkId, to: &Path, from: &Path) -> Result<Way, RouteError> {
        let now = self.clock.now();
        let mut registry = self.registry.lock();
        let found = registry.route(now, link, to, from).and_then(|route| match &route.next {
            Next::Link(_) => Ok((route, None)),
            Next::Connect { hop, account } => {
                let usable = match hop.scheme {
                    Scheme::Msrp => self.config.clear,
                    // Nobody can prove to be a numeric address.
                    Scheme::Msrps => matches!(hop.host, Host::Name(_)),
                };
                if !usable {
                    return Err(RouteError::NoWay);
                }
                if self.outgoing.load(Ordering::Relaxed) >= self.config.outgoing {
                    return Err(RouteError::Budget);
                }
                let (hop, account) = (hop.clone(), Arc::clone(account));
                // At once, so that whoever comes next takes the same one.
                let (id, _) = self.open_in(&mut registry, Some((hop.clone(), Arc::clone(&account))));
                Ok((Way { next: Next::Link(id), ..route }, Some((id, hop, account))))
            }
        });
        drop(registry);
        let (route, connect) = found?;
        if let Some((id, hop, account)) = connect {
            tokio::spawn(out::connect(Arc::clone(self), id, hop, account));
        }
        Ok(route)
    }

    /// A request was not passed on.
    pub(crate) fn unroutable(&self, error: RouteError) {
        self.metrics.unroutable.get_or_create(&metrics::Route { reason: reason(error) }).inc();
    }

    /// Whether a URI in this path was not known here, and is from now on: another machine of our name has sealed it, or this one before its last
    /// start, and its account may still use the relay.
    pub(crate) async fn adopt(&self, to: &Path) -> bool {
        let mut any = false;
        for uri in to.uris().iter().take(2) {
            let now = self.clock.now();
            let holder = {
                let mut registry = self.registry.lock();
                let holder = registry.sealed(now, uri).filter(|_| registry.adopt(now, uri));
                self.count_uris(&registry);
                holder
            };
            let Some(holder) = holder else { continue };
            // In this order, as with a URI that is issued: what ends the account's sessions from now on ends this one as well.
            if self.accounts.may(&holder).await == Some(true) {
                tracing::info!(account = %holder.name, "a URI of the MSRP relay was known by its seal");
                any = true;
            } else {
                self.disown(uri);
            }
        }
        any
    }

    /// A URI for an account.
    pub(crate) fn issue(
        &self,
        holder: &Holder,
        owner: Owner,
        from: Path,
        seconds: u32,
    ) -> Result<Uri, Status> {
        let mut registry = self.registry.lock();
        let issued = registry.issue(self.clock.now(), holder, owner, from, seconds, &*self.entropy);
        self.count_uris(&registry);
        issued
    }

    /// Takes a URI back.
    pub(crate) fn disown(&self, uri: &Uri) {
        let mut registry = self.registry.lock();
        registry.disown(uri);
        self.count_uris(&registry);
    }

    /// An account may not use the relay any more: its URIs are void, and the connections of its clients end. Gives how many.
    pub(crate) fn end(&self, account: &str) -> usize {
        let links = {
            let mut registry = self.registry.lock();
            let links = registry.revoke(account);
            self.count_uris(&registry);
            links
        };
        for link in &links {
            self.order(*link, Command::Close);
        }
        if !links.is_empty() {
            tracing::info!(
                account,
                connections = links.len(),
                "an account may not use the MSRP relay any more"
            );
        }
        links.len()
    }

    fn count_uris(&self, registry: &Registry) {
        self.metrics.uris.set(i64::try_from(registry.len()).unwrap_or(i64::MAX));
    }

    /// The client of a connection has shown credentials that are good until then.
    pub(crate) fn good_until(&self, link: LinkId, before: Option<Time>, until: Option<Time>) {
        let mut ends = self.ends.lock();
        if let Some(before) = before {
            ends.remove(&(before, link));
        }
        if let Some(until) = until {
            ends.insert((until, link));
            drop(ends);
            self.sooner.notify_one();
        }
    }

    /// Ends what has expired, for ever.
    pub(crate) async fn tidy(self: Arc<Self>) {
        const ROUND: Duration = Duration::from_secs(30);
        loop {
            let now = self.clock.now();
            let mut over = Vec::new();
            let next = {
                let mut ends = self.ends.lock();
                while let Some((until, link)) = ends.first().copied().filter(|(until, _)| *until <= now) {
                    ends.remove(&(until, link));
                    over.push(link);
                }
                ends.first().map(|(until, _)| *until)
            };
            for link in over {
                tracing::info!(
                    link = link.0,
                    "the credentials of an MSRP client have ended; so does its connection"
                );
                self.order(link, Command::Close);
            }
            {
                let mut registry = self.registry.lock();
                registry.purge(now);
                self.count_uris(&registry);
            }
            let until = next.unwrap_or(now + ROUND).min(now + ROUND);
            let sleep = async {
                match self.clock.instant(until) {
                    Some(until) => tokio::time::sleep_until(until).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = sleep => {}
                () = self.sooner.notified() => {}
            }
        }
    }

    pub(crate) fn order(&self, link: LinkId, command: Command) {
        if let Some(mail) = self.mail(link) {
            mail.order(command);
        }
    }

    /// Ends all connections by the book, and waits for that at most so long.
    pub(crate) async fn stop(&self, grace: Duration) {
        self.stopping.store(true, Ordering::Release);
        let all: Vec<_> = self.links.lock().values().cloned().collect();
        for mail in all {
            mail.order(Command::Close);
        }
        let empty = async {
            loop {
                let fewer = self.fewer.notified();
                tokio::pin!(fewer);
                fewer.as_mut().enable();
                if self.links.lock().is_empty() {
                    return;
                }
                fewer.await;
            }
        };
        if tokio::time::timeout(grace, empty).await.is_err() {
            tracing::warn!("connections of the MSRP relay did not end in time");
        }
    }
}

pub(crate) const fn way(direction: Direction) -> metrics::Way {
    metrics::Way {
        direction: match direction {
            Direction::Inbound => "in",
            Direction::Outbound => "out",
        },
    }
}

const fn reason(error: RouteError) -> &'static str {
    match error {
        RouteError::Unknown => "unknown",
        RouteError::NotAllowed => "not_allowed",
        RouteError::Unproven => "unproven",
        RouteError::Elsewhere => "elsewhere",
        RouteError::NoWay => "no_way",
        RouteError::Budget => "budget",
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use nuncio_msrp::relay::{Account, Link, NonceKey};
    use nuncio_net::tls::{HostFiles, PairFiles, TlsSettings};
    use nuncio_net::{OsEntropy, ca, drive};
    use tokio::io::AsyncWriteExt as _;
    use tokio::time::timeout;

    use super::*;
    use crate::accounts::Boxed;
    use crate::host::LinkHost;

    struct Nobody;

    impl Accounts for Nobody {
        fn by_name<'a>(&'a self, _: &'a str, _: IpAddr) -> Boxed<'a, Option<Account>> {
            Box::pin(async { None })
        }

        fn by_certificate<'a>(&'a self, _: &'a [String]) -> Boxed<'a, Option<Account>> {
            Box::pin(async { None })
        }

        fn may<'a>(&'a self, _: &'a Holder) -> Boxed<'a, Option<bool>> {
            Box::pin(async { None })
        }

        fn failed(&self, _: &str, _: IpAddr) {}
    }

    fn hub() -> Arc<Hub> {
        let folder = tempfile::tempdir().unwrap();
        let local = ca::local(folder.path(), &["relay.example".to_owned()]).unwrap();
        let tls = TlsSettings {
            hosts: vec![HostFiles {
                domain: "relay.example".to_owned(),
                pairs: vec![PairFiles { chain: local.chain.clone(), key: local.key }],
                ..HostFiles::default()
            }],
            ..TlsSettings::default()
        };
        let config = RelayConfig::new("relay.example", 2855);
        let registry = Registry::new("relay.example", 2855, Vec::new(), config.bounds).unwrap();
        let nonces = Arc::new(NonceKey::new(&OsEntropy, config.nonce));
        let machine = || relay::Config {
            // What is tried here has to be tried often.
            strikes: u32::MAX,
            ..relay::Config::new(registry.ours().to_vec(), Arc::clone(&nonces))
        };
        let (stream, message) = (machine(), machine());
        let pieces = Pieces {
            accounts: Arc::new(Nobody),
            tls: Arc::new(TlsHosts::load(tls).unwrap().0),
            collector: None,
            policy: Policy::default(),
            entropy: Arc::new(OsEntropy),
            clock: Clock::start(),
            net: Arc::default(),
        };
        Hub::new(config, registry, stream, message, pieces)
    }

    /// Back-pressure holds for whoever reads no answers as well: as long as he cannot be told to hold, he is not read.
    #[tokio::test(start_paused = true)]
    async fn whoever_takes_no_command_is_not_read() {
        let hub = hub();
        let from = Path::parse("msrps://bob.example:1/b;tcp", 1).unwrap();
        // He reads nothing.
        let (bob, _mail) = hub.open();
        let holder = Holder { name: "bob".into(), generation: 0 };
        let token = hub.issue(&holder, Owner::Link(bob), from.clone(), 3_600).unwrap();
        let send = |to: &str, wish: &str, body: &str| {
            format!(
                "MSRP aaaaaaaa SEND\r\nTo-Path: {to} {from}\r\nFrom-Path: msrps://peer.example:1/p;tcp\r\nMessage-ID: mail\r\n\
                 Byte-Range: 1-*/*\r\nFailure-Report: {wish}\r\nContent-Type: text/plain\r\n\r\n{body}\r\n-------aaaaaaaa$\r\n"
            )
        };
        let (id, mail) = hub.open();
        let machine = Link::new(
            id,
            Direction::Inbound,
            Arc::clone(&hub.stream),
            Arc::clone(&hub.entropy),
            hub.clock.now(),
        );
        let peer = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let host = LinkHost::new(Arc::clone(&hub), id, mail, Direction::Inbound, peer);
        let (mut client, io) = tokio::io::duplex(1_024);
        tokio::spawn(drive(io, machine, host, hub.options()));
        let good = send(token.as_str(), "yes", "x");
        client.write_all(good.as_bytes()).await.unwrap();
        // Answers that he does not read, more than may wait, but not many more; then what is not answered.
        let refused = send("msrps://relay.example:2855/nobody;tcp", "yes", "x");
        let quiet = send(token.as_str(), "no", &"x".repeat(1_000));
        let all =
            std::iter::repeat_n(&refused, 2 * UNWRITTEN / 100).chain(std::iter::repeat_n(&quiet, 4_000));
        for request in all {
            if timeout(Duration::from_secs(1), client.write_all(request.as_bytes())).await.is_err() {
                break;
            }
        }
        let waiting = hub.metrics.waiting_bytes.get();
        assert!((1..300_000).contains(&waiting), "{waiting} bytes wait for who does not read");
    }
}
