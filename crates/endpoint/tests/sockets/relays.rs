//! Endpoints behind relays: URIs that are renewed or not, credentials that end, chains.

use std::time::{Duration, Instant};

use nuncio_endpoint::{End, Endpoint, Lost, Outgoing, Peer, RelayAccount, RelayError, Route, Session, Way};
use nuncio_msrp::endpoint::LoginError;

use crate::common::{endpoint, message, soon};
use crate::stage::{Begun, Stage};

/// For how many seconds URIs are asked for.
const SHORT: u32 = 4;

/// A relay that gives URIs for a short time as well.
fn relay() -> Stage {
    Begun::alone(|config| config.expires.least = 1)
}

fn client(relay: &Stage) -> Endpoint {
    endpoint(|config| config.roots = relay.authority.roots())
}

fn short(relay: &Stage, user: &str) -> RelayAccount {
    RelayAccount { expires: Some(SHORT), ..relay.account(user) }
}

/// A session from Alice, who goes to the relay directly, to somebody who is behind it.
async fn through(alice: &Endpoint, bob: &Endpoint, route: Route) -> (Session, Session) {
    let invitation = bob.invite(Way::Relays(route)).expect("an invitation");
    let peer = Peer::from_sdp(&invitation.sdp()).expect("SDP");
    let there = invitation.accept();
    let here = soon(alice.join(&peer, Way::Direct)).await.expect("a session");
    soon(there.ready()).await.expect("bound");
    (here, there)
}

async fn both_ways(one: &mut Session, other: &mut Session) {
    for _ in 0..2 {
        soon(one.send(Outgoing::text("Still there?"))).await.expect("delivered");
        assert_eq!(message(other).await.text(), Some("Still there?"));
        std::mem::swap(one, other);
    }
}

/// RFC 4976 §5.1, §6.3, S1-L5: a login is repeated before its URI expires; the session goes on with the same URI when the first time is over.
#[tokio::test]
async fn a_session_outlives_the_first_expiry() {
    let relay = relay();
    let (alice, bob) = (client(&relay), client(&relay));
    let began = Instant::now();
    let route = soon(bob.route(&[short(&relay, "bob")])).await.expect("a route");
    assert_eq!(route.expires(), Some(SHORT));
    let path = route.path();
    let (mut here, mut there) = through(&alice, &bob, route).await;
    both_ways(&mut here, &mut there).await;
    // After three quarters of the time, each time.
    relay.accounts.asked_times("bob", 3).await;
    assert!(began.elapsed() > Duration::from_secs(SHORT.into()));
    both_ways(&mut here, &mut there).await;
    assert_eq!(there.route().map(Route::path), Some(path));
}

/// RFC 4976 §5.1: a session whose URI is not renewed says so when it ends: another URI came, or none.
#[tokio::test]
async fn a_session_ends_with_its_uri() {
    let relay = relay();
    let alice = client(&relay);
    for (user, why) in [("bob", "another URI"), ("carol", "does not accept the credentials")] {
        let there = client(&relay);
        let route = soon(there.route(&[short(&relay, user)])).await.expect("a route");
        let path = route.path();
        let (mut here, mut there) = through(&alice, &there, route).await;
        if user == "bob" {
            // Whoever has another account now is given another URI.
            relay.accounts.set(user, "bob's other account", "secret of bob", None);
        } else {
            relay.accounts.remove(user);
        }
        relay.accounts.asked_times(user, 2).await;
        both_ways(&mut here, &mut there).await;
        let end = soon(there.over()).await;
        assert!(matches!(&end, End::Relay(told) if told.contains(why)), "{end:?}");
        assert_eq!(there.route().map(Route::path), Some(path), "the one in the SDP");
        assert!(soon(there.next()).await.is_none());
    }
}

