//! Both roles against each other, and the initiating role against scripted servers.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use nuncio_sansio::pair::{Counter, Pair, Script, Side, Split, facts};
use nuncio_sansio::{Close, Eof, Time, TlsFacts};
use nuncio_stream::c2s::{self, C2s, C2sConfig, Idle, Start};
use nuncio_stream::client::{Client, ClientConfig, Command, Event, Place, Reason, Resumption};
use nuncio_stream::redirect::{Decision, Host, Refusal};
use nuncio_stream::sasl::client::{Credentials, Policy};
use nuncio_stream::sasl::{ChannelBinding, Mechanism, SaslCondition};
use nuncio_xmpp::jid::{BareJid, Jid};
use nuncio_xmpp::ns;

use crate::common::*;

fn place() -> Place {
    Place { host: Host::Name(DOMAIN.to_owned()), port: 5222, redirects: 0 }
}

fn config(start: Start) -> ClientConfig {
    let account = BareJid::new("juliet@im.example.com").unwrap();
    let mut config = ClientConfig::new(account, Credentials::password("juliet", "secret"), start, place());
    config.resource = Some("balcony".to_owned());
    config
}

fn client_side(config: ClientConfig) -> Side<Client> {
    let entropy = Arc::new(Counter::default());
    Side::new(Client::new(config, entropy, Time::ZERO), Script::new(|_, never| match never {}))
}

fn server_side(config: C2sConfig, start: Start) -> Side<C2s> {
    let machine = C2s::new(Arc::new(config), Arc::new(Counter::default()), start, Time::ZERO);
    Side::new(machine, host(Wishes::default()))
}

fn pair(start: Start) -> Pair<Client, C2s> {
    Pair::new(client_side(config(start)), server_side(C2sConfig::default(), start))
}

fn end(side: &Side<Client>) -> &nuncio_stream::client::End {
    match side.events().last() {
        Some((_, Event::Ended(end))) => end,
        other => panic!("not ended: {other:?}"),
    }
}

fn message(text: &str) -> Bytes {
    Bytes::from(format!("<message to='romeo@example.net'><body>{text}</body></message>"))
}

fn bodies(side: &mut Side<C2s>) -> Vec<String> {
    let events = side.take_events();
    let stanzas = events.iter().filter_map(|event| match event {
        c2s::Event::Stanza { stanza, .. } => stanza.body_text().map(std::borrow::Cow::into_owned),
        _ => None,
    });
    stanzas.collect()
}

/// The whole of it: STARTTLS or direct TLS, SCRAM with channel binding, bind, stream management, stanzas, the closing handshake;
/// cut into single bytes as well.
#[test]
fn a_whole_conversation() {
    for start in [Start::Tcp, Start::DirectTls] {
        for split in [Split::Whole, Split::Each(1), Split::Each(7)] {
            let mut pair = pair(start);
            pair.split = split;
            if start == Start::DirectTls {
                pair.direct_tls();
            }
            pair.run(Duration::from_secs(2));
            let events = pair.a.take_events();
            let proven = events.iter().find_map(|event| match event {
                Event::Authenticated(proven) => Some((proven.mechanism, proven.channel_binding)),
                _ => None,
            });
            assert_eq!(proven, Some((Mechanism::ScramSha256Plus, Some(ChannelBinding::TlsExporter))));
            assert!(
                events
                    .iter()
                    .any(|event| matches!(event, Event::Bound(jid) if jid.resource() == Some("balcony")))
            );
            assert!(events.iter().any(|event| matches!(event, Event::Enabled { resumable: true })));

            pair.command_a(Command::Stanza(message("there")));
            pair.command_b(c2s::Command::Stanza(
                "<message from='romeo@example.net'><body>back</body></message>".into(),
            ));
            pair.run(Duration::from_secs(3));
            let acked =
                pair.b.events().iter().any(|(_, e)| matches!(e, c2s::Event::Acked { h: 1, fresh: 1 }));
            assert!(acked);
            assert_eq!(bodies(&mut pair.b), ["there"]);
            let events = pair.a.take_events();
            assert!(
                events
                    .iter()
                    .any(|e| matches!(e, Event::Stanza(s) if s.body_text().as_deref() == Some("back")))
            );
            assert!(events.iter().any(|event| matches!(event, Event::Acked { fresh: 1 })), "{events:?}");

            pair.command_a(Command::Close(None));
            pair.run(Duration::from_secs(1));
            assert!(end(&pair.a).clean && matches!(end(&pair.a).reason, Reason::Host));
            assert_eq!(pair.a.closed().map(|(_, close)| close), Some(Close::Orderly));
            assert!(matches!(pair.b.events().last(), Some((_, c2s::Event::Ended(end))) if end.clean));
        }
    }
}

