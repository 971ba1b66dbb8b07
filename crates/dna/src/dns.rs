//! What DNS said, with what DNSSEC says of it: the evidence for DANE and for secure delegation.
//!
//! The rules are those of RFC 7673 §3 (SRV, then addresses, then TLSA) and of RFC 7671 §7 (aliases). A lookup that failed is never the
//! same as one that found nothing.

use std::fmt;
use std::net::IpAddr;

use crate::domain::same_name;
use crate::{Claim, Direction, Domain, Time, Tlsa};

/// What DNSSEC validation says of an `RRset` (RFC 4035 §4.3), from best to worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Security {
    /// Signed, and the signatures lead to the trust anchor.
    Secure,
    /// Proven to be in a zone that is not signed.
    Insecure,
    /// It could not be found out whether it should be signed.
    Indeterminate,
    /// It should be signed, and is not or wrongly.
    Bogus,
}

impl Security {
    /// The word of RFC 4033 §5 for it, for people and in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Secure => "secure",
            Self::Insecure => "insecure",
            Self::Indeterminate => "indeterminate",
            Self::Bogus => "bogus",
        }
    }
}

/// An alias on the way of a lookup: one CNAME, or one DNAME with the CNAME that was made of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alias {
    /// The name that is an alias.
    pub owner: String,
    /// The name that it stands for.
    pub target: String,
    /// What validation says of this record.
    pub security: Security,
    /// When this record must be asked for again: its TTL, or the end of its signature if that is sooner.
    pub expires: Time,
}

/// Why a lookup gave no answer, not even that there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LookupFailure {
    /// Nobody answered in time.
    Timeout,
    /// SERVFAIL: what a validating resolver says of bogus answers.
    ServFail,
    /// Another error code (REFUSED, NOTIMP, ...).
    Refused,
    /// The answer could not be read.
    Malformed,
    /// Aliases that lead to themselves, or too many of them.
    AliasLoop,
    /// The resolver could not be reached.
    Unreachable,
}

impl fmt::Display for LookupFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Timeout => "timed out",
            Self::ServFail => "was answered with SERVFAIL",
            Self::Refused => "was refused",
            Self::Malformed => "gave an answer that cannot be read",
            Self::AliasLoop => "ran through too many aliases",
            Self::Unreachable => "reached no resolver",
        })
    }
}

/// What is known of the zone of a name whose lookup failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Zone {
    /// It is signed, or nothing proves that it is not.
    MayBeSigned,
    /// Its parent proves that it is not signed: there is nothing to downgrade.
    Unsigned,
}

/// What a lookup found at the end of its aliases.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer<T> {
    /// These records. An empty list is a domain's word that it does not offer the service (SRV target ".", RFC 2782).
    Records(Vec<T>),
    /// The name or its records do not exist (NXDOMAIN, NODATA). The lookup's `security` is that of the denial.
    NoRecords,
    /// Nothing is known.
    Failed {
        /// What happened.
        failure: LookupFailure,
        /// Whether that could hide signed records.
        zone: Zone,
    },
}

/// One question to DNS with all that was learned on the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lookup<T> {
    /// The name that was asked for.
    pub owner: String,
    /// The aliases that were followed, in their order. The last one's target holds the records.
    pub aliases: Vec<Alias>,
    /// What validation says of the records, or of the denial.
    pub security: Security,
    /// When the records, or the denial, must be asked for again: the TTL, or the end of the signatures if that is sooner.
    pub expires: Time,
    /// What was found.
    pub answer: Answer<T>,
}

/// A lookup, judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State<'a, T> {
    Secure(&'a [T]),
    SecurelyNone,
    Insecure,
    Indeterminate,
    Bogus,
    Failed(LookupFailure, Zone),
    Stale,
}

impl<T> Lookup<T> {
    /// A lookup without aliases.
    #[must_use]
    pub fn of(owner: &str, security: Security, expires: Time, answer: Answer<T>) -> Self {
        Self { owner: owner.to_owned(), aliases: Vec::new(), security, expires, answer }
    }

    /// A lookup of which nothing is known.
    #[must_use]
    pub fn failed(owner: &str, failure: LookupFailure, zone: Zone) -> Self {
        Self::of(owner, Security::Indeterminate, Time::NEVER, Answer::Failed { failure, zone })
    }

