//! Invariants over arbitrary bytes, for fuzz targets and for plain tests. Not part of the interface.

use crate::posh::{Document, Fingerprint, Hash, https_host};
use crate::x509::Presented;
use crate::{Certificate, Domain, Expression, Service, Tlsa, names, tlsa, x509};

/// TLSA rdata and texts: what is read is written back; only what is usable matches.
pub fn tlsa(bytes: &[u8]) {
    if let Ok(record) = Tlsa::from_rdata(bytes) {
        assert_eq!(record.to_rdata(), bytes);
        assert_eq!(record.to_string().parse(), Ok(record.clone()));
        assert!(record.usable().is_ok() || !record.matches(bytes));
        let records = [record.clone(), record];
        let (kept, problem) = tlsa::usable(&records);
        assert_eq!(kept.is_empty(), problem.is_some());
    }
    if let Ok(record) = String::from_utf8_lossy(bytes).parse::<Tlsa>() {
        assert_eq!(Tlsa::from_rdata(&record.to_rdata()), Ok(record));
    }
}

/// POSH documents: what is accepted keeps the rules of RFC 7711.
pub fn posh(bytes: &[u8]) {
    match Document::parse(bytes, "https://a.example/x") {
        Ok(Document::Fingerprints { fingerprints, expires }) => {
            assert!(!fingerprints.is_empty() && !expires.is_zero());
            for Fingerprint { hash, digest } in fingerprints {
                assert_eq!(digest.len(), if hash == Hash::Sha256 { 32 } else { 64 });
            }
        }
        Ok(Document::Reference { url, expires }) => {
            assert!(https_host(&url).is_some() && !expires.is_zero());
        }
        Err(reason) => assert!(reason.code().starts_with("posh-")),
    }
}

/// Policies: what is read is written back as something that means the same.
pub fn policy(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(expression) = text.parse::<Expression>() {
        let written = expression.to_string();
        // Written with single spaces and without needless parentheses it is hardly ever longer.
        if written.len() <= 1024 {
            assert_eq!(written.parse(), Ok(expression));
        }
    }
}

/// Names in certificates: what is found for a domain is one of those presented.
pub fn names(bytes: &[u8]) {
    let Ok(wanted) = Domain::new("chat.example.org") else { return };
    let _ =
        (Certificate::read(bytes), x509::spki(bytes), x509::is_spki(bytes), x509::permits(bytes, &wanted));
    let Ok(presented) = Presented::of(bytes) else { return };
    match names::find(&presented, &wanted, Service::XmppServer) {
        Some(names::Identifier::Dns(name)) => assert!(presented.dns.contains(&name)),
        Some(names::Identifier::Srv(name)) => assert!(presented.srv.contains(&name)),
        Some(names::Identifier::XmppAddr(name)) => assert!(presented.xmpp.contains(&name)),
        None => assert!(!names::mismatch(&presented, &[&wanted]).to_string().is_empty()),
    }
}
