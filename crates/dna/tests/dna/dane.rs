//! S3-16, S3-21, S3-25, S3-27: RFC 7673 and RFC 7671, rule by rule.

use nuncio_dna::dns::{
    Alias, Answer, Because, Dns, Endpoint, Lookup, LookupFailure, Security, Srv, Zone, references, tlsa_owner,
};
use nuncio_dna::tlsa::{Matching, Selector, Usage};
use nuncio_dna::{
    Basis, Claim, DaneUse, Direction, Evidence, Judgement, Prooftype, Rule, Time, Tls, Tlsa, Trust,
};

use super::certs::{Ca, CaSpec, Der, END, Leaf, NOW, later, leaf, trust};
use super::{cause, claim, codes, domain, incoming, judge, outgoing, policy, proofs, tls};
use Security::{Bogus, Indeterminate, Insecure, Secure};

const SRV: &str = "_xmpp-server._tcp.them.example";
const HOST: &str = "hosting.example";

fn srv(security: Security, host: &str) -> Lookup<Srv> {
    let records = vec![Srv { target: domain(host), port: 5269 }];
    Lookup::of(SRV, security, later(3600), Answer::Records(records))
}

fn addresses(host: &str, security: Security) -> Lookup<std::net::IpAddr> {
    Lookup::of(host, security, later(1800), Answer::Records(vec!["192.0.2.1".parse().unwrap()]))
}

fn records(host: &str, security: Security, records: Vec<Tlsa>) -> Lookup<Tlsa> {
    let owner = tlsa_owner(&domain(host), 5269);
    let answer = if records.is_empty() { Answer::NoRecords } else { Answer::Records(records) };
    Lookup::of(&owner, security, later(900), answer)
}

fn endpoint(host: &str, tlsa: Vec<Tlsa>) -> Endpoint {
    let tlsa = Some(records(host, Secure, tlsa));
    Endpoint { host: domain(host), port: 5269, addresses: addresses(host, Secure), tlsa }
}

/// Everything signed: SRV to `hosting.example`, its address, these TLSA records.
fn signed(tlsa: Vec<Tlsa>) -> Dns {
    Dns { srv: vec![srv(Secure, HOST)], endpoints: vec![endpoint(HOST, tlsa)] }
}

fn with(dns: Dns, chain: &[&Der]) -> Evidence {
    Evidence { dns: Some(dns), ..tls(chain) }
}

fn of(usage: Usage, certificate: &[u8]) -> Tlsa {
    Tlsa::of(usage, Selector::Spki, Matching::Sha256, certificate).unwrap()
}

fn run(dns: Dns, chain: &[&Der], trust: Trust) -> Judgement {
    judge(&outgoing("them.example"), &with(dns, chain), &policy(trust, "authenticated"))
}

/// RFC 7671 §5.1: usage 3 ignores names, dates, purposes and issuers; every selector and matching type; both directions.
#[test]
fn dane_ee_ignores_all_but_the_key() {
    let odd = Leaf {
        years: (2020, 2021),
        authority: true,
        purposes: &[rcgen::ExtendedKeyUsagePurpose::CodeSigning],
        ..leaf(&["somebody.else"])
    };
    let odd = odd.self_signed();
    for selector in [Selector::Cert, Selector::Spki] {
        for matching in [Matching::Full, Matching::Sha256, Matching::Sha512] {
            let record = Tlsa::of(Usage::DaneEe, selector, matching, &odd).unwrap();
            for direction in [Direction::In, Direction::Out] {
                let evidence = with(signed(vec![record.clone()]), &[&odd]);
                let judgement =
                    judge(&claim("them.example", direction), &evidence, &policy(Trust::new(), "dane"));
                let proof = judgement.accepted().unwrap();
                assert_eq!(proof.expires(), later(900), "the shortest TTL");
                let Basis::Tlsa { owner, record, identifier: None, .. } = proof.basis() else {
                    panic!("{judgement}")
                };
                assert_eq!(owner, "_5269._tcp.hosting.example");
                assert_eq!(*record, (3, selector as u8, matching as u8));
            }
        }
    }
    let mismatch =
        run(signed(vec![of(Usage::DaneEe, &odd)]), &[&leaf(&["them.example"]).self_signed()], Trust::new());
    assert_eq!(codes(&mismatch, Prooftype::Dane), ["tlsa-mismatch!"]);
}

