//! The roster between a server and its clients (RFC 6121 §2).

use nuncio_router::{Limits, RouterConfig};
use nuncio_store::Store;

use crate::common::{Client, add, bare, server, server_with};
use crate::talk::{GET, between, items};

fn set(item: &str) -> String {
    format!("<iq type='set' id='set'><query xmlns='jabber:iq:roster'>{item}</query></iq>")
}

/// RFC 6121 §2.1.4, §2.1.6, §2.2, §2.3, §2.4: results, pushes to the interested resources only, pushes with version and bare `from` or none.
#[tokio::test(start_paused = true)]
async fn sets_are_pushed_to_interested_resources() {
    let router = server(&["juliet"]).await;
    let mut balcony = Client::login(&router, "juliet", "balcony").await;
    let mut chamber = Client::login(&router, "juliet", "chamber").await;
    let mut tomb = Client::online(&router, "juliet", "tomb").await;
    for client in [&mut balcony, &mut chamber] {
        client.send(GET).await;
        let got = client.one().await;
        assert!(
            got.contains("type='result'") && got.contains("id='get'") && got.contains("ver='0'"),
            "{got}"
        );
        assert_eq!(items(&got), "", "an empty roster is an empty query");
    }
    balcony.send(&set("<item jid='nurse@localhost' name='Nurse'><group>Servants</group></item>")).await;
    let expected =
        "<item jid='nurse@localhost' subscription='none' name='Nurse'><group>Servants</group></item>";
    let got = balcony.drain().await;
    assert_eq!(got.len(), 2, "{got:#?}");
    assert!(got[0].contains("type='set'") && items(&got[0]) == expected, "{}", got[0]);
    assert!(
        got[1].contains("type='result'") && got[1].contains("id='set'") && !got[1].contains("<query"),
        "{}",
        got[1]
    );
    let other = chamber.one().await;
    assert_eq!(items(&other), expected);
    for push in [&got[0], &other] {
        assert!(push.contains("from='juliet@localhost'") && push.contains(" ver='"), "{push}");
    }
    assert_ne!(between(&got[0], " id='", "'"), between(&other, " id='", "'"));
    assert_eq!(tomb.drain().await, [] as [&str; 0], "it has not asked for the roster");
    // §2.4: the item is as the last set says.
    balcony.send(&set("<item jid='nurse@localhost'/>")).await;
    assert_eq!(items(&balcony.drain().await[0]), "<item jid='nurse@localhost' subscription='none'/>");
    // The reply to a push goes nowhere.
    chamber.drain().await;
    chamber.send("<iq type='result' id='x' to='juliet@localhost'/>").await;
    assert_eq!(balcony.drain().await, [] as [&str; 0]);
    tomb.send(GET).await;
    assert_eq!(items(&tomb.one().await), "<item jid='nurse@localhost' subscription='none'/>");
}

/// RFC 6121 §2.3.3, §2.5.3, §2.1.3: what is refused changes nothing.
#[tokio::test(start_paused = true)]
async fn error_cases() {
    let limits = Limits { roster_items: 2, ..Limits::default() };
    let config = RouterConfig { limits, ..RouterConfig::default() };
    let router = server_with(config, Store::memory(), &[]).await;
    add(&router, &["juliet", "romeo"]).await;
    let mut juliet = Client::login(&router, "juliet", "balcony").await;
    juliet.send(GET).await;
    juliet.send(&set("<item jid='nurse@localhost'/>")).await;
    juliet.send(&set("<item jid='friar@localhost'/>")).await;
    juliet.drain().await;
    juliet.send(GET).await;
    let before = juliet.one().await;
    let long = "x".repeat(2000);
    let to = |to: &str, kind: &str, item: &str| {
        format!("<iq to='{to}' type='{kind}' id='set'><query xmlns='jabber:iq:roster'>{item}</query></iq>")
    };
    let cases = [
        (to("romeo@localhost", "set", "<item jid='nurse@localhost'/>"), "auth", "forbidden"),
        (to("romeo@localhost", "get", ""), "auth", "forbidden"),
        (to("nobody@localhost", "set", "<item jid='nurse@localhost'/>"), "auth", "forbidden"),
        (set(""), "modify", "bad-request"),
        (set("<item jid='a@localhost'/><item jid='b@localhost'/>"), "modify", "bad-request"),
        (set("<item jid='nurse@localhost'><group>A</group><group>A</group></item>"), "modify", "bad-request"),
        (set(&format!("<item jid='nurse@localhost' name='{long}'/>")), "modify", "not-acceptable"),
        (set("<item jid='nurse@localhost'><group/></item>"), "modify", "not-acceptable"),
        (
            set(&format!("<item jid='nurse@localhost'><group>{long}</group></item>")),
            "modify",
            "not-acceptable",
        ),
        (set("<item jid='juliet@localhost'/>"), "cancel", "not-allowed"),
        (set("<item jid='unknown@localhost' subscription='remove'/>"), "modify", "item-not-found"),
        (set("<item jid='third@localhost'/>"), "cancel", "resource-constraint"),
        (to("juliet@localhost", "get", "<item jid='a@localhost'/>"), "modify", "bad-request"),
    ];
    for (stanza, kind, condition) in cases {
        juliet.send(&stanza).await;
        let got = juliet.one().await;
        let error = format!("<error type='{kind}'><{condition} ");
        assert!(got.contains(&error) && got.contains("id='set'"), "{stanza}: {got}");
    }
    juliet.send(GET).await;
    assert_eq!(juliet.one().await, before);
}

