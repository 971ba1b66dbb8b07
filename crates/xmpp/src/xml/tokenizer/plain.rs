//! Opening tags of the usual kind, read at once.
//!
//! Nearly every tag is whole in what has arrived, has names of ASCII letters without prefix, one space before each attribute and values without
//! references. Such a tag is read here in one run over its bytes. Anything else, an error included, is left as it was found, and read byte by byte: so only one
//! place decides what is wrong, and where. A tag is tried once, when its first byte is seen; no byte is looked at more than twice.

use super::{NO_ATTR, NO_NODE, Node, Step, Tokenizer};
use crate::xml::XmlError;
use crate::xml::chars::{CLASS, NAME, NAME_START, VALUE_STOP, plain_run};
use crate::xml::tree::{Attr, DECLARES, NsRef};

/// How a tag of the usual kind ends, and where.
struct Read {
    len: usize,
    name: usize,
    empty: bool,
    declares: bool,
}

impl Tokenizer {
    /// The next byte is the first after `<`. Nothing is changed unless the whole tag is of the usual kind.
    pub(super) fn plain_tag(&mut self, end: usize) -> Option<Result<Step, XmlError>> {
        if self.depth >= self.limits.depth || !(self.streaming || self.single) {
            return None;
        }
        self.room_for_node().ok()?;
        let first = self.attrs.len();
        let from = self.offset();
        let mut seen = 0;
        let Some(read) = self.read(end, first, from, &mut seen) else {
            self.work += seen as u64;
            self.attrs.truncate(first);
            return None;
        };
        self.mark = from;
        let (attrs, count) = (u32::try_from(first).ok()?, u16::try_from(self.attrs.len() - first).ok()?);
        let name_len = u16::try_from(read.name).ok()?;
        self.tag = Node { start: from - 1, attrs, attr_count: count, name_len, ..NO_NODE };
        self.pos += read.len;
        Some(self.open_plain(read.empty, read.declares))
    }

    /// Reads the tag that begins `from` bytes after the start; its attributes go behind the `first` ones. Counts the bytes that it has `seen`.
    fn read(&mut self, end: usize, first: usize, from: u32, seen: &mut usize) -> Option<Read> {
        let run = self.buffer.get(self.pos..end)?;
        let name = name_len(run, usize::from(self.limits.name_bytes))?;
        let mut at = name;
        let mut declares = false;
        loop {
            match *run.get(at)? {
                b'>' => return Some(Read { len: at + 1, name, empty: false, declares }),
                b'/' if *run.get(at + 1)? == b'>' => {
                    return Some(Read { len: at + 2, name, empty: true, declares });
                }
                b' ' => at += 1,
                _ => return None,
            }
            let rest = run.get(at..)?;
            let len = name_len(rest, usize::from(self.limits.name_bytes))?;
            let (&[b'=', quote @ (b'\'' | b'"')], value) = rest.get(len..)?.split_first_chunk::<2>()? else {
                return None;
            };
            let value_len = plain_run(value, VALUE_STOP);
            *seen = at + len + 2 + value_len;
            if *value.get(value_len)? != quote
                || value_len > self.limits.attribute_bytes
                || self.attrs.len() - first >= usize::from(self.limits.attributes)
            {
                return None;
            }
            let written = rest.get(..len)?;
            let mut attr = Attr {
                name: from + u32::try_from(at).ok()?,
                name_len: u16::try_from(len).ok()?,
                value: from + u32::try_from(at + len + 2).ok()?,
                value_len: u32::try_from(value_len).ok()?,
                ..NO_ATTR
            };
            if written == b"xmlns" {
                (attr.flags, attr.ns) = (DECLARES, NsRef::XMLNS);
                declares = true;
            }
            // Without prefixes, names that are written alike are the same, and no others.
            let twice = self.attrs.get(first..)?.iter().any(|other| {
                other.name_len == attr.name_len && {
                    let begin = (other.name - from) as usize;
                    run.get(begin..begin + len) == Some(written)
                }
            });
            if twice {
                return None;
            }
            if self.attrs.capacity() == 0 {
                self.attrs.reserve(8);
            }
            self.attrs.push(attr);
            at += len + 3 + value_len;
        }
    }
}

/// The length of the name of ASCII characters, without prefix, that begins `run`; none if there is none, or it is longer than `most`.
fn name_len(run: &[u8], most: usize) -> Option<usize> {
    let len = run.iter().position(|byte| CLASS[usize::from(*byte)] & NAME == 0)?;
    (CLASS[usize::from(*run.first()?)] & NAME_START != 0 && len <= most).then_some(len)
}
