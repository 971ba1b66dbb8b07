//! Stream management of the receiving role (XEP-0198).

use std::time::Duration;

use nuncio_stream::Pace;
use nuncio_stream::c2s::{C2sConfig, Command, Event, Start};

use crate::common::*;

const MESSAGE: &str = "<message to='romeo@example.net'/>";
const R: &str = "<r xmlns='urn:xmpp:sm:3'/>";

fn a(h: u32) -> String {
    format!("<a xmlns='urn:xmpp:sm:3' h='{h}'/>")
}

fn stanza() -> Command {
    Command::Stanza("<message/>".into())
}

/// An answer is due when everything before the request is handled and durable, not sooner.
#[test]
fn requests_are_answered_when_what_came_before_is_handled() {
    let mut server = Server::lazy().managed();
    assert_eq!(server.send(&format!("{MESSAGE}{MESSAGE}{R}{MESSAGE}")), "");
    assert_eq!(server.command(Command::Handled { number: 1 }), "");
    assert_eq!(server.command(Command::Handled { number: 2 }), a(2));
    assert_eq!(server.seconds(10), "");
    assert_eq!(server.command(Command::Handled { number: 3 }), "", "nobody asked");
    assert_eq!(server.send(R), a(3));
}

/// XEP-0198 §4: an answer is withheld for no other reason than a time.
#[test]
fn requests_are_answered_within_two_seconds_with_the_count_that_holds() {
    let mut server = Server::lazy().managed();
    server.send(&format!("{MESSAGE}{MESSAGE}{R}"));
    server.command(Command::Handled { number: 1 });
    assert_eq!(server.pass(Duration::from_millis(1999)), "");
    assert_eq!(server.pass(Duration::from_millis(1)), a(1));
    assert_eq!(server.command(Command::Handled { number: 2 }), "");
}

/// Stanzas before `<enable/>` are outside of the count.
#[test]
fn counting_begins_with_enable() {
    let mut server = Server::usual().bound();
    server.send(&format!("{MESSAGE}{MESSAGE}"));
    server.command(stanza());
    server.send(ENABLE);
    assert_eq!(server.send(R), a(0));
    assert_eq!(server.send(&format!("{MESSAGE}{R}")), a(1));
    assert_stream_error(&server.send(&a(1)), "undefined-condition");
}

/// We ask after ten stanzas, or when it gets quiet.
#[test]
fn we_ask_after_ten_or_a_second() {
    let mut server = Server::usual().managed();
    let mut sent = String::new();
    for _ in 0..10 {
        sent += &server.command(stanza());
    }
    assert_eq!(sent, format!("{}{R}", "<message/>".repeat(10)));
    assert_eq!(server.seconds(5), "", "asked already");
    server.command(stanza());
    assert_eq!(server.pass(Duration::from_millis(999)), "");
    server.command(stanza());
    assert_eq!(server.pass(Duration::from_millis(999)), "", "not quiet yet");
    assert_eq!(server.pass(Duration::from_millis(1)), R);
    server.send(&a(12));
    let fresh: Vec<_> = server
        .side
        .take_events()
        .iter()
        .filter_map(|event| match event {
            Event::Acked { h, fresh } => Some((*h, *fresh)),
            _ => None,
        })
        .collect();
    assert_eq!(fresh, [(12, 12)]);
    assert_eq!(server.seconds(60), "");
}

/// An acknowledgement that comes before we have asked spares the question.
#[test]
fn an_early_acknowledgement_spares_the_question() {
    let mut server = Server::usual().managed();
    server.command(stanza());
    server.send(&a(1));
    assert_eq!(server.seconds(60), "");
}

/// XEP-0198 §6, in both directions: too many, and going back.
#[test]
fn counts_that_cannot_be() {
    for h in [4, 1, u32::MAX] {
        let mut server = Server::usual().managed();
        for _ in 0..3 {
            server.command(stanza());
        }
        server.send(&a(2));
        let sent = server.send(&a(h));
        assert!(
            sent.contains(&format!("<handled-count-too-high xmlns='urn:xmpp:sm:3' h='{h}' send-count='3'/>")),
            "{sent}"
        );
        assert!(!server.end().lost(), "misuse ends the session");
    }
}

/// XEP-0198 §5: after a resumption both counts go on.
#[test]
fn a_resumed_stream_counts_on() {
    let mut server = Server::usual().known();
    let sent = server.send("<resume xmlns='urn:xmpp:sm:3' h='4' previd='sm-1'/>");
    assert_eq!(sent, "<resumed xmlns='urn:xmpp:sm:3' previd='sm-1' h='5'/>");
    let resumed = server.side.take_events();
    assert!(
        resumed.iter().any(|event| matches!(event, Event::Resumed { jid, h: 4 } if jid.as_str() == "juliet@im.example.com/balcony")),
        "{resumed:?}"
    );
    assert_eq!(server.send(&format!("{MESSAGE}{R}")), a(6));
    // Numbers 5, 6, 7 are sent again by the host, 8 is new.
    for _ in 5..=8 {
        server.command(stanza());
    }
    assert_eq!(server.send(&a(8)), "");
    let sent = server.send(&a(9));
    assert!(sent.contains("h='9' send-count='8'"), "{sent}");
}

/// A resumed stream is bound: no second resource, `from` stamped with the old address.
#[test]
fn a_resumed_stream_is_bound() {
    let mut server = Server::usual().known();
    server.send("<resume xmlns='urn:xmpp:sm:3' h='4' previd='sm-1'/>");
    server.side.take_events();
    server.send(MESSAGE);
    assert_eq!(
        server.stanzas(),
        [(
            1,
            "<message from='juliet@im.example.com/balcony' to='romeo@example.net' xml:lang='en'/>".to_owned()
        )]
    );
    assert!(server.send(BIND).contains("<not-allowed"));
    assert_eq!(server.seconds(31), R, "the time for negotiation is over");
    assert_eq!(server.closed(), None);
}

/// A host that offers no stream management.
#[test]
fn switched_off() {
    let config = C2sConfig { stream_management: false, ..C2sConfig::default() };
    let mut server = Server::new(config, Start::Tcp, Wishes::default()).tls();
    server.send(AUTH);
    let features = server.send(HEADER);
    assert!(features.contains("<bind") && !features.contains("urn:xmpp:sm:3"), "{features}");
    let failed = "<failed xmlns='urn:xmpp:sm:3'><feature-not-implemented xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></failed>";
    assert_eq!(server.send("<resume xmlns='urn:xmpp:sm:3' h='4' previd='sm-1'/>"), failed);
    server.send(BIND);
    assert_eq!(server.send(ENABLE), failed);
    assert_eq!(server.closed(), None);
}

/// The pace is a setting.
#[test]
fn the_pace_is_configurable() {
    let pace = Pace { every: 2, ..Pace::default() };
    let config = C2sConfig { pace, ..C2sConfig::default() };
    let mut server = Server::new(config, Start::Tcp, Wishes::default()).managed();
    server.command(stanza());
    assert_eq!(server.command(stanza()), format!("<message/>{R}"));
}

/// S0-14: what is no stanza is not counted on its way out either.
#[test]
fn nonzas_are_not_counted() {
    let mut server = Server::usual().managed();
    server.command(Command::Nonza("<x xmlns='x:y'/>".into()));
    assert_eq!(server.seconds(60), "");
    assert_stream_error(&server.send(&a(1)), "undefined-condition");
}
