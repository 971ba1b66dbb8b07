//! Whether domains that nobody answers for slow down local messages.
//!
//! Accounts write to others of the same server at a steady pace, far below what the server can do: so a latency is what the server takes, and
//! not how long its queues are. That is measured twice for the same time: alone, and while other accounts write to the dead domains.

use std::ops::Range;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde::Deserialize;

use super::bench::{Meter, log_in, settle};
use super::mark::{LENGTH, Reader, Sequence, Template};
use super::{Bench, Kind, LONGEST, MOST_CONNECTIONS, Seconds, within};
use crate::engine::login::Wish;
use crate::engine::scram::Mechanism;
use crate::engine::{At, Engine, Flow, Session};
use crate::target::Target;

/// Local messages beside dead domains.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dead {
    /// Pairs of accounts, one of which writes to the other.
    pub pairs: u32,
    /// Messages that all of them write in a second.
    pub rate: u32,
    /// Each of the two measured times.
    pub seconds: Seconds,
    /// What runs before the first one and is not measured.
    pub warmup: Seconds,
    /// Stanzas to the dead domains, spread over the second one.
    pub stanzas: u32,
    /// How many domains.
    pub domains: u32,
    /// Accounts that write to them.
    pub senders: u32,
    /// What the names of the domains end with.
    pub domain: String,
    /// Bytes of a body.
    pub body: usize,
    /// How to log in.
    pub mechanism: Mechanism,
}

/// How long the last messages may take after the measured time.
const LAST: Duration = Duration::from_secs(15);
/// How often it is looked whether all is done.
const LOOK: Duration = Duration::from_millis(10);

impl Kind for Dead {
    fn check(&self) -> Result<(), String> {
        within("pairs", self.pairs, 1, MOST_CONNECTIONS / 4)?;
        within("rate", self.rate, 1, 1_000_000)?;
        within("seconds", self.seconds.0, 0.1, 3600.0)?;
        within("warmup", self.warmup.0, 0.0, LONGEST)?;
        within("stanzas", self.stanzas, 1, 10_000_000)?;
        within("domains", self.domains, 1, 100_000)?;
        within("senders", self.senders, 1, MOST_CONNECTIONS / 4)?;
        within("body", self.body, LENGTH, 65_536)?;
        super::plain("domain", &self.domain)
    }

    fn run(&self, bench: &mut Bench<'_>) -> Result<(), String> {
        bench.xmpp_only()?;
        bench.room_for(u64::from(2 * self.pairs + self.senders))?;
        let target = bench.target;
        // Who writes to the dead does so on a thread of its own: what that takes the generator is no latency of the server's.
        std::thread::scope(|scope| {
            let (ready, is_ready) = mpsc::channel();
            let (start, may_start) = mpsc::channel();
            let others = scope.spawn(move || self.write_away(target, &ready, &may_start));
            let done = is_ready
                .recv()
                .map_err(|_| "nobody can write to the dead domains".to_owned())
                .and_then(|()| self.measure(bench, &start));
            drop(start);
            let away = others.join().unwrap_or_else(|_| Err("the thread of the others is gone".to_owned()));
            away.and(done)
        })
    }
}

impl Dead {
    fn log_in(&self, engine: &mut Engine<'_>, flow: &mut impl Flow, tags: Range<u32>) -> Result<(), String> {
        let wish = |account| Wish {
            account,
            resource: "load".to_owned(),
            presence: true,
            mechanism: self.mechanism,
            ..Wish::default()
        };
        log_in(engine, flow, tags.map(|tag| (wish(tag), tag)))?;
        settle(engine, flow)
    }

    /// The local messages, without and with the others.
    fn measure(&self, bench: &mut Bench<'_>, start: &mpsc::Sender<()>) -> Result<(), String> {
        let mut engine = Engine::new(bench.target)?;
        let mut flow = Local::new(self.pairs);
        self.log_in(&mut engine, &mut flow, 0..2 * self.pairs)?;
        flow.address(self.body);
        self.talk(&mut engine, &mut flow, self.warmup)?;
        flow.count(self.seconds.duration());
        self.talk(&mut engine, &mut flow, self.seconds)?;
        bench.report.calm = std::mem::take(&mut flow.meter).latencies.latency();
        flow.count(self.seconds.duration());
        bench.begin()?;
        start.send(()).map_err(|_| "nobody writes to the dead domains any more".to_owned())?;
        let done = self.talk(&mut engine, &mut flow, self.seconds);
        bench.end()?;
        bench.tell("message", &flow.meter);
        let until = Instant::now() + LAST;
        while done.is_ok() && flow.on_their_way() > 0 && Instant::now() < until {
            engine.turn(&mut flow, Some(Instant::now() + LOOK), false)?;
        }
        for writer in &flow.writers {
            bench.report.duplicates += writer.came.duplicates();
            bench.report.lost += writer.came.lost(writer.sent_at.len() as u64);
        }
        done?;
        engine.close_all(&mut flow);
        Ok(())
    }

