//! What every state has at hand: the wire, the clock, the settings, the pairs.

use std::collections::VecDeque;
use std::sync::Arc;

use nuncio_sansio::{Close, Entropy, Output, Time, Timers, TlsFacts};
use nuncio_xmpp::error::StreamError;
use nuncio_xmpp::xml::{Builder, Tokenizer};

use super::api::{
    By, DialbackError, End, Event, Offers, Opening, Pair, Previous, Question, Reason, S2sConfig, Tls, Way,
};
use super::dialback::{self, Kind};
use super::table::Table;
use crate::header::Words;
use crate::wire::{Content, Wire};

/// The timers of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Timer {
    /// From the start to an authorised pair.
    Negotiation,
    /// From our closing tag to the peer's.
    Closing,
    /// Dialback that has waited for long enough.
    Dialback,
    /// An `<r/>` of the peer must be answered.
    Answer,
    /// Quiet after stanzas that nobody has acknowledged.
    Quiet,
    /// Silence of the peer.
    Idle,
    /// No stanzas.
    Unused,
    /// `<resume/>` is not answered.
    Resuming,
}

/// A question that we have put, or will put, to an authoritative server.
pub(super) struct Verification {
    pub(super) pair: Pair,
    pub(super) id: String,
    pub(super) state: Ask,
}

pub(super) enum Ask {
    /// The stream is not ready; the key is kept.
    Waits(String),
    /// It is sent and is to be answered until then.
    Sent(Time),
}

/// Shared by all states.
pub(super) struct Core {
    pub(super) config: Arc<S2sConfig>,
    pub(super) entropy: Arc<dyn Entropy>,
    pub(super) tokenizer: Tokenizer,
    pub(super) wire: Wire<Question, Event>,
    pub(super) timers: Timers<Timer>,
    /// When the peer was last heard.
    pub(super) heard: Time,
    /// A question is open.
    pub(super) asking: bool,
    /// What we opened the stream for; none if the peer opened it.
    pub(super) opening: Option<Box<Opening>>,
    /// None in clear.
    pub(super) tls: Option<Box<TlsFacts>>,
    /// Initiating: the host believes the peer.
    pub(super) proven: bool,
    /// Initiating: what the peer offered last.
    pub(super) offers: Offers,
    /// The stream goes both ways (XEP-0288).
    pub(super) bidi: bool,
    /// The id of the receiving side's header.
    pub(super) id: String,
    /// The language of stanzas that name none (RFC 6120 §8.1.5).
    pub(super) lang: Option<Box<str>>,
    pub(super) pairs: Table,
    pub(super) verifications: VecDeque<Verification>,
    /// The `<db:verify/>` of the peer that the host is asked about.
    pub(super) asked: Option<(Pair, String)>,
    /// It carried a pair or answered about keys: that it carries none is no failure.
    pub(super) useful: bool,
    /// Failed SASL exchanges and refused assertions.
    pub(super) failures: u8,
    /// Stanzas sent.
    pub(super) sent: u64,
    /// How far a stream had come that may be resumed, once its connection is lost.
    pub(super) previous: Option<Previous>,
}

impl Core {
    pub(super) fn new(
        config: Arc<S2sConfig>,
        entropy: Arc<dyn Entropy>,
        opening: Option<Box<Opening>>,
        now: Time,
    ) -> Self {
        let tokenizer = Tokenizer::new(config.before);
        let mut timers = Timers::default();
        timers.set(Timer::Negotiation, now + config.negotiation);
        let pairs = Table::new(config.max_pairs);
        Self {
            config,
            entropy,
            tokenizer,
            wire: Wire::new(Content::Server),
            timers,
            heard: now,
            asking: false,
            opening,
            tls: None,
            proven: false,
            offers: Offers::default(),
            bidi: false,
            id: String::new(),
            lang: None,
            pairs,
            verifications: VecDeque::new(),
            asked: None,
            useful: false,
            failures: 0,
            sent: 0,
            previous: None,
        }
    }

    pub(super) fn ask(&mut self, question: Question) {
        self.asking = true;
        self.wire.push(Output::Ask(question));
    }

    /// Sends our header as receiver, with an id that nobody can guess (S0-33).
    pub(super) fn respond(&mut self, from: &str, to: Option<&str>) {
        self.id = self.entropy.token();
        let lang = Some(self.config.lang.as_str());
        self.wire.send_header(Words { from: Some(from), to, id: Some(&self.id), lang });
    }

    /// Sends our header as initiator. Between servers it always says who we are (RFC 6120 §4.7.1).
    pub(super) fn initiate(&mut self) {
        if let Some(opening) = &self.opening {
            let (from, to) = (Some(&*opening.pair.local), Some(&*opening.pair.remote));
            self.wire.send_header(Words { from, to, id: None, lang: Some(self.config.lang.as_str()) });
        }
    }