/// RFC 6698 §2.1.1, RFC 7671 §5.2-§5.4: what usages 0, 1 and 2 demand beside the match.
#[test]
fn the_other_usages_want_chains_and_names() {
    let root = Ca::root("root");
    let sub = root.sub("sub");
    let private = Ca::root("private");
    let short = private.sub_with("short", CaSpec { length: Some(0), ..CaSpec::default() });
    let below = short.sub("below");
    let expired = private.sub_with("old", CaSpec { expired: true, ..CaSpec::default() });
    let named = sub.issue(&leaf(&["them.example"]));
    let hosted = sub.issue(&leaf(&[HOST]));
    let wrong = sub.issue(&leaf(&["x.example"]));
    let old = sub.issue(&Leaf { years: (2020, 2021), ..leaf(&["them.example"]) });
    let own = private.issue(&leaf(&["them.example"]));
    let own_hosted = private.issue(&leaf(&[HOST]));
    let own_wrong = private.issue(&leaf(&["x.example"]));
    let self_made = leaf(&["them.example"]).self_signed();
    let long = below.issue(&leaf(&["them.example"]));
    let aged = expired.issue(&leaf(&["them.example"]));
    let (s, p) = (&sub.der, &private.der);
    for (what, usage, matched, chain, expected) in [
        ("trusted authority", Usage::PkixTa, s, vec![&named, s], ""),
        ("trusted root, not sent", Usage::PkixTa, &root.der, vec![&named, s], ""),
        ("trusted authority, host's name", Usage::PkixTa, s, vec![&hosted, s], ""),
        ("trusted authority, wrong name", Usage::PkixTa, s, vec![&wrong, s], "tlsa-name-mismatch!"),
        ("another trusted authority", Usage::PkixTa, p, vec![&named, s], "tlsa-mismatch!"),
        ("authority that is not trusted", Usage::PkixTa, p, vec![&own, p], "tlsa-chain-invalid!"),
        ("the leaf as authority", Usage::PkixTa, &named, vec![&named, s], "tlsa-mismatch!"),
        ("trusted certificate", Usage::PkixEe, &named, vec![&named, s], ""),
        ("trusted certificate, host's name", Usage::PkixEe, &hosted, vec![&hosted, s], ""),
        ("trusted certificate, wrong name", Usage::PkixEe, &wrong, vec![&wrong, s], "tlsa-name-mismatch!"),
        ("expired certificate", Usage::PkixEe, &old, vec![&old, s], "tlsa-chain-invalid!"),
        ("self-signed certificate", Usage::PkixEe, &self_made, vec![&self_made], "tlsa-chain-invalid!"),
        ("another certificate", Usage::PkixEe, &hosted, vec![&named, s], "tlsa-mismatch!"),
        ("own authority", Usage::DaneTa, p, vec![&own, p], ""),
        ("own authority, host's name", Usage::DaneTa, p, vec![&own_hosted, p], ""),
        ("own authority, wrong name", Usage::DaneTa, p, vec![&own_wrong, p], "tlsa-name-mismatch!"),
        ("own authority, not sent", Usage::DaneTa, p, vec![&own], "tlsa-mismatch!"),
        ("intermediate of own authority", Usage::DaneTa, s, vec![&named, s], ""),
        ("own authority did not issue it", Usage::DaneTa, p, vec![&named, p], "tlsa-chain-invalid!"),
        (
            "authority below its length",
            Usage::DaneTa,
            &short.der,
            vec![&long, &below.der, &short.der],
            "tlsa-chain-invalid!",
        ),
        (
            "authority itself has expired",
            Usage::DaneTa,
            &expired.der,
            vec![&aged, &expired.der],
            "tlsa-chain-invalid!",
        ),
        ("expired under own authority", Usage::DaneTa, s, vec![&old, s], "tlsa-chain-invalid!"),
    ] {
        let judgement = run(signed(vec![of(usage, matched)]), &chain, trust(&[&root]));
        assert_eq!(codes(&judgement, Prooftype::Dane).join(" "), expected, "{what}: {judgement}");
        let by_dane = judgement.proofs.iter().find(|proof| proof.by() == Prooftype::Dane);
        assert_eq!(
            (by_dane.is_some(), judgement.is_accepted()),
            (expected.is_empty(), expected.is_empty()),
            "{what}"
        );
        if let Some(proof) = by_dane {
            assert_eq!(proof.expires(), later(900).min(END), "{what}");
        }
    }
}

