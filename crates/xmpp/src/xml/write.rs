//! Escaping. What is written here is well-formed whatever the argument holds.

use super::chars::is_char;

/// Appends `text` as character data (XML §2.4). A character that XML cannot carry becomes U+FFFD.
pub fn escape_text(out: &mut Vec<u8>, text: &str) {
    escape(out, text, |byte| match byte {
        b'<' => Some(b"&lt;"),
        b'>' => Some(b"&gt;"),
        b'&' => Some(b"&amp;"),
        b'\r' => Some(b"&#13;"),
        _ => None,
    });
}

/// Appends `value` as an attribute value that may stand between `'` or `"` (XML §3.3.3). A character that XML cannot carry becomes
/// U+FFFD.
pub fn escape_attr(out: &mut Vec<u8>, value: &str) {
    escape(out, value, |byte| match byte {
        b'<' => Some(b"&lt;"),
        b'>' => Some(b"&gt;"),
        b'&' => Some(b"&amp;"),
        b'\'' => Some(b"&#39;"),
        b'"' => Some(b"&#34;"),
        b'\t' => Some(b"&#9;"),
        b'\n' => Some(b"&#10;"),
        b'\r' => Some(b"&#13;"),
        _ => None,
    });
}

fn escape(out: &mut Vec<u8>, text: &str, special: impl Fn(u8) -> Option<&'static [u8]>) {
    let bytes = text.as_bytes();
    let mut done = 0;
    for (i, &byte) in bytes.iter().enumerate() {
        let (with, skip): (&[u8], usize) = if let Some(with) = special(byte) {
            (with, 1)
        } else if byte < 0x20 && !is_char(u32::from(byte)) {
            ("\u{FFFD}".as_bytes(), 1)
        } else if byte == 0xEF
            && bytes.get(i + 1) == Some(&0xBF)
            && bytes.get(i + 2).is_some_and(|b| *b >= 0xBE)
        {
            ("\u{FFFD}".as_bytes(), 3)
        } else {
            continue;
        };
        out.extend_from_slice(bytes.get(done..i).unwrap_or_default());
        out.extend_from_slice(with);
        done = i + skip;
    }
    out.extend_from_slice(bytes.get(done..).unwrap_or_default());
}
