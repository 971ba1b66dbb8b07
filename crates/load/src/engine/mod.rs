//! The reactor: many connections, one thread, no task and no channel.
//!
//! A connection is a slot of a slab. It logs in through [`login`]; after that what comes is decrypted where the socket put it, cut
//! into elements ([`scan`]) and handed to the scenario's [`Flow`], whose answers leave as one record and one write.

pub(crate) mod login;
pub(crate) mod scan;
pub(crate) mod scram;

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::{Duration, Instant};

use mio::event::Event;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use nuncio_net::tls::bare::{Bare, BareConfig};
use nuncio_net::tls::{Kind, Roots};

use self::login::{Act, Login, Wish};
use self::scan::{Found, Next, Nonsense, Scan};
use self::scram::KeyRing;
use crate::target::{Start, Target};

/// What is read from a socket at once.
const READ: usize = 64 << 10;
/// The most that may wait for a server that does not read.
const UNSENT: usize = 16 << 20;
/// One source address has 28 000 ports for one destination; above this many connections another one is used.
const PER_SOURCE: usize = 20_000;

/// Where something happened.
#[derive(Clone, Copy, Debug)]
pub(crate) struct At {
    /// The connection.
    pub(crate) conn: usize,
    /// What the scenario calls it.
    pub(crate) tag: u32,
    /// When.
    pub(crate) now: Instant,
}

/// A session that has just begun.
#[derive(Debug)]
pub(crate) struct Session {
    /// The bound address; empty at a relay.
    pub(crate) jid: String,
    /// The id to resume it with.
    pub(crate) id: Option<String>,
    /// When the connection was begun.
    pub(crate) begun: Instant,
}

/// What a scenario does with what comes.
pub(crate) trait Flow {
    /// A session has begun. What is appended to `reply` is sent.
    ///
    /// # Errors
    /// Why the scenario cannot go on.
    fn up(&mut self, at: At, session: Session, reply: &mut Vec<u8>) -> Result<(), String>;

    /// A stanza came. What is appended to `reply` is sent.
    ///
    /// # Errors
    /// Why the scenario cannot go on.
    fn stanza(&mut self, at: At, stanza: &[u8], reply: &mut Vec<u8>) -> Result<(), String>;

    /// The answers to how many stanzas that came together may leave in one record and one write.
    fn together(&self) -> usize {
        usize::MAX
    }
}

struct Conn {
    stream: TcpStream,
    bare: Option<Bare>,
    scan: Scan,
    /// At the target's partner.
    away: bool,
    /// Until the session is there.
    login: Option<Box<Login>>,
    /// Stream management: how many stanzas came since it is on.
    handled: Option<u32>,
    /// Bytes for the socket that it has not taken.
    unsent: Vec<u8>,
    tag: u32,
    account: u32,
    begun: Instant,
    connected: bool,
    closing: bool,
}

/// All connections of one thread.
pub(crate) struct Engine<'t> {
    target: &'t Target,
    tls: BareConfig,
    /// That of the target's partner.
    away: Option<BareConfig>,
    poll: Poll,
    events: Events,
    conns: Vec<Option<Conn>>,
    free: Vec<usize>,
    ring: KeyRing,
    input: Vec<u8>,
    reply: Vec<u8>,
    cuts: Vec<usize>,
    /// Connections that are logging in.
    pending: usize,
    open: usize,
    heard: Instant,
}

impl<'t> Engine<'t> {
    /// An engine without connections.
    ///
    /// # Errors
    /// The roots cannot be read, or the system has no poller for us.
    pub(crate) fn new(target: &'t Target) -> Result<Self, String> {
        let tls = tls_for(target)?;
        let away = target.partner.as_deref().map(tls_for).transpose()?;
        let poll = Poll::new().map_err(|error| format!("no poller: {error}"))?;
        Ok(Self {
            target,
            tls,
            away,
            poll,
            events: Events::with_capacity(1024),
            conns: Vec::new(),
            free: Vec::new(),
            ring: KeyRing::default(),
            input: vec![0; READ],
            reply: Vec::new(),
            cuts: Vec::new(),
            pending: 0,
            open: 0,
            heard: Instant::now(),
        })
    }

    /// Open connections, whatever they are doing.
    pub(crate) const fn open_connections(&self) -> usize {
        self.open
    }

