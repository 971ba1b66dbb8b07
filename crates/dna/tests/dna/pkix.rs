//! S3-05, S3-09, S3-21, S3-23: certificates of trusted authorities, of every kind of right and wrong.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use nuncio_dna::{Basis, Direction, Prooftype, Strength, Trust};
use rcgen::ExtendedKeyUsagePurpose::{ClientAuth, EmailProtection, ServerAuth};

use super::certs::{Ca, CaSpec, Der, END, Leaf, NOW, later, leaf, trust};
use super::{cause, claim, codes, incoming, judge, outgoing, policy, proofs, tls};

/// Dependencies.md's trap: authorities issue serverAuth-only certificates; they count in both directions, clientAuth-only ones in none.
#[test]
fn server_certificates_count_in_both_directions() {
    let root = Ca::root("root");
    let policy = policy(trust(&[&root]), "pkix");
    let server = root.issue(&leaf(&["them.example"]));
    let both = root.issue(&Leaf { purposes: &[ClientAuth, ServerAuth], ..leaf(&["them.example"]) });
    let none = root.issue(&Leaf { purposes: &[], ..leaf(&["them.example"]) });
    let client = root.issue(&Leaf { purposes: &[ClientAuth], ..leaf(&["them.example"]) });
    let mail = root.issue(&Leaf { purposes: &[EmailProtection], ..leaf(&["them.example"]) });
    for direction in [Direction::In, Direction::Out] {
        let claim = claim("them.example", direction);
        for good in [&server, &both, &none] {
            let judgement = judge(&claim, &tls(&[good]), &policy);
            let proof = judgement.accepted().unwrap();
            assert_eq!((proof.by(), proof.strength()), (Prooftype::Pkix, Strength::Authenticated));
            assert_eq!((proof.domain().as_str(), proof.expires()), ("them.example", END));
            assert!(proof.is_by_certificate());
        }
        for (bad, purposes) in [(&client, "clientAuth"), (&mail, "emailProtection")] {
            let judgement = judge(&claim, &tls(&[bad]), &policy);
            assert_eq!(cause(&judgement), "wrong-purpose");
            assert!(judgement.cause().unwrap().to_string().contains(purposes), "{judgement}");
        }
    }
}

/// S3-05: each kind of name, right and wrong.
#[test]
fn names_are_those_of_rfc_9525_and_rfc_6120() {
    let root = Ca::root("root");
    let policy = policy(trust(&[&root]), "pkix");
    let many = "n".repeat(60);
    let long = format!("{many}.{many}.{many}.example");
    for (remote, leaf, outcome) in [
        ("them.example", leaf(&["them.example"]), "DNS:them.example"),
        ("them.example", leaf(&["other.example", "THEM.example"]), "DNS:THEM.example"),
        ("bücher.example", leaf(&["xn--bcher-kva.example"]), "DNS:xn--bcher-kva.example"),
        ("chat.them.example", leaf(&["*.them.example"]), "DNS:*.them.example"),
        ("a.chat.them.example", leaf(&["*.them.example"]), "bad-wildcard"),
        ("chat.them.example", leaf(&["c*.them.example"]), "bad-wildcard"),
        ("them.example", leaf(&["*.example"]), "bad-wildcard"),
        ("them.example", leaf(&["us.example"]), "name-mismatch"),
        (
            "them.example",
            Leaf { srv: &["_xmpp-server.them.example"], ..Leaf::default() },
            "SRV:_xmpp-server.them.example",
        ),
        ("them.example", Leaf { srv: &["_xmpp-client.them.example"], ..Leaf::default() }, "name-mismatch"),
        ("them.example", Leaf { xmpp: &["them.example"], ..Leaf::default() }, "XmppAddr:them.example"),
        ("them.example", Leaf { xmpp: &["romeo@them.example"], ..Leaf::default() }, "name-mismatch"),
        (&long, Leaf { xmpp: &[&long], ..Leaf::default() }, &format!("XmppAddr:{long}")),
        ("them.example", Leaf { common: "them.example", ..Leaf::default() }, "name-only-in-subject"),
        ("them.example", Leaf { common: "", ..Leaf::default() }, "name-mismatch"),
    ] {
        let judgement = judge(&incoming(remote), &tls(&[&root.issue(&leaf)]), &policy);
        match judgement.accepted().map(|proof| proof.basis()) {
            Some(Basis::Certificate { identifier, target: None, issuer, .. }) => {
                assert_eq!((identifier.to_string().as_str(), issuer.as_str()), (outcome, "CN=root"));
            }
            other => assert_eq!((cause(&judgement), other), (outcome, None), "{judgement}"),
        }
    }
}

