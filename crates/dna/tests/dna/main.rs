//! Claims and evidence of every kind, and what is judged of them.
#![expect(clippy::unwrap_used, reason = "helpers of tests, where a panic is the failure")]

mod certs;
mod corpus;
mod dane;
mod dialback;
mod pkix;
mod policy;
mod posh;
mod publish;
mod xep0238;

use nuncio_dna::{
    Claim, Direction, Domain, Evidence, Judgement, Policy, Prooftype, Rule, Service, Tls, Trust,
};

use certs::{Der, NOW};

fn domain(name: &str) -> Domain {
    Domain::new(name).unwrap()
}

fn claim(remote: &str, direction: Direction) -> Claim {
    let local = domain("us.example");
    Claim { local, remote: domain(remote), direction, service: Service::XmppServer }
}

fn incoming(remote: &str) -> Claim {
    claim(remote, Direction::In)
}

fn outgoing(remote: &str) -> Claim {
    claim(remote, Direction::Out)
}

fn tls(chain: &[&Der]) -> Evidence {
    Evidence::of(Tls::V13, chain.iter().map(|&der| der.clone()).collect())
}

fn policy(trust: Trust, require: &str) -> Policy {
    let default = Rule { require: require.parse().unwrap(), ..Rule::default() };
    Policy { trust, default, ..Policy::default() }
}

fn judge(claim: &Claim, evidence: &Evidence, policy: &Policy) -> Judgement {
    nuncio_dna::judge(claim, evidence, policy, NOW)
}

/// The codes of the findings of one prooftype, those that veto with an exclamation mark.
fn codes(judgement: &Judgement, by: Prooftype) -> Vec<String> {
    let of = judgement.findings.iter().filter(|finding| finding.by == Some(by));
    of.map(|finding| format!("{}{}", finding.reason.code(), if finding.is_veto { "!" } else { "" })).collect()
}

fn cause(judgement: &Judgement) -> &'static str {
    judgement.cause().map_or("(none)", |finding| finding.reason.code())
}

fn proofs(judgement: &Judgement) -> Vec<Prooftype> {
    judgement.proofs.iter().map(|proof| proof.by()).collect()
}
