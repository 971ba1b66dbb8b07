//! The interop suites: Nuncio and its rivals under the same scripts, driven by `tests/peer`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

use crate::matrix;
use crate::process::{self, Ended, command};
use crate::provision;
use crate::summary::{Summary, runner_counts};

/// How many suites run beside each other.
const WIDTH: usize = 2;
/// The longest that one suite may take.
const LIMIT: Duration = Duration::from_secs(600);
const SUBJECTS: [&str; 3] = ["nuncio", "prosody", "ejabberd"];
/// Whose side of the federation matrix is played: Prosody's shows what the rivals do with each other.
const FEDERATION: [&str; 2] = ["nuncio", "prosody"];

/// One run of the Python side.
#[derive(Clone, Debug)]
struct Suite {
    name: &'static str,
    subject: &'static str,
}

/// `cargo xtask interop ...`
pub(crate) fn run(words: &[&str]) -> Result<bool> {
    let (name, mut rest) = match words {
        [
            name @ ("broken" | "check" | "clients" | "conversations" | "federation" | "levels" | "library"
            | "msrp" | "raw"),
            rest @ ..,
        ] => (*name, rest),
        _ => bail!("interop broken|check|clients|conversations|federation|levels|library|msrp|raw"),
    };
    let (mut subjects, mut more, mut release, mut document) = (Vec::new(), Vec::new(), false, false);
    let mut given = None;
    loop {
        rest = match rest {
            [] => break,
            ["--release", rest @ ..] => {
                release = true;
                rest
            }
            ["--subject", subject, rest @ ..] => {
                let known = SUBJECTS.iter().find(|known| *known == subject);
                subjects
                    .push(*known.with_context(|| format!("no subject {subject}: {}", SUBJECTS.join(", ")))?);
                rest
            }
            ["--binary", path, rest @ ..] => {
                given = Some(std::path::absolute(path)?);
                rest
            }
            ["--document", rest @ ..] if name == "federation" => {
                document = true;
                rest
            }
            ["--peer", peer, rest @ ..] if name == "federation" => {
                more.extend(["--peer".to_owned(), (*peer).to_owned()]);
                rest
            }
            ["--only", id, rest @ ..] => {
                more.extend(["--only".to_owned(), (*id).to_owned()]);
                rest
            }
            _ => bail!("not an option: {}", rest.join(" ")),
        };
    }
    // Stock clients against Nuncio show Nuncio; our client against everybody shows the client.
    let all =
        |subjects: &[&'static str]| if subjects.is_empty() { SUBJECTS.to_vec() } else { subjects.to_vec() };
    let of =
        |name, subjects: Vec<&'static str>| subjects.into_iter().map(move |subject| Suite { name, subject });
    let suites: Vec<_> = match name {
        "clients" if subjects.is_empty() => {
            of("clients", vec!["nuncio"]).chain(of("library", all(&[]))).collect()
        }
        "clients" => of("clients", subjects.clone()).chain(of("library", subjects)).collect(),
        "raw" => of("raw", all(&subjects)).collect(),
        "check" => of("check", vec!["nuncio"]).collect(),
        "levels" => of("levels", vec!["nuncio"]).collect(),
        "msrp" => of("msrp", vec!["nuncio"]).collect(),
        "broken" => of("broken", if subjects.is_empty() { vec!["nuncio"] } else { subjects }).collect(),
        "federation" if subjects.is_empty() => {
            let alone = |name| of(name, vec!["nuncio"]).filter(|_| more.is_empty());
            of("federation", FEDERATION.to_vec()).chain(alone("broken")).chain(alone("levels")).collect()
        }
        "federation" => of("federation", subjects).collect(),
        "library" => of("library", all(&subjects)).collect(),
        _ => of("conversations", all(&subjects)).collect(),
    };
    let root = crate::root()?;
    let mut summary = Summary::default();
    let binary = match suites.iter().any(|suite| suite.subject == "nuncio" || suite.name == "library") {
        true if given.is_some() => given,
        true => Some(build(&root, release)?),
        false => None,
    };
    suites_of(&root, binary.as_deref(), &suites, &more, true, &mut summary)?;
    if name == "federation" {
        let subjects: Vec<_> =
            suites.iter().filter(|suite| suite.name == name).map(|suite| suite.subject).collect();
        matrix::print(&root, &subjects, document)?;
    }
    summary.print();
    Ok(summary.sound())
}

/// Every suite against every subject, for `cargo xtask test`.
pub(crate) fn everything(root: &Path, binary: &Path, summary: &mut Summary) -> Result<()> {
    let suites: Vec<_> = [("clients", "nuncio"), ("kill", "nuncio")]
        .into_iter()
        .chain(
            ["raw", "conversations", "library"]
                .into_iter()
                .flat_map(|name| SUBJECTS.map(|subject| (name, subject))),
        )
        .chain(FEDERATION.map(|subject| ("federation", subject)))
        .chain([("broken", "nuncio"), ("levels", "nuncio"), ("msrp", "nuncio")])
        .map(|(name, subject)| Suite { name, subject })
        .collect();
    suites_of(root, Some(binary), &suites, &[], false, summary)
}

/// A long run of `kill` or `soak` against the release build.
pub(crate) fn long(
    name: &'static str,
    more: &[String],
    limit: Duration,
    summary: &mut Summary,
) -> Result<()> {
    let root = crate::root()?;
    let binary = build(&root, true)?;
    let python = provision::python(&root)?;
    let logs = root.join("target/peers/logs");
    std::fs::create_dir_all(&logs)?;
    let suite = Suite { name, subject: "nuncio" };
    let ended = one(&root, &python, Some(&binary), &suite, more, &logs, limit)?;
    println!("{}", ended.output.trim_end());
    let (passed, failed) = runner_counts(&ended.output).unwrap_or((0, 1));
    let failed = if ended.good { failed } else { failed.max(1) };
    summary.add(&format!("soak {name}"), passed, failed, ended.time, &more.join(" "));
    Ok(())
}

/// Builds the binary and says where it is. The debug one is the one that `cargo test --workspace` builds for its own tests: alone it would have other
/// features in its dependencies, and every one of them would be built twice.
pub(crate) fn build(root: &Path, release: bool) -> Result<PathBuf> {
    let what: &[&str] = if release {
        &[
            "build",
            "--release",
            "--package=nuncio",
            "--bin=nuncio",
            "--package=nuncio-client",
            "--example=resume",
            "--package=nuncio-msrp",
            "--example=frames",
        ]
    } else {
        &["test", "--workspace", "--no-run"]
    };
    let words = [what, &["--quiet", "--message-format=json-render-diagnostics"]].concat();
    let output = process::said(command("cargo", &words, root).stderr(std::process::Stdio::inherit()))
        .context("the binary does not build")?;
    output
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|message| message["reason"] == "compiler-artifact" && message["target"]["name"] == "nuncio")
        .filter(|message| message["target"]["kind"][0] == "bin" && message["profile"]["test"] == false)
        .filter_map(|message| message["executable"].as_str().map(PathBuf::from))
        .next_back()
        .context("cargo named no executable")
}

