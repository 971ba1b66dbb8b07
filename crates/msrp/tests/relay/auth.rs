//! AUTH (RFC 4976 §5.1, §6.1, §6.3, §9.1): S1-L1 to S1-L6, S1-06, S1-R5, S1-10.

use std::time::Duration;

use nuncio_msrp::digest::{Algorithm, Challenge};
use nuncio_msrp::endpoint::{Login, LoginError};
use nuncio_msrp::fuzz::{Said, feed};
use nuncio_msrp::relay::{Bounds, Expires};
use nuncio_msrp::{Head, Limits, Start, Status};
use nuncio_sansio::pair::{Counter, facts};

use crate::world::{World, certificate};
use crate::{ALICE, granted, login};

const RELAY: &str = "msrps://relay.example;tcp";

fn one(bytes: &[u8]) -> Head {
    match &feed(Limits::DEFAULT, [bytes])[..] {
        [Said::Frame(head, ..)] => (**head).clone(),
        other => unreachable!("{other:?}"),
    }
}

fn auth(fields: &str) -> String {
    format!("MSRP 49fh AUTH\r\nTo-Path: {RELAY}\r\nFrom-Path: {ALICE}\r\n{fields}-------49fh$\r\n")
}

fn code(head: &Head) -> u16 {
    match head.start {
        Start::Response { status, .. } => status.code(),
        Start::Request(_) => 0,
    }
}

/// S1-L4, S1-L5, S1-R5: challenged by the strongest hash first, granted a random URI with a name, a port and its time.
#[test]
fn a_client_gets_a_uri() {
    for md5_only in [false, true] {
        let mut world = World::default();
        let relay = world.relay_with("relay.example", Bounds::default(), |config| {
            if md5_only {
                config.algorithms = vec![Algorithm::Md5];
            }
        });
        let client = world.client(relay);
        let one = granted(&mut world, client, login(RELAY, ALICE, "alice")).expect("granted");
        assert_eq!(one.algorithm, if md5_only { Algorithm::Md5 } else { Algorithm::Sha256 });
        assert_eq!((one.use_path.len(), one.expires), (1, Some(1_800)));
        let uri = one.use_path.first().expect("one").clone();
        assert_eq!((uri.host().to_string().as_str(), uri.port()), ("relay.example", Some(2855)));
        assert_eq!(uri.session_id().map(str::len), Some(26), "128 bits");
        let again = granted(&mut world, client, login(RELAY, ALICE, "alice")).expect("granted");
        assert_eq!(one.use_path, again.use_path, "a session that goes on keeps its URI");
        let other = ALICE.replace("98cjs", "98cjt");
        let two = granted(&mut world, client, login(RELAY, &other, "alice")).expect("granted");
        assert_ne!(one.use_path, two.use_path, "one URI a session");
        assert_eq!(world.relays[relay].log, ["authorized alice"; 3]);
        // A client that will not use MD5 does not.
        let strict = granted(&mut world, client, Login { md5: false, ..login(RELAY, ALICE, "alice") });
        assert_eq!(strict.is_ok(), !md5_only);
    }
}

/// RFC 4976 §9.1: the challenge as stock clients need it.
#[test]
fn a_challenge_has_what_clients_need() {
    let mut world = World::default();
    let relay = world.relay("relay.example");
    let (raw, _) = world.raw(relay, Some(facts()));
    let head = one(&world.say(raw, auth("")));
    assert_eq!((code(&head), head.id.as_str()), (401, "49fh"));
    let lines: Vec<_> = head.all_fields("WWW-Authenticate").collect();
    assert_eq!(lines.len(), 2);
    let challenges: Vec<_> = lines.iter().map(|line| Challenge::parse(line).expect("readable")).collect();
    assert_eq!(challenges[0].algorithm, Algorithm::Sha256, "the strongest first");
    assert_eq!(challenges[1].algorithm, Algorithm::Md5);
    for (line, challenge) in lines.iter().zip(&challenges) {
        assert!(line.contains("qop=\"auth\"") && line.contains(", opaque=\""), "{line}");
        assert_eq!((challenge.realm.as_str(), challenge.stale), ("relay.example", false));
    }
}

