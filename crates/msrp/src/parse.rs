//! The frame parser: bytes in any pieces become heads, slices of bodies and ends.
//!
//! A body is never gathered: its bytes are handed out as they come, but for the few that may yet turn out to be the beginning of the
//! end-line. Nothing in a body is interpreted, least of all as text. Work is linear in the input and memory bounded by [`Limits`],
//! however the input is cut. A frame with a bad header is skipped to its own end-line, so one bad frame does not cost the connection;
//! only a start line that is none does, because nothing after it can be found again.

use bytes::{Buf as _, Bytes, BytesMut};
use memchr::memmem::Finder;

use crate::head::{DASHES, FailureReport, Field, Flag, Head, Method, Start, is_text};
use crate::ident::Ident;
use crate::limits::Limits;
use crate::range::ByteRange;
use crate::status::{ReportStatus, Status};
use crate::uri::Path;

/// One step through the input. A frame is a `Head`, any number of `Data`, an `End`; or a `Bad` alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// A frame begins.
    Head(Box<Head>),
    /// Bytes of its body; never empty.
    Data(Bytes),
    /// It has ended.
    End(Flag),
    /// A frame whose header cannot be used. The rest of it is skipped without a word.
    Bad(Box<Bad>),
}

/// What is known of a frame with a bad header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bad {
    /// The transaction identifier.
    pub id: Ident,
    /// The method; none for a response.
    pub method: Option<Method>,
    /// `To-Path`, if it was read.
    pub to: Option<Path>,
    /// `From-Path`, if it was read. Without it nobody can be answered.
    pub from: Option<Path>,
    /// `Failure-Report` as far as it was read.
    pub failure_report: FailureReport,
    /// What is wrong.
    pub fault: Fault,
}

impl Bad {
    /// The response to it: 400, or none if it is a response or a REPORT itself, wants no answer, or names nobody (RFC 4975 §7.1.2, §10.2).
    pub fn response(&self) -> Option<Head> {
        let method = self.method.clone().filter(|method| *method != Method::Report)?;
        if method == Method::Send && self.failure_report == FailureReport::No {
            return None;
        }
        Head::request(self.id, method, self.to.clone()?, self.from.clone()?).response(Status::BAD_REQUEST)
    }
}

/// What is wrong with a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// A line without a colon, or with a name that is no token.
    #[error("a header line is malformed")]
    Line,
    /// Not UTF-8, or a control character.
    #[error("a header line is not text")]
    Text,
    /// More bytes, lines or URIs than allowed.
    #[error("the header is too large")]
    Large,
    /// To-Path is not the first field, From-Path not the second, or one of them is unreadable.
    #[error("To-Path or From-Path is missing, misplaced or malformed")]
    Paths,
    /// A field that may stand once stands twice.
    #[error("a header field is repeated")]
    Repeated,
    /// A field that we have to understand has a value that cannot be understood.
    #[error("a header field has a malformed value")]
    Value,
    /// A body without Content-Type (RFC 4975 §7.1).
    #[error("a body has no Content-Type")]
    NoContentType,
}

/// Why nothing more can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// A line that is no MSRP start line.
    #[error("not an MSRP start line")]
    Start,
}

/// The longest start line that is read: `MSRP`, an identifier, a code and a comment.
const START_LINE: usize = 1_024;
/// CRLF, seven hyphens, an identifier: what a body is searched for.
type Needle = Finder<'static>;

#[derive(Debug)]
enum State {
    /// Between frames.
    Start,
    /// Inside a header.
    Fields(Box<Partial>),
    /// Inside a body. The first `lead` bytes of the buffer are the CRLF before it: the end-line may follow it directly.
    Body { needle: Box<Needle>, lead: usize },
    /// After a frame without a body.
    Ended(Flag),
    /// Inside what nobody wants, a body or not.
    Skip(Box<Needle>),
    /// A start line was none.
    Failed,
}

/// The parser of one direction of a connection.
#[derive(Debug)]
pub struct Parser {
    limits: Limits,
    buffer: BytesMut,
    /// So many bytes of the buffer have been searched for the end of a line.
    searched: usize,
    state: State,
}

impl Parser {
    /// At the beginning of a connection.
    pub fn new(limits: Limits) -> Self {
        Self { limits, buffer: BytesMut::new(), searched: 0, state: State::Start }
    }

    /// Takes bytes. [`Parser::next`] is to be called until it has nothing more.
    pub fn push(&mut self, bytes: &[u8]) {
        if !matches!(self.state, State::Failed) {
            self.buffer.extend_from_slice(bytes);
        }
    }

