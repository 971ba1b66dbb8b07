//! Presence between accounts of one server (RFC 6121 §4).

use nuncio_router::points::{Sees, Sight};
use nuncio_router::{ConfigError, Cx, Extension, Host, Limits, RouterConfig};
use nuncio_sansio::Host as _;
use nuncio_store::Store;
use nuncio_stream::c2s::{Answer, Moment, Question};

use crate::common::{Client, add, server, server_with};
use crate::talk::{befriend, presences as told};

/// RFC 6121 §4.2, §4.4, §4.5: contacts and own resources hear of it; a new resource learns who is there, it alone.
#[tokio::test(start_paused = true)]
async fn a_presence_session() {
    let router = server(&["juliet", "romeo", "nurse"]).await;
    let mut balcony = Client::online(&router, "juliet", "balcony").await;
    let mut orchard = Client::online(&router, "romeo", "orchard").await;
    let mut nurse = Client::online(&router, "nurse", "kitchen").await;
    befriend(&mut balcony, &mut orchard).await;

    // §4.2: initial presence of a second resource.
    let mut chamber = Client::login(&router, "juliet", "chamber").await;
    chamber
        .send("<presence id='p1'><show>away</show><priority>5</priority><x xmlns='urn:x'/></presence>")
        .await;
    let got = orchard.one().await;
    for part in [
        "from='juliet@localhost/chamber'",
        "to='romeo@localhost'",
        "id='p1'",
        "<show>away</show>",
        "<priority>5</priority>",
        "urn:x",
    ] {
        assert!(got.contains(part), "§4.2.2 the whole stanza, {part}: {got}");
    }
    assert_eq!(
        told(&mut balcony).await,
        ["available juliet@localhost/chamber"],
        "no contact is probed for it again"
    );
    assert_eq!(
        told(&mut chamber).await,
        [
            "available juliet@localhost/chamber",
            "available juliet@localhost/balcony",
            "available romeo@localhost/orchard"
        ]
    );
    // §4.4: an update, without probes.
    chamber.send("<presence><show>dnd</show></presence>").await;
    assert_eq!(told(&mut chamber).await, ["available juliet@localhost/chamber"]);
    assert_eq!(told(&mut balcony).await, ["available juliet@localhost/chamber"]);
    assert!(orchard.one().await.contains("<show>dnd</show>"));
    // §4.5: unavailable by its own word, with its content, to itself too.
    chamber.send("<presence type='unavailable'><status>gone</status></presence>").await;
    let got = orchard.one().await;
    assert!(got.contains("type='unavailable'") && got.contains("<status>gone</status>"), "{got}");
    assert_eq!(told(&mut balcony).await, ["unavailable juliet@localhost/chamber"]);
    assert_eq!(told(&mut chamber).await, ["unavailable juliet@localhost/chamber"]);
    // A second one is nobody's business.
    chamber.send("<presence type='unavailable'/>").await;
    assert!(told(&mut orchard).await.is_empty());
    // §4.5.2: presence afterwards is initial presence again.
    chamber.send("<presence/>").await;
    assert_eq!(told(&mut chamber).await.len(), 3);
    assert_eq!(told(&mut orchard).await, ["available juliet@localhost/chamber"]);
    // §4.5.2: a stream that ends is as good as the word.
    chamber.lose().await;
    assert_eq!(told(&mut orchard).await, ["unavailable juliet@localhost/chamber"]);
    assert_eq!(told(&mut balcony).await.last().unwrap(), "unavailable juliet@localhost/chamber");
    assert!(told(&mut nurse).await.is_empty(), "who has no subscription hears nothing of all this");
}

/// RFC 6121 §4.7.2.3: what is no priority is refused and changes nothing.
#[tokio::test(start_paused = true)]
async fn an_invalid_priority_is_refused() {
    let router = server(&["juliet"]).await;
    let mut juliet = Client::login(&router, "juliet", "balcony").await;
    juliet.send("<presence id='p'><priority>128</priority></presence>").await;
    let got = juliet.one().await;
    assert!(got.contains("type='error'") && got.contains("<bad-request") && got.contains("id='p'"), "{got}");
    juliet.send("<presence type='unavailable'/>").await;
    assert!(juliet.drain().await.is_empty(), "it did not become available");
}