/// RFC 7671 §5.2.2, §5.2.3: authorities that stand in DNS only.
#[test]
fn authorities_may_come_from_dns() {
    let private = Ca::root("private");
    let other = Ca::root("private");
    let named = private.issue(&leaf(&["them.example"]));
    let sub = private.sub("sub");
    let deeper = sub.issue(&leaf(&["them.example"]));
    let old = private.issue(&Leaf { years: (2020, 2021), ..leaf(&["them.example"]) });
    let full = |ca: &Ca| Tlsa::of(Usage::DaneTa, Selector::Cert, Matching::Full, &ca.der).unwrap();
    let key = |ca: &Ca| Tlsa { usage: 2, selector: 1, matching: 0, data: ca.spki() };
    assert_eq!(key(&private), Tlsa::of(Usage::DaneTa, Selector::Spki, Matching::Full, &private.der).unwrap());
    let wrong = private.issue(&leaf(&["x.example"]));
    for (what, record, chain, expected) in [
        ("whole certificate", full(&private), vec![&named], ""),
        ("whole certificate, intermediate sent", full(&private), vec![&deeper, &sub.der], ""),
        ("whole certificate of a namesake", full(&other), vec![&named], "tlsa-chain-invalid!"),
        ("key only", key(&private), vec![&named], ""),
        ("key only, intermediate sent", key(&private), vec![&deeper, &sub.der], ""),
        ("key of a namesake", key(&other), vec![&named], "tlsa-mismatch!"),
        ("key only, wrong name", key(&private), vec![&wrong], "tlsa-name-mismatch!"),
        ("key only, expired", key(&private), vec![&old], "tlsa-chain-invalid!"),
    ] {
        let judgement = run(signed(vec![record]), &chain, Trust::new());
        assert_eq!(codes(&judgement, Prooftype::Dane).join(" "), expected, "{what}: {judgement}");
        assert_eq!(judgement.is_accepted(), expected.is_empty(), "{what}");
    }
}

/// RFC 7671 §9 and RFC 6698 §4.1: the strongest digest counts; what cannot be used is as if it were not there.
#[test]
fn digests_are_agile_and_odd_records_ignored() {
    let good = leaf(&["them.example"]).self_signed();
    let other = leaf(&["them.example"]).self_signed();
    let record =
        |usage, matching, certificate: &Der| Tlsa::of(usage, Selector::Spki, matching, certificate).unwrap();
    let ee = |matching, certificate| record(Usage::DaneEe, matching, certificate);
    let odd =
        |usage, selector, matching, length: usize| Tlsa { usage, selector, matching, data: vec![9; length] };
    for (what, records, proven, expected) in [
        (
            "the stronger one matches",
            vec![ee(Matching::Sha256, &other), ee(Matching::Sha512, &good)],
            true,
            "",
        ),
        (
            "the weaker one matches",
            vec![ee(Matching::Sha256, &good), ee(Matching::Sha512, &other)],
            false,
            "tlsa-mismatch!",
        ),
        ("a full one beside it", vec![ee(Matching::Full, &good), ee(Matching::Sha512, &other)], true, ""),
        (
            "another usage's digest does not count",
            vec![ee(Matching::Sha256, &good), record(Usage::DaneTa, Matching::Sha512, &other)],
            true,
            "",
        ),
        ("a broken stronger one", vec![ee(Matching::Sha256, &good), odd(3, 1, 2, 63)], true, ""),
        ("usage 255", vec![odd(255, 1, 1, 32)], false, "tlsa-unusable"),
        ("selector 2", vec![odd(3, 2, 1, 32)], false, "tlsa-unusable"),
        ("matching type 3", vec![odd(3, 1, 3, 32)], false, "tlsa-unusable"),
        ("short digest", vec![odd(3, 1, 1, 31)], false, "tlsa-unusable"),
        ("full rubbish", vec![odd(3, 0, 0, 40), odd(2, 1, 0, 40)], false, "tlsa-unusable"),
        ("rubbish beside a good one", vec![odd(255, 1, 1, 32), ee(Matching::Sha256, &good)], true, ""),
    ] {
        let judgement = run(signed(records), &[&good], Trust::new());
        assert_eq!(codes(&judgement, Prooftype::Dane).join(" "), expected, "{what}: {judgement}");
        assert_eq!(judgement.is_accepted(), proven, "{what}");
    }
}

