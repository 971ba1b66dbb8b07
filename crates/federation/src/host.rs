//! What one stream between servers asks, hears and is told.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use nuncio_dna::Direction;
use nuncio_net::HandshakeFailure;
use nuncio_net::Permit;
use nuncio_net::listen::Counted;
use nuncio_router::store::Ticket;
use nuncio_sansio::{Host, TlsFacts};
use nuncio_stream::s2s::{
    Accepted, Answer, By, Command, Condition as DialbackCondition, DialbackError, End, Event, NotResumed,
    Pair, Previous, Purpose, Question, Reason, S2s, Verdict, Way,
};
use nuncio_xmpp::error::{Condition, StanzaError, StreamCondition, StreamError};
use nuncio_xmpp::ns;
use nuncio_xmpp::stanza::{IqType, Kind, Stanza};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use crate::Federation;
use crate::failure::Failure;
use crate::federation::Left;
use crate::former::{Former, Given, SHORT};
use crate::live::Live;
use crate::pairs::Entry;
use crate::queue::Parcel;
use crate::reached::Reached;

/// Of a stream that is not managed: how many stanzas are kept that were given to it, should it drop them because it is being closed.
const TAIL: usize = 64;

/// Who waits to hear what became of a stream that was opened.
type Told = oneshot::Sender<Result<(), Failure>>;

/// Places of a queue that are kept when it is empty.
const SPARE: usize = 16;

/// The host of one stream.
pub(crate) struct StreamHost {
    federation: Arc<Federation>,
    live: Arc<Live>,
    /// Whoever opened it waits to hear what became of it.
    opened: Option<(Pair, Purpose, Told)>,
    handshake: Option<Arc<OnceLock<HandshakeFailure>>>,
    /// A place in the budget of connections.
    place: Option<(Permit, Counted)>,
    /// Stanzas that were routed and are not known to be durable yet.
    inbound: VecDeque<(u64, Ticket)>,
    /// Stanzas that were given to the stream, the oldest first: those not acknowledged where it is managed, else the last ones.
    given: VecDeque<(Arc<Entry>, Parcel)>,
    given_ever: u64,
    managed: bool,
    /// A stream that this one resumes, until both sides agree on it.
    former: Option<Former>,
    closing: bool,
    /// What the stream is to be closed with.
    close: Option<StreamError>,
    ended: bool,
    reached: Reached,
}

impl StreamHost {
    pub(crate) fn new(federation: Arc<Federation>, live: Arc<Live>) -> Self {
        Self {
            federation,
            live,
            opened: None,
            handshake: None,
            place: None,
            inbound: VecDeque::new(),
            given: VecDeque::new(),
            given_ever: 0,
            managed: false,
            former: None,
            closing: false,
            close: None,
            ended: false,
            reached: Reached::default(),
        }
    }

    pub(crate) fn outgoing(
        mut self,
        pair: Pair,
        purpose: Purpose,
        told: Told,
        handshake: Arc<OnceLock<HandshakeFailure>>,
    ) -> Self {
        self.opened = Some((pair, purpose, told));
        self.handshake = Some(handshake);
        self
    }

    pub(crate) fn incoming(mut self, permit: Permit, counted: Counted) -> Self {
        self.place = Some((permit, counted));
        self
    }

    fn header(&self, to: Option<&str>, from: Option<&str>) -> Result<Accepted, StreamError> {
        let Some(to) = to else {
            return Err(StreamError::new(StreamCondition::ImproperAddressing));
        };
        let Some(domain) = self.federation.router.domain(to) else {
            return Err(StreamError::new(StreamCondition::HostUnknown));
        };
        if let Some(from) = from {
            if self.federation.router.domain(from).is_some() {
                let error = StreamError::new(StreamCondition::InvalidFrom);
                return Err(error.with_text("that domain is served here"));
            }
            if let Err(failure) = self.federation.mind().may_speak(from, Direction::In) {
                self.federation.note(&Pair::new(to, from), Direction::In, Err(&failure));
                return Err(StreamError::new(StreamCondition::PolicyViolation).with_text(failure.text));
            }
        }
        Ok(Accepted { local: domain.name.clone(), tls: self.federation.config.stream.tls })
    }

