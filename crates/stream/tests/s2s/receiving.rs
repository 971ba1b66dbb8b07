//! The receiving role: headers, features, EXTERNAL, who may send what.

use nuncio_sansio::Close;
use nuncio_stream::s2s::{Command, DialbackError, Pair, S2sConfig, Tls, Verdict};
use nuncio_xmpp::error::{StreamCondition, StreamError};

use crate::raw::{AUTH, Raw, STARTTLS, Wishes, assert_stream_error, header, hello, pair};

fn usual() -> Raw {
    Raw::receiving(S2sConfig::default(), Wishes::default())
}

fn unproven() -> Raw {
    Raw::receiving(S2sConfig::default(), Wishes { external: Verdict::Unproven, ..Wishes::default() })
}

/// RFC 6120 §4.7 to §4.9, S3-07: headers that are none, or not for us.
#[test]
fn headers() {
    let stream =
        |rest: &str| format!("<stream:stream {rest} xmlns:stream='http://etherx.jabber.org/streams'>");
    for (header, condition) in [
        (header("from='them.example' to='nobody.example'"), "host-unknown"),
        (header("from='them.example' to='us.example@'"), "improper-addressing"),
        (header("from='x y' to='us.example'"), "invalid-from"),
        (
            stream("from='them.example' to='us.example' version='1.0' xmlns='jabber:client'"),
            "invalid-namespace",
        ),
        (stream("from='them.example' to='us.example' xmlns='jabber:server'"), "unsupported-version"),
        (
            stream("from='them.example' to='us.example' version='0.9' xmlns='jabber:server'"),
            "unsupported-version",
        ),
        (
            "<stream:features xmlns:stream='http://etherx.jabber.org/streams' xmlns='jabber:server'>".into(),
            "bad-format",
        ),
        ("<x>".into(), "invalid-namespace"),
        ("<stream:stream><".into(), "not-well-formed"),
        ("<!DOCTYPE x>".into(), "restricted-xml"),
    ] {
        let mut raw = usual();
        let sent = raw.send(&header);
        assert!(sent.starts_with("<?xml version='1.0'?><stream:stream "), "our header comes first: {sent}");
        assert_stream_error(&sent, condition);
        assert_eq!(raw.closed(), Some(Close::Orderly));
    }
}

/// S3-07: a header without addresses is for the host to judge; this one serves a default domain. Without `from` there is nobody to authenticate.
#[test]
fn headers_without_addresses() {
    let mut raw = usual();
    assert!(raw.send(&header("")).contains("<required/>"));
    raw.send(STARTTLS);
    raw.secured();
    let features = raw.send(&header(""));
    assert!(!features.contains("EXTERNAL") && features.contains("dialback"), "{features}");
    assert_eq!(raw.heard(), ["opened", "secured", "opened"]);
    assert!(raw.send(AUTH).contains("<invalid-mechanism"));
}

/// S0-33: what was said in clear is forgotten; ids are new; STARTTLS is not offered again.
#[test]
fn nothing_survives_tls() {
    let mut raw = usual();
    let clear = raw.send(&header("from='other.example' to='also.us.example'"));
    raw.send(STARTTLS);
    raw.secured();
    let inside = raw.send(&hello());
    assert!(!inside.contains("starttls"), "{inside}");
    let id = |text: &str| text.split("id='").nth(1).unwrap().split('\'').next().unwrap().to_owned();
    assert_ne!(id(&clear), id(&inside));
    let success = raw.send(AUTH);
    assert!(success.contains("<success"));
    let known = raw.send(&hello());
    assert_ne!(id(&inside), id(&known));
    assert!(raw.heard().contains(&"authorised us.example with them.example In External".to_owned()));
}

