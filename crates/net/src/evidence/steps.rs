//! What was asked and answered, for people.

use std::fmt;

use nuncio_dna::dns::{Alias, Answer, Endpoint, Lookup, Security, Zone};
use nuncio_dna::posh::{Posh, Retrieval};
use nuncio_dna::{Evidence, Time};

use super::dns::Asked;

/// One question and its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// What was asked: `SRV _xmpp-server._tcp.example.org`, `GET https://…`.
    pub asked: String,
    /// The names or addresses that the question was led through: aliases, redirects.
    pub through: Vec<String>,
    /// The answer, each record in the words of a zone file. Empty if there is none, or none of this type.
    pub answer: Vec<String>,
    /// What DNSSEC says of it; none for what is not DNS, or failed.
    pub security: Option<Security>,
    /// Why there is no answer.
    pub failure: Option<String>,
    /// Until when it holds; none where it does not say.
    pub expires: Option<Time>,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.asked)?;
        for through in &self.through {
            write!(f, " -> {through}")?;
        }
        match &self.failure {
            Some(failure) => write!(f, ": {failure}")?,
            None if self.answer.is_empty() => f.write_str(": nothing")?,
            None => write!(f, ": {}", self.answer.join(", "))?,
        }
        if let Some(security) = self.security {
            write!(f, " ({})", security.name())?;
        }
        Ok(())
    }
}

/// The steps that led to an evidence, in the order of RFC 7673 §3; POSH last.
#[must_use]
pub fn steps(evidence: &Evidence) -> Vec<Step> {
    let mut steps = Vec::new();
    if let Some(dns) = &evidence.dns {
        steps.extend(
            dns.srv.iter().map(|lookup| of("SRV", lookup, |srv| format!("{} {}", srv.port, srv.target))),
        );
        steps.extend(dns.endpoints.iter().flat_map(endpoint_steps));
    }
    if let Some(posh) = &evidence.posh {
        steps.extend(posh_steps(posh));
    }
    steps
}

fn endpoint_steps(endpoint: &Endpoint) -> Vec<Step> {
    let mut steps = vec![of("A, AAAA", &endpoint.addresses, ToString::to_string)];
    steps.extend(endpoint.tlsa.as_ref().map(|tlsa| of("TLSA", tlsa, ToString::to_string)));
    steps
}

fn posh_steps(posh: &Posh) -> Vec<Step> {
    let retrieved = |retrieval: &Retrieval| Step {
        asked: format!("GET {}", retrieval.url),
        through: retrieval.redirects.clone(),
        answer: retrieval.outcome.iter().map(|body| format!("{} octets", body.len())).collect(),
        security: None,
        failure: retrieval.outcome.as_ref().err().map(ToString::to_string),
        expires: None,
    };
    std::iter::once(&posh.first).chain(&posh.second).map(retrieved).collect()
}

fn through(aliases: &[Alias]) -> Vec<String> {
    aliases.iter().map(|alias| alias.target.clone()).collect()
}

fn of<T>(kind: &str, lookup: &Lookup<T>, shown: impl Fn(&T) -> String) -> Step {
    let failure = match lookup.answer {
        Answer::Failed { failure, .. } => Some(failure.to_string()),
        _ => None,
    };
    Step {
        asked: format!("{kind} {}", lookup.owner),
        through: through(&lookup.aliases),
        answer: lookup.records().iter().map(shown).collect(),
        security: failure.is_none().then(|| lookup.security()),
        failure,
        expires: Some(lookup.expires()).filter(|expires| *expires != Time::NEVER),
    }
}

/// The step of an SRV lookup, priorities and weights included.
pub(super) fn srv_step((owner, answer): &Asked) -> Step {
    let asked = format!("SRV {owner}");
    match answer {
        Ok(found) => Step {
            asked,
            through: through(&found.aliases),
            answer: found
                .records
                .iter()
                .map(|srv| format!("{} {} {} {}", srv.priority, srv.weight, srv.port, srv.target))
                .collect(),
            security: Some(found.security),
            failure: None,
            expires: Some(found.expires).filter(|expires| *expires != Time::NEVER),
        },
        Err(error) => Step {
            asked,
            through: Vec::new(),
            answer: Vec::new(),
            security: None,
            failure: Some(error.to_string()),
            expires: None,
        },
    }
}

/// Whether a failed lookup could hide signed records.
pub(super) const fn may_hide<T>(lookup: &Lookup<T>) -> bool {
    matches!(lookup.answer, Answer::Failed { zone: Zone::MayBeSigned, .. })
}
