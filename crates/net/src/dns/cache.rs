//! What is remembered, for as long as its TTL says.

use std::collections::{BTreeMap, HashMap};

use tokio::time::Instant;

use super::resolver::{Found, Key};

/// Answers by question, at most so many. When it is full, the answer that would expire first goes.
#[derive(Debug)]
pub(super) struct Cache {
    entries: HashMap<Key, (Found, Ticket)>,
    by_end: BTreeMap<Ticket, Key>,
    numbered: u64,
    most: usize,
}

/// When an entry expires, and a number that makes it unique.
type Ticket = (Instant, u64);

impl Cache {
    pub(super) fn new(most: usize) -> Self {
        Self { entries: HashMap::new(), by_end: BTreeMap::new(), numbered: 0, most }
    }

    pub(super) fn get(&mut self, key: &Key, now: Instant) -> Option<Found> {
        let (found, (end, _)) = self.entries.get(key)?;
        if *end > now {
            return Some(found.clone());
        }
        self.remove(key);
        None
    }

    pub(super) fn put(&mut self, key: Key, found: Found, end: Instant) {
        self.remove(&key);
        if self.most == 0 {
            return;
        }
        if self.entries.len() >= self.most
            && let Some((_, soonest)) = self.by_end.pop_first()
        {
            self.entries.remove(&soonest);
        }
        self.numbered += 1;
        let ticket = (end, self.numbered);
        self.by_end.insert(ticket, key.clone());
        self.entries.insert(key, (found, ticket));
    }

    fn remove(&mut self, key: &Key) {
        if let Some((_, ticket)) = self.entries.remove(key) {
            self.by_end.remove(&ticket);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::{DnsError, Kind, Name};
    use super::*;

    #[test]
    fn bounded_and_as_old_as_allowed() {
        let now = Instant::now();
        let key = |name: &str| (Name::vec_from_str(name).unwrap(), Kind::A);
        let after = |seconds| now + Duration::from_secs(seconds);
        let mut cache = Cache::new(2);
        cache.put(key("a.example"), Err(DnsError::Timeout), after(10));
        cache.put(key("b.example"), Err(DnsError::Broken), after(5));
        assert_eq!(cache.get(&key("A.EXAMPLE"), now), Some(Err(DnsError::Timeout)), "names have no case");
        assert_eq!(cache.get(&key("a.example"), after(10)), None, "over at its end");
        cache.put(key("a.example"), Err(DnsError::Timeout), after(10));
        cache.put(key("b.example"), Err(DnsError::Aliases), after(5));
        cache.put(key("c.example"), Err(DnsError::Timeout), after(7));
        assert_eq!(cache.get(&key("b.example"), now), None, "the one that would expire first went");
        assert!(cache.get(&key("a.example"), now).is_some() && cache.get(&key("c.example"), now).is_some());
        assert_eq!((cache.entries.len(), cache.by_end.len()), (2, 2));
        let mut none = Cache::new(0);
        none.put(key("a.example"), Err(DnsError::Timeout), after(10));
        assert_eq!(none.get(&key("a.example"), now), None);
    }
}
