//! Relays of our own: logging in, through chains of them, and again before that expires (RFC 4976 §5).

use std::sync::{Arc, Weak};
use std::time::Duration;

use nuncio_msrp::endpoint::{Command, Granted, Login, LoginError};
use nuncio_msrp::{Path, Scheme, Status, Transport, Uri};
use nuncio_net::OsEntropy;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until};
use zeroize::Zeroizing;

use crate::connection::{self, Commands};
use crate::error::{ConnectError, End, Lost, RelayError};
use crate::place::place;
use crate::session::Shared;
use crate::{Endpoint, Inner};

/// What stands in the URI of whoever cannot be connected to, and need not say where he is (S1-09).
pub(crate) const NOWHERE: &str = "client.invalid";
/// The discard port (RFC 6135 §4.2.2).
pub(crate) const DISCARD: u16 = 9;
/// A login is not repeated more often than that.
const LEAST: Duration = Duration::from_secs(1);

/// An account of ours at a relay.
#[derive(Clone)]
pub struct RelayAccount {
    /// The relay, as in `msrps://relay.example:2855;tcp`. Without a port it is looked up.
    pub relay: Uri,
    /// The user.
    pub username: String,
    /// The password.
    pub password: Zeroizing<String>,
    /// For how many seconds its URI shall be good at most; the relay's choice if none.
    pub expires: Option<u32>,
    /// Whether to answer a relay that knows MD5 only: most of them, as RFC 4976 has no other.
    pub md5: bool,
}

impl std::fmt::Debug for RelayAccount {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RelayAccount")
            .field("relay", &self.relay)
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}

/// The connection to our first relay. It is closed with the last route through it.
#[derive(Debug)]
pub(crate) struct RelayConnection {
    commands: Commands,
}

impl Drop for RelayConnection {
    fn drop(&mut self) {
        self.commands.urgent(Command::Close);
    }
}

/// What the relays gave us.
#[derive(Clone, Debug)]
struct Grant {
    path: Path,
    /// For how many seconds the first part of it to expire was good, and until when that is, counted from before the relay was asked.
    expires: Option<(u32, Instant)>,
}

#[derive(Debug)]
struct State {
    grant: Grant,
    relays: Vec<RelayAccount>,
    /// The path has been written into an SDP, or a session: another one is of no use any more.
    settled: bool,
    session: Weak<Shared>,
    /// Why there is no way any more.
    over: Option<End>,
}

#[derive(Debug)]
struct Way {
    local: Uri,
    connection: Arc<RelayConnection>,
    /// Whose name the first relay has, for people.
    place: String,
    state: Mutex<State>,
    /// Changes when somebody else than the timer has renewed it.
    renewed: watch::Sender<()>,
}

/// A way through relays that gave us a URI: good for one session (S1-L5). The login is repeated before it expires, which moves the expiry of the same URI.
/// When that fails, or another URI comes of it, the session ends when the URI has expired, with [`End::Relay`]; where the relay says that we may not use it
/// (403), at once. When the connection to the first relay is over, so is the session, with [`End::RelayGone`], whether anybody has come to it or not.
#[derive(Debug)]
pub struct Route {
    way: Arc<Way>,
    keeping: AbortHandle,
}

impl Endpoint {
    /// Logs in at relays, each through those before it, and gets a way for one session. Routes through the same first relay share a connection.
    ///
    /// # Errors
    /// See [`RelayError`]. Nothing is sent to a relay that does not prove its name (S1-04, S1-L1).
    pub async fn route(&self, relays: &[RelayAccount]) -> Result<Route, RelayError> {
        let first = &relays.first().ok_or(RelayError::None)?.relay;
        let connection = self.inner.relay(first).await?;
        let local = Uri::of_session(Scheme::Msrps, NOWHERE, DISCARD, &Transport::Tcp, &OsEntropy)
            .map_err(|_| RelayError::None)?;
        let grant = log_in(&connection.commands, &local, relays).await?;
        let state =
            State { grant, relays: relays.to_vec(), settled: false, session: Weak::new(), over: None };
        let way = Arc::new(Way {
            local,
            connection,
            place: place(first.hop()),
            state: Mutex::new(state),
            renewed: watch::Sender::default(),
        });
        let commands = way.connection.commands.clone();
        let keeping =
            keep(Arc::downgrade(&way), commands, self.inner.config.keep_alive, way.renewed.subscribe());
        let keeping = tokio::spawn(keeping).abort_handle();
        Ok(Route { way, keeping })
    }
}

