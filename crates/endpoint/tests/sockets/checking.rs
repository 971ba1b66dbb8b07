//! The checker: on our endpoint, on our relay, and on a relay that carries anything for anybody.

use std::sync::Arc;
use std::time::{Duration, Instant};

use nuncio_endpoint::Peer;
use nuncio_endpoint::Way;
use nuncio_endpoint::check::{CheckError, Outcome, Subject, Verdict, check};
use nuncio_endpoint::raw::Raw;
use nuncio_msrp::media::AcceptTypes;
use nuncio_msrp::sdp::{Fingerprint, Hash};
use nuncio_msrp::{Item, Limits, Method, Parser, Path};
use nuncio_net::Security;
use nuncio_net::tls::{HostFiles, OwnCertificate, TlsHosts, TlsSettings};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::common::{Authority, endpoint, listen, soon};
use crate::stage::{Begun, Stage};

/// What failed, and why.
fn failed(verdicts: &[Verdict]) -> Vec<(&'static str, String)> {
    let why = |verdict: &Verdict| match &verdict.outcome {
        Outcome::Fail(why) => Some((verdict.name, format!("{why}\n{}", verdict.transcript.join("\n")))),
        _ => None,
    };
    verdicts.iter().filter_map(why).collect()
}

fn not_applicable(verdicts: &[Verdict]) -> Vec<&'static str> {
    let skipped = verdicts.iter().filter(|it| matches!(it.outcome, Outcome::NotApplicable(_)));
    skipped.map(|it| it.name).collect()
}

/// Show 2 of the issue: all pass on our endpoint.
#[tokio::test(flavor = "multi_thread")]
async fn our_endpoint_passes() {
    let bob = endpoint(|config| {
        config.accept = AcceptTypes::parse("text/plain").expect("types");
        config.max_size = 1_000_000;
    });
    let at = listen(&bob, "127.0.0.1", true);
    let invitation = bob.invite(Way::Listening(&at)).expect("an invitation");
    let peer = Peer::from_sdp(&invitation.sdp()).expect("SDP");
    let mut session = invitation.accept();
    tokio::spawn(async move { while session.next().await.is_some() {} });
    let subject = Subject {
        accepts: Some(peer.accepts),
        max_size: peer.max_size,
        fingerprints: peer.fingerprints,
        ..Subject::new(peer.path)
    };
    let verdicts = check(subject, |_| ()).await.expect("it is there");
    assert_eq!(failed(&verdicts), []);
    assert_eq!(not_applicable(&verdicts), ["certificate"]);
}

/// RFC 4976 §6.4.1: of an endpoint behind a relay that is asked which the endpoint says itself, and not what the relay says for it.
#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_behind_a_relay_passes() {
    let relay = relay();
    let invited = async |accept: AcceptTypes| {
        let bob = endpoint(|config| {
            config.accept = accept;
            config.max_size = 1_000_000;
            config.roots = relay.authority.roots();
        });
        let route = soon(bob.route(&[relay.account("bob")])).await.expect("a route");
        let invitation = bob.invite(Way::Relays(route)).expect("an invitation");
        let peer = Peer::from_sdp(&invitation.sdp()).expect("SDP");
        let mut session = invitation.accept();
        tokio::spawn(async move { while session.next().await.is_some() {} });
        let roots = relay.authority.roots();
        let subject = Subject {
            accepts: Some(peer.accepts),
            max_size: peer.max_size,
            roots,
            ..Subject::new(peer.path)
        };
        (bob, subject)
    };
    let text = AcceptTypes::parse("text/plain").expect("types");
    let (_bob, subject) = invited(text.clone()).await;
    let verdicts = check(subject, |_| ()).await.expect("it is there");
    assert_eq!(failed(&verdicts), []);
    let not_asked = not_applicable(&verdicts);
    for name in ["unknown-session", "second-connection", "partial", "malformed", "garbage"] {
        assert!(not_asked.contains(&name), "{name}: {not_asked:?}");
    }
    for name in ["text", "success-report", "binary", "chunks", "given-up", "too-long", "media-type"] {
        assert!(!not_asked.contains(&name), "{name}: {not_asked:?}");
    }

    // That the relay has taken a message is not taken for a word of the endpoint.
    let (_bob, subject) = invited(AcceptTypes::any()).await;
    let subject = Subject { accepts: Some(text), patience: Duration::from_secs(1), ..subject };
    let verdicts = check(subject, |_| ()).await.expect("it is there");
    let names: Vec<_> = failed(&verdicts).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["media-type"]);
}