/// The certificates of every kind of wrong that issue 4 lists, each with its own reason.
#[test]
fn every_wrong_chain_has_its_reason() {
    let root = Ca::root("root");
    let sub = root.sub("sub");
    let stranger = Ca::root("stranger");
    let short = root.sub_with("short", CaSpec { length: Some(0), ..CaSpec::default() });
    let below = short.sub("below");
    let old = root.sub_with("old", CaSpec { expired: true, ..CaSpec::default() });
    let fake = root.sub_with("fake", CaSpec { no_authority: true, ..CaSpec::default() });
    let held = root.sub_with("held", CaSpec { permitted: &["other.example"], ..CaSpec::default() });
    let barred = root.sub_with("barred", CaSpec { excluded: &["them.example"], ..CaSpec::default() });
    let named = &["them.example"][..];
    let good = sub.issue(&leaf(named));
    let mut forged = root.issue(&leaf(named)).to_vec();
    *forged.last_mut().unwrap() ^= 1;
    let forged = Der::from(forged);
    let policy = policy(trust(&[&root]), "pkix");
    let issue = |ca: &Ca| ca.issue(&leaf(named));
    for (what, chain, expected) in [
        ("good", vec![good.clone(), sub.der.clone()], &[][..]),
        (
            "in another order, with strangers",
            vec![good.clone(), stranger.der.clone(), root.der.clone(), sub.der.clone()],
            &[],
        ),
        ("nothing", vec![], &["no-certificate"]),
        ("intermediate left out", vec![good.clone()], &["unknown-issuer"]),
        ("another authority", vec![issue(&stranger), stranger.der.clone()], &["unknown-issuer"]),
        ("self-signed", vec![leaf(named).self_signed()], &["self-signed"]),
        (
            "self-signed and expired",
            vec![Leaf { years: (2020, 2021), ..leaf(named) }.self_signed()],
            &["self-signed", "certificate-expired"],
        ),
        (
            "self-signed as an authority",
            vec![Leaf { authority: true, ..leaf(named) }.self_signed()],
            &["self-signed"],
        ),
        ("expired", vec![root.issue(&Leaf { years: (2024, 2025), ..leaf(named) })], &["certificate-expired"]),
        (
            "expired, for another name",
            vec![root.issue(&Leaf { years: (2024, 2025), ..leaf(&["x.example"]) })],
            &["certificate-expired", "name-mismatch"],
        ),
        (
            "not yet valid",
            vec![root.issue(&Leaf { years: (2030, 2031), ..leaf(named) })],
            &["certificate-not-yet-valid"],
        ),
        ("expired issuer", vec![issue(&old), old.der.clone()], &["issuer-expired"]),
        ("issuer is no authority", vec![issue(&fake), fake.der.clone()], &["issuer-not-authority"]),
        (
            "an authority's",
            vec![root.issue(&Leaf { authority: true, ..leaf(named) })],
            &["authority-as-server"],
        ),
        ("path too long", vec![issue(&below), below.der.clone(), short.der.clone()], &["path-too-long"]),
        ("not permitted", vec![issue(&held), held.der.clone()], &["name-constrained"]),
        ("excluded", vec![issue(&barred), barred.der.clone()], &["name-constrained"]),
        ("forged", vec![forged], &["bad-signature"]),
        (
            "critical extension",
            vec![root.issue(&Leaf { critical: true, ..leaf(named) })],
            &["critical-extension"],
        ),
        ("rubbish", vec![Der::from(vec![1, 2, 3])], &["certificate-malformed"]),
        ("empty", vec![Der::from(vec![])], &["certificate-malformed"]),
        ("rubbish above", vec![good.clone(), Der::from(vec![0x30, 0])], &["unknown-issuer"]),
        ("too many", vec![good.clone(); 9], &["chain-too-long"]),
    ] {
        let judgement = judge(&incoming("them.example"), &tls(&chain.iter().collect::<Vec<_>>()), &policy);
        assert_eq!(codes(&judgement, Prooftype::Pkix), expected, "{what}: {judgement}");
        assert_eq!(judgement.is_accepted(), expected.is_empty(), "{what}");
    }
}