/// One login after the other. Gives the whole way.
async fn log_in(commands: &Commands, local: &Uri, relays: &[RelayAccount]) -> Result<Grant, RelayError> {
    let mut way: Option<Grant> = None;
    for account in relays {
        let relay = Path::from(account.relay.clone());
        let login = Login {
            to: way.as_ref().map_or_else(|| relay.clone(), |before| before.path.then(&relay)),
            from: local.clone(),
            username: account.username.clone(),
            password: account.password.clone(),
            expires: account.expires,
            md5: account.md5,
        };
        let name = || place(account.relay.hop());
        let asked = Instant::now();
        let Granted { use_path, expires, .. } = commands.log_in(login).await.map_err(|why| match why {
            Some(why) => RelayError::Login { relay: name(), why },
            None => RelayError::Lost { relay: name(), lost: commands.life.lost() },
        })?;
        let now = expires.map(|seconds| (seconds, asked + Duration::from_secs(seconds.into())));
        let before = way.and_then(|before| before.expires);
        let expires = before.into_iter().chain(now).min_by_key(|(_, until)| *until);
        way = Some(Grant { path: use_path, expires });
    }
    way.ok_or(RelayError::None)
}

/// When a way is logged in for again, and what is known against it.
#[derive(Debug, Default)]
struct Upkeep {
    /// After how long a login shows whether the relay is still there.
    every: Option<Duration>,
    /// When it does; none: nothing new would come of it.
    probe: Option<Instant>,
    /// Not before that.
    earliest: Option<Instant>,
    /// A login that failed for a while is repeated then.
    again: Option<Instant>,
    /// Why there will be no other expiry.
    failed: Option<String>,
}

impl Upkeep {
    fn new(every: Option<Duration>) -> Self {
        let now = Instant::now();
        let probe = every.map(|every| now + every);
        Self { every, probe, earliest: Some(now + LEAST), ..Self::default() }
    }

    /// When three quarters of the time are over, or all of it if nothing more can be done.
    fn due(&self, (seconds, until): (u32, Instant)) -> Instant {
        match (&self.failed, self.again) {
            (Some(_), _) => until,
            (None, Some(again)) => again,
            (None, None) => {
                let renewal = until.checked_sub(Duration::from_secs(seconds.into()) / 4).unwrap_or(until);
                self.earliest.map_or(renewal, |earliest| earliest.max(renewal))
            }
        }
    }

    /// A login has been answered, or was not, while the way was good until then; `due`: it was its time, not only a look.
    fn answered(&mut self, way: &Way, answer: Result<(), RelayError>, until: Option<Instant>, due: bool) {
        let now = Instant::now();
        self.earliest = Some(now + LEAST);
        self.probe = self.every.map(|every| now + every);
        self.again = None;
        let Err(error) = answer else { return };
        let later = |until: Instant| now + LEAST + until.saturating_duration_since(now + LEAST) / 2;
        match &error {
            // The connection says so itself.
            RelayError::Lost { .. } => {}
            RelayError::Login { why: LoginError::Refused(Status::FORBIDDEN), .. } => {
                way.end(End::Relay(error.to_string()));
            }
            // Where nothing else is under way nothing else delays an answer.
            RelayError::Login { why: LoginError::Timeout, .. } if way.waits() => {
                way.end(way.gone(Lost::Silent));
            }
            RelayError::Login { why: LoginError::Timeout | LoginError::Busy, .. } if !due => {}
            RelayError::Login { why: LoginError::Timeout | LoginError::Busy, .. }
                if until.is_some_and(|until| later(until) < until) =>
            {
                self.again = until.map(later);
            }
            // What does not fit now may when it is time; until then nobody is bothered.
            _ if !due => self.probe = None,
            error => {
                tracing::warn!(%error, "a relay's URI cannot be kept");
                self.probe = None;
                self.failed = Some(error.to_string());
            }
        }
    }
}

