//! The table of domain pairs: for each that anybody here wrote to, its queue and its way out.

use std::sync::Arc;

use hashbrown::{Equivalent, HashMap};
use nuncio_stream::s2s::Pair;
use nuncio_xmpp::stanza::Stanza;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::failure::Failure;
use crate::live::Live;
use crate::queue::{Parcel, Queue, QueueLimits};

/// One pair.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) pair: Pair,
    state: Mutex<State>,
    /// Its way out has changed, or it should be looked for at once.
    pub(crate) changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    queue: Queue,
    out: Out,
    /// Whether the stream that it is on knows that something waits.
    announced: bool,
    /// What a stream was given that has lost its connection comes first: nothing leaves before that is resumed or given up.
    held: bool,
    /// Attempts that failed since the last that did not.
    failures: u32,
    failure: Option<Box<Failure>>,
    /// Not before then is there another attempt.
    retry: Option<Instant>,
}

/// How stanzas of a pair leave.
#[derive(Clone, Debug, Default)]
pub(crate) enum Out {
    /// Not at all.
    #[default]
    None,
    /// Somebody looks for a way.
    Opening,
    /// On this stream.
    On(Arc<Live>),
}

/// What is to be done after something was put into a queue.
#[derive(Debug)]
pub(crate) enum Then {
    Nothing,
    /// Look for a way.
    Open,
    /// Tell this stream.
    Tell(Arc<Live>),
}

/// Why a stanza is not taken.
#[derive(Debug)]
pub(crate) enum Refusal {
    Full,
    Failing(Box<Failure>),
}

impl Entry {
    fn new(pair: Pair) -> Self {
        Self { pair, state: Mutex::default(), changed: Notify::new() }
    }

    /// Takes a stanza. `keep` writes it, if it is to be written, once it is known that there is room.
    pub(crate) fn push<T>(
        &self,
        stanza: &Stanza,
        limits: &QueueLimits,
        keep: impl FnOnce() -> (Parcel, T),
    ) -> Result<(Then, T), Refusal> {
        let state = &mut *self.state.lock();
        if let (Some(failure), Some(retry), Out::None) = (&state.failure, state.retry, &state.out)
            && failure.lasting
            && Instant::now() < retry
        {
            return Err(Refusal::Failing(failure.clone()));
        }
        if !state.queue.has_room(stanza, limits) {
            return Err(Refusal::Full);
        }
        let (parcel, kept) = keep();
        state.queue.push(parcel);
        Ok((state.next(), kept))
    }

    /// Takes what the last process left, whatever the bounds.
    pub(crate) fn restore(&self, parcel: Parcel) -> Then {
        let state = &mut *self.state.lock();
        state.queue.push(parcel);
        state.next()
    }

    /// The next stanza for the stream; none if it is no longer on that stream, or nothing waits. Also whether more waits.
    pub(crate) fn pop(&self, live: &Arc<Live>) -> (Option<Parcel>, bool) {
        let state = &mut *self.state.lock();
        if !state.is_on(live) || state.held {
            return (None, false);
        }
        let parcel = state.queue.pop();
        let more = !state.queue.is_empty();
        state.announced = more;
        (parcel, more)
    }

    /// Its way out is this stream, unless it has another.
    pub(crate) fn attach(&self, live: &Arc<Live>) -> Then {
        let state = &mut *self.state.lock();
        (state.failures, state.failure, state.retry) = (0, None, None);
        if matches!(state.out, Out::On(_)) {
            return Then::Nothing;
        }
        state.out = Out::On(Arc::clone(live));
        state.announced = false;
        let then = if state.queue.is_empty() { Then::Nothing } else { state.next() };
        self.changed.notify_waiters();
        then
    }

    /// The stream is no way out any more. `back`: what it took and did not deliver.
    pub(crate) fn detach(&self, live: &Arc<Live>, back: Vec<Parcel>) -> Then {
        let state = &mut *self.state.lock();
        state.queue.put_back(back.into_iter());
        if state.is_on(live) {
            state.out = Out::None;
            state.announced = false;
        }
        if state.queue.is_empty() { Then::Nothing } else { state.next() }
    }

    /// The stream has lost its connection and may be resumed: nothing leaves until [`Self::release`].
    pub(crate) fn hold(&self, live: &Arc<Live>) {
        let state = &mut *self.state.lock();
        state.held = true;
        if state.is_on(live) {
            state.out = Out::None;
            state.announced = false;
        }
    }

    /// What was held goes on. `back`: what comes before everything else.
    pub(crate) fn release(&self, back: Vec<Parcel>) -> Then {
        let state = &mut *self.state.lock();
        state.held = false;
        state.queue.put_back(back.into_iter());
        if state.queue.is_empty() { Then::Nothing } else { state.next() }
    }

    /// What has waited too long.
    pub(crate) fn expired(&self) -> Vec<Parcel> {
        self.state.lock().queue.expired(Instant::now())
    }

    /// An attempt to find a way has failed. Returns what has to go back at once.
    pub(crate) fn failed(&self, failure: &Failure, retry: impl FnOnce(u32) -> Instant) -> Vec<Parcel> {
        let state = &mut *self.state.lock();
        state.retry = Some(retry(state.failures));
        state.failures = state.failures.saturating_add(1);
        state.failure = Some(Box::new(failure.clone()));
        if !failure.lasting {
            return Vec::new();
        }
        if matches!(state.out, Out::Opening) {
            state.out = Out::None;
        }
        state.queue.drain()
    }