    /// The worst of all steps: one insecure alias makes the whole answer insecure (RFC 7673 §3.1).
    #[must_use]
    pub fn security(&self) -> Security {
        self.aliases.iter().map(|alias| alias.security).fold(self.security, Ord::max)
    }

    /// When the first of all steps must be asked for again.
    #[must_use]
    pub fn expires(&self) -> Time {
        self.aliases.iter().map(|alias| alias.expires).fold(self.expires, Ord::min)
    }

    /// The records; none when there are none or nothing is known.
    #[must_use]
    pub fn records(&self) -> &[T] {
        match &self.answer {
            Answer::Records(records) => records,
            Answer::NoRecords | Answer::Failed { .. } => &[],
        }
    }

    /// The name that holds the records: the last alias's target, or the name asked for.
    #[must_use]
    pub fn canonical(&self) -> &str {
        self.aliases.last().map_or(&self.owner, |alias| &alias.target)
    }

    /// Whether the aliases lead from the name asked for to [`canonical`](Self::canonical) without a gap.
    fn is_linked(&self) -> bool {
        let mut at = self.owner.as_str();
        self.aliases.iter().all(|alias| {
            let linked = same_name(&alias.owner, at);
            at = &alias.target;
            linked
        })
    }

    pub(crate) fn state(&self, now: Time) -> State<'_, T> {
        if let Answer::Failed { failure, zone } = self.answer {
            return State::Failed(failure, zone);
        }
        match self.security() {
            Security::Bogus => State::Bogus,
            Security::Indeterminate => State::Indeterminate,
            Security::Insecure => State::Insecure,
            Security::Secure if !self.is_linked() => State::Bogus,
            Security::Secure if self.expires() < now => State::Stale,
            Security::Secure => match self.records() {
                [] => State::SecurelyNone,
                records => State::Secure(records),
            },
        }
    }
}

/// One SRV record, as far as it matters to a proof (RFC 2782). Order and weights are the dialler's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Srv {
    /// The host that offers the service.
    pub target: Domain,
    /// Its port.
    pub port: u16,
}

/// One host and port that offers the service, with what DNS says of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The target of the SRV record, or the domain itself where there is none (RFC 6120 §3.2.2).
    pub host: Domain,
    /// The port.
    pub port: u16,
    /// Its A and AAAA records. When both were asked for: those of the better security, as RFC 7673 §3.2 wants one secure set.
    pub addresses: Lookup<IpAddr>,
    /// Its TLSA records; none when they were not asked for, which is right only if `addresses` is not secure.
    pub tlsa: Option<Lookup<Tlsa>>,
}

impl Endpoint {
    /// The names at which TLSA records are to be looked up, best first: that of the host that all secure aliases lead to, then the host's
    /// own (RFC 7673 §3.3, RFC 7671 §7). The first counts that has records, or whose lookup fails.
    #[must_use]
    pub fn tlsa_owners(&self) -> Vec<String> {
        let own = tlsa_owner(&self.host, self.port);
        match Domain::host(self.addresses.canonical()) {
            Ok(base) if base != self.host && self.addresses.security() == Security::Secure => {
                vec![tlsa_owner(&base, self.port), own]
            }
            _ => vec![own],
        }
    }

    /// The host whose TLSA records were found: the name that certificates are compared with, beside the domain (RFC 7671 §7).
    pub(crate) fn tlsa_base(&self) -> Option<Domain> {
        let owner = &self.tlsa.as_ref()?.owner;
        let known = self.tlsa_owners().iter().any(|known| same_name(known, owner));
        let base = owner.splitn(3, '.').nth(2).filter(|_| known)?;
        Domain::host(base).ok()
    }
}

/// The owner name of a TLSA record: `_PORT._tcp.HOST` (RFC 6698 §3).
#[must_use]
pub fn tlsa_owner(host: &Domain, port: u16) -> String {
    format!("_{port}._tcp.{host}")
}

/// What DNS said about a domain's service, by a validating resolver.
///
/// Where DNS cannot be validated there is no such evidence: leave [`Evidence::dns`](crate::Evidence::dns) empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dns {
    /// The answers for the service's SRV records: of each of [`Service::srv_owners`](crate::Service::srv_owners) that was asked for.
    pub srv: Vec<Lookup<Srv>>,
    /// For a stream that we opened: the one endpoint that it goes to. For one that the peer opened: every endpoint of its domain, if the SRV
    /// records are secure; one that is left out counts as one that hides TLSA records.
    pub endpoints: Vec<Endpoint>,
}

