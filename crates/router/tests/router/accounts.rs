//! Accounts, logins and the operators' commands.

use std::sync::Arc;

use crate::common::{Client, add, bare, server, server_with};
use nuncio_router::commands::{Caller, Refused};
use nuncio_router::{DomainConfig, Router, RouterConfig};
use nuncio_sansio::Host as _;
use nuncio_store::Store;
use nuncio_stream::c2s::{Answer, Event, Question};
use nuncio_stream::sasl::server::{Answer as SaslAnswer, Lookup, Record};
use nuncio_stream::sasl::{Hash, SaslCondition};
use nuncio_xmpp::jid::BareJid;
use serde_json::{Value, json};
use zeroize::Zeroizing;

async fn run(router: &Arc<Router>, name: &str, args: Value) -> Result<Value, Refused> {
    router.run(Caller::Operator, name, args).await
}

async fn sasl(client: &mut Client, lookup: Lookup) -> SaslAnswer {
    let question = Question::Sasl { domain: "localhost".to_owned(), addresses: Vec::new(), lookup };
    match client.host.ask(question).await {
        Answer::Sasl(answer) => answer,
        other => panic!("{other:?}"),
    }
}

async fn scram(client: &mut Client, user: &str, hash: Hash) -> Result<Record, SaslCondition> {
    match sasl(client, Lookup::Scram { username: user.to_owned(), hash }).await {
        SaslAnswer::Scram(record) => record,
        other => panic!("{other:?}"),
    }
}

async fn password(client: &mut Client, user: &str, password: &str) -> Result<bool, SaslCondition> {
    let lookup =
        Lookup::Password { username: user.to_owned(), password: Zeroizing::new(password.to_owned()) };
    match sasl(client, lookup).await {
        SaslAnswer::Password(answer) => answer.map(|account| account.is_some()),
        other => panic!("{other:?}"),
    }
}

async fn login(client: &mut Client, user: &str) -> Result<(), SaslCondition> {
    let lookup = Lookup::Login {
        account: bare(user),
        mechanism: nuncio_stream::sasl::Mechanism::Plain,
        channel_binding: None,
    };
    match sasl(client, lookup).await {
        SaslAnswer::Login(answer) => answer,
        other => panic!("{other:?}"),
    }
}

/// Keys for every hash, never a password; unknown users look alike, also after a restart.
#[tokio::test(start_paused = true)]
async fn unknown_users_are_answered_like_known_ones() {
    let store = Store::memory();
    let router = server_with(RouterConfig::default(), store.clone(), &[]).await;
    add(&router, &["juliet"]).await;
    let mut client = Client::connect(&router, "juliet").await;
    for hash in Hash::ALL {
        let known = scram(&mut client, "juliet", hash).await.unwrap();
        let unknown = scram(&mut client, "nobody", hash).await.unwrap();
        assert_eq!(known.account, Some(bare("juliet")));
        assert_eq!(unknown.account, None);
        assert!(known.keys.verify("secret"));
        assert_eq!(known.keys.iterations(), unknown.keys.iterations());
        assert_eq!(known.keys.salt().len(), unknown.keys.salt().len());
        assert_eq!(unknown.keys.salt(), scram(&mut client, "nobody", hash).await.unwrap().keys.salt());
    }
    let salt = scram(&mut client, "nobody", Hash::Sha1).await.unwrap().keys.salt().to_vec();
    let again = server_with(RouterConfig::default(), store.clone(), &[]).await;
    let mut client = Client::connect(&again, "juliet").await;
    assert_eq!(scram(&mut client, "nobody", Hash::Sha1).await.unwrap().keys.salt(), salt);
    for (_, value) in store
        .table("credentials")
        .range("juliet@localhost", nuncio_store::Range::all(), 10, false)
        .await
        .unwrap()
    {
        assert!(!String::from_utf8_lossy(&value).contains("secret"));
    }
}

#[tokio::test(start_paused = true)]
async fn passwords_are_checked_and_changed() {
    let router = server(&["juliet"]).await;
    let mut client = Client::connect(&router, "juliet").await;
    assert_eq!(password(&mut client, "juliet", "secret").await, Ok(true));
    assert_eq!(password(&mut client, "juliet", "wrong").await, Ok(false));
    assert_eq!(password(&mut client, "nobody", "secret").await, Ok(false));
    run(&router, "account.passwd", json!({"jid": "juliet@localhost", "password": "better"})).await.unwrap();
    assert_eq!(password(&mut client, "juliet", "secret").await, Ok(false));
    assert_eq!(password(&mut client, "juliet", "better").await, Ok(true));
}

