//! A relay with certificates of its own authority, and clients of it.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::pending;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use nuncio_dna::{CertificateDer, Policy};
use nuncio_msrp::digest::{Algorithm, Challenge};
use nuncio_net::tls::{HostFiles, PairFiles, Peers, Roots, TlsSettings};
use nuncio_net::{
    Budget, BudgetLimits, Clock, Connector, Listener, NetMetrics, Options, OsEntropy, Security, Settings,
    TlsHosts, ca, drive,
};
use nuncio_relay::{Account, Accounts, Boxed, Holder, Parts, Relay, RelayConfig};
use nuncio_sansio::{Close, Eof, Host, Input, Machine, Output, Time};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;
use zeroize::Zeroizing;

/// What a test waits for at most. Only a failing test waits that long.
const PATIENCE: Duration = Duration::from_secs(30);

/// Alice and Bob have passwords; Carol's credentials end at once; Dave may not; Frank is disabled just after his login; of Grace nobody can say
/// whether she may.
pub(crate) struct Known(pub(crate) Mutex<Vec<String>>);

fn account(name: &str, password: &str) -> Account {
    Account {
        holder: Holder::new(name, 0),
        password: Zeroizing::new(password.to_owned()),
        allowed: name != "dave",
        seconds: (name == "carol").then_some(1),
    }
}

impl Accounts for Known {
    fn by_name<'a>(&'a self, username: &'a str, _: IpAddr) -> Boxed<'a, Option<Account>> {
        let known = ["alice", "bob", "carol", "dave", "frank", "grace"].contains(&username);
        Box::pin(async move { known.then(|| account(username, &format!("{username}'s password"))) })
    }

    fn by_certificate<'a>(&'a self, addresses: &'a [String]) -> Boxed<'a, Option<Account>> {
        Box::pin(async move { addresses.first().map(|address| account(address, "")) })
    }

    fn may<'a>(&'a self, holder: &'a Holder) -> Boxed<'a, Option<bool>> {
        Box::pin(async move { (&*holder.name != "grace").then_some(&*holder.name != "frank") })
    }

    fn failed(&self, username: &str, _: IpAddr) {
        self.0.lock().unwrap().push(username.to_owned());
    }
}

/// A relay that runs.
pub(crate) struct Stage {
    pub(crate) relay: Arc<Relay>,
    pub(crate) accounts: Arc<Known>,
    pub(crate) name: String,
    pub(crate) address: SocketAddr,
    pub(crate) websocket: SocketAddr,
    authority: PathBuf,
    _folder: TempDir,
}

/// What others are told of a relay.
#[derive(Clone)]
pub(crate) struct Card {
    pub(crate) name: String,
    pub(crate) address: SocketAddr,
    authority: CertificateDer<'static>,
}

/// A name's certificates, and the port where it will be.
pub(crate) struct Begun {
    pub(crate) name: String,
    listener: Listener,
    websocket: Listener,
    local: ca::LocalCa,
    folder: TempDir,
    net: Arc<NetMetrics>,
}

impl Begun {
    pub(crate) fn new(name: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let local = ca::local(folder.path(), &[name.to_owned()]).unwrap();
        let net = Arc::new(NetMetrics::default());
        let budget = Budget::new(BudgetLimits::default(), Arc::clone(&net));
        let bind = || Listener::bind("msrp", &["127.0.0.1:0".parse().unwrap()], 64, budget.clone()).unwrap();
        Self { name: name.to_owned(), listener: bind(), websocket: bind(), local, folder, net }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.listener.addresses()[0]
    }

