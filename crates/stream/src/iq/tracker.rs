//! The table of requests that wait.

use std::collections::BTreeMap;
use std::sync::Arc;

use nuncio_sansio::{Entropy, Time};
use nuncio_xmpp::stanza::{IqType, Kind, Stanza};

use super::asker::{Asker, Line};

/// Why a request must not be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// As many wait as may.
    #[error("too many requests wait for their answers")]
    TooMany,
    /// The id that was drawn is in use: the source of randomness is none.
    #[error("the source of randomness repeats itself")]
    Entropy,
}

/// What a request is known by: never the id alone (S4-04). The id stands first since it tells most requests apart at once.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    id: String,
    line: Line,
}

#[derive(Debug)]
struct Waiting<T> {
    /// Its place in the order of asking.
    number: u64,
    deadline: Option<Time>,
    value: T,
}

/// Requests that wait for their answers, each with a value of its asker's. Every operation but [`Tracker::retain`] and
/// [`Tracker::close`] takes time logarithmic in their number, whatever a peer sends.
#[derive(Debug)]
pub struct Tracker<A, T> {
    asker: A,
    most: usize,
    asked: u64,
    waiting: BTreeMap<Arc<Key>, Waiting<T>>,
    due: BTreeMap<(Time, u64), Arc<Key>>,
}

impl<A: Asker, T> Tracker<A, T> {
    /// No requests yet, and at most `most` at once.
    pub const fn new(asker: A, most: usize) -> Self {
        Self { asker, most, asked: 0, waiting: BTreeMap::new(), due: BTreeMap::new() }
    }

    /// Who asks.
    pub const fn asker(&self) -> &A {
        &self.asker
    }

    /// Who asks, to change.
    pub const fn asker_mut(&mut self) -> &mut A {
        &mut self.asker
    }

    /// Requests that wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// A request is about to be sent. Returns its id: 128 random bits as 26 letters (S4-03, S4-09). Without a deadline it waits until it is
    /// answered or forgotten.
    ///
    /// # Errors
    /// See [`Refused`]; nothing has changed then.
    pub fn ask(
        &mut self,
        line: Line,
        deadline: Option<Time>,
        value: T,
        entropy: &dyn Entropy,
    ) -> Result<String, Refused> {
        if self.waiting.len() >= self.most {
            return Err(Refused::TooMany);
        }
        let id = entropy.token();
        let key = Arc::new(Key { id: id.clone(), line });
        if self.waiting.contains_key(&key) {
            return Err(Refused::Entropy);
        }
        self.asked += 1;
        let number = self.asked;
        if let Some(deadline) = deadline {
            self.due.insert((deadline, number), Arc::clone(&key));
        }
        self.waiting.insert(key, Waiting { number, deadline, value });
        Ok(id)
    }

    /// A stanza came. If it is the answer to a request that waits, by whom it was asked of, that request is over and its value returned.
    /// Everything else is to be ignored: nothing has changed, and it must not be answered (S4-05).
    pub fn settle(&mut self, answer: &Stanza) -> Option<T> {
        let Kind::Iq(IqType::Result | IqType::Error) = answer.kind() else { return None };
        if self.waiting.is_empty() {
            return None;
        }
        let id = answer.id()?;
        let [first, second] = self.asker.answers(answer);
        first.and_then(|line| self.forget(line, id)).or_else(|| second.and_then(|line| self.forget(line, id)))
    }

    /// Nobody waits for this answer any more; should it come, it is ignored.
    pub fn forget(&mut self, line: Line, id: &str) -> Option<T> {
        self.take(&Key { id: id.to_owned(), line })
    }

    fn take(&mut self, key: &Key) -> Option<T> {
        let waiting = self.waiting.remove(key)?;
        if let Some(deadline) = waiting.deadline {
            self.due.remove(&(deadline, waiting.number));
        }
        Some(waiting.value)
    }

    /// The earliest deadline.
    pub fn next_deadline(&self) -> Option<Time> {
        self.due.first_key_value().map(|((deadline, _), _)| *deadline)
    }

    /// Ends the request whose deadline is the earliest, if it has come, and returns its value; of several with one deadline, that which
    /// was asked first. To be called until none is returned.
    pub fn expired(&mut self, now: Time) -> Option<T> {
        let (place, _) = self.due.first_key_value().filter(|((deadline, _), _)| *deadline <= now)?;
        let place = *place;
        let key = self.due.remove(&place)?;
        self.take(&key)
    }

    /// Forgets the requests for whose values `keeps` is false.
    pub fn retain(&mut self, mut keeps: impl FnMut(&T) -> bool) {
        let due = &mut self.due;
        self.waiting.retain(|_, waiting| {
            let keep = keeps(&waiting.value);
            if let (false, Some(deadline)) = (keep, waiting.deadline) {
                due.remove(&(deadline, waiting.number));
            }
            keep
        });
    }

    /// Nothing will ever be answered: forgets all, and takes no more.
    pub fn close(&mut self) {
        self.most = 0;
        self.waiting.clear();
        self.due.clear();
    }
}
