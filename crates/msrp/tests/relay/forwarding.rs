//! Forwarding (RFC 4976 §6.4): S1-L7 to S1-L13, S1-L17, S1-R4.

use std::sync::Arc;

use nuncio_msrp::endpoint::Command;
use nuncio_msrp::fuzz::{Said, feed};
use nuncio_msrp::head::Flag;
use nuncio_msrp::relay::{Framing, LinkId};
use nuncio_msrp::{FailureReport, Limits, Path};
use nuncio_sansio::pair::facts;

use crate::world::{End, World};
use crate::{ALICE, BOB, granted, heard, ident, login, message, open, random, session, uri};

const RELAY: &str = "msrps://relay.example;tcp";

/// Two clients of one relay, each with its own URI.
pub(crate) fn two_clients(world: &mut World, relay: usize) -> (usize, usize) {
    let (alice, bob) = (world.client(relay), world.client(relay));
    let a = granted(world, alice, login(RELAY, ALICE, "alice")).expect("granted").use_path;
    let b = granted(world, bob, login(RELAY, BOB, "bob")).expect("granted").use_path;
    let path = |way: &Path, own: &str| way.reversed().then(&Path::from(uri(own)));
    open(world, alice, session(ALICE, a.then(&path(&b, BOB))));
    open(world, bob, session(BOB, b.then(&path(&a, ALICE))));
    assert!(heard(world, alice).0.is_empty() && heard(world, bob).0.is_empty());
    (alice, bob)
}

/// S1-R4: text and octets both ways through one relay that serves both, with reports end to end.
#[test]
fn two_clients_of_one_relay() {
    let mut world = World::default();
    let relay = world.relay("relay.example");
    let (alice, bob) = two_clients(&mut world, relay);
    for (from, to) in [(alice, bob), (bob, alice)] {
        for length in [0, 1, 2_048, 100_000] {
            let body = random(length);
            let id = format!("m{length:05}");
            world.tell(from, Command::Send(message(&id, body.clone())));
            let (lines, read) = heard(&mut world, to);
            assert_eq!(lines, [format!("complete {id} {length}")]);
            assert!(read == body, "byte for byte");
            assert_eq!(heard(&mut world, from).0, [format!("delivered {id}")]);
        }
    }
    assert!(world.relays[relay].log.iter().all(|line| line.starts_with("authorized")));
}

/// RFC 4976 §5.1, S1-L14: a client behind two relays, the outer one reached through the inner one; its peer has none, and is connected to.
#[test]
fn a_chain_of_relays() {
    let mut world = World::default();
    let inner = world.relay("inner.example");
    world.relay("outer.example");
    let bob_uri = "msrp://bob.example:8145/foo;tcp";
    let alice = world.client(inner);
    let first =
        granted(&mut world, alice, login("msrps://inner.example;tcp", ALICE, "alice")).expect("inner");
    let to = format!("{} msrps://outer.example;tcp", first.use_path);
    let way = granted(&mut world, alice, login(&to, ALICE, "alice")).expect("outer").use_path;
    let hosts: Vec<_> = way.uris().iter().map(|uri| uri.host().to_string()).collect();
    assert_eq!(hosts, ["inner.example", "outer.example"], "in the order of a To-Path");
    assert_eq!(way.first(), first.use_path.first());
    // The path for the peer's eyes: the outermost first.
    let path = way.reversed().then(&Path::from(uri(ALICE)));
    world.listen("bob.example", session(bob_uri, path));
    open(&mut world, alice, session(ALICE, way.then(&Path::from(uri(bob_uri)))));
    let body = random(300_000);
    world.tell(alice, Command::Send(message("file", body.clone())));
    let bob = world.endpoints.len() - 1;
    let (lines, read) = heard(&mut world, bob);
    assert_eq!(lines, ["complete file 300000"]);
    assert!(read == body, "byte for byte");
    assert_eq!(heard(&mut world, alice).0, ["delivered file"]);
    world.tell(bob, Command::Send(message("back", body.clone())));
    let logs: Vec<_> = world.relays.iter().map(|relay| relay.log.clone()).collect();
    let (lines, read) = heard(&mut world, alice);
    assert_eq!(
        (lines, heard(&mut world, bob).0),
        (vec!["complete back 300000".to_owned()], vec!["delivered back".to_owned()]),
        "{logs:?}"
    );
    assert!(read == body, "byte for byte");
}

