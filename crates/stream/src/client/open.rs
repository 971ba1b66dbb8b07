//! A bound stream, as the client sees it.

use bytes::Bytes;
use nuncio_sansio::{Close, Time};
use nuncio_xmpp::error::{Condition, StreamError};
use nuncio_xmpp::jid::Jid;
use nuncio_xmpp::ns;
use nuncio_xmpp::stanza::Stanza;
use nuncio_xmpp::xml::{Builder, Element};

use super::api::{Command, Event, Reason, Resumption};
use super::core::{Core, Counters, Management, Session, Timer};
use super::{Next, State};
use crate::error::{Error, Misbehaved, Refused};
use crate::sm::{self, Outbound};

/// A stream with a bound resource.
pub(super) struct Open {
    jid: Jid,
    probed: Option<Time>,
    /// Our closing tag is sent, with that error.
    closing: Option<Option<StreamError>>,
}

impl Open {
    pub(super) fn bound(core: &mut Core, now: Time, jid: Jid, management: bool) -> Self {
        if management {
            core.wire.send_builder(&Builder::new("enable", ns::SM).attr("resume", "true"));
            core.management = Management::Asked(Counters::new(0, 0, None));
        } else if core.config.stream_management {
            core.wire.event(Event::Unmanaged(None));
        }
        Self::start(core, now, jid)
    }

    /// XEP-0198 §5: what the server has handled is done, the rest is sent again, before anything new.
    pub(super) fn resumed(core: &mut Core, now: Time, old: Resumption, h: u32) -> Result<Self, Error> {
        let Resumption { id, jid, inbound, acked, unacked, location } = old;
        // Queues are far shorter than 2^32.
        let sent = acked.wrapping_add(unacked.len() as u32);
        let fresh = match Outbound::new(sent, acked).acked(h) {
            Ok(fresh) => fresh,
            Err(error) => {
                // The session is worth nothing, what was sent in it is.
                core.waiting.extend(unacked);
                return Err(error.into());
            }
        };
        core.wire.event(Event::Resumed(jid.clone()));
        if fresh > 0 {
            core.wire.event(Event::Acked { fresh });
        }
        for bytes in unacked.into_iter().skip(fresh as usize).rev() {
            core.waiting.push_front(bytes);
        }
        let session = Session { id, jid: jid.clone(), location };
        core.management = Management::On(Counters::new(inbound, h, Some(session)));
        Ok(Self::start(core, now, jid))
    }

    fn start(core: &mut Core, now: Time, jid: Jid) -> Self {
        if let Some(idle) = core.config.idle {
            core.timers.set(Timer::Idle, now + idle.after);
        }
        while let Some(bytes) = core.waiting.pop_front() {
            send(core, now, bytes);
        }
        Self { jid, probed: None, closing: None }
    }

    pub(super) fn is_closing(&self) -> bool {
        self.closing.is_some()
    }

    pub(super) fn element(self: Box<Self>, core: &mut Core, element: Element) -> Next {
        match element.ns() {
            ns::CLIENT => {
                if let Management::On(counters) = &mut core.management {
                    counters.inbound = counters.inbound.wrapping_add(1);
                }
                match Stanza::from_element(element.clone()) {
                    Ok(stanza) => core.wire.event(Event::Stanza(stanza)),
                    Err(fault) => core.wire.event(Event::Invalid(element, fault)),
                }
            }
            ns::SM => self.manage(core, &element)?,
            _ => core.wire.event(Event::Nonza(element)),
        }
        Ok(State::Open(self))
    }

    fn manage(&self, core: &mut Core, element: &Element) -> Result<(), Error> {
        match (element.name(), &mut core.management) {
            ("r", Management::On(counters)) => core.wire.send(&sm::answer(counters.inbound)),
            ("a", Management::On(counters)) => {
                let h = sm::read_h(element).ok_or(Misbehaved::Counter)?;
                let fresh = counters.acked(h)?;
                if !counters.outbound.open() {
                    core.timers.clear(Timer::Quiet);
                }
                core.wire.event(Event::Acked { fresh });
            }
            ("enabled" | "failed", Management::Asked(_)) => self.settle(core, element),
            _ => return Err(Misbehaved::Element.into()),
        }
        Ok(())
    }

