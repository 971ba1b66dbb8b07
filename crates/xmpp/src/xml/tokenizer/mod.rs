//! The incremental tokenizer.
//!
//! It is a machine over single bytes that scans runs where it can: every byte is looked at once, in order, and whatever is refused is
//! refused at the first byte that cannot be right. So where the bytes are cut makes no difference, and the work is linear: no byte is
//! visited again when more arrive, a prefix is looked up among a bounded number of declarations, and depth costs nothing.
//!
//! What it finds is an index of ranges ([`super::tree`]); nothing is copied before an element is complete.

mod declaration;
mod frame;
mod plain;
mod tag;
mod text;

use std::sync::Arc;

pub use frame::{Frame, Header};

use super::chars::{
    CLASS, NAME, NAME_START, VALUE_STOP, decode, is_name_start_wide, is_name_wide, is_space, plain_run,
};
use super::tree::{Attr, Element, Node, NsRef, RAW_DIFFERS, Tree};
use super::{Limits, Which, XmlError};

/// What is expected next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The first byte.
    Start,
    /// The second byte of `<?xml`, and so on: how many have matched.
    Declaration(u8),
    /// The end of the XML declaration.
    DeclarationRest,
    /// Whitespace or the root's `<`.
    Prolog,
    /// Whitespace or markup between first-level elements.
    Between,
    /// Text or markup inside a first-level element.
    Content,
    /// The byte after `<`.
    Less,
    /// The byte after `<!` and as much of `[CDATA[` as has matched.
    Bang(u8),
    /// Inside of a CDATA section.
    Cdata,
    /// An element's name.
    Name,
    /// An attribute, `/` or `>`; whether there was whitespace before.
    InTag(bool),
    /// An attribute's name.
    AttrName,
    /// `=`
    Equals,
    /// The quote that opens a value.
    Quote,
    /// A value, up to this quote.
    Value(u8),
    /// The `>` after `/`.
    Slash,
    /// The byte after `&`.
    Reference,
    /// A named reference.
    ReferenceName,
    /// The byte after `&#`.
    ReferenceNumber,
    /// Digits to this base.
    ReferenceDigits(u8),
    /// A closing tag's name; how much of it has matched.
    Close(u16),
    /// `>` of a closing tag.
    CloseRest,
    /// The root is complete by its opening tag; its end has not been reported.
    EmptyRoot,
    /// Whitespace after the root.
    After,
}

/// How it goes on.
#[derive(Clone, Copy)]
enum Step {
    /// Look at the state again.
    Go,
    /// More bytes are needed.
    Wait,
    /// [`Tokenizer::ready`] holds what is complete.
    Done,
}

/// A namespace declaration in scope.
#[derive(Clone, Copy, Debug)]
struct Declared {
    /// Where it stands.
    at: NsRef,
    /// The outermost one in scope that declares the same name: equal for equal names.
    same: NsRef,
}

/// A reference that is being read.
#[derive(Clone, Copy, Debug)]
struct Reference {
    /// The quote of the value that it stands in; 0 in text.
    within: u8,
    /// Bytes of its name so far; more than fit is as good as five.
    len: u8,
    name: [u8; 4],
    value: u32,
    digits: bool,
}

const NO_REFERENCE: Reference = Reference { within: 0, len: 0, name: [0; 4], value: 0, digits: false };

