//! The router as a whole, over a store in memory, without sockets.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "all of it is tests; clippy sees that of functions only"
)]

mod accounts;
mod common;
mod elsewhere;
mod friends;
mod managed;
mod model;
mod plugs;
mod presences;
mod refuse;
mod requests;
mod roster;
mod storm;
mod subscriptions;
mod talk;
mod way;
