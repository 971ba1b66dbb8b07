//! MSRP over sockets, as a client uses it (RFC 4975, RFC 4976).
//!
//! An [`Endpoint`] has a certificate, listens if it is to be reached, logs in at relays, and sets up [`Session`]s. Texts and files are sent as they
//! are read, and received into memory or, beyond a bound, into files: no length of a message costs memory. Every message that fails says so.
//!
//! Who talks to whom is agreed on by SDP, with [`Endpoint::offer`] and [`Endpoint::answer`]; or by an [`Invitation`], whose URI is a secret that admits
//! whoever comes with it first:
//!
//! ```
//! use nuncio_endpoint::{Config, Endpoint, Incoming, Outgoing, Peer, Way};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let bob = Endpoint::new(Config::default())?;
//! let listening = bob.listen(&["127.0.0.1:0".parse()?], "127.0.0.1", true)?;
//! let invitation = bob.invite(Way::Listening(&listening))?;
//! let sdp = invitation.sdp(); // goes to Alice on a way that nobody else reads
//!
//! let reading = tokio::spawn(async move {
//!     let mut session = invitation.accept();
//!     while let Some(Incoming::Message(message)) = session.next().await {
//!         assert_eq!(message.text(), Some("Hello, Bob"));
//!     }
//! });
//! let alice = Endpoint::new(Config::default())?;
//! let session = alice.join(&Peer::from_sdp(&sdp)?, Way::Direct).await?;
//! let sent = session.send(Outgoing::text("Hello, Bob")).await?;
//! assert!(sent.delivered);
//! drop(session); // ends it
//! reading.await?;
//! # Ok(()) }
//! # tokio::runtime::Runtime::new().unwrap().block_on(example()).unwrap();
//! ```
//!
//! A message [`Outgoing::inside`] CPIM says from whom to whom it is, and may ask to be told what becomes of it (RFC 5438); [`Message::unwrapped`] and
//! [`Sender::notify`] are the other side of that.
//!
//! TLS is judged by the fingerprints of the SDP where there are any, else by the name in the URI (S1-04, S1-08); there is no way around both.
//! The protocol itself is [`nuncio_msrp::endpoint`], run by [`nuncio_net::drive`]. [`check`] tests other people's endpoints and relays.

pub mod check;
mod config;
mod connection;
mod error;
mod listen;
mod place;
pub mod raw;
mod relay;
mod session;
mod setup;
mod store;
mod wrapped;

use std::collections::{BTreeMap, HashMap};
use std::path::Path as FilePath;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use bytes::Bytes;
use nuncio_msrp::endpoint::{BindError, Compare, ConnectionId, Directory, Session as Agreement, SessionId};
use nuncio_msrp::media::AcceptTypes;
use nuncio_msrp::sdp::{Fingerprint, Hash};
use nuncio_msrp::uri::Hop;
use nuncio_msrp::{Path, Scheme, Uri, endpoint};
use nuncio_net::tls::{Believe, OwnCertificate};
use nuncio_net::{Clock, Connector, NetMetrics, TlsHosts};
use parking_lot::Mutex;
use tokio::sync::watch;

/// The protocol: identifiers, URIs, SDP and what else stands in the types here.
pub use nuncio_msrp as msrp;

pub use self::config::Config;
pub use self::error::{
    Broken, ConnectError, End, Lost, RelayError, SendError, SetupError, StartError, Unjudged, Why,
};
pub use self::listen::Listening;
pub use self::place::PORT;
pub use self::relay::{RelayAccount, Renewal, Route};
pub use self::session::{Incoming, Message, Outgoing, Receipt, Sender, Sent, Session};
pub use self::setup::{Invitation, Offering, Peer, Pending, Way};
pub use self::store::Body;
pub use self::wrapped::{CPIM, Notified};

use self::connection::Commands;
use self::relay::RelayConnection;
use self::session::Shared;
use self::store::{Room, Store};

/// An endpoint: what all its sessions and connections share. Clones are the same endpoint.
#[derive(Clone, Debug)]
pub struct Endpoint {
    inner: Arc<Inner>,
}

/// A session that is agreed on with whoever comes.
struct Invited {
    id: SessionId,
    local: Uri,
    fingerprints: Vec<Fingerprint>,
}

/// Which sessions there are.
#[derive(Default)]
struct Book {
    directory: Directory,
    /// By session id.
    invited: BTreeMap<Box<str>, Invited>,
    shared: HashMap<SessionId, Arc<Shared>>,
    /// Connections that were made, by where they lead and what was promised of them.
    direct: HashMap<(Hop, String), Commands>,
    relays: HashMap<Hop, Weak<RelayConnection>>,
    /// On which connection each session is that we went to.
    on: HashMap<SessionId, ConnectionId>,
}

impl Book {
    /// A session is about to be opened on a connection.
    fn claim(&mut self, connection: ConnectionId, session: &Agreement) -> bool {
        let claimed = self.directory.claim(connection, &session.local).is_some();
        if claimed {
            self.on.insert(session.id, connection);
        }
        claimed
    }
}

pub(crate) struct Inner {
    pub(crate) config: Config,
    own: OwnCertificate,
    pub(crate) machine: Arc<endpoint::Config>,
    pub(crate) clock: Clock,
    pub(crate) metrics: Arc<NetMetrics>,
    pub(crate) hosts: Arc<TlsHosts>,
    pub(crate) by_fingerprint: Arc<Connector>,
    by_name: OnceLock<Arc<Connector>>,
    room: Arc<Room>,
    spool: Arc<FilePath>,
    numbers: AtomicU64,
    /// How many connections there are.
    pub(crate) connections: watch::Sender<usize>,
    book: Mutex<Book>,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Endpoint").finish_non_exhaustive()
    }
}

