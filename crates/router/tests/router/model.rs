//! Random histories of devices that come, go, read, acknowledge and vanish: nothing that was accepted is lost (B10, invariants 8, 9 and 11).
//!
//! Every storable message that the server took ends in the hands of a device, or back at its sender. A killed process may lose
//! only what it had not acknowledged. At the end no row is left of what was taken.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::common::{Client, add, body, server_with};
use nuncio_router::{Router, RouterConfig};
use nuncio_store::Store;

/// Histories, and steps in each.
const HISTORIES: u64 = 400;
const STEPS: usize = 120;

/// A generator whose numbers follow from its seed alone.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        // xorshift64*
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % sides
    }
}

struct Device {
    client: Client,
    /// The id for resumption, with stream management.
    previd: Option<String>,
    /// Stanzas read since stream management was enabled.
    h: u32,
    /// The last live message on this connection.
    last: Option<u64>,
}

struct World {
    router: Arc<Router>,
    store: Store,
    /// With and without stream management.
    senders: Vec<Client>,
    devices: BTreeMap<u64, Device>,
    /// Sessions that wait to be resumed: id and what the client has handled.
    asleep: BTreeMap<u64, (String, u32)>,
    sent: u64,
    /// Messages that must not be lost.
    owed: BTreeSet<u64>,
    /// Those of them that only the memory knows: of the sender without stream management.
    unsafe_: BTreeSet<u64>,
    received: BTreeSet<u64>,
    returned: BTreeSet<u64>,
    /// What happened, told when it was wrong.
    log: Vec<String>,
}

fn config() -> RouterConfig {
    let mut config = RouterConfig::default();
    config.limits.stanzas_per_second = 1_000_000;
    config.limits.bytes_per_second = 1_000_000_000;
    config.limits.queue_stanzas = 12;
    config.limits.offline_messages = 40;
    config
}

impl World {
    async fn new() -> Self {
        let store = Store::memory();
        let router = server_with(config(), store.clone(), &[]).await;
        add(&router, &["juliet", "romeo"]).await;
        let mut world = Self {
            router,
            store,
            senders: Vec::new(),
            devices: BTreeMap::new(),
            asleep: BTreeMap::new(),
            sent: 0,
            owed: BTreeSet::new(),
            unsafe_: BTreeSet::new(),
            received: BTreeSet::new(),
            returned: BTreeSet::new(),
            log: Vec::new(),
        };
        world.senders().await;
        world
    }

    async fn senders(&mut self) {
        let mut managed = Client::login(&self.router, "juliet", "managed").await;
        managed.enable().await;
        let plain = Client::login(&self.router, "juliet", "plain").await;
        self.senders = vec![managed, plain];
    }

    async fn send(&mut self, dice: &mut Dice) {
        let number = self.sent;
        self.sent += 1;
        let which = usize::from(dice.roll(3) == 0);
        let to = match dice.roll(4) {
            0 => format!("romeo@localhost/{}", dice.roll(3)),
            _ => "romeo@localhost".to_owned(),
        };
        let storable = dice.roll(6) != 0;
        let hint = if storable { "" } else { "<no-store xmlns='urn:xmpp:hints'/>" };
        let kind = ["chat", "normal"][usize::from(dice.roll(2) == 0)];
        let sender = &mut self.senders[which];
        sender
            .send(&format!(
                "<message to='{to}' type='{kind}' id='{number}'><body>{number}</body>{hint}</message>"
            ))
            .await;
        if storable {
            self.owed.insert(number);
            if which == 1 {
                self.unsafe_.insert(number);
            }
        }
        self.log.push(format!("send {number} to {to} by {which}, storable: {storable}"));
        self.bounces().await;
        assert_eq!(self.senders[which].handled, self.senders[which].number);
    }

    async fn bounces(&mut self) {
        for sender in &mut self.senders {
            for stanza in sender.drain().await {
                assert!(stanza.contains("type='error'"), "{stanza}");
                let id = stanza.split("id='").nth(1).and_then(|rest| rest.split('\'').next()).unwrap();
                self.log.push(format!("bounced {id}"));
                assert!(self.returned.insert(id.parse().unwrap()), "bounced twice: {stanza}");
            }
        }
    }

    async fn connect(&mut self, place: u64, dice: &mut Dice) {
        if self.devices.contains_key(&place) {
            return;
        }
        if let Some((previd, h)) = self.asleep.remove(&place)
            && dice.roll(3) != 0
            && let Ok((client, resumed)) = Client::resume(&self.router, "romeo", &previd, h).await
        {
            assert!(resumed.outbound >= h);
            self.log.push(format!("{place} resumes at {h}"));
            self.devices.insert(place, Device { client, previd: Some(previd), h, last: None });
            return;
        }
        let mut client = Client::login(&self.router, "romeo", &place.to_string()).await;
        let previd = if dice.roll(3) == 0 { None } else { Some(client.enable().await) };
        let priority = [-1, 0, 0, 5][usize::try_from(dice.roll(4)).unwrap()];
        client.send(&format!("<presence><priority>{priority}</priority></presence>")).await;
        self.log.push(format!("{place} comes, managed: {}, priority {priority}", previd.is_some()));
        self.devices.insert(place, Device { client, previd, h: 0, last: None });
    }

