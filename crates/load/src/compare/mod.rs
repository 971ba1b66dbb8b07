//! Several servers in one run, side by side: Prosody and ejabberd of the Debian packages, the bare relay, and Nuncio.
//!
//! Where servers talk to each other, there are two of a kind ([`couple`]).
//!
//! Each gets a folder, a configuration that is alike for all ([`config`]), the same accounts ([`seed`]), and the same scenarios ([`plan`]),
//! round by round, so that what disturbs the machine disturbs all of them. The table has the medians.

mod config;
mod couple;
mod figures;
mod group;
mod machine;
mod plan;
mod provision;
mod rosters;
mod seed;
mod subject;
mod table;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde::Serialize;

use self::couple::Couple;
use self::figures::{Figures, Table};
use self::machine::Machine;
use self::plan::{Case, Site, Sizes};
pub use self::subject::Kind;
use self::subject::{Place, Subject};
use self::table::Page;
use crate::{Report, Scenario};

/// The command line of `compare`.
///
/// Exit status: 0 if every scenario ran to its end and no message was lost, whether or not the goals hold; 1 if one stopped or lost
/// messages, or a server did not start; 2 for wrong use; 130 after an interrupt.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct CompareArgs {
    /// Small scenarios and one round: some two minutes.
    #[arg(long)]
    quick: bool,
    /// Only this server; may be given several times.
    #[arg(long = "subject", value_name = "NAME")]
    subjects: Vec<Kind>,
    /// Only this scenario (chat10, chat1, managed, login, idle, presence, roster, offline, resume, few, many, spread, one-thread, two-threads, federated, pairs, dead, msrp1, msrp2, msrp-memory, msrp-idle, msrp-beside); may be given several times.
    #[arg(long, value_name = "SCENARIO")]
    only: Vec<String>,
    /// How often each scenario runs at each server: 3, with --quick 1.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: Option<u32>,
    /// The binary of Nuncio; without it, cargo builds the release binary, or it is found beside this one.
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
    /// Write every report of every round as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the page of the manual.
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// Keep the folder with configurations and logs.
    #[arg(long)]
    keep: bool,
}

/// The command line asks for what there is not: exit status 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct WrongUse(String);

/// One scenario at one server in one round.
#[derive(Debug, Serialize)]
struct Run {
    case: &'static str,
    subject: Kind,
    round: u32,
    /// Why it stopped; none if it ran to its end.
    stopped: Option<String>,
    /// What was measured, if only until it stopped.
    report: Report,
}

impl CompareArgs {
    /// Compares. Prints progress on standard error and the table on standard output.
    #[must_use]
    pub fn run(&self) -> ExitCode {
        match self.compare() {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::FAILURE,
            Err(error) => {
                eprintln!("nuncio-load: {error:#}");
                if error.is::<WrongUse>() { ExitCode::from(2) } else { ExitCode::FAILURE }
            }
        }
    }

    /// Whether every scenario ran to its end without losses.
    fn compare(&self) -> Result<bool> {
        let begun = Instant::now();
        let sizes = if self.quick { Sizes::QUICK } else { Sizes::FULL };
        let rounds = self.rounds.unwrap_or(if self.quick { 1 } else { 3 });
        let all = plan::cases(sizes);
        let cases = self.chosen(&all)?;
        let kinds: Vec<Kind> = Kind::ALL
            .into_iter()
            .filter(|kind| self.subjects.is_empty() || self.subjects.contains(kind))
            .filter(|kind| cases.iter().any(|case| case.subjects.contains(kind)))
            .collect();
        if kinds.is_empty() {
            return Err(WrongUse("none of these scenarios is for these servers".to_owned()).into());
        }
        provision::packages(&kinds)?;
        let binary = match kinds.contains(&Kind::Nuncio) {
            true => Some(provision::binary(self.binary.as_deref())?),
            false => None,
        };
        let mut folder = Folder::new(self.keep)?;
        end_with_signals(folder.path.clone())?;
        let done = compare(&cases, &kinds, rounds, sizes, binary.as_deref(), &folder.path);
        // The error names files of the folder.
        folder.keep |= done.is_err();
        let (runs, versions) = done?;
        self.tell(&cases, &kinds, rounds, &runs, &versions, begun.elapsed())
    }

