//! Stream management as the router keeps it: what is not acknowledged is not lost (XEP-0198).

use std::time::Duration;

use nuncio_sansio::Host as _;

use crate::common::{Client, add, server, server_with};
use nuncio_router::RouterConfig;
use nuncio_store::Store;
use nuncio_stream::c2s::{Command, Event};
use nuncio_xmpp::error::{StreamCondition, StreamError};
use nuncio_xmpp::stanza::Stanza;
use nuncio_xmpp::xml::Element;

fn chat(to: &str, text: impl std::fmt::Display) -> String {
    format!("<message to='{to}@localhost' type='chat'><body>{text}</body></message>")
}

/// XEP-0198 §5: what the client had not handled comes again, in order, before anything new.
#[tokio::test(start_paused = true)]
async fn a_resumed_session_gets_what_it_missed() {
    let router = server(&["juliet", "romeo"]).await;
    let mut juliet = Client::online(&router, "juliet", "balcony").await;
    let mut romeo = Client::online(&router, "romeo", "orchard").await;
    let previd = romeo.enable().await;
    for number in 0..3 {
        juliet.send(&chat("romeo", number)).await;
    }
    assert_eq!(romeo.bodies().await, ["0", "1", "2"]);
    romeo.ack(1).await;
    romeo.send(&chat("juliet", "counted")).await;
    romeo.drain().await;
    romeo.lose().await;
    assert_eq!(router.metrics().hibernated.get(), 1);
    juliet.send(&chat("romeo", 3)).await;

    let (mut romeo, resumed) = Client::resume(&router, "romeo", &previd, 2).await.unwrap();
    assert_eq!((resumed.jid.as_str(), resumed.inbound, resumed.outbound), ("romeo@localhost/orchard", 1, 3));
    juliet.send(&chat("romeo", 4)).await;
    assert_eq!(romeo.bodies().await, ["2", "3", "4"]);
    assert_eq!(router.metrics().hibernated.get(), 0);
    romeo.send(&chat("juliet", "after")).await;
    romeo.lose().await;
    let (_, resumed) = Client::resume(&router, "romeo", &previd, 5).await.unwrap();
    assert_eq!((resumed.inbound, resumed.outbound), (2, 5), "counts go on over several streams");
    assert_eq!(juliet.bodies().await, ["counted", "after"]);
}

#[tokio::test(start_paused = true)]
async fn only_the_account_resumes_and_never_past_what_was_sent() {
    let router = server(&["juliet", "romeo"]).await;
    let mut romeo = Client::online(&router, "romeo", "orchard").await;
    let previd = romeo.enable().await;
    romeo.lose().await;
    let refused = |result: Result<_, String>| result.map(|_: (Client, _)| ()).unwrap_err();
    assert_eq!(refused(Client::resume(&router, "juliet", &previd, 0).await), "item-not-found");
    assert_eq!(refused(Client::resume(&router, "romeo", "guess", 0).await), "item-not-found");
    assert_eq!(refused(Client::resume(&router, "romeo", &previd, 7).await), "item-not-found");
    assert!(Client::resume(&router, "romeo", &previd, 0).await.is_ok());
}

/// The client is back before the server has noticed that the old connection is dead.
#[tokio::test(start_paused = true)]
async fn a_resumption_takes_over_from_a_connection_that_hangs() {
    let router = server(&["juliet", "romeo"]).await;
    let mut juliet = Client::online(&router, "juliet", "balcony").await;
    let mut hanging = Client::online(&router, "romeo", "orchard").await;
    let previd = hanging.enable().await;
    juliet.send(&chat("romeo", "one")).await;
    let (mut romeo, _) = Client::resume(&router, "romeo", &previd, 0).await.unwrap();
    assert!(hanging.bodies().await.is_empty(), "it is no longer told anything");
    assert_eq!(hanging.closed.as_deref(), Some("conflict"));
    hanging.send(&chat("juliet", "too late")).await;
    assert_eq!(romeo.bodies().await, ["one"]);
    juliet.send(&chat("romeo", "two")).await;
    assert_eq!(romeo.bodies().await, ["two"], "the old connection's end has not ended the session");
    assert!(juliet.bodies().await.is_empty());
}

