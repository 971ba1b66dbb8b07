//! The configuration of each server: alike in what clients see, and each as its own documentation recommends under load.
//!
//! Alike: TLS as the library chooses it (1.3 here), the same certificate (ECDSA P-256), direct TLS on one port of loopback, SCRAM-SHA-1 with
//! [`ITERATIONS`] iterations and stored keys, no shaping and no limits that a scenario could reach, the log at the level that the package has, in a
//! file. Only the modules that a scenario needs: roster, presence, disco, offline messages, stream management, ping. What is not named has its
//! default.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// The domain that all of them serve, but where servers talk to each other.
pub(super) const DOMAIN: &str = "localhost";

/// PBKDF2 iterations of every stored password: the least that RFC 5802 §5.1 allows. Only the client pays for them.
pub(super) const ITERATIONS: u32 = 4_096;

/// Where a server listens and what it finds in its folder.
pub(super) struct Setting<'a> {
    /// The server's own folder: configuration, data, log, `chain.pem`, `key.pem`, `both.pem`.
    pub(super) folder: &'a Path,
    /// Direct TLS for clients.
    pub(super) address: SocketAddr,
    /// The domain whose accounts log in.
    pub(super) domain: &'a str,
    /// How it talks to other servers; none if it does not.
    pub(super) federation: Option<&'a Federation>,
    /// Worker threads; none for the default.
    pub(super) threads: Option<u32>,
}

/// How a server talks to others: encrypted, with certificates of the run's authority that both check, and without DNS.
#[derive(Clone, Debug)]
pub(super) struct Federation {
    /// Where it listens for them (STARTTLS).
    pub(super) listen: SocketAddr,
    /// The PEM file of the authority.
    pub(super) authority: PathBuf,
    /// Domains that it serves besides, with the same certificate. Nuncio only.
    pub(super) more: Vec<String>,
    /// Where other domains are.
    pub(super) hosts: Vec<(String, SocketAddr)>,
    /// Its MSRP relay, if it is measured. Nuncio only.
    pub(super) relay: Option<Relay>,
}

/// An MSRP relay.
#[derive(Clone, Debug)]
pub(super) struct Relay {
    /// Where it listens.
    pub(super) listen: SocketAddr,
    /// Where other relays are.
    pub(super) hosts: Vec<(String, SocketAddr)>,
}

/// The name that Prosody gives the folder of a domain.
pub(super) fn escaped(domain: &str) -> String {
    domain.replace('.', "%2e").replace('-', "%2d")
}

/// Nuncio with its defaults (every extension that is on by default) but for limits.
pub(super) fn nuncio(setting: &Setting<'_>) -> String {
    let folder = setting.folder.display();
    let federated = setting.federation.map(nuncio_federation).unwrap_or_default();
    let relay = setting.federation.and_then(|federation| federation.relay.as_ref());
    let mut text = format!(
        r#"data = "{folder}/data"
listen.c2s = []
listen.c2s_tls = ["{address}"]
listen.http = []
listen.msrp = [{msrp}]
log.level = "info"
accounts.scram_iterations = {ITERATIONS}
{federated}
[[domain]]
name = "{domain}"
certificate = "{folder}/chain.pem"
key = "{folder}/key.pem"

[limits]
connections_per_address = 1000000
unauthenticated_per_address = 1000000
connects_per_second = 1000000
connections = 1000000
bytes_per_second = 1000000000
stanzas_per_second = 1000000
queue_stanzas = 100000
queue_bytes = 104857600
offline_messages = 1000000
roster_items = 10000
subscription_requests = 10000
idle_accounts = 100000
"#,
        address = setting.address,
        domain = setting.domain,
        msrp = relay.map(|relay| format!("\"{}\"", relay.listen)).unwrap_or_default(),
    );
    if let Some(relay) = relay {
        text.push_str("\n[msrp]\nallow_networks = [\"127.0.0.0/8\"]\nuris_per_account = 1000000\n");
        for (domain, place) in &relay.hosts {
            let _ = writeln!(text, "hosts.\"{domain}\" = \"{place}\"");
        }
    }
    for name in setting.federation.iter().flat_map(|federation| &federation.more) {
        let _ = write!(
            text,
            "\n[[domain]]\nname = \"{name}\"\ncertificate = \"{folder}/chain.pem\"\nkey = \"{folder}/key.pem\"\n"
        );
    }
    if let Some(threads) = setting.threads {
        let _ = write!(text, "\n[runtime]\nthreads = {threads}\n");
    }
    text
}

