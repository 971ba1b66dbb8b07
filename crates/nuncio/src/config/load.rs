//! Reads `nuncio.toml` and tells every mistake in it: file, line, key, and what would be right.

use std::fmt;
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use super::{Config, options};

/// The configuration cannot be used.
#[derive(Debug)]
pub(crate) struct ConfigError {
    /// The file.
    pub(crate) file: PathBuf,
    /// What is wrong in it; never empty.
    pub(crate) problems: Vec<Problem>,
}

/// One mistake.
#[derive(Debug)]
pub(crate) struct Problem {
    /// Line and column, from 1; none if the file itself cannot be read.
    pub(crate) at: Option<(usize, usize)>,
    /// The key, as a path, if one is concerned.
    pub(crate) key: Option<String>,
    /// What is wrong.
    pub(crate) what: String,
    /// What would be right.
    pub(crate) remedy: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                writeln!(out)?;
            }
            write!(out, "{}", self.file.display())?;
            if let Some((line, column)) = problem.at {
                write!(out, ":{line}:{column}")?;
            }
            write!(out, ": ")?;
            if let Some(key) = &problem.key {
                write!(out, "{key}: ")?;
            }
            write!(out, "{}", problem.what)?;
            if !problem.remedy.is_empty() {
                write!(out, "\n  help: {}", problem.remedy)?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

/// Reads and checks one file.
pub(super) fn file(path: &Path) -> Result<Config, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|error| ConfigError {
        file: path.to_owned(),
        problems: vec![Problem {
            at: None,
            key: None,
            what: format!("cannot be read: {error}"),
            remedy: "name an existing file with --config, or leave it out to start with the defaults"
                .to_owned(),
        }],
    })?;
    let base = path.parent().unwrap_or_else(|| Path::new(""));
    text_of(&text, base).map_err(|problems| ConfigError { file: path.to_owned(), problems })
}

/// Checks the text of a file; relative paths in it start at `base`.
fn text_of(text: &str, base: &Path) -> Result<Config, Vec<Problem>> {
    let tree = DeTable::parse(text).map_err(|error| vec![syntax(text, &error)])?;
    let mut problems = Vec::new();
    unknown_keys(text, "", tree.get_ref(), &mut problems);
    if !problems.is_empty() {
        return Err(problems);
    }
    let mut config: Config = toml::from_str(text).map_err(|error| vec![wrong_type(text, &tree, &error)])?;
    Check { text, tree: tree.get_ref(), problems: &mut problems }.all(&config);
    if !problems.is_empty() {
        return Err(problems);
    }
    let within = |path: &mut PathBuf| {
        if path.is_relative() {
            *path = base.join(&*path);
        }
    };
    within(&mut config.data);
    for domain in &mut config.domain {
        domain.certificate.as_mut().into_iter().chain(domain.key.as_mut()).for_each(within);
    }
    config.tls.client_authorities.iter_mut().for_each(within);
    let msrp = &mut config.msrp;
    msrp.authorities.iter_mut().chain(&mut msrp.certificate).chain(&mut msrp.key).for_each(within);
    let federation = &mut config.federation;
    let files = federation.authorities.iter_mut().chain(&mut federation.revocation_lists);
    files.chain(&mut federation.dns.trust_anchors).chain(&mut federation.posh.authorities).for_each(within);
    Ok(config)
}

fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().map_or(0, |last| last.chars().count()) + 1;
    (line, column)
}

fn syntax(text: &str, error: &toml::de::Error) -> Problem {
    Problem {
        at: error.span().map(|span| position(text, span.start)),
        key: None,
        what: format!("is not valid TOML: {}", error.message().lines().next().unwrap_or_default()),
        remedy: "a line is `key = value`, a table begins with `[name]`, text stands in quotes".to_owned(),
    }
}

