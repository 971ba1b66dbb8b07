//! The parser and the writer against the RFCs' own frames, every split, and the inputs that broke others (`Show 1` of MSRP).

use std::fmt::Write as _;

use nuncio_msrp::fuzz::{Said, feed};
use nuncio_msrp::head::{Flag, Method, Start};
use nuncio_msrp::parse::{Fault, Item, ParseError, Parser};
use nuncio_msrp::{FailureReport, Limits, Status};
use proptest::prelude::*;

const GOLDEN: [(&str, &str); 6] = [
    ("RFC 4975", include_str!("golden/rfc4975.txt")),
    ("RFC 4976", include_str!("golden/rfc4976.txt")),
    ("RFC 5547", include_str!("golden/rfc5547.txt")),
    ("RFC 7701", include_str!("golden/rfc7701.txt")),
    ("RFC 7977", include_str!("golden/rfc7977.txt")),
    ("RFC 8591", include_str!("golden/rfc8591.txt")),
];

/// Each frame with the section it is from.
fn golden(text: &str) -> Vec<(String, Vec<u8>)> {
    let mut frames: Vec<(String, Vec<u8>)> = Vec::new();
    for line in text.lines().skip(1) {
        match line.strip_prefix("## ") {
            Some(section) => frames.push((format!("§{section}"), Vec::new())),
            None => {
                let (_, frame) = frames.last_mut().expect("a section comes first");
                frame.extend_from_slice(line.as_bytes());
                frame.extend_from_slice(b"\r\n");
            }
        }
    }
    frames
}

/// What a frame says, in one line.
fn told(said: &Said) -> String {
    match said {
        Said::Frame(head, body, flag) => {
            let mut line = match &head.start {
                Start::Request(method) => method.as_str().to_owned(),
                Start::Response { status, .. } => status.to_string(),
            };
            let flag = flag.map_or('?', |flag| char::from(flag.byte()));
            write!(line, " {} {}>{}", head.id, head.from.len(), head.to.len()).expect("a string");
            if let Some(range) = head.range {
                write!(line, " {range}").expect("a string");
            }
            if let Some(content_type) = &head.content_type {
                write!(line, " {content_type} {} bytes", body.len()).expect("a string");
            }
            write!(line, " {flag}").expect("a string");
            line
        }
        Said::Bad(bad) => format!("bad {}: {}", bad.id, bad.fault),
        Said::Error(error) => error.to_string(),
    }
}

/// Every frame that the RFCs print, as they print it: read, written, read again as the same.
#[test]
fn frames_of_the_rfcs() {
    let mut table = String::new();
    for (rfc, text) in GOLDEN {
        for (section, frame) in golden(text) {
            let said = feed(Limits::DEFAULT, [&frame[..]]);
            assert_eq!(said.len(), 1, "{rfc} {section}");
            writeln!(table, "{rfc} {section}: {}", told(&said[0])).expect("a string");
            nuncio_msrp::fuzz::frames(&frame);
        }
    }
    let wanted = include_str!("golden/told.txt");
    assert_eq!(table, wanted, "{table}");
}

/// `parse(split(bytes)) == parse(bytes)` at every single split of all frames of an RFC in a row, and byte by byte.
#[test]
fn every_split_of_the_rfcs_frames() {
    for (rfc, text) in GOLDEN {
        let stream: Vec<u8> = golden(text).into_iter().flat_map(|(_, frame)| frame).collect();
        let whole = feed(Limits::DEFAULT, [&stream[..]]);
        assert_eq!(whole, feed(Limits::DEFAULT, stream.chunks(1)), "{rfc}");
        for at in 0..stream.len() {
            let (front, back) = stream.split_at(at);
            assert_eq!(whole, feed(Limits::DEFAULT, [front, back]), "{rfc} split at {at}");
        }
    }
}

const HEAD: &str = "MSRP d93kswow SEND\r\nTo-Path: msrp://b.example:1/9di4;tcp\r\nFrom-Path: msrp://a.example:2/iau3;tcp\r\n";

fn send(fields: &str, body: &[u8], end: &str) -> Vec<u8> {
    let mut frame =
        format!("{HEAD}Message-ID: 12339sdqwer\r\n{fields}Content-Type: text/plain\r\n\r\n").into_bytes();
    frame.extend_from_slice(body);
    frame.extend_from_slice(end.as_bytes());
    frame
}

const END: &str = "\r\n-------d93kswow$\r\n";

