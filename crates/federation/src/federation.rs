//! The whole: what comes from the router, what goes back to it, and the streams that there are.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use nuncio_dna::dialback::Secret;
use nuncio_dna::{Direction, Domain, Policy, Time};
use nuncio_net::{
    Clock, Collector, Incoming, Listener, NetMetrics, Options, RateLimit, Security, Settings, TlsHosts, drive,
};
use nuncio_router::commands::Refused;
use nuncio_router::store::{Fault, Ticket};
use nuncio_router::{Elsewhere, Router};
use nuncio_sansio::Entropy;
use nuncio_stream::s2s::{Command, Pair, S2s, Start};
use nuncio_xmpp::error::{Condition, ErrorType, StanzaError, StreamCondition, StreamError};
use nuncio_xmpp::stanza::Stanza;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::config::FederationConfig;
use crate::failure::Failure;
use crate::former::{Former, Formers, Given};
use crate::history::{AUTHORISED, Attempt, History};
use crate::host::StreamHost;
use crate::live::Live;
use crate::metrics::{FederationMetrics, Outcome};
use crate::mind::{self, Now};
use crate::open::Turns;
use crate::pairs::{Entry, Pairs, Refusal, Then};
use crate::queue::Parcel;
use crate::route::Target;
use crate::spool::{Spool, is_kept};

/// How often proofs and idle pairs are looked at.
const TICK: Duration = Duration::from_secs(1);

/// What federation is made of.
pub struct Parts {
    /// Its configuration.
    pub config: FederationConfig,
    /// The router that it serves.
    pub router: Arc<Router>,
    /// The certificates of our domains, as servers show them to each other.
    pub tls: Arc<TlsHosts>,
    /// Where ids and waits come from.
    pub entropy: Arc<dyn Entropy>,
    /// The clock of all connections.
    pub clock: Clock,
    /// What asks DNS and web servers about other domains.
    pub collector: Collector,
    /// What connections count.
    pub net: Arc<NetMetrics>,
    /// What makes dialback keys.
    pub secret: Secret,
}

/// Streams to and from other servers.
pub struct Federation {
    pub(crate) config: FederationConfig,
    pub(crate) router: Arc<Router>,
    pub(crate) tls: Arc<TlsHosts>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) clock: Clock,
    pub(crate) metrics: FederationMetrics,
    pub(crate) pairs: Pairs,
    pub(crate) turns: Turns,
    pub(crate) collector: Collector,
    settings: Arc<Settings>,
    secret: Secret,
    policy: ArcSwap<Policy>,
    streams: Mutex<BTreeMap<u64, Arc<Live>>>,
    numbers: AtomicU64,
    history: Mutex<History>,
    /// Of streams that we opened: why the peer was not believed.
    refusals: Mutex<BTreeMap<Pair, Failure>>,
    spool: Arc<Spool>,
    pub(crate) formers: Formers,
    stopping: AtomicBool,
    /// A stream has ended, or a pair has found or lost its way, or given it up.
    pub(crate) moved: Notify,
    me: Weak<Self>,
}

/// What is left of a stream whose connection is over.
pub(crate) enum Left {
    /// What it was given and nobody has acknowledged: the stream is over too.
    Given(Vec<Given>),
    /// It may be resumed.
    Former(Box<Former>),
}

impl Now for Federation {
    fn now(&self) -> Time {
        Self::now(self)
    }
}

