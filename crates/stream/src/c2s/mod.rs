//! The receiving role towards clients.
//!
//! ```text
//! ExpectTls ─► ExpectHeader ─► AwaitDomain ─┬─► ExpectStartTls ─► ExpectTls          in clear
//!                  ▲                        └─► AwaitOffer ─┬─► ExpectAuth ◄─► ExpectResponse, AwaitSasl
//!                  └───────────── success ──────────────────┼───────┘
//!                                                           └─► ExpectBind ─► AwaitBind, AwaitResume ─► Open
//! any of them ─► Closing ─► Ended
//! ```
//! A state is consumed by each transition. The states whose name begins with `Await` have a question open at the host; nothing
//! that the peer sends is looked at meanwhile. A stream that has failed is `Ended` and stays so.

mod api;
mod auth;
mod bind;
mod core;
mod negotiate;
mod open;

use std::sync::Arc;

use nuncio_sansio::{Close, Entropy, Eof, Input, Machine, Output, Time};
use nuncio_xmpp::error::{StreamCondition, StreamError};
use nuncio_xmpp::ns;
use nuncio_xmpp::xml::{Element, Frame, Header};

pub use self::api::*;
use self::auth::{AwaitSasl, ExpectAuth, ExpectResponse};
use self::bind::{AwaitBind, AwaitResume, AwaitUnbound, ExpectBind};
use self::core::{Core, Timer};
use self::negotiate::{AwaitDomain, AwaitOffer, ExpectHeader, ExpectStartTls, ExpectTls};
use self::open::Open;
use crate::error::{Error, Misbehaved, Ours, Refused};
use crate::redirect;

/// The receiving end of a client's connection.
pub struct C2s {
    core: Core,
    state: State,
    /// The peer's direction has ended; acted upon once everything before it is.
    eof: Option<Eof>,
}

enum State {
    ExpectTls(ExpectTls),
    ExpectHeader(ExpectHeader),
    AwaitDomain(AwaitDomain),
    AwaitOffer(Box<AwaitOffer>),
    ExpectStartTls(ExpectStartTls),
    ExpectAuth(Box<ExpectAuth>),
    AwaitSasl(Box<AwaitSasl>),
    ExpectResponse(Box<ExpectResponse>),
    AwaitUnbound(Box<AwaitUnbound>),
    ExpectBind(ExpectBind),
    AwaitBind(Box<AwaitBind>),
    AwaitResume(Box<AwaitResume>),
    Open(Box<Open>),
    /// Our stream is closed before a resource was bound; only the peer's closing tag is waited for.
    Closing(Option<StreamCondition>),
    Ended,
}

/// What a transition gives: the next state, or the fault that ends the stream.
type Next = Result<State, Error>;

impl C2s {
    /// A new connection. With [`Start::DirectTls`] the first input must be [`Input::Tls`].
    pub fn new(config: Arc<C2sConfig>, entropy: Arc<dyn Entropy>, start: Start, now: Time) -> Self {
        let state = match start {
            Start::Tcp => State::ExpectHeader(ExpectHeader::in_clear()),
            Start::DirectTls => State::ExpectTls(ExpectTls),
        };
        Self { core: Core::new(config, entropy, now), state, eof: None }
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
            // What comes in clear after `<starttls/>` is never read (S0-33).
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
            // The client has closed its stream and its direction; ours is still in use.
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
            State::Open(open) => open.cut(eof),
            _ => (lost(eof), false, None),
        };
        // A stream that we have not opened need not be closed: whoever only looked whether the port is open gets no XML.
        if eof != Eof::Reset && self.core.wire.header_sent() {
            self.core.wire.close_stream(None);
        }
        let close = if eof == Eof::Reset { Close::Abort } else { Close::Orderly };
        self.core.end(End { reason, clean, error }, close);
    }

    fn expire(&mut self, now: Time) {
        while let Some(timer) = self.core.timers.expired(now) {
            self.advance(|state, core| state.timer(core, now, timer));
        }
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
        error => Reason::Failed(error),
    };
    core.close_all(Some(&wire), reason, false);
}

impl State {
    fn frame(self, core: &mut Core, now: Time, frame: Frame) -> Next {
        match frame {
            Frame::Header(header) => self.header(core, &header),
            Frame::Element(element) => self.element(core, now, element),
            Frame::Text => Ok(self),
            Frame::End => Ok(self.peer_closed(core, now)),
        }
    }

    fn header(self, core: &mut Core, header: &Header) -> Next {
        match self {
            Self::ExpectHeader(state) => state.header(core, header),
            // The tokenizer gives one header a stream.
            _ => Err(Ours::Input.into()),
        }
    }