    /// Local messages at their pace for so long.
    fn talk(&self, engine: &mut Engine<'_>, flow: &mut Local, time: Seconds) -> Result<(), String> {
        let messages = (f64::from(self.rate) * time.0) as u32;
        let mut pace = Pace::new(Instant::now(), time.duration(), messages);
        while let Some(next) = pace.next() {
            while pace.due(Instant::now()) {
                flow.write(engine)?;
            }
            engine.turn(flow, Some(next), false)?;
        }
        Ok(())
    }

    /// The stanzas to the dead domains. Says when it could begin, and waits until it may.
    fn write_away(
        &self,
        target: &Target,
        ready: &mpsc::Sender<()>,
        may_start: &mpsc::Receiver<()>,
    ) -> Result<(), String> {
        let mut engine = Engine::new(target)?;
        let first = 2 * self.pairs;
        let mut flow = Senders { conns: vec![0; self.senders as usize], first };
        self.log_in(&mut engine, &mut flow, first..first + self.senders)?;
        let _gone = ready.send(());
        // Who measures may have failed, and says why.
        if may_start.recv().is_err() {
            return Ok(());
        }
        let mut pace = Pace::new(Instant::now(), self.seconds.duration(), self.stanzas);
        let mut out = Vec::new();
        while let Some(next) = pace.next() {
            let number = pace.done;
            if pace.due(Instant::now()) {
                let to = format!("nobody@d{}.{}", number % self.domains, self.domain);
                let sender = number % self.senders;
                out.clear();
                Template::new(&to, first + sender, self.body).append(u64::from(number), &mut out);
                engine.send(flow.conns.get(sender as usize).copied().unwrap_or_default(), &out)?;
            } else {
                engine.turn(&mut flow, Some(next), false)?;
            }
        }
        // They stay until the local messages are done, and take back what comes.
        while may_start.try_recv() != Err(mpsc::TryRecvError::Disconnected) {
            engine.turn(&mut flow, Some(Instant::now() + LOOK), false)?;
        }
        engine.close_all(&mut flow);
        Ok(())
    }
}

/// Those who write to dead domains. What comes back to them is what is expected.
struct Senders {
    conns: Vec<usize>,
    /// The tag of the first.
    first: u32,
}

impl Flow for Senders {
    fn up(&mut self, at: At, _: Session, _: &mut Vec<u8>) -> Result<(), String> {
        if let Some(conn) = at.tag.checked_sub(self.first).and_then(|at| self.conns.get_mut(at as usize)) {
            *conn = at.conn;
        }
        Ok(())
    }

    fn stanza(&mut self, _: At, _: &[u8], _: &mut Vec<u8>) -> Result<(), String> {
        Ok(())
    }
}

/// Events spread evenly over a time.
struct Pace {
    begun: Instant,
    every: Duration,
    done: u32,
    all: u32,
}

impl Pace {
    fn new(begun: Instant, time: Duration, all: u32) -> Self {
        Self { begun, every: time / all.max(1), done: 0, all }
    }

    /// When the next one is due; none after the last one.
    fn next(&self) -> Option<Instant> {
        (self.done < self.all).then(|| self.begun + self.every * self.done)
    }

    /// Whether one is due now, which counts as done.
    fn due(&mut self, now: Instant) -> bool {
        let due = self.next().is_some_and(|next| next <= now);
        self.done += u32::from(due);
        due
    }
}

/// The first of each pair writes, the second one reads: tags `2n` and `2n + 1`.
struct Local {
    conns: Vec<usize>,
    jids: Vec<String>,
    writers: Vec<Writer>,
    reader: Reader,
    meter: Meter,
    turn: usize,
    out: Vec<u8>,
}

#[derive(Default)]
struct Writer {
    template: Template,
    /// When each message was sent.
    sent_at: Vec<Instant>,
    came: Sequence,
    arrived: u64,
}

impl Local {
    fn new(pairs: u32) -> Self {
        let all = 2 * pairs as usize;
        let mut writers = Vec::new();
        writers.resize_with(pairs as usize, Writer::default);
        Self {
            conns: vec![0; all],
            jids: vec![String::new(); all],
            writers,
            reader: Reader::new(),
            meter: Meter::default(),
            turn: 0,
            out: Vec::new(),
        }
    }

