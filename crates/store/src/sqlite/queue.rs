//! What waits for the writer, and how far it is.
//!
//! A row that is appended alone may be removed before it has been written: what a server keeps only until it is passed on mostly is. Such an append
//! lingers a moment in the queue, and its removal takes it out again; the disk never hears of it.

use std::collections::hash_map::RandomState;
use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::watch;

use crate::batch::Op;
use crate::log::RowId;
use crate::metrics::Metrics;
use crate::store::About;
use crate::ticket::Settle;
use crate::{Fault, Options, Ticket};

/// How many groups owners fall into, for knowing whose writes a read has to wait for. Two owners of one group wait
/// for each other's writes at worst.
const GROUPS: usize = 4096;

/// Batches that passed between two transactions at most: far fewer than a log's reserve of numbers, which is noted with a transaction.
const PASSING: usize = 100_000;

/// One batch on its way to the disk.
#[derive(Debug)]
pub(super) struct Job {
    /// Rises by one from batch to batch.
    pub(super) turn: u64,
    pub(super) ops: Vec<Op>,
    bytes: usize,
    settle: Settle,
    /// Since when it lingers; `None`: the writer begins at once.
    since: Option<Instant>,
    /// Its row was removed again: there is nothing to write, only a ticket that resolves in its turn.
    pub(super) passed: bool,
}

/// One row of a log.
type RowKey = (u32, RowId);

impl Job {
    /// How much of a transaction it takes up.
    fn weight(&self) -> usize {
        if self.passed { 0 } else { weight(&self.ops) }
    }

    /// The row, if all that the batch does is to append it.
    fn row(&self) -> Option<RowKey> {
        lone(&self.ops).map(|(row, _)| row)
    }
}

/// The row that is all that these writes append, and its owner.
fn lone(ops: &[Op]) -> Option<(RowKey, &str)> {
    let [Op::Append { shape, first, rows, .. }] = ops else { return None };
    let [row] = &rows[..] else { return None };
    Some(((*shape, *first), &row.owner))
}

#[derive(Debug)]
pub(super) struct Queue {
    state: Mutex<State>,
    /// Wakes the writer.
    work: Condvar,
    /// Wakes those who wait for room.
    room: Condvar,
    /// The last batch that touched an owner of a group.
    turns: Box<[AtomicU64]>,
    /// The last batch that was queued, and the last that touched owners it does not name.
    queued: AtomicU64,
    everyone: AtomicU64,
    /// The last batch that was settled.
    settled: watch::Sender<u64>,
    hasher: RandomState,
    pace: Duration,
    linger: Duration,
    group: usize,
    limit: usize,
    limit_bytes: usize,
    pub(super) metrics: Metrics,
}

#[derive(Debug, Default)]
struct State {
    jobs: VecDeque<Job>,
    ops: usize,
    bytes: usize,
    /// How many batches the writer hopes for before it begins.
    hoped: usize,
    /// The batches that linger, by the row that they append.
    lingering: HashMap<RowKey, u64>,
    /// Batches that do not linger.
    urgent: usize,
    /// Somebody waits for what lingers.
    hurry: bool,
    /// The writer waits without a time.
    asleep: bool,
    /// A transaction is under way: batches behind it are not settled before it.
    writing: bool,
    /// Batches that passed since the last transaction.
    passed: usize,
    closed: bool,
    /// Why the last transaction failed, until one succeeds.
    failing: Option<Fault>,
}

impl State {
    /// Takes a batch out again that has not been written, if all it does is to append this row.
    fn pass(&mut self, ops: &[Op]) -> bool {
        let [Op::Remove { shape, owner, id }] = ops else { return false };
        let row = (*shape, *id);
        let Some(turn) = self.lingering.get(&row).copied() else { return false };
        let front = self.jobs.front().map_or(turn, |job| job.turn);
        let Some(job) = self.jobs.get_mut((turn - front) as usize) else { return false };
        if lone(&job.ops).is_none_or(|(_, of)| of != &**owner) {
            return false;
        }
        self.lingering.remove(&row);
        job.passed = true;
        self.ops -= weight(&job.ops);
        self.bytes -= std::mem::take(&mut job.bytes);
        job.ops = Vec::new();
        true
    }

    /// A row that is not to be taken out any more.
    fn keep(&mut self, row: RowKey) {
        let Some(turn) = self.lingering.remove(&row) else { return };
        let front = self.jobs.front().map_or(turn, |job| job.turn);
        if let Some(job) = self.jobs.get_mut((turn - front) as usize) {
            job.since = None;
            self.urgent += 1;
        }
    }

    /// Batches that are to be written.
    fn live(&self) -> usize {
        self.urgent + self.lingering.len()
    }
}

impl Queue {
    pub(super) fn new(options: &Options, metrics: Metrics) -> Self {
        Self {
            state: Mutex::default(),
            work: Condvar::new(),
            room: Condvar::new(),
            turns: (0..GROUPS).map(|_| AtomicU64::new(0)).collect(),
            queued: AtomicU64::new(0),
            everyone: AtomicU64::new(0),
            settled: watch::Sender::new(0),
            hasher: RandomState::new(),
            pace: options.pace,
            linger: options.linger,
            group: options.group.max(1),
            limit: options.queue.max(1),
            limit_bytes: options.queue_bytes.max(1),
            metrics,
        }
    }

