//! Tables of who may answer whom, floods, deadlines, and the random walk.

use std::time::Duration;

use nuncio_sansio::pair::Counter;
use nuncio_sansio::{Entropy, Time};
use nuncio_xmpp::jid::{BareJid, Jid};
use nuncio_xmpp::stanza::{IqType, MessageType, Stanza, iq, message};
use nuncio_xmpp::xml::Element;
use nuncio_xmpp::{ns, stanza};

use super::*;

fn jid(text: &str) -> Jid {
    Jid::new(text).unwrap()
}

fn at(seconds: u64) -> Time {
    Time::ZERO + Duration::from_secs(seconds)
}

const OWN: &str = "juliet@example.com/balcony";

fn client(leniency: Leniency) -> Tracker<Account, u32> {
    let mut account = Account::new(BareJid::new("juliet@example.com").unwrap(), leniency);
    account.bind(Some(jid(OWN)));
    Tracker::new(account, 1_000)
}

fn answer(from: Option<&str>, id: &str, kind: IqType) -> Stanza {
    iq(kind, id).from(from.map(jid)).build()
}

/// S4-01, S4-02, S4-04, S4-06: who may answer a client.
#[test]
fn only_the_addressee_answers_a_client() {
    let usual = Leniency::default();
    let strict = Leniency { full_address: false, domain: false };
    let old = Leniency { full_address: true, domain: true };
    type From = Option<&'static str>;
    type Case = (Leniency, From, &'static [From], &'static [From]);
    let cases: &[Case] = &[
        (
            usual,
            None,
            &[None, Some("juliet@example.com"), Some("JULIET@Example.com"), Some(OWN)],
            &[
                Some("example.com"),
                Some("juliet@example.com/x"),
                Some("romeo@example.net"),
                Some("example.net"),
            ],
        ),
        (
            usual,
            Some("juliet@example.com"),
            &[None, Some("juliet@example.com"), Some(OWN)],
            &[Some("example.com"), Some("romeo@example.net")],
        ),
        (strict, None, &[None, Some("juliet@example.com")], &[Some(OWN), Some("example.com")]),
        (old, None, &[Some("example.com"), Some(OWN)], &[Some("example.net"), Some("juliet@example.com/x")]),
        (
            usual,
            Some("example.com"),
            &[None, Some("example.com"), Some("EXAMPLE.com")],
            &[Some("juliet@example.com"), Some(OWN), Some("example.net"), Some("example.com/x")],
        ),
        (
            old,
            Some("Romeo@Example.NET"),
            &[Some("romeo@example.net"), Some("ROMEO@example.net"), Some("\u{ff32}omeo@\u{ff25}xample.net")],
            &[
                None,
                Some("romeo@example.net/orchard"),
                Some("example.net"),
                Some("example.com"),
                Some("juliet@example.com"),
                Some(OWN),
                Some("mercutio@example.net"),
            ],
        ),
        (
            old,
            Some("romeo@example.net/orchard"),
            &[Some("romeo@example.net/orchard"), Some("Romeo@EXAMPLE.net/orchard")],
            &[None, Some("romeo@example.net"), Some("romeo@example.net/Orchard"), Some("juliet@example.com")],
        ),
        (
            old,
            Some("example.net"),
            &[Some("example.net")],
            &[None, Some("example.com"), Some("a.example.net")],
        ),
        (usual, Some(OWN), &[Some(OWN)], &[None, Some("juliet@example.com"), Some("example.com")]),
    ];
    for (leniency, to, right, wrong) in cases {
        let to = to.map(jid);
        for kind in [IqType::Result, IqType::Error] {
            for from in *right {
                let mut tracker = client(*leniency);
                let line = tracker.asker().line(to.as_ref());
                let id = tracker.ask(line, None, 7, &Counter::default()).unwrap();
                for from in *wrong {
                    assert_eq!(tracker.settle(&answer(*from, &id, kind)), None, "{to:?} by {from:?}");
                    assert_eq!(tracker.len(), 1, "S4-05: it neither completes nor cancels");
                }
                assert_eq!(tracker.settle(&answer(*from, "another id", kind)), None);
                assert_eq!(tracker.settle(&answer(*from, &id, kind)), Some(7), "{to:?} by {from:?}");
                assert_eq!(tracker.settle(&answer(*from, &id, kind)), None, "once");
            }
        }
    }
}

/// S4-07: a server's request is answered to the address that asked, by the address that was asked.
#[test]
fn only_the_addressee_answers_a_server() {
    let asked = |tracker: &mut Tracker<Server, u32>| {
        let line = Server::line(&jid("example.com"), &jid("Romeo@Example.NET/orchard"));
        tracker.ask(line, None, 7, &Counter::default()).unwrap()
    };
    let romeo = Some("romeo@example.net/orchard");
    let cases = [
        (romeo, Some("example.com"), true),
        (Some("ROMEO@example.net/orchard"), Some("EXAMPLE.com"), true),
        (romeo, Some("juliet@example.com"), false),
        (romeo, Some("other.example.com"), false),
        (romeo, None, false),
        (None, Some("example.com"), false),
        (Some("romeo@example.net"), Some("example.com"), false),
        (Some("romeo@example.net/other"), Some("example.com"), false),
        (Some("example.net"), Some("example.com"), false),
        (Some("mallory@example.net/orchard"), Some("example.com"), false),
        (Some("example.com"), Some("romeo@example.net/orchard"), false),
    ];
    for kind in [IqType::Result, IqType::Error] {
        for (from, to, fits) in cases {
            let mut tracker = Tracker::new(Server, 10);
            let id = asked(&mut tracker);
            let answer = iq(kind, &id).from(from.map(jid)).to(to.map(jid)).build();
            assert_eq!(tracker.settle(&answer).is_some(), fits, "{from:?} to {to:?}");
            assert_eq!(tracker.is_empty(), fits);
        }
    }
}

