//! What measures while a scenario runs.

use std::time::{Duration, Instant};

use crate::engine::login::Wish;
use crate::engine::{At, Engine, Flow, Session};
use crate::histogram::Histogram;
use crate::process::{Cpu, Probe, own_cpu, room_for};
use crate::report::{Memory, Report, ServerCost};
use crate::target::{Start, Target};

/// How many logins run at once when a scenario only wants its connections.
const LOGINS_AT_ONCE: usize = 32;
/// How long all must be quiet to be settled, and how long that may take.
const QUIET: Duration = Duration::from_millis(300);
const SETTLE: Duration = Duration::from_secs(30);

/// The place where a scenario runs.
pub(crate) struct Bench<'t> {
    /// Whom it is about.
    pub(crate) target: &'t Target,
    /// What is known so far.
    pub(crate) report: Report,
    probe: Option<Probe>,
    begun: Option<Sample>,
}

struct Sample {
    at: Instant,
    own: Duration,
    server: Option<Cpu>,
}

/// Counts operations and their latencies within the measured time.
#[derive(Clone, Default)]
pub(super) struct Meter {
    window: Option<(Instant, Instant)>,
    pub(super) count: u64,
    pub(super) latencies: Histogram,
}

impl Meter {
    /// So many operations that were not timed one by one.
    pub(super) fn of(count: u64) -> Self {
        Self { count, ..Self::default() }
    }

    /// Counts from one point in time to another.
    pub(super) const fn set(&mut self, from: Instant, to: Instant) {
        self.window = Some((from, to));
    }

    /// An operation is done.
    pub(super) fn record(&mut self, now: Instant, took: Duration) {
        if self.window.is_some_and(|(from, to)| now >= from && now < to) {
            self.count += 1;
            self.latencies.record(took);
        }
    }

    /// Adds what another one counted.
    pub(super) fn add(&mut self, other: &Self) {
        self.count += other.count;
        self.latencies.add(&other.latencies);
    }
}

impl<'t> Bench<'t> {
    /// A bench for this target.
    ///
    /// # Errors
    /// The process to watch cannot be watched.
    pub(crate) fn new(target: &'t Target, scenario: &str) -> Result<Self, String> {
        let measured = |pid: u32, probe: std::io::Result<Probe>| {
            probe.map_err(|error| format!("process {pid} cannot be measured: {error}"))
        };
        let mut probe = target.process.map(|pid| measured(pid, Probe::new(pid))).transpose()?;
        if let Some(other) = target.partner.as_ref().and_then(|partner| partner.process) {
            probe = probe.map(|probe| measured(other, probe.and(other))).transpose()?;
        }
        let report =
            Report { scenario: scenario.to_owned(), target: target.name.clone(), ..Report::default() };
        Ok(Self { target, report, probe, begun: None })
    }

    /// Makes sure that this many connections fit.
    ///
    /// # Errors
    /// They do not; what is needed.
    pub(super) fn room_for(&self, connections: u64) -> Result<(), String> {
        room_for(connections)
    }

    /// Refuses the relay, where there is no XMPP.
    ///
    /// # Errors
    /// The target is a relay.
    pub(super) fn xmpp_only(&self) -> Result<(), String> {
        if self.target.start == Start::Relay {
            return Err("the relay knows connections and bytes only: it has no such scenario".to_owned());
        }
        Ok(())
    }

    /// Tells what the server's memory was before and after so many connections.
    pub(super) fn tell_memory(&mut self, both: Option<(u64, u64)>, connections: u64) {
        self.report.memory = both.map(|(before, after)| Memory {
            before,
            after,
            connections,
            per_connection: after.saturating_sub(before) as f64 / connections.max(1) as f64,
            per_connection_at_first: None,
        });
    }

