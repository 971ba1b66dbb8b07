//! Two servers, each the real binary on a loopback address of its own, and clients of both.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU8, Ordering};

use nuncio_client::{ClientConfig, Event, Pace, Roots, Server, Session};
use nuncio_net::ca;
use nuncio_xmpp::error::{Condition, StanzaError};
use nuncio_xmpp::jid::{BareJid, Jid};
use nuncio_xmpp::stanza::{Kind, MessageType, PresenceType, Stanza, presence};
use nuncio_xmpp::xml::Builder;
use serde_json::Value;

use crate::harness::{PASSWORD, Place, Running, bodies, chat, connect, receive, until, wait};

/// A loopback address that no other test has.
fn address() -> Ipv4Addr {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let [_, _, high, low] = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, 64 | (high & 63), low, NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A server that is to be.
struct Site {
    domain: &'static str,
    ip: Ipv4Addr,
    place: Place,
}

impl Site {
    /// A domain with a certificate of its own authority.
    fn new(domain: &'static str, more: &[&str]) -> Self {
        let ip = address();
        let lines = [
            format!("listen.s2s = [\"{ip}:5269\"]"),
            format!("listen.s2s_tls = [\"{ip}:5270\"]"),
            "federation.dns.validate = \"off\"".to_owned(),
            "federation.posh.enabled = false".to_owned(),
        ];
        let lines: Vec<&str> = lines.iter().map(String::as_str).chain(more.iter().copied()).collect();
        let place = Place::new(&lines);
        ca::local(&place.data().join("tls"), &[domain.to_owned()]).unwrap();
        Self { domain, ip, place }
    }

    fn authority(&self) -> PathBuf {
        self.place.data().join("tls/ca.pem")
    }

    /// Adds to the configuration: the domain, whom to believe, and where the others are.
    fn finish(&self, others: &[&Self], believe: bool, direct: bool) {
        let mut text = std::fs::read_to_string(self.place.config()).unwrap();
        let authorities: Vec<_> = others.iter().map(|other| format!("{:?}", other.authority())).collect();
        // Somebody has to be believed.
        let authorities = if believe { authorities.join(", ") } else { format!("{:?}", self.authority()) };
        text.push_str(&format!("federation.authorities = [{authorities}]\n"));
        for other in others {
            let place = if direct { format!("tls:{}:5270", other.ip) } else { format!("{}:5269", other.ip) };
            text.push_str(&format!("federation.hosts.\"{}\" = \"{place}\"\n", other.domain));
        }
        text.push_str(&format!("[[domain]]\nname = \"{}\"\n", self.domain));
        std::fs::write(self.place.config(), text).unwrap();
    }

    fn accounts(&self, names: &[&str]) {
        for name in names {
            let jid = format!("{name}@{}", self.domain);
            self.place.must(&["account", "add", &jid, "--password-stdin"], PASSWORD);
        }
    }

    fn client(&self, server: &Running, name: &str) -> ClientConfig {
        let account = BareJid::new(&format!("{name}@{}", self.domain)).unwrap();
        ClientConfig {
            server: Server::Address(server.c2s),
            pace: Pace { every: 1, ..Pace::default() },
            ..ClientConfig::new(account, PASSWORD, Roots::Files(vec![self.authority()]))
        }
    }

    async fn online(&self, server: &Running, name: &str) -> Session {
        let mut session = connect(self.client(server, name)).await;
        session.send(&presence(PresenceType::Available).build()).await.unwrap();
        let own = Jid::new(self.domain).unwrap();
        let ping = session.get(Some(&own), Builder::new("ping", nuncio_xmpp::ns::PING));
        tokio::time::timeout(crate::harness::PATIENCE, ping).await.unwrap().unwrap();
        session
    }

    fn list(&self) -> Vec<Value> {
        let told = self.place.must(&["federation", "list", "--json"], "");
        let told: Value = serde_json::from_str(&told).unwrap();
        told["federation"].as_array().unwrap().clone()
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
