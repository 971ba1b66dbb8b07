//! A blocking connection over TLS, and what an MSRP client does on it: AUTH, long messages, short ones.
//!
//! It is as plain as it can be, so that the relay is what is measured: one thread, one connection, buffers of its own.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use nuncio_msrp::digest::{Algorithm, Challenge};
use nuncio_msrp::{Flag, Head, Ident, Item, Limits, Method, Parser, Path, Status, Uri};
use nuncio_net::OsEntropy;
use nuncio_net::tls::bare::{Bare, BareConfig};

/// What is read from a socket at once.
const READ: usize = 64 << 10;
/// What is written at once.
pub(crate) const PIECE: usize = 64 << 10;
/// The length of the pattern that files repeat: no power of two, so that whatever is lost or doubled shows.
const PATTERN: usize = (1 << 20) - 17;

/// Credentials for a relay (XEP-0215).
#[derive(Clone, Debug)]
pub(crate) struct Pass {
    /// The relay as it is asked for a URI.
    pub(crate) relay: String,
    /// Where it is.
    pub(crate) place: SocketAddr,
    pub(crate) username: String,
    pub(crate) password: String,
}

/// Random bytes, repeated for as long as a file is.
pub(crate) struct Pattern(Vec<u8>);

impl Pattern {
    /// A new one; its random bytes go on for a piece beyond its length, so that every piece of a file is a slice of it.
    ///
    /// # Errors
    /// The system has no randomness.
    pub(crate) fn new() -> Result<Self, String> {
        let mut bytes = vec![0; PATTERN];
        getrandom::fill(&mut bytes).map_err(|error| error.to_string())?;
        bytes.extend_from_within(..PIECE);
        Ok(Self(bytes))
    }

    /// The bytes of a file at this place, at most a piece of them.
    pub(crate) fn at(&self, offset: u64, length: usize) -> &[u8] {
        #[expect(clippy::cast_possible_truncation, reason = "less than the pattern's length")]
        let begin = (offset % PATTERN as u64) as usize;
        self.0.get(begin..begin + length.min(PIECE)).unwrap_or_default()
    }

    /// Whether these are the bytes of a file at this place.
    pub(crate) fn matches(&self, mut offset: u64, bytes: &[u8]) -> bool {
        bytes.chunks(PIECE).all(|part| {
            let same = self.at(offset, part.len()) == part;
            offset += part.len() as u64;
            same
        })
    }
}

/// A TLS connection.
pub(crate) struct Wire {
    stream: TcpStream,
    tls: Bare,
    out: Vec<u8>,
}

impl Wire {
    /// Connects, and waits for the handshake.
    ///
    /// # Errors
    /// Nobody is there, or TLS fails.
    pub(crate) fn connect(
        config: &BareConfig,
        place: SocketAddr,
        patience: Duration,
    ) -> Result<Self, String> {
        let stream =
            TcpStream::connect_timeout(&place, patience).map_err(|error| format!("{place}: {error}"))?;
        let prepared = stream.set_nodelay(true).and_then(|()| stream.set_read_timeout(Some(patience)));
        prepared
            .and_then(|()| stream.set_write_timeout(Some(patience)))
            .map_err(|error| error.to_string())?;
        let tls = config.connection().map_err(|error| error.to_string())?;
        let mut this = Self { stream, tls, out: Vec::new() };
        this.take(&mut [], &mut |_| {})?;
        let mut input = vec![0; READ];
        while !this.tls.is_up() {
            this.hear(&mut input, &mut |_| {})?;
        }
        Ok(this)
    }

    fn take(&mut self, input: &mut [u8], plain: &mut dyn FnMut(&[u8])) -> Result<(), String> {
        let progress = self.tls.read(input, &mut self.out, |bytes| plain(bytes));
        self.flush()?;
        match progress {
            Ok(progress) if progress.closed => Err("closed by the relay".to_owned()),
            Ok(_) => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    }

    fn flush(&mut self) -> Result<(), String> {
        let written = self.stream.write_all(&self.out).map_err(|error| format!("cannot write: {error}"));
        self.out.clear();
        written
    }

    /// Reads once.
    ///
    /// # Errors
    /// The connection is over, or silent for too long.
    pub(crate) fn hear(&mut self, input: &mut [u8], plain: &mut dyn FnMut(&[u8])) -> Result<(), String> {
        let count = self.stream.read(input).map_err(|error| format!("cannot read: {error}"))?;
        if count == 0 {
            return Err("closed by the relay".to_owned());
        }
        self.take(input.get_mut(..count).unwrap_or_default(), plain)
    }

    /// Writes.
    ///
    /// # Errors
    /// The connection is over, or takes nothing for too long.
    pub(crate) fn say(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.tls.write(bytes, &mut self.out).map_err(|error| error.to_string())?;
        self.flush()
    }
}

/// What a client hears.
#[derive(Debug)]
pub(crate) enum Heard {
    /// Bytes of a body, and where they stand in the message.
    Data(u64, Vec<u8>),
    /// A chunk of a message has ended. It has been answered.
    Chunk(Box<Head>, Flag),
    /// A response or a report.
    Other(Box<Head>),
}

/// A client of a relay.
pub(crate) struct Client {
    wire: Wire,
    parser: Parser,
    input: Vec<u8>,
    within: Option<(Box<Head>, u64)>,
    heard: std::collections::VecDeque<Heard>,
    own: Uri,
}

impl Client {
    /// Connects to a relay.
    ///
    /// # Errors
    /// See [`Wire::connect`].
    pub(crate) fn connect(config: &BareConfig, pass: &Pass, patience: Duration) -> Result<Self, String> {
        let own = format!("msrps://client.invalid:9/{};tcp", Ident::random(&OsEntropy));
        Ok(Self {
            wire: Wire::connect(config, pass.place, patience)?,
            parser: Parser::new(Limits::DEFAULT),
            input: Vec::new(),
            within: None,
            heard: std::collections::VecDeque::new(),
            own: Uri::parse(&own).map_err(|error| error.to_string())?,
        })
    }