/// S1-R4: bodies of any octets, and those that look like the end of their frame (msrprelay lost the session on the first; split
/// end-lines).
#[test]
fn bodies_are_octets() {
    let all: Vec<u8> = (0..=255).collect();
    let bodies: [&[u8]; 16] = [
        b"",
        b"\r\n",
        b"\r\n\r\n",
        b"\r",
        b"\n",
        b"-------",
        b"\r\n-------",
        b"\r\n-------d93kswo",
        b"\r\n-------d93kswow",
        b"\r\n-------d93kswow$x",
        b"\r\n-------d93kswow?\r\n",
        b"\r\n-------d93kswowX$\r\n",
        b"x-------d93kswow$\r\n",
        b"\r\n-------d93kswow\r\n-------d93kswow",
        b"\r\r\n\r\n------\r\n--------",
        &all,
    ];
    for body in bodies {
        let frame = send("", body, END);
        for cut in [vec![&frame[..]], frame.chunks(1).collect(), frame.chunks(7).collect()] {
            match &feed(Limits::DEFAULT, cut)[..] {
                [Said::Frame(_, read, Some(Flag::Last))] => assert_eq!(read, body, "{body:?}"),
                other => panic!("{body:?}: {other:?}"),
            }
        }
        for at in 0..frame.len() {
            let (front, back) = frame.split_at(at);
            assert_eq!(
                feed(Limits::DEFAULT, [front, back]),
                feed(Limits::DEFAULT, [&frame[..]]),
                "{body:?} {at}"
            );
        }
    }
}

/// Chunks far beyond the 16 kB that others hold, in bounded memory: nothing of a body is kept but a possible beginning of the end-line.
#[test]
fn a_long_body_is_not_held() {
    let mut parser = Parser::new(Limits::DEFAULT);
    parser.push(&send("Byte-Range: 1-*/*\r\n", b"", ""));
    let piece: Vec<u8> = (0..65_536_u32).map(|byte| (byte % 251) as u8).collect();
    let mut read = 0;
    for _ in 0..512 {
        parser.push(&piece);
        while let Some(item) = parser.next().expect("good") {
            if let Item::Data(data) = item {
                read += data.len();
            }
        }
        assert!(parser.buffered() <= 64, "{}", parser.buffered());
    }
    parser.push(END.as_bytes());
    assert_eq!(parser.next(), Ok(Some(Item::End(Flag::Last))));
    assert_eq!(read, 512 * 65_536);
    assert!(!parser.inside());
}

/// Bad headers cost their own frame and no other; who can be answered is.
#[test]
fn bad_headers_are_skipped_to_their_end() {
    let paths = HEAD.split_once("\r\n").expect("lines").1;
    let next = "MSRP next1 REPORT\r\nTo-Path: msrp://b.example:1/9di4;tcp\r\nFrom-Path: msrp://a.example:2/iau3;tcp\r\nMessage-ID: abcd\r\nStatus: 000 200 OK\r\n-------next1$\r\n";
    let flood = "X: y\r\n".repeat(65);
    let long = format!("X: {}\r\n", "y".repeat(9_000));
    let wide = format!("X: {}\r\n", "y".repeat(8_000)).repeat(3);
    let many = format!("To-Path:{}\r\n", " msrp://b.example:1/9di4;tcp".repeat(17));
    let repeated = format!("{paths}To-Path: msrp://c.example:1/x;tcp\r\n");
    let cases: [(&str, &str, Fault, bool); 20] = [
        (paths, "Byte-Range: 1-2\r\n", Fault::Value, true),
        (paths, "Byte-Range: 1-99999999999999999999/*\r\n", Fault::Value, true),
        (paths, "Message-ID: x\r\n", Fault::Value, true),
        (paths, "Success-Report: maybe\r\n", Fault::Value, true),
        (paths, "Failure-Report: no\r\nStatus: 0\r\n", Fault::Value, false),
        (paths, "no colon\r\n", Fault::Line, true),
        (paths, ": no name\r\n", Fault::Line, true),
        (paths, "X Y: z\r\n", Fault::Line, true),
        (paths, "X: \u{1}\r\n", Fault::Text, true),
        (paths, "X: a\nb\r\n", Fault::Text, true),
        (paths, "Message-ID: abcd\r\nMessage-ID: abcd\r\n", Fault::Repeated, true),
        (paths, &flood, Fault::Large, true),
        (paths, &long, Fault::Large, true),
        (paths, &wide, Fault::Large, true),
        (paths, "\r\nbody without a type\r\n", Fault::NoContentType, true),
        (&repeated, "", Fault::Repeated, true),
        ("To-Path: http://b.example/\r\n", "", Fault::Paths, false),
        ("From-Path: msrp://a.example:2/iau3;tcp\r\n", "", Fault::Paths, false),
        (&many, "", Fault::Paths, false),
        ("", "", Fault::Paths, false),
    ];
    for (paths, fields, fault, answered) in cases {
        for body in ["", "Content-Type: text/plain\r\n\r\nbody\r\n-------other$\r\n\r\n"] {
            let stream = format!("MSRP d93kswow SEND\r\n{paths}{fields}{body}-------d93kswow$\r\n{next}");
            let said = feed(Limits::DEFAULT, [stream.as_bytes()]);
            assert_eq!(said, feed(Limits::DEFAULT, stream.as_bytes().chunks(1)), "{stream}");
            let [Said::Bad(bad), Said::Frame(report, _, Some(Flag::Last))] = &said[..] else {
                panic!("{fields:?}: {said:?}")
            };
            assert_eq!((bad.fault, report.id.as_str()), (fault, "next1"), "{fields:?}");
            let response = bad.response();
            assert_eq!(response.is_some(), answered, "{fields:?}");
            if let Some(response) = response {
                assert!(matches!(response.start, Start::Response { status: Status::BAD_REQUEST, .. }));
                assert_eq!(response.to.first().map(|uri| uri.as_str()), Some("msrp://a.example:2/iau3;tcp"));
            }
        }
    }
}