/// Logs in again when three quarters of the time are over, and every now and then; says so when the relay is gone, or does not want us any more.
async fn keep(way: Weak<Way>, commands: Commands, every: Option<Duration>, mut renewed: watch::Receiver<()>) {
    let mut upkeep = Upkeep::new(every);
    loop {
        let Some(expires) = way.upgrade().map(|way| way.state.lock().grant.expires) else { return };
        let due = expires.map(|expires| upkeep.due(expires));
        let next = due.into_iter().chain(upkeep.probe).min();
        tokio::select! {
            biased;
            () = commands.over() => {
                let Some(way) = way.upgrade() else { return };
                way.end(upkeep.failed.map_or_else(|| way.gone(commands.life.lost()), End::Relay));
                return;
            }
            changed = renewed.changed() => {
                if changed.is_err() {
                    return;
                }
                upkeep = Upkeep::new(every);
                continue;
            }
            () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {}
        }
        let Some(way) = way.upgrade() else { return };
        if let Some(why) = upkeep.failed {
            way.end(End::Relay(why));
            return;
        }
        let relays = way.state.lock().relays.clone();
        let is_due = due.is_some_and(|due| due <= Instant::now());
        let answer = way.log_in(&relays).await;
        upkeep.answered(&way, answer, expires.map(|(_, until)| until), is_due);
    }
}

impl Way {
    /// One more login.
    async fn log_in(&self, relays: &[RelayAccount]) -> Result<(), RelayError> {
        let grant = log_in(&self.connection.commands, &self.local, relays).await?;
        let mut state = self.state.lock();
        if state.settled && grant.path != state.grant.path {
            return Err(RelayError::Moved { relay: self.place.clone() });
        }
        state.grant = grant;
        Ok(())
    }

    /// What the relays gave is over; the first reason counts.
    fn end(&self, why: End) {
        let (session, why) = {
            let mut state = self.state.lock();
            let why = state.over.get_or_insert(why).clone();
            (state.session.upgrade(), why)
        };
        if let Some(session) = session {
            session.end(why);
            self.connection.commands.urgent(Command::End(session.id));
        }
    }

    /// The connection to the first relay is over.
    fn gone(&self, lost: Lost) -> End {
        End::RelayGone { relay: self.place.clone(), lost }
    }

    /// Whether nobody has come yet for whom it is.
    fn waits(&self) -> bool {
        self.state.lock().session.upgrade().is_none_or(|session| !session.is_bound())
    }
}

impl Route {
    /// Our own URI of it.
    #[must_use]
    pub fn local(&self) -> &Uri {
        &self.way.local
    }

    /// The way out, in the order of a To-Path: what the relays have granted last. It does not change any more when it has been used.
    #[must_use]
    pub fn path(&self) -> Path {
        self.way.state.lock().grant.path.clone()
    }

    /// For how many seconds that was good when it was granted last.
    #[must_use]
    pub fn expires(&self) -> Option<u32> {
        self.way.state.lock().grant.expires.map(|(seconds, _)| seconds)
    }

    /// Logs in once more, now, as these users of the same relays, and as them from now on: before credentials end that are good for a time only.
    ///
    /// # Errors
    /// See [`RelayError`]. The way is good as long as it was before.
    pub async fn renew(&self, relays: &[RelayAccount]) -> Result<(), RelayError> {
        self.renewal().renew(relays).await
    }

    /// Renews it from elsewhere, as long as there is the route.
    #[must_use]
    pub fn renewal(&self) -> Renewal {
        Renewal { way: Arc::downgrade(&self.way) }
    }

    /// [`Route::path`], to be told to a peer.
    pub(crate) fn settle(&self) -> Path {
        let mut state = self.way.state.lock();
        state.settled = true;
        state.grant.path.clone()
    }

    /// This session goes this way.
    pub(crate) fn serve(&self, session: &Arc<Shared>) {
        let over = {
            let mut state = self.way.state.lock();
            state.session = Arc::downgrade(session);
            state.over.clone()
        };
        session.route();
        if let Some(why) = over {
            session.end(why);
        }
    }

    pub(crate) fn commands(&self) -> &Commands {
        &self.way.connection.commands
    }

    pub(crate) fn place(&self) -> String {
        self.way.place.clone()
    }
}

impl Drop for Route {
    fn drop(&mut self) {
        self.keeping.abort();
    }
}

/// Renews a [`Route`] whose session is in use elsewhere.
#[derive(Clone, Debug)]
pub struct Renewal {
    way: Weak<Way>,
}

