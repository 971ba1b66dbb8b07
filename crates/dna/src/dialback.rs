//! Server dialback: keys (XEP-0185) and what an answer proves (XEP-0220, XEP-0344, RFC 7712 §4.3).

use hmac::{Hmac, KeyInit as _, Mac as _};
use rustls_pki_types::CertificateDer;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use crate::dane::is_published;
use crate::proof::{
    Basis, Case, Finding, Found, Material, Nature, Prooftype, ProvenDomain, Prover, Strength, findings,
};
use crate::x509::{hex, printable};
use crate::{Direction, Domain, Reason, Time, Tls};

/// What makes and checks dialback keys without keeping any (XEP-0185 §2).
///
/// All processes that answer for the same domains have the same one. It is wiped when it is dropped and never shown.
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// From the operator's or a random secret of any length; 32 random octets are a good one.
    #[must_use]
    pub fn new(secret: &[u8]) -> Self {
        // The hash is used as the key in hexadecimal digits, as XEP-0185's example does.
        Self(Zeroizing::new(hex(Sha256::digest(secret).as_slice())))
    }

    /// The key that the originating server sends in `<db:result/>`: 64 hexadecimal digits.
    ///
    /// `stream_id` is the receiving server's, of the stream that the key is sent on.
    #[must_use]
    pub fn key(&self, receiving: &Domain, originating: &Domain, stream_id: &str) -> String {
        // HMAC takes keys of every length.
        let mac = Hmac::<Sha256>::new_from_slice(self.0.as_bytes()).map(|mac| {
            mac.chain_update(receiving.as_str())
                .chain_update(b" ")
                .chain_update(originating.as_str())
                .chain_update(b" ")
                .chain_update(stream_id)
                .finalize()
                .into_bytes()
        });
        mac.map(|mac| hex(mac.as_slice())).unwrap_or_default()
    }

    /// Whether the key of a `<db:verify/>` is ours, in a time that does not depend on where it differs.
    #[must_use]
    pub fn is_key(&self, key: &str, receiving: &Domain, originating: &Domain, stream_id: &str) -> bool {
        let ours = self.key(receiving, originating, stream_id);
        !ours.is_empty() && bool::from(ours.as_bytes().ct_eq(key.as_bytes()))
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

/// How far dialback has come for one pair of domains on one stream.
///
/// Only answers to own questions belong here: unsolicited ones are dropped where they arrive (XEP-0220 §3.1).
#[derive(Clone, Debug)]
pub enum Dialback {
    /// It was not tried, or no answer has come yet.
    NotTried,
    /// For a stream that the peer opened: the domain's own server said that the key is valid.
    Verified(Callback),
    /// For a stream that the peer opened: the key was not checked, because the domain's own server presents the peer's certificate (XEP-0344 §2.6, RFC 7712 §4.3).
    SameCertificate(Callback),
    /// For a stream that we opened to a host that DNS names: the peer accepted our key and speaks for the domain that we asked for.
    Accepted,
    /// The domain's own server said that the key is not valid, or the peer refused ours.
    Invalid,
    /// It was answered by an error: its condition.
    Error(String),
    /// No answer came in time.
    TimedOut,
    /// The domain's own server could not be reached.
    Unreachable,
}

/// The stream to the domain's own server on which the key was checked.
#[derive(Clone, Debug)]
pub struct Callback {
    /// Its TLS.
    pub tls: Tls,
    /// The certificate of that server, if it presented one.
    pub certificate: Option<CertificateDer<'static>>,
    /// What was proven about that server, for the domain in question.
    pub proofs: Vec<ProvenDomain>,
}

impl Callback {
    /// The strongest proof by a certificate that this server is the domain's.
    fn vouched(&self, domain: &Domain, now: Time) -> Option<&ProvenDomain> {
        let good = |proof: &&ProvenDomain| {
            proof.domain() == domain && proof.is_by_certificate() && !proof.is_expired(now)
        };
        self.proofs.iter().filter(good).max_by_key(|proof| proof.by())
    }
}

/// The host to which DNS leads for a domain answers for it.
pub(crate) struct Answered;

impl Prover for Answered {
    fn prooftype(&self) -> Prooftype {
        Prooftype::Dialback
    }

    fn nature(&self) -> Nature {
        Nature::KeyInStream
    }

    fn material(&self) -> Material {
        Material::Callback
    }

    fn needs_secure_dns(&self) -> bool {
        false
    }

    fn check(&self, case: &Case<'_>) -> Result<Found, Vec<Finding>> {
        judge(case).map_err(|reason| findings(Prooftype::Dialback, [reason]))
    }
}

fn judge(case: &Case<'_>) -> Result<Found, Reason> {
    let claim = case.claim;
    let (callback, is_same_certificate) = match (&case.evidence.dialback, claim.direction) {
        (Dialback::NotTried, _) => return Err(Reason::DialbackNotTried),
        (Dialback::Invalid, _) => return Err(Reason::DialbackInvalid),
        (Dialback::Error(condition), _) => {
            return Err(Reason::DialbackError { condition: printable(condition) });
        }
        (Dialback::TimedOut, _) => return Err(Reason::DialbackTimeout),
        (Dialback::Unreachable, _) => return Err(Reason::DialbackUnreachable),
        (Dialback::Accepted, Direction::Out) => (None, false),
        (Dialback::Verified(callback), Direction::In) => (Some(callback), false),
        (Dialback::SameCertificate(callback), Direction::In) => (Some(callback), true),
        (Dialback::Accepted, Direction::In) => return Err(Reason::DialbackUnsolicited),
        (Dialback::Verified(_) | Dialback::SameCertificate(_), Direction::Out) => {
            return Err(Reason::DialbackUnsolicited);
        }
    };
    let vouched = callback.and_then(|callback| callback.vouched(&claim.remote, case.now));
    if is_same_certificate {
        let leaf = case.leaf()?;
        if callback.and_then(|callback| callback.certificate.as_ref()) != Some(leaf) {
            return Err(Reason::DialbackOtherCertificate);
        }
        // However that server is proven, the certificate must be for the domain (XEP-0344 §2.6).
        case.identify(leaf, &[], &[&claim.remote])?;
    }
    // Who can drop a certificate from the stream must not get around the domain's TLSA records by that.
    if vouched.is_none()
        && claim.direction == Direction::In
        && case.rule.dane == crate::policy::DaneUse::Enforce
        && is_published(claim, case.evidence.dns.as_ref(), case.now)
    {
        return Err(Reason::DialbackBelowDane);
    }
    let tls = callback.map_or(case.evidence.tls, |callback| callback.tls.min(case.evidence.tls));
    let strength = match (tls, vouched) {
        (Tls::None, _) => Strength::Weak,
        (_, None) => Strength::Encrypted,
        (_, Some(_)) => Strength::Vouched,
    };
    let basis = Basis::Dialback { vouched: vouched.map(ProvenDomain::by), is_same_certificate };
    Ok(Found { strength, basis, expires: vouched.map_or(Time::NEVER, ProvenDomain::expires) })
}
