//! DANE for services that SRV delegates (RFC 7673, with RFC 6698 and RFC 7671).
//!
//! Lookups that fail, or whose signatures are wrong, are never taken for "no record": they veto the connection, so that whoever can break DNS answers gains
//! nothing by it. Records that no certificate matches veto it, too.

use rustls_pki_types::CertificateDer;

use crate::chain::{self, Anchor, Path};
use crate::dns::{Delegated, Dns, Endpoint, Lookup, Security, State, Zone, tlsa_owner};
use crate::domain::same_name;
use crate::names::Identifier;
use crate::policy::DaneUse;
use crate::proof::{Basis, Case, Finding, Found, Material, Nature, Prooftype, Prover, Strength, findings};
use crate::tlsa::{self, Association, Matching, Selector, Usage};
use crate::x509::{Facts, fingerprint};
use crate::{Claim, Direction, Domain, Reason, Time, Tls, Tlsa};

/// The certificate, or an authority, is named by signed TLSA records.
pub(crate) struct Dane;

impl Prover for Dane {
    fn prooftype(&self) -> Prooftype {
        Prooftype::Dane
    }

    fn nature(&self) -> Nature {
        Nature::Certificate
    }

    fn material(&self) -> Material {
        Material::Dns
    }

    fn needs_secure_dns(&self) -> bool {
        true
    }

    fn check(&self, case: &Case<'_>) -> Result<Found, Vec<Finding>> {
        if case.rule.dane == DaneUse::Ignore {
            return Err(findings(Prooftype::Dane, [Reason::DaneIgnored]));
        }
        let Some(dns) = &case.evidence.dns else {
            return Err(findings(Prooftype::Dane, [Reason::DnsNotValidated]));
        };
        let mut outcome = Outcome::default();
        for endpoint in dns.endpoints_for(case.claim) {
            let Some(delegated) = dns.delegated(case.claim, case.now).find(|one| one.endpoint == endpoint)
            else {
                outcome.undelegated(case.claim, endpoint, dns);
                continue;
            };
            if let Some(found) = examine(case, delegated, &mut outcome) {
                return Ok(found);
            }
        }
        Err(outcome.settle(case, dns))
    }
}

/// What the endpoints of a domain led to, while none of them proved it.
#[derive(Default)]
struct Outcome {
    /// Something failed that could have proven the contrary.
    troubles: Vec<Reason>,
    /// DANE does not apply to an endpoint.
    plain: Vec<Reason>,
    /// An endpoint has usable records, and the certificate matches none.
    mismatches: Vec<Reason>,
    /// Endpoints that are none of the domain's: they say nothing about the others.
    strangers: Vec<Reason>,
}

impl Outcome {
    fn undelegated(&mut self, claim: &Claim, endpoint: &Endpoint, dns: &Dns) {
        let (host, port) = (endpoint.host.clone(), endpoint.port);
        match dns.srv_for(claim).find(|lookup| lookup.security() == Security::Insecure) {
            Some(lookup) => self.plain.push(Reason::SrvInsecure { owner: lookup.owner.clone() }),
            None => self.strangers.push(Reason::EndpointNotDelegated { host, port }),
        }
    }

