//! The arithmetic of the table: medians, ratios, and whether a goal is reached.

use std::collections::BTreeMap;

use serde::Serialize;

use super::plan::{Case, Goal, Measure, Percentile};
use super::subject::Kind;
use crate::Report;

/// The middle of the values, or the mean of the middle two; none if there are none or one is no number.
pub(super) fn median(values: &[f64]) -> Option<f64> {
    if values.is_empty() || values.iter().any(|value| !value.is_finite()) {
        return None;
    }
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let upper = sorted.get(sorted.len() / 2)?;
    let lower = sorted.get((sorted.len() - 1) / 2)?;
    Some(f64::midpoint(*lower, *upper))
}

/// One over the other; none where that says nothing.
pub(super) fn ratio(one: Option<f64>, other: Option<f64>) -> Option<f64> {
    match (one, other) {
        (Some(one), Some(other)) if other > 0.0 => Some(one / other),
        _ => None,
    }
}

/// The figures of one subject in one case: medians over the rounds.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Figures {
    /// What the case is about: microseconds of CPU per operation, or bytes per connection.
    pub(super) value: Option<f64>,
    /// The smallest of the rounds, and the largest.
    pub(super) spread: Option<(f64, f64)>,
    /// Operations a second.
    pub(super) rate: Option<f64>,
    /// Microseconds of the median operation.
    pub(super) p50: Option<f64>,
    /// Microseconds that 99 of 100 operations stay below.
    pub(super) p99: Option<f64>,
    /// The same two without the disturbance that the case is about.
    pub(super) calm: Option<(f64, f64)>,
    /// Connections between the servers: the most of all rounds.
    pub(super) connections: Option<u64>,
    /// The generator's own CPU per operation in microseconds.
    pub(super) generator: Option<f64>,
    /// Messages lost, in all rounds together.
    pub(super) lost: u64,
    /// Messages that came twice, in all rounds together.
    pub(super) duplicates: u64,
    /// How many rounds were measured to the end.
    pub(super) rounds: usize,
}

/// What a case measures, of one report.
pub(super) fn value(measure: Measure, report: &Report) -> Option<f64> {
    match measure {
        Measure::Cpu => report.server.map(|server| server.per_operation_ns / 1_000.0),
        Measure::Memory => report.memory.map(|memory| memory.per_connection),
        Measure::Latency => report.latency.map(|latency| latency.p99),
    }
}

impl Figures {
    /// The figures of these reports.
    pub(super) fn of(measure: Measure, reports: &[&Report]) -> Self {
        let all = |get: &dyn Fn(&Report) -> Option<f64>| -> Vec<f64> {
            reports.iter().filter_map(|report| get(report)).collect()
        };
        let values = all(&|report| value(measure, report));
        let spread = values.iter().copied().fold(None, |spread: Option<(f64, f64)>, value| {
            Some(spread.map_or((value, value), |(low, high)| (low.min(value), high.max(value))))
        });
        Self {
            value: median(&values),
            spread,
            rate: median(&all(&|report| Some(report.rate))),
            p50: median(&all(&|report| report.latency.map(|latency| latency.p50))),
            p99: median(&all(&|report| report.latency.map(|latency| latency.p99))),
            calm: median(&all(&|report| report.calm.map(|calm| calm.p50)))
                .zip(median(&all(&|report| report.calm.map(|calm| calm.p99)))),
            connections: reports.iter().filter_map(|report| report.between_servers).max(),
            generator: median(&all(&|report| Some(report.generator_ns / 1_000.0))),
            lost: reports.iter().map(|report| report.lost).sum(),
            duplicates: reports.iter().map(|report| report.duplicates).sum(),
            rounds: reports.len(),
        }
    }
}

/// All figures: by case, then by subject.
pub(super) type Table = BTreeMap<&'static str, BTreeMap<Kind, Figures>>;

/// Whether a goal is reached, and what was compared.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Verdict {
    /// What is asked, for people.
    pub(super) asked: String,
    /// What was found, in the goal's own unit; none if something needed was not measured.
    pub(super) found: Option<f64>,
    /// Whether it holds; none if it cannot be said.
    pub(super) holds: Option<bool>,
    /// What `found` is, for the table.
    #[serde(skip)]
    pub(super) unit: Unit,
}

