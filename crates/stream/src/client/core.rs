//! What every state of the initiating role has at hand.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use nuncio_sansio::{Close, Entropy, Time, Timers};
use nuncio_xmpp::error::StreamError;
use nuncio_xmpp::jid::Jid;
use nuncio_xmpp::xml::Tokenizer;

use super::api::{ClientConfig, End, Event, Never, Reason, Resumption};
use crate::header::Words;
use crate::sm::{Outbound, TooHigh};
use crate::wire::{Content, Wire};

/// The timers of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Timer {
    /// From the start to a bound resource.
    Negotiation,
    /// From our closing tag to the peer's.
    Closing,
    /// Quiet after stanzas that nobody has acknowledged.
    Quiet,
    /// Silence of the peer.
    Idle,
}

/// Shared by all states.
pub(super) struct Core {
    pub(super) config: ClientConfig,
    pub(super) entropy: Arc<dyn Entropy>,
    pub(super) tokenizer: Tokenizer,
    pub(super) wire: Wire<Never, Event>,
    pub(super) timers: Timers<Timer>,
    /// When the peer was last heard.
    pub(super) heard: Time,
    /// The server's certificate was accepted.
    pub(super) secured: bool,
    /// Stanzas that wait for a bound resource (S0-07).
    pub(super) waiting: VecDeque<Bytes>,
    /// The session to resume, until that is decided.
    pub(super) old: Option<Resumption>,
    /// Stream management of the bound stream.
    pub(super) management: Management,
}

/// Stream management, from the client's side.
pub(super) enum Management {
    Off,
    /// `<enable/>` is sent: our stanzas count from there on, the server's from `<enabled/>`.
    Asked(Counters),
    On(Counters),
}

pub(super) struct Counters {
    /// Handled stanzas of the server, modulo 2^32.
    pub(super) inbound: u32,
    pub(super) outbound: Outbound,
    /// The acknowledged count, modulo 2^32.
    pub(super) acked: u32,
    /// Sent and not acknowledged, oldest first.
    pub(super) unacked: VecDeque<Bytes>,
    /// What a resumption needs, if the server allows one.
    pub(super) session: Option<Session>,
}

pub(super) struct Session {
    pub(super) id: String,
    pub(super) jid: Jid,
    pub(super) location: Option<String>,
}

impl Counters {
    /// From `h`, which the server has handled.
    pub(super) fn new(inbound: u32, h: u32, session: Option<Session>) -> Self {
        Self { inbound, outbound: Outbound::new(h, h), acked: h, unacked: VecDeque::new(), session }
    }

    /// The server has handled `h`; how many more that is.
    pub(super) fn acked(&mut self, h: u32) -> Result<u32, TooHigh> {
        let fresh = self.outbound.acked(h)?;
        self.acked = h;
        self.unacked.drain(..self.unacked.len().min(fresh as usize));
        Ok(fresh)
    }
}

impl Core {
    pub(super) fn new(mut config: ClientConfig, entropy: Arc<dyn Entropy>, now: Time) -> Self {
        let tokenizer = Tokenizer::new(config.limits);
        let mut timers = Timers::default();
        timers.set(Timer::Negotiation, now + config.negotiation);
        let old = config.resume.take();
        Self {
            config,
            entropy,
            tokenizer,
            wire: Wire::new(Content::Client),
            timers,
            heard: now,
            secured: false,
            waiting: VecDeque::new(),
            old,
            management: Management::Off,
        }
    }

    /// Sends our header. Who we are is told only inside TLS (RFC 6120 §4.7.1).
    pub(super) fn open(&mut self) {
        let from = self.secured.then(|| self.config.account.as_str());
        let lang = self.config.lang.as_deref();
        self.wire.send_header(Words { from, to: Some(self.config.account.domain()), id: None, lang });
    }

    /// TLS follows: what was not read yet came in clear and is forgotten (S0-33).
    pub(super) fn discard(&mut self) {
        self.tokenizer.reset();
        self.wire.restart();
    }

    /// A new stream follows inside the same TLS.
    pub(super) fn restart(&mut self) {
        self.tokenizer.restart();
        self.wire.restart();
    }

    /// Closes our stream if it is open.
    pub(super) fn close_stream(&mut self, error: Option<&StreamError>) {
        if self.wire.header_sent() {
            self.wire.close_stream(error);
        }
    }

    /// Ends everything.
    pub(super) fn end(&mut self, reason: Reason, clean: bool, error: Option<&StreamError>, close: Close) {
        self.timers.clear_all();
        let mut resumption = self.old.take();
        let mut unsent = Vec::new();
        if let Management::On(counters) | Management::Asked(counters) =
            std::mem::replace(&mut self.management, Management::Off)
        {
            let unacked = counters.unacked.into_iter().collect();
            match counters.session {
                // A stream that was closed has ended its session.
                Some(Session { id, jid, location }) if !matches!(reason, Reason::Host | Reason::Peer) => {
                    let (inbound, acked) = (counters.inbound, counters.acked);
                    resumption = Some(Resumption { id, jid, inbound, acked, unacked, location });
                }
                _ => unsent = unacked,
            }
        }
        unsent.extend(self.waiting.drain(..));
        let error = error.map(|error| error.condition);
        self.wire.end(Event::Ended(End { reason, clean, error, resumption, unsent }), close);
    }

    /// Closes our stream, with an error if there is one, and the connection.
    pub(super) fn close_all(&mut self, error: Option<&StreamError>, reason: Reason, clean: bool) {
        self.close_stream(error);
        self.end(reason, clean, error, Close::Orderly);
    }
}
