//! Relays of RFC 4976 in virtual time: clients, chains, foreign peers, and attackers.

mod attacks;
mod auth;
mod edges;
mod forwarding;
mod limits;
mod world;

use std::sync::Arc;

use bytes::Bytes;
use nuncio_msrp::endpoint::{
    Body, Command, Compare, Event, Granted, Login, LoginError, Message, Reports, Session, SessionId,
};
use nuncio_msrp::media::AcceptTypes;
use nuncio_msrp::{FailureReport, Ident, Path, Uri};
use world::World;

// The driver of a connection runs on any thread.
const _: fn() = || {
    fn is_send<T: Send + 'static>() {}
    is_send::<nuncio_msrp::relay::Link>();
    is_send::<nuncio_msrp::relay::Registry>();
    is_send::<nuncio_msrp::relay::Event>();
    is_send::<nuncio_msrp::endpoint::Endpoint>();
    is_send::<nuncio_msrp::endpoint::Directory>();
    is_send::<Event>();
};

pub(crate) const ALICE: &str = "msrps://alice.example:9892/98cjs;tcp";
pub(crate) const BOB: &str = "msrps://bob.example:8145/foo;tcp";

pub(crate) fn uri(text: &str) -> Uri {
    Uri::parse(text).expect("a URI")
}

pub(crate) fn ident(text: &str) -> Ident {
    Ident::new(text).expect("an identifier")
}

pub(crate) fn login(to: &str, from: &str, user: &str) -> Login {
    Login {
        to: Path::parse(to, 16).expect("a path"),
        from: uri(from),
        username: user.to_owned(),
        password: format!("{user}'s password").into(),
        expires: None,
        md5: true,
    }
}

/// Logs a client in, and gives what the relay granted.
pub(crate) fn granted(world: &mut World, client: usize, login: Login) -> Result<Granted, LoginError> {
    world.endpoints[client].take_events();
    world.tell(client, Command::Auth(login));
    world.run(0);
    let events = world.endpoints[client].take_events();
    let result = events.into_iter().find_map(|event| match event {
        Event::Auth(result) => Some(result),
        _ => None,
    });
    result.expect("an answer")
}

/// A session of a client: through its relays to the peer's path.
pub(crate) fn session(local: &str, path: Path) -> Session {
    Session {
        id: SessionId(1),
        local: uri(local),
        path,
        compare: Compare::Path,
        accept: AcceptTypes::any(),
        peer_accepts: AcceptTypes::any(),
        max_size: 1 << 40,
        peer_max_size: None,
        reports: Reports::Automatic,
    }
}

pub(crate) fn open(world: &mut World, client: usize, session: Session) {
    world.tell(client, Command::Open(Arc::new(session)));
}

pub(crate) fn message(id: &str, body: impl Into<Bytes>) -> Message {
    Message {
        session: SessionId(1),
        id: ident(id),
        content_type: "application/octet-stream".into(),
        fields: Vec::new(),
        body: Body::Whole(body.into()),
        success_report: true,
        failure_report: FailureReport::Yes,
    }
}

/// What an endpoint heard: lines, and the bytes of its messages.
pub(crate) fn heard(world: &mut World, endpoint: usize) -> (Vec<String>, Vec<u8>) {
    let (mut lines, mut body) = (Vec::new(), Vec::new());
    for event in world.endpoints[endpoint].take_events() {
        match event {
            Event::Data { offset, bytes, .. } => {
                let at = usize::try_from(offset).expect("fits");
                body.resize(body.len().max(at + bytes.len()), 0);
                body[at..at + bytes.len()].copy_from_slice(&bytes);
            }
            Event::Complete { message, length, .. } => lines.push(format!("complete {message} {length}")),
            Event::Delivered { message, .. } => lines.push(format!("delivered {message}")),
            Event::Failed { message, why, .. } => lines.push(format!("failed {message} {why:?}")),
            Event::Ended { why, .. } => lines.push(format!("ended {why:?}")),
            Event::Incomplete { message, why, .. } => lines.push(format!("incomplete {message} {why:?}")),
            Event::Closed(why) => lines.push(format!("closed {why:?}")),
            _ => {}
        }
    }
    (lines, body)
}

pub(crate) fn random(length: usize) -> Vec<u8> {
    let mut word = 0x9E37_79B9_7F4A_7C15_u64;
    (0..length)
        .map(|_| {
            word ^= word << 13;
            word ^= word >> 7;
            word ^= word << 17;
            (word >> 32) as u8
        })
        .collect()
}
