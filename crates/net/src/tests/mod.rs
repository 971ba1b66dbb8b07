//! Real sockets, virtual time, and `openssl` as the other end.

mod driving;
mod files;
mod http;
mod listening;
mod openssl;
mod security;
mod servers;
mod toy;
