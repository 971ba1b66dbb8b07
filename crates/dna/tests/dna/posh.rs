//! S3-17, S3-18, S3-20, S3-25: RFC 7711, the good documents and the bad ones.

use std::time::Duration;

use nuncio_dna::posh::{self, Document, FetchFailure, Hash, Posh, Retrieval};
use nuncio_dna::{Basis, Direction, Evidence, Judgement, Policy, Prooftype, Rule, Service, Time, Tls, Trust};

use super::certs::{Ca, Der, Leaf, NOW, later, leaf, trust};
use super::{cause, claim, codes, domain, incoming, judge, outgoing, policy, proofs, tls};

const OWN: &str = "https://them.example/.well-known/posh/xmpp-server.json";
const HOSTER: &str = "https://hosting.example/posh.json";

fn got(url: &str, body: &str) -> Retrieval {
    Retrieval { url: url.to_owned(), redirects: vec![], at: NOW, outcome: Ok(body.as_bytes().to_vec()) }
}

fn one(body: &str) -> Posh {
    Posh { first: got(OWN, body), second: None, renewal: None }
}

fn two(reference: &str, body: &str) -> Posh {
    Posh { second: Some(got(HOSTER, body)), ..one(reference) }
}

fn with(posh: Posh, leaf: &Der) -> Evidence {
    Evidence { posh: Some(posh), ..tls(&[leaf]) }
}

fn run(posh: Posh, leaf: &Der) -> Judgement {
    judge(&outgoing("them.example"), &with(posh, leaf), &policy(Trust::new(), "posh"))
}

fn document(certificates: &[&Der], secs: u64) -> String {
    let certificates: Vec<&[u8]> = certificates.iter().map(|der| der.as_ref()).collect();
    posh::publish(&certificates, Duration::from_secs(secs))
}

fn reference(secs: u64) -> String {
    posh::reference(HOSTER, Duration::from_secs(secs)).unwrap()
}

/// Our own documents are understood by ourselves, in both directions, with the next certificate beside the one in use (S3-18).
#[test]
fn fingerprints_prove_a_certificate_of_any_name() {
    let now = leaf(&["hosting.example"]).self_signed();
    let next = leaf(&["hosting.example"]).self_signed();
    let stranger = leaf(&["them.example"]).self_signed();
    let body = document(&[&next, &now], 3600);
    for direction in [Direction::In, Direction::Out] {
        for (certificate, proven) in [(&now, true), (&next, true), (&stranger, false)] {
            let evidence = with(one(&body), certificate);
            let judgement =
                judge(&claim("them.example", direction), &evidence, &policy(Trust::new(), "authenticated"));
            assert_eq!(judgement.is_accepted(), proven, "{judgement}");
            match judgement.accepted() {
                Some(proof) => {
                    assert_eq!((proof.by(), proof.expires()), (Prooftype::Posh, later(3600)));
                    let Basis::Document { url, reference: None, hash: "sha-512", is_stale: false, .. } =
                        proof.basis()
                    else {
                        panic!("{judgement}")
                    };
                    assert_eq!(url, OWN);
                }
                None => assert_eq!(cause(&judgement), "posh-mismatch"),
            }
        }
    }
}

/// RFC 7711 §3.2, §6: one reference, and the lower of both expiries counts, from each document's own retrieval on.
#[test]
fn a_reference_is_followed_once() {
    let certificate = leaf(&["hosting.example"]).self_signed();
    for (first, second, age, expires) in [
        (600, 3600, 0, 600),
        (3600, 600, 0, 600),
        (3600, 600, 300, 300),
        (600, 3600, 3300, 300),
        (u64::MAX, u64::MAX, 0, 30 * 86_400),
    ] {
        let mut posh = two(&reference(first), &document(&[&certificate], second));
        posh.second.as_mut().unwrap().at = Time::from_secs(NOW.as_secs() - age);
        let judgement = run(posh, &certificate);
        let proof = judgement.accepted().unwrap();
        assert_eq!(proof.expires(), later(expires), "{first} {second} {age}");
        let Basis::Document { url, reference: Some(from), .. } = proof.basis() else { panic!("{judgement}") };
        assert_eq!((url.as_str(), from.as_str()), (HOSTER, OWN));
    }
    assert_eq!(posh::follow(&got(OWN, &reference(60))).as_deref(), Some(HOSTER));
    assert_eq!(posh::follow(&got(OWN, &document(&[&certificate], 60))), None);
    assert_eq!(posh::follow(&got(OWN, "{")), None);
    assert_eq!(posh::url(&domain("them.example"), Service::XmppServer).as_deref(), Some(OWN));
    assert_eq!(
        posh::url(&domain("bücher.example"), Service::XmppClient).as_deref(),
        Some("https://xn--bcher-kva.example/.well-known/posh/xmpp-client.json")
    );
    assert_eq!(posh::url(&domain("them.example"), Service::Msrps), None);
    assert_eq!(posh::reference("http://hosting.example/", Duration::from_secs(1)), None);
}

