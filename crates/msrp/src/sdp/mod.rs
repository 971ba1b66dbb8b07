//! MSRP in SDP (RFC 4975 §8): the media description, and offer and answer (RFC 3264) with COMEDIA (RFC 6135), fingerprints (RFC 8122)
//! and CEMA (RFC 6714).

mod fingerprint;
mod negotiate;
mod text;

use std::net::IpAddr;

use sdp_types::{AddrType, Attribute, Connection, Media, NetType, Session};

pub use self::fingerprint::{Fingerprint, Hash};
pub use self::negotiate::{Agreed, Local, Offer, Rejected, Resolve, Role, Target, answer, offer};
use crate::media::AcceptTypes;
use crate::uri::{Host, Path, PathError, Scheme, Uri};

/// The most URIs of a path in SDP.
const URIS: usize = 16;
/// The port of whoever does not listen (RFC 6135 §4.2.2).
const DISCARD: u16 = 9;

/// Who connects (RFC 6135).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setup {
    /// The one who says it.
    Active,
    /// The other one.
    Passive,
    /// Either.
    Actpass,
}

impl Setup {
    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Passive => "passive",
            Self::Actpass => "actpass",
        }
    }

    /// `holdconn` counts as absent (RFC 6135 §4.2.1), like anything unknown.
    fn parse(text: &str) -> Option<Self> {
        [Self::Active, Self::Passive, Self::Actpass]
            .into_iter()
            .find(|setup| text.trim().eq_ignore_ascii_case(setup.as_str()))
    }
}

/// Which way messages go (RFC 4975 §8.9).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Direction {
    /// Both.
    #[default]
    SendRecv,
    /// From whoever says it.
    SendOnly,
    /// To whoever says it.
    RecvOnly,
    /// Neither.
    Inactive,
}

impl Direction {
    const ALL: [Self; 4] = [Self::SendRecv, Self::SendOnly, Self::RecvOnly, Self::Inactive];

    const fn as_str(self) -> &'static str {
        match self {
            Self::SendRecv => "sendrecv",
            Self::SendOnly => "sendonly",
            Self::RecvOnly => "recvonly",
            Self::Inactive => "inactive",
        }
    }

    /// The answer that takes all that is offered.
    #[must_use]
    pub const fn mirrored(self) -> Self {
        match self {
            Self::SendOnly => Self::RecvOnly,
            Self::RecvOnly => Self::SendOnly,
            same => same,
        }
    }
}

/// Why a media description is no MSRP that can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SdpError {
    /// No session description at all.
    #[error("this is no session description")]
    Text,
    /// Not `message`, or not `TCP/MSRP` or `TCP/TLS/MSRP`.
    #[error("the media description is not MSRP over TCP or TLS")]
    NotMsrp,
    /// There is no `path` (RFC 4975 §8.2).
    #[error("there is no path")]
    NoPath,
    /// The path is malformed.
    #[error(transparent)]
    Path(#[from] PathError),
    /// A URI of the path has no port, or the last one no session id (RFC 4975 §8.2).
    #[error("a URI of the path has no port, or the last one no session id")]
    IncompleteUri,
    /// There is no `accept-types`, or it is malformed (RFC 4975 §8.6).
    #[error("accept-types is missing or malformed")]
    Types,
    /// `max-size` is no number of bytes (RFC 4975 §8.6): nobody could say what may be sent.
    #[error("max-size is no number of bytes")]
    MaxSize,
    /// `TCP/TLS/MSRP` stands with a path that begins with an `msrp` URI, or `TCP/MSRP` with one of `msrps` (RFC 4975 §8.1, §14.4): nobody could say
    /// whether it is to be TLS.
    #[error("TCP/TLS/MSRP goes with msrps URIs, and TCP/MSRP with msrp URIs")]
    Mixed,
    /// Fingerprints are promised for a connection without TLS, or none of them can be read or has a hash that may be used (RFC 8122 §5).
    #[error("fingerprints are promised that no certificate can be held against")]
    Fingerprints,
}

