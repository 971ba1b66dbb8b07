//! Every key of `nuncio.toml` with its meaning. The manual's table and the check for unknown keys are made from this list.

use std::fmt::Write as _;

use super::Config;

/// One key.
pub(crate) struct Opt {
    /// Its path; `[]` marks an array of tables.
    pub(crate) key: &'static str,
    /// What it means, its unit and its bounds.
    pub(crate) about: &'static str,
}

const fn opt(key: &'static str, about: &'static str) -> Opt {
    Opt { key, about }
}

/// The keys in the order of the manual. `extensions.NAME` tables are described by the extensions.
pub(crate) const OPTIONS: &[Opt] = &[
    opt("data", "Folder of the store, the local CA and the control socket."),
    opt("domain[].name", "A domain that is served, as it stands in addresses."),
    opt(
        "domain[].certificate",
        "PEM file with the certificate chain, leaf first. Absent: the local CA makes one.",
    ),
    opt("domain[].key", "PEM file with the certificate's private key."),
    opt(
        "domain[].hosted",
        "Whether the certificate may be for another name, the host's, because the domain publishes DANE or POSH or signs its delegation. Else that is an error.",
    ),
    opt("domain[].admins", "Accounts that may use the administrators' commands (XEP-0133)."),
    opt(
        "domain[].refuse",
        "What the domain refuses as a whole, from and to everybody: `messages`, `presence`. The answer is `not-allowed`.",
    ),
    opt("domain[].contacts.abuse", "Addresses for abuse reports (XEP-0157), as URIs."),
    opt("domain[].contacts.admin", "Addresses of the administrators, as URIs."),
    opt("domain[].contacts.feedback", "Addresses for feedback, as URIs."),
    opt("domain[].contacts.sales", "Addresses for sales, as URIs."),
    opt("domain[].contacts.security", "Addresses for security reports, as URIs."),
    opt("domain[].contacts.support", "Addresses for support, as URIs."),
    opt(
        "listen.c2s",
        "Addresses for clients with STARTTLS; port 0 picks one and the log says which. Default: port 5222, on loopback if only localhost is served.",
    ),
    opt("listen.c2s_tls", "Addresses for clients with direct TLS (XEP-0368). Default: port 5223, likewise."),
    opt(
        "listen.s2s",
        "Addresses for other servers with STARTTLS. Default: port 5269; none where `federation.enabled` is false.",
    ),
    opt(
        "listen.s2s_tls",
        "Addresses for other servers with direct TLS (XEP-0368). Default: port 5270, likewise.",
    ),
    opt(
        "listen.msrp",
        "Addresses of the MSRP relay, TLS. Default: port 2855, likewise; none where `msrp.enabled` is false.",
    ),
    opt(
        "listen.msrp_websocket",
        "Addresses of the MSRP relay for WebSocket clients (RFC 7977), TLS, path `/msrp`. Default: none.",
    ),
    opt("listen.http", "Addresses of /metrics and /healthz. Default: 127.0.0.1:5280."),
    opt(
        "runtime.threads",
        "Threads that connections run on, 1 to 1024. Default: as many as there are cores.",
    ),
    opt(
        "log.level",
        "Filter of the log: `error`, `warn`, `info`, `debug`, `trace`, or per part, as in `info,nuncio_stream=debug`.",
    ),
    opt("log.format", "`text` for people, `json` for machines."),
    opt(
        "tls.client_authorities",
        "PEM files of authorities whose client certificates may log in by SASL EXTERNAL. Empty: no certificate is asked for.",
    ),
    opt(
        "federation.enabled",
        "Whether this server talks to others. Default: unless it serves only `localhost`. See [federation.md](federation.md).",
    ),
    opt(
        "federation.require",
        "What every peer must prove: an expression over proofs, or a level of XEP-0238. See [proofs.md](proofs.md).",
    ),
    opt("federation.allow", "If not empty, only these domains are talked to: `them.example`, `*.example`."),
    opt("federation.deny", "These domains are not talked to, whatever they prove."),
    opt(
        "federation.peer[].domain",
        "Whom a rule is for: a domain, `*.` and a domain, or `*`. The most specific counts.",
    ),
    opt("federation.peer[].require", "What it must prove. Absent: `federation.require`."),
    opt(
        "federation.peer[].ignore_dane",
        "Whether its TLSA records do not count: for a peer that broke its own.",
    ),
    opt(
        "federation.peer[].pins",
        "SHA-256 of certificates or keys that are accepted as they are, in hexadecimal digits.",
    ),
    opt(
        "federation.peer[].posh_stale_seconds",
        "How long its POSH documents count beyond their expiry while its web server fails.",
    ),
    opt(
        "federation.authorities",
        "PEM files of authorities that vouch for servers. Empty: the operating system's.",
    ),
    opt("federation.revocation_lists", "Files of revocation lists of authorities, DER or PEM."),
    opt(
        "federation.tls",
        "`required`, or `optional` for peers that have none and a policy that lets them in.",
    ),
    opt(
        "federation.dialback",
        "Whether dialback is offered and used (XEP-0220). What it is worth, the policy says.",
    ),
    opt("federation.bidi", "Whether streams go both ways where the peer can (XEP-0288)."),
    opt("federation.queue_stanzas", "Stanzas that wait for one pair of domains; more are returned."),
    opt("federation.queue_bytes", "Bytes that wait for one pair of domains; more are returned."),
    opt("federation.queue_seconds", "How long a stanza waits for a connection before it is returned."),
    opt("federation.renew_seconds", "How long before its end a proof is renewed."),
    opt(
        "federation.resume_seconds",
        "How long after the loss of its connection a stream may be resumed (XEP-0198); 0 for never.",
    ),
    opt("federation.unused_seconds", "A stream that has carried nothing for so long is closed."),
    opt(
        "federation.hosts",
        "Where domains are, whatever DNS says: `\"them.example\" = \"192.0.2.1:5269\"`, a list of such, `tls:` before an address for direct TLS. DNS and POSH then prove nothing about them.",
    ),
    opt(
        "federation.dns.servers",
        "Recursive name servers, each an IP address with its port, as in `127.0.0.1:53`. Empty: the operating system's.",
    ),
    opt(
        "federation.dns.validate",
        "Who checks DNSSEC: `local` (this server), `trust-ad` (a name server on a loopback address), `off`.",
    ),
    opt(
        "federation.dns.trust_anchors",
        "File with DS or DNSKEY records in place of the root's keys, for `local`.",
    ),
    opt("federation.posh.enabled", "Whether POSH documents of domains are looked for (RFC 7711)."),
    opt(
        "federation.posh.authorities",
        "PEM files of authorities that vouch for web servers. Empty: the operating system's.",
    ),
    opt(
        "federation.posh.allow_networks",
        "Networks whose web servers may be asked although they are not public, as in `10.0.0.0/8`.",
    ),
    opt("federation.posh.port", "Port of web servers where an address names none."),
    opt("msrp.enabled", "Whether there is an MSRP relay (RFC 4976). See [msrp.md](msrp.md)."),
    opt("msrp.host", "The host in the relay's URIs: a name that leads to it. Default: the first domain."),
    opt("msrp.port", "The port in the relay's URIs. Default: the first that is listened on."),
    opt("msrp.websocket_port", "The port for WebSocket in URIs. Default: the first that is listened on."),
    opt(
        "msrp.certificate",
        "PEM file with the certificate chain of `msrp.host`. Absent: that of the domain of this name, or the local CA makes one.",
    ),
    opt("msrp.key", "PEM file with its private key."),
    opt(
        "msrp.algorithms",
        "Hashes of Digest that are offered, the strongest first: `sha-256`, `md5`. Without `md5` old clients cannot log in.",
    ),
    opt(
        "msrp.credentials_seconds",
        "For how long credentials are good that a client fetches by XMPP (XEP-0215). Its connection ends with them.",
    ),
    opt(
        "msrp.expires_least",
        "The least time that a URI may be asked for, in seconds; no more than `msrp.credentials_seconds`.",
    ),
    opt(
        "msrp.expires_default",
        "For how long a URI is good when no time is asked for, in seconds, and never longer than the credentials. Default: `msrp.expires_most`, because clients that ask for no time do not renew.",
    ),
    opt("msrp.expires_most", "The most time that a URI may be asked for, in seconds."),
    opt("msrp.idle_seconds", "Silence after which the connection of a client is closed."),
    opt("msrp.peer_idle_seconds", "Silence after which any other connection is closed."),
    opt("msrp.uris_per_account", "URIs that one account may have at once."),
    opt("msrp.connects_per_account", "Connections a minute that the relay makes on behalf of one account."),
    opt(
        "msrp.connects_per_host",
        "Connections a minute that the relay makes to one port of one host; to all its ports four times as many.",
    ),
    opt(
        "msrp.connections_per_account",
        "Connections that the relay has made on behalf of one account, at once.",
    ),
    opt("msrp.connections_out", "Connections that the relay has made, at once."),
    opt(
        "msrp.bytes_per_second",
        "Bytes a second that one connection may send, at least 1000; it is slowed. 0 for any.",
    ),
    opt(
        "msrp.buffer_bytes",
        "Bytes of one session that wait for a slow reader before its sender is held, 16384 to 16777216, no more than `msrp.buffers_bytes`.",
    ),
    opt(
        "msrp.buffers_bytes",
        "Bytes that wait for all slow readers together, at least 1048576. Beyond them each sender is held with its first piece.",
    ),
    opt(
        "msrp.hold_seconds",
        "How long a session whose reader is slow may hold up others that come through the same relay, before it is given up with 408; not each time anew.",
    ),
    opt("msrp.clear", "Whether next hops whose URI is `msrp:` are connected to, in clear."),
    opt("msrp.relays", "If not empty, only these relays may log clients in: `relay.example`, `*.example`."),
    opt(
        "msrp.authorities",
        "PEM files of authorities that vouch for next hops and relays. Empty: `federation.authorities`.",
    ),
    opt(
        "msrp.hosts",
        "Where hosts of next hops are, whatever DNS says: `\"relay.example\" = \"192.0.2.1:2855\"`, the name in lower case. DNS then proves nothing about them.",
    ),
    opt(
        "msrp.allow_networks",
        "Networks that next hops may be in although they are not public, as in `10.0.0.0/8`. Loopback too where only localhost is served.",
    ),
    opt("accounts.scram_iterations", "PBKDF2 iterations of new passwords, 4096 to 10000000."),
    opt("accounts.plain", "Whether SASL PLAIN is offered. Only ever inside TLS."),
    opt("accounts.sessions", "Sessions that an account may have at once."),
    opt("limits.stanza_bytes", "Size of one stanza after login, in bytes, at least 10000 (RFC 6120 §13.12)."),
    opt("limits.depth", "Depth of one stanza, in elements, at least 16."),
    opt("limits.attributes", "Attributes of one element, at least 8."),
    opt("limits.before_login_bytes", "Size of one element before login, in bytes, at least 4096."),
    opt("limits.connections_per_address", "Connections of one address (IPv6: of one /64)."),
    opt("limits.unauthenticated_per_address", "Connections of one address that have not logged in."),
    opt(
        "limits.connects_per_second",
        "New connections a second of one address (IPv6: of one /64), four times as many at once.",
    ),
    opt("limits.connections", "Connections altogether."),
    opt(
        "limits.failed_logins_per_account",
        "Failed logins of one account in five minutes; more are refused unread.",
    ),
    opt(
        "limits.failed_logins_per_address",
        "Failed logins of one address (IPv6: of one /64) in five minutes.",
    ),
    opt(
        "limits.failed_logins_per_stream",
        "Failed logins on one stream before it is closed, 2 to 5 (RFC 6120 §6.4.5).",
    ),
    opt("limits.bytes_per_second", "Bytes a second that one connection may send; it is slowed, not ended."),
    opt("limits.stanzas_per_second", "Stanzas a second that one session may send; it is slowed, not ended."),
    opt("limits.queue_stanzas", "Stanzas that wait for a slow reader before its connection is ended."),
    opt("limits.queue_bytes", "Bytes that wait for a slow reader before its connection is ended."),
    opt("limits.offline_messages", "Offline messages of one account; more are returned to their senders."),
    opt("limits.roster_items", "Roster items of one account."),
    opt(
        "limits.subscription_requests",
        "Subscription requests that wait for one account's answer; more are dropped.",
    ),
    opt("limits.directed_presence", "Addresses that one session may have sent directed presence to."),
    opt("limits.idle_accounts", "Accounts without sessions that are kept in memory."),
    opt("timeouts.login_seconds", "From the connection to the bound resource."),
    opt("timeouts.close_seconds", "From our closing tag to the peer's (RFC 6120 §4.4)."),
    opt("timeouts.write_seconds", "A peer that takes nothing for so long is gone."),
    opt(
        "timeouts.idle_seconds",
        "Silence after which a client is asked whether it is still there; it has as long to answer, but at most 30 seconds.",
    ),
    opt("timeouts.resume_seconds", "How long a session without a connection waits to be resumed (XEP-0198)."),
    opt(
        "timeouts.reset_seconds",
        "The window over which `<reset/>` is spread when keys change (RFC 6120 §4.9.3.16).",
    ),
];