/// S1-L5: a relay that stops, or ends what an account has there, ends its sessions at once: those that somebody has come to, and those that wait.
#[tokio::test]
async fn a_relay_that_is_gone_is_noticed_at_once() {
    for stops in [true, false] {
        let relay = relay();
        let (alice, bob) = (client(&relay), client(&relay));
        let route = soon(bob.route(&[relay.account("bob")])).await.expect("a route");
        let (_here, talking) = through(&alice, &bob, route).await;
        let route = soon(bob.route(&[relay.account("bob")])).await.expect("a route");
        let mut waiting = bob.invite(Way::Relays(route)).expect("an invitation").accept();
        let unused = soon(bob.route(&[relay.account("bob")])).await.expect("a route");
        match stops {
            true => soon(relay.relay.stop(Duration::from_secs(5))).await,
            false => assert_eq!(relay.relay.end("bob"), 1),
        }
        assert!(soon(waiting.next()).await.is_none());
        for session in [talking, waiting] {
            let end = soon(session.over()).await;
            let there = format!("localhost:{}", relay.port);
            assert!(
                matches!(&end, End::RelayGone { relay, lost: Lost::Peer | Lost::Cut } if *relay == there),
                "not the sender, who may be there as ever: {end:?}"
            );
            assert!(
                end.to_string().starts_with(&format!("{there}: the relay closed the connection")),
                "{end}"
            );
        }
        // Nor is it used by whoever has not noticed.
        let late = bob.invite(Way::Relays(unused)).expect("an invitation").accept();
        assert!(matches!(soon(late.over()).await, End::RelayGone { .. }));
    }
}

/// RFC 4976 §5.1: a relay is asked every now and then whether it still takes us, long before its URI would expire; 403 ends the session.
#[tokio::test]
async fn a_relay_that_refuses_us_is_noticed_before_the_expiry() {
    let relay = relay();
    let bob = endpoint(|config| {
        config.roots = relay.authority.roots();
        config.keep_alive = Some(Duration::from_millis(200));
    });
    let route = soon(bob.route(&[relay.account("bob")])).await.expect("a route");
    assert!(route.expires().is_none_or(|seconds| seconds > 600));
    let waiting = bob.invite(Way::Relays(route)).expect("an invitation").accept();
    relay.accounts.asked_times("bob", 3).await;
    relay.accounts.forbid("bob");
    let end = soon(waiting.over()).await;
    assert!(matches!(&end, End::Relay(why) if why.contains("403")), "{end:?}");
}

/// What does not end the session when a relay is asked before the time: wrong credentials, which may be renewed until then, are not tried again and again.
#[tokio::test]
async fn wrong_credentials_are_not_repeated() {
    let relay = relay();
    let bob = endpoint(|config| {
        config.roots = relay.authority.roots();
        config.keep_alive = Some(Duration::from_millis(100));
    });
    let alice = client(&relay);
    let route = soon(bob.route(&[short(&relay, "bob")])).await.expect("a route");
    let (mut here, mut there) = through(&alice, &bob, route).await;
    relay.accounts.remove("bob");
    let before = relay.accounts.asked().len();
    both_ways(&mut here, &mut there).await;
    let end = soon(there.over()).await;
    assert!(matches!(&end, End::Relay(why) if why.contains("credentials")), "{end:?}");
    assert!(relay.accounts.asked().len() <= before + 2, "{:?}", relay.accounts.asked());
}

