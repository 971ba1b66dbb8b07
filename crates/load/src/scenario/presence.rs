//! Presence of one account to a big roster: all contacts are online, and each gets every change.
//!
//! Whoever of the contacts is not subscribed yet subscribes first, which is not measured.

use std::time::{Duration, Instant};

use serde::Deserialize;

use super::bench::{Meter, log_in, settle};
use super::mark::{Reader, Sequence, Template};
use super::{Bench, Kind, MOST_CONNECTIONS, within};
use crate::engine::login::Wish;
use crate::engine::scan::{attr, name};
use crate::engine::scram::Mechanism;
use crate::engine::{At, Engine, Flow, Session};

/// Presence to a big roster.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Presence {
    /// Contacts that are online.
    pub contacts: u32,
    /// Changes of presence that are measured.
    pub rounds: u32,
    /// Changes before them.
    pub warmup: u32,
    /// How to log in.
    pub mechanism: Mechanism,
}

impl Kind for Presence {
    fn check(&self) -> Result<(), String> {
        within("contacts", self.contacts, 1, MOST_CONNECTIONS - 1)?;
        within("rounds", self.rounds, 1, 1_000_000)?;
        within("warmup", self.warmup, 0, 1_000_000)
    }

    fn run(&self, bench: &mut Bench<'_>) -> Result<(), String> {
        bench.xmpp_only()?;
        bench.room_for(u64::from(self.contacts) + 1)?;
        let mut engine = Engine::new(bench.target)?;
        let mut flow =
            Contacts::new(self, format!("{}@{}", bench.target.accounts.name(0), bench.target.domain));
        let wish = |account| Wish {
            account,
            resource: "load".to_owned(),
            // Who has not fetched the roster is not told of subscriptions (RFC 6121 §2.2).
            roster: true,
            presence: true,
            mechanism: self.mechanism,
            ..Wish::default()
        };
        log_in(&mut engine, &mut flow, (0..=self.contacts).map(|tag| (wish(tag), tag)))?;
        settle(&mut engine, &mut flow)?;
        flow.befriend(&mut engine)?;
        settle(&mut engine, &mut flow)?;
        (0..self.warmup).try_for_each(|_| flow.round(&mut engine))?;
        let now = Instant::now();
        flow.meter.set(now, now + Duration::from_secs(u64::from(u32::MAX)));
        bench.begin()?;
        let done = (0..self.rounds).try_for_each(|_| flow.round(&mut engine));
        bench.end()?;
        bench.tell("delivery", &flow.meter);
        for came in &flow.came {
            bench.report.duplicates += came.duplicates();
            bench.report.lost += came.lost(flow.sent);
        }
        done?;
        engine.close_all(&mut flow);
        Ok(())
    }
}

/// The account whose presence changes has tag 0, its contacts those above.
struct Contacts {
    owner: String,
    conns: Vec<usize>,
    reader: Reader,
    template: Template,
    /// Whether the contact may see the owner's presence.
    subscribed: Vec<bool>,
    roster_known: bool,
    came: Vec<Sequence>,
    sent: u64,
    sent_at: Instant,
    received: u64,
    meter: Meter,
}

impl Contacts {
    fn new(presence: &Presence, owner: String) -> Self {
        let contacts = presence.contacts as usize;
        Self {
            owner,
            conns: vec![0; contacts + 1],
            reader: Reader::new(),
            template: Template::presence(0),
            subscribed: vec![false; contacts],
            roster_known: false,
            came: vec![Sequence::default(); contacts],
            sent: 0,
            sent_at: Instant::now(),
            received: 0,
            meter: Meter::default(),
        }
    }

    fn conn(&self, tag: usize) -> usize {
        self.conns.get(tag).copied().unwrap_or_default()
    }