/// Neither DNS nor web servers are asked about domains that stand here: DNSSEC and POSH are off because there is nothing that they could be used for.
fn nuncio_federation(federation: &Federation) -> String {
    let Federation { listen, authority, hosts, .. } = federation;
    let mut text = format!(
        r#"listen.s2s = ["{listen}"]
listen.s2s_tls = []
federation.enabled = true
federation.authorities = ["{}"]
federation.dns.validate = "off"
federation.posh.enabled = false
"#,
        authority.display()
    );
    for (domain, place) in hosts {
        let _ = writeln!(text, "federation.hosts.\"{domain}\" = \"{place}\"");
    }
    text
}

/// Prosody. Under load its documentation recommends the epoll backend, which is the default since 0.12, and leaves the garbage collector alone;
/// `internal_hashed` stores keys; mod_limits, which Debian's example loads, is left out. The backlog is raised for login storms.
pub(super) fn prosody(setting: &Setting<'_>) -> String {
    let folder = setting.folder.display();
    let (authority, federated) = match setting.federation {
        // mod_s2s_bidi is off in the example of Debian's package.
        Some(Federation { listen, authority, .. }) => (
            format!("cafile = \"{}\"; ", authority.display()),
            format!(
                r#"s2s_ports = {{ {port} }}
s2s_direct_tls_ports = {{ }}
s2s_require_encryption = true
s2s_secure_auth = true
use_ipv6 = false
plugin_paths = {{ "{folder}/modules" }}
modules_enabled = {{ "disco", "roster", "saslauth", "tls", "smacks", "ping", "{HOSTS}" }}"#,
                port = listen.port(),
            ),
        ),
        None => (
            String::new(),
            r#"s2s_ports = { }
modules_enabled = { "disco", "roster", "saslauth", "tls", "smacks", "ping" }
modules_disabled = { "s2s" }"#
                .to_owned(),
        ),
    };
    format!(
        r#"data_path = "{folder}/data"
pidfile = "{folder}/prosody.pid"
daemonize = false
interfaces = {{ "{ip}" }}
c2s_ports = {{ }}
c2s_direct_tls_ports = {{ {port} }}
{federated}
http_ports = {{ }}
https_ports = {{ }}
network_backend = "epoll"
network_settings = {{ tcp_backlog = 1024 }}
authentication = "internal_hashed"
default_iteration_count = {ITERATIONS}
storage = "internal"
c2s_require_encryption = true
ssl = {{ {authority}certificate = "{folder}/chain.pem"; key = "{folder}/key.pem" }}
c2s_direct_tls_ssl = {{ certificate = "{folder}/chain.pem"; key = "{folder}/key.pem" }}
log = {{ {{ levels = {{ min = "info" }}; to = "file"; filename = "{folder}/server.log" }} }}
VirtualHost "{domain}"
"#,
        ip = setting.address.ip(),
        port = setting.address.port(),
        domain = setting.domain,
    )
}

/// Prosody's module that says where other domains are.
pub(super) const HOSTS: &str = "compare_hosts";

/// Its text: Prosody asks DNS for every domain, and has no other place for their addresses.
pub(super) fn prosody_hosts(federation: &Federation) -> String {
    let mut text = "local hosts = {\n".to_owned();
    for (domain, place) in &federation.hosts {
        let _ = writeln!(text, "\t[\"{domain}\"] = {{ \"{}\", {} }};", place.ip(), place.port());
    }
    text.push_str(
        r#"};
local service = require "net.resolvers.service";
local manual = require "net.resolvers.manual";
local by_dns = service.new;
function service.new(name, kind, conn_type, extra)
	local place = hosts[name];
	if not place then return by_dns(name, kind, conn_type, extra); end
	local targets = {};
	if kind == "xmpp-server" then targets[1] = { conn_type .. "4", place[1], place[2], extra }; end
	return manual.new(targets, conn_type, extra);
end
"#,
    );
    text
}

