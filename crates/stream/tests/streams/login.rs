//! Headers, TLS and SASL of the receiving role.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use nuncio_sansio::pair::{Counter, Script, Side, facts};
use nuncio_sansio::{ClientCertificate, Time, TlsFacts};
use nuncio_stream::c2s::{Answer, C2s, C2sConfig, Event, Reason, Start};
use nuncio_xmpp::xml::Limits;

use crate::common::*;

fn id_of(sent: &str) -> String {
    let (_, rest) = sent.split_once(" id='").unwrap();
    rest.split_once('\'').unwrap().0.to_owned()
}

/// S0-33, RFC 6120 §4.7.3: a new id for each header, long and without pattern; features without STARTTLS inside TLS.
#[test]
fn every_header_has_a_fresh_id() {
    let mut server = Server::usual();
    let mut sent = server.send(HEADER);
    let mut ids = BTreeSet::from([id_of(&sent)]);
    server.send(STARTTLS);
    server.secured();
    sent = server.send(HEADER);
    assert!(!sent.contains("starttls"), "{sent}");
    ids.insert(id_of(&sent));
    server.send(AUTH);
    sent = server.send(HEADER);
    assert!(!sent.contains("starttls") && !sent.contains("<mechanism"), "{sent}");
    ids.insert(id_of(&sent));
    assert_eq!(ids.len(), 3);
    assert!(ids.iter().all(|id| id.len() >= 22), "128 bits: {ids:?}");
}

/// S0-33: what a client said about itself before TLS is forgotten.
#[test]
fn a_name_claimed_in_clear_is_not_used() {
    let mut server = Server::usual();
    server.send(&HEADER.replace(" to=", " from='romeo@im.example.com' to="));
    server.send(STARTTLS);
    server.secured();
    let sent = server.send(HEADER);
    assert!(!sent.contains(" to="), "{sent}");
    assert!(server.send(AUTH).contains("<success"));
}

/// RFC 6120 §6.4.6: a name claimed inside TLS must be the one that is proven.
#[test]
fn a_name_claimed_inside_tls_binds() {
    for (from, fits) in [("romeo@im.example.com", false), ("JULIET@im.example.com/x", true)] {
        let mut server = Server::usual().clear();
        server.send(STARTTLS);
        server.secured();
        server.send(&HEADER.replace(" to=", &format!(" from='{from}' to=")));
        let sent = server.send(AUTH);
        assert_eq!(sent.contains("<success"), fits, "{sent}");
        if !fits {
            assert_stream_error(&sent, "invalid-from");
        }
    }
}

/// RFC 6120 §4.7.2, §4.7.1: after login the header can name neither another domain nor another account.
#[test]
fn the_last_header_fits_the_login() {
    for (from, to, condition) in [
        ("", "to='other.example'", "host-unknown"),
        ("from='romeo@im.example.com' ", "to='im.example.com'", "invalid-from"),
    ] {
        let mut server = Server::usual().tls();
        server.send(AUTH);
        let sent = server.send(&HEADER.replace("to='im.example.com'", &format!("{from}{to}")));
        assert!(sent.contains("<stream:stream from='im.example.com'"), "{sent}");
        assert_stream_error(&sent, condition);
    }
}

/// XEP-0368: direct TLS begins inside, and never offers STARTTLS.
#[test]
fn direct_tls() {
    let mut server = Server::new(C2sConfig::default(), Start::DirectTls, Wishes::default());
    server.secured();
    let sent = server.send(HEADER);
    assert!(sent.contains("<mechanisms") && !sent.contains("starttls"), "{sent}");
    assert!(server.send(AUTH).contains("<success"));
}

/// RFC 6120 §5.4.2.2.
#[test]
fn no_certificate_no_tls() {
    let mut server =
        Server::new(C2sConfig::default(), Start::Tcp, Wishes { no_certificate: true, ..Wishes::default() });
    server.send(HEADER);
    assert_eq!(server.send(STARTTLS), "<failure xmlns='urn:ietf:params:xml:ns:xmpp-tls'/></stream:stream>");
    assert!(!server.side.wants_tls() && matches!(server.end().reason, Reason::Failed(_)));
}