fn wrong_type(text: &str, tree: &toml::Spanned<DeTable<'_>>, error: &toml::de::Error) -> Problem {
    let span = error.span();
    let key = span.as_ref().and_then(|span| key_at("", tree.get_ref(), span.start));
    let remedy = key
        .as_deref()
        .and_then(|key| options::OPTIONS.iter().find(|option| option.key == key))
        .map_or_else(String::new, |option| format!("{}: {}", option.key, option.about));
    Problem {
        at: span.map(|span| position(text, span.start)),
        key,
        what: error.message().trim_end().to_owned(),
        remedy,
    }
}

/// The path of the value that spans `offset`. A table may have no span of its own: dotted keys make it.
fn key_at(prefix: &str, table: &DeTable<'_>, offset: usize) -> Option<String> {
    for (name, value) in table.iter() {
        let path = join(prefix, name.get_ref());
        let inside = match value.get_ref() {
            DeValue::Table(inner) => key_at(&path, inner, offset),
            DeValue::Array(items) => items
                .iter()
                .filter_map(|item| item.get_ref().as_table())
                .find_map(|inner| key_at(&format!("{path}[]"), inner, offset)),
            _ => None,
        };
        if inside.is_some() {
            return inside;
        }
        if value.span().contains(&offset) || value.span().start == offset {
            return Some(path);
        }
    }
    None
}

fn join(prefix: &str, name: &str) -> String {
    if prefix.is_empty() { name.to_owned() } else { format!("{prefix}.{name}") }
}

fn unknown_keys(text: &str, prefix: &str, table: &DeTable<'_>, problems: &mut Vec<Problem>) {
    if prefix == "extensions" {
        extensions(text, table, problems);
        return;
    }
    if prefix == "federation.hosts" || prefix == "msrp.hosts" {
        // Its keys are domains.
        return;
    }
    let known = options::below(prefix);
    for (name, value) in table.iter() {
        let path = join(prefix, name.get_ref());
        if !known.contains(&name.get_ref().as_ref()) {
            let remedy = match nearest(name.get_ref(), &known) {
                Some(near) => format!("did you mean `{}`?", join(prefix, near)),
                None => format!("known here: {}", known.join(", ")),
            };
            problems.push(Problem {
                at: Some(position(text, name.span().start)),
                key: Some(path),
                what: "is not a key that Nuncio knows".to_owned(),
                remedy,
            });
            continue;
        }
        match value.get_ref() {
            DeValue::Table(_) if !options::below(&format!("{path}[]")).is_empty() => problems.push(Problem {
                at: Some(position(text, name.span().start)),
                what: "is a list of tables".to_owned(),
                remedy: format!("write `[[{path}]]`"),
                key: Some(path),
            }),
            DeValue::Table(inner) => unknown_keys(text, &path, inner, problems),
            DeValue::Array(items) => {
                for inner in items.iter().filter_map(|item| item.get_ref().as_table()) {
                    unknown_keys(text, &format!("{path}[]"), inner, problems);
                }
            }
            _ => {}
        }
    }
}

/// Names of extensions, and their switches. Each checks the rest of its own table when it starts.
fn extensions(text: &str, table: &DeTable<'_>, problems: &mut Vec<Problem>) {
    let known: Vec<_> = nuncio_extensions::ALL.iter().map(|extension| extension.name).collect();
    for (name, value) in table.iter() {
        let key = join("extensions", name.get_ref());
        let mut say = |offset, key, what: String, remedy| {
            problems.push(Problem { at: Some(position(text, offset)), key: Some(key), what, remedy });
        };
        if !known.contains(&name.get_ref().as_ref()) {
            let remedy = match nearest(name.get_ref(), &known) {
                Some(near) => format!("did you mean `extensions.{near}`?"),
                None => format!("there are: {}", known.join(", ")),
            };
            say(name.span().start, key, "is not an extension that Nuncio has".to_owned(), remedy);
            continue;
        }
        let Some(own) = value.get_ref().as_table() else {
            let remedy = format!("write `[{key}]` and its keys below");
            say(value.span().start, key, "is not a table".to_owned(), remedy);
            continue;
        };
        if let Some((_, switch)) = own.iter().find(|(name, _)| name.get_ref() == "enabled")
            && !matches!(switch.get_ref(), DeValue::Boolean(_))
        {
            let remedy = "take true or false".to_owned();
            say(switch.span().start, join(&key, "enabled"), "is no truth value".to_owned(), remedy);
        }
    }
}

