//! Logins, sessions that outlive their connections, and their ends.

use std::time::Duration;

use nuncio_client::{
    Client, ClientConfig, Event, LoginError, Mechanism, Reason, RequestError, Session, Start, Why,
};
use nuncio_stream::sasl::ChannelBinding;
use nuncio_xmpp::error::StreamCondition;
use nuncio_xmpp::ns;
use nuncio_xmpp::stanza::{MessageType, Stanza, message};
use nuncio_xmpp::xml::Builder;
use tokio::time::timeout;

use crate::fake::{Certificates, DOMAIN, Fake, PATIENCE, config, connect, until, wait};

fn text(number: usize) -> Stanza {
    message(MessageType::Chat).body(&number.to_string()).build()
}

fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}

async fn online(session: &mut Session) -> bool {
    wait(session, |event| match event {
        Event::Online(online) => Some(online.resumed),
        Event::Disconnected(end) => panic!("{:?}", end.why),
        _ => None,
    })
    .await
}

async fn acked(session: &mut Session, wanted: u64) {
    wait(session, |event| match event {
        Event::Acked { number } => {
            assert!(number <= wanted, "{number} of {wanted}");
            (number == wanted).then_some(())
        }
        _ => None,
    })
    .await;
}

async fn disconnected(session: &mut Session) -> Box<nuncio_client::Disconnected> {
    wait(session, |event| match event {
        Event::Disconnected(end) => Some(end),
        _ => None,
    })
    .await
}

/// A session that can be resumed, and a server that has nothing more to say.
async fn managed(config: ClientConfig) -> Session {
    let mut session = connect(config).await;
    wait(&mut session, |event| matches!(event, Event::Managed { resumable: true }).then_some(())).await;
    session
}

/// Bodies of the next messages.
async fn read(session: &mut Session, count: usize) -> Vec<String> {
    let mut bodies = Vec::new();
    while bodies.len() < count {
        bodies.push(
            wait(session, |event| match event {
                Event::Stanza(stanza) => Some(stanza.body_text()?.into_owned()),
                _ => None,
            })
            .await,
        );
    }
    bodies
}

/// Each mechanism alone, and the strongest if all are allowed; over STARTTLS and direct TLS.
#[tokio::test]
async fn every_mechanism_logs_in() {
    let certificates = Certificates::new();
    for start in [Start::Tcp, Start::DirectTls] {
        let server = Fake::start(certificates.hosts(DOMAIN), start).await;
        for mechanism in Mechanism::ALL.into_iter().filter(|one| *one != Mechanism::External) {
            let mut settings = ClientConfig { start, ..config(&certificates, server.address) };
            settings.policy.mechanisms = vec![mechanism];
            let session = connect(settings).await;
            let login = &session.state().unwrap().login;
            assert_eq!(login.mechanism, mechanism);
            assert_eq!(login.channel_binding, mechanism.is_plus().then_some(ChannelBinding::TlsExporter));
            assert_eq!(login.mutual, mechanism.hash().is_some());
        }
        let session = connect(ClientConfig { start, ..config(&certificates, server.address) }).await;
        assert_eq!(session.state().unwrap().login.mechanism, Mechanism::ScramSha512Plus);
    }
}

/// A wrong password is told as such; nothing weaker is tried, and PLAIN never without leave.
#[tokio::test]
async fn refused_logins() {
    let certificates = Certificates::new();
    let server = Fake::start(certificates.hosts(DOMAIN), Start::Tcp).await;
    let mut settings = config(&certificates, server.address);
    settings.credentials = nuncio_client::Credentials::password("juliet", "wrong");
    let end = match timeout(PATIENCE, Client::connect(settings)).await.unwrap() {
        Err(LoginError::Disconnected(end)) => end,
        other => panic!("{other:?}"),
    };
    assert!(matches!(end.why, Why::Stream(Reason::Login(_))) && !end.may_retry, "{:?}", end.why);
    server.world.lock().unwrap().only_plain = true;
    let end = match timeout(PATIENCE, Client::connect(config(&certificates, server.address))).await.unwrap() {
        Err(LoginError::Disconnected(end)) => end,
        other => panic!("{other:?}"),
    };
    assert!(matches!(end.why, Why::Stream(Reason::Failed(_))) && !end.may_retry, "{:?}", end.why);
}

