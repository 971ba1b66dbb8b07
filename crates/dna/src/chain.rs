//! Chains of certificates: built and checked by webpki, with the trust that the operator chose.
//!
//! The purpose that is asked for is serverAuth in both directions: public authorities no longer issue clientAuth, and a server that opens a stream
//! is a server still. A certificate without `extKeyUsage` is for everything (RFC 5280 §4.2.1.12).

use std::cell::RefCell;
use std::sync::Arc;

use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, TrustAnchor};
use webpki::{
    CertRevocationList, EndEntityCert, Error, ExpirationPolicy, KeyUsage, OwnedCertRevocationList,
    RevocationCheckDepth, RevocationOptionsBuilder, UnknownStatusPolicy, VerifiedPath,
    anchor_from_trusted_cert,
};

use crate::x509::{Facts, printable};
use crate::{Reason, Time, x509};

/// A chain of more certificates is not looked at: the work that it could cause grows with its factorial.
pub const MAX_CERTIFICATES: usize = 8;

/// Whom we trust: roots, and the revocation lists that they and their subordinates published.
#[derive(Clone, Debug, Default)]
pub struct Trust {
    anchors: Vec<Anchor>,
    lists: Vec<Arc<CertRevocationList<'static>>>,
    status_required: bool,
}

/// A certificate, or only a key, that is trusted by itself.
#[derive(Clone, Debug)]
pub(crate) struct Anchor {
    pub(crate) certificate: Option<CertificateDer<'static>>,
    anchor: TrustAnchor<'static>,
}

impl Anchor {
    pub(crate) fn of(certificate: &CertificateDer<'_>) -> Result<Self, Reason> {
        let anchor = anchor_from_trusted_cert(certificate)
            .map_err(|error| Reason::CertificateMalformed { detail: error.to_string() })?;
        Ok(Self { anchor: anchor.to_owned(), certificate: Some(certificate.clone().into_owned()) })
    }

    /// A `SubjectPublicKeyInfo` that may have issued this certificate.
    pub(crate) fn of_key(key: &[u8], issued: &CertificateDer<'_>) -> Option<Self> {
        let issued = EndEntityCert::try_from(issued).ok()?;
        // webpki takes the content of the key's SEQUENCE, as it takes the issuer's name.
        let anchor = TrustAnchor {
            subject: issued.issuer().into(),
            subject_public_key_info: x509::content(key)?.into(),
            name_constraints: None,
        };
        Some(Self { anchor: anchor.to_owned(), certificate: None })
    }
}

impl Trust {
    /// Trusts nobody.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Trusts this authority's certificate (DER). Its dates and purposes are not looked at; its name constraints are.
    ///
    /// # Errors
    /// [`Reason::CertificateMalformed`] when it is no certificate.
    pub fn add_anchor(&mut self, certificate: &CertificateDer<'_>) -> Result<(), Reason> {
        self.anchors.push(Anchor::of(certificate)?);
        Ok(())
    }

    /// Takes an issuer's revocation list (RFC 5280 §5): DER, or PEM (RFC 7468 §6), which may hold several. It counts for the certificates of that issuer only, and only until its `nextUpdate`;
    /// after that, the issuer's certificates are refused until there is a newer one.
    ///
    /// # Errors
    /// [`Reason::RevocationListUnusable`] when it is no list, or one of a kind that is not supported (indirect, delta).
    pub fn add_revocation_list(&mut self, list: &[u8]) -> Result<(), Reason> {
        let unusable = |detail: String| Reason::RevocationListUnusable { detail };
        // DER begins with a SEQUENCE, which no text does.
        let lists: Vec<_> = if list.first() == Some(&0x30) {
            vec![CertificateRevocationListDer::from(list.to_vec())]
        } else {
            let lists: Result<_, _> = CertificateRevocationListDer::pem_slice_iter(list).collect();
            lists.map_err(|error| unusable(error.to_string()))?
        };
        if lists.is_empty() {
            return Err(unusable("neither DER nor PEM of a revocation list".to_owned()));
        }
        // All or none: half of a file would look like all of it.
        let read = |list: &CertificateRevocationListDer<'_>| {
            let list =
                OwnedCertRevocationList::from_der(list).map_err(|error| unusable(error.to_string()))?;
            Ok(Arc::new(CertRevocationList::from(list)))
        };
        let lists: Vec<_> = lists.iter().map(read).collect::<Result<_, Reason>>()?;
        self.lists.extend(lists);
        Ok(())
    }

    /// Whether certificates are refused whose issuer has no revocation list here. Off at first.
    pub const fn require_revocation_lists(&mut self, required: bool) {
        self.status_required = required;
    }

    /// How many authorities are trusted.
    #[must_use]
    pub const fn anchors(&self) -> usize {
        self.anchors.len()
    }

    pub(crate) fn authorities(&self) -> &[Anchor] {
        &self.anchors
    }

    /// The same lists, not required, for chains that lead to other anchors.
    pub(crate) fn with_anchors(&self, anchors: Vec<Anchor>) -> Self {
        Self { anchors, lists: self.lists.clone(), status_required: false }
    }
}

