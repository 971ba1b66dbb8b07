//! What is demanded of an endpoint (RFC 4975), as a table. All cases are of one session, hence of one connection: what may cost it comes last.
//!
//! With a relay between, responses are the relay's and reports are the endpoint's (RFC 4976 §6.4.1): cases that only a response could decide are not
//! asked there, and those about the connection are about the relay's.

use super::conversation::Frame;
use super::hello::Old;
use super::world::Names;
use super::world::Step::{
    Answer, AnswerOrEnd, Clear, Cut, Denied, Direct, Holds, Named, Needs, NeedsTls, Open, Refuses, Report,
    Row, Send, Silent,
};
use super::world::Who::{A, B, C};
use super::{Case, GARBAGE, HEADER_FLOOD};
use nuncio_msrp::{Path, Status};

/// Whether a REPORT is about these bytes, of so many.
fn covers(frame: &Frame, bytes: u64) -> bool {
    let whole = |range: nuncio_msrp::ByteRange| {
        range.offset() == 0 && range.end() == Some(bytes) && range.total().is_none_or(|it| it == bytes)
    };
    frame.head.range.is_some_and(whole)
}

/// Whether it goes to us alone, and comes from whom we wrote to.
fn addressed(frame: &Frame, names: &Names) -> bool {
    let path = |name: &str| names.get(name).and_then(|it| Path::parse(it, 16).ok());
    path("me").as_ref() == Some(&frame.head.to)
        && path("to").and_then(|it| it.only_first()) == Some(frame.head.from.clone())
}

const STRANGER: &str = "MSRP {t1} SEND|To-Path: {wrong}|From-Path: {stranger}|Message-ID: {m1}|Byte-Range: 1-5/5|\
                        Content-Type: {type}||hello|-------{t1}$|";

