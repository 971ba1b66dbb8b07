//! Several relays, and next hops that are not who they should be.

use std::sync::Arc;

use nuncio_relay::SealKeys;

use crate::stage::{Begun, Client, field};

fn pair() -> (Begun, Begun) {
    (Begun::new("one.example"), Begun::new("two.example"))
}

/// RFC 4976 §5.1, §6.3, §9.2, S1-L14: AUTH to the second relay through the first, which proves its name by its certificate; then a text through
/// both, and back.
#[tokio::test]
async fn through_two_relays() {
    let (one, two) = pair();
    let (card_one, card_two) = (one.card(), two.card());
    let one = one.start(&[card_two], |_| {});
    let two = two.start(&[card_one], |_| {});
    let mut alice = one.client("alice").await;
    let first = alice.path.clone();
    // Through the URI that the first has issued: it forwards for nobody else.
    alice.to = format!("{first} {}", two.uri());
    let answer = alice.login("alice", "alice's password").await;
    assert!(answer.contains(" 200 "), "{answer}");
    alice.path = field(&answer, "Use-Path").unwrap().to_owned();
    assert_eq!(alice.path.split(' ').next(), Some(first.as_str()), "{}", alice.path);
    assert_eq!(alice.path.split(' ').count(), 2);
    assert!(
        (two.metric("relays_total") - 1.0).abs() < 0.5 && one.metric("connections{direction=\"out\"}") > 0.5
    );

    let mut bob = two.client("bob").await;
    for _ in 0..2 {
        alice.send("chain001", &bob.reached_by(), "Through both");
        assert!(alice.raw.text("-------chain001$\r\n").await.starts_with("MSRP chain001 200"));
        let came = bob.raw.text("$\r\n").await;
        assert!(came.contains("\r\n\r\nThrough both\r\n-------"), "{came}");
        bob.accept(&came);
        std::mem::swap(&mut alice, &mut bob);
    }
}

/// S1-06, S1-L14: a relay that nobody vouches for logs nobody in, nor one that is not on the list.
#[tokio::test]
async fn unproven_relays() {
    for (believed, listed, code) in [(false, true, " 403 "), (true, false, " 403 "), (true, true, " 401 ")] {
        let (one, two) = pair();
        let (card_one, card_two) = (one.card(), two.card());
        let one = one.start(&[card_two], |_| {});
        let others = if believed { vec![card_one] } else { Vec::new() };
        let two = two.start(&others, |config| {
            let name = if listed { "one.example" } else { "other.example" };
            config.relays = vec![name.parse().unwrap()];
        });
        let mut alice = one.client("alice").await;
        alice.to = format!("{} {}", alice.path, two.uri());
        let answer = alice.auth("").await;
        assert!(answer.contains(code), "{believed} {listed}: {answer}");
    }
}

/// S1-04: a next hop whose certificate is not for its name, or from nobody we believe, is sent nothing; its origin hears of it.
#[tokio::test]
async fn unproven_next_hops() {
    let (one, two) = pair();
    let card_two = two.card();
    // Where `three.example` is, `two.example` answers.
    let address = card_two.address;
    let one = one.start(&[card_two], |config| {
        config.hosts.insert("three.example".to_owned(), address);
    });
    let two = two.start(&[], |_| {});
    let mut alice = one.client("alice").await;
    alice.send("wrong001", "msrps://three.example:2855/a;tcp", "a secret");
    assert!(alice.raw.text("-------wrong001$\r\n").await.starts_with("MSRP wrong001 200"));
    let report = alice.raw.text("$\r\n").await;
    assert!(report.contains(" REPORT\r\n") && report.contains("Status: 000 403"), "{report}");
    assert!((one.metric("dial_failures_total{why=\"unproven\"}") - 1.0).abs() < 0.5);
    assert!(two.metric("sends_total") < 0.5);
    // A request that is answered end to end is answered here.
    let own = &alice.own;
    let to = format!("{} msrps://three.example:2855/b;tcp", alice.path);
    alice.raw.say(format!("MSRP nick0001 NICKNAME\r\nTo-Path: {to}\r\nFrom-Path: {own}\r\nUse-Nickname: \"a\"\r\n-------nick0001$\r\n"));
    let answer = alice.raw.text("-------nick0001$\r\n").await;
    assert!(answer.starts_with("MSRP nick0001 403"), "{answer}");
    assert_eq!(field(&answer, "To-Path"), Some(own.as_str()));
}

