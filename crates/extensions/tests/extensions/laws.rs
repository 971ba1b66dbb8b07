//! Laws over the list of extensions, numbered as the invariants of the extension points.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use nuncio_extensions::ALL;
use nuncio_router::points::{Judge, MayRegister, Permission, Registration};
use nuncio_router::store::Store;
use nuncio_router::{ConfigError, Cx, Extension, Host, Parts, Router, StartError};
use nuncio_sansio::pair::Counter;
use nuncio_xmpp::error::{Condition, StanzaError};
use nuncio_xmpp::ns;
use nuncio_xmpp::payload::Caps;
use nuncio_xmpp::xml::Element;
use std::sync::Arc;

use crate::harness::{ACCOUNTS, ByHand, Client, add, bare, config, start};
use crate::scenarios::{Stage, play_all};

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(rust_files(&path));
        } else if path.extension().is_some_and(|ext| ext == "rs") {
            all.push(path);
        }
    }
    all.sort();
    all
}

#[test]
fn the_list_is_the_folder_and_every_name_is_its_file() {
    let files: BTreeSet<String> = fs::read_dir(source())
        .unwrap()
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
        .filter(|name| name != "lib")
        .collect();
    let names: Vec<String> = ALL.iter().map(|extension| extension.name.to_owned()).collect();
    assert!(names.is_sorted(), "{names:?}");
    assert_eq!(names.into_iter().collect::<BTreeSet<_>>(), files);
}

#[test]
fn every_extension_names_its_xeps_and_known_needs() {
    let mut numbers = BTreeSet::new();
    for extension in ALL {
        assert!(!extension.xeps.is_empty(), "{}", extension.name);
        for xep in extension.xeps {
            assert!(numbers.insert(xep.number), "XEP-{:04} is there twice", xep.number);
            assert!(xep.version.contains('.') && !xep.title.is_empty(), "XEP-{:04}", xep.number);
        }
        for needs in extension.needs {
            assert!(ALL.iter().any(|other| other.name == *needs), "{} needs {needs}", extension.name);
        }
    }
}

/// Invariant 24. One file of the folder may use others of its own.
#[test]
fn extensions_never_use_each_other() {
    for file in rust_files(&source()) {
        let text = fs::read_to_string(&file).unwrap();
        let own = file.strip_prefix(source()).unwrap().components().next().unwrap();
        let own = Path::new(own.as_os_str()).file_stem().unwrap().to_str().unwrap().to_owned();
        for other in ALL.iter().filter(|other| other.name != own && own != "lib") {
            assert!(
                !text.contains(&format!("crate::{}", other.name)),
                "{} uses {}",
                file.display(),
                other.name
            );
        }
    }
}

async fn try_start(extensions: &[Extension]) -> Result<Arc<Router>, StartError> {
    let (entropy, clock) = (Arc::new(Counter::default()), ByHand::new());
    let mut config = config();
    config.enabled = extensions.iter().map(|extension| (extension.name.to_owned(), true)).collect();
    Router::start(Parts { config, store: Store::memory(), entropy, clock, extensions }).await
}

/// Invariant 4: nothing that an extension owns is owned by another, with all of them on.
#[tokio::test]
async fn no_two_extensions_own_the_same() {
    if let Err(error) = try_start(ALL).await {
        panic!("{error}");
    }
    for extension in ALL.iter().filter(|extension| extension.name != "sm" && extension.name != "hints") {
        let twin = Extension { name: "twin", ..*extension };
        let owns = !matches!(extension.name, "contact" | "offline");
        let doubled: Vec<Extension> = ALL.iter().copied().chain([twin]).collect();
        match try_start(&doubled).await {
            Err(StartError::Config(ConfigError::Conflict { .. })) => assert!(owns, "{}", extension.name),
            Err(other) => panic!("{}: {other}", extension.name),
            // Only adds to disco, which several may.
            Ok(_) => assert!(!owns || extension.name == "caps", "{} owns nothing", extension.name),
        }
    }
}

