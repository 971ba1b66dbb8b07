//! Reads `nuncio.toml`, and tells every mistake in its keys and types.

use std::io::Read as _;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

use serde::Deserialize as _;
use toml::Spanned;
use toml::de::{DeTable, DeValue, Deserializer};

use super::source::{ConfigError, Problem, Source, position};
use super::{Config, options, values};

/// What was read, with where it stands and what is wrong with it so far.
#[derive(Debug)]
pub(crate) struct Read {
    /// The configuration; defaults in place of values that cannot be used. None if nothing could be made of the text.
    pub(crate) config: Option<Config>,
    /// Where it stands.
    pub(crate) source: Source,
}

impl Read {
    /// What is in force.
    ///
    /// # Errors
    /// All that is wrong.
    pub(super) fn finish(mut self) -> Result<Config, ConfigError> {
        self.source.verdict()?;
        // Nothing is made of a text only if something is wrong in it.
        Ok(self.config.unwrap_or_default())
    }
}

/// Reads and checks one file. Relative paths in it start where it is.
///
/// # Errors
/// It cannot be read. What is wrong in it stands in [`Read::source`].
pub(super) fn file(path: &Path) -> Result<Read, ConfigError> {
    let text = read_text(path).map_err(|what| ConfigError {
        file: Some(path.to_owned()),
        problems: vec![Problem {
            at: None,
            key: None,
            what,
            remedy: "name an existing file of text with --config, or leave it out to start with the defaults"
                .to_owned(),
        }],
    })?;
    let mut source = Source::new(path, text);
    let mut config = parse(&mut source);
    if let Some(config) = &mut config {
        values::check(config, &mut source);
        resolve(config, path.parent().unwrap_or_else(|| Path::new("")));
    }
    Ok(Read { config, source })
}

/// The longest configuration, in bytes.
const MOST: u64 = 4 << 20;

fn read_text(path: &Path) -> Result<String, String> {
    let unread = |error: std::io::Error| format!("cannot be read: {error}");
    // Before it is opened, which waits for a writer where it is a pipe.
    special(&std::fs::metadata(path).map_err(unread)?)?;
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(unread)?;
    file.take(MOST + 1).read_to_end(&mut bytes).map_err(unread)?;
    if bytes.len() as u64 > MOST {
        return Err(format!("is longer than {MOST} bytes"));
    }
    String::from_utf8(bytes).map_err(|error| {
        let good = error.as_bytes().get(..error.utf8_error().valid_up_to()).unwrap_or_default();
        let line = good.iter().filter(|byte| **byte == b'\n').count() + 1;
        format!("is no text in UTF-8: see line {line}")
    })
}

/// Refuses what has no end, or none that is known: anything but a regular file.
///
/// # Errors
/// What it is instead.
pub(super) fn special(found: &std::fs::Metadata) -> Result<(), String> {
    let kind = found.file_type();
    let what = match () {
        () if kind.is_file() => return Ok(()),
        () if kind.is_dir() => "a folder",
        () if kind.is_fifo() => "a pipe",
        () if kind.is_socket() => "a socket",
        () => "a device",
    };
    Err(format!("is {what}, no regular file"))
}

fn parse(source: &mut Source) -> Option<Config> {
    let Source { text, problems, .. } = source;
    let (mut tree, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        problems.extend(errors.iter().map(|error| syntax(text, error)));
        return None;
    }
    unknown_keys(text, "", tree.get_ref(), problems);
    let shape = problems.len();
    // Each error ends an attempt; without the value that it is about, the next shows the next error.
    loop {
        let error = match Config::deserialize(Deserializer::from(tree.clone())) {
            Ok(config) => return Some(config),
            Err(error) => error,
        };
        let problem = wrong_type(text, &tree, &error);
        if problem.key.is_none() || problems.iter().take(shape).all(|said| said.key != problem.key) {
            problems.push(problem);
        }
        let mut found = false;
        let offset = error.span()?.start;
        tree = Spanned::new(tree.span(), without(tree.into_inner(), offset, &mut found));
        if !found {
            return None;
        }
    }
}

/// The table without the innermost value that spans `offset`; says if it was found.
fn without<'i>(table: DeTable<'i>, offset: usize, found: &mut bool) -> DeTable<'i> {
    let kept = table.into_iter().filter_map(|(name, value)| Some((name, unless(value, offset, found)?)));
    kept.collect()
}

fn unless<'i>(value: Spanned<DeValue<'i>>, offset: usize, found: &mut bool) -> Option<Spanned<DeValue<'i>>> {
    let span = value.span();
    let inner = match value.into_inner() {
        DeValue::Table(inner) => DeValue::Table(without(inner, offset, found)),
        DeValue::Array(items) => {
            DeValue::Array(items.into_iter().filter_map(|item| unless(item, offset, found)).collect())
        }
        other => other,
    };
    if !*found && (span.contains(&offset) || span.start == offset) {
        *found = true;
        return None;
    }
    Some(Spanned::new(span, inner))
}

