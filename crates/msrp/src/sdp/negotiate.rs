//! Offer and answer: who connects, where, with which types and certificates.

use std::net::IpAddr;

use super::{DISCARD, Description, Direction, Fingerprint, Hash, Setup};
use crate::media::AcceptTypes;
use crate::uri::{Hop, Path, Scheme, Uri};

/// The addresses of a host name, as the host has looked them up; nothing is looked up here.
pub type Resolve<'a> = &'a dyn Fn(&str) -> Vec<IpAddr>;

/// What we bring to a session.
#[derive(Clone, Debug)]
pub struct Local {
    /// Our URI of this session.
    pub uri: Uri,
    /// The way out through our own relays (Use-Path of the last AUTH), if we use any.
    pub relays: Option<Path>,
    /// Whether the peer can connect to the address of our URI.
    pub reachable: bool,
    /// What we accept, and what only inside containers.
    pub accept_types: AcceptTypes,
    /// What we accept inside containers only.
    pub accept_wrapped_types: AcceptTypes,
    /// Types of which we send at least one; empty if we can send whatever the peer accepts.
    pub sends: Vec<String>,
    /// The longest message we accept, in bytes.
    pub max_size: Option<u64>,
    /// The fingerprints of our certificate.
    pub fingerprints: Vec<Fingerprint>,
    /// Whether a peer's fingerprints by SHA-1 count (S1-R6: only for old peers).
    pub sha1: bool,
    /// Whether we do CEMA (RFC 6714).
    pub cema: bool,
    /// Which way messages go.
    pub direction: Direction,
}

impl Local {
    /// The path for our SDP (RFC 4976 §5.1): our relays, the outermost first, then our own URI.
    fn path(&self) -> Path {
        let own = Path::from(self.uri.clone());
        match &self.relays {
            Some(relays) => relays.reversed().then(&own),
            None => own,
        }
    }

    fn describe(&self, setup: Setup, cema: bool, direction: Direction) -> Description {
        let path = self.path();
        // RFC 6714 §4.2 (3): with CEMA a relay's address stands in the connection line; else our own (RFC 4975 §8.1).
        let shown = if cema { path.first() } else { path.last() };
        let port = match shown.and_then(Uri::port) {
            Some(_) if setup == Setup::Active && self.relays.is_none() => DISCARD,
            Some(port) => port,
            None => DISCARD,
        };
        Description {
            port,
            tls: path.first().is_some_and(|uri| uri.scheme() == Scheme::Msrps),
            address: shown.map(|uri| uri.host().to_string()),
            path,
            accept_types: self.accept_types.clone(),
            accept_wrapped_types: self.accept_wrapped_types.clone(),
            max_size: self.max_size,
            setup: Some(setup),
            fingerprints: self.fingerprints.clone(),
            cema,
            direction,
            others: Vec::new(),
        }
    }
}

/// An offer that was made.
#[derive(Clone, Debug)]
pub struct Offer {
    local: Local,
    /// What is to be sent.
    pub description: Description,
}

/// Who connects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// We do, and send a request at once.
    Active(Target),
    /// The peer does.
    Passive,
}

/// Where to connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// To our own relay, which the way out begins with.
    Relay(Hop),
    /// To the first hop of the peer's path.
    Path(Hop),
    /// To the address of the peer's connection line: a middlebox (RFC 6714). The URIs of messages stay what they are.
    Address {
        /// The address or name.
        host: String,
        /// The port.
        port: u16,
        /// Whether with TLS.
        tls: bool,
    },
}

/// What was agreed.
#[derive(Clone, Debug)]
pub struct Agreed {
    /// Our URI.
    pub local: Uri,
    /// The way to the peer: our relays, then the peer's path. The To-Path of what we send and the From-Path of what comes.
    pub path: Path,
    /// Who connects. With a relay of our own we connect to it in any case; this says who sends the first request (RFC 6135 §4.5).
    pub role: Role,
    /// What the peer accepts.
    pub peer_accepts: AcceptTypes,
    /// What the peer accepts inside containers only.
    pub peer_accepts_wrapped: AcceptTypes,
    /// The longest message the peer wants, in bytes.
    pub peer_max_size: Option<u64>,
    /// What the peer's certificate has to match; empty if it is judged by its name, or by nothing. Never with a relay between
    /// (RFC 6135 §4.3).
    pub fingerprints: Vec<Fingerprint>,
    /// Whether CEMA is in use.
    pub cema: bool,
    /// Which way messages go, as seen from us.
    pub direction: Direction,
}

/// Why there is no session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// The peer rejected the media line (port 0).
    #[error("the peer rejected it")]
    Peer,
    /// There is no type that we could send: 488 (RFC 4975 §8.6).
    #[error("there is no common media type")]
    Types,
    /// A middlebox without CEMA stands between: 488 (RFC 6714 §4.3).
    #[error("a middlebox has changed the address and CEMA was not offered")]
    Middlebox,
    /// As before, seen by the offerer: a new offer without CEMA is to be made (RFC 6714 §4.2).
    #[error("a middlebox has changed the address; to be offered again without CEMA")]
    OfferAgain,
    /// Both want to connect, or neither.
    #[error("it is not agreed who connects")]
    Setup,
    /// The peer's fingerprints have no hash that counts.
    #[error("the peer's fingerprints are too weak")]
    Weak,
}

