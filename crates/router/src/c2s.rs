//! One client stream and the router: what [`nuncio_stream::c2s::C2s`] asks, hears and is told.

use std::future::poll_fn;
use std::net::IpAddr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use nuncio_sansio::{Host, TlsFacts, Waiting};
use nuncio_store::{Fault, Ticket};
use nuncio_stream::c2s::{Answer, C2s, Command, Domain, Event, Moment, Question, ResumeFailed};
use nuncio_stream::sasl::server::{self, Lookup, Policy, Record};
use nuncio_stream::sasl::{Authenticated, Hash, SaslCondition};
use nuncio_xmpp::error::{Condition, StreamCondition, StreamError};
use nuncio_xmpp::jid::{BareJid, Jid};
use nuncio_xmpp::stanza::{IqType, Kind, Stanza};
use nuncio_xmpp::xml::Builder;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::limits::Culprit;
use crate::points::{Ask, At, Boxed, Place, Reply};
use crate::route::Begun;
use crate::router::Router;
use crate::session::{Outgoing, Session};

/// Stanzas of one stream that may wait to be durable; then the sender waits.
const OPEN: usize = 1_000;

/// The host of one client stream.
pub struct ClientHost {
    router: Arc<Router>,
    peer: IpAddr,
    stream: String,
    bound: Option<Bound>,
    /// The number of the last stanza on this stream.
    number: u64,
    /// What the stream is to be closed with.
    close: Option<Box<StreamError>>,
    /// Whether the stream was told to close: what is queued from then on stays for whoever comes after.
    closed: bool,
    /// Whether the connection was lost rather than the stream ended.
    lost: bool,
    stopping: watch::Receiver<bool>,
    /// The client was asked whether it is there. Never locked: the lock lends a future to the host that others may look at.
    probe: Mutex<Option<Boxed<'static, bool>>>,
}

struct Bound {
    session: Arc<Session>,
    connection: u64,
}

/// A stanza that is being handled, with what of the host is needed for it.
struct Taken<'a> {
    router: &'a Arc<Router>,
    stream: &'a str,
    session: &'a Arc<Session>,
    number: u64,
    close: &'a mut Option<Box<StreamError>>,
}

impl Taken<'_> {
    /// Does what is left to do. Returns what must be durable first if too much waits for that.
    async fn finish(&mut self, begun: Result<Begun, StreamError>) -> Option<Ticket> {
        let submitted = match begun {
            Ok(Begun::Done(ticket)) => Ok(ticket),
            Ok(Begun::Waits(rest)) => Ok(self.router.finish(self.session, rest).await),
            Err(error) => Err(error),
        };
        self.submitted(submitted)
    }

    /// Notes what has to be durable before the stanza is acknowledged. Returns the oldest such if there are too many.
    fn submitted(&mut self, submitted: Result<Option<Ticket>, StreamError>) -> Option<Ticket> {
        let mut inbound = self.session.inbound.lock();
        inbound.last = self.number;
        match submitted {
            Ok(Some(ticket)) => inbound.taken(self.number, ticket),
            Ok(None) => return None,
            Err(error) => {
                tracing::info!(stream = %self.stream, account = %self.session.jid().bare(), %error, "stream refused");
                *self.close = Some(Box::new(error));
            }
        }
        let oldest = if inbound.open.len() > OPEN { inbound.open.front() } else { None };
        oldest.map(|(_, ticket)| ticket.clone())
    }
}

/// Waits for what must be durable before more is read.
async fn durable(full: Option<Ticket>) {
    if let Some(ticket) = full {
        // An error shows again when it is this ticket's turn.
        let _ = ticket.await;
    }
}

impl ClientHost {
    /// The host of a connection from this address.
    pub fn new(router: Arc<Router>, peer: IpAddr) -> Self {
        let stopping = router.stopping.subscribe();
        Self {
            router,
            peer,
            stream: String::new(),
            bound: None,
            number: 0,
            close: None,
            closed: false,
            lost: true,
            stopping,
            probe: Mutex::new(None),
        }
    }