    /// How many bytes wait for more.
    pub fn buffered(&self) -> usize {
        self.buffer.len()
    }

    /// Whether a frame has begun and not ended: a connection that ends here has cut it off.
    pub fn inside(&self) -> bool {
        !matches!(self.state, State::Start) || !self.buffer.is_empty()
    }

    /// The next item; none if more bytes are needed.
    ///
    /// # Errors
    /// A start line is none: then this and every further call fails.
    #[expect(clippy::should_implement_trait, reason = "it is no iterator: after none there can be more")]
    pub fn next(&mut self) -> Result<Option<Item>, ParseError> {
        loop {
            let state = std::mem::replace(&mut self.state, State::Failed);
            let (state, step) = match state {
                State::Start => self.start()?,
                State::Fields(partial) => self.fields(partial),
                State::Body { needle, lead } => self.body(needle, lead),
                State::Ended(flag) => (State::Start, Step::Item(Item::End(flag))),
                State::Skip(needle) => self.skip(needle),
                State::Failed => return Err(ParseError::Start),
            };
            self.state = state;
            match step {
                Step::Item(item) => return Ok(Some(item)),
                Step::Again => {}
                Step::Starved => {
                    if self.buffer.is_empty() {
                        // An idle connection holds no buffer.
                        self.buffer = BytesMut::new();
                    }
                    return Ok(None);
                }
            }
        }
    }

    /// The length of the line at the front of the buffer, without its CRLF.
    fn line(&mut self) -> Option<usize> {
        let rest = self.buffer.get(self.searched..)?;
        match memchr::memmem::find(rest, b"\r\n") {
            Some(at) => {
                let at = self.searched + at;
                self.searched = 0;
                Some(at)
            }
            None => {
                self.searched = self.buffer.len().saturating_sub(1);
                None
            }
        }
    }

    fn start(&mut self) -> Result<(State, Step), ParseError> {
        // Some peers send empty lines to keep a NAT's binding alive; they belong to no frame.
        while self.buffer.starts_with(b"\r\n") {
            self.buffer.advance(2);
            self.searched = 0;
        }
        let known = self.buffer.len().min(5);
        if self.buffer.get(..known) != b"MSRP ".get(..known) && !self.buffer.starts_with(b"\r") {
            return Err(ParseError::Start);
        }
        let Some(length) = self.line() else {
            return if self.buffer.len() > START_LINE {
                Err(ParseError::Start)
            } else {
                Ok((State::Start, Step::Starved))
            };
        };
        let line = self.buffer.get(..length).filter(|_| length <= START_LINE).ok_or(ParseError::Start)?;
        let partial = std::str::from_utf8(line).ok().and_then(Partial::new).ok_or(ParseError::Start)?;
        self.buffer.advance(length + 2);
        Ok((State::Fields(Box::new(partial)), Step::Again))
    }

    fn fields(&mut self, mut partial: Box<Partial>) -> (State, Step) {
        let room = self.limits.head_bytes.saturating_sub(partial.bytes).min(self.limits.line_bytes);
        let Some(length) = self.line() else {
            return if self.buffer.len() > room {
                self.bad(*partial, Fault::Large)
            } else {
                (State::Fields(partial), Step::Starved)
            };
        };
        if length > room {
            return self.bad(*partial, Fault::Large);
        }
        let line = self.buffer.get(..length).unwrap_or_default();
        if line.is_empty() {
            // The CRLF of the empty line stays in the buffer as what an end-line may follow.
            let needle = partial.needle();
            return match partial.finish(true) {
                Ok(head) => (State::Body { needle, lead: 2 }, Step::Item(Item::Head(Box::new(head)))),
                Err(broken) => self.bad(broken.0, broken.1),
            };
        }
        if let Some(flag) = partial.end(line) {
            self.buffer.advance(length + 2);
            return match partial.finish(false) {
                Ok(head) => (State::Ended(flag), Step::Item(Item::Head(Box::new(head)))),
                Err(broken) => (State::Start, Step::Item(Item::Bad(Box::new(broken.0.bad(broken.1))))),
            };
        }
        partial.bytes += length + 2;
        match partial.field(line, &self.limits) {
            Ok(()) => {
                self.buffer.advance(length + 2);
                (State::Fields(partial), Step::Again)
            }
            Err(fault) => {
                // The line's CRLF stays: the end-line may follow it.
                self.buffer.advance(length);
                self.bad(*partial, fault)
            }
        }
    }

    /// Gives up a header; what follows is skipped to the end-line.
    fn bad(&mut self, partial: Partial, fault: Fault) -> (State, Step) {
        self.searched = 0;
        let needle = partial.needle();
        (State::Skip(needle), Step::Item(Item::Bad(Box::new(partial.bad(fault)))))
    }

