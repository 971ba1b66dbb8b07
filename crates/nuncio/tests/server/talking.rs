//! Two clients and the server between them.

use nuncio_client::{ClientConfig, Event, Mechanism};
use nuncio_stream::sasl::ChannelBinding;
use nuncio_xmpp::ns;
use nuncio_xmpp::payload::Delay;

use crate::harness::{
    Place, acked, bodies, chat, connect, disconnected, online, ping, present, receive, wait,
};

/// Each mechanism, over STARTTLS and direct TLS, carries a message each way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_each_way_with_each_mechanism() {
    let place = Place::new(&[]);
    let server = place.serve();
    place.accounts(&["juliet", "romeo"]);
    let mut romeo = online(server.client("romeo")).await;
    for direct in [false, true] {
        for mechanism in Mechanism::ALL.into_iter().filter(|one| *one != Mechanism::External) {
            let mut config = server.client("juliet");
            config.policy.mechanisms = vec![mechanism];
            if direct {
                config = server.direct(config);
            }
            let mut juliet = online(config).await;
            let login = &juliet.state().unwrap().login;
            assert_eq!(login.mechanism, mechanism);
            assert_eq!(login.channel_binding, mechanism.is_plus().then_some(ChannelBinding::TlsExporter));
            let body = format!("{mechanism} {direct}");
            juliet.send(&chat("romeo@localhost", &body)).await.unwrap();
            let heard = receive(&mut romeo).await;
            assert_eq!(heard.body_text().unwrap(), body);
            assert_eq!(heard.from(), juliet.jid(), "from is stamped");
            romeo.send(&chat(juliet.jid().unwrap().as_str(), &body)).await.unwrap();
            assert_eq!(receive(&mut juliet).await.body_text().unwrap(), body);
            juliet.close().await;
        }
    }
    let mut best = server.client("juliet");
    best.policy.mechanisms = Mechanism::ALL.to_vec();
    assert_eq!(connect(best).await.state().unwrap().login.mechanism, Mechanism::ScramSha512Plus);
}

/// XEP-0160: what came while nobody was there comes first, in order, with the time of its arrival (XEP-0203), and once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn offline_messages() {
    let place = Place::new(&[]);
    let mut server = place.serve();
    place.accounts(&["juliet", "romeo"]);
    let mut romeo = online(server.client("romeo")).await;
    let mut last = 0;
    for number in 0..50 {
        last = romeo.send(&chat("juliet@localhost", &number.to_string())).await.unwrap();
    }
    acked(&mut romeo, last).await;
    drop(romeo);
    server.stop();
    drop(server);
    let server = place.serve();
    let mut juliet = online(server.client("juliet")).await;
    for number in 0..50 {
        let message = receive(&mut juliet).await;
        assert_eq!(message.body_text().unwrap(), number.to_string());
        let delay = message.child("delay", ns::DELAY).and_then(Delay::parse).expect("a delay");
        assert_eq!(delay.from.as_deref(), Some("localhost"));
    }
    ping(&mut juliet).await;
    juliet.close().await;
    let mut juliet = online(server.client("juliet")).await;
    let mut romeo = online(server.client("romeo")).await;
    romeo.send(&chat("juliet@localhost", "live")).await.unwrap();
    let live = receive(&mut juliet).await;
    assert_eq!(live.body_text().unwrap(), "live");
    assert!(live.child("delay", ns::DELAY).is_none());
}

/// XEP-0198 §5: connections of both sides break all the time; nothing is lost, doubled or out of order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn resumed_sessions_lose_and_double_nothing() {
    const ROUNDS: usize = 30;
    const EACH: usize = 7;
    let place = Place::new(&["limits.stanzas_per_second = 100000"]);
    let server = place.serve();
    place.accounts(&["juliet", "romeo"]);
    let managed = async |name: &str| {
        let mut session = connect(server.client(name)).await;
        wait(&mut session, |event| matches!(event, Event::Managed { resumable: true }).then_some(())).await;
        present(&mut session).await;
        session
    };
    let mut romeo = managed("romeo").await;
    let mut juliet = managed("juliet").await;
    let to = juliet.jid().unwrap().to_string();
    let mut heard = Vec::new();
    for round in 0..ROUNDS {
        for number in 0..EACH {
            romeo.send(&chat(&to, &(round * EACH + number).to_string())).await.unwrap();
        }
        for (cut, session) in [(round % 3 != 1, &mut juliet), (round % 3 != 0, &mut romeo)] {
            if !cut {
                continue;
            }
            session.cut();
            wait(session, |event| match event {
                Event::Disconnected(end) => {
                    assert!(end.resumable, "{:?}", end.why);
                    Some(())
                }
                Event::Stanza(stanza) => {
                    heard.extend(stanza.body_text().map(std::borrow::Cow::into_owned));
                    None
                }
                _ => None,
            })
            .await;
            session.reconnect();
            wait(session, |event| match event {
                Event::Online(online) => {
                    assert!(online.resumed);
                    Some(())
                }
                Event::Disconnected(end) => panic!("{:?}", end.why),
                _ => None,
            })
            .await;
        }
    }
    ping(&mut romeo).await;
    let left = ROUNDS * EACH - heard.len();
    heard.extend(bodies(&mut juliet, left).await);
    let expected: Vec<_> = (0..ROUNDS * EACH).map(|number| number.to_string()).collect();
    assert_eq!(heard, expected);
    // And nothing more comes.
    romeo.send(&chat(&to, "end")).await.unwrap();
    assert_eq!(receive(&mut juliet).await.body_text().unwrap(), "end");
}

/// A session that nobody resumes in time gives its messages back: they wait for the next login.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_lost_session_held_is_delivered_later() {
    let place = Place::new(&["timeouts.resume_seconds = 1"]);
    let server = place.serve();
    place.accounts(&["juliet", "romeo"]);
    let mut juliet = online(server.client("juliet")).await;
    let mut romeo = online(server.client("romeo")).await;
    juliet.cut();
    assert!(disconnected(&mut juliet).await.resumable);
    let last = romeo.send(&chat("juliet@localhost", "one")).await.unwrap();
    acked(&mut romeo, last).await;
    drop(juliet);
    crate::harness::until("the session expires", || server.metric("nuncio_expired_total") > 0.0).await;
    let mut juliet = online(server.client("juliet")).await;
    assert_eq!(receive(&mut juliet).await.body_text().unwrap(), "one");
    let without = ClientConfig { stream_management: false, ..server.client("romeo") };
    let mut romeo = online(without).await;
    romeo.send(&chat("juliet@localhost", "two")).await.unwrap();
    assert_eq!(receive(&mut juliet).await.body_text().unwrap(), "two");
}
