//! MSRP URIs (RFC 4975 §6, §9) and their comparison (§6.1); paths of them.
//!
//! The session id is a secret (RFC 4975 §14.1): `Debug` hides it, so that no log shows what gives access to a session (S1-01, S1-R3).

use std::fmt::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use nuncio_sansio::Entropy;

/// The longest URI that is read, in bytes.
const LONGEST: usize = 2_048;

/// Why a text is no MSRP URI.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UriError {
    /// Neither `msrp://` nor `msrps://`.
    #[error("the scheme of the URI is neither msrp nor msrps")]
    Scheme,
    /// The host is empty or malformed.
    #[error("the host of the URI is malformed")]
    Host,
    /// The port is not a number from 1 to 65535.
    #[error("the port of the URI is malformed")]
    Port,
    /// A numeric address without a port (RFC 4975 §6).
    #[error("a URI with a numeric address must have a port")]
    NoPort,
    /// The part before `@` is malformed or has a password (RFC 4975 §6).
    #[error("the user part of the URI is malformed")]
    User,
    /// The session id is empty or has a character that no URI has.
    #[error("the session id of the URI is malformed")]
    SessionId,
    /// There is no transport, or it is no word.
    #[error("the transport of the URI is missing or malformed")]
    Transport,
    /// A parameter is malformed.
    #[error("a parameter of the URI is malformed")]
    Parameter,
    /// Longer than any URI that makes sense here.
    #[error("the URI is too long")]
    Long,
}

/// The scheme.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scheme {
    /// `msrp`: in clear.
    Msrp,
    /// `msrps`: over TLS.
    Msrps,
}

impl Scheme {
    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Msrp => "msrp",
            Self::Msrps => "msrps",
        }
    }
}

/// The host, as it is compared: percent-encoding of unreserved characters undone, in lower case.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Host {
    /// A name.
    Name(Arc<str>),
    /// A numeric address.
    Address(IpAddr),
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Address(IpAddr::V4(address)) => write!(f, "{address}"),
            Self::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
        }
    }
}

impl Host {
    /// Reads a host as it stands in a URI: IPv6 in brackets.
    ///
    /// # Errors
    /// It is empty, or has characters that no host has.
    pub fn parse(text: &str) -> Result<Self, UriError> {
        if let Some(inside) = text.strip_prefix('[') {
            let inside = inside.strip_suffix(']').ok_or(UriError::Host)?;
            return inside
                .parse::<Ipv6Addr>()
                .map(|address| Self::Address(address.into()))
                .map_err(|_| UriError::Host);
        }
        let mut name = String::with_capacity(text.len());
        let mut bytes = text.bytes();
        while let Some(byte) = bytes.next() {
            match byte {
                b'%' => {
                    let (Some(high), Some(low)) = (bytes.next().and_then(hex), bytes.next().and_then(hex))
                    else {
                        return Err(UriError::Host);
                    };
                    let decoded = high * 16 + low;
                    if unreserved(decoded) {
                        name.push(char::from(decoded.to_ascii_lowercase()));
                    } else {
                        write!(name, "%{decoded:02x}").map_err(|_| UriError::Host)?;
                    }
                }
                byte if unreserved(byte) || b"!$&'()*+,=".contains(&byte) => {
                    name.push(char::from(byte.to_ascii_lowercase()));
                }
                _ => return Err(UriError::Host),
            }
        }
        if name.is_empty() {
            return Err(UriError::Host);
        }
        Ok(match name.parse::<Ipv4Addr>() {
            Ok(address) => Self::Address(address.into()),
            Err(_) => Self::Name(name.into()),
        })
    }
}

/// How octets get to the host.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    /// `tcp` (RFC 4975).
    Tcp,
    /// `ws` (RFC 7977).
    Ws,
    /// `dc` (RFC 8873).
    Dc,
    /// Another one, in lower case: read, compared and passed on, never connected to.
    Other(Arc<str>),
}

impl Transport {
    fn parse(text: &str) -> Result<Self, UriError> {
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Err(UriError::Transport);
        }
        Ok(match text.to_ascii_lowercase().as_str() {
            "tcp" => Self::Tcp,
            "ws" => Self::Ws,
            "dc" => Self::Dc,
            other => Self::Other(other.into()),
        })
    }

    /// As it is written, in lower case.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Tcp => "tcp",
            Self::Ws => "ws",
            Self::Dc => "dc",
            Self::Other(other) => other,
        }
    }
}

