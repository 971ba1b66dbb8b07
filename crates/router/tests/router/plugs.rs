//! The points that extensions plug into: invariants 1, 2, 3, 4, 5 and 22.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::common::{Client, add, server_with};
use nuncio_router::points::{
    Copier, Copies, CopyAt, Edit, Handler, Name, Pace, Pacer, Police, PoliceAt, Stamp, StampAt, Standing,
    Verdict, Wants,
};
use nuncio_router::slots::{Life, SessionSlot};
use nuncio_router::{
    Ask, At, ConfigError, Cx, Extension, Host, Parts, Reply, Router, RouterConfig, SessionId, SessionState,
    StartError,
};
use nuncio_store::Store;
use nuncio_xmpp::error::{Condition, StanzaError};
use nuncio_xmpp::stanza::{IqType, Stanza};
use nuncio_xmpp::xml::Builder;

type Plug = fn(&mut Host<'_>) -> Result<(), ConfigError>;

const fn extension(name: &'static str, plug: Plug) -> Extension {
    Extension { name, xeps: &[], needs: &[], default_on: true, plug }
}

/// Refuses or drops messages with certain bodies.
struct Refuses(&'static str, Option<Condition>);

impl Police for Refuses {
    fn wants(&self) -> Wants {
        Wants::MESSAGES
    }

    fn judge(&self, _: &Standing<'_>, stanza: &Stanza) -> Verdict {
        match (stanza.body_text().is_some_and(|body| body.contains(self.0)), self.1) {
            (false, _) => Verdict::Pass,
            (true, Some(condition)) => Verdict::Refuse(StanzaError::new(condition)),
            (true, None) => Verdict::Drop,
        }
    }
}

/// Owns `<NAME xmlns='urn:x'/>`: strips what comes from outside and puts on its own.
struct Marks(&'static [Name]);

impl Stamp for Marks {
    fn owns(&self) -> &'static [Name] {
        self.0
    }

    fn stamp(&self, _: &Standing<'_>, _: &Stanza, edit: &mut Edit) {
        let owned = self.0;
        edit.strip(move |child| owned.iter().any(|name| child.is(name.name, name.ns)));
        for name in owned {
            edit.add(Builder::new(name.name, name.ns).attr("by", "us"));
        }
    }
}

const ONE: &[Name] = &[Name { name: "one", ns: "urn:x" }];
const TWO: &[Name] = &[Name { name: "two", ns: "urn:x" }];

const FILTERS: [Extension; 5] = [
    extension("a", |host| {
        host.police(PoliceAt::Leaving, Arc::new(Refuses("bad", Some(Condition::NotAcceptable))));
        Ok(())
    }),
    extension("b", |host| {
        host.police(PoliceAt::Leaving, Arc::new(Refuses("ba", Some(Condition::Forbidden))));
        Ok(())
    }),
    extension("c", |host| {
        host.police(PoliceAt::Arriving, Arc::new(Refuses("evil", None)));
        host.police(PoliceAt::Arriving, Arc::new(Refuses("devil", Some(Condition::Forbidden))));
        Ok(())
    }),
    extension("d", |host| host.stamp(StampAt::Arriving, Arc::new(Marks(ONE)))),
    extension("e", |host| host.stamp(StampAt::Arriving, Arc::new(Marks(TWO)))),
];

async fn transcript(extensions: &[Extension]) -> Vec<String> {
    let router = server_with(RouterConfig::default(), Store::memory(), extensions).await;
    add(&router, &["juliet", "romeo"]).await;
    let mut juliet = Client::online(&router, "juliet", "balcony").await;
    let mut romeo = Client::online(&router, "romeo", "orchard").await;
    let mut all = Vec::new();
    for text in ["good", "bad", "bat", "evil", "devil", "spoofed<"] {
        let spoof = if text.ends_with('<') { "<one xmlns='urn:x' by='them'/>" } else { "" };
        let text = text.trim_end_matches('<');
        juliet
            .send(&format!("<message to='romeo@localhost' type='chat'><body>{text}</body>{spoof}</message>"))
            .await;
        all.extend(juliet.drain().await);
        all.extend(romeo.drain().await.into_iter().map(|stanza| {
            // Added children come in the order of the list, which is all that may differ.
            let mut parts: Vec<_> = stanza.split('<').map(str::to_owned).collect();
            parts.sort();
            parts.join("<")
        }));
    }
    let stored = router.store().log("offline").count("romeo@localhost").await.unwrap();
    all.push(format!("{stored} rows"));
    all
}

/// Invariants 1 and 3: the order of the list decides nothing; what is refused or dropped leaves no trace but the error.
#[tokio::test(start_paused = true)]
async fn filters_commute() {
    let first = transcript(&FILTERS).await;
    assert_eq!(first.len(), 5, "{first:#?}");
    assert!(first[1].contains("<not-acceptable"), "{first:#?}");
    assert!(first[2].contains("<forbidden"), "{first:#?}");
    assert!(first.iter().all(|stanza| !stanza.contains("them")), "{first:#?}");
    for turn in 1..FILTERS.len() {
        let mut shuffled = FILTERS;
        shuffled.rotate_left(turn);
        assert_eq!(transcript(&shuffled).await, first);
        shuffled.reverse();
        assert_eq!(transcript(&shuffled).await, first);
    }
}

async fn start(extensions: &[Extension], config: RouterConfig) -> Result<Arc<Router>, String> {
    let parts = Parts {
        config,
        store: Store::memory(),
        entropy: Arc::new(nuncio_sansio::pair::Counter::default()),
        clock: Arc::new(crate::common::Still),
        extensions,
    };
    Router::start(parts).await.map_err(|error| match error {
        StartError::Config(error) => error.to_string(),
        other => other.to_string(),
    })
}

struct Answers(&'static str);

impl Handler for Answers {
    async fn handle(&self, _: &Cx<'_>, ask: Ask) -> Result<Reply, StanzaError> {
        match self.0 {
            "own" => ask.own().map(|()| Reply::Empty),
            "pass" => Ok(Reply::Pass),
            said => Ok(Reply::Result(Builder::new("q", "urn:x").text(said))),
        }
    }
}

/// Invariant 4: two owners of anything do not start.
#[tokio::test]
async fn two_owners_are_an_error() {
    let stamp = |host: &mut Host<'_>| host.stamp(StampAt::Leaving, Arc::new(Marks(ONE)));
    let handler = |host: &mut Host<'_>| host.handler(At::Account, IqType::Get, "q", "urn:x", Answers("a"));
    let table = |host: &mut Host<'_>| host.table("things").map(|_| ());
    let core = |host: &mut Host<'_>| host.table("accounts").map(|_| ());
    let plugs: [(Plug, &str); 3] = [
        (stamp, "<one xmlns='urn:x'/>"),
        (handler, "iq get <q xmlns='urn:x'/>"),
        (table, "the shape things"),
    ];
    for (plug, what) in plugs {
        let refused = start(&[extension("one", plug), extension("two", plug)], RouterConfig::default()).await;
        let refused = refused.err().unwrap();
        assert!(refused.contains(what) && refused.contains("one and two"), "{refused}");
        assert!(start(&[extension("one", plug)], RouterConfig::default()).await.is_ok());
    }
    let refused = start(&[extension("one", core)], RouterConfig::default()).await.err().unwrap();
    assert!(refused.contains("core and one"), "{refused}");
    let same = start(&[FILTERS[0], FILTERS[0]], RouterConfig::default()).await.err().unwrap();
    assert!(same.contains("the name"), "{same}");
}

#[tokio::test]
async fn needs_and_unknown_names_are_told() {
    let needy = Extension { needs: &["other"], ..extension("needy", |_| Ok(())) };
    let off = Extension { default_on: false, ..extension("other", |_| Ok(())) };
    let refused = start(&[needy, off], RouterConfig::default()).await.err().unwrap();
    assert!(refused.contains("needy needs other"), "{refused}");
    let mut config = RouterConfig::default();
    config.enabled.insert("other".to_owned(), true);
    assert!(start(&[needy, off], config.clone()).await.is_ok());
    config.enabled.insert("othr".to_owned(), true);
    let refused = start(&[needy, off], config).await.err().unwrap();
    assert!(refused.contains("othr") && refused.contains("needy, other"), "{refused}");
    let wrong = extension("wrong", |host| host.config::<u32>().map(|_| ()));
    let refused = start(&[wrong], RouterConfig::default()).await.err().unwrap();
    assert!(refused.starts_with("extensions.wrong:"), "{refused}");
}

/// RFC 6121 §8.5.2.1.3, §8.5.3.1: handlers at each kind of place; what they pass on goes its way.
#[tokio::test(start_paused = true)]
async fn handlers_answer_at_their_place() {
    let plug = extension("answers", |host| {
        host.handler(At::Server, IqType::Get, "q", "urn:x", Answers("server"))?;
        host.handler(At::Account, IqType::Get, "q", "urn:x", Answers("account"))?;
        host.handler(At::Account, IqType::Set, "*", "urn:x", Answers("own"))?;
        host.handler(At::Resource, IqType::Get, "q", "urn:x", Answers("resource"))?;
        host.handler(At::Resource, IqType::Set, "q", "urn:x", Answers("pass"))
    });
    let router = server_with(RouterConfig::default(), Store::memory(), &[plug]).await;
    add(&router, &["juliet", "romeo"]).await;
    let mut juliet = Client::online(&router, "juliet", "balcony").await;
    let mut chamber = Client::online(&router, "juliet", "chamber").await;
    juliet.drain().await;
    let cases = [
        ("get", "localhost", "server"),
        ("get", "juliet@localhost", "account"),
        ("get", "romeo@localhost", "account"),
        ("set", "juliet@localhost", "type='result'"),
        ("set", "romeo@localhost", "<service-unavailable"),
        ("set", "localhost", "<service-unavailable"),
        ("get", "juliet@localhost/chamber", "resource"),
    ];
    for (kind, to, expected) in cases {
        juliet.send(&format!("<iq type='{kind}' id='1' to='{to}'><q xmlns='urn:x'/></iq>")).await;
        let got = juliet.one().await;
        assert!(got.contains(expected) && got.contains(&format!("from='{to}'")), "{kind} {to}: {got}");
    }
    juliet.send("<iq type='set' id='2' to='juliet@localhost/chamber'><q xmlns='urn:x'/></iq>").await;
    assert!(chamber.one().await.contains("type='set'"), "what a handler passes reaches the resource");
    assert!(juliet.drain().await.is_empty());
}

static COPIED: AtomicUsize = AtomicUsize::new(0);

/// Copies to every other session.
struct Carbon;

impl Copier for Carbon {
    fn copy(&self, at: &Standing<'_>, stanza: &Stanza, chosen: &[SessionId], copies: &mut Copies) {
        COPIED.fetch_add(1, Ordering::Relaxed);
        for session in at.account.map_or(&[][..], |account| &account.sessions) {
            if !chosen.contains(&session.id()) {
                let mut copy = stanza.clone();
                copy.add(&Builder::new("copy", "urn:x"));
                copies.push(session.id(), copy);
            }
        }
    }
}

/// Invariant 5 and O6, O7: copies go to sessions that did not get the stanza, are not copied again, and to oneself only once.
#[tokio::test(start_paused = true)]
async fn copies_are_not_copied() {
    let plug = extension("carbon", |host| {
        host.copier(CopyAt::Leaving, Arc::new(Carbon));
        host.copier(CopyAt::Arriving, Arc::new(Carbon));
        Ok(())
    });
    let router = server_with(RouterConfig::default(), Store::memory(), &[plug]).await;
    add(&router, &["juliet", "romeo"]).await;
    let mut juliet = Client::online(&router, "juliet", "one").await;
    let mut other = Client::online(&router, "juliet", "two").await;
    let mut romeo = Client::online(&router, "romeo", "one").await;
    let mut quiet = Client::login(&router, "romeo", "quiet").await;
    juliet.drain().await;
    juliet.send("<message to='romeo@localhost' type='chat'><body>x</body></message>").await;
    assert_eq!(COPIED.load(Ordering::Relaxed), 2, "once as it left, once as it arrived");
    assert!(other.one().await.contains("<copy"));
    assert!(!romeo.one().await.contains("<copy"));
    assert!(quiet.one().await.contains("<copy"));
    juliet.send("<message to='juliet@localhost/two' type='chat'><body>x</body></message>").await;
    assert_eq!(COPIED.load(Ordering::Relaxed), 3, "to oneself only at Arriving");
    assert!(!other.one().await.contains("<copy"));
    assert!(juliet.one().await.contains("<copy"));
}

/// Holds chat states back from sessions that do not listen.
struct Quiet(SessionSlot<bool>);

impl Pacer for Quiet {
    fn pace(&self, _: &Standing<'_>, to: &SessionState, stanza: &Stanza) -> Pace {
        let listening = to.slot(self.0).copied().unwrap_or_default();
        if listening || stanza.body_text().is_some() { Pace::Now } else { Pace::Later }
    }
}

#[tokio::test(start_paused = true)]
async fn paced_stanzas_go_before_the_next_that_goes() {
    let plug = extension("quiet", |host| {
        let slot = host.session_slot::<bool>(Life::Stream);
        host.pacer(Arc::new(Quiet(slot)));
        Ok(())
    });
    let router = server_with(RouterConfig::default(), Store::memory(), &[plug]).await;
    add(&router, &["juliet", "romeo"]).await;
    let mut juliet = Client::online(&router, "juliet", "one").await;
    let mut romeo = Client::online(&router, "romeo", "one").await;
    let state = "<message to='romeo@localhost' type='chat'><active xmlns='http://jabber.org/protocol/chatstates'/></message>";
    juliet.send(state).await;
    romeo.host.session().unwrap().release();
    romeo.drain().await;
    juliet.send(state).await;
    assert!(romeo.drain().await.is_empty());
    juliet.send("<message to='romeo@localhost' type='chat'><body>x</body></message>").await;
    let got = romeo.drain().await;
    assert!(got.len() == 2 && got[0].contains("<active") && got[1].contains("<body"), "{got:?}");
    juliet.send(state).await;
    romeo.host.session().unwrap().release();
    assert!(romeo.one().await.contains("<active"));
}

/// Invariant 22: a step in a step is noticed.
#[tokio::test(start_paused = true)]
#[cfg(debug_assertions)]
async fn lanes_never_nest() {
    let router = server_with(RouterConfig::default(), Store::memory(), &[]).await;
    add(&router, &["juliet"]).await;
    let nested = tokio::spawn({
        let router = Arc::clone(&router);
        async move {
            let inner = Arc::clone(&router);
            let account = crate::common::bare("juliet");
            router
                .step(&account.clone(), move |_| {
                    let step = inner.step(&account, |_| ());
                    let waker = std::task::Waker::noop();
                    let mut step = std::pin::pin!(step);
                    let _ = step.as_mut().poll(&mut std::task::Context::from_waker(waker));
                })
                .await
                .unwrap();
        }
    });
    assert!(nested.await.unwrap_err().is_panic());
}

/// Denies everything about a presence to everybody else.
fn nobody(_: &Cx<'_>, about: &nuncio_router::points::Sight<'_>) -> bool {
    about.asker.bare() == about.account.jid
}

/// Invariant 14: whom a judge denies gets what a stranger gets.
#[tokio::test(start_paused = true)]
async fn one_judge_suffices_to_hide_a_presence() {
    let hide = extension("hide", |host| {
        host.judge::<nuncio_router::points::Sees>(nobody);
        Ok(())
    });
    for (extensions, reaches) in [(&[][..], true), (&[hide][..], false)] {
        let router = server_with(RouterConfig::default(), Store::memory(), extensions).await;
        add(&router, &["juliet", "romeo"]).await;
        let mut juliet = Client::online(&router, "juliet", "balcony").await;
        let mut romeo = Client::online(&router, "romeo", "orchard").await;
        juliet.send("<presence to='romeo@localhost/orchard'/>").await;
        romeo.drain().await;
        romeo.send("<iq type='get' id='1' to='juliet@localhost/balcony'><q xmlns='urn:x'/></iq>").await;
        assert_eq!(juliet.drain().await.len(), usize::from(reaches));
        assert_eq!(romeo.drain().await.iter().any(|got| got.contains("<service-unavailable")), !reaches);
    }
}

/// Takes `<wake xmlns='urn:x'/>` of a bound stream, answers `q` before that, and remembers in slots.
#[derive(Clone, Copy)]
struct Wakes(SessionSlot<u32>);

impl nuncio_router::points::Greeter for Wakes {
    fn offer(&self, _: &Cx<'_>, at: &nuncio_stream::c2s::Moment) -> Option<Builder> {
        at.authenticated.is_some().then(|| Builder::new("wake", "urn:x"))
    }

    fn takes(&self) -> &'static [Name] {
        &[Name { name: "wake", ns: "urn:x" }]
    }

    fn take<'a>(
        &'a self,
        cx: &'a Cx<'a>,
        session: &'a Arc<nuncio_router::Session>,
        _: &'a nuncio_xmpp::xml::Element,
    ) -> nuncio_router::Boxed<'a, ()> {
        Box::pin(async move {
            let id = session.id();
            let account = session.jid().bare();
            let stepped = cx.router.step(&account, |step| {
                let count = step.account.session_mut(id).map(|state| {
                    *state.slot_mut(self.0) += 1;
                    *state.slot_mut(self.0)
                });
                session
                    .nonza(Builder::new("woken", "urn:x").attr("times", count.unwrap_or_default()).bytes(""));
            });
            stepped.await.unwrap();
        })
    }
}

