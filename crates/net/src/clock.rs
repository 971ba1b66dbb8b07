//! The driver's clock: the only place where a machine's [`Time`] meets real time.

use nuncio_sansio::Time;
use tokio::time::Instant;

/// A clock that all connections of a process share, so that their [`Time`]s can be compared.
///
/// It follows tokio's clock, hence a test that pauses tokio's time pauses it too.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: Instant,
}

impl Clock {
    /// A clock whose origin is now.
    #[must_use]
    pub fn start() -> Self {
        Self { origin: Instant::now() }
    }

    /// What time it is.
    #[must_use]
    pub fn now(&self) -> Time {
        Time::from_origin(self.origin.elapsed())
    }

    /// What time it is at an instant; the origin before it.
    #[must_use]
    pub fn time(&self, at: Instant) -> Time {
        Time::from_origin(at.saturating_duration_since(self.origin))
    }

    /// The instant of a point in time; none if it lies beyond what the system can express.
    #[must_use]
    pub fn instant(&self, time: Time) -> Option<Instant> {
        self.origin.checked_add(time.since_origin())
    }
}
