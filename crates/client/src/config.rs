//! Settings of a client.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use nuncio_net::tls::{PairFiles, Roots};
use nuncio_stream::Pace;
use nuncio_stream::Start;
use nuncio_stream::c2s::Idle;
use nuncio_stream::iq::Leniency;
use nuncio_stream::sasl::client::{Credentials, Policy};
use nuncio_xmpp::jid::BareJid;
use nuncio_xmpp::xml::Limits;

use crate::backoff::Backoff;
use crate::identity::Proofs;
use crate::resolve::{Resolve, SystemResolver};

/// Where to connect first. The certificate must be for the account's domain in any case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Server {
    /// Wherever the account's domain says that its clients are served: by its SRV records for STARTTLS and direct TLS in one order
    /// (RFC 6120 §3.2.1, XEP-0368), else at its own addresses.
    #[default]
    Domain,
    /// A host and, if not the usual one, a port. SRV records are not asked for (RFC 6120 §3.2.3).
    Host(String, Option<u16>),
    /// This address.
    Address(SocketAddr),
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
    /// What else may prove the server, and what it takes.
    pub proofs: Proofs,
    /// A certificate of one's own, for SASL EXTERNAL; set [`Credentials::certificate`] too. It is part of the handshake: a server that asks for
    /// it sees it before it is judged, without its key.
    pub certificate: Option<PairFiles>,
    /// Where to connect first.
    pub server: Server,
    /// Whether TLS comes by STARTTLS or before the first byte (XEP-0368), wherever no SRV record says it. It comes in any case. Without
    /// SRV records and a port it also chooses the port, 5222 or 5223.
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
    /// How long TCP may take for each address, and a lookup for its answer. Where a host has several addresses the next one is tried
    /// after 250 ms beside the first (RFC 8305).
    pub connect_timeout: Duration,
    /// From TCP to a bound resource. Collecting evidence about the server is not cut short by it, but counts.
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
    /// Finds servers, and says which answers are signed if it can: [`Resolve::validating`].
    pub resolver: Arc<dyn Resolve>,
    /// Whether, and after which waits, a session connects again by itself when its connection is over and it makes sense to try: see
    /// [`crate::Disconnected::retry_in`]. None to leave that to the caller of [`crate::Session::reconnect`].
    pub reconnect: Option<Backoff>,
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
            proofs: Proofs::default(),
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
            reconnect: None,
        }
    }
}