/// S0-33: what comes in clear after `<proceed/>`, and before the handshake, is never read.
#[test]
fn clear_bytes_before_the_handshake_are_dropped() {
    let mut server = Server::usual().clear();
    server.send(STARTTLS);
    assert_eq!(server.send(HEADER), "");
    assert_eq!(server.send("<message/>"), "");
    server.secured();
    assert_eq!(server.sent(), "", "a new header has to come");
    assert!(server.send(HEADER).contains("<mechanisms"));
}

fn offers(facts: TlsFacts) -> String {
    let mut server = Server::usual().clear();
    server.send(STARTTLS);
    server.secured_with(facts);
    let sent = server.send(HEADER);
    sent.split_once("<stream:features>").unwrap().1.to_owned()
}

/// Mechanisms are offered only as they can succeed; XEP-0440 names the types of channel binding.
#[test]
fn offers_depend_on_what_tls_gave() {
    let both = offers(facts());
    let plus = "<mechanism>SCRAM-SHA-256-PLUS</mechanism>";
    assert!(both.contains(plus) && both.contains("<mechanism>SCRAM-SHA-256</mechanism>"), "{both}");
    assert!(
        both.contains(
            "<sasl-channel-binding xmlns='urn:xmpp:sasl-cb:0'><channel-binding type='tls-exporter'/>\
             <channel-binding type='tls-server-end-point'/></sasl-channel-binding>"
        ),
        "{both}"
    );
    assert!(!both.contains("EXTERNAL") && !both.contains("SHA-1"), "{both}");

    let none = offers(TlsFacts { exporter: None, server_end_point: None, ..facts() });
    assert!(!none.contains("PLUS") && !none.contains("sasl-channel-binding"), "{none}");

    let old = offers(TlsFacts { exporter: None, ..facts() });
    assert!(
        old.contains(plus) && !old.contains("tls-exporter") && old.contains("tls-server-end-point"),
        "{old}"
    );
}

fn certified(addresses: &[&str], trusted: bool) -> TlsFacts {
    let xmpp_addresses = addresses.iter().map(|&address| address.to_owned()).collect();
    let chain = vec![Bytes::from_static(b"der")];
    TlsFacts { client_certificate: Some(ClientCertificate { chain, xmpp_addresses, trusted }), ..facts() }
}

/// RFC 6120 §6.3.4: EXTERNAL only with a trusted certificate that names an account of this domain.
#[test]
fn external_is_offered_only_where_it_can_succeed() {
    let juliet = "juliet@im.example.com";
    for (addresses, trusted, offered) in [
        (&[juliet][..], true, true),
        (&[juliet], false, false),
        (&[], true, false),
        (&["juliet@other.example"], true, false),
        (&["im.example.com"], true, false),
        (&["not an address @@", "JULIET@im.example.com"], true, true),
    ] {
        let sent = offers(certified(addresses, trusted));
        assert_eq!(
            sent.contains("<mechanism>EXTERNAL</mechanism>"),
            offered,
            "{addresses:?} {trusted}: {sent}"
        );
    }
}

/// XEP-0178: the certificate's only account, a chosen one, and never another.
#[test]
fn external_logs_in() {
    let auth = |data: &str| {
        format!("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'>{data}</auth>")
    };
    for (addresses, data, expected) in [
        (&["juliet@im.example.com"][..], "=", "<success"),
        (&["juliet@im.example.com", "nurse@im.example.com"], "=", "<not-authorized/>"),
        (&["juliet@im.example.com", "nurse@im.example.com"], "bnVyc2VAaW0uZXhhbXBsZS5jb20=", "<success"),
        (&["juliet@im.example.com"], "bnVyc2VAaW0uZXhhbXBsZS5jb20=", "<invalid-authzid/>"),
    ] {
        let mut server = Server::usual().clear();
        server.send(STARTTLS);
        server.secured_with(certified(addresses, true));
        server.send(HEADER);
        let sent = server.send(&auth(data));
        assert!(sent.contains(expected), "{addresses:?} {data}: {sent}");
    }
}

