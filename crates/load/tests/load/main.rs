//! The load generator against its own relay, and against servers that misbehave.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod bad;
mod cli;
mod fake;
mod floor;
