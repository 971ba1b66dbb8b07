//! One stream to or from another server, as everybody but its own connection sees it.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use nuncio_dna::{Direction, Evidence, Judgement, Level, Prooftype, ProvenDomain, Time};
use nuncio_sansio::TlsFacts;
use nuncio_stream::s2s::{By, Command, DialbackError, Offers, Pair, Way};
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use crate::pairs::Entry;
use crate::route::Target;

/// A stream. Dropped when its connection has ended and no pair leads over it any more.
#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) number: u64,
    pub(crate) direction: Direction,
    pub(crate) peer: SocketAddr,
    /// Where we connected to.
    pub(crate) target: Option<Target>,
    pub(crate) since: Time,
    /// Its connection has something to do.
    pub(crate) wake: Notify,
    inner: Mutex<Inner>,
}

/// Places of a queue that are kept when it is empty.
const SPARE: usize = 16;
/// When to try again to renew a proof, as long as the old one holds.
const AGAIN: Duration = Duration::from_secs(60);
/// How long a stream stays on which keys were asked about.
const LINGER: Duration = Duration::from_secs(1);

/// What a peer's answer about a dialback key is given to.
type Told = oneshot::Sender<Result<(), DialbackError>>;

#[derive(Debug, Default)]
struct Inner {
    phase: Phase,
    tls: Option<Arc<TlsFacts>>,
    offers: Offers,
    /// Of the last header of the receiving side.
    id: String,
    pairs: BTreeMap<Pair, Box<Carried>>,
    /// Judged, and not yet authorised on the wire.
    pending: BTreeMap<Pair, Judged>,
    /// Pairs of which something waits.
    ready: VecDeque<Arc<Entry>>,
    commands: VecDeque<Command>,
    asserting: BTreeMap<Pair, Told>,
    verifying: Vec<(Pair, String, Told)>,
    /// Assertions of the peer that are looked into.
    asserted: usize,
    /// Whether it is there to ask about keys only.
    verifies: bool,
    /// Since when there is nothing to ask about.
    unasked: Option<Instant>,
    /// The pair of the headers.
    claimed: Option<Pair>,
    carried_ever: bool,
    sent: u64,
    received: u64,
    /// The name by which it can be resumed, and for how long after the loss of its connection.
    resumable: Option<(String, Duration)>,
    /// The first pair that it carried.
    first: Option<Pair>,
}

/// How far a stream is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Phase {
    /// No pair is authorised yet.
    #[default]
    Opening,
    /// It carries stanzas.
    Up,
    /// It is being closed, or is over.
    Closing,
}

/// A claim that was judged, with what it was judged by.
#[derive(Clone, Debug)]
pub(crate) struct Judged {
    pub(crate) judgement: Judgement,
    pub(crate) evidence: Evidence,
}

/// A pair that the stream carries.
#[derive(Clone, Debug)]
pub(crate) struct Carried {
    pub(crate) way: Way,
    pub(crate) by: By,
    pub(crate) proof: Arc<ProvenDomain>,
    pub(crate) level: Level,
    /// When there must be a new proof.
    pub(crate) until: Time,
    /// When to renew it.
    pub(crate) renew: Time,
    pub(crate) since: Time,
    pub(crate) renewing: bool,
}

/// What is seen of a stream.
#[derive(Clone, Debug)]
pub(crate) struct Look {
    pub(crate) phase: Phase,
    pub(crate) tls: Option<Arc<TlsFacts>>,
    pub(crate) pairs: Vec<(Pair, Carried)>,
    pub(crate) sent: u64,
    pub(crate) received: u64,
}

impl Live {
    pub(crate) fn new(
        number: u64,
        direction: Direction,
        peer: SocketAddr,
        target: Option<Target>,
        since: Time,
    ) -> Arc<Self> {
        let inner = Mutex::default();
        Arc::new(Self { number, direction, peer, target, since, wake: Notify::new(), inner })
    }

    /// Has its connection tell the machine something.
    pub(crate) fn command(&self, command: Command) {
        self.inner.lock().commands.push_back(command);
        self.wake.notify_one();
    }

    pub(crate) fn next_command(&self) -> Option<Command> {
        let commands = &mut self.inner.lock().commands;
        let next = commands.pop_front();
        if commands.is_empty() {
            commands.shrink_to(SPARE);
        }
        next
    }

    /// Something waits for a pair that leads over this stream.
    pub(crate) fn ready(&self, entry: Arc<Entry>) {
        self.inner.lock().ready.push_back(entry);
        self.wake.notify_one();
    }