    /// The answer to `<enable/>`.
    fn settle(&self, core: &mut Core, element: &Element) {
        let management = std::mem::replace(&mut core.management, Management::Off);
        let Management::Asked(mut counters) = management else { return };
        if element.name() == "failed" {
            let condition = element.children().find_map(|child| Condition::from_word(child.name()));
            core.wire.event(Event::Unmanaged(condition));
            core.timers.clear(Timer::Quiet);
            return;
        }
        let resumable = sm::read_bool(element.attr("resume").as_deref());
        let location = element.attr("location").map(std::borrow::Cow::into_owned);
        let id = element.attr("id").map(std::borrow::Cow::into_owned).filter(|_| resumable);
        counters.session = id.map(|id| Session { id, jid: self.jid.clone(), location });
        core.wire.event(Event::Enabled { resumable: counters.session.is_some() });
        core.management = Management::On(counters);
    }

    pub(super) fn command(mut self: Box<Self>, core: &mut Core, now: Time, command: Command) -> State {
        match command {
            Command::Stanza(bytes) => send(core, now, bytes),
            Command::Nonza(bytes) => {
                core.wire.send_bytes(bytes);
            }
            Command::Close(error) if self.closing.is_none() => {
                // XEP-0198 §4: a last count, so that nothing is sent again that came.
                if let Management::On(counters) = &core.management {
                    core.wire.send(&sm::answer(counters.inbound));
                }
                core.close_stream(error.as_ref());
                core.timers.clear_all();
                core.timers.set(Timer::Closing, now + core.config.closing);
                self.closing = Some(error);
            }
            Command::Close(_) => {}
        }
        State::Open(self)
    }

    pub(super) fn timer(mut self: Box<Self>, core: &mut Core, now: Time, timer: Timer) -> Next {
        match timer {
            Timer::Quiet => {
                if !request(core) && matches!(core.management, Management::Asked(_)) {
                    core.timers.set(Timer::Quiet, now + core.config.pace.quiet);
                }
            }
            Timer::Idle => return self.idle(core, now),
            Timer::Closing => {
                let error = self.closing.take().flatten();
                core.end(Reason::Host, false, error.as_ref(), Close::Orderly);
                return Ok(State::Ended);
            }
            Timer::Negotiation => {}
        }
        Ok(State::Open(self))
    }

    fn idle(mut self: Box<Self>, core: &mut Core, now: Time) -> Next {
        let Some(idle) = core.config.idle else { return Ok(State::Open(self)) };
        if let Some(probed) = self.probed.take()
            && core.heard <= probed
        {
            return Err(Refused::Silent.into());
        }
        let due = core.heard + idle.after;
        if due > now {
            core.timers.set(Timer::Idle, due);
            return Ok(State::Open(self));
        }
        if request(core) {
            self.probed = Some(now);
            core.timers.set(Timer::Idle, now + idle.answer_within);
        } else {
            core.wire.send(b" ");
            core.timers.set(Timer::Idle, now + idle.after);
        }
        Ok(State::Open(self))
    }
}

/// Sends a stanza, or keeps it if our stream is closed.
fn send(core: &mut Core, now: Time, bytes: Bytes) {
    if !core.wire.send_bytes(bytes.clone()) {
        core.waiting.push_back(bytes);
        return;
    }
    let (Management::On(counters) | Management::Asked(counters)) = &mut core.management else { return };
    counters.unacked.push_back(bytes);
    let asked = counters.outbound.sent();
    // Before `<enabled/>` there is nobody to ask.
    if asked >= core.config.pace.every && request(core) {
        return;
    }
    core.timers.set(Timer::Quiet, now + core.config.pace.quiet);
}

/// Asks for an acknowledgement, once stream management is on.
fn request(core: &mut Core) -> bool {
    let Management::On(counters) = &mut core.management else { return false };
    core.wire.send(sm::REQUEST);
    counters.outbound.requested();
    core.timers.clear(Timer::Quiet);
    true
}
