//! PKIX over Secure HTTP (RFC 7711, RFC 7712 §5.2): documents of a domain's web server that name certificates.
//!
//! What fetches them asks [`url`] where to look, [`is_public`] whether an address may be asked, and [`follow`] whether to go on; what came of it is [`Posh`].

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use crate::{Domain, Reason, Service, Time};

mod document;
mod prove;

pub use document::{Document, Fingerprint, Hash, publish, reference};
pub(crate) use prove::Posted;

/// The most octets of a document that are read.
pub const MAX_DOCUMENT: usize = 65_536;

/// The most redirects that one retrieval may follow (RFC 7711 §10 allows up to 10).
pub const MAX_REDIRECTS: usize = 3;

/// However long a document says that it is good for, it is asked for again after this: 30 days (RFC 7711 §6).
pub const MAX_LIFE: Duration = Duration::from_secs(30 * 86_400);

/// One retrieval by HTTPS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retrieval {
    /// What was asked for.
    pub url: String,
    /// Where the answers redirected to, in their order. Every one must be https.
    pub redirects: Vec<String>,
    /// When the answer came.
    pub at: Time,
    /// The body of an answer with status 200, or why there is none.
    pub outcome: Result<Vec<u8>, FetchFailure>,
}

/// Why a retrieval gave no document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FetchFailure {
    /// 404 or 410: the domain does not use POSH.
    NotFound,
    /// Another status than 200.
    Status(u16),
    /// It is no https address of a host, or a redirect led to one that is not.
    NotHttps,
    /// The host has no public address.
    PrivateAddress,
    /// The web server's certificate is not accepted (RFC 2818).
    Untrusted,
    /// No connection, or it broke.
    Unreachable,
    /// It took too long.
    Timeout,
    /// The body is larger than [`MAX_DOCUMENT`].
    TooLarge,
    /// More redirects than [`MAX_REDIRECTS`].
    TooManyRedirects,
}

impl FetchFailure {
    /// Whether trying again later may help: then, and only then, may older documents be kept in use for a while.
    #[must_use]
    pub const fn is_temporary(self) -> bool {
        matches!(self, Self::Unreachable | Self::Timeout | Self::Status(500..=599))
    }

    fn reason(self, url: &str) -> Reason {
        let url = crate::x509::printable(url);
        match self {
            Self::NotFound => Reason::PoshAbsent { url },
            Self::Status(status) => Reason::PoshStatus { url, status },
            Self::NotHttps => Reason::PoshNotHttps { url },
            Self::PrivateAddress => Reason::PoshPrivateAddress { url },
            Self::Untrusted => Reason::PoshUntrusted { url },
            Self::Unreachable => Reason::PoshUnreachable { url },
            Self::Timeout => Reason::PoshTimeout { url },
            Self::TooLarge => Reason::PoshTooLarge { url },
            Self::TooManyRedirects => Reason::PoshTooManyRedirects { url },
        }
    }
}

impl fmt::Display for FetchFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotFound => "there is none (404 or 410)",
            Self::Status(status) => return write!(f, "status {status}"),
            Self::NotHttps => "not https, or no host's name",
            Self::PrivateAddress => "the host has no public address",
            Self::Untrusted => "the web server's certificate is not accepted",
            Self::Unreachable => "no connection, or it broke",
            Self::Timeout => "it took too long",
            Self::TooLarge => "the document is too large",
            Self::TooManyRedirects => "too many redirects",
        })
    }
}

/// The documents of a domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Posh {
    /// What was retrieved from [`url`].
    pub first: Retrieval,
    /// What was retrieved from the address to which the first document refers.
    pub second: Option<Retrieval>,
    /// The failure of a later attempt to renew both, after which these are still there.
    pub renewal: Option<FetchFailure>,
}

/// Where a domain's document lies (RFC 7711 §3, RFC 7712 §5.2); none for services that POSH does not know.
#[must_use]
pub fn url(domain: &Domain, service: Service) -> Option<String> {
    service.posh_name().map(|name| format!("https://{domain}/.well-known/posh/{name}.json"))
}

/// Where to retrieve the second document from, when the first one refers to it. None when there is nothing to follow, or the first one is no good.
#[must_use]
pub fn follow(first: &Retrieval) -> Option<String> {
    let body = first.outcome.as_ref().ok()?;
    match Document::parse(body, &first.url) {
        Ok(Document::Reference { url, .. }) => Some(url),
        Ok(Document::Fingerprints { .. }) | Err(_) => None,
    }
}