    /// The next pair of which something waits.
    pub(crate) fn next_ready(&self) -> Option<Arc<Entry>> {
        let ready = &mut self.inner.lock().ready;
        let next = ready.pop_front();
        if ready.is_empty() {
            ready.shrink_to(SPARE);
        }
        next
    }

    pub(crate) fn is_drained(&self) -> bool {
        let inner = self.inner.lock();
        inner.ready.is_empty() && inner.commands.is_empty()
    }

    pub(crate) fn opened(&self, id: String, pair: Option<Pair>) {
        let mut inner = self.inner.lock();
        (inner.id, inner.claimed) = (id, pair);
    }

    /// The pair of the headers of a stream that never carried any.
    pub(crate) fn claimed(&self) -> Option<Pair> {
        let inner = self.inner.lock();
        inner.claimed.clone().filter(|_| !inner.carried_ever)
    }

    pub(crate) fn secured(&self, tls: TlsFacts) {
        self.inner.lock().tls = Some(Arc::new(tls));
    }

    pub(crate) fn offered(&self, offers: Offers) {
        self.inner.lock().offers = offers;
    }

    pub(crate) fn offers(&self) -> Offers {
        self.inner.lock().offers
    }

    /// What TLS found out, and the id of the receiving side's header.
    pub(crate) fn facts(&self) -> (Option<Arc<TlsFacts>>, String) {
        let inner = self.inner.lock();
        (inner.tls.clone(), inner.id.clone())
    }

    pub(crate) fn set_resumable(&self, id: String, within: Duration) {
        self.inner.lock().resumable = Some((id, within));
    }

    /// The name by which it can be resumed, and for how long.
    pub(crate) fn resumable(&self) -> Option<(String, Duration)> {
        self.inner.lock().resumable.clone()
    }

    /// The first pair that it carried, and by what that is proven; none if it carries it no more.
    pub(crate) fn proven_by_first(&self) -> Option<(Pair, Prooftype)> {
        let inner = self.inner.lock();
        let pair = inner.first.as_ref()?;
        inner.pairs.get(pair).map(|carried| (pair.clone(), carried.proof.by()))
    }

    /// By what a pair is proven that it carries.
    pub(crate) fn proven_by(&self, pair: &Pair) -> Option<Prooftype> {
        self.inner.lock().pairs.get(pair).map(|carried| carried.proof.by())
    }

    pub(crate) fn phase(&self) -> Phase {
        self.inner.lock().phase
    }

    pub(crate) fn closing(&self) {
        self.inner.lock().phase = Phase::Closing;
    }

    /// Keeps what a claim was judged by until the wire says that the pair is carried.
    pub(crate) fn judged(&self, pair: Pair, judged: Judged) {
        self.inner.lock().pending.insert(pair, judged);
    }

    /// What the claim was judged by, as far as it is not used yet.
    pub(crate) fn pending(&self, pair: &Pair) -> Option<Judged> {
        self.inner.lock().pending.get(pair).cloned()
    }

    /// What the claim was judged by, once.
    pub(crate) fn take_judged(&self, pair: &Pair) -> Option<Judged> {
        self.inner.lock().pending.remove(pair)
    }

    /// The pair is carried from here on. Returns whether it was not before.
    pub(crate) fn carry(&self, pair: Pair, carried: Carried) -> bool {
        let mut inner = self.inner.lock();
        inner.carried_ever = true;
        if inner.phase == Phase::Opening {
            inner.phase = Phase::Up;
        }
        if let Some(known) = inner.pairs.get_mut(&pair) {
            let way = if known.way == carried.way { carried.way } else { Way::Both };
            **known = Carried { way, since: known.since, ..carried };
            return false;
        }
        inner.first.get_or_insert_with(|| pair.clone());
        inner.pairs.insert(pair, Box::new(carried));
        true
    }

    /// A new proof for a pair that is carried, until `until`, to be renewed at `renew`.
    pub(crate) fn renew(
        &self,
        pair: &Pair,
        proof: Arc<ProvenDomain>,
        level: Level,
        until: Time,
        renew: Time,
    ) {
        if let Some(carried) = self.inner.lock().pairs.get_mut(pair) {
            let (way, by, since) = (carried.way, carried.by, carried.since);
            **carried = Carried { way, by, proof, level, until, renew, since, renewing: false };
        }
    }

    /// A proof could not be renewed. False if it has ended, or is gone; else it is tried again after some time, or when it ends.
    pub(crate) fn keep_for_now(&self, pair: &Pair, now: Time) -> bool {
        let mut inner = self.inner.lock();
        let Some(carried) = inner.pairs.get_mut(pair).filter(|carried| now < carried.until) else {
            return false;
        };
        carried.renew = carried.until.min(now.after(AGAIN));
        carried.renewing = false;
        true
    }

