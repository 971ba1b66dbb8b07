//! Pairs of accounts that write to each other.
//!
//! `window` messages of each pair are on their way at any time: whoever gets one answers it at once. With a window of one that is
//! ping-pong. With a partner of the target, one of each pair is there, and every message goes from server to server. Each message leaves in a record and a write of its own, as from people who type, unless `together` allows more.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Barrier, Mutex, OnceLock, PoisonError};
use std::time::Instant;

use serde::Deserialize;

use super::bench::{Meter, log_in, settle};
use super::mark::{LENGTH, Reader, Sequence, Template};
use super::{Bench, Kind, LONGEST, MOST_CONNECTIONS, Seconds, within};
use crate::engine::login::Wish;
use crate::engine::scram::Mechanism;
use crate::engine::{At, Engine, Flow, Session};

/// How many messages are sent before an acknowledgement is asked for (XEP-0198 §4).
const PACE: u32 = 10;

/// One-to-one chat with a window.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Chat {
    /// How many pairs.
    pub pairs: u32,
    /// Messages on their way in each pair.
    pub window: u32,
    /// Messages that may leave in one record and one write, if several are due at once.
    pub together: u32,
    /// Bytes of a body.
    pub body: usize,
    /// The measured time.
    pub seconds: Seconds,
    /// What runs before it and is not measured.
    pub warmup: Seconds,
    /// With stream management: both sides count, ask and answer.
    pub managed: bool,
    /// Sessions that are logged in besides and do nothing.
    pub bystanders: u32,
    /// How to log in.
    pub mechanism: Mechanism,
}

impl Kind for Chat {
    fn check(&self) -> Result<(), String> {
        within("pairs", self.pairs, 1, MOST_CONNECTIONS / 2)?;
        within("window", self.window, 1, 1000)?;
        within("together", self.together, 1, 1000)?;
        within("body", self.body, LENGTH, 65_536)?;
        within("seconds", self.seconds.0, 0.1, LONGEST)?;
        within("warmup", self.warmup.0, 0.0, LONGEST)?;
        within("bystanders", self.bystanders, 0, MOST_CONNECTIONS - 2 * self.pairs)
    }

    fn run(&self, bench: &mut Bench<'_>) -> Result<(), String> {
        bench.room_for(u64::from(2 * self.pairs + self.bystanders))?;
        let threads = u32::from(bench.target.threads).clamp(1, self.pairs);
        let target = bench.target;
        let shared = Shared {
            chat: self,
            threads,
            barrier: Barrier::new(threads as usize),
            failed: AtomicBool::new(false),
            start: OnceLock::new(),
            bench: Mutex::new(bench),
        };
        let run = |number: u32| {
            let mut flow = Pairs::new(self);
            let done = match Engine::new(target) {
                Ok(mut engine) => shared.run(number, &mut engine, &mut flow),
                Err(why) => shared.arrive(Err(why)),
            };
            (flow, done)
        };
        let all: Vec<_> = std::thread::scope(|scope| {
            let run = &run;
            let others: Vec<_> = (1..threads).map(|number| scope.spawn(move || run(number))).collect();
            let mut all = vec![run(0)];
            all.extend(others.into_iter().filter_map(|other| other.join().ok()));
            all
        });
        let mut total = Meter::default();
        let mut done = Ok(());
        for (flow, result) in all {
            total.add(&flow.meter);
            for (tag, side) in flow.sides.iter().enumerate() {
                let sent = flow.sides.get(tag ^ 1).map_or(0, |partner| partner.sent);
                bench.report.duplicates += side.came.duplicates();
                bench.report.lost += side.came.lost(sent);
            }
            if done.is_ok() {
                done = result;
            }
        }
        bench.tell("message", &total);
        done
    }
}

/// What the threads of one chat share. Each has its own pairs, connections and poller.
struct Shared<'c, 'b, 't> {
    chat: &'c Chat,
    threads: u32,
    barrier: Barrier,
    failed: AtomicBool,
    start: OnceLock<Instant>,
    bench: Mutex<&'b mut Bench<'t>>,
}