    /// Queues a batch; blocks while there is no room.
    pub(super) fn push(&self, ops: Vec<Op>, bytes: usize) -> Ticket {
        let mut state = self.state.lock();
        if self.is_full(&state) {
            drop(state);
            // Other tasks of this runtime worker go on elsewhere while this one waits for the disk.
            match Handle::try_current().map(|handle| handle.runtime_flavor()) {
                Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(|| self.wait_for_room()),
                _ => self.wait_for_room(),
            }
            state = self.state.lock();
        }
        if state.closed {
            return Ticket::failed(Fault::Closed);
        }
        if state.pass(&ops) {
            self.metrics.passed.inc();
            self.settle_passed(&mut state);
            self.metrics.queued.set(state.ops as i64);
            // The row was never there.
            return Ticket::done();
        }
        let turn = self.queued.load(Ordering::Relaxed) + 1;
        for op in &ops {
            op.owners(|owner| {
                let last = owner.map_or(&self.everyone, |owner| self.group_of(owner));
                last.store(turn, Ordering::Release);
            });
        }
        self.queued.store(turn, Ordering::Release);
        let (settle, ticket) = Ticket::pair();
        let before = state.ops;
        state.ops += weight(&ops);
        state.bytes += bytes;
        self.metrics.queued.set(state.ops as i64);
        let since = match lone(&ops) {
            Some((row, _)) if !self.linger.is_zero() => {
                state.lingering.insert(row, turn);
                Some(Instant::now())
            }
            _ => {
                // What else is done to a row has to find it.
                for op in &ops {
                    if let Op::Redact { shape, id, .. } | Op::Remove { shape, id, .. } = op {
                        state.keep((*shape, *id));
                    }
                }
                state.urgent += 1;
                None
            }
        };
        state.jobs.push_back(Job { turn, ops, bytes, settle, since, passed: false });
        // Otherwise the writer is at work, or waits for more than this.
        let crossed = before < self.group && state.ops >= self.group || self.is_half(&state);
        let first = state.asleep || since.is_none() && state.urgent == 1;
        let wake = first || state.live() == state.hoped || crossed;
        drop(state);
        if wake {
            self.work.notify_one();
        }
        ticket
    }

    fn is_full(&self, state: &State) -> bool {
        !state.closed && (state.ops >= self.limit || state.bytes >= self.limit_bytes)
    }

    fn wait_for_room(&self) {
        let mut state = self.state.lock();
        while self.is_full(&state) {
            self.room.wait(&mut state);
        }
    }

    /// Settles the batches at the front of the queue that have nothing to write. Under the lock, so that none is settled before an earlier one.
    fn settle_passed(&self, state: &mut State) {
        if state.writing {
            return;
        }
        let mut last = None;
        while state.passed < PASSING
            && state.jobs.front().is_some_and(|job| job.passed)
            && let Some(job) = state.jobs.pop_front()
        {
            state.passed += 1;
            last = Some(job.turn);
            job.settle.settle(Ok(()));
        }
        if let Some(turn) = last {
            self.settled.send_replace(turn);
        }
    }

    /// Whether the writer begins now; else until when it may wait.
    fn due(&self, state: &State) -> Option<Instant> {
        let since = state.jobs.front().and_then(|job| job.since)?;
        let pressed = state.closed || state.hurry || state.urgent > 0 || state.passed >= PASSING;
        let full = state.ops >= self.group || self.is_half(state);
        let due = since + self.linger;
        (!pressed && !full && Instant::now() < due).then_some(due)
    }

    /// For the writer: the batches of the next transaction, at least one. `None`: the store was closed and all is done.
    /// It hopes for as many as the last one had, for the rest of the pace since that began: so a lone writer is
    /// never kept waiting, and many at once share transactions. Where all may linger, it waits for the first one's time.
    pub(super) fn take(&self, (began, had): (Instant, usize)) -> Option<Vec<Job>> {
        let mut state = self.state.lock();
        state.writing = false;
        // While something comes now and then, it looks by itself: to be woken for each would cost more than the waiting.
        let mut awake = Instant::now() + self.linger;
        loop {
            self.settle_passed(&mut state);
            if state.jobs.is_empty() {
                if state.closed {
                    return None;
                }
                if self.linger.is_zero() || self.work.wait_until(&mut state, awake).timed_out() {
                    if state.jobs.is_empty() && !state.closed {
                        state.asleep = true;
                        self.work.wait(&mut state);
                        state.asleep = false;
                    }
                    awake = Instant::now() + self.linger;
                }
            } else if let Some(due) = self.due(&state) {
                self.work.wait_until(&mut state, due);
                awake = Instant::now() + self.linger;
            } else {
                break;
            }
        }
        let due = began + self.pace;
        state.hoped = had;
        while state.live() < had && state.ops < self.group && !state.closed && Instant::now() < due {
            self.work.wait_until(&mut state, due);
        }
        (state.hoped, state.hurry, state.writing, state.passed) = (0, false, true, 0);
        let mut taken = Vec::new();
        let mut ops = 0;
        while let Some(job) = state.jobs.front()
            && (ops == 0 || ops + job.weight() <= self.group)
            && let Some(job) = state.jobs.pop_front()
        {
            ops += job.weight();
            state.bytes -= job.bytes;
            if job.since.is_none() {
                state.urgent -= 1;
            } else if let Some(row) = job.row() {
                state.lingering.remove(&row);
            }
            taken.push(job);
        }
        state.ops -= ops;
        self.metrics.queued.set(state.ops as i64);
        drop(state);
        self.room.notify_all();
        Some(taken)
    }

