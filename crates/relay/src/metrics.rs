//! What the relay counts (OpenMetrics names are prefixed by the registry). Labels are from small fixed sets; nothing of a peer becomes a label.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

macro_rules! metrics {
    ($($name:ident: $kind:ty = $help:literal),* $(,)?) => {
        /// The metrics of an MSRP relay.
        #[derive(Clone, Debug, Default)]
        pub struct RelayMetrics { $(#[doc = $help] pub $name: $kind),* }

        impl RelayMetrics {
            /// Registers them all. What can be counted is there from the start, as 0: a rate that begins with a row's first hit would miss that hit.
            pub fn register(&self, registry: &mut Registry) {
                self.begin();
                $(registry.register(concat!("msrp_relay_", stringify!($name)), $help, self.$name.clone());)*
            }
        }
    };
}

metrics! {
    connections: Family<Way, Gauge> = "Connections of the MSRP relay, by who made them",
    closed: Family<Why, Counter> = "Connections of the MSRP relay that ended, by why",
    uris: Gauge = "URIs of the MSRP relay that are good",
    logins: Family<Login, Counter> = "Logins at the MSRP relay, by what became of them",
    relays: Counter = "MSRP relays that have proven who they are",
    sends: Counter = "SEND requests that the MSRP relay passed on, as they came",
    body_bytes: Counter = "Bytes of bodies that the MSRP relay passed on",
    requests: Counter = "Requests beside SEND, responses and reports that the MSRP relay passed on or made",
    unroutable: Family<Route, Counter> = "Requests that the MSRP relay refused to pass on, by why",
    waiting_bytes: Gauge = "Bytes of memory, about, of what waits in the MSRP relay for its receivers",
    holds: Counter = "How often a sender was held because its receiver is slower",
    dials: Counter = "Connections that the MSRP relay tried to make",
    dial_failures: Family<Why, Counter> = "Connections that the MSRP relay could not make, by why",
    dropped: Counter = "Responses, reports and requests beside SEND that were dropped because their receiver does not read",
}

/// Why a connection ends.
const ENDS: [&str; 9] =
    ["host", "peer", "cut", "syntax", "not_ours", "probation", "strikes", "failures", "idle"];
/// Why a connection cannot be made.
const DIALS: [&str; 9] = [
    "timeout",
    "no_address",
    "no_dns",
    "no_service",
    "dns",
    "forbidden_address",
    "refused",
    "unproven",
    "no_certificate",
];
/// Why a request is not passed on.
const ROUTES: [&str; 6] = ["unknown", "not_allowed", "unproven", "elsewhere", "no_way", "budget"];

impl RelayMetrics {
    fn begin(&self) {
        for direction in ["in", "out"] {
            self.connections.get_or_create(&Way { direction }).inc_by(0);
        }
        for why in ENDS {
            self.closed.get_or_create(&Why { why }).inc_by(0);
        }
        for why in DIALS {
            self.dial_failures.get_or_create(&Why { why }).inc_by(0);
        }
        for reason in ROUTES {
            self.unroutable.get_or_create(&Route { reason }).inc_by(0);
        }
        for result in ["granted", "wrong", "forbidden"] {
            self.logins.get_or_create(&Login { result }).inc_by(0);
        }
    }
}

/// Labels of `connections`.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub struct Way {
    /// `in` or `out`.
    pub direction: &'static str,
}

/// Labels of `closed` and `dial_failures`.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub struct Why {
    /// Why.
    pub why: &'static str,
}

/// Labels of `unroutable`.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub struct Route {
    /// Why.
    pub reason: &'static str,
}

/// Labels of `logins`.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub struct Login {
    /// `granted`, `wrong` or `forbidden`.
    pub result: &'static str,
}
