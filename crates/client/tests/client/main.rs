//! The client library against scripted servers over real sockets.

mod fake;
mod redirects;
mod requests;
mod sessions;
