//! What must happen before, after or within a time: closing (S0-21), truncation (S0-23), slow and silent clients.

use std::time::Duration;

use nuncio_sansio::{Close, Eof};
use nuncio_stream::c2s::{C2sConfig, Command, Event, Idle, Reason, Start};
use nuncio_xmpp::error::{StreamCondition, StreamError};

use crate::common::*;

const MESSAGE: &str = "<message to='romeo@example.net'><body>hi</body></message>";

/// S0-21 (1), (2): we close first; what the client still sends is delivered, and we say nothing more.
#[test]
fn after_our_closing_tag_we_listen_but_are_silent() {
    let mut server = Server::usual().managed();
    assert_eq!(server.command(Command::Close(None)), "</stream:stream>");
    assert_eq!(server.closed(), None);
    server.seconds(1);
    let sent = server.send(&format!("{MESSAGE}{MESSAGE}<r xmlns='urn:xmpp:sm:3'/>{MESSAGE}"));
    assert_eq!(sent, "");
    assert_eq!(server.command(Command::Stanza("<message/>".into())), "");
    let numbers: Vec<_> = server.stanzas().into_iter().map(|(number, _)| number).collect();
    assert_eq!(numbers, [1, 2, 3]);
    assert_eq!(server.send("</stream:stream>"), "");
    assert_eq!(server.closed(), Some(Close::Orderly));
    assert!(server.end().clean && matches!(server.end().reason, Reason::Host) && !server.end().lost());
}

/// S0-21 (3), (4): the client never closes; after the closing time the stream is void.
#[test]
fn a_client_that_never_closes_is_dropped_in_time() {
    for bound in [true, false] {
        let server = Server::usual();
        let mut server = if bound { server.bound() } else { server.known() };
        let sent = server.command(Command::Close(Some(StreamError::new(StreamCondition::SystemShutdown))));
        assert_stream_error(&sent, "system-shutdown");
        server.pass(Duration::from_millis(4999));
        assert_eq!(server.closed(), None, "bound: {bound}");
        assert_eq!(server.pass(Duration::from_millis(1)), "");
        assert_eq!(server.closed(), Some(Close::Orderly));
        assert!(!server.end().clean);
        assert_eq!(server.end().error, Some(StreamCondition::SystemShutdown));
    }
}

/// S0-21: the client closes first; what its stanzas brought about still reaches it.
#[test]
fn answers_leave_before_our_closing_tag() {
    let mut server = Server::lazy().managed();
    assert_eq!(server.send(&format!("{MESSAGE}{MESSAGE}</stream:stream>")), "");
    assert!(server.side.take_events().iter().any(|event| matches!(event, Event::Finishing)));
    assert_eq!(server.command(Command::Handled { number: 1 }), "");
    assert_eq!(
        server.command(Command::Stanza("<iq type='result' id='1'/>".into())),
        "<iq type='result' id='1'/>"
    );
    // The answer to the second one is still on its way from the host.
    assert_eq!(server.command(Command::Handled { number: 2 }), "");
    assert_eq!(server.pass(Duration::from_millis(99)), "");
    assert_eq!(
        server.command(Command::Stanza("<iq type='result' id='2'/>".into())),
        "<iq type='result' id='2'/>"
    );
    assert_eq!(server.pass(Duration::from_millis(99)), "");
    assert_eq!(server.pass(Duration::from_millis(1)), "</stream:stream>");
    assert!(server.end().clean && matches!(server.end().reason, Reason::Peer));

    let mut server = Server::lazy().bound();
    assert_eq!(server.send(&format!("{MESSAGE}</stream:stream>")), "");
    assert_eq!(server.seconds(5), "</stream:stream>", "not for ever");
    assert!(server.end().clean);

    // A host that talks without end is cut off as well.
    let mut server = Server::lazy().bound();
    server.send(&format!("{MESSAGE}</stream:stream>"));
    server.command(Command::Handled { number: 1 });
    for _ in 0..99 {
        server.command(Command::Stanza("<message/>".into()));
        server.pass(Duration::from_millis(50));
    }
    assert_eq!(server.closed(), None);
    server.command(Command::Stanza("<message/>".into()));
    assert_eq!(server.pass(Duration::from_millis(50)), "</stream:stream>");

    // A host that knows better need not wait; a client that also ends its direction of TCP still gets its answers.
    let mut server = Server::lazy().bound();
    server.send(&format!("{MESSAGE}</stream:stream>"));
    assert_eq!(server.eof(Eof::Clean), "");
    assert_eq!(server.command(Command::Stanza("<message/>".into())), "<message/>");
    assert_eq!(server.command(Command::Close(None)), "</stream:stream>");
    assert!(server.end().clean && server.closed() == Some(Close::Orderly));
}

