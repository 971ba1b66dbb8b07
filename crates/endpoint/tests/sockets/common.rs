//! What the tests share: endpoints, a session between two, a peer of raw bytes.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use nuncio_endpoint::{Config, Endpoint, Incoming, Listening, Message, Peer, Session, Way};
use nuncio_net::tls::Roots;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Only a failing test waits that long.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.expect("it happens in time")
}

pub(crate) fn endpoint(change: impl FnOnce(&mut Config)) -> Endpoint {
    let mut config = Config { keep_alive: None, ..Config::default() };
    change(&mut config);
    Endpoint::new(config).expect("an endpoint")
}

pub(crate) fn listen(endpoint: &Endpoint, host: &str, tls: bool) -> Listening {
    endpoint.listen(&["127.0.0.1:0".parse().expect("an address")], host, tls).expect("it listens")
}

/// A session from Alice to Bob, who has invited her.
pub(crate) async fn session(alice: &Endpoint, bob: &Endpoint, at: &Listening) -> (Session, Session) {
    let invitation = bob.invite(Way::Listening(at)).expect("an invitation");
    let peer = Peer::from_sdp(&invitation.sdp()).expect("SDP");
    let at_bob = invitation.accept();
    let at_alice = soon(alice.join(&peer, Way::Direct)).await.expect("a session");
    soon(at_bob.ready()).await.expect("bound");
    (at_alice, at_bob)
}

pub(crate) async fn message(session: &mut Session) -> Message {
    match soon(session.next()).await {
        Some(Incoming::Message(message)) => message,
        other => unreachable!("no message: {other:?}"),
    }
}

/// An authority, and files of a certificate by it for this name (and for localhost).
pub(crate) struct Authority {
    folder: TempDir,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        nuncio_net::ca::local(folder.path(), &[name.to_owned()]).expect("an authority");
        Self { folder }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn roots(&self) -> Roots {
        Roots::Files(vec![self.file("ca.pem")])
    }

    pub(crate) fn pair(&self) -> nuncio_net::tls::PairFiles {
        nuncio_net::tls::PairFiles { chain: self.file("host.pem"), key: self.file("host-key.pem") }
    }
}

/// A peer of raw bytes over TCP.
pub(crate) struct Raw {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Raw {
    pub(crate) async fn connect(to: SocketAddr) -> Self {
        Self { stream: TcpStream::connect(to).await.expect("a connection"), read: Vec::new() }
    }

    pub(crate) async fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.expect("written");
    }

    /// Everything until this comes, this included.
    pub(crate) async fn until(&mut self, what: &str) -> String {
        soon(async {
            loop {
                let found = self.read.windows(what.len()).position(|window| window == what.as_bytes());
                if let Some(at) = found {
                    let rest = self.read.split_off(at + what.len());
                    let told = std::mem::replace(&mut self.read, rest);
                    return String::from_utf8_lossy(&told).into_owned();
                }
                let mut buffer = [0; 4_096];
                let count = self.stream.read(&mut buffer).await.expect("bytes");
                assert!(count > 0, "the end came before {what:?}: {}", String::from_utf8_lossy(&self.read));
                self.read.extend_from_slice(&buffer[..count]);
            }
        })
        .await
    }

    /// Whether the other side ends the connection, whatever it says before.
    pub(crate) async fn ended(&mut self) {
        let mut rest = Vec::new();
        drop(soon(self.stream.read_to_end(&mut rest)).await);
    }
}
