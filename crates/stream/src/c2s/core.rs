//! What every state of the receiving role has at hand: the wire, the clock, the settings.

use std::sync::Arc;

use nuncio_sansio::{Close, Entropy, Output, Time, Timers};
use nuncio_xmpp::error::StreamError;
use nuncio_xmpp::xml::{Builder, Tokenizer};

use super::api::{C2sConfig, End, Event, Question, Reason};
use crate::header::Words;
use crate::wire::{Content, Wire};

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
    pub(super) wire: Wire<Question, Event>,
    pub(super) timers: Timers<Timer>,
    /// When the peer was last heard.
    pub(super) heard: Time,
    /// A question is open.
    pub(super) asking: bool,
    /// Failed logins so far.
    pub(super) failures: u8,
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
            wire: Wire::new(Content::Client),
            timers,
            heard: now,
            asking: false,
            failures: 0,
        }
    }

    pub(super) fn ask(&mut self, question: Question) {
        self.asking = true;
        self.wire.push(Output::Ask(question));
    }

    pub(super) fn start_tls(&mut self, domain: Option<String>) {
        self.wire.push(Output::StartTls { domain });
    }

    /// Sends our header, with an id that nobody can guess (S0-33). Returns the id.
    pub(super) fn open(&mut self, from: &str, to: Option<&str>) -> String {
        let id = self.entropy.token();
        let lang = Some(self.config.lang.as_str());
        self.wire.send_header(Words { from: Some(from), to, id: Some(&id), lang });
        id
    }

    pub(super) fn features(&mut self, features: &[Builder]) {
        self.wire.send(b"<stream:features>");
        for feature in features {
            self.wire.send_builder(feature);
        }
        self.wire.send(b"</stream:features>");
    }

    /// TLS follows: what was not read yet came in clear and is forgotten (S0-33).
    pub(super) fn discard(&mut self) {
        self.tokenizer.reset();
        self.wire.restart();
    }

    /// A new stream follows inside the same TLS: what comes is read as a header.
    pub(super) fn restart(&mut self) {
        self.tokenizer.restart();
        self.wire.restart();
    }

    /// Closes our stream. What is closed has to have been opened: even an error before the peer's header is read comes after ours
    /// (RFC 6120 §4.9.1.2), which then names nobody (§4.9.1.3).
    pub(super) fn close_stream(&mut self, error: Option<&StreamError>) {
        if !self.wire.header_sent() {
            self.open("", None);
        }
        self.wire.close_stream(error);
    }

    /// Ends everything.
    pub(super) fn end(&mut self, end: End, close: Close) {
        self.timers.clear_all();
        self.asking = false;
        self.wire.end(Event::Ended(end), close);
    }

    /// Closes our stream, with an error if there is one, and the connection.
    pub(super) fn close_all(&mut self, error: Option<&StreamError>, reason: Reason, clean: bool) {
        self.close_stream(error);
        let error = error.map(|error| error.condition);
        self.end(End { reason, clean, error }, Close::Orderly);
    }
}