    /// Connections whose session is there.
    pub(crate) fn sessions(&self) -> u64 {
        self.open.saturating_sub(self.pending) as u64
    }

    /// Connections that are logging in.
    pub(crate) const fn pending(&self) -> usize {
        self.pending
    }

    /// Begins a connection. `tag` is what the scenario calls it.
    ///
    /// # Errors
    /// The system has no socket for us.
    pub(crate) fn open(&mut self, wish: Wish, tag: u32) -> Result<usize, String> {
        let id = self.free.pop().unwrap_or(self.conns.len());
        let (target, tls, away) = match (&self.target.partner, &self.away) {
            (Some(partner), Some(tls)) if wish.away => (partner.as_ref(), tls, true),
            _ => (self.target, &self.tls, false),
        };
        let mut stream = connect(target.address, id / PER_SOURCE)
            .map_err(|error| format!("cannot connect to {}: {error}", target.address))?;
        self.poll
            .registry()
            .register(&mut stream, Token(id), Interest::READABLE | Interest::WRITABLE)
            .map_err(|error| format!("cannot watch a socket: {error}"))?;
        let bare = match target.start {
            Start::StartTls => None,
            Start::DirectTls | Start::Relay => Some(tls.connection().map_err(|error| error.to_string())?),
        };
        let scan = if target.start == Start::Relay { Scan::default() } else { Scan::with_header() };
        let conn = Conn {
            stream,
            bare,
            scan,
            account: wish.account,
            away,
            login: Some(Box::new(Login::new(wish, target))),
            handled: None,
            unsent: Vec::new(),
            tag,
            begun: Instant::now(),
            connected: false,
            closing: false,
        };
        match self.conns.get_mut(id) {
            Some(slot) => *slot = Some(conn),
            None => self.conns.push(Some(conn)),
        }
        self.pending += 1;
        self.open += 1;
        // Silence counts from when something was asked for.
        self.heard = Instant::now();
        Ok(id)
    }

