//! The pairs that a stream carries, and those that are under way.

use std::sync::Arc;

use nuncio_sansio::Time;

use super::api::Pair;

/// What is known of one pair.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) pair: Pair,
    /// They may send.
    pub(super) receives: bool,
    /// We may send.
    pub(super) sends: bool,
    /// They have asserted it, and the host decides until then.
    pub(super) theirs: Option<Time>,
    /// We have asserted it, and wait until then.
    pub(super) ours: Option<Time>,
    /// Its proof has lapsed: the peer knows nothing of that, so its stanzas are no attack.
    pub(super) revoked: bool,
}

impl Entry {
    const fn is_authorised(&self) -> bool {
        self.receives || self.sends
    }

    const fn is_idle(&self) -> bool {
        !self.receives && !self.sends && !self.revoked && self.theirs.is_none() && self.ours.is_none()
    }
}

/// There is no room for another pair.
#[derive(Debug)]
pub(super) struct Full;

/// All pairs, sorted by their domain, then ours.
#[derive(Debug)]
pub(super) struct Table {
    entries: Vec<Entry>,
    most: usize,
    authorised: usize,
}

impl Table {
    pub(super) fn new(most: usize) -> Self {
        Self { entries: Vec::new(), most: most.max(1), authorised: 0 }
    }

    fn position(&self, local: &str, remote: &str) -> Result<usize, usize> {
        self.entries.binary_search_by(|entry| (&*entry.pair.remote, &*entry.pair.local).cmp(&(remote, local)))
    }

    pub(super) fn get(&self, local: &str, remote: &str) -> Option<&Entry> {
        self.position(local, remote).ok().and_then(|index| self.entries.get(index))
    }

    /// Those of one remote domain.
    pub(super) fn of(&self, remote: &str) -> impl Iterator<Item = &Entry> {
        let start = self.entries.partition_point(|entry| *entry.pair.remote < *remote);
        self.entries.iter().skip(start).take_while(move |entry| *entry.pair.remote == *remote)
    }

    /// Changes the entry of a pair, making one if there is room. An entry of which nothing is left is dropped.
    pub(super) fn change<T>(&mut self, pair: &Pair, change: impl FnOnce(&mut Entry) -> T) -> Result<T, Full> {
        let index = match self.position(&pair.local, &pair.remote) {
            Ok(index) => index,
            Err(_) if self.entries.len() >= self.most => return Err(Full),
            Err(index) => {
                if self.entries.capacity() == 0 {
                    // Most streams carry one.
                    self.entries.reserve_exact(1);
                }
                let mut pair = pair.clone();
                if let Some(near) = self.entries.get(index.saturating_sub(1))
                    && near.pair.local == pair.local
                {
                    // A thousand pairs of few domains share the text of these.
                    pair.local = Arc::clone(&near.pair.local);
                }
                let (receives, sends, revoked) = (false, false, false);
                let entry = Entry { pair, receives, sends, theirs: None, ours: None, revoked };
                self.entries.insert(index, entry);
                index
            }
        };
        let Some(entry) = self.entries.get_mut(index) else { return Err(Full) };
        let before = entry.is_authorised();
        let result = change(entry);
        match (before, entry.is_authorised()) {
            (false, true) => self.authorised += 1,
            (true, false) => self.authorised -= 1,
            _ => {}
        }
        if entry.is_idle() {
            self.entries.remove(index);
        }
        Ok(result)
    }

    /// Whether any pair is carried.
    pub(super) const fn is_authorised(&self) -> bool {
        self.authorised > 0
    }

    /// Whether an assertion of theirs waits for the host, or one of ours for them.
    pub(super) fn is_pending(&self) -> bool {
        self.entries.iter().any(|entry| entry.theirs.is_some() || entry.ours.is_some())
    }

    /// The earliest time at which somebody has waited for long enough.
    pub(super) fn due(&self) -> Option<Time> {
        self.entries.iter().flat_map(|entry| [entry.theirs, entry.ours]).flatten().min()
    }

    /// Those that have waited for long enough at `now`: for the host, for them.
    pub(super) fn late(&self, now: Time) -> (Vec<Pair>, Vec<Pair>) {
        let late = |at: Option<Time>| at.is_some_and(|at| at <= now);
        let pairs = |which: &dyn Fn(&Entry) -> bool| {
            self.entries.iter().filter(|entry| which(entry)).map(|entry| entry.pair.clone()).collect()
        };
        (pairs(&|entry| late(entry.theirs)), pairs(&|entry| late(entry.ours)))
    }

    /// Our assertions that nobody will answer any more.
    pub(super) fn abandoned(&mut self) -> Vec<Pair> {
        let entries = std::mem::take(&mut self.entries);
        self.authorised = 0;
        entries.into_iter().filter(|entry| entry.ours.is_some()).map(|entry| entry.pair).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_of_a_pair() {
        let mut table = Table::new(2);
        let (a, b, c) = (Pair::new("us", "a"), Pair::new("us", "b"), Pair::new("us", "c"));
        table.change(&b, |entry| entry.sends = true).unwrap();
        table.change(&a, |entry| entry.theirs = Some(Time::ZERO)).unwrap();
        assert!(table.is_authorised() && table.is_pending());
        assert!(table.change(&c, |entry| entry.sends = true).is_err(), "full");
        assert!(table.get("us", "b").is_some_and(|entry| entry.sends));
        assert!(table.get("b", "us").is_none());
        table.change(&a, |entry| entry.theirs = None).unwrap();
        table.change(&c, |entry| entry.receives = true).unwrap();
        assert_eq!(table.of("b").count(), 1);
        assert_eq!(table.of("a").count(), 0);
        table.change(&b, |entry| entry.sends = false).unwrap();
        table.change(&c, |entry| (entry.receives, entry.revoked) = (false, true)).unwrap();
        assert!(!table.is_authorised());
        assert!(table.get("us", "c").is_some_and(|entry| entry.revoked), "remembered");
    }

    /// Issue 4: at most 2 KB for an idle pair. What this table takes of them is a tenth, names of 40 bytes included.
    #[test]
    fn a_pair_costs_little() {
        let mut table = Table::new(10_000);
        for number in 0..1_000 {
            let pair = Pair::new("us.example", format!("a-domain-with-a-longer-name-{number:04}.example"));
            table.change(&pair, |entry| entry.receives = true).unwrap();
        }
        let shared = table
            .entries
            .windows(2)
            .filter(|two| Arc::ptr_eq(&two[0].pair.local, &two[1].pair.local))
            .count();
        assert_eq!(shared, 999, "our own domain is kept once");
        let names: usize =
            table.entries.iter().map(|entry| entry.pair.remote.len() + 2 * size_of::<usize>()).sum();
        let bytes = table.entries.capacity() * size_of::<Entry>() + names;
        assert!(bytes / 1_000 <= 200, "{bytes} bytes for a thousand pairs");
    }

    #[test]
    fn those_of_one_domain() {
        let mut table = Table::new(100);
        for (local, remote) in [("x", "b"), ("y", "a"), ("x", "a"), ("z", "b"), ("x", "c"), ("z", "a")] {
            table.change(&Pair::new(local, remote), |entry| entry.sends = true).unwrap();
        }
        let locals = |remote| table.of(remote).map(|entry| &*entry.pair.local).collect::<Vec<_>>();
        assert_eq!(locals("a"), ["x", "y", "z"]);
        assert_eq!(locals("b"), ["x", "z"]);
        assert_eq!(locals("c"), ["x"]);
        assert!(locals("d").is_empty());
    }
}
