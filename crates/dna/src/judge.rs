//! The verdict: one pure function over claim, evidence, policy and time.

use std::fmt;

use crate::dane::Dane;
use crate::dialback::Answered;
use crate::pkix::{Delegation, Pinned, Pkix};
use crate::policy::{Facts, Level, Rule};
use crate::posh::Posted;
use crate::proof::{Basis, Case, Description, Finding, Prooftype, ProvenDomain, Prover, Strength, Until};
use crate::{Claim, Domain, Evidence, Policy, Reason, Time, Tls};

/// Every prooftype, in the order in which their findings are told.
static PROVERS: [&dyn Prover; 6] = [&Dane, &Pkix, &Delegation, &Posted, &Pinned, &Answered];

/// What became of a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// The domain that was claimed.
    pub domain: Domain,
    /// What proves it, the strongest first.
    pub proofs: Vec<ProvenDomain>,
    /// Why the other prooftypes do not, and why policy refuses. A prooftype that proves has none here.
    pub findings: Vec<Finding>,
    /// What the proofs amount to (XEP-0238 §1).
    pub level: Level,
    /// The TLS of the stream.
    pub tls: Tls,
    /// What policy decides.
    pub decision: Decision,
}

/// What policy decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The peer may speak for the domain.
    Accept {
        /// The strongest proof; [`Prooftype::Assertion`] where policy demands none. It may end before `until`, when a weaker one would still do: then it is time
        /// to collect evidence again, not to part.
        proof: ProvenDomain,
        /// When the policy is no longer fulfilled by this evidence: by then there must be new evidence and a new judgement (S3-20).
        until: Time,
    },
    /// It may not. The findings say why.
    Refuse,
}

/// Judges a claim at the time `now`. The same arguments give the same judgement.
///
/// `policy.rule(&claim.remote)` decides. A veto (DANE records that are broken, withheld or contradict) outweighs every proof.
#[must_use]
pub fn judge(claim: &Claim, evidence: &Evidence, policy: &Policy, now: Time) -> Judgement {
    judge_by(&PROVERS, claim, evidence, policy, now)
}

fn judge_by(
    provers: &[&dyn Prover],
    claim: &Claim,
    evidence: &Evidence,
    policy: &Policy,
    now: Time,
) -> Judgement {
    let rule = policy.rule(&claim.remote);
    let case = Case::new(claim, evidence, rule, &policy.trust, now);
    let mut proofs = Vec::new();
    let mut findings = Vec::new();
    for prover in provers {
        match prover.check(&case) {
            Ok(found) if found.expires >= now => {
                let domain = claim.remote.clone();
                let by = prover.prooftype();
                proofs.push(ProvenDomain::new(domain, by, found.strength, found.basis, found.expires));
            }
            // Every prover looks at the dates of its evidence itself; this is what keeps one that forgot from proving anything.
            Ok(found) => findings.push(Finding {
                by: Some(prover.prooftype()),
                reason: Reason::CertificateExpired { not_after: found.expires },
                is_veto: false,
            }),
            Err(reasons) => findings.extend(reasons),
        }
    }
    proofs.sort_by_key(|proof| std::cmp::Reverse((proof.strength(), proof.by())));
    let facts = Facts { proofs: &proofs, evidence };
    let level = Level::reached(&facts);
    let until = rule.require.holds(&facts);
    let listed = listed(claim, policy);
    let vetoed = findings.iter().any(|finding| finding.is_veto);
    let decision = match until {
        Some(until) if !vetoed && listed.is_none() => {
            let proof = proofs.first().cloned().unwrap_or_else(|| assertion(claim));
            Decision::Accept { proof, until }
        }
        _ => Decision::Refuse,
    };
    findings.extend(listed.or_else(|| unmet(rule, until)).map(|reason| Finding {
        by: None,
        reason,
        is_veto: false,
    }));
    Judgement { domain: claim.remote.clone(), proofs, findings, level, tls: evidence.tls, decision }
}

fn assertion(claim: &Claim) -> ProvenDomain {
    let domain = claim.remote.clone();
    ProvenDomain::new(domain, Prooftype::Assertion, Strength::Asserted, Basis::Word, Time::NEVER)
}

fn listed(claim: &Claim, policy: &Policy) -> Option<Reason> {
    let is_in = |list: &[crate::Pattern]| list.iter().any(|pattern| pattern.matches(&claim.remote));
    if is_in(&policy.deny) {
        Some(Reason::PeerDenied)
    } else if !policy.allow.is_empty() && !is_in(&policy.allow) {
        Some(Reason::PeerNotAllowed)
    } else {
        None
    }
}

fn unmet(rule: &Rule, until: Option<Time>) -> Option<Reason> {
    until.is_none().then(|| Reason::PolicyUnmet { policy: rule.require.to_string() })
}

/// The four parts of every prooftype (RFC 7712 §7), in the order in which they are judged.
#[must_use]
pub fn prooftypes() -> Vec<Description> {
    let describe = |prover: &&dyn Prover| Description {
        prooftype: prover.prooftype(),
        nature: prover.nature(),
        material: prover.material(),
        needs_secure_dns: prover.needs_secure_dns(),
    };
    PROVERS.iter().map(describe).collect()
}

impl Judgement {
    /// Whether the peer may speak for the domain.
    #[must_use]
    pub const fn is_accepted(&self) -> bool {
        matches!(self.decision, Decision::Accept { .. })
    }

    /// The proof with which the peer is accepted.
    #[must_use]
    pub const fn accepted(&self) -> Option<&ProvenDomain> {
        match &self.decision {
            Decision::Accept { proof, .. } => Some(proof),
            Decision::Refuse => None,
        }
    }

