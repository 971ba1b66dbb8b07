//! The initiating role against servers of every kind.

use nuncio_sansio::{Close, Eof};
use nuncio_stream::redirect::{Decision, Host, Refusal};
use nuncio_stream::s2s::{
    Command, Condition, DialbackError, Opening, Pair, Place, Purpose, Reason, S2sConfig, Tls, Verdict,
};
use nuncio_xmpp::error::{StreamCondition, StreamError};

use crate::raw::{
    OFFER_BIDI, OFFER_DIALBACK, OFFER_ERRORS, OFFER_EXTERNAL, OFFER_SM, OFFER_TLS, PROCEED, Raw, STARTTLS,
    SUCCESS, Wishes, assert_stream_error, header, opening, pair, welcome,
};

fn usual() -> Raw {
    Raw::initiating(S2sConfig::default(), opening(), Wishes::default())
}

fn with(wishes: Wishes) -> Raw {
    Raw::initiating(S2sConfig::default(), opening(), wishes)
}

/// S3-30, RFC 7590 §3.1: somebody has removed the offer. TLS is asked for all the same, and nothing else goes out in clear, whatever is offered.
#[test]
fn stripped_starttls() {
    for features in ["", OFFER_DIALBACK, OFFER_EXTERNAL, OFFER_SM, "<x xmlns='x:y'/>"] {
        let mut raw = usual();
        assert!(!raw.sent().contains("message"));
        assert_eq!(raw.send(&welcome(features)), STARTTLS, "{features}");
        assert_eq!(raw.command(Command::Stanza("<message/>".into())), "");
        let sent = raw.send("<failure xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>");
        assert_eq!(sent, "</stream:stream>");
        assert_eq!(raw.end().reason.as_str(), "no-tls");
    }
    // Whoever answers otherwise is not believed either.
    for answer in ["<db:result from='them.example' to='us.example' type='valid'/>", SUCCESS, "<message/>"] {
        let mut raw = usual();
        raw.send(&welcome(""));
        assert_stream_error(&raw.send(answer), "policy-violation");
    }
}

/// Where the operator allows it, and the peer has none, a stream goes without TLS (XEP-0238); EXTERNAL and bidi do not.
#[test]
fn without_tls() {
    for (tls, offer, first) in [
        (Tls::Optional, OFFER_TLS, "<starttls"),
        (Tls::Optional, "", "<db:result from='us.example' to='them.example'>our-key<"),
        (Tls::Never, OFFER_TLS, "<db:result from='us.example' to='them.example'>our-key<"),
    ] {
        let config = S2sConfig { tls, ..S2sConfig::default() };
        let mut raw = Raw::initiating(config, opening(), Wishes::default());
        raw.sent();
        let sent = raw.send(&welcome(&format!("{offer}{OFFER_EXTERNAL}{OFFER_BIDI}")));
        assert!(sent.starts_with(first), "{tls:?}: {sent}");
    }
}

/// RFC 6120 §5.4.3.3: what was injected in clear after `<proceed/>` is not read as part of the protected stream.
#[test]
fn injected_plaintext() {
    let mut raw = usual();
    raw.send(&welcome(OFFER_TLS));
    raw.send(&format!(
        "{PROCEED}{}<db:result from='them.example' to='us.example' type='valid'/>",
        welcome(OFFER_EXTERNAL)
    ));
    assert!(raw.side.wants_tls());
    raw.side.bytes(raw.now, welcome(OFFER_EXTERNAL).as_bytes());
    let sent = raw.secured();
    assert!(sent.ends_with('>') && sent.contains("<stream:stream") && !sent.contains("<auth"), "{sent}");
    assert_eq!(raw.heard().last().map(String::as_str), Some("secured"));
    assert!(raw.send(&welcome(OFFER_EXTERNAL)).contains("<auth"));
}

/// RFC 6120 §4.9.1.3: a header that says nobody's name comes before an error, which is heard.
#[test]
fn an_error_after_an_anonymous_header() {
    for from in ["from='' ", ""] {
        let mut raw = usual();
        let header = header(&format!("{from}to='us.example' id='i'"));
        raw.send(&format!(
            "{header}<stream:error><host-unknown xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error></stream:stream>"
        ));
        let reason = &raw.end().reason;
        let heard =
            matches!(reason, Reason::PeerError(error) if error.condition == StreamCondition::HostUnknown);
        assert!(heard, "{from}: {reason:?}");
    }
}

