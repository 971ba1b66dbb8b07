//! XEP-0198 §5 between servers: a stream whose connection is lost goes on over another one, on which the peer has authenticated anew.

use std::time::Duration;

use nuncio_sansio::Eof;
use nuncio_stream::c2s::Idle;
use nuncio_stream::s2s::{Command, NotResumed, Previous, Reason, S2sConfig, Verdict};

use crate::raw::{
    AUTH, OFFER_BIDI, OFFER_DIALBACK, OFFER_EXTERNAL, OFFER_SM, Raw, SUCCESS, Wishes, assert_stream_error,
    hello, opening, welcome,
};

const ENABLE: &str = "<enable xmlns='urn:xmpp:sm:3' resume='true'/>";
const THEIRS: &str = "<message from='x@them.example' to='y@us.example'/>";
const OURS: &str = "<message from='y@us.example' to='x@them.example'/>";
const REQUEST: &str = "<r xmlns='urn:xmpp:sm:3'/>";

fn config() -> S2sConfig {
    S2sConfig { idle: None, unused: None, ..S2sConfig::default() }
}

/// We have got 7 stanzas, have sent 3, and they have acknowledged one.
fn former() -> Previous {
    Previous { id: "former".to_owned(), inbound: 7, sent: 3, acked: 1 }
}

fn remembering() -> Wishes {
    Wishes { previous: Some(former()), resume: Ok(former()), ..Wishes::default() }
}

fn resume(h: u32) -> String {
    format!("<resume xmlns='urn:xmpp:sm:3' previd='former' h='{h}'/>")
}

fn resumed(h: u32) -> String {
    format!("<resumed xmlns='urn:xmpp:sm:3' previd='former' h='{h}'/>")
}

fn answer(h: u32) -> String {
    format!("<a xmlns='urn:xmpp:sm:3' h='{h}'/>")
}

fn failed(condition: &str, h: &str) -> String {
    format!(
        "<failed xmlns='urn:xmpp:sm:3'{h}><{condition} xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></failed>"
    )
}

fn stanza() -> Command {
    Command::Stanza(OURS.into())
}

/// A receiving stream that goes both ways and carries a pair.
fn both(wishes: Wishes) -> Raw {
    let mut raw = Raw::receiving(config(), wishes).tls();
    raw.send("<bidi xmlns='urn:xmpp:bidi'/>");
    raw.send(AUTH);
    raw.send(&hello());
    raw.heard();
    raw
}

/// An initiating one, as far as it can be resumed.
fn managed(config: S2sConfig) -> Raw {
    let mut raw = Raw::initiating(config, opening(), Wishes::default()).taken(OFFER_SM);
    raw.send("<enabled xmlns='urn:xmpp:sm:3' id='theirs' resume='true'/>");
    assert_eq!(raw.heard(), ["resumable theirs 60"]);
    raw
}

/// What the peer is told, and what the host: for those who want to resume, where that is allowed.
#[test]
fn names_are_given() {
    let mut raw = both(Wishes::default());
    let sent = raw.send(ENABLE);
    let heard = raw.heard();
    let id = heard[1].split(' ').nth(1).unwrap();
    assert_eq!(heard, ["managed".to_owned(), format!("resumable {id} 60")]);
    assert_eq!(sent, format!("<enabled xmlns='urn:xmpp:sm:3' id='{id}' resume='true' max='60'/>"));
    let never = S2sConfig { resume: None, ..config() };
    for (config, enable) in [(config(), "<enable xmlns='urn:xmpp:sm:3'/>"), (never.clone(), ENABLE)] {
        let mut raw = Raw::receiving(config, Wishes::default()).known();
        assert_eq!(raw.send(enable), "<enabled xmlns='urn:xmpp:sm:3'/>");
        assert_eq!(raw.heard(), ["managed"]);
        raw.eof(Eof::Reset);
        assert_eq!(raw.end().resumable, None);
    }
    let mut raw = Raw::initiating(never, opening(), remembering()).taken(OFFER_SM);
    raw.send("<enabled xmlns='urn:xmpp:sm:3' id='theirs' resume='true'/>");
    assert_eq!(raw.heard(), [""; 0], "they offer what we do not want");
}