/// Digits; more than fit are no bound.
fn max_size(text: &str) -> Result<u64, SdpError> {
    let number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if number { Ok(text.parse().unwrap_or(u64::MAX)) } else { Err(SdpError::MaxSize) }
}

/// An MSRP media description.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// The port; 0 rejects, 9 belongs to someone who does not listen.
    pub port: u16,
    /// `TCP/TLS/MSRP` rather than `TCP/MSRP`.
    pub tls: bool,
    /// The address of its connection line, or of the whole session's.
    pub address: Option<String>,
    /// `path`: the way to whoever says it, the next hop first.
    pub path: Path,
    /// `accept-types`.
    pub accept_types: AcceptTypes,
    /// `accept-wrapped-types`: only inside containers.
    pub accept_wrapped_types: AcceptTypes,
    /// `max-size`, in bytes. A hint.
    pub max_size: Option<u64>,
    /// `setup`.
    pub setup: Option<Setup>,
    /// `fingerprint`, without those whose hash must not be used.
    pub fingerprints: Vec<Fingerprint>,
    /// `msrp-cema`.
    pub cema: bool,
    /// Which way messages go.
    pub direction: Direction,
    /// All other attributes, such as `chatroom` and `file-selector`.
    pub others: Vec<Attribute>,
}

impl Description {
    /// Whether a media description is MSRP at all.
    pub fn is_msrp(media: &Media) -> bool {
        media.media.eq_ignore_ascii_case("message") && protocol(&media.proto).is_some()
    }

    /// Reads one of a session's media descriptions.
    ///
    /// # Errors
    /// See [`SdpError`].
    pub fn read(media: &Media, session: &Session) -> Result<Self, SdpError> {
        let tls = protocol(&media.proto).filter(|_| Self::is_msrp(media)).ok_or(SdpError::NotMsrp)?;
        let first = |name| media.get_first_attribute_value(name).flatten();
        let path = Path::parse(first("path").ok_or(SdpError::NoPath)?, URIS)?;
        // A rejected description may say anything.
        let complete = path.uris().iter().all(|uri| uri.port().is_some())
            && path.last().is_some_and(|uri| uri.session_id().is_some());
        if !complete {
            return Err(SdpError::IncompleteUri);
        }
        let types =
            |name| first(name).map(|value| AcceptTypes::parse(value).ok_or(SdpError::Types)).transpose();
        let accept_types = types("accept-types")?.filter(|types| !types.is_empty()).ok_or(SdpError::Types)?;
        let accept_wrapped_types = types("accept-wrapped-types")?.unwrap_or_default();
        let own = media.has_attribute("fingerprint");
        let promised: Vec<_> = match own {
            true => media.get_attribute_values("fingerprint").flatten().collect(),
            // In clear those of the whole session are for other media.
            false if !tls => Vec::new(),
            false => session.get_attribute_values("fingerprint").flatten().collect(),
        };
        let fingerprints: Vec<_> = promised.iter().filter_map(|it| Fingerprint::parse(it)).collect();
        if media.port != 0 {
            if path.first().is_some_and(|next| (next.scheme() == Scheme::Msrps) != tls) {
                return Err(SdpError::Mixed);
            }
            // What was promised is either judged or an error, never forgotten.
            if (own && !tls) || (fingerprints.is_empty() && !promised.is_empty()) {
                return Err(SdpError::Fingerprints);
            }
        }
        let in_media = |name: &str| media.has_attribute(name);
        let direction =
            Direction::ALL.into_iter().find(|direction| in_media(direction.as_str())).or_else(|| {
                Direction::ALL.into_iter().find(|direction| session.has_attribute(direction.as_str()))
            });
        let setup = first("setup").or_else(|| session.get_first_attribute_value("setup").flatten());
        let others = media.attributes.iter().filter(|attribute| !is_ours(&attribute.attribute)).cloned();
        let connection = media.connections.first().or(session.connection.as_ref());
        Ok(Self {
            port: media.port,
            tls,
            address: connection.map(|connection| connection.connection_address.clone()),
            path,
            accept_types,
            accept_wrapped_types,
            max_size: first("max-size").map(|value| max_size(value.trim())).transpose()?,
            setup: setup.and_then(Setup::parse),
            fingerprints,
            cema: in_media("msrp-cema"),
            direction: direction.unwrap_or_default(),
            others: others.collect(),
        })
    }

