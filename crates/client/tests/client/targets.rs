//! Which servers are tried, in which order (RFC 6120 §3.2, XEP-0368, RFC 8305).

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use nuncio_client::{
    Client, ClientConfig, Disconnected, DnsConfig, DnsResolver, LoginError, Server, Services, Start, Why,
};
use tokio::net::{TcpListener, UdpSocket};
use tokio::time::timeout;

use crate::fake::{Certificates, DOMAIN, EVIL, Fake, Names, PATIENCE, config, connect, raw};

/// An address where nobody listens.
async fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

/// Settings that leave it to DNS where to connect.
fn by_name(certificates: &Certificates, names: Names) -> (ClientConfig, Arc<Names>) {
    let names = Arc::new(names);
    let unused = SocketAddr::from(([127, 0, 0, 1], 1));
    let resolver = Arc::clone(&names);
    (ClientConfig { server: Server::Domain, resolver, ..config(certificates, unused) }, names)
}

async fn refused(config: ClientConfig) -> Disconnected {
    match timeout(PATIENCE, Client::connect(config)).await.expect("in time") {
        Err(LoginError::Disconnected(end)) => *end,
        other => panic!("{other:?}"),
    }
}

/// XEP-0368 §2: each record says what is spoken there; records of both kinds are one list. Hosts of another name still prove the domain.
#[tokio::test]
async fn records_say_what_is_spoken() {
    let certificates = Certificates::new();
    let direct = Fake::start(certificates.hosts(DOMAIN), Start::DirectTls).await;
    let tcp = Fake::start(certificates.hosts(DOMAIN), Start::Tcp).await;
    for (first, second) in
        [((&direct, Start::DirectTls), (&tcp, Start::Tcp)), ((&tcp, Start::Tcp), (&direct, Start::DirectTls))]
    {
        let mut names = Names::default();
        let hosts = [("one.example", first.0.address, first.1), ("two.example", second.0.address, second.1)];
        names.serve(DOMAIN, &hosts);
        let (config, names) = by_name(&certificates, names);
        let before = second.0.world.lock().unwrap().connections;
        connect(config).await;
        assert_eq!(*names.asked.lock().unwrap(), [format!("srv {DOMAIN}"), "host one.example".to_owned()]);
        assert_eq!(second.0.world.lock().unwrap().connections, before);
        let world = first.0.world.lock().unwrap();
        assert_eq!(
            world.names.last().unwrap().as_deref(),
            Some(DOMAIN),
            "XEP-0368 §2: the server name is the domain"
        );
    }
}

/// RFC 6120 §3.2.1, step 7: the next record, if a host has no address, refuses, is not who it should be, or breaks off.
#[tokio::test]
async fn the_next_record_helps() {
    let certificates = Certificates::new();
    let good = Fake::start(certificates.hosts(DOMAIN), Start::Tcp).await;
    let evil = Fake::start(certificates.hosts(EVIL), Start::Tcp).await;
    let (broken, _heard) = raw(vec![("<stream:stream", "</nonsense>".to_owned())]).await;
    let mut names = Names::default();
    let hosts = [
        ("gone.example", good.address, Start::Tcp),
        ("closed.example", nobody().await, Start::Tcp),
        ("evil.example", evil.address, Start::Tcp),
        ("broken.example", broken, Start::Tcp),
        ("good.example", good.address, Start::Tcp),
    ];
    names.serve(DOMAIN, &hosts);
    names.addresses.remove("gone.example");
    let (config, names) = by_name(&certificates, names);
    connect(config).await;
    assert_eq!(names.asked.lock().unwrap().len(), 6);
    assert!(evil.world.lock().unwrap().to.is_empty(), "S0-31: a wrong certificate ends it");
}

/// If all fail, the gravest reason is told; it may be tried again if one of them may pass. RFC 6120 §3.2.1, step 8: no other addresses.
#[tokio::test]
async fn all_records_fail() {
    let certificates = Certificates::new();
    let evil = Fake::start(certificates.hosts(EVIL), Start::Tcp).await;
    let good = Fake::start(certificates.hosts(DOMAIN), Start::Tcp).await;
    let closed = nobody().await;
    for (hosts, may_retry) in [
        (vec![("evil.example", evil.address, Start::Tcp)], false),
        (vec![("evil.example", evil.address, Start::Tcp), ("closed.example", closed, Start::Tcp)], true),
        (vec![("closed.example", closed, Start::Tcp), ("evil.example", evil.address, Start::Tcp)], true),
    ] {
        let mut names = Names::default();
        names.serve(DOMAIN, &hosts);
        names.addresses.insert(DOMAIN.to_owned(), vec![good.address.ip()]);
        let (config, names) = by_name(&certificates, names);
        let end = refused(config).await;
        assert!(matches!(end.why, Why::Identity(_)), "{:?}", end.why);
        assert_eq!((end.may_retry, end.retry_in), (may_retry, None));
        assert!(!names.asked.lock().unwrap().contains(&format!("host {DOMAIN}")));
    }
    assert_eq!(good.world.lock().unwrap().connections, 0);
}