    /// The session, once a resource is bound.
    pub fn session(&self) -> Option<&Arc<Session>> {
        self.bound.as_ref().map(|bound| &bound.session)
    }

    /// The session as long as this connection is its: another that resumed it counts by itself.
    fn current(&self) -> Option<&Bound> {
        self.bound.as_ref().filter(|bound| bound.session.out.lock().is_of(bound.connection))
    }

    fn domain(&self, to: Option<&str>) -> Result<Domain, StreamError> {
        let config = self.router.config();
        let found = match to {
            Some(name) => self.router.domain(name),
            None => config.domains.first(),
        };
        let Some(domain) = found else {
            return Err(StreamError::new(StreamCondition::HostUnknown));
        };
        let policy = Policy { scram: Hash::ALL.to_vec(), plain: config.plain, external: config.external };
        Ok(Domain { name: domain.name.clone(), policy, tls: true })
    }

    /// Whether there were too many failures for this account or address.
    fn is_throttled(&self, account: &BareJid) -> bool {
        let over = self.router.throttle.is_over(&Culprit::address(self.peer))
            || self.router.throttle.is_over(&Culprit::Account(account.to_string()));
        if over {
            self.router.metrics().logins_throttled.inc();
            tracing::info!(stream = %self.stream, %account, peer = %self.peer, "login refused: too many failures");
        }
        over
    }

    async fn sasl(&self, domain: &str, addresses: Vec<BareJid>, lookup: Lookup) -> server::Answer {
        let account = |username: &str| {
            BareJid::from_parts(Some(username), domain).map_err(|_| SaslCondition::NotAuthorized)
        };
        match lookup {
            Lookup::Scram { username, hash } => server::Answer::Scram(match account(&username) {
                Ok(account) => self.scram(account, hash).await,
                Err(condition) => Err(condition),
            }),
            Lookup::Password { username, password } => server::Answer::Password(match account(&username) {
                Ok(account) if self.is_throttled(&account) => Err(SaslCondition::TemporaryAuthFailure),
                Ok(account) => match self.router.verify_password(&account, password).await {
                    Ok(fits) => Ok(fits.then_some(account)),
                    Err(error) => {
                        tracing::error!(stream = %self.stream, %account, %error, "a password cannot be checked");
                        Err(SaslCondition::TemporaryAuthFailure)
                    }
                },
                Err(condition) => Err(condition),
            }),
            Lookup::External { authzid } => server::Answer::External(self.external(addresses, authzid).await),
            Lookup::Login { account, .. } => server::Answer::Login(self.router.may_login(&account).await),
        }
    }

    async fn scram(&self, account: BareJid, hash: Hash) -> Result<Record, SaslCondition> {
        if self.is_throttled(&account) {
            return Err(SaslCondition::TemporaryAuthFailure);
        }
        let (keys, known) = self.router.keys(&account, hash).await.map_err(|fault| self.failed(&fault))?;
        Ok(Record { keys, account: known.then_some(account) })
    }

    async fn external(
        &self,
        addresses: Vec<BareJid>,
        authzid: Option<BareJid>,
    ) -> Result<Option<BareJid>, SaslCondition> {
        let wanted = match authzid {
            Some(wanted) => addresses.into_iter().find(|address| *address == wanted),
            None if addresses.len() == 1 => addresses.into_iter().next(),
            None => None,
        };
        let Some(wanted) = wanted else {
            return Ok(None);
        };
        let known = self.router.account(&wanted).await.map_err(|fault| self.failed(&fault))?;
        Ok(known.map(|_| wanted))
    }

    fn failed(&self, fault: &Fault) -> SaslCondition {
        tracing::error!(stream = %self.stream, %fault, "the store failed at a login");
        self.router.metrics().store_faults.inc();
        SaslCondition::TemporaryAuthFailure
    }

