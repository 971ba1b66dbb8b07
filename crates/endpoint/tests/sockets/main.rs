//! Endpoints with each other, and with peers that misbehave, over real sockets.

mod checking;
mod common;
mod relays;
mod sessions;
mod stage;
mod tls;
mod transfer;
mod wrapped;
