//! What is sent: chunks and their interruption, time-outs, what errors mean (RFC 4975 §7.1, §10).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use nuncio_msrp::FailureReport;
use nuncio_msrp::endpoint::{Body, Command, Config, Message, SessionId};
use nuncio_msrp::fuzz::{Said, feed};
use nuncio_msrp::head::Flag;
use nuncio_msrp::{Limits, Method, Start};
use nuncio_sansio::pair::Split;

use crate::common::{ALICE, BOB, Raw, all, ident, message, pair, path, session, uri};

fn random(length: usize) -> Vec<u8> {
    let mut word = 0x9E37_79B9_7F4A_7C15_u64;
    (0..length)
        .map(|_| {
            word ^= word << 13;
            word ^= word >> 7;
            word ^= word << 17;
            (word >> 32) as u8
        })
        .collect()
}

/// RFC 4975 §4, §5.3: there and back, with both kinds of reports, however the bytes are cut.
#[test]
fn messages_go_both_ways() {
    for split in [Split::Whole, Split::Each(1), Split::Each(7)] {
        let mut pair = pair();
        pair.split = split;
        pair.command_a(Command::Send(Message { success_report: true, ..message("hello", b"Hey Bob") }));
        pair.run(Duration::from_secs(1));
        pair.command_b(Command::Send(message("back", b"Hi Alice")));
        pair.run(Duration::from_secs(1));
        let (alice, read) = all(&mut pair.a);
        assert_eq!(read, b"Hi Alice");
        assert_eq!(
            alice,
            [
                "bound 1",
                "sent hello",
                "progress hello 1-7/7",
                "delivered hello",
                "incoming back text/plain 8",
                "complete back 8"
            ]
        );
        let (bob, read) = all(&mut pair.b);
        assert_eq!(read, b"Hey Bob");
        assert_eq!(
            bob,
            ["bound 1", "alive 1", "incoming hello text/plain 7", "complete hello 7", "sent back"]
        );
    }
}

/// S1-R4: random bytes of any length, whole or in pieces of any size, byte for byte; chunks without need of interruption stay one.
#[test]
fn binary_messages_arrive_byte_for_byte() {
    for length in [0, 1, 2_047, 2_048, 2_049, 70_000, 1_000_000] {
        let mut pair = pair();
        pair.split = Split::Each(1_460);
        let body = random(length);
        let file = |body| Message {
            content_type: "application/octet-stream".into(),
            body,
            success_report: true,
            ..message("file", b"")
        };
        pair.command_a(Command::Send(file(Body::Whole(body.clone().into()))));
        pair.run(Duration::from_secs(1));
        let (lines, read) = all(&mut pair.b);
        assert_eq!(read, body, "{length}");
        assert_eq!(lines.last(), Some(&format!("complete file {length}")));
        assert_eq!(all(&mut pair.a).0.last().map(String::as_str), Some("delivered file"));
        let sends = feed(Limits::DEFAULT, [pair.a.sent()])
            .iter()
            .filter(
                |said| matches!(said, Said::Frame(head, ..) if head.is_send() && head.content_type.is_some()),
            )
            .count();
        assert_eq!(sends, 1, "RFC 4975 §7.1.1: as few chunks as possible");
    }
}

