//! Budgets: who is slow, greedy or guessing costs others nothing.

use std::time::{Duration, Instant};

use nuncio_client::{Event, Reason, Why};
use nuncio_xmpp::stanza::{PresenceType, presence};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::harness::{PATIENCE, Place, bodies, chat, connect, online, receive, refused, until};

const HEADER: &str = "<?xml version='1.0'?><stream:stream to='localhost' version='1.0' xmlns='jabber:client' \
     xmlns:stream='http://etherx.jabber.org/streams'>";

/// Whoever does not read fills its own queue; then its connection ends. Others get everything meanwhile, and what it was owed waits.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_reader_delays_nobody() {
    let place = Place::new(&[
        "limits.stanzas_per_second = 1000000",
        "limits.bytes_per_second = 1000000000",
        "limits.queue_stanzas = 100",
        "limits.offline_messages = 1000000",
    ]);
    let server = place.serve();
    place.accounts(&["slow", "quick", "romeo"]);
    let mut tight = server.client("slow");
    tight.queue = 1;
    let mut slow = online(tight).await;
    let mut quick = online(server.client("quick")).await;
    let mut romeo = online(server.client("romeo")).await;
    let padding = "x".repeat(20_000);
    let mut sent = 0;
    let mut slowest = Duration::ZERO;
    // The sockets' own buffers take some megabytes before the queue does.
    while server.metric("nuncio_overflowed_total") < 1.0 {
        assert!(sent < 20_000, "the queue has no end");
        for _ in 0..50 {
            romeo.send(&chat("slow@localhost", &format!("{sent} {padding}"))).await.unwrap();
            sent += 1;
        }
        let began = Instant::now();
        romeo.send(&chat("quick@localhost", &sent.to_string())).await.unwrap();
        assert_eq!(receive(&mut quick).await.body_text().unwrap(), sent.to_string());
        slowest = slowest.max(began.elapsed());
    }
    assert!(slowest < Duration::from_secs(5), "{slowest:?}");
    let last = romeo.send(&chat("quick@localhost", "last")).await.unwrap();
    assert_eq!(receive(&mut quick).await.body_text().unwrap(), "last");
    crate::harness::acked(&mut romeo, last).await;
    // Now it reads: what had been under way, its end, and after that the rest.
    let mut seen = Vec::new();
    let number = |text: &str| text.split(' ').next().unwrap().parse::<usize>().unwrap();
    let mut lives = 0;
    while seen.len() < sent {
        match timeout(PATIENCE, slow.next()).await.expect("in time").expect("an event") {
            Event::Stanza(stanza) => seen.extend(stanza.body_text().map(|body| number(&body))),
            Event::Disconnected(end) => {
                lives += 1;
                assert!(end.may_retry && lives < 50, "{:?}", end.why);
                slow.reconnect();
            }
            Event::Online(online) if lives > 0 && !online.resumed => {
                slow.send(&presence(PresenceType::Available).build()).await.unwrap();
            }
            _ => {}
        }
    }
    assert!(lives >= 1);
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), sent, "all, none twice");
}

/// Bytes that come too slowly before the login do not hold a connection for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_sender_is_cut_before_login() {
    let place = Place::new(&["timeouts.login_seconds = 1"]);
    let server = place.serve();
    place.accounts(&["juliet"]);
    // A stream header, and the ClientHello of a TLS handshake.
    let hello = [&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3][..], &[7; 500]].concat();
    for (address, words) in [(server.c2s, HEADER.as_bytes()), (server.c2s_tls, &hello)] {
        let began = Instant::now();
        let mut io = TcpStream::connect(address).await.unwrap();
        let mut answer = Vec::new();
        let mut words = words.iter();
        // A byte whenever the server has been silent for a while, until it ends the connection.
        loop {
            match timeout(Duration::from_millis(50), io.read_buf(&mut answer)).await {
                Ok(Ok(0) | Err(_)) => break,
                Ok(Ok(_)) => {}
                Err(_) => {
                    if io.write_all(&[*words.next().unwrap()]).await.is_err() {
                        break;
                    }
                }
            }
            assert!(began.elapsed() < PATIENCE);
        }
        assert!(began.elapsed() >= Duration::from_millis(900), "{:?}", began.elapsed());
        assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    }
    // Who is logged in may be silent for longer.
    let mut juliet = online(server.client("juliet")).await;
    let began = Instant::now();
    until("two seconds pass", || began.elapsed() > Duration::from_secs(2)).await;
    crate::harness::ping(&mut juliet).await;
}