/// What they say of themselves: the shorter time counts, and without a name there is nothing.
#[test]
fn names_are_taken() {
    let long = "i".repeat(1_025);
    for (attributes, expected) in [
        ("id='theirs' resume='true' max='10'", Some("resumable theirs 10")),
        ("id='theirs' resume='1' max='4000'", Some("resumable theirs 60")),
        ("id='theirs' resume='true' max='x'", Some("resumable theirs 60")),
        ("id='theirs'", None),
        ("id='theirs' resume='false'", None),
        ("resume='true'", None),
        ("id='' resume='true'", None),
        (&*format!("id='{long}' resume='true'"), None),
    ] {
        let mut raw = Raw::initiating(config(), opening(), Wishes::default()).taken(OFFER_SM);
        raw.send(&format!("<enabled xmlns='urn:xmpp:sm:3' {attributes}/>"));
        assert_eq!(raw.heard(), Vec::from_iter(expected), "{attributes}");
        raw.eof(Eof::Reset);
        assert_eq!(raw.end().resumable.is_some(), expected.is_some(), "{attributes}");
    }
}

/// How far a stream had come is told when its connection is lost, in whatever way.
#[test]
fn what_is_kept() {
    let idle = Idle { after: Duration::from_secs(100), answer_within: Duration::from_secs(10) };
    type Lose = fn(&mut Raw);
    let lose: [(&str, Lose); 6] = [
        ("lost", |raw| drop(raw.eof(Eof::Reset))),
        ("lost", |raw| drop(raw.eof(Eof::Clean))),
        ("truncated", |raw| drop(raw.eof(Eof::Truncated))),
        ("superseded", |raw| assert_eq!(raw.command(Command::Supersede), "", "nobody would read it")),
        ("silent", |raw| drop((raw.seconds(100), raw.seconds(10)))),
        ("peer-error", |raw| {
            let error = "<connection-timeout xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>";
            raw.send(&format!("<stream:error>{error}</stream:error></stream:stream>"));
        }),
    ];
    for (reason, lose) in lose {
        let mut raw = managed(S2sConfig { idle: Some(idle), ..config() });
        for _ in 0..3 {
            raw.command(stanza());
        }
        raw.send(&answer(2));
        raw.send(&THEIRS.repeat(4));
        lose(&mut raw);
        assert_eq!(raw.end().reason.as_str(), reason);
        let kept = Previous { id: "theirs".to_owned(), inbound: 4, sent: 3, acked: 2 };
        assert_eq!(raw.end().resumable, Some(kept), "{reason}");
        assert_eq!(raw.end().sent, 3);
    }
}

/// A stream that one of us has closed is over.
#[test]
fn what_is_not_kept() {
    let end: [fn(&mut Raw); 5] = [
        |raw| drop(raw.send("</stream:stream>")),
        |raw| {
            raw.command(Command::Close(None));
            raw.eof(Eof::Reset);
        },
        |raw| {
            raw.command(Command::Close(None));
            raw.seconds(5);
        },
        |raw| drop(raw.send("<message/>")),
        |raw| {
            let error = "<reset xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>";
            raw.send(&format!("<stream:error>{error}</stream:error></stream:stream>"));
        },
    ];
    for end in end {
        let mut raw = managed(config());
        raw.command(stanza());
        end(&mut raw);
        assert_eq!(raw.end().resumable, None, "{:?}", raw.end());
    }
}

/// The receiving side goes on: what the peer has handled is known to the host, and counts are those of the former connection.
#[test]
fn they_resume() {
    let mut raw = both(remembering());
    // What came or went before the resumption is of neither count.
    raw.send(THEIRS);
    raw.command(stanza());
    raw.heard();
    assert_eq!(raw.send(&resume(2)), resumed(7));
    assert_eq!(raw.heard(), ["resumed 2"]);
    assert_eq!(raw.send(&format!("{THEIRS}{REQUEST}")), answer(8));
    raw.command(stanza());
    raw.command(stanza());
    raw.heard();
    raw.send(&answer(4));
    assert_eq!(raw.heard(), ["acked 4 2"]);
    raw.eof(Eof::Reset);
    let kept = Previous { id: "former".to_owned(), inbound: 8, sent: 4, acked: 4 };
    assert_eq!(raw.end().resumable, Some(kept), "and it can be resumed once more");
}

