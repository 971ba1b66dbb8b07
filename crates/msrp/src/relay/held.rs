//! Flows whose receivers are slow, and for how long a connection that others share waits for them (S1-L12).
//!
//! A shared connection that is held is held for everybody: what others have sent stands in its socket, behind what the slow receiver has yet
//! to take. MSRP lets nobody say to a previous hop which of its messages to leave out, and what cannot be said can only be waited for, kept, or given
//! up. Kept is a lane of it, and no more. So the time for which the connection is held is rationed:
//!
//! - A receiver that takes nothing for the whole patience is gone: what goes to it is given up.
//! - Where several sessions speak, waiting is lent. A moment, a quarter of the patience, costs nothing, each time: so long a lane takes to get half empty
//!   at a receiver that is slow and takes what it gets, and a file of any length passes. What goes beyond the moment is owed, by the connection and not by
//!   a flow, or many flows would hold it in turns; a sixth of all time is forgiven. Who holds it when more than the patience would be owed is
//!   given up.
//!
//! So nobody waits longer than the patience at once, and in the long run no longer than the moment and a fifth of it.

use std::collections::BTreeMap;
use std::time::Duration;

use nuncio_sansio::Time;

use super::api::Flow;

/// The part of the patience that costs nothing.
const MOMENT: u32 = 4;
/// The part of all time that is forgiven.
const FORGIVEN: u32 = 6;
/// Several sessions speak, if another than the last one has spoken since.
const LATELY: Duration = Duration::from_secs(60);

/// The flows from one connection that are held.
#[derive(Debug)]
pub(super) struct Held {
    patience: Duration,
    /// Since when each is.
    flows: BTreeMap<Flow, Time>,
    /// Since when at least one is.
    began: Time,
    /// What is owed, and when that was so.
    owed: (Duration, Time),
    /// The session that has spoken last.
    last: Option<u64>,
    /// When a session has spoken that was not the last to speak before.
    several: Option<Time>,
}

impl Held {
    pub(super) const fn new(patience: Duration, now: Time) -> Self {
        let owed = (Duration::ZERO, now);
        Self { patience, flows: BTreeMap::new(), began: now, owed, last: None, several: None }
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.flows.is_empty()
    }

    /// A request of this session has come.
    pub(super) fn spoke(&mut self, now: Time, session: u64) {
        if self.last.replace(session).is_some_and(|last| last != session) {
            self.several = Some(now);
        }
    }

    /// A flow is held.
    pub(super) fn hold(&mut self, now: Time, flow: Flow) {
        if self.flows.is_empty() {
            self.began = now;
            self.owed = (self.owed_at(now), now);
        }
        self.flows.entry(flow).or_insert(now);
    }

    /// A flow is held no more.
    pub(super) fn release(&mut self, now: Time, flow: Flow) {
        if self.flows.remove(&flow).is_some() && self.flows.is_empty() {
            let beyond = now.since(self.began).saturating_sub(self.patience / MOMENT);
            self.owed = ((self.owed_at(now) + beyond).min(self.patience), now);
        }
    }

    fn owed_at(&self, now: Time) -> Duration {
        let (owed, counted) = self.owed;
        owed.saturating_sub(now.since(counted) / FORGIVEN)
    }

    /// When what goes to the slowest is to be given up.
    pub(super) fn until(&self) -> Option<Time> {
        let since = *self.flows.values().min()?;
        let several = self.several.is_some_and(|at| at + LATELY > self.began);
        let lent = self.patience / MOMENT + self.patience.saturating_sub(self.owed.0);
        Some(since + if several { lent.min(self.patience) } else { self.patience })
    }

    /// Takes what is to be given up.
    pub(super) fn over(&mut self, now: Time) -> Vec<Flow> {
        if self.until().is_none_or(|until| until > now) {
            return Vec::new();
        }
        // Who was held only just now is not the one that is waited for.
        let moment = self.patience / MOMENT;
        let over: Vec<_> =
            self.flows.iter().filter(|(_, since)| **since + moment <= now).map(|(flow, _)| *flow).collect();
        for flow in &over {
            self.release(now, *flow);
        }
        over
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relay::LinkId;

    const fn flow(session: u64) -> Flow {
        Flow { source: LinkId(1), session, to: None }
    }

    fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// A receiver that takes half a lane, with another session that speaks beside it, each time after so long: how often it does until it is given up, and
    /// for how long the connection was held.
    fn holds(several: bool, for_each: Duration, every: Duration, times: usize) -> (usize, Duration) {
        let mut held = Held::new(Duration::from_secs(10), Time::ZERO);
        let (mut now, mut all) = (Time::ZERO, Duration::ZERO);
        for count in 0..times {
            held.spoke(now, 1);
            held.spoke(now, if several { 2 } else { 1 });
            held.hold(now, flow(1));
            let until = held.until().expect("it is held");
            if until < now + for_each {
                assert_eq!((held.over(until), held.is_empty()), (vec![flow(1)], true));
                return (count, all + until.since(now));
            }
            (now, all) = (now + for_each, all + for_each);
            held.release(now, flow(1));
            assert!(held.over(now).is_empty());
            now = now + every.saturating_sub(for_each);
        }
        (times, all)
    }

    /// S1-L12: slow is not gone. What takes half a lane in each moment passes, whatever its length; so does who is gone for nine seconds once a minute.
    #[test]
    fn an_honest_receiver_goes_on() {
        // 64 MiB to one with 26 KB/s, by half lanes of 64 KiB.
        assert_eq!(holds(true, millis(2_500), millis(2_501), 1_024).0, 1_024);
        assert_eq!(holds(true, millis(9_000), millis(60_000), 1_000).0, 1_000);
        // Where nobody else speaks nobody is slowed.
        assert_eq!(holds(false, millis(9_900), millis(9_901), 1_000).0, 1_000);
    }

    /// S1-L12: who lets the connection go only just before it would be given up holds it up for others a few times and no more.
    #[test]
    fn a_receiver_that_stalls_again_and_again_is_given_up() {
        let (times, all) = holds(true, millis(9_900), millis(9_901), 1_000);
        assert_eq!(times, 1);
        assert!(all < Duration::from_secs(20), "{all:?}");
        let (times, all) = holds(true, millis(5_000), millis(5_001), 1_000);
        assert!(times < 10 && all < Duration::from_secs(45), "{times} {all:?}");
        // In the long run nobody waits longer than the moment and a fifth of it, at once.
        assert_eq!(holds(true, millis(3_000), millis(3_001), 1_000).0, 1_000);
        assert!(holds(true, millis(3_200), millis(3_201), 1_000).0 < 500);
    }

    /// Many that stall in turns are one to those who wait: what one has used up the others do not have.
    #[test]
    fn what_is_owed_is_owed_by_all() {
        let mut held = Held::new(Duration::from_secs(10), Time::ZERO);
        let mut now = Time::ZERO;
        for session in 1..100 {
            held.spoke(now, session);
            held.hold(now, flow(session));
            let until = held.until().expect("it is held").min(now + millis(9_900));
            now = until;
            if !held.over(now).is_empty() {
                assert!((2..4).contains(&session), "{session}");
                return;
            }
            held.release(now, flow(session));
        }
        unreachable!("all stalled for ten seconds each");
    }
}
