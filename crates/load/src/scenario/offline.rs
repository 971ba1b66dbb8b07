//! An offline storm: messages to accounts that are not there, then all of them log in and fetch what waits.
//!
//! Both halves are in the figures; the latency is that of a login until its last message.

use std::time::{Duration, Instant};

use serde::Deserialize;

use super::bench::{Meter, log_in, settle};
use super::mark::{LENGTH, Reader, Sequence, Template, refused};
use super::{Bench, Kind, MOST_CONNECTIONS, within};
use crate::engine::login::Wish;
use crate::engine::scan::{attr, name};
use crate::engine::scram::Mechanism;
use crate::engine::{At, Engine, Flow, Session};

/// How much a sender writes before it waits for the server.
const BURST: u32 = 100;

/// An offline storm.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Offline {
    /// Accounts that write.
    pub senders: u32,
    /// Accounts that are written to while they are away.
    pub recipients: u32,
    /// Messages to each of them.
    pub messages: u32,
    /// Bytes of a body.
    pub body: usize,
    /// How many log in at once.
    pub concurrency: u32,
    /// How to log in.
    pub mechanism: Mechanism,
}

impl Kind for Offline {
    fn check(&self) -> Result<(), String> {
        within("senders", self.senders, 1, 1000)?;
        within("recipients", self.recipients, 1, MOST_CONNECTIONS - 1000)?;
        within("messages", self.messages, 1, 100_000)?;
        within("body", self.body, LENGTH, 65_536)?;
        within("concurrency", self.concurrency, 1, 10_000)
    }

    fn run(&self, bench: &mut Bench<'_>) -> Result<(), String> {
        bench.xmpp_only()?;
        bench.room_for(u64::from(self.recipients + self.senders))?;
        let mut engine = Engine::new(bench.target)?;
        let mut flow = Fetches::new(self);
        // What waits from before is fetched, and keys are derived.
        log_in(&mut engine, &mut flow, (0..self.recipients).map(|tag| (self.wish(tag), tag)))?;
        settle(&mut engine, &mut flow)?;
        engine.close_all(&mut flow);
        let senders = (0..self.senders).map(|tag| self.recipients + tag);
        log_in(&mut engine, &mut flow, senders.map(|tag| (self.wish(tag), tag)))?;
        settle(&mut engine, &mut flow)?;
        flow.begin();
        bench.begin()?;
        let done = self.storm(&mut engine, &mut flow, bench.target);
        bench.end()?;
        bench.tell("message", &flow.meter);
        for came in &flow.came {
            bench.report.duplicates += came.duplicates();
            bench.report.lost += came.lost(flow.sent.min(u64::from(self.messages)));
        }
        done?;
        engine.close_all(&mut flow);
        Ok(())
    }
}

impl Offline {
    fn wish(&self, account: u32) -> Wish {
        Wish {
            account,
            resource: "load".to_owned(),
            presence: true,
            mechanism: self.mechanism,
            ..Wish::default()
        }
    }

    fn storm(
        &self,
        engine: &mut Engine<'_>,
        flow: &mut Fetches,
        target: &crate::target::Target,
    ) -> Result<(), String> {
        let domain = &target.domain;
        let templates: Vec<Template> = (0..self.recipients)
            .map(|tag| Template::new(&format!("{}@{domain}", target.accounts.name(tag)), tag, self.body))
            .collect();
        let ping = format!("<iq type='get' id='stored' to='{domain}'><ping xmlns='urn:xmpp:ping'/></iq>");
        let mut out = Vec::new();
        for number in 0..u64::from(self.messages) {
            for (templates, sender) in
                templates.chunks(BURST as usize).zip((0..self.senders as usize).cycle())
            {
                out.clear();
                templates.iter().for_each(|template| template.append(number, &mut out));
                // The answer comes after all before it was taken.
                out.extend_from_slice(ping.as_bytes());
                let conn = flow.senders.get(sender).copied().unwrap_or_default();
                engine.send(conn, &out)?;
                flow.asked += 1;
            }
            flow.sent = number + 1;
            while flow.asked > flow.answered {
                engine.turn(flow, None, true)?;
            }
        }
        let mut next = 0;
        while flow.complete < self.recipients || engine.pending() > 0 {
            while next < self.recipients && engine.pending() < self.concurrency as usize {
                engine.open(self.wish(next), next)?;
                next += 1;
            }
            engine.turn(flow, None, true)?;
        }
        Ok(())
    }
}

struct Fetches {
    reader: Reader,
    recipients: u32,
    messages: u64,
    senders: Vec<usize>,
    measured: bool,
    sent: u64,
    asked: u64,
    answered: u64,
    came: Vec<Sequence>,
    fetched: Vec<u64>,
    begun: Vec<Instant>,
    complete: u32,
    meter: Meter,
}

impl Fetches {
    fn new(offline: &Offline) -> Self {
        let all = offline.recipients as usize;
        Self {
            reader: Reader::new(),
            recipients: offline.recipients,
            messages: u64::from(offline.messages),
            senders: Vec::new(),
            measured: false,
            sent: 0,
            asked: 0,
            answered: 0,
            came: vec![Sequence::default(); all],
            fetched: vec![0; all],
            begun: vec![Instant::now(); all],
            complete: 0,
            meter: Meter::default(),
        }
    }

    fn begin(&mut self) {
        self.measured = true;
        let now = Instant::now();
        self.meter.set(now, now + Duration::from_secs(u64::from(u32::MAX)));
    }
}

impl Flow for Fetches {
    fn up(&mut self, at: At, session: Session, _: &mut Vec<u8>) -> Result<(), String> {
        if at.tag >= self.recipients {
            self.senders.push(at.conn);
        } else if let Some(begun) = self.begun.get_mut(at.tag as usize) {
            *begun = session.begun;
        }
        Ok(())
    }

    fn stanza(&mut self, at: At, stanza: &[u8], _: &mut Vec<u8>) -> Result<(), String> {
        if !self.measured {
            return Ok(());
        }
        if let Some(why) = refused(stanza).filter(|_| name(stanza) == b"message") {
            return Err(why);
        }
        if at.tag >= self.recipients {
            self.answered += u64::from(attr(stanza, b"id") == Some(b"stored"));
            return Ok(());
        }
        let Some((to, number)) = self.reader.read(stanza, u32::MAX)? else { return Ok(()) };
        let tag = at.tag as usize;
        let (Some(came), Some(fetched), Some(begun)) =
            (self.came.get_mut(tag), self.fetched.get_mut(tag), self.begun.get(tag))
        else {
            return Ok(());
        };
        if to != at.tag || number >= self.sent {
            return Err(format!("message {number} to account {to} came to account {tag}"));
        }
        if came.take(number)? {
            *fetched += 1;
            self.meter.count += 1;
            if *fetched == self.messages {
                self.complete += 1;
                self.meter.latencies.record(at.now.saturating_duration_since(*begun));
            }
        }
        Ok(())
    }
}
