//! A bound stream: stanzas, stream management (XEP-0198), probes, and the closing handshake (RFC 6120 §4.4).

use std::time::Duration;

use nuncio_sansio::{Close, Eof, Time};
use nuncio_xmpp::error::{Condition, StanzaError, StreamCondition};
use nuncio_xmpp::jid::Jid;
use nuncio_xmpp::ns;
use nuncio_xmpp::stanza::{IqType, Kind, Stanza};
use nuncio_xmpp::xml::Element;

use super::api::{Command, Enabled, End, Event, Question, Reason, Resumed};
use super::core::{Core, Timer};
use super::{Next, State, lost};
use crate::error::{Misbehaved, Ours, Refused};
use crate::ledger::Ledger;
use crate::sm::{self, Inbound, Outbound};

/// How long the host may take for the next of its last stanzas.
const LINGER: Duration = Duration::from_millis(100);

/// A stream with a bound resource.
pub(super) struct Open {
    domain: String,
    jid: Jid,
    /// The language of stanzas that name none (RFC 6120 §8.1.5).
    lang: Option<Box<str>>,
    ledger: Ledger,
    management: Management,
    /// A probe is out since then: ours, which must be answered, or with stream management off a space.
    probed: Option<Time>,
    /// When the closing time is over.
    void: Option<Time>,
    closing: Closing,
}

enum Management {
    Off,
    /// The question is open.
    Asked {
        resume: bool,
    },
    /// The client has used its one attempt, in vain (XEP-0198 §3).
    Failed,
    On(Box<Counters>),
}

struct Counters {
    inbound: Inbound,
    outbound: Outbound,
}

enum Closing {
    No,
    /// The client's closing tag came; the rest is being handled.
    Peer,
    /// Ours is sent, with that error.
    Ours(Option<StreamCondition>),
}

impl Open {
    pub(super) fn bound(
        core: &mut Core,
        now: Time,
        domain: String,
        lang: Option<Box<str>>,
        jid: Jid,
    ) -> Self {
        Self::new(core, now, domain, lang, jid, Management::Off)
    }

    /// The client has handled `h`; all that came after it is sent again and counted again.
    pub(super) fn resumed(
        core: &mut Core,
        now: Time,
        domain: String,
        lang: Option<Box<str>>,
        resumed: Resumed,
        h: u32,
    ) -> Self {
        let counters = Counters { inbound: Inbound::new(resumed.inbound, 0), outbound: Outbound::new(h, h) };
        Self::new(core, now, domain, lang, resumed.jid, Management::On(Box::new(counters)))
    }

    fn new(
        core: &mut Core,
        now: Time,
        domain: String,
        lang: Option<Box<str>>,
        jid: Jid,
        management: Management,
    ) -> Self {
        if let Some(idle) = core.config.idle {
            core.timers.set(Timer::Idle, now + idle.after);
        }
        Self {
            domain,
            jid,
            lang,
            ledger: Ledger::default(),
            management,
            probed: None,
            void: None,
            closing: Closing::No,
        }
    }

    /// The client sends nothing more; what is left is ours to do.
    pub(super) fn finishing(&self) -> bool {
        matches!(self.closing, Closing::Peer)
    }

    pub(super) fn element(self: Box<Self>, core: &mut Core, now: Time, element: Element) -> Next {
        match element.ns() {
            ns::CLIENT => self.stanza(core, &element),
            ns::SM => self.manage(core, now, &element),
            ns => {
                let nonza =
                    core.config.nonzas.iter().any(|(name, known)| name == element.name() && known == ns);
                if !nonza {
                    // S0-10 to S0-12: neither routed nor delivered, whatever `to` says.
                    return Err(Misbehaved::Element.into());
                }
                core.wire.event(Event::Nonza(element));
                Ok(State::Open(self))
            }
        }
    }

    fn stanza(mut self: Box<Self>, core: &mut Core, element: &Element) -> Next {
        let mut stanza = match Stanza::from_element(element.clone()) {
            Ok(stanza) => stanza,
            Err(fault) => {
                if !matches!(element.name(), "message" | "presence" | "iq") {
                    return Err(Misbehaved::Element.into());
                }
                let number = self.ledger.receive();
                let mut reply = fault.reply(element);
                if let Some(reply) = &mut reply {
                    reply.set_to(Some(self.jid.clone()));
                }
                core.wire.event(Event::Answered { number, reply: reply.map(Box::new) });
                self.ledger.answered(number);
                return Ok(State::Open(self));
            }
        };
        // RFC 6120 §8.1.2.1: the client's own full or bare address, or none.
        if !stanza
            .from()
            .is_none_or(|from| *from == self.jid || (from.is_bare() && from.bare() == self.jid.bare()))
        {
            return Err(Misbehaved::From.into());
        }
        stanza.set_from(Some(self.jid.clone()));
        if stanza.lang().is_none() && self.lang.is_some() {
            stanza.set_lang(self.lang.as_deref());
        }
        let number = self.ledger.receive();
        match self.own_answer(&stanza) {
            Some(reply) => {
                core.wire.event(Event::Answered { number, reply: Some(Box::new(reply)) });
                self.ledger.answered(number);
            }
            None => core.wire.event(Event::Stanza { number, stanza: Box::new(stanza) }),
        }
        Ok(State::Open(self))
    }

