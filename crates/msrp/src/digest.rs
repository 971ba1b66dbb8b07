//! HTTP Digest as MSRP uses it (RFC 4976 §9.1), with SHA-256 beside MD5 (RFC 7616).
//!
//! `qop="auth"` always, a client nonce and a count always, no `auth-int`, no session variants, no Basic. The digest URI is the rightmost URI
//! of the To-Path, as text. RFC 4976's grammar gives a response 32 digits; those of SHA-256 have 64.

use std::fmt;

use nuncio_sansio::Entropy;
use sha2::Digest as _;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

/// A hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Algorithm {
    /// `MD5`: what every RFC 4976 client can do.
    Md5,
    /// `SHA-256`.
    Sha256,
}

impl Algorithm {
    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Md5 => "MD5",
            Self::Sha256 => "SHA-256",
        }
    }

    /// Reads a name, in any case. Session variants are none of ours (RFC 4976 §9.1).
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Md5, Self::Sha256].into_iter().find(|algorithm| text.eq_ignore_ascii_case(algorithm.as_str()))
    }

    /// The hash of parts with colons between them, in lower-case hexadecimal.
    fn hash(self, parts: &[&str]) -> Zeroizing<String> {
        let text = Zeroizing::new(parts.join(":"));
        Zeroizing::new(match self {
            Self::Md5 => hex(&md5::Md5::digest(text.as_bytes())),
            Self::Sha256 => hex(&sha2::Sha256::digest(text.as_bytes())),
        })
    }
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: [char; 16] =
        ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
    let digit = |value: u8| DIGITS.get(usize::from(value)).copied().unwrap_or('0');
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// `H(A1)`: all that is needed of a password for one realm and one hash.
#[derive(Clone)]
pub struct Secret {
    algorithm: Algorithm,
    ha1: Zeroizing<String>,
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({})", self.algorithm.as_str())
    }
}

impl Secret {
    /// From a password.
    pub fn new(algorithm: Algorithm, username: &str, realm: &str, password: &str) -> Self {
        Self { algorithm, ha1: algorithm.hash(&[username, realm, password]) }
    }

    /// The hash that it is for.
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The digest over a nonce; `method` is empty for `rspauth`.
    fn digest(&self, nonce: &str, nc: u32, cnonce: &str, method: &str, uri: &str) -> Zeroizing<String> {
        let ha2 = self.algorithm.hash(&[method, uri]);
        self.algorithm.hash(&[&self.ha1, nonce, &format!("{nc:08x}"), cnonce, "auth", &ha2])
    }
}

/// One `WWW-Authenticate` header field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    /// The realm.
    pub realm: String,
    /// The nonce.
    pub nonce: String,
    /// To be sent back as it is.
    pub opaque: Option<String>,
    /// The hash.
    pub algorithm: Algorithm,
    /// The credentials were right, the nonce was not.
    pub stale: bool,
}

impl Challenge {
    /// Reads the value. None if it is not a Digest challenge that we can answer: other schemes, hashes and kinds of protection are to be
    /// ignored.
    pub fn parse(value: &str) -> Option<Self> {
        let parameters = Parameters::parse(scheme(value)?)?;
        let qop = parameters.get("qop")?;
        if !qop.split(',').any(|qop| qop.trim().eq_ignore_ascii_case("auth")) {
            return None;
        }
        let algorithm = match parameters.get("algorithm") {
            Some(name) => Algorithm::parse(name)?,
            None => Algorithm::Md5,
        };
        Some(Self {
            realm: parameters.get("realm")?.to_owned(),
            nonce: parameters.get("nonce")?.to_owned(),
            opaque: parameters.get("opaque").map(str::to_owned),
            algorithm,
            stale: parameters.get("stale").is_some_and(|stale| stale.eq_ignore_ascii_case("true")),
        })
    }

    /// The answer to it. `nc` counts the uses of this nonce, from 1.
    pub fn answer(
        &self,
        username: &str,
        password: &str,
        uri: &str,
        nc: u32,
        entropy: &dyn Entropy,
    ) -> (Credentials, Secret) {
        let secret = Secret::new(self.algorithm, username, &self.realm, password);
        let cnonce = entropy.token();
        let response = secret.digest(&self.nonce, nc, &cnonce, "AUTH", uri);
        let credentials = Credentials {
            username: username.to_owned(),
            realm: self.realm.clone(),
            nonce: self.nonce.clone(),
            response: response.to_string(),
            algorithm: self.algorithm,
            cnonce,
            opaque: self.opaque.clone(),
            nc,
            uri: Some(uri.to_owned()),
        };
        (credentials, secret)
    }
}

