//! The long runs: full counts of what `cargo xtask test` runs in short.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::interop;
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
    let wanted = |name| which.is_none_or(|which| which == name);
    if wanted("fuzz") {
        cargo("fuzz", ("NUNCIO_FUZZ_INPUTS", inputs), &["--workspace", "--test", "mutate"], &mut summary)?;
    }
    if wanted("kill") {
        let store = ["--package", "nuncio-store", "--test", "kill"];
        cargo("kill of the store", ("NUNCIO_KILL_ROUNDS", rounds), &store, &mut summary)?;
        let server = ["--package", "nuncio", "--test", "server", "kill_rounds"];
        cargo("kill of the server", ("NUNCIO_KILL_ROUNDS", rounds), &server, &mut summary)?;
        interop::long("kill", &["--rounds".to_owned(), rounds.to_string()], LIMIT, &mut summary)?;
    }
    if wanted("soak") {
        interop::long("soak", &["--minutes".to_owned(), minutes.to_string()], LIMIT, &mut summary)?;
    }
    summary.print();
    Ok(summary.sound())
}

/// Runs test programs in release, with the count in the environment.
fn cargo(name: &str, (variable, count): (&str, u64), filter: &[&str], summary: &mut Summary) -> Result<()> {
    let root = crate::root()?;
    println!("== soak {name}: {variable}={count}");
    let logs = root.join("target/peers/logs");
    std::fs::create_dir_all(&logs)?;
    let words = [&["test", "--release", "--no-fail-fast"], filter, &["--", "--nocapture"]].concat();
    let mut run = command("cargo", &words, &root);
    let log = logs.join(format!("soak-{}.log", name.replace(' ', "-")));
    let ended = process::logged(run.env(variable, count.to_string()), &log, LIMIT)?;
    println!("{}", ended.output.trim_end());
    let (passed, failed) = cargo_counts(&ended.output);
    let failed = if ended.good && passed > 0 { failed } else { failed.max(1) };
    summary.add(&format!("soak {name}"), passed, failed, ended.time, &format!("{variable}={count}"));
    Ok(())
}
