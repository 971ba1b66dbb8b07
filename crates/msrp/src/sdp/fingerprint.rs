//! Fingerprints of certificates (RFC 8122 §5).

use std::fmt;

use sha1::Sha1;
use sha2::{Digest as _, Sha224, Sha256, Sha384, Sha512};
use subtle::ConstantTimeEq as _;

/// A hash, weakest first. MD5 and MD2 are none: they must not be used (RFC 8122 §5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hash {
    /// `sha-1`: only for old peers, by a switch (S1-R6).
    Sha1,
    /// `sha-224`.
    Sha224,
    /// `sha-256`, the preferred one.
    Sha256,
    /// `sha-384`.
    Sha384,
    /// `sha-512`.
    Sha512,
}

impl Hash {
    const ALL: [Self; 5] = [Self::Sha1, Self::Sha224, Self::Sha256, Self::Sha384, Self::Sha512];

    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sha1 => "sha-1",
            Self::Sha224 => "sha-224",
            Self::Sha256 => "sha-256",
            Self::Sha384 => "sha-384",
            Self::Sha512 => "sha-512",
        }
    }

    fn digest(self, der: &[u8]) -> Vec<u8> {
        match self {
            Self::Sha1 => Sha1::digest(der).to_vec(),
            Self::Sha224 => Sha224::digest(der).to_vec(),
            Self::Sha256 => Sha256::digest(der).to_vec(),
            Self::Sha384 => Sha384::digest(der).to_vec(),
            Self::Sha512 => Sha512::digest(der).to_vec(),
        }
    }

    const fn size(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha224 => 28,
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }
}

/// The fingerprint of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fingerprint {
    hash: Hash,
    value: Vec<u8>,
}

impl Fingerprint {
    /// That of a certificate, DER.
    pub fn of(hash: Hash, der: &[u8]) -> Self {
        Self { hash, value: hash.digest(der) }
    }

    /// Reads the value of the attribute. None for a hash that is not to be used, or a malformed value.
    pub fn parse(text: &str) -> Option<Self> {
        let (name, value) = text.trim().split_once(' ')?;
        let hash = Hash::ALL.into_iter().find(|hash| name.eq_ignore_ascii_case(hash.as_str()))?;
        let value = value.trim().split(':').map(byte).collect::<Option<Vec<_>>>()?;
        (value.len() == hash.size()).then_some(Self { hash, value })
    }

    /// The hash.
    pub const fn hash(&self) -> Hash {
        self.hash
    }

    /// Whether it is that of this certificate, DER.
    pub fn matches(&self, der: &[u8]) -> bool {
        self.hash.digest(der).ct_eq(&self.value).into()
    }

    /// Whether a certificate, DER, is one of those that were promised: only the strongest hash among them counts (RFC 8122 §5.1).
    /// False where nothing was promised.
    pub fn verify(promised: &[Self], der: &[u8]) -> bool {
        let strongest = promised.iter().map(Self::hash).max();
        promised.iter().any(|fingerprint| Some(fingerprint.hash) == strongest && fingerprint.matches(der))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.hash.as_str())?;
        for (index, byte) in self.value.iter().enumerate() {
            write!(f, "{}{byte:02X}", if index == 0 { ' ' } else { ':' })?;
        }
        Ok(())
    }
}

fn byte(text: &str) -> Option<u8> {
    let digits = text.len() == 2 && text.bytes().all(|digit| digit.is_ascii_hexdigit());
    digits.then(|| u8::from_str_radix(text, 16).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8122 §5: syntax, forbidden hashes, and that the strongest decides.
    #[test]
    fn fingerprints() {
        let der = b"a certificate";
        for hash in Hash::ALL {
            let fingerprint = Fingerprint::of(hash, der);
            assert_eq!(Fingerprint::parse(&fingerprint.to_string()), Some(fingerprint.clone()));
            assert!(fingerprint.matches(der) && !fingerprint.matches(b"another"));
        }
        let figure = "SHA-256 12:DF:3E:5D:49:6B:19:E5:7C:AB:4A:AD:B9:B1:3F:82:18:3B:54:02:12:DF:3E:5D:49:6B:19:E5:7C:AB:4A:AD";
        assert_eq!(Fingerprint::parse(figure).map(|it| it.hash()), Some(Hash::Sha256));
        let md5 = "md5 00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF";
        for bad in [md5, "sha-256 12:DF", "sha-1", "", "sha-1 +1:DF", &figure.replace("12:", "1:")] {
            assert_eq!(Fingerprint::parse(bad), None, "{bad}");
        }
        let (weak, strong) = (Fingerprint::of(Hash::Sha1, der), Fingerprint::of(Hash::Sha256, b"another"));
        assert!(Fingerprint::verify(std::slice::from_ref(&weak), der));
        assert!(!Fingerprint::verify(&[weak, strong], der), "a weaker match does not make up for it");
        assert!(!Fingerprint::verify(&[], der));
    }
}
