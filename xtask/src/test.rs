//! `cargo xtask test`: what CI runs.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::process::{self, command};
use crate::summary::{Summary, cargo_counts, cargo_failures};
use crate::{bench, interop, tidy};

/// The longest that building and running the workspace's tests may take.
const LIMIT: Duration = Duration::from_secs(3_600);

/// Every check and every test; whether all is well.
pub(crate) fn run(fast: bool) -> Result<bool> {
    let root = crate::root()?;
    let mut summary = Summary::default();
    tidy::checks(&root, &mut summary)?;

    println!("== cargo test");
    let logs = root.join("target/peers/logs");
    std::fs::create_dir_all(&logs)?;
    let ended = process::logged(
        &mut command("cargo", &["test", "--workspace", "--no-fail-fast", "--quiet"], &root),
        &logs.join("cargo-test.log"),
        LIMIT,
    )?;
    let (passed, failed) = cargo_counts(&ended.output);
    let failed = if ended.good { failed } else { failed.max(1) };
    if !ended.good || passed == 0 {
        println!("{}", ended.output);
    }
    let failures = cargo_failures(&ended.output).join(" ");
    summary.add(
        "cargo test --workspace",
        passed,
        failed.max(usize::from(passed == 0)),
        ended.time,
        &failures,
    );

    if fast {
        println!("== bench counts\n   left out: --fast");
    } else {
        bench::checked(&root, &mut summary);
    }

    println!("== interop");
    let binary = interop::build(&root, false)?;
    tidy::manual(&root, &binary, &mut summary)?;
    if fast {
        println!("   left out: --fast");
    } else {
        let started = Instant::now();
        if let Err(error) = interop::everything(&root, &binary, &mut summary) {
            println!("{error:#}");
            summary.step("interop", false, started.elapsed(), "could not run");
        }
    }
    summary.print();
    Ok(summary.sound())
}
