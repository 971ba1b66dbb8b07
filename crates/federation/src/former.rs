//! Streams that have lost their connection (XEP-0198 §5): whoever opened one connects again and resumes it; meanwhile what it was given and nobody has
//! acknowledged is kept, and nothing overtakes it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use nuncio_dna::{Direction, Prooftype};
use nuncio_router::store::Ticket;
use nuncio_stream::s2s::{NotResumed, Pair, Previous, Purpose};
use nuncio_xmpp::error::{Condition, StanzaError};
use parking_lot::Mutex;
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};

use crate::Federation;
use crate::host::may_repeat;
use crate::live::Live;
use crate::pairs::Entry;
use crate::queue::Parcel;
use crate::route::{Target, turn_of};

/// How long what we have for a peer that opened the stream waits for it to come back, before we connect ourselves.
const HOLD: Duration = Duration::from_secs(10);
/// How long it may take until a stream that is resumed has let go of its old connection.
const LET_GO: Duration = Duration::from_secs(5);
/// The wait after a first attempt to connect again that has failed; it doubles.
const FIRST: Duration = Duration::from_secs(1);
/// A connection that was lost sooner was short.
pub(crate) const SHORT: Duration = Duration::from_secs(5);
/// So many are kept; of more, the oldest goes.
const MOST: usize = 10_000;

/// A stanza that a stream was given.
#[derive(Debug)]
pub(crate) struct Given {
    pub(crate) entry: Arc<Entry>,
    pub(crate) parcel: Parcel,
    /// Whether it went out, and so may have arrived.
    pub(crate) sent: bool,
}

/// What is left of a stream.
#[derive(Debug)]
pub(crate) struct Former {
    /// Its number, for the log.
    pub(crate) number: u64,
    pub(crate) direction: Direction,
    /// The first pair that it carried.
    pub(crate) pair: Pair,
    /// By what that was proven.
    pub(crate) by: Prooftype,
    /// Where we had connected to.
    pub(crate) target: Option<Target>,
    pub(crate) previous: Previous,
    /// What it was given and the peer has not acknowledged, in order.
    pub(crate) given: Vec<Given>,
    /// If we had opened it: nothing of its pair leaves by another way meanwhile.
    pub(crate) entry: Option<Arc<Entry>>,
    /// The pairs that are held for it, also those of which the peer turns out to have had everything.
    pub(crate) held: Vec<Arc<Entry>>,
    /// Of what it brought: what is not known to be durable yet.
    pub(crate) inbound: Vec<Ticket>,
    pub(crate) until: Instant,
    /// Its connection was lost soon after it was made: the next is not made at once.
    pub(crate) short: bool,
}

impl Former {
    /// Waits until everything is durable that the peer will be told is handled. False if it cannot be.
    async fn settle(&mut self) -> bool {
        for ticket in std::mem::take(&mut self.inbound) {
            if ticket.await.is_err() {
                return false;
            }
        }
        true
    }

    /// Nothing leaves of its pairs until it is resumed or given up.
    pub(crate) fn hold(&mut self, live: &Arc<Live>) {
        for entry in self.given.iter().map(|given| &given.entry).chain(&self.entry) {
            if !self.held.iter().any(|held| Arc::ptr_eq(held, entry)) {
                entry.hold(live);
                self.held.push(Arc::clone(entry));
            }
        }
    }

    /// The peer says what it has handled: the rest has certainly not arrived.
    pub(crate) fn handled(&mut self, h: u32) {
        let acked = usize::try_from(h.wrapping_sub(self.previous.acked)).unwrap_or(usize::MAX);
        self.given.drain(..acked.min(self.given.len()));
        self.given.iter_mut().for_each(|given| given.sent = false);
        self.previous.acked = h;
    }
}

/// All of them, by when they were lost.
#[derive(Debug, Default)]
pub(crate) struct Formers {
    all: Mutex<(u64, BTreeMap<u64, Former>)>,
}

impl Formers {
    /// Keeps one. Its place, and what has to go for it.
    fn keep(&self, former: Former) -> (u64, Option<Former>) {
        let (next, all) = &mut *self.all.lock();
        *next += 1;
        let gone = if all.len() >= MOST { all.pop_first() } else { None };
        all.insert(*next, former);
        (*next, gone.map(|(_, former)| former))
    }

    fn take(&self, place: u64) -> Option<Former> {
        self.all.lock().1.remove(&place)
    }

    fn is_there(&self, place: u64) -> bool {
        self.all.lock().1.contains_key(&place)
    }

    /// Takes out the latest that fits.
    fn take_if(&self, fits: impl Fn(&Former) -> bool) -> Option<Former> {
        let all = &mut self.all.lock().1;
        let place = all.iter().rev().find(|(_, former)| fits(former)).map(|(place, _)| *place)?;
        all.remove(&place)
    }

    /// What it has for the peer, without the rest.
    fn take_given(&self, place: u64) -> Vec<Given> {
        self.all.lock().1.get_mut(&place).map(|former| std::mem::take(&mut former.given)).unwrap_or_default()
    }

    fn take_all(&self) -> Vec<Former> {
        std::mem::take(&mut self.all.lock().1).into_values().collect()
    }
}

