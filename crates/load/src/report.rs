//! What a scenario found out.

use serde::Serialize;

/// The figures of one scenario at one target. A warm-up is in none of them.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// The scenario's name.
    pub scenario: String,
    /// The target's name.
    pub target: String,
    /// What an operation is: `message`, `login`, `connection`.
    pub operation: String,
    /// Operations done in the measured time.
    pub operations: u64,
    /// The measured time in seconds.
    pub seconds: f64,
    /// Operations a second.
    pub rate: f64,
    /// Messages that were sent and never came.
    pub lost: u64,
    /// Messages that came more than once.
    pub duplicates: u64,
    /// How long one operation took; none if no single one was timed.
    pub latency: Option<Latency>,
    /// CPU of the server; none without its process.
    pub server: Option<ServerCost>,
    /// Memory of the server; none without its process.
    pub memory: Option<Memory>,
    /// CPU time of the generator itself per operation, in nanoseconds.
    pub generator_ns: f64,
}

/// Latencies in microseconds.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Latency {
    /// Half are at most this.
    pub p50: f64,
    /// 90 of 100 are at most this.
    pub p90: f64,
    /// 99 of 100 are at most this.
    pub p99: f64,
    /// 999 of 1000 are at most this.
    pub p999: f64,
    /// The longest.
    pub max: f64,
}

/// CPU time of the server's process and its children.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct ServerCost {
    /// Nanoseconds of CPU per operation.
    pub per_operation_ns: f64,
    /// CPU time in the measured time, in seconds.
    pub seconds: f64,
    /// How coarse the clock is, in nanoseconds of CPU time of the whole measured time.
    pub resolution_ns: u64,
}

/// Memory of the server's process and its children, in bytes.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Memory {
    /// Before the first connection.
    pub before: u64,
    /// At the end, connections still open and quiet.
    pub after: u64,
    /// Open connections at the end.
    pub connections: u64,
    /// What each of them costs.
    pub per_connection: f64,
    /// Churn only: what each cost at the beginning of the churn.
    pub per_connection_at_first: Option<f64>,
}
