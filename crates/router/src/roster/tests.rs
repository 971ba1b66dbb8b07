//! Versions, and what is stored (RFC 6121 §2.6, XEP-0237).

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn contact(number: u8) -> BareJid {
    BareJid::new(&format!("contact{number}@example")).unwrap()
}

fn listed(name: &str) -> Item {
    Item { listed: true, name: name.into(), ..Item::default() }
}

/// The rows as the table would hold them.
#[derive(Default)]
struct Rows(BTreeMap<Bytes, Bytes>);

impl Rows {
    fn write(&mut self, writes: Vec<Write>) {
        for (key, row) in writes {
            match row {
                Some(row) => self.0.insert(key, row),
                None => self.0.remove(&key),
            };
        }
    }

    fn read(&self) -> Roster {
        let mut roster = Roster::default();
        for (key, row) in &self.0 {
            roster.take_row(key, row.clone()).unwrap();
        }
        roster
    }
}

/// A client's copy of a roster.
#[derive(Clone, Debug, Default, PartialEq)]
struct Copy {
    items: BTreeMap<String, Vec<u8>>,
    ver: String,
}

impl Copy {
    fn of(roster: &Roster) -> Self {
        let items =
            roster.contacts().map(|(jid, item)| (jid.to_string(), item.builder(jid).bytes("").to_vec()));
        Self { items: items.collect(), ver: roster.ver() }
    }

    fn hear(&mut self, roster: &Roster, push: &Push) {
        let item = push.item.element();
        let jid = item.attr("jid").unwrap().into_owned();
        if item.attr("subscription").unwrap() == "remove" {
            self.items.remove(&jid);
        } else {
            self.items.insert(jid, push.item.bytes("").to_vec());
        }
        self.ver = roster.ver_of(push.version);
    }

    /// Comes back with its version.
    fn refresh(&mut self, roster: &Roster) {
        match roster.since(&self.ver) {
            None => *self = Self::of(roster),
            Some(pushes) => pushes.iter().for_each(|push| self.hear(roster, push)),
        }
    }
}

#[test]
fn section_2_6_3_full_empty_or_changes() {
    let mut roster = Roster::default();
    assert_eq!(roster.ver(), "0");
    assert_eq!(roster.since(""), None, "the empty version asks for everything");
    assert_eq!(roster.since("0"), Some(Vec::new()));
    for number in 0..4 {
        roster.set(&contact(number), listed("x"), false, || 0xab);
    }
    let ver = roster.ver();
    assert_eq!(ver, "ab-4");
    assert_eq!(roster.since(&ver), Some(Vec::new()), "nothing has changed: an empty result and no push");
    roster.set(&contact(1), listed("y"), false, || 0xcd);
    roster.remove(&contact(2), || 0xcd);
    let told: Vec<_> = roster
        .since(&ver)
        .unwrap()
        .iter()
        .map(|push| push.item.element().attr("jid").unwrap().into_owned())
        .collect();
    assert_eq!(told, ["contact1@example", "contact2@example"], "in the order of the changes");
    for unknown in ["ab-99", "cd-4", "4", "ab-", "-4", "ab-4-4", "zz", "ab--4"] {
        assert_eq!(roster.since(unknown), None, "{unknown}");
    }
}

/// RFC 6121 §3.1.3: a request makes no roster item; §2.6: what clients do not see makes no version.
#[test]
fn what_is_not_shown_has_no_version() {
    let mut roster = Roster::default();
    let request = Item {
        state: State::NonePendingIn,
        request: Some(Box::new(Bytes::from_static(b"<presence/>"))),
        ..Item::default()
    };
    let (writes, push) = roster.set(&contact(1), request.clone(), false, || 1);
    assert_eq!((writes.len(), push), (1, None));
    assert_eq!(roster.ver(), "0");
    assert_eq!(roster.contacts().count(), 0);
    assert!(roster.get(&contact(1)).is_none());
    assert_eq!(roster.requests().count(), 1);
    // Put into the roster meanwhile, it waits on.
    let (_, push) = roster.set(&contact(1), Item { listed: true, ..request.clone() }, false, || 1);
    assert!(push.is_some());
    assert_eq!(roster.requests().count(), 1);
    // Refused: nothing is left of one that was never listed.
    roster.set(&contact(2), request, false, || 1);
    let (writes, push) = roster.set(&contact(2), Item::default(), false, || 1);
    assert_eq!((writes.len(), writes[0].1.clone(), push), (1, None, None));
}

