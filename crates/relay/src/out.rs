//! Connections that the relay makes: to whom, and whether that is who answers (RFC 4976 §8, §9.2; S1-04, S1-L14, S3-31).

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use nuncio_dna::{Claim, Domain, Judgement, Service, judge};
use nuncio_msrp::relay::{Direction, Link, LinkId};
use nuncio_msrp::uri::{Hop, Host};
use nuncio_msrp::{Scheme, Status};
use nuncio_net::evidence::{self, Destination, Place};
use nuncio_net::{Security, Wants, dial as dialing, drive};
use nuncio_sansio::TlsFacts;
use tokio::net::TcpStream;

use crate::host::LinkHost;
use crate::hub::Hub;
use crate::metrics::Why;

/// How long it may take to reach a next hop, DNS included: what waits for it gets no answer for longer than that anyway.
const REACH: Duration = Duration::from_secs(30);

/// Where a connection leads.
pub(crate) struct Dialed {
    /// What the URI says.
    pub(crate) hop: Hop,
    /// The host and port that DNS led to; none where the operator says where it is.
    endpoint: Option<(Domain, u16)>,
    pub(crate) peer: SocketAddr,
}

/// Why there is no connection.
struct Unreachable {
    /// A label.
    why: &'static str,
    text: String,
}

fn unreachable<T>(why: &'static str, text: impl Into<String>) -> Result<T, Unreachable> {
    Err(Unreachable { why, text: text.into() })
}

/// Makes a connection, and runs it to its end.
pub(crate) async fn connect(hub: Arc<Hub>, id: LinkId, hop: Hop, account: Arc<str>) {
    hub.metrics.dials.inc();
    let host = hop.host.clone();
    let reached = tokio::time::timeout(REACH, reach(&hub, hop)).await;
    match reached.unwrap_or_else(|_| unreachable("timeout", "it does not answer")) {
        Ok((io, dialed)) => {
            tracing::debug!(link = id.0, %host, peer = %dialed.peer, %account, "a next hop is connected");
            run(hub, id, io, dialed).await;
        }
        Err(Unreachable { why, text }) => {
            hub.metrics.dial_failures.get_or_create(&Why { why }).inc();
            tracing::info!(link = id.0, %host, %account, why, text, "a next hop cannot be reached");
            hub.closed(id, Direction::Outbound, Status::TIMEOUT);
        }
    }
}

async fn run(hub: Arc<Hub>, id: LinkId, io: TcpStream, dialed: Dialed) {
    let secure = dialed.hop.scheme == Scheme::Msrps;
    let security = if secure {
        match hub.tls.connector(&hub.config.host) {
            Some(connector) => Security::Client { connector, server_name: name(&dialed.hop.host) },
            None => {
                hub.metrics.dial_failures.get_or_create(&Why { why: "no_certificate" }).inc();
                hub.closed(id, Direction::Outbound, Status::TIMEOUT);
                return;
            }
        }
    } else {
        Security::None
    };
    let Some(mail) = hub.mail(id) else { return };
    let options =
        nuncio_net::Options { peer: Some(dialed.peer), security, direct_tls: secure, ..hub.options() };
    let now = hub.clock.now();
    let machine = Link::new(id, Direction::Outbound, Arc::clone(&hub.stream), Arc::clone(&hub.entropy), now);
    let host = LinkHost::outgoing(hub, id, mail, dialed);
    drive(io, machine, host, options).await;
}

/// A host as TLS names it.
fn name(host: &Host) -> String {
    match host {
        Host::Name(name) => name.to_string(),
        Host::Address(address) => address.to_string(),
    }
}

async fn reach(hub: &Hub, hop: Hop) -> Result<(TcpStream, Dialed), Unreachable> {
    let _turn = hub.dials.acquire().await;
    let host = hop.host.to_string();
    if let Some(fixed) = hub.config.hosts.get(&host) {
        // The operator's word needs no permission.
        let (io, peer) = dial(hub, &[*fixed]).await?;
        return Ok((io, Dialed { hop, endpoint: None, peer }));
    }
    match (&hop.host, hop.port) {
        (Host::Address(address), Some(port)) => {
            let (io, peer) = dial(hub, &allowed(hub, [SocketAddr::new(*address, port)])?).await?;
            Ok((io, Dialed { hop, endpoint: None, peer }))
        }
        // The parser knows no numeric address without a port.
        (Host::Address(_), None) => unreachable("no_address", "an address without a port"),
        (Host::Name(name), port) => {
            let Ok(domain) = Domain::new(name) else {
                return unreachable("no_address", "it is no domain name");
            };
            let places = places(hub, &domain, port).await?;
            let mut last = unreachable("no_address", "it has no address");
            for place in places {
                match to_place(hub, &place).await {
                    Ok((io, peer)) => {
                        let endpoint = Some((place.host, place.port));
                        return Ok((io, Dialed { hop, endpoint, peer }));
                    }
                    Err(error) => last = Err(error),
                }
            }
            last
        }
    }
}

