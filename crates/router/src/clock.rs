//! The wall clock, so that tests can set it.

use jiff::Timestamp;

/// What time it is.
pub trait Clock: Send + Sync {
    /// Now, in UTC.
    fn now(&self) -> Timestamp;
}

/// The operating system's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

/// A point in time as XEP-0082 writes it: UTC with milliseconds.
pub fn stamp(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

#[cfg(test)]
mod tests {
    #[test]
    fn stamps_follow_xep_0082() {
        let time = "2026-11-22T05:04:03.0215Z".parse().unwrap();
        assert_eq!(super::stamp(time), "2026-11-22T05:04:03.021Z");
        let whole = "2026-11-22T05:04:03Z".parse().unwrap();
        assert_eq!(super::stamp(whole), "2026-11-22T05:04:03.000Z");
    }
}
