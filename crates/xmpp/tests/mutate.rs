//! A deterministic run of the fuzzing invariants, on the stable toolchain. `NUNCIO_FUZZ_INPUTS` says how many inputs (default 20 000).

mod common;

use common::oracles;
use nuncio_xmpp::fuzz::{self, Node, Rng};
use nuncio_xmpp::xml::Element;

fn inputs() -> u64 {
    std::env::var("NUNCIO_FUZZ_INPUTS").ok().and_then(|count| count.parse().ok()).unwrap_or(20_000)
}

/// Whether the generator still makes inputs of both kinds: a run in which nothing, or everything, is accepted tests little.
fn assert_mixed(accepted: u64, total: u64) {
    assert!(
        accepted * 20 > total && accepted * 20 < total * 19,
        "{accepted} of {total} inputs were accepted"
    );
}

#[test]
fn streams_however_damaged_and_cut_keep_the_invariants() {
    let mut accepted = 0;
    for seed in 0..inputs() {
        let mut rng = Rng::new(seed);
        let mut data = fuzz::stream(&mut rng);
        fuzz::damage(&mut rng, &mut data);
        fuzz::tokenizer(&data);
        accepted += u64::from(fuzz::feed(Default::default(), [&data[..]], |_| {}).error.is_none());
    }
    assert_mixed(accepted, inputs());
}

/// Issue, show 4: accepted here means accepted by the oracles, with the same infoset.
#[test]
fn no_disagreement_with_the_oracles_in_accepting() {
    let mut accepted = 0;
    for seed in 0..inputs() {
        let mut rng = Rng::new(seed ^ 0x5EED_0000_0000);
        let mut data = fuzz::document(&mut rng);
        fuzz::damage(&mut rng, &mut data);
        let Ok(element) = Element::parse(data.clone()) else { continue };
        accepted += 1;
        oracles::agree(&data, &Node::of(element.root()));
    }
    assert_mixed(accepted, inputs());
}

#[test]
fn addresses_however_damaged_keep_the_invariants() {
    const SEEDS: &[&str] = &[
        "juliet@im.example.com/balcony",
        "example.org",
        "STRASSE@xn--bcher-kva.example/\u{1F469}\u{200D}\u{1F4BB}",
        "stra\u{DF}e@b\u{FC}cher.example",
        "a@[2001:db8::1]/x",
        "192.0.2.1",
        "\u{3A3}\u{3C2}@fa\u{DF}.de./\u{2126}",
        "\u{5D0}1\u{5D1}@example.org",
    ];
    for seed in 0..inputs() {
        let mut rng = Rng::new(seed ^ 0x11D0_0000_0000);
        let mut data = rng.pick(SEEDS).as_bytes().to_vec();
        fuzz::damage(&mut rng, &mut data);
        fuzz::jid(&data);
    }
}