/// S3-07: they answer as somebody else.
#[test]
fn wrong_headers() {
    for (more, condition) in [
        ("from='other.example' to='us.example' id='i'", "invalid-from"),
        ("from='them.example' to='other.example' id='i'", "host-unknown"),
        ("from='a b' id='i'", "invalid-from"),
    ] {
        let mut raw = usual();
        raw.sent();
        assert_stream_error(&raw.send(&header(more)), condition);
    }
}

/// S3-06 to S3-09: the verdict falls after the header inside TLS, and before anything of ours.
#[test]
fn the_verdict() {
    let refused = Verdict::Refused(StreamError::new(StreamCondition::PolicyViolation).with_text("no"));
    let mut raw = with(Wishes { server: refused, ..Wishes::default() }).called();
    assert_stream_error(&raw.send(&welcome(OFFER_EXTERNAL)), "policy-violation");
    assert_eq!(raw.end().reason.as_str(), "refused");
    // Somebody who is not believed gets no bidirectional stream.
    for (server, bidi) in [(Verdict::Accepted, true), (Verdict::Unproven, false)] {
        let mut raw = with(Wishes { server, ..Wishes::default() }).called();
        let sent = raw.send(&welcome(&format!("{OFFER_EXTERNAL}{OFFER_BIDI}")));
        assert_eq!(sent.starts_with("<bidi xmlns='urn:xmpp:bidi'/><auth"), bidi, "{sent}");
    }
}

/// XEP-0178 §3, RFC 7712 §4.3: EXTERNAL, and dialback where it is refused or not offered; then nothing is left.
#[test]
fn ways_to_authenticate() {
    let failure = "<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><not-authorized/></failure>";
    let mut raw = usual().called();
    raw.send(&welcome(&format!("{OFFER_EXTERNAL}{OFFER_DIALBACK}")));
    raw.heard();
    assert_eq!(raw.send(failure), "<db:result from='us.example' to='them.example'>our-key</db:result>");
    assert_eq!(raw.heard(), ["external failed not-authorized"]);
    // The header alone tells of dialback (XEP-0220 §2.4.1).
    let mut raw = usual().called();
    assert!(raw.send(&welcome("")).starts_with("<db:result"));
    let undeclared = |features: &str| {
        format!(
            "<stream:stream from='them.example' to='us.example' id='i' version='1.0' xmlns='jabber:server' \
             xmlns:stream='http://etherx.jabber.org/streams'><stream:features>{features}</stream:features>"
        )
    };
    let mut raw = usual().called();
    assert_eq!(raw.send(&undeclared("")), "</stream:stream>");
    assert!(matches!(raw.end().reason, Reason::Unauthenticated(None)));
    let mut raw = usual().called();
    raw.send(&undeclared(OFFER_EXTERNAL));
    assert_eq!(raw.send(failure), "</stream:stream>");
    assert!(matches!(raw.end().reason, Reason::Unauthenticated(Some(_))));
    // The host wants no dialback.
    let mut raw = with(Wishes { key: None, ..Wishes::default() }).called();
    assert_eq!(raw.send(&welcome(OFFER_ERRORS)), "</stream:stream>");
    // A needless challenge.
    let mut raw = usual().called();
    raw.send(&welcome(OFFER_EXTERNAL));
    let response = raw.send("<challenge xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>");
    assert!(
        response.contains("<response xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>=</response>"),
        "{response}"
    );
}

