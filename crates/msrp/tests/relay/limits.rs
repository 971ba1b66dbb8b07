//! What ends in the middle, and what is given up for others: S1-L11, S1-L5, S1-L18, S1-09.

use std::time::Duration;

use nuncio_msrp::endpoint::LoginError;
use nuncio_msrp::fuzz::{Said, feed};
use nuncio_msrp::relay::{Bounds, Command, Event, Flow, LinkId, Piece};
use nuncio_msrp::{Limits, Start};
use nuncio_sansio::Machine as _;
use nuncio_sansio::pair::facts;

use crate::forwarding::raw_client;
use crate::world::{End, World, certificate};
use crate::{ALICE, granted, login};

const PEER: &str = "msrps://carol.example:4000/abcdef;tcp";

/// A SEND that does not end yet.
fn begun(id: &str, to: &str, from: &str, fields: &str) -> String {
    format!(
        "MSRP {id} SEND\r\nTo-Path: {to}\r\nFrom-Path: {from}\r\nMessage-ID: long\r\nByte-Range: 1-*/*\r\n{fields}Content-Type: text/plain\r\n\r\nfirst part"
    )
}

/// What came, in short: codes of responses; of requests the method, the body, the flag, and the status of a report.
fn told(bytes: &[u8]) -> Vec<String> {
    let said = feed(Limits::DEFAULT, [bytes]);
    let short = |said: &Said| match said {
        Said::Frame(head, body, flag) => match &head.start {
            Start::Response { status, .. } => status.code().to_string(),
            Start::Request(method) => {
                let body = String::from_utf8_lossy(body);
                let flag = flag.map(|flag| char::from(flag.byte())).unwrap_or('?');
                let status = head.status.as_ref().map(|status| status.to_string()).unwrap_or_default();
                format!("{} {body}{status}{flag}", method.as_str())
            }
        },
        other => format!("{other:?}"),
    };
    said.iter().map(short).collect()
}

fn taken(world: &mut World, raw: usize) -> Vec<String> {
    told(&std::mem::take(&mut world.raw[raw]))
}

const WISHES: [(&str, bool); 3] =
    [("", true), ("Failure-Report: partial\r\n", true), ("Failure-Report: no\r\n", false)];

/// S1-L5, RFC 4976 §6.3: a URI ends in the middle of a message too. Its sender is told, unless he declined, and its receiver does not wait.
#[test]
fn a_uri_ends_in_the_middle_of_a_message() {
    for (field, wanted) in WISHES {
        let mut world = World::default();
        let relay = world.relay_with("relay.example", Bounds::default(), |config| {
            config.expires.default = 60;
        });
        let (client, token) = raw_client(&mut world, relay, "alice", ALICE);
        let (foreign, _) = world.raw(relay, None);
        let to = format!("{token} {ALICE}");
        assert!(world.say(foreign, begun("aaaa", &to, PEER, field)).is_empty());
        world.run(59);
        assert!(world.say(foreign, ", second part").is_empty(), "it is still good");
        world.run(2);
        assert_eq!(told(&world.say(foreign, ", third part")), vec!["481"; usize::from(wanted)], "{field}");
        assert!(world.say(foreign, ", fourth part\r\n-------aaaa$\r\n").is_empty(), "answered once");
        assert_eq!(taken(&mut world, client), ["SEND first part, second part#"], "{field}");
        assert_eq!(
            told(&world.say(foreign, begun("bbbb", &to, PEER, field))),
            vec!["481"; usize::from(wanted)]
        );
    }
}

/// S1-R4, Show 4: where its client is behind another relay no connection of it ends with its account, but what is under way does.
#[test]
fn what_is_under_way_ends_with_its_account() {
    let mut world = World::default();
    let relay = world.relay("relay.example");
    let (inner, token) = behind(&mut world, relay, "alice");
    let (foreign, _) = world.raw(relay, None);
    let to = format!("{token} {INNER} {ALICE}");
    assert!(world.say(foreign, begun("aaaa", &to, PEER, "")).is_empty());
    assert_eq!(world.relays[relay].registry.borrow_mut().revoke("alice"), []);
    assert_eq!(told(&world.say(foreign, ", second part")), ["481"]);
    assert_eq!(taken(&mut world, inner), ["SEND first part#"]);
    assert!(world.say(foreign, "\r\n-------aaaa$\r\n").is_empty());
    // The other way: what the account's client sends through its relay.
    let (inner, token) = behind(&mut world, relay, "bob");
    let from = format!("{INNER} {ALICE}");
    let (other, way) = raw_client(&mut world, relay, "alice", "msrps://other.example:1/x;tcp");
    let to = format!("{token} {way} msrps://other.example:1/x;tcp");
    assert!(world.say(inner, begun("bbbb", &to, &from, "")).is_empty());
    world.relays[relay].registry.borrow_mut().revoke("bob");
    assert_eq!(told(&world.say(inner, ", second part")), ["481"]);
    assert_eq!(taken(&mut world, other), ["SEND first part#"]);
}

