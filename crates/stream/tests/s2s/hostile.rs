//! What a peer may cost, and what it may not do (S3-13, XEP-0205, issue 4 "Bad input").

use nuncio_stream::s2s::{Command, DialbackError, Pair, S2sConfig, Verdict};
use nuncio_xmpp::xml::Limits;

use crate::raw::{
    AUTH, OFFER_ERRORS, Raw, STARTTLS, Wishes, assert_stream_error, hello, opening, pair, welcome,
};

fn unproven(config: S2sConfig) -> Raw {
    Raw::receiving(config, Wishes { external: Verdict::Unproven, ..Wishes::default() })
}

/// RFC 6120 §5.4.3.3: what was injected in clear after `<starttls/>` is never read, in the same piece or a later one.
#[test]
fn injected_plaintext() {
    let injected =
        format!("{STARTTLS}{}{AUTH}<db:result from='them.example' to='us.example'>k</db:result>", hello());
    let mut raw = unproven(S2sConfig::default());
    raw.send(&hello());
    assert!(raw.send(&injected).ends_with("<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"));
    raw.side.bytes(raw.now, hello().as_bytes());
    assert_eq!(raw.secured(), "");
    assert_eq!(raw.heard().last().map(String::as_str), Some("secured"));
    assert!(raw.send(&hello()).contains("<stream:features>"));
    assert!(!raw.heard().iter().any(|line| line.starts_with("asserted")));
}

/// The table of pairs has a bound; who comes later is told so (XEP-0220 §2.4.2), and the others go on.
#[test]
fn many_pairs() {
    let config = S2sConfig { max_pairs: 3, ..S2sConfig::default() };
    let mut raw = Raw::receiving(config, Wishes::default()).known();
    for number in 1..=4 {
        let sent = raw.send(&format!("<db:result from='d{number}.example' to='us.example'>k</db:result>"));
        let expected = if number < 3 { "type='valid'" } else { "<resource-constraint" };
        assert!(sent.contains(expected), "{number}: {sent}");
    }
    raw.heard();
    raw.send("<message from='x@d2.example' to='y@us.example' id='1'/><message from='x@them.example' to='y@us.example' id='2'/>");
    assert_eq!(
        raw.heard(),
        ["stanza 1 1 of us.example with d2.example", "stanza 2 2 of us.example with them.example"]
    );
    // One that lapses makes room once it is forgotten by the peer too.
    assert_stream_error(&raw.send("<message from='x@d4.example' to='y@us.example'/>"), "invalid-from");
}

/// Our own bounds: questions and assertions under way.
#[test]
fn many_questions() {
    let config = S2sConfig { max_pairs: 3, ..S2sConfig::default() };
    let mut raw = Raw::initiating(config, opening(), Wishes::default()).taken(OFFER_ERRORS);
    for number in 0..5 {
        let verify = Command::Verify { pair: pair(), id: format!("s-{number}"), key: "k".into() };
        assert_eq!(raw.command(verify).is_empty(), number >= 3);
    }
    assert_eq!(raw.heard(), ["verified us.example with them.example Err(Unsupported)"; 2]);
    for number in 0..4 {
        let pair = Pair::new(format!("d{number}.us.example"), "them.example");
        let sent = raw.command(Command::Assert { pair, key: "k".into() });
        assert_eq!(sent.is_empty(), number >= 2, "{number}: {sent}");
    }
    assert_eq!(raw.heard().len(), 2);
}

/// A stream that carries nothing ends after some refusals; one that carries something does not (see `a_refused_assertion`).
#[test]
fn tries() {
    let error = Err(DialbackError::TimedOut);
    let wishes = Wishes { external: Verdict::Unproven, decide: Some(error), ..Wishes::default() };
    let mut raw = Raw::receiving(S2sConfig::default(), wishes).tls();
    for number in 1..=5 {
        let sent = raw.send(&format!("<db:result from='d{number}.example' to='us.example'>k</db:result>"));
        assert!(sent.contains("<remote-server-timeout"), "{sent}");
        assert_eq!(sent.contains("<policy-violation"), number == 5, "{number}: {sent}");
    }
    let mut raw = unproven(S2sConfig::default()).tls();
    for number in 1..=5 {
        let sent = raw.send(AUTH);
        assert!(sent.contains("<invalid-mechanism"), "{sent}");
        assert_eq!(sent.contains("<policy-violation"), number == 5);
    }
}