    /// The one finding that an operator should hear first when the peer is refused: a veto; else a list; else what is wrong with the certificate that the
    /// peer took the trouble to present; else why it presented none; else that dialback failed.
    #[must_use]
    pub fn cause(&self) -> Option<&Finding> {
        if self.is_accepted() {
            return None;
        }
        let first = self.findings.iter().min_by_key(|finding| rank(finding))?;
        // Where a certificate has proven it, nothing is wrong with the peer: more is asked for than that.
        let proven = self.proofs.iter().any(ProvenDomain::is_by_certificate);
        let unmet = self.findings.iter().find(|finding| matches!(finding.reason, Reason::PolicyUnmet { .. }));
        unmet.filter(|_| proven && rank(first) > 1).or(Some(first))
    }
}

/// The smaller, the likelier it is that mending this mends everything.
fn rank(finding: &Finding) -> u8 {
    let (by, reason) = (finding.by, &finding.reason);
    match reason {
        _ if finding.is_veto => 0,
        Reason::PeerDenied | Reason::PeerNotAllowed => 1,
        Reason::TlsaMismatch { .. }
        | Reason::TlsaNameMismatch { .. }
        | Reason::TlsaChainInvalid { .. }
        | Reason::PoshMismatch { .. }
        | Reason::PoshCertificate { .. }
        | Reason::PinMismatch { .. } => 2,
        // These two are also what is left of a peer that never meant to use an authority: whatever it did use says more.
        Reason::UnknownIssuer { .. } | Reason::SelfSigned { .. } | Reason::NoTrustAnchors => 4,
        Reason::NoTls | Reason::NoCertificate => 5,
        Reason::DialbackNotTried => 9,
        _ => match by {
            Some(Prooftype::Pkix) => 3,
            Some(Prooftype::Posh) if is_published(reason) => 3,
            Some(Prooftype::Dialback) => 6,
            _ => 8,
        },
    }
}

/// Whether a domain that has this wrong with its POSH documents uses POSH at all.
const fn is_published(reason: &Reason) -> bool {
    !matches!(
        reason,
        Reason::PoshNotAsked
            | Reason::PoshNotForService
            | Reason::PoshAbsent { .. }
            | Reason::PoshUnreachable { .. }
            | Reason::PoshTimeout { .. }
            | Reason::PoshStatus { .. }
            | Reason::PoshUntrusted { .. }
            | Reason::PoshPrivateAddress { .. }
            | Reason::PoshTooManyRedirects { .. }
            | Reason::PoshNotHttps { .. }
    )
}

/// What an operator is told: a line for each proof and each finding, and the decision on the last one.
impl fmt::Display for Judgement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for proof in &self.proofs {
            writeln!(f, "{proof}")?;
        }
        for finding in &self.findings {
            writeln!(f, "{finding}")?;
        }
        match &self.decision {
            Decision::Accept { proof, until } => {
                write!(f, "accepted: {} by {}, over {}, {}", self.level, proof.by(), self.tls, Until(*until))
            }
            Decision::Refuse => {
                f.write_str("refused: ")?;
                match self.cause() {
                    Some(cause) => write!(f, "{cause}"),
                    None => f.write_str("nothing is proven"),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proof::{Found, Material, Nature};
    use crate::{Direction, Service};

    /// A prooftype that needs nothing but the right name.
    struct Toy;

    impl Prover for Toy {
        fn prooftype(&self) -> Prooftype {
            Prooftype::Pin
        }

        fn nature(&self) -> Nature {
            Nature::KeyInStream
        }

        fn material(&self) -> Material {
            Material::Operator
        }

        fn needs_secure_dns(&self) -> bool {
            false
        }

        fn check(&self, case: &Case<'_>) -> Result<Found, Vec<Finding>> {
            if case.claim.remote.as_str() != "toy.example" {
                return Err(crate::proof::findings(Prooftype::Pin, [Reason::NotPinned]));
            }
            let expires = Time::from_secs(100);
            Ok(Found { strength: Strength::Authenticated, basis: Basis::Word, expires })
        }
    }

    /// S3-02: a prooftype is four parts; one more is one more entry of a list.
    #[test]
    fn a_prooftype_can_be_added() {
        let policy = Policy {
            default: Rule { require: "pin".parse().unwrap(), ..Rule::default() },
            ..Policy::default()
        };
        let evidence = Evidence::of(Tls::None, Vec::new());
        let run = |remote: &str, now: u64| {
            let claim = Claim {
                local: Domain::new("us.example").unwrap(),
                remote: Domain::new(remote).unwrap(),
                direction: Direction::In,
                service: Service::XmppServer,
            };
            judge_by(&[&Toy], &claim, &evidence, &policy, Time::from_secs(now))
        };
        let good = run("toy.example", 100);
        assert_eq!(good.accepted().map(ProvenDomain::by), Some(Prooftype::Pin));
        assert_eq!(run("other.example", 100).cause().map(|cause| cause.reason.code()), Some("not-pinned"));
        // An expired proof is none, whoever found it.
        assert!(!run("toy.example", 101).is_accepted());
    }

    /// RFC 7712 §7: the four parts of each prooftype.
    #[test]
    fn prooftypes_tell_their_parts() {
        let described = prooftypes();
        let mut named: Vec<_> = described.iter().map(|one| one.prooftype).collect();
        named.sort();
        assert_eq!(named, Prooftype::ALL);
        let secure: Vec<_> =
            described.iter().filter(|one| one.needs_secure_dns).map(|one| one.prooftype).collect();
        assert_eq!(secure, [Prooftype::Dane, Prooftype::Delegation]);
    }
}
