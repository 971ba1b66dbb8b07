//! Bytes inside TLS as they are: what no client of ours would send, or would not show.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::pending;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use nuncio_client::Roots;
use nuncio_net::tls::PairFiles;
use nuncio_net::{Clock, Connector, Options, Security, Settings, drive};
use nuncio_sansio::{Close, Eof, Host, Input, Machine, Output, Time};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::harness::{PATIENCE, Running};

pub(crate) const HEADER: &str = "<?xml version='1.0'?><stream:stream to='localhost' version='1.0' xmlns='jabber:client' \
     xmlns:stream='http://etherx.jabber.org/streams'>";
/// Juliet's login by PLAIN, with the harness' password.
const AUTH: &str = "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>\
     AGp1bGlldABjb3JyZWN0IGhvcnNlIGJhdHRlcnkgc3RhcGxl</auth>";
enum Heard {
    Bytes(Vec<u8>),
    Eof(Eof),
}

/// Passes everything on.
#[derive(Default)]
struct Pipe(VecDeque<Output<Infallible, Heard>>);

impl Machine for Pipe {
    type Question = Infallible;
    type Answer = Infallible;
    type Event = Heard;
    type Command = String;

    fn handle(&mut self, _: Time, input: Input<'_, Infallible, String>) {
        match input {
            Input::Bytes(bytes) => self.0.push_back(Output::Event(Heard::Bytes(bytes.to_vec()))),
            Input::Eof(eof) => {
                self.0.push_back(Output::Event(Heard::Eof(eof)));
                self.0.push_back(Output::Close(Close::Orderly));
            }
            Input::Command(text) => self.0.push_back(Output::Send(Bytes::from(text))),
            Input::Tls(_) | Input::Time => {}
            Input::Answer(never) => match never {},
        }
    }

    fn poll(&mut self, _: Time) -> Output<Infallible, Heard> {
        self.0.pop_front().unwrap_or(Output::Wait(None))
    }
}

struct Ends {
    heard: mpsc::UnboundedSender<Heard>,
    say: mpsc::UnboundedReceiver<String>,
}

impl Host<Pipe> for Ends {
    async fn ask(&mut self, question: Infallible) -> Infallible {
        match question {}
    }

    async fn event(&mut self, event: Heard) {
        // A test that has seen enough.
        drop(self.heard.send(event));
    }

    async fn command(&mut self) -> String {
        match self.say.recv().await {
            Some(text) => text,
            None => pending().await,
        }
    }

    async fn closed(&mut self) {}
}

/// A connection inside TLS.
pub(crate) struct Raw {
    say: mpsc::UnboundedSender<String>,
    heard: mpsc::UnboundedReceiver<Heard>,
    text: String,
}

impl Raw {
    pub(crate) async fn connect(server: &Running) -> Self {
        Self::at(server, server.c2s_tls).await
    }

    /// At another listener of the server.
    pub(crate) async fn at(server: &Running, address: SocketAddr) -> Self {
        Self::showing(server, address, None).await
    }

    /// Likewise, with a certificate.
    pub(crate) async fn showing(server: &Running, address: SocketAddr, own: Option<&PairFiles>) -> Self {
        let roots = Roots::Files(vec![server.authority.clone()]);
        let connector = Arc::new(Connector::new(&roots, own).unwrap());
        let io = TcpStream::connect(address).await.unwrap();
        let (say, told) = mpsc::unbounded_channel();
        let (tell, heard) = mpsc::unbounded_channel();
        let options = Options {
            security: Security::Client { connector, server_name: "localhost".to_owned() },
            direct_tls: true,
            ..Options::new(Arc::new(Settings::new(Clock::start(), Arc::default())))
        };
        tokio::spawn(drive(io, Pipe::default(), Ends { heard: tell, say: told }, options));
        Self { say, heard, text: String::new() }
    }

    /// Logs in as Juliet and binds a resource.
    pub(crate) async fn login(server: &Running, resource: &str) -> Self {
        let bind = format!(
            "<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>{resource}</resource></bind></iq>"
        );
        let mut raw = Self::connect(server).await;
        for (say, wait) in [
            (HEADER, "</stream:features>"),
            (AUTH, "<success"),
            (HEADER, "</stream:features>"),
            (&bind, "</iq>"),
        ] {
            raw.say(say);
            raw.until(wait).await;
        }
        raw
    }

    pub(crate) fn say(&self, text: &str) {
        self.say.send(text.to_owned()).unwrap();
    }

    /// What came until this came.
    pub(crate) async fn until(&mut self, wanted: &str) -> String {
        loop {
            if let Some(at) = self.text.find(wanted) {
                let rest = self.text.split_off(at + wanted.len());
                return std::mem::replace(&mut self.text, rest);
            }
            match timeout(PATIENCE, self.heard.recv()).await {
                Ok(Some(Heard::Bytes(bytes))) => self.text.push_str(&String::from_utf8(bytes).unwrap()),
                Ok(Some(Heard::Eof(eof))) => panic!("{eof:?} before {wanted}, after {}", self.text),
                Ok(None) => panic!("the connection is over before {wanted}"),
                Err(_) => panic!("no {wanted} in time, but {}", self.text),
            }
        }
    }

    /// How the server's direction ends, and what came before.
    pub(crate) async fn end(mut self) -> (String, Eof) {
        loop {
            match timeout(PATIENCE, self.heard.recv()).await.expect("in time") {
                Some(Heard::Bytes(bytes)) => self.text.push_str(&String::from_utf8(bytes).unwrap()),
                Some(Heard::Eof(eof)) => return (self.text, eof),
                None => panic!("the connection is over"),
            }
        }
    }

    /// Whether the server has ended its direction or said anything by now.
    pub(crate) fn is_quiet(&mut self) -> bool {
        self.text.is_empty() && self.heard.is_empty()
    }
}
