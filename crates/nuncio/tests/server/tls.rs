//! Certificates and sessions of TLS while the server runs.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use nuncio_client::{Client, ClientConfig, Event, Mechanism, PairFiles, Reason, Roots, Session, Why};
use nuncio_net::ca;
use nuncio_xmpp::error::StreamCondition;
use tokio::time::timeout;

use crate::harness::{PATIENCE, Place, connect, disconnected, online, ping, refused, wait};
use crate::raw::Raw;

/// A certificate of another authority, where the server looks for its own.
fn put(place: &Path, name: &str) -> std::path::PathBuf {
    let folder = place.join(name);
    let local = ca::local(&folder, &["localhost".to_owned()]).unwrap();
    std::fs::copy(local.key, place.join("key.pem")).unwrap();
    std::fs::copy(local.chain, place.join("chain.pem")).unwrap();
    local.authority
}

fn believing(config: ClientConfig, authority: &Path) -> ClientConfig {
    ClientConfig { roots: Roots::Files(vec![authority.to_owned()]), ..config }
}

/// SIGHUP and `nuncio reload`: new connections see the new certificate, those that stand go on, and what cannot be used changes nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_are_exchanged_without_a_restart() {
    let place =
        Place::new(&["domain = [{ name = \"localhost\", certificate = \"chain.pem\", key = \"key.pem\" }]"]);
    let one = put(place.path(), "one");
    let mut server = place.serve();
    place.accounts(&["juliet"]);
    let config = server.client("juliet");
    let mut stands = online(believing(config.clone(), &one)).await;

    let two = put(place.path(), "two");
    connect(believing(config.clone(), &one)).await;
    server.signal("HUP");
    assert!(server.log.wait(|line| line.contains(" reloaded").then_some(())).is_some());
    connect(believing(config.clone(), &two)).await;
    assert!(matches!(refused(believing(config.clone(), &one)).await.why, Why::Identity(_)));
    connect(believing(server.direct(config.clone()), &two)).await;
    ping(&mut stands).await;

    let three = put(place.path(), "three");
    place.must(&["reload"], "");
    connect(believing(config.clone(), &three)).await;

    std::fs::write(place.path().join("chain.pem"), "nonsense").unwrap();
    let output = place.run(&["reload"], "");
    assert_eq!(output.status.code(), Some(2), "the configuration is wrong");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains(": domain[].certificate: ") && said.contains("chain.pem"), "{said}");
    connect(believing(config.clone(), &three)).await;
    ping(&mut stands).await;
    server.stop();
}

async fn resumed(session: &mut Session) -> bool {
    wait(session, |event| match event {
        Event::Online(online) => Some(online.resumed),
        Event::Disconnected(end) => panic!("{:?}", end.why),
        _ => None,
    })
    .await
}

/// SASL EXTERNAL (XEP-0178): a certificate with an XmppAddr, by an authority that the operator trusts for clients, is a login; one by
/// another authority is not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_logs_in() {
    let openssl = |folder: &Path, args: &str| {
        let output = Command::new("openssl").args(args.split(' ')).current_dir(folder).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    let make = |folder: &Path, authority: &str, name: &str| {
        let key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
        openssl(
            folder,
            &format!(
                "req -x509 {key} -keyout {authority}.key -out {authority}.pem -days 2 -subj /CN={authority}"
            ),
        );
        openssl(folder, &format!("req -new {key} -keyout {name}.key -out {name}.csr -subj /CN=juliet"));
        let extensions = "basicConstraints=CA:FALSE\nextendedKeyUsage=clientAuth\n\
             subjectAltName=otherName:1.3.6.1.5.5.7.8.5;UTF8:juliet@localhost\n";
        std::fs::write(folder.join("ext"), extensions).unwrap();
        openssl(
            folder,
            &format!(
                "x509 -req -in {name}.csr -CA {authority}.pem -CAkey {authority}.key -CAcreateserial -days 1 -extfile ext -out {name}.pem"
            ),
        );
        PairFiles { chain: folder.join(format!("{name}.pem")), key: folder.join(format!("{name}.key")) }
    };
    let place = Place::new(&["tls.client_authorities = [\"trusted.pem\"]"]);
    let good = make(place.path(), "trusted", "good");
    let bad = make(place.path(), "unknown", "bad");
    let server = place.serve();
    let with = |pair: &PairFiles| {
        let mut config = ClientConfig { certificate: Some(pair.clone()), ..server.client("juliet") };
        config.credentials.password = None;
        config.credentials.certificate = true;
        config
    };
    // There is a certificate before there is an account.
    assert!(matches!(refused(with(&good)).await.why, Why::Stream(Reason::Login(_) | Reason::Failed(_))));
    place.accounts(&["juliet"]);
    for config in [with(&good), server.direct(with(&good))] {
        let session = connect(config).await;
        assert_eq!(session.state().unwrap().login.mechanism, Mechanism::External);
        assert_eq!(session.jid().unwrap().bare().as_str(), "juliet@localhost");
    }
    assert!(matches!(refused(with(&bad)).await.why, Why::Stream(Reason::Login(_) | Reason::Failed(_))));
    // Whoever shows none logs in by password.
    connect(server.client("juliet")).await;
    // The MSRP relay believes the same certificates: AUTH is answered at once, or with a challenge (RFC 4976 §9.2).
    let relay = server.msrp.unwrap();
    let auth = async |pair: &PairFiles| {
        let mut raw = Raw::showing(&server, relay, Some(pair)).await;
        raw.say(&format!(
            "MSRP auth0001 AUTH\r\nTo-Path: msrps://localhost:{};tcp\r\nFrom-Path: msrps://juliet.invalid:1/a;tcp\r\n-------auth0001$\r\n",
            relay.port()
        ));
        (raw.until("-------auth0001$\r\n").await, raw)
    };
    let (granted, kept) = auth(&good).await;
    assert!(granted.contains(" 200 ") && granted.contains("\r\nUse-Path: msrps://localhost:"), "{granted}");
    let (challenged, _) = auth(&bad).await;
    assert!(challenged.contains(" 401 "), "{challenged}");
    place.must(&["account", "disable", "juliet@localhost"], "");
    kept.end().await;
    let (refusal, _) = auth(&good).await;
    assert!(refusal.contains(" 403 "), "{refusal}");
    assert!(matches!(refused(with(&good)).await.why, Why::Stream(Reason::Login(_))));
}