/// RFC 7673 §3: what each state of each lookup leads to, while a good PKIX certificate for the domain is there to fall back on.
#[test]
fn broken_lookups_veto_and_insecure_ones_fall_back() {
    let root = Ca::root("root");
    let good = root.issue(&leaf(&["them.example"]));
    let base = || signed(vec![of(Usage::DaneEe, &good)]);
    let endpoint = |change: &dyn Fn(&mut Endpoint)| {
        let mut dns = base();
        change(&mut dns.endpoints[0]);
        dns
    };
    let of_srv = |lookup: Lookup<Srv>| Dns { srv: vec![lookup], ..base() };
    let fails = |zone| Lookup::failed(SRV, LookupFailure::ServFail, zone);
    let no_srv = |security| Lookup::of(SRV, security, later(60), Answer::NoRecords);
    let alias = |security, target: &str, owner: &str| Alias {
        owner: owner.to_owned(),
        target: target.to_owned(),
        security,
        expires: later(30),
    };
    let aliased = |aliases: Vec<Alias>| Lookup { aliases, ..srv(Secure, HOST) };
    let stale = |time: Time| Lookup { expires: time, ..srv(Secure, HOST) };
    let tlsa_failed = |zone| {
        let owner = tlsa_owner(&domain(HOST), 5269);
        endpoint(&move |e| e.tlsa = Some(Lookup::failed(&owner, LookupFailure::Timeout, zone)))
    };
    for (what, dns, expected, dane) in [
        ("all secure", base(), "", true),
        ("SRV bogus", of_srv(srv(Bogus, HOST)), "srv-bogus! endpoint-not-delegated", false),
        (
            "SRV indeterminate",
            of_srv(srv(Indeterminate, HOST)),
            "srv-indeterminate! endpoint-not-delegated",
            false,
        ),
        ("SRV fails", of_srv(fails(Zone::MayBeSigned)), "srv-failed! endpoint-not-delegated", false),
        (
            "SRV fails in an unsigned zone",
            of_srv(fails(Zone::Unsigned)),
            "srv-failed endpoint-not-delegated",
            false,
        ),
        ("SRV insecure", of_srv(srv(Insecure, HOST)), "srv-insecure", false),
        (
            "SRV behind secure aliases",
            of_srv(aliased(vec![alias(Secure, "a.example", SRV), alias(Secure, "b.example", "A.example.")])),
            "",
            true,
        ),
        (
            "SRV behind an insecure alias",
            of_srv(aliased(vec![alias(Insecure, "a.example", SRV)])),
            "srv-insecure",
            false,
        ),
        (
            "SRV behind a bogus alias",
            of_srv(aliased(vec![alias(Secure, "a.example", SRV), alias(Bogus, "b.example", "a.example")])),
            "srv-bogus! endpoint-not-delegated",
            false,
        ),
        (
            "SRV behind aliases of something else",
            of_srv(aliased(vec![alias(Secure, "a.example", "x.example")])),
            "srv-bogus! endpoint-not-delegated",
            false,
        ),
        ("SRV of another host", of_srv(srv(Secure, "elsewhere.example")), "endpoint-not-delegated", false),
        (
            "SRV of another domain",
            of_srv(Lookup { owner: "_xmpp-server._tcp.other.example".to_owned(), ..srv(Secure, HOST) }),
            "endpoint-not-delegated",
            false,
        ),
        (
            "SRV of another service",
            of_srv(Lookup { owner: "_xmpp-client._tcp.them.example".to_owned(), ..srv(Secure, HOST) }),
            "endpoint-not-delegated",
            false,
        ),
        (
            "SRV for direct TLS",
            of_srv(Lookup { owner: "_xmpps-server._tcp.THEM.example.".to_owned(), ..srv(Secure, HOST) }),
            "",
            true,
        ),
        (
            "addresses of another host",
            endpoint(&|e| e.addresses = addresses("other.example", Secure)),
            "address-indeterminate!",
            false,
        ),
        (
            "SRV securely denied, but not to the domain",
            of_srv(no_srv(Secure)),
            "endpoint-not-delegated",
            false,
        ),
        (
            "SRV too old",
            of_srv(stale(Time::from_secs(NOW.as_secs() - 1))),
            "dns-stale! endpoint-not-delegated",
            false,
        ),
        ("SRV at its last second", of_srv(stale(NOW)), "", true),
        (
            "one of two SRV fails, the other leads here",
            Dns { srv: vec![fails(Zone::MayBeSigned), srv(Secure, HOST)], ..base() },
            "",
            true,
        ),
        ("no SRV lookup", Dns { srv: vec![], ..base() }, "endpoint-not-delegated", false),
        ("no endpoint", Dns { endpoints: vec![], ..base() }, "no-endpoint", false),
        (
            "no endpoint, SRV bogus",
            Dns { endpoints: vec![], srv: vec![srv(Bogus, HOST)] },
            "srv-bogus!",
            false,
        ),
        ("address bogus", endpoint(&|e| e.addresses = addresses(HOST, Bogus)), "address-bogus!", false),
        (
            "address indeterminate",
            endpoint(&|e| e.addresses = addresses(HOST, Indeterminate)),
            "address-indeterminate!",
            false,
        ),
        (
            "address fails",
            endpoint(&|e| e.addresses = Lookup::failed(HOST, LookupFailure::Timeout, Zone::MayBeSigned)),
            "address-failed!",
            false,
        ),
        (
            "address insecure",
            endpoint(&|e| {
                e.addresses = addresses(HOST, Insecure);
                e.tlsa = None;
            }),
            "address-insecure",
            false,
        ),
        (
            "no address",
            endpoint(&|e| e.addresses = Lookup::of(HOST, Secure, later(9), Answer::NoRecords)),
            "address-absent",
            false,
        ),
        ("TLSA not asked", endpoint(&|e| e.tlsa = None), "tlsa-not-asked!", false),
        (
            "TLSA of another port",
            endpoint(&|e| {
                e.tlsa = Some(Lookup {
                    owner: "_443._tcp.hosting.example".to_owned(),
                    ..records(HOST, Secure, vec![of(Usage::DaneEe, &good)])
                })
            }),
            "tlsa-not-asked!",
            false,
        ),
        (
            "TLSA bogus",
            endpoint(&|e| e.tlsa = Some(records(HOST, Bogus, vec![of(Usage::DaneEe, &good)]))),
            "tlsa-bogus!",
            false,
        ),
        (
            "TLSA denial bogus",
            endpoint(&|e| e.tlsa = Some(records(HOST, Bogus, vec![]))),
            "tlsa-bogus!",
            false,
        ),
        (
            "TLSA indeterminate",
            endpoint(&|e| e.tlsa = Some(records(HOST, Indeterminate, vec![]))),
            "tlsa-indeterminate!",
            false,
        ),
        ("TLSA fails", tlsa_failed(Zone::MayBeSigned), "tlsa-failed!", false),
        ("TLSA fails in an unsigned zone", tlsa_failed(Zone::Unsigned), "tlsa-failed", false),
        (
            "TLSA insecure",
            endpoint(&|e| e.tlsa = Some(records(HOST, Insecure, vec![of(Usage::DaneEe, &good)]))),
            "tlsa-insecure",
            false,
        ),
        ("TLSA securely denied", signed(vec![]), "tlsa-absent", false),
    ] {
        let judgement = run(dns, &[&good], trust(&[&root]));
        let found = codes(&judgement, Prooftype::Dane).join(" ");
        assert_eq!(found, expected, "{what}: {judgement}");
        assert_eq!(proofs(&judgement).contains(&Prooftype::Dane), dane, "{what}");
        // The certificate is good; only a veto may stand in its way.
        assert!(proofs(&judgement).contains(&Prooftype::Pkix), "{what}");
        assert_eq!(judgement.is_accepted(), !found.contains('!'), "{what}");
        if let Some(veto) = expected.split(' ').find_map(|code| code.strip_suffix('!')) {
            assert_eq!(cause(&judgement), veto, "{what}");
        }
    }
}

