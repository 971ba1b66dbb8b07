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
    /// Hold, resume, close: before everything else. Nothing else is locked while this is, so that a source can be held and let go under the lock of
    /// the lane that it fills: what it is told last is how the lane is.
    orders: Mutex<VecDeque<Command>>,
    wake: Notify,
}

struct Inner {
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
    /// It waits, its lane is full, and its source is held.
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
            frames: VecDeque::new(),
            frame_bytes: 0,
            lanes: Lanes::new(QUANTUM, bound),
            closed: false,
        };
        Arc::new(Self { inner: Mutex::new(inner), orders: Mutex::default(), wake: Notify::new() })
    }

    /// Says something to the machine itself.
    pub(crate) fn order(&self, command: Command) {
        self.orders.lock().push_back(command);
        self.wake.notify_one();
    }

    /// Puts a piece of a SEND in. If its lane is full now, `source` is held until it has room again.
    pub(crate) fn put(&self, flow: Flow, piece: Piece, source: &Arc<Self>) -> Put {
        let mut inner = self.inner.lock();
        if inner.closed {
            return Put::Closed(piece);
        }
        let size = piece.size();
        let full = inner.lanes.push(flow, (flow, piece, Arc::clone(source)), size);
        if full {
            source.order(Command::Hold(flow));
        }
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
        if let Some(order) = self.ordered() {
            return Some(order);
        }
        let mut inner = self.inner.lock();
        if let Some(frame) = inner.frames.pop_front() {
            inner.frame_bytes = inner.frame_bytes.saturating_sub(frame.size());
            if inner.frames.is_empty() {
                inner.frames = VecDeque::new();
            }
            return Some(Command::Frame(frame));
        }
        let ((flow, piece, source), room) = inner.lanes.pop()?;
        if room.is_some() {
            source.order(Command::Resume(flow));
        }
        Some(Command::Piece(flow, piece))
    }

    fn ordered(&self) -> Option<Command> {
        let mut orders = self.orders.lock();
        let order = orders.pop_front()?;
        if orders.is_empty() {
            *orders = VecDeque::new();
        }
        Some(order)
    }

    /// The connection is over: nothing is taken any more. What waits comes back, and whoever was held is let go.
    pub(crate) fn close(&self) -> Left {
        let mut inner = self.inner.lock();
        inner.closed = true;
        let frames = std::mem::take(&mut inner.frames).into();
        let held: Vec<_> = inner.lanes.full().collect();
        let mut pieces = Vec::new();
        while let Some((waiting, _)) = inner.lanes.pop() {
            pieces.push(waiting);
        }
        for flow in held {
            if let Some((.., source)) = pieces.iter().find(|(other, ..)| *other == flow) {
                source.order(Command::Resume(flow));
            }
        }
        drop(inner);
        Left { pieces, frames }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use nuncio_msrp::relay::LinkId;

    use super::*;

    const FLOW: Flow = Flow { source: LinkId(1), session: 1 };

    fn data(length: usize) -> Piece {
        Piece::Data(Bytes::from(vec![0; length]))
    }

    fn orders(mail: &Mailbox) -> Vec<&'static str> {
        let name = |command| match command {
            Command::Hold(_) => "hold",
            Command::Resume(_) => "resume",
            _ => "other",
        };
        std::iter::from_fn(|| mail.ordered()).map(name).collect()
    }

    #[test]
    fn a_full_lane_holds_its_source_until_it_has_room() {
        let (from, to) = (Mailbox::new(1_000), Mailbox::new(1_000));
        assert!(matches!(to.put(FLOW, data(800), &from), Put::Taken));
        assert!(matches!(to.put(FLOW, data(800), &from), Put::Full));
        assert_eq!(orders(&from), ["hold"]);
        assert!(matches!(to.take(), Some(Command::Piece(..))));
        assert_eq!(orders(&from), [] as [&str; 0], "more than half is left");
        assert!(matches!(to.take(), Some(Command::Piece(..))));
        assert_eq!(orders(&from), ["resume"]);
        assert!(to.take().is_none());
        // A connection that ends lets go too, and gives back what waited.
        assert!(matches!(to.put(FLOW, data(2_000), &from), Put::Full));
        let left = to.close();
        assert_eq!((left.pieces.len(), orders(&from)), (1, vec!["hold", "resume"]));
        assert!(matches!(to.put(FLOW, data(1), &from), Put::Closed(Piece::Data(_))));
    }

    /// What a source is told last is how the lane is: otherwise it would be held for ever, or never.
    #[test]
    fn hold_and_resume_come_in_their_order() {
        let (from, to) = (Mailbox::new(100), Mailbox::new(100));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..20_000 {
                    to.put(FLOW, data(60), &from);
                }
            });
            scope.spawn(|| {
                let mut taken = 0;
                while taken < 20_000 {
                    taken += usize::from(to.take().is_some());
                }
            });
        });
        let told = orders(&from);
        assert!(told.chunks(2).all(|pair| pair == ["hold", "resume"]), "{told:?}");
    }

    #[test]
    fn frames_have_a_bound() {
        let mail = Mailbox::new(1_000);
        let uri = nuncio_msrp::Uri::parse("msrps://a.example:1/a;tcp").unwrap();
        let id = nuncio_msrp::Ident::new("abcdefgh").unwrap();
        let head =
            nuncio_msrp::Head::request(id, nuncio_msrp::Method::Report, uri.clone().into(), uri.into());
        let frame = Frame { head: Box::new(head), body: None, origin: None };
        let mut taken = 0;
        while mail.frame(frame.clone()).is_ok() {
            taken += 1;
        }
        assert_eq!(taken, URGENT.div_ceil(frame.size()));
        assert!(matches!(mail.take(), Some(Command::Frame(_))));
        assert!(mail.frame(frame).is_ok());
    }
}
