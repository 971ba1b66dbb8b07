//! S3-18, S3-24: what we publish, others and ourselves understand.

use nuncio_dna::tlsa::{self, Matching, Selector, Usage};
use nuncio_dna::{CertificateDer, Tlsa};
use rcgen::KeyPair;

use super::certs::{Leaf, leaf};
use super::domain;

/// `3 1 1` at every endpoint, for the certificate in use and the next one; one line for one key (RFC 7671 §5.1, §8.1).
#[test]
fn tlsa_records_are_lines_of_a_zone() {
    let key = KeyPair::generate().unwrap();
    let current = Leaf { key: Some(&key), ..leaf(&["a.example"]) }.self_signed();
    let renewed = Leaf { key: Some(&key), years: (2026, 2028), ..leaf(&["a.example"]) }.self_signed();
    let next = leaf(&["a.example"]).self_signed();
    let endpoints = [(domain("xmpp.a.example"), 5269), (domain("xmpp.a.example"), 5270)];
    let zone = tlsa::publish(&endpoints, 3600, &[&current, &renewed, &next]).unwrap();
    let lines: Vec<_> = zone.lines().collect();
    assert_eq!(lines.len(), 4, "{zone}");
    for (line, (port, certificate)) in
        lines.iter().zip([(5269, &current), (5269, &next), (5270, &current), (5270, &next)])
    {
        let (head, record) = line.split_once(" IN TLSA ").unwrap();
        assert_eq!(head, format!("_{port}._tcp.xmpp.a.example. 3600"));
        let record: Tlsa = record.parse().unwrap();
        assert_eq!((record.usage, record.selector, record.matching), (3, 1, 1));
        assert!(record.matches(certificate));
    }
    assert!(tlsa::publish(&endpoints, 3600, &[b"x"]).is_err());
}

/// RFC 6698 Appendix B's own reading: a record is made and matched in every form, and its text is read back.
#[test]
fn records_match_in_every_form() {
    let certificate = leaf(&["a.example"]).self_signed();
    let other = leaf(&["a.example"]).self_signed();
    for usage in [Usage::PkixTa, Usage::PkixEe, Usage::DaneTa, Usage::DaneEe] {
        for selector in [Selector::Cert, Selector::Spki] {
            for matching in [Matching::Full, Matching::Sha256, Matching::Sha512] {
                let record = Tlsa::of(usage, selector, matching, &certificate).unwrap();
                assert_eq!(record.usable(), Ok(()));
                assert!(record.matches(&certificate) && !record.matches(&other));
                assert_eq!(record.to_string().parse(), Ok(record.clone()));
                assert_eq!(Tlsa::from_rdata(&record.to_rdata()), Ok(record));
            }
        }
    }
    for bad in
        ["", "3", "3 1", "3 1 1", "3 1 1 a", "3 1 1 zz", "256 1 1 00", "-1 1 1 00", "+3 1 1 00", "3 1 1 0ü"]
    {
        assert!(bad.parse::<Tlsa>().is_err(), "{bad}");
    }
    let spaced: Tlsa = "3 1 1 ab CD\tef".parse().unwrap();
    assert_eq!(spaced.data, [0xab, 0xcd, 0xef]);
    assert!(Tlsa::from_rdata(&[3, 1, 1]).is_err());
    assert!(!CertificateDer::from(vec![1]).is_empty());
}