/// Show 6: a man in the middle with a certificate of another trusted authority is refused, and it is said why.
#[test]
fn a_trusted_certificate_does_not_outweigh_tlsa() {
    let root = Ca::root("root");
    let real = leaf(&["them.example"]).self_signed();
    let forged = root.issue(&leaf(&["them.example"]));
    for direction in [Direction::In, Direction::Out] {
        let evidence = with(signed(vec![of(Usage::DaneEe, &real)]), &[&forged]);
        for require in ["authenticated", "pkix", "permissive"] {
            let judgement =
                judge(&claim("them.example", direction), &evidence, &policy(trust(&[&root]), require));
            assert_eq!((judgement.is_accepted(), cause(&judgement)), (false, "tlsa-mismatch"));
            let last = judgement.to_string();
            assert!(
                last.lines()
                    .last()
                    .unwrap()
                    .contains("matches none of the 1 usable TLSA records at _5269._tcp.hosting.example"),
                "{last}"
            );
        }
    }
}

/// RFC 7673 §3.4: usable TLSA records promise TLS.
#[test]
fn tlsa_records_forbid_plaintext() {
    let good = leaf(&["them.example"]).self_signed();
    let evidence =
        Evidence { tls: Tls::None, chain: vec![], ..with(signed(vec![of(Usage::DaneEe, &good)]), &[]) };
    let judgement = judge(&outgoing("them.example"), &evidence, &policy(Trust::new(), "permissive"));
    assert_eq!((judgement.is_accepted(), cause(&judgement)), (false, "tlsa-requires-tls"));
    let without = Evidence { dns: Some(signed(vec![])), ..evidence };
    assert!(judge(&outgoing("them.example"), &without, &policy(Trust::new(), "permissive")).is_accepted());
}

