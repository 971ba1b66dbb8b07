//! A session's task: connects, follows redirects, runs the stream, and keeps what outlives a connection.

use std::collections::VecDeque;
use std::future::{Future, pending};
use std::io;
use std::pin::pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use nuncio_dna::Judgement;
use nuncio_net::{HandshakeFailure, Options, Security, Settings, drive};
use nuncio_sansio::TlsFacts;
use nuncio_stream::Start;
use nuncio_stream::client::{self, Client, Command, End, Reason, Resumption};
use nuncio_stream::sasl::client::Proven;
use nuncio_xmpp::error::{StreamCondition, StreamError};
use nuncio_xmpp::jid::Jid;
use nuncio_xmpp::stanza::{IqType, Kind, Stanza};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::time::sleep;

use crate::backoff::Backoff;
use crate::cut::Cut;
use crate::gate::Gate;
use crate::identity::IdentityError;
use crate::renewal::Renewal;
use crate::session::{Disconnected, Event, Inner, Online, Outgoing, Shared};
use crate::target::{self, Spot, Target};
use crate::why::Why;

/// What a session is made of, connected or not.
pub(crate) struct Link {
    inner: Arc<Inner>,
    shared: Arc<Shared>,
    commands: mpsc::Receiver<Outgoing>,
    events: mpsc::Sender<Event>,
    closing: Option<oneshot::Receiver<Option<StreamError>>>,
    /// The numbers of the stanzas that the stream holds or will be given again, oldest first.
    outstanding: VecDeque<u64>,
    /// The highest number taken from the queue.
    taken: u64,
    /// Whether stanzas are acknowledged on this stream.
    managed: bool,
    /// Stanzas for the next stream, before anything new.
    again: VecDeque<Bytes>,
    resumption: Option<Resumption>,
    /// What was spoken where the last connection led.
    start: Start,
    backoff: Option<Backoff>,
    jid: Option<Jid>,
    tls: Option<TlsFacts>,
    login: Option<Proven>,
    judgement: Option<Arc<Judgement>>,
    /// What keeps the proof of the server.
    renewal: Option<Renewal>,
    /// Why the server was refused.
    refused: Option<Box<IdentityError>>,
    end: Option<End>,
}

impl Link {
    pub(crate) fn new(
        inner: Arc<Inner>,
        shared: Arc<Shared>,
        commands: mpsc::Receiver<Outgoing>,
        events: mpsc::Sender<Event>,
        closing: oneshot::Receiver<Option<StreamError>>,
    ) -> Self {
        Self {
            start: inner.config.start,
            backoff: inner.config.reconnect.clone(),
            inner,
            shared,
            commands,
            events,
            closing: Some(closing),
            outstanding: VecDeque::new(),
            taken: 0,
            managed: false,
            again: VecDeque::new(),
            resumption: None,
            jid: None,
            tls: None,
            login: None,
            judgement: None,
            renewal: None,
            refused: None,
            end: None,
        }
    }

    /// Connects, and again whenever it is told to or its policy says so.
    pub(crate) async fn run(mut self, mut orders: mpsc::Receiver<()>) {
        loop {
            let mut end = Box::pin(self.connection()).await;
            end.retry_in = self.backoff.as_mut().filter(|_| end.may_retry).map(Backoff::wait);
            let retry_in = end.retry_in;
            tracing::debug!(account = %self.inner.config.account, why = %end.why, ?retry_in, "disconnected");
            if retry_in.is_some() {
                // An order from before this end is not meant for it.
                while orders.try_recv().is_ok() {}
            }
            if self.events.send(Event::Disconnected(Box::new(end))).await.is_err() {
                return;
            }
            let again = match retry_in {
                None => orders.recv().await.is_some(),
                Some(wait) => tokio::select! {
                    order = orders.recv() => order.is_some(),
                    slept = unless_closed(&mut self.closing, sleep(wait)) => slept.is_some(),
                },
            };
            if !again {
                return;
            }
        }
    }

