//! The load generator: puts a server under a known load and says what that cost it.
//!
//! - A [`Scenario`] says what is done: chat, logins, idle connections. It is a TOML file; the usual ones are embedded
//!   ([`Scenario::named`]).
//! - A [`Target`] says to whom: any XMPP server, or the bare relay of [`relay`], which is the least that a server could cost.
//! - [`run`] does it and gives a [`Report`], or what was reached and why it [`Stopped`].

pub mod compare;
mod report;
mod scenario;
mod target;

pub use report::{Latency, Memory, Report, ServerCost};
pub use scenario::{Scenario, ScenarioError};
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

/// Runs a scenario. Blocks until it is done.
///
/// # Errors
/// The target refuses, hangs, closes midway or answers nonsense; the error has what was reached and why.
pub fn run(scenario: &Scenario, target: &Target) -> Result<Report, Stopped> {
    let _ = (scenario, target);
    let report = Report::default();
    Err(Stopped { reached: Box::new(report), why: "no scenario runs yet".to_owned() })
}
