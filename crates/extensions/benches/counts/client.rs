//! A server without sockets, and clients that are joined to it as the driver of `net` joins them.

use std::net::{IpAddr, Ipv4Addr};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use jiff::Timestamp;
use nuncio_router::accounts::Account;
use nuncio_router::c2s::ClientHost;
use nuncio_router::store::Store;
use nuncio_router::stream::c2s::{C2s, C2sConfig, Command, Event, Start};
use nuncio_router::{Clock, DomainConfig, Limits, Parts, Router, RouterConfig};
use nuncio_sansio::pair::{Counter, facts};
use nuncio_sansio::{ClientCertificate, Host as _, Input, Machine as _, Output, Time, TlsFacts};
use nuncio_xmpp::jid::BareJid;
use nuncio_xmpp::ns;
use nuncio_xmpp::stanza::Stanza;
use nuncio_xmpp::xml::Element;

pub(crate) const DOMAIN: &str = "shakespeare.example";
/// All of it happens at one moment.
pub(crate) const NOW: Time = Time::ZERO;
/// A client with stream management acknowledges so many stanzas together.
const TOGETHER: u32 = 5;

struct Still;

impl Clock for Still {
    fn now(&self) -> Timestamp {
        Timestamp::UNIX_EPOCH
    }
}

/// Runs a bench on this thread. Tokio's cooperative budget is for real tasks, which here would be interrupted at random.
pub(crate) fn alone(work: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(tokio::task::unconstrained(work));
}

/// The outcome of a future that is ready now.
async fn ready<T>(future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    std::future::poll_fn(|context| {
        Poll::Ready(match future.as_mut().poll(context) {
            Poll::Ready(value) => Some(value),
            Poll::Pending => None,
        })
    })
    .await
}

/// A server with the extensions that are on by default, in memory, that slows nobody down.
pub(crate) async fn server() -> Arc<Router> {
    let limits = Limits { stanzas_per_second: u32::MAX, bytes_per_second: u32::MAX, ..Limits::default() };
    let domains = vec![DomainConfig { name: DOMAIN.to_owned(), ..DomainConfig::default() }];
    let config = RouterConfig { domains, limits, scram_iterations: 1, ..RouterConfig::default() };
    let (store, entropy, clock) = (Store::memory(), Arc::new(Counter::default()), Arc::new(Still));
    Router::start(Parts { config, store, entropy, clock, extensions: nuncio_extensions::ALL }).await.unwrap()
}

pub(crate) fn stanza(xml: &str) -> Stanza {
    Stanza::from_element(Element::parse_in(ns::CLIENT, xml.to_owned()).unwrap()).unwrap()
}

/// A bound client that is available.
pub(crate) struct Client {
    pub(crate) machine: C2s,
    host: ClientHost,
    managed: bool,
    /// The number of its last stanza that did not come through the stream.
    number: u64,
    /// Stanzas that it has received.
    taken: u32,
}

impl Client {
    /// Makes the account if there is none yet, and logs in by certificate: a password is worked on by other threads, and how long threads wait for
    /// each other is chance.
    pub(crate) async fn login(router: &Arc<Router>, local: &str, resource: &str, managed: bool) -> Self {
        let jid = BareJid::from_parts(Some(local), DOMAIN).unwrap();
        if router.account(&jid).await.unwrap().is_none() {
            let account = Account { created: Timestamp::UNIX_EPOCH, disabled: false, deleting: false };
            let row = serde_json::to_vec(&account).unwrap();
            router.store().table("accounts").put(jid.as_str(), b"account", row).await.unwrap();
        }
        let entropy = Arc::new(Counter::default());
        let machine = C2s::new(Arc::new(C2sConfig::default()), entropy, Start::DirectTls, NOW);
        let host = ClientHost::new(Arc::clone(router), IpAddr::V4(Ipv4Addr::LOCALHOST));
        let mut this = Self { machine, host, managed, number: 1_000, taken: 0 };
        let certificate =
            ClientCertificate { chain: Vec::new(), xmpp_addresses: vec![jid.to_string()], trusted: true };
        this.machine.handle(NOW, Input::Tls(TlsFacts { client_certificate: Some(certificate), ..facts() }));
        this.drain().await;
        let header = format!(
            "<stream:stream to='{DOMAIN}' version='1.0' xmlns='jabber:client' \
             xmlns:stream='http://etherx.jabber.org/streams'>"
        );
        let auth = "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'>=</auth>".to_owned();
        let bind = format!(
            "<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>{resource}</resource></bind></iq>"
        );
        for text in [&header, &auth, &header, &bind] {
            this.receive(text.as_bytes()).await;
        }
        assert!(this.host.session().is_some(), "{local} could not log in");
        if managed {
            this.receive(b"<enable xmlns='urn:xmpp:sm:3' resume='true'/>").await;
        }
        this.receive(b"<presence/>").await;
        this.turn().await;
        this
    }

    /// Bytes of the peer.
    pub(crate) async fn receive(&mut self, bytes: &[u8]) {
        self.machine.handle(NOW, Input::Bytes(bytes));
        self.drain().await;
    }

    async fn drain(&mut self) {
        loop {
            match self.machine.poll(NOW) {
                Output::Send(bytes) => drop(std::hint::black_box(bytes)),
                Output::Ask(question) => {
                    let answer = self.host.ask(question).await;
                    self.machine.handle(NOW, Input::Answer(answer));
                }
                Output::Event(Event::Ended(end)) => panic!("the stream has ended: {end:?}"),
                Output::Event(event) => {
                    if let Some(waiting) = self.host.hear(event) {
                        waiting.await;
                    }
                }
                Output::StartTls { .. } | Output::Close(_) => panic!("the stream does not go on"),
                Output::Wait(_) => return,
            }
        }
    }

    /// Everything that the server has to tell, through the stream; how many stanzas that were.
    pub(crate) async fn turn(&mut self) -> u32 {
        let before = self.taken;
        while let Some(command) = ready(self.host.command()).await {
            self.taken += u32::from(matches!(command, Command::Stanza(_)));
            self.machine.handle(NOW, Input::Command(command));
            self.drain().await;
        }
        if self.managed && before / TOGETHER != self.taken / TOGETHER {
            let ack = format!("<a xmlns='urn:xmpp:sm:3' h='{}'/>", self.taken);
            self.receive(ack.as_bytes()).await;
        }
        self.taken - before
    }

    /// A stanza of the client, past its stream.
    pub(crate) async fn submit(&mut self, stanza: Stanza) {
        self.number += 1;
        self.host.event(Event::Stanza { number: self.number, stanza: Box::new(stanza) }).await;
    }

    /// Everything that the server has to tell, past the stream; how many stanzas that were.
    pub(crate) async fn take(&mut self) -> u32 {
        let before = self.taken;
        while let Some(command) = ready(self.host.command()).await {
            self.taken += u32::from(matches!(command, Command::Stanza(_)));
            assert!(!matches!(command, Command::Close(_)), "the stream does not go on");
        }
        let fresh = self.taken - before;
        if self.managed && before / TOGETHER != self.taken / TOGETHER {
            self.host.event(Event::Acked { h: self.taken, fresh }).await;
        }
        fresh
    }
}
