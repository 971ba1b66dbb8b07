//! Streams between servers, in both roles: XMPP (RFC 6120), SASL EXTERNAL (XEP-0178), dialback (XEP-0220), bidirectional streams (XEP-0288), several pairs of
//! domains on one stream (RFC 7712 §4.4).
//!
//! ```text
//! receiving    ExpectTls ─► ExpectHeader ─► AwaitHeader ─┬──────────────────► ExpectAuth ─► (ExpectTls: STARTTLS)
//!                                ▲                       └─► AwaitExternal ─►  │  │  ▲
//!                                ├───────────── EXTERNAL ──────────────────────┘  └──┴── ExpectResponse
//!                                └─► Open                                        └─ dialback ─► Open
//!
//! initiating   ExpectTls ─► ExpectHeader ─► AwaitServer ─► ExpectFeatures ─┬─► ExpectProceed ─► ExpectTls
//!                                ▲                                         ├─► ExpectSasl ─┬─► ExpectHeader ─► ExpectFeatures ─► Open
//!                                └─────────────────────────────────────────┘               └─► AwaitKey ─► Open
//!
//! any of them ─► Closing ─► Ended
//! ```
//! A state is consumed by each transition. While a question is open at the host nothing that the peer sends is looked at. Which pairs of domains an open
//! stream carries is one table; no stanza passes that is of none of them, and no pair that is refused harms another. What is sent is rendered for
//! `jabber:server`.

mod api;
mod assert;
mod core;
mod dialback;
#[doc(hidden)]
pub mod fuzz;
mod initiate;
mod open;
mod receive;
mod resume;
mod table;

use std::sync::Arc;

use nuncio_sansio::{Close, Entropy, Eof, Input, Machine, Output, Time};
use nuncio_xmpp::error::{StreamCondition, StreamError};
use nuncio_xmpp::ns;
use nuncio_xmpp::xml::{Element, Frame, Header};

pub use self::api::*;
use self::core::{Core, Timer};
use self::initiate::{AwaitKey, AwaitServer, ExpectFeatures, ExpectProceed, ExpectSasl};
use self::open::Open;
use self::receive::{AwaitExternal, AwaitHeader, ExpectAuth, ExpectHeader, ExpectResponse, ExpectTls};
use crate::error::{Error, Misbehaved, Ours, Refused};
use crate::redirect::{self, SeeOtherHost, Standing, decide};

/// One end of a stream between servers.
pub struct S2s {
    core: Core,
    state: State,
    /// The peer's direction has ended; acted upon once everything before it is.
    eof: Option<Eof>,
}

enum State {
    ExpectTls(ExpectTls),
    ExpectHeader(ExpectHeader),
    AwaitHeader(AwaitHeader),
    AwaitExternal(AwaitExternal),
    ExpectAuth(ExpectAuth),
    ExpectResponse(ExpectResponse),
    AwaitServer(AwaitServer),
    ExpectFeatures(ExpectFeatures),
    ExpectProceed(ExpectProceed),
    ExpectSasl(ExpectSasl),
    AwaitKey(AwaitKey),
    Open(Box<Open>),
    /// Our stream is closed before it was negotiated; only the peer's closing tag is waited for.
    Closing(Option<StreamCondition>),
    Ended,
}

/// What a transition gives: the next state, or the fault that ends the stream.
type Next = Result<State, Error>;

impl S2s {
    /// A stream that we open. With [`Start::DirectTls`] the first input must be [`Input::Tls`].
    pub fn initiating(
        config: Arc<S2sConfig>,
        entropy: Arc<dyn Entropy>,
        opening: Opening,
        now: Time,
    ) -> Self {
        let start = opening.start;
        let mut core = Core::new(config, entropy, Some(Box::new(opening)), now);
        if start == Start::Tcp {
            core.initiate();
        }
        Self { core, state: begin(start), eof: None }
    }

    /// A stream that a peer opens. With [`Start::DirectTls`] the first input must be [`Input::Tls`].
    pub fn receiving(config: Arc<S2sConfig>, entropy: Arc<dyn Entropy>, start: Start, now: Time) -> Self {
        Self { core: Core::new(config, entropy, None, now), state: begin(start), eof: None }
    }

