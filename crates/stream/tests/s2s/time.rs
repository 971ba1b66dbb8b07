//! Time: what may take how long, silence, and closing (RFC 6120 §4.4, §4.6).

use std::time::Duration;

use nuncio_sansio::{Close, Eof};
use nuncio_stream::c2s::Idle;
use nuncio_stream::s2s::{Command, DialbackError, Opening, Purpose, Reason, S2sConfig, Verdict};

use crate::raw::{
    AUTH, OFFER_ERRORS, OFFER_EXTERNAL, OFFER_SM, Raw, STARTTLS, Wishes, assert_stream_error, hello, opening,
    pair, welcome,
};

fn config() -> S2sConfig {
    S2sConfig { idle: None, unused: None, ..S2sConfig::default() }
}

fn receiving(wishes: Wishes) -> Raw {
    Raw::receiving(config(), wishes)
}

const ASSERTION: &str = "<db:result from='them.example' to='us.example'>k</db:result>";

/// Negotiation has its time, in each state.
#[test]
fn too_slow() {
    let mut raw = receiving(Wishes::default());
    assert_stream_error(&raw.seconds(30), "connection-timeout");
    let mut raw = receiving(Wishes::default()).tls();
    assert_eq!(raw.seconds(29), "");
    assert_stream_error(&raw.seconds(1), "connection-timeout");
    assert!(matches!(raw.end().reason, Reason::Slow));
    // Inside a handshake nothing can be said.
    let mut raw = receiving(Wishes::default());
    raw.send(&hello());
    raw.send(STARTTLS);
    assert_eq!(raw.seconds(30), "");
    assert_eq!(raw.closed(), Some(Close::Abort));
    let mut raw = Raw::initiating(config(), opening(), Wishes::default()).called();
    assert_stream_error(&raw.seconds(31), "connection-timeout");
    // Once a pair is carried there is no hurry.
    let mut raw = receiving(Wishes::default()).known();
    assert_eq!(raw.seconds(10_000), "");
    assert!(raw.closed().is_none());
}

/// What the host takes to look for a proof is not counted against the peer.
#[test]
fn a_slow_host() {
    let delay = Duration::from_secs(40);
    let mut raw = receiving(Wishes { delay: Duration::ZERO, ..Wishes::default() });
    raw.send(&hello());
    raw.send(STARTTLS);
    raw.secured();
    let mut raw = receiving(Wishes { delay, decide: None, external: Verdict::Unproven, ..Wishes::default() });
    raw.send(&hello());
    assert_stream_error(&raw.seconds(31), "connection-timeout");
    let mut raw = Raw::initiating(config(), opening(), Wishes { delay, ..Wishes::default() }).called();
    raw.send(&welcome(OFFER_EXTERNAL));
    assert!(raw.seconds(41).contains("<auth"), "the verdict took longer than negotiation may");
}

/// XEP-0220 §2.1.1: the peer does not answer our assertion.
#[test]
fn assertions_without_an_answer() {
    let mut raw = Raw::initiating(config(), opening(), Wishes::default()).called();
    raw.send(&welcome(OFFER_ERRORS));
    raw.heard();
    assert_eq!(raw.seconds(59), "");
    assert_eq!(raw.seconds(1), "</stream:stream>");
    assert_eq!(raw.heard(), ["answered us.example with them.example Err(TimedOut)"]);
    raw.send("<db:result from='them.example' to='us.example' type='valid'/></stream:stream>");
    assert!(matches!(raw.end().reason, Reason::Dialback(DialbackError::TimedOut)));
    assert_eq!(raw.heard(), ["unsolicited us.example with them.example", "ended dialback clean"], "too late");
}

/// The host does not decide: the peer is told, and what the host says later is too late. The stream lives for that long.
#[test]
fn assertions_without_a_decision() {
    let wishes = Wishes { external: Verdict::Unproven, decide: None, ..Wishes::default() };
    let mut raw = receiving(wishes).tls();
    raw.seconds(20);
    raw.send(ASSERTION);
    assert_eq!(raw.seconds(59), "");
    assert!(raw.seconds(1).contains("<remote-server-timeout"));
    raw.heard();
    assert_eq!(raw.command(Command::Decide { pair: pair(), outcome: Ok(()) }), "");
    assert_eq!(raw.heard(), [""; 0]);
}

/// Whoever asked for keys only, and got its answers, has done nothing wrong.
#[test]
fn only_asked() {
    let mut raw = receiving(Wishes::default()).tls();
    raw.send("<db:verify from='them.example' to='us.example' id='i'>k</db:verify>");
    assert_eq!(raw.seconds(60), "</stream:stream>");
    assert!(matches!(raw.end().reason, Reason::Unused));
    let opening = Opening { purpose: Purpose::Verify, ..opening() };
    let mut raw = Raw::initiating(config(), opening, Wishes::default()).called();
    raw.send(&welcome(OFFER_ERRORS));
    raw.command(Command::Verify { pair: pair(), id: "i".into(), key: "k".into() });
    raw.heard();
    assert_eq!(raw.seconds(59), "", "the answer is waited for");
    raw.seconds(2);
    assert_eq!(raw.heard()[0], "verified us.example with them.example Err(TimedOut)");
}

