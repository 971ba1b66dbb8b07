//! JIDs, the addresses of XMPP (RFC 7622).
//!
//! A [`Jid`] is always prepared and enforced: two addresses that RFC 7622 holds to be equal are equal here
//! octet by octet, so comparison, hashing and order work on the text alone. The localpart follows
//! UsernameCaseMapped, the resourcepart OpaqueString (RFC 8265), the domainpart IDNA2008 with the mapping of
//! UTS 46; domains are kept as U-labels, [`to_ascii`] gives what DNS and TLS want.

use std::borrow::{Borrow, Cow};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use memchr::memchr;

mod domain;
mod error;
mod precis;
#[cfg(test)]
mod tests;

pub use domain::to_ascii;
pub use error::{JidError, Part, Reason};

/// The most octets a part may have once it is prepared (RFC 7622 §3.1).
pub const MAX_PART: usize = 1023;

/// The most octets a part may have before preparation. Mapping shortens a text, fullwidth letters to a third, so this
/// is wider than [`MAX_PART`]; it bounds the work that a hostile address can ask for.
const MAX_RAW: usize = 4 * 1024;

/// An address: `[localpart@]domainpart[/resourcepart]`, prepared by RFC 7622.
///
/// Cloning shares the text.
#[derive(Clone)]
pub struct Jid {
    text: Arc<str>,
    /// Where the domainpart begins: 0 without localpart, else one past the `@`.
    domain: u16,
    /// Where the domainpart ends: the length of the text, or the place of the `/`.
    end: u16,
}

/// An address without resourcepart: `[localpart@]domainpart`, prepared by RFC 7622.
///
/// Cloning shares the text. Maps that are keyed by it can be asked with [`Jid::bare_str`].
#[derive(Clone)]
pub struct BareJid {
    text: Arc<str>,
    /// Where the domainpart begins: 0 without localpart, else one past the `@`.
    domain: u16,
}

/// How much of the preparation an ASCII part needs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ascii {
    /// Prepared already.
    Same,
    /// Lower-case it and it is prepared.
    Lower,
    /// It needs the whole procedure, or is wrong.
    No,
}

impl Ascii {
    const fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::No, _) | (_, Self::No) => Self::No,
            (Self::Lower, _) | (_, Self::Lower) => Self::Lower,
            (Self::Same, Self::Same) => Self::Same,
        }
    }
}

/// The parts of an unprepared address: localpart, domainpart, resourcepart.
fn split(input: &str) -> (Option<&str>, &str, Option<&str>) {
    // RFC 7622 §3.2: the first `/` goes before the first `@`, and both before any mapping.
    let (head, resource) = match memchr(b'/', input.as_bytes()) {
        Some(slash) => (&input[..slash], Some(&input[slash + 1..])),
        None => (input, None),
    };
    match memchr(b'@', head.as_bytes()) {
        Some(at) => (Some(&head[..at]), &head[at + 1..], resource),
        None => (None, head, resource),
    }
}

fn limit(part: Part, raw: &str) -> Result<(), JidError> {
    if raw.is_empty() {
        return Err(JidError::new(part, Reason::Empty));
    }
    if raw.len() > MAX_RAW {
        return Err(JidError::new(part, Reason::TooLong));
    }
    Ok(())
}

fn measured(part: Part, prepared: Cow<'_, str>) -> Result<Cow<'_, str>, JidError> {
    if prepared.is_empty() {
        return Err(JidError::new(part, Reason::Empty));
    }
    if prepared.len() > MAX_PART {
        return Err(JidError::new(part, Reason::TooLong));
    }
    Ok(prepared)
}

fn local(raw: &str) -> Result<Cow<'_, str>, JidError> {
    limit(Part::Local, raw)?;
    let prepared = match precis::local_ascii(raw) {
        Ascii::Same => Cow::Borrowed(raw),
        Ascii::Lower => Cow::Owned(raw.to_ascii_lowercase()),
        Ascii::No => precis::local(raw).map_err(|reason| JidError::new(Part::Local, reason))?,
    };
    measured(Part::Local, prepared)
}

fn resource(raw: &str) -> Result<Cow<'_, str>, JidError> {
    limit(Part::Resource, raw)?;
    let prepared = match precis::resource_ascii(raw) {
        Ascii::Same => Cow::Borrowed(raw),
        Ascii::Lower | Ascii::No => {
            precis::resource(raw).map_err(|reason| JidError::new(Part::Resource, reason))?
        }
    };
    measured(Part::Resource, prepared)
}

fn domain(raw: &str) -> Result<Cow<'_, str>, JidError> {
    limit(Part::Domain, raw)?;
    let prepared = match domain::ascii(raw) {
        Ascii::Same => Cow::Borrowed(raw),
        Ascii::Lower => Cow::Owned(raw.to_ascii_lowercase()),
        Ascii::No => domain::prepare(raw).map_err(|reason| JidError::new(Part::Domain, reason))?,
    };
    measured(Part::Domain, prepared)
}

