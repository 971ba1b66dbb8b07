//! What accounts send on their own behalf: their outboxes are routed in order, by one at a time.

use std::sync::Arc;

use nuncio_xmpp::stanza::Stanza;

use crate::lane::{Lane, Outbox, Parcel};
use crate::route::Target;
use crate::router::Router;

impl Router {
    /// What waits in an account's outbox is routed, in order, and so is what that puts into other outboxes. Returns
    /// once everything is routed that was in this one when it was called.
    pub(crate) async fn route_outbox(self: &Arc<Self>, lane: &Arc<Lane>) {
        let mine = lane.outbox(|outbox| outbox.pushed);
        let mut work = vec![Arc::clone(lane)];
        while let Some(next) = work.pop() {
            let Some(drain) = Drain::begin(self, &next) else {
                continue;
            };
            while let Some(front) = drain.front() {
                let target = match self.located(&front.stanza) {
                    Ok(target) => target,
                    Err(account) => {
                        drain.keep(front.clone());
                        let target = Box::pin(self.load_target(account)).await;
                        drain.kept();
                        target
                    }
                };
                // Nothing is awaited from here to the parcel's arrival: it is routed once even if this future is dropped.
                let arrival = match target {
                    Target::Elsewhere => self.depart(&front.stanza, front.bounces, false),
                    _ => self.arrive(&target, &front.stanza, false),
                };
                if let Some(ticket) = arrival.ticket.filter(|ticket| !ticket.is_done()) {
                    next.outbox(|outbox| outbox.written = Some(ticket));
                }
                if let Some(error) = arrival.refusal
                    && front.bounces
                    && let Some(bounce) = front.stanza.error(*error)
                {
                    self.metrics().bounced.inc();
                    next.outbox(|outbox| outbox.push(bounce));
                }
                if let Some(answer) = arrival.answer {
                    next.outbox(|outbox| outbox.push(*answer));
                }
                if let Some(at) = arrival.ask {
                    let (router, stanza) = (Arc::clone(self), front.stanza);
                    self.spawn(router.ask_beside(at, stanza));
                }
                work.extend(arrival.lane);
            }
        }
        // Somebody else may be at it.
        loop {
            let drained = lane.drained.notified();
            let mut drained = std::pin::pin!(drained);
            drained.as_mut().enable();
            if lane.outbox(|outbox| outbox.routed >= mine || !outbox.draining) {
                return;
            }
            drained.await;
        }
    }
}

/// Somebody routes an outbox; only one at a time. If that is interrupted, the rest is routed beside.
struct Drain<'a> {
    router: &'a Arc<Router>,
    lane: &'a Arc<Lane>,
}

impl<'a> Drain<'a> {
    fn begin(router: &'a Arc<Router>, lane: &'a Arc<Lane>) -> Option<Self> {
        let begun = lane.outbox(|outbox| {
            let idle = !outbox.waiting.is_empty() && !outbox.draining;
            outbox.draining |= idle;
            idle
        });
        begun.then_some(Self { router, lane })
    }

    /// The next parcel, which is being routed from here on: those before it are. None ends the draining in the same moment.
    fn front(&self) -> Option<Parcel> {
        let front = self.lane.outbox(|outbox| {
            let front = outbox.waiting.pop_front();
            outbox.routed = outbox.pushed - outbox.waiting.len() as u64 - u64::from(front.is_some());
            outbox.draining = front.is_some();
            front
        });
        self.lane.drained.notify_waiters();
        front
    }

    /// While something is awaited the parcel stays where it is found if this future is dropped.
    fn keep(&self, front: Parcel) {
        self.lane.outbox(|outbox| outbox.waiting.push_front(front));
    }

    fn kept(&self) {
        self.lane.outbox(|outbox| _ = outbox.waiting.pop_front());
    }
}

impl Drop for Drain<'_> {
    fn drop(&mut self) {
        let rest =
            self.lane.outbox(|outbox| std::mem::take(&mut outbox.draining) && !outbox.waiting.is_empty());
        self.lane.drained.notify_waiters();
        if rest {
            let (router, lane) = (Arc::clone(self.router), Arc::clone(self.lane));
            self.router.spawn(async move { Box::pin(router.route_outbox(&lane)).await });
        }
    }
}

impl Outbox {
    fn push(&mut self, stanza: Stanza) {
        self.waiting.push_back(Parcel { stanza, bounces: false });
        self.pushed += 1;
    }
}
