//! What comes: binding, chunks, responses, reports (RFC 4975 §5.4, §7.2, §7.3).

use nuncio_msrp::endpoint::{Command, Config, Reports, SessionId};
use nuncio_msrp::{Ident, Status};

use crate::common::{ALICE, BOB, Raw, ident, send, session};

const ID: &str = "Message-ID: 12339sdqwer\r\n";

/// RFC 4975 §11.1: the first request binds the session and is answered on its hop.
#[test]
fn a_message_is_taken_and_answered() {
    let mut raw = Raw::new();
    let sent = raw.send("d93kswow", &format!("{ID}Byte-Range: 1-16/16\r\n"), "Hi, I'm Alice!\r\n", '$');
    assert_eq!(sent, ["200 d93kswow $"]);
    assert_eq!(
        raw.events(),
        [
            "bound 1",
            "incoming 12339sdqwer text/plain 16",
            "data 12339sdqwer 0 \"Hi, I'm Alice!\\r\\n\"",
            "complete 12339sdqwer 16"
        ]
    );
}

/// A request without content binds as well, and keeps the connection alive (RFC 4975 §5.4, §7.1).
#[test]
fn a_request_without_content_opens_a_session() {
    let mut raw = Raw::new();
    let frame = format!(
        "MSRP d93kswow SEND\r\nTo-Path: {BOB}\r\nFrom-Path: {ALICE}\r\n{ID}Byte-Range: 1-0/0\r\nKeep-Alive: yes\r\n-------d93kswow$\r\n"
    );
    assert_eq!(raw.tell(&frame), ["200 d93kswow $"]);
    assert_eq!(raw.tell(&frame), ["200 d93kswow $"]);
    assert_eq!(raw.events(), ["bound 1", "alive 1", "alive 1"]);
}

/// An empty body is a message, no body is none (RFC 4975 §7.1).
#[test]
fn an_empty_body_is_a_message() {
    let mut raw = Raw::new();
    assert_eq!(
        raw.send("d93kswow", &format!("{ID}Byte-Range: 1-0/0\r\nSuccess-Report: yes\r\n"), "", '$'),
        ["200 d93kswow $", "REPORT 12339sdqwer 1-0/0 (000 200 OK) $"]
    );
    assert_eq!(raw.events()[1..], ["incoming 12339sdqwer text/plain 0", "complete 12339sdqwer 0"]);
}

/// The table of RFC 4975 §5.3, §7.1.4, §7.2: who is answered what, for a good request and for a bad one.
#[test]
fn failure_report_decides_who_is_answered() {
    for (field, good, bad) in [
        ("", true, true),
        ("Failure-Report: yes\r\n", true, true),
        ("Failure-Report: partial\r\n", false, true),
        ("Failure-Report: no\r\n", false, false),
    ] {
        let answered = |sent: Vec<String>| !sent.is_empty();
        let mut raw = Raw::new();
        assert_eq!(answered(raw.send("aaaa", &format!("{ID}{field}"), "x", '$')), good, "{field}");
        assert_eq!(answered(raw.tell(send("bbbb", field, "x", '$'))), bad, "no Message-ID: {field}");
        let elsewhere =
            send("cccc", &format!("{ID}{field}"), "x", '$').replace(BOB, "msrp://bob.example:8888/other;tcp");
        assert_eq!(answered(raw.tell(elsewhere)), bad, "481: {field}");
        let html = send("dddd", &format!("Message-ID: html1\r\n{field}"), "x", '$')
            .replace("text/plain", "text/html");
        assert_eq!(answered(raw.tell(html)), bad, "415: {field}");
    }
}

