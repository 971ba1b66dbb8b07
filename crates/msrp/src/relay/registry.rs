//! The URIs that a relay has issued, and where a request with one of them may go (RFC 4976 §6.3, §6.4): never an open relay (S1-L7).
//!
//! Plain data over all connections of a relay. Its host keeps it and answers the machines' questions from it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use nuncio_sansio::{Entropy, Time};

use super::api::Holder;
use super::seal::{Content, SealKeys};
use crate::status::Status;
use crate::uri::{Hop, Host, Path, Scheme, Transport, Uri, UriError};

/// The host's name for a connection of the relay; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u64);

/// Senders that are remembered for one URI: a peer, its relays, and those of an earlier attempt.
const SENDERS: usize = 16;

/// Until when a URI is good. Whatever goes over it shares this: a renewal and a revocation hold in the middle of a message, too.
#[derive(Debug)]
pub struct Life(AtomicU64);

impl Life {
    fn new(until: Time) -> Arc<Self> {
        let life = Self(AtomicU64::new(0));
        life.renew(until);
        Arc::new(life)
    }

    fn renew(&self, until: Time) {
        let nanos = u64::try_from(until.since_origin().as_nanos()).unwrap_or(u64::MAX);
        self.0.store(nanos, Ordering::Release);
    }

    fn end(&self) {
        self.renew(Time::ZERO);
    }

    fn until(&self) -> Time {
        Time::from_origin(Duration::from_nanos(self.0.load(Ordering::Acquire)))
    }
}

/// The lives of the URIs of ours that a request goes over: one, or two where both clients use this relay.
#[derive(Clone, Debug)]
pub struct Lives(Arc<Life>, Option<Arc<Life>>);

impl Lives {
    /// Whether one of them has expired or was revoked: nothing more of the request passes.
    pub fn are_over(&self, now: Time) -> bool {
        std::iter::once(&self.0).chain(&self.1).any(|life| life.until() <= now)
    }
}

/// So many times as often as to one of its ports connections are made to a host.
const PORTS: usize = 4;

/// To whom a URI belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owner {
    /// A client, on this connection and no other; the URI dies with it (RFC 4976 §6.3).
    Link(LinkId),
    /// A relay that has proven its name by TLS, on whatever connection it has.
    Relay(Host),
}

/// Where a request goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// To a connection that there is.
    Link(LinkId),
    /// To a connection that is to be made: the host names it, tells [`Registry::opened`] at once, and connects.
    Connect {
        /// Where to. A port that is missing is to be looked up, as is usual for AUTH (RFC 4976 §8).
        hop: Hop,
        /// On whose behalf.
        account: Arc<str>,
    },
}

/// The way of a request.
#[derive(Clone, Debug)]
pub struct Route {
    /// Where it goes.
    pub next: Next,
    /// How many URIs of its To-Path are ours, and become the beginning of its From-Path.
    pub moved: usize,
    /// The number of its session in this relay: requests with the same one keep their order, others need not wait for them.
    pub session: u64,
    /// For how long it may go.
    pub lives: Lives,
}

/// Why a request goes nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    /// The URI was not issued, has expired, or its owner has gone.
    #[error("no such URI")]
    Unknown,
    /// It neither comes from the owner of the URI nor goes to it (S1-L7).
    #[error("neither from nor to the owner of the URI")]
    NotAllowed,
    /// It comes under the name of the relay to which the URI belongs, and that is not proven on this connection.
    #[error("the relay has not proven its name")]
    Unproven,
    /// The sender speaks on another connection already (S1-03).
    #[error("the sender is on another connection")]
    Elsewhere,
    /// There is no next hop, or none that can be reached.
    #[error("no way to the next hop")]
    NoWay,
    /// The account has the relay connect too often (S1-L18).
    #[error("too many connections were asked for")]
    Budget,
}

impl RouteError {
    /// What the previous hop is answered.
    pub const fn status(self) -> Status {
        match self {
            Self::Unknown | Self::NoWay => Status::NO_SESSION,
            // Whoever may not use a URI does not learn that there is one.
            Self::NotAllowed | Self::Unproven => Status::NO_SESSION,
            Self::Elsewhere => Status::OTHER_CONNECTION,
            Self::Budget => Status::FORBIDDEN,
        }
    }
}

