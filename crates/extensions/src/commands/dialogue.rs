//! Open forms: bounded, and gone after a while (XEP-0050 §3.3).

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use jiff::Timestamp;
use nuncio_xmpp::jid::Jid;

/// How long a form can be answered; a closed or expired one is remembered once as long.
pub(super) const LIFETIME: Duration = Duration::from_secs(600);

/// Forms that one address may have open; its oldest goes when there are more.
pub(super) const PER_ADDRESS: usize = 10;

/// Forms that are remembered, open or not; the oldest go when there are more.
const MOST: usize = 10_000;

/// One form that somebody was given.
#[derive(Clone, Debug)]
struct Dialogue {
    who: Jid,
    node: String,
    since: Timestamp,
    open: bool,
}

/// Why a session id is not taken (XEP-0050 §4.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unusable {
    /// It was never given to this address, for this command.
    Bad,
    /// It was answered, cancelled, or given too long ago.
    Expired,
}

/// All forms.
#[derive(Debug, Default)]
pub(super) struct Dialogues {
    by_id: HashMap<String, Dialogue>,
    /// Ids in the order in which they were given.
    order: VecDeque<String>,
    /// The last ids of each address.
    by_who: HashMap<Jid, VecDeque<String>>,
}

impl Dialogues {
    /// Remembers a form that is given out now.
    pub(super) fn open(&mut self, id: String, who: Jid, node: &str, now: Timestamp) {
        self.forget(now);
        let own = self.by_who.entry(who.clone()).or_default();
        own.retain(|id| self.by_id.get(id).is_some_and(|dialogue| dialogue.open));
        own.push_back(id.clone());
        if own.len() > PER_ADDRESS
            && let Some(oldest) = own.pop_front()
        {
            self.close(&oldest);
        }
        self.order.push_back(id.clone());
        self.by_id.insert(id, Dialogue { who, node: node.to_owned(), since: now, open: true });
    }

    /// Whether a form is open for this address and command.
    pub(super) fn check(&self, id: &str, who: &Jid, node: &str, now: Timestamp) -> Result<(), Unusable> {
        let known = self.by_id.get(id).filter(|dialogue| dialogue.who == *who && dialogue.node == node);
        let dialogue = known.ok_or(Unusable::Bad)?;
        if dialogue.open && age(dialogue, now) < LIFETIME { Ok(()) } else { Err(Unusable::Expired) }
    }

    /// A form was answered or cancelled. False if it was closed already: of two answers at once only one counts.
    pub(super) fn close(&mut self, id: &str) -> bool {
        self.by_id.get_mut(id).is_some_and(|dialogue| std::mem::take(&mut dialogue.open))
    }

    /// A form stays open after all: its answer did not fit.
    pub(super) fn reopen(&mut self, id: &str) {
        if let Some(dialogue) = self.by_id.get_mut(id) {
            dialogue.open = true;
        }
    }

    fn forget(&mut self, now: Timestamp) {
        while let Some(oldest) = self.order.front() {
            let stale = self.by_id.get(oldest).is_none_or(|dialogue| age(dialogue, now) >= LIFETIME * 2);
            if !stale && self.order.len() < MOST {
                return;
            }
            if let Some(gone) = self.by_id.remove(oldest)
                && let Some(own) = self.by_who.get_mut(&gone.who)
            {
                own.retain(|id| id != oldest);
                if own.is_empty() {
                    self.by_who.remove(&gone.who);
                }
            }
            self.order.pop_front();
        }
    }
}

fn age(dialogue: &Dialogue, now: Timestamp) -> Duration {
    now.duration_since(dialogue.since).try_into().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jid(text: &str) -> Jid {
        Jid::new(text).unwrap()
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + seconds).unwrap()
    }

    #[test]
    fn a_form_is_open_for_one_address_and_command_until_closed_or_old() {
        // XEP-0050 §3.3, §4.4
        let (juliet, romeo) = (jid("juliet@capulet.example/a"), jid("juliet@capulet.example/b"));
        let mut all = Dialogues::default();
        all.open("one".to_owned(), juliet.clone(), "add", at(0));
        assert_eq!(all.check("one", &juliet, "add", at(599)), Ok(()));
        assert_eq!(all.check("one", &romeo, "add", at(1)), Err(Unusable::Bad), "another resource");
        assert_eq!(all.check("one", &juliet, "delete", at(1)), Err(Unusable::Bad), "another command");
        assert_eq!(all.check("two", &juliet, "add", at(1)), Err(Unusable::Bad), "never given");
        assert_eq!(all.check("one", &juliet, "add", at(600)), Err(Unusable::Expired));
        assert!(all.close("one"));
        assert!(!all.close("one"), "only the first of two answers counts");
        assert_eq!(all.check("one", &juliet, "add", at(2)), Err(Unusable::Expired));
    }

    #[test]
    fn forms_are_bounded_for_each_address_and_in_all() {
        let juliet = jid("juliet@capulet.example/a");
        let mut all = Dialogues::default();
        for number in 0..=PER_ADDRESS {
            all.open(number.to_string(), juliet.clone(), "add", at(0));
        }
        assert_eq!(all.check("0", &juliet, "add", at(1)), Err(Unusable::Expired), "the oldest went");
        assert_eq!(all.check("1", &juliet, "add", at(1)), Ok(()));
        for number in 0..2 * MOST {
            all.open(format!("x{number}"), jid(&format!("u{number}@capulet.example/a")), "add", at(1));
            assert!(all.by_id.len() <= MOST && all.order.len() <= MOST && all.by_who.len() <= MOST);
        }
        all.open("late".to_owned(), juliet, "add", at(1 + 1_200));
        assert_eq!((all.by_id.len(), all.order.len(), all.by_who.len()), (1, 1, 1), "the old are forgotten");
    }
}
