//! A relay (RFC 4976): one machine for each of its connections, and what they share.
//!
//! ```text
//! source ──bytes──▶ Link ──Question::Route──▶ Registry::route          may it go, and where?
//!                    │
//!                    └──Event::Piece──▶ the host's Lanes of the other connection ──Command::Piece──▶ Link ──bytes──▶ next hop
//! source ◀──200── Link                                                   Link ◀──response── next hop
//! source ◀─────── Link ◀──Command::Frame(REPORT)── Event::Frame ───────── Link                 (error, or silence for 30 s)
//! ```
//! Where the SEND that is reported on is still being read, its response tells the failure in place of the report ([`Frame::about`]).
//!
//! A SEND passes in pieces, whatever its length; nothing of it is gathered. The host hands the pieces of a flow over in their order, through
//! the [`crate::lanes::Lanes`] of the other connection. A source whose lane is full is held ([`Command::Hold`]): its bytes stay in its socket,
//! so a relay holds no more of a message than a lane and one read, whatever its length. The host never waits for a lane in
//! [`nuncio_sansio::Host::event`]: two clients that send to each other would wait for ever. On its way out a SEND is cut into chunks where
//! another flow's turn has come.
//!
//! A request goes only from or to the owner of a URI that [`Registry`] has issued (S1-L7).

mod api;
mod auth;
mod forward;
mod guesses;
mod held;
mod nonce;
mod registry;
mod seal;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use nuncio_sansio::{Close, Entropy, Eof, Input, Machine, Output, Time, Timers, TlsFacts};

pub use self::api::*;
use self::auth::Pending;
use self::forward::{Origins, Out, Outgoing, Sent, SentBytes};
use self::guesses::Guesses;
use self::held::Held;
pub use self::nonce::NonceKey;
use self::nonce::Used;
pub use self::registry::{Bounds, Life, LinkId, Lives, Next, Owner, Registry, Route, RouteError};
pub use self::seal::SealKeys;
use crate::head::{FailureReport, Flag, Head, Method, end_line};
use crate::parse::{Item, Parser};
use crate::status::Status;
use crate::transaction::Transactions;
use crate::uri::Host;
use crate::wire::Wire;

/// Pieces below this are copied: a quarter of what TLS brings at once.
const CUT: usize = 4_096;

/// The timers of a connection, beside those of its requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Timer {
    /// Until a request succeeds.
    Probation,
    /// Until something comes or goes.
    Idle,
    /// Until a flow has been held for too long.
    Held,
}

/// The frame that is being read.
enum Reading {
    /// None.
    Nothing,
    /// What comes until its end is of no interest.
    Swallow,
    /// A SEND that is passed on in pieces.
    Send(Passing),
    /// Something else, which is passed on as a whole.
    Whole { next: Next, head: Box<Head>, moved: usize, body: BytesMut },
}

/// A SEND that is being read.
struct Passing {
    /// [`Forwarded::number`].
    number: u64,
    flow: Flow,
    lives: Lives,
    /// The response to it, unless nobody wants any.
    response: Option<Box<Head>>,
    /// Whether it is answered also if all is well.
    strict: bool,
}

/// One connection of a relay.
pub struct Link {
    id: LinkId,
    direction: Direction,
    config: Arc<Config>,
    entropy: Arc<dyn Entropy>,
    parser: Parser,
    wire: Wire<Question, Event>,
    timers: Timers<Timer>,
    tls: Option<TlsFacts>,
    /// The relay at the other end, if it has proven its name.
    relay: Option<Host>,
    reading: Reading,
    /// How many SENDs from here have been passed on.
    sends: u64,
    /// The last of them that was given up while it was read: its response has told so.
    given_up: Option<u64>,
    /// The request that waits for an answer of the host.
    pending: Option<Pending>,
    /// The peer has come under the name of a relay, and has not proven it: until then it is not asked again.
    unproven: Option<Time>,
    used: Used,
    /// SENDs that go out on this connection.
    flows: BTreeMap<Flow, Outgoing>,
    /// The chunk that stands open.
    open: Option<Out>,
    /// SENDs that went out and wait for their response.
    sent: Transactions<Sent>,
    /// Other requests that went out and may be answered.
    origins: Origins,
    /// What comes here comes through another relay: the connection is that of several.
    shared: bool,
    /// Flows from here whose lanes are full.
    held: Held,
    /// Flows from here that were given up, and are refused until their lanes have room.
    shut: BTreeSet<Flow>,
    /// How much memory `sent` holds.
    sent_bytes: SentBytes,
    /// A client of ours has authenticated on this connection.
    own: bool,
    failures: u32,
    /// Failed logins at relays behind us.
    forwarded_failures: u32,
    strikes: u32,
    guesses: Guesses,
    eof: Option<Eof>,
    closing: bool,
}

