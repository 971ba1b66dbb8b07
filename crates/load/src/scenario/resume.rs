//! A resume storm (XEP-0198 §5): connections break without a word, messages go on coming, and every session is resumed. Nothing may be
//! lost, and nothing may come twice.

use std::time::{Duration, Instant};

use serde::Deserialize;

use super::bench::{Meter, log_in, settle};
use super::mark::{LENGTH, Reader, Sequence, Template};
use super::{Bench, Kind, MOST_CONNECTIONS, within};
use crate::engine::login::Wish;
use crate::engine::scram::Mechanism;
use crate::engine::{At, Engine, Flow, Session};

/// A resume storm.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resume {
    /// Sessions that break and are resumed.
    pub sessions: u32,
    /// How often.
    pub rounds: u32,
    /// Messages to each of them in each round: half of them just before the break, half of them after it.
    pub messages: u32,
    /// Accounts that send them.
    pub senders: u32,
    /// Bytes of a body.
    pub body: usize,
    /// How many resume at once.
    pub concurrency: u32,
    /// How to log in.
    pub mechanism: Mechanism,
}

impl Kind for Resume {
    fn check(&self) -> Result<(), String> {
        within("sessions", self.sessions, 1, MOST_CONNECTIONS - 1000)?;
        within("rounds", self.rounds, 1, 10_000)?;
        within("messages", self.messages, 0, 1000)?;
        within("senders", self.senders, 1, 1000)?;
        within("body", self.body, LENGTH, 65_536)?;
        within("concurrency", self.concurrency, 1, 10_000)
    }

    fn run(&self, bench: &mut Bench<'_>) -> Result<(), String> {
        bench.xmpp_only()?;
        bench.room_for(u64::from(self.sessions + self.senders))?;
        let mut engine = Engine::new(bench.target)?;
        let mut flow = Resumptions::new(self);
        let all = 0..self.sessions + self.senders;
        log_in(&mut engine, &mut flow, all.map(|tag| (self.wish(tag, None), tag)))?;
        settle(&mut engine, &mut flow)?;
        let jids = flow.sessions.iter().map(|session| session.jid.as_str());
        let templates: Vec<_> =
            (0..).zip(jids).map(|(tag, jid)| Template::new(jid, tag, self.body)).collect();
        let now = Instant::now();
        flow.meter.set(now, now + Duration::from_secs(u64::from(u32::MAX)));
        bench.begin()?;
        let done = (0..self.rounds).try_for_each(|_| self.round(&mut engine, &mut flow, &templates));
        bench.end()?;
        bench.tell("resumption", &flow.meter);
        for session in &flow.sessions {
            bench.report.duplicates += session.came.duplicates();
            bench.report.lost += session.came.lost(flow.sent);
        }
        done?;
        engine.close_all(&mut flow);
        Ok(())
    }
}

impl Resume {
    fn wish(&self, account: u32, resume: Option<(String, u32)>) -> Wish {
        Wish {
            account,
            resource: "load".to_owned(),
            managed: account < self.sessions && resume.is_none(),
            presence: resume.is_none(),
            resume,
            mechanism: self.mechanism,
            ..Wish::default()
        }
    }

    fn round(
        &self,
        engine: &mut Engine<'_>,
        flow: &mut Resumptions,
        templates: &[Template],
    ) -> Result<(), String> {
        let before = self.messages / 2;
        self.send(engine, flow, templates, before)?;
        let mut broken = Vec::new();
        for (tag, session) in (0..).zip(&flow.sessions) {
            let handled = engine.handled(session.conn).unwrap_or_default();
            let Some(id) = session.id.clone() else {
                return Err("the session cannot be resumed".to_owned());
            };
            engine.cut(session.conn);
            broken.push(self.wish(tag, Some((id, handled))));
        }
        self.send(engine, flow, templates, self.messages - before)?;
        let mut broken = (0..).zip(broken);
        loop {
            while engine.pending() < self.concurrency as usize
                && let Some((tag, wish)) = broken.next()
            {
                engine.open(wish, tag)?;
            }
            if engine.pending() == 0 && flow.received == flow.sent * u64::from(self.sessions) {
                return Ok(());
            }
            engine.turn(flow, None, true)?;
        }
    }

    fn send(
        &self,
        engine: &mut Engine<'_>,
        flow: &mut Resumptions,
        templates: &[Template],
        count: u32,
    ) -> Result<(), String> {
        let mut out = Vec::new();
        let senders = flow.senders.len().max(1);
        for (number, conn) in flow.senders.iter().enumerate() {
            out.clear();
            for template in templates.iter().skip(number).step_by(senders) {
                (0..u64::from(count)).for_each(|more| template.append(flow.sent + more, &mut out));
            }
            engine.send(*conn, &out)?;
        }
        flow.sent += u64::from(count);
        Ok(())
    }
}

#[derive(Default)]
struct One {
    conn: usize,
    jid: String,
    id: Option<String>,
    came: Sequence,
}

struct Resumptions {
    reader: Reader,
    sessions: Vec<One>,
    senders: Vec<usize>,
    /// To each session.
    sent: u64,
    /// By all.
    received: u64,
    meter: Meter,
}

impl Resumptions {
    fn new(resume: &Resume) -> Self {
        Self {
            reader: Reader::new(),
            sessions: (0..resume.sessions).map(|_| One::default()).collect(),
            senders: Vec::new(),
            sent: 0,
            received: 0,
            meter: Meter::default(),
        }
    }
}

impl Flow for Resumptions {
    fn up(&mut self, at: At, session: Session, _: &mut Vec<u8>) -> Result<(), String> {
        let Some(one) = self.sessions.get_mut(at.tag as usize) else {
            self.senders.push(at.conn);
            return Ok(());
        };
        one.conn = at.conn;
        one.id = session.id;
        if one.jid.is_empty() {
            one.jid = session.jid;
        }
        self.meter.record(at.now, at.now.saturating_duration_since(session.begun));
        Ok(())
    }

    fn stanza(&mut self, at: At, stanza: &[u8], _: &mut Vec<u8>) -> Result<(), String> {
        let Some((to, number)) = self.reader.read(stanza, u32::MAX)? else { return Ok(()) };
        let one = self.sessions.get_mut(at.tag as usize).filter(|_| to == at.tag && number < self.sent);
        let Some(one) = one else {
            return Err(format!("message {number} to session {to} came to session {}", at.tag));
        };
        self.received += u64::from(one.came.take(number)?);
        Ok(())
    }
}
