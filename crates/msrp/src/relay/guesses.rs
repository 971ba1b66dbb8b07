//! Which requests for nothing may be guesses of a URI (S1-01, RFC 4976 §6.1).

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use crate::uri::Path;

/// So many paths are remembered.
const PATHS: usize = 1_024;

/// The To-Paths that a connection has used, as hashes. A client in the middle of a message cannot know that the other end has gone: all that it has sent
/// before it could read the first 481 goes to where the first went, and where it went when that was good. Who guesses names something new each time.
#[derive(Debug, Default)]
pub(super) struct Guesses(VecDeque<u64>);

impl Guesses {
    /// Remembers a path. Whether it is new.
    pub(super) fn note(&mut self, to: &Path) -> bool {
        let mut hasher = DefaultHasher::new();
        to.uris().iter().for_each(|uri| uri.as_str().hash(&mut hasher));
        let hash = hasher.finish();
        // Mostly it is one of the last.
        if self.0.iter().rev().any(|known| *known == hash) {
            return false;
        }
        if self.0.len() >= PATHS {
            self.0.pop_front();
        }
        self.0.push_back(hash);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_note_once() {
        let path =
            |number: usize| Path::parse(&format!("msrp://a.example:1/{number};tcp"), 1).expect("valid");
        let mut guesses = Guesses::default();
        assert!(guesses.note(&path(0)) && !guesses.note(&path(0)));
        assert!((1..=PATHS).all(|number| guesses.note(&path(number))));
        assert_eq!(guesses.0.len(), PATHS);
        assert!(!guesses.note(&path(PATHS)) && guesses.note(&path(0)), "the oldest is forgotten");
    }
}
