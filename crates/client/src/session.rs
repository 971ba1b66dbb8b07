//! What the application holds: a client, its session, and senders.

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use nuncio_dna::{Judgement, ProvenDomain};
use nuncio_net::tls::ConnectError;
use nuncio_net::{Clock, Connector, NetMetrics, OsEntropy};
use nuncio_sansio::{Entropy, TlsFacts};
use nuncio_stream::client::Reason;
use nuncio_stream::sasl::client::Proven;
use nuncio_xmpp::error::{Condition, StanzaError, StreamError};
use nuncio_xmpp::jid::{Jid, to_ascii};
use nuncio_xmpp::ns;
use nuncio_xmpp::stanza::{IqType, Kind, Stanza, iq};
use nuncio_xmpp::xml::{Builder, Element};
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;

use crate::config::ClientConfig;
use crate::identity::Judge;
use crate::link::Link;
use crate::pending::{Pending, RequestError};
use crate::why::Why;

/// What a session tells.
#[derive(Debug)]
pub enum Event {
    /// A resource is bound, or the old session goes on.
    Online(Box<Online>),
    /// Stream management is on: [`Event::Acked`] will come.
    Managed {
        /// Whether the session survives its connection.
        resumable: bool,
    },
    /// The server has no stream management, or refused it: nothing will be acknowledged.
    Unmanaged(Option<Condition>),
    /// A message, a presence, or a request that wants an answer (RFC 6120 §8.2.3). Answers to requests never come here.
    Stanza(Stanza),
    /// An element that is no stanza.
    Nonza(Element),
    /// The server has handled every stanza up to this number, see [`Session::send`].
    Acked {
        /// The number.
        number: u64,
    },
    /// The connection is over. Nothing more comes until [`Session::reconnect`], or until the wait in [`Disconnected::retry_in`] is over.
    Disconnected(Box<Disconnected>),
}

/// A session that has begun or goes on.
#[derive(Clone, Debug)]
pub struct Online {
    /// The bound address.
    pub jid: Jid,
    /// Whether this is the same session as before, with nothing lost (XEP-0198 §5). Presence and the like need not be sent again.
    pub resumed: bool,
    /// What TLS found out.
    pub tls: TlsFacts,
    /// What the login proved.
    pub login: Proven,
    /// Why the server is believed to be that of the account's domain, made for this connection.
    pub judgement: Arc<Judgement>,
}

impl Online {
    /// What proves that the server is that of the account's domain.
    #[must_use]
    pub fn proof(&self) -> Option<&ProvenDomain> {
        self.judgement.accepted()
    }
}

/// How a connection ended.
#[derive(Debug)]
pub struct Disconnected {
    /// Why.
    pub why: Why,
    /// The server's closing tag came: nothing that it sent was cut off.
    pub clean: bool,
    /// Whether the session may go on after [`Session::reconnect`].
    pub resumable: bool,
    /// Whether it makes sense to try again with the same settings, after a wait ([`crate::Backoff`]).
    pub may_retry: bool,
    /// After which wait the session connects again by itself ([`crate::ClientConfig::reconnect`]); none if it does not.
    /// [`Session::reconnect`] cuts the wait short.
    pub retry_in: Option<Duration>,
}

/// Why there is no session.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    /// The settings cannot be used.
    #[error(transparent)]
    Settings(#[from] ConnectError),
    /// The connection ended before a resource was bound.
    #[error("{}", .0.why)]
    Disconnected(Box<Disconnected>),
}

/// Why a stanza cannot be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The session is closed.
    #[error("the session is closed")]
    Closed,
    /// Too many events wait to be read: call [`Session::next`].
    #[error("too many events wait to be read")]
    Unread,
}

