//! Why something was not proven: codes for machines, words for operators.

use std::fmt;

use crate::dns::LookupFailure;
use crate::{Domain, Time};

macro_rules! reasons {
    ($($(#[$doc:meta])+ $name:ident $({ $($field:ident : $type:ty),+ })? => $code:literal, $text:literal;)+) => {
        /// Why a prooftype did not prove a claim, or why policy refused it.
        ///
        /// [`code`](Self::code) is stable and for machines; `Display` is a lower-case fragment for operators.
        #[derive(Clone, Debug, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum Reason {
            $($(#[$doc])+ $name $({ $(#[doc = concat!("What the text calls `", stringify!($field), "`.")] $field: $type),+ })?,)+
        }

        impl Reason {
            /// Every code with its text for operators, in the same order; what stands in braces is filled in.
            pub const TEXTS: &'static [(&'static str, &'static str)] = &[$(($code, $text)),+];

            /// The stable machine-readable name: kebab-case, never reused for another meaning.
            #[must_use]
            pub const fn code(&self) -> &'static str {
                match self {
                    $(Self::$name { .. } => $code,)+
                }
            }
        }

        impl fmt::Display for Reason {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    $(Self::$name $({ $($field),+ })? => write!(f, $text),)+
                }
            }
        }
    };
}