/// An authority that is held to its own domains must not reach others by an `SRVName` or `XmppAddr`, which webpki does not compare.
#[test]
fn name_constraints_hold_for_every_kind_of_name() {
    let spec =
        CaSpec { permitted: &["corp.example"], excluded: &["secret.corp.example"], ..CaSpec::default() };
    let root = Ca::root("root");
    let held = root.sub_with("held", spec);
    let held_root = Ca::root_with("held root", spec);
    for (remote, permitted) in [
        ("corp.example", true),
        ("chat.corp.example", true),
        ("secret.corp.example", false),
        ("a.secret.corp.example", false),
        ("bank.example", false),
        ("evilcorp.example", false),
    ] {
        let label = format!("_xmpp-server.{remote}");
        for names in [
            Leaf { srv: &[&label], ..Leaf::default() },
            Leaf { xmpp: &[remote], ..Leaf::default() },
            leaf(&[remote]),
        ] {
            let under = tls(&[&held.issue(&names), &held.der]);
            let first = judge(&incoming(remote), &under, &policy(trust(&[&root]), "pkix"));
            let second = judge(
                &incoming(remote),
                &tls(&[&held_root.issue(&names)]),
                &policy(trust(&[&held_root]), "pkix"),
            );
            for judgement in [first, second] {
                assert_eq!(judgement.is_accepted(), permitted, "{remote}: {judgement}");
                if !permitted {
                    assert_eq!(cause(&judgement), "name-constrained", "{judgement}");
                }
            }
        }
    }
}

/// Revocation lists by file: they count for their issuer only, and not beyond their end.
#[test]
fn revocation_lists_are_obeyed() {
    let root = Ca::root("root");
    let sub = root.sub("sub");
    let chain = tls(&[&sub.issue(&Leaf { serial: 77, ..leaf(&["them.example"]) }), &sub.der]);
    let with = |lists: &[Vec<u8>], required: bool| {
        let mut trust = trust(&[&root]);
        for list in lists {
            trust.add_revocation_list(list).unwrap();
        }
        trust.require_revocation_lists(required);
        let judgement = judge(&incoming("them.example"), &chain, &policy(trust, "pkix"));
        codes(&judgement, Prooftype::Pkix).join(" ")
    };
    assert_eq!(with(&[sub.revokes(&[1, 2], 2027)], false), "");
    assert_eq!(with(&[sub.revokes(&[1, 77], 2027)], false), "revoked");
    assert_eq!(with(&[root.revokes(&[77], 2027)], false), "", "another issuer's serial number");
    assert_eq!(with(&[sub.revokes(&[], 2026)], false), "revocation-list-expired");
    let namesake = root.sub("sub");
    assert_eq!(with(&[namesake.revokes(&[77], 2027)], false), "revocation-list-unusable");
    assert_eq!(with(&[], true), "revocation-unknown");
    assert_eq!(with(&[sub.revokes(&[], 2027)], true), "revocation-unknown", "the root's list is missing");
    assert_eq!(with(&[sub.revokes(&[], 2027), root.revokes(&[], 2027)], true), "");
    assert_eq!(Trust::new().add_revocation_list(b"x").unwrap_err().code(), "revocation-list-unusable");
    assert_eq!(Trust::new().add_anchor(&Der::from(vec![1])).unwrap_err().code(), "certificate-malformed");
}

