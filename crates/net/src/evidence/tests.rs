//! Evidence from real packets and handshakes, as judged by `nuncio_dna`.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::SystemTime;

use nuncio_dna::dns::{Answer, Security, Zone};
use nuncio_dna::posh::{FetchFailure, publish};
use nuncio_dna::tlsa::{Matching, Selector, Usage};
use nuncio_dna::{Claim, Direction, Evidence, Judgement, Policy, Prooftype, Service, Tls, Tlsa, judge};
use nuncio_sansio::{TlsFacts, TlsVersion};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::route::Destination;
use super::*;
use crate::dns::tests::lab::{Asked, Server};
use crate::dns::tests::world::World;
use crate::dns::{DnsConfig, DnsError};
use crate::tests::https::{self, Web, ok};
use crate::tests::toy::Made;

/// A top with one domain for each way in which servers are found.
fn zones(tlsa: &str) -> String {
    format!(
        "
        zone test signed
        zone sec.test signed
        _xmpp-server._tcp.sec.test 300 SRV 10 0 5269 one.sec.test
        _xmpp-server._tcp.sec.test 300 SRV 30 0 5269 three.sec.test
        _xmpps-server._tcp.sec.test 300 SRV 20 0 5270 two.sec.test
        one.sec.test 60 A 192.0.2.1
        one.sec.test 60 AAAA 2001:db8::1
        two.sec.test 60 CNAME host.sec.test
        host.sec.test 60 A 192.0.2.2
        three.sec.test 60 CNAME host.uns.test
        _5269._tcp.one.sec.test 120 TLSA {tlsa}
        _5270._tcp.host.sec.test 120 TLSA {tlsa}
        zone none.test signed
        none.test 60 A 192.0.2.3
        _5269._tcp.none.test 60 TLSA {tlsa}
        zone closed.test signed
        _xmpp-server._tcp.closed.test 60 SRV 0 0 0 .
        zone odd.test signed
        _xmpp-server._tcp.odd.test 60 SRV 0 0 5269 one.sec.test
        _xmpps-server._tcp.odd.test 60 SRV 0 0 5270 one.sec.test ;forged
        zone hidden.test signed
        _xmpp-server._tcp.hidden.test 60 SRV 0 0 5269 hidden.test
        hidden.test 60 A 192.0.2.4
        _5269._tcp.hidden.test 60 TLSA {tlsa} ;forged
        zone uns.test plain
        uns.test 60 A 127.0.0.1
        host.uns.test 60 A 192.0.2.5
        _xmpp-server._tcp.uns.test 60 SRV 0 0 5269 host.uns.test
        "
    )
}

fn leaf(made: &Made) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(&std::fs::read(&made.ca.chain).unwrap()).unwrap()
}

fn shown(made: &Made) -> TlsFacts {
    TlsFacts {
        version: TlsVersion::Tls13,
        suite: String::new(),
        resumed: false,
        server_name: None,
        exporter: None,
        server_end_point: None,
        client_certificate: None,
        peer_certificates: vec![bytes::Bytes::copy_from_slice(&leaf(made))],
    }
}

fn named(name: &str) -> Domain {
    Domain::new(name).unwrap()
}

fn claim(remote: &str, direction: Direction) -> Claim {
    Claim { local: named("us.test"), remote: named(remote), direction, service: Service::XmppServer }
}

fn collector(config: DnsConfig) -> Collector {
    Collector::new(Resolver::with(config), None, CollectorConfig::default())
}

const DNS: Wants = Wants { dns: true, posh: false, endpoint: None };

fn judged(claim: &Claim, evidence: &Evidence) -> Judgement {
    judge(claim, evidence, &Policy::default(), SystemTime::now().into())
}

fn vetoes(judgement: &Judgement) -> Vec<&'static str> {
    judgement.findings.iter().filter(|finding| finding.is_veto).map(|finding| finding.reason.code()).collect()
}

