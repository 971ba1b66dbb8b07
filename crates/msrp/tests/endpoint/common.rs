//! What the tests of an endpoint share: sessions, a passive side against raw bytes, and two endpoints with each other.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use nuncio_msrp::endpoint::{
    Answer, Body, Command, Compare, Config, ConnectionId, Directory, Endpoint, Event, Message, Question,
    Reports, Session, SessionId,
};
use nuncio_msrp::fuzz::{Said, feed};
use nuncio_msrp::media::AcceptTypes;
use nuncio_msrp::sdp::Fingerprint;
use nuncio_msrp::{FailureReport, Ident, Limits, Path, Start, Uri};
use nuncio_sansio::pair::{Counter, Pair, Script, Side};
use nuncio_sansio::{Entropy, Machine, Time};

pub(crate) const ALICE: &str = "msrp://alice.example:7777/iau39soe2843z;tcp";
pub(crate) const BOB: &str = "msrp://bob.example:8888/9di4eae923wzd;tcp";

pub(crate) fn uri(text: &str) -> Uri {
    Uri::parse(text).expect("a URI")
}

pub(crate) fn path(text: &str) -> Path {
    Path::parse(text, 16).expect("a path")
}

pub(crate) fn ident(text: &str) -> Ident {
    Ident::new(text).expect("an identifier")
}

pub(crate) fn session(id: u64, local: &str, peer: &str) -> Session {
    Session {
        id: SessionId(id),
        local: uri(local),
        path: path(peer),
        compare: Compare::Path,
        accept: AcceptTypes::parse("text/plain message/cpim application/octet-stream").expect("types"),
        peer_accepts: AcceptTypes::parse("text/plain message/cpim application/octet-stream").expect("types"),
        max_size: 100_000_000,
        peer_max_size: None,
        reports: Reports::Automatic,
    }
}

pub(crate) fn message(id: &str, body: &'static [u8]) -> Message {
    Message {
        session: SessionId(1),
        id: ident(id),
        content_type: "text/plain".into(),
        fields: Vec::new(),
        body: Body::Whole(Bytes::from_static(body)),
        success_report: false,
        failure_report: FailureReport::Yes,
    }
}

/// The sessions of one endpoint, shared by its connections.
pub(crate) type Shared = Rc<RefCell<Directory>>;

pub(crate) fn directory(sessions: impl IntoIterator<Item = Session>) -> Shared {
    let mut directory = Directory::default();
    for session in sessions {
        assert!(directory.add(Arc::new(session), Vec::new()));
    }
    Rc::new(RefCell::new(directory))
}

pub(crate) fn fingerprinted(session: Session, fingerprints: Vec<Fingerprint>) -> Shared {
    let mut directory = Directory::default();
    assert!(directory.add(Arc::new(session), fingerprints));
    Rc::new(RefCell::new(directory))
}

/// A connection whose host answers from the directory.
pub(crate) fn side(shared: &Shared, connection: u64, config: Config) -> Side<Endpoint> {
    let shared = Rc::clone(shared);
    let entropy: Arc<dyn Entropy> = Arc::new(Counter::default());
    let machine = Endpoint::new(Arc::new(config), entropy, Time::ZERO);
    Side::new(
        machine,
        Script::new(move |_, question| match question {
            Question::Bind { to, from, secured, certificate } => Answer::Bind(shared.borrow_mut().bind(
                ConnectionId(connection),
                &to,
                &from,
                secured,
                certificate.as_ref(),
            )),
        }),
    )
}

/// A frame in a line: method or code, identifier, what matters of its fields, its body, its flag. Identifiers of our own are left out.
pub(crate) fn told(bytes: &[u8]) -> Vec<String> {
    feed(Limits::DEFAULT, [bytes])
        .iter()
        .map(|said| {
            let Said::Frame(head, body, flag) = said else { return format!("{said:?}") };
            let mut words = vec![match &head.start {
                Start::Request(method) => method.as_str().to_owned(),
                Start::Response { status, .. } => format!("{status} {}", head.id),
            }];
            words.extend(head.message_id.map(|id| id.to_string()));
            words.extend(head.range.map(|range| range.to_string()));
            words.extend(head.success_report.then(|| "success".to_owned()));
            words.extend(head.status.as_ref().map(|status| format!("({status})")));
            words.extend(head.content_type.is_some().then(|| format!("{:?}", String::from_utf8_lossy(body))));
            words.push(flag.map_or('?', |flag| char::from(flag.byte())).to_string());
            words.join(" ")
        })
        .collect()
}

