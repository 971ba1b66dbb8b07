//! What DNS says: SRV, then addresses, then TLSA (RFC 7673 §3).

use nuncio_dna::dns::{Answer as Found, Dns, Endpoint, Lookup, LookupFailure, Security, Srv, Zone};
use nuncio_dna::{Claim, Direction, Domain, Service, Time};
use tokio::task::JoinSet;

use super::Collector;
use crate::dns::{self, Answer, DnsError};

impl Collector {
    pub(super) async fn dns(&self, claim: &Claim, endpoint: Option<&(Domain, u16)>) -> Dns {
        let (srv, _) = self.srv(&claim.remote, claim.service).await;
        let mut hosts: Vec<(Domain, u16)> = Vec::new();
        match (claim.direction, endpoint) {
            (Direction::Out, Some(endpoint)) => hosts.push(endpoint.clone()),
            _ => {
                let secure = srv.iter().filter(|lookup| lookup.security() == Security::Secure);
                for named in secure.flat_map(|lookup| lookup.records()) {
                    let host = (named.target.clone(), named.port);
                    if !hosts.contains(&host) {
                        hosts.push(host);
                    }
                }
            }
        }
        let denied =
            |lookup: &Lookup<Srv>| lookup.security() == Security::Secure && lookup.answer == Found::NoRecords;
        if hosts.is_empty() && srv.iter().all(denied) {
            // RFC 6120 §3.2.2: then the domain is its own host.
            hosts.push((claim.remote.clone(), fallback_port(claim.service)));
        }
        hosts.truncate(match claim.direction {
            Direction::Out => 1,
            Direction::In => self.0.config.endpoints,
        });
        let mut running = JoinSet::new();
        for (index, (host, port)) in hosts.into_iter().enumerate() {
            let this = self.clone();
            running.spawn(async move { (index, this.endpoint(host, port).await) });
        }
        let mut endpoints = running.join_all().await;
        endpoints.sort_by_key(|(index, _)| *index);
        Dns { srv, endpoints: endpoints.into_iter().map(|(_, endpoint)| endpoint).collect() }
    }

    /// The SRV records of both names of a service, as evidence and as answered.
    pub(super) async fn srv(&self, domain: &Domain, service: Service) -> (Vec<Lookup<Srv>>, Vec<Asked>) {
        let owners = service.srv_owners(domain);
        let resolver = &self.0.resolver;
        let mut asked = Vec::new();
        // There are at most two.
        match owners.as_slice() {
            [one, other] => {
                let (first, second) = tokio::join!(resolver.srv(one), resolver.srv(other));
                asked.push((one.clone(), first));
                asked.push((other.clone(), second));
            }
            all => {
                for owner in all {
                    asked.push((owner.clone(), resolver.srv(owner).await));
                }
            }
        }
        let failed = asked.iter().any(|(_, answer)| answer.is_err());
        let zone = if failed { self.zone(domain).await } else { Zone::MayBeSigned };
        let lookups = asked.iter().map(|(owner, answer)| {
            let services = lookup(owner, answer, zone, |srv: &dns::Srv| {
                Some(Srv { target: Domain::host(&srv.target).ok()?, port: srv.port })
            });
            match answer {
                // RFC 2782: a domain's word that there is nothing is more than silence.
                Ok(answer) if !answer.records.is_empty() => {
                    Lookup { answer: Found::Records(services.records().to_vec()), ..services }
                }
                _ => services,
            }
        });
        (lookups.collect(), asked)
    }

    /// Whether it is proven that the zone of a domain is not signed: then a failed lookup hides nothing.
    async fn zone(&self, domain: &Domain) -> Zone {
        match self.0.resolver.family(domain.as_str(), false).await {
            // Behind an alias it would be another zone.
            Ok(answer) if answer.aliases.is_empty() && answer.security == Security::Insecure => {
                Zone::Unsigned
            }
            _ => Zone::MayBeSigned,
        }
    }