    fn chosen<'a>(&self, all: &'a [Case]) -> Result<Vec<&'a Case>> {
        if let Some(unknown) = self.only.iter().find(|name| !all.iter().any(|case| case.key == name.as_str()))
        {
            let known: Vec<_> = all.iter().map(|case| case.key).collect();
            let text = format!("there is no scenario {unknown}; there are: {}", known.join(", "));
            return Err(WrongUse(text).into());
        }
        let wanted = |case: &&Case| self.only.is_empty() || self.only.iter().any(|name| name == case.key);
        Ok(all.iter().filter(wanted).collect())
    }

    /// Prints and writes what was found.
    fn tell(
        &self,
        cases: &[&Case],
        kinds: &[Kind],
        rounds: u32,
        runs: &[Run],
        versions: &[(Kind, String)],
        took: Duration,
    ) -> Result<bool> {
        let table = tabulate(cases, runs);
        let trouble = trouble(runs);
        let machine = Machine::look();
        let command = command_line(std::env::args());
        let page = Page {
            cases,
            kinds,
            table: &table,
            machine: &machine,
            versions,
            command: &command,
            rounds,
            took,
            trouble: &trouble,
        };
        print!("{}", page.text());
        if let Some(file) = &self.markdown {
            write(file, &page.markdown())?;
        }
        if let Some(file) = &self.json {
            let verdicts: BTreeMap<_, _> = cases
                .iter()
                .map(|case| (case.key, figures::verdicts(case, &table, machine.cores)))
                .filter(|(_, verdicts)| !verdicts.is_empty())
                .collect();
            let versions: BTreeMap<_, _> =
                versions.iter().map(|(kind, version)| (kind.name(), version)).collect();
            let all = serde_json::json!({
                "machine": machine, "versions": versions, "command": command, "rounds": rounds,
                "table": table, "verdicts": verdicts, "trouble": trouble, "runs": runs,
            });
            write(file, &serde_json::to_string_pretty(&all)?)?;
        }
        Ok(trouble.is_empty())
    }
}

fn write(file: &Path, text: &str) -> Result<()> {
    std::fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
}

/// How to do it again: as cargo runs it, with the options that were given, but for the files of this machine that it wrote.
fn command_line(args: impl IntoIterator<Item = String>) -> String {
    let mut line = String::from("cargo run --release -p nuncio-load --");
    let mut args = args.into_iter().skip(1);
    while let Some(arg) = args.next() {
        if ["--markdown", "--json"].contains(&arg.as_str()) {
            args.next();
        } else if !arg.starts_with("--markdown=") && !arg.starts_with("--json=") {
            line.push(' ');
            line.push_str(&arg);
        }
    }
    line
}

/// The medians of all runs that came to their end.
fn tabulate(cases: &[&Case], runs: &[Run]) -> Table {
    let mut table = Table::new();
    for case in cases {
        let mut row = BTreeMap::new();
        for kind in Kind::ALL {
            let reports: Vec<&Report> = runs
                .iter()
                .filter(|run| run.case == case.key && run.subject == kind && run.stopped.is_none())
                .map(|run| &run.report)
                .collect();
            if !reports.is_empty() {
                row.insert(kind, Figures::of(case.measure, &reports));
            }
        }
        table.insert(case.key, row);
    }
    table
}

/// What stopped, and what was lost or doubled.
fn trouble(runs: &[Run]) -> Vec<String> {
    let mut all = Vec::new();
    for run in runs {
        let Run { case, subject, round, report, .. } = run;
        let place = format!("{} at {} in round {}", case, subject.name(), round + 1);
        if let Some(why) = &run.stopped {
            let reached = format!("{} {}s in {:.1} s", report.operations, report.operation, report.seconds);
            all.push(format!("{place} stopped after {reached}: {why}"));
        }
        if report.lost + report.duplicates > 0 {
            all.push(format!("{place}: {} lost, {} twice", report.lost, report.duplicates));
        }
    }
    all
}

/// Each server with its version.
type Versions = Vec<(Kind, String)>;