/// An event in a line.
pub(crate) fn heard(event: &Event) -> String {
    match event {
        Event::Bound(id) => format!("bound {}", id.0),
        Event::Alive(id) => format!("alive {}", id.0),
        Event::Incoming { message, content_type, total, .. } => {
            format!("incoming {message} {content_type} {}", total.map_or("*".to_owned(), |it| it.to_string()))
        }
        Event::Data { message, offset, bytes, .. } => {
            format!("data {message} {offset} {:?}", String::from_utf8_lossy(bytes))
        }
        Event::Complete { message, length, .. } => format!("complete {message} {length}"),
        Event::Duplicate { message, .. } => format!("duplicate {message}"),
        Event::Incomplete { message, why, .. } => format!("incomplete {message} {why:?}"),
        Event::Sent { message, .. } => format!("sent {message}"),
        Event::Progress { message, range, .. } => format!("progress {message} {range}"),
        Event::Delivered { message, .. } => format!("delivered {message}"),
        Event::Failed { message, why, .. } => format!("failed {message} {why:?}"),
        Event::Ended { session, why } => format!("ended {} {why:?}", session.0),
        Event::Auth(result) => format!("auth {result:?}"),
        Event::Closed(why) => format!("closed {why:?}"),
    }
}

/// A passive endpoint, Bob, with one session with Alice, whom the test plays byte by byte.
pub(crate) struct Raw {
    pub(crate) side: Side<Endpoint>,
    pub(crate) now: Time,
}

impl Raw {
    pub(crate) fn new() -> Self {
        Self::with(session(1, BOB, ALICE), Config::default())
    }

    pub(crate) fn with(session: Session, config: Config) -> Self {
        let mut side = side(&directory([session]), 1, config);
        side.start(Time::ZERO);
        Self { side, now: Time::ZERO }
    }

    /// Sends bytes; gives the frames that come back.
    pub(crate) fn tell(&mut self, bytes: impl AsRef<[u8]>) -> Vec<String> {
        self.side.bytes(self.now, bytes.as_ref());
        told(&self.side.take_sent())
    }

    /// Sends a SEND with these fields and this body.
    pub(crate) fn send(&mut self, tid: &str, fields: &str, body: &str, flag: char) -> Vec<String> {
        self.tell(send(tid, fields, body, flag))
    }

    pub(crate) fn command(&mut self, command: Command) -> Vec<String> {
        self.side.command(self.now, command);
        told(&self.side.take_sent())
    }

    pub(crate) fn wait(&mut self, seconds: u64) -> Vec<String> {
        self.now = self.now + Duration::from_secs(seconds);
        self.side.run_until(self.now);
        told(&self.side.take_sent())
    }

    pub(crate) fn events(&mut self) -> Vec<String> {
        self.side.take_events().iter().map(heard).collect()
    }
}

/// A SEND of Alice to Bob. Fields each with their line end.
pub(crate) fn send(tid: &str, fields: &str, body: &str, flag: char) -> String {
    format!(
        "MSRP {tid} SEND\r\nTo-Path: {BOB}\r\nFrom-Path: {ALICE}\r\n{fields}Content-Type: text/plain\r\n\r\n{body}\r\n-------{tid}{flag}\r\n"
    )
}

/// Alice, who opens session 1, and Bob.
pub(crate) fn pair() -> Pair<Endpoint, Endpoint> {
    let shared = directory([session(1, BOB, ALICE)]);
    let nobody = directory([]);
    let mut pair = Pair::new(side(&nobody, 1, Config::default()), side(&shared, 1, Config::default()));
    pair.command_a(Command::Open(Arc::new(session(1, ALICE, BOB))));
    pair
}

/// The events of a side, data joined.
pub(crate) fn all<M: Machine<Event = Event>>(side: &mut Side<M>) -> (Vec<String>, Vec<u8>) {
    let mut lines = Vec::new();
    let mut body = Vec::new();
    for event in side.take_events() {
        if let Event::Data { offset, bytes, .. } = &event {
            let at = usize::try_from(*offset).expect("fits");
            body.resize(body.len().max(at + bytes.len()), 0);
            body[at..at + bytes.len()].copy_from_slice(bytes);
        } else {
            lines.push(heard(&event));
        }
    }
    (lines, body)
}
