//! Both roles driven by arbitrary bytes, with a scripted other side that lets them get past the login. For fuzzers and `tests/mutate.rs`.
//!
//! The first byte chooses how far the stream has come. Of the rest, 0xFF ends a piece of input, and 0xFE makes the next byte an act of the
//! host, of the clock or of the connection; neither can be part of UTF-8, so text stays text. The functions panic when an
//! invariant is broken.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use nuncio_sansio::pair::{Counter, Script, Side, facts};
use nuncio_sansio::{Close, Eof, Machine, Time};
use nuncio_xmpp::error::{Condition, StreamCondition, StreamError};
use nuncio_xmpp::jid::{BareJid, Jid};
use nuncio_xmpp::ns;
use nuncio_xmpp::xml::{Frame, Limits, Tokenizer};

use crate::c2s::{Answer, C2s, Command, Domain, Enabled, Event, Question, ResumeFailed, Resumed, Start};
use crate::client::{self, Client, ClientConfig, Place};
use crate::redirect::Host;
use crate::sasl::server::{self, Lookup, Policy};
use crate::sasl::{Hash, Keys, Mechanism};

const HEADER: &[u8] = b"<stream:stream to='im.example.com' version='1.0' xmlns='jabber:client' \
    xmlns:stream='http://etherx.jabber.org/streams'>";
const STARTTLS: &[u8] = b"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>";
const AUTH: &[u8] =
    b"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>AGp1bGlldABzZWNyZXQ=</auth>";
const BIND: &[u8] = b"<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>";
const ENABLE: &[u8] = b"<enable xmlns='urn:xmpp:sm:3' resume='true'/>";
const CLOSE: &str = "</stream:stream>";

/// The receiving role.
///
/// # Panics
/// An invariant is broken.
pub fn c2s(data: &[u8]) {
    let (whole, bytes) = (c2s_run(data, Cut::Never), c2s_run(data, Cut::Bytes));
    assert_eq!(whole, bytes, "the same comes back however the bytes are cut");
}

/// The initiating role.
///
/// # Panics
/// An invariant is broken.
pub fn client(data: &[u8]) {
    let (whole, bytes) = (client_run(data, Cut::Never), client_run(data, Cut::Bytes));
    assert_eq!(whole, bytes, "the same comes back however the bytes are cut");
}

pub use crate::s2s::fuzz::s2s;

/// How a piece of input is cut.
#[derive(Clone, Copy)]
pub(crate) enum Cut {
    /// Not at all.
    Never,
    /// After each byte.
    Bytes,
}

impl Cut {
    pub(crate) fn pieces(self, bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
        bytes.split_inclusive(move |_| match self {
            Self::Never => false,
            Self::Bytes => true,
        })
    }
}

/// What an input means.
pub(crate) enum Act<'a> {
    Bytes(&'a [u8]),
    Do(u8),
}

pub(crate) fn acts(data: &[u8]) -> impl Iterator<Item = Act<'_>> {
    let mut rest = data;
    std::iter::from_fn(move || {
        loop {
            match rest {
                [] => return None,
                [0xFF, tail @ ..] => rest = tail,
                [0xFE, act, tail @ ..] => {
                    rest = tail;
                    return Some(Act::Do(*act));
                }
                [0xFE] => rest = &[],
                _ => {
                    let length = rest.iter().position(|byte| *byte >= 0xFE).unwrap_or(rest.len());
                    let (piece, tail) = rest.split_at(length);
                    rest = tail;
                    return Some(Act::Bytes(piece));
                }
            }
        }
    })
}

fn juliet() -> Option<BareJid> {
    BareJid::new("juliet@im.example.com").ok()
}

fn answer(question: Question) -> Answer {
    match question {
        Question::Domain { to, .. } => Answer::Domain(match to.as_deref() {
            None | Some("im.example.com") => Ok(Domain {
                name: "im.example.com".to_owned(),
                policy: Policy { scram: vec![Hash::Sha1], plain: true, external: true },
                tls: true,
            }),
            Some(_) => Err(StreamError::new(StreamCondition::HostUnknown)),
        }),
        Question::Offer(_) => Answer::Offer(Vec::new()),
        Question::Sasl { addresses, lookup, .. } => Answer::Sasl(match lookup {
            Lookup::Scram { username, hash } => server::Answer::Scram(Ok(server::Record {
                keys: Keys::fake(b"secret", hash, &username, 4096),
                account: juliet(),
            })),
            Lookup::Password { password, .. } => {
                server::Answer::Password(Ok(juliet().filter(|_| *password == "secret")))
            }
            Lookup::External { .. } => server::Answer::External(Ok(addresses.into_iter().next())),
            Lookup::Login { .. } => server::Answer::Login(Ok(())),
        }),
        Question::Unbound { stanza, .. } => {
            Answer::Unbound(stanza.child("query", ns::REGISTER).map(|_| stanza.result(None)))
        }
        Question::Bind { who, resource } => {
            let jid = who.account().with_resource(resource.as_deref().unwrap_or("r"));
            Answer::Bind(jid.map_err(|_| Condition::BadRequest.into()))
        }
        Question::Enable { resume, .. } => Answer::Enable(Ok(Enabled {
            id: resume.then(|| "sm-1".to_owned()),
            max: Some(300),
            location: None,
        })),
        Question::Resume { h, .. } => Answer::Resume(match Jid::new("juliet@im.example.com/r") {
            Ok(jid) if h < 9 => Ok(Resumed { jid, inbound: u32::MAX, outbound: 9 }),
            _ => Err(ResumeFailed { condition: Condition::ItemNotFound, h: None }),
        }),
    }
}

