//! Both roles of TLS by this crate: STARTTLS, client certificates, hand-shakes that fail, and a hostile server.

use std::net::TcpListener as StdListener;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use nuncio_sansio::{Eof, Output, TlsFacts};
use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, OtherNameValue,
    SanType,
};
use rustls::crypto::{CipherSuiteCommon, CryptoProvider};
use rustls::{SupportedCipherSuite, Tls12CipherSuite, Tls13CipherSuite};
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio::net::TcpStream;

use super::toy::{Ear, Heard, Made, Openssl, Order, PLENTY, Toy, host};
use crate::tls::{Connector, PairFiles, Roots, TlsHosts, TlsSettings, end_point_binding, xmpp_addresses};
use crate::{Clock, NetMetrics, Options, Security, Settings, drive};

type Out = Output<String, Heard>;

pub(super) fn begin(domain: &str) -> Vec<Out> {
    vec![Output::Send(Bytes::from(format!("starttls {domain}\n")))]
}

pub(super) struct Ends {
    pub(super) server: Ear,
    pub(super) client: Ear,
    metrics: Arc<NetMetrics>,
}

/// Joins a server and a client that both speak TLS.
pub(super) fn join(
    hosts: &Arc<TlsHosts>,
    connector: &Arc<Connector>,
    name: &str,
    greeting: Vec<Out>,
    direct: bool,
) -> Ends {
    let (one, two) = duplex(4096);
    let metrics = Arc::new(NetMetrics::default());
    let mut options = Options::new(Arc::new(Settings::new(Clock::start(), Arc::clone(&metrics))));
    options.direct_tls = direct;
    options.security = Security::Server(Arc::clone(hosts));
    let (server_host, server) = host(PLENTY);
    tokio::spawn(drive(one, Toy::default(), server_host, options.clone()));
    options.security = Security::Client { connector: Arc::clone(connector), server_name: name.to_owned() };
    options.settings = Arc::new(Settings::new(Clock::start(), Arc::default()));
    let (client_host, client) = host(PLENTY);
    tokio::spawn(drive(two, Toy::greeting(greeting), client_host, options));
    Ends { server, client, metrics }
}

pub(super) async fn secured(ear: &mut Ear) -> TlsFacts {
    loop {
        match ear.next().await {
            Heard::Tls(facts) => return *facts,
            Heard::Line(_) => {}
            other => panic!("{other:?} instead of TLS"),
        }
    }
}

pub(super) fn hosts(settings: TlsSettings) -> Arc<TlsHosts> {
    Arc::new(TlsHosts::load(settings).unwrap().0)
}

fn one(made: &Made) -> TlsSettings {
    TlsSettings {
        hosts: vec![made.host("a.example")],
        default: Some("a.example".into()),
        ..TlsSettings::default()
    }
}

fn believing(made: &Made, own: Option<&PairFiles>) -> Arc<Connector> {
    Arc::new(Connector::new(&Roots::Files(vec![made.ca.authority.clone()]), own).unwrap())
}