/// Too many connections of one address: the next is refused, those that stand go on, and a place that is free again is given away.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_of_one_address_are_budgeted() {
    let place = Place::new(&["limits.connections_per_address = 3"]);
    let server = place.serve();
    place.accounts(&["juliet"]);
    let mut sessions = Vec::new();
    for _ in 0..3 {
        sessions.push(online(server.client("juliet")).await);
    }
    let end = refused(server.client("juliet")).await;
    assert!(matches!(end.why, Why::Stream(_)) && end.may_retry, "{:?}", end.why);
    for session in &mut sessions {
        crate::harness::ping(session).await;
    }
    assert!(server.metric("nuncio_net_refused_total") >= 1.0);
    sessions.pop().unwrap().close().await;
    until("a place is free", || server.metric("nuncio_net_connections") < 3.0).await;
    connect(server.client("juliet")).await;
}

/// Guesses: after so many for an account, not even the right password is looked at; other accounts are not touched.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn guesses_are_throttled() {
    let place = Place::new(&["limits.failed_logins_per_account = 3"]);
    let server = place.serve();
    place.accounts(&["juliet", "romeo"]);
    let condition = |why: &Why| match why {
        Why::Stream(Reason::Login(condition)) => condition.as_str(),
        other => panic!("{other:?}"),
    };
    let mut standing = online(server.client("juliet")).await;
    // An account that does not exist is told the same.
    for name in ["juliet", "nobody"] {
        for _ in 0..3 {
            assert_eq!(condition(&refused(server.client_with(name, "guess")).await.why), "not-authorized");
        }
        assert_eq!(condition(&refused(server.client(name)).await.why), "temporary-auth-failure", "{name}");
    }
    assert!(server.metric("nuncio_logins_throttled_total") >= 2.0);
    connect(server.client("romeo")).await;
    crate::harness::ping(&mut standing).await;

    // Of one address, whatever the accounts.
    let place = Place::new(&["limits.failed_logins_per_address = 4"]);
    let server = place.serve();
    place.accounts(&["juliet"]);
    for name in ["a", "b", "c", "d"] {
        assert_eq!(condition(&refused(server.client_with(name, "guess")).await.why), "not-authorized");
    }
    assert_eq!(condition(&refused(server.client("juliet")).await.why), "temporary-auth-failure");
}

/// Whoever sends faster than its rate is slowed, not ended, and loses nothing; others are not slowed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fast_sender_is_slowed() {
    let place = Place::new(&["limits.stanzas_per_second = 50"]);
    let server = place.serve();
    place.accounts(&["juliet", "romeo", "mercutio"]);
    let mut juliet = online(server.client("juliet")).await;
    let mut romeo = online(server.client("romeo")).await;
    let mut mercutio = online(server.client("mercutio")).await;
    let began = Instant::now();
    for number in 0..150 {
        romeo.send(&chat("juliet@localhost", &number.to_string())).await.unwrap();
    }
    let pinged = Instant::now();
    crate::harness::ping(&mut mercutio).await;
    assert!(pinged.elapsed() < Duration::from_secs(1), "{:?}", pinged.elapsed());
    let expected: Vec<_> = (0..150).map(|number| number.to_string()).collect();
    assert_eq!(bodies(&mut juliet, 150).await, expected);
    // A second's worth at once, the rest by the rate.
    assert!(began.elapsed() > Duration::from_millis(1500), "{:?}", began.elapsed());
    assert!(server.metric("nuncio_slowed_total") > 0.0);
}
