//! Escaping. What is written here is well-formed whatever the argument holds.

/// Appends `text` as character data (XML §2.4). A character that XML cannot carry becomes U+FFFD.
pub fn escape_text(out: &mut Vec<u8>, text: &str) {
    escape(out, text, IN_TEXT);
}

/// Appends `value` as an attribute value that may stand between `'` or `"` (XML §3.3.3). A character that XML cannot carry becomes
/// U+FFFD.
pub fn escape_attr(out: &mut Vec<u8>, value: &str) {
    escape(out, value, IN_TEXT | IN_ATTR);
}

/// The byte cannot stand in text as it is, or needs a look.
const IN_TEXT: u8 = 1;
/// The byte cannot stand in an attribute value as it is.
const IN_ATTR: u8 = 2;

static SPECIAL: [u8; 256] = {
    let mut special = [0; 256];
    let mut byte = 0;
    while byte < 0x20 {
        special[byte] = IN_TEXT;
        byte += 1;
    }
    special[b'\t' as usize] = IN_ATTR;
    special[b'\n' as usize] = IN_ATTR;
    special[b'\'' as usize] = IN_ATTR;
    special[b'"' as usize] = IN_ATTR;
    special[b'<' as usize] = IN_TEXT;
    special[b'>' as usize] = IN_TEXT;
    special[b'&' as usize] = IN_TEXT;
    special[0xEF] = IN_TEXT;
    special
};

fn escape(out: &mut Vec<u8>, text: &str, within: u8) {
    let mut rest = text.as_bytes();
    while let Some(at) = rest.iter().position(|byte| SPECIAL[usize::from(*byte)] & within != 0) {
        let (plain, special) = rest.split_at(at);
        out.extend_from_slice(plain);
        let (with, len): (&[u8], usize) = match special {
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
    out.extend_from_slice(rest);
}