/// S3-13, XEP-0220 §3.1: results and verifications that nobody asked for are ignored and reported, in every state that could hear them.
#[test]
fn unsolicited_answers() {
    let forged = [
        "<db:result from='them.example' to='us.example' type='valid'/>",
        "<db:result from='evil.example' to='us.example' type='valid'/>",
        "<db:result from='them.example' to='other.example' type='valid'/>",
        "<db:verify from='them.example' to='us.example' id='s-2' type='valid'/>",
        "<db:verify from='evil.example' to='us.example' id='s-1' type='valid'/>",
        "<db:verify from='them.example' to='other.example' id='s-1' type='valid'/>",
        "<db:result from='them.example' to='us.example' type='error'/>",
    ];
    let config = || S2sConfig { bidi: false, ..S2sConfig::default() };
    let mut raw = Raw::initiating(config(), opening(), Wishes::default()).taken(OFFER_ERRORS);
    let verify = Command::Verify { pair: pair(), id: "s-1".into(), key: "k".into() };
    assert_eq!(raw.command(verify), "<db:verify from='us.example' to='them.example' id='s-1'>k</db:verify>");
    for text in forged {
        assert_eq!(raw.send(text), "");
        let heard = raw.heard();
        assert!(heard.len() == 1 && heard[0].starts_with("unsolicited "), "{text}: {heard:?}");
    }
    raw.send("<db:verify from='them.example' to='us.example' id='s-1' type='valid'/>");
    assert_eq!(raw.heard(), ["verified us.example with them.example Ok(())"]);
    raw.send("<db:verify from='them.example' to='us.example' id='s-1' type='valid'/>");
    assert_eq!(raw.heard(), ["unsolicited us.example with them.example"], "answered once");
    // A stanza of a pair that nobody authorised does not go through after a forged result.
    let mut raw =
        Raw::receiving(S2sConfig::default(), Wishes { external: Verdict::Unproven, ..Wishes::default() })
            .tls();
    for text in forged {
        assert_eq!(raw.send(text), "");
    }
    assert!(!raw.heard().iter().any(|line| line.starts_with("authorised") || line.starts_with("verified")));
    assert_stream_error(&raw.send("<message from='x@them.example' to='y@us.example'/>"), "not-authorized");
}

/// S3-12: supposition needs a server that can say no without closing the stream; further domains of ours may be asserted to anybody.
#[test]
fn suppositions_need_dialback_errors() {
    let rooms = Pair::new("us.example", "rooms.them.example");
    let other = Pair::new("also.us.example", "them.example");
    let assert = |pair: &Pair| Command::Assert { pair: pair.clone(), key: "k".into() };
    let mut raw = usual().taken(OFFER_DIALBACK);
    assert_eq!(raw.command(assert(&rooms)), "");
    assert_eq!(raw.heard(), ["answered us.example with rooms.them.example Err(Unsupported)"]);
    assert!(
        raw.command(assert(&other)).starts_with("<db:result from='also.us.example' to='them.example'>k<")
    );
    let mut raw = usual().taken(OFFER_ERRORS);
    assert!(
        raw.command(assert(&rooms)).starts_with("<db:result from='us.example' to='rooms.them.example'>k<")
    );
    assert_eq!(raw.command(assert(&rooms)), "", "under way");
    raw.send("<db:result from='rooms.them.example' to='us.example' type='valid'/>");
    assert_eq!(raw.command(assert(&rooms)), "", "done");
    assert_eq!(
        raw.heard(),
        [
            "authorised us.example with rooms.them.example Both Dialback",
            "answered us.example with rooms.them.example Ok(())",
            "answered us.example with rooms.them.example Ok(())",
        ]
    );
}

/// S0-20: nobody sends stanzas back, or asserts, on a stream that goes one way.
#[test]
fn one_way() {
    let config = || S2sConfig { bidi: false, ..S2sConfig::default() };
    let mut raw = Raw::initiating(config(), opening(), Wishes::default()).taken(OFFER_ERRORS);
    let sent = raw.send("<db:result from='them.example' to='us.example'>k</db:result>");
    assert!(sent.contains("type='error'><error type='wait'><unexpected-request"), "{sent}");
    assert_stream_error(&raw.send("<message from='x@them.example' to='y@us.example'/>"), "not-authorized");
}

/// XEP-0220 §2.1.1: the pair that the stream was opened for is refused, so it ends, unless it serves otherwise.
#[test]
fn a_refused_pair() {
    for (answer, error) in [
        ("type='invalid'/>", DialbackError::Invalid),
        (
            "type='error'><error type='cancel'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></db:result>",
            DialbackError::Error(Condition::ItemNotFound),
        ),
        ("type='error'/>", DialbackError::Error(Condition::UndefinedCondition)),
    ] {
        let answer = format!("<db:result from='them.example' to='us.example' {answer}");
        let mut raw = usual().called();
        raw.send(&welcome(OFFER_ERRORS));
        assert_eq!(raw.send(&answer), "</stream:stream>");
        raw.send("</stream:stream>");
        assert!(matches!(raw.end().reason, Reason::Dialback(reason) if reason == error));
        // A question is still open.
        let mut raw = usual().called();
        raw.send(&welcome(OFFER_ERRORS));
        raw.command(Command::Verify { pair: pair(), id: "s-1".into(), key: "k".into() });
        assert_eq!(raw.send(&answer), "");
        assert_eq!(
            raw.send("<db:verify from='them.example' to='us.example' id='s-1' type='valid'/>"),
            "</stream:stream>"
        );
    }
}

