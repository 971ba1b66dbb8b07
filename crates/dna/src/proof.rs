//! Proofs as values, and the model that every prooftype keeps (RFC 7712 §7).

use std::cell::OnceCell;
use std::fmt;

use rustls_pki_types::CertificateDer;

use crate::chain::{self, Path};
use crate::names::Identifier;
use crate::policy::Rule;
use crate::x509::{Facts, Presented, printable};
use crate::{Claim, Domain, Evidence, Reason, Time, Tls, Trust};

/// How a domain was proven.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Prooftype {
    /// Nothing was proven: the peer was taken at its word, because policy said so.
    Assertion,
    /// Server dialback (XEP-0220): the host to which DNS leads for the domain answers for it.
    Dialback,
    /// A certificate whose fingerprint stands in a document of the domain's web server (RFC 7711, RFC 7712 §5.2).
    Posh,
    /// A certificate for the host to which the domain's signed SRV records delegate (RFC 7673 §4.1, RFC 7712 §6).
    Delegation,
    /// A certificate for the domain, by a trusted authority (RFC 6120 §13.7).
    Pkix,
    /// A certificate or authority that signed TLSA records name (RFC 7673, RFC 7712 §5.1).
    Dane,
    /// A certificate that the operator pinned for this domain.
    Pin,
}

impl Prooftype {
    /// Every prooftype that proves something, the weakest first.
    pub const ALL: [Self; 6] =
        [Self::Dialback, Self::Posh, Self::Delegation, Self::Pkix, Self::Dane, Self::Pin];

    /// The name in policies, logs and JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Assertion => "assertion",
            Self::Dialback => "dialback",
            Self::Posh => "posh",
            Self::Delegation => "delegation",
            Self::Pkix => "pkix",
            Self::Dane => "dane",
            Self::Pin => "pin",
        }
    }
}

impl fmt::Display for Prooftype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How much work it takes to forge a proof, from nothing upwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Strength {
    /// Nothing is proven.
    Asserted,
    /// Whoever can forge DNS answers or rewrite a connection can forge it: dialback without TLS.
    Weak,
    /// Whoever can forge DNS answers can: dialback over TLS.
    Encrypted,
    /// Dialback that was answered by a server that is itself proven by a certificate. Only who stands between the peer and us can, and only if the peer does
    /// not check our certificate.
    Vouched,
    /// The peer holds a key that an authority, DNSSEC, the domain's web server or the operator binds to the domain.
    Authenticated,
}

impl Strength {
    /// The name in logs and JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Asserted => "asserted",
            Self::Weak => "weak",
            Self::Encrypted => "encrypted",
            Self::Vouched => "vouched",
            Self::Authenticated => "authenticated",
        }
    }
}

impl fmt::Display for Strength {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The evidence of a proof, in short.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Basis {
    /// The peer's word.
    Word,
    /// A name in a certificate of a trusted authority.
    Certificate {
        /// The name that matched.
        identifier: Identifier,
        /// The host of a signed SRV record that the name is of; none when it is of the domain itself.
        target: Option<Domain>,
        /// The certificate's issuer.
        issuer: String,
        /// SHA-256 of the certificate, in hexadecimal digits.
        fingerprint: String,
    },
    /// A TLSA record.
    Tlsa {
        /// Where the record stands.
        owner: String,
        /// Usage, selector and matching type.
        record: (u8, u8, u8),
        /// The name that matched; none for usage 3, which does without.
        identifier: Option<Identifier>,
        /// SHA-256 of the certificate, in hexadecimal digits.
        fingerprint: String,
    },
    /// A fingerprint in a document.
    Document {
        /// Where the fingerprints stand.
        url: String,
        /// The domain's own document, when that is a reference to `url`.
        reference: Option<String>,
        /// The hash that matched.
        hash: &'static str,
        /// Whether the documents are used beyond their expiry because they could not be renewed.
        is_stale: bool,
        /// SHA-256 of the certificate, in hexadecimal digits.
        fingerprint: String,
    },
    /// A dialback answer.
    Dialback {
        /// How the server that answered is proven itself; none if it is not.
        vouched: Option<Prooftype>,
        /// Whether the key was left unchecked because that server presented the same certificate (XEP-0344 §2.6).
        is_same_certificate: bool,
    },
    /// A pin.
    Pinned {
        /// SHA-256 of the certificate, in hexadecimal digits.
        fingerprint: String,
    },
}

impl fmt::Display for Basis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Word => f.write_str("the peer's word"),
            Self::Certificate { identifier, target, issuer, .. } => {
                write!(f, "certificate for {identifier}, issued by {issuer}")?;
                target.as_ref().map_or(Ok(()), |host| write!(f, "; signed SRV records delegate to {host}"))
            }
            Self::Tlsa { owner, record: (usage, selector, matching), identifier, .. } => {
                write!(f, "TLSA {usage} {selector} {matching} at {owner}")?;
                identifier.as_ref().map_or(Ok(()), |name| write!(f, ", certificate for {name}"))
            }
            Self::Document { url, reference, hash, is_stale, .. } => {
                write!(f, "{hash} in {}", printable(url))?;
                reference
                    .as_ref()
                    .map_or(Ok(()), |from| write!(f, ", to which {} refers", printable(from)))?;
                if *is_stale { f.write_str(", kept beyond its expiry") } else { Ok(()) }
            }
            Self::Dialback { vouched, is_same_certificate } => {
                f.write_str(if *is_same_certificate {
                    "the domain's own server presents the same certificate"
                } else {
                    "the domain's own server answers for it"
                })?;
                vouched.map_or(Ok(()), |by| write!(f, ", itself proven by {by}"))
            }
            Self::Pinned { fingerprint } => write!(f, "pinned certificate {fingerprint}"),
        }
    }
}

