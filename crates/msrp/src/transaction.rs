//! Requests that wait for a response, each for the same time (RFC 4975 §7.1.1: 30 seconds from its last byte).

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use nuncio_sansio::Time;

use crate::ident::Ident;

/// How long a request waits for its response.
pub const TIMEOUT: Duration = Duration::from_secs(30);

/// Open requests with what belongs to each.
#[derive(Debug)]
pub struct Transactions<T> {
    timeout: Duration,
    most: usize,
    open: BTreeMap<Ident, (Time, T)>,
    /// In the order of their deadlines, which is that of their beginning; some are answered already.
    order: VecDeque<(Time, Ident)>,
}

impl<T> Transactions<T> {
    /// At most `most` at a time.
    pub fn new(timeout: Duration, most: usize) -> Self {
        Self { timeout, most: most.max(1), open: BTreeMap::new(), order: VecDeque::new() }
    }

    /// A request was sent. Gives back the oldest one if there are too many: it counts as timed out.
    pub fn begin(&mut self, now: Time, id: Ident, what: T) -> Option<T> {
        let evicted = if self.open.len() >= self.most { self.pop_oldest() } else { None };
        let until = now + self.timeout;
        self.open.insert(id, (until, what));
        self.order.push_back((until, id));
        evicted
    }

    /// A response has come. None if nobody waits for it.
    pub fn answer(&mut self, id: &Ident) -> Option<T> {
        let (_, what) = self.open.remove(id)?;
        self.forget_answered();
        Some(what)
    }

    /// The next one that has waited too long.
    pub fn expired(&mut self, now: Time) -> Option<T> {
        let (until, _) = self.order.front()?;
        if *until <= now { self.pop_oldest() } else { None }
    }

    /// When the next one has waited too long.
    pub fn next(&self) -> Option<Time> {
        self.order.front().map(|(until, _)| *until)
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.open.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Takes all, the oldest first.
    pub fn drain(&mut self) -> impl Iterator<Item = T> {
        std::iter::from_fn(|| self.pop_oldest())
    }

    /// Takes all that a predicate names, the oldest first.
    pub fn take(&mut self, mut which: impl FnMut(&T) -> bool) -> Vec<T> {
        let ids: Vec<_> = self
            .order
            .iter()
            .filter(|(_, id)| self.open.get(id).is_some_and(|(_, what)| which(what)))
            .map(|(_, id)| *id)
            .collect();
        let taken = ids.iter().filter_map(|id| self.open.remove(id)).map(|(_, what)| what).collect();
        self.forget_answered();
        taken
    }

    /// Takes the one that has waited longest.
    pub fn pop_oldest(&mut self) -> Option<T> {
        while let Some((_, id)) = self.order.pop_front() {
            if let Some((_, what)) = self.open.remove(&id) {
                self.forget_answered();
                return Some(what);
            }
        }
        None
    }

    /// Keeps a waiting request at the front, and the row as short as what waits.
    fn forget_answered(&mut self) {
        while self.order.front().is_some_and(|(_, id)| !self.open.contains_key(id)) {
            self.order.pop_front();
        }
        if self.open.is_empty() {
            self.order = VecDeque::new();
        } else if self.order.len() > 2 * self.open.len() + 64 {
            self.order.retain(|(_, id)| self.open.contains_key(id));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: usize) -> Ident {
        Ident::new(&format!("t{number:05}")).expect("valid")
    }

    /// RFC 4975 §7.1.1: 30 seconds each, from its own last byte.
    #[test]
    fn each_waits_thirty_seconds() {
        let at = |seconds| Time::ZERO + Duration::from_secs(seconds);
        let mut open = Transactions::new(TIMEOUT, 100);
        for number in 0..3 {
            assert_eq!(open.begin(at(number), id(number as usize), number), None);
        }
        assert_eq!(open.answer(&id(0)), Some(0));
        assert_eq!(open.answer(&id(0)), None, "once");
        assert_eq!(open.next(), Some(at(31)));
        assert_eq!(open.expired(at(30)), None);
        assert_eq!(open.expired(at(31)), Some(1));
        assert_eq!(open.expired(at(31)), None);
        assert_eq!(open.take(|number| *number == 2), [2]);
        assert_eq!((open.next(), open.len()), (None, 0));
    }

    #[test]
    fn memory_is_bounded_by_what_waits() {
        let mut open = Transactions::new(TIMEOUT, 10);
        assert_eq!(open.begin(Time::ZERO, id(99_999), 99_999), None);
        for number in 0..5_000 {
            assert_eq!(open.begin(Time::ZERO, id(number), number), None);
            assert_eq!(open.answer(&id(number)), Some(number));
            assert!(open.order.len() <= 70, "{}", open.order.len());
        }
        for number in 0..9 {
            assert_eq!(open.begin(Time::ZERO, id(number), number), None);
        }
        assert_eq!(open.begin(Time::ZERO, id(9), 9), Some(99_999), "the oldest gives way");
        assert_eq!(open.drain().collect::<Vec<_>>(), (0..10).collect::<Vec<_>>());
    }
}