/// S0-07: what is sent before a resource is bound waits, and then goes out in order. (The server would end the stream with
/// `not-authorized` otherwise: S0-05.) The queue is bounded.
#[tokio::test]
async fn early_stanzas_wait() {
    let certificates = Certificates::new();
    let server = Fake::start(certificates.hosts(DOMAIN), Start::Tcp).await;
    let client = Client::new(ClientConfig { queue: 5, ..config(&certificates, server.address) }).unwrap();
    let mut session = client.start();
    for number in 0..5 {
        assert_eq!(session.send(&text(number)).await.unwrap(), number as u64 + 1);
    }
    assert!(session.state().is_none());
    session.online().await.unwrap();
    acked(&mut session, 5).await;
    assert_eq!(server.bodies(), numbers(0..5));
}

/// XEP-0198 §5: connections that break anywhere lose and double nothing, in either direction; requests survive.
#[tokio::test]
async fn a_resumed_session_loses_nothing() {
    let certificates = Certificates::new();
    let server = Fake::start(certificates.hosts(DOMAIN), Start::Tcp).await;
    let mut session = managed(config(&certificates, server.address)).await;
    let jid = session.jid().unwrap().clone();
    let (mut sent, mut pushed, mut seen) = (0, 0, Vec::new());
    for round in 0..12 {
        for _ in 0..=round % 5 {
            session.send(&text(sent)).await.unwrap();
            sent += 1;
            pushed += 1;
            server.push(&text(pushed - 1));
        }
        if round % 2 == 0 {
            session.cut();
        } else {
            server.kill();
        }
        let end = wait(&mut session, |event| match event {
            Event::Stanza(stanza) => {
                seen.push(stanza.body_text().unwrap().into_owned());
                None
            }
            Event::Disconnected(end) => Some(end),
            _ => None,
        })
        .await;
        assert!(end.resumable && end.may_retry && !end.clean, "{:?}", end.why);
        session.reconnect();
        let resumed = wait(&mut session, |event| match event {
            Event::Online(online) => Some(online.resumed),
            _ => None,
        })
        .await;
        assert!(resumed);
        assert_eq!(session.jid(), Some(&jid));
    }
    while seen.len() < pushed {
        seen.extend(read(&mut session, 1).await);
    }
    until(|| server.bodies().len() >= sent).await;
    assert_eq!(server.bodies(), numbers(0..sent));
    assert_eq!(seen, numbers(0..pushed));
    session.send(&text(sent)).await.unwrap();
    acked(&mut session, sent as u64 + 1).await;
}

/// A session that the server has forgotten: what it had handled is not sent again if it says so; the rest is, in order.
#[tokio::test]
async fn a_forgotten_session_is_replaced() {
    let certificates = Certificates::new();
    for tells in [true, false] {
        let server = Fake::start(certificates.hosts(DOMAIN), Start::Tcp).await;
        // Acknowledgements are asked for so late that none comes before the cut.
        let mut settings = config(&certificates, server.address);
        settings.pace.every = 1000;
        settings.pace.quiet = Duration::from_secs(1000);
        let mut session = managed(settings).await;
        let asked = session.sender();
        let asked = tokio::spawn(async move { asked.get(None, Builder::new("ping", ns::PING)).await });
        until(|| server.world.lock().unwrap().received.len() == 1).await;
        for number in 0..3 {
            session.send(&text(number)).await.unwrap();
        }
        until(|| server.bodies().len() == 3).await;
        server.world.lock().unwrap().forgetful = Some(tells);
        session.cut();
        assert!(disconnected(&mut session).await.resumable);
        session.send(&text(3)).await.unwrap();
        session.reconnect();
        if tells {
            acked(&mut session, 4).await;
        }
        assert!(!online(&mut session).await);
        session.send(&text(4)).await.unwrap();
        let expected =
            if tells { vec!["0", "1", "2", "3", "4"] } else { vec!["0", "1", "2", "0", "1", "2", "3", "4"] };
        until(|| server.bodies().len() == expected.len()).await;
        assert_eq!(server.bodies(), expected);
        if tells {
            // The request had been handled on the session that is gone: nobody will answer it.
            assert!(matches!(asked.await.unwrap(), Err(RequestError::Lost)));
        } else {
            // It was sent again and may still be answered.
            assert!(!asked.is_finished());
            asked.abort();
        }
    }
}

