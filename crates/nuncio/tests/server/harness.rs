//! Starts, asks and stops the binary; makes clients for it.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use nuncio_client::{
    Client, ClientConfig, Disconnected, Event, LoginError, Pace, Roots, Server, Session, Start,
};
use nuncio_xmpp::jid::{BareJid, Jid};
use nuncio_xmpp::ns;
use nuncio_xmpp::stanza::{MessageType, PresenceType, Stanza, message, presence};
use nuncio_xmpp::xml::Builder;
use tempfile::TempDir;
use tokio::time::timeout;

/// What a test waits for at most. Only a failing test waits that long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
pub(crate) const PASSWORD: &str = "correct horse battery staple";

/// A folder for a server: configuration and data.
pub(crate) struct Place {
    folder: TempDir,
}

impl Place {
    /// With these lines of configuration beyond what a test needs anyway.
    pub(crate) fn new(lines: &[&str]) -> Self {
        let this = Self { folder: tempfile::tempdir().unwrap() };
        let mut text = String::from(
            "data = \"data\"\nlisten.c2s = [\"127.0.0.1:0\"]\nlisten.c2s_tls = [\"127.0.0.1:0\"]\n\
             listen.http = [\"127.0.0.1:0\"]\nlisten.msrp = [\"127.0.0.1:0\"]\naccounts.scram_iterations = 4096\n",
        );
        for line in lines {
            text.push_str(line);
            text.push('\n');
        }
        std::fs::write(this.config(), text).unwrap();
        this
    }

    /// A place without anything, not even a configuration.
    pub(crate) fn empty() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.path().join("nuncio.toml")
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.path().join("data")
    }

    /// Runs a command to its end.
    pub(crate) fn run(&self, args: &[&str], input: &str) -> Output {
        let mut child = self.command(args).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        // A command that reads nothing may have closed it.
        drop(child.stdin.take().unwrap().write_all(input.as_bytes()));
        child.wait_with_output().unwrap()
    }

    /// Runs a command that must succeed, and returns what it said.
    pub(crate) fn must(&self, args: &[&str], input: &str) -> String {
        let output = self.run(args, input);
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_nuncio"));
        command.args(args).current_dir(self.path()).stderr(Stdio::piped()).env_remove("NOTIFY_SOCKET");
        command
    }

    /// Makes accounts `NAME@localhost` with [`PASSWORD`].
    pub(crate) fn accounts(&self, names: &[&str]) {
        for name in names {
            self.must(&["account", "add", &format!("{name}@localhost"), "--password-stdin"], PASSWORD);
        }
    }

    /// Starts the server and waits until it listens and is ready for commands.
    pub(crate) fn serve(&self) -> Running {
        self.serve_with(&["serve"])
    }

    pub(crate) fn serve_with(&self, args: &[&str]) -> Running {
        let mut child = self.command(args).stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let said = Lines::read(child.stdout.take().unwrap());
        let log = Lines::read(child.stderr.take().unwrap());
        let listening = log.wait(|line| line.contains(" listening ").then(|| line.to_owned()));
        let Some(listening) = listening else {
            drop(child.kill());
            panic!("the server does not listen: {:?}", log.all());
        };
        let addresses = |name: &str| -> Vec<SocketAddr> {
            let rest = listening.split_once(&format!("{name}=[")).unwrap().1;
            let list = rest.split_once(']').unwrap().0;
            list.split(", ").filter(|one| !one.is_empty()).map(|address| address.parse().unwrap()).collect()
        };
        let running = Running {
            child,
            c2s: addresses(" c2s")[0],
            c2s_tls: addresses("c2s_tls")[0],
            http: addresses("http")[0],
            msrp: addresses("msrp").first().copied(),
            authority: self.data().join("tls/ca.pem"),
            said,
            log,
        };
        assert!(running.said.wait(|line| line.contains("Nuncio serves").then_some(())).is_some());
        running
    }

    /// Every file below the data folder that contains `what`.
    pub(crate) fn traces(&self, what: &str) -> Vec<PathBuf> {
        let mut folders = vec![self.data()];
        let mut found = Vec::new();
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if let Ok(bytes) = std::fs::read(&path)
                    && bytes.windows(what.len()).any(|window| window == what.as_bytes())
                {
                    found.push(path);
                }
            }
        }
        found
    }
}

/// Lines, and whether there will be no more.
#[derive(Default)]
struct Read {
    lines: Mutex<(Vec<String>, bool)>,
    more: Condvar,
}

/// Lines as they come.
#[derive(Clone)]
pub(crate) struct Lines(Arc<Read>);

impl Lines {
    fn read(from: impl std::io::Read + Send + 'static) -> Self {
        let this = Self(Arc::default());
        let shared = Arc::clone(&this.0);
        std::thread::spawn(move || {
            for line in BufReader::new(from).lines() {
                let Ok(line) = line else { break };
                shared.lines.lock().unwrap().0.push(line);
                shared.more.notify_all();
            }
            shared.lines.lock().unwrap().1 = true;
            shared.more.notify_all();
        });
        this
    }

