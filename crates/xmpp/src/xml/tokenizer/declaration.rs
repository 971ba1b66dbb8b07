//! The XML declaration (XML §2.8).

use crate::xml::chars::is_space;

/// What is wrong with an XML declaration.
pub(super) enum Wrong {
    /// It does not match the production, or names a version other than 1.0.
    Shape(&'static str),
    /// It names another encoding.
    Encoding,
}

/// Checks `<?xml ... ?>`, delimiters included.
pub(super) fn check(declaration: &[u8]) -> Result<(), Wrong> {
    let shape = Wrong::Shape("xml declaration");
    let inner = declaration.strip_prefix(b"<?xml").and_then(|rest| rest.strip_suffix(b"?>"));
    let Some(mut rest) = inner else { return Err(shape) };
    match pseudo_attribute(&mut rest, b"version") {
        Some(b"1.0") => {}
        Some(_) => return Err(Wrong::Shape("xml version is not 1.0")),
        None => return Err(shape),
    }
    let before = rest;
    match pseudo_attribute(&mut rest, b"encoding") {
        Some(name) if name.eq_ignore_ascii_case(b"utf-8") => {}
        Some([first, more @ ..])
            if first.is_ascii_alphabetic()
                && more.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-')) =>
        {
            return Err(Wrong::Encoding);
        }
        Some(_) => return Err(shape),
        None => rest = before,
    }
    let before = rest;
    // RFC 6120 §11.5 lets us ignore it.
    match pseudo_attribute(&mut rest, b"standalone") {
        Some(b"yes" | b"no") => {}
        Some(_) => return Err(shape),
        None => rest = before,
    }
    if rest.iter().all(|b| is_space(*b)) { Ok(()) } else { Err(shape) }
}

/// `S name S? '=' S? quoted`: the value. Advances `rest` beyond it.
fn pseudo_attribute<'a>(rest: &mut &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let trimmed = trim(rest);
    if trimmed.len() == rest.len() {
        return None;
    }
    let after = trim(trimmed.strip_prefix(name)?).strip_prefix(b"=")?;
    let (quote, value) = trim(after).split_first()?;
    if !matches!(quote, b'\'' | b'"') {
        return None;
    }
    let end = value.iter().position(|b| b == quote)?;
    let (value, after) = value.split_at_checked(end)?;
    *rest = after.get(1..)?;
    Some(value)
}

fn trim(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().position(|b| !is_space(*b)).unwrap_or(bytes.len());
    bytes.get(end..).unwrap_or_default()
}