/// S0-02: the second connection resumes TLS. S0-28: after `<reset/>` it does not, but the session may still be resumed.
#[tokio::test]
async fn tls_sessions_are_resumed_and_die_with_a_reset() {
    let certificates = Certificates::new();
    for start in [Start::Tcp, Start::DirectTls] {
        let server = Fake::start(certificates.hosts(DOMAIN), start).await;
        let mut session = managed(ClientConfig { start, ..config(&certificates, server.address) }).await;
        // A ticket comes with the first bytes after the handshake; the login has read them.
        assert!(!session.state().unwrap().tls.resumed);
        server.kill();
        let end = disconnected(&mut session).await;
        assert!(matches!(end.why, Why::Stream(Reason::Truncated)), "S0-23: {:?}", end.why);
        session.reconnect();
        assert!(online(&mut session).await);
        let state = session.state().unwrap();
        assert!(state.tls.resumed);
        // S0-04: quick, and bound to this very TLS connection all the same.
        assert_eq!(state.login.channel_binding, Some(ChannelBinding::TlsExporter));

        assert_eq!(server.fail(StreamCondition::Reset), 1);
        let end = disconnected(&mut session).await;
        assert!(
            matches!(&end.why, Why::Stream(Reason::PeerError(error)) if error.condition == StreamCondition::Reset)
        );
        assert!(end.resumable && end.may_retry);
        session.reconnect();
        assert!(online(&mut session).await);
        assert!(!session.state().unwrap().tls.resumed);
        assert_eq!(server.world.lock().unwrap().tls, [false, true, false]);
    }
}

/// S0-21, S0-23: a close is orderly on both levels, and what was sent before it has arrived.
#[tokio::test]
async fn closing_is_orderly() {
    let certificates = Certificates::new();
    let server = Fake::start(certificates.hosts(DOMAIN), Start::Tcp).await;
    let mut session = connect(config(&certificates, server.address)).await;
    for number in 0..100 {
        session.send(&text(number)).await.unwrap();
    }
    let events = timeout(PATIENCE, session.close()).await.unwrap();
    match events.last() {
        Some(Event::Disconnected(end)) => {
            assert!(
                matches!(end.why, Why::Stream(Reason::Host)) && end.clean && !end.resumable,
                "{:?}",
                end.why
            );
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(server.bodies(), numbers(0..100));

    // Whatever its state, a session can be closed.
    let mut session = connect(config(&certificates, server.address)).await;
    session.cut();
    disconnected(&mut session).await;
    assert!(timeout(PATIENCE, session.online()).await.unwrap().is_err());
    assert!(timeout(PATIENCE, session.close()).await.unwrap().is_empty());
    let session = Client::new(config(&certificates, server.address)).unwrap().start();
    let events = timeout(PATIENCE, session.close()).await.unwrap();
    assert!(matches!(events.last(), Some(Event::Disconnected(_))));
}

/// A caller who does not read slows the server and loses nothing; one who only sends is told.
#[tokio::test]
async fn queues_are_bounded() {
    let certificates = Certificates::new();
    let server = Fake::start(certificates.hosts(DOMAIN), Start::Tcp).await;
    let small =
        ClientConfig { queue: 4, inbox: 8, unacknowledged: 4, ..config(&certificates, server.address) };
    let mut session = connect(small.clone()).await;
    for number in 0..2000 {
        server.push(&text(number));
    }
    assert_eq!(read(&mut session, 2000).await, numbers(0..2000));
    drop(session);

    // Each message is answered by ten, none of which is read: at last neither side moves, and the sender learns why.
    server.react(|_| (0..10).map(text).collect());
    let mut session = connect(small).await;
    let flood = async {
        loop {
            if let Err(error) = session.send(&text(0)).await {
                return error;
            }
        }
    };
    match timeout(Duration::from_secs(5), flood).await {
        Ok(error) => assert_eq!(error, nuncio_client::SendError::Unread),
        Err(_) => panic!("the sender waits for ever"),
    }
}

/// Without stream management nothing is acknowledged, and nothing can be resumed.
#[tokio::test]
async fn without_management() {
    let certificates = Certificates::new();
    let server = Fake::start(certificates.hosts(DOMAIN), Start::Tcp).await;
    let mut session =
        connect(ClientConfig { stream_management: false, ..config(&certificates, server.address) }).await;
    for number in 0..3 {
        session.send(&text(number)).await.unwrap();
    }
    until(|| server.bodies().len() == 3).await;
    server.kill();
    let end = disconnected(&mut session).await;
    assert!(!end.resumable && end.may_retry);
    session.reconnect();
    assert!(!online(&mut session).await);
    session.send(&text(3)).await.unwrap();
    until(|| server.bodies().len() == 4).await;
    assert_eq!(server.bodies(), numbers(0..4));
}
