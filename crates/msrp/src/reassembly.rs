//! Which bytes of a message are there (RFC 4975 §7.3.1): chunks in any order, overlapping, repeated, of unknown total.
//!
//! [`Assembly`] keeps account and holds no bytes: whoever stores them is told offset and bytes, so a message may go to memory, to a
//! file or through to someone else. What came last counts, so bytes are stored as they come. [`Memory`] is the store for small ones.

use bytes::BytesMut;

use crate::range::ByteRange;

/// Ranges of bytes, as few as they can be written with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spans(Vec<(u64, u64)>);

impl Spans {
    /// Adds the bytes from `from` up to, not including, `until`. False, and nothing is added, if that would make more than `most` spans.
    pub fn add(&mut self, from: u64, until: u64, most: usize) -> bool {
        if from >= until {
            return true;
        }
        // All spans that touch the new one become one with it.
        let first = self.0.partition_point(|(_, end)| *end < from);
        let behind = self.0.partition_point(|(start, _)| *start <= until);
        let touched = self.0.get(first..behind).unwrap_or_default();
        if touched.is_empty() && self.0.len() >= most {
            return false;
        }
        let from = touched.first().map_or(from, |(start, _)| from.min(*start));
        let until = touched.last().map_or(until, |(_, end)| until.max(*end));
        self.0.splice(first..behind.max(first), [(from, until)]);
        true
    }

    /// Whether all bytes before `length` are there.
    pub fn covers(&self, length: u64) -> bool {
        length == 0 || matches!(self.0.first(), Some((0, until)) if *until >= length)
    }

    /// Where the last span ends.
    pub fn end(&self) -> u64 {
        self.0.last().map_or(0, |(_, until)| *until)
    }

    /// The spans: from, up to and not including.
    pub fn iter(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.0.iter().copied()
    }
}

/// Why a chunk is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The message is, or says that it is, longer than allowed: 413.
    #[error("the message is too long")]
    Long,
    /// Too many gaps: 413.
    #[error("the message comes in too many separate pieces")]
    Scattered,
    /// Bytes beyond the end of the message, or two ends: 400.
    #[error("the message contradicts its own length")]
    Contradiction,
}

/// The account of one incoming message.
#[derive(Clone, Debug)]
pub struct Assembly {
    spans: Spans,
    /// Set by the chunk that ends with `$`.
    length: Option<u64>,
    most: u64,
    gaps: usize,
}

impl Assembly {
    /// Nothing is there yet. `most`: the longest message, in bytes; `gaps`: how many gaps there may be at a time.
    pub fn new(most: u64, gaps: usize) -> Self {
        Self { spans: Spans::default(), length: None, most: most.min(ByteRange::MAX), gaps }
    }

    /// Whether a chunk with this range may come. Nothing is allocated for what a range promises (RFC 4975 §14.5).
    ///
    /// # Errors
    /// It says that the message is longer than allowed, or begins beyond its end.
    pub fn check(&self, range: ByteRange) -> Result<(), Refused> {
        if range.offset() > self.most || range.total().is_some_and(|total| total > self.most) {
            return Err(Refused::Long);
        }
        if self.length.is_some_and(|length| range.offset() > length) {
            return Err(Refused::Contradiction);
        }
        Ok(())
    }

    /// Bytes have come.
    ///
    /// # Errors
    /// See [`Refused`]; then they do not count.
    pub fn data(&mut self, offset: u64, count: usize) -> Result<(), Refused> {
        let until =
            u64::try_from(count).ok().and_then(|count| offset.checked_add(count)).ok_or(Refused::Long)?;
        if until > self.most {
            return Err(Refused::Long);
        }
        if self.length.is_some_and(|length| until > length) {
            return Err(Refused::Contradiction);
        }
        if self.spans.add(offset, until, self.gaps.saturating_add(1)) {
            Ok(())
        } else {
            Err(Refused::Scattered)
        }
    }

    /// A chunk ended with `$` at this offset: that is the length of the message, whatever its ranges said.
    ///
    /// # Errors
    /// Bytes beyond it have come, or another end.
    pub fn end(&mut self, length: u64) -> Result<(), Refused> {
        if length < self.spans.end() || self.length.is_some_and(|other| other != length) {
            return Err(Refused::Contradiction);
        }
        self.length = Some(length);
        Ok(())
    }

    /// The length of the message, once all of it is there.
    pub fn complete(&self) -> Option<u64> {
        self.length.filter(|length| self.spans.covers(*length))
    }

    /// What is there.
    pub fn spans(&self) -> &Spans {
        &self.spans
    }
}

/// The store was told more bytes than it may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("more bytes than are kept in memory")]
pub struct Full;

/// A message in memory: holds what came, not what was promised.
#[derive(Clone, Debug)]
pub struct Memory {
    pieces: Vec<(u64, BytesMut)>,
    room: usize,
}

impl Memory {
    /// Holds up to `room` bytes, repeated ones included.
    pub fn new(room: usize) -> Self {
        Self { pieces: Vec::new(), room }
    }

