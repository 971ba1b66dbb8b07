//! A session's task: connects, follows redirects, runs the stream, and keeps what outlives a connection.

use std::collections::VecDeque;
use std::future::pending;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use nuncio_net::{Options, Security, drive};
use nuncio_sansio::TlsFacts;
use nuncio_stream::Start;
use nuncio_stream::client::{self, Client, Command, End, Never, Place, Reason, Resumption};
use nuncio_stream::redirect::{Decision, Host, SeeOtherHost};
use nuncio_stream::sasl::client::Proven;
use nuncio_xmpp::error::{StreamCondition, StreamError};
use nuncio_xmpp::jid::Jid;
use nuncio_xmpp::stanza::{IqType, Kind, Stanza};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use crate::config::{Server, usual_port};
use crate::cut::Cut;
use crate::session::{Disconnected, Event, Inner, Online, Outgoing, Shared, Why};

/// A place to connect to, before it is resolved.
struct Target {
    host: Host,
    port: Option<u16>,
    redirects: u8,
}

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
    jid: Option<Jid>,
    tls: Option<TlsFacts>,
    login: Option<Proven>,
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
            end: None,
        }
    }

    /// Connects, and again whenever it is told to.
    pub(crate) async fn run(mut self, mut orders: mpsc::Receiver<()>) {
        loop {
            let end = Box::pin(self.connection()).await;
            tracing::debug!(account = %self.inner.config.account, why = %end.why, "disconnected");
            if self.events.send(Event::Disconnected(Box::new(end))).await.is_err()
                || orders.recv().await.is_none()
            {
                return;
            }
        }
    }

    /// One connection, or several if it is redirected.
    async fn connection(&mut self) -> Disconnected {
        let mut targets = self.targets();
        let mut last = None;
        while let Some(target) = targets.pop_front() {
            let (io, place) = match self.open(&target).await {
                Ok(opened) => opened,
                Err(error) => {
                    last = Some(error);
                    continue;
                }
            };
            let from = place.clone();
            let refused = self.stream(io, place).await;
            let Some(end) = self.end.take() else {
                return self.ended(Why::Stream(Reason::Lost), false);
            };
            self.keep(end.resumption, end.unsent);
            let reason = match (end.reason, refused) {
                (Reason::Redirected(decision), _) => match follow(&decision, &from) {
                    Some(target) => {
                        tracing::info!(account = %self.inner.config.account, host = %target.host, port = ?target.port, "redirected");
                        targets = VecDeque::from([target]);
                        last = None;
                        continue;
                    }
                    None => Why::Stream(Reason::Redirected(decision)),
                },
                (_, Some(why)) => Why::Tls(why),
                (Reason::PeerError(error), None) => {
                    if error.condition == StreamCondition::Reset {
                        // S0-28: the security context is void; resuming the session after a new login is not.
                        self.inner.connector.forget_sessions();
                    }
                    Why::Stream(Reason::PeerError(error))
                }
                (reason, None) => Why::Stream(reason),
            };
            return self.ended(reason, end.clean);
        }
        self.ended(Why::Connect(last.unwrap_or_else(|| io::ErrorKind::AddrNotAvailable.into())), false)
    }

    fn ended(&self, why: Why, clean: bool) -> Disconnected {
        let may_retry = match &why {
            Why::Connect(_) => true,
            Why::Tls(_) => false,
            Why::Stream(reason) => reason.may_retry(),
        };
        Disconnected { why, clean, resumable: self.resumption.is_some(), may_retry }
    }

    /// Where to connect, best first: where the server wants to see the session again (XEP-0198 §5), then as configured.
    fn targets(&self) -> VecDeque<Target> {
        let location = self.resumption.as_ref().and_then(|old| old.location.as_deref());
        let mut targets: VecDeque<_> = location
            .and_then(|location| location.parse::<SeeOtherHost>().ok())
            .map(|other| Target { host: other.host, port: other.port, redirects: 0 })
            .into_iter()
            .collect();
        let config = &self.inner.config;
        let (host, port) = match &config.server {
            Server::Domain => (Host::Name(config.account.domain().to_owned()), None),
            Server::Host(name, port) => (Host::Name(name.clone()), *port),
            Server::Address(address) => (host_of(address.ip()), Some(address.port())),
        };
        targets.push_back(Target { host, port, redirects: 0 });
        targets
    }

    /// A TCP connection to the first address of the target that takes one.
    async fn open(&self, target: &Target) -> io::Result<(TcpStream, Place)> {
        let config = &self.inner.config;
        let start = config.start;
        let addresses = match &target.host {
            Host::Name(name) => {
                let resolved =
                    timeout(config.connect_timeout, config.resolver.resolve(name, target.port, start));
                resolved.await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??
            }
            Host::V4(ip) => vec![address(IpAddr::V4(*ip), target.port, start)],
            Host::V6(ip) => vec![address(IpAddr::V6(*ip), target.port, start)],
        };
        let mut last = io::Error::new(io::ErrorKind::NotFound, format!("{} has no address", target.host));
        for address in addresses {
            match timeout(config.connect_timeout, TcpStream::connect(address)).await {
                Ok(Ok(io)) => {
                    // A chat is small packets; none should wait for another.
                    drop(io.set_nodelay(true));
                    let place = Place {
                        host: target.host.clone(),
                        port: address.port(),
                        redirects: target.redirects,
                    };
                    return Ok((io, place));
                }
                Ok(Err(error)) => last = error,
                Err(_) => last = io::ErrorKind::TimedOut.into(),
            }
        }
        Err(last)
    }

    /// Runs the stream over a connection. Returns why TLS was refused, if it was.
    async fn stream(&mut self, io: TcpStream, place: Place) -> Option<String> {
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
                config.start,
                place,
            )
        };
        (self.jid, self.tls, self.login, self.end) = (None, None, None, None);
        self.managed = config.stream_management;
        let options = Options {
            peer: io.peer_addr().ok(),
            security: Security::Client {
                connector: Arc::clone(&inner.connector),
                server_name: inner.server_name.clone(),
            },
            direct_tls: config.start == Start::DirectTls,
            close_timeout: config.closing,
            ..Options::new(inner.clock, Arc::clone(&inner.metrics))
        };
        let failure = Arc::clone(&options.handshake_failure);
        let machine = Client::new(settings, Arc::clone(&inner.entropy), inner.clock.now());
        let (io, scissors) = Cut::new(io);
        self.shared.lock().scissors = Some(scissors);
        drive(io, machine, Glue(self), options).await;
        self.shared.lock().scissors = None;
        self.jid = None;
        // A handshake that was cut short says nothing about the server.
        failure.get().filter(|failure| failure.refused).map(|failure| failure.why.clone())
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
        if let (Some(tls), Some(login)) = (self.tls.clone(), self.login.clone()) {
            self.tell(Event::Online(Box::new(Online { jid, resumed, tls, login }))).await;
        }
    }

    async fn stanza(&self, stanza: Stanza) {
        if let Kind::Iq(IqType::Result | IqType::Error) = stanza.kind() {
            if !self.shared.lock().pending.settle(&stanza, self.jid.as_ref()) {
                self.shared.ignored.fetch_add(1, Ordering::Relaxed);
                tracing::debug!(from = ?stanza.from(), id = ?stanza.id(), "an answer that nobody asked for is ignored");
            }
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
        if online && let Some(bytes) = self.again.pop_front() {
            return Command::Stanza(bytes);
        }
        let may_send = online && self.outstanding.len() < self.inner.config.unacknowledged;
        loop {
            tokio::select! {
                biased;
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

/// The wish to close; none if nobody can have one any more.
async fn asked(closing: &mut Option<oneshot::Receiver<Option<StreamError>>>) -> Option<Option<StreamError>> {
    match closing {
        Some(closing) => closing.await.ok(),
        None => pending().await,
    }
}

/// A link as the host of its stream.
struct Glue<'a>(&'a mut Link);

impl nuncio_sansio::Host<Client> for Glue<'_> {
    async fn ask(&mut self, question: Never) -> Never {
        match question {}
    }

    async fn event(&mut self, event: client::Event) {
        self.0.event(event).await;
    }

    async fn command(&mut self) -> Command {
        self.0.command().await
    }

    async fn closed(&mut self) {}
}

/// Where a redirect leads; none if it is not followed. Everything but the place stays as it was (S0-31).
fn follow(decision: &Decision, from: &Place) -> Option<Target> {
    let redirects = from.redirects.saturating_add(1);
    let (host, port) = match decision {
        Decision::SameHost { port } => (from.host.clone(), Some(*port)),
        Decision::Address { host, port } => (host.clone(), *port),
        Decision::Resolve { name, port } => (Host::Name(name.clone()), *port),
        Decision::Refuse(_) => return None,
    };
    Some(Target { host, port, redirects })
}

fn host_of(ip: IpAddr) -> Host {
    match ip {
        IpAddr::V4(ip) => Host::V4(ip),
        IpAddr::V6(ip) => Host::V6(ip),
    }
}

fn address(ip: IpAddr, port: Option<u16>, start: Start) -> SocketAddr {
    SocketAddr::new(ip, port.unwrap_or_else(|| usual_port(start)))
}
