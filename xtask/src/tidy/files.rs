//! Rules about files: how long they may be, what must stand in them, and what must not.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context as _, Result};

use super::arrows::Metadata;
use crate::process::{self, command};

const LINES: usize = 800;
const EXTENSIONS: &str = "crates/extensions/src";

/// Every file of the checkout that git knows or would take.
pub(super) fn tracked(root: &Path) -> Result<Vec<String>> {
    let words = ["ls-files", "--cached", "--others", "--exclude-standard"];
    let listed = process::said(&mut command("git", &words, root))?;
    Ok(listed.lines().filter(|path| root.join(path).is_file()).map(str::to_owned).collect())
}

/// Source files that are too long.
pub(super) fn sizes(root: &Path) -> Result<Vec<String>> {
    let mut problems = Vec::new();
    for path in tracked(root)? {
        if path.ends_with(".rs") || path.ends_with(".py") {
            let lines = std::fs::read_to_string(root.join(&path))?.lines().count();
            if lines > LINES {
                problems.push(format!("{path} has {lines} lines, more than {LINES}"));
            }
        }
    }
    Ok(problems)
}

/// Committed texts that name a folder of the machine that they were written on.
pub(super) fn machine_paths(root: &Path) -> Result<Vec<String>> {
    // Put together here, so that this file does not name them either.
    let machines = ["tmp", "work", "root"].map(|folder| format!("/{folder}/"));
    let mut problems = Vec::new();
    for path in tracked(root)? {
        let Ok(text) = std::fs::read_to_string(root.join(&path)) else { continue };
        for (index, line) in text.lines().enumerate() {
            if let Some(found) = machines.iter().find(|folder| names(line, folder)) {
                problems.push(format!("{path}:{}: names {found}", index + 1));
            }
        }
    }
    Ok(problems)
}

/// Whether `folder` stands in the line as the beginning of a path.
fn names(line: &str, folder: &str) -> bool {
    line.match_indices(folder).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || "._-/}~".contains(c))
    })
}

/// Crates that do not take the workspace's lints.
pub(super) fn lints(root: &Path, metadata: &Metadata) -> Result<Vec<String>> {
    let mut problems = Vec::new();
    for manifest in metadata.manifests() {
        let text = std::fs::read_to_string(manifest).with_context(|| manifest.to_owned())?;
        let table: toml::Table = toml::from_str(&text).with_context(|| manifest.to_owned())?;
        let inherits =
            table.get("lints").and_then(|lints| lints.get("workspace")).and_then(toml::Value::as_bool);
        if inherits != Some(true) {
            let shown = Path::new(manifest).strip_prefix(root).unwrap_or_else(|_| Path::new(manifest));
            problems.push(format!("{} lacks [lints] workspace = true", shown.display()));
        }
    }
    Ok(problems)
}

/// Extensions without a line in the list, and lines without an extension.
pub(super) fn extensions(root: &Path) -> Result<Vec<String>> {
    let folder = root.join(EXTENSIONS);
    let mut there = BTreeSet::new();
    for entry in std::fs::read_dir(&folder).with_context(|| EXTENSIONS.to_owned())? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let stem = name.strip_suffix(".rs").unwrap_or(&name).to_owned();
        if stem != "lib" && stem != "engine" {
            there.insert(stem);
        }
    }
    let listed = listed(&std::fs::read_to_string(folder.join("lib.rs"))?);
    let mut problems: Vec<_> =
        there.difference(&listed).map(|name| format!("{EXTENSIONS}/{name} is not in the list ALL")).collect();
    problems.extend(
        listed.difference(&there).map(|name| format!("{name} is in the list ALL, but not in {EXTENSIONS}")),
    );
    if listed.is_empty() {
        problems.push(format!("{EXTENSIONS}/lib.rs has no list ALL"));
    }
    Ok(problems)
}

/// The names in the list: one a line in `extensions! { ... }`, or as `NAME::EXTENSION`.
fn listed(text: &str) -> BTreeSet<String> {
    let call =
        text.split_once("\nextensions! {").and_then(|(_, rest)| rest.split_once('}')).map(|(list, _)| list);
    let names: Vec<&str> = match call {
        Some(list) => list.split(',').map(str::trim).collect(),
        None => text
            .split("::EXTENSION")
            .filter_map(|before| before.rsplit(|c: char| !c.is_alphanumeric() && c != '_').next())
            .collect(),
    };
    let word = |name: &&str| {
        !name.is_empty() && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
    };
    names.into_iter().filter(word).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_read_in_either_form() {
        let wanted = BTreeSet::from(["blocking".to_owned(), "stanza_id".to_owned()]);
        assert_eq!(listed("macro\n\nextensions! {\n    blocking,\n    stanza_id,\n}\n"), wanted);
        assert_eq!(
            listed("pub const ALL: &[Extension] = &[blocking::EXTENSION, stanza_id::EXTENSION];"),
            wanted
        );
    }

    #[test]
    fn a_path_is_known_by_its_beginning() {
        let folder = &["/", "tmp", "/"].concat();
        assert!(names(&["\"", folder, "x\""].concat(), folder));
        assert!(names(&["see ", folder, "x"].concat(), folder));
        assert!(!names(&["var", folder, "x"].concat(), folder));
        assert!(!names(&["https://example.org", folder].concat(), folder));
    }
}
