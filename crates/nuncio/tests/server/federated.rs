//! Two servers, each the real binary on a loopback address of its own, and clients of both.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU8, Ordering};

use nuncio_client::{ClientConfig, Event, Pace, Roots, Server, Session};
use nuncio_net::ca;
use nuncio_xmpp::error::{Condition, StanzaError};
use nuncio_xmpp::jid::{BareJid, Jid};
use nuncio_xmpp::stanza::{Kind, PresenceType, Stanza, presence};
use nuncio_xmpp::xml::Builder;
use serde_json::Value;

use crate::harness::{PASSWORD, Place, Running, bodies, chat, connect, receive, until, wait};

/// A loopback address that no other test has.
pub(crate) fn address() -> Ipv4Addr {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let [_, _, high, low] = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, 64 | (high & 63), low, NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A server that is to be.
pub(crate) struct Site {
    /// The first of its domains.
    domain: String,
    domains: Vec<String>,
    pub(crate) ip: Ipv4Addr,
    pub(crate) place: Place,
}

impl Site {
    /// A domain with a certificate of its own authority.
    pub(crate) fn new(domain: &str, more: &[&str]) -> Self {
        Self::of(vec![domain.to_owned()], more)
    }

    /// Several domains with one certificate.
    fn of(domains: Vec<String>, more: &[&str]) -> Self {
        let ip = address();
        let lines = [
            format!("listen.s2s = [\"{ip}:5269\"]"),
            format!("listen.s2s_tls = [\"{ip}:5270\"]"),
            "federation.dns.validate = \"off\"".to_owned(),
            "federation.posh.enabled = false".to_owned(),
        ];
        let lines: Vec<&str> = lines.iter().map(String::as_str).chain(more.iter().copied()).collect();
        let place = Place::new(&lines);
        ca::local(&place.data().join("tls"), &domains).unwrap();
        Self { domain: domains[0].clone(), domains, ip, place }
    }

    fn authority(&self) -> PathBuf {
        self.place.data().join("tls/ca.pem")
    }

    /// Adds to the configuration: the domain, whom to believe, and where the others are.
    pub(crate) fn finish(&self, others: &[&Self], believe: bool, direct: bool) {
        let place = |other: &Self| {
            if direct { format!("tls:{}:5270", other.ip) } else { format!("{}:5269", other.ip) }
        };
        let others: Vec<_> = others.iter().map(|other| (*other, place(other))).collect();
        self.finish_at(&others, believe);
    }

    /// The same, with the places of the others.
    pub(crate) fn finish_at(&self, others: &[(&Self, String)], believe: bool) {
        let mut text = std::fs::read_to_string(self.place.config()).unwrap();
        let authorities: Vec<_> =
            others.iter().map(|(other, _)| format!("{:?}", other.authority())).collect();
        // Somebody has to be believed.
        let authorities = if believe { authorities.join(", ") } else { format!("{:?}", self.authority()) };
        text.push_str(&format!("federation.authorities = [{authorities}]\n"));
        for (other, place) in others {
            for domain in &other.domains {
                text.push_str(&format!("federation.hosts.\"{domain}\" = \"{place}\"\n"));
            }
        }
        for domain in &self.domains {
            text.push_str(&format!("[[domain]]\nname = \"{domain}\"\n"));
        }
        std::fs::write(self.place.config(), text).unwrap();
    }

    pub(crate) fn accounts(&self, names: &[&str]) {
        for name in names {
            let jid = format!("{name}@{}", self.domain);
            self.place.must(&["account", "add", &jid, "--password-stdin"], PASSWORD);
        }
    }

    fn client(&self, server: &Running, name: &str) -> ClientConfig {
        let name = if name.contains('@') { name.to_owned() } else { format!("{name}@{}", self.domain) };
        let account = BareJid::new(&name).unwrap();
        ClientConfig {
            server: Server::Address(server.c2s),
            pace: Pace { every: 1, ..Pace::default() },
            ..ClientConfig::new(account, PASSWORD, Roots::Files(vec![self.authority()]))
        }
    }

    pub(crate) async fn online(&self, server: &Running, name: &str) -> Session {
        let mut session = connect(self.client(server, name)).await;
        session.send(&presence(PresenceType::Available).build()).await.unwrap();
        let own = Jid::new(session.jid().unwrap().domain()).unwrap();
        let ping = session.get(Some(&own), Builder::new("ping", nuncio_xmpp::ns::PING));
        tokio::time::timeout(crate::harness::PATIENCE, ping).await.unwrap().unwrap();
        session
    }

    /// The rows of pairs; streams that carry none, such as one to ask about a key, are left out.
    pub(crate) fn list(&self) -> Vec<Value> {
        let told = self.place.must(&["federation", "list", "--json"], "");
        let told: Value = serde_json::from_str(&told).unwrap();
        let rows = told["federation"].as_array().unwrap();
        rows.iter().filter(|row| row["domain"].is_string()).cloned().collect()
    }

    /// What `check` says of a domain: its status, the code of the cause, and the last line.
    fn check(&self, domain: &str) -> (Option<i32>, Value, String) {
        let said = self.place.run(&["check", domain], "");
        let json = self.place.run(&["check", domain, "--json"], "");
        assert_eq!(said.status, json.status);
        let json: Value = serde_json::from_slice(&json.stdout).unwrap();
        let text = String::from_utf8(said.stdout).unwrap();
        (said.status.code(), json["code"].clone(), text.lines().last().unwrap_or_default().to_owned())
    }

    /// What is said about a domain, and whether it is well.
    fn explain(&self, domain: &str) -> (String, bool) {
        let output = self.place.run(&["federation", "explain", domain], "");
        (String::from_utf8(output.stdout).unwrap(), output.status.success())
    }
}

/// `one.example` and `two.example`, which know where the other is.
fn two(more: &[&str], believe: [bool; 2], direct: bool) -> (Site, Site) {
    let (one, two) = (Site::new("one.example", more), Site::new("two.example", more));
    one.finish(&[&two], believe[0], direct);
    two.finish(&[&one], believe[1], direct);
    (one, two)
}

async fn error_of(session: &mut Session) -> StanzaError {
    wait(session, |event| match event {
        Event::Stanza(stanza) if stanza.is_error() => stanza.own_child("error").and_then(StanzaError::parse),
        _ => None,
    })
    .await
}

/// S3-06 to S3-09: certificates of both are proven, by STARTTLS and by direct TLS; a message each way, on one connection (XEP-0288), and `list` says how.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_each_way() {
    for direct in [false, true] {
        let (one, two) = two(&[], [true, true], direct);
        let (mut first, second) = (one.place.serve(), two.place.serve());
        one.accounts(&["juliet"]);
        two.accounts(&["romeo"]);
        let mut juliet = one.online(&first, "juliet").await;
        let mut romeo = two.online(&second, "romeo").await;
        for number in 0..20 {
            juliet.send(&chat("romeo@two.example", &number.to_string())).await.unwrap();
        }
        let expected: Vec<_> = (0..20).map(|number| number.to_string()).collect();
        assert_eq!(bodies(&mut romeo, 20).await, expected);
        romeo.send(&chat(juliet.jid().unwrap().as_str(), "back")).await.unwrap();
        let back = receive(&mut juliet).await;
        assert_eq!(back.body_text().unwrap(), "back");
        assert_eq!(back.from(), romeo.jid());
        let rows = one.list();
        assert_eq!(rows.len(), 1, "{rows:#?}");
        for (key, value) in [
            ("domain", "two.example"),
            ("local", "one.example"),
            ("state", "up"),
            ("opened-by", "us"),
            ("stanzas", "both"),
            ("proven-by", "pkix"),
            ("strength", "authenticated"),
            ("tls", "TLS 1.3"),
        ] {
            assert_eq!(rows[0][key], value, "{rows:#?}");
        }
        let (said, well) = two.explain("one.example");
        assert!(well && said.ends_with("connected\n"), "{said}");
        assert!(said.contains("one.example is proven by pkix"), "{said}");
        assert_eq!(second.metric("nuncio_federation_streams"), 1.0);
        // A stop closes the streams in order.
        first.stop();
        until("the stream has ended", || two.list().is_empty()).await;
    }
}

