//! S0-15, S3-10, S3-13: dialback keys by XEP-0185, answers by XEP-0220, shortcuts by XEP-0344.

use nuncio_dna::dialback::{Callback, Dialback, Secret};
use nuncio_dna::dns::{Answer, Dns, Endpoint, Lookup, Security, Srv, tlsa_owner};
use nuncio_dna::tlsa::{Matching, Selector, Usage};
use nuncio_dna::{
    Basis, Direction, Evidence, Level, Prooftype, ProvenDomain, Strength, Time, Tls, Tlsa, Trust,
};

use super::certs::{Ca, Der, END, later, leaf, trust};
use super::{claim, codes, domain, incoming, judge, outgoing, policy, tls};

/// XEP-0185 §3: the example's key.
#[test]
fn keys_are_those_of_xep_0185() {
    let secret = Secret::new(b"s3cr3tf0rd14lb4ck");
    let (receiving, originating) = (domain("xmpp.example.com"), domain("example.org"));
    let key = "37c69b1cf07a3f67c04a5ef5902fa5114f2c76fe4a2686482ba5b89323075643";
    assert_eq!(secret.key(&receiving, &originating, "D60000229F"), key);
    assert!(secret.is_key(key, &receiving, &originating, "D60000229F"));
    for (key, receiving, originating, id) in [
        (key, "xmpp.example.com", "example.org", "D60000229E"),
        (key, "example.org", "xmpp.example.com", "D60000229F"),
        (key, "xmpp.example.com", "example.com", "D60000229F"),
        (&key[1..], "xmpp.example.com", "example.org", "D60000229F"),
        (&key.to_uppercase(), "xmpp.example.com", "example.org", "D60000229F"),
        ("", "xmpp.example.com", "example.org", "D60000229F"),
    ] {
        assert!(!secret.is_key(key, &domain(receiving), &domain(originating), id), "{key} {id}");
    }
    assert!(!Secret::new(b"other").is_key(key, &receiving, &originating, "D60000229F"));
    assert_eq!(format!("{secret:?}"), "Secret");
}

fn callback(tls: Tls, certificate: Option<&Der>, proofs: Vec<ProvenDomain>) -> Callback {
    Callback { tls, certificate: certificate.cloned(), proofs }
}

fn answered(evidence: Evidence, dialback: Dialback) -> Evidence {
    Evidence { dialback, ..evidence }
}

/// What is proven of `domain` by a certificate of a trusted authority.
fn proven(name: &str) -> Vec<ProvenDomain> {
    let root = Ca::root("root");
    let judgement =
        judge(&outgoing(name), &tls(&[&root.issue(&leaf(&[name]))]), &policy(trust(&[&root]), "pkix"));
    judgement.proofs
}

/// How much an answer is worth, and to which level it amounts.
#[test]
fn an_answer_is_worth_its_weakest_part() {
    let own = leaf(&["them.example"]).self_signed();
    let stream = tls(&[&own]);
    let plain = Evidence::of(Tls::None, vec![]);
    let verified = |tls, proofs| Dialback::Verified(callback(tls, None, proofs));
    for (what, evidence, direction, dialback, strength, level) in [
        ("plaintext", &plain, Direction::In, verified(Tls::None, vec![]), Strength::Weak, Level::Verified),
        (
            "asked in plaintext",
            &stream,
            Direction::In,
            verified(Tls::None, vec![]),
            Strength::Weak,
            Level::Verified,
        ),
        (
            "answered over TLS, stream in plaintext",
            &plain,
            Direction::In,
            verified(Tls::V13, proven("them.example")),
            Strength::Weak,
            Level::Verified,
        ),
        ("TLS", &stream, Direction::In, verified(Tls::V12, vec![]), Strength::Encrypted, Level::Encrypted),
        (
            "TLS to a server that is proven",
            &stream,
            Direction::In,
            verified(Tls::V13, proven("them.example")),
            Strength::Vouched,
            Level::Encrypted,
        ),
        (
            "TLS to a server that is proven as another",
            &stream,
            Direction::In,
            verified(Tls::V13, proven("other.example")),
            Strength::Encrypted,
            Level::Encrypted,
        ),
        (
            "our key accepted",
            &stream,
            Direction::Out,
            Dialback::Accepted,
            Strength::Encrypted,
            Level::Encrypted,
        ),
        (
            "our key accepted in plaintext",
            &plain,
            Direction::Out,
            Dialback::Accepted,
            Strength::Weak,
            Level::Verified,
        ),
    ] {
        let evidence = answered(evidence.clone(), dialback);
        let judgement =
            judge(&claim("them.example", direction), &evidence, &policy(Trust::new(), "dialback"));
        let proof = judgement.accepted().unwrap();
        assert_eq!(
            (proof.by(), proof.strength(), judgement.level),
            (Prooftype::Dialback, strength, level),
            "{what}"
        );
        assert!(!proof.is_by_certificate(), "{what}: dialback never offers EXTERNAL");
        let expires = if strength == Strength::Vouched || what.ends_with("stream in plaintext") {
            END
        } else {
            Time::NEVER
        };
        assert_eq!(proof.expires(), expires, "{what}");
    }
}

