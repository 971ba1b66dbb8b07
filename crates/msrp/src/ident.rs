//! Transaction identifiers and Message-IDs (`ident`, RFC 4975 §9).

use std::fmt;

use nuncio_sansio::Entropy;

/// Why a text is no `ident`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an identifier of 4 to 32 letters, digits, '.', '-', '+', '%' or '='")]
pub struct IdentError;

/// `ident` (RFC 4975 §9): a letter or digit, then 3 to 31 of letters, digits and `. - + % =`. Compared byte by byte.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ident {
    length: u8,
    bytes: [u8; Self::MAX],
}

impl Ident {
    /// The longest `ident`, in bytes.
    pub const MAX: usize = 32;
    /// The shortest `ident`, in bytes.
    pub const MIN: usize = 4;

    /// Reads an `ident`.
    ///
    /// # Errors
    /// It is too short, too long, or has other characters.
    pub fn new(text: &str) -> Result<Self, IdentError> {
        Self::from_bytes(text.as_bytes())
    }

    /// Reads an `ident` from bytes.
    ///
    /// # Errors
    /// It is too short, too long, or has other characters.
    pub fn from_bytes(text: &[u8]) -> Result<Self, IdentError> {
        let (true, Some((first, rest))) = ((Self::MIN..=Self::MAX).contains(&text.len()), text.split_first())
        else {
            return Err(IdentError);
        };
        let rest_good = rest.iter().all(|byte| byte.is_ascii_alphanumeric() || b".-+%=".contains(byte));
        if !first.is_ascii_alphanumeric() || !rest_good {
            return Err(IdentError);
        }
        let mut bytes = [0; Self::MAX];
        for (slot, byte) in bytes.iter_mut().zip(text) {
            *slot = *byte;
        }
        Ok(Self { length: u8::try_from(text.len()).map_err(|_| IdentError)?, bytes })
    }

    /// A new identifier of 128 unpredictable bits, 26 characters long. RFC 4975 §7.1 asks for 64 bits at least (S1-01).
    pub fn random(entropy: &dyn Entropy) -> Self {
        let token = entropy.token();
        let mut bytes = [0; Self::MAX];
        let mut length = 0;
        for (slot, byte) in bytes.iter_mut().zip(token.bytes()) {
            *slot = byte;
            length += 1;
        }
        Self { length, bytes }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(self.as_bytes()).unwrap_or_default()
    }

    /// The text as bytes.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.length)).unwrap_or_default()
    }
}

impl fmt::Display for Ident {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Ident {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

#[cfg(test)]
mod tests {
    use nuncio_sansio::pair::Counter;

    use super::*;

    #[test]
    fn the_grammar_of_rfc_4975_section_9() {
        for good in ["d93kswow", "6aef", "a786hjs2", "0%=+", "a...", &"a".repeat(32)] {
            assert_eq!(Ident::new(good).map(|ident| ident.to_string()), Ok(good.to_owned()));
        }
        for bad in ["", "abc", "-abcd", "ab cd", "abcd\r", "abcd$", "ab_cd", "äbcd", &"a".repeat(33)] {
            assert_eq!(Ident::new(bad), Err(IdentError), "{bad}");
        }
    }

    /// S1-01: 128 bits of the entropy it is given, all of them used.
    #[test]
    fn random_identifiers_spend_128_bits() {
        struct Bit(usize);
        impl Entropy for Bit {
            fn fill(&self, out: &mut [u8]) {
                out.fill(0);
                if let Some(byte) = out.get_mut(self.0 / 8) {
                    *byte = 1 << (self.0 % 8);
                }
            }
        }
        let all: std::collections::BTreeSet<_> = (0..128).map(|bit| Ident::random(&Bit(bit))).collect();
        assert_eq!(all.len(), 128, "each of the 128 bits shows");
        let counter = Counter::default();
        let id = Ident::random(&counter);
        assert_ne!(id, Ident::random(&counter));
        assert_eq!(Ident::new(id.as_str()), Ok(id));
    }
}
