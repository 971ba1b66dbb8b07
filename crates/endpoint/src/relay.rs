//! Relays of our own: logging in, through chains of them, and again before that expires (RFC 4976 §5).

use std::sync::{Arc, Weak};
use std::time::Duration;

use nuncio_msrp::endpoint::{Command, Granted, Login, LoginError};
use nuncio_msrp::{Path, Scheme, Transport, Uri};
use nuncio_net::OsEntropy;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until};
use zeroize::Zeroizing;

use crate::connection::{self, Commands};
use crate::error::{ConnectError, End, RelayError};
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
    over: Option<String>,
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
/// When that fails, or another URI comes of it, the session ends when the URI has expired, with [`End::Relay`].
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
        let keeping = tokio::spawn(keep(Arc::downgrade(&way), way.renewed.subscribe())).abort_handle();
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

/// Logs in again when three quarters of the time are over, and says so when that does not help.
async fn keep(way: Weak<Way>, mut renewed: watch::Receiver<()>) {
    let mut earliest = Instant::now() + LEAST;
    let (mut again, mut failed): (Option<Instant>, Option<String>) = (None, None);
    loop {
        let Some(expires) = way.upgrade().map(|way| way.state.lock().grant.expires) else { return };
        let next = expires.map(|(seconds, until)| match (&failed, again) {
            (Some(_), _) => until,
            (None, Some(again)) => again,
            (None, None) => earliest.max(until - Duration::from_secs(seconds.into()) / 4),
        });
        tokio::select! {
            changed = renewed.changed() => {
                if changed.is_err() {
                    return;
                }
                (again, failed) = (None, None);
                continue;
            }
            () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {}
        }
        let Some(way) = way.upgrade() else { return };
        if let Some(why) = failed {
            way.expire(why);
            return;
        }
        let relays = way.state.lock().relays.clone();
        let answer = way.log_in(&relays).await;
        earliest = Instant::now() + LEAST;
        again = None;
        let Err(error) = answer else { continue };
        let until = expires.map_or(earliest, |(_, until)| until);
        let later = earliest + until.saturating_duration_since(earliest) / 2;
        match error {
            RelayError::Login { why: LoginError::Timeout | LoginError::Busy, .. } if later < until => {
                again = Some(later);
            }
            error => {
                tracing::warn!(%error, "a relay's URI cannot be kept");
                failed = Some(error.to_string());
            }
        }
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

    /// What the relays gave is over.
    fn expire(&self, why: String) {
        let session = {
            let mut state = self.state.lock();
            state.over = Some(why.clone());
            state.session.upgrade()
        };
        if let Some(session) = session {
            session.end(End::Relay(why));
            self.connection.commands.urgent(Command::End(session.id));
        }
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
        self.way.log_in(relays).await?;
        self.way.state.lock().relays = relays.to_vec();
        self.way.renewed.send_replace(());
        Ok(())
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
        if let Some(why) = over {
            session.end(End::Relay(why));
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

impl Inner {
    /// The connection to a relay of ours.
    async fn relay(self: &Arc<Self>, relay: &Uri) -> Result<Arc<RelayConnection>, ConnectError> {
        let hop = relay.hop();
        if hop.scheme != Scheme::Msrps {
            // Credentials are sent over TLS only (RFC 4976 §9.1, S1-06).
            let end = End::Connection(crate::Lost::Handshake("the relay's URI is not msrps".to_owned()));
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