    /// Everything that is known, and whether it vetoes the connection.
    fn settle(mut self, case: &Case<'_>, dns: &Dns) -> Vec<Finding> {
        let no_endpoint = dns.endpoints_for(case.claim).is_empty();
        // A stream of our own goes to one endpoint: once that is delegated by one SRV answer, the others do not matter. A peer may come from any of its hosts.
        let delegated = dns.delegated(case.claim, case.now).next().is_some();
        if case.claim.direction == Direction::In || !delegated {
            for lookup in dns.srv_for(case.claim) {
                match trouble(lookup, case.now, Kind::Srv) {
                    Some((reason, true)) => self.troubles.push(reason),
                    Some((reason, false)) => self.plain.push(reason),
                    None => {}
                }
            }
        }
        if case.claim.direction == Direction::In {
            let hidden = dns.unexamined(case.claim, case.now).into_iter();
            self.troubles
                .extend(hidden.map(|srv| Reason::TlsaNotAsked { owner: tlsa_owner(&srv.target, srv.port) }));
        }
        if no_endpoint && self.troubles.is_empty() && self.plain.is_empty() {
            self.plain.push(Reason::NoEndpoint);
        }
        let mismatch_vetoes = self.plain.is_empty();
        let marked = |reasons: Vec<Reason>, is_veto: bool| {
            reasons.into_iter().map(move |reason| Finding { by: Some(Prooftype::Dane), reason, is_veto })
        };
        let mut all: Vec<Finding> = Vec::new();
        let found = marked(self.troubles, true)
            .chain(marked(self.mismatches, mismatch_vetoes))
            .chain(marked(self.plain, false))
            .chain(marked(self.strangers, false));
        for finding in found {
            if !all.contains(&finding) {
                all.push(finding);
            }
        }
        all
    }
}

#[derive(Clone, Copy)]
enum Kind<'a> {
    Srv,
    Address(&'a Domain),
    Tlsa,
}

/// Why a lookup is of no use, and whether that could hide something.
fn trouble<T>(lookup: &Lookup<T>, now: Time, kind: Kind<'_>) -> Option<(Reason, bool)> {
    let owner = || lookup.owner.clone();
    let veto = |reason| Some((reason, true));
    let plain = |reason| Some((reason, false));
    match (lookup.state(now), kind) {
        (State::Secure(_) | State::SecurelyNone, _) => None,
        (State::Stale, _) => veto(Reason::DnsStale { owner: owner() }),
        (State::Bogus, Kind::Srv) => veto(Reason::SrvBogus { owner: owner() }),
        (State::Bogus, Kind::Address(host)) => veto(Reason::AddressBogus { host: host.clone() }),
        (State::Bogus, Kind::Tlsa) => veto(Reason::TlsaBogus { owner: owner() }),
        (State::Indeterminate, Kind::Srv) => veto(Reason::SrvIndeterminate { owner: owner() }),
        (State::Indeterminate, Kind::Address(host)) => {
            veto(Reason::AddressIndeterminate { host: host.clone() })
        }
        (State::Indeterminate, Kind::Tlsa) => veto(Reason::TlsaIndeterminate { owner: owner() }),
        (State::Failed(failure, zone), kind) => {
            let reason = match kind {
                Kind::Srv => Reason::SrvFailed { owner: owner(), failure },
                Kind::Address(host) => Reason::AddressFailed { host: host.clone(), failure },
                Kind::Tlsa => Reason::TlsaFailed { owner: owner(), failure },
            };
            Some((reason, zone == Zone::MayBeSigned))
        }
        (State::Insecure, Kind::Srv) => plain(Reason::SrvInsecure { owner: owner() }),
        (State::Insecure, Kind::Address(host)) => plain(Reason::AddressInsecure { host: host.clone() }),
        (State::Insecure, Kind::Tlsa) => plain(Reason::TlsaInsecure { owner: owner() }),
    }
}

/// A lookup and its signed records.
type Applicable<'a> = (&'a Lookup<Tlsa>, &'a [Tlsa]);

/// The TLSA records of an endpoint, where DANE applies to it (RFC 7673 §3.2, §3.3).
fn applicable(endpoint: &Endpoint, now: Time) -> Result<Applicable<'_>, (Reason, bool)> {
    if let Some(trouble) = trouble(&endpoint.addresses, now, Kind::Address(&endpoint.host)) {
        return Err(trouble);
    }
    if !same_name(&endpoint.addresses.owner, endpoint.host.as_str()) {
        // Somebody else's addresses say nothing.
        return Err((Reason::AddressIndeterminate { host: endpoint.host.clone() }, true));
    }
    if endpoint.addresses.records().is_empty() {
        return Err((Reason::AddressAbsent { host: endpoint.host.clone() }, false));
    }
    let Some(lookup) = endpoint.tlsa.as_ref().filter(|_| endpoint.tlsa_base().is_some()) else {
        let owner = endpoint.tlsa_owners().into_iter().next().unwrap_or_default();
        return Err((Reason::TlsaNotAsked { owner }, true));
    };
    match lookup.state(now) {
        State::Secure(records) => Ok((lookup, records)),
        State::SecurelyNone => Err((Reason::TlsaAbsent { owner: lookup.owner.clone() }, false)),
        _ => Err(trouble(lookup, now, Kind::Tlsa)
            .unwrap_or_else(|| (Reason::TlsaAbsent { owner: lookup.owner.clone() }, false))),
    }
}

