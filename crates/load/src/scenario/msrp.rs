//! Files, short messages and idle sessions through an MSRP relay, or through the relays of two servers. At the bare relay, a file is bytes.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use nuncio_msrp::{ByteRange, FailureReport, Flag, Ident, Path, Uri, head::end_line};
use nuncio_net::OsEntropy;
use nuncio_net::tls::bare::BareConfig;
use nuncio_net::tls::{Kind as Opening, Roots};
use serde::Deserialize;

use super::bench::{Meter, log_in};
use super::{Bench, Kind, LONGEST, MOST_CONNECTIONS, Seconds, within};
use crate::engine::login::Wish;
use crate::engine::scan::{attr, name};
use crate::engine::scram::Mechanism;
use crate::engine::{At, Engine, Flow, Session};
use crate::msrp::{Client, Heard, PIECE, Pass, Pattern, Wire};
use crate::target::{Start, Target};

/// How often the server's memory is looked at while files flow.
const LOOK: Duration = Duration::from_millis(20);
/// An operation of a file.
const MEGABYTE: u64 = 1_000_000;
/// What answers the first line at the bare relay.
const READY: usize = 8;

/// MSRP through relays.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Msrp {
    /// The length of a file in bytes.
    pub bytes: u64,
    /// How many files at once.
    pub files: u32,
    /// Short messages beside them.
    pub texts: u32,
    /// Clients that say nothing.
    pub idle: u32,
    /// How long all are quiet before memory is looked at.
    pub rest: Seconds,
    /// How to log in.
    pub mechanism: Mechanism,
}

impl Kind for Msrp {
    fn check(&self) -> Result<(), String> {
        within("bytes", self.bytes, MEGABYTE, 1 << 40)?;
        within("files", self.files, u32::from(self.idle == 0), 1_000)?;
        within("texts", self.texts, 0, 1_000_000)?;
        within("idle", self.idle, 0, MOST_CONNECTIONS)?;
        within("rest", self.rest.0, 0.0, LONGEST)
    }

    fn run(&self, bench: &mut Bench<'_>) -> Result<(), String> {
        bench.room_for(u64::from(self.idle) + 2 * u64::from(self.files) + 4)?;
        if bench.target.start == Start::Relay {
            return self.bare(bench);
        }
        let target = bench.target;
        let passes = Asked::all(target, self.mechanism)?;
        let home = Place::new(target, passes.first().ok_or("no credentials")?)?;
        let away = match (&target.partner, passes.get(1)) {
            (Some(partner), Some(pass)) => Place::new(partner, pass)?,
            _ => home.clone(),
        };
        if self.idle > 0 { self.idle(bench, &home) } else { self.flow(bench, &home, &away) }
    }
}

/// A relay and how to get in.
#[derive(Clone)]
struct Place {
    tls: BareConfig,
    pass: Pass,
    patience: Duration,
}

impl Place {
    fn new(target: &Target, pass: &Pass) -> Result<Self, String> {
        Ok(Self { tls: tls(target)?, pass: pass.clone(), patience: target.patience })
    }

    /// A client with a URI.
    fn client(&self) -> Result<(Client, Uri), String> {
        let mut client = Client::connect(&self.tls, &self.pass, self.patience)?;
        let uri = client.auth(&self.pass)?;
        Ok((client, uri))
    }
}

fn tls(target: &Target) -> Result<BareConfig, String> {
    let roots = Roots::Files(target.roots.clone());
    BareConfig::client(&roots, &target.domain, Opening::StartTls, target.classic_key_exchange)
        .map_err(|error| error.to_string())
}

