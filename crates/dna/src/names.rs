//! Which domain a certificate is for (RFC 9525, RFC 6120 §13.7.1.2, RFC 4985).

use std::fmt;

use crate::x509::{Presented, printable};
use crate::{Domain, Reason, Service};

/// The name in a certificate that matched, as it stands there.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Identifier {
    /// DNS-ID: a `dNSName`, maybe with a wildcard.
    Dns(String),
    /// SRV-ID: `_service.domain` (RFC 4985).
    Srv(String),
    /// `XmppAddr` (RFC 6120 §13.7.1.4).
    XmppAddr(String),
}

impl fmt::Display for Identifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(name) => write!(f, "DNS:{}", printable(name)),
            Self::Srv(name) => write!(f, "SRV:{}", printable(name)),
            Self::XmppAddr(name) => write!(f, "XmppAddr:{}", printable(name)),
        }
    }
}

impl Presented {
    /// All names that can count for a domain.
    pub(crate) fn identifiers(&self) -> Vec<Identifier> {
        let dns = self.dns.iter().cloned().map(Identifier::Dns);
        let srv = self.srv.iter().cloned().map(Identifier::Srv);
        dns.chain(srv).chain(self.xmpp.iter().cloned().map(Identifier::XmppAddr)).collect()
    }
}

/// The identifier that is for this domain. The names of other services and of people are for nobody's server.
pub(crate) fn find(presented: &Presented, wanted: &Domain, service: Service) -> Option<Identifier> {
    let dns = presented.dns.iter().find(|name| dns_id(name, wanted)).cloned().map(Identifier::Dns);
    let srv =
        || presented.srv.iter().find(|name| srv_id(name, wanted, service)).cloned().map(Identifier::Srv);
    let xmpp =
        || presented.xmpp.iter().find(|name| xmpp_addr(name, wanted)).cloned().map(Identifier::XmppAddr);
    dns.or_else(srv).or_else(|| if service.is_xmpp() { xmpp() } else { None })
}

/// A `dNSName` against a name (RFC 9525 §6.3): octets without case, or `*` for exactly one label with at least two labels after it.
fn dns_id(presented: &str, wanted: &Domain) -> bool {
    match presented.strip_prefix("*.") {
        None => presented.eq_ignore_ascii_case(wanted.as_str()),
        Some(parent) => {
            parent.contains('.')
                && wanted.as_str().split_once('.').is_some_and(|(_, rest)| rest.eq_ignore_ascii_case(parent))
        }
    }
}

fn srv_id(presented: &str, wanted: &Domain, service: Service) -> bool {
    presented.split_once('.').is_some_and(|(label, name)| {
        label.eq_ignore_ascii_case(service.srv_label()) && name.eq_ignore_ascii_case(wanted.as_str())
    })
}

/// An `XmppAddr` is a JID in Unicode. One with a localpart or a resource is a person's.
fn xmpp_addr(presented: &str, wanted: &Domain) -> bool {
    !presented.contains(['@', '/']) && Domain::new(presented).is_ok_and(|name| name == *wanted)
}

/// Why none of the names is for any of the wanted ones: the likeliest mistake of whoever issued the certificate.
pub(crate) fn mismatch(presented: &Presented, wanted: &[&Domain]) -> Reason {
    let names: Vec<_> = wanted.iter().map(|domain| domain.as_str()).collect();
    for partial in &presented.dns {
        let matches =
            |wanted: &&Domain| partial.contains('*') && glob(&partial.to_ascii_lowercase(), wanted.as_str());
        if wanted.iter().any(matches) {
            return Reason::BadWildcard { presented: printable(partial) };
        }
    }
    let listed = presented.identifiers();
    let common = presented
        .common
        .iter()
        .find(|common| Domain::new(common).is_ok_and(|common| wanted.contains(&&common)));
    if let Some(name) = common {
        return Reason::NameOnlyInSubject { name: printable(name) };
    }
    let shown = match listed.as_slice() {
        [] => "no name at all".to_owned(),
        some if some.len() <= 8 => join(some),
        some => {
            let first = some.get(..8).unwrap_or(some);
            format!("{} and {} more", join(first), listed.len().saturating_sub(first.len()))
        }
    };
    Reason::NameMismatch { wanted: names.join(" or "), presented: shown }
}