    /// Whether the stream has ended.
    pub fn is_ended(&self) -> bool {
        matches!(self.state, State::Ended)
    }

    fn advance(&mut self, step: impl FnOnce(State, &mut Core) -> Next) {
        let state = std::mem::replace(&mut self.state, State::Ended);
        if matches!(state, State::Ended) {
            return;
        }
        self.state = match step(state, &mut self.core) {
            Ok(next) => next,
            Err(error) => {
                fail(&mut self.core, error);
                State::Ended
            }
        };
    }

    /// Looks at one more thing that the peer sent. Whether there was one.
    fn step(&mut self, now: Time) -> bool {
        if self.core.asking || self.is_ended() {
            return false;
        }
        let reads = match &self.state {
            // What comes in clear after `<starttls/>` or `<proceed/>` is never read (S0-33).
            State::ExpectTls(_) => false,
            State::Open(open) => !open.finishing(),
            _ => true,
        };
        if reads {
            match self.core.tokenizer.next() {
                Ok(Some(frame)) => {
                    self.advance(|state, core| state.frame(core, now, frame));
                    return true;
                }
                Ok(None) => {}
                Err(error) => {
                    self.advance(|state, core| state.broken(core, error.into()));
                    return true;
                }
            }
        }
        match self.eof {
            // The peer has closed its stream and its direction; ours is still in use.
            Some(Eof::Clean) if !reads && matches!(self.state, State::Open(_)) => false,
            Some(eof) => {
                self.cut(eof);
                true
            }
            None => false,
        }
    }

    /// The peer's direction has ended without its closing tag, or after it.
    fn cut(&mut self, eof: Eof) {
        let state = std::mem::replace(&mut self.state, State::Ended);
        let (reason, clean, error) = match state {
            State::Ended => return,
            State::Closing(error) => (Reason::Host, false, error),
            State::Open(open) => open.cut(&mut self.core, eof),
            _ => (lost(eof), false, None),
        };
        // A stream that we have not opened need not be closed: whoever only looked whether the port is open gets no XML.
        if eof != Eof::Reset && self.core.wire.header_sent() {
            self.core.wire.close_stream(None);
        }
        let close = if eof == Eof::Reset { Close::Abort } else { Close::Orderly };
        let end = End { error, ..self.core.ending(reason, clean, None) };
        self.core.end(end, close);
    }

    fn expire(&mut self, now: Time) {
        while let Some(timer) = self.core.timers.expired(now) {
            self.advance(|state, core| state.timer(core, now, timer));
        }
    }
}

fn begin(start: Start) -> State {
    match start {
        Start::Tcp => State::ExpectHeader(ExpectHeader::first()),
        Start::DirectTls => State::ExpectTls(ExpectTls),
    }
}

/// The reason that belongs to the end of a connection.
fn lost(eof: Eof) -> Reason {
    if eof == Eof::Truncated { Reason::Truncated } else { Reason::Lost }
}

/// Ends a stream for a fault: our header if it is not out yet, the error, our closing tag, the end of the connection.
fn fail(core: &mut Core, error: Error) {
    let wire = error.stream_error();
    let reason = match error {
        Error::Refused(Refused::Slow) => Reason::Slow,
        Error::Refused(Refused::Silent) => Reason::Silent,
        Error::Refused(Refused::Domain(error)) => Reason::Refused(error.condition),
        error => Reason::Failed(error),
    };
    core.close_all(Some(&wire), reason, false);
}

impl State {
    fn frame(self, core: &mut Core, now: Time, frame: Frame) -> Next {
        match frame {
            Frame::Header(header) => self.header(core, now, &header),
            Frame::Element(element) => self.element(core, now, &element),
            Frame::Text => Ok(self),
            Frame::End => Ok(self.peer_closed(core, now)),
        }
    }

    fn header(self, core: &mut Core, now: Time, header: &Header) -> Next {
        match self {
            Self::ExpectHeader(state) => state.header(core, now, header),
            Self::Closing(error) => Ok(Self::Closing(error)),
            // The tokenizer gives one header a stream.
            _ => Err(Ours::Input.into()),
        }
    }

