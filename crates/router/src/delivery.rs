//! One stanza on its way to the sessions that were chosen for it, counted over all their queues.
//!
//! The first acknowledgement settles it; the last queue that lets it go unsettled returns it to `choose`, once. What returns is
//! delivered to other sessions, kept offline, or bounced; never policed, stamped or copied again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use jiff::Timestamp;
use nuncio_store::RowId;
use nuncio_xmpp::stanza::Stanza;
use parking_lot::Mutex;

/// A stanza that somebody answers for until it is settled.
#[derive(Debug)]
pub struct Delivery {
    stanza: Stanza,
    received: Timestamp,
    /// Rises in the order of arrival.
    number: u64,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Queues that hold it.
    left: u32,
    settled: bool,
    /// The row that keeps it if the process dies.
    row: Option<RowId>,
}

/// What became of a delivery when a queue let it go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Other queues hold it still.
    Held,
    /// It was settled before.
    Settled,
    /// Nobody holds it and nobody took it: it returns to `choose`.
    Returns,
}

impl Delivery {
    /// A delivery that no queue holds yet, of a stanza that arrived at this time. `row` keeps it meanwhile.
    pub fn new(stanza: Stanza, received: Timestamp, row: Option<RowId>) -> Arc<Self> {
        static NUMBERS: AtomicU64 = AtomicU64::new(0);
        let number = NUMBERS.fetch_add(1, Ordering::Relaxed);
        Arc::new(Self { stanza, received, number, state: Mutex::new(State { left: 0, settled: false, row }) })
    }

    /// The stanza as it arrived, after the account's stamps.
    pub const fn stanza(&self) -> &Stanza {
        &self.stanza
    }

    /// Its place in the order of arrival.
    pub(crate) const fn number(&self) -> u64 {
        self.number
    }

    /// When it arrived.
    pub const fn received(&self) -> Timestamp {
        self.received
    }

    /// The row that keeps it.
    pub fn row(&self) -> Option<RowId> {
        self.state.lock().row
    }

    /// One more queue holds it.
    pub fn hold(&self) {
        self.state.lock().left += 1;
    }

    /// A session has taken it: acknowledged, or without stream management written. True the first time.
    pub fn settle(&self) -> bool {
        let mut state = self.state.lock();
        !std::mem::replace(&mut state.settled, true)
    }

    /// A queue lets it go without having settled it.
    pub fn let_go(&self) -> Fate {
        let mut state = self.state.lock();
        state.left = state.left.saturating_sub(1);
        match (state.settled, state.left) {
            (true, _) => Fate::Settled,
            (false, 0) => Fate::Returns,
            (false, _) => Fate::Held,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nuncio_xmpp::stanza::{MessageType, message};

    #[test]
    fn only_the_last_queue_returns_it_and_only_unsettled() {
        let stanza = message(MessageType::Chat).build();
        let delivery = Delivery::new(stanza.clone(), Timestamp::UNIX_EPOCH, None);
        delivery.hold();
        delivery.hold();
        assert_eq!(delivery.let_go(), Fate::Held);
        assert_eq!(delivery.let_go(), Fate::Returns);

        let taken = Delivery::new(stanza, Timestamp::UNIX_EPOCH, None);
        taken.hold();
        taken.hold();
        assert!(taken.settle());
        assert!(!taken.settle(), "it is settled once");
        assert_eq!(taken.let_go(), Fate::Settled);
        assert_eq!(taken.let_go(), Fate::Settled);
    }
}
