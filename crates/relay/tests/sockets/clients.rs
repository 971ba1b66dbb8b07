//! Clients of one relay.

use bytes::Bytes;
use nuncio_msrp::relay::Bounds;
use nuncio_sansio::Eof;

use crate::stage::{Begun, Client, field, transaction};

/// RFC 4976 §6.4, S1-L8, S1-L9: a text both ways, with its response at once; a SEND that wants none gets none.
#[tokio::test]
async fn texts_both_ways() {
    let stage = Begun::alone(|_| {});
    let (mut alice, mut bob) = (stage.client("alice").await, stage.client("bob").await);
    for _ in 0..2 {
        alice.send("text0001", &bob.reached_by(), "Hello");
        let answer = alice.raw.text("-------text0001$\r\n").await;
        assert!(answer.starts_with("MSRP text0001 200 OK\r\n"), "{answer}");
        let came = bob.raw.text("$\r\n").await;
        assert!(came.contains("\r\n\r\nHello\r\n-------"), "{came}");
        assert_eq!(field(&came, "To-Path"), Some(bob.own.as_str()));
        let back = format!("{} {} {}", bob.path, alice.path, alice.own);
        assert_eq!(field(&came, "From-Path"), Some(back.as_str()));
        assert_ne!(transaction(&came), "text0001");
        bob.accept(&came);
        std::mem::swap(&mut alice, &mut bob);
    }
    assert!(stage.metric("sends_total") > 1.5 && stage.metric("connections{direction=\"in\"}") > 1.5);
}

/// S1-L4: wrong passwords are told to whoever counts them, and end the connection; who may not is told so.
#[tokio::test]
async fn wrong_passwords() {
    let stage = Begun::alone(|_| {});
    let mut client = Client::new(stage.connect(None).await, "alice", stage.uri());
    for name in ["alice", "nobody", "alice"] {
        let answer = client.login(name, "wrong").await;
        assert!(answer.contains(" 401 "), "{answer}");
    }
    assert_eq!(client.raw.end().await.1, Eof::Clean);
    assert_eq!(*stage.accounts.0.lock().unwrap(), ["alice", "nobody", "alice"]);
    let mut dave = Client::new(stage.connect(None).await, "dave", stage.uri());
    assert!(dave.login("dave", "dave's password").await.contains(" 403 "));
    assert_eq!(stage.accounts.0.lock().unwrap().len(), 3, "his password was right");
}

/// Show 4: an account that is disabled while it logs in gets nothing, although its URI came too late to be revoked with the others.
#[tokio::test]
async fn a_login_does_not_race_a_disabling() {
    let stage = Begun::alone(|_| {});
    let mut frank = Client::new(stage.connect(None).await, "frank", stage.uri());
    let answer = frank.login("frank", "frank's password").await;
    assert!(answer.contains(" 403 "), "{answer}");
    assert!(stage.metric("uris") < 0.5);
}

/// Show 4: what was begun with credentials ends with them; so does what an account has that may no longer.
#[tokio::test]
async fn sessions_end_with_their_credentials() {
    let stage = Begun::alone(|_| {});
    let mut carol = Client::new(stage.connect(None).await, "carol", stage.uri());
    let answer = carol.login("carol", "carol's password").await;
    assert_eq!((answer.contains(" 200 "), field(&answer, "Expires")), (true, Some("1")), "{answer}");
    assert_eq!(carol.raw.end().await.1, Eof::Clean);

    let alice = stage.client("alice").await;
    let mut bob = stage.client("bob").await;
    assert_eq!((stage.relay.end("alice"), stage.relay.end("alice")), (1, 0));
    assert_eq!(alice.raw.end().await.1, Eof::Clean);
    let gone = format!("{} {}", alice.path, alice.own);
    bob.send("gone0001", &gone, "Are you there?");
    let answer = bob.raw.text("-------gone0001$\r\n").await;
    assert!(answer.starts_with("MSRP gone0001 481"), "{answer}");
}