/// S0-27, S0-28: `nuncio reset` ends every stream with `<reset/>`; no TLS session of before is resumed, but sessions of XMPP are.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reset_voids_tickets_and_not_sessions() {
    let place = Place::new(&["timeouts.reset_seconds = 1"]);
    let server = place.serve();
    place.accounts(&["juliet", "romeo"]);
    let mut juliet = online(server.client("juliet")).await;
    // Whoever is not connected is told nothing, and keeps its ticket.
    let away = Client::new(server.client("romeo")).unwrap();
    let login = async || {
        let mut session = away.start();
        timeout(PATIENCE, session.online()).await.unwrap().unwrap();
        let resumed = session.state().unwrap().tls.resumed;
        timeout(PATIENCE, session.close()).await.unwrap();
        resumed
    };
    assert!(!login().await);
    assert!(login().await, "S0-02");
    place.must(&["reset"], "");
    let end = disconnected(&mut juliet).await;
    assert!(
        matches!(&end.why, Why::Stream(Reason::PeerError(error)) if error.condition == StreamCondition::Reset),
        "{:?}",
        end.why
    );
    assert!(end.clean && end.resumable && end.may_retry);
    assert!(!login().await, "a ticket outlived the reset");
    assert!(login().await);
    juliet.reconnect();
    assert!(resumed(&mut juliet).await);
    assert!(!juliet.state().unwrap().tls.resumed);
    ping(&mut juliet).await;
}

/// S0-27: streams are reset one after the other over the window (RFC 6120 §4.3.5), and all clients come back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reset_is_spread() {
    let place = Place::new(&["timeouts.reset_seconds = 2"]);
    let server = place.serve();
    place.accounts(&["juliet"]);
    let mut sessions = Vec::new();
    for _ in 0..4 {
        sessions.push(online(server.client("juliet")).await);
    }
    let (sender, mut ends) = tokio::sync::mpsc::unbounded_channel();
    place.must(&["reset"], "");
    for mut session in sessions {
        let sender = sender.clone();
        tokio::spawn(async move {
            disconnected(&mut session).await;
            sender.send(Instant::now()).unwrap();
            session.reconnect();
            assert!(resumed(&mut session).await);
            ping(&mut session).await;
            drop(sender);
        });
    }
    drop(sender);
    let mut times = Vec::new();
    while let Some(at) = timeout(PATIENCE, ends.recv()).await.expect("in time") {
        times.push(at);
    }
    assert_eq!(times.len(), 4);
    let apart: Vec<_> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(apart.iter().all(|apart| *apart > Duration::from_millis(200)), "{apart:?}");
    assert!(times[3] - times[0] < Duration::from_secs(4), "{apart:?}");
    crate::harness::until("all are back", || server.metric("nuncio_resumed_total") > 3.5).await;
}
