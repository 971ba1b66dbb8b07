//! The signals that end a command which has to tidy up before.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// A signal has ended the command: exit status 128 and its number, as shells have it.
#[derive(Debug, thiserror::Error)]
#[error("ended by {name}")]
pub(crate) struct Stopped {
    name: &'static str,
    pub(crate) status: u8,
}

/// SIGINT and SIGTERM, from now on: they do nothing by themselves any more.
pub(crate) struct Stops {
    interrupt: Signal,
    terminate: Signal,
}

impl Stops {
    pub(crate) fn new() -> std::io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    /// Waits for one.
    pub(crate) async fn next(&mut self) -> Stopped {
        tokio::select! {
            _ = self.interrupt.recv() => Stopped { name: "SIGINT", status: 130 },
            _ = self.terminate.recv() => Stopped { name: "SIGTERM", status: 143 },
        }
    }
}
