//! Words and arithmetic of stream management (XEP-0198) that both roles share.
//!
//! None of these elements is a stanza, so none is counted (S0-14).

use std::collections::VecDeque;
use std::time::Duration;

use nuncio_sansio::Time;
use nuncio_xmpp::error::{Condition, StreamCondition, StreamError};
use nuncio_xmpp::ns;
use nuncio_xmpp::xml::{Builder, Element};

/// The request for an acknowledgement, as sent.
pub(crate) const REQUEST: &[u8] = b"<r xmlns='urn:xmpp:sm:3'/>";

/// `<r/>` that wait for stanzas to be handled; more of them are answered together.
const WAITING: usize = 16;

/// An answer with the count `h`.
pub(crate) fn answer(h: u32) -> Vec<u8> {
    format!("<a xmlns='urn:xmpp:sm:3' h='{h}'/>").into_bytes()
}

/// `<failed/>` with a stanza error condition and, after a resumption, the count that is still known.
pub(crate) fn failed(condition: Condition, h: Option<u32>) -> Builder {
    Builder::new("failed", ns::SM).attr_opt("h", h).child(Builder::new(condition.as_str(), ns::STANZAS))
}

/// The counter `h` of `<a/>`, `<resume/>` or `<resumed/>`: an `xs:unsignedInt`.
pub(crate) fn read_h(element: &Element) -> Option<u32> {
    read_u32(&element.attr("h")?)
}

/// An `xs:unsignedInt` without sign. White space around it collapses away, as for every XML Schema number.
pub(crate) fn read_u32(text: &str) -> Option<u32> {
    let text = text.trim_matches([' ', '\t', '\r', '\n']);
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

/// An `xs:boolean`; what is none counts as false.
pub(crate) fn read_bool(text: Option<&str>) -> bool {
    matches!(text.map(str::trim), Some("true" | "1"))
}

/// What we have received and handled.
#[derive(Clone, Debug)]
pub(crate) struct Inbound {
    /// `h` at the stanza number `base`.
    offset: u32,
    /// Stanzas up to this number are outside of the count: they came before stream management.
    base: u64,
    /// The answers that are due: for a stanza number, not later than.
    waiting: VecDeque<(u64, Time)>,
}

impl Inbound {
    /// Counts from `offset` for the stanzas after number `base`.
    pub(crate) fn new(offset: u32, base: u64) -> Self {
        Self { offset, base, waiting: VecDeque::new() }
    }

    /// The count when the stanzas up to number `handled` are handled. Wraps at 2^32 (XEP-0198 §4).
    pub(crate) fn h(&self, handled: u64) -> u32 {
        // The low 32 bits are the number modulo 2^32.
        self.offset.wrapping_add(handled.saturating_sub(self.base) as u32)
    }

    /// An `<r/>` came after stanza number `received`. Whether to answer at once.
    pub(crate) fn requested(&mut self, received: u64, handled: u64, deadline: Time) -> bool {
        if handled >= received {
            return true;
        }
        if self.waiting.len() >= WAITING {
            self.waiting.pop_back();
        }
        self.waiting.push_back((received, deadline));
        false
    }

    /// Whether an answer is due, since stanzas were handled or time has passed.
    pub(crate) fn due(&mut self, handled: u64, now: Time) -> bool {
        let mut due = false;
        while self.waiting.front().is_some_and(|(number, at)| *number <= handled || *at <= now) {
            self.waiting.pop_front();
            due = true;
        }
        due
    }

    /// When the next answer is due at the latest.
    pub(crate) fn deadline(&self) -> Option<Time> {
        self.waiting.front().map(|(_, at)| *at)
    }
}

/// What we have sent.
#[derive(Clone, Debug)]
pub(crate) struct Outbound {
    sent: u32,
    acked: u32,
    since_request: u32,
}

/// The peer acknowledged more than it was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooHigh {
    pub(crate) h: u32,
    pub(crate) sent: u32,
}

impl TooHigh {
    /// The stream error of XEP-0198 §6.
    pub(crate) fn error(self) -> StreamError {
        let Self { h, sent } = self;
        StreamError::new(StreamCondition::UndefinedCondition)
            .with_text(format!("You acknowledged {h} stanzas, but I only sent you {sent} so far."))
            .with_extra(Builder::new("handled-count-too-high", ns::SM).attr("h", h).attr("send-count", sent))
    }
}

