//! A proof ends with the first piece of its evidence (S3-20): a long stream is proven again before that, or it ends.

use std::future::{Future, pending};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use nuncio_dna::{Decision, Judgement, Time};
use nuncio_sansio::TlsFacts;
use tokio::time::{Sleep, sleep};

use crate::identity::IdentityError;
use crate::session::Inner;
use crate::target::Spot;

/// How long before its end a proof is renewed.
const EARLY: Duration = Duration::from_secs(30);
/// When to try again what may pass, as long as the old proof holds.
const AGAIN: Duration = Duration::from_secs(60);
/// No proof is renewed sooner, however short its evidence lasts.
const LEAST: Duration = Duration::from_secs(1);
/// The time of day is looked at again after this: it may have been set, and machines sleep.
const LONGEST: Duration = Duration::from_secs(600);

type Proving = Pin<Box<dyn Future<Output = Result<Judgement, IdentityError>> + Send>>;

/// The proof of the server of one connection.
pub(crate) struct Renewal {
    inner: Arc<Inner>,
    tls: TlsFacts,
    spot: Spot,
    /// When it ends.
    until: Time,
    /// When it is renewed.
    due: Time,
    state: State,
}

enum State {
    Rests(Pin<Box<Sleep>>),
    /// Nobody waits for the lock: it is there because a session's task may be looked at from other threads.
    Proves(Mutex<Proving>),
    Over,
}

fn now() -> Time {
    SystemTime::now().into()
}

/// When policy is no longer fulfilled, and when the first proof ends that does; never for what does not end.
fn ends(judgement: &Judgement) -> (Time, Time) {
    match &judgement.decision {
        Decision::Accept { until, proof } => (*until, proof.expires().min(*until)),
        Decision::Refuse => (Time::NEVER, Time::NEVER),
    }
}

impl Renewal {
    /// For what was accepted; none if that does not end.
    pub(crate) fn of(inner: &Arc<Inner>, tls: &TlsFacts, spot: &Spot, judgement: &Judgement) -> Option<Self> {
        let (until, first) = ends(judgement);
        if first == Time::NEVER {
            return None;
        }
        let due = due(first);
        let (inner, tls, spot) = (Arc::clone(inner), tls.clone(), spot.clone());
        Some(Self { inner, tls, spot, until, due, state: State::Rests(rest(due)) })
    }

    /// Whether the proof has ended: nothing more is to be sent before there is another.
    pub(crate) fn has_lapsed(&self) -> bool {
        now() > self.until
    }

    /// Waits until there is a new proof, or none any more. Also returns when it begins to look for one, since the old one may have ended by then. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Result<Option<Judgement>, IdentityError> {
        loop {
            match &mut self.state {
                State::Rests(sleep) => {
                    sleep.await;
                    if now() < self.due {
                        self.state = State::Rests(rest(self.due));
                        continue;
                    }
                    let (inner, tls, spot) = (Arc::clone(&self.inner), self.tls.clone(), self.spot.clone());
                    let proving: Proving = Box::pin(async move { inner.judge.prove(&tls, &spot).await });
                    self.state = State::Proves(Mutex::new(proving));
                    return Ok(None);
                }
                State::Proves(proving) => {
                    match proving.get_mut().unwrap_or_else(PoisonError::into_inner).await {
                        Ok(judgement) => {
                            let (until, first) = ends(&judgement);
                            (self.until, self.due) = (until, due(first));
                            self.state = State::Rests(rest(self.due));
                            return Ok(Some(judgement));
                        }
                        Err(error) if error.may_pass() && now() < self.until => {
                            tracing::info!(%error, code = error.code(), "the server's proof cannot be renewed; it has not ended yet");
                            self.due = self.until.min(now().after(AGAIN));
                            self.state = State::Rests(rest(self.due));
                        }
                        Err(error) => {
                            self.state = State::Over;
                            return Err(error);
                        }
                    }
                }
                State::Over => pending().await,
            }
        }
    }
}

/// When to renew what ends then: some time before, or when it ends if that is sooner.
fn due(end: Time) -> Time {
    let early = Time::from_secs(end.as_secs().saturating_sub(EARLY.as_secs()));
    if early <= now() { end } else { early }
}

fn rest(due: Time) -> Pin<Box<Sleep>> {
    Box::pin(sleep(due.since(now()).clamp(LEAST, LONGEST)))
}