/// How the threads of a file tell each other that it is over.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Msrp {
    fn idle(&self, bench: &mut Bench<'_>, home: &Place) -> Result<(), String> {
        // What the relay makes once shall not be counted.
        let warm = home.client()?;
        thread::sleep(self.rest.duration());
        let before = bench.memory()?;
        bench.begin()?;
        let mut all = Vec::new();
        for number in 0..self.idle {
            let (mut client, uri) =
                home.client().map_err(|why| format!("{why}; {number} clients are there"))?;
            client.rest();
            all.push((client, uri));
        }
        bench.end()?;
        bench.tell("login", &Meter::of(u64::from(self.idle)));
        thread::sleep(self.rest.duration());
        let after = bench.memory()?;
        bench.tell_memory(before.zip(after), u64::from(self.idle));
        drop((all, warm));
        Ok(())
    }

    /// Files, and short messages beside them.
    fn flow(&self, bench: &mut Bench<'_>, home: &Place, away: &Place) -> Result<(), String> {
        let pattern = Pattern::new()?;
        let mut lanes = Vec::new();
        for _ in 0..self.files {
            let (sender, mine) = home.client()?;
            let (receiver, theirs) = away.client()?;
            let way = Path::new(vec![mine, theirs, receiver.own().clone()]).ok_or("no path")?;
            lanes.push((sender, receiver, way));
        }
        let beside = if self.texts == 0 {
            None
        } else {
            let (speaker, mine) = home.client()?;
            // Another session of the client that gets the first file, on the same connection.
            let (_, receiver, _) = lanes.first_mut().ok_or("no file")?;
            let theirs = receiver.auth(&away.pass)?;
            let way = Path::new(vec![mine, theirs, receiver.own().clone()]).ok_or("no path")?;
            Some((speaker, way))
        };
        let mut peak = bench.memory()?;
        bench.begin()?;
        let (stop, bytes, pattern) = (AtomicBool::new(false), self.bytes, &pattern);
        let (stop, endless) = (&stop, beside.is_some());
        let (done, meter) = thread::scope(|scope| {
            let (told, texts) = mpsc::channel();
            let mut running = Vec::new();
            for (mut sender, mut receiver, way) in lanes {
                let told = told.clone();
                running.push(scope.spawn(move || {
                    let _over = Over(stop);
                    send_file(&mut sender, &way, pattern, bytes, endless.then_some(stop))
                }));
                running.push(scope.spawn(move || {
                    let _over = Over(stop);
                    receive_file(&mut receiver, pattern, &told).map(|_| 0)
                }));
            }
            drop(told);
            let timed = beside.map(|(mut speaker, way)| {
                scope.spawn(move || {
                    let _over = Over(stop);
                    say_texts(&mut speaker, &way, self.texts, &texts)
                })
            });
            let watched = loop {
                if running.iter().all(thread::ScopedJoinHandle::is_finished) {
                    break Ok(());
                }
                match bench.memory() {
                    Ok(now) => peak = peak.max(now),
                    Err(why) => break Err(why),
                }
                thread::sleep(LOOK);
            };
            let joined = |handle: thread::ScopedJoinHandle<'_, Result<u64, String>>| {
                handle.join().unwrap_or_else(|_| Err("a thread of the generator panicked".to_owned()))
            };
            let sent: Result<Vec<u64>, String> = running.into_iter().map(joined).collect();
            let meter = timed.map(|handle| {
                handle.join().unwrap_or_else(|_| Err("a thread of the generator panicked".to_owned()))
            });
            (watched.and(sent), meter)
        });
        bench.end()?;
        let sent: u64 = done?.iter().sum();
        match meter.transpose()? {
            Some(meter) => bench.tell("text", &meter),
            None => bench.tell("megabyte", &Meter::of(sent / MEGABYTE)),
        }
        // What all of it took together is what is asked about.
        bench.tell_memory(peak.map(|peak| (0, peak)), 1);
        Ok(())
    }

    /// The same bytes through the bare relay.
    fn bare(&self, bench: &mut Bench<'_>) -> Result<(), String> {
        if self.idle > 0 || self.texts > 0 {
            return Err("the bare relay knows bytes only".to_owned());
        }
        let (pattern, target, bytes) = (Pattern::new()?, bench.target, self.bytes);
        let config = tls(target)?;
        let mut lanes = Vec::new();
        for pair in 0..self.files {
            let join = || -> Result<Wire, String> {
                let mut wire = Wire::connect(&config, target.address, target.patience)?;
                wire.say(format!("pair {pair:x}\n").as_bytes())?;
                let (mut input, mut count) = (vec![0; PIECE], 0);
                while count < READY {
                    wire.hear(&mut input, &mut |bytes| count += bytes.len())?;
                }
                Ok(wire)
            };
            lanes.push((join()?, join()?));
        }
        bench.begin()?;
        let pattern = &pattern;
        let done: Result<Vec<()>, String> = thread::scope(|scope| {
            let mut running = Vec::new();
            for (mut sender, mut receiver) in lanes {
                running.push(scope.spawn(move || {
                    let mut at = 0;
                    while at < bytes {
                        let piece = pattern.at(at, length(bytes - at));
                        sender.say(piece)?;
                        at += piece.len() as u64;
                    }
                    // It shall stand until all has been read.
                    sender.hear(&mut [0], &mut |_| {}).or(Ok(()))
                }));
                running.push(scope.spawn(move || {
                    let (mut input, mut at, mut same) = (vec![0; PIECE], 0, true);
                    while at < bytes && same {
                        receiver.hear(&mut input, &mut |part| {
                            same &= pattern.matches(at, part);
                            at += part.len() as u64;
                        })?;
                    }
                    if same { Ok(()) } else { Err(format!("other bytes before {at}")) }
                }));
            }
            running
                .into_iter()
                .map(|handle| handle.join().unwrap_or_else(|_| Err("a thread panicked".to_owned())))
                .collect()
        });
        bench.end()?;
        done?;
        bench.tell("megabyte", &Meter::of(u64::from(self.files) * bytes / MEGABYTE));
        let memory = bench.memory()?;
        bench.tell_memory(memory.map(|memory| (0, memory)), 1);
        Ok(())
    }
}