/// S0-07: stanzas given before a resource is bound wait; not a byte of them leaves.
#[test]
fn nothing_is_sent_early() {
    let mut pair = pair(Start::Tcp);
    pair.command_a(Command::Stanza(message("early")));
    pair.command_a(Command::Nonza("<active xmlns='urn:xmpp:csi:0'/>".into()));
    pair.run(Duration::from_millis(1));
    loop {
        let sent = String::from_utf8_lossy(pair.a.sent()).into_owned();
        let bound = pair.a.events().iter().any(|(_, event)| matches!(event, Event::Bound(_)));
        if bound {
            assert!(sent.contains("early"));
            break;
        }
        assert!(!sent.contains("early") && !sent.contains("<message") && !sent.contains("csi"), "{sent}");
        assert!(pair.now() < Time::ZERO + Duration::from_secs(5), "never bound");
        pair.run(Duration::from_millis(1));
    }
    pair.run(Duration::from_secs(1));
    assert_eq!(bodies(&mut pair.b), ["early"]);
}

/// RFC 6120 §4.7.1: who the client is stays private until TLS is up.
#[test]
fn the_account_is_not_named_in_clear() {
    let mut pair = pair(Start::Tcp);
    pair.run(Duration::from_secs(2));
    let sent = String::from_utf8(pair.a.sent().to_vec()).unwrap();
    let (clear, protected) = sent.split_once("<starttls").unwrap();
    assert!(!clear.contains("juliet") && clear.contains("to='im.example.com'"), "{clear}");
    assert!(protected.contains("from='juliet@im.example.com'"));
}

/// A server that is played by a test.
struct Played {
    client: Side<Client>,
    now: Time,
}

impl Played {
    fn new(config: ClientConfig) -> Self {
        let mut client = client_side(config);
        client.start(Time::ZERO);
        client.take_sent();
        Self { client, now: Time::ZERO }
    }

    fn says(&mut self, text: &str) -> String {
        self.client.bytes(self.now, text.as_bytes());
        String::from_utf8(self.client.take_sent()).unwrap()
    }

    fn opens(&mut self, features: &str) -> String {
        self.says(&format!(
            "<stream:stream from='im.example.com' id='x' version='1.0' xmlns='jabber:client' \
             xmlns:stream='http://etherx.jabber.org/streams'><stream:features>{features}</stream:features>"
        ))
    }

    fn secured(mut self) -> Self {
        self.opens("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>");
        self.says("<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>");
        self.client.secured(self.now, facts());
        self.client.take_sent();
        self
    }

    /// With PLAIN, which leaves the server free.
    fn known(self) -> Self {
        let mut this = self.secured();
        let auth = this.opens(PLAIN);
        assert!(auth.contains("mechanism='PLAIN'>AGp1bGlldABzZWNyZXQ=</auth>"), "{auth}");
        this.says("<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>");
        this
    }

    fn seconds(&mut self, seconds: u64) -> String {
        self.now = self.now + Duration::from_secs(seconds);
        self.client.run_until(self.now);
        String::from_utf8(self.client.take_sent()).unwrap()
    }
}

const PLAIN: &str =
    "<mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>PLAIN</mechanism></mechanisms>";
const BIND_SM: &str = "<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/><sm xmlns='urn:xmpp:sm:3'/>";

fn plain() -> ClientConfig {
    let mut config = config(Start::Tcp);
    config.policy = Policy { mechanisms: vec![Mechanism::Plain], ..Policy::default() };
    config
}

/// RFC 7590 §3.1: TLS is asked for even where it is not offered, and without it there is no login.
#[test]
fn tls_is_required() {
    for answer in ["<failure xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>", "</stream:stream>", "<message/>"] {
        let mut server = Played::new(plain());
        let sent = server.opens(PLAIN);
        assert_eq!(sent, "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>");
        let sent = server.says(answer);
        assert!(!sent.contains("<auth"), "{sent}");
        assert!(server.client.closed().is_some());
    }
}

