//! The leak test: for minutes, connections break and are resumed, break and are replaced, close and come back; the memory of a
//! connection at the beginning and at the end.
//!
//! At any time there are as many sessions as at the beginning: one that breaks for good is replaced under its own address, which ends
//! the old one. Each session that comes back writes a headline to its neighbour, who may be away just then.

use std::time::{Duration, Instant};

use serde::Deserialize;

use super::bench::{Meter, log_in, settle};
use super::{Bench, Kind, MOST_CONNECTIONS, Seconds, within};
use crate::engine::login::Wish;
use crate::engine::scram::Mechanism;
use crate::engine::{At, Engine, Flow, Session};

/// Connects, drops and resumes.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Churn {
    /// Sessions that there are.
    pub connections: u32,
    /// How long they come and go.
    pub minutes: f64,
    /// How many of them break or close each second.
    pub per_second: u32,
    /// How much of the time, in percent, has passed when memory is first looked at.
    pub first_look: u32,
    /// How long all are quiet before memory is looked at.
    pub rest: Seconds,
    /// How to log in.
    pub mechanism: Mechanism,
}

impl Kind for Churn {
    fn check(&self) -> Result<(), String> {
        within("connections", self.connections, 2, MOST_CONNECTIONS)?;
        within("minutes", self.minutes, 0.01, 24.0 * 60.0)?;
        within("per_second", self.per_second, 1, 10_000)?;
        within("first_look", self.first_look, 0, 90)?;
        within("rest", self.rest.0, 0.0, 3600.0)
    }

    fn run(&self, bench: &mut Bench<'_>) -> Result<(), String> {
        bench.xmpp_only()?;
        bench.room_for(u64::from(self.connections))?;
        let mut engine = Engine::new(bench.target)?;
        let mut flow = Sessions::new(self.connections);
        let before = bench.memory()?;
        log_in(&mut engine, &mut flow, (0..self.connections).map(|tag| (self.wish(tag, None), tag)))?;
        settle(&mut engine, &mut flow)?;
        let whole = Duration::try_from_secs_f64(self.minutes * 60.0).unwrap_or_default();
        let early = whole * self.first_look / 100;
        self.churn(&mut engine, &mut flow, early)?;
        engine.rest(&mut flow, self.rest.duration())?;
        let first = bench.memory()?;
        let now = Instant::now();
        flow.meter.set(now, now + Duration::from_secs(u64::from(u32::MAX)));
        bench.begin()?;
        let done = self.churn(&mut engine, &mut flow, whole.saturating_sub(early));
        bench.end()?;
        bench.tell("change", &flow.meter);
        done?;
        engine.rest(&mut flow, self.rest.duration())?;
        let after = bench.memory()?;
        bench.tell_memory(before.zip(after), u64::from(self.connections));
        if let (Some(memory), Some(before), Some(first)) = (&mut bench.report.memory, before, first) {
            let each = first.saturating_sub(before) as f64 / f64::from(self.connections);
            memory.per_connection_at_first = Some(each);
        }
        engine.close_all(&mut flow);
        Ok(())
    }
}

impl Churn {
    fn wish(&self, account: u32, resume: Option<(String, u32)>) -> Wish {
        let fresh = resume.is_none();
        Wish {
            account,
            resource: "load".to_owned(),
            managed: fresh,
            roster: fresh,
            presence: fresh,
            resume,
            mechanism: self.mechanism,
            ..Wish::default()
        }
    }

    fn churn(&self, engine: &mut Engine<'_>, flow: &mut Sessions, time: Duration) -> Result<(), String> {
        let begun = Instant::now();
        let pause = Duration::from_secs(1) / self.per_second;
        let mut next = begun;
        while begun.elapsed() < time {
            while Instant::now() < next {
                engine.turn(flow, Some(next), false)?;
            }
            next += pause;
            let Some(tag) = flow.choose() else {
                // All are on their way back: the server is slower than asked for.
                engine.turn(flow, None, true)?;
                continue;
            };
            let Some(one) = flow.all.get_mut(tag as usize) else { continue };
            let (conn, id) = (one.conn, one.id.take());
            one.there = false;
            let resume = match flow.random() % 4 {
                0 => {
                    engine.close(conn);
                    None
                }
                1 => {
                    engine.cut(conn);
                    None
                }
                _ => {
                    let handled = engine.handled(conn).unwrap_or_default();
                    engine.cut(conn);
                    id.map(|id| (id, handled))
                }
            };
            engine.open(self.wish(tag, resume), tag)?;
        }
        while engine.pending() > 0 {
            engine.turn(flow, None, true)?;
        }
        Ok(())
    }
}

#[derive(Clone, Default)]
struct One {
    conn: usize,
    jid: String,
    id: Option<String>,
    there: bool,
}

struct Sessions {
    all: Vec<One>,
    state: u64,
    meter: Meter,
}

impl Sessions {
    fn new(connections: u32) -> Self {
        Self { all: vec![One::default(); connections as usize], state: 1, meter: Meter::default() }
    }

    /// The same numbers in every run (xorshift).
    const fn random(&mut self) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.state
    }

    /// One that is there; none if all of some that were tried are away.
    fn choose(&mut self) -> Option<u32> {
        const TRIES: u32 = 50;
        let count = self.all.len().max(1) as u64;
        for _ in 0..TRIES {
            let tag = self.random() % count;
            if self.all.get(tag as usize).is_some_and(|one| one.there) {
                return u32::try_from(tag).ok();
            }
        }
        None
    }
}

impl Flow for Sessions {
    fn up(&mut self, at: At, session: Session, reply: &mut Vec<u8>) -> Result<(), String> {
        let neighbour = (at.tag as usize + 1) % self.all.len().max(1);
        let to = self.all.get(neighbour).map(|one| one.jid.clone()).unwrap_or_default();
        let Some(one) = self.all.get_mut(at.tag as usize) else { return Ok(()) };
        one.conn = at.conn;
        one.id = session.id;
        one.there = true;
        if one.jid.is_empty() {
            one.jid = session.jid;
        }
        self.meter.record(at.now, at.now.saturating_duration_since(session.begun));
        if !to.is_empty() {
            let headline = format!("<message to='{to}' type='headline'><body>back again</body></message>");
            reply.extend_from_slice(headline.as_bytes());
        }
        Ok(())
    }

    fn stanza(&mut self, _: At, _: &[u8], _: &mut Vec<u8>) -> Result<(), String> {
        Ok(())
    }
}
