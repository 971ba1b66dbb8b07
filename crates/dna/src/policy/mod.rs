//! What the operator demands: expressions over proofs, rules for peers, allow and deny lists.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::{Domain, Trust};

mod expression;

pub(crate) use expression::Facts;
pub use expression::{Atom, BadPolicy, Expression, Level};

/// Everything that the operator decided about who may talk to us.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// Whom we trust to issue certificates, and what they revoked.
    pub trust: Trust,
    /// What is demanded of everybody without a rule of their own.
    pub default: Rule,
    /// Rules for peers. The most specific pattern counts; of equal ones, the first.
    pub peers: Vec<(Pattern, Rule)>,
    /// If it is not empty, only these may.
    pub allow: Vec<Pattern>,
    /// These may not, whatever else is said.
    pub deny: Vec<Pattern>,
}

impl Policy {
    /// The rule for this peer.
    #[must_use]
    pub fn rule(&self, peer: &Domain) -> &Rule {
        let mut best: Option<&(Pattern, Rule)> = None;
        for entry in self.peers.iter().filter(|(pattern, _)| pattern.matches(peer)) {
            if best.is_none_or(|best| entry.0.precision() > best.0.precision()) {
                best = Some(entry);
            }
        }
        best.map_or(&self.default, |(_, rule)| rule)
    }
}

/// What is demanded of a peer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// What must be proven. By default: TLS, and a proof by certificate.
    pub require: Expression,
    /// Whether the peer's TLSA records count. By default they do.
    pub dane: DaneUse,
    /// How long POSH documents are kept in use beyond their expiry while the web server fails. By default: not at all.
    pub posh_stale: Duration,
    /// The certificates or keys that are accepted as they are, for every domain that the rule is for: they belong into the rule of one peer.
    pub pins: Vec<Pin>,
}

/// Whether TLSA records count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum DaneUse {
    /// They prove, and where they are broken or contradict, the peer is refused (RFC 7673 §3, §4).
    #[default]
    Enforce,
    /// As if there were none: for a peer that broke its own records.
    Ignore,
}

/// The SHA-256 of a certificate or of its `SubjectPublicKeyInfo`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Pin(pub [u8; 32]);

impl FromStr for Pin {
    type Err = BadPin;

    /// 64 hexadecimal digits; colons between the octets are skipped.
    fn from_str(text: &str) -> Result<Self, BadPin> {
        let mut octets = [0_u8; 32];
        let mut digits = text.chars().filter(|c| *c != ':').map(|c| c.to_digit(16));
        let mut digit = || digits.next().flatten().and_then(|digit| u8::try_from(digit).ok()).ok_or(BadPin);
        for octet in &mut octets {
            *octet = digit()? << 4 | digit()?;
        }
        if digits.next().is_some() { Err(BadPin) } else { Ok(Self(octets)) }
    }
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&crate::x509::hex(&self.0))
    }
}

/// Why a text is no pin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a pin is the SHA-256 of a certificate or of its public key, as 64 hexadecimal digits")]
pub struct BadPin;

/// Peers: one domain, or `*.` and a domain for everything below it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Pattern {
    /// This domain only.
    Exact(Domain),
    /// Every domain below this one, at any depth, but not itself.
    Below(Domain),
    /// Everybody: `*`.
    All,
}

impl Pattern {
    /// Whether the peer is meant.
    #[must_use]
    pub fn matches(&self, peer: &Domain) -> bool {
        match self {
            Self::Exact(domain) => peer == domain,
            Self::Below(domain) => peer != domain && peer.is_within(domain.as_str()),
            Self::All => true,
        }
    }

    /// Of two patterns that match a peer, the more specific one has the greater number.
    fn precision(&self) -> usize {
        match self {
            Self::Exact(_) => usize::MAX,
            Self::Below(domain) => domain.as_str().len(),
            Self::All => 0,
        }
    }
}

impl FromStr for Pattern {
    type Err = crate::BadDomain;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.strip_prefix("*.") {
            _ if text == "*" => Ok(Self::All),
            Some(parent) => Domain::new(parent).map(Self::Below),
            None => Domain::new(text).map(Self::Exact),
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(domain) => write!(f, "{domain}"),
            Self::Below(domain) => write!(f, "*.{domain}"),
            Self::All => f.write_str("*"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_specific_rule_counts() {
        let rule = |require: &str| Rule { require: require.parse().unwrap(), ..Rule::default() };
        let peers = [
            ("*", "dane"),
            ("*.example", "posh"),
            ("*.b.example", "pkix"),
            ("a.b.example", "pin"),
            ("*.b.example", "tls"),
        ];
        let policy = Policy {
            peers: peers.iter().map(|(peer, require)| (peer.parse().unwrap(), rule(require))).collect(),
            ..Policy::default()
        };
        for (peer, require) in [
            ("a.b.example", "pin"),
            ("x.a.b.example", "pkix"),
            ("b.example", "posh"),
            ("example", "dane"),
            ("elsewhere.org", "dane"),
        ] {
            let peer = Domain::new(peer).unwrap();
            assert_eq!(policy.rule(&peer).require.to_string(), require, "{peer}");
        }
        let own = Domain::new("a.example").unwrap();
        assert_eq!(Policy::default().rule(&own).require.to_string(), "authenticated");
    }

    #[test]
    fn pins_are_hexadecimal() {
        let hex = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
        assert_eq!(hex.parse::<Pin>().unwrap().to_string(), hex);
        let colons: Vec<_> =
            hex.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap()).collect();
        assert_eq!(colons.join(":").to_uppercase().parse::<Pin>(), hex.parse::<Pin>());
        for bad in ["", "00", &hex[1..], &format!("{hex}0"), &hex.replace('a', "g")] {
            assert_eq!(bad.parse::<Pin>(), Err(BadPin), "{bad}");
        }
    }
}
