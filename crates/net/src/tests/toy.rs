//! A machine that obeys lines, its host, and a server of both.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use bytes::Bytes;
use nuncio_sansio::{Close, Eof, Host, Input, Machine, Output, Time, TlsFacts};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc};

use crate::{Clock, NetMetrics, Options, Security, Settings, TlsHosts, ca, drive};

/// What a test waits for at most. Only a failing test waits that long.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Clone, Debug)]
pub(super) enum Heard {
    Line(String),
    Answer(String),
    Tls(Box<TlsFacts>),
    Time,
    Eof(Eof),
    Closed,
}

#[derive(Debug)]
pub(super) enum Order {
    Send(Bytes),
    Close(Close),
    WantBytes(bool),
}

/// Echoes lines, except echoes. Some it obeys: `starttls DOMAIN`, `ask`, `bye`, `abort` (after an echo that must not be seen), `panic`, `wake MILLIS`,
/// `deaf`.
#[derive(Default)]
pub(super) struct Toy {
    read: Vec<u8>,
    out: VecDeque<Output<String, Heard>>,
    /// Sent before anything is received.
    greeting: Vec<Output<String, Heard>>,
    deadline: Option<Time>,
    deaf: bool,
    /// Whether an end of the peer's direction is no reason to close.
    stubborn: bool,
}

impl Toy {
    /// One that speaks first.
    pub(super) fn greeting(greeting: Vec<Output<String, Heard>>) -> Self {
        Self { greeting, ..Self::default() }
    }

    /// One that does not close when the peer's direction ends.
    pub(super) fn stubborn() -> Self {
        Self { stubborn: true, ..Self::default() }
    }

    fn line(&mut self, now: Time, line: &str) {
        let mut words = line.split_whitespace();
        let word = words.next().unwrap_or_default();
        let rest = words.next().map(str::to_owned);
        self.out.push_back(Output::Event(Heard::Line(line.to_owned())));
        if word == "echo" {
            // The initiating role: what it asked for in clear was heard.
            if rest.as_deref() == Some("starttls") {
                self.out.push_back(Output::StartTls { domain: None });
            }
            return;
        }
        self.out.push_back(Output::Send(Bytes::from(format!("echo {line}\n"))));
        match word {
            "starttls" => self.out.push_back(Output::StartTls { domain: rest }),
            "ask" => self.out.push_back(Output::Ask("what?".to_owned())),
            "bye" => self.out.push_back(Output::Close(Close::Orderly)),
            "abort" => self.out.push_back(Output::Close(Close::Abort)),
            "panic" => panic!("the toy was told to"),
            "wake" => self.deadline = Some(now + Duration::from_millis(rest.unwrap().parse().unwrap())),
            "deaf" => self.deaf = true,
            _ => {}
        }
    }
}

impl Machine for Toy {
    type Question = String;
    type Answer = String;
    type Event = Heard;
    type Command = Order;

    fn handle(&mut self, now: Time, input: Input<'_, String, Order>) {
        match input {
            Input::Bytes(bytes) => {
                assert!(!bytes.is_empty());
                self.read.extend_from_slice(bytes);
                while let Some(at) = self.read.iter().position(|byte| *byte == b'\n') {
                    let line = String::from_utf8(self.read.drain(..=at).collect()).unwrap();
                    self.line(now, line.trim_end());
                }
            }
            Input::Tls(facts) => {
                self.read.clear();
                self.out.push_back(Output::Event(Heard::Tls(Box::new(facts))));
            }
            Input::Eof(eof) => {
                self.out.push_back(Output::Event(Heard::Eof(eof)));
                if !self.stubborn {
                    self.out.push_back(Output::Close(Close::Orderly));
                }
            }
            Input::Answer(answer) => self.out.push_back(Output::Event(Heard::Answer(answer))),
            Input::Command(Order::Send(bytes)) => self.out.push_back(Output::Send(bytes)),
            Input::Command(Order::Close(close)) => self.out.push_back(Output::Close(close)),
            Input::Command(Order::WantBytes(wants)) => self.deaf = !wants,
            Input::Time => {
                assert!(self.deadline.take().is_some_and(|deadline| deadline <= now));
                self.out.push_back(Output::Event(Heard::Time));
            }
        }
    }

