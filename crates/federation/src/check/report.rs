//! A report in words and as JSON. The shape of the JSON is part of the interface: members are added, never renamed (`docs/manual/check.md`).

use std::fmt;

use nuncio_dna::dns::Security;
use nuncio_dna::{Certificate, Decision, Finding, Judgement, Prooftype};
use nuncio_net::evidence::Step;
use nuncio_stream::s2s::Offers;
use serde_json::{Value, json};

use super::{Report, Server, Us, Verdict};
use crate::show::time;

/// What a certificate is for, in words.
fn names(certificate: &Certificate) -> String {
    let names: Vec<_> = certificate.names.iter().map(ToString::to_string).collect();
    if names.is_empty() { "no domain".to_owned() } else { names.join(", ") }
}

fn purposes(certificate: &Certificate) -> String {
    if certificate.purposes.is_empty() { "any purpose".to_owned() } else { certificate.purposes.join(", ") }
}

fn offered(offers: Offers) -> Vec<&'static str> {
    let all = [
        (offers.external, "sasl-external"),
        (offers.dialback, "dialback"),
        (offers.bidi, "bidi"),
        (offers.stream_management, "stream-management"),
    ];
    all.into_iter().filter_map(|(is, name)| is.then_some(name)).collect()
}

fn lines(f: &mut fmt::Formatter<'_>, judgement: &Judgement) -> fmt::Result {
    for proof in &judgement.proofs {
        writeln!(f, "    {proof}")?;
    }
    for finding in &judgement.findings {
        let not = if finding.by.is_some() { "not by " } else { "" };
        writeln!(f, "    {not}{finding}")?;
    }
    Ok(())
}

/// What to do about a domain of ours that has none.
const NO_CERTIFICATE: &str =
    "name one (domain[].certificate), or start the server once, and the local authority makes one";

impl fmt::Display for Report {
    /// What an operator reads. The last line is the verdict, with the one cause if they are refused.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} as seen from {}", self.pair.remote, self.pair.local)?;
        if let Some(why) = &self.validation {
            writeln!(f, "\nDNS answers cannot be validated here: {why}")?;
        }
        if !self.steps.is_empty() {
            writeln!(f, "\nwhere it is")?;
        }
        for step in &self.steps {
            writeln!(f, "    {step}")?;
        }
        for server in &self.servers {
            server.show(f)?;
        }
        if let Some(us) = &self.us {
            us.show(f, self)?;
        }
        if !self.policy.is_empty() {
            writeln!(f, "\npolicy for {}: {}", self.pair.remote, self.policy)?;
        }
        match &self.verdict {
            Verdict::Accepted { text } => f.write_str(text),
            Verdict::Refused { code, text, advice } => {
                writeln!(f, "to change: {advice}")?;
                write!(f, "refused: {text} [{code}]")
            }
        }
    }
}

impl Server {
    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\nserver {}", self.target)?;
        match self.address {
            Some(address) => writeln!(f, ", at {address}")?,
            None => writeln!(f)?,
        }
        if let Some((tls, suite)) = &self.tls {
            writeln!(f, "    {tls}, {suite}")?;
        }
        for (place, certificate) in self.certificates.iter().enumerate() {
            match certificate {
                Ok(it) if place == 0 => writeln!(
                    f,
                    "    certificate of {} for {}; by {}; valid {} to {}; for {}; SHA-256 {}",
                    it.subject,
                    names(it),
                    it.issuer,
                    it.not_before,
                    it.not_after,
                    purposes(it),
                    it.fingerprint
                )?,
                Ok(it) => {
                    writeln!(f, "    above it {} by {}, valid to {}", it.subject, it.issuer, it.not_after)?;
                }
                Err(why) => writeln!(f, "    certificate {}: {why}", place + 1)?,
            }
        }
        for step in &self.steps {
            writeln!(f, "    {step}")?;
        }
        if let Some(judgement) = &self.judgement {
            lines(f, judgement)?;
        }
        if let Some(offers) = self.offers {
            let offered = offered(offers);
            let offered = if offered.is_empty() { "nothing".to_owned() } else { offered.join(", ") };
            writeln!(f, "    offers to us: {offered}")?;
        }
        match self.problem() {
            Some((code, text)) => writeln!(f, "    {text} [{code}]"),
            None => Ok(()),
        }
    }
}

