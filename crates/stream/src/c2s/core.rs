//! What every state of the receiving role has at hand: the wire, the clock, the settings.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use nuncio_sansio::{Close, Entropy, Output, Time, Timers};
use nuncio_xmpp::error::StreamError;
use nuncio_xmpp::ns;
use nuncio_xmpp::stanza::Stanza;
use nuncio_xmpp::xml::{Builder, Tokenizer};

use super::api::{C2sConfig, End, Event, Question, Reason};
use crate::header::{self, Words};

/// The timers of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Timer {
    /// From the start to a bound resource.
    Negotiation,
    /// From our closing tag to the peer's.
    Closing,
    /// An `<r/>` of the peer must be answered.
    Answer,
    /// Quiet after stanzas that nobody has acknowledged.
    Quiet,
    /// Silence of the peer.
    Idle,
}

/// Shared by all states.
pub(super) struct Core {
    pub(super) config: Arc<C2sConfig>,
    pub(super) entropy: Arc<dyn Entropy>,
    pub(super) tokenizer: Tokenizer,
    pub(super) timers: Timers<Timer>,
    /// When the peer was last heard.
    pub(super) heard: Time,
    /// A question is open.
    pub(super) asking: bool,
    /// Failed logins so far.
    pub(super) failures: u8,
    out: VecDeque<Output<Question, Event>>,
    /// Bytes that follow everything in `out`.
    tail: Vec<u8>,
    /// Our header of the present stream is sent; what we close has to have been opened.
    header_sent: bool,
    /// Our closing tag is sent: nothing may follow it (S0-21).
    close_sent: bool,
}

impl Core {
    pub(super) fn new(config: Arc<C2sConfig>, entropy: Arc<dyn Entropy>, now: Time) -> Self {
        let tokenizer = Tokenizer::new(config.before);
        let mut timers = Timers::default();
        timers.set(Timer::Negotiation, now + config.negotiation);
        Self {
            config,
            entropy,
            tokenizer,
            timers,
            heard: now,
            asking: false,
            failures: 0,
            out: VecDeque::new(),
            tail: Vec::new(),
            header_sent: false,
            close_sent: false,
        }
    }

    /// The next output, if one is due.
    pub(super) fn pop(&mut self) -> Option<Output<Question, Event>> {
        match self.out.pop_front() {
            None if self.tail.is_empty() => {
                // An idle stream holds no buffer.
                self.out = VecDeque::new();
                None
            }
            None => Some(Output::Send(std::mem::take(&mut self.tail).into())),
            some => some,
        }
    }

    fn push(&mut self, output: Output<Question, Event>) {
        if !self.tail.is_empty() {
            self.out.push_back(Output::Send(std::mem::take(&mut self.tail).into()));
        }
        self.out.push_back(output);
    }

    /// Sends, unless our stream is closed already.
    pub(super) fn send(&mut self, bytes: &[u8]) {
        if !self.close_sent {
            self.tail.extend_from_slice(bytes);
        }
    }

    /// Sends without copying. Whether it was sent.
    pub(super) fn send_bytes(&mut self, bytes: Bytes) -> bool {
        if self.close_sent || bytes.is_empty() {
            return false;
        }
        self.push(Output::Send(bytes));
        true
    }

    pub(super) fn send_builder(&mut self, builder: &Builder) {
        if !self.close_sent {
            builder.write(&mut self.tail, ns::CLIENT);
        }
    }

    pub(super) fn send_stanza(&mut self, stanza: &Stanza) {
        if !self.close_sent {
            stanza.render(&mut self.tail, ns::CLIENT);
        }
    }

    pub(super) fn event(&mut self, event: Event) {
        self.push(Output::Event(event));
    }

    pub(super) fn ask(&mut self, question: Question) {
        self.asking = true;
        self.push(Output::Ask(question));
    }

    pub(super) fn start_tls(&mut self, domain: Option<String>) {
        self.push(Output::StartTls { domain });
    }

    /// Sends our header, with an id that nobody can guess (S0-33). Returns the id.
    pub(super) fn open(&mut self, from: &str, to: Option<&str>) -> String {
        let id = self.entropy.token();
        let words = Words { from: Some(from), to, id: Some(&id), lang: Some(&self.config.lang) };
        if !self.close_sent {
            header::write_client(&mut self.tail, words);
            self.header_sent = true;
        }
        id
    }

    /// Our header, unless it is sent: a stream error needs one (RFC 6120 §4.9.1.2).
    pub(super) fn open_if_needed(&mut self, from: &str, to: Option<&str>) {
        if !self.header_sent {
            self.open(from, to);
        }
    }

    pub(super) fn features(&mut self, features: &[Builder]) {
        self.send(b"<stream:features>");
        for feature in features {
            self.send_builder(feature);
        }
        self.send(b"</stream:features>");
    }

    /// A new stream follows on this connection: what was read and not understood is forgotten, what comes is read as a header.
    pub(super) fn restart(&mut self) {
        self.tokenizer.reset();
        self.header_sent = false;
    }

    /// Closes our stream. Nothing is sent after it.
    pub(super) fn close_stream(&mut self, error: Option<&StreamError>) {
        if self.close_sent {
            return;
        }
        self.open_if_needed("", None);
        if let Some(error) = error {
            error.write(&mut self.tail);
        }
        self.tail.extend_from_slice(header::CLOSE);
        self.close_sent = true;
    }

    /// Ends everything.
    pub(super) fn end(&mut self, end: End, close: Close) {
        self.timers.clear_all();
        self.asking = false;
        self.event(Event::Ended(end));
        self.push(Output::Close(close));
    }

    /// Closes our stream, with an error if there is one, and the connection.
    pub(super) fn close_all(&mut self, error: Option<&StreamError>, reason: Reason, clean: bool) {
        self.close_stream(error);
        let error = error.map(|error| error.condition);
        self.end(End { reason, clean, error }, Close::Orderly);
    }
}
