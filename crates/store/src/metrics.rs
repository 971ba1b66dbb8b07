//! What the store counts.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use crate::Fault;

/// Clones count together.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    pub(crate) transactions: Counter,
    pub(crate) batches: Counter,
    pub(crate) writes: Counter,
    pub(crate) passed: Counter,
    pub(crate) reads: Counter,
    pub(crate) queued: Gauge,
    pub(crate) group: Histogram,
    pub(crate) commit: Histogram,
    faults: Family<[(&'static str, &'static str); 1], Counter>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            transactions: Counter::default(),
            batches: Counter::default(),
            writes: Counter::default(),
            passed: Counter::default(),
            reads: Counter::default(),
            queued: Gauge::default(),
            group: Histogram::new(exponential_buckets(1.0, 2.0, 10)),
            commit: Histogram::new(exponential_buckets(0.0001, 2.5, 12)),
            faults: Family::default(),
        }
    }
}

impl Metrics {
    /// Counts a fault that a batch was settled with.
    pub(crate) fn fault(&self, fault: &Fault) {
        self.faults.get_or_create(&[("kind", fault.kind())]).inc();
    }

    pub(crate) fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("store");
        registry.register("transactions", "Transactions written to disk", self.transactions.clone());
        registry.register("batches", "Batches settled, faulty ones included", self.batches.clone());
        registry.register("writes", "Single writes and checks in those batches", self.writes.clone());
        registry.register("passed", "Rows that were removed before they were written", self.passed.clone());
        registry.register("reads", "Reads", self.reads.clone());
        registry.register("queued_writes", "Writes that wait for the writer", self.queued.clone());
        registry.register("transaction_batches", "Batches that shared one transaction", self.group.clone());
        registry.register_with_unit(
            "commit",
            "Time to make one transaction durable",
            Unit::Seconds,
            self.commit.clone(),
        );
        registry.register("faults", "Batches that failed, by kind of fault", self.faults.clone());
    }
}
