//! Every extension in a whole router over a store in memory, without sockets: scenarios as text, and laws over the list.
#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests; clippy does not see that they are")]

mod harness;
mod laws;
mod pattern;
mod scenarios;
