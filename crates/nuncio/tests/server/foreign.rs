//! A client library that shares no code with ours: tokio-xmpp, with its own parser, SASL and TLS configuration.

use std::process::{Command, Stdio};

use futures_util::StreamExt as _;
use tokio_xmpp::connect::DnsConfig;
use tokio_xmpp::parsers::jid::{BareJid, Jid};
use tokio_xmpp::parsers::message::{Lang, Message};
use tokio_xmpp::parsers::presence::Presence;
use tokio_xmpp::stanzastream::StanzaStage;
use tokio_xmpp::{Client, Event, Stanza, xmlstream::Timeouts};

use crate::harness::{PASSWORD, PATIENCE, Place, bodies, chat, online};

/// What the child is to do: its address, the server's address.
const PART: &str = "NUNCIO_TEST_FOREIGN";

/// tokio-xmpp trusts what the system trusts, which the environment says: so it runs in a process of its own, this same test.
/// On one thread: with several, tokio-xmpp 6.0.0 now and then gives its user nothing of what it has received and acknowledged.
#[tokio::test]
async fn tokio_xmpp_logs_in_and_answers() {
    if let Ok(part) = std::env::var(PART) {
        let (jid, server) = part.split_once(' ').unwrap();
        tokio::time::timeout(PATIENCE, echo(jid, server)).await.unwrap();
        return;
    }
    let place = Place::new(&[]);
    let server = place.serve();
    place.accounts(&["juliet", "romeo"]);
    let mut juliet = online(server.client("juliet")).await;
    // Sent before he is there: he gets it as an offline message, and answers it.
    for body in ["good morrow", "adieu"] {
        juliet.send(&chat("romeo@localhost", body)).await.unwrap();
    }
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["foreign::tokio_xmpp_logs_in_and_answers", "--exact", "--nocapture"])
        .env(PART, format!("romeo@localhost {}", server.c2s))
        .env("SSL_CERT_FILE", &server.authority)
        .env_remove("SSL_CERT_DIR")
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    assert_eq!(bodies(&mut juliet, 2).await, ["good morrow, too", "adieu, too"]);
    assert!(tokio::task::spawn_blocking(move || child.wait()).await.unwrap().unwrap().success());
}

/// Answers every message until one says adieu.
async fn echo(jid: &str, server: &str) {
    drop(tokio_xmpp::rustls::crypto::aws_lc_rs::default_provider().install_default());
    let jid: BareJid = jid.parse().unwrap();
    let mut client = Client::new_starttls(jid, PASSWORD, DnsConfig::addr(server), Timeouts::default());
    while let Some(event) = client.next().await {
        match event {
            Event::Online { .. } => {
                client.send_stanza(Presence::available().into()).await.unwrap();
            }
            Event::Stanza(Stanza::Message(message)) => {
                let Some(body) = message.bodies.values().next() else {
                    continue;
                };
                let to: Jid = message.from.clone().unwrap();
                let reply = Message::chat(to).with_body(Lang::default(), format!("{body}, too"));
                let mut sent = client.send_stanza(reply.into()).await.unwrap();
                if body == "adieu" {
                    // What is only written may be lost with the process.
                    sent.wait_for(StanzaStage::Acked).await.unwrap();
                    break;
                }
            }
            Event::Stanza(_) => {}
            Event::Disconnected(error) => panic!("{error}"),
        }
    }
    client.send_end().await.unwrap();
}
