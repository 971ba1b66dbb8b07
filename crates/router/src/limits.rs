//! Rates of bound sessions and failed logins.

use std::net::IpAddr;
use std::time::Duration;

use hashbrown::HashMap;
use parking_lot::Mutex;
use tokio::time::Instant;

/// The window in which failed logins count.
const WINDOW: Duration = Duration::from_secs(300);

/// Keys that the throttle remembers; the stalest go first.
const REMEMBERED: usize = 100_000;

/// A leaking bucket: it fills with what is charged and leaks at a rate.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    level: f64,
    at: Instant,
}

impl Bucket {
    fn leak(&mut self, now: Instant, rate: f64) {
        let leaked = now.saturating_duration_since(self.at).as_secs_f64() * rate;
        self.level = (self.level - leaked).max(0.0);
        self.at = now;
    }
}

/// What one session may send.
#[derive(Debug)]
pub(crate) struct Meter {
    stanzas: (Bucket, f64),
    bytes: (Bucket, f64),
}

impl Meter {
    pub(crate) fn new(stanzas_per_second: u32, bytes_per_second: u32) -> Self {
        let full = Bucket { level: 0.0, at: Instant::now() };
        Self {
            stanzas: (full, f64::from(stanzas_per_second.max(1))),
            bytes: (full, f64::from(bytes_per_second.max(1))),
        }
    }

    /// Charges one stanza; returns how long its sender has to wait before the next. A second's worth goes without waiting.
    pub(crate) fn charge(&mut self, bytes: usize) -> Duration {
        let now = Instant::now();
        #[expect(clippy::cast_precision_loss, reason = "a stanza is far below 2^52 bytes")]
        let bytes = bytes as f64;
        let mut wait = 0.0_f64;
        for ((bucket, rate), amount) in [(&mut self.stanzas, 1.0), (&mut self.bytes, bytes)] {
            bucket.leak(now, *rate);
            bucket.level += amount;
            wait = wait.max((bucket.level - *rate) / *rate);
        }
        Duration::from_secs_f64(wait.max(0.0))
    }
}

/// What failed logins are counted by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Culprit {
    /// An account, whether it exists or not.
    Account(String),
    /// An address; of IPv6 the /64.
    Address(IpAddr),
}

impl Culprit {
    pub(crate) fn address(address: IpAddr) -> Self {
        Self::Address(match address.to_canonical() {
            IpAddr::V4(address) => IpAddr::V4(address),
            IpAddr::V6(address) => {
                let mut octets = address.octets();
                octets[8..].fill(0);
                IpAddr::from(octets)
            }
        })
    }
}

/// Counts failed logins and says when there were too many.
#[derive(Debug)]
pub(crate) struct Throttle {
    per_account: f64,
    per_address: f64,
    known: Mutex<HashMap<Culprit, Bucket>>,
}

impl Throttle {
    pub(crate) fn new(per_account: u32, per_address: u32) -> Self {
        Self {
            per_account: f64::from(per_account.max(1)),
            per_address: f64::from(per_address.max(1)),
            known: Mutex::new(HashMap::new()),
        }
    }

    const fn limit(&self, culprit: &Culprit) -> f64 {
        match culprit {
            Culprit::Account(_) => self.per_account,
            Culprit::Address(_) => self.per_address,
        }
    }

    /// Whether there were too many failures.
    pub(crate) fn is_over(&self, culprit: &Culprit) -> bool {
        let limit = self.limit(culprit);
        let mut known = self.known.lock();
        known.get_mut(culprit).is_some_and(|bucket| {
            bucket.leak(Instant::now(), limit / WINDOW.as_secs_f64());
            bucket.level > limit - 1.0
        })
    }

    /// One more failure.
    pub(crate) fn failed(&self, culprit: Culprit) {
        let limit = self.limit(&culprit);
        let now = Instant::now();
        let mut known = self.known.lock();
        if known.len() >= REMEMBERED && !known.contains_key(&culprit) {
            known.retain(|_, bucket| now.saturating_duration_since(bucket.at) < WINDOW);
            if known.len() >= REMEMBERED
                && let Some(stalest) =
                    known.iter().min_by_key(|(_, bucket)| bucket.at).map(|(stalest, _)| stalest.clone())
            {
                known.remove(&stalest);
            }
        }
        let bucket = known.entry(culprit).or_insert(Bucket { level: 0.0, at: now });
        bucket.leak(now, limit / WINDOW.as_secs_f64());
        bucket.level = (bucket.level + 1.0).min(limit);
    }
}

impl crate::router::Router {
    /// Whether there were too many failed logins from this address, here or at another service of the server that logs its accounts in.
    pub fn is_throttled(&self, peer: IpAddr) -> bool {
        self.throttle.is_over(&Culprit::address(peer))
    }

    /// One more failed login from this address at another service of the server.
    pub fn login_failed(&self, peer: IpAddr) {
        self.throttle.failed(Culprit::address(peer));
    }

    /// Charges an address that is not logged in for something costly, by the same budget as its failed logins; `units` is how many of those
    /// it is worth. False, and nothing is charged, if the budget is used up.
    pub fn charge(&self, peer: IpAddr, units: u32) -> bool {
        let culprit = Culprit::address(peer);
        if self.throttle.is_over(&culprit) {
            return false;
        }
        (0..units).for_each(|_| self.throttle.failed(culprit.clone()));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_meter_gives_a_second_then_slows_to_its_rate() {
        let mut meter = Meter::new(10, 1_000_000);
        for _ in 0..10 {
            assert_eq!(meter.charge(10), Duration::ZERO);
        }
        assert_eq!(meter.charge(10), Duration::from_millis(100));
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(meter.charge(10), Duration::ZERO);
        let mut meter = Meter::new(1_000, 1_000);
        assert_eq!(meter.charge(3_000), Duration::from_secs(2), "bytes count too");
    }

    #[tokio::test(start_paused = true)]
    async fn failures_are_forgotten_with_time() {
        let throttle = Throttle::new(3, 100);
        let juliet = Culprit::Account("juliet@capulet.example".to_owned());
        for _ in 0..3 {
            assert!(!throttle.is_over(&juliet));
            throttle.failed(juliet.clone());
        }
        assert!(throttle.is_over(&juliet));
        tokio::time::advance(WINDOW / 2).await;
        assert!(!throttle.is_over(&juliet));
    }

    #[test]
    fn ipv6_counts_by_64_bits_and_mapped_ipv4_as_ipv4() {
        let of = |address: &str| Culprit::address(address.parse().unwrap());
        assert_eq!(of("2001:db8:1:2::3"), of("2001:db8:1:2:ffff::4"));
        assert_ne!(of("2001:db8:1:2::3"), of("2001:db8:1:3::3"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
    }
}