    /// The peer has presented a certificate, or none: is it who it says?
    async fn judge(&self, pair: Pair, tls: Option<&TlsFacts>) -> Verdict {
        let direction = self.live.direction;
        let federation = Arc::clone(&self.federation);
        let judged = federation.prove(&pair, direction, tls, self.live.target.as_ref()).await;
        let judged = match judged {
            Ok(judged) => judged,
            Err(failure) => return refuse(&federation, &pair, direction, &failure),
        };
        let accepted = judged.judgement.is_accepted();
        let proven = judged.judgement.accepted().is_some_and(nuncio_dna::ProvenDomain::is_by_certificate);
        let failure = Failure::refused(&judged.judgement);
        let hopeful = federation.may_dialback(&pair, direction, &judged);
        tracing::debug!(stream = self.live.number, %pair, %direction, accepted, judgement = %judged.judgement, "judged");
        match direction {
            Direction::In if accepted && proven => {
                self.live.judged(pair, judged);
                Verdict::Accepted
            }
            // It may assert itself by dialback, and other domains besides.
            Direction::In if accepted || hopeful => Verdict::Unproven,
            Direction::Out if accepted => {
                self.live.judged(pair, judged);
                Verdict::Accepted
            }
            Direction::Out if hopeful => {
                self.live.judged(pair, judged);
                Verdict::Unproven
            }
            _ => refuse(&federation, &pair, direction, &failure),
        }
    }

    fn verify(&self, pair: &Pair, id: &str, key: &str) -> Result<(), DialbackError> {
        if self.federation.router.domain(&pair.local).is_none() {
            return Err(DialbackError::Error(DialbackCondition::ItemNotFound));
        }
        if self.federation.is_key(pair, id, key) { Ok(()) } else { Err(DialbackError::Invalid) }
    }

    fn authorised(&mut self, pair: &Pair, way: Way, by: By) {
        let dialback = by == By::Dialback || self.live.direction == Direction::Out;
        match self.federation.carry(&self.live, pair, way, by, dialback) {
            Ok(()) => {
                if let Some((permit, _)) = &self.place {
                    permit.authenticated();
                }
                self.federation.note(pair, self.live.direction, Ok(()));
                self.told(Ok(()), Some(pair));
            }
            Err(failure) => {
                // The wire says yes, but nothing proves it: our own rules come first.
                self.federation.note(pair, self.live.direction, Err(&failure));
                self.live.command(Command::Revoke { pair: pair.clone() });
                self.told(Err(failure), Some(pair));
            }
        }
    }

    /// Tells whoever opened the stream, once.
    fn told(&mut self, outcome: Result<(), Failure>, about: Option<&Pair>) {
        let mine = self.opened.as_ref().is_some_and(|(pair, ..)| about.is_none_or(|about| about == pair));
        if mine && let Some((_, _, told)) = self.opened.take() {
            // It may have gone.
            drop(told.send(outcome));
        }
    }

    async fn stanza(&mut self, pair: Pair, number: u64, stanza: Stanza) {
        let mut proof = self.live.proof(&pair, self.federation.now());
        if let Err(Some(by)) = proof {
            // Its proof ends with this second: the next stanza waits for a new one.
            let federation = Arc::clone(&self.federation);
            Box::pin(federation.renew_pair(&self.live, &pair, by, true)).await;
            proof = self.live.proof(&pair, self.federation.now());
        }
        let Ok(proof) = proof else {
            self.inbound.push_back((number, Ticket::done()));
            let error =
                StanzaError::new(Condition::NotAuthorized).with_text("the proof of your domain has lapsed");
            self.federation.answer(stanza.error(error));
            return;
        };
        match self.federation.router.receive(&proof, stanza, true).await {
            Ok(ticket) => self.inbound.push_back((number, ticket)),
            Err(error) => {
                self.inbound.push_back((number, Ticket::done()));
                tracing::info!(stream = self.live.number, %pair, condition = error.condition.as_str(), "a stanza was refused, and its stream with it");
                self.close = Some(error);
            }
        }
    }

    /// What was given until now is not counted, and nobody will acknowledge it.
    fn manage(&mut self) {
        self.managed = true;
        self.given.clear();
    }