    /// Waits for something to happen, until `until` at most, and handles it. With `expecting`, silence of all connections for longer
    /// than the target's patience is an error.
    ///
    /// # Errors
    /// A connection failed, or the flow says why not to go on.
    pub(crate) fn turn(
        &mut self,
        flow: &mut impl Flow,
        until: Option<Instant>,
        expecting: bool,
    ) -> Result<(), String> {
        let now = Instant::now();
        let mut wait = until.map(|until| until.saturating_duration_since(now));
        if expecting {
            let silent = now.saturating_duration_since(self.heard);
            let Some(left) = self.target.patience.checked_sub(silent) else {
                return Err(self.silence());
            };
            // Past the limit by a little, so that the next turn sees it.
            let left = left + Duration::from_millis(1);
            wait = Some(wait.map_or(left, |wait| wait.min(left)));
        }
        let mut events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        let polled = self.poll.poll(&mut events, wait);
        let result = match polled {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                Err(format!("poller failed: {error}"))
            }
            _ => events.iter().try_for_each(|event| self.event(event, flow)),
        };
        self.events = events;
        result
    }

    /// Reads what comes for so long.
    ///
    /// # Errors
    /// As for [`Engine::turn`].
    pub(crate) fn rest(&mut self, flow: &mut impl Flow, time: Duration) -> Result<(), String> {
        let until = Instant::now() + time;
        while Instant::now() < until {
            self.turn(flow, Some(until), false)?;
        }
        self.heard = Instant::now();
        Ok(())
    }

    fn silence(&self) -> String {
        let patience = self.target.patience;
        let waiting = self.conns.iter().flatten().find_map(|conn| {
            let login = conn.login.as_ref()?;
            let during = if conn.connected { login.during() } else { "the TCP connection" };
            Some(format!("{} hangs in {during}", self.target.accounts.name(conn.account)))
        });
        let what = waiting.unwrap_or_else(|| "something should have come".to_owned());
        format!("nothing came for {patience:?}: {what}")
    }

    fn event(&mut self, event: &Event, flow: &mut impl Flow) -> Result<(), String> {
        let id = event.token().0;
        let now = Instant::now();
        let Some(conn) = self.conns.get_mut(id).and_then(Option::as_mut) else { return Ok(()) };
        let was_up = conn.login.is_none();
        let mut work = Work {
            at: At { conn: id, tag: conn.tag, now },
            ring: &mut self.ring,
            reply: &mut self.reply,
            cuts: &mut self.cuts,
            answered: 0,
            tls: self.away.as_ref().filter(|_| conn.away).unwrap_or(&self.tls),
            heard: &mut self.heard,
        };
        let done = conn.event(event, &mut self.input, &mut work, flow);
        self.reply.clear();
        self.cuts.clear();
        if !was_up && conn.login.is_none() {
            self.pending -= 1;
        }
        let (Err(why) | Ok(Some(why))) = done else { return Ok(()) };
        let during = match &conn.login {
            Some(_) if !conn.connected => "the TCP connection",
            Some(login) => login.during(),
            None => "the session",
        };
        let (closing, account) = (conn.closing, conn.account);
        self.remove(id);
        if closing {
            return Ok(());
        }
        Err(format!("{}: {why} (during {during})", self.target.accounts.name(account)))
    }

    /// Sends bytes on a session's stream.
    ///
    /// # Errors
    /// The connection is broken.
    pub(crate) fn send(&mut self, id: usize, bytes: &[u8]) -> Result<(), String> {
        let Some(conn) = self.conns.get_mut(id).and_then(Option::as_mut) else {
            return Err("a message is to be sent over a connection that is gone".to_owned());
        };
        self.heard = Instant::now();
        conn.send(bytes)
    }

    /// How many stanzas a managed stream has handled.
    pub(crate) fn handled(&self, id: usize) -> Option<u32> {
        self.conns.get(id).and_then(Option::as_ref).and_then(|conn| conn.handled)
    }

    /// Breaks a connection without a word, as a network that goes away.
    pub(crate) fn cut(&mut self, id: usize) {
        if let Some(conn) = self.conns.get(id).and_then(Option::as_ref) {
            if conn.login.is_some() {
                self.pending -= 1;
            }
            self.remove(id);
        }
    }

    /// Closes a connection in order; it is gone when the server has closed too.
    pub(crate) fn close(&mut self, id: usize) {
        let xmpp = self.target.start != Start::Relay;
        let Some(conn) = self.conns.get_mut(id).and_then(Option::as_mut) else { return };
        if conn.login.is_some() {
            self.cut(id);
            return;
        }
        conn.closing = true;
        // What is not acknowledged at the end is kept for the account's next session, and would come there (XEP-0198 §4).
        let last = conn.handled.map(|count| format!("<a xmlns='{}' h='{count}'/>", login::SM));
        let end = last.unwrap_or_default() + "</stream:stream>";
        let said = if xmpp { conn.send(end.as_bytes()) } else { Ok(()) };
        let closed = said.and_then(|()| {
            let Conn { bare, unsent, .. } = conn;
            bare.as_mut().map_or(Ok(()), |bare| bare.close(unsent).map_err(|error| error.to_string()))?;
            conn.flush().map_err(|error| error.to_string())
        });
        // The relay has nothing to say at the end, so nobody waits for it.
        if closed.is_err() || !xmpp {
            self.remove(id);
        }
    }

    /// Closes all connections in order and waits a while for the server to do so too.
    pub(crate) fn close_all(&mut self, flow: &mut impl Flow) {
        for id in 0..self.conns.len() {
            self.close(id);
        }
        let until = Instant::now() + Duration::from_secs(10).min(self.target.patience);
        while self.open > 0 && Instant::now() < until {
            if self.turn(flow, Some(until), false).is_err() {
                return;
            }
        }
    }

    fn remove(&mut self, id: usize) {
        if let Some(conn) = self.conns.get_mut(id).and_then(Option::take) {
            drop(conn);
            self.free.push(id);
            self.open -= 1;
        }
    }
}

/// What a connection needs of the engine while it handles an event.
struct Work<'e> {
    at: At,
    ring: &'e mut KeyRing,
    reply: &'e mut Vec<u8>,
    /// Where `reply` must be cut into writes.
    cuts: &'e mut Vec<usize>,
    /// Stanzas answered since the last cut.
    answered: usize,
    tls: &'e BareConfig,
    heard: &'e mut Instant,
}

