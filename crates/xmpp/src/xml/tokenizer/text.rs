//! Character data, CDATA sections and references.

use super::{NO_NODE, NO_REFERENCE, Node, Reference, State, Step, Tokenizer};
use crate::xml::XmlError;
use crate::xml::chars::{CLASS, NAME, NAME_START, TEXT_STOP, decode, is_char, plain_run};
use crate::xml::tree::{CDATA, RAW_DIFFERS, TEXT};

impl Tokenizer {
    pub(super) fn content(&mut self, end: usize) -> Result<Step, XmlError> {
        if self.depth == 0 {
            return self.stray();
        }
        let run = self.buffer.get(self.pos..end).unwrap_or_default();
        self.pos += plain_run(run, TEXT_STOP);
        if self.pos >= end {
            return Ok(Step::Wait);
        }
        match self.buffer.get(self.pos) {
            Some(b'<') => {
                self.end_text(0)?;
                self.mark = self.offset();
                self.pos += 1;
                self.state = State::Less;
                if self.peek(end) == Some(b'/') {
                    self.pos += 1;
                    self.state = State::Close(0);
                    return self.close(end, 0);
                }
            }
            Some(b'&') => self.refer(0),
            Some(b'>') if self.brackets() => return self.wrong("']]>' in text"),
            Some(b'\r') => {
                self.flags = RAW_DIFFERS;
                self.pos += 1;
            }
            _ => self.checked_char()?,
        }
        Ok(Step::Go)
    }

    /// Whether `]]` of the same run stands before the next byte.
    pub(super) fn brackets(&self) -> bool {
        let run = self.buffer.get(self.start + self.mark as usize..self.pos);
        run.is_some_and(|run| run.ends_with(b"]]"))
    }

    /// Passes one character that a run stopped at, if XML allows it.
    pub(super) fn checked_char(&mut self) -> Result<(), XmlError> {
        let (c, len) = decode(&self.buffer, self.pos);
        if !is_char(c) {
            return self.wrong("a character that xml does not allow");
        }
        self.pos += len;
        Ok(())
    }

    /// Notes the run of text before the next byte.
    pub(super) fn end_text(&mut self, flags: u8) -> Result<(), XmlError> {
        let end = self.offset();
        if end > self.mark {
            let index = self.room_for_node()?;
            let flags = TEXT | flags | self.flags;
            let (start, open_end, close) = (self.mark, end, end);
            self.nodes.push(Node { start, open_end, close, end, next: index + 1, flags, ..NO_NODE });
        }
        self.flags = 0;
        Ok(())
    }

    pub(super) fn bang(&mut self, matched: u8, byte: u8) -> Result<Step, XmlError> {
        const OPENING: &[u8] = b"[CDATA[";
        match (matched, byte) {
            (0, b'-') => return self.restricted("comment"),
            (0, b'D') => return self.restricted("document type declaration"),
            _ if OPENING.get(usize::from(matched)) != Some(&byte) => {
                return self.wrong("no markup begins like this");
            }
            _ => {}
        }
        if self.depth == 0 {
            return if self.streaming { self.stray() } else { self.wrong("text before the root") };
        }
        self.pos += 1;
        self.state = State::Bang(matched + 1);
        if usize::from(matched) + 1 == OPENING.len() {
            self.mark = self.offset();
            self.flags = 0;
            self.state = State::Cdata;
        }
        Ok(Step::Go)
    }

    pub(super) fn cdata(&mut self, end: usize) -> Result<Step, XmlError> {
        let run = self.buffer.get(self.pos..end).unwrap_or_default();
        self.pos += plain_run(run, TEXT_STOP);
        if self.pos >= end {
            return Ok(Step::Wait);
        }
        match self.buffer.get(self.pos) {
            Some(b'>') if self.brackets() => {
                self.pos -= 2;
                self.end_text(CDATA)?;
                self.pos += 3;
                self.mark = self.offset();
                self.state = State::Content;
            }
            Some(b'\r') => {
                self.flags = RAW_DIFFERS;
                self.pos += 1;
            }
            _ => self.checked_char()?,
        }
        Ok(Step::Go)
    }

    /// A reference begins at the next byte.
    pub(super) fn refer(&mut self, within: u8) {
        self.flags = RAW_DIFFERS;
        self.reference = Reference { within, ..NO_REFERENCE };
        self.pos += 1;
        self.state = State::Reference;
    }

    /// The states inside of a reference (XML §4.1).
    pub(super) fn referring(&mut self, state: State, byte: u8) -> Result<State, XmlError> {
        let resume = match self.reference.within {
            0 => State::Content,
            quote => State::Value(quote),
        };
        let reference = &mut self.reference;
        match (state, byte) {
            (State::Reference, b'#') => Ok(State::ReferenceNumber),
            (State::Reference, _) if byte >= 0x80 || CLASS[usize::from(byte)] & NAME_START != 0 => {
                reference.name[0] = byte;
                reference.len = 1;
                Ok(State::ReferenceName)
            }
            (State::ReferenceName, b';') => match reference.name.get(..usize::from(reference.len)) {
                Some(b"lt" | b"gt" | b"amp" | b"quot" | b"apos") => Ok(resume),
                _ => self.restricted("entity reference"),
            },
            (State::ReferenceName, _) if byte >= 0x80 || CLASS[usize::from(byte)] & NAME != 0 => {
                if let Some(slot) = reference.name.get_mut(usize::from(reference.len)) {
                    *slot = byte;
                }
                reference.len = (reference.len + 1).min(5);
                Ok(State::ReferenceName)
            }
            (State::ReferenceNumber, b'x') => Ok(State::ReferenceDigits(16)),
            (State::ReferenceNumber, b'0'..=b'9') => {
                reference.value = u32::from(byte - b'0');
                reference.digits = true;
                Ok(State::ReferenceDigits(10))
            }
            (State::ReferenceDigits(_), b';') if reference.digits => {
                if is_char(reference.value) {
                    Ok(resume)
                } else {
                    self.wrong("a reference to a character that xml does not allow")
                }
            }
            (State::ReferenceDigits(base), _) => {
                let Some(digit) = char::from(byte).to_digit(u32::from(base)) else {
                    return self.wrong("character reference");
                };
                // One beyond the last character is as wrong as anything above it.
                reference.value = (reference.value * u32::from(base) + digit).min(0x11_0000);
                reference.digits = true;
                Ok(state)
            }
            _ => self.wrong("reference"),
        }
    }
}