    fn offer(&self, at: &Moment) -> Vec<Builder> {
        let cx = self.router.cx();
        self.router.points().greeters.iter().filter_map(|greeter| greeter.offer(&cx, at)).collect()
    }

    /// A request before a resource is bound.
    async fn unbound(&self, domain: &str, who: Option<&Authenticated>, stanza: Stanza) -> Option<Stanza> {
        let set = matches!(stanza.kind(), Kind::Iq(IqType::Set));
        let payload = stanza.payload()?;
        let handler = self.router.points().handler(At::Unbound, set, payload.name(), payload.ns())?;
        let server = Jid::from_parts(None, domain, None).ok()?;
        let ask = Ask {
            stanza: stanza.clone(),
            from: who.map_or_else(|| server.clone(), |who| who.account().to_jid()),
            place: Place { at: At::Unbound, jid: server },
            session: None,
            unbound: who.map(|who| who.account().clone()),
            peer: Some(self.peer),
        };
        match handler.handle(&self.router.cx(), ask).await {
            Ok(Reply::Result(payload)) => Some(stanza.result(Some(payload))),
            Ok(Reply::Empty) => Some(stanza.result(None)),
            Ok(Reply::Pass | Reply::Silent) => None,
            Err(error) => stanza.error(error),
        }
    }

    /// A stanza of the bound client: slowed, handled in its turn, and acknowledged once it is durable. Most stanzas wait for nothing.
    fn stanza(&mut self, number: u64, stanza: Box<Stanza>) -> Option<Waiting<'_>> {
        self.number = number;
        let Self { router, stream, bound: Some(bound), close, .. } = self else { return None };
        let (session, connection) = (&bound.session, bound.connection);
        let mut taken = Taken { router, stream, session, number, close };
        let wait = session.meter.lock().charge(stanza.size());
        if !wait.is_zero() {
            taken.router.metrics().slowed.inc();
        }
        let turn = if wait.is_zero() { session.turn.try_lock().ok() } else { None };
        let Some(turn) = turn else {
            return Some(Box::pin(async move {
                if !wait.is_zero() {
                    tokio::time::sleep(wait).await;
                }
                let turn = session.turn.lock().await;
                if !session.out.lock().is_of(connection) {
                    return;
                }
                let begun = taken.router.begin(session, *stanza);
                let full = taken.finish(begun).await;
                drop(turn);
                durable(full).await;
            }));
        };
        if !session.out.lock().is_of(connection) {
            return None;
        }
        match taken.router.begin(session, *stanza) {
            Ok(Begun::Done(ticket)) => {
                let full = taken.submitted(Ok(ticket));
                drop(turn);
                full.map(|full| Box::pin(durable(Some(full))) as Waiting<'_>)
            }
            begun => Some(Box::pin(async move {
                let full = taken.finish(begun).await;
                drop(turn);
                durable(full).await;
            })),
        }
    }

