//! What has to hold before a case says anything: somebody speaks TLS and MSRP there, and takes the login that was given. Against whoever does not, cases
//! would pass by silence, or fail one after the other for the same reason.

use std::sync::Arc;

use nuncio_msrp::{Scheme, Status, Uri};
use nuncio_net::Security;
use nuncio_net::tls::Connector;
use nuncio_sansio::TlsFacts;
use tokio::time::timeout;

use super::CheckError;
use super::conversation::{Conversation, Frame};
use super::hello::{self, Old, Said};
use super::relay::{BAIT, LOGGED_IN};
use super::world::{Login, Step, Stop, TRAP, Who, World, fail, skip};
use crate::place;
use crate::raw::{Got, Raw};

impl World {
    /// Whether somebody speaks TLS there, whoever it is.
    pub(super) async fn greet(&self) -> Result<(), CheckError> {
        if self.to.scheme() == Scheme::Msrp {
            return Ok(());
        }
        match self.handshake(&self.anybody).await {
            Ok(_) => Ok(()),
            Err(Stop::Fail(why) | Stop::Skip(why)) => Err(CheckError::NoTls { place: self.place(), why }),
        }
    }

    /// A login is for whoever proves the name in the URI, or has the fingerprint that was given (RFC 4976 §9.1, S1-04): else the cases that want it do not
    /// apply.
    pub(super) async fn guard(&mut self) {
        if self.subject.login.is_none() || !self.subject.fingerprints.is_empty() {
            return;
        }
        if let Err(Stop::Fail(why) | Stop::Skip(why)) = self.handshake_by_name().await {
            self.subject.login = None;
            self.withheld =
                Some(format!("it does not prove its name, so that the login was kept back: {why}"));
        }
    }

    /// Whether a relay speaks MSRP there: to AUTH over TLS every relay says something (RFC 4976 §6.3).
    pub(super) async fn introduce(&mut self) -> Result<(), CheckError> {
        if self.to.scheme() == Scheme::Msrp {
            return Ok(());
        }
        self.begin(true);
        // Whoever is not the one that was promised is told nothing: his cases say why.
        if self.run(&[Step::Open(Who::A)]).await.is_err() {
            return Ok(());
        }
        match self.run(&[Step::Auth(Who::A, Login::Bare)]).await {
            Ok(()) | Err(Stop::Skip(_)) => Ok(()),
            Err(Stop::Fail(why)) => Err(CheckError::Mute { place: self.place(), why }),
        }
    }

    /// Whether the login that was given is taken; one that is refused is not tried again and again, which relays count. Then, whether the relay can carry
    /// something into the trap at all: for its own user it may, whatever it is not to do for others.
    pub(super) async fn admit(&mut self) -> Result<(), CheckError> {
        if self.subject.login.is_none() {
            return Ok(());
        }
        self.begin(true);
        let taken = self.run(&[LOGGED_IN]).await.is_ok();
        let status = self.last.as_ref().and_then(Frame::status).and_then(Status::new);
        match status {
            Some(status @ (Status::UNAUTHORIZED | Status::FORBIDDEN)) if self.login.is_some() => {
                return Err(CheckError::Login { place: self.place(), status });
            }
            // What else is wrong is for the cases to say.
            _ if !taken => return Ok(()),
            _ => {}
        }
        // One of several that share a name may call itself by another (RFC 4976 §8).
        let way = self.names.get("way").and_then(|way| Uri::parse(way.split(' ').next()?).ok());
        if let Some(way) = way.filter(|way| way.port().is_some()) {
            self.here = way.hop().clone();
        }
        if self.run(&[BAIT]).await.is_ok() {
            let came = timeout(self.subject.grace.max(TRAP), self.trap.accept()).await;
            self.reachable = matches!(came, Ok(Ok(_)));
        }
        Ok(())
    }

    /// Host and port, for people.
    fn place(&self) -> String {
        place::place(&self.here)
    }

    /// This version of TLS is refused: by an alert, or by an end. That newer ones are spoken is known from the greeting.
    pub(super) async fn refuses(&mut self, version: Old) -> Result<(), Stop> {
        let stream = self.connect().await?;
        let mut raw = Raw::run(stream, Security::None, self.subject.patience);
        let name = match self.to.host() {
            nuncio_msrp::uri::Host::Name(name) => Some(name.to_string()),
            nuncio_msrp::uri::Host::Address(_) => None,
        };
        raw.write(hello::client_hello(version, name.as_deref()));
        self.lines.push(format!("A> a ClientHello with {version:?} at most"));
        let until = self.until();
        let mut read = Vec::new();
        let said = loop {
            match raw.next(until).await {
                Some(Got::Bytes(bytes)) => {
                    read.extend_from_slice(&bytes);
                    if let Some(said) = hello::answer(&read) {
                        break said;
                    }
                }
                Some(Got::End(_)) => break Said::Refused,
                // Whoever says nothing may agree yet.
                None => {
                    return Err(fail(format!("{version:?} was neither refused nor agreed to: nothing came")));
                }
                Some(Got::Tls(_)) => {}
            }
        };
        self.lines.push(format!("A< {said:?}"));
        match said {
            Said::Refused => Ok(()),
            Said::Other => Err(fail("what came is no TLS".to_owned())),
            Said::Agreed => Err(fail(format!("it agreed to {version:?}, which is forbidden since 2021"))),
        }
    }