/// RFC 7671 §7: behind secure aliases of the host, TLSA records of the last name come first, and its name counts in certificates.
#[test]
fn aliases_of_the_host_are_expanded() {
    let private = Ca::root("private");
    let named = private.issue(&leaf(&["node7.farm.example"]));
    let alias = |security| Alias {
        owner: HOST.to_owned(),
        target: "node7.farm.example".to_owned(),
        security,
        expires: later(120),
    };
    let mut one = endpoint(HOST, vec![of(Usage::DaneTa, &private.der)]);
    one.addresses.aliases = vec![alias(Secure)];
    assert_eq!(one.tlsa_owners(), ["_5269._tcp.node7.farm.example", "_5269._tcp.hosting.example"]);
    let dns = |one: Endpoint| Dns { srv: vec![srv(Secure, HOST)], endpoints: vec![one] };
    let own = run(dns(one.clone()), &[&named, &private.der], Trust::new());
    assert_eq!(
        codes(&own, Prooftype::Dane),
        ["tlsa-name-mismatch!"],
        "the host's own records do not vouch for the other name"
    );
    one.tlsa = Some(records("node7.farm.example", Secure, vec![of(Usage::DaneTa, &private.der)]));
    let expanded = run(dns(one.clone()), &[&named, &private.der], Trust::new());
    assert_eq!(expanded.accepted().map(|proof| proof.expires()), Some(later(120)));
    one.addresses.aliases = vec![alias(Insecure)];
    assert_eq!(one.tlsa_owners(), ["_5269._tcp.hosting.example"]);
    let insecure = run(dns(one), &[&named, &private.der], Trust::new());
    assert_eq!(codes(&insecure, Prooftype::Dane), ["address-insecure"]);
}

/// RFC 7712 §5.1: without SRV records the domain itself is the host, by RFC 6120 §3.2.2; its own TLSA records count.
#[test]
fn a_domain_without_srv_is_its_own_host() {
    let good = leaf(&["x.example"]).self_signed();
    let dns = |security| Dns {
        srv: vec![Lookup::of(SRV, security, later(60), Answer::NoRecords)],
        endpoints: vec![endpoint("them.example", vec![of(Usage::DaneEe, &good)])],
    };
    let judgement = run(dns(Secure), &[&good], Trust::new());
    assert_eq!(judgement.accepted().map(|proof| proof.expires()), Some(later(60)));
    assert_eq!(codes(&run(dns(Insecure), &[&good], Trust::new()), Prooftype::Dane), ["srv-insecure"]);
}