    fn element(self, core: &mut Core, now: Time, element: &Element) -> Next {
        if element.is("error", ns::STREAMS) {
            return Ok(self.peer_failed(core, element));
        }
        // §4.8.5: no prefixes in the content namespace.
        if element.ns() == ns::SERVER
            && !element.root().prefix().is_empty()
            && !matches!(self, Self::Closing(_))
        {
            return Err(Misbehaved::ElementPrefix.into());
        }
        match self {
            Self::ExpectAuth(state) => state.element(core, now, element),
            Self::ExpectResponse(state) => state.element(core, element),
            Self::ExpectFeatures(state) => state.element(core, now, element),
            Self::ExpectProceed(state) => state.element(core, element),
            Self::ExpectSasl(state) => state.element(core, now, element),
            Self::Open(state) => state.element(core, now, element),
            Self::Closing(error) => Ok(Self::Closing(error)),
            _ => Err(Ours::Input.into()),
        }
    }

    fn answer(self, core: &mut Core, now: Time, answer: Answer) -> Next {
        match (self, answer) {
            // The question was asked before the stream was told to close.
            (Self::Closing(error), _) => Ok(Self::Closing(error)),
            (state, Answer::Verify(outcome)) => {
                assert::verified(core, outcome)?;
                Ok(state)
            }
            (Self::AwaitHeader(state), Answer::Header(accepted)) => state.answer(core, accepted),
            (Self::AwaitExternal(state), Answer::External(verdict)) => state.answer(core, now, verdict),
            (Self::AwaitServer(state), Answer::Server(verdict)) => state.answer(core, now, verdict),
            (Self::AwaitKey(state), Answer::Key(key)) => state.answer(core, now, key),
            (Self::Open(state), Answer::Previous(previous)) => state.previous(core, now, previous),
            (Self::Open(state), Answer::Resume(found)) => state.resumes(core, found),
            _ => Err(Ours::Answer.into()),
        }
    }

    fn command(self, core: &mut Core, now: Time, command: Command) -> Next {
        match (self, command) {
            (Self::Open(state), command) => state.command(core, now, command),
            (Self::Closing(error), Command::Verify { pair, id, .. }) => {
                core.wire.event(Event::Verified { pair, id, outcome: Err(DialbackError::Ended) });
                Ok(Self::Closing(error))
            }
            (state, Command::Verify { pair, id, key }) => {
                assert::verify(core, now, pair, id, key, false);
                Ok(state)
            }
            (state, Command::Assert { pair, .. }) => {
                core.wire.event(Event::Answered { pair, outcome: Err(DialbackError::Unsupported) });
                Ok(state)
            }
            (Self::Closing(error), _) => Ok(Self::Closing(error)),
            // Inside a TLS handshake nothing can be said.
            (Self::ExpectTls(_), Command::Close(_)) => {
                let end = core.ending(Reason::Host, false, None);
                core.end(end, Close::Abort);
                Ok(Self::Ended)
            }
            (_, Command::Close(error)) => {
                // S0-32: nobody is sent elsewhere before TLS.
                let in_clear = core.tls.is_none();
                let error = error.map(|error| if in_clear { redirect::without(error) } else { error });
                core.close_stream(error.as_ref());
                core.timers.clear_all();
                core.timers.set(Timer::Closing, now + core.config.closing);
                Ok(Self::Closing(error.map(|error| error.condition)))
            }
            (
                state,
                Command::Stanza(_)
                | Command::Handled { .. }
                | Command::Decide { .. }
                | Command::Revoke { .. }
                | Command::Supersede,
            ) => Ok(state),
        }
    }

