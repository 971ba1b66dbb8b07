//! What was run, how it went and how long it took; and the closing line.

use std::time::Duration;

/// One step of a run.
struct Step {
    name: String,
    passed: usize,
    failed: usize,
    time: Duration,
    note: String,
}

/// All steps so far.
#[derive(Default)]
pub(crate) struct Summary {
    steps: Vec<Step>,
}

impl Summary {
    /// A step that counts as one.
    pub(crate) fn step(&mut self, name: &str, good: bool, time: Duration, note: &str) {
        self.add(name, usize::from(good), usize::from(!good), time, note);
    }

    /// A step with counts of its own.
    pub(crate) fn add(&mut self, name: &str, passed: usize, failed: usize, time: Duration, note: &str) {
        self.steps.push(Step { name: name.to_owned(), passed, failed, time, note: note.to_owned() });
    }

    /// Whether nothing failed, and something was run.
    pub(crate) fn sound(&self) -> bool {
        !self.steps.is_empty() && self.steps.iter().all(|step| step.failed == 0)
    }

    /// Prints the table and the closing line `N passed, N failed`.
    pub(crate) fn print(&self) {
        println!("\n== summary");
        for step in &self.steps {
            let verdict = if step.failed == 0 { "ok  " } else { "FAIL" };
            println!(
                "{verdict} {:<34} {:>5} passed {:>3} failed {:>7.1} s  {}",
                step.name,
                step.passed,
                step.failed,
                step.time.as_secs_f64(),
                step.note
            );
        }
        let passed: usize = self.steps.iter().map(|step| step.passed).sum();
        let failed: usize = self.steps.iter().map(|step| step.failed).sum();
        println!("{passed} passed, {failed} failed");
    }
}

/// The sums of the lines `test result: ok. N passed; N failed; ...` that cargo's test runner prints.
pub(crate) fn cargo_counts(output: &str) -> (usize, usize) {
    let mut sums = (0, 0);
    for line in output.lines().filter(|line| line.starts_with("test result:")) {
        sums.0 += before(line, " passed");
        sums.1 += before(line, " failed");
    }
    sums
}

/// The counts of the last line `N passed, N failed` that our own runner prints.
pub(crate) fn runner_counts(output: &str) -> Option<(usize, usize)> {
    let line = output.lines().rev().find(|line| line.contains(" passed, ") && line.contains(" failed"))?;
    Some((before(line, " passed"), before(line, " failed")))
}

/// The names of the tests that cargo's runner lists under `failures:`.
pub(crate) fn cargo_failures(output: &str) -> Vec<String> {
    let mut names = Vec::new();
    for list in output.split("\nfailures:\n").skip(1) {
        let entries = list.lines().take_while(|line| line.starts_with("    "));
        names.extend(entries.map(|line| line.trim().to_owned()));
    }
    names
}

/// The number right before `word`.
fn before(line: &str, word: &str) -> usize {
    let end = line.find(word).unwrap_or(0);
    let digits: String = line[..end].chars().rev().take_while(char::is_ascii_digit).collect();
    digits.chars().rev().collect::<String>().parse().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_read_from_what_the_runners_print() {
        let cargo = "running 2 tests\ntest result: ok. 12 passed; 0 failed; 1 ignored; 0 measured\n\
                     test result: FAILED. 3 passed; 2 failed; 0 ignored;";
        assert_eq!(cargo_counts(cargo), (15, 2));
        assert_eq!(runner_counts("x\n63 passed, 1 failed, 4 skipped\n--- log"), Some((63, 1)));
        assert_eq!(runner_counts("nothing"), None);
        let failed =
            "failures:\n\n---- a::b stdout ----\nx\n\nfailures:\n    a::b\n    c\n\ntest result: FAILED";
        assert_eq!(cargo_failures(failed), ["a::b", "c"]);
    }

    #[test]
    fn an_empty_run_is_not_sound() {
        assert!(!Summary::default().sound());
    }
}
