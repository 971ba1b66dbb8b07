//! Streams that outlive their connection (XEP-0198 §5): once a peer has authenticated anew, what was handled of the stream before is told and the rest is sent
//! again.

use nuncio_sansio::Time;
use nuncio_xmpp::error::Condition;
use nuncio_xmpp::ns;
use nuncio_xmpp::xml::{Builder, Element};

use super::api::{By, Event, NotResumed, Pair, Previous, Question};
use super::core::{Core, Timer};
use super::open::{Counters, Management, Open};
use super::{Next, State};
use crate::error::{Misbehaved, Ours};
use crate::sm::{self, Inbound, Outbound};

/// A longer id of a peer is not kept.
const ID: usize = 1_024;

impl Open {
    /// As initiator: the peer has accepted us for the first pair. Before it is used the host may remember a stream to be resumed, which it is asked about;
    /// else stream management is enabled.
    pub(super) fn begin(mut self: Box<Self>, core: &mut Core, now: Time, pair: Pair, by: By) -> Next {
        if self.may_manage(core) && core.config.resume.is_some() {
            core.ask(Question::Previous { pair: pair.clone() });
            self.first = Some((pair, by));
            return Ok(State::Open(self));
        }
        self.enable(core);
        self.begun(core, now, pair, by)
    }

    /// The host has remembered, or not.
    pub(super) fn previous(
        mut self: Box<Self>,
        core: &mut Core,
        now: Time,
        previous: Option<Previous>,
    ) -> Next {
        let (pair, by) = self.first.take().ok_or(Ours::Answer)?;
        match previous {
            _ if self.is_closing() => return Ok(State::Open(self)),
            Some(previous) => {
                let resume =
                    Builder::new("resume", ns::SM).attr("previd", &previous.id).attr("h", previous.inbound);
                core.wire.send_builder(&resume);
                core.timers.set(Timer::Resuming, now + core.config.negotiation);
                self.management = Management::Resuming(previous);
            }
            None => self.enable(core),
        }
        self.begun(core, now, pair, by)
    }

    /// The first pair may be used.
    fn begun(self: Box<Self>, core: &mut Core, now: Time, pair: Pair, by: By) -> Next {
        core.authorise(now, &pair, by);
        match by {
            By::Dialback => self.settle(core, now, pair, Ok(())),
            By::External => {
                self.ready(core, now);
                Ok(State::Open(self))
            }
        }
    }

    /// Whether nothing was tried yet.
    fn may_manage(&self, core: &Core) -> bool {
        let can = core.opening.is_some() && core.config.stream_management && core.offers.stream_management;
        can && matches!(self.management, Management::Off)
    }

    /// As initiator: enables stream management, once.
    fn enable(&mut self, core: &mut Core) {
        if self.may_manage(core) {
            let enable = Builder::new("enable", ns::SM);
            core.wire.send_builder(&enable.attr_opt("resume", core.config.resume.map(|_| "true")));
            core.wire.event(Event::Managed);
            self.management = Management::Asked(Outbound::new(0, 0));
        }
    }

    /// The peer wants management, and to be able to resume if we let it.
    pub(super) fn enabled_by_peer(&mut self, core: &mut Core, element: &Element) {
        let within = core.config.resume.filter(|_| sm::read_bool(element.attr("resume").as_deref()));
        let id = within.map(|_| core.entropy.token());
        let enabled = Builder::new("enabled", ns::SM)
            .attr_opt("id", id.as_deref())
            .attr_opt("resume", id.as_ref().map(|_| "true"))
            .attr_opt("max", within.map(|within| within.as_secs()));
        core.wire.send_builder(&enabled);
        core.wire.event(Event::Managed);
        if let (Some(id), Some(within)) = (&id, within) {
            core.wire.event(Event::Resumable { id: id.clone(), within });
        }
        self.management = Management::On(Counters::new(Outbound::new(0, 0), self.received(), id));
    }

