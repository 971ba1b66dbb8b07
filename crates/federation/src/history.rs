//! What became of attempts to talk to other servers, and of theirs to talk to us: the last ones of each domain, with codes for programs.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use nuncio_dna::{Direction, Time};
use serde_json::{Value, json};

/// How many attempts are kept for each domain.
const EACH: usize = 16;
/// How many domains are kept; those that were heard of longest ago go first.
const DOMAINS: usize = 2_000;

/// One attempt that failed, or one that came to something after others had failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// When it ended.
    pub at: Time,
    /// Who began it.
    pub direction: Direction,
    /// Our domain.
    pub local: String,
    /// What became of it: `authorised`, or a code that is never reused for another meaning.
    pub code: String,
    /// The same for people.
    pub text: String,
    /// What was proven, if it came to a judgement, and did not suffice.
    pub proofs: Arc<[String]>,
    /// Why each other prooftype proved nothing.
    pub findings: Arc<[String]>,
    /// How often in a row.
    pub times: u32,
}

/// The attempts of all domains.
#[derive(Debug, Default)]
pub(crate) struct History {
    domains: BTreeMap<String, Record>,
    /// Counts what was noted, so that the oldest can be found.
    clock: u64,
}

#[derive(Debug, Default)]
struct Record {
    attempts: VecDeque<Attempt>,
    noted: u64,
}

impl History {
    /// Notes an attempt. One that is like the last is counted with it.
    pub(crate) fn note(&mut self, remote: &str, attempt: Attempt) {
        self.clock += 1;
        if !self.domains.contains_key(remote) && self.domains.len() >= DOMAINS {
            let oldest = self.domains.iter().min_by_key(|(_, record)| record.noted);
            if let Some(oldest) = oldest.map(|(domain, _)| domain.clone()) {
                self.domains.remove(&oldest);
            }
        }
        let record = self.domains.entry(remote.to_owned()).or_default();
        record.noted = self.clock;
        if let Some(last) = record.attempts.back_mut()
            && (last.direction, &last.local, &last.code) == (attempt.direction, &attempt.local, &attempt.code)
        {
            *last = Attempt { times: last.times.saturating_add(1), ..attempt };
            return;
        }
        if record.attempts.len() >= EACH {
            record.attempts.pop_front();
        }
        // Mostly there is one, and there are many domains.
        record.attempts.reserve_exact(1);
        record.attempts.push_back(attempt);
    }

    /// The attempts of a domain, the last one first.
    pub(crate) fn of(&self, remote: &str) -> impl Iterator<Item = &Attempt> {
        self.domains.get(remote).into_iter().flat_map(|record| record.attempts.iter().rev())
    }

    /// Every domain whose last attempt was none that succeeded, with that attempt.
    pub(crate) fn failing(&self) -> impl Iterator<Item = (&str, &Attempt)> {
        let last = |(domain, record)| Some((domain, Record::last(record)?));
        self.domains.iter().map(|(domain, record)| (domain.as_str(), record)).filter_map(last)
    }
}

impl Record {
    fn last(&self) -> Option<&Attempt> {
        self.attempts.back().filter(|attempt| attempt.code != AUTHORISED)
    }
}

/// The code of an attempt that succeeded.
pub(crate) const AUTHORISED: &str = "authorised";

impl Attempt {
    /// As the command `federation.explain` shows it.
    pub(crate) fn json(&self) -> Value {
        json!({
            "at": self.at.to_string(),
            "direction": self.direction.name(),
            "local": self.local,
            "code": self.code,
            "text": self.text,
            "proofs": &*self.proofs,
            "findings": &*self.findings,
            "times": self.times,
        })
    }

    /// For people.
    pub(crate) fn line(&self) -> String {
        let times = if self.times > 1 { format!(" ({} times)", self.times) } else { String::new() };
        let way = match self.direction {
            Direction::In => "from them to",
            Direction::Out => "to them from",
        };
        let code = if self.code == AUTHORISED { String::new() } else { format!(" [{}]", self.code) };
        format!("{} {way} {}: {}{code}{times}", self.at, self.local, self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(code: &str, at: u64) -> Attempt {
        Attempt {
            at: Time::from_secs(at),
            direction: Direction::Out,
            local: "us.example".to_owned(),
            code: code.to_owned(),
            text: format!("it was {code}"),
            proofs: Arc::default(),
            findings: Arc::default(),
            times: 1,
        }
    }

    #[test]
    fn it_is_bounded_and_counts_repetitions() {
        let mut history = History::default();
        for at in 0..5 {
            history.note("them.example", attempt("self-signed", at));
        }
        history.note("them.example", attempt(AUTHORISED, 5));
        let all: Vec<_> = history.of("them.example").map(|one| (one.code.as_str(), one.times)).collect();
        assert_eq!(all, [(AUTHORISED, 1), ("self-signed", 5)]);
        assert_eq!(history.failing().count(), 0);
        for at in 0..100 {
            history.note("them.example", attempt(&format!("code-{at}"), at));
        }
        assert_eq!(history.of("them.example").count(), EACH);
        assert_eq!(history.of("them.example").next().map(|one| one.code.as_str()), Some("code-99"));
        for number in 0..DOMAINS {
            history.note(&format!("d{number}.example"), attempt("x", 0));
        }
        assert_eq!(history.domains.len(), DOMAINS);
        assert_eq!(history.of("them.example").count(), 0, "the one heard of longest ago is gone");
    }

    #[test]
    fn lines_for_people() {
        let line = Attempt { times: 2, ..attempt("self-signed", 0) }.line();
        assert_eq!(
            line,
            "1970-01-01T00:00:00Z to them from us.example: it was self-signed [self-signed] (2 times)"
        );
        let line = Attempt { text: AUTHORISED.to_owned(), ..attempt(AUTHORISED, 0) }.line();
        assert_eq!(line, "1970-01-01T00:00:00Z to them from us.example: authorised");
    }
}