/// Whether the domain publishes TLSA records that can be used: then nothing weaker than a certificate counts for it.
pub(crate) fn is_published(claim: &Claim, dns: Option<&Dns>, now: Time) -> bool {
    dns.is_some_and(|dns| {
        dns.delegated(claim, now).any(|delegated| {
            applicable(delegated.endpoint, now).is_ok_and(|(_, records)| !tlsa::usable(records).0.is_empty())
        })
    })
}

fn examine(case: &Case<'_>, delegated: Delegated<'_>, outcome: &mut Outcome) -> Option<Found> {
    let endpoint = delegated.endpoint;
    let (lookup, records) = match applicable(endpoint, case.now) {
        Ok(found) => found,
        Err((reason, true)) => {
            outcome.troubles.push(reason);
            return None;
        }
        Err((reason, false)) => {
            outcome.plain.push(reason);
            return None;
        }
    };
    let owner = lookup.owner.clone();
    if case.evidence.tls == Tls::None {
        outcome.troubles.push(Reason::TlsaRequiresTls { owner });
        return None;
    }
    let (usable, problem) = tlsa::usable(records);
    if let Some(problem) = problem {
        outcome.plain.push(Reason::TlsaUnusable { owner, detail: problem.to_string() });
        return None;
    }
    let Ok(leaf) = case.leaf() else {
        // A peer that presents nothing may still come by dialback, which then has to be vouched for.
        outcome.plain.push(Reason::NoCertificate);
        return None;
    };
    let mut reasons = Vec::new();
    let names = reference_names(case, delegated);
    // Usage 3 first: it asks for the least, so that nothing else can spoil it. A chain is built once for each usage, however many records there are.
    for usage in [Usage::DaneEe, Usage::DaneTa, Usage::PkixEe, Usage::PkixTa] {
        let group: Vec<_> = usable.iter().filter(|association| association.usage == usage).copied().collect();
        match compare(case, usage, &group, leaf, &names) {
            Ok(None) => {}
            Ok(Some((association, identifier, not_after))) => {
                let signed = delegated.expires.min(endpoint.addresses.expires()).min(lookup.expires());
                let basis = Basis::Tlsa {
                    owner,
                    record: (usage as u8, association.selector as u8, association.matching as u8),
                    identifier,
                    fingerprint: fingerprint(leaf),
                };
                let expires = signed.min(not_after);
                return Some(Found { strength: Strength::Authenticated, basis, expires });
            }
            Err(Failure::Name(wanted, presented)) => {
                reasons.push(Reason::TlsaNameMismatch { owner: owner.clone(), wanted, presented });
            }
            Err(Failure::Chain(because)) => {
                let usage = usage as u8;
                reasons.push(Reason::TlsaChainInvalid { owner: owner.clone(), usage, because });
            }
        }
    }
    if reasons.is_empty() {
        reasons.push(Reason::TlsaMismatch { owner, records: usable.len() });
    }
    outcome.mismatches.extend(reasons);
    None
}

/// The domain, the host, and the name that holds the host's TLSA records (RFC 7673 §6, RFC 7671 §7 and §10.2).
fn reference_names(case: &Case<'_>, delegated: Delegated<'_>) -> Vec<Domain> {
    let mut names = vec![case.claim.remote.clone(), delegated.endpoint.host.clone()];
    names.extend(delegated.endpoint.tlsa_base());
    let mut known = Vec::new();
    for name in names {
        if !known.contains(&name) {
            known.push(name);
        }
    }
    known
}

