//! Messages that say who sent them and as which one, so that none is lost or comes twice unnoticed.

use std::collections::BTreeSet;

use memchr::memmem;

use crate::engine::login::first_child;
use crate::engine::scan::attr;

const MARK: &[u8] = b"~nl:";
const TAG_DIGITS: usize = 8;
const NUMBER_DIGITS: usize = 12;
/// The bytes of a mark, which is the shortest body.
pub(super) const LENGTH: usize = MARK.len() + TAG_DIGITS + 1 + NUMBER_DIGITS + 1;
/// How many messages may be missing before what comes is taken for nonsense.
const MOST_MISSING: u64 = 1 << 20;

/// A message ready to be sent but for its number.
#[derive(Debug, Default)]
pub(super) struct Template {
    bytes: Vec<u8>,
    number_at: usize,
}

impl Template {
    /// Chat messages to an address, from the connection with this tag, with bodies of this many bytes.
    pub(super) fn new(to: &str, tag: u32, body: usize) -> Self {
        let head = format!("<message to='{to}' type='chat'><body>~nl:{tag:08x}:");
        let number_at = head.len();
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(&[b'0'; NUMBER_DIGITS]);
        bytes.push(b'~');
        let filler = b"Lorem ipsum dolor sit amet, consectetur adipisici elit. ".iter().cycle();
        bytes.extend(filler.take(body.saturating_sub(LENGTH)));
        bytes.extend_from_slice(b"</body></message>");
        Self { bytes, number_at }
    }

    /// Presence with a mark in its status.
    pub(super) fn presence(tag: u32) -> Self {
        let head = format!("<presence><status>~nl:{tag:08x}:");
        let number_at = head.len();
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(&[b'0'; NUMBER_DIGITS]);
        bytes.extend_from_slice(b"~</status></presence>");
        Self { bytes, number_at }
    }

    /// Appends the message with this number.
    pub(super) fn append(&self, number: u64, out: &mut Vec<u8>) {
        let at = out.len() + self.number_at;
        out.extend_from_slice(&self.bytes);
        let mut rest = number;
        for digit in out.iter_mut().skip(at).take(NUMBER_DIGITS).rev() {
            *digit = b"0123456789abcdef".get((rest & 15) as usize).copied().unwrap_or(b'0');
            rest >>= 4;
        }
    }
}

/// Finds marks.
#[derive(Debug)]
pub(super) struct Reader {
    finder: memmem::Finder<'static>,
}

impl Reader {
    pub(super) fn new() -> Self {
        Self { finder: memmem::Finder::new(MARK) }
    }

    /// The sender's tag and the number of a message; none if it is not one of ours.
    ///
    /// # Errors
    /// The server returned it, with the reason that it gives.
    pub(super) fn read(&self, stanza: &[u8], own: u32) -> Result<Option<(u32, u64)>, String> {
        let message = stanza.starts_with(b"<m");
        let Some(at) = self.finder.find(stanza) else {
            return refused(stanza).filter(|_| message).map_or(Ok(None), Err);
        };
        let rest = stanza.get(at + MARK.len()..).unwrap_or_default();
        let tag = rest.get(..TAG_DIGITS).and_then(hex);
        let number = rest.get(TAG_DIGITS + 1..TAG_DIGITS + 1 + NUMBER_DIGITS).and_then(hex);
        let (Some(tag), Some(number)) = (tag, number) else {
            return Err("a message came back broken".to_owned());
        };
        let tag = u32::try_from(tag).unwrap_or(u32::MAX);
        // What comes from somebody else is no message of ours that was returned: no need to look.
        let why = if message && tag == own { refused(stanza) } else { None };
        why.map_or(Ok(Some((tag, number))), Err)
    }
}

/// Why the server returned a stanza; none if it did not.
pub(super) fn refused(stanza: &[u8]) -> Option<String> {
    if attr(stanza, b"type") != Some(b"error") {
        return None;
    }
    let error = memmem::find(stanza, b"<error").and_then(|at| stanza.get(at..)).unwrap_or_default();
    Some(format!("a message was returned: {}", first_child(error)))
}

fn hex(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0, |sum: u64, digit| {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(sum << 4 | u64::from(value))
    })
}

/// What came of one sender's numbered messages at one recipient.
#[derive(Clone, Debug, Default)]
pub(super) struct Sequence {
    next: u64,
    missing: BTreeSet<u64>,
    duplicates: u64,
}

impl Sequence {
    /// A message with this number came. Whether it is the first time.
    ///
    /// # Errors
    /// That many were never sent.
    pub(super) fn take(&mut self, number: u64) -> Result<bool, String> {
        if number == self.next {
            self.next += 1;
            return Ok(true);
        }
        if number > self.next {
            if number - self.next + self.missing.len() as u64 > MOST_MISSING {
                return Err(format!("message {number} came where {} was due", self.next));
            }
            self.missing.extend(self.next..number);
            self.next = number + 1;
            return Ok(true);
        }
        let fresh = self.missing.remove(&number);
        if !fresh {
            self.duplicates += 1;
        }
        Ok(fresh)
    }

    /// How many came twice.
    pub(super) const fn duplicates(&self) -> u64 {
        self.duplicates
    }

    /// How many of those sent have not come.
    pub(super) fn lost(&self, sent: u64) -> u64 {
        self.missing.len() as u64 + sent.saturating_sub(self.next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_whatever_the_server_adds() {
        let template = Template::new("user1@localhost/load", 7, 100);
        let mut out = b"x".to_vec();
        template.append(0, &mut out);
        out.clear();
        template.append(0xabc_def0_1234, &mut out);
        let reader = Reader::new();
        assert_eq!(reader.read(&out, 3).unwrap(), Some((7, 0xabc_def0_1234)));
        let text = String::from_utf8(out).unwrap();
        let body = text.split("<body>").nth(1).unwrap().split("</body>").next().unwrap();
        assert_eq!(body.len(), 100);
        let changed = text.replace("<message ", "<message xml:lang=\"en\" from='a@b/c' ").replace('\'', "\"");
        assert_eq!(reader.read(changed.as_bytes(), 3).unwrap(), Some((7, 0xabc_def0_1234)));
        assert_eq!(reader.read(b"<message><body>hello</body></message>", 7).unwrap(), None);
        assert!(reader.read(b"<message><body>~nl:0000000x", 7).is_err());
    }

    #[test]
    fn a_returned_message_is_an_error_with_the_servers_reason() {
        let reader = Reader::new();
        let body = "<body>~nl:00000007:000000000001~</body>";
        let error = "<error type='cancel'><service-unavailable xmlns='x'/></error>";
        for body in [body, ""] {
            let stanza = format!("<message type='error'>{body}{error}</message>");
            let why = reader.read(stanza.as_bytes(), 7).unwrap_err();
            assert!(why.contains("service-unavailable"), "{why}");
        }
    }

    #[test]
    fn losses_and_duplicates_are_counted() {
        let mut sequence = Sequence::default();
        let taken: Vec<bool> = [0, 1, 3, 2, 3, 1, 6].map(|number| sequence.take(number).unwrap()).into();
        assert_eq!(taken, [true, true, true, true, false, false, true]);
        assert_eq!(sequence.duplicates(), 2);
        assert_eq!(sequence.lost(7), 2);
        assert_eq!(sequence.lost(10), 5);
        assert!(sequence.take(u64::MAX).is_err());
    }
}