/// XEP-0220 §2.1.2: questions about keys need no authentication, and wait for the stream to be ready.
#[test]
fn questions_only() {
    let opening = Opening { purpose: Purpose::Verify, ..opening() };
    let mut raw = Raw::initiating(S2sConfig::default(), opening, Wishes::default());
    let verify = |id: &str| Command::Verify { pair: pair(), id: id.into(), key: "k".into() };
    raw.command(verify("s-1"));
    let mut raw = raw_called(raw);
    let sent = raw.send(&welcome(&format!("{OFFER_EXTERNAL}{OFFER_ERRORS}")));
    assert_eq!(sent, "<db:verify from='us.example' to='them.example' id='s-1'>k</db:verify>");
    assert!(raw.command(verify("s-2")).contains("id='s-2'"));
    raw.heard();
    // In any order, each once.
    raw.send("<db:verify from='them.example' to='us.example' id='s-2' type='invalid'/>");
    raw.eof(Eof::Reset);
    assert_eq!(
        raw.heard(),
        [
            "verified us.example with them.example Err(Invalid)",
            "verified us.example with them.example Err(Ended)",
            "ended lost",
        ]
    );
}

fn raw_called(mut raw: Raw) -> Raw {
    raw.sent();
    raw.send(&welcome(OFFER_TLS));
    raw.send(PROCEED);
    raw.secured();
    raw
}

/// XEP-0220 §2.1.1: assertions that are open when the stream ends have failed; what was not sent is known.
#[test]
fn what_is_open_at_the_end() {
    let mut raw = usual().taken(OFFER_ERRORS);
    assert_eq!(raw.command(Command::Stanza("<message id='1'/>".into())), "<message id='1'/>");
    raw.command(Command::Assert { pair: Pair::new("also.us.example", "them.example"), key: "k".into() });
    raw.send("</stream:stream>");
    assert_eq!(raw.end().sent, 1);
    assert_eq!(raw.heard(), ["answered also.us.example with them.example Err(Ended)", "ended peer clean"]);
}

/// S0-30 to S0-32: redirects are followed only from whom we called, not for ever, and not in circles.
#[test]
fn redirects() {
    let error = |host: &str| {
        format!(
            "<stream:error><see-other-host xmlns='urn:ietf:params:xml:ns:xmpp-streams'>{host}</see-other-host></stream:error>"
        )
    };
    let end = |raw: Raw| match &raw.end().reason {
        Reason::Redirected(decision) => decision.clone(),
        other => panic!("{other:?}"),
    };
    let header = header("from='them.example' to='us.example' id='i'");
    // In clear, nobody is believed.
    let mut raw = usual();
    raw.send(&format!("{header}{}", error("evil.example")));
    assert_eq!(end(raw), Decision::Refuse(Refusal::Unauthenticated));
    // Inside TLS, after the verdict.
    for (server, host, redirects, expected) in [
        (Verdict::Accepted, "them.example:5333", 0, Decision::SameHost { port: 5333 }),
        (
            Verdict::Accepted,
            "other.example",
            4,
            Decision::Resolve { name: "other.example".into(), port: None },
        ),
        (Verdict::Accepted, "other.example", 5, Decision::Refuse(Refusal::TooMany)),
        (Verdict::Accepted, "them.example:5269", 0, Decision::Refuse(Refusal::Circle)),
        (Verdict::Unproven, "other.example", 0, Decision::Refuse(Refusal::Unauthenticated)),
    ] {
        let place = Place { host: Host::Name("them.example".into()), port: 5269, redirects };
        let opening = Opening { place, ..opening() };
        let raw = Raw::initiating(S2sConfig::default(), opening, Wishes { server, ..Wishes::default() });
        let mut raw = raw_called(raw);
        raw.send(&format!("{header}{}", error(host)));
        assert_eq!(end(raw), expected, "{host} after {redirects}");
    }
    // What is no place is an error like others.
    let mut raw = usual();
    raw.send(&format!("{header}{}", error("evil example/")));
    assert!(
        matches!(&raw.end().reason, Reason::PeerError(error) if error.condition == StreamCondition::SeeOtherHost)
    );
}

