//! Relays and endpoints on wires of memory, in virtual time: what a host does with sockets, done with vectors.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use nuncio_msrp::endpoint::{self, ConnectionId, Directory, Endpoint, Session};
use nuncio_msrp::lanes::{self, Lanes};
use nuncio_msrp::relay::{
    Account, Answer, Bounds, Command, Config, Direction, Event, Flow, Frame, Holder, Link, LinkId, Next,
    NonceKey, Piece, Question, Registry,
};
use nuncio_sansio::pair::{Counter, Script, Side, facts};
use nuncio_sansio::{ClientCertificate, Entropy, Eof, Machine as _, Time, TlsFacts};
use zeroize::Zeroizing;

/// One end of a wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum End {
    Relay(usize, LinkId),
    Endpoint(usize),
    /// The test itself.
    Raw(usize),
}

pub(crate) struct Relay {
    pub(crate) name: String,
    pub(crate) registry: Rc<RefCell<Registry>>,
    pub(crate) config: Arc<Config>,
    pub(crate) links: BTreeMap<LinkId, Side<Link>>,
    /// What waits for a connection, in fair order.
    lanes: BTreeMap<LinkId, Lanes<Flow, Command>>,
    /// Where the SENDs go that have begun.
    flows: BTreeMap<Flow, LinkId>,
    /// What was told of logins and ends.
    pub(crate) log: Vec<String>,
    next: u64,
}

#[derive(Default)]
pub(crate) struct World {
    pub(crate) now: Time,
    pub(crate) relays: Vec<Relay>,
    pub(crate) endpoints: Vec<Side<Endpoint>>,
    pub(crate) raw: Vec<Vec<u8>>,
    wires: Vec<(End, End)>,
    /// Who listens under which host name.
    listeners: BTreeMap<String, Session>,
    /// How often a source was held.
    pub(crate) held: usize,
    /// Hosts that a relay was asked to connect to, and could not.
    pub(crate) unreachable: Vec<String>,
}

pub(crate) fn certificate(name: &str) -> TlsFacts {
    TlsFacts {
        client_certificate: Some(ClientCertificate {
            chain: vec![Bytes::from(name.to_owned())],
            xmpp_addresses: Vec::new(),
            trusted: true,
        }),
        peer_certificates: vec![Bytes::from(name.to_owned())],
        ..facts()
    }
}

impl World {
    pub(crate) fn relay(&mut self, name: &str) -> usize {
        self.relay_with(name, Bounds::default(), |_| {})
    }

    pub(crate) fn relay_with(
        &mut self,
        name: &str,
        bounds: Bounds,
        change: impl FnOnce(&mut Config),
    ) -> usize {
        let registry = Registry::new(name, 2855, Vec::new(), bounds).expect("a name");
        let entropy = Counter::default();
        let nonces = Arc::new(NonceKey::new(&entropy, Duration::from_secs(300)));
        let mut config = Config::new(registry.ours().to_vec(), nonces);
        change(&mut config);
        self.relays.push(Relay {
            name: name.to_owned(),
            registry: Rc::new(RefCell::new(registry)),
            config: Arc::new(config),
            links: BTreeMap::new(),
            lanes: BTreeMap::new(),
            flows: BTreeMap::new(),
            log: Vec::new(),
            next: 0,
        });
        self.relays.len() - 1
    }

    /// A new connection of a relay.
    fn link(&mut self, relay: usize, direction: Direction, tls: Option<TlsFacts>) -> LinkId {
        let now = self.now;
        let hub = &mut self.relays[relay];
        hub.next += 1;
        let id = LinkId(hub.next);
        let seed: Arc<dyn Entropy> = Arc::new(Seeded(relay as u64 * 1_000 + hub.next, Counter::default()));
        let machine = Link::new(id, direction, Arc::clone(&hub.config), Arc::clone(&seed), now);
        let registry = Rc::clone(&hub.registry);
        let script = Script::new(move |now, question| {
            let mut registry = registry.borrow_mut();
            match question {
                Question::Route { to, from } => Answer::Route(registry.route(now, id, &to, &from)),
                Question::Relay { chain, host } => {
                    let proven = chain.first().is_some_and(|der| der[..] == *host.to_string().as_bytes());
                    if proven {
                        registry.proven(id, host);
                    }
                    Answer::Relay(proven)
                }
                Question::Credentials { username, .. } => {
                    Answer::Credentials(["alice", "bob", "carol"].contains(&&*username).then(|| Account {
                        holder: Holder::new(&username, 0),
                        password: Zeroizing::new(format!("{username}'s password")),
                        allowed: username != "carol",
                        seconds: None,
                    }))
                }
                Question::Certified { .. } => Answer::Credentials(None),
                Question::Issue { holder, owner, from, seconds } => {
                    Answer::Issued(registry.issue(now, &holder, owner, from, seconds, &*seed))
                }
            }
        });
        let mut side = Side::new(machine, script);
        if direction == Direction::Inbound {
            hub.registry.borrow_mut().opened(id, None);
        }
        side.start(now);
        if let Some(tls) = tls {
            side.secured(now, tls);
        }
        hub.links.insert(id, side);
        hub.lanes.insert(id, Lanes::new(lanes::Bounds { quantum: 4_096, lane: 65_536, total: 1 << 20 }));
        id
    }