/// The URI of another relay's, on the way to a client behind it.
const INNER: &str = "msrps://inner.example:2855/token;tcp";

/// The test as another relay through which a client has logged in. Gives its number and the client's URI.
fn behind(world: &mut World, relay: usize, user: &str) -> (usize, String) {
    let (inner, _) = world.raw(relay, Some(certificate("inner.example")));
    let way = logged_in(world, inner, user, "msrps://relay.example;tcp", &format!("{INNER} {ALICE}"));
    (inner, way.split(' ').next_back().unwrap_or_default().to_owned())
}

/// Logs the test in. Gives the Use-Path.
fn logged_in(world: &mut World, raw: usize, user: &str, to: &str, from: &str) -> String {
    let auth = |fields: &str| {
        format!("MSRP 49fh AUTH\r\nTo-Path: {to}\r\nFrom-Path: {from}\r\n{fields}-------49fh$\r\n")
    };
    let field = |bytes: &[u8], name: &str| match &feed(Limits::DEFAULT, [bytes])[..] {
        [Said::Frame(head, ..)] => head.field(name).unwrap_or_default().to_owned(),
        other => unreachable!("{other:?}"),
    };
    let challenge = field(&world.say(raw, auth("")), "WWW-Authenticate");
    let challenge = nuncio_msrp::digest::Challenge::parse(&challenge).expect("readable");
    let entropy = nuncio_sansio::pair::Counter::default();
    let (credentials, _) = challenge.answer(user, &format!("{user}'s password"), to, 1, &entropy);
    field(&world.say(raw, auth(&format!("Authorization: {credentials}\r\n"))), "Use-Path")
}

/// S1-L11, S1-09, RFC 4976 §6.4.1: what the next hop has not even got whole is lost when it goes, and whoever did not decline is told: once, and never
/// 200 for what nobody has got. What has come whole is reported; what is still coming is answered by its failure.
#[test]
fn what_is_lost_with_the_next_hop_is_told_once() {
    for (field, wanted) in WISHES {
        let mut world = World::default();
        let relay = world.relay("relay.example");
        let (client, token) = raw_client(&mut world, relay, "alice", ALICE);
        let (foreign, _) = world.raw(relay, None);
        let (other, _) = world.raw(relay, None);
        let to = format!("{token} {ALICE}");
        // One that has come whole, which nobody has answered yet.
        let strict = field.is_empty();
        let whole = begun("aaaa", &to, PEER, field) + "\r\n-------aaaa$\r\n";
        assert_eq!(told(&world.say(foreign, whole)), vec!["200"; usize::from(strict)], "{field}");
        // Another that has gone out in two chunks so far, because somebody else spoke.
        assert!(world.say(foreign, begun("bbbb", &to, PEER, field)).is_empty());
        assert!(world.say(other, begun("cccc", &to, "msrps://other.example:1/o;tcp", field)).is_empty());
        assert!(world.say(foreign, ", second part".repeat(200)).is_empty());
        let link = world.far(End::Raw(client));
        world.cut(link);
        let (reports, answers): (Vec<_>, Vec<_>) =
            taken(&mut world, foreign).into_iter().partition(|it| it.starts_with("REPORT 000 408"));
        assert_eq!(reports.len(), usize::from(strict), "{field}: {reports:?}");
        assert_eq!(answers, vec!["408"; usize::from(wanted)], "{field}");
        assert_eq!(taken(&mut world, other).len(), usize::from(wanted), "{field}");
        assert!(world.say(foreign, ", third part\r\n-------bbbb$\r\n").is_empty(), "{field}: no 200");
        world.run(31);
        assert!(taken(&mut world, foreign).is_empty(), "{field}: nor anything later");
    }
}