/// With `opaque` always, `qop` in quotes, and `", "` between parameters: stock clients insist (RFC 4976 §9.1).
impl fmt::Display for Challenge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (realm, nonce) = (Quoted(&self.realm), Quoted(&self.nonce));
        write!(f, "Digest realm={realm}, qop=\"auth\", nonce={nonce}")?;
        if let Some(opaque) = &self.opaque {
            write!(f, ", opaque={}", Quoted(opaque))?;
        }
        if self.stale {
            f.write_str(", stale=true")?;
        }
        write!(f, ", algorithm={}", self.algorithm.as_str())
    }
}

/// One `Authorization` header field.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The user.
    pub username: String,
    /// The realm of the challenge.
    pub realm: String,
    /// The nonce of the challenge.
    pub nonce: String,
    /// The digest, in hexadecimal.
    pub response: String,
    /// The hash.
    pub algorithm: Algorithm,
    /// The client's nonce.
    pub cnonce: String,
    /// As it was in the challenge.
    pub opaque: Option<String>,
    /// The how manieth use of the nonce this is, from 1.
    pub nc: u32,
    /// The URI that they are for, as they say: only for relays that miss it, the rightmost of the To-Path is what counts (RFC 4976 §9.1).
    pub uri: Option<String>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("username", &self.username).field("realm", &self.realm).finish()
    }
}

impl Credentials {
    /// Reads the value. None if it is no Digest, has no `qop=auth`, no client nonce or no count (RFC 4976 §9.1).
    pub fn parse(value: &str) -> Option<Self> {
        let parameters = Parameters::parse(scheme(value)?)?;
        let get = |name| parameters.get(name).map(str::to_owned);
        let nc =
            parameters.get("nc").filter(|nc| nc.len() == 8 && nc.bytes().all(|b| b.is_ascii_hexdigit()))?;
        if !parameters.get("qop")?.eq_ignore_ascii_case("auth") {
            return None;
        }
        let algorithm = match parameters.get("algorithm") {
            Some(name) => Algorithm::parse(name)?,
            None => Algorithm::Md5,
        };
        Some(Self {
            username: get("username")?,
            realm: get("realm")?,
            nonce: get("nonce")?,
            response: get("response")?,
            algorithm,
            cnonce: get("cnonce").filter(|cnonce| !cnonce.is_empty())?,
            opaque: get("opaque"),
            nc: u32::from_str_radix(nc, 16).ok()?,
            uri: get("uri"),
        })
    }

    /// Whether they were made with this secret for this URI; in constant time.
    pub fn verify(&self, secret: &Secret, uri: &str) -> bool {
        let expected = secret.digest(&self.nonce, self.nc, &self.cnonce, "AUTH", uri);
        let right = expected.as_bytes().ct_eq(self.response.as_bytes());
        secret.algorithm == self.algorithm && bool::from(right)
    }

    /// The relay's own proof, for `Authentication-Info`.
    pub fn info(&self, secret: &Secret, uri: &str, next_nonce: Option<String>) -> Info {
        let rspauth = secret.digest(&self.nonce, self.nc, &self.cnonce, "", uri).to_string();
        Info { next_nonce, rspauth, cnonce: self.cnonce.clone(), nc: self.nc }
    }
}

impl fmt::Display for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (username, realm, nonce) = (Quoted(&self.username), Quoted(&self.realm), Quoted(&self.nonce));
        write!(f, "Digest username={username}, realm={realm}, nonce={nonce}")?;
        // The RFC's examples are without, but RFC 2617 §3.2.2 demands it, and so does Kamailio.
        if let Some(uri) = &self.uri {
            write!(f, ", uri={}", Quoted(uri))?;
        }
        write!(f, ", qop=auth, nc={:08x}", self.nc)?;
        write!(f, ", cnonce={}, response={}", Quoted(&self.cnonce), Quoted(&self.response))?;
        if let Some(opaque) = &self.opaque {
            write!(f, ", opaque={}", Quoted(opaque))?;
        }
        write!(f, ", algorithm={}", self.algorithm.as_str())
    }
}

