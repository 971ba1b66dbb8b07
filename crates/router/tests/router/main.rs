//! The router as a whole, over a store in memory, without sockets.

mod accounts;
mod common;
mod managed;
mod model;
mod plugs;
mod presences;
mod roster;
mod subscriptions;
mod talk;
mod way;
