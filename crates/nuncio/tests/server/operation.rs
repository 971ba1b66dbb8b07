//! `/metrics`, `/healthz`, sessions, files.

use std::collections::HashMap;
use std::os::unix::fs::PermissionsExt as _;

use nuncio_client::{Reason, Why};
use nuncio_xmpp::error::StreamCondition;

use crate::harness::{Place, chat, connect, disconnected, online, ping, receive};

/// Checks a text by the OpenMetrics specification (version 1.0.0) as far as its line grammar and its families go; returns the samples.
fn openmetrics(text: &str) -> HashMap<String, f64> {
    let name = |name: &str| {
        name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    let mut lines = text.strip_suffix("# EOF\n").expect("ends with # EOF").lines();
    let mut families: HashMap<&str, &str> = HashMap::new();
    let mut current = "";
    let mut samples = HashMap::new();
    for line in &mut lines {
        if let Some(comment) = line.strip_prefix("# ") {
            let mut words = comment.splitn(3, ' ');
            let (kind, family) = (words.next().unwrap(), words.next().unwrap());
            assert!(name(family), "{line}");
            if family != current {
                assert!(!families.contains_key(family), "{family} is interleaved");
                current = family;
            }
            match kind {
                "TYPE" => {
                    let kind = words.next().unwrap();
                    assert!(["counter", "gauge", "histogram", "info", "unknown"].contains(&kind), "{line}");
                    families.insert(family, kind);
                }
                "HELP" => assert!(words.next().is_some_and(|help| !help.is_empty())),
                "UNIT" => assert!(family.ends_with(&format!("_{}", words.next().unwrap())), "{line}"),
                _ => panic!("{line}"),
            }
            continue;
        }
        let (labelled, value) = line.rsplit_once(' ').expect("a sample");
        let sample = labelled.split('{').next().unwrap();
        assert!(name(sample), "{line}");
        if let Some(labels) = labelled.strip_prefix(sample).filter(|labels| !labels.is_empty()) {
            let labels =
                labels.strip_prefix('{').and_then(|labels| labels.strip_suffix('}')).expect("labels");
            for label in labels.split(',') {
                let (key, value) = label.split_once('=').expect("a label");
                assert!(
                    name(key) && value.starts_with('"') && value.ends_with('"') && value.len() >= 2,
                    "{line}"
                );
            }
        }
        let suffix = sample.strip_prefix(current).unwrap_or_else(|| panic!("{sample} is not of {current}"));
        let suffixes: &[&str] = match families[current] {
            "counter" => &["_total", "_created"],
            "histogram" => &["_bucket", "_count", "_sum", "_created"],
            "info" => &["_info"],
            _ => &[""],
        };
        assert!(suffixes.contains(&suffix), "{line}");
        assert!(
            samples.insert(labelled.to_owned(), value.parse().expect("a number")).is_none(),
            "{line} twice"
        );
    }
    samples
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_are_openmetrics_and_count() {
    let place = Place::new(&[]);
    let server = place.serve();
    place.accounts(&["juliet", "romeo"]);
    let (head, body) = server.get("/metrics");
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert!(
        head.to_lowercase().contains("content-type: application/openmetrics-text; version=1.0.0"),
        "{head}"
    );
    let before = openmetrics(&body);
    let mut juliet = online(server.client("juliet")).await;
    let mut romeo = online(server.client("romeo")).await;
    juliet.send(&chat("romeo@localhost", "hello")).await.unwrap();
    receive(&mut romeo).await;
    let after = openmetrics(&server.get("/metrics").1);
    let grown = |name: &str| after[name] - before.get(name).copied().unwrap_or(0.0);
    assert!((grown("nuncio_logins_total") - 2.0).abs() < 0.1);
    assert!((grown("nuncio_sessions") - 2.0).abs() < 0.1);
    assert!((grown("nuncio_messages_total") - 1.0).abs() < 0.1);
    assert!(
        after
            .iter()
            .any(|(name, value)| name.starts_with("nuncio_net_tls_handshakes_total") && *value >= 2.0)
    );
    // Nothing of a peer becomes a label.
    assert!(!after.keys().any(|name| name.contains("juliet") || name.contains("127.0.0.1")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health() {
    let place = Place::new(&[]);
    let server = place.serve();
    let (head, _) = server.get("/healthz");
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    let (head, _) = server.get("/nothing");
    assert!(head.starts_with("HTTP/1.1 404"), "{head}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_are_listed_and_ended() {
    let place = Place::new(&[]);
    let server = place.serve();
    place.accounts(&["juliet", "romeo"]);
    let mut juliet = online(server.client("juliet")).await;
    let mut second = online(server.client("juliet")).await;
    let mut romeo = online(server.client("romeo")).await;
    let list = place.must(&["session", "list"], "");
    for session in [&juliet, &second, &romeo] {
        let line = list.lines().find(|line| line.contains(session.jid().unwrap().as_str())).expect("a line");
        assert!(line.contains("SCRAM-SHA-512-PLUS"), "{line}");
    }
    place.must(&["session", "end", juliet.jid().unwrap().as_str()], "");
    let end = disconnected(&mut juliet).await;
    assert!(matches!(&end.why, Why::Stream(Reason::PeerError(_))) && end.clean, "{:?}", end.why);
    ping(&mut second).await;
    place.must(&["session", "end", "juliet@localhost"], "");
    disconnected(&mut second).await;
    ping(&mut romeo).await;
    let nobody = place.run(&["session", "end", "juliet@localhost"], "");
    assert_eq!(nobody.status.code(), Some(1));
}

/// What is secret is its owner's alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_are_private() {
    let place = Place::new(&[]);
    let server = place.serve();
    place.accounts(&["juliet"]);
    connect(server.client("juliet")).await;
    let mode = |path: &str| std::fs::metadata(place.data().join(path)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(""), 0o700);
    for secret in ["control.sock", "tls/ca-key.pem", "tls/host-key.pem", "store/store.db"] {
        assert_eq!(mode(secret) & 0o077, 0, "{secret}");
    }
}

/// A stanza over the limit ends its own stream, by the RFC's condition, and is counted; others are not disturbed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stanza_over_the_limit_ends_its_stream_alone() {
    let place = Place::new(&["limits.stanza_bytes = 10000"]);
    let server = place.serve();
    place.accounts(&["juliet", "romeo"]);
    let mut juliet = online(server.client("juliet")).await;
    let mut romeo = online(server.client("romeo")).await;
    romeo.send(&chat("juliet@localhost", &"x".repeat(9_000))).await.unwrap();
    assert_eq!(receive(&mut juliet).await.body_text().unwrap().len(), 9_000);
    romeo.send(&chat("juliet@localhost", &"x".repeat(10_001))).await.unwrap();
    let end = disconnected(&mut romeo).await;
    match &end.why {
        Why::Stream(Reason::PeerError(error)) => {
            assert_eq!(error.condition, StreamCondition::PolicyViolation)
        }
        other => panic!("{other:?}"),
    }
    ping(&mut juliet).await;
    let told = server.log.wait(|line| line.contains("bytes of a stanza: more than 10000").then_some(()));
    assert!(told.is_some(), "the log says which budget it was");
}

/// A first start that fails, because a port is in use, is not the first: the next one makes the account.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_first_start_that_failed_is_tried_again() {
    let place = Place::new(&[]);
    let good = std::fs::read_to_string(place.config()).unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let bad = good.replace("listen.http = [\"127.0.0.1:0\"]", &format!("listen.http = [\"{address}\"]"));
    std::fs::write(place.config(), bad).unwrap();
    let refused = place.run(&["serve"], "");
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains(&address.to_string()));
    std::fs::write(place.config(), good).unwrap();
    let server = place.serve();
    assert!(server.said.wait(|line| line.contains("  password  ").then_some(())).is_some());
}