    /// Has every contact subscribed.
    fn befriend(&mut self, engine: &mut Engine<'_>) -> Result<(), String> {
        engine.send(self.conn(0), b"<iq type='get' id='contacts'><query xmlns='jabber:iq:roster'/></iq>")?;
        while !self.roster_known {
            engine.turn(self, None, true)?;
        }
        // Some at a time, as a server that limits one account's stanzas would want it.
        const AT_ONCE: usize = 20;
        let ask = format!("<presence type='subscribe' to='{}'/>", self.owner);
        let strangers: Vec<usize> =
            self.subscribed.iter().enumerate().filter(|(_, known)| !**known).map(|(at, _)| at).collect();
        for some in strangers.chunks(AT_ONCE) {
            for contact in some {
                engine.send(self.conn(contact + 1), ask.as_bytes())?;
            }
            while some.iter().any(|contact| self.subscribed.get(*contact) == Some(&false)) {
                engine.turn(self, None, true)?;
            }
        }
        Ok(())
    }

    /// One change of presence, until all have it.
    fn round(&mut self, engine: &mut Engine<'_>) -> Result<(), String> {
        let mut out = Vec::new();
        self.template.append(self.sent, &mut out);
        self.sent += 1;
        self.sent_at = Instant::now();
        engine.send(self.conn(0), &out)?;
        while self.received < self.sent * self.came.len() as u64 {
            engine.turn(self, None, true)?;
        }
        Ok(())
    }

    /// Reads the owner's roster: who of the contacts sees its presence.
    fn read_roster(&mut self, roster: &[u8], prefix: &str) {
        for at in memchr::memmem::find_iter(roster, b"<item") {
            let item = roster.get(at..).unwrap_or_default();
            let sees = matches!(attr(item, b"subscription"), Some(b"from" | b"both"));
            let jid = attr(item, b"jid").map(String::from_utf8_lossy).unwrap_or_default();
            let number =
                jid.split('@').next().and_then(|local| local.strip_prefix(prefix)?.parse::<usize>().ok());
            let first =
                self.owner.split('@').next().and_then(|local| local.strip_prefix(prefix)?.parse().ok());
            let contact =
                number.zip(first).and_then(|(number, first): (usize, usize)| number.checked_sub(first + 1));
            if let Some(known) = contact.and_then(|contact| self.subscribed.get_mut(contact)) {
                *known |= sees;
            }
        }
        self.roster_known = true;
    }

    fn prefix(&self) -> String {
        let local = self.owner.split('@').next().unwrap_or_default();
        local.trim_end_matches(|digit: char| digit.is_ascii_digit()).to_owned()
    }
}

impl Flow for Contacts {
    fn up(&mut self, at: At, _: Session, _: &mut Vec<u8>) -> Result<(), String> {
        if let Some(conn) = self.conns.get_mut(at.tag as usize) {
            *conn = at.conn;
        }
        Ok(())
    }

    fn stanza(&mut self, at: At, stanza: &[u8], reply: &mut Vec<u8>) -> Result<(), String> {
        if name(stanza) == b"iq" {
            if at.tag == 0 && attr(stanza, b"id") == Some(b"contacts") {
                let prefix = self.prefix();
                self.read_roster(stanza, &prefix);
            }
            return Ok(());
        }
        let Some(contact) = (at.tag as usize).checked_sub(1) else {
            if attr(stanza, b"type") == Some(b"subscribe")
                && let Some(from) = attr(stanza, b"from")
            {
                reply.extend_from_slice(b"<presence type='subscribed' to='");
                reply.extend_from_slice(from);
                reply.extend_from_slice(b"'/>");
            }
            return Ok(());
        };
        match attr(stanza, b"type") {
            Some(b"subscribed") => {
                if let Some(known) = self.subscribed.get_mut(contact) {
                    *known = true;
                }
                return Ok(());
            }
            Some(b"error") => return Err("presence was returned with an error".to_owned()),
            _ => {}
        }
        let Some((_, number)) = self.reader.read(stanza, u32::MAX)? else { return Ok(()) };
        let Some(came) = self.came.get_mut(contact).filter(|_| number < self.sent) else { return Ok(()) };
        if came.take(number)? {
            self.received += 1;
            self.meter.record(at.now, at.now.saturating_duration_since(self.sent_at));
        }
        Ok(())
    }
}
