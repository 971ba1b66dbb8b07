//! Other domains: where what is for them leaves, and where what comes from them enters.
//!
//! Who carries stanzas between servers is told to the router once ([`Router::federate`]); it is [`Elsewhere`] to the router. Nothing enters from
//! there without a [`ProvenDomain`], which only `nuncio_dna::judge` makes (S3-01).

use std::sync::{Arc, Weak};

use nuncio_dna::{Domain, ProvenDomain};
use nuncio_store::Ticket;
use nuncio_xmpp::error::{Condition, StanzaError, StreamCondition, StreamError};
use nuncio_xmpp::jid::Jid;
use nuncio_xmpp::stanza::Stanza;
use serde_json::Value;

use crate::commands::Refused;
use crate::points::{PoliceAt, StampAt, Standing, Verdict};
use crate::route::Arrival;
use crate::router::Router;

/// Whoever carries stanzas to other domains.
pub trait Elsewhere: Send + Sync + 'static {
    /// Takes a stanza from one of our domains to one that is not ours; both addresses are set. Never waits. What cannot be delivered later comes
    /// back by [`Router::undelivered`], if `bounces`. `durable`: the sender counts on what it is told was handled, which is when the ticket resolves.
    ///
    /// # Errors
    /// It cannot be taken: its sender gets this.
    fn send(&self, stanza: &Stanza, bounces: bool, durable: bool) -> Result<Ticket, Box<StanzaError>>;

    /// Every stream and every pair of domains, as the command `federation.list` shows them: an object with one list.
    fn list(&self) -> Value;

    /// What is known about one other domain, and why.
    ///
    /// # Errors
    /// It is no domain, or one of ours.
    fn explain(&self, domain: &str) -> Result<Value, Refused>;
}

impl Router {
    /// Names who carries stanzas to other domains; before that, and once it is gone, there are none. The first one stays.
    pub fn federate(&self, elsewhere: Weak<dyn Elsewhere>) {
        drop(self.elsewhere.set(elsewhere));
    }

    /// Who carries stanzas to other domains, if anybody does.
    pub(crate) fn elsewhere(&self) -> Option<Arc<dyn Elsewhere>> {
        self.elsewhere.get()?.upgrade()
    }

    /// A stanza leaves for another domain.
    pub(crate) fn depart(&self, stanza: &Stanza, bounces: bool, durable: bool) -> Arrival {
        let taken = match self.elsewhere() {
            Some(elsewhere) => elsewhere.send(stanza, bounces, durable),
            None => Err(Box::new(StanzaError::new(Condition::RemoteServerNotFound))),
        };
        match taken {
            Ok(ticket) => Arrival { ticket: Some(ticket), ..Arrival::default() },
            Err(error) => Arrival { refusal: Some(error), ..Arrival::default() },
        }
    }

    /// Takes a stanza of another server, for whose domain there is this proof. Returns once it is routed and handled (RFC 6120 §10.1); the ticket
    /// resolves once it is durable too and may be acknowledged. `managed`: the peer counts on what it is told was handled (XEP-0198).
    ///
    /// # Errors
    /// The stanza is from somebody else than was proven, or not to us: the stream is to be closed with this error.
    pub async fn receive(
        self: &Arc<Self>,
        proof: &ProvenDomain,
        mut stanza: Stanza,
        managed: bool,
    ) -> Result<Ticket, StreamError> {
        let Some(from) = stanza.from().filter(|from| speaks_for(proof, from)) else {
            return Err(StreamError::new(StreamCondition::InvalidFrom));
        };
        // From a domain of ours it cannot be, whatever the proof says: a stanza of ours never comes from outside.
        if self.domain(from.domain()).is_some() {
            return Err(StreamError::new(StreamCondition::InvalidFrom));
        }
        match stanza.to() {
            None => return Err(StreamError::new(StreamCondition::ImproperAddressing)),
            Some(to) if self.domain(to.domain()).is_none() => {
                return Err(StreamError::new(StreamCondition::HostUnknown));
            }
            Some(_) => {}
        }
        self.metrics().from_elsewhere.inc();
        self.undate(&mut stanza);
        let at = Standing { cx: self.cx(), account: None, session: None };
        match self.points().police(PoliceAt::Entering, &at, &stanza) {
            Verdict::Pass => {}
            refused @ (Verdict::Refuse(_) | Verdict::Drop) => {
                self.metrics().refused.inc();
                if let Verdict::Refuse(error) = refused {
                    self.reply(stanza.error(error));
                }
                return Ok(Ticket::done());
            }
        }
        self.points().stamp(StampAt::Entering, &at, &mut stanza);
        let target = self.locate(&stanza).await;
        let mut arrival = self.arrive(&target, &stanza, managed);
        if let Some(error) = arrival.refusal.take() {
            self.metrics().bounced.inc();
            self.reply(stanza.error(*error));
        }
        self.reply(arrival.answer.take().map(|answer| *answer));
        if let Some(lane) = &arrival.lane {
            self.route_outbox(lane).await;
        }
        if let Some(at) = arrival.ask {
            // One that goes on beside others is not waited for: see `Order`.
            let asked = Arc::clone(self).ask_beside(at, stanza.clone());
            if self.is_aside(at, &stanza) { self.spawn(asked) } else { asked.await }
        }
        Ok(arrival.ticket.unwrap_or_else(Ticket::done))
    }

    /// A stanza that was taken for another domain could not be delivered: its sender gets this error, if it may get one. Nobody answers that.
    pub async fn undelivered(self: &Arc<Self>, stanza: &Stanza, error: StanzaError) {
        let Some(bounce) = stanza.error(error) else { return };
        self.metrics().bounced.inc();
        let target = self.locate(&bounce).await;
        if let Some(lane) = self.arrive(&target, &bounce, false).lane {
            self.route_outbox(&lane).await;
        }
    }

    /// What the router itself answers to somebody elsewhere. Nobody is told if it is not taken.
    fn reply(&self, stanza: Option<Stanza>) {
        if let Some(stanza) = stanza
            && let Some(elsewhere) = self.elsewhere()
            && let Err(error) = elsewhere.send(&stanza, false, false)
        {
            tracing::debug!(to = ?stanza.to(), condition = error.condition.as_str(), "an answer was not taken");
        }
    }
}

/// Whether the proof is one for the domain of this address.
fn speaks_for(proof: &ProvenDomain, from: &Jid) -> bool {
    let proven = proof.domain().as_str();
    from.domain() == proven || Domain::new(from.domain()).is_ok_and(|domain| domain.as_str() == proven)
}
