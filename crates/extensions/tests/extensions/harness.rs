//! A server without sockets, and clients that are the host of a stream that is not there.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use nuncio_router::c2s::ClientHost;
use nuncio_router::store::Store;
use nuncio_router::stream::c2s::{Answer, Command, Enabled, End, Event, Moment, Question, Reason};
use nuncio_router::stream::sasl::server::{Answer as SaslAnswer, Context, Exchange, Lookup, Policy, Step};
use nuncio_router::stream::sasl::{Authenticated, Mechanism};
use nuncio_router::{Clock, DomainConfig, Extension, Parts, Router, RouterConfig, ServiceContacts};
use nuncio_sansio::Host as _;
use nuncio_sansio::pair::Counter;
use nuncio_sansio::{TlsFacts, TlsVersion};
use nuncio_xmpp::jid::BareJid;
use nuncio_xmpp::ns;
use nuncio_xmpp::stanza::Stanza;
use nuncio_xmpp::xml::Element;
use zeroize::Zeroizing;

/// The accounts that every server has, each with the password `secret`; `nurse` administers it.
pub(crate) const ACCOUNTS: [&str; 4] = ["juliet", "nurse", "romeo", "tybalt"];

/// A clock that is moved by hand.
pub(crate) struct ByHand(Mutex<Timestamp>);

impl ByHand {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::new("2026-11-22T12:00:00Z".parse().unwrap())))
    }

    pub(crate) fn advance(&self, by: Duration) {
        let mut now = self.0.lock().unwrap();
        *now += by;
    }
}

impl Clock for ByHand {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap()
    }
}

pub(crate) fn config() -> RouterConfig {
    let contacts =
        ServiceContacts { abuse: vec!["mailto:abuse@localhost".to_owned()], ..ServiceContacts::default() };
    let domain = DomainConfig {
        name: "localhost".to_owned(),
        admins: vec![bare("nurse")],
        contacts,
        ..DomainConfig::default()
    };
    RouterConfig { domains: vec![domain], scram_iterations: 1, ..RouterConfig::default() }
}

pub(crate) async fn start(
    config: RouterConfig,
    store: Store,
    clock: Arc<ByHand>,
    extensions: &[Extension],
) -> Arc<Router> {
    let entropy = Arc::new(Counter::default());
    Router::start(Parts { config, store, entropy, clock, extensions }).await.unwrap()
}

pub(crate) async fn add(router: &Arc<Router>, accounts: &[&str]) {
    for account in accounts {
        router.add_account(&bare(account), Zeroizing::new("secret".to_owned())).await.unwrap();
    }
}

pub(crate) fn bare(local: &str) -> BareJid {
    BareJid::from_parts(Some(local), "localhost").unwrap()
}

/// A proof that this account logged in; only a finished exchange makes one.
fn proven(account: &BareJid) -> Authenticated {
    let policy = Policy { scram: Vec::new(), plain: true, external: false };
    let context = Context::new(account.domain().to_owned(), true, Vec::new(), policy.offer(true, &[]));
    let message = format!("\0{}\0secret", account.local().unwrap());
    let name = Mechanism::Plain.as_str();
    let (mut exchange, mut step) =
        Exchange::start(name, Some(message.as_bytes()), context, &Counter::default());
    loop {
        step = match step {
            Step::Need(Lookup::Password { .. }) => {
                exchange.answer(SaslAnswer::Password(Ok(Some(account.clone()))))
            }
            Step::Need(Lookup::Login { .. }) => exchange.answer(SaslAnswer::Login(Ok(()))),
            Step::Done(done) => return done.authenticated,
            other => panic!("{other:?}"),
        };
    }
}

pub(crate) fn stanza(xml: &str) -> Stanza {
    let element = Element::parse_in(ns::CLIENT, xml.to_owned()).unwrap_or_else(|why| panic!("{why}: {xml}"));
    Stanza::from_element(element).unwrap_or_else(|why| panic!("{why}: {xml}"))
}

/// A connection, at first without a resource.
pub(crate) struct Client {
    host: ClientHost,
    number: u64,
    /// What the stream was closed with, once it was; empty for no error.
    pub(crate) closed: Option<String>,
}

