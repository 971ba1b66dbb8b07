//! Ends of the server: by the book, and without warning.

use nuncio_client::{Event, Reason, Why};
use nuncio_xmpp::error::StreamCondition;

use nuncio_sansio::Eof;

use crate::harness::{Place, acked, bodies, chat, connect, disconnected, online, wait};
use crate::raw::{HEADER, Raw};

/// SIGTERM: `system-shutdown`, the closing tag, `close_notify` (S0-21, S0-23); whoever is still logging in is told too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_are_closed_by_the_book() {
    let place = Place::new(&[]);
    let mut server = place.serve();
    place.accounts(&["juliet", "romeo"]);
    let mut sessions = Vec::new();
    for name in ["juliet", "juliet", "romeo"] {
        sessions.push(online(server.client(name)).await);
    }
    sessions.push(connect(server.direct(server.client("romeo"))).await);
    server.signal("TERM");
    for session in &mut sessions {
        let end = disconnected(session).await;
        match &end.why {
            Why::Stream(Reason::PeerError(error)) => {
                assert_eq!(error.condition, StreamCondition::SystemShutdown);
            }
            other => panic!("{other:?}"),
        }
        assert!(end.clean && end.may_retry);
    }
    assert!(server.ended().success());
    let log = server.log.all();
    assert!(log.iter().any(|line| line.contains("stopped")));
    assert!(!log.iter().any(|line| line.contains("ERROR")), "{log:?}");
}

/// A stop loses nothing that was acknowledged, whether the recipient was away, lost its connection or just does not read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_loses_nothing_that_was_acknowledged() {
    const EACH: usize = 40;
    let place = Place::new(&["limits.stanzas_per_second = 100000"]);
    let mut server = place.serve();
    let names = ["away", "lost", "unread", "unmanaged"];
    place.accounts(&names);
    place.accounts(&["romeo"]);
    let mut lost = online(server.client("lost")).await;
    lost.cut();
    assert!(disconnected(&mut lost).await.resumable);
    let mut tight = server.client("unread");
    tight.queue = 1;
    let unread = online(tight).await;
    let mut romeo = online(server.client("romeo")).await;
    let mut last = 0;
    for number in 0..EACH {
        for name in names {
            last = romeo.send(&chat(&format!("{name}@localhost"), &number.to_string())).await.unwrap();
        }
    }
    acked(&mut romeo, last).await;
    server.signal("TERM");
    disconnected(&mut romeo).await;
    assert!(server.ended().success());
    // What the reader had taken over before the end counts as delivered.
    let mut taken: Vec<String> = Vec::new();
    let mut unread = unread;
    wait(&mut unread, |event| match event {
        Event::Stanza(stanza) => {
            taken.extend(stanza.body_text().map(std::borrow::Cow::into_owned));
            None
        }
        Event::Disconnected(_) => Some(()),
        _ => None,
    })
    .await;
    drop((unread, lost, romeo, server));

    let server = place.serve();
    let expected: Vec<_> = (0..EACH).map(|number| number.to_string()).collect();
    for name in ["away", "lost", "unmanaged"] {
        let mut session = online(server.client(name)).await;
        assert_eq!(bodies(&mut session, EACH).await, expected, "{name}");
    }
    let mut unread = online(server.client("unread")).await;
    let mut romeo = online(server.client("romeo")).await;
    romeo.send(&chat("unread@localhost", "end")).await.unwrap();
    loop {
        let body = bodies(&mut unread, 1).await.remove(0);
        if body == "end" {
            break;
        }
        taken.push(body);
    }
    taken.sort_by_key(|body| body.parse::<usize>().unwrap());
    taken.dedup();
    assert_eq!(taken, expected);
}

/// S0-21, S0-23, on the wire: error and closing tag; what a client still sends is handled; TCP ends after the client's closing tag, or after a
/// bounded time, and TLS with `close_notify` in either case.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_closing_handshake_on_the_wire() {
    let place = Place::new(&["timeouts.close_seconds = 2"]);
    let mut server = place.serve();
    place.accounts(&["juliet", "romeo"]);
    let mut early = Raw::connect(&server).await;
    early.say(HEADER);
    early.until("</stream:features>").await;
    let mut polite = Raw::login(&server, "polite").await;
    let mut silent = Raw::login(&server, "silent").await;
    server.signal("TERM");
    for raw in [&mut early, &mut polite, &mut silent] {
        let said = raw.until("</stream:stream>").await;
        assert!(said.contains("<stream:error><system-shutdown "), "{said}");
        assert!(raw.is_quiet(), "more after the closing tag");
    }
    for number in 0..3 {
        polite
            .say(&format!("<message type='chat' to='romeo@localhost'><body>late {number}</body></message>"));
    }
    for raw in [polite, early] {
        raw.say("</stream:stream>");
        assert_eq!(raw.end().await, (String::new(), Eof::Clean));
    }
    assert_eq!(silent.end().await, (String::new(), Eof::Clean));
    assert!(server.ended().success());
    let server = place.serve();
    let mut romeo = online(server.client("romeo")).await;
    assert_eq!(bodies(&mut romeo, 3).await, ["late 0", "late 1", "late 2"]);
}