pub(super) const CASES: &[Case] = &[
    Case {
        name: "tls-1.0",
        rfc: "RFC 8996",
        requirement: "S1-08",
        demand: "TLS 1.0 is refused",
        steps: &[NeedsTls, Refuses(Old::Tls10)],
    },
    Case {
        name: "tls-1.1",
        rfc: "RFC 8996",
        requirement: "S1-08",
        demand: "TLS 1.1 is refused",
        steps: &[NeedsTls, Refuses(Old::Tls11)],
    },
    Case {
        name: "certificate",
        rfc: "RFC 4975 §5.4, §14.4",
        requirement: "S1-04",
        demand: "the certificate is for the name in the URI, by an authority that is believed, unless its fingerprint is known",
        steps: &[NeedsTls, Named],
    },
    Case {
        name: "clear",
        rfc: "RFC 4975 §5.4",
        requirement: "S1-08",
        demand: "an msrps URI is not served without TLS",
        steps: &[
            NeedsTls,
            Clear(C),
            Send(
                C,
                "MSRP {t1} SEND|To-Path: {to}|From-Path: {me}|Message-ID: {m1}|Byte-Range: 1-0/0|-------{t1}$|",
            ),
            AnswerOrEnd(C, "t1", &[400, 403, 481]),
        ],
    },
    Case {
        name: "unknown-session",
        rfc: "RFC 4975 §7.3, §10.7",
        requirement: "S1-03",
        demand: "a session that there is not gets 481",
        steps: &[Direct, Open(C), Send(C, STRANGER), Answer(C, "t1", &[481])],
    },
    Case {
        name: "bodiless",
        rfc: "RFC 4975 §5.4, §7.1",
        requirement: "",
        demand: "a SEND without a body gets 200, to us and from the URI that it was for",
        steps: &[
            Direct,
            Open(A),
            Send(
                A,
                "MSRP {t1} SEND|To-Path: {to}|From-Path: {me}|Message-ID: {m1}|Byte-Range: 1-0/0|-------{t1}$|",
            ),
            Answer(A, "t1", &[200]),
            Holds("the paths of a response", addressed),
        ],
    },
    Case {
        name: "second-connection",
        rfc: "RFC 4975 §5.4, §10.10",
        requirement: "S1-03",
        demand: "the same URI on a second connection gets 506",
        steps: &[
            Direct,
            Open(B),
            Send(
                B,
                "MSRP {t1} SEND|To-Path: {to}|From-Path: {me}|Message-ID: {m1}|Byte-Range: 1-0/0|-------{t1}$|",
            ),
            Answer(B, "t1", &[506]),
        ],
    },
    Case {
        name: "text",
        rfc: "RFC 4975 §7.2",
        requirement: "",
        demand: "a text gets 200, and no REPORT unless one is asked for",
        steps: &[
            Open(A),
            Send(
                A,
                "MSRP {t1} SEND|To-Path: {to}|From-Path: {me}|Message-ID: {m1}|Byte-Range: 1-5/5|\
                 Content-Type: {type}||hello|-------{t1}$|",
            ),
            Answer(A, "t1", &[200]),
            Silent(A),
        ],
    },
    Case {
        name: "success-report",
        rfc: "RFC 4975 §7.1.2, §7.1.3",
        requirement: "S1-09",
        demand: "Success-Report: yes gets a REPORT on all bytes, which asks for nothing itself",
        steps: &[
            Open(A),
            Send(
                A,
                "MSRP {t1} SEND|To-Path: {to}|From-Path: {me}|Message-ID: {m1}|Byte-Range: 1-5/5|\
                 Success-Report: yes|Content-Type: {type}||hello|-------{t1}$|",
            ),
            Answer(A, "t1", &[200]),
            Report(A, "m1", &[200]),
            Holds("all 5 bytes", |frame, _| covers(frame, 5)),
            Holds("no reports of a REPORT", |frame, _| {
                !frame.head.success_report && frame.head.failure_report == nuncio_msrp::FailureReport::Yes
            }),
            Holds("our whole path", |frame, names| {
                names.get("me").and_then(|it| Path::parse(it, 16).ok()).as_ref() == Some(&frame.head.to)
            }),
        ],
    },
    Case {
        name: "open-range",
        rfc: "RFC 4975 §7.1.1",
        requirement: "",
        demand: "1-*/* with $ is a whole message; the report says how long it was",
        steps: &[
            Open(A),
            Send(
                A,
                "MSRP {t1} SEND|To-Path: {to}|From-Path: {me}|Message-ID: {m1}|Byte-Range: 1-*/*|\
                 Success-Report: yes|Content-Type: {type}||hello, you|-------{t1}$|",
            ),
            Answer(A, "t1", &[200]),
            Report(A, "m1", &[200]),
            Holds("all 10 bytes", |frame, _| covers(frame, 10)),
        ],
    },
    Case {
        name: "no-range",
        rfc: "RFC 4975 §7.1.1",
        requirement: "",
        demand: "a first chunk need not have a Byte-Range",
        steps: &[
            Open(A),
            Send(
                A,
                "MSRP {t1} SEND|To-Path: {to}|From-Path: {me}|Message-ID: {m1}|Success-Report: yes|\
                 Content-Type: {type}||hello|-------{t1}$|",
            ),
            Answer(A, "t1", &[200]),
            Report(A, "m1", &[200]),
            Holds("all 5 bytes", |frame, _| covers(frame, 5)),
        ],
    },
    Case {
        name: "empty",
        rfc: "RFC 4975 §9",
        requirement: "",
        demand: "an empty body is a body",
        steps: &[
            Direct,
            Open(A),
            Send(
                A,
                "MSRP {t1} SEND|To-Path: {to}|From-Path: {me}|Message-ID: {m1}|Byte-Range: 1-0/0|\
                 Content-Type: {type}|||-------{t1}$|",
            ),
            Answer(A, "t1", &[200]),
        ],
    },
    Case {
        name: "ends-in-crlf",
        rfc: "RFC 4975 §7.1",
        requirement: "",
        demand: "only the last CRLF is not of the body",
        steps: &[
            Open(A),
            Send(
                A,
                "MSRP {t1} SEND|To-Path: {to}|From-Path: {me}|Message-ID: {m1}|Byte-Range: 1-*/*|\
                 Success-Report: yes|Content-Type: {type}||hello|||-------{t1}$|",
            ),
            Answer(A, "t1", &[200]),
            Report(A, "m1", &[200]),
            Holds("9 bytes", |frame, _| covers(frame, 9)),
        ],
    },
    Case {
        name: "binary",
        rfc: "RFC 4975 §7.1",
        requirement: "S1-R4",
        demand: "every octet may be in a body, and the end-line of another frame",
        steps: &[
            Open(A),
            Send(
                A,
                "MSRP {t1} SEND|To-Path: {to}|From-Path: {me}|Message-ID: {m1}|Byte-Range: 1-*/*|Success-Report: yes|\
                 Content-Type: {type}||{octets}{body:\r\n-------other$\r\n}|-------{t1}$|",
            ),
            Answer(A, "t1", &[200]),
            Report(A, "m1", &[200]),
            Holds("1041 bytes", |frame, _| covers(frame, 1_041)),
        ],
    },
    Case {
        name: "split",
        rfc: "RFC 4975 §7.1",
        requirement: "",
        demand: "a frame in single bytes, its end-line included, is a frame",
        steps: &[
            Direct,
            Open(A),
            Cut(
                A,
                "MSRP {t1} SEND|To-Path: {to}|From-Path: {me}|Message-ID: {m1}|Byte-Range: 1-*/*|Success-Report: yes|\
                 Content-Type: {type}||hello|-------{t1}$|",
                1,
            ),
            Answer(A, "t1", &[200]),
            Report(A, "m1", &[200]),
            Holds("5 bytes", |frame, _| covers(frame, 5)),
        ],
    },
    Case {
        name: "large-chunk",
        rfc: "RFC 4975 §7.3.1",
        requirement: "S1-R4",
        demand: "a chunk of 200 kB is taken",
        steps: &[
            Needs(
                |subject| subject.max_size.is_none_or(|most| most >= 200_000),
                "it takes no message of 200 kB",
            ),
            Open(A),
            Send(
                A,
                "MSRP {t1} SEND|To-Path: {to}|From-Path: {me}|Message-ID: {m1}|Byte-Range: 1-*/200000|Success-Report: yes|\
                 Content-Type: {type}||{random:200000}|-------{t1}$|",
            ),
            Answer(A, "t1", &[200]),
            Report(A, "m1", &[200]),
        ],
    },
    Case {
        name: "chunks",
        rfc: "RFC 4975 §7.3.1",
        requirement: "",
        demand: "a message in chunks is one message",
        steps: &[
            Open(A),
            Send(
                A,
                "MSRP {t1} SEND|To-Path: {to}|From-Path: {me}|Message-ID: {m1}|Byte-Range: 1-5/10|Success-Report: yes|\
                 Content-Type: {type}||hello|-------{t1}+|\
                 MSRP {t2} SEND|To-Path: {to}|From-Path: {me}|Message-ID: {m1}|Byte-Range: 6-10/10|Success-Report: yes|\
                 Content-Type: {type}||, you|-------{t2}$|",
            ),
            Answer(A, "t1", &[200]),
            Answer(A, "t2", &[200]),
            Report(A, "m1", &[200]),
        ],
    },
    Case {
        name: "out-of-order",
        rfc: "RFC 4975 §7.3.1",
        requirement: "",
        demand: "chunks may come in any order, the last one first",
        steps: &[
            Open(A),
            Send(
                A,
                "MSRP {t1} SEND|To-Path: {to}|From-Path: {me}|Message-ID: {m1}|Byte-Range: 6-10/10|Success-Report: yes|\
                 Content-Type: {type}||, you|-------{t1}$|\
                 MSRP {t2} SEND|To-Path: {to}|From-Path: {me}|Message-ID: {m1}|Byte-Range: 1-5/10|Success-Report: yes|\
                 Content-Type: {type}||hello|-------{t2}+|",
            ),
            Answer(A, "t1", &[200]),
            Answer(A, "t2", &[200]),
            Report(A, "m1", &[200]),
        ],
    },
    Case {
        name: "overlap",
        rfc: "RFC 4975 §7.3.1",
        requirement: "",
        demand: "chunks may overlap",
        steps: &[
            Open(A),
            Send(
                A,
                "MSRP {t1} SEND|To-Path: {to}|From-Path: {me}|Message-ID: {m1}|Byte-Range: 1-7/10|Success-Report: yes|\
                 Content-Type: {type}||hello, |-------{t1}+|\
                 MSRP {t2} SEND|To-Path: {to}|From-Path: {me}|Message-ID: {m1}|Byte-Range: 4-10/10|Success-Report: yes|\
                 Content-Type: {type}||lo, you|-------{t2}$|",
            ),
            Answer(A, "t1", &[200]),
            Answer(A, "t2", &[200]),
            Report(A, "m1", &[200]),
        ],
    },
    Case {
        name: "again",
        rfc: "RFC 4975 §5.4, §7.3",
        requirement: "",
        demand: "a message that comes twice gets 200 twice",
        steps: &[
            Direct,
            Open(A),
            Send(
                A,
                "MSRP {t1} SEND|To-Path: {to}|From-Path: {me}|Message-ID: {m1}|Byte-Range: 1-5/5|\
                 Content-Type: {type}||hello|-------{t1}$|\
                 MSRP {t2} SEND|To-Path: {to}|From-Path: {me}|Message-ID: {m1}|Byte-Range: 1-5/5|\
                 Content-Type: {type}||hello|-------{t2}$|",
            ),
            Answer(A, "t1", &[200]),
            Answer(A, "t2", &[200]),
        ],
    },
    Case {
        name: "given-up",
        rfc: "RFC 4975 §7.1",
        requirement: "",
        demand: "a message that is given up (#) is not reported as received",
        steps: &[
            Open(A),
            Send(
                A,
                "MSRP {t1} SEND|To-Path: {to}|From-Path: {me}|Message-ID: {m1}|Byte-Range: 1-*/100|Success-Report: yes|\
                 Content-Type: {type}||hello|-------{t1}#|",
            ),
            Answer(A, "t1", &[200, 413]),
            Silent(A),
        ],
    },
    Case {
        name: "false-range",
        rfc: "RFC 4975 §7.3.1",
        requirement: "",
        demand: "what a range says is not believed against the bytes: it is answered, and what follows is understood",
        steps: &[
            Direct,
            Open(A),
            Send(
                A,
                "MSRP {t1} SEND|To-Path: {to}|From-Path: {me}|Message-ID: {m1}|Byte-Range: 1-3/3|\
                 Content-Type: {type}||hello, you|-------{t1}$|",
            ),
            Answer(A, "t1", &[200, 400]),
            Silent(A),
        ],
    },
    Case {
        name: "huge-range",
        rfc: "RFC 4975 §14.5",
        requirement: "",
        demand: "a Byte-Range beyond all bounds costs nothing, and what follows is answered",
        steps: &[
            Direct,
            Open(A),
            Send(
                A,
                "MSRP {t1} SEND|To-Path: {to}|From-Path: {me}|Message-ID: {m1}|\
                 Byte-Range: 9223372036854775000-*/9223372036854775807|Content-Type: {type}||hello|-------{t1}#|\
                 MSRP {t2} SEND|To-Path: {to}|From-Path: {me}|Message-ID: {m2}|\
                 Byte-Range: 1-99999999999999999999999999/99999999999999999999999999|Content-Type: {type}||hello|\
                 -------{t2}#|",
            ),
            Answer(A, "t1", &[200, 400, 413]),
            Answer(A, "t2", &[200, 400, 413]),
        ],
    },
    Case {
        name: "too-long",
        rfc: "RFC 4975 §10.5",
        requirement: "",
        demand: "a message beyond max-size gets 413",
        steps: &[
            Needs(
                |subject| subject.max_size.is_some_and(|most| most < 1 << 62),
                "its max-size is not known (--sdp)",
            ),
            Open(A),
            Send(
                A,
                "MSRP {t1} SEND|To-Path: {to}|From-Path: {me}|Message-ID: {m1}|Byte-Range: 1-*/4611686018427387905|\
                 Content-Type: {type}||hello|-------{t1}+|",
            ),
            Denied(A, "t1", "m1", 413),
        ],
    },
    Case {
        name: "media-type",
        rfc: "RFC 4975 §8.6, §10.6",
        requirement: "",
        demand: "a type that is not accepted gets 415",
        steps: &[
            Needs(
                |subject| {
                    subject.accepts.as_ref().is_some_and(|types| !types.accepts("application/x-nuncio-check"))
                },
                "it accepts everything, or its accept-types are not known (--sdp)",
            ),
            Open(A),
            Send(
                A,
                "MSRP {t1} SEND|To-Path: {to}|From-Path: {me}|Message-ID: {m1}|Byte-Range: 1-5/5|\
                 Content-Type: application/x-nuncio-check||hello|-------{t1}$|",
            ),
            Denied(A, "t1", "m1", 415),
        ],
    },
    Case {
        name: "partial",
        rfc: "RFC 4975 §7.1.4, §7.2",
        requirement: "",
        demand: "Failure-Report: partial gets no 200",
        steps: &[
            Direct,
            Open(A),
            Send(
                A,
                "MSRP {t1} SEND|To-Path: {to}|From-Path: {me}|Message-ID: {m1}|Byte-Range: 1-5/5|\
                 Failure-Report: partial|Content-Type: {type}||hello|-------{t1}$|",
            ),
            Silent(A),
        ],
    },
    Case {
        name: "silence",
        rfc: "RFC 4975 §7.1.4, §7.2",
        requirement: "",
        demand: "Failure-Report: no gets nothing",
        steps: &[
            Direct,
            Open(A),
            Send(
                A,
                "MSRP {t1} SEND|To-Path: {to}|From-Path: {me}|Message-ID: {m1}|Byte-Range: 1-5/5|\
                 Failure-Report: no|Content-Type: {type}||hello|-------{t1}$|",
            ),
            Silent(A),
        ],
    },
    Case {
        name: "unknown-method",
        rfc: "RFC 4975 §12, §10.9",
        requirement: "S1-A1",
        demand: "a method that nobody knows gets 501",
        steps: &[
            Direct,
            Open(A),
            Send(A, "MSRP {t1} FOOBAR|To-Path: {to}|From-Path: {me}|-------{t1}$|"),
            Answer(A, "t1", &[Status::NOT_IMPLEMENTED.code()]),
        ],
    },
    Case {
        name: "unknown-header",
        rfc: "RFC 4975 §12",
        requirement: "S1-A1",
        demand: "a header that nobody knows is ignored",
        steps: &[
            Open(A),
            Send(
                A,
                "MSRP {t1} SEND|To-Path: {to}|From-Path: {me}|Message-ID: {m1}|X-Nobody-Knows: this|\
                 Byte-Range: 1-5/5|Success-Report: yes|Content-Type: {type}||hello|-------{t1}$|",
            ),
            Answer(A, "t1", &[200]),
            Report(A, "m1", &[200]),
        ],
    },
    Case {
        name: "other-transport",
        rfc: "RFC 4975 §6, RFC 7977",
        requirement: "",
        demand: "a transport that is not spoken may stand in a path: the frame is answered, if only with an error",
        steps: &[
            Direct,
            Open(C),
            Send(
                C,
                "MSRP {t1} SEND|To-Path: {wrong}|From-Path: msrps://stranger.invalid:2855/abcdefgh;ws|Message-ID: {m1}|\
                 Byte-Range: 1-0/0|-------{t1}$|",
            ),
            Answer(C, "t1", &[481]),
        ],
    },
    Case {
        name: "stray-report",
        rfc: "RFC 4975 §7.3.2",
        requirement: "",
        demand: "a REPORT on a message that there was not is ignored",
        steps: &[
            Open(A),
            Send(
                A,
                "MSRP {t1} REPORT|To-Path: {to}|From-Path: {me}|Message-ID: {m1}|Byte-Range: 1-5/5|Status: 000 200 OK|\
                 -------{t1}$|",
            ),
            Silent(A),
        ],
    },
    Case {
        name: "stray-response",
        rfc: "RFC 4975 §7.2",
        requirement: "",
        demand: "a response to nothing is ignored",
        steps: &[
            Direct,
            Open(A),
            Send(A, "MSRP {t1} 200 OK|To-Path: {to}|From-Path: {me}|-------{t1}$|"),
            Silent(A),
        ],
    },
    Case {
        name: "malformed",
        rfc: "RFC 4975 §10.2",
        requirement: "",
        demand: "a SEND without Message-ID gets 400, and what follows is understood",
        steps: &[
            Direct,
            Open(A),
            Send(
                A,
                "MSRP {t1} SEND|To-Path: {to}|From-Path: {me}|Byte-Range: 1-5/5|Content-Type: {type}||hello|\
                 -------{t1}$|",
            ),
            Answer(A, "t1", &[400]),
            Silent(A),
        ],
    },
    Case { steps: &[Direct, Row(HEADER_FLOOD.steps)], ..HEADER_FLOOD },
    Case { steps: &[Direct, Row(GARBAGE.steps)], ..GARBAGE },
    Case {
        name: "still-there",
        rfc: "RFC 4975 §5.4",
        requirement: "S1-03",
        demand: "what strangers did has cost the session nothing",
        steps: &[
            Direct,
            Open(A),
            Send(
                A,
                "MSRP {t1} SEND|To-Path: {to}|From-Path: {me}|Message-ID: {m1}|Byte-Range: 1-0/0|-------{t1}$|",
            ),
            Answer(A, "t1", &[200]),
        ],
    },
];