/// S0-27: `<reset/>` by command, before and after binding.
#[test]
fn reset() {
    for mut server in [Server::usual().known(), Server::usual().bound()] {
        let sent = server.command(Command::Close(Some(StreamError::new(StreamCondition::Reset))));
        assert_stream_error(&sent, "reset");
        server.send("</stream:stream>");
        assert_eq!(server.end().error, Some(StreamCondition::Reset));
        assert!(server.end().clean && server.host_closed());
    }
}

/// S0-29: the redirect on the wire.
#[test]
fn see_other_host() {
    let mut server = Server::usual().bound();
    let other: nuncio_stream::redirect::SeeOtherHost = "[2001:41D0:1:A49b::1]:9222".parse().unwrap();
    let sent = server.command(Command::Close(Some(StreamError::see_other_host(other.to_string()))));
    assert!(sent.contains("'>[2001:41d0:1:a49b::1]:9222</see-other-host>"), "{sent}");
}

/// S0-32: nobody is sent elsewhere in clear.
#[test]
fn no_redirect_before_tls() {
    let redirect = || Command::Close(Some(StreamError::see_other_host("other.example")));
    for mut server in [Server::usual(), Server::usual().clear()] {
        assert_stream_error(&server.command(redirect()), "internal-server-error");
    }
    for mut server in [Server::usual().tls(), Server::usual().known(), Server::usual().bound()] {
        assert_stream_error(&server.command(redirect()), "see-other-host");
    }
}

/// A connection that says nothing is answered with nothing.
#[test]
fn a_look_at_the_port_gets_no_xml() {
    for eof in [Eof::Clean, Eof::Reset] {
        let mut server = Server::usual();
        assert_eq!(server.eof(eof), "");
        assert!(server.closed().is_some() && server.end().lost());
    }
}

/// S0-23: TCP that ends without `close_notify` is a truncation; without the closing tag the session is lost, not ended.
#[test]
fn an_end_without_a_closing_tag_is_a_loss() {
    for (eof, close) in
        [(Eof::Clean, Close::Orderly), (Eof::Truncated, Close::Orderly), (Eof::Reset, Close::Abort)]
    {
        let mut server = Server::usual().managed();
        server.send(MESSAGE);
        server.send("<message to='romeo@example.net'><bo");
        server.eof(eof);
        assert_eq!(server.closed(), Some(close), "{eof:?}");
        assert!(!server.end().clean && server.end().lost(), "{eof:?}");
        assert_eq!(matches!(server.end().reason, Reason::Truncated), eof == Eof::Truncated);
    }
    // After the closing tag there is nothing to lose.
    let mut server = Server::lazy().managed();
    server.send(&format!("{MESSAGE}</stream:stream>"));
    server.eof(Eof::Truncated);
    assert!(server.end().clean && !server.end().lost());
}

/// S0-23: what came whole before the cut counts, even if a question was open.
#[test]
fn a_cut_waits_for_what_came_before_it() {
    let wishes = Wishes { delay: Duration::from_secs(1), ..Wishes::default() };
    let mut server = Server::new(C2sConfig::default(), Start::Tcp, wishes);
    server.send(HEADER);
    server.eof(Eof::Clean);
    assert_eq!(server.closed(), None);
    let sent = server.seconds(2);
    assert!(sent.contains("<starttls"), "{sent}");
    assert!(matches!(server.end().reason, Reason::Lost));
}

/// A client that sends a byte now and then does not hold a connection: 30 s for all of negotiation.
#[test]
fn slow_negotiation_ends() {
    for stage in 0..4 {
        let server = Server::usual();
        let mut server = match stage {
            0 => server,
            1 => server.clear(),
            2 => server.tls(),
            _ => server.known(),
        };
        let mut sent = String::new();
        for second in 1..=30 {
            assert_eq!(server.closed(), None, "stage {stage}, second {second}");
            sent += &server.send(" ");
            sent += &server.seconds(1);
        }
        assert_eq!(server.closed(), Some(Close::Orderly), "stage {stage}");
        assert_stream_error(&sent, "connection-timeout");
        assert!(sent.contains("<stream:stream ") == (stage == 0), "{sent}");
        assert!(matches!(server.end().reason, Reason::Slow));
    }
}