/// Where a connection leads: all of a URI but who is meant there. Equal hops may share a connection (RFC 4975 §5.4).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hop {
    /// Whether TLS is needed.
    pub scheme: Scheme,
    /// The host.
    pub host: Host,
    /// The port; none means that it is to be looked up (RFC 4976 §8).
    pub port: Option<u16>,
    /// The transport.
    pub transport: Transport,
}

/// An MSRP URI. Written exactly as it was read; equal as RFC 4975 §6.1 says.
#[derive(Clone)]
pub struct Uri {
    text: Arc<str>,
    hop: Hop,
    /// Where in `text` the session id stands.
    session: Option<(u16, u16)>,
}

impl Uri {
    /// Reads a URI. What RFC 4975 leaves to others is read with tolerance: any transport, any visible character in a session id.
    ///
    /// # Errors
    /// See [`UriError`].
    pub fn parse(text: &str) -> Result<Self, UriError> {
        if text.len() > LONGEST {
            return Err(UriError::Long);
        }
        let (scheme, rest) = text.split_once("://").ok_or(UriError::Scheme)?;
        let scheme = if scheme.eq_ignore_ascii_case("msrp") {
            Scheme::Msrp
        } else if scheme.eq_ignore_ascii_case("msrps") {
            Scheme::Msrps
        } else {
            return Err(UriError::Scheme);
        };
        let (head, parameters) = rest.split_once(';').ok_or(UriError::Transport)?;
        let (authority, session) = match head.split_once('/') {
            Some((authority, session)) => (authority, Some(session)),
            None => (head, None),
        };
        let host_port = match authority.rsplit_once('@') {
            Some((user, rest)) => {
                if user.is_empty() || !user.bytes().all(|byte| pchar(byte) && byte != b':' && byte != b'@') {
                    return Err(UriError::User);
                }
                rest
            }
            None => authority,
        };
        let (host, port) = split_port(host_port)?;
        let host = Host::parse(host)?;
        if port.is_none() && matches!(host, Host::Address(_)) {
            return Err(UriError::NoPort);
        }
        let session = match session {
            None => None,
            Some(id) if id.is_empty() || !id.bytes().all(|byte| pchar(byte) || byte == b'/') => {
                return Err(UriError::SessionId);
            }
            Some(id) => {
                let until = scheme.as_str().len() + "://".len() + head.len();
                let from = until.saturating_sub(id.len());
                Some((position(from)?, position(until)?))
            }
        };
        let mut parameters = parameters.split(';');
        let transport = Transport::parse(parameters.next().ok_or(UriError::Transport)?)?;
        if !parameters.all(is_parameter) {
            return Err(UriError::Parameter);
        }
        Ok(Self { text: text.into(), hop: Hop { scheme, host, port, transport }, session })
    }

    /// A URI of a session, with a session id of 128 unpredictable bits: RFC 4975 §14.1 asks for 80, RFC 4976 §6.3 for 64 (S1-01).
    ///
    /// # Errors
    /// `host` is neither a name nor an address (IPv6 in brackets).
    pub fn of_session(
        scheme: Scheme,
        host: &str,
        port: u16,
        transport: &Transport,
        entropy: &dyn Entropy,
    ) -> Result<Self, UriError> {
        let (scheme, transport) = (scheme.as_str(), transport.as_str());
        Self::parse(&format!("{scheme}://{host}:{port}/{};{transport}", entropy.token()))
    }

    /// The text, exactly as it was read. A secret if it has a session id.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The scheme.
    pub const fn scheme(&self) -> Scheme {
        self.hop.scheme
    }

    /// The host.
    pub const fn host(&self) -> &Host {
        &self.hop.host
    }

    /// The port, if one is written.
    pub const fn port(&self) -> Option<u16> {
        self.hop.port
    }

    /// The transport.
    pub const fn transport(&self) -> &Transport {
        &self.hop.transport
    }

    /// Where a connection to it leads.
    pub const fn hop(&self) -> &Hop {
        &self.hop
    }

    /// The session id; none for a device as such. A secret.
    pub fn session_id(&self) -> Option<&str> {
        let (from, until) = self.session?;
        self.text.get(usize::from(from)..usize::from(until))
    }
}