/// Failed logins are counted by account and by address, for accounts that do not exist too.
#[tokio::test(start_paused = true)]
async fn failed_logins_are_throttled() {
    let mut config = RouterConfig::default();
    config.limits.failed_logins_per_account = 3;
    config.limits.failed_logins_per_address = 5;
    let router = server_with(config, Store::memory(), &[]).await;
    add(&router, &["juliet", "romeo"]).await;
    for user in ["juliet", "nobody"] {
        let mut client = Client::connect(&router, "juliet").await;
        let mut outcomes = Vec::new();
        for _ in 0..4 {
            let record = scram(&mut client, user, Hash::Sha256).await;
            outcomes.push(record.is_ok());
            if record.is_ok() {
                client
                    .host
                    .event(Event::LoginFailed {
                        domain: "localhost".to_owned(),
                        mechanism: Some("SCRAM-SHA-256"),
                        username: Some(user.to_owned()),
                        condition: SaslCondition::NotAuthorized,
                        why: "wrong proof",
                        guess: true,
                    })
                    .await;
            }
        }
        let expected = if user == "juliet" { [true, true, true, false] } else { [true, true, false, false] };
        assert_eq!(outcomes, expected, "{user}: after three of the account, or five of the address");
    }
    let mut client = Client::connect(&router, "romeo").await;
    assert_eq!(
        password(&mut client, "romeo", "secret").await,
        Err(SaslCondition::TemporaryAuthFailure),
        "the address has used up its tries"
    );
    assert!(router.metrics().logins_throttled.get() >= 3);
    tokio::time::sleep(std::time::Duration::from_secs(300)).await;
    assert_eq!(password(&mut client, "romeo", "secret").await, Ok(true));
}

/// A disabled account loses its sessions at once, also those that could be resumed, and gets messages still.
#[tokio::test(start_paused = true)]
async fn disabling_ends_every_session() {
    let router = server(&["juliet", "romeo"]).await;
    let mut here = Client::online(&router, "juliet", "here").await;
    let mut lost = Client::online(&router, "juliet", "lost").await;
    let previd = lost.enable().await;
    lost.lose().await;
    let done = run(&router, "account.disable", json!({"jid": "juliet@localhost"})).await.unwrap();
    assert_eq!(done["ended"], 2);
    here.drain().await;
    assert_eq!(here.closed.as_deref(), Some("not-authorized"));
    assert!(Client::resume(&router, "juliet", &previd, 0).await.is_err());
    let mut client = Client::connect(&router, "juliet").await;
    assert_eq!(login(&mut client, "juliet").await, Err(SaslCondition::AccountDisabled));
    assert_eq!(client.bind("again").await, Err("not-authorized".to_owned()));
    run(&router, "account.enable", json!({"jid": "juliet@localhost"})).await.unwrap();
    assert_eq!(login(&mut client, "juliet").await, Ok(()));
    assert_eq!(client.bind("again").await, Ok(()));
}

/// What was given out for a generation is void after a new password, after disabling, and for whoever gets the name later.
#[tokio::test(start_paused = true)]
async fn generations_never_return() {
    let router = server(&["juliet", "romeo"]).await;
    let juliet = BareJid::new("juliet@localhost").unwrap();
    let mut seen = vec![0, router.generation(&juliet).await.unwrap()];
    let password = json!({"jid": "juliet@localhost", "password": "another secret"});
    let jid = json!({"jid": "juliet@localhost"});
    for (name, args, begins) in [
        ("account.passwd", &password, true),
        ("account.disable", &jid, true),
        ("account.enable", &jid, false),
        ("account.delete", &jid, false),
        ("account.add", &password, true),
    ] {
        run(&router, name, args.clone()).await.unwrap();
        let now = router.generation(&juliet).await.unwrap();
        if begins {
            assert!(!seen.contains(&now), "{name} begins a generation");
            seen.push(now);
        } else {
            let expected = if name == "account.delete" { Some(&0) } else { seen.last() };
            assert_eq!(Some(&now), expected, "{name} begins none");
        }
    }
    let romeo = BareJid::new("romeo@localhost").unwrap();
    assert!(!seen.contains(&router.generation(&romeo).await.unwrap()), "each account has its own");
}

