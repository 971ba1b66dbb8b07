//! Where a domain's server is (RFC 6120 §3.2, XEP-0368).

use std::fmt;
use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};

use nuncio_net::dns::{self, DnsConfig, DnsError, Resolver, Validation};
use nuncio_stream::Start;
use nuncio_xmpp::jid::to_ascii;

/// What a resolver found, or why it found nothing.
pub type Resolved<'a, T> = Pin<Box<dyn Future<Output = io::Result<T>> + Send + 'a>>;

/// A place where a domain's clients are served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// The host's name.
    pub host: String,
    /// The port.
    pub port: u16,
    /// What is spoken there.
    pub start: Start,
}

/// What a domain says about where its clients are served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Services {
    /// In these places, the best first.
    At(Vec<Service>),
    /// Decidedly nowhere (RFC 2782: the target is `.`). Nothing else is tried.
    Nowhere,
    /// Nothing, or nothing can be learnt. The domain's own addresses are tried (RFC 6120 §3.2.2).
    Unknown,
}

/// Finds servers. Which name is asked for is never a question of trust: whoever answers must prove to be the account's domain (S3-21).
pub trait Resolve: fmt::Debug + Send + Sync {
    /// Where the clients of `domain` are served, by its SRV records `_xmpp-client` and `_xmpps-client` in one order (XEP-0368 §2). A
    /// resolver that knows nothing about that need not have this.
    ///
    /// An error ends this attempt to connect; what is not known is [`Services::Unknown`].
    fn services<'a>(&'a self, domain: &'a str) -> Resolved<'a, Services> {
        let _ = domain;
        Box::pin(std::future::ready(Ok(Services::Unknown)))
    }

    /// The addresses of a host, the best first. They need not take turns by family; who connects sees to that (RFC 8305 §4).
    fn addresses<'a>(&'a self, host: &'a str) -> Resolved<'a, Vec<IpAddr>>;

    /// What asks DNS here, if it is one that says which answers are signed: then DANE decides about servers too
    /// ([`crate::Proofs`]). It must be what the places and addresses come from. None by default.
    fn validating(&self) -> Option<Resolver> {
        None
    }
}

/// SRV records from the name servers of `/etc/resolv.conf`, which is read whenever it has changed; addresses as the operating system
/// finds them, hence also those of its hosts file, in the order of RFC 6724.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemResolver;

/// The resolver of all [`SystemResolver`]s, so that they share a cache.
static SYSTEM: Mutex<Option<Resolver>> = Mutex::new(None);

pub(crate) fn system() -> Resolver {
    // A file that cannot be read is as good as none.
    let config = DnsConfig::system().unwrap_or_default();
    let mut kept = SYSTEM.lock().unwrap_or_else(PoisonError::into_inner);
    match kept.as_ref().filter(|resolver| *resolver.config() == config) {
        Some(resolver) => resolver.clone(),
        None => kept.insert(Resolver::with(config)).clone(),
    }
}

impl Resolve for SystemResolver {
    fn services<'a>(&'a self, domain: &'a str) -> Resolved<'a, Services> {
        Box::pin(async move { services(&system(), domain).await })
    }

    fn addresses<'a>(&'a self, host: &'a str) -> Resolved<'a, Vec<IpAddr>> {
        Box::pin(async move {
            let host = ascii(host)?;
            Ok(tokio::net::lookup_host((host.as_str(), 0)).await?.map(|address| address.ip()).collect())
        })
    }
}

/// SRV records and addresses from name servers of one's choice, without the operating system. If its settings say that signatures are
/// checked ([`DnsConfig::validation`]), servers are judged by their TLSA records too (RFC 7673), and wrong signatures end the search.
#[derive(Clone, Debug)]
pub struct DnsResolver(Resolver);

impl DnsResolver {
    /// Asks these servers.
    #[must_use]
    pub fn new(config: DnsConfig) -> Self {
        Self(Resolver::with(config))
    }
}

impl Resolve for DnsResolver {
    fn services<'a>(&'a self, domain: &'a str) -> Resolved<'a, Services> {
        Box::pin(services(&self.0, domain))
    }

    fn addresses<'a>(&'a self, host: &'a str) -> Resolved<'a, Vec<IpAddr>> {
        Box::pin(async move {
            let answer = self.0.addresses(&ascii(host)?).await.map_err(io::Error::other)?;
            Ok(answer.records)
        })
    }

    fn validating(&self) -> Option<Resolver> {
        Some(self.0.clone()).filter(|resolver| resolver.config().validation != Validation::Off)
    }
}

async fn services(resolver: &Resolver, domain: &str) -> io::Result<Services> {
    let domain = ascii(domain)?;
    let direct = format!("_xmpps-client._tcp.{domain}");
    let tcp = format!("_xmpp-client._tcp.{domain}");
    let found = resolver.services([(&direct, Start::DirectTls), (&tcp, Start::Tcp)]).await;
    Ok(match found {
        dns::Services::At(found) => {
            let place = |one: dns::Service<Start>| Service {
                host: one.srv.target,
                port: one.srv.port,
                start: one.tag,
            };
            Services::At(found.into_iter().map(place).collect())
        }
        dns::Services::Nowhere => Services::Nowhere,
        // A name so long that no service name fits before it has none.
        dns::Services::Unknown | dns::Services::Unanswered(DnsError::Name(_)) => Services::Unknown,
        // RFC 7673 §3.1: no other way is tried.
        dns::Services::Unanswered(error @ DnsError::Bogus(_)) => return Err(io::Error::other(error)),
        dns::Services::Unanswered(error) => {
            tracing::info!(%domain, %error, "SRV records cannot be asked for; the domain's own addresses are tried");
            Services::Unknown
        }
    })
}

/// The name as DNS has it.
fn ascii(name: &str) -> io::Result<String> {
    to_ascii(name)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, format!("{name:?} has no form for DNS")))
}