    /// Keeps bytes at an offset.
    ///
    /// # Errors
    /// There is no room; nothing is kept.
    pub fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), Full> {
        // A separate piece costs its bookkeeping as well.
        const PIECE: usize = 64;
        let follows = self.pieces.last().is_some_and(|(at, piece)| {
            u64::try_from(piece.len()).ok().and_then(|length| at.checked_add(length)) == Some(offset)
        });
        let cost = bytes.len().saturating_add(if follows { 0 } else { PIECE });
        self.room = self.room.checked_sub(cost).ok_or(Full)?;
        match self.pieces.last_mut() {
            Some((_, piece)) if follows => piece.extend_from_slice(bytes),
            _ => self.pieces.push((offset, BytesMut::from(bytes))),
        }
        Ok(())
    }

    /// The message of this length, later bytes over earlier ones; none if more was written. What never came is zero: ask [`Assembly`] first.
    pub fn finish(self, length: u64) -> Option<Vec<u8>> {
        let mut whole = vec![0; usize::try_from(length).ok()?];
        for (offset, piece) in self.pieces {
            let from = usize::try_from(offset).ok()?;
            whole.get_mut(from..from.checked_add(piece.len())?)?.copy_from_slice(&piece);
        }
        Some(whole)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_grow_together() {
        let mut spans = Spans::default();
        for (from, until) in [(10, 20), (30, 40), (0, 5), (20, 30), (5, 5)] {
            assert!(spans.add(from, until, 9));
        }
        assert_eq!(spans.iter().collect::<Vec<_>>(), [(0, 5), (10, 40)]);
        assert!(spans.add(4, 11, 2), "what closes a gap always fits");
        assert_eq!(spans.iter().collect::<Vec<_>>(), [(0, 40)]);
        assert!(spans.covers(40) && !spans.covers(41));
        assert!(!spans.add(50, 60, 1));
    }

    /// RFC 4975 §7.3.1: any order, `$` before `+`, overlap, repetition; the end is known from `$` only.
    #[test]
    fn chunks_in_any_order_make_the_message() {
        let text = b"abcdefghij";
        let chunks: &[&[(u64, &[u8], bool)]] = &[
            &[(0, b"abcdefghij", true)],
            &[(5, b"fghij", true), (0, b"abcde", false)],
            &[(0, b"abcdef", false), (3, b"defghij", true)],
            &[(0, b"XXXX", false), (0, b"abcd", false), (4, b"efghij", true)],
            &[(8, b"ij", true), (4, b"efgh", false), (4, b"efgh", false), (0, b"abcd", false)],
            &[(0, b"abcdefghij", false), (10, b"", true)],
        ];
        for chunks in chunks {
            let (mut assembly, mut memory) = (Assembly::new(100, 4), Memory::new(1_000));
            for (index, (offset, bytes, last)) in chunks.iter().enumerate() {
                assert_eq!(assembly.complete(), None, "{chunks:?} before chunk {index}");
                assert_eq!(assembly.data(*offset, bytes.len()), Ok(()));
                assert_eq!(memory.write(*offset, bytes), Ok(()));
                if *last {
                    assert_eq!(assembly.end(offset + bytes.len() as u64), Ok(()));
                }
            }
            let length = assembly.complete().expect("all chunks have come");
            assert_eq!(memory.finish(length).as_deref(), Some(&text[..]), "{chunks:?}");
        }
    }

    /// RFC 4975 §14.5: nothing is allocated for what is promised, sums do not wrap, gaps are bounded.
    #[test]
    fn hostile_chunks_are_refused() {
        let range = |text: &str| ByteRange::parse(text).expect("a range");
        let mut assembly = Assembly::new(1_000, 3);
        assert_eq!(assembly.check(range("1-*/1001")), Err(Refused::Long));
        assert_eq!(assembly.check(range("9223372036854775807-*/*")), Err(Refused::Long));
        assert_eq!(assembly.check(range("1-*/*")), Ok(()));
        assert_eq!(assembly.data(u64::MAX, 2), Err(Refused::Long));
        assert_eq!(assembly.data(999, 2), Err(Refused::Long));
        for at in 0..4 {
            assert_eq!(assembly.data(at * 2 + 1, 1), Ok(()));
        }
        assert_eq!(assembly.data(101, 1), Err(Refused::Scattered));
        assert_eq!(assembly.end(5), Err(Refused::Contradiction), "a byte beyond it has come");
        assert_eq!(assembly.end(8), Ok(()));
        assert_eq!(assembly.end(9), Err(Refused::Contradiction));
        assert_eq!(assembly.data(8, 1), Err(Refused::Contradiction));
        assert_eq!(assembly.check(range("10-*/*")), Err(Refused::Contradiction));
        assert_eq!(assembly.complete(), None);
        let mut memory = Memory::new(200);
        assert_eq!(memory.write(1 << 62, b"x"), Ok(()), "only what came is held");
        assert_eq!(memory.write(0, &[0; 200]), Err(Full));
        assert_eq!(memory.finish(10), None);
    }
}