/// Prepares the servers and runs everything.
fn compare(
    cases: &[&Case],
    kinds: &[Kind],
    rounds: u32,
    sizes: Sizes,
    binary: Option<&Path>,
    folder: &Path,
) -> Result<(Vec<Run>, Versions)> {
    let tls = nuncio_net::ca::local(&folder.join("tls"), &[config::DOMAIN.to_owned()])?;
    let mut subjects = Vec::new();
    for &kind in kinds {
        let begun = Instant::now();
        let ranges = plan::ranges(cases, kind, sizes);
        subjects.push(Subject::prepare(kind, Place::alone(kind)?, folder, &tls, binary, &ranges)?);
        eprintln!("{} is prepared, in {:.1} s", kind.title(), begun.elapsed().as_secs_f64());
    }
    let mut couples: Vec<Couple> = Vec::new();
    for case in cases.iter().filter(|case| case.site != Site::Alone) {
        for &kind in kinds.iter().filter(|kind| case.subjects.contains(kind)) {
            if !couples.iter().any(|couple| (couple.kind, couple.site) == (kind, case.site)) {
                couples.push(Couple::prepare(kind, case.site, folder, binary)?);
            }
        }
    }
    let versions = subjects.iter().map(|subject| (subject.kind, subject.version.clone())).collect();
    let mut runs = Vec::new();
    for round in 0..rounds {
        for case in cases {
            let scenario = Scenario::parse(&case.scenario).with_context(|| case.key)?;
            for couple in order(&mut couples, round)
                .filter(|couple| couple.site == case.site && case.subjects.contains(&couple.kind))
            {
                let run = measure_couple(case, &scenario, couple, round)?;
                eprintln!("round {}/{rounds}  {}", round + 1, progress(case, &run));
                runs.push(run);
            }
            if case.site != Site::Alone {
                continue;
            }
            for subject in order(&mut subjects, round).filter(|subject| case.subjects.contains(&subject.kind))
            {
                let run = measure(case, &scenario, subject, round)?;
                eprintln!("round {}/{rounds}  {}", round + 1, progress(case, &run));
                runs.push(run);
            }
        }
    }
    subjects.iter_mut().for_each(Subject::stop);
    Ok((runs, versions))
}

/// Every other round goes the other way round, so that nobody always follows the same one.
fn order<T>(subjects: &mut [T], round: u32) -> Box<dyn Iterator<Item = &mut T> + '_> {
    if round.is_multiple_of(2) { Box::new(subjects.iter_mut()) } else { Box::new(subjects.iter_mut().rev()) }
}

fn measure(case: &Case, scenario: &Scenario, subject: &mut Subject, round: u32) -> Result<Run> {
    if case.fresh || !subject.runs_with(case.threads) {
        subject.restart(case.threads)?;
    }
    let (report, stopped) = match crate::run(scenario, &subject.target(case.accounts)) {
        Ok(report) => (report, None),
        Err(stopped) => {
            eprintln!("{} stopped: {}\n{}", case.key, stopped.why, subject.log());
            // Whatever state it is in, the next scenario gets a new one.
            subject.stop();
            (*stopped.reached, Some(stopped.why))
        }
    };
    if case.fresh {
        // What the many connections left shall not be in the way of the next scenario.
        subject.stop();
    }
    Ok(Run { case: case.key, subject: subject.kind, round, stopped, report })
}

/// As [`measure`], at servers that live for this one measurement: others run meanwhile, but have nothing to do.
fn measure_couple(case: &Case, scenario: &Scenario, couple: &mut Couple, round: u32) -> Result<Run> {
    couple.restart()?;
    let (report, stopped) = match crate::run(scenario, &couple.target(case.accounts)) {
        Ok(report) => (report, None),
        Err(stopped) => {
            eprintln!("{} stopped: {}\n{}", case.key, stopped.why, couple.log());
            (*stopped.reached, Some(stopped.why))
        }
    };
    couple.stop();
    Ok(Run { case: case.key, subject: couple.kind, round, stopped, report })
}

