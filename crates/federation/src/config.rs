//! What federation is configured with. The binary fills it from `nuncio.toml`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use nuncio_dna::Policy;
use nuncio_net::Rate;
use nuncio_net::dial::Haste;
use nuncio_stream::s2s::S2sConfig;

use crate::queue::QueueLimits;
use crate::route::Fixed;

/// The configuration of federation.
#[derive(Clone, Debug)]
pub struct FederationConfig {
    /// Who may speak with us, and what they must prove.
    pub policy: Policy,
    /// Where domains are, whatever DNS says: by prepared domain.
    pub hosts: BTreeMap<String, Vec<Fixed>>,
    /// Bounds of each pair's queue.
    pub queue: QueueLimits,
    /// Stanzas that a stream may have sent without an acknowledgement.
    pub unacknowledged: usize,
    /// Settings of the streams.
    pub stream: Arc<S2sConfig>,
    /// How fast addresses are tried.
    pub haste: Haste,
    /// How long a TLS handshake may take.
    pub handshake: Duration,
    /// A peer that takes nothing for so long is gone.
    pub write: Duration,
    /// How long to wait for the peer's end of a connection that is being closed.
    pub close: Duration,
    /// How fast one connection may send.
    pub rate: Rate,
    /// How long before its end a proof is renewed.
    pub renew: Duration,
}

impl Default for FederationConfig {
    fn default() -> Self {
        Self {
            policy: Policy::default(),
            hosts: BTreeMap::new(),
            queue: QueueLimits::default(),
            unacknowledged: 2_000,
            stream: Arc::new(S2sConfig::default()),
            haste: Haste::default(),
            handshake: Duration::from_secs(10),
            write: Duration::from_secs(60),
            close: Duration::from_secs(5),
            rate: Rate { per_second: 4_000_000, burst: 4_000_000 },
            renew: Duration::from_secs(30),
        }
    }
}
