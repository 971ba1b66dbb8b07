//! Invariants that hold for whatever bytes arrive. For fuzzers, `tests/mutate.rs` and property tests. The functions panic when one is broken.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use nuncio_sansio::pair::{Counter, Script, Side, facts};
use nuncio_sansio::{Eof, Time};

use crate::cpim::Cpim;
use crate::endpoint::{self, Directory, Endpoint, Session, SessionId};
use crate::head::{Flag, Head};
use crate::imdn::{Asked, Disposition, Notification, Request, Wanted};
use crate::limits::Limits;
use crate::media::AcceptTypes;
use crate::parse::{Bad, Item, ParseError, Parser};
use crate::relay::{self, Bounds, Link, LinkId, NonceKey, Owner, Registry};
use crate::uri::{Path, Uri};

/// A frame as it was said, its body in one piece.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// A frame; none for the flag of one that was cut off.
    Frame(Box<Head>, Vec<u8>, Option<Flag>),
    /// A frame with a bad header.
    Bad(Box<Bad>),
    /// Nothing can be read any more.
    Error(ParseError),
}

/// Parses pieces one after the other, and checks that memory is bounded.
///
/// # Panics
/// An invariant is broken.
pub fn feed<'a>(limits: Limits, pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<Said> {
    let mut parser = Parser::new(limits);
    let mut said: Vec<Said> = Vec::new();
    for piece in pieces {
        parser.push(piece);
        loop {
            match parser.next() {
                Ok(Some(Item::Head(head))) => said.push(Said::Frame(head, Vec::new(), None)),
                Ok(Some(Item::Data(data))) => {
                    assert!(!data.is_empty(), "no empty pieces");
                    let Some(Said::Frame(_, body, None)) = said.last_mut() else {
                        unreachable!("data belong to a frame")
                    };
                    body.extend_from_slice(&data);
                }
                Ok(Some(Item::End(end))) => {
                    let Some(Said::Frame(_, _, flag @ None)) = said.last_mut() else {
                        unreachable!("an end belongs to a frame")
                    };
                    *flag = Some(end);
                }
                Ok(Some(Item::Bad(bad))) => said.push(Said::Bad(bad)),
                Ok(None) => break,
                Err(error) => {
                    assert_eq!(parser.next(), Err(error), "what has failed stays failed");
                    said.push(Said::Error(error));
                    return said;
                }
            }
        }
        assert!(parser.buffered() <= limits.line_bytes + 2, "holds {} bytes", parser.buffered());
    }
    said
}

/// The parser: the same comes out however the input is cut, memory is bounded, and what is read is written so that it is read as the same.
///
/// # Panics
/// An invariant is broken.
pub fn frames(data: &[u8]) {
    let limits = Limits { head_bytes: 2_048, line_bytes: 1_024, ..Limits::DEFAULT };
    let whole = feed(limits, [data]);
    assert_eq!(whole, feed(limits, data.chunks(1)), "byte by byte");
    let cut = data.first().map_or(0, |byte| usize::from(*byte) * data.len() / 256);
    let (front, back) = data.split_at(cut);
    assert_eq!(whole, feed(limits, [front, back]), "cut at {cut}");
    let entropy = Counter::default();
    for said in whole {
        let Said::Frame(head, body, Some(flag)) = said else { continue };
        let mut written = (*head).clone();
        let body = head.content_type.is_some().then_some(body);
        let bytes = written.frame(body.as_deref(), flag, &entropy);
        let again = feed(Limits { head_bytes: 1 << 20, line_bytes: 1 << 20, ..limits }, [&bytes[..]]);
        let wanted = Said::Frame(Box::new(written), body.unwrap_or_default(), Some(flag));
        assert_eq!(again, [wanted], "{}", String::from_utf8_lossy(&bytes));
    }
}

