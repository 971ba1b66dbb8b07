//! The real binary, in a folder of its own, with clients over real sockets.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, in its helpers too")]

mod accounts;
mod budgets;
mod configuration;
mod federated;
mod foreign;
mod forged;
mod harness;
mod kill;
mod msrp;
mod msrp_relays;
mod msrp_tools;
mod operation;
mod operator;
mod printing;
mod raw;
mod resumed;
mod send;
mod stopping;
mod talking;
mod tls;
