//! What POSH documents prove.

use super::{Document, FetchFailure, MAX_LIFE, MAX_REDIRECTS, Posh, Retrieval, https_host, url};
use crate::proof::{Basis, Case, Finding, Found, Material, Nature, Prooftype, Prover, Strength, findings};
use crate::x509::{Facts, fingerprint, printable};
use crate::{Reason, Time};

/// The certificate is one that the domain's web server names.
///
/// Names in the certificate do not count: the fingerprint binds it to the domain (RFC 7711 §4). Its dates do (§6), and so does revocation.
pub(crate) struct Posted;

impl Prover for Posted {
    fn prooftype(&self) -> Prooftype {
        Prooftype::Posh
    }

    fn nature(&self) -> Nature {
        Nature::Certificate
    }

    fn material(&self) -> Material {
        Material::Https
    }

    fn needs_secure_dns(&self) -> bool {
        false
    }

    fn check(&self, case: &Case<'_>) -> Result<Found, Vec<Finding>> {
        judge(case).map_err(|reason| findings(Prooftype::Posh, [reason]))
    }
}

fn judge(case: &Case<'_>) -> Result<Found, Reason> {
    let wanted = url(&case.claim.remote, case.claim.service).ok_or(Reason::PoshNotForService)?;
    let posh = case.evidence.posh.as_ref().ok_or(Reason::PoshNotAsked)?;
    let (source, fingerprints, fresh) = documents(posh, &wanted)?;
    let leaf = case.leaf()?;
    let (expires, is_stale) = life(case, posh, fresh)?;
    let matched = fingerprints.iter().find(|fingerprint| fingerprint.matches(leaf));
    let Some(matched) = matched else {
        return Err(Reason::PoshMismatch { url: printable(source), fingerprints: fingerprints.len() });
    };
    let because = |reason| Reason::PoshCertificate { because: Box::new(reason) };
    let facts = Facts::of(leaf).map_err(because)?;
    if let Some(reason) = facts.out_of_date(case.now) {
        return Err(because(reason));
    }
    if case.path().is_err_and(|reasons| reasons.contains(&Reason::Revoked)) {
        return Err(because(Reason::Revoked));
    }
    let basis = Basis::Document {
        url: source.to_owned(),
        reference: posh.second.is_some().then_some(wanted),
        hash: matched.hash.name(),
        is_stale,
        fingerprint: fingerprint(leaf),
    };
    Ok(Found { strength: Strength::Authenticated, basis, expires: expires.min(facts.not_after) })
}

/// The fingerprints, where they stand, and until when they are fresh: the lower of both documents' `expires` (RFC 7711 §6).
fn documents<'a>(posh: &'a Posh, wanted: &str) -> Result<(&'a str, Vec<super::Fingerprint>, Time), Reason> {
    let first = &posh.first;
    if first.url != wanted {
        return Err(Reason::PoshWrongSource { url: printable(&first.url), wanted: wanted.to_owned() });
    }
    let document = read(first)?;
    let until = first.at.after(document.expires().min(MAX_LIFE));
    let target = match (document, &posh.second) {
        (Document::Fingerprints { fingerprints, .. }, None) => {
            return Ok((&first.url, fingerprints, until));
        }
        // Nothing led to that one.
        (Document::Fingerprints { .. }, Some(second)) => {
            return Err(Reason::PoshWrongSource { url: printable(&second.url), wanted: wanted.to_owned() });
        }
        (Document::Reference { url, .. }, _) => url,
    };
    let second =
        posh.second.as_ref().ok_or_else(|| Reason::PoshNotFollowed { url: printable(&first.url) })?;
    if second.url != target {
        return Err(Reason::PoshWrongSource { url: printable(&second.url), wanted: printable(&target) });
    }
    match read(second)? {
        Document::Fingerprints { fingerprints, expires } => {
            Ok((&second.url, fingerprints, until.min(second.at.after(expires.min(MAX_LIFE)))))
        }
        Document::Reference { .. } => Err(Reason::PoshNestedReference { url: printable(&second.url) }),
    }
}

fn read(retrieval: &Retrieval) -> Result<Document, Reason> {
    let url = || printable(&retrieval.url);
    if retrieval.redirects.len() > MAX_REDIRECTS {
        return Err(Reason::PoshTooManyRedirects { url: url() });
    }
    let hops = std::iter::once(&retrieval.url).chain(&retrieval.redirects);
    if let Some(bad) = hops.into_iter().find(|hop| https_host(hop).is_none()) {
        return Err(Reason::PoshNotHttps { url: printable(bad) });
    }
    let body = retrieval.outcome.as_ref().map_err(|failure| failure.reason(&retrieval.url))?;
    Document::parse(body, &retrieval.url)
}

/// Until when the documents count, and whether that is beyond their own expiry: as long as policy says, when renewing them failed for the moment.
fn life(case: &Case<'_>, posh: &Posh, fresh: Time) -> Result<(Time, bool), Reason> {
    if fresh >= case.now {
        return Ok((fresh, false));
    }
    let kept = fresh.after(case.rule.posh_stale);
    if kept >= case.now && posh.renewal.is_some_and(FetchFailure::is_temporary) {
        return Ok((kept, true));
    }
    Err(Reason::PoshStale { expired: fresh })
}