/// Prepares and enforces a localpart (RFC 7622 §3.3, UsernameCaseMapped of RFC 8265 §3.3): 1 to 1023 octets.
///
/// # Errors
///
/// A text that is no localpart.
pub fn prepare_local(raw: &str) -> Result<String, JidError> {
    local(raw).map(Cow::into_owned)
}

/// Prepares and enforces a domainpart (RFC 7622 §3.2): U-labels in lower case without a dot at the end, an
/// IPv4 address, or an IPv6 address in brackets.
///
/// # Errors
///
/// A text that is no domainpart.
pub fn prepare_domain(raw: &str) -> Result<String, JidError> {
    domain(raw).map(Cow::into_owned)
}

/// Prepares and enforces a resourcepart (RFC 7622 §3.4, OpaqueString of RFC 8265 §4.2): 1 to 1023 octets.
///
/// # Errors
///
/// A text that is no resourcepart.
pub fn prepare_resource(raw: &str) -> Result<String, JidError> {
    resource(raw).map(Cow::into_owned)
}

/// A place in the text. Three parts of 1023 octets and two separators stay far below the type's limit.
fn place(at: usize) -> u16 {
    debug_assert!(at <= 3 * MAX_PART + 2);
    u16::try_from(at).unwrap_or(u16::MAX)
}

impl Jid {
    /// Parses `[localpart@]domainpart[/resourcepart]`, prepares and enforces every part (RFC 7622 §3).
    ///
    /// # Errors
    ///
    /// A text that is no JID.
    pub fn new(input: &str) -> Result<Self, JidError> {
        let (raw_local, raw_domain, raw_resource) = split(input);
        let fast = raw_local
            .map_or(Ascii::Same, precis::local_ascii)
            .and(domain::ascii(raw_domain))
            .and(raw_resource.map_or(Ascii::Same, precis::resource_ascii));
        if fast == Ascii::No {
            return Self::from_parts(raw_local, raw_domain, raw_resource);
        }
        let start = raw_local.map_or(0, |local| local.len() + 1);
        let end = start + raw_domain.len();
        let mut text: Arc<str> = Arc::from(input);
        if fast == Ascii::Lower
            && let Some(own) = Arc::get_mut(&mut text)
        {
            own[..end].make_ascii_lowercase();
        }
        Ok(Self { text, domain: place(start), end: place(end) })
    }

    /// Puts an address together from unprepared parts.
    ///
    /// # Errors
    ///
    /// A part that is wrong; an empty `Some("")` is wrong too.
    pub fn from_parts(local: Option<&str>, domain: &str, resource: Option<&str>) -> Result<Self, JidError> {
        let local = local.map(self::local).transpose()?;
        let domain = self::domain(domain)?;
        let resource = resource.map(self::resource).transpose()?;
        Ok(Self::assemble(local.as_deref(), &domain, resource.as_deref()))
    }

    fn assemble(local: Option<&str>, domain: &str, resource: Option<&str>) -> Self {
        let start = local.map_or(0, |local| local.len() + 1);
        let end = start + domain.len();
        let mut text = String::with_capacity(end + resource.map_or(0, |resource| resource.len() + 1));
        if let Some(local) = local {
            text.push_str(local);
            text.push('@');
        }
        text.push_str(domain);
        if let Some(resource) = resource {
            text.push('/');
            text.push_str(resource);
        }
        Self { text: Arc::from(text), domain: place(start), end: place(end) }
    }

    /// The localpart, if there is one.
    pub fn local(&self) -> Option<&str> {
        usize::from(self.domain).checked_sub(1).map(|at| &self.text[..at])
    }

    /// The domainpart: U-labels, or an address.
    pub fn domain(&self) -> &str {
        &self.text[usize::from(self.domain)..usize::from(self.end)]
    }

    /// The resourcepart, if there is one.
    pub fn resource(&self) -> Option<&str> {
        let end = usize::from(self.end);
        (end < self.text.len()).then(|| &self.text[end + 1..])
    }

    /// The whole address.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The address up to the resourcepart, without allocating; the text of [`Jid::bare`].
    pub fn bare_str(&self) -> &str {
        &self.text[..usize::from(self.end)]
    }

    /// The bare JID (RFC 6120 §1.4): this address without its resourcepart.
    pub fn bare(&self) -> BareJid {
        let text = if self.is_bare() { Arc::clone(&self.text) } else { Arc::from(self.bare_str()) };
        BareJid { text, domain: self.domain }
    }

    /// This address as a JID without resourcepart.
    pub fn to_bare_jid(self) -> Self {
        if self.is_bare() { self } else { self.bare().into() }
    }

    /// Whether there is no resourcepart.
    pub fn is_bare(&self) -> bool {
        usize::from(self.end) == self.text.len()
    }

    /// Whether there is a resourcepart.
    pub fn is_full(&self) -> bool {
        !self.is_bare()
    }

    /// Whether the address is a mere domainpart.
    pub fn is_domain(&self) -> bool {
        self.domain == 0 && self.is_bare()
    }

    /// This address with another resourcepart, prepared here.
    ///
    /// # Errors
    ///
    /// A text that is no resourcepart.
    pub fn with_resource(&self, resource: &str) -> Result<Self, JidError> {
        let resource = self::resource(resource)?;
        Ok(Self::assemble(self.local(), self.domain(), Some(&resource)))
    }
}