    /// The test as a peer of a relay. Gives its number and the connection.
    pub(crate) fn raw(&mut self, relay: usize, tls: Option<TlsFacts>) -> (usize, LinkId) {
        let link = self.link(relay, Direction::Inbound, tls);
        self.raw.push(Vec::new());
        let number = self.raw.len() - 1;
        self.wires.push((End::Relay(relay, link), End::Raw(number)));
        (number, link)
    }

    /// A client with a connection to a relay.
    pub(crate) fn client(&mut self, relay: usize) -> usize {
        let link = self.link(relay, Direction::Inbound, Some(facts()));
        let number = self.endpoint(None);
        self.wires.push((End::Relay(relay, link), End::Endpoint(number)));
        number
    }

    /// An endpoint without a connection, and the session it waits for.
    fn endpoint(&mut self, session: Option<Session>) -> usize {
        let mut directory = Directory::default();
        if let Some(session) = session {
            assert!(directory.add(Arc::new(session), Vec::new()));
        }
        let seed: Arc<dyn Entropy> = Arc::new(Seeded(77 + self.endpoints.len() as u64, Counter::default()));
        let config =
            endpoint::Config { binding: Duration::from_secs(100_000), ..endpoint::Config::default() };
        let machine = Endpoint::new(Arc::new(config), seed, self.now);
        let script = Script::new(move |_, question| match question {
            endpoint::Question::Bind { to, from, secured, certificate } => endpoint::Answer::Bind(
                directory.bind(ConnectionId(1), &to, &from, secured, certificate.as_ref()),
            ),
        });
        let mut side = Side::new(machine, script);
        side.start(self.now);
        side.secured(self.now, facts());
        self.endpoints.push(side);
        self.endpoints.len() - 1
    }

    /// Whoever connects to this host reaches an endpoint with this session.
    pub(crate) fn listen(&mut self, host: &str, session: Session) {
        self.listeners.insert(host.to_owned(), session);
    }

    pub(crate) fn tell(&mut self, client: usize, command: endpoint::Command) {
        self.endpoints[client].command(self.now, command);
        self.run(0);
    }

    /// Sends bytes as the test; gives what came back.
    pub(crate) fn say(&mut self, raw: usize, bytes: impl AsRef<[u8]>) -> Vec<u8> {
        let far = self.far(End::Raw(raw));
        self.deliver(far, bytes.as_ref());
        self.run(0);
        std::mem::take(&mut self.raw[raw])
    }

    pub(crate) fn cut(&mut self, end: End) {
        match end {
            End::Relay(relay, link) => {
                let now = self.now;
                if let Some(side) = self.relays[relay].links.get_mut(&link) {
                    side.eof(now, Eof::Reset);
                }
            }
            End::Endpoint(number) => self.endpoints[number].eof(self.now, Eof::Reset),
            End::Raw(_) => {}
        }
        self.run(0);
    }

    pub(crate) fn far(&self, end: End) -> End {
        let wire = self.wires.iter().find(|(a, b)| *a == end || *b == end).expect("a wire");
        if wire.0 == end { wire.1 } else { wire.0 }
    }

    fn deliver(&mut self, end: End, bytes: &[u8]) {
        match end {
            End::Relay(relay, link) => {
                let now = self.now;
                if let Some(side) = self.relays[relay].links.get_mut(&link) {
                    side.bytes(now, bytes);
                }
            }
            End::Endpoint(number) => self.endpoints[number].bytes(self.now, bytes),
            End::Raw(number) => self.raw[number].extend_from_slice(bytes),
        }
    }

    /// Carries everything to where it goes, and lets time pass.
    pub(crate) fn run(&mut self, seconds: u64) {
        let until = self.now + Duration::from_secs(seconds);
        loop {
            while self.settle() {}
            let due = self
                .relays
                .iter()
                .flat_map(|relay| relay.links.values().filter_map(Side::due))
                .chain(self.endpoints.iter().filter_map(Side::due))
                .min();
            match due {
                Some(due) if due <= until => {
                    self.now = self.now.max(due);
                    let now = self.now;
                    for relay in &mut self.relays {
                        relay.links.values_mut().for_each(|side| side.run_until(now));
                    }
                    self.endpoints.iter_mut().for_each(|side| side.run_until(now));
                }
                _ => break,
            }
        }
        self.now = until;
    }