/// RFC 6121 §4.3.2, §4.3.2.1, §4.6.6, §8.5.1: the table of probes and their answers.
#[tokio::test(start_paused = true)]
async fn answers_to_probes() {
    let router = server(&["juliet", "romeo", "nurse"]).await;
    let mut balcony = Client::login(&router, "juliet", "balcony").await;
    balcony.send("<presence id='pres1'><show>dnd</show></presence>").await;
    let mut chamber = Client::login(&router, "juliet", "chamber").await;
    chamber.send("<presence id='pres2'/>").await;
    let mut romeo = Client::online(&router, "romeo", "orchard").await;
    let mut nurse = Client::online(&router, "nurse", "kitchen").await;
    befriend(&mut balcony, &mut romeo).await;
    romeo.drain().await;
    // The connected resource "tomb" is not available, but has sent directed presence to the nurse.
    let mut tomb = Client::login(&router, "juliet", "tomb").await;
    tomb.send("<presence to='nurse@localhost'><status>hush</status></presence>").await;
    nurse.drain().await;

    let probe = |to: &str| format!("<presence type='probe' id='probe1' to='{to}'/>");
    // Rule 4: all of them, with their own ids and their whole content.
    romeo.send(&probe("juliet@localhost")).await;
    let got = romeo.drain().await;
    assert_eq!(got.len(), 2, "{got:#?}");
    assert!(
        got[0].contains("juliet@localhost/balcony")
            && got[0].contains("id='pres1'")
            && got[0].contains("<show>dnd"),
        "{got:#?}"
    );
    assert!(got[1].contains("juliet@localhost/chamber") && got[1].contains("id='pres2'"), "{got:#?}");
    // A full address: that it is there, nothing more.
    romeo.send(&probe("juliet@localhost/balcony")).await;
    let got = romeo.one().await;
    assert!(
        got.contains("from='juliet@localhost/balcony'") && !got.contains("type=") && !got.contains("<show"),
        "{got}"
    );
    for gone in ["juliet@localhost/tomb", "juliet@localhost/cellar"] {
        romeo.send(&probe(gone)).await;
        assert_eq!(told(&mut romeo).await, [format!("unavailable {gone}")]);
    }
    // Rule 1, for who has no subscription and for who does not exist: the same answer, mirrored id.
    for stranger in
        ["romeo@localhost", "romeo@localhost/orchard", "nobody@localhost", "nobody@localhost/there"]
    {
        nurse.send(&probe(stranger)).await;
        let got = nurse.drain().await;
        assert!(
            got.is_empty(),
            "a client has not asked for a subscription, so the answer is not for it (§A.3.4): {got:#?}"
        );
    }
    // §4.6.6: directed presence shows one resource, barely.
    nurse.send(&probe("juliet@localhost/tomb")).await;
    let got = nurse.one().await;
    assert!(got.contains("from='juliet@localhost/tomb'") && !got.contains("<status"), "{got}");
    nurse.send(&probe("juliet@localhost/balcony")).await;
    assert!(nurse.drain().await.is_empty());
    // An account's own.
    balcony.drain().await;
    balcony.send(&probe("juliet@localhost")).await;
    assert_eq!(told(&mut balcony).await.len(), 2);
    // Rule 3: nobody is there, since when.
    balcony.leave().await;
    chamber.leave().await;
    romeo.drain().await;
    romeo.send(&probe("juliet@localhost")).await;
    let got = romeo.one().await;
    for part in
        ["from='juliet@localhost'", "type='unavailable'", "id='probe1'", "stamp='2026-11-22T12:00:00.000Z'"]
    {
        assert!(got.contains(part), "{part}: {got}");
    }
}

/// RFC 6121 §4.3.2 rule 1: a probe for a subscription that does not exist any more is answered by its end.
#[tokio::test(start_paused = true)]
async fn a_probe_heals_a_one_sided_subscription() {
    let router = server(&["juliet", "romeo"]).await;
    let mut juliet = Client::online(&router, "juliet", "balcony").await;
    let mut romeo = Client::online(&router, "romeo", "orchard").await;
    befriend(&mut juliet, &mut romeo).await;
    juliet.leave().await;
    romeo.leave().await;
    router.delete_account(&crate::common::bare("juliet")).await.unwrap();
    add(&router, &["juliet"]).await;
    let mut romeo = Client::login(&router, "romeo", "orchard").await;
    romeo.send("<iq type='get' id='get'><query xmlns='jabber:iq:roster'/></iq>").await;
    assert!(romeo.one().await.contains("subscription='none'"));
}

