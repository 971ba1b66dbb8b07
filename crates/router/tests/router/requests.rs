//! Requests of the server's own, and who answers them: S4-03 to S4-07 on the server's side.

use std::sync::Arc;
use std::time::Duration;

use nuncio_router::points::Handler;
use nuncio_router::{Ask, At, ConfigError, Cx, Extension, Host, Reply, RequestError, Router, RouterConfig};
use nuncio_sansio::Host as _;
use nuncio_store::Store;
use nuncio_stream::c2s::Event;
use nuncio_xmpp::error::StanzaError;
use nuncio_xmpp::jid::Jid;
use nuncio_xmpp::stanza::{IqType, Stanza};
use nuncio_xmpp::xml::Builder;

use crate::common::{Client, add, server, server_with};

const WITHIN: Duration = Duration::from_secs(30);

fn jid(text: &str) -> Jid {
    Jid::new(text).unwrap()
}

const ERROR: &str =
    "<error type='cancel'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>";

/// A result or an error; to nobody if `to` is empty.
fn answer(kind: &str, id: &str, to: &str) -> String {
    let to = if to.is_empty() { String::new() } else { format!(" to='{to}'") };
    let inside = if kind == "error" { ERROR } else { "" };
    format!("<iq type='{kind}' id='{id}'{to}>{inside}</iq>")
}

fn question() -> Builder {
    Builder::new("there", "urn:test")
}

/// Answers the question at the server, and has silent clients asked it.
struct There;

impl Handler for There {
    async fn handle(&self, _: &Cx<'_>, _: Ask) -> Result<Reply, StanzaError> {
        Ok(Reply::Result(Builder::new("here", "urn:test")))
    }
}

fn plug(host: &mut Host<'_>) -> Result<(), ConfigError> {
    host.probe(question())?;
    host.handler(At::Server, IqType::Get, "there", "urn:test", There)
}

const THERE: Extension = Extension { name: "there", xeps: &[], needs: &[], default_on: true, plug };

/// The value of an attribute of a stanza's start tag.
fn attr<'a>(stanza: &'a str, name: &str) -> &'a str {
    let start = stanza.find(&format!(" {name}='")).unwrap() + name.len() + 3;
    stanza[start..].split('\'').next().unwrap()
}

type Asked = Result<Stanza, RequestError>;

/// The server asks while `meanwhile` happens.
async fn ask(router: &Arc<Router>, from: &str, to: &str, meanwhile: impl Future<Output = ()>) -> Asked {
    let (from, to) = (jid(from), jid(to));
    tokio::join!(router.request(IqType::Get, &from, &to, question(), WITHIN), meanwhile).0
}

fn condition(asked: Asked) -> &'static str {
    match asked {
        Err(RequestError::Refused(error)) => error.condition.as_str(),
        other => panic!("{other:?}"),
    }
}

/// S4-04, S4-05, S4-07: forged answers from everybody, in every direction, change nothing and are not answered; the true one counts.
#[tokio::test(start_paused = true)]
async fn only_whom_the_server_asked_answers() {
    let router = server(&["juliet", "romeo"]).await;
    // Without presence: the server sees its own clients nevertheless.
    let mut juliet = Client::login(&router, "juliet", "balcony").await;
    let mut other = Client::online(&router, "juliet", "Balcony").await;
    let mut romeo = Client::online(&router, "romeo", "orchard").await;
    for (kind, accepted) in [("result", true), ("error", false)] {
        let asked = ask(&router, "localhost", "juliet@localhost/balcony", async {
            let request = juliet.one().await;
            assert_eq!(attr(&request, "from"), "localhost");
            assert_eq!((attr(&request, "to"), attr(&request, "type")), ("juliet@localhost/balcony", "get"));
            let id = attr(&request, "id");
            assert_eq!(id.len(), 26, "S4-03, S4-09: 128 random bits");
            let before = router.metrics().answers_ignored.get();
            for to in ["localhost", "LOCALHOST", "juliet@localhost", "romeo@localhost", "nobody@localhost"] {
                for kind in ["result", "error"] {
                    for forger in [&mut romeo, &mut other] {
                        forger.send(&answer(kind, id, to)).await;
                        assert_eq!(forger.drain().await, [""; 0], "S4-05: never answered");
                    }
                    // The right sender to a wrong address is as wrong.
                    if !to.eq_ignore_ascii_case("localhost") {
                        juliet.send(&answer(kind, id, to)).await;
                    }
                }
                // Without `to` it goes to the own account, which did not ask.
                juliet.send(&answer("result", id, "")).await;
            }
            juliet.send("<iq type='result' id='another' to='localhost'/>").await;
            assert_eq!(juliet.drain().await, [""; 0]);
            assert_eq!(router.metrics().answers_ignored.get(), before + 26, "all but those to nobody");
            juliet.send(&answer(kind, id, "LocalHost")).await;
            // Once: a second answer is a forgery too.
            juliet.send(&answer("result", id, "localhost")).await;
            assert_eq!(juliet.drain().await, [""; 0]);
        });
        let asked = asked.await;
        if accepted {
            assert_eq!(asked.unwrap().from(), Some(&jid("juliet@localhost/balcony")));
        } else {
            assert_eq!(condition(asked), "item-not-found");
        }
    }
}

