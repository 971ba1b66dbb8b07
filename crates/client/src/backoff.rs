//! When to connect again.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use nuncio_net::OsEntropy;
use nuncio_sansio::Entropy;
use nuncio_stream::backoff;

/// The waits between attempts to reconnect (RFC 6120 §3.3, S0-03): at random within a minute, then longer and longer. The
/// caller waits; this only counts.
#[derive(Clone)]
pub struct Backoff {
    attempt: u32,
    entropy: Arc<dyn Entropy>,
}

impl fmt::Debug for Backoff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Backoff").field("attempt", &self.attempt).finish_non_exhaustive()
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Self::new(Arc::new(OsEntropy))
    }
}

impl Backoff {
    /// With a source of randomness.
    #[must_use]
    pub fn new(entropy: Arc<dyn Entropy>) -> Self {
        Self { attempt: 0, entropy }
    }

    /// How long to wait before the next attempt.
    pub fn wait(&mut self) -> Duration {
        let wait = backoff::delay(self.attempt, &*self.entropy);
        self.attempt = self.attempt.saturating_add(1);
        wait
    }

    /// The session is online: the next loss begins anew.
    pub fn reset(&mut self) {
        self.attempt = 0;
    }
}

#[cfg(test)]
mod tests {
    use nuncio_sansio::pair::Counter;

    use super::*;

    /// S0-03: not constant, the first within a minute, later ones longer, and anew after success.
    #[test]
    fn waits_grow_and_begin_anew() {
        let mut backoff = Backoff::new(Arc::new(Counter::default()));
        let first = backoff.wait();
        assert!(first <= backoff::FIRST);
        let waits: Vec<_> = (0..8).map(|_| backoff.wait()).collect();
        assert!(waits.windows(2).any(|pair| pair[0] != pair[1]));
        assert!(waits[7] >= backoff::LONGEST / 2 && waits.iter().all(|wait| *wait <= backoff::LONGEST));
        backoff.reset();
        assert!(backoff.wait() <= backoff::FIRST);
    }
}