/// S1-R5: a nonce works once for each count; what comes late or again is told so by `stale`, and is no failure.
#[test]
fn nonces_expire_and_are_not_replayed() {
    let mut world = World::default();
    let relay = world.relay("relay.example");
    let (raw, _) = world.raw(relay, Some(facts()));
    let (other, _) = world.raw(relay, Some(facts()));
    let challenge =
        |head: &Head| Challenge::parse(head.field("WWW-Authenticate").expect("one")).expect("readable");
    let first = challenge(&one(&world.say(raw, auth(""))));
    let entropy = Counter::default();
    let answer = |challenge: &Challenge, nc| {
        let (credentials, _) = challenge.answer("alice", "alice's password", RELAY, nc, &entropy);
        auth(&format!("Authorization: {credentials}\r\n"))
    };
    let request = answer(&first, 1);
    assert_eq!(code(&one(&world.say(raw, &request))), 200);
    let replayed = one(&world.say(raw, &request));
    assert_eq!((code(&replayed), challenge(&replayed).stale), (401, true), "replayed");
    assert_eq!(code(&one(&world.say(raw, answer(&first, 2)))), 200, "the next count");
    let elsewhere = one(&world.say(other, answer(&first, 3)));
    assert_eq!((code(&elsewhere), challenge(&elsewhere).stale), (401, true), "on another connection");
    let late = challenge(&replayed);
    world.run(301);
    let expired = one(&world.say(raw, answer(&late, 1)));
    assert_eq!((code(&expired), challenge(&expired).stale), (401, true), "expired");
    assert_eq!(code(&one(&world.say(raw, answer(&challenge(&expired), 1)))), 200);
    // Wrong credentials are never stale.
    let (wrong, _) = first.answer("alice", "wrong", RELAY, 1, &entropy);
    let refused = one(&world.say(raw, auth(&format!("Authorization: {wrong}\r\n"))));
    assert_eq!((code(&refused), challenge(&refused).stale), (401, false));
}

/// S1-L4: brute force ends the connection; who is known but not entitled is told 403.
#[test]
fn wrong_credentials() {
    let mut world = World::default();
    let relay = world.relay("relay.example");
    let client = world.client(relay);
    for user in ["alice", "nobody", "alice"] {
        let wrong = Login { password: "wrong".to_owned().into(), ..login(RELAY, ALICE, user) };
        let result = granted(&mut world, client, wrong);
        assert!(matches!(result, Err(LoginError::Credentials | LoginError::Connection)), "{result:?}");
    }
    assert_eq!(world.relays[relay].log, ["denied alice", "denied nobody", "denied alice", "closed Failures"]);
    let client = world.client(relay);
    assert_eq!(
        granted(&mut world, client, login(RELAY, ALICE, "carol")),
        Err(LoginError::Refused(Status::FORBIDDEN))
    );
}

/// A relay that does not know the password cannot pretend to (RFC 4976 §9.1 `rspauth`).
#[test]
fn the_relay_proves_itself() {
    let mut world = World::default();
    let relay = world.relay("relay.example");
    let client = world.client(relay);
    let far = world.far(crate::world::End::Endpoint(client));
    world.endpoints[client]
        .command(world.now, nuncio_msrp::endpoint::Command::Auth(login(RELAY, ALICE, "alice")));
    let respond = |request: &[u8], line: &str| {
        let head = one(request);
        format!("MSRP {} {line}-------{}$\r\n", head.id, head.id)
            .replace("PATHS", &format!("\r\nTo-Path: {ALICE}\r\nFrom-Path: {RELAY}\r\n"))
    };
    let now = world.now;
    let request = world.endpoints[client].take_sent();
    let challenge = "401 UnauthorizedPATHSWWW-Authenticate: Digest realm=\"r\", qop=\"auth\", nonce=\"n\", algorithm=SHA-256\r\n";
    world.endpoints[client].bytes(now, respond(&request, challenge).as_bytes());
    let request = world.endpoints[client].take_sent();
    let info = format!("rspauth=\"{}\", cnonce=\"x\", nc=00000001, qop=auth", "0".repeat(64));
    let grant =
        format!("200 OKPATHSUse-Path: msrps://relay.example:2855/abc;tcp\r\nAuthentication-Info: {info}\r\n");
    world.endpoints[client].bytes(now, respond(&request, &grant).as_bytes());
    let events = world.endpoints[client].take_events();
    assert!(
        matches!(&events[..], [nuncio_msrp::endpoint::Event::Auth(Err(LoginError::Unproven))]),
        "{events:?} {far:?}"
    );
}

