//! What waits to be written on a connection, and whose turn it is (RFC 4975 §7.1.1: each concurrent request gets a fair portion).
//!
//! What waits stands in lanes, one for each flow, that take turns by bytes, so that a short message of another flow passes a long one after
//! at most one turn. A lane has a bound: beyond it its source is to be held until the lane is half empty again, so what flows fast into a
//! slow connection is slowed where it comes from. Whoever pushes never waits: two sources that waited for each other's lanes would wait for
//! ever. All lanes together have a bound as well, and whoever keeps the lanes may have one over all connections: beyond these each source is
//! held at once, until its lane is empty.

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
    lanes: BTreeMap<K, Lane<T>>,
    /// Lanes with items, the one whose turn it is first.
    turns: VecDeque<K>,
    /// What is left of the present turn, in bytes.
    turn: usize,
    bytes: usize,
    bounds: Bounds,
}

/// How many bytes.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// That a lane may send in its turn.
    pub quantum: usize,
    /// That may wait in a lane.
    pub lane: usize,
    /// That may wait in all lanes.
    pub total: usize,
}

impl<K: Ord + Copy, T> Lanes<K, T> {
    /// Empty lanes.
    pub const fn new(bounds: Bounds) -> Self {
        Self { lanes: BTreeMap::new(), turns: VecDeque::new(), turn: bounds.quantum, bytes: 0, bounds }
    }

    /// How much may wait in a lane now.
    const fn bound(&self, pressed: bool) -> usize {
        if pressed || self.bytes > self.bounds.total { 0 } else { self.bounds.lane }
    }

    /// Adds an item of a flow. True if its lane has just become full: the source is to be held until [`Lanes::pop`] names the flow. What it
    /// still sends until it holds is taken. `pressed`: there is no room anywhere, and any lane is full that is not empty.
    pub fn push(&mut self, key: K, item: T, bytes: usize, pressed: bool) -> bool {
        self.bytes += bytes;
        let bound = self.bound(pressed);
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

    /// Takes the next item, and how many bytes it was said to have; and the flow whose lane was full and has room again, if that is so now.
    pub fn pop(&mut self, pressed: bool) -> Option<(T, usize, Option<K>)> {
        let key = self.turns.front().copied()?;
        let lane = self.lanes.get_mut(&key)?;
        let (item, bytes) = lane.items.pop_front()?;
        lane.bytes -= bytes;
        let (left, was_full, empty) = (lane.bytes, lane.full, lane.items.is_empty());
        self.bytes -= bytes;
        let room = was_full && (empty || left <= self.bound(pressed) / 2);
        if empty {
            // Comes back at the end of the row with its next item.
            self.lanes.remove(&key);
            self.turns.pop_front();
            self.turn = self.bounds.quantum;
        } else {
            if let Some(lane) = self.lanes.get_mut(&key).filter(|_| room) {
                lane.full = false;
            }
            if bytes >= self.turn {
                self.turns.rotate_left(1);
                self.turn = self.bounds.quantum;
            } else {
                self.turn -= bytes;
            }
        }
        Some((item, bytes, room.then_some(key)))
    }

    /// The flows whose lanes are full: when the connection ends, their sources are to be let go.
    pub fn full(&self) -> impl Iterator<Item = K> + '_ {
        self.lanes.iter().filter(|(_, lane)| lane.full).map(|(key, _)| *key)
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.turns.is_empty()
    }

    /// How many bytes wait.
    pub const fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lanes<K: Ord + Copy, T>(quantum: usize, lane: usize) -> Lanes<K, T> {
        Lanes::new(Bounds { quantum, lane, total: 10 * lane })
    }

    /// RFC 4975 §7.1.1: a short message does not wait for a long one, whose bytes keep their order.
    #[test]
    fn lanes_take_turns_by_bytes() {
        let mut lanes = lanes(100, 1_000);
        for piece in 0..5 {
            assert!(!lanes.push('a', ('a', piece), 60, false));
        }
        assert_eq!(lanes.pop(false), Some((('a', 0), 60, None)));
        assert!(!lanes.push('b', ('b', 0), 10, false));
        assert!(!lanes.push('b', ('b', 1), 10, false));
        let order: Vec<_> = std::iter::from_fn(|| lanes.pop(false)).map(|(item, ..)| item).collect();
        assert_eq!(order, [('a', 1), ('b', 0), ('b', 1), ('a', 2), ('a', 3), ('a', 4)]);
        assert!(lanes.is_empty() && lanes.bytes() == 0);
    }

    #[test]
    fn a_full_lane_holds_its_own_source_only() {
        let mut lanes = lanes(10, 100);
        assert!(!lanes.push(1, "half", 60, false));
        assert!(lanes.push(1, "full", 60, false), "hold");
        assert!(!lanes.push(1, "on its way", 60, false), "told once");
        assert!(!lanes.push(2, "other", 100, false));
        assert_eq!(lanes.full().collect::<Vec<_>>(), [1]);
        assert_eq!(lanes.pop(false), Some(("half", 60, None)));
        assert_eq!(lanes.pop(false), Some(("other", 100, None)));
        assert_eq!(lanes.pop(false), Some(("full", 60, None)));
        assert_eq!(lanes.pop(false), Some(("on its way", 60, Some(1))), "go on");
        assert_eq!(lanes.pop(false), None);
    }

    /// However many flows lead to whoever does not read, it costs a bound and one item each.
    #[test]
    fn beyond_the_bound_of_all_each_source_is_held_at_once() {
        let mut lanes = lanes(10, 100);
        let held = (0..100).filter(|flow| lanes.push(*flow, (), 60, false)).count();
        assert_eq!((held, lanes.bytes()), (84, 6_000), "16 have filled it");
        let mut freed = Vec::new();
        while let Some((.., room)) = lanes.pop(false) {
            freed.extend(room);
        }
        freed.sort_unstable();
        assert_eq!(freed, (16..100).collect::<Vec<_>>(), "whoever was held is let go");
        // Somebody else holds too much: here each is let go when nothing of it waits any more.
        assert!(lanes.push(1, (), 10, true) && !lanes.push(1, (), 10, true));
        assert_eq!(lanes.pop(true), Some(((), 10, None)));
        assert_eq!(lanes.pop(true), Some(((), 10, Some(1))));
        assert!(lanes.push(1, (), 10, true) && !lanes.push(1, (), 10, true));
        assert_eq!(lanes.pop(false), Some(((), 10, Some(1))), "the pressure is over");
    }
}
