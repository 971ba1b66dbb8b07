//! Forged answers over real sockets (draft-alkemade-xmpp-iq-validation): the attackers know every id, and it gains them nothing.

use futures_util::FutureExt as _;
use nuncio_client::{Event, Session};
use nuncio_xmpp::jid::Jid;
use nuncio_xmpp::ns;
use nuncio_xmpp::stanza::{IqType, Kind, PresenceType, Stanza, iq, presence};
use nuncio_xmpp::xml::Builder;

use crate::harness::{Place, connect, disconnected, online, ping, until, wait};
use crate::raw::Raw;

const MANY: usize = 60;

fn jid(text: &str) -> Jid {
    Jid::new(text).unwrap()
}

fn question() -> Builder {
    Builder::new("question", "urn:test")
}

/// A result or error with this id, as a client would send it: without `from`.
fn answer(kind: IqType, id: &str, to: &str, payload: &str) -> Stanza {
    let answer = iq(kind, id).to(jid(to));
    match kind {
        IqType::Error => {
            let condition = Builder::new("item-not-found", ns::STANZAS);
            answer.child(Builder::new("error", ns::CLIENT).attr("type", "cancel").child(condition)).build()
        }
        _ => answer.child(Builder::new("answer", "urn:test").text(payload)).build(),
    }
}

/// What came to a session and was no answer to its own requests, up to now.
async fn heard(session: &mut Session) -> Vec<Stanza> {
    // The answer to this comes last, so whatever the server had to say before is here.
    ping(session).await;
    let mut all = Vec::new();
    while let Some(event) = session.next().now_or_never() {
        match event.expect("the session goes on") {
            Event::Stanza(stanza) if !matches!(stanza.kind(), Kind::Presence(_)) => all.push(stanza),
            Event::Disconnected(end) => panic!("{:?}", end.why),
            _ => {}
        }
    }
    all
}

/// S4-04 to S4-06, S4-11: results and errors for all pending ids of a victim, from a stranger, a contact, another resource of the true
/// peer, and another resource of the victim: all true answers arrive, all forged ones vanish, nothing is sent back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_forged_answers() {
    let place = Place::new(&["limits.stanzas_per_second = 100000"]);
    let server = place.serve();
    place.accounts(&["juliet", "romeo", "nurse", "mallory"]);
    let with = |name: &str, resource: &str| {
        let mut config = server.client(name);
        config.resource = Some(resource.to_owned());
        config
    };
    let mut juliet = online(with("juliet", "balcony")).await;
    let mut romeo = online(with("romeo", "orchard")).await;
    romeo.send(&presence(PresenceType::Available).to(jid("juliet@localhost")).build()).await.unwrap();
    ping(&mut romeo).await;

    // RFC 7622: however the addressee is written, it is the same.
    let spellings =
        ["romeo@localhost/orchard", "Romeo@LocalHost/orchard", "\u{ff32}OMEO@\u{ff2c}ocalhost/orchard"];
    let sender = juliet.sender();
    let asked: Vec<_> = (0..MANY)
        .map(|number| {
            let (sender, to) = (sender.clone(), jid(spellings[number % spellings.len()]));
            tokio::spawn(async move {
                let question = question().attr("number", number);
                let answer = sender.get(Some(&to), question).await.expect("the true answer");
                let said = answer.child("answer", "urn:test").expect("what romeo said");
                (number, said.text().into_owned())
            })
        })
        .collect();
    let mut questions = Vec::new();
    while questions.len() < MANY {
        questions.push(
            wait(&mut romeo, |event| match event {
                Event::Stanza(stanza) if stanza.child("question", "urn:test").is_some() => Some(stanza),
                _ => None,
            })
            .await,
        );
    }

    let attackers = [
        with("mallory", "orchard"),
        with("nurse", "kitchen"),
        with("romeo", "Orchard"),
        with("romeo", "tomb"),
        with("juliet", "tomb"),
    ];
    let victims = ["juliet@localhost/balcony", "JULIET@LocalHost/balcony"];
    let elsewhere = ["juliet@localhost", "juliet@localhost/Balcony", "localhost", "romeo@localhost"];
    let mut forged = 0;
    for config in attackers {
        let mut attacker = online(config).await;
        heard(&mut attacker).await;
        for question in &questions {
            for kind in [IqType::Result, IqType::Error] {
                for to in victims.iter().chain(&elsewhere) {
                    attacker.send(&answer(kind, question.id().unwrap(), to, "forged")).await.unwrap();
                }
                forged += victims.len() as u64;
            }
        }
        assert!(heard(&mut attacker).await.is_empty(), "nothing is sent back");
        attacker.close().await;
    }
    // S4-11: whoever writes the true peer's address is found out, and it reaches nobody.
    let mut liar = connect(with("mallory", "liar")).await;
    let mut lie = answer(IqType::Result, questions[0].id().unwrap(), victims[0], "forged");
    lie.set_from(Some(jid("romeo@localhost/orchard")));
    liar.send(&lie).await.unwrap();
    let end = disconnected(&mut liar).await;
    assert!(format!("{:?}", end.why).contains("InvalidFrom"), "{:?}", end.why);

    for question in &questions {
        let number = question.child("question", "urn:test").unwrap().attr("number").unwrap().into_owned();
        romeo.send(&answer(IqType::Result, question.id().unwrap(), victims[1], &number)).await.unwrap();
    }
    for task in asked {
        let (number, said) = task.await.unwrap();
        assert_eq!(said, number.to_string(), "each its own answer");
    }
    assert_eq!(sender.ignored(), forged, "every forgery came, and was ignored");
    assert!(heard(&mut juliet).await.is_empty(), "and the application saw none");
    assert!(heard(&mut romeo).await.is_empty());
    assert!(server.metric("nuncio_answers_ignored_total") >= (MANY * 2 * 5) as f64);
}