    async fn read(&mut self, place: u64, most: u64) {
        let Some(device) = self.devices.get_mut(&place) else { return };
        for _ in 0..most {
            let Some(stanza) = device.client.next().await else { break };
            device.h += 1;
            let Some(number) = body(&stanza).and_then(|body| body.parse().ok()) else { continue };
            self.received.insert(number);
            self.log.push(format!("{place} reads {number}"));
            if !stanza.contains("urn:xmpp:delay") {
                assert!(device.last < Some(number), "live messages came out of order");
                device.last = Some(number);
            }
        }
        if device.client.closed.is_some()
            && let Some(device) = self.devices.remove(&place)
        {
            // Closed by the server: too slow. The session waits if it can.
            self.log.push(format!("{place} was closed: {:?}", device.client.closed));
            self.asleep.extend(device.previd.map(|previd| (place, (previd, device.h))));
        }
    }

    async fn ack(&mut self, place: u64) {
        if let Some(device) = self.devices.get_mut(&place)
            && device.previd.is_some()
        {
            self.log.push(format!("{place} acknowledges {}", device.h));
            device.client.ack(device.h).await;
        }
    }

    async fn part(&mut self, place: u64, lost: bool) {
        let Some(device) = self.devices.remove(&place) else { return };
        self.log.push(format!("{place} parts, lost: {lost}"));
        if lost {
            self.asleep.extend(device.previd.map(|previd| (place, (previd, device.h))));
            device.client.lose().await;
        } else {
            device.client.leave().await;
        }
    }

    /// The process ends: at once, or by the book.
    async fn restart(&mut self, graceful: bool) {
        self.log.push(format!("the process ends, graceful: {graceful}"));
        if graceful {
            self.router.shutdown(Duration::from_secs(1)).await.unwrap();
            self.bounces().await;
        } else {
            // What no row keeps is gone; that is only what nobody was told to be handled durably.
            for number in std::mem::take(&mut self.unsafe_) {
                self.owed.remove(&number);
            }
        }
        std::mem::take(&mut self.devices).into_values().for_each(|device| device.client.kill());
        std::mem::take(&mut self.senders).into_iter().for_each(Client::kill);
        self.asleep.clear();
        self.router = server_with(config(), self.store.clone(), &[]).await;
        self.senders().await;
    }

    async fn step(&mut self, dice: &mut Dice) {
        let place = dice.roll(3);
        match dice.roll(24) {
            0..9 => self.send(dice).await,
            9..13 => self.connect(place, dice).await,
            13..16 => {
                let most = dice.roll(6);
                self.read(place, most).await;
            }
            16..18 => self.ack(place).await,
            18..20 => self.part(place, true).await,
            20 => self.part(place, false).await,
            21 => {
                let seconds = dice.roll(400);
                self.log.push(format!("{seconds} seconds pass"));
                tokio::time::sleep(Duration::from_secs(seconds)).await;
                self.bounces().await;
            }
            22 if dice.roll(4) == 0 => self.restart(true).await,
            23 if dice.roll(4) == 0 => self.restart(false).await,
            _ => {}
        }
    }

    async fn finish(mut self) {
        for place in 0..3 {
            self.part(place, false).await;
        }
        tokio::time::sleep(Duration::from_secs(400)).await;
        self.bounces().await;
        // Everything that waits fits into one queue only bit by bit.
        for _ in 0..20 {
            let mut last = Client::login(&self.router, "romeo", "last").await;
            last.send("<presence/>").await;
            for stanza in last.drain().await {
                self.received.extend(body(&stanza).and_then(|body| body.parse::<u64>().ok()));
            }
            last.leave().await;
        }
        self.bounces().await;
        let lost: Vec<_> = self
            .owed
            .iter()
            .filter(|owed| !self.received.contains(owed) && !self.returned.contains(owed))
            .collect();
        assert!(lost.is_empty(), "lost: {lost:?} in {:#?}", self.log);
        let left = self.store.log("offline").count("romeo@localhost").await.unwrap();
        assert_eq!(left, 0, "rows of messages that were taken are left");
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_accepted_is_lost() {
    let mut messages = 0;
    for seed in 1..=HISTORIES {
        let mut dice = Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let mut world = World::new().await;
        println!("history {seed}");
        for _ in 0..STEPS {
            world.step(&mut dice).await;
        }
        messages += world.sent;
        world.finish().await;
    }
    assert!(messages > HISTORIES * 20, "the histories are not empty: {messages}");
}