/// A notification, alone and in CPIM: it is refused, or written so that it is read as the same; and told of once.
///
/// # Panics
/// An invariant is broken.
pub fn imdn(data: &[u8]) {
    let in_cpim = Cpim::parse(&Bytes::copy_from_slice(data)).ok();
    let told = in_cpim.as_ref().and_then(Notification::of);
    for read in [Some(Notification::read(data)), told].into_iter().flatten().flatten() {
        assert_eq!(Notification::read(read.write().as_bytes()), Ok(read.clone()), "written as it was read");
        let all = [Wanted::PositiveDelivery, Wanted::NegativeDelivery, Wanted::Processing, Wanted::Display];
        let mut asked = Asked::new(1);
        asked.ask(Request { message_id: read.message_id.clone(), wanted: all.to_vec() }, ());
        assert!(asked.told(&read).is_some() && asked.told(&read).is_none(), "once");
    }
    // What is told of a long message may be longer than is read.
    if let Some(message) = in_cpim.filter(|_| data.len() <= 1_024)
        && let Some(notification) = Notification::about(&message, Disposition::Delivered)
    {
        let answer = notification.message(&message, "a1b2c3");
        let again = Cpim::parse(&answer.write().into()).map(|answer| Notification::of(&answer));
        assert!(matches!(again, Ok(Some(Ok(_)))), "what is told is read: {again:?}");
        assert_eq!(Notification::about(&answer, Disposition::Delivered), None, "RFC 5438 §7.2.1");
    }
}

/// Notifications that are nearly right, for inputs.
pub const NOTES: &[&[u8]] = &[
    b"From: <im:bob@example.com>\r\nTo: <im:alice@example.com>\r\nNS: imdn <urn:ietf:params:imdn>\r\nimdn.Message-ID: d834jied93rf\r\n",
    b"imdn.Disposition-Notification: positive-delivery, negative-delivery, display\r\n",
    b"imdn.Original-To: <im:list@example.com>\r\nimdn.IMDN-Record-Route: <im:relay@example.com>\r\n",
    b"DateTime: 2008-04-04T12:16:49-05:00\r\nSubject: weather\r\n",
    b"\r\n",
    b"Content-type: message/imdn+xml\r\nContent-Disposition: notification\r\n\r\n",
    b"Content-type: text/plain\r\n\r\nHello",
    b"<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n",
    b"<!DOCTYPE imdn [<!ENTITY a \"b\">]>",
    b"<imdn xmlns=\"urn:ietf:params:xml:ns:imdn\">",
    b"<i:imdn xmlns:i=\"urn:ietf:params:xml:ns:imdn\" xmlns:x=\"urn:x\">",
    b"<message-id>34jk324j</message-id>",
    b"<message-id>&#x34;&amp;<![CDATA[<]]></message-id>",
    b"<datetime>2008-04-04T12:16:49-05:00</datetime>",
    b"<recipient-uri>im:bob@example.com</recipient-uri>",
    b"<original-recipient-uri\n>im:bob@example.com</original-recipient-uri>",
    b"<subject> a\tb </subject>",
    b"<delivery-notification><status><delivered/></status></delivery-notification>",
    b"<display-notification>\n<status><displayed></displayed></status></display-notification>",
    b"<processing-notification><status><stored/><x xmlns=\"urn:x\"/></status></processing-notification>",
    b"<status>",
    b"</status>",
    b"<!-- -->",
    b"&a;",
    b"</imdn>",
    b"</i:imdn>",
    b"<imdn xmlns=\"urn:ietf:params:xml:ns:imdn\"><message-id>34jk324j</message-id><datetime>2008-04-04T12:16:49-05:00</datetime>",
    b"From: <im:bob@example.com>\r\nTo: <im:alice@example.com>\r\nNS: imdn <urn:ietf:params:imdn>\r\nimdn.Message-ID: d834jied93rf\r\nimdn.Disposition-Notification: positive-delivery\r\n\r\nContent-Type: text/plain\r\n\r\nHello",
];

