//! The receiving role towards clients.

mod api;

pub use api::*;