/// S0-15, XEP-0220, XEP-0238 "encrypted": where the policy allows it, dialback proves domains whose certificates nobody knows, each over a stream of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dialback_where_policy_allows_it() {
    let (one, two) = two(&["federation.require = \"encrypted\""], [false, false], false);
    let (first, second) = (one.place.serve(), two.place.serve());
    one.accounts(&["juliet"]);
    two.accounts(&["romeo"]);
    let mut juliet = one.online(&first, "juliet").await;
    let mut romeo = two.online(&second, "romeo").await;
    juliet.send(&chat("romeo@two.example", "there")).await.unwrap();
    assert_eq!(receive(&mut romeo).await.body_text().unwrap(), "there");
    romeo.send(&chat(juliet.jid().unwrap().as_str(), "back")).await.unwrap();
    assert_eq!(receive(&mut juliet).await.body_text().unwrap(), "back");
    for (site, other) in [(&one, "two.example"), (&two, "one.example")] {
        let rows: Vec<_> = site.list().into_iter().filter(|row| row["domain"] == other).collect();
        let ways: Vec<_> = rows.iter().map(|row| row["stanzas"].as_str().unwrap()).collect();
        assert!(ways.contains(&"in") && ways.contains(&"out"), "{rows:#?}");
        for row in &rows {
            assert_eq!(
                (&row["proven-by"], &row["level"]),
                (&"dialback".into(), &"encrypted".into()),
                "{rows:#?}"
            );
        }
    }
    // `check` cannot be called back, and says so.
    let (status, code, last) = one.check("two.example");
    assert_eq!((status, code), (Some(0), Value::Null), "{last}");
    assert!(last.starts_with("accepted: encrypted by dialback") && last.contains("dialback key"), "{last}");
}

