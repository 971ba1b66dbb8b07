//! Reading certificates, as far as no chain is needed.
//!
//! Keys are taken from the parser that checks signatures (webpki), so that a record about a key is about the key that TLS used. Names that webpki does
//! not know (`SRVName`, `XmppAddr`) come from x509-parser.

use rustls_pki_types::CertificateDer;
use sha2::{Digest as _, Sha256};
use webpki::EndEntityCert;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{GeneralName, NameConstraints, ParsedExtension};
use x509_parser::prelude::FromDer as _;
use x509_parser::x509::SubjectPublicKeyInfo;

use crate::{Domain, Reason, Time};

/// `id-on-xmppAddr`, as the octets of its DER (RFC 6120 §13.7.1.4).
const XMPP_ADDR: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 8, 5];

/// `id-on-dnsSRV` (RFC 4985 §2).
const SRV_NAME: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 8, 7];

const UTF8_STRING: u8 = 0x0c;
const IA5_STRING: u8 = 0x16;
const EXPLICIT_0: u8 = 0xa0;

fn malformed(detail: &str) -> Reason {
    Reason::CertificateMalformed { detail: detail.to_owned() }
}

/// The `SubjectPublicKeyInfo` of a certificate, tag and length included.
pub(crate) fn spki(certificate: &[u8]) -> Result<Vec<u8>, Reason> {
    let der = CertificateDer::from(certificate);
    let certificate = EndEntityCert::try_from(&der).map_err(|error| malformed(&error.to_string()))?;
    Ok(certificate.subject_public_key_info().to_vec())
}

/// Whether these bytes are a `SubjectPublicKeyInfo` and nothing else.
pub(crate) fn is_spki(der: &[u8]) -> bool {
    SubjectPublicKeyInfo::from_der(der).is_ok_and(|(rest, _)| rest.is_empty())
}

/// The SHA-256 fingerprint of a certificate, in lower-case hexadecimal digits.
pub(crate) fn fingerprint(certificate: &[u8]) -> String {
    hex(Sha256::digest(certificate).as_slice())
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What a certificate says of itself, whoever signed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(crate) subject: String,
    pub(crate) issuer: String,
    pub(crate) is_self_issued: bool,
    pub(crate) not_before: Time,
    pub(crate) not_after: Time,
    /// `basicConstraints`: whether this is an authority, and how many authorities may follow it.
    pub(crate) authority: Option<Option<u32>>,
    pub(crate) purposes: Vec<String>,
}

pub(crate) fn parse(certificate: &[u8]) -> Result<X509Certificate<'_>, Reason> {
    match X509Certificate::from_der(certificate) {
        Ok(([], parsed)) => Ok(parsed),
        Ok(_) => Err(malformed("octets follow it")),
        Err(_) => Err(malformed("it is not DER of X.509")),
    }
}

impl Facts {
    pub(crate) fn of(certificate: &[u8]) -> Result<Self, Reason> {
        let parsed = parse(certificate)?;
        let time = |time: x509_parser::time::ASN1Time| {
            Time::from_secs(u64::try_from(time.timestamp()).unwrap_or_default())
        };
        let constraints =
            parsed.basic_constraints().map_err(|_| malformed("basicConstraints cannot be read"))?;
        let authority =
            constraints.filter(|found| found.value.ca).map(|found| found.value.path_len_constraint);
        Ok(Self {
            subject: name(parsed.subject()),
            issuer: name(parsed.issuer()),
            is_self_issued: parsed.subject().as_raw() == parsed.issuer().as_raw(),
            not_before: time(parsed.validity().not_before),
            not_after: time(parsed.validity().not_after),
            authority,
            purposes: purposes(&parsed),
        })
    }

    /// Why the certificate is not valid at this time.
    pub(crate) fn out_of_date(&self, now: Time) -> Option<Reason> {
        if now > self.not_after {
            Some(Reason::CertificateExpired { not_after: self.not_after })
        } else if now < self.not_before {
            Some(Reason::CertificateNotYetValid { not_before: self.not_before })
        } else {
            None
        }
    }
}

fn name(name: &x509_parser::x509::X509Name<'_>) -> String {
    let shown = name.to_string();
    if shown.is_empty() { "(no name)".to_owned() } else { printable(&shown) }
}

fn purposes(parsed: &X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(usage)) = parsed.extended_key_usage() else { return Vec::new() };
    let usage = usage.value;
    let known = [
        (usage.any, "any"),
        (usage.server_auth, "serverAuth"),
        (usage.client_auth, "clientAuth"),
        (usage.code_signing, "codeSigning"),
        (usage.email_protection, "emailProtection"),
        (usage.time_stamping, "timeStamping"),
        (usage.ocsp_signing, "OCSPSigning"),
    ];
    let named = known.iter().filter(|(is, _)| *is).map(|(_, name)| (*name).to_owned());
    named.chain(usage.other.iter().take(8).map(ToString::to_string)).collect()
}

