//! Relays over real sockets, with clients that are bytes.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, in its helpers too")]

mod chains;
mod clients;
mod stage;
