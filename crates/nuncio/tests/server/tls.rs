//! Certificates and sessions of TLS while the server runs.

use std::path::Path;

use nuncio_client::{Client, ClientConfig, Event, Reason, Roots, Session, Why};
use nuncio_net::ca;
use nuncio_xmpp::error::StreamCondition;
use tokio::time::timeout;

use crate::harness::{PATIENCE, Place, connect, disconnected, online, ping, refused, wait};

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
    assert!(matches!(refused(believing(config.clone(), &one)).await.why, Why::Tls(_)));
    connect(believing(server.direct(config.clone()), &two)).await;
    ping(&mut stands).await;

    let three = put(place.path(), "three");
    place.must(&["reload"], "");
    connect(believing(config.clone(), &three)).await;

    std::fs::write(place.path().join("chain.pem"), "nonsense").unwrap();
    let output = place.run(&["reload"], "");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("chain.pem"));
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