    fn authority(&self) -> CertificateDer<'static> {
        Roots::Files(vec![self.local.authority.clone()]).certificates().unwrap().remove(0)
    }

    /// What others are told of it.
    pub(crate) fn card(&self) -> Card {
        Card { name: self.name.clone(), address: self.address(), authority: self.authority() }
    }

    /// Starts it. It knows where these others are, and believes their authorities; `settings` may change what it is given.
    pub(crate) fn start(self, others: &[Card], settings: impl FnOnce(&mut RelayConfig)) -> Stage {
        let mut policy = Policy::default();
        let mut config = RelayConfig::new(&self.name, self.address().port());
        config.websocket = Some(self.websocket.addresses()[0].port());
        for other in others {
            policy.trust.add_anchor(&other.authority).unwrap();
            config.hosts.insert(other.name.clone(), other.address);
        }
        settings(&mut config);
        let tls = TlsSettings {
            hosts: vec![HostFiles {
                domain: self.name.clone(),
                pairs: vec![PairFiles { chain: self.local.chain.clone(), key: self.local.key.clone() }],
                ..HostFiles::default()
            }],
            default: Some(self.name.clone()),
            client_roots: vec![self.local.authority.clone()],
            peers: Peers::Relays,
            ..TlsSettings::default()
        };
        let accounts = Arc::new(Known(Mutex::default()));
        let relay = Relay::start(Parts {
            config,
            accounts: Arc::clone(&accounts) as Arc<dyn Accounts>,
            tls: Arc::new(TlsHosts::load(tls).unwrap().0),
            collector: None,
            policy,
            entropy: Arc::new(OsEntropy),
            clock: Clock::start(),
            net: Arc::clone(&self.net),
        })
        .unwrap();
        let (address, websocket) = (self.address(), self.websocket.addresses()[0]);
        tokio::spawn(Arc::clone(&relay).accept(self.listener));
        tokio::spawn(Arc::clone(&relay).accept_websocket(self.websocket));
        let authority = self.local.authority;
        Stage { relay, accounts, name: self.name, address, websocket, authority, _folder: self.folder }
    }

    /// One relay alone.
    pub(crate) fn alone(settings: impl FnOnce(&mut RelayConfig)) -> Stage {
        Self::new("relay.example").start(&[], settings)
    }
}

impl Stage {
    /// The relay's URI for AUTH.
    pub(crate) fn uri(&self) -> String {
        format!("msrps://{}:{};tcp", self.name, self.address.port())
    }

    /// The sum of a metric's samples with this text in their line.
    pub(crate) fn metric(&self, what: &str) -> f64 {
        let mut registry = prometheus_client::registry::Registry::default();
        self.relay.metrics().register(&mut registry);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        let lines = text.lines().filter(|line| !line.starts_with('#') && line.contains(what));
        lines.map(|line| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap()).sum()
    }

    /// Waits until a metric is above nothing.
    pub(crate) async fn counted(&self, what: &str) {
        let counting = async {
            while self.metric(what) < 0.5 {
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, counting).await.expect("in time");
    }

    /// A connection inside TLS; `own` is the certificate it shows.
    pub(crate) async fn connect(&self, own: Option<&PairFiles>) -> Raw {
        self.connect_to(self.address, own).await
    }

    pub(crate) async fn connect_to(&self, address: SocketAddr, own: Option<&PairFiles>) -> Raw {
        let roots = Roots::Files(vec![self.authority.clone()]);
        let connector = Arc::new(Connector::new(&roots, own).unwrap());
        let io = TcpStream::connect(address).await.unwrap();
        let (say, told) = mpsc::unbounded_channel();
        let (tell, heard) = mpsc::unbounded_channel();
        let options = Options {
            security: Security::Client { connector, server_name: self.name.clone() },
            direct_tls: true,
            ..Options::new(Arc::new(Settings::new(Clock::start(), Arc::default())))
        };
        tokio::spawn(drive(io, Pipe::default(), Ends { heard: tell, say: told }, options));
        Raw { say, heard, bytes: Vec::new() }
    }

    /// A client that has logged in.
    pub(crate) async fn client(&self, name: &str) -> Client {
        let mut client = Client::new(self.connect(None).await, name, self.uri());
        let answer = client.login(name, &format!("{name}'s password")).await;
        assert!(answer.contains(" 200 "), "{answer}");
        client.path = field(&answer, "Use-Path").unwrap().to_owned();
        client
    }
}

/// What a connection has heard.
pub(crate) enum Heard {
    Bytes(Vec<u8>),
    Eof(Eof),
}

/// What it is told.
pub(crate) enum Say {
    Bytes(Bytes),
    /// Whether it reads.
    Read(bool),
    Close,
}

/// Passes everything on.
struct Pipe {
    out: VecDeque<Output<Infallible, Heard>>,
    reads: bool,
}

impl Default for Pipe {
    fn default() -> Self {
        Self { out: VecDeque::new(), reads: true }
    }
}

impl Machine for Pipe {
    type Question = Infallible;
    type Answer = Infallible;
    type Event = Heard;
    type Command = Say;