/// Where a host is: at the port that its URI names, else where SRV records lead (RFC 4976 §8).
async fn places(hub: &Hub, domain: &Domain, port: Option<u16>) -> Result<Vec<Place>, Unreachable> {
    if let Some(port) = port {
        let security = nuncio_dna::dns::Security::Indeterminate;
        let host = domain.clone();
        return Ok(vec![Place { host, port, direct_tls: true, security, named: false }]);
    }
    let Some(collector) = &hub.collector else { return unreachable("no_dns", "DNS cannot be asked") };
    match collector.find(domain, Service::Msrps).await.destination {
        Destination::At(places) => Ok(places),
        Destination::Nowhere => unreachable("no_service", "its DNS says that it has no MSRP relay"),
        Destination::Unknown(error) => unreachable("dns", error.to_string()),
    }
}

async fn to_place(hub: &Hub, place: &Place) -> Result<(TcpStream, SocketAddr), Unreachable> {
    let addresses: Vec<SocketAddr> = match place.host.as_str() {
        // Never asked of anybody (RFC 6761 §6.3).
        "localhost" => {
            let loopback = [std::net::Ipv4Addr::LOCALHOST.into(), std::net::Ipv6Addr::LOCALHOST.into()];
            loopback.map(|ip| SocketAddr::new(ip, place.port)).into()
        }
        _ => {
            let Some(collector) = &hub.collector else { return unreachable("no_dns", "DNS cannot be asked") };
            match collector.addresses(place).await {
                Ok(addresses) => addresses,
                Err(error) => return unreachable("dns", error.to_string()),
            }
        }
    };
    dial(hub, &allowed(hub, addresses)?).await
}

fn allowed(hub: &Hub, all: impl IntoIterator<Item = SocketAddr>) -> Result<Vec<SocketAddr>, Unreachable> {
    let all: Vec<_> = all.into_iter().collect();
    let some = !all.is_empty();
    let left: Vec<_> = all.into_iter().filter(|address| hub.config.allows(address.ip())).collect();
    if left.is_empty() && some {
        return unreachable("forbidden_address", "its address is in a network that is not public");
    }
    Ok(left)
}

async fn dial(hub: &Hub, addresses: &[SocketAddr]) -> Result<(TcpStream, SocketAddr), Unreachable> {
    match dialing::connect(addresses, hub.config.haste).await.and_then(|io| Ok((io.peer_addr()?, io))) {
        Ok((peer, io)) => Ok((io, peer)),
        Err(error) => unreachable("refused", error.to_string()),
    }
}

impl Hub {
    fn claim(&self, remote: &Host, direction: nuncio_dna::Direction) -> Result<Claim, String> {
        let Host::Name(name) = remote else {
            return Err("a numeric address cannot be proven by a certificate here".to_owned());
        };
        let domain = |name: &str| Domain::new(name).map_err(|why| format!("{name} is {why}"));
        Ok(Claim {
            local: domain(&self.config.host)?,
            remote: domain(name)?,
            direction,
            service: Service::Msrps,
        })
    }

    async fn prove(
        &self,
        claim: &Claim,
        facts: &TlsFacts,
        fixed: bool,
        endpoint: Option<(Domain, u16)>,
    ) -> Judgement {
        let evidence = match &self.collector {
            Some(collector) if !fixed => {
                let wants = Wants { dns: true, posh: false, endpoint };
                collector.collect(claim, Some(facts), &wants).await
            }
            // The operator has said where it is, or DNS cannot be asked: then it has no say.
            _ => evidence::of(Some(facts)),
        };
        judge(claim, &evidence, &self.policy.load(), SystemTime::now().into())
    }

    /// Whether the server that we have connected to is who its URI says. What proves it, for the log.
    pub(crate) async fn prove_server(&self, dialed: &Dialed, facts: &TlsFacts) -> Result<String, String> {
        let claim = self.claim(&dialed.hop.host, nuncio_dna::Direction::Out)?;
        let fixed = dialed.endpoint.is_none();
        said(&self.prove(&claim, facts, fixed, dialed.endpoint.clone()).await)
    }

    /// Whether a client of TLS is the relay of this name, and one that may log clients in.
    pub(crate) async fn prove_relay(&self, host: &Host, facts: &TlsFacts) -> Result<String, String> {
        let claim = self.claim(host, nuncio_dna::Direction::In)?;
        if !self.config.relays.is_empty() && !self.config.relays.iter().any(|one| one.matches(&claim.remote))
        {
            return Err("it is none of the relays that may log clients in".to_owned());
        }
        let fixed = self.config.hosts.contains_key(&host.to_string());
        said(&self.prove(&claim, facts, fixed, None).await)
    }
}

fn said(judgement: &Judgement) -> Result<String, String> {
    match judgement.accepted() {
        Some(proof) => Ok(proof.by().to_string()),
        None => {
            Err(judgement.cause().map_or_else(|| "nothing proves it".to_owned(), |it| it.reason.to_string()))
        }
    }
}
