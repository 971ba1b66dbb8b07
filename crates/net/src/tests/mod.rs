//! Real sockets, virtual time, and `openssl` as the other end.

mod driving;
mod files;
mod http;
pub(crate) mod https;
mod listening;
mod openssl;
mod security;
mod servers;
pub(crate) mod toy;