/// XEP-0220 §3.1, CVE class of 2012: an answer in the wrong direction, or none, proves nothing.
#[test]
fn answers_that_prove_nothing_have_their_reasons() {
    let some = || callback(Tls::V13, None, proven("them.example"));
    for (direction, dialback, expected) in [
        (Direction::In, Dialback::NotTried, "dialback-not-tried"),
        (Direction::In, Dialback::Accepted, "dialback-unsolicited"),
        (Direction::Out, Dialback::Verified(some()), "dialback-unsolicited"),
        (Direction::Out, Dialback::SameCertificate(some()), "dialback-unsolicited"),
        (Direction::In, Dialback::Invalid, "dialback-invalid"),
        (Direction::In, Dialback::Error("item-not-found".to_owned()), "dialback-error"),
        (Direction::In, Dialback::TimedOut, "dialback-timeout"),
        (Direction::Out, Dialback::Unreachable, "dialback-unreachable"),
    ] {
        let evidence = answered(tls(&[]), dialback);
        let judgement =
            judge(&claim("them.example", direction), &evidence, &policy(Trust::new(), "dialback"));
        assert_eq!(codes(&judgement, Prooftype::Dialback), [expected]);
        assert!(!judgement.is_accepted());
    }
}

/// S3-10, RFC 7712 §4.3, XEP-0344 §2.6: the key may stay unchecked when the domain's own server presents the peer's certificate, and it is for the domain.
#[test]
fn the_same_certificate_stands_for_a_checked_key() {
    let own = leaf(&["them.example"]).self_signed();
    let nameless = leaf(&["x.example"]).self_signed();
    let other = leaf(&["them.example"]).self_signed();
    for (what, presented, answering, proofs, expected) in [
        ("the same", Some(&own), Some(&own), vec![], "encrypted"),
        ("the same, proven", Some(&own), Some(&own), proven("them.example"), "vouched"),
        ("the same, for another name", Some(&nameless), Some(&nameless), vec![], "name-mismatch"),
        (
            "the same, for another name, proven otherwise",
            Some(&nameless),
            Some(&nameless),
            proven("them.example"),
            "name-mismatch",
        ),
        ("another", Some(&own), Some(&other), proven("them.example"), "dialback-other-certificate"),
        ("none there", Some(&own), None, vec![], "dialback-other-certificate"),
        ("none here", None, Some(&own), vec![], "no-certificate"),
    ] {
        let chain: Vec<_> = presented.into_iter().collect();
        let dialback = Dialback::SameCertificate(callback(Tls::V13, answering, proofs));
        let evidence = answered(tls(&chain), dialback);
        let judgement = judge(&incoming("them.example"), &evidence, &policy(Trust::new(), "dialback"));
        let found = judgement.accepted().map_or_else(
            || codes(&judgement, Prooftype::Dialback).join(" "),
            |proof| proof.strength().to_string(),
        );
        assert_eq!(found, expected, "{what}");
        if let Some(proof) = judgement.accepted() {
            let vouched = (expected == "vouched").then_some(Prooftype::Pkix);
            assert_eq!(*proof.basis(), Basis::Dialback { vouched, is_same_certificate: true });
        }
    }
}

/// Who drops the certificate from a stream must not get around the domain's TLSA records by plain dialback.
#[test]
fn dialback_does_not_get_around_tlsa_records() {
    let real = leaf(&["them.example"]).self_signed();
    let host = domain("them.example");
    let record = Tlsa::of(Usage::DaneEe, Selector::Spki, Matching::Sha256, &real).unwrap();
    let target = Srv { target: host.clone(), port: 5269 };
    let secure = |owner: &str, tlsa: Answer<Tlsa>| Lookup::of(owner, Security::Secure, later(60), tlsa);
    let dns = |tlsa| Dns {
        srv: vec![Lookup::of(
            "_xmpp-server._tcp.them.example",
            Security::Secure,
            later(60),
            Answer::Records(vec![target.clone()]),
        )],
        endpoints: vec![Endpoint {
            host: host.clone(),
            port: 5269,
            addresses: Lookup::of(
                "them.example",
                Security::Secure,
                later(60),
                Answer::Records(vec!["192.0.2.1".parse().unwrap()]),
            ),
            tlsa: Some(secure(&tlsa_owner(&host, 5269), tlsa)),
        }],
    };
    let run = |tlsa: Answer<Tlsa>, proofs: Vec<ProvenDomain>| {
        let dialback = Dialback::Verified(callback(Tls::V13, None, proofs));
        let evidence = Evidence { dns: Some(dns(tlsa)), ..answered(tls(&[]), dialback) };
        judge(&incoming("them.example"), &evidence, &policy(Trust::new(), "dialback"))
    };
    let published = || Answer::Records(vec![record.clone()]);
    assert_eq!(codes(&run(published(), vec![]), Prooftype::Dialback), ["dialback-below-dane"]);
    assert!(run(published(), proven("them.example")).is_accepted());
    assert!(run(Answer::NoRecords, vec![]).is_accepted());
}
