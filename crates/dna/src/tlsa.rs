//! TLSA records: reading, matching, and what to publish for own certificates (RFC 6698, RFC 7671).

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use sha2::{Digest as _, Sha256, Sha512};

use crate::dns::tlsa_owner;
use crate::{Domain, x509};

/// One TLSA record as it stands in DNS, usable or not (RFC 6698 §2.1).
///
/// Its text form is that of zone files: `3 1 1 0123...` (RFC 6698 §2.2).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tlsa {
    /// Certificate usage; see [`Usage`].
    pub usage: u8,
    /// Selector; see [`Selector`].
    pub selector: u8,
    /// Matching type; see [`Matching`].
    pub matching: u8,
    /// Certificate association data.
    pub data: Vec<u8>,
}

/// What a record says of the certificate that it matches (RFC 6698 §2.1.1, names of RFC 7218).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Usage {
    /// 0: a trusted chain goes through this authority.
    PkixTa = 0,
    /// 1: this server certificate, by a trusted chain.
    PkixEe = 1,
    /// 2: this authority, trusted or not.
    DaneTa = 2,
    /// 3: this server certificate or key, whatever else it says.
    DaneEe = 3,
}

/// Which part of a certificate is matched (RFC 6698 §2.1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Selector {
    /// 0: the whole certificate.
    Cert = 0,
    /// 1: its `SubjectPublicKeyInfo`.
    Spki = 1,
}

/// How that part is matched (RFC 6698 §2.1.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Matching {
    /// 0: byte for byte.
    Full = 0,
    /// 1: by SHA-256.
    Sha256 = 1,
    /// 2: by SHA-512.
    Sha512 = 2,
}

/// Why a record cannot be used (RFC 6698 §4.1, RFC 7671 §9).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// The usage is not one of 0 to 3.
    #[error("unknown usage {0}")]
    Usage(u8),
    /// The selector is not 0 or 1.
    #[error("unknown selector {0}")]
    Selector(u8),
    /// The matching type is not 0, 1 or 2.
    #[error("unknown matching type {0}")]
    Matching(u8),
    /// A digest of the wrong length.
    #[error("a digest of {0} octets")]
    Length(usize),
    /// Full data that is no certificate, or no key.
    #[error("data that is no certificate or key")]
    Data,
}

/// Why a text or rdata is no TLSA record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a TLSA record")]
pub struct BadTlsa;

/// A record that can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Association<'a> {
    pub(crate) usage: Usage,
    pub(crate) selector: Selector,
    pub(crate) matching: Matching,
    pub(crate) data: &'a [u8],
}

impl Tlsa {
    /// Reads the rdata of a record: three octets, then the data (RFC 6698 §2.1).
    ///
    /// # Errors
    /// When it is shorter than that, or without data.
    pub fn from_rdata(rdata: &[u8]) -> Result<Self, BadTlsa> {
        match rdata {
            [usage, selector, matching, data @ ..] if !data.is_empty() => {
                Ok(Self { usage: *usage, selector: *selector, matching: *matching, data: data.to_vec() })
            }
            _ => Err(BadTlsa),
        }
    }

    /// The rdata of the record.
    #[must_use]
    pub fn to_rdata(&self) -> Vec<u8> {
        let mut rdata = vec![self.usage, self.selector, self.matching];
        rdata.extend_from_slice(&self.data);
        rdata
    }

    /// The record that matches this certificate. For usages [`Usage::PkixTa`] and [`Usage::DaneTa`] it is the authority's certificate.
    ///
    /// # Errors
    /// When the bytes are no certificate.
    pub fn of(
        usage: Usage,
        selector: Selector,
        matching: Matching,
        certificate: &[u8],
    ) -> Result<Self, BadTlsa> {
        let spki = x509::spki(certificate).map_err(|_| BadTlsa)?;
        let selected = match selector {
            Selector::Cert => certificate,
            Selector::Spki => &spki,
        };
        let data = digest(matching, selected);
        Ok(Self { usage: usage as u8, selector: selector as u8, matching: matching as u8, data })
    }

    /// Whether the record can be used at all.
    ///
    /// # Errors
    /// What is wrong with it. Such a record is treated as if it were not there (RFC 6698 §4.1).
    pub fn usable(&self) -> Result<(), Unusable> {
        self.association().map(drop)
    }

    /// Whether the record matches this certificate, whatever its usage. A record that is not usable matches nothing.
    #[must_use]
    pub fn matches(&self, certificate: &[u8]) -> bool {
        self.association().is_ok_and(|association| association.matches(certificate))
    }