/// A peer without a relay connects to the client's (RFC 4976 §11), in clear as well (§9.2), and is answered on its connection.
#[test]
fn a_foreign_peer_connects() {
    let mut world = World::default();
    let relay = world.relay("relay.example");
    let alice = world.client(relay);
    let way = granted(&mut world, alice, login(RELAY, ALICE, "alice")).expect("granted").use_path;
    let token = way.first().expect("one").to_string();
    let carol = "msrp://carol.example:4000/abcdef;tcp";
    let (raw, _) = world.raw(relay, None);
    open_passive(&mut world, alice, session(ALICE, way.then(&Path::from(uri(carol)))));
    let send = format!(
        "MSRP aaaa SEND\r\nTo-Path: {token} {ALICE}\r\nFrom-Path: {carol}\r\nMessage-ID: hello\r\nByte-Range: 1-2/2\r\nSuccess-Report: yes\r\nContent-Type: text/plain\r\n\r\nhi\r\n-------aaaa$\r\n"
    );
    let said = feed(Limits::DEFAULT, [&world.say(raw, &send)[..]]);
    let [Said::Frame(response, ..), Said::Frame(report, ..)] = &said[..] else { unreachable!("{said:?}") };
    assert_eq!((response.id.as_str(), response.from.to_string()), ("aaaa", token.clone()));
    assert_eq!(report.from.to_string(), format!("{token} {ALICE}"), "S1-L8: the relay moved its URI");
    assert_eq!(report.to.to_string(), carol);
    world.tell(alice, Command::Send(message("back", &b"hello"[..])));
    let said = feed(Limits::DEFAULT, [&std::mem::take(&mut world.raw[raw])[..]]);
    let [Said::Frame(head, body, Some(Flag::Last))] = &said[..] else { unreachable!("{said:?}") };
    assert_eq!((head.to.to_string(), &body[..]), (carol.to_owned(), &b"hello"[..]));
}

/// A session that waits for its peer: its first request goes out only when it has something to say.
fn open_passive(world: &mut World, client: usize, session: nuncio_msrp::endpoint::Session) {
    world.tell(client, Command::Open(Arc::new(session)));
    // The greeting went to a peer that has not connected: the relay could not place it.
    heard(world, client);
}

/// S1-L10, S1-L11: what a next hop refuses, or leaves unanswered for 30 seconds, is reported to the origin, unless it declined.
#[test]
fn failures_are_reported_to_the_origin() {
    for (failure_report, refused, silent) in [
        (FailureReport::Yes, true, true),
        (FailureReport::Partial, true, false),
        (FailureReport::No, false, false),
    ] {
        for status in [None, Some("415"), Some("200 OK")] {
            let mut world = World::default();
            let relay = world.relay("relay.example");
            let (raw, _) = world.raw(relay, Some(facts()));
            let alice = world.client(relay);
            let way = granted(&mut world, alice, login(RELAY, ALICE, "alice")).expect("granted").use_path;
            let token = way.first().expect("one").to_string();
            let carol = "msrps://carol.example:4000/abcdef;tcp";
            // Carol has written first; the relay knows where she is.
            let hello = format!(
                "MSRP aaaa SEND\r\nTo-Path: {token} {ALICE}\r\nFrom-Path: {carol}\r\nMessage-ID: hello\r\nByte-Range: 1-0/0\r\nFailure-Report: no\r\n-------aaaa$\r\n"
            );
            assert!(world.say(raw, hello).is_empty());
            open(&mut world, alice, session(ALICE, way.then(&Path::from(uri(carol)))));
            answer(&mut world, raw, carol, "200 OK");
            heard(&mut world, alice);
            let mut text = message("text", &b"hello"[..]);
            (text.failure_report, text.success_report) = (failure_report, false);
            world.tell(alice, Command::Send(text));
            if let Some(status) = status {
                answer(&mut world, raw, carol, status);
            }
            world.run(31);
            let wanted = match status {
                None if silent => vec!["failed text Status(Status(408))", "ended Failed(Status(408))"],
                Some("415") if refused => vec!["failed text Status(Status(415))"],
                _ => vec![],
            };
            assert_eq!(heard(&mut world, alice).0, wanted, "{failure_report:?} {status:?}");
        }
    }
}