/// RFC 4975 §7.1.1: a long message is interrupted for another one and for responses, and goes on where it was.
#[test]
fn long_messages_are_interrupted() {
    let mut pair = pair();
    let body = Bytes::from(random(100_000));
    let file = Message {
        content_type: "application/octet-stream".into(),
        body: Body::Stream(Some(100_000)),
        ..message("file", b"")
    };
    pair.command_a(Command::Send(file));
    for (index, piece) in (0..10).map(|index| (index, body.slice(index * 10_000..(index + 1) * 10_000))) {
        let data =
            Command::Data { session: SessionId(1), message: ident("file"), bytes: piece, last: index == 9 };
        pair.command_a(data);
        match index {
            3 => pair.command_a(Command::Send(message("short", b"in between"))),
            6 => pair.command_b(Command::Send(message("back", b"wants a response"))),
            _ => {}
        }
        pair.run(Duration::from_millis(100));
    }
    let (bob, _) = all(&mut pair.b);
    let order: Vec<_> = bob.iter().filter(|line| line.starts_with("complete")).collect();
    assert_eq!(order, ["complete short 10", "complete file 100000"]);
    let frames: Vec<_> = feed(Limits::DEFAULT, [pair.a.sent()]);
    let mut file = Vec::new();
    let mut flags = Vec::new();
    for said in &frames {
        let Said::Frame(head, body, flag) = said else { unreachable!("{said:?}") };
        if head.message_id == Some(ident("file")) {
            let range = head.range.expect("always");
            assert_eq!(
                (range.offset(), range.end(), range.total()),
                (file.len() as u64, None, Some(100_000))
            );
            file.extend_from_slice(body);
            flags.push(flag.expect("ended"));
        }
    }
    assert_eq!(file, body);
    assert_eq!(flags, [Flag::More, Flag::More, Flag::Last], "one interruption for each of the two");
    assert_eq!(all(&mut pair.a).0.last().map(String::as_str), Some("sent file"));
}

/// RFC 4975 §7.1: what would be the end-line of its own chunk is split over two.
#[test]
fn a_body_cannot_end_its_own_chunk() {
    let mut pair = pair();
    let stream = Message { body: Body::Stream(None), ..message("file", b"") };
    pair.command_a(Command::Send(stream));
    let data =
        |bytes: Bytes, last| Command::Data { session: SessionId(1), message: ident("file"), bytes, last };
    pair.command_a(data(Bytes::from_static(b"first "), false));
    // What the chunk that stands open would end with, seen on the wire.
    let sent = String::from_utf8_lossy(pair.a.sent()).into_owned();
    let tid =
        sent.rsplit("MSRP ").next().and_then(|rest| rest.split(' ').next()).expect("a chunk").to_owned();
    let evil = format!("\r\n-------{tid}$\r\nMSRP evil SEND\r\n");
    let (front, back) = evil.split_at(12);
    pair.command_a(data(front.to_owned().into(), false));
    pair.command_a(data(back.to_owned().into(), true));
    pair.run(Duration::from_secs(1));
    let (lines, read) = all(&mut pair.b);
    assert_eq!(String::from_utf8_lossy(&read), format!("first {evil}"));
    assert_eq!(lines.last(), Some(&format!("complete file {}", 6 + evil.len())));
}

/// Alice as the active side, whose peer is played by the test and has answered her first request.
fn alice() -> Raw {
    let (mut raw, greeting) = greeting();
    response(&mut raw, &greeting, "200 OK");
    raw
}

/// Alice as the active side, and her first request.
fn greeting() -> (Raw, Vec<u8>) {
    let mut raw = Raw::with(session(9, "msrp://x.example:1/x;tcp", ALICE), Config::default());
    raw.side.command(raw.now, Command::Open(Arc::new(session(1, ALICE, BOB))));
    let greeting = raw.side.take_sent();
    let sent = crate::common::told(&greeting);
    assert_eq!(sent.len(), 1, "RFC 4975 §5.4: the active side sends at once");
    assert!(sent[0].starts_with("SEND") && sent[0].ends_with("1-0/0 $"), "{sent:?}");
    raw.events();
    (raw, greeting)
}

fn response(raw: &mut Raw, sent: &[u8], status: &str) -> Vec<String> {
    let said = feed(Limits::DEFAULT, [sent]);
    let Some(Said::Frame(head, ..)) = said.last() else { unreachable!("{said:?}") };
    raw.tell(format!(
        "MSRP {} {status}\r\nTo-Path: {ALICE}\r\nFrom-Path: {BOB}\r\n-------{}$\r\n",
        head.id, head.id
    ))
}

/// Sends a message and gives its frame as bytes.
fn sent(raw: &mut Raw, message: Message) -> Vec<u8> {
    raw.side.command(raw.now, Command::Send(message));
    raw.side.take_sent()
}

