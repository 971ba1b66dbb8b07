//! The way of a stanza between clients of one server (RFC 6120 §10, RFC 6121 §8).

use crate::common::{Client, server};

#[tokio::test(start_paused = true)]
async fn a_message_goes_from_one_client_to_another() {
    let router = server(&["juliet", "romeo"]).await;
    let mut juliet = Client::online(&router, "juliet", "balcony").await;
    let mut romeo = Client::online(&router, "romeo", "orchard").await;
    let before = router.metrics().delivered.get();
    juliet.send("<message to='romeo@localhost' type='chat' id='m1'><body>hello</body></message>").await;
    let got = romeo.one().await;
    assert_eq!(router.metrics().delivered.get(), before + 1);
    assert!(got.contains("from='juliet@localhost/balcony'"), "{got}");
    assert!(got.contains("to='romeo@localhost'"), "the bare address stays: {got}");
    assert!(got.contains("<body>hello</body>"), "{got}");
    assert_eq!(juliet.drain().await, [] as [&str; 0]);
    assert_eq!(juliet.handled, juliet.number);
}

/// RFC 6120 §10.3.1, §8.1.2.1: without `to` it is for the own account; a wrong `from` ends the stream.
#[tokio::test(start_paused = true)]
async fn addresses_are_put_on() {
    let router = server(&["juliet"]).await;
    let mut juliet = Client::online(&router, "juliet", "balcony").await;
    juliet.send("<message id='m1'><body>note</body></message>").await;
    let got = juliet.one().await;
    assert!(got.contains("to='juliet@localhost'") && got.contains("note"), "{got}");
    juliet.send("<message from='romeo@localhost' to='juliet@localhost'><body>x</body></message>").await;
    juliet.drain().await;
    assert_eq!(juliet.closed.as_deref(), Some("invalid-from"));
}

/// RFC 6120 §8.2.3, §8.3, §10.3.3; RFC 6121 §8.5: one error for what does not exist and what is not there.
#[tokio::test(start_paused = true)]
async fn errors_tell_nothing_and_are_never_answered() {
    let router = server(&["juliet", "romeo"]).await;
    let mut juliet = Client::online(&router, "juliet", "balcony").await;
    let mut romeo = Client::online(&router, "romeo", "orchard").await;
    let unavailable = "<service-unavailable";
    let cases = [
        ("<iq type='get' id='1' to='nobody@localhost'><query xmlns='x'/></iq>", Some(unavailable)),
        ("<iq type='get' id='1' to='nobody@localhost/r'><query xmlns='x'/></iq>", Some(unavailable)),
        ("<iq type='get' id='1' to='romeo@localhost'><query xmlns='x'/></iq>", Some(unavailable)),
        ("<iq type='get' id='1' to='romeo@localhost/orchard'><query xmlns='x'/></iq>", Some(unavailable)),
        ("<iq type='get' id='1' to='romeo@localhost/cellar'><query xmlns='x'/></iq>", Some(unavailable)),
        ("<iq type='get' id='1' to='localhost'><query xmlns='x'/></iq>", Some(unavailable)),
        ("<iq type='get' id='1'><query xmlns='x'/></iq>", Some(unavailable)),
        ("<message to='nobody@localhost'><body>x</body></message>", Some(unavailable)),
        ("<message to='localhost'><body>x</body></message>", Some(unavailable)),
        ("<message to='romeo@elsewhere.example'><body>x</body></message>", Some("<remote-server-not-found")),
        (
            "<iq type='get' id='1' to='elsewhere.example'><query xmlns='x'/></iq>",
            Some("<remote-server-not-found"),
        ),
        ("<message type='error' to='nobody@localhost'><body>x</body></message>", None),
        ("<message type='error' to='romeo@localhost'><body>x</body></message>", None),
        ("<iq type='result' id='1' to='nobody@localhost'/>", None),
        ("<iq type='error' id='1' to='romeo@elsewhere.example'><error type='cancel'/></iq>", None),
        ("<iq type='result' id='1' to='localhost'/>", None),
        ("<presence to='nobody@localhost'/>", None),
    ];
    for (stanza, expected) in cases {
        juliet.send(stanza).await;
        let got = juliet.drain().await;
        match expected {
            Some(condition) => {
                assert_eq!(got.len(), 1, "{stanza}: {got:?}");
                assert!(got[0].contains("type='error'") && got[0].contains(condition), "{stanza}: {got:?}");
            }
            None => assert!(got.is_empty(), "{stanza}: {got:?}"),
        }
        assert!(romeo.drain().await.is_empty(), "{stanza}");
    }
    assert_eq!(juliet.handled, juliet.number, "errors are handled too (XEP-0198)");
}

