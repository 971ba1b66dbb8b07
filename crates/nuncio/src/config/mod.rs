//! `nuncio.toml`: what can be configured, with its defaults, and how mistakes in it are told.
//!
//! Every key stands in [`options::OPTIONS`] with its meaning; the manual's table is made from there, and a key that does
//! not stand there is an error that names the file, the line and the nearest key that does.

pub(crate) mod federation;
mod listeners;
mod load;
pub(crate) mod msrp;
mod number;
pub(crate) mod options;
mod source;
mod values;
mod whole;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use nuncio_xmpp::xml;
use serde::{Deserialize, Serialize};

use load::Read;
pub(crate) use source::ConfigError;
use source::Source;
pub(crate) use whole::{check, check_files};

/// The whole configuration, effective values.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default)]
pub(crate) struct Config {
    /// The folder of the store, the local CA and the control socket.
    pub(crate) data: PathBuf,
    /// The domains served.
    pub(crate) domain: Vec<Domain>,
    /// Where to listen.
    pub(crate) listen: Listen,
    /// The machine's cores.
    pub(crate) runtime: Runtime,
    /// The log.
    pub(crate) log: Log,
    /// TLS beyond each domain's certificate.
    pub(crate) tls: Tls,
    /// Other servers.
    pub(crate) federation: federation::Federation,
    /// The MSRP relay.
    pub(crate) msrp: msrp::Msrp,
    /// Accounts and logins.
    pub(crate) accounts: Accounts,
    /// Budgets.
    pub(crate) limits: Limits,
    /// Timeouts.
    pub(crate) timeouts: Timeouts,
    /// Each extension's own table.
    pub(crate) extensions: toml::Table,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data: PathBuf::from("nuncio-data"),
            domain: vec![Domain {
                name: "localhost".to_owned(),
                admins: vec![crate::first_run::FIRST_ACCOUNT.to_owned()],
                ..Domain::default()
            }],
            listen: Listen::default(),
            runtime: Runtime::default(),
            log: Log::default(),
            tls: Tls::default(),
            federation: federation::Federation::default(),
            msrp: msrp::Msrp::default(),
            accounts: Accounts::default(),
            limits: Limits::default(),
            timeouts: Timeouts::default(),
            extensions: toml::Table::new(),
        }
    }
}

/// One served domain.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(crate) struct Domain {
    /// The domain, as in addresses. It must be given.
    pub(crate) name: String,
    /// PEM chain, leaf first; the local CA makes one if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) certificate: Option<PathBuf>,
    /// PEM private key of the certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) key: Option<PathBuf>,
    /// Whether the certificate may be for another name, the host's.
    pub(crate) hosted: bool,
    /// Accounts that may use administrators' commands.
    pub(crate) admins: Vec<String>,
    /// XEP-0157 contact addresses, as URIs.
    pub(crate) contacts: Contacts,
    /// What is refused, from and to everybody of the domain.
    pub(crate) refuse: Vec<Refuse>,
}

/// What a domain can refuse as a whole.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Refuse {
    /// Message stanzas.
    Messages,
    /// Presence stanzas.
    Presence,
}

/// XEP-0157 addresses of a domain, as URIs (`mailto:`, `xmpp:`, `https:`).
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(crate) struct Contacts {
    /// For abuse reports.
    pub(crate) abuse: Vec<String>,
    /// The administrators.
    pub(crate) admin: Vec<String>,
    /// For feedback.
    pub(crate) feedback: Vec<String>,
    /// Sales.
    pub(crate) sales: Vec<String>,
    /// Security reports.
    pub(crate) security: Vec<String>,
    /// Support.
    pub(crate) support: Vec<String>,
}

/// Listening addresses. Empty: no such listener. Absent: the default ports, on loopback if only `localhost` is served.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(crate) struct Listen {
    /// Clients, STARTTLS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) c2s: Option<Vec<SocketAddr>>,
    /// Clients, direct TLS (XEP-0368).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) c2s_tls: Option<Vec<SocketAddr>>,
    /// Other servers, STARTTLS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) s2s: Option<Vec<SocketAddr>>,
    /// Other servers, direct TLS (XEP-0368).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) s2s_tls: Option<Vec<SocketAddr>>,
    /// Clients, relays and peers of the MSRP relay.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) msrp: Option<Vec<SocketAddr>>,
    /// Clients of the MSRP relay by WebSocket.
    pub(crate) msrp_websocket: Vec<SocketAddr>,
    /// Health and metrics.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) http: Option<Vec<SocketAddr>>,
}