/// Inside a TLS handshake nothing can be said in XML.
#[test]
fn a_handshake_that_hangs_is_cut() {
    let mut server = Server::usual().clear();
    server.send(STARTTLS);
    assert_eq!(server.seconds(30), "");
    assert_eq!(server.closed(), Some(Close::Abort));

    let mut server = Server::new(C2sConfig::default(), Start::DirectTls, Wishes::default());
    assert_eq!(server.seconds(30), "");
    assert_eq!(server.closed(), Some(Close::Abort));
}

/// RFC 6120 §4.6.4: silence is probed; with stream management it must be answered.
#[test]
fn silence_is_probed() {
    let idle = Idle { after: Duration::from_secs(60), answer_within: Duration::from_secs(10) };
    let config = || C2sConfig { idle: Some(idle), ..C2sConfig::default() };
    let server = || Server::new(config(), Start::Tcp, Wishes::default());

    let mut silent = server().managed();
    assert_eq!(silent.seconds(59), "");
    assert_eq!(silent.seconds(1), "<r xmlns='urn:xmpp:sm:3'/>");
    assert_eq!(silent.seconds(9), "");
    assert_stream_error(&silent.seconds(1), "connection-timeout");
    assert!(silent.end().lost() && matches!(silent.end().reason, Reason::Silent));

    let mut alive = server().managed();
    assert_eq!(alive.seconds(60), "<r xmlns='urn:xmpp:sm:3'/>");
    alive.seconds(5);
    alive.send("<a xmlns='urn:xmpp:sm:3' h='0'/>");
    assert_eq!(alive.seconds(59), "", "the silence counts from the last byte");
    assert_eq!(alive.seconds(1), "<r xmlns='urn:xmpp:sm:3'/>");

    let mut talking = server().managed();
    for _ in 0..10 {
        assert_eq!(talking.seconds(40), "");
        talking.send(" ");
    }

    let mut simple = server().bound();
    assert_eq!(simple.seconds(60), " ");
    assert_eq!(simple.seconds(60), " ");
    assert_eq!(simple.closed(), None, "nobody must answer a space");
}

/// RFC 6120 §4.6.4: without stream management the host may ask, and says if it got no answer. Whatever was heard since, the client is there.
#[test]
fn silence_that_the_host_asks_about() {
    let idle = Idle { after: Duration::from_secs(60), answer_within: Duration::from_secs(10) };
    let bound = || {
        let config = C2sConfig { idle: Some(idle), ..C2sConfig::default() };
        Server::new(config, Start::Tcp, Wishes::default()).bound()
    };
    let quiet = |server: &Server| {
        let quiet = |event: &Event| matches!(event, Event::Quiet { within } if *within == idle.answer_within);
        server.side.events().iter().filter(|(_, event)| quiet(event)).count()
    };

    let mut gone = bound();
    assert_eq!((gone.seconds(60).as_str(), quiet(&gone)), (" ", 1));
    gone.seconds(10);
    assert_stream_error(&gone.command(Command::Unanswered), "connection-timeout");
    assert!(gone.end().lost() && matches!(gone.end().reason, Reason::Silent));

    let mut there = bound();
    assert_eq!((there.seconds(60).as_str(), quiet(&there)), (" ", 1));
    there.seconds(1);
    there.send(" ");
    there.seconds(9);
    assert_eq!(there.command(Command::Unanswered), "", "a space is a sign of life");
    assert_eq!(there.command(Command::Unanswered), "", "nobody asked again");
    assert_eq!((there.seconds(51).as_str(), quiet(&there)), (" ", 2));

    let mut early = bound();
    assert_eq!(early.command(Command::Unanswered), "", "nothing was asked");
    let mut managed =
        Server::new(C2sConfig { idle: Some(idle), ..C2sConfig::default() }, Start::Tcp, Wishes::default())
            .managed();
    assert_eq!(managed.seconds(60), "<r xmlns='urn:xmpp:sm:3'/>");
    assert_eq!(quiet(&managed), 0, "it asks itself");
}

/// A command to close meets a stream that is still being negotiated, or a question that is open.
#[test]
fn closing_while_a_question_is_open() {
    let wishes = Wishes { delay: Duration::from_secs(1), ..Wishes::default() };
    let mut server = Server::new(C2sConfig::default(), Start::Tcp, wishes);
    server.send(HEADER);
    let sent = server.command(Command::Close(Some(StreamError::new(StreamCondition::SystemShutdown))));
    assert!(sent.starts_with("<?xml version='1.0'?><stream:stream from=''"), "{sent}");
    assert_stream_error(&sent, "system-shutdown");
    assert_eq!(server.seconds(2), "", "the answer comes too late");
    assert_eq!(server.send("</stream:stream>"), "");
    assert_eq!(server.closed(), Some(Close::Orderly));
}
