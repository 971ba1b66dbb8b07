//! Token buckets.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// How much may pass: so much a second, and so much at once after a pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Units (bytes, connections) a second. Zero means no limit.
    pub per_second: u64,
    /// The most that an idle bucket saves up, in units. At least one.
    pub burst: u64,
}

impl Rate {
    /// No limit.
    pub const UNLIMITED: Self = Self { per_second: 0, burst: 1 };
}

/// A [`Rate`] that can be changed while it is used, such as after a login.
#[derive(Debug)]
pub struct RateLimit {
    per_second: AtomicU64,
    burst: AtomicU64,
}

impl RateLimit {
    /// A limit that starts as `rate`.
    #[must_use]
    pub fn new(rate: Rate) -> Self {
        Self { per_second: AtomicU64::new(rate.per_second), burst: AtomicU64::new(rate.burst) }
    }

    /// Sets the rate from now on.
    pub fn set(&self, rate: Rate) {
        self.burst.store(rate.burst, Ordering::Relaxed);
        self.per_second.store(rate.per_second, Ordering::Relaxed);
    }

    /// The rate now.
    #[must_use]
    pub fn get(&self) -> Rate {
        Rate {
            per_second: self.per_second.load(Ordering::Relaxed),
            burst: self.burst.load(Ordering::Relaxed),
        }
    }
}

/// A token bucket. It may be overdrawn: what has already been read cannot be unread, so the debt delays what follows.
#[derive(Clone, Copy, Debug)]
pub struct Bucket {
    tokens: f64,
    filled: Instant,
}

impl Bucket {
    /// A full bucket.
    #[must_use]
    pub fn full(rate: Rate, now: Instant) -> Self {
        Self { tokens: rate.burst.max(1) as f64, filled: now }
    }

    /// Whether something may pass now. If not: when it may.
    ///
    /// # Errors
    /// The time to wait, never zero.
    pub fn ready(&mut self, rate: Rate, now: Instant) -> Result<(), Duration> {
        if rate.per_second == 0 {
            return Ok(());
        }
        self.fill(rate, now);
        if self.tokens >= 1.0 {
            return Ok(());
        }
        let wait = (1.0 - self.tokens) / rate.per_second as f64;
        // A timer counts milliseconds; waiting a little longer keeps it from firing early and finding nothing.
        Err(Duration::from_secs_f64(wait.min(3600.0)) + Duration::from_millis(1))
    }

    /// Takes `units` out, even more than there are.
    pub fn take(&mut self, rate: Rate, units: u64, now: Instant) {
        if rate.per_second != 0 {
            self.fill(rate, now);
            self.tokens -= units as f64;
        }
    }

    /// Whether the bucket has filled up again, hence carries no memory of its use.
    pub fn is_full(&mut self, rate: Rate, now: Instant) -> bool {
        self.fill(rate, now);
        rate.per_second == 0 || self.tokens >= rate.burst.max(1) as f64
    }

    fn fill(&mut self, rate: Rate, now: Instant) {
        let passed = now.saturating_duration_since(self.filled).as_secs_f64();
        self.filled = now;
        self.tokens = (self.tokens + passed * rate.per_second as f64).min(rate.burst.max(1) as f64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_debt_is_paid_off_at_the_rate() {
        let rate = Rate { per_second: 100, burst: 50 };
        let start = Instant::now();
        let mut bucket = Bucket::full(rate, start);
        assert!(bucket.ready(rate, start).is_ok());
        bucket.take(rate, 150, start);
        let wait = bucket.ready(rate, start).unwrap_err();
        assert!((Duration::from_millis(1010)..Duration::from_millis(1020)).contains(&wait), "{wait:?}");
        assert!(bucket.ready(rate, start + wait).is_ok());
        assert!(!bucket.is_full(rate, start + wait));
        assert!(bucket.is_full(rate, start + Duration::from_secs(3)));
    }

    #[test]
    fn zero_means_unlimited() {
        let start = Instant::now();
        let mut bucket = Bucket::full(Rate::UNLIMITED, start);
        bucket.take(Rate::UNLIMITED, u64::MAX, start);
        assert!(bucket.ready(Rate::UNLIMITED, start).is_ok());
    }
}