#[test]
fn an_account_of_the_same_name_knows_no_version_of_the_one_before() {
    let mut old = Roster::default();
    old.set(&contact(1), listed("x"), false, || 7);
    let mut new = Roster::default();
    new.set(&contact(2), listed("x"), false, || 8);
    assert_eq!(new.since(&old.ver()), None);
}

#[test]
fn removals_are_remembered_within_bounds() {
    let mut rows = Rows::default();
    let mut roster = Roster::default();
    rows.write(roster.set(&contact(0), listed(""), false, || 3).0);
    let early = roster.ver();
    for number in 0..=MAX_REMOVALS {
        let jid = BareJid::new(&format!("gone{number}@example")).unwrap();
        rows.write(roster.set(&jid, listed(""), false, || 3).0);
        rows.write(roster.remove(&jid, || 3).0);
    }
    assert_eq!(roster.removals.len(), MAX_REMOVALS);
    // The contact, the meta row, the removals.
    assert_eq!(rows.0.len(), 1 + 1 + MAX_REMOVALS);
    assert_eq!(roster.since(&early), None);
    let again = rows.read();
    assert_eq!((again.ver(), again.floor), (roster.ver(), roster.floor));
}

#[test]
fn rows_that_cannot_be_read_are_told_apart() {
    let mut roster = Roster::default();
    let good = listed("x").encode();
    for (key, row) in [
        (&b"\xff"[..], good.clone()),
        (b"a@b/c", good.clone()),
        (b"", good.clone()),
        (b"a@b", Bytes::from_static(b"\x02")),
        (META, Bytes::from_static(b"short")),
        (LAST, Bytes::from_static(b"short")),
        (b"\0-a@b", Bytes::from_static(b"short")),
        (b"\0-", Bytes::from_static(b"12345678")),
        (LAST, i64::MAX.to_be_bytes().to_vec().into()),
    ] {
        assert!(roster.take_row(key, row).is_none(), "{}", key.escape_ascii());
    }
    assert!(roster.take_row(b"a@b", good).is_some());
}

/// What happens to a roster.
#[derive(Clone, Debug)]
enum Act {
    Set(u8, String, bool),
    Request(u8),
    Remove(u8),
    Restart,
    Come(usize),
    Go(usize),
}

fn acts() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => (0..8_u8, "[a-c]?", any::<bool>()).prop_map(|(who, name, always)| Act::Set(who, name, always)),
        1 => (0..8_u8).prop_map(Act::Request),
        2 => (0..8_u8).prop_map(Act::Remove),
        1 => Just(Act::Restart),
        3 => (0..3_usize).prop_map(Act::Come),
        1 => (0..3_usize).prop_map(Act::Go),
    ]
}

proptest! {
    /// Whenever a client comes back, with whatever version it left, it ends with the roster as it is; and what is stored is what is in memory.
    #[test]
    fn clients_end_with_the_roster_as_it_is(acts in prop::collection::vec(acts(), 0..60)) {
        let mut rows = Rows::default();
        let mut roster = Roster::default();
        let mut clients = vec![Copy::default(); 3];
        // Those that are there hear every push.
        let mut there = [false; 3];
        for act in acts {
            let push = match act {
                Act::Set(who, name, always) => {
                    let item = Item { listed: true, name: name.into(), ..roster.known(&contact(who)) };
                    let (writes, push) = roster.set(&contact(who), item, always, || 5);
                    rows.write(writes);
                    push
                }
                Act::Request(who) => {
                    let item = Item { state: State::NonePendingIn, request: Some(Box::default()), ..roster.known(&contact(who)) };
                    let (writes, push) = roster.set(&contact(who), item, false, || 5);
                    rows.write(writes);
                    prop_assert!(push.is_none());
                    None
                }
                Act::Remove(who) if roster.get(&contact(who)).is_some() => {
                    let (writes, push) = roster.remove(&contact(who), || 5);
                    rows.write(writes);
                    push
                }
                Act::Remove(_) => None,
                Act::Restart => {
                    let again = rows.read();
                    prop_assert_eq!(&again.items, &roster.items);
                    prop_assert_eq!(&again.removals, &roster.removals);
                    prop_assert_eq!(again.ver(), roster.ver());
                    roster = again;
                    None
                }
                Act::Come(who) => {
                    clients[who].refresh(&roster);
                    there[who] = true;
                    prop_assert_eq!(&clients[who], &Copy::of(&roster));
                    None
                }
                Act::Go(who) => {
                    there[who] = false;
                    None
                }
            };
            if let Some(push) = push {
                for (client, _) in clients.iter_mut().zip(there).filter(|(_, there)| *there) {
                    client.hear(&roster, &push);
                    prop_assert_eq!(&*client, &Copy::of(&roster));
                }
            }
        }
    }
}
