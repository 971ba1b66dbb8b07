//! What waits for a connection, and whoever is to be told when there is room again.

use std::collections::VecDeque;
use std::sync::Arc;

use nuncio_msrp::lanes::{Bounds, Lanes};
use nuncio_msrp::relay::{Command, Flow, Frame, Piece};
use parking_lot::Mutex;
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::Notify;

/// How many bytes of one flow go out before it is another's turn.
const QUANTUM: usize = 32 * 1_024;
/// How many bytes of frames may wait that go before everything else.
const URGENT: usize = 256 * 1_024;
/// So many while too much waits for all.
const PRESSED: usize = 16 * 1_024;

/// So many full lanes may wait for one connection.
const LANES: usize = 8;

/// What waits for all connections together.
#[derive(Debug)]
pub(crate) struct Waiting {
    bytes: Gauge,
    most: i64,
}

impl Waiting {
    /// Counts in `bytes`; beyond `most` of them there is pressure.
    pub(crate) fn new(bytes: Gauge, most: usize) -> Arc<Self> {
        Arc::new(Self { bytes, most: signed(most) })
    }

    /// Adds what has begun to wait. Whether it is too much.
    fn add(&self, bytes: usize) -> bool {
        let bytes = signed(bytes);
        self.bytes.inc_by(bytes).saturating_add(bytes) > self.most
    }

    fn remove(&self, bytes: usize) {
        self.bytes.dec_by(signed(bytes));
    }

    fn is_pressing(&self) -> bool {
        self.bytes.get() > self.most
    }
}

fn signed(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// There is no room: the frame comes back.
#[derive(Debug)]
pub(crate) struct NoRoom(pub(crate) Frame);

/// What waits for one connection. Whoever puts something in never waits.
pub(crate) struct Mailbox {
    inner: Mutex<Inner>,
    /// Hold, resume, close: before everything else. Nothing else is locked while this is, so that a source can be held and let go under the lock of
    /// the lane that it fills: what it is told last is how the lane is.
    orders: Mutex<VecDeque<Command>>,
    wake: Notify,
    waiting: Arc<Waiting>,
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
    /// `lane`: so many bytes of a flow may wait.
    pub(crate) fn new(lane: usize, waiting: Arc<Waiting>) -> Arc<Self> {
        let bounds = Bounds { quantum: QUANTUM, lane, total: lane.saturating_mul(LANES) };
        let inner =
            Inner { frames: VecDeque::new(), frame_bytes: 0, lanes: Lanes::new(bounds), closed: false };
        Arc::new(Self { inner: Mutex::new(inner), orders: Mutex::default(), wake: Notify::new(), waiting })
    }

    /// Says something to the machine itself.
    pub(crate) fn order(&self, command: Command) {
        self.orders.lock().push_back(command);
        self.wake.notify_one();
    }

    /// Puts a piece of a SEND in. If its lane is full now, or there is no room for more anywhere, `source` is held until it has room again.
    pub(crate) fn put(&self, flow: Flow, piece: Piece, source: &Arc<Self>) -> Put {
        let mut inner = self.inner.lock();
        if inner.closed {
            return Put::Closed(piece);
        }
        let size = piece.size();
        let pressed = self.waiting.add(size);
        let full = inner.lanes.push(flow, (flow, piece, Arc::clone(source)), size, pressed);
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
    pub(crate) fn frame(&self, frame: Frame) -> Result<(), NoRoom> {
        let mut inner = self.inner.lock();
        let room = if self.waiting.is_pressing() { PRESSED } else { URGENT };
        if inner.closed || inner.frame_bytes >= room {
            return Err(NoRoom(frame));
        }
        let size = frame.size();
        inner.frame_bytes += size;
        self.waiting.add(size);
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
            let size = frame.size();
            inner.frame_bytes = inner.frame_bytes.saturating_sub(size);
            self.waiting.remove(size);
            if inner.frames.is_empty() {
                inner.frames = VecDeque::new();
            }
            return Some(Command::Frame(frame));
        }
        let ((flow, piece, source), bytes, room) = inner.lanes.pop(self.waiting.is_pressing())?;
        self.waiting.remove(bytes);
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
        self.waiting.remove(inner.lanes.bytes() + std::mem::take(&mut inner.frame_bytes));
        let frames = std::mem::take(&mut inner.frames).into();
        let held: Vec<_> = inner.lanes.full().collect();
        let mut pieces = Vec::new();
        while let Some((waiting, ..)) = inner.lanes.pop(false) {
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

    const FLOW: Flow = Flow { source: LinkId(1), session: 1, to: None };

    fn data(length: usize) -> Piece {
        Piece::Data(Bytes::from(vec![0; length]))
    }

    fn mailbox(lane: usize) -> Arc<Mailbox> {
        Mailbox::new(lane, Waiting::new(Gauge::default(), usize::MAX))
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
        let (from, to) = (mailbox(1_500), mailbox(1_500));
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
        let (from, to) = (mailbox(100), mailbox(100));
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

    /// However many do not read, the relay holds a bound and what was on its way: then each source is held with its first piece.
    #[test]
    fn all_mailboxes_together_have_a_bound() {
        let waiting = Waiting::new(Gauge::default(), 10_000);
        let from = mailbox(1_500);
        let readers: Vec<_> = (0..30).map(|_| Mailbox::new(1_500, Arc::clone(&waiting))).collect();
        let full = readers.iter().filter(|to| matches!(to.put(FLOW, data(872), &from), Put::Full)).count();
        assert_eq!((full, waiting.bytes.get()), (20, 30_000));
        assert!(matches!(readers[0].put(FLOW, data(1), &from), Put::Full), "the others as well from now on");
        orders(&from);
        for to in readers.iter().skip(1) {
            drop(to.close());
        }
        assert_eq!(waiting.bytes.get(), 1_129);
        assert_eq!(orders(&from).len(), 20, "all that were held are let go");
        assert!(readers[0].take().is_some());
        assert_eq!(orders(&from), ["resume"]);
        assert!(readers[0].take().is_some() && readers[0].take().is_none());
        assert_eq!(waiting.bytes.get(), 0);
    }

    #[test]
    fn frames_have_a_bound() {
        let mail = mailbox(1_000);
        let uri = nuncio_msrp::Uri::parse("msrps://a.example:1/a;tcp").unwrap();
        let id = nuncio_msrp::Ident::new("abcdefgh").unwrap();
        let head =
            nuncio_msrp::Head::request(id, nuncio_msrp::Method::Report, uri.clone().into(), uri.into());
        let frame = Frame { head: Box::new(head), body: None, origin: None, login: None, about: None };
        let mut taken = 0;
        while mail.frame(frame.clone()).is_ok() {
            taken += 1;
        }
        assert_eq!(taken, URGENT.div_ceil(frame.size()));
        assert!(matches!(mail.take(), Some(Command::Frame(_))));
        assert!(mail.frame(frame.clone()).is_ok());
        // Where too much waits for all, a few have to do.
        let pressed = Mailbox::new(1_000, Waiting::new(Gauge::default(), 0));
        assert!(pressed.frame(frame.clone()).is_ok());
        let more = std::iter::repeat_with(|| pressed.frame(frame.clone())).take_while(Result::is_ok).count();
        assert_eq!(more + 1, PRESSED.div_ceil(frame.size()));
    }
}