/// RFC 4976 §6.4.3, RFC 4975 §7.3.2: what the next hop refuses while it is still coming is answered by that error, and nothing more of it passes.
#[test]
fn what_is_refused_in_its_middle_is_answered_so() {
    for (field, wanted) in WISHES {
        let mut world = World::default();
        let relay = world.relay("relay.example");
        let (client, token) = raw_client(&mut world, relay, "alice", ALICE);
        let (foreign, _) = world.raw(relay, None);
        let to = format!("{token} {ALICE}");
        assert!(world.say(foreign, begun("aaaa", &to, PEER, field)).is_empty());
        let chunk = std::mem::take(&mut world.raw[client]);
        let id = String::from_utf8_lossy(&chunk).split(' ').nth(1).expect("an identifier").to_owned();
        let refusal =
            format!("MSRP {id} 413 Enough\r\nTo-Path: {token}\r\nFrom-Path: {ALICE}\r\n-------{id}$\r\n");
        let mut end = world.say(client, &refusal);
        assert_eq!(taken(&mut world, foreign), vec!["413"; usize::from(wanted)], "{field}");
        let rest = world.say(foreign, ", second part\r\n-------aaaa$\r\n");
        assert!(rest.is_empty(), "{field}: {:?}", told(&rest));
        end.append(&mut world.raw[client]);
        let rest = if wanted {
            format!("\r\n-------{id}#\r\n")
        } else {
            format!(", second part\r\n-------{id}$\r\n")
        };
        assert_eq!(String::from_utf8_lossy(&end), rest, "{field}");
    }
}

/// S1-L5, S1-R4: where an account is disabled its connections end at once. Whoever was in the middle of sending is told 481, not that something took
/// too long: both who sent to it, and the account's own client.
#[test]
fn what_ends_with_its_account_is_no_timeout() {
    for (field, wanted) in WISHES {
        for whose in ["alice", "bob"] {
            let mut world = World::default();
            let relay = world.relay("relay.example");
            let bobs = "msrps://bob.example:1/b;tcp";
            let (alice, from) = raw_client(&mut world, relay, "alice", ALICE);
            let (bob, to) = raw_client(&mut world, relay, "bob", bobs);
            assert!(world.say(alice, begun("aaaa", &format!("{from} {to} {bobs}"), ALICE, field)).is_empty());
            assert_eq!(world.relays[relay].registry.borrow_mut().revoke(whose).len(), 1);
            let End::Relay(_, link) = world.far(End::Raw(if whose == "alice" { alice } else { bob })) else {
                unreachable!("a relay")
            };
            let now = world.now;
            world.relays[relay].links.get_mut(&link).expect("there").command(now, Command::Close);
            world.run(0);
            assert_eq!(taken(&mut world, alice), vec!["481"; usize::from(wanted)], "{whose} {field}");
            let end = taken(&mut world, bob);
            assert_eq!(end, ["SEND first part#"], "{whose} {field}");
        }
    }
}