/// Invariant 20 and the Greeter's steps; a slot of a stream's life is empty again after a resumption.
#[tokio::test(start_paused = true)]
async fn greeters_offer_and_take() {
    use nuncio_sansio::Host as _;
    use nuncio_stream::c2s::{Answer, Event, Moment, Question};

    let plug = extension("wakes", |host| {
        let slot = host.session_slot::<u32>(Life::Stream);
        host.handler(At::Unbound, IqType::Get, "q", "urn:x", Answers("early"))?;
        host.greeter(Wakes(slot))
    });
    let router = server_with(RouterConfig::default(), Store::memory(), &[plug]).await;
    add(&router, &["juliet"]).await;
    let mut juliet = Client::connect(&router, "juliet").await;
    for (who, offered) in [(None, 0), (Some(crate::common::proven(&juliet.account)), 1)] {
        let moment =
            Moment { domain: "localhost".to_owned(), authenticated: who, tls: nuncio_sansio::pair::facts() };
        match juliet.host.ask(Question::Offer(Box::new(moment))).await {
            Answer::Offer(features) => {
                assert_eq!(features.iter().filter(|one| one.name() == "wake").count(), offered)
            }
            other => panic!("{other:?}"),
        }
    }
    for (ns, answered) in [("urn:x", true), ("urn:y", false)] {
        let payload = Builder::new("q", ns);
        let stanza = nuncio_xmpp::stanza::iq(IqType::Get, "1").child(payload).build();
        let question =
            Question::Unbound { domain: "localhost".to_owned(), who: None, stanza: Box::new(stanza) };
        match juliet.host.ask(question).await {
            Answer::Unbound(reply) => assert_eq!(reply.is_some(), answered),
            other => panic!("{other:?}"),
        }
    }
    juliet.bind("balcony").await.unwrap();
    let previd = juliet.enable().await;
    let wake = || Event::Nonza(Builder::new("wake", "urn:x").element());
    for times in 1..=2 {
        juliet.host.event(wake()).await;
        assert!(juliet.one().await.contains(&format!("times='{times}'")));
    }
    juliet.lose().await;
    let (mut juliet, _) = Client::resume(&router, "juliet", &previd, 0).await.unwrap();
    juliet.host.event(wake()).await;
    assert!(juliet.one().await.contains("times='1'"));
}

