//! The long runs: full counts of what `cargo xtask test` runs in short.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::process::{self, command};
use crate::summary::{Summary, cargo_counts};

/// Inputs of the mutation runners, `kill -9` rounds, and minutes under load.
const INPUTS: u64 = 1_000_000;
const ROUNDS: u64 = 200;
const MINUTES: u64 = 30;
const LIMIT: Duration = Duration::from_secs(6 * 3_600);

/// `cargo xtask soak ...`
pub(crate) fn run(words: &[&str]) -> Result<bool> {
    let (mut inputs, mut rounds, mut minutes) = (INPUTS, ROUNDS, MINUTES);
    let (which, mut rest) = match words {
        [which @ ("fuzz" | "kill" | "soak"), rest @ ..] => (Some(*which), rest),
        rest => (None, rest),
    };
    while let [name, value, more @ ..] = rest {
        let value = value.parse().with_context(|| format!("{name} takes a number"))?;
        match *name {
            "--inputs" => inputs = value,
            "--rounds" => rounds = value,
            "--minutes" => minutes = value,
            _ => bail!("not an option: {name}"),
        }
        rest = more;
    }
    if !rest.is_empty() {
        bail!("not an option: {}", rest.join(" "));
    }
    let mut summary = Summary::default();
    for (name, variable, count, filter) in [
        ("fuzz", "NUNCIO_FUZZ_INPUTS", inputs, ["--test", "mutate"].as_slice()),
        ("kill", "NUNCIO_KILL_ROUNDS", rounds, ["--test", "kill"].as_slice()),
        ("soak", "NUNCIO_SOAK_MINUTES", minutes, ["--test", "soak"].as_slice()),
    ] {
        if which.is_none_or(|which| which == name) {
            one(name, variable, count, filter, &mut summary)?;
        }
    }
    summary.print();
    Ok(summary.sound())
}

/// Runs the workspace's test programs of one name in release, with the count in the environment.
fn one(name: &str, variable: &str, count: u64, filter: &[&str], summary: &mut Summary) -> Result<()> {
    let root = crate::root()?;
    println!("== soak {name}: {variable}={count}");
    let logs = root.join("target/peers/logs");
    std::fs::create_dir_all(&logs)?;
    let words =
        [&["test", "--workspace", "--release", "--no-fail-fast"], filter, &["--", "--nocapture"]].concat();
    let mut run = command("cargo", &words, &root);
    let ended =
        process::logged(run.env(variable, count.to_string()), &logs.join(format!("soak-{name}.log")), LIMIT)?;
    println!("{}", ended.output.trim_end());
    let (passed, failed) = cargo_counts(&ended.output);
    let failed = if ended.good && passed > 0 { failed } else { failed.max(1) };
    summary.add(&format!("soak {name}"), passed, failed, ended.time, &format!("{variable}={count}"));
    Ok(())
}
