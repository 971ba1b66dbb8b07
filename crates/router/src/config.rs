//! What the router is configured with. The binary fills it from `nuncio.toml`.

use std::collections::BTreeMap;
use std::time::Duration;

use nuncio_xmpp::jid::BareJid;

/// The router's configuration.
#[derive(Clone, Debug)]
pub struct RouterConfig {
    /// The domains served; the first is the default of a stream header without `to`. At least one.
    pub domains: Vec<DomainConfig>,
    /// Budgets.
    pub limits: Limits,
    /// Whether SASL PLAIN is offered (inside TLS only).
    pub plain: bool,
    /// Whether SASL EXTERNAL is offered to clients with a trusted certificate.
    pub external: bool,
    /// PBKDF2 iterations of new passwords and of the keys that unknown users are answered with.
    pub scram_iterations: u32,
    /// How long a session without a connection waits to be resumed; zero: sessions cannot be resumed (XEP-0198).
    pub resume: Duration,
    /// Whether each extension is on, by name; those not named follow their own default.
    pub enabled: BTreeMap<String, bool>,
    /// Each extension's own table, by name.
    pub extensions: BTreeMap<String, serde_json::Value>,
}

impl Default for RouterConfig {
    fn default() -> Self {
        Self {
            domains: vec![DomainConfig { name: "localhost".to_owned(), ..DomainConfig::default() }],
            limits: Limits::default(),
            plain: true,
            external: true,
            scram_iterations: 10_000,
            resume: Duration::from_secs(300),
            enabled: BTreeMap::new(),
            extensions: BTreeMap::new(),
        }
    }
}

/// One served domain.
#[derive(Clone, Debug, Default)]
pub struct DomainConfig {
    /// Its name, prepared (RFC 7622).
    pub name: String,
    /// Accounts that may use the administrators' commands (XEP-0133).
    pub admins: Vec<BareJid>,
    /// Contact addresses (XEP-0157).
    pub contacts: ServiceContacts,
    /// What is refused, from and to everybody here: see [`crate::refuse`].
    pub refuse: Vec<Refusable>,
}

/// What a domain can refuse as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusable {
    /// Message stanzas.
    Messages,
    /// Presence stanzas; `unavailable` passes nevertheless.
    Presence,
}

/// XEP-0157 contact addresses of a domain, as URIs.
#[derive(Clone, Debug, Default)]
pub struct ServiceContacts {
    /// For abuse reports.
    pub abuse: Vec<String>,
    /// The administrators.
    pub admin: Vec<String>,
    /// For feedback.
    pub feedback: Vec<String>,
    /// Sales.
    pub sales: Vec<String>,
    /// Security reports.
    pub security: Vec<String>,
    /// Support.
    pub support: Vec<String>,
}

/// Budgets. Every hit is counted in [`crate::metrics::RouterMetrics`].
#[derive(Clone, Debug)]
pub struct Limits {
    /// Sessions of one account at once.
    pub sessions: usize,
    /// Failed logins of one account in five minutes; more are refused unread.
    pub failed_logins_per_account: u32,
    /// Failed logins of one address (IPv6: of one /64) in five minutes.
    pub failed_logins_per_address: u32,
    /// Bytes a second that one session may send; it is slowed, not ended.
    pub bytes_per_second: u32,
    /// Stanzas a second that one session may send; it is slowed, not ended.
    pub stanzas_per_second: u32,
    /// Stanzas that wait for a slow reader before its connection is ended.
    pub queue_stanzas: usize,
    /// Bytes that wait for a slow reader before its connection is ended.
    pub queue_bytes: usize,
    /// Offline messages of one account; more are returned to their senders.
    pub offline_messages: usize,
    /// Roster items of one account.
    pub roster_items: usize,
    /// Subscription requests that wait for one account's answer; more are dropped.
    pub subscription_requests: usize,
    /// Addresses that one session may have sent directed presence to.
    pub directed: usize,
    /// Idle accounts that are kept in memory.
    pub idle_accounts: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            sessions: 20,
            failed_logins_per_account: 10,
            failed_logins_per_address: 50,
            bytes_per_second: 1_000_000,
            stanzas_per_second: 200,
            queue_stanzas: 2_000,
            queue_bytes: 4 << 20,
            offline_messages: 1_000,
            roster_items: 1_000,
            subscription_requests: 200,
            directed: 1_000,
            idle_accounts: 10_000,
        }
    }
}