/// RFC 7468 §6: authorities publish DER, and operators' tools write PEM, with several lists in a file; what is neither, or broken, is said to be.
#[test]
fn revocation_lists_in_pem() {
    let root = Ca::root("root");
    let sub = root.sub("sub");
    let pem = |label: &str, der: &[u8]| {
        let text = STANDARD.encode(der);
        let lines: Vec<_> =
            text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
        format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
    };
    let crl = |der: &[u8]| pem("X509 CRL", der);
    let (of_root, of_sub) = (root.revokes(&[], 2027), sub.revokes(&[77], 2027));
    let chain = tls(&[&sub.issue(&Leaf { serial: 77, ..leaf(&["them.example"]) }), &sub.der]);
    for (file, expected) in [
        (crl(&of_sub), "revoked"),
        (format!("{}{}", crl(&of_root), crl(&of_sub)), "revoked"),
        (format!("Of the authority, for the second quarter:\n{}", crl(&of_sub)), "revoked"),
        (crl(&of_root), ""),
    ] {
        let mut trust = trust(&[&root]);
        trust.add_revocation_list(file.as_bytes()).unwrap();
        let judgement = judge(&incoming("them.example"), &chain, &policy(trust, "pkix"));
        assert_eq!(codes(&judgement, Prooftype::Pkix).join(" "), expected, "{file}");
    }
    for bad in [
        String::new(),
        "there is none".to_owned(),
        pem("CERTIFICATE", &root.der),
        crl(&of_sub[1..]),
        crl(&of_sub).replace("-----END X509 CRL-----", ""),
        // Half of a file would look like all of it.
        format!("{}{}", crl(&of_sub), crl(b"x")),
    ] {
        let mut trust = trust(&[&root]);
        assert_eq!(
            trust.add_revocation_list(bad.as_bytes()).unwrap_err().code(),
            "revocation-list-unusable",
            "{bad}"
        );
        trust.require_revocation_lists(true);
        let judgement = judge(&incoming("them.example"), &chain, &policy(trust, "pkix"));
        assert_eq!(
            codes(&judgement, Prooftype::Pkix).join(" "),
            "revocation-unknown",
            "nothing of it was taken"
        );
    }
}

/// S3-20: the first certificate of the chain that ends ends the proof, and the last second counts.
#[test]
fn a_proof_ends_with_its_certificates() {
    let root = Ca::root("root");
    let sub = root.sub("sub");
    let evidence = tls(&[&sub.issue(&Leaf { years: (2026, 2050), ..leaf(&["them.example"]) }), &sub.der]);
    let policy = policy(trust(&[&root]), "pkix");
    let judgement = judge(&incoming("them.example"), &evidence, &policy);
    let expires = judgement.accepted().unwrap().expires();
    assert_eq!(expires.to_string(), "2040-01-01T00:00:00Z");
    let at = |time| nuncio_dna::judge(&incoming("them.example"), &evidence, &policy, time).is_accepted();
    assert!(at(expires));
    assert!(!at(expires.after(std::time::Duration::from_secs(1))));
    assert!(!judgement.accepted().unwrap().is_expired(expires));
}

/// S3-21, S3-22: without DNSSEC or POSH, a certificate for the SRV target proves nothing, whoever issued it.
#[test]
fn a_certificate_for_the_host_is_none_for_the_domain() {
    let root = Ca::root("root");
    let evidence = tls(&[&root.issue(&leaf(&["hosting.example"]))]);
    let judgement = judge(&outgoing("them.example"), &evidence, &policy(trust(&[&root]), "authenticated"));
    assert_eq!(proofs(&judgement), []);
    assert_eq!(cause(&judgement), "name-mismatch");
    assert_eq!(codes(&judgement, Prooftype::Delegation), ["dns-not-validated"]);
    assert_eq!(judgement.level.name(), "permissive");
}

