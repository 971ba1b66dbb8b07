//! The prooftypes whose certificates come from a trusted authority, and pins.

use sha2::{Digest as _, Sha256};

use crate::dns::{Because, references};
use crate::proof::{
    Basis, Case, Finding, Found, Material, Nature, Prooftype, Prover, Strength, findings, issuer,
};
use crate::x509::fingerprint;
use crate::{Reason, Time, x509};

/// A certificate for the domain itself (RFC 6120 §13.7.2).
pub(crate) struct Pkix;

impl Prover for Pkix {
    fn prooftype(&self) -> Prooftype {
        Prooftype::Pkix
    }

    fn nature(&self) -> Nature {
        Nature::Certificate
    }

    fn material(&self) -> Material {
        Material::TrustStore
    }

    fn needs_secure_dns(&self) -> bool {
        false
    }

    fn check(&self, case: &Case<'_>) -> Result<Found, Vec<Finding>> {
        let by = Prooftype::Pkix;
        let leaf = case.leaf().map_err(|reason| findings(by, [reason]))?;
        let wanted = [&case.claim.remote];
        let path = match case.path() {
            Ok(path) => path,
            Err(reasons) => {
                // A wrong name is worth telling even where the chain is wrong.
                let named = case.identify(leaf, &[], &wanted).err();
                let named = named.filter(|reason| !matches!(reason, Reason::CertificateMalformed { .. }));
                let all = reasons.iter().cloned().chain(named);
                return Err(findings(by, all));
            }
        };
        let (identifier, _) =
            case.identify(leaf, &path.authorities, &wanted).map_err(|reason| findings(by, [reason]))?;
        let basis = Basis::Certificate {
            identifier,
            target: None,
            issuer: issuer(leaf),
            fingerprint: fingerprint(leaf),
        };
        Ok(Found { strength: Strength::Authenticated, basis, expires: path.not_after })
    }
}

/// A certificate for a host to which signed SRV records delegate (RFC 7673 §4.1).
pub(crate) struct Delegation;

impl Prover for Delegation {
    fn prooftype(&self) -> Prooftype {
        Prooftype::Delegation
    }

    fn nature(&self) -> Nature {
        Nature::Certificate
    }

    fn material(&self) -> Material {
        Material::TrustStoreAndDns
    }

    fn needs_secure_dns(&self) -> bool {
        true
    }

    fn check(&self, case: &Case<'_>) -> Result<Found, Vec<Finding>> {
        let by = Prooftype::Delegation;
        let leaf = case.leaf().map_err(|reason| findings(by, [reason]))?;
        let Some(dns) = &case.evidence.dns else { return Err(findings(by, [Reason::DnsNotValidated])) };
        let references = references(case.claim, Some(dns), case.now);
        let targets: Vec<_> = references
            .iter()
            .filter_map(|reference| match reference.because {
                Because::Delegated { expires } => Some((&reference.domain, expires)),
                Because::Service => None,
            })
            .collect();
        if targets.is_empty() {
            return Err(findings(by, [Reason::NotDelegated]));
        }
        let path = case.path().map_err(|reasons| findings(by, reasons.iter().cloned()))?;
        let wanted: Vec<_> = targets.iter().map(|(host, _)| *host).collect();
        let (identifier, host) =
            case.identify(leaf, &path.authorities, &wanted).map_err(|reason| findings(by, [reason]))?;
        let signed =
            targets.iter().find(|(target, _)| **target == host).map_or(case.now, |(_, expires)| *expires);
        let basis = Basis::Certificate {
            identifier,
            target: Some(host),
            issuer: issuer(leaf),
            fingerprint: fingerprint(leaf),
        };
        Ok(Found { strength: Strength::Authenticated, basis, expires: path.not_after.min(signed) })
    }
}

/// A certificate that the operator pinned: neither its dates nor its names nor its issuer count (RFC 6125 §6.6.4, RFC 7712 §3.2).
pub(crate) struct Pinned;

impl Prover for Pinned {
    fn prooftype(&self) -> Prooftype {
        Prooftype::Pin
    }

    fn nature(&self) -> Nature {
        Nature::Certificate
    }

    fn material(&self) -> Material {
        Material::Operator
    }

    fn needs_secure_dns(&self) -> bool {
        false
    }

    fn check(&self, case: &Case<'_>) -> Result<Found, Vec<Finding>> {
        let by = Prooftype::Pin;
        if case.rule.pins.is_empty() {
            return Err(findings(by, [Reason::NotPinned]));
        }
        let leaf = case.leaf().map_err(|reason| findings(by, [reason]))?;
        let spki = x509::spki(leaf).map_err(|reason| findings(by, [reason]))?;
        let digests = [Sha256::digest(leaf), Sha256::digest(&spki)];
        let found = fingerprint(leaf);
        if !case.rule.pins.iter().any(|pin| digests.iter().any(|digest| pin.0 == digest.as_slice())) {
            return Err(findings(by, [Reason::PinMismatch { found }]));
        }
        let basis = Basis::Pinned { fingerprint: found };
        Ok(Found { strength: Strength::Authenticated, basis, expires: Time::NEVER })
    }
}