    async fn resume(&mut self, previd: &str) -> Result<Previous, NotResumed> {
        let former = Box::pin(self.federation.resume(&self.live, previd)).await?;
        let previous = former.previous.clone();
        self.former = Some(former);
        Ok(previous)
    }

    /// The stream goes on here.
    fn resumed(&mut self, h: u32) {
        self.manage();
        let Some(mut former) = self.former.take() else { return };
        former.handled(h);
        tracing::info!(
            stream = self.live.number,
            former = former.number,
            pair = %former.pair,
            again = former.given.len(),
            "the stream is resumed"
        );
        self.federation.metrics.resumed.inc();
        let within = former.until.saturating_duration_since(Instant::now());
        let within = self.federation.config.stream.resume.unwrap_or(within);
        self.live.set_resumable(former.previous.id.clone(), within);
        self.federation.release_former(former, "the connection was lost");
    }

    /// It does not, but they may still know what they have handled.
    fn not_resumed(&mut self, h: Option<u32>) {
        let Some(mut former) = self.former.take() else { return };
        tracing::info!(stream = self.live.number, former = former.number, pair = %former.pair, handled = h, "the stream cannot be resumed");
        if let Some(h) = h {
            former.handled(h);
        }
        self.federation.give_up_former(former);
    }

    /// What is left of this stream, if its connection is lost and it may be resumed.
    fn left(&mut self, end: &mut End, given: Vec<Given>) -> Left {
        let Some(previous) = end.resumable.take().filter(|_| !self.federation.is_stopping()) else {
            return Left::Given(given);
        };
        let (Some((pair, by)), Some((_, within))) = (self.live.proven_by_first(), self.live.resumable())
        else {
            return Left::Given(given);
        };
        let both = self.live.goes_both_ways(&pair);
        if given.is_empty() && !both && self.live.direction == Direction::Out {
            // Nothing is missing on either side.
            return Left::Given(given);
        }
        let inbound = std::mem::take(&mut self.inbound);
        Left::Former(Box::new(Former {
            number: self.live.number,
            direction: self.live.direction,
            by,
            target: self.live.target.clone(),
            entry: self.live.target.as_ref().and_then(|_| self.federation.pairs.known(&pair)),
            held: Vec::new(),
            pair,
            previous,
            given,
            inbound: inbound.into_iter().map(|(_, ticket)| ticket).collect(),
            until: Instant::now() + within,
            short: self.federation.now().since(self.live.since) < SHORT,
        }))
    }

    fn acked(&mut self, fresh: u32) {
        let acked = usize::try_from(fresh).unwrap_or(usize::MAX).min(self.given.len());
        self.given.drain(..acked);
        if self.given.is_empty() {
            // A stream that is quiet holds no buffer.
            self.given.shrink_to(SPARE);
        }
    }

    fn ended(&mut self, mut end: End) {
        self.ended = true;
        let handshake = self.handshake.as_ref().and_then(|told| told.get());
        let failure = Failure::ended(&end, handshake.map(|failure| failure.why.as_str())).at(self.reached);
        tracing::info!(
            stream = self.live.number,
            direction = %self.live.direction,
            peer = %self.live.peer,
            code = failure.code,
            text = failure.text,
            clean = end.clean,
            "stream between servers ended"
        );
        // Of what was given, what did not go out is certain; of the rest, what was acknowledged, or all if both have closed in peace at our wish.
        let in_peace = end.clean && matches!(end.reason, Reason::Host | Reason::Unused);
        let unsent = usize::try_from(self.given_ever.saturating_sub(end.sent)).unwrap_or(usize::MAX);
        let back = if self.managed && !in_peace { self.given.len() } else { unsent.min(self.given.len()) };
        let sent = self.given.len().saturating_sub(unsent);
        let keep = self.given.len() - back;
        let mut returned = Vec::new();
        for (at, (entry, parcel)) in std::mem::take(&mut self.given).into_iter().enumerate() {
            if at >= keep {
                returned.push(Given { entry, parcel, sent: at < sent });
            }
        }
        if let Some(former) = self.former.take() {
            // It was about to be resumed here; that may still succeed elsewhere.
            self.federation.keep_former(former);
        }
        let left = self.left(&mut end, returned);
        self.federation.ended(&self.live, left, &failure);
        let judged_before = matches!(end.reason, Reason::Refused(_));
        if let Some((pair, purpose, told)) = self.opened.take() {
            let failure = match self.federation.last_refusal(&pair).filter(|_| judged_before) {
                Some(known) => known,
                None => failure,
            };
            if purpose == Purpose::Verify {
                tracing::debug!(stream = self.live.number, %pair, "the stream for verification ended");
            }
            drop(told.send(Err(failure)));
        } else if self.live.direction == Direction::In {
            self.federation.note_end(&self.live, &failure);
        }
    }

