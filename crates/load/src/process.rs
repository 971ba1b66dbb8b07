//! What a process costs: CPU time and memory, its children included, as `/proc` tells it.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

/// Watches a process and whatever it started.
#[derive(Clone, Debug)]
pub(crate) struct Probe {
    root: u32,
    /// Processes whose CPU time is added.
    others: Vec<u32>,
}

/// CPU time used so far, as two clocks tell it.
///
/// `schedstat` has nanoseconds, but of each live thread alone (`/proc/PID/schedstat` is the first thread's): what ends takes its time with
/// it. `stat` counts every thread that ever was and every child that was waited for, in ticks.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cpu {
    /// Nanoseconds of live threads, by process and thread.
    threads: HashMap<(u32, u32), u64>,
    /// Nanoseconds of all, in whole ticks.
    ticked: u64,
    processes: u64,
}

/// CPU time between two readings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Used {
    /// Nanoseconds.
    pub(crate) ns: u64,
    /// By how much they may be off.
    pub(crate) resolution_ns: u64,
}

impl Cpu {
    /// What was used since an earlier reading. Exact unless threads have ended meanwhile.
    pub(crate) fn since(&self, earlier: &Self) -> Used {
        let used = self.threads.iter().map(|(thread, now)| {
            // A number that was given again counts from nothing.
            let before = earlier.threads.get(thread).filter(|before| *before <= now);
            now - before.copied().unwrap_or(0)
        });
        let known: u64 = used.sum();
        let ended = earlier.threads.keys().any(|thread| !self.threads.contains_key(thread));
        // User and system time are rounded down apart, at both readings.
        let coarse = 2 * tick() * self.processes.max(earlier.processes);
        let ticked = self.ticked.saturating_sub(earlier.ticked);
        if ended || ticked > known.saturating_add(coarse) {
            Used { ns: known.max(ticked), resolution_ns: coarse }
        } else {
            Used { ns: known, resolution_ns: 1 }
        }
    }
}

impl Probe {
    /// A probe of this process.
    ///
    /// # Errors
    /// There is none, or it belongs to somebody else.
    pub(crate) fn new(root: u32) -> io::Result<Self> {
        let probe = Self { root, others: Vec::new() };
        probe.cpu()?;
        Ok(probe)
    }

    /// Adds the CPU time of another process. Memory stays that of the first one.
    ///
    /// # Errors
    /// There is none, or it belongs to somebody else.
    pub(crate) fn and(mut self, other: u32) -> io::Result<Self> {
        self.others.push(other);
        self.cpu()?;
        Ok(self)
    }