/// Counts logins in the store, and keeps the count at the account.
struct Counts(nuncio_store::Table);

impl nuncio_router::points::Load<u32> for Counts {
    fn load(&self, look: &nuncio_store::Look<'_>) -> Result<u32, nuncio_store::Fault> {
        let value = look.get(&self.0, b"count")?;
        Ok(value.and_then(|value| std::str::from_utf8(&value).ok()?.parse().ok()).unwrap_or_default())
    }
}

/// Hears who is bound.
struct Hears(nuncio_router::slots::AccountSlot<u32>, nuncio_store::Table);

impl nuncio_router::points::Listener<nuncio_router::facts::Bound> for Hears {
    fn heard(&self, step: &mut nuncio_router::Step<'_>, fact: &nuncio_router::facts::Bound) {
        let count = step.account.slot_mut(self.0);
        *count += 1;
        let text = count.to_string();
        step.wait(self.1.put(fact.jid.bare_str(), b"count", text));
    }
}

/// An account's slot is loaded before anything happens at it.
#[tokio::test(start_paused = true)]
async fn slots_are_loaded_and_facts_heard() {
    let plug = extension("counts", |host| {
        let table = host.table("counts")?;
        let slot = host.loaded_slot::<u32>(Counts(table.clone()));
        host.listen(Hears(slot, table));
        Ok(())
    });
    let store = Store::memory();
    for login in 1..=3 {
        let router = server_with(RouterConfig::default(), store.clone(), &[plug]).await;
        if login == 1 {
            add(&router, &["juliet"]).await;
        }
        Client::login(&router, "juliet", "balcony").await.leave().await;
        let value = store.table("counts").get("juliet@localhost", b"count").await.unwrap().unwrap();
        assert_eq!(value, login.to_string());
    }
}
