//! The table, for people and as Markdown.

use std::fmt::Write as _;

use super::figures::{self, Figures, Table, Unit, Verdict};
use super::machine::Machine;
use super::plan::{Case, Measure};
use super::subject::Kind;

/// What a page is made of.
pub(super) struct Page<'a> {
    pub(super) cases: &'a [&'a Case],
    pub(super) kinds: &'a [Kind],
    pub(super) table: &'a Table,
    pub(super) machine: &'a Machine,
    /// Subject and version.
    pub(super) versions: &'a [(Kind, String)],
    /// The command that makes it again.
    pub(super) command: &'a str,
    pub(super) rounds: u32,
    /// How long the run took.
    pub(super) took: std::time::Duration,
    /// What went wrong, each with its subject and case.
    pub(super) trouble: &'a [String],
}

/// A value with its unit, to three digits; a dash for none.
pub(super) fn quantity(measure: Measure, value: Option<f64>) -> String {
    let Some(value) = value else { return "-".to_owned() };
    match measure {
        Measure::Cpu | Measure::Latency if value >= 1_000.0 => format!("{} ms", digits(value / 1_000.0)),
        Measure::Cpu | Measure::Latency => format!("{} us", digits(value)),
        Measure::Memory => format!("{} kB", digits(value / 1_000.0)),
    }
}

/// Three digits that count.
fn digits(value: f64) -> String {
    let magnitude = value.abs();
    if magnitude >= 99.95 {
        format!("{value:.0}")
    } else if magnitude >= 9.995 {
        format!("{value:.1}")
    } else {
        format!("{value:.2}")
    }
}

fn times(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{} x", digits(value)))
}

/// What was found, and whether it is what was asked.
fn found(measure: Measure, verdict: &Verdict) -> String {
    let found = match verdict.unit {
        Unit::Times => times(verdict.found),
        Unit::Measured => quantity(measure, verdict.found),
        Unit::Count => rate(verdict.found),
    };
    let word = match verdict.holds {
        Some(true) => "holds",
        Some(false) => "does not hold",
        None => "not measured",
    };
    format!("{found}: {word}")
}

fn rate(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.0}"))
}

fn micros(value: Option<f64>) -> String {
    quantity(Measure::Cpu, value)
}

