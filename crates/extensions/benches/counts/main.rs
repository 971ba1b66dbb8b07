//! What one operation of the server costs, without sockets, TLS and disk: every bench does one operation a given number of times.
//!
//! `cargo xtask bench counts` runs each under callgrind with its number of operations and with twice as many: the difference is what the operations
//! cost, free of everything that happens once. `cargo bench -p nuncio-extensions` times the same operations.
//!
//! Nothing here may depend on chance: fixed entropy, one thread, a clock that stands still. What arrives is checked, so that a bench
//! cannot get cheaper by doing nothing.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a bench that cannot go on has nobody to tell but its caller"
)]

use std::time::{Duration, Instant};

mod client;
mod login;
mod streams;
mod way;
mod words;

/// One figure.
struct Bench {
    /// Its name in the baseline and in the changelog.
    name: &'static str,
    /// How many operations are measured: enough for a million instructions or more.
    times: u64,
    /// Does the operation so many times.
    run: fn(u64),
    /// What the operation is.
    what: &'static str,
}

const fn bench(name: &'static str, times: u64, run: fn(u64), what: &'static str) -> Bench {
    Bench { name, times, run, what }
}

const ALL: &[Bench] = &[
    bench("read-message", 2_000, words::message, "bytes to stanza: a chat message with a body of 100 bytes"),
    bench("read-split", 2_000, words::split, "the same in three pieces"),
    bench("read-8k", 500, words::long, "the same with a body of 8 KiB"),
    bench("read-presence", 2_000, words::presence, "bytes to stanza: presence with capabilities"),
    bench("read-roster", 100, words::roster, "bytes to stanza: a roster of 50 items"),
    bench("write-message", 2_000, words::write, "clone, readdress and render the chat message"),
    bench("jid-ascii", 10_000, words::jid_ascii, "an address in ASCII"),
    bench("jid-unicode", 2_000, words::jid_unicode, "an address in Cyrillic, with a domain to be mapped"),
    bench("stream-in", 2_000, streams::inward, "bytes to the stream's event, and handled"),
    bench("stream-in-managed", 2_000, streams::inward_managed, "the same with <r/> and its answer"),
    bench("stream-out", 5_000, streams::outward, "a rendered stanza through the stream"),
    bench("stream-out-managed", 5_000, streams::outward_managed, "the same, acknowledged by fives"),
    bench("login-scram", 500, login::scram, "SCRAM-SHA-256-PLUS at the server, keys at hand"),
    bench("route-message", 1_000, way::message, "a chat message from session to session"),
    bench("route-managed", 1_000, way::managed, "the same, spooled until the recipient acknowledges it"),
    bench("route-carbons", 500, way::carbons, "the same between two accounts of two sessions with carbons"),
    bench("route-ten", 200, way::ten, "a chat message to an account with ten sessions"),
    bench("route-ping", 1_000, way::ping, "a ping to the server and its answer"),
    bench("presence-hundred", 50, way::presence, "presence to 100 contacts that are online"),
    bench("whole-message", 1_000, way::whole, "a chat message from bytes to bytes"),
    bench("whole-managed", 1_000, way::whole_managed, "the same with stream management on both sides"),
];

fn main() {
    // What cargo adds is none of ours.
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    match words.as_slice() {
        [] => ALL.iter().for_each(time),
        [list] if list == "list" => {
            ALL.iter().for_each(|bench| println!("{}\t{}\t{}", bench.name, bench.times, bench.what));
        }
        [name, times] => {
            let bench = ALL.iter().find(|bench| bench.name == name);
            let bench = bench.unwrap_or_else(|| panic!("no bench is called {name}"));
            (bench.run)(times.parse().unwrap());
        }
        _ => panic!("not understood: {words:?}; list, or NAME TIMES, or nothing"),
    }
}

/// Nanoseconds for an operation: again a difference, the best of some, since other programs only ever make it slower.
fn time(bench: &Bench) {
    let spent = |times| {
        let begin = Instant::now();
        (bench.run)(times);
        begin.elapsed()
    };
    let best = |times| (0..5).map(|_| spent(times)).min().unwrap_or(Duration::MAX);
    let difference = best(bench.times * 20).saturating_sub(best(bench.times * 10));
    let nanoseconds = difference.as_nanos() / u128::from(bench.times * 10);
    println!("{:<20} {nanoseconds:>9} ns  {}", bench.name, bench.what);
}
