//! Who may use whom: the table of `ARCHITECTURE.md`, kept here as data and compared with `cargo metadata`.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

/// A crate and the crates that it may use, from below: what tests use may be anything that stands before it.
const ARROWS: &[(&str, &[&str])] = &[
    ("xmpp", &[]),
    ("sansio", &[]),
    ("stream", &["xmpp", "sansio"]),
    ("dna", &[]),
    ("msrp", &["xmpp", "sansio"]),
    ("store", &[]),
    ("net", &["sansio", "dna"]),
    ("router", &["xmpp", "sansio", "stream", "dna", "store"]),
    ("federation", &["xmpp", "sansio", "stream", "dna", "net", "router"]),
    ("relay", &["sansio", "dna", "msrp", "net"]),
    ("extensions", &["xmpp", "router"]),
    ("client", &["xmpp", "sansio", "stream", "dna", "net"]),
    ("endpoint", &["sansio", "msrp", "net"]),
    ("load", &["xmpp", "sansio", "stream", "msrp", "net", "client"]),
    (
        "nuncio",
        &[
            "xmpp",
            "sansio",
            "stream",
            "dna",
            "net",
            "store",
            "router",
            "federation",
            "relay",
            "extensions",
            "client",
            "endpoint",
        ],
    ),
];

/// Crates that are part of no room.
const OUTSIDE: &[&str] = &["xtask"];

/// Outer crates that are named in these rooms only, tests included. Judging certificates (`dna`) needs what reads them, but no TLS
/// (decision 0010).
const FENCES: &[(&[&str], &[&str])] = &[
    (
        &["net"],
        &["domain", "rustls", "rustls-native-certs", "tokio-rustls", "hyper", "hyper-util", "http-body-util"],
    ),
    (&["net", "dna"], &["rustls-webpki", "rcgen", "x509-parser"]),
    (&["store"], &["rusqlite", "libsqlite3-sys"]),
];

/// What `cargo metadata --no-deps` says, as far as it matters here.
#[derive(Deserialize)]
pub(super) struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    manifest_path: String,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    kind: Option<String>,
}

impl Metadata {
    /// Each crate's manifest.
    pub(super) fn manifests(&self) -> impl Iterator<Item = &str> {
        self.packages.iter().map(|package| package.manifest_path.as_str())
    }

    fn rooms(&self) -> impl Iterator<Item = (&str, &Package)> {
        self.packages
            .iter()
            .filter(|package| !OUTSIDE.contains(&package.name.as_str()))
            .map(|package| (room(&package.name).unwrap_or(&package.name), package))
    }
}

/// The room of a package; none for a package that is not ours.
fn room(package: &str) -> Option<&str> {
    match package {
        "nuncio" => Some("nuncio"),
        _ => package.strip_prefix("nuncio-"),
    }
}

fn allowed(room: &str) -> Option<&'static [&'static str]> {
    ARROWS.iter().find(|(name, _)| *name == room).map(|(_, uses)| *uses)
}

fn layer(room: &str) -> usize {
    ARROWS.iter().position(|(name, _)| *name == room).unwrap_or(usize::MAX)
}

/// Arrows that the table does not have. What only tests use must not point up either.
pub(super) fn check(metadata: &Metadata) -> Vec<String> {
    let mut problems = Vec::new();
    for (name, package) in metadata.rooms() {
        let Some(uses) = allowed(name) else {
            problems.push(format!("{name} is in no room: add it to the tables of xtask and ARCHITECTURE.md"));
            continue;
        };
        for dependency in &package.dependencies {
            let Some(other) = room(&dependency.name) else { continue };
            let test = dependency.kind.as_deref() == Some("dev");
            if (!test && !uses.contains(&other)) || (test && layer(other) > layer(name)) {
                let how = if test { "'s tests use " } else { " uses " };
                problems.push(format!("{name}{how}{other}, which is no arrow of the table"));
            }
        }
    }
    problems
}

/// Libraries outside the room that fences them.
pub(super) fn check_fences(metadata: &Metadata) -> Vec<String> {
    let mut problems = Vec::new();
    for (name, package) in metadata.rooms() {
        for dependency in &package.dependencies {
            let owner = FENCES.iter().find(|(_, fenced)| fenced.contains(&dependency.name.as_str()));
            if let Some((owners, _)) = owner.filter(|(owners, _)| !owners.contains(&name)) {
                let owners = owners.join(" and ");
                problems.push(format!("{name} names {}, which only {owners} may", dependency.name));
            }
        }
    }
    problems
}

