//! What a machine has yet to put out, in order; and the one chunk that may stand open on a connection.

use std::collections::VecDeque;

use bytes::Bytes;
use memchr::memmem::Finder;
use nuncio_sansio::{Close, Output};

use crate::head::{Flag, end_line, needle};
use crate::ident::Ident;

/// Pieces below this are copied together into one write.
const SMALL: usize = 1_024;

/// The outputs of a connection.
pub(crate) struct Wire<Q, E> {
    out: VecDeque<Output<Q, E>>,
    /// Bytes that follow everything in `out`.
    tail: Vec<u8>,
    closed: bool,
}

impl<Q, E> Wire<Q, E> {
    pub(crate) const fn new() -> Self {
        Self { out: VecDeque::new(), tail: Vec::new(), closed: false }
    }

    pub(crate) fn pop(&mut self) -> Option<Output<Q, E>> {
        match self.out.pop_front() {
            None if self.tail.is_empty() => {
                self.out = VecDeque::new();
                None
            }
            None => Some(Output::Send(std::mem::take(&mut self.tail).into())),
            some => some,
        }
    }

    fn push(&mut self, output: Output<Q, E>) {
        self.flush();
        self.out.push_back(output);
    }

    pub(crate) fn event(&mut self, event: E) {
        self.push(Output::Event(event));
    }

    pub(crate) fn ask(&mut self, question: Q) {
        self.push(Output::Ask(question));
    }

    /// Writes by a function that appends.
    pub(crate) fn write(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        if !self.closed {
            write(&mut self.tail);
        }
    }

    /// Sends; long pieces without copying.
    pub(crate) fn send(&mut self, bytes: Bytes) {
        if self.closed || bytes.is_empty() {
            return;
        }
        if bytes.len() < SMALL {
            self.tail.extend_from_slice(&bytes);
        } else {
            self.push(Output::Send(bytes));
        }
    }

    /// What was written so far is a piece of its own.
    pub(crate) fn flush(&mut self) {
        if !self.tail.is_empty() {
            self.out.push_back(Output::Send(std::mem::take(&mut self.tail).into()));
        }
    }

    /// Nothing more is sent.
    pub(crate) fn close(&mut self, close: Close) {
        if !self.closed {
            self.closed = true;
            self.push(Output::Close(close));
        }
    }

    pub(crate) const fn is_closed(&self) -> bool {
        self.closed
    }
}

/// The framing of one chunk whose head is written and whose end-line is not.
pub(crate) struct Chunk {
    id: Ident,
    finder: Finder<'static>,
    /// The last bytes written, as many as could begin the end-line.
    tail: Vec<u8>,
}

impl Chunk {
    pub(crate) fn new(id: Ident) -> Self {
        Self { id, finder: Finder::new(&needle(&id)).into_owned(), tail: Vec::new() }
    }

    pub(crate) const fn id(&self) -> Ident {
        self.id
    }

    /// How many of these bytes may be written before the body would have this chunk's own end-line in it (RFC 4975 §7.1). If not all
    /// may, the chunk is to be ended there, and another identifier carries the rest.
    pub(crate) fn admit(&mut self, bytes: &[u8]) -> usize {
        let length = self.finder.needle().len();
        let keep = length - 1;
        // Across the border of two pieces.
        let border = bytes.get(..keep.min(bytes.len())).unwrap_or_default();
        let known = self.tail.len();
        self.tail.extend_from_slice(border);
        let mut room = bytes.len();
        if let Some(at) = self.finder.find(&self.tail) {
            room = (at + length - 1).saturating_sub(known);
        } else if let Some(at) = self.finder.find(bytes) {
            room = at + length - 1;
        }
        if bytes.len() >= keep {
            self.tail.clear();
            self.tail.extend_from_slice(bytes.get(bytes.len() - keep..).unwrap_or_default());
        } else {
            let surplus = self.tail.len().saturating_sub(keep);
            self.tail.drain(..surplus);
        }
        room
    }

    /// Writes the CRLF after the body, and the end-line.
    pub(crate) fn end(&self, flag: Flag, out: &mut Vec<u8>) {
        out.extend_from_slice(b"\r\n");
        end_line(&self.id, flag, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 4975 §7.1: wherever the body is cut into pieces, its chunk ends before an end-line of its own could be in it.
    #[test]
    fn a_chunk_never_contains_its_own_end() {
        let id = Ident::new("abcdEFGH").expect("valid");
        let body = b"some text ---------abcdEFGH$ and more";
        let end = body.windows(15).position(|window| window == needle(&id)).expect("it is there") + 14;
        for first in 0..body.len() {
            for second in first..body.len() {
                let mut chunk = Chunk::new(id);
                let mut admitted = 0;
                for piece in [&body[..first], &body[first..second], &body[second..]] {
                    let room = chunk.admit(piece);
                    admitted += room;
                    if room < piece.len() {
                        break;
                    }
                }
                assert_eq!(admitted, end, "{first} {second}");
            }
        }
        let mut chunk = Chunk::new(id);
        for byte in body.iter().take(end) {
            assert_eq!(chunk.admit(&[*byte]), 1);
        }
        assert_eq!(chunk.admit(b"H"), 0, "one byte more, and the end-line would be there");
    }
}
