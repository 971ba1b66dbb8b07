//! `cargo xtask tidy`: format, lints, and the rules of this project that no other tool holds.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use crate::interop;
use crate::process::{self, command};
use crate::summary::Summary;

mod arrows;
mod files;

const LIMIT: Duration = Duration::from_secs(2_400);

/// Everything that tidy checks, with a summary.
pub(crate) fn run() -> Result<bool> {
    let mut summary = Summary::default();
    let root = crate::root()?;
    checks(&root, &mut summary)?;
    manual(&root, &interop::build(&root, false)?, &mut summary)?;
    summary.print();
    Ok(summary.sound())
}

/// The same as steps of a longer run, but for [`manual`], which needs the binary.
pub(crate) fn checks(root: &Path, summary: &mut Summary) -> Result<()> {
    println!("== tidy");
    own(root, summary)?;
    for (name, words) in [
        ("cargo fmt", ["fmt", "--all", "--check"].as_slice()),
        ("cargo clippy", &["clippy", "--quiet", "--workspace", "--all-targets", "--", "-D", "warnings"]),
    ] {
        let ended = process::shown(&mut command("cargo", words, root), LIMIT)?;
        summary.step(name, ended.good, ended.time, "");
    }
    extensions_format(root, summary)
}

/// rustfmt finds no module that a macro declares: the extensions' files are named to it.
fn extensions_format(root: &Path, summary: &mut Summary) -> Result<()> {
    let files: Vec<_> = files::tracked(root)?
        .into_iter()
        .filter(|path| path.starts_with("crates/extensions/src/") && path.ends_with(".rs"))
        .collect();
    let words: Vec<_> =
        ["--check", "--edition", "2024"].map(str::to_owned).into_iter().chain(files).collect();
    let ended = process::shown(&mut command("rustfmt", &words, root), LIMIT)?;
    summary.step("rustfmt of the extensions", ended.good, ended.time, "");
    Ok(())
}

/// The tables of the manual that are made from the code are what the code says.
pub(crate) fn manual(root: &Path, binary: &Path, summary: &mut Summary) -> Result<()> {
    let program = binary.to_str().context("the path of the binary is no text")?;
    let ended = process::shown(&mut command(program, &["docs", "--check"], root), LIMIT)?;
    summary.step("manual made from the code", ended.good, ended.time, "");
    Ok(())
}

fn own(root: &Path, summary: &mut Summary) -> Result<()> {
    let words = ["metadata", "--format-version", "1", "--no-deps", "--locked", "--offline"];
    let metadata = process::said(command("cargo", &words, root).stderr(Stdio::null()))
        .or_else(|_| process::said(&mut command("cargo", &words[..5], root)))
        .context("cargo metadata")?;
    let metadata: arrows::Metadata = serde_json::from_str(&metadata).context("what cargo metadata says")?;
    let architecture = std::fs::read_to_string(root.join("ARCHITECTURE.md")).unwrap_or_default();
    for (name, problems) in [
        ("arrows between crates", arrows::check(&metadata)),
        ("ARCHITECTURE.md's table", arrows::check_table(&metadata, &architecture)),
        ("fenced dependencies", arrows::check_fences(&metadata)),
        ("lints of every crate", files::lints(root, &metadata)?),
        ("extensions and their list", files::extensions(root)?),
        ("files and their sizes", files::sizes(root)?),
        ("paths of one machine", files::machine_paths(root)?),
    ] {
        let started = Instant::now();
        for problem in &problems {
            println!("   {name}: {problem}");
        }
        summary.step(name, problems.is_empty(), started.elapsed(), "");
    }
    Ok(())
}