    fn element(self, core: &mut Core, now: Time, element: Element) -> Next {
        if element.is("error", ns::STREAMS) {
            return Ok(self.peer_failed(core, &element));
        }
        // §4.8.5: no prefixes in the content namespace.
        if element.ns() == ns::CLIENT
            && !element.root().prefix().is_empty()
            && !matches!(self, Self::Closing(_))
        {
            return Err(Misbehaved::ElementPrefix.into());
        }
        match self {
            Self::ExpectStartTls(state) => state.element(core, &element),
            Self::ExpectAuth(state) => state.element(core, &element),
            Self::ExpectResponse(state) => state.element(core, &element),
            Self::ExpectBind(state) => state.element(core, &element),
            Self::Open(state) => state.element(core, now, element),
            Self::Closing(error) => Ok(Self::Closing(error)),
            _ => Err(Ours::Input.into()),
        }
    }

    fn answer(self, core: &mut Core, now: Time, answer: Answer) -> Next {
        match (self, answer) {
            (Self::AwaitDomain(state), Answer::Domain(domain)) => state.answer(core, domain),
            (Self::AwaitOffer(state), Answer::Offer(offer)) => Ok(state.answer(core, offer)),
            (Self::AwaitSasl(state), Answer::Sasl(answer)) => state.answer(core, answer),
            (Self::AwaitUnbound(state), Answer::Unbound(reply)) => state.answer(core, reply),
            (Self::AwaitBind(state), Answer::Bind(bound)) => state.answer(core, now, bound),
            (Self::AwaitResume(state), Answer::Resume(resumed)) => state.answer(core, now, resumed),
            (Self::Open(state), Answer::Enable(enabled)) => state.enabled(core, enabled),
            // The question was asked before the stream was told to close.
            (Self::Closing(error), _) => Ok(Self::Closing(error)),
            _ => Err(Ours::Answer.into()),
        }
    }

    fn command(self, core: &mut Core, now: Time, command: Command) -> Next {
        match (self, command) {
            (Self::Open(state), command) => state.command(core, now, command),
            (Self::Closing(error), _) => Ok(Self::Closing(error)),
            // Inside a TLS handshake nothing can be said.
            (Self::ExpectTls(_), Command::Close(_)) => {
                core.end(End { reason: Reason::Host, clean: false, error: None }, Close::Abort);
                Ok(Self::Ended)
            }
            (state, Command::Close(error)) => {
                let error = error.map(|error| state.presentable(error));
                core.close_stream(error.as_ref());
                core.timers.clear_all();
                core.timers.set(Timer::Closing, now + core.config.closing);
                Ok(Self::Closing(error.map(|error| error.condition)))
            }
            (
                state,
                Command::Stanza(_) | Command::Nonza(_) | Command::Handled { .. } | Command::Unanswered,
            ) => Ok(state),
        }
    }

    /// S0-32: nobody is sent elsewhere before TLS.
    fn presentable(&self, error: StreamError) -> StreamError {
        let in_clear = match self {
            Self::ExpectHeader(state) => state.is_in_clear(),
            Self::AwaitDomain(state) => state.is_in_clear(),
            Self::ExpectStartTls(_) => true,
            _ => false,
        };
        if in_clear { redirect::without(error) } else { error }
    }

    fn timer(self, core: &mut Core, now: Time, timer: Timer) -> Next {
        match (self, timer) {
            (Self::Open(state), timer) => state.timer(core, now, timer),
            (Self::ExpectTls(_), Timer::Negotiation) => {
                core.end(End { reason: Reason::Slow, clean: false, error: None }, Close::Abort);
                Ok(Self::Ended)
            }
            (Self::Closing(error), Timer::Closing) => {
                // S0-21 (3): the stream is void.
                core.end(End { reason: Reason::Host, clean: false, error }, Close::Orderly);
                Ok(Self::Ended)
            }
            (_, Timer::Negotiation) => Err(Refused::Slow.into()),
            (state, _) => Ok(state),
        }
    }

    /// The peer's closing tag.
    fn peer_closed(self, core: &mut Core, now: Time) -> Self {
        match self {
            Self::Open(state) => state.peer_closed(core, now),
            Self::Closing(error) => {
                core.end(End { reason: Reason::Host, clean: true, error }, Close::Orderly);
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
        let reason = error.map_or(Reason::Peer, Reason::PeerError);
        core.close_all(None, reason, false);
        Self::Ended
    }

    /// The peer's bytes cannot be read on.
    fn broken(self, core: &mut Core, error: Error) -> Next {
        match self {
            Self::Closing(sent) => {
                core.end(End { reason: Reason::Failed(error), clean: false, error: sent }, Close::Orderly);
                Ok(Self::Ended)
            }
            _ => Err(error),
        }
    }
}

impl Machine for C2s {
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