/// Text of a peer, fit for a log line: control characters and other scripts' tricks are replaced, and it ends after 200 characters.
pub(crate) fn printable(text: &str) -> String {
    text.chars().take(200).map(|c| if c.is_ascii_graphic() || c == ' ' { c } else { '\u{fffd}' }).collect()
}

/// The names that a certificate presents (RFC 9525 §2), as they stand in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Presented {
    /// DNS-IDs: `dNSName`, maybe with a wildcard.
    pub(crate) dns: Vec<String>,
    /// SRV-IDs: `_service.domain`.
    pub(crate) srv: Vec<String>,
    /// `XmppAddr`.
    pub(crate) xmpp: Vec<String>,
    /// Common names of the subject. They prove nothing (RFC 9525 §2), but they explain.
    pub(crate) common: Vec<String>,
}

impl Presented {
    pub(crate) fn of(certificate: &[u8]) -> Result<Self, Reason> {
        let parsed = parse(certificate)?;
        let mut names = Self::default();
        let alternatives =
            parsed.subject_alternative_name().map_err(|_| malformed("subjectAltName cannot be read"))?;
        for general in alternatives.iter().flat_map(|found| &found.value.general_names) {
            match general {
                GeneralName::DNSName(name) => names.dns.push((*name).to_owned()),
                GeneralName::OtherName(kind, value) => match kind.as_bytes() {
                    SRV_NAME => names.srv.extend(text(value, IA5_STRING)),
                    XMPP_ADDR => names.xmpp.extend(text(value, UTF8_STRING)),
                    _ => {}
                },
                _ => {}
            }
        }
        let common = parsed.subject().iter_common_name();
        names.common = common.filter_map(|name| name.as_str().ok()).map(str::to_owned).collect();
        Ok(names)
    }
}

/// The text in an `otherName`'s value: `[0] EXPLICIT` around a string of this tag, and nothing else.
fn text(value: &[u8], tag: u8) -> Option<String> {
    let (inner, rest) = element(value, EXPLICIT_0)?;
    let (text, after) = element(inner, tag)?;
    let plain = rest.is_empty() && after.is_empty() && (tag != IA5_STRING || text.is_ascii());
    std::str::from_utf8(text).ok().filter(|_| plain).map(str::to_owned)
}

/// The content of the DER element of this tag at the beginning, and what follows it. Lengths of up to two octets: no name is longer.
fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (found, rest) = der.split_first()?;
    let (length, rest) = match rest {
        [short @ 0..=0x7f, rest @ ..] => (usize::from(*short), rest),
        [0x81, length @ 0x80..=0xff, rest @ ..] => (usize::from(*length), rest),
        [0x82, high @ 1..=0xff, low, rest @ ..] => (usize::from(u16::from_be_bytes([*high, *low])), rest),
        _ => return None,
    };
    rest.split_at_checked(length).filter(|_| *found == tag)
}

/// Whether a certificate authority's name constraints allow this name as a `dNSName` (RFC 5280 §4.2.1.10).
///
/// Chains are checked for their `dNSName`s by webpki. The domains of `SRVName` and `XmppAddr` have no constraints of their own there, and an authority that is
/// held to some domains must not reach others through them.
pub(crate) fn permits(authority: &[u8], name: &Domain) -> bool {
    let Ok(parsed) = parse(authority) else { return false };
    for extension in parsed.extensions() {
        match extension.parsed_extension() {
            ParsedExtension::NameConstraints(constraints) if !allowed(constraints, name) => return false,
            ParsedExtension::ParseError { .. } => return false,
            _ => {}
        }
    }
    true
}

fn allowed(constraints: &NameConstraints<'_>, name: &Domain) -> bool {
    let covers = |base: &GeneralName<'_>| match base {
        GeneralName::DNSName(base) => {
            let base = base.to_ascii_lowercase();
            base.is_empty() || name.is_within(base.strip_prefix('.').unwrap_or(&base))
        }
        _ => false,
    };
    let permitted = constraints.permitted_subtrees.as_deref().unwrap_or_default();
    let mut held = permitted.iter().filter(|tree| matches!(tree.base, GeneralName::DNSName(_))).peekable();
    let excluded = constraints.excluded_subtrees.as_deref().unwrap_or_default();
    (held.peek().is_none() || held.any(|tree| covers(&tree.base)))
        && !excluded.iter().any(|tree| covers(&tree.base))
}

/// The content of the DER SEQUENCE that these bytes are.
pub(crate) fn content(der: &[u8]) -> Option<&[u8]> {
    element(der, 0x30).filter(|(_, rest)| rest.is_empty()).map(|(content, _)| content)
}
