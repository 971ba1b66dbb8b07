//! How a store on disk is kept.

use std::time::Duration;

/// How a store on disk is kept. The defaults suit a server.
#[derive(Clone, Debug)]
pub struct Options {
    /// Threads that read, each with a connection of its own; at least 1. Default: one for each processor, 2 to 4.
    pub readers: usize,
    /// How long after the beginning of one transaction the next may wait until as many batches have come together
    /// as the last one had. Writes one at a time never wait. Default: 2 ms.
    pub pace: Duration,
    /// How long a row that is appended alone may wait for its removal: until then nothing of either is written. Anything else that is committed,
    /// and whoever reads of the same owner, ends the waiting. Zero: it is written at once. Default: 10 ms.
    pub linger: Duration,
    /// How many writes one transaction takes at most. Default: 500.
    pub group: usize,
    /// How many writes may wait for the writer before a commit blocks. Default: 20 000.
    pub queue: usize,
    /// How many bytes may wait for the writer before a commit blocks. Default: 64 MiB.
    pub queue_bytes: usize,
    /// How large the database may grow, in bytes; the write-ahead log is not counted. Default: no limit.
    pub max_bytes: Option<u64>,
    /// Whether each transaction is forced to the disk before it counts as durable. Without it a power failure may
    /// cost the last transactions, though a crash of the process alone costs none. Default: yes.
    pub sync: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            readers: std::thread::available_parallelism().map_or(2, usize::from).clamp(2, 4),
            pace: Duration::from_millis(2),
            linger: Duration::from_millis(10),
            group: 500,
            queue: 20_000,
            queue_bytes: 64 * 1024 * 1024,
            max_bytes: None,
            sync: true,
        }
    }
}