impl Conn {
    /// Handles an event. Says why the connection is over if the server has ended it.
    fn event(
        &mut self,
        event: &Event,
        input: &mut [u8],
        work: &mut Work<'_>,
        flow: &mut impl Flow,
    ) -> Result<Option<String>, String> {
        if !self.connected {
            if let Ok(Some(error)) | Err(error) = self.stream.take_error() {
                return Err(error.to_string());
            }
            if !event.is_writable() {
                return Ok(None);
            }
            self.connected = true;
            *work.heard = work.at.now;
            match (&mut self.bare, &self.login) {
                (Some(bare), _) => {
                    bare.read(&mut [], &mut self.unsent, |_| {}).map_err(|error| error.to_string())?;
                }
                (None, Some(login)) => login.connected(&mut self.unsent),
                (None, None) => {}
            }
        }
        if event.is_writable() || !self.unsent.is_empty() {
            self.flush().map_err(|error| error.to_string())?;
        }
        if event.is_readable() || event.is_read_closed() || event.is_error() {
            return self.readable(event.is_read_closed() || event.is_error(), input, work, flow);
        }
        Ok(None)
    }

    fn readable(
        &mut self,
        to_the_end: bool,
        input: &mut [u8],
        work: &mut Work<'_>,
        flow: &mut impl Flow,
    ) -> Result<Option<String>, String> {
        loop {
            let count = match self.stream.read(input) {
                Ok(0) => return Ok(Some("closed by the server".to_owned())),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error.to_string()),
            };
            *work.heard = work.at.now;
            let bytes = input.get_mut(..count).unwrap_or_default();
            if self.take(bytes, work, flow)? {
                return Ok(Some("closed by the server".to_owned()));
            }
            // A read that fills less than the buffer has emptied the socket; another event tells of more.
            if count < READ && !to_the_end {
                return Ok(None);
            }
        }
    }

    /// Takes bytes from the socket; whether TLS has ended.
    fn take(&mut self, bytes: &mut [u8], work: &mut Work<'_>, flow: &mut impl Flow) -> Result<bool, String> {
        let mut fed = Ok(Next::Go);
        let Self { bare, scan, login, handled, unsent, begun, closing, .. } = self;
        let mut feed = |chunk: &[u8], work: &mut Work<'_>| {
            if !*closing { feed(scan, login, handled, *begun, chunk, work, flow) } else { Ok(Next::Go) }
        };
        let mut ended = false;
        if let Some(tls) = bare {
            let was_up = tls.is_up();
            let progress = tls
                .read(bytes, unsent, |chunk| {
                    if fed.is_ok() {
                        fed = feed(chunk, work);
                    }
                })
                .map_err(|error| error.to_string())?;
            fed.map_err(|nonsense| nonsense.0)?;
            ended = progress.closed;
            if progress.up
                && !was_up
                && let Some(login) = login
            {
                login.secured(work.reply);
            }
        } else {
            fed = feed(bytes, work);
            if fed.map_err(|nonsense| nonsense.0)? == Next::Stop {
                let mut tls = work.tls.connection().map_err(|error| error.to_string())?;
                tls.read(&mut [], unsent, |_| {}).map_err(|error| error.to_string())?;
                *bare = Some(tls);
                *scan = Scan::with_header();
            }
        }
        if !work.reply.is_empty() {
            self.answer(work).map_err(|error| error.to_string())?;
        } else if !self.unsent.is_empty() {
            self.flush().map_err(|error| error.to_string())?;
        }
        Ok(ended)
    }

    /// Sends the replies.
    fn answer(&mut self, work: &mut Work<'_>) -> io::Result<()> {
        let whole = work.reply.len();
        let mut begin = 0;
        for end in work.cuts.drain(..).chain(std::iter::once(whole)) {
            let part = work.reply.get(begin..end).unwrap_or_default();
            begin = end;
            if part.is_empty() {
                continue;
            }
            match &mut self.bare {
                Some(tls) if tls.is_up() => tls.write(part, &mut self.unsent).map_err(io::Error::other)?,
                _ => self.unsent.extend_from_slice(part),
            }
            self.flush()?;
        }
        work.reply.clear();
        work.answered = 0;
        Ok(())
    }

    fn send(&mut self, bytes: &[u8]) -> Result<(), String> {
        if let Some(tls) = &mut self.bare {
            tls.write(bytes, &mut self.unsent).map_err(|error| error.to_string())?;
        }
        self.flush().map_err(|error| error.to_string())
    }

    fn flush(&mut self) -> io::Result<()> {
        let mut written = 0;
        while let Some(rest) = self.unsent.get(written..).filter(|rest| !rest.is_empty()) {
            match self.stream.write(rest) {
                Ok(count) => written += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        if written == self.unsent.len() {
            self.unsent.clear();
        } else {
            self.unsent.drain(..written);
        }
        if self.unsent.len() > UNSENT {
            return Err(io::Error::other("the server does not read what is sent"));
        }
        Ok(())
    }
}

/// Takes decrypted bytes of one connection.
fn feed(
    scan: &mut Scan,
    login: &mut Option<Box<Login>>,
    handled: &mut Option<u32>,
    begun: Instant,
    chunk: &[u8],
    work: &mut Work<'_>,
    flow: &mut impl Flow,
) -> Result<Next, Nonsense> {
    let mut last = Next::Go;
    scan.feed(chunk, |found| {
        let first = match found {
            Found::Element(element) => element.get(1).copied(),
            Found::Header(_) | Found::End => None,
        };
        if matches!(first, Some(b'm' | b'p' | b'i'))
            && let Some(handled) = handled
        {
            *handled = handled.wrapping_add(1);
        }
        if let (Some(b'r'), Some(count), Found::Element(element)) = (first, *handled, found)
            && scan::name(element) == b"r"
        {
            let answer = format!("<a xmlns='{}' h='{count}'/>", login::SM);
            work.reply.extend_from_slice(answer.as_bytes());
            return Ok(Next::Go);
        }
        if let Some(machine) = login {
            let act = machine.take(found, work.ring, work.reply)?;
            if machine.counts && handled.is_none() {
                *handled = Some(0);
            }
            if act == Act::Up
                && let Some(mut machine) = login.take()
            {
                let early = machine.early();
                let (jid, id, resumed) = machine.session();
                if let Some((_, count)) = resumed {
                    *handled = Some(count);
                }
                flow.up(work.at, Session { jid, id, begun }, work.reply)?;
                for message in early {
                    flow.stanza(work.at, &message, work.reply)?;
                }
            }
            last = act.next();
            return Ok(last);
        }
        match found {
            Found::Element(element) => match first {
                Some(b'm' | b'p' | b'i') => {
                    flow.stanza(work.at, element, work.reply)?;
                    work.answered += 1;
                    if work.answered >= flow.together() {
                        work.cuts.push(work.reply.len());
                        work.answered = 0;
                    }
                    Ok(Next::Go)
                }
                _ if scan::name(element) == b"error" => Err(login::stream_error(element)),
                _ => Ok(Next::Go),
            },
            Found::End => Err(Nonsense("closed the stream".to_owned())),
            Found::Header(_) => Err(Nonsense("began a second stream".to_owned())),
        }
    })?;
    Ok(last)
}

/// A socket on its way to the target. The sources 127.0.0.2 and up are used at targets on 127/8 when ports run out.
fn connect(to: SocketAddr, source: usize) -> io::Result<TcpStream> {
    let IpAddr::V4(ip) = to.ip() else { return direct(to) };
    let last = u8::try_from(source + 1).map_err(|_| io::ErrorKind::AddrNotAvailable)?;
    if source == 0 || !ip.is_loopback() {
        return direct(to);
    }
    use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, socket_with};
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
    bind(&socket, &SocketAddrV4::new(Ipv4Addr::new(127, 0, 0, last), 0))?;
    match connect(&socket, &to) {
        Ok(()) | Err(rustix::io::Errno::INPROGRESS) => {}
        Err(error) => return Err(error.into()),
    }
    let stream = TcpStream::from_std(std::net::TcpStream::from(socket));
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// What TLS at this target needs.
fn tls_for(target: &Target) -> Result<BareConfig, String> {
    let kind = if target.start == Start::StartTls { Kind::StartTls } else { Kind::Direct };
    let roots = Roots::Files(target.roots.clone());
    BareConfig::client(&roots, &target.domain, kind, target.classic_key_exchange)
        .map_err(|error| error.to_string())
}

fn direct(to: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(to)?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn more_connections_than_ports_come_from_other_addresses() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let to = listener.local_addr().unwrap();
        for (source, from) in [(0, "127.0.0.1"), (1, "127.0.0.2"), (253, "127.0.0.254")] {
            let _stream = connect(to, source).unwrap();
            let (_, peer) = listener.accept().unwrap();
            assert_eq!(peer.ip().to_string(), from);
        }
        assert!(connect(to, 300).is_err());
    }
}
