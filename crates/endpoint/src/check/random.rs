//! How much of identifiers is random, as far as a few of them can tell (S1-01, S1-L5).

use std::collections::BTreeSet;

/// An upper bound of the random bits in each of these identifiers: positions that are alike in all of them count nothing, nor does what grows steadily like a
/// counter or a clock. It cannot tell good randomness from bad of the same size.
pub(super) fn bits(all: &[String]) -> f64 {
    let Some(first) = all.first() else { return 0.0 };
    if all.iter().any(|one| one.len() != first.len()) {
        // Not of one form: only their common part can be compared, from the end.
        let shortest = all.iter().map(String::len).min().unwrap_or_default();
        let cut = |one: &String| one.bytes().rev().take(shortest).collect::<Vec<_>>();
        return positions(&all.iter().map(cut).collect::<Vec<_>>());
    }
    positions(&all.iter().map(|one| one.bytes().collect()).collect::<Vec<_>>())
}

fn positions(all: &[Vec<u8>]) -> f64 {
    let length = all.first().map_or(0, Vec::len);
    let symbols: BTreeSet<u8> = all.iter().flatten().copied().collect();
    let alphabet = alphabet(&symbols);
    let mut bits = 0.0;
    for at in 0..length {
        let column: Vec<u8> = all.iter().filter_map(|one| one.get(at)).copied().collect();
        let distinct = column.iter().collect::<BTreeSet<_>>().len();
        let steady = column.is_sorted() || column.iter().rev().is_sorted();
        if distinct < 2 || (steady && distinct < column.len()) || counts(&column) {
            continue;
        }
        // With few samples a position shows few values: what is seen bounds what there is only when it is far below what chance gives.
        let expected = expected(alphabet, column.len());
        let share = distinct as f64 / expected;
        bits += if share > 0.6 { alphabet.log2() } else { (distinct as f64).log2() };
    }
    bits
}

/// Neighbours that differ by one: a counter.
fn counts(column: &[u8]) -> bool {
    let steps = column.windows(2).filter(|pair| matches!(pair, [a, b] if a.abs_diff(*b) == 1)).count();
    column.len() > 2 && steps + 2 >= column.len()
}

/// How many different ones of `of` symbols chance shows in `draws` draws.
fn expected(of: f64, draws: usize) -> f64 {
    of * (1.0 - (1.0 - 1.0 / of).powi(i32::try_from(draws).unwrap_or(i32::MAX)))
}

/// The size of the usual alphabet that these symbols are from.
fn alphabet(symbols: &BTreeSet<u8>) -> f64 {
    let upper = symbols.iter().any(u8::is_ascii_uppercase);
    let lower = symbols.iter().any(u8::is_ascii_lowercase);
    let within =
        |set: &dyn Fn(&u8) -> bool| symbols.iter().filter(|one| one.is_ascii_alphanumeric()).all(set);
    if within(&u8::is_ascii_digit) {
        10.0
    } else if within(&u8::is_ascii_hexdigit) && !(upper && lower) {
        16.0
    } else if !(upper && lower) && within(&|one| one.is_ascii_alphabetic() || (b'2'..=b'7').contains(one)) {
        32.0
    } else if !(upper && lower) {
        36.0
    } else {
        62.0
    }
}

#[cfg(test)]
mod tests {
    use nuncio_net::OsEntropy;
    use nuncio_sansio::Entropy as _;

    use super::*;

    #[test]
    fn what_is_random_and_what_is_not() {
        let ours: Vec<_> = (0..8).map(|_| OsEntropy.token()).collect();
        assert!(bits(&ours) > 100.0, "{}", bits(&ours));
        let hex = |bytes: usize| {
            let mut raw = vec![0; bytes];
            OsEntropy.fill(&mut raw);
            raw.iter().map(|byte| format!("{byte:02x}")).collect::<String>()
        };
        let few: Vec<_> = (0..8).map(|_| format!("relay-session-{}", hex(4))).collect();
        assert!((16.0..64.0).contains(&bits(&few)), "{}", bits(&few));
        let enough: Vec<_> = (0..8).map(|_| hex(10)).collect();
        assert!(bits(&enough) >= 64.0, "{}", bits(&enough));
        // Time, process and counter.
        let kamailio: Vec<_> = (1..9).map(|n| format!("msrp-6b026637-1ccc-{n}")).collect();
        assert!(bits(&kamailio) < 8.0, "{}", bits(&kamailio));
        let clock: Vec<_> = (0..8).map(|n| format!("{:08}", 52_340_017 + 13 * n)).collect();
        assert!(bits(&clock) < 16.0, "{}", bits(&clock));
        assert!(bits(&[]) < 1.0);
    }
}
