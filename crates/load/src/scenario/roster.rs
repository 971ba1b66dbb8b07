//! Fetches of a big roster. Entries that are missing are added first, which is not measured.

use std::time::{Duration, Instant};

use serde::Deserialize;

use super::bench::{Meter, log_in, settle};
use super::{Bench, Kind, within};
use crate::engine::login::{Wish, first_child};
use crate::engine::scan::attr;
use crate::engine::scram::Mechanism;
use crate::engine::{At, Engine, Flow, Session};

/// Roster fetches.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Roster {
    /// Entries of the roster, at least.
    pub entries: u32,
    /// Fetches that are measured.
    pub fetches: u32,
    /// Fetches before them.
    pub warmup: u32,
    /// The account, by number.
    pub account: u32,
    /// How to log in.
    pub mechanism: Mechanism,
}

impl Kind for Roster {
    fn check(&self) -> Result<(), String> {
        within("entries", self.entries, 0, 100_000)?;
        within("fetches", self.fetches, 1, 10_000_000)?;
        within("warmup", self.warmup, 0, 10_000_000)?;
        within("account", self.account, 0, u32::MAX / 2)
    }

    fn run(&self, bench: &mut Bench<'_>) -> Result<(), String> {
        bench.xmpp_only()?;
        bench.room_for(1)?;
        let mut engine = Engine::new(bench.target)?;
        let mut flow = Fetches::default();
        let wish = Wish {
            account: self.account,
            resource: "load".to_owned(),
            mechanism: self.mechanism,
            ..Wish::default()
        };
        log_in(&mut engine, &mut flow, std::iter::once((wish, 0)))?;
        settle(&mut engine, &mut flow)?;
        flow.fetch(&mut engine)?;
        let domain = &bench.target.domain;
        for number in flow.entries..self.entries as usize {
            let item = format!(
                "<iq type='set' id='got'><query xmlns='jabber:iq:roster'><item jid='contact{number}@{domain}' name='Contact {number}'><group>Load</group></item></query></iq>"
            );
            flow.ask(&mut engine, item.as_bytes())?;
        }
        for _ in 0..self.warmup {
            flow.fetch(&mut engine)?;
        }
        let now = Instant::now();
        flow.meter.set(now, now + Duration::from_secs(u64::from(u32::MAX)));
        bench.begin()?;
        let done = (0..self.fetches).try_for_each(|_| flow.fetch(&mut engine));
        bench.end()?;
        bench.tell("fetch", &flow.meter);
        done?;
        if flow.entries < self.entries as usize {
            return Err(format!("the roster has only {} entries", flow.entries));
        }
        engine.close_all(&mut flow);
        Ok(())
    }
}

#[derive(Default)]
struct Fetches {
    conn: usize,
    entries: usize,
    answered: bool,
    meter: Meter,
}

impl Fetches {
    fn fetch(&mut self, engine: &mut Engine<'_>) -> Result<(), String> {
        let begun = Instant::now();
        self.ask(engine, b"<iq type='get' id='got'><query xmlns='jabber:iq:roster'/></iq>")?;
        let now = Instant::now();
        self.meter.record(now, now.saturating_duration_since(begun));
        Ok(())
    }

    fn ask(&mut self, engine: &mut Engine<'_>, request: &[u8]) -> Result<(), String> {
        self.answered = false;
        engine.send(self.conn, request)?;
        while !self.answered {
            engine.turn(self, None, true)?;
        }
        Ok(())
    }
}

impl Flow for Fetches {
    fn up(&mut self, at: At, _: Session, _: &mut Vec<u8>) -> Result<(), String> {
        self.conn = at.conn;
        Ok(())
    }

    fn stanza(&mut self, _: At, stanza: &[u8], _: &mut Vec<u8>) -> Result<(), String> {
        if attr(stanza, b"id") != Some(b"got") {
            return Ok(());
        }
        match attr(stanza, b"type") {
            Some(b"result") => {
                let items = memchr::memmem::find_iter(stanza, b"<item").count();
                if items > 0 {
                    self.entries = items;
                }
                self.answered = true;
                Ok(())
            }
            Some(b"error") => {
                let at = memchr::memmem::find(stanza, b"<error").unwrap_or_default();
                let error = stanza.get(at..).unwrap_or_default();
                Err(format!("the roster was refused: {}", first_child(error)))
            }
            _ => Ok(()),
        }
    }
}
