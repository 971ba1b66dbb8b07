//! The URIs that a relay has issued, and where a request with one of them may go (RFC 4976 §6.3, §6.4): never an open relay (S1-L7).
//!
//! Plain data over all connections of a relay. Its host keeps it and answers the machines' questions from it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use nuncio_sansio::{Entropy, Time};

use crate::status::Status;
use crate::uri::{Hop, Host, Path, Scheme, Transport, Uri, UriError};

/// The host's name for a connection of the relay; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u64);

/// Senders that are remembered for one URI: a peer, its relays, and those of an earlier attempt.
const SENDERS: usize = 16;

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
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Where it goes.
    pub next: Next,
    /// How many URIs of its To-Path are ours, and become the beginning of its From-Path.
    pub moved: usize,
    /// The number of its session in this relay: requests with the same one keep their order, others need not wait for them.
    pub session: u64,
    /// When the URI expires on which it goes: nothing of it passes later.
    pub until: Time,
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
            Self::NotAllowed => Status::NO_SESSION,
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
    /// Connections that the relay makes to one host, in [`Bounds::window`].
    pub connects_per_host: usize,
    /// The time over which connections are counted.
    pub window: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            uris_per_account: 256,
            connects_per_account: 30,
            connects_per_host: 60,
            window: Duration::from_secs(60),
        }
    }
}

#[derive(Debug)]
struct Issued {
    number: u64,
    account: Arc<str>,
    owner: Owner,
    /// The owner's own URI.
    client: Uri,
    expires: Time,
    /// Who has sent to it, on which connection: answers go back there.
    senders: Vec<(Uri, LinkId)>,
}

