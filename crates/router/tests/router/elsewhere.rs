//! Other domains: what leaves, what comes back, and that nothing enters without a proof (S3-01, S0-20).

use std::sync::Arc;

use nuncio_dna::{Claim, Direction, Domain, Evidence, Policy, ProvenDomain, Rule, Service, Time, Tls, judge};
use nuncio_router::commands::Refused;
use nuncio_router::store::Ticket;
use nuncio_router::{Elsewhere, Router};
use nuncio_xmpp::error::{Condition, StanzaError};
use nuncio_xmpp::ns;
use nuncio_xmpp::stanza::Stanza;
use nuncio_xmpp::xml::Element;
use parking_lot::Mutex;
use serde_json::Value;

use crate::common::{Client, server};

/// Takes everything but what is for `full.example`.
#[derive(Default)]
struct Out(Mutex<Vec<(Stanza, bool)>>);

impl Out {
    /// What left, as text, and whether it bounces.
    fn take(&self) -> Vec<(String, bool)> {
        let all = std::mem::take(&mut *self.0.lock());
        all.iter().map(|(stanza, bounces)| (text(stanza), *bounces)).collect()
    }

    fn one(&self) -> String {
        let mut all = self.take();
        assert_eq!(all.len(), 1, "{all:#?}");
        all.remove(0).0
    }
}

fn text(stanza: &Stanza) -> String {
    String::from_utf8(stanza.bytes(ns::SERVER).to_vec()).unwrap()
}

impl Elsewhere for Out {
    fn send(&self, stanza: &Stanza, bounces: bool, _: bool) -> Result<Ticket, Box<StanzaError>> {
        if stanza.to().unwrap().domain() == "full.example" {
            return Err(Box::new(StanzaError::new(Condition::ResourceConstraint)));
        }
        self.0.lock().push((stanza.clone(), bounces));
        Ok(Ticket::done())
    }

    fn list(&self) -> Value {
        Value::Null
    }

    fn explain(&self, _: &str) -> Result<Value, Refused> {
        Ok(Value::Null)
    }
}

fn proof(domain: &str) -> ProvenDomain {
    let claim = Claim {
        local: Domain::new("localhost").unwrap(),
        remote: Domain::new(domain).unwrap(),
        direction: Direction::In,
        service: Service::XmppServer,
    };
    let default = Rule { require: "permissive".parse().unwrap(), ..Rule::default() };
    let policy = Policy { default, ..Policy::default() };
    let evidence = Evidence::of(Tls::V13, Vec::new());
    judge(&claim, &evidence, &policy, Time::from_secs(0)).accepted().unwrap().clone()
}

async fn receive(router: &Arc<Router>, domain: &str, xml: &str) -> Result<(), &'static str> {
    let stanza = Stanza::from_element(Element::parse_in(ns::SERVER, xml.to_owned()).unwrap()).unwrap();
    match router.receive(&proof(domain), stanza, true).await {
        Ok(ticket) => {
            ticket.await.unwrap();
            Ok(())
        }
        Err(error) => Err(error.condition.as_str()),
    }
}

async fn federated(accounts: &[&str]) -> (Arc<Router>, Arc<Out>) {
    let router = server(accounts).await;
    let out = Arc::new(Out::default());
    let elsewhere: Arc<dyn Elsewhere> = Arc::clone(&out) as _;
    router.federate(Arc::downgrade(&elsewhere));
    (router, out)
}

/// S0-20, RFC 6120 §8.1.2.2, §4.9.3.6, §4.9.3.9: only from the domain that is proven, only to a domain of ours.
#[tokio::test(start_paused = true)]
async fn only_proven_domains_enter() {
    let (router, out) = federated(&["juliet"]).await;
    let mut juliet = Client::online(&router, "juliet", "balcony").await;
    out.take();
    let cases = [
        ("them.example", "romeo@them.example/x", "juliet@localhost", Ok(())),
        ("them.example", "them.example", "juliet@localhost", Ok(())),
        ("xn--bcher-kva.example", "romeo@b\u{fc}cher.example", "juliet@localhost", Ok(())),
        ("them.example", "romeo@sub.them.example", "juliet@localhost", Err("invalid-from")),
        ("them.example", "romeo@others.example", "juliet@localhost", Err("invalid-from")),
        ("them.example", "juliet@localhost", "juliet@localhost", Err("invalid-from")),
        ("localhost", "juliet@localhost", "juliet@localhost", Err("invalid-from")),
        ("them.example", "romeo@them.example", "juliet@others.example", Err("host-unknown")),
        ("them.example", "romeo@them.example", "them.example", Err("host-unknown")),
    ];
    for (proven, from, to, expected) in cases {
        let xml = format!(
            "<message xmlns='jabber:server' type='chat' from='{from}' to='{to}'><body>{from}</body></message>"
        );
        assert_eq!(receive(&router, proven, &xml).await, expected, "{from} {to}");
        let heard = juliet.bodies().await;
        assert_eq!(heard.len(), usize::from(expected.is_ok()), "{from} {to}");
    }
    let unaddressed = "<message xmlns='jabber:server' from='romeo@them.example'><body>x</body></message>";
    assert_eq!(receive(&router, "them.example", unaddressed).await, Err("improper-addressing"));
    let anonymous = "<message xmlns='jabber:server' to='juliet@localhost'><body>x</body></message>";
    assert_eq!(receive(&router, "them.example", anonymous).await, Err("invalid-from"));
}

