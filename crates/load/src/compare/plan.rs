//! What is measured: the lines of the table, each a scenario for some of the subjects.

use super::seed::{Range, Roster};
use super::subject::Kind;

/// What a case is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Measure {
    /// Microseconds of the server's CPU per operation.
    #[default]
    Cpu,
    /// Bytes of memory per connection, or whatever else the scenario makes many of.
    Memory,
    /// Microseconds that 99 of 100 operations stay below.
    Latency,
}

/// Which servers a case needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Site {
    /// One that talks to clients only.
    #[default]
    Alone,
    /// Two of the same kind that talk to each other, a domain each.
    Two,
    /// One, and another of the same kind that serves so many domains.
    Hoster(u32),
    /// One, and so many domains that nobody answers for: half of them refuse connections, half accept them and say nothing.
    Dead(u32),
    /// One with an MSRP relay, or two whose relays forward to each other.
    Msrp(u32),
}

impl Site {
    /// For names of folders.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Alone => "alone",
            Self::Two => "two",
            Self::Hoster(_) => "hoster",
            Self::Dead(_) => "dead",
            Self::Msrp(1) => "msrp1",
            Self::Msrp(_) => "msrp2",
        }
    }
}

/// A percentile of latencies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Percentile {
    /// The median.
    P50,
    /// What 99 of 100 stay below.
    P99,
}

