//! A session's outbound queue: what waits to be sent, what a pacer holds back, and what XEP-0198 has not acknowledged.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;

use super::Outgoing;
use crate::delivery::Delivery;
use crate::points::Pace;

/// What an entry costs beside its bytes.
const OVERHEAD: usize = 64;

/// Stanzas that pacers may hold back in one session.
const HELD: usize = 200;

/// Room for so many entries is kept by a queue that is empty.
const ROOM: usize = 16;

/// One element in a queue.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    bytes: Bytes,
    delivery: Option<Arc<Delivery>>,
    stanza: bool,
}

impl Entry {
    /// A rendered stanza; the delivery, if any, is held from here on.
    pub(crate) fn stanza(bytes: Bytes, delivery: Option<Arc<Delivery>>) -> Self {
        if let Some(delivery) = &delivery {
            delivery.hold();
        }
        Self { bytes, delivery, stanza: true }
    }

    fn cost(&self) -> usize {
        self.bytes.len() + OVERHEAD
    }

    /// The delivery it stands for.
    pub(crate) fn into_delivery(self) -> Option<Arc<Delivery>> {
        self.delivery
    }
}

/// How an offer was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Push {
    /// Within the bound.
    Taken,
    /// Taken, over the first bound.
    Over,
    /// Not taken: over the second bound, which is twice the first.
    Refused,
}

/// The queue. Bounded by count and bytes; nobody ever waits for it.
#[derive(Debug)]
pub(crate) struct Queue {
    ready: VecDeque<Entry>,
    held: VecDeque<(Option<String>, Entry)>,
    unacked: VecDeque<Entry>,
    bytes: usize,
    /// The client's `h` that was acknowledged last, modulo 2^32.
    acked: u32,
    most: usize,
    most_bytes: usize,
}

impl Queue {
    /// An empty queue that takes so many entries and bytes.
    pub(crate) const fn new(most: usize, most_bytes: usize) -> Self {
        Self {
            ready: VecDeque::new(),
            held: VecDeque::new(),
            unacked: VecDeque::new(),
            bytes: 0,
            acked: 0,
            most,
            most_bytes,
        }
    }

    /// Entries of all kinds.
    pub(crate) fn len(&self) -> usize {
        self.ready.len() + self.held.len() + self.unacked.len()
    }

    /// Whether anything could be sent at once.
    pub(crate) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Whether most of it is free.
    pub(crate) fn is_low(&self) -> bool {
        self.len() <= self.most / 4 && self.bytes <= self.most_bytes / 4
    }

    /// Stanzas that were sent and not acknowledged.
    pub(crate) fn unacknowledged(&self) -> usize {
        self.unacked.len()
    }

    /// How many stanzas were sent since stream management was enabled, modulo 2^32.
    pub(crate) fn sent(&self) -> u32 {
        #[expect(clippy::cast_possible_truncation, reason = "XEP-0198 counts modulo 2^32")]
        let waiting = self.unacked.len() as u32;
        self.acked.wrapping_add(waiting)
    }

    pub(crate) fn push(&mut self, entry: Entry, pace: Pace) -> Push {
        let cost = entry.cost();
        if self.len() >= self.most * 2 || self.bytes + cost > self.most_bytes * 2 {
            return Push::Refused;
        }
        match pace {
            Pace::Never => return Push::Taken,
            Pace::Now => {
                self.release();
                put(&mut self.ready, entry);
            }
            Pace::Later => self.held.push_back((None, entry)),
            Pace::Latest(key) => {
                let old = self.held.iter().position(|(held, _)| held.as_ref() == Some(&key));
                if let Some((_, old)) = old.and_then(|place| self.held.remove(place)) {
                    self.bytes -= old.cost();
                }
                self.held.push_back((Some(key), entry));
            }
        }
        self.bytes += cost;
        if self.held.len() > HELD {
            self.release();
        }
        if self.len() > self.most || self.bytes > self.most_bytes { Push::Over } else { Push::Taken }
    }

    pub(crate) fn push_nonza(&mut self, bytes: Bytes) {
        let entry = Entry { bytes, delivery: None, stanza: false };
        self.bytes += entry.cost();
        put(&mut self.ready, entry);
    }

    /// What pacers hold back becomes ready, in order.
    pub(crate) fn release(&mut self) {
        if !self.held.is_empty() {
            self.ready.extend(self.held.drain(..).map(|(_, entry)| entry));
            self.held = VecDeque::new();
        }
    }

    /// The next to be sent. With stream management a stanza stays until it is acknowledged; without, being sent settles it.
    pub(crate) fn pop(&mut self, managed: bool) -> Option<(Outgoing, Option<Arc<Delivery>>)> {
        let entry = self.ready.pop_front()?;
        thin(&mut self.ready);
        if !entry.stanza {
            self.bytes -= entry.cost();
            return Some((Outgoing::Nonza(entry.bytes), None));
        }
        if managed {
            let outgoing = Outgoing::Stanza(entry.bytes.clone());
            put(&mut self.unacked, entry);
            return Some((outgoing, None));
        }
        self.bytes -= entry.cost();
        Some((Outgoing::Stanza(entry.bytes), entry.delivery))
    }

