//! When to connect again (RFC 6120 §3.3): first a random time within a minute, then longer and longer ones.

use std::time::Duration;

use nuncio_sansio::Entropy;

/// The span of the first wait (RFC 6120 §3.3: anywhere between 0 and 60 seconds).
pub const FIRST: Duration = Duration::from_secs(60);

/// No wait is longer than this.
pub const LONGEST: Duration = Duration::from_secs(15 * 60);

/// How long to wait before connection attempt number `attempt` after a loss, counted from 0 (S0-03).
///
/// The first wait is uniform over [`FIRST`], so that the clients of a restarted server do not return together. Each later
/// one is uniform over the upper half of a span that doubles, up to [`LONGEST`]: they grow, and stay spread.
pub fn delay(attempt: u32, entropy: &dyn Entropy) -> Duration {
    if attempt == 0 {
        return uniform(FIRST, entropy);
    }
    let span = FIRST.saturating_mul(1_u32.checked_shl(attempt).unwrap_or(u32::MAX)).min(LONGEST);
    let half = span / 2;
    half + uniform(half, entropy)
}

/// A time from zero to `span`, both included, in steps of a millisecond.
fn uniform(span: Duration, entropy: &dyn Entropy) -> Duration {
    let mut raw = [0; 8];
    entropy.fill(&mut raw);
    let steps = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    // The high half of a product spreads evenly; the bias is below one step in 2^44.
    let step = (u128::from(u64::from_be_bytes(raw)) * (u128::from(steps) + 1)) >> 64;
    Duration::from_millis(u64::try_from(step).unwrap_or(steps))
}

#[cfg(test)]
mod tests {
    use nuncio_sansio::pair::Counter;

    use super::*;

    /// S0-03: 200 clients; the first wait is spread over the minute, later ones grow, none exceeds the cap.
    #[test]
    fn first_uniform_then_growing_then_capped() {
        let entropy = Counter::default();
        let clients = 200;
        let mean = |attempt| {
            let all: Vec<_> = (0..clients).map(|_| delay(attempt, &entropy)).collect();
            assert!(all.iter().all(|wait| *wait <= LONGEST));
            (all.iter().sum::<Duration>() / clients, all)
        };
        let (first, all) = mean(0);
        assert!(all.iter().all(|wait| *wait <= FIRST));
        assert!(first > FIRST * 2 / 5 && first < FIRST * 3 / 5, "{first:?}");
        for tenth in 0..10 {
            let low = FIRST / 10 * tenth;
            let inside = all.iter().filter(|wait| **wait >= low && **wait < low + FIRST / 10).count();
            assert!((5..=45).contains(&inside), "{inside} of {clients} in tenth {tenth}");
        }
        let mut last = first;
        for attempt in 1..4 {
            let (next, _) = mean(attempt);
            assert!(next > last, "{attempt}: {next:?} after {last:?}");
            last = next;
        }
        assert!(mean(5).0 > LONGEST / 2 && mean(u32::MAX).0 <= LONGEST);
    }
}