enum Failure {
    Name(String, String),
    Chain(Box<Reason>),
}

impl From<Reason> for Failure {
    fn from(reason: Reason) -> Self {
        match reason {
            Reason::NameMismatch { wanted, presented } => Self::Name(wanted, presented),
            other => Self::Chain(Box::new(other)),
        }
    }
}

fn first(reasons: Vec<Reason>) -> Failure {
    reasons.into_iter().next().unwrap_or(Reason::BadSignature).into()
}

/// A match: by which record, the name in the certificate if names count, and when the chain ends.
type Match<'a> = (Association<'a>, Option<Identifier>, Time);

/// The records of one usage against the peer's chain: a match, no match, or a match that is worth nothing.
fn compare<'a>(
    case: &Case<'_>,
    usage: Usage,
    group: &[Association<'a>],
    leaf: &CertificateDer<'static>,
    names: &[Domain],
) -> Result<Option<Match<'a>>, Failure> {
    let matched =
        |certificate: &[u8]| group.iter().find(|association| association.matches(certificate)).copied();
    match usage {
        // Neither names nor dates nor chain count (RFC 7671 §5.1).
        Usage::DaneEe => Ok(matched(leaf).map(|association| (association, None, Time::NEVER))),
        Usage::PkixEe => {
            let Some(association) = matched(leaf) else { return Ok(None) };
            let path = case.path().map_err(|reasons| first(reasons.to_vec()))?;
            named(case, association, leaf, path, names).map(Some)
        }
        Usage::PkixTa if group.is_empty() => Ok(None),
        Usage::PkixTa => under_trusted(case, &matched, leaf, names),
        Usage::DaneTa => under_published(case, group, leaf, names),
    }
}

fn named<'a>(
    case: &Case<'_>,
    association: Association<'a>,
    leaf: &CertificateDer<'static>,
    path: &Path,
    names: &[Domain],
) -> Result<Match<'a>, Failure> {
    let wanted: Vec<_> = names.iter().collect();
    let (identifier, _) = case.identify(leaf, &path.authorities, &wanted)?;
    Ok((association, Some(identifier), path.not_after))
}

/// Usage 0: a trusted chain that goes through an authority of the records; longer chains are tried until one does (RFC 7671 §5.4).
fn under_trusted<'a>(
    case: &Case<'_>,
    matched: &dyn Fn(&[u8]) -> Option<Association<'a>>,
    leaf: &CertificateDer<'static>,
    names: &[Domain],
) -> Result<Option<Match<'a>>, Failure> {
    let trusted = case.trust.authorities().iter().filter_map(|anchor| anchor.certificate.as_ref());
    // A trusted certificate that is no root may have one above it, which the record may mean.
    let longer: Vec<_> = trusted
        .filter(|certificate| Facts::of(certificate).is_ok_and(|facts| !facts.is_self_issued))
        .cloned()
        .collect();
    let by = |authorities: &[CertificateDer<'static>]| authorities.iter().find_map(|one| matched(one));
    let chain = &case.evidence.chain;
    match chain::verify(case.trust, chain, &longer, case.now, &|authorities, _| by(authorities).is_some()) {
        Ok(None) => Ok(None),
        Ok(Some(path)) => match by(&path.authorities) {
            Some(association) => named(case, association, leaf, &path, names).map(Some),
            None => Ok(None),
        },
        // Without a valid chain it cannot be said whether one would lead through that authority, but the certificates that were sent tell what was meant.
        Err(reasons) if chain.iter().skip(1).any(|sent| matched(sent).is_some()) => Err(first(reasons)),
        Err(reasons) => match reasons.first() {
            Some(Reason::UnknownIssuer { .. } | Reason::SelfSigned { .. }) | None => Ok(None),
            Some(_) => Err(first(reasons)),
        },
    }
}

/// An authority that a record of usage 2 names.
struct Candidate<'a> {
    association: Association<'a>,
    anchor: Anchor,
    /// How many authorities may stand below it.
    length: Option<u32>,
    not_after: Time,
}