    /// The requests about the stream itself: the session of RFC 3921 §3, which is nothing, and a second resource (RFC 6120 §7.1).
    fn own_answer(&self, stanza: &Stanza) -> Option<Stanza> {
        if stanza.kind() != Kind::Iq(IqType::Set) {
            return None;
        }
        let to_us = stanza.to().is_none_or(|to| {
            (to.is_domain() && to.domain() == self.domain) || (to.is_bare() && to.bare() == self.jid.bare())
        });
        if !to_us {
            return None;
        }
        if stanza.child("session", ns::SESSION).is_some() {
            return Some(stanza.result(None));
        }
        stanza.child("bind", ns::BIND).and_then(|_| stanza.error(StanzaError::new(Condition::NotAllowed)))
    }

    fn manage(mut self: Box<Self>, core: &mut Core, now: Time, element: &Element) -> Next {
        match (element.name(), &mut self.management) {
            ("enable", _) if !core.config.stream_management => {
                core.wire.send_builder(&sm::failed(Condition::FeatureNotImplemented, None));
            }
            ("enable", Management::Off) => {
                let resume = sm::read_bool(element.attr("resume").as_deref());
                let max = element.attr("max").and_then(|max| sm::read_u32(&max)).filter(|max| *max > 0);
                if matches!(self.closing, Closing::No) {
                    core.ask(Question::Enable { jid: self.jid.clone(), resume, max });
                    self.management = Management::Asked { resume };
                }
            }
            // XEP-0198 §3: at most one attempt.
            ("enable", _) => {
                core.wire.send_builder(&sm::failed(Condition::UnexpectedRequest, None));
                return Err(Misbehaved::EnabledTwice.into());
            }
            ("resume", _) => core.wire.send_builder(&sm::failed(Condition::UnexpectedRequest, None)),
            ("r", Management::On(counters)) => {
                let deadline = now + core.config.pace.answer_within;
                if counters.inbound.requested(self.ledger.received(), self.ledger.handled(), deadline) {
                    core.wire.send(&sm::answer(counters.inbound.h(self.ledger.handled())));
                } else {
                    core.timers.set_if_idle(Timer::Answer, deadline);
                }
            }
            ("a", Management::On(counters)) => {
                let h = sm::read_h(element).ok_or(Misbehaved::Counter)?;
                let fresh = counters.outbound.acked(h)?;
                if !counters.outbound.open() {
                    core.timers.clear(Timer::Quiet);
                }
                core.wire.event(Event::Acked { h, fresh });
            }
            _ => return Err(Misbehaved::Element.into()),
        }
        Ok(State::Open(self))
    }

    /// The answer to [`Question::Enable`].
    pub(super) fn enabled(mut self: Box<Self>, core: &mut Core, answer: Result<Enabled, Condition>) -> Next {
        let Management::Asked { resume } = self.management else {
            return Err(Ours::Answer.into());
        };
        match answer {
            Ok(mut enabled) => {
                if !resume {
                    enabled.id = None;
                }
                let resumable = enabled.id.is_some();
                let element = nuncio_xmpp::xml::Builder::new("enabled", ns::SM)
                    .attr_opt("id", enabled.id.as_deref())
                    .attr_opt("resume", resumable.then_some("true"))
                    .attr_opt("max", enabled.max.filter(|_| resumable))
                    .attr_opt("location", enabled.location.as_deref().filter(|_| resumable));
                core.wire.send_builder(&element);
                let inbound = Inbound::new(0, self.ledger.received());
                self.management =
                    Management::On(Box::new(Counters { inbound, outbound: Outbound::new(0, 0) }));
                core.wire.event(Event::Enabled(enabled));
            }
            Err(condition) => {
                core.wire.send_builder(&sm::failed(condition, None));
                self.management = Management::Failed;
            }
        }
        Ok(State::Open(self))
    }

    pub(super) fn command(mut self: Box<Self>, core: &mut Core, now: Time, command: Command) -> Next {
        match command {
            Command::Stanza(bytes) => {
                if core.wire.send_bytes(bytes) {
                    self.count(core, now);
                    self.linger(core, now);
                }
            }
            Command::Nonza(bytes) => {
                core.wire.send_bytes(bytes);
            }
            Command::Handled { number } => {
                self.ledger.handle(number);
                self.acknowledge(core, now);
                self.linger(core, now);
            }
            Command::Unanswered => {
                if matches!(self.closing, Closing::No)
                    && let Some(probed) = self.probed.take()
                    && core.heard <= probed
                {
                    return Err(Refused::Silent.into());
                }
            }
            Command::Close(error) if self.finishing() => {
                core.close_all(error.as_ref(), Reason::Peer, true);
                return Ok(State::Ended);
            }
            Command::Close(error) => {
                if matches!(self.closing, Closing::No) {
                    core.close_stream(error.as_ref());
                    core.timers.clear_all();
                    core.timers.set(Timer::Closing, now + core.config.closing);
                    self.closing = Closing::Ours(error.map(|error| error.condition));
                }
            }
        }
        Ok(State::Open(self))
    }