/// The stream's `to` chooses the certificate, whatever SNI says (here the client believes only b's authority, and names b). The
/// echo in clear comes before TLS; both ends compute the same bindings; the second connection is resumed (S0-02), unless either end
/// forgot (S0-28).
#[tokio::test]
async fn starttls_is_chosen_by_the_stream() {
    let (a, b) = (Made::new("a.example"), Made::new("b.example"));
    let hosts = hosts(TlsSettings {
        hosts: vec![a.host("a.example"), b.host("b.example")],
        default: Some("a.example".to_owned()),
        ..TlsSettings::default()
    });
    let connector = believing(&b, None);
    for (round, resumed) in [(0, false), (1, true), (2, false), (3, true), (4, false)] {
        match round {
            2 => hosts.reset_tickets().unwrap(),
            4 => connector.forget_sessions(),
            _ => {}
        }
        let mut ends = join(&hosts, &connector, "b.example", begin("b.example"), false);
        let (server, client) = (secured(&mut ends.server).await, secured(&mut ends.client).await);
        assert_eq!((server.resumed, client.resumed), (resumed, resumed), "round {round}");
        assert!(server.exporter.is_some());
        assert_eq!(server.exporter, client.exporter);
        assert!(server.server_end_point.is_some());
        assert_eq!(server.server_end_point, client.server_end_point);
        assert_eq!(server.server_name.as_deref(), Some("b.example"));
        // The ticket comes with the first bytes.
        ends.client.orders.send(Order::Send(Bytes::from_static(b"hello\n"))).await.unwrap();
        assert!(matches!(ends.client.next().await, Heard::Line(line) if line == "echo hello"));
    }
    // The `to` of another host: its certificate comes, which this client does not believe.
    let mut ends = join(&hosts, &connector, "b.example", begin("a.example"), false);
    while !matches!(ends.client.next().await, Heard::Eof(Eof::Reset)) {}
    while !matches!(ends.server.next().await, Heard::Eof(Eof::Reset)) {}
    assert_eq!(ends.metrics.handshakes("none", "failed"), 1);
}

/// A name that the certificate is not for is refused by the client.
#[tokio::test]
async fn the_server_must_prove_its_name() {
    let a = Made::new("a.example");
    let hosts = hosts(TlsSettings {
        hosts: vec![a.host("a.example")],
        default: Some("a.example".into()),
        ..TlsSettings::default()
    });
    let connector = believing(&a, None);
    for (name, fine) in [
        ("a.example", true),
        ("localhost", true),
        ("127.0.0.1", true),
        ("::1", true),
        ("evil.example", false),
    ] {
        let mut ends = join(&hosts, &connector, name, Vec::new(), true);
        let heard = ends.client.next().await;
        assert_eq!(matches!(heard, Heard::Tls(_)), fine, "{name}: {heard:?}");
    }
}

pub(super) fn client_pair(made: &Made, name: &str, addresses: &[&str]) -> PairFiles {
    let key = KeyPair::generate().unwrap();
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority_key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.subject_alt_names.push(SanType::DnsName(Ia5String::try_from("other.example").unwrap()));
    for address in addresses {
        let kind = vec![1, 3, 6, 1, 5, 5, 7, 8, 5];
        params
            .subject_alt_names
            .push(SanType::OtherName((kind, OtherNameValue::Utf8String((*address).to_owned()))));
    }
    let leaf = params.signed_by(&key, &Issuer::from_params(&authority, &authority_key)).unwrap();
    assert_eq!(xmpp_addresses(leaf.der()), addresses);
    let pair =
        PairFiles { chain: made.path(&format!("{name}.pem")), key: made.path(&format!("{name}-key.pem")) };
    std::fs::write(&pair.chain, leaf.pem()).unwrap();
    std::fs::write(&pair.key, key.serialize_pem()).unwrap();
    let roots = authority.self_signed(&authority_key).unwrap().pem();
    std::fs::write(made.path(&format!("{name}-ca.pem")), roots).unwrap();
    pair
}

