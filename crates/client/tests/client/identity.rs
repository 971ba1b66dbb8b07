//! Who the server is (RFC 7712 §3, S3-01, S3-19, S3-21 to S3-25): over real sockets, with real certificates and DNS packets.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nuncio_client::dna::posh::publish;
use nuncio_client::dna::tlsa::{Matching, Selector, Usage};
use nuncio_client::dna::{DaneUse, Domain, Prooftype, Tlsa};
use nuncio_client::xmpp::stanza::{MessageType, message};
use nuncio_client::{
    Client, ClientConfig, DnsConfig, DnsResolver, Event, HttpsConfig, IdentityError, LoginError, Pinned,
    Roots, Server, Start, Validation, Why,
};
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::fake::{Certificates, DOMAIN, EVIL, Fake, HOST, PATIENCE, config, connect, until, wait};

async fn refused(config: ClientConfig) -> (Box<IdentityError>, bool) {
    match timeout(PATIENCE, Client::connect(config)).await.expect("in time") {
        Err(LoginError::Disconnected(end)) => match end.why {
            Why::Identity(error) => (error, end.may_retry),
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

/// The prooftype by which a session got through.
async fn proven(config: ClientConfig) -> Prooftype {
    let session = connect(config).await;
    let online = session.state().unwrap();
    let proof = online.proof().unwrap();
    assert!(online.judgement.is_accepted());
    assert_eq!(proof.domain().as_str(), DOMAIN);
    proof.by()
}

/// S3-01: the session says what proves the server. S3-19: the name asked for is the domain. A resumed TLS session is judged like any other.
#[tokio::test]
async fn s3_01_a_session_knows_its_proof() {
    let certificates = Certificates::new();
    for start in [Start::Tcp, Start::DirectTls] {
        let server = Fake::start(certificates.hosts(DOMAIN), start).await;
        let config = ClientConfig { start, ..config(&certificates, server.address) };
        let client = Client::new(config).unwrap();
        for _ in 0..2 {
            let mut session = client.start();
            let online = timeout(PATIENCE, session.online()).await.unwrap().unwrap();
            assert_eq!(online.proof().unwrap().by(), Prooftype::Pkix);
            timeout(PATIENCE, session.close()).await.unwrap();
        }
        let world = server.world.lock().unwrap();
        assert_eq!(world.tls, [false, true], "the second one is resumed");
        assert!(world.names.iter().all(|name| name.as_deref() == Some(DOMAIN)));
    }
}

/// S3-23: a typed error with the reason, and nothing but a pin for this domain and this certificate goes on. S3-22: whoever is refused hears nothing inside TLS, neither
/// a stream header nor a login.
#[tokio::test]
async fn s3_23_only_an_explicit_pin_goes_on() {
    let certificates = Certificates::new();
    let nobody = Roots::Der(Vec::new());
    let foreign = certificates.authorities(&[EVIL]);
    for (shown, roots, code) in [
        (EVIL, certificates.roots(), "name-mismatch"),
        (HOST, certificates.roots(), "name-mismatch"),
        (DOMAIN, foreign.clone(), "unknown-issuer"),
    ] {
        for start in [Start::Tcp, Start::DirectTls] {
            let server = Fake::start(certificates.hosts(shown), start).await;
            let config =
                ClientConfig { start, roots: roots.clone(), ..config(&certificates, server.address) };
            let (error, may_retry) = refused(config.clone()).await;
            assert_eq!((error.code(), may_retry), (code, false), "{shown}: {error}");
            assert_eq!(error.domain().as_str(), DOMAIN);
            assert!(
                error.to_string().starts_with("the server does not prove that it is that of good.example: ")
            );
            let pin = error.pin().unwrap().clone();
            let with = |pins: Vec<Pinned>| {
                let mut config = config.clone();
                config.proofs.pins = pins;
                config
            };
            let elsewhere = Pinned { domain: Domain::new(EVIL).unwrap(), ..pin.clone() };
            let (error, _) = refused(with(vec![elsewhere])).await;
            assert_eq!(error.code(), code, "a pin for another domain");
            let mut other = pin.clone();
            other.pin.0[0] ^= 1;
            let (error, _) = refused(with(vec![other])).await;
            assert!(error.judgement().findings.iter().any(|finding| finding.reason.code() == "pin-mismatch"));
            {
                let world = server.world.lock().unwrap();
                assert_eq!((world.connections, world.to.len(), world.received.len()), (3, 0, 0));
            }
            assert_eq!(proven(with(vec![pin.clone()])).await, Prooftype::Pin);
            let alone = ClientConfig { roots: nobody.clone(), ..with(vec![pin]) };
            assert_eq!(proven(alone).await, Prooftype::Pin);
        }
    }
    let alone =
        ClientConfig { roots: nobody, ..config(&certificates, SocketAddr::from(([127, 0, 0, 1], 1))) };
    assert!(Client::new(alone).is_err(), "nothing could prove anybody");
}

/// More can be demanded than the usual.
#[tokio::test]
async fn a_policy_is_kept() {
    let certificates = Certificates::new();
    let server = Fake::start(certificates.hosts(DOMAIN), Start::Tcp).await;
    let mut config = config(&certificates, server.address);
    config.proofs.require = "dane or posh".parse().unwrap();
    let (error, _) = refused(config).await;
    assert_eq!(error.judgement().proofs.first().map(|proof| proof.by()), Some(Prooftype::Pkix));
    assert!(server.world.lock().unwrap().to.is_empty());
}

/// What is answered to a question: nothing where there is no such record.
type Records = HashMap<(String, u8), Option<Vec<u8>>>;

/// What a validating name server on loopback says.
#[derive(Clone)]
struct Dns {
    /// Names and types, and the data of their one record; none if that cannot be found out.
    records: Arc<Mutex<Records>>,
    signed: bool,
    /// For how many seconds an answer holds.
    seconds: u8,
    /// How often a TLSA record was asked for.
    asked: Arc<AtomicUsize>,
}

const A: u8 = 1;
const SRV: u8 = 33;
const TLSA: u8 = 52;

impl Dns {
    /// `good.example` is served at [`HOST`] on this port.
    fn delegating(port: u16, signed: bool) -> Self {
        let host: Vec<u8> = HOST
            .split('.')
            .flat_map(|label| [&[label.len() as u8], label.as_bytes()].concat())
            .chain([0])
            .collect();
        let srv = [&[0, 1, 0, 1], &port.to_be_bytes()[..], &host].concat();
        let records = HashMap::from([
            ((format!("_xmpp-client._tcp.{DOMAIN}"), SRV), Some(srv)),
            ((HOST.to_owned(), A), Some(vec![127, 0, 0, 1])),
        ]);
        Self { records: Arc::new(Mutex::new(records)), signed, seconds: 60, asked: Arc::default() }
    }

    /// With this TLSA record, or without an answer.
    fn tlsa(self, port: u16, tlsa: Option<&Tlsa>) -> Self {
        let name = (format!("_{port}._tcp.{HOST}"), TLSA);
        self.records.lock().unwrap().insert(name, tlsa.map(Tlsa::to_rdata));
        self
    }

    /// The reply to a question, written by hand (RFC 1035 §4, RFC 6840 §5.7).
    fn reply(&self, question: &[u8]) -> Vec<u8> {
        let (mut labels, mut at) = (Vec::new(), 12);
        while question[at] > 0 {
            let end = at + 1 + usize::from(question[at]);
            labels.push(String::from_utf8_lossy(&question[at + 1..end]).to_lowercase());
            at = end;
        }
        let end = at + 5;
        let kind = question[at + 2];
        self.asked.fetch_add(usize::from(kind == TLSA), Ordering::Relaxed);
        let found = self.records.lock().unwrap().get(&(labels.join("."), kind)).cloned();
        let code = if found == Some(None) { 2 } else { 0 };
        let data = found.flatten();
        let flags = [0x81, 0x80 | code | if self.signed { 0x20 } else { 0 }];
        let count = u8::from(data.is_some());
        let mut reply = [&question[..2], &flags, &[0, 1, 0, count, 0, 0, 0, 0], &question[12..end]].concat();
        if let Some(data) = data {
            // The name of the question, its type and class, how long it holds.
            reply.extend([0xc0, 12]);
            reply.extend(&question[end - 4..end]);
            reply.extend([0, 0, 0, self.seconds, 0, data.len() as u8]);
            reply.extend(data);
        }
        reply
    }

    async fn serve(self) -> (SocketAddr, JoinHandle<()>) {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let task = tokio::spawn(async move {
            let mut packet = [0; 4096];
            while let Ok((length, from)) = socket.recv_from(&mut packet).await {
                socket.send_to(&self.reply(&packet[..length]), from).await.unwrap();
            }
        });
        (address, task)
    }
}

/// S3-21, S3-25, RFC 7673: what signed records say proves the server or refuses it, whatever certificate it has; what is not signed says nothing.
#[tokio::test]
async fn s3_25_signed_records_decide() {
    use Validation::{Off, TrustAd};
    let certificates = Certificates::new();
    let ee = |domain: &str, usage| {
        Tlsa::of(usage, Selector::Cert, Matching::Sha256, &certificates.leaf(domain)).unwrap()
    };
    let (good, evil, pkix) = (ee(DOMAIN, Usage::DaneEe), ee(EVIL, Usage::DaneEe), ee(DOMAIN, Usage::PkixEe));
    enum Says<'a> {
        Nothing,
        Record(&'a Tlsa),
        Fails,
    }
    use Says::{Fails, Nothing, Record};
    let known = [DOMAIN, HOST];
    let strangers = [EVIL];
    for (shown, authorities, validation, signed, says, wanted) in [
        // A certificate that nobody vouches for, for another name: the record is enough.
        (EVIL, &known[..], TrustAd, true, Record(&evil), Ok(Prooftype::Dane)),
        (DOMAIN, &strangers, TrustAd, true, Record(&good), Ok(Prooftype::Dane)),
        (DOMAIN, &known, TrustAd, true, Record(&pkix), Ok(Prooftype::Dane)),
        (DOMAIN, &strangers, TrustAd, true, Record(&pkix), Err("tlsa-chain-invalid")),
        // A man in the middle with a good certificate by a trusted authority.
        (DOMAIN, &known, TrustAd, true, Record(&evil), Err("tlsa-mismatch")),
        // Records that cannot be had hide something.
        (DOMAIN, &known, TrustAd, true, Fails, Err("tlsa-failed")),
        // No such records: the domain's own name; and the host's, since a signed record delegates to it.
        (DOMAIN, &known, TrustAd, true, Nothing, Ok(Prooftype::Pkix)),
        (HOST, &known, TrustAd, true, Nothing, Ok(Prooftype::Delegation)),
        // Not signed, or not looked at: only the domain's own name counts.
        (HOST, &known, TrustAd, false, Record(&good), Err("name-mismatch")),
        (HOST, &known, Off, true, Nothing, Err("name-mismatch")),
        (EVIL, &known, Off, true, Record(&evil), Err("name-mismatch")),
        (DOMAIN, &known, Off, true, Record(&evil), Ok(Prooftype::Pkix)),
    ] {
        let server = Fake::start(certificates.hosts(shown), Start::Tcp).await;
        let port = server.address.port();
        let dns = Dns::delegating(port, signed);
        let dns = match says {
            Nothing => dns,
            Record(tlsa) => dns.tlsa(port, Some(tlsa)),
            Fails => dns.tlsa(port, None),
        };
        let (name_server, task) = dns.serve().await;
        let case = format!("{shown} {validation:?} {signed}");
        let dns = DnsConfig { servers: vec![name_server], validation, ..DnsConfig::default() };
        let config = ClientConfig {
            server: Server::Domain,
            roots: certificates.authorities(authorities),
            resolver: Arc::new(DnsResolver::new(dns)),
            ..config(&certificates, server.address)
        };
        match wanted {
            Ok(by) => assert_eq!(proven(config).await, by, "{case}"),
            Err(code) => {
                let (error, may_retry) = refused(config.clone()).await;
                assert_eq!((error.code(), may_retry), (code, code == "tlsa-failed"), "{case}: {error}");
                assert!(server.world.lock().unwrap().to.is_empty(), "{case}");
                // A veto is stronger than a pin; who knows better says so.
                let mut pinned = config;
                pinned.proofs.pins = error.pin().cloned().into_iter().collect();
                if error.cause().is_some_and(|cause| cause.is_veto) {
                    assert_eq!(refused(pinned.clone()).await.0.code(), code, "{case}");
                    pinned.proofs.dane = DaneUse::Ignore;
                }
                proven(pinned).await;
            }
        }
        task.abort();
    }
}

/// S3-20: a stream outlives the evidence by which its server was believed only if there is new evidence; else it ends, and says for what lack.
#[tokio::test]
async fn s3_20_a_long_stream_is_proven_again() {
    let certificates = Certificates::new();
    let tlsa = |domain: &str| {
        Tlsa::of(Usage::DaneEe, Selector::Cert, Matching::Sha256, &certificates.leaf(domain)).unwrap()
    };
    let (known, strangers) = (certificates.roots(), certificates.authorities(&[EVIL]));
    for (roots, then, code, may_retry) in [
        (strangers.clone(), Some(tlsa(EVIL)), "tlsa-mismatch", false),
        (strangers, None, "tlsa-failed", true),
        // What contradicts is heeded, though the certificate alone would do.
        (known, Some(tlsa(EVIL)), "tlsa-mismatch", false),
    ] {
        let server = Fake::start(certificates.hosts(DOMAIN), Start::Tcp).await;
        let port = server.address.port();
        let dns = Dns { seconds: 1, ..Dns::delegating(port, true) }.tlsa(port, Some(&tlsa(DOMAIN)));
        let (name_server, task) = dns.clone().serve().await;
        let settings =
            DnsConfig { servers: vec![name_server], validation: Validation::TrustAd, ..DnsConfig::default() };
        let config = ClientConfig {
            server: Server::Domain,
            roots,
            resolver: Arc::new(DnsResolver::new(settings)),
            ..config(&certificates, server.address)
        };
        let mut session = connect(config).await;
        assert_eq!(session.state().unwrap().proof().unwrap().by(), Prooftype::Dane);
        // It was proven again, and again, and is in use as before.
        let before = dns.asked.load(Ordering::Relaxed);
        until(|| dns.asked.load(Ordering::Relaxed) >= before + 2).await;
        session.send(&message(MessageType::Chat).body("still there").build()).await.unwrap();
        until(|| server.bodies() == ["still there"]).await;
        let _changed = dns.clone().tlsa(port, then.as_ref());
        let end = wait(&mut session, |event| match event {
            Event::Disconnected(end) => Some(end),
            _ => None,
        })
        .await;
        let Why::Identity(error) = &end.why else { panic!("{:?}", end.why) };
        assert_eq!((error.code(), end.may_retry), (code, may_retry), "{error}");
        assert_eq!(server.world.lock().unwrap().connections, 1);
        task.abort();
    }
}

/// S3-01, S3-17, RFC 7711: a document of the domain's web server proves a server by its certificate, whoever vouches for that and whatever it is for.
#[tokio::test]
async fn s3_17_a_document_of_the_domain_decides() {
    let certificates = Certificates::new();
    let path = "/.well-known/posh/xmpp-client.json";
    let lists = |domain: &str| publish(&[&certificates.leaf(domain)], Duration::from_secs(3600));
    for (path, document, web, wanted) in [
        (path, lists(EVIL), DOMAIN, Ok(Prooftype::Posh)),
        (path, lists(HOST), DOMAIN, Err(("posh-mismatch", "posh-mismatch"))),
        // There is none, it is none, or it is somebody else's who says so.
        ("/elsewhere", lists(EVIL), DOMAIN, Err(("name-mismatch", "posh-absent"))),
        (path, "{}".to_owned(), DOMAIN, Err(("name-mismatch", "posh-no-expiry"))),
        (path, lists(EVIL), EVIL, Err(("name-mismatch", "posh-untrusted"))),
    ] {
        let server = Fake::start(certificates.hosts(EVIL), Start::Tcp).await;
        let (web_server, web_task) = crate::web::serve(certificates.web(web), path, document).await;
        let dns = Dns::delegating(server.address.port(), false);
        dns.records.lock().unwrap().insert((DOMAIN.to_owned(), A), Some(vec![127, 0, 0, 1]));
        let (name_server, task) = dns.serve().await;
        let settings =
            DnsConfig { servers: vec![name_server], validation: Validation::TrustAd, ..DnsConfig::default() };
        let mut config = ClientConfig {
            server: Server::Domain,
            resolver: Arc::new(DnsResolver::new(settings)),
            ..config(&certificates, server.address)
        };
        let case = format!("{path} of {web}");
        let (error, _) = refused(config.clone()).await;
        assert_eq!(error.code(), "name-mismatch", "{case}: nobody asked for a document");
        config.proofs.posh = Some(HttpsConfig {
            roots: certificates.roots(),
            allow: vec![([127, 0, 0, 0].into(), 8)],
            port: web_server.port(),
            ..HttpsConfig::default()
        });
        match wanted {
            Ok(by) => assert_eq!(proven(config).await, by, "{case}"),
            Err((code, posh)) => {
                let (error, _) = refused(config).await;
                assert_eq!(error.code(), code, "{case}: {error}");
                let all: Vec<_> =
                    error.judgement().findings.iter().map(|finding| finding.reason.code()).collect();
                assert!(all.contains(&posh), "{case}: {all:?}");
                assert!(server.world.lock().unwrap().to.is_empty(), "{case}");
            }
        }
        web_task.abort();
        task.abort();
    }
}