impl BareJid {
    /// Parses `[localpart@]domainpart`, prepares and enforces both (RFC 7622 §3).
    ///
    /// # Errors
    ///
    /// A text that is no JID, or one with a resourcepart.
    pub fn new(input: &str) -> Result<Self, JidError> {
        let jid = Jid::new(input)?;
        if jid.is_full() {
            return Err(JidError::new(Part::Resource, Reason::Unexpected));
        }
        Ok(Self { text: jid.text, domain: jid.domain })
    }

    /// Puts an address together from unprepared parts.
    ///
    /// # Errors
    ///
    /// A part that is wrong; an empty `Some("")` is wrong too.
    pub fn from_parts(local: Option<&str>, domain: &str) -> Result<Self, JidError> {
        let jid = Jid::from_parts(local, domain, None)?;
        Ok(Self { text: jid.text, domain: jid.domain })
    }

    /// The localpart, if there is one.
    pub fn local(&self) -> Option<&str> {
        usize::from(self.domain).checked_sub(1).map(|at| &self.text[..at])
    }

    /// The domainpart: U-labels, or an address.
    pub fn domain(&self) -> &str {
        &self.text[usize::from(self.domain)..]
    }

    /// The whole address.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether the address is a mere domainpart.
    pub fn is_domain(&self) -> bool {
        self.domain == 0
    }

    /// This address with a resourcepart, prepared here.
    ///
    /// # Errors
    ///
    /// A text that is no resourcepart.
    pub fn with_resource(&self, resource: &str) -> Result<Jid, JidError> {
        let resource = self::resource(resource)?;
        Ok(Jid::assemble(self.local(), self.domain(), Some(&resource)))
    }

    /// The same address as a [`Jid`]; shares the text.
    pub fn to_jid(&self) -> Jid {
        self.clone().into()
    }
}

impl From<BareJid> for Jid {
    fn from(bare: BareJid) -> Self {
        let end = place(bare.text.len());
        Self { text: bare.text, domain: bare.domain, end }
    }
}

impl From<&BareJid> for Jid {
    fn from(bare: &BareJid) -> Self {
        bare.to_jid()
    }
}

impl From<Jid> for BareJid {
    fn from(jid: Jid) -> Self {
        jid.bare()
    }
}

/// What follows from the text being all there is to compare.
macro_rules! compare_by_text {
    ($name:ident) => {
        impl PartialEq for $name {
            fn eq(&self, other: &Self) -> bool {
                self.text == other.text
            }
        }

        impl Eq for $name {}

        impl std::hash::Hash for $name {
            fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
                self.text.hash(state);
            }
        }

        impl PartialOrd for $name {
            fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
                Some(self.cmp(other))
            }
        }

        impl Ord for $name {
            fn cmp(&self, other: &Self) -> std::cmp::Ordering {
                self.text.cmp(&other.text)
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.text
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.text
            }
        }

        impl FromStr for $name {
            type Err = JidError;

            fn from_str(input: &str) -> Result<Self, JidError> {
                Self::new(input)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.text)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_tuple(stringify!($name)).field(&&*self.text).finish()
            }
        }
    };
}

compare_by_text!(Jid);
compare_by_text!(BareJid);

/// Asserts what must hold of every text, JID or not: for fuzzing.
///
/// # Panics
///
/// When an invariant is broken.
#[doc(hidden)]
pub fn check_invariants(input: &str) {
    for prepare in [prepare_local, prepare_domain, prepare_resource] {
        if let Ok(once) = prepare(input) {
            assert!((1..=MAX_PART).contains(&once.len()), "length of {once:?} from {input:?}");
            assert_eq!(prepare(&once).as_deref(), Ok(&*once), "preparing {input:?} twice");
        }
    }
    match Jid::new(input) {
        Ok(jid) => {
            let text = jid.to_string();
            let again = Jid::new(&text);
            assert_eq!(again.as_ref(), Ok(&jid), "parsing {input:?}, showing and parsing again");
            if let Ok(again) = again {
                assert_eq!(again.local(), jid.local());
                assert_eq!(again.domain(), jid.domain());
                assert_eq!(again.resource(), jid.resource());
            }
            assert_eq!(Jid::from_parts(jid.local(), jid.domain(), jid.resource()).as_ref(), Ok(&jid));
            assert_eq!(jid.bare().as_str(), jid.bare_str());
            assert_eq!(BareJid::new(jid.bare_str()), Ok(jid.bare()));
            assert_eq!(jid.clone().to_bare_jid(), jid.bare().into());
            if let Some(resource) = jid.resource() {
                assert_eq!(jid.bare().with_resource(resource).as_ref(), Ok(&jid));
            }
            match to_ascii(jid.domain()) {
                Some(ascii) => {
                    assert!(ascii.is_ascii() && ascii.len() <= 253, "A-labels {ascii:?} from {input:?}");
                    assert_eq!(prepare_domain(&ascii).as_deref(), Ok(jid.domain()));
                }
                None => assert!(jid.domain().starts_with('['), "no A-labels from {input:?}"),
            }
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}
