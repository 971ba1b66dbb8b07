//! What the network counts. Labels are from small fixed sets; nothing of a peer becomes a label.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

type One = [(&'static str, &'static str); 1];
type Two = [(&'static str, &'static str); 2];

/// The values of labels, and which of them go together.
pub(crate) mod label {
    macro_rules! labels {
        ($($list:ident { $($name:ident = $value:literal),* $(,)? })*) => { $(
            $(pub(crate) const $name: &str = $value;)*
            pub(super) const $list: &[&str] = &[$($name),*];
        )* };
    }

    /// The kinds of listener that a server has; another one shows from its first connection on.
    pub(super) const LISTENERS: [&str; 2] = ["c2s", "c2s_tls"];

    pub(super) const IN: &str = "in";
    pub(super) const OUT: &str = "out";

    labels! {
        REFUSALS {
            CONNECTIONS = "connections",
            CONNECTIONS_PER_NETWORK = "connections_per_network",
            UNAUTHENTICATED_PER_NETWORK = "unauthenticated_per_network",
            CONNECTION_RATE_PER_NETWORK = "connection_rate_per_network",
        }
        BUDGETS {
            ACCEPT_RATE = "accept_rate",
            BYTES_PER_SECOND = "bytes_per_second",
            TLS_HANDSHAKE_TIME = "tls_handshake_time",
            WRITE_STALL = "write_stall",
        }
        VERSIONS { TLS12 = "1.2", TLS13 = "1.3" }
        SUCCESSES { FULL = "full", RESUMED = "resumed" }
        NO_VERSION { NONE = "none" }
        FAILURES { FAILED = "failed", REFUSED = "refused", TIMEOUT = "timeout" }
    }
}

/// All counters of this crate. Cheap to clone; clones share their values.
#[derive(Clone, Debug)]
pub struct NetMetrics {
    connections: Family<One, Gauge>,
    accepted: Family<One, Counter>,
    handshakes: Family<Two, Counter>,
    refused: Family<One, Counter>,
    budget_hits: Family<One, Counter>,
    bytes: Family<One, Counter>,
    /// The two counters of `bytes`: they are counted at each read and write, where looking one up would cost more than the rest.
    bytes_in: Counter,
    bytes_out: Counter,
    truncated: Counter,
    renegotiations: Counter,
    panics: Counter,
    accept_errors: Counter,
}

impl Default for NetMetrics {
    fn default() -> Self {
        let bytes = Family::<One, Counter>::default();
        let direction = |name| bytes.get_or_create(&[("direction", name)]).clone();
        Self {
            connections: Family::default(),
            accepted: Family::default(),
            handshakes: Family::default(),
            refused: Family::default(),
            budget_hits: Family::default(),
            bytes_in: direction(label::IN),
            bytes_out: direction(label::OUT),
            bytes,
            truncated: Counter::default(),
            renegotiations: Counter::default(),
            panics: Counter::default(),
            accept_errors: Counter::default(),
        }
    }
}

impl NetMetrics {
    /// Registers everything below the prefix `net`. What can be counted is there from the start, as 0: a rate that begins with a row's
    /// first hit would miss that hit.
    pub fn register(&self, registry: &mut Registry) {
        self.begin();
        let r = registry.sub_registry_with_prefix("net");
        r.register("connections", "Open connections by kind of listener", self.connections.clone());
        r.register("accepted", "Accepted connections by kind of listener", self.accepted.clone());
        r.register("tls_handshakes", "TLS handshakes by version and result", self.handshakes.clone());
        r.register("refused", "Connections refused before their first byte, by reason", self.refused.clone());
        r.register("budget_hits", "How often a budget was exhausted, by its name", self.budget_hits.clone());
        r.register_with_unit(
            "transferred",
            "Bytes of protocol (inside TLS) by direction",
            Unit::Bytes,
            self.bytes.clone(),
        );
        r.register(
            "truncated",
            "Connections that ended inside TLS without close_notify",
            self.truncated.clone(),
        );
        r.register(
            "renegotiation_attempts",
            "Connections dropped because the peer attempted a TLS renegotiation",
            self.renegotiations.clone(),
        );
        r.register(
            "panics",
            "Panics of connection tasks, each of which cost one connection",
            self.panics.clone(),
        );
        r.register("accept_errors", "Errors of the system's accept", self.accept_errors.clone());
    }