/// RFC 4975 §10: what each error means for the message, its type, the session.
#[test]
fn errors_mean_what_rfc_4975_says() {
    for (status, session_ends, type_ends) in [
        ("400 Bad", None, false),
        ("403", None, false),
        ("408 Timeout", None, false),
        ("413 Stop", None, false),
        ("415", None, true),
        ("423", None, false),
        ("481 Gone", Some("ended 1 Gone"), false),
        ("501", None, false),
        ("506", Some("ended 1 Elsewhere"), false),
    ] {
        let mut raw = alice();
        let frame = sent(&mut raw, message("first", b"x"));
        assert!(response(&mut raw, &frame, status).is_empty());
        let code = &status[..3];
        let mut wanted = vec![format!("failed first Status(Status({code}))")];
        wanted.extend(session_ends.map(str::to_owned));
        assert_eq!(raw.events(), wanted);
        assert!(response(&mut raw, &frame, "413").is_empty());
        assert!(raw.events().is_empty(), "told once");
        sent(&mut raw, message("second", b"x"));
        let next = match (session_ends, type_ends) {
            (Some(_), _) => vec!["failed second Refused"],
            (None, true) => vec!["failed second Type"],
            (None, false) => vec![],
        };
        assert_eq!(raw.events(), next, "{status}");
    }
}

/// RFC 4975 §7.1.1, §10.5: 413 in the middle of a chunk ends it with `#`, and nothing more of the message is sent.
#[test]
fn a_stopped_message_stops() {
    let mut raw = alice();
    sent(&mut raw, Message { body: Body::Stream(None), ..message("file", b"") });
    let data = |last| Command::Data {
        session: SessionId(1),
        message: ident("file"),
        bytes: Bytes::from_static(b"some bytes"),
        last,
    };
    raw.side.command(raw.now, data(false));
    let open = raw.side.take_sent();
    let tid = String::from_utf8_lossy(&open).split(' ').nth(1).expect("a start line").to_owned();
    raw.side.bytes(
        raw.now,
        format!("MSRP {tid} 413\r\nTo-Path: {ALICE}\r\nFrom-Path: {BOB}\r\n-------{tid}$\r\n").as_bytes(),
    );
    let end = raw.side.take_sent();
    assert_eq!(end, format!("\r\n-------{tid}#\r\n").into_bytes());
    assert_eq!(raw.events(), ["failed file Status(Status(413))"]);
    assert!(raw.command(data(true)).is_empty());
    // Giving up by oneself looks the same to the peer.
    sent(&mut raw, Message { body: Body::Stream(None), ..message("next", b"") });
    raw.side.command(
        raw.now,
        Command::Data {
            session: SessionId(1),
            message: ident("next"),
            bytes: Bytes::from_static(b"x"),
            last: false,
        },
    );
    raw.side.command(raw.now, Command::Abort { session: SessionId(1), message: ident("next") });
    assert!(raw.side.take_sent().ends_with(b"#\r\n"));
    assert!(raw.events().is_empty());
}

/// RFC 4975 §7.1.1: 30 seconds after the last byte, for `yes` only; 408 is the same as that (§10.4).
#[test]
fn silence_is_a_failure_where_an_answer_was_due() {
    for (failure_report, events) in [
        (FailureReport::Yes, vec!["failed first Status(Status(408))"]),
        (FailureReport::Partial, vec!["sent first"]),
        (FailureReport::No, vec!["sent first"]),
    ] {
        let mut raw = alice();
        sent(&mut raw, Message { failure_report, ..message("first", b"x") });
        let mut heard = raw.events();
        raw.wait(29);
        heard.extend(raw.events());
        assert_eq!(heard.is_empty(), failure_report == FailureReport::Yes);
        raw.wait(2);
        heard.extend(raw.events());
        assert_eq!(heard, events, "{failure_report:?}");
    }
}