/// RFC 2782, XEP-0368 §2: `.` is a no, and the domain's own addresses are not tried. RFC 6120 §3.2.2: without records they are.
#[tokio::test]
async fn denied_or_unknown() {
    let certificates = Certificates::new();
    for (services, asked) in [(Services::Nowhere, 1), (Services::Unknown, 2)] {
        let mut names = Names::default();
        names.services.insert(DOMAIN.to_owned(), services);
        let (config, names) = by_name(&certificates, names);
        let end = refused(config).await;
        assert!(
            matches!(&end.why, Why::Connect(error) if error.kind() == io::ErrorKind::NotFound),
            "{:?}",
            end.why
        );
        assert_eq!(names.asked.lock().unwrap().len(), asked);
    }
}

/// RFC 6120 §3.2.3: who names a host or an address means it. An address needs no resolver; one as the domain neither.
#[tokio::test]
async fn a_configured_host_is_not_looked_up_as_a_domain() {
    let certificates = Certificates::new();
    let good = Fake::start(certificates.hosts(DOMAIN), Start::Tcp).await;
    let port = Some(good.address.port());
    for (server, asked) in [
        (Server::Host("host.example".to_owned(), port), vec!["host host.example"]),
        (Server::Host(good.address.ip().to_string(), port), vec![]),
        (Server::Address(good.address), vec![]),
    ] {
        let (config, names) = by_name(&certificates, Names::one("host.example", good.address, Start::Tcp));
        connect(ClientConfig { server, ..config }).await;
        assert_eq!(*names.asked.lock().unwrap(), asked);
    }
}

/// RFC 8305: several addresses of both families, of which one is right.
#[tokio::test]
async fn one_of_many_addresses() {
    let certificates = Certificates::new();
    let good = Fake::start(certificates.hosts(DOMAIN), Start::Tcp).await;
    let mut names = Names::one("host.example", good.address, Start::Tcp);
    let ips = ["::1", "127.0.0.2", "127.0.0.3"].map(|ip| ip.parse::<IpAddr>().unwrap());
    names.addresses.get_mut("host.example").unwrap().splice(0..0, ips);
    let (config, _) = by_name(&certificates, names);
    let server = Server::Host("host.example".to_owned(), Some(good.address.port()));
    connect(ClientConfig { server, ..config }).await;
    assert_eq!(good.world.lock().unwrap().connections, 1);
}

/// The library's own resolver against a name server: SRV records, then the target's address.
#[tokio::test]
async fn from_the_name_server_to_the_session() {
    let certificates = Certificates::new();
    let good = Fake::start(certificates.hosts(DOMAIN), Start::DirectTls).await;
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let server = socket.local_addr().unwrap();
    let port = good.address.port();
    let task = tokio::spawn(async move {
        let mut packet = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut packet).await {
            socket.send_to(&answer(&packet[..length], port), from).await.unwrap();
        }
    });
    let dns = DnsConfig { servers: vec![server], ..DnsConfig::default() };
    let (config, _) = by_name(&certificates, Names::default());
    let session = connect(ClientConfig { resolver: Arc::new(DnsResolver::new(dns)), ..config }).await;
    assert_eq!(session.jid().unwrap().domain(), DOMAIN);
    task.abort();
}

/// The reply to a question, written by hand (RFC 1035 §4): `_xmpps-client` is at `host.good.example`, which is 127.0.0.1.
fn answer(question: &[u8], port: u16) -> Vec<u8> {
    let end = 12 + question[12..].iter().position(|byte| *byte == 0).unwrap() + 5;
    let host = b"\x04host\x04good\x07example\x00";
    let data = match (&question[12..end - 4], question[end - 3]) {
        (name, 33) if name.starts_with(b"\x0d_xmpps-client\x04_tcp\x04good\x07example") => {
            Some([&[0, 1, 0, 1], &port.to_be_bytes()[..], host].concat())
        }
        (name, 1) if name == host => Some(vec![127, 0, 0, 1]),
        _ => None,
    };
    let mut reply =
        [&question[..2], &[0x81, 0x80, 0, 1, 0, u8::from(data.is_some()), 0, 0, 0, 0], &question[12..end]]
            .concat();
    if let Some(data) = data {
        // The name of the question, its type and class, a minute.
        reply.extend([0xc0, 12]);
        reply.extend(&question[end - 4..end]);
        reply.extend([0, 0, 0, 60, 0, data.len() as u8]);
        reply.extend(data);
    }
    reply
}
