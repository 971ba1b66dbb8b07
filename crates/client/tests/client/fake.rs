//! A server of one account over real sockets: the receiving role of `nuncio-stream`, with a host that does as it is told.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use bytes::Bytes;
use nuncio_client::dna::CertificateDer;
use nuncio_client::{
    Client, ClientConfig, Event, Pace, Resolve, Resolved, Roots, Server, Service, Services, Session, Start,
};
use nuncio_net::tls::{HostFiles, PairFiles, Peers, TlsSettings};
use nuncio_net::{Clock, Options, OsEntropy, Security, Settings, TlsHosts, ca, drive};
use nuncio_sansio::Host;
use nuncio_stream::c2s::{
    Answer, C2s, C2sConfig, Command, Domain, Enabled, Event as Heard, Question, ResumeFailed, Resumed,
};
use nuncio_stream::sasl::server::{self, Lookup, Policy};
use nuncio_stream::sasl::{Hash, Keys};
use nuncio_xmpp::error::{Condition, StreamCondition, StreamError};
use nuncio_xmpp::jid::{BareJid, Jid};
use nuncio_xmpp::ns;
use nuncio_xmpp::stanza::Stanza;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

/// What a test waits for at most. Only a failing test waits that long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
pub(crate) const DOMAIN: &str = "good.example";
pub(crate) const EVIL: &str = "evil.example";
/// Where SRV records may say that the domain is served.
pub(crate) const HOST: &str = "host.good.example";

static KEYS: LazyLock<HashMap<&str, Keys>> = LazyLock::new(|| {
    let keys = |hash| Keys::derive(hash, "secret", b"pepper and salt", 4096).unwrap();
    HashMap::from([
        ("SHA-1", keys(Hash::Sha1)),
        ("SHA-256", keys(Hash::Sha256)),
        ("SHA-512", keys(Hash::Sha512)),
    ])
});

/// Certificates: one authority, which the clients believe, for each domain.
pub(crate) struct Certificates {
    folder: TempDir,
}

impl Certificates {
    pub(crate) fn new() -> Self {
        let this = Self { folder: tempfile::tempdir().unwrap() };
        for domain in [DOMAIN, EVIL, HOST] {
            ca::local(&this.of(domain), &[domain.to_owned()]).unwrap();
        }
        this
    }

    fn of(&self, domain: &str) -> PathBuf {
        self.folder.path().join(domain)
    }

    pub(crate) fn roots(&self) -> Roots {
        self.authorities(&[DOMAIN, EVIL, HOST])
    }

    /// The authorities of these domains.
    pub(crate) fn authorities(&self, domains: &[&str]) -> Roots {
        Roots::Files(domains.iter().map(|domain| self.of(domain).join("ca.pem")).collect())
    }

    /// The certificate of a domain itself.
    pub(crate) fn leaf(&self, domain: &str) -> CertificateDer<'static> {
        let all = Roots::Files(vec![self.of(domain).join("host.pem")]).certificates().unwrap();
        all.into_iter().next().unwrap()
    }

    pub(crate) fn hosts(&self, domain: &str) -> Arc<TlsHosts> {
        self.shown_to(domain, Peers::Clients)
    }

    /// For a web server, which speaks none of the protocols that ALPN would offer.
    pub(crate) fn web(&self, domain: &str) -> Arc<TlsHosts> {
        self.shown_to(domain, Peers::Relays)
    }

    fn shown_to(&self, domain: &str, peers: Peers) -> Arc<TlsHosts> {
        let folder = self.of(domain);
        let pair = PairFiles { chain: folder.join("host.pem"), key: folder.join("host-key.pem") };
        let host = HostFiles { domain: domain.to_owned(), pairs: vec![pair], ..HostFiles::default() };
        let settings = TlsSettings {
            hosts: vec![host],
            default: Some(domain.to_owned()),
            peers,
            ..TlsSettings::default()
        };
        Arc::new(TlsHosts::load(settings).unwrap().0)
    }
}