    fn handle(&mut self, _: Time, input: Input<'_, Infallible, Say>) {
        match input {
            Input::Bytes(bytes) => self.out.push_back(Output::Event(Heard::Bytes(bytes.to_vec()))),
            Input::Eof(eof) => {
                self.out.push_back(Output::Event(Heard::Eof(eof)));
                self.out.push_back(Output::Close(Close::Orderly));
            }
            Input::Command(Say::Bytes(bytes)) => self.out.push_back(Output::Send(bytes)),
            Input::Command(Say::Read(reads)) => self.reads = reads,
            Input::Command(Say::Close) => self.out.push_back(Output::Close(Close::Orderly)),
            Input::Tls(_) | Input::Time => {}
            Input::Answer(never) => match never {},
        }
    }

    fn poll(&mut self, _: Time) -> Output<Infallible, Heard> {
        self.out.pop_front().unwrap_or(Output::Wait(None))
    }

    fn wants_bytes(&self) -> bool {
        self.reads
    }
}

struct Ends {
    heard: mpsc::UnboundedSender<Heard>,
    say: mpsc::UnboundedReceiver<Say>,
}

impl Host<Pipe> for Ends {
    async fn ask(&mut self, question: Infallible) -> Infallible {
        match question {}
    }

    async fn event(&mut self, event: Heard) {
        // A test that has seen enough.
        drop(self.heard.send(event));
    }

    async fn command(&mut self) -> Say {
        match self.say.recv().await {
            Some(say) => say,
            None => pending().await,
        }
    }

    async fn closed(&mut self) {}
}

/// A connection.
pub(crate) struct Raw {
    say: mpsc::UnboundedSender<Say>,
    heard: mpsc::UnboundedReceiver<Heard>,
    bytes: Vec<u8>,
}

impl Raw {
    pub(crate) fn say(&self, bytes: impl Into<Bytes>) {
        drop(self.say.send(Say::Bytes(bytes.into())));
    }

    pub(crate) fn read(&self, whether: bool) {
        drop(self.say.send(Say::Read(whether)));
    }

    pub(crate) fn close(&self) {
        drop(self.say.send(Say::Close));
    }

    /// What came until this came.
    pub(crate) async fn until(&mut self, wanted: &[u8]) -> Vec<u8> {
        let mut from = 0;
        loop {
            let tail = self.bytes.get(from..).unwrap_or_default();
            if let Some(at) = tail.windows(wanted.len()).position(|window| window == wanted) {
                let rest = self.bytes.split_off(from + at + wanted.len());
                return std::mem::replace(&mut self.bytes, rest);
            }
            from = self.bytes.len().saturating_sub(wanted.len());
            match timeout(PATIENCE, self.heard.recv()).await {
                Ok(Some(Heard::Bytes(bytes))) => self.bytes.extend_from_slice(&bytes),
                Ok(Some(Heard::Eof(eof))) => panic!("{eof:?} after {}", self.shown()),
                Ok(None) => panic!("it is over, after {}", self.shown()),
                Err(_) => panic!("not in time, but {}", self.shown()),
            }
        }
    }

