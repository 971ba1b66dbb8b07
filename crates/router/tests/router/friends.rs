//! Random lives of three accounts that come, go, subscribe and part: whatever happens, both sides of every subscription agree, every client
//! has the roster as it is, and knows exactly who is there of those whose presence its account gets (RFC 6121 §2, §3, §4, §A).
#![expect(clippy::unwrap_used, reason = "a helper of tests; clippy does not see that it is one")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use nuncio_router::roster::Item;
use nuncio_router::{Router, RouterConfig};
use nuncio_store::Store;
use nuncio_xmpp::ns;
use nuncio_xmpp::xml::Element;

use crate::common::{Client, add, bare, server_with};

const HISTORIES: u64 = 60;
const STEPS: usize = 80;
const NAMES: [&str; 3] = ["juliet", "nurse", "romeo"];

/// A generator whose numbers follow from its seed alone.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        // xorshift64*
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33;
        usize::try_from(number).unwrap() % sides
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.roll(of.len())]
    }
}

/// What a device keeps while it is offline: the roster, as it heard of it last.
#[derive(Default)]
struct Cache {
    ver: String,
    items: BTreeMap<String, String>,
}

struct Device {
    client: Client,
    available: bool,
    /// The full addresses of others that it believes to be there.
    there: BTreeSet<String>,
}

struct World {
    router: Arc<Router>,
    store: Store,
    /// By account and resource.
    devices: BTreeMap<(usize, usize), Device>,
    caches: BTreeMap<(usize, usize), Cache>,
    sets: usize,
}

impl World {
    async fn new() -> Self {
        let store = Store::memory();
        let router = server_with(config(), store.clone(), &[]).await;
        add(&router, &NAMES).await;
        Self { router, store, devices: BTreeMap::new(), caches: BTreeMap::new(), sets: 0 }
    }

    async fn login(&mut self, place: (usize, usize)) {
        let mut client = Client::login(&self.router, NAMES[place.0], &place.1.to_string()).await;
        let ver = &self.caches.entry(place).or_default().ver;
        client
            .send(&format!("<iq type='get' id='get'><query xmlns='jabber:iq:roster' ver='{ver}'/></iq>"))
            .await;
        self.devices.insert(place, Device { client, available: false, there: BTreeSet::new() });
    }

    async fn act(&mut self, dice: &mut Dice) {
        let place = (dice.roll(3), dice.roll(2));
        let other = bare(NAMES[(place.0 + 1 + dice.roll(2)) % 3]);
        let Some(device) = self.devices.get_mut(&place) else {
            return self.login(place).await;
        };
        match dice.roll(20) {
            0 => self.devices.remove(&place).unwrap().client.leave().await,
            1 => self.devices.remove(&place).unwrap().client.lose().await,
            2 => {
                device.available = false;
                device.there.clear();
                device.client.send("<presence type='unavailable'/>").await;
            }
            3..7 => {
                device.available = true;
                let show = dice.pick(&["", "<show>away</show>", "<priority>-1</priority>"]);
                device.client.send(&format!("<presence>{show}</presence>")).await;
            }
            7..16 => {
                let kind = dice.pick(&[
                    "subscribe",
                    "subscribe",
                    "subscribed",
                    "subscribed",
                    "unsubscribe",
                    "unsubscribed",
                ]);
                device.client.send(&format!("<presence to='{other}' type='{kind}'/>")).await;
            }
            16 | 17 => {
                let name = dice.roll(3);
                self.sets += 1;
                device.client.send(&set(self.sets, &format!("<item jid='{other}' name='{name}'/>"))).await;
            }
            18 => {
                self.sets += 1;
                device
                    .client
                    .send(&set(self.sets, &format!("<item jid='{other}' subscription='remove'/>")))
                    .await;
            }
            _ => {
                // The server dies and comes back with what it had stored.
                self.devices.clear();
                self.router = server_with(config(), self.store.clone(), &[]).await;
            }
        }
    }

    /// Every device reads what came.
    async fn read(&mut self) {
        for (place, device) in &mut self.devices {
            let own = device.client.account.clone();
            for stanza in device.client.drain().await {
                let element = Element::parse_in(ns::CLIENT, stanza.clone()).unwrap();
                let kind = element.attr("type").unwrap_or_default().into_owned();
                let from = element.attr("from").unwrap_or_default().into_owned();
                match (element.name(), kind.as_str()) {
                    ("iq", "set" | "result") => {
                        let cache = self.caches.get_mut(place).unwrap();
                        if let Some(query) = element.child("query", ns::ROSTER) {
                            cache.hear(query, kind == "result");
                        }
                    }
                    ("presence", "" | "unavailable") if from.starts_with(own.as_str()) => {}
                    ("presence", "") => {
                        assert!(device.available, "presence for one who is not there: {stanza}");
                        device.there.insert(from);
                    }
                    ("presence", "unavailable") => {
                        device.there.remove(&from);
                    }
                    ("presence", "error") => panic!("{stanza}"),
                    _ => {}
                }
            }
        }
    }

