//! Relays of our own: logging in, through chains of them, and again before that expires (RFC 4976 §5).

use std::sync::{Arc, Weak};
use std::time::Duration;

use nuncio_msrp::endpoint::{Command, Granted, Login, LoginError};
use nuncio_msrp::{Path, Scheme, Transport, Uri};
use nuncio_net::OsEntropy;
use parking_lot::Mutex;
use tokio::task::AbortHandle;
use tokio::time::sleep;
use zeroize::Zeroizing;

use crate::connection::{self, Commands};
use crate::error::{ConnectError, End, RelayError};
use crate::place::place;
use crate::{Endpoint, Inner};

/// What stands in the URI of whoever cannot be connected to, and need not say where he is (S1-09).
pub(crate) const NOWHERE: &str = "client.invalid";
/// The discard port (RFC 6135 §4.2.2).
pub(crate) const DISCARD: u16 = 9;
/// A login is not repeated more often than that.
const LEAST: Duration = Duration::from_secs(5);

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

#[derive(Debug)]
struct Way {
    local: Uri,
    granted: Mutex<(Path, Option<u32>)>,
    connection: Arc<RelayConnection>,
    /// Whose name the first relay has, for people.
    place: String,
}

/// A way through relays that gave us a URI: good for one session (S1-L5). The login is repeated before it expires.
#[derive(Debug)]
pub struct Route {
    way: Arc<Way>,
    renewing: Option<AbortHandle>,
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
        let granted = log_in(&connection.commands, &local, relays).await?;
        let way =
            Arc::new(Way { local, granted: Mutex::new(granted), connection, place: place(first.hop()) });
        let renewing = way.granted.lock().1.map(|_| {
            let renewing = renew(Arc::downgrade(&way), relays.to_vec());
            tokio::spawn(renewing).abort_handle()
        });
        Ok(Route { way, renewing })
    }
}

/// One login after the other. Gives the whole way, and how long the first part of it to expire is good.
async fn log_in(
    commands: &Commands,
    local: &Uri,
    relays: &[RelayAccount],
) -> Result<(Path, Option<u32>), RelayError> {
    let mut way: Option<(Path, Option<u32>)> = None;
    for account in relays {
        let relay = Path::from(account.relay.clone());
        let login = Login {
            to: way.as_ref().map_or_else(|| relay.clone(), |(before, _)| before.then(&relay)),
            from: local.clone(),
            username: account.username.clone(),
            password: account.password.clone(),
            expires: account.expires,
            md5: account.md5,
        };
        let name = || place(account.relay.hop());
        let Granted { use_path, expires, .. } = commands.log_in(login).await.map_err(|why| match why {
            Some(why) => RelayError::Login { relay: name(), why },
            None => RelayError::Lost { relay: name(), lost: commands.life.lost() },
        })?;
        let before = way.and_then(|(_, expires)| expires);
        way = Some((use_path, [before, expires].into_iter().flatten().min()));
    }
    way.ok_or(RelayError::None)
}

/// Logs in again when three quarters of the time are over.
async fn renew(way: Weak<Way>, relays: Vec<RelayAccount>) {
    loop {
        let Some(seconds) = way.upgrade().and_then(|way| way.granted.lock().1) else { return };
        sleep(Duration::from_secs(seconds.into()).mul_f64(0.75).max(LEAST)).await;
        let Some(way) = way.upgrade() else { return };
        match log_in(&way.connection.commands, &way.local, &relays).await {
            Ok(granted) => *way.granted.lock() = granted,
            Err(RelayError::Login { why: LoginError::Timeout | LoginError::Busy, .. }) => {}
            Err(error) => {
                tracing::warn!(%error, "a relay gives no URI any more");
                return;
            }
        }
    }
}

impl Route {
    /// Our own URI of it.
    #[must_use]
    pub fn local(&self) -> &Uri {
        &self.way.local
    }

    /// The way out, in the order of a To-Path: what the relays have granted last.
    #[must_use]
    pub fn path(&self) -> Path {
        self.way.granted.lock().0.clone()
    }

    /// For how many seconds that was good when it was granted.
    #[must_use]
    pub fn expires(&self) -> Option<u32> {
        self.way.granted.lock().1
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
        if let Some(renewing) = &self.renewing {
            renewing.abort();
        }
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