/// What connections of one client share.
pub(crate) struct Inner {
    pub(crate) config: ClientConfig,
    pub(crate) connector: Arc<Connector>,
    pub(crate) judge: Judge,
    /// The account's domain as A-labels: the only name that a server's certificate may have (S0-31).
    pub(crate) server_name: String,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) clock: Clock,
    pub(crate) metrics: Arc<NetMetrics>,
}

/// An account's client. Remembers TLS sessions, so that its second connection is cheaper than the first (S0-02). Cheap to clone.
#[derive(Clone)]
pub struct Client(Arc<Inner>);

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("config", &self.0.config).finish_non_exhaustive()
    }
}

impl Client {
    /// A client that has not connected yet.
    ///
    /// # Errors
    /// Roots or certificates that cannot be used, or a domain that has no form for TLS.
    pub fn new(config: ClientConfig) -> Result<Self, ConnectError> {
        let connector = Arc::new(Connector::unjudging_client(config.certificate.as_ref())?);
        let domain = config.account.domain();
        let server_name = to_ascii(domain).ok_or_else(|| ConnectError::Name(domain.to_owned()))?;
        let judge = Judge::new(&config)?;
        Ok(Self(Arc::new(Inner {
            config,
            judge,
            connector,
            server_name,
            entropy: Arc::new(OsEntropy),
            clock: Clock::start(),
            metrics: Arc::new(NetMetrics::default()),
        })))
    }

    /// Connects, logs in and binds a resource. The first attempt decides, whatever [`ClientConfig::reconnect`] says; that is for later.
    ///
    /// # Errors
    /// See [`LoginError`].
    pub async fn connect(config: ClientConfig) -> Result<Session, LoginError> {
        let mut session = Self::new(config)?.start();
        session.come(false).await?;
        Ok(session)
    }

    /// Begins to connect. What is sent on the session before it is online waits (S0-07). With [`ClientConfig::reconnect`] it tries until
    /// it succeeds or trying makes no sense any more.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    #[must_use]
    pub fn start(&self) -> Session {
        let config = &self.0.config;
        let (commands, taken) = mpsc::channel(config.queue.max(1));
        let (told, events) = mpsc::channel(config.queue.max(1));
        let (orders, ordered) = mpsc::channel(1);
        let (close, closing) = oneshot::channel();
        let pending = Pending::new(config.account.clone(), config.leniency, config.requests);
        let shared = Arc::new(Shared {
            state: Mutex::new(State { numbered: 0, pending, scissors: None }),
            ignored: std::sync::atomic::AtomicU64::new(0),
        });
        let link = Link::new(Arc::clone(&self.0), Arc::clone(&shared), taken, told, closing);
        let task = tokio::spawn(link.run(ordered)).abort_handle();
        let sender = Sender { inner: Arc::clone(&self.0), shared, commands };
        Session {
            sender,
            events,
            orders,
            close: Some(close),
            inbox: VecDeque::new(),
            online: None,
            down: false,
            task,
        }
    }

    /// What the connections of this client counted.
    #[must_use]
    pub fn metrics(&self) -> &NetMetrics {
        &self.0.metrics
    }
}

/// What the application tells the link.
#[derive(Debug)]
pub(crate) enum Outgoing {
    Stanza(u64, Bytes),
    Nonza(Bytes),
}

pub(crate) struct State {
    /// Stanzas numbered so far.
    numbered: u64,
    pub(crate) pending: Pending,
    /// Cuts the connection that stands.
    pub(crate) scissors: Option<oneshot::Sender<()>>,
}

pub(crate) struct Shared {
    state: Mutex<State>,
    pub(crate) ignored: std::sync::atomic::AtomicU64,
}

impl Shared {
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing in here is left half done by a panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sends on a session, from any task. Cheap to clone.
///
/// If events are not read ([`Session::next`]), the session stops, and so do its senders.
#[derive(Clone)]
pub struct Sender {
    inner: Arc<Inner>,
    shared: Arc<Shared>,
    commands: mpsc::Sender<Outgoing>,
}

impl fmt::Debug for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").field("account", &self.inner.config.account).finish_non_exhaustive()
    }
}

