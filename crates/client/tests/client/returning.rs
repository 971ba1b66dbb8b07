//! Sessions that come back by themselves (RFC 6120 §3.3): S0-03.

use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nuncio_client::{Backoff, Client, ClientConfig, Event, Resolve, Resolved, Server, Session, Start, Why};
use nuncio_net::OsEntropy;
use nuncio_sansio::Entropy;
use nuncio_stream::backoff::{FIRST, LONGEST};
use nuncio_xmpp::error::StreamCondition;
use nuncio_xmpp::ns;
use nuncio_xmpp::stanza::{IqType, MessageType, iq, message};
use nuncio_xmpp::xml::Builder;
use tokio::time::{Instant, timeout};

use crate::fake::{Certificates, DOMAIN, Fake, PATIENCE, config, connect, until, wait};

/// Nothing but zeros: every wait is the shortest.
struct Zero;

impl Entropy for Zero {
    fn fill(&self, out: &mut [u8]) {
        out.fill(0);
    }
}

/// Knows no address, and when it was asked for one.
#[derive(Debug, Default)]
struct Nothing(Mutex<Vec<Instant>>);

impl Resolve for Nothing {
    fn addresses<'a>(&'a self, _: &'a str) -> Resolved<'a, Vec<IpAddr>> {
        self.0.lock().unwrap().push(Instant::now());
        Box::pin(async { Err(io::ErrorKind::NotFound.into()) })
    }
}

async fn failed(session: &mut Session) -> Option<Duration> {
    match session.next().await.unwrap() {
        Event::Disconnected(end) => {
            assert!(matches!(end.why, Why::Connect(_)) && end.may_retry);
            end.retry_in
        }
        other => panic!("{other:?}"),
    }
}

/// S0-03, in virtual time, for 50 clients: each waits as long as it says, the first wait is anywhere within a minute, later ones grow up
/// to a bound.
#[tokio::test(start_paused = true)]
async fn attempts_are_spread_and_become_rarer() {
    const ATTEMPTS: usize = 8;
    let certificates = Certificates::new();
    let mut firsts = Vec::new();
    for _ in 0..50 {
        let resolver = Arc::new(Nothing::default());
        let settings = ClientConfig {
            server: Server::Domain,
            resolver: Arc::clone(&resolver) as Arc<dyn Resolve>,
            reconnect: Some(Backoff::new(Arc::new(OsEntropy))),
            ..config(&certificates, ([127, 0, 0, 1], 1).into())
        };
        let mut session = Client::new(settings).unwrap().start();
        let mut waits = Vec::new();
        for _ in 0..ATTEMPTS {
            waits.push(failed(&mut session).await.unwrap());
        }
        let asked = resolver.0.lock().unwrap().clone();
        let gaps: Vec<_> = asked.windows(2).map(|pair| pair[1] - pair[0]).collect();
        for (gap, wait) in gaps.iter().zip(&waits) {
            assert!(*gap >= *wait && *gap <= *wait + Duration::from_millis(2), "{gap:?} {wait:?}");
        }
        assert!(waits[0] <= FIRST);
        assert!(waits[1..].windows(2).all(|pair| pair[1] >= pair[0] / 2 && pair[1] <= LONGEST), "{waits:?}");
        assert!(waits[ATTEMPTS - 1] >= LONGEST / 2, "{waits:?}");
        firsts.push(waits[0]);
    }
    firsts.sort_unstable();
    let spread = firsts[firsts.len() - 1] - firsts[0];
    assert!(spread > FIRST / 2, "{firsts:?}");
}

/// The caller may go at once, or give up; without the policy nothing happens by itself.
#[tokio::test(start_paused = true)]
async fn the_caller_has_the_last_word() {
    let certificates = Certificates::new();
    let resolver = Arc::new(Nothing::default());
    let settings = ClientConfig {
        server: Server::Domain,
        resolver: Arc::clone(&resolver) as Arc<dyn Resolve>,
        reconnect: Some(Backoff::default()),
        ..config(&certificates, ([127, 0, 0, 1], 1).into())
    };
    let count = || resolver.0.lock().unwrap().len();
    let mut session = Client::new(settings.clone()).unwrap().start();
    let start = Instant::now();
    assert!(failed(&mut session).await.is_some());
    for _ in 0..3 {
        session.reconnect();
        failed(&mut session).await;
    }
    assert_eq!((count(), start.elapsed().as_secs()), (4, 0));
    assert!(session.close().await.is_empty(), "what came last was read");

    // `connect` tells of the first failure.
    assert!(Client::connect(settings.clone()).await.is_err());
    let mut session = Client::new(ClientConfig { reconnect: None, ..settings }).unwrap().start();
    assert_eq!(failed(&mut session).await, None);
    let before = count();
    assert!(timeout(Duration::from_secs(10_000), session.next()).await.is_err());
    assert_eq!(count(), before);
}