    pub(super) fn features(&mut self, features: &[Builder]) {
        self.wire.send(b"<stream:features>");
        for feature in features {
            self.wire.send_builder(feature);
        }
        self.wire.send(b"</stream:features>");
    }

    /// TLS follows: what was not read yet came in clear and is forgotten (S0-33).
    pub(super) fn start_tls(&mut self, domain: Option<String>) {
        self.wire.push(Output::StartTls { domain });
        self.discard();
    }

    pub(super) fn discard(&mut self) {
        self.tokenizer.reset();
        self.wire.restart();
    }

    /// A new stream follows inside the same TLS: what comes is read as a header.
    pub(super) fn restart(&mut self) {
        self.tokenizer.restart();
        self.wire.restart();
    }

    /// Whether nothing may be done in clear on a stream that we opened.
    pub(super) fn wants_tls(&self, offered: bool) -> bool {
        match self.config.tls {
            Tls::Required => true,
            Tls::Optional => offered,
            Tls::Never => false,
        }
    }

    /// Who may send once a pair is authorised.
    pub(super) fn way(&self) -> Way {
        match &self.opening {
            _ if self.bidi => Way::Both,
            Some(_) => Way::Out,
            None => Way::In,
        }
    }

    /// The stream carries the pair. There is room: it was under way until now, or is the first.
    pub(super) fn authorise(&mut self, now: Time, pair: &Pair, by: By) {
        let way = self.way();
        let (receives, sends) = (way != Way::Out, way != Way::In);
        let fresh = self.pairs.change(pair, |entry| {
            let fresh = (receives && !entry.receives) || (sends && !entry.sends);
            entry.receives |= receives;
            entry.sends |= sends;
            entry.revoked = false;
            fresh
        });

        self.useful = true;
        if matches!(fresh, Ok(true)) {
            self.timers.clear(Timer::Negotiation);
            if let Some(unused) = self.config.unused {
                self.timers.set_if_idle(Timer::Unused, now + unused);
            }
            self.tokenizer.set_limits(self.config.after);
            self.wire.event(Event::Authorised { pair: pair.clone(), way, by });
        }
    }

    /// Sends a dialback element.
    pub(super) fn dialback(&mut self, kind: Kind<'_>, pair: &Pair, body: dialback::Body<'_>) {
        let mut out = Vec::with_capacity(256);
        dialback::write(&mut out, kind, pair, body);
        self.wire.send(&out);
    }

    /// Something of dialback waits until then.
    pub(super) fn wait(&mut self, now: Time) -> Time {
        let at = now + self.config.dialback_within;
        self.timers.set_if_idle(Timer::Dialback, at);
        at
    }

    /// One more refusal. Whether that was one too many for a stream that carries nothing.
    pub(super) fn refused(&mut self) -> bool {
        self.failures = self.failures.saturating_add(1);
        self.failures >= self.config.tries.max(1) && !self.pairs.is_authorised()
    }

    /// Closes our stream. What is closed has to have been opened: even an error before the peer's header is read comes after ours
    /// (RFC 6120 §4.9.1.2), which then names nobody (§4.9.1.3).
    pub(super) fn close_stream(&mut self, error: Option<&StreamError>) {
        if !self.wire.header_sent() {
            match self.opening {
                Some(_) => self.initiate(),
                None => self.respond("", None),
            }
        }
        self.wire.close_stream(error);
    }

    /// Ends everything. What was asked by dialback and not answered has failed (XEP-0220 §2.1).
    pub(super) fn end(&mut self, end: End, close: Close) {
        self.timers.clear_all();
        self.asking = false;
        for pair in self.pairs.abandoned() {
            self.wire.event(Event::Answered { pair, outcome: Err(DialbackError::Ended) });
        }
        for Verification { pair, id, .. } in std::mem::take(&mut self.verifications) {
            self.wire.event(Event::Verified { pair, id, outcome: Err(DialbackError::Ended) });
        }
        self.wire.end(Event::Ended(end), close);
    }

    /// How the stream ends, with what was sent until now.
    pub(super) fn ending(&mut self, reason: Reason, clean: bool, error: Option<&StreamError>) -> End {
        let error = error.map(|error| error.condition);
        End { reason, clean, error, sent: self.sent, resumable: self.previous.take() }
    }

    /// Closes our stream, with an error if there is one, and the connection.
    pub(super) fn close_all(&mut self, error: Option<&StreamError>, reason: Reason, clean: bool) {
        self.close_stream(error);
        let end = self.ending(reason, clean, error);
        self.end(end, Close::Orderly);
    }
}
