//! Character classes of XML 1.0 (fifth edition) and Namespaces in XML 1.0.

/// `Char` (XML §2.2).
pub(crate) const fn is_char(c: u32) -> bool {
    matches!(c, 0x9 | 0xA | 0xD | 0x20..=0xD7FF | 0xE000..=0xFFFD | 0x1_0000..=0x10_FFFF)
}

/// `NameStartChar` without `:` (XML §2.3), for characters outside ASCII.
pub(crate) const fn is_name_start_wide(c: u32) -> bool {
    matches!(c,
        0xC0..=0xD6 | 0xD8..=0xF6 | 0xF8..=0x2FF | 0x370..=0x37D | 0x37F..=0x1FFF | 0x200C..=0x200D
        | 0x2070..=0x218F | 0x2C00..=0x2FEF | 0x3001..=0xD7FF | 0xF900..=0xFDCF | 0xFDF0..=0xFFFD
        | 0x1_0000..=0xE_FFFF)
}

/// `NameChar` without `:` (XML §2.3), for characters outside ASCII.
pub(crate) const fn is_name_wide(c: u32) -> bool {
    is_name_start_wide(c) || matches!(c, 0xB7 | 0x300..=0x36F | 0x203F..=0x2040)
}

/// `S` (XML §2.3).
pub(crate) const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

/// Bits of [`CLASS`].
pub(crate) const NAME_START: u8 = 1;
/// A byte that may stand in a name, `:` excluded.
pub(crate) const NAME: u8 = 2;
/// A byte that a run of text cannot pass without a look.
pub(crate) const TEXT_STOP: u8 = 4;
/// A byte that a run of an attribute value cannot pass without a look.
pub(crate) const VALUE_STOP: u8 = 8;

/// A byte that is not written into an attribute value as it is, or not without a look.
pub(crate) const ESCAPED: u8 = 16;

/// What each byte may be.
pub(crate) static CLASS: [u8; 256] = {
    let mut class = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let b = byte as u8;
        let mut bits = 0;
        if b.is_ascii_alphabetic() || b == b'_' {
            bits |= NAME_START | NAME;
        }
        if b.is_ascii_digit() || b == b'-' || b == b'.' {
            bits |= NAME;
        }
        // 0xEF begins U+FFFE and U+FFFF, which are no Chars.
        if matches!(b, b'<' | b'&' | b'>' | 0xEF) || (b < 0x20 && b != b'\t' && b != b'\n') {
            bits |= TEXT_STOP;
        }
        if matches!(b, b'<' | b'&' | b'"' | b'\'' | 0xEF) || b < 0x20 {
            bits |= VALUE_STOP;
        }
        if matches!(b, b'<' | b'&' | b'>' | b'"' | b'\'' | 0xEF) || b < 0x20 {
            bits |= ESCAPED;
        }
        class[byte] = bits;
        byte += 1;
    }
    class
};

/// Whether any byte has a bit of a class that ends a run.
#[inline]
fn has_special<const N: usize>(chunk: &[u8; N]) -> bool {
    // Without branches, so that a chunk is compared at once. Every byte with a bit of such a class is among these.
    let mut special = 0;
    for byte in chunk {
        special |= u8::from(*byte < 0x20)
            | u8::from(*byte == b'<')
            | u8::from(*byte == b'>')
            | u8::from(*byte == b'&')
            | u8::from(*byte == b'\'')
            | u8::from(*byte == b'"')
            | u8::from(*byte == 0xEF);
    }
    special != 0
}

#[inline]
fn first_stop(run: &[u8], stop: u8) -> usize {
    run.iter().position(|byte| CLASS[usize::from(*byte)] & stop != 0).unwrap_or(run.len())
}

/// How many bytes at the beginning of `run` have none of the bits `stop` ([`TEXT_STOP`], [`VALUE_STOP`] or [`ESCAPED`]).
pub(crate) fn plain_run(run: &[u8], stop: u8) -> usize {
    let (chunks, rest) = run.as_chunks::<32>();
    let mut passed = 0;
    for chunk in chunks {
        if has_special(chunk) {
            let plain = first_stop(chunk, stop);
            if plain < chunk.len() {
                return passed + plain;
            }
        }
        passed += chunk.len();
    }
    // What is left, if it is worth it in two chunks that overlap.
    let plain = rest.len() >= 16 && ends::<16>(rest);
    passed + if plain { rest.len() } else { first_stop(rest, stop) }
}

/// Whether the first and the last `N` bytes have none that could end a run.
fn ends<const N: usize>(run: &[u8]) -> bool {
    run.first_chunk::<N>().is_some_and(|chunk| !has_special(chunk))
        && run.last_chunk::<N>().is_some_and(|chunk| !has_special(chunk))
}

/// The character that begins at `at`, and its length in bytes. `bytes` must be valid UTF-8 there; what is not yields a character that
/// no class contains.
pub(crate) fn decode(bytes: &[u8], at: usize) -> (u32, usize) {
    let get = |i: usize| u32::from(bytes.get(at + i).copied().unwrap_or(0)) & 0x3F;
    let first = u32::from(bytes.get(at).copied().unwrap_or(0));
    match first {
        0..=0x7F => (first, 1),
        0xC0..=0xDF => ((first & 0x1F) << 6 | get(1), 2),
        0xE0..=0xEF => ((first & 0x0F) << 12 | get(1) << 6 | get(2), 3),
        0xF0..=0xF7 => ((first & 0x07) << 18 | get(1) << 12 | get(2) << 6 | get(3), 4),
        _ => (0, 1),
    }
}

/// Whether `name` is an `NCName` (Namespaces in XML §3).
pub(crate) fn is_ncname(name: &str) -> bool {
    let mut chars = name.chars();
    let starts = |c: char| match u8::try_from(c) {
        Ok(b) if b < 0x80 => CLASS[usize::from(b)] & NAME_START != 0,
        _ => is_name_start_wide(u32::from(c)),
    };
    let continues = |c: char| match u8::try_from(c) {
        Ok(b) if b < 0x80 => CLASS[usize::from(b)] & NAME != 0,
        _ => is_name_wide(u32::from(c)),
    };
    chars.next().is_some_and(starts) && chars.all(continues)
}
