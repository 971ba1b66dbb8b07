//! Instructions for an operation, counted by callgrind.
//!
//! Each bench runs twice, with its number of operations and with twice as many. The difference belongs to the operations alone: what the program does
//! once, from the loader to the last login, is in both.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::baseline::{self, Baseline};
use super::verdict::{self, Row, Verdict, grouped};
use crate::process::{self, command};
use crate::provision;
use crate::summary::Summary;

/// The longest that one run under callgrind may take.
const LIMIT: Duration = Duration::from_secs(300);
/// Where the profiles are left, for `callgrind_annotate`.
const PROFILES: &str = "target/callgrind";

/// The C library's allocator with a cache that takes every block that a bench frees. Without it a block may be merged with its neighbours or not, by where
/// in the heap it happens to be: up to two percent of chance.
const ALLOCATOR: (&str, &str) =
    ("GLIBC_TUNABLES", "glibc.malloc.tcache_count=127:glibc.malloc.tcache_max=65536");

/// A bench as its program lists it.
struct Bench {
    name: String,
    times: u64,
    what: String,
}

/// `cargo xtask bench counts ...`
pub(super) fn run(only: Option<&str>, update: bool) -> Result<bool> {
    let root = crate::root()?;
    let started = Instant::now();
    let judged = Judged::now(&root, only)?;
    judged.print();
    println!(
        "{} benches in {:.0} s; the profiles are in {PROFILES}",
        judged.now.len(),
        started.elapsed().as_secs_f64()
    );
    if update {
        return judged.update(&root, only);
    }
    judged.advise();
    Ok(judged.rows.iter().all(|row| row.verdict.passes()))
}

/// The same as a step of a longer run.
pub(crate) fn checked(root: &Path, summary: &mut Summary) {
    println!("== bench counts");
    let started = Instant::now();
    match Judged::now(root, None) {
        Ok(judged) => {
            judged.print();
            judged.advise();
            let failed: Vec<_> = judged.rows.iter().filter(|row| !row.verdict.passes()).collect();
            let names: Vec<_> = failed.iter().map(|row| row.name.as_str()).collect();
            let passed = judged.rows.len() - failed.len();
            // A program that lists no bench has not been measured.
            let none = usize::from(judged.rows.is_empty());
            summary.add("bench counts", passed, failed.len() + none, started.elapsed(), &names.join(" "));
        }
        Err(error) => {
            println!("{error:#}");
            summary.step("bench counts", false, started.elapsed(), "could not run");
        }
    }
}

/// The figures of this checkout beside the committed ones.
struct Judged {
    baseline: Baseline,
    here: BTreeMap<String, String>,
    benches: Vec<Bench>,
    now: BTreeMap<String, u64>,
    rows: Vec<Row>,
}

impl Judged {
    fn now(root: &Path, only: Option<&str>) -> Result<Self> {
        provision::tools(root, &[("valgrind", "valgrind")])?;
        let mut baseline = Baseline::read(root)?;
        let here = baseline::conditions(root)?;
        let program = build(root)?;
        let is_wanted = |name: &str| only.is_none_or(|only| name.starts_with(only));
        let mut benches = listed(&process::said(&mut command(text(&program)?, &["list"], root))?)?;
        benches.retain(|bench| is_wanted(&bench.name));
        if benches.is_empty() {
            bail!("no bench has a name that begins so");
        }
        let now = measured(root, &program, &benches)?;
        let changelog = std::fs::read_to_string(root.join("CHANGELOG.md")).context("CHANGELOG.md")?;
        let all = baseline.instructions.clone();
        baseline.instructions.retain(|name, _| is_wanted(name));
        let rows = verdict::judge(&baseline.instructions, &now, &verdict::told(&changelog));
        baseline.instructions = all;
        Ok(Self { baseline, here, benches, now, rows })
    }

    fn print(&self) {
        let figure = |figure: Option<u64>| figure.map_or_else(|| "-".to_owned(), grouped);
        println!("{:<20} {:>11} {:>11} {:>9}  of what", "instructions", "baseline", "now", "change");
        // In the order of the program, which goes from the parts to the whole; then what it does not have.
        let place =
            |row: &&Row| self.benches.iter().position(|bench| bench.name == row.name).unwrap_or(usize::MAX);
        let mut rows: Vec<&Row> = self.rows.iter().collect();
        rows.sort_by_key(place);
        for row in rows {
            let what = self.benches.iter().find(|bench| bench.name == row.name);
            let what = what.map_or("", |bench| bench.what.as_str());
            let word = row.verdict.word();
            let gap = if word.is_empty() { "" } else { "  " };
            println!(
                "{:<20} {:>11} {:>11} {:>9}  {word}{gap}{what}",
                row.name,
                figure(row.before),
                figure(row.now),
                row.change()
            );
        }
        for difference in self.baseline.differences(&self.here) {
            println!("note: {difference}");
        }
    }

    /// The lines that the changelog lacks.
    fn missing(&self) -> Vec<String> {
        let slower = self.rows.iter().filter(|row| row.verdict == Verdict::Slower);
        slower.map(|row| verdict::line(&row.name, row.now.unwrap_or_default(), "WHY")).collect()
    }

    /// What to do about it.
    fn advise(&self) {
        let missing = self.missing();
        if !missing.is_empty() {
            println!(
                "\nmore than {} % above the baseline: make it cheaper, or say why in CHANGELOG.md under Unreleased:\n{}",
                verdict::TOLERANCE,
                missing.join("\n")
            );
        }
        let has = |verdicts: &[Verdict]| self.rows.iter().any(|row| verdicts.contains(&row.verdict));
        if has(&[Verdict::New, Verdict::Gone]) {
            println!("\nbenches and baseline do not fit: cargo xtask bench counts --update");
        } else if has(&[Verdict::Faster, Verdict::Told]) {
            println!("\nto take the new figures over: cargo xtask bench counts --update");
        }
    }