/// What a finding is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Unit {
    /// How many times the other.
    #[default]
    Times,
    /// As the case measures.
    Measured,
    /// A number.
    Count,
}

/// By how much the rate can rise at most from one worker thread to two, where server and generator share the cores: one thread leaves the generator
/// the other cores; two threads and the generator share all of them. Two, where there are cores enough.
pub(super) fn rise(cores: usize, server: f64, generator: f64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a number of cores")]
    let cores = cores as f64;
    let one = (1.0 / server).min((cores - 1.0).max(0.5) / generator);
    let two = (2.0 / server).min(cores / (server + generator));
    two / one
}

/// Judges a case, measured on a machine with so many cores: a verdict for each of its goals.
pub(super) fn verdicts(case: &Case, table: &Table, cores: usize) -> Vec<Verdict> {
    case.goals.iter().map(|&goal| verdict(case, goal, table, cores)).collect()
}

fn verdict(case: &Case, goal: Goal, table: &Table, cores: usize) -> Verdict {
    let of = |key: &str, kind: Kind| table.get(key).and_then(|row| row.get(&kind));
    let value = |key: &str, kind: Kind| of(key, kind).and_then(|figures| figures.value);
    let nuncio = value(case.key, Kind::Nuncio);
    let mut unit = Unit::Times;
    let (asked, found, most) = match goal {
        Goal::OfRelay(most) => {
            let found = ratio(nuncio, value(case.key, Kind::Relay));
            (format!("at most {most} x the relay"), found, most)
        }
        Goal::AtMost(most) => {
            let text = super::table::quantity(case.measure, Some(most));
            unit = Unit::Measured;
            (format!("at most {text}"), nuncio, most)
        }
        Goal::OfRival(rival, most) => {
            let found = ratio(nuncio, value(case.key, rival));
            (format!("at most {most} x {}", rival.title()), found, most)
        }
        Goal::Connections(most) => {
            let found = of(case.key, Kind::Nuncio).and_then(|figures| figures.connections);
            let text =
                if most == 1 { "one connection".to_owned() } else { format!("at most {most} connections") };
            #[expect(clippy::cast_precision_loss, reason = "a number of connections")]
            let (found, most) = (found.map(|found| found as f64), most as f64);
            unit = Unit::Count;
            (text, found, most)
        }
        Goal::Undisturbed(percentile, most) => {
            let figures = of(case.key, Kind::Nuncio);
            let calm = figures.and_then(|figures| figures.calm);
            let (name, now, calm) = match percentile {
                Percentile::P50 => ("p50", figures.and_then(|figures| figures.p50), calm.map(|calm| calm.0)),
                Percentile::P99 => ("p99", figures.and_then(|figures| figures.p99), calm.map(|calm| calm.1)),
            };
            (format!("{name} at most {most} x that without them"), ratio(now, calm), most)
        }
        Goal::Median(most) => {
            let found = of(case.key, Kind::Nuncio).and_then(|figures| figures.p50);
            unit = Unit::Measured;
            (format!("median at most {}", super::table::quantity(case.measure, Some(most))), found, most)
        }
        Goal::OfBetterRival(most) => {
            let found = ratio(nuncio, better_rival(case.key, table));
            (format!("at most {most} x the better rival"), found, most)
        }
        Goal::OfCase(key, most) => {
            let found = ratio(nuncio, value(key, Kind::Nuncio));
            (format!("at most {most} x {key}"), found, most)
        }
        Goal::OfRelayOf(key, most) => {
            let found = ratio(nuncio, value(key, Kind::Relay));
            (format!("at most {most} x the relay of {key}"), found, most)
        }
        Goal::RateOfCase(key, least) => {
            let rate = |key| of(key, Kind::Nuncio).and_then(|figures| figures.rate);
            let found = ratio(rate(case.key), rate(key));
            let generator = of(key, Kind::Nuncio).and_then(|figures| figures.generator);
            let possible = value(key, Kind::Nuncio)
                .zip(generator)
                .map(|(server, generator)| rise(cores, server, generator));
            let holds = found.zip(possible).map(|(found, possible)| found >= least * possible);
            let most = possible.map_or_else(String::new, |possible| {
                format!(", of {possible:.2} x that {cores} cores leave")
            });
            return Verdict {
                asked: format!("at least {least} x the rate of {key}{most}"),
                found,
                holds,
                unit,
            };
        }
    };
    Verdict { asked, found, holds: found.map(|found| found <= most), unit }
}