/// RFC 6121 §4.6: who got directed presence is told of the end, and only of that; once.
#[tokio::test(start_paused = true)]
async fn directed_presence() {
    let router = server(&["juliet", "romeo", "nurse", "friar"]).await;
    let mut juliet = Client::login(&router, "juliet", "balcony").await;
    let mut romeo = Client::online(&router, "romeo", "orchard").await;
    let mut nurse = Client::online(&router, "nurse", "kitchen").await;
    let mut friar = Client::online(&router, "friar", "cell").await;
    befriend(&mut juliet, &mut romeo).await;
    // Case 3 of §4.6.3: before initial presence. The nurse gets it at her full address, the friar at his bare one.
    juliet.send("<presence to='nurse@localhost/kitchen'><status>psst</status></presence>").await;
    let got = nurse.one().await;
    assert!(got.contains("<status>psst") && got.contains("to='nurse@localhost/kitchen'"), "{got}");
    juliet.send("<presence/>").await;
    juliet.send("<presence to='friar@localhost'/>").await;
    juliet.send("<presence to='romeo@localhost'><show>chat</show></presence>").await;
    assert_eq!(told(&mut friar).await, ["available juliet@localhost/balcony"]);
    assert_eq!(told(&mut romeo).await.len(), 2, "the broadcast and the directed one");
    assert!(told(&mut nurse).await.is_empty(), "case 2: no broadcast");
    juliet.send("<presence><show>away</show></presence>").await;
    assert!(told(&mut nurse).await.is_empty() && told(&mut friar).await.is_empty());
    assert_eq!(told(&mut romeo).await.len(), 1);
    // The friar is told in time, so not at the end.
    juliet.send("<presence to='friar@localhost' type='unavailable'/>").await;
    assert_eq!(told(&mut friar).await, ["unavailable juliet@localhost/balcony"]);
    juliet.lose().await;
    assert_eq!(told(&mut nurse).await, ["unavailable juliet@localhost/balcony"]);
    assert_eq!(told(&mut romeo).await, ["unavailable juliet@localhost/balcony"], "once");
    assert!(told(&mut friar).await.is_empty());
}

/// RFC 6121 §4.6.1: whoever has gone is not told of the end; a session's directed presence is bounded.
#[tokio::test(start_paused = true)]
async fn directed_presence_is_forgotten_and_bounded() {
    let limits = Limits { directed: 1, ..Limits::default() };
    let router = server_with(RouterConfig { limits, ..RouterConfig::default() }, Store::memory(), &[]).await;
    add(&router, &["juliet", "nurse", "friar"]).await;
    let mut juliet = Client::online(&router, "juliet", "balcony").await;
    let mut nurse = Client::online(&router, "nurse", "kitchen").await;
    let mut friar = Client::online(&router, "friar", "cell").await;
    juliet.send("<presence to='nurse@localhost/kitchen'/>").await;
    juliet.send("<presence to='friar@localhost/cell'/>").await;
    assert!(juliet.one().await.contains("<resource-constraint"));
    assert!(told(&mut friar).await.is_empty());
    nurse.send("<presence to='juliet@localhost/balcony' type='unavailable'/>").await;
    juliet.drain().await;
    juliet.send("<presence to='friar@localhost/cell'/>").await;
    assert_eq!(told(&mut friar).await, ["available juliet@localhost/balcony"], "there is room again");
    nurse.drain().await;
    juliet.leave().await;
    assert!(told(&mut nurse).await.is_empty());
    assert_eq!(told(&mut friar).await, ["unavailable juliet@localhost/balcony"]);
}

/// RFC 6121 §4.6.1: a subscription takes precedence: when it ends, directed presence ends with it.
#[tokio::test(start_paused = true)]
async fn an_ended_subscription_takes_directed_presence_with_it() {
    let router = server(&["juliet", "romeo"]).await;
    let mut juliet = Client::login(&router, "juliet", "balcony").await;
    let mut romeo = Client::online(&router, "romeo", "orchard").await;
    juliet.send("<presence to='romeo@localhost/orchard'/>").await;
    juliet.send("<presence/>").await;
    befriend(&mut juliet, &mut romeo).await;
    juliet.send("<presence to='romeo@localhost' type='unsubscribed'/>").await;
    assert_eq!(
        told(&mut romeo).await,
        ["unavailable juliet@localhost/balcony"],
        "not interested in the roster, so no `unsubscribed`"
    );
    juliet.leave().await;
    assert!(told(&mut romeo).await.is_empty(), "it is told once");
}

