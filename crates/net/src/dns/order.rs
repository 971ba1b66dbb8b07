//! The order in which SRV records are tried (RFC 2782).

use nuncio_sansio::Entropy;

/// Puts things with a priority and a weight in the order of RFC 2782: by rising priority; among equals by lot, each with a chance in
/// proportion to its weight, and those without weight with a very small one.
///
/// `of` gives priority and weight.
pub fn in_order<T>(mut all: Vec<T>, of: impl Fn(&T) -> (u16, u16), entropy: &dyn Entropy) -> Vec<T> {
    // Those of weight 0 come first in each draw, so that only a draw of exactly 0 hits one.
    all.sort_by_key(&of);
    let mut ordered = Vec::with_capacity(all.len());
    while let Some(first) = all.first() {
        let priority = of(first).0;
        let equals = all.iter().take_while(|one| of(one).0 == priority);
        let sum: u64 = equals.map(|one| u64::from(of(one).1)).sum();
        let drawn = up_to(sum, entropy);
        let mut running = 0;
        let at = all.iter().position(|one| {
            running += u64::from(of(one).1);
            running >= drawn
        });
        ordered.push(all.remove(at.unwrap_or(0)));
    }
    ordered
}

/// A number from zero to `most`, both included.
fn up_to(most: u64, entropy: &dyn Entropy) -> u64 {
    let mut raw = [0; 8];
    entropy.fill(&mut raw);
    // The high half of a product spreads evenly; sums of weights are so small that the bias is below one in 2^40.
    let product = (u128::from(u64::from_be_bytes(raw)) * (u128::from(most) + 1)) >> 64;
    u64::try_from(product).unwrap_or(most)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::Mutex;

    use super::*;
    use crate::OsEntropy;

    /// Gives the numbers of a list, one for each draw: 0 for the lowest outcome, `u64::MAX` for the highest.
    struct Script(Mutex<Vec<u64>>);

    impl Entropy for Script {
        fn fill(&self, out: &mut [u8]) {
            out.copy_from_slice(&self.0.lock().unwrap().remove(0).to_be_bytes());
        }
    }

    fn drawn(records: &[(u16, u16)], draws: Vec<u64>) -> Vec<(u16, u16)> {
        let script = Script(Mutex::new(draws));
        let ordered = in_order(records.to_vec(), |one| *one, &script);
        assert!(script.0.lock().unwrap().is_empty(), "one draw for each record");
        ordered
    }

    /// RFC 2782: lower priorities first, whatever the weights and the lot.
    #[test]
    fn priorities_come_first() {
        let records = [(20, 100), (10, 0), (30, 7), (10, 5)];
        assert_eq!(drawn(&records, vec![0; 4]), [(10, 0), (10, 5), (20, 100), (30, 7)]);
        assert_eq!(drawn(&records, vec![u64::MAX; 4]), [(10, 5), (10, 0), (20, 100), (30, 7)]);
        assert!(drawn(&[], vec![]).is_empty());
    }

    /// RFC 2782: the first whose running sum of weights is not below the number drawn.
    #[test]
    fn a_draw_finds_its_record() {
        let records = [(0, 1), (0, 3), (0, 0)];
        // Out of 0..=4: 0 is the one without weight, 1 the first, 2 to 4 the second.
        for (fifth, first) in [(0, (0, 0)), (1, (0, 1)), (2, (0, 3)), (3, (0, 3)), (4, (0, 3))] {
            let middle = u64::MAX / 10 * (2 * fifth + 1);
            assert_eq!(drawn(&records, vec![middle, 0, 0])[0], first, "{fifth}");
        }
    }

    /// RFC 2782: the share of being first goes with the weight.
    #[test]
    fn weights_are_shares() {
        let mut first: HashMap<u16, u32> = HashMap::new();
        for _ in 0..4000 {
            let ordered = in_order(vec![(1, 10), (1, 30), (1, 60)], |one| *one, &OsEntropy);
            *first.entry(ordered[0].1).or_default() += 1;
        }
        // Seven standard deviations, so that chance alone never fails this.
        for (weight, low, high) in [(10, 267, 533), (30, 997, 1403), (60, 2183, 2617)] {
            assert!((low..=high).contains(&first[&weight]), "{weight}: {first:?}");
        }
    }
}
