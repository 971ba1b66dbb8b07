//! Settings of a client.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use nuncio_net::tls::{PairFiles, Roots};
use nuncio_stream::Pace;
use nuncio_stream::Start;
use nuncio_stream::c2s::Idle;
use nuncio_stream::sasl::client::{Credentials, Policy};
use nuncio_xmpp::jid::{BareJid, to_ascii};
use nuncio_xmpp::xml::Limits;

/// Addresses of a host, or why there are none.
pub type Resolved<'a> = Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'a>>;

/// Finds the addresses of a host.
pub trait Resolve: fmt::Debug + Send + Sync {
    /// The addresses of `name` in order of preference. Without a port the resolver chooses it, by SRV records if it knows them
    /// (RFC 6120 §3.2).
    fn resolve<'a>(&'a self, name: &'a str, port: Option<u16>, start: Start) -> Resolved<'a>;
}

/// The operating system's resolver. It knows no SRV records: without a port it takes the fallback of RFC 6120 §3.2.2 (5222, or
/// 5223 for direct TLS).
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemResolver;

impl Resolve for SystemResolver {
    fn resolve<'a>(&'a self, name: &'a str, port: Option<u16>, start: Start) -> Resolved<'a> {
        let port = port.unwrap_or_else(|| usual_port(start));
        Box::pin(async move {
            let name = to_ascii(name)
                .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "name has no form for DNS"))?;
            Ok(tokio::net::lookup_host((name.as_str(), port)).await?.collect())
        })
    }
}

/// The port where nothing names one.
pub(crate) const fn usual_port(start: Start) -> u16 {
    match start {
        Start::Tcp => 5222,
        Start::DirectTls => 5223,
    }
}

/// Where to connect first. The certificate must be for the account's domain in any case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Server {
    /// Wherever the account's domain is.
    #[default]
    Domain,
    /// A host and, if not the usual one, a port.
    Host(String, Option<u16>),
    /// This address.
    Address(SocketAddr),
}

/// Answers that are accepted beyond RFC 6120 §8.1.2.1 rule 3, for requests to the own account only (S4-02).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leniency {
    /// From the own full address.
    pub full_address: bool,
    /// From the own domain, as servers of RFC 3920 answer.
    pub domain: bool,
}

impl Default for Leniency {
    fn default() -> Self {
        Self { full_address: true, domain: false }
    }
}

/// Settings of a client. `Debug` shows no password.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// The account.
    pub account: BareJid,
    /// How to log in.
    pub credentials: Credentials,
    /// Which authorities are believed.
    pub roots: Roots,
    /// A certificate of one's own, for SASL EXTERNAL; set [`Credentials::certificate`] too.
    pub certificate: Option<PairFiles>,
    /// Where to connect first.
    pub server: Server,
    /// Whether TLS comes by STARTTLS or before the first byte (XEP-0368).
    pub start: Start,
    /// Which mechanisms are acceptable; all but PLAIN by default.
    pub policy: Policy,
    /// The resource to wish for; the server chooses one without.
    pub resource: Option<String>,
    /// Whether to use stream management (XEP-0198).
    pub stream_management: bool,
    /// When acknowledgements are asked for.
    pub pace: Pace,
    /// What is done when the server is silent; none to wait for ever.
    pub idle: Option<Idle>,
    /// What the server may send.
    pub limits: Limits,
    /// How long TCP may take for each address.
    pub connect_timeout: Duration,
    /// From TCP to a bound resource.
    pub negotiation: Duration,
    /// From our closing tag to the server's.
    pub closing: Duration,
    /// How long a request waits for its answer.
    pub request_timeout: Duration,
    /// Requests that may wait for their answers at once.
    pub requests: usize,
    /// Stanzas that wait to be sent, and events that wait to be read.
    pub queue: usize,
    /// Stanzas that may wait for the server's acknowledgement; more are not sent before it comes.
    pub unacknowledged: usize,
    /// Events that [`crate::Session`] sets aside while its owner waits for something else.
    pub inbox: usize,
    /// Which answers to requests to the own account are accepted.
    pub leniency: Leniency,
    /// Finds addresses.
    pub resolver: Arc<dyn Resolve>,
}

impl ClientConfig {
    /// The usual settings for an account with a password.
    #[must_use]
    pub fn new(account: BareJid, password: &str, roots: Roots) -> Self {
        let credentials = Credentials::password(account.local().unwrap_or_default(), password);
        Self {
            account,
            credentials,
            roots,
            certificate: None,
            server: Server::default(),
            start: Start::Tcp,
            policy: Policy::default(),
            resource: None,
            stream_management: true,
            pace: Pace::default(),
            idle: Some(Idle::default()),
            limits: Limits { stanza_bytes: 4 << 20, ..Limits::default() },
            connect_timeout: Duration::from_secs(10),
            negotiation: Duration::from_secs(30),
            closing: Duration::from_secs(5),
            request_timeout: Duration::from_secs(60),
            requests: 1000,
            queue: 256,
            unacknowledged: 1000,
            inbox: 10_000,
            leniency: Leniency::default(),
            resolver: Arc::new(SystemResolver),
        }
    }
}