/// RFC 6121 §8.5.3.2.3 and invariant 14: a request reaches a resource only if its presence is known to the asker.
#[tokio::test(start_paused = true)]
async fn a_request_to_a_resource_needs_its_presence() {
    let router = server(&["juliet", "romeo"]).await;
    let mut juliet = Client::online(&router, "juliet", "balcony").await;
    let mut romeo = Client::online(&router, "romeo", "orchard").await;
    let mut other = Client::online(&router, "juliet", "chamber").await;
    let ask = "<iq type='get' id='q' to='juliet@localhost/balcony'><query xmlns='x'/></iq>";
    romeo.send(ask).await;
    assert!(romeo.one().await.contains("<service-unavailable"));
    juliet.drain().await;
    other.drain().await;
    other.send(ask).await;
    assert!(juliet.one().await.contains("from='juliet@localhost/chamber'"), "one's own resource may ask");
    juliet.send("<iq type='result' id='q' to='juliet@localhost/chamber'/>").await;
    assert!(other.one().await.contains("type='result'"));
}

/// RFC 6121 §8.5.4 for a message; XEP-0160.
#[tokio::test(start_paused = true)]
async fn messages_wait_for_a_session_that_takes_them() {
    let router = server(&["juliet", "romeo"]).await;
    let mut juliet = Client::online(&router, "juliet", "balcony").await;
    for number in 0..3 {
        juliet
            .send(&format!("<message to='romeo@localhost' type='chat'><body>{number}</body></message>"))
            .await;
    }
    juliet.send("<message to='romeo@localhost' type='headline'><body>news</body></message>").await;
    juliet
        .send("<message to='romeo@localhost' type='chat'><active xmlns='http://jabber.org/protocol/chatstates'/></message>")
        .await;
    assert_eq!(juliet.drain().await, [] as [&str; 0]);

    let mut romeo = Client::login(&router, "romeo", "orchard").await;
    romeo.send("<presence><priority>-1</priority></presence>").await;
    assert!(romeo.bodies().await.is_empty(), "a negative priority takes nothing");
    romeo.send("<presence/>").await;
    let got = romeo.drain().await;
    let got: Vec<_> = got.iter().filter(|stanza| stanza.starts_with("<message")).collect();
    assert_eq!(got.len(), 3, "{got:#?}");
    for (number, stanza) in got.iter().enumerate() {
        assert_eq!(crate::common::body(stanza), Some(number.to_string()));
        assert!(stanza.contains("urn:xmpp:delay") && stanza.contains("from='localhost'"), "{stanza}");
        assert!(stanza.contains("stamp='2026-11-22T12:00:00.000Z'"), "{stanza}");
    }
    romeo.leave().await;
    let mut again = Client::login(&router, "romeo", "orchard").await;
    again.send("<presence/>").await;
    assert!(again.bodies().await.is_empty(), "they came once");
}

#[tokio::test(start_paused = true)]
async fn too_many_offline_messages_go_back() {
    let mut config = nuncio_router::RouterConfig::default();
    config.limits.offline_messages = 2;
    let router = crate::common::server_with(config, nuncio_store::Store::memory(), &[]).await;
    crate::common::add(&router, &["juliet", "romeo"]).await;
    let mut juliet = Client::online(&router, "juliet", "balcony").await;
    for _ in 0..3 {
        juliet.send("<message to='romeo@localhost' type='chat'><body>x</body></message>").await;
    }
    let got = juliet.one().await;
    assert!(got.contains("<service-unavailable"), "{got}");
    assert_eq!(router.metrics().offline_full.get(), 1);
}

/// RFC 6120 §7.7.2.2: the newer session has the resource; the older one ends with `conflict`.
#[tokio::test(start_paused = true)]
async fn a_resource_is_bound_once() {
    let router = server(&["juliet"]).await;
    let mut old = Client::online(&router, "juliet", "balcony").await;
    let mut new = Client::online(&router, "juliet", "balcony").await;
    old.drain().await;
    assert_eq!(old.closed.as_deref(), Some("conflict"));
    new.send("<message to='juliet@localhost'><body>still here</body></message>").await;
    assert_eq!(new.bodies().await, ["still here"]);
}

/// RFC 6120 §7.6.2.1.
#[tokio::test(start_paused = true)]
async fn sessions_are_limited() {
    let mut config = nuncio_router::RouterConfig::default();
    config.limits.sessions = 2;
    let router = crate::common::server_with(config, nuncio_store::Store::memory(), &[]).await;
    crate::common::add(&router, &["juliet"]).await;
    let _one = Client::login(&router, "juliet", "1").await;
    let two = Client::login(&router, "juliet", "2").await;
    let mut three = Client::connect(&router, "juliet").await;
    assert_eq!(three.bind("3").await, Err("resource-constraint".to_owned()));
    two.leave().await;
    assert_eq!(three.bind("3").await, Ok(()));
}

