//! A stream that is negotiated: stanzas, stream management (XEP-0198), probes, and the closing handshake (RFC 6120 §4.4).

use nuncio_sansio::{Close, Eof, Time};
use nuncio_xmpp::error::{Condition, StanzaError, StreamCondition, StreamError};
use nuncio_xmpp::stanza::{Stanza, StanzaFault};
use nuncio_xmpp::xml::Element;
use nuncio_xmpp::{jid, ns};

use super::api::{By, Command, DialbackError, Event, Pair, Previous, Purpose, Reason, Way};
use super::core::{Core, Timer};
use super::{Next, State, assert, dialback, lost};
use crate::error::{Error, Misbehaved, Refused};
use crate::ledger::Ledger;
use crate::sm::{self, Inbound, Outbound};

/// A negotiated stream, in either role. Which pairs it carries is in [`Core::pairs`]; it may be none yet.
pub(super) struct Open {
    ledger: Ledger,
    pub(super) management: Management,
    /// The first pair that the peer accepted, while the host is asked for a stream to resume.
    pub(super) first: Option<(Pair, By)>,
    /// What the peer wants to resume, and its count, while the host is asked.
    pub(super) resuming: Option<(String, u32)>,
    /// When the last stanza went either way.
    used: Time,
    /// A probe is out since then.
    probed: Option<Time>,
    /// Why the stream has no purpose any more, once nothing is under way.
    hopeless: Option<Reason>,
    closing: Closing,
}

pub(super) enum Management {
    Off,
    /// The peer could not resume what it wanted to; it may still enable (XEP-0198 §5).
    Refused,
    /// `<resume/>` is sent. Nothing is sent until it is answered.
    Resuming(Previous),
    /// `<enable/>` is sent: our stanzas count from there on, theirs from `<enabled/>`.
    Asked(Outbound),
    /// It was refused, or had been used up (XEP-0198 §3).
    Failed,
    On(Box<Counters>),
}

pub(super) struct Counters {
    pub(super) inbound: Inbound,
    pub(super) outbound: Outbound,
    /// Up to which stanza the peer was last told that we have handled.
    pub(super) told: u64,
    /// The name by which the stream can be resumed, if it can.
    pub(super) id: Option<String>,
}

impl Counters {
    pub(super) fn new(outbound: Outbound, received: u64, id: Option<String>) -> Box<Self> {
        Box::new(Self { inbound: Inbound::new(0, received), outbound, told: received, id })
    }

    fn tell(&mut self, core: &mut Core, handled: u64) {
        core.wire.send(&sm::answer(self.inbound.h(handled)));
        self.told = handled;
    }
}

enum Closing {
    No,
    /// The peer's closing tag came; the rest is being handled.
    Peer,
    /// Ours is sent, with that error.
    Ours(Option<StreamCondition>, Reason),
}

/// How a stanza's addresses stand to the pairs of the stream.
enum Standing {
    Carried(Pair),
    /// The sender has proven who it is, but not for this pair, or not any more.
    Strange,
}

impl Open {
    pub(super) fn new(core: &mut Core, now: Time) -> Self {
        if let Some(idle) = core.config.idle {
            core.timers.set(Timer::Idle, now + idle.after);
        }
        Self {
            ledger: Ledger::default(),
            management: Management::Off,
            first: None,
            resuming: None,
            used: now,
            probed: None,
            hopeless: None,
            closing: Closing::No,
        }
    }

    /// Negotiation is over: what waited for it goes out.
    pub(super) fn ready(&self, core: &mut Core, now: Time) {
        assert::flush(core, now);
    }

    /// The peer sends nothing more; what is left is ours to do.
    pub(super) fn finishing(&self) -> bool {
        matches!(self.closing, Closing::Peer)
    }

    pub(super) fn is_closing(&self) -> bool {
        !matches!(self.closing, Closing::No)
    }

    /// How many stanzas came.
    pub(super) fn received(&self) -> u64 {
        self.ledger.received()
    }

    /// Dialback is under way: the end of negotiation waits for it.
    pub(super) fn patient(&self, core: &mut Core, at: Time) {
        if !core.pairs.is_authorised() && !self.is_closing() {
            let at = core.timers.get(Timer::Negotiation).map_or(at, |before| before.max(at));
            core.timers.set(Timer::Negotiation, at);
        }
    }

    /// The pair that the stream was opened for was refused.
    pub(super) fn hopeless(&mut self, reason: Reason) {
        self.hopeless.get_or_insert(reason);
    }

    /// It carries something after all.
    pub(super) fn hopeful(&mut self) {
        self.hopeless = None;
    }

