//! What broke other relays, and what an attacker would try: S1-L7 (open relay), S1-L18, S1-01, S1-03, S1-R4.

use std::time::Duration;

use nuncio_msrp::endpoint::Command;
use nuncio_msrp::fuzz::{Said, feed};
use nuncio_msrp::relay::Bounds;
use nuncio_msrp::{Limits, Path, Start};
use nuncio_sansio::pair::facts;

use crate::forwarding::{raw_client, two_clients};
use crate::world::{World, certificate};
use crate::{ALICE, BOB, granted, heard, login, message, open, random, session, uri};

const RELAY: &str = "msrps://relay.example;tcp";
const VICTIM: &str = "msrp://victim.example:25/x;tcp";

fn send(to: &str, from: &str) -> String {
    format!(
        "MSRP aaaa SEND\r\nTo-Path: {to}\r\nFrom-Path: {from}\r\nMessage-ID: evil\r\nByte-Range: 1-4/4\r\nContent-Type: text/plain\r\n\r\nspam\r\n-------aaaa$\r\n"
    )
}

/// The codes of what came back.
fn codes(bytes: &[u8]) -> Vec<u16> {
    feed(Limits::DEFAULT, [bytes])
        .iter()
        .filter_map(|said| match said {
            Said::Frame(head, ..) => match head.start {
                Start::Response { status, .. } => Some(status.code()),
                Start::Request(_) => None,
            },
            _ => None,
        })
        .collect()
}

/// S1-L7: Kamailio's documented configuration forwards this; nothing of it may leave us.
#[test]
fn never_an_open_relay() {
    let mut world = World::default();
    let relay = world.relay("relay.example");
    let (alice, token) = raw_client(&mut world, relay, "alice", ALICE);
    let (mallory, _) = world.raw(relay, None);
    let me = "msrp://mallory.example:1/x;tcp";
    for to in [
        // Two hops without credentials.
        format!("msrps://relay.example:2855;tcp {VICTIM}"),
        format!("{RELAY} {VICTIM}"),
        // A URI that nobody was given.
        format!("msrps://relay.example:2855/guessed;tcp {VICTIM}"),
        // The wrong case of one that somebody was.
        format!(
            "{} {ALICE}",
            token
                .replace(";tcp", "")
                .to_uppercase()
                .replace("MSRPS://RELAY.EXAMPLE", "msrps://relay.example")
                + ";tcp"
        ),
        // Nobody after it.
        token.clone(),
    ] {
        assert_eq!(codes(&world.say(mallory, send(&to, me))), [481], "{to}");
        assert!(world.raw[alice].is_empty());
        assert!(world.unreachable.is_empty(), "{to}");
    }
    // Who has learnt a good URI can write to its owner, and to nobody else: what claims to go on to a victim goes to the owner.
    world.say(mallory, send(&format!("{token} {VICTIM}"), me));
    assert!(world.unreachable.is_empty());
    assert!(!std::mem::take(&mut world.raw[alice]).is_empty());
    // Nor does it help to pretend to be the owner.
    world.say(mallory, send(&format!("{token} {VICTIM}"), ALICE));
    assert!(world.unreachable.is_empty());
    // Two URIs of ours in a row lead to an owner or nowhere.
    let (bob, theirs) = raw_client(&mut world, relay, "bob", BOB);
    world.raw[alice].clear();
    world.say(bob, send(&format!("{theirs} {token} {VICTIM}"), BOB));
    assert!(world.unreachable.is_empty());
    // The owner, and only the owner, sends where it likes.
    world.say(alice, send(&format!("{token} {VICTIM}"), ALICE));
    assert_eq!(world.unreachable, ["victim.example"]);
}

/// RFC 4976 §6.3, S1-L5: a URI dies with its connection, with its time, and with its account.
#[test]
fn uris_end() {
    for end in ["connection", "time", "account"] {
        let mut world = World::default();
        let relay = world.relay("relay.example");
        let (alice, token) = raw_client(&mut world, relay, "alice", ALICE);
        let (peer, _) = world.raw(relay, Some(facts()));
        let from = "msrps://peer.example:1/x;tcp";
        let hello = send(&format!("{token} {ALICE}"), from);
        assert_eq!(codes(&world.say(peer, &hello)), [200]);
        assert!(!std::mem::take(&mut world.raw[alice]).is_empty());
        match end {
            "connection" => {
                let far = world.far(crate::world::End::Raw(alice));
                world.cut(far);
            }
            "time" => world.run(1_801),
            _ => {
                let links = world.relays[relay].registry.borrow_mut().revoke("alice");
                assert_eq!(links.len(), 1, "whose connections are to be closed");
            }
        }
        let (peer, _) = if end == "time" { world.raw(relay, Some(facts())) } else { (peer, relay_link()) };
        assert_eq!(codes(&world.say(peer, &hello)), [481], "{end}");
        assert!(world.raw[alice].is_empty());
        assert!(world.relays[relay].registry.borrow_mut().purge(world.now).is_none());
        assert!(world.relays[relay].registry.borrow().is_empty(), "{end}");
    }
}