impl Link {
    /// A new connection. With TLS the first input must be [`Input::Tls`].
    pub fn new(
        id: LinkId,
        direction: Direction,
        config: Arc<Config>,
        entropy: Arc<dyn Entropy>,
        now: Time,
    ) -> Self {
        let mut timers = Timers::default();
        if direction == Direction::Inbound {
            timers.set(Timer::Probation, now + config.probation);
        }
        timers.set(Timer::Idle, now + config.idle_foreign);
        Self {
            id,
            direction,
            parser: Parser::new(config.limits),
            wire: Wire::new(),
            timers,
            tls: None,
            relay: None,
            reading: Reading::Nothing,
            sends: 0,
            given_up: None,
            pending: None,
            unproven: None,
            used: Used::default(),
            flows: BTreeMap::new(),
            open: None,
            sent: Transactions::new(config.response, config.transactions),
            origins: Origins::new(config.response, config.transactions),
            shared: false,
            held: Held::new(config.patience, now),
            shut: BTreeSet::new(),
            sent_bytes: SentBytes::new(Arc::clone(&config.all_sent)),
            own: false,
            failures: 0,
            forwarded_failures: 0,
            strikes: 0,
            guesses: Guesses::default(),
            eof: None,
            closing: false,
            config,
            entropy,
        }
    }

    /// Whether the connection is over.
    pub const fn is_closed(&self) -> bool {
        self.wire.is_closed()
    }

    /// Looks at one more thing that the peer sent. Whether there was one.
    fn step(&mut self, now: Time) -> bool {
        if self.pending.is_some() || self.wire.is_closed() {
            return false;
        }
        match self.parser.next() {
            Ok(Some(item)) => {
                self.item(now, item);
                true
            }
            Ok(None) => match self.eof {
                Some(eof) => {
                    let cut = self.parser.inside() || eof == Eof::Reset;
                    let close = if eof == Eof::Reset { Close::Abort } else { Close::Orderly };
                    self.close(now, if cut { Closed::Cut } else { Closed::Peer }, close);
                    true
                }
                None => false,
            },
            Err(_) => {
                self.close(now, Closed::Syntax, Close::Orderly);
                true
            }
        }
    }

    fn item(&mut self, now: Time, item: Item) {
        match item {
            Item::Head(head) if head.method().is_none() => {
                self.reading = Reading::Swallow;
                self.response(now, *head);
            }
            Item::Head(head) => self.request(now, head),
            Item::Data(bytes) => self.data(now, bytes),
            Item::End(flag) => self.end(now, flag),
            Item::Bad(bad) => {
                if let Some(response) = bad.response() {
                    self.write_head(now, &response);
                }
                self.strike(now);
            }
        }
    }

