//! What is demanded of a relay (RFC 4976), as a table.

use super::conversation::Frame;
use super::hello::Old;
use super::world::Login::{Again, Bare, For, Invented, Right, Wrong};
use super::world::Step::{
    Aborted, Answer, AnswerOrEnd, AnswerOrMethod, Arrives, Auth, Clear, Close, Cut, End, Holds, Named,
    NeedsLogin, NeedsTls, NoRequest, Open, Refused, Refuses, Report, ReportWithin, Request, Row, Send,
    Silent, Unguessable, Untouched,
};
use super::world::Who::{A, B, C};
use super::world::{Names, Step};
use super::{Case, GARBAGE, HEADER_FLOOD};
use nuncio_msrp::uri::Host;
use nuncio_msrp::{Path, Scheme};

/// The parameters of the challenges of a response, as they are written.
fn challenges(frame: &Frame) -> Vec<&str> {
    frame.head.all_fields("WWW-Authenticate").filter(|value| value.starts_with("Digest ")).collect()
}

/// The Use-Path of a response, or nothing.
fn way(frame: &Frame) -> Option<Path> {
    Path::parse(frame.head.field("Use-Path")?, 16).ok()
}

fn all_challenges(frame: &Frame, holds: fn(&str) -> bool) -> bool {
    let all = challenges(frame);
    !all.is_empty() && all.into_iter().all(holds)
}

fn seconds(frame: &Frame, field: &str) -> Option<u64> {
    frame.head.field(field).and_then(|value| value.trim().parse().ok())
}

/// Whether a request that arrived was moved on as RFC 4976 §6.4.1 says: the relay's URI from the To-Path to the front of the From-Path.
fn moved(frame: &Frame, names: &Names) -> bool {
    let written = |name: &str| names.get(name).map(String::as_str).unwrap_or_default();
    let to = Path::parse(written("owner"), 4);
    let from = Path::parse(&format!("{} {}", written("way"), written("peer")), 4);
    to.as_ref() == Ok(&frame.head.to) && from.as_ref() == Ok(&frame.head.from)
}

const TEXT: &str = "MSRP {t1} SEND|To-Path: {way} {owner}|From-Path: {peer}|Message-ID: {m1}|Byte-Range: 1-5/5|\
                    Content-Type: text/plain||{body:hello}|-------{t1}$|";

/// A has a URI of the relay.
pub(super) const LOGGED_IN: Step = Row(&[NeedsLogin, Open(A), Auth(A, Right), Answer(A, "tauth", &[200])]);

/// What a user of the relay, who has a URI, sends to the trap.
pub(super) const BAIT: Step = Send(
    A,
    "MSRP {t1} SEND|To-Path: {way} {trap}|From-Path: {owner}|Message-ID: {m1}|Byte-Range: 1-5/5|\
     Content-Type: text/plain||{body:hello}|-------{t1}$|",
);

