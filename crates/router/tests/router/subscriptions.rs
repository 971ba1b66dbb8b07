//! Subscriptions between two accounts of one server (RFC 6121 §3).

use nuncio_router::{Limits, RouterConfig};
use nuncio_store::Store;

use crate::common::{Client, add, server, server_with};
use crate::talk::{GET, befriend, client, told};

/// RFC 6121 §3.1, §3.2, §3.3: a whole life of a subscription, each step with what both sides are told, in order.
#[tokio::test(start_paused = true)]
async fn the_life_of_a_subscription() {
    let router = server(&["romeo", "juliet"]).await;
    let mut romeo = client(&router, "romeo", "orchard").await;
    let mut juliet = client(&router, "juliet", "balcony").await;
    let to_juliet = |kind: &str| format!("<presence to='juliet@localhost/balcony' type='{kind}' id='r'/>");
    let to_romeo = |kind: &str| format!("<presence to='romeo@localhost' type='{kind}' id='j'/>");

    // §3.1.2: a full address is read as the bare one, and `from` is the bare one.
    romeo.send(&to_juliet("subscribe")).await;
    assert_eq!(told(&mut romeo).await, ["push juliet@localhost none ask"]);
    assert_eq!(told(&mut juliet).await, ["presence subscribe romeo@localhost"], "no item for a request");
    // §A.3.1: the same request again is not delivered again.
    romeo.send(&to_juliet("subscribe")).await;
    assert!(told(&mut romeo).await.is_empty() && told(&mut juliet).await.is_empty());

    // §3.1.5, §3.1.6: approval, then push, then presence.
    juliet.send(&to_romeo("subscribed")).await;
    assert_eq!(told(&mut juliet).await, ["push romeo@localhost from"]);
    assert_eq!(
        told(&mut romeo).await,
        [
            "presence subscribed juliet@localhost",
            "push juliet@localhost to",
            "presence available juliet@localhost/balcony"
        ]
    );
    // §A.3.1 note 2: a request of somebody who has the subscription is granted by the server.
    romeo.send(&to_juliet("subscribe")).await;
    assert!(told(&mut juliet).await.is_empty());
    assert_eq!(told(&mut romeo).await, ["presence available juliet@localhost/balcony"]);

    // The other direction makes it mutual.
    juliet.send(&to_romeo("subscribe")).await;
    assert_eq!(told(&mut juliet).await, ["push romeo@localhost from ask"]);
    assert_eq!(told(&mut romeo).await, ["presence subscribe juliet@localhost"]);
    romeo.send(&to_juliet("subscribed")).await;
    assert_eq!(told(&mut romeo).await, ["push juliet@localhost both"]);
    assert_eq!(
        told(&mut juliet).await,
        [
            "presence subscribed romeo@localhost",
            "push romeo@localhost both",
            "presence available romeo@localhost/orchard"
        ]
    );

    // §3.2: Juliet withdraws her presence.
    juliet.send(&to_romeo("unsubscribed")).await;
    assert_eq!(told(&mut juliet).await, ["push romeo@localhost to"]);
    assert_eq!(
        told(&mut romeo).await,
        [
            "presence unavailable juliet@localhost/balcony",
            "presence unsubscribed juliet@localhost",
            "push juliet@localhost from"
        ]
    );
    // §3.3: Juliet has enough of Romeo's, too.
    juliet.send(&to_romeo("unsubscribe")).await;
    assert_eq!(
        told(&mut juliet).await,
        ["push romeo@localhost none", "presence unavailable romeo@localhost/orchard"],
        "the answer `unsubscribed` changes nothing any more and is not delivered (§A.3.4)"
    );
    assert_eq!(
        told(&mut romeo).await,
        ["presence unsubscribe juliet@localhost", "push juliet@localhost none"]
    );
}

