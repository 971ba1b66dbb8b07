//! A deterministic run of the fuzzing invariants, on the stable toolchain. `NUNCIO_FUZZ_INPUTS` says how many inputs (default 5 000).

use nuncio_stream::fuzz;
use nuncio_xmpp::fuzz::{Rng, damage};

fn inputs() -> u64 {
    std::env::var("NUNCIO_FUZZ_INPUTS").ok().and_then(|count| count.parse().ok()).unwrap_or(5_000)
}

/// A stage and a row of words that a peer could say, some of them damaged.
fn input(seed: u64) -> Vec<u8> {
    let mut rng = Rng::new(seed);
    let mut data = vec![u8::try_from(rng.below(16)).unwrap_or(0)];
    for _ in 0..=rng.below(12) {
        let mut word = fuzz::WORDS[rng.below(fuzz::WORDS.len())].to_vec();
        if rng.one_in(5) {
            damage(&mut rng, &mut word);
        }
        data.extend(word);
    }
    data
}

#[test]
fn the_receiving_role_keeps_its_invariants() {
    for seed in 0..inputs() {
        fuzz::c2s(&input(seed));
    }
}

#[test]
fn the_initiating_role_keeps_its_invariants() {
    for seed in 0..inputs() {
        fuzz::client(&input(seed ^ 0xC11E_0000_0000));
    }
}

/// S3-13: in both roles, from each stage of negotiation.
#[test]
fn streams_between_servers_keep_their_invariants() {
    for seed in 0..inputs() {
        let mut data = input(seed ^ 0x5253_0000_0000);
        if let Some(stage) = data.first_mut() {
            *stage = stage.wrapping_add(16 * u8::try_from(seed % 16).unwrap_or(0));
        }
        fuzz::s2s(&data);
    }
}

/// S4-04 to S4-07: the requests that wait, against a table that is too simple to be wrong.
#[test]
fn requests_keep_their_invariants() {
    for seed in 0..inputs() {
        let mut rng = Rng::new(seed ^ 0x1D00_0000_0000);
        let length = rng.below(300);
        let data: Vec<_> = (0..length).map(|_| u8::try_from(rng.below(256)).unwrap_or(0)).collect();
        nuncio_stream::iq::fuzz::walk(&data);
    }
}