/// Who shares a connection with somebody whose receiver does not read waits for ten seconds, not for ever; and only where it is shared.
#[test]
fn a_receiver_that_does_not_read_is_given_up_for_others() {
    let mut world = World::default();
    let relay = world.relay("relay.example");
    let (alice, to_alice) = raw_client(&mut world, relay, "alice", ALICE);
    let (bob, to_bob) = raw_client(&mut world, relay, "bob", "msrps://bob.example:1/b;tcp");
    let (shared, _) = behind(&mut world, relay, "alice");
    let (lone, _) = world.raw(relay, None);
    let (to_alice, to_bob) = (format!("{to_alice} {ALICE}"), format!("{to_bob} msrps://bob.example:1/b;tcp"));
    let from = format!("{INNER} msrps://dave.example:1/d;tcp");
    let short = |id: &str, to: &str| begun(id, to, &from, "") + &format!("\r\n-------{id}$\r\n");
    let order = |world: &mut World, raw: usize, command: fn(Flow) -> Command| -> bool {
        let End::Relay(_, source) = world.far(End::Raw(raw)) else { unreachable!("a relay") };
        let End::Relay(_, to) = world.far(End::Raw(alice)) else { unreachable!("a relay") };
        let (now, side) = (world.now, world.relays[relay].links.get_mut(&source).expect("there"));
        // Alice was the first to get a URI.
        side.command(now, command(Flow { source, session: 1, to: Some(to) }));
        side.machine().wants_bytes()
    };
    let reads = |world: &World, raw: usize| match world.far(End::Raw(raw)) {
        End::Relay(_, link) => world.relays[relay].links[&link].machine().wants_bytes(),
        _ => unreachable!("a relay"),
    };
    assert!(world.say(shared, begun("aaaa", &to_alice, &from, "")).is_empty());
    assert!(world.say(lone, begun("cccc", &to_alice, PEER, "")).is_empty());
    assert!(!order(&mut world, shared, Command::Hold) && !order(&mut world, lone, Command::Hold));
    world.run(9);
    assert!(!reads(&world, shared));
    world.run(1);
    assert!(reads(&world, shared) && !reads(&world, lone), "a client of its own slows nobody else");
    assert_eq!(taken(&mut world, shared), ["408"]);
    assert!(world.say(shared, ", second part\r\n-------aaaa$\r\n").is_empty(), "nothing of it passes");
    assert_eq!(told(&world.say(shared, short("bbbb", &to_alice))), ["408"], "nor the next one");
    assert_eq!(told(&world.say(shared, short("dddd", &to_bob))), ["200"], "others do");
    assert_eq!(taken(&mut world, bob), ["SEND first part$"]);
    assert!(order(&mut world, shared, Command::Resume));
    assert_eq!(told(&world.say(shared, short("eeee", &to_alice))), ["200"]);
    assert_eq!(
        taken(&mut world, alice),
        ["SEND first part+", "SEND first part+", "SEND #", "SEND first part$"]
    );
    // Held again after a while, and let go in time: nothing is given up.
    world.run(60);
    assert!(!order(&mut world, shared, Command::Hold));
    world.run(9);
    assert!(order(&mut world, shared, Command::Resume));
    let last = |world: &mut World, id: &str, to: &str| told(&world.say(shared, short(id, to))).pop();
    // Before it came that nobody has answered for half a minute.
    assert_eq!(last(&mut world, "ffff", &to_alice).as_deref(), Some("200"));
    // Again and again is another thing where others speak.
    assert_eq!(last(&mut world, "gggg", &to_bob).as_deref(), Some("200"));
    assert!(!order(&mut world, shared, Command::Hold));
    world.run(9);
    assert!(reads(&world, shared));
    assert_eq!(last(&mut world, "hhhh", &to_alice).as_deref(), Some("408"));
    assert_eq!(last(&mut world, "iiii", &to_bob).as_deref(), Some("200"));
}

/// S1-L12: chunks that were on their way to a receiver which was given up are no guesses, and do not cost the connection of all.
#[test]
fn what_was_under_way_to_who_was_given_up_is_no_guess() {
    let mut world = World::default();
    let relay = world.relay("relay.example");
    let (alice, token) = raw_client(&mut world, relay, "alice", ALICE);
    // Another relay that has shown no certificate.
    let (shared, source) = world.raw(relay, Some(facts()));
    let (to, from) = (format!("{token} {ALICE}"), format!("{INNER} msrps://dave.example:1/d;tcp"));
    let short = |id: &str| begun(id, &to, &from, "") + &format!("\r\n-------{id}$\r\n");
    assert_eq!(told(&world.say(shared, short("aaaa"))), ["200"]);
    let End::Relay(_, link) = world.far(End::Raw(alice)) else { unreachable!("a relay") };
    let now = world.now;
    let hold = Command::Hold(Flow { source, session: 1, to: Some(link) });
    world.relays[relay].links.get_mut(&source).expect("there").command(now, hold);
    world.run(10);
    for number in 0..40 {
        assert_eq!(told(&world.say(shared, short(&format!("chunk{number}")))), ["408"]);
    }
    assert_eq!(world.relays[relay].log, ["authorized alice"]);
}

/// The file transfers of Blink begin with a method that the grammar of RFC 4975 does not have. It passes, as other unknown ones do (S1-L17).
#[test]
fn blinks_method_passes() {
    let mut world = World::default();
    let relay = world.relay("relay.example");
    let (client, token) = raw_client(&mut world, relay, "alice", ALICE);
    let (foreign, _) = world.raw(relay, None);
    let ask = |method: &str| {
        format!("MSRP aaaa {method}\r\nTo-Path: {token} {ALICE}\r\nFrom-Path: {PEER}\r\n-------aaaa$\r\n")
    };
    assert!(world.say(foreign, ask("FILE_OFFSET")).is_empty());
    assert_eq!(taken(&mut world, client), ["FILE_OFFSET $"]);
    world.say(foreign, ask("_OFFSET"));
    assert!(
        world.raw[client].is_empty()
            && world.relays[relay].log.last().is_some_and(|it| it == "closed Syntax")
    );
}