    /// What DNS says of one host and port: its addresses and, where those are secure, its TLSA records (RFC 7673 §3.2, §3.3).
    pub async fn endpoint(&self, host: Domain, port: u16) -> Endpoint {
        let resolver = &self.0.resolver;
        let name = host.as_str();
        let (six, four) = tokio::join!(resolver.family(name, true), resolver.family(name, false));
        let [six, four] =
            [six, four].map(|found| lookup(name, &found, Zone::MayBeSigned, |address| Some(*address)));
        let mut endpoint = Endpoint { addresses: better(six, four), tlsa: None, host, port };
        if endpoint.addresses.security() == Security::Secure && !endpoint.addresses.records().is_empty() {
            for owner in endpoint.tlsa_owners() {
                let found = lookup(&owner, &resolver.tlsa(&owner).await, Zone::MayBeSigned, |tlsa| {
                    Some(tlsa.clone())
                });
                let decides = found.answer != Found::NoRecords || found.security() == Security::Bogus;
                endpoint.tlsa = Some(found);
                if decides {
                    break;
                }
            }
        }
        endpoint
    }
}

/// A name and what was answered.
pub(super) type Asked = (String, Result<Answer<dns::Srv>, DnsError>);

/// The port of a service where no SRV record says another.
pub(super) const fn fallback_port(service: Service) -> u16 {
    match service {
        Service::XmppServer => 5269,
        Service::XmppClient => 5222,
        Service::Msrps => 2855,
        Service::Sips => 5061,
    }
}

/// An answer as evidence.
fn lookup<T, U>(
    owner: &str,
    found: &Result<Answer<T>, DnsError>,
    zone: Zone,
    each: impl Fn(&T) -> Option<U>,
) -> Lookup<U> {
    match found {
        Ok(found) => {
            let records: Vec<U> = found.records.iter().filter_map(each).collect();
            Lookup {
                owner: owner.to_owned(),
                aliases: found.aliases.clone(),
                security: found.security,
                expires: found.expires,
                answer: if records.is_empty() { Found::NoRecords } else { Found::Records(records) },
            }
        }
        Err(DnsError::Bogus(_)) => Lookup::of(owner, Security::Bogus, Time::NEVER, Found::NoRecords),
        Err(error) => Lookup::failed(owner, failure(error), zone),
    }
}

pub(super) const fn failure(error: &DnsError) -> LookupFailure {
    match error {
        DnsError::Timeout => LookupFailure::Timeout,
        DnsError::Unreachable(_) => LookupFailure::Unreachable,
        DnsError::Refused(2) => LookupFailure::ServFail,
        DnsError::Refused(_) => LookupFailure::Refused,
        DnsError::Aliases => LookupFailure::AliasLoop,
        DnsError::Name(_) | DnsError::Broken | DnsError::Bogus(_) => LookupFailure::Malformed,
    }
}

/// Of the addresses of both families: all that are secure, for RFC 7673 §3.2 wants one secure set. Else what proves that the host is in a zone that is not
/// signed; else what failed, which may hide something; else what there is.
fn better<T>(one: Lookup<T>, other: Lookup<T>) -> Lookup<T> {
    let rank = |lookup: &Lookup<T>| {
        let failed = matches!(lookup.answer, Found::Failed { .. });
        match lookup.security() {
            Security::Secure if !lookup.records().is_empty() => 0,
            Security::Insecure if !lookup.records().is_empty() => 1,
            Security::Insecure => 2,
            Security::Bogus => 3,
            Security::Indeterminate if failed => 4,
            Security::Indeterminate if !lookup.records().is_empty() => 5,
            Security::Indeterminate | Security::Secure => 6,
        }
    };
    let (mut best, rest) = if rank(&one) <= rank(&other) { (one, other) } else { (other, one) };
    if rank(&best) == rank(&rest)
        && let (Found::Records(all), Found::Records(more)) = (&mut best.answer, rest.answer)
    {
        all.extend(more);
        best.expires = best.expires.min(rest.expires);
        for (alias, same) in best.aliases.iter_mut().zip(rest.aliases) {
            alias.expires = alias.expires.min(same.expires);
        }
    }
    best
}
