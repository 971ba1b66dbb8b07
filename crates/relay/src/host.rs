//! What one connection of the relay asks, hears and is told.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use nuncio_dna::Certificate;
use nuncio_msrp::Status;
use nuncio_msrp::relay::{
    Account, Answer, Closed, Command, Direction, Event, Flow, LinkId, Next, Owner, Piece, Question,
    RouteError,
};
use nuncio_net::Permit;
use nuncio_net::listen::Counted;
use nuncio_sansio::{Host, Machine, Time, TlsFacts, Waiting};

use crate::hub::Hub;
use crate::mailbox::{Mailbox, Put};
use crate::metrics::{Login, Why};
use crate::out::Dialed;

/// As much as is logged of a name that somebody may have made up.
fn brief(name: &str) -> String {
    name.chars().take(64).collect()
}

/// The host of one connection.
pub(crate) struct LinkHost {
    hub: Arc<Hub>,
    id: LinkId,
    mail: Arc<Mailbox>,
    direction: Direction,
    peer: IpAddr,
    /// A place in the budget of connections.
    place: Option<(Permit, Counted)>,
    /// Where we connected to.
    dialed: Option<Box<Dialed>>,
    /// What TLS found out, if the peer has shown a certificate.
    facts: Option<Box<TlsFacts>>,
    /// Whether nothing may be sent: the peer is not who it should be.
    unproven: bool,
    /// Where the pieces go of SENDs from here that have begun.
    ways: BTreeMap<Flow, Arc<Mailbox>>,
    /// For how long the credentials are good that were asked for last.
    asked: Option<Duration>,
    /// Whether the URI that was asked for last belongs to the client at the other end, and to none behind it.
    direct: bool,
    /// When the credentials end that were accepted last.
    until: Option<Time>,
    /// Whether the peer is a relay that has proven its name.
    relay: bool,
    why: Closed,
}

impl LinkHost {
    pub(crate) fn incoming(
        hub: Arc<Hub>,
        (id, mail): (LinkId, Arc<Mailbox>),
        peer: IpAddr,
        place: (Permit, Counted),
    ) -> Self {
        Self { place: Some(place), ..Self::new(hub, id, mail, Direction::Inbound, peer) }
    }

    pub(crate) fn outgoing(hub: Arc<Hub>, id: LinkId, mail: Arc<Mailbox>, dialed: Dialed) -> Self {
        let peer = dialed.peer.ip();
        Self { dialed: Some(Box::new(dialed)), ..Self::new(hub, id, mail, Direction::Outbound, peer) }
    }

    pub(crate) const fn new(
        hub: Arc<Hub>,
        id: LinkId,
        mail: Arc<Mailbox>,
        direction: Direction,
        peer: IpAddr,
    ) -> Self {
        Self {
            hub,
            id,
            mail,
            direction,
            peer,
            place: None,
            dialed: None,
            facts: None,
            unproven: false,
            ways: BTreeMap::new(),
            asked: None,
            direct: false,
            until: None,
            relay: false,
            why: Closed::Cut,
        }
    }

    /// Somebody useful is there: it counts no longer as a stranger.
    fn useful(&self) {
        if let Some((permit, _)) = &self.place {
            permit.authenticated();
        }
    }

    /// For how many seconds the certificate is still valid that the peer has shown.
    fn certificate_left(&self) -> Option<u32> {
        let leaf = self.facts.as_ref()?.peer_certificates.first()?;
        let left = Certificate::read(leaf).ok()?.not_after.since(SystemTime::now().into());
        Some(u32::try_from(left.as_secs()).unwrap_or(u32::MAX))
    }

    fn account(&mut self, found: Option<Account>) -> Answer {
        self.asked = found
            .as_ref()
            .and_then(|account| account.seconds)
            .map(|seconds| Duration::from_secs(seconds.into()));
        Answer::Credentials(found)
    }

    fn piece(&mut self, flow: Flow, piece: Piece) {
        match &piece {
            Piece::Head(forwarded) => {
                self.hub.metrics.sends.inc();
                let mail = match &forwarded.next {
                    Next::Link(link) => self.hub.mail(*link),
                    Next::Connect { .. } => None,
                };
                let Some(to) = mail else {
                    // It has gone since it was routed.
                    self.hub.undelivered(&piece, &self.mail, Status::TIMEOUT);
                    return;
                };
                self.ways.insert(flow, to);
            }
            Piece::Data(bytes) => {
                self.hub.metrics.body_bytes.inc_by(u64::try_from(bytes.len()).unwrap_or_default());
            }
            Piece::End(_) => {}
        }
        let ended = matches!(piece, Piece::End(_));
        let Some(way) = self.ways.get(&flow) else { return };
        let gone = match way.put(flow, piece, &self.mail) {
            Put::Taken => false,
            Put::Full => {
                self.hub.metrics.holds.inc();
                false
            }
            Put::Closed(piece) => {
                self.hub.undelivered(&piece, &self.mail, Status::TIMEOUT);
                true
            }
        };
        if ended || gone {
            self.ways.remove(&flow);
        }
    }