/// An owner may write to several with one URI: what one of them lets go, another may still hold.
#[test]
fn each_receiver_holds_for_itself() {
    let mut world = World::default();
    let relay = world.relay("relay.example");
    let (alice, _) = raw_client(&mut world, relay, "alice", ALICE);
    let End::Relay(_, source) = world.far(End::Raw(alice)) else { unreachable!("a relay") };
    let flow = |to| Flow { source, session: 1, to: Some(LinkId(to)) };
    let orders = [
        (Command::Hold(flow(8)), false),
        (Command::Hold(flow(9)), false),
        (Command::Resume(flow(9)), false),
        (Command::Hold(flow(9)), false),
        (Command::Resume(flow(8)), false),
        (Command::Resume(flow(9)), true),
    ];
    for (order, reads) in orders {
        let (now, what) = (world.now, format!("{order:?}"));
        let side = world.relays[relay].links.get_mut(&source).expect("there");
        side.command(now, order);
        assert_eq!(side.machine().wants_bytes(), reads, "{what}");
    }
}

/// RFC 4976 §6.3: a client that tries passwords at a relay behind us is cut off; one that is challenged, or is right in the end, is not.
#[test]
fn only_wrong_credentials_count_behind_us() {
    let mut world = World::default();
    let inner = world.relay("inner.example");
    let outer = world.relay("outer.example");
    let alice = world.client(inner);
    let first = granted(&mut world, alice, login("msrps://inner.example;tcp", ALICE, "alice"));
    let to = format!("{} msrps://outer.example;tcp", first.expect("inner").use_path);
    for _ in 0..6 {
        let wrong = nuncio_msrp::endpoint::Login {
            password: "wrong".to_owned().into(),
            ..login(&to, ALICE, "alice")
        };
        assert!(matches!(granted(&mut world, alice, wrong), Err(LoginError::Credentials)));
        assert!(granted(&mut world, alice, login(&to, ALICE, "alice")).is_ok());
    }
    assert!(!world.relays[inner].log.iter().any(|line| line.starts_with("closed")));
    let (raw, _) = world.raw(inner, Some(facts()));
    let token = logged_in(&mut world, raw, "bob", "msrps://inner.example;tcp", MALLORY);
    let auth = |fields: &str| {
        format!(
            "MSRP 49fh AUTH\r\nTo-Path: {token} msrps://outer.example;tcp\r\nFrom-Path: {MALLORY}\r\n{fields}-------49fh$\r\n"
        )
    };
    for _ in 0..10 {
        assert_eq!(told(&world.say(raw, auth(""))), ["401"], "a challenge is no failure");
    }
    let wrong = "Authorization: Digest username=\"alice\", realm=\"outer.example\", nonce=\"x\", uri=\"msrps://outer.example;tcp\", qop=auth, nc=00000001, cnonce=\"y\", response=\"00000000000000000000000000000000\", algorithm=MD5\r\n";
    for _ in 0..3 {
        assert_eq!(told(&world.say(raw, auth(wrong))), ["401"]);
    }
    assert!(world.say(raw, auth(wrong)).is_empty());
    assert_eq!(world.relays[inner].log.last().map(String::as_str), Some("closed Failures"));
    assert!(
        !world.relays[outer].log.iter().any(|line| line.starts_with("closed")),
        "a relay speaks for many"
    );
}

const MALLORY: &str = "msrps://mallory.example:1/m;tcp";

/// Paths as long as they may be do not make a relay remember more of them than it has room for: what is not followed is told at once.
#[test]
fn what_waits_for_a_response_has_a_bound() {
    let mut world = World::default();
    let relay = world.relay_with("relay.example", Bounds::default(), |config| {
        config.transaction_bytes = 20_000;
    });
    let (client, token) = raw_client(&mut world, relay, "alice", ALICE);
    let (foreign, _) = world.raw(relay, None);
    let long = vec![format!("msrps://far.example:1/{};tcp", "x".repeat(200)); 8].join(" ");
    let mut reports = 0;
    for number in 0..20 {
        let id = format!("send{number}");
        let send = begun(&id, &format!("{token} {ALICE}"), &long, "") + &format!("\r\n-------{id}$\r\n");
        let answers = told(&world.say(foreign, send));
        assert_eq!(answers.iter().filter(|it| *it == "200").count(), 1);
        reports += answers.iter().filter(|it| it.starts_with("REPORT 000 408")).count();
    }
    assert_eq!(taken(&mut world, client).len(), 20, "each has gone on");
    assert!((1..20).contains(&reports), "{reports}: some are followed");
    world.run(Duration::from_secs(31).as_secs());
    let late = taken(&mut world, foreign).len();
    assert_eq!(reports + late, 20, "and each was reported once");
}

