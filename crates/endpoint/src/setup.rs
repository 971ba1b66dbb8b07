//! How two parties find each other: by invitation, or by offer and answer.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use nuncio_msrp::endpoint::{Command, Session as Agreement};
use nuncio_msrp::media::AcceptTypes;
use nuncio_msrp::sdp::{self, Agreed, Description, Direction, Fingerprint, Local, Role, Target};
use nuncio_msrp::uri::{Hop, Host};
use nuncio_msrp::{Path, Scheme, Transport, Uri};
use nuncio_net::OsEntropy;
use tokio::net::lookup_host;
use tokio::sync::mpsc;

use crate::connection::{self, Commands};
use crate::error::{ConnectError, End, SetupError, Unjudged};
use crate::listen::Listening;
use crate::place::place;
use crate::relay::{DISCARD, NOWHERE, Route};
use crate::session::{Incoming, Session, Shared};
use crate::{Endpoint, Inner};

/// URIs of a path that is given by hand.
const URIS: usize = 16;

/// How a session reaches us, or we it.
#[derive(Debug)]
pub enum Way<'a> {
    /// We connect.
    Direct,
    /// The peer may connect to us.
    Listening(&'a Listening),
    /// Through relays of ours.
    Relays(Route),
}

/// Where a peer is, what it accepts, and which certificate it promised to have.
#[derive(Clone, Debug)]
pub struct Peer {
    /// The path of its SDP: the next hop first, its own URI last.
    pub path: Path,
    /// The fingerprints of its SDP, unless it is behind a relay; or those that our user knows. None: a TLS server is judged by its name.
    pub fingerprints: Vec<Fingerprint>,
    /// The fingerprints have to be judged: nobody is spoken to through a relay of ours, where they say nothing. Those of an SDP are for whoever connects
    /// directly (RFC 6135 §4.3).
    pub insists: bool,
    /// What it accepts.
    pub accepts: AcceptTypes,
    /// The longest message it accepts, in bytes.
    pub max_size: Option<u64>,
}

impl Peer {
    /// Whoever has this path, which ends with a URI that has a session id. Fingerprints that are added to it have to be judged.
    ///
    /// # Errors
    /// It is malformed.
    pub fn at(path: &str) -> Result<Self, SetupError> {
        let path = Path::parse(path, URIS)?;
        let accepts = AcceptTypes::any();
        Ok(Self { path, fingerprints: Vec::new(), insists: true, accepts, max_size: None })
    }

    /// Whoever wrote this session description.
    ///
    /// # Errors
    /// It has no MSRP that can be used, or rejects it.
    pub fn from_sdp(text: &str) -> Result<Self, SetupError> {
        let description = Description::from_text(text)?;
        if description.port == 0 {
            return Err(sdp::Rejected::Peer.into());
        }
        let relayed = description.path.len() > 1;
        Ok(Self {
            path: description.path,
            fingerprints: if relayed { Vec::new() } else { description.fingerprints },
            insists: false,
            accepts: description.accept_types,
            max_size: description.max_size,
        })
    }
}

/// A session for whoever comes first with its URI. Dropped, it is withdrawn.
#[derive(Debug)]
pub struct Invitation {
    description: Description,
    session: Session,
    route: Option<Route>,
}

impl Invitation {
    /// What the other party needs, as SDP. The URI in it is a secret.
    #[must_use]
    pub fn sdp(&self) -> String {
        self.description.to_text(&OsEntropy)
    }

    /// The path in it: the next hop first, our own URI last.
    #[must_use]
    pub const fn path(&self) -> &Path {
        &self.description.path
    }

    /// The session, for which somebody may come later: [`Session::ready`].
    #[must_use]
    pub fn accept(self) -> Session {
        self.session.through(self.route)
    }
}

/// An offer that waits for its answer. Dropped, it is withdrawn.
#[derive(Debug)]
pub struct Offering {
    inner: Arc<Inner>,
    offer: sdp::Offer,
    route: Option<Route>,
}