    /// Its own URI.
    pub(crate) const fn own(&self) -> &Uri {
        &self.own
    }

    /// Gets a URI from the relay.
    ///
    /// # Errors
    /// The relay refuses, or the connection ends.
    pub(crate) fn auth(&mut self, pass: &Pass) -> Result<Uri, String> {
        let asked = self.request(pass, None)?;
        let challenge = asked
            .all_fields("WWW-Authenticate")
            .filter_map(Challenge::parse)
            .find(|challenge| challenge.algorithm == Algorithm::Sha256)
            .ok_or("the relay does not ask for SHA-256")?;
        let (credentials, _) = challenge.answer(&pass.username, &pass.password, &pass.relay, 1, &OsEntropy);
        let answer = self.request(pass, Some(&credentials.to_string()))?;
        let uri = answer.field("Use-Path").ok_or_else(|| format!("AUTH was refused: {:?}", answer.start))?;
        Uri::parse(uri).map_err(|error| error.to_string())
    }

    fn request(&mut self, pass: &Pass, credentials: Option<&str>) -> Result<Box<Head>, String> {
        let relay = Path::parse(&pass.relay, 1).map_err(|error| error.to_string())?;
        let mut head = Head::request(Ident::random(&OsEntropy), Method::Auth, relay, self.own.clone().into());
        if let Some(credentials) = credentials {
            head.add("Authorization", credentials).map_err(|error| error.to_string())?;
        }
        self.wire.say(&head.frame(None, Flag::Last, &OsEntropy))?;
        loop {
            match self.next()? {
                Heard::Other(answer) if answer.id == head.id => return Ok(answer),
                _ => {}
            }
        }
    }

    /// The head of a message.
    pub(crate) fn head(&self, to: Path) -> Head {
        let mut head = Head::request(Ident::random(&OsEntropy), Method::Send, to, self.own.clone().into());
        head.message_id = Some(Ident::random(&OsEntropy));
        head.content_type = Some("application/octet-stream".into());
        head
    }

    /// Writes.
    ///
    /// # Errors
    /// See [`Wire::say`].
    pub(crate) fn say(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.wire.say(bytes)
    }

    /// What comes next. Chunks are answered as soon as they have ended.
    ///
    /// # Errors
    /// The connection ends, or something comes that is no MSRP.
    pub(crate) fn next(&mut self) -> Result<Heard, String> {
        loop {
            if let Some(heard) = self.heard.pop_front() {
                return Ok(heard);
            }
            if self.input.is_empty() {
                self.input = vec![0; READ];
            }
            let parser = &mut self.parser;
            self.wire.hear(&mut self.input, &mut |bytes| parser.push(bytes))?;
            self.parse()?;
        }
    }

    /// Frees what is not needed by a connection that is quiet.
    pub(crate) fn rest(&mut self) {
        self.input = Vec::new();
    }

    fn parse(&mut self) -> Result<(), String> {
        let mut answers = Vec::new();
        while let Some(item) = self.parser.next().map_err(|error| error.to_string())? {
            match item {
                Item::Head(head) => {
                    let begin = head.range.map_or(0, nuncio_msrp::ByteRange::offset);
                    self.within = Some((head, begin));
                }
                Item::Data(bytes) => {
                    if let Some((_, at)) = &mut self.within {
                        let begin = *at;
                        *at += bytes.len() as u64;
                        self.heard.push_back(Heard::Data(begin, bytes.to_vec()));
                    }
                }
                Item::End(flag) => match self.within.take() {
                    Some((head, _)) if head.is_send() => {
                        let answer = head.response(Status::OK);
                        if let Some(mut answer) = answer.filter(|_| head.failure_report.as_str() == "yes") {
                            answers.extend(answer.frame(None, Flag::Last, &OsEntropy));
                        }
                        self.heard.push_back(Heard::Chunk(head, flag));
                    }
                    Some((head, _)) => self.heard.push_back(Heard::Other(head)),
                    None => {}
                },
                Item::Bad(bad) => return Err(format!("a bad frame: {}", bad.fault)),
            }
        }
        if !answers.is_empty() {
            self.wire.say(&answers)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_shows_what_is_lost_doubled_or_changed() {
        let pattern = Pattern::new().unwrap();
        let file: Vec<u8> =
            (0..40).flat_map(|piece| pattern.at(piece * PIECE as u64, PIECE).to_vec()).collect();
        assert!(pattern.matches(0, &file));
        assert!(pattern.matches(12_345, &file[12_345..2_500_000]));
        assert!(!pattern.matches(12_345, &file[12_344..2_500_000]));
        let mut changed = file;
        changed[2_000_000] ^= 1;
        assert!(!pattern.matches(0, &changed));
    }
}