/// The `Authentication-Info` header field (RFC 4976 §9.1: `rspauth`, `cnonce`, `nc` and `qop` are all there).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Info {
    /// What to use the next time.
    pub next_nonce: Option<String>,
    /// The relay's proof that it knows the secret.
    pub rspauth: String,
    /// The client's nonce.
    pub cnonce: String,
    /// The client's count.
    pub nc: u32,
}

impl Info {
    /// Reads the value. None if anything is missing.
    pub fn parse(value: &str) -> Option<Self> {
        let parameters = Parameters::parse(value)?;
        Some(Self {
            next_nonce: parameters.get("nextnonce").map(str::to_owned),
            rspauth: parameters.get("rspauth")?.to_owned(),
            cnonce: parameters.get("cnonce")?.to_owned(),
            nc: u32::from_str_radix(parameters.get("nc")?, 16).ok()?,
        })
    }

    /// Whether it answers these credentials and comes from someone who knows the secret.
    pub fn verify(&self, credentials: &Credentials, secret: &Secret, uri: &str) -> bool {
        let expected = credentials.info(secret, uri, None);
        expected.cnonce == self.cnonce
            && expected.nc == self.nc
            && bool::from(expected.rspauth.as_bytes().ct_eq(self.rspauth.as_bytes()))
    }
}

impl fmt::Display for Info {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(next) = &self.next_nonce {
            write!(f, "nextnonce={}, ", Quoted(next))?;
        }
        let (rspauth, cnonce) = (Quoted(&self.rspauth), Quoted(&self.cnonce));
        write!(f, "rspauth={rspauth}, cnonce={cnonce}, nc={:08x}, qop=auth", self.nc)
    }
}

/// What follows the word `Digest`.
fn scheme(value: &str) -> Option<&str> {
    let (scheme, rest) = value.trim_start().split_once(' ')?;
    scheme.eq_ignore_ascii_case("Digest").then_some(rest)
}

/// A quoted string.
struct Quoted<'a>(&'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write as _;
        f.write_char('"')?;
        for c in self.0.chars().filter(|c| !c.is_control()) {
            if c == '"' || c == '\\' {
                f.write_char('\\')?;
            }
            f.write_char(c)?;
        }
        f.write_char('"')
    }
}

/// `name=value` with commas between them.
struct Parameters(Vec<(String, String)>);

impl Parameters {
    /// None if something is malformed or a name stands twice.
    fn parse(text: &str) -> Option<Self> {
        let mut all: Vec<(String, String)> = Vec::new();
        let mut rest = text.trim_start();
        while !rest.is_empty() {
            let (name, behind) = rest.split_once('=')?;
            let name = name.trim().to_ascii_lowercase();
            let (value, behind) = match behind.trim_start().strip_prefix('"') {
                Some(quoted) => unquote(quoted)?,
                None => {
                    let until = behind.find(',').unwrap_or(behind.len());
                    let (value, behind) = behind.split_at_checked(until)?;
                    (value.trim().to_owned(), behind)
                }
            };
            if name.is_empty() || all.iter().any(|(other, _)| *other == name) {
                return None;
            }
            all.push((name, value));
            let behind = behind.trim_start();
            rest = match behind.strip_prefix(',') {
                Some(more) => more.trim_start(),
                None if behind.is_empty() => behind,
                None => return None,
            };
        }
        (!all.is_empty()).then_some(Self(all))
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }
}

