//! Whether a server is that of the account's domain: the engine of the servers, asked by a client (RFC 7712 §3, S3-01).

use std::fmt;
use std::future::Future;
use std::time::SystemTime;

use nuncio_dna::{
    Certificate, Claim, DaneUse, Direction, Domain, Evidence, Expression, Finding, Judgement, Pattern, Pin,
    Policy, Rule, Service, Trust, judge,
};
use nuncio_net::tls::ConnectError;
use nuncio_net::{Collector, CollectorConfig, Https, HttpsConfig, Wants};
use nuncio_sansio::TlsFacts;
use nuncio_stream::client::Place;
use nuncio_stream::redirect::Host;
use nuncio_xmpp::jid::to_ascii;

use crate::config::ClientConfig;
use crate::resolve::system;
use crate::target::Spot;

/// What may prove that a server is that of the account's domain, beside a certificate for that domain by one of
/// [`ClientConfig::roots`]; and what it takes. By default a certificate counts only if it is for the domain itself, never for the host that
/// unsigned SRV records name (S3-21, RFC 6120 §13.7.2.1).
///
/// - **DANE**, and certificates for the hosts that signed SRV records name (RFC 7673): with a [`ClientConfig::resolver`] that says what is
///   signed, which is a [`crate::DnsResolver`] with [`crate::Validation::Local`] or [`crate::Validation::TrustAd`]. A domain whose signed
///   records are broken, withheld or contradict is refused, whatever else is proven. DNS has no say about a server that is given by its
///   address.
/// - **POSH** (RFC 7711): with [`Proofs::posh`].
/// - **Pins**: with [`Proofs::pins`].
///
/// ```
/// use std::sync::Arc;
/// use nuncio_client::xmpp::jid::BareJid;
/// use nuncio_client::{Anchors, ClientConfig, DnsConfig, DnsResolver, Roots, Validation};
///
/// let mut account = ClientConfig::new(BareJid::new("juliet@example.org")?, "secret", Roots::System);
/// let validation = Validation::Local(Anchors::root());
/// account.resolver = Arc::new(DnsResolver::new(DnsConfig { validation, ..DnsConfig::system()? }));
/// account.proofs.require = "dane or (pkix and tls13)".parse()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Proofs {
    /// What must be proven; by default `authenticated`: TLS, and a proof by certificate.
    pub require: Expression,
    /// Whether TLSA records count where DNS is validated; by default they do.
    pub dane: DaneUse,
    /// How to retrieve POSH documents; none to do without. They are looked for only where nothing else has proven the server.
    pub posh: Option<HttpsConfig>,
    /// Certificates that are accepted though nothing else proves them: the only way to go on after an [`IdentityError`] (S3-23).
    pub pins: Vec<Pinned>,
}

/// "This certificate is that of this domain", said by somebody who knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pinned {
    /// The domain. For accounts of another one the pin does not count.
    pub domain: Domain,
    /// The certificate or its key.
    pub pin: Pin,
}

/// Why a server is not believed to be that of the account's domain.
///
/// Nobody should be asked whether to go on all the same (RFC 7590 §3.4, S3-23). Whoever knows the certificate from elsewhere can add
/// [`IdentityError::pin`] to [`Proofs::pins`].
#[derive(Clone, Debug)]
pub struct IdentityError {
    domain: Domain,
    judgement: Judgement,
    pin: Option<Pinned>,
}

impl IdentityError {
    /// The domain that was not proven.
    #[must_use]
    pub const fn domain(&self) -> &Domain {
        &self.domain
    }

    /// All that was found.
    #[must_use]
    pub const fn judgement(&self) -> &Judgement {
        &self.judgement
    }

    /// What to tell first.
    #[must_use]
    pub fn cause(&self) -> Option<&Finding> {
        self.judgement.cause()
    }

    /// The code of the cause, such as `name-mismatch`: one of those in [`nuncio_dna::Reason::TEXTS`].
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.cause().map_or("policy-unmet", |finding| finding.reason.code())
    }

    /// What accepts this very certificate for this domain; none if it cannot be read.
    #[must_use]
    pub const fn pin(&self) -> Option<&Pinned> {
        self.pin.as_ref()
    }

    /// Whether it may be otherwise in a while, without anybody changing anything.
    pub(crate) fn may_pass(&self) -> bool {
        self.cause().is_some_and(|finding| finding.reason.may_pass())
    }
}

