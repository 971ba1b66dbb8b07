//! Checks values that have the right type.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use nuncio_dna::{Expression, Pattern, Pin};
use nuncio_net::dns::DnsConfig;
use nuncio_xmpp::jid;

use super::federation::{Peer, Validate};
use super::number::Number;
use super::source::{At, Source};
use super::{Config, Domain};

/// Says everything that is wrong with the values.
pub(super) fn check(config: &Config, source: &mut Source) {
    Check { config, source }.all();
}

struct Check<'a> {
    config: &'a Config,
    source: &'a mut Source,
}

impl Check<'_> {
    fn all(mut self) {
        let config = self.config;
        let limits = &config.limits;
        self.between("limits.stanza_bytes", limits.stanza_bytes as u64, 10_000, 64 << 20);
        self.between("limits.depth", limits.depth.into(), 16, 1_000);
        self.between("limits.attributes", limits.attributes.into(), 8, 1_000);
        self.between("limits.before_login_bytes", limits.before_login_bytes as u64, 4_096, 1 << 20);
        self.between("limits.failed_logins_per_stream", limits.failed_logins_per_stream.into(), 2, 5);
        self.between("limits.bytes_per_second", limits.bytes_per_second.into(), 1_000, u32::MAX.into());
        Number::new("limits.queue_bytes", limits.queue_bytes as u64, 1, 1 << 30)
            .least(limits.stanza_bytes as u64, "limits.stanza_bytes")
            .check(self.source);
        for (key, value) in [
            ("limits.connections_per_address", limits.connections_per_address),
            ("limits.unauthenticated_per_address", limits.unauthenticated_per_address),
            ("limits.connects_per_second", limits.connects_per_second),
            ("limits.connections", limits.connections),
            ("limits.failed_logins_per_account", limits.failed_logins_per_account),
            ("limits.failed_logins_per_address", limits.failed_logins_per_address),
            ("limits.stanzas_per_second", limits.stanzas_per_second),
            ("accounts.sessions", config.accounts.sessions),
        ] {
            self.between(key, value.into(), 1, u32::MAX.into());
        }
        self.between("limits.queue_stanzas", limits.queue_stanzas as u64, 16, 1_000_000);
        if let Some(threads) = config.runtime.threads {
            self.between("runtime.threads", threads.into(), 1, 1_024);
        }
        self.between("accounts.scram_iterations", config.accounts.scram_iterations.into(), 4_096, 10_000_000);
        let timeouts = &config.timeouts;
        for (key, value) in [
            ("timeouts.login_seconds", timeouts.login_seconds),
            ("timeouts.close_seconds", timeouts.close_seconds),
            ("timeouts.write_seconds", timeouts.write_seconds),
            ("timeouts.idle_seconds", timeouts.idle_seconds),
        ] {
            self.between(key, value, 1, 86_400);
        }
        self.between("timeouts.resume_seconds", timeouts.resume_seconds, 0, 86_400);
        self.between("timeouts.reset_seconds", timeouts.reset_seconds, 0, 86_400);
        if !crate::logging::is_filter(&config.log.level) {
            let what = format!("`{}` is no filter", config.log.level);
            self.source.say(&At::key("log.level"), what, crate::logging::FILTERS);
        }
        self.domains();
        self.federation();
        self.peers();
        self.hosts();
        self.dns();
        self.posh();
        super::msrp::check(config, self.source);
        super::listeners::check(config, self.source);
    }

    fn federation(&mut self) {
        let federation = &self.config.federation;
        self.between("federation.queue_stanzas", federation.queue_stanzas as u64, 1, 1_000_000);
        self.between("federation.queue_bytes", federation.queue_bytes as u64, 10_000, 1 << 30);
        self.between("federation.queue_seconds", federation.queue_seconds, 1, 86_400);
        self.between("federation.renew_seconds", federation.renew_seconds, 0, 3_600);
        self.between("federation.resume_seconds", federation.resume_seconds, 0, 3_600);
        self.between("federation.unused_seconds", federation.unused_seconds, 10, 86_400);
        self.require(&At::key("federation.require"), &federation.require);
        for (key, list) in [("federation.allow", &federation.allow), ("federation.deny", &federation.deny)] {
            for (index, pattern) in list.iter().enumerate() {
                self.pattern(&At::key(key).nth(index), pattern);
            }
        }
    }

    fn require(&mut self, at: &At, require: &str) {
        if let Err(why) = require.parse::<Expression>() {
            self.source.say(
                at,
                format!("`{require}`: {why}"),
                "take `authenticated`, or see the manual's page proofs.md",
            );
        }
    }

    fn pattern(&mut self, at: &At, pattern: &str) -> Option<Pattern> {
        let parsed = pattern.parse();
        if let Err(why) = &parsed {
            let remedy = "take `them.example`, `*.example` for all below it, or `*`";
            self.source.say(at, format!("`{pattern}` is {why}"), remedy);
        }
        parsed.ok()
    }

    fn peers(&mut self) {
        let mut seen: HashMap<Pattern, usize> = HashMap::new();
        for (index, peer) in self.config.federation.peer.iter().enumerate() {
            let at = |key: &str| At::key("federation.peer").nth(index).below(key);
            let Peer { domain, require, pins, .. } = peer;
            if domain.is_empty() {
                let remedy = "add `domain = \"them.example\"`, or `*.example`, or `*`";
                self.source.say(&at("domain"), "is missing, so the rule is for nobody", remedy);
            } else if let Some(pattern) = self.pattern(&at("domain"), domain) {
                if matches!(&pattern, Pattern::Exact(own) if self.is_ours(own.as_str())) {
                    let remedy = "name another server's domain, or remove the rule";
                    self.source.say(&at("domain"), format!("`{domain}` is served here"), remedy);
                } else if let Some(first) = seen.insert(pattern, index) {
                    let what =
                        format!("there are two rules for `{domain}`, number {} and {}", first + 1, index + 1);
                    self.source.say(&at("domain"), what, "keep one of the two");
                }
            }
            if let Some(require) = require {
                self.require(&at("require"), require);
            }
            for (place, pin) in pins.iter().enumerate() {
                if pin.parse::<Pin>().is_err() {
                    let digits = pin.chars().filter(char::is_ascii_hexdigit).count();
                    let others = pin.chars().filter(|c| !c.is_ascii_hexdigit() && *c != ':').count();
                    let what = match others {
                        0 => format!("`{pin}` has {digits} hexadecimal digits, not 64"),
                        _ => format!("`{pin}` has other characters than hexadecimal digits and colons"),
                    };
                    let remedy = "take the SHA-256 of their certificate or key, as `nuncio check` shows it: 64 hexadecimal digits";
                    self.source.say(&at("pins").nth(place), what, remedy);
                }
            }
        }
    }

    fn is_ours(&self, domain: &str) -> bool {
        let served = self.config.domain.iter().filter_map(|served| jid::prepare_domain(&served.name).ok());
        let form = |name: &str| jid::to_ascii(name).unwrap_or_else(|| name.to_owned());
        served.into_iter().any(|served| form(&served) == form(domain))
    }

    fn hosts(&mut self) {
        const FORM: &str = "write `\"them.example\" = \"192.0.2.1:5269\"`, or a list of such; `tls:` before an address for direct TLS";
        let mut seen = Vec::new();
        for (domain, servers) in &self.config.federation.hosts {
            let at = At::key("federation.hosts").below(domain);
            match jid::prepare_domain(domain) {
                Err(why) => self.source.say(&at, format!("`{domain}` is no domain: {why}"), FORM),
                Ok(name) if self.is_ours(&name) => self.source.say(
                    &at,
                    format!("`{domain}` is served here, so it is never looked for"),
                    "name another server's domain, or remove the line",
                ),
                Ok(name) if seen.contains(&name) => {
                    self.source.say(&at, format!("`{name}` stands twice"), "keep one of the two");
                }
                Ok(name) => seen.push(name),
            }
            if servers.all().is_empty() {
                self.source.say(&at, "names no server", FORM);
            }
            for (index, server) in servers.all().iter().enumerate() {
                if let Some(what) = bad_server(server) {
                    let at = if servers.is_list() { at.clone().nth(index) } else { at.clone() };
                    self.source.say(&at, format!("`{server}` {what}"), FORM);
                }
            }
        }
    }

    fn dns(&mut self) {
        let dns = &self.config.federation.dns;
        for (index, server) in dns.servers.iter().enumerate().filter(|(_, server)| server.port() == 0) {
            self.source.say(
                &At::key("federation.dns.servers").nth(index),
                format!("`{server}`: nobody listens on port 0"),
                "take the name server's port, 53 mostly",
            );
        }
        if dns.validate != Validate::TrustAd {
            return;
        }
        let system = || DnsConfig::system().map(|system| system.servers).unwrap_or_default();
        let (servers, whose) = match dns.servers.as_slice() {
            [] => (system(), "the operating system's name server"),
            named => (named.to_vec(), "the name server"),
        };
        for server in servers.iter().filter(|server| !server.ip().to_canonical().is_loopback()) {
            self.source.say(
                &At::key("federation.dns.validate"),
                format!("trust-ad believes whatever {whose} {server} says, and it is not on this machine"),
                "name a validating server on a loopback address in federation.dns.servers, or take `local`",
            );
        }
    }

    fn posh(&mut self) {
        let posh = &self.config.federation.posh;
        if posh.port == 0 {
            self.source.say(
                &At::key("federation.posh.port"),
                "is 0",
                "take a port of web servers, 443 mostly",
            );
        }
        for (index, network) in posh.allow_networks.iter().enumerate() {
            if let Err(why) = crate::federation::parse_network(network) {
                self.source.say(
                    &At::key("federation.posh.allow_networks").nth(index),
                    why.to_string(),
                    "write an address, a slash and how many bits count, as in `192.0.2.0/24`",
                );
            }
        }
    }

    fn domains(&mut self) {
        let config = self.config;
        if config.domain.is_empty() {
            self.source.say(&At::key("domain"), "is empty", "add `[[domain]]` with `name = \"example.org\"`");
        }
        let mut names = Vec::new();
        for (index, domain) in config.domain.iter().enumerate() {
            let at = |key: &str| At::key("domain").nth(index).below(key);
            let Domain { name, certificate, key, admins, .. } = domain;
            match jid::prepare_domain(name) {
                _ if name.is_empty() => {
                    self.source.say(&at("name"), "is missing", "add `name = \"example.org\"`");
                }
                Err(error) => self.source.say(
                    &at("name"),
                    format!("`{name}` is not a domain: {error}"),
                    "write it as in addresses: `example.org`",
                ),
                Ok(name) if names.contains(&name) => {
                    self.source.say(&at("name"), format!("`{name}` stands twice"), "keep one of the two");
                }
                Ok(name) => names.push(name),
            }
            match (certificate, key) {
                (Some(_), None) => self.source.say(
                    &at("certificate"),
                    "has no key beside it",
                    "add `key = \"FILE\"` with the certificate's private key",
                ),
                (None, Some(_)) => self.source.say(
                    &at("key"),
                    "has no certificate beside it",
                    "add `certificate = \"FILE\"` with the chain, leaf first",
                ),
                _ => {}
            }
            for (place, admin) in admins.iter().enumerate() {
                if !jid::Jid::new(admin).is_ok_and(|jid| jid.is_bare() && jid.local().is_some()) {
                    self.source.say(
                        &at("admins").nth(place),
                        format!("`{admin}` is not an account's address"),
                        "write it as `user@example.org`",
                    );
                }
            }
        }
    }

    fn between(&mut self, key: &'static str, value: u64, least: u64, most: u64) {
        Number::new(key, value, least, most).check(self.source);
    }
}

/// What is wrong with a server of `[federation.hosts]`.
fn bad_server(text: &str) -> Option<&'static str> {
    if let Ok(fixed) = text.parse::<nuncio_federation::Fixed>() {
        return (fixed.address.port() == 0).then_some("has port 0, where nobody listens");
    }
    let bare = text.strip_prefix("tls:").unwrap_or(text);
    let inner = bare.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(bare);
    Some(match bare.rsplit_once(':') {
        _ if inner.parse::<IpAddr>().is_ok() => "has no port",
        Some((_, port)) if port.parse::<u16>().is_err() => "has no port that is a number up to 65535",
        Some((host, _)) if format!("{host}:1").parse::<SocketAddr>().is_err() => {
            "names no IP address; names are for DNS"
        }
        _ => "is no IP address with a port",
    })
}
