//! Where a domain's servers are (RFC 6120 §3.2, XEP-0368).

use std::net::SocketAddr;

use nuncio_dna::dns::Security;
use nuncio_dna::{Domain, Service};

use super::Collector;
use super::dns::fallback_port;
use super::steps::{Step, srv_step};
use crate::dns::{DnsError, Validation};

/// One place where a domain's server may be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The host.
    pub host: Domain,
    /// The port.
    pub port: u16,
    /// Whether TLS begins before the first byte (XEP-0368); otherwise with STARTTLS.
    pub direct_tls: bool,
    /// What is known about the record that names it, or about there being none.
    pub security: Security,
    /// Whether an SRV record names it; otherwise the domain itself is tried, since it has none.
    pub named: bool,
}

/// Where to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// To these places, one after the other; never empty.
    At(Vec<Place>),
    /// Nowhere: the domain says that it has no such service (target `.`, RFC 2782).
    Nowhere,
    /// It cannot be known, and going anywhere else could be what somebody wants who is in the way.
    Unknown(DnsError),
}

/// What [`Collector::find`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The domain.
    pub domain: Domain,
    /// Where to go.
    pub destination: Destination,
    /// What was asked and answered.
    pub steps: Vec<Step>,
}

impl Collector {
    /// Finds the servers of a domain: the places of both kinds of SRV records in one order by priority and weight (XEP-0368 §2); without any, the domain's own
    /// host at the service's port. Bogus records of either kind end the search (RFC 7673 §3.1), and so do failures where those could hide signed ones.
    pub async fn find(&self, domain: &Domain, service: Service) -> Route {
        let (lookups, asked) = Box::pin(self.srv(domain, service)).await;
        let steps = asked.iter().map(srv_step).collect();
        let (mut found, mut denied, mut problem) = (Vec::new(), false, None);
        for (index, (_, answer)) in asked.iter().enumerate() {
            match answer {
                Ok(answer) => {
                    for srv in &answer.records {
                        denied |= srv.is_denial();
                        if let Ok(host) = Domain::host(&srv.target) {
                            let (port, security) = (srv.port, answer.security);
                            let place = Place { host, port, direct_tls: index > 0, security, named: true };
                            found.push(((srv.priority, srv.weight), place));
                        }
                    }
                }
                Err(bogus @ DnsError::Bogus(_)) => {
                    problem = Some(bogus);
                    found.clear();
                    break;
                }
                Err(error) => problem = Some(error),
            }
        }
        let hides = self.0.resolver.config().validation != Validation::Off
            && lookups.iter().any(super::steps::may_hide);
        let destination = if !found.is_empty() {
            let ordered = self.0.resolver.in_order(found, |(order, _)| *order);
            Destination::At(ordered.into_iter().map(|(_, place)| place).collect())
        } else {
            match problem {
                Some(bogus @ DnsError::Bogus(_)) => Destination::Unknown(bogus.clone()),
                _ if denied => Destination::Nowhere,
                Some(error) if hides => Destination::Unknown(error.clone()),
                // RFC 6120 §3.2.1 step 9, §3.2.2.
                _ => {
                    let security = lookups.iter().map(|lookup| lookup.security()).max();
                    Destination::At(vec![Place {
                        host: domain.clone(),
                        port: fallback_port(service),
                        direct_tls: false,
                        security: security.unwrap_or(Security::Indeterminate),
                        named: false,
                    }])
                }
            }
        };
        Route { domain: domain.clone(), destination, steps }
    }

    /// The addresses of a place, the best first, for [`crate::dial::connect`].
    ///
    /// # Errors
    /// There is no answer, or one that must not be used.
    pub async fn addresses(&self, place: &Place) -> Result<Vec<SocketAddr>, DnsError> {
        let found = self.0.resolver.addresses(place.host.as_str()).await?;
        Ok(found.records.iter().map(|address| SocketAddr::new(*address, place.port)).collect())
    }
}