#[test]
fn without_authorities_nobody_is_proven() {
    let root = Ca::root("root");
    let evidence = tls(&[&root.issue(&leaf(&["them.example"]))]);
    let judgement = judge(&outgoing("them.example"), &evidence, &policy(Trust::new(), "pkix"));
    assert_eq!(codes(&judgement, Prooftype::Pkix), ["no-trust-anchors"]);
}

/// S3-23: a pin is the operator's explicit exception, for one domain and one certificate or key.
#[test]
fn pins_accept_one_certificate_for_one_domain() {
    let pinned = Leaf { years: (2020, 2021), ..leaf(&["x.example"]) }.self_signed();
    let other = leaf(&["them.example"]).self_signed();
    let certificate = nuncio_dna::Tlsa::of(
        nuncio_dna::tlsa::Usage::DaneEe,
        nuncio_dna::tlsa::Selector::Cert,
        nuncio_dna::tlsa::Matching::Sha256,
        &pinned,
    );
    let key = nuncio_dna::Tlsa::of(
        nuncio_dna::tlsa::Usage::DaneEe,
        nuncio_dna::tlsa::Selector::Spki,
        nuncio_dna::tlsa::Matching::Sha256,
        &pinned,
    );
    for digest in [certificate, key] {
        let pin = nuncio_dna::Pin(digest.unwrap().data.try_into().unwrap());
        let mut policy = policy(Trust::new(), "authenticated");
        let rule = nuncio_dna::Rule { pins: vec![pin], ..nuncio_dna::Rule::default() };
        policy.peers.push(("them.example".parse().unwrap(), rule));
        let accepted = judge(&incoming("them.example"), &tls(&[&pinned]), &policy);
        assert_eq!(accepted.accepted().map(|proof| proof.by()), Some(Prooftype::Pin));
        let refused = judge(&incoming("them.example"), &tls(&[&other]), &policy);
        assert_eq!(cause(&refused), "pin-mismatch");
        let elsewhere = judge(&incoming("elsewhere.example"), &tls(&[&pinned]), &policy);
        assert_eq!(codes(&elsewhere, Prooftype::Pin), ["not-pinned"]);
    }
    assert!(NOW < later(1));
}

/// RFC 7712 §4.4: each pair of domains is judged for itself on the same certificate.
#[test]
fn one_certificate_proves_each_of_its_domains_and_no_other() {
    let root = Ca::root("root");
    let evidence = tls(&[&root.issue(&leaf(&["b.example", "c.example"]))]);
    let policy = policy(trust(&[&root]), "pkix");
    for (remote, proven) in
        [("b.example", true), ("c.example", true), ("d.example", false), ("rooms.b.example", false)]
    {
        let judgement = judge(&incoming(remote), &evidence, &policy);
        assert_eq!(judgement.accepted().map(|proof| proof.domain().as_str()), proven.then_some(remote));
    }
}

/// A chain of certificates that could all have issued one another is given up, not walked for ever.
#[test]
fn a_maze_of_certificates_is_refused() {
    let root = Ca::root("root");
    let namesakes: Vec<_> = (0..7).map(|_| Ca::root("maze")).collect();
    let server = namesakes[0].issue(&leaf(&["them.example"]));
    let chain: Vec<_> = std::iter::once(&server).chain(namesakes.iter().map(|ca| &ca.der)).collect();
    let judgement = judge(&incoming("them.example"), &tls(&chain), &policy(trust(&[&root]), "pkix"));
    assert_eq!(codes(&judgement, Prooftype::Pkix), ["path-too-costly"]);
}