/// A certificate is asked for where configured, never demanded, and judged on every connection, resumed ones included (S0-02).
#[tokio::test]
async fn client_certificates_are_judged_later() {
    let a = Made::new("a.example");
    let known = client_pair(&a, "known", &["juliet@a.example", "juliette@a.example"]);
    let stranger = client_pair(&a, "stranger", &["juliet@a.example"]);
    let mut one = a.host("a.example");
    one.request_client_certificate = true;
    let settings = TlsSettings {
        hosts: vec![one],
        default: Some("a.example".into()),
        client_roots: vec![a.path("known-ca.pem")],
        ..TlsSettings::default()
    };
    let hosts = hosts(settings.clone());

    let connector = believing(&a, None);
    let mut ends = join(&hosts, &connector, "a.example", Vec::new(), true);
    assert!(secured(&mut ends.server).await.client_certificate.is_none());

    for (pair, trusted) in [(&known, true), (&stranger, false)] {
        let connector = believing(&a, Some(pair));
        for resumed in [false, true] {
            let mut ends = join(&hosts, &connector, "a.example", Vec::new(), true);
            let facts = secured(&mut ends.server).await;
            let shown = facts.client_certificate.unwrap();
            assert_eq!((facts.resumed, shown.trusted), (resumed, trusted));
            assert_eq!(shown.chain.len(), 1);
            assert_eq!(shown.xmpp_addresses[0], "juliet@a.example");
            ends.client.next().await;
            ends.client.orders.send(Order::Send(Bytes::from_static(b"hello\n"))).await.unwrap();
            assert!(matches!(ends.client.next().await, Heard::Line(_)));
        }
    }
    // An authority that is no longer believed: the same session is resumed and judged anew.
    let connector = believing(&a, Some(&known));
    for (roots, trusted) in [(vec![a.path("known-ca.pem")], true), (Vec::new(), false)] {
        hosts.replace(TlsSettings { client_roots: roots, ..settings.clone() }).unwrap();
        let mut ends = join(&hosts, &connector, "a.example", Vec::new(), true);
        let facts = secured(&mut ends.server).await;
        assert_eq!((facts.resumed, facts.client_certificate.unwrap().trusted), (!trusted, trusted));
        ends.client.next().await;
        ends.client.orders.send(Order::Send(Bytes::from_static(b"hello\n"))).await.unwrap();
        assert!(matches!(ends.client.next().await, Heard::Line(_)));
    }

    // Not asked for: not shown.
    let plain = TlsSettings { hosts: vec![a.host("a.example")], ..settings };
    let hosts = self::hosts(plain);
    let mut ends = join(&hosts, &connector, "a.example", Vec::new(), true);
    assert!(secured(&mut ends.server).await.client_certificate.is_none());
}

/// RFC 5929 §4.1: the hash follows the signature; where that names none, there is no binding.
#[test]
fn end_point_bindings_follow_the_signature() {
    for (algorithm, length) in [
        (&rcgen::PKCS_ECDSA_P256_SHA256, Some(32)),
        (&rcgen::PKCS_ECDSA_P384_SHA384, Some(48)),
        (&rcgen::PKCS_ED25519, None),
    ] {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let made = CertificateParams::new(vec!["a.example".to_owned()]).unwrap().self_signed(&key).unwrap();
        assert_eq!(end_point_binding(made.der()).map(|binding| binding.len()), length);
    }
    assert_eq!(end_point_binding(b"nonsense"), None);
    assert!(xmpp_addresses(b"nonsense").is_empty());
}

/// Of several certificates, the first that the client can verify is shown.
#[test]
fn a_host_may_have_two_kinds_of_key() {
    let a = Made::new("a.example");
    let key = KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let made = CertificateParams::new(vec!["a.example".to_owned()]).unwrap().self_signed(&key).unwrap();
    let first = PairFiles { chain: a.path("ed.pem"), key: a.path("ed-key.pem") };
    std::fs::write(&first.chain, made.pem()).unwrap();
    std::fs::write(&first.key, key.serialize_pem()).unwrap();
    let mut both = a.host("a.example");
    both.pairs.insert(0, first);
    let settings =
        TlsSettings { hosts: vec![both], default: Some("a.example".into()), ..TlsSettings::default() };
    let server = super::toy::Server::new(hosts(settings), true);
    for (algorithms, has) in [("ed25519", "sigalg: ED25519"), ("ECDSA+SHA256", "sigalg: ecdsa-with-SHA256")] {
        let mut client = Openssl::client(server.address, &["-sigalgs", algorithms]);
        client.echo("hello");
        let seen = client.quit();
        assert!(seen.contains(has), "{seen}");
    }
}