/// The relay's bounds over all its connections.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// URIs of one account that are good at the same time.
    pub uris_per_account: usize,
    /// Connections that the relay makes on behalf of one account, in [`Bounds::window`] (RFC 4975 §14.5, S1-L18).
    pub connects_per_account: usize,
    /// Connections that the relay makes to one port of one host, in [`Bounds::window`]; to all its ports four times as many. By port, so that
    /// who aims at ports where nobody listens does not soon cut off the relay that stands at another.
    pub connects_per_host: usize,
    /// Connections that the relay has made on behalf of one account, at the same time.
    pub links_per_account: usize,
    /// The time over which connections are counted.
    pub window: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            uris_per_account: 256,
            connects_per_account: 30,
            connects_per_host: 60,
            links_per_account: 64,
            window: Duration::from_secs(60),
        }
    }
}

#[derive(Debug)]
struct Issued {
    number: u64,
    account: Arc<str>,
    owner: Owner,
    /// The From-Path of the AUTH that it was issued for. Its first URI is the next one on the way to the owner.
    from: Path,
    life: Arc<Life>,
    /// Who has sent to it, on which connection: answers go back there.
    senders: Vec<(Uri, LinkId)>,
}

impl Issued {
    fn is_next(&self, uri: &Uri) -> bool {
        self.from.first() == Some(uri)
    }
}

#[derive(Debug, Default)]
struct Link {
    /// The relay at the other end, if it has proven its name.
    relay: Option<Host>,
    /// Where we connected to, and on whose behalf.
    made: Option<(Hop, Arc<str>)>,
    /// The session ids of the URIs that belong to it.
    owns: BTreeSet<Box<str>>,
    /// Those that senders on it have written to.
    wrote: BTreeSet<Box<str>>,
}

/// With what URIs are sealed.
#[derive(Debug)]
struct Seal {
    keys: Arc<SealKeys>,
    epoch: u64,
}

/// A hop but for its port, which may have been looked up.
type Place = (Scheme, Host, Transport);

fn place(hop: &Hop) -> Place {
    (hop.scheme, hop.host.clone(), hop.transport.clone())
}

/// The relay's knowledge.
#[derive(Debug)]
pub struct Registry {
    /// What our URIs look like: host, port.
    base: (String, u16),
    ours: Vec<Hop>,
    bounds: Bounds,
    issued: BTreeMap<Box<str>, Issued>,
    expiry: BTreeSet<(Time, Box<str>)>,
    /// The URIs of each account.
    accounts: BTreeMap<Arc<str>, BTreeSet<Box<str>>>,
    links: BTreeMap<LinkId, Link>,
    /// How many connections there are that we made on behalf of each account.
    made: BTreeMap<Arc<str>, usize>,
    /// The connections that we made, by where they lead.
    places: BTreeMap<Place, BTreeSet<LinkId>>,
    /// The connections of relays that have proven their names.
    relays: BTreeMap<Host, BTreeSet<LinkId>>,
    numbers: u64,
    seal: Option<Seal>,
    connects: VecDeque<(Time, Arc<str>, Hop)>,
}

impl Registry {
    /// A relay that issues URIs with this name and port, and is known by these other hops as well.
    ///
    /// # Errors
    /// `host` is no host. RFC 4976 §4.2 asks for a name rather than an address.
    pub fn new(host: &str, port: u16, others: Vec<Hop>, bounds: Bounds) -> Result<Self, UriError> {
        let own = Hop {
            scheme: Scheme::Msrps,
            host: Host::parse(host)?,
            port: Some(port),
            transport: Transport::Tcp,
        };
        let ours = std::iter::once(own).chain(others).collect();
        Ok(Self {
            base: (host.to_owned(), port),
            ours,
            bounds,
            issued: BTreeMap::new(),
            expiry: BTreeSet::new(),
            accounts: BTreeMap::new(),
            links: BTreeMap::new(),
            made: BTreeMap::new(),
            places: BTreeMap::new(),
            relays: BTreeMap::new(),
            numbers: 0,
            seal: None,
            connects: VecDeque::new(),
        })
    }

