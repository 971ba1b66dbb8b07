//! The fuzz targets' invariants as plain tests: on what a fuzzer found interesting, on certificates of every kind, and on noise.

use nuncio_dna::dialback::{Callback, Dialback};
use nuncio_dna::posh::{Posh, Retrieval};
use nuncio_dna::{Evidence, Policy, Prooftype, Tls, fuzz};
use proptest::prelude::*;

use super::certs::{Ca, Der, Leaf, NOW, alternatives, leaf};
use super::{incoming, judge};

fn certificates() -> Vec<Vec<u8>> {
    let root = Ca::root("root");
    [
        leaf(&["chat.example.org", "*.example.org", "c*.example.org", ""]),
        Leaf { srv: &["_xmpp-server.chat.example.org", "nodot", ""], ..Leaf::default() },
        Leaf { xmpp: &["chat.example.org", "x@chat.example.org", "\u{202e}"], ..Leaf::default() },
        Leaf { common: "chat.example.org", ..Leaf::default() },
        Leaf { authority: true, critical: true, ..Leaf::default() },
    ]
    .iter()
    .flat_map(|leaf| [leaf.self_signed().to_vec(), root.issue(leaf).to_vec()])
    .collect()
}

#[test]
fn texts_and_records_keep_their_invariants() {
    for seed in ["", "3 1 1 00", "3 0 0 3000", "\u{3}\u{1}\u{1}x", "2 1 0 302a300506032b6570032100"] {
        fuzz::tlsa(seed.as_bytes());
    }
    for seed in [
        "{}",
        "[",
        "{\"url\":\"https://a.example\",\"expires\":1}",
        "{\"expires\":1e999}",
        "\u{feff}{}",
        "\"\\\"",
        "{\"a\":{\"b\":[{}]}}",
    ] {
        fuzz::posh(seed.as_bytes());
    }
    for seed in ["pkix", "(((", "pkix or(dane)and", "a\u{a0}b", "or or or"] {
        fuzz::policy(seed.as_bytes());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn noise_breaks_nothing(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        fuzz::tlsa(&bytes);
        fuzz::posh(&bytes);
        fuzz::policy(&bytes);
        fuzz::names(&bytes);
    }

    #[test]
    fn nearly_json_breaks_nothing(text in r#"[\{\}\[\]",:0-9a-z \\-]{0,80}"#) {
        fuzz::posh(text.as_bytes());
        fuzz::posh(format!("{{\"expires\":60,\"fingerprints\":[{{{text}}}]}}").as_bytes());
    }
}

/// Certificates with a few octets changed, cut or doubled: read without panic, and never proven by anything.
#[test]
fn mutilated_certificates_break_nothing() {
    let all = certificates();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % u64::try_from(below.max(1)).unwrap()).unwrap()
    };
    for original in &all {
        fuzz::names(original);
        fuzz::tlsa(original);
        for round in 0..150 {
            let mut bytes = original.clone();
            for _ in 0..=random(3) {
                let at = random(bytes.len());
                match round % 3 {
                    0 => bytes[at] = u8::try_from(random(256)).unwrap(),
                    1 => bytes.truncate(at.max(1)),
                    _ => bytes.insert(at, u8::try_from(random(256)).unwrap()),
                }
            }
            fuzz::names(&bytes);
            let evidence = Evidence {
                posh: Some(Posh {
                    first: Retrieval {
                        url: "https://them.example/.well-known/posh/xmpp-server.json".to_owned(),
                        redirects: vec![],
                        at: NOW,
                        outcome: Ok(bytes.clone()),
                    },
                    second: None,
                    renewal: None,
                }),
                dialback: Dialback::SameCertificate(Callback {
                    tls: Tls::V13,
                    certificate: None,
                    proofs: vec![],
                }),
                ..Evidence::of(Tls::V13, vec![Der::from(bytes)])
            };
            let judgement = judge(&incoming("them.example"), &evidence, &Policy::default());
            assert!(!judgement.is_accepted() && judgement.proofs.is_empty());
            assert!(judgement.findings.iter().any(|finding| finding.by == Some(Prooftype::Pkix)));
        }
    }
}

/// Names as a hostile issuer might write them into a certificate: nothing shows control characters.
#[test]
fn hostile_names_are_shown_harmlessly() {
    let root = Ca::root("ro\u{1b}[31mot");
    let certificate = root.issue(&Leaf {
        xmpp: &["x\n\u{1b}[2J\u{202e}y"],
        common: "a\r\nb",
        ..leaf(&["evil\u{7}.example"])
    });
    assert!(!alternatives(&[], &[], &["x"]).is_empty());
    let judgement =
        judge(&incoming("them.example"), &Evidence::of(Tls::V13, vec![certificate]), &Policy::default());
    let shown = judgement.to_string();
    assert!(
        shown.chars().all(|c| c == '\n' || c == '\u{fffd}' || c.is_ascii_graphic() || c == ' '),
        "{shown:?}"
    );
}