    /// Whether stanzas of the pair may be sent now; if its proof has ended, also by what it was authorised, once.
    pub(crate) fn may_send(&self, pair: &Pair, now: Time) -> Result<(), Option<By>> {
        let mut inner = self.inner.lock();
        let Some(carried) = inner.pairs.get_mut(pair) else { return Err(None) };
        if now <= carried.until {
            return Ok(());
        }
        let first = !std::mem::replace(&mut carried.renewing, true);
        Err(first.then_some(carried.by))
    }

    /// The pair is no longer carried. How many are left; none if it was not carried.
    pub(crate) fn drop_pair(&self, pair: &Pair) -> Option<usize> {
        let mut inner = self.inner.lock();
        inner.pairs.remove(pair)?;
        Some(inner.pairs.len())
    }

    /// The proof by which the peer may speak for the pair at this time; else by what it was authorised, if its proof has ended.
    pub(crate) fn proof(&self, pair: &Pair, now: Time) -> Result<Arc<ProvenDomain>, Option<By>> {
        let mut inner = self.inner.lock();
        inner.received += 1;
        match inner.pairs.get(pair).filter(|carried| carried.way != Way::Out) {
            Some(carried) if now <= carried.until => Ok(Arc::clone(&carried.proof)),
            Some(carried) => Err(Some(carried.by)),
            None => Err(None),
        }
    }

    /// Whether it carries the pair towards the other domain.
    pub(crate) fn carries_out(&self, pair: &Pair) -> bool {
        let inner = self.inner.lock();
        inner.phase == Phase::Up && inner.pairs.get(pair).is_some_and(|carried| carried.way != Way::In)
    }

    /// Whether stanzas of the pair may come and go on it.
    pub(crate) fn goes_both_ways(&self, pair: &Pair) -> bool {
        self.inner.lock().pairs.get(pair).is_some_and(|carried| carried.way == Way::Both)
    }

    /// Whether it carries any pair towards this domain.
    pub(crate) fn goes_out_to(&self, remote: &str) -> bool {
        let inner = self.inner.lock();
        inner.pairs.iter().any(|(pair, carried)| *pair.remote == *remote && carried.way != Way::In)
    }

    /// Pairs whose proofs are to be renewed, each told once.
    pub(crate) fn lapsing(&self, now: Time) -> Vec<(Pair, By)> {
        let mut inner = self.inner.lock();
        if inner.phase == Phase::Closing {
            return Vec::new();
        }
        let due = inner.pairs.iter_mut().filter(|(_, carried)| !carried.renewing && carried.renew <= now);
        due.map(|(pair, carried)| {
            carried.renewing = true;
            (pair.clone(), carried.by)
        })
        .collect()
    }

    pub(crate) fn pairs(&self) -> Vec<Pair> {
        self.inner.lock().pairs.keys().cloned().collect()
    }

    pub(crate) fn sent(&self) {
        self.inner.lock().sent += 1;
    }

    /// Another assertion of the peer is to be looked into. False if there are too many already: of a peer that has proven nothing, few.
    pub(crate) fn may_assert(&self, unproven: usize, proven: usize) -> bool {
        let mut inner = self.inner.lock();
        let most = if inner.pairs.is_empty() { unproven } else { proven };
        let may = inner.asserted < most;
        inner.asserted += usize::from(may);
        may
    }

    pub(crate) fn decided(&self) {
        let mut inner = self.inner.lock();
        inner.asserted = inner.asserted.saturating_sub(1);
    }

    /// It is there to ask about keys only, as long as there are any.
    pub(crate) fn set_verifies(&self) {
        let mut inner = self.inner.lock();
        inner.verifies = true;
        inner.unasked = Some(Instant::now());
        drop(inner);
        self.wake.notify_one();
    }

    /// Whether keys can be asked about on it.
    pub(crate) fn can_verify(&self) -> bool {
        let inner = self.inner.lock();
        inner.phase == Phase::Up || inner.verifies && inner.phase == Phase::Opening
    }

    /// When it has nothing more to do, if it is there to ask about keys only: some time after the last answer, since the next assertion of the same hoster may be
    /// on its way.
    pub(crate) fn done_at(&self) -> Option<Instant> {
        let inner = self.inner.lock();
        let since = inner.unasked.filter(|_| inner.verifies && inner.phase != Phase::Closing)?;
        Some(since + LINGER)
    }

    /// It is closed if that time has come. From then on nobody can ask any more.
    pub(crate) fn close_if_done(&self) {
        let mut inner = self.inner.lock();
        let done = inner.unasked.is_some_and(|since| since + LINGER <= Instant::now());
        if inner.verifies && done && inner.phase != Phase::Closing {
            inner.phase = Phase::Closing;
            inner.commands.push_back(Command::Close(None));
        }
    }