reasons! {
    // --- the stream and its certificates (RFC 6120 §13.7.1, RFC 5280) ---
    /// Certificates need TLS.
    NoTls => "no-tls", "the stream is not encrypted, so no certificate was seen";
    /// TLS without a certificate of the peer.
    NoCertificate => "no-certificate", "the peer presented no certificate";
    /// More certificates than a chain has.
    ChainTooLong { certificates: usize } => "chain-too-long", "the peer sent {certificates} certificates, more than are looked at";
    /// Bytes that are no certificate, or one that breaks RFC 5280.
    CertificateMalformed { detail: String } => "certificate-malformed", "a certificate cannot be read: {detail}";
    /// The certificate is its own issuer.
    SelfSigned { subject: String } => "self-signed", "the certificate of {subject} is signed by itself";
    /// No chain to a trusted root.
    UnknownIssuer { issuer: String } => "unknown-issuer", "no trusted authority stands behind the issuer {issuer}, or the peer left out an intermediate certificate";
    /// No root is trusted.
    NoTrustAnchors => "no-trust-anchors", "no certificate authority is trusted here";
    /// `notAfter` has passed.
    CertificateExpired { not_after: Time } => "certificate-expired", "the certificate expired at {not_after}";
    /// `notBefore` has not come.
    CertificateNotYetValid { not_before: Time } => "certificate-not-yet-valid", "the certificate is valid only from {not_before}";
    /// A certificate above the peer's has expired.
    IssuerExpired { not_after: Time } => "issuer-expired", "a certificate of the issuer expired at {not_after}";
    /// A certificate above the peer's is not valid yet.
    IssuerNotYetValid { not_before: Time } => "issuer-not-yet-valid", "a certificate of the issuer is valid only from {not_before}";
    /// `extKeyUsage` without serverAuth.
    WrongPurpose { present: String } => "wrong-purpose", "the certificate is not for servers (extKeyUsage holds {present}, not serverAuth)";
    /// A signature in the chain is wrong.
    BadSignature => "bad-signature", "a signature in the certificate chain is wrong";
    /// A signature by an algorithm that is not accepted.
    UnsupportedSignature => "unsupported-signature", "the certificate chain is signed by an algorithm that is not accepted";
    /// A certificate authority's own certificate, used by a server.
    AuthorityAsServer => "authority-as-server", "the peer presented a certificate authority's certificate as its own";
    /// An issuer that may not issue.
    IssuerNotAuthority => "issuer-not-authority", "a certificate in the chain was issued by one that is no authority";
    /// `pathLenConstraint`.
    PathTooLong => "path-too-long", "the chain is longer than one of its authorities allows";
    /// More work than any honest chain needs.
    PathTooCostly => "path-too-costly", "checking the certificate chain takes more work than any honest one needs";
    /// `nameConstraints`.
    NameConstrained => "name-constrained", "the issuer may not issue certificates for this name";
    /// A critical extension that nobody here understands.
    CriticalExtension => "critical-extension", "a certificate has a critical extension that is not understood";
    /// The chain fails for a reason without a code of its own.
    ChainInvalid { detail: String } => "chain-invalid", "the certificate chain is not valid: {detail}";
    /// On a revocation list.
    Revoked => "revoked", "a certificate of the chain is on its issuer's revocation list";
    /// Revocation lists are required and there is none.
    RevocationUnknown => "revocation-unknown", "there is no revocation list of the issuer, and policy requires one";
    /// A revocation list that should have been replaced.
    RevocationListExpired { next_update: Time } => "revocation-list-expired", "the issuer's revocation list should have been replaced at {next_update}";
    /// A revocation list that cannot be used.
    RevocationListUnusable { detail: String } => "revocation-list-unusable", "the issuer's revocation list cannot be used: {detail}";
    /// The certificate is for other names.
    NameMismatch { wanted: String, presented: String } => "name-mismatch", "the certificate is for {presented}, not for {wanted}";
    /// The name stands in the subject only.
    NameOnlyInSubject { name: String } => "name-only-in-subject", "the certificate holds {name} in its subject only; it must be a subjectAltName";
    /// A wildcard that is not the whole left-most label.
    BadWildcard { presented: String } => "bad-wildcard", "{presented} would match, but a wildcard must be the whole left-most label";
    /// Another certificate than the one that the operator pinned.
    PinMismatch { found: String } => "pin-mismatch", "the certificate (SHA-256 {found}) is not one that is pinned for this peer";
    /// No pin for this peer.
    NotPinned => "not-pinned", "no certificate is pinned for this peer";

    // --- secure delegation and DANE (RFC 7673, RFC 7671) ---
    /// There is no validated answer at all.
    DnsNotValidated => "dns-not-validated", "DNS was not asked by a validating resolver";
    /// The rule for this peer leaves DANE out.
    DaneIgnored => "dane-ignored", "the rule for this peer ignores DANE";
    /// SRV records with a bad signature.
    SrvBogus { owner: String } => "srv-bogus", "the signature on the SRV records of {owner} is wrong";
    /// SRV records of which nobody knows whether they should be signed.
    SrvIndeterminate { owner: String } => "srv-indeterminate", "it cannot be found out whether the SRV records of {owner} should be signed";
    /// No answer about SRV.
    SrvFailed { owner: String, failure: LookupFailure } => "srv-failed", "the lookup of the SRV records of {owner} {failure}";
    /// SRV records in a zone without signatures.
    SrvInsecure { owner: String } => "srv-insecure", "the SRV records of {owner} are not signed";
    /// Neither endpoint nor SRV record.
    NoEndpoint => "no-endpoint", "DNS names no host for this service";
    /// A host that the SRV records do not name.
    EndpointNotDelegated { host: Domain, port: u16 } => "endpoint-not-delegated", "no signed record names {host}:{port} for this service";
    /// No signed SRV record that leads to another host.
    NotDelegated => "not-delegated", "no signed SRV record delegates this domain to another host";
    /// Addresses with a bad signature.
    AddressBogus { host: Domain } => "address-bogus", "the signature on the addresses of {host} is wrong";
    /// Addresses of which nobody knows whether they should be signed.
    AddressIndeterminate { host: Domain } => "address-indeterminate", "it cannot be found out whether the addresses of {host} should be signed";
    /// No answer about addresses.
    AddressFailed { host: Domain, failure: LookupFailure } => "address-failed", "the lookup of the addresses of {host} {failure}";
    /// Addresses in a zone without signatures.
    AddressInsecure { host: Domain } => "address-insecure", "the addresses of {host} are not signed, so it can have no TLSA records";
    /// A host without addresses.
    AddressAbsent { host: Domain } => "address-absent", "{host} has no address";
    /// The question was left out although it had to be asked.
    TlsaNotAsked { owner: String } => "tlsa-not-asked", "the TLSA records of {owner} were not asked for";
    /// TLSA records with a bad signature.
    TlsaBogus { owner: String } => "tlsa-bogus", "the signature on the TLSA records of {owner} is wrong";
    /// TLSA records of which nobody knows whether they should be signed.
    TlsaIndeterminate { owner: String } => "tlsa-indeterminate", "it cannot be found out whether the TLSA records of {owner} should be signed";
    /// No answer about TLSA.
    TlsaFailed { owner: String, failure: LookupFailure } => "tlsa-failed", "the lookup of the TLSA records of {owner} {failure}";
    /// TLSA records in a zone without signatures.
    TlsaInsecure { owner: String } => "tlsa-insecure", "the TLSA records of {owner} are not signed";
    /// Proven: no TLSA records.
    TlsaAbsent { owner: String } => "tlsa-absent", "there are no TLSA records at {owner}";
    /// Only records that nobody can use.
    TlsaUnusable { owner: String, detail: String } => "tlsa-unusable", "no TLSA record at {owner} can be used: {detail}";
    /// TLSA records promise TLS.
    TlsaRequiresTls { owner: String } => "tlsa-requires-tls", "{owner} has TLSA records, which promise TLS, but the stream is not encrypted";
    /// The certificate is none of those.
    TlsaMismatch { owner: String, records: usize } => "tlsa-mismatch", "the certificate matches none of the {records} usable TLSA records at {owner}";
    /// A record matches an authority, but the certificate under it is for other names.
    TlsaNameMismatch { owner: String, wanted: String, presented: String } => "tlsa-name-mismatch", "a TLSA record at {owner} matches, but the certificate is for {presented}, not for {wanted}";
    /// A record matches, but the chain below or above it is not valid.
    TlsaChainInvalid { owner: String, usage: u8, because: Box<Reason> } => "tlsa-chain-invalid", "a TLSA record of usage {usage} at {owner} matches, but {because}";
    /// Records that may be right by now, were it not for their age.
    DnsStale { owner: String } => "dns-stale", "what DNS said of {owner} is too old to be used";

    // --- POSH (RFC 7711) ---
    /// Nobody looked for a document.
    PoshNotAsked => "posh-not-asked", "no POSH document was looked for";
    /// This service has no name in POSH.
    PoshNotForService => "posh-not-for-service", "POSH has no name for this service";
    /// 404 or 410.
    PoshAbsent { url: String } => "posh-absent", "there is no document at {url}";
    /// Another status.
    PoshStatus { url: String, status: u16 } => "posh-status", "{url} answered with status {status}";
    /// Not https.
    PoshNotHttps { url: String } => "posh-not-https", "{url} is no https address of a host";
    /// An address that the outside must not make us ask.
    PoshPrivateAddress { url: String } => "posh-private-address", "the host of {url} has an address that is not public";
    /// The web server is not who it should be.
    PoshUntrusted { url: String } => "posh-untrusted", "the certificate of the web server of {url} is not accepted";
    /// No connection.
    PoshUnreachable { url: String } => "posh-unreachable", "the web server of {url} cannot be reached";
    /// Too slow.
    PoshTimeout { url: String } => "posh-timeout", "{url} did not answer in time";
    /// Too big.
    PoshTooLarge { url: String } => "posh-too-large", "the document at {url} is too large";
    /// Redirected too often.
    PoshTooManyRedirects { url: String } => "posh-too-many-redirects", "{url} redirects too often";
    /// From somewhere else than the domain.
    PoshWrongSource { url: String, wanted: String } => "posh-wrong-source", "the document came from {url}, not from {wanted}";
    /// No JSON.
    PoshNotJson { url: String } => "posh-not-json", "the document at {url} is not JSON";
    /// JSON of another shape.
    PoshNotObject { url: String } => "posh-not-object", "the document at {url} is not a JSON object";
    /// Nested beyond any use.
    PoshTooDeep { url: String } => "posh-too-deep", "the document at {url} is nested too deep";
    /// A member twice.
    PoshDuplicateMember { url: String, member: String } => "posh-duplicate-member", "the document at {url} has the member {member} twice";
    /// Fingerprints and a reference.
    PoshBothKinds { url: String } => "posh-both-kinds", "the document at {url} holds both fingerprints and a reference";
    /// No fingerprint, no reference.
    PoshNoFingerprints { url: String } => "posh-no-fingerprints", "the document at {url} holds no fingerprint";
    /// More fingerprints than anybody needs.
    PoshTooManyFingerprints { url: String } => "posh-too-many-fingerprints", "the document at {url} holds too many fingerprints";
    /// A fingerprint that is not base64, or not of its hash's length.
    PoshBadFingerprint { url: String } => "posh-bad-fingerprint", "a fingerprint in the document at {url} cannot be read";
    /// Only hashes that are unknown or too weak.
    PoshNoKnownHash { url: String } => "posh-no-known-hash", "the document at {url} uses neither sha-256 nor sha-512";
    /// A reference that is not an https address.
    PoshBadReference { url: String } => "posh-bad-reference", "the reference in the document at {url} is no https address of a host";
    /// A reference that leads to a reference.
    PoshNestedReference { url: String } => "posh-nested-reference", "the document at {url} is a reference, but a reference led to it";
    /// A reference that nobody followed.
    PoshNotFollowed { url: String } => "posh-not-followed", "the reference in the document at {url} was not followed";
    /// No `expires`.
    PoshNoExpiry { url: String } => "posh-no-expiry", "the document at {url} does not say when it expires";
    /// `expires` that is no whole number of seconds.
    PoshBadExpiry { url: String } => "posh-bad-expiry", "the document at {url} does not give its expiry as a whole number of seconds";
    /// `expires` is 0.
    PoshExpiresZero { url: String } => "posh-expires-zero", "the document at {url} says by an expiry of 0 that it is not valid";
    /// Too old.
    PoshStale { expired: Time } => "posh-stale", "the POSH documents expired at {expired}";
    /// The certificate is none of those.
    PoshMismatch { url: String, fingerprints: usize } => "posh-mismatch", "the certificate is none of the {fingerprints} in the document at {url}";
    /// The certificate is one of those, and not valid.
    PoshCertificate { because: Box<Reason> } => "posh-certificate", "the document names the certificate, but {because}";

    // --- dialback (XEP-0220, XEP-0344) ---
    /// Nobody tried.
    DialbackNotTried => "dialback-not-tried", "dialback was not tried";
    /// `type='invalid'`.
    DialbackInvalid => "dialback-invalid", "the domain's own server says that the dialback key is not its own";
    /// `type='error'`.
    DialbackError { condition: String } => "dialback-error", "the domain's own server could not check the dialback key: {condition}";
    /// No answer in time.
    DialbackTimeout => "dialback-timeout", "the domain's own server did not answer about the dialback key in time";
    /// No connection.
    DialbackUnreachable => "dialback-unreachable", "the domain's own server cannot be reached to check the dialback key";
    /// An answer that says nothing about who is at the other end.
    DialbackUnsolicited => "dialback-unsolicited", "the dialback answer proves nothing for a stream in this direction";
    /// Another certificate.
    DialbackOtherCertificate => "dialback-other-certificate", "the domain's own server presents another certificate, and the dialback key was not checked";
    /// The domain has TLSA records, and the server that was asked was not proven.
    DialbackBelowDane => "dialback-below-dane", "the domain has TLSA records, so dialback counts only when the server that was asked is proven itself";

    // --- policy ---
    /// The deny list.
    PeerDenied => "peer-denied", "the operator denies this domain";
    /// The allow list.
    PeerNotAllowed => "peer-not-allowed", "the operator allows other domains only";
    /// Not proven enough.
    PolicyUnmet { policy: String } => "policy-unmet", "what is proven does not fulfil the policy \"{policy}\"";
}

impl Reason {
    /// Whether it may be otherwise in a while, without anybody changing anything: somebody did not answer.
    #[must_use]
    pub const fn may_pass(&self) -> bool {
        matches!(
            self,
            Self::SrvFailed { .. }
                | Self::AddressFailed { .. }
                | Self::TlsaFailed { .. }
                | Self::DnsStale { .. }
                | Self::PoshUnreachable { .. }
                | Self::PoshTimeout { .. }
        )
    }
}

impl std::error::Error for Reason {}
