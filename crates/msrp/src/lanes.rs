//! What waits to be written on a connection, and whose turn it is (RFC 4975 §7.1.1: each concurrent request gets a fair portion).
//!
//! Urgent items (responses, reports) go first. The rest stands in lanes, one for each flow, that take turns by bytes, so that a short
//! message of another flow passes a long one after at most one turn. A lane has a bound: beyond it its source is to be held until the lane
//! is half empty again, so what flows fast into a slow connection is slowed where it comes from. Whoever pushes never waits: two sources
//! that waited for each other's lanes would wait for ever.

use std::collections::{BTreeMap, VecDeque};

#[derive(Debug)]
struct Lane<T> {
    items: VecDeque<(T, usize)>,
    bytes: usize,
    /// Its source was told to wait.
    full: bool,
}

/// Items of flows `K`.
#[derive(Debug)]
pub struct Lanes<K, T> {
    urgent: VecDeque<(T, usize)>,
    urgent_bytes: usize,
    lanes: BTreeMap<K, Lane<T>>,
    /// Lanes with items, the one whose turn it is first.
    turns: VecDeque<K>,
    /// What is left of the present turn, in bytes.
    turn: usize,
    quantum: usize,
    bound: usize,
}

/// There is no room: the item comes back.
#[derive(Debug, PartialEq, Eq)]
pub struct NoRoom<T>(pub T);

impl<K: Ord + Copy, T> Lanes<K, T> {
    /// `quantum`: how many bytes a lane may send in its turn; `bound`: how many may wait in a lane.
    pub fn new(quantum: usize, bound: usize) -> Self {
        Self {
            urgent: VecDeque::new(),
            urgent_bytes: 0,
            lanes: BTreeMap::new(),
            turns: VecDeque::new(),
            turn: quantum,
            quantum,
            bound,
        }
    }

    /// Adds what goes before everything else, in order among its like.
    ///
    /// # Errors
    /// More than the bound of a lane is waiting already: the peer does not read.
    pub fn push_urgent(&mut self, item: T, bytes: usize) -> Result<(), NoRoom<T>> {
        if self.urgent_bytes >= self.bound {
            return Err(NoRoom(item));
        }
        self.urgent_bytes += bytes;
        self.urgent.push_back((item, bytes));
        Ok(())
    }

    /// Adds an item of a flow. True if its lane has just become full: the source is to be held until [`Lanes::pop`] names the flow. What it
    /// still sends until it holds is taken.
    pub fn push(&mut self, key: K, item: T, bytes: usize) -> bool {
        let bound = self.bound;
        let new = || Lane { items: VecDeque::new(), bytes: 0, full: false };
        let lane = self.lanes.entry(key).or_insert_with(new);
        if lane.items.is_empty() {
            self.turns.push_back(key);
        }
        lane.bytes += bytes;
        lane.items.push_back((item, bytes));
        let became_full = lane.bytes > bound && !lane.full;
        lane.full |= became_full;
        became_full
    }

    /// Takes the next item; and the flow whose lane was full and has room again, if that is so now.
    pub fn pop(&mut self) -> Option<(T, Option<K>)> {
        if let Some((item, bytes)) = self.urgent.pop_front() {
            self.urgent_bytes -= bytes;
            return Some((item, None));
        }
        let key = self.turns.front().copied()?;
        let lane = self.lanes.get_mut(&key)?;
        let (item, bytes) = lane.items.pop_front()?;
        lane.bytes -= bytes;
        let room = lane.full && lane.bytes <= self.bound / 2;
        lane.full &= !room;
        if lane.items.is_empty() {
            // Comes back at the end of the row with its next item.
            self.lanes.remove(&key);
            self.turns.pop_front();
            self.turn = self.quantum;
        } else if bytes >= self.turn {
            self.turns.rotate_left(1);
            self.turn = self.quantum;
        } else {
            self.turn -= bytes;
        }
        Some((item, room.then_some(key)))
    }

    /// The flows whose lanes are full: when the connection ends, their sources are to be let go.
    pub fn full(&self) -> impl Iterator<Item = K> + '_ {
        self.lanes.iter().filter(|(_, lane)| lane.full).map(|(key, _)| *key)
    }

    /// Takes all items of a flow that is over.
    pub fn drop_lane(&mut self, key: K) -> impl Iterator<Item = T> {
        if self.turns.front() == Some(&key) {
            self.turn = self.quantum;
        }
        self.turns.retain(|turn| *turn != key);
        self.lanes.remove(&key).into_iter().flat_map(|lane| lane.items).map(|(item, _)| item)
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.urgent.is_empty() && self.turns.is_empty()
    }

    /// How many bytes wait, urgent ones included.
    pub fn bytes(&self) -> usize {
        self.lanes.values().fold(self.urgent_bytes, |sum, lane| sum + lane.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 4975 §7.1.1: a short message does not wait for a long one, whose bytes keep their order.
    #[test]
    fn lanes_take_turns_by_bytes() {
        let mut lanes = Lanes::new(100, 1_000);
        for piece in 0..5 {
            assert!(!lanes.push('a', ('a', piece), 60));
        }
        assert_eq!(lanes.pop(), Some((('a', 0), None)));
        assert!(!lanes.push('b', ('b', 0), 10));
        assert!(!lanes.push('b', ('b', 1), 10));
        assert!(lanes.push_urgent(('!', 0), 1).is_ok());
        let order: Vec<_> = std::iter::from_fn(|| lanes.pop()).map(|(item, _)| item).collect();
        assert_eq!(order, [('!', 0), ('a', 1), ('b', 0), ('b', 1), ('a', 2), ('a', 3), ('a', 4)]);
        assert!(lanes.is_empty() && lanes.bytes() == 0);
    }

    #[test]
    fn a_full_lane_holds_its_own_source_only() {
        let mut lanes = Lanes::new(10, 100);
        assert!(!lanes.push(1, "half", 60));
        assert!(lanes.push(1, "full", 60), "hold");
        assert!(!lanes.push(1, "on its way", 60), "told once");
        assert!(!lanes.push(2, "other", 100));
        assert_eq!(lanes.full().collect::<Vec<_>>(), [1]);
        assert_eq!(lanes.pop(), Some(("half", None)));
        assert_eq!(lanes.pop(), Some(("other", None)));
        assert_eq!(lanes.pop(), Some(("full", None)));
        assert_eq!(lanes.pop(), Some(("on its way", Some(1))), "go on");
        assert_eq!(lanes.pop(), None);
        assert!(lanes.push(3, "large", 500));
        assert_eq!(lanes.drop_lane(3).collect::<Vec<_>>(), ["large"]);
        assert_eq!((lanes.full().count(), lanes.pop()), (0, None));
        assert!(lanes.push_urgent("u", 100).is_ok());
        assert_eq!(lanes.push_urgent("v", 1), Err(NoRoom("v")));
    }
}