    /// All is handled that came before the client's closing tag: what that brings about may still be on its way from the host, so our
    /// own tag waits until nothing has come for a moment, within the closing time.
    fn linger(&self, core: &mut Core, now: Time) {
        if self.finishing() && self.ledger.is_done() {
            let latest = self.void.unwrap_or(now);
            core.timers.set(Timer::Closing, latest.min(now + LINGER));
        }
    }

    /// One more stanza went out: ask for an acknowledgement after some, or when it gets quiet.
    fn count(&mut self, core: &mut Core, now: Time) {
        if let Management::On(counters) = &mut self.management {
            if counters.outbound.sent() >= core.config.pace.every {
                request(core, counters);
            } else {
                core.timers.set(Timer::Quiet, now + core.config.pace.quiet);
            }
        }
    }

    /// Sends the answers to `<r/>` that have become due.
    fn acknowledge(&mut self, core: &mut Core, now: Time) {
        let Management::On(counters) = &mut self.management else { return };
        if counters.inbound.due(self.ledger.handled(), now) {
            core.wire.send(&sm::answer(counters.inbound.h(self.ledger.handled())));
        }
        match counters.inbound.deadline() {
            Some(at) => core.timers.set(Timer::Answer, at),
            None => core.timers.clear(Timer::Answer),
        }
    }

    pub(super) fn timer(mut self: Box<Self>, core: &mut Core, now: Time, timer: Timer) -> Next {
        match timer {
            Timer::Answer => self.acknowledge(core, now),
            Timer::Quiet => {
                if let Management::On(counters) = &mut self.management {
                    request(core, counters);
                }
            }
            Timer::Idle => return self.idle(core, now),
            Timer::Closing => {
                return Ok(match self.closing {
                    Closing::Ours(error) => {
                        // S0-21 (3): the stream is void.
                        core.end(End { reason: Reason::Host, clean: false, error }, Close::Orderly);
                        State::Ended
                    }
                    _ => Self::finish(core),
                });
            }
            Timer::Negotiation => {}
        }
        Ok(State::Open(self))
    }

    /// The idle timer fired; whether it is really quiet is looked at only now, so that traffic costs nothing.
    fn idle(mut self: Box<Self>, core: &mut Core, now: Time) -> Next {
        let Some(idle) = core.config.idle else { return Ok(State::Open(self)) };
        if let Management::On(_) = self.management
            && let Some(probed) = self.probed.take()
            && core.heard <= probed
        {
            return Err(Refused::Silent.into());
        }
        let due = core.heard + idle.after;
        if due > now {
            core.timers.set(Timer::Idle, due);
            return Ok(State::Open(self));
        }
        match &mut self.management {
            Management::On(counters) => {
                request(core, counters);
                self.probed = Some(now);
                core.timers.set(Timer::Idle, now + idle.answer_within);
            }
            _ => {
                // Nobody answers a space, but TCP notices when it cannot be delivered.
                core.wire.send(b" ");
                self.probed = Some(now);
                core.wire.event(Event::Quiet { within: idle.answer_within });
                core.timers.set(Timer::Idle, now + idle.after);
            }
        }
        Ok(State::Open(self))
    }

    /// The client's closing tag.
    pub(super) fn peer_closed(mut self: Box<Self>, core: &mut Core, now: Time) -> State {
        match self.closing {
            Closing::Ours(error) => {
                core.end(End { reason: Reason::Host, clean: true, error }, Close::Orderly);
                State::Ended
            }
            _ if self.ledger.is_done() => Self::finish(core),
            _ => {
                self.closing = Closing::Peer;
                core.timers.clear(Timer::Idle);
                let void = now + core.config.closing;
                self.void = Some(void);
                core.timers.set(Timer::Closing, void);
                core.wire.event(Event::Finishing);
                State::Open(self)
            }
        }
    }

    fn finish(core: &mut Core) -> State {
        core.close_all(None, Reason::Peer, true);
        State::Ended
    }

    /// The end of the peer's direction.
    pub(super) fn cut(self, eof: Eof) -> (Reason, bool, Option<StreamCondition>) {
        match self.closing {
            Closing::No => (lost(eof), false, None),
            Closing::Peer => (Reason::Peer, true, None),
            Closing::Ours(error) => (Reason::Host, false, error),
        }
    }
}

fn request(core: &mut Core, counters: &mut Counters) {
    core.wire.send(sm::REQUEST);
    counters.outbound.requested();
    core.timers.clear(Timer::Quiet);
}
