//! Sessions: set up, used in both directions, refused, ended.

use nuncio_endpoint::{
    ConnectError, End, Endpoint, Incoming, Lost, Outgoing, Peer, SendError, Session, SetupError, Way, Why,
};
use nuncio_msrp::Status;
use nuncio_msrp::endpoint::Reports;
use nuncio_msrp::media::AcceptTypes;

use crate::common::{Raw, endpoint, listen, message, session, soon};

async fn both_ways(mut one: Session, mut other: Session) {
    for round in 0..3 {
        let text = format!("there {round}\r\n-------\u{1f4a8}");
        let sent = soon(one.send(Outgoing::text(text.clone()))).await.expect("delivered");
        assert!(sent.delivered);
        let came = message(&mut other).await;
        assert_eq!((came.text(), came.id), (Some(&*text), sent.id));
        assert!(soon(other.send(Outgoing::text("back"))).await.expect("delivered").delivered);
        assert_eq!(message(&mut one).await.text(), Some("back"));
        let sent = soon(one.send(Outgoing::bytes("application/x-own", vec![0; 3]).unreported())).await;
        assert!(!sent.expect("sent").delivered);
        assert_eq!(message(&mut other).await.body.len(), 3);
    }
}

/// RFC 4975 §5.4: both directions, over TCP and over TLS with fingerprints (S1-08), by invitation.
#[tokio::test]
async fn texts_both_ways() {
    for tls in [false, true] {
        let (alice, bob) = (endpoint(|_| ()), endpoint(|_| ()));
        let at = listen(&bob, "127.0.0.1", tls);
        let (one, other) = session(&alice, &bob, &at).await;
        both_ways(one, other).await;
    }
}

/// RFC 4975 §8, RFC 6135: by offer and answer, whoever connects.
#[tokio::test]
async fn offer_and_answer() {
    for tls in [false, true] {
        for offerer_listens in [false, true] {
            let (alice, bob) = (endpoint(|_| ()), endpoint(|_| ()));
            let (at_alice, at_bob) = (listen(&alice, "127.0.0.1", tls), listen(&bob, "127.0.0.1", tls));
            let way = |listens, at| if listens { Way::Listening(at) } else { Way::Direct };
            let offer = alice.offer(way(offerer_listens, &at_alice)).expect("an offer");
            if !tls && !offerer_listens {
                // Without a listener nothing says that it is to be in clear.
                continue;
            }
            let (answer, pending) =
                bob.answer(&offer.sdp(), way(!offerer_listens, &at_bob)).await.expect("an answer");
            let (one, other) = tokio::join!(offer.answered(&answer), async {
                if offerer_listens { pending.begin().await } else { Ok(pending.begin().await?) }
            });
            let (one, other) = (one.expect("a session"), other.expect("a session"));
            soon(one.ready()).await.expect("bound");
            soon(other.ready()).await.expect("bound");
            both_ways(one, other).await;
        }
    }
}

/// RFC 4975 §5.4: one connection for several sessions, or one for each; the others stay when one ends.
#[tokio::test]
async fn connections_are_shared_or_not() {
    for share in [true, false] {
        let (alice, bob) = (endpoint(|config| config.share = share), endpoint(|_| ()));
        let at = listen(&bob, "127.0.0.1", true);
        let (first, first_there) = session(&alice, &bob, &at).await;
        let (second, second_there) = session(&alice, &bob, &at).await;
        drop(first);
        // Nothing in MSRP says that a session is over, unless its connection is: whoever writes is told.
        let refused = soon(first_there.send(Outgoing::text("still there?"))).await;
        let expected = if share { End::Gone } else { End::Connection(Lost::Peer) };
        assert!(
            matches!(refused, Err(SendError::Ended(_) | SendError::Status(Status::NO_SESSION))),
            "{refused:?}"
        );
        assert_eq!(soon(first_there.over()).await, expected);
        both_ways(second, second_there).await;
    }
}

/// S1-01, S1-03: a URI nobody was given, and one that is in use elsewhere.
#[tokio::test]
async fn strangers_and_latecomers() {
    let (alice, bob, eve) = (endpoint(|_| ()), endpoint(|_| ()), endpoint(|_| ()));
    let at = listen(&bob, "127.0.0.1", true);
    let invitation = bob.invite(Way::Listening(&at)).expect("an invitation");
    let peer = Peer::from_sdp(&invitation.sdp()).expect("SDP");
    let mut there = invitation.accept();
    let one = soon(alice.join(&peer, Way::Direct)).await.expect("a session");
    soon(there.ready()).await.expect("bound");
    // With the URI, but not as the one who came first; and with a URI that there is not.
    for (uri, expected) in
        [(peer.path.to_string(), End::Gone), (peer.path.to_string().replace(";tcp", "x;tcp"), End::Gone)]
    {
        let wrong = Peer { fingerprints: peer.fingerprints.clone(), ..Peer::at(&uri).expect("a path") };
        let other = soon(eve.join(&wrong, Way::Direct)).await.expect("it connects");
        let refused = soon(other.send(Outgoing::text("let me in"))).await;
        assert!(
            matches!(refused, Err(SendError::Ended(_) | SendError::Status(Status::NO_SESSION))),
            "{refused:?}"
        );
        assert_eq!(soon(other.over()).await, expected);
    }
    soon(one.send(Outgoing::text("still here"))).await.expect("delivered");
    assert_eq!(message(&mut there).await.text(), Some("still here"));
}