/// A login that is refused is said once, and not tried again and again, which relays count (S1-L4).
#[tokio::test]
async fn a_wrong_password_ends_it() {
    let relay = relay();
    let login = Some(("alice".to_owned(), "wrong".to_owned().into()));
    let mut told = 0;
    let refused = check(Subject { login, ..subject(&relay) }, |_| told += 1).await;
    let place = format!("localhost:{}", relay.port);
    match refused {
        Err(error @ CheckError::Login { .. }) => {
            assert_eq!(error.to_string(), format!("{place} refuses the login: 401 Unauthorized"));
        }
        other => unreachable!("{other:?}"),
    }
    assert_eq!((told, relay.accounts.asked()), (0, vec!["alice".to_owned()]));
}

/// Whoever takes connections and says nothing is no relay; it takes no longer than the patience to see that.
#[tokio::test]
async fn silence_is_no_verdict() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let patience = Duration::from_millis(500);
    let path = Path::parse(&format!("msrps://localhost:{port};tcp"), 1).expect("a path");
    let begun = Instant::now();
    let subject = Subject { patience, ..Subject::new(path) };
    let refused = check(subject.clone(), |_| ()).await.map(drop);
    let error = refused.expect_err("no TLS").to_string();
    assert_eq!(error, format!("localhost:{port}: no TLS: the TLS handshake takes too long"));
    assert!(begun.elapsed() < patience * 4, "{:?}", begun.elapsed());
    drop(listener);

    // The same inside TLS.
    let authority = Authority::new("localhost");
    let host =
        HostFiles { domain: "localhost".to_owned(), pairs: vec![authority.pair()], ..HostFiles::default() };
    let (tls, _) = TlsHosts::load(TlsSettings { hosts: vec![host], ..TlsSettings::default() }).expect("TLS");
    let tls = Arc::new(tls);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    tokio::spawn(async move {
        let mut all = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            all.push(Raw::run(stream, Security::Server(Arc::clone(&tls)), Duration::from_secs(60)));
        }
    });
    let path = Path::parse(&format!("msrps://localhost:{port};tcp"), 1).expect("a path");
    let refused = check(Subject { path, roots: authority.roots(), ..subject }, |_| ()).await.map(drop);
    assert!(
        matches!(&refused, Err(CheckError::Mute { place, .. }) if *place == format!("localhost:{port}")),
        "{refused:?}"
    );
}

/// A relay with which every case can be tried: it answers soon for whom the RFC gives 30 seconds, and connects to whoever is near, in clear as well.
fn relay() -> Stage {
    Begun::alone(|config| {
        config.response = Duration::from_secs(2);
        config.clear = true;
    })
}

fn subject(relay: &Stage) -> Subject {
    let path = Path::parse(&relay.uri(), 1).expect("a path");
    Subject {
        roots: relay.authority.roots(),
        login: Some(("alice".to_owned(), "secret of alice".to_owned().into())),
        ..Subject::new(path)
    }
}

/// Show 2 of the issue: all pass on our relay, with credentials and without.
#[tokio::test(flavor = "multi_thread")]
async fn our_relay_passes() {
    let relay = relay();
    let subject = subject(&relay);
    let verdicts = check(subject.clone(), |_| ()).await.expect("it is there");
    assert_eq!(failed(&verdicts), []);
    assert_eq!(not_applicable(&verdicts), [""; 0]);
    let alone = check(Subject { login: None, ..subject }, |_| ()).await.expect("it is there");
    assert_eq!(failed(&alone), []);
    assert!(not_applicable(&alone).contains(&"forwarding"));
    // Nobody has shown that it could have come.
    assert!(not_applicable(&alone).contains(&"open-relay-method"));
}

/// S1-L7: what does not come from a relay that could not have sent it is no pass; a refusal is.
#[tokio::test(flavor = "multi_thread")]
async fn a_trap_out_of_reach_shows_nothing() {
    let relay = Begun::alone(|config| config.response = Duration::from_secs(2));
    let subject = Subject { grace: Duration::from_millis(100), ..subject(&relay) };
    let verdicts = check(subject, |_| ()).await.expect("it is there");
    assert_eq!(failed(&verdicts), []);
    assert_eq!(not_applicable(&verdicts), ["open-relay-method", "stolen-uri", "forged-from"]);
}