/// The smaller value of the two rivals, of those that were measured.
pub(super) fn better_rival(key: &str, table: &Table) -> Option<f64> {
    let row = table.get(key)?;
    [Kind::Prosody, Kind::Ejabberd]
        .into_iter()
        .filter_map(|kind| row.get(&kind)?.value)
        .min_by(f64::total_cmp)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Latency, Memory, ServerCost};

    fn report(cpu_us: f64) -> Report {
        Report {
            rate: 1_000.0,
            lost: 1,
            latency: Some(Latency { p50: 10.0, p99: 90.0, ..Latency::default() }),
            server: Some(ServerCost { per_operation_ns: cpu_us * 1_000.0, ..ServerCost::default() }),
            memory: Some(Memory { per_connection: 9_000.0, ..Memory::default() }),
            generator_ns: 2_000.0,
            ..Report::default()
        }
    }

    fn case(goal: Goal) -> Case {
        Case { key: "chat", goals: vec![goal], ..Case::default() }
    }

    fn table(values: &[(&'static str, Kind, f64)]) -> Table {
        let mut table = Table::new();
        for (key, kind, value) in values {
            let rate = Some(1_000.0 / value);
            let figures = Figures { value: Some(*value), rate, generator: Some(0.0), ..Figures::default() };
            table.entry(key).or_default().insert(*kind, figures);
        }
        table
    }

    #[test]
    fn the_median_is_in_the_middle() {
        for (values, wanted) in [
            (vec![], None),
            (vec![3.0], Some(3.0)),
            (vec![9.0, 1.0, 2.0], Some(2.0)),
            (vec![4.0, 1.0, 2.0, 100.0], Some(3.0)),
            (vec![1.0, f64::NAN], None),
        ] {
            assert_eq!(median(&values), wanted, "{values:?}");
        }
    }

    #[test]
    fn a_ratio_needs_both_sides() {
        assert_eq!(ratio(Some(3.0), Some(2.0)), Some(1.5));
        for (one, other) in [(None, Some(1.0)), (Some(1.0), None), (Some(1.0), Some(0.0))] {
            assert_eq!(ratio(one, other), None);
        }
    }

    #[test]
    fn figures_are_medians_and_losses_are_sums() {
        let reports = [report(7.0), report(9.0), report(8.0)];
        let figures = Figures::of(Measure::Cpu, &reports.iter().collect::<Vec<_>>());
        assert_eq!((figures.value, figures.spread), (Some(8.0), Some((7.0, 9.0))));
        assert_eq!((figures.lost, figures.rounds), (3, 3));
        assert_eq!((figures.p99, figures.generator), (Some(90.0), Some(2.0)));
        let memory = Figures::of(Measure::Memory, &[&reports[0]]);
        assert_eq!(memory.value, Some(9_000.0));
        assert_eq!(Figures::of(Measure::Cpu, &[]).value, None);
        assert_eq!(Figures::of(Measure::Cpu, &[&Report::default()]).value, None);
    }

    #[test]
    fn goals_are_judged_at_their_bounds() {
        let measured = table(&[
            ("chat", Kind::Nuncio, 10.0),
            ("chat", Kind::Relay, 8.0),
            ("chat", Kind::Prosody, 60.0),
            ("chat", Kind::Ejabberd, 90.0),
            ("base", Kind::Nuncio, 5.0),
        ]);
        for (goal, found, holds) in [
            (Goal::OfRelay(1.25), Some(1.25), Some(true)),
            (Goal::OfRelay(1.2), Some(1.25), Some(false)),
            (Goal::AtMost(10.0), Some(10.0), Some(true)),
            (Goal::AtMost(9.9), Some(10.0), Some(false)),
            (Goal::OfBetterRival(0.1), Some(10.0 / 60.0), Some(false)),
            (Goal::OfBetterRival(0.2), Some(10.0 / 60.0), Some(true)),
            (Goal::OfRival(Kind::Ejabberd, 0.2), Some(10.0 / 90.0), Some(true)),
            (Goal::OfRival(Kind::Prosody, 0.1), Some(10.0 / 60.0), Some(false)),
            (Goal::Connections(1), None, None),
            (Goal::Undisturbed(Percentile::P50, 1.1), None, None),
            (Goal::OfCase("base", 2.0), Some(2.0), Some(true)),
            (Goal::OfCase("base", 1.2), Some(2.0), Some(false)),
            (Goal::OfCase("nothing", 1.2), None, None),
            (Goal::OfRelayOf("chat", 1.25), Some(1.25), Some(true)),
            (Goal::OfRelayOf("chat", 1.2), Some(1.25), Some(false)),
            (Goal::OfRelayOf("base", 4.0), None, None),
            // The generator costs nothing here, so that twice the rate is possible.
            (Goal::RateOfCase("base", 0.25), Some(0.5), Some(true)),
            (Goal::RateOfCase("base", 0.9), Some(0.5), Some(false)),
            (Goal::RateOfCase("nothing", 0.9), None, None),
        ] {
            let verdict = &verdicts(&case(goal), &measured, 2)[0];
            assert_eq!((verdict.found, verdict.holds), (found, holds), "{goal:?}");
        }
    }

    /// Between servers the most connections of all rounds count; a latency is compared with its own percentile without the disturbance.
    #[test]
    fn connections_and_latencies_are_judged() {
        let latency = |p50: f64, p99: f64| Some(Latency { p50, p99, ..Latency::default() });
        let reports = [1, 2].map(|count| Report {
            between_servers: Some(count),
            latency: latency(110.0, 300.0),
            calm: latency(100.0, 200.0),
            ..Report::default()
        });
        let figures = Figures::of(Measure::Latency, &reports.iter().collect::<Vec<_>>());
        assert_eq!(figures.value, Some(300.0));
        let measured = Table::from([("chat", BTreeMap::from([(Kind::Nuncio, figures)]))]);
        let case = Case {
            goals: vec![
                Goal::Connections(1),
                Goal::Connections(2),
                Goal::Undisturbed(Percentile::P50, 1.1),
                Goal::Undisturbed(Percentile::P99, 1.4),
            ],
            ..case(Goal::AtMost(1.0))
        };
        let all: Vec<_> =
            verdicts(&case, &measured, 2).iter().map(|verdict| (verdict.found, verdict.holds)).collect();
        assert_eq!(
            all,
            [
                (Some(2.0), Some(false)),
                (Some(2.0), Some(true)),
                (Some(1.1), Some(true)),
                (Some(1.5), Some(false))
            ]
        );
    }

    /// With a generator as costly as the server, two cores are full with one thread already; four leave the whole rise.
    #[test]
    fn the_rise_is_what_the_cores_leave() {
        for (cores, server, generator, wanted) in
            [(2, 10.0, 10.0, 1.0), (2, 10.0, 5.0, 4.0 / 3.0), (4, 10.0, 5.0, 2.0), (2, 10.0, 0.0, 2.0)]
        {
            let found = rise(cores, server, generator);
            assert!((found - wanted).abs() < 1e-9, "{cores} {server} {generator}: {found}");
        }
    }

    /// What was not measured is neither reached nor missed.
    #[test]
    fn without_a_relay_nothing_is_said() {
        let measured = table(&[("chat", Kind::Nuncio, 10.0)]);
        for goal in [Goal::OfRelay(1.5), Goal::OfBetterRival(0.1)] {
            assert_eq!(verdicts(&case(goal), &measured, 2)[0].holds, None);
        }
        assert!(verdicts(&Case { goals: Vec::new(), ..case(Goal::AtMost(1.0)) }, &measured, 2).is_empty());
        assert_eq!(better_rival("chat", &measured), None);
        let one = table(&[("chat", Kind::Ejabberd, 90.0)]);
        assert_eq!(better_rival("chat", &one), Some(90.0));
    }
}