/// The same where they are many: each connection may remember a little, whatever others have others remember.
#[test]
fn what_waits_for_responses_everywhere_has_a_bound() {
    let mut world = World::default();
    let relay = world.relay_with("relay.example", Bounds::default(), |config| {
        config.transaction_bytes = 20_000;
    });
    let (foreign, _) = world.raw(relay, None);
    let long = vec![format!("msrps://far.example:1/{};tcp", "x".repeat(200)); 8].join(" ");
    let mut followed = Vec::new();
    for client in 0..12 {
        let own = format!("msrps://client{client}.example:1/x;tcp");
        let (_client, token) = raw_client(&mut world, relay, "alice", &own);
        let mut reports = 0;
        for number in 0..20 {
            let id = format!("send{number}");
            let send = begun(&id, &format!("{token} {own}"), &long, "") + &format!("\r\n-------{id}$\r\n");
            let answers = told(&world.say(foreign, send));
            reports += answers.iter().filter(|it| it.starts_with("REPORT 000 408")).count();
        }
        followed.push(20 - reports);
    }
    assert!(followed[0] > 1 && followed[7] == followed[0], "{followed:?}");
    assert_eq!(followed[11], 1, "{followed:?}: the last one");
    world.run(31);
    assert_eq!(
        taken(&mut world, foreign).len(),
        followed.iter().sum::<usize>(),
        "and each was reported once"
    );
}

/// S1-L12: what takes turns with something else byte by byte does not cost its receiver a head for each byte, and arrives.
#[test]
fn a_head_is_paid_for_by_what_follows_it() {
    let mut world = World::default();
    let relay = world.relay("relay.example");
    let (client, token) = raw_client(&mut world, relay, "alice", ALICE);
    let pad = format!("X-Pad: {}\r\n", "x".repeat(7_000));
    let to = format!("{token} {ALICE}");
    let sources = [1, 2].map(|port| {
        let (raw, _) = world.raw(relay, None);
        world.say(raw, begun("aaaa", &to, &format!("msrps://peer.example:{port}/x;tcp"), &pad));
        raw
    });
    for _ in 0..1_000 {
        sources.iter().for_each(|raw| drop(world.say(*raw, "!")));
    }
    let heads = String::from_utf8_lossy(&world.raw[client]).matches(" SEND\r\n").count();
    assert_eq!(heads, 2, "of two messages");
    for raw in sources {
        world.say(raw, "?".repeat(3_000));
        world.say(raw, "\r\n-------aaaa$\r\n");
    }
    let frames = taken(&mut world, client).concat();
    assert_eq!(frames.matches('?').count(), 6_000);
    assert_eq!(frames.matches('!').count(), 2_000);
}

/// Issue 5, memory: a short piece that waits holds as much as it is counted for, and not the read that it was cut from.
#[test]
fn a_piece_holds_no_more_than_itself() {
    let mut world = World::default();
    let relay = world.relay("relay.example");
    let (_alice, token) = raw_client(&mut world, relay, "alice", ALICE);
    let (foreign, source) = world.raw(relay, None);
    // In one read with it: much that goes nowhere.
    let lost = begun("aaaa", &format!("msrps://relay.example:2855/nobody;tcp {ALICE}"), PEER, "");
    let read = lost
        + &"x".repeat(14_000)
        + "\r\n-------aaaa$\r\n"
        + &begun("bbbb", &format!("{token} {ALICE}"), PEER, "");
    let now = world.now;
    let side = world.relays[relay].links.get_mut(&source).expect("there");
    side.bytes(now, read.as_bytes());
    let pieces: Vec<_> = side
        .take_events()
        .into_iter()
        .filter_map(|event| match event {
            Event::Piece { piece: Piece::Data(bytes), .. } => Some(bytes),
            _ => None,
        })
        .collect();
    assert_eq!(pieces.concat(), b"first part");
    for piece in pieces {
        let mut held = piece.try_into_mut().expect("nothing else holds on to it");
        assert!(!held.try_reclaim(8_000), "the read is still there");
    }
    assert!(world.raw[foreign].is_empty());
}
