//! `Byte-Range` (RFC 4975 §7.1.1, §9), read without overflow however large its numbers are (RFC 4975 §14.5).

use std::fmt;

/// Why a text is no byte range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RangeError {
    /// Not `start-end/total`.
    #[error("a byte range is not start-end/total")]
    Syntax,
    /// A number that no message can have.
    #[error("a byte range has a number beyond 2^63")]
    Huge,
    /// The range begins at zero, ends before it begins, or begins beyond the message's end.
    #[error("a byte range contradicts itself")]
    Contradiction,
}

/// A byte range. Positions count from 1; an empty one ends one before its start, as in `1-0/0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByteRange {
    start: u64,
    end: Option<u64>,
    total: Option<u64>,
}

impl ByteRange {
    /// The largest number of a range: far beyond any message, far below where sums overflow.
    pub const MAX: u64 = i64::MAX as u64;

    /// `1-0/0`: a request without content (RFC 4975 §7.1.1).
    pub const EMPTY: Self = Self { start: 1, end: Some(0), total: Some(0) };

    /// A range. `start` counts from 1; none stands for `*`.
    ///
    /// # Errors
    /// The numbers contradict each other or are beyond [`ByteRange::MAX`].
    pub fn new(start: u64, end: Option<u64>, total: Option<u64>) -> Result<Self, RangeError> {
        if [Some(start), end, total].into_iter().flatten().any(|number| number > Self::MAX) {
            return Err(RangeError::Huge);
        }
        let before = start.checked_sub(1).ok_or(RangeError::Contradiction)?;
        // The end is not held against the total: it is computed from the data (RFC 4975 §7.3.1), never believed.
        if end.is_some_and(|end| end < before) || total.is_some_and(|total| before > total) {
            return Err(RangeError::Contradiction);
        }
        Ok(Self { start, end, total })
    }

    /// The range of `length` bytes that begin `offset` bytes after the message's first.
    ///
    /// # Errors
    /// It ends beyond [`ByteRange::MAX`] or begins beyond `total`.
    pub fn at(offset: u64, length: Option<u64>, total: Option<u64>) -> Result<Self, RangeError> {
        let start = offset.checked_add(1).ok_or(RangeError::Huge)?;
        let end = match length {
            Some(length) => Some(offset.checked_add(length).ok_or(RangeError::Huge)?),
            None => None,
        };
        Self::new(start, end, total)
    }

    /// Reads `start-end/total`.
    ///
    /// # Errors
    /// See [`RangeError`].
    pub fn parse(text: &str) -> Result<Self, RangeError> {
        let (start, rest) = text.split_once('-').ok_or(RangeError::Syntax)?;
        let (end, total) = rest.split_once('/').ok_or(RangeError::Syntax)?;
        Self::new(number(start)?, open(end)?, open(total)?)
    }

    /// The position of the first byte, from 1.
    pub const fn start(self) -> u64 {
        self.start
    }

    /// How many bytes of the message come before.
    pub const fn offset(self) -> u64 {
        self.start - 1
    }

    /// The position of the last byte, as the sender said; none for `*`.
    pub const fn end(self) -> Option<u64> {
        self.end
    }

    /// The length of the whole message, as the sender said; none for `*`.
    pub const fn total(self) -> Option<u64> {
        self.total
    }
}

impl fmt::Display for ByteRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-", self.start)?;
        match self.end {
            Some(end) => write!(f, "{end}/")?,
            None => f.write_str("*/")?,
        }
        match self.total {
            Some(total) => write!(f, "{total}"),
            None => f.write_str("*"),
        }
    }
}

fn open(text: &str) -> Result<Option<u64>, RangeError> {
    if text == "*" { Ok(None) } else { number(text).map(Some) }
}

fn number(text: &str) -> Result<u64, RangeError> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(RangeError::Syntax);
    }
    text.parse().map_err(|_| RangeError::Huge)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_as_rfc_4975_writes_them() {
        for text in ["1-25/25", "1-*/8", "5-8/8", "1-*/*", "1-0/0", "138-148/148", "9-8/8", "1-39/*", "1-9/5"]
        {
            assert_eq!(ByteRange::parse(text).map(|range| range.to_string()), Ok(text.to_owned()));
        }
        assert_eq!(ByteRange::parse("5-8/9").map(ByteRange::offset), Ok(4));
    }

    /// Wrapped and huge ranges (RFC 4975 §14.5): refused, never computed with.
    #[test]
    fn hostile_ranges_are_errors() {
        use RangeError::*;
        for (text, error) in [
            ("0-0/0", Contradiction),
            ("0-5/5", Contradiction),
            ("5-3/8", Contradiction),
            ("9-9/7", Contradiction),
            ("1-18446744073709551615/18446744073709551615", Huge),
            ("18446744073709551616-*/*", Huge),
            ("9223372036854775808-*/*", Huge),
            ("1-99999999999999999999999999999999/*", Huge),
            ("", Syntax),
            ("1", Syntax),
            ("1-2", Syntax),
            ("-1-2/3", Syntax),
            ("1-+2/3", Syntax),
            (" 1-2/3", Syntax),
            ("*-2/3", Syntax),
            ("1-2/3 ", Syntax),
            ("1-2/0x3", Syntax),
        ] {
            assert_eq!(ByteRange::parse(text), Err(error), "{text}");
        }
        assert_eq!(ByteRange::at(ByteRange::MAX, Some(1), None), Err(Huge));
        assert_eq!(ByteRange::at(u64::MAX, Some(1), None), Err(Huge));
        assert_eq!(ByteRange::at(4, Some(u64::MAX), None), Err(Huge));
    }
}