/// XEP-0198 §5: what cannot be resumed is told, with what is known of it; then the peer may begin anew. One attempt.
#[test]
fn they_cannot_resume() {
    for (h, attribute) in [(None, ""), (Some(7), " h='7'")] {
        let wishes = Wishes { resume: Err(NotResumed { h }), ..Wishes::default() };
        let mut raw = Raw::receiving(config(), wishes).known();
        assert_eq!(raw.send(&resume(2)), failed("item-not-found", attribute));
        assert_eq!(raw.send(&resume(2)), failed("unexpected-request", ""));
        assert!(raw.send(ENABLE).starts_with("<enabled "));
        assert_eq!(raw.heard()[0], "managed");
        assert_eq!(raw.send(&format!("{THEIRS}{REQUEST}")), answer(1));
        assert_eq!(raw.send(&resume(2)), failed("unexpected-request", ""));
    }
    let mut raw = Raw::receiving(config(), remembering()).known();
    let strange = "<resume xmlns='urn:xmpp:sm:3' previd='guess' h='0'/>";
    assert_eq!(raw.send(strange), failed("item-not-found", ""));
}

/// What is wrong with a resumption, and costs nobody else.
#[test]
fn bad_resumptions() {
    for bad in ["previd='former'", "h='2'", "previd='former' h='-1'", "previd='former' h='4294967296'"] {
        let mut raw = Raw::receiving(config(), remembering()).known();
        let sent = raw.send(&format!("<resume xmlns='urn:xmpp:sm:3' {bad}/>"));
        assert_eq!(sent, failed("bad-request", ""), "{bad}");
        assert_eq!(raw.send(&resume(2)), resumed(7), "it was no attempt");
    }
    for off in [S2sConfig { resume: None, ..config() }, S2sConfig { stream_management: false, ..config() }] {
        let mut raw = Raw::receiving(off, remembering()).known();
        assert_eq!(raw.send(&resume(2)), failed("feature-not-implemented", ""));
    }
    // Acknowledged more than was sent, or taken back what was acknowledged.
    for h in [4, 0] {
        let mut raw = Raw::receiving(config(), remembering()).known();
        let sent = raw.send(&resume(h));
        assert!(!sent.contains("<resumed") && sent.contains("<handled-count-too-high"), "{h}: {sent}");
        assert!(!raw.heard().contains(&format!("resumed {h}")));
    }
    // Before anybody is authenticated, and before dialback has come to an end.
    let wishes = Wishes { external: Verdict::Unproven, decide: None, ..remembering() };
    let mut raw = Raw::receiving(config(), wishes).tls();
    raw.send("<db:result from='them.example' to='us.example'>k</db:result>");
    assert_eq!(raw.send(&resume(2)), failed("unexpected-request", ""));
    let mut raw = Raw::receiving(config(), remembering()).tls();
    assert_stream_error(&raw.send(&resume(2)), "not-authorized");
    // Whoever was called resumes nothing.
    let mut raw = managed(config());
    assert_stream_error(&raw.send(&resume(2)), "unsupported-stanza-type");
}

/// The host takes its time, and the peer has gone, or we have closed, when it knows.
#[test]
fn a_host_that_is_slow_to_remember() {
    let wishes = || Wishes { delay: Duration::from_secs(1), ..remembering() };
    let begun = || {
        let mut raw = Raw::receiving(config(), wishes());
        raw.send(&hello());
        raw.seconds(1);
        raw.send(crate::raw::STARTTLS);
        raw.secured();
        raw.send(&hello());
        raw.seconds(1);
        raw.seconds(1);
        raw.send(AUTH);
        raw.send(&hello());
        raw.heard();
        raw
    };
    let mut raw = begun();
    assert_eq!(raw.send(&format!("{}{THEIRS}", resume(2))), "");
    assert_eq!(raw.heard(), [""; 0], "nothing is read meanwhile");
    assert_eq!(raw.seconds(1), resumed(7));
    assert_eq!(raw.heard(), ["resumed 2", "stanza 1 - of us.example with them.example"]);
    let mut raw = begun();
    raw.send(&resume(2));
    assert_eq!(raw.command(Command::Close(None)), "</stream:stream>");
    assert_eq!(raw.seconds(1), "");
    assert_eq!(raw.heard(), [""; 0], "it is too late");
}

