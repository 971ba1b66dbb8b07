//! Times, bounds and switches of a relay, at their edges: S1-L6, S1-L10, S1-L13, S1-L16, S1-L17, S1-R5.

use nuncio_msrp::digest::{Algorithm, Challenge};
use nuncio_msrp::fuzz::{Said, feed};
use nuncio_msrp::relay::{Bounds, Command, Flow};
use nuncio_msrp::{Head, Limits, Start};
use nuncio_sansio::Machine as _;
use nuncio_sansio::pair::{Counter, facts};

use crate::forwarding::raw_client;
use crate::world::{End, World};
use crate::{ALICE, granted, login};

const RELAY: &str = "msrps://relay.example;tcp";
const PEER: &str = "msrps://peer.example:1/x;tcp";

fn frames(bytes: &[u8]) -> Vec<(Head, Vec<u8>)> {
    feed(Limits::DEFAULT, [bytes])
        .into_iter()
        .map(|said| match said {
            Said::Frame(head, body, _) => (*head, body),
            other => unreachable!("{other:?}"),
        })
        .collect()
}

/// The codes of responses, and of reports as negative numbers.
fn codes(bytes: &[u8]) -> Vec<i32> {
    frames(bytes)
        .iter()
        .filter_map(|(head, _)| match (&head.start, head.status.as_ref()) {
            (Start::Response { status, .. }, _) => Some(i32::from(status.code())),
            (_, Some(report)) => Some(-i32::from(report.status.code())),
            _ => None,
        })
        .collect()
}

fn auth(fields: &str) -> String {
    format!("MSRP 49fh AUTH\r\nTo-Path: {RELAY}\r\nFrom-Path: {ALICE}\r\n{fields}-------49fh$\r\n")
}

fn send(to: &str, from: &str) -> String {
    format!(
        "MSRP aaaa SEND\r\nTo-Path: {to}\r\nFrom-Path: {from}\r\nMessage-ID: hello\r\nByte-Range: 1-2/2\r\nFailure-Report: no\r\nContent-Type: text/plain\r\n\r\nhi\r\n-------aaaa$\r\n"
    )
}

/// S1-L16, RFC 4976 §5.4, §6.5: five minutes for a connection of somebody else, an hour for one of a client of ours; what comes and what goes begins
/// them anew.
#[test]
fn silence_ends_a_connection() {
    let mut world = World::default();
    let relay = world.relay("relay.example");
    let (alice, token) = raw_client(&mut world, relay, "alice", ALICE);
    let (peer, _) = world.raw(relay, Some(facts()));
    let closed = |world: &World| world.relays[relay].log[1..].to_vec();
    world.say(peer, send(&format!("{token} {ALICE}"), PEER));
    world.run(299);
    assert!(world.say(peer, send(&format!("{token} {ALICE}"), PEER)).is_empty());
    world.run(299);
    // The other way: nothing comes from the peer, but something goes there.
    world.raw[peer].clear();
    world.say(alice, send(&format!("{token} {PEER}"), ALICE));
    assert_eq!(frames(&std::mem::take(&mut world.raw[peer])).len(), 1);
    world.run(299);
    assert!(closed(&world).is_empty(), "{:?}", closed(&world));
    world.run(1);
    assert_eq!(closed(&world), ["closed Idle"], "300 seconds after the last byte");
    // The client's own: until an hour after it has said something.
    world.run(3_600 - 300 - 1);
    assert_eq!(closed(&world).len(), 1);
    world.run(1);
    assert_eq!(closed(&world), ["closed Idle", "closed Idle"]);
}

/// S1-L16: a connection that the relay has made is somebody else's as well.
#[test]
fn silence_ends_a_connection_that_was_made() {
    let mut world = World::default();
    let inner = world.relay("inner.example");
    let outer = world.relay("outer.example");
    let alice = world.client(inner);
    let first = granted(&mut world, alice, login("msrps://inner.example;tcp", ALICE, "alice"));
    let way = format!("{} msrps://outer.example;tcp", first.expect("inner").use_path);
    assert!(granted(&mut world, alice, login(&way, ALICE, "alice")).is_ok());
    let ends = |world: &World| {
        [inner, outer]
            .map(|relay| world.relays[relay].log.iter().filter(|line| *line == "closed Idle").count())
    };
    world.run(299);
    assert_eq!(ends(&world), [0, 0]);
    world.run(2);
    assert_eq!(ends(&world), [1, 1], "that between the relays, at both ends; the client's stands");
}

/// S1-L6: what is out of bounds, and what is no number at all.
#[test]
fn expires_at_its_edges() {
    let mut world = World::default();
    let relay = world.relay("relay.example");
    let (raw, _) = world.raw(relay, Some(facts()));
    let asked = frames(&world.say(raw, auth("")));
    let challenge = Challenge::parse(asked[0].0.field("WWW-Authenticate").expect("one")).expect("readable");
    let entropy = Counter::default();
    for (count, (wanted, code, told)) in [
        ("60", 200, ("Expires", "60")),
        ("59", 423, ("Min-Expires", "60")),
        ("0", 423, ("Min-Expires", "60")),
        ("86400", 200, ("Expires", "86400")),
        ("86401", 423, ("Max-Expires", "86400")),
        ("4294967296", 423, ("Max-Expires", "86400")),
        ("99999999999999999999999999", 423, ("Max-Expires", "86400")),
        ("-60", 400, ("", "")),
        ("+60", 400, ("", "")),
        ("soon", 400, ("", "")),
        ("6 0", 400, ("", "")),
        ("1800", 200, ("Expires", "1800")),
    ]
    .into_iter()
    .enumerate()
    {
        let nc = u32::try_from(count).expect("few") + 1;
        let (credentials, _) = challenge.answer("alice", "alice's password", RELAY, nc, &entropy);
        let answer = world.say(raw, auth(&format!("Authorization: {credentials}\r\nExpires: {wanted}\r\n")));
        let said = frames(&answer);
        assert_eq!(codes(&answer), [code], "{wanted}");
        let (name, value) = told;
        assert_eq!(said[0].0.field(name).unwrap_or_default(), value, "{wanted}");
        assert_eq!(said[0].0.field("Use-Path").is_some(), code == 200, "{wanted}");
    }
    assert_eq!(world.relays[relay].registry.borrow().len(), 1, "one URI, which was renewed");
}