/// Invariants 1 and 2: the order in which filters stand changes nothing that anybody sees, refusals included.
#[tokio::test(start_paused = true)]
async fn the_order_of_the_extensions_changes_nothing() {
    let plain = play_all(ALL).await;
    let mut reversed = ALL.to_vec();
    reversed.reverse();
    let mut riffled: Vec<Extension> = ALL.iter().step_by(2).copied().collect();
    riffled.extend(ALL.iter().skip(1).step_by(2).rev());
    for order in [reversed, riffled] {
        for (one, two) in plain.iter().zip(play_all(&order).await) {
            assert_eq!(*one, two);
        }
    }
}

/// Everything that a stranger may ask of an account and its resources.
const QUESTIONS: &[&str] = &[
    "<iq type='get' id='1' to='TO'><ping xmlns='urn:xmpp:ping'/></iq>",
    "<iq type='get' id='1' to='TO'><query xmlns='jabber:iq:last'/></iq>",
    "<iq type='get' id='1' to='TO'><query xmlns='jabber:iq:version'/></iq>",
    "<iq type='get' id='1' to='TO'><time xmlns='urn:xmpp:time'/></iq>",
    "<iq type='get' id='1' to='TO'><vCard xmlns='vcard-temp'/></iq>",
    "<iq type='set' id='1' to='TO'><vCard xmlns='vcard-temp'/></iq>",
    "<iq type='get' id='1' to='TO'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>",
    "<iq type='get' id='1' to='TO'><query xmlns='http://jabber.org/protocol/disco#info' node='x'/></iq>",
    "<iq type='get' id='1' to='TO'><query xmlns='http://jabber.org/protocol/disco#items'/></iq>",
    "<iq type='get' id='1' to='TO'><query xmlns='jabber:iq:private'><a xmlns='urn:1'/></query></iq>",
    "<iq type='get' id='1' to='TO'><query xmlns='jabber:iq:private'/></iq>",
    "<iq type='set' id='1' to='TO'><query xmlns='jabber:iq:private'><a xmlns='urn:1'/></query></iq>",
    "<iq type='get' id='1' to='TO'><blocklist xmlns='urn:xmpp:blocking'/></iq>",
    "<iq type='set' id='1' to='TO'><block xmlns='urn:xmpp:blocking'/></iq>",
    "<iq type='set' id='1' to='TO'><unblock xmlns='urn:xmpp:blocking'/></iq>",
    "<iq type='set' id='1' to='TO'><enable xmlns='urn:xmpp:carbons:2'/></iq>",
    "<iq type='set' id='1' to='TO'><disable xmlns='urn:xmpp:carbons:2'/></iq>",
    "<iq type='get' id='1' to='TO'><query xmlns='jabber:iq:register'/></iq>",
    "<iq type='set' id='1' to='TO'><query xmlns='jabber:iq:register'><remove/></query></iq>",
    "<iq type='get' id='1' to='TO'><query xmlns='jabber:iq:roster'/></iq>",
    "<iq type='set' id='1' to='TO'><query xmlns='jabber:iq:roster'><item jid='x@localhost'/></query></iq>",
    "<iq type='set' id='1' to='TO'><command xmlns='http://jabber.org/protocol/commands' node='x'/></iq>",
    "<iq type='get' id='1' to='TO'><x xmlns='urn:x'/></iq>",
    "<presence to='TO'/>",
    "<presence to='TO' type='unavailable'/>",
    "<presence to='TO' type='probe'/>",
];