/// Not UTF-8 in a header: the frame is bad, the connection lives.
#[test]
fn headers_are_text() {
    let stream = [HEAD.as_bytes(), b"X: \xff\xfe\r\n-------d93kswow$\r\n", &send("", b"x", END)].concat();
    let said = feed(Limits::DEFAULT, [&stream[..]]);
    assert!(matches!(&said[..], [Said::Bad(bad), Said::Frame(..)] if bad.fault == Fault::Text), "{said:?}");
}

/// What is no MSRP ends the connection at once, not after kilobytes.
#[test]
fn garbage_fails_at_once() {
    for garbage in [
        &b"G"[..],
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc",
        b"GET / HTTP/1.1\r\n",
        b"MSRQ",
        b"msrp d93kswow SEND\r\n",
        b"MSRP d93kswow\r\n",
        b"MSRP abc SEND\r\n",
        b"MSRP d93kswow send\r\n",
        b"MSRP d93kswow 20 OK\r\n",
        b"MSRP d93kswow 2000\r\n",
        b"MSRP  d93kswow SEND\r\n",
        b"\rX\r\n",
        b"\nMSRP d93kswow SEND\r\n",
    ] {
        assert_eq!(feed(Limits::DEFAULT, [garbage]), [Said::Error(ParseError::Start)], "{garbage:?}");
    }
    let long = [b"MSRP ".as_slice(), &[b'a'; 2_000]].concat();
    assert_eq!(feed(Limits::DEFAULT, long.chunks(9)), [Said::Error(ParseError::Start)]);
}

/// Tolerance on input (RFC 4975 §9 is strict on output): case and spaces of header fields, empty lines between frames, an empty body
/// without its own CRLF, a Content-Type without a body.
#[test]
fn tolerance_on_input() {
    let frame = "\r\n\r\nMSRP d93kswow SEND\r\nTO-PATH:msrp://b.example:1/9di4;tcp  msrp://c.example:1/9di4;sctp \r\nfrom-path:\tmsrp://a.example:2/iau3;tcp\r\nMESSAGE-ID:abcd\r\nfailure-report: PARTIAL\r\nSuccess-Report : yes\r\ncontent-type: text/plain\r\n\r\n-------d93kswow$\r\n\r\n";
    let said = feed(Limits::DEFAULT, [frame.as_bytes()]);
    let [Said::Frame(head, body, Some(Flag::Last))] = &said[..] else { panic!("{said:?}") };
    assert_eq!((head.to.len(), head.failure_report, head.success_report), (2, FailureReport::Partial, true));
    assert!(body.is_empty() && head.content_type.is_some(), "an empty body is a body");
    let bodiless = format!("{HEAD}Content-Type: text/plain\r\n-------d93kswow$\r\n");
    let said = feed(Limits::DEFAULT, [bodiless.as_bytes()]);
    assert!(matches!(&said[..], [Said::Frame(head, _, _)] if head.content_type.is_none()), "{said:?}");
}

/// RFC 4975 §12: unknown methods and header fields are read; S1-A1.
#[test]
fn unknown_methods_and_fields_are_read() {
    let frame = HEAD.replace("SEND", "FOOBAR") + "X-Unknown: värde\r\n-------d93kswow$\r\n";
    let said = feed(Limits::DEFAULT, [frame.as_bytes()]);
    let [Said::Frame(head, _, _)] = &said[..] else { panic!("{said:?}") };
    assert_eq!(head.method(), Some(&Method::Other("FOOBAR".into())));
    assert_eq!(head.field("x-unknown"), Some("värde"));
}

proptest! {
    /// Any body, any cut: the same octets come out.
    #[test]
    fn any_body_in_any_pieces(body: Vec<u8>, dashes in 0_usize..3, cuts in prop::collection::vec(1_usize..50, 1..20)) {
        let mut body = body;
        for _ in 0..dashes {
            body.extend_from_slice(b"\r\n-------d93kswow");
        }
        // The flag must not complete an end-line.
        body.push(b'.');
        let frame = send("", &body, END);
        let mut rest = &frame[..];
        let mut pieces = Vec::new();
        for cut in cuts.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (piece, behind) = rest.split_at((*cut).min(rest.len()));
            pieces.push(piece);
            rest = behind;
        }
        let said = feed(Limits::DEFAULT, pieces);
        prop_assert!(matches!(&said[..], [Said::Frame(_, read, Some(Flag::Last))] if *read == body));
    }

    /// Any bytes at all.
    #[test]
    fn any_bytes(data: Vec<u8>) {
        nuncio_msrp::fuzz::frames(&data);
    }
}