    /// A stream that we opened to send stanzas, and that will never carry any, ends.
    pub(super) fn give_up(mut self: Box<Self>, core: &mut Core, now: Time) -> Next {
        let stanzas = core.opening.as_ref().is_some_and(|opening| opening.purpose == Purpose::Stanzas);
        let idle = !core.pairs.is_authorised() && !core.pairs.is_pending() && core.verifications.is_empty();
        if stanzas
            && idle
            && let Some(reason) = self.hopeless.take()
        {
            self.close(core, now, None, reason);
        }
        Ok(State::Open(self))
    }

    pub(super) fn element(mut self: Box<Self>, core: &mut Core, now: Time, element: &Element) -> Next {
        match element.ns() {
            ns::SERVER => {
                self.used = now;
                self.stanza(core, element)
            }
            ns::SM => self.manages(core, now, element),
            ns::DIALBACK if core.config.dialback => {
                let received = dialback::read(element)?;
                self.dialback(core, now, received)
            }
            // XEP-0288 §2 wants it before authentication, and some send it after SASL: too late, but no fault.
            ns::BIDI if element.name() == "bidi" => Ok(State::Open(self)),
            // S0-10 to S0-12: neither routed nor delivered, whatever `to` says.
            _ => Err(Misbehaved::Element.into()),
        }
    }

    /// Who may send what: each stanza has a sender whose domain is carried for the addressed domain (RFC 6120 §8.1.1.2, §8.1.2.2).
    fn stanza(mut self: Box<Self>, core: &mut Core, element: &Element) -> Next {
        let mut stanza = match Stanza::from_element(element.clone()) {
            Ok(stanza) => stanza,
            Err(fault) => return self.malformed(core, element, &fault),
        };
        let (Some(to), Some(from)) = (stanza.to(), stanza.from()) else {
            return Err(Misbehaved::Addressing.into());
        };
        let standing = standing(core, to.domain(), from.domain())?;
        if stanza.lang().is_none() && core.lang.is_some() {
            stanza.set_lang(core.lang.as_deref());
        }
        let number = self.ledger.receive();
        match standing {
            Standing::Carried(pair) => {
                core.wire.event(Event::Stanza { pair, number, stanza: Box::new(stanza) });
            }
            Standing::Strange => {
                let reply = stanza.error(StanzaError::new(Condition::NotAuthorized)).map(Box::new);
                core.wire.event(Event::Rejected { number, reply });
                self.ledger.answered(number);
            }
        }
        Ok(State::Open(self))
    }

    /// What a peer passes on for somebody else may be malformed without its own fault, as long as the domains are good.
    fn malformed(mut self: Box<Self>, core: &mut Core, element: &Element, fault: &StanzaFault) -> Next {
        if !matches!(element.name(), "message" | "presence" | "iq") {
            return Err(Misbehaved::Element.into());
        }
        let domain = |attr| {
            let address = element.attr(attr)?;
            let bare = address.split_once('/').map_or(&*address, |(bare, _)| bare);
            jid::prepare_domain(bare.split_once('@').map_or(bare, |(_, domain)| domain)).ok()
        };
        let (Some(to), Some(from)) = (domain("to"), domain("from")) else {
            return Err(Misbehaved::Addressing.into());
        };
        standing(core, &to, &from)?;
        let number = self.ledger.receive();
        // Without an address nobody can be answered.
        let reply = fault.reply(element).filter(|reply| reply.to().is_some()).map(Box::new);
        core.wire.event(Event::Rejected { number, reply });
        self.ledger.answered(number);
        Ok(State::Open(self))
    }