/// Frames that are nearly right, for inputs.
pub const WORDS: &[&[u8]] = &[
    b"MSRP d93kswow SEND\r\n",
    b"MSRP op2nc9a SEND\r\n",
    b"MSRP d93kswow 200 OK\r\n",
    b"MSRP d93kswow REPORT\r\n",
    b"MSRP d93kswow AUTH\r\n",
    b"MSRP d93kswow NICKNAME\r\n",
    b"MSRP d93kswow 481\r\n",
    b"To-Path: msrp://b.example:1/9di4eae923wzd;tcp\r\n",
    b"To-Path: msrps://relay.example:2855/token;tcp msrp://b.example:1/9di4eae923wzd;tcp\r\n",
    b"To-Path: msrps://relay.example:2855;tcp\r\n",
    b"From-Path: msrp://a.example:2/iau39soe2843z;tcp\r\n",
    b"To-Path: msrp://b.example:1/9di4eae923wzd;tcp\r\nFrom-Path: msrp://a.example:2/iau39soe2843z;tcp\r\n",
    b"Message-ID: 12339sdqwer\r\n",
    b"Message-ID: 456s9wlk3\r\n",
    b"Byte-Range: 1-16/16\r\n",
    b"Byte-Range: 1-*/*\r\n",
    b"Byte-Range: 5-8/8\r\n",
    b"Byte-Range: 1-18446744073709551615/*\r\n",
    b"Success-Report: yes\r\n",
    b"Failure-Report: no\r\n",
    b"Failure-Report: partial\r\n",
    b"Status: 000 200 OK\r\n",
    b"Status: 000 413 Stop\r\n",
    b"Expires: 600\r\n",
    b"Use-Nickname: \"x\"\r\n",
    b"Content-Type: text/plain\r\n\r\n",
    b"Content-Type: message/cpim\r\n\r\n",
    b"body",
    b"abcd\xff\x00\r\n",
    b"\r\n",
    b"\r",
    b"-------",
    b"\r\n-------d93kswow$\r\n",
    b"\r\n-------d93kswow+\r\n",
    b"\r\n-------op2nc9a#\r\n",
    b"\r\n-------d93kswo",
    b"-------d93kswow$\r\n",
    b"-------op2nc9a$\r\n",
    b"MSRP d93kswow SEND\r\nTo-Path: msrp://b.example:1/9di4eae923wzd;tcp\r\nFrom-Path: msrp://a.example:2/iau39soe2843z;tcp\r\nMessage-ID: 12339sdqwer\r\nByte-Range: 1-16/16\r\nContent-Type: text/plain\r\n\r\nHi, I'm Alice!\r\n\r\n-------d93kswow$\r\n",
    b"MSRP op2nc9a SEND\r\nTo-Path: msrp://b.example:1/9di4eae923wzd;tcp\r\nFrom-Path: msrp://a.example:2/iau39soe2843z;tcp\r\nMessage-ID: 456s9wlk3\r\nByte-Range: 5-*/*\r\nSuccess-Report: yes\r\nContent-Type: text/plain\r\n\r\nrest\r\n-------op2nc9a$\r\n",
];

const LOCAL: &str = "msrp://b.example:1/9di4eae923wzd;tcp";
const PEER: &str = "msrp://a.example:2/iau39soe2843z;tcp";

/// An endpoint with one session, which the words of [`WORDS`] are for: the same comes back however the bytes are cut.
///
/// # Panics
/// An invariant is broken.
pub fn endpoint(data: &[u8]) {
    let whole = endpoint_run(data, data.len().max(1));
    assert_eq!(whole, endpoint_run(data, 1), "byte by byte");
}

fn endpoint_run(data: &[u8], cut: usize) -> (Vec<u8>, Vec<String>) {
    let mut directory = Directory::default();
    if let (Ok(local), Ok(path)) = (Uri::parse(LOCAL), Path::parse(PEER, 1)) {
        let session = Session {
            id: SessionId(1),
            local,
            path,
            compare: endpoint::Compare::Path,
            accept: AcceptTypes::any(),
            peer_accepts: AcceptTypes::any(),
            max_size: 1_000,
            peer_max_size: None,
            reports: endpoint::Reports::Automatic,
        };
        assert!(directory.add(Arc::new(session), Vec::new()));
    }
    let config = Arc::new(endpoint::Config::default());
    let machine = Endpoint::new(config, Arc::new(Counter::default()), Time::ZERO);
    let script = Script::new(move |_, question| match question {
        endpoint::Question::Bind { to, from, secured, certificate } => endpoint::Answer::Bind(
            directory.bind(endpoint::ConnectionId(1), &to, &from, secured, certificate.as_ref()),
        ),
    });
    let mut side = Side::new(machine, script);
    side.start(Time::ZERO);
    data.chunks(cut).for_each(|piece| side.bytes(Time::ZERO, piece));
    side.run_until(Time::ZERO + Duration::from_secs(3_600));
    side.eof(Time::ZERO + Duration::from_secs(3_600), Eof::Clean);
    assert!(side.closed().is_some(), "whoever is gone is let go");
    let mut stored = Vec::new();
    let mut lines = Vec::new();
    for event in side.take_events() {
        match event {
            endpoint::Event::Data { message, offset, bytes, .. } => {
                stored.extend((offset..).zip(bytes.iter().copied()).map(|(at, byte)| (message, at, byte)));
            }
            // How much of a message was handed out before it was refused depends on how it came.
            endpoint::Event::Incomplete { message, why, .. } => {
                stored.retain(|(of, ..)| *of != message);
                lines.push(format!("incomplete {message} {why:?}"));
            }
            event => lines.push(format!("{event:?}")),
        }
    }
    lines.extend(stored.into_iter().map(|byte| format!("{byte:?}")));
    (side.sent().to_vec(), lines)
}