impl fmt::Display for IdentityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the server does not prove that it is that of {}", self.domain)?;
        match self.cause() {
            Some(cause) => write!(f, ": {}", cause.reason),
            None => Ok(()),
        }
    }
}

impl std::error::Error for IdentityError {}

/// What becomes of it: the judgement, if the server is believed.
type Proving<'a> = std::pin::Pin<Box<dyn Future<Output = Result<Judgement, IdentityError>> + Send + 'a>>;

/// Judges the servers of one account.
pub(crate) struct Judge {
    claim: Claim,
    policy: Policy,
    collector: Option<Collector>,
    posh: bool,
}

impl Judge {
    pub(crate) fn new(config: &ClientConfig) -> Result<Self, ConnectError> {
        let account = config.account.domain();
        let domain = Domain::new(account).map_err(|_| ConnectError::Name(account.to_owned()))?;
        let proofs = &config.proofs;
        let mut trust = Trust::new();
        for certificate in config.roots.certificates()? {
            if let Err(error) = trust.add_anchor(&certificate) {
                tracing::debug!(%error, "an authority is left out");
            }
        }
        let of_domain = proofs.pins.iter().filter(|pinned| pinned.domain == domain);
        let pins: Vec<Pin> = of_domain.map(|pinned| pinned.pin).collect();
        let validating = config.resolver.validating();
        if trust.anchors() == 0 && pins.is_empty() && validating.is_none() && proofs.posh.is_none() {
            return Err(ConnectError::NoRoots);
        }
        let rule = Rule { require: proofs.require.clone(), dane: proofs.dane, pins, ..Rule::default() };
        let collector = if validating.is_some() || proofs.posh.is_some() {
            let resolver = validating.unwrap_or_else(system);
            let https = proofs.posh.clone().map(|posh| Https::new(resolver.clone(), posh)).transpose()?;
            Some(Collector::new(resolver, https, CollectorConfig::default()))
        } else {
            None
        };
        Ok(Self {
            claim: Claim {
                local: domain.clone(),
                remote: domain.clone(),
                direction: Direction::Out,
                service: Service::XmppClient,
            },
            policy: Policy { trust, peers: vec![(Pattern::Exact(domain), rule)], ..Policy::default() },
            collector,
            posh: proofs.posh.is_some(),
        })
    }

    /// Judges who is at the other end of a connection to this place. The claim is the account's domain, which is what our stream header
    /// will be addressed to (S3-19). Takes as long as the resolver and the POSH client have patience; what failed then counts as such.
    pub(crate) fn prove<'a>(&'a self, tls: &'a TlsFacts, spot: &'a Spot) -> Proving<'a> {
        Box::pin(async move {
            let judgement = self.collected(tls, spot).await;
            if judgement.is_accepted() {
                return Ok(judgement);
            }
            let domain = self.claim.remote.clone();
            let leaf = tls.peer_certificates.first().and_then(|der| Certificate::read(der).ok());
            let pin = leaf.and_then(|leaf| leaf.fingerprint.parse().ok());
            let pin = pin.map(|pin| Pinned { domain: domain.clone(), pin });
            Err(IdentityError { domain, judgement, pin })
        })
    }

    async fn collected(&self, tls: &TlsFacts, spot: &Spot) -> Judgement {
        let Some(collector) = &self.collector else {
            return self.judge(&nuncio_net::evidence::of(Some(tls)));
        };
        let mut wants = wants(&spot.place);
        let evidence = collector.collect(&self.claim, Some(tls), &wants).await;
        let first = self.judge(&evidence);
        let vetoed = first.findings.iter().any(|finding| finding.is_veto);
        if first.is_accepted() || vetoed || !self.posh {
            return first;
        }
        (wants.dns, wants.posh) = (false, true);
        let posh = collector.collect(&self.claim, Some(tls), &wants).await.posh;
        self.judge(&Evidence { posh, ..evidence })
    }

    fn judge(&self, evidence: &Evidence) -> Judgement {
        judge(&self.claim, evidence, &self.policy, SystemTime::now().into())
    }
}

/// What to ask DNS about a place. It has no say about one that somebody gave by its address.
fn wants(place: &Place) -> Wants {
    match &place.host {
        Host::Name(name) => {
            let host = to_ascii(name).and_then(|name| Domain::host(&name).ok());
            Wants { dns: true, posh: false, endpoint: host.map(|host| (host, place.port)) }
        }
        Host::V4(_) | Host::V6(_) => Wants::default(),
    }
}