    /// Seals the URIs of clients behind other relays, so that whoever has these keys, and the name and port of this relay, knows them. `epoch`:
    /// when [`Time::ZERO`] was, in seconds since 1970.
    #[must_use]
    pub fn sealing(mut self, keys: Arc<SealKeys>, epoch: u64) -> Self {
        self.seal = Some(Seal { keys, epoch });
        self
    }

    /// Whether a URI names this relay: a port may be missing (RFC 4976 §8).
    pub fn is_ours(&self, uri: &Uri) -> bool {
        is_ours(&self.ours, uri)
    }

    /// The hops by which this relay is known, for [`super::Config::ours`].
    pub fn ours(&self) -> &[Hop] {
        &self.ours
    }

    /// A connection has begun, or is about to. If we make it: where to, and on whose behalf.
    pub fn opened(&mut self, link: LinkId, made: Option<(Hop, Arc<str>)>) {
        if let Some((hop, account)) = &made {
            self.places.entry(place(hop)).or_default().insert(link);
            *self.made.entry(Arc::clone(account)).or_default() += 1;
        }
        self.links.insert(link, Link { made, ..Link::default() });
    }

    /// The other end of a connection has proven by TLS to be this host (RFC 4976 §9.2, S1-L14).
    pub fn proven(&mut self, link: LinkId, relay: Host) {
        self.relays.entry(relay.clone()).or_default().insert(link);
        self.links.entry(link).or_default().relay = Some(relay);
    }

    /// A connection is over, and with it the URIs of its client.
    pub fn closed(&mut self, link: LinkId) {
        let Some(over) = self.links.remove(&link) else { return };
        if let Some((hop, account)) = &over.made {
            remove(&mut self.places, &place(hop), link);
            if let Some(count) = self.made.get_mut(account) {
                *count = count.saturating_sub(1);
                if *count == 0 {
                    self.made.remove(account);
                }
            }
        }
        if let Some(relay) = &over.relay {
            remove(&mut self.relays, relay, link);
        }
        for id in over.owns {
            self.forget(&id);
        }
        for id in over.wrote {
            if let Some(issued) = self.issued.get_mut(&id) {
                issued.senders.retain(|(_, sender)| *sender != link);
            }
        }
    }

    /// An account may not use the relay any more: its URIs are void, also for what is under way. Gives the connections of its clients.
    pub fn revoke(&mut self, account: &str) -> Vec<LinkId> {
        let ids = self.accounts.get(account).cloned().unwrap_or_default();
        let mut links = BTreeSet::new();
        for id in &ids {
            let Some(issued) = self.forget(id) else { continue };
            issued.life.end();
            if let Owner::Link(link) = issued.owner {
                links.insert(link);
            }
        }
        links.into_iter().collect()
    }

    /// A URI is no more. What is under way over it ends with its connection, or by the end of its life, which is the caller's to set.
    fn forget(&mut self, id: &str) -> Option<Issued> {
        let issued = self.issued.remove(id)?;
        self.expiry.remove(&(issued.life.until(), id.into()));
        if let Some(ids) = self.accounts.get_mut(&issued.account) {
            ids.remove(id);
            if ids.is_empty() {
                self.accounts.remove(&issued.account);
            }
        }
        let owner = match &issued.owner {
            Owner::Link(link) => Some(link),
            Owner::Relay(_) => None,
        };
        for link in owner.into_iter().chain(issued.senders.iter().map(|(_, link)| link)) {
            if let Some(link) = self.links.get_mut(link) {
                link.owns.remove(id);
                link.wrote.remove(id);
            }
        }
        Some(issued)
    }

    /// Forgets what has expired. Gives the time when there is more to forget.
    pub fn purge(&mut self, now: Time) -> Option<Time> {
        loop {
            match self.expiry.first().cloned() {
                Some((expires, id)) if expires <= now => drop(self.forget(&id)),
                later => return later.map(|(expires, _)| expires),
            }
        }
    }