/// How the machine is used.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(crate) struct Runtime {
    /// Threads that connections run on; absent: as many as there are cores.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) threads: Option<u32>,
}

/// The log.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default)]
pub(crate) struct Log {
    /// A filter: `info`, or `info,nuncio_stream=debug`.
    pub(crate) level: String,
    /// `text` or `json`.
    pub(crate) format: LogFormat,
}

impl Default for Log {
    fn default() -> Self {
        Self { level: "info".to_owned(), format: LogFormat::Text }
    }
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// TLS beyond each domain's certificate.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(crate) struct Tls {
    /// PEM files of authorities whose client certificates may log in by SASL EXTERNAL.
    pub(crate) client_authorities: Vec<PathBuf>,
}

/// Accounts and logins.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default)]
pub(crate) struct Accounts {
    /// PBKDF2 iterations of new passwords.
    pub(crate) scram_iterations: u32,
    /// Whether SASL PLAIN is offered (inside TLS only).
    pub(crate) plain: bool,
    /// Sessions an account may have at once.
    pub(crate) sessions: u32,
}

impl Default for Accounts {
    fn default() -> Self {
        Self { scram_iterations: 10_000, plain: true, sessions: 20 }
    }
}

/// Budgets. Each has a metric of its hits.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default)]
pub(crate) struct Limits {
    /// Size of one stanza after login, in bytes.
    pub(crate) stanza_bytes: usize,
    /// Depth of one stanza, in elements.
    pub(crate) depth: u16,
    /// Attributes of one element.
    pub(crate) attributes: u16,
    /// Size of one element before login, in bytes.
    pub(crate) before_login_bytes: usize,
    /// Connections of one address (IPv6: of one /64).
    pub(crate) connections_per_address: u32,
    /// Connections that have not logged in, of one address.
    pub(crate) unauthenticated_per_address: u32,
    /// New connections a second of one address (IPv6: of one /64).
    pub(crate) connects_per_second: u32,
    /// Connections altogether.
    pub(crate) connections: u32,
    /// Failed logins of one account in five minutes.
    pub(crate) failed_logins_per_account: u32,
    /// Failed logins of one address in five minutes.
    pub(crate) failed_logins_per_address: u32,
    /// Failed logins on one stream.
    pub(crate) failed_logins_per_stream: u32,
    /// Bytes a second that one connection may send.
    pub(crate) bytes_per_second: u32,
    /// Stanzas a second that one session may send.
    pub(crate) stanzas_per_second: u32,
    /// Stanzas that wait for a slow reader.
    pub(crate) queue_stanzas: usize,
    /// Bytes that wait for a slow reader.
    pub(crate) queue_bytes: usize,
    /// Offline messages of one account.
    pub(crate) offline_messages: usize,
    /// Roster items of one account.
    pub(crate) roster_items: usize,
    /// Subscription requests that wait for one account's answer.
    pub(crate) subscription_requests: usize,
    /// Addresses that one session may have sent directed presence to.
    pub(crate) directed_presence: usize,
    /// Accounts without sessions that are kept in memory.
    pub(crate) idle_accounts: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            stanza_bytes: 262_144,
            depth: 64,
            attributes: 64,
            before_login_bytes: 10_000,
            connections_per_address: 1_000,
            unauthenticated_per_address: 100,
            connects_per_second: 50,
            connections: 100_000,
            failed_logins_per_account: 10,
            failed_logins_per_address: 50,
            failed_logins_per_stream: 3,
            bytes_per_second: 1_000_000,
            stanzas_per_second: 200,
            queue_stanzas: 2_000,
            queue_bytes: 4_194_304,
            offline_messages: 1_000,
            roster_items: 1_000,
            subscription_requests: 200,
            directed_presence: 1_000,
            idle_accounts: 10_000,
        }
    }
}

