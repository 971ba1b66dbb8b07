//! An endpoint of RFC 4975 in virtual time: against raw bytes and against itself.

mod common;
mod exploits;
mod receive;
mod send;
