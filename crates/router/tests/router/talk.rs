//! What clients say and are told of rosters, subscriptions and presence, in few words.
#![expect(clippy::unwrap_used, reason = "a helper of tests; clippy does not see that it is one")]

use std::sync::Arc;

use nuncio_router::Router;

use crate::common::Client;

/// A roster get.
pub(crate) const GET: &str = "<iq type='get' id='get'><query xmlns='jabber:iq:roster'/></iq>";

/// What a client gets, each stanza as a few words: `presence TYPE FROM`, `push JID SUBSCRIPTION [ask] [approved]`, `error CONDITION`.
pub(crate) async fn told(client: &mut Client) -> Vec<String> {
    client.drain().await.iter().map(|stanza| words(stanza)).collect()
}

fn attr<'a>(stanza: &'a str, name: &str) -> Option<&'a str> {
    let start = stanza.find(&format!(" {name}='"))? + name.len() + 3;
    stanza[start..].split('\'').next()
}

fn words(stanza: &str) -> String {
    let head = &stanza[..=stanza.find('>').unwrap()];
    if let Some(at) = stanza.find("<item ") {
        let item = &stanza[at..];
        let item = &item[..=item.find('>').unwrap()];
        let mut words =
            format!("push {} {}", attr(item, "jid").unwrap(), attr(item, "subscription").unwrap());
        words.push_str(if item.contains("ask='subscribe'") { " ask" } else { "" });
        words.push_str(if item.contains("approved='true'") { " approved" } else { "" });
        return words;
    }
    if head.contains("type='error'") {
        let error = &stanza[stanza.find("<error").unwrap()..];
        return format!("error {}", error.split('<').nth(2).unwrap().split(' ').next().unwrap());
    }
    let name = head[1..].split([' ', '/', '>']).next().unwrap();
    format!("{name} {} {}", attr(head, "type").unwrap_or("available"), attr(head, "from").unwrap_or("-"))
}

/// The presence that a client gets, each as `TYPE FROM`.
pub(crate) async fn presences(client: &mut Client) -> Vec<String> {
    let all = told(client).await;
    all.iter().filter_map(|told| told.strip_prefix("presence ")).map(str::to_owned).collect()
}

/// A client that is available and has asked for the roster.
pub(crate) async fn client(router: &Arc<Router>, local: &str, resource: &str) -> Client {
    let mut client = Client::login(router, local, resource).await;
    client.send(GET).await;
    client.send("<presence/>").await;
    client.drain().await;
    client
}

/// Two clients subscribe to each other.
pub(crate) async fn befriend(one: &mut Client, two: &mut Client) {
    let (a, b) = (one.account.clone(), two.account.clone());
    one.send(&format!("<presence to='{b}' type='subscribe'/>")).await;
    two.send(&format!("<presence to='{a}' type='subscribed'/>")).await;
    two.send(&format!("<presence to='{a}' type='subscribe'/>")).await;
    one.send(&format!("<presence to='{b}' type='subscribed'/>")).await;
    one.drain().await;
    two.drain().await;
}

/// The text between two others, without both.
pub(crate) fn between<'a>(text: &'a str, start: &str, end: &str) -> &'a str {
    let rest = &text[text.find(start).unwrap() + start.len()..];
    &rest[..rest.find(end).unwrap()]
}

/// The items of a roster result or push.
pub(crate) fn items(stanza: &str) -> &str {
    stanza.find("<item").map_or("", |from| &stanza[from..stanza.rfind("</query>").unwrap()])
}