/// Invariant 23: a session that does not read loses its connection, and nobody else notices.
#[tokio::test(start_paused = true)]
async fn a_slow_reader_loses_only_itself() {
    let mut config = nuncio_router::RouterConfig::default();
    config.limits.queue_stanzas = 10;
    config.limits.stanzas_per_second = 1_000_000;
    let router = crate::common::server_with(config, nuncio_store::Store::memory(), &[]).await;
    crate::common::add(&router, &["juliet", "romeo"]).await;
    let mut juliet = Client::online(&router, "juliet", "balcony").await;
    let mut slow = Client::online(&router, "romeo", "slow").await;
    let mut quick = Client::online(&router, "romeo", "quick").await;
    slow.drain().await;
    let before = tokio::time::Instant::now();
    let mut got = Vec::new();
    for number in 0..50 {
        juliet
            .send(&format!("<message to='romeo@localhost' type='chat'><body>{number}</body></message>"))
            .await;
        got.extend(quick.bodies().await);
    }
    assert_eq!(got, (0..50).map(|number| number.to_string()).collect::<Vec<_>>());
    assert!(before.elapsed() < std::time::Duration::from_secs(1));
    slow.drain().await;
    assert_eq!(slow.closed.as_deref(), Some("resource-constraint"));
    assert_eq!(router.metrics().overflowed.get(), 1);
}

/// The sender is slowed by its own rate, not ended.
#[tokio::test(start_paused = true)]
async fn a_fast_writer_is_slowed() {
    let mut config = nuncio_router::RouterConfig::default();
    config.limits.stanzas_per_second = 10;
    let router = crate::common::server_with(config, nuncio_store::Store::memory(), &[]).await;
    crate::common::add(&router, &["juliet"]).await;
    let mut juliet = Client::online(&router, "juliet", "balcony").await;
    let before = tokio::time::Instant::now();
    for _ in 0..40 {
        juliet.send("<message to='juliet@localhost'><body>x</body></message>").await;
    }
    let took = before.elapsed();
    assert!(took >= std::time::Duration::from_millis(2_900), "{took:?}");
    assert_eq!(juliet.bodies().await.len(), 40);
    assert!(router.metrics().slowed.get() > 0);
}

/// The end of a session whose queue the server's own answers have filled is told like every other end.
#[tokio::test(start_paused = true)]
async fn answers_fill_a_queue_too() {
    let mut config = nuncio_router::RouterConfig::default();
    config.limits.queue_stanzas = 10;
    config.limits.stanzas_per_second = 1_000_000;
    let router = crate::common::server_with(config, nuncio_store::Store::memory(), &[]).await;
    crate::common::add(&router, &["juliet"]).await;
    let mut deaf = Client::online(&router, "juliet", "deaf").await;
    let mut other = Client::online(&router, "juliet", "other").await;
    deaf.drain().await;
    for _ in 0..30 {
        deaf.send("<iq type='get' id='1' to='localhost'><query xmlns='x'/></iq>").await;
    }
    deaf.drain().await;
    assert_eq!(deaf.closed.as_deref(), Some("resource-constraint"));
    let told = other.drain().await;
    assert!(
        told.iter().any(|stanza| stanza.contains("deaf") && stanza.contains("type='unavailable'")),
        "{told:?}"
    );
}

/// XEP-0203, security considerations: only the server says when something has reached its domain; what others noted stays.
#[tokio::test(start_paused = true)]
async fn nobody_forges_the_servers_note_of_a_delay() {
    let router = server(&["juliet", "romeo"]).await;
    let mut juliet = Client::online(&router, "juliet", "balcony").await;
    let forged =
        |from: &str| format!("<delay xmlns='urn:xmpp:delay' from='{from}' stamp='2001-02-03T04:05:06Z'/>");
    let own = forged("juliet@localhost");
    let message = format!(
        "<message to='romeo@localhost'><body>x</body>{}{}{own}</message>",
        forged("localhost"),
        forged("LOCALHOST/x")
    );
    juliet.send(&message).await;
    let mut romeo = Client::login(&router, "romeo", "orchard").await;
    romeo.send("<presence/>").await;
    let got = romeo.drain().await.into_iter().find(|stanza| stanza.starts_with("<message")).unwrap();
    assert_eq!(got.matches("2001-02-03").count(), 1, "{got}");
    assert!(got.contains("from='juliet@localhost' stamp='2001"), "{got}");
    assert_eq!(got.matches("from='localhost'").count(), 1, "the server's own note is there: {got}");
}

/// The future of an event is made for every stanza: it has to fit where an allocator finds room at once.
#[tokio::test(start_paused = true)]
async fn events_are_small_futures() {
    use nuncio_sansio::Host as _;
    let router = server(&["juliet"]).await;
    let mut juliet = Client::login(&router, "juliet", "balcony").await;
    let event = juliet.host.event(nuncio_stream::c2s::Event::Acked { h: 0, fresh: 0 });
    let size = size_of_val(&event);
    drop(event);
    assert!(size <= 1024, "{size} bytes");
    juliet.leave().await;
}
