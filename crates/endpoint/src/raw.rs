//! A connection without a protocol: bytes in and out as they are, for the checker and for tests of others.

use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use nuncio_net::{Clock, Options, Security, Settings, drive};
use nuncio_sansio::{Close, Eof, Host, Input, Machine, Output, Time, TlsFacts};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

/// Reads that may wait to be taken.
const QUEUE: usize = 16;

/// What comes.
#[derive(Debug)]
pub enum Got {
    /// The TLS handshake is done: always first, where there is TLS.
    Tls(Box<TlsFacts>),
    /// Bytes.
    Bytes(Bytes),
    /// The peer will send nothing more.
    End(Eof),
}

/// What is to be done.
#[derive(Debug)]
enum Act {
    Write(Bytes),
    Close,
}

/// Passes everything on.
#[derive(Default)]
struct Wire {
    out: VecDeque<Output<(), Got>>,
    closed: bool,
}

impl Machine for Wire {
    type Question = ();
    type Answer = ();
    type Event = Got;
    type Command = Act;

    fn handle(&mut self, _now: Time, input: Input<'_, (), Act>) {
        match input {
            Input::Bytes(bytes) => {
                self.out.push_back(Output::Event(Got::Bytes(Bytes::copy_from_slice(bytes))));
            }
            Input::Tls(facts) => self.out.push_back(Output::Event(Got::Tls(Box::new(facts)))),
            Input::Eof(eof) => {
                self.out.push_back(Output::Event(Got::End(eof)));
                self.out.push_back(Output::Close(Close::Orderly));
            }
            Input::Command(Act::Write(bytes)) => self.out.push_back(Output::Send(bytes)),
            Input::Command(Act::Close) => self.out.push_back(Output::Close(Close::Orderly)),
            Input::Answer(()) | Input::Time => {}
        }
    }

    fn poll(&mut self, _now: Time) -> Output<(), Got> {
        if self.closed {
            return Output::Wait(None);
        }
        let next = self.out.pop_front().unwrap_or(Output::Wait(None));
        self.closed = matches!(next, Output::Close(_));
        next
    }
}

struct Mouth {
    tell: mpsc::Sender<Got>,
    acts: mpsc::UnboundedReceiver<Act>,
}

impl Host<Wire> for Mouth {
    async fn ask(&mut self, _question: ()) {}

    async fn event(&mut self, event: Got) {
        drop(self.tell.send(event).await);
    }

    async fn command(&mut self) -> Act {
        self.acts.recv().await.unwrap_or(Act::Close)
    }

    async fn closed(&mut self) {}
}

/// A connection of raw bytes. Closed when it is dropped.
#[derive(Debug)]
pub struct Raw {
    acts: mpsc::UnboundedSender<Act>,
    told: mpsc::Receiver<Got>,
    failure: Arc<OnceLock<nuncio_net::HandshakeFailure>>,
}

impl Raw {
    /// Runs a connection; with anything but [`Security::None`] TLS begins before the first byte.
    #[must_use]
    pub fn run(stream: TcpStream, security: Security, handshake: Duration) -> Self {
        let (tell, told) = mpsc::channel(QUEUE);
        let (acts, orders) = mpsc::unbounded_channel();
        let failure = Arc::new(OnceLock::new());
        let settings = Settings::new(Clock::start(), Arc::default());
        let mut options =
            Options::new(Arc::new(Settings { handshake, close: Duration::from_secs(1), ..settings }));
        options.direct_tls = !matches!(security, Security::None);
        options.security = security;
        options.handshake_failure = Some(Arc::clone(&failure));
        tokio::spawn(Box::pin(drive(stream, Wire::default(), Mouth { tell, acts: orders }, options)));
        Self { acts, told, failure }
    }

    /// Writes; false if the connection is over.
    pub fn write(&self, bytes: impl Into<Bytes>) -> bool {
        self.acts.send(Act::Write(bytes.into())).is_ok()
    }

    /// What comes next until then; none if nothing does. After the end there is the end again.
    pub async fn next(&mut self, until: Instant) -> Option<Got> {
        match timeout_at(until, self.told.recv()).await {
            Ok(got) => Some(got.unwrap_or(Got::End(Eof::Reset))),
            Err(_) => None,
        }
    }

    /// Why there was no TLS.
    #[must_use]
    pub fn handshake_failure(&self) -> Option<String> {
        self.failure.get().map(|failure| failure.why.clone())
    }
}