/// A chain that was found to be valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Path {
    /// The issuers, from the peer's to the anchor. The anchor is missing where only its key is known.
    pub(crate) authorities: Vec<CertificateDer<'static>>,
    /// Which of the anchors it leads to.
    pub(crate) anchor: usize,
    /// The first `notAfter` of what the peer sent.
    pub(crate) not_after: Time,
}

/// What is asked before a path is taken: about its issuers, the anchor last, and which of the anchors that is.
pub(crate) type Accept<'a> = dyn Fn(&[CertificateDer<'static>], usize) -> bool + 'a;

/// Builds and checks a chain from the first certificate to one of the anchors of `trust`.
///
/// `extra` are more intermediate certificates. `accept` may decline a path that is valid; then others are tried, and if all are declined the
/// answer is `Ok(None)`.
///
/// # Errors
/// Why no path is valid. There may be several reasons: what an operator would want to hear first comes first.
pub(crate) fn verify(
    trust: &Trust,
    chain: &[CertificateDer<'static>],
    extra: &[CertificateDer<'static>],
    now: Time,
    accept: &Accept<'_>,
) -> Result<Option<Path>, Vec<Reason>> {
    let [leaf, rest @ ..] = chain else { return Err(vec![Reason::NoCertificate]) };
    if chain.len() > MAX_CERTIFICATES {
        return Err(vec![Reason::ChainTooLong { certificates: chain.len() }]);
    }
    let facts = Facts::of(leaf).map_err(|reason| vec![reason])?;
    let anchors: Vec<_> = trust.anchors.iter().map(|anchor| anchor.anchor.clone()).collect();
    // What cannot be read leads nowhere, and must not hide why nothing else does.
    let readable = |sent: &&CertificateDer<'static>| EndEntityCert::try_from(*sent).is_ok();
    let intermediates: Vec<_> = rest.iter().filter(readable).chain(extra).cloned().collect();
    let lists: Vec<_> = trust.lists.iter().map(Arc::as_ref).collect();
    let revocation = RevocationOptionsBuilder::new(&lists).ok().map(|options| {
        let unknown =
            if trust.status_required { UnknownStatusPolicy::Deny } else { UnknownStatusPolicy::Allow };
        options
            .with_depth(RevocationCheckDepth::Chain)
            .with_status_policy(unknown)
            .with_expiration_policy(ExpirationPolicy::Enforce)
            .build()
    });
    if trust.status_required && revocation.is_none() {
        return Err(vec![Reason::RevocationUnknown]);
    }
    let declined = RefCell::new(false);
    let taken = RefCell::new((Vec::new(), 0));
    let ask = |path: &VerifiedPath<'_>| {
        let (issuers, anchor) = issuers(path, trust);
        if accept(&issuers, anchor) {
            *taken.borrow_mut() = (issuers, anchor);
            Ok(())
        } else {
            *declined.borrow_mut() = true;
            Err(Error::UnknownIssuer)
        }
    };
    let checked = EndEntityCert::try_from(leaf).and_then(|parsed| {
        parsed
            .verify_for_usage(
                webpki::ALL_VERIFICATION_ALGS,
                &anchors,
                &intermediates,
                now.unix(),
                KeyUsage::server_auth(),
                revocation,
                Some(&ask),
            )
            .map(drop)
    });
    match checked {
        Ok(()) => {
            let (authorities, anchor) = taken.into_inner();
            let sent = authorities.iter().filter(|issuer| intermediates.contains(issuer));
            let ends = sent.filter_map(|issuer| Facts::of(issuer).ok()).map(|facts| facts.not_after);
            Ok(Some(Path { not_after: ends.fold(facts.not_after, Ord::min), authorities, anchor }))
        }
        Err(_) if *declined.borrow() => Ok(None),
        Err(error) => Err(explain(&error, &facts, now)),
    }
}

/// The issuers of a path, from the peer's to the anchor's own certificate where that is known, and which anchor it is.
fn issuers(path: &VerifiedPath<'_>, trust: &Trust) -> (Vec<CertificateDer<'static>>, usize) {
    let between = path.intermediate_certificates().map(|found| found.der().into_owned());
    let is = |known: &Anchor| known.anchor == *path.anchor();
    let index = trust.anchors.iter().position(is).unwrap_or(usize::MAX);
    let anchor = trust.anchors.get(index).and_then(|anchor| anchor.certificate.clone());
    (between.chain(anchor).collect(), index)
}

fn explain(error: &Error, facts: &Facts, now: Time) -> Vec<Reason> {
    let mut reasons = Vec::new();
    if facts.is_self_issued
        && matches!(
            error,
            Error::UnknownIssuer
                | Error::CaUsedAsEndEntity
                | Error::CertExpired { .. }
                | Error::CertNotValidYet { .. }
        )
    {
        reasons.push(Reason::SelfSigned { subject: facts.subject.clone() });
    }
    reasons.extend(facts.out_of_date(now));
    let other = match error {
        Error::CertExpired { .. }
        | Error::CertNotValidYet { .. }
        | Error::UnknownIssuer
        | Error::CaUsedAsEndEntity
            if !reasons.is_empty() =>
        {
            None
        }
        error => Some(reason(error, facts)),
    };
    reasons.extend(other);
    reasons
}

/// webpki's errors, named for operators.
fn reason(error: &Error, facts: &Facts) -> Reason {
    match error {
        Error::UnknownIssuer => Reason::UnknownIssuer { issuer: facts.issuer.clone() },
        Error::CertExpired { not_after, .. } => Reason::IssuerExpired { not_after: (*not_after).into() },
        Error::CertNotValidYet { not_before, .. } => {
            Reason::IssuerNotYetValid { not_before: (*not_before).into() }
        }
        Error::CaUsedAsEndEntity => Reason::AuthorityAsServer,
        Error::EndEntityUsedAsCa => Reason::IssuerNotAuthority,
        Error::RequiredEkuNotFoundContext(_) | Error::EmptyEkuExtension => {
            let present =
                if facts.purposes.is_empty() { "nothing".to_owned() } else { facts.purposes.join(", ") };
            Reason::WrongPurpose { present }
        }
        Error::InvalidSignatureForPublicKey => Reason::BadSignature,
        Error::UnsupportedSignatureAlgorithmContext(_)
        | Error::UnsupportedSignatureAlgorithmForPublicKeyContext(_)
        | Error::SignatureAlgorithmMismatch => Reason::UnsupportedSignature,
        Error::PathLenConstraintViolated => Reason::PathTooLong,
        Error::MaximumNameConstraintComparisonsExceeded
        | Error::MaximumPathBuildCallsExceeded
        | Error::MaximumPathDepthExceeded
        | Error::MaximumSignatureChecksExceeded => Reason::PathTooCostly,
        Error::NameConstraintViolation | Error::MalformedNameConstraint => Reason::NameConstrained,
        Error::UnsupportedCriticalExtension => Reason::CriticalExtension,
        Error::CertRevoked => Reason::Revoked,
        Error::UnknownRevocationStatus => Reason::RevocationUnknown,
        Error::CrlExpired { next_update, .. } => {
            Reason::RevocationListExpired { next_update: (*next_update).into() }
        }
        Error::InvalidCrlSignatureForPublicKey
        | Error::IssuerNotCrlSigner
        | Error::UnsupportedCrlSignatureAlgorithmContext(_)
        | Error::UnsupportedCrlSignatureAlgorithmForPublicKeyContext(_) => {
            Reason::RevocationListUnusable { detail: error.to_string() }
        }
        Error::BadDer | Error::BadDerTime | Error::InvalidCertValidity | Error::MalformedExtensions => {
            Reason::CertificateMalformed { detail: error.to_string() }
        }
        other => Reason::ChainInvalid { detail: printable(&other.to_string()) },
    }
}
