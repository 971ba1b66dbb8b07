//! A server without sockets, and clients that are the host of a stream that is not there.
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use nuncio_router::c2s::ClientHost;
use nuncio_router::{Clock, Extension, Parts, Router, RouterConfig};
use nuncio_sansio::Host as _;
use nuncio_sansio::pair::Counter;
use nuncio_store::Store;
use nuncio_stream::c2s::{Answer, Command, Enabled, End, Event, Question, Reason, Resumed};
use nuncio_stream::sasl::server::{Answer as SaslAnswer, Context, Exchange, Lookup, Policy, Step};
use nuncio_stream::sasl::{Authenticated, Mechanism};
use nuncio_xmpp::jid::BareJid;
use nuncio_xmpp::ns;
use nuncio_xmpp::stanza::Stanza;
use nuncio_xmpp::xml::Element;
use zeroize::Zeroizing;

/// A clock that stands still.
pub(crate) struct Still;

impl Clock for Still {
    fn now(&self) -> Timestamp {
        "2026-11-22T12:00:00Z".parse().unwrap()
    }
}

pub(crate) async fn server_with(config: RouterConfig, store: Store, extensions: &[Extension]) -> Arc<Router> {
    let entropy = Arc::new(Counter::default());
    let config = RouterConfig { scram_iterations: 1, ..config };
    Router::start(Parts { config, store, entropy, clock: Arc::new(Still), extensions }).await.unwrap()
}

