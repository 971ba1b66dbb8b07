//! How a client gets a URI from a relay (RFC 4976 §5.1).

use std::time::Duration;

use nuncio_sansio::Entropy;
use zeroize::Zeroizing;

use crate::digest::{Algorithm, Challenge, Credentials, Info, Secret};
use crate::head::{Head, Method, Start};
use crate::ident::Ident;
use crate::status::Status;
use crate::uri::{Path, Uri};

/// How long a relay may take for an answer, relays before it included.
pub(super) const TIMEOUT: Duration = Duration::from_secs(60);
/// More challenges than an honest relay has: the first, and one for a stale nonce.
const ROUNDS: u8 = 3;

/// What a client wants from a relay.
#[derive(Clone)]
pub struct Login {
    /// The URIs of the relays before it, as granted by them, then the relay's own, as configured.
    pub to: Path,
    /// Our URI.
    pub from: Uri,
    /// The user.
    pub username: String,
    /// The password.
    pub password: Zeroizing<String>,
    /// For how many seconds the URI shall be good at most.
    pub expires: Option<u32>,
    /// Whether to answer where only MD5 is offered.
    pub md5: bool,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Login")
            .field("to", &self.to)
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}

/// What a relay granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Granted {
    /// The way out through the relays, in the order of a To-Path; reversed and with our own URI behind, it is the path for our SDP.
    pub use_path: Path,
    /// For how many seconds it is good.
    pub expires: Option<u32>,
    /// The hash that was used.
    pub algorithm: Algorithm,
}

/// Why a relay granted nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoginError {
    /// Credentials are only sent over TLS (RFC 4976 §9.1, S1-06).
    #[error("the connection is not inside TLS")]
    Clear,
    /// Another attempt is under way on this connection.
    #[error("another attempt is under way")]
    Busy,
    /// The user or the password is wrong.
    #[error("the relay does not accept the credentials")]
    Credentials,
    /// It offered nothing that we know and may use.
    #[error("the relay offers no acceptable way to authenticate")]
    Challenge,
    /// It refused with this status.
    #[error("the relay refuses with {0}")]
    Refused(Status),
    /// The time asked for is out of its bounds, in seconds.
    #[error("the time asked for is out of the relay's bounds{}", bounds(*.least, *.most))]
    Bounds {
        /// The least.
        least: Option<u32>,
        /// The most.
        most: Option<u32>,
    },
    /// It did not prove that it knows the password as well (RFC 4976 §9.1).
    #[error("the relay does not prove that it knows the password")]
    Unproven,
    /// Its answer cannot be used.
    #[error("the relay's answer is malformed")]
    Malformed,
    /// It did not answer.
    #[error("the relay does not answer")]
    Timeout,
    /// The connection ended.
    #[error("the connection ended")]
    Connection,
}

fn bounds(least: Option<u32>, most: Option<u32>) -> String {
    match (least, most) {
        (Some(least), Some(most)) => format!(", {least} to {most} s"),
        (Some(least), None) => format!(", {least} s at least"),
        (None, Some(most)) => format!(", {most} s at most"),
        (None, None) => String::new(),
    }
}

/// A login that is under way.
pub(super) struct Attempt {
    login: Login,
    /// The request that is open.
    pub(super) id: Ident,
    answered: Option<(Credentials, Secret)>,
    rounds: u8,
}

/// What follows from a response.
pub(super) enum Next {
    Request(Box<Attempt>, Box<Head>),
    Done(Result<Granted, LoginError>),
}

impl Attempt {
    pub(super) fn new(login: Login, entropy: &dyn Entropy) -> (Self, Head) {
        let attempt = Self { login, id: Ident::random(entropy), answered: None, rounds: 0 };
        let head = attempt.head();
        (attempt, head)
    }

    fn head(&self) -> Head {
        let mut head =
            Head::request(self.id, Method::Auth, self.login.to.clone(), self.login.from.clone().into());
        // Numbers and quoted strings have no control character.
        if let Some((credentials, _)) = &self.answered {
            let _always = head.add("Authorization", &credentials.to_string());
        }
        if let Some(expires) = self.login.expires {
            let _always = head.add("Expires", &expires.to_string());
        }
        head
    }

    /// The digest URI: the rightmost of the To-Path.
    fn uri(&self) -> &str {
        self.login.to.last().map(Uri::as_str).unwrap_or_default()
    }

    pub(super) fn response(mut self, response: &Head, entropy: &dyn Entropy) -> Next {
        let Start::Response { status, .. } = response.start else {
            return Next::Done(Err(LoginError::Malformed));
        };
        let seconds = |name| response.field(name).and_then(|value| value.parse().ok());
        let result = match status {
            Status::UNAUTHORIZED => match self.challenged(response, entropy) {
                Ok(()) => {
                    let head = self.head();
                    return Next::Request(Box::new(self), Box::new(head));
                }
                Err(error) => Err(error),
            },
            status if status.is_success() => self.granted(response),
            Status::OUT_OF_BOUNDS => {
                Err(LoginError::Bounds { least: seconds("Min-Expires"), most: seconds("Max-Expires") })
            }
            status => Err(LoginError::Refused(status)),
        };
        Next::Done(result)
    }

    fn challenged(&mut self, response: &Head, entropy: &dyn Entropy) -> Result<(), LoginError> {
        let challenge = response
            .all_fields("WWW-Authenticate")
            .filter_map(Challenge::parse)
            .filter(|challenge| self.login.md5 || challenge.algorithm != Algorithm::Md5)
            .max_by_key(|challenge| challenge.algorithm)
            .ok_or(LoginError::Challenge)?;
        self.rounds += 1;
        // Only a stale nonce is worth a second answer.
        if (self.answered.is_some() && !challenge.stale) || self.rounds >= ROUNDS {
            return Err(LoginError::Credentials);
        }
        let Login { username, password, .. } = &self.login;
        self.answered = Some(challenge.answer(username, password, self.uri(), 1, entropy));
        self.id = Ident::random(entropy);
        Ok(())
    }

    fn granted(&self, response: &Head) -> Result<Granted, LoginError> {
        let (credentials, secret) = self.answered.as_ref().ok_or(LoginError::Unproven)?;
        let info = response.field("Authentication-Info").and_then(Info::parse).ok_or(LoginError::Unproven)?;
        if !info.verify(credentials, secret, self.uri()) {
            return Err(LoginError::Unproven);
        }
        let use_path = response.field("Use-Path").ok_or(LoginError::Malformed)?;
        let use_path = Path::parse(use_path, 64).map_err(|_| LoginError::Malformed)?;
        let expires = response.field("Expires").and_then(|value| value.parse().ok());
        Ok(Granted { use_path, expires, algorithm: secret.algorithm() })
    }
}
