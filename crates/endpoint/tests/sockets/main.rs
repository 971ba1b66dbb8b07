//! Endpoints with each other, and with peers that misbehave, over real sockets.

mod checking;
mod common;
mod sessions;
mod stage;
mod tls;
mod transfer;
