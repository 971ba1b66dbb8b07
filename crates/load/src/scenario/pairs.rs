//! Many domains of one hoster: what a pair of domains that is idle costs the server, and how many connections carry them all.
//!
//! One account pings each domain once (XEP-0199), so that the server has to talk to it. Memory is looked at before and after.

use serde::Deserialize;

use super::bench::{Meter, log_in, settle};
use super::{Bench, Kind, LONGEST, Seconds, within};
use crate::engine::login::{Wish, first_child};
use crate::engine::scan::{attr, name};
use crate::engine::scram::Mechanism;
use crate::engine::{At, Engine, Flow, Session};
use crate::process::connections_to;

/// Domains of one hoster.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pairs {
    /// How many domains.
    pub pairs: u32,
    /// Domains that are asked before memory is first looked at.
    pub warmup: u32,
    /// Requests on their way.
    pub window: u32,
    /// How long all are quiet before memory is looked at.
    pub rest: Seconds,
    /// What the names of the domains end with.
    pub domain: String,
    /// How to log in.
    pub mechanism: Mechanism,
}

impl Kind for Pairs {
    fn check(&self) -> Result<(), String> {
        within("pairs", self.pairs, 1, 1_000_000)?;
        within("warmup", self.warmup, 0, 1_000_000)?;
        within("window", self.window, 1, 1000)?;
        within("rest", self.rest.0, 0.0, LONGEST)?;
        super::plain("domain", &self.domain)
    }

    fn run(&self, bench: &mut Bench<'_>) -> Result<(), String> {
        bench.xmpp_only()?;
        bench.room_for(1)?;
        let mut engine = Engine::new(bench.target)?;
        let mut flow = Pings { domain: self.domain.clone(), ..Pings::default() };
        let wish = Wish {
            resource: "load".to_owned(),
            presence: true,
            mechanism: self.mechanism,
            ..Wish::default()
        };
        log_in(&mut engine, &mut flow, std::iter::once((wish, 0)))?;
        settle(&mut engine, &mut flow)?;
        flow.ask(&mut engine, self.warmup, self.window)?;
        engine.rest(&mut flow, self.rest.duration())?;
        let before = bench.memory()?;
        bench.begin()?;
        let asked = flow.ask(&mut engine, self.warmup.saturating_add(self.pairs), self.window);
        bench.end()?;
        let done = flow.answered.saturating_sub(self.warmup);
        bench.tell("pair", &Meter::of(u64::from(done)));
        asked?;
        engine.rest(&mut flow, self.rest.duration())?;
        let after = bench.memory()?;
        bench.tell_memory(before.zip(after), u64::from(done));
        let place = bench.target.partner.as_ref().and_then(|partner| partner.federation);
        let count = place.map(connections_to).transpose();
        bench.report.between_servers = count
            .map_err(|error| format!("the connections between the servers cannot be counted: {error}"))?;
        engine.close_all(&mut flow);
        Ok(())
    }
}

/// The requests.
#[derive(Default)]
struct Pings {
    conn: usize,
    domain: String,
    sent: u32,
    answered: u32,
}

impl Pings {
    /// Asks the domains up to this one that were not asked yet, so many at a time.
    fn ask(&mut self, engine: &mut Engine<'_>, end: u32, window: u32) -> Result<(), String> {
        while self.answered < end {
            while self.sent < end && self.sent - self.answered < window {
                let ping = ping(self.sent, &self.domain);
                engine.send(self.conn, ping.as_bytes())?;
                self.sent += 1;
            }
            engine.turn(self, None, true)?;
        }
        Ok(())
    }
}

fn ping(number: u32, domain: &str) -> String {
    format!("<iq type='get' id='ping{number}' to='d{number}.{domain}'><ping xmlns='urn:xmpp:ping'/></iq>")
}

impl Flow for Pings {
    fn up(&mut self, at: At, _: Session, _: &mut Vec<u8>) -> Result<(), String> {
        self.conn = at.conn;
        Ok(())
    }

    fn stanza(&mut self, _: At, stanza: &[u8], _: &mut Vec<u8>) -> Result<(), String> {
        if name(stanza) != b"iq" || !attr(stanza, b"id").is_some_and(|id| id.starts_with(b"ping")) {
            return Ok(());
        }
        if attr(stanza, b"type") == Some(b"result") {
            self.answered += 1;
            return Ok(());
        }
        let error = memchr::memmem::find(stanza, b"<error").and_then(|at| stanza.get(at..));
        let from = String::from_utf8_lossy(attr(stanza, b"from").unwrap_or_default());
        Err(format!("no answer of {from}: {}", first_child(error.unwrap_or_default())))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn take(flow: &mut Pings, stanza: &str) -> Result<(), String> {
        flow.stanza(At { conn: 0, tag: 0, now: Instant::now() }, stanza.as_bytes(), &mut Vec::new())
    }

    #[test]
    fn answers_are_counted_and_an_error_is_told_with_its_domain() {
        assert!(ping(7, "hoster.test").contains("id='ping7' to='d7.hoster.test'"));
        let mut flow = Pings::default();
        take(&mut flow, "<iq type='result' id='ping7' from='d7.hoster.test'/>").unwrap();
        take(&mut flow, "<iq type='get' id='x'><ping xmlns='urn:xmpp:ping'/></iq>").unwrap();
        take(&mut flow, "<message id='ping1'/>").unwrap();
        assert_eq!(flow.answered, 1);
        let error = "<error type='wait'><remote-server-timeout xmlns='x'/></error>";
        let why = take(&mut flow, &format!("<iq type='error' id='ping8' from='d8.hoster.test'>{error}</iq>"))
            .unwrap_err();
        assert!(why.contains("d8.hoster.test") && why.contains("remote-server-timeout"), "{why}");
    }
}
