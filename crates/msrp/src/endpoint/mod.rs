//! A client's or a gateway's end of one connection (RFC 4975 §5.4, §7).
//!
//! A connection carries any number of sessions. An active side opens each with [`Command::Open`]; on the passive side a session is bound by the
//! first request for it, which the machine asks its host about ([`Question::Bind`], answered from the [`Directory`]).
//!
//! A message comes as [`Event::Incoming`], any number of [`Event::Data`] and [`Event::Complete`]; where its bytes go is the host's business.
//! What is to be sent comes by [`Command::Send`] and [`Command::Data`]. A chunk stays open while nothing else is to be written, and is interrupted for
//! responses, reports and other messages; so the host decides by the order of its commands who gets how much of the connection
//! ([`crate::lanes::Lanes`] is made for that).

mod api;
mod directory;
mod login;
mod receive;
mod send;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use nuncio_sansio::{Close, Entropy, Eof, Input, Machine, Output, Time, Timers, TlsFacts};

pub use self::api::*;
pub use self::directory::{ConnectionId, Directory};
use self::login::{Attempt, Next};
pub use self::login::{Granted, Login, LoginError};
use self::receive::{Incoming, Reading};
use self::send::{Open, Outgoing, Waiting};
use crate::head::{FailureReport, Flag, Head, Method, end_line};
use crate::ident::Ident;
use crate::parse::{Item, Parser};
use crate::sdp::Fingerprint;
use crate::status::Status;
use crate::transaction::Transactions;
use crate::wire::Wire;

/// The timers of a connection, beside those of its requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Timer {
    /// Until a session is bound.
    Binding,
    /// Until more of a message comes.
    Incomplete(SessionId, Ident),
    /// Until a relay answers.
    Login,
}

/// A message that was complete.
#[derive(Clone, Copy, Debug)]
struct Done {
    id: Ident,
    length: u64,
    success_report: bool,
    failure_report: FailureReport,
}

/// How many complete messages, refused ones and sent ones are remembered in a session.
const REMEMBERED: usize = 64;

/// A session that is bound to this connection.
struct Bound {
    session: Arc<Session>,
    incoming: BTreeMap<Ident, Incoming>,
    done: VecDeque<Done>,
    refused: VecDeque<(Ident, Status)>,
    outgoing: BTreeMap<Ident, Outgoing>,
    /// Messages that were sent and are not waited for any more: a report of their failure may still come (RFC 4975 §7.1.4).
    lately: VecDeque<Ident>,
    /// Media types that the peer has answered with 415, in lower case.
    refused_types: Vec<String>,
}

impl Bound {
    fn refuse(&mut self, message: Ident, status: Status) {
        remember(&mut self.refused, (message, status));
    }
}

fn remember<T>(row: &mut VecDeque<T>, what: T) {
    if row.len() >= REMEMBERED {
        row.pop_front();
    }
    row.push_back(what);
}

/// One connection of an endpoint.
pub struct Endpoint {
    config: Arc<Config>,
    entropy: Arc<dyn Entropy>,
    parser: Parser,
    wire: Wire<Question, Event>,
    timers: Timers<Timer>,
    tls: Option<TlsFacts>,
    sessions: BTreeMap<SessionId, Bound>,
    reading: Reading,
    /// The request that waits for the answer to [`Question::Bind`].
    asking: Option<Box<Head>>,
    open: Option<Open>,
    waiting: Transactions<Waiting>,
    login: Option<Attempt>,
    strikes: u32,
    eof: Option<Eof>,
    /// What the certificate of the TLS server that we connected to was promised to be.
    promised: Vec<Fingerprint>,
}

impl Endpoint {
    /// A new connection, in either role. With TLS the first input must be [`Input::Tls`].
    pub fn new(config: Arc<Config>, entropy: Arc<dyn Entropy>, now: Time) -> Self {
        let mut timers = Timers::default();
        timers.set(Timer::Binding, now + config.binding);
        Self {
            parser: Parser::new(config.limits),
            wire: Wire::new(),
            timers,
            tls: None,
            sessions: BTreeMap::new(),
            reading: Reading::Nothing,
            asking: None,
            open: None,
            waiting: Transactions::new(config.response, config.transactions),
            login: None,
            strikes: 0,
            eof: None,
            promised: Vec::new(),
            config,
            entropy,
        }
    }

    /// As the active side, whose peer's SDP has fingerprints: a TLS server with another certificate is not spoken to (RFC 8122 §6.2, S1-R6). The
    /// passive side finds that out by [`Directory::bind`], since only a request says whose certificate it is.
    #[must_use]
    pub fn promised(mut self, fingerprints: Vec<Fingerprint>) -> Self {
        self.promised = fingerprints;
        self
    }

