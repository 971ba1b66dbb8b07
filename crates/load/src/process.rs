//! What a process costs: CPU time and memory, its children included, as `/proc` tells it.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::time::Duration;

/// Watches a process and whatever it started.
#[derive(Clone, Debug)]
pub(crate) struct Probe {
    root: u32,
}

/// CPU time used so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cpu {
    /// Nanoseconds.
    pub(crate) ns: u64,
    /// By how much two readings may be off together.
    pub(crate) resolution_ns: u64,
}

impl Probe {
    /// A probe of this process.
    ///
    /// # Errors
    /// There is none, or it belongs to somebody else.
    pub(crate) fn new(root: u32) -> io::Result<Self> {
        let probe = Self { root };
        probe.cpu()?;
        Ok(probe)
    }

    /// The process and all below it that live.
    fn tree(&self) -> io::Result<Vec<u32>> {
        let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
        for entry in fs::read_dir("/proc")? {
            let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
                continue;
            };
            // One that ended meanwhile has told its times to its parent.
            if let Ok(stat) = Stat::read(pid) {
                children.entry(stat.parent).or_default().push(pid);
            }
        }
        let mut tree = vec![self.root];
        let mut at = 0;
        while let Some(pid) = tree.get(at) {
            let below = children.remove(pid).unwrap_or_default();
            tree.extend(below);
            at += 1;
        }
        Ok(tree)
    }

    /// CPU time used so far.
    ///
    /// `/proc/PID/schedstat` is the first thread's alone, and a thread that ended takes its nanoseconds with it: the sum over live threads
    /// is exact as long as none ends. `stat` counts every thread that ever was, in ticks. The larger of both is right to two ticks.
    ///
    /// # Errors
    /// The process is gone.
    pub(crate) fn cpu(&self) -> io::Result<Cpu> {
        let tick = tick();
        let mut total = Cpu { ns: 0, resolution_ns: 1 };
        Stat::read(self.root)?;
        for pid in self.tree()? {
            let Ok(stat) = Stat::read(pid) else { continue };
            let live = threads(pid).unwrap_or(0);
            let ticks = stat.own_ticks * tick;
            // Ticks are rounded down, user and system apart.
            if ticks > live {
                total.resolution_ns += 2 * tick;
            }
            total.ns += live.max(ticks) + stat.children_ticks * tick;
        }
        Ok(total)
    }

    /// Memory in bytes: the proportional share of what is resident, so that pages of several processes count once.
    ///
    /// # Errors
    /// The process is gone.
    pub(crate) fn memory(&self) -> io::Result<u64> {
        let mut total = memory_of(self.root)?;
        for pid in self.tree()?.into_iter().skip(1) {
            total += memory_of(pid).unwrap_or(0);
        }
        Ok(total)
    }
}

/// What `/proc/PID/stat` says.
struct Stat {
    parent: u32,
    own_ticks: u64,
    children_ticks: u64,
}

impl Stat {
    fn read(pid: u32) -> io::Result<Self> {
        Self::parse(&fs::read_to_string(format!("/proc/{pid}/stat"))?)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "stat of a process cannot be read"))
    }

    /// The name, in parentheses, may contain anything, parentheses too.
    fn parse(text: &str) -> Option<Self> {
        let (_, rest) = text.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        let number = |at: usize| fields.get(at).and_then(|field| field.parse::<u64>().ok());
        Some(Self {
            parent: u32::try_from(number(1)?).ok()?,
            own_ticks: number(11)? + number(12)?,
            children_ticks: number(13)? + number(14)?,
        })
    }
}

/// Nanoseconds of one tick of `stat`.
fn tick() -> u64 {
    1_000_000_000 / rustix::param::clock_ticks_per_second().max(1)
}

/// The nanoseconds of all live threads.
fn threads(pid: u32) -> io::Result<u64> {
    let mut total = 0;
    for entry in fs::read_dir(format!("/proc/{pid}/task"))? {
        if let Ok(text) = fs::read_to_string(entry?.path().join("schedstat")) {
            let run = text.split_whitespace().next().and_then(|field| field.parse::<u64>().ok());
            total += run.unwrap_or(0);
        }
    }
    Ok(total)
}

fn memory_of(pid: u32) -> io::Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let kilobytes = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    };
    Ok(kilobytes("Pss:").or_else(|| kilobytes("Rss:")).unwrap_or(0) * 1024)
}

/// CPU time of this process, all threads that ever were.
pub(crate) fn own_cpu() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(u64::try_from(now.tv_sec).unwrap_or(0), u32::try_from(now.tv_nsec).unwrap_or(0))
}

/// Raises the limit of open files as far as the system lets us, and says whether this many connections fit.
///
/// # Errors
/// They do not; the text says what is needed.
pub(crate) fn room_for(connections: u64) -> Result<(), String> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    // Besides connections: standard streams, the poller, files read from /proc, threads.
    let needed = connections + 64;
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= needed) {
        return Ok(());
    }
    if limit.maximum.is_some_and(|maximum| maximum < needed) {
        let maximum = limit.maximum.unwrap_or_default();
        return Err(format!(
            "{connections} connections need a limit of {needed} open files, and the hard limit is {maximum}: raise it with `ulimit -Hn {needed}`"
        ));
    }
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })
        .map_err(|error| format!("{needed} open files are needed, and the limit cannot be raised: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_does_not_confuse() {
        let line = "42 (a) b (c)) S 7 42 42 0 -1 4194304 1 2 3 4 100 20 3 4 20 0 1 0 5 6 7";
        let stat = Stat::parse(line).unwrap();
        assert_eq!((stat.parent, stat.own_ticks, stat.children_ticks), (7, 120, 7));
        assert!(Stat::parse("42 (a").is_none());
        assert!(Stat::parse("42 (a) S x").is_none());
    }

    #[test]
    fn cpu_time_grows_and_threads_that_end_stay_counted() {
        let probe = Probe::new(std::process::id()).unwrap();
        let before = probe.cpu().unwrap();
        let worked = std::thread::spawn(|| {
            let begin = own_cpu();
            let mut sum = 0_u64;
            // Until the whole process has used 100 ms more, most of it here.
            while own_cpu().saturating_sub(begin) < Duration::from_millis(100) {
                sum = std::hint::black_box(sum.wrapping_add(1));
            }
            own_cpu().saturating_sub(begin)
        });
        let worked = worked.join().unwrap();
        let after = probe.cpu().unwrap();
        let counted = after.ns - before.ns + after.resolution_ns;
        assert!(u128::from(counted) >= worked.as_nanos(), "{counted} of {worked:?}");
    }

    #[test]
    fn memory_of_this_process_is_something_and_of_none_an_error() {
        let probe = Probe::new(std::process::id()).unwrap();
        assert!(probe.memory().unwrap() > 100_000);
        assert!(Probe::new(u32::MAX - 1).is_err());
    }
}