    fn manages(mut self: Box<Self>, core: &mut Core, now: Time, element: &Element) -> Next {
        match (element.name(), &mut self.management) {
            ("enable" | "resume", _) if core.opening.is_some() => return Err(Misbehaved::Element.into()),
            ("enable", _) if !core.config.stream_management => {
                core.wire.send_builder(&sm::failed(Condition::FeatureNotImplemented, None));
            }
            // XEP-0198 §3: not before authentication, by dialback for instance.
            ("enable", Management::Off | Management::Refused) if !core.pairs.is_authorised() => {
                core.wire.send_builder(&sm::failed(Condition::UnexpectedRequest, None));
            }
            ("enable", Management::Off | Management::Refused) => self.enabled_by_peer(core, element),
            // XEP-0198 §3: at most one attempt.
            ("enable", _) => {
                core.wire.send_builder(&sm::failed(Condition::UnexpectedRequest, None));
                return Err(Misbehaved::EnabledTwice.into());
            }
            ("resume", _) => self.resume(core, element),
            ("resumed", Management::Resuming(previous)) => {
                let previous = previous.clone();
                self.resumed_by_peer(core, element, previous)?;
            }
            ("failed", Management::Resuming(previous)) => {
                let previous = previous.clone();
                self.refused_by_peer(core, element, &previous);
            }
            ("enabled", Management::Asked(outbound)) => {
                let outbound = outbound.clone();
                let id = self.resumable(core, element);
                let counters = Counters::new(outbound, self.ledger.received(), id);
                if counters.outbound.open() {
                    core.timers.set(Timer::Quiet, now + core.config.pace.quiet);
                }
                self.management = Management::On(counters);
            }
            ("failed", Management::Asked(_)) => {
                core.timers.clear(Timer::Quiet);
                core.wire.event(Event::Unmanaged);
                self.management = Management::Failed;
            }
            ("r", Management::On(counters)) => {
                let deadline = now + core.config.pace.answer_within;
                if counters.inbound.requested(self.ledger.received(), self.ledger.handled(), deadline) {
                    counters.tell(core, self.ledger.handled());
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

    pub(super) fn command(mut self: Box<Self>, core: &mut Core, now: Time, command: Command) -> Next {
        match command {
            Command::Stanza(bytes) => {
                let waits = matches!(self.management, Management::Resuming(_)) || self.first.is_some();
                if core.pairs.is_authorised()
                    && core.way() != Way::In
                    && !waits
                    && core.wire.send_bytes(bytes)
                {
                    core.sent += 1;
                    self.used = now;
                    self.count(core, now);
                }
            }
            Command::Handled { number } => {
                self.ledger.handle(number);
                self.acknowledge(core, now);
                if self.finishing() && self.ledger.is_done() {
                    return Ok(self.finish(core));
                }
            }
            Command::Assert { pair, key } => return self.assert(core, now, pair, &key),
            Command::Decide { pair, outcome } => return self.decide(core, now, &pair, outcome),
            Command::Verify { pair, id, key } if !self.is_closing() => {
                assert::verify(core, now, pair, id, key, true);
            }
            Command::Verify { pair, id, .. } => {
                core.wire.event(Event::Verified { pair, id, outcome: Err(DialbackError::Ended) });
            }
            Command::Revoke { pair } => return Ok(self.revoke(core, now, &pair)),
            Command::Close(error) if self.finishing() => {
                core.close_all(error.as_ref(), Reason::Peer, true);
                return Ok(State::Ended);
            }
            Command::Close(error) => self.close(core, now, error.as_ref(), Reason::Host),
            Command::Supersede => {
                self.leave(core);
                let end = core.ending(Reason::Superseded, false, None);
                core.end(end, Close::Abort);
                return Ok(State::Ended);
            }
        }
        Ok(State::Open(self))
    }

    /// Closes our stream; the peer's closing tag is waited for.
    pub(super) fn close(&mut self, core: &mut Core, now: Time, error: Option<&StreamError>, reason: Reason) {
        if !self.is_closing() {
            self.last_word(core);
            core.close_stream(error);
            core.timers.clear_all();
            core.timers.set(Timer::Closing, now + core.config.closing);
            self.closing = Closing::Ours(error.map(|error| error.condition), reason);
        }
    }

    /// One more stanza went out: ask for an acknowledgement after some, or when it gets quiet.
    fn count(&mut self, core: &mut Core, now: Time) {
        match &mut self.management {
            // Before `<enabled/>` there is nobody to ask.
            Management::Asked(outbound) => {
                outbound.sent();
            }
            Management::On(counters) => {
                if counters.outbound.sent() >= core.config.pace.every {
                    request(core, counters);
                } else {
                    core.timers.set(Timer::Quiet, now + core.config.pace.quiet);
                }
            }
            Management::Off | Management::Refused | Management::Resuming(_) | Management::Failed => {}
        }
    }

    /// Sends the answers to `<r/>` that have become due.
    fn acknowledge(&mut self, core: &mut Core, now: Time) {
        let Management::On(counters) = &mut self.management else { return };
        if counters.inbound.due(self.ledger.handled(), now) {
            counters.tell(core, self.ledger.handled());
        }
        match counters.inbound.deadline() {
            Some(at) => core.timers.set(Timer::Answer, at),
            None => core.timers.clear(Timer::Answer),
        }
    }

    /// Before our closing tag: whatever is handled and was not told, so that nobody sends it again.
    fn last_word(&mut self, core: &mut Core) {
        let handled = self.ledger.handled();
        if let Management::On(counters) = &mut self.management
            && counters.told < handled
        {
            counters.tell(core, handled);
        }
    }

    pub(super) fn timer(mut self: Box<Self>, core: &mut Core, now: Time, timer: Timer) -> Next {
        match timer {
            Timer::Negotiation => return self.negotiation(core, now),
            Timer::Dialback => return self.late(core, now),
            Timer::Answer => self.acknowledge(core, now),
            Timer::Quiet => {
                if let Management::On(counters) = &mut self.management {
                    request(core, counters);
                }
            }
            Timer::Resuming => return Err(Refused::Slow.into()),
            Timer::Idle => return self.idle(core, now),
            Timer::Unused => self.unused(core, now),
            Timer::Closing => {
                return Ok(match self.closing {
                    Closing::Ours(error, reason) => {
                        // S0-21 (3): the stream is void.
                        let end = super::End { error, ..core.ending(reason, false, None) };
                        core.end(end, Close::Orderly);
                        State::Ended
                    }
                    _ => self.finish(core),
                });
            }
        }
        Ok(State::Open(self))
    }

    /// The time is over in which a pair should have been authorised.
    fn negotiation(self: Box<Self>, core: &mut Core, now: Time) -> Next {
        if core.pairs.is_authorised() || self.is_closing() {
            return Ok(State::Open(self));
        }
        if core.pairs.is_pending() || !core.verifications.is_empty() {
            let at = core.timers.get(Timer::Dialback).unwrap_or(now + core.config.negotiation);
            core.timers.set(Timer::Negotiation, at);
            return Ok(State::Open(self));
        }
        super::receive::ExpectAuth::late(core)
    }

    fn unused(&mut self, core: &mut Core, now: Time) {
        let Some(unused) = core.config.unused else { return };
        let due = self.used + unused;
        if due > now {
            core.timers.set(Timer::Unused, due);
        } else if core.pairs.is_pending() || !core.verifications.is_empty() || !self.ledger.is_done() {
            core.timers.set(Timer::Unused, now + unused);
        } else {
            self.close(core, now, None, Reason::Unused);
        }
    }

    /// The idle timer fired; whether it is really quiet is looked at only now, so that traffic costs nothing.
    fn idle(mut self: Box<Self>, core: &mut Core, now: Time) -> Next {
        let Some(idle) = core.config.idle else { return Ok(State::Open(self)) };
        if let Management::On(_) = self.management
            && let Some(probed) = self.probed.take()
            && core.heard <= probed
        {
            self.leave(core);
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
                core.timers.set(Timer::Idle, now + idle.after);
            }
        }
        Ok(State::Open(self))
    }

    /// The peer's closing tag.
    pub(super) fn peer_closed(mut self: Box<Self>, core: &mut Core, now: Time) -> State {
        match self.closing {
            Closing::Ours(error, reason) => {
                let end = super::End { error, ..core.ending(reason, true, None) };
                core.end(end, Close::Orderly);
                State::Ended
            }
            _ if self.ledger.is_done() => self.finish(core),
            _ => {
                self.closing = Closing::Peer;
                core.timers.clear(Timer::Idle);
                core.timers.clear(Timer::Unused);
                core.timers.set(Timer::Closing, now + core.config.closing);
                core.wire.event(Event::Finishing);
                State::Open(self)
            }
        }
    }

    fn finish(mut self: Box<Self>, core: &mut Core) -> State {
        self.last_word(core);
        core.close_all(None, Reason::Peer, true);
        State::Ended
    }

    /// The end of the peer's direction.
    pub(super) fn cut(self, core: &mut Core, eof: Eof) -> (Reason, bool, Option<StreamCondition>) {
        self.leave(core);
        match self.closing {
            Closing::No => (lost(eof), false, None),
            Closing::Peer => (Reason::Peer, true, None),
            Closing::Ours(error, reason) => (reason, false, error),
        }
    }
}

fn standing(core: &Core, local: &str, remote: &str) -> Result<Standing, Error> {
    if let Some(entry) = core.pairs.get(local, remote).filter(|entry| entry.receives) {
        return Ok(Standing::Carried(entry.pair.clone()));
    }
    if core.pairs.of(remote).any(|entry| entry.receives || entry.revoked) {
        return Ok(Standing::Strange);
    }
    // S0-20: on a stream that goes one way the other end says nothing.
    if core.way() == Way::Out || !core.pairs.is_authorised() {
        return Err(Misbehaved::Unauthenticated.into());
    }
    Err(Misbehaved::From.into())
}

fn request(core: &mut Core, counters: &mut Counters) {
    core.wire.send(sm::REQUEST);
    counters.outbound.requested();
    core.timers.clear(Timer::Quiet);
}