    /// Somebody of the other domain is there: there is no reason to wait any longer.
    pub(crate) fn hasten(&self) {
        let state = &mut *self.state.lock();
        state.retry = None;
        if state.failure.as_ref().is_some_and(|failure| !failure.of_pair) {
            state.failure = None;
        }
        self.changed.notify_waiters();
    }

    /// What was refused by us may be accepted now: everything is forgotten that was held against it.
    pub(crate) fn reconsider(&self) {
        let state = &mut *self.state.lock();
        (state.retry, state.failure, state.failures) = (None, None, 0);
        self.changed.notify_waiters();
    }

    /// Whoever looks for a way: until when to rest, when the first stanza expires. None if there is nothing to look for any more; then nobody does.
    pub(crate) fn wanted(&self) -> Option<(Option<Instant>, Option<Instant>)> {
        let state = &mut *self.state.lock();
        if !matches!(state.out, Out::Opening) {
            return None;
        }
        if state.queue.is_empty() {
            state.out = Out::None;
            return None;
        }
        Some((state.retry, state.queue.deadline()))
    }

    /// Nobody looks for a way any more. Returns what waits, if no stream takes it.
    pub(crate) fn give_up(&self) -> Vec<Parcel> {
        let state = &mut *self.state.lock();
        if matches!(state.out, Out::On(_)) {
            return Vec::new();
        }
        state.out = Out::None;
        self.changed.notify_waiters();
        state.queue.drain()
    }

    /// Whether something waits for a way that is looked for, and nothing has failed yet.
    pub(crate) fn is_hopeful(&self) -> bool {
        let state = self.state.lock();
        matches!(state.out, Out::Opening) && !state.queue.is_empty() && state.failure.is_none()
    }

    /// The stream that it is on.
    pub(crate) fn on(&self) -> Option<Arc<Live>> {
        match &self.state.lock().out {
            Out::On(live) => Some(Arc::clone(live)),
            _ => None,
        }
    }

    pub(crate) fn look(&self) -> Look {
        let state = self.state.lock();
        Look {
            waiting: state.queue.len(),
            bytes: state.queue.bytes(),
            opening: matches!(state.out, Out::Opening),
            on: matches!(state.out, Out::On(_)),
            failure: state.failure.as_deref().cloned(),
            retry: state.retry,
        }
    }

    /// Whether nothing would be lost if it were forgotten.
    fn is_idle(&self, now: Instant) -> bool {
        let state = self.state.lock();
        matches!(state.out, Out::None)
            && !state.held
            && state.queue.is_empty()
            && state.retry.is_none_or(|retry| retry <= now)
    }
}

impl State {
    fn is_on(&self, live: &Arc<Live>) -> bool {
        matches!(&self.out, Out::On(on) if Arc::ptr_eq(on, live))
    }

    fn next(&mut self) -> Then {
        match &self.out {
            _ if self.held => Then::Nothing,
            Out::None => {
                self.out = Out::Opening;
                Then::Open
            }
            Out::Opening => Then::Nothing,
            Out::On(live) if !self.announced => {
                self.announced = true;
                Then::Tell(Arc::clone(live))
            }
            Out::On(_) => Then::Nothing,
        }
    }
}

/// What is seen of a pair.
#[derive(Clone, Debug)]
pub(crate) struct Look {
    pub(crate) waiting: usize,
    pub(crate) bytes: usize,
    pub(crate) opening: bool,
    pub(crate) on: bool,
    pub(crate) failure: Option<Failure>,
    pub(crate) retry: Option<Instant>,
}

/// All pairs.
#[derive(Debug, Default)]
pub(crate) struct Pairs {
    all: Mutex<HashMap<Pair, Arc<Entry>>>,
}

#[derive(Hash)]
struct Named<'a>(&'a str, &'a str);

impl Equivalent<Pair> for Named<'_> {
    fn equivalent(&self, pair: &Pair) -> bool {
        *self.0 == *pair.local && *self.1 == *pair.remote
    }
}

/// So many pairs, and those that are idle are forgotten.
const SWEEP: usize = 4_096;

impl Pairs {
    /// The entry of a pair, made if it is new.
    pub(crate) fn entry(&self, local: &str, remote: &str) -> Arc<Entry> {
        let mut all = self.all.lock();
        if let Some(entry) = all.get(&Named(local, remote)) {
            return Arc::clone(entry);
        }
        if all.len() >= SWEEP && all.len().is_power_of_two() {
            let now = Instant::now();
            // An Arc is only ever taken under this lock, so nobody else can have one of those that go.
            all.retain(|_, entry| Arc::strong_count(entry) > 1 || !entry.is_idle(now));
        }
        let pair = Pair::new(local, remote);
        let entry = Arc::new(Entry::new(pair.clone()));
        all.insert(pair, Arc::clone(&entry));
        entry
    }

    /// The entry of a pair if there is one.
    pub(crate) fn known(&self, pair: &Pair) -> Option<Arc<Entry>> {
        self.all.lock().get(pair).cloned()
    }

    /// Every entry.
    pub(crate) fn entries(&self) -> Vec<Arc<Entry>> {
        self.all.lock().values().cloned().collect()
    }

    /// The entries of a remote domain.
    pub(crate) fn of(&self, remote: &str) -> Vec<Arc<Entry>> {
        self.all.lock().values().filter(|entry| *entry.pair.remote == *remote).cloned().collect()
    }

    /// Forgets what is idle.
    pub(crate) fn sweep(&self) {
        let now = Instant::now();
        self.all.lock().retain(|_, entry| Arc::strong_count(entry) > 1 || !entry.is_idle(now));
    }
}