    fn heard(&mut self, event: Event) -> Option<Waiting<'_>> {
        match event {
            Event::Piece { flow, piece } => self.piece(flow, piece),
            Event::Frame { next, frame } => self.hub.frame(&next, frame),
            Event::Secured(facts) => {
                if self.direction == Direction::Outbound {
                    return Some(Box::pin(self.judge(facts)));
                }
                self.facts = Some(facts).filter(|facts| !facts.peer_certificates.is_empty());
            }
            Event::Authorized { account } => {
                self.useful();
                self.hub.metrics.logins.get_or_create(&Login { result: "granted" }).inc();
                let until = self.asked.take().map(|good| self.hub.clock.now() + good);
                // Where it came through a relay the connection is that relay's, and others' too: the URI ends, the connection does not.
                if self.direct {
                    self.hub.good_until(self.id, self.until, until);
                    self.until = until;
                }
                tracing::info!(link = self.id.0, peer = %self.peer, %account, "a URI of the MSRP relay was issued");
            }
            Event::Denied { username, wrong } => {
                let result = if wrong { "wrong" } else { "forbidden" };
                self.hub.metrics.logins.get_or_create(&Login { result }).inc();
                tracing::info!(link = self.id.0, peer = %self.peer, username = %brief(&username), wrong, "a login at the MSRP relay was refused");
                if wrong && !self.relay {
                    self.hub.accounts.failed(&username, self.peer);
                }
            }
            Event::Closed(why) => self.why = why,
        }
        None
    }

    /// Whether the host that we connected to is who its URI says (S1-04).
    async fn judge(&mut self, facts: Box<TlsFacts>) {
        let Some(dialed) = &self.dialed else { return };
        match self.hub.prove_server(dialed, &facts).await {
            Ok(proof) => {
                tracing::info!(link = self.id.0, host = %dialed.hop.host, %proof, "the next hop is proven");
                self.hub.registry.lock().proven(self.id, dialed.hop.host.clone());
            }
            Err(why) => {
                self.hub.metrics.dial_failures.get_or_create(&Why { why: "unproven" }).inc();
                tracing::info!(link = self.id.0, host = %dialed.hop.host, why, "the next hop is not proven; nothing was sent");
                self.unproven = true;
            }
        }
    }
}

impl<M> Host<M> for LinkHost
where
    M: Machine<Question = Question, Answer = Answer, Event = Event, Command = Command>,
{
    async fn ask(&mut self, question: Question) -> Answer {
        match question {
            Question::Route { to, from } => {
                let mut route = self.hub.route(self.id, &to, &from);
                if matches!(route, Err(RouteError::Unknown)) && self.hub.adopt(&to).await {
                    route = self.hub.route(self.id, &to, &from);
                }
                match &route {
                    Ok(_) => self.useful(),
                    Err(error) => self.hub.unroutable(*error),
                }
                Answer::Route(route)
            }
            Question::Relay { host, .. } => {
                let Some(facts) = &self.facts else { return Answer::Relay(false) };
                let proven = match self.hub.prove_relay(&host, facts).await {
                    Ok(proof) => {
                        tracing::info!(link = self.id.0, peer = %self.peer, relay = %host, %proof, "a relay is proven");
                        self.hub.metrics.relays.inc();
                        self.relay = true;
                        self.hub.registry.lock().proven(self.id, host);
                        self.useful();
                        true
                    }
                    Err(why) => {
                        tracing::info!(link = self.id.0, peer = %self.peer, relay = %host, why, "a relay is not proven");
                        false
                    }
                };
                Answer::Relay(proven)
            }
            Question::Credentials { username, .. } => {
                let found = self.hub.accounts.by_name(&username, self.peer).await;
                self.account(found)
            }
            Question::Certified { addresses } => {
                // Nothing outlives the certificate that it was given for.
                let found = match self.certificate_left() {
                    None | Some(0) => None,
                    left => self.hub.accounts.by_certificate(&addresses).await.map(|account| {
                        let seconds = account.seconds.into_iter().chain(left).min();
                        Account { seconds, ..account }
                    }),
                };
                self.account(found)
            }
            Question::Issue { holder, owner, from, seconds } => {
                self.direct = matches!(owner, Owner::Link(_));
                let issued = self.hub.issue(&holder, owner, from, seconds);
                // What ended its account's sessions since the login may have come before there was this one.
                if let Ok(uri) = &issued
                    && self.hub.accounts.may(&holder).await == Some(false)
                {
                    self.hub.disown(uri);
                    return Answer::Issued(Err(Status::FORBIDDEN));
                }
                Answer::Issued(issued)
            }
        }
    }

    async fn event(&mut self, event: Event) {
        if let Some(waiting) = self.heard(event) {
            waiting.await;
        }
    }

    fn hear(&mut self, event: Event) -> Option<Waiting<'_>> {
        self.heard(event)
    }

    async fn command(&mut self) -> Command {
        if self.unproven {
            // Once is enough; the machine takes nothing after it.
            return Command::Close;
        }
        self.mail.next().await
    }

    async fn closed(&mut self) {
        // The machine has ended what it knew of; what it could not end is ended here.
        for (flow, way) in std::mem::take(&mut self.ways) {
            let _gone = way.put(flow, Piece::End(nuncio_msrp::Flag::Abort), &self.mail);
        }
        self.hub.good_until(self.id, self.until, None);
        self.hub.metrics.closed.get_or_create(&Why { why: why(self.why) }).inc();
        let status = match self.why {
            _ if self.unproven => Status::FORBIDDEN,
            // Its account or its credentials have ended, or all does: so have its sessions.
            Closed::Host => Status::NO_SESSION,
            _ => Status::TIMEOUT,
        };
        self.hub.closed(self.id, self.direction, status);
        tracing::debug!(link = self.id.0, peer = %self.peer, why = why(self.why), "an MSRP connection is over");
    }
}

const fn why(closed: Closed) -> &'static str {
    match closed {
        Closed::Host => "host",
        Closed::Peer => "peer",
        Closed::Cut => "cut",
        Closed::Syntax => "syntax",
        Closed::NotOurs => "not_ours",
        Closed::Probation => "probation",
        Closed::Strikes => "strikes",
        Closed::Failures => "failures",
        Closed::Idle => "idle",
    }
}
