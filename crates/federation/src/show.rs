//! What the commands `federation.list` and `federation.explain` say. Members are added, never renamed.

use nuncio_dna::{Direction, Time, Tls};
use nuncio_sansio::{TlsFacts, TlsVersion};
use nuncio_stream::s2s::{By, Pair, Way};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::Federation;
use crate::live::{Carried, Live, Look, Phase};
use crate::pairs;

/// How many rows there are at most.
const ROWS: usize = 10_000;

/// For programs; null where there is no end.
pub(crate) fn time(time: Time) -> Value {
    if time == Time::NEVER { Value::Null } else { Value::from(time.to_string()) }
}

/// The version of TLS that a handshake came to.
pub(crate) const fn version(tls: Option<&TlsFacts>) -> Tls {
    match tls {
        None => Tls::None,
        Some(TlsFacts { version: TlsVersion::Tls12, .. }) => Tls::V12,
        Some(TlsFacts { version: TlsVersion::Tls13, .. }) => Tls::V13,
    }
}

const fn way(way: Way) -> &'static str {
    match way {
        Way::In => "in",
        Way::Out => "out",
        Way::Both => "both",
    }
}

const fn phase(phase: Phase) -> &'static str {
    match phase {
        Phase::Opening => "opening",
        Phase::Up => "up",
        Phase::Closing => "closing",
    }
}

/// The members of a row, all of them in each: what does not apply is null.
const MEMBERS: [&str; 19] = [
    "domain",
    "local",
    "state",
    "code",
    "text",
    "stream",
    "opened-by",
    "address",
    "stanzas",
    "proven-by",
    "strength",
    "level",
    "tls",
    "cipher",
    "since",
    "until",
    "waiting",
    "bytes",
    "next-attempt-seconds",
];

fn complete(mut row: Value) -> Value {
    if let Value::Object(fields) = &mut row {
        for member in MEMBERS {
            fields.entry(member).or_insert(Value::Null);
        }
    }
    row
}

fn row(live: &Live, look: &Look, pair: &Pair, carried: &Carried) -> Value {
    json!({
        "domain": &*pair.remote,
        "local": &*pair.local,
        "state": phase(look.phase),
        "stream": live.number,
        "opened-by": match live.direction { Direction::In => "them", Direction::Out => "us" },
        "stanzas": way(carried.way),
        "proven-by": carried.proof.by().name(),
        "strength": carried.proof.strength().name(),
        "level": carried.level.name(),
        "tls": version(look.tls.as_deref()).to_string(),
        "cipher": look.tls.as_ref().map(|tls| tls.suite.clone()),
        "address": live.peer.to_string(),
        "since": time(carried.since),
        "until": time(carried.until),
    })
}

/// How the side that accepted the stream was satisfied, as far as it is known here: what it asked for on the wire, which need not be what is proven.
fn admission(live: &Live, look: &Look, by: By) -> &'static str {
    match (live.direction, by) {
        (Direction::Out, By::External) => "they took our certificate (SASL EXTERNAL)",
        (Direction::In, By::External) => "we took their certificate (SASL EXTERNAL)",
        (Direction::In, By::Dialback) => "they showed a dialback key",
        (Direction::Out, By::Dialback) => {
            // After a login by certificate nothing is offered any more.
            if look.pairs.iter().any(|(_, carried)| carried.by == By::External) {
                "they let this pair join a stream that stood already, by its dialback key"
            } else if live.offers().external {
                "they offered to take our certificate (SASL EXTERNAL), but took our dialback key"
            } else {
                "they did not offer to take our certificate (SASL EXTERNAL); they took our dialback key"
            }
        }
    }
}

/// So many of something, in words.
fn count(number: usize, one: &str, several: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { several })
}

/// In how many seconds it is tried again, if it fails now.
fn next_attempt(look: &pairs::Look) -> Option<u64> {
    let retry = look.retry.filter(|_| look.failure.is_some())?;
    Some(retry.saturating_duration_since(Instant::now()).as_secs())
}

fn waiting(pair: &Pair, look: &pairs::Look) -> Value {
    let state = match (&look.failure, look.on, look.opening) {
        (Some(_), ..) => "failing",
        (None, true, _) => "up",
        (None, false, true) => "opening",
        (None, false, false) => "idle",
    };
    json!({
        "domain": &*pair.remote,
        "local": &*pair.local,
        "state": state,
        "waiting": look.waiting,
        "bytes": look.bytes,
        "code": look.failure.as_ref().map(|failure| failure.code.clone()),
        "text": look.failure.as_ref().map(|failure| failure.text.clone()),
        "next-attempt-seconds": next_attempt(look),
    })
}

impl Federation {
    /// Every pair of every stream, what waits, and what fails.
    pub(crate) fn show_all(&self) -> Value {
        let mut rows = Vec::new();
        for live in self.streams() {
            let look = live.look();
            if look.pairs.is_empty() {
                rows.push(json!({
                    "state": phase(look.phase),
                    "stream": live.number,
                    "opened-by": match live.direction { Direction::In => "them", Direction::Out => "us" },
                    "address": live.peer.to_string(),
                    "since": time(live.since),
                }));
            }
            rows.extend(look.pairs.iter().map(|(pair, carried)| row(&live, &look, pair, carried)));
        }
        let mut entries = self.pairs.entries();
        entries.sort_by(|one, other| one.pair.cmp(&other.pair));
        for entry in entries {
            let look = entry.look();
            if !look.on && (look.waiting > 0 || look.opening || look.failure.is_some()) {
                rows.push(waiting(&entry.pair, &look));
            }
        }
        self.history(|history| {
            for (domain, attempt) in
                history.failing().filter(|(_, attempt)| attempt.direction == Direction::In)
            {
                rows.push(json!({
                    "domain": domain,
                    "local": attempt.local,
                    "state": "refused",
                    "code": attempt.code,
                    "text": attempt.text,
                    "since": attempt.at.to_string(),
                }));
            }
        });
        rows.truncate(ROWS);
        json!({ "federation": rows.into_iter().map(complete).collect::<Vec<_>>() })
    }

