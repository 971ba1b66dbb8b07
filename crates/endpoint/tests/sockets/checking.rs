//! The checker: on our endpoint, on our relay, and on a relay that carries anything for anybody.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use nuncio_endpoint::Peer;
use nuncio_endpoint::Way;
use nuncio_endpoint::check::{Outcome, Subject, Verdict, check};
use nuncio_msrp::media::AcceptTypes;
use nuncio_msrp::{Item, Limits, Method, Parser, Path};
use nuncio_net::tls::{HostFiles, Peers, TlsHosts, TlsSettings};
use nuncio_net::{Budget, BudgetLimits, Clock, Listener, NetMetrics, OsEntropy};
use nuncio_relay::{Account, Accounts, Boxed, Parts, Relay, RelayConfig};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::common::{Authority, endpoint, listen};

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

/// One user, with one password.
struct One;

impl Accounts for One {
    fn by_name<'a>(&'a self, username: &'a str, _peer: IpAddr) -> Boxed<'a, Option<Account>> {
        let known = (username == "alice").then(|| Account {
            name: "alice".into(),
            password: "secret of alice".to_owned().into(),
            allowed: true,
            seconds: None,
        });
        Box::pin(async move { known })
    }

    fn by_certificate<'a>(&'a self, _addresses: &'a [String]) -> Boxed<'a, Option<Account>> {
        Box::pin(async { None })
    }

    fn may<'a>(&'a self, _account: &'a str) -> Boxed<'a, bool> {
        Box::pin(async { true })
    }

    fn failed(&self, _username: &str, _peer: IpAddr) {}
}

/// Show 2 of the issue: all pass on our relay, with credentials and without.
#[tokio::test(flavor = "multi_thread")]
async fn our_relay_passes() {
    let authority = Authority::new("localhost");
    let settings = TlsSettings {
        hosts: vec![HostFiles {
            domain: "localhost".to_owned(),
            pairs: vec![authority.pair()],
            ..HostFiles::default()
        }],
        default: Some("localhost".to_owned()),
        peers: Peers::Relays,
        ..TlsSettings::default()
    };
    let (tls, _warnings) = TlsHosts::load(settings).expect("certificates");
    let net = Arc::new(NetMetrics::default());
    let budget = Budget::new(BudgetLimits::default(), Arc::clone(&net));
    let listener =
        Listener::bind("msrp", &["127.0.0.1:0".parse().expect("an address")], 64, budget).expect("a port");
    let port = listener.addresses()[0].port();
    let mut config = RelayConfig::new("localhost", port);
    // What the RFC gives 30 seconds to, shown sooner.
    config.response = Duration::from_secs(2);
    config.networks = vec![("127.0.0.0".parse().expect("an address"), 8)];
    config.clear = true;
    let relay = Relay::start(Parts {
        config,
        accounts: Arc::new(One),
        tls: Arc::new(tls),
        collector: None,
        policy: nuncio_dna::Policy::default(),
        entropy: Arc::new(OsEntropy),
        clock: Clock::start(),
        net,
    })
    .expect("a relay");
    let accepting = tokio::spawn(Arc::clone(&relay).accept(listener));
    let path = Path::parse(&format!("msrps://localhost:{port};tcp"), 1).expect("a path");
    let subject = Subject {
        roots: authority.roots(),
        login: Some(("alice".to_owned(), "secret of alice".to_owned().into())),
        ..Subject::new(path)
    };
    let verdicts = check(subject.clone(), |_| ()).await.expect("it is there");
    assert_eq!(failed(&verdicts), []);
    assert_eq!(not_applicable(&verdicts), [""; 0]);
    let alone = check(Subject { login: None, ..subject }, |_| ()).await.expect("it is there");
    assert_eq!(failed(&alone), []);
    assert!(not_applicable(&alone).contains(&"forwarding"));
    accepting.abort();
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