/// The limits of a stranger are strict, those of a known client are not (RFC 6120 §13.12).
#[test]
fn limits_change_with_login() {
    let big = format!("<message to='romeo@example.net'><body>{}</body></message>", "x".repeat(20_000));
    let mut server = Server::usual().tls();
    assert_stream_error(&server.send(&big), "policy-violation");
    let mut server = Server::usual().bound();
    assert_eq!(server.send(&big), "");
    assert_eq!(server.stanzas().len(), 1);

    let config =
        C2sConfig { after: Limits { stanza_bytes: 15_000, ..Limits::default() }, ..C2sConfig::default() };
    let mut server = Server::new(config, Start::Tcp, Wishes::default()).bound();
    assert_stream_error(&server.send(&big), "policy-violation");
    assert!(server.stanzas().is_empty());
}

/// RFC 6120 §13.12: a header has its own limit.
#[test]
fn an_endless_header_is_refused() {
    let mut server = Server::usual();
    let sent = server.send(&HEADER.replace(" to=", &format!(" x='{}' to=", "y".repeat(5000))));
    assert!(sent.contains("<stream:stream from=''"), "{sent}");
    assert_stream_error(&sent, "policy-violation");
    let mut server = Server::usual();
    assert_stream_error(&server.send(&" ".repeat(20_000)), "policy-violation");
}

/// A host that answers another question than the one that was asked is our own fault, and ends one stream only.
#[test]
fn a_wrong_answer_is_our_fault() {
    let machine = C2s::new(Arc::default(), Arc::new(Counter::default()), Start::Tcp, Time::ZERO);
    let mut side = Side::new(machine, Script::new(|_, _| Answer::Unbound(None)));
    side.bytes(Time::ZERO, HEADER.as_bytes());
    assert_stream_error(&String::from_utf8(side.take_sent()).unwrap(), "internal-server-error");
    assert!(side.closed().is_some());
}

/// A failed login is heard with what a lock-out and a log need, and nothing secret.
#[test]
fn failures_are_told_to_the_host() {
    let mut server = Server::usual().tls();
    server.side.take_events();
    server.send(&AUTH.replace("AGp1bGlldABzZWNyZXQ=", "AGp1bGlldAB3cm9uZw=="));
    server.send(&AUTH.replace("PLAIN", "DIGEST-MD5"));
    let heard: Vec<_> = server
        .side
        .take_events()
        .into_iter()
        .map(|event| match event {
            Event::LoginFailed { domain, mechanism, username, guess, .. } => {
                (domain, mechanism, username, guess)
            }
            other => panic!("{other:?}"),
        })
        .collect();
    let juliet = Some("juliet".to_owned());
    assert_eq!(
        heard,
        [(DOMAIN.to_owned(), Some("PLAIN"), juliet, true), (DOMAIN.to_owned(), None, None, false)]
    );
}

/// RFC 6120 §4.7.4, §8.1.5: the language of the stream is that of stanzas which name none.
#[test]
fn stanzas_get_the_language_of_their_stream() {
    for (header, own, expected) in [
        ("xml:lang='de-CH'", "", Some("xml:lang='de-CH'")),
        ("xml:lang='de-CH'", "xml:lang='cs'", Some("xml:lang='cs'")),
        ("", "", None),
        ("xml:lang='no tag'", "", None),
    ] {
        let mut server = Server::usual().tls();
        server.send(AUTH);
        let sent = server.send(&HEADER.replace("xml:lang='en'", header));
        assert!(sent.contains("xml:lang='en'"), "{sent}");
        server.send(BIND);
        server.side.take_events();
        server.send(&format!("<message to='romeo@example.net' {own}><body>hi</body></message>"));
        let stanzas = server.stanzas();
        let text = &stanzas[0].1;
        match expected {
            Some(expected) => {
                assert!(text.contains(expected) && text.matches("xml:lang").count() == 1, "{text}")
            }
            None => assert!(!text.contains("xml:lang"), "{text}"),
        }
    }
}

/// What is held for one idle stream: the machine is a few hundred bytes and no buffer.
#[test]
fn an_idle_stream_is_small() {
    let size = size_of::<C2s>();
    assert!(size <= 640, "{size} bytes");
}