    async fn item(&self, of: usize, about: usize) -> Item {
        let about = bare(NAMES[about]);
        let known = |step: &mut nuncio_router::Step<'_>| step.account.roster.known(&about);
        self.router.step(&bare(NAMES[of]), known).await.unwrap().unwrap().value
    }

    async fn check(&self) {
        for (one, name) in NAMES.into_iter().enumerate() {
            for two in (0..3).filter(|two| *two != one) {
                let (mine, theirs) = (self.item(one, two).await, self.item(two, one).await);
                let pair = format!("{name} and {}: {mine:?} {theirs:?}", NAMES[two]);
                assert_eq!(mine.subscription().is_to(), theirs.subscription().is_from(), "{pair}");
                assert_eq!(mine.state.pending_out(), theirs.state.pending_in(), "{pair}");
                assert_eq!(mine.state.pending_in(), mine.request.is_some(), "{pair}");
                assert!(
                    mine.listed || !mine.subscription().is_to() && !mine.subscription().is_from(),
                    "{pair}"
                );
                let available: BTreeSet<_> = self
                    .devices
                    .iter()
                    .filter(|(place, device)| place.0 == two && device.available)
                    .map(|(_, device)| device.client.jid.clone())
                    .collect();
                for (_, device) in
                    self.devices.iter().filter(|(place, device)| place.0 == one && device.available)
                {
                    let prefix = format!("{}/", bare(NAMES[two]));
                    let seen: BTreeSet<_> =
                        device.there.iter().filter(|jid| jid.starts_with(&prefix)).cloned().collect();
                    let expected = if mine.subscription().is_to() { &available } else { &BTreeSet::new() };
                    assert_eq!(&seen, expected, "{} of {pair}", device.client.jid);
                }
            }
        }
        for place in self.devices.keys() {
            let mut items = BTreeMap::new();
            for other in (0..3).filter(|other| *other != place.0) {
                let item = self.item(place.0, other).await;
                if item.listed {
                    let ask = if item.state.pending_out() { "subscribe" } else { "" };
                    let words =
                        format!("{} {} {ask} {}", item.name, item.subscription().as_str(), item.approved);
                    items.insert(bare(NAMES[other]).to_string(), words);
                }
            }
            assert_eq!(self.caches[place].items, items, "the roster of {place:?}");
        }
    }
}

impl Cache {
    fn hear(&mut self, query: nuncio_xmpp::xml::ElementRef<'_>, whole: bool) {
        self.ver = query.attr("ver").unwrap().into_owned();
        if whole {
            self.items.clear();
        }
        for item in query.children() {
            let text = |name| item.attr(name).unwrap_or_default().into_owned();
            if text("subscription") == "remove" {
                self.items.remove(&text("jid"));
                continue;
            }
            let approved = text("approved") == "true";
            let words = format!("{} {} {} {approved}", text("name"), text("subscription"), text("ask"));
            self.items.insert(text("jid"), words);
        }
    }
}

fn config() -> RouterConfig {
    let mut config = RouterConfig::default();
    config.limits.stanzas_per_second = 1_000_000;
    config
}

fn set(number: usize, item: &str) -> String {
    format!("<iq type='set' id='{number}'><query xmlns='jabber:iq:roster'>{item}</query></iq>")
}

#[tokio::test(start_paused = true)]
async fn everyone_knows_what_is_so() {
    let (mut subscriptions, mut checks) = (0, 0);
    for seed in 1..=HISTORIES {
        let mut dice = Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let mut world = World::new().await;
        for _ in 0..STEPS {
            world.act(&mut dice).await;
            world.read().await;
            world.check().await;
            checks += 1;
        }
        for one in 0..3 {
            for two in (0..3).filter(|two| *two != one) {
                subscriptions += usize::from(world.item(one, two).await.subscription().is_to());
            }
        }
    }
    assert_eq!(checks, STEPS * usize::try_from(HISTORIES).unwrap());
    assert!(subscriptions > 20, "the histories have subscriptions: {subscriptions}");
}
