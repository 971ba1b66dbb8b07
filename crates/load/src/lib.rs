//! The load generator: puts a server under a known load and says what that cost it.
//!
//! - A [`Scenario`] says what is done: chat, logins, idle connections. It is a TOML file; the usual ones are embedded
//!   ([`Scenario::named`]).
//! - A [`Target`] says to whom: any XMPP server, or the bare [`relay`], which is the least that a server could cost.
//! - [`run`] does it and gives a [`Report`], or what was reached and why it [`Stopped`].

pub mod compare;
mod engine;
mod histogram;
mod msrp;
mod process;
pub mod relay;
mod report;
mod scenario;
mod target;

pub use report::{Latency, Memory, Report, ServerCost};
pub use scenario::{
    Chat, Churn, Dead, Idle, Login, Mechanism, Msrp, Offline, Pairs, Presence, Resume, Roster, Scenario,
    ScenarioError, Seconds,
};
pub use target::{Accounts, Start, Target};

/// Why a scenario ended before its time, and what was reached until then.
#[derive(Debug, thiserror::Error)]
#[error("{why}")]
pub struct Stopped {
    /// What was measured until then.
    pub reached: Box<Report>,
    /// Why it ended, for a person.
    pub why: String,
}

/// Runs a scenario. Blocks until it is done; must not be called on a thread of an async runtime.
///
/// # Errors
/// The target refuses, hangs, closes midway or answers nonsense, or is none that may be put under load; the error has what was
/// reached and why.
pub fn run(scenario: &Scenario, target: &Target) -> Result<Report, Stopped> {
    let stopped = |reached: Report, why: String| Stopped { reached: Box::new(reached), why };
    scenario.check().map_err(|error| stopped(Report::default(), error.to_string()))?;
    target.check().map_err(|why| stopped(Report::default(), why))?;
    let mut bench =
        scenario::Bench::new(target, scenario.kind()).map_err(|why| stopped(Report::default(), why))?;
    match scenario.run(&mut bench) {
        Ok(()) => Ok(bench.report),
        Err(why) => Err(stopped(bench.report, why)),
    }
}