    fn timer(self, core: &mut Core, now: Time, timer: Timer) -> Next {
        match (self, timer) {
            (Self::Open(state), timer) => state.timer(core, now, timer),
            (Self::ExpectTls(_), Timer::Negotiation) => {
                let end = core.ending(Reason::Slow, false, None);
                core.end(end, Close::Abort);
                Ok(Self::Ended)
            }
            (Self::Closing(error), Timer::Closing) => {
                // S0-21 (3): the stream is void.
                let end = End { error, ..core.ending(Reason::Host, false, None) };
                core.end(end, Close::Orderly);
                Ok(Self::Ended)
            }
            (Self::ExpectAuth(_), Timer::Negotiation) => ExpectAuth::late(core),
            (_, Timer::Negotiation) => Err(Refused::Slow.into()),
            (state, _) => Ok(state),
        }
    }

    /// The peer's closing tag.
    fn peer_closed(self, core: &mut Core, now: Time) -> Self {
        match self {
            Self::Open(state) => state.peer_closed(core, now),
            Self::Closing(error) => {
                let end = End { error, ..core.ending(Reason::Host, true, None) };
                core.end(end, Close::Orderly);
                Self::Ended
            }
            _ => {
                core.close_all(None, Reason::Peer, true);
                Self::Ended
            }
        }
    }

    /// A stream error of the peer: unrecoverable (RFC 6120 §4.9.1.1).
    fn peer_failed(self, core: &mut Core, element: &Element) -> Self {
        let error = StreamError::parse(element.root());
        if let (Self::Open(open), Some(error)) = (&self, &error)
            && error.condition == StreamCondition::ConnectionTimeout
        {
            // They have not heard us for long; what was said since is not lost with the connection.
            open.leave(core);
        }
        let reason = match (error, &core.opening) {
            (None, _) => Reason::Peer,
            (Some(error), Some(opening)) if error.condition == StreamCondition::SeeOtherHost => {
                let other = error.host.as_deref().and_then(|host| host.parse::<SeeOtherHost>().ok());
                let place = &opening.place;
                // S0-32: followed only if whoever says so is who we called.
                let standing = Standing { authenticated_server: core.proven, followed: place.redirects };
                match other {
                    Some(other) => Reason::Redirected(decide(&other, &place.host, place.port, standing)),
                    None => Reason::PeerError(error),
                }
            }
            (Some(error), _) => Reason::PeerError(error),
        };
        core.close_all(None, reason, false);
        Self::Ended
    }

    /// The peer's bytes cannot be read on.
    fn broken(self, core: &mut Core, error: Error) -> Next {
        match self {
            Self::Closing(sent) => {
                let end = End { error: sent, ..core.ending(Reason::Failed(error), false, None) };
                core.end(end, Close::Orderly);
                Ok(Self::Ended)
            }
            _ => Err(error),
        }
    }
}

impl Machine for S2s {
    type Question = Question;
    type Answer = Answer;
    type Event = Event;
    type Command = Command;

    fn handle(&mut self, now: Time, input: Input<'_, Answer, Command>) {
        if self.is_ended() {
            return;
        }
        match input {
            Input::Bytes(bytes) => {
                self.core.heard = now;
                // What comes between `<proceed/>` and the handshake was sent in clear: discarded (RFC 6120 §5.4.3.3).
                if !matches!(self.state, State::ExpectTls(_)) {
                    self.core.tokenizer.push(bytes);
                }
            }
            Input::Tls(facts) => self.advance(|state, core| match state {
                State::ExpectTls(state) => Ok(state.secured(core, facts)),
                _ => Err(Ours::Input.into()),
            }),
            Input::Eof(eof) => {
                self.eof = Some(eof);
            }
            Input::Answer(answer) => {
                if self.core.asking {
                    self.core.asking = false;
                    self.advance(|state, core| state.answer(core, now, answer));
                }
            }
            Input::Command(command) => self.advance(|state, core| state.command(core, now, command)),
            Input::Time => {}
        }
        self.expire(now);
    }

    fn poll(&mut self, now: Time) -> Output<Question, Event> {
        loop {
            if let Some(output) = self.core.wire.pop() {
                return output;
            }
            if !self.step(now) {
                return Output::Wait(self.core.timers.next());
            }
        }
    }

    fn wants_bytes(&self) -> bool {
        !self.core.asking && !self.is_ended() && self.eof.is_none()
    }
}
