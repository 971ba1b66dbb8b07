//! Requests that the server itself makes: of its clients, and in the name of its domains and accounts of anybody.
//!
//! An answer counts only if it goes from whom was asked to who asked ([`nuncio_stream::iq`], S4-07). Every other result or error that is
//! addressed to a domain or an account of ours ends here in silence (RFC 6120 §8.2.3).

use std::sync::Arc;
use std::time::Duration;

use nuncio_sansio::Time;
use nuncio_stream::iq::{Line, Refused, Server, Tracker};
use nuncio_xmpp::error::{Condition, StanzaError};
use nuncio_xmpp::jid::Jid;
use nuncio_xmpp::stanza::{IqType, Kind, Stanza, iq};
use nuncio_xmpp::xml::Builder;
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::points::Boxed;
use crate::router::Router;
use crate::session::Session;

/// Requests that may wait at once.
const MOST: usize = 1 << 16;

/// Why a request has no result.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// The answer is an error, or the request could not be delivered.
    #[error("the answer is an error: {}", .0.condition.as_str())]
    Refused(StanzaError),
    /// No answer came in time.
    #[error("no answer came in time")]
    Timeout,
    /// It was not sent.
    #[error(transparent)]
    Unsent(#[from] Refused),
}

/// The requests that wait.
pub(crate) struct Requests {
    origin: Instant,
    waiting: Mutex<Tracker<Server, oneshot::Sender<Stanza>>>,
}

impl Requests {
    pub(crate) fn new() -> Self {
        Self { origin: Instant::now(), waiting: Mutex::new(Tracker::new(Server, MOST)) }
    }

    fn now(&self) -> Time {
        Time::from_origin(self.origin.elapsed())
    }

    /// Ends all whose time is over: each asker finds the other end of its channel gone.
    fn expire(&self) {
        let now = self.now();
        let mut waiting = self.waiting.lock();
        while waiting.expired(now).is_some() {}
    }
}

/// A request that is forgotten once its asker has gone.
struct Asked<'a> {
    requests: &'a Requests,
    line: Line,
    id: String,
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        self.requests.waiting.lock().forget(self.line.clone(), &self.id);
    }
}

impl Router {
    /// Asks `to` something in the name of `from`, one of our domains or accounts, and waits for the answer; `kind` is get or set. The
    /// result counts only if it comes from `to`, whatever else comes with its id (S4-04 to S4-07). Dropping the future forgets the request.
    ///
    /// # Errors
    /// See [`RequestError`].
    pub async fn request(
        self: &Arc<Self>,
        kind: IqType,
        from: &Jid,
        to: &Jid,
        payload: Builder,
        within: Duration,
    ) -> Result<Stanza, RequestError> {
        let requests = self.requests();
        let deadline = requests.now() + within;
        let line = Server::line(from, to);
        let (answer, answered) = oneshot::channel();
        let id = requests.waiting.lock().ask(line.clone(), Some(deadline), answer, self.entropy())?;
        let asked = Asked { requests, line, id };
        let stanza = iq(kind, &asked.id).from(from.clone()).to(to.clone()).child(payload).build();
        self.metrics().requests.inc();
        self.dispatch(stanza).await.map_err(RequestError::Refused)?;
        tokio::select! {
            biased;
            answer = answered => match answer {
                Ok(answer) => result(answer),
                Err(_) => Err(RequestError::Timeout),
            },
            () = tokio::time::sleep_until(requests.origin + deadline.since_origin()) => {
                requests.expire();
                self.metrics().requests_unanswered.inc();
                Err(RequestError::Timeout)
            }
        }
    }

    /// Sends a request of the server's own on its way: it has passed no gate of a sender, since it has none.
    async fn dispatch(self: &Arc<Self>, stanza: Stanza) -> Result<(), StanzaError> {
        let target = self.locate(&stanza).await;
        let arrival = self.arrive(&target, &stanza, false);
        if let Some(lane) = &arrival.lane {
            self.route_outbox(lane).await;
        }
        if let Some(at) = arrival.ask {
            self.spawn(Arc::clone(self).ask_beside(at, stanza));
        }
        arrival.refusal.map_or(Ok(()), |error| Err(*error))
    }

    /// A result or error came to one of our domains, or to an account rather than a resource of it.
    pub(crate) fn answered(&self, answer: &Stanza) {
        let waiting = self.requests().waiting.lock().settle(answer);
        match waiting {
            // Whoever asked may have gone.
            Some(waiting) => drop(waiting.send(answer.clone())),
            None => {
                self.metrics().answers_ignored.inc();
                tracing::debug!(from = ?answer.from(), to = ?answer.to(), id = ?answer.id(), "an answer that no request waits for is ignored");
            }
        }
    }

    /// Asks a silent client whether it is there, if an extension knows how. Resolves once it has answered or did not; true: it did not.
    pub(crate) fn probe(
        self: &Arc<Self>,
        session: &Session,
        within: Duration,
    ) -> Option<Boxed<'static, bool>> {
        let payload = self.points().probe()?.clone();
        let to = session.jid().clone();
        let server = Jid::from_parts(None, to.domain(), None).ok()?;
        let router = Arc::clone(self);
        Some(Box::pin(async move {
            let answer = router.request(IqType::Get, &server, &to, payload, within).await;
            matches!(answer, Err(RequestError::Timeout))
        }))
    }

    /// Whether an address is that of a domain of ours, which sees the presence of its accounts.
    pub(crate) fn is_own_domain(&self, jid: &Jid) -> bool {
        jid.is_domain() && self.domain(jid.domain()).is_some()
    }
}

fn result(answer: Stanza) -> Result<Stanza, RequestError> {
    if answer.kind() != Kind::Iq(IqType::Error) {
        return Ok(answer);
    }
    let error = answer.own_child("error").and_then(StanzaError::parse);
    Err(RequestError::Refused(error.unwrap_or_else(|| StanzaError::new(Condition::UndefinedCondition))))
}