/// Where the table of `ARCHITECTURE.md` (its first fenced block) says something else than the table here.
pub(super) fn check_table(metadata: &Metadata, architecture: &str) -> Vec<String> {
    let told = read_table(architecture);
    let mut problems = Vec::new();
    for (name, uses) in ARROWS {
        match told.get(*name) {
            None => problems.push(format!("{name} is missing")),
            Some(there) if there != &uses.iter().map(|&name| name.to_owned()).collect() => {
                let there: Vec<_> = there.iter().map(String::as_str).collect();
                problems.push(format!(
                    "{name} uses ({}) there and ({}) in xtask",
                    there.join(", "),
                    uses.join(", ")
                ));
            }
            Some(_) => {}
        }
    }
    for (name, _) in metadata.rooms() {
        if !told.contains_key(name) {
            problems.push(format!("the crate {name} is missing"));
        }
    }
    problems
}

/// Lines such as `ground     net    sockets, TLS   (sansio)`: the layer stands in the first line of its group only.
fn read_table(text: &str) -> BTreeMap<String, BTreeSet<String>> {
    let block = text.split("```").nth(1).unwrap_or_default();
    block
        .lines()
        .skip(1)
        .filter_map(|line| {
            let (head, uses) = line.trim_end().strip_suffix(')')?.rsplit_once('(')?;
            let mut words = head.split_whitespace();
            let first = words.next()?;
            let name = if line.starts_with(' ') { first } else { words.next()? };
            let uses = uses.split(',').map(str::trim).filter(|&word| word != "-" && !word.is_empty());
            Some((name.to_owned(), uses.map(str::to_owned).collect()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    type Uses<'a> = &'a [(&'a str, Option<&'a str>)];

    fn metadata(packages: &[(&str, Uses<'_>)]) -> Metadata {
        let packages = packages
            .iter()
            .map(|(name, dependencies)| Package {
                name: (*name).to_owned(),
                manifest_path: String::new(),
                dependencies: dependencies
                    .iter()
                    .map(|(name, kind)| Dependency {
                        name: (*name).to_owned(),
                        kind: kind.map(str::to_owned),
                    })
                    .collect(),
            })
            .collect();
        Metadata { packages }
    }

    #[test]
    fn arrows_point_down_only() {
        let good = metadata(&[("nuncio-net", &[("nuncio-sansio", None), ("tokio", None)]), ("xtask", &[])]);
        assert!(check(&good).is_empty());
        for (name, other, kind) in [
            ("nuncio-sansio", "nuncio-net", None),         // up
            ("nuncio-net", "nuncio-store", None),          // sideways
            ("nuncio-xmpp", "nuncio-stream", Some("dev")), // up, in tests
            ("nuncio-pubsub", "nuncio-xmpp", None),        // a room that nobody knows
        ] {
            assert_eq!(check(&metadata(&[(name, &[(other, kind)])])).len(), 1, "{name} to {other}");
        }
        assert!(check(&metadata(&[("nuncio-router", &[("nuncio-sansio", Some("dev"))])])).is_empty());
    }

    #[test]
    fn heavy_libraries_stay_in_their_rooms() {
        assert!(check_fences(&metadata(&[("nuncio-net", &[("rustls", None)])])).is_empty());
        assert_eq!(check_fences(&metadata(&[("nuncio", &[("rustls", None)])])).len(), 1);
        assert_eq!(check_fences(&metadata(&[("nuncio-dna", &[("rustls", None)])])).len(), 1);
        assert!(check_fences(&metadata(&[("nuncio-dna", &[("rustls-webpki", None)])])).is_empty());
        assert_eq!(check_fences(&metadata(&[("nuncio-router", &[("rusqlite", Some("dev"))])])).len(), 1);
    }

    #[test]
    fn the_table_is_read_as_it_is_written() {
        let text = "# A\n```text\nwords  xmpp    XML (and more)   (-)\n       sansio  contract  (-)\nground net  sockets (TLS)  (sansio)\n```\n";
        let table = read_table(text);
        assert_eq!(table["xmpp"], BTreeSet::new());
        assert_eq!(table["net"], BTreeSet::from(["sansio".to_owned()]));
        assert_eq!(table.len(), 3);
        assert!(
            check_table(&metadata(&[]), text).iter().any(|problem| problem.contains("stream is missing"))
        );
    }
}
