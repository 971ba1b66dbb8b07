//! Whole streams in virtual time: no network, no sleep.

mod common;
mod raw;
