//! The initiating role of a client.
//!
//! ```text
//! ExpectTls ─► ExpectHeader ─► ExpectFeatures ─┬─► ExpectProceed ─► ExpectTls            in clear
//!                  ▲                           ├─► ExpectChallenge ─► ExpectHeader       inside TLS
//!                  └───────────────────────────┤
//!                                              └─► ExpectResumed, ExpectBound ─► ExpectSession ─► Open
//! ```
//! Nothing but negotiation leaves before a resource is bound: stanzas wait (S0-07).

mod api;
mod core;
mod login;
mod open;

use std::sync::Arc;

use nuncio_sansio::{Close, Entropy, Eof, Input, Machine, Output, Time};
use nuncio_xmpp::error::StreamError;
use nuncio_xmpp::ns;
use nuncio_xmpp::xml::{Element, Frame};

pub use self::api::*;
use self::core::{Core, Timer};
use self::login::{
    ExpectBound, ExpectChallenge, ExpectFeatures, ExpectHeader, ExpectProceed, ExpectResumed, ExpectSession,
    ExpectTls,
};
use self::open::Open;
use crate::c2s::Start;
use crate::error::{Error, Misbehaved, Ours, Refused};
use crate::redirect::{SeeOtherHost, Standing, decide};

/// The initiating end of a client's connection.
pub struct Client {
    core: Core,
    state: State,
    eof: Option<Eof>,
}

enum State {
    ExpectTls(ExpectTls),
    ExpectHeader(ExpectHeader),
    ExpectFeatures(ExpectFeatures),
    ExpectProceed(ExpectProceed),
    ExpectChallenge(Box<ExpectChallenge>),
    ExpectResumed(ExpectResumed),
    ExpectBound(ExpectBound),
    ExpectSession(ExpectSession),
    Open(Box<Open>),
    Ended,
}

type Next = Result<State, Error>;

impl Client {
    /// A new connection. With [`Start::DirectTls`] the first input must be [`Input::Tls`].
    pub fn new(config: ClientConfig, entropy: Arc<dyn Entropy>, now: Time) -> Self {
        let start = config.start;
        let mut core = Core::new(config, entropy, now);
        let state = match start {
            Start::Tcp => {
                core.open();
                State::ExpectHeader(ExpectHeader::in_clear())
            }
            Start::DirectTls => State::ExpectTls(ExpectTls),
        };
        Self { core, state, eof: None }
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

    /// Looks at one more thing that the server sent. Whether there was one.
    fn step(&mut self, now: Time) -> bool {
        if self.is_ended() {
            return false;
        }
        if !matches!(self.state, State::ExpectTls(_)) {
            match self.core.tokenizer.next() {
                Ok(Some(frame)) => {
                    self.advance(|state, core| state.frame(core, now, frame));
                    return true;
                }
                Ok(None) => {}
                Err(error) => {
                    self.advance(|_, _| Err(error.into()));
                    return true;
                }
            }
        }
        let Some(eof) = self.eof else { return false };
        self.advance(|state, core| {
            let reason = match (&state, eof) {
                (State::Open(open), _) if open.is_closing() => Reason::Host,
                (_, Eof::Truncated) => Reason::Truncated,
                _ => Reason::Lost,
            };
            let close = if eof == Eof::Reset { Close::Abort } else { Close::Orderly };
            core.end(reason, false, None, close);
            Ok(State::Ended)
        });
        true
    }
}

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
        match (self, frame) {
            (Self::ExpectHeader(state), Frame::Header(header)) => state.header(core, &header),
            (_, Frame::Header(_)) => Err(Ours::Input.into()),
            (state, Frame::Element(element)) => state.element(core, now, element),
            (state, Frame::Text) => Ok(state),
            (Self::Open(open), Frame::End) if open.is_closing() => {
                core.end(Reason::Host, true, None, Close::Orderly);
                Ok(Self::Ended)
            }
            (_, Frame::End) => {
                core.close_all(None, Reason::Peer, true);
                Ok(Self::Ended)
            }
        }
    }

    fn element(self, core: &mut Core, now: Time, element: Element) -> Next {
        if element.is("error", ns::STREAMS) {
            peer_failed(core, &element);
            return Ok(Self::Ended);
        }
        match self {
            Self::ExpectFeatures(state) => state.element(core, now, &element),
            Self::ExpectProceed(state) => state.element(core, &element),
            Self::ExpectChallenge(state) => state.element(core, &element),
            Self::ExpectResumed(state) => state.element(core, now, &element),
            Self::ExpectBound(state) => state.element(core, now, &element),
            Self::ExpectSession(state) => state.element(core, now, &element),
            Self::Open(state) => state.element(core, element),
            _ => Err(Misbehaved::OutOfTurn.into()),
        }
    }

    fn timer(self, core: &mut Core, now: Time, timer: Timer) -> Next {
        match (self, timer) {
            (Self::Open(state), timer) => state.timer(core, now, timer),
            (Self::ExpectTls(_), Timer::Negotiation) => {
                core.end(Reason::Slow, false, None, Close::Abort);
                Ok(Self::Ended)
            }
            (_, Timer::Negotiation) => Err(Refused::Slow.into()),
            (state, _) => Ok(state),
        }
    }

    fn command(self, core: &mut Core, now: Time, command: Command) -> Next {
        match (self, command) {
            (Self::Open(state), command) => Ok(state.command(core, now, command)),
            (Self::ExpectTls(_), Command::Close(_)) => {
                core.end(Reason::Host, false, None, Close::Abort);
                Ok(Self::Ended)
            }
            (_, Command::Close(error)) => {
                core.close_all(error.as_ref(), Reason::Host, false);
                Ok(Self::Ended)
            }
            (state, Command::Stanza(bytes)) => {
                core.waiting.push_back(bytes);
                Ok(state)
            }
            (state, Command::Nonza(_)) => Ok(state),
        }
    }
}