#[derive(Debug, Default)]
struct Link {
    /// The relay at the other end, if it has proven its name.
    relay: Option<Host>,
    /// Where we connected to.
    hop: Option<Hop>,
    /// The session ids of the URIs that belong to it.
    owns: BTreeSet<Box<str>>,
    /// Those that senders on it have written to.
    wrote: BTreeSet<Box<str>>,
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
    counts: BTreeMap<Arc<str>, usize>,
    links: BTreeMap<LinkId, Link>,
    /// The connections that we made, by where they lead.
    places: BTreeMap<Place, BTreeSet<LinkId>>,
    /// The connections of relays that have proven their names.
    relays: BTreeMap<Host, BTreeSet<LinkId>>,
    numbers: u64,
    connects: VecDeque<(Time, Arc<str>, Host)>,
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
            counts: BTreeMap::new(),
            links: BTreeMap::new(),
            places: BTreeMap::new(),
            relays: BTreeMap::new(),
            numbers: 0,
            connects: VecDeque::new(),
        })
    }

    /// Whether a URI names this relay: a port may be missing (RFC 4976 §8).
    pub fn is_ours(&self, uri: &Uri) -> bool {
        is_ours(&self.ours, uri)
    }

    /// The hops by which this relay is known, for [`super::Config::ours`].
    pub fn ours(&self) -> &[Hop] {
        &self.ours
    }

    /// A connection has begun, or is about to: `hop` if we make it.
    pub fn opened(&mut self, link: LinkId, hop: Option<Hop>) {
        if let Some(hop) = &hop {
            self.places.entry(place(hop)).or_default().insert(link);
        }
        self.links.insert(link, Link { hop, ..Link::default() });
    }

    /// The other end of a connection has proven by TLS to be this host (RFC 4976 §9.2, S1-L14).
    pub fn proven(&mut self, link: LinkId, relay: Host) {
        self.relays.entry(relay.clone()).or_default().insert(link);
        self.links.entry(link).or_default().relay = Some(relay);
    }

    /// A connection is over, and with it the URIs of its client.
    pub fn closed(&mut self, link: LinkId) {
        let Some(over) = self.links.remove(&link) else { return };
        if let Some(hop) = &over.hop {
            remove(&mut self.places, &place(hop), link);
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

    /// An account may not use the relay any more: its URIs are void. Gives the connections of its clients.
    pub fn revoke(&mut self, account: &str) -> Vec<LinkId> {
        let theirs = self.issued.iter().filter(|(_, issued)| &*issued.account == account);
        let ids: Vec<_> = theirs.map(|(id, _)| id.clone()).collect();
        let links: BTreeSet<_> = ids
            .iter()
            .filter_map(|id| match self.forget(id)?.owner {
                Owner::Link(link) => Some(link),
                Owner::Relay(_) => None,
            })
            .collect();
        links.into_iter().collect()
    }

    fn forget(&mut self, id: &str) -> Option<Issued> {
        let issued = self.issued.remove(id)?;
        self.expiry.remove(&(issued.expires, id.into()));
        if let Some(count) = self.counts.get_mut(&issued.account) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.counts.remove(&issued.account);
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

    /// Issues a URI with 128 unpredictable bits (RFC 4976 §6.3 asks for 64; S1-L5), for `client`, the last URI of whose AUTH's From-Path
    /// this is.
    ///
    /// # Errors
    /// The account has as many as it may: 403.
    pub fn issue(
        &mut self,
        now: Time,
        account: &str,
        owner: Owner,
        client: Uri,
        seconds: u32,
        entropy: &dyn Entropy,
    ) -> Result<Uri, Status> {
        self.purge(now);
        let account: Arc<str> = account.into();
        if self.counts.get(&account).is_some_and(|count| *count >= self.bounds.uris_per_account) {
            return Err(Status::FORBIDDEN);
        }
        let (host, port) = &self.base;
        let uri = Uri::of_session(Scheme::Msrps, host, *port, &Transport::Tcp, entropy)
            .map_err(|_| Status::FORBIDDEN)?;
        let id: Box<str> = uri.session_id().unwrap_or_default().into();
        let expires = now + Duration::from_secs(seconds.into());
        self.numbers += 1;
        *self.counts.entry(Arc::clone(&account)).or_default() += 1;
        self.expiry.insert((expires, id.clone()));
        if let Owner::Link(link) = &owner {
            self.links.entry(*link).or_default().owns.insert(id.clone());
        }
        let issued = Issued { number: self.numbers, account, owner, client, expires, senders: Vec::new() };
        self.issued.insert(id, issued);
        Ok(uri)
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
            Owner::Relay(relay) => self.is_relay(link, relay) && previous.host() == relay,
        };
        // A client that writes to itself is no exception.
        if !from_owner || *second == issued.client {
            return self.inward(now, first, second, 1, Some((previous, link)));
        }
        if self.is_ours(second) {
            // Both clients use this relay: it is its own next hop, and from itself a request may only go to an owner.
            let third = to.uris().get(2).ok_or(RouteError::NoWay)?;
            let until = issued.expires;
            self.valid(now, second)?;
            let route = self.inward(now, second, third, 2, None)?;
            return Ok(Route { until: route.until.min(until), ..route });
        }
        let (session, account, until) = (issued.number, Arc::clone(&issued.account), issued.expires);
        let known = issued.senders.iter().find(|(sender, _)| sender == second).map(|(_, link)| *link);
        let next = match known.or_else(|| self.to_hop(second.hop())) {
            Some(link) => Next::Link(link),
            None => self.connect(now, second.hop(), account)?,
        };
        Ok(Route { next, moved: 1, session, until })
    }

    fn valid(&self, now: Time, uri: &Uri) -> Result<&Issued, RouteError> {
        let id = uri.session_id().filter(|_| self.is_ours(uri)).ok_or(RouteError::Unknown)?;
        self.issued.get(id).filter(|issued| issued.expires > now).ok_or(RouteError::Unknown)
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
                if next.host() != relay {
                    return Err(RouteError::NotAllowed);
                }
                let there = self.relays.get(relay).and_then(BTreeSet::first).copied();
                match there.or_else(|| self.to_hop(next.hop())) {
                    Some(link) => Next::Link(link),
                    // Whoever has the URI has us connect, to a port of his choice: the owner's budget bounds it.
                    None => self.connect(now, next.hop(), Arc::clone(&issued.account))?,
                }
            }
        };
        let issued = self.issued.get_mut(id).ok_or(RouteError::Unknown)?;
        if let Some((sender, link)) = sender {
            match issued.senders.iter().find(|(known, _)| known == sender) {
                // S1-03; a relay may have several connections.
                Some((_, known)) if *known != link => {
                    if self.links.get(&link).is_none_or(|link| link.relay.is_none()) {
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
        Ok(Route { next: to_owner, moved, session: issued.number, until: issued.expires })
    }

    fn is_relay(&self, link: LinkId, relay: &Host) -> bool {
        self.links.get(&link).is_some_and(|link| link.relay.as_ref() == Some(relay))
    }

    /// A connection that we made to this hop. One whose port was looked up (RFC 4976 §8) leads to the host under any.
    fn to_hop(&self, hop: &Hop) -> Option<LinkId> {
        let links = self.places.get(&place(hop))?;
        let leads = |link: &&LinkId| {
            let port = self.links.get(link).and_then(|link| link.hop.as_ref()?.port);
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
        let to_host = self.connects.iter().filter(|(.., host)| *host == hop.host).count();
        if by_account >= self.bounds.connects_per_account || to_host >= self.bounds.connects_per_host {
            return Err(RouteError::Budget);
        }
        self.connects.push_back((now, Arc::clone(&account), hop.host.clone()));
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
mod tests {
    use nuncio_sansio::pair::Counter;

    use super::*;

    /// Whatever comes and goes, nothing stays behind; and what is forgotten by one index is forgotten by all.
    #[test]
    fn nothing_outlives_its_connection_or_its_time() {
        let entropy = Counter::default();
        let uri = |text: &str| Uri::parse(text).expect("a URI");
        let path =
            |uris: &[&Uri]| Path::new(uris.iter().map(|uri| (*uri).clone()).collect()).expect("not empty");
        let at = |seconds| Time::ZERO + Duration::from_secs(seconds);
        for end in ["links first", "time first", "accounts first"] {
            let mut registry =
                Registry::new("relay.example", 2855, Vec::new(), Bounds::default()).expect("a name");
            let far = uri("msrps://far.example:2855;tcp");
            for link in 0..8 {
                registry.opened(LinkId(link), (link >= 6).then(|| far.hop().clone()));
            }
            registry.proven(LinkId(5), far.host().clone());
            let client = uri("msrps://client.example:1/abc;tcp");
            for number in 0..20 {
                let owner = match number % 5 {
                    4 => Owner::Relay(far.host().clone()),
                    link => Owner::Link(LinkId(link)),
                };
                let account = if number % 2 == 0 { "even" } else { "odd" };
                let token = registry
                    .issue(at(number), account, owner, client.clone(), 60, &entropy)
                    .expect("few enough");
                for sender in [4, 6, number % 5] {
                    let from = uri(&format!("msrps://sender.example:1/s{sender};tcp"));
                    let next = if number % 5 == 4 { &far } else { &client };
                    let route =
                        registry.route(at(number), LinkId(sender), &path(&[&token, next]), &path(&[&from]));
                    assert!(route.is_ok(), "{route:?}");
                }
            }
            assert_eq!(registry.len(), 20);
            match end {
                "time first" => {
                    assert_eq!(registry.purge(at(65)), Some(at(66)));
                    assert_eq!((registry.len(), registry.purge(at(200))), (14, None));
                }
                "accounts first" => {
                    assert_eq!(registry.revoke("even").len(), 4);
                    assert_eq!(registry.len(), 10);
                    assert_eq!(registry.revoke("odd").len(), 4);
                }
                _ => {}
            }
            for link in 0..8 {
                registry.closed(LinkId(link));
            }
            registry.purge(at(200));
            assert!(
                registry.issued.is_empty() && registry.expiry.is_empty() && registry.counts.is_empty(),
                "{end}"
            );
            assert!(
                registry.links.is_empty() && registry.places.is_empty() && registry.relays.is_empty(),
                "{end}"
            );
        }
    }

    /// S1-L18: who has a URI of a client behind another relay may write that relay's name with any port; how often we connect there is bounded.
    #[test]
    fn a_stranger_has_us_connect_within_the_owners_budget_only() {
        let entropy = Counter::default();
        let uri = |text: &str| Uri::parse(text).expect("a URI");
        let bounds = Bounds { connects_per_account: 2, ..Bounds::default() };
        let mut registry = Registry::new("relay.example", 2855, Vec::new(), bounds).expect("a name");
        registry.opened(LinkId(1), None);
        let (far, client) = (uri("msrps://far.example:2855;tcp"), uri("msrps://client.example:1/abc;tcp"));
        let owner = Owner::Relay(far.host().clone());
        let token = registry.issue(Time::ZERO, "romeo", owner, client, 60, &entropy).expect("the first");
        let mut ask = |next: &str| {
            let to = Path::new(vec![token.clone(), uri(next)]).expect("two");
            let from = Path::from(uri("msrps://stranger.example:1/s;tcp"));
            registry.route(Time::ZERO, LinkId(1), &to, &from).map(|route| route.next)
        };
        for port in [1, 2] {
            let next = ask(&format!("msrps://far.example:{port}/x;tcp"));
            assert!(matches!(next, Ok(Next::Connect { .. })), "{next:?}");
        }
        assert_eq!(ask("msrps://far.example:3/x;tcp"), Err(RouteError::Budget));
        assert_eq!(ask("msrps://far.example:4/x;ws"), Err(RouteError::NoWay));
        assert_eq!(ask("msrps://victim.example:5/x;tcp"), Err(RouteError::NotAllowed));
    }
}
