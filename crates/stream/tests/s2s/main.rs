//! Streams between servers in virtual time: no network, no sleep.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, in its helpers too")]

mod flows;
mod hostile;
mod initiating;
mod piggyback;
mod raw;
mod receiving;
mod resuming;
mod time;
mod world;