/// S0-34: in clear there is STARTTLS and nothing else, where TLS is required.
#[test]
fn nothing_in_clear() {
    for (element, expected) in [
        (AUTH, "<encryption-required"),
        (
            "<db:result from='them.example' to='us.example'>k</db:result>",
            "type='error'><error type='modify'><policy-violation",
        ),
        (
            "<db:verify from='them.example' to='us.example' id='i'>k</db:verify>",
            "id='i' type='error'><error type='modify'><policy-violation",
        ),
        ("<db:result from='them.example' to='us.example' type='valid'/>", ""),
        ("<bidi xmlns='urn:xmpp:bidi'/>", ""),
    ] {
        let mut raw = usual();
        raw.send(&hello());
        let sent = raw.send(element);
        assert!(sent.contains(expected) && !sent.contains("stream:error"), "{element}: {sent}");
        assert!(raw.send(STARTTLS).contains("<proceed"), "{element}");
        assert!(
            !raw.heard().iter().any(|line| line.starts_with("asserted") || line.starts_with("authorised"))
        );
    }
    let mut raw = usual();
    raw.send(&hello());
    assert_stream_error(&raw.send("<message from='x@them.example' to='y@us.example'/>"), "not-authorized");
}

/// Without a certificate there is no TLS to be had (RFC 6120 §5.4.2.2).
#[test]
fn no_certificate() {
    let mut raw = Raw::receiving(S2sConfig::default(), Wishes { tls: Tls::Never, ..Wishes::default() });
    assert!(!raw.send(&hello()).contains("starttls"));
    let sent = raw.send(STARTTLS);
    assert!(
        sent.starts_with("<failure xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
            && sent.ends_with("</stream:stream>")
    );
}

/// XEP-0178 §3, RFC 6120 §6.3.8, S3-09: who may be whom.
#[test]
fn external() {
    let auth = |mechanism: &str, text: &str| {
        format!("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='{mechanism}'>{text}</auth>")
    };
    for (mechanism, text, expected) in [
        ("EXTERNAL", "=", "<success"),
        // them.example
        ("EXTERNAL", "dGhlbS5leGFtcGxl", "<success"),
        // Them.Example
        ("EXTERNAL", "VGhlbS5FeGFtcGxl", "<success"),
        // other.example
        ("EXTERNAL", "b3RoZXIuZXhhbXBsZQ==", "<invalid-authzid"),
        // x@them.example
        ("EXTERNAL", "eEB0aGVtLmV4YW1wbGU=", "<invalid-authzid"),
        ("EXTERNAL", "/w==", "<invalid-authzid"),
        ("EXTERNAL", "dGhlb", "<incorrect-encoding"),
        ("EXTERNAL", "dGhlbS5leGFtcGxl\n", "<incorrect-encoding"),
        ("EXTERNAL", "", "<challenge"),
        ("PLAIN", "=", "<invalid-mechanism"),
        ("", "=", "<invalid-mechanism"),
    ] {
        let mut raw = usual().tls();
        let sent = raw.send(&auth(mechanism, text));
        assert!(sent.contains(expected), "{mechanism} {text}: {sent}");
        assert!(!raw.heard().iter().any(|line| line.starts_with("authorised")), "not before the new header");
    }
    let mut raw = usual().tls();
    assert!(raw.send(&auth("EXTERNAL", "")).contains("<challenge"));
    assert!(
        raw.send("<response xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>b3RoZXIuZXhhbXBsZQ==</response>")
            .contains("<invalid-authzid")
    );
    assert!(raw.send(&auth("EXTERNAL", "")).contains("<challenge"));
    assert!(raw.send("<abort xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>").contains("<aborted"));
    assert!(raw.send(&auth("EXTERNAL", "")).contains("<challenge"));
    assert!(raw.send("<response xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>").contains("<success"));
}

/// XEP-0178 §3: EXTERNAL is offered only to whom the certificate proves, and taken from nobody else.
#[test]
fn external_is_not_for_everybody() {
    let mut raw = unproven().tls();
    assert!(raw.send(AUTH).contains("<invalid-mechanism"));
    assert!(
        raw.send("<db:result from='them.example' to='us.example'>k</db:result>").contains("type='valid'"),
        "dialback is left"
    );
    let refused = Verdict::Refused(StreamError::new(StreamCondition::PolicyViolation));
    let mut raw = Raw::receiving(S2sConfig::default(), Wishes { external: refused, ..Wishes::default() });
    raw.send(&hello());
    raw.send(STARTTLS);
    raw.secured();
    assert_stream_error(&raw.send(&hello()), "policy-violation");
    assert_eq!(raw.end().reason.as_str(), "refused");
}

/// After SASL the header must still be of the same two.
#[test]
fn the_header_after_sasl() {
    for (more, condition) in [
        ("from='other.example' to='us.example'", "invalid-from"),
        ("from='them.example' to='also.us.example'", "host-unknown"),
    ] {
        let mut raw = usual().tls();
        raw.send(AUTH);
        assert_stream_error(&raw.send(&header(more)), condition);
        assert!(!raw.heard().iter().any(|line| line.starts_with("authorised")));
    }
    let mut raw = usual().tls();
    raw.send(AUTH);
    raw.send(&header(""));
    assert!(raw.heard().contains(&"authorised us.example with them.example In External".to_owned()));
}

/// RFC 6120 §8.1.1.2, §8.1.2.2: forged and missing addresses, and those that are only strange.
#[test]
fn who_may_send_what() {
    for (stanza, condition) in [
        ("<message from='x@evil.example' to='y@us.example'/>", "invalid-from"),
        ("<message from='us.example' to='y@us.example'/>", "invalid-from"),
        ("<message from='x@sub.them.example' to='y@us.example'/>", "invalid-from"),
        ("<message to='y@us.example'/>", "improper-addressing"),
        ("<message from='x@them.example'/>", "improper-addressing"),
        ("<iq type='get' id='1'/>", "improper-addressing"),
        ("<message from='x@evil.example' to='@us.example'/>", "invalid-from"),
        ("<message from='@@' to='y@us.example'/>", "improper-addressing"),
        (
            "<x:message xmlns:x='jabber:server' from='x@them.example' to='y@us.example'/>",
            "bad-namespace-prefix",
        ),
        (
            "<message xmlns='jabber:client' from='x@them.example' to='y@us.example'/>",
            "unsupported-stanza-type",
        ),
        ("<foo xmlns='x:y' to='y@us.example'/>", "unsupported-stanza-type"),
        ("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>", "unsupported-stanza-type"),
    ] {
        let mut raw = usual().known();
        let sent = raw.send(stanza);
        assert_stream_error(&sent, condition);
        assert!(!raw.heard().iter().any(|line| line.starts_with("stanza")), "{stanza}");
    }
    for stanza in [
        // The sender is known, but not for that domain of ours.
        "<message from='x@them.example' to='y@also.us.example'/>",
        "<iq type='get' id='1' from='them.example' to='us.example'/>",
        "<message from='@them.example' to='y@us.example'/>",
        "<presence from='x@them.example' to='@us.example'/>",
    ] {
        let mut raw = usual().known();
        assert_eq!(raw.send(stanza), "", "{stanza}");
        let heard = raw.heard();
        assert!(heard.len() == 1 && heard[0].starts_with("rejected 1"), "{stanza}: {heard:?}");
        raw.send("<message from='x@them.example' to='y@us.example' id='good'/>");
        assert_eq!(raw.heard(), ["stanza 2 good of us.example with them.example"]);
    }
}

/// S0-05: nothing before anybody is authenticated.
#[test]
fn stanzas_too_early() {
    let stanza = "<message from='x@them.example' to='y@us.example'/>";
    assert_stream_error(&usual().tls().send(stanza), "not-authorized");
    let mut raw = Raw::receiving(
        S2sConfig::default(),
        Wishes { external: Verdict::Unproven, decide: None, ..Wishes::default() },
    )
    .tls();
    raw.send("<db:result from='them.example' to='us.example'>k</db:result>");
    assert_stream_error(&raw.send(stanza), "not-authorized");
    let mut raw = usual().tls();
    raw.send(AUTH);
    assert_stream_error(&raw.send(&format!("{}{stanza}x", header(""))), "bad-format");
}

/// RFC 6120 §8.1.5: the language of the stream is the stanza's.
#[test]
fn language() {
    let mut raw = usual().tls();
    raw.send(AUTH);
    raw.send(&header("from='them.example' to='us.example' xml:lang='de'"));
    raw.side.take_events();
    raw.send("<message from='x@them.example' to='y@us.example'/><message xml:lang='fr' from='x@them.example' to='y@us.example'/>");
    let langs: Vec<_> = raw
        .side
        .take_events()
        .into_iter()
        .filter_map(|event| match event {
            nuncio_stream::s2s::Event::Stanza { stanza, .. } => stanza.lang().map(str::to_owned),
            _ => None,
        })
        .collect();
    assert_eq!(langs, ["de", "fr"]);
}

/// S0-32: nobody is sent elsewhere in clear.
#[test]
fn redirects() {
    let refuse = Some(StreamError::see_other_host("elsewhere.example:5269"));
    let mut raw =
        Raw::receiving(S2sConfig::default(), Wishes { refuse: refuse.clone(), ..Wishes::default() });
    assert_stream_error(&raw.send(&hello()), "internal-server-error");
    let mut raw = usual().known();
    let sent = raw.command(Command::Close(refuse));
    assert!(
        sent.contains("<see-other-host xmlns='urn:ietf:params:xml:ns:xmpp-streams'>elsewhere.example:5269<"),
        "{sent}"
    );
    let mut raw = usual();
    raw.send(&hello());
    let sent = raw.command(Command::Close(Some(StreamError::see_other_host("elsewhere.example"))));
    assert_stream_error(&sent, "internal-server-error");
}

/// XEP-0220 §2.2.2, S0-19: we are the authoritative server; the answer goes where the question came from, before and after authentication.
#[test]
fn keys_of_ours() {
    let question = "<db:verify from='them.example' to='us.example' id='s-1'>k</db:verify>";
    for (verify, expected) in [
        (Ok(()), "type='valid'/>"),
        (Err(DialbackError::Invalid), "type='invalid'/>"),
        (
            Err(DialbackError::Error(nuncio_stream::s2s::Condition::ItemNotFound)),
            "type='error'><error type='cancel'><item-not-found",
        ),
    ] {
        let wishes = Wishes { verify, ..Wishes::default() };
        for mut raw in [
            Raw::receiving(S2sConfig::default(), wishes.clone()).tls(),
            Raw::receiving(S2sConfig::default(), wishes.clone()).known(),
        ] {
            let sent = raw.send(question);
            let answer = format!("<db:verify from='us.example' to='them.example' id='s-1' {expected}");
            assert!(sent.starts_with(&answer), "{sent}");
            assert!(raw.closed().is_none());
        }
    }
}

/// RFC 7712 §4.4.1: who is proven twice is told at once, and asked about once.
#[test]
fn doubled_assertions() {
    let wishes = Wishes { decide: None, external: Verdict::Unproven, ..Wishes::default() };
    let mut raw = Raw::receiving(S2sConfig::default(), wishes).tls();
    raw.heard();
    let assertion = "<db:result from='them.example' to='us.example'>k</db:result>";
    assert_eq!(raw.send(assertion), "");
    assert_eq!(raw.send(assertion), "");
    assert_eq!(
        raw.heard(),
        ["asserted us.example with them.example", "unsolicited us.example with them.example"]
    );
    let sent = raw.command(Command::Decide { pair: pair(), outcome: Ok(()) });
    assert_eq!(sent, "<db:result from='us.example' to='them.example' type='valid'/>");
    assert_eq!(raw.command(Command::Decide { pair: pair(), outcome: Ok(()) }), "", "once");
    assert_eq!(raw.send(assertion), "<db:result from='us.example' to='them.example' type='valid'/>");
    assert_eq!(raw.heard(), ["authorised us.example with them.example In Dialback"]);
}

/// What the receiving side may not do on a stream that goes one way (S0-20).
#[test]
fn one_way() {
    let mut raw = usual().known();
    assert_eq!(raw.command(Command::Stanza("<message/>".into())), "");
    let other = Pair::new("also.us.example", "them.example");
    assert_eq!(raw.command(Command::Assert { pair: other, key: "k".into() }), "");
    assert_eq!(raw.heard(), ["answered also.us.example with them.example Err(Unsupported)"]);
    raw.command(Command::Close(None));
    raw.send("</stream:stream>");
    assert_eq!(raw.end().sent, 0);
}

/// Settings: what is off is not offered, and not done.
#[test]
fn switched_off() {
    let config = S2sConfig { dialback: false, bidi: false, stream_management: false, ..S2sConfig::default() };
    let mut raw = Raw::receiving(config, Wishes::default());
    raw.send(&hello());
    raw.send(STARTTLS);
    raw.secured();
    let features = raw.send(&hello());
    for feature in ["dialback'", "bidi", "urn:xmpp:sm:3"] {
        assert!(!features.split("<stream:features>").nth(1).unwrap().contains(feature), "{features}");
    }
    assert_stream_error(
        &raw.send("<db:result from='them.example' to='us.example'>k</db:result>"),
        "not-authorized",
    );
}