/// A session that outlives its connection.
#[derive(Default)]
struct Kept {
    jid: Option<Jid>,
    inbound: u32,
    sent: u32,
    unacked: VecDeque<Bytes>,
}

type React = Box<dyn Fn(&Stanza) -> Vec<Stanza> + Send>;

/// What the server has seen and shall do.
#[derive(Default)]
pub(crate) struct World {
    sessions: HashMap<String, Kept>,
    react: Option<React>,
    /// All stanzas that were received, in order.
    pub(crate) received: Vec<Stanza>,
    /// Whether TLS was resumed, for each connection that came so far.
    pub(crate) tls: Vec<bool>,
    /// The server names of the handshakes.
    pub(crate) names: Vec<Option<String>>,
    /// The `to` of each stream header inside TLS.
    pub(crate) to: Vec<Option<String>>,
    /// TCP connections.
    pub(crate) connections: usize,
    /// Where everybody is sent once TLS is up.
    pub(crate) redirect: Option<String>,
    /// Only PLAIN is offered.
    pub(crate) only_plain: bool,
    /// Stanzas are never counted as handled.
    pub(crate) lazy: bool,
    /// No session is ever resumed; if so, what it says it had handled.
    pub(crate) forgetful: Option<bool>,
}

/// Live connections, each with the session that it carries.
type Live = Arc<Mutex<Vec<(Option<String>, mpsc::UnboundedSender<Order>)>>>;

/// Tells live connections what to do.
#[derive(Clone)]
enum Order {
    Send(Bytes),
    Error(StreamCondition),
}

pub(crate) struct Fake {
    pub(crate) address: SocketAddr,
    pub(crate) world: Arc<Mutex<World>>,
    live: Live,
    generation: watch::Sender<u64>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Fake {
    pub(crate) async fn start(tls: Arc<TlsHosts>, start: Start) -> Self {
        Self::at(SocketAddr::from(([127, 0, 0, 1], 0)), tls, start).await
    }

    pub(crate) async fn at(address: SocketAddr, tls: Arc<TlsHosts>, start: Start) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let world = Arc::new(Mutex::new(World::default()));
        let live = Arc::new(Mutex::new(Vec::new()));
        let (generation, seen) = watch::channel(0);
        let task = tokio::spawn(accept(listener, tls, start, Arc::clone(&world), Arc::clone(&live), seen));
        Self { address, world, live, generation, task }
    }

    /// How stanzas are answered.
    pub(crate) fn react(&self, react: impl Fn(&Stanza) -> Vec<Stanza> + Send + 'static) {
        self.world.lock().unwrap().react = Some(Box::new(react));
    }

    /// Sends to all sessions, whether or not their connections stand.
    pub(crate) fn push(&self, stanza: &Stanza) {
        let bytes = stanza.bytes(ns::CLIENT);
        let mut world = self.world.lock().unwrap();
        for (id, one) in self.live.lock().unwrap().iter() {
            if let Some(kept) = id.as_ref().and_then(|id| world.sessions.get_mut(id)) {
                kept.sent += 1;
                kept.unacked.push_back(bytes.clone());
            }
            drop(one.send(Order::Send(bytes.clone())));
        }
    }

    /// Ends all live streams with an error.
    pub(crate) fn fail(&self, condition: StreamCondition) -> usize {
        let live = self.live.lock().unwrap();
        live.iter().filter(|(_, one)| one.send(Order::Error(condition)).is_ok()).count()
    }

    /// Drops all connections without a word inside TLS.
    pub(crate) fn kill(&self) {
        self.generation.send_modify(|generation| *generation += 1);
    }

    pub(crate) fn bodies(&self) -> Vec<String> {
        let world = self.world.lock().unwrap();
        world.received.iter().filter_map(|stanza| Some(stanza.body_text()?.into_owned())).collect()
    }
}

