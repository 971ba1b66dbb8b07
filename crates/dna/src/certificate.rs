//! What a certificate says of itself, for whoever explains a judgement.

use crate::names::Identifier;
use crate::x509::{Facts, Presented, fingerprint};
use crate::{Reason, Time};

/// What a certificate says of itself. Nothing of it is proven by standing there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// The subject's name, fit to be shown.
    pub subject: String,
    /// The issuer's name, fit to be shown.
    pub issuer: String,
    /// Whether subject and issuer are the same.
    pub is_self_issued: bool,
    /// When its validity begins.
    pub not_before: Time,
    /// When its validity ends.
    pub not_after: Time,
    /// Whether it is an authority's (`basicConstraints`).
    pub is_authority: bool,
    /// The names that count for domains (RFC 9525 §2, RFC 6120 §13.7.1.2), as they stand in it.
    pub names: Vec<Identifier>,
    /// The common names of the subject, which do not count.
    pub common_names: Vec<String>,
    /// What `extKeyUsage` allows: `serverAuth` and so on, or object identifiers. Empty where everything is allowed.
    pub purposes: Vec<String>,
    /// SHA-256 of the whole, in hexadecimal digits.
    pub fingerprint: String,
}

impl Certificate {
    /// Reads a certificate (DER).
    ///
    /// # Errors
    /// [`Reason::CertificateMalformed`].
    pub fn read(der: &[u8]) -> Result<Self, Reason> {
        let facts = Facts::of(der)?;
        let presented = Presented::of(der)?;
        Ok(Self {
            names: presented.identifiers(),
            common_names: presented.common,
            subject: facts.subject,
            issuer: facts.issuer,
            is_self_issued: facts.is_self_issued,
            not_before: facts.not_before,
            not_after: facts.not_after,
            is_authority: facts.authority.is_some(),
            purposes: facts.purposes,
            fingerprint: fingerprint(der),
        })
    }
}
