//! A login storm: TCP, a full TLS 1.3 handshake, SASL, a bound resource, initial presence. Every session stays until the end, so that no
//! logout is in the figures.
//!
//! All accounts log in once before: the keys that SCRAM derives from a password are known then, as a real client keeps them. At a
//! relay a login is the handshake and the first line.

use std::time::{Duration, Instant};

use serde::Deserialize;

use super::bench::{Meter, log_in, settle};
use super::{Bench, Kind, MOST_CONNECTIONS, within};
use crate::engine::login::Wish;
use crate::engine::scram::Mechanism;
use crate::engine::{At, Engine, Flow, Session};

/// A login storm.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Login {
    /// How many logins, each of an account of its own.
    pub logins: u32,
    /// How many of them at once.
    pub concurrency: u32,
    /// How to log in.
    pub mechanism: Mechanism,
}

impl Kind for Login {
    fn check(&self) -> Result<(), String> {
        within("logins", self.logins, 1, MOST_CONNECTIONS)?;
        within("concurrency", self.concurrency, 1, 10_000)
    }

    fn run(&self, bench: &mut Bench<'_>) -> Result<(), String> {
        bench.room_for(u64::from(self.logins))?;
        let mut engine = Engine::new(bench.target)?;
        let mut flow = Logins::default();
        log_in(&mut engine, &mut flow, (0..self.logins).map(|account| (self.wish(account, 0), account)))?;
        settle(&mut engine, &mut flow)?;
        engine.close_all(&mut flow);
        let now = Instant::now();
        flow.meter.set(now, now + Duration::from_secs(u64::from(u32::MAX)));
        bench.begin()?;
        let done = self.storm(&mut engine, &mut flow);
        bench.end()?;
        bench.tell("login", &flow.meter);
        done?;
        engine.close_all(&mut flow);
        Ok(())
    }
}

impl Login {
    /// `pass`: a relay must not join a connection with one of the pass before that it has not seen going yet.
    fn wish(&self, account: u32, pass: u64) -> Wish {
        Wish {
            account,
            resource: "load".to_owned(),
            presence: true,
            mechanism: self.mechanism,
            pair: u64::from(account) | pass << 32,
            ..Wish::default()
        }
    }

    fn storm(&self, engine: &mut Engine<'_>, flow: &mut Logins) -> Result<(), String> {
        let mut next = 0;
        while next < self.logins || engine.pending() > 0 {
            while next < self.logins && engine.pending() < self.concurrency as usize {
                engine.open(self.wish(next, 1), next)?;
                next += 1;
            }
            engine.turn(flow, None, true)?;
        }
        Ok(())
    }
}

/// Counts sessions that begin.
#[derive(Default)]
struct Logins {
    meter: Meter,
}

impl Flow for Logins {
    fn up(&mut self, at: At, session: Session, _: &mut Vec<u8>) -> Result<(), String> {
        self.meter.record(at.now, at.now.saturating_duration_since(session.begun));
        Ok(())
    }

    fn stanza(&mut self, _: At, _: &[u8], _: &mut Vec<u8>) -> Result<(), String> {
        Ok(())
    }
}
