//! Evidence about a peer's domain: what TLS, DNS and web servers say, collected for [`nuncio_dna::judge`]. Nothing here decides.
//!
//! - [`Collector::find`] says where a domain's servers are, for whoever connects (RFC 6120 §3.2, XEP-0368);
//! - [`Collector::collect`] fills an [`Evidence`] for a [`Claim`]; dialback is left to the caller;
//! - [`Step`]s tell an operator what was asked and answered on the way (`nuncio check`).
//!
//! DNS answers are remembered by the [`Resolver`], POSH documents here, each for as long as they say; many who want the same ask once.

mod dns;
mod posh;
mod route;
mod steps;
#[cfg(test)]
mod tests;

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use nuncio_dna::{CertificateDer, Claim, Domain, Evidence, Tls};
use nuncio_sansio::{TlsFacts, TlsVersion};

use crate::dns::{Resolver, Validation};
use crate::https::Https;

pub use route::{Destination, Place, Route};
pub use steps::{Step, steps};

/// Settings of a [`Collector`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CollectorConfig {
    /// Endpoints of one domain that are looked at. The evidence against those beyond is that they were not.
    pub endpoints: usize,
    /// Domains whose POSH documents, or their absence, are remembered. Each may take 128 KiB, if its owner is unkind.
    pub posh_domains: usize,
    /// How long it is remembered that a domain has no usable document.
    pub posh_absent: Duration,
    /// After how long a retrieval that failed for the moment is tried again.
    pub posh_failed: Duration,
    /// How long documents are kept beyond their expiry, for policies that use them while renewing them fails for the moment
    /// ([`nuncio_dna::Rule`]).
    pub posh_kept: Duration,
}

impl Default for CollectorConfig {
    fn default() -> Self {
        Self {
            endpoints: 16,
            posh_domains: 256,
            posh_absent: Duration::from_secs(10 * 60),
            posh_failed: Duration::from_secs(60),
            posh_kept: Duration::from_secs(7 * 86_400),
        }
    }
}

/// What to collect, beyond the certificates.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wants {
    /// SRV, addresses and TLSA records.
    pub dns: bool,
    /// POSH documents. Asking for them costs the domain's web server a visit: worth it where nothing else has proven the claim.
    pub posh: bool,
    /// For a stream that we opened: the host and port that it goes to. Without it, the first that DNS names.
    pub endpoint: Option<(Domain, u16)>,
}

impl Wants {
    /// Everything.
    #[must_use]
    pub const fn everything() -> Self {
        Self { dns: true, posh: true, endpoint: None }
    }
}

/// Collects evidence. Cheap to clone; clones share what is remembered.
#[derive(Clone)]
pub struct Collector(Arc<Inner>);

struct Inner {
    resolver: Resolver,
    https: Option<Https>,
    config: CollectorConfig,
    posh: posh::Documents,
}

impl fmt::Debug for Collector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Collector").field("config", &self.0.config).finish_non_exhaustive()
    }
}

impl Collector {
    /// Asks this resolver and this client. Without a client POSH is not collected.
    #[must_use]
    pub fn new(resolver: Resolver, https: Option<Https>, config: CollectorConfig) -> Self {
        let posh = posh::Documents::new(config.posh_domains);
        Self(Arc::new(Inner { resolver, https, config, posh }))
    }

    /// What asks DNS.
    #[must_use]
    pub fn resolver(&self) -> &Resolver {
        &self.0.resolver
    }

    /// Whether DNS answers are validated: otherwise nothing is said of them in evidence.
    #[must_use]
    pub fn validates(&self) -> bool {
        self.0.resolver.config().validation != Validation::Off
    }

    /// Collects what is wanted for a claim about a stream with these facts; without facts, a stream in plaintext. Always ends, within the time that the
    /// resolver and the client allow; what failed is in the evidence as such.
    pub fn collect<'a>(
        &'a self,
        claim: &'a Claim,
        tls: Option<&'a TlsFacts>,
        wants: &'a Wants,
    ) -> Pin<Box<dyn Future<Output = Evidence> + Send + 'a>> {
        // Without its type: whoever awaits it would have to look through all that a resolver is made of to know that it can be sent, and the
        // compiler follows no further than so deep.
        Box::pin(async move {
            let mut evidence = of(tls);
            let dns = async {
                if !wants.dns || !self.validates() {
                    return None;
                }
                Some(self.dns(claim, wants.endpoint.as_ref()).await)
            };
            let posh = async {
                if !wants.posh {
                    return None;
                }
                self.posh(&claim.remote, claim.service).await
            };
            (evidence.dns, evidence.posh) = tokio::join!(dns, posh);
            evidence
        })
    }
}

/// Evidence of the handshake alone.
#[must_use]
pub fn of(tls: Option<&TlsFacts>) -> Evidence {
    let version = match tls.map(|facts| facts.version) {
        None => Tls::None,
        Some(TlsVersion::Tls12) => Tls::V12,
        Some(TlsVersion::Tls13) => Tls::V13,
    };
    let chain = tls.map(|facts| facts.peer_certificates.as_slice()).unwrap_or_default();
    Evidence::of(version, chain.iter().map(|one| CertificateDer::from(one.to_vec())).collect())
}