/// RFC 6121 §2.6, XEP-0237: nothing, the changes, or everything; the pushes come after the result.
#[tokio::test(start_paused = true)]
async fn versions() {
    let router = server(&["juliet"]).await;
    let mut juliet = Client::login(&router, "juliet", "balcony").await;
    for contact in ["a", "b", "c"] {
        juliet.send(&set(&format!("<item jid='{contact}@localhost'/>"))).await;
    }
    juliet.drain().await;
    juliet.send("<iq type='get' id='get'><query xmlns='jabber:iq:roster' ver=''/></iq>").await;
    let whole = juliet.one().await;
    let ver = between(&whole, " ver='", "'").to_owned();
    let get = format!("<iq type='get' id='get'><query xmlns='jabber:iq:roster' ver='{ver}'/></iq>");
    juliet.send(&get).await;
    let same = juliet.one().await;
    assert!(same.contains("type='result'") && !same.contains("<query"), "{same}");
    juliet.send(&set("<item jid='b@localhost' name='B'/>")).await;
    juliet.send(&set("<item jid='a@localhost' subscription='remove'/>")).await;
    let last = juliet.drain().await.iter().rfind(|got| got.contains("type='set'")).cloned().unwrap();
    juliet.leave().await;

    let mut again = Client::login(&router, "juliet", "balcony").await;
    again.send(&get).await;
    let got = again.drain().await;
    assert_eq!(got.len(), 3, "{got:#?}");
    assert!(got[0].contains("type='result'") && !got[0].contains("<query"), "{}", got[0]);
    assert_eq!(items(&got[1]), "<item jid='b@localhost' subscription='none' name='B'/>");
    assert_eq!(items(&got[2]), "<item jid='a@localhost' subscription='remove'/>");
    assert_eq!(between(&got[2], " ver='", "'"), between(&last, " ver='", "'"), "the version of the change");
    again
        .send("<iq type='get' id='get'><query xmlns='jabber:iq:roster' ver='of-another-server'/></iq>")
        .await;
    assert_eq!(items(&again.one().await).matches("<item").count(), 2);
}

/// A restart finds everything again: items, subscriptions, requests, versions. A result means that it is durable.
#[tokio::test(start_paused = true)]
async fn a_restart_finds_everything_again() {
    let store = Store::memory();
    let router = server_with(RouterConfig::default(), store.clone(), &[]).await;
    add(&router, &["juliet", "romeo", "nurse"]).await;
    let mut juliet = Client::online(&router, "juliet", "balcony").await;
    let mut romeo = Client::online(&router, "romeo", "orchard").await;
    juliet.send(&set("<item jid='romeo@localhost' name='R'><group>Friends</group></item>")).await;
    juliet.send("<presence to='romeo@localhost' type='subscribe'/>").await;
    romeo.send("<presence to='juliet@localhost' type='subscribed'/>").await;
    juliet
        .send("<presence to='nurse@localhost' type='subscribe' id='s1'><status>please</status><nick xmlns='http://jabber.org/protocol/nick'>J</nick></presence>")
        .await;
    juliet.send(GET).await;
    let before = juliet.drain().await.pop().unwrap();
    assert!(before.contains("subscription='to'") && before.contains("ask='subscribe'"), "{before}");
    drop((juliet, romeo, router));

    let router = server_with(RouterConfig::default(), store, &[]).await;
    let mut juliet = Client::login(&router, "juliet", "balcony").await;
    juliet.send(GET).await;
    assert_eq!(juliet.one().await, before);
    assert!(
        router
            .step(&bare("romeo"), |step| step.account.roster.shares_with(&bare("juliet")))
            .await
            .unwrap()
            .unwrap()
            .value
    );
    let mut nurse = Client::login(&router, "nurse", "kitchen").await;
    nurse.send(GET).await;
    assert_eq!(items(&nurse.one().await), "", "a request is no item (§3.1.3)");
    nurse.send("<presence/>").await;
    let got = nurse.drain().await;
    let request = got.iter().find(|got| got.contains("type='subscribe'")).unwrap();
    for part in ["from='juliet@localhost'", "id='s1'", "<status>please</status>", ">J</nick>"] {
        assert!(request.contains(part), "{part}: {request}");
    }
}