fn nearest<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    known
        .iter()
        .map(|candidate| (distance(word, candidate), *candidate))
        .filter(|(distance, candidate)| *distance <= candidate.len().div_ceil(3))
        .min()
        .map(|(_, candidate)| candidate)
}

/// Levenshtein's distance, in bytes.
fn distance(one: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.bytes().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, b) in other.bytes().enumerate() {
            let above = row[j + 1];
            row[j + 1] = (diagonal + usize::from(a != b)).min(above + 1).min(row[j] + 1);
            diagonal = above;
        }
    }
    row[other.len()]
}

/// Checks values that have the right type.
struct Check<'a, 't> {
    text: &'a str,
    tree: &'a DeTable<'t>,
    problems: &'a mut Vec<Problem>,
}

impl Check<'_, '_> {
    fn all(mut self, config: &Config) {
        let limits = &config.limits;
        self.between("limits.stanza_bytes", limits.stanza_bytes as u64, 10_000, 64 << 20);
        self.between("limits.depth", limits.depth.into(), 16, 1_000);
        self.between("limits.attributes", limits.attributes.into(), 8, 1_000);
        self.between("limits.before_login_bytes", limits.before_login_bytes as u64, 4_096, 1 << 20);
        self.between("limits.failed_logins_per_stream", limits.failed_logins_per_stream.into(), 2, 5);
        self.between("limits.bytes_per_second", limits.bytes_per_second.into(), 1_000, u32::MAX.into());
        self.between("limits.queue_bytes", limits.queue_bytes as u64, limits.stanza_bytes as u64, 1 << 30);
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
            self.say(
                "log.level",
                0,
                &format!("`{}` is no filter", config.log.level),
                crate::logging::FILTERS,
            );
        }
        self.federation(config);
        for (key, what, remedy) in super::msrp::problems(config) {
            self.say(key, 0, &what, &remedy);
        }
        self.domains(config);
    }

    fn federation(&mut self, config: &Config) {
        let federation = &config.federation;
        self.between("federation.queue_stanzas", federation.queue_stanzas as u64, 1, 1_000_000);
        self.between("federation.queue_bytes", federation.queue_bytes as u64, 10_000, 1 << 30);
        self.between("federation.queue_seconds", federation.queue_seconds, 1, 86_400);
        self.between("federation.renew_seconds", federation.renew_seconds, 0, 3_600);
        self.between("federation.resume_seconds", federation.resume_seconds, 0, 3_600);
        self.between("federation.unused_seconds", federation.unused_seconds, 10, 86_400);
        let policies = federation.peer.iter().map(|peer| peer.require.as_ref()).enumerate();
        let policies =
            policies.filter_map(|(index, require)| Some(("federation.peer[].require", index, require?)));
        for (key, index, require) in policies.chain([("federation.require", 0, &federation.require)]) {
            if let Err(why) = require.parse::<nuncio_dna::Expression>() {
                self.say(
                    key,
                    index,
                    &why.to_string(),
                    "take `authenticated`, or see the manual's page proofs.md",
                );
            }
        }
        let peers = federation
            .peer
            .iter()
            .enumerate()
            .map(|(index, peer)| ("federation.peer[].domain", index, &peer.domain));
        let listed =
            |key, list: &'_ Vec<String>| list.iter().map(|one| (key, 0, one.clone())).collect::<Vec<_>>();
        let lists =
            [listed("federation.allow", &federation.allow), listed("federation.deny", &federation.deny)];
        let peers = peers.map(|(key, index, domain)| (key, index, domain.clone()));
        for (key, index, pattern) in peers.chain(lists.into_iter().flatten()) {
            if pattern.parse::<nuncio_dna::Pattern>().is_err() {
                self.say(
                    key,
                    index,
                    &format!("`{pattern}` is no domain"),
                    "take `them.example`, `*.example` or `*`",
                );
            }
        }
        for (index, peer) in federation.peer.iter().enumerate() {
            for pin in peer.pins.iter().filter(|pin| pin.parse::<nuncio_dna::Pin>().is_err()) {
                self.say(
                    "federation.peer[].pins",
                    index,
                    &format!("`{pin}`"),
                    "take the SHA-256 of a certificate or key: 64 hexadecimal digits",
                );
            }
        }
        for (domain, servers) in &federation.hosts {
            let good = nuncio_xmpp::jid::prepare_domain(domain).is_ok()
                && !servers.all().is_empty()
                && servers.all().iter().all(|one| one.parse::<nuncio_federation::Fixed>().is_ok());
            if !good {
                self.say(
                    "federation.hosts",
                    0,
                    &format!("`{domain}`"),
                    "write `\"them.example\" = \"192.0.2.1:5269\"`",
                );
            }
        }
        for network in &federation.posh.allow_networks {
            if let Err(why) = crate::federation::parse_network(network) {
                self.say(
                    "federation.posh.allow_networks",
                    0,
                    &why.to_string(),
                    "take an address, a slash and a number of bits",
                );
            }
        }
    }

    fn domains(&mut self, config: &Config) {
        if config.domain.is_empty() {
            self.say("domain", 0, "is empty", "add `[[domain]]` with `name = \"example.org\"`");
        }
        let mut names = Vec::new();
        for (index, domain) in config.domain.iter().enumerate() {
            match nuncio_xmpp::jid::prepare_domain(&domain.name) {
                Err(error) => self.say(
                    "domain[].name",
                    index,
                    &format!("`{}` is not a domain: {error}", domain.name),
                    "write it as in addresses: `example.org`",
                ),
                Ok(name) if names.contains(&name) => {
                    self.say(
                        "domain[].name",
                        index,
                        &format!("`{name}` stands twice"),
                        "keep one of the two",
                    );
                }
                Ok(name) => names.push(name),
            }
            match (&domain.certificate, &domain.key) {
                (Some(_), None) => self.say(
                    "domain[].certificate",
                    index,
                    "has no key beside it",
                    "add `key = \"FILE\"` with the certificate's private key",
                ),
                (None, Some(_)) => self.say(
                    "domain[].key",
                    index,
                    "has no certificate beside it",
                    "add `certificate = \"FILE\"` with the chain, leaf first",
                ),
                _ => {}
            }
            for admin in &domain.admins {
                if !nuncio_xmpp::jid::Jid::new(admin).is_ok_and(|jid| jid.is_bare() && jid.local().is_some())
                {
                    self.say(
                        "domain[].admins",
                        index,
                        &format!("`{admin}` is not an account's address"),
                        "write it as `user@example.org`",
                    );
                }
            }
        }
    }

    fn between(&mut self, key: &str, value: u64, least: u64, most: u64) {
        if value < least || value > most {
            self.say(key, 0, &format!("is {value}"), &format!("take a number from {least} to {most}"));
        }
    }

    fn say(&mut self, key: &str, index: usize, what: &str, remedy: &str) {
        self.problems.push(Problem {
            at: find(self.tree, key, index).map(|offset| position(self.text, offset)),
            key: Some(key.to_owned()),
            what: what.to_owned(),
            remedy: remedy.to_owned(),
        });
    }
}

