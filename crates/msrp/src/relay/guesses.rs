//! Which requests for nothing may be guesses of a URI (S1-01, RFC 4976 §6.1).

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Duration;

use nuncio_sansio::Time;

use crate::uri::Path;

/// So many paths are remembered.
const PATHS: usize = 1_024;
/// Whoever goes on for so long has had the time to read that there is nobody.
const HEARD: Duration = Duration::from_secs(30);

/// The To-Paths that a connection has used, as hashes, each with when a refusal was counted last, or not. A client in the middle of a message cannot know
/// that the other end has gone: all that it has sent before it could read the first 481 goes to where the first went, and where it went when
/// that was good. Who guesses names something new each time.
#[derive(Debug, Default)]
pub(super) struct Guesses(VecDeque<(u64, Option<Time>)>);

impl Guesses {
    /// A request has gone this way.
    pub(super) fn good(&mut self, to: &Path) {
        let hash = hash(to);
        match self.known(hash) {
            Some(counted) => *counted = None,
            None => self.add(hash, None),
        }
    }

    /// A request could not go this way. Whether that counts.
    pub(super) fn refused(&mut self, now: Time, to: &Path) -> bool {
        let hash = hash(to);
        match self.known(hash) {
            Some(Some(at)) if *at + HEARD > now => false,
            Some(counted) => counted.replace(now).is_some(),
            None => {
                self.add(hash, Some(now));
                true
            }
        }
    }

    fn known(&mut self, hash: u64) -> Option<&mut Option<Time>> {
        // Mostly it is one of the last.
        self.0.iter_mut().rev().find(|(known, _)| *known == hash).map(|(_, counted)| counted)
    }

    fn add(&mut self, hash: u64, counted: Option<Time>) {
        if self.0.len() >= PATHS {
            self.0.pop_front();
        }
        self.0.push_back((hash, counted));
    }
}

fn hash(to: &Path) -> u64 {
    let mut hasher = DefaultHasher::new();
    to.uris().iter().for_each(|uri| uri.as_str().hash(&mut hasher));
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_counts_once_in_a_while() {
        let path =
            |number: usize| Path::parse(&format!("msrp://a.example:1/{number};tcp"), 1).expect("valid");
        let at = |seconds| Time::ZERO + Duration::from_secs(seconds);
        let mut guesses = Guesses::default();
        assert!(guesses.refused(at(0), &path(0)) && !guesses.refused(at(29), &path(0)));
        assert!(guesses.refused(at(30), &path(0)) && !guesses.refused(at(59), &path(0)));
        // However long ago it was good: its end is no guess.
        guesses.good(&path(1));
        assert!(!guesses.refused(at(1_000), &path(1)) && !guesses.refused(at(1_029), &path(1)));
        assert!(guesses.refused(at(1_030), &path(1)));
        assert!((2..=PATHS).all(|number| guesses.refused(at(2_000), &path(number))));
        assert_eq!(guesses.0.len(), PATHS);
        assert!(
            !guesses.refused(at(2_000), &path(PATHS)) && guesses.refused(at(2_000), &path(0)),
            "forgotten"
        );
    }
}