    pub(crate) fn association(&self) -> Result<Association<'_>, Unusable> {
        let usage = match self.usage {
            0 => Usage::PkixTa,
            1 => Usage::PkixEe,
            2 => Usage::DaneTa,
            3 => Usage::DaneEe,
            other => return Err(Unusable::Usage(other)),
        };
        let selector = match self.selector {
            0 => Selector::Cert,
            1 => Selector::Spki,
            other => return Err(Unusable::Selector(other)),
        };
        let matching = match self.matching {
            0 => Matching::Full,
            1 => Matching::Sha256,
            2 => Matching::Sha512,
            other => return Err(Unusable::Matching(other)),
        };
        let data = self.data.as_slice();
        let good = match (matching, selector) {
            (Matching::Sha256, _) => data.len() == 32,
            (Matching::Sha512, _) => data.len() == 64,
            (Matching::Full, Selector::Cert) => x509::spki(data).is_ok(),
            (Matching::Full, Selector::Spki) => x509::is_spki(data),
        };
        match (good, matching) {
            (true, _) => Ok(Association { usage, selector, matching, data }),
            (false, Matching::Full) => Err(Unusable::Data),
            (false, _) => Err(Unusable::Length(data.len())),
        }
    }
}

impl Association<'_> {
    pub(crate) fn matches(&self, certificate: &[u8]) -> bool {
        match self.selector {
            Selector::Cert => self.matches_selected(certificate),
            Selector::Spki => x509::spki(certificate).is_ok_and(|spki| self.matches_selected(&spki)),
        }
    }

    fn matches_selected(&self, selected: &[u8]) -> bool {
        match self.matching {
            Matching::Full => self.data == selected,
            Matching::Sha256 => self.data == Sha256::digest(selected).as_slice(),
            Matching::Sha512 => self.data == Sha512::digest(selected).as_slice(),
        }
    }
}

/// The records that count: of each usage and selector the full ones and those of the strongest digest (RFC 7671 §9). The order of the records is
/// kept. Second, why the others do not, when no record can be used.
pub(crate) fn usable(records: &[Tlsa]) -> (Vec<Association<'_>>, Option<Unusable>) {
    let mut first_problem = None;
    let all: Vec<_> = records
        .iter()
        .filter_map(|record| {
            record.association().map_err(|problem| first_problem.get_or_insert(problem).to_owned()).ok()
        })
        .collect();
    let strongest = |of: &Association<'_>| {
        let same = all.iter().filter(|other| (other.usage, other.selector) == (of.usage, of.selector));
        same.map(|other| other.matching).max()
    };
    let kept: Vec<_> = all
        .iter()
        .filter(|one| one.matching == Matching::Full || Some(one.matching) == strongest(one))
        .copied()
        .collect();
    let problem = if kept.is_empty() { first_problem } else { None };
    (kept, problem)
}

fn digest(matching: Matching, selected: &[u8]) -> Vec<u8> {
    match matching {
        Matching::Full => selected.to_vec(),
        Matching::Sha256 => Sha256::digest(selected).to_vec(),
        Matching::Sha512 => Sha512::digest(selected).to_vec(),
    }
}

impl fmt::Display for Tlsa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {} ", self.usage, self.selector, self.matching)?;
        self.data.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for Tlsa {
    type Err = BadTlsa;

    /// The text form; white space within the hexadecimal digits is skipped (RFC 6698 §2.2).
    fn from_str(text: &str) -> Result<Self, BadTlsa> {
        let mut words = text.split_ascii_whitespace();
        let mut number = || {
            let word = words.next().filter(|word| word.bytes().all(|b| b.is_ascii_digit())).ok_or(BadTlsa)?;
            word.parse::<u8>().map_err(|_| BadTlsa)
        };
        let (usage, selector, matching) = (number()?, number()?, number()?);
        let mut data = Vec::new();
        let mut half = None;
        for digit in words.flat_map(str::chars) {
            let digit = digit.to_digit(16).and_then(|digit| u8::try_from(digit).ok()).ok_or(BadTlsa)?;
            match half.take() {
                None => half = Some(digit),
                Some(high) => data.push(high << 4 | digit),
            }
        }
        if half.is_some() || data.is_empty() {
            return Err(BadTlsa);
        }
        Ok(Self { usage, selector, matching, data })
    }
}

/// What to publish: a TLSA record at each endpoint for each certificate, as lines of a zone file.
///
/// The records are `3 1 1`: they match the key, so that renewing a certificate with the same key changes nothing (RFC 7671 §5.1). Give the certificate
/// in use first and the next one beside it before it is used (RFC 7671 §8.1). Certificates of the same key make one line.
///
/// # Errors
/// When a certificate cannot be read.
pub fn publish(endpoints: &[(Domain, u16)], ttl: u32, certificates: &[&[u8]]) -> Result<String, BadTlsa> {
    let mut zone = String::new();
    for (host, port) in endpoints {
        let mut seen = BTreeSet::new();
        for certificate in certificates {
            let record = Tlsa::of(Usage::DaneEe, Selector::Spki, Matching::Sha256, certificate)?;
            if seen.insert(record.clone()) {
                zone.push_str(&format!("{}. {ttl} IN TLSA {record}\n", tlsa_owner(host, *port)));
            }
        }
    }
    Ok(zone)
}