/// A stream that nobody uses is closed, and one in use is not.
#[test]
fn unused() {
    let config = S2sConfig { idle: None, ..S2sConfig::default() };
    let mut raw = Raw::receiving(config, Wishes::default()).known();
    raw.seconds(500);
    raw.send("<message from='x@them.example' to='y@us.example'/>");
    assert_eq!(raw.seconds(599), "");
    assert_eq!(raw.seconds(1), "</stream:stream>");
    raw.send("</stream:stream>");
    assert!(matches!(raw.end().reason, Reason::Unused) && raw.end().clean);
}

/// RFC 6120 §4.6: a managed peer that does not answer a probe is given up; another gets white space.
#[test]
fn silence() {
    let idle = Idle { after: Duration::from_secs(100), answer_within: Duration::from_secs(10) };
    let config = || S2sConfig { idle: Some(idle), unused: None, ..S2sConfig::default() };
    let mut raw = Raw::initiating(config(), opening(), Wishes::default()).taken(OFFER_SM);
    raw.send("<enabled xmlns='urn:xmpp:sm:3'/>");
    assert_eq!(raw.seconds(100), "<r xmlns='urn:xmpp:sm:3'/>");
    raw.seconds(1);
    raw.send("<a xmlns='urn:xmpp:sm:3' h='0'/>");
    assert_eq!(raw.seconds(99), "");
    assert_eq!(raw.seconds(1), "<r xmlns='urn:xmpp:sm:3'/>");
    assert_stream_error(&raw.seconds(10), "connection-timeout");
    assert!(matches!(raw.end().reason, Reason::Silent));
    let mut raw = Raw::receiving(config(), Wishes::default()).known();
    assert_eq!(raw.seconds(300), "   ");
    assert!(raw.closed().is_none());
}

/// RFC 6120 §4.4, S0-21: what came before their closing tag is handled and acknowledged before ours.
#[test]
fn closing_by_the_peer() {
    let mut raw = receiving(Wishes { lazy: true, ..Wishes::default() }).known();
    raw.send("<enable xmlns='urn:xmpp:sm:3'/>");
    let stanza = "<message from='x@them.example' to='y@us.example'/>";
    assert_eq!(raw.send(&format!("{stanza}{stanza}</stream:stream>")), "");
    assert_eq!(raw.heard().last().map(String::as_str), Some("finishing"));
    assert_eq!(raw.eof(Eof::Clean), "");
    assert_eq!(raw.command(Command::Handled { number: 1 }), "");
    let sent = raw.command(Command::Handled { number: 2 });
    assert_eq!(sent, "<a xmlns='urn:xmpp:sm:3' h='2'/></stream:stream>");
    assert!(raw.end().clean && matches!(raw.end().reason, Reason::Peer));
    // A host that never comes to an end.
    let mut raw = receiving(Wishes { lazy: true, ..Wishes::default() }).known();
    raw.send(&format!("{stanza}</stream:stream>"));
    assert_eq!(raw.seconds(5), "</stream:stream>");
}

/// RFC 6120 §4.4, S0-21: after our closing tag the peer may still finish, but not for ever.
#[test]
fn closing_by_us() {
    let mut raw = receiving(Wishes::default()).known();
    assert_eq!(raw.command(Command::Close(None)), "</stream:stream>");
    raw.send("<message from='x@them.example' to='y@us.example' id='last'/>");
    assert_eq!(raw.heard(), ["stanza 1 last of us.example with them.example"]);
    assert_eq!(raw.command(Command::Stanza("<message/>".into())), "");
    assert_eq!(raw.send("<db:result from='c.example' to='us.example'>k</db:result>"), "");
    assert_eq!(raw.heard(), [""; 0], "nobody is asked to prove what cannot be answered");
    raw.send("</stream:stream>");
    assert!(raw.end().clean && matches!(raw.end().reason, Reason::Host));
    let mut raw = receiving(Wishes::default()).known();
    raw.command(Command::Close(None));
    raw.seconds(5);
    assert!(!raw.end().clean && raw.closed() == Some(Close::Orderly));
    for (eof, close, reason) in [
        (Eof::Clean, Close::Orderly, "lost"),
        (Eof::Truncated, Close::Orderly, "truncated"),
        (Eof::Reset, Close::Abort, "lost"),
    ] {
        let mut raw = receiving(Wishes::default()).known();
        raw.eof(eof);
        assert_eq!((raw.closed(), raw.end().reason.as_str()), (Some(close), reason));
    }
    // Before anything is negotiated.
    let mut raw = receiving(Wishes::default()).tls();
    assert_eq!(raw.command(Command::Close(None)), "</stream:stream>");
    assert_eq!(raw.send(AUTH), "");
    raw.send("</stream:stream>");
    assert!(raw.end().clean);
}