    /// Writes it. Never `a=connection` (RFC 6135 §4.4).
    pub fn write(&self) -> Media {
        let proto = if self.tls { "TCP/TLS/MSRP" } else { "TCP/MSRP" };
        let mut media = Media {
            media: "message".to_owned(),
            port: self.port,
            num_ports: None,
            proto: proto.to_owned(),
            fmt: "*".to_owned(),
            media_title: None,
            connections: Vec::new(),
            bandwidths: Vec::new(),
            key: None,
            attributes: Vec::new(),
        };
        if let Some(address) = &self.address {
            let bare = address.trim_start_matches('[').trim_end_matches(']');
            let kind = if bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_ipv6()) {
                AddrType::Ip6
            } else {
                AddrType::Ip4
            };
            media.connections.push(Connection::new(NetType::In, kind, bare));
        }
        media.add_attribute_with_value("path", &self.path);
        media.add_attribute_with_value("accept-types", &self.accept_types);
        if !self.accept_wrapped_types.is_empty() {
            media.add_attribute_with_value("accept-wrapped-types", &self.accept_wrapped_types);
        }
        if let Some(most) = self.max_size {
            media.add_attribute_with_value("max-size", most);
        }
        if let Some(setup) = self.setup {
            media.add_attribute_with_value("setup", setup.as_str());
        }
        for fingerprint in &self.fingerprints {
            media.add_attribute_with_value("fingerprint", fingerprint);
        }
        if self.cema {
            media.add_attribute_from_str("msrp-cema");
        }
        if self.direction != Direction::SendRecv {
            media.add_attribute_from_str(self.direction.as_str());
        }
        media.attributes.extend(self.others.iter().cloned());
        media
    }

    /// The URI of whoever says it.
    pub fn uri(&self) -> Option<&Uri> {
        self.path.last()
    }

    /// Whether address and port of its connection and media lines are those of a URI of its path (RFC 6714 §4.4). If not, a middlebox
    /// stands between.
    pub fn is_direct(&self, resolve: Resolve<'_>) -> bool {
        let Some(address) = &self.address else { return true };
        let here = addresses(address, resolve);
        self.path.uris().iter().any(|uri| {
            let port =
                uri.port() == Some(self.port) || (self.port == DISCARD && self.setup == Some(Setup::Active));
            let name = match uri.host() {
                Host::Name(name) => name.eq_ignore_ascii_case(address.trim_end_matches('.')),
                Host::Address(_) => false,
            };
            let there = || addresses(&uri.host().to_string(), resolve);
            port && (name || there().iter().any(|ip| here.contains(ip)))
        })
    }
}

/// The addresses that a host stands for.
fn addresses(host: &str, resolve: Resolve<'_>) -> Vec<IpAddr> {
    match host.trim_start_matches('[').trim_end_matches(']').parse() {
        Ok(ip) => vec![ip],
        Err(_) => resolve(host),
    }
}

fn protocol(proto: &str) -> Option<bool> {
    match proto.to_ascii_uppercase().as_str() {
        "TCP/MSRP" => Some(false),
        "TCP/TLS/MSRP" => Some(true),
        _ => None,
    }
}

/// Attributes with a place of their own in [`Description`], and `connection`, which is ignored (RFC 6135 §4.4).
fn is_ours(name: &str) -> bool {
    let known = [
        "path",
        "accept-types",
        "accept-wrapped-types",
        "max-size",
        "setup",
        "fingerprint",
        "msrp-cema",
        "connection",
    ];
    known
        .into_iter()
        .chain(Direction::ALL.map(Direction::as_str))
        .any(|known| name.eq_ignore_ascii_case(known))
}
