//! Targets that refuse, hang, close midway or answer nonsense: the scenario ends with what was reached and why.

use std::net::TcpListener;
use std::time::Duration;

use nuncio_load::{Scenario, Start, Stopped, Target};

use crate::fake::{Fake, Script, Then, script};

const HEADER: &str = "<?xml version='1.0'?><stream:stream id='1' version='1.0' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>";
const SUCCESS: &str = "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>";
const BOUND: &str = "<iq type='result' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><jid>user0@localhost/load</jid></bind></iq>";
const ECHO: &str = "<presence from='user0@localhost/load' to='user0@localhost/load'/>";

fn offer(mechanism: &str) -> String {
    format!(
        "{HEADER}<stream:features><mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>{mechanism}</mechanism></mechanisms></stream:features>"
    )
}

fn bind() -> String {
    format!("{HEADER}<stream:features><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></stream:features>")
}

/// The scenario ends, and says all of `words`.
fn stops(scenario: &Scenario, target: &Target, words: &[&str]) -> Stopped {
    let stopped = nuncio_load::run(scenario, target).unwrap_err();
    for word in words {
        assert!(stopped.why.contains(word), "{word:?} is not in {:?}", stopped.why);
    }
    stopped
}

fn chat(mechanism: &str) -> Scenario {
    let values =
        [("pairs", "1"), ("window", "1"), ("seconds", "1"), ("warmup", "0"), ("mechanism", mechanism)];
    Scenario::named("chat", &values).unwrap()
}

#[test]
fn a_target_that_refuses() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let fake = Fake::clear(vec![script(&[], Then::Close)]);
    let mut target = fake.target(Start::DirectTls);
    target.address = listener.local_addr().unwrap();
    drop(listener);
    stops(&chat("PLAIN"), &target, &["refused", "the TCP connection", "0 of 2 logins done"]);
}

#[test]
fn targets_that_hang() {
    let fake = Fake::clear(vec![script(&[], Then::Hang)]);
    stops(&chat("PLAIN"), &fake.target(Start::DirectTls), &["nothing came for 500ms", "the TLS handshake"]);
    stops(&chat("PLAIN"), &fake.target(Start::StartTls), &["nothing came for 500ms", "STARTTLS"]);
    stops(&chat("PLAIN"), &fake.target(Start::Relay), &["nothing came for 500ms"]);
    let fake = Fake::tls(vec![script(&[&offer("PLAIN")], Then::Hang)]);
    stops(&chat("PLAIN"), &fake.target(Start::DirectTls), &["user", "hangs in authentication"]);
    let fake = Fake::tls(vec![script(&[&offer("PLAIN"), SUCCESS, &bind()], Then::Hang)]);
    stops(&chat("PLAIN"), &fake.target(Start::DirectTls), &["hangs in resource binding"]);
    let fake = Fake::tls(vec![script(&[&offer("PLAIN"), SUCCESS, &bind(), BOUND, ECHO], Then::Hang)]);
    stops(
        &chat("PLAIN"),
        &fake.target(Start::DirectTls),
        &["nothing came for 500ms", "something should have come"],
    );
}

#[test]
fn targets_that_close_midway() {
    let offer = offer("PLAIN");
    let bind = bind();
    let whole: [&str; 5] = [&offer, SUCCESS, &bind, BOUND, ECHO];
    let during = ["authentication", "resource binding", "resource binding", "session start"];
    for (steps, during) in (1..).zip(during) {
        let fake = Fake::tls(vec![script(whole.get(..steps).unwrap(), Then::Close)]);
        stops(&chat("PLAIN"), &fake.target(Start::DirectTls), &["closed by the server", during]);
    }
    let fake = Fake::clear(vec![script(&[""], Then::Close)]);
    stops(&chat("PLAIN"), &fake.target(Start::DirectTls), &["during the TLS handshake"]);
}

#[test]
fn targets_that_answer_nonsense() {
    let web = "HTTP/1.1 400 Bad Request\r\n\r\n";
    let clear: &[(&str, &[&str])] = &[
        (web, &["answered nonsense", "HTTP/1.1"]),
        ("<html><body/></html>", &["a stream header was due"]),
        ("<!DOCTYPE html>", &["answered nonsense"]),
    ];
    for (says, words) in clear {
        let fake = Fake::clear(vec![script(&[says], Then::Hang)]);
        stops(&chat("PLAIN"), &fake.target(Start::StartTls), words);
        // The same where a handshake is due.
        stops(&chat("PLAIN"), &fake.target(Start::DirectTls), &["TLS failed"]);
    }
    let plain = format!("{HEADER}<stream:features/>");
    let fake = Fake::clear(vec![script(&[&plain], Then::Hang)]);
    stops(&chat("PLAIN"), &fake.target(Start::StartTls), &["offers no STARTTLS"]);
    let starttls = format!(
        "{HEADER}<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/></stream:features>"
    );
    let proceed = "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>";
    let fake = Fake::clear(vec![script(&[&starttls, proceed, web], Then::Hang)]);
    stops(&chat("PLAIN"), &fake.target(Start::StartTls), &["TLS failed"]);
}

