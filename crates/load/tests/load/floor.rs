//! The scenarios that know no XMPP, against the relay.

use std::path::Path;

use nuncio_load::relay::Relay;
use nuncio_load::{Report, Scenario, Start, Target};

/// Runs a scenario against a relay of its own, in this process.
fn at_relay(name: &str, values: &[(&str, &str)], threads: u16) -> Report {
    let folder = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let relay = runtime.block_on(Relay::bind("127.0.0.1:0".parse().unwrap(), folder.path())).unwrap();
    let target = target(&relay, folder.path(), threads);
    runtime.spawn(relay.serve());
    nuncio_load::run(&Scenario::named(name, values).unwrap(), &target).unwrap()
}

fn target(relay: &Relay, folder: &Path, threads: u16) -> Target {
    let address = relay.address().unwrap();
    let mut target = Target::new("relay", address, "localhost", vec![folder.join("ca.pem")]);
    target.start = Start::Relay;
    target.threads = threads;
    target.process = Some(std::process::id());
    target
}

#[test]
fn pairs_talk_and_nothing_is_lost() {
    for (window, together, body, threads) in
        [("1", "1", "26", 1), ("10", "1", "100", 2), ("10", "10", "100", 1), ("7", "3", "65536", 1)]
    {
        let values = [
            ("pairs", "3"),
            ("window", window),
            ("together", together),
            ("body", body),
            ("seconds", "0.2"),
            ("warmup", "0.1"),
            ("bystanders", "2"),
        ];
        let report = at_relay("chat", &values, threads);
        assert!(report.operations > 10, "{report:?}");
        assert_eq!((report.lost, report.duplicates), (0, 0));
        assert!(report.latency.unwrap().p50 > 0.0);
        assert!(report.generator_ns > 0.0);
        assert!(report.server.unwrap().per_operation_ns > 0.0);
    }
}

#[test]
fn logins_are_counted_and_timed() {
    let report = at_relay("login", &[("logins", "20"), ("concurrency", "4")], 1);
    assert_eq!((report.operations, report.operation.as_str()), (20, "login"));
    assert!(report.latency.unwrap().max > 0.0);
}

#[test]
fn idle_connections_are_weighed() {
    let report = at_relay("idle", &[("connections", "20"), ("warmup", "4"), ("rest", "0.1")], 1);
    let memory = report.memory.unwrap();
    assert_eq!((report.operations, memory.connections), (20, 20));
    assert!(memory.before > 0 && memory.after > 0);
}

#[test]
fn the_relay_has_no_accounts() {
    for name in ["offline", "resume", "presence", "roster", "churn"] {
        let folder = tempfile::tempdir().unwrap();
        let mut target = Target::new(
            "relay",
            "127.0.0.1:1".parse().unwrap(),
            "localhost",
            vec![folder.path().join("ca.pem")],
        );
        target.start = Start::Relay;
        let stopped = nuncio_load::run(&Scenario::named(name, &[]).unwrap(), &target).unwrap_err();
        assert!(stopped.why.contains("relay"), "{}", stopped.why);
    }
}
