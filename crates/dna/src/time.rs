//! Points in time, given by whoever asks: this crate has no clock.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls_pki_types::UnixTime;

/// A point in time: whole seconds since 1970-01-01T00:00:00Z, never before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(u64);

impl Time {
    /// Later than everything else: what does not expire by itself.
    pub const NEVER: Self = Self(u64::MAX);

    /// So many seconds after 1970-01-01T00:00:00Z.
    #[must_use]
    pub const fn from_secs(secs: u64) -> Self {
        Self(secs)
    }

    /// Seconds since 1970-01-01T00:00:00Z.
    #[must_use]
    pub const fn as_secs(self) -> u64 {
        self.0
    }

    /// This much later; what would be past the end of time is [`Time::NEVER`]. Parts of a second are dropped.
    #[must_use]
    pub const fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(duration.as_secs()))
    }

    /// How long it takes from `now` until this; zero when it has passed.
    #[must_use]
    pub const fn since(self, now: Self) -> Duration {
        Duration::from_secs(self.0.saturating_sub(now.0))
    }

    pub(crate) const fn unix(self) -> UnixTime {
        UnixTime::since_unix_epoch(Duration::from_secs(self.0))
    }
}

impl From<UnixTime> for Time {
    fn from(time: UnixTime) -> Self {
        Self(time.as_secs())
    }
}

impl From<SystemTime> for Time {
    fn from(time: SystemTime) -> Self {
        Self(time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()))
    }
}

/// RFC 3339 in UTC; `never` for [`Time::NEVER`].
impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::NEVER {
            return f.write_str("never");
        }
        let (days, rest) = (self.0 / 86_400, self.0 % 86_400);
        // Days since 0000-03-01, so that a leap day is the last of its year.
        let days = u128::from(days) + 719_468;
        let (era, day) = (days / 146_097, days % 146_097);
        let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
        let day = day - (365 * year + year / 4 - year / 100);
        let month = (5 * day + 2) / 153;
        let day = day - (153 * month + 2) / 5 + 1;
        let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
        let year = year + era * 400 + next;
        write!(f, "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", rest / 3600, rest / 60 % 60, rest % 60)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_shown_as_rfc_3339() {
        for (secs, shown) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (951_868_799, "2000-02-29T23:59:59Z"),
            (951_868_800, "2000-03-01T00:00:00Z"),
            (1_795_337_069, "2026-11-22T08:44:29Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
            (253_402_300_799, "9999-12-31T23:59:59Z"),
            (u64::MAX, "never"),
        ] {
            assert_eq!(Time::from_secs(secs).to_string(), shown);
        }
        assert!(!Time::from_secs(u64::MAX - 1).to_string().is_empty());
    }

    #[test]
    fn arithmetic_stays_within_time() {
        assert_eq!(Time::from_secs(5).after(Duration::from_secs(7)).as_secs(), 12);
        assert_eq!(Time::from_secs(5).after(Duration::MAX), Time::NEVER);
        assert_eq!(Time::from_secs(5).since(Time::from_secs(9)), Duration::ZERO);
        assert_eq!(Time::from(UNIX_EPOCH - Duration::from_secs(1)), Time::from_secs(0));
    }
}
