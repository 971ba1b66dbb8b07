//! A server that says, connection by connection and read by read, what a script has for it.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

use nuncio_load::{Start, Target};
use nuncio_net::tls::PairFiles;
use nuncio_net::tls::bare::BareConfig;
use tempfile::TempDir;

/// What becomes of a connection when its script is over.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Then {
    Close,
    Hang,
}

/// What one connection hears: one text for each time that it has said something.
#[derive(Clone, Debug)]
pub(crate) struct Script {
    pub(crate) says: Vec<String>,
    pub(crate) then: Then,
}

pub(crate) fn script(says: &[&str], then: Then) -> Script {
    Script { says: says.iter().map(|text| (*text).to_owned()).collect(), then }
}

/// A listener whose first connection gets the first script, and so on; the last one is for all that follow.
pub(crate) struct Fake {
    pub(crate) address: SocketAddr,
    pub(crate) folder: TempDir,
}

impl Fake {
    pub(crate) fn clear(scripts: Vec<Script>) -> Self {
        Self::start(scripts, false)
    }

    pub(crate) fn tls(scripts: Vec<Script>) -> Self {
        Self::start(scripts, true)
    }

    fn start(scripts: Vec<Script>, tls: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ca = nuncio_net::ca::local(folder.path(), &["localhost".to_owned()]).unwrap();
        let config = BareConfig::server(&PairFiles { chain: ca.chain, key: ca.key }).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        // Ends with the process of the tests.
        std::thread::spawn(move || {
            for (number, stream) in listener.incoming().enumerate() {
                let script = scripts.get(number).or_else(|| scripts.last()).unwrap().clone();
                let (stream, config) = (stream.unwrap(), config.clone());
                std::thread::spawn(move || {
                    // A client that is gone is no failure of the fake.
                    let _ = if tls { speak_tls(stream, &config, &script) } else { speak(stream, &script) };
                });
            }
        });
        Self { address, folder }
    }

    pub(crate) fn roots(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    pub(crate) fn target(&self, start: Start) -> Target {
        let mut target = Target::new("fake", self.address, "localhost", vec![self.roots()]);
        target.start = start;
        target.patience = Duration::from_millis(500);
        target
    }
}

fn end(mut stream: TcpStream, then: Then) -> std::io::Result<()> {
    if then == Then::Close {
        stream.shutdown(Shutdown::Write)?;
    }
    // Until the client goes: what was left unread would break the connection instead.
    std::io::copy(&mut stream, &mut std::io::sink())?;
    Ok(())
}

fn speak(mut stream: TcpStream, script: &Script) -> std::io::Result<()> {
    let mut buffer = [0; 4096];
    for text in &script.says {
        if stream.read(&mut buffer)? == 0 {
            return Ok(());
        }
        stream.write_all(text.as_bytes())?;
    }
    end(stream, script.then)
}

fn speak_tls(mut stream: TcpStream, config: &BareConfig, script: &Script) -> std::io::Result<()> {
    let mut tls = config.connection().map_err(std::io::Error::other)?;
    let mut buffer = [0; 4096];
    let mut says = script.says.iter();
    while says.len() > 0 {
        let count = stream.read(&mut buffer)?;
        if count == 0 {
            return Ok(());
        }
        let (mut out, mut heard) = (Vec::new(), false);
        tls.read(&mut buffer[..count], &mut out, |plain| heard |= !plain.is_empty())
            .map_err(std::io::Error::other)?;
        if heard && let Some(text) = says.next() {
            tls.write(text.as_bytes(), &mut out).map_err(std::io::Error::other)?;
        }
        stream.write_all(&out)?;
    }
    end(stream, script.then)
}