/// XEP-0368 §2, RFC 6120 §3.2, RFC 2782, RFC 7673 §3.1: where to go, and where not.
#[tokio::test]
async fn servers_are_found() {
    let (_server, config) = World::new(&zones("3 1 1 aabb")).serve().await;
    let collector = collector(config);
    let find = async |name: &str| collector.find(&named(name), Service::XmppServer).await;

    let route = find("sec.test").await;
    let Destination::At(places) = &route.destination else { panic!("{route:?}") };
    let shown: Vec<_> =
        places.iter().map(|it| (it.host.as_str(), it.port, it.direct_tls, it.security)).collect();
    let secure = Security::Secure;
    assert_eq!(
        shown,
        [
            ("one.sec.test", 5269, false, secure),
            ("two.sec.test", 5270, true, secure),
            ("three.sec.test", 5269, false, secure)
        ]
    );
    let mut addresses: Vec<_> = collector.addresses(&places[0]).await.unwrap();
    addresses.sort();
    assert_eq!(addresses, ["192.0.2.1:5269".parse().unwrap(), "[2001:db8::1]:5269".parse().unwrap()]);
    let steps: Vec<_> = route.steps.iter().map(ToString::to_string).collect();
    assert_eq!(steps[1], "SRV _xmpps-server._tcp.sec.test: 20 0 5270 two.sec.test (secure)");

    let route = find("none.test").await;
    let Destination::At(places) = &route.destination else { panic!("{route:?}") };
    assert_eq!((places.len(), places[0].host.as_str(), places[0].port), (1, "none.test", 5269));
    assert!(!places[0].named && !places[0].direct_tls && places[0].security == secure);
    assert_eq!(route.steps[0].to_string(), "SRV _xmpp-server._tcp.none.test: nothing (secure)");

    assert_eq!(find("closed.test").await.destination, Destination::Nowhere);
    let route = find("odd.test").await;
    assert!(matches!(route.destination, Destination::Unknown(DnsError::Bogus(_))), "{route:?}");
    assert!(route.steps[1].failure.as_ref().unwrap().contains("signatures are wrong"));
    let route = find("uns.test").await;
    let Destination::At(places) = &route.destination else { panic!("{route:?}") };
    assert_eq!((places[0].host.as_str(), places[0].security), ("host.uns.test", Security::Insecure));
}

/// S3-16: what fails where signed records may be is no way out; where it is proven that nothing is signed, the domain's own host is tried (RFC 6120 §3.2.1).
#[tokio::test]
async fn s3_16_a_failure_hides_nothing() {
    for (name, hides) in [("sec.test", true), ("uns.test", false)] {
        let world = World::new(&zones("3 1 1 aabb"));
        let anchors = world.anchors();
        let fails = |asked: &Asked| asked.name.starts_with("_xmpp");
        let server =
            Server::start(move |asked| vec![if fails(asked) { asked.refused() } else { world.reply(asked) }])
                .await;
        let validation = Validation::Local(anchors);
        let collector = collector(DnsConfig { validation, attempts: 1, ..server.config() });
        let route = collector.find(&named(name), Service::XmppServer).await;
        assert_eq!(
            matches!(route.destination, Destination::Unknown(DnsError::Refused(2))),
            hides,
            "{route:?}"
        );
        let claim = claim(name, Direction::In);
        let evidence = collector.collect(&claim, None, &DNS).await;
        let dns = evidence.dns.clone().unwrap();
        let zone = if hides { Zone::MayBeSigned } else { Zone::Unsigned };
        assert!(matches!(dns.srv[0].answer, Answer::Failed { zone: found, .. } if found == zone), "{dns:?}");
        assert_eq!(vetoes(&judged(&claim, &evidence)).contains(&"srv-failed"), hides);
    }
}

/// S3-16, RFC 7673 §3: SRV, addresses and TLSA, each with its state, are enough for `judge` to prove the peer by DANE, in both directions.
#[tokio::test]
async fn s3_16_dane_is_proven_by_what_is_collected() {
    let made = Made::new("host.example");
    let tlsa = Tlsa::of(Usage::DaneEe, Selector::Spki, Matching::Sha256, &leaf(&made));
    let (_server, config) = World::new(&zones(&tlsa.unwrap().to_string())).serve().await;
    let collector = collector(config);
    let facts = shown(&made);
    let out = |host: &str, port| Wants { endpoint: Some((named(host), port)), ..DNS };
    for (remote, direction, wants, endpoints) in [
        ("sec.test", Direction::In, DNS, 3),
        ("sec.test", Direction::Out, out("one.sec.test", 5269), 1),
        // An alias: the records are at the host that it leads to (RFC 7671 §7).
        ("sec.test", Direction::Out, out("two.sec.test", 5270), 1),
        ("none.test", Direction::In, DNS, 1),
        ("none.test", Direction::Out, out("none.test", 5269), 1),
    ] {
        let claim = claim(remote, direction);
        let evidence = collector.collect(&claim, Some(&facts), &wants).await;
        assert_eq!(evidence.tls, Tls::V13);
        assert_eq!(evidence.dns.as_ref().unwrap().endpoints.len(), endpoints, "{remote} {direction}");
        let judgement = judged(&claim, &evidence);
        let by = judgement.accepted().map(|proven| proven.by());
        assert_eq!(by, Some(Prooftype::Dane), "{remote} {direction} {wants:?}: {judgement:?}");
        let left = judgement.accepted().unwrap().expires().since(SystemTime::now().into());
        assert!(left.as_secs() <= 60, "the addresses hold that long: {left:?}");
    }
    let other = shown(&Made::new("host.example"));
    for (remote, facts, veto) in
        [("none.test", &other, "tlsa-mismatch"), ("hidden.test", &facts, "tlsa-bogus")]
    {
        for wants in [DNS, out(remote, 5269)] {
            let direction = if wants == DNS { Direction::In } else { Direction::Out };
            let claim = claim(remote, direction);
            let evidence = collector.collect(&claim, Some(facts), &wants).await;
            assert_eq!(vetoes(&judged(&claim, &evidence)), [veto], "{remote} {direction}");
        }
    }
    let claim = claim("sec.test", Direction::In);
    let evidence = collector.collect(&claim, Some(&facts), &DNS).await;
    let told: Vec<_> = steps(&evidence).iter().map(ToString::to_string).collect();
    let aliased = "A, AAAA two.sec.test -> host.sec.test: 192.0.2.2 (secure)";
    assert!(told.iter().any(|step| step == aliased), "{told:#?}");
    assert!(told.iter().any(|step| step.starts_with("TLSA _5270._tcp.host.sec.test: 3 1 1 ")), "{told:#?}");
}