/// A hand-shake has its time, from its beginning; then the connection is gone and the host knows.
#[tokio::test(start_paused = true)]
async fn a_slow_handshake_ends() {
    let a = Made::new("a.example");
    let settings = TlsSettings {
        hosts: vec![a.host("a.example")],
        default: Some("a.example".into()),
        ..TlsSettings::default()
    };
    let (mut peer, io) = duplex(1024);
    let (toy_host, mut ear) = host(PLENTY);
    let metrics = Arc::new(NetMetrics::default());
    let mut options = Options::new(Arc::new(Settings::new(Clock::start(), Arc::clone(&metrics))));
    options.direct_tls = true;
    options.security = Security::Server(hosts(settings));
    tokio::spawn(drive(io, Toy::default(), toy_host, options));
    let start = tokio::time::Instant::now();
    // One byte every three seconds of what looks like a ClientHello.
    for byte in [22, 3, 1] {
        peer.write_all(&[byte]).await.unwrap();
        tokio::time::sleep(Duration::from_secs(3)).await;
    }
    assert!(matches!(ear.next().await, Heard::Eof(Eof::Reset)));
    assert_eq!(start.elapsed().as_secs(), 10);
    assert!(matches!(ear.next().await, Heard::Closed));
    assert_eq!(metrics.handshakes("none", "timeout"), 1);
}

/// What is no TLS at all gets an alert and the end.
#[tokio::test(start_paused = true)]
async fn no_tls_at_all() {
    let a = Made::new("a.example");
    let settings = TlsSettings {
        hosts: vec![a.host("a.example")],
        default: Some("a.example".into()),
        ..TlsSettings::default()
    };
    let (mut peer, io) = duplex(1024);
    let (toy_host, mut ear) = host(PLENTY);
    let mut options = Options::new(Arc::new(Settings::new(Clock::start(), Arc::default())));
    options.direct_tls = true;
    options.security = Security::Server(hosts(settings));
    tokio::spawn(drive(io, Toy::default(), toy_host, options));
    peer.write_all(b"<stream:stream xmlns='jabber:client'>").await.unwrap();
    let mut answer = Vec::new();
    peer.read_to_end(&mut answer).await.unwrap();
    assert_eq!(answer.first(), Some(&21), "an alert, not XML: {answer:?}");
    assert!(matches!(ear.next().await, Heard::Eof(Eof::Reset)));
}

/// S2-04, the initiating role: a server that sends a HelloRequest on TLS 1.2 loses us.
#[test]
fn s2_04_a_hello_request_ends_the_connection() {
    let a = Made::new("a.example");
    // The system picks a port that nobody else gets for a while.
    let port = StdListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let address = format!("127.0.0.1:{port}");
    let (chain, key) = (a.ca.chain.to_str().unwrap(), a.ca.key.to_str().unwrap());
    let mut server =
        Openssl::run(&["s_server", "-accept", &address, "-cert", chain, "-key", key, "-tls1_2", "-msg"]);
    server.expect("ACCEPT");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let metrics = Arc::new(NetMetrics::default());
    let mut options = Options::new(Arc::new(Settings::new(Clock::start(), Arc::clone(&metrics))));
    options.direct_tls = true;
    options.security = Security::Client { connector: believing(&a, None), server_name: "a.example".into() };
    let (toy_host, mut ear) = host(PLENTY);
    let toy = Toy::greeting(vec![Output::Send(Bytes::from_static(b"here I am\n"))]);
    runtime.spawn(async move {
        let stream = TcpStream::connect(address).await.unwrap();
        drive(stream, toy, toy_host, options).await
    });
    assert!(matches!(ear.next_blocking(), Heard::Tls(_)));
    server.expect("here I am");
    server.send("r");
    let heard = ear.until_closed();
    assert!(matches!(heard.last(), Some(Heard::Eof(Eof::Reset))), "{heard:?}");
    assert_eq!(metrics.renegotiations(), 1);
    server.kill();
}