    /// What the peer says of resuming in `<enabled/>`: the id.
    pub(super) fn resumable(&self, core: &mut Core, element: &Element) -> Option<String> {
        let ours = core.config.resume?;
        if !sm::read_bool(element.attr("resume").as_deref()) {
            return None;
        }
        let id = element.attr("id").filter(|id| !id.is_empty() && id.len() <= ID)?.into_owned();
        let max = element.attr("max").and_then(|max| sm::read_u32(&max));
        let within = max.map_or(ours, |max| ours.min(std::time::Duration::from_secs(max.into())));
        core.wire.event(Event::Resumable { id: id.clone(), within });
        Some(id)
    }

    /// `<resume/>`, once the peer is authenticated and before anything else of stream management; one attempt.
    pub(super) fn resume(&mut self, core: &mut Core, element: &Element) {
        let failed = match &self.management {
            _ if !core.config.stream_management || core.config.resume.is_none() => {
                Condition::FeatureNotImplemented
            }
            Management::Off if core.pairs.is_authorised() => {
                match (element.attr("previd"), sm::read_h(element)) {
                    (Some(previd), Some(h)) => {
                        let previd = previd.into_owned();
                        core.ask(Question::Resume { previd: previd.clone(), h });
                        self.resuming = Some((previd, h));
                        self.management = Management::Refused;
                        return;
                    }
                    _ => Condition::BadRequest,
                }
            }
            _ => Condition::UnexpectedRequest,
        };
        core.wire.send_builder(&sm::failed(failed, None));
    }

    /// The host has found the stream that the peer would resume, or has not.
    pub(super) fn resumes(mut self: Box<Self>, core: &mut Core, found: Result<Previous, NotResumed>) -> Next {
        let (previd, h) = self.resuming.take().ok_or(Ours::Answer)?;
        match found {
            _ if self.is_closing() => {}
            Ok(previous) => {
                Outbound::new(previous.sent, previous.acked).acked(h)?;
                let resumed =
                    Builder::new("resumed", ns::SM).attr("previd", &previd).attr("h", previous.inbound);
                core.wire.send_builder(&resumed);
                self.go_on(core, previous, h);
            }
            Err(NotResumed { h }) => core.wire.send_builder(&sm::failed(Condition::ItemNotFound, h)),
        }
        Ok(State::Open(self))
    }

    /// `<resumed/>`: the answer to ours.
    pub(super) fn resumed_by_peer(
        &mut self,
        core: &mut Core,
        element: &Element,
        previous: Previous,
    ) -> Result<(), crate::error::Error> {
        core.timers.clear(Timer::Resuming);
        if element.attr("previd").as_deref() != Some(&previous.id) {
            return Err(Misbehaved::Element.into());
        }
        let h = sm::read_h(element).ok_or(Misbehaved::Counter)?;
        Outbound::new(previous.sent, previous.acked).acked(h)?;
        self.go_on(core, previous, h);
        Ok(())
    }

    /// `<failed/>` to our `<resume/>`; it may still say what was handled.
    pub(super) fn refused_by_peer(&mut self, core: &mut Core, element: &Element, previous: &Previous) {
        core.timers.clear(Timer::Resuming);
        let h =
            sm::read_h(element).filter(|h| Outbound::new(previous.sent, previous.acked).acked(*h).is_ok());
        core.wire.event(Event::NotResumed { h });
        self.management = Management::Off;
        self.enable(core);
    }

    /// Both have said what they have handled: whatever came after it is sent again, and counted again.
    fn go_on(&mut self, core: &mut Core, previous: Previous, h: u32) {
        core.wire.event(Event::Resumed { h });
        let inbound = Inbound::new(previous.inbound, self.received());
        let counters =
            Counters { inbound, outbound: Outbound::new(h, h), told: self.received(), id: Some(previous.id) };
        self.management = Management::On(Box::new(counters));
    }

    /// The connection is lost, but not the stream: how far it has come is kept for [`super::End::resumable`].
    pub(super) fn leave(&self, core: &mut Core) {
        if let Management::On(counters) = &self.management
            && let Some(id) = &counters.id
            && !self.is_closing()
        {
            let (sent, acked) = counters.outbound.counts();
            let inbound = counters.inbound.h(self.received());
            core.previous = Some(Previous { id: id.clone(), inbound, sent, acked });
        }
    }
}
