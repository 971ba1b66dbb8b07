//! A deterministic run of the fuzzing invariants, on the stable toolchain. `NUNCIO_FUZZ_INPUTS` says how many inputs (default 20 000: a few seconds; a million takes two minutes).

use nuncio_msrp::fuzz;
use nuncio_xmpp::fuzz::{Rng, damage};

fn inputs() -> u64 {
    std::env::var("NUNCIO_FUZZ_INPUTS").ok().and_then(|count| count.parse().ok()).unwrap_or(20_000)
}

fn input(seed: u64) -> Vec<u8> {
    row(fuzz::WORDS, seed)
}

/// A row of words that a peer could say, some of them damaged.
fn row(words: &[&[u8]], seed: u64) -> Vec<u8> {
    let mut rng = Rng::new(seed);
    let mut data = Vec::new();
    for _ in 0..=rng.below(16) {
        let mut word = words[rng.below(words.len())].to_vec();
        if rng.one_in(8) {
            damage(&mut rng, &mut word);
        }
        data.extend(word);
    }
    data
}

#[test]
fn the_parser_keeps_its_invariants() {
    for seed in 0..inputs() {
        fuzz::frames(&input(seed));
    }
}

#[test]
fn an_endpoint_keeps_its_invariants() {
    for seed in 0..inputs() {
        fuzz::endpoint(&input(seed ^ 0xE9D_0000_0000));
    }
}

#[test]
fn a_relay_keeps_its_invariants() {
    for seed in 0..inputs() {
        fuzz::relay(&input(seed ^ 0x4E1A_0000_0000));
    }
}

#[test]
fn notifications_keep_their_invariants() {
    for seed in 0..inputs() {
        fuzz::imdn(&row(fuzz::NOTES, seed ^ 0x1_3D00_0000_0000));
    }
}
