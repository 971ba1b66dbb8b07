//! The relay as whoever runs it sees it.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nuncio_dna::Policy;
use nuncio_msrp::relay::{self, Direction, Framing, Link, NonceKey, Registry};
use nuncio_msrp::uri::{Hop, Host, UriError};
use nuncio_msrp::{Scheme, Transport};
use nuncio_net::listen::Incoming;
use nuncio_net::{Clock, Collector, Listener, NetMetrics, Security, TlsHosts, drive};
use nuncio_sansio::Entropy;
use tokio::net::TcpStream;
use tokio::task::AbortHandle;

use crate::accounts::Accounts;
use crate::config::RelayConfig;
use crate::host::LinkHost;
use crate::hub::{Hub, Pieces};
use crate::metrics::RelayMetrics;
use crate::websocket::WebSocket;

/// What a relay is made of.
pub struct Parts {
    /// Its settings.
    pub config: RelayConfig,
    /// Who may use it.
    pub accounts: Arc<dyn Accounts>,
    /// Its certificates, for [`nuncio_net::tls::Peers::Relays`]. That of [`RelayConfig::host`] is shown to other relays.
    pub tls: Arc<TlsHosts>,
    /// What asks DNS about next hops. Without it only numeric addresses and [`RelayConfig::hosts`] can be reached.
    pub collector: Option<Collector>,
    /// What other hosts must prove.
    pub policy: Policy,
    /// Where URIs, identifiers and nonces come from.
    pub entropy: Arc<dyn Entropy>,
    /// The clock.
    pub clock: Clock,
    /// What the network counts.
    pub net: Arc<NetMetrics>,
}

/// Why a relay cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A name cannot stand in a URI.
    #[error("{name:?} cannot be the host of a relay: {why}")]
    Host {
        /// The name.
        name: String,
        /// What is wrong with it.
        why: UriError,
    },
}

/// An MSRP relay.
pub struct Relay {
    hub: Arc<Hub>,
    tidying: AbortHandle,
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.tidying.abort();
    }
}

impl Relay {
    /// A relay without a listener. Inside a tokio runtime.
    ///
    /// # Errors
    /// See [`StartError`].
    pub fn start(parts: Parts) -> Result<Arc<Self>, StartError> {
        let Parts { config, accounts, tls, collector, policy, entropy, clock, net } = parts;
        let hop = |name: &str, port: u16, transport: Transport| {
            let host = Host::parse(name).map_err(|why| StartError::Host { name: name.to_owned(), why })?;
            Ok(Hop { scheme: Scheme::Msrps, host, port: Some(port), transport })
        };
        let mut others = Vec::new();
        for name in &config.others {
            others.push(hop(name, config.port, Transport::Tcp)?);
        }
        if let Some(port) = config.websocket {
            for name in std::iter::once(&config.host).chain(&config.others) {
                others.push(hop(name, port, Transport::Ws)?);
            }
        }
        let mut registry = Registry::new(&config.host, config.port, others, config.bounds)
            .map_err(|why| StartError::Host { name: config.host.clone(), why })?;
        if let Some(keys) = &config.seal {
            let origin = SystemTime::now().checked_sub(clock.now().since_origin());
            let epoch = origin.and_then(|origin| origin.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
            registry = registry.sealing(Arc::clone(keys), epoch.as_secs());
        }
        let nonces = Arc::new(NonceKey::new(&*entropy, config.nonce));
        let all_sent = Arc::default();
        let machine = |framing| relay::Config {
            framing,
            all_sent: Arc::clone(&all_sent),
            response: config.response,
            probation: config.probation,
            idle_own: config.idle_own,
            idle_foreign: config.idle_foreign,
            patience: config.patience,
            strikes: config.strikes,
            failures: config.failures,
            algorithms: config.algorithms.clone(),
            expires: config.expires,
            ..relay::Config::new(registry.ours().to_vec(), Arc::clone(&nonces))
        };
        let (stream, message) = (machine(Framing::Stream), machine(Framing::Message));
        let pieces = Pieces { accounts, tls, collector, policy, entropy, clock, net };
        let hub = Hub::new(config, registry, stream, message, pieces);
        let tidying = tokio::spawn(Arc::clone(&hub).tidy()).abort_handle();
        Ok(Arc::new(Self { hub, tidying }))
    }

    /// Accepts connections of clients, relays and peers, over TLS, until dropped.
    pub async fn accept(self: Arc<Self>, mut listener: Listener) {
        loop {
            let (machine, stream, host, options) = self.next(&mut listener, &self.hub.stream).await;
            // Nothing around it: the task is as large as its future, and there is one for each client.
            tokio::spawn(drive(stream, machine, host, options));
        }
    }

    /// Accepts WebSocket connections of clients (RFC 7977) at the path `/msrp`, over TLS, until dropped.
    pub async fn accept_websocket(self: Arc<Self>, mut listener: Listener) {
        loop {
            let (machine, stream, host, options) = self.next(&mut listener, &self.hub.message).await;
            tokio::spawn(drive(stream, WebSocket::new(machine), host, options));
        }
    }

    async fn next(
        &self,
        listener: &mut Listener,
        config: &Arc<relay::Config>,
    ) -> (Link, TcpStream, LinkHost, nuncio_net::Options) {
        let Incoming { stream, peer, permit, counted, .. } = listener.accept().await;
        let hub = &self.hub;
        let (id, mail) = hub.open();
        let (config, entropy) = (Arc::clone(config), Arc::clone(&hub.entropy));
        let machine = Link::new(id, Direction::Inbound, config, entropy, hub.clock.now());
        let host = LinkHost::incoming(Arc::clone(hub), (id, mail), peer.ip(), (permit, counted));
        let options = nuncio_net::Options {
            peer: Some(peer),
            security: Security::Server(Arc::clone(&hub.tls)),
            direct_tls: true,
            ..hub.options()
        };
        (machine, stream, host, options)
    }

    /// An account may not use the relay any more: its URIs are void, and the connections of its clients end. Gives how many.
    pub fn end(&self, account: &str) -> usize {
        self.hub.end(account)
    }

    /// Sets what other hosts must prove, from now on.
    pub fn set_policy(&self, policy: Policy) {
        self.hub.policy.store(Arc::new(policy));
    }

    /// The metrics.
    pub fn metrics(&self) -> &RelayMetrics {
        &self.hub.metrics
    }

    /// Ends all connections by the book, and waits for that at most so long. Whoever accepts is to be dropped before.
    pub async fn stop(&self, grace: Duration) {
        self.hub.stop(grace).await;
    }
}
