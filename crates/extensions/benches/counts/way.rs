//! The way of a stanza: from the sender's session to what its recipients' connections are given.

use crate::client::{Client, alone, server, stanza};
use crate::words::chat;

const ROMEO: &str = "romeo@shakespeare.example/orchard";
/// Contacts in the broadcast.
const CONTACTS: u32 = 100;

/// From session to session, past both streams.
fn route(times: u64, managed: bool) {
    alone(async {
        let router = server().await;
        let mut juliet = Client::login(&router, "juliet", "balcony", managed).await;
        let mut romeo = Client::login(&router, "romeo", "orchard", managed).await;
        let message = stanza(&chat(ROMEO));
        for _ in 0..times {
            juliet.submit(message.clone()).await;
            assert_eq!(romeo.take().await, 1);
            assert_eq!(juliet.take().await, 0);
        }
    });
}

pub(crate) fn message(times: u64) {
    route(times, false);
}

pub(crate) fn managed(times: u64) {
    route(times, true);
}

/// Each of the two has a second session that gets a copy.
pub(crate) fn carbons(times: u64) {
    alone(async {
        let router = server().await;
        let mut all = Vec::new();
        for (local, resource) in
            [("juliet", "balcony"), ("juliet", "chamber"), ("romeo", "orchard"), ("romeo", "garden")]
        {
            let mut client = Client::login(&router, local, resource, false).await;
            client.submit(stanza("<iq type='set' id='c'><enable xmlns='urn:xmpp:carbons:2'/></iq>")).await;
            client.take().await;
            all.push(client);
        }
        for client in &mut all {
            client.take().await;
        }
        let message = stanza(&chat(ROMEO));
        for _ in 0..times {
            if let Some(juliet) = all.first_mut() {
                juliet.submit(message.clone()).await;
            }
            let mut taken = 0;
            for client in &mut all {
                taken += client.take().await;
            }
            assert_eq!(taken, 3);
        }
    });
}

/// RFC 6121 §8.5.2.1.1: a message to the bare address goes to every session that is available.
pub(crate) fn ten(times: u64) {
    alone(async {
        let router = server().await;
        let mut juliet = Client::login(&router, "juliet", "balcony", false).await;
        let mut romeo = Vec::new();
        for n in 0..10 {
            romeo.push(Client::login(&router, "romeo", &format!("orchard{n}"), false).await);
        }
        for client in &mut romeo {
            client.take().await;
        }
        let message = stanza(&chat("romeo@shakespeare.example"));
        for _ in 0..times {
            juliet.submit(message.clone()).await;
            let mut taken = 0;
            for client in &mut romeo {
                taken += client.take().await;
            }
            assert_eq!(taken, 10);
            assert_eq!(juliet.take().await, 0);
        }
    });
}

pub(crate) fn ping(times: u64) {
    alone(async {
        let mut juliet = Client::login(&server().await, "juliet", "balcony", false).await;
        let ping =
            stanza("<iq type='get' to='shakespeare.example' id='p'><ping xmlns='urn:xmpp:ping'/></iq>");
        for _ in 0..times {
            juliet.submit(ping.clone()).await;
            assert_eq!(juliet.take().await, 1);
        }
    });
}

pub(crate) fn presence(times: u64) {
    alone(async {
        let router = server().await;
        let mut romeo = Client::login(&router, "romeo", "orchard", false).await;
        let mut contacts = Vec::new();
        for n in 0..CONTACTS {
            let mut contact = Client::login(&router, &format!("contact{n}"), "phone", false).await;
            contact.submit(stanza("<presence type='subscribe' to='romeo@shakespeare.example'/>")).await;
            let approval = format!("<presence type='subscribed' to='contact{n}@shakespeare.example'/>");
            romeo.submit(stanza(&approval)).await;
            contacts.push(contact);
        }
        romeo.take().await;
        for contact in &mut contacts {
            contact.take().await;
        }
        let away = stanza("<presence><show>away</show></presence>");
        let back = stanza("<presence><priority>1</priority></presence>");
        for round in 0..times {
            romeo.submit(if round % 2 == 0 { away.clone() } else { back.clone() }).await;
            let mut taken = 0;
            for contact in &mut contacts {
                taken += contact.take().await;
            }
            assert_eq!(taken, CONTACTS);
            romeo.take().await;
        }
    });
}

/// From bytes to bytes: what a message costs a server beside sockets and TLS.
fn through(times: u64, managed: bool) {
    alone(async {
        let router = server().await;
        let mut juliet = Client::login(&router, "juliet", "balcony", managed).await;
        let mut romeo = Client::login(&router, "romeo", "orchard", managed).await;
        let message = chat(ROMEO);
        for _ in 0..times {
            juliet.receive(message.as_bytes()).await;
            assert_eq!(romeo.turn().await, 1);
            assert_eq!(juliet.turn().await, 0);
        }
    });
}

pub(crate) fn whole(times: u64) {
    through(times, false);
}

pub(crate) fn whole_managed(times: u64) {
    through(times, true);
}