fn resolve(config: &mut Config, base: &Path) {
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
}

fn syntax(text: &str, error: &toml::de::Error) -> Problem {
    Problem {
        at: error.span().map(|span| position(text, span.start)),
        key: None,
        what: format!("is not valid TOML: {}", error.message().lines().next().unwrap_or_default()),
        remedy: "a line is `key = value`, a table begins with `[name]`, text stands in quotes".to_owned(),
    }
}

fn wrong_type(text: &str, tree: &Spanned<DeTable<'_>>, error: &toml::de::Error) -> Problem {
    let span = error.span();
    let key = span.as_ref().and_then(|span| key_at("", tree.get_ref(), span.start));
    // Of a table whose keys are anybody's, the table has the meaning.
    let is_of = |key: &str, option: &str| {
        key.strip_prefix(option).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    let remedy = key
        .as_deref()
        .and_then(|key| {
            let about = options::OPTIONS.iter().filter(|option| is_of(key, option.key));
            about.max_by_key(|option| option.key.len())
        })
        .map_or_else(String::new, |option| format!("{}: {}", option.key, option.about));
    let found = span.clone().and_then(|span| text.get(span)).unwrap_or_default();
    Problem {
        at: span.map(|span| position(text, span.start)),
        key,
        what: in_words(error.message().trim_end(), found),
        remedy,
    }
}

/// What the parser says of a value, without the names of Rust's types.
fn in_words(said: &str, found: &str) -> String {
    if said.contains("socket address") {
        return format!(
            "{found} is no IP address with a port, as `\"192.0.2.1:5222\"` and `\"[2001:db8::1]:5222\"` are"
        );
    }
    for (kind, most) in [
        ("u16", "65535"),
        ("u32", "4294967295"),
        ("u64", "9223372036854775807"),
        ("usize", "9223372036854775807"),
    ] {
        if let Some(rest) = said.strip_suffix(&format!("expected {kind}")) {
            return format!("{rest}expected a whole number from 0 to {most}");
        }
    }
    said.to_owned()
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
    let bare = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-');
    let name = if bare { name.to_owned() } else { format!("{name:?}") };
    if prefix.is_empty() { name } else { format!("{prefix}.{name}") }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, base: &str) -> Read {
        let path = Path::new(base).join("nuncio.toml");
        let mut source = Source::new(&path, text.to_owned());
        let config = parse(&mut source).map(|mut config| {
            values::check(&config, &mut source);
            resolve(&mut config, Path::new(base));
            config
        });
        Read { config, source }
    }

    fn problems(text: &str) -> Vec<String> {
        let verdict = read(text, "").source.verdict();
        verdict.err().map(|error| error.to_string().lines().map(str::to_owned).collect()).unwrap_or_default()
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

    /// Of every kind, in the order of the lines.
    #[test]
    fn every_mistake_is_told_at_once() {
        let text = "[limits]\ndepth = 1\nattribute = 1\nattributes = 1\nconnections = \"many\"\n\
                    [listen]\nc2s = [\"127.0.0.1:1\", \"nonsense\", \"[::1]:2\", 3]\n\
                    [extensions.carbon]\n[[domain]]\nname = \"a b\"\n[federation]\nrequire = 3\ndeny = [\"a b\"]\n";
        let found = problems(text);
        let expected = [
            ("2:9: limits.depth: is 1", "take a number"),
            ("3:1: limits.attribute: is not a key", "did you mean `limits.attributes`?"),
            ("4:14: limits.attributes: is 1", "take a number"),
            ("5:15: limits.connections: invalid type", "limits.connections: "),
            ("7:23: listen.c2s: \"nonsense\" is no IP address", "listen.c2s: "),
            ("7:46: listen.c2s: 3 is no IP address", "listen.c2s: "),
            ("8:13: extensions.carbon: is not", "did you mean"),
            ("10:8: domain[].name: `a b` is not", "write it as"),
            ("12:11: federation.require: invalid type", "federation.require: "),
            ("13:9: federation.deny: `a b` is not a domain", "take `them.example`"),
        ];
        assert_eq!(found.len(), 2 * expected.len(), "{found:#?}");
        for (said, (what, help)) in found.chunks(2).zip(expected) {
            assert!(said[0].starts_with(&format!("nuncio.toml:{what}")), "{what}: {said:?}");
            assert!(said[1].starts_with(&format!("  help: {help}")), "{what}: {said:?}");
        }
    }

    #[test]
    fn paths_start_at_the_file() {
        let config = read("data = \"d\"\n", "/etc/nuncio").config.unwrap();
        assert_eq!(config.data, Path::new("/etc/nuncio/d"));
    }

    #[test]
    fn the_effective_values_read_back() {
        let shown = toml::to_string_pretty(&Config::default()).unwrap();
        assert_eq!(problems(&shown), Vec::<String>::new());
    }
}
