//! Domainparts (RFC 7622 §3.2): IDNA2008 labels after the mapping of UTS 46, and addresses.

use std::borrow::Cow;
use std::net::Ipv6Addr;

use idna::AsciiDenyList;
use idna::uts46::{DnsLength, Hyphens, Uts46};

use super::{Ascii, Reason, precis};

const UTS46: Uts46 = Uts46::new();

/// The most octets of a name in DNS, without the root's dot (RFC 1034 §3.1).
const MAX_NAME: usize = 253;

/// The most octets of a label in DNS (RFC 1034 §3.1).
const MAX_LABEL: usize = 63;

/// Judges what is plainly an LDH name. Everything else, also an A-label, is left to [`prepare`].
pub(super) fn ascii(raw: &str) -> Ascii {
    let bytes = raw.as_bytes();
    if bytes.len() > MAX_NAME {
        return Ascii::No;
    }
    let mut verdict = Ascii::Same;
    let mut start = 0;
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'-' => {}
            b'A'..=b'Z' => verdict = Ascii::Lower,
            b'.' => {
                if label(&bytes[start..at]).is_err() {
                    return Ascii::No;
                }
                start = at + 1;
            }
            _ => return Ascii::No,
        }
    }
    if label(&bytes[start..]).is_err() { Ascii::No } else { verdict }
}

/// Checks length and hyphens of a label in its ASCII form; an A-label is an error here.
fn label(label: &[u8]) -> Result<(), Reason> {
    match label {
        [] => Err(Reason::EmptyLabel),
        _ if label.len() > MAX_LABEL => Err(Reason::LabelTooLong),
        [b'-', ..] | [.., b'-'] | [_, _, b'-', b'-', ..] => Err(Reason::Hyphen),
        _ => Ok(()),
    }
}

/// The whole procedure.
pub(super) fn prepare(raw: &str) -> Result<Cow<'_, str>, Reason> {
    if let Some(inner) = raw.strip_prefix('[') {
        return ipv6(inner.strip_suffix(']').ok_or(Reason::NotAnAddress)?).map(Cow::Owned);
    }
    // RFC 7622 §3.2: this one dot goes before everything else.
    let raw = raw.strip_suffix('.').unwrap_or(raw);
    match ascii(raw) {
        Ascii::Same => return Ok(Cow::Borrowed(raw)),
        Ascii::Lower => return Ok(Cow::Owned(raw.to_ascii_lowercase())),
        Ascii::No => {}
    }
    let (name, verdict) = UTS46.to_unicode(raw.as_bytes(), AsciiDenyList::EMPTY, Hyphens::Check);
    if verdict.is_err() {
        return Err(diagnose(raw));
    }
    check(&name)?;
    // UTS 46 is meant to be idempotent. An address that is not its own normal form would be two accounts.
    let (again, verdict) = UTS46.to_unicode(name.as_bytes(), AsciiDenyList::EMPTY, Hyphens::Check);
    if verdict.is_err() || again != name {
        return Err(Reason::Unstable);
    }
    Ok(name)
}

/// Checks the mapped name: LDH in ASCII, U-labels of IDNA2008 beyond (UTS 46 alone lets symbols through), and
/// the lengths of DNS.
fn check(name: &str) -> Result<(), Reason> {
    if name.is_empty() {
        return Err(Reason::Empty);
    }
    for part in name.split('.') {
        if part.is_empty() {
            return Err(Reason::EmptyLabel);
        }
        if let Some(found) = part.chars().find(|c| c.is_ascii() && !matches!(c, 'a'..='z' | '0'..='9' | '-'))
        {
            return Err(Reason::Disallowed(found));
        }
        if part.is_ascii() {
            label(part.as_bytes())?;
        } else {
            precis::identifier(part)?;
        }
    }
    let ascii = UTS46
        .to_ascii(name.as_bytes(), AsciiDenyList::EMPTY, Hyphens::Check, DnsLength::Ignore)
        .map_err(|_| Reason::NotIdna)?;
    if ascii.len() > MAX_NAME {
        return Err(Reason::TooLong);
    }
    if ascii.split('.').any(|label| label.len() > MAX_LABEL) {
        return Err(Reason::LabelTooLong);
    }
    Ok(())
}

/// Finds what UTS 46 disliked; it does not say.
fn diagnose(raw: &str) -> Reason {
    for part in raw.split('.') {
        if part.is_empty() {
            return Reason::EmptyLabel;
        }
        if let Some(found) = part.chars().find(|c| c.is_ascii() && !c.is_ascii_alphanumeric() && *c != '-') {
            return Reason::Disallowed(found);
        }
        let coded = part.get(..4).is_some_and(|head| head.eq_ignore_ascii_case("xn--"));
        if !coded
            && let Err(reason @ (Reason::Hyphen | Reason::LabelTooLong)) = label(part.as_bytes())
            && (part.is_ascii() || reason == Reason::Hyphen)
        {
            return reason;
        }
    }
    Reason::NotIdna
}

/// What stands between brackets: an address in the form of RFC 5952, perhaps with a zone (RFC 6874 §2).
fn ipv6(inner: &str) -> Result<String, Reason> {
    let (address, zone) = match inner.split_once("%25") {
        Some((address, zone)) => (address, Some(zone)),
        None => (inner, None),
    };
    let address: Ipv6Addr = address.parse().map_err(|_| Reason::NotAnAddress)?;
    match zone {
        None => Ok(format!("[{address}]")),
        Some(zone)
            if !zone.is_empty()
                && zone
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~')) =>
        {
            Ok(format!("[{address}%25{zone}]"))
        }
        Some(_) => Err(Reason::NotAnAddress),
    }
}

/// The A-labels of a domainpart, as DNS and TLS want it: lower-case ASCII without a dot at the end, at most 253
/// octets. An IPv4 address stays as it is. `None` for an IPv6 address, which is no name, and for a text that is
/// no domainpart.
pub fn to_ascii(domain: &str) -> Option<String> {
    let domain = super::domain(domain).ok()?;
    if domain.starts_with('[') {
        return None;
    }
    if domain.is_ascii() {
        return Some(domain.into_owned());
    }
    UTS46
        .to_ascii(domain.as_bytes(), AsciiDenyList::EMPTY, Hyphens::Check, DnsLength::Verify)
        .ok()
        .map(Cow::into_owned)
}