impl Limits {
    /// What a peer may send before it has proven who it is.
    pub(crate) fn before(&self) -> xml::Limits {
        let least = xml::Limits::before_authentication();
        xml::Limits {
            stanza_bytes: self.before_login_bytes,
            attributes: self.attributes.min(least.attributes),
            ..least
        }
    }

    /// What it may send after.
    pub(crate) fn after(&self) -> xml::Limits {
        xml::Limits {
            stanza_bytes: self.stanza_bytes,
            depth: self.depth,
            attributes: self.attributes,
            ..xml::Limits::default()
        }
    }
}

/// Timeouts, in seconds.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default)]
pub(crate) struct Timeouts {
    /// From the connection to the bound resource.
    pub(crate) login_seconds: u64,
    /// From our closing tag to the peer's.
    pub(crate) close_seconds: u64,
    /// A peer that takes nothing for so long is gone.
    pub(crate) write_seconds: u64,
    /// Silence after which a client is asked whether it is there.
    pub(crate) idle_seconds: u64,
    /// How long a session without connection waits to be resumed.
    pub(crate) resume_seconds: u64,
    /// The window over which `<reset/>` is spread.
    pub(crate) reset_seconds: u64,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            login_seconds: 30,
            close_seconds: 5,
            write_seconds: 60,
            idle_seconds: 300,
            resume_seconds: 300,
            reset_seconds: 30,
        }
    }
}

impl Config {
    /// Reads the configuration: `file` if given, else `nuncio.toml` in the working folder if there is one, else the
    /// defaults. `data` overrides the data folder. The files that it names are not looked at.
    pub(crate) fn read(file: Option<&Path>, data: Option<&Path>) -> Result<Self, ConfigError> {
        Self::open(file, data)?.finish()
    }

    fn open(file: Option<&Path>, data: Option<&Path>) -> Result<Read, ConfigError> {
        let implied = Path::new("nuncio.toml");
        let file = file.or_else(|| implied.exists().then_some(implied));
        let mut read = match file {
            Some(file) => load::file(file)?,
            None => Read { config: Some(Self::default()), source: Source::default() },
        };
        if let (Some(config), Some(data)) = (&mut read.config, data) {
            config.data = data.to_owned();
        }
        Ok(read)
    }

    /// The keys whose values differ and that a running server does not take over.
    pub(crate) fn needs_restart(&self, other: &Self) -> Vec<String> {
        let fixed = |config: &Self| {
            let mut config = config.clone();
            config.log.level.clear();
            config.tls.client_authorities.clear();
            let federation = &mut config.federation;
            federation.require.clear();
            federation.peer.clear();
            for list in [&mut federation.allow, &mut federation.deny] {
                list.clear();
            }
            for files in
                [&mut federation.authorities, &mut federation.revocation_lists, &mut config.msrp.authorities]
            {
                files.clear();
            }
            for domain in &mut config.domain {
                (domain.certificate, domain.key) = (None, None);
            }
            (config.msrp.certificate, config.msrp.key) = (None, None);
            toml::Table::try_from(config).unwrap_or_default()
        };
        let mut keys = Vec::new();
        differences("", &fixed(self), &fixed(other), &mut keys);
        keys
    }

    /// Whether only `localhost` is served: then nothing listens beyond loopback unless told to.
    pub(crate) fn is_local(&self) -> bool {
        self.domain.iter().all(|domain| domain.name == "localhost")
    }
}

fn differences(prefix: &str, one: &toml::Table, other: &toml::Table, keys: &mut Vec<String>) {
    let added = other.keys().filter(|key| !one.contains_key(*key));
    for key in one.keys().chain(added) {
        let path = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
        match (one.get(key), other.get(key)) {
            (Some(toml::Value::Table(one)), Some(toml::Value::Table(other))) => {
                differences(&path, one, other, keys);
            }
            (one, other) if one != other => keys.push(path),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reload_says_what_it_leaves() {
        let old = Config::default();
        let mut new = old.clone();
        new.log.level = "debug".to_owned();
        assert_eq!(old.needs_restart(&new), [] as [&str; 0]);
        new.limits.depth += 1;
        new.listen.http = Some(Vec::new());
        new.domain.push(Domain { name: "example.org".to_owned(), ..Domain::default() });
        assert_eq!(old.needs_restart(&new), ["domain", "limits.depth", "listen.http"]);
    }
}