/// S3-27, show 4 of issue 4: the cause is said to be where it is: in our policy, our name server, our configuration, or what was asked for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn check_says_whose_fault_it_is() {
    let (one, two) = two(&["federation.require = \"authenticated\""], [true, true], false);
    let _second = two.place.serve();
    let edit = |from: &str, to: &str| {
        let text = std::fs::read_to_string(one.place.config()).unwrap();
        assert!(text.contains(from), "{text}");
        std::fs::write(one.place.config(), text.replace(from, to)).unwrap();
    };
    let (status, code, last) = one.check("two.example");
    assert_eq!((status, code), (Some(0), Value::Null), "{last}");
    edit("\"authenticated\"", "\"pin\"");
    let (status, code, last) = one.check("two.example");
    assert_eq!((status, code), (Some(1), "policy-unmet".into()), "{last}");
    edit("\"pin\"", "\"authenticated\"");
    // A name server at which nobody listens.
    edit("validate = \"off\"", "validate = \"local\"\nfederation.dns.servers = [\"127.0.0.1:9\"]");
    let (status, code, last) = one.check("elsewhere.example");
    assert_eq!((status, code), (Some(1), "dns-not-validated".into()), "{last}");
    edit("federation.require", "federation.enabled = false\nfederation.require");
    let (status, code, last) = one.check("two.example");
    assert_eq!((status, code), (Some(1), "federation-off".into()), "{last}");
    for wrong in ["one.example", "romeo@two.example", "two..example"] {
        let output = one.place.run(&["check", wrong], "");
        assert_eq!(output.status.code(), Some(2), "{wrong}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

/// S3-10, RFC 7712 §4.3: they believe our certificate, we do not believe theirs but allow dialback from them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_direction_is_proven_as_it_can_be() {
    let (one, two) =
        two(&["federation.require = \"authenticated or (dialback and tls)\""], [true, false], false);
    let (first, second) = (one.place.serve(), two.place.serve());
    one.accounts(&["juliet"]);
    two.accounts(&["romeo"]);
    let mut juliet = one.online(&first, "juliet").await;
    let mut romeo = two.online(&second, "romeo").await;
    juliet.send(&chat("romeo@two.example", "there")).await.unwrap();
    assert_eq!(receive(&mut romeo).await.body_text().unwrap(), "there");
    romeo.send(&chat(juliet.jid().unwrap().as_str(), "back")).await.unwrap();
    assert_eq!(receive(&mut juliet).await.body_text().unwrap(), "back");
    assert!(one.list().iter().all(|row| row["proven-by"] == "pkix"), "{:#?}", one.list());
    assert!(two.list().iter().all(|row| row["proven-by"] == "dialback"), "{:#?}", two.list());
}

/// S3-21, S3-28: by default nobody is spoken with who proves nothing; the sender and the operators of both sides hear why.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_proves_nothing_is_refused_and_told() {
    for (believe, at, code) in [([false, true], 0, "unknown-issuer"), ([true, false], 1, "unknown-issuer")] {
        let (one, two) = two(&[], believe, false);
        let (first, second) = (one.place.serve(), two.place.serve());
        one.accounts(&["juliet"]);
        let mut juliet = one.online(&first, "juliet").await;
        juliet.send(&chat("romeo@two.example", "there")).await.unwrap();
        let error = error_of(&mut juliet).await;
        assert_eq!(error.condition, Condition::RemoteServerTimeout);
        let text = error.text.unwrap();
        assert!(text.starts_with("two.example: ") && text.contains(code), "{text}");
        // At once, without another attempt.
        juliet.send(&chat("romeo@two.example", "again")).await.unwrap();
        assert!(error_of(&mut juliet).await.text.unwrap().contains(code));
        let (site, other) = if at == 0 { (&one, "two.example") } else { (&two, "one.example") };
        let (said, well) = site.explain(other);
        assert!(!well && said.lines().last().unwrap().ends_with(&format!("[{code}]")), "{said}");
        assert_eq!(second.metric("nuncio_from_elsewhere_total"), 0.0);
    }
}