impl Page<'_> {
    fn figures(&self, case: &Case, kind: Kind) -> Option<&Figures> {
        self.table.get(case.key)?.get(&kind)
    }

    fn versioned(&self, kind: Kind) -> String {
        match self.versions.iter().find(|(other, _)| *other == kind) {
            Some((_, version)) if !version.is_empty() => format!("{} {version}", kind.title()),
            _ => kind.title().to_owned(),
        }
    }

    /// The rows of the main table, the heading first.
    fn main(&self) -> Vec<Vec<String>> {
        let mut heading = vec!["what".to_owned()];
        heading.extend(self.kinds.iter().map(|&kind| self.versioned(kind)));
        heading.extend(["Nuncio / relay", "best rival / Nuncio", "asked", "found"].map(str::to_owned));
        let mut rows = vec![heading];
        for case in self.cases {
            let value = |kind| self.figures(case, kind).and_then(|figures| figures.value);
            let mut row = vec![format!("{} [{}]", case.title, case.key)];
            row.extend(self.kinds.iter().map(|&kind| quantity(case.measure, value(kind))));
            row.push(times(figures::ratio(value(Kind::Nuncio), value(Kind::Relay))));
            row.push(times(figures::ratio(figures::better_rival(case.key, self.table), value(Kind::Nuncio))));
            let verdicts = figures::verdicts(case, self.table, self.machine.cores);
            let joined =
                |text: &dyn Fn(&Verdict) -> String| verdicts.iter().map(text).collect::<Vec<_>>().join("; ");
            row.push(joined(&|verdict| verdict.asked.clone()));
            row.push(joined(&|verdict| found(case.measure, verdict)));
            rows.push(row);
        }
        rows
    }

    /// The rows of the table with everything else, the heading first.
    fn details(&self) -> Vec<Vec<String>> {
        let heading = [
            "case",
            "subject",
            "value",
            "from",
            "to",
            "rate /s",
            "p50",
            "p99",
            "lost",
            "twice",
            "generator CPU",
            "generator / server",
        ];
        let mut rows = vec![heading.map(str::to_owned).to_vec()];
        for case in self.cases {
            for &kind in self.kinds {
                let Some(figures) = self.figures(case, kind) else { continue };
                let (from, to) = figures.spread.unzip();
                let share = match case.measure {
                    Measure::Cpu => figures::ratio(figures.generator, figures.value),
                    Measure::Memory | Measure::Latency => None,
                };
                rows.push(vec![
                    case.key.to_owned(),
                    kind.name().to_owned(),
                    quantity(case.measure, figures.value),
                    quantity(case.measure, from),
                    quantity(case.measure, to),
                    rate(figures.rate.filter(|_| case.measure != Measure::Memory)),
                    micros(figures.p50),
                    micros(figures.p99),
                    figures.lost.to_string(),
                    figures.duplicates.to_string(),
                    micros(figures.generator.filter(|_| case.measure == Measure::Cpu)),
                    times(share),
                ]);
            }
        }
        rows
    }

    fn origin(&self) -> String {
        let versions: Vec<_> = self.kinds.iter().map(|&kind| self.versioned(kind)).collect();
        format!(
            "{}\n{}\n{}, in {:.0} minutes. Made by: {}",
            self.machine.line(),
            versions.join(", "),
            if self.rounds == 1 {
                "One round of each case".to_owned()
            } else {
                format!("Medians of {} rounds, interleaved", self.rounds)
            },
            self.took.as_secs_f64() / 60.0,
            self.command
        )
    }

    /// For a terminal.
    pub(super) fn text(&self) -> String {
        let mut out = String::new();
        let _ = writeln!(out, "{}\n\n{}\n{}", self.origin(), aligned(&self.main()), aligned(&self.details()));
        for trouble in self.trouble {
            let _ = writeln!(out, "TROUBLE {trouble}");
        }
        out
    }

    /// The page of the manual.
    pub(super) fn markdown(&self) -> String {
        let mut out = String::from("# Benchmarks\n<!-- Made by `nuncio-load compare`; do not edit. -->\n\n");
        let _ = writeln!(
            out,
            "Measured in one run on one machine; figures of different machines do not compare, ratios of one run do.\n\n```text\n{}\n```\n",
            self.origin()
        );
        out.push_str(&markdown(&self.main()));
        out.push_str(
            "\nCPU is the server process's own CPU time, all threads, children included, by operation; memory is what its resident memory has grown by, by \
             open connection. kB is 1000 bytes. The relay passes bytes between two TLS connections with the same TLS library, without XML and routing: \
             the least that a server could cost. The generator runs on the same cores.\n\n## Rates, latencies, and the generator\n\n",
        );
        out.push_str(&markdown(&self.details()));
        if !self.trouble.is_empty() {
            out.push_str("\n## What went wrong\n\n");
            for trouble in self.trouble {
                let _ = writeln!(out, "- {}", trouble.replace('\n', " "));
            }
        }
        out.push_str(CONFIGURED);
        out
    }
}

/// How the servers stood against each other, for the page.
const CONFIGURED: &str = "
## How the servers are configured

One certificate (ECDSA P-256) for all, TLS 1.3 on a port of its own, loopback, SCRAM-SHA-1 with 4096 iterations over stored keys, each server with its own default
store (Prosody `internal`, ejabberd mnesia, Nuncio SQLite), no rate limits and no shapers, logs at `info` in files, and the modules that the scenarios need (roster, presence, disco, offline
messages, stream management, ping). Prosody runs with its epoll backend and its default garbage collection, ejabberd with the emulator flags of its Debian
package, Nuncio with everything that is on by default. The configurations stand in `crates/load/src/compare/config.rs`.
";

/// Columns of equal width, numbers to the right.
fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut out = String::new();
    for row in rows {
        let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, &width))| match column {
            0 => format!("{cell:width$}"),
            _ => format!("{cell:>width$}"),
        });
        let _ = writeln!(out, "{}", cells.collect::<Vec<_>>().join("  ").trim_end());
    }
    out
}