/// The known keys directly below `table` (a path as in [`OPTIONS`], empty for the root), tables included.
pub(crate) fn below(table: &str) -> Vec<&'static str> {
    let mut found = Vec::new();
    for option in OPTIONS {
        let rest = if table.is_empty() {
            Some(option.key)
        } else {
            option.key.strip_prefix(table).and_then(|rest| rest.strip_prefix('.'))
        };
        if let Some(rest) = rest {
            let name = rest.split(['.', '[']).next().unwrap_or(rest);
            if !found.contains(&name) {
                found.push(name);
            }
        }
    }
    if table.is_empty() {
        found.push("extensions");
    }
    found
}

/// The manual's table of options, in Markdown, with the defaults as they are in the code.
pub(crate) fn table() -> String {
    let defaults = toml::Table::try_from(Config::default()).unwrap_or_default();
    let mut out = String::from("| key | default | meaning |\n|---|---|---|\n");
    for option in OPTIONS {
        let default = default_of(&defaults, option.key).unwrap_or_default();
        let _ = writeln!(out, "| `{}` | {} | {} |", option.key, default, option.about.replace('|', "\\|"));
    }
    out
}

fn default_of(defaults: &toml::Table, key: &str) -> Option<String> {
    let mut value = toml::Value::Table(defaults.clone());
    for part in key.split('.') {
        value = match part.strip_suffix("[]") {
            Some(array) => value.get(array)?.get(0)?.clone(),
            None => value.get(part)?.clone(),
        };
    }
    Some(format!("`{value}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(prefix: &str, value: &toml::Value, out: &mut Vec<String>) {
        match value {
            toml::Value::Table(table) => {
                for (name, value) in table {
                    let path = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
                    paths(&path, value, out);
                }
            }
            toml::Value::Array(items) if items.first().is_some_and(toml::Value::is_table) => {
                paths(&format!("{prefix}[]"), &items[0], out);
            }
            _ => out.push(prefix.to_owned()),
        }
    }

    #[test]
    fn every_effective_key_is_described() {
        let mut found = Vec::new();
        paths("", &toml::Value::Table(toml::Table::try_from(Config::default()).unwrap()), &mut found);
        for key in found {
            assert!(OPTIONS.iter().any(|option| option.key == key), "{key} is not in OPTIONS");
        }
    }

    #[test]
    fn keys_are_listed_below_their_table() {
        assert!(below("").contains(&"limits"));
        assert!(below("").contains(&"domain"));
        assert!(below("domain[]").contains(&"certificate"));
        assert!(below("domain[].contacts").contains(&"abuse"));
        assert!(!below("limits").contains(&"login_seconds"));
    }
}