async fn answers(of: &str, before: &[String]) -> String {
    let mut stage = Stage::new(ALL);
    let mut lines = vec!["@ on register".to_owned()];
    lines.extend(before.iter().cloned());
    lines.push("++ tybalt/a".to_owned());
    stage.play("the stage is set", &lines).await;
    let mut told = String::new();
    for question in QUESTIONS {
        let asked = question.replace("TO", of);
        let got = stage.ask("tybalt/a", &asked).await;
        // What is answered may only differ in the address that was asked.
        writeln!(told, "{question}\n{}", got.join("\n").replace(of, "TO")).unwrap();
    }
    told
}

/// Invariant 14, and RFC 6120 §13.10.2, RFC 6121 §8.5.1: whoever does not see an account cannot tell whether it is there, is online, has
/// blocked the asker, or exists.
#[tokio::test(start_paused = true)]
async fn an_account_that_is_not_seen_is_as_one_that_does_not_exist() {
    let block = [
        "++ juliet/a",
        "juliet/a > <iq type='set' id='b'><block xmlns='urn:xmpp:blocking'><item jid='tybalt@localhost'/></block></iq>",
        "juliet/a < <iq type='result' id='b'/>",
    ]
    .map(str::to_owned);
    let online = ["++ juliet/a".to_owned()];
    for (none, some) in
        [("nobody@localhost", "juliet@localhost"), ("nobody@localhost/a", "juliet@localhost/a")]
    {
        let nobody = answers(none, &[]).await;
        assert_eq!(nobody, answers(some, &[]).await, "{some} offline");
        assert_eq!(nobody, answers(some, &online).await, "{some} online");
        assert_eq!(nobody, answers(some, &block).await, "{some} has blocked the asker");
    }
}

/// XEP-0191 §3.3: what a blocked sender is told of messages is what RFC 6121 §8.5.1 has for an account that does not exist.
#[tokio::test(start_paused = true)]
async fn messages_to_who_has_blocked_are_answered_as_by_nobody() {
    let blocked = [
        "++ juliet/a",
        "juliet/a > <iq type='set' id='b'><block xmlns='urn:xmpp:blocking'><item jid='tybalt@localhost'/></block></iq>",
        "juliet/a < <iq type='result' id='b'/>",
        "++ tybalt/a",
    ]
    .map(str::to_owned);
    for (none, some) in
        [("nobody@localhost", "juliet@localhost"), ("nobody@localhost/a", "juliet@localhost/a")]
    {
        let mut stage = Stage::new(ALL);
        stage.play("the stage is set", &blocked).await;
        for kind in ["chat", "normal", "headline", "groupchat", "error"] {
            let mut told = Vec::new();
            for to in [none, some] {
                let error =
                    "<error type='cancel'><gone xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>";
                let content = if kind == "error" { error } else { "<body>x</body>" };
                let message = format!("<message to='{to}' type='{kind}' id='m'>{content}</message>");
                told.push(stage.ask("tybalt/a", &message).await.join("").replace(to, "TO"));
            }
            assert_eq!(told[0], told[1], "{kind} to {some}");
        }
    }
}

/// XEP-0077 with a judge of another extension: it is asked after the form is complete, and what it says is told.
#[tokio::test(start_paused = true)]
async fn whoever_judges_may_refuse_a_registration() {
    fn plug(host: &mut Host<'_>) -> Result<(), ConfigError> {
        host.judge::<MayRegister>(Refuse);
        Ok(())
    }
    struct Refuse;
    impl Judge<MayRegister> for Refuse {
        fn judge(&self, _: &Cx<'_>, about: &Registration<'_>) -> Permission {
            let short = about.jid.local().is_some_and(|local| local.len() < 4);
            Permission(short.then(|| StanzaError::new(Condition::NotAllowed)))
        }
    }
    let gate = Extension { name: "gate", xeps: &[], needs: &["register"], default_on: true, plug };
    let extensions: Vec<Extension> = ALL.iter().copied().chain([gate]).collect();
    let mut config = config();
    config.enabled.insert("register".to_owned(), true);
    let router = start(config, Store::memory(), ByHand::new(), &extensions).await;
    for (name, expected) in [("bob", "not-allowed"), ("william", "type='result'")] {
        let wish = format!("<username>{name}</username><password>x</password>");
        let wish = format!("<iq type='set' id='1'><query xmlns='jabber:iq:register'>{wish}</query></iq>");
        let told = Client::connect(&router).unbound(None, &wish).await.unwrap();
        assert!(told.contains(expected), "{told}");
    }
    assert!(router.account(&bare("bob")).await.unwrap().is_none());
}