/// ejabberd with mnesia, its default, and no shaper, and with caches that hold all accounts, as its log recommends where they do not; what Debian's file sets beyond code's defaults (no TLS below 1.2, SCRAM keys, roster versions) is
/// kept.
pub(super) fn ejabberd(setting: &Setting<'_>) -> String {
    let folder = setting.folder.display();
    format!(
        r#"hosts: ["{domain}"]
loglevel: info
log_rotate_count: 0
certfiles: ["{folder}/both.pem"]
auth_password_format: scram
cache_size: 100000
disable_sasl_mechanisms: ["digest-md5", "X-OAUTH2"]
c2s_protocol_options: ["no_sslv3", "no_tlsv1", "no_tlsv1_1", "cipher_server_preference", "no_compression"]
listen:
  - {{port: {port}, ip: "{ip}", module: ejabberd_c2s, tls: true, max_stanza_size: 262144, access: c2s, shaper: none, backlog: 1024,
      protocol_options: ["no_sslv3", "no_tlsv1", "no_tlsv1_1", "cipher_server_preference", "no_compression"]}}
access_rules:
  c2s: {{allow: all}}
shaper_rules:
  max_user_sessions: 1000
  max_user_offline_messages: 1000000
modules:
  mod_disco: {{}}
  mod_offline: {{access_max_user_messages: max_user_offline_messages}}
  mod_ping: {{}}
  mod_roster: {{versioning: true}}
  mod_stream_mgmt: {{resend_on_timeout: if_offline, max_ack_queue: 100000}}
"#,
        ip = setting.address.ip(),
        port = setting.address.port(),
        domain = setting.domain,
    )
}

/// The arguments of Erlang's emulator: those of Debian's ejabberdctl, without distribution, which a single node does not need.
pub(super) fn erl(folder: &Path) -> Vec<String> {
    let spool = format!("\"{}/spool\"", folder.display());
    ["+K", "true", "+P", "250000", "-env", "ERL_CRASH_DUMP_BYTES", "0", "-noinput", "-mnesia", "dir", &spool]
        .into_iter()
        .chain(["-s", "ejabberd"])
        .map(str::to_owned)
        .collect()
}

