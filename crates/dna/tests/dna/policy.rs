//! S0-15, S3-22, S3-27, S3-28: what policy makes of the proofs.

use nuncio_dna::dialback::{Callback, Dialback};
use nuncio_dna::posh::{self, Posh, Retrieval};
use nuncio_dna::{Decision, Evidence, Judgement, Level, Policy, Prooftype, Reason, Rule, Tls, Trust};

use super::certs::{Ca, Der, END, NOW, later, leaf, trust};
use super::{cause, incoming, judge, policy, proofs, tls};

/// Evidence that proves by exactly these.
struct Bench {
    root: Ca,
    trusted: Der,
    own: Der,
}

impl Bench {
    fn new() -> Self {
        let root = Ca::root("root");
        let trusted = root.issue(&leaf(&["them.example"]));
        Self { root, trusted, own: leaf(&["them.example"]).self_signed() }
    }

    fn evidence(&self, version: Tls, pkix: bool, posh: bool, dialback: bool) -> Evidence {
        let certificate = if pkix { &self.trusted } else { &self.own };
        let mut evidence = tls(&[certificate]);
        evidence.tls = version;
        if version == Tls::None {
            evidence.chain.clear();
        }
        if posh {
            let body = posh::publish(&[certificate.as_ref()], std::time::Duration::from_secs(60));
            let url = "https://them.example/.well-known/posh/xmpp-server.json".to_owned();
            let first = Retrieval { url, redirects: vec![], at: NOW, outcome: Ok(body.into_bytes()) };
            evidence.posh = Some(Posh { first, second: None, renewal: None });
        }
        if dialback {
            let callback = Callback { tls: version, certificate: None, proofs: vec![] };
            evidence.dialback = Dialback::Verified(callback);
        }
        evidence
    }

    fn judge(&self, evidence: &Evidence, require: &str) -> Judgement {
        judge(&incoming("them.example"), evidence, &policy(trust(&[&self.root]), require))
    }
}

/// Every name and both words, on streams that prove by nothing, PKIX, POSH, both, or dialback.
#[test]
fn expressions_are_evaluated_over_proofs() {
    let bench = Bench::new();
    let nothing = bench.evidence(Tls::V13, false, false, false);
    let pkix = bench.evidence(Tls::V12, true, false, false);
    let posh = bench.evidence(Tls::V13, false, true, false);
    let both = bench.evidence(Tls::V13, true, true, false);
    let dialback = bench.evidence(Tls::V13, false, false, true);
    let plain = bench.evidence(Tls::None, false, false, true);
    let all = [&nothing, &pkix, &posh, &both, &dialback, &plain];
    for (require, accepted) in [
        ("permissive", [true; 6]),
        ("nobody", [false; 6]),
        ("tls", [true, true, true, true, true, false]),
        ("tls13", [true, false, true, true, true, false]),
        ("certificate", [true, true, true, true, true, false]),
        ("verified", [false, true, true, true, true, true]),
        ("encrypted", [false, true, true, true, true, false]),
        ("authenticated", [false, true, true, true, false, false]),
        ("pkix", [false, true, false, true, false, false]),
        ("posh", [false, false, true, true, false, false]),
        ("dialback", [false, false, false, false, true, true]),
        ("vouched", [false; 6]),
        ("dane or pin or delegation", [false; 6]),
        ("pkix or dane or posh", [false, true, true, true, false, false]),
        ("pkix and posh", [false, false, false, true, false, false]),
        ("dialback and tls13", [false, false, false, false, true, false]),
        ("authenticated or (dialback and tls13)", [false, true, true, true, true, false]),
        ("tls13 and (pkix or posh)", [false, false, true, true, false, false]),
    ] {
        let found = all.map(|evidence| bench.judge(evidence, require).is_accepted());
        assert_eq!(found, accepted, "{require}");
    }
    let levels = all.map(|evidence| bench.judge(evidence, "nobody").level);
    assert_eq!(
        levels,
        [
            Level::Permissive,
            Level::Authenticated,
            Level::Authenticated,
            Level::Authenticated,
            Level::Encrypted,
            Level::Verified
        ]
    );
    assert_eq!(
        bench.judge(&both, "tls").proofs.iter().map(|proof| proof.by()).collect::<Vec<_>>(),
        [Prooftype::Pkix, Prooftype::Posh]
    );
}