/// XEP-0115 §5.1, §6.3: the hash in the stream features is that of the information, which its node has too.
#[tokio::test(start_paused = true)]
async fn the_server_announces_its_capabilities() {
    let router = start(config(), Store::memory(), ByHand::new(), ALL).await;
    add(&router, &ACCOUNTS).await;
    let mut client = Client::connect(&router);
    let before = client.features(None).await;
    assert!(!before.iter().any(|feature| feature.contains(ns::CAPS)), "{before:?}");
    let after = client.features(Some(&bare("juliet"))).await;
    assert!(after.iter().any(|feature| feature.contains(ns::CSI)), "{after:?}");
    let caps = after.iter().find(|feature| feature.contains(ns::CAPS)).expect("capabilities are offered");
    let caps = Caps::parse(Element::parse(caps.clone()).unwrap().root()).unwrap();
    assert_eq!(caps.hash, "sha-1");
    client.bind(&bare("juliet"), "a").await;
    let mut infos = Vec::new();
    for node in [String::new(), format!(" node='{}#{}'", caps.node, caps.ver)] {
        let query = format!("<query xmlns='{}'{node}/>", ns::DISCO_INFO);
        client.send(&format!("<iq type='get' id='1' to='localhost'>{query}</iq>")).await;
        infos.push(client.drain().await.concat().replace(&node, ""));
    }
    assert_eq!(infos[0], infos[1]);
    assert!(infos[0].contains("type='result'"), "{}", infos[0]);
    let reply = Element::parse_in(ns::CLIENT, infos[0].clone()).unwrap();
    let query = reply.child("query", ns::DISCO_INFO).unwrap();
    let info = nuncio_xmpp::payload::Info::parse(query).unwrap();
    let text = nuncio_xmpp::payload::caps::verification_string(&info).unwrap();
    assert_eq!(caps.ver, sha1_base64(&text));
}

fn sha1_base64(text: &str) -> String {
    use base64::Engine as _;
    use sha1::Digest as _;
    base64::engine::general_purpose::STANDARD.encode(sha1::Sha1::digest(text.as_bytes()))
}

/// XEP-0077 §8: registration is offered as long as nobody is logged in, and only if it is on.
#[tokio::test(start_paused = true)]
async fn registration_is_offered_only_before_login() {
    for (on, expected) in [(true, true), (false, false)] {
        let mut config = config();
        config.enabled.insert("register".to_owned(), on);
        let router = start(config, Store::memory(), ByHand::new(), ALL).await;
        let mut client = Client::connect(&router);
        let offers = |features: Vec<String>| features.iter().any(|one| one.contains(ns::REGISTER_FEATURE));
        assert_eq!(offers(client.features(None).await), expected);
        assert!(!offers(client.features(Some(&bare("juliet"))).await));
    }
}