/// A server of `localhost` with these accounts, each with the password `secret`.
pub(crate) async fn server(accounts: &[&str]) -> Arc<Router> {
    let router = server_with(RouterConfig::default(), Store::memory(), &[]).await;
    add(&router, accounts).await;
    router
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
pub(crate) fn proven(account: &BareJid) -> Authenticated {
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

/// A client whose stream is bound.
pub(crate) struct Client {
    pub(crate) host: ClientHost,
    pub(crate) account: BareJid,
    pub(crate) jid: String,
    /// The number of its last stanza.
    pub(crate) number: u64,
    /// The last number that it was told to be handled.
    pub(crate) handled: u64,
    /// What the stream was closed with, once it was.
    pub(crate) closed: Option<String>,
    /// Stanzas that came, in all.
    pub(crate) received: u32,
    /// How often the host said that the client did not answer a probe.
    pub(crate) unanswered: u32,
    open: bool,
}

impl Client {
    pub(crate) async fn connect(router: &Arc<Router>, local: &str) -> Self {
        Self {
            host: ClientHost::new(Arc::clone(router), IpAddr::V4(Ipv4Addr::LOCALHOST)),
            account: bare(local),
            jid: String::new(),
            number: 0,
            handled: 0,
            closed: None,
            received: 0,
            unanswered: 0,
            open: true,
        }
    }

    pub(crate) async fn bind(&mut self, resource: &str) -> Result<(), String> {
        let question = Question::Bind { who: proven(&self.account), resource: Some(resource.to_owned()) };
        match self.host.ask(question).await {
            Answer::Bind(Ok(jid)) => {
                self.jid = jid.to_string();
                self.host.event(Event::Bound(jid)).await;
                Ok(())
            }
            Answer::Bind(Err(error)) => Err(error.condition.as_str().to_owned()),
            other => panic!("{other:?}"),
        }
    }

    /// A bound client without presence.
    pub(crate) async fn login(router: &Arc<Router>, local: &str, resource: &str) -> Self {
        let mut client = Self::connect(router, local).await;
        client.bind(resource).await.unwrap();
        client
    }

    /// A bound client that is available; what came with that is dropped.
    pub(crate) async fn online(router: &Arc<Router>, local: &str, resource: &str) -> Self {
        let mut client = Self::login(router, local, resource).await;
        client.send("<presence/>").await;
        client.drain().await;
        client
    }

    /// Enables stream management with resumption.
    pub(crate) async fn enable(&mut self) -> String {
        let jid = self.host.session().unwrap().jid().clone();
        match self.host.ask(Question::Enable { jid, resume: true, max: None }).await {
            Answer::Enable(Ok(Enabled { id: Some(id), .. })) => id,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn resume(
        router: &Arc<Router>,
        local: &str,
        previd: &str,
        h: u32,
    ) -> Result<(Self, Resumed), String> {
        let mut client = Self::connect(router, local).await;
        let question = Question::Resume { who: proven(&client.account), previd: previd.to_owned(), h };
        match client.host.ask(question).await {
            Answer::Resume(Ok(resumed)) => {
                client.jid = resumed.jid.to_string();
                client.host.event(Event::Resumed { jid: resumed.jid.clone(), h }).await;
                Ok((client, resumed))
            }
            Answer::Resume(Err(failed)) => Err(failed.condition.as_str().to_owned()),
            other => panic!("{other:?}"),
        }
    }

    /// The client sends a stanza; returns once the server takes the next.
    pub(crate) async fn send(&mut self, xml: &str) {
        let element = Element::parse_in(ns::CLIENT, xml.to_owned()).unwrap();
        let stanza = Stanza::from_element(element).unwrap();
        self.number += 1;
        self.host.event(Event::Stanza { number: self.number, stanza: Box::new(stanza) }).await;
    }

    pub(crate) async fn ack(&mut self, h: u32) {
        self.host.event(Event::Acked { h, fresh: 0 }).await;
    }

    /// The next thing that the client gets; none if there is nothing.
    pub(crate) async fn next(&mut self) -> Option<String> {
        while self.open {
            // In paused time the timeout passes only when nothing else can go on.
            let command = tokio::time::timeout(Duration::from_millis(1), self.host.command()).await.ok()?;
            match command {
                Command::Stanza(bytes) => {
                    self.received += 1;
                    return Some(String::from_utf8(bytes.to_vec()).unwrap());
                }
                Command::Nonza(bytes) => return Some(String::from_utf8(bytes.to_vec()).unwrap()),
                Command::Unanswered => self.unanswered += 1,
                Command::Handled { number } => {
                    assert!(number > self.handled, "told twice that {number} is handled");
                    self.handled = number;
                }
                Command::Close(error) => {
                    let told = error.map_or_else(String::new, |error| error.condition.as_str().to_owned());
                    self.closed = Some(told);
                    self.open = false;
                    let end = End { reason: Reason::Host, clean: true, error: None };
                    self.host.event(Event::Ended(end)).await;
                    self.host.closed().await;
                }
            }
        }
        None
    }

    /// Everything that the client gets now.
    pub(crate) async fn drain(&mut self) -> Vec<String> {
        let mut all = Vec::new();
        while let Some(next) = self.next().await {
            all.push(next);
        }
        all
    }

    /// The bodies of what the client gets now.
    pub(crate) async fn bodies(&mut self) -> Vec<String> {
        self.drain().await.iter().filter_map(|stanza| body(stanza)).collect()
    }

    /// The one stanza that the client gets now.
    pub(crate) async fn one(&mut self) -> String {
        let mut all = self.drain().await;
        assert_eq!(all.len(), 1, "{all:#?}");
        all.remove(0)
    }

    /// The client closes its stream.
    pub(crate) async fn leave(mut self) {
        let end = End { reason: Reason::Peer, clean: true, error: None };
        self.host.event(Event::Ended(end)).await;
        self.host.closed().await;
    }

    /// The process is killed: nobody says goodbye.
    pub(crate) fn kill(self) {
        // On a thread without a runtime there is nobody who could do anything about it.
        std::thread::spawn(move || drop(self)).join().unwrap();
    }

    /// The connection is lost.
    pub(crate) async fn lose(mut self) {
        let end = End { reason: Reason::Lost, clean: false, error: None };
        self.host.event(Event::Ended(end)).await;
        self.host.closed().await;
    }
}

pub(crate) fn body(stanza: &str) -> Option<String> {
    let start = stanza.find("<body>")? + 6;
    let end = stanza.find("</body>")?;
    Some(stanza[start..end].to_owned())
}
