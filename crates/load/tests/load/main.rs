//! The load generator against its own relay, and against servers that misbehave.

mod bad;
mod cli;
mod fake;
mod floor;