    pub(super) async fn named(&mut self) -> Result<(), Stop> {
        if !self.subject.fingerprints.is_empty() {
            return Err(skip("it is known by its fingerprint"));
        }
        let facts = self.handshake_by_name().await?;
        self.lines.push(format!("A< {:?}, {}", facts.version, facts.suite));
        Ok(())
    }

    /// Connects to whoever proves the name in the URI, and says nothing.
    async fn handshake_by_name(&self) -> Result<Box<TlsFacts>, Stop> {
        self.handshake(self.by_name.as_ref().map_err(|why| skip(why))?).await
    }

    async fn handshake(&self, connector: &Arc<Connector>) -> Result<Box<TlsFacts>, Stop> {
        let stream = self.connect().await?;
        let raw = Raw::run(stream, self.security(connector), self.handshake_at_most());
        Conversation::new(raw).secured(self.until()).await.map_err(fail)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use nuncio_msrp::Path;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;
    use crate::check::{Case, Subject, relay};

    async fn world(listener: &TcpListener, scheme: &str) -> World {
        let port = listener.local_addr().expect("an address").port();
        let path = Path::parse(&format!("{scheme}://localhost:{port};tcp"), 1).expect("a path");
        let subject = Subject { patience: Duration::from_millis(300), ..Subject::new(path) };
        World::new(subject).await.expect("somebody is there")
    }

    /// RFC 8996: an alert or an end refuses an old version; silence does not, nor what is no TLS.
    #[tokio::test]
    async fn old_versions_are_refused_in_so_many_bytes() {
        const ALERT: &[u8] = &[21, 3, 1, 0, 2, 2, 70];
        const HELLO: &[u8] = &[22, 3, 1, 0, 80, 2];
        let cases: [(Option<&[u8]>, Option<&str>); 5] = [
            (Some(ALERT), None),
            (Some(b""), None),
            (None, Some("Tls10 was neither refused nor agreed to: nothing came")),
            (Some(b"HTTP/1.1 400 Bad Request\r\n\r\n"), Some("what came is no TLS")),
            (Some(HELLO), Some("it agreed to Tls10, which is forbidden since 2021")),
        ];
        for (answer, wanted) in cases {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            let mut world = world(&listener, "msrps").await;
            // The connection by which it was seen that somebody is there.
            drop(listener.accept().await.expect("a connection"));
            let serving = tokio::spawn(async move {
                let (mut stream, _) = listener.accept().await.expect("a connection");
                let mut hello = [0; 11];
                stream.read_exact(&mut hello).await.expect("a ClientHello");
                // An end comes at once, and resets what was not read; else the connection stays.
                let Some(bytes) = answer.filter(|bytes| bytes.is_empty()) else {
                    drop(stream.write_all(answer.unwrap_or_default()).await);
                    return std::future::pending().await;
                };
                drop(stream.write_all(bytes).await);
            });
            let why = match world.run(&[Step::Refuses(Old::Tls10)]).await {
                Ok(()) => None,
                Err(Stop::Fail(why) | Stop::Skip(why)) => Some(why),
            };
            assert_eq!(why.as_deref(), wanted, "{answer:?}");
            serving.abort();
        }
    }

    /// RFC 4976 §8: the port may be missing in an AUTH, and in nothing else: there stands the one that was found.
    #[tokio::test]
    async fn a_relay_without_a_port_is_addressed_with_one() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let mut world = world(&listener, "msrp").await;
        world.to = Uri::parse("msrp://localhost;tcp").expect("a URI");
        world.begin(true);
        let here = format!("msrp://localhost:{}", listener.local_addr().expect("an address").port());
        assert_eq!(world.names["relay"], "msrp://localhost;tcp");
        assert_eq!(world.names["here"], format!("{here};tcp"));
        for name in ["unissued", "wrong"] {
            assert!(world.names[name].starts_with(&format!("{here}/")), "{}", world.names[name]);
        }
        for Case { name, steps, .. } in relay::CASES {
            for template in templates(steps) {
                for (start, to) in template.split("MSRP ").filter_map(|frame| frame.split_once("|To-Path: "))
                {
                    let bare = to.starts_with("{relay}");
                    assert!(!bare || start.ends_with(" AUTH"), "{name}: {template}");
                }
            }
        }
    }

    fn templates(steps: &[Step]) -> Vec<&'static str> {
        let of = |step: &Step| match step {
            Step::Row(steps) => templates(steps),
            Step::Send(_, template) | Step::Cut(_, template, _) | Step::Refused(_, template, ..) => {
                vec![*template]
            }
            _ => Vec::new(),
        };
        steps.iter().flat_map(of).collect()
    }
}