    /// All that is known about one other domain. `says` is for people; its last line is the cause that matters now, the one before what to change.
    pub(crate) fn show(&self, remote: &str) -> Value {
        let policy = self.policy();
        let rule = nuncio_dna::Domain::new(remote).map(|domain| policy.rule(&domain).require.to_string());
        let rule = rule.unwrap_or_default();
        let listed = self.mind().may_speak(remote, Direction::Out).err();
        let mut says = vec![match &listed {
            None => format!("policy for {remote}: {rule}"),
            Some(failure) => format!("policy for {remote}: {rule}; but {} [{}]", failure.text, failure.code),
        }];
        let streams = self.show_streams(remote, &mut says);
        let mut queues = Vec::new();
        for entry in self.pairs.of(remote) {
            let look = entry.look();
            if look.waiting > 0 {
                says.push(format!(
                    "{} ({})",
                    count(look.waiting, "stanza waits", "stanzas wait"),
                    entry.pair
                ));
            }
            queues.push(complete(waiting(&entry.pair, &look)));
        }
        let attempts: Vec<_> = self.history(|history| history.of(remote).cloned().collect());
        for (place, attempt) in attempts.iter().enumerate().rev() {
            says.push(attempt.line());
            if place == 0 {
                says.extend(attempt.proofs.iter().map(|proof| format!("    {proof}")));
                says.extend(attempt.findings.iter().map(|finding| format!("    not by {finding}")));
                if listed.is_some() && attempt.proofs.is_empty() && attempt.findings.is_empty() {
                    says.push("    whoever is not let in is refused before anything is proven".to_owned());
                }
            }
        }
        let failing = queues.iter().find(|queue| !queue["code"].is_null());
        let last = attempts.first().filter(|attempt| attempt.code != crate::history::AUTHORISED);
        let cause = match (failing, last) {
            (Some(queue), _) => Some(("failing", queue["code"].clone(), queue["text"].clone())),
            (None, Some(attempt)) if streams.is_empty() => {
                Some(("last failed", Value::from(attempt.code.clone()), Value::from(attempt.text.clone())))
            }
            _ => None,
        };
        let mut advised = None;
        if let Some((_, code, _)) = &cause {
            let seconds = failing.and_then(|queue| queue["next-attempt-seconds"].as_u64());
            says.extend(seconds.map(|seconds| match seconds {
                0 => "tried again as soon as something is to be sent".to_owned(),
                _ => {
                    format!("tried again in {}", count(seconds.try_into().unwrap_or(0), "second", "seconds"))
                }
            }));
            let advice = crate::check::advice(code.as_str().unwrap_or_default());
            says.push(format!("to change: {advice}"));
            advised = Some(advice);
        }
        says.push(match &cause {
            Some((how, code, text)) => {
                let text = text.as_str().unwrap_or_default();
                format!("{how}: {text} [{}]", code.as_str().unwrap_or_default())
            }
            None if !streams.is_empty() => "connected".to_owned(),
            None => "not connected; nothing waits".to_owned(),
        });
        json!({
            "domain": remote,
            "policy": rule,
            "failing": cause.map(|(_, code, _)| code),
            "advice": advised,
            "streams": streams,
            "queues": queues,
            "attempts": attempts.iter().map(crate::Attempt::json).collect::<Vec<_>>(),
            "says": says,
        })
    }

    /// The streams that carry pairs with a domain, a row for each pair; for people, two lines.
    fn show_streams(&self, remote: &str, says: &mut Vec<String>) -> Vec<Value> {
        let mut streams = Vec::new();
        for live in self.streams() {
            let look = live.look();
            for (pair, carried) in look.pairs.iter().filter(|(pair, _)| *pair.remote == *remote) {
                let opened = match live.direction {
                    Direction::In => "opened by them from",
                    Direction::Out => "opened by us to",
                };
                says.push(format!(
                    "stream {} {opened} {}, {}, {}, stanzas {}: {}",
                    live.number,
                    live.peer,
                    version(look.tls.as_deref()),
                    count(look.pairs.len(), "pair", "pairs"),
                    way(carried.way),
                    carried.proof,
                ));
                says.push(format!("    {}", admission(&live, &look, carried.by)));
                let mut row = complete(row(&live, &look, pair, carried));
                if let Value::Object(fields) = &mut row {
                    let by = match carried.by {
                        By::External => "external",
                        By::Dialback => "dialback",
                    };
                    fields.insert("authorised-by".to_owned(), Value::from(by));
                    fields.insert("evidence".to_owned(), Value::from(carried.proof.basis().to_string()));
                    fields.insert("pairs".to_owned(), Value::from(look.pairs.len()));
                    fields.insert("sent".to_owned(), Value::from(look.sent));
                    fields.insert("received".to_owned(), Value::from(look.received));
                }
                streams.push(row);
            }
        }
        streams
    }
}
