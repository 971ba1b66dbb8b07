//! Whom TLS connects to: by fingerprint, by name, not at all.

use nuncio_endpoint::{ConnectError, End, Lost, Outgoing, Peer, SetupError, Unjudged, Way};
use nuncio_msrp::sdp::{Fingerprint, Hash, Rejected};

use crate::common::{Authority, endpoint, listen, message, soon};
use crate::stage::Begun;

fn lost(failed: Result<nuncio_endpoint::Session, SetupError>) -> Lost {
    match failed {
        Err(SetupError::Connect(ConnectError::Ended { end: End::Connection(lost), .. })) => lost,
        other => unreachable!("{other:?}"),
    }
}

/// S1-08, S1-R6, RFC 8122 §6.2: with another certificate than the SDP promised nothing is said, by whoever connects.
#[tokio::test]
async fn a_fingerprint_that_does_not_match_ends_it_at_once() {
    let (alice, bob) = (endpoint(|_| ()), endpoint(|_| ()));
    let at = listen(&bob, "127.0.0.1", true);
    let other = Fingerprint::of(Hash::Sha256, b"another certificate");
    // The server's.
    let invitation = bob.invite(Way::Listening(&at)).expect("an invitation");
    let mut peer = Peer::from_sdp(&invitation.sdp()).expect("SDP");
    assert_eq!(peer.fingerprints, [bob.fingerprint()]);
    peer.fingerprints = vec![other.clone()];
    assert_eq!(lost(soon(alice.join(&peer, Way::Direct)).await), Lost::Fingerprint);
    // Nothing was sent: the invitation is as good as before.
    peer.fingerprints = vec![bob.fingerprint()];
    let mut there = invitation.accept();
    let one = soon(alice.join(&peer, Way::Direct)).await.expect("a session");
    soon(one.send(Outgoing::text("now"))).await.expect("delivered");
    assert_eq!(message(&mut there).await.text(), Some("now"));
    // The client's.
    for (promised, good) in [(other, false), (alice.fingerprint(), true)] {
        let invitation = bob.invite_only(Way::Listening(&at), vec![promised]).expect("an invitation");
        let peer = Peer::from_sdp(&invitation.sdp()).expect("SDP");
        let there = invitation.accept();
        let alice_alone = soon(alice.join(&peer, Way::Direct)).await.expect("it connects");
        let sent = soon(alice_alone.send(Outgoing::text("it is me"))).await;
        assert_eq!(sent.is_ok(), good, "{sent:?}");
        if good {
            soon(there.ready()).await.expect("bound");
        }
    }
}

/// S1-R6: a peer that knows SHA-1 only, by a switch.
#[tokio::test]
async fn sha1_by_a_switch() {
    let bob = endpoint(|_| ());
    let at = listen(&bob, "127.0.0.1", true);
    for sha1 in [false, true] {
        let alice = endpoint(|config| config.sha1 = sha1);
        let authority = Authority::new("bob.example");
        let old = endpoint(|config| config.certificate = Some(authority.pair()));
        let at_old = listen(&old, "127.0.0.1", true);
        let invitation = old.invite(Way::Listening(&at_old)).expect("an invitation");
        let mut peer = Peer::from_sdp(&invitation.sdp()).expect("SDP");
        let pem = std::fs::read_to_string(authority.pair().chain).expect("a certificate");
        peer.fingerprints = vec![Fingerprint::of(Hash::Sha1, &der(&pem))];
        let joined = soon(alice.join(&peer, Way::Direct)).await;
        assert_eq!(joined.is_ok(), sha1, "{joined:?}");
        if !sha1 {
            assert!(matches!(joined, Err(SetupError::Rejected(Rejected::Weak))));
        }
    }
    drop(at);

    fn der(pem: &str) -> Vec<u8> {
        let body: String = pem
            .lines()
            .skip_while(|line| !line.contains("BEGIN CERT"))
            .skip(1)
            .take_while(|line| !line.contains("END CERT"))
            .collect();
        let value = |byte: u8| match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            _ => 63,
        };
        let digits: Vec<u8> = body.bytes().filter(|byte| *byte != b'=').map(value).collect();
        let mut out = Vec::new();
        for group in digits.chunks(4) {
            let bits = group.iter().fold(0_u32, |bits, digit| bits << 6 | u32::from(*digit));
            let bits = bits << (6 * (4 - group.len()));
            out.extend_from_slice(&bits.to_be_bytes()[1..group.len()]);
        }
        out
    }
}

