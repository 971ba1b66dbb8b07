//! Timers as data: a machine keeps its deadlines here, the driver owns one sleep for the earliest.

use crate::Time;

/// The deadlines of one machine. `T` names them; each name has at most one deadline.
///
/// Holds no memory while nothing is armed.
#[derive(Clone, Debug)]
pub struct Timers<T>(Vec<(T, Time)>);

impl<T> Default for Timers<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: Copy + PartialEq> Timers<T> {
    /// Arms `timer`, in place of its earlier deadline if there was one.
    pub fn set(&mut self, timer: T, at: Time) {
        match self.0.iter_mut().find(|(name, _)| *name == timer) {
            Some(slot) => slot.1 = at,
            None => self.add(timer, at),
        }
    }

    /// Arms `timer` unless it is armed already.
    pub fn set_if_idle(&mut self, timer: T, at: Time) {
        if self.get(timer).is_none() {
            self.add(timer, at);
        }
    }

    fn add(&mut self, timer: T, at: Time) {
        // There are many machines, with few timers each.
        self.0.reserve_exact(1);
        self.0.push((timer, at));
    }

    /// Disarms `timer`.
    pub fn clear(&mut self, timer: T) {
        self.0.retain(|(name, _)| *name != timer);
    }

    /// Disarms all.
    pub fn clear_all(&mut self) {
        self.0 = Vec::new();
    }

    /// When `timer` is due, if it is armed.
    pub fn get(&self, timer: T) -> Option<Time> {
        self.0.iter().find(|(name, _)| *name == timer).map(|(_, at)| *at)
    }

    /// The earliest deadline.
    pub fn next(&self) -> Option<Time> {
        self.0.iter().map(|(_, at)| *at).min()
    }

    /// Disarms and returns the earliest timer that is due at `now`; of several with one deadline, the one armed first.
    pub fn expired(&mut self, now: Time) -> Option<T> {
        let (index, _) =
            self.0.iter().enumerate().filter(|(_, (_, at))| *at <= now).min_by_key(|(_, (_, at))| *at)?;
        Some(self.0.remove(index).0)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn earliest_first_and_each_once() {
        let at = |seconds| Time::ZERO + Duration::from_secs(seconds);
        let mut timers = Timers::default();
        timers.set('b', at(5));
        timers.set('a', at(3));
        timers.set('b', at(2));
        timers.set_if_idle('a', at(1));
        assert_eq!(timers.next(), Some(at(2)));
        assert_eq!(timers.expired(at(1)), None);
        assert_eq!(timers.expired(at(9)), Some('b'));
        assert_eq!(timers.expired(at(9)), Some('a'));
        assert_eq!(timers.expired(at(9)), None);
        timers.set('c', at(1));
        timers.clear('c');
        assert_eq!(timers.next(), None);
    }
}