fn length(left: u64) -> usize {
    usize::try_from(left).unwrap_or(usize::MAX).min(PIECE)
}

/// One chunk that is as long as the file; or one after the other until somebody says stop. Gives the bytes sent.
fn send_file(
    sender: &mut Client,
    way: &Path,
    pattern: &Pattern,
    bytes: u64,
    until: Option<&AtomicBool>,
) -> Result<u64, String> {
    let mut sent = 0;
    loop {
        let mut head = sender.head(way.clone());
        head.range = Some(ByteRange::at(0, None, Some(bytes)).map_err(|error| error.to_string())?);
        let mut out = Vec::new();
        head.write(&mut out);
        sender.say(&out)?;
        let mut at = 0;
        while at < bytes {
            let piece = pattern.at(at, length(bytes - at));
            sender.say(piece)?;
            at += piece.len() as u64;
        }
        out.clear();
        out.extend_from_slice(b"\r\n");
        end_line(&head.id, Flag::Last, &mut out);
        sender.say(&out)?;
        loop {
            match sender.next()? {
                Heard::Other(answer) if answer.id == head.id => break,
                Heard::Other(other) if other.status.is_some() => {
                    return Err("the file is reported to have failed".to_owned());
                }
                _ => {}
            }
        }
        sent += bytes;
        if until.is_none_or(|stop| stop.load(Ordering::Relaxed)) {
            // What comes after a file says to the receiver that it was the last.
            let mut last = sender.head(way.clone());
            last.content_type = Some(LAST.into());
            sender.say(&last.frame(Some(b"."), Flag::Last, &OsEntropy))?;
            return Ok(sent);
        }
    }
}

/// The type of what says that there are no more files.
const LAST: &str = "application/x-last";
/// The type of short messages.
const SHORT: &str = "text/plain";

/// Checks every byte; tells when short messages come, and with what identifier. Gives the bytes received.
fn receive_file(
    receiver: &mut Client,
    pattern: &Pattern,
    told: &mpsc::Sender<(Ident, Instant)>,
) -> Result<u64, String> {
    let (mut received, mut pending) = (0, Vec::new());
    loop {
        match receiver.next()? {
            Heard::Data(at, data) => pending.push((at, data)),
            Heard::Chunk(head, flag) => {
                let now = Instant::now();
                let parts = std::mem::take(&mut pending);
                match head.content_type.as_deref() {
                    Some(LAST) => return Ok(received),
                    // Even a short one may come in two chunks, where the file's turn has come between.
                    Some(SHORT) if flag == Flag::More => {}
                    Some(SHORT) => {
                        // Nobody may be left who wants to hear.
                        let _told = head.message_id.map(|id| told.send((id, now)));
                    }
                    _ => {
                        for (at, data) in parts {
                            if !pattern.matches(at, &data) {
                                return Err(format!("other bytes at {at}"));
                            }
                            received += data.len() as u64;
                        }
                        if flag == Flag::Abort {
                            return Err("the file was cut off".to_owned());
                        }
                    }
                }
            }
            Heard::Other(_) => {}
        }
        // A long chunk is checked as it comes.
        if pending.len() > 64 {
            for (at, data) in pending.drain(..) {
                if !pattern.matches(at, &data) {
                    return Err(format!("other bytes at {at}"));
                }
                received += data.len() as u64;
            }
        }
    }
}

