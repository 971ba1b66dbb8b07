//! Cuts a stream of XML into its top-level elements without looking at what they mean.
//!
//! Just enough to count stanzas and to find a marker inside of each at a few nanoseconds a tag: tags, quotes and depth. Whether names
//! match, characters are allowed or prefixes are declared is not its business; a load generator trusts the server that far.

use memchr::{memchr, memchr3};

/// The most bytes of one element that are kept until its end comes.
const MOST: usize = 32 << 20;

/// One thing that was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found<'a> {
    /// The start tag of the stream.
    Header(&'a [u8]),
    /// A whole element of the first level.
    Element(&'a [u8]),
    /// The end tag of the stream.
    End,
}

/// What the reader of an element wants next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// The next element.
    Go,
    /// A new stream begins.
    Restart,
    /// Nothing more of this chunk: the rest is dropped.
    Stop,
}

/// The place in a stream.
#[derive(Debug, Default)]
pub(crate) struct Scan {
    /// The beginning of an element whose end has not come.
    partial: Vec<u8>,
    /// How far `partial` has been looked at.
    at: usize,
    depth: u32,
    header: bool,
}

/// The server sends something that is no XMPP.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Nonsense(pub(crate) String);

impl Nonsense {
    fn of(bytes: &[u8]) -> Self {
        let start = bytes.get(..bytes.len().min(60)).unwrap_or_default();
        Self(format!("answered nonsense: {:?}", String::from_utf8_lossy(start)))
    }
}

impl From<String> for Nonsense {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl Scan {
    /// A header comes first.
    pub(crate) fn with_header() -> Self {
        Self { header: true, ..Self::default() }
    }

    /// Takes bytes and hands out what is complete.
    ///
    /// # Errors
    /// What comes is no XMPP, or `each` says so.
    pub(crate) fn feed(
        &mut self,
        chunk: &[u8],
        mut each: impl FnMut(Found<'_>) -> Result<Next, Nonsense>,
    ) -> Result<(), Nonsense> {
        if self.partial.is_empty() {
            let used = self.walk(chunk, &mut each)?;
            self.partial.extend_from_slice(chunk.get(used..).unwrap_or_default());
        } else {
            let mut all = std::mem::take(&mut self.partial);
            all.extend_from_slice(chunk);
            let used = self.walk(&all, &mut each)?;
            if used < all.len() {
                all.drain(..used);
                self.partial = all;
            }
        }
        if self.partial.len() > MOST {
            Err(Nonsense(format!("sends an element of more than {MOST} bytes")))
        } else {
            Ok(())
        }
    }

    /// Returns how many bytes are done with; `at` and `depth` say how far the rest was looked at.
    fn walk(
        &mut self,
        bytes: &[u8],
        each: &mut impl FnMut(Found<'_>) -> Result<Next, Nonsense>,
    ) -> Result<usize, Nonsense> {
        let mut start = 0;
        let mut at = std::mem::take(&mut self.at);
        loop {
            if self.depth == 0 && at == start {
                let rest = bytes.get(start..).unwrap_or_default();
                let Some(blank) = rest.iter().position(|byte| !byte.is_ascii_whitespace()) else {
                    return Ok(bytes.len());
                };
                start += blank;
                at = start;
                if bytes.get(start) != Some(&b'<') {
                    return Err(Nonsense::of(bytes.get(start..).unwrap_or_default()));
                }
            }
            let Some(open) = bytes.get(at..).and_then(|rest| memchr(b'<', rest)).map(|found| found + at)
            else {
                self.at = bytes.len() - start;
                return Ok(start);
            };
            let (Some(&kind), Some(end)) = (bytes.get(open + 1), tag_end(bytes, open + 1)) else {
                self.at = open - start;
                // The walk goes on at the tag, and must not take it for the beginning of an element.
                return Ok(start);
            };
            let after = end + 1;
            let whole = bytes.get(start..after).unwrap_or_default();
            let found = match kind {
                b'?' if self.depth == 0 && self.header => None,
                b'?' | b'!' | b'>' => return Err(Nonsense::of(whole)),
                b'/' if self.depth == 0 => Some(Found::End),
                b'/' => {
                    self.depth -= 1;
                    at = after;
                    if self.depth > 0 {
                        continue;
                    }
                    Some(Found::Element(whole))
                }
                _ if self.header => {
                    self.header = false;
                    Some(Found::Header(whole))
                }
                _ if bytes.get(end.wrapping_sub(1)) == Some(&b'/') => {
                    at = after;
                    if self.depth > 0 {
                        continue;
                    }
                    Some(Found::Element(whole))
                }
                _ => {
                    self.depth += 1;
                    at = after;
                    continue;
                }
            };
            start = after;
            at = after;
            if let Some(found) = found {
                match each(found)? {
                    Next::Go => {}
                    Next::Restart => self.header = true,
                    Next::Stop => return Ok(bytes.len()),
                }
            }
        }
    }
}

/// Where a tag ends: at the first `>` outside of quotes.
fn tag_end(bytes: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    loop {
        let found = at + memchr3(b'>', b'\'', b'"', bytes.get(at..)?)?;
        match bytes.get(found)? {
            b'>' => return Some(found),
            quote => at = found + 2 + memchr(*quote, bytes.get(found + 1..)?)?,
        }
    }
}

/// The local name of an element's root.
pub(crate) fn name(element: &[u8]) -> &[u8] {
    let tag = element.strip_prefix(b"<").unwrap_or_default();
    let end = tag.iter().position(|byte| byte.is_ascii_whitespace() || matches!(byte, b'/' | b'>'));
    let name = tag.get(..end.unwrap_or(tag.len())).unwrap_or_default();
    memchr(b':', name).and_then(|colon| name.get(colon + 1..)).unwrap_or(name)
}

/// The value of an attribute of the root, as written.
pub(crate) fn attr<'a>(element: &'a [u8], wanted: &[u8]) -> Option<&'a [u8]> {
    let end = tag_end(element, 1)?;
    let mut rest = element.get(..end)?;
    rest = rest.get(rest.iter().position(u8::is_ascii_whitespace)?..)?;
    loop {
        let begin = rest.iter().position(|byte| !byte.is_ascii_whitespace())?;
        rest = rest.get(begin..)?;
        let equals = memchr(b'=', rest)?;
        let name = rest.get(..equals)?.trim_ascii();
        rest = rest.get(equals + 1..)?.trim_ascii_start();
        let (quote, after) = rest.split_first()?;
        let close = memchr(*quote, after)?;
        if name == wanted {
            return after.get(..close);
        }
        rest = after.get(close + 1..)?;
    }
}

/// The text between the first tag and the tag after it.
pub(crate) fn text(element: &[u8]) -> &[u8] {
    let inside = tag_end(element, 1).and_then(|end| element.get(end + 1..)).unwrap_or_default();
    memchr(b'<', inside).and_then(|end| inside.get(..end)).unwrap_or_default()
}

/// The text of the first element of this name inside of another.
pub(crate) fn text_of<'a>(element: &'a [u8], tag: &str) -> Option<&'a [u8]> {
    let at = memchr::memmem::find(element, format!("<{tag}").as_bytes())?;
    element.get(at..).map(text)
}