/// Show 4 of issue 4: where a certificate has proven the peer, nothing is wrong with it, and policy is the cause; a veto or a list comes first all the same.
#[test]
fn the_cause_is_the_policy_where_it_asks_for_more() {
    let bench = Bench::new();
    let pkix = bench.evidence(Tls::V13, true, false, false);
    for require in ["pin", "posh", "nobody", "pkix and dane", "dialback"] {
        assert_eq!(cause(&bench.judge(&pkix, require)), "policy-unmet", "{require}");
    }
    // What is proven by less than a certificate leaves the certificate to be mended.
    let dialback = bench.evidence(Tls::V13, false, false, true);
    assert_eq!(cause(&bench.judge(&dialback, "authenticated")), "self-signed");
    let mut denied = policy(trust(&[&bench.root]), "pin");
    denied.deny.push("them.example".parse().unwrap());
    assert_eq!(cause(&judge(&incoming("them.example"), &pkix, &denied)), "peer-denied");
}

/// S0-15: by default TLS and a proof by certificate are required, so nobody comes in unauthenticated.
#[test]
fn the_default_refuses_whoever_is_not_authenticated() {
    let bench = Bench::new();
    let policy = Policy { trust: trust(&[&bench.root]), ..Policy::default() };
    for (evidence, accepted, said) in [
        (bench.evidence(Tls::V13, true, false, false), true, "(none)"),
        (bench.evidence(Tls::V13, false, true, false), true, "(none)"),
        (bench.evidence(Tls::V13, false, false, true), false, "self-signed"),
        (bench.evidence(Tls::None, false, false, true), false, "no-tls"),
        (Evidence::of(Tls::V13, vec![]), false, "no-certificate"),
    ] {
        let judgement = judge(&incoming("them.example"), &evidence, &policy);
        assert_eq!((judgement.is_accepted(), cause(&judgement)), (accepted, said), "{judgement}");
    }
}

/// S3-20: the decision lasts as long as some way of fulfilling the policy does.
#[test]
fn a_decision_lasts_as_long_as_the_policy_is_fulfilled() {
    let bench = Bench::new();
    let both = bench.evidence(Tls::V13, true, true, false);
    for (require, until) in [
        ("pkix", END),
        ("posh", later(60)),
        ("pkix and posh", later(60)),
        ("pkix or posh", END),
        ("authenticated", END),
        ("tls", nuncio_dna::Time::NEVER),
    ] {
        let judgement = bench.judge(&both, require);
        let Decision::Accept { until: found, proof } = &judgement.decision else { panic!("{judgement}") };
        assert_eq!(*found, until, "{require}");
        assert_eq!(proof.by(), Prooftype::Pkix, "the strongest");
    }
}

/// Policy may take a peer at its word; the proof says that it did.
#[test]
fn an_assertion_is_called_one() {
    let judgement = judge(
        &incoming("them.example"),
        &Evidence::of(Tls::None, vec![]),
        &policy(Trust::new(), "permissive"),
    );
    let proof = judgement.accepted().unwrap();
    assert_eq!((proof.by(), judgement.level), (Prooftype::Assertion, Level::Permissive));
    assert_eq!(proofs(&judgement), []);
}

/// Lists come before proofs, and denying before allowing.
#[test]
fn lists_are_obeyed() {
    let bench = Bench::new();
    let good = bench.evidence(Tls::V13, true, false, false);
    let patterns = |list: &[&str]| list.iter().map(|pattern| pattern.parse().unwrap()).collect();
    for (allow, deny, expected) in [
        (&[][..], &[][..], "(none)"),
        (&["them.example"], &[], "(none)"),
        (&["*.example"], &[], "(none)"),
        (&["other.example", "*.them.example"], &[], "peer-not-allowed"),
        (&[], &["them.example"], "peer-denied"),
        (&["them.example"], &["*"], "peer-denied"),
        (&[], &["other.example"], "(none)"),
    ] {
        let policy =
            Policy { allow: patterns(allow), deny: patterns(deny), ..policy(trust(&[&bench.root]), "pkix") };
        let judgement = judge(&incoming("them.example"), &good, &policy);
        assert_eq!((cause(&judgement), judgement.is_accepted()), (expected, expected == "(none)"));
        assert_eq!(proofs(&judgement), [Prooftype::Pkix], "what is proven is told all the same");
    }
}

/// Rules for peers replace the default, in both directions.
#[test]
fn peers_may_have_rules_of_their_own() {
    let bench = Bench::new();
    let dialback = bench.evidence(Tls::V13, false, false, true);
    let mut policy = policy(trust(&[&bench.root]), "authenticated");
    assert!(!judge(&incoming("them.example"), &dialback, &policy).is_accepted());
    let rule = Rule { require: "authenticated or (dialback and tls13)".parse().unwrap(), ..Rule::default() };
    assert!(rule.require.wants_dialback() && !policy.default.require.wants_dialback());
    policy.peers.push(("*.example".parse().unwrap(), rule));
    assert!(judge(&incoming("them.example"), &dialback, &policy).is_accepted());
}