    /// RFC 4976 §6.2, §6.4: what is for someone else ends the connection; what ends here is AUTH; the rest goes on, if it may.
    fn request(&mut self, now: Time, head: Box<Head>) {
        self.reading = Reading::Swallow;
        if !head.to.first().is_some_and(|first| registry::is_ours(&self.config.ours, first)) {
            self.close(now, Closed::NotOurs, Close::Orderly);
            return;
        }
        let method = head.method();
        if head.to.len() == 1 {
            if method == Some(&Method::Auth) {
                self.auth(now, head);
            } else {
                // A relay is nobody to talk to.
                self.refuse(now, &head, Status::NO_SESSION);
            }
            return;
        }
        if matches!(method, Some(Method::Other(_))) && !self.config.unknown_methods {
            self.refuse(now, &head, Status::NOT_IMPLEMENTED);
            return;
        }
        if method == Some(&Method::Send) && head.message_id.is_none() {
            self.refuse(now, &head, Status::BAD_REQUEST);
            return;
        }
        if method == Some(&Method::Auth) && self.tls.is_none() {
            // S1-06: credentials go over TLS on every hop.
            self.refuse(now, &head, Status::FORBIDDEN);
            return;
        }
        self.route(head);
    }

    fn route(&mut self, head: Box<Head>) {
        self.wire.ask(Question::Route { to: head.to.clone(), from: head.from.clone() });
        self.pending = Some(Pending::Route(head));
    }

    fn routed(&mut self, now: Time, head: Box<Head>, route: Result<Route, RouteError>) {
        let route = match route {
            Ok(route) => route,
            Err(RouteError::Unproven | RouteError::Elsewhere) if self.may_prove(now) => {
                self.prove(head, true);
                return;
            }
            Err(error) => {
                self.astray(now, &head, error.status());
                return;
            }
        };
        let Route { next, moved, session, lives } = route;
        let Some((to, from)) = head.to.moved(moved, &head.from) else {
            self.refuse(now, &head, Status::NO_SESSION);
            return;
        };
        self.succeeded();
        self.guesses.good(&head.to);
        self.shared |= head.from.len() > 1;
        self.held.spoke(now, session);
        if !head.is_send() {
            self.reading = Reading::Whole { next, head, moved, body: BytesMut::new() };
            return;
        }
        let link = if let Next::Link(link) = next { Some(link) } else { None };
        let flow = Flow { source: self.id, session, to: link };
        if self.shut.contains(&flow) {
            self.astray(now, &head, Status::TIMEOUT);
            return;
        }
        // RFC 4976 §6.4.1: the previous hop hears that we have it; not whether the next one has.
        let response = head.response(Status::OK).filter(|_| head.failure_report != FailureReport::No);
        let strict = head.failure_report == FailureReport::Yes;
        self.sends += 1;
        let number = self.sends;
        let forwarded = Forwarded { next, head: Head { to, from, ..*head }, moved, number };
        self.wire.event(Event::Piece { flow, piece: Piece::Head(Box::new(forwarded)) });
        self.reading =
            Reading::Send(Passing { number, flow, lives, response: response.map(Box::new), strict });
    }

    fn data(&mut self, now: Time, bytes: Bytes) {
        match &mut self.reading {
            // A URI ends in the middle of a message as well.
            Reading::Send(passing) if passing.lives.are_over(now) => self.give_up(now, Status::NO_SESSION),
            Reading::Send(passing) => {
                // A piece holds on to the whole read that it is cut from, of which more may be for others, or for nobody. What waits is counted by
                // its own length.
                let bytes = if bytes.len() < CUT { Bytes::copy_from_slice(&bytes) } else { bytes };
                self.wire.event(Event::Piece { flow: passing.flow, piece: Piece::Data(bytes) });
            }
            Reading::Whole { body, .. } if body.len() + bytes.len() <= self.config.limits.other_body => {
                body.extend_from_slice(&bytes);
            }
            // S1-L13, RFC 4975 §7.1: bodies of anything but SEND are short.
            Reading::Whole { .. } => {
                if let Reading::Whole { head, .. } = std::mem::replace(&mut self.reading, Reading::Swallow) {
                    self.refuse(now, &head, Status::BAD_REQUEST);
                }
            }
            Reading::Nothing | Reading::Swallow => {}
        }
    }