    fn poll_command(&mut self, cx: &mut Context<'_>) -> Poll<Command> {
        if let Some(error) = self.close.take() {
            self.closing = true;
            self.live.closing();
            return Poll::Ready(Command::Close(Some(error)));
        }
        let mut handled = None;
        while let Some((number, ticket)) = self.inbound.front_mut() {
            match Pin::new(ticket).poll(cx) {
                Poll::Ready(Ok(())) => handled = Some(*number),
                Poll::Ready(Err(fault)) => {
                    tracing::error!(stream = self.live.number, %fault, "what another server sent cannot be stored");
                    self.closing = true;
                    self.live.closing();
                    let error = StreamError::new(StreamCondition::InternalServerError);
                    return Poll::Ready(Command::Close(Some(error)));
                }
                Poll::Pending => break,
            }
            self.inbound.pop_front();
        }
        if self.inbound.is_empty() {
            self.inbound.shrink_to(SPARE);
        }
        if let Some(number) = handled {
            return Poll::Ready(Command::Handled { number });
        }
        if self.closing {
            return Poll::Pending;
        }
        if let Some(command) = self.live.next_command() {
            if matches!(command, Command::Close(_)) {
                self.closing = true;
                self.live.closing();
            }
            return Poll::Ready(command);
        }
        if let Some(bytes) = self.next_stanza() {
            return Poll::Ready(bytes);
        }
        if self.federation.is_stopping() && (!self.managed || self.given.is_empty()) && self.live.is_drained()
        {
            self.closing = true;
            self.live.closing();
            return Poll::Ready(Command::Close(None));
        }
        Poll::Pending
    }

    fn next_stanza(&mut self) -> Option<Command> {
        // What is resumed comes first.
        let full = self.managed && self.given.len() >= self.federation.config.unacknowledged;
        if full || self.former.is_some() {
            return None;
        }
        while let Some(entry) = self.live.next_ready() {
            if let Err(lapsed) = self.live.may_send(&entry.pair, self.federation.now()) {
                if let Some(by) = lapsed {
                    // What waits is sent once there is a new proof, or goes another way.
                    let federation = Arc::clone(&self.federation);
                    federation.renew_beside(&self.live, entry.pair.clone(), by, true);
                }
                continue;
            }
            let (parcel, more) = entry.pop(&self.live);
            if more {
                // Pairs take turns.
                self.live.ready(Arc::clone(&entry));
            }
            let Some(parcel) = parcel else { continue };
            let bytes = parcel.stanza.bytes(ns::SERVER);
            self.given.push_back((entry, parcel));
            self.given_ever += 1;
            if !self.managed && self.given.len() > TAIL {
                self.given.pop_front();
            }
            self.live.sent();
            self.federation.metrics.stanzas_out.inc();
            return Some(Command::Stanza(bytes));
        }
        None
    }
}

fn refuse(federation: &Federation, pair: &Pair, direction: Direction, failure: &Failure) -> Verdict {
    federation.refused(pair, direction, failure);
    let error = StreamError::new(StreamCondition::NotAuthorized);
    Verdict::Refused(error.with_text(format!("{}: {}", failure.code, failure.text)))
}

impl Host<S2s> for StreamHost {
    async fn ask(&mut self, question: Question) -> Answer {
        match question {
            Question::Header { to, from, .. } => Answer::Header(self.header(to.as_deref(), from.as_deref())),
            Question::External { pair, tls } => Answer::External(self.judge(pair, Some(&tls)).await),
            Question::Server { pair, tls } => Answer::Server(self.judge(pair, tls.as_ref()).await),
            Question::Key { pair, id } => Answer::Key(self.federation.key(&pair, &id)),
            Question::Verify { pair, id, key } => Answer::Verify(self.verify(&pair, &id, &key)),
            Question::Previous { pair } => {
                if let Some(by) = self.federation.proof_to_be(&self.live, &pair) {
                    self.former = self.federation.recall(&pair, by).await;
                }
                Answer::Previous(self.former.as_ref().map(|former| former.previous.clone()))
            }
            Question::Resume { previd, .. } => Answer::Resume(self.resume(&previd).await),
        }
    }