/// XEP-0077 §3.1, §3.3, §3.2: the password that was set is the one that counts, and of a removed account nothing is left.
#[tokio::test(start_paused = true)]
async fn a_registered_account_has_its_password_until_it_is_removed() {
    let mut config = config();
    config.enabled.insert("register".to_owned(), true);
    let store = Store::memory();
    let router = start(config, store.clone(), ByHand::new(), ALL).await;
    let fits = async |password: &str| {
        router.verify_password(&bare("bill"), password.to_owned().into()).await.unwrap()
    };
    let wish =
        |what: &str| format!("<iq type='set' id='1'><query xmlns='jabber:iq:register'>{what}</query></iq>");
    let mut client = Client::connect(&router);
    let made =
        client.unbound(None, &wish("<username>bill</username><password>one</password>")).await.unwrap();
    assert!(made.contains("result"), "{made}");
    assert!(fits("one").await && !fits("two").await);
    client.bind(&bare("bill"), "a").await;
    client.send(&wish("<username>bill</username><password>two</password>")).await;
    client.send("<iq type='set' id='2'><vCard xmlns='vcard-temp'><FN>Bill</FN></vCard></iq>").await;
    client
        .send("<iq type='set' id='3'><query xmlns='jabber:iq:private'><a xmlns='urn:1'/></query></iq>")
        .await;
    client
        .send("<iq type='set' id='4'><block xmlns='urn:xmpp:blocking'><item jid='a@b'/></block></iq>")
        .await;
    client.send("<presence/>").await;
    client.drain().await;
    assert!(!fits("one").await && fits("two").await);
    client.send(&wish("<remove/>")).await;
    let last = client.drain().await;
    assert!(last.len() == 1 && last[0].contains("type='result'"), "{last:?}");
    assert_eq!(client.closed.as_deref(), Some("not-authorized"));
    router.quiet().await;
    assert!(!fits("two").await);
    for table in ["accounts", "credentials", "roster", "vcard", "private", "blocklist", "last"] {
        let left = store.table(table).owners(None, 10).await.unwrap();
        assert!(!left.iter().any(|owner| owner.contains("bill")), "{table}: {left:?}");
    }
}

/// The manual's table of options: every key is one, of the type that its default has, and nothing else is.
#[tokio::test]
async fn the_manual_has_the_options() {
    let manual = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/manual/extensions.md");
    let manual = fs::read_to_string(manual).unwrap();
    let rows: Vec<Vec<&str>> = manual
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| line.split('|').map(|cell| cell.trim().trim_matches('`')).collect())
        .collect();
    let mut documented: BTreeSet<&str> = BTreeSet::new();
    for row in &rows {
        let (name, key) = row[1].split_once('.').unwrap();
        documented.insert(name);
        let value: serde_json::Value = serde_json::from_str(row[2]).unwrap();
        let wrong = serde_json::json!([1]);
        for (key, value, fits) in [(key, &value, true), (key, &wrong, false), ("nonsense", &value, false)] {
            let mut config = config();
            config.enabled.insert(name.to_owned(), true);
            config.extensions.insert(name.to_owned(), serde_json::json!({ key: value }));
            let (entropy, clock) = (Arc::new(Counter::default()), ByHand::new());
            let parts = Parts { config, store: Store::memory(), entropy, clock, extensions: ALL };
            match Router::start(parts).await {
                Ok(_) => assert!(fits, "{name}.{key} takes {value}"),
                Err(StartError::Config(ConfigError::Invalid { name: whose, why })) => {
                    assert!(!fits && whose == name, "{name}.{key}: {why}");
                }
                Err(other) => panic!("{name}.{key}: {other}"),
            }
        }
    }
    let configured: BTreeSet<String> = rust_files(&source())
        .into_iter()
        .filter(|file| fs::read_to_string(file).unwrap().contains("host.config()"))
        .map(|file| file.file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    assert_eq!(documented.into_iter().map(str::to_owned).collect::<BTreeSet<_>>(), configured);
}

/// The manual shows a real extension: what it quotes is the file.
#[test]
fn the_manual_quotes_the_file_that_it_shows() {
    let manual = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/manual/extending.md");
    let manual = fs::read_to_string(manual).unwrap();
    let quoted = manual.split("```rust\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    assert_eq!(quoted, fs::read_to_string(source().join("ping.rs")).unwrap());
    let list = fs::read_to_string(source().join("lib.rs")).unwrap();
    let line = manual.split("```text\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    assert!(list.contains(line), "the list has the line: {line}");
}