/// Makes an offer (RFC 6135 §4.2.2: never `passive`).
pub fn offer(local: Local) -> Offer {
    let setup = if local.reachable || local.relays.is_some() { Setup::Actpass } else { Setup::Active };
    let description = local.describe(setup, local.cema, local.direction);
    Offer { local, description }
}

impl Offer {
    /// The same offer without CEMA, after [`Rejected::OfferAgain`].
    #[must_use]
    pub fn without_cema(self) -> Self {
        offer(Local { cema: false, ..self.local })
    }

    /// Takes the answer.
    ///
    /// # Errors
    /// See [`Rejected`].
    pub fn answered(&self, answer: &Description, resolve: Resolve<'_>) -> Result<Agreed, Rejected> {
        let local = &self.local;
        if answer.port == 0 {
            return Err(Rejected::Peer);
        }
        let active = match (self.description.setup, answer.setup) {
            (Some(Setup::Active), Some(Setup::Active)) => return Err(Rejected::Setup),
            (_, Some(Setup::Active)) => false,
            // RFC 4975 §5.4: whoever offers connects.
            (_, Some(Setup::Passive | Setup::Actpass) | None) => true,
        };
        let mut cema = self.description.cema;
        if cema {
            let direct = answer.is_direct(resolve);
            let peer_relay = answer.path.len() > 1;
            if !answer.cema && !direct && (!active || local.relays.is_some() || peer_relay) {
                return Err(Rejected::OfferAgain);
            }
            // RFC 6714 §4.2: the answerer has a relay, and nothing stands between: as RFC 4975 has it.
            cema = !direct || (answer.cema && !peer_relay);
        }
        agreed(local, answer, active, cema, answer.direction.mirrored())
    }
}

/// Answers an offer.
///
/// # Errors
/// See [`Rejected`]; to be answered with 488, or with port 0.
pub fn answer(
    local: &Local,
    offer: &Description,
    resolve: Resolve<'_>,
) -> Result<(Description, Agreed), Rejected> {
    if offer.port == 0 {
        return Err(Rejected::Peer);
    }
    if !offer.cema && !offer.is_direct(resolve) {
        return Err(Rejected::Middlebox);
    }
    let (our_relay, their_relay) = (local.relays.is_some(), offer.path.len() > 1);
    // RFC 6714 §4.3: both with relays; a relayed offerer that connects; a relayed answerer that would have to.
    let cema = local.cema
        && offer.cema
        && !(our_relay && their_relay)
        && !(their_relay && matches!(offer.setup, None | Some(Setup::Active)))
        && !(our_relay && offer.setup == Some(Setup::Passive));
    let active = match offer.setup {
        // RFC 4975 §5.4: whoever offers connects.
        None | Some(Setup::Active) => false,
        Some(Setup::Passive) => true,
        Some(Setup::Actpass) => !(local.reachable || our_relay),
    };
    let setup = if active { Setup::Active } else { Setup::Passive };
    let direction = offer.direction.mirrored();
    let agreed = agreed(local, offer, active, cema, direction)?;
    Ok((local.describe(setup, cema, direction), agreed))
}

fn agreed(
    local: &Local,
    peer: &Description,
    active: bool,
    cema: bool,
    direction: Direction,
) -> Result<Agreed, Rejected> {
    let sends = matches!(direction, Direction::SendRecv | Direction::SendOnly);
    let common = local.sends.is_empty()
        || local
            .sends
            .iter()
            .any(|it| peer.accept_types.accepts(it) || peer.accept_wrapped_types.accepts(it));
    if sends && !common {
        return Err(Rejected::Types);
    }
    let first = peer.path.first().ok_or(Rejected::Setup)?;
    let relayed = local.relays.is_some() || peer.path.len() > 1;
    let fingerprints: Vec<_> = if relayed || !peer.tls {
        Vec::new()
    } else {
        peer.fingerprints.iter().filter(|it| local.sha1 || it.hash() != Hash::Sha1).cloned().collect()
    };
    if !relayed && peer.tls && fingerprints.is_empty() && !peer.fingerprints.is_empty() {
        return Err(Rejected::Weak);
    }
    let target = match (&local.relays, &peer.address) {
        (Some(relays), _) => {
            Target::Relay(relays.first().map_or_else(|| first.hop().clone(), |it| it.hop().clone()))
        }
        (None, Some(host)) if cema => Target::Address { host: host.clone(), port: peer.port, tls: peer.tls },
        (None, _) => Target::Path(first.hop().clone()),
    };
    Ok(Agreed {
        local: local.uri.clone(),
        path: match &local.relays {
            Some(relays) => relays.then(&peer.path),
            None => peer.path.clone(),
        },
        role: if active { Role::Active(target) } else { Role::Passive },
        peer_accepts: peer.accept_types.clone(),
        peer_accepts_wrapped: peer.accept_wrapped_types.clone(),
        peer_max_size: peer.max_size,
        fingerprints,
        cema,
        direction,
    })
}
