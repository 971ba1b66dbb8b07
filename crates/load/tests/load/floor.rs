//! The scenarios that know no XMPP, against the relay.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;

use nuncio_load::relay::Relay;
use nuncio_load::{Report, Scenario, Start, Target};
use nuncio_net::tls::bare::{Bare, BareConfig};
use nuncio_net::tls::{Kind, Roots};

/// Runs a scenario against a relay of its own, in this process.
fn at_relay(name: &str, values: &[(&str, &str)], threads: u16) -> Report {
    let folder = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
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
    // The two of a pair come at once here: neither may take the other's place.
    let report = at_relay("idle", &[("connections", "200"), ("warmup", "40"), ("rest", "0.1")], 1);
    let memory = report.memory.unwrap();
    assert_eq!((report.operations, memory.connections), (200, 200));
    assert!(memory.before > 0 && memory.after > 0);
}

/// A client of the relay that blocks.
struct Plain {
    stream: TcpStream,
    tls: Bare,
}

impl Plain {
    fn connect(address: SocketAddr, folder: &Path, says: &str) -> Self {
        let roots = Roots::Files(vec![folder.join("ca.pem")]);
        let config = BareConfig::client(&roots, "localhost", Kind::Direct, false).unwrap();
        let mut plain =
            Self { stream: TcpStream::connect(address).unwrap(), tls: config.connection().unwrap() };
        let mut out = Vec::new();
        plain.tls.read(&mut [], &mut out, |_| {}).unwrap();
        plain.stream.write_all(&out).unwrap();
        while !plain.tls.is_up() {
            plain.read();
        }
        plain.write(says);
        plain
    }

    /// What one read brings; nothing at the end.
    fn read(&mut self) -> Option<String> {
        let (mut buffer, mut out, mut text) = ([0; 4096], Vec::new(), Vec::new());
        let count = self.stream.read(&mut buffer).unwrap();
        let bytes = buffer.get_mut(..count).filter(|bytes| !bytes.is_empty())?;
        let progress = self.tls.read(bytes, &mut out, |chunk| text.extend_from_slice(chunk)).unwrap();
        self.stream.write_all(&out).unwrap();
        (!progress.closed).then(|| String::from_utf8(text).unwrap())
    }

    fn write(&mut self, text: &str) {
        let mut out = Vec::new();
        self.tls.write(text.as_bytes(), &mut out).unwrap();
        self.stream.write_all(&out).unwrap();
    }

    fn hears(&mut self, wanted: &str) {
        let mut heard = String::new();
        while heard.len() < wanted.len() {
            heard.push_str(&self.read().unwrap());
        }
        assert_eq!(heard, wanted);
    }
}

#[test]
fn what_comes_before_the_partner_waits_for_it_and_who_left_is_no_partner() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let relay = runtime.block_on(Relay::bind("127.0.0.1:0".parse().unwrap(), folder.path())).unwrap();
    let address = relay.address().unwrap();
    runtime.spawn(relay.serve());
    for _ in 0..5 {
        let mut one = Plain::connect(address, folder.path(), "pair 7\n");
        one.hears("<ready/>");
        let mut out = Vec::new();
        one.tls.close(&mut out).unwrap();
        one.stream.write_all(&out).unwrap();
        // The relay closes when it has understood.
        assert_eq!(one.read(), None);
    }
    let mut first = Plain::connect(address, folder.path(), "pair 7\nhel");
    first.hears("<ready/>");
    first.write("lo");
    let mut second = Plain::connect(address, folder.path(), "pair 7\n early too");
    second.hears("<ready/>hello");
    first.hears(" early too");
    second.write("and on");
    first.hears("and on");
    drop(second);
    assert_eq!(first.read(), None);
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
