//! URIs that say, sealed, what a relay has to know of them: machines of one name that share a key need not share memory, and a machine that
//! starts again knows what it has given out (RFC 4976 Appendix A; S1-L15).
//!
//! Only URIs of clients behind other relays are of use on another machine: those of a connection end with it. The sketch of the RFC encrypts
//! without integrity, and trusts that what decrypts to rubbish leads nowhere. Here it is an AEAD (XChaCha20-Poly1305) with a random nonce of
//! 192 bits, and the name of the relay as associated data: what was changed, or sealed for another relay, does not open.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use nuncio_sansio::Entropy;
use zeroize::Zeroizing;

use super::api::Holder;
use crate::limits::Limits;
use crate::uri::Path;

/// Octets of a nonce.
const NONCE: usize = 24;
/// The form of what is sealed.
const FORM: u8 = 2;

/// What a sealed URI says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Content {
    /// The account.
    pub(super) holder: Holder,
    /// The From-Path of the AUTH: whoever comes with the same renews it, and its first URI is the way to the client.
    pub(super) from: Path,
    /// When it expires, in seconds since 1970.
    pub(super) expires: u64,
}

/// The keys that seal URIs: the first one seals, all open, so that a key can be exchanged machine by machine.
pub struct SealKeys(Vec<XChaCha20Poly1305>);

impl std::fmt::Debug for SealKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SealKeys({})", self.0.len())
    }
}

impl SealKeys {
    /// Keys of 32 octets. None if there is none.
    pub fn new<'a>(keys: impl IntoIterator<Item = &'a [u8; 32]>) -> Option<Self> {
        let keys: Vec<_> = keys.into_iter().map(|key| XChaCha20Poly1305::new(key.into())).collect();
        (!keys.is_empty()).then_some(Self(keys))
    }

    /// A session id.
    pub(super) fn seal(&self, relay: &str, content: &Content, entropy: &dyn Entropy) -> Option<String> {
        let mut nonce = [0; NONCE];
        entropy.fill(&mut nonce);
        let plain = content.write()?;
        let payload = Payload { msg: &plain, aad: relay.as_bytes() };
        let sealed = self.0.first()?.encrypt(&XNonce::from(nonce), payload).ok()?;
        Some(URL_SAFE_NO_PAD.encode([&nonce, &sealed[..]].concat()))
    }

    /// What a session id says; none if none of the keys has made it for this relay.
    pub(super) fn open(&self, relay: &str, id: &str) -> Option<Content> {
        let bytes = URL_SAFE_NO_PAD.decode(id.as_bytes()).ok()?;
        let (nonce, sealed) = bytes.split_first_chunk::<NONCE>()?;
        let open = |key: &XChaCha20Poly1305| {
            key.decrypt(&XNonce::from(*nonce), Payload { msg: sealed, aad: relay.as_bytes() }).ok()
        };
        Content::read(&Zeroizing::new(self.0.iter().find_map(open)?))
    }
}

impl Content {
    /// None if the account's name is too long.
    fn write(&self) -> Option<Zeroizing<Vec<u8>>> {
        let mut out = Zeroizing::new(vec![FORM]);
        out.extend_from_slice(&self.expires.to_be_bytes());
        out.extend_from_slice(&self.holder.generation.to_be_bytes());
        out.extend_from_slice(&u16::try_from(self.holder.name.len()).ok()?.to_be_bytes());
        out.extend_from_slice(self.holder.name.as_bytes());
        out.extend_from_slice(self.from.to_string().as_bytes());
        Some(out)
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.strip_prefix(&[FORM])?;
        let (expires, bytes) = bytes.split_first_chunk()?;
        let (generation, bytes) = bytes.split_first_chunk()?;
        let (length, bytes) = bytes.split_first_chunk()?;
        let (name, from) = bytes.split_at_checked(u16::from_be_bytes(*length).into())?;
        Some(Self {
            holder: Holder::new(std::str::from_utf8(name).ok()?, u64::from_be_bytes(*generation)),
            from: Path::parse(std::str::from_utf8(from).ok()?, Limits::DEFAULT.path).ok()?,
            expires: u64::from_be_bytes(*expires),
        })
    }
}

#[cfg(test)]
mod tests {
    use nuncio_sansio::pair::Counter;

    use super::*;
    use crate::uri::Uri;

    fn content() -> Content {
        Content {
            holder: Holder::new("juliet@example.org", 7),
            from: Path::parse("msrps://inner.example:2855/token;tcp msrps://c.example:1/c;tcp", 2)
                .expect("two"),
            expires: 1_800_000_000,
        }
    }

    /// S1-L15: what one machine seals another opens; nobody else does, nothing that was changed, and not for another relay.
    #[test]
    fn sealed_session_ids() {
        let entropy = Counter::default();
        let keys = |first: u8, second: u8| SealKeys::new([&[first; 32], &[second; 32]]).expect("two");
        let one = keys(1, 2);
        let id = one.seal("relay.example:2855", &content(), &entropy).expect("short");
        assert_ne!(
            one.seal("relay.example:2855", &content(), &entropy).as_ref(),
            Some(&id),
            "never the same"
        );
        assert!(
            !id.contains("juliet") && Uri::parse(&format!("msrps://relay.example:2855/{id};tcp")).is_ok()
        );
        for (keys, opens) in [(keys(1, 2), true), (keys(2, 1), true), (keys(3, 1), true), (keys(3, 4), false)]
        {
            assert_eq!(keys.open("relay.example:2855", &id), opens.then(content));
        }
        assert_eq!(one.open("other.example:2855", &id), None);
        let bytes = URL_SAFE_NO_PAD.decode(id.as_bytes()).expect("as it was made");
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert_eq!(one.open("relay.example:2855", &URL_SAFE_NO_PAD.encode(&changed)), None);
            assert_eq!(one.open("relay.example:2855", &URL_SAFE_NO_PAD.encode(&bytes[..at])), None);
        }
        assert!(SealKeys::new([]).is_none());
    }

    #[test]
    fn what_is_sealed_is_read_strictly() {
        let plain = content().write().expect("short");
        assert_eq!(Content::read(&plain), Some(content()));
        for end in 0..plain.len() {
            assert_ne!(Content::read(&plain[..end]), Some(content()), "{end}");
        }
        assert_eq!(Content::read(&plain[..20]), None);
        assert_eq!(Content::read(&[&[1], &plain[1..]].concat()), None, "another form");
    }
}
