//! Counts of durations, exact to one part in 128, in constant memory.

use std::time::Duration;

use crate::report::Latency;

/// Steps per power of two.
const STEPS: u64 = 128;
const STEP_BITS: u32 = STEPS.trailing_zeros();
/// Durations of up to 2^40 ns, 18 minutes; longer ones count as that.
const HIGHEST_BIT: u32 = 40;
const SLOTS: usize = ((HIGHEST_BIT - STEP_BITS + 1) as usize) << STEP_BITS;

/// Counted durations.
#[derive(Clone)]
pub(crate) struct Histogram {
    slots: Vec<u64>,
    count: u64,
    longest: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { slots: vec![0; SLOTS], count: 0, longest: 0 }
    }
}

/// Below `STEPS` one slot a nanosecond; above, `STEPS` slots for every power of two.
fn slot(ns: u64) -> usize {
    let ns = ns.min((1 << HIGHEST_BIT) - 1);
    let shift = (64 - ns.leading_zeros()).saturating_sub(STEP_BITS + 1);
    ((u64::from(shift) << STEP_BITS) + (ns >> shift)) as usize
}

/// The highest duration of a slot.
fn highest(slot: usize) -> u64 {
    let slot = slot as u64;
    let shift = (slot >> STEP_BITS).saturating_sub(1);
    let within = slot - (shift << STEP_BITS);
    ((within + 1) << shift) - 1
}

impl Histogram {
    /// Counts one duration.
    pub(crate) fn record(&mut self, duration: Duration) {
        let ns = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        if let Some(count) = self.slots.get_mut(slot(ns)) {
            *count += 1;
        }
        self.count += 1;
        self.longest = self.longest.max(ns);
    }

    /// Adds what another one counted.
    pub(crate) fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.slots.iter_mut().zip(&other.slots) {
            *mine += theirs;
        }
        self.count += other.count;
        self.longest = self.longest.max(other.longest);
    }

    /// The duration in nanoseconds that this share of all does not exceed.
    fn quantile(&self, share: f64) -> u64 {
        let rank = (share * self.count as f64).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (at, count) in self.slots.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return highest(at).min(self.longest);
            }
        }
        self.longest
    }

    /// The percentiles; none if nothing was counted.
    pub(crate) fn latency(&self) -> Option<Latency> {
        let us = |ns: u64| ns as f64 / 1000.0;
        (self.count > 0).then(|| Latency {
            p50: us(self.quantile(0.5)),
            p90: us(self.quantile(0.9)),
            p99: us(self.quantile(0.99)),
            p999: us(self.quantile(0.999)),
            max: us(self.longest),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_dense_and_exact_to_one_part_in_128() {
        let mut last = 0;
        for ns in (0..100_000).chain((17..40).flat_map(|bit| [(1_u64 << bit) - 1, 1 << bit, (1 << bit) + 1]))
        {
            let at = slot(ns);
            assert!(at < SLOTS);
            assert!(at >= last, "{ns}");
            last = at;
            assert!(highest(at) >= ns, "{ns}");
            assert!(highest(at) - ns <= ns / STEPS, "{ns}: {}", highest(at));
        }
        assert_eq!(slot(u64::MAX), SLOTS - 1);
    }

    #[test]
    fn percentiles_of_a_known_set() {
        let mut histogram = Histogram::default();
        for us in 1..=1000 {
            histogram.record(Duration::from_micros(us));
        }
        let mut twice = Histogram::default();
        twice.add(&histogram);
        twice.add(&histogram);
        for latency in [histogram.latency(), twice.latency()].into_iter().flatten() {
            for (got, wanted) in
                [(latency.p50, 500.0), (latency.p90, 900.0), (latency.p99, 990.0), (latency.p999, 999.0)]
            {
                assert!(got >= wanted && got <= wanted * 1.01, "{got} for {wanted}");
            }
            assert!((latency.max - 1000.0).abs() < f64::EPSILON);
        }
        assert!(Histogram::default().latency().is_none());
        assert!(twice.latency().is_some());
    }
}
