//! The threads that read.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;

use parking_lot::{Condvar, Mutex};

use super::file::Database;
use super::view::Snapshot;
use crate::Fault;

/// One read; it answers whoever asked by itself.
pub(super) type Look = Box<dyn FnOnce(Result<Snapshot<'_>, Fault>) + Send>;

/// Reads that wait for a thread. Their number is bounded by that of the tasks, each of which waits for its own.
#[derive(Default)]
pub(super) struct Readers {
    state: Mutex<State>,
    work: Condvar,
}

#[derive(Default)]
struct State {
    looks: VecDeque<Look>,
    closed: bool,
}

impl std::fmt::Debug for Readers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Readers").field("waiting", &self.state.lock().looks.len()).finish()
    }
}

impl Readers {
    pub(super) fn push(&self, look: Look) {
        let mut state = self.state.lock();
        if state.closed {
            drop(state);
            look(Err(Fault::Closed));
            return;
        }
        state.looks.push_back(look);
        drop(state);
        self.work.notify_one();
    }

    /// No read is taken any more; those that wait are still answered.
    pub(super) fn close(&self) {
        self.state.lock().closed = true;
        self.work.notify_all();
    }

    fn take(&self) -> Option<Look> {
        let mut state = self.state.lock();
        loop {
            if let Some(look) = state.looks.pop_front() {
                return Some(look);
            }
            if state.closed {
                return None;
            }
            self.work.wait(&mut state);
        }
    }
}

/// Starts a thread with a connection of its own.
pub(super) fn start(
    number: usize,
    database: Arc<Database>,
    readers: Arc<Readers>,
) -> Result<JoinHandle<()>, Fault> {
    let path = database.path.clone();
    let mut kept = Some(database.open_reader()?);
    let run = move || {
        while let Some(look) = readers.take() {
            let connection = kept.take().map_or_else(|| database.open_reader(), Ok);
            match connection {
                Ok(connection) => {
                    let snapshot = Snapshot { connection: &connection, database: &database };
                    // A bug in one read must not cost the thread; its connection is not trusted any more.
                    let looked = catch_unwind(AssertUnwindSafe(|| look(Ok(snapshot))));
                    if looked.is_ok() && connection.is_autocommit() {
                        kept = Some(connection);
                    }
                }
                Err(fault) => look(Err(fault)),
            }
        }
    };
    let thread = std::thread::Builder::new().name(format!("store-reader-{number}")).spawn(run);
    thread.map_err(|error| Fault::io(&path, "start a thread for", &error))
}
