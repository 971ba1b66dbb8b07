//! A way out for a pair: a stream that goes to the same host, else a new one (RFC 6120 §3, RFC 7712 §4.4).

use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use nuncio_dna::Direction;
use nuncio_dna::dialback::Dialback;
use nuncio_net::{Security, dial, drive};
use nuncio_stream::backoff;
use nuncio_stream::s2s::{DialbackError, Opening, Pair, Purpose, S2s, Start};
use nuncio_xmpp::error::{Condition, StanzaError};
use parking_lot::Mutex;
use tokio::sync::{Semaphore, oneshot};
use tokio::time::{Instant, sleep_until};

use crate::Federation;
use crate::failure::Failure;
use crate::host::StreamHost;
use crate::live::{Live, Phase};
use crate::mind;
use crate::pairs::Entry;
use crate::route::{Target, turn_of};

/// Connections that are tried at once, to all servers.
const DIALS: usize = 256;
/// How long a pair waits for what becomes of another's attempt to reach the same host is bounded by its queue; each attempt by this.
const ATTEMPT: Duration = Duration::from_secs(90);

/// Whose turn it is to connect to a host: a thousand pairs to one hoster make one connection.
#[derive(Debug)]
pub(crate) struct Turns {
    hosts: Mutex<HashMap<String, Weak<Turn>>>,
    dials: Semaphore,
}

impl Default for Turns {
    fn default() -> Self {
        Self { hosts: Mutex::default(), dials: Semaphore::new(DIALS) }
    }
}

/// One host.
#[derive(Debug, Default)]
pub(crate) struct Turn {
    one: tokio::sync::Mutex<()>,
    /// When the last attempt to reach it failed, and why.
    failed: Mutex<Option<(Instant, Failure)>>,
}

impl Turn {
    /// Waits for one's turn.
    pub(crate) async fn wait(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.one.lock().await
    }
}

impl Turns {
    pub(crate) fn of(&self, host: &str) -> Arc<Turn> {
        let mut hosts = self.hosts.lock();
        if let Some(turn) = hosts.get(host).and_then(Weak::upgrade) {
            return turn;
        }
        hosts.retain(|_, turn| turn.strong_count() > 0);
        let turn = Arc::new(Turn::default());
        hosts.insert(host.to_owned(), Arc::downgrade(&turn));
        turn
    }
}

/// What came first.
enum First<T> {
    Done(T),
    Changed,
    Expired,
}