    fn end(&mut self, now: Time, flag: Flag) {
        match std::mem::replace(&mut self.reading, Reading::Nothing) {
            Reading::Nothing | Reading::Swallow => {}
            Reading::Send(Passing { flow, response, strict, .. }) => {
                self.wire.event(Event::Piece { flow, piece: Piece::End(flag) });
                if let Some(response) = response.filter(|_| strict) {
                    self.write_head(now, &response);
                }
            }
            Reading::Whole { next, head, moved, body } => {
                let Some((to, from)) = head.to.moved(moved, &head.from) else { return };
                // RFC 4975 §7.1.2: nobody answers a report.
                let answered = head.method() != Some(&Method::Report);
                let tries = head.method() == Some(&Method::Auth) && head.field("Authorization").is_some();
                let origin = answered.then_some(Origin { link: self.id, id: head.id, moved, tries });
                let body = head.content_type.is_some().then(|| body.freeze());
                let head = Box::new(Head { to, from, ..*head });
                self.wire.event(Event::Frame { next, frame: Frame { body, origin, ..Frame::new(head) } });
            }
        }
    }

    /// What follows of the SEND that is being read does not pass: its next hop and its previous one are told, the rest is read and dropped.
    /// Where a URI that it goes over has ended, that is why, whatever came of it first: 481.
    fn give_up(&mut self, now: Time, status: Status) {
        if !matches!(self.reading, Reading::Send(_)) {
            return;
        }
        let Reading::Send(passing) = std::mem::replace(&mut self.reading, Reading::Swallow) else { return };
        let status = if passing.lives.are_over(now) { Status::NO_SESSION } else { status };
        self.given_up = Some(passing.number);
        self.wire.event(Event::Piece { flow: passing.flow, piece: Piece::End(Flag::Abort) });
        if let Some(response) = passing.response {
            self.write_head(now, &response.with_status(status));
        }
    }

    /// Whether a report is about a SEND whose response tells it, or has told it ([`Frame::about`]).
    fn told(&mut self, now: Time, report: &Frame) -> bool {
        let Some(about) = report.about else { return false };
        if matches!(&self.reading, Reading::Send(passing) if passing.number == about) {
            let status = report.head.status.as_ref().map_or(Status::TIMEOUT, |report| report.status);
            self.give_up(now, status);
        }
        self.given_up == Some(about)
    }

    fn hold(&mut self, now: Time, flow: Flow) {
        self.held.hold(now, flow);
        self.watch_held();
    }

    fn resume(&mut self, now: Time, flow: Flow) {
        self.held.release(now, flow);
        self.shut.remove(&flow);
        self.watch_held();
    }

    fn watch_held(&mut self) {
        // Who has only its own connection to fill slows nobody else.
        match self.held.until().filter(|_| self.shared) {
            Some(until) => self.timers.set(Timer::Held, until),
            None => self.timers.clear(Timer::Held),
        }
    }

    /// Who shares this connection has waited long enough for those who do not read.
    fn shut_held(&mut self, now: Time) {
        for flow in self.held.over(now) {
            self.shut.insert(flow);
            if matches!(&self.reading, Reading::Send(passing) if passing.flow == flow) {
                self.give_up(now, Status::TIMEOUT);
            }
        }
        self.watch_held();
    }

    /// Refuses a request that has nowhere to go. Once a connection has been good for something, that counts as a failure only where it may be a
    /// guess.
    fn astray(&mut self, now: Time, head: &Head, status: Status) {
        self.answer_error(now, head, status);
        if self.guesses.refused(now, &head.to) || self.timers.get(Timer::Probation).is_some() {
            self.strike(now);
        }
    }

    /// Refuses a request; it counts as a failure.
    fn refuse(&mut self, now: Time, head: &Head, status: Status) {
        self.answer_error(now, head, status);
        self.strike(now);
    }

    /// Answers a request with an error, unless it wants none or is a report.
    fn answer_error(&mut self, now: Time, head: &Head, status: Status) {
        let silent = match head.method() {
            Some(Method::Send) => head.failure_report == FailureReport::No,
            Some(Method::Report) | None => true,
            _ => false,
        };
        if let Some(response) = head.response(status).filter(|_| !silent) {
            self.write_head(now, &response);
        }
    }