/// The limits are small until a pair is authorised, by whatever way, and those of the operator afterwards.
#[test]
fn budgets() {
    let config = || S2sConfig {
        before: Limits { stanza_bytes: 10_000, ..Limits::before_authentication() },
        after: Limits { stanza_bytes: 50_000, ..Limits::default() },
        ..S2sConfig::default()
    };
    let big = |bytes: usize| {
        format!("<db:result from='them.example' to='us.example'>{}</db:result>", "k".repeat(bytes))
    };
    assert_stream_error(&unproven(config()).tls().send(&big(10_000)), "policy-violation");
    let message = |bytes: usize| {
        format!(
            "<message from='x@them.example' to='y@us.example'><body>{}</body></message>",
            "b".repeat(bytes)
        )
    };
    for mut raw in [Raw::receiving(config(), Wishes::default()).known(), {
        let mut raw = unproven(config()).tls();
        raw.send("<db:result from='them.example' to='us.example'>k</db:result>");
        raw
    }] {
        raw.heard();
        raw.send(&message(40_000));
        assert_eq!(raw.heard(), ["stanza 1 - of us.example with them.example"]);
        assert_stream_error(&raw.send(&message(50_000)), "policy-violation");
    }
    // A server that we called has not proven anything by being called.
    let mut raw = Raw::initiating(config(), opening(), Wishes::default()).called();
    assert_stream_error(
        &raw.send(&welcome(&format!("<x xmlns='x:y'>{}</x>", "x".repeat(10_000)))),
        "policy-violation",
    );
}

/// Dialback elements that cannot be understood are the peer's own fault, not a tenant's.
#[test]
fn malformed_dialback() {
    for (element, condition) in [
        ("<db:result from='them.example'>k</db:result>", "improper-addressing"),
        ("<db:result to='us.example'>k</db:result>", "improper-addressing"),
        ("<db:result from='x y' to='us.example'>k</db:result>", "improper-addressing"),
        ("<db:result from='them.example' to='us.example' type='perhaps'/>", "bad-format"),
        ("<db:verify from='them.example' to='us.example'>k</db:verify>", "bad-format"),
        ("<db:foo from='them.example' to='us.example'/>", "unsupported-stanza-type"),
    ] {
        for mut raw in [
            unproven(S2sConfig::default()).tls(),
            Raw::receiving(S2sConfig::default(), Wishes::default()).known(),
        ] {
            assert_stream_error(&raw.send(element), condition);
        }
    }
}

/// XEP-0198 §3, S0-14: stream management comes after authentication, once, and counts stanzas only.
#[test]
fn management_by_the_rules() {
    let enable = "<enable xmlns='urn:xmpp:sm:3'/>";
    let mut raw = Raw::receiving(
        S2sConfig::default(),
        Wishes { external: Verdict::Unproven, decide: None, ..Wishes::default() },
    )
    .tls();
    raw.send("<db:result from='them.example' to='us.example'>k</db:result>");
    assert!(raw.send(enable).contains("<unexpected-request"));
    raw.command(Command::Decide { pair: pair(), outcome: Ok(()) });
    assert_eq!(raw.send(enable), "<enabled xmlns='urn:xmpp:sm:3'/>");
    raw.send(
        "<message from='x@them.example' to='y@us.example'/><db:verify from='them.example' to='us.example' id='i'>k</db:verify>\
         <r xmlns='urn:xmpp:sm:3'/><message from='x@them.example' to='y@also.us.example'/>",
    );
    assert_eq!(
        raw.send("<r xmlns='urn:xmpp:sm:3'/>"),
        "<a xmlns='urn:xmpp:sm:3' h='2'/>",
        "a rejected one is handled"
    );
    assert!(raw.send("<resume xmlns='urn:xmpp:sm:3' previd='x' h='0'/>").contains("<unexpected-request"));
    assert_stream_error(&raw.send(enable).replace("<failed xmlns='urn:xmpp:sm:3'><unexpected-request xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></failed>", ""), "policy-violation");
    // Not the other way round.
    let mut raw = Raw::initiating(S2sConfig::default(), opening(), Wishes::default()).taken(OFFER_ERRORS);
    assert_stream_error(&raw.send(enable), "unsupported-stanza-type");
}