    /// Writes the figures down, unless one got worse and nobody says why.
    fn update(mut self, root: &Path, only: Option<&str>) -> Result<bool> {
        if !self.missing().is_empty() {
            self.advise();
            println!("\nthe baseline is as it was");
            return Ok(false);
        }
        if only.is_none() {
            self.baseline.instructions.clear();
        }
        self.baseline.instructions.append(&mut self.now);
        self.baseline.measured = self.here;
        self.baseline.write(root)?;
        println!("written: {}", baseline::FILE);
        Ok(true)
    }
}

/// Builds the program that has the benches. Its profile is the release's.
fn build(root: &Path) -> Result<PathBuf> {
    let words = [
        "build",
        "--profile",
        "counts",
        "--package",
        "nuncio-extensions",
        "--bench",
        "counts",
        "--quiet",
        "--message-format=json-render-diagnostics",
    ];
    let output = process::said(command("cargo", &words, root).stderr(std::process::Stdio::inherit()))
        .context("the benches do not build")?;
    output
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|message| message["reason"] == "compiler-artifact" && message["target"]["name"] == "counts")
        .filter_map(|message| message["executable"].as_str().map(PathBuf::from))
        .next_back()
        .context("cargo named no executable")
}

/// The lines `NAME TIMES WHAT`, with tabs between.
fn listed(text: &str) -> Result<Vec<Bench>> {
    let bench = |line: &str| {
        let mut words = line.splitn(3, '\t');
        let (name, times, what) = (words.next()?, words.next()?, words.next()?);
        Some(Bench { name: name.to_owned(), times: times.parse().ok()?, what: what.to_owned() })
    };
    text.lines().map(|line| bench(line).with_context(|| format!("not a bench: {line}"))).collect()
}

/// Runs them all, as many beside each other as there are processors: instructions do not depend on the load.
fn measured(root: &Path, program: &Path, benches: &[Bench]) -> Result<BTreeMap<String, u64>> {
    std::fs::create_dir_all(root.join(PROFILES))?;
    let width = std::thread::available_parallelism().map_or(1, usize::from).min(benches.len());
    let next = AtomicUsize::new(0);
    let found: Mutex<Vec<(String, Result<u64>)>> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..width {
            scope.spawn(|| {
                while let Some(bench) = benches.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let figure = one(root, program, bench);
                    let mut found = found.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                    found.push((bench.name.clone(), figure));
                }
            });
        }
    });
    let found = found.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    found.into_iter().map(|(name, figure)| Ok((name, figure?))).collect()
}

fn one(root: &Path, program: &Path, bench: &Bench) -> Result<u64> {
    let folder = root.join(PROFILES);
    let once = total(root, program, bench, bench.times, &folder.join(format!("{}.half.out", bench.name)))?;
    let twice = total(root, program, bench, bench.times * 2, &folder.join(format!("{}.out", bench.name)))?;
    per_operation(once, twice, bench.times).with_context(|| format!("{} does nothing", bench.name))
}

/// What one of `times` operations costs if they cost `once` in all, and twice as many `twice`. None if more cost less.
fn per_operation(once: u64, twice: u64, times: u64) -> Option<u64> {
    twice.checked_sub(once)?.checked_add(times / 2)?.checked_div(times).filter(|figure| *figure > 0)
}

/// All instructions of one run.
fn total(root: &Path, program: &Path, bench: &Bench, times: u64, out: &Path) -> Result<u64> {
    let words = [
        "--tool=callgrind",
        &format!("--callgrind-out-file={}", text(out)?),
        text(program)?,
        &bench.name,
        &times.to_string(),
    ];
    let log = out.with_extension("log");
    let mut run = command("valgrind", &words, root);
    let ended = process::logged(run.env(ALLOCATOR.0, ALLOCATOR.1), &log, LIMIT)?;
    if !ended.good {
        bail!("{} does not run under callgrind:\n{}", bench.name, ended.output.trim_end());
    }
    let profile = std::fs::read_to_string(out).with_context(|| out.display().to_string())?;
    counted(&profile).with_context(|| format!("{} has no total", out.display()))
}

/// The sum at the end of a profile.
fn counted(profile: &str) -> Option<u64> {
    let totals = profile.lines().rev().find_map(|line| line.strip_prefix("totals: "))?;
    totals.trim().parse().ok()
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().with_context(|| format!("{} is no text", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operation_is_the_difference_of_two_runs() {
        assert_eq!(per_operation(1_500, 2_500, 10), Some(100));
        assert_eq!(per_operation(1_500, 2_496, 10), Some(100), "rounded");
        assert_eq!(per_operation(1_500, 1_500, 10), None, "a bench that does nothing");
        assert_eq!(per_operation(1_500, 1_400, 10), None);
    }

    #[test]
    fn profiles_and_lists_are_read() {
        assert_eq!(counted("events: Ir\nsummary: 12\nfn=(1)\n3 4\ntotals: 12345\n"), Some(12_345));
        assert_eq!(counted("events: Ir\n"), None);
        let all = listed("read\t2000\tbytes to stanza\nroute\t10\tx y\n").unwrap();
        assert_eq!((all[0].name.as_str(), all[0].times, all[1].what.as_str()), ("read", 2_000, "x y"));
        assert!(listed("read 2000").is_err());
    }
}
