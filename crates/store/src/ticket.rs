//! The promise that a batch is durable.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use parking_lot::Mutex;

use crate::Fault;

/// The outcome of a batch, to be awaited by whoever acknowledges it to somebody.
///
/// It resolves once the batch is on the disk (or has failed), in the order in which batches were committed. The ticket of a row that was
/// removed before it had been written resolves in its turn, that of its removal at once.
/// Clones resolve together. Dropping a ticket cancels nothing.
///
/// ```
/// # let _ = async {
/// use nuncio_store::{Store, Ticket};
/// let store = Store::memory();
/// let notes = store.table("notes");
/// let both = Ticket::join([notes.put("juliet@capulet.example", b"a", "1"), notes.put("romeo@montague.example", b"b", "2")]);
/// both.await?;
/// # Ok::<(), nuncio_store::Fault>(()) };
/// ```
#[derive(Clone, Debug)]
#[must_use = "a write is durable only once its ticket has resolved; drop it knowingly"]
pub struct Ticket(Inner);

#[derive(Clone, Debug)]
enum Inner {
    Settled(Result<(), Fault>),
    Open(Arc<Mutex<State>>),
    /// Resolves when all have; the first fault in their order wins.
    All(Vec<Ticket>),
}

#[derive(Debug)]
enum State {
    Waiting(Vec<Waker>),
    Settled(Result<(), Fault>),
}

impl Ticket {
    /// A ticket for nothing: already resolved, without a fault.
    pub const fn done() -> Self {
        Self(Inner::Settled(Ok(())))
    }

    /// A ticket that has already failed.
    pub const fn failed(fault: Fault) -> Self {
        Self(Inner::Settled(Err(fault)))
    }

    /// One ticket for many: it resolves when all have, with the fault of the first one that failed, if any did.
    pub fn join(tickets: impl IntoIterator<Item = Self>) -> Self {
        let mut open: Vec<Self> =
            tickets.into_iter().filter(|ticket| !matches!(ticket.0, Inner::Settled(Ok(())))).collect();
        match open.len() {
            0 => Self::done(),
            1 => open.remove(0),
            _ => Self(Inner::All(open)),
        }
    }

    /// The outcome if it is known by now.
    pub fn peek(&self) -> Option<Result<(), Fault>> {
        match &self.0 {
            Inner::Settled(outcome) => Some(outcome.clone()),
            Inner::Open(state) => match &*state.lock() {
                State::Waiting(_) => None,
                State::Settled(outcome) => Some(outcome.clone()),
            },
            Inner::All(tickets) => {
                let mut all = Ok(());
                for ticket in tickets {
                    all = all.and(ticket.peek()?);
                }
                Some(all)
            }
        }
    }

    /// Whether the outcome is known by now, be it success or fault.
    pub fn is_done(&self) -> bool {
        self.peek().is_some()
    }

    /// Blocks the thread until the outcome is known. For code that is not async; never call it on a runtime's worker.
    pub fn wait(mut self) -> Result<(), Fault> {
        let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
        let mut context = Context::from_waker(&waker);
        loop {
            if let Poll::Ready(outcome) = Pin::new(&mut self).poll(&mut context) {
                return outcome;
            }
            std::thread::park();
        }
    }

    pub(crate) fn pair() -> (Settle, Self) {
        let state = Arc::new(Mutex::new(State::Waiting(Vec::new())));
        (Settle(Arc::clone(&state)), Self(Inner::Open(state)))
    }
}

impl Future for Ticket {
    type Output = Result<(), Fault>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            Inner::Settled(outcome) => Poll::Ready(outcome.clone()),
            Inner::Open(state) => match &mut *state.lock() {
                State::Settled(outcome) => Poll::Ready(outcome.clone()),
                State::Waiting(wakers) => {
                    if !wakers.iter().any(|waker| waker.will_wake(context.waker())) {
                        wakers.push(context.waker().clone());
                    }
                    Poll::Pending
                }
            },
            Inner::All(tickets) => {
                let mut all = Ok(());
                for ticket in tickets {
                    match Pin::new(ticket).poll(context) {
                        Poll::Ready(outcome) => all = all.and(outcome),
                        Poll::Pending => return Poll::Pending,
                    }
                }
                Poll::Ready(all)
            }
        }
    }
}

struct Unpark(std::thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// The writer's end of a ticket. Dropped unsettled (the writer died), it settles as [`Fault::Closed`].
#[derive(Debug)]
pub(crate) struct Settle(Arc<Mutex<State>>);

impl Settle {
    pub(crate) fn settle(self, outcome: Result<(), Fault>) {
        self.set(outcome);
    }

    fn set(&self, outcome: Result<(), Fault>) {
        let wakers = {
            let mut state = self.0.lock();
            let State::Waiting(wakers) = &mut *state else { return };
            let wakers = std::mem::take(wakers);
            *state = State::Settled(outcome);
            wakers
        };
        wakers.into_iter().for_each(Waker::wake);
    }
}

impl Drop for Settle {
    fn drop(&mut self) {
        self.set(Err(Fault::Closed));
    }
}