    /// How many URIs are good, expired ones that were not purged included.
    pub fn len(&self) -> usize {
        self.issued.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.issued.is_empty()
    }

    /// Issues a URI with 128 unpredictable bits (RFC 4976 §6.3 asks for 64; S1-L5) for an AUTH with this From-Path. Whoever asks again
    /// with the same path keeps the URI that it has, for the new time: its sessions go on.
    ///
    /// # Errors
    /// The account has as many as it may: 403.
    pub fn issue(
        &mut self,
        now: Time,
        holder: &Holder,
        owner: Owner,
        from: Path,
        seconds: u32,
        entropy: &dyn Entropy,
    ) -> Result<Uri, Status> {
        self.purge(now);
        let expires = now + Duration::from_secs(seconds.into());
        let theirs = self.accounts.get(&holder.name);
        let same = theirs.into_iter().flatten().find_map(|id| {
            let issued = self.issued.get(id)?;
            (issued.owner == owner && issued.from == from).then_some((id, issued))
        });
        if let Some((id, issued)) = same {
            // Never for less time than it was given: its seal, or another machine, does not know of it.
            let expires = expires.max(issued.life.until());
            self.expiry.remove(&(issued.life.until(), id.clone()));
            issued.life.renew(expires);
            self.expiry.insert((expires, id.clone()));
            return self.uri(id);
        }
        if theirs.is_some_and(|theirs| theirs.len() >= self.bounds.uris_per_account) {
            return Err(Status::FORBIDDEN);
        }
        let sealed = match &owner {
            Owner::Relay(_) => self.seal(holder, &from, expires, entropy),
            Owner::Link(_) => None,
        };
        let (id, uri) = match sealed {
            Some(sealed) => sealed,
            None => {
                let id = entropy.token();
                let uri = self.uri(&id)?;
                (id, uri)
            }
        };
        self.insert(id.into(), Arc::clone(&holder.name), owner, from, expires);
        Ok(uri)
    }

    /// None without a key, and where the URI would be longer than URIs may be.
    fn seal(
        &self,
        holder: &Holder,
        from: &Path,
        expires: Time,
        entropy: &dyn Entropy,
    ) -> Option<(String, Uri)> {
        let seal = self.seal.as_ref()?;
        let content = Content {
            holder: holder.clone(),
            from: from.clone(),
            expires: seal.epoch.saturating_add(expires.since_origin().as_secs()),
        };
        let id = seal.keys.seal(&self.name(), &content, entropy)?;
        let uri = self.uri(&id).ok()?;
        Some((id, uri))
    }

    fn insert(&mut self, id: Box<str>, account: Arc<str>, owner: Owner, from: Path, expires: Time) {
        self.numbers += 1;
        self.accounts.entry(Arc::clone(&account)).or_default().insert(id.clone());
        self.expiry.insert((expires, id.clone()));
        if let Owner::Link(link) = &owner {
            self.links.entry(*link).or_default().owns.insert(id.clone());
        }
        let life = Life::new(expires);
        let issued = Issued { number: self.numbers, account, owner, from, life, senders: Vec::new() };
        self.issued.insert(id, issued);
    }

    /// Whose a URI is that is not known here, but sealed with one of our keys, and still good. If that account may still use the relay, and its
    /// generation is still this one, it is to be adopted.
    pub fn sealed(&self, now: Time, uri: &Uri) -> Option<Holder> {
        self.opened_seal(now, uri).map(|(content, _)| content.holder)
    }

    /// Takes a sealed URI for one that was issued here: another machine has issued it, or this one before its last start. False if there is
    /// nothing to adopt, or the account has as many as it may.
    pub fn adopt(&mut self, now: Time, uri: &Uri) -> bool {
        let Some((content, expires)) = self.opened_seal(now, uri) else { return false };
        let count = self.accounts.get(&content.holder.name).map_or(0, BTreeSet::len);
        let Some(id) = uri.session_id().filter(|_| count < self.bounds.uris_per_account) else {
            return false;
        };
        let Some(next) = content.from.first() else { return false };
        let owner = Owner::Relay(next.host().clone());
        self.insert(id.into(), content.holder.name, owner, content.from, expires);
        true
    }