    fn secured(&mut self, now: Time, facts: TlsFacts) {
        let shown = facts.peer_certificates.first();
        let kept =
            self.promised.is_empty() || shown.is_some_and(|shown| Fingerprint::verify(&self.promised, shown));
        self.tls = Some(facts);
        if !kept {
            self.close(now, Closed::Fingerprint, Close::Abort);
        }
    }

    /// Whether the connection is over.
    pub const fn is_closed(&self) -> bool {
        self.wire.is_closed()
    }

    /// Looks at one more thing that the peer sent. Whether there was one.
    fn step(&mut self, now: Time) -> bool {
        if self.asking.is_some() || self.wire.is_closed() {
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
                self.response(now, &head);
            }
            Item::Head(head) => self.request(now, head),
            Item::Data(bytes) => self.data(now, bytes),
            Item::End(flag) => self.end(now, flag),
            Item::Bad(bad) => {
                self.strike(now);
                if let Some(response) = bad.response() {
                    self.urgent(now, &response);
                }
            }
        }
    }

    /// A request: for a session of this connection, or for one that the host is asked about.
    fn request(&mut self, now: Time, head: Box<Head>) {
        self.reading = Reading::Swallow;
        let report = matches!(head.method(), Some(Method::Report));
        let found = self.sessions.values().find(|bound| match report {
            true => bound.session.reports(&head.to, &head.from),
            false => bound.session.matches(&head.to, &head.from),
        });
        if let Some(id) = found.map(|bound| bound.session.id) {
            self.serve(now, id, head);
            return;
        }
        if report {
            // Late ones are nobody's fault, and answered by nobody (RFC 4975 §7.3.2).
            return;
        }
        let certificate =
            self.tls.as_ref().and_then(|tls| tls.client_certificate.as_ref()?.chain.first().cloned());
        self.wire.ask(Question::Bind {
            to: head.to.clone(),
            from: head.from.clone(),
            secured: self.tls.is_some(),
            certificate,
        });
        self.asking = Some(head);
    }

    fn bound(&mut self, now: Time, answer: Result<Arc<Session>, BindError>) {
        let Some(head) = self.asking.take() else { return };
        let status = match answer {
            Ok(session) if self.sessions.len() < self.config.sessions => {
                let id = session.id;
                self.bind(session);
                self.serve(now, id, head);
                return;
            }
            Ok(_) | Err(BindError::Unknown) => Status::NO_SESSION,
            Err(BindError::Elsewhere) => Status::OTHER_CONNECTION,
            Err(BindError::Fingerprint) => {
                self.close(now, Closed::Fingerprint, Close::Abort);
                return;
            }
        };
        self.refuse(now, &head, status);
        self.strike(now);
    }

    fn bind(&mut self, session: Arc<Session>) {
        let id = session.id;
        self.timers.clear(Timer::Binding);
        let bound = Bound {
            session,
            incoming: BTreeMap::new(),
            done: VecDeque::new(),
            refused: VecDeque::new(),
            outgoing: BTreeMap::new(),
            lately: VecDeque::new(),
            refused_types: Vec::new(),
        };
        self.sessions.insert(id, bound);
        self.wire.event(Event::Bound(id));
    }

    fn serve(&mut self, now: Time, id: SessionId, head: Box<Head>) {
        match head.method() {
            Some(Method::Send) => self.incoming(now, id, head),
            Some(Method::Report) => self.reported(now, id, &head),
            // S1-A1: RFC 4975 §12.
            _ => self.refuse(now, &head, Status::NOT_IMPLEMENTED),
        }
    }

    /// Answers a request with an error, unless it wants none (RFC 4975 §7.1.4) or is a report (§7.1.2).
    fn refuse(&mut self, now: Time, head: &Head, status: Status) {
        let silent = match head.method() {
            Some(Method::Send) => head.failure_report == FailureReport::No,
            Some(Method::Report) | None => true,
            _ => false,
        };
        if let Some(response) = head.response(status).filter(|_| !silent) {
            self.urgent(now, &response);
        }
    }

    /// Writes a frame without a body, before anything else: a chunk that stands open is interrupted (RFC 4975 §7.1.1).
    fn urgent(&mut self, now: Time, head: &Head) {
        self.interrupt(now);
        self.wire.write(|out| {
            head.write(out);
            end_line(&head.id, Flag::Last, out);
        });
    }

    fn strike(&mut self, now: Time) {
        self.strikes += 1;
        if self.strikes >= self.config.strikes {
            self.close(now, Closed::Strikes, Close::Orderly);
        }
    }

    /// A relay's answer.
    fn login_response(&mut self, now: Time, attempt: Attempt, response: &Head) {
        match attempt.response(response, &*self.entropy) {
            Next::Request(attempt, head) => {
                self.login = Some(*attempt);
                self.urgent(now, &head);
            }
            Next::Done(result) => {
                self.timers.clear(Timer::Login);
                if result.is_ok() {
                    // Whoever waits for a session behind a relay may wait long.
                    self.timers.clear(Timer::Binding);
                }
                self.wire.event(Event::Auth(result));
            }
        }
    }

    fn auth(&mut self, now: Time, login: Login) {
        if self.tls.is_none() || self.login.is_some() {
            let error = if self.login.is_some() { LoginError::Busy } else { LoginError::Clear };
            self.wire.event(Event::Auth(Err(error)));
            return;
        }
        let (attempt, head) = Attempt::new(login, &*self.entropy);
        self.login = Some(attempt);
        self.timers.set(Timer::Login, now + login::TIMEOUT);
        self.urgent(now, &head);
    }

    /// Ends a session and everything under way in it.
    fn end_session(&mut self, now: Time, id: SessionId, why: SessionEnd) {
        if self.open.as_ref().is_some_and(|open| open.session == id) {
            self.close_chunk(now, Flag::Abort);
        }
        let Some(bound) = self.sessions.remove(&id) else { return };
        for message in bound.incoming.into_keys() {
            self.timers.clear(Timer::Incomplete(id, message));
            self.wire.event(Event::Incomplete { session: id, message, why: Incomplete::Session });
        }
        self.waiting.take(|waiting| waiting.session == id);
        for message in bound.outgoing.into_keys() {
            self.wire.event(Event::Failed { session: id, message, why: Failure::Session });
        }
        if self.reading.session() == Some(id) {
            self.reading = Reading::Swallow;
        }
        self.wire.event(Event::Ended { session: id, why });
    }

    fn close(&mut self, now: Time, why: Closed, close: Close) {
        if self.wire.is_closed() {
            return;
        }
        let end = if why == Closed::Host { SessionEnd::Host } else { SessionEnd::Connection };
        for id in self.sessions.keys().copied().collect::<Vec<_>>() {
            self.end_session(now, id, end);
        }
        if self.login.take().is_some() {
            self.wire.event(Event::Auth(Err(LoginError::Connection)));
        }
        self.asking = None;
        self.timers.clear_all();
        self.waiting.drain().for_each(drop);
        self.wire.event(Event::Closed(why));
        self.wire.close(close);
    }

    fn command(&mut self, now: Time, command: Command) {
        match command {
            Command::Open(session) => {
                let id = session.id;
                self.bind(session);
                self.greet(now, id);
            }
            Command::Send(message) => self.send(now, message),
            Command::Data { session, message, bytes, last } => {
                self.send_data(now, session, message, bytes, last)
            }
            Command::Abort { session, message } => self.abort(now, session, message),
            Command::Refuse { session, message, status } => {
                self.refuse_message(now, session, message, status)
            }
            Command::Report { session, message, length, status } => {
                self.report(now, session, message, length, status);
            }
            Command::End(session) => self.end_session(now, session, SessionEnd::Host),
            Command::Auth(login) => self.auth(now, login),
            Command::Close => self.close(now, Closed::Host, Close::Orderly),
        }
    }

    fn expire(&mut self, now: Time) {
        while let Some(timer) = self.timers.expired(now) {
            match timer {
                Timer::Binding if self.sessions.is_empty() => {
                    self.close(now, Closed::Unbound, Close::Orderly);
                }
                Timer::Binding => {}
                Timer::Incomplete(session, message) => {
                    self.drop_incoming(now, session, message, Incomplete::Silence);
                }
                Timer::Login => {
                    self.login = None;
                    self.wire.event(Event::Auth(Err(LoginError::Timeout)));
                }
            }
        }
        while let Some(waiting) = self.waiting.expired(now) {
            self.timed_out(now, &waiting);
        }
    }
}

impl Machine for Endpoint {
    type Question = Question;
    type Answer = Answer;
    type Event = Event;
    type Command = Command;

    fn handle(&mut self, now: Time, input: Input<'_, Answer, Command>) {
        if self.wire.is_closed() {
            return;
        }
        match input {
            Input::Bytes(bytes) => self.parser.push(bytes),
            Input::Tls(facts) => self.secured(now, facts),
            Input::Eof(eof) => self.eof = Some(eof),
            Input::Answer(Answer::Bind(answer)) => self.bound(now, answer),
            Input::Command(command) => self.command(now, command),
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
                let next = [self.timers.next(), self.waiting.next()].into_iter().flatten().min();
                return Output::Wait(next);
            }
        }
    }

    fn wants_bytes(&self) -> bool {
        self.asking.is_none() && self.eof.is_none() && !self.wire.is_closed()
    }
}

/// So many bytes, as a number of the protocol.
fn count(bytes: &Bytes) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}