/// What can be compared of a run: all that was sent, the events by name, whether it is closed.
pub(crate) type Trace = (String, Vec<String>, Option<Close>);

fn c2s_run(data: &[u8], cut: Cut) -> Trace {
    let Some((&stage, rest)) = data.split_first() else { return Trace::default() };
    let machine = C2s::new(Arc::default(), Arc::new(Counter::default()), Start::Tcp, Time::ZERO);
    let mut side = Side::new(machine, Script::new(|_, question| answer(question)));
    let mut now = Time::ZERO;
    side.start(now);
    let steps: [&[&[u8]]; 3] = [&[HEADER, STARTTLS], &[HEADER, AUTH], &[HEADER, BIND, ENABLE]];
    let taken = [0, 1, 2, 3, 4, 5, 6, 7][usize::from(stage % 8)];
    for step in steps.concat().into_iter().take(taken) {
        side.bytes(now, step);
        if side.wants_tls() {
            side.secured(now, facts());
        }
    }
    let mut handled = 0;
    for act in acts(rest) {
        match act {
            Act::Bytes(bytes) => cut.pieces(bytes).for_each(|chunk| side.bytes(now, chunk)),
            Act::Do(act) => match act % 10 {
                0 if side.wants_tls() => side.secured(now, facts()),
                0 | 1 => {
                    now = now + Duration::from_millis(u64::from(act) * 50);
                    side.run_until(now);
                }
                2 => {
                    handled += 1;
                    side.command(now, Command::Handled { number: handled });
                }
                3 => side.command(now, Command::Handled { number: u64::from(act) }),
                4 => side.command(now, Command::Stanza(Bytes::from_static(b"<message/>"))),
                5 => side.command(now, Command::Nonza(Bytes::from_static(b"<x xmlns='x:y'/>"))),
                6 => side.command(now, Command::Close(None)),
                7 => side.command(now, Command::Close(Some(StreamError::new(StreamCondition::Reset)))),
                9 => side.command(now, Command::Unanswered),
                _ => side.eof(now, if act < 128 { Eof::Clean } else { Eof::Truncated }),
            },
        }
    }
    finish(&mut side, now, Eof::Reset);
    check_c2s(&side);
    trace(&side, |event| matches!(event, Event::Ended(_)))
}

/// Ends a run: whatever state it is in, a broken connection ends it.
pub(crate) fn finish<M: Machine>(side: &mut Side<M>, now: Time, eof: Eof) {
    if side.wants_tls() {
        side.secured(now, facts());
    }
    side.eof(now, eof);
    assert!(side.closed().is_some(), "a broken connection ends a stream");
}

fn check_c2s(side: &Side<C2s>) {
    let mut bound: Option<&Jid> = None;
    let mut last = 0;
    for (_, event) in side.events() {
        match event {
            Event::Bound(jid) | Event::Resumed { jid, .. } => {
                assert!(bound.is_none(), "one resource a stream");
                bound = Some(jid);
            }
            Event::Stanza { number, stanza } => {
                assert!(bound.is_some() && stanza.from() == bound, "stanzas only of a bound client, stamped");
                assert_eq!(*number, last + 1);
                last = *number;
            }
            Event::Answered { number, .. } => {
                assert!(bound.is_some());
                assert_eq!(*number, last + 1);
                last = *number;
            }
            Event::Nonza(_)
            | Event::Acked { .. }
            | Event::Enabled(_)
            | Event::Finishing
            | Event::Quiet { .. } => {
                assert!(bound.is_some())
            }
            _ => {}
        }
    }
}