    fn poll(&mut self, _now: Time) -> Output<String, Heard> {
        if !self.greeting.is_empty() {
            return self.greeting.remove(0);
        }
        self.out.pop_front().unwrap_or(Output::Wait(self.deadline))
    }

    fn wants_bytes(&self) -> bool {
        !self.deaf
    }
}

/// Tells the test everything. Each event costs a permit, so that a test can make the host slow.
pub(super) struct ToyHost {
    heard: mpsc::UnboundedSender<Heard>,
    orders: mpsc::Receiver<Order>,
    permits: Arc<Semaphore>,
}

impl Host<Toy> for ToyHost {
    async fn ask(&mut self, question: String) -> String {
        assert_eq!(question, "what?");
        self.permits.acquire().await.unwrap().forget();
        "that".to_owned()
    }

    async fn event(&mut self, event: Heard) {
        self.permits.acquire().await.unwrap().forget();
        if matches!(&event, Heard::Line(line) if line == "host-panic") {
            panic!("the host was told to");
        }
        self.heard.send(event).unwrap();
    }

    async fn command(&mut self) -> Order {
        match self.orders.recv().await {
            Some(order) => order,
            None => std::future::pending().await,
        }
    }

    async fn closed(&mut self) {
        self.heard.send(Heard::Closed).unwrap();
    }
}

/// The test's end of a host.
pub(super) struct Ear {
    pub(super) heard: mpsc::UnboundedReceiver<Heard>,
    pub(super) orders: mpsc::Sender<Order>,
    pub(super) permits: Arc<Semaphore>,
}

impl Ear {
    pub(super) async fn next(&mut self) -> Heard {
        tokio::time::timeout(PATIENCE, self.heard.recv()).await.expect("something is heard").expect("a host")
    }

    pub(super) fn next_blocking(&mut self) -> Heard {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(self.next())
    }

    /// Waits for the end; what was heard before it is returned.
    pub(super) fn until_closed(&mut self) -> Vec<Heard> {
        let mut all = Vec::new();
        loop {
            match self.next_blocking() {
                Heard::Closed => return all,
                other => all.push(other),
            }
        }
    }
}

/// A host that hears at once, or (`permits` 0) only when the test lets it.
pub(super) fn host(permits: usize) -> (ToyHost, Ear) {
    let (heard, ear) = mpsc::unbounded_channel();
    let (orders, inbox) = mpsc::channel(4);
    let permits = Arc::new(Semaphore::new(permits));
    let host = ToyHost { heard, orders: inbox, permits: Arc::clone(&permits) };
    (host, Ear { heard: ear, orders, permits })
}

pub(super) const PLENTY: usize = 1_000_000;

/// Files of an authority and a certificate for one domain.
pub(crate) struct Made {
    pub(crate) folder: TempDir,
    pub(crate) ca: ca::LocalCa,
}

impl Made {
    pub(crate) fn new(domain: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ca = ca::local(folder.path(), &[domain.to_owned()]).unwrap();
        Self { folder, ca }
    }

    pub(crate) fn pair(&self) -> crate::tls::PairFiles {
        crate::tls::PairFiles { chain: self.ca.chain.clone(), key: self.ca.key.clone() }
    }