impl Outbound {
    /// Counts from `sent`, of which the peer has `acked`.
    pub(crate) fn new(sent: u32, acked: u32) -> Self {
        Self { sent, acked, since_request: 0 }
    }

    /// One more stanza was sent. How many since the last request.
    pub(crate) fn sent(&mut self) -> u32 {
        self.sent = self.sent.wrapping_add(1);
        self.since_request = self.since_request.saturating_add(1);
        self.since_request
    }

    /// A request was sent.
    pub(crate) fn requested(&mut self) {
        self.since_request = 0;
    }

    /// Whether stanzas wait for an acknowledgement.
    pub(crate) fn open(&self) -> bool {
        self.sent != self.acked
    }

    /// How many stanzas were sent, and how many of them acknowledged, modulo 2^32.
    pub(crate) const fn counts(&self) -> (u32, u32) {
        (self.sent, self.acked)
    }

    /// The peer has handled `h`. How many more that is than before.
    pub(crate) fn acked(&mut self, h: u32) -> Result<u32, TooHigh> {
        let fresh = h.wrapping_sub(self.acked);
        // Modular distance: an `h` that goes back looks like one that is far ahead, and is as wrong.
        if fresh > self.sent.wrapping_sub(self.acked) {
            return Err(TooHigh { h, sent: self.sent });
        }
        self.acked = h;
        Ok(fresh)
    }
}

/// When we ask the peer for acknowledgements, and how long our answers may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Ask after this many stanzas.
    pub every: u32,
    /// Ask when nothing was sent for this long after a stanza.
    pub quiet: Duration,
    /// Answer a request at the latest after this, with what is handled by then.
    pub answer_within: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self { every: 10, quiet: Duration::from_secs(1), answer_within: Duration::from_secs(2) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// XEP-0198 §4: the counter wraps from 2^32-1 to 0.
    #[test]
    fn counters_wrap() {
        let inbound = Inbound::new(u32::MAX - 1, 5);
        let h: Vec<_> = (4..9).map(|handled| inbound.h(handled)).collect();
        assert_eq!(h, [u32::MAX - 1, u32::MAX - 1, u32::MAX, 0, 1]);

        let mut outbound = Outbound::new(u32::MAX - 1, u32::MAX - 1);
        for _ in 0..3 {
            outbound.sent();
        }
        assert_eq!(outbound.counts(), (1, u32::MAX - 1));
        assert_eq!(outbound.acked(u32::MAX), Ok(1));
        assert_eq!(outbound.acked(0), Ok(1));
        assert_eq!(outbound.acked(2), Err(TooHigh { h: 2, sent: 1 }));
        assert_eq!(outbound.acked(u32::MAX), Err(TooHigh { h: u32::MAX, sent: 1 }), "going back");
        assert_eq!(outbound.acked(1), Ok(1));
        assert!(!outbound.open());
    }

    #[test]
    fn unsigned_ints_are_strict() {
        for (text, value) in [
            ("0", Some(0)),
            ("4294967295", Some(u32::MAX)),
            (" 7\n", Some(7)),
            ("007", Some(7)),
            ("4294967296", None),
        ] {
            assert_eq!(read_u32(text), value, "{text}");
        }
        for text in ["", "-1", "+1", "1.0", "0x1", "1 2", "٣"] {
            assert_eq!(read_u32(text), None, "{text}");
        }
        assert!(read_bool(Some("true")) && read_bool(Some("1")));
        assert!(!read_bool(Some("TRUE")) && !read_bool(Some("0")) && !read_bool(None));
    }

    #[test]
    fn answers_wait_for_what_came_before() {
        let at = |seconds| Time::ZERO + Duration::from_secs(seconds);
        let mut inbound = Inbound::new(0, 0);
        assert!(inbound.requested(0, 0, at(2)), "nothing outstanding");
        assert!(!inbound.requested(3, 1, at(2)));
        assert!(!inbound.requested(5, 1, at(3)));
        assert!(!inbound.due(2, at(1)));
        assert!(inbound.due(3, at(1)));
        assert_eq!(inbound.deadline(), Some(at(3)));
        assert!(inbound.due(4, at(3)), "late, with what is handled");
        assert_eq!(inbound.deadline(), None);
        for number in 0..1000 {
            inbound.requested(10 + number, 0, at(9));
        }
        assert!(inbound.waiting.len() <= WAITING);
        assert_eq!(inbound.waiting.back().map(|(number, _)| *number), Some(1009), "the last is never lost");
    }
}