#[test]
fn servers_that_refuse_or_break_the_login() {
    let scram = offer("SCRAM-SHA-1");
    let plain = offer("PLAIN");
    let refused = "<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><not-authorized/></failure>";
    let error = "<stream:error><policy-violation xmlns='urn:ietf:params:xml:ns:xmpp-streams'/><text>slow down</text></stream:error>";
    let challenge = "<challenge xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>cj14</challenge>";
    let sm = format!(
        "{HEADER}<stream:features><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></stream:features>"
    );
    let cases: &[(&str, &[&str], &[&str])] = &[
        ("SCRAM-SHA-1", &[&plain], &["does not offer SCRAM-SHA-1"]),
        ("PLAIN", &[&plain, refused], &["refused the login of user", "not-authorized"]),
        ("SCRAM-SHA-1", &[&scram, challenge], &["the challenge lacks a field"]),
        ("SCRAM-SHA-1", &[&scram, SUCCESS], &["the server does not know the password"]),
        ("PLAIN", &[&plain, challenge], &["out of turn"]),
        ("PLAIN", &[&plain, error], &["ended the stream: policy-violation (slow down)"]),
        ("PLAIN", &[&plain, SUCCESS, &sm, "<iq type='error' id='bind'/>"], &["a bound resource was due"]),
        (
            "PLAIN",
            &[&plain, SUCCESS, &sm, "</stream:stream>"],
            &["closed the stream during resource binding"],
        ),
        ("PLAIN", &[&plain, SUCCESS, &sm, BOUND, error], &["ended the stream: policy-violation"]),
    ];
    for (mechanism, says, words) in cases {
        let fake = Fake::tls(vec![script(says, Then::Hang)]);
        stops(&chat(mechanism), &fake.target(Start::DirectTls), words);
    }
}

#[test]
fn servers_that_break_a_session() {
    let (offer, bind) = (offer("PLAIN"), bind());
    let returned = "<message type='error' to='user0@localhost/load'><error type='cancel'><service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>";
    let never_sent = "<message><body>~nl:00000001:000000000009~</body></message>";
    let cases: &[(&str, &[&str])] = &[
        (returned, &["a message was returned: service-unavailable", "the session"]),
        (never_sent, &["message 9 came of 0"]),
        ("<message><body>~nl:xx", &["nothing came"]),
        ("</stream:stream>", &["closed the stream"]),
        ("bye", &["answered nonsense"]),
    ];
    for (last, words) in cases {
        let fake = Fake::tls(vec![script(&[&offer, SUCCESS, &bind, BOUND, ECHO, last], Then::Hang)]);
        let stopped = stops(&chat("PLAIN"), &fake.target(Start::DirectTls), words);
        assert_eq!(stopped.reached.operations, 0);
        assert_eq!(stopped.reached.operation, "message");
        assert_eq!(stopped.reached.lost, 1);
    }
}

#[test]
fn what_was_reached_is_told() {
    let (offer, bind) = (offer("PLAIN"), bind());
    let good = script(&[&offer, SUCCESS, &bind, BOUND, ECHO, "</stream:stream>"], Then::Close);
    let bad = script(&[&offer, "<failure><temporary-auth-failure/></failure>"], Then::Close);
    // Three logins that are not measured, then two that succeed and one that does not.
    let scripts: Vec<Script> = [&good, &good, &good, &good, &good, &bad].map(Clone::clone).into();
    let fake = Fake::tls(scripts);
    let values = [("logins", "3"), ("concurrency", "1"), ("mechanism", "PLAIN")];
    let mut target = fake.target(Start::DirectTls);
    target.patience = Duration::from_secs(5);
    let stopped = stops(&Scenario::named("login", &values).unwrap(), &target, &["temporary-auth-failure"]);
    assert_eq!(stopped.reached.operations, 2);
    assert_eq!(stopped.reached.operation, "login");
    assert!(stopped.reached.latency.is_some());
}

#[test]
fn a_certificate_of_somebody_else_is_refused() {
    let fake = Fake::tls(vec![script(&[HEADER], Then::Hang)]);
    let other = Fake::tls(vec![script(&[HEADER], Then::Hang)]);
    let mut target = fake.target(Start::DirectTls);
    target.roots = vec![other.roots()];
    stops(&chat("PLAIN"), &target, &["TLS failed", "UnknownIssuer"]);
    let mut target = fake.target(Start::DirectTls);
    target.domain = "example.org".to_owned();
    stops(&chat("PLAIN"), &target, &["TLS failed", "not valid for"]);
}