/// Waits for the work, but not beyond a change of the pair or the end of its first stanza's time.
async fn first<T>(work: impl Future<Output = T>, entry: &Entry, until: Option<Instant>) -> First<T> {
    let expiry = async {
        match until {
            Some(until) => sleep_until(until).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        done = work => First::Done(done),
        () = entry.changed.notified() => First::Changed,
        () = expiry => First::Expired,
    }
}

impl Federation {
    /// Looks for a way out until there is one or nothing waits any more. At most one of these runs for each pair.
    pub(crate) async fn open(self: Arc<Self>, entry: Arc<Entry>) {
        while let Some((rest, _)) = entry.wanted() {
            if self.is_stopping() {
                return;
            }
            if let Some(rest) = rest.filter(|rest| *rest > Instant::now()) {
                self.rest(&entry, rest).await;
                continue;
            }
            let attempt = Box::pin(self.attempt(&entry));
            let mut attempt = std::pin::pin!(attempt);
            let outcome = loop {
                let Some((_, until)) = entry.wanted() else { return };
                match first(attempt.as_mut(), &entry, until).await {
                    First::Done(outcome) => break outcome,
                    First::Changed => {}
                    First::Expired => self.expire(&entry),
                }
            };
            let outcome = outcome.and_then(|()| match entry.wanted() {
                None => Ok(()),
                // They carry it, but we do not believe them.
                Some(_) => Err(self.last_refusal(&entry.pair).unwrap_or_else(|| {
                    Failure::lasting(
                        "policy-unmet",
                        "the stream was opened, but what is proven does not suffice",
                    )
                })),
            });
            if let Err(failure) = outcome {
                self.note(&entry.pair, Direction::Out, Err(&failure));
                let retry = |failures| Instant::now() + backoff::delay(failures, &*self.entropy);
                let back = entry.failed(&failure, retry);
                self.moved.notify_waiters();
                if !back.is_empty() {
                    self.give_back(back, failure.error(&entry.pair.remote));
                }
            }
        }
    }

    async fn rest(&self, entry: &Entry, until: Instant) {
        let Some((_, expiry)) = entry.wanted() else { return };
        if let First::Expired = first(sleep_until(until), entry, expiry).await {
            self.expire(entry);
        }
    }

    /// What has waited too long returns, with the reason why there is no way.
    fn expire(&self, entry: &Entry) {
        let late = entry.expired();
        if late.is_empty() {
            return;
        }
        self.moved.notify_waiters();
        self.metrics.expired.inc_by(late.len() as u64);
        let remote = &entry.pair.remote;
        let error = match entry.look().failure {
            Some(failure) => failure.error(remote),
            None => {
                let text = format!("{remote}: no connection could be made in time");
                StanzaError::new(Condition::RemoteServerTimeout).with_text(text)
            }
        };
        self.give_back(late, error);
    }

    /// One attempt. When it has succeeded the pair is on a stream.
    async fn attempt(self: &Arc<Self>, entry: &Arc<Entry>) -> Result<(), Failure> {
        let pair = &entry.pair;
        self.mind().may_speak(&pair.remote, Direction::Out)?;
        let claim = mind::claim(pair, Direction::Out)?;
        let route = self.route(&pair.remote, &claim.remote).await?;
        let begun = Instant::now();
        let turn = self.turns.of(&turn_of(&route));
        let mut tried = Vec::new();
        let _mine = loop {
            if self.share(pair, &route, &mut tried).await {
                return Ok(());
            }
            let mine = turn.wait().await;
            if entry.on().is_some() {
                return Ok(());
            }
            if let Some((_, failure)) = turn.failed.lock().as_ref().filter(|(at, _)| *at >= begun) {
                return Err(failure.clone());
            }
            // Whoever was first may have opened a stream for all; on that, they need not wait for each other.
            if self.candidates(pair, &route, &tried).is_empty() {
                break mine;
            }
        };
        let mut last = Failure::passing("no-address", "it has no address");
        let mut todo: VecDeque<Target> = route.into();
        while let Some(target) = todo.pop_front() {
            last = match self.dial(pair, &target, Purpose::Stanzas).await {
                Ok((_, told)) => match told.await {
                    Ok(Ok(())) => return Ok(()),
                    Ok(Err(failure)) => failure,
                    Err(_) => Failure::passing("stream-lost", "the connection was lost"),
                },
                Err(failure) => failure,
            };
            if let Some(decision) = &last.redirect {
                match self.redirected(&target, decision).await {
                    Ok(there) => todo = there.into(),
                    Err(failure) => last = failure,
                }
                continue;
            }
            if last.lasting && last.of_pair {
                // Another server of the same domain would hear and say the same.
                break;
            }
        }
        if !last.of_pair {
            *turn.failed.lock() = Some((Instant::now(), last.clone()));
        }
        Err(last)
    }

    /// The streams that might carry the pair too, except those that were tried.
    fn candidates(&self, pair: &Pair, route: &[Target], tried: &[u64]) -> Vec<(Arc<Live>, Option<Target>)> {
        let mut found = Vec::new();
        for live in self.streams() {
            if live.phase() != Phase::Up || tried.contains(&live.number) {
                continue;
            }
            match (live.direction, &live.target) {
                (Direction::Out, Some(other)) => {
                    if let Some(target) = route.iter().find(|target| target.is_at(other, live.peer)) {
                        found.push((live, Some(target.clone())));
                    }
                }
                // One that they opened, if it goes both ways (XEP-0288 §2).
                _ if live.goes_out_to(&pair.remote) => found.push((live, None)),
                _ => {}
            }
        }
        found
    }

    /// Puts the pair onto a stream that leads to one of these servers, if there is one and both sides agree.
    async fn share(&self, pair: &Pair, route: &[Target], tried: &mut Vec<u64>) -> bool {
        for (live, target) in self.candidates(pair, route, tried) {
            tried.push(live.number);
            if live.carries_out(pair) {
                let entry = self.pairs.entry(&pair.local, &pair.remote);
                self.then(&entry, entry.attach(&live));
                return true;
            }
            match self.piggyback(&live, pair, target.as_ref()).await {
                Ok(()) => {
                    self.metrics.multiplexed.inc();
                    return true;
                }
                Err(failure) => {
                    tracing::debug!(stream = live.number, %pair, code = failure.code, text = failure.text, "not carried by a stream that is there");
                }
            }
        }
        false
    }

    /// Piggybacking by assertion or supposition (RFC 7712 §4.4): the peer must be proven for the pair, and must agree.
    async fn piggyback(&self, live: &Arc<Live>, pair: &Pair, target: Option<&Target>) -> Result<(), Failure> {
        let (tls, id) = live.facts();
        if live.direction == Direction::Out && !live.offers().dialback {
            return Err(Failure::dialback(DialbackError::Unsupported));
        }
        let judged = self.prove(pair, live.direction, tls.as_deref(), target).await?;
        if !judged.judgement.is_accepted() {
            let then = self.judge_with(pair, live.direction, &judged.evidence, Dialback::Accepted)?;
            if !then.judgement.is_accepted() {
                return Err(Failure::refused(&judged.judgement));
            }
        }
        let key = self.key(pair, &id).ok_or_else(|| Failure::not_found("not-a-domain", "no domain"))?;
        live.judged(pair.clone(), judged);
        let outcome = live.assert(pair.clone(), key).await;
        if outcome.is_err() {
            live.take_judged(pair);
        }
        outcome.map_err(Failure::dialback)
    }

    /// Connects to a server and opens a stream. The receiver hears what becomes of it; for [`Purpose::Verify`] only if it fails.
    pub(crate) async fn dial(
        self: &Arc<Self>,
        pair: &Pair,
        target: &Target,
        purpose: Purpose,
    ) -> Result<(Arc<Live>, oneshot::Receiver<Result<(), Failure>>), Failure> {
        let claim = mind::claim(pair, Direction::Out)?;
        let connector = self
            .tls
            .connector(claim.local.as_str())
            .ok_or_else(|| Failure::passing("no-connector", "there is no TLS to connect with"))?;
        self.metrics.dials.inc();
        let connected = {
            let _permit = self.turns.dials.acquire().await;
            tokio::time::timeout(ATTEMPT, dial::connect(&target.addresses, self.config.haste)).await
        };
        let io = match connected {
            Ok(Ok(io)) => io,
            Ok(Err(error)) => {
                let text = format!("{target} cannot be connected to: {error}");
                return Err(Failure::passing("unreachable", text));
            }
            Err(_) => return Err(Failure::passing("unreachable", format!("{target} does not answer"))),
        };
        let peer = io.peer_addr().map_err(|error| {
            Failure::passing("unreachable", format!("{target}: the connection broke: {error}"))
        })?;
        let live = self.live(Direction::Out, peer, Some(target.clone()));
        let start = if target.direct_tls { Start::DirectTls } else { Start::Tcp };
        let opening = Opening { start, pair: pair.clone(), purpose, place: target.place(peer) };
        let config = Arc::clone(&self.config.stream);
        let machine = S2s::initiating(config, Arc::clone(&self.entropy), opening, self.clock.now());
        let (tell, told) = oneshot::channel();
        let handshake = Arc::new(OnceLock::new());
        let host = StreamHost::new(Arc::clone(self), Arc::clone(&live)).outgoing(
            pair.clone(),
            purpose,
            tell,
            Arc::clone(&handshake),
        );
        let options = nuncio_net::Options {
            security: Security::Client { connector, server_name: claim.remote.as_str().to_owned() },
            direct_tls: target.direct_tls,
            handshake_failure: Some(handshake),
            ..self.options(peer)
        };
        tokio::spawn(drive(io, machine, host, options));
        Ok((live, told))
    }
}