    /// These processes and all below them that live.
    fn tree(roots: &[u32]) -> io::Result<Vec<u32>> {
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
        let mut tree = roots.to_vec();
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
    /// # Errors
    /// The process is gone.
    pub(crate) fn cpu(&self) -> io::Result<Cpu> {
        let roots: Vec<u32> = std::iter::once(self.root).chain(self.others.iter().copied()).collect();
        roots.iter().try_for_each(|&root| Stat::read(root).map(drop))?;
        let mut cpu = Cpu::default();
        for pid in Self::tree(&roots)? {
            let Ok(stat) = Stat::read(pid) else { continue };
            cpu.processes += 1;
            cpu.ticked += (stat.own_ticks + stat.children_ticks) * tick();
            // One that ends just now has told its ticks.
            let _ = threads(pid, &mut cpu.threads);
        }
        Ok(cpu)
    }

    /// Memory in bytes: the proportional share of what is resident, so that pages of several processes count once.
    ///
    /// # Errors
    /// The process is gone.
    pub(crate) fn memory(&self) -> io::Result<u64> {
        let mut total = memory_of(self.root)?;
        for pid in Self::tree(&[self.root])?.into_iter().skip(1) {
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

/// The nanoseconds of all live threads of a process.
fn threads(pid: u32, all: &mut HashMap<(u32, u32), u64>) -> io::Result<()> {
    for entry in fs::read_dir(format!("/proc/{pid}/task"))? {
        let entry = entry?;
        let thread = entry.file_name().to_str().and_then(|name| name.parse().ok());
        if let (Some(thread), Ok(text)) = (thread, fs::read_to_string(entry.path().join("schedstat"))) {
            let run = text.split_whitespace().next().and_then(|field| field.parse().ok());
            all.insert((pid, thread), run.unwrap_or(0));
        }
    }
    Ok(())
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

/// How many connections on this machine lead to an address, seen from those who opened them.
///
/// # Errors
/// The system does not say, or the address is none of IPv4.
pub(crate) fn connections_to(address: SocketAddr) -> io::Result<u64> {
    let wanted = hex_of(address)
        .ok_or_else(|| io::Error::new(io::ErrorKind::Unsupported, "connections are counted for IPv4 only"))?;
    let text = fs::read_to_string("/proc/net/tcp")?;
    let there = text.lines().filter(|line| {
        let mut fields = line.split_whitespace().skip(2);
        fields.next() == Some(wanted.as_str()) && fields.next() == Some(ESTABLISHED)
    });
    Ok(there.count() as u64)
}

/// The state in `/proc/net/tcp`.
const ESTABLISHED: &str = "01";

/// An address as `/proc/net/tcp` writes it: the four bytes as a number of the machine's byte order.
fn hex_of(address: SocketAddr) -> Option<String> {
    let SocketAddr::V4(address) = address else { return None };
    let ip = u32::from_ne_bytes(address.ip().octets());
    Some(format!("{ip:08X}:{:04X}", address.port()))
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

    fn reading(threads: &[(u32, u64)], ticks: u64) -> Cpu {
        let threads = threads.iter().map(|(thread, ns)| ((1, *thread), *ns)).collect();
        Cpu { threads, ticked: ticks * tick(), processes: 1 }
    }

    #[test]
    fn time_is_exact_while_threads_live_and_in_ticks_when_some_have_ended() {
        let ms = |count: u64| count * 1_000_000;
        let before = reading(&[(1, ms(1000)), (2, ms(500))], 150);
        let exact = |ns| Used { ns, resolution_ns: 1 };
        let coarse = |ns| Used { ns, resolution_ns: 2 * tick() };
        let cases = [
            (reading(&[(1, ms(1003)), (2, ms(504))], 150), exact(ms(7))),
            (reading(&[(1, ms(1003)), (2, ms(504))], 151), exact(ms(7))),
            // A new thread counts in full, and so does one that has the number of another.
            (reading(&[(1, ms(1003)), (2, ms(500)), (3, ms(40))], 154), exact(ms(43))),
            (reading(&[(1, ms(1003)), (2, ms(7))], 151), exact(ms(10))),
            // One ended with much, one was born and ended.
            (reading(&[(1, ms(1003))], 250), coarse(100 * tick())),
            (reading(&[(1, ms(1003)), (2, ms(504))], 250), coarse(100 * tick())),
        ];
        for (after, used) in cases {
            assert_eq!(after.since(&before), used);
        }
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
        let used = probe.cpu().unwrap().since(&before);
        assert!(u128::from(used.ns + used.resolution_ns) >= worked.as_nanos(), "{used:?} of {worked:?}");
    }

    #[test]
    fn memory_of_this_process_is_something_and_of_none_an_error() {
        let probe = Probe::new(std::process::id()).unwrap();
        assert!(probe.memory().unwrap() > 100_000);
        assert!(Probe::new(u32::MAX - 1).is_err());
    }

    /// CPU time is summed over both; who is gone is missed, whichever it is.
    #[test]
    fn another_process_is_counted_too() {
        let own = std::process::id();
        let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        let probe = Probe::new(own).unwrap().and(child.id()).unwrap();
        let cpu = probe.cpu().unwrap();
        assert!(cpu.threads.keys().any(|(pid, _)| *pid == child.id()));
        assert!(cpu.threads.keys().any(|(pid, _)| *pid == own));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(probe.cpu().is_err());
    }

    #[test]
    fn connections_to_an_address_are_counted() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        assert_eq!(connections_to(address).unwrap(), 0);
        let clients = [0, 1].map(|_| std::net::TcpStream::connect(address).unwrap());
        assert_eq!(connections_to(address).unwrap(), clients.len() as u64);
        assert_eq!(hex_of("127.0.0.3:5269".parse().unwrap()), Some("0300007F:1495".to_owned()));
    }

    #[test]
    fn more_connections_than_files_are_refused_with_what_is_needed() {
        room_for(10).unwrap();
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
        if let Some(maximum) = limit.maximum {
            let why = room_for(maximum).unwrap_err();
            assert!(why.contains(&format!("{} open files", maximum + 64)), "{why}");
        }
    }
}