/// Answers the last request that a raw peer got.
fn answer(world: &mut World, raw: usize, from: &str, status: &str) {
    let got = std::mem::take(&mut world.raw[raw]);
    let said = feed(Limits::DEFAULT, [&got[..]]);
    let Some(Said::Frame(head, ..)) =
        said.iter().rev().find(|said| matches!(said, Said::Frame(head, ..) if head.is_send()))
    else {
        unreachable!("{said:?}")
    };
    let to = head.from.first().expect("one").clone();
    let id = head.id;
    let back = world
        .say(raw, format!("MSRP {id} {status}\r\nTo-Path: {to}\r\nFrom-Path: {from}\r\n-------{id}$\r\n"));
    world.raw[raw].extend(back);
}

/// S1-L8, S1-L9, S1-L12: another identifier on each hop, 200 by `Failure-Report`, ranges as they are, fields as they came.
#[test]
fn what_changes_on_the_way_and_what_does_not() {
    let mut world = World::default();
    let relay = world.relay("relay.example");
    let (foreign, _) = world.raw(relay, Some(facts()));
    let (client, token) = raw_client(&mut world, relay, "alice", ALICE);
    let peer = "msrps://carol.example:4000/abcdef;tcp";
    for (field, answered) in
        [("", true), ("Failure-Report: partial\r\n", false), ("Failure-Report: no\r\n", false)]
    {
        let send = format!(
            "MSRP aaaa SEND\r\nTo-Path: {token} {ALICE}\r\nFrom-Path: {peer}\r\nMessage-ID: hello\r\nByte-Range: 11-12/99\r\n{field}X-Unknown: kept\r\nContent-Disposition: render\r\nContent-Type: text/plain;charset=utf-8\r\n\r\nhi\r\n-------aaaa+\r\n"
        );
        assert_eq!(!world.say(foreign, &send).is_empty(), answered, "{field}");
        let said = feed(Limits::DEFAULT, [&std::mem::take(&mut world.raw[client])[..]]);
        let [Said::Frame(head, body, Some(Flag::More))] = &said[..] else { unreachable!("{said:?}") };
        assert_ne!(head.id.as_str(), "aaaa");
        assert_eq!(
            (head.to.to_string(), head.from.to_string()),
            (ALICE.to_owned(), format!("{token} {peer}"))
        );
        assert_eq!(
            (head.range.map(|range| range.to_string()), &body[..]),
            (Some("11-*/99".into()), &b"hi"[..])
        );
        assert_eq!(head.field("X-Unknown"), Some("kept"));
        assert_eq!(head.field("content-disposition"), Some("render"));
        assert_eq!(head.content_type.as_deref(), Some("text/plain;charset=utf-8"));
    }
}

/// A client that is played by the test, logged in. Gives its number and its URI.
pub(crate) fn raw_client(world: &mut World, relay: usize, user: &str, own: &str) -> (usize, String) {
    let (raw, _) = world.raw(relay, Some(facts()));
    let auth = |fields: &str| {
        format!("MSRP 49fh AUTH\r\nTo-Path: {RELAY}\r\nFrom-Path: {own}\r\n{fields}-------49fh$\r\n")
    };
    let head = |bytes: &[u8]| match &feed(Limits::DEFAULT, [bytes])[..] {
        [Said::Frame(head, ..)] => (**head).clone(),
        other => unreachable!("{other:?}"),
    };
    let challenged = head(&world.say(raw, auth("")));
    let challenge = nuncio_msrp::digest::Challenge::parse(challenged.field("WWW-Authenticate").expect("one"));
    let entropy = nuncio_sansio::pair::Counter::default();
    let password = format!("{user}'s password");
    let (credentials, _) = challenge.expect("readable").answer(user, &password, RELAY, 1, &entropy);
    let granted = head(&world.say(raw, auth(&format!("Authorization: {credentials}\r\n"))));
    (raw, granted.field("Use-Path").expect("granted").to_owned())
}