pub(crate) fn trace<M: Machine>(side: &Side<M>, is_end: impl Fn(&M::Event) -> bool) -> Trace
where
    M::Event: std::fmt::Debug,
{
    let sent = String::from_utf8_lossy(side.sent()).into_owned();
    let ends = side.events().iter().filter(|(_, event)| is_end(event)).count();
    assert_eq!(ends, 1, "one end");
    assert!(side.events().last().is_some_and(|(_, event)| is_end(event)), "the end comes last");
    if let Some((_, after)) = sent.split_once(CLOSE) {
        assert_eq!(after, "", "nothing follows our closing tag");
    }
    check_xml(&sent);
    let events = side.events().iter().map(|(_, event)| format!("{event:?}")).collect();
    (sent, events, side.closed().map(|(_, close)| close))
}

/// What we send is a row of well-formed streams, the last of them perhaps cut short.
fn check_xml(sent: &str) {
    for stream in sent.split("<?xml version='1.0'?>").filter(|stream| !stream.is_empty()) {
        let mut tokenizer = Tokenizer::new(Limits { header_bytes: 1 << 20, ..Limits::default() });
        tokenizer.push(stream.as_bytes());
        let mut frames = 0;
        loop {
            let frame = tokenizer.next();
            assert!(frame.is_ok(), "{frame:?}: {stream}");
            let Ok(Some(frame)) = frame else { break };
            assert_eq!(matches!(frame, Frame::Header(_)), frames == 0, "{stream}");
            frames += 1;
        }
    }
}

fn client_run(data: &[u8], cut: Cut) -> Trace {
    let (Some((&stage, rest)), Some(account)) = (data.split_first(), juliet()) else {
        return Trace::default();
    };
    let place = Place { host: Host::Name("im.example.com".to_owned()), port: 5222, redirects: 0 };
    let credentials = crate::sasl::client::Credentials::password("juliet", "secret");
    let mut config = ClientConfig::new(account, credentials, Start::Tcp, place);
    // SCRAM would take milliseconds for each input; its own target is in `sasl`.
    config.policy.mechanisms = vec![Mechanism::Plain];
    let resumes = stage & 8 == 8;
    config.resume =
        resumes.then(|| Jid::new("juliet@im.example.com/r").ok()).flatten().map(|jid| client::Resumption {
            id: "sm-1".to_owned(),
            jid,
            inbound: u32::MAX,
            acked: u32::MAX,
            unacked: vec![Bytes::from_static(b"<message id='1'/>"), Bytes::from_static(b"<message id='2'/>")],
            location: None,
        });
    let machine = Client::new(config, Arc::new(Counter::default()), Time::ZERO);
    let mut side = Side::new(machine, Script::new(|_, never: client::Never| match never {}));
    let mut now = Time::ZERO;
    side.start(now);
    let header = String::from_utf8_lossy(HEADER).replace("to=", "id='x' from=");
    let features = |inside: &str| format!("{header}<stream:features>{inside}</stream:features>");
    let steps = [
        features(""),
        "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>".to_owned(),
        features(
            "<mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>PLAIN</mechanism></mechanisms>",
        ),
        "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>".to_owned(),
        features("<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/><sm xmlns='urn:xmpp:sm:3'/>"),
    ];
    for step in steps.iter().take(usize::from(stage % 8)) {
        side.bytes(now, step.as_bytes());
        if side.wants_tls() {
            side.secured(now, facts());
        }
    }
    if stage % 8 >= 6 && !resumes {
        // The id of the request is the machine's own; it stands last.
        let sent = String::from_utf8_lossy(side.sent()).into_owned();
        let id =
            sent.rsplit_once("id='").and_then(|(_, rest)| rest.split_once('\'')).map_or("", |(id, _)| id);
        let bound = format!(
            "<iq type='result' id='{id}'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>\
             <jid>juliet@im.example.com/r</jid></bind></iq>"
        );
        side.bytes(now, bound.as_bytes());
        if stage % 8 == 7 {
            side.bytes(now, b"<enabled xmlns='urn:xmpp:sm:3' id='sm-1' resume='true'/>");
        }
    }
    for act in acts(rest) {
        match act {
            Act::Bytes(bytes) => cut.pieces(bytes).for_each(|chunk| side.bytes(now, chunk)),
            Act::Do(act) => match act % 6 {
                0 if side.wants_tls() => side.secured(now, facts()),
                0 | 1 => {
                    now = now + Duration::from_millis(u64::from(act) * 50);
                    side.run_until(now);
                }
                2 => side.command(now, client::Command::Stanza(Bytes::from_static(b"<message/>"))),
                3 => side.command(now, client::Command::Nonza(Bytes::from_static(b"<x xmlns='x:y'/>"))),
                4 => side.command(now, client::Command::Close(None)),
                _ => side.eof(now, if act < 128 { Eof::Clean } else { Eof::Truncated }),
            },
        }
    }
    finish(&mut side, now, Eof::Reset);
    check_client(&side);
    trace(&side, |event| matches!(event, client::Event::Ended(_)))
}

