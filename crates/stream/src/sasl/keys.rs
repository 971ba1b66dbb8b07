//! What a server stores of a password, and the arithmetic of RFC 5802 §3.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use nuncio_sansio::Entropy;
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha512};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::scram::prepare_password;

/// The hash of a SCRAM mechanism. Ordered by strength.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hash {
    /// SHA-1, mandatory to implement (RFC 6120 §13.8).
    Sha1,
    /// SHA-256 (RFC 7677).
    Sha256,
    /// SHA-512.
    Sha512,
}

impl Hash {
    /// All of them, strongest first.
    pub const ALL: [Self; 3] = [Self::Sha512, Self::Sha256, Self::Sha1];

    /// The IANA textual name, as in the mechanism's name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sha1 => "SHA-1",
            Self::Sha256 => "SHA-256",
            Self::Sha512 => "SHA-512",
        }
    }

    /// The length of its output in bytes.
    pub const fn size(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha256 => 32,
            Self::Sha512 => 64,
        }
    }

    /// `H(data)`.
    pub(crate) fn digest(self, data: &[u8]) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(match self {
            Self::Sha1 => Sha1::digest(data).to_vec(),
            Self::Sha256 => Sha256::digest(data).to_vec(),
            Self::Sha512 => Sha512::digest(data).to_vec(),
        })
    }

    /// `HMAC(key, parts joined)`.
    pub fn hmac(self, key: &[u8], parts: &[&[u8]]) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(match self {
            Self::Sha1 => mac::<Hmac<Sha1>>(key, parts),
            Self::Sha256 => mac::<Hmac<Sha256>>(key, parts),
            Self::Sha512 => mac::<Hmac<Sha512>>(key, parts),
        })
    }

    /// `Hi(password, salt, iterations)` of RFC 5802 §2.2. Its cost is linear in `iterations`: off the reactor with it.
    pub(crate) fn salted(self, password: &[u8], salt: &[u8], iterations: u32) -> Zeroizing<Vec<u8>> {
        let mut out = Zeroizing::new(vec![0; self.size()]);
        match self {
            Self::Sha1 => pbkdf2::pbkdf2_hmac::<Sha1>(password, salt, iterations, &mut out),
            Self::Sha256 => pbkdf2::pbkdf2_hmac::<Sha256>(password, salt, iterations, &mut out),
            Self::Sha512 => pbkdf2::pbkdf2_hmac::<Sha512>(password, salt, iterations, &mut out),
        }
        out
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

fn mac<M: Mac + KeyInit>(key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    let mut mac = <M as KeyInit>::new_from_slice(key).expect("HMAC takes keys of every length");
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().to_vec()
}

/// What a server stores for one password and one hash (RFC 5802 §3). The password cannot be read back from it, but it suffices to
/// pose as the server, and to search for weak passwords: a secret. `Debug` shows none of it.
#[derive(Clone)]
pub struct Keys {
    hash: Hash,
    salt: Vec<u8>,
    iterations: u32,
    stored_key: Zeroizing<Vec<u8>>,
    server_key: Zeroizing<Vec<u8>>,
}

impl Keys {
    /// The length of the salts that [`Self::generate`] and [`Self::fake`] make, in bytes.
    pub const SALT: usize = 16;

    /// Keys for `password` with a given salt. The password is prepared with SASLprep (RFC 4013).
    /// Costs `iterations` HMACs: milliseconds, to be kept off the reactor.
    ///
    /// # Errors
    /// The password has a character that SASLprep prohibits, is empty or over [`super::MAX_NAME`] bytes; the salt is empty; `iterations` is zero.
    pub fn derive(hash: Hash, password: &str, salt: &[u8], iterations: u32) -> Result<Self, KeysError> {
        if salt.is_empty() || iterations == 0 {
            return Err(KeysError::Malformed);
        }
        let password = prepare_password(password).ok_or(KeysError::Password)?;
        let salted = hash.salted(password.as_bytes(), salt, iterations);
        let client_key = hash.hmac(&salted, &[b"Client Key"]);
        Ok(Self {
            hash,
            salt: salt.to_vec(),
            iterations,
            stored_key: hash.digest(&client_key),
            server_key: hash.hmac(&salted, &[b"Server Key"]),
        })
    }

    /// Keys for `password` with a fresh salt. See [`Self::derive`].
    ///
    /// # Errors
    /// As [`Self::derive`].
    pub fn generate(
        hash: Hash,
        password: &str,
        iterations: u32,
        entropy: &dyn Entropy,
    ) -> Result<Self, KeysError> {
        let mut salt = [0; Self::SALT];
        entropy.fill(&mut salt);
        Self::derive(hash, password, &salt, iterations)
    }

    /// Keys for a user who does not exist, so that the exchange looks like one with a wrong password: the same `username` gets the same
    /// salt every time, and no password fits. `secret` is the server's own and must outlive restarts; `iterations` must be
    /// what existing accounts have. `username` is the prepared localpart.
    pub fn fake(secret: &[u8], hash: Hash, username: &str, iterations: u32) -> Self {
        let part = |label: &[u8]| {
            Hash::Sha512.hmac(secret, &[label, b"\0", hash.as_str().as_bytes(), b"\0", username.as_bytes()])
        };
        let cut = |bytes: &[u8], length: usize| bytes.iter().copied().take(length).collect::<Vec<u8>>();
        Self {
            hash,
            salt: cut(&part(b"salt"), Self::SALT),
            iterations: iterations.max(1),
            stored_key: Zeroizing::new(cut(&part(b"stored key"), hash.size())),
            server_key: Zeroizing::new(cut(&part(b"server key"), hash.size())),
        }
    }

    /// Keys from their parts, for imports from another server.
    ///
    /// # Errors
    /// An empty salt, zero iterations, or a key that is not as long as the hash.
    pub fn from_parts(
        hash: Hash,
        salt: &[u8],
        iterations: u32,
        stored_key: &[u8],
        server_key: &[u8],
    ) -> Result<Self, KeysError> {
        if salt.is_empty()
            || iterations == 0
            || stored_key.len() != hash.size()
            || server_key.len() != hash.size()
        {
            return Err(KeysError::Malformed);
        }
        Ok(Self {
            hash,
            salt: salt.to_vec(),
            iterations,
            stored_key: Zeroizing::new(stored_key.to_vec()),
            server_key: Zeroizing::new(server_key.to_vec()),
        })
    }

    /// The hash.
    pub const fn hash(&self) -> Hash {
        self.hash
    }

    /// The salt, which every client may see.
    pub fn salt(&self) -> &[u8] {
        &self.salt
    }

    /// The iteration count, which every client may see.
    pub const fn iterations(&self) -> u32 {
        self.iterations
    }

    pub(crate) fn server_key(&self) -> &[u8] {
        &self.server_key
    }

    pub(crate) fn stored_key(&self) -> &[u8] {
        &self.stored_key
    }

    /// Whether `password` is the one of these keys, for PLAIN. As costly as [`Self::derive`]; constant time in the keys.
    /// For a user who does not exist call it with [`Self::fake`] keys and disregard the answer.
    pub fn verify(&self, password: &str) -> bool {
        // A password that cannot be prepared costs the same as a wrong one.
        let (text, usable) = match prepare_password(password) {
            Some(text) => (text, true),
            None => (Zeroizing::new("unusable".to_owned()), false),
        };
        let salted = self.hash.salted(text.as_bytes(), &self.salt, self.iterations);
        let stored = self.hash.digest(&self.hash.hmac(&salted, &[b"Client Key"]));
        let fits = bool::from(stored.as_slice().ct_eq(&self.stored_key));
        fits & usable
    }

    /// The form for storage, one line of ASCII: that of RFC 5803 §2, `SCRAM-SHA-1$4096:salt$StoredKey:ServerKey`.
    pub fn to_text(&self) -> Zeroizing<String> {
        Zeroizing::new(format!(
            "SCRAM-{}${}:{}${}:{}",
            self.hash,
            self.iterations,
            STANDARD.encode(&self.salt),
            Zeroizing::new(STANDARD.encode(&*self.stored_key)).as_str(),
            Zeroizing::new(STANDARD.encode(&*self.server_key)).as_str(),
        ))
    }
}

impl FromStr for Keys {
    type Err = KeysError;

    /// Reads what [`Keys::to_text`] wrote.
    fn from_str(text: &str) -> Result<Self, KeysError> {
        let mut fields = text.split('$');
        let (Some(name), Some(public), Some(secret), None) =
            (fields.next(), fields.next(), fields.next(), fields.next())
        else {
            return Err(KeysError::Malformed);
        };
        let hash = name
            .strip_prefix("SCRAM-")
            .and_then(|name| Hash::ALL.into_iter().find(|hash| hash.as_str() == name))
            .ok_or(KeysError::Malformed)?;
        let (iterations, salt) = public.split_once(':').ok_or(KeysError::Malformed)?;
        let (stored, server) = secret.split_once(':').ok_or(KeysError::Malformed)?;
        let bytes = |text: &str| STANDARD.decode(text).map(Zeroizing::new).map_err(|_| KeysError::Malformed);
        let iterations = iterations.parse().map_err(|_| KeysError::Malformed)?;
        Self::from_parts(hash, &bytes(salt)?, iterations, &bytes(stored)?, &bytes(server)?)
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys")
            .field("hash", &self.hash)
            .field("iterations", &self.iterations)
            .finish_non_exhaustive()
    }
}

/// Why there are no keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeysError {
    /// SASLprep (RFC 4013) refuses the password, or it is empty or too long.
    #[error("password is empty, too long or has a prohibited character")]
    Password,
    /// The stored form or a part is not what it should be.
    #[error("malformed SCRAM keys")]
    Malformed,
}