    fn body(&mut self, needle: Box<Needle>, lead: usize) -> (State, Step) {
        let (until, flag) = self.search(&needle);
        // The CRLF before the body is no part of it.
        let length = until.saturating_sub(lead);
        if length > 0 {
            self.buffer.advance(lead);
            let data = self.buffer.split_to(length).freeze();
            return (State::Body { needle, lead: 0 }, Step::Item(Item::Data(data)));
        }
        match flag {
            Found::End(flag, whole) => {
                self.buffer.advance(until + whole);
                (State::Start, Step::Item(Item::End(flag)))
            }
            Found::Nothing => (State::Body { needle, lead }, Step::Starved),
        }
    }

    fn skip(&mut self, needle: Box<Needle>) -> (State, Step) {
        let (until, found) = self.search(&needle);
        self.buffer.advance(until);
        match found {
            Found::End(_, whole) => {
                self.buffer.advance(whole);
                (State::Start, Step::Again)
            }
            Found::Nothing => (State::Skip(needle), Step::Starved),
        }
    }

    /// How many bytes at the front of the buffer belong to the body for certain, and whether the end-line follows them.
    fn search(&self, needle: &Needle) -> (usize, Found) {
        let buffer = &self.buffer;
        let pattern = needle.needle();
        let mut from = 0;
        while let Some(at) = buffer.get(from..).and_then(|rest| needle.find(rest)) {
            let (at, behind) = (from + at, from + at + pattern.len());
            match buffer.get(behind..).unwrap_or_default() {
                [flag, b'\r', b'\n', ..] if let Some(flag) = Flag::from_byte(*flag) => {
                    return (at, Found::End(flag, pattern.len() + 3));
                }
                [] => return (at, Found::Nothing),
                [flag] | [flag, b'\r'] if Flag::from_byte(*flag).is_some() => return (at, Found::Nothing),
                _ => from = behind,
            }
        }
        // Only at a CR can the pattern begin, and it has one CR only: the last one decides.
        let tail = buffer.len().saturating_sub(pattern.len() - 1).max(from);
        let rest = buffer.get(tail..).unwrap_or_default();
        match memchr::memrchr(b'\r', rest) {
            Some(at) if rest.get(at..).is_some_and(|rest| pattern.starts_with(rest)) => {
                (tail + at, Found::Nothing)
            }
            _ => (buffer.len(), Found::Nothing),
        }
    }
}

enum Step {
    Item(Item),
    Again,
    Starved,
}

enum Found {
    /// The end-line, and its length from the CRLF before it.
    End(Flag, usize),
    Nothing,
}

/// A header as far as it is read.
#[derive(Debug)]
struct Partial {
    id: Ident,
    start: Start,
    bytes: usize,
    lines: usize,
    to: Option<Path>,
    from: Option<Path>,
    message_id: Option<Ident>,
    range: Option<ByteRange>,
    success_report: Option<bool>,
    failure_report: Option<FailureReport>,
    status: Option<ReportStatus>,
    fields: Vec<Field>,
    content_type: Option<Box<str>>,
}

impl Partial {
    /// Reads a start line without its CRLF.
    fn new(line: &str) -> Option<Self> {
        let (id, rest) = line.strip_prefix("MSRP ")?.split_once(' ')?;
        let id = Ident::new(id).ok()?;
        let start = if rest.starts_with(|c: char| c.is_ascii_digit()) {
            let (status, comment) = match rest.split_once(' ') {
                Some((status, comment)) => (status, Some(comment).filter(|comment| !comment.is_empty())),
                None => (rest, None),
            };
            if comment.is_some_and(|comment| !is_text(comment)) {
                return None;
            }
            Start::Response { status: Status::parse(status)?, comment: comment.map(Into::into) }
        } else {
            Start::Request(Method::parse(rest)?)
        };
        Some(Self {
            id,
            start,
            bytes: line.len() + 2,
            lines: 0,
            to: None,
            from: None,
            message_id: None,
            range: None,
            success_report: None,
            failure_report: None,
            status: None,
            fields: Vec::new(),
            content_type: None,
        })
    }

    fn needle(&self) -> Box<Needle> {
        let pattern = [b"\r\n", DASHES, self.id.as_bytes()].concat();
        Box::new(Finder::new(&pattern).into_owned())
    }

    /// Whether a line is this frame's end-line.
    fn end(&self, line: &[u8]) -> Option<Flag> {
        match line.strip_prefix(DASHES)?.strip_prefix(self.id.as_bytes())? {
            [flag] => Flag::from_byte(*flag),
            _ => None,
        }
    }