/// RFC 4975 §6.1: scheme, host and transport in any case, ports and session ids exactly; users and parameters do not count.
impl PartialEq for Uri {
    fn eq(&self, other: &Self) -> bool {
        self.hop == other.hop && self.session_id() == other.session_id()
    }
}

impl Eq for Uri {}

impl PartialOrd for Uri {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// In the sense of [`PartialEq`].
impl Ord for Uri {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.hop.cmp(&other.hop).then_with(|| self.session_id().cmp(&other.session_id()))
    }
}

impl fmt::Display for Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Hop { scheme, host, port, transport } = &self.hop;
        write!(f, "{}://{host}", scheme.as_str())?;
        if let Some(port) = port {
            write!(f, ":{port}")?;
        }
        if self.session.is_some() {
            f.write_str("/…")?;
        }
        write!(f, ";{}", transport.as_str())
    }
}

impl std::str::FromStr for Uri {
    type Err = UriError;

    fn from_str(text: &str) -> Result<Self, UriError> {
        Self::parse(text)
    }
}

/// One or more URIs, in the order of the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path(Vec<Uri>);

/// Why a text is no path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// There is no URI.
    #[error("the path is empty")]
    Empty,
    /// There are more URIs than allowed.
    #[error("the path has too many URIs")]
    Long,
    /// One of them is malformed.
    #[error(transparent)]
    Uri(#[from] UriError),
}

impl Path {
    /// How many bytes of memory it holds, about.
    pub fn text(&self) -> usize {
        self.0.iter().map(|uri| size_of::<Uri>() + uri.text.len()).sum()
    }

    /// Reads URIs with one space between them; more spaces are tolerated.
    ///
    /// # Errors
    /// There is none, there are more than `most`, or one is malformed.
    pub fn parse(text: &str, most: usize) -> Result<Self, PathError> {
        let mut uris = Vec::new();
        for word in text.split(' ').filter(|word| !word.is_empty()) {
            if uris.len() >= most {
                return Err(PathError::Long);
            }
            uris.push(Uri::parse(word)?);
        }
        Self::new(uris).ok_or(PathError::Empty)
    }

    /// A path of at least one URI; none if there is none.
    pub fn new(uris: Vec<Uri>) -> Option<Self> {
        (!uris.is_empty()).then_some(Self(uris))
    }

    /// All, in order.
    pub fn uris(&self) -> &[Uri] {
        &self.0
    }

    /// How many there are: at least one.
    #[expect(clippy::len_without_is_empty, reason = "a path is never empty")]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The first: the next hop of a To-Path, the previous one of a From-Path.
    pub fn first(&self) -> Option<&Uri> {
        self.0.first()
    }

    /// The last: whom a To-Path is for, whom a From-Path is from.
    pub fn last(&self) -> Option<&Uri> {
        self.0.last()
    }

    /// The first alone.
    pub fn only_first(&self) -> Option<Self> {
        self.first().cloned().map(Self::from)
    }

    /// This path, then another: a sender's way through its own relays to its peer (RFC 4976 §5.1).
    #[must_use]
    pub fn then(&self, other: &Self) -> Self {
        Self(self.0.iter().chain(&other.0).cloned().collect())
    }

    /// The way back.
    #[must_use]
    pub fn reversed(&self) -> Self {
        Self(self.0.iter().rev().cloned().collect())
    }

    /// Without the first `count`, which become the beginning of `from` in reverse order, as a relay does with its own URIs (RFC 4976 §6.4).
    /// None if nothing would be left.
    pub fn moved(&self, count: usize, from: &Self) -> Option<(Self, Self)> {
        let (ours, rest) = self.0.split_at_checked(count)?;
        let to = Self::new(rest.to_vec())?;
        Some((to, Self(ours.iter().rev().chain(&from.0).cloned().collect())))
    }
}

impl From<Uri> for Path {
    fn from(uri: Uri) -> Self {
        Self(vec![uri])
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, uri) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_char(' ')?;
            }
            f.write_str(&uri.text)?;
        }
        Ok(())
    }
}

fn position(at: usize) -> Result<u16, UriError> {
    u16::try_from(at).map_err(|_| UriError::Long)
}

