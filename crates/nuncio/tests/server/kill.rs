//! `kill -9` under load: nothing acknowledged is lost, and within one life of the server nothing is delivered twice to a session that resumed.
//!
//! A model keeps what clients were promised: the messages that the server acknowledged (XEP-0198), the roster sets that had their result.
//! After each kill the same data is served again and must keep every promise. `NUNCIO_KILL_ROUNDS` sets the number of rounds (5),
//! `NUNCIO_KILL_SEED` repeats a run's choices (not the kernel's).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nuncio_client::{ClientConfig, Event, RequestError, Sender, Session};
use nuncio_sansio::Entropy as _;
use nuncio_xmpp::ns;
use nuncio_xmpp::xml::Builder;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::harness::{PATIENCE, Place, Running, chat, connect, online, present, wait};

const PAIRS: usize = 3;
/// Contacts that each sender changes again and again.
const CONTACTS: u64 = 6;

/// A generator whose seed is printed: SplitMix64.
#[derive(Clone)]
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (word ^ (word >> 31)) % sides
    }

    fn fork(&mut self) -> Self {
        Self(self.roll(u64::MAX))
    }
}

fn from_env(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

/// What a sender may rely on.
#[derive(Default)]
struct Promises {
    /// Acknowledged and not yet seen by the recipient, by recipient.
    owed: BTreeMap<String, BTreeSet<String>>,
    /// Contacts whose last change has its result: the name, or none if removed.
    roster: HashMap<String, Option<String>>,
    /// Contacts with changes that have no result: also these may have become true.
    maybe: HashMap<String, BTreeSet<Option<String>>>,
    /// How much was checked.
    kept: usize,
}

fn contact(number: u64) -> String {
    format!("contact-{number}@elsewhere.example")
}

fn roster_item(jid: &str, name: Option<&str>) -> Builder {
    let item = Builder::new("item", ns::ROSTER).attr("jid", jid).attr_opt("name", name);
    let item = if name.is_none() { item.attr("subscription", "remove") } else { item };
    Builder::new("query", ns::ROSTER).child(item)
}

/// Settings under which much happens at once.
fn hasty(server: &Running, name: &str) -> ClientConfig {
    let mut config = server.client(name);
    config.pace.every = 5;
    config.pace.quiet = Duration::from_millis(20);
    config
}

/// Changes contacts until the server is gone.
async fn change_roster(
    sender: Sender,
    life: u64,
    mut dice: Dice,
    promises: Arc<Mutex<Promises>>,
    dead: Arc<AtomicBool>,
) {
    let mut serial = 0;
    while !dead.load(Ordering::Acquire) {
        let jid = contact(dice.roll(CONTACTS));
        serial += 1;
        let name = (dice.roll(4) > 0).then(|| format!("life {life} change {serial}"));
        promises.lock().unwrap().maybe.entry(jid.clone()).or_default().insert(name.clone());
        let result = sender.set(None, roster_item(&jid, name.as_deref())).await;
        let mut promises = promises.lock().unwrap();
        match result {
            Ok(_) => {
                // Changes of one account are made in order, so earlier ones do not matter any more.
                promises.maybe.remove(&jid);
                promises.roster.insert(jid, name);
            }
            // Removing whom one does not have is refused (RFC 6121 §2.5.3), and changes nothing.
            Err(RequestError::Refused(_)) if name.is_none() => {
                promises.maybe.get_mut(&jid).map(|maybe| maybe.remove(&None));
            }
            Err(RequestError::Refused(error)) => panic!("a roster set is refused: {error:?}"),
            Err(_) => {}
        }
    }
}

/// Follows a session through cuts until the server is gone; hands every event but connections' to `heard`.
async fn live(mut session: Session, mut dice: Dice, dead: Arc<AtomicBool>, mut heard: impl FnMut(Event)) {
    let mut next_cut = Instant::now() + Duration::from_millis(50 + dice.roll(400));
    loop {
        let event = tokio::select! {
            event = session.next() => event.expect("an event"),
            () = tokio::time::sleep_until(next_cut.into()) => {
                session.cut();
                next_cut = Instant::now() + Duration::from_millis(50 + dice.roll(400));
                continue;
            }
        };
        match event {
            Event::Disconnected(end) => {
                if dead.load(Ordering::Acquire) {
                    return;
                }
                assert!(end.may_retry, "{:?}", end.why);
                session.reconnect();
            }
            Event::Online(online) => {
                assert!(online.resumed, "a session was not resumed in the server's life")
            }
            event => heard(event),
        }
    }
}

/// Sends numbered messages to `live` and to `away` until the server is gone; what is acknowledged is owed.
async fn send(
    session: Session,
    pair: usize,
    life: u64,
    mut dice: Dice,
    promises: Arc<Mutex<Promises>>,
    dead: Arc<AtomicBool>,
) {
    let sender = session.sender();
    let sent = Arc::new(Mutex::new(Vec::new()));
    let acked = Arc::new(Mutex::new(0));
    let roster = tokio::spawn(change_roster(
        session.sender(),
        life,
        dice.fork(),
        Arc::clone(&promises),
        Arc::clone(&dead),
    ));
    let writes = {
        let (sent, dead, mut dice) = (Arc::clone(&sent), Arc::clone(&dead), dice.fork());
        tokio::spawn(async move {
            let mut serial = 0;
            while !dead.load(Ordering::Acquire) {
                let to = if dice.roll(3) == 0 {
                    format!("away{pair}@localhost")
                } else {
                    format!("to{pair}@localhost")
                };
                let body = format!("{life}.{pair}.{serial:06}");
                serial += 1;
                match timeout(Duration::from_millis(100), sender.send(&chat(&to, &body))).await {
                    Ok(Ok(number)) => sent.lock().unwrap().push((number, to, body)),
                    Ok(Err(_)) => return,
                    Err(_) => {}
                }
                if dice.roll(10) == 0 {
                    tokio::time::sleep(Duration::from_millis(dice.roll(20))).await;
                }
            }
        })
    };
    let heard = {
        let acked = Arc::clone(&acked);
        move |event| {
            if let Event::Acked { number } = event {
                *acked.lock().unwrap() = number;
            }
        }
    };
    live(session, dice.fork(), dead, heard).await;
    writes.await.unwrap();
    // Its last request has nobody to answer it.
    roster.await.unwrap();
    let acked = *acked.lock().unwrap();
    let mut promises = promises.lock().unwrap();
    for (number, to, body) in sent.lock().unwrap().drain(..) {
        if number <= acked {
            promises.owed.entry(to).or_default().insert(body);
        }
    }
}

/// Reads until the server is gone. Within one life nothing comes twice, and this life's messages come in order.
async fn read(session: Session, life: u64, dice: Dice, dead: Arc<AtomicBool>) -> Vec<String> {
    let seen = Arc::new(Mutex::new(Vec::<String>::new()));
    let heard = {
        let seen = Arc::clone(&seen);
        move |event| {
            if let Event::Stanza(stanza) = event {
                seen.lock().unwrap().extend(stanza.body_text().map(std::borrow::Cow::into_owned));
            }
        }
    };
    live(session, dice, dead, heard).await;
    let seen = std::mem::take(&mut *seen.lock().unwrap());
    let own: Vec<_> = seen.iter().filter(|body| body.starts_with(&format!("{life}."))).collect();
    assert!(own.is_sorted_by(|one, other| one < other), "twice, or out of order: {own:?}");
    assert_eq!(seen.iter().collect::<BTreeSet<_>>().len(), seen.len(), "twice in one life");
    seen
}

/// Every promise is kept.
async fn check(server: &Running, promises: &[Arc<Mutex<Promises>>]) {
    for (pair, promises) in promises.iter().enumerate() {
        let owed = std::mem::take(&mut promises.lock().unwrap().owed);
        for (to, mut owed) in owed {
            let count = owed.len();
            let mut session = online(server.client(to.split('@').next().unwrap())).await;
            let mut seen = BTreeSet::new();
            let search = async {
                while !owed.is_empty() {
                    if let Event::Stanza(stanza) = session.next().await.expect("an event")
                        && let Some(body) = stanza.body_text()
                    {
                        owed.remove(&*body);
                        assert!(seen.insert(body.clone().into_owned()), "{body} comes twice to {to}");
                    }
                }
            };
            let found = timeout(PATIENCE, search).await;
            assert!(found.is_ok(), "lost: {} of {count} to {to}, the first {:?}", owed.len(), owed.first());
            promises.lock().unwrap().kept += count;
            session.close().await;
        }
        let mut sender = connect(server.client(&format!("from{pair}"))).await;
        let roster = sender.get(None, Builder::new("query", ns::ROSTER)).await.unwrap();
        let items: HashMap<String, String> = roster.payload().map_or_else(HashMap::new, |query| {
            let item = |name: &str, item: &nuncio_xmpp::xml::ElementRef<'_>| {
                item.attr(name).unwrap_or_default().into_owned()
            };
            query.children().map(|one| (item("jid", &one), item("name", &one))).collect()
        });
        sender.close().await;
        let mut promises = promises.lock().unwrap();
        let maybe = std::mem::take(&mut promises.maybe);
        for number in 0..CONTACTS {
            let jid = contact(number);
            let is = items.get(&jid).cloned();
            let promised = promises.roster.get(&jid).cloned().flatten();
            let may = maybe.get(&jid).is_some_and(|maybe| maybe.contains(&is));
            assert!(is == promised || may, "{jid} of pair {pair} is {is:?}, promised was {promised:?}");
            promises.roster.insert(jid, is);
            promises.kept += 1;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_rounds() {
    let rounds = from_env("NUNCIO_KILL_ROUNDS").unwrap_or(5);
    let seed = from_env("NUNCIO_KILL_SEED").unwrap_or_else(|| {
        let mut raw = [0; 8];
        nuncio_net::OsEntropy.fill(&mut raw);
        u64::from_be_bytes(raw)
    });
    println!("NUNCIO_KILL_ROUNDS={rounds} NUNCIO_KILL_SEED={seed}");
    let mut dice = Dice(seed);
    let place = Place::new(&[
        "limits.stanzas_per_second = 100000",
        "limits.bytes_per_second = 100000000",
        "limits.offline_messages = 1000000",
        "limits.connects_per_second = 10000",
    ]);
    for pair in 0..PAIRS {
        place.accounts(&[&format!("from{pair}"), &format!("to{pair}"), &format!("away{pair}")]);
    }
    let promises: Vec<Arc<Mutex<Promises>>> = (0..PAIRS).map(|_| Arc::default()).collect();
    for life in 0..rounds {
        let server = place.serve();
        check(&server, &promises).await;
        let dead = Arc::new(AtomicBool::new(false));
        let mut readers = JoinSet::new();
        let mut senders = JoinSet::new();
        for (pair, promises) in promises.iter().enumerate() {
            let managed = async |name: String| {
                let mut session = connect(hasty(&server, &name)).await;
                wait(&mut session, |event| matches!(event, Event::Managed { resumable: true }).then_some(()))
                    .await;
                present(&mut session).await;
                session
            };
            let reader = managed(format!("to{pair}")).await;
            let (reads, dead_too) = (dice.fork(), Arc::clone(&dead));
            readers.spawn(async move { (pair, read(reader, life, reads, dead_too).await) });
            let sender = managed(format!("from{pair}")).await;
            senders.spawn(send(sender, pair, life, dice.fork(), Arc::clone(promises), Arc::clone(&dead)));
        }
        tokio::time::sleep(Duration::from_millis(200 + dice.roll(1200))).await;
        dead.store(true, Ordering::Release);
        server.kill();
        while let Some(sent) = timeout(PATIENCE, senders.join_next()).await.expect("in time") {
            sent.unwrap();
        }
        while let Some(seen) = timeout(PATIENCE, readers.join_next()).await.expect("in time") {
            let (pair, seen) = seen.unwrap();
            let mut promises = promises[pair].lock().unwrap();
            let before = promises.owed.entry(format!("to{pair}@localhost")).or_default();
            let count = before.len();
            for body in seen {
                before.remove(&body);
            }
            let kept = count - before.len();
            promises.kept += kept;
        }
        let owed: usize = promises
            .iter()
            .flat_map(|one| one.lock().unwrap().owed.values().map(BTreeSet::len).collect::<Vec<_>>())
            .sum();
        println!("life {life}: {owed} acknowledged messages not yet seen");
    }
    let mut server = place.serve();
    check(&server, &promises).await;
    server.stop();
    let kept: usize = promises.iter().map(|one| one.lock().unwrap().kept).sum();
    println!("{kept} promises kept in {rounds} lives");
    assert!(kept as u64 > rounds * 10, "the test had nothing to check");
}