/// S0-07: no stanza but the machine's own requests before a resource is bound.
fn check_client(side: &Side<Client>) {
    let open = |event: &client::Event| matches!(event, client::Event::Bound(_) | client::Event::Resumed(_));
    if !side.events().iter().any(|(_, event)| open(event)) {
        let sent = String::from_utf8_lossy(side.sent()).into_owned();
        assert!(!sent.contains("<message") && !sent.contains("x:y"), "sent early: {sent}");
    }
}

/// The words of which streams are made, for generators.
pub const WORDS: &[&[u8]] = &[
    HEADER,
    STARTTLS,
    AUTH,
    BIND,
    ENABLE,
    b"<r xmlns='urn:xmpp:sm:3'/>",
    b"<a xmlns='urn:xmpp:sm:3' h='0'/>",
    b"<a xmlns='urn:xmpp:sm:3' h='1'/>",
    b"<resume xmlns='urn:xmpp:sm:3' h='4' previd='sm-1'/>",
    b"<resumed xmlns='urn:xmpp:sm:3' h='0' previd='sm-1'/>",
    b"<failed xmlns='urn:xmpp:sm:3'/>",
    b"<enabled xmlns='urn:xmpp:sm:3'/>",
    b"<message to='romeo@example.net'><body>hi</body></message>",
    b"<message to='@@' id='1'/>",
    b"<presence/>",
    b"<iq type='get' id='1'><query xmlns='jabber:iq:register'/></iq>",
    b"<iq type='get'/>",
    b"<iq type='set' id='s'><session xmlns='urn:ietf:params:xml:ns:xmpp-session'/></iq>",
    b"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='SCRAM-SHA-1'>biwsbj1qdWxpZXQscj1hYmM=</auth>",
    b"<response xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>=</response>",
    b"<abort xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>",
    b"<challenge xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>",
    b"<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>",
    b"<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><not-authorized/></failure>",
    b"<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>",
    b"<active xmlns='urn:xmpp:csi:0'/>",
    b"<stream:error><see-other-host xmlns='urn:ietf:params:xml:ns:xmpp-streams'>b.example:1</see-other-host></stream:error>",
    b"<stream:features><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/><sm xmlns='urn:xmpp:sm:3'/></stream:features>",
    b"</stream:stream>",
    b" ",
    b"<stream:stream from='them.example' to='us.example' id='i' version='1.0' xmlns='jabber:server' \
      xmlns:db='jabber:server:dialback' xmlns:stream='http://etherx.jabber.org/streams'>",
    b"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'>=</auth>",
    b"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'/>",
    b"<bidi xmlns='urn:xmpp:bidi'/>",
    b"<db:result xmlns:db='jabber:server:dialback' from='them.example' to='us.example'>k</db:result>",
    b"<db:result xmlns:db='jabber:server:dialback' from='c.example' to='us.example'>k</db:result>",
    b"<db:result xmlns:db='jabber:server:dialback' from='them.example' to='us.example' type='valid'/>",
    b"<db:result xmlns:db='jabber:server:dialback' from='them.example' to='us.example' type='invalid'/>",
    b"<db:result xmlns:db='jabber:server:dialback' from='rooms.them.example' to='us.example' type='valid'/>",
    b"<db:verify xmlns:db='jabber:server:dialback' from='them.example' to='us.example' id='i'>k</db:verify>",
    b"<db:verify xmlns:db='jabber:server:dialback' from='them.example' to='us.example' id='i' type='valid'/>",
    b"<message from='x@them.example' to='y@us.example'/>",
    b"<message from='x@c.example' to='y@us.example'/>",
    b"<iq type='get' from='x@them.example' to='us.example'/>",
    b"<message from='@@them.example' to='y@us.example'/>",
    b"<stream:features><mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>EXTERNAL</mechanism></mechanisms></stream:features>",
    b"<stream:features><dialback xmlns='urn:xmpp:features:dialback'><errors/></dialback><bidi xmlns='urn:xmpp:features:bidi'/></stream:features>",
    &[0xFE, 0],
    &[0xFE, 1],
    &[0xFE, 2],
    &[0xFE, 3],
    &[0xFE, 4],
    &[0xFE, 6],
    &[0xFE, 8],
    &[0xFE, 5],
    &[0xFE, 7],
    &[0xFE, 9],
    &[0xFE, 10],
    &[0xFE, 11],
    &[0xFE, 199],
    &[0xFF],
];