/// RFC 7712 §6: of a domain that is not signed nothing is said but that; without validation, nothing at all.
#[tokio::test]
async fn what_is_not_signed_proves_nothing() {
    let world = World::new(&zones("3 1 1 aabb"));
    let (server, config) = world.serve().await;
    let claim = claim("uns.test", Direction::In);
    let evidence = collector(config).collect(&claim, None, &DNS).await;
    let dns = evidence.dns.unwrap();
    assert!(dns.endpoints.is_empty() && dns.srv.iter().all(|srv| srv.security() == Security::Insecure));
    let plain = collector(server.config());
    assert!(!plain.validates());
    assert!(plain.collect(&claim, None, &Wants::everything()).await.dns.is_none());
    let route = plain.find(&named("uns.test"), Service::XmppServer).await;
    assert!(
        matches!(route.destination, Destination::At(places) if places[0].security == Security::Indeterminate)
    );
}

/// S3-17: the documents of a domain are retrieved once, however many ask, and prove the certificate that they name.
#[tokio::test]
async fn s3_17_posh_is_retrieved_once() {
    let (web, peer) = (Made::new("uns.test"), Made::new("host.example"));
    let count = Arc::new(AtomicUsize::new(0));
    let body = publish(&[&leaf(&peer)], Duration::from_secs(3600));
    let server = {
        let count = Arc::clone(&count);
        Web::start(&web, move |path| {
            count.fetch_add(1, Ordering::SeqCst);
            Some(match path {
                "/.well-known/posh/xmpp-server.json" => ok(&body),
                _ => b"HTTP/1.1 404 x\r\ncontent-length: 0\r\n\r\n".to_vec(),
            })
        })
        .await
    };
    let (_dns, config) = World::new(&zones("3 1 1 aabb")).serve().await;
    let resolver = Resolver::with(config);
    let https = Https::new(resolver.clone(), https::config(&web, server.address.port())).unwrap();
    let collector = Collector::new(resolver, Some(https), CollectorConfig::default());
    let claim = claim("uns.test", Direction::In);
    let facts = shown(&peer);
    let wants = Wants::everything();
    let (one, two) = tokio::join!(
        collector.collect(&claim, Some(&facts), &wants),
        collector.collect(&claim, Some(&facts), &wants)
    );
    let three = collector.collect(&claim, Some(&facts), &wants).await;
    for evidence in [one, two, three] {
        let judgement = judged(&claim, &evidence);
        assert_eq!(judgement.accepted().map(|proven| proven.by()), Some(Prooftype::Posh), "{judgement:?}");
    }
    assert_eq!(count.load(Ordering::SeqCst), 1);
    assert!(collector.0.posh.is_quiet());
    // That there is none is remembered as well, and so is what failed.
    let client = Claim { service: Service::XmppClient, ..claim.clone() };
    for _ in 0..2 {
        let posh = collector.collect(&client, None, &wants).await.posh.unwrap();
        assert_eq!(posh.first.outcome, Err(FetchFailure::NotFound));
    }
    assert_eq!(count.load(Ordering::SeqCst), 2);
    let told = steps(&collector.collect(&client, None, &wants).await);
    assert!(
        told.last().unwrap().to_string().ends_with("xmpp-client.json: there is none (404 or 410)"),
        "{told:?}"
    );
    let none = Claim { service: Service::Sips, ..claim };
    assert!(collector.collect(&none, None, &wants).await.posh.is_none(), "POSH does not know it");
}