/// S4-12: only results and errors answer; what else has the id does not.
#[test]
fn only_results_and_errors_answer() {
    let mut tracker = client(Leniency::default());
    let line = tracker.asker().line(None);
    let id = tracker.ask(line, None, 7, &Counter::default()).unwrap();
    let ping = || nuncio_xmpp::xml::Builder::new("ping", ns::PING);
    let others = [
        iq(IqType::Get, &id).child(ping()).build(),
        iq(IqType::Set, &id).child(ping()).build(),
        message(MessageType::Error).id(id.as_str()).build(),
        stanza::presence(stanza::PresenceType::Error).id(id.as_str()).build(),
    ];
    for other in &others {
        assert_eq!(tracker.settle(other), None);
    }
    // An answer without an id cannot be made with our builder; a peer's parser refuses it, and so does this.
    let element = Element::parse_in(ns::CLIENT, "<iq type='result'/>".to_owned()).unwrap();
    assert!(Stanza::from_element(element).is_err());
    assert_eq!(tracker.settle(&iq(IqType::Result, &id).build()), Some(7));
}

/// S4-05: neither completed nor cancelled nor moved in time, whatever comes and however often.
#[test]
fn a_flood_of_forgeries_changes_nothing() {
    let entropy = Counter::default();
    let mut tracker = client(Leniency { full_address: true, domain: true });
    let to = jid("romeo@example.net/orchard");
    let ids: Vec<_> = (0..100)
        .map(|number| {
            let line = tracker.asker().line(Some(&to));
            tracker.ask(line, Some(at(u64::from(number))), number, &entropy).unwrap()
        })
        .collect();
    for id in &ids {
        for kind in [IqType::Result, IqType::Error] {
            for from in [None, Some("mallory@example.net"), Some("romeo@example.net"), Some(OWN)] {
                assert_eq!(tracker.settle(&answer(from, id, kind)), None);
            }
        }
        assert_eq!(tracker.next_deadline(), Some(at(0)));
    }
    // The first half expires in its time and order, the second is answered.
    for number in 0..50 {
        assert_eq!(tracker.expired(at(49)), Some(number));
    }
    assert_eq!(tracker.expired(at(49)), None);
    for (number, id) in ids.iter().enumerate() {
        let settled = tracker.settle(&answer(Some(to.as_str()), id, IqType::Result));
        assert_eq!(settled, (number >= 50).then_some(u32::try_from(number).unwrap()), "late, or in time");
    }
    assert_eq!((tracker.len(), tracker.next_deadline()), (0, None));
}

#[test]
fn the_number_is_bounded_and_the_bound_is_told() {
    let entropy = Counter::default();
    let mut tracker = Tracker::new(Server, 2);
    let line = || Server::line(&jid("example.com"), &jid("example.net"));
    let id = tracker.ask(line(), Some(at(5)), 1, &entropy).unwrap();
    tracker.ask(line(), Some(at(5)), 2, &entropy).unwrap();
    assert_eq!(tracker.ask(line(), None, 3, &entropy), Err(Refused::TooMany));
    assert_eq!(tracker.forget(line(), &id), Some(1));
    assert_eq!(tracker.forget(line(), &id), None);
    tracker.ask(line(), Some(at(5)), 4, &entropy).unwrap();
    assert_eq!(
        (tracker.expired(at(5)), tracker.expired(at(5))),
        (Some(2), Some(4)),
        "in the order of asking"
    );
    tracker.close();
    assert_eq!(tracker.ask(line(), None, 5, &entropy), Err(Refused::TooMany));
}

/// Randomness that repeats itself is found out before it makes two requests one.
#[test]
fn a_repeated_id_is_refused() {
    struct Constant;
    impl Entropy for Constant {
        fn fill(&self, out: &mut [u8]) {
            out.fill(7);
        }
    }
    let mut tracker = Tracker::new(Server, 9);
    let line = |to| Server::line(&jid("example.com"), &jid(to));
    let id = tracker.ask(line("example.net"), None, 1, &Constant).unwrap();
    assert_eq!(tracker.ask(line("example.net"), Some(at(1)), 2, &Constant), Err(Refused::Entropy));
    assert_eq!((tracker.len(), tracker.next_deadline()), (1, None));
    // Never by the id alone: the same id on another line is another request.
    assert_eq!(tracker.ask(line("example.org"), None, 3, &Constant).as_ref(), Ok(&id));
    let answer = iq(IqType::Result, &id).from(jid("example.org")).to(jid("example.com")).build();
    assert_eq!((tracker.settle(&answer), tracker.settle(&answer)), (Some(3), None));
}

/// S4-10: what comes with the account's authority.
#[test]
fn own_authority() {
    let account = client(Leniency { full_address: true, domain: true });
    for (from, own) in [
        (None, true),
        (Some("JULIET@example.com"), true),
        (Some(OWN), false),
        (Some("example.com"), false),
        (Some("romeo@example.net"), false),
    ] {
        let stanza = answer(from, "x", IqType::Result);
        assert_eq!(account.asker().is_from(&stanza), own, "{from:?}");
    }
}

proptest::proptest! {
    /// S4-04 to S4-07 against a table that is too simple to be wrong.
    #[test]
    fn tracker_and_table_agree(data in proptest::collection::vec(proptest::num::u8::ANY, 0..400)) {
        fuzz::walk(&data);
    }
}
