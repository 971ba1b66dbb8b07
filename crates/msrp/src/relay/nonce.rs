//! Nonces of a relay's challenges: they carry their own time and proof, and each works once for each count (RFC 7616 §5.4, S1-R5).

use std::collections::VecDeque;
use std::time::Duration;

use hmac::{Hmac, KeyInit as _, Mac as _};
use nuncio_sansio::{Entropy, Time};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use super::registry::LinkId;
use crate::digest::hex;

/// Bytes of time, of randomness, of the code over them.
const PARTS: [usize; 3] = [8, 8, 16];
/// Used nonces that are remembered of a connection.
const REMEMBERED: usize = 32;

/// The key of all nonces of a relay. One for the whole process.
pub struct NonceKey {
    key: Zeroizing<[u8; 32]>,
    life: Duration,
}

impl std::fmt::Debug for NonceKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("NonceKey")
    }
}

impl NonceKey {
    /// A new key; its nonces are good for `life`.
    pub fn new(entropy: &dyn Entropy, life: Duration) -> Self {
        let mut key = Zeroizing::new([0; 32]);
        entropy.fill(&mut *key);
        Self { key, life }
    }

    /// A nonce for one connection.
    pub(super) fn issue(&self, now: Time, link: LinkId, entropy: &dyn Entropy) -> String {
        let mut random = [0; 8];
        entropy.fill(&mut random);
        let time = u64::try_from(now.since_origin().as_millis()).unwrap_or(u64::MAX).to_be_bytes();
        let code = self.code(&time, &random, link);
        [hex(&time), hex(&random), hex(&code)].concat()
    }

    fn code(&self, time: &[u8], random: &[u8], link: LinkId) -> [u8; 16] {
        let mut code = [0; 16];
        // HMAC takes keys of any length.
        if let Ok(mut mac) = <Hmac<Sha256>>::new_from_slice(&*self.key) {
            mac.update(time);
            mac.update(random);
            mac.update(&link.0.to_be_bytes());
            for (slot, byte) in code.iter_mut().zip(mac.finalize().into_bytes()) {
                *slot = byte;
            }
        }
        code
    }

    /// When a nonce was issued, if it was issued by us for this connection.
    fn issued(&self, nonce: &str, link: LinkId) -> Option<Time> {
        let bytes = unhex(nonce)?;
        let [time, random, _] = PARTS;
        let (time, rest) = bytes.split_at_checked(time)?;
        let (random, code) = rest.split_at_checked(random)?;
        let right: bool = self.code(time, random, link).ct_eq(code).into();
        let millis = u64::from_be_bytes(time.try_into().ok()?);
        right.then(|| Time::from_origin(Duration::from_millis(millis)))
    }
}

/// The nonces that a connection has used, and how often.
#[derive(Debug, Default)]
pub(super) struct Used {
    row: VecDeque<(Time, String, u32)>,
    /// Nonces from this time and before have been forgotten: none of them works any more.
    floor: Option<Time>,
}

impl Used {
    /// Takes one use of a nonce. False if it is not ours, too old, or was used with this count or a higher one.
    pub(super) fn take(&mut self, key: &NonceKey, now: Time, link: LinkId, nonce: &str, nc: u32) -> bool {
        let Some(issued) = key.issued(nonce, link) else { return false };
        if issued > now || now.since(issued) >= key.life {
            return false;
        }
        if let Some((.., count)) = self.row.iter_mut().find(|(_, known, _)| known == nonce) {
            let fresh = nc > *count;
            *count = nc.max(*count);
            return fresh;
        }
        if nc == 0 || self.floor.is_some_and(|floor| issued <= floor) {
            return false;
        }
        if self.row.len() >= REMEMBERED
            && let Some((oldest, ..)) = self.row.pop_front()
        {
            self.floor = self.floor.max(Some(oldest));
        }
        self.row.push_back((issued, nonce.to_owned(), nc));
        true
    }
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let length: usize = PARTS.iter().sum();
    if text.len() != 2 * length || !text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) {
        return None;
    }
    (0..length).map(|at| u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use nuncio_sansio::pair::Counter;

    use super::*;

    /// S1-R5: a nonce works once for each count, for its time, on its connection, and only if we made it.
    #[test]
    fn nonces_are_not_replayed() {
        let entropy = Counter::default();
        let key = NonceKey::new(&entropy, Duration::from_secs(300));
        let at = |seconds| Time::ZERO + Duration::from_secs(seconds);
        let (here, there) = (LinkId(1), LinkId(2));
        let nonce = key.issue(at(10), here, &entropy);
        let mut used = Used::default();
        assert!(!used.take(&key, at(11), here, &nonce, 0));
        assert!(used.take(&key, at(11), here, &nonce, 1));
        assert!(!used.take(&key, at(11), here, &nonce, 1), "replayed");
        assert!(used.take(&key, at(11), here, &nonce, 3));
        assert!(!used.take(&key, at(11), here, &nonce, 2));
        assert!(!Used::default().take(&key, at(11), there, &nonce, 1), "of another connection");
        assert!(!Used::default().take(&key, at(310), here, &nonce, 1), "expired");
        assert!(!Used::default().take(&key, at(9), here, &nonce, 1), "from the future");
        let other = NonceKey::new(&entropy, Duration::from_secs(300));
        assert!(!Used::default().take(&other, at(11), here, &nonce, 1), "of another relay");
        let flipped = nonce.replacen(['0', '1'], "2", 1);
        assert!(!Used::default().take(&key, at(11), here, &flipped, 1));
        for bad in ["", "é", &nonce[1..], &nonce.to_uppercase()] {
            assert!(!Used::default().take(&key, at(11), here, bad, 1), "{bad}");
        }
        // Memory is bounded, and what was forgotten does not come back.
        for second in 20..100 {
            let next = key.issue(at(second), here, &entropy);
            assert!(used.take(&key, at(100), here, &next, 1));
            assert!(used.row.len() <= REMEMBERED);
        }
        assert!(!used.take(&key, at(100), here, &nonce, 9));
    }
}
