//! Nothing goes to a server that is not proven.

use nuncio_sansio::{Input, Machine, Output, Time, TlsFacts};
use nuncio_stream::client::{Client, Command, Event, Never};

/// A client's stream that does not hear that TLS is up before the server is proven to be that of the account's domain: until then it has
/// nothing to send, no stream header and no login (RFC 6120 §5.4.3.1). Refused, it ends, and TCP is closed without another byte.
///
/// It asks once for each connection, a resumed TLS session or not. The answer is whether the server is believed.
pub(crate) struct Gate {
    inner: Client,
    tls: Option<TlsFacts>,
    asked: bool,
    /// What a hasty server sent while nothing was decided.
    early: Vec<u8>,
}

impl Gate {
    pub(crate) const fn new(inner: Client) -> Self {
        Self { inner, tls: None, asked: false, early: Vec::new() }
    }
}

impl Machine for Gate {
    type Question = TlsFacts;
    type Answer = bool;
    type Event = Event;
    type Command = Command;

    fn handle(&mut self, now: Time, input: Input<'_, bool, Command>) {
        let inner = &mut self.inner;
        match input {
            Input::Tls(facts) => (self.tls, self.asked) = (Some(facts), false),
            Input::Answer(believed) => {
                let early = std::mem::take(&mut self.early);
                match self.tls.take() {
                    Some(facts) if believed => {
                        inner.handle(now, Input::Tls(facts));
                        if !early.is_empty() {
                            inner.handle(now, Input::Bytes(&early));
                        }
                    }
                    _ => inner.handle(now, Input::Command(Command::Close(None))),
                }
            }
            Input::Bytes(bytes) if self.tls.is_some() => self.early.extend_from_slice(bytes),
            Input::Bytes(bytes) => inner.handle(now, Input::Bytes(bytes)),
            Input::Eof(eof) => inner.handle(now, Input::Eof(eof)),
            Input::Command(command) => inner.handle(now, Input::Command(command)),
            Input::Time => inner.handle(now, Input::Time),
        }
    }

    fn poll(&mut self, now: Time) -> Output<TlsFacts, Event> {
        match self.inner.poll(now) {
            Output::Wait(deadline) => match &self.tls {
                Some(facts) if !self.asked => {
                    self.asked = true;
                    Output::Ask(facts.clone())
                }
                _ => Output::Wait(deadline),
            },
            Output::Send(bytes) => Output::Send(bytes),
            Output::StartTls { domain } => Output::StartTls { domain },
            Output::Event(event) => Output::Event(event),
            Output::Close(close) => Output::Close(close),
            Output::Ask(never) => never_asked(never),
        }
    }

    fn wants_bytes(&self) -> bool {
        self.tls.is_none() && self.inner.wants_bytes()
    }
}

const fn never_asked(never: Never) -> Output<TlsFacts, Event> {
    match never {}
}