    /// Asserts one of our domains to the peer, and waits for what it says.
    pub(crate) async fn assert(&self, pair: Pair, key: String) -> Result<(), DialbackError> {
        let (tell, told) = oneshot::channel();
        {
            let mut inner = self.inner.lock();
            if inner.phase != Phase::Up {
                return Err(DialbackError::Ended);
            }
            inner.asserting.insert(pair.clone(), tell);
            inner.commands.push_back(Command::Assert { pair, key });
        }
        self.wake.notify_one();
        told.await.unwrap_or(Err(DialbackError::Ended))
    }

    /// The peer has answered.
    pub(crate) fn answered(&self, pair: &Pair, outcome: Result<(), DialbackError>) -> bool {
        match self.inner.lock().asserting.remove(pair) {
            // Whoever asked may have gone.
            Some(told) => {
                _ = told.send(outcome);
                true
            }
            None => false,
        }
    }

    /// Asks the peer whether a key is its own.
    pub(crate) fn verify(
        &self,
        pair: Pair,
        id: String,
        key: String,
    ) -> oneshot::Receiver<Result<(), DialbackError>> {
        let (tell, told) = oneshot::channel();
        let mut inner = self.inner.lock();
        if inner.phase != Phase::Closing {
            inner.unasked = None;
            inner.verifying.push((pair.clone(), id.clone(), tell));
            inner.commands.push_back(Command::Verify { pair, id, key });
        }
        drop(inner);
        self.wake.notify_one();
        told
    }

    pub(crate) fn verified(&self, pair: &Pair, id: &str, outcome: Result<(), DialbackError>) {
        let mut inner = self.inner.lock();
        if let Some(at) = inner.verifying.iter().position(|(asked, about, _)| asked == pair && about == id) {
            let (_, _, told) = inner.verifying.swap_remove(at);
            _ = told.send(outcome);
        }
        if inner.verifying.is_empty() {
            inner.unasked = Some(Instant::now());
        }
    }

    /// The connection is over: nobody waits for it any more.
    pub(crate) fn over(&self) {
        let mut inner = self.inner.lock();
        inner.phase = Phase::Closing;
        inner.asserting.clear();
        inner.verifying.clear();
        inner.pending.clear();
        inner.ready.clear();
        inner.pairs.clear();
        inner.commands.clear();
    }

    pub(crate) fn look(&self) -> Look {
        let inner = self.inner.lock();
        Look {
            phase: inner.phase,
            tls: inner.tls.clone(),
            pairs: inner.pairs.iter().map(|(pair, carried)| (pair.clone(), (**carried).clone())).collect(),
            sent: inner.sent,
            received: inner.received,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A stream that is there to ask about keys stays while questions come, is closed some time after the last answer, and takes none after that.
    #[tokio::test(start_paused = true)]
    async fn a_stream_for_keys_ends_with_the_questions() {
        let live = Live::new(1, Direction::Out, "192.0.2.1:5269".parse().unwrap(), None, Time::NEVER);
        let pair = Pair::new("us.example", "them.example");
        assert_eq!(live.done_at(), None, "it may be there for stanzas");
        live.set_verifies();
        assert_eq!(live.done_at(), Some(Instant::now() + LINGER));
        let asked = live.verify(pair.clone(), "1".to_owned(), "k".to_owned());
        tokio::time::advance(LINGER * 9).await;
        live.close_if_done();
        assert!(live.done_at().is_none() && live.can_verify(), "an answer is waited for");
        live.verified(&pair, "1", Ok(()));
        assert_eq!(asked.await, Ok(Ok(())));
        tokio::time::advance(LINGER / 2).await;
        live.close_if_done();
        assert!(live.can_verify(), "the next may be on its way");
        let asked = live.verify(pair.clone(), "2".to_owned(), "k".to_owned());
        live.verified(&pair, "2", Err(DialbackError::Invalid));
        assert_eq!(asked.await, Ok(Err(DialbackError::Invalid)));
        tokio::time::advance(live.done_at().unwrap() - Instant::now()).await;
        live.close_if_done();
        assert!(!live.can_verify() && live.done_at().is_none());
        let commands: Vec<_> = std::iter::from_fn(|| live.next_command()).collect();
        assert!(matches!(
            commands[..],
            [Command::Verify { .. }, Command::Verify { .. }, Command::Close(None)]
        ));
        assert!(live.verify(pair, "3".to_owned(), "k".to_owned()).await.is_err(), "nobody would answer");
    }
}