pub(super) const CASES: &[Case] = &[
    Case {
        name: "tls-1.0",
        rfc: "RFC 8996",
        requirement: "S1-L1",
        demand: "TLS 1.0 is refused",
        steps: &[NeedsTls, Refuses(Old::Tls10)],
    },
    Case {
        name: "tls-1.1",
        rfc: "RFC 8996",
        requirement: "S1-L1",
        demand: "TLS 1.1 is refused",
        steps: &[NeedsTls, Refuses(Old::Tls11)],
    },
    Case {
        name: "certificate",
        rfc: "RFC 4976 §9.2",
        requirement: "S1-L1",
        demand: "the certificate is for the relay's name, and by an authority that is believed",
        steps: &[NeedsTls, Named],
    },
    Case {
        name: "auth-tls-only",
        rfc: "RFC 4976 §9.1",
        requirement: "S1-06",
        demand: "without TLS nobody is asked for credentials",
        steps: &[
            Clear(A),
            Send(A, "MSRP {t1} AUTH|To-Path: {relay}|From-Path: {owner}|-------{t1}$|"),
            AnswerOrEnd(A, "t1", &[400, 403, 481, 501]),
        ],
    },
    Case {
        name: "challenge",
        rfc: "RFC 4976 §5.1, §6.3",
        requirement: "S1-L4",
        demand: "AUTH without credentials gets 401 with a Digest challenge",
        steps: &[
            Open(A),
            Auth(A, Bare),
            Answer(A, "tauth", &[401]),
            Holds("a Digest challenge", |frame, _| !challenges(frame).is_empty()),
        ],
    },
    Case {
        name: "challenge-content",
        rfc: "RFC 4976 §9.1",
        requirement: "S1-L4",
        demand: "each challenge has realm, nonce and qop=\"auth\" in quotes; no MD5-sess, no auth-int alone",
        steps: &[
            Open(A),
            Auth(A, Bare),
            Answer(A, "tauth", &[401]),
            Holds("a realm", |frame, _| all_challenges(frame, |value| value.contains("realm=\""))),
            Holds("a nonce", |frame, _| all_challenges(frame, |value| value.contains("nonce=\""))),
            Holds("qop in quotes", |frame, _| {
                all_challenges(frame, |value| value.contains("qop=\"auth\"") || value.contains("qop=\"auth,"))
            }),
            Holds("no MD5-sess", |frame, _| !challenges(frame).iter().any(|it| it.contains("-sess"))),
            Holds("no Basic", |frame, _| {
                !frame.head.all_fields("WWW-Authenticate").any(|value| value.starts_with("Basic"))
            }),
        ],
    },
    Case {
        name: "challenge-split",
        rfc: "RFC 4975 §7.1",
        requirement: "",
        demand: "a frame that comes in single bytes is a frame",
        steps: &[
            Open(A),
            Cut(A, "MSRP {t1} AUTH|To-Path: {relay}|From-Path: {owner}|-------{t1}$|", 1),
            Answer(A, "t1", &[401]),
        ],
    },
    Case {
        name: "wrong-password",
        rfc: "RFC 4976 §6.3",
        requirement: "S1-L4",
        demand: "wrong credentials get 401",
        steps: &[Open(A), Auth(A, Wrong), Answer(A, "tauth", &[401])],
    },
    Case {
        name: "open-relay",
        rfc: "RFC 4976 §6.4",
        requirement: "S1-L7",
        demand: "a frame for a third party is not carried without AUTH",
        steps: &[
            Open(C),
            Send(
                C,
                "MSRP {t1} SEND|To-Path: {here} {trap}|From-Path: {stranger}|Message-ID: {m1}|Byte-Range: 1-5/5|\
                 Content-Type: text/plain||{body:hello}|-------{t1}$|",
            ),
            AnswerOrEnd(C, "t1", &[200, 400, 403, 481, 506]),
            Untouched { taken: false },
        ],
    },
    Case {
        name: "open-relay-hops",
        rfc: "RFC 4976 §6.4",
        requirement: "S1-L7",
        demand: "nor if the third party is on the way to a fourth, as another relay is",
        steps: &[
            Open(C),
            Send(
                C,
                "MSRP {t1} SEND|To-Path: {here} {trap} {peer}|From-Path: {stranger}|Message-ID: {m1}|\
                 Byte-Range: 1-5/5|Content-Type: text/plain||{body:hello}|-------{t1}$|",
            ),
            AnswerOrEnd(C, "t1", &[200, 400, 403, 481, 506]),
            Untouched { taken: false },
        ],
    },
    Case {
        name: "open-relay-id",
        rfc: "RFC 4976 §6.4",
        requirement: "S1-L7",
        demand: "nor with a session id that was never issued",
        steps: &[
            Open(C),
            Send(
                C,
                "MSRP {t1} SEND|To-Path: {unissued} {trap}|From-Path: {stranger}|Message-ID: {m1}|Byte-Range: 1-5/5|\
                 Content-Type: text/plain||{body:hello}|-------{t1}$|",
            ),
            AnswerOrEnd(C, "t1", &[200, 400, 403, 481, 506]),
            Untouched { taken: false },
        ],
    },
    Case {
        name: "open-relay-method",
        rfc: "RFC 4976 §6.4.2",
        requirement: "S1-L7",
        demand: "nor a REPORT, nor a method that nobody knows",
        steps: &[
            Open(C),
            Send(
                C,
                "MSRP {t1} REPORT|To-Path: {here} {trap}|From-Path: {stranger}|Message-ID: {m1}|\
                 Byte-Range: 1-5/5|Status: 000 200|-------{t1}$|\
                 MSRP {t2} FOOBAR|To-Path: {here} {trap}|From-Path: {stranger}|-------{t2}$|",
            ),
            Untouched { taken: false },
        ],
    },
    Case {
        name: "not-ours",
        rfc: "RFC 4976 §6.2",
        requirement: "S1-L3",
        demand: "whoever addresses another relay loses his connection",
        steps: &[
            Open(C),
            Send(
                C,
                "MSRP {t1} SEND|To-Path: {elsewhere} {trap}|From-Path: {stranger}|Message-ID: {m1}|\
                 Byte-Range: 1-0/0|-------{t1}$|",
            ),
            End(C),
        ],
    },
    Case {
        name: "unknown-uri",
        rfc: "RFC 4976 §6.3",
        requirement: "S1-03",
        demand: "a message for a URI that was never issued is not taken with 200",
        steps: &[
            Open(C),
            Send(
                C,
                "MSRP {t1} SEND|To-Path: {unissued} {owner}|From-Path: {stranger}|Message-ID: {m1}|Byte-Range: 1-5/5|\
                 Content-Type: text/plain||hello|-------{t1}$|",
            ),
            AnswerOrEnd(C, "t1", &[400, 403, 404, 481]),
        ],
    },
    Case {
        name: "silence",
        rfc: "RFC 4975 §7.1.4",
        requirement: "S1-L11",
        demand: "with Failure-Report: no not even an error is answered",
        steps: &[
            Open(C),
            Send(
                C,
                "MSRP {t1} SEND|To-Path: {unissued} {owner}|From-Path: {stranger}|Message-ID: {m1}|Byte-Range: 1-5/5|\
                 Failure-Report: no|Content-Type: text/plain||hello|-------{t1}$|",
            ),
            Silent(C),
        ],
    },
    Case {
        name: "huge-range",
        rfc: "RFC 4975 §14.5",
        requirement: "",
        demand: "a Byte-Range beyond all bounds costs nothing, and what follows is answered",
        steps: &[
            Open(C),
            Send(
                C,
                "MSRP {t1} SEND|To-Path: {unissued} {owner}|From-Path: {stranger}|Message-ID: {m1}|\
                 Byte-Range: 9223372036854775800-*/9223372036854775807|Content-Type: text/plain||hello|-------{t1}#|\
                 MSRP {t2} SEND|To-Path: {unissued} {owner}|From-Path: {stranger}|Message-ID: {m2}|\
                 Byte-Range: 1-99999999999999999999999999/99999999999999999999999999|Content-Type: text/plain||hello|\
                 -------{t2}$|",
            ),
            AnswerOrEnd(C, "t2", &[400, 403, 404, 413, 481]),
        ],
    },
    HEADER_FLOOD,
    Case {
        name: "endless-line",
        rfc: "RFC 4975 §14.5",
        requirement: "",
        demand: "a line without an end is not kept for ever",
        steps: &[
            Open(C),
            Send(C, "MSRP {t1} SEND|To-Path: {here}|From-Path: {stranger}|X: {filler:4000000}"),
            AnswerOrEnd(C, "t1", &[400, 413]),
        ],
    },
    GARBAGE,
    Case {
        name: "stray-response",
        rfc: "RFC 4976 §6.4.3",
        requirement: "",
        demand: "a response to nothing is dropped, not answered",
        steps: &[
            Open(C),
            Send(C, "MSRP {t1} 200 OK|To-Path: {here}|From-Path: {stranger}|-------{t1}$|"),
            Silent(C),
        ],
    },
    Case {
        name: "login",
        rfc: "RFC 4976 §5.1, §6.3",
        requirement: "S1-L5",
        demand: "right credentials get 200 with Use-Path and Expires",
        steps: &[
            LOGGED_IN,
            Holds("a Use-Path", |frame, _| way(frame).is_some()),
            Holds("Expires in seconds", |frame, _| seconds(frame, "Expires").is_some_and(|it| it > 0)),
        ],
    },
    Case {
        name: "rspauth",
        rfc: "RFC 4976 §9.1",
        requirement: "S1-L5",
        demand: "the relay proves that it knows the password too: Authentication-Info with rspauth, cnonce, nc, qop",
        steps: &[
            LOGGED_IN,
            Holds("a right rspauth", |_, names| names.get("proven").is_some_and(|it| it == "true")),
            Holds("a qop", |frame, _| {
                frame.head.field("Authentication-Info").is_some_and(|value| value.contains("qop="))
            }),
        ],
    },
    Case {
        name: "use-path",
        rfc: "RFC 4976 §4.2, §6.3",
        requirement: "S1-L5",
        demand: "the Use-Path is of msrps URIs with a name, a port and a session id",
        steps: &[
            LOGGED_IN,
            Holds("msrps", |frame, _| all_uris(frame, |uri| uri.scheme() == Scheme::Msrps)),
            Holds("a name, not an address", |frame, _| {
                all_uris(frame, |uri| matches!(uri.host(), Host::Name(_)))
            }),
            Holds("a port", |frame, _| all_uris(frame, |uri| uri.port().is_some())),
            Holds("a session id", |frame, _| all_uris(frame, |uri| uri.session_id().is_some())),
        ],
    },
    Case {
        name: "unguessable",
        rfc: "RFC 4976 §6.3",
        requirement: "S1-01",
        demand: "a URI has 64 random bits (looked at in 8 of them)",
        steps: &[NeedsLogin, Unguessable(64.0)],
    },
    Case {
        name: "expires-short",
        rfc: "RFC 4976 §5.1, §6.3",
        requirement: "S1-L6",
        demand: "a time that is too short gets 423 with Min-Expires, or no more than was asked for",
        steps: &[
            NeedsLogin,
            Open(A),
            Auth(A, For("1")),
            Answer(A, "tauth", &[200, 423]),
            Holds("Min-Expires, or at most a second", |frame, _| {
                seconds(frame, "Min-Expires").is_some_and(|it| it > 1) || seconds(frame, "Expires") == Some(1)
            }),
        ],
    },
    Case {
        name: "expires-long",
        rfc: "RFC 4976 §5.1, §6.3",
        requirement: "S1-L6",
        demand: "a time that is too long gets 423 with Max-Expires",
        steps: &[
            NeedsLogin,
            Open(A),
            Auth(A, For("4000000000")),
            Answer(A, "tauth", &[423]),
            Holds("Max-Expires", |frame, _| {
                seconds(frame, "Max-Expires").is_some_and(|it| it < 4_000_000_000)
            }),
        ],
    },
    Case {
        name: "replayed-credentials",
        rfc: "RFC 2617 §3.2.2",
        requirement: "S1-R5",
        demand: "credentials that were used once are not taken again",
        steps: &[
            LOGGED_IN,
            Auth(A, Again),
            Answer(A, "tauth", &[401]),
            Holds("stale=true", |frame, _| {
                challenges(frame).iter().any(|it| it.to_ascii_lowercase().contains("stale=true"))
            }),
        ],
    },
    Case {
        name: "invented-nonce",
        rfc: "RFC 2617 §3.2.1",
        requirement: "S1-R5",
        demand: "a nonce that the relay did not make is not taken",
        steps: &[NeedsLogin, Open(A), Auth(A, Invented), Answer(A, "tauth", &[401])],
    },
    Case {
        name: "forwarding",
        rfc: "RFC 4976 §6.4.1",
        requirement: "S1-L8",
        demand: "a peer's message reaches the owner; paths are moved on, the transaction is a new one",
        steps: &[
            LOGGED_IN,
            Open(B),
            Send(B, TEXT),
            Answer(B, "t1", &[200]),
            Holds("from the relay alone, to the previous hop", |frame, names| {
                names.get("peer").and_then(|it| Path::parse(it, 1).ok()).as_ref() == Some(&frame.head.to)
            }),
            Arrives(A, "m1", Some(200)),
            Holds("paths moved on", moved),
            Holds("a transaction of its own", |frame, names| {
                names.get("t1").is_some_and(|it| it != frame.head.id.as_str())
            }),
        ],
    },
    Case {
        name: "binary",
        rfc: "RFC 4975 §7.1",
        requirement: "S1-R4",
        demand: "every octet passes, also what is no UTF-8 and what looks like the end of another frame",
        steps: &[
            LOGGED_IN,
            Open(B),
            Send(
                B,
                "MSRP {t1} SEND|To-Path: {way} {owner}|From-Path: {peer}|Message-ID: {m1}|Byte-Range: 1-*/*|\
                 Content-Type: application/octet-stream||{octets}{random:9000}{body:\r\n-------other$\r\n}|-------{t1}$|",
            ),
            Answer(B, "t1", &[200]),
            Arrives(A, "m1", Some(200)),
        ],
    },
    Case {
        name: "large-chunk",
        rfc: "RFC 4975 §7.1.1",
        requirement: "S1-R4",
        demand: "a chunk of 1 MB passes",
        steps: &[
            LOGGED_IN,
            Open(B),
            Send(
                B,
                "MSRP {t1} SEND|To-Path: {way} {owner}|From-Path: {peer}|Message-ID: {m1}|Byte-Range: 1-*/1000000|\
                 Content-Type: application/octet-stream||{random:1000000}|-------{t1}$|",
            ),
            Answer(B, "t1", &[200]),
            Arrives(A, "m1", Some(200)),
        ],
    },
    Case {
        name: "split-end-line",
        rfc: "RFC 4975 §7.1",
        requirement: "",
        demand: "an end-line in single bytes ends the frame and adds nothing to the body",
        steps: &[LOGGED_IN, Open(B), Cut(B, TEXT, 1), Answer(B, "t1", &[200]), Arrives(A, "m1", Some(200))],
    },
    Case {
        name: "chunks",
        rfc: "RFC 4976 §6.4.1",
        requirement: "S1-L12",
        demand: "chunks of a message keep their order and their ranges",
        steps: &[
            LOGGED_IN,
            Open(B),
            Send(
                B,
                "MSRP {t1} SEND|To-Path: {way} {owner}|From-Path: {peer}|Message-ID: {m1}|Byte-Range: 1-*/9000|\
                 Content-Type: text/plain||{random:4000}|-------{t1}+|\
                 MSRP {t2} SEND|To-Path: {way} {owner}|From-Path: {peer}|Message-ID: {m1}|Byte-Range: 4001-*/9000|\
                 Content-Type: text/plain||{random:5000}|-------{t2}$|",
            ),
            Answer(B, "t1", &[200]),
            Answer(B, "t2", &[200]),
            Arrives(A, "m1", Some(200)),
        ],
    },
    Case {
        name: "given-up",
        rfc: "RFC 4975 §7.1",
        requirement: "S1-L12",
        demand: "a message that its sender gives up (#) does not arrive as if it were whole",
        steps: &[
            LOGGED_IN,
            Open(B),
            Send(
                B,
                "MSRP {t1} SEND|To-Path: {way} {owner}|From-Path: {peer}|Message-ID: {m1}|Byte-Range: 1-*/9000|\
                 Content-Type: text/plain||{random:4000}|-------{t1}#|",
            ),
            Aborted(A, "m1"),
        ],
    },
    Case {
        name: "partial",
        rfc: "RFC 4976 §6.4.1, RFC 4975 §7.1.4",
        requirement: "S1-L9",
        demand: "Failure-Report: partial gets no 200 from the relay, and the message passes",
        steps: &[
            LOGGED_IN,
            Open(B),
            Send(
                B,
                "MSRP {t1} SEND|To-Path: {way} {owner}|From-Path: {peer}|Message-ID: {m1}|Byte-Range: 1-5/5|\
                 Failure-Report: partial|Content-Type: text/plain||{body:hello}|-------{t1}$|",
            ),
            Arrives(A, "m1", None),
            Silent(B),
        ],
    },
    Case {
        name: "failure-report",
        rfc: "RFC 4976 §6.4.1, §6.4.3",
        requirement: "S1-L11",
        demand: "an error of the next hop becomes a REPORT to the origin",
        steps: &[
            LOGGED_IN,
            Open(B),
            Send(B, TEXT),
            Answer(B, "t1", &[200]),
            Arrives(A, "m1", Some(413)),
            Report(B, "m1", &[413]),
            Holds("a Byte-Range", |frame, _| frame.head.range.is_some()),
        ],
    },
    Case {
        name: "no-failure-report",
        rfc: "RFC 4976 §6.4.3",
        requirement: "S1-L11",
        demand: "with Failure-Report: no there is neither a 200 nor a REPORT of an error",
        steps: &[
            LOGGED_IN,
            Open(B),
            Send(
                B,
                "MSRP {t1} SEND|To-Path: {way} {owner}|From-Path: {peer}|Message-ID: {m1}|Byte-Range: 1-5/5|\
                 Failure-Report: no|Content-Type: text/plain||{body:hello}|-------{t1}$|",
            ),
            Arrives(A, "m1", Some(413)),
            Silent(A),
            Silent(B),
        ],
    },
    Case {
        name: "success-report",
        rfc: "RFC 4976 §6.4.2",
        requirement: "S1-L13",
        demand: "a REPORT of the owner passes to the origin, end to end",
        steps: &[
            LOGGED_IN,
            Open(B),
            Send(
                B,
                "MSRP {t1} SEND|To-Path: {way} {owner}|From-Path: {peer}|Message-ID: {m1}|Byte-Range: 1-5/5|\
                 Success-Report: yes|Content-Type: text/plain||{body:hello}|-------{t1}$|",
            ),
            Answer(B, "t1", &[200]),
            Arrives(A, "m1", Some(200)),
            Send(
                A,
                "MSRP {t2} REPORT|To-Path: {way} {peer}|From-Path: {owner}|Message-ID: {m1}|Byte-Range: 1-5/5|\
                 Status: 000 200 OK|-------{t2}$|",
            ),
            Report(B, "m1", &[200]),
        ],
    },
    Case {
        name: "both-ways",
        rfc: "RFC 4976 §6.4",
        requirement: "S1-L7",
        demand: "the owner's messages reach the peer that has written to it",
        steps: &[
            LOGGED_IN,
            Open(B),
            Send(
                B,
                "MSRP {t1} SEND|To-Path: {way} {owner}|From-Path: {peer}|Message-ID: {m1}|Byte-Range: 1-0/0|\
                 -------{t1}$|",
            ),
            Answer(B, "t1", &[200]),
            Request(A, "SEND"),
            Send(
                A,
                "MSRP {t2} SEND|To-Path: {way} {peer}|From-Path: {owner}|Message-ID: {m2}|Byte-Range: 1-2000/2000|\
                 Content-Type: application/octet-stream||{random:2000}|-------{t2}$|",
            ),
            Answer(A, "t2", &[200]),
            Arrives(B, "m2", Some(200)),
        ],
    },
    Case {
        name: "no-answer",
        rfc: "RFC 4976 §6.4.1",
        requirement: "S1-L10",
        demand: "30 seconds without a response become a REPORT with 408",
        steps: &[
            LOGGED_IN,
            Open(B),
            Send(B, TEXT),
            Answer(B, "t1", &[200]),
            Arrives(A, "m1", None),
            ReportWithin(B, "m1", &[408], 40),
        ],
    },
    Case {
        name: "stolen-uri",
        rfc: "RFC 4976 §6.4",
        requirement: "S1-L7",
        demand: "whoever knows another's URI cannot send from it to a third party",
        steps: &[
            LOGGED_IN,
            Open(C),
            Send(
                C,
                "MSRP {t1} SEND|To-Path: {way} {trap}|From-Path: {stranger}|Message-ID: {m1}|Byte-Range: 1-5/5|\
                 Content-Type: text/plain||{body:hello}|-------{t1}$|",
            ),
            AnswerOrEnd(C, "t1", &[200, 400, 403, 481, 506]),
            Untouched { taken: true },
        ],
    },
    Case {
        name: "forged-from",
        rfc: "RFC 4976 §6.4",
        requirement: "S1-L7",
        demand: "nor by saying that he is its owner",
        steps: &[
            LOGGED_IN,
            Open(C),
            Send(
                C,
                "MSRP {t1} SEND|To-Path: {way} {trap}|From-Path: {owner}|Message-ID: {m1}|Byte-Range: 1-5/5|\
                 Content-Type: text/plain||{body:hello}|-------{t1}$|",
            ),
            AnswerOrEnd(C, "t1", &[200, 400, 403, 481, 506]),
            Untouched { taken: true },
        ],
    },
    Case {
        name: "unknown-method",
        rfc: "RFC 4976 §6.4.2, RFC 4975 §12",
        requirement: "S1-L17",
        demand: "a method that nobody knows is carried like a REPORT, or gets 501",
        steps: &[
            LOGGED_IN,
            Open(B),
            Send(B, "MSRP {t1} FOOBAR|To-Path: {way} {owner}|From-Path: {peer}|-------{t1}$|"),
            AnswerOrMethod(B, "t1", &[501], A, "FOOBAR"),
        ],
    },
    Case {
        name: "long-report",
        rfc: "RFC 4975 §7.1",
        requirement: "S1-L13",
        demand: "a body of more than 10240 octets is carried in a SEND only",
        steps: &[
            LOGGED_IN,
            Open(B),
            Send(
                B,
                "MSRP {t1} FOOBAR|To-Path: {way} {owner}|From-Path: {peer}|Content-Type: text/plain||{filler:20000}|\
                 -------{t1}$|",
            ),
            // That the way is open all the same shows on another connection: this one may have been ended for it.
            Open(C),
            Send(
                C,
                "MSRP {t2} SEND|To-Path: {way} {owner}|From-Path: {stranger}|Message-ID: {m1}|Byte-Range: 1-5/5|\
                 Content-Type: text/plain||{body:hello}|-------{t2}$|",
            ),
            Answer(C, "t2", &[200]),
            Arrives(A, "m1", Some(200)),
            NoRequest(A, "FOOBAR"),
        ],
    },
    Case {
        name: "gone-with-its-connection",
        rfc: "RFC 4976 §6.3",
        requirement: "S1-L5",
        demand: "a URI is good no longer than its owner's connection",
        steps: &[LOGGED_IN, Close(A), Open(B), Refused(B, TEXT, "t1", &[400, 403, 404, 408, 481])],
    },
];

fn all_uris(frame: &Frame, holds: fn(&nuncio_msrp::Uri) -> bool) -> bool {
    way(frame).is_some_and(|way| way.uris().iter().all(holds))
}