async fn accept(
    listener: TcpListener,
    tls: Arc<TlsHosts>,
    start: Start,
    world: Arc<Mutex<World>>,
    live: Live,
    seen: watch::Receiver<u64>,
) {
    let clock = Clock::start();
    // The tests wait for acknowledgements; they come at once.
    let pace = Pace { every: 1, ..Pace::default() };
    let config = Arc::new(C2sConfig { pace, ..C2sConfig::default() });
    loop {
        let (io, _) = listener.accept().await.unwrap();
        world.lock().unwrap().connections += 1;
        let (orders, ordered) = mpsc::unbounded_channel();
        let host = FakeHost {
            world: Arc::clone(&world),
            live: Arc::clone(&live),
            orders: Some(orders),
            ordered,
            next: VecDeque::new(),
            id: None,
        };
        let options = Options {
            security: Security::Server(Arc::clone(&tls)),
            direct_tls: start == Start::DirectTls,
            ..Options::new(Arc::new(Settings::new(clock, Arc::default())))
        };
        let machine = C2s::new(Arc::clone(&config), Arc::new(OsEntropy), start, clock.now());
        let mut seen = seen.clone();
        seen.mark_unchanged();
        tokio::spawn(async move {
            tokio::select! {
                _ = drive(io, machine, host, options) => {}
                _ = seen.changed() => {}
            }
        });
    }
}

struct FakeHost {
    world: Arc<Mutex<World>>,
    live: Live,
    orders: Option<mpsc::UnboundedSender<Order>>,
    ordered: mpsc::UnboundedReceiver<Order>,
    next: VecDeque<Command>,
    id: Option<String>,
}

impl FakeHost {
    fn send(&mut self, stanza: &Stanza) {
        let bytes = stanza.bytes(ns::CLIENT);
        let mut world = self.world.lock().unwrap();
        if let Some(kept) = self.id.as_ref().and_then(|id| world.sessions.get_mut(id)) {
            kept.sent += 1;
            kept.unacked.push_back(bytes.clone());
        }
        self.next.push_back(Command::Stanza(bytes));
    }

    fn up(&mut self) {
        let mut live = self.live.lock().unwrap();
        live.retain(|(id, _)| id.is_none() || *id != self.id);
        live.extend(self.orders.take().map(|orders| (self.id.clone(), orders)));
    }

    fn answer(&mut self, question: Question) -> Answer {
        let account = BareJid::new(&format!("juliet@{DOMAIN}")).unwrap();
        let mut world = self.world.lock().unwrap();
        match question {
            Question::Domain { to, tls } => {
                if tls.is_some() {
                    world.to.push(to);
                    if let Some(other) = &world.redirect {
                        return Answer::Domain(Err(StreamError::see_other_host(other)));
                    }
                }
                let scram =
                    if world.only_plain { vec![] } else { vec![Hash::Sha1, Hash::Sha256, Hash::Sha512] };
                let policy = Policy { scram, plain: true, external: false };
                Answer::Domain(Ok(Domain { name: DOMAIN.to_owned(), policy, tls: true }))
            }
            Question::Offer(_) => Answer::Offer(Vec::new()),
            Question::Sasl { lookup, .. } => Answer::Sasl(match lookup {
                Lookup::Scram { username, hash } => server::Answer::Scram(Ok(server::Record {
                    keys: if username == "juliet" {
                        let name = match hash {
                            Hash::Sha1 => "SHA-1",
                            Hash::Sha256 => "SHA-256",
                            Hash::Sha512 => "SHA-512",
                        };
                        KEYS[name].clone()
                    } else {
                        Keys::fake(b"s", hash, &username, 4096)
                    },
                    account: (username == "juliet").then_some(account),
                })),
                Lookup::Password { username, password } => server::Answer::Password(Ok((username
                    == "juliet"
                    && *password == "secret")
                    .then_some(account))),
                Lookup::External { .. } => server::Answer::External(Ok(None)),
                Lookup::Login { .. } => server::Answer::Login(Ok(())),
            }),
            Question::Unbound { .. } => Answer::Unbound(None),
            Question::Bind { who, resource } => Answer::Bind(Ok(who
                .account()
                .with_resource(resource.as_deref().unwrap_or("made-up"))
                .unwrap())),
            Question::Enable { jid, .. } => {
                let id = format!("sm-{}", world.sessions.len());
                world.sessions.insert(id.clone(), Kept { jid: Some(jid), ..Kept::default() });
                self.id = Some(id.clone());
                Answer::Enable(Ok(Enabled { id: Some(id), max: Some(300), location: None }))
            }
            Question::Resume { previd, h, .. } => {
                let forgetful = world.forgetful;
                let Some(kept) = world.sessions.get_mut(&previd) else {
                    return Answer::Resume(Err(ResumeFailed { condition: Condition::ItemNotFound, h: None }));
                };
                if let Some(tells) = forgetful {
                    let h = tells.then_some(kept.inbound);
                    return Answer::Resume(Err(ResumeFailed { condition: Condition::ItemNotFound, h }));
                }
                let acked = kept.sent - kept.unacked.len() as u32;
                kept.unacked.drain(..(h - acked) as usize);
                let resumed =
                    Resumed { jid: kept.jid.clone().unwrap(), inbound: kept.inbound, outbound: kept.sent };
                self.id = Some(previd);
                Answer::Resume(Ok(resumed))
            }
        }
    }

