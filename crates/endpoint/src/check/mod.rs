//! What the RFCs demand of an endpoint or a relay, tried on anyone's.
//!
//! The cases are tables: [`relay`] and [`endpoint`] hold them, a small engine runs them. A case is a row of steps on a few connections: frames to
//! send, answers to expect, and things that must not happen. Each case of a relay has connections of its own; those of an endpoint share one, since a
//! session is bound to its connection (RFC 4975 §5.4).
//!
//! A case passes, fails with what was sent and what came, or does not apply: without credentials nobody can say what a relay does for its clients.

mod conversation;
mod endpoint;
mod hello;
mod login;
mod meeting;
mod random;
mod relay;
mod world;

use std::time::Duration;

use nuncio_msrp::media::AcceptTypes;
use nuncio_msrp::sdp::Fingerprint;
use nuncio_msrp::{Path, Status, Uri};
use nuncio_net::tls::{ConnectError, Roots};
use zeroize::Zeroizing;

pub use self::hello::Old;
use self::world::{Step, Stop, Who, World};

/// Who is checked, and what is needed for it.
#[derive(Clone, Debug)]
pub struct Subject {
    /// Its path. One URI without a session id: a relay. Else: an endpoint with this session, behind relays if there are more URIs.
    pub path: Path,
    /// What an endpoint accepts, where it is known.
    pub accepts: Option<AcceptTypes>,
    /// The longest message that an endpoint accepts, where it is known.
    pub max_size: Option<u64>,
    /// The URI that an endpoint expects us to have; a random one if none.
    pub from: Option<Uri>,
    /// The fingerprints of its certificate. None: its name counts.
    pub fingerprints: Vec<Fingerprint>,
    /// Whether fingerprints by SHA-1 count (S1-R6).
    pub sha1: bool,
    /// Who is believed to vouch for names.
    pub roots: Roots,
    /// User and password for a relay. They are used only if it proves its name, or has one of the fingerprints.
    pub login: Option<(String, Zeroizing<String>)>,
    /// How long an answer may take.
    pub patience: Duration,
    /// How long something that must not happen is waited for.
    pub grace: Duration,
}

impl Subject {
    /// Whoever has this path, with the system's authorities; 10 seconds for an answer and one for what must not come.
    #[must_use]
    pub fn new(path: Path) -> Self {
        Self {
            path,
            accepts: None,
            max_size: None,
            from: None,
            fingerprints: Vec::new(),
            sha1: false,
            roots: Roots::System,
            login: None,
            patience: Duration::from_secs(10),
            grace: Duration::from_secs(1),
        }
    }

    /// Whether it is a relay.
    #[must_use]
    pub fn is_relay(&self) -> bool {
        self.path.last().is_none_or(|uri| uri.session_id().is_none())
    }
}

/// What came of a case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// As the RFCs want it.
    Pass,
    /// Not so, and how.
    Fail(String),
    /// It could not be tried, and why.
    NotApplicable(String),
}

/// One case and what came of it.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// Its name, which stays.
    pub name: &'static str,
    /// Where it is demanded, as in `RFC 4976 §6.4`.
    pub rfc: &'static str,
    /// The requirement of the security review, as in `S1-L7`; empty if there is none.
    pub requirement: &'static str,
    /// What is demanded.
    pub demand: &'static str,
    /// What came of it.
    pub outcome: Outcome,
    /// What was sent and what came, a line each: `A>` and `A<` with the name of the connection.
    pub transcript: Vec<String>,
}

/// Why nothing was checked.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// There is a login for an `msrp:` URI.
    #[error("credentials are sent over TLS only: an msrps URI is wanted")]
    Clear,
    /// Fingerprints were named that cannot be judged.
    #[error(transparent)]
    Unjudged(#[from] crate::Unjudged),
    /// Fingerprints were named that count nothing.
    #[error(transparent)]
    Weak(#[from] nuncio_msrp::sdp::Rejected),
    /// TLS cannot be used.
    #[error(transparent)]
    Tls(#[from] ConnectError),
    /// There is no certificate of our own.
    #[error(transparent)]
    Certificate(#[from] nuncio_net::tls::OwnError),
    /// It cannot be reached.
    #[error(transparent)]
    Connect(#[from] crate::ConnectError),
    /// There is somebody, and no TLS.
    #[error("{place}: no TLS: {why}")]
    NoTls {
        /// Host and port.
        place: String,
        /// What came instead.
        why: String,
    },
    /// There is TLS, and no relay in it.
    #[error("{place}: no relay speaks MSRP there: {why}")]
    Mute {
        /// Host and port.
        place: String,
        /// What came instead.
        why: String,
    },
    /// The login that was given is refused.
    #[error("{place} refuses the login: {status} {}", status.comment())]
    Login {
        /// Host and port.
        place: String,
        /// How.
        status: Status,
    },
    /// The trap for what is relayed without permission cannot be set.
    #[error("cannot listen for what should not come: {0}")]
    Trap(#[from] std::io::Error),
}

/// A case: who demands what, and how it is tried.
pub(crate) struct Case {
    name: &'static str,
    rfc: &'static str,
    requirement: &'static str,
    demand: &'static str,
    steps: &'static [Step],
}

/// What relays and endpoints refuse alike.
const HEADER_FLOOD: Case = Case {
    name: "header-flood",
    rfc: "RFC 4975 §14.5",
    requirement: "",
    demand: "a head of 100 000 fields is refused",
    steps: &[
        Step::Open(Who::C),
        Step::Send(
            Who::C,
            "MSRP {t1} SEND|To-Path: {wrong}|From-Path: {stranger}|{fields:100000}Message-ID: {m1}|\
             Byte-Range: 1-0/0|-------{t1}$|",
        ),
        Step::AnswerOrEnd(Who::C, "t1", &[400, 413]),
    ],
};

const GARBAGE: Case = Case {
    name: "garbage",
    rfc: "RFC 4975 §7.1",
    requirement: "",
    demand: "whoever does not speak MSRP loses his connection",
    steps: &[Step::Open(Who::C), Step::Send(Who::C, "GET / HTTP/1.1|Host: {stranger}||"), Step::End(Who::C)],
};

/// Tries all cases, one after the other, and tells each as it is done.
///
/// # Errors
/// Nobody is there, nobody speaks TLS there, or to a relay MSRP; or the relay refuses the login.
pub async fn check(subject: Subject, mut tell: impl FnMut(&Verdict)) -> Result<Vec<Verdict>, CheckError> {
    let relay = subject.is_relay();
    let mut world = World::new(subject).await?;
    world.greet().await?;
    world.guard().await;
    if relay {
        world.introduce().await?;
        world.admit().await?;
    }
    let mut verdicts = Vec::new();
    for case in if relay { relay::CASES } else { endpoint::CASES } {
        world.begin(relay);
        let outcome = match Box::pin(world.run(case.steps)).await {
            Ok(()) => Outcome::Pass,
            Err(Stop::Fail(why)) => Outcome::Fail(why),
            Err(Stop::Skip(why)) => Outcome::NotApplicable(why),
        };
        let verdict = Verdict {
            name: case.name,
            rfc: case.rfc,
            requirement: case.requirement,
            demand: case.demand,
            outcome,
            transcript: world.transcript(),
        };
        tell(&verdict);
        verdicts.push(verdict);
    }
    Ok(verdicts)
}
