//! The client library against scripted servers over real sockets.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, in its helpers too")]

mod fake;
mod identity;
mod redirects;
mod requests;
mod returning;
mod sessions;
mod targets;
mod web;