impl Endpoint {
    fn local(&self, way: &Way<'_>, clear: bool) -> Result<Local, SetupError> {
        let (uri, relays) = match way {
            Way::Direct => {
                let scheme = if clear { Scheme::Msrp } else { Scheme::Msrps };
                let uri = Uri::of_session(scheme, NOWHERE, DISCARD, &Transport::Tcp, &OsEntropy);
                (uri.map_err(|_| ConnectError::Uri)?, None)
            }
            Way::Listening(listening) => (listening.uri().map_err(|_| ConnectError::Uri)?, None),
            Way::Relays(route) => (route.local().clone(), Some(route.settle())),
        };
        let config = &self.inner.config;
        let tls = uri.scheme() == Scheme::Msrps;
        Ok(Local {
            relays,
            reachable: matches!(way, Way::Listening(_)),
            accept_types: config.accept.clone(),
            accept_wrapped_types: AcceptTypes::default(),
            sends: Vec::new(),
            max_size: Some(config.max_size),
            fingerprints: if tls { vec![self.fingerprint()] } else { Vec::new() },
            sha1: config.sha1,
            cema: false,
            direction: Direction::SendRecv,
            uri,
        })
    }

    /// Invites whoever is given what this returns.
    ///
    /// # Errors
    /// Nobody could come: `way` is [`Way::Direct`].
    pub fn invite(&self, way: Way<'_>) -> Result<Invitation, SetupError> {
        self.invite_only(way, Vec::new())
    }

    /// Invites whoever is given what this returns, and has one of these certificates, if any are given.
    ///
    /// # Errors
    /// Nobody could come: `way` is [`Way::Direct`]; or the certificates could not be seen, or are known by SHA-1 alone.
    pub fn invite_only(
        &self,
        way: Way<'_>,
        fingerprints: Vec<Fingerprint>,
    ) -> Result<Invitation, SetupError> {
        if matches!(way, Way::Direct) {
            return Err(SetupError::Unreachable);
        }
        let local = self.local(&way, false)?;
        let fingerprints = match local.uri.scheme() {
            _ if fingerprints.is_empty() => fingerprints,
            _ if local.relays.is_some() => return Err(Unjudged::Relay.into()),
            Scheme::Msrp => return Err(Unjudged::Clear.into()),
            Scheme::Msrps => strong(&fingerprints, self.inner.config.sha1)?,
        };
        let uri = local.uri.clone();
        let description = sdp::offer(local).description;
        let route = route(way);
        let (shared, inbox) = self.inner.enter(&uri);
        let invited = crate::Invited { id: shared.id, local: uri.clone(), fingerprints };
        self.inner.book.lock().invited.insert(uri.session_id().unwrap_or_default().into(), invited);
        Ok(Invitation { description, session: Session::new(&self.inner, shared, inbox), route })
    }

    /// Goes to a peer that has invited us: connects, and binds the session.
    ///
    /// # Errors
    /// No connection, no TLS, the session was over at once, or the peer has fingerprints that cannot be judged.
    pub async fn join(&self, peer: &Peer, way: Way<'_>) -> Result<Session, SetupError> {
        let first = peer.path.first().ok_or(ConnectError::Uri)?;
        let clear = first.scheme() == Scheme::Msrp;
        let local = self.local(&way, clear)?;
        let relayed = local.relays.is_some() || peer.path.len() > 1;
        let fingerprints = match (relayed, clear) {
            _ if peer.fingerprints.is_empty() => Vec::new(),
            (true, _) if peer.insists => return Err(Unjudged::Relay.into()),
            (true, _) => Vec::new(),
            (false, true) => return Err(Unjudged::Clear.into()),
            (false, false) => strong(&peer.fingerprints, self.inner.config.sha1)?,
        };
        let path = match &local.relays {
            Some(relays) => relays.then(&peer.path),
            None => peer.path.clone(),
        };
        let (shared, inbox) = self.inner.enter(&local.uri);
        let agreement = self.inner.agreement(shared.id, local.uri, path, peer.accepts.clone(), peer.max_size);
        let session = Session::new(&self.inner, shared, inbox);
        let hop = first.hop().clone();
        Ok(Box::pin(self.inner.open(session, agreement, hop, fingerprints, route(way))).await?)
    }

