//! Where the figures come from: the machine, the day, the versions.

use std::path::Path;
use std::process::Command;

use serde::Serialize;

/// The machine and the day.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Machine {
    /// The processor's model.
    pub(super) processor: String,
    /// Cores that this process may use.
    pub(super) cores: usize,
    /// Memory in gibibytes, rounded.
    pub(super) memory_gib: u64,
    /// The distribution.
    pub(super) system: String,
    /// The kernel's release.
    pub(super) kernel: String,
    /// The day, as `2026-01-31`.
    pub(super) date: String,
}

impl Machine {
    /// Looks around. What cannot be found out is empty or zero.
    pub(super) fn look() -> Self {
        let read = |file: &str| std::fs::read_to_string(file).unwrap_or_default();
        Self {
            processor: after(&read("/proc/cpuinfo"), "model name", ':').unwrap_or_default(),
            cores: std::thread::available_parallelism().map_or(0, std::num::NonZero::get),
            memory_gib: after(&read("/proc/meminfo"), "MemTotal", ':')
                .and_then(|text| text.split(' ').next()?.parse::<u64>().ok())
                .map_or(0, |kib| (kib + (1 << 19)) >> 20),
            system: after(&read("/etc/os-release"), "PRETTY_NAME", '=')
                .map(|name| name.trim_matches('"').to_owned())
                .unwrap_or_default(),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            date: said("date", &["-u", "+%F"]).unwrap_or_default(),
        }
    }

    /// In one line.
    pub(super) fn line(&self) -> String {
        format!(
            "{}, {} cores, {} GiB, {}, Linux {}, {}",
            self.processor, self.cores, self.memory_gib, self.system, self.kernel, self.date
        )
    }
}

/// The value of the first line that begins with `name`, after the separator.
fn after(text: &str, name: &str, separator: char) -> Option<String> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    line.split_once(separator).map(|(_, value)| value.trim().to_owned())
}

/// What a command says on standard output; none if it fails.
fn said(program: &str, words: &[&str]) -> Option<String> {
    let output = Command::new(program).args(words).output().ok().filter(|output| output.status.success())?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    (!text.is_empty()).then_some(text)
}

/// The version of a Debian package, without Debian's part.
pub(super) fn package_version(name: &str) -> String {
    let version = said("dpkg-query", &["-W", "-f", "${Version}", name]).unwrap_or_default();
    upstream(&version).to_owned()
}

fn upstream(version: &str) -> &str {
    version.split_once(':').map_or(version, |(_, rest)| rest).split(['-', '+']).next().unwrap_or_default()
}

/// The version of our binary with the commit of the checkout, if there is one.
pub(super) fn own_version(binary: &Path) -> String {
    let version = binary.to_str().and_then(|binary| said(binary, &["--version"])).unwrap_or_default();
    let version = version.rsplit(' ').next().unwrap_or_default().to_owned();
    let commit = binary
        .parent()
        .and_then(Path::to_str)
        .and_then(|folder| said("git", &["-C", folder, "rev-parse", "--short", "HEAD"]));
    match commit {
        Some(commit) => format!("{version} ({commit})"),
        None => version,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debians_part_of_a_version_is_cut() {
        for (version, wanted) in
            [("0.12.3-1+deb12u1", "0.12.3"), ("23.01-1", "23.01"), ("1:25.2.3+dfsg-1", "25.2.3"), ("", "")]
        {
            assert_eq!(upstream(version), wanted);
        }
    }

    #[test]
    fn a_line_of_a_file_is_found_by_its_name() {
        let text = "processor\t: 0\nmodel name\t: Some Processor @ 2.80GHz\n";
        assert_eq!(after(text, "model name", ':').as_deref(), Some("Some Processor @ 2.80GHz"));
        assert_eq!(after(text, "flags", ':'), None);
        assert!(Machine::look().cores > 0);
    }
}