/// RFC 4976 §6.4.1, S1-L11: a next hop that is not there is reported; `msrp:` is connected to only where the operator says so.
#[tokio::test]
async fn next_hops_that_are_not_there() {
    let nobody = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let peer = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = peer.local_addr().unwrap();
    for clear in [false, true] {
        let stage = Begun::new("one.example").start(&[], |config| {
            config.hosts.insert("nobody.example".to_owned(), nobody);
            config.hosts.insert("clear.example".to_owned(), at);
            config.clear = clear;
        });
        let mut alice: Client = stage.client("alice").await;
        alice.send("nobody01", "msrps://nobody.example:1/a;tcp", "x");
        alice.raw.text("-------nobody01$\r\n").await;
        assert!(alice.raw.text("$\r\n").await.contains("Status: 000 408"));
        alice.send("clear001", "msrp://clear.example:1/a;tcp", "in clear");
        let answer = alice.raw.text("-------clear001$\r\n").await;
        assert_eq!(answer.starts_with("MSRP clear001 481"), !clear, "{answer}");
        if clear {
            let (mut io, _) = peer.accept().await.unwrap();
            let mut got = Vec::new();
            while !got.ends_with(b"$\r\n") {
                tokio::io::AsyncReadExt::read_buf(&mut io, &mut got).await.unwrap();
            }
            assert!(String::from_utf8(got).unwrap().contains("\r\n\r\nin clear\r\n"));
        }
    }
}

/// S1-L15: a URI that another machine of the same name has sealed is known, counts as one that is good, and is taken back where nobody can say whether
/// its account may still use the relay.
#[tokio::test]
async fn sealed_uris_are_counted() {
    let keys = Arc::new(SealKeys::new([&[7; 32]]).unwrap());
    for (user, counted) in [("alice", 2.0), ("grace", 1.0)] {
        let (one, two, again) =
            (Begun::new("one.example"), Begun::new("two.example"), Begun::new("two.example"));
        let (card_one, card_two) = (one.card(), two.card());
        let one = one.start(&[card_two], |_| {});
        let same = |config: &mut nuncio_relay::RelayConfig| {
            config.port = 2855;
            config.seal = Some(Arc::clone(&keys));
        };
        let two = two.start(std::slice::from_ref(&card_one), same);
        let mut client = one.client(user).await;
        client.to = format!("{} msrps://two.example;tcp", client.path);
        let answer = client.login(user, &format!("{user}'s password")).await;
        assert!(answer.contains(" 200 "), "{answer}");
        client.path = field(&answer, "Use-Path").unwrap().to_owned();
        assert!((two.metric("msrp_relay_uris") - 1.0).abs() < 0.5);

        let again = again.start(&[card_one], same);
        let mut bob = Client::new(again.connect(None).await, "bob", "msrps://two.example;tcp".to_owned());
        let answer = bob.login("bob", "bob's password").await;
        bob.path = field(&answer, "Use-Path").unwrap_or_else(|| panic!("{answer}")).to_owned();
        bob.send("sealed01", &client.reached_by(), "still there?");
        let answer = bob.raw.text("-------sealed01$\r\n").await;
        assert_eq!(answer.contains(" 200 "), user == "alice", "{answer}");
        let uris = again.metric("msrp_relay_uris");
        assert!((uris - counted).abs() < 0.5, "{user}: {uris}");
    }
}