/// The environment that Debian's ejabberdctl sets.
pub(super) fn erl_environment(folder: &Path, libraries: &Path) -> Vec<(&'static str, String)> {
    let folder = folder.display();
    vec![
        ("EJABBERD_CONFIG_PATH", format!("{folder}/ejabberd.yml")),
        ("EJABBERD_LOG_PATH", format!("{folder}/server.log")),
        ("ERL_LIBS", libraries.display().to_string()),
        ("ERL_CRASH_DUMP", format!("{folder}/crash.dump")),
        ("ERL_INETRC", format!("{folder}/inetrc")),
        ("ERL_MAX_PORTS", "65536".to_owned()),
        ("ERL_MAX_ETS_TABLES", "2053".to_owned()),
        ("HOME", folder.to_string()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setting(threads: Option<u32>) -> Setting<'static> {
        Setting {
            folder: Path::new("some/folder"),
            address: "127.0.0.1:4242".parse().unwrap(),
            domain: DOMAIN,
            federation: None,
            threads,
        }
    }

    fn federation() -> Federation {
        Federation {
            listen: "127.0.0.2:4269".parse().unwrap(),
            authority: PathBuf::from("some/ca.pem"),
            more: vec!["more.test".to_owned()],
            hosts: vec![("b.test".to_owned(), "127.0.0.3:4270".parse().unwrap())],
            relay: Some(Relay {
                listen: "127.0.0.2:4285".parse().unwrap(),
                hosts: vec![("b.test".to_owned(), "127.0.0.3:4285".parse().unwrap())],
            }),
        }
    }

    /// Both servers of a kind insist on encryption and certificates of the run's authority.
    #[test]
    fn federated_servers_check_each_other() {
        let federation = federation();
        let setting = Setting { domain: "a.test", federation: Some(&federation), ..setting(None) };
        let table: toml::Table = toml::from_str(&nuncio(&setting)).unwrap();
        assert_eq!(table["federation"]["hosts"]["b.test"].as_str(), Some("127.0.0.3:4270"));
        assert_eq!(table["federation"]["authorities"][0].as_str(), Some("some/ca.pem"));
        assert_eq!(table["listen"]["s2s"][0].as_str(), Some("127.0.0.2:4269"));
        assert_eq!(table["listen"]["msrp"][0].as_str(), Some("127.0.0.2:4285"));
        assert_eq!(table["msrp"]["hosts"]["b.test"].as_str(), Some("127.0.0.3:4285"));
        let domains = table["domain"].as_array().unwrap();
        let names: Vec<_> = domains.iter().map(|domain| domain["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["a.test", "more.test"]);
        let text = prosody(&setting);
        for wanted in [
            "s2s_secure_auth = true",
            "s2s_require_encryption = true",
            "4269",
            "some/ca.pem",
            "VirtualHost \"a.test\"",
        ] {
            assert!(text.contains(wanted), "{wanted} is missing in {text}");
        }
        assert!(!text.contains("modules_disabled") && !text.contains("dialback"), "{text}");
        assert!(prosody_hosts(&federation).contains("[\"b.test\"] = { \"127.0.0.3\", 4270 };"));
    }

    #[test]
    fn a_folder_of_prosody_has_no_dots() {
        assert_eq!(escaped("a-b.test"), "a%2db%2etest");
        assert_eq!(escaped(DOMAIN), DOMAIN);
    }

    /// What makes the comparison fair stands in each of them.
    #[test]
    fn every_server_is_configured_alike() {
        for text in [nuncio(&setting(None)), prosody(&setting(None)), ejabberd(&setting(None))] {
            for wanted in ["4242", "127.0.0.1", "some/folder", "localhost", "info"] {
                assert!(text.contains(wanted), "{wanted} is missing in {text}");
            }
            assert!(!text.contains("debug") && !text.contains("carbons") && !text.contains("5222"), "{text}");
        }
        assert!(prosody(&setting(None)).contains("default_iteration_count = 4096"));
        assert!(nuncio(&setting(None)).contains("scram_iterations = 4096"));
        assert!(ejabberd(&setting(None)).contains("shaper: none"));
        assert!(!prosody(&setting(None)).contains("limits"));
    }

    #[test]
    fn nuncios_configuration_is_toml() {
        let one: toml::Table = toml::from_str(&nuncio(&setting(Some(1)))).unwrap();
        assert_eq!(one["runtime"]["threads"].as_integer(), Some(1));
        assert_eq!(one["listen"]["c2s_tls"][0].as_str(), Some("127.0.0.1:4242"));
        let usual: toml::Table = toml::from_str(&nuncio(&setting(None))).unwrap();
        assert!(!usual.contains_key("runtime"));
    }

    #[test]
    fn braces_are_balanced() {
        for text in [prosody(&setting(None)), ejabberd(&setting(None))] {
            for (open, close) in [('{', '}'), ('[', ']'), ('(', ')')] {
                let count = |which: char| text.chars().filter(|&c| c == which).count();
                assert_eq!(count(open), count(close), "{text}");
            }
        }
    }

    #[test]
    fn the_emulator_is_started_as_debian_does() {
        let words = erl(Path::new("some/folder"));
        assert!(words.windows(2).any(|pair| pair == ["+K", "true"]));
        assert!(words.contains(&"\"some/folder/spool\"".to_owned()));
        assert!(erl_environment(Path::new("f"), Path::new("l")).contains(&("ERL_LIBS", "l".to_owned())));
    }
}
