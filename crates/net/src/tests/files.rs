//! What may be wrong with files, and how it is said.

use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{CertificateParams, KeyPair, SanType};

use super::toy::Made;
use crate::tls::{PairFiles, TlsHosts, TlsSettings};

fn load(made: &Made, pair: PairFiles, domain: &str) -> Result<Vec<String>, String> {
    let mut host = made.host(domain);
    host.pairs = vec![pair];
    let settings = TlsSettings { hosts: vec![host], ..TlsSettings::default() };
    match TlsHosts::load(settings) {
        Ok((_, warnings)) => Ok(warnings.iter().map(ToString::to_string).collect()),
        Err(error) => Err(error.to_string()),
    }
}

#[test]
fn every_problem_names_its_file() {
    let made = Made::new("a.example");
    let other = Made::new("a.example");
    let (chain, key) = (made.ca.chain.clone(), made.ca.key.clone());
    let file = |name: &str, text: &str| {
        let path = made.path(name);
        fs::write(&path, text).unwrap();
        path
    };
    let empty = file("empty.pem", "");
    let broken = file("broken.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    let encrypted = file(
        "encrypted.pem",
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
    );
    let missing = made.path("missing.pem");
    let cases = [
        (&missing, &key, "missing.pem: cannot be read: "),
        (&chain, &missing, "missing.pem: cannot be read: "),
        (&empty, &key, "empty.pem: holds no certificate"),
        (&chain, &empty, "empty.pem: holds no private key"),
        (&key, &key, "host-key.pem: holds no certificate"),
        (&chain, &chain, "host.pem: holds no private key"),
        (&broken, &key, "broken.pem: its first certificate is no X.509 certificate"),
        (&chain, &encrypted, "encrypted.pem: holds an encrypted private key"),
        (&chain, &other.ca.key, "host-key.pem: holds a key that does not match the certificate in"),
    ];
    for (chain, key, expected) in cases {
        let pair = PairFiles { chain: chain.clone(), key: key.clone() };
        let error = load(&made, pair, "a.example").unwrap_err();
        assert!(error.contains(expected), "{expected}: {error}");
    }
    let error = load(&made, made.pair(), "b.example").unwrap_err();
    assert!(
        error.contains("host.pem: is not for b.example; its DNS names are: a.example, localhost"),
        "{error}"
    );

    let mut both = made.host("a.example");
    both.pairs.push(PairFiles { chain: missing.clone(), key: missing });
    let settings =
        TlsSettings { hosts: vec![both], default: Some("c.example".into()), ..TlsSettings::default() };
    let error = TlsHosts::load(settings).unwrap_err();
    assert_eq!(error.problems.len(), 3, "all problems are told at once: {error}");
}

#[test]
fn what_is_odd_is_a_warning() {
    let made = Made::new("a.example");
    assert_eq!(load(&made, made.pair(), "a.example"), Ok(Vec::new()));

    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let hour = Duration::from_secs(3600);
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.subject_alt_names.push(SanType::DnsName("*.a.example".try_into().unwrap()));
    for (from, to, expected) in [
        (now - 2 * hour, now - hour, Some("the certificate expired on")),
        (now + hour, now + 2 * hour, Some("the certificate is not valid before")),
        (now - hour, now + hour, None),
    ] {
        params.not_before = epoch + from;
        params.not_after = epoch + to;
        let key = KeyPair::generate().unwrap();
        let pair = PairFiles { chain: made.path("odd.pem"), key: made.path("odd-key.pem") };
        fs::write(&pair.chain, params.self_signed(&key).unwrap().pem()).unwrap();
        fs::write(&pair.key, key.serialize_pem()).unwrap();
        let warnings = load(&made, pair, "www.a.example").unwrap();
        let said = |text: &str| warnings.iter().any(|warning| warning.contains(text));
        match expected {
            Some(expected) => assert!(said(expected), "{warnings:?}"),
            None => assert!(!said("the certificate"), "{warnings:?}"),
        }
        #[cfg(unix)]
        assert!(said("others can read the key"), "{warnings:?}");
    }

    let twice = [fs::read(&made.ca.chain).unwrap(), fs::read(&made.ca.chain).unwrap()].concat();
    fs::write(&made.ca.chain, twice).unwrap();
    let warnings = load(&made, made.pair(), "a.example").unwrap();
    assert!(warnings[0].contains("certificate 2 did not issue the one before it"), "{warnings:?}");
}