    fn sample(&self) -> Result<Sample, String> {
        let server = self.probe.as_ref().map(Probe::cpu).transpose();
        let server = server.map_err(|error| format!("the server's process is gone: {error}"))?;
        Ok(Sample { at: Instant::now(), own: own_cpu(), server })
    }

    /// The server's memory now, in bytes.
    ///
    /// # Errors
    /// Its process is gone.
    pub(super) fn memory(&self) -> Result<Option<u64>, String> {
        let memory = self.probe.as_ref().map(Probe::memory).transpose();
        memory.map_err(|error| format!("the server's process is gone: {error}"))
    }

    /// The measured time begins.
    ///
    /// # Errors
    /// The server's process is gone.
    pub(super) fn begin(&mut self) -> Result<(), String> {
        self.begun = Some(self.sample()?);
        Ok(())
    }

    /// The measured time ends. [`Bench::tell`] divides by what was done in it.
    ///
    /// # Errors
    /// The server's process is gone.
    pub(super) fn end(&mut self) -> Result<(), String> {
        let now = self.sample()?;
        if let Some(begun) = &self.begun {
            self.report.seconds = now.at.saturating_duration_since(begun.at).as_secs_f64();
            self.report.generator_ns = now.own.saturating_sub(begun.own).as_nanos() as f64;
            let used = begun.server.as_ref().zip(now.server).map(|(before, after)| after.since(before));
            self.report.server = used.map(|used| ServerCost {
                per_operation_ns: 0.0,
                seconds: used.ns as f64 / 1e9,
                resolution_ns: used.resolution_ns,
            });
        }
        Ok(())
    }

    /// Tells what was done.
    pub(super) fn tell(&mut self, operation: &str, meter: &Meter) {
        let count = meter.count as f64;
        let report = &mut self.report;
        operation.clone_into(&mut report.operation);
        report.operations = meter.count;
        report.latency = meter.latencies.latency();
        if meter.count == 0 {
            report.generator_ns = 0.0;
        } else {
            report.generator_ns /= count;
            if report.seconds > 0.0 {
                report.rate = count / report.seconds;
            }
            if let Some(server) = &mut report.server {
                server.per_operation_ns = server.seconds * 1e9 / count;
            }
        }
    }
}

/// Opens these sessions, some at a time, and waits until all are there.
///
/// # Errors
/// One of them fails; how many were reached.
pub(super) fn log_in(
    engine: &mut Engine<'_>,
    flow: &mut impl Flow,
    wishes: impl Iterator<Item = (Wish, u32)>,
) -> Result<(), String> {
    let already = engine.open_connections();
    let (mut wishes, mut wanted) = (wishes.fuse(), 0);
    loop {
        while engine.pending() < LOGINS_AT_ONCE
            && let Some((wish, tag)) = wishes.next()
        {
            engine.open(wish, tag)?;
            wanted += 1;
        }
        if engine.pending() == 0 {
            return Ok(());
        }
        if let Err(why) = engine.turn(flow, None, true) {
            let there = (engine.open_connections() - already).saturating_sub(engine.pending());
            return Err(format!("{why}; {there} of {wanted} logins done"));
        }
    }
}

/// Reads until nothing has come for a moment.
///
/// # Errors
/// A connection fails.
pub(super) fn settle(engine: &mut Engine<'_>, flow: &mut impl Flow) -> Result<(), String> {
    let latest = Instant::now() + SETTLE;
    while Instant::now() < latest {
        let quiet = Instant::now() + QUIET;
        engine.turn(flow, Some(quiet), false)?;
        if Instant::now() >= quiet {
            break;
        }
    }
    Ok(())
}

/// A flow that does nothing.
pub(super) struct Quiet;

impl Flow for Quiet {
    fn up(&mut self, _: At, _: Session, _: &mut Vec<u8>) -> Result<(), String> {
        Ok(())
    }

    fn stanza(&mut self, _: At, _: &[u8], _: &mut Vec<u8>) -> Result<(), String> {
        Ok(())
    }
}
