//! Whole streams in virtual time: no network, no sleep.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, in its helpers too")]

mod client;
mod common;
mod login;
mod management;
mod raw;
mod time;