/// S0-26: a server that is not there, one that does not exist, one that is denied.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_there() {
    let one =
        Site::new("one.example", &["federation.queue_seconds = 2", "federation.deny = [\"denied.example\"]"]);
    let two = Site::new("two.example", &[]);
    one.finish(&[&two], true, false);
    let first = one.place.serve();
    one.accounts(&["juliet", "nurse"]);
    let mut juliet = one.online(&first, "juliet").await;
    for (to, condition, code) in [
        ("romeo@two.example", Condition::RemoteServerTimeout, Some("unreachable")),
        ("romeo@denied.example", Condition::RemoteServerTimeout, Some("peer-denied")),
        ("romeo@192.0.2.1", Condition::RemoteServerNotFound, None),
    ] {
        juliet.send(&chat(to, "there")).await.unwrap();
        let error = error_of(&mut juliet).await;
        assert_eq!(error.condition, condition, "{to}: {error:?}");
        if let Some(code) = code {
            let domain = to.split_once('@').unwrap().1;
            let (said, well) = one.explain(domain);
            assert!(!well && said.lines().last().unwrap().ends_with(&format!("[{code}]")), "{said}");
        }
    }
    // What is local goes on as ever.
    let mut nurse = one.online(&first, "nurse").await;
    juliet.send(&chat("nurse@one.example", "hello")).await.unwrap();
    assert_eq!(receive(&mut nurse).await.body_text().unwrap(), "hello");
    let output = one.place.run(&["federation", "explain", "one.example"], "");
    assert_eq!(output.status.code(), Some(2), "a domain of ours is no other");
}