    /// Waits for a line; none if the writer ends or patience does before it comes.
    pub(crate) fn wait<T>(&self, mut wanted: impl FnMut(&str) -> Option<T>) -> Option<T> {
        let deadline = Instant::now() + PATIENCE;
        let mut seen = 0;
        let mut lines = self.0.lines.lock().unwrap();
        loop {
            while let Some(line) = lines.0.get(seen) {
                seen += 1;
                if let Some(found) = wanted(line) {
                    return Some(found);
                }
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if lines.1 || left.is_zero() {
                return None;
            }
            lines = self.0.more.wait_timeout(lines, left).unwrap().0;
        }
    }

    pub(crate) fn all(&self) -> Vec<String> {
        self.0.lines.lock().unwrap().0.clone()
    }
}

/// A running server. Killed when dropped.
pub(crate) struct Running {
    child: Child,
    pub(crate) c2s: SocketAddr,
    pub(crate) c2s_tls: SocketAddr,
    pub(crate) http: SocketAddr,
    /// The MSRP relay, where there is one.
    pub(crate) msrp: Option<SocketAddr>,
    pub(crate) authority: PathBuf,
    pub(crate) said: Lines,
    pub(crate) log: Lines,
}

impl Drop for Running {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for line in self.log.all() {
                eprintln!("server: {line}");
            }
        }
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Running {
    /// Sends a signal by its name.
    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status();
        assert!(status.unwrap().success());
    }

    /// SIGKILL.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits for the end.
    pub(crate) fn ended(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "the server does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// SIGTERM, and waits for the end.
    pub(crate) fn stop(&mut self) {
        self.signal("TERM");
        assert!(self.ended().success());
    }

    /// What a GET brings: head and body.
    pub(crate) fn get(&self, path: &str) -> (String, String) {
        let mut io = TcpStream::connect(self.http).unwrap();
        io.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(io, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
        let mut all = String::new();
        io.read_to_string(&mut all).unwrap();
        let (head, body) = all.split_once("\r\n\r\n").unwrap();
        (head.to_owned(), body.to_owned())
    }

    /// The sum of a metric's samples.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let (_, body) = self.get("/metrics");
        let samples = body.lines().filter(|line| {
            line.strip_prefix(name).is_some_and(|rest| rest.starts_with(' ') || rest.starts_with('{'))
        });
        samples.map(|line| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap()).sum()
    }

    /// Settings of a client of `NAME@localhost`.
    pub(crate) fn client(&self, name: &str) -> ClientConfig {
        self.client_with(name, PASSWORD)
    }

    pub(crate) fn client_with(&self, name: &str, password: &str) -> ClientConfig {
        let account = BareJid::new(&format!("{name}@localhost")).unwrap();
        ClientConfig {
            server: Server::Address(self.c2s),
            pace: Pace { every: 1, ..Pace::default() },
            ..ClientConfig::new(account, password, Roots::Files(vec![self.authority.clone()]))
        }
    }

    /// The same over direct TLS.
    pub(crate) fn direct(&self, config: ClientConfig) -> ClientConfig {
        ClientConfig { server: Server::Address(self.c2s_tls), start: Start::DirectTls, ..config }
    }
}

pub(crate) async fn connect(config: ClientConfig) -> Session {
    timeout(PATIENCE, Client::connect(config)).await.expect("in time").expect("online")
}

/// Why a login fails.
pub(crate) async fn refused(config: ClientConfig) -> Box<Disconnected> {
    match timeout(PATIENCE, Client::connect(config)).await.expect("in time") {
        Err(LoginError::Disconnected(end)) => end,
        other => panic!("{other:?}"),
    }
}

/// A session whose presence the server has taken.
pub(crate) async fn online(config: ClientConfig) -> Session {
    let mut session = connect(config).await;
    present(&mut session).await;
    session
}

/// Sends presence and waits until the server has taken it. Events are kept for later.
pub(crate) async fn present(session: &mut Session) {
    session.send(&presence(PresenceType::Available).build()).await.unwrap();
    ping(session).await;
}

/// Waits until the server has taken everything that was sent before. Events are kept for later.
pub(crate) async fn ping(session: &mut Session) {
    let server = Jid::new("localhost").unwrap();
    let answer = session.get(Some(&server), Builder::new("ping", ns::PING));
    timeout(PATIENCE, answer).await.expect("in time").expect("an answer");
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

pub(crate) async fn disconnected(session: &mut Session) -> Box<Disconnected> {
    wait(session, |event| match event {
        Event::Disconnected(end) => Some(end),
        _ => None,
    })
    .await
}

/// Waits for the acknowledgement of a stanza.
pub(crate) async fn acked(session: &mut Session, wanted: u64) {
    wait(session, |event| matches!(event, Event::Acked { number } if number >= wanted).then_some(())).await;
}

pub(crate) fn chat(to: &str, body: &str) -> Stanza {
    message(MessageType::Chat).to(Jid::new(to).unwrap()).body(body).build()
}

/// The next message with a body.
pub(crate) async fn receive(session: &mut Session) -> Stanza {
    wait(session, |event| match event {
        Event::Stanza(stanza) if stanza.body_text().is_some() => Some(stanza),
        _ => None,
    })
    .await
}

/// The bodies of the next messages.
pub(crate) async fn bodies(session: &mut Session, count: usize) -> Vec<String> {
    let mut all = Vec::new();
    while all.len() < count {
        all.push(receive(session).await.body_text().unwrap().into_owned());
    }
    all
}

/// Until something is as wanted.
pub(crate) async fn until(what: &str, mut wanted: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !wanted() {
        assert!(Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