/// S4-07: the server pings silent clients (XEP-0199 §4.1). Answers in their place, with the right id, do not keep a dead one alive; those who
/// answer, or say anything, stay.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_answers_the_server_in_anothers_place() {
    let place = Place::new(&["timeouts.idle_seconds = 4"]);
    let server = place.serve();
    place.accounts(&["juliet", "mallory"]);
    let mut mallory = online(server.client("mallory")).await;
    let mut sibling = online(server.client("juliet")).await;
    let mut dead = Raw::login(&server, "dead").await;
    let mut alive = Raw::login(&server, "alive").await;
    let mut grunts = Raw::login(&server, "grunts").await;
    let pinged = async |raw: &mut Raw, resource: &str| {
        let ping = raw.until("</iq>").await;
        let ping = ping.trim_start();
        for part in [
            "type='get'",
            "from='localhost'",
            "<ping xmlns='urn:xmpp:ping'",
            &format!("to='juliet@localhost/{resource}'"),
        ] {
            assert!(ping.contains(part), "{part}: {ping}");
        }
        ping.split_once(" id='").unwrap().1.split('\'').next().unwrap().to_owned()
    };
    let lost = pinged(&mut dead, "dead").await;
    for attacker in [&mut mallory, &mut sibling] {
        heard(attacker).await;
        for kind in [IqType::Result, IqType::Error] {
            for to in
                ["localhost", "LocalHost", "juliet@localhost", "juliet@localhost/dead", "mallory@localhost"]
            {
                attacker.send(&answer(kind, &lost, to, "forged")).await.unwrap();
            }
        }
        assert!(heard(attacker).await.is_empty(), "nothing is sent back");
    }
    let answered = pinged(&mut alive, "alive").await;
    assert_ne!(answered, lost);
    alive.say(&format!("<iq type='result' id='{answered}' to='localhost'/>"));
    pinged(&mut grunts, "grunts").await;
    grunts.say(" ");
    // The forged answers do reach the dead one's stream, as any stanza to it does: that is what `said` may hold before the end.
    let (said, _) = dead.end().await;
    assert!(said.contains("<connection-timeout "), "{said}");
    for (raw, resource) in [(&mut alive, "alive"), (&mut grunts, "grunts")] {
        assert_ne!(pinged(raw, resource).await, answered, "still there, and asked anew");
    }
    assert!(server.metric("nuncio_answers_ignored_total") >= 8.0, "forgeries to the server are counted");
    // The dead one's request, and that of him who only grunts, which costs him nothing.
    until("both are counted", || server.metric("nuncio_requests_unanswered_total") >= 2.0).await;
}