/// Where the key's value stands; of an array of tables, in the table number `index`.
fn find(tree: &DeTable<'_>, key: &str, index: usize) -> Option<usize> {
    let (head, rest) = key.split_once('.').map_or((key, None), |(head, rest)| (head, Some(rest)));
    let (_, value) = tree.iter().find(|(name, _)| name.get_ref() == head.trim_end_matches("[]"))?;
    let inner = match value.get_ref() {
        DeValue::Table(inner) => Some(inner),
        DeValue::Array(items) if head.ends_with("[]") => items.get(index)?.get_ref().as_table(),
        _ => None,
    };
    match (rest, inner) {
        (Some(rest), Some(inner)) => find(inner, rest, index),
        _ => Some(value.span().start),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(text: &str) -> Vec<String> {
        match text_of(text, Path::new("")) {
            Ok(_) => Vec::new(),
            Err(problems) => {
                let error = ConfigError { file: PathBuf::from("nuncio.toml"), problems };
                error.to_string().lines().map(str::to_owned).collect()
            }
        }
    }

    #[test]
    fn mistakes_name_file_line_key_and_remedy() {
        let cases: &[(&str, &[&str])] = &[
            (
                "[limits]\nstanza_byte = 1\n",
                &[
                    "nuncio.toml:2:1: limits.stanza_byte: is not a key that Nuncio knows",
                    "  help: did you mean `limits.stanza_bytes`?",
                ],
            ),
            (
                "[limits]\nstanza_bytes = 9999\n",
                &[
                    "nuncio.toml:2:16: limits.stanza_bytes: is 9999",
                    "  help: take a number from 10000 to 67108864",
                ],
            ),
            (
                "[[domain]]\nname = \"a.example\"\n[[domain]]\nname = \"A.example\"\n",
                &["nuncio.toml:4:8: domain[].name: `a.example` stands twice", "  help: keep one of the two"],
            ),
            (
                "[[domain]]\nname = \"a.example\"\nkey = \"k\"\n",
                &[
                    "nuncio.toml:3:7: domain[].key: has no certificate beside it",
                    "  help: add `certificate = \"FILE\"` with the chain, leaf first",
                ],
            ),
            (
                "[[domain]]\nname = \"a b\"\n",
                &[
                    "nuncio.toml:2:8: domain[].name: `a b` is not a domain",
                    "  help: write it as in addresses",
                ],
            ),
            (
                "zzz = 1\n",
                &["nuncio.toml:1:1: zzz: is not a key that Nuncio knows", "  help: known here: data, domain"],
            ),
            ("[limits]\ndepth = \"deep\"\n", &["nuncio.toml:2:9: limits.depth: ", "  help: limits.depth: "]),
            (
                "[extensions.carbon]\nenabled = true\n",
                &[
                    "nuncio.toml:1:13: extensions.carbon: is not an extension that Nuncio has",
                    "  help: did you mean `extensions.carbons`?",
                ],
            ),
            (
                "[extensions.carbons]\nenabled = 3\n",
                &[
                    "nuncio.toml:2:11: extensions.carbons.enabled: is no truth value",
                    "  help: take true or false",
                ],
            ),
            ("limits.depth = \"deep\"\n", &["nuncio.toml:1:16: limits.depth: ", "  help: limits.depth: "]),
            ("[listen]\nc2s = [\"nonsense\"]\n", &["nuncio.toml:2:", "  help: listen.c2s: Addresses"]),
            ("limits = \n", &["nuncio.toml:1:", "  help: a line is"]),
        ];
        for (text, expected) in cases {
            let found = problems(text);
            assert_eq!(found.len(), expected.len(), "{text}: {found:?}");
            for (found, expected) in found.iter().zip(*expected) {
                assert!(found.starts_with(expected), "{text}: {found:?} does not begin with {expected:?}");
            }
        }
    }

    #[test]
    fn every_mistake_is_told_at_once() {
        assert_eq!(problems("[limits]\ndepth = 1\nattributes = 1\n").len(), 4);
    }

    #[test]
    fn paths_start_at_the_file() {
        let config = text_of("data = \"d\"\n", Path::new("/etc/nuncio")).unwrap();
        assert_eq!(config.data, Path::new("/etc/nuncio/d"));
    }

    #[test]
    fn the_effective_values_read_back() {
        let shown = toml::to_string_pretty(&Config::default()).unwrap();
        assert_eq!(problems(&shown), Vec::<String>::new());
    }
}