fn progress(case: &Case, run: &Run) -> String {
    let value = table::quantity(case.measure, figures::value(case.measure, &run.report));
    let outcome = match &run.stopped {
        None => format!("{value:>9}  {:>9.0} /s  in {:.1} s", run.report.rate, run.report.seconds),
        Some(why) => format!("stopped: {why}"),
    };
    format!("{:<12} {:<9} {outcome}", case.key, run.subject.name())
}

/// A folder for the run, readable by the users that the servers run as; gone afterwards.
struct Folder {
    path: PathBuf,
    keep: bool,
}

impl Folder {
    fn new(keep: bool) -> Result<Self> {
        let path = std::env::temp_dir().join(format!("nuncio-compare-{}", std::process::id()));
        std::fs::create_dir(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self { path, keep })
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if self.keep {
            eprintln!("configurations and logs are in {}", self.path.display());
        } else {
            let _removed = std::fs::remove_dir_all(&self.path);
        }
    }
}

/// An interrupt ends the servers too: they are no part of the terminal's group.
fn end_with_signals(folder: PathBuf) -> Result<()> {
    use tokio::signal::unix::{SignalKind, signal};

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut interrupt, mut terminate) = {
        let _inside = runtime.enter();
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
    };
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        });
        group::end_all();
        let _removed = std::fs::remove_dir_all(folder);
        std::process::exit(130);
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_is_the_same_on_any_machine() {
        let args = |text: &str| text.split(' ').map(ToOwned::to_owned).collect::<Vec<_>>();
        for given in ["--markdown /a/page.md --only chat1", "--only chat1 --json=/a/b.json"] {
            assert_eq!(
                command_line(args(&format!("nuncio-load compare {given}"))),
                "cargo run --release -p nuncio-load -- compare --only chat1"
            );
        }
    }

    fn run(case: &'static str, subject: Kind, lost: u64, stopped: Option<&str>) -> Run {
        let server = Some(crate::ServerCost { per_operation_ns: 5_000.0, ..crate::ServerCost::default() });
        let report =
            Report { lost, server, operations: 7, operation: "message".to_owned(), ..Report::default() };
        Run { case, subject, round: 0, stopped: stopped.map(str::to_owned), report }
    }

    #[test]
    fn what_stopped_is_no_part_of_the_medians() {
        let all = plan::cases(Sizes::QUICK);
        let cases: Vec<&Case> = all.iter().filter(|case| case.key == "chat10").collect();
        let runs =
            [run("chat10", Kind::Nuncio, 0, None), run("chat10", Kind::Prosody, 0, Some("the server hangs"))];
        let table = tabulate(&cases, &runs);
        assert_eq!(table["chat10"][&Kind::Nuncio].value, Some(5.0));
        assert!(!table["chat10"].contains_key(&Kind::Prosody));
    }

    /// Whoever stops or loses a message is named, with what was reached; the exit status follows from it.
    #[test]
    fn trouble_is_told_with_its_place() {
        let runs = [
            run("chat10", Kind::Nuncio, 0, None),
            run("chat1", Kind::Prosody, 2, None),
            run("login", Kind::Ejabberd, 0, Some("the server hangs")),
        ];
        let said = trouble(&runs);
        assert_eq!(said.len(), 2);
        assert!(said[0].contains("chat1 at prosody in round 1: 2 lost"), "{said:?}");
        assert!(said[1].contains("login at ejabberd") && said[1].contains("7 messages"), "{said:?}");
        assert!(said[1].contains("the server hangs"), "{said:?}");
    }

    #[test]
    fn a_scenario_that_nobody_knows_is_refused_with_those_there_are() {
        let all = plan::cases(Sizes::QUICK);
        let args = CompareArgs { only: vec!["chat11".to_owned()], ..CompareArgs::default() };
        let said = args.chosen(&all).unwrap_err().to_string();
        assert!(said.contains("chat11") && said.contains("two-threads"), "{said}");
        let args = CompareArgs { only: vec!["chat1".to_owned()], ..CompareArgs::default() };
        assert_eq!(args.chosen(&all).unwrap().len(), 1);
        assert_eq!(CompareArgs::default().chosen(&all).unwrap().len(), all.len());
    }
}