impl Sender {
    /// See [`Session::send`].
    ///
    /// # Errors
    /// [`SendError::Closed`].
    pub async fn send(&self, stanza: &Stanza) -> Result<u64, SendError> {
        let bytes = stanza.bytes(ns::CLIENT);
        let permit = self.commands.reserve().await.map_err(|_| SendError::Closed)?;
        let mut state = self.shared.lock();
        state.numbered += 1;
        permit.send(Outgoing::Stanza(state.numbered, bytes));
        Ok(state.numbered)
    }

    /// Sends an element that is no stanza, such as `<active/>` (XEP-0352). It is not acknowledged, and not sent again.
    ///
    /// # Errors
    /// [`SendError::Closed`].
    pub async fn send_nonza(&self, nonza: &Builder) -> Result<(), SendError> {
        let bytes = nonza.bytes(ns::CLIENT);
        self.commands.send(Outgoing::Nonza(bytes)).await.map_err(|_| SendError::Closed)
    }

    /// Sends an IQ of type `get` and waits for its result; see [`Sender::request`].
    ///
    /// # Errors
    /// See [`RequestError`].
    pub async fn get(&self, to: Option<&Jid>, payload: Builder) -> Result<Stanza, RequestError> {
        self.request(IqType::Get, to, payload).await
    }

    /// Sends an IQ of type `set` and waits for its result; see [`Sender::request`].
    ///
    /// # Errors
    /// See [`RequestError`].
    pub async fn set(&self, to: Option<&Jid>, payload: Builder) -> Result<Stanza, RequestError> {
        self.request(IqType::Set, to, payload).await
    }

    /// Sends a request and waits for its answer, from whom it was sent to and nobody else (S4-04). Without `to` it goes to the own
    /// account. Its id is random (S4-09). A request survives its connection if the session does.
    ///
    /// # Errors
    /// See [`RequestError`].
    pub async fn request(
        &self,
        kind: IqType,
        to: Option<&Jid>,
        payload: Builder,
    ) -> Result<Stanza, RequestError> {
        let permit = self.commands.reserve().await.map_err(|_| SendError::Closed)?;
        let (id, answered) = {
            let mut state = self.shared.lock();
            let number = state.numbered + 1;
            let (id, answered) = state.pending.ask(to, number, &*self.inner.entropy)?;
            state.numbered = number;
            let request = iq(kind, &id).to(to.cloned()).child(payload).build();
            permit.send(Outgoing::Stanza(number, request.bytes(ns::CLIENT)));
            (id, answered)
        };
        // Gone with this future, so that a caller who loses patience leaves nothing behind.
        let _forget = Forget { shared: &self.shared, to, id: &id };
        let answer = match tokio::time::timeout(self.inner.config.request_timeout, answered).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => return Err(RequestError::Lost),
            Err(_) => return Err(RequestError::Timeout),
        };
        if let Kind::Iq(IqType::Error) = answer.kind() {
            let error = answer.own_child("error").and_then(StanzaError::parse);
            let error = error.unwrap_or_else(|| StanzaError::new(Condition::UndefinedCondition));
            return Err(RequestError::Refused(error));
        }
        Ok(answer)
    }

    /// Stanzas that were ignored: IQ answers that nobody had asked for, or another (S4-05), and roster pushes, block list pushes and
    /// carbons that did not come from the own account (S4-10).
    #[must_use]
    pub fn ignored(&self) -> u64 {
        self.shared.ignored.load(std::sync::atomic::Ordering::Relaxed)
    }
}

struct Forget<'a> {
    shared: &'a Shared,
    to: Option<&'a Jid>,
    id: &'a str,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.shared.lock().pending.forget(self.to, self.id);
    }
}