    /// What takes no waiting.
    fn heard(&mut self, event: Event) {
        match event {
            // These may be waited for: see `hear`.
            Event::Stanza { .. } | Event::Nonza(_) => {}
            Event::Opened { domain, id } => {
                tracing::debug!(stream = %id, %domain, peer = %self.peer, "stream opened");
                self.stream = id;
            }
            Event::Secured(facts) => {
                let TlsFacts { version, suite, resumed, .. } = *facts;
                tracing::debug!(stream = %self.stream, peer = %self.peer, ?version, suite, resumed, "TLS is up");
            }
            Event::LoginFailed { domain, mechanism, username, condition, why, guess } => {
                self.router.metrics().logins_failed.inc();
                let username = username.unwrap_or_default();
                tracing::info!(stream = %self.stream, peer = %self.peer, domain, username, mechanism, %condition, why, "login failed");
                if guess {
                    self.router.throttle.failed(Culprit::address(self.peer));
                    if let Ok(account) = BareJid::from_parts(Some(&username), &domain) {
                        self.router.throttle.failed(Culprit::Account(account.to_string()));
                    }
                }
            }
            Event::Authenticated(who) => {
                self.router.metrics().logins.inc();
                tracing::info!(stream = %self.stream, peer = %self.peer, account = %who.account(), mechanism = who.mechanism(), binding = who.channel_binding(), "logged in");
            }
            Event::Bound(jid) => {
                tracing::info!(stream = %self.stream, peer = %self.peer, account = %jid.bare(), %jid, "bound")
            }
            Event::Enabled(enabled) => {
                tracing::debug!(stream = %self.stream, resumable = enabled.id.is_some(), "stream management is on");
            }
            Event::Resumed { jid, h } => {
                tracing::info!(stream = %self.stream, peer = %self.peer, account = %jid.bare(), %jid, h, "resumed");
            }
            Event::Answered { number, reply } => self.answered(number, reply),
            Event::Acked { h, .. } => {
                if let Some(bound) = self.current() {
                    let settled = bound.session.out.lock().queue.ack(h);
                    match settled {
                        Some(settled) => self.router.settled(&bound.session.lane, &settled),
                        None => {
                            tracing::warn!(stream = %self.stream, h, "more was acknowledged than was sent")
                        }
                    }
                }
            }
            Event::Quiet { within } => {
                let probe = self.current().and_then(|bound| self.router.probe(&bound.session, within));
                *self.probe.get_mut() = probe;
            }
            Event::Finishing => tracing::debug!(stream = %self.stream, "the client has closed its stream"),
            Event::Ended(end) => {
                self.lost = end.lost();
                self.router.metrics().stream_ended(&end);
                let error = end.error.map_or("none", StreamCondition::as_str);
                if self.stream.is_empty() && end.error.is_none() {
                    // A probe of the port, most likely: nothing was ever said.
                    tracing::debug!(peer = %self.peer, reason = %end.reason, "a connection ended before its stream began");
                } else {
                    tracing::info!(stream = %self.stream, peer = %self.peer, reason = %end.reason, clean = end.clean, error, "stream ended");
                }
            }
        }
    }

    /// The next thing to tell the stream of a bound session: acknowledgements first.
    fn poll_command(&mut self, cx: &mut Context<'_>) -> Poll<Command> {
        let Some(Bound { session, connection }) = &self.bound else { return Poll::Pending };
        match session.inbound.lock().poll_told(cx) {
            Poll::Ready(Ok(number)) => return Poll::Ready(Command::Handled { number }),
            Poll::Ready(Err(fault)) => {
                tracing::error!(account = %session.jid().bare(), %fault, "what a client sent cannot be stored");
                let error = StreamError::new(StreamCondition::InternalServerError);
                return Poll::Ready(Command::Close(Some(error)));
            }
            Poll::Pending => {}
        }
        if self.closed {
            return Poll::Pending;
        }
        if let Poll::Ready((next, settled)) = session.poll_next(*connection, cx) {
            if let Some(delivery) = settled {
                self.router.settled(&session.lane, &[delivery]);
            }
            return Poll::Ready(match next {
                Outgoing::Stanza(bytes) => Command::Stanza(bytes),
                Outgoing::Nonza(bytes) => Command::Nonza(bytes),
                Outgoing::Close(error) => Command::Close(error),
            });
        }
        if let Some(probe) = self.probe.get_mut()
            && let Poll::Ready(unanswered) = probe.as_mut().poll(cx)
        {
            *self.probe.get_mut() = None;
            if unanswered {
                return Poll::Ready(Command::Unanswered);
            }
        }
        Poll::Pending
    }