fn markdown(rows: &[Vec<String>]) -> String {
    let mut out = String::new();
    for (number, row) in rows.iter().enumerate() {
        let cells: Vec<_> = row.iter().map(|cell| cell.replace('|', "\\|")).collect();
        let _ = writeln!(out, "| {} |", cells.join(" | "));
        if number == 0 {
            let _ = writeln!(out, "|{}", "---|".repeat(row.len()));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::plan::Goal;
    use super::*;

    #[test]
    fn quantities_have_three_digits_and_their_unit() {
        for (measure, value, wanted) in [
            (Measure::Cpu, Some(6.789), "6.79 us"),
            (Measure::Cpu, Some(66.04), "66.0 us"),
            (Measure::Cpu, Some(145.2), "145 us"),
            (Measure::Cpu, Some(99.96), "100 us"),
            (Measure::Cpu, Some(7_012.0), "7.01 ms"),
            (Measure::Memory, Some(21_040.0), "21.0 kB"),
            (Measure::Memory, None, "-"),
        ] {
            assert_eq!(quantity(measure, value), wanted);
        }
    }

    fn page(check: impl FnOnce(&Page<'_>)) {
        let case = Case {
            key: "chat10",
            title: "CPU per message".to_owned(),
            subjects: &Kind::ALL,
            goals: vec![Goal::OfRelay(1.5), Goal::OfRival(Kind::Prosody, 0.2)],
            ..Case::default()
        };
        let mut table = Table::new();
        for (kind, value) in [(Kind::Nuncio, 12.0), (Kind::Relay, 6.0), (Kind::Prosody, 60.0)] {
            let figures = Figures {
                value: Some(value),
                generator: Some(3.0),
                spread: Some((value - 1.0, value + 1.0)),
                ..Figures::default()
            };
            table.entry("chat10").or_default().insert(kind, figures);
        }
        check(&Page {
            cases: &[&case],
            kinds: &Kind::ALL,
            table: &table,
            machine: &Machine { processor: "Some CPU".to_owned(), cores: 2, ..Machine::default() },
            versions: &[(Kind::Prosody, "0.12.3".to_owned())],
            command: "nuncio-load compare",
            rounds: 3,
            took: std::time::Duration::from_secs(660),
            trouble: &["prosody chat10: lost 2 messages".to_owned()],
        });
    }

    #[test]
    fn a_row_has_every_figure_and_the_ratios() {
        page(|page| {
            let rows = page.main();
            assert_eq!(rows[0].len(), rows[1].len());
            assert!(rows[0].contains(&"Prosody 0.12.3".to_owned()));
            assert_eq!(
                rows[1],
                [
                    "CPU per message [chat10]",
                    "60.0 us",
                    "-",
                    "6.00 us",
                    "12.0 us",
                    "2.00 x",
                    "5.00 x",
                    "at most 1.5 x the relay; at most 0.2 x Prosody",
                    "2.00 x: does not hold; 0.20 x: holds"
                ]
            );
        });
    }

    #[test]
    fn the_page_says_where_it_comes_from_and_what_went_wrong() {
        page(|page| {
            for text in [page.text(), page.markdown()] {
                for wanted in
                    ["Some CPU", "nuncio-load compare", "does not hold", "lost 2 messages", "3 rounds"]
                {
                    assert!(text.contains(wanted), "{wanted} is missing in {text}");
                }
            }
            assert!(page.markdown().contains("|---|---|"));
            // The generator costs half of what the relay costs.
            assert!(page.details().iter().any(|row| row[1] == "relay" && row[11] == "0.50 x"));
            assert!(!page.details().iter().any(|row| row[1] == "ejabberd"));
        });
    }

    #[test]
    fn columns_are_aligned() {
        let rows = [vec!["a".to_owned(), "1".to_owned()], vec!["bcd".to_owned(), "234".to_owned()]];
        assert_eq!(aligned(&rows), "a      1\nbcd  234\n");
    }
}
