//! What a figure means beside its baseline and the changelog.

use std::collections::BTreeMap;

/// How far a figure may be above its baseline, in percent; further below it is worth taking over.
pub(super) const TOLERANCE: u64 = 5;

/// What is to be said of one bench.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Within the tolerance.
    Same,
    /// Below it.
    Faster,
    /// Above it, as a line of the changelog says.
    Told,
    /// Above it, and nobody says why.
    Slower,
    /// It has no baseline.
    New,
    /// Its baseline has no bench.
    Gone,
}

impl Verdict {
    /// Whether CI goes on.
    pub(super) const fn passes(self) -> bool {
        matches!(self, Self::Same | Self::Faster | Self::Told)
    }

    /// Its word in the table.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Same => "",
            Self::Faster => "faster",
            Self::Told => "slower, as the changelog says",
            Self::Slower => "SLOWER",
            Self::New => "NO BASELINE",
            Self::Gone => "NO BENCH",
        }
    }
}

/// One bench in the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) name: String,
    pub(super) before: Option<u64>,
    pub(super) now: Option<u64>,
    pub(super) verdict: Verdict,
}

impl Row {
    /// The change in percent, with its sign; a dash if there is nothing to compare.
    pub(super) fn change(&self) -> String {
        match (self.before, self.now) {
            (Some(before), Some(now)) if before > 0 => {
                format!("{:+.1} %", 100.0 * (now as f64 - before as f64) / before as f64)
            }
            _ => "-".to_owned(),
        }
    }
}

/// Above `figure` by more than the tolerance.
const fn is_above(now: u64, figure: u64) -> bool {
    now.saturating_mul(100) > figure.saturating_mul(100 + TOLERANCE)
}

/// Every bench that is measured or has a baseline, by name. `told` is what the changelog says: a figure there allows what a baseline of
/// that figure would.
pub(super) fn judge(
    before: &BTreeMap<String, u64>,
    now: &BTreeMap<String, u64>,
    told: &BTreeMap<String, u64>,
) -> Vec<Row> {
    let mut names: Vec<&String> = before.keys().chain(now.keys()).collect();
    names.sort_unstable();
    names.dedup();
    let row = |name: &String| {
        let (before, now) = (before.get(name).copied(), now.get(name).copied());
        let verdict = match (before, now) {
            (None, _) => Verdict::New,
            (_, None) => Verdict::Gone,
            (Some(before), Some(now)) if is_above(now, before) => match told.get(name) {
                Some(figure) if !is_above(now, *figure) => Verdict::Told,
                _ => Verdict::Slower,
            },
            (Some(before), Some(now)) if now * 100 < before * (100 - TOLERANCE) => Verdict::Faster,
            _ => Verdict::Same,
        };
        Row { name: name.clone(), before, now, verdict }
    };
    names.into_iter().map(row).collect()
}

/// The line that a slower bench needs in the changelog.
pub(super) fn line(name: &str, now: u64, why: &str) -> String {
    format!("- **slower** `{name}` {} instructions: {why}", grouped(now))
}

/// A number with its thousands apart.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            grouped.push(' ');
        }
        grouped.push(digit);
    }
    grouped
}

/// The figures that the changelog's Unreleased section gives, each with a reason. A bench that is named twice has the last one.
pub(super) fn told(changelog: &str) -> BTreeMap<String, u64> {
    changelog
        .lines()
        .skip_while(|line| line.trim_end() != "## Unreleased")
        .skip(1)
        .take_while(|line| !line.starts_with("## "))
        .filter_map(|line| {
            let (name, rest) = line.strip_prefix("- **slower** `")?.split_once("` ")?;
            let (figure, why) = rest.split_once(" instructions: ")?;
            let digits: String = figure.chars().filter(|c| *c != ' ').collect();
            let reasoned = why.chars().any(char::is_alphanumeric);
            Some((name.to_owned(), digits.parse().ok()?)).filter(|_| reasoned)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(all: &[(&str, u64)]) -> BTreeMap<String, u64> {
        all.iter().map(|(name, figure)| ((*name).to_owned(), *figure)).collect()
    }

    fn verdict(before: Option<u64>, now: Option<u64>, changelog: &str) -> Verdict {
        let of = |figure: Option<u64>| {
            figures(&figure.map(|figure| ("route", figure)).into_iter().collect::<Vec<_>>())
        };
        let rows = judge(&of(before), &of(now), &told(changelog));
        assert_eq!(rows.len(), 1);
        rows[0].verdict
    }

    #[test]
    fn each_case_has_its_verdict() {
        let line = "# Changelog\n\n## Unreleased\n\n- **added** x\n- **slower** `route` 1 100 instructions: it checks more\n";
        for (before, now, changelog, expected, passes) in [
            (Some(1_000), Some(1_000), "", Verdict::Same, true),
            (Some(1_000), Some(1_050), "", Verdict::Same, true),
            (Some(1_000), Some(950), "", Verdict::Same, true),
            (Some(1_000), Some(949), "", Verdict::Faster, true),
            (Some(1_000), Some(1_051), "", Verdict::Slower, false),
            (Some(1_000), Some(1_051), line, Verdict::Told, true),
            (Some(1_000), Some(1_155), line, Verdict::Told, true),
            // More than the line admits.
            (Some(1_000), Some(1_156), line, Verdict::Slower, false),
            (Some(1_000), Some(900), line, Verdict::Faster, true),
            (None, Some(1_000), "", Verdict::New, false),
            (Some(1_000), None, "", Verdict::Gone, false),
        ] {
            let found = verdict(before, now, changelog);
            assert_eq!((found, found.passes()), (expected, passes), "{before:?} {now:?} {changelog:?}");
        }
    }

    #[test]
    fn a_line_counts_only_in_its_form_and_its_place() {
        let good = line("route", 1_100, "it checks more");
        assert_eq!(good, "- **slower** `route` 1 100 instructions: it checks more");
        let under = |heading: &str, line: &str| format!("# Changelog\n\n{heading}\n\n{line}\n");
        assert_eq!(told(&under("## Unreleased", &good)), figures(&[("route", 1_100)]));
        for changelog in [
            under("## 0.1.0", &good),
            format!("## Unreleased\n\n## 0.1.0\n\n{good}\n"),
            under("## Unreleased", "- **slower** `route` 1 100 instructions: "),
            under("## Unreleased", "- **slower** `route` instructions: it checks more"),
            under("## Unreleased", "- **slower** `route` 7 percent: it checks more"),
            under("## Unreleased", "- **changed** `route` 1 100 instructions: it checks more"),
        ] {
            assert!(told(&changelog).is_empty(), "{changelog}");
        }
        let other = under("## Unreleased", &line("read", 1_100, "it checks more"));
        assert_eq!(verdict(Some(1_000), Some(1_100), &other), Verdict::Slower, "another bench's line");
    }

    #[test]
    fn changes_are_told_with_their_sign() {
        let row = |before, now| Row { name: String::new(), before, now, verdict: Verdict::Same }.change();
        assert_eq!(row(Some(1_000), Some(1_070)), "+7.0 %");
        assert_eq!(row(Some(1_000), Some(500)), "-50.0 %");
        assert_eq!(row(None, Some(500)), "-");
        assert_eq!([grouped(7), grouped(1_000), grouped(1_234_567)], ["7", "1 000", "1 234 567"]);
    }
}