/// Usage 2: an authority of the records is the anchor, trusted or not (RFC 7671 §5.2).
fn under_published<'a>(
    case: &Case<'_>,
    group: &[Association<'a>],
    leaf: &CertificateDer<'static>,
    names: &[Domain],
) -> Result<Option<Match<'a>>, Failure> {
    let chain = &case.evidence.chain;
    let mut candidates = Vec::new();
    let mut failure = None;
    let mut is_key_only = true;
    for &association in group {
        let whole = match (association.selector, association.matching) {
            (Selector::Cert, Matching::Full) => Some(CertificateDer::from(association.data.to_vec())),
            _ => None,
        };
        let sent = chain.iter().skip(1).filter(|sent| association.matches(sent)).cloned();
        let authorities: Vec<_> = whole.into_iter().chain(sent).collect();
        if authorities.is_empty()
            && (association.selector, association.matching) == (Selector::Spki, Matching::Full)
        {
            // The key may have issued the topmost certificate that was sent (RFC 7671 §5.2.3).
            let anchor = chain.last().and_then(|top| Anchor::of_key(association.data, top));
            candidates.extend(anchor.map(|anchor| Candidate {
                association,
                anchor,
                length: None,
                not_after: Time::NEVER,
            }));
        }
        for authority in authorities {
            is_key_only = false;
            match candidate(association, &authority, case.now) {
                Ok(candidate) => candidates.push(candidate),
                Err(reason) => failure = failure.or(Some(reason)),
            }
        }
    }
    if candidates.is_empty() {
        return failure.map_or(Ok(None), |reason| Err(reason.into()));
    }
    let trust =
        case.trust.with_anchors(candidates.iter().map(|candidate| candidate.anchor.clone()).collect());
    let short = |authorities: &[CertificateDer<'static>], anchor: usize| {
        // The anchor itself is one of the authorities, where it is known; those between it and the peer are counted.
        let between = u32::try_from(authorities.len().saturating_sub(1)).unwrap_or(u32::MAX);
        let length = candidates.get(anchor).and_then(|candidate| candidate.length);
        length.is_none_or(|most| between <= most)
    };
    match chain::verify(&trust, chain, &[], case.now, &short) {
        Ok(None) => Err(Reason::PathTooLong.into()),
        Ok(Some(path)) => match candidates.get(path.anchor) {
            None => Ok(None),
            Some(candidate) => {
                let (association, identifier, not_after) =
                    named(case, candidate.association, leaf, &path, names)?;
                Ok(Some((association, identifier, not_after.min(candidate.not_after))))
            }
        },
        // A key that did not issue the chain is simply another authority's.
        Err(reasons) if is_key_only && reasons.first().is_none_or(Reason::is_of_another_issuer) => Ok(None),
        Err(reasons) => Err(failure.map_or_else(|| first(reasons), Failure::from)),
    }
}

/// An authority with what its own certificate demands: dates, being an authority, length (RFC 7671 §5.2.1).
fn candidate<'a>(
    association: Association<'a>,
    authority: &CertificateDer<'static>,
    now: Time,
) -> Result<Candidate<'a>, Reason> {
    let facts = Facts::of(authority)?;
    match facts.out_of_date(now) {
        Some(Reason::CertificateExpired { not_after }) => return Err(Reason::IssuerExpired { not_after }),
        Some(Reason::CertificateNotYetValid { not_before }) => {
            return Err(Reason::IssuerNotYetValid { not_before });
        }
        _ => {}
    }
    let length = facts.authority.ok_or(Reason::IssuerNotAuthority)?;
    Ok(Candidate { association, anchor: Anchor::of(authority)?, length, not_after: facts.not_after })
}

impl Reason {
    /// Whether the chain simply leads elsewhere.
    const fn is_of_another_issuer(&self) -> bool {
        matches!(
            self,
            Self::BadSignature
                | Self::UnsupportedSignature
                | Self::UnknownIssuer { .. }
                | Self::SelfSigned { .. }
        )
    }
}