/// A relay's connection with one URI issued to its client: the same comes back, and the same goes on, however the bytes are cut; and nothing
/// goes on that does not name a URI that was issued.
///
/// # Panics
/// An invariant is broken.
pub fn relay(data: &[u8]) {
    let whole = relay_run(data, data.len().max(1));
    assert_eq!(whole, relay_run(data, 1), "byte by byte");
}

fn relay_run(data: &[u8], cut: usize) -> (Vec<u8>, Vec<String>) {
    let entropy = Arc::new(Counter::default());
    let Ok(mut registry) = Registry::new("relay.example", 2855, Vec::new(), Bounds::default()) else {
        unreachable!("a good name")
    };
    let nonces = Arc::new(NonceKey::new(&*entropy, Duration::from_secs(300)));
    let config = Arc::new(relay::Config::new(registry.ours().to_vec(), nonces));
    registry.opened(LinkId(1), None);
    registry.opened(LinkId(2), None);
    let mut issued = String::new();
    if let Ok(client) = Uri::parse(PEER) {
        let uri = registry.issue(
            Time::ZERO,
            &relay::Holder::new("alice", 0),
            Owner::Link(LinkId(2)),
            client.into(),
            60,
            &*entropy,
        );
        issued = uri.map(|uri| uri.to_string()).unwrap_or_default();
    }
    // The word for a relay's URI becomes the one that was issued, every other time.
    let token: &[u8] = b"msrps://relay.example:2855/token;tcp";
    let mut data = data.to_vec();
    if let Some(at) = memchr::memmem::find(&data, token) {
        data.splice(at..at + token.len(), issued.bytes());
    }
    let machine = Link::new(LinkId(1), relay::Direction::Inbound, config, entropy, Time::ZERO);
    let script = Script::new(move |now, question| match question {
        relay::Question::Route { to, from } => {
            let first = to.first().map(Uri::to_string).unwrap_or_default();
            let route = registry.route(now, LinkId(1), &to, &from);
            assert!(route.is_err() || first.eq_ignore_ascii_case(&issued), "S1-L7: only what was issued");
            relay::Answer::Route(route)
        }
        relay::Question::Relay { .. } => relay::Answer::Relay(false),
        relay::Question::Credentials { .. } | relay::Question::Certified { .. } => {
            relay::Answer::Credentials(None)
        }
        relay::Question::Issue { .. } => unreachable!("nobody knows a password"),
    });
    let mut side = Side::new(machine, script);
    side.start(Time::ZERO);
    side.secured(Time::ZERO, facts());
    data.chunks(cut).for_each(|piece| side.bytes(Time::ZERO, piece));
    side.run_until(Time::ZERO + Duration::from_secs(7_200));
    assert!(side.closed().is_some(), "whoever says nothing is let go");
    let mut bytes = Vec::new();
    let mut lines = Vec::new();
    for event in side.take_events() {
        match event {
            relay::Event::Piece { piece: relay::Piece::Data(data), .. } => bytes.extend_from_slice(&data),
            event => lines.push(format!("{event:?}")),
        }
    }
    lines.push(format!("{bytes:?}"));
    (side.sent().to_vec(), lines)
}