    /// Whether anything moved.
    fn settle(&mut self) -> bool {
        let mut moved = false;
        for (a, b) in self.wires.clone() {
            for (from, to) in [(a, b), (b, a)] {
                let sent = match from {
                    End::Relay(relay, link) => {
                        self.relays[relay].links.get_mut(&link).map(Side::take_sent).unwrap_or_default()
                    }
                    End::Endpoint(number) => self.endpoints[number].take_sent(),
                    End::Raw(_) => Vec::new(),
                };
                if !sent.is_empty() {
                    moved = true;
                    self.deliver(to, &sent);
                }
            }
        }
        for relay in 0..self.relays.len() {
            let events: Vec<_> = self.relays[relay]
                .links
                .iter_mut()
                .flat_map(|(id, side)| side.take_events().into_iter().map(|event| (*id, event)))
                .collect();
            moved |= !events.is_empty();
            for (link, event) in events {
                self.event(relay, link, event);
            }
            let now = self.now;
            let hub = &mut self.relays[relay];
            let mut free = Vec::new();
            for (link, lanes) in &mut hub.lanes {
                while let Some((command, _, room)) = lanes.pop(false) {
                    moved = true;
                    free.extend(room);
                    if let Some(side) = hub.links.get_mut(link) {
                        side.command(now, command);
                    }
                }
            }
            for flow in free {
                if let Some(side) = hub.links.get_mut(&flow.source) {
                    side.command(now, Command::Resume(flow));
                    assert!(side.machine().wants_bytes());
                }
            }
        }
        moved
    }

    fn event(&mut self, relay: usize, source: LinkId, event: Event) {
        match event {
            Event::Secured(_) => {}
            Event::Piece { flow, piece } => {
                if let Piece::Head(forwarded) = &piece {
                    match self.resolve(relay, forwarded.next.clone()) {
                        Some(to) => drop(self.relays[relay].flows.insert(flow, to)),
                        // What a host does where there is no way: tell the origin.
                        None => {
                            let report = forwarded.report(nuncio_msrp::Status::TIMEOUT, &Counter::default());
                            if let Some(report) = report {
                                self.frame(relay, source, report);
                            }
                        }
                    }
                }
                let to = match &piece {
                    Piece::End(_) => self.relays[relay].flows.remove(&flow),
                    _ => self.relays[relay].flows.get(&flow).copied(),
                };
                if let Some(to) = to {
                    self.queue(relay, to, flow, piece);
                }
            }
            Event::Frame { next, frame } => {
                if let Some(to) = self.resolve(relay, next) {
                    self.frame(relay, to, frame);
                }
            }
            Event::Authorized { account } => self.relays[relay].log.push(format!("authorized {account}")),
            Event::Denied { username, .. } => self.relays[relay].log.push(format!("denied {username}")),
            Event::Closed(why) => {
                let hub = &mut self.relays[relay];
                hub.log.push(format!("closed {why:?}"));
                hub.registry.borrow_mut().closed(source);
                hub.lanes.remove(&source);
            }
        }
    }

    fn frame(&mut self, relay: usize, link: LinkId, frame: Frame) {
        let now = self.now;
        if let Some(side) = self.relays[relay].links.get_mut(&link) {
            side.command(now, Command::Frame(frame));
        }
    }

    fn queue(&mut self, relay: usize, link: LinkId, flow: Flow, piece: Piece) {
        let Some(lanes) = self.relays[relay].lanes.get_mut(&link) else { return };
        let size = piece.size();
        if lanes.push(flow, Command::Piece(flow, piece), size, false) {
            self.held += 1;
            let now = self.now;
            if let Some(side) = self.relays[relay].links.get_mut(&flow.source) {
                side.command(now, Command::Hold(flow));
                assert!(!side.machine().wants_bytes());
            }
        }
    }

    fn resolve(&mut self, relay: usize, next: Next) -> Option<LinkId> {
        let (hop, account) = match next {
            Next::Link(link) => return Some(link),
            Next::Connect { hop, account } => (hop, account),
        };
        // The first piece has it connect, those that came before the answer find it.
        let host = hop.host.to_string();
        if self.unreachable.contains(&host) {
            return None;
        }
        let known = self.wires.iter().find_map(|(a, b)| match (a, b) {
            (End::Relay(here, link), far) if *here == relay && self.is_at(*far, &host) => Some(*link),
            _ => None,
        });
        if known.is_some() {
            return known;
        }
        let far = self.relays.iter().position(|relay| relay.name == host);
        let name = self.relays[relay].name.clone();
        let there = if let Some(far) = far {
            End::Relay(far, self.link(far, Direction::Inbound, Some(certificate(&name))))
        } else if let Some(session) = self.listeners.get(&host).cloned() {
            End::Endpoint(self.endpoint(Some(session)))
        } else {
            self.unreachable.push(host);
            return None;
        };
        let link = self.link(relay, Direction::Outbound, Some(facts()));
        self.relays[relay].registry.borrow_mut().opened(link, Some((hop, account)));
        self.wires.push((End::Relay(relay, link), there));
        Some(link)
    }

    fn is_at(&self, end: End, host: &str) -> bool {
        match end {
            End::Relay(relay, _) => self.relays[relay].name == host,
            End::Endpoint(_) | End::Raw(_) => false,
        }
    }
}

/// Entropy that differs between machines.
struct Seeded(u64, Counter);

impl Entropy for Seeded {
    fn fill(&self, out: &mut [u8]) {
        self.1.fill(out);
        for (byte, seed) in out.iter_mut().zip(self.0.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_le_bytes()) {
            *byte ^= seed;
        }
    }
}
