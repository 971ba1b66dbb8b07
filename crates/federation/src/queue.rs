//! What waits for one pair of domains: one ordered queue with bounds and expiry (RFC 6120 §10.1).

use std::collections::VecDeque;
use std::time::Duration;

use nuncio_xmpp::stanza::Stanza;
use tokio::time::Instant;

use crate::spool::Kept;

/// Bounds of one queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueLimits {
    /// Stanzas.
    pub stanzas: usize,
    /// Bytes, about.
    pub bytes: usize,
    /// How long a stanza may wait.
    pub age: Duration,
}

impl Default for QueueLimits {
    /// 1 000 stanzas, 1 MiB, five minutes.
    fn default() -> Self {
        Self { stanzas: 1_000, bytes: 1 << 20, age: Duration::from_secs(300) }
    }
}

/// A stanza on its way to another server.
#[derive(Debug)]
pub(crate) struct Parcel {
    pub(crate) stanza: Stanza,
    /// Whether its sender is told if it cannot be delivered.
    pub(crate) bounces: bool,
    /// When it must have left.
    pub(crate) until: Instant,
    /// Its row, if it is to survive the process.
    pub(crate) kept: Option<Kept>,
    size: usize,
}

impl Parcel {
    pub(crate) fn new(stanza: &Stanza, bounces: bool, until: Instant, kept: Option<Kept>) -> Self {
        Self { stanza: stanza.clone(), bounces, until, kept, size: stanza.size() }
    }
}

/// The queue. Empty ones hold no memory but their own three words and a half.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    waiting: VecDeque<Parcel>,
    bytes: usize,
}

impl Queue {
    /// Whether there is room for a stanza.
    pub(crate) fn has_room(&self, stanza: &Stanza, limits: &QueueLimits) -> bool {
        let fits = self.waiting.is_empty() || self.bytes.saturating_add(stanza.size()) <= limits.bytes;
        self.waiting.len() < limits.stanzas && fits
    }

    /// Takes a stanza.
    pub(crate) fn push(&mut self, parcel: Parcel) {
        self.bytes += parcel.size;
        self.waiting.push_back(parcel);
    }

    /// The next stanza.
    pub(crate) fn pop(&mut self) -> Option<Parcel> {
        let parcel = self.waiting.pop_front()?;
        self.bytes -= parcel.size;
        if self.waiting.is_empty() {
            // A pair that is idle costs nothing but its entry.
            self.waiting = VecDeque::new();
        }
        Some(parcel)
    }

    /// Puts back what was taken and not delivered, before everything else and in its order.
    pub(crate) fn put_back(&mut self, parcels: impl DoubleEndedIterator<Item = Parcel>) {
        for parcel in parcels.rev() {
            self.bytes += parcel.size;
            self.waiting.push_front(parcel);
        }
    }

    /// Takes out what has waited too long. Order is that of arrival, so these are the first ones.
    pub(crate) fn expired(&mut self, now: Instant) -> Vec<Parcel> {
        let mut all = Vec::new();
        while self.waiting.front().is_some_and(|front| front.until <= now) {
            all.extend(self.pop());
        }
        all
    }

    /// Takes out everything.
    pub(crate) fn drain(&mut self) -> Vec<Parcel> {
        self.bytes = 0;
        std::mem::take(&mut self.waiting).into()
    }

    /// When the first stanza will have waited too long.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.waiting.front().map(|front| front.until)
    }

    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use nuncio_xmpp::stanza::{MessageType, message};

    use super::*;

    fn stanza(body: &str) -> Stanza {
        message(MessageType::Chat).body(body).build()
    }

    fn bodies(parcels: &[Parcel]) -> Vec<String> {
        parcels.iter().filter_map(|parcel| Some(parcel.stanza.body_text()?.into_owned())).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn order_bounds_and_age() {
        let limits = QueueLimits { stanzas: 3, bytes: 3 * stanza("1").size(), age: Duration::from_secs(10) };
        let mut queue = Queue::default();
        let start = Instant::now();
        let parcel = |body: &str, after| {
            Parcel::new(&stanza(body), true, start + Duration::from_secs(after) + limits.age, None)
        };
        for (after, body) in [(0, "1"), (5, "2"), (6, "3")] {
            assert!(queue.has_room(&stanza(body), &limits));
            queue.push(parcel(body, after));
        }
        assert!(!queue.has_room(&stanza("4"), &limits), "three stanzas");
        assert_eq!(queue.deadline(), Some(start + Duration::from_secs(10)));
        assert_eq!(bodies(&queue.expired(start + Duration::from_secs(9))), [""; 0]);
        assert_eq!(bodies(&queue.expired(start + Duration::from_secs(15))), ["1", "2"]);
        let third = queue.pop().unwrap();
        assert!(queue.is_empty() && queue.bytes() == 0);
        queue.push(parcel("4", 0));
        queue.put_back([third].into_iter());
        assert_eq!(queue.len(), 2);
        assert_eq!(bodies(&queue.drain()), ["3", "4"]);
        assert_eq!(queue.bytes(), 0);
        let large = stanza(&"x".repeat(1_000));
        assert!(queue.has_room(&large, &limits), "one of any size finds room");
        queue.push(Parcel::new(&large, true, start, None));
        assert!(!queue.has_room(&stanza("5"), &limits), "bytes");
    }
}