/// XEP-0198 §5 and invariant 11: after the time for resumption, what was not acknowledged goes to other sessions, or waits.
#[tokio::test(start_paused = true)]
async fn what_a_lost_session_leaves_is_delivered_once_more() {
    let router = server(&["juliet", "romeo"]).await;
    let mut juliet = Client::online(&router, "juliet", "balcony").await;
    let mut romeo = Client::online(&router, "romeo", "orchard").await;
    romeo.enable().await;
    for number in 0..3 {
        juliet.send(&chat("romeo", number)).await;
    }
    romeo.drain().await;
    romeo.ack(1).await;
    romeo.lose().await;
    tokio::time::sleep(Duration::from_secs(301)).await;
    assert_eq!(router.metrics().expired.get(), 1);
    let mut phone = Client::login(&router, "romeo", "phone").await;
    phone.send("<presence/>").await;
    let got = phone.drain().await;
    let got: Vec<_> = got.iter().filter(|stanza| stanza.starts_with("<message")).collect();
    assert_eq!(got.len(), 2, "{got:?}");
    assert!(got.iter().all(|stanza| stanza.contains("urn:xmpp:delay")), "{got:?}");
    assert!(juliet.drain().await.is_empty(), "nothing bounced");
}

#[tokio::test(start_paused = true)]
async fn what_a_lost_session_leaves_goes_to_a_session_that_is_there() {
    let router = server(&["juliet", "romeo"]).await;
    let mut juliet = Client::online(&router, "juliet", "balcony").await;
    let mut lost = Client::online(&router, "romeo", "lost").await;
    lost.enable().await;
    juliet.send("<message to='romeo@localhost/lost' type='chat'><body>x</body></message>").await;
    let mut here = Client::online(&router, "romeo", "here").await;
    lost.drain().await;
    lost.lose().await;
    assert!(here.bodies().await.is_empty());
    tokio::time::sleep(Duration::from_secs(301)).await;
    let got = here.drain().await;
    assert!(
        got.iter().any(|stanza| stanza.contains("<body>x</body>") && stanza.contains("urn:xmpp:delay")),
        "{got:?}"
    );
}

/// XEP-0198 §4 has a server answer for requests too: RFC 6120 §8.2.3 wants one answer for each.
#[tokio::test(start_paused = true)]
async fn an_unanswered_request_to_a_lost_session_bounces() {
    let router = server(&["juliet"]).await;
    let mut asker = Client::online(&router, "juliet", "asker").await;
    let mut lost = Client::online(&router, "juliet", "lost").await;
    lost.enable().await;
    asker.drain().await;
    asker.send("<iq type='get' id='q' to='juliet@localhost/lost'><query xmlns='x'/></iq>").await;
    lost.drain().await;
    lost.lose().await;
    tokio::time::sleep(Duration::from_secs(301)).await;
    let got = asker.drain().await;
    let answers: Vec<_> = got.iter().filter(|stanza| stanza.starts_with("<iq")).collect();
    assert_eq!(answers.len(), 1, "{got:?}");
    assert!(answers[0].contains("<service-unavailable") && answers[0].contains("id='q'"), "{got:?}");
}

/// Invariant 11 and B10: one acknowledgement of two settles a message that both sessions hold.
#[tokio::test(start_paused = true)]
async fn one_device_that_took_it_settles_a_message() {
    let router = server(&["juliet", "romeo"]).await;
    let mut juliet = Client::online(&router, "juliet", "balcony").await;
    let mut phone = Client::online(&router, "romeo", "phone").await;
    let mut desk = Client::online(&router, "romeo", "desk").await;
    phone.enable().await;
    desk.enable().await;
    juliet.enable().await;
    juliet.send(&chat("romeo", "both")).await;
    let waiting = async || router.store().log("offline").count("romeo@localhost").await.unwrap();
    assert_eq!(waiting().await, 1, "the sender counts on it, so it has a row");
    phone.drain().await;
    desk.drain().await;
    desk.ack(1).await;
    assert_eq!(waiting().await, 0, "the first acknowledgement removes the row");
    desk.leave().await;
    phone.lose().await;
    tokio::time::sleep(Duration::from_secs(301)).await;
    let mut later = Client::login(&router, "romeo", "later").await;
    later.send("<presence/>").await;
    assert!(later.bodies().await.is_empty());
    assert!(juliet.bodies().await.is_empty());
}

/// Invariant 9: what the sender is told to be handled is there after the process has died without a word.
#[tokio::test(start_paused = true)]
async fn what_was_acknowledged_survives_the_process() {
    let store = Store::memory();
    {
        let router = server_with(RouterConfig::default(), store.clone(), &[]).await;
        add(&router, &["juliet", "romeo"]).await;
        let mut juliet = Client::online(&router, "juliet", "balcony").await;
        juliet.enable().await;
        let mut romeo = Client::online(&router, "romeo", "orchard").await;
        romeo.enable().await;
        for number in 0..5 {
            juliet.send(&chat("romeo", number)).await;
        }
        juliet.drain().await;
        assert_eq!(juliet.handled, juliet.number);
        assert_eq!(romeo.bodies().await.len(), 5);
        romeo.ack(2).await;
        juliet.kill();
        romeo.kill();
    }
    let router = server_with(RouterConfig::default(), store, &[]).await;
    let mut romeo = Client::login(&router, "romeo", "orchard").await;
    romeo.send("<presence/>").await;
    assert_eq!(romeo.bodies().await, ["2", "3", "4"]);
}