/// S1-L13, S1-L17: other methods go end to end, also unknown ones, with their short bodies; their responses come back all the way.
#[test]
fn other_methods_go_end_to_end() {
    let mut world = World::default();
    let relay = world.relay("relay.example");
    let (foreign, _) = world.raw(relay, Some(facts()));
    let (client, token) = raw_client(&mut world, relay, "alice", ALICE);
    let peer = "msrps://carol.example:4000/abcdef;tcp";
    let request = |body: &str| {
        format!(
            "MSRP aaaa FOOBAR\r\nTo-Path: {token} {ALICE}\r\nFrom-Path: {peer}\r\nContent-Type: text/plain\r\n\r\n{body}\r\n-------aaaa$\r\n"
        )
    };
    assert!(world.say(foreign, request("short")).is_empty(), "no hop answers");
    let said = feed(Limits::DEFAULT, [&std::mem::take(&mut world.raw[client])[..]]);
    let [Said::Frame(head, body, _)] = &said[..] else { unreachable!("{said:?}") };
    assert_eq!((head.method().map(|method| method.as_str()), &body[..]), (Some("FOOBAR"), &b"short"[..]));
    let response = head.response(nuncio_msrp::Status::NOT_IMPLEMENTED).expect("complete");
    let mut bytes = Vec::new();
    response.write(&mut bytes);
    nuncio_msrp::head::end_line(&response.id, Flag::Last, &mut bytes);
    world.say(client, &bytes);
    let said = feed(Limits::DEFAULT, [&std::mem::take(&mut world.raw[foreign])[..]]);
    let [Said::Frame(head, ..)] = &said[..] else { unreachable!("{said:?}") };
    assert_eq!(
        (head.id.as_str(), head.to.to_string(), head.from.to_string()),
        ("aaaa", peer.to_owned(), format!("{token} {ALICE}"))
    );
    world.say(client, &bytes);
    assert!(world.raw[foreign].is_empty(), "answered once");
    let refused = world.say(foreign, request(&"x".repeat(10_241)));
    let said = feed(Limits::DEFAULT, [&refused[..]]);
    assert!(matches!(&said[..], [Said::Frame(head, ..)] if head.id.as_str() == "aaaa"), "400: {said:?}");
    assert!(world.raw[client].is_empty());
}

/// S1-L12, fairness: a long message and a short one of two senders take turns on one connection; each is whole.
#[test]
fn flows_take_turns() {
    let mut world = World::default();
    let relay = world.relay("relay.example");
    let (one, _) = world.raw(relay, Some(facts()));
    let (two, _) = world.raw(relay, Some(facts()));
    let (client, token) = raw_client(&mut world, relay, "alice", ALICE);
    let begin = |tid: &str, peer: &str, body: &str| {
        format!(
            "MSRP {tid} SEND\r\nTo-Path: {token} {ALICE}\r\nFrom-Path: msrps://{peer}.example:1/x;tcp\r\nMessage-ID: from-{peer}\r\nByte-Range: 1-*/*\r\nContent-Type: text/plain\r\n\r\n{body}"
        )
    };
    world.say(one, begin("long", "one", "first part, "));
    world.say(two, begin("short", "two", "short\r\n-------short$\r\n"));
    world.say(one, "second part\r\n-------long$\r\n");
    let said = feed(Limits::DEFAULT, [&std::mem::take(&mut world.raw[client])[..]]);
    let told: Vec<_> = said
        .iter()
        .map(|said| match said {
            Said::Frame(head, body, flag) => (
                head.message_id.map(|id| id.to_string()).unwrap_or_default(),
                head.range.map(|range| range.offset()).unwrap_or_default(),
                String::from_utf8_lossy(body).into_owned(),
                flag.expect("ended"),
            ),
            other => unreachable!("{other:?}"),
        })
        .collect();
    assert_eq!(
        told,
        [
            ("from-one".to_owned(), 0, "first part, ".to_owned(), Flag::More),
            ("from-two".to_owned(), 0, "short".to_owned(), Flag::Last),
            ("from-one".to_owned(), 12, "second part".to_owned(), Flag::Last),
        ]
    );
}