    /// One connection, or several: if there are several places, or if it is redirected.
    async fn connection(&mut self) -> Disconnected {
        let inner = Arc::clone(&self.inner);
        let (mut targets, mut spots) = (self.targets(), VecDeque::new());
        let mut failed = None;
        loop {
            let Some(spot) = spots.pop_front() else {
                let Some(target) = targets.pop_front() else { break };
                match unless_closed(&mut self.closing, target.spots(&inner.config)).await {
                    Some(Ok(found)) => spots.extend(found),
                    Some(Err(error)) => failed = Some(graver(failed, self.ended(Why::Connect(error), false))),
                    None => return self.ended(Why::Stream(Reason::Host), false),
                }
                continue;
            };
            let io = match unless_closed(&mut self.closing, target::open(&inner.config, &spot)).await {
                Some(Ok(io)) => io,
                Some(Err(error)) => {
                    tracing::debug!(host = %spot.place.host, port = spot.place.port, %error, "no connection");
                    failed = Some(graver(failed, self.ended(Why::Connect(error), false)));
                    continue;
                }
                None => return self.ended(Why::Stream(Reason::Host), false),
            };
            let refused = self.stream(io, &spot).await;
            // Whoever is there has not proven to be the account's server: then it may be in another place.
            let stranger = self.tls.is_none();
            let Some(end) = self.end.take() else {
                return self.ended(Why::Stream(Reason::Lost), false);
            };
            self.keep(end.resumption, end.unsent);
            let why = match (end.reason, refused) {
                (Reason::Redirected(decision), _) => match Target::redirected(&decision, &spot) {
                    Some(target) => {
                        tracing::info!(account = %inner.config.account, to = ?target, "redirected");
                        (targets, failed) = (VecDeque::from([target]), None);
                        spots.clear();
                        continue;
                    }
                    None => Why::Stream(Reason::Redirected(decision)),
                },
                (_, Some(why)) => why,
                (Reason::PeerError(error), None) => {
                    if error.condition == StreamCondition::Reset {
                        // S0-28: the security context is void; resuming the session after a new login is not.
                        inner.connector.forget_sessions();
                    }
                    Why::Stream(Reason::PeerError(error))
                }
                (reason, None) => Why::Stream(reason),
            };
            let ended = self.ended(why, end.clean);
            if !stranger || matches!(ended.why, Why::Stream(Reason::Host)) {
                return ended;
            }
            failed = Some(graver(failed, ended));
        }
        failed.unwrap_or_else(|| self.ended(Why::Connect(io::ErrorKind::AddrNotAvailable.into()), false))
    }

    fn ended(&self, why: Why, clean: bool) -> Disconnected {
        let may_retry = match &why {
            Why::Connect(_) => true,
            Why::Tls(_) => false,
            Why::Identity(error) => error.may_pass(),
            Why::Stream(reason) => reason.may_retry(),
        };
        Disconnected { why, clean, resumable: self.resumption.is_some(), may_retry, retry_in: None }
    }

    /// Where to connect, best first: where the server wants to see the session again (XEP-0198 §5), then as configured.
    fn targets(&self) -> VecDeque<Target> {
        let location = self.resumption.as_ref().and_then(|old| old.location.as_deref());
        let location = location.and_then(|location| Target::location(location, self.start));
        location.into_iter().chain([Target::configured(&self.inner.config)]).collect()
    }

    /// Runs the stream over a connection. Returns why the server was refused or the handshake failed, if so.
    async fn stream(&mut self, io: TcpStream, spot: &Spot) -> Option<Why> {
        let inner = Arc::clone(&self.inner);
        let config = &inner.config;
        let settings = client::ClientConfig {
            policy: config.policy.clone(),
            resource: config.resource.clone(),
            resume: self.resumption.take(),
            stream_management: config.stream_management,
            limits: config.limits,
            negotiation: config.negotiation,
            closing: config.closing,
            pace: config.pace,
            idle: config.idle,
            ..client::ClientConfig::new(
                config.account.clone(),
                config.credentials.clone(),
                spot.start,
                spot.place.clone(),
            )
        };
        self.start = spot.start;
        (self.jid, self.tls, self.login, self.end) = (None, None, None, None);
        (self.judgement, self.renewal, self.refused) = (None, None, None);
        self.managed = config.stream_management;
        let failure = Arc::new(OnceLock::new());
        let options = Options {
            peer: io.peer_addr().ok(),
            security: Security::Client {
                connector: Arc::clone(&inner.connector),
                server_name: inner.server_name.clone(),
            },
            direct_tls: spot.start == Start::DirectTls,
            handshake_failure: Some(Arc::clone(&failure)),
            ..Options::new(Arc::new(Settings {
                close: config.closing,
                ..Settings::new(inner.clock, Arc::clone(&inner.metrics))
            }))
        };
        let machine = Gate::new(Client::new(settings, Arc::clone(&inner.entropy), inner.clock.now()));
        let (io, scissors) = Cut::new(io);
        self.shared.lock().scissors = Some(scissors);
        drive(io, machine, Glue { link: self, spot }, options).await;
        self.shared.lock().scissors = None;
        self.jid = None;
        // A handshake that was cut short says nothing about the server.
        let failed = failure.get().filter(|failure: &&HandshakeFailure| failure.refused);
        let refused = self.refused.take().map(Why::Identity);
        refused.or_else(|| failed.map(|failure| Why::Tls(failure.why.clone())))
    }