/// The initiating side goes on, whether it was authenticated by its certificate or by dialback.
#[test]
fn we_resume() {
    let external = || {
        let mut raw = Raw::initiating(config(), opening(), remembering()).called();
        raw.send(&welcome(&format!("{OFFER_EXTERNAL}{OFFER_BIDI}")));
        raw.send(SUCCESS);
        let sent = raw.send(&welcome(OFFER_SM));
        (raw, sent)
    };
    let dialback = || {
        let mut raw = Raw::initiating(config(), opening(), remembering()).called();
        raw.send(&welcome(&format!("{OFFER_DIALBACK}{OFFER_SM}{OFFER_BIDI}")));
        let sent = raw.send("<db:result from='them.example' to='us.example' type='valid'/>");
        (raw, sent)
    };
    let begin: [fn() -> (Raw, String); 2] = [external, dialback];
    for begin in begin {
        let (mut raw, sent) = begin();

        assert!(sent.ends_with(&resume(7)), "{sent}");
        let heard = raw.heard();
        assert!(heard.iter().any(|line| line.starts_with("authorised")), "{heard:?}");
        assert!(!heard.contains(&"managed".to_owned()), "{heard:?}");
        // The former stream comes first; this the host should not have done.
        assert_eq!(raw.command(stanza()), "");
        // On a stream that goes both ways they may not have read it yet.
        raw.send(THEIRS);
        raw.heard();
        raw.send(&resumed(2));
        assert_eq!(raw.heard(), ["resumed 2"]);
        raw.command(stanza());
        raw.heard();
        assert_eq!(raw.send(&format!("{THEIRS}{REQUEST}")), answer(8));
        raw.heard();
        raw.send(&answer(3));
        assert_eq!(raw.heard(), ["acked 3 1"]);
        raw.eof(Eof::Truncated);
        let kept = Previous { id: "former".to_owned(), inbound: 8, sent: 3, acked: 3 };
        assert_eq!((raw.end().resumable.as_ref(), raw.end().sent), (Some(&kept), 1));
    }
}

/// They do not know it any more, or not whether to believe us: what they still say counts, if it can be true. Then the stream begins anew.
#[test]
fn we_cannot_resume() {
    for (h, known) in [("", "None"), (" h='3'", "Some(3)"), (" h='4'", "None"), (" h='0'", "None")] {
        let mut raw = Raw::initiating(config(), opening(), remembering()).taken(OFFER_SM);
        assert_eq!(raw.send(&failed("item-not-found", h)), ENABLE, "{h}");
        assert_eq!(raw.heard(), [format!("not resumed {known}"), "managed".to_owned()]);
        raw.send("<enabled xmlns='urn:xmpp:sm:3' id='new' resume='true'/>");
        raw.command(stanza());
        raw.send(THEIRS);
        raw.eof(Eof::Reset);
        let kept = Previous { id: "new".to_owned(), inbound: 1, sent: 1, acked: 0 };
        assert_eq!(raw.end().resumable, Some(kept));
    }
}

/// Answers to our resumption that are none.
#[test]
fn bad_answers() {
    for (answer, condition) in [
        (&*resumed(4), "<handled-count-too-high"),
        (&*resumed(0), "<handled-count-too-high"),
        ("<resumed xmlns='urn:xmpp:sm:3' previd='another' h='2'/>", "<unsupported-stanza-type"),
        ("<resumed xmlns='urn:xmpp:sm:3' previd='former'/>", "<"),
        ("<enabled xmlns='urn:xmpp:sm:3'/>", "<unsupported-stanza-type"),
    ] {
        let mut raw = Raw::initiating(config(), opening(), remembering()).taken(OFFER_SM);
        let sent = raw.send(answer);
        assert!(sent.contains("<stream:error>") && sent.contains(condition), "{answer}: {sent}");
        assert_eq!(raw.end().resumable, None);
        assert!(!raw.heard().iter().any(|line| line.starts_with("resumed")), "{answer}");
    }
    // None at all, and nobody waits for ever.
    let mut raw = Raw::initiating(config(), opening(), remembering()).taken(OFFER_SM);
    assert_eq!(raw.seconds(29), "");
    assert_stream_error(&raw.seconds(1), "connection-timeout");
    assert!(matches!(raw.end().reason, Reason::Slow));
    // Where nothing was asked there is nothing to answer.
    let mut raw = managed(config());
    assert_stream_error(&raw.send(&resumed(2)), "unsupported-stanza-type");
    // Who manages no streams is not asked.
    let mut raw = Raw::initiating(config(), opening(), remembering()).taken("");
    assert_eq!(raw.sent(), "");
}
