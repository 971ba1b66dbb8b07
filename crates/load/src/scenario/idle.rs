//! Connections that are there and quiet: what they cost in memory.

use serde::Deserialize;

use super::bench::{Meter, Quiet, log_in, settle};
use super::{Bench, Kind, LONGEST, MOST_CONNECTIONS, Seconds, within};
use crate::engine::Engine;
use crate::engine::login::Wish;
use crate::engine::scram::Mechanism;

/// Idle connections.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Idle {
    /// How many.
    pub connections: u32,
    /// Sessions that come and go before memory is first looked at, so that what a server makes once is not counted.
    pub warmup: u32,
    /// How long all are quiet before it is looked at again.
    pub rest: Seconds,
    /// With stream management.
    pub managed: bool,
    /// With the roster loaded.
    pub roster: bool,
    /// With initial presence.
    pub presence: bool,
    /// How to log in.
    pub mechanism: Mechanism,
}

impl Kind for Idle {
    fn check(&self) -> Result<(), String> {
        within("connections", self.connections, 1, MOST_CONNECTIONS)?;
        within("warmup", self.warmup, 0, MOST_CONNECTIONS)?;
        within("rest", self.rest.0, 0.0, LONGEST)
    }

    fn run(&self, bench: &mut Bench<'_>) -> Result<(), String> {
        bench.room_for(u64::from(self.connections.max(self.warmup)))?;
        let mut engine = Engine::new(bench.target)?;
        let mut flow = Quiet;
        // `pass`: a relay must not join a connection with one of the pass before that it has not seen going yet.
        let wish = |account: u32, pass: u64| Wish {
            account,
            resource: "load".to_owned(),
            managed: self.managed,
            roster: self.roster,
            presence: self.presence,
            mechanism: self.mechanism,
            pair: u64::from(account / 2) | pass << 32,
            ..Wish::default()
        };
        log_in(&mut engine, &mut flow, (0..self.warmup).map(|account| (wish(account, 0), account)))?;
        settle(&mut engine, &mut flow)?;
        engine.close_all(&mut flow);
        engine.rest(&mut flow, self.rest.duration())?;
        let before = bench.memory()?;
        let there =
            log_in(&mut engine, &mut flow, (0..self.connections).map(|account| (wish(account, 1), account)));
        let meter = Meter::of(engine.sessions());
        let rested = there.and_then(|()| {
            bench.begin()?;
            engine.rest(&mut flow, self.rest.duration())?;
            bench.end()
        });
        bench.tell("connection", &meter);
        rested?;
        let after = bench.memory()?;
        bench.tell_memory(before.zip(after), meter.count);
        engine.close_all(&mut flow);
        Ok(())
    }
}