/// A loop of redirects ends (S0-32): the host counts what it follows, and the sixth is refused.
#[test]
fn a_loop_of_redirects() {
    let mut followed = 0;
    let mut names = ["a.example", "b.example"].into_iter().cycle();
    loop {
        let place = Place { host: Host::Name(names.next().unwrap().into()), port: 5269, redirects: followed };
        let raw = Raw::initiating(S2sConfig::default(), Opening { place, ..opening() }, Wishes::default());
        let mut raw = raw_called(raw);
        let next = names.clone().next().unwrap();
        let header = header("from='them.example' to='us.example' id='i'");
        raw.send(&format!(
            "{header}<stream:error><see-other-host xmlns='urn:ietf:params:xml:ns:xmpp-streams'>{next}</see-other-host></stream:error>"
        ));
        match &raw.end().reason {
            Reason::Redirected(Decision::Resolve { .. }) => followed += 1,
            Reason::Redirected(Decision::Refuse(Refusal::TooMany)) => break,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(followed, 5);
}

/// Stream management (XEP-0198): what is sent counts from the first stanza, and a server that refuses is said to.
#[test]
fn managed_or_not() {
    let mut raw = usual().called();
    raw.send(&welcome(OFFER_EXTERNAL));
    raw.send(SUCCESS);
    assert_eq!(raw.send(&welcome(OFFER_SM)), "<enable xmlns='urn:xmpp:sm:3' resume='true'/>");
    raw.command(Command::Stanza("<message/>".into()));
    raw.send("<enabled xmlns='urn:xmpp:sm:3'/>");
    assert!(raw.seconds(2).contains("<r "));
    raw.heard();
    raw.send("<a xmlns='urn:xmpp:sm:3' h='1'/>");
    assert_eq!(raw.heard(), ["acked 1 1"]);
    assert!(raw.send("<a xmlns='urn:xmpp:sm:3' h='2'/>").contains("handled-count-too-high"));
    let mut raw = usual().taken(OFFER_SM);
    raw.send("<failed xmlns='urn:xmpp:sm:3'><unexpected-request xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></failed>");
    assert_eq!(raw.heard(), ["unmanaged"]);
    assert_eq!(raw.command(Command::Stanza("<message/>".into())), "<message/>");
    // By dialback too, before the first stanza and not before the peer accepts.
    let mut raw = usual().called();
    assert!(!raw.send(&welcome(&format!("{OFFER_ERRORS}{OFFER_SM}"))).contains("enable"));
    let sent = raw.send("<db:result from='them.example' to='us.example' type='valid'/>");
    assert_eq!(sent, "<enable xmlns='urn:xmpp:sm:3' resume='true'/>");
    let heard = raw.heard();
    let at = |line: &str| heard.iter().position(|heard| heard.starts_with(line));
    assert!(at("managed") < at("authorised"), "{heard:?}");
}

/// An end in every state of negotiation.
#[test]
fn ends_anywhere() {
    for steps in 0..5 {
        for (what, reason) in [("</stream:stream>", "peer"), ("", "lost"), ("<<", "misbehaved")] {
            let mut raw = usual();
            for (index, step) in [welcome(OFFER_TLS), PROCEED.into(), welcome(OFFER_EXTERNAL), SUCCESS.into()]
                .iter()
                .enumerate()
                .take(steps)
            {
                raw.send(step);
                if index == 1 {
                    raw.secured();
                }
            }
            if what == "</stream:stream>" && matches!(steps, 0 | 2 | 4) {
                // There is no stream to close yet.
                continue;
            }
            if what.is_empty() {
                raw.eof(Eof::Clean);
            } else {
                raw.send(what);
            }
            assert_eq!(raw.end().reason.as_str(), reason, "{steps} {what}");
            assert_eq!(raw.closed(), Some(Close::Orderly));
        }
    }
}