/// What is asked of Nuncio in a case.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Goal {
    /// At most so many times what the relay costs.
    OfRelay(f64),
    /// At most this, in the unit of the measure.
    AtMost(f64),
    /// At most so many times what the better rival costs.
    OfBetterRival(f64),
    /// At most so many times what this rival costs.
    OfRival(Kind, f64),
    /// At most so many connections between the servers.
    Connections(u64),
    /// A percentile of latencies at most so many times what it is at the same server without the disturbance that the case is about.
    Undisturbed(Percentile, f64),
    /// The median of latencies at most this, in microseconds.
    Median(f64),
    /// At most so many times what it costs in another case.
    OfCase(&'static str, f64),
    /// At most so many times what the bare relay costs in another case.
    OfRelayOf(&'static str, f64),
    /// The rate rises from the other case by at least this part of what the cores leave.
    RateOfCase(&'static str, f64),
}

/// One line of the table.
#[derive(Clone, Debug, Default)]
pub(super) struct Case {
    /// Its name for `--only` and in the JSON.
    pub(super) key: &'static str,
    /// What it says in the table.
    pub(super) title: String,
    pub(super) measure: Measure,
    /// The scenario, as its TOML.
    pub(super) scenario: String,
    /// Whom it is for.
    pub(super) subjects: &'static [Kind],
    /// Which range of accounts logs in. Scenarios of different kinds share none: what one leaves for the absent must not come to another.
    pub(super) accounts: &'static str,
    /// Whether the server must be a new process: memory that an earlier scenario left would be counted as free.
    pub(super) fresh: bool,
    /// Nuncio's worker threads; none for as many as there are cores.
    pub(super) threads: Option<u32>,
    /// What is asked; nothing if it is measured for comparison only.
    pub(super) goals: Vec<Goal>,
    /// Where it is measured.
    pub(super) site: Site,
}

const EVERYBODY: &[Kind] = &Kind::ALL;
const SERVERS: &[Kind] = &[Kind::Prosody, Kind::Ejabberd, Kind::Nuncio];
const NUNCIO: &[Kind] = &[Kind::Nuncio];
/// Those whose servers are compared when they talk to each other.
/// Those that forward a file.
const RELAYS: &[Kind] = &[Kind::Relay, Kind::Nuncio];
const FEDERATED: &[Kind] = &[Kind::Prosody, Kind::Nuncio];

/// How large the scenarios are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    /// Seconds of each chat.
    seconds: u32,
    logins: u32,
    idle: u32,
    contacts: u32,
    fetches: u32,
    /// Accounts that get messages while they are away.
    absent: u32,
    /// Sessions that break and are resumed.
    resumes: u32,
    /// Connections of the larger of the two that are compared for growth.
    many: u32,
    /// Domains of one hoster that one server talks to.
    pairs: u32,
    /// Stanzas to domains that nobody answers for.
    unanswered: u32,
    /// Bytes of a file through MSRP relays.
    file: u64,
    /// MSRP clients that say nothing.
    quiet: u32,
}

impl Sizes {
    /// Those of the table.
    pub(super) const FULL: Self = Self {
        seconds: 4,
        logins: 1_000,
        idle: 2_000,
        contacts: 1_000,
        fetches: 100,
        absent: 100,
        resumes: 200,
        many: 10_000,
        pairs: 1_000,
        unanswered: 10_000,
        file: 1 << 30,
        quiet: 5_000,
    };

    /// Those of `--quick`: the same scenarios, smaller.
    pub(super) const QUICK: Self = Self {
        seconds: 1,
        logins: 200,
        idle: 300,
        contacts: 100,
        fetches: 50,
        absent: 50,
        resumes: 50,
        many: 1_000,
        pairs: 200,
        unanswered: 2_000,
        file: 64 << 20,
        quiet: 500,
    };
}

/// Contacts in the roster of each idle account.
const IDLE_CONTACTS: u32 = 10;

/// At most so many accounts write to others than their partner.
const SENDERS: u32 = 10;

/// Pairs that talk, but where it says otherwise.
const PAIRS: u32 = 20;

/// All cases in the order of the table.
pub(super) fn cases(sizes: Sizes) -> Vec<Case> {
    let Sizes { seconds, logins, idle, contacts, fetches, absent, resumes, many, pairs, unanswered, .. } =
        sizes;
    let chat = |window: u32, more: &str| {
        format!(
            "kind = \"chat\"\npairs = {PAIRS}\nwindow = {window}\nbody = 100\nseconds = {seconds}\n{more}"
        )
    };
    let user = Case { accounts: "chat", ..Case::default() };
    let mut all = vec![
        Case {
            key: "chat10",
            title: format!("CPU per one-to-one message, {PAIRS} pairs, window 10, 100-byte body"),
            scenario: chat(10, ""),
            subjects: EVERYBODY,
            goals: vec![Goal::OfRelay(1.5)],
            ..user.clone()
        },
        Case {
            key: "chat1",
            title: "the same, window 1".to_owned(),
            scenario: chat(1, ""),
            subjects: EVERYBODY,
            goals: vec![Goal::OfRelay(1.3)],
            ..user.clone()
        },
        Case {
            key: "managed",
            title: "the same as the first, stream management on".to_owned(),
            scenario: chat(10, "managed = true\n"),
            subjects: SERVERS,
            ..user.clone()
        },
        Case {
            key: "login",
            title: "CPU per login (TLS 1.3, SCRAM-SHA-1, bind, presence)".to_owned(),
            scenario: format!("kind = \"login\"\nlogins = {logins}\n"),
            subjects: EVERYBODY,
            goals: vec![Goal::AtMost(800.0)],
            accounts: "login",
            ..Case::default()
        },
        Case {
            key: "idle",
            title: format!(
                "memory per idle TLS connection (roster of {IDLE_CONTACTS} loaded, stream management on), at {idle}"
            ),
            measure: Measure::Memory,
            scenario: format!("kind = \"idle\"\nconnections = {idle}\nmanaged = true\nroster = true\n"),
            subjects: EVERYBODY,
            accounts: "idle",
            fresh: true,
            goals: vec![Goal::AtMost(10_000.0)],
            ..Case::default()
        },
        Case {
            key: "presence",
            title: format!("presence to a roster of {contacts} online contacts, CPU per delivery"),
            scenario: format!("kind = \"presence\"\ncontacts = {contacts}\n"),
            subjects: SERVERS,
            accounts: "fan",
            goals: vec![Goal::OfBetterRival(0.1)],
            ..Case::default()
        },
        Case {
            key: "roster",
            title: format!("fetching a roster of {contacts}, CPU per fetch"),
            scenario: format!("kind = \"roster\"\nentries = {contacts}\nfetches = {fetches}\n"),
            subjects: SERVERS,
            accounts: "fan",
            ..Case::default()
        },
        Case {
            key: "offline",
            title: "CPU per message that is kept for an absent reader and read later".to_owned(),
            scenario: format!("kind = \"offline\"\nrecipients = {absent}\n"),
            subjects: SERVERS,
            accounts: "away",
            ..Case::default()
        },
        Case {
            key: "resume",
            title: "CPU per resumed session (XEP-0198)".to_owned(),
            scenario: format!("kind = \"resume\"\nsessions = {resumes}\n"),
            subjects: SERVERS,
            accounts: "resume",
            ..Case::default()
        },
        Case {
            key: "few",
            title: format!("CPU per message, {PAIRS} pairs among 100 connections"),
            scenario: chat(10, "bystanders = 60\n"),
            subjects: NUNCIO,
            ..user.clone()
        },
        Case {
            key: "many",
            title: format!("the same among {many} connections"),
            scenario: chat(10, &format!("bystanders = {}\n", many - 2 * PAIRS)),
            subjects: NUNCIO,
            goals: vec![Goal::OfCase("few", 1.2)],
            ..user.clone()
        },
        Case {
            key: "spread",
            title: format!("the same, {} pairs, all of {many} connections active, window 1", many / 2),
            scenario: format!(
                "kind = \"chat\"\npairs = {}\nwindow = 1\nbody = 100\nseconds = {seconds}\n",
                many / 2
            ),
            subjects: NUNCIO,
            ..user.clone()
        },
        Case {
            key: "one-thread",
            title: "CPU per message, one worker thread, 100 pairs".to_owned(),
            scenario: threaded(seconds),
            subjects: NUNCIO,
            threads: Some(1),
            ..user.clone()
        },
        Case {
            key: "two-threads",
            title: "the same, two worker threads".to_owned(),
            scenario: threaded(seconds),
            subjects: NUNCIO,
            threads: Some(2),
            goals: vec![Goal::RateOfCase("one-thread", 0.9)],
            ..user.clone()
        },
        Case {
            key: "federated",
            title: "CPU per one-to-one message from server to server, both servers together, as chat10"
                .to_owned(),
            scenario: chat(10, ""),
            subjects: FEDERATED,
            goals: vec![Goal::OfCase("chat10", 2.5), Goal::OfRival(Kind::Prosody, 0.2)],
            site: Site::Two,
            ..user.clone()
        },
        Case {
            key: "pairs",
            title: format!("memory per idle pair of domains, {pairs} of one hoster"),
            measure: Measure::Memory,
            scenario: format!("kind = \"pairs\"\npairs = {pairs}\nwarmup = {FIRST_PAIRS}\n"),
            subjects: NUNCIO,
            goals: vec![Goal::AtMost(2_000.0), Goal::Connections(1)],
            site: Site::Hoster(pairs + FIRST_PAIRS),
            ..user.clone()
        },
        Case {
            key: "dead",
            title: format!(
                "latency (p99) of local messages while {unanswered} stanzas go to {DEAD} unreachable domains"
            ),
            measure: Measure::Latency,
            scenario: format!(
                "kind = \"dead\"\nstanzas = {unanswered}\ndomains = {DEAD}\nseconds = {seconds}\n"
            ),
            subjects: NUNCIO,
            goals: vec![Goal::Undisturbed(Percentile::P50, 1.1), Goal::Undisturbed(Percentile::P99, 1.1)],
            site: Site::Dead(DEAD),
            ..user.clone()
        },
    ];
    all.extend(msrp(sizes, &user));
    all
}

/// Files of this many are on their way at once where the relay's memory is looked at.
const FILES: u64 = 8;

/// The MSRP relay beside the server.
fn msrp(sizes: Sizes, user: &Case) -> Vec<Case> {
    let Sizes { file, quiet, .. } = sizes;
    let scenario = |text: &str| format!("kind = \"msrp\"\n{text}");
    let megabytes = file / 1_000_000;
    vec![
        Case {
            key: "msrp1",
            title: format!("CPU per megabyte of a file of {megabytes} MB through an MSRP relay"),
            scenario: scenario(&format!("bytes = {file}\n")),
            subjects: RELAYS,
            goals: vec![Goal::OfRelay(2.0)],
            site: Site::Msrp(1),
            ..user.clone()
        },
        Case {
            key: "msrp2",
            title: "the same through the relays of two servers, both together".to_owned(),
            scenario: scenario(&format!("bytes = {file}\n")),
            subjects: NUNCIO,
            // Two relays, and each at most twice a bare one.
            goals: vec![Goal::OfRelayOf("msrp1", 4.0)],
            site: Site::Msrp(2),
            ..user.clone()
        },
        Case {
            key: "msrp-memory",
            title: format!("the server's memory at its peak, {FILES} files through its MSRP relay at once"),
            measure: Measure::Memory,
            scenario: scenario(&format!("bytes = {}\nfiles = {FILES}\n", file / FILES)),
            subjects: NUNCIO,
            goals: vec![Goal::AtMost(67_108_864.0)],
            site: Site::Msrp(1),
            ..user.clone()
        },
        Case {
            key: "msrp-idle",
            title: format!("memory per idle MSRP client with a connection and a URI, at {quiet}"),
            measure: Measure::Memory,
            scenario: scenario(&format!("files = 0\nidle = {quiet}\n")),
            subjects: NUNCIO,
            goals: vec![Goal::AtMost(10_000.0)],
            site: Site::Msrp(1),
            ..user.clone()
        },
        Case {
            key: "msrp-beside",
            title: "latency (p99) of short messages while a file flows to the same client".to_owned(),
            measure: Measure::Latency,
            scenario: scenario(&format!("bytes = {}\ntexts = {TEXTS}\n", file / 4)),
            subjects: NUNCIO,
            goals: vec![Goal::Median(50_000.0)],
            site: Site::Msrp(1),
            ..user.clone()
        },
    ]
}

/// Short messages beside a file.
const TEXTS: u32 = 500;

/// Pairs of domains before memory is looked at first.
const FIRST_PAIRS: u32 = 50;

/// Domains that nobody answers for.
const DEAD: u32 = 100;

/// The accounts of each server of a site with several.
pub(super) const SITE_ACCOUNTS: Range = Range { prefix: "chat", count: 100, roster: Roster::Empty };

fn threaded(seconds: u32) -> String {
    format!("kind = \"chat\"\npairs = 100\nwindow = 10\nbody = 100\nseconds = {seconds}\n")
}

/// The accounts that these cases need at a subject.
pub(super) fn ranges(cases: &[&Case], kind: Kind, sizes: Sizes) -> Vec<Range> {
    let here = || cases.iter().filter(|case| case.site == Site::Alone && case.subjects.contains(&kind));
    let large = here().any(|case| matches!(case.key, "many" | "spread"));
    let all = [
        ("chat", if large { sizes.many } else { 200 }, Roster::Empty),
        ("login", sizes.logins, Roster::Empty),
        ("idle", sizes.idle, Roster::Listed(IDLE_CONTACTS)),
        ("fan", sizes.contacts + 1, Roster::Star),
        ("away", sizes.absent + SENDERS, Roster::Empty),
        ("resume", sizes.resumes + SENDERS, Roster::Empty),
    ];
    all.into_iter()
        .filter(|(prefix, ..)| here().any(|case| case.accounts == *prefix))
        .map(|(prefix, count, roster)| Range { prefix, count, roster })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::Scenario;

    #[test]
    fn every_scenario_is_one() {
        for case in [Sizes::FULL, Sizes::QUICK].into_iter().flat_map(cases) {
            if let Err(why) = Scenario::parse(&case.scenario) {
                panic!("{}: {why}\n{}", case.key, case.scenario);
            }
        }
    }

    #[test]
    fn keys_are_names_and_goals_refer_to_cases() {
        let cases = cases(Sizes::FULL);
        let keys: BTreeSet<_> = cases.iter().map(|case| case.key).collect();
        assert_eq!(keys.len(), cases.len());
        for case in &cases {
            for goal in &case.goals {
                match *goal {
                    Goal::OfCase(other, _) | Goal::RateOfCase(other, _) => assert!(keys.contains(other)),
                    Goal::OfRelay(_) => assert!(case.subjects.contains(&Kind::Relay), "{}", case.key),
                    Goal::OfBetterRival(_) => assert!(case.subjects.contains(&Kind::Prosody)),
                    Goal::OfRival(rival, _) => assert!(case.subjects.contains(&rival)),
                    Goal::Connections(_) => assert_ne!(case.site, Site::Alone),
                    _ => {}
                }
            }
        }
    }

    /// A rival is not seeded with accounts that only Nuncio's own cases need.
    #[test]
    fn accounts_are_those_that_the_cases_need() {
        let all = cases(Sizes::FULL);
        let all: Vec<&Case> = all.iter().collect();
        let count = |kind, prefix: &str| {
            ranges(&all, kind, Sizes::FULL)
                .iter()
                .find(|range| range.prefix == prefix)
                .map(|range| range.count)
        };
        assert_eq!(count(Kind::Nuncio, "chat"), Some(10_000));
        assert_eq!(count(Kind::Prosody, "chat"), Some(200));
        assert_eq!(count(Kind::Prosody, "away"), Some(110));
        assert_eq!(count(Kind::Prosody, "fan"), Some(1_001));
        assert_eq!(count(Kind::Relay, "fan"), None);
        let chat: Vec<&Case> = all.iter().copied().filter(|case| case.key == "chat10").collect();
        assert_eq!(ranges(&chat, Kind::Nuncio, Sizes::FULL).len(), 1);
    }
}