/// A session of an account. Dropping it drops its connection without a word: the server keeps the session for a while if it can be
/// resumed. [`Session::close`] ends it.
pub struct Session {
    sender: Sender,
    events: mpsc::Receiver<Event>,
    orders: mpsc::Sender<()>,
    close: Option<oneshot::Sender<Option<StreamError>>>,
    inbox: VecDeque<Event>,
    online: Option<Online>,
    /// The connection is over, and nobody has asked for another.
    down: bool,
    task: AbortHandle,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let jid = self.online.as_ref().map(|online| &online.jid);
        f.debug_struct("Session")
            .field("account", &self.sender.inner.config.account)
            .field("jid", &jid)
            .finish()
    }
}

impl Session {
    /// Waits until the session is online, also over failures after which it tries again by itself. Events that come meanwhile are kept
    /// for [`Session::next`].
    ///
    /// # Errors
    /// [`LoginError::Disconnected`].
    pub async fn online(&mut self) -> Result<&Online, LoginError> {
        self.come(true).await
    }

    async fn come(&mut self, patient: bool) -> Result<&Online, LoginError> {
        while self.online.is_none() {
            if self.down {
                return Err(LoginError::Disconnected(Box::new(gone())));
            }
            match self.receive().await {
                Some(Event::Disconnected(end)) if !(patient && end.retry_in.is_some()) => {
                    return Err(LoginError::Disconnected(end));
                }
                Some(event) => self.inbox.push_back(event),
                None => return Err(LoginError::Disconnected(Box::new(gone()))),
            }
        }
        self.online.as_ref().ok_or_else(|| LoginError::Disconnected(Box::new(gone())))
    }

    /// The state of the session, while it is online.
    #[must_use]
    pub fn state(&self) -> Option<&Online> {
        self.online.as_ref()
    }

    /// The bound address, while the session is online.
    #[must_use]
    pub fn jid(&self) -> Option<&Jid> {
        self.online.as_ref().map(|online| &online.jid)
    }

    /// The next event, in the order in which they happened. None once the session is over for good. Cancel-safe.
    pub async fn next(&mut self) -> Option<Event> {
        match self.inbox.pop_front() {
            Some(event) => Some(event),
            None => self.receive().await,
        }
    }

    async fn receive(&mut self) -> Option<Event> {
        let event = self.events.recv().await;
        match &event {
            Some(Event::Online(online)) => self.online = Some(Online::clone(online)),
            Some(Event::Disconnected(end)) => (self.online, self.down) = (None, end.retry_in.is_none()),
            None => (self.online, self.down) = (None, true),
            Some(_) => {}
        }
        event
    }

    /// Sends a stanza. Returns its number: the first stanza of this session is 1, and [`Event::Acked`] refers to it. Before the session is
    /// online, stanzas wait in a bounded queue. Requests that want an answer go through [`Session::get`] and [`Session::set`].
    ///
    /// # Errors
    /// See [`SendError`].
    pub async fn send(&mut self, stanza: &Stanza) -> Result<u64, SendError> {
        let sender = self.sender.clone();
        self.meanwhile(sender.send(stanza), |_| false).await.unwrap_or(Err(SendError::Unread))
    }

    /// See [`Sender::send_nonza`].
    ///
    /// # Errors
    /// See [`SendError`].
    pub async fn send_nonza(&mut self, nonza: &Builder) -> Result<(), SendError> {
        let sender = self.sender.clone();
        self.meanwhile(sender.send_nonza(nonza), |_| false).await.unwrap_or(Err(SendError::Unread))
    }

    /// See [`Sender::get`].
    ///
    /// # Errors
    /// See [`RequestError`]; also [`RequestError::Lost`] when the connection ends and does not come back by itself.
    pub async fn get(&mut self, to: Option<&Jid>, payload: Builder) -> Result<Stanza, RequestError> {
        self.request(IqType::Get, to, payload).await
    }

