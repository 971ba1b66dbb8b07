//! What decides about another domain, whoever asks: the server for its streams, `nuncio check` for an operator.

use std::sync::Arc;

use nuncio_dna::dialback::Dialback;
use nuncio_dna::{Claim, Direction, Domain, Evidence, Judgement, Policy, Service, Time, judge};
use nuncio_net::dns::DnsError;
use nuncio_net::evidence::{self, Destination, Place, Step};
use nuncio_net::{Collector, Wants};
use nuncio_sansio::TlsFacts;
use nuncio_stream::s2s::Pair;

use crate::config::FederationConfig;
use crate::failure::Failure;
use crate::live::Judged;
use crate::route::Target;

/// All that a decision depends on.
pub(crate) struct Mind<'a> {
    pub(crate) config: &'a FederationConfig,
    pub(crate) policy: Arc<Policy>,
    pub(crate) collector: &'a Collector,
    pub(crate) clock: &'a (dyn Now + Sync),
}

/// Who knows the time by which certificates and documents are judged.
pub(crate) trait Now {
    fn now(&self) -> Time;
}

/// Where the servers of a domain are, and what was asked to find that out.
pub(crate) struct Found {
    pub(crate) steps: Vec<Step>,
    /// In the order in which to try them. Never empty.
    pub(crate) servers: Result<Vec<Target>, Failure>,
}

/// The claim that a stream makes for a pair.
pub(crate) fn claim(pair: &Pair, direction: Direction) -> Result<Claim, Failure> {
    let domain = |name: &str| {
        Domain::new(name).map_err(|why| Failure::not_found("not-a-domain", format!("{name} is {why}")))
    };
    let (local, remote) = (domain(&pair.local)?, domain(&pair.remote)?);
    Ok(Claim { local, remote, direction, service: Service::XmppServer })
}

/// Whether something is wrong that no proof outweighs.
pub(crate) fn is_vetoed(judgement: &Judgement) -> bool {
    judgement.findings.iter().any(|finding| finding.is_veto)
}

impl Mind<'_> {
    /// Judges evidence as of now.
    pub(crate) fn judge(&self, claim: &Claim, evidence: Evidence) -> Judged {
        let judgement = judge(claim, &evidence, &self.policy, self.clock.now());
        Judged { judgement, evidence }
    }

    /// Collects evidence for what a stream claims, and judges it.
    pub(crate) async fn prove(
        &self,
        pair: &Pair,
        direction: Direction,
        tls: Option<&TlsFacts>,
        target: Option<&Target>,
    ) -> Result<Judged, Failure> {
        let claim = claim(pair, direction)?;
        if self.config.hosts.contains_key(&*pair.remote) {
            // The operator has said where it is: DNS has no say about it.
            return Ok(self.judge(&claim, evidence::of(tls)));
        }
        let endpoint = target.and_then(|target| Some((target.host.clone()?, target.port)));
        let mut wants = Wants { dns: true, posh: false, endpoint };
        let first = self.judge(&claim, self.collector.collect(&claim, tls, &wants).await);
        if first.judgement.is_accepted() || is_vetoed(&first.judgement) || first.evidence.chain.is_empty() {
            return Ok(first);
        }
        // Worth a visit to the domain's web server only where nothing else has proven it.
        wants.posh = true;
        wants.dns = false;
        let posh = self.collector.collect(&claim, tls, &wants).await.posh;
        Ok(self.judge(&claim, Evidence { posh, ..first.evidence }))
    }

    /// What policy might make of the peer if dialback succeeds; none if it would refuse it all the same.
    pub(crate) fn after_dialback(
        &self,
        pair: &Pair,
        direction: Direction,
        judged: &Judged,
    ) -> Option<Judged> {
        let claim = claim(pair, direction).ok()?;
        if is_vetoed(&judged.judgement)
            || !self.config.stream.dialback
            || !self.policy.rule(&claim.remote).require.wants_dialback()
        {
            return None;
        }
        let then = self.judge(&claim, Evidence { dialback: Dialback::Accepted, ..judged.evidence.clone() });
        // The callback to one that came to us may be proven in ways that are not known yet.
        (direction == Direction::In || then.judgement.is_accepted()).then_some(then)
    }

    /// Whether the lists of policy let this domain speak with us at all.
    pub(crate) fn may_speak(&self, remote: &str, direction: Direction) -> Result<(), Failure> {
        let claim = claim(&Pair::new(remote, remote), direction)?;
        let judged = self.judge(&claim, evidence::of(None));
        match judged
            .judgement
            .findings
            .iter()
            .find(|finding| matches!(finding.reason.code(), "peer-denied" | "peer-not-allowed"))
        {
            Some(finding) => Err(Failure::lasting(finding.reason.code(), finding.reason.to_string())),
            None => Ok(()),
        }
    }

    /// The servers of a domain.
    pub(crate) async fn route(&self, remote: &str, domain: &Domain) -> Found {
        if let Some(fixed) = self.config.hosts.get(remote) {
            return Found { steps: Vec::new(), servers: Ok(fixed.iter().map(Target::fixed).collect()) };
        }
        let found = self.collector.find(domain, Service::XmppServer).await;
        let servers = match found.destination {
            Destination::At(places) => self.servers(places).await,
            Destination::Nowhere => Err(Failure::not_found(
                "no-such-service",
                "its DNS says that it does not talk to other servers",
            )),
            Destination::Unknown(error @ DnsError::Bogus(_)) => {
                Err(Failure::lasting("srv-bogus", format!("its SRV records cannot be believed: {error}")))
            }
            Destination::Unknown(error) => {
                let text = format!("its SRV records cannot be looked up: {error}");
                Err(Failure { of_pair: true, ..Failure::passing("srv-failed", text) })
            }
        };
        Found { steps: found.steps, servers }
    }

    async fn servers(&self, places: Vec<Place>) -> Result<Vec<Target>, Failure> {
        let mut servers = Vec::new();
        let mut last = Failure::not_found("no-address", "it has no address");
        for place in places {
            match self.collector.addresses(&place).await {
                Ok(addresses) if !addresses.is_empty() => servers.push(Target {
                    host: Some(place.host),
                    port: place.port,
                    addresses,
                    direct_tls: place.direct_tls,
                    redirects: 0,
                }),
                Ok(_) if place.named => {
                    last =
                        Failure::not_found("no-address", format!("its host {} has no address", place.host));
                }
                Ok(_) => last = Failure::not_found("no-such-domain", "there is no server of that name"),
                Err(error @ DnsError::Bogus(_)) => {
                    let text =
                        format!("the addresses of its host {} cannot be believed: {error}", place.host);
                    last = Failure::lasting("address-bogus", text);
                }
                Err(error) => {
                    let text = format!("its host {} cannot be looked up: {error}", place.host);
                    last = Failure { of_pair: true, ..Failure::passing("address-failed", text) };
                }
            }
        }
        if servers.is_empty() { Err(last) } else { Ok(servers) }
    }
}
