//! Randomness from the operating system.

use std::cell::RefCell;
use std::time::Duration;

use nuncio_sansio::Entropy;

/// How much a thread asks the system for at once.
const POOL: usize = 512;
/// A request over this size goes to the system directly.
const LARGE: usize = 64;

/// Random bytes that a thread has in stock: every message gets an id, and a call of the system for each costs more than the rest of it.
struct Pool {
    bytes: [u8; POOL],
    left: usize,
}

thread_local! {
    static STOCK: RefCell<Pool> = const { RefCell::new(Pool { bytes: [0; POOL], left: 0 }) };
}

/// The operating system's randomness.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsEntropy;

impl Entropy for OsEntropy {
    /// Fills `out`; does not return before it is filled. The kernel's source comes first, the TLS library's generator
    /// second. If both fail, the call waits and tries again: whatever would be made of weak bytes must not come to be.
    fn fill(&self, out: &mut [u8]) {
        if out.len() > LARGE {
            return draw(out);
        }
        STOCK.with_borrow_mut(|stock| {
            if stock.left < out.len() {
                draw(&mut stock.bytes);
                stock.left = POOL;
            }
            let rest = stock.left - out.len();
            let taken = &mut stock.bytes[rest..stock.left];
            out.copy_from_slice(taken);
            // What was given away is nobody's to read here any more.
            taken.fill(0);
            stock.left = rest;
        });
    }
}

/// From the system, now.
fn draw(out: &mut [u8]) {
    loop {
        if getrandom::fill(out).is_ok() || aws_lc_rs::rand::fill(out).is_ok() {
            return;
        }
        tracing::error!("the operating system gives no randomness; trying again");
        std::thread::sleep(Duration::from_millis(10));
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

    /// A stock that runs out is filled anew, and nothing is given twice.
    #[test]
    fn no_bytes_are_given_twice() {
        let mut seen = std::collections::HashSet::new();
        for _ in 0..4 * POOL / 16 {
            assert!(seen.insert(OsEntropy.token()));
            let mut large = [0; LARGE + 1];
            OsEntropy.fill(&mut large);
            assert!(large.iter().any(|byte| *byte != 0));
        }
    }
}
