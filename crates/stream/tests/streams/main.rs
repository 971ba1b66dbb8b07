//! Whole streams in virtual time: no network, no sleep.

mod client;
mod common;
mod login;
mod management;
mod raw;
mod time;
