//! What would mend a failure, where an option or a number of ours does.

use nuncio_endpoint::msrp::Status;
use nuncio_endpoint::msrp::endpoint::LoginError;
use nuncio_endpoint::msrp::sdp::Rejected;
use nuncio_endpoint::msrp::uri::{Host, Scheme};
use nuncio_endpoint::{CPIM, ConnectError, End, Lost, Peer, RelayError, SendError, SetupError};
use nuncio_net::tls::ConnectError as TlsConnectError;

/// An error of the endpoint's, with what would mend it.
pub(super) fn setup(error: SetupError, fingerprint: bool) -> anyhow::Error {
    let hint = match &error {
        SetupError::Rejected(Rejected::Weak) => Some("--sha1 believes them all the same"),
        SetupError::Connect(error) => connect(error, fingerprint),
        _ => None,
    };
    with(error.into(), hint)
}

/// The same where a relay of ours was logged in at.
pub(super) fn relay(error: RelayError) -> anyhow::Error {
    let hint = match &error {
        RelayError::Connect(error) => connect(error, false),
        RelayError::Lost { lost, .. } => tls(lost, false),
        RelayError::Login { why: LoginError::Bounds { .. }, .. } => Some("--expires says it"),
        RelayError::Login { why: LoginError::Credentials, .. } => {
            Some("the user or the password is wrong, or they have ended")
        }
        RelayError::Login { why: LoginError::Refused(Status::FORBIDDEN), .. } => {
            Some("the account may not use it, or has too much there already")
        }
        _ => None,
    };
    with(error.into(), hint)
}

fn with(error: anyhow::Error, hint: Option<&str>) -> anyhow::Error {
    match hint {
        Some(hint) => anyhow::anyhow!("{}; {hint}", crate::out::whole(&error)),
        None => error,
    }
}

fn connect(error: &ConnectError, fingerprint: bool) -> Option<&'static str> {
    match error {
        ConnectError::Ended { end: End::Connection(lost) | End::RelayGone { lost, .. }, .. } => {
            tls(lost, fingerprint)
        }
        ConnectError::Tls(TlsConnectError::NoRoots) => Some("--ca names one"),
        _ => None,
    }
}

/// `fingerprint`: a fingerprint could prove the peer as well.
fn tls(lost: &Lost, fingerprint: bool) -> Option<&'static str> {
    match lost {
        Lost::Handshake(why) if why.contains("UnknownIssuer") && fingerprint => {
            Some("--ca names the authority that issued the certificate, --fingerprint the certificate")
        }
        Lost::Handshake(why) if why.contains("UnknownIssuer") => {
            Some("--ca names the authority that issued the certificate")
        }
        Lost::Handshake(why) if why.contains("not valid for name") && fingerprint => {
            Some("--fingerprint names a certificate that is for another name")
        }
        Lost::Fingerprint => Some("is this what the receiver that runs now has printed?"),
        _ => None,
    }
}

/// What may stand behind a 481. `relayed`: a relay of ours was asked to go there.
fn nobody(peer: &Peer, relayed: bool) -> String {
    let numeric = peer
        .path
        .first()
        .filter(|next| relayed && next.scheme() == Scheme::Msrps && matches!(next.host(), Host::Address(_)));
    let there = "nobody waits there (any more)";
    match numeric {
        Some(next) => {
            format!("{there}, or the relay does not go to {}: a numeric address proves no name", next.host())
        }
        None => there.to_owned(),
    }
}

/// Why a message was not delivered: what it was, and what the receiver takes.
pub(super) fn undelivered(error: &SendError, kind: &str, bytes: u64, peer: &Peer, relayed: bool) -> String {
    let hint = match error {
        SendError::Type => format!("it is {kind} (--type), and {} is taken", peer.accepts),
        SendError::Size => {
            let inside = if kind == CPIM { " inside CPIM" } else { "" };
            format!("it has {bytes} bytes{inside}, and {} are taken", peer.max_size.unwrap_or_default())
        }
        SendError::Status(status) => match *status {
            Status::STOP => "the receiver stopped it: it is too long, or cannot be stored there".to_owned(),
            Status::MEDIA_TYPE => format!("{kind} (--type) is not taken"),
            Status::FORBIDDEN => "the receiver, or a relay on the way, does not allow it".to_owned(),
            Status::TIMEOUT => "the receiver, or a relay on the way, does not answer".to_owned(),
            Status::NO_SESSION => nobody(peer, relayed),
            _ => return error.to_string(),
        },
        SendError::Ended(End::Gone) => nobody(peer, relayed),
        _ => return error.to_string(),
    };
    format!("{error}: {hint}")
}