/// RFC 6120 §8.2.3, §8.3, RFC 6121 §8.5: answers and errors go back to where the stanza came from; errors are never answered.
#[tokio::test(start_paused = true)]
async fn answers_go_back() {
    let (router, out) = federated(&["juliet"]).await;
    let _juliet = Client::online(&router, "juliet", "balcony").await;
    out.take();
    let service = "<service-unavailable";
    let cases = [
        (
            "<iq xmlns='jabber:server' type='get' id='1' from='romeo@them.example/x' to='localhost'><query xmlns='x'/></iq>",
            Some(service),
        ),
        (
            "<iq xmlns='jabber:server' type='get' id='1' from='romeo@them.example/x' to='juliet@localhost'><query xmlns='x'/></iq>",
            Some(service),
        ),
        (
            "<iq xmlns='jabber:server' type='get' id='1' from='romeo@them.example/x' to='juliet@localhost/balcony'><query xmlns='x'/></iq>",
            Some(service),
        ),
        (
            "<message xmlns='jabber:server' from='romeo@them.example/x' to='nobody@localhost'><body>x</body></message>",
            Some(service),
        ),
        (
            "<presence xmlns='jabber:server' type='probe' from='romeo@them.example' to='nobody@localhost'/>",
            Some("type='unsubscribed'"),
        ),
        (
            "<presence xmlns='jabber:server' type='probe' from='romeo@them.example' to='juliet@localhost'/>",
            Some("type='unsubscribed'"),
        ),
        (
            "<message xmlns='jabber:server' type='error' from='romeo@them.example/x' to='nobody@localhost'><body>x</body></message>",
            None,
        ),
        ("<iq xmlns='jabber:server' type='result' id='1' from='romeo@them.example/x' to='localhost'/>", None),
    ];
    for (xml, expected) in cases {
        receive(&router, "them.example", xml).await.unwrap();
        router.quiet().await;
        match expected {
            Some(part) => {
                let told = out.one();
                assert!(told.contains(part) && told.contains("to='romeo@them.example"), "{xml}: {told}");
            }
            None => assert_eq!(out.take(), [], "{xml}"),
        }
    }
}

/// What leaves carries the sender's address; what is not taken, or comes back later, is told to who sent it.
#[tokio::test(start_paused = true)]
async fn what_leaves_and_what_returns() {
    let (router, out) = federated(&["juliet"]).await;
    let mut juliet = Client::online(&router, "juliet", "balcony").await;
    out.take();
    juliet.send("<message type='chat' id='m1' to='romeo@them.example'><body>hello</body></message>").await;
    let (left, bounces) = out.0.lock().pop().unwrap();
    assert!(bounces);
    assert_eq!(left.from().unwrap().as_str(), "juliet@localhost/balcony");
    assert_eq!(juliet.drain().await, [] as [&str; 0]);
    assert_eq!(juliet.handled, juliet.number);
    let error = StanzaError::new(Condition::RemoteServerTimeout).with_text("them.example: nobody is there");
    router.undelivered(&left, error).await;
    let told = juliet.one().await;
    assert!(told.contains("<remote-server-timeout") && told.contains("nobody is there"), "{told}");
    assert!(told.contains("from='romeo@them.example'") && told.contains("id='m1'"), "{told}");
    juliet.send("<message to='romeo@full.example' id='m2'><body>hello</body></message>").await;
    assert!(juliet.one().await.contains("<resource-constraint"));
    // Directed presence tells of its failure, broadcasts and probes do not (RFC 6121 §4.6.3).
    juliet.send("<presence to='room@full.example/nick'/>").await;
    assert!(juliet.one().await.contains("<resource-constraint"));
    juliet.send("<presence type='subscribe' to='romeo@them.example'/>").await;
    let asked = out.one();
    assert!(asked.contains("from='juliet@localhost'"), "the bare address: {asked}");
    receive(
        &router,
        "them.example",
        "<presence xmlns='jabber:server' type='subscribed' from='romeo@them.example' to='juliet@localhost'/>",
    )
    .await
    .unwrap();
    juliet.drain().await;
    juliet.send("<presence type='unavailable'/>").await;
    juliet.send("<presence/>").await;
    let left = out.take();
    assert!(left.iter().any(|(stanza, bounces)| stanza.contains("type='probe'") && !bounces), "{left:#?}");
}