fn suites_of(
    root: &Path,
    binary: Option<&Path>,
    suites: &[Suite],
    more: &[String],
    verbose: bool,
    summary: &mut Summary,
) -> Result<()> {
    let python = provision::all(root)?;
    let logs = root.join("target/peers/logs");
    std::fs::create_dir_all(&logs)?;
    let next = AtomicUsize::new(0);
    let ended: Mutex<Vec<(usize, Result<Ended>)>> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..WIDTH.min(suites.len()) {
            scope.spawn(|| {
                while let Some((index, suite)) = {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    suites.get(index).map(|suite| (index, suite))
                } {
                    let result = one(root, &python, binary, suite, more, &logs, LIMIT);
                    let shown = result.as_ref().is_ok_and(|ended| ended.good);
                    println!(
                        "   {} against {}: {}",
                        suite.name,
                        suite.subject,
                        if shown { "done" } else { "FAILED" }
                    );
                    ended.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push((index, result));
                }
            });
        }
    });
    let mut ended = ended.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    ended.sort_by_key(|(index, _)| *index);
    for ((_, result), suite) in ended.into_iter().zip(suites) {
        let ended = result?;
        let name = format!("{} against {}", suite.name, suite.subject);
        if verbose || !ended.good {
            println!("\n== {name}\n{}", ended.output.trim_end());
        } else {
            // What a rival is known not to do is told with every run.
            let known: Vec<_> =
                ended.output.lines().filter(|line| line.contains("known failure: ")).collect();
            if !known.is_empty() {
                println!("\n== {name}: {} known failures\n{}", known.len(), known.join("\n"));
            }
        }
        let (passed, failed) = runner_counts(&ended.output).unwrap_or((0, 1));
        let failed = if ended.good { failed } else { failed.max(1) };
        let score = ended.output.lines().find(|line| line.contains(" cases in ")).unwrap_or_default();
        summary.add(
            &format!("interop {name}"),
            passed,
            failed,
            ended.time,
            score.split(": ").nth(1).unwrap_or_default(),
        );
    }
    if suites.iter().any(|suite| suite.name == "raw") {
        table(root, &logs, suites)?;
    }
    Ok(())
}