/// Whether the bytes are in there.
pub(crate) fn has(element: &[u8], what: &[u8]) -> bool {
    memchr::memmem::find(element, what).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &str = "<?xml version='1.0'?><stream:stream to='a>b' xmlns='c'>\n<a/><b x='/>' y=\"'\">t<c><d/></c></b> <e></e></stream:stream>";

    fn scanned(chunks: &[&[u8]]) -> Result<Vec<String>, Nonsense> {
        let mut scan = Scan::with_header();
        let mut all = Vec::new();
        for chunk in chunks {
            scan.feed(chunk, |found| {
                all.push(match found {
                    Found::Header(tag) => format!("header {}", String::from_utf8_lossy(tag)),
                    Found::Element(element) => String::from_utf8_lossy(element).into_owned(),
                    Found::End => "end".to_owned(),
                });
                Ok(Next::Go)
            })?;
        }
        Ok(all)
    }

    #[test]
    fn elements_are_the_same_however_the_bytes_are_cut() {
        let wanted = [
            "header <stream:stream to='a>b' xmlns='c'>",
            "<a/>",
            "<b x='/>' y=\"'\">t<c><d/></c></b>",
            "<e></e>",
            "end",
        ];
        let bytes = STREAM.as_bytes();
        assert_eq!(scanned(&[bytes]).unwrap(), wanted);
        for cut in 1..bytes.len() {
            let (left, right) = bytes.split_at(cut);
            assert_eq!(scanned(&[left, right]).unwrap(), wanted, "cut at {cut}");
        }
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(scanned(&single).unwrap(), wanted);
    }

    #[test]
    fn what_is_no_xml_is_told() {
        for text in
            ["HTTP/1.1 400 Bad Request\r\n", "<!DOCTYPE a>", "\u{0}\u{1}", "<stream><a><!-- --></a>", "<>"]
        {
            assert!(scanned(&[text.as_bytes()]).is_err(), "{text}");
        }
    }

    #[test]
    fn names_attributes_and_texts() {
        let element = b"<stream:a  id = 'x>' to=\"y\"\n><jid>u@d/r</jid></stream:a>";
        assert_eq!(name(element), b"a");
        assert_eq!(attr(element, b"id"), Some(&b"x>"[..]));
        assert_eq!(attr(element, b"to"), Some(&b"y"[..]));
        assert_eq!(attr(element, b"d"), None);
        assert_eq!(attr(b"<a/>", b"d"), None);
        assert_eq!(attr(b"<a b='c'/>", b"b"), Some(&b"c"[..]));
        assert_eq!(text_of(element, "jid"), Some(&b"u@d/r"[..]));
        assert_eq!(text(b"<challenge>abc</challenge>"), b"abc");
        assert_eq!(text(b"<challenge/>"), b"");
    }
}
