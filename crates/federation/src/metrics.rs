//! What federation counts (OpenMetrics names are prefixed by the registry).

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

macro_rules! metrics {
    ($($name:ident: $kind:ty = $help:literal),* $(,)?) => {
        /// The metrics of federation.
        #[derive(Clone, Debug, Default)]
        pub struct FederationMetrics { $(#[doc = $help] pub $name: $kind),* }

        impl FederationMetrics {
            /// Registers them all.
            pub fn register(&self, registry: &mut Registry) {
                $(registry.register(concat!("federation_", stringify!($name)), $help, self.$name.clone());)*
            }
        }
    };
}

metrics! {
    streams: Gauge = "Streams to and from other servers",
    pairs: Gauge = "Domain pairs that are proven, over all streams",
    stanzas_out: Counter = "Stanzas given to streams to other servers",
    undelivered: Counter = "Stanzas that returned to their senders",
    expired: Counter = "Stanzas that waited too long for another server",
    full: Counter = "Stanzas refused because too many wait for their pair of domains",
    dials: Counter = "Connections that were tried",
    resumed: Counter = "Streams that went on after the loss of their connection",
    multiplexed: Counter = "Domain pairs that were put onto a connection that was there already",
    rejected: Counter = "Stanzas of other servers that their stream refused",
    unsolicited: Counter = "Dialback answers that nobody asked for",
    revoked: Counter = "Domain pairs whose proof lapsed and could not be renewed",
    outcomes: Family<Outcome, Counter> = "Attempts to prove a domain pair, by direction and by what became of them",
}

/// Labels of `outcomes`.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub struct Outcome {
    /// `in` or `out`.
    pub direction: &'static str,
    /// `authorised`, or the code of why not.
    pub code: String,
}
