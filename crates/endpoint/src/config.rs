//! The settings of an endpoint.

use std::path::PathBuf;
use std::time::Duration;

use nuncio_msrp::endpoint::{self, Reports};
use nuncio_msrp::media::AcceptTypes;
use nuncio_net::tls::{PairFiles, Roots};

/// The settings of an [`crate::Endpoint`]. The defaults are good for a client.
#[derive(Clone, Debug)]
pub struct Config {
    /// Which authorities vouch for peers that are known by name (S1-04).
    pub roots: Roots,
    /// The certificate that is shown; without one, one is made that is signed by itself (RFC 4975 §14.4). Its fingerprint is always offered.
    pub certificate: Option<PairFiles>,
    /// What is accepted.
    pub accept: AcceptTypes,
    /// The longest message that is accepted, in bytes.
    pub max_size: u64,
    /// Up to here a message is kept in memory; a longer one goes to a file.
    pub memory: usize,
    /// What all messages may have of the memory together. Beyond it they go to files.
    pub total_memory: usize,
    /// The folder of those files; the system's for temporary files if none is named.
    pub spool: Option<PathBuf>,
    /// Who reports success on incoming messages: at once when they are complete, or whoever has the [`crate::Receipt`].
    pub reports: Reports,
    /// Whether a peer's fingerprints by SHA-1 count (S1-R6): only for old peers.
    pub sha1: bool,
    /// Whether sessions with the same next hop share a connection (RFC 4975 §5.4). Some peers know one session a connection.
    pub share: bool,
    /// How often a request without content keeps a session alive, and a login the connection to a relay of ours: so it is noticed that one of them has
    /// gone without a word. None: at the end of a URI's time only.
    pub keep_alive: Option<Duration>,
    /// How long connecting may take, TLS included.
    pub connect: Duration,
    /// The bounds and times of a connection.
    pub msrp: endpoint::Config,
}

impl Default for Config {
    /// The system's authorities, all types, messages up to 1 GiB, 256 KiB of each and 64 MiB of all in memory, automatic reports, shared
    /// connections, a request every 2 minutes to keep them.
    fn default() -> Self {
        Self {
            roots: Roots::System,
            certificate: None,
            accept: AcceptTypes::any(),
            max_size: 1 << 30,
            memory: 256 * 1024,
            total_memory: 64 * 1024 * 1024,
            spool: None,
            reports: Reports::Automatic,
            sha1: false,
            share: true,
            keep_alive: Some(Duration::from_secs(120)),
            connect: Duration::from_secs(20),
            msrp: endpoint::Config { messages: 16, ..endpoint::Config::default() },
        }
    }
}
