//! Names of domains and hosts, prepared once so that comparing them is comparing bytes.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use idna::AsciiDenyList;
use idna::uts46::{DnsLength, Hyphens, Uts46};

const UTS46: Uts46 = Uts46::new();

/// A domain name as DNS and certificates know it: A-labels in lower case (RFC 5890 §2.3.2.1), no dot at the end, at most 253 octets.
///
/// XMPP keeps domainparts as U-labels (RFC 7622 §3.2); this crate compares only A-labels (RFC 9525 §6.3). An IP address is no
/// domain: none of the prooftypes can prove one.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Domain(Arc<str>);

/// Why a text is not the name of a domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a domain name that DNS could hold")]
pub struct BadDomain;

impl Domain {
    /// Prepares a name in U-labels or A-labels, with or without the root's dot.
    ///
    /// # Errors
    /// When IDNA (UTS 46) refuses it, when it is empty or too long, holds an empty label, or is an IP address.
    pub fn new(name: &str) -> Result<Self, BadDomain> {
        if name.len() > 1024 {
            return Err(BadDomain);
        }
        let name = name.strip_suffix('.').unwrap_or(name);
        let ascii = UTS46
            .to_ascii(name.as_bytes(), AsciiDenyList::STD3, Hyphens::Check, DnsLength::Verify)
            .map_err(|_| BadDomain)?;
        Self::checked(&ascii)
    }

    /// Prepares the name of a host as DNS says it: ASCII, underscores allowed, as targets of SRV records use them.
    ///
    /// # Errors
    /// As for [`Domain::new`]; non-ASCII names are refused.
    pub fn host(name: &str) -> Result<Self, BadDomain> {
        let name = name.strip_suffix('.').unwrap_or(name);
        let good = !name.is_empty()
            && name.len() <= 253
            && name.split('.').all(|label| {
                (1..=63).contains(&label.len())
                    && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            });
        if good { Self::checked(name) } else { Err(BadDomain) }
    }

    fn checked(ascii: &str) -> Result<Self, BadDomain> {
        let last = ascii.rsplit('.').next().unwrap_or_default();
        // No top-level domain is all digits, and an IPv4 address ends in such a label (RFC 3696 §2).
        if last.is_empty() || last.bytes().all(|b| b.is_ascii_digit()) {
            return Err(BadDomain);
        }
        Ok(Self(ascii.to_ascii_lowercase().into()))
    }

    /// The name in A-labels.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this name is `parent` or lies below it.
    #[must_use]
    pub fn is_within(&self, parent: &str) -> bool {
        self.0
            .strip_suffix(parent)
            .is_some_and(|rest| !parent.is_empty() && (rest.is_empty() || rest.ends_with('.')))
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

impl FromStr for Domain {
    type Err = BadDomain;

    fn from_str(name: &str) -> Result<Self, BadDomain> {
        Self::new(name)
    }
}

/// Whether two names of DNS are the same: case and the root's dot do not matter (RFC 4343).
pub(crate) fn same_name(one: &str, other: &str) -> bool {
    one.strip_suffix('.').unwrap_or(one).eq_ignore_ascii_case(other.strip_suffix('.').unwrap_or(other))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_compared_as_a_labels() {
        for (raw, prepared) in [
            ("Example.ORG", "example.org"),
            ("example.org.", "example.org"),
            ("bücher.example", "xn--bcher-kva.example"),
            ("XN--bcher-KVA.example", "xn--bcher-kva.example"),
            ("faß.example", "xn--fa-hia.example"),
            ("localhost", "localhost"),
        ] {
            assert_eq!(Domain::new(raw).map(|domain| domain.to_string()), Ok(prepared.to_owned()), "{raw}");
        }
        for raw in
            ["", ".", "a..b", "-a.example", "a_b.example", "192.0.2.1", "[::1]", "a b", "*.x.y", "xn--zz"]
        {
            assert!(Domain::new(raw).is_err(), "{raw}");
        }
        assert!(Domain::new(&"a.".repeat(200)).is_err());
        assert!(Domain::new(&"ü".repeat(2000)).is_err());
    }

    #[test]
    fn hosts_may_hold_underscores() {
        assert_eq!(Domain::host("My_Host.example.").unwrap().as_str(), "my_host.example");
        for raw in ["", ".", "a..b", "ü.example", "192.0.2.7", &"a".repeat(64)] {
            assert!(Domain::host(raw).is_err(), "{raw}");
        }
    }

    #[test]
    fn within_counts_whole_labels() {
        let domain = Domain::new("a.b.example").unwrap();
        for parent in ["a.b.example", "b.example", "example"] {
            assert!(domain.is_within(parent), "{parent}");
        }
        for parent in ["", ".example", "xample", "x.b.example", "c.a.b.example"] {
            assert!(!domain.is_within(parent), "{parent}");
        }
    }
}