/// S4-05: forgeries do not move the deadline; a late answer is ignored.
#[tokio::test(start_paused = true)]
async fn an_answer_has_its_time() {
    let router = server(&["juliet", "romeo"]).await;
    let mut juliet = Client::login(&router, "juliet", "balcony").await;
    let mut romeo = Client::login(&router, "romeo", "orchard").await;
    let begun = tokio::time::Instant::now();
    let mut id = String::new();
    let asked = ask(&router, "localhost", "juliet@localhost/balcony", async {
        id = attr(&juliet.one().await, "id").to_owned();
        for _ in 0..20 {
            romeo.send(&answer("result", &id, "localhost")).await;
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    });
    assert!(matches!(asked.await, Err(RequestError::Timeout)));
    assert_eq!(begun.elapsed().as_secs(), WITHIN.as_secs());
    assert_eq!(router.metrics().requests_unanswered.get(), 1);
    let ignored = router.metrics().answers_ignored.get();
    juliet.send(&answer("result", &id, "localhost")).await;
    assert_eq!(juliet.drain().await, [""; 0]);
    assert_eq!(router.metrics().answers_ignored.get(), ignored + 1);
}

/// Requests that cannot be delivered end at once, by name; the server's own handlers answer it too.
#[tokio::test(start_paused = true)]
async fn where_a_request_can_end() {
    let router = server_with(RouterConfig::default(), Store::memory(), &[THERE]).await;
    add(&router, &["juliet", "romeo"]).await;
    let nothing = async || {};
    let server = "localhost";
    let elsewhere = ask(&router, server, "capulet.example", nothing()).await;
    assert_eq!(condition(elsewhere), "remote-server-not-found");
    for nobody in ["nobody@localhost/x", "juliet@localhost/x"] {
        assert_eq!(condition(ask(&router, server, nobody, nothing()).await), "service-unavailable");
    }
    assert_eq!(condition(ask(&router, server, "juliet@localhost", nothing()).await), "service-unavailable");
    let result = ask(&router, "juliet@localhost", "LOCALHOST", nothing()).await.unwrap();
    assert!(result.child("here", "urn:test").is_some());

    // An account asks, and is not shown what it may not see.
    let mut romeo = Client::online(&router, "romeo", "orchard").await;
    let asked = ask(&router, "juliet@localhost", "romeo@localhost/orchard", nothing()).await;
    assert_eq!(condition(asked), "service-unavailable");
    romeo.send("<presence to='juliet@localhost'/>").await;
    let asked = ask(&router, "juliet@localhost", "romeo@localhost/orchard", async {
        let request = romeo.one().await;
        let (id, from) = (attr(&request, "id"), attr(&request, "from"));
        romeo.send(&answer("result", id, "localhost")).await;
        romeo.send(&answer("result", id, from)).await;
    });
    assert_eq!(asked.await.unwrap().to(), Some(&jid("juliet@localhost")));

    // Whoever goes without having taken it cannot answer.
    let asked = ask(&router, server, "romeo@localhost/orchard", async {
        tokio::task::yield_now().await;
        romeo.host.closed().await;
    });
    assert_eq!(condition(asked.await), "service-unavailable");
}

/// A silent client is asked, and given up only if it owes the answer.
#[tokio::test(start_paused = true)]
async fn a_silent_client_is_asked() {
    let router = server_with(RouterConfig::default(), Store::memory(), &[THERE]).await;
    add(&router, &["juliet", "romeo"]).await;
    let mut juliet = Client::login(&router, "juliet", "balcony").await;
    let mut romeo = Client::login(&router, "romeo", "orchard").await;
    for answered in [true, false, true] {
        juliet.host.event(Event::Quiet { within: WITHIN }).await;
        let request = juliet.one().await;
        assert!(request.contains("<there xmlns='urn:test'/>"), "{request}");
        let id = attr(&request, "id");
        romeo.send(&answer("result", id, "localhost")).await;
        if answered {
            juliet.send(&answer("result", id, "localhost")).await;
        }
        let before = juliet.unanswered;
        for _ in 0..40 {
            tokio::time::sleep(Duration::from_secs(1)).await;
            assert_eq!(juliet.drain().await, [""; 0]);
        }
        assert_eq!(juliet.unanswered - before, u32::from(!answered));
    }
    assert_eq!(romeo.drain().await, [""; 0]);
    // Nobody knows a question: nobody is asked, and nobody is given up.
    let router = server(&["juliet"]).await;
    let mut juliet = Client::login(&router, "juliet", "balcony").await;
    juliet.host.event(Event::Quiet { within: WITHIN }).await;
    tokio::time::sleep(WITHIN * 2).await;
    assert_eq!((juliet.drain().await.len(), juliet.unanswered), (0, 0));
}

/// Two extensions cannot both own the question to silent clients.
#[tokio::test]
async fn one_question_for_silent_clients() {
    let other = Extension { name: "other", plug: |host| host.probe(question()), ..THERE };
    let parts = nuncio_router::Parts {
        config: RouterConfig::default(),
        store: Store::memory(),
        entropy: Arc::new(nuncio_sansio::pair::Counter::default()),
        clock: Arc::new(nuncio_router::SystemClock),
        extensions: &[THERE, other],
    };
    let why = Router::start(parts).await.err().unwrap().to_string();
    assert!(why.contains("there") && why.contains("other") && why.contains("silent"), "{why}");
}