    fn hear(&mut self, event: Heard) {
        match event {
            Heard::Secured(facts) => {
                let mut world = self.world.lock().unwrap();
                world.tls.push(facts.resumed);
                world.names.push(facts.server_name);
            }
            Heard::Bound(_) => self.up(),
            Heard::Enabled(_) => {
                let mut live = self.live.lock().unwrap();
                if let Some(last) = live.last_mut() {
                    last.0 = self.id.clone();
                }
            }
            Heard::Resumed { .. } => {
                let again: Vec<_> = {
                    let world = self.world.lock().unwrap();
                    self.id
                        .as_ref()
                        .map_or_else(Vec::new, |id| world.sessions[id].unacked.iter().cloned().collect())
                };
                self.next.extend(again.into_iter().map(Command::Stanza));
                self.up();
            }
            Heard::Stanza { number, stanza } => {
                let answers = {
                    let mut world = self.world.lock().unwrap();
                    world.received.push(Stanza::clone(&stanza));
                    if !world.lazy {
                        if let Some(kept) = self.id.as_ref().and_then(|id| world.sessions.get_mut(id)) {
                            kept.inbound += 1;
                        }
                        self.next.push_back(Command::Handled { number });
                    }
                    world.react.as_ref().map_or_else(Vec::new, |react| react(&stanza))
                };
                for answer in answers {
                    self.send(&answer);
                }
            }
            Heard::Acked { h, .. } => {
                let mut world = self.world.lock().unwrap();
                if let Some(kept) = self.id.as_ref().and_then(|id| world.sessions.get_mut(id)) {
                    let left = kept.sent.saturating_sub(h) as usize;
                    while kept.unacked.len() > left {
                        kept.unacked.pop_front();
                    }
                }
            }
            _ => {}
        }
    }
}

impl Host<C2s> for FakeHost {
    async fn ask(&mut self, question: Question) -> Answer {
        self.answer(question)
    }

    async fn event(&mut self, event: Heard) {
        self.hear(event);
    }

    async fn command(&mut self) -> Command {
        loop {
            if let Some(command) = self.next.pop_front() {
                return command;
            }
            match self.ordered.recv().await {
                Some(Order::Send(bytes)) => return Command::Stanza(bytes),
                Some(Order::Error(condition)) => return Command::Close(Some(StreamError::new(condition))),
                None => std::future::pending().await,
            }
        }
    }