fn relay_link() -> nuncio_msrp::relay::LinkId {
    nuncio_msrp::relay::LinkId(0)
}

/// S1-03: whoever writes to a URI under a name keeps that name to its connection; answers go there and nowhere else.
#[test]
fn a_sender_stays_on_its_connection() {
    let mut world = World::default();
    let relay = world.relay("relay.example");
    let (alice, token) = raw_client(&mut world, relay, "alice", ALICE);
    let (one, _) = world.raw(relay, Some(facts()));
    let (two, _) = world.raw(relay, Some(facts()));
    let from = "msrps://peer.example:1/x;tcp";
    let hello = send(&format!("{token} {ALICE}"), from);
    assert_eq!(codes(&world.say(one, &hello)), [200]);
    assert_eq!(codes(&world.say(two, &hello)), [506]);
    world.raw[alice].clear();
    world.say(alice, send(&format!("{token} {from}"), ALICE));
    assert!(!world.raw[one].is_empty() && world.raw[two].is_empty());
}

/// A relay that has proven its name may have several connections, and only it speaks for the clients behind it.
#[test]
fn another_relay_is_not_the_owner() {
    let mut world = World::default();
    let inner = world.relay("inner.example");
    let outer = world.relay("outer.example");
    let alice = world.client(inner);
    let first = granted(&mut world, alice, login("msrps://inner.example;tcp", ALICE, "alice"))
        .expect("inner")
        .use_path;
    let way =
        granted(&mut world, alice, login(&format!("{first} msrps://outer.example;tcp"), ALICE, "alice"))
            .expect("outer")
            .use_path;
    let token = way.last().expect("the outer one").to_string();
    let from = format!("{first} {ALICE}");
    for (tls, forged) in [
        (facts(), from.clone()),
        (certificate("evil.example"), from.clone()),
        (certificate("evil.example"), format!("msrps://evil.example:1/x;tcp {from}")),
    ] {
        let (mallory, _) = world.raw(outer, Some(tls));
        world.say(mallory, send(&format!("{token} {VICTIM}"), &forged));
        assert!(world.unreachable.is_empty(), "{forged}");
    }
    open(&mut world, alice, session(ALICE, way.then(&Path::from(uri(VICTIM)))));
    assert_eq!(world.unreachable, ["victim.example"], "the true owner through its true relay");
}

/// S1-L18, RFC 4975 §14.5: answers may aim us at a victim, but not often.
#[test]
fn connections_on_behalf_of_others_are_few() {
    let bounds = Bounds { connects_per_account: 3, connects_per_host: 2, ..Bounds::default() };
    let mut world = World::default();
    let relay = world.relay_with("relay.example", bounds, |_| {});
    let (alice, token) = raw_client(&mut world, relay, "alice", ALICE);
    let (bob, theirs) = raw_client(&mut world, relay, "bob", BOB);
    let to = |world: &mut World, who: usize, own: &str, token: &str, port: u16, host: &str| {
        codes(&world.say(who, send(&format!("{token} msrp://{host}:{port}/x;tcp"), own)))
    };
    assert_eq!(to(&mut world, alice, ALICE, &token, 1, "v.example"), [200]);
    assert_eq!(to(&mut world, alice, ALICE, &token, 1, "v.example"), [200]);
    assert_eq!(to(&mut world, alice, ALICE, &token, 1, "v.example"), [403], "one port");
    assert_eq!(to(&mut world, alice, ALICE, &token, 1, "w.example"), [200]);
    assert_eq!(to(&mut world, alice, ALICE, &token, 1, "u.example"), [403], "one account");
    assert_eq!(to(&mut world, bob, BOB, &theirs, 1, "v.example"), [403], "one port, by whomever");
    assert_eq!(to(&mut world, bob, BOB, &theirs, 2, "v.example"), [200]);
    assert_eq!(to(&mut world, bob, BOB, &theirs, 1, "u.example"), [200]);
    world.run(Duration::from_secs(61).as_secs());
    assert_eq!(to(&mut world, alice, ALICE, &token, 1, "v.example"), [200]);
    let odd = codes(&world.say(alice, send(&format!("{token} msrps://u.example:1/x;dc"), ALICE)));
    assert_eq!(odd, [481], "no way to a data channel");
}

/// S1-01, S1-L4: guessing URIs is as short-lived as guessing passwords.
#[test]
fn guessing_uris_is_cut_short() {
    let mut world = World::default();
    let relay = world.relay("relay.example");
    let (mallory, _) = world.raw(relay, Some(facts()));
    let mut answers = 0;
    for guess in 0..100 {
        let to = format!("msrps://relay.example:2855/guess{guess};tcp {VICTIM}");
        answers += codes(&world.say(mallory, send(&to, "msrps://mallory.example:1/x;tcp"))).len();
    }
    assert_eq!(answers, 16);
    assert_eq!(world.relays[relay].log, ["closed Strikes"]);
}