/// Reads a quoted string after its first quote; gives what follows its last.
fn unquote(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    loop {
        match chars.next()? {
            (_, '\\') => value.push(chars.next()?.1),
            (at, '"') => return Some((value, text.get(at + 1..)?)),
            (_, c) => value.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use nuncio_sansio::pair::Counter;

    use super::*;

    /// RFC 4976 §5.1 has the shape but no password; RFC 7616 §3.9.1 has a known answer, with another method.
    #[test]
    fn digests_as_rfc_7616_computes_them() {
        for (algorithm, response) in [
            (Algorithm::Md5, "8ca523f5e9506fed4657c9700eebdbec"),
            (Algorithm::Sha256, "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
        ] {
            let secret = Secret::new(algorithm, "Mufasa", "http-auth@example.org", "Circle of Life");
            let nonce = "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v";
            let cnonce = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ";
            let digest = secret.digest(nonce, 1, cnonce, "GET", "/dir/index.html");
            assert_eq!(*digest, response);
        }
    }

    #[test]
    fn a_challenge_is_answered_and_proven_both_ways() {
        for algorithm in [Algorithm::Md5, Algorithm::Sha256] {
            let entropy = Counter::default();
            let challenge = Challenge {
                realm: "a \"quoted\\\" realm".into(),
                nonce: "n,o=n c\"e".into(),
                opaque: Some("op".into()),
                algorithm,
                stale: true,
            };
            assert_eq!(Challenge::parse(&challenge.to_string()).as_ref(), Some(&challenge));
            let uri = "msrps://relay.example.org;tcp";
            let (credentials, secret) = challenge.answer("alice", "s3cret", uri, 1, &entropy);
            let read = Credentials::parse(&credentials.to_string()).expect("ours");
            assert_eq!(read, credentials);
            let known = Secret::new(algorithm, "alice", &challenge.realm, "s3cret");
            assert!(read.verify(&known, uri));
            assert!(!read.verify(&known, "msrps://other.example.org;tcp"), "bound to the relay");
            assert!(!read.verify(&Secret::new(algorithm, "alice", &challenge.realm, "wrong"), uri));
            assert!(!Credentials { nc: 2, ..read.clone() }.verify(&known, uri), "bound to the count");
            let info = read.info(&known, uri, Some("next".into()));
            assert_eq!(Info::parse(&info.to_string()).as_ref(), Some(&info));
            assert!(info.verify(&credentials, &secret, uri));
            let forged = Info { rspauth: "0".repeat(info.rspauth.len()), ..info };
            assert!(!forged.verify(&credentials, &secret, uri));
        }
    }

    /// RFC 4976 §5.1: the frames of the RFC, with its lines joined.
    #[test]
    fn the_examples_of_rfc_4976() {
        let challenge = Challenge::parse(
            "Digest realm=\"intra.example.com\", qop=\"auth\", nonce=\"dcd98b7102dd2f0e8b11d0f600bfb0c093\"",
        )
        .expect("§5.1");
        assert_eq!((challenge.realm.as_str(), challenge.algorithm), ("intra.example.com", Algorithm::Md5));
        let credentials = Credentials::parse(
            "Digest username=\"Alice\", realm=\"intra.example.com\", \
             nonce=\"dcd98b7102dd2f0e8b11d0f600bfb0c093\", qop=auth, nc=00000001, cnonce=\"0a4f113b\", \
             response=\"6629fae49393a05397450978507c4ef1\"",
        )
        .expect("§5.1");
        assert_eq!((credentials.username.as_str(), credentials.nc), ("Alice", 1));
        let info = Info::parse(
            "nextnonce=\"40f2e879449675f288476d772627370a\",rspauth=\"7327570c586207eca2afae94fc20903d\", \
             cnonce=\"0a4f113b\", nc=00000001, qop=auth",
        )
        .expect("§5.1");
        assert_eq!(info.next_nonce.as_deref(), Some("40f2e879449675f288476d772627370a"));
    }

    /// RFC 4976 §9.1: what must not be used is not answered, and what must be there is demanded.
    #[test]
    fn what_rfc_4976_forbids() {
        for bad in [
            "Basic realm=\"x\"",
            "Digest realm=\"x\", nonce=\"n\"",
            "Digest realm=\"x\", nonce=\"n\", qop=\"auth-int\"",
            "Digest realm=\"x\", nonce=\"n\", qop=\"auth\", algorithm=MD5-sess",
            "Digest realm=\"x\", nonce=\"n\", qop=\"auth\", realm=\"y\"",
            "Digest realm=\"x\", nonce=\"n, qop=\"auth\"",
            "Digest",
            "",
        ] {
            assert_eq!(Challenge::parse(bad), None, "{bad}");
        }
        let good = "Digest username=\"a\", realm=\"r\", nonce=\"n\", qop=auth, nc=00000001, cnonce=\"c\", response=\"0\"";
        assert!(Credentials::parse(good).is_some());
        for (part, other) in [
            ("qop=auth", "qop=auth-int"),
            ("qop=auth, ", ""),
            ("nc=00000001, ", ""),
            ("nc=00000001", "nc=1"),
            ("nc=00000001", "nc=+0000001"),
            ("cnonce=\"c\"", "cnonce=\"\""),
            ("Digest", "Basic"),
            ("response=\"0\"", "response=\"0\" x"),
        ] {
            assert_eq!(Credentials::parse(&good.replace(part, other)), None, "{other}");
        }
        assert!(!format!("{:?}", Credentials::parse(good)).contains("response"));
    }
}