/// RFC 6121 §3, §4: subscriptions, presence and requests between servers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn contacts_of_another_server() {
    let (one, two) = two(&[], [true, true], false);
    let (first, second) = (one.place.serve(), two.place.serve());
    one.accounts(&["juliet"]);
    two.accounts(&["romeo"]);
    let mut juliet = one.online(&first, "juliet").await;
    let mut romeo = two.online(&second, "romeo").await;
    let bare = |jid: &str| Jid::new(jid).unwrap();
    let subscription = |kind, to: &str| presence(kind).to(bare(to)).build();
    juliet.send(&subscription(PresenceType::Subscribe, "romeo@two.example")).await.unwrap();
    let asked = next_presence(&mut romeo, PresenceType::Subscribe).await;
    assert_eq!(asked.from(), Some(&bare("juliet@one.example")));
    romeo.send(&subscription(PresenceType::Subscribed, "juliet@one.example")).await.unwrap();
    // Granted, and seen at once (RFC 6121 §3.1.5).
    let seen = next_presence(&mut juliet, PresenceType::Available).await;
    assert_eq!(seen.from(), romeo.jid());
    // Requests to the server are answered; those to a client only if its presence is seen (RFC 6121 §8.5.3.1).
    let ping = || Builder::new("ping", nuncio_xmpp::ns::PING);
    let server = bare("two.example");
    let answer = tokio::time::timeout(crate::harness::PATIENCE, juliet.get(Some(&server), ping()));
    answer.await.unwrap().expect("the other server answers");
    let to = juliet.jid().unwrap().clone();
    let answer = tokio::time::timeout(crate::harness::PATIENCE, romeo.get(Some(&to), ping()));
    answer.await.unwrap().expect_err("he does not see her presence, so his requests are not for him");
    // He goes, and comes back: she hears of both, the second time by her server's probe or his presence.
    let gone = presence(PresenceType::Unavailable).build();
    romeo.send(&gone).await.unwrap();
    next_presence(&mut juliet, PresenceType::Unavailable).await;
    drop(juliet);
    romeo.send(&presence(PresenceType::Available).build()).await.unwrap();
    let mut juliet = one.online(&first, "juliet").await;
    assert_eq!(next_presence(&mut juliet, PresenceType::Available).await.from(), romeo.jid());
    romeo.send(&subscription(PresenceType::Unsubscribed, "juliet@one.example")).await.unwrap();
    next_presence(&mut juliet, PresenceType::Unavailable).await;
}

async fn next_presence(session: &mut Session, kind: PresenceType) -> Stanza {
    let own = session.jid().unwrap().bare();
    wait(session, move |event| match event {
        Event::Stanza(stanza)
            if stanza.kind() == Kind::Presence(kind)
                && stanza.from().is_some_and(|from| from.bare() != own) =>
        {
            Some(stanza)
        }
        _ => None,
    })
    .await
}

/// S3-11, S3-12: a thousand pairs to one hoster share one connection, by assertion and by supposition, and each is proven.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_pairs_on_one_connection() {
    const EACH: usize = 32;
    let names = |site: &str| (0..EACH).map(|number| format!("d{number}.{site}.example")).collect::<Vec<_>>();
    let (one, two) =
        (Site::of(names("one"), &["limits.connects_per_second = 1000"]), Site::of(names("two"), &[]));
    one.finish(&[&two], true, false);
    two.finish(&[&one], true, false);
    let (first, second) = (one.place.serve(), two.place.serve());
    for site in [&one, &two] {
        let lines: String = site.domains.iter().map(|domain| format!("user@{domain} {PASSWORD}\n")).collect();
        site.place.must(&["account", "import"], &lines);
    }
    let mut there = Vec::new();
    for domain in &two.domains {
        there.push(two.online(&second, &format!("user@{domain}")).await);
    }
    for domain in &one.domains {
        let mut sender = one.online(&first, &format!("user@{domain}")).await;
        for to in &two.domains {
            sender.send(&chat(&format!("user@{to}"), domain)).await.unwrap();
        }
        sender.close().await;
    }
    for receiver in &mut there {
        let mut got = bodies(receiver, EACH).await;
        got.sort();
        let mut wanted = one.domains.clone();
        wanted.sort();
        assert_eq!(got, wanted);
    }
    assert_eq!(first.metric("nuncio_federation_dials_total"), 1.0);
    assert_eq!(first.metric("nuncio_federation_streams"), 1.0);
    assert_eq!(second.metric("nuncio_federation_streams"), 1.0);
    assert_eq!(first.metric("nuncio_federation_pairs"), (EACH * EACH) as f64);
    assert!(two.list().iter().all(|row| row["proven-by"] == "pkix"));
}