/// Short messages, each when the one before has arrived: how long each took.
fn say_texts(
    speaker: &mut Client,
    way: &Path,
    count: u32,
    arrived: &mpsc::Receiver<(Ident, Instant)>,
) -> Result<Meter, String> {
    let mut meter = Meter::default();
    let begun = Instant::now();
    meter.set(begun, begun + Duration::from_secs(86_400));
    for _ in 0..count {
        let mut head = speaker.head(way.clone());
        head.content_type = Some(SHORT.into());
        head.failure_report = FailureReport::No;
        let frame = head.frame(Some(b"a short message"), Flag::Last, &OsEntropy);
        let said = Instant::now();
        speaker.say(&frame)?;
        let (id, came) = arrived.recv().map_err(|_| "the receiver is gone")?;
        if head.message_id != Some(id) {
            return Err("another message came".to_owned());
        }
        meter.record(came, came.saturating_duration_since(said));
    }
    Ok(meter)
}

/// Asks for credentials, at the target and at its partner.
struct Asked {
    /// By tag.
    passes: Vec<Option<(String, u16, String, String)>>,
    /// Whom to ask, by tag: without it, the account would be asked and not the server.
    domains: Vec<String>,
}

impl Asked {
    fn all(target: &Target, mechanism: Mechanism) -> Result<Vec<Pass>, String> {
        let partner = target.partner.as_deref();
        let targets: Vec<&Target> = std::iter::once(target).chain(partner).collect();
        let mut engine = Engine::new(target)?;
        let domains = targets.iter().map(|target| target.domain.clone()).collect();
        let mut this = Self { passes: vec![None; targets.len()], domains };
        let wishes = [false, true].into_iter().zip(0..).take(targets.len()).map(|(away, tag)| {
            (Wish { resource: "load".to_owned(), mechanism, away, ..Wish::default() }, tag)
        });
        log_in(&mut engine, &mut this, wishes)?;
        while this.passes.iter().any(Option::is_none) {
            engine.turn(&mut this, None, true)?;
        }
        engine.close_all(&mut this);
        let given = this.passes.into_iter().flatten().zip(targets);
        Ok(given
            .map(|((host, port, username, password), target)| Pass {
                relay: format!("msrps://{host}:{port};tcp"),
                place: SocketAddr::new(target.address.ip(), port),
                username,
                password,
            })
            .collect())
    }
}

impl Flow for Asked {
    fn up(&mut self, at: At, _: Session, out: &mut Vec<u8>) -> Result<(), String> {
        let domain = usize::try_from(at.tag).ok().and_then(|tag| self.domains.get(tag));
        let services = "<services xmlns='urn:xmpp:extdisco:2' type='msrp'/>";
        let to = domain.map(String::as_str).unwrap_or_default();
        out.extend_from_slice(format!("<iq type='get' id='relay' to='{to}'>{services}</iq>").as_bytes());
        Ok(())
    }

    fn stanza(&mut self, at: At, stanza: &[u8], _: &mut Vec<u8>) -> Result<(), String> {
        if name(stanza) != b"iq" || attr(stanza, b"id") != Some(b"relay") {
            return Ok(());
        }
        let service = memchr::memmem::find(stanza, b"<service ").and_then(|at| stanza.get(at..));
        let service = service.ok_or("the server has no MSRP relay")?;
        let text = |name: &[u8]| attr(service, name).and_then(|value| String::from_utf8(value.to_vec()).ok());
        let port = text(b"port").and_then(|port| port.parse().ok());
        let all = text(b"host").zip(port).zip(text(b"username")).zip(text(b"password"));
        let place = usize::try_from(at.tag).ok().and_then(|tag| self.passes.get_mut(tag));
        if let (Some((((host, port), username), password)), Some(place)) = (all, place) {
            *place = Some((host, port, username, password));
            return Ok(());
        }
        Err("what XEP-0215 says of the relay is not complete".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_read_from_what_the_server_says() {
        let mut asked = Asked { passes: vec![None], domains: vec!["a.test".to_owned()] };
        let at = || At { conn: 0, tag: 0, now: Instant::now() };
        let mut out = Vec::new();
        let service = "<service xmlns='urn:xmpp:extdisco:2' type='msrp' host='a.test' port='2855' username='9:a@a.test' password='x=='/>";
        let said = format!("<iq type='result' id='relay'><services>{service}</services></iq>");
        asked.stanza(at(), said.as_bytes(), &mut out).unwrap();
        let wanted = ("a.test".to_owned(), 2855, "9:a@a.test".to_owned(), "x==".to_owned());
        assert_eq!(asked.passes, [Some(wanted)]);
        let none = b"<iq type='result' id='relay'><services/></iq>";
        assert!(asked.stanza(at(), none, &mut out).unwrap_err().contains("no MSRP relay"));
    }
}