/// What operators read: every finding with its code, and the one cause on the last line.
#[test]
fn a_judgement_explains_itself() {
    let bench = Bench::new();
    let refused = bench.judge(&bench.evidence(Tls::V13, false, false, false), "authenticated").to_string();
    let last = refused.lines().last().unwrap();
    assert_eq!(last, "refused: pkix: the certificate of CN=a server is signed by itself [self-signed]");
    for code in ["dns-not-validated", "posh-not-asked", "not-pinned", "dialback-not-tried", "policy-unmet"] {
        assert!(refused.contains(&format!("[{code}]")), "{refused}");
    }
    let accepted = bench.judge(&bench.evidence(Tls::V13, true, false, false), "authenticated").to_string();
    assert_eq!(
        accepted.lines().next().unwrap(),
        "them.example is proven by pkix (certificate for DNS:them.example, issued by CN=root), until 2027-01-01T00:00:00Z"
    );
    assert_eq!(
        accepted.lines().last().unwrap(),
        "accepted: authenticated by pkix, over TLS 1.3, until 2027-01-01T00:00:00Z"
    );
}

/// The manual names every prooftype, every name of the policy language and every reason, and the codes keep their form.
#[test]
fn the_manual_has_every_name_and_reason() {
    let page = include_str!("../../../../docs/manual/proofs.md");
    for prooftype in Prooftype::ALL {
        assert!(page.contains(&format!("| `{prooftype}` |")), "{prooftype}");
    }
    for atom in nuncio_dna::policy::Atom::ALL {
        assert!(page.contains(&format!("`{}`", atom.name())), "{}", atom.name());
    }
    let mut codes = std::collections::BTreeSet::new();
    for (code, text) in Reason::TEXTS {
        assert!(page.contains(&format!("| `{code}` | {text} |\n")), "| `{code}` | {text} |");
        assert!(codes.insert(code), "{code} is there twice");
        assert!(code.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-'));
    }
    assert_eq!(page.lines().filter(|line| line.starts_with("| `")).count(), 6 + 9 + codes.len());
}

/// The shape of the JSON that the manual promises.
#[test]
fn a_judgement_is_json_for_machines() {
    let bench = Bench::new();
    let mut evidence = bench.evidence(Tls::V13, true, true, true);
    let accepted = bench.judge(&evidence, "authenticated").to_json();
    let expected = serde_json::json!({
        "domain": "them.example", "accepted": true, "by": "pkix", "until": "2027-01-01T00:00:00Z", "level": "authenticated", "tls": "TLS 1.3", "cause": null,
    });
    for (member, value) in expected.as_object().unwrap() {
        assert_eq!(&accepted[member], value, "{member}");
    }
    let proofs = accepted["proofs"].as_array().unwrap();
    assert_eq!(
        proofs.iter().map(|proof| proof["by"].as_str().unwrap()).collect::<Vec<_>>(),
        ["pkix", "posh", "dialback"]
    );
    assert_eq!(proofs[0]["evidence"]["name"], "DNS:them.example");
    assert_eq!(proofs[0]["evidence"]["target"], serde_json::Value::Null);
    assert_eq!(
        (proofs[1]["expires"].as_str(), proofs[1]["evidence"]["stale"].as_bool()),
        (Some("2026-06-01T00:01:00Z"), Some(false))
    );
    assert_eq!(proofs[2]["evidence"], serde_json::json!({ "vouched": null, "same-certificate": false }));
    assert_eq!(
        (&proofs[2]["expires"], &proofs[2]["strength"]),
        (&serde_json::Value::Null, &"encrypted".into())
    );
    evidence.chain.clear();
    let refused = bench.judge(&evidence, "dane").to_json();
    assert_eq!(
        (&refused["accepted"], &refused["by"], &refused["until"]),
        (&false.into(), &serde_json::Value::Null, &serde_json::Value::Null)
    );
    assert_eq!(refused["cause"], "no-certificate");
    let last = refused["findings"].as_array().unwrap().last().unwrap();
    assert_eq!(
        *last,
        serde_json::json!({ "by": null, "code": "policy-unmet", "text": "what is proven does not fulfil the policy \"dane\"", "veto": false })
    );
}