fn split_port(text: &str) -> Result<(&str, Option<u16>), UriError> {
    let at = match text.rfind(']') {
        Some(bracket) => text.get(bracket..).and_then(|rest| rest.find(':')).map(|colon| bracket + colon),
        None => text.find(':'),
    };
    let Some((host, port)) = at.and_then(|at| text.split_at_checked(at)) else { return Ok((text, None)) };
    let digits = port.strip_prefix(':').ok_or(UriError::Port)?;
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(UriError::Port);
    }
    match digits.parse() {
        Ok(0) | Err(_) => Err(UriError::Port),
        Ok(port) => Ok((host, Some(port))),
    }
}

/// `token ["=" token]`; a value in quotes is read as well.
fn is_parameter(text: &str) -> bool {
    let visible = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
    match text.split_once('=') {
        Some((name, value)) => visible(name) && visible(value),
        None => visible(text),
    }
}

fn hex(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

fn unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

fn pchar(byte: u8) -> bool {
    unreserved(byte) || b"%!$&'()*+,=:@".contains(&byte)
}

#[cfg(test)]
mod tests {
    use nuncio_sansio::pair::Counter;

    use super::*;

    fn uri(text: &str) -> Uri {
        Uri::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn the_parts_of_a_uri() {
        let it = uri("msrps://alice@Relay.Example.COM:9000/Ab/c=+~;TCP;x=1;y");
        assert_eq!(it.scheme(), Scheme::Msrps);
        assert_eq!(it.host().to_string(), "relay.example.com");
        assert_eq!((it.port(), it.session_id()), (Some(9000), Some("Ab/c=+~")));
        assert_eq!(it.transport(), &Transport::Tcp);
        assert_eq!(it.to_string(), "msrps://alice@Relay.Example.COM:9000/Ab/c=+~;TCP;x=1;y");
        assert_eq!(uri("msrps://extra.example.com;tcp").session_id(), None);
        assert_eq!(uri("msrp://[2001:db8::1]:2855/s;tcp").host().to_string(), "[2001:db8::1]");
        assert_eq!(uri("msrps://df7jal23ls0d.invalid:2855/98cjs;ws").transport(), &Transport::Ws);
        assert_eq!(
            uri("msrp://a.example:1/x;sctp").transport().as_str(),
            "sctp",
            "unknown transports are read"
        );
    }

    #[test]
    fn what_is_no_uri() {
        use UriError::*;
        for (text, error) in [
            ("sip:alice@example.com", Scheme),
            ("msrpx://a.example:1/s;tcp", Scheme),
            ("msrp://a.example:1/s", Transport),
            ("msrp://a.example:1/s;", Transport),
            ("msrp://a.example:1/s;t-cp", Transport),
            ("msrp://:1/s;tcp", Host),
            ("msrp://a b:1/s;tcp", Host),
            ("msrp://[::1:1/s;tcp", Port),
            ("msrp://[zz]:1/s;tcp", Host),
            ("msrp://%zz.example:1/s;tcp", Host),
            ("msrp://10.0.0.1/s;tcp", NoPort),
            ("msrp://[::1]/s;tcp", NoPort),
            ("msrp://a.example:0/s;tcp", Port),
            ("msrp://a.example:65536/s;tcp", Port),
            ("msrp://a.example:/s;tcp", Port),
            ("msrp://a.example:+1/s;tcp", Port),
            ("msrp://a.example:1/;tcp", SessionId),
            ("msrp://a.example:1/a\"b;tcp", SessionId),
            ("msrp://a.example:1/a\u{e9};tcp", SessionId),
            ("msrp://alice:secret@a.example:1/s;tcp", User),
            ("msrp://@a.example:1/s;tcp", User),
            ("msrp://a.example:1/s;tcp;", Parameter),
            ("msrp://a.example:1/s;tcp;a=\r", Parameter),
        ] {
            assert_eq!(Uri::parse(text).err(), Some(error), "{text}");
        }
        let long = format!("msrp://a.example:1/{};tcp", "a".repeat(3_000));
        assert_eq!(Uri::parse(&long).err(), Some(Long));
    }

    /// RFC 4975 §6.1, its five rules (S1-R3).
    #[test]
    fn comparison_as_rfc_4975_6_1_says() {
        let same = [
            ("msrp://h.example:8/a;tcp", "MSRP://h.example:8/a;tcp"),
            ("msrp://h.example:8/a;tcp", "msrp://H.EXAMPLE:8/a;tcp"),
            ("msrp://h.example:8/a;tcp", "msrp://h%2Eexample:8/a;tcp"),
            ("msrp://h.example:8/a;tcp", "msrp://%48.example:8/a;tcp"),
            ("msrp://h.example:8/a;tcp", "msrp://h.example:08/a;tcp"),
            ("msrp://h.example:8/a;tcp", "msrp://alice@h.example:8/a;tcp"),
            ("msrp://h.example:8/a;tcp", "msrp://h.example:8/a;TCP"),
            ("msrp://h.example:8/a;tcp", "msrp://h.example:8/a;tcp;x=y"),
            ("msrp://[2001:db8::1]:8/a;tcp", "msrp://[2001:DB8:0:0::1]:8/a;tcp"),
            ("msrp://h.example;tcp", "msrp://h.example;tcp"),
        ];
        for (a, b) in same {
            assert_eq!(uri(a), uri(b), "{a} {b}");
            assert_eq!(uri(a).cmp(&uri(b)), std::cmp::Ordering::Equal);
        }
        let different = [
            ("msrp://h.example:8/a;tcp", "msrps://h.example:8/a;tcp"),
            ("msrp://h.example:8/a;tcp", "msrp://g.example:8/a;tcp"),
            ("msrp://h.example:8/a;tcp", "msrp://h.example:9/a;tcp"),
            ("msrp://h.example:2855/a;tcp", "msrp://h.example/a;tcp"),
            ("msrp://h.example:8/a;tcp", "msrp://h.example:8/A;tcp"),
            ("msrp://h.example:8/a;tcp", "msrp://h.example:8/%61;tcp"),
            ("msrp://h.example:8/a;tcp", "msrp://h.example:8/b/../a;tcp"),
            ("msrp://h.example:8/a;tcp", "msrp://h.example:8;tcp"),
            ("msrp://h.example:8/a;tcp", "msrp://h.example:8/a;ws"),
            ("msrp://10.0.0.1:8/a;tcp", "msrp://10.0.0.2:8/a;tcp"),
        ];
        for (a, b) in different {
            assert_ne!(uri(a), uri(b), "{a} {b}");
            assert_ne!(uri(a).cmp(&uri(b)), std::cmp::Ordering::Equal);
        }
    }

    /// S1-01, S1-R3: what gives access to a session is in no log; it is random and never twice the same.
    #[test]
    fn session_ids_are_secret_and_random() {
        let entropy = Counter::default();
        let new =
            || Uri::of_session(Scheme::Msrps, "a.example", 2855, &Transport::Tcp, &entropy).expect("valid");
        let (one, two) = (new(), new());
        assert_ne!(one, two);
        let id = one.session_id().expect("a session").to_owned();
        assert_eq!(id.len(), 26, "128 bits in base32");
        assert!(!format!("{one:?}").contains(&id));
        assert_eq!(format!("{one:?}"), "msrps://a.example:2855/…;tcp");
    }

    /// RFC 4976 §5.1: B C and D E F make B C D E F; a relay moves its own URI from one path to the other (§6.4).
    #[test]
    fn paths_are_joined_and_moved() {
        let [b, c, d] = ["b", "c", "d"].map(|name| uri(&format!("msrps://{name}.example:1/x;tcp")));
        let path =
            |uris: &[&Uri]| Path::new(uris.iter().map(|uri| (*uri).clone()).collect()).expect("not empty");
        let to = path(&[&b, &c]).then(&Path::from(d.clone()));
        assert_eq!(to, path(&[&b, &c, &d]));
        let from = Path::from(uri("msrps://a.example:1/x;tcp"));
        let (to_rest, from_more) = to.moved(1, &from).expect("two left");
        assert_eq!(to_rest, path(&[&c, &d]));
        assert_eq!(from_more, Path::from(b.clone()).then(&from));
        let (to_rest, from_more) = to.moved(2, &from).expect("one left");
        assert_eq!(to_rest, Path::from(d));
        assert_eq!(from_more, path(&[&c, &b]).then(&from));
        assert_eq!(to.moved(3, &from), None);
        assert_eq!(to.moved(9, &from), None);
        assert_eq!(to.reversed().reversed(), to);
        assert_eq!(Path::parse(&to.to_string(), 16), Ok(to));
        assert_eq!(Path::parse("  ", 16), Err(PathError::Empty));
        assert_eq!(Path::parse("msrp://a.example:1;tcp msrp://a.example:1;tcp", 1), Err(PathError::Long));
    }
}
