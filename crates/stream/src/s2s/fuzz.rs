//! Streams between servers driven by arbitrary bytes; the language of the input is that of [`crate::fuzz`].
//!
//! Of the first byte, four bits say how far the stream has come, and one each which role it has, whether the peer is believed, whether the stream goes both
//! ways, and whether its table of pairs is tiny.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use nuncio_sansio::pair::{Counter, Script, Side, facts};
use nuncio_sansio::{Eof, Time};
use nuncio_xmpp::error::{StreamCondition, StreamError};

use super::{
    Accepted, Answer, Command, DialbackError, Event, NotResumed, Opening, Pair, Place, Previous, Purpose,
    Question, S2s, S2sConfig, Start, Tls, Verdict, Way,
};
use crate::fuzz::{Act, Cut, Trace, acts, finish, trace};
use crate::redirect::Host;

const HEADER: &str = "<stream:stream from='them.example' to='us.example' id='i' version='1.0' \
    xmlns='jabber:server' xmlns:db='jabber:server:dialback' xmlns:stream='http://etherx.jabber.org/streams'>";
const EXTERNAL: &str =
    "<mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>EXTERNAL</mechanism></mechanisms>";
const LATER: &str =
    "<dialback xmlns='urn:xmpp:features:dialback'><errors/></dialback><sm xmlns='urn:xmpp:sm:3'/>";

const RESUMED: &str = "<resumed xmlns='urn:xmpp:sm:3' previd='former' h='2'/>";

/// Streams between servers, in both roles.
///
/// # Panics
/// An invariant is broken.
pub fn s2s(data: &[u8]) {
    let (whole, bytes) = (run(data, Cut::Never), run(data, Cut::Bytes));
    assert_eq!(whole, bytes, "the same comes back however the bytes are cut");
}

fn answer(question: Question, proven: bool) -> Answer {
    let verdict = if proven { Verdict::Accepted } else { Verdict::Unproven };
    match question {
        Question::Header { to, .. } => Answer::Header(match to.as_deref() {
            None | Some("us.example") => Ok(Accepted { local: "us.example".to_owned(), tls: Tls::Required }),
            Some(_) => Err(StreamError::new(StreamCondition::HostUnknown)),
        }),
        Question::External { .. } => Answer::External(verdict),
        Question::Server { .. } => Answer::Server(verdict),
        Question::Key { .. } => Answer::Key(Some("k".to_owned())),
        Question::Verify { key, .. } => {
            Answer::Verify(if key == "k" { Ok(()) } else { Err(DialbackError::Invalid) })
        }
        // Streams of the believed have a past.
        Question::Previous { .. } => Answer::Previous(proven.then(previous)),
        Question::Resume { previd, .. } => Answer::Resume(if proven && previd == previous().id {
            Ok(previous())
        } else {
            Err(NotResumed { h: proven.then_some(2) })
        }),
    }
}

fn previous() -> Previous {
    Previous { id: "former".to_owned(), inbound: 7, sent: 3, acked: 1 }
}

/// What a peer sends to get through negotiation, piece by piece.
fn steps(initiating: bool, proven: bool) -> Vec<String> {
    let features = |inside: &str| format!("{HEADER}<stream:features>{inside}</stream:features>");
    if initiating {
        vec![
            features(""),
            "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>".to_owned(),
            features(&format!("{EXTERNAL}<bidi xmlns='urn:xmpp:features:bidi'/>")),
            "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>".to_owned(),
            features(LATER),
            (if proven { RESUMED } else { "<enabled xmlns='urn:xmpp:sm:3'/>" }).to_owned(),
        ]
    } else {
        vec![
            HEADER.to_owned(),
            "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>".to_owned(),
            HEADER.to_owned(),
            "<bidi xmlns='urn:xmpp:bidi'/>".to_owned(),
            "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'>=</auth>".to_owned(),
            HEADER.to_owned(),
            "<resume xmlns='urn:xmpp:sm:3' previd='former' h='2'/>".to_owned(),
        ]
    }
}

