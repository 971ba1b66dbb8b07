//! One connection of the checker: bytes out, frames in.

use std::collections::VecDeque;

use bytes::Bytes;
use nuncio_msrp::parse::Bad;
use nuncio_msrp::{Flag, Head, Item, Limits, Parser, Start};
use nuncio_sansio::TlsFacts;
use tokio::time::{Duration, Instant};

use crate::raw::{Got, Raw};

/// Bytes of one body that are kept.
const BODY: usize = 16 << 20;

/// How often is asked whether a handshake has failed.
const FAILURE: Duration = Duration::from_millis(50);

/// A whole frame.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    pub(super) head: Box<Head>,
    pub(super) body: Vec<u8>,
    pub(super) flag: Flag,
}

impl Frame {
    /// Its status, if it is a response.
    pub(super) fn status(&self) -> Option<u16> {
        match &self.head.start {
            Start::Response { status, .. } => Some(status.code()),
            Start::Request(_) => None,
        }
    }

    /// In a line, without what is secret.
    pub(super) fn told(&self) -> String {
        let mut words = vec![match &self.head.start {
            Start::Request(method) => method.as_str().to_owned(),
            Start::Response { status, comment } => {
                format!("{} {}", status.code(), comment.as_deref().unwrap_or_default()).trim_end().to_owned()
            }
        }];
        words.extend(self.head.range.map(|range| format!("bytes {range}")));
        words.extend(self.head.status.as_ref().map(|status| format!("({status})")));
        if self.head.content_type.is_some() {
            words.push(format!("[{}]", self.body.len()));
        }
        words.push(char::from(self.flag.byte()).to_string());
        words.join(" ")
    }
}

/// What came.
#[derive(Clone, Debug)]
pub(super) enum Came {
    Frame(Frame),
    /// A frame that cannot be read.
    Bad(Box<Bad>),
    /// Not MSRP.
    Garbage,
    /// The connection is over.
    End,
}

/// A connection.
#[derive(Debug)]
pub(super) struct Conversation {
    raw: Raw,
    parser: Parser,
    open: Option<Frame>,
    /// What came and nobody has asked for.
    pub(super) unclaimed: VecDeque<Frame>,
    over: Option<Came>,
}

impl Conversation {
    pub(super) fn new(raw: Raw) -> Self {
        Self { raw, parser: Parser::new(Limits::DEFAULT), open: None, unclaimed: VecDeque::new(), over: None }
    }

    /// Waits for the end of the TLS handshake; why it failed is heard before the connection is closed, which some take their time for.
    pub(super) async fn secured(&mut self, until: Instant) -> Result<Box<TlsFacts>, String> {
        loop {
            match self.raw.next(until.min(Instant::now() + FAILURE)).await {
                Some(Got::Tls(facts)) => return Ok(facts),
                Some(Got::Bytes(_)) => {}
                Some(Got::End(_)) => {
                    let why = self.raw.handshake_failure();
                    return Err(
                        why.unwrap_or_else(|| "the connection was closed in the TLS handshake".to_owned())
                    );
                }
                None => {
                    if let Some(why) = self.raw.handshake_failure() {
                        return Err(why);
                    }
                    if Instant::now() >= until {
                        return Err("the TLS handshake takes too long".to_owned());
                    }
                }
            }
        }
    }

    pub(super) fn write(&self, bytes: impl Into<Bytes>) -> bool {
        self.raw.write(bytes)
    }

    /// Whether the end has been seen.
    pub(super) const fn is_over(&self) -> bool {
        self.over.is_some()
    }

    /// The next thing that comes until then.
    pub(super) async fn next(&mut self, until: Instant) -> Option<Came> {
        loop {
            if let Some(over) = &self.over {
                return Some(over.clone());
            }
            match self.parser.next() {
                Ok(Some(Item::Head(head))) => {
                    self.open = Some(Frame { head, body: Vec::new(), flag: Flag::Last });
                }
                Ok(Some(Item::Data(bytes))) => {
                    if let Some(open) = self.open.as_mut().filter(|open| open.body.len() < BODY) {
                        open.body.extend_from_slice(&bytes);
                    }
                }
                Ok(Some(Item::End(flag))) => {
                    if let Some(mut frame) = self.open.take() {
                        frame.flag = flag;
                        return Some(Came::Frame(frame));
                    }
                }
                Ok(Some(Item::Bad(bad))) => return Some(Came::Bad(bad)),
                Ok(None) => match self.raw.next(until).await? {
                    Got::Bytes(bytes) => self.parser.push(&bytes),
                    Got::End(_) => self.over = Some(Came::End),
                    Got::Tls(_) => {}
                },
                Err(_) => self.over = Some(Came::Garbage),
            }
        }
    }
}