/// RFC 6121 §8.5.2.1.2, §8.5.3: presence at bare and full addresses; errors find their way.
#[tokio::test(start_paused = true)]
async fn where_presence_arrives() {
    let router = server(&["juliet", "romeo"]).await;
    let mut balcony = Client::online(&router, "juliet", "balcony").await;
    let mut chamber = Client::login(&router, "juliet", "chamber").await;
    let mut romeo = Client::online(&router, "romeo", "orchard").await;
    romeo.send("<presence to='juliet@localhost'/>").await;
    assert_eq!((told(&mut balcony).await.len(), told(&mut chamber).await.len()), (1, 0), "to all available");
    romeo.send("<presence to='juliet@localhost/chamber'/>").await;
    assert_eq!(
        (told(&mut balcony).await.len(), told(&mut chamber).await.len()),
        (0, 1),
        "to the connected one"
    );
    for stanza in [
        "<presence to='juliet@localhost/cellar'/>",
        "<presence to='juliet@localhost/cellar' type='unavailable'/>",
    ] {
        romeo.send(stanza).await;
        assert!(romeo.drain().await.is_empty() && balcony.drain().await.is_empty(), "{stanza}");
    }
    romeo.send("<presence to='elsewhere.example'/>").await;
    assert!(romeo.one().await.contains("<remote-server-not-found"));
    romeo.send("<presence to='contact@elsewhere.example' type='subscribe'/>").await;
    assert!(romeo.one().await.contains("<remote-server-not-found"), "§3.1.2");
}

/// Invariant 14: whom [`Sees`] denies cannot tell, wherever it asks, whether anybody is there; a subscription stays as it is.
#[tokio::test(start_paused = true)]
async fn who_may_not_see_learns_nothing() {
    /// Romeo may not see Juliet, whatever her roster says.
    fn plug(host: &mut Host<'_>) -> Result<(), ConfigError> {
        host.judge::<Sees>(|_: &Cx<'_>, sight: &Sight<'_>| {
            sight.account.jid.as_str() != "juliet@localhost" || sight.asker.bare_str() != "romeo@localhost"
        });
        Ok(())
    }
    let hiding = Extension { name: "hiding", xeps: &[], needs: &[], default_on: true, plug };
    let asked = [
        "<presence type='probe' id='p' to='juliet@localhost'/>",
        "<presence type='probe' id='p' to='juliet@localhost/balcony'/>",
        "<iq type='get' id='q' to='juliet@localhost/balcony'><query xmlns='x'/></iq>",
        "<presence to='juliet@localhost'/>",
        "<presence to='juliet@localhost' type='subscribe'/>",
    ];
    let mut heard = Vec::new();
    for online in [true, false] {
        let router = server_with(RouterConfig::default(), Store::memory(), &[hiding]).await;
        add(&router, &["juliet", "romeo"]).await;
        let mut romeo = Client::login(&router, "romeo", "orchard").await;
        romeo.send("<iq type='get' id='get'><query xmlns='jabber:iq:roster'/></iq>").await;
        romeo.send("<presence/>").await;
        let mut juliet = Client::online(&router, "juliet", "balcony").await;
        befriend(&mut romeo, &mut juliet).await;
        if !online {
            juliet.leave().await;
        } else {
            juliet.send("<presence><show>away</show></presence>").await;
        }
        let mut told = Vec::new();
        for stanza in asked {
            romeo.send(stanza).await;
            told.push(romeo.drain().await);
        }
        assert!(told.iter().flatten().all(|stanza| !stanza.contains("<show")), "{told:#?}");
        heard.push(told);
        let roster = |step: &mut nuncio_router::Step<'_>| {
            step.account.roster.shares_with(&crate::common::bare("romeo"))
        };
        assert!(
            router.step(&crate::common::bare("juliet"), roster).await.unwrap().unwrap().value,
            "it is still a subscription"
        );
    }
    assert_eq!(heard[0], heard[1], "online and offline");
    assert!(
        heard[0][0][0].contains("type='unavailable'") && !heard[0][0][0].contains("<delay"),
        "{:?}",
        heard[0][0]
    );
}

/// RFC 6121 §2.6.1, §3.4: both features are offered once it is known who it is.
#[tokio::test(start_paused = true)]
async fn stream_features() {
    let router = server(&["juliet"]).await;
    for (who, expected) in
        [(None, false), (Some(crate::common::proven(&crate::common::bare("juliet"))), true)]
    {
        let mut client = Client::connect(&router, "juliet").await;
        let moment =
            Moment { domain: "localhost".to_owned(), authenticated: who, tls: nuncio_sansio::pair::facts() };
        let offered = match client.host.ask(Question::Offer(Box::new(moment))).await {
            Answer::Offer(offered) => offered,
            other => panic!("{other:?}"),
        };
        for (name, ns) in [("ver", "urn:xmpp:features:rosterver"), ("sub", "urn:xmpp:features:pre-approval")]
        {
            assert_eq!(
                offered.iter().any(|feature| feature.name() == name && feature.ns() == ns),
                expected,
                "{name}"
            );
        }
    }
}