fn one(
    root: &Path,
    python: &Path,
    binary: Option<&Path>,
    suite: &Suite,
    more: &[String],
    logs: &Path,
    limit: Duration,
) -> Result<Ended> {
    let stem = format!("{}-{}", suite.name, suite.subject);
    let mut run = Command::new(python);
    run.args(["-m", "peer", suite.name, "--subject", suite.subject, "--json"])
        .arg(logs.join(format!("{stem}.json")))
        .args(more)
        .current_dir(root.join("tests"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("PYTHONUNBUFFERED", "1")
        .stdin(std::process::Stdio::null());
    if let Some(binary) = binary.filter(|_| suite.subject == "nuncio") {
        run.arg("--binary").arg(binary);
    }
    if let Some(binary) = binary.filter(|_| suite.name == "library") {
        // Built with the binary, and put where cargo puts examples.
        run.arg("--client").arg(binary.with_file_name("examples").join("resume"));
    }
    if let Some(binary) = binary.filter(|_| suite.name == "msrp") {
        run.arg("--generator").arg(binary.with_file_name("examples").join("frames"));
    }
    process::logged(&mut run, &logs.join(format!("{stem}.log")), limit)
}

/// What the runner writes of one suite.
#[derive(Deserialize)]
struct Report {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    id: String,
    title: String,
    /// None: the subject has no such means.
    ok: Option<bool>,
}

/// The raw-socket table: each case, each subject, and the scores.
fn table(root: &Path, logs: &Path, suites: &[Suite]) -> Result<()> {
    let subjects: Vec<_> =
        suites.iter().filter(|suite| suite.name == "raw").map(|suite| suite.subject).collect();
    let mut order = Vec::new();
    let mut verdicts: BTreeMap<(String, &str), bool> = BTreeMap::new();
    for subject in &subjects {
        let path = logs.join(format!("raw-{subject}.json"));
        let Ok(text) = std::fs::read_to_string(&path) else { continue };
        let report: Report = serde_json::from_str(&text).with_context(|| path.display().to_string())?;
        for case in report.cases {
            if !order.iter().any(|(id, _)| *id == case.id) {
                order.push((case.id.clone(), case.title));
            }
            if let Some(ok) = case.ok {
                verdicts.insert((case.id, subject), ok);
            }
        }
    }
    println!("\n== the raw-socket table");
    println!("{:<10} {}  case", "", subjects.iter().map(|s| format!("{s:>9}")).collect::<String>());
    for (id, title) in &order {
        let cells: String = subjects
            .iter()
            .map(|subject| match verdicts.get(&(id.clone(), *subject)) {
                Some(true) => format!("{:>9}", "pass"),
                Some(false) => format!("{:>9}", "no"),
                None => format!("{:>9}", "-"),
            })
            .collect();
        println!("{id:<10} {cells}  {title}");
    }
    let scores: String = subjects
        .iter()
        .map(|subject| {
            let told = order.iter().filter_map(|(id, _)| verdicts.get(&(id.clone(), *subject)));
            let (good, all) = told.fold((0, 0), |(good, all), ok| (good + usize::from(*ok), all + 1));
            format!("{:>9}", format!("{good}/{all}"))
        })
        .collect();
    println!("{:<10} {scores}", "score");
    let elsewhere: toml::Table =
        toml::from_str(&std::fs::read_to_string(root.join("tests/known/elsewhere.toml"))?)?;
    println!("\nnot to be seen from a client's connection, and tested elsewhere:");
    for (id, place) in elsewhere.get("elsewhere").and_then(toml::Value::as_table).into_iter().flatten() {
        println!("{id:<12} {}", place.as_str().unwrap_or_default());
    }
    Ok(())
}