/// RFC 4975 §10.5, §10.6, §8.6: what is too long or of the wrong type is refused and said so; the session goes on.
#[tokio::test]
async fn refused_messages() {
    let bob = endpoint(|config| {
        config.max_size = 1_000;
        config.accept = AcceptTypes::parse("text/plain").expect("types");
    });
    let at = listen(&bob, "127.0.0.1", true);
    let alice = endpoint(|_| ());
    let invitation = bob.invite(Way::Listening(&at)).expect("an invitation");
    let mut peer = Peer::from_sdp(&invitation.sdp()).expect("SDP");
    let mut there = invitation.accept();
    // Not even tried, since the SDP says it.
    {
        let one = soon(alice.join(&peer, Way::Direct)).await.expect("a session");
        assert!(matches!(soon(one.send(Outgoing::bytes("image/png", vec![1]))).await, Err(SendError::Type)));
        let long = Outgoing::text("x".repeat(1_001));
        assert!(matches!(soon(one.send(long)).await, Err(SendError::Size)));
        soon(one.send(Outgoing::text("x".repeat(1_000)))).await.expect("delivered");
        message(&mut there).await;
    }
    // Whoever tries all the same is told.
    let invitation = bob.invite(Way::Listening(&at)).expect("an invitation");
    peer.path = invitation.path().clone();
    peer.accepts = AcceptTypes::any();
    peer.max_size = None;
    let mut there = invitation.accept();
    let one = soon(alice.join(&peer, Way::Direct)).await.expect("a session");
    let refused = soon(one.send(Outgoing::bytes("image/png", vec![1]))).await;
    assert!(matches!(refused, Err(SendError::Status(Status::MEDIA_TYPE))), "{refused:?}");
    let endless = tokio::io::repeat(7);
    let refused = soon(one.send(Outgoing::reader("text/plain", None, endless))).await;
    assert!(matches!(refused, Err(SendError::Status(Status::STOP))), "{refused:?}");
    match soon(there.next()).await {
        Some(Incoming::Broken(broken)) => {
            assert_eq!((broken.why, broken.came <= 1_000), (Why::Refused(Status::STOP), true));
        }
        other => panic!("{other:?}"),
    }
    soon(one.send(Outgoing::text("after all"))).await.expect("delivered");
    assert_eq!(message(&mut there).await.text(), Some("after all"));
}

/// A report is sent when the host says so, not before (RFC 4975 §7.1.3).
#[tokio::test]
async fn reports_of_the_host() {
    let (alice, bob) = (endpoint(|_| ()), endpoint(|config| config.reports = Reports::Host));
    let at = listen(&bob, "127.0.0.1", true);
    let (one, mut there) = session(&alice, &bob, &at).await;
    for (status, delivered) in [(Status::OK, true), (Status::FORBIDDEN, false)] {
        let sending = one.send(Outgoing::text("kept?"));
        let (sent, ()) = soon(async {
            tokio::join!(sending, async { message(&mut there).await.receipt().report(status) })
        })
        .await;
        assert_eq!(sent.as_ref().is_ok_and(|sent| sent.delivered), delivered, "{sent:?}");
        assert_eq!(matches!(sent, Err(SendError::Status(it)) if it == status), !delivered);
    }
}

/// Where nobody listens, and where somebody else does.
#[tokio::test]
async fn nobody_there() {
    let alice = endpoint(|_| ());
    let at = {
        let bob = endpoint(|_| ());
        listen(&bob, "127.0.0.1", false).addresses()[0]
    };
    let path = format!("msrp://{at}/abcdefghijklmnopqrstuvwxyz;tcp");
    let failed = soon(alice.join(&Peer::at(&path).expect("a path"), Way::Direct)).await;
    assert!(matches!(failed, Err(SetupError::Connect(ConnectError::Tcp { .. }))), "{failed:?}");
    let path = "msrps://no.such.host.invalid:2855/abcdefghijklmnopqrstuvwxyz;tcp";
    let failed = soon(alice.join(&Peer::at(path).expect("a path"), Way::Direct)).await;
    assert!(matches!(failed, Err(SetupError::Connect(ConnectError::Resolve { .. }))), "{failed:?}");
    let path = "msrps://localhost:2855/abcdefghijklmnopqrstuvwxyz;ws";
    let failed = soon(alice.join(&Peer::at(path).expect("a path"), Way::Direct)).await;
    assert!(matches!(failed, Err(SetupError::Connect(ConnectError::Transport(_)))), "{failed:?}");
    assert!(matches!(alice.invite(Way::Direct), Err(SetupError::Unreachable)));
}

/// A withdrawn invitation admits nobody; a peer that speaks something else, or only knocks, is let go.
#[tokio::test]
async fn withdrawn_and_foreign() {
    let bob: Endpoint = endpoint(|config| config.msrp.strikes = 2);
    let at = listen(&bob, "127.0.0.1", false);
    let invitation = bob.invite(Way::Listening(&at)).expect("an invitation");
    let path = invitation.path().to_string();
    drop(invitation);
    let mut raw = Raw::connect(at.addresses()[0]).await;
    for _ in 0..2 {
        let frame = format!(
            "MSRP abcd SEND\r\nTo-Path: {path}\r\nFrom-Path: msrp://a.invalid:9/xyz;tcp\r\nMessage-ID: 1234\r\n\
             Byte-Range: 1-0/0\r\n-------abcd$\r\n"
        );
        raw.write(frame.as_bytes()).await;
        assert!(raw.until("-------abcd$\r\n").await.starts_with("MSRP abcd 481"));
    }
    raw.ended().await;
    let mut raw = Raw::connect(at.addresses()[0]).await;
    raw.write(b"GET / HTTP/1.1\r\n\r\n").await;
    raw.ended().await;
}