/// A graceful stop: streams end with `system-shutdown`, what nobody took is kept, also of senders without stream management.
#[tokio::test(start_paused = true)]
async fn a_stop_loses_nothing() {
    let store = Store::memory();
    {
        let router = server_with(RouterConfig::default(), store.clone(), &[]).await;
        add(&router, &["juliet", "romeo"]).await;
        let mut juliet = Client::online(&router, "juliet", "balcony").await;
        let mut romeo = Client::online(&router, "romeo", "orchard").await;
        romeo.enable().await;
        juliet.send(&chat("romeo", "sent")).await;
        romeo.drain().await;
        juliet.send(&chat("romeo", "queued")).await;
        let mut sleeping = Client::online(&router, "juliet", "sleeping").await;
        sleeping.enable().await;
        sleeping.drain().await;
        sleeping.lose().await;
        let mut unbound = Client::connect(&router, "juliet").await;
        let stop = tokio::spawn({
            let router = router.clone();
            async move { router.shutdown(Duration::from_secs(2)).await }
        });
        tokio::time::sleep(Duration::from_millis(10)).await;
        juliet.drain().await;
        assert_eq!(juliet.closed.as_deref(), Some("system-shutdown"));
        assert_eq!(unbound.bind("late").await, Err("resource-constraint".to_owned()));
        unbound.drain().await;
        assert_eq!(unbound.closed.as_deref(), Some("system-shutdown"));
        // Romeo does not even read that he is to go.
        stop.await.unwrap().unwrap();
        assert_eq!(router.metrics().sessions.get(), 0);
    }
    let router = server_with(RouterConfig::default(), store, &[]).await;
    let mut romeo = Client::login(&router, "romeo", "orchard").await;
    romeo.send("<presence/>").await;
    assert_eq!(romeo.bodies().await, ["sent", "queued"]);
}

/// S0-27: streams are reset one after the other, and their sessions can be resumed.
#[tokio::test(start_paused = true)]
async fn resets_are_staggered_and_keep_sessions() {
    let router = server(&["juliet", "romeo"]).await;
    let mut juliet = Client::online(&router, "juliet", "balcony").await;
    let mut romeo = Client::online(&router, "romeo", "orchard").await;
    let previd = romeo.enable().await;
    assert_eq!(router.reset_streams(Duration::from_secs(10)), 2);
    juliet.drain().await;
    romeo.drain().await;
    assert_eq!((juliet.closed.as_deref(), romeo.closed.as_deref()), (Some("reset"), None));
    tokio::time::sleep(Duration::from_secs(5)).await;
    romeo.drain().await;
    assert_eq!(romeo.closed.as_deref(), Some("reset"));
    assert!(Client::resume(&router, "romeo", &previd, 0).await.is_ok());
    assert_eq!(router.sessions().len(), 1, "one without stream management has ended");
}

/// A session over its bound that can be resumed loses its connection and keeps its queue.
#[tokio::test(start_paused = true)]
async fn an_overflowing_session_can_be_resumed() {
    let mut config = RouterConfig::default();
    config.limits.queue_stanzas = 10;
    let router = server_with(config, Store::memory(), &[]).await;
    add(&router, &["juliet", "romeo"]).await;
    let mut juliet = Client::online(&router, "juliet", "balcony").await;
    let mut slow = Client::online(&router, "romeo", "slow").await;
    let previd = slow.enable().await;
    for number in 0..15 {
        juliet.send(&chat("romeo", number)).await;
    }
    slow.drain().await;
    assert_eq!(slow.closed.as_deref(), Some("resource-constraint"));
    let (mut slow, _) = Client::resume(&router, "romeo", &previd, 0).await.unwrap();
    assert_eq!(slow.bodies().await, (0..15).map(|number| number.to_string()).collect::<Vec<_>>());

    slow.lose().await;
    for number in 15..50 {
        juliet.send(&chat("romeo", number)).await;
    }
    assert_eq!(router.metrics().sessions.get(), 1, "over the second bound the session is over");
    let mut later = Client::login(&router, "romeo", "later").await;
    later.send("<presence/>").await;
    assert_eq!(later.bodies().await, (0..50).map(|number| number.to_string()).collect::<Vec<_>>());
    assert!(juliet.bodies().await.is_empty());
}