/// RFC 6121 §2.5.2: whoever removes an item ends what there was, both ways.
#[tokio::test(start_paused = true)]
async fn a_removed_item_ends_its_subscriptions() {
    let router = server(&["romeo", "juliet"]).await;
    let mut romeo = client(&router, "romeo", "orchard").await;
    let mut juliet = client(&router, "juliet", "balcony").await;
    befriend(&mut romeo, &mut juliet).await;
    romeo
        .send("<iq type='set' id='set'><query xmlns='jabber:iq:roster'><item jid='juliet@localhost' subscription='remove'/></query></iq>")
        .await;
    assert_eq!(
        told(&mut romeo).await,
        [
            "push juliet@localhost remove",
            "presence unavailable juliet@localhost/balcony",
            "iq result romeo@localhost"
        ]
    );
    assert_eq!(
        told(&mut juliet).await,
        [
            "presence unavailable romeo@localhost/orchard",
            "presence unsubscribe romeo@localhost",
            "push romeo@localhost to",
            "presence unsubscribed romeo@localhost",
            "push romeo@localhost none"
        ]
    );
    // Nothing is heard of each other any more.
    romeo.send("<presence><show>away</show></presence>").await;
    assert!(told(&mut juliet).await.is_empty());
}

/// RFC 6121 §3.1.3: the complete request waits for an account with nobody there, once, and comes at each login until it is answered.
#[tokio::test(start_paused = true)]
async fn requests_wait_until_they_are_answered() {
    let router = server(&["romeo", "juliet"]).await;
    let mut romeo = client(&router, "romeo", "orchard").await;
    for number in 0..3 {
        romeo.send(&format!("<presence to='juliet@localhost' type='subscribe' id='{number}'><status>{number}</status></presence>")).await;
    }
    romeo.drain().await;
    for _ in 0..2 {
        let mut juliet = Client::login(&router, "juliet", "balcony").await;
        juliet.send(GET).await;
        assert!(!juliet.one().await.contains("<item"));
        assert!(juliet.drain().await.is_empty(), "not before it is available");
        juliet.send("<presence><priority>-1</priority></presence>").await;
        let got = juliet.drain().await;
        let requests: Vec<_> = got.iter().filter(|got| got.contains("type='subscribe'")).collect();
        assert_eq!(requests.len(), 1, "{got:#?}");
        assert!(
            requests[0].contains("<status>0</status>") && requests[0].contains("id='0'"),
            "{}",
            requests[0]
        );
        juliet.send("<presence><show>away</show></presence>").await;
        assert!(
            !told(&mut juliet).await.iter().any(|got| got.contains("subscribe")),
            "an update is no login"
        );
        juliet.leave().await;
    }
    let mut juliet = client(&router, "juliet", "balcony").await;
    juliet.send("<presence to='romeo@localhost' type='unsubscribed'/>").await;
    assert!(told(&mut juliet).await.is_empty(), "what was never in the roster is not pushed");
    assert_eq!(
        told(&mut romeo).await,
        ["presence unsubscribed juliet@localhost", "push juliet@localhost none"]
    );
    juliet.leave().await;
    let mut juliet = Client::login(&router, "juliet", "balcony").await;
    juliet.send("<presence/>").await;
    assert_eq!(told(&mut juliet).await, ["presence available juliet@localhost/balcony"]);
}

/// RFC 6121 §3.4: approved before it is asked for; taken back.
#[tokio::test(start_paused = true)]
async fn approved_before_it_is_asked_for() {
    let router = server(&["romeo", "juliet", "nurse"]).await;
    let mut juliet = client(&router, "juliet", "balcony").await;
    let mut romeo = client(&router, "romeo", "orchard").await;
    juliet.send("<presence to='romeo@localhost' type='subscribed'/>").await;
    assert_eq!(told(&mut juliet).await, ["push romeo@localhost none approved"]);
    assert!(told(&mut romeo).await.is_empty(), "it is not routed");
    juliet.send("<presence to='romeo@localhost' type='unsubscribed'/>").await;
    assert_eq!(told(&mut juliet).await, ["push romeo@localhost none"]);
    assert!(told(&mut romeo).await.is_empty());
    juliet.send("<presence to='romeo@localhost' type='subscribed'/>").await;
    told(&mut juliet).await;
    romeo.send("<presence to='juliet@localhost' type='subscribe'/>").await;
    assert_eq!(told(&mut juliet).await, ["push romeo@localhost from"]);
    assert_eq!(
        told(&mut romeo).await,
        [
            "push juliet@localhost none ask",
            "presence subscribed juliet@localhost",
            "push juliet@localhost to",
            "presence available juliet@localhost/balcony"
        ]
    );
}

