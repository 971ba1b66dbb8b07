//! Escaping. What is written here is well-formed whatever the argument holds.

use super::chars::{ESCAPED, TEXT_STOP, plain_run};

/// Appends `text` as character data (XML §2.4). A character that XML cannot carry becomes U+FFFD.
pub fn escape_text(out: &mut Vec<u8>, text: &str) {
    escape(out, text, TEXT_STOP);
}

/// Appends `value` as an attribute value that may stand between `'` or `"` (XML §3.3.3). A character that XML cannot carry becomes
/// U+FFFD.
pub fn escape_attr(out: &mut Vec<u8>, value: &str) {
    escape(out, value, ESCAPED);
}

fn escape(out: &mut Vec<u8>, text: &str, stop: u8) {
    let mut rest = text.as_bytes();
    loop {
        let (plain, special) = rest.split_at(plain_run(rest, stop));
        out.extend_from_slice(plain);
        let (with, len): (&[u8], usize) = match special {
            [] => return,
            [b'<', ..] => (b"&lt;", 1),
            [b'>', ..] => (b"&gt;", 1),
            [b'&', ..] => (b"&amp;", 1),
            [b'\'', ..] => (b"&#39;", 1),
            [b'"', ..] => (b"&#34;", 1),
            [b'\t', ..] => (b"&#9;", 1),
            [b'\n', ..] => (b"&#10;", 1),
            [b'\r', ..] => (b"&#13;", 1),
            // U+FFFE and U+FFFF.
            [0xEF, 0xBF, 0xBE..=0xBF, ..] => ("\u{FFFD}".as_bytes(), 3),
            [byte @ 0xEF, ..] => (std::slice::from_ref(byte), 1),
            _ => ("\u{FFFD}".as_bytes(), 1),
        };
        out.extend_from_slice(with);
        rest = special.get(len..).unwrap_or_default();
    }
}