    /// Takes back what was adopted.
    pub fn disown(&mut self, uri: &Uri) {
        if let Some(issued) = uri.session_id().and_then(|id| self.forget(id)) {
            issued.life.end();
        }
    }

    fn opened_seal(&self, now: Time, uri: &Uri) -> Option<(Content, Time)> {
        let seal = self.seal.as_ref()?;
        let id = uri.session_id().filter(|id| self.is_ours(uri) && !self.issued.contains_key(*id))?;
        let content = seal.keys.open(&self.name(), id)?;
        let expires = Time::ZERO + Duration::from_secs(content.expires.saturating_sub(seal.epoch));
        (expires > now).then_some((content, expires))
    }

    /// What seals are for.
    fn name(&self) -> String {
        let (host, port) = &self.base;
        format!("{host}:{port}")
    }

    fn uri(&self, id: &str) -> Result<Uri, Status> {
        let (host, port) = &self.base;
        let (scheme, transport) = (Scheme::Msrps.as_str(), Transport::Tcp.as_str());
        Uri::parse(&format!("{scheme}://{host}:{port}/{id};{transport}")).map_err(|_| Status::FORBIDDEN)
    }

    /// Where a request goes that came on `link` (RFC 4976 §6.4).
    ///
    /// # Errors
    /// See [`RouteError`].
    pub fn route(&mut self, now: Time, link: LinkId, to: &Path, from: &Path) -> Result<Route, RouteError> {
        let [first, second, ..] = to.uris() else { return Err(RouteError::NoWay) };
        let previous = from.first().ok_or(RouteError::NotAllowed)?;
        let issued = self.valid(now, first)?;
        let from_owner = match &issued.owner {
            Owner::Link(owner) => *owner == link,
            Owner::Relay(relay) if previous.host() != relay => false,
            Owner::Relay(relay) if self.is_relay(link, relay) => true,
            // Perhaps it is; and what goes to the owner is nobody's secret way.
            Owner::Relay(_) if !issued.is_next(second) => return Err(RouteError::Unproven),
            Owner::Relay(_) => false,
        };
        // A client that writes to itself is no exception.
        if !from_owner || issued.is_next(second) {
            return self.inward(now, first, second, 1, Some((previous, link)));
        }
        if self.is_ours(second) {
            // Both clients use this relay: it is its own next hop, and from itself a request may only go to an owner.
            let third = to.uris().get(2).ok_or(RouteError::NoWay)?;
            let life = Arc::clone(&issued.life);
            self.valid(now, second)?;
            let route = self.inward(now, second, third, 2, None)?;
            return Ok(Route { lives: Lives(route.lives.0, Some(life)), ..route });
        }
        let (session, account) = (issued.number, Arc::clone(&issued.account));
        let lives = Lives(Arc::clone(&issued.life), None);
        let known = issued.senders.iter().find(|(sender, _)| sender == second).map(|(_, link)| *link);
        let next = match known.or_else(|| self.to_hop(second.hop())) {
            Some(link) => Next::Link(link),
            None => self.connect(now, second.hop(), account)?,
        };
        Ok(Route { next, moved: 1, session, lives })
    }

    fn valid(&self, now: Time, uri: &Uri) -> Result<&Issued, RouteError> {
        let id = uri.session_id().filter(|_| self.is_ours(uri)).ok_or(RouteError::Unknown)?;
        self.issued.get(id).filter(|issued| issued.life.until() > now).ok_or(RouteError::Unknown)
    }