impl Client {
    pub(crate) fn connect(router: &Arc<Router>) -> Self {
        let host = ClientHost::new(Arc::clone(router), IpAddr::V4(Ipv4Addr::LOCALHOST));
        Self { host, number: 0, closed: None }
    }

    /// The stream features that extensions offer, before and after login.
    pub(crate) async fn features(&mut self, account: Option<&BareJid>) -> Vec<String> {
        let moment = Moment {
            domain: "localhost".to_owned(),
            authenticated: account.map(proven),
            tls: TlsFacts {
                version: TlsVersion::Tls13,
                suite: String::new(),
                resumed: false,
                server_name: None,
                exporter: None,
                server_end_point: None,
                client_certificate: None,
                peer_certificates: Vec::new(),
            },
        };
        match self.host.ask(Question::Offer(Box::new(moment))).await {
            Answer::Offer(all) => {
                all.iter().map(|one| String::from_utf8(one.bytes("").to_vec()).unwrap()).collect()
            }
            other => panic!("{other:?}"),
        }
    }

    /// A request before a resource is bound.
    pub(crate) async fn unbound(&mut self, who: Option<&BareJid>, xml: &str) -> Option<String> {
        let question = Question::Unbound {
            domain: "localhost".to_owned(),
            who: who.map(proven),
            stanza: Box::new(stanza(xml)),
        };
        match self.host.ask(question).await {
            Answer::Unbound(reply) => {
                reply.map(|reply| String::from_utf8(reply.bytes(ns::CLIENT).to_vec()).unwrap())
            }
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn bind(&mut self, account: &BareJid, resource: &str) {
        let question = Question::Bind { who: proven(account), resource: Some(resource.to_owned()) };
        match self.host.ask(question).await {
            Answer::Bind(Ok(jid)) => self.host.event(Event::Bound(jid)).await,
            other => panic!("{other:?}"),
        }
    }

    /// Enables stream management with resumption.
    pub(crate) async fn enable(&mut self) -> String {
        let jid = self.host.session().unwrap().jid().clone();
        match self.host.ask(Question::Enable { jid, resume: true, max: None }).await {
            Answer::Enable(Ok(Enabled { id: Some(id), .. })) => id,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn resume(&mut self, account: &BareJid, previd: &str, h: u32) {
        let question = Question::Resume { who: proven(account), previd: previd.to_owned(), h };
        match self.host.ask(question).await {
            Answer::Resume(Ok(resumed)) => {
                self.host.event(Event::Resumed { jid: resumed.jid.clone(), h }).await;
            }
            other => panic!("{other:?}"),
        }
    }

    /// The client sends a stanza; returns once the server takes the next.
    pub(crate) async fn send(&mut self, xml: &str) {
        self.number += 1;
        self.host.event(Event::Stanza { number: self.number, stanza: Box::new(stanza(xml)) }).await;
    }

    /// The client sends an element that is no stanza.
    pub(crate) async fn nonza(&mut self, xml: &str) {
        self.host.event(Event::Nonza(Element::parse(xml.to_owned()).unwrap())).await;
    }

    /// Everything that the client gets now.
    pub(crate) async fn drain(&mut self) -> Vec<String> {
        let mut all = Vec::new();
        while self.closed.is_none() {
            // In paused time the timeout passes only when nothing else can go on.
            let next = tokio::time::timeout(Duration::from_millis(50), self.host.command()).await;
            let Ok(command) = next else { break };
            match command {
                Command::Stanza(bytes) | Command::Nonza(bytes) => {
                    all.push(String::from_utf8(bytes.to_vec()).unwrap());
                }
                Command::Handled { .. } | Command::Unanswered => {}
                Command::Close(error) => {
                    let told = error.map_or_else(String::new, |error| error.condition.as_str().to_owned());
                    self.closed = Some(told);
                    self.end(Reason::Host, true).await;
                }
            }
        }
        all
    }

    async fn end(&mut self, reason: Reason, clean: bool) {
        self.host.event(Event::Ended(End { reason, clean, error: None })).await;
        self.host.closed().await;
    }

    /// The client closes its stream.
    pub(crate) async fn leave(mut self) {
        self.end(Reason::Peer, true).await;
    }

    /// The connection is lost.
    pub(crate) async fn lose(mut self) {
        self.end(Reason::Lost, false).await;
    }
}