/// S1-01: a client in the middle of a message cannot know that the other end has gone; whatever it has sent before it reads the first 481 is no guess,
/// and costs it nothing, also where its session had not begun. Guesses are cut short all the same, with good requests between them.
#[test]
fn honest_pipelining_is_no_guessing() {
    let mut world = World::default();
    let relay = world.relay("relay.example");
    let (alice, own) = raw_client(&mut world, relay, "alice", ALICE);
    let (bob, theirs) = raw_client(&mut world, relay, "bob", BOB);
    let (never, to_never) = raw_client(&mut world, relay, "bob", BOB);
    let (_carol, to_carol) = raw_client(&mut world, relay, "bob", "msrps://carol.example:1/c;tcp");
    let chunk = |to: &str| send(&format!("{own} {to} {BOB}"), ALICE);
    assert_eq!(codes(&world.say(alice, chunk(&theirs))), [200]);
    for gone in [bob, never] {
        let far = world.far(crate::world::End::Raw(gone));
        world.cut(far);
    }
    for (to, what) in [(&theirs, "one that was there"), (&to_never, "one that had gone before")] {
        assert_eq!(codes(&world.say(alice, chunk(to).repeat(100))), [481; 100], "{what}");
    }
    let good = send(&format!("{own} {to_carol} msrps://carol.example:1/c;tcp"), ALICE);
    assert_eq!(codes(&world.say(alice, &good)), [200], "its connection lives");
    // Not for ever: who does not listen for minutes is no client in the middle of a message.
    let (deaf, token) = raw_client(&mut world, relay, "alice", "msrps://deaf.example:1/d;tcp");
    let chunk_of_deaf = send(&format!("{token} {theirs} {BOB}"), "msrps://deaf.example:1/d;tcp");
    let mut minutes = 0;
    while !world.say(deaf, chunk_of_deaf.repeat(100)).is_empty() {
        world.run(30);
        minutes += 1;
        assert!(minutes < 20, "in halves of them");
    }
    assert!(minutes > 10, "{minutes}");
    let mut answers = 0;
    for guess in 0..100 {
        answers +=
            codes(&world.say(alice, chunk(&format!("msrps://relay.example:2855/guess{guess};tcp")))).len();
        if guess == 9 {
            assert_eq!(codes(&world.say(alice, &good)), [200]);
        }
    }
    assert_eq!(answers, 17, "sixteen, and one that was made up for");
    assert_eq!(world.relays[relay].log.last().map(String::as_str), Some("closed Strikes"));
    // Who has been good for nothing yet has no message in its middle (S1-L2).
    let (mallory, _) = world.raw(relay, Some(facts()));
    let same =
        send(&format!("msrps://relay.example:2855/guess;tcp {BOB}"), "msrps://mallory.example:1/x;tcp");
    assert_eq!(codes(&world.say(mallory, same.repeat(100))), [481; 16]);
}

/// S1-R4: octets that are no UTF-8, in chunks beyond 16 kB, cost neither the session nor a byte (msrprelay and Kamailio fall here).
#[test]
fn octets_beyond_16_kilobytes() {
    let mut world = World::default();
    let relay = world.relay("relay.example");
    let (alice, bob) = two_clients(&mut world, relay);
    let mut body = random(1_000_000);
    body[500_000..500_022].copy_from_slice(b"\r\n-------d93kswow$\r\nXX");
    world.tell(alice, Command::Send(message("file", body.clone())));
    let (lines, read) = heard(&mut world, bob);
    assert_eq!(lines, ["complete file 1000000"]);
    assert!(read == body);
    assert_eq!(heard(&mut world, alice).0, ["delivered file"]);
    assert!(world.held > 0, "a megabyte at once is more than a lane holds: its source was held, and let go");
}

/// Header floods, wrapped ranges, broken paths: the frame is refused, the relay and its other sessions live.
#[test]
fn malformed_requests_go_nowhere() {
    let mut world = World::default();
    let relay = world.relay("relay.example");
    let (alice, token) = raw_client(&mut world, relay, "alice", ALICE);
    let (mallory, _) = world.raw(relay, Some(facts()));
    let good = send(&format!("{token} {ALICE}"), "msrps://m.example:1/x;tcp");
    for (bad, code) in [
        (good.replace("1-4/4", "1-99999999999999999999/4"), 400),
        (good.replace("1-4/4", "0-4/4"), 400),
        (good.replace("Message-ID: evil", &"X: y\r\n".repeat(100)), 400),
        (good.replace("Message-ID: evil\r\n", ""), 400),
    ] {
        assert_eq!(codes(&world.say(mallory, bad)), [code]);
        assert!(world.raw[alice].is_empty());
    }
    assert!(world.say(mallory, good.replace("From-Path: msrps", "From-Path: http")).is_empty());
    assert_eq!(codes(&world.say(mallory, &good)), [200]);
    assert!(!world.raw[alice].is_empty());
}