    /// See [`Sender::set`].
    ///
    /// # Errors
    /// See [`RequestError`]; also [`RequestError::Lost`] when the connection ends and does not come back by itself.
    pub async fn set(&mut self, to: Option<&Jid>, payload: Builder) -> Result<Stanza, RequestError> {
        self.request(IqType::Set, to, payload).await
    }

    /// See [`Sender::request`]. Events that come meanwhile are kept for [`Session::next`].
    ///
    /// # Errors
    /// See [`RequestError`]; also [`RequestError::Lost`] when the connection ends and does not come back by itself.
    pub async fn request(
        &mut self,
        kind: IqType,
        to: Option<&Jid>,
        payload: Builder,
    ) -> Result<Stanza, RequestError> {
        let sender = self.sender.clone();
        let ended = |event: &Event| matches!(event, Event::Disconnected(end) if end.retry_in.is_none());
        match self.meanwhile(sender.request(kind, to, payload), ended).await {
            Ok(answer) => answer,
            Err(Cut::Ended) => Err(RequestError::Lost),
            Err(Cut::Unread) => Err(SendError::Unread.into()),
        }
    }

    /// Awaits `wanted` and sets events aside, so that the one never waits for the other; unless an event ends the wait, or nobody reads.
    async fn meanwhile<T>(
        &mut self,
        wanted: impl Future<Output = T>,
        ends: impl Fn(&Event) -> bool,
    ) -> Result<T, Cut> {
        let mut wanted = pin!(wanted);
        let most = self.sender.inner.config.inbox;
        loop {
            let full = self.inbox.len() >= most;
            tokio::select! {
                biased;
                done = &mut wanted => return Ok(done),
                event = self.receive(), if !full => match event {
                    Some(event) => {
                        let over = ends(&event);
                        self.inbox.push_back(event);
                        if over {
                            return Err(Cut::Ended);
                        }
                    }
                    None => return Ok(wanted.await),
                },
                () = std::future::ready(()), if full => return Err(Cut::Unread),
            }
        }
    }

    /// Something to send with from other tasks.
    #[must_use]
    pub fn sender(&self) -> Sender {
        self.sender.clone()
    }

    /// Connects again, after [`Event::Disconnected`]. The old session goes on if the server still has it; else a new one begins, and what
    /// the server has not acknowledged is sent again. Whether to, and after which wait, is up to the caller; see [`crate::Backoff`]. A
    /// session that connects again by itself does so at once instead of after its wait, as is good when the network has come back.
    pub fn reconnect(&mut self) {
        self.down = false;
        // One order is enough; a second one would connect once too often.
        let _ordered = self.orders.try_send(());
    }

    /// Cuts the connection without a word, as when the network has changed. [`Event::Disconnected`] follows.
    pub fn cut(&self) {
        if let Some(scissors) = self.sender.shared.lock().scissors.take() {
            let _cut = scissors.send(());
        }
    }

    /// Closes the stream by the book (S0-21): what was sent before goes out, what the server still sends is still read, then TLS
    /// and TCP are closed. Returns the events that had not been read; the last one is [`Event::Disconnected`], unless it was read before.
    pub async fn close(mut self) -> Vec<Event> {
        if let Some(close) = self.close.take() {
            drop(close.send(None));
        }
        let mut rest = Vec::from(std::mem::take(&mut self.inbox));
        if self.down {
            return rest;
        }
        while let Some(event) = self.events.recv().await {
            let last = matches!(event, Event::Disconnected(_));
            rest.push(event);
            if last {
                break;
            }
        }
        rest
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What cuts a wait short.
enum Cut {
    /// An event after which it would be in vain.
    Ended,
    /// Too many events are set aside.
    Unread,
}

/// The task is gone; a panic at most.
fn gone() -> Disconnected {
    let why = Why::Stream(Reason::Lost);
    Disconnected { why, clean: false, resumable: false, may_retry: true, retry_in: None }
}