/// A peer may come from any of its hosts: one that matches proves it; without one, whatever is unknown or contradicts vetoes.
#[test]
fn a_peer_may_come_from_any_of_its_hosts() {
    let root = Ca::root("root");
    let good = root.issue(&leaf(&["them.example"]));
    let other = leaf(&["x.example"]).self_signed();
    let ee = |certificate: &Der| vec![of(Usage::DaneEe, certificate)];
    let bogus = |host: &str| Endpoint { tlsa: Some(records(host, Bogus, vec![])), ..endpoint(host, vec![]) };
    let insecure =
        |host: &str| Endpoint { addresses: addresses(host, Insecure), tlsa: None, ..endpoint(host, vec![]) };
    for (what, endpoints, expected) in [
        ("the second one", vec![endpoint("a.example", ee(&other)), endpoint("b.example", ee(&good))], ""),
        (
            "the second one, the first is broken",
            vec![bogus("a.example"), endpoint("b.example", ee(&good))],
            "",
        ),
        (
            "neither",
            vec![endpoint("a.example", ee(&other)), endpoint("b.example", ee(&other))],
            "tlsa-mismatch! tlsa-mismatch!",
        ),
        (
            "neither, one broken",
            vec![endpoint("a.example", ee(&other)), bogus("b.example")],
            "tlsa-bogus! tlsa-mismatch!",
        ),
        (
            "one has none (RFC 7673 §9.1)",
            vec![endpoint("a.example", ee(&other)), endpoint("b.example", vec![])],
            "tlsa-mismatch tlsa-absent",
        ),
        (
            "one is not signed",
            vec![endpoint("a.example", ee(&other)), insecure("b.example")],
            "tlsa-mismatch address-insecure",
        ),
        ("one is left out", vec![endpoint("a.example", ee(&other))], "tlsa-not-asked! tlsa-mismatch!"),
        ("one is left out, the other proves", vec![endpoint("b.example", ee(&good))], ""),
        (
            "a stranger does not help",
            vec![
                endpoint("a.example", ee(&other)),
                endpoint("b.example", ee(&other)),
                endpoint("c.example", vec![]),
            ],
            "tlsa-mismatch! tlsa-mismatch! endpoint-not-delegated",
        ),
    ] {
        let targets = ["a.example", "b.example"].map(|host| Srv { target: domain(host), port: 5269 });
        let srv = Lookup::of(SRV, Secure, later(60), Answer::Records(targets.to_vec()));
        let evidence = with(Dns { srv: vec![srv], endpoints }, &[&good]);
        let judgement =
            judge(&incoming("them.example"), &evidence, &policy(trust(&[&root]), "authenticated"));
        let found = codes(&judgement, Prooftype::Dane).join(" ");
        assert_eq!(found, expected, "{what}: {judgement}");
        assert_eq!(judgement.is_accepted(), !found.contains('!'), "{what}");
    }
}

/// S3-21, S3-25, RFC 7673 §4.1: a signed SRV record makes a certificate for its host good enough; an unsigned one does not.
#[test]
fn signed_srv_records_delegate_securely() {
    let root = Ca::root("root");
    let hosted = root.issue(&leaf(&[HOST]));
    for direction in [Direction::In, Direction::Out] {
        let judged = |dns: Dns| {
            judge(
                &claim("them.example", direction),
                &with(dns, &[&hosted]),
                &policy(trust(&[&root]), "authenticated"),
            )
        };
        let judgement = judged(signed(vec![]));
        let proof = judgement.accepted().unwrap();
        assert_eq!((proof.by(), proof.domain().as_str()), (Prooftype::Delegation, "them.example"));
        assert_eq!(proof.expires(), later(3600), "as long as the SRV record");
        let Basis::Certificate { target: Some(target), .. } = proof.basis() else { panic!("{judgement}") };
        assert_eq!(target.as_str(), HOST);
        assert_eq!(codes(&judgement, Prooftype::Pkix), ["name-mismatch"]);
        for security in [Insecure, Bogus, Indeterminate] {
            let refused = judged(Dns { srv: vec![srv(security, HOST)], ..signed(vec![]) });
            assert_eq!(
                (refused.is_accepted(), codes(&refused, Prooftype::Delegation)),
                (false, vec!["not-delegated".to_owned()])
            );
        }
        let stranger = judged(Dns {
            srv: vec![srv(Secure, "other.example")],
            endpoints: vec![endpoint("other.example", vec![])],
        });
        assert_eq!(codes(&stranger, Prooftype::Delegation), ["name-mismatch"]);
    }
}