    /// Keeps what the next connection needs.
    fn keep(&mut self, resumption: Option<Resumption>, unsent: Vec<Bytes>) {
        for bytes in unsent.into_iter().rev() {
            self.again.push_front(bytes);
        }
        let held = resumption.as_ref().map_or(0, |old| old.unacked.len()) + self.again.len();
        // What the stream has not given back was acknowledged, or sent without hope of that.
        while self.outstanding.len() > held {
            self.outstanding.pop_front();
        }
        while self.outstanding.len() < held {
            self.outstanding.push_back(0);
        }
        if resumption.is_none() {
            self.lose();
        }
        self.resumption = resumption;
    }

    /// The session is gone: what was sent on it is not answered any more.
    fn lose(&self) {
        let again = |number| self.outstanding.contains(&number);
        self.shared.lock().pending.lose(self.taken, &again);
    }

    async fn tell(&self, event: Event) {
        // Whoever had listened has gone; the task is about to end.
        drop(self.events.send(event).await);
    }

    async fn online(&mut self, jid: Jid, resumed: bool) {
        if !resumed {
            self.lose();
        }
        self.jid = Some(jid.clone());
        if let Some(backoff) = &mut self.backoff {
            backoff.reset();
        }
        if let (Some(tls), Some(login), Some(judgement)) =
            (self.tls.clone(), self.login.clone(), self.judgement.clone())
        {
            self.tell(Event::Online(Box::new(Online { jid, resumed, tls, login, judgement }))).await;
        }
    }

    /// Whether the server is believed to be that of the account's domain. A wish to close does not wait for that.
    async fn believes(&mut self, tls: &TlsFacts, spot: &Spot) -> bool {
        let inner = Arc::clone(&self.inner);
        match unless_closed(&mut self.closing, inner.judge.prove(tls, spot)).await {
            Some(Ok(judgement)) => {
                self.renewal = Renewal::of(&inner, tls, spot, &judgement);
                self.judgement = Some(Arc::new(judgement));
                true
            }
            Some(Err(error)) => {
                tracing::info!(account = %inner.config.account, %error, code = error.code(), "the server is refused");
                self.refused = Some(Box::new(error));
                false
            }
            None => false,
        }
    }

    async fn stanza(&self, stanza: Stanza) {
        let ignored = {
            let pending = &mut self.shared.lock().pending;
            match stanza.kind() {
                Kind::Iq(IqType::Result | IqType::Error) if pending.settle(&stanza, self.jid.as_ref()) => {
                    return;
                }
                Kind::Iq(IqType::Result | IqType::Error) => true,
                _ => pending.is_forged(&stanza),
            }
        };
        if ignored {
            self.shared.ignored.fetch_add(1, Ordering::Relaxed);
            tracing::debug!(from = ?stanza.from(), id = ?stanza.id(), "an answer that nobody asked for, or a forged push or carbon, is ignored");
            return;
        }
        self.tell(Event::Stanza(stanza)).await;
    }

    async fn event(&mut self, event: client::Event) {
        match event {
            client::Event::Secured(facts) => self.tls = Some(facts),
            client::Event::Authenticated(proven) => self.login = Some(proven),
            client::Event::Bound(jid) => self.online(jid, false).await,
            client::Event::Resumed(jid) => self.online(jid, true).await,
            // Before a resource is bound this only says that the old session is gone.
            client::Event::Unmanaged(_) if self.jid.is_none() => {}
            client::Event::Unmanaged(condition) => {
                self.managed = false;
                self.outstanding.clear();
                self.tell(Event::Unmanaged(condition)).await;
            }
            client::Event::Enabled { resumable } => self.tell(Event::Managed { resumable }).await,
            client::Event::Acked { fresh } => {
                let fresh = self.outstanding.len().min(usize::try_from(fresh).unwrap_or(usize::MAX));
                if let Some(number) = self.outstanding.drain(..fresh).max().filter(|number| *number > 0) {
                    self.tell(Event::Acked { number }).await;
                }
            }
            client::Event::Stanza(stanza) => self.stanza(stanza).await,
            client::Event::Invalid(_, fault) => {
                tracing::info!(%fault, "the server sent a broken stanza; it is dropped")
            }
            client::Event::Nonza(element) => self.tell(Event::Nonza(element)).await,
            client::Event::Ended(end) => self.end = Some(end),
        }
    }

