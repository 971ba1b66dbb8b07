//! Documents of other people's web servers: a GET by HTTPS that is bounded in everything and goes nowhere but to public addresses.
//!
//! It is for what a peer makes us ask for, such as POSH (RFC 7711): neither the peer nor a redirect can aim it at our own network, make it wait or
//! make it read without end. What is allowed to be asked for says [`nuncio_dna::posh`].

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, HOST, LOCATION, USER_AGENT};
use hyper::{Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use nuncio_dna::Domain;
use nuncio_dna::posh::{FetchFailure, MAX_DOCUMENT, MAX_REDIRECTS, Retrieval, https_host, is_public};
use rustls::RootCertStore;
use rustls::client::{ClientConfig, Resumption};
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::dial::{self, Haste};
use crate::dns::{DnsError, Resolver};
use crate::tls::{ConnectError, Roots, provider};

/// Octets of an answer's head.
const MOST_HEAD: usize = 16 * 1024;

/// Header fields of an answer.
const MOST_FIELDS: usize = 64;

/// Settings of an [`Https`].
#[derive(Clone, Debug)]
pub struct HttpsConfig {
    /// Which authorities vouch for web servers.
    pub roots: Roots,
    /// How long one retrieval may take, redirects and everything included.
    pub timeout: Duration,
    /// Retrievals at one time; more wait.
    pub open: usize,
    /// Networks that may be asked although they are not public, each as an address and the number of its leading bits that count. For laboratories.
    pub allow: Vec<(IpAddr, u8)>,
    /// The port where an address names none: 443, but in laboratories.
    pub port: u16,
}

impl Default for HttpsConfig {
    fn default() -> Self {
        let roots = Roots::System;
        Self { roots, timeout: Duration::from_secs(10), open: 32, allow: Vec::new(), port: 443 }
    }
}

impl HttpsConfig {
    fn allows(&self, address: IpAddr) -> bool {
        is_public(address) || self.allow.iter().any(|(network, bits)| within(address, *network, *bits))
    }
}

/// Whether an address is in a network.
fn within(address: IpAddr, network: IpAddr, bits: u8) -> bool {
    // IPv4 counts as the low end of 128 bits, so that its networks are moved by 96.
    let (one, other, width) = match (address, network) {
        (IpAddr::V4(one), IpAddr::V4(other)) => (u128::from(one.to_bits()), u128::from(other.to_bits()), 32),
        (IpAddr::V6(one), IpAddr::V6(other)) => (one.to_bits(), other.to_bits(), 128),
        _ => return false,
    };
    let shift = width - u32::from(bits).min(width);
    (one ^ other).checked_shr(shift).unwrap_or(0) == 0
}

/// Retrieves documents. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Https(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    resolver: Resolver,
    tls: Arc<ClientConfig>,
    config: HttpsConfig,
    open: Semaphore,
}

/// What one server said.
enum Got {
    Body(Vec<u8>),
    /// An address as it was written.
    Redirect(String),
}

impl Https {
    /// Whoever believes these authorities and asks this resolver.
    ///
    /// # Errors
    /// Files that cannot be read, or no authority at all.
    pub fn new(resolver: Resolver, config: HttpsConfig) -> Result<Self, ConnectError> {
        let mut store = RootCertStore::empty();
        store.add_parsable_certificates(config.roots.certificates()?);
        if store.is_empty() {
            return Err(ConnectError::NoRoots);
        }
        let mut tls = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_root_certificates(store)
            .with_no_client_auth();
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        tls.resumption = Resumption::disabled();
        let open = Semaphore::new(config.open.clamp(1, Semaphore::MAX_PERMITS));
        Ok(Self(Arc::new(Inner { resolver, tls: Arc::new(tls), config, open })))
    }

    /// The body at this address, redirects followed; or why there is none.
    pub async fn retrieve(&self, url: &str) -> Retrieval {
        let mut redirects = Vec::new();
        let outcome = timeout(self.0.config.timeout, self.follow(url, &mut redirects)).await;
        let outcome = outcome.unwrap_or(Err(FetchFailure::Timeout));
        tracing::debug!(url, ?redirects, failure = ?outcome.as_ref().err(), "retrieved");
        Retrieval { url: url.to_owned(), redirects, at: SystemTime::now().into(), outcome }
    }

    async fn follow(&self, url: &str, redirects: &mut Vec<String>) -> Result<Vec<u8>, FetchFailure> {
        let _permit = self.0.open.acquire().await;
        let mut at = url.to_owned();
        loop {
            match self.get(&at).await? {
                Got::Body(body) => return Ok(body),
                Got::Redirect(_) if redirects.len() >= MAX_REDIRECTS => {
                    return Err(FetchFailure::TooManyRedirects);
                }
                Got::Redirect(to) => {
                    at = resolve(&at, &to);
                    redirects.push(at.clone());
                }
            }
        }
    }