    /// To the owner of a URI.
    fn inward(
        &mut self,
        now: Time,
        uri: &Uri,
        next: &Uri,
        moved: usize,
        sender: Option<(&Uri, LinkId)>,
    ) -> Result<Route, RouteError> {
        let id = uri.session_id().ok_or(RouteError::Unknown)?;
        let issued = self.issued.get(id).ok_or(RouteError::Unknown)?;
        let to_owner = match &issued.owner {
            Owner::Link(owner) => Next::Link(*owner),
            Owner::Relay(relay) => {
                // Whoever has the URI writes the rest of the path: it leads to where the owner came from, and nowhere else.
                if issued.from.first().is_none_or(|first| first.hop() != next.hop()) {
                    return Err(RouteError::NotAllowed);
                }
                let there = self.relays.get(relay).and_then(BTreeSet::first).copied();
                match there.or_else(|| self.to_hop(next.hop())) {
                    Some(link) => Next::Link(link),
                    None => self.connect(now, next.hop(), Arc::clone(&issued.account))?,
                }
            }
        };
        let issued = self.issued.get_mut(id).ok_or(RouteError::Unknown)?;
        if let Some((sender, link)) = sender {
            match issued.senders.iter().find(|(known, _)| known == sender) {
                // S1-03; a relay may have several connections, and has proven that they are its own.
                Some((_, known)) if *known != link => {
                    let relay = self.links.get(&link).and_then(|link| link.relay.as_ref());
                    if relay != Some(sender.host()) {
                        return Err(RouteError::Elsewhere);
                    }
                }
                Some(_) => {}
                None if issued.senders.len() >= SENDERS => return Err(RouteError::NotAllowed),
                None => {
                    issued.senders.push((sender.clone(), link));
                    self.links.entry(link).or_default().wrote.insert(id.into());
                }
            }
        }
        let lives = Lives(Arc::clone(&issued.life), None);
        Ok(Route { next: to_owner, moved, session: issued.number, lives })
    }

    fn is_relay(&self, link: LinkId, relay: &Host) -> bool {
        self.links.get(&link).is_some_and(|link| link.relay.as_ref() == Some(relay))
    }

    /// A connection that we made to this hop. One whose port was looked up (RFC 4976 §8) leads to the host under any.
    fn to_hop(&self, hop: &Hop) -> Option<LinkId> {
        let links = self.places.get(&place(hop))?;
        let leads = |link: &&LinkId| {
            let port = self.links.get(link).and_then(|link| link.made.as_ref()?.0.port);
            port == hop.port || port.is_none() || hop.port.is_none()
        };
        links.iter().find(leads).copied()
    }

    /// S1-L18, RFC 4975 §14.5: an answer's path may aim us at a victim, so connections are counted.
    fn connect(&mut self, now: Time, hop: &Hop, account: Arc<str>) -> Result<Next, RouteError> {
        if hop.transport != Transport::Tcp {
            return Err(RouteError::NoWay);
        }
        while self.connects.front().is_some_and(|(at, ..)| *at + self.bounds.window <= now) {
            self.connects.pop_front();
        }
        let by_account = self.connects.iter().filter(|(_, by, _)| *by == account).count();
        let to_hop = self.connects.iter().filter(|(.., to)| to == hop).count();
        let to_host = self.connects.iter().filter(|(.., to)| to.host == hop.host).count();
        let open = self.made.get(&account).copied().unwrap_or_default();
        if by_account >= self.bounds.connects_per_account
            || to_hop >= self.bounds.connects_per_host
            || to_host >= self.bounds.connects_per_host.saturating_mul(PORTS)
            || open >= self.bounds.links_per_account
        {
            return Err(RouteError::Budget);
        }
        self.connects.push_back((now, Arc::clone(&account), hop.clone()));
        Ok(Next::Connect { hop: hop.clone(), account })
    }
}

/// Whether a URI names one of these hops; its port may be missing.
pub(super) fn is_ours(ours: &[Hop], uri: &Uri) -> bool {
    let hop = uri.hop();
    ours.iter().any(|our| {
        our.scheme == hop.scheme
            && our.host == hop.host
            && our.transport == hop.transport
            && (our.port == hop.port || (hop.port.is_none() && uri.session_id().is_none()))
    })
}

fn remove<K: Ord>(index: &mut BTreeMap<K, BTreeSet<LinkId>>, key: &K, link: LinkId) {
    if let Some(links) = index.get_mut(key) {
        links.remove(&link);
        if links.is_empty() {
            index.remove(key);
        }
    }
}

#[cfg(test)]
mod tests;