    /// The next thing for the stream. Before a resource is bound there is none but a wish to close (S0-07). Cancel-safe.
    async fn command(&mut self) -> Command {
        let online = self.jid.is_some();
        loop {
            let proven = self.renewal.as_ref().is_none_or(|renewal| !renewal.has_lapsed());
            if online
                && proven
                && let Some(bytes) = self.again.pop_front()
            {
                return Command::Stanza(bytes);
            }
            let may_send = online && proven && self.outstanding.len() < self.inner.config.unacknowledged;
            tokio::select! {
                biased;
                renewed = renewed(&mut self.renewal) => match renewed {
                    Ok(Some(judgement)) => self.judgement = Some(Arc::new(judgement)),
                    Ok(None) => {}
                    Err(error) => {
                        tracing::info!(account = %self.inner.config.account, %error, code = error.code(), "the server's proof has ended");
                        self.refused = Some(Box::new(error));
                        return Command::Close(None);
                    }
                },
                taken = self.commands.recv(), if may_send => match taken {
                    Some(Outgoing::Stanza(number, bytes)) => {
                        self.taken = number;
                        if self.managed {
                            self.outstanding.push_back(number);
                        }
                        return Command::Stanza(bytes);
                    }
                    Some(Outgoing::Nonza(bytes)) => return Command::Nonza(bytes),
                    None => return pending().await,
                },
                error = asked(&mut self.closing) => {
                    self.closing = None;
                    if let Some(error) = error {
                        return Command::Close(error);
                    }
                }
            }
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.shared.lock().pending.close();
    }
}

/// What becomes of the server's proof in time; nothing if it has no end.
async fn renewed(renewal: &mut Option<Renewal>) -> Result<Option<Judgement>, IdentityError> {
    match renewal {
        Some(renewal) => renewal.next().await,
        None => pending().await,
    }
}

/// The wish to close; none if nobody can have one any more.
async fn asked(closing: &mut Option<oneshot::Receiver<Option<StreamError>>>) -> Option<Option<StreamError>> {
    match closing {
        Some(closing) => closing.await.ok(),
        None => pending().await,
    }
}

/// What comes of `wanted`; none if somebody wishes to close first.
async fn unless_closed<T>(
    closing: &mut Option<oneshot::Receiver<Option<StreamError>>>,
    wanted: impl Future<Output = T>,
) -> Option<T> {
    let mut wanted = pin!(wanted);
    loop {
        tokio::select! {
            biased;
            wish = asked(closing) => {
                *closing = None;
                if wish.is_some() {
                    return None;
                }
            }
            done = &mut wanted => return Some(done),
        }
    }
}

/// The graver of two failures to connect; if one of them may pass, so may the whole.
fn graver(before: Option<Disconnected>, now: Disconnected) -> Disconnected {
    let weight = |end: &Disconnected| match end.why {
        Why::Connect(_) => 0,
        Why::Stream(_) => 1,
        Why::Tls(_) => 2,
        Why::Identity(_) => 3,
    };
    let Some(before) = before else { return now };
    let may_retry = before.may_retry || now.may_retry;
    Disconnected { may_retry, ..if weight(&before) > weight(&now) { before } else { now } }
}

/// A link as the host of its stream.
struct Glue<'a> {
    link: &'a mut Link,
    spot: &'a Spot,
}

impl nuncio_sansio::Host<Gate> for Glue<'_> {
    async fn ask(&mut self, tls: TlsFacts) -> bool {
        self.link.believes(&tls, self.spot).await
    }

    async fn event(&mut self, event: client::Event) {
        self.link.event(event).await;
    }

    async fn command(&mut self) -> Command {
        self.link.command().await
    }

    async fn closed(&mut self) {}
}