    /// Writes a frame without a body before anything else: a chunk that stands open is interrupted (RFC 4975 §7.1.1).
    fn write_head(&mut self, now: Time, head: &Head) {
        self.interrupt(now);
        self.wire.write(|out| {
            head.write(out);
            end_line(&head.id, Flag::Last, out);
        });
        self.finish_frame();
    }

    /// A whole frame is written: with WebSocket it is a message of its own (RFC 7977 §5.2).
    fn finish_frame(&mut self) {
        if self.config.framing == Framing::Message {
            self.wire.flush();
        }
    }

    fn strike(&mut self, now: Time) {
        self.strikes += 1;
        // RFC 4976 §6.3: what a relay forwards for many is not held against it; nor what comes late where we connected ourselves.
        let judged = self.relay.is_none() && self.direction == Direction::Inbound;
        if self.strikes >= self.config.strikes && judged {
            self.close(now, Closed::Strikes, Close::Orderly);
        }
    }

    /// A request has succeeded: the connection is no longer on probation (S1-L2), and one failure is made up for; not all, or whoever is good for
    /// something could guess for ever.
    fn succeeded(&mut self) {
        self.timers.clear(Timer::Probation);
        self.strikes = self.strikes.saturating_sub(1);
    }

    /// Something came or went (S1-L16).
    fn active(&mut self, now: Time) {
        let idle = if self.own { self.config.idle_own } else { self.config.idle_foreign };
        self.timers.set(Timer::Idle, now + idle);
    }

    fn close(&mut self, now: Time, why: Closed, close: Close) {
        if self.wire.is_closed() || self.closing {
            return;
        }
        self.closing = true;
        // With the connections that a host closes their sessions end; what else ends one is a failure on the way.
        let status = if why == Closed::Host { Status::NO_SESSION } else { Status::TIMEOUT };
        // What is on its way in will not be complete: its next hop is told, and so is its sender, if there is still somebody.
        self.give_up(now, status);
        self.fail_all(now, status);
        self.pending = None;
        self.timers.clear_all();
        self.wire.event(Event::Closed(why));
        self.wire.close(close);
    }

    fn expire(&mut self, now: Time) {
        while let Some(timer) = self.timers.expired(now) {
            match timer {
                Timer::Probation => self.close(now, Closed::Probation, Close::Orderly),
                Timer::Idle => self.close(now, Closed::Idle, Close::Orderly),
                Timer::Held => self.shut_held(now),
            }
        }
        self.expire_sent(now);
    }
}

impl Machine for Link {
    type Question = Question;
    type Answer = Answer;
    type Event = Event;
    type Command = Command;

    fn handle(&mut self, now: Time, input: Input<'_, Answer, Command>) {
        if self.wire.is_closed() {
            return;
        }
        match input {
            Input::Bytes(bytes) => {
                self.active(now);
                self.parser.push(bytes);
            }
            Input::Tls(facts) => {
                self.wire.event(Event::Secured(Box::new(facts.clone())));
                self.tls = Some(facts);
            }
            Input::Eof(eof) => self.eof = Some(eof),
            Input::Answer(answer) => self.answer(now, answer),
            Input::Command(command) => {
                self.active(now);
                match command {
                    Command::Piece(flow, piece) => self.piece(now, flow, piece),
                    Command::Frame(frame) if self.told(now, &frame) => {}
                    Command::Frame(frame) => self.frame(now, frame),
                    Command::Hold(flow) => self.hold(now, flow),
                    Command::Resume(flow) => self.resume(now, flow),
                    Command::Close => self.close(now, Closed::Host, Close::Orderly),
                }
            }
            Input::Time => {}
        }
        self.expire(now);
    }

    fn poll(&mut self, now: Time) -> Output<Question, Event> {
        loop {
            if let Some(output) = self.wire.pop() {
                return output;
            }
            if !self.step(now) {
                let next =
                    [self.timers.next(), self.sent.next(), self.origins.next()].into_iter().flatten().min();
                return Output::Wait(next);
            }
        }
    }

    fn wants_bytes(&self) -> bool {
        self.pending.is_none() && self.held.is_empty() && self.eof.is_none() && !self.wire.is_closed()
    }
}