    /// The client has handled everything up to `h`. Returns what that settles; none if `h` counts more than was sent.
    pub(crate) fn ack(&mut self, h: u32) -> Option<Vec<Arc<Delivery>>> {
        let count = h.wrapping_sub(self.acked) as usize;
        if count > self.unacked.len() {
            return None;
        }
        self.acked = h;
        let mut settled = Vec::new();
        for entry in self.unacked.drain(..count) {
            self.bytes -= entry.cost();
            settled.extend(entry.delivery);
        }
        if self.unacked.is_empty() {
            self.unacked = VecDeque::new();
        }
        Some(settled)
    }

    /// A resumption with the client's `h`: what is not acknowledged goes first again, then what was ready, then what was held.
    /// None, and nothing changed, if `h` counts more than was sent.
    pub(crate) fn resume(&mut self, h: u32) -> Option<Vec<Arc<Delivery>>> {
        let settled = self.ack(h)?;
        while let Some(entry) = self.unacked.pop_back() {
            self.ready.push_front(entry);
        }
        self.release();
        Some(settled)
    }

    /// The session is over: everything in the order in which it would have been sent.
    pub(crate) fn drain(&mut self) -> Vec<Entry> {
        self.bytes = 0;
        self.release();
        self.unacked.drain(..).chain(self.ready.drain(..)).collect()
    }
}

/// Puts an entry in. The first takes its own room and no more, for sessions that only ever have one at a time.
fn put(queue: &mut VecDeque<Entry>, entry: Entry) {
    if queue.capacity() == 0 {
        queue.reserve_exact(1);
    }
    queue.push_back(entry);
}

/// What a burst needed is given back when it is over.
fn thin(queue: &mut VecDeque<Entry>) {
    if queue.is_empty() && queue.capacity() > ROOM {
        *queue = VecDeque::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(text: &'static str) -> Entry {
        Entry::stanza(Bytes::from_static(text.as_bytes()), None)
    }

    fn sent(queue: &mut Queue, managed: bool) -> Vec<String> {
        std::iter::from_fn(|| queue.pop(managed))
            .map(|(outgoing, _)| match outgoing {
                Outgoing::Stanza(bytes) | Outgoing::Nonza(bytes) => {
                    String::from_utf8_lossy(&bytes).into_owned()
                }
                Outgoing::Close(_) => "close".to_owned(),
            })
            .collect()
    }

    /// Invariant 12: what is held has no number; a resumption yields the unacknowledged, then the ready, then the held.
    #[test]
    fn resumption_keeps_the_order() {
        let mut queue = Queue::new(100, 100_000);
        for text in ["a", "b", "c"] {
            queue.push(entry(text), Pace::Now);
        }
        assert_eq!(sent(&mut queue, true), ["a", "b", "c"]);
        queue.push(entry("d"), Pace::Now);
        queue.push(entry("e"), Pace::Later);
        assert_eq!(queue.sent(), 3, "held and ready ones have no number");
        assert!(queue.resume(4).is_none(), "more than was sent");
        assert!(queue.resume(1).is_some());
        assert_eq!(queue.sent(), 1);
        assert_eq!(sent(&mut queue, true), ["b", "c", "d", "e"]);
        assert_eq!(queue.sent(), 5);
    }

    #[test]
    fn acknowledgements_wrap_around() {
        let mut queue = Queue::new(100, 100_000);
        queue.acked = u32::MAX;
        queue.push(entry("a"), Pace::Now);
        queue.push(entry("b"), Pace::Now);
        sent(&mut queue, true);
        assert_eq!(queue.sent(), 1);
        assert!(queue.ack(2).is_none());
        assert!(queue.ack(1).is_some());
        assert_eq!(queue.unacknowledged(), 0);
        assert_eq!(queue.bytes, 0);
    }

    /// XEP-0352 and invariant 8: `Now` sends what is held first, and `Latest` replaces under its key only.
    #[test]
    fn pacing_never_reorders() {
        let mut queue = Queue::new(100, 100_000);
        queue.push(entry("p1"), Pace::Latest("romeo".to_owned()));
        queue.push(entry("x"), Pace::Later);
        queue.push(entry("q1"), Pace::Latest("nurse".to_owned()));
        queue.push(entry("p2"), Pace::Latest("romeo".to_owned()));
        queue.push(entry("never"), Pace::Never);
        assert!(sent(&mut queue, false).is_empty());
        queue.push(entry("m"), Pace::Now);
        assert_eq!(sent(&mut queue, false), ["x", "q1", "p2", "m"]);
        assert_eq!(queue.bytes, 0);
    }

    #[test]
    fn bounds_are_told_by_count_and_bytes() {
        let mut queue = Queue::new(2, 10_000);
        let pushed: Vec<_> = (0..5).map(|_| queue.push(entry("x"), Pace::Now)).collect();
        assert_eq!(pushed, [Push::Taken, Push::Taken, Push::Over, Push::Over, Push::Refused]);
        let mut queue = Queue::new(100, 100);
        assert_eq!(queue.push(entry("x"), Pace::Now), Push::Taken);
        assert_eq!(queue.push(entry("x"), Pace::Now), Push::Over);
        assert_eq!(queue.push(entry("x"), Pace::Now), Push::Over);
        assert_eq!(queue.push(entry("x"), Pace::Now), Push::Refused, "a fourth would be over 200 bytes");
    }

    #[test]
    fn held_stanzas_are_bounded() {
        let mut queue = Queue::new(1_000, 1_000_000);
        for _ in 0..=HELD {
            queue.push(entry("x"), Pace::Later);
        }
        assert_eq!(sent(&mut queue, false).len(), HELD + 1);
    }
}