/// RFC 4975 §5.4: whoever does not answer to the first request is not there; its session has failed, with everything in it.
#[test]
fn a_session_that_nobody_answers_fails() {
    let (mut raw, _) = greeting();
    sent(
        &mut raw,
        Message { success_report: true, failure_report: FailureReport::No, ..message("first", b"x") },
    );
    raw.wait(31);
    assert_eq!(raw.events(), ["sent first", "failed first Session", "ended 1 Failed(Status(408))"]);
}

/// RFC 4975 §7.3.2: a report that bytes were lost ends the session; one that the message is unwanted does not.
#[test]
fn failure_reports() {
    for (status, ends) in [("408", true), ("481", true), ("413", false), ("403", false), ("415", false)] {
        let mut raw = alice();
        let frame = sent(&mut raw, message("first", b"x"));
        response(&mut raw, &frame, "200 OK");
        assert_eq!(raw.events(), ["sent first"]);
        sent(&mut raw, message("second", b"x"));
        let report = format!(
            "MSRP rrrr REPORT\r\nTo-Path: {ALICE}\r\nFrom-Path: {BOB}\r\nMessage-ID: second\r\nByte-Range: 1-1/1\r\nStatus: 000 {status}\r\n-------rrrr$\r\n"
        );
        assert!(raw.tell(&report).is_empty());
        let events = raw.events();
        assert_eq!(events[0], format!("failed second Status(Status({status}))"));
        assert_eq!(events.len(), if ends { 2 } else { 1 }, "{events:?}");
        let foreign = report.replace("Status: 000", "Status: 001").replace("second", "third");
        assert!(raw.tell(foreign).is_empty() && raw.events().is_empty());
    }
}

/// RFC 4976 §6.4.1: a relay takes a request without content, and reports later that nobody is there any more: the session is over then, too.
#[test]
fn failure_reports_on_requests_without_content() {
    for (status, end) in
        [("481", Some("ended 1 Gone")), ("408", Some("ended 1 Failed(Status(408))")), ("413", None)]
    {
        let mut raw = alice();
        let frame = sent(&mut raw, Message { body: Body::None, ..message("alive", b"") });
        response(&mut raw, &frame, "200 OK");
        assert!(raw.events().is_empty());
        let report = |id: &str| {
            format!(
                "MSRP rrrr REPORT\r\nTo-Path: {ALICE}\r\nFrom-Path: {BOB}\r\nMessage-ID: {id}\r\nByte-Range: 1-0/0\r\nStatus: 000 {status}\r\n-------rrrr$\r\n"
            )
        };
        assert!(raw.tell(report("another")).is_empty() && raw.events().is_empty());
        assert!(raw.tell(report("alive")).is_empty());
        let ended = raw.events().into_iter().find(|event| event.starts_with("ended"));
        assert_eq!(ended.as_deref(), end, "{status}");
    }
}

/// RFC 4975 §7.1.3: reports on parts, in any order; nobody can confirm what was not sent, or what was not asked about.
#[test]
fn success_reports_on_parts() {
    let mut raw = alice();
    let frame = sent(&mut raw, Message { success_report: true, ..message("first", b"abcdefgh") });
    response(&mut raw, &frame, "200 OK");
    sent(&mut raw, message("other", b"x"));
    let report = |message: &str, range: &str| {
        format!(
            "MSRP rrrr REPORT\r\nTo-Path: {ALICE}\r\nFrom-Path: {BOB}\r\nMessage-ID: {message}\r\nByte-Range: {range}\r\nStatus: 000 200 OK\r\n-------rrrr$\r\n"
        )
    };
    raw.tell(report("other", "1-1/1"));
    raw.tell(report("unknown", "1-1/1"));
    raw.tell(report("first", "5-8/8"));
    raw.tell(report("first", "100-9000000000/9000000000"));
    raw.tell(report("first", "1-4/8"));
    raw.tell(report("first", "1-8/8"));
    let events = raw.events();
    assert_eq!(
        events,
        [
            "sent first",
            "progress first 5-8/8",
            "progress first 100-9000000000/9000000000",
            "progress first 1-4/8",
            "delivered first"
        ]
    );
}