/// S1-03: whoever knows the way of a session still cannot speak in it from another connection.
#[tokio::test]
async fn a_second_connection_is_told_506() {
    let stage = Begun::alone(|_| {});
    let mut bob = stage.client("bob").await;
    let way = bob.reached_by();
    let mut first = Client::new(stage.connect(None).await, "peer", stage.uri());
    let mut second = Client::new(stage.connect(None).await, "peer", stage.uri());
    for (peer, code) in [(&mut first, "200"), (&mut second, "506")] {
        let (to, own) = (&way, &peer.own);
        peer.raw.say(format!("MSRP bind0001 SEND\r\nTo-Path: {to}\r\nFrom-Path: {own}\r\nMessage-ID: bind\r\nByte-Range: 1-0/0\r\n-------bind0001$\r\n"));
        let answer = peer.raw.text("-------bind0001$\r\n").await;
        assert!(answer.starts_with(&format!("MSRP bind0001 {code}")), "{answer}");
    }
    bob.raw.text("$\r\n").await;
}

/// Back-pressure end to end: a receiver that does not read has its sender held, and nobody else; then everything arrives, byte for byte.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_reader_holds_its_own_sender_only() {
    const PIECE: usize = 256 * 1_024;
    const PIECES: usize = 256;
    let stage = Begun::alone(|_| {});
    let (alice, mut bob) = (stage.client("alice").await, stage.client("bob").await);
    let (carol, mut dora) = (stage.client("bob").await, stage.client("alice").await);
    bob.raw.read(false);
    // Every octet there is, with what looks like lines and ends of frames in it.
    let piece: Vec<u8> = (0..=255).chain(*b"\r\n-------big00000\r\n").cycle().take(PIECE).collect();
    let piece = Bytes::from(piece);
    let length = PIECE * PIECES;
    alice.raw.say(alice.head("big00001", &bob.reached_by(), &format!("1-*/{length}")));
    (0..PIECES).for_each(|_| alice.raw.say(piece.clone()));
    alice.raw.say("\r\n-------big00001$\r\n");
    stage.counted("holds_total").await;
    // Meanwhile others talk.
    for _ in 0..20 {
        carol.send("short001", &dora.reached_by(), "quick");
        let came = dora.raw.text("$\r\n").await;
        assert!(came.contains("\r\n\r\nquick\r\n"));
        dora.accept(&came);
    }
    // What the relay has taken is what sockets and one lane hold, not the message.
    let taken = stage.metric("body_bytes_total");
    assert!(taken < 24e6, "{taken} bytes of {length}");
    bob.raw.read(true);
    let mut alice = alice;
    let head = bob.raw.text("\r\n\r\n").await;
    let mut id = transaction(&head).to_owned();
    let mut body = Vec::with_capacity(length);
    // Chunks, until the last has ended.
    loop {
        let end = format!("\r\n-------{id}");
        let mut chunk = bob.raw.until(end.as_bytes()).await;
        chunk.truncate(chunk.len() - end.len());
        body.extend_from_slice(&chunk);
        let flag = bob.raw.until(b"\r\n").await;
        if flag == b"$\r\n" {
            break;
        }
        assert_eq!(flag, b"+\r\n");
        id = transaction(&bob.raw.text("\r\n\r\n").await).to_owned();
    }
    assert_eq!(body.len(), length);
    assert!(body.chunks(PIECE).all(|got| got == piece), "byte for byte");
    let answer = alice.raw.text("-------big00001$\r\n").await;
    assert!(answer.starts_with("MSRP big00001 200"), "{answer}");
}

/// S1-L10, RFC 4976 §6.4.1: a receiver that goes away in the middle of a message is reported to its sender, whose connection lives on.
#[tokio::test]
async fn a_lost_receiver_is_reported() {
    let stage = Begun::alone(|_| {});
    let (mut alice, mut bob) = (stage.client("alice").await, stage.client("bob").await);
    alice.raw.say(alice.head("lost0001", &bob.reached_by(), "1-*/1000000"));
    alice.raw.say(vec![b'x'; 5_000]);
    bob.raw.text("xxxx").await;
    bob.raw.close();
    let answer = alice.raw.text("$\r\n").await;
    assert!(answer.starts_with("MSRP lost0001 408"), "{answer}");
    // The rest of it is swallowed without another word; the next message finds nobody.
    alice.raw.say("\r\n-------lost0001$\r\n");
    alice.send("lost0002", &bob.reached_by(), "again");
    assert!(alice.raw.text("-------lost0002$\r\n").await.starts_with("MSRP lost0002 481"));
}