impl Shared<'_, '_, '_> {
    /// Waits until all threads are here, and says if one of them has failed.
    fn arrive(&self, done: Result<(), String>) -> Result<(), String> {
        if done.is_err() {
            self.failed.store(true, Ordering::SeqCst);
        }
        self.barrier.wait();
        match done {
            Ok(()) if self.failed.load(Ordering::SeqCst) => Err("another thread has failed".to_owned()),
            done => done,
        }
    }

    fn run(&self, number: u32, engine: &mut Engine<'_>, flow: &mut Pairs) -> Result<(), String> {
        let chat = self.chat;
        let pairs = (number..chat.pairs).step_by(self.threads as usize);
        let accounts: Vec<u32> = pairs.flat_map(|pair| [2 * pair, 2 * pair + 1]).collect();
        let wish = |account: u32, pair: u64| Wish {
            account,
            resource: "load".to_owned(),
            managed: chat.managed,
            presence: true,
            mechanism: chat.mechanism,
            pair,
            // Of each pair one is at the partner, so that each message goes from one server to the other.
            away: account < 2 * chat.pairs && account % 2 == 1,
            ..Wish::default()
        };
        let bystanders = (number..chat.bystanders).step_by(self.threads as usize);
        // At a relay a bystander has a pair of its own: the other half might be another thread's.
        let others = bystanders.map(|other| 2 * chat.pairs + other);
        let others = others.map(|account| (wish(account, u64::from(account) << 32), u32::MAX));
        flow.expect(&accounts);
        let wishes =
            (0_u32..).zip(&accounts).map(|(tag, account)| (wish(*account, u64::from(account / 2)), tag));
        let there = log_in(engine, flow, wishes.chain(others)).and_then(|()| settle(engine, flow));
        self.arrive(there)?;
        let begun = *self.start.get_or_init(Instant::now);
        let from = begun + chat.warmup.duration();
        let to = from + chat.seconds.duration();
        flow.meter.set(from, to);
        let measured = self.measure(number, engine, flow, from, to);
        flow.stopping = true;
        measured?;
        while flow.on_their_way > 0 {
            engine.turn(flow, None, true)?;
        }
        engine.close_all(flow);
        Ok(())
    }

    fn measure(
        &self,
        number: u32,
        engine: &mut Engine<'_>,
        flow: &mut Pairs,
        from: Instant,
        to: Instant,
    ) -> Result<(), String> {
        let bench = || self.bench.lock().unwrap_or_else(PoisonError::into_inner);
        flow.begin(engine, self.chat)?;
        while Instant::now() < from {
            engine.turn(flow, Some(from), true)?;
        }
        if number == 0 {
            bench().begin()?;
        }
        let mut done = Ok(());
        while done.is_ok() && Instant::now() < to {
            done = engine.turn(flow, Some(to), true);
        }
        if number == 0 {
            bench().end()?;
        }
        done
    }
}

/// One end of a pair.
#[derive(Debug, Default)]
struct Side {
    conn: usize,
    jid: String,
    template: Template,
    sent: u64,
    /// When the last `window` messages were sent, by number.
    sent_at: Vec<Instant>,
    /// What came from the partner.
    came: Sequence,
    /// Sent since an acknowledgement was asked for; nothing is asked without stream management.
    unasked: u32,
}

struct Pairs {
    /// Two for each pair: the partner of `tag` is `tag ^ 1`.
    sides: Vec<Side>,
    reader: Reader,
    managed: bool,
    window: usize,
    together: usize,
    stopping: bool,
    on_their_way: u64,
    meter: Meter,
}

impl Pairs {
    fn new(chat: &Chat) -> Self {
        Self {
            sides: Vec::new(),
            reader: Reader::new(),
            managed: chat.managed,
            window: chat.window as usize,
            together: chat.together as usize,
            stopping: false,
            on_their_way: 0,
            meter: Meter::default(),
        }
    }

    fn expect(&mut self, accounts: &[u32]) {
        self.sides.resize_with(accounts.len(), Side::default);
    }

    /// The first side of each pair fills the window.
    fn begin(&mut self, engine: &mut Engine<'_>, chat: &Chat) -> Result<(), String> {
        let now = Instant::now();
        let jids: Vec<String> = self.sides.iter().map(|side| side.jid.clone()).collect();
        for (tag, side) in (0_u32..).zip(&mut self.sides) {
            let partner = jids.get(tag as usize ^ 1).map_or("", String::as_str);
            side.template = Template::new(partner, tag, chat.body);
            side.sent_at = vec![now; self.window];
        }
        let mut out = Vec::new();
        for side in self.sides.iter_mut().step_by(2) {
            self.on_their_way += self.window as u64;
            let mut rest = self.window;
            while rest > 0 {
                let count = rest.min(self.together);
                out.clear();
                (0..count).for_each(|_| side.send(now, &mut out));
                engine.send(side.conn, &out)?;
                rest -= count;
            }
        }
        Ok(())
    }
}

impl Side {
    fn send(&mut self, now: Instant, out: &mut Vec<u8>) {
        self.template.append(self.sent, out);
        let slot = self.sent as usize % self.sent_at.len().max(1);
        if let Some(at) = self.sent_at.get_mut(slot) {
            *at = now;
        }
        self.sent += 1;
        self.unasked += 1;
    }
}

impl Flow for Pairs {
    fn together(&self) -> usize {
        self.together
    }

    fn up(&mut self, at: At, session: Session, _: &mut Vec<u8>) -> Result<(), String> {
        if let Some(side) = self.sides.get_mut(at.tag as usize) {
            side.conn = at.conn;
            side.jid = session.jid;
        }
        Ok(())
    }

    fn stanza(&mut self, at: At, stanza: &[u8], reply: &mut Vec<u8>) -> Result<(), String> {
        let Some((from, number)) = self.reader.read(stanza, at.tag)? else { return Ok(()) };
        let Some(sender) = self.sides.get(from as usize).filter(|_| from == at.tag ^ 1) else {
            return Err(format!("a message of connection {from} came to connection {}", at.tag));
        };
        let slot = number as usize % self.window.max(1);
        let (sent, sent_at) = (sender.sent, sender.sent_at.get(slot).copied().unwrap_or(at.now));
        let Some(side) = self.sides.get_mut(at.tag as usize) else { return Ok(()) };
        if number >= sent {
            return Err(format!("message {number} came of {sent}"));
        }
        if !side.came.take(number)? {
            return Ok(());
        }
        self.meter.record(at.now, at.now.saturating_duration_since(sent_at));
        if self.stopping {
            self.on_their_way -= 1;
            return Ok(());
        }
        side.send(at.now, reply);
        if self.managed && side.unasked >= PACE {
            reply.extend_from_slice(b"<r xmlns='urn:xmpp:sm:3'/>");
            side.unasked = 0;
        }
        Ok(())
    }
}