impl Renewal {
    /// [`Route::renew`].
    ///
    /// # Errors
    /// See there; [`RelayError::None`] if there is no such route any more.
    pub async fn renew(&self, relays: &[RelayAccount]) -> Result<(), RelayError> {
        let way = self.way.upgrade().ok_or(RelayError::None)?;
        way.log_in(relays).await?;
        way.state.lock().relays = relays.to_vec();
        way.renewed.send_replace(());
        Ok(())
    }
}

impl Inner {
    /// The connection to a relay of ours.
    async fn relay(self: &Arc<Self>, relay: &Uri) -> Result<Arc<RelayConnection>, ConnectError> {
        let hop = relay.hop();
        if hop.scheme != Scheme::Msrps {
            // Credentials are sent over TLS only (RFC 4976 §9.1, S1-06).
            let end = End::Connection(Lost::Handshake("the relay's URI is not msrps".to_owned()));
            return Err(ConnectError::Ended { place: place(hop), end });
        }
        let known = self.book.lock().relays.get(hop).and_then(Weak::upgrade);
        if let Some(connection) = known.filter(|connection| !connection.commands.is_over()) {
            return Ok(connection);
        }
        let commands = Box::pin(connection::connect(self, hop, Vec::new(), true)).await?;
        let made = Arc::new(RelayConnection { commands });
        let mut book = self.book.lock();
        book.relays.retain(|_, connection| connection.strong_count() > 0);
        book.relays.insert(hop.clone(), Arc::downgrade(&made));
        Ok(made)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn way() -> Way {
        let local = Uri::of_session(Scheme::Msrps, NOWHERE, DISCARD, &Transport::Tcp, &OsEntropy);
        let local = local.expect("a URI");
        let grant = Grant { path: local.clone().into(), expires: None };
        let state = State { grant, relays: Vec::new(), settled: true, session: Weak::new(), over: None };
        Way {
            local,
            connection: Arc::new(RelayConnection { commands: Commands::unheard().0 }),
            place: "relay.example".to_owned(),
            state: Mutex::new(state),
            renewed: watch::Sender::default(),
        }
    }

    fn refused(why: LoginError) -> Result<(), RelayError> {
        Err(RelayError::Login { relay: "relay.example".to_owned(), why })
    }

    /// RFC 4976 §5.1: silence while nothing else is under way means that the relay is gone; while a session is, it may be behind a file.
    #[tokio::test]
    async fn silence_is_judged_by_what_else_is_under_way() {
        let way = way();
        let (shared, _inbox) = Shared::new(nuncio_msrp::endpoint::SessionId(1), way.local.clone());
        way.state.lock().session = Arc::downgrade(&shared);
        let mut upkeep = Upkeep::new(Some(Duration::from_secs(60)));
        assert!(shared.bound(&Commands::unheard().0));
        let until = Instant::now() + Duration::from_secs(100);
        upkeep.answered(&way, refused(LoginError::Timeout), Some(until), false);
        assert!(way.state.lock().over.is_none() && upkeep.probe.is_some() && upkeep.again.is_none());
        // When it was time it is tried once more before the time is over.
        upkeep.answered(&way, refused(LoginError::Timeout), Some(until), true);
        assert!(way.state.lock().over.is_none() && upkeep.again.is_some_and(|again| again < until));
        let waiting = self::way();
        upkeep.answered(&waiting, refused(LoginError::Timeout), Some(until), false);
        let told = waiting.state.lock().over.as_ref().map(ToString::to_string);
        assert_eq!(told.as_deref(), Some("relay.example: the relay does not answer any more"));
    }

    /// What is wrong before its time is tried once more when it is time, and fails then.
    #[tokio::test]
    async fn failures_before_the_time_are_not_final() {
        let way = way();
        let mut upkeep = Upkeep::new(Some(Duration::from_secs(60)));
        let until = Instant::now() + Duration::from_secs(100);
        upkeep.answered(&way, refused(LoginError::Credentials), Some(until), false);
        assert!(upkeep.probe.is_none() && upkeep.failed.is_none());
        upkeep.answered(&way, refused(LoginError::Credentials), Some(until), true);
        assert!(upkeep.failed.is_some() && upkeep.due((100, until)) == until);
        assert!(way.state.lock().over.is_none());
        upkeep.answered(&way, refused(LoginError::Refused(Status::FORBIDDEN)), Some(until), false);
        assert!(matches!(way.state.lock().over, Some(End::Relay(_))));
    }
}