    /// A stanza that the stream has answered by itself.
    fn answered(&mut self, number: u64, reply: Option<Box<Stanza>>) {
        self.number = number;
        if let Some(bound) = self.current() {
            self.router.tell(&bound.session, reply.map(|reply| *reply));
            bound.session.inbound.lock().taken(number, Ticket::done());
        }
    }
}

impl Host<C2s> for ClientHost {
    async fn ask(&mut self, question: Question) -> Answer {
        match question {
            Question::Domain { to, .. } => Answer::Domain(self.domain(to.as_deref())),
            Question::Offer(moment) => Answer::Offer(self.offer(&moment)),
            Question::Sasl { domain, addresses, lookup } => {
                Answer::Sasl(self.sasl(&domain, addresses, lookup).await)
            }
            Question::Unbound { domain, who, stanza } => {
                Answer::Unbound(self.unbound(&domain, who.as_ref(), *stanza).await)
            }
            Question::Bind { who, resource } => Answer::Bind(match self.router.bind(who, resource).await {
                Ok((session, connection)) => {
                    let jid = session.jid().clone();
                    self.bound = Some(Bound { session, connection });
                    Ok(jid)
                }
                Err(error) => Err(error),
            }),
            Question::Enable { resume, max, .. } => Answer::Enable(match &self.bound {
                Some(bound) => self.router.enable(&bound.session, resume, max, self.number),
                None => Err(Condition::UnexpectedRequest),
            }),
            Question::Resume { who, previd, h } => Answer::Resume(if self.bound.is_some() {
                Err(ResumeFailed { condition: Condition::UnexpectedRequest, h: None })
            } else {
                match self.router.resume(&who, &previd, h).await {
                    Ok((session, connection, resumed)) => {
                        self.bound = Some(Bound { session, connection });
                        Ok(resumed)
                    }
                    Err(failed) => Err(failed),
                }
            }),
        }
    }

    async fn event(&mut self, event: Event) {
        if let Some(waiting) = self.hear(event) {
            waiting.await;
        }
    }

    fn hear(&mut self, event: Event) -> Option<Waiting<'_>> {
        match event {
            Event::Stanza { number, stanza } => self.stanza(number, stanza),
            Event::Nonza(element) => Some(Box::pin(async move {
                if let Some(bound) = self.current()
                    && let Some(greeter) = self.router.points().open(element.name(), element.ns())
                {
                    greeter.take(&self.router.cx(), &bound.session, &element).await;
                }
            })),
            event => {
                self.heard(event);
                None
            }
        }
    }

    async fn command(&mut self) -> Command {
        if let Some(error) = self.close.take() {
            self.closed = true;
            return Command::Close(Some(*error));
        }
        let Some(Bound { session, .. }) = &self.bound else {
            // Boxed for the sake of what comes after: a bound stream waits far longer, in a smaller future.
            if self.closed || Box::pin(self.stopping.wait_for(|stopping| *stopping)).await.is_err() {
                return std::future::pending().await;
            }
            self.closed = true;
            return Command::Close(Some(StreamError::new(StreamCondition::SystemShutdown)));
        };
        if !self.closed && session.wants_more() {
            Box::pin(self.router.flush_more(session)).await;
        }
        let command = poll_fn(|cx| self.poll_command(cx)).await;
        self.closed |= matches!(command, Command::Close(_));
        command
    }

    async fn closed(&mut self) {
        if let Some(Bound { session, connection }) = self.bound.take() {
            self.router.disconnected(&session, connection, self.lost).await;
        }
    }
}

/// A task that panicked never says that its connection is closed.
impl Drop for ClientHost {
    fn drop(&mut self) {
        if let Some(Bound { session, connection }) = self.bound.take()
            && tokio::runtime::Handle::try_current().is_ok()
        {
            let router = Arc::clone(&self.router);
            self.router.spawn(async move { router.disconnected(&session, connection, true).await });
        }
    }
}

/// How long [`Router::shutdown`] waits for streams to close unless told otherwise.
pub const GRACE: Duration = Duration::from_secs(5);