impl Endpoint {
    /// A new endpoint. Inside a tokio runtime.
    ///
    /// # Errors
    /// There is no certificate.
    pub fn new(config: Config) -> Result<Self, StartError> {
        let own = match &config.certificate {
            Some(pair) => OwnCertificate::read(pair)?,
            // The name is of no use to anybody, and must not tell who is there (RFC 4975 §14.4).
            None => OwnCertificate::self_signed("msrp.invalid")?,
        };
        let spool = config.spool.clone().unwrap_or_else(std::env::temp_dir);
        let inner = Inner {
            machine: Arc::new(config.msrp.clone()),
            clock: Clock::start(),
            metrics: Arc::default(),
            hosts: Arc::new(TlsHosts::showing(&own)?),
            by_fingerprint: Arc::new(Connector::showing(&own, Believe::Anybody)?),
            by_name: OnceLock::new(),
            room: Room::new(config.total_memory),
            spool: spool.into(),
            numbers: AtomicU64::new(0),
            connections: watch::Sender::new(0),
            book: Mutex::default(),
            own,
            config,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The fingerprint of our certificate, by SHA-256.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(Hash::Sha256, &self.inner.own.der())
    }

    /// Waits until there is no connection any more: whoever ends a program after its last session waits for that, so that what was said last gets there.
    pub async fn drained(&self) {
        let mut connections = self.inner.connections.subscribe();
        // The sender is ours.
        drop(connections.wait_for(|count| *count == 0).await);
    }

    /// Waits until there is no temporary file any more: whoever ends a program in the middle of a message waits for that when its sessions are over,
    /// so that nothing stays behind. Those of messages that somebody still has stay with them.
    pub async fn cleared(&self) {
        self.inner.room.cleared().await;
    }
}

impl Inner {
    pub(crate) fn next_connection(&self) -> ConnectionId {
        ConnectionId(self.numbers.fetch_add(1, Ordering::Relaxed))
    }

    pub(crate) fn next_session(&self) -> SessionId {
        SessionId(self.numbers.fetch_add(1, Ordering::Relaxed))
    }

    /// What judges servers by their names; made when it is first needed, since it needs authorities.
    pub(crate) fn by_name(&self) -> Result<Arc<Connector>, ConnectError> {
        if let Some(connector) = self.by_name.get() {
            return Ok(Arc::clone(connector));
        }
        let made = Arc::new(Connector::showing(&self.own, Believe::Roots(&self.config.roots))?);
        Ok(Arc::clone(self.by_name.get_or_init(|| made)))
    }

    pub(crate) fn store(&self) -> Store {
        Store::new(&self.room, self.config.memory, &self.spool)
    }

    /// A session as it is agreed on.
    pub(crate) fn agreement(
        &self,
        id: SessionId,
        local: Uri,
        path: Path,
        peer_accepts: AcceptTypes,
        peer_max_size: Option<u64>,
    ) -> Agreement {
        Agreement {
            id,
            local,
            path,
            compare: Compare::Path,
            accept: self.config.accept.clone(),
            peer_accepts,
            max_size: self.config.max_size,
            peer_max_size,
            reports: self.config.reports,
        }
    }

    /// Answers the question whose session a request is for.
    pub(crate) fn bind(
        &self,
        connection: ConnectionId,
        to: &Path,
        from: &Path,
        secured: bool,
        certificate: Option<&Bytes>,
    ) -> Result<Arc<Agreement>, BindError> {
        let mut book = self.book.lock();
        let session_id = to.last().and_then(Uri::session_id).unwrap_or_default();
        if let Some(invited) = book.invited.get(session_id) {
            let named = from.last().is_some_and(|uri| uri.session_id().is_some());
            let clear = invited.local.scheme() == Scheme::Msrps && !secured;
            if to.uris() != std::slice::from_ref(&invited.local) || clear || !named {
                return Err(BindError::Unknown);
            }
            let shown = certificate.is_some_and(|it| Fingerprint::verify(&invited.fingerprints, it));
            if !invited.fingerprints.is_empty() && !shown {
                return Err(BindError::Fingerprint);
            }
            // Whoever comes first with the URI is the one who was given it (S1-01).
            let agreement = Arc::new(self.agreement(
                invited.id,
                invited.local.clone(),
                from.clone(),
                AcceptTypes::any(),
                None,
            ));
            let fingerprints = invited.fingerprints.clone();
            book.invited.remove(session_id);
            book.directory.add(agreement, fingerprints);
        }
        book.directory.bind(connection, to, from, secured, certificate)
    }

    pub(crate) fn session(&self, id: SessionId) -> Option<Arc<Shared>> {
        self.book.lock().shared.get(&id).cloned()
    }

    /// A session is over: whatever is for it is answered with 481.
    pub(crate) fn forget(&self, id: SessionId) {
        let mut book = self.book.lock();
        book.directory.remove(id);
        book.invited.retain(|_, invited| invited.id != id);
        book.shared.remove(&id);
        book.on.remove(&id);
    }

    /// A connection has no session: nobody is to come to it any more. False if somebody is about to.
    pub(crate) fn retire(&self, connection: ConnectionId) -> bool {
        let mut book = self.book.lock();
        if book.on.values().any(|on| *on == connection) {
            return false;
        }
        book.direct.retain(|_, commands| commands.id != connection);
        true
    }

    /// A connection is over: gives the sessions that were on it.
    pub(crate) fn release(&self, connection: ConnectionId) -> Vec<Arc<Shared>> {
        let mut book = self.book.lock();
        book.direct.retain(|_, commands| commands.id != connection);
        book.on.retain(|_, on| *on != connection);
        let ended = book.directory.release(connection);
        ended.iter().filter_map(|id| book.shared.remove(id)).collect()
    }
}
