//! Requests and their answers, and requests that only the own server may make: S4-03 to S4-10.

use std::collections::HashSet;
use std::time::Duration;

use nuncio_client::{ClientConfig, Event, RequestError, Start};
use nuncio_xmpp::error::Condition;
use nuncio_xmpp::jid::Jid;
use nuncio_xmpp::ns;
use nuncio_xmpp::stanza::{IqType, Kind, MessageType, Stanza, iq, message};
use nuncio_xmpp::xml::Builder;

use crate::fake::{Certificates, Fake, config, connect, until, wait};

fn ping() -> Builder {
    Builder::new("ping", ns::PING)
}

fn answer(to: &Stanza, from: Option<&str>, kind: IqType) -> Stanza {
    let answer = iq(kind, to.id().unwrap()).from(from.map(|from| Jid::new(from).unwrap()));
    match kind {
        IqType::Error => {
            let condition = Builder::new("item-not-found", ns::STANZAS);
            answer.child(Builder::new("error", ns::CLIENT).attr("type", "cancel").child(condition)).build()
        }
        _ => answer.build(),
    }
}

/// S4-04, S4-05, S4-09: forged answers that come before the true one are ignored, and nothing is sent back.
#[tokio::test]
async fn forged_answers_are_ignored() {
    let certificates = Certificates::new();
    let server = Fake::start(certificates.hosts("good.example"), Start::Tcp).await;
    server.react(|stanza| {
        if !matches!(stanza.kind(), Kind::Iq(IqType::Get)) {
            return Vec::new();
        }
        let forgers =
            [None, Some("mallory@good.example"), Some("contact@x.example/other"), Some("x.example")];
        let mut answers: Vec<_> = forgers
            .iter()
            .flat_map(|from| [IqType::Result, IqType::Error].map(|kind| answer(stanza, *from, kind)))
            .collect();
        let to = stanza.to().map(Jid::as_str).unwrap();
        answers.push(answer(stanza, Some(to), IqType::Result));
        answers
    });
    let mut session = connect(config(&certificates, server.address)).await;
    let contact = Jid::new("Contact@X.example").unwrap();
    let rounds = 20;
    for _ in 0..rounds {
        let result = session.get(Some(&contact), ping()).await.expect("the true answer");
        assert_eq!(result.from().unwrap().as_str(), "contact@x.example");
    }
    assert_eq!(session.sender().ignored(), rounds * 8);
    session.send(&message(MessageType::Chat).body("after").build()).await.unwrap();
    until(|| server.bodies() == ["after"]).await;
    let world = server.world.lock().unwrap();
    assert_eq!(world.received.len() as u64, rounds + 1, "a forgery was answered");
    let ids: HashSet<_> = world.received.iter().filter_map(|stanza| stanza.id()).collect();
    assert_eq!(ids.len() as u64, rounds);
}

/// Errors, silence, too many, and requests of the server that want an answer.
#[tokio::test]
async fn other_ends_of_a_request() {
    let certificates = Certificates::new();
    let server = Fake::start(certificates.hosts("good.example"), Start::Tcp).await;
    server.react(|stanza| {
        if stanza.to().is_some_and(|to| to.local() == Some("silent")) {
            return Vec::new();
        }
        vec![answer(stanza, stanza.to().map(Jid::as_str), IqType::Error)]
    });
    let settings = ClientConfig {
        request_timeout: Duration::from_millis(100),
        requests: 1,
        ..config(&certificates, server.address)
    };
    let mut session = connect(settings).await;
    match session.set(None, ping()).await {
        Err(RequestError::Refused(error)) => assert_eq!(error.condition, Condition::ItemNotFound),
        other => panic!("{other:?}"),
    }
    let silent = Jid::new("silent@x.example").unwrap();
    assert!(matches!(session.get(Some(&silent), ping()).await, Err(RequestError::Timeout)));
    let sender = session.sender();
    let (one, other) = tokio::join!(sender.get(Some(&silent), ping()), sender.get(Some(&silent), ping()));
    assert!(matches!(one, Err(RequestError::Timeout)) && matches!(other, Err(RequestError::TooMany)));

    server.push(&iq(IqType::Get, "theirs").child(ping()).build());
    let theirs = wait(&mut session, |event| match event {
        Event::Stanza(stanza) => Some(stanza),
        _ => None,
    })
    .await;
    session.send(&theirs.result(None)).await.unwrap();
    let answered = || {
        let world = server.world.lock().unwrap();
        world
            .received
            .iter()
            .any(|stanza| stanza.id() == Some("theirs") && matches!(stanza.kind(), Kind::Iq(IqType::Result)))
    };
    until(answered).await;
}

/// S4-10: roster pushes, block list pushes and carbons reach the application only if they come from the own account; nothing is sent back.
#[tokio::test]
async fn forged_pushes_and_carbons_are_ignored() {
    let certificates = Certificates::new();
    let server = Fake::start(certificates.hosts("good.example"), Start::Tcp).await;
    let mut session = connect(config(&certificates, server.address)).await;
    let account = session.jid().unwrap().bare().to_jid();
    let item = || Builder::new("item", ns::ROSTER).attr("jid", "mallory@x.example");
    let said = |from: Option<Jid>, id: &str| {
        let inner = Builder::new("message", ns::CLIENT).child(Builder::new("body", ns::CLIENT).text("buy"));
        let forwarded = Builder::new("forwarded", ns::FORWARD).child(inner);
        [
            iq(IqType::Set, id).child(Builder::new("query", ns::ROSTER).child(item())).from(from.clone()),
            iq(IqType::Set, id).child(Builder::new("unblock", ns::BLOCKING)).from(from.clone()),
            message(MessageType::Chat)
                .id(id)
                .child(Builder::new("received", ns::CARBONS).child(forwarded))
                .from(from),
        ]
        .map(|stanza| stanza.build())
    };
    let full = session.jid().cloned();
    let strangers = [
        Some(Jid::new("mallory@x.example/r").unwrap()),
        Some(account.clone()).map(|own| Jid::new(own.domain()).unwrap()),
        full,
    ];
    for from in strangers {
        said(from, "forged").iter().for_each(|stanza| server.push(stanza));
    }
    for from in [None, Some(account)] {
        said(from, "true").iter().for_each(|stanza| server.push(stanza));
    }
    for _ in 0..6 {
        let stanza = wait(&mut session, |event| match event {
            Event::Stanza(stanza) => Some(stanza),
            _ => None,
        })
        .await;
        assert_eq!(stanza.id(), Some("true"));
    }
    assert_eq!(session.sender().ignored(), 9);
    session.send(&message(MessageType::Chat).body("after").build()).await.unwrap();
    until(|| server.bodies() == ["after"]).await;
    assert_eq!(server.world.lock().unwrap().received.len(), 1, "a forgery was answered");
}