    pub(crate) fn host(&self, domain: &str) -> crate::tls::HostFiles {
        crate::tls::HostFiles {
            domain: domain.to_owned(),
            pairs: vec![self.pair()],
            ..crate::tls::HostFiles::default()
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

/// Toys behind a real socket, on a runtime of their own.
pub(super) struct Server {
    pub(super) address: SocketAddr,
    pub(super) ears: Receiver<Ear>,
    pub(super) metrics: Arc<NetMetrics>,
    _runtime: tokio::runtime::Runtime,
}

impl Server {
    pub(super) fn new(tls: Arc<TlsHosts>, direct_tls: bool) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let metrics = Arc::new(NetMetrics::default());
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, ears) = channel();
        let mut options = Options::new(Arc::new(Settings::new(Clock::start(), Arc::clone(&metrics))));
        options.security = Security::Server(tls);
        options.direct_tls = direct_tls;
        runtime.spawn(async move {
            while let Ok((stream, peer)) = listener.accept().await {
                let (host, ear) = host(PLENTY);
                let options = Options { peer: Some(peer), ..options.clone() };
                tokio::spawn(drive(stream, Toy::default(), host, options));
                if sender.send(ear).is_err() {
                    break;
                }
            }
        });
        Self { address, ears, metrics, _runtime: runtime }
    }

    /// The connection that was accepted next.
    pub(super) fn ear(&self) -> Ear {
        self.ears.recv_timeout(PATIENCE).expect("a connection")
    }
}

/// A running `openssl` whose output is read as it comes.
pub(super) struct Openssl {
    child: Child,
    stdin: Option<ChildStdin>,
    output: Receiver<Vec<u8>>,
    pub(super) seen: String,
}

impl Openssl {
    pub(super) fn client(address: SocketAddr, args: &[&str]) -> Self {
        let address = address.to_string();
        let mut all = vec!["s_client", "-connect", &address];
        all.extend_from_slice(args);
        Self::run(&all)
    }

    pub(super) fn run(args: &[&str]) -> Self {
        let mut child = Command::new("openssl")
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("openssl is installed");
        let (sender, output) = channel();
        let streams: [Box<dyn Read + Send>; 2] =
            [Box::new(child.stdout.take().unwrap()), Box::new(child.stderr.take().unwrap())];
        for stream in streams {
            let sender = sender.clone();
            std::thread::spawn(move || {
                let mut stream = BufReader::new(stream);
                while let Ok(chunk) = stream.fill_buf() {
                    let count = chunk.len();
                    if count == 0 || sender.send(chunk.to_vec()).is_err() {
                        break;
                    }
                    stream.consume(count);
                }
            });
        }
        Self { stdin: child.stdin.take(), child, output, seen: String::new() }
    }

    pub(super) fn send(&mut self, line: &str) {
        // A peer that is gone already shows in what is expected next.
        let _gone = self.stdin.as_mut().unwrap().write_all(format!("{line}\n").as_bytes());
    }

    /// Waits until the output has this.
    pub(super) fn expect(&mut self, text: &str) {
        while !self.seen.contains(text) {
            match self.output.recv_timeout(PATIENCE) {
                Ok(chunk) => self.seen.push_str(&String::from_utf8_lossy(&chunk)),
                Err(error) => panic!("no {text:?} ({error}) in:\n{}", self.seen),
            }
        }
    }

    /// Says a line and waits for its echo, so that everything the server sent before has come too.
    pub(super) fn echo(&mut self, line: &str) {
        self.send(line);
        self.expect(&format!("echo {line}"));
    }

    /// Waits until it ends by itself; all of its output.
    pub(super) fn ended(mut self) -> String {
        loop {
            match self.output.recv_timeout(PATIENCE) {
                Ok(chunk) => self.seen.push_str(&String::from_utf8_lossy(&chunk)),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => panic!("it does not end:\n{}", self.seen),
            }
        }
        self.child.wait().unwrap();
        std::mem::take(&mut self.seen)
    }

    /// Ends its input, which makes it say `close_notify` and end.
    pub(super) fn quit(mut self) -> String {
        self.send("Q");
        self.stdin = None;
        self.ended()
    }

    /// Ends the process without a word.
    pub(super) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Openssl {
    fn drop(&mut self) {
        // After a failed assertion; otherwise it has ended.
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}