    /// Asks one server.
    async fn get(&self, url: &str) -> Result<Got, FetchFailure> {
        let host = https_host(url).ok_or(FetchFailure::NotHttps)?;
        let uri: Uri = url.parse().map_err(|_| FetchFailure::NotHttps)?;
        let authority = uri.authority().ok_or(FetchFailure::NotHttps)?;
        let port = authority.port_u16().unwrap_or(self.0.config.port);
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let request = Request::get(path)
            .header(HOST, authority.as_str())
            .header(USER_AGENT, concat!("nuncio/", env!("CARGO_PKG_VERSION")))
            .header(ACCEPT, "application/json")
            .body(Empty::<Bytes>::new())
            .map_err(|_| FetchFailure::NotHttps)?;
        let tcp = self.connect(&host, port).await?;
        let name = ServerName::try_from(host.to_string()).map_err(|_| FetchFailure::NotHttps)?;
        let tls = TlsConnector::from(Arc::clone(&self.0.tls)).connect(name, tcp).await;
        let tls = tls.map_err(|error| handshake_failure(&error))?;
        let mut builder = http1::Builder::new();
        builder.max_buf_size(MOST_HEAD).max_headers(MOST_FIELDS);
        let (mut sender, connection) =
            builder.handshake(TokioIo::new(tls)).await.map_err(|_| FetchFailure::Unreachable)?;
        let exchange = async {
            let response = sender.send_request(request).await.map_err(|_| FetchFailure::Unreachable)?;
            read(response).await
        };
        tokio::select! {
            got = exchange => got,
            // When the connection is over, what was received is still being read.
            never = async {
                drop(connection.await);
                std::future::pending().await
            } => never,
        }
    }

    async fn connect(&self, host: &Domain, port: u16) -> Result<TcpStream, FetchFailure> {
        let found = self.0.resolver.addresses(host.as_str()).await.map_err(|error| match error {
            DnsError::Timeout => FetchFailure::Timeout,
            _ => FetchFailure::Unreachable,
        })?;
        let allowed = found.records.iter().filter(|address| self.0.config.allows(**address));
        let allowed: Vec<_> = allowed.map(|address| SocketAddr::new(*address, port)).collect();
        if allowed.is_empty() && !found.records.is_empty() {
            return Err(FetchFailure::PrivateAddress);
        }
        dial::connect(&allowed, Haste::default()).await.map_err(|_| FetchFailure::Unreachable)
    }
}

fn handshake_failure(error: &io::Error) -> FetchFailure {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match inner {
        Some(rustls::Error::InvalidCertificate(_)) => FetchFailure::Untrusted,
        _ => FetchFailure::Unreachable,
    }
}

async fn read(response: Response<Incoming>) -> Result<Got, FetchFailure> {
    let status = response.status();
    match status {
        StatusCode::OK => {
            let body = Limited::new(response.into_body(), MAX_DOCUMENT).collect().await;
            let body = body.map_err(|error| match error.downcast_ref::<LengthLimitError>() {
                Some(_) => FetchFailure::TooLarge,
                None => FetchFailure::Unreachable,
            })?;
            Ok(Got::Body(body.to_bytes().into()))
        }
        StatusCode::NOT_FOUND | StatusCode::GONE => Err(FetchFailure::NotFound),
        StatusCode::MOVED_PERMANENTLY
        | StatusCode::FOUND
        | StatusCode::SEE_OTHER
        | StatusCode::TEMPORARY_REDIRECT
        | StatusCode::PERMANENT_REDIRECT => {
            let to = response.headers().get(LOCATION).and_then(|to| to.to_str().ok());
            to.map(|to| Got::Redirect(to.to_owned())).ok_or(FetchFailure::Status(status.as_u16()))
        }
        other => Err(FetchFailure::Status(other.as_u16())),
    }
}

/// Where a `Location` leads from an https address (RFC 9110 §10.2.2, RFC 3986 §5.3). What comes out may be none that is allowed.
fn resolve(base: &str, location: &str) -> String {
    let location = location.split('#').next().unwrap_or_default();
    let origin_ends = base.get(8..).and_then(|rest| rest.find(['/', '?'])).map_or(base.len(), |at| at + 8);
    let (origin, path) = base.split_at_checked(origin_ends).unwrap_or((base, ""));
    if location.starts_with("//") {
        return format!("https:{location}");
    }
    if location.starts_with('/') {
        return format!("{origin}{location}");
    }
    if location.split(['/', '?']).next().is_some_and(|first| first.contains(':')) {
        return location.to_owned();
    }
    let path = path.split('?').next().unwrap_or_default();
    let folder = path.rfind('/').and_then(|at| path.get(..=at)).unwrap_or("/");
    format!("{origin}{folder}{location}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_leading_bits() {
        for (address, network, bits, is) in [
            ("127.0.0.1", "127.0.0.0", 8, true),
            ("128.0.0.1", "127.0.0.0", 8, false),
            ("10.1.2.3", "10.1.2.3", 32, true),
            ("10.1.2.4", "10.1.2.3", 32, false),
            ("10.1.2.4", "0.0.0.0", 0, true),
            ("::1", "::1", 128, true),
            ("::2", "::1", 128, false),
            ("fd00::1", "fc00::", 7, true),
            ("fd00::1", "::", 0, true),
            ("::1", "0.0.0.0", 0, false),
        ] {
            assert_eq!(within(address.parse().unwrap(), network.parse().unwrap(), bits), is, "{address}");
        }
    }

    /// RFC 3986 §5.4, as far as it matters.
    #[test]
    fn locations_are_resolved() {
        let base = "https://a.example:444/b/c?d=/e";
        for (location, wanted) in [
            ("https://x.example/y#z", "https://x.example/y"),
            ("http://x.example/", "http://x.example/"),
            ("//x.example/y", "https://x.example/y"),
            ("/y?z", "https://a.example:444/y?z"),
            ("y", "https://a.example:444/b/y"),
            ("javascript:x", "javascript:x"),
        ] {
            assert_eq!(resolve(base, location), wanted, "{location}");
        }
        assert_eq!(resolve("https://a.example", "y"), "https://a.example/y");
    }
}