fn patient(certificates: &Certificates, server: &Fake) -> ClientConfig {
    ClientConfig { reconnect: Some(Backoff::new(Arc::new(Zero))), ..config(certificates, server.address) }
}

/// XEP-0198 §5: the session goes on by itself, again and again, and loses and doubles nothing; a request is answered over the gap.
#[tokio::test]
async fn a_session_comes_back_by_itself() {
    let certificates = Certificates::new();
    let server = Fake::start(certificates.hosts(DOMAIN), Start::Tcp).await;
    let mut session = connect(patient(&certificates, &server)).await;
    wait(&mut session, |event| matches!(event, Event::Managed { resumable: true }).then_some(())).await;
    for round in 0..4 {
        // The server hears it, and answers only after the gap.
        let sender = session.sender();
        let asked = tokio::spawn(async move { sender.get(None, Builder::new("ping", ns::PING)).await });
        until(|| server.world.lock().unwrap().received.len() == 2 * round + 1).await;
        if round % 2 == 0 {
            session.cut()
        } else {
            server.kill()
        }
        let end = wait(&mut session, |event| match event {
            Event::Disconnected(end) => Some(end),
            _ => None,
        })
        .await;
        assert_eq!(end.retry_in, Some(Duration::ZERO), "S0-03: anew after each success");
        session.send(&message(MessageType::Chat).body(&round.to_string()).build()).await.unwrap();
        let resumed = wait(&mut session, |event| match event {
            Event::Online(online) => Some(online.resumed),
            _ => None,
        })
        .await;
        assert!(resumed);
        let ping = server.world.lock().unwrap().received[2 * round].clone();
        until(|| server.bodies().len() == round + 1).await;
        server.push(&iq(IqType::Result, ping.id().unwrap()).build());
        timeout(PATIENCE, asked).await.unwrap().unwrap().unwrap();
    }
    assert_eq!(server.bodies(), ["0", "1", "2", "3"]);
}

/// What will not get better is not tried again.
#[tokio::test]
async fn some_ends_are_final() {
    let certificates = Certificates::new();
    let server = Fake::start(certificates.hosts(DOMAIN), Start::Tcp).await;
    let mut session = connect(patient(&certificates, &server)).await;
    until(|| server.fail(StreamCondition::Conflict) == 1).await;
    let end = wait(&mut session, |event| match event {
        Event::Disconnected(end) => Some(end),
        _ => None,
    })
    .await;
    assert!(!end.may_retry && end.retry_in.is_none());

    let stranger = Certificates::new();
    let settings = ClientConfig { roots: stranger.roots(), ..patient(&certificates, &server) };
    let mut session = Client::new(settings).unwrap().start();
    let error = timeout(PATIENCE, session.online()).await.unwrap().unwrap_err();
    assert!(error.to_string().contains("certificate"), "{error}");
}

/// `online` is patient where the session is.
#[tokio::test]
async fn online_waits_for_a_server_that_comes_later() {
    let certificates = Certificates::new();
    let nobody = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = nobody.local_addr().unwrap();
    drop(nobody);
    let settings =
        ClientConfig { reconnect: Some(Backoff::new(Arc::new(Zero))), ..config(&certificates, address) };
    let mut session = Client::new(settings).unwrap().start();
    // At once, and then after a while: that wait is cut short.
    assert_eq!(failed(&mut session).await, Some(Duration::ZERO));
    assert!(failed(&mut session).await >= Some(FIRST));
    let server = Fake::at(address, certificates.hosts(DOMAIN), Start::Tcp).await;
    session.reconnect();
    let online = timeout(PATIENCE, session.online()).await.unwrap().unwrap();
    assert_eq!(online.jid.domain(), DOMAIN);
    drop(server);
}