/// That the other end of a stream speaks for a domain.
///
/// Only [`judge`](crate::judge) makes one: who holds it need not ask again, until it expires.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProvenDomain {
    domain: Domain,
    by: Prooftype,
    strength: Strength,
    basis: Basis,
    expires: Time,
}

impl ProvenDomain {
    pub(crate) const fn new(
        domain: Domain,
        by: Prooftype,
        strength: Strength,
        basis: Basis,
        expires: Time,
    ) -> Self {
        Self { domain, by, strength, basis, expires }
    }

    /// The domain that is proven.
    #[must_use]
    pub const fn domain(&self) -> &Domain {
        &self.domain
    }

    /// How it is proven.
    #[must_use]
    pub const fn by(&self) -> Prooftype {
        self.by
    }

    /// How much that is worth.
    #[must_use]
    pub const fn strength(&self) -> Strength {
        self.strength
    }

    /// The evidence, in short.
    #[must_use]
    pub const fn basis(&self) -> &Basis {
        &self.basis
    }

    /// The first expiry of the evidence: `notAfter`, TTLs, POSH's `expires` (RFC 6120 §13.7.2.3, RFC 7711 §6). [`Time::NEVER`] for what lasts as long as the
    /// stream. A proof is good at this second and no longer.
    #[must_use]
    pub const fn expires(&self) -> Time {
        self.expires
    }

    /// Whether the proof is no longer good.
    #[must_use]
    pub fn is_expired(&self, now: Time) -> bool {
        now > self.expires
    }

    /// Whether the peer's certificate is what proves it. Only then may SASL EXTERNAL be offered (XEP-0178 §3).
    #[must_use]
    pub fn is_by_certificate(&self) -> bool {
        self.strength == Strength::Authenticated
    }
}

impl fmt::Display for ProvenDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is proven by {} ({}), {}", self.domain, self.by, self.basis, Until(self.expires))
    }
}

/// The end of a proof, in words.
pub(crate) struct Until(pub(crate) Time);

impl fmt::Display for Until {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == Time::NEVER {
            f.write_str("for as long as the stream lasts")
        } else {
            write!(f, "until {}", self.0)
        }
    }
}

/// What the proof consists of: the first of the four parts of a prooftype (RFC 7712 §7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nature {
    /// The certificate with which the peer did TLS.
    Certificate,
    /// A key in the stream, or where the host stands in DNS.
    KeyInStream,
}

/// Where the material comes from that the proof is compared with: the third part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Material {
    /// The operator's trusted authorities.
    TrustStore,
    /// The trusted authorities, and hosts' names from DNS.
    TrustStoreAndDns,
    /// TLSA records.
    Dns,
    /// A document of the domain's web server.
    Https,
    /// A question to the domain's own server.
    Callback,
    /// The operator.
    Operator,
}