    /// Every writer learns its reader's address.
    fn address(&mut self, body: usize) {
        for ((tag, writer), jids) in (0_u32..).zip(&mut self.writers).zip(self.jids.chunks(2)) {
            writer.template = Template::new(jids.get(1).map_or("", String::as_str), 2 * tag, body);
        }
    }

    /// What comes within this time from now is counted.
    fn count(&mut self, time: Duration) {
        let now = Instant::now();
        self.meter.set(now, now + time);
    }

    fn conn(&self, tag: usize) -> usize {
        self.conns.get(tag).copied().unwrap_or_default()
    }

    fn on_their_way(&self) -> u64 {
        self.writers.iter().map(|writer| (writer.sent_at.len() as u64).saturating_sub(writer.arrived)).sum()
    }

    /// The next pair's message.
    fn write(&mut self, engine: &mut Engine<'_>) -> Result<(), String> {
        let at = self.turn % self.writers.len().max(1);
        self.turn = self.turn.wrapping_add(1);
        let conn = self.conn(2 * at);
        self.out.clear();
        if let Some(writer) = self.writers.get_mut(at) {
            writer.template.append(writer.sent_at.len() as u64, &mut self.out);
            writer.sent_at.push(Instant::now());
        }
        engine.send(conn, &self.out)
    }
}

impl Flow for Local {
    fn up(&mut self, at: At, session: Session, _: &mut Vec<u8>) -> Result<(), String> {
        let tag = at.tag as usize;
        if let (Some(conn), Some(jid)) = (self.conns.get_mut(tag), self.jids.get_mut(tag)) {
            (*conn, *jid) = (at.conn, session.jid);
        }
        Ok(())
    }

    fn stanza(&mut self, at: At, stanza: &[u8], _: &mut Vec<u8>) -> Result<(), String> {
        let Some((from, number)) = self.reader.read(stanza, at.tag)? else { return Ok(()) };
        let Some(writer) = self.writers.get_mut(at.tag as usize / 2).filter(|_| from ^ 1 == at.tag) else {
            return Err(format!("a message of connection {from} came to connection {}", at.tag));
        };
        let sent_at = usize::try_from(number).ok().and_then(|number| writer.sent_at.get(number).copied());
        let Some(sent_at) = sent_at else {
            return Err(format!("message {number} came of {}", writer.sent_at.len()));
        };
        if writer.came.take(number)? {
            writer.arrived += 1;
            self.meter.record(at.now, at.now.saturating_duration_since(sent_at));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pace_is_even_and_ends() {
        let begun = Instant::now();
        let mut pace = Pace::new(begun, Duration::from_secs(1), 4);
        assert!(pace.due(begun) && !pace.due(begun));
        assert_eq!(pace.next(), Some(begun + Duration::from_millis(250)));
        let later = begun + Duration::from_millis(600);
        assert!(pace.due(later) && pace.due(later) && !pace.due(later));
        assert!(pace.due(begun + Duration::from_secs(9)));
        assert_eq!(pace.next(), None);
        assert_eq!(Pace::new(begun, Duration::from_secs(1), 0).next(), None);
    }

    /// Errors of dead domains are expected by those who write there, and by nobody else.
    #[test]
    fn only_local_messages_are_counted() {
        let mut flow = Local::new(1);
        let now = Instant::now();
        flow.address(100);
        flow.count(Duration::from_secs(60));
        if let Some(writer) = flow.writers.first_mut() {
            writer.sent_at.push(now);
        }
        fn take(flow: &mut impl Flow, tag: u32, stanza: &str) -> Result<(), String> {
            flow.stanza(At { conn: 0, tag, now: Instant::now() }, stanza.as_bytes(), &mut Vec::new())
        }
        let error = "<message type='error'><error><remote-server-timeout xmlns='x'/></error></message>";
        take(&mut Senders { conns: vec![0], first: 2 }, 2, error).unwrap();
        take(&mut flow, 0, error).unwrap_err();
        let message = "<message><body>~nl:00000000:000000000000~</body></message>";
        assert_eq!(flow.on_their_way(), 1);
        take(&mut flow, 1, message).unwrap();
        assert_eq!((flow.on_their_way(), flow.meter.count), (0, 1));
        take(&mut flow, 1, message).unwrap();
        assert_eq!((flow.writers[0].came.duplicates(), flow.meter.count), (1, 1));
        take(&mut flow, 1, &message.replace("000~", "009~")).unwrap_err();
    }
}