    /// Makes an offer. With [`Way::Direct`] the peer must be reachable.
    ///
    /// # Errors
    /// Our URI cannot be made.
    pub fn offer(&self, way: Way<'_>) -> Result<Offering, SetupError> {
        let offer = sdp::offer(self.local(&way, false)?);
        Ok(Offering { inner: Arc::clone(&self.inner), offer, route: route(way) })
    }

    /// Answers an offer: gives the answer, and the session, to which the peer comes later if it connects.
    ///
    /// # Errors
    /// Offer and answer do not fit (to be answered with 488), or there is no connection.
    pub async fn answer(&self, offer: &str, way: Way<'_>) -> Result<(String, Pending), SetupError> {
        let offer = Description::from_text(offer)?;
        let names = Box::pin(look_up(&offer)).await;
        let local = self.local(&way, !offer.tls)?;
        let (answer, agreed) = sdp::answer(&local, &offer, &|name| found(&names, name))?;
        let pending = self.inner.prepare(agreed, route(way));
        Ok((answer.to_text(&OsEntropy), pending))
    }
}

impl Offering {
    /// The offer, as SDP.
    #[must_use]
    pub fn sdp(&self) -> String {
        self.offer.description.to_text(&OsEntropy)
    }

    /// Takes the answer: gives the session.
    ///
    /// # Errors
    /// Offer and answer do not fit, or there is no connection.
    pub async fn answered(self, answer: &str) -> Result<Session, SetupError> {
        let answer = Description::from_text(answer)?;
        let names = Box::pin(look_up(&answer)).await;
        let agreed = self.offer.answered(&answer, &|name| found(&names, name))?;
        self.inner.prepare(agreed, self.route).begin().await
    }
}

/// A session that is agreed on and has not begun.
#[derive(Debug)]
pub struct Pending {
    session: Session,
    agreed: Agreed,
    agreement: Agreement,
    route: Option<Route>,
}

impl Pending {
    /// Begins it: connects, if that is our part; else the session is bound when the peer comes ([`Session::ready`]). To be called when the answer has
    /// been sent.
    ///
    /// # Errors
    /// There is no connection.
    pub async fn begin(self) -> Result<Session, SetupError> {
        let Self { session, agreed, agreement, route } = self;
        let Role::Active(target) = agreed.role else { return Ok(session.through(route)) };
        let hop = match target {
            Target::Relay(hop) | Target::Path(hop) => hop,
            Target::Address { host, port, tls } => Hop {
                scheme: if tls { Scheme::Msrps } else { Scheme::Msrp },
                host: Host::parse(&host).map_err(|_| ConnectError::Uri)?,
                port: Some(port),
                transport: Transport::Tcp,
            },
        };
        let inner = Arc::clone(session.inner());
        Ok(Box::pin(inner.open(session, agreement, hop, agreed.fingerprints, route)).await?)
    }
}

impl Inner {
    /// A session of ours, not agreed on yet.
    fn enter(&self, local: &Uri) -> (Arc<Shared>, mpsc::Receiver<Incoming>) {
        let (shared, inbox) = Shared::new(self.next_session(), local.clone());
        self.book.lock().shared.insert(shared.id, Arc::clone(&shared));
        (shared, inbox)
    }

    fn prepare(self: &Arc<Self>, agreed: Agreed, route: Option<Route>) -> Pending {
        let (shared, inbox) = self.enter(&agreed.local);
        let agreement = self.agreement(
            shared.id,
            agreed.local.clone(),
            agreed.path.clone(),
            agreed.peer_accepts.clone(),
            agreed.peer_max_size,
        );
        if agreed.role == Role::Passive {
            // From now on the peer may come.
            self.book.lock().directory.add(Arc::new(agreement.clone()), agreed.fingerprints.clone());
        }
        Pending { session: Session::new(self, shared, inbox), agreed, agreement, route }
    }