/// The host of an https address that may be asked: a name, not an address; no user, no fragment, at most 2048 octets of ASCII.
///
/// This is the check for redirects and references (RFC 7711 §3.2, §10).
#[must_use]
pub fn https_host(url: &str) -> Option<Domain> {
    let (scheme, rest) = url.split_at_checked(8)?;
    let good = scheme.eq_ignore_ascii_case("https://")
        && url.len() <= 2048
        && url.bytes().all(|byte| byte.is_ascii_graphic() && !b"\\\"<>^`{|}#".contains(&byte));
    let authority = rest.split(['/', '?']).next().filter(|_| good)?;
    let host = match authority.split_once(':') {
        None => authority,
        Some((host, port)) => {
            let number = port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok();
            if number { host } else { return None }
        }
    };
    Domain::new(host).ok()
}

/// Whether an address may be asked because a peer told us to: not one of a private, local or special network. Otherwise a document could aim us at our own machines.
#[must_use]
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

/// The registry of special IPv4 addresses (RFC 6890): what is not reachable from everywhere is not public.
fn is_public_v4(address: Ipv4Addr) -> bool {
    !matches!(
        address.octets(),
        [0 | 10 | 127 | 224..=255, ..]
            | [100, 64..=127, ..]
            | [169, 254, ..]
            | [172, 16..=31, ..]
            | [192, 0, 0 | 2, _]
            | [192, 88, 99, _]
            | [192, 168, ..]
            | [198, 18 | 19, ..]
            | [198, 51, 100, _]
            | [203, 0, 113, _]
    )
}

/// Only 2000::/3 is in use for hosts of the Internet, and not all of it. Addresses that carry an IPv4 address are as public as that.
fn is_public_v6(address: Ipv6Addr) -> bool {
    let embedded = |octets: [u8; 4]| is_public_v4(Ipv4Addr::from(octets));
    match address.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
            embedded([a, b, c, d])
        }
        [0x2002, high, low, ..] => {
            let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
            embedded([a, b, c, d])
        }
        // IETF protocol assignments (Teredo, ORCHID, benchmarking) and documentation.
        [0x2001, 0..=0x1ff, ..] | [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => false,
        [first, ..] => first & 0xe000 == 0x2000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// S3-17, S3-25: only https of a named host is followed.
    #[test]
    fn addresses_of_documents_are_https_of_hosts() {
        for (url, host) in [
            ("https://a.example/x.json", Some("a.example")),
            ("HTTPS://A.example:8443/x?y", Some("a.example")),
            ("https://a.example", Some("a.example")),
            ("http://a.example/", None),
            ("https:/a.example/", None),
            ("https://", None),
            ("https:///x", None),
            ("https://user@a.example/", None),
            ("https://a.example:0x50/", None),
            ("https://a.example:70000/", None),
            ("https://127.0.0.1/", None),
            ("https://[::1]/", None),
            ("https://a.example/#x", None),
            ("https://a.example/ü", None),
            ("https://a.example\\@b.example/", None),
            ("ftp://a.example/", None),
            ("é", None),
        ] {
            assert_eq!(https_host(url).as_ref().map(Domain::as_str), host, "{url}");
        }
        assert_eq!(https_host(&format!("https://a.example/{}", "x".repeat(2048))), None);
    }

    /// A document must not aim us at our own network.
    #[test]
    fn only_public_addresses_are_asked() {
        for (address, public) in [
            ("93.184.216.34", true),
            ("127.0.0.1", false),
            ("0.0.0.0", false),
            ("10.1.2.3", false),
            ("100.64.0.1", false),
            ("100.128.0.1", true),
            ("169.254.169.254", false),
            ("172.31.255.255", false),
            ("172.32.0.1", true),
            ("192.0.0.8", false),
            ("192.0.2.1", false),
            ("192.168.0.1", false),
            ("198.19.0.1", false),
            ("224.0.0.1", false),
            ("255.255.255.255", false),
            ("2606:2800:220:1:248:1893:25c8:1946", true),
            ("::1", false),
            ("::", false),
            ("::ffff:127.0.0.1", false),
            ("::ffff:93.184.216.34", false),
            ("64:ff9b::7f00:1", false),
            ("64:ff9b::5db8:d822", true),
            ("2002:7f00:1::1", false),
            ("2001:db8::1", false),
            ("2001::1", false),
            ("3fff::1", false),
            ("fe80::1", false),
            ("fc00::1", false),
            ("ff02::1", false),
        ] {
            assert_eq!(is_public(address.parse().unwrap()), public, "{address}");
        }
    }
}