    pub(crate) async fn text(&mut self, wanted: &str) -> String {
        String::from_utf8_lossy(&self.until(wanted.as_bytes()).await).into_owned()
    }

    fn shown(&self) -> String {
        String::from_utf8_lossy(self.bytes.get(..2_000).unwrap_or(&self.bytes)).into_owned()
    }

    /// How the relay's direction ends, and what came before.
    pub(crate) async fn end(mut self) -> (String, Eof) {
        loop {
            match timeout(PATIENCE, self.heard.recv()).await.expect("in time") {
                Some(Heard::Bytes(bytes)) => self.bytes.extend_from_slice(&bytes),
                Some(Heard::Eof(eof)) => return (self.shown(), eof),
                None => panic!("it is over"),
            }
        }
    }
}

/// The value of a header field of the first frame that has it.
pub(crate) fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

/// The identifier of the first frame.
pub(crate) fn transaction(text: &str) -> &str {
    text.lines().find_map(|line| line.strip_prefix("MSRP ")).and_then(|rest| rest.split(' ').next()).unwrap()
}

/// A client of RFC 4976.
pub(crate) struct Client {
    pub(crate) raw: Raw,
    pub(crate) own: String,
    /// Whom it asks for a URI.
    pub(crate) to: String,
    /// What it got.
    pub(crate) path: String,
    number: u32,
}

impl Client {
    pub(crate) fn new(raw: Raw, name: &str, to: String) -> Self {
        Self {
            raw,
            own: format!("msrps://{name}.invalid:2855/{name};tcp"),
            to,
            path: String::new(),
            number: 0,
        }
    }

    pub(crate) async fn auth(&mut self, fields: &str) -> String {
        self.number += 1;
        let Self { own, to, number, .. } = &*self;
        let id = format!("auth{number:04}");
        self.raw
            .say(format!("MSRP {id} AUTH\r\nTo-Path: {to}\r\nFrom-Path: {own}\r\n{fields}-------{id}$\r\n"));
        self.raw.text(&format!("-------{id}$\r\n")).await
    }

    pub(crate) async fn login(&mut self, username: &str, password: &str) -> String {
        let challenged = self.auth("").await;
        let challenge =
            field(&challenged, "WWW-Authenticate").and_then(Challenge::parse).expect("a challenge");
        assert_eq!(challenge.algorithm, Algorithm::Sha256);
        let uri = self.to.split(' ').next_back().unwrap();
        let (credentials, _) = challenge.answer(username, password, uri, 1, &OsEntropy);
        self.auth(&format!("Authorization: {credentials}\r\n")).await
    }

    /// The way to this client, as its SDP would have it: its relays in the order of the way, then itself.
    pub(crate) fn reached_by(&self) -> String {
        let relays: Vec<_> = self.path.split(' ').rev().collect();
        format!("{} {}", relays.join(" "), self.own)
    }

    /// The head of a SEND to another client.
    pub(crate) fn head(&self, id: &str, to: &str, range: &str) -> String {
        format!(
            "MSRP {id} SEND\r\nTo-Path: {} {to}\r\nFrom-Path: {}\r\nMessage-ID: m{id}\r\nByte-Range: {range}\r\n\
             Content-Type: application/octet-stream\r\n\r\n",
            self.path, self.own
        )
    }

    /// Sends a text in one chunk.
    pub(crate) fn send(&self, id: &str, to: &str, text: &str) {
        let length = text.len();
        let head = self.head(id, to, &format!("1-{length}/{length}"));
        self.raw.say(format!("{head}{text}\r\n-------{id}$\r\n"));
    }

    /// Answers the request whose text this is.
    pub(crate) fn accept(&self, request: &str) {
        let id = transaction(request);
        let back = field(request, "From-Path").unwrap().split(' ').next().unwrap();
        self.raw.say(format!(
            "MSRP {id} 200 OK\r\nTo-Path: {back}\r\nFrom-Path: {}\r\n-------{id}$\r\n",
            self.own
        ));
    }
}