/// Much at once in both directions through a narrow pipe: every byte arrives, in order, and nothing is stuck.
#[tokio::test(start_paused = true)]
async fn much_through_little() {
    let a = Made::new("a.example");
    let hosts = hosts(one(&a));
    let connector = believing(&a, None);
    let mut ends = join(&hosts, &connector, "a.example", Vec::new(), true);
    secured(&mut ends.server).await;
    secured(&mut ends.client).await;
    let line: String = (0..60_000).map(|number| format!("{number:x},")).collect();
    for _ in 0..2 {
        let bytes = Bytes::from(format!("{line}\n"));
        ends.client.orders.send(Order::Send(bytes.clone())).await.unwrap();
        ends.server.orders.send(Order::Send(bytes)).await.unwrap();
    }
    let (said, echo) = (line.clone(), format!("echo {line}"));
    for ear in [&mut ends.server, &mut ends.client] {
        let (mut lines, mut echoes) = (0, 0);
        while lines + echoes < 4 {
            match ear.next().await {
                Heard::Line(heard) if heard == said => lines += 1,
                Heard::Line(heard) if heard == echo => echoes += 1,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!((lines, echoes), (2, 2));
    }
}

/// S2-06: when a key has been used for as many records as it may be, TLS 1.3 changes it and the stream goes on. The limit is
/// lowered to a few records here; TLS 1.2, which cannot change keys, shows that it is in force.
#[tokio::test(start_paused = true)]
async fn s2_06_keys_are_changed_before_they_wear_out() {
    const LIMIT: u64 = 16;
    let a = Made::new("a.example");
    let hosts = hosts(one(&a));
    let mut provider = CryptoProvider::clone(&crate::tls::provider());
    let lowered = |common: &CipherSuiteCommon| CipherSuiteCommon {
        suite: common.suite,
        hash_provider: common.hash_provider,
        confidentiality_limit: LIMIT,
    };
    for (tls13, lasts) in [(true, true), (false, false)] {
        provider.cipher_suites = crate::tls::provider()
            .cipher_suites
            .iter()
            .filter_map(|suite| match suite {
                SupportedCipherSuite::Tls13(suite) if tls13 => {
                    Some(SupportedCipherSuite::Tls13(Box::leak(Box::new(Tls13CipherSuite {
                        common: lowered(&suite.common),
                        hkdf_provider: suite.hkdf_provider,
                        aead_alg: suite.aead_alg,
                        quic: None,
                    }))))
                }
                SupportedCipherSuite::Tls12(suite) if !tls13 => {
                    Some(SupportedCipherSuite::Tls12(Box::leak(Box::new(Tls12CipherSuite {
                        common: lowered(&suite.common),
                        prf_provider: suite.prf_provider,
                        kx: suite.kx,
                        sign: suite.sign,
                        aead_alg: suite.aead_alg,
                    }))))
                }
                _ => None,
            })
            .collect();
        let roots = Roots::Files(vec![a.ca.authority.clone()]);
        let connector = Arc::new(Connector::with(&roots, None, &Arc::new(provider.clone())).unwrap());
        let mut ends = join(&hosts, &connector, "a.example", Vec::new(), true);
        secured(&mut ends.client).await;
        let mut echoes = 0;
        for number in 0..4 * LIMIT {
            let line = Bytes::from(format!("{number}\n"));
            if ends.client.orders.send(Order::Send(line)).await.is_err() {
                break;
            }
            match ends.client.next().await {
                Heard::Line(line) => assert_eq!(line, format!("echo {number}")),
                _ => break,
            }
            echoes += 1;
        }
        assert_eq!(echoes == 4 * LIMIT, lasts, "{echoes}");
        assert_eq!(ends.metrics.renegotiations(), 0);
    }
}