/// Invariant 9, on a disk: when the sender is told, the row is there to be read.
#[tokio::test]
async fn handled_means_on_the_disk() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path(), &nuncio_store::Options::default()).unwrap();
    let router = server_with(RouterConfig::default(), store.clone(), &[]).await;
    add(&router, &["juliet", "romeo"]).await;
    let mut juliet = Client::login(&router, "juliet", "balcony").await;
    juliet.enable().await;
    let log = store.log("offline");
    for number in 1..=20 {
        juliet.send(&chat("romeo", number)).await;
        while juliet.handled < juliet.number {
            assert!(juliet.next().await.is_none());
        }
        assert_eq!(log.count("romeo@localhost").await.unwrap(), number);
    }
    drop(juliet);
    router.shutdown(Duration::from_secs(1)).await.unwrap();
    store.close().await.unwrap();
}

/// What cannot be stored is never acknowledged: the stream ends, and the client sends it again (RFC 6120 §4.9.3.6).
#[tokio::test(start_paused = true)]
async fn what_cannot_be_stored_is_not_acknowledged() {
    let router = server(&["juliet", "romeo"]).await;
    let mut juliet = Client::online(&router, "juliet", "balcony").await;
    juliet.enable().await;
    let before = juliet.handled;
    let mut romeo = Client::login(&router, "romeo", "orchard").await;
    romeo.drain().await;
    router.store().close().await.unwrap();
    juliet.send(&chat("romeo", "lost?")).await;
    juliet.drain().await;
    assert_eq!(juliet.closed.as_deref(), Some("internal-server-error"));
    assert_eq!(juliet.handled, before);
}

/// A connection whose task died without a word ends like a lost one.
#[tokio::test(start_paused = true)]
async fn a_task_that_died_leaves_no_ghost() {
    let router = server(&["juliet"]).await;
    let mut managed = Client::online(&router, "juliet", "managed").await;
    managed.enable().await;
    let plain = Client::online(&router, "juliet", "plain").await;
    drop((managed, plain));
    router.quiet().await;
    assert_eq!((router.metrics().sessions.get(), router.metrics().hibernated.get()), (1, 1));
}

/// RFC 6120 §4.4: nothing is sent after our closing tag, so what comes meanwhile is for whoever is there next, not lost.
#[tokio::test(start_paused = true)]
async fn what_comes_while_a_stream_closes_is_kept() {
    let router = server(&["juliet", "romeo"]).await;
    let mut juliet = Client::online(&router, "juliet", "balcony").await;
    for managed in [false, true] {
        let mut romeo = Client::online(&router, "romeo", "orchard").await;
        if managed {
            romeo.enable().await;
        }
        assert_eq!(router.reset_streams(Duration::ZERO), 2);
        while !matches!(romeo.host.command().await, Command::Close(Some(_))) {}
        juliet.send(&chat("romeo", "meanwhile")).await;
        let more = tokio::time::timeout(Duration::from_millis(1), romeo.host.command()).await;
        assert!(more.is_err(), "{more:?}");
        romeo.leave().await;
        let mut next = Client::login(&router, "romeo", "orchard").await;
        next.send("<presence/>").await;
        assert_eq!(next.bodies().await, ["meanwhile"], "managed: {managed}");
        next.leave().await;
    }
}

/// XEP-0198 §4: what a session did not take because it was over is not counted as handled.
#[tokio::test(start_paused = true)]
async fn a_session_that_is_over_takes_nothing() {
    let router = server(&["juliet", "romeo"]).await;
    let juliet = Client::online(&router, "juliet", "balcony").await;
    let session = juliet.host.session().unwrap().clone();
    assert!(router.end_session(&session, StreamError::new(StreamCondition::Conflict)).await);
    let element = Element::parse_in("jabber:client", chat("romeo", "late")).unwrap();
    let taken = router.submit(&session, Stanza::from_element(element).unwrap()).await;
    assert!(matches!(taken, Ok(None)), "{taken:?}");
    assert_eq!(router.store().log("offline").count("romeo@localhost").await.unwrap(), 0);
}

/// XEP-0198 §5: a connection that was taken over changes neither count.
#[tokio::test(start_paused = true)]
async fn a_connection_that_was_taken_over_counts_nothing() {
    let router = server(&["juliet", "romeo"]).await;
    let mut juliet = Client::online(&router, "juliet", "balcony").await;
    let mut hanging = Client::online(&router, "romeo", "orchard").await;
    let previd = hanging.enable().await;
    juliet.send(&chat("romeo", "one")).await;
    hanging.drain().await;
    let (mut romeo, _) = Client::resume(&router, "romeo", &previd, 0).await.unwrap();
    assert_eq!(romeo.bodies().await, ["one"]);
    hanging.host.event(Event::Answered { number: 9, reply: None }).await;
    hanging.ack(1).await;
    romeo.lose().await;
    let (mut romeo, resumed) = Client::resume(&router, "romeo", &previd, 0).await.unwrap();
    assert_eq!(resumed.inbound, 0);
    assert_eq!(romeo.bodies().await, ["one"]);
}
