//! TLS between servers: both ends learn what the other presented, nobody judges it, and nobody presents what is not his.

use std::sync::Arc;

use bytes::Bytes;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::sign::CertifiedKey;

use super::security::{begin, hosts, join, secured};
use super::toy::{Heard, Made, Order};
use crate::tls::{Connector, Peers, Roots, TlsHosts, TlsSettings, provider};

/// A server of one domain, whose authority only it knows.
fn server(made: &Made, domain: &str) -> Arc<TlsHosts> {
    hosts(TlsSettings {
        hosts: vec![made.host(domain)],
        default: Some(domain.to_owned()),
        peers: Peers::Servers,
        ..TlsSettings::default()
    })
}

fn chain(made: &Made) -> Vec<Bytes> {
    let pem = std::fs::read(&made.ca.chain).unwrap();
    CertificateDer::pem_slice_iter(&pem).map(|one| Bytes::copy_from_slice(&one.unwrap())).collect()
}

/// RFC 7712 §4: each end has the other's chain before any claim is known; a peer without a certificate is welcome so far.
#[tokio::test]
async fn both_ends_learn_what_the_other_presented() {
    let (a, b) = (Made::new("a.example"), Made::new("b.example"));
    let (ours, theirs) = (server(&a, "a.example"), server(&b, "b.example"));
    for direct in [false, true] {
        for (local, shown) in [("a.example", chain(&a)), ("A.EXAMPLE.", chain(&a)), ("c.example", Vec::new())]
        {
            // Names are not judged either: the stream headers tell them, not SNI (RFC 7712 §5.1).
            for remote in ["b.example", "x.example"] {
                let connector = ours.connector(local).unwrap();
                let greeting = if direct { Vec::new() } else { begin(remote) };
                let mut ends = join(&theirs, &connector, remote, greeting, direct);
                let at_server = secured(&mut ends.server).await;
                assert_eq!(at_server.peer_certificates, shown, "{local}, direct: {direct}");
                assert_eq!(at_server.server_name.as_deref(), Some(remote));
                assert!(!at_server.client_certificate.is_some_and(|it| it.trusted));
                let at_client = secured(&mut ends.client).await;
                assert_eq!(at_client.peer_certificates, chain(&b));
                assert!(at_client.client_certificate.is_none());
            }
        }
    }
}

/// XEP-0368: `xmpp-server` is not `xmpp-client`.
#[tokio::test]
async fn servers_do_not_meet_listeners_for_clients() {
    let a = Made::new("a.example");
    let (ours, theirs) = (
        server(&a, "a.example"),
        hosts(TlsSettings { hosts: vec![a.host("a.example")], ..TlsSettings::default() }),
    );
    let mut ends = join(&theirs, &ours.connector("a.example").unwrap(), "a.example", Vec::new(), true);
    assert!(matches!(ends.server.next().await, Heard::Eof(_)));
    assert!(theirs.connector("a.example").is_none(), "who serves clients connects nowhere");
}

/// A chain that is not judged is still the peer's own: without its key there is no connection.
#[tokio::test]
async fn whoever_lacks_the_key_is_nobody() {
    let (a, b) = (Made::new("a.example"), Made::new("b.example"));
    let stolen = chain(&a).into_iter().map(|one| CertificateDer::from(one.to_vec())).collect();
    let pem = std::fs::read(&b.ca.key).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::from_pem_slice(&pem).unwrap();
    let key = provider().key_provider.load_private_key(key).unwrap();
    let thief = Arc::new(CertifiedKey::new(stolen, key));
    let theirs = server(&b, "b.example");
    for versions in [&[&rustls::version::TLS13], &[&rustls::version::TLS12]] {
        let connector = Arc::new(
            Connector::unjudging(vec![Arc::clone(&thief)], versions, Some(super::super::tls::ALPN_SERVER))
                .unwrap(),
        );
        let mut ends = join(&theirs, &connector, "b.example", Vec::new(), true);
        assert!(matches!(ends.server.next().await, Heard::Eof(_)));
        let connector = Arc::new(
            Connector::unjudging(Vec::new(), versions, Some(super::super::tls::ALPN_SERVER)).unwrap(),
        );
        let mut ends = join(&theirs, &connector, "b.example", Vec::new(), true);
        assert!(secured(&mut ends.server).await.peer_certificates.is_empty());
    }
}

/// S0-28: what we open is never resumed. A peer that resumes has the chain that it once proved to hold the key of, to be judged again, until the tickets
/// are forgotten.
#[tokio::test]
async fn tickets_carry_no_proof() {
    let (a, b) = (Made::new("a.example"), Made::new("b.example"));
    let (ours, theirs) = (server(&a, "a.example"), server(&b, "b.example"));
    let connector = ours.connector("a.example").unwrap();
    connector.forget_sessions();
    let other =
        Arc::new(Connector::new(&Roots::Files(vec![b.ca.authority.clone()]), Some(&a.pair())).unwrap());
    for (connector, resumes) in [(connector, false), (other, true)] {
        for (number, reset) in [(0, false), (1, false), (2, true)] {
            if reset {
                theirs.reset_tickets().unwrap();
            }
            let mut ends = join(&theirs, &connector, "b.example", begin("b.example"), false);
            let facts = secured(&mut ends.server).await;
            assert_eq!(facts.resumed, resumes && number == 1, "{number}");
            assert_eq!(facts.peer_certificates, chain(&a));
            let facts = secured(&mut ends.client).await;
            assert_eq!(facts.peer_certificates, chain(&b));
            // The ticket comes with the first answer.
            ends.client.orders.send(Order::Send(Bytes::from_static(b"hello\n"))).await.unwrap();
            assert!(matches!(ends.client.next().await, Heard::Line(_)));
        }
    }
}

/// RFC 7711 §4, RFC 7673 §6: a hoster's certificate serves the domains of others.
#[test]
fn a_certificate_may_be_for_another_name() {
    let a = Made::new("host.example");
    let settings = TlsSettings {
        hosts: vec![a.host("tenant.example")],
        peers: Peers::Servers,
        ..TlsSettings::default()
    };
    let (_, warnings) = TlsHosts::load(settings.clone()).unwrap();
    assert!(warnings[0].to_string().contains("is not for tenant.example"), "{warnings:?}");
    assert!(TlsHosts::load(TlsSettings { peers: Peers::Clients, ..settings }).is_err());
}
