//! The committed figures, and what they were measured with.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde::Deserialize;

use crate::process::{self, command};

/// Where the figures are kept.
pub(super) const FILE: &str = "crates/extensions/benches/counts/baseline.toml";

const HEAD: &str = "\
# Instructions for one operation of each bench. Written by `cargo xtask bench counts --update`; see docs/manual/measuring.md.
# `measured` is what the figures depend on beside our own code.
";

/// The file.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Baseline {
    /// What the figures were measured with.
    #[serde(default)]
    pub(super) measured: BTreeMap<String, String>,
    /// Instructions by the bench's name.
    #[serde(default)]
    pub(super) instructions: BTreeMap<String, u64>,
}

impl Baseline {
    /// The file of the checkout; empty if there is none.
    pub(super) fn read(root: &Path) -> Result<Self> {
        match std::fs::read_to_string(root.join(FILE)) {
            Ok(text) => toml::from_str(&text).context(FILE),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error).context(FILE),
        }
    }

    /// Writes the file.
    pub(super) fn write(&self, root: &Path) -> Result<()> {
        std::fs::write(root.join(FILE), self.text()).context(FILE)
    }

    fn text(&self) -> String {
        let mut text = format!("{HEAD}\n[measured]\n");
        for (what, with) in &self.measured {
            text += &format!("{what} = {}\n", toml::Value::String(with.clone()));
        }
        text += "\n[instructions]\n";
        for (name, instructions) in &self.instructions {
            text += &format!("{name} = {instructions}\n");
        }
        text
    }

    /// In what this machine differs from the one that the figures were measured on.
    pub(super) fn differences(&self, here: &BTreeMap<String, String>) -> Vec<String> {
        here.iter()
            .filter_map(|(what, with)| {
                let there = self.measured.get(what)?;
                (there != with).then(|| format!("{what}: the baseline has {there}, this machine {with}"))
            })
            .collect()
    }
}

/// What figures depend on beside our own code: the compiler, the C library (its allocator, and the routines that it picks by the processor), and
/// valgrind, which hides from programs what it cannot emulate.
pub(super) fn conditions(root: &Path) -> Result<BTreeMap<String, String>> {
    let said = |program, words: &[&str]| process::said(&mut command(program, words, root));
    let release = said("rustc", &["--version"])?;
    let flags = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let avx2 = if flags.split_whitespace().any(|flag| flag == "avx2") { " with avx2" } else { "" };
    Ok(BTreeMap::from(
        [
            ("rustc", release.split_whitespace().nth(1).unwrap_or_default()),
            ("libc", said("getconf", &["GNU_LIBC_VERSION"])?.trim()),
            ("valgrind", said("valgrind", &["--version"])?.trim()),
            ("processor", &format!("{}{avx2}", std::env::consts::ARCH)),
        ]
        .map(|(what, with)| (what.to_owned(), with.to_owned())),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let measured = BTreeMap::from([("rustc".to_owned(), "1.95.0".to_owned())]);
        let instructions = BTreeMap::from([("route-message".to_owned(), 18_200)]);
        let written = Baseline { measured, instructions }.text();
        let read: Baseline = toml::from_str(&written).unwrap();
        assert_eq!(read.measured["rustc"], "1.95.0");
        assert_eq!(read.instructions["route-message"], 18_200);
        assert_eq!(read.text(), written);
    }

    #[test]
    fn another_compiler_is_told() {
        let measured = BTreeMap::from([("rustc".to_owned(), "1.95.0".to_owned())]);
        let baseline = Baseline { measured, ..Baseline::default() };
        let here = |version: &str| {
            BTreeMap::from([
                ("rustc".to_owned(), version.to_owned()),
                ("libc".to_owned(), "glibc 2.36".to_owned()),
            ])
        };
        assert!(baseline.differences(&here("1.95.0")).is_empty());
        assert_eq!(
            baseline.differences(&here("1.96.0")),
            ["rustc: the baseline has 1.95.0, this machine 1.96.0"]
        );
    }
}
