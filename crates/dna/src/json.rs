//! Judgements for machines. The shape is part of the interface: members are added, never renamed (`docs/manual/proofs.md`).

use serde_json::{Value, json};

use crate::{Basis, Decision, Finding, Judgement, ProvenDomain, Time};

impl Judgement {
    /// The judgement as JSON: what `--json` prints and what HTTP answers. Times are RFC 3339, and null where there is no end.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let (proof, until) = match &self.decision {
            Decision::Accept { proof, until } => (Value::from(proof.by().name()), time(*until)),
            Decision::Refuse => (Value::Null, Value::Null),
        };
        json!({
            "domain": self.domain.as_str(),
            "accepted": self.is_accepted(),
            "by": proof,
            "until": until,
            "level": self.level.name(),
            "tls": self.tls.to_string(),
            "proofs": self.proofs.iter().map(proven).collect::<Vec<_>>(),
            "findings": self.findings.iter().map(finding).collect::<Vec<_>>(),
            "cause": self.cause().map(|cause| cause.reason.code()),
        })
    }
}

fn time(time: Time) -> Value {
    if time == Time::NEVER { Value::Null } else { Value::from(time.to_string()) }
}

fn proven(proof: &ProvenDomain) -> Value {
    json!({
        "by": proof.by().name(),
        "strength": proof.strength().name(),
        "expires": time(proof.expires()),
        "text": proof.basis().to_string(),
        "evidence": evidence(proof.basis()),
    })
}

fn evidence(basis: &Basis) -> Value {
    match basis {
        Basis::Word => json!({}),
        Basis::Certificate { identifier, target, issuer, fingerprint } => json!({
            "name": identifier.to_string(),
            "target": target.as_ref().map(crate::Domain::as_str),
            "issuer": issuer,
            "sha-256": fingerprint,
        }),
        Basis::Tlsa { owner, record: (usage, selector, matching), identifier, fingerprint } => json!({
            "owner": owner,
            "record": [usage, selector, matching],
            "name": identifier.as_ref().map(ToString::to_string),
            "sha-256": fingerprint,
        }),
        Basis::Document { url, reference, hash, is_stale, fingerprint } => json!({
            "url": url,
            "reference": reference,
            "hash": hash,
            "stale": is_stale,
            "sha-256": fingerprint,
        }),
        Basis::Dialback { vouched, is_same_certificate } => json!({
            "vouched": vouched.map(crate::Prooftype::name),
            "same-certificate": is_same_certificate,
        }),
        Basis::Pinned { fingerprint } => json!({ "sha-256": fingerprint }),
    }
}

fn finding(finding: &Finding) -> Value {
    json!({
        "by": finding.by.map(crate::Prooftype::name),
        "code": finding.reason.code(),
        "text": finding.reason.to_string(),
        "veto": finding.is_veto,
    })
}