/// S1-L10, S1-L11: the same where the relay has connected to the next hop, however much has gone there; one who sends in the middle of a message when his
/// account is disabled, or that of the other end, hears 481.
#[tokio::test]
async fn what_ends_in_the_middle_is_told_once() {
    for ended in ["bob", "alice"] {
        let stage = Begun::alone(|_| {});
        let (mut alice, mut bob) = (stage.client("alice").await, stage.client("bob").await);
        alice.raw.say(alice.head("half0001", &bob.reached_by(), "1-*/1000000"));
        alice.raw.say(vec![b'x'; 5_000]);
        bob.raw.text("xxxx").await;
        assert_eq!(stage.relay.end(ended), 1);
        let answer = alice.raw.text("$\r\n").await;
        assert!(answer.starts_with("MSRP half0001 481"), "{ended}: {answer}");
        bob.raw.text("#\r\n").await;
        if ended == "alice" {
            assert_eq!(alice.raw.end().await, (String::new(), Eof::Clean));
            continue;
        }
        alice.raw.say("\r\n-------half0001$\r\n");
        alice.send("half0002", &bob.reached_by(), "again");
        let answer = alice.raw.text("-------half0002$\r\n").await;
        assert!(answer.starts_with("MSRP half0002 481"), "{answer}");
    }
    let peer = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = peer.local_addr().unwrap();
    let stage = Begun::new("one.example").start(&[], |config| {
        config.hosts.insert("clear.example".to_owned(), at);
        config.clear = true;
    });
    let mut alice = stage.client("alice").await;
    alice.raw.say(alice.head("half0003", "msrp://clear.example:1/a;tcp", "1-*/1000000"));
    alice.raw.say(vec![b'x'; 5_000]);
    let (mut io, _) = peer.accept().await.unwrap();
    let mut got = Vec::new();
    while !got.ends_with(b"xxxx") {
        tokio::io::AsyncReadExt::read_buf(&mut io, &mut got).await.unwrap();
    }
    drop((io, peer));
    let answer = alice.raw.text("$\r\n").await;
    assert!(answer.starts_with("MSRP half0003 408"), "{answer}");
    alice.raw.say("\r\n-------half0003$\r\n");
    // A relay is nobody to talk to: it answers at once.
    let (own, to) = (alice.own.clone(), alice.path.clone());
    alice.raw.say(format!("MSRP half0004 NICKNAME\r\nTo-Path: {to}\r\nFrom-Path: {own}\r\nUse-Nickname: \"a\"\r\n-------half0004$\r\n"));
    let answer = alice.raw.text("$\r\n").await;
    assert!(answer.starts_with("MSRP half0004 481"), "{answer}");
}