/// RFC 4975 §10: each code for its reason.
#[test]
fn status_codes() {
    let mut raw = Raw::new();
    let plain = send("aaaa", ID, "x", '$');
    assert_eq!(raw.tell(plain.replace(ID, "")), ["400 aaaa $"], "no Message-ID");
    assert_eq!(raw.tell(plain.replace(ID, "Byte-Range: 0-1/1\r\n")), ["400 aaaa $"]);
    assert_eq!(raw.tell(plain.replace("text/plain", "text/html")), ["415 aaaa $"]);
    assert_eq!(
        raw.tell(plain.replace(ID, "Message-ID: big1\r\nByte-Range: 1-*/100000001\r\n")),
        ["413 aaaa $"]
    );
    assert_eq!(raw.tell(plain.replace(BOB, "msrp://bob.example:8888/none;tcp")), ["481 aaaa $"]);
    assert_eq!(raw.tell(plain.replace(BOB, &format!("{BOB} {ALICE}"))), ["481 aaaa $"], "we are no relay");
    // S1-A1, RFC 4975 §12.
    for method in ["FOOBAR", "AUTH", "NICKNAME"] {
        assert_eq!(raw.tell(plain.replace("SEND", method)), ["501 aaaa $"], "{method}");
    }
    assert_eq!(
        raw.tell(plain.replace(ID, &format!("{ID}X-Unknown: y\r\n"))),
        ["200 aaaa $"],
        "unknown fields"
    );
    // RFC 4975 §7.1.2: reports are never answered, known or not.
    assert!(
        raw.tell(plain.replace("SEND", "REPORT").replace(ID, &format!("{ID}Status: 000 200 OK\r\n")))
            .is_empty()
    );
    assert!(
        raw.tell(plain.replace("SEND", "REPORT").replace(BOB, "msrp://bob.example:8888/none;tcp")).is_empty()
    );
    // Responses that nobody waits for are ignored.
    assert!(
        raw.tell(format!("MSRP zzzz 481\r\nTo-Path: {BOB}\r\nFrom-Path: {ALICE}\r\n-------zzzz$\r\n"))
            .is_empty()
    );
    assert!(raw.side.closed().is_none());
}

/// RFC 4975 §7.3.1: any order, overlap, repetition, `$` first, ranges that lie about their end, no total; byte for byte the same.
#[test]
fn chunks_are_put_together() {
    let orders: [&[(&str, &str, char)]; 6] = [
        &[("1-*/8", "abcd", '+'), ("5-8/8", "EFGH", '$')],
        &[("5-8/8", "EFGH", '$'), ("1-4/8", "abcd", '+')],
        &[("1-*/*", "abcd", '+'), ("5-*/*", "EFGH", '$')],
        &[("1-99/99", "abcd", '+'), ("3-3/*", "cdEF", '+'), ("7-*/*", "GH", '$')],
        &[("1-8/8", "XXXX", '+'), ("1-*/8", "abcd", '+'), ("5-*/8", "EFGH", '$')],
        &[("1-*/*", "abcdEFGH", '+'), ("9-8/8", "", '$')],
    ];
    for order in orders {
        let mut raw = Raw::new();
        for (index, (range, body, flag)) in order.iter().enumerate() {
            let tid = format!("tid{index}");
            let fields = format!("{ID}Byte-Range: {range}\r\nSuccess-Report: yes\r\n");
            let sent = raw.send(&tid, &fields, body, *flag);
            if index + 1 < order.len() {
                assert_eq!(sent, [format!("200 {tid} $")], "{order:?}");
            } else {
                // §7.1.3: one report on the whole.
                assert_eq!(sent, [format!("200 {tid} $"), "REPORT 12339sdqwer 1-8/8 (000 200 OK) $".into()]);
            }
        }
        let (lines, body) = crate::common::all(&mut raw.side);
        assert_eq!(String::from_utf8_lossy(&body), "abcdEFGH", "{order:?}");
        assert_eq!(lines.last().map(String::as_str), Some("complete 12339sdqwer 8"));
    }
}

/// A final chunk without content ends a message too.
#[test]
fn a_bodiless_last_chunk_ends_a_message() {
    let mut raw = Raw::new();
    assert_eq!(raw.send("aaaa", &format!("{ID}Byte-Range: 1-*/*\r\n"), "abcd", '+').len(), 1);
    let end = format!(
        "MSRP bbbb SEND\r\nTo-Path: {BOB}\r\nFrom-Path: {ALICE}\r\n{ID}Byte-Range: 5-4/4\r\n-------bbbb$\r\n"
    );
    assert_eq!(raw.tell(end), ["200 bbbb $"]);
    assert_eq!(raw.events().last().map(String::as_str), Some("complete 12339sdqwer 4"));
}

