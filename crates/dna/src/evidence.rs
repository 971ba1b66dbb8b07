//! What was collected about a stream before its claim is judged. TLS, DNS and HTTPS collect; they do not decide.

use std::fmt;

use rustls_pki_types::CertificateDer;

use crate::dialback::Dialback;
use crate::dns::Dns;
use crate::posh::Posh;

/// Everything known about one stream and the domain that it claims, each part with its own state.
#[derive(Clone, Debug)]
pub struct Evidence {
    /// Which TLS the stream uses.
    pub tls: Tls,
    /// The certificates that the peer presented, its own first, as TLS got them. TLS has checked that the peer holds the first one's key; it has checked nothing
    /// else.
    pub chain: Vec<CertificateDer<'static>>,
    /// What DNS says; none when it was not asked, or not by a validating resolver. Then nothing depends on it.
    pub dns: Option<Dns>,
    /// The POSH documents of the domain; none when they were not looked for.
    pub posh: Option<Posh>,
    /// How far dialback has come.
    pub dialback: Dialback,
}

impl Evidence {
    /// Evidence of a stream with these certificates, nothing else collected yet.
    #[must_use]
    pub const fn of(tls: Tls, chain: Vec<CertificateDer<'static>>) -> Self {
        Self { tls, chain, dns: None, posh: None, dialback: Dialback::NotTried }
    }
}

/// Which TLS a stream uses, from none to best.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tls {
    /// None: plaintext.
    None,
    /// TLS 1.2 (RFC 5246).
    V12,
    /// TLS 1.3 (RFC 8446).
    V13,
}

impl fmt::Display for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "no TLS",
            Self::V12 => "TLS 1.2",
            Self::V13 => "TLS 1.3",
        })
    }
}