/// Invariant 21: nothing of a deleted account remains, and its name can be used anew.
#[tokio::test(start_paused = true)]
async fn deleting_drops_every_trace() {
    let router = server(&["juliet", "romeo"]).await;
    let mut juliet = Client::online(&router, "juliet", "balcony").await;
    let mut romeo = Client::online(&router, "romeo", "orchard").await;
    juliet.enable().await;
    romeo.enable().await;
    romeo.send("<message to='juliet@localhost' type='chat'><body>unread</body></message>").await;
    run(&router, "account.delete", json!({"jid": "juliet@localhost"})).await.unwrap();
    juliet.drain().await;
    assert_eq!(juliet.closed.as_deref(), Some("not-authorized"));
    assert!(romeo.one().await.contains("<service-unavailable"), "what she had not taken goes back");
    romeo.send("<message to='juliet@localhost' type='chat'><body>gone?</body></message>").await;
    assert!(romeo.one().await.contains("<service-unavailable"));
    let store = router.store();
    assert_eq!(store.log("offline").count("juliet@localhost").await.unwrap(), 0);
    for table in ["accounts", "credentials"] {
        let owners = store.table(table).owners(None, 10).await.unwrap();
        assert_eq!(owners, ["romeo@localhost"], "{table}");
    }
    add(&router, &["juliet"]).await;
    let mut anew = Client::login(&router, "juliet", "balcony").await;
    anew.send("<presence/>").await;
    assert!(anew.bodies().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn commands_say_why_not() {
    let mut config = RouterConfig::default();
    config.domains[0].admins = vec![bare("juliet")];
    let router = server_with(config, Store::memory(), &[]).await;
    add(&router, &["juliet", "romeo"]).await;
    let cases = [
        ("account.add", json!({"jid": "juliet@localhost", "password": "x"}), "exists already"),
        ("account.add", json!({"jid": "x@elsewhere.example", "password": "x"}), "served domain"),
        ("account.add", json!({"jid": "x@localhost", "password": ""}), "password is empty"),
        ("account.passwd", json!({"jid": "nobody@localhost", "password": "x"}), "there is no account"),
        ("account.disable", json!({"jid": "nobody@localhost"}), "there is no account"),
        ("account.delete", json!({"jid": "nobody@localhost"}), "there is no account"),
        ("session.end", json!({"jid": "romeo@localhost"}), "there is no session"),
        ("account.drop", json!({}), "there is no command"),
    ];
    for (name, args, why) in cases {
        let refused = run(&router, name, args.clone()).await.unwrap_err().to_string();
        assert!(refused.contains(why), "{name} {args}: {refused}");
    }
    let by = |account| Caller::Account(bare(account));
    assert!(router.run(by("juliet"), "stats", json!({})).await.is_ok());
    assert_eq!(router.run(by("romeo"), "stats", json!({})).await, Err(Refused::Forbidden("stats")));
    let list = run(&router, "account.list", json!({})).await.unwrap();
    let names: Vec<_> =
        list["accounts"].as_array().unwrap().iter().map(|one| one["jid"].as_str().unwrap()).collect();
    assert_eq!(names, ["juliet@localhost", "romeo@localhost"]);
}

#[tokio::test(start_paused = true)]
async fn administrators_act_on_their_own_domain_only() {
    let domain = |name: &str, admins: &[&str]| DomainConfig {
        name: name.to_owned(),
        admins: admins.iter().map(|jid| BareJid::new(jid).unwrap()).collect(),
        ..DomainConfig::default()
    };
    let config = RouterConfig {
        domains: vec![
            domain("localhost", &["juliet@localhost"]),
            domain("verona.example", &["prince@verona.example"]),
        ],
        ..RouterConfig::default()
    };
    let router = server_with(config, Store::memory(), &[]).await;
    let caller = |jid| Caller::Account(BareJid::new(jid).unwrap());
    let add = |jid| json!({"jid": jid, "password": "x"});
    let forbidden = Err(Refused::Forbidden("account.add"));
    assert_eq!(
        router.run(caller("juliet@localhost"), "account.add", add("a@verona.example")).await,
        forbidden
    );
    assert_eq!(
        router.run(caller("prince@verona.example"), "account.add", add("a@localhost")).await,
        forbidden
    );
    assert!(
        router.run(caller("prince@verona.example"), "account.add", add("a@verona.example")).await.is_ok()
    );
    // What is about the whole server needs an administrator of all of it.
    assert!(router.run(caller("juliet@localhost"), "stats", json!({})).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn sessions_are_listed_told_and_ended() {
    let router = server(&["juliet"]).await;
    let mut one = Client::online(&router, "juliet", "one").await;
    let mut two = Client::online(&router, "juliet", "two").await;
    one.drain().await;
    let list = run(&router, "session.list", json!({"jid": "juliet@localhost"})).await.unwrap();
    assert_eq!(list["sessions"].as_array().unwrap().len(), 2);
    assert_eq!(list["sessions"][0]["mechanism"], "PLAIN");
    run(&router, "announce", json!({"text": "we stop at noon"})).await.unwrap();
    assert!(one.one().await.contains("we stop at noon"));
    run(&router, "session.end", json!({"jid": "juliet@localhost/one"})).await.unwrap();
    one.drain().await;
    assert_eq!(one.closed.as_deref(), Some("policy-violation"));
    assert!(two.bodies().await == ["we stop at noon"] && two.closed.is_none());
}