/// RFC 4975 §7.1: `#`, and silence.
#[test]
fn a_message_may_never_be_complete() {
    let mut raw = Raw::new();
    raw.send("aaaa", &format!("{ID}Byte-Range: 1-*/*\r\n"), "abcd", '+');
    assert_eq!(raw.send("bbbb", &format!("{ID}Byte-Range: 5-*/*\r\n"), "ef", '#'), ["200 bbbb $"]);
    assert_eq!(raw.events().last().map(String::as_str), Some("incomplete 12339sdqwer Sender"));
    raw.send("cccc", "Message-ID: other\r\nByte-Range: 1-*/*\r\n", "abcd", '+');
    assert!(raw.wait(299).is_empty());
    raw.events();
    assert!(raw.wait(2).is_empty());
    assert_eq!(raw.events(), ["incomplete other Silence"]);
}

/// RFC 4975 §5.4: a message that comes again is acknowledged and reported on, and not shown again (S1-09: only once).
#[test]
fn duplicates_are_acknowledged_and_not_handed_out() {
    let mut raw = Raw::new();
    let fields = format!("{ID}Byte-Range: 1-4/4\r\nSuccess-Report: yes\r\n");
    let answered = ["200 aaaa $", "REPORT 12339sdqwer 1-4/4 (000 200 OK) $"];
    assert_eq!(raw.send("aaaa", &fields, "abcd", '$'), answered);
    raw.events();
    assert_eq!(raw.send("aaaa", &fields, "abcd", '$'), answered);
    assert_eq!(raw.events(), ["duplicate 12339sdqwer"]);
}

/// A gateway reports when it knows (RFC 4975 §7.1.3, §7.1.4), and only what was asked for.
#[test]
fn the_host_may_report_itself() {
    let mut gateway = session(1, BOB, ALICE);
    gateway.reports = Reports::Host;
    let mut raw = Raw::with(gateway, Config::default());
    let report =
        |message: Ident, status| Command::Report { session: SessionId(1), message, length: 4, status };
    assert_eq!(raw.send("aaaa", &format!("{ID}Success-Report: yes\r\n"), "abcd", '$'), ["200 aaaa $"]);
    let id = ident("12339sdqwer");
    assert_eq!(raw.command(report(id, Status::OK)), ["REPORT 12339sdqwer 1-4/4 (000 200 OK) $"]);
    assert_eq!(
        raw.command(report(id, Status::FORBIDDEN)),
        ["REPORT 12339sdqwer 1-4/4 (000 403 Forbidden) $"]
    );
    raw.send("bbbb", "Message-ID: quiet\r\nFailure-Report: no\r\n", "abcd", '$');
    assert!(raw.command(report(ident("quiet"), Status::OK)).is_empty(), "not asked for");
    assert!(raw.command(report(ident("quiet"), Status::TIMEOUT)).is_empty(), "declined");
    assert!(raw.command(report(ident("unknown"), Status::OK)).is_empty());
}

/// RFC 4975 §10.5: a host that does not want a message stops it at once, in the middle of a chunk.
#[test]
fn the_host_may_stop_a_message() {
    let mut raw = Raw::new();
    let whole = send("aaaa", &format!("{ID}Byte-Range: 1-*/*\r\n"), "abcdefgh", '+');
    let (front, back) = whole.split_at(whole.len() - 16);
    assert!(raw.tell(front).is_empty());
    let refuse =
        Command::Refuse { session: SessionId(1), message: ident("12339sdqwer"), status: Status::STOP };
    assert_eq!(raw.command(refuse), ["413 aaaa $"]);
    assert!(raw.tell(back).is_empty(), "one response a request");
    assert_eq!(raw.send("bbbb", &format!("{ID}Byte-Range: 9-*/*\r\n"), "more", '$'), ["413 bbbb $"]);
    let events = raw.events();
    assert_eq!(events.last().map(String::as_str), Some("incomplete 12339sdqwer Refused(Status(413))"));
}

/// RFC 4975 §5.4: the end of the connection is the end of its sessions.
#[test]
fn a_connection_ends_with_its_sessions() {
    for (rest, closed) in [("", "closed Peer"), ("MSRP bbbb SE", "closed Cut")] {
        let mut raw = Raw::new();
        raw.send("aaaa", &format!("{ID}Byte-Range: 1-*/*\r\n"), "abcd", '+');
        raw.events();
        raw.tell(rest);
        raw.side.eof(raw.now, nuncio_sansio::Eof::Clean);
        assert_eq!(raw.events(), ["incomplete 12339sdqwer Session", "ended 1 Connection", closed]);
        assert!(raw.side.closed().is_some());
    }
}