    fn begin(&self) {
        for listener in label::LISTENERS {
            self.connections.get_or_create(&[("listener", listener)]).inc_by(0);
            self.accepted.get_or_create(&[("listener", listener)]).inc_by(0);
        }
        for reason in label::REFUSALS {
            self.refused.get_or_create(&[("reason", reason)]).inc_by(0);
        }
        for budget in label::REFUSALS.iter().chain(label::BUDGETS) {
            self.budget_hits.get_or_create(&[("budget", budget)]).inc_by(0);
        }
        for (versions, results) in [(label::VERSIONS, label::SUCCESSES), (label::NO_VERSION, label::FAILURES)]
        {
            for (version, result) in versions.iter().flat_map(|v| results.iter().map(move |r| (v, r))) {
                self.handshakes.get_or_create(&[("version", version), ("result", result)]).inc_by(0);
            }
        }
    }

    /// A connection was accepted by a listener of this kind; pair with [`NetMetrics::closed`].
    pub fn opened(&self, listener: &'static str) {
        self.connections.get_or_create(&[("listener", listener)]).inc();
        self.accepted.get_or_create(&[("listener", listener)]).inc();
    }

    /// A connection of a listener of this kind is over.
    pub fn closed(&self, listener: &'static str) {
        self.connections.get_or_create(&[("listener", listener)]).dec();
    }

    /// A TLS handshake ended. `version`: `1.2`, `1.3` or `none`. `result`: `full`, `resumed`, `failed`, `refused`,
    /// `timeout`.
    pub fn handshake(&self, version: &'static str, result: &'static str) {
        self.handshakes.get_or_create(&[("version", version), ("result", result)]).inc();
    }

    /// How many handshakes ended like that.
    #[must_use]
    pub fn handshakes(&self, version: &'static str, result: &'static str) -> u64 {
        self.handshakes.get_or_create(&[("version", version), ("result", result)]).get()
    }

    /// A connection was refused: a budget of accepting was exhausted. Counts as a hit of that budget too.
    pub fn refused(&self, reason: &'static str) {
        self.refused.get_or_create(&[("reason", reason)]).inc();
        self.budget_hit(reason);
    }

    /// A budget was exhausted: somebody was refused or slowed.
    pub fn budget_hit(&self, budget: &'static str) {
        self.budget_hits.get_or_create(&[("budget", budget)]).inc();
    }

    /// How often a budget was exhausted.
    #[must_use]
    pub fn budget_hits(&self, budget: &'static str) -> u64 {
        self.budget_hits.get_or_create(&[("budget", budget)]).get()
    }

    /// Bytes came in.
    pub fn bytes_in(&self, bytes: usize) {
        self.bytes_in.inc_by(bytes as u64);
    }

    /// Bytes went out.
    pub fn bytes_out(&self, bytes: usize) {
        self.bytes_out.inc_by(bytes as u64);
    }

    /// A connection ended inside TLS without `close_notify` (S0-23).
    pub fn truncated(&self) {
        self.truncated.inc();
    }

    /// How many connections were truncated.
    #[must_use]
    pub fn truncations(&self) -> u64 {
        self.truncated.get()
    }

    /// A peer attempted a renegotiation (S2-08).
    pub fn renegotiation(&self) {
        self.renegotiations.inc();
    }

    /// How many renegotiations were attempted.
    #[must_use]
    pub fn renegotiations(&self) -> u64 {
        self.renegotiations.get()
    }

    /// A connection's task panicked.
    pub fn panicked(&self) {
        self.panics.inc();
    }

    /// How many connections' tasks panicked.
    #[must_use]
    pub fn panics(&self) -> u64 {
        self.panics.get()
    }

    /// Accepting failed.
    pub fn accept_error(&self) {
        self.accept_errors.inc();
    }
}