/// RFC 7673 §4.1: the reference identifiers.
#[test]
fn reference_identifiers_include_hosts_of_signed_records_only() {
    let of = |claim: &Claim, dns: &Dns| {
        let all = references(claim, Some(dns), NOW);
        assert_eq!(all[0].because, Because::Service);
        all.into_iter().map(|reference| reference.domain.to_string()).collect::<Vec<_>>()
    };
    let out = outgoing("them.example");
    assert_eq!(of(&out, &signed(vec![])), ["them.example", HOST]);
    assert_eq!(of(&out, &Dns { srv: vec![srv(Insecure, HOST)], ..signed(vec![]) }), ["them.example"]);
    let two = Dns { endpoints: vec![endpoint(HOST, vec![]), endpoint(HOST, vec![])], ..signed(vec![]) };
    assert_eq!(of(&incoming("them.example"), &two), ["them.example", HOST]);
    assert_eq!(references(&out, None, NOW).len(), 1);
}

/// An operator can leave a peer's broken records out, and says so per peer.
#[test]
fn dane_can_be_ignored_for_a_peer() {
    let root = Ca::root("root");
    let good = root.issue(&leaf(&["them.example"]));
    let evidence = with(Dns { srv: vec![srv(Bogus, HOST)], endpoints: vec![] }, &[&good]);
    let mut policy = policy(trust(&[&root]), "authenticated");
    assert!(!judge(&outgoing("them.example"), &evidence, &policy).is_accepted());
    policy.peers.push(("them.example".parse().unwrap(), Rule { dane: DaneUse::Ignore, ..Rule::default() }));
    let judgement = judge(&outgoing("them.example"), &evidence, &policy);
    assert!(judgement.is_accepted());
    assert_eq!(codes(&judgement, Prooftype::Dane), ["dane-ignored"]);
}

/// However many records of a usage there are, the right one is found, and what is told is about the one that was meant.
#[test]
fn many_records_are_judged_together() {
    let root = Ca::root("root");
    let sub = root.sub("sub");
    let private = Ca::root("private");
    let namesakes: Vec<_> = (0..40).map(|_| Ca::root("private")).collect();
    let own = private.issue(&leaf(&["them.example"]));
    let trusted = sub.issue(&leaf(&["them.example"]));
    let full = |ca: &Ca| Tlsa::of(Usage::DaneTa, Selector::Cert, Matching::Full, &ca.der).unwrap();
    let key = |ca: &Ca| Tlsa::of(Usage::DaneTa, Selector::Spki, Matching::Full, &ca.der).unwrap();
    let through = |ca: &Ca| of(Usage::PkixTa, &ca.der);
    for make in [&full as &dyn Fn(&Ca) -> Tlsa, &key] {
        let mut records: Vec<_> = namesakes.iter().map(make).collect();
        let without = run(signed(records.clone()), &[&own], Trust::new());
        let expected = if make(&private).selector == 0 { "tlsa-chain-invalid!" } else { "tlsa-mismatch!" };
        assert_eq!(codes(&without, Prooftype::Dane), [expected], "{without}");
        records.insert(20, make(&private));
        assert!(run(signed(records), &[&own], Trust::new()).is_accepted());
    }
    let mut records: Vec<_> = namesakes.iter().map(through).collect();
    assert_eq!(
        codes(&run(signed(records.clone()), &[&trusted, &sub.der], trust(&[&root])), Prooftype::Dane),
        ["tlsa-mismatch!"]
    );
    records.push(through(&root));
    assert!(run(signed(records), &[&trusted, &sub.der], trust(&[&root])).is_accepted());
}
