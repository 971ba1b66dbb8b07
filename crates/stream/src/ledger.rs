//! The count of stanzas that came over a stream.

use std::collections::VecDeque;

/// Which stanzas of the peer have been received and handled.
#[derive(Default)]
pub(crate) struct Ledger {
    received: u64,
    handled: u64,
    /// Stanzas that the stream has answered itself, waiting for those before them.
    own: VecDeque<u64>,
}

impl Ledger {
    /// The number of the last stanza that came.
    pub(crate) fn received(&self) -> u64 {
        self.received
    }

    /// The number of the last one that is handled, with all before it.
    pub(crate) fn handled(&self) -> u64 {
        self.handled
    }

    /// One more came. Its number.
    pub(crate) fn receive(&mut self) -> u64 {
        self.received += 1;
        self.received
    }

    /// The stream has answered this one itself.
    pub(crate) fn answered(&mut self, number: u64) {
        self.own.push_back(number);
        self.handle(self.handled);
    }

    /// The host has handled all up to this one.
    pub(crate) fn handle(&mut self, number: u64) {
        self.handled = self.handled.max(number.min(self.received));
        while self.own.front().is_some_and(|own| *own <= self.handled + 1) {
            if let Some(own) = self.own.pop_front() {
                self.handled = self.handled.max(own);
            }
        }
    }

    /// Whether nothing is left to handle.
    pub(crate) fn is_done(&self) -> bool {
        self.handled == self.received
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_answers_wait_for_what_came_before() {
        let mut ledger = Ledger::default();
        for _ in 0..5 {
            ledger.receive();
        }
        ledger.answered(2);
        ledger.answered(3);
        assert_eq!(ledger.handled, 0);
        ledger.handle(1);
        assert_eq!(ledger.handled, 3);
        ledger.handle(99);
        assert!(ledger.is_done(), "no number beyond what was received");
        ledger.receive();
        ledger.answered(6);
        assert!(ledger.is_done());
        ledger.handle(1);
        assert_eq!(ledger.handled, 6, "never back");
    }
}