impl Us {
    fn to_json(&self, report: &Report) -> Value {
        let one = |(trust, judgement): &(String, Judgement)| json!({ "trust": trust, "judgement": judgement.to_json() });
        json!({
            "steps": steps(&self.steps),
            "certificate": self.certificate,
            "judgement": self.judgements.first().map(|(_, judgement)| judgement.to_json()),
            "judgements": self.judgements.iter().map(one).collect::<Vec<_>>(),
            "taken": taken(report),
        })
    }

    fn show(&self, f: &mut fmt::Formatter<'_>, report: &Report) -> fmt::Result {
        writeln!(f, "\nwhat others can prove about {}", report.pair.local)?;
        for step in &self.steps {
            writeln!(f, "    {step}")?;
        }
        if !self.certificate {
            writeln!(f, "    there is no certificate to show: {NO_CERTIFICATE}")?;
        }
        for (trust, judgement) in &self.judgements {
            writeln!(f, "    to who believes {trust}:")?;
            for proof in &judgement.proofs {
                writeln!(f, "        {proof}")?;
            }
            // Pins, dialback and their policy are theirs; the rest is what we can do something about.
            let ours = |finding: &&Finding| matches!(finding.by, Some(by) if !matches!(by, Prooftype::Pin | Prooftype::Dialback));
            for finding in judgement.findings.iter().filter(ours) {
                writeln!(f, "        not by {finding}")?;
            }
        }
        writeln!(f, "    {}", taken(report))
    }
}

/// What they made of our certificate.
fn taken(report: &Report) -> String {
    let remote = &report.pair.remote;
    let met = report.servers.iter().find(|server| server.offers.is_some());
    match met.map(|server| (server.takes_us, server.offers.unwrap_or_default())) {
        None => format!("what {remote} makes of it is not known"),
        Some((Some(true), _)) => format!("{remote} took our certificate"),
        Some((Some(false), _)) => format!("{remote} offered to take our certificate, and refused it"),
        Some((None, offers)) if offers.external => format!("{remote} offers to take our certificate"),
        Some((None, offers)) if offers.dialback => {
            format!("{remote} does not take our certificate; it calls back (dialback)")
        }
        Some((None, _)) => format!("{remote} takes neither our certificate nor dialback"),
    }
}

fn steps(steps: &[Step]) -> Value {
    let one = |step: &Step| {
        json!({
            "asked": step.asked,
            "through": step.through,
            "answer": step.answer,
            "security": step.security.map(Security::name),
            "failure": step.failure,
            "expires": step.expires.map(time),
        })
    };
    steps.iter().map(one).collect()
}

fn certificate(read: &Result<Certificate, String>) -> Value {
    match read {
        Ok(it) => json!({
            "subject": it.subject,
            "issuer": it.issuer,
            "names": it.names.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "common-names": it.common_names,
            "purposes": it.purposes,
            "not-before": time(it.not_before),
            "not-after": time(it.not_after),
            "authority": it.is_authority,
            "sha-256": it.fingerprint,
        }),
        Err(why) => json!({ "unreadable": why }),
    }
}

impl Report {
    /// The report for programs.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let (code, text, advice) = match &self.verdict {
            Verdict::Accepted { text } => (None, text, None),
            Verdict::Refused { code, text, advice } => (Some(code), text, Some(advice)),
        };
        json!({
            "domain": &*self.pair.remote,
            "local": &*self.pair.local,
            "policy": self.policy,
            "validation-problem": self.validation,
            "steps": steps(&self.steps),
            "servers": self.servers.iter().map(Server::to_json).collect::<Vec<_>>(),
            "us": self.us.as_ref().map(|us| us.to_json(self)),
            "accepted": self.verdict.is_accepted(),
            "code": code,
            "text": text,
            "advice": advice,
        })
    }
}

impl Server {
    fn to_json(&self) -> Value {
        let problem = self.problem();
        json!({
            "target": self.target,
            "address": self.address.map(|address| address.to_string()),
            "tls": self.tls.as_ref().map(|(tls, _)| tls.to_string()),
            "cipher": self.tls.as_ref().map(|(_, suite)| suite),
            "certificates": self.certificates.iter().map(certificate).collect::<Vec<_>>(),
            "offers": self.offers.map(offered),
            "steps": steps(&self.steps),
            "judgement": self.judgement.as_ref().map(Judgement::to_json),
            "until": self.judgement.as_ref().and_then(|judgement| match judgement.decision {
                Decision::Accept { until, .. } => Some(time(until)),
                Decision::Refuse => None,
            }),
            "took-our-certificate": self.takes_us,
            "code": problem.map(|(code, _)| code),
            "text": problem.map(|(_, text)| text),
        })
    }
}