/// An endpoint that belongs to the domain by a secure delegation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Delegated<'a> {
    pub(crate) endpoint: &'a Endpoint,
    /// When the delegation must be looked up again.
    pub(crate) expires: Time,
    /// Whether a signed SRV record names the host; else the domain itself is the host.
    pub(crate) by_srv: bool,
}

impl Dns {
    /// The endpoints that this claim is about.
    pub(crate) fn endpoints_for(&self, claim: &Claim) -> &[Endpoint] {
        match claim.direction {
            Direction::In => &self.endpoints,
            Direction::Out => self.endpoints.get(..1).unwrap_or_default(),
        }
    }

    /// The endpoints that a secure SRV record names, or that are the domain itself while SRV records are securely denied.
    pub(crate) fn delegated<'a>(
        &'a self,
        claim: &'a Claim,
        now: Time,
    ) -> impl Iterator<Item = Delegated<'a>> {
        self.endpoints_for(claim).iter().filter_map(move |endpoint| self.delegation(claim, endpoint, now))
    }

    /// The lookups of the claimed domain's SRV records: those of another domain say nothing about it.
    pub(crate) fn srv_for(&self, claim: &Claim) -> impl Iterator<Item = &Lookup<Srv>> {
        let owners = claim.service.srv_owners(&claim.remote);
        self.srv.iter().filter(move |lookup| owners.iter().any(|owner| same_name(owner, &lookup.owner)))
    }

    /// Hosts that secure SRV records name, but of which no endpoint tells anything.
    pub(crate) fn unexamined(&self, claim: &Claim, now: Time) -> Vec<&Srv> {
        let known = |srv: &&Srv| {
            self.endpoints.iter().any(|known| known.host == srv.target && known.port == srv.port)
        };
        self.srv_for(claim)
            .filter_map(|lookup| match lookup.state(now) {
                State::Secure(records) => Some(records.iter()),
                _ => None,
            })
            .flatten()
            .filter(|srv| !known(srv))
            .collect()
    }

    fn delegation<'a>(&self, claim: &Claim, endpoint: &'a Endpoint, now: Time) -> Option<Delegated<'a>> {
        let names = |srv: &Srv| srv.target == endpoint.host && srv.port == endpoint.port;
        let named = self
            .srv_for(claim)
            .filter(|lookup| matches!(lookup.state(now), State::Secure(records) if records.iter().any(names)))
            .map(Lookup::expires)
            .max();
        if let Some(expires) = named {
            return Some(Delegated { endpoint, expires, by_srv: true });
        }
        let denied = self.srv_for(claim).all(|lookup| matches!(lookup.state(now), State::SecurelyNone));
        let expires = self.srv_for(claim).map(Lookup::expires).min()?;
        (denied && endpoint.host == claim.remote).then_some(Delegated { endpoint, expires, by_srv: false })
    }
}

/// A name that a certificate may be for, to prove a claim.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    /// The name.
    pub domain: Domain,
    /// Why it counts.
    pub because: Because,
}

/// Why a reference identifier counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Because {
    /// It is the domain that the other end claims to be.
    Service,
    /// A signed SRV record of that domain names this host (RFC 7673 §4.1).
    Delegated {
        /// When the SRV record must be looked up again.
        expires: Time,
    },
}

/// The names that a certificate may be for, to prove `claim`: the domain itself, and the hosts that its signed SRV records name. Without a
/// signature on the SRV records their targets prove nothing (RFC 7673 §4.1, RFC 7712 §6).
#[must_use]
pub fn references(claim: &Claim, dns: Option<&Dns>, now: Time) -> Vec<Reference> {
    let mut references = vec![Reference { domain: claim.remote.clone(), because: Because::Service }];
    for delegated in dns.iter().flat_map(|dns| dns.delegated(claim, now)).filter(|delegated| delegated.by_srv)
    {
        let domain = &delegated.endpoint.host;
        if references.iter().all(|known| known.domain != *domain) {
            let because = Because::Delegated { expires: delegated.expires };
            references.push(Reference { domain: domain.clone(), because });
        }
    }
    references
}