    async fn event(&mut self, event: Event) {
        self.reached.note(&event);
        match event {
            Event::Stanza { pair, number, stanza } => self.stanza(pair, number, *stanza).await,
            Event::Opened { id, pair } => {
                tracing::debug!(
                    stream = self.live.number,
                    id,
                    pair = pair.as_ref().map(tracing::field::display),
                    "stream opened"
                );
                self.live.opened(id, pair);
            }
            Event::Secured(tls) => self.live.secured(tls),
            Event::Offered(offers) => self.live.offered(offers),
            Event::Authorised { pair, way, by } => self.authorised(&pair, way, by),
            Event::Asserted { pair, key, id } => {
                Arc::clone(&self.federation).asserted(Arc::clone(&self.live), pair, key, id);
            }
            Event::Answered { pair, outcome } => {
                if let Err(error) = outcome {
                    self.live.take_judged(&pair);
                    self.told(Err(Failure::dialback(error)), Some(&pair));
                }
                self.live.answered(&pair, outcome);
            }
            Event::Verified { pair, id, outcome } => self.live.verified(&pair, &id, outcome),
            Event::Unsolicited { pair } => {
                self.federation.metrics.unsolicited.inc();
                tracing::warn!(stream = self.live.number, peer = %self.live.peer, %pair, "a dialback answer that nobody asked for was ignored");
            }
            Event::ExternalFailed(condition) => {
                tracing::info!(
                    stream = self.live.number,
                    condition = condition.as_str(),
                    "they offered SASL EXTERNAL and refused our certificate"
                );
            }
            Event::Managed => self.manage(),
            Event::Unmanaged => self.managed = false,
            Event::Resumable { id, within } => self.live.set_resumable(id, within),
            Event::Resumed { h } => self.resumed(h),
            Event::NotResumed { h } => self.not_resumed(h),
            Event::Rejected { number, reply } => {
                self.inbound.push_back((number, Ticket::done()));
                self.federation.metrics.rejected.inc();
                self.federation.answer(reply.map(|reply| *reply));
            }
            Event::Acked { fresh, .. } => self.acked(fresh),
            Event::Finishing => self.live.closing(),
            Event::Ended(end) => self.ended(end),
        }
    }

    async fn command(&mut self) -> Command {
        let live = Arc::clone(&self.live);
        loop {
            let mut woken = pin!(live.wake.notified());
            let command = poll_fn(|cx| match self.poll_command(cx) {
                Poll::Ready(command) => Poll::Ready(Some(command)),
                Poll::Pending => woken.as_mut().poll(cx).map(|()| None),
            });
            let command = match live.done_at() {
                None => command.await,
                // Boxed: few streams are there to ask about keys only.
                Some(done) => Box::pin(timeout_at(done, command)).await.unwrap_or_else(|_| {
                    live.close_if_done();
                    None
                }),
            };
            if let Some(command) = command {
                return command;
            }
        }
    }

    async fn closed(&mut self) {
        self.over();
    }
}

impl StreamHost {
    /// The connection is over; if the stream never said so, it was lost.
    fn over(&mut self) {
        if !self.ended {
            let end = End {
                reason: Reason::Lost,
                clean: false,
                error: None,
                sent: self.given_ever,
                resumable: None,
            };
            self.ended(end);
        }
    }
}

/// A task that panicked never says that its connection is closed.
impl Drop for StreamHost {
    fn drop(&mut self) {
        if tokio::runtime::Handle::try_current().is_ok() {
            self.over();
        }
    }
}

/// Whether a stanza may be sent again when it is not known whether it arrived: a request may not, since it could be done twice.
pub(crate) fn may_repeat(stanza: &Stanza) -> bool {
    !matches!(stanza.kind(), Kind::Iq(IqType::Get | IqType::Set))
}
