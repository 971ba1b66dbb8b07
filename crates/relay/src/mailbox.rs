//! What waits for a connection, and whoever is to be told when there is room again.

use std::collections::VecDeque;
use std::sync::Arc;

use nuncio_msrp::lanes::{Lanes, NoRoom};
use nuncio_msrp::relay::{Command, Flow, Frame, Piece};
use parking_lot::Mutex;
use tokio::sync::Notify;

/// How many bytes of one flow go out before it is another's turn.
const QUANTUM: usize = 32 * 1_024;
/// How many bytes of frames may wait that go before everything else.
const URGENT: usize = 256 * 1_024;

/// What waits for one connection. Whoever puts something in never waits.
pub(crate) struct Mailbox {
    inner: Mutex<Inner>,
    wake: Notify,
}

struct Inner {
    /// Hold, resume, close: before everything else.
    orders: VecDeque<Command>,
    frames: VecDeque<Frame>,
    frame_bytes: usize,
    lanes: Lanes<Flow, (Flow, Piece, Arc<Mailbox>)>,
    /// The connection is over.
    closed: bool,
}

/// What became of a piece.
pub(crate) enum Put {
    /// It waits.
    Taken,
    /// It waits, and its lane is full: its source is to be held.
    Full,
    /// The connection is over.
    Closed(Piece),
}

/// What is left of a connection that is over.
pub(crate) struct Left {
    pub(crate) pieces: Vec<(Flow, Piece, Arc<Mailbox>)>,
    pub(crate) frames: Vec<Frame>,
}

impl Mailbox {
    pub(crate) fn new(bound: usize) -> Arc<Self> {
        let inner = Inner {
            orders: VecDeque::new(),
            frames: VecDeque::new(),
            frame_bytes: 0,
            lanes: Lanes::new(QUANTUM, bound),
            closed: false,
        };
        Arc::new(Self { inner: Mutex::new(inner), wake: Notify::new() })
    }

    /// Says something to the machine itself.
    pub(crate) fn order(&self, command: Command) {
        let mut inner = self.inner.lock();
        if !inner.closed {
            inner.orders.push_back(command);
            drop(inner);
            self.wake.notify_one();
        }
    }

    /// Puts a piece of a SEND in; `source` is whom to tell when its lane has room again.
    pub(crate) fn put(&self, flow: Flow, piece: Piece, source: &Arc<Self>) -> Put {
        let mut inner = self.inner.lock();
        if inner.closed {
            return Put::Closed(piece);
        }
        let size = piece.size();
        let full = inner.lanes.push(flow, (flow, piece, Arc::clone(source)), size);
        drop(inner);
        self.wake.notify_one();
        if full { Put::Full } else { Put::Taken }
    }

    /// Puts a frame in.
    ///
    /// # Errors
    /// The connection is over, or its peer does not read.
    pub(crate) fn frame(&self, frame: Frame) -> Result<(), NoRoom<Frame>> {
        let mut inner = self.inner.lock();
        if inner.closed || inner.frame_bytes >= URGENT {
            return Err(NoRoom(frame));
        }
        inner.frame_bytes += frame.size();
        inner.frames.push_back(frame);
        drop(inner);
        self.wake.notify_one();
        Ok(())
    }

    /// The next thing to tell the machine. Cancel-safe.
    pub(crate) async fn next(&self) -> Command {
        loop {
            if let Some(command) = self.take() {
                return command;
            }
            self.wake.notified().await;
        }
    }

    fn take(&self) -> Option<Command> {
        let mut inner = self.inner.lock();
        if let Some(order) = inner.orders.pop_front() {
            if inner.orders.is_empty() {
                inner.orders = VecDeque::new();
            }
            return Some(order);
        }
        if let Some(frame) = inner.frames.pop_front() {
            inner.frame_bytes = inner.frame_bytes.saturating_sub(frame.size());
            if inner.frames.is_empty() {
                inner.frames = VecDeque::new();
            }
            return Some(Command::Frame(frame));
        }
        let ((flow, piece, source), room) = inner.lanes.pop()?;
        drop(inner);
        if room.is_some() {
            source.order(Command::Resume(flow));
        }
        Some(Command::Piece(flow, piece))
    }

    /// The connection is over: nothing is taken any more. What waits comes back, and whoever was held is let go.
    pub(crate) fn close(&self) -> Left {
        let mut inner = self.inner.lock();
        inner.closed = true;
        inner.orders.clear();
        let frames = std::mem::take(&mut inner.frames).into();
        let held: Vec<_> = inner.lanes.full().collect();
        let mut pieces = Vec::new();
        while let Some((waiting, _)) = inner.lanes.pop() {
            pieces.push(waiting);
        }
        drop(inner);
        for flow in held {
            if let Some((.., source)) = pieces.iter().find(|(other, ..)| *other == flow) {
                source.order(Command::Resume(flow));
            }
        }
        Left { pieces, frames }
    }
}