impl Federation {
    /// Starts: the router's stanzas for other domains come here from now on, and what the last process left is taken up.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn start(parts: Parts) -> Result<Arc<Self>, Fault> {
        let Parts { config, router, tls, entropy, clock, collector, net, secret } = parts;
        let this = Arc::new_cyclic(|me| Self {
            spool: Spool::new(router.store()),
            me: Weak::clone(me),
            policy: ArcSwap::from_pointee(config.policy.clone()),
            settings: Arc::new(Settings {
                handshake: config.handshake,
                write_stall: config.write,
                close: config.close,
                rate: Some(Arc::new(RateLimit::new(config.rate))),
                ..Settings::new(clock, net)
            }),
            config,
            router,
            tls,
            entropy,
            clock,
            collector,
            secret,
            metrics: FederationMetrics::default(),
            pairs: Pairs::default(),
            turns: Turns::default(),
            streams: Mutex::default(),
            numbers: AtomicU64::new(0),
            history: Mutex::default(),
            refusals: Mutex::default(),
            formers: Formers::default(),
            stopping: AtomicBool::new(false),
            moved: Notify::new(),
        });
        let elsewhere: Arc<dyn Elsewhere> = Arc::clone(&this) as _;
        this.router.federate(Arc::downgrade(&elsewhere));
        this.restore().await?;
        let weak = Arc::downgrade(&this);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(TICK).await;
                let Some(this) = weak.upgrade().filter(|this| !this.is_stopping()) else { return };
                this.renew();
                this.pairs.sweep();
            }
        });
        Ok(this)
    }

    /// What it counts.
    pub const fn metrics(&self) -> &FederationMetrics {
        &self.metrics
    }

    /// Takes another policy. What stands is judged again at once (S3-20).
    pub fn set_policy(self: &Arc<Self>, policy: Policy) {
        self.policy.store(Arc::new(policy));
        for entry in self.pairs.entries() {
            entry.reconsider();
        }
        for live in self.streams() {
            for (pair, by) in live.lapsing(Time::NEVER) {
                self.renew_beside(&live, pair, by, true);
            }
        }
    }

    pub(crate) fn policy(&self) -> Arc<Policy> {
        self.policy.load_full()
    }

    pub(crate) fn now(&self) -> Time {
        Time::from_secs(u64::try_from(self.router.now().as_second()).unwrap_or(0))
    }

    /// Accepts servers until dropped.
    pub async fn accept(self: Arc<Self>, mut listener: Listener, direct_tls: bool) {
        loop {
            let Incoming { stream, peer, permit, counted, .. } = listener.accept().await;
            let start = if direct_tls { Start::DirectTls } else { Start::Tcp };
            let live = self.live(Direction::In, peer, None);
            let machine = S2s::receiving(
                Arc::clone(&self.config.stream),
                Arc::clone(&self.entropy),
                start,
                self.clock.now(),
            );
            let host = StreamHost::new(Arc::clone(&self), live).incoming(permit, counted);
            let options = Options {
                security: Security::Server(Arc::clone(&self.tls)),
                direct_tls,
                ..self.options(peer)
            };
            tokio::spawn(drive(stream, machine, host, options));
        }
    }

    pub(crate) fn options(&self, peer: std::net::SocketAddr) -> Options {
        Options { peer: Some(peer), ..Options::new(Arc::clone(&self.settings)) }
    }

    /// A new stream.
    pub(crate) fn live(
        &self,
        direction: Direction,
        peer: std::net::SocketAddr,
        target: Option<Target>,
    ) -> Arc<Live> {
        let number = self.numbers.fetch_add(1, Ordering::Relaxed) + 1;
        let live = Live::new(number, direction, peer, target, self.now());
        let mut streams = self.streams.lock();
        streams.insert(number, Arc::clone(&live));
        self.metrics.streams.set(i64::try_from(streams.len()).unwrap_or(i64::MAX));
        live
    }

    /// The streams that there are, the oldest first.
    pub(crate) fn streams(&self) -> Vec<Arc<Live>> {
        self.streams.lock().values().cloned().collect()
    }

    /// Ends every stream with `<reset/>`, spread over this time, so that what follows is negotiated anew: other certificates, other ticket keys
    /// (RFC 6120 §4.9.3.16, S0-27). Returns how many there are. What waits goes over the streams that follow.
    pub fn reset_streams(&self, window: Duration) -> usize {
        let streams = self.streams();
        let count = u32::try_from(streams.len()).unwrap_or(u32::MAX).max(1);
        for (live, place) in streams.iter().map(Arc::clone).zip(0_u32..) {
            let wait = window / count * place;
            tokio::spawn(async move {
                tokio::time::sleep(wait).await;
                live.command(Command::Close(Some(StreamError::new(StreamCondition::Reset))));
            });
        }
        streams.len()
    }

    /// A stream is over, or only its connection.
    pub(crate) fn ended(self: &Arc<Self>, live: &Arc<Live>, left: Left, failure: &Failure) {
        let pairs = live.pairs();
        self.metrics.pairs.dec_by(i64::try_from(pairs.len()).unwrap_or(0));
        live.over();
        match left {
            Left::Given(given) => {
                for (entry, parcels) in self.sorted(given, &failure.text) {
                    let then = entry.detach(live, parcels);
                    self.then(&entry, then);
                }
            }
            Left::Former(mut former) => {
                former.hold(live);
                self.keep_former(*former);
            }
        }
        for pair in pairs {
            if let Some(entry) = self.pairs.known(&pair) {
                let then = entry.detach(live, Vec::new());
                self.then(&entry, then);
            }
        }
        // Last: whoever waits for its end finds all that is left of it.
        let count = {
            let mut streams = self.streams.lock();
            streams.remove(&live.number);
            i64::try_from(streams.len()).unwrap_or(i64::MAX)
        };
        self.metrics.streams.set(count);
        self.moved.notify_waiters();
    }

    /// Does what follows from a change of a pair.
    pub(crate) fn then(&self, entry: &Arc<Entry>, then: Then) {
        self.moved.notify_waiters();
        match then {
            Then::Nothing => {}
            Then::Tell(live) => live.ready(Arc::clone(entry)),
            Then::Open => {
                if let Some(me) = self.me.upgrade() {
                    tokio::spawn(me.open(Arc::clone(entry)));
                }
            }
        }
    }

    /// Stanzas return to their senders.
    pub(crate) fn give_back(&self, parcels: Vec<Parcel>, error: StanzaError) {
        self.metrics.undelivered.inc_by(parcels.len() as u64);
        if !parcels.iter().any(|parcel| parcel.bounces) {
            return;
        }
        let router = Arc::clone(&self.router);
        self.router.spawn(async move {
            for parcel in parcels {
                if parcel.bounces {
                    router.undelivered(&parcel.stanza, error.clone()).await;
                }
            }
        });
    }

    /// Sends what is answered in our own name.
    pub(crate) fn answer(&self, stanza: Option<Stanza>) {
        if let Some(stanza) = stanza {
            // Nobody is told of an answer that is not taken.
            drop(self.send(&stanza, false, false));
        }
    }

    pub(crate) fn key(&self, pair: &Pair, id: &str) -> Option<String> {
        let claim = mind::claim(pair, Direction::Out).ok()?;
        Some(self.secret.key(&claim.remote, &claim.local, id))
    }

    pub(crate) fn is_key(&self, pair: &Pair, id: &str, key: &str) -> bool {
        mind::claim(pair, Direction::Out)
            .is_ok_and(|claim| self.secret.is_key(key, &claim.remote, &claim.local, id))
    }

    /// Notes what became of an attempt.
    pub(crate) fn note(&self, pair: &Pair, direction: Direction, outcome: Result<(), &Failure>) {
        let (code, text, proofs, findings) = match outcome {
            Ok(()) => (AUTHORISED.to_owned(), "authorised".to_owned(), Arc::default(), Arc::default()),
            Err(failure) => {
                let (proofs, findings) = (Arc::clone(&failure.proofs), Arc::clone(&failure.findings));
                (failure.code.clone(), failure.text.clone(), proofs, findings)
            }
        };
        self.metrics
            .outcomes
            .get_or_create(&Outcome { direction: direction.name(), code: code.clone() })
            .inc();
        if outcome.is_err() {
            tracing::info!(%pair, %direction, code, text, "another server is not spoken with");
        }
        let at = self.now();
        let local = pair.local.to_string();
        let attempt = Attempt { at, direction, local, code, text, proofs, findings, times: 1 };
        self.history.lock().note(&pair.remote, attempt);
    }

    /// Why a pair was refused before its stream could carry it.
    pub(crate) fn last_refusal(&self, pair: &Pair) -> Option<Failure> {
        self.refusals.lock().remove(pair)
    }

    /// A pair is refused, and the stream that was opened for it with it.
    pub(crate) fn refused(&self, pair: &Pair, direction: Direction, failure: &Failure) {
        match direction {
            Direction::In => self.note(pair, direction, Err(failure)),
            // Whoever opened the stream notes it.
            Direction::Out => drop(self.refusals.lock().insert(pair.clone(), failure.clone())),
        }
    }

    /// A stream that they opened has ended without carrying anything: noted if it is known from whom it was.
    pub(crate) fn note_end(&self, live: &Live, failure: &Failure) {
        if let Some(pair) = live.claimed()
            && !failure.code.starts_with("refused")
        {
            self.note(&pair, Direction::In, Err(failure));
        }
    }

    pub(crate) fn history<R>(&self, look: impl FnOnce(&History) -> R) -> R {
        look(&self.history.lock())
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// Stops: what waits is sent as far as there is a way, streams are closed in peace once their peers have acknowledged everything, and by force after
    /// `grace`. Messages that could not be sent are kept for the next start; the rest returns to its senders. Flush the store after it.
    pub async fn stop(&self, grace: Duration) {
        let deadline = Instant::now() + grace;
        // Whoever looks for a way for the last stanzas has half of the time.
        let opened = async {
            self.until(|| !self.pairs.entries().iter().any(|entry| entry.is_hopeful())).await;
        };
        drop(tokio::time::timeout(grace / 2, opened).await);
        self.stopping.store(true, Ordering::Release);
        self.give_up_formers();
        for live in self.streams() {
            live.wake.notify_one();
        }
        self.leave_rest();
        let closed = self.until(|| self.streams.lock().is_empty());
        if tokio::time::timeout_at(deadline, closed).await.is_err() {
            tracing::warn!(
                streams = self.streams.lock().len(),
                "some streams between servers did not close in time"
            );
        }
        self.give_up_formers();
        self.leave_rest();
        self.router.quiet().await;
    }

    /// Waits until something holds, looking again whenever a stream has ended or a pair has moved on.
    pub(crate) async fn until(&self, holds: impl Fn() -> bool) {
        loop {
            let mut moved = pin!(self.moved.notified());
            moved.as_mut().enable();
            if holds() {
                return;
            }
            moved.await;
        }
    }

    /// What waits is left to the next process, as far as it is worth it; the rest returns to its senders.
    fn leave_rest(&self) {
        for entry in self.pairs.entries() {
            let (stay, back): (Vec<_>, Vec<_>) =
                entry.give_up().into_iter().partition(|parcel| parcel.bounces && is_kept(&parcel.stanza));
            for mut parcel in stay {
                // The store is flushed when everything has stopped.
                let kept = parcel.kept.take().or_else(|| self.spool.keep(&parcel.stanza, self.now()).0);
                if let Some(kept) = kept {
                    kept.stay();
                }
            }
            if !back.is_empty() {
                let text = format!("{}: this server is stopping", entry.pair.remote);
                self.give_back(back, StanzaError::new(Condition::RemoteServerTimeout).with_text(text));
            }
        }
    }

    /// Takes up what the last process left.
    async fn restore(&self) -> Result<(), Fault> {
        let now = self.now();
        for (kept, taken, stanza) in self.spool.restore().await? {
            let (Some(from), Some(to)) = (stanza.from(), stanza.to()) else { continue };
            if self.router.domain(from.domain()).is_none() {
                // A domain that is served here no more has nothing to say.
                continue;
            }
            let age = now.since(taken).min(self.config.queue.age);
            let until = Instant::now() + (self.config.queue.age - age);
            let entry = self.pairs.entry(from.domain(), to.domain());
            let then = entry.restore(Parcel::new(&stanza, true, until, Some(kept)));
            self.then(&entry, then);
        }
        Ok(())
    }
}

