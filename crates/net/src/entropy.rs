//! Randomness from the operating system.

use std::time::Duration;

use nuncio_sansio::Entropy;

/// The operating system's randomness.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsEntropy;

impl Entropy for OsEntropy {
    /// Fills `out`; does not return before it is filled. The kernel's source comes first, the TLS library's generator
    /// second. If both fail, the call waits and tries again: whatever would be made of weak bytes must not come to be.
    fn fill(&self, out: &mut [u8]) {
        loop {
            if getrandom::fill(out).is_ok() || aws_lc_rs::rand::fill(out).is_ok() {
                return;
            }
            tracing::error!("the operating system gives no randomness; trying again");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_differ_and_carry_128_bits() {
        let (one, two) = (OsEntropy.token(), OsEntropy.token());
        assert_eq!(one.len(), 26);
        assert_ne!(one, two);
    }
}