/// Turns the bytes of one stream into [`Frame`]s.
#[derive(Debug)]
pub struct Tokenizer {
    limits: Limits,
    failed: Option<XmlError>,
    state: State,
    /// One element and nothing else is expected, not a stream.
    single: bool,
    /// The stream's opening tag has been read.
    streaming: bool,
    buffer: Vec<u8>,
    /// Bytes of the stream before the buffer.
    base: u64,
    /// The first byte that is still needed: that of the open first-level element. Offsets are counted from here.
    start: usize,
    /// The next byte to look at.
    pos: usize,
    /// Up to here the buffer is UTF-8.
    valid: usize,
    /// The byte for which what follows [`Tokenizer::valid`] cannot become UTF-8.
    invalid: Option<usize>,
    /// Bytes of the prolog before [`Tokenizer::start`].
    prolog: usize,
    /// Where the text, name or tag that is being read begins.
    mark: u32,
    /// [`RAW_DIFFERS`] if it applies to the text or value that is being read.
    flags: u8,
    /// The name that is being read has no character yet, or none after the colon.
    fresh: bool,
    reference: Reference,
    tag: Node,
    attr: Attr,
    nodes: Vec<Node>,
    attrs: Vec<Attr>,
    extras: Vec<Box<str>>,
    /// The innermost open element. While it is open, [`Node::next`] is the one around it, and [`Node::close`] how many declarations
    /// were in scope before it.
    inner: u32,
    /// How many elements are open.
    depth: u16,
    declared: Vec<Declared>,
    /// The stream's opening tag, or what declares the same.
    scope: Option<Arc<Tree>>,
    /// Keeps its own opening tag as scope, whatever it declares.
    own_scope: bool,
    /// What is complete.
    ready: Option<Frame>,
    /// The default namespace of first-level elements.
    default_ns: NsRef,
    borrows_prefix: bool,
    work: u64,
}

const NO_NODE: Node = Node {
    start: 0,
    open_end: 0,
    close: 0,
    end: 0,
    next: 0,
    attrs: 0,
    attr_count: 0,
    prefix_len: 0,
    name_len: 0,
    flags: 0,
    ns: NsRef::NONE,
    default_ns: NsRef::NONE,
};

const NO_ATTR: Attr =
    Attr { name: 0, prefix_len: 0, name_len: 0, value: 0, value_len: 0, ns: NsRef::NONE, flags: 0 };

