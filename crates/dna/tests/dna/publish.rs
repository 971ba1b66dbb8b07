//! S3-18, S3-24: what we publish, others and ourselves understand.

use nuncio_dna::tlsa::{self, Matching, Selector, Usage};
use nuncio_dna::{Certificate, Tlsa};
use rcgen::KeyPair;

use super::certs::{Ca, END, Leaf, leaf};
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
}

/// What `explain` shows of a certificate.
#[test]
fn a_certificate_tells_what_it_says() {
    let root = Ca::root("root");
    let all = Leaf { srv: &["_xmpp-server.a.example"], xmpp: &["b.example"], ..leaf(&["*.a.example"]) };
    let told = Certificate::read(&root.issue(&all)).unwrap();
    assert_eq!((told.subject.as_str(), told.issuer.as_str()), ("CN=a server", "CN=root"));
    let names: Vec<_> = told.names.iter().map(ToString::to_string).collect();
    assert_eq!(names, ["DNS:*.a.example", "SRV:_xmpp-server.a.example", "XmppAddr:b.example"]);
    assert_eq!(
        (told.common_names, told.purposes),
        (vec!["a server".to_owned()], vec!["serverAuth".to_owned()])
    );
    assert_eq!((told.not_after, told.is_authority, told.is_self_issued), (END, false, false));
    assert_eq!(told.fingerprint.len(), 64);
    let above = Certificate::read(&root.der).unwrap();
    assert!(above.is_authority && above.is_self_issued && above.names.is_empty());
    assert_eq!(Certificate::read(b"x").unwrap_err().code(), "certificate-malformed");
}

/// Names as OpenSSL writes them (`otherName:1.3.6.1.5.5.7.8.7;IA5STRING:...`), who knows nothing of how we write them in tests.
#[test]
fn names_are_read_as_openssl_writes_them() {
    let certificate = include_bytes!("openssl.der");
    let told = Certificate::read(certificate).unwrap();
    let names: Vec<_> = told.names.iter().map(ToString::to_string).collect();
    assert_eq!(
        names,
        ["DNS:*.example.org", "SRV:_xmpp-server.chat.example.org", "XmppAddr:chat.example.org"]
    );
    assert_eq!(
        (told.purposes.join(" "), told.subject.as_str()),
        ("serverAuth".to_owned(), "CN=chat.example.org")
    );
    // The digests are those of `openssl x509 -pubkey | openssl pkey -pubin -outform der | sha256sum` and of the file.
    for record in [
        "3 1 1 dfc670b6e3628a93d7ad2a1f761907a25898c3b7f689774f12d9ee4db3b717fa",
        "3 0 1 82991c85b7eca5ab2d86fd5da9fb9086b6ac70eaca25f32c617eb2948617fe1a",
    ] {
        assert!(record.parse::<Tlsa>().unwrap().matches(certificate), "{record}");
    }
}