    async fn closed(&mut self) {}
}

/// Says `words` to everybody who connects, after each sees what it waits for; returns what was heard.
pub(crate) async fn raw(words: Vec<(&'static str, String)>) -> (SocketAddr, mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (tell, heard) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut io, _)) = listener.accept().await {
            let mut all = Vec::new();
            let mut from = 0;
            for (wait, answer) in &words {
                while !String::from_utf8_lossy(&all[from..]).contains(wait) {
                    if io.read_buf(&mut all).await.unwrap_or(0) == 0 {
                        break;
                    }
                }
                from = all.len();
                if io.write_all(answer.as_bytes()).await.is_err() {
                    break;
                }
            }
            // Its last words; whatever they are, the connection ends.
            drop(io.read_to_end(&mut all).await);
            if tell.send(String::from_utf8_lossy(&all).into_owned()).is_err() {
                return;
            }
        }
    });
    (address, heard)
}

/// Knows names: their addresses, and where their clients are served.
#[derive(Debug, Default)]
pub(crate) struct Names {
    pub(crate) addresses: HashMap<String, Vec<IpAddr>>,
    pub(crate) services: HashMap<String, Services>,
    /// What was looked up, in order: `srv NAME` and `host NAME`.
    pub(crate) asked: Mutex<Vec<String>>,
}

impl Names {
    /// A name that is served on one address.
    pub(crate) fn one(name: &str, address: SocketAddr, start: Start) -> Self {
        let mut names = Self::default();
        names.serve(name, &[(name, address, start)]);
        names
    }

    /// Hosts where a domain is served, in this order.
    pub(crate) fn serve(&mut self, domain: &str, hosts: &[(&str, SocketAddr, Start)]) {
        let mut found = Vec::new();
        for (host, address, start) in hosts {
            self.addresses.insert((*host).to_owned(), vec![address.ip()]);
            found.push(Service { host: (*host).to_owned(), port: address.port(), start: *start });
        }
        self.services.insert(domain.to_owned(), Services::At(found));
    }
}

impl Resolve for Names {
    fn services<'a>(&'a self, domain: &'a str) -> Resolved<'a, Services> {
        self.asked.lock().unwrap().push(format!("srv {domain}"));
        let found = self.services.get(domain).cloned().unwrap_or(Services::Unknown);
        Box::pin(async move { Ok(found) })
    }

    fn addresses<'a>(&'a self, host: &'a str) -> Resolved<'a, Vec<IpAddr>> {
        self.asked.lock().unwrap().push(format!("host {host}"));
        let found = self.addresses.get(host).cloned();
        Box::pin(async move { found.ok_or_else(|| io::ErrorKind::NotFound.into()) })
    }
}

pub(crate) fn config(certificates: &Certificates, address: SocketAddr) -> ClientConfig {
    ClientConfig {
        server: Server::Address(address),
        pace: Pace { every: 1, ..Pace::default() },
        ..ClientConfig::new(
            BareJid::new(&format!("juliet@{DOMAIN}")).unwrap(),
            "secret",
            certificates.roots(),
        )
    }
}

pub(crate) async fn connect(config: ClientConfig) -> Session {
    timeout(PATIENCE, Client::connect(config)).await.expect("in time").expect("online")
}

/// The next event that `wanted` takes; those before it are dropped.
pub(crate) async fn wait<T>(session: &mut Session, mut wanted: impl FnMut(Event) -> Option<T>) -> T {
    let search = async {
        loop {
            let event = session.next().await.expect("an event");
            if let Some(found) = wanted(event) {
                return found;
            }
        }
    };
    timeout(PATIENCE, search).await.expect("in time")
}

/// Until the server's state is as wanted.
pub(crate) async fn until(mut wanted: impl FnMut() -> bool) {
    let search = async {
        while !wanted() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    timeout(PATIENCE, search).await.expect("in time");
}