/// S0-33: what the "server" says in clear after `<proceed/>` is not read.
#[test]
fn injected_features_are_dropped() {
    let mut server = Played::new(plain());
    server.opens("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>");
    let injected = format!(
        "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/><stream:features>{PLAIN}</stream:features>"
    );
    assert_eq!(server.says(&injected), "");
    assert_eq!(server.says("<stream:features/>"), "");
    server.client.secured(server.now, facts());
    let sent = String::from_utf8(server.client.take_sent()).unwrap();
    assert!(sent.contains("<stream:stream ") && !sent.contains("<auth"), "{sent}");
}

/// S0-30 to S0-32: a redirect is judged, never obeyed before TLS, and the machine itself follows nothing.
#[test]
fn redirects() {
    let redirect = |to: &str| {
        format!(
            "<stream:error><see-other-host xmlns='urn:ietf:params:xml:ns:xmpp-streams'>{to}</see-other-host></stream:error></stream:stream>"
        )
    };
    let mut server = Played::new(plain());
    server.opens("");
    server.says(&redirect("evil.example"));
    assert!(matches!(
        end(&server.client).reason,
        Reason::Redirected(Decision::Refuse(Refusal::Unauthenticated))
    ));

    for (redirects, to, decision) in [
        (0, "im.example.com:5333", Decision::SameHost { port: 5333 }),
        (4, "other.example", Decision::Resolve { name: "other.example".to_owned(), port: None }),
        (5, "other.example", Decision::Refuse(Refusal::TooMany)),
    ] {
        let config = ClientConfig { place: Place { redirects, ..place() }, ..plain() };
        let mut server = Played::new(config).secured();
        server.opens(PLAIN);
        server.says(&redirect(to));
        match &end(&server.client).reason {
            Reason::Redirected(got) => assert_eq!(*got, decision),
            other => panic!("{other:?}"),
        }
    }

    let mut server = Played::new(plain()).secured();
    server.opens(PLAIN);
    server.says(&redirect("user@evil.example:99999"));
    assert!(matches!(end(&server.client).reason, Reason::PeerError(_)), "no place at all");
}

/// RFC 6120 §6.5: a refused login is told with its condition; an unknown one counts as `not-authorized`.
#[test]
fn refused_logins() {
    for (condition, expected, retry) in [
        ("not-authorized", SaslCondition::NotAuthorized, false),
        ("account-disabled", SaslCondition::AccountDisabled, false),
        ("temporary-auth-failure", SaslCondition::TemporaryAuthFailure, true),
        ("bad-auth", SaslCondition::NotAuthorized, false),
    ] {
        let mut server = Played::new(plain()).secured();
        server.opens(PLAIN);
        let sent = server
            .says(&format!("<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><{condition}/></failure>"));
        assert_eq!(sent, "</stream:stream>");
        let reason = &end(&server.client).reason;
        assert!(matches!(reason, Reason::Login(got) if *got == expected), "{reason:?}");
        assert_eq!(reason.may_retry(), retry);
    }
}

/// RFC 5802 §5: a server that cannot prove that it knows the keys gets no stanza.
#[test]
fn a_server_without_the_keys_is_left() {
    let mut server = Played::new(config(Start::Tcp)).secured();
    let auth = server.opens(
        "<mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>SCRAM-SHA-256</mechanism></mechanisms>",
    );
    assert!(auth.contains("mechanism='SCRAM-SHA-256'"), "{auth}");
    let sent = server.says("<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>");
    assert!(!sent.contains("<stream:stream") && sent.ends_with("</stream:stream>"), "{sent}");
    assert!(matches!(end(&server.client).reason, Reason::Failed(_)));
}

/// RFC 3921 §3: only where a server insists.
#[test]
fn a_session_is_requested_only_where_it_is_due() {
    let optional = "<session xmlns='urn:ietf:params:xml:ns:xmpp-session'><optional/></session>";
    for (session, due) in
        [("<session xmlns='urn:ietf:params:xml:ns:xmpp-session'/>", true), (optional, false), ("", false)]
    {
        let mut server = Played::new(plain()).known();
        let bind = server.opens(&format!("<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/>{session}"));
        let id = bind.split_once("id='").unwrap().1.split_once('\'').unwrap().0.to_owned();
        let sent = server.says(&format!(
            "<iq type='result' id='{id}'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><jid>juliet@im.example.com/r</jid></bind></iq>"
        ));
        assert_eq!(sent.contains("<session"), due, "{sent}");
    }
}

