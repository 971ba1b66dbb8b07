//! The tracker driven by arbitrary bytes beside a table that is too simple to be wrong. For fuzzers, `tests/mutate.rs` and proptest.

use std::time::Duration;

use nuncio_sansio::Time;
use nuncio_sansio::pair::Counter;
use nuncio_xmpp::jid::{BareJid, Jid};
use nuncio_xmpp::stanza::{IqType, Stanza, iq};

use super::{Account, Asker, Leniency, Line, Refused, Server, Tracker};

const ACCOUNT: &str = "juliet@example.com";
const DOMAIN: &str = "example.com";
const BOUND: &str = "juliet@example.com/balcony";
const MOST: usize = 12;

/// Whom is asked, and who answers: some are others' spellings.
const ADDRESSES: &[Option<&str>] = &[
    None,
    Some(ACCOUNT),
    Some(DOMAIN),
    Some(BOUND),
    Some("romeo@example.net/orchard"),
    Some("JULIET@Example.COM"),
    Some("EXAMPLE.com"),
    Some("juliet@example.com/Balcony"),
    Some("romeo@example.net"),
    Some("Romeo@Example.NET"),
    Some("\u{ff52}omeo@example.net"),
    Some("ROMEO@example.net/orchard"),
    Some("romeo@example.net/Orchard"),
    Some("mallory@example.net"),
    Some("example.net"),
];

/// One who asks, as the simple table sees it.
trait Model: Asker {
    fn asked(&self, from: Option<&Jid>, to: Option<&Jid>) -> Option<Line>;
    /// Whether this answer is one to a request between these two.
    fn fits(&self, request: &Request, from: Option<&str>, to: Option<&str>) -> bool;
}

struct Request {
    from: Option<String>,
    to: Option<String>,
    id: String,
    deadline: Option<Time>,
    number: usize,
}

struct Client(Account, Leniency);

impl Asker for Client {
    fn answers(&self, answer: &Stanza) -> [Option<Line>; 2] {
        self.0.answers(answer)
    }
}

impl Model for Client {
    fn asked(&self, _from: Option<&Jid>, to: Option<&Jid>) -> Option<Line> {
        Some(self.0.line(to))
    }

    fn fits(&self, request: &Request, from: Option<&str>, _to: Option<&str>) -> bool {
        match request.to.as_deref() {
            None | Some(ACCOUNT) => {
                from.is_none()
                    || from == Some(ACCOUNT)
                    || from == Some(BOUND) && self.1.full_address
                    || from == Some(DOMAIN) && self.1.domain
            }
            Some(DOMAIN) => from.is_none() || from == Some(DOMAIN),
            to => from == to,
        }
    }
}

impl Model for Server {
    fn asked(&self, from: Option<&Jid>, to: Option<&Jid>) -> Option<Line> {
        Some(Self::line(from?, to?))
    }

    fn fits(&self, request: &Request, from: Option<&str>, to: Option<&str>) -> bool {
        from.is_some() && from == request.to.as_deref() && to == request.from.as_deref()
    }
}

/// A random walk: requests, answers true and forged, deadlines, forgetting. The first byte says who asks.
///
/// # Panics
/// Tracker and table differ.
pub fn walk(data: &[u8]) {
    let Some((first, rest)) = data.split_first() else { return };
    let leniency = Leniency { full_address: first & 2 == 2, domain: first & 4 == 4 };
    match (BareJid::new(ACCOUNT), first & 1) {
        (Ok(account), 0) => {
            let mut account = Account::new(account, leniency);
            account.bind(Jid::new(BOUND).ok());
            run(Client(account, leniency), rest);
        }
        _ => run(Server, rest),
    }
}

fn run<A: Model>(asker: A, data: &[u8]) {
    let entropy = Counter::default();
    let mut tracker = Tracker::new(asker, MOST);
    let mut table: Vec<Request> = Vec::new();
    let mut now = Time::ZERO;
    let mut numbers = 0..;
    let mut gone = String::new();
    let mut bytes = data.iter().copied();
    while let Some(act) = bytes.next() {
        let mut pick = || usize::from(bytes.next().unwrap_or_default());
        let address = |place: usize| ADDRESSES.get(place % ADDRESSES.len()).copied().flatten();
        let (to, from) = (address(pick()), address(pick()));
        let (to, from) = (to.and_then(|to| Jid::new(to).ok()), from.and_then(|from| Jid::new(from).ok()));
        let text = |jid: &Option<Jid>| jid.as_ref().map(|jid| jid.as_str().to_owned());
        let place = pick();
        match act % 8 {
            0..3 => {
                let Some(line) = tracker.asker().asked(from.as_ref(), to.as_ref()) else { continue };
                let deadline = (place % 4 > 0).then(|| now + Duration::from_secs(place as u64 % 16));
                let Some(number) = numbers.next() else { return };
                match tracker.ask(line, deadline, number, &entropy) {
                    Ok(id) => {
                        assert_eq!(id.len(), 26);
                        table.push(Request { from: text(&from), to: text(&to), id, deadline, number });
                    }
                    Err(refused) => assert!(refused == Refused::TooMany && table.len() == MOST),
                }
            }
            3..6 => {
                // A true answer, a forged one, or one that comes late.
                let request = table.get(place % table.len().max(1));
                let id = request.map_or_else(|| gone.clone(), |request| request.id.clone());
                let turned = act >= 128;
                let (from, to) = match request {
                    Some(request) if turned => {
                        let jid = |text: &Option<String>| text.as_ref().and_then(|text| Jid::new(text).ok());
                        (jid(&request.to), jid(&request.from))
                    }
                    _ => (from, to),
                };
                let kind = if act & 8 == 8 { IqType::Error } else { IqType::Result };
                let answer = iq(kind, &id).from(from.clone()).to(to.clone()).build();
                let (from, to) = (text(&from), text(&to));
                let fits = |request: &Request| {
                    request.id == id && tracker.asker().fits(request, from.as_deref(), to.as_deref())
                };
                let place = table.iter().position(fits);
                let expected = place.map(|place| table.remove(place)).map(|request| {
                    gone = request.id;
                    request.number
                });
                assert_eq!(tracker.settle(&answer), expected, "{from:?} to {to:?}");
            }
            6 => {
                now = now + Duration::from_secs(place as u64 % 8);
                while let Some(number) = tracker.expired(now) {
                    let due = table.iter().filter(|request| request.deadline.is_some_and(|at| at <= now));
                    let first = due.min_by_key(|request| (request.deadline, request.number));
                    assert_eq!(first.map(|request| request.number), Some(number));
                    table.retain(|request| request.number != number);
                }
                assert!(table.iter().all(|request| request.deadline.is_none_or(|at| at > now)));
            }
            _ if place == 255 => {
                tracker.close();
                return assert!(tracker.is_empty() && tracker.next_deadline().is_none());
            }
            _ => {
                tracker.retain(|number| number % 8 != place % 8);
                table.retain(|request| request.number % 8 != place % 8);
            }
        }
        assert_eq!(tracker.len(), table.len());
        let earliest = table.iter().filter_map(|request| request.deadline).min();
        assert_eq!(tracker.next_deadline(), earliest);
    }
}