/// RFC 4976 §9.1, S1-04: a relay that proves nothing is checked, and is told nothing of a login; a fingerprint proves it as well as a name does.
#[tokio::test(flavor = "multi_thread")]
async fn a_login_is_for_a_proven_relay_only() {
    let (relay, other) = (relay(), Authority::new("other.example"));
    let subject = Subject { roots: other.roots(), grace: Duration::from_millis(100), ..subject(&relay) };
    let verdicts = check(subject.clone(), |_| ()).await.expect("it is there");
    let names: Vec<_> = failed(&verdicts).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["certificate"]);
    let kept_back = verdicts.iter().find(|it| it.name == "login").map(|it| it.outcome.clone());
    assert!(
        matches!(&kept_back, Some(Outcome::NotApplicable(why)) if why.contains("kept back")),
        "{kept_back:?}"
    );
    assert!(!relay.accounts.asked().contains(&"alice".to_owned()), "{:?}", relay.accounts.asked());

    let wrong = Fingerprint::of(Hash::Sha256, b"another certificate");
    let mistaken = Subject { fingerprints: vec![wrong], ..subject.clone() };
    let verdicts = check(mistaken, |_| ()).await.expect("it is there");
    assert!(failed(&verdicts).iter().any(|(name, _)| *name == "login"));
    assert!(!relay.accounts.asked().contains(&"alice".to_owned()), "{:?}", relay.accounts.asked());

    let shown = OwnCertificate::read(&relay.authority.pair()).expect("a certificate").der();
    let known = Subject { fingerprints: vec![Fingerprint::of(Hash::Sha256, &shown)], ..subject };
    let verdicts = check(known, |_| ()).await.expect("it is there");
    assert_eq!(failed(&verdicts), []);
    assert!(relay.accounts.asked().contains(&"alice".to_owned()));

    let path = Path::parse(&format!("msrp://127.0.0.1:{};tcp", relay.port), 1).expect("a path");
    let clear = Subject { login: Some(("alice".to_owned(), "x".to_owned().into())), ..Subject::new(path) };
    assert!(matches!(check(clear, |_| ()).await, Err(CheckError::Clear)), "RFC 4976 §9.1: not in clear");
}

/// A relay as many are: it asks for credentials and does not need them.
async fn carries_anything(mut stream: TcpStream) {
    let mut parser = Parser::new(Limits::DEFAULT);
    let mut buffer = vec![0; 65_536];
    let mut frame = Vec::new();
    loop {
        let Ok(count @ 1..) = stream.read(&mut buffer).await else { return };
        parser.push(&buffer[..count]);
        frame.extend_from_slice(&buffer[..count]);
        let mut head = None;
        loop {
            match parser.next() {
                Ok(Some(Item::Head(found))) => {
                    head = Some(found);
                    continue;
                }
                Ok(Some(Item::End(_))) => {}
                Ok(Some(Item::Data(_) | Item::Bad(_))) => continue,
                Ok(None) => break,
                Err(_) => return,
            }
            let Some(head) = head.as_ref().filter(|head| head.method().is_some()) else { continue };
            let (tid, to) = (head.id, head.from.first().map(ToString::to_string).unwrap_or_default());
            let from = head.to.first().map(ToString::to_string).unwrap_or_default();
            let (status, field) = match head.method() {
                Some(Method::Auth) => (
                    "401 Unauthorized",
                    "WWW-Authenticate: Digest realm=\"a\", qop=\"auth\", nonce=\"b\"\r\n",
                ),
                _ => ("200 OK", ""),
            };
            let answer = format!(
                "MSRP {tid} {status}\r\nTo-Path: {to}\r\nFrom-Path: {from}\r\n{field}-------{tid}$\r\n"
            );
            if stream.write_all(answer.as_bytes()).await.is_err() {
                return;
            }
            let next = head.to.uris().get(1).and_then(|uri| Some((uri.host().to_string(), uri.port()?)));
            if let Some((host, port)) = next
                && let Ok(mut onward) = TcpStream::connect((host.as_str(), port)).await
            {
                drop(onward.write_all(&frame).await);
            }
            frame.clear();
        }
    }
}

/// S1-L7, S1-R4: an open relay is named as one.
#[tokio::test(flavor = "multi_thread")]
async fn an_open_relay_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(carries_anything(stream));
        }
    });
    let path = Path::parse(&format!("msrp://127.0.0.1:{port};tcp"), 1).expect("a path");
    let subject = Subject { patience: Duration::from_secs(2), ..Subject::new(path) };
    let verdicts = check(subject, |_| ()).await.expect("it is there");
    let failed = failed(&verdicts);
    let why = |name: &str| failed.iter().find(|(failed, _)| *failed == name).map(|(_, why)| why.as_str());
    for name in ["open-relay", "open-relay-hops", "open-relay-id"] {
        assert!(why(name).is_some_and(|why| why.starts_with("open relay: ")), "{name}: {failed:?}");
    }
    for name in ["auth-tls-only", "unknown-uri", "silence", "not-ours"] {
        assert!(why(name).is_some(), "{name}: {failed:?}");
    }
    // What it does well is not held against it.
    for name in ["challenge", "challenge-content", "challenge-split", "wrong-password"] {
        assert!(why(name).is_none(), "{name}: {failed:?}");
    }
    assert!(not_applicable(&verdicts).contains(&"tls-1.0"));
}

/// Nobody there is an error, not a verdict.
#[tokio::test]
async fn nobody_there() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    drop(listener);
    let path = Path::parse(&format!("msrps://127.0.0.1:{port};tcp"), 1).expect("a path");
    assert!(check(Subject::new(path), |_| ()).await.is_err());
}