/// A stream error of the server ends the stream; a redirect is judged (S0-30 to S0-32).
fn peer_failed(core: &mut Core, element: &Element) {
    let Some(error) = StreamError::parse(element.root()) else {
        core.close_all(None, Reason::Peer, false);
        return;
    };
    let other = error.host.as_deref().and_then(|host| host.parse::<SeeOtherHost>().ok());
    let reason = match other {
        Some(other) => {
            let place = &core.config.place;
            let standing = Standing { authenticated_server: core.secured, followed: place.redirects };
            Reason::Redirected(decide(&other, &place.host, place.port, standing))
        }
        None => Reason::PeerError(error),
    };
    // An error is the server's last word but for the closing tag (RFC 6120 §4.9.1.1): nothing can have been cut off.
    core.close_all(None, reason, true);
}

impl Machine for Client {
    type Question = Never;
    type Answer = Never;
    type Event = Event;
    type Command = Command;

    fn handle(&mut self, now: Time, input: Input<'_, Never, Command>) {
        if self.is_ended() {
            return;
        }
        match input {
            Input::Bytes(bytes) => {
                self.core.heard = now;
                // Between `<proceed/>` and the handshake nothing may come in clear; it is not read.
                if !matches!(self.state, State::ExpectTls(_)) {
                    self.core.tokenizer.push(bytes);
                }
            }
            Input::Tls(facts) => self.advance(|state, core| match state {
                State::ExpectTls(state) => Ok(state.secured(core, facts)),
                _ => Err(Ours::Input.into()),
            }),
            Input::Eof(eof) => self.eof = Some(eof),
            Input::Answer(never) => match never {},
            Input::Command(command) => self.advance(|state, core| state.command(core, now, command)),
            Input::Time => {}
        }
        while let Some(timer) = self.core.timers.expired(now) {
            self.advance(|state, core| state.timer(core, now, timer));
        }
    }

    fn poll(&mut self, now: Time) -> Output<Never, Event> {
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
        !self.is_ended() && self.eof.is_none()
    }
}