/// RFC 4975 §8.6: what the peer did not list, or is longer than it wants, is not sent.
#[test]
fn what_the_peer_does_not_accept_is_not_sent() {
    let mut small = session(1, ALICE, BOB);
    small.peer_max_size = Some(4);
    let mut raw = Raw::with(session(9, "msrp://x.example:1/x;tcp", ALICE), Config::default());
    raw.command(Command::Open(Arc::new(small)));
    raw.events();
    let html = Message { content_type: "text/html".into(), ..message("html", b"x") };
    assert!(sent(&mut raw, html).is_empty());
    assert!(sent(&mut raw, message("long", b"12345")).is_empty());
    sent(&mut raw, Message { body: Body::Stream(None), ..message("file", b"") });
    let data = Command::Data {
        session: SessionId(1),
        message: ident("file"),
        bytes: Bytes::from_static(b"12345"),
        last: false,
    };
    assert!(raw.command(data).is_empty());
    let foreign = Message { session: SessionId(7), ..message("other", b"x") };
    assert!(sent(&mut raw, foreign).is_empty());
    assert_eq!(
        raw.events(),
        ["failed html Type", "failed long Size", "failed file Size", "failed other Refused"]
    );
}

/// RFC 4976 §5.1: with relays, the To-Path is the whole way, and what comes has it as its From-Path.
#[test]
fn paths_through_relays() {
    let (relay, far) = ("msrps://relay.example:2855/token;tcp", "msrps://far.example:2855/other;tcp");
    let way = format!("{relay} {far} {BOB}");
    let mut relayed = session(1, ALICE, BOB);
    relayed.path = path(&way);
    let mut raw = Raw::with(session(9, "msrp://x.example:1/x;tcp", ALICE), Config::default());
    raw.side.command(raw.now, Command::Open(Arc::new(relayed)));
    let greeting = raw.side.take_sent();
    let said = feed(Limits::DEFAULT, [&greeting[..]]);
    let [Said::Frame(head, ..)] = &said[..] else { unreachable!("{said:?}") };
    assert_eq!((head.to.to_string(), head.from.first()), (way.clone(), Some(&uri(ALICE))));
    assert!(matches!(&head.start, Start::Request(Method::Send)));
    let from_bob = |way: &str| {
        format!(
            "MSRP aaaa SEND\r\nTo-Path: {ALICE}\r\nFrom-Path: {way}\r\nMessage-ID: abcd\r\nSuccess-Report: yes\r\nContent-Type: text/plain\r\n\r\nx\r\n-------aaaa$\r\n"
        )
    };
    raw.side.bytes(raw.now, from_bob(&way).as_bytes());
    let said = feed(Limits::DEFAULT, [&raw.side.take_sent()[..]]);
    let [Said::Frame(response, ..), Said::Frame(report, ..)] = &said[..] else { unreachable!("{said:?}") };
    assert_eq!(response.to.to_string(), relay, "hop by hop");
    assert_eq!(report.to.to_string(), way, "end to end");
    // RFC 4976 §6.4.1: a relay on the way reports failure in its own name.
    raw.side.command(raw.now, Command::Send(message("lost", b"x")));
    raw.side.take_sent();
    raw.events();
    let report = format!(
        "MSRP rrrr REPORT\r\nTo-Path: {ALICE}\r\nFrom-Path: {relay}\r\nMessage-ID: lost\r\nByte-Range: 1-1/1\r\nStatus: 000 408 Timeout\r\n-------rrrr$\r\n"
    );
    raw.tell(report.replace(relay, far));
    assert!(raw.events().is_empty(), "not from the middle of the way");
    raw.tell(report);
    assert_eq!(raw.events(), ["failed lost Status(Status(408))", "ended 1 Failed(Status(408))"]);
    // Another way is another sender (S1-03).
    assert_eq!(raw.tell(from_bob(BOB)), ["481 aaaa $"]);
}