/// S1-L5, XEP-0215: credentials end. Whoever has new ones before keeps the session; whoever has not loses it, and comes back with new ones only.
#[tokio::test]
async fn credentials_end() {
    let relay = relay();
    let (alice, bob, carol) = (client(&relay), client(&relay), client(&relay));
    let began = Instant::now();
    for user in ["bob", "carol"] {
        let good = Duration::from_secs(SHORT.into());
        relay.accounts.set(user, user, &format!("secret of {user}"), Some(good));
    }
    let route = soon(bob.route(&[short(&relay, "bob")])).await.expect("a route");
    let (mut here, mut there) = through(&alice, &bob, route).await;
    let route = soon(carol.route(&[short(&relay, "carol")])).await.expect("a route");
    let (_to_carol, at_carol) = through(&alice, &carol, route).await;

    relay.accounts.set("bob", "bob", "another secret", None);
    let renewed = RelayAccount { password: "another secret".to_owned().into(), ..short(&relay, "bob") };
    let route = there.route().expect("its route");
    soon(route.renew(std::slice::from_ref(&renewed))).await.expect("renewed");

    let end = soon(at_carol.over()).await;
    assert!(matches!(end, End::Relay(_) | End::RelayGone { lost: Lost::Peer, .. }), "{end:?}");
    drop(at_carol);
    let refused = soon(carol.route(&[short(&relay, "carol")])).await.map(drop);
    assert!(matches!(refused, Err(RelayError::Login { why: LoginError::Credentials, .. })), "{refused:?}");
    relay.accounts.set("carol", "carol", "secret of carol", None);
    let route = soon(carol.route(&[short(&relay, "carol")])).await.expect("a route");
    let (mut to_carol, mut at_carol) = through(&alice, &carol, route).await;
    both_ways(&mut to_carol, &mut at_carol).await;

    // The first, Bob's own, and two by the timer.
    relay.accounts.asked_times("bob", 4).await;
    assert!(began.elapsed() > Duration::from_secs(SHORT.into()));
    both_ways(&mut here, &mut there).await;
}

/// RFC 4976 §5.1, §6.3, §9.2, S1-L14: a client of two relays logs in at the second through the first; sessions through both, of short and long messages,
/// and beyond the first expiry.
#[tokio::test]
async fn through_two_relays() {
    let (one, two) = (Begun::new("one.example"), Begun::new("two.example"));
    let mut settings = [one.config(&[&two]), two.config(&[&one])];
    settings.iter_mut().for_each(|config| config.expires.least = 1);
    let [first, second] = settings;
    let policies = (Begun::policy(&[&two]), Begun::policy(&[&one]));
    let (one, two) = (one.start(first, policies.0), two.start(second, policies.1));
    let (alice, bob) = (client(&one), client(&two));

    // The second is known to the first by its name in the chain, and to Bob by another.
    let behind = RelayAccount { relay: two.named("two.example"), ..short(&two, "alice") };
    let route = soon(alice.route(&[short(&one, "alice"), behind])).await.expect("a route");
    let path = route.path();
    assert_eq!(path.len(), 2, "{path}");
    let hosts: Vec<_> = path.uris().iter().map(|uri| uri.host().to_string()).collect();
    assert_eq!(hosts, ["one.example", "two.example"]);

    let invitation = alice.invite(Way::Relays(route)).expect("an invitation");
    let peer = Peer::from_sdp(&invitation.sdp()).expect("SDP");
    // As others reach her: the outermost first, herself last.
    let told: Vec<_> = peer.path.uris().iter().map(|uri| uri.host().to_string()).collect();
    assert_eq!(told, ["two.example", "one.example", "client.invalid"]);
    let mut there = invitation.accept();
    let route = soon(bob.route(&[two.account("bob")])).await.expect("a route");
    let mut here = soon(bob.join(&peer, Way::Relays(route))).await.expect("a session");
    soon(there.ready()).await.expect("bound");
    both_ways(&mut here, &mut there).await;
    let long: Vec<u8> = (0..=255).cycle().take(700_000).collect();
    let sent = soon(here.send(Outgoing::bytes("application/octet-stream", long.clone()))).await;
    assert!(sent.expect("sent").delivered);
    assert_eq!(message(&mut there).await.body.bytes(1 << 20).await.expect("bytes"), long);

    for relay in [&one, &two] {
        relay.accounts.asked_times("alice", 3).await;
    }
    both_ways(&mut here, &mut there).await;
    assert_eq!(there.route().map(Route::path), Some(path));

    // Wrong at the second: the first is no way around it.
    let wrong = RelayAccount {
        relay: two.named("two.example"),
        password: "wrong".to_owned().into(),
        ..two.account("alice")
    };
    let refused = soon(alice.route(&[one.account("alice"), wrong])).await.map(drop);
    let place = format!("two.example:{}", two.port);
    assert!(
        matches!(&refused, Err(RelayError::Login { relay, why: LoginError::Credentials }) if *relay == place),
        "{refused:?}"
    );
}