fn resumption() -> Resumption {
    Resumption {
        id: "s1".to_owned(),
        jid: Jid::new("juliet@im.example.com/balcony").unwrap(),
        inbound: 4,
        acked: u32::MAX,
        unacked: vec![message("one"), message("two"), message("three")],
        location: None,
    }
}

/// XEP-0198 §5: resumed, across the wrap of the counter; the rest is sent again, in order, before anything new.
#[test]
fn a_session_is_resumed() {
    let mut server = Played::new(ClientConfig { resume: Some(resumption()), ..plain() }).known();
    server.client.command(server.now, Command::Stanza(message("new")));
    assert_eq!(server.opens(BIND_SM), "<resume xmlns='urn:xmpp:sm:3' h='4' previd='s1'/>");
    let sent = server.says("<resumed xmlns='urn:xmpp:sm:3' previd='s1' h='0'/>");
    let expected: Vec<_> =
        ["two", "three", "new"].map(|text| String::from_utf8(message(text).to_vec()).unwrap()).into();
    assert_eq!(sent, expected.concat());
    server.says("<message from='romeo@example.net'/>");
    assert_eq!(server.says("<r xmlns='urn:xmpp:sm:3'/>"), "<a xmlns='urn:xmpp:sm:3' h='5'/>");
    server.says("<a xmlns='urn:xmpp:sm:3' h='2'/>");
    server.client.eof(server.now, Eof::Truncated);
    let end = end(&server.client);
    assert!(matches!(end.reason, Reason::Truncated) && !end.clean);
    let next = end.resumption.as_ref().unwrap();
    assert_eq!((next.inbound, next.acked, next.unacked.as_slice()), (5, 2, &[message("new")][..]));
}

/// XEP-0198 §6: a server that has handled what was never sent, or says nonsense, cannot be believed; nothing is lost by it.
#[test]
fn a_resumption_that_cannot_be_loses_nothing() {
    for (answer, condition, lives) in [
        ("<resumed xmlns='urn:xmpp:sm:3' previd='s1' h='3'/>", "undefined-condition", false),
        ("<resumed xmlns='urn:xmpp:sm:3' previd='s1'/>", "bad-format", true),
        ("<resumed xmlns='urn:xmpp:sm:3' previd='s2' h='0'/>", "policy-violation", true),
        ("<message/>", "policy-violation", true),
    ] {
        let mut server = Played::new(ClientConfig { resume: Some(resumption()), ..plain() }).known();
        server.opens(BIND_SM);
        assert_stream_error(&server.says(answer), condition);
        let end = end(&server.client);
        assert!(matches!(end.reason, Reason::Failed(_)));
        assert_eq!(end.resumption.is_some(), lives, "{answer}");
        let unsent = if lives { Vec::new() } else { resumption().unacked };
        assert_eq!(end.unsent, unsent, "{answer}");
    }
}

/// XEP-0198 §5: not resumed; what was not handled becomes new, after a fresh bind.
#[test]
fn a_session_that_is_gone_loses_nothing() {
    for (h, again) in [("", &["one", "two", "three", "new"][..]), (" h='1'", &["three", "new"])] {
        let mut server = Played::new(ClientConfig { resume: Some(resumption()), ..plain() }).known();
        server.client.command(server.now, Command::Stanza(message("new")));
        server.opens(BIND_SM);
        let failed = format!(
            "<failed xmlns='urn:xmpp:sm:3'{h}><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></failed>"
        );
        let bind = server.says(&failed);
        let id = bind.split_once("id='").unwrap().1.split_once('\'').unwrap().0.to_owned();
        let sent = server.says(&format!(
            "<iq type='result' id='{id}'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><jid>juliet@im.example.com/r</jid></bind></iq>"
        ));
        let mut expected = "<enable xmlns='urn:xmpp:sm:3' resume='true'/>".to_owned();
        again.iter().for_each(|text| expected += std::str::from_utf8(&message(text)).unwrap());
        assert_eq!(sent, expected);
    }
}