/// S3-20: a policy that is read again counts for what stands: the pair is revoked, and taken up again when it may be.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_policy_counts_at_once() {
    let (one, two) = two(&[], [true, true], false);
    let (first, second) = (one.place.serve(), two.place.serve());
    one.accounts(&["juliet"]);
    two.accounts(&["romeo"]);
    let mut juliet = one.online(&first, "juliet").await;
    let mut romeo = two.online(&second, "romeo").await;
    juliet.send(&chat("romeo@two.example", "there")).await.unwrap();
    assert_eq!(receive(&mut romeo).await.body_text().unwrap(), "there");
    let good = std::fs::read_to_string(one.place.config()).unwrap();
    std::fs::write(one.place.config(), format!("federation.deny = [\"two.example\"]\n{good}")).unwrap();
    let said = one.place.must(&["reload"], "");
    assert!(!said.contains("at the next start"), "{said}");
    until("it is revoked", || first.metric("nuncio_federation_pairs") == 0.0).await;
    // What he says now is refused, and hers does not leave.
    romeo.send(&chat(juliet.jid().unwrap().as_str(), "back")).await.unwrap();
    error_of(&mut romeo).await;
    juliet.send(&chat("romeo@two.example", "again")).await.unwrap();
    assert!(error_of(&mut juliet).await.text.unwrap().contains("denies"));
    let (said, well) = one.explain("two.example");
    assert!(!well && said.ends_with("[peer-denied]\n"), "{said}");
    // What was held against it goes with the rule: nobody has to wait for another attempt.
    std::fs::write(one.place.config(), good).unwrap();
    one.place.must(&["reload"], "");
    juliet.send(&chat("romeo@two.example", "once more")).await.unwrap();
    assert_eq!(receive(&mut romeo).await.body_text().unwrap(), "once more");
}

/// S0-27, RFC 6120 §4.9.3.16: a new certificate is followed by `<reset/>`, and what is said then goes over another stream.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_certificate_resets_streams() {
    let (one, two) = two(&["timeouts.reset_seconds = 0"], [true, true], false);
    let (first, second) = (one.place.serve(), two.place.serve());
    one.accounts(&["juliet"]);
    two.accounts(&["romeo"]);
    let mut juliet = one.online(&first, "juliet").await;
    let mut romeo = two.online(&second, "romeo").await;
    juliet.send(&chat("romeo@two.example", "before")).await.unwrap();
    assert_eq!(receive(&mut romeo).await.body_text().unwrap(), "before");
    let before = one.list()[0]["stream"].clone();
    // Nothing has changed, so nothing is reset.
    one.place.must(&["reload"], "");
    assert_eq!(one.list()[0]["stream"], before);
    let tls = one.place.data().join("tls");
    std::fs::remove_file(tls.join("host.pem")).unwrap();
    ca::local(&tls, std::slice::from_ref(&one.domain)).unwrap();
    one.place.must(&["reload"], "");
    until("the stream has ended", || one.list().iter().all(|row| row["stream"] != before)).await;
    romeo.send(&chat(juliet.jid().unwrap().as_str(), "after")).await.unwrap();
    assert_eq!(receive(&mut juliet).await.body_text().unwrap(), "after");
}

/// XEP-0198: what was acknowledged arrives, in order, though the other server comes only after this one was stopped, or killed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_outlives_the_process() {
    for kill in [false, true] {
        let (one, two) = two(&[], [true, true], false);
        let mut first = one.place.serve();
        one.accounts(&["juliet"]);
        let mut juliet = one.online(&first, "juliet").await;
        let mut last = 0;
        for number in 0..50 {
            last = juliet.send(&chat("romeo@two.example", &number.to_string())).await.unwrap();
        }
        crate::harness::acked(&mut juliet, last).await;
        if kill {
            first.kill();
        } else {
            first.stop();
            drop(first);
        }
        let second = two.place.serve();
        two.accounts(&["romeo"]);
        let mut romeo = two.online(&second, "romeo").await;
        let mut first = one.place.serve();
        let expected: Vec<_> = (0..50).map(|number| number.to_string()).collect();
        assert_eq!(bodies(&mut romeo, 50).await, expected, "killed: {kill}");
        // And once: nothing is left.
        first.stop();
        drop(first);
        let again = one.place.serve();
        let mut juliet = one.online(&again, "juliet").await;
        juliet.send(&chat("romeo@two.example", "live")).await.unwrap();
        assert_eq!(receive(&mut romeo).await.body_text().unwrap(), "live");
    }
}