impl Federation {
    /// Keeps what is left of a stream until it is resumed; connects again for it if we had opened it.
    pub(crate) fn keep_former(self: &Arc<Self>, former: Former) {
        let (until, number, short) = (former.until, former.number, former.short);
        let way = former.target.clone().map(|target| (former.pair.clone(), target));
        tracing::info!(
            stream = number,
            pair = %former.pair,
            unacknowledged = former.given.len(),
            "the stream waits to be resumed"
        );
        let (place, gone) = self.formers.keep(former);
        self.moved.notify_waiters();
        if let Some(gone) = gone {
            self.give_up_former(gone);
        }
        let this = Arc::clone(self);
        tokio::spawn(async move {
            match way {
                Some((pair, target)) => {
                    // The time is up, or we are not their peer any more.
                    let again = async {
                        if short {
                            sleep(FIRST).await;
                        }
                        this.connect_again(place, &pair, &target).await;
                    };
                    drop(timeout_at(until, again).await);
                }
                None => {
                    let hold = sleep_until(until.min(Instant::now() + HOLD));
                    hold.await;
                    this.release(this.formers.take_given(place), "the connection was lost");
                    sleep_until(until).await;
                }
            }
            if let Some(former) = this.formers.take(place) {
                this.give_up_former(former);
            }
        });
    }

    /// Opens streams until one of them has taken up what is left of the former.
    async fn connect_again(self: &Arc<Self>, place: u64, pair: &Pair, target: &Target) {
        let mut wait = FIRST;
        while self.formers.is_there(place) && !self.is_stopping() {
            // Who wants to the same place meanwhile shares what comes of it.
            let turn = self.turns.of(&turn_of(std::slice::from_ref(target)));
            let mine = turn.wait().await;
            let outcome = match self.dial(pair, target, Purpose::Stanzas).await {
                Ok((_, told)) => told.await.ok().and_then(Result::err),
                Err(failure) => Some(failure),
            };
            drop(mine);
            let Some(failure) = outcome else { return };
            if !self.formers.is_there(place) || failure.lasting {
                return;
            }
            tracing::debug!(%pair, code = failure.code, text = failure.text, "a stream cannot be resumed yet");
            sleep(wait).await;
            wait *= 2;
        }
    }

    /// Nobody resumes it: what it was given goes its way without it.
    pub(crate) fn give_up_former(&self, former: Former) {
        self.release_former(former, "the connection was lost");
    }

    /// What it was given, and whatever waited for that, goes on.
    pub(crate) fn release_former(&self, former: Former, why: &str) {
        self.release(former.given, why);
        for entry in former.held {
            let then = entry.release(Vec::new());
            self.then(&entry, then);
        }
    }

    /// Everything that waits to be resumed is given up: this server is stopping.
    pub(crate) fn give_up_formers(&self) {
        for former in self.formers.take_all() {
            self.give_up_former(former);
        }
    }

    /// What a stream was given returns to the queues of its pairs, before everything else and in its order. A request that may have arrived is not repeated.
    pub(crate) fn release(&self, given: Vec<Given>, why: &str) {
        for (entry, parcels) in self.sorted(given, why) {
            let then = entry.release(parcels);
            self.then(&entry, then);
        }
    }

    /// By pairs, without those that must not be sent again: their senders are told.
    pub(crate) fn sorted(&self, given: Vec<Given>, why: &str) -> Vec<(Arc<Entry>, Vec<Parcel>)> {
        let mut back: BTreeMap<Pair, (Arc<Entry>, Vec<Parcel>)> = BTreeMap::new();
        for Given { entry, parcel, sent } in given {
            let (_, parcels) =
                back.entry(entry.pair.clone()).or_insert_with(|| (Arc::clone(&entry), Vec::new()));
            if sent && !may_repeat(&parcel.stanza) {
                let text = format!("{}: {why}, and it is not known whether this arrived", entry.pair.remote);
                let error = StanzaError::new(Condition::RemoteServerTimeout).with_text(text);
                self.give_back(vec![parcel], error);
            } else {
                parcels.push(parcel);
            }
        }
        back.into_values().collect()
    }

    /// What a stream that we have opened may resume: one for the same pair, whose peer is proven as it was then.
    pub(crate) async fn recall(&self, pair: &Pair, by: Prooftype) -> Option<Former> {
        let fits = |former: &Former| former.direction == Direction::Out && former.pair == *pair;
        let former = self.formers.take_if(fits)?;
        self.settled(former, by).await
    }

    /// What a peer may resume: a stream of that name, for a pair that it has authenticated on this one too, and by the same proof.
    pub(crate) async fn resume(&self, live: &Arc<Live>, previd: &str) -> Result<Former, NotResumed> {
        let name = |former: &Former| former.direction == Direction::In && former.previous.id == previd;
        let still = self.streams().into_iter().find(|other| {
            other.direction == Direction::In
                && !Arc::ptr_eq(other, live)
                && other.resumable().is_some_and(|(id, _)| id == previd)
        });
        if let Some(still) = still {
            if still.proven_by_first().is_none_or(|(pair, by)| live.proven_by(&pair) != Some(by)) {
                return Err(NotResumed::default());
            }
            // They know better than we that its connection is gone.
            still.command(nuncio_stream::s2s::Command::Supersede);
            let gone = self.until(|| self.streams().iter().all(|other| !Arc::ptr_eq(other, &still)));
            drop(timeout(LET_GO, gone).await);
        }
        let fits =
            |former: &Former| name(former) && live.proven_by(&former.pair).is_some_and(|by| by == former.by);
        let former = self.formers.take_if(fits).ok_or_else(NotResumed::default)?;
        let by = former.by;
        self.settled(former, by).await.ok_or_else(NotResumed::default)
    }

    async fn settled(&self, mut former: Former, by: Prooftype) -> Option<Former> {
        let settled = former.by == by && former.until > Instant::now() && former.settle().await;
        if settled {
            return Some(former);
        }
        self.give_up_former(former);
        None
    }
}