    /// For the writer: a transaction is durable; these are its batches' outcomes, in their order.
    pub(super) fn settle(&self, jobs: Vec<Job>, outcomes: Vec<Result<(), Fault>>) {
        self.state.lock().failing = None;
        self.tell(jobs.into_iter().zip(outcomes));
    }

    /// For the writer: a transaction failed. What is queued behind it may build on it, so that fails as well.
    pub(super) fn fail(&self, mut jobs: Vec<Job>, fault: &Fault) {
        {
            let mut state = self.state.lock();
            state.failing = Some(fault.clone());
            jobs.extend(state.jobs.drain(..));
            state.lingering.clear();
            (state.ops, state.bytes, state.urgent) = (0, 0, 0);
            self.metrics.queued.set(0);
        }
        self.room.notify_all();
        self.tell(jobs.into_iter().map(|job| (job, Err(fault.clone()))));
    }

    fn tell(&self, outcomes: impl Iterator<Item = (Job, Result<(), Fault>)>) {
        let mut last = None;
        for (job, outcome) in outcomes {
            self.metrics.batches.inc();
            self.metrics.writes.inc_by(job.ops.len() as u64);
            if let Err(fault) = &outcome {
                self.metrics.fault(fault);
            }
            last = Some(job.turn);
            job.settle.settle(outcome);
        }
        if let Some(turn) = last {
            self.settled.send_replace(turn);
        }
    }

    /// No batch is taken any more; those in the queue are still written.
    pub(super) fn close(&self) {
        self.state.lock().closed = true;
        self.work.notify_all();
        self.room.notify_all();
    }

    /// Ends everything at once: the writer is gone, and what is still queued with it.
    pub(super) fn abandon(&self) {
        self.close();
        let left = std::mem::take(&mut self.state.lock().jobs);
        self.tell(left.into_iter().map(|job| (job, Err(Fault::Closed))));
        // Reads that wait for batches which the writer took with it go on and find them missing.
        self.settled.send_replace(u64::MAX);
    }

    pub(super) fn health(&self) -> Result<(), Fault> {
        if self.state.lock().closed { Err(Fault::Closed) } else { self.outcome() }
    }

    /// How the last transaction ended.
    pub(super) fn outcome(&self) -> Result<(), Fault> {
        self.state.lock().failing.clone().map_or(Ok(()), Err)
    }

    /// The turn of the last batch that a read about these owners has to see.
    pub(super) fn last(&self, about: About<'_>) -> u64 {
        match about {
            About::Everyone => self.queued.load(Ordering::Acquire),
            About::Owner(owner) => {
                self.group_of(owner).load(Ordering::Acquire).max(self.everyone.load(Ordering::Acquire))
            }
        }
    }

    /// Waits until the batch with that turn has been settled.
    pub(super) async fn wait_for(&self, turn: u64) {
        if *self.settled.borrow() < turn {
            self.hurry(turn);
            // The sender lives in `self`, so it cannot go away meanwhile.
            let _ = self.settled.subscribe().wait_for(|settled| *settled >= turn).await;
        }
    }

    /// Somebody waits for the batch with that turn: it lingers no more.
    fn hurry(&self, turn: u64) {
        let mut state = self.state.lock();
        let queued = state.jobs.front().is_some_and(|job| job.turn <= turn);
        if queued && !std::mem::replace(&mut state.hurry, true) {
            self.work.notify_one();
        }
    }

    pub(super) async fn ready(&self) {
        let mut progress = self.settled.subscribe();
        while self.is_half_full() && progress.changed().await.is_ok() {}
    }

    fn is_half_full(&self) -> bool {
        self.is_half(&self.state.lock())
    }

    fn is_half(&self, state: &State) -> bool {
        !state.closed && (state.ops >= self.limit.div_ceil(2) || state.bytes >= self.limit_bytes.div_ceil(2))
    }

    fn group_of(&self, owner: &str) -> &AtomicU64 {
        &self.turns[self.hasher.hash_one(owner) as usize % GROUPS]
    }
}

/// How much of a transaction a batch takes up; an empty one takes part as well.
fn weight(ops: &[Op]) -> usize {
    ops.len().max(1)
}