/// A dead peer costs its own queue only: stanzas for many servers that are not there leave what is local, and what is well, as it was.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_peers_cost_their_own_queues_only() {
    const DEAD: usize = 100;
    let more = ["limits.stanzas_per_second = 100000", "limits.bytes_per_second = 100000000"];
    let (one, two) = (Site::new("one.example", &more), Site::new("two.example", &[]));
    let dead = Site::of((0..DEAD).map(|number| format!("d{number}.dead.example")).collect(), &[]);
    one.finish(&[&two, &dead], true, false);
    two.finish(&[&one], true, false);
    let (first, second) = (one.place.serve(), two.place.serve());
    one.accounts(&["juliet", "nurse"]);
    two.accounts(&["romeo"]);
    let mut juliet = one.online(&first, "juliet").await;
    let mut nurse = one.online(&first, "nurse").await;
    let mut romeo = two.online(&second, "romeo").await;
    for round in 0..20 {
        for domain in &dead.domains {
            juliet.send(&chat(&format!("nobody@{domain}"), &round.to_string())).await.unwrap();
        }
        juliet.send(&chat("nurse@one.example", &round.to_string())).await.unwrap();
        assert_eq!(receive(&mut nurse).await.body_text().unwrap(), round.to_string());
        juliet.send(&chat("romeo@two.example", &round.to_string())).await.unwrap();
        assert_eq!(receive(&mut romeo).await.body_text().unwrap(), round.to_string());
    }
    let rows = one.list();
    let waiting: u64 = rows.iter().filter_map(|row| row["waiting"].as_u64()).sum();
    assert_eq!(waiting, 20 * DEAD as u64, "each waits in its own queue, none is lost");
    assert!(
        rows.iter().filter(|row| row["waiting"].is_u64()).all(|row| row["code"] == "unreachable"),
        "{rows:#?}"
    );
}

/// S3-27, XEP-0220: `explain` says what was proven although it does not suffice, what to change, when there is another attempt, and of dialback only what is known;
/// every row for programs has every member, and `list` is a table for people.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_known_is_explained() {
    let (one, two) = two(&["federation.require = \"pin\""], [true, true], false);
    let (first, _second) = {
        let text = std::fs::read_to_string(two.place.config()).unwrap();
        std::fs::write(two.place.config(), text.replace("\"pin\"", "\"authenticated\"")).unwrap();
        (one.place.serve(), two.place.serve())
    };
    one.accounts(&["juliet"]);
    let mut juliet = one.online(&first, "juliet").await;
    juliet.send(&chat("romeo@two.example", "there")).await.unwrap();
    assert!(error_of(&mut juliet).await.text.unwrap().contains("policy-unmet"));
    let (said, well) = one.explain("two.example");
    assert!(!well, "{said}");
    for part in [
        "policy for two.example: pin\n",
        "    two.example is proven by pkix (certificate for DNS:two.example",
        "    not by pin: no certificate is pinned for this peer [not-pinned]\n",
        "\ntried again in ",
        "\nto change: they have to prove more, or you demand less",
    ] {
        assert!(said.contains(part), "no {part:?} in {said}");
    }
    assert!(!said.contains("not by what is proven"), "{said}");
    assert!(said.trim_end().ends_with("[policy-unmet]"), "{said}");
    let json: Value = serde_json::from_slice(
        &one.place.run(&["federation", "explain", "two.example", "--json"], "").stdout,
    )
    .unwrap();
    assert!(json["advice"].is_string() && json["attempts"][0]["proofs"][0].is_string(), "{json:#}");
    let list = one.list();
    let members = |row: &Value| row.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(members(&json["queues"][0]), members(&list[0]));
    assert!(json["queues"][0]["next-attempt-seconds"].is_u64(), "{json:#}");
    let table = one.place.must(&["federation", "list"], "");
    let lines: Vec<_> = table.lines().collect();
    assert!(lines[0].starts_with("DOMAIN       OURS         STATE") && lines[0].ends_with("WHY"), "{table}");
    assert!(
        lines[1].starts_with("two.example  one.example  failing") && lines[1].contains("[policy-unmet]; "),
        "{table}"
    );
}