/// S1-R5, RFC 7616: MD5 can be switched off; then nobody is asked for it, and who shows it is not let in.
#[test]
fn md5_can_be_switched_off() {
    let mut world = World::default();
    let relay = world.relay_with("relay.example", Bounds::default(), |config| {
        config.algorithms = vec![Algorithm::Sha256];
    });
    let (raw, _) = world.raw(relay, Some(facts()));
    let asked = frames(&world.say(raw, auth("")));
    let lines: Vec<_> = asked[0].0.all_fields("WWW-Authenticate").collect();
    assert_eq!(lines.len(), 1);
    let challenge = Challenge::parse(lines[0]).expect("readable");
    assert_eq!(challenge.algorithm, Algorithm::Sha256);
    let old = Challenge { algorithm: Algorithm::Md5, ..challenge.clone() };
    let entropy = Counter::default();
    for (challenge, nc, code) in [(old, 1, 401), (challenge, 2, 200)] {
        let (credentials, _) = challenge.answer("alice", "alice's password", RELAY, nc, &entropy);
        let answer = world.say(raw, auth(&format!("Authorization: {credentials}\r\n")));
        assert_eq!(codes(&answer), [code]);
    }
}

/// S1-L10: the 30 seconds for a response begin when the last byte has gone, not the first.
#[test]
fn the_time_for_a_response_begins_with_the_last_byte() {
    let mut world = World::default();
    let relay = world.relay("relay.example");
    let (alice, token) = raw_client(&mut world, relay, "alice", ALICE);
    let (peer, _) = world.raw(relay, Some(facts()));
    let whole = send(&format!("{token} {ALICE}"), PEER).replace("Failure-Report: no\r\n", "");
    let (front, back) = whole.split_at(whole.find("hi\r\n").expect("the body") + 1);
    let mut came = world.say(peer, front);
    world.run(100);
    came.extend(world.say(peer, back));
    assert_eq!(codes(&came), [200], "hop by hop");
    world.run(29);
    assert!(world.raw[peer].is_empty() && !world.raw[alice].is_empty());
    world.run(2);
    assert_eq!(codes(&std::mem::take(&mut world.raw[peer])), [-408]);
}

/// Issue 5, fairness: what has come through another relay shares its connection with others, whether that relay has shown a certificate or not; so a
/// receiver that does not read is given up for them.
#[test]
fn what_comes_through_a_relay_is_not_held_for_long() {
    for (from, shared) in
        [(PEER.to_owned(), false), (format!("msrps://far.example:2855/far;tcp {PEER}"), true)]
    {
        let mut world = World::default();
        let relay = world.relay("relay.example");
        let (alice, token) = raw_client(&mut world, relay, "alice", ALICE);
        let (peer, source) = world.raw(relay, Some(facts()));
        let whole = send(&format!("{token} {ALICE}"), &from).replace("Failure-Report: no\r\n", "");
        let (front, back) = whole.split_at(whole.find("hi\r\n").expect("the body") + 1);
        assert!(world.say(peer, front).is_empty());
        let now = world.now;
        let link = |world: &World| world.relays[relay].links[&source].machine().wants_bytes();
        let End::Relay(_, to) = world.far(End::Raw(alice)) else { unreachable!("a relay") };
        let side = world.relays[relay].links.get_mut(&source).expect("there");
        // Alice was the first to get a URI.
        side.command(now, Command::Hold(Flow { source, session: 1, to: Some(to) }));
        world.run(9);
        assert!(!link(&world));
        world.run(1);
        assert_eq!(link(&world), shared, "{from}");
        if shared {
            assert_eq!(codes(&std::mem::take(&mut world.raw[peer])), [408]);
            assert!(world.say(peer, back).is_empty(), "nothing of it passes");
            assert!(String::from_utf8_lossy(&world.raw[alice]).contains("#\r\n"));
        }
    }
}

/// S1-L13, RFC 4975 §7.1: of other methods a body passes up to 10240 bytes; S1-L17: what is unknown passes, unless it is switched off.
#[test]
fn other_methods_have_bounds_and_a_switch() {
    for (unknown_methods, length, code) in
        [(true, 10_240, None), (true, 10_241, Some(400)), (false, 1, Some(501))]
    {
        let mut world = World::default();
        let relay = world.relay_with("relay.example", Bounds::default(), |config| {
            config.unknown_methods = unknown_methods;
        });
        let (alice, token) = raw_client(&mut world, relay, "alice", ALICE);
        let (peer, _) = world.raw(relay, Some(facts()));
        let body = "x".repeat(length);
        let request = format!(
            "MSRP aaaa FOOBAR\r\nTo-Path: {token} {ALICE}\r\nFrom-Path: {PEER}\r\nContent-Type: text/plain\r\n\r\n{body}\r\n-------aaaa$\r\n"
        );
        let answer = world.say(peer, request);
        let came = frames(&world.raw[alice]);
        match code {
            Some(code) => assert_eq!((codes(&answer), came.len()), (vec![code], 0), "{length}"),
            None => assert!(answer.is_empty() && came.len() == 1 && came[0].1.len() == length),
        }
    }
}