/// S3-17, issue 4: documents of every bad kind, each with a reason of its own.
#[test]
fn every_bad_document_has_its_reason() {
    let certificate = leaf(&["them.example"]).self_signed();
    let good = document(&[&certificate], 600);
    let sha256 = "4/mggdlVx8A3pvHAWW5sD+qJyMtUHgiRuPjVC48N0XQ=";
    let print =
        |hash: &str, value: &str| format!(r#"{{"fingerprints":[{{"{hash}":"{value}"}}],"expires":60}}"#);
    let expires = |value: &str| format!(r#"{{"fingerprints":[{{"sha-256":"{sha256}"}}],"expires":{value}}}"#);
    let url = |value: &str| format!(r#"{{"url":{value},"expires":60}}"#);
    let many = format!(r#"{{"fingerprints":[{}],"expires":60}}"#, vec!["{}"; 65].join(","));
    for (what, posh, expected) in [
        ("huge", one(&format!("{good}{}", " ".repeat(posh::MAX_DOCUMENT))), "posh-too-large"),
        ("not JSON", one("<html>not found</html>"), "posh-not-json"),
        ("cut off", one(good.trim_end().strip_suffix('}').unwrap()), "posh-not-json"),
        ("two of them", one(&format!("{good}{good}")), "posh-not-json"),
        ("empty", one(""), "posh-not-json"),
        ("an array", one("[]"), "posh-not-object"),
        ("nested deep", one(&format!("{}{}", "[".repeat(9), "]".repeat(9))), "posh-too-deep"),
        ("nested very deep", one(&"[".repeat(60_000)), "posh-too-deep"),
        ("a member twice", one(r#"{"expires":60,"fingerprints":[],"expires":600}"#), "posh-duplicate-member"),
        (
            "a hash twice",
            one(&format!(
                r#"{{"expires":60,"fingerprints":[{{"sha-256":"{sha256}","sha-256":"{sha256}"}}]}}"#
            )),
            "posh-duplicate-member",
        ),
        ("an empty object", one(r#"{"expires":60}"#), "posh-no-fingerprints"),
        ("no fingerprint", one(r#"{"fingerprints":[],"expires":60}"#), "posh-no-fingerprints"),
        ("fingerprints of no shape", one(r#"{"fingerprints":"x","expires":60}"#), "posh-bad-fingerprint"),
        (
            "a fingerprint that is no object",
            one(r#"{"fingerprints":["x"],"expires":60}"#),
            "posh-bad-fingerprint",
        ),
        ("a number", one(r#"{"fingerprints":[{"sha-256":5}],"expires":60}"#), "posh-bad-fingerprint"),
        ("no base64", one(&print("sha-256", "%%%")), "posh-bad-fingerprint"),
        (
            "bits beyond the end",
            one(&print("sha-256", "4/mggdlVx8A3pvHAWW5sD+qJyMtUHgiRuPjVC48N0XR=")),
            "posh-bad-fingerprint",
        ),
        ("short hash", one(&print("sha-256", "AAAA")), "posh-bad-fingerprint"),
        ("sha-1 only", one(&print("sha-1", "2jmj7l5rSw0yVb/vlWAYkK/YBwk=")), "posh-no-known-hash"),
        ("too many", one(&many), "posh-too-many-fingerprints"),
        (
            "both kinds",
            one(&format!(r#"{{"fingerprints":[],"url":"{HOSTER}","expires":60}}"#)),
            "posh-both-kinds",
        ),
        ("expires 0", one(&expires("0")), "posh-expires-zero"),
        ("expires -1", one(&expires("-1")), "posh-bad-expiry"),
        ("expires 1.5", one(&expires("1.5")), "posh-bad-expiry"),
        ("expires in words", one(&expires("\"600\"")), "posh-bad-expiry"),
        ("expires beyond numbers", one(&expires("99999999999999999999")), "posh-bad-expiry"),
        (
            "expires never",
            one(&format!(r#"{{"fingerprints":[{{"sha-256":"{sha256}"}}]}}"#)),
            "posh-no-expiry",
        ),
        ("reference to http", one(&url("\"http://hosting.example/posh.json\"")), "posh-bad-reference"),
        ("reference to an address", one(&url("\"https://127.0.0.1/posh.json\"")), "posh-bad-reference"),
        ("reference of no shape", one(&url("5")), "posh-bad-reference"),
        ("reference not followed", one(&reference(60)), "posh-not-followed"),
        ("nested reference", two(&reference(60), &reference(60)), "posh-nested-reference"),
        (
            "another reference followed",
            Posh { second: Some(got("https://evil.example/", &good)), ..one(&reference(60)) },
            "posh-wrong-source",
        ),
        (
            "a second document that nothing led to",
            Posh { second: Some(got(HOSTER, &good)), ..one(&good) },
            "posh-wrong-source",
        ),
        (
            "of another domain",
            Posh { first: got("https://evil.example/.well-known/posh/xmpp-server.json", &good), ..one("") },
            "posh-wrong-source",
        ),
        (
            "for clients",
            Posh { first: got("https://them.example/.well-known/posh/xmpp-client.json", &good), ..one("") },
            "posh-wrong-source",
        ),
        (
            "redirected to http",
            Posh {
                first: Retrieval { redirects: vec!["http://them.example/x".to_owned()], ..got(OWN, &good) },
                ..one("")
            },
            "posh-not-https",
        ),
        (
            "redirected too often",
            Posh { first: Retrieval { redirects: vec![HOSTER.to_owned(); 4], ..got(OWN, &good) }, ..one("") },
            "posh-too-many-redirects",
        ),
        ("another certificate", one(&print("sha-256", sha256)), "posh-mismatch"),
        (
            "another certificate, without padding",
            one(&print("sha-256", sha256.trim_end_matches('='))),
            "posh-mismatch",
        ),
        ("sha-512 of another one beside the right sha-256", one(&mixed(&certificate)), "posh-mismatch"),
    ] {
        let judgement = run(posh, &certificate);
        assert_eq!(codes(&judgement, Prooftype::Posh), [expected], "{what}: {judgement}");
        assert!(!judgement.is_accepted());
    }
    assert!(run(one(&good), &certificate).is_accepted());
}

/// A descriptor whose stronger hash is another certificate's.
fn mixed(certificate: &Der) -> String {
    let other = leaf(&["other.example"]).self_signed();
    let good: serde_json::Value = serde_json::from_str(&document(&[certificate], 60)).unwrap();
    let wrong: serde_json::Value = serde_json::from_str(&document(&[&other], 60)).unwrap();
    let mut mixed = good;
    mixed["fingerprints"][0]["sha-512"] = wrong["fingerprints"][0]["sha-512"].clone();
    mixed.to_string()
}

/// Why there is no document: each failure of a retrieval, of the first as of the second one.
#[test]
fn every_failed_retrieval_has_its_reason() {
    let certificate = leaf(&["them.example"]).self_signed();
    for (failure, expected) in [
        (FetchFailure::NotFound, "posh-absent"),
        (FetchFailure::Status(503), "posh-status"),
        (FetchFailure::NotHttps, "posh-not-https"),
        (FetchFailure::PrivateAddress, "posh-private-address"),
        (FetchFailure::Untrusted, "posh-untrusted"),
        (FetchFailure::Unreachable, "posh-unreachable"),
        (FetchFailure::Timeout, "posh-timeout"),
        (FetchFailure::TooLarge, "posh-too-large"),
        (FetchFailure::TooManyRedirects, "posh-too-many-redirects"),
    ] {
        let first =
            Posh { first: Retrieval { outcome: Err(failure), ..got(OWN, "") }, second: None, renewal: None };
        let second = Posh {
            second: Some(Retrieval { outcome: Err(failure), ..got(HOSTER, "") }),
            ..one(&reference(60))
        };
        for posh in [first, second] {
            assert_eq!(codes(&run(posh, &certificate), Prooftype::Posh), [expected], "{failure:?}");
        }
    }
    let judgement = judge(&outgoing("them.example"), &tls(&[&certificate]), &policy(Trust::new(), "posh"));
    assert_eq!(codes(&judgement, Prooftype::Posh), ["posh-not-asked"]);
    let mut relay = outgoing("them.example");
    relay.service = Service::Msrps;
    let judgement = judge(&relay, &tls(&[&certificate]), &policy(Trust::new(), "posh"));
    assert_eq!(codes(&judgement, Prooftype::Posh), ["posh-not-for-service"]);
}

/// RFC 7711 §6: a certificate that is named is still nothing when it has expired or is revoked.
#[test]
fn named_certificates_must_be_valid() {
    for (years, because) in [((2020, 2021), "it expired"), ((2040, 2041), "valid only from")] {
        let certificate = Leaf { years, ..leaf(&["them.example"]) }.self_signed();
        let judgement = run(one(&document(&[&certificate], 60)), &certificate);
        assert_eq!(codes(&judgement, Prooftype::Posh), ["posh-certificate"], "{because}");
    }
    let root = Ca::root("root");
    let certificate = root.issue(&Leaf { serial: 9, ..leaf(&["x.example"]) });
    let mut trust = trust(&[&root]);
    let evidence = with(one(&document(&[&certificate], 60)), &certificate);
    let run = |trust: &Trust| judge(&outgoing("them.example"), &evidence, &policy(trust.clone(), "posh"));
    assert!(run(&trust).is_accepted());
    trust.add_revocation_list(&root.revokes(&[9], 2030)).unwrap();
    let revoked = run(&trust);
    assert_eq!(codes(&revoked, Prooftype::Posh), ["posh-certificate"]);
    assert!(revoked.to_string().contains("revocation list"), "{revoked}");
}

/// Documents are kept beyond their expiry only as long as policy says, and only while the web server fails for the moment.
#[test]
fn stale_documents_count_only_by_policy() {
    let certificate = leaf(&["them.example"]).self_signed();
    let mut base = one(&document(&[&certificate], 100));
    base.first.at = Time::from_secs(NOW.as_secs() - 150);
    let lax = |secs: u64| Policy {
        default: Rule { posh_stale: Duration::from_secs(secs), ..Rule::default() },
        ..Policy::default()
    };
    for (what, renewal, stale, accepted) in [
        ("no policy", Some(FetchFailure::Timeout), 0, false),
        ("not tried again", None, 3600, false),
        ("server fails", Some(FetchFailure::Status(502)), 3600, true),
        ("no connection", Some(FetchFailure::Unreachable), 50, true),
        ("too long ago", Some(FetchFailure::Timeout), 49, false),
        ("gone for good", Some(FetchFailure::NotFound), 3600, false),
        ("forbidden", Some(FetchFailure::Status(403)), 3600, false),
        ("not who it should be", Some(FetchFailure::Untrusted), 3600, false),
    ] {
        let evidence = with(Posh { renewal, ..base.clone() }, &certificate);
        let judgement = judge(&incoming("them.example"), &evidence, &lax(stale));
        assert_eq!(judgement.is_accepted(), accepted, "{what}: {judgement}");
        match judgement.accepted() {
            Some(proof) => {
                assert_eq!(proof.expires(), Time::from_secs(NOW.as_secs() - 50 + stale));
                assert!(matches!(proof.basis(), Basis::Document { is_stale: true, .. }));
            }
            None => assert_eq!(codes(&judgement, Prooftype::Posh), ["posh-stale"], "{what}"),
        }
    }
}

/// RFC 7711 §3.3: documents that do not match reject nobody whom something else proves.
#[test]
fn a_mismatch_is_no_veto() {
    let root = Ca::root("root");
    let certificate = root.issue(&leaf(&["them.example"]));
    let other = leaf(&["them.example"]).self_signed();
    let evidence = with(one(&document(&[&other], 60)), &certificate);
    let judgement = judge(&outgoing("them.example"), &evidence, &policy(trust(&[&root]), "authenticated"));
    assert_eq!((proofs(&judgement), judgement.is_accepted()), (vec![Prooftype::Pkix], true));
    let plain = Evidence { tls: Tls::None, chain: vec![], ..evidence };
    let judgement = judge(&outgoing("them.example"), &plain, &policy(Trust::new(), "posh"));
    assert_eq!(codes(&judgement, Prooftype::Posh), ["no-tls"]);
}

/// RFC 7711 §3.1, §3.2: the documents of its examples, the second with a fingerprint that lacks its padding.
#[test]
fn the_examples_of_rfc_7711_are_read() {
    let sha512 = "25N+1hB2Vo42l9lSGqw+n3BKFhDHsyork8ou+D9B43TXeJ1J81mdQEDqm39oR/EHkPBDDG1y5+AG94Kec0xVqA==";
    let first =
        format!(r#"{{"sha-256": "4/mggdlVx8A3pvHAWW5sD+qJyMtUHgiRuPjVC48N0XQ=", "sha-512": "{sha512}"}}"#);
    let unpadded = first.replace("0XQ=", "0XQ");
    let second = r#"{"sha-256": "otyLADSKjRDjVpj8X7/hmCAD5C7Qe+PedcmYV7cUncE="}"#;
    for (list, count, secs) in [(first.clone(), 1, 604_800), (format!("{unpadded}, {second}"), 2, 806_400)] {
        let body = format!(r#"{{ "fingerprints": [ {list} ], "expires": {secs} }}"#);
        let Ok(Document::Fingerprints { fingerprints, expires }) = Document::parse(body.as_bytes(), OWN)
        else {
            panic!("{body}")
        };
        assert_eq!((fingerprints.len(), expires), (count, Duration::from_secs(secs)));
        assert_eq!(fingerprints[0].hash, Hash::Sha512, "the strongest");
    }
    let url = "https://hosting.example.net/.well-known/posh/spice.json";
    let body = format!(r#"{{ "url":"{url}", "expires":86400 }}"#);
    let reference = Document::Reference { url: url.to_owned(), expires: Duration::from_secs(86_400) };
    assert_eq!(Document::parse(body.as_bytes(), OWN), Ok(reference));
}