    fn field(&mut self, line: &[u8], limits: &Limits) -> Result<(), Fault> {
        self.lines += 1;
        if self.lines > limits.fields {
            return Err(Fault::Large);
        }
        let line = std::str::from_utf8(line).map_err(|_| Fault::Text)?;
        if !is_text(line) {
            return Err(Fault::Text);
        }
        let (name, value) = line.split_once(':').ok_or(Fault::Line)?;
        let name = name.trim_end_matches([' ', '\t']);
        let value = value.trim_matches([' ', '\t']);
        match self.lines {
            1 if !name.eq_ignore_ascii_case("To-Path") => return Err(Fault::Paths),
            2 if !name.eq_ignore_ascii_case("From-Path") => return Err(Fault::Paths),
            _ => {}
        }
        let path = || Path::parse(value, limits.path).map_err(|_| Fault::Paths);
        match Known::of(name) {
            Some(Known::To) => once(&mut self.to, path()?),
            Some(Known::From) => once(&mut self.from, path()?),
            Some(Known::MessageId) => {
                once(&mut self.message_id, Ident::new(value).map_err(|_| Fault::Value)?)
            }
            Some(Known::Range) => once(&mut self.range, ByteRange::parse(value).map_err(|_| Fault::Value)?),
            Some(Known::SuccessReport) => once(
                &mut self.success_report,
                match value.to_ascii_lowercase().as_str() {
                    "yes" => true,
                    "no" => false,
                    _ => return Err(Fault::Value),
                },
            ),
            Some(Known::FailureReport) => once(
                &mut self.failure_report,
                match value.to_ascii_lowercase().as_str() {
                    "yes" => FailureReport::Yes,
                    "partial" => FailureReport::Partial,
                    "no" => FailureReport::No,
                    _ => return Err(Fault::Value),
                },
            ),
            Some(Known::Status) => once(&mut self.status, ReportStatus::parse(value).ok_or(Fault::Value)?),
            Some(Known::ContentType) => {
                if value.is_empty() {
                    return Err(Fault::Value);
                }
                once(&mut self.content_type, value.into())
            }
            None => {
                self.fields.push(Field::new(name, value).map_err(|_| Fault::Line)?);
                Ok(())
            }
        }
    }

    /// The header is whole. Without a body, a Content-Type says nothing.
    fn finish(mut self, body: bool) -> Result<Head, Box<(Self, Fault)>> {
        if body && self.content_type.is_none() && matches!(self.start, Start::Request(_)) {
            return Err(Box::new((self, Fault::NoContentType)));
        }
        let (to, from) = match (self.to.take(), self.from.take()) {
            (Some(to), Some(from)) => (to, from),
            (to, from) => {
                (self.to, self.from) = (to, from);
                return Err(Box::new((self, Fault::Paths)));
            }
        };
        Ok(Head {
            id: self.id,
            start: self.start,
            to,
            from,
            message_id: self.message_id,
            range: self.range,
            success_report: self.success_report.unwrap_or_default(),
            failure_report: self.failure_report.unwrap_or_default(),
            status: self.status,
            fields: self.fields,
            content_type: self.content_type.filter(|_| body),
        })
    }

    fn bad(self, fault: Fault) -> Bad {
        let method = match self.start {
            Start::Request(method) => Some(method),
            Start::Response { .. } => None,
        };
        let failure_report = self.failure_report.unwrap_or_default();
        Bad { id: self.id, method, to: self.to, from: self.from, failure_report, fault }
    }
}

fn once<T>(slot: &mut Option<T>, value: T) -> Result<(), Fault> {
    if slot.is_some() {
        return Err(Fault::Repeated);
    }
    *slot = Some(value);
    Ok(())
}

/// The fields with a place of their own in [`Head`].
#[derive(Clone, Copy)]
enum Known {
    To,
    From,
    MessageId,
    Range,
    SuccessReport,
    FailureReport,
    Status,
    ContentType,
}

impl Known {
    /// By name, in any case: the grammar's names are literals, but peers are tolerated.
    fn of(name: &str) -> Option<Self> {
        [
            ("To-Path", Self::To),
            ("From-Path", Self::From),
            ("Message-ID", Self::MessageId),
            ("Byte-Range", Self::Range),
            ("Success-Report", Self::SuccessReport),
            ("Failure-Report", Self::FailureReport),
            ("Status", Self::Status),
            ("Content-Type", Self::ContentType),
        ]
        .into_iter()
        .find(|(known, _)| name.eq_ignore_ascii_case(known))
        .map(|(_, known)| known)
    }
}