/// Through a real server end: the cable is cut, and the next connection goes on with the session.
#[test]
fn a_cut_cable_and_a_resumption() {
    let idle = Idle { after: Duration::from_secs(30), answer_within: Duration::from_secs(10) };
    let client = ClientConfig { idle: Some(idle), ..config(Start::Tcp) };
    let mut pair = Pair::new(client_side(client), server_side(C2sConfig::default(), Start::Tcp));
    pair.run(Duration::from_secs(2));
    // The scripted host resumes with 5 handled stanzas, of 7 sent.
    for number in 0..5 {
        pair.command_a(Command::Stanza(message(&number.to_string())));
    }
    for _ in 0..4 {
        pair.command_b(c2s::Command::Stanza("<message/>".into()));
    }
    pair.run(Duration::from_secs(5));
    pair.cut = true;
    pair.command_a(Command::Stanza(message("lost")));
    pair.run(Duration::from_secs(60));
    let end = end(&pair.a);
    assert!(matches!(end.reason, Reason::Silent), "{end:?}");
    let resume = end.resumption.clone().unwrap();
    assert_eq!((resume.inbound, resume.acked, resume.unacked.len()), (4, 5, 1));

    let client = ClientConfig { resume: Some(resume), ..config(Start::Tcp) };
    let mut pair = Pair::new(client_side(client), server_side(C2sConfig::default(), Start::Tcp));
    pair.run(Duration::from_secs(2));
    assert!(pair.a.events().iter().any(|(_, event)| matches!(event, Event::Resumed(_))));
    assert!(pair.b.events().iter().any(|(_, event)| matches!(event, c2s::Event::Resumed { h: 4, .. })));
    assert_eq!(bodies(&mut pair.b), ["lost"]);
}

/// S0-21 from the client's side: it waits for the server's closing tag, hears what still comes, and gives up in time.
#[test]
fn the_client_closes_in_turn() {
    let mut server = Played::new(plain()).known();
    let bind = server.opens("<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/>");
    let id = bind.split_once("id='").unwrap().1.split_once('\'').unwrap().0.to_owned();
    server.says(&format!(
        "<iq type='result' id='{id}'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><jid>juliet@im.example.com/r</jid></bind></iq>"
    ));
    server.client.command(server.now, Command::Close(None));
    assert_eq!(server.client.take_sent(), b"</stream:stream>");
    server.client.take_events();
    assert_eq!(server.says("<message/><message/>"), "");
    assert_eq!(server.client.take_events().len(), 2);
    assert_eq!(server.seconds(4), "");
    assert!(server.client.closed().is_none());
    server.seconds(1);
    assert!(matches!(end(&server.client).reason, Reason::Host) && !end(&server.client).clean);
}

/// Truncation and slowness, as the client sees them.
#[test]
fn losses() {
    let mut server = Played::new(plain()).known();
    server.client.eof(server.now, Eof::Truncated);
    assert!(matches!(end(&server.client).reason, Reason::Truncated));

    let mut server = Played::new(plain()).secured();
    for _ in 0..29 {
        server.says(" ");
        server.seconds(1);
    }
    assert!(server.client.closed().is_none());
    server.seconds(1);
    assert!(matches!(end(&server.client).reason, Reason::Slow));
}

/// A server's TLS without channel binding still works; nothing is pretended (RFC 5802 §6).
#[test]
fn without_channel_binding() {
    let mut pair = pair(Start::Tcp);
    pair.tls_b = TlsFacts { exporter: None, server_end_point: None, ..facts() };
    pair.tls_a = pair.tls_b.clone();
    pair.run(Duration::from_secs(2));
    let mechanism = pair.a.events().iter().find_map(|(_, event)| match event {
        Event::Authenticated(proven) => Some(proven.mechanism),
        _ => None,
    });
    assert_eq!(mechanism, Some(Mechanism::ScramSha256));
}

/// Two ends of different TLS connections (somebody in between): channel binding finds out.
#[test]
fn somebody_in_between_is_found() {
    let mut pair = pair(Start::Tcp);
    pair.tls_b = TlsFacts { exporter: Some([8; 32]), ..facts() };
    pair.run(Duration::from_secs(2));
    assert!(matches!(end(&pair.a).reason, Reason::Login(_)), "{:?}", end(&pair.a));
}

/// What the server renders is what the client reads.
#[test]
fn stanzas_arrive_stamped() {
    let mut pair = pair(Start::Tcp);
    pair.run(Duration::from_secs(2));
    pair.command_a(Command::Stanza(message("x")));
    pair.run(Duration::from_secs(1));
    let stamped = pair.b.take_events().into_iter().find_map(|event| match event {
        c2s::Event::Stanza { stanza, .. } => {
            Some(String::from_utf8(stanza.bytes(ns::CLIENT).to_vec()).unwrap())
        }
        _ => None,
    });
    assert!(stamped.unwrap().contains("from='juliet@im.example.com/balcony'"));
}