/// Limits: items, waiting requests; and an account is not its own contact.
#[tokio::test(start_paused = true)]
async fn limits_hold_for_subscriptions() {
    let limits = Limits { roster_items: 1, subscription_requests: 1, ..Limits::default() };
    let router = server_with(RouterConfig { limits, ..RouterConfig::default() }, Store::memory(), &[]).await;
    add(&router, &["romeo", "juliet", "nurse", "friar"]).await;
    let mut romeo = client(&router, "romeo", "orchard").await;
    let mut nurse = client(&router, "nurse", "kitchen").await;
    romeo.send("<presence to='juliet@localhost' type='subscribe'/>").await;
    assert_eq!(told(&mut romeo).await, ["push juliet@localhost none ask"]);
    romeo.send("<presence to='nurse@localhost' type='subscribe'/>").await;
    assert_eq!(told(&mut romeo).await, ["error resource-constraint"]);
    romeo.send("<presence to='romeo@localhost' type='subscribe'/>").await;
    assert_eq!(told(&mut romeo).await, ["error not-allowed"]);
    romeo.send("<presence type='subscribe'/>").await;
    assert_eq!(told(&mut romeo).await, ["error bad-request"]);
    assert!(told(&mut nurse).await.is_empty());
    nurse.send("<presence to='juliet@localhost' type='subscribe'/>").await;
    let mut juliet = Client::login(&router, "juliet", "balcony").await;
    juliet.send("<presence/>").await;
    assert_eq!(
        told(&mut juliet).await,
        ["presence available juliet@localhost/balcony", "presence subscribe romeo@localhost"]
    );
    assert_eq!(router.metrics().requests_full.get(), 1);
    // A request that is too large is kept without its content.
    let mut friar = client(&router, "friar", "cell").await;
    juliet.send("<presence to='romeo@localhost' type='unsubscribed'/>").await;
    juliet.leave().await;
    friar
        .send(&format!(
            "<presence to='juliet@localhost' type='subscribe'><status>{}</status></presence>",
            "x".repeat(9000)
        ))
        .await;
    let mut juliet = Client::login(&router, "juliet", "balcony").await;
    juliet.send("<presence/>").await;
    let got = juliet.drain().await.pop().unwrap();
    assert!(got.contains("type='subscribe'") && got.contains("friar@localhost") && got.len() < 200, "{got}");
}

/// RFC 6121 §2.5.2 for each contact of an account that is deleted.
#[tokio::test(start_paused = true)]
async fn contacts_of_a_deleted_account_are_told() {
    let router = server(&["romeo", "juliet", "nurse"]).await;
    let mut romeo = client(&router, "romeo", "orchard").await;
    let mut nurse = client(&router, "nurse", "kitchen").await;
    let mut juliet = client(&router, "juliet", "balcony").await;
    befriend(&mut romeo, &mut juliet).await;
    nurse.send("<presence to='juliet@localhost' type='subscribe'/>").await;
    nurse.drain().await;
    router.delete_account(&crate::common::bare("juliet")).await.unwrap();
    assert_eq!(
        told(&mut romeo).await,
        [
            "presence unavailable juliet@localhost/balcony",
            "presence unsubscribe juliet@localhost",
            "push juliet@localhost to",
            "presence unsubscribed juliet@localhost",
            "push juliet@localhost none"
        ]
    );
    assert_eq!(
        told(&mut nurse).await,
        ["presence unsubscribed juliet@localhost", "push juliet@localhost none"]
    );
}