    /// Opens a session of which we are the active side.
    async fn open(
        self: &Arc<Self>,
        session: Session,
        agreement: Agreement,
        hop: Hop,
        fingerprints: Vec<Fingerprint>,
        route: Option<Route>,
    ) -> Result<Session, ConnectError> {
        let agreement = Arc::new(agreement);
        let place = route.as_ref().map_or_else(|| place(&hop), Route::place);
        if !self.book.lock().directory.add(Arc::clone(&agreement), Vec::new()) {
            return Err(ConnectError::Uri);
        }
        let commands = match &route {
            Some(route) => self.claimed(route.commands().clone(), &agreement),
            None => self.connection(&hop, fingerprints, &agreement).await?,
        };
        let Some(commands) = commands else { return Err(ConnectError::Uri) };
        if !commands.urgent(Command::Open(agreement)) {
            // It was over before it could be used: whoever ended it has said why.
            return Err(ConnectError::Ended { place, end: End::Connection(commands.life.lost()) });
        }
        tracing::debug!(connection = commands.id.0, "a session is opened");
        session.through(route).opened(place).await
    }

    fn claimed(&self, commands: Commands, agreement: &Agreement) -> Option<Commands> {
        self.book.lock().claim(commands.id, agreement).then_some(commands)
    }

    /// A connection to a hop for a session: one that there is, if it may be shared.
    async fn connection(
        self: &Arc<Self>,
        hop: &Hop,
        fingerprints: Vec<Fingerprint>,
        agreement: &Agreement,
    ) -> Result<Option<Commands>, ConnectError> {
        let promised: Vec<_> = fingerprints.iter().map(ToString::to_string).collect();
        let key = (hop.clone(), promised.join(" "));
        if self.config.share {
            let mut book = self.book.lock();
            let known = book.direct.get(&key).filter(|commands| !commands.is_over()).cloned();
            if let Some(commands) = known
                && book.claim(commands.id, agreement)
            {
                return Ok(Some(commands));
            }
        }
        let commands = Box::pin(connection::connect(self, hop, fingerprints, false)).await?;
        let mut book = self.book.lock();
        if self.config.share {
            book.direct.insert(key, commands.clone());
        }
        let claimed = book.claim(commands.id, agreement);
        Ok(claimed.then_some(commands))
    }
}

/// The fingerprints that count (S1-R6).
pub(crate) fn strong(all: &[Fingerprint], sha1: bool) -> Result<Vec<Fingerprint>, sdp::Rejected> {
    let kept: Vec<_> = all.iter().filter(|it| sha1 || it.hash() != sdp::Hash::Sha1).cloned().collect();
    if kept.is_empty() && !all.is_empty() { Err(sdp::Rejected::Weak) } else { Ok(kept) }
}

fn route(way: Way<'_>) -> Option<Route> {
    match way {
        Way::Relays(route) => Some(route),
        Way::Direct | Way::Listening(_) => None,
    }
}

type Names = HashMap<String, Vec<IpAddr>>;

/// The addresses of all names of a description, which are compared with each other (RFC 6714 §4.4).
async fn look_up(description: &Description) -> Names {
    let mut names = Names::new();
    let hosts = description.path.uris().iter().map(|uri| uri.host().to_string());
    for host in hosts.chain(description.address.clone()) {
        if host.parse::<IpAddr>().is_err() && !host.starts_with('[') && !host.ends_with(".invalid") {
            let found: Option<Vec<_>> =
                lookup_host((host.as_str(), 0)).await.ok().map(|all| all.map(|one| one.ip()).collect());
            names.insert(host, found.unwrap_or_default());
        }
    }
    names
}

fn found(names: &Names, name: &str) -> Vec<IpAddr> {
    names.get(name).cloned().unwrap_or_default()
}