fn join(names: &[Identifier]) -> String {
    names.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Whether a pattern with one `*` for anything matches: only to explain what RFC 9525 §6.3 forbids.
fn glob(pattern: &str, name: &str) -> bool {
    pattern.split_once('*').is_some_and(|(head, tail)| {
        name.len() >= head.len() + tail.len() && name.starts_with(head) && name.ends_with(tail)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(dns: &[&str], srv: &[&str], xmpp: &[&str], common: &[&str]) -> Presented {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Presented { dns: owned(dns), srv: owned(srv), xmpp: owned(xmpp), common: owned(common) }
    }

    /// S3-05: which presented identifiers are for which domain, and what the refusal is called.
    #[test]
    fn identifiers_are_matched_by_rfc_9525() {
        let none: &[&str] = &[];
        for (wanted, dns, srv, xmpp, common, outcome) in [
            ("a.example", &["a.example"][..], none, none, none, "DNS:a.example"),
            ("a.example", &["A.Example"], none, none, none, "DNS:A.Example"),
            ("bücher.example", &["XN--BCHER-kva.example"], none, none, none, "DNS:XN--BCHER-kva.example"),
            ("bücher.example", &["bücher.example"], none, none, none, "name-mismatch"),
            ("chat.a.example", &["*.a.example"], none, none, none, "DNS:*.a.example"),
            ("a.example", &["*.a.example"], none, none, none, "name-mismatch"),
            ("x.chat.a.example", &["*.a.example"], none, none, none, "bad-wildcard"),
            ("a.example", &["*.example"], none, none, none, "bad-wildcard"),
            ("a.example", &["*"], none, none, none, "bad-wildcard"),
            ("foo.a.example", &["f*.a.example"], none, none, none, "bad-wildcard"),
            ("foo.a.example", &["foo.*.example"], none, none, none, "bad-wildcard"),
            ("a.example", &["a.example.evil.example", "xa.example"], none, none, none, "name-mismatch"),
            ("a.example", none, &["_xmpp-server.a.example"], none, none, "SRV:_xmpp-server.a.example"),
            ("a.example", none, &["_XMPP-Server.A.example"], none, none, "SRV:_XMPP-Server.A.example"),
            ("a.example", none, &["_xmpp-client.a.example"], none, none, "name-mismatch"),
            ("b.a.example", none, &["_xmpp-server.*.a.example"], none, none, "name-mismatch"),
            ("a.example", none, none, &["a.example"], none, "XmppAddr:a.example"),
            ("bücher.example", none, none, &["Bücher.example"], none, "XmppAddr:B\u{fffd}cher.example"),
            ("a.example", none, none, &["romeo@a.example", "a.example/x"], none, "name-mismatch"),
            ("a.example", none, none, none, &["a.example"], "name-only-in-subject"),
            ("a.example", none, none, none, none, "name-mismatch"),
        ] {
            let wanted = Domain::new(wanted).unwrap();
            let presented = names(dns, srv, xmpp, common);
            let found = find(&presented, &wanted, Service::XmppServer);
            let said = found.map_or_else(
                || mismatch(&presented, &[&wanted]).code().to_owned(),
                |identifier| identifier.to_string(),
            );
            assert_eq!(said, outcome, "{wanted} against {presented:?}");
        }
        let jid = names(&[], &[], &["a.example"], &[]);
        assert_eq!(find(&jid, &Domain::new("a.example").unwrap(), Service::Msrps), None);
    }

    #[test]
    fn a_long_list_of_names_is_cut() {
        let dns: Vec<_> = (0..20).map(|n| format!("n{n}.example")).collect();
        let presented = Presented { dns, ..Presented::default() };
        let reason = mismatch(&presented, &[&Domain::new("a.example").unwrap()]);
        assert!(reason.to_string().contains("DNS:n7.example and 12 more, not for a.example"), "{reason}");
    }
}