/// RFC 7977: a WebSocket client logs in under its own URI, gets one of TCP, and talks with a client of TCP.
#[tokio::test]
async fn websocket_clients() {
    fn masked(text: &str) -> Vec<u8> {
        let mut frame = vec![0x82];
        match u8::try_from(text.len()).ok().filter(|length| *length < 126) {
            Some(length) => frame.push(0x80 | length),
            None => {
                frame.push(0x80 | 126);
                frame.extend_from_slice(&u16::try_from(text.len()).unwrap().to_be_bytes());
            }
        }
        frame.extend_from_slice(&[7, 7, 7, 7]);
        frame.extend(text.bytes().map(|byte| byte ^ 7));
        frame
    }
    let stage = Begun::alone(|_| {});
    let mut web = stage.connect_to(stage.websocket, None).await;
    web.say("GET /msrp HTTP/1.1\r\nHost: relay.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: msrp\r\n\r\n");
    assert!(web.text("\r\n\r\n").await.starts_with("HTTP/1.1 101 "));
    let to = format!("msrps://alice@relay.example:{};ws", stage.websocket.port());
    let own = "msrps://df7jal23ls0d.invalid:2855/98cjs;ws";
    web.say(masked(&format!(
        "MSRP auth0001 AUTH\r\nTo-Path: {to}\r\nFrom-Path: {own}\r\n-------auth0001$\r\n"
    )));
    let challenged = web.text("-------auth0001$\r\n").await;
    // One message, in one frame, whose header has four bytes.
    assert_eq!(challenged.chars().position(|letter| letter == 'M'), Some(4), "{challenged:?}");
    let challenge =
        field(&challenged, "WWW-Authenticate").and_then(nuncio_msrp::digest::Challenge::parse).unwrap();
    let (credentials, _) = challenge.answer("alice", "alice's password", &to, 1, &nuncio_net::OsEntropy);
    web.say(masked(&format!(
        "MSRP auth0002 AUTH\r\nTo-Path: {to}\r\nFrom-Path: {own}\r\nAuthorization: {credentials}\r\n-------auth0002$\r\n"
    )));
    let granted = web.text("-------auth0002$\r\n").await;
    let path = field(&granted, "Use-Path").unwrap_or_else(|| panic!("{granted}")).to_owned();
    assert!(path.ends_with(";tcp"), "{path}");
    let mut bob = stage.client("bob").await;
    bob.send("toweb001", &format!("{path} {own}"), "Hello, web");
    let came = web.text("$\r\n").await;
    assert!(came.contains("\r\n\r\nHello, web\r\n-------"), "{came}");
    web.say(masked(&format!(
        "MSRP fromweb1 SEND\r\nTo-Path: {path} {}\r\nFrom-Path: {own}\r\nMessage-ID: mweb1\r\nByte-Range: 1-5/5\r\n\
         Content-Type: text/plain\r\n\r\nHello\r\n-------fromweb1$\r\n",
        bob.reached_by()
    )));
    let answer = web.text("-------fromweb1$\r\n").await;
    assert!(answer.contains("MSRP fromweb1 200"), "{answer}");
    bob.raw.text("-------toweb001$\r\n").await;
    let came = bob.raw.text("$\r\n").await;
    assert!(came.contains("\r\n\r\nHello\r\n-------"), "{came}");
    // A client of TCP is no WebSocket client.
    let stranger = stage.connect_to(stage.websocket, None).await;
    stranger.say("MSRP auth0001 AUTH\r\n\r\n\r\n");
    assert!(stranger.end().await.0.starts_with("HTTP/1.1 400"));
}

/// S1-L18: what an account may have the relay connect to is counted; private networks are not connected to at all.
#[tokio::test]
async fn the_relay_is_not_aimed_at_anybody() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let stage = Begun::alone(|config| {
        config.bounds = Bounds { connects_per_account: 3, ..Bounds::default() };
    });
    let mut alice = stage.client("alice").await;
    for number in 1..=5 {
        let id = format!("aimed{number:03}");
        alice.send(&id, &format!("msrps://localhost:{port}/a{number};tcp"), "x");
        // Each has failed before the next begins, so each would connect anew.
        let answer = alice.raw.text("$\r\n").await;
        if number <= 3 {
            assert!(answer.starts_with(&format!("MSRP {id} 200")), "{answer}");
            let report = alice.raw.text("$\r\n").await;
            assert!(report.contains("Status: 000 408"), "{report}");
        } else {
            assert!(answer.starts_with(&format!("MSRP {id} 403")), "{answer}");
        }
    }
    assert!((stage.metric("dial_failures_total{why=\"forbidden_address\"}") - 3.0).abs() < 0.5);
    // Nobody could prove to be a numeric address: there is no way to one.
    let mut bob = stage.client("bob").await;
    bob.send("number01", &format!("msrps://127.0.0.1:{port}/a;tcp"), "x");
    assert!(bob.raw.text("$\r\n").await.starts_with("MSRP number01 481"));
    drop(listener);
}