impl Elsewhere for Federation {
    fn send(&self, stanza: &Stanza, bounces: bool, durable: bool) -> Result<Ticket, Box<StanzaError>> {
        let (Some(from), Some(to)) = (stanza.from(), stanza.to()) else {
            return Err(Box::new(StanzaError::new(Condition::JidMalformed)));
        };
        let remote = to.domain();
        let entry = self.pairs.entry(from.domain(), remote);
        let taken = entry.push(stanza, &self.config.queue, || {
            let row = (durable && is_kept(stanza)).then(|| self.spool.keep(stanza, self.now()));
            let (kept, ticket) = row.map_or((None, None), |(kept, ticket)| (kept, Some(ticket)));
            (Parcel::new(stanza, bounces, Instant::now() + self.config.queue.age, kept), ticket)
        });
        match taken {
            Ok((then, ticket)) => {
                self.then(&entry, then);
                Ok(ticket.unwrap_or_else(Ticket::done))
            }
            Err(Refusal::Failing(failure)) => Err(Box::new(failure.error(remote))),
            Err(Refusal::Full) => {
                self.metrics.full.inc();
                let error = StanzaError::new(Condition::ResourceConstraint).with_type(ErrorType::Wait);
                Err(Box::new(error.with_text(format!("{remote}: too much waits for it already"))))
            }
        }
    }

    fn list(&self) -> Value {
        self.show_all()
    }

    fn explain(&self, domain: &str) -> Result<Value, Refused> {
        let name = nuncio_xmpp::jid::prepare_domain(domain)
            .map_err(|why| Refused::Args(format!("{domain} is not a domain: {why}")))?;
        if Domain::new(&name).is_err() {
            return Err(Refused::Args(format!("{domain} is not a domain that DNS could hold")));
        }
        if self.router.domain(&name).is_some() {
            return Err(Refused::Args(format!("{domain} is served here")));
        }
        Ok(self.show(&name))
    }
}