fn run(data: &[u8], cut: Cut) -> Trace {
    let Some((&first, rest)) = data.split_first() else { return Trace::default() };
    let (stage, initiating, proven) = (usize::from(first & 15), first & 16 == 0, first & 32 == 0);
    let config = Arc::new(S2sConfig {
        bidi: first & 64 == 0,
        max_pairs: if first & 128 == 0 { 100 } else { 2 },
        ..S2sConfig::default()
    });
    let pair = Pair::new("us.example", "them.example");
    let entropy = Arc::new(Counter::default());
    let machine = if initiating {
        let place = Place { host: Host::Name("them.example".to_owned()), port: 5269, redirects: 0 };
        let purpose = if stage & 8 == 0 { Purpose::Stanzas } else { Purpose::Verify };
        let opening = Opening { start: Start::Tcp, pair: pair.clone(), purpose, place };
        S2s::initiating(config, entropy, opening, Time::ZERO)
    } else {
        S2s::receiving(config, entropy, Start::Tcp, Time::ZERO)
    };
    let mut side = Side::new(machine, Script::new(move |_, question| answer(question, proven)));
    let mut now = Time::ZERO;
    side.start(now);
    for step in steps(initiating, proven).iter().take(stage & 7) {
        side.bytes(now, step.as_bytes());
        if side.wants_tls() {
            side.secured(now, facts());
        }
    }
    let (mut asked, mut handled) = (0, 0);
    let other = Pair::new("us.example", "c.example");
    let rooms = Pair::new("us.example", "rooms.them.example");
    for act in acts(rest) {
        match act {
            Act::Bytes(bytes) => cut.pieces(bytes).for_each(|chunk| side.bytes(now, chunk)),
            Act::Do(act) => match act % 12 {
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
                5 => {
                    let pair = if act < 128 { rooms.clone() } else { pair.clone() };
                    side.command(now, Command::Assert { pair, key: "k".to_owned() });
                }
                6 => side.command(now, Command::Close(None)),
                7 => side.command(now, Command::Decide { pair: pair.clone(), outcome: Ok(()) }),
                8 => {
                    let error = if act < 128 { DialbackError::Invalid } else { DialbackError::TimedOut };
                    side.command(now, Command::Decide { pair: other.clone(), outcome: Err(error) });
                }
                9 => side.command(now, Command::Revoke { pair: pair.clone() }),
                10 => {
                    asked += usize::from(side.closed().is_none());
                    let verify =
                        Command::Verify { pair: pair.clone(), id: "i".to_owned(), key: "k".to_owned() };
                    side.command(now, verify);
                }
                _ => side.eof(now, if act < 128 { Eof::Clean } else { Eof::Truncated }),
            },
        }
    }
    finish(&mut side, now, Eof::Reset);
    check(&side, asked);
    trace(&side, |event| matches!(event, Event::Ended(_)))
}

fn check(side: &Side<S2s>, asked: usize) {
    let (mut incoming, mut outgoing) = (BTreeSet::new(), false);
    let (mut last, mut verified) = (0, 0);
    for (_, event) in side.events() {
        match event {
            Event::Authorised { pair, way, .. } => {
                outgoing |= *way != Way::In;
                if *way != Way::Out {
                    incoming.insert(pair.clone());
                }
            }
            Event::Stanza { pair, number, stanza } => {
                assert!(incoming.contains(pair), "a stanza of a pair that nobody authorised");
                assert!(stanza.from().is_some_and(|from| from.domain() == &*pair.remote));
                assert!(stanza.to().is_some_and(|to| to.domain() == &*pair.local));
                assert_eq!(*number, last + 1);
                last = *number;
            }
            Event::Rejected { number, .. } => {
                assert!(!incoming.is_empty());
                assert_eq!(*number, last + 1);
                last = *number;
            }
            Event::Verified { .. } => verified += 1,
            _ => {}
        }
    }
    assert_eq!(verified, asked, "each question about a key has one answer");
    let sent = String::from_utf8_lossy(side.sent());
    assert!(outgoing || !sent.contains("<message"), "a stanza before a pair was authorised: {sent}");
    assert!(!sent.contains("jabber:client"), "what is sent is of `jabber:server`: {sent}");
}