/// The four parts of a prooftype (RFC 7712 §7). The second, the matching rules, is the code of `check`.
pub(crate) trait Prover: Sync {
    fn prooftype(&self) -> Prooftype;
    fn nature(&self) -> Nature;
    fn material(&self) -> Material;
    fn needs_secure_dns(&self) -> bool;
    fn check(&self, case: &Case<'_>) -> Result<Found, Vec<Finding>>;
}

/// The four parts of a prooftype, told to people (RFC 7712 §7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Description {
    /// Which one.
    pub prooftype: Prooftype,
    /// What the proof is.
    pub nature: Nature,
    /// Where the material for checking it comes from.
    pub material: Material,
    /// Whether it depends on DNSSEC.
    pub needs_secure_dns: bool,
}

/// What a prooftype found.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) strength: Strength,
    pub(crate) basis: Basis,
    pub(crate) expires: Time,
}

/// Why a prooftype did not prove a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The prooftype; none for what policy says.
    pub by: Option<Prooftype>,
    /// Why.
    pub reason: Reason,
    /// Whether the connection must be refused for this, whatever else is proven (RFC 7673 §3): someone may be hiding or replacing the
    /// domain's signed records.
    pub is_veto: bool,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.by.map_or(Ok(()), |by| write!(f, "{by}: "))?;
        write!(f, "{} [{}]", self.reason, self.reason.code())?;
        if self.is_veto { f.write_str(", which no other proof outweighs") } else { Ok(()) }
    }
}

/// A claim with all that is known of it, and what several prooftypes need to know, found out once.
pub(crate) struct Case<'a> {
    pub(crate) claim: &'a Claim,
    pub(crate) evidence: &'a Evidence,
    pub(crate) rule: &'a Rule,
    pub(crate) trust: &'a Trust,
    pub(crate) now: Time,
    path: OnceCell<Result<Path, Vec<Reason>>>,
}

impl<'a> Case<'a> {
    pub(crate) const fn new(
        claim: &'a Claim,
        evidence: &'a Evidence,
        rule: &'a Rule,
        trust: &'a Trust,
        now: Time,
    ) -> Self {
        Self { claim, evidence, rule, trust, now, path: OnceCell::new() }
    }

    /// The certificate that the peer presented.
    pub(crate) fn leaf(&self) -> Result<&'a CertificateDer<'static>, Reason> {
        match (self.evidence.tls, self.evidence.chain.first()) {
            (Tls::None, _) => Err(Reason::NoTls),
            (_, None) => Err(Reason::NoCertificate),
            (_, Some(leaf)) => Ok(leaf),
        }
    }

    /// The chain from the peer's certificate to a trusted authority.
    pub(crate) fn path(&self) -> Result<&Path, &[Reason]> {
        let built = self.path.get_or_init(|| {
            self.leaf().map_err(|reason| vec![reason])?;
            if self.trust.anchors() == 0 {
                return Err(vec![Reason::NoTrustAnchors]);
            }
            let path = chain::verify(self.trust, &self.evidence.chain, &[], self.now, &|_, _| true)?;
            path.ok_or_else(|| vec![Reason::NoTrustAnchors])
        });
        built.as_ref().map_err(Vec::as_slice)
    }

    /// The name in the peer's certificate that is for one of `wanted`, given the authorities above it; `wanted` is not empty.
    ///
    /// The domains of `SRVName` and `XmppAddr` obey the authorities' name constraints as a `dNSName` would.
    pub(crate) fn identify(
        &self,
        leaf: &[u8],
        authorities: &[CertificateDer<'static>],
        wanted: &[&Domain],
    ) -> Result<(Identifier, Domain), Reason> {
        let presented = Presented::of(leaf)?;
        let mut constrained = false;
        for domain in wanted {
            match crate::names::find(&presented, domain, self.claim.service) {
                None => {}
                Some(name @ Identifier::Dns(_)) => return Ok((name, (*domain).clone())),
                Some(name) if authorities.iter().all(|issuer| crate::x509::permits(issuer, domain)) => {
                    return Ok((name, (*domain).clone()));
                }
                Some(_) => constrained = true,
            }
        }
        Err(if constrained { Reason::NameConstrained } else { crate::names::mismatch(&presented, wanted) })
    }
}

/// The issuer's name, as a certificate gives it.
pub(crate) fn issuer(leaf: &[u8]) -> String {
    Facts::of(leaf).map_or_else(|_| "(unreadable)".to_owned(), |facts| facts.issuer)
}

/// Findings of one prooftype.
pub(crate) fn findings(by: Prooftype, reasons: impl IntoIterator<Item = Reason>) -> Vec<Finding> {
    reasons.into_iter().map(|reason| Finding { by: Some(by), reason, is_veto: false }).collect()
}