impl Tokenizer {
    /// For a new stream.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits: limits.sane(),
            failed: None,
            state: State::Start,
            single: false,
            streaming: false,
            buffer: Vec::new(),
            base: 0,
            start: 0,
            pos: 0,
            valid: 0,
            invalid: None,
            prolog: 0,
            mark: 0,
            flags: 0,
            fresh: false,
            reference: NO_REFERENCE,
            tag: NO_NODE,
            attr: NO_ATTR,
            nodes: Vec::new(),
            attrs: Vec::new(),
            extras: Vec::new(),
            inner: 0,
            depth: 0,
            declared: Vec::new(),
            scope: None,
            own_scope: false,
            ready: None,
            default_ns: NsRef::NONE,
            borrows_prefix: false,
            work: 0,
        }
    }

    /// For one element and nothing else; `scope` declares a default namespace around it.
    pub(crate) fn single(limits: Limits, scope: Option<Arc<Tree>>) -> Self {
        let default_ns = if scope.is_some() { NsRef::scope(0) } else { NsRef::NONE };
        Self { single: true, scope, default_ns, ..Self::new(limits) }
    }

    /// Replaces the limits. What is partly read is measured by the new ones from now on.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits.sane();
    }

    /// Takes bytes from the peer. They are looked at in [`Tokenizer::next`], which must be called until it yields `None`; then
    /// [`Tokenizer::buffered`] is within [`Limits::stanza_bytes`] again.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.failed.is_some() {
            return;
        }
        let live = self.buffer.len() - self.start;
        if self.start > live {
            // Moves no more than has been consumed since the last time, so all moving together is linear.
            self.work += live as u64;
            self.buffer.drain(..self.start);
            self.base += self.start as u64;
            self.pos -= self.start;
            self.valid -= self.start;
            self.invalid = self.invalid.map(|at| at.saturating_sub(self.start));
            self.start = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The next frame; `None` if more bytes are needed first.
    ///
    /// # Errors
    /// The peer must not be listened to any more; from then on the same error is returned for ever.
    #[expect(clippy::should_implement_trait, reason = "an iterator cannot say that more bytes are needed")]
    pub fn next(&mut self) -> Result<Option<Frame>, XmlError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        self.validate();
        let before = self.here();
        let result = self.run();
        self.work += self.here() - before;
        match result {
            Ok(frame) => {
                if self.start == self.buffer.len() {
                    self.release();
                }
                Ok(frame)
            }
            Err(error) => {
                self.failed = Some(error);
                self.release();
                Err(error)
            }
        }
    }

    /// How many bytes are held. Zero between elements.
    pub fn buffered(&self) -> usize {
        self.buffer.len() - self.start
    }

    /// A new stream follows on the same connection (RFC 6120 §4.3.3). Drops the bytes that were not read yet and returns how many
    /// these were.
    pub fn reset(&mut self) -> usize {
        let dropped = self.buffered();
        let work = self.work;
        *self = Self { work, ..Self::new(self.limits) };
        dropped
    }

    /// A new stream follows on the same connection, and what was not read yet already belongs to it: a client that does not wait for
    /// `<success/>` (RFC 6120 §6.4.6) is understood, in whatever pieces its bytes come.
    pub fn restart(&mut self) {
        let rest = self.buffer.split_off(self.start);
        let work = self.work;
        *self = Self { work, buffer: rest, ..Self::new(self.limits) };
    }

    /// Units of work done so far: bytes looked at, validated or moved, declarations and attributes compared. For tests of linearity.
    #[doc(hidden)]
    pub const fn work(&self) -> u64 {
        self.work
    }

    /// Whether exactly one element and nothing else was read.
    pub(crate) fn finish(&self) -> Result<(), XmlError> {
        if self.state == State::After && self.buffer.is_empty() { Ok(()) } else { Err(XmlError::Incomplete) }
    }

    /// Frees what an idle stream does not need.
    fn release(&mut self) {
        self.base += self.buffer.len() as u64;
        self.buffer = Vec::new();
        (self.start, self.pos, self.valid) = (0, 0, 0);
        self.nodes = Vec::new();
        self.attrs = Vec::new();
        self.extras = Vec::new();
    }

    /// Finds how far the buffer is UTF-8.
    fn validate(&mut self) {
        if self.invalid.is_some() {
            return;
        }
        let tail = self.buffer.get(self.valid..).unwrap_or_default();
        if tail.is_empty() {
            return;
        }
        self.work += tail.len() as u64;
        match simdutf8::compat::from_utf8(tail) {
            Ok(_) => self.valid = self.buffer.len(),
            Err(error) => {
                self.valid += error.valid_up_to();
                let leads = matches!(self.buffer.get(self.valid), Some(0xC2..=0xF4));
                self.invalid = error.error_len().map(|len| self.valid + if leads { len } else { 0 });
            }
        }
    }

    /// The first byte that may not belong to what is being read.
    fn bound(&self) -> usize {
        if self.streaming && self.depth == 0 && matches!(self.state, State::Between | State::After) {
            usize::MAX
        } else if self.streaming || self.single {
            self.start.saturating_add(self.limits.stanza_bytes)
        } else {
            self.start.saturating_add(self.limits.header_bytes.saturating_sub(self.prolog))
        }
    }

    fn here(&self) -> u64 {
        self.base + self.pos as u64
    }

    fn wrong<T>(&self, why: &'static str) -> Result<T, XmlError> {
        Err(XmlError::NotWellFormed { why, at: self.here() })
    }

    fn restricted<T>(&self, what: &'static str) -> Result<T, XmlError> {
        Err(XmlError::Restricted { what, at: self.here() })
    }

    fn stray<T>(&self) -> Result<T, XmlError> {
        Err(XmlError::StrayText { at: self.here() })
    }

    /// Offset of the next byte.
    #[expect(clippy::cast_possible_truncation, reason = "the limits keep elements below 2^30 bytes")]
    fn offset(&self) -> u32 {
        (self.pos - self.start) as u32
    }

    fn run(&mut self) -> Result<Option<Frame>, XmlError> {
        loop {
            let bound = self.bound();
            let mut end = self.valid.min(bound);
            if self.valid > bound {
                // A character that crosses the bound is beyond it: fed byte by byte it is not seen before the limit is.
                while end > self.pos && self.buffer.get(end).is_some_and(|byte| *byte & 0xC0 == 0x80) {
                    end -= 1;
                }
            }
            if self.pos >= end && self.state != State::EmptyRoot {
                // In the order in which single bytes would show it.
                if self.invalid.is_some_and(|at| at < bound) {
                    return Err(XmlError::BadEncoding { at: self.base + self.valid as u64 });
                }
                if self.buffer.len() > bound {
                    let (which, limit) = if self.streaming || self.single {
                        (Which::StanzaBytes, self.limits.stanza_bytes)
                    } else {
                        (Which::HeaderBytes, self.limits.header_bytes)
                    };
                    return Err(XmlError::Limit { which, limit: limit as u64 });
                }
                return Ok(None);
            }
            loop {
                let outside = self.outside();
                match self.step(end)? {
                    // Inside of a tag or element the bound stays where it is.
                    Step::Go if outside || self.pos >= end => break,
                    Step::Go => {}
                    Step::Wait => {
                        // A run ended at the bound; the check above decides.
                        self.pos = self.pos.max(end);
                        break;
                    }
                    Step::Done => return Ok(self.ready.take()),
                }
            }
        }
    }

    /// Whether the next byte may be one that is not part of a tag or an element.
    const fn outside(&self) -> bool {
        matches!(
            self.state,
            State::Start
                | State::Declaration(_)
                | State::DeclarationRest
                | State::Prolog
                | State::Between
                | State::EmptyRoot
                | State::After
        )
    }

    /// The next byte, if it may be looked at.
    fn peek(&self, end: usize) -> Option<u8> {
        if self.pos < end { self.buffer.get(self.pos).copied() } else { None }
    }

    fn done(&mut self, frame: Frame) -> Step {
        self.ready = Some(frame);
        Step::Done
    }

    fn step(&mut self, end: usize) -> Result<Step, XmlError> {
        match self.state {
            State::Content => self.content(end),
            State::Value(quote) => self.value(end, quote),
            State::Name | State::AttrName => self.name(end),
            State::Cdata => self.cdata(end),
            State::Between => Ok(self.between(end)),
            State::Close(matched) => self.close(end, matched),
            State::DeclarationRest => self.declaration_rest(end),
            State::EmptyRoot => {
                self.state = State::After;
                Ok(self.done(Frame::End))
            }
            state => {
                let Some(&byte) = self.buffer.get(self.pos) else { return Ok(Step::Wait) };
                if state == State::Less
                    && let Some(step) = self.plain_tag(end)
                {
                    return step;
                }
                self.byte(state, byte)
            }
        }
    }

    /// The states that look at one byte.
    fn byte(&mut self, state: State, byte: u8) -> Result<Step, XmlError> {
        let next = match state {
            // U+FEFF is a character like any other here, not a byte order mark (RFC 6120 §11.6).
            State::Start if byte == b'<' => State::Declaration(1),
            State::Start => {
                self.state = State::Prolog;
                return Ok(Step::Go);
            }
            State::Declaration(1) if byte != b'?' => {
                self.state = State::Less;
                return Ok(Step::Go);
            }
            State::Declaration(matched) => match b"<?xml".get(usize::from(matched)) {
                Some(&expected) if expected == byte => State::Declaration(matched + 1),
                None if is_space(byte) => State::DeclarationRest,
                _ => return self.restricted("processing instruction"),
            },
            State::Prolog if is_space(byte) => {
                self.pos += 1;
                self.skipped();
                return Ok(Step::Go);
            }
            State::Prolog if byte == b'<' => State::Less,
            State::Prolog => return self.wrong("text before the root"),
            State::After if is_space(byte) => {
                self.pos += 1;
                self.start = self.pos;
                return Ok(Step::Go);
            }
            State::After => return self.wrong("something after the root"),
            State::Less => match byte {
                b'/' if self.depth == 0 && !self.streaming => {
                    return self.wrong("closing tag without opening tag");
                }
                b'/' => State::Close(0),
                b'!' => State::Bang(0),
                b'?' => return self.restricted("processing instruction"),
                _ => {
                    self.begin_tag()?;
                    return Ok(Step::Go);
                }
            },
            State::Bang(matched) => return self.bang(matched, byte),
            State::InTag(spaced) => match byte {
                b'>' => {
                    self.pos += 1;
                    return self.open_tag(false);
                }
                b'/' => State::Slash,
                _ if is_space(byte) => State::InTag(true),
                _ if spaced => {
                    self.begin_attr()?;
                    return Ok(Step::Go);
                }
                _ => return self.wrong("no whitespace between attributes"),
            },
            State::Equals if byte == b'=' => State::Quote,
            State::Quote if matches!(byte, b'\'' | b'"') => {
                self.begin_value();
                State::Value(byte)
            }
            State::Equals | State::Quote if is_space(byte) => state,
            State::Equals => return self.wrong("attribute without value"),
            State::Quote => return self.wrong("attribute value without quotes"),
            State::Slash if byte == b'>' => {
                self.pos += 1;
                return self.open_tag(true);
            }
            State::Slash => return self.wrong("'/' inside of a tag"),
            State::CloseRest if byte == b'>' => {
                self.pos += 1;
                return self.close_tag();
            }
            State::CloseRest if is_space(byte) => state,
            State::CloseRest => return self.wrong("closing tag of another element"),
            state => self.referring(state, byte)?,
        };
        self.pos += 1;
        self.state = next;
        Ok(Step::Go)
    }

    /// The first byte of the document.
    /// What stands before [`Tokenizer::pos`] is no longer needed.
    fn skipped(&mut self) {
        if !self.single {
            self.prolog += self.pos - self.start;
        }
        self.start = self.pos;
    }

    fn declaration_rest(&mut self, end: usize) -> Result<Step, XmlError> {
        let run = self.buffer.get(self.pos..end).unwrap_or_default();
        let Some(found) = memchr::memchr(b'>', run) else { return Ok(Step::Wait) };
        let at = self.base + self.start as u64;
        self.pos += found + 1;
        let text = self.buffer.get(self.start..self.pos).unwrap_or_default();
        match declaration::check(text) {
            Ok(()) => {}
            Err(declaration::Wrong::Shape(why)) => return Err(XmlError::NotWellFormed { why, at }),
            Err(declaration::Wrong::Encoding) => return Err(XmlError::BadEncoding { at }),
        }
        self.skipped();
        self.state = State::Prolog;
        Ok(Step::Go)
    }

    fn between(&mut self, end: usize) -> Step {
        let run = self.buffer.get(self.pos..end).unwrap_or_default();
        let spaces = run.iter().position(|byte| !is_space(*byte)).unwrap_or(run.len());
        self.pos += spaces;
        self.start = self.pos;
        if spaces > 0 {
            return self.done(Frame::Text);
        }
        // Anything but `<` is text; the state says so at its byte.
        self.state = State::Less;
        if self.buffer.get(self.pos) == Some(&b'<') {
            self.pos += 1;
        } else {
            self.state = State::Content;
        }
        Step::Go
    }

    /// The index of the next node.
    fn room_for_node(&self) -> Result<u32, XmlError> {
        let limit = self.limits.nodes;
        match u32::try_from(self.nodes.len()) {
            Ok(index) if index < limit => Ok(index),
            _ => Err(XmlError::Limit { which: Which::Nodes, limit: u64::from(limit) }),
        }
    }

    fn value(&mut self, end: usize, quote: u8) -> Result<Step, XmlError> {
        let most = self.start + self.attr.value as usize + self.limits.attribute_bytes;
        let run = self.buffer.get(self.pos..end.min(most)).unwrap_or_default();
        self.pos += plain_run(run, VALUE_STOP);
        if self.pos >= end {
            return Ok(Step::Wait);
        }
        match self.buffer.get(self.pos) {
            Some(&byte) if byte == quote && self.pos <= most => return self.end_attr(end),
            _ if self.pos >= most => {
                let limit = self.limits.attribute_bytes as u64;
                return Err(XmlError::Limit { which: Which::AttributeBytes, limit });
            }
            Some(b'<') => return self.wrong("'<' in an attribute value"),
            Some(b'&') => self.refer(quote),
            Some(b'\t' | b'\n' | b'\r') => {
                self.flags = RAW_DIFFERS;
                self.pos += 1;
            }
            _ => self.checked_char()?,
        }
        Ok(Step::Go)
    }

    /// Reads the name that begins at [`Tokenizer::mark`].
    fn name(&mut self, end: usize) -> Result<Step, XmlError> {
        let begin = self.start + self.mark as usize;
        let most = begin + usize::from(self.limits.name_bytes);
        while self.pos < end {
            let Some(&byte) = self.buffer.get(self.pos) else { break };
            let class = CLASS[usize::from(byte)];
            let (starts, continues, len) = if byte < 0x80 {
                (class & NAME_START != 0, class & NAME != 0, 1)
            } else {
                let (c, len) = decode(&self.buffer, self.pos);
                (is_name_start_wide(c), is_name_wide(c), len)
            };
            if continues || byte == b':' {
                if self.pos + len > most {
                    let limit = u64::from(self.limits.name_bytes);
                    return Err(XmlError::Limit { which: Which::NameBytes, limit });
                }
                if continues {
                    if self.fresh && !starts {
                        return self.wrong("a name cannot begin like this");
                    }
                    self.fresh = false;
                    self.pos += len;
                    let run = self.buffer.get(self.pos..end.min(most)).unwrap_or_default();
                    let plain = run.iter().position(|byte| CLASS[usize::from(*byte)] & NAME == 0);
                    self.pos += plain.unwrap_or(run.len());
                    continue;
                }
                if self.fresh || self.tag.prefix_len != 0 {
                    return self.wrong("misplaced colon in a name");
                }
                self.tag.prefix_len = self.name_len();
                self.fresh = true;
                self.pos += len;
                continue;
            }
            if self.fresh {
                return self.wrong("a name is missing");
            }
            return self.end_name(end);
        }
        Ok(Step::Wait)
    }

    /// Bytes of the name before the next byte.
    #[expect(clippy::cast_possible_truncation, reason = "the limit of a name is 16 bits wide")]
    fn name_len(&self) -> u16 {
        (self.offset() - self.mark) as u16
    }

    fn close(&mut self, end: usize, matched: u16) -> Result<Step, XmlError> {
        let from = usize::from(matched);
        let rest = self.open_name().get(from..).unwrap_or_default();
        let run = self.buffer.get(self.pos..end).unwrap_or_default();
        let common = rest.len().min(run.len());
        if rest.get(..common) != run.get(..common) {
            let same = rest.iter().zip(run).position(|(expected, byte)| expected != byte).unwrap_or(0);
            self.pos += same;
            return self.wrong("closing tag of another element");
        }
        let whole = common == rest.len();
        self.pos += common;
        if whole {
            if self.peek(end) == Some(b'>') {
                self.pos += 1;
                return self.close_tag();
            }
            self.state = State::CloseRest;
            return Ok(Step::Go);
        }
        #[expect(clippy::cast_possible_truncation, reason = "names are 16 bits long")]
        let matched = (from + common) as u16;
        self.state = State::Close(matched);
        Ok(Step::Wait)
    }

    /// The element that is complete.
    fn take_element(&mut self) -> Result<Element, XmlError> {
        let tree = Arc::new(self.take_tree()?);
        self.start = self.pos;
        Ok(Element { tree })
    }

    /// What was read since [`Tokenizer::start`].
    fn take_tree(&mut self) -> Result<Tree, XmlError> {
        let text = self.take_text()?;
        let tree = Tree {
            text,
            nodes: self.nodes.as_slice().into(),
            attrs: self.attrs.as_slice().into(),
            extras: std::mem::take(&mut self.extras).into(),
            scope: self.scope.clone(),
            borrows_prefix: self.borrows_prefix,
        };
        self.nodes.clear();
        self.attrs.clear();
        self.borrows_prefix = false;
        Ok(tree)
    }

    /// The bytes of what was read. If that is all there is, they are not copied.
    fn take_text(&mut self) -> Result<Box<str>, XmlError> {
        let bad = XmlError::BadEncoding { at: self.base + self.start as u64 };
        if self.start == 0 && self.pos == self.buffer.len() && self.buffer.capacity() == self.pos {
            let text = String::from_utf8(std::mem::take(&mut self.buffer)).map_err(|_| bad)?;
            self.base += self.pos as u64;
            (self.pos, self.valid) = (0, 0);
            return Ok(text.into());
        }
        let bytes = self.buffer.get(self.start..self.pos).unwrap_or_default();
        simdutf8::basic::from_utf8(bytes).map(Into::into).map_err(|_| bad)
    }
}

#[cfg(test)]
mod tests;