/// A source that is cut off in the middle of a message: the next hop is told (`#`), and is not left waiting.
#[test]
fn a_cut_source_aborts_its_messages() {
    let mut world = World::default();
    let relay = world.relay("relay.example");
    let (one, link) = world.raw(relay, Some(facts()));
    let (client, token) = raw_client(&mut world, relay, "alice", ALICE);
    world.say(
        one,
        format!(
            "MSRP long SEND\r\nTo-Path: {token} {ALICE}\r\nFrom-Path: msrps://one.example:1/x;tcp\r\nMessage-ID: from-one\r\nByte-Range: 1-*/*\r\nContent-Type: text/plain\r\n\r\nfirst part"
        ),
    );
    world.cut(End::Relay(relay, link));
    let said = feed(Limits::DEFAULT, [&world.raw[client][..]]);
    assert!(
        matches!(&said[..], [Said::Frame(_, body, Some(Flag::Abort))] if body == b"first part"),
        "{said:?}"
    );
}

/// RFC 7977 §5.2: on WebSocket each write is one whole frame, whatever the pieces that came.
#[test]
fn websocket_messages_are_whole_frames() {
    use nuncio_msrp::relay::{Command, Config, Direction, Flow, Forwarded, Link, NonceKey, Piece};
    use nuncio_msrp::{Head, Ident, Method};
    use nuncio_sansio::pair::Counter;
    use nuncio_sansio::{Input, Machine, Output, Time};
    let entropy = Arc::new(Counter::default());
    let nonces = Arc::new(NonceKey::new(&*entropy, std::time::Duration::from_secs(1)));
    let mut config = Config::new(Vec::new(), nonces);
    config.framing = Framing::Message;
    let mut link = Link::new(LinkId(1), Direction::Inbound, Arc::new(config), entropy, Time::ZERO);
    let token = uri("msrps://relay.example:2855/token;tcp");
    let from = Path::new(vec![token, uri(BOB)]).expect("two");
    let mut head =
        Head::request(Ident::new("abcd").expect("valid"), Method::Send, Path::from(uri(ALICE)), from);
    head.message_id = Some(ident("file"));
    head.content_type = Some("text/plain".into());
    let flow = Flow { source: LinkId(2), session: 1, to: None };
    let pieces = [
        Piece::Head(Box::new(Forwarded {
            next: nuncio_msrp::relay::Next::Link(LinkId(1)),
            head,
            moved: 1,
            number: 1,
        })),
        Piece::Data(random(5_000).into()),
        Piece::Data(random(3_000).into()),
        Piece::Data(random(10).into()),
        Piece::End(Flag::Last),
    ];
    let (mut body, mut flags) = (Vec::new(), Vec::new());
    for piece in pieces {
        link.handle(Time::ZERO, Input::Command(Command::Piece(flow, piece)));
        loop {
            match link.poll(Time::ZERO) {
                Output::Send(bytes) => match &feed(Limits::DEFAULT, [&bytes[..]])[..] {
                    [Said::Frame(head, part, Some(flag))] => {
                        assert_eq!(head.range.map(|range| range.offset()), Some(body.len() as u64));
                        body.extend_from_slice(part);
                        flags.push(*flag);
                    }
                    other => unreachable!("{other:?}"),
                },
                Output::Wait(_) => break,
                _ => {}
            }
        }
    }
    assert_eq!(flags, [Flag::More, Flag::More, Flag::Last]);
    assert_eq!(body, [random(5_000), random(3_000), random(10)].concat());
}