/// RFC 8122 §6.2, RFC 6135 §4.3, S1-R6: fingerprints that were named are judged, or an error; those of an SDP are for whoever connects directly.
#[tokio::test]
async fn a_fingerprint_is_judged_or_an_error() {
    let relay = Begun::alone(|_| ());
    let alice = endpoint(|config| config.roots = relay.authority.roots());
    let account = relay.account("alice");
    let strong = alice.fingerprint();
    let weak = Fingerprint::of(Hash::Sha1, b"a certificate");
    let (tls, clear) = (listen(&alice, "127.0.0.1", true), listen(&alice, "127.0.0.1", false));
    let only = |way, fingerprint: &Fingerprint| alice.invite_only(way, vec![fingerprint.clone()]).map(drop);
    assert!(only(Way::Listening(&tls), &strong).is_ok());
    let refused = only(Way::Listening(&tls), &weak);
    assert!(matches!(refused, Err(SetupError::Rejected(Rejected::Weak))), "{refused:?}");
    let refused = only(Way::Listening(&clear), &strong);
    assert!(matches!(refused, Err(SetupError::Unjudged(Unjudged::Clear))), "{refused:?}");
    let route = soon(alice.route(std::slice::from_ref(&account))).await.expect("a route");
    let refused = only(Way::Relays(route), &strong);
    assert!(matches!(refused, Err(SetupError::Unjudged(Unjudged::Relay))), "{refused:?}");

    let direct = format!("msrps://localhost:{}/abcdefgh;tcp", relay.port);
    for (path, through, expected) in [
        (direct.replace("msrps", "msrp"), false, Unjudged::Clear),
        (format!("{direct} msrps://peer.invalid:9/abcdefgh;tcp"), false, Unjudged::Relay),
        (direct.clone(), true, Unjudged::Relay),
    ] {
        let peer = Peer { fingerprints: vec![strong.clone()], ..Peer::at(&path).expect("a path") };
        let way = match through {
            true => Way::Relays(soon(alice.route(std::slice::from_ref(&account))).await.expect("a route")),
            false => Way::Direct,
        };
        let refused = soon(alice.join(&peer, way)).await.map(drop);
        assert!(
            matches!(&refused, Err(SetupError::Unjudged(why)) if *why == expected),
            "{path}: {refused:?}"
        );
    }

    // Who is behind a relay may write one all the same: it is the relay that is judged, by its name.
    let bob = endpoint(|config| config.roots = relay.authority.roots());
    let route = soon(bob.route(&[relay.account("bob")])).await.expect("a route");
    let invitation = bob.invite(Way::Relays(route)).expect("an invitation");
    let sdp = invitation.sdp();
    assert!(sdp.contains("a=fingerprint:"), "{sdp}");
    let peer = Peer::from_sdp(&sdp).expect("SDP");
    assert_eq!(peer.fingerprints, []);
    let mut there = invitation.accept();
    let route = soon(alice.route(&[account])).await.expect("a route");
    let peer = Peer { fingerprints: vec![bob.fingerprint()], ..peer };
    let one = soon(alice.join(&peer, Way::Relays(route))).await.expect("a session");
    soon(one.send(Outgoing::text("through"))).await.expect("delivered");
    assert_eq!(message(&mut there).await.text(), Some("through"));
}

/// S1-04, RFC 4975 §5.4: without a fingerprint the certificate has to be for the host of the URI, by an authority that is believed.
#[tokio::test]
async fn names_are_checked() {
    let authority = Authority::new("bob.example");
    for (host, believes, expected) in [
        ("localhost", true, None),
        ("127.0.0.1", true, None),
        ("127.0.0.2", true, Some("not valid for name")),
        ("localhost", false, Some("UnknownIssuer")),
    ] {
        let bob = endpoint(|config| config.certificate = Some(authority.pair()));
        let other = Authority::new("other.example");
        let roots = if believes { authority.roots() } else { other.roots() };
        let alice = endpoint(|config| config.roots = roots);
        let addresses = [format!("{}:0", if host == "127.0.0.2" { host } else { "127.0.0.1" })
            .parse()
            .expect("an address")];
        let at = bob.listen(&addresses, host, true).expect("it listens");
        let invitation = bob.invite(Way::Listening(&at)).expect("an invitation");
        let peer = Peer::at(&invitation.path().to_string()).expect("a path");
        let mut there = invitation.accept();
        let joined = soon(alice.join(&peer, Way::Direct)).await;
        let Some(expected) = expected else {
            soon(joined.expect("a session").send(Outgoing::text("proven"))).await.expect("delivered");
            assert_eq!(message(&mut there).await.text(), Some("proven"));
            continue;
        };
        match lost(joined) {
            Lost::Handshake(why) => assert!(why.contains(expected), "{why}"),
            other => panic!("{other:?}"),
        }
    }
}

/// RFC 4975 §5.4: what was promised over TLS does not exist in clear, and the other way round.
#[tokio::test]
async fn clear_and_tls_do_not_mix() {
    let (alice, bob) = (endpoint(|_| ()), endpoint(|_| ()));
    for tls in [true, false] {
        let at = listen(&bob, "127.0.0.1", tls);
        let invitation = bob.invite(Way::Listening(&at)).expect("an invitation");
        let path = invitation.path().to_string();
        let path = if tls { path.replace("msrps:", "msrp:") } else { path.replace("msrp:", "msrps:") };
        let peer = Peer { fingerprints: vec![bob.fingerprint()], ..Peer::at(&path).expect("a path") };
        let joined = soon(alice.join(&peer, Way::Direct)).await;
        let sent = match joined {
            Ok(session) => soon(session.send(Outgoing::text("secret"))).await.map(drop).map_err(drop),
            Err(_) => Err(()),
        };
        assert_eq!(sent, Err(()));
    }
}
