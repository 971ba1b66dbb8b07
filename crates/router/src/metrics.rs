//! What the router counts (OpenMetrics names are prefixed by the registry).

use nuncio_stream::c2s::{End, Reason};
use nuncio_xmpp::error::StreamCondition;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

macro_rules! metrics {
    ($($name:ident: $kind:ty = $help:literal),* $(,)?) => {
        /// The router's metrics.
        #[derive(Clone, Debug, Default)]
        pub struct RouterMetrics { $(#[doc = $help] pub $name: $kind),* }

        impl RouterMetrics {
            /// Registers them all. What can be counted is there from the start, as 0: a rate that begins with a row's first hit
            /// would miss that hit.
            pub fn register(&self, registry: &mut Registry) {
                self.begin();
                $(registry.register(stringify!($name), $help, self.$name.clone());)*
            }
        }
    };
}

metrics! {
    sessions: Gauge = "Sessions, with and without connection",
    hibernated: Gauge = "Sessions that wait to be resumed",
    accounts_in_memory: Gauge = "Accounts in memory",
    messages: Counter = "Messages from sessions",
    presences: Counter = "Presence stanzas from sessions",
    iqs: Counter = "IQ stanzas from sessions",
    from_elsewhere: Counter = "Stanzas taken from other servers, from proven domains",
    delivered: Counter = "Stanzas put into the queue of a session",
    refused: Counter = "Stanzas that police refused or dropped",
    bounced: Counter = "Stanzas answered with an error because nobody took them",
    offline_stored: Counter = "Messages stored offline",
    offline_full: Counter = "Messages refused because the recipient has too many offline messages",
    offline_delivered: Counter = "Offline messages put into the queue of a session",
    requests_full: Counter = "Subscription requests dropped because too many wait for the account's answer",
    returned: Counter = "Deliveries that returned because their session was lost",
    slowed: Counter = "Times that a session was slowed by its rate limit",
    overflowed: Counter = "Connections ended because their queue was over its bound",
    logins: Counter = "Logins",
    logins_failed: Counter = "Logins that failed",
    logins_throttled: Counter = "Logins refused because of too many failures",
    sessions_refused: Counter = "Resources refused because the account has too many sessions",
    resumed: Counter = "Sessions resumed",
    resume_failed: Counter = "Resumptions that failed",
    expired: Counter = "Sessions that were not resumed in time",
    streams_ended: Family<StreamEnd, Counter> = "Client streams that ended, by reason and by the stream error that we sent",
    budget_hits: Family<Budget, Counter> = "Client streams that ended because a budget was exceeded, by budget",
    requests: Counter = "Requests of the server's own, such as pings of silent clients",
    requests_unanswered: Counter = "Requests of the server's own that nobody answered in time",
    answers_ignored: Counter = "IQ results and errors to a domain or an account that no request waited for, answers to pushes among them",
    store_faults: Counter = "Reads and writes that the store failed at",
}

/// The condition where we sent no stream error.
const NO_ERROR: &str = "none";

/// Labels of `streams_ended`.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub struct StreamEnd {
    /// Why: [`nuncio_stream::c2s::Reason::as_str`].
    pub reason: &'static str,
    /// The stream error that we sent; `none` if we sent none.
    pub condition: &'static str,
}

/// Labels of `budget_hits`.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub struct Budget {
    /// The budget's name.
    pub budget: &'static str,
}

impl RouterMetrics {
    fn begin(&self) {
        for reason in Reason::NAMES {
            self.streams_ended.get_or_create(&StreamEnd { reason, condition: NO_ERROR }).inc_by(0);
        }
        for budget in Reason::budgets() {
            self.budget_hits.get_or_create(&Budget { budget }).inc_by(0);
        }
    }

    /// Counts the end of a client's stream.
    pub(crate) fn stream_ended(&self, end: &End) {
        let condition = end.error.map_or(NO_ERROR, StreamCondition::as_str);
        self.streams_ended.get_or_create(&StreamEnd { reason: end.reason.as_str(), condition }).inc();
        if let Some(budget) = end.reason.budget() {
            self.budget_hits.get_or_create(&Budget { budget }).inc();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fresh_scrape_shows_every_family() {
        let mut registry = Registry::default();
        RouterMetrics::default().register(&mut registry);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for row in [
            "streams_ended_total{reason=\"peer\",condition=\"none\"}",
            "streams_ended_total{reason=\"misbehaved\",condition=\"none\"}",
            "budget_hits_total{budget=\"stanza_bytes\"}",
            "budget_hits_total{budget=\"nodes\"}",
            "budget_hits_total{budget=\"failed_logins_per_stream\"}",
            "budget_hits_total{budget=\"bindings\"}",
            "budget_hits_total{budget=\"login_seconds\"}",
        ] {
            assert!(text.contains(&format!("{row} 0\n")), "{row}: {text}");
        }
    }
}