/// S1-L6: the bounds of `Expires`.
#[test]
fn expires_has_bounds() {
    let mut world = World::default();
    let relay = world.relay_with("relay.example", Bounds::default(), |config| {
        config.expires = Expires { least: 60, default: 600, most: 3_600 };
    });
    let client = world.client(relay);
    for (wanted, result) in [
        (None, Ok(Some(600))),
        (Some(60), Ok(Some(60))),
        (Some(3_600), Ok(Some(3_600))),
        (Some(59), Err(LoginError::Bounds { least: Some(60), most: None })),
        (Some(3_601), Err(LoginError::Bounds { least: None, most: Some(3_600) })),
        (Some(u32::MAX), Err(LoginError::Bounds { least: None, most: Some(3_600) })),
    ] {
        let asked = Login { expires: wanted, ..login(RELAY, ALICE, "alice") };
        assert_eq!(granted(&mut world, client, asked).map(|granted| granted.expires), result, "{wanted:?}");
    }
}

/// S1-06, S1-L1, S1-L14: credentials never go in clear, and nobody speaks for a client without a proven name.
#[test]
fn auth_needs_tls_and_relays_need_names() {
    let mut world = World::default();
    let relay = world.relay("relay.example");
    let (clear, _) = world.raw(relay, None);
    assert_eq!(code(&one(&world.say(clear, auth("")))), 403);
    let through = |relay: &str| {
        auth("").replace(
            &format!("From-Path: {ALICE}"),
            &format!("From-Path: msrps://{relay}:2855/abcd;tcp {ALICE}"),
        )
    };
    for (tls, claimed, wanted) in [
        (facts(), "inner.example", 403),
        (certificate("inner.example"), "inner.example", 401),
        (certificate("inner.example"), "other.example", 403),
    ] {
        let (raw, _) = world.raw(relay, Some(tls));
        assert_eq!(code(&one(&world.say(raw, through(claimed)))), wanted, "{claimed}");
    }
    let (raw, _) = world.raw(relay, Some(certificate("inner.example")));
    assert_eq!(code(&one(&world.say(raw, through("inner.example")))), 401);
    assert_eq!(code(&one(&world.say(raw, through("other.example")))), 403, "one connection, one name");
}

/// S1-L2, S1-L3, S1-L16: probation, other people's requests, silence.
#[test]
fn connections_end_that_are_good_for_nothing() {
    let mut world = World::default();
    let relay = world.relay("relay.example");
    let (quiet, _) = world.raw(relay, Some(facts()));
    let (other, _) = world.raw(relay, Some(facts()));
    assert!(world.say(other, auth("").replace("relay.example", "elsewhere.example")).is_empty());
    assert_eq!(world.relays[relay].log, ["closed NotOurs"]);
    world.run(29);
    assert_eq!(world.relays[relay].log.len(), 1);
    world.say(quiet, auth(""));
    world.run(2);
    assert_eq!(world.relays[relay].log[1..], ["closed Probation"], "a challenge is no success");
    let client = world.client(relay);
    assert!(granted(&mut world, client, login(RELAY, ALICE, "alice")).is_ok());
    let hour = Duration::from_secs(3_600).as_secs();
    world.run(hour - 1);
    assert_eq!(world.relays[relay].log.len(), 3);
    world.run(2);
    assert_eq!(world.relays[relay].log[3..], ["closed Idle"]);
}
