//! RFC 6121 §8.5 row by row. Sessions: 1 is the one a full address matches, unless the row says that none does.

use super::*;

/// RFC 6121 §8.5.4, Table 1 as printed, its columns normal, chat, groupchat, headline; O offline, E error, S silence, D the resource
/// addressed, M the most available ones, A all of those with a priority that is not negative; / exclusive or.
const TABLE_1: &str = "
   | ACCOUNT DOES NOT EXIST                                   |
   |  bare            |  S/E   |  S/E  |     E     |    S     |
   |  full            |  S/E   |  S/E  |    S/E    |   S/E    |
   | ACCOUNT EXISTS, BUT NO ACTIVE RESOURCES                  |
   |  bare            |  O/E   |  O/E  |     E     |    S     |
   |  full (no match) |  S/E   |  O/E  |    S/E    |   S/E    |
   | 1+ NEGATIVE RESOURCES BUT ZERO NON-NEGATIVE RESOURCES    |
   |  bare            |  O/E   |  O/E  |     E     |    S     |
   |  full match      |   D    |   D   |     D     |    D     |
   |  full no match   |  S/E   |  O/E  |    S/E    |   S/E    |
   | 1 NON-NEGATIVE RESOURCE                                  |
   |  bare            |   D    |   D   |     E     |    D     |
   |  full match      |   D    |   D   |     D     |    D     |
   |  full no match   |  S/E   |   D   |    S/E    |   S/E    |
   | 1+ NON-NEGATIVE RESOURCES                                |
   |  bare            |  M/A   |  M/A* |     E     |    A     |
   |  full match      |   D    |  D/A* |     D     |    D     |
   |  full no match   |  S/E   |  M/A* |    S/E    |   S/E    |
";

/// Which of the options of Table 1 is taken here, in the same order of rows and columns.
const TAKEN: &str = "
    E E E S
    E E E E
    O O E S
    E O E E
    O O E S
    D D D D
    E O E E
    D D E D
    D D D D
    E D E E
    M M E A
    D D D D
    E M E E
";

const fn resource(id: u64, available: bool, priority: i8) -> Resource {
    Resource { id: SessionId(id), available, priority }
}

/// The sessions of each heading of Table 1.
fn situation(heading: &str) -> Vec<Vec<Resource>> {
    match heading {
        "ACCOUNT EXISTS, BUT NO ACTIVE RESOURCES" => vec![vec![], vec![resource(9, false, 0)]],
        "1+ NEGATIVE RESOURCES BUT ZERO NON-NEGATIVE RESOURCES" => vec![
            vec![resource(1, true, -1)],
            vec![resource(1, true, -128), resource(2, true, -1)],
            vec![resource(1, true, -1), resource(9, false, 0)],
        ],
        "1 NON-NEGATIVE RESOURCE" => vec![
            vec![resource(1, true, 0)],
            vec![resource(1, true, 127)],
            vec![resource(1, true, 0), resource(2, true, -5)],
            vec![resource(1, true, 0), resource(9, false, 0)],
        ],
        "1+ NON-NEGATIVE RESOURCES" => vec![
            vec![resource(1, true, 0), resource(2, true, 5), resource(3, true, 5), resource(4, true, -1)],
            vec![resource(1, true, 7), resource(2, true, 7), resource(9, false, 0)],
        ],
        other => panic!("no situation for {other}"),
    }
}

fn option(taken: &str, to: Addressed, resources: &[Resource]) -> Choice {
    let able: Vec<_> = resources.iter().filter(|one| one.available && one.priority >= 0).collect();
    let top = able.iter().map(|one| one.priority).max();
    let some = |ids: Vec<SessionId>| Choice::Deliver(ids.into());
    match (taken, to) {
        ("O", _) => Choice::Offline,
        ("E", _) => Choice::Bounce(Condition::ServiceUnavailable),
        ("S", _) => Choice::Drop,
        ("D", Addressed::Full(Some(id))) => some(vec![id]),
        // Under the heading of one such resource, "D" is that one.
        ("D", _) => some(vec![able[0].id]),
        ("A", _) => some(able.iter().map(|one| one.id).collect()),
        ("M", _) => some(able.iter().filter(|one| Some(one.priority) == top).map(|one| one.id).collect()),
        other => panic!("no option {other:?}"),
    }
}

#[test]
fn table_1_messages() {
    const COLUMNS: [MessageType; 4] =
        [MessageType::Normal, MessageType::Chat, MessageType::Groupchat, MessageType::Headline];
    let mut taken = TAKEN.lines().map(str::trim).filter(|line| !line.is_empty());
    let mut heading = "";
    let (mut rows, mut decisions) = (0, 0);
    for line in TABLE_1.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let cells: Vec<_> = line.trim_matches('|').split('|').map(str::trim).collect();
        if cells.len() == 1 {
            heading = cells[0];
            continue;
        }
        rows += 1;
        let takes: Vec<_> = taken.next().unwrap().split(' ').collect();
        for (column, kind) in COLUMNS.into_iter().enumerate() {
            let allowed = cells[column + 1].trim_end_matches('*');
            assert!(allowed.split('/').any(|one| one == takes[column]), "{heading}, {}: {allowed}", cells[0]);
            if heading == "ACCOUNT DOES NOT EXIST" {
                let expected = option(takes[column], Addressed::Bare, &[]);
                assert_eq!(
                    nobody(Kind::Message(kind), cells[0] == "bare"),
                    Some(expected),
                    "{kind:?} {}",
                    cells[0]
                );
                decisions += 1;
                continue;
            }
            let to = match cells[0] {
                "bare" => Addressed::Bare,
                "full match" => Addressed::Full(Some(SessionId(1))),
                "full (no match)" | "full no match" => Addressed::Full(None),
                other => panic!("no address {other}"),
            };
            for resources in situation(heading) {
                let expected = option(takes[column], to, &resources);
                assert_eq!(
                    message(kind, to, &resources),
                    expected,
                    "{kind:?} {heading}, {}: {resources:?}",
                    cells[0]
                );
                decisions += 1;
            }
        }
    }
    assert_eq!((rows, decisions), (13, 132));
}

/// RFC 6121 §8.5.2.1.1, §8.5.2.2.1, §8.5.3.2.1: "For a message stanza of type "error", the server MUST silently ignore the message";
/// §8.5.3.1: to a resource that matches "for a message stanza, the server MUST deliver".
#[test]
fn messages_of_type_error() {
    let here = [resource(1, true, 0)];
    for (to, resources, expected) in [
        (Addressed::Bare, &here[..], Choice::Drop),
        (Addressed::Bare, &[][..], Choice::Drop),
        (Addressed::Full(None), &here[..], Choice::Drop),
        (Addressed::Full(Some(SessionId(1))), &here[..], Choice::Deliver(smallvec![SessionId(1)])),
    ] {
        assert_eq!(message(MessageType::Error, to, resources), expected, "{to:?}");
    }
    assert_eq!(nobody(Kind::Message(MessageType::Error), true), Some(Choice::Drop));
}

#[test]
fn presence_by_section_8_5() {
    use PresenceType as P;
    let crowd = [resource(1, true, -1), resource(2, true, 3), resource(9, false, 0)];
    let matching = Addressed::Full(Some(SessionId(9)));
    let both = Some(Choice::Deliver(smallvec![SessionId(1), SessionId(2)]));
    let one = Some(Choice::Deliver(smallvec![SessionId(9)]));
    let drop = Some(Choice::Drop);
    let rows = [
        // §8.5.2.1.2 "the server MUST deliver it to all available resources", negative ones too.
        ("8.5.2.1.2", [P::Available, P::Unavailable].as_slice(), Addressed::Bare, &crowd[..], &both),
        // §8.5.2.1.2 "MUST adhere to the rules defined under Section 3"; "MUST handle it directly as described under Section 4.3".
        (
            "8.5.2.1.2",
            &[P::Subscribe, P::Subscribed, P::Unsubscribe, P::Unsubscribed, P::Probe],
            Addressed::Bare,
            &crowd,
            &None,
        ),
        // §8.5.2.2.2 "SHOULD silently ignore the stanza by not storing it".
        ("8.5.2.2.2", &[P::Available, P::Unavailable], Addressed::Bare, &crowd[2..], &drop),
        (
            "8.5.2.2.2",
            &[P::Subscribe, P::Subscribed, P::Unsubscribe, P::Unsubscribed, P::Probe],
            Addressed::Bare,
            &[],
            &None,
        ),
        // §8.5.3.1 "the server MUST deliver the stanza to the resource", available or merely connected.
        ("8.5.3.1", &[P::Available, P::Unavailable], matching, &crowd, &one),
        (
            "8.5.3.1",
            &[P::Subscribe, P::Subscribed, P::Unsubscribe, P::Unsubscribed, P::Probe],
            matching,
            &crowd,
            &None,
        ),
        // §8.5.3.2.2
        ("8.5.3.2.2", &[P::Available, P::Unavailable], Addressed::Full(None), &crowd, &drop),
        ("8.5.3.2.2", &[P::Subscribe, P::Probe], Addressed::Full(None), &crowd, &None),
        (
            "8.5.3.2.2",
            &[P::Subscribed, P::Unsubscribe, P::Unsubscribed],
            Addressed::Full(None),
            &crowd,
            &drop,
        ),
        // Errors answer what a session or the account sent (§3.1.2): they find their way like presence.
        ("3.1.2", &[P::Error], Addressed::Bare, &crowd, &both),
        ("3.1.2", &[P::Error], matching, &crowd, &one),
        ("3.1.2", &[P::Error], Addressed::Full(None), &crowd, &drop),
    ];
    for (section, kinds, to, resources, expected) in rows {
        for kind in kinds {
            assert_eq!(presence(*kind, to, resources), *expected, "§{section} {kind:?} {to:?}");
        }
    }
    // §8.5.1
    for kind in P::ALL {
        let expected = if *kind == P::Probe { None } else { Some(Choice::Drop) };
        assert_eq!(nobody(Kind::Presence(*kind), true), expected, "§8.5.1 {kind:?}");
    }
}

#[test]
fn iqs_by_section_8_5() {
    use IqType as I;
    let matching = Addressed::Full(Some(SessionId(1)));
    let it = Some(Choice::Deliver(smallvec![SessionId(1)]));
    let unavailable = Some(Choice::Bounce(Condition::ServiceUnavailable));
    let drop = Some(Choice::Drop);
    let requests = [I::Get, I::Set];
    let answers = [I::Result, I::Error];
    let rows = [
        // §8.5.2.1.3, §8.5.2.2.3 "the server itself MUST reply on behalf of the user".
        ("8.5.2.1.3", requests, Addressed::Bare, false, &None),
        ("8.5.2.1.3", requests, Addressed::Bare, true, &None),
        ("8.5.2.1.3", answers, Addressed::Bare, true, &drop),
        // §8.5.3.1 "if the intended recipient does not share presence with the requesting entity [...] SHOULD return a <service-unavailable/>".
        ("8.5.3.1", requests, matching, true, &it),
        ("8.5.3.1", requests, matching, false, &unavailable),
        // §8.5.3.1 "For an IQ stanza of type "result" or "error", the server MUST deliver the stanza to the resource."
        ("8.5.3.1", answers, matching, false, &it),
        ("8.5.3.1", answers, matching, true, &it),
        // §8.5.3.2.3 "MUST return a <service-unavailable/> stanza error"; nothing answers an answer (RFC 6120 §8.2.3).
        ("8.5.3.2.3", requests, Addressed::Full(None), true, &unavailable),
        ("8.5.3.2.3", requests, Addressed::Full(None), false, &unavailable),
        ("8.5.3.2.3", answers, Addressed::Full(None), true, &drop),
    ];
    for (section, kinds, to, sees, expected) in rows {
        for kind in kinds {
            assert_eq!(iq(kind, to, sees), *expected, "§{section} {kind:?} {to:?} {sees}");
        }
    }
    // §8.5.1 "For an IQ stanza, the server MUST return a <service-unavailable/> stanza error".
    for kind in requests {
        assert_eq!(nobody(Kind::Iq(kind), true), unavailable);
        assert_eq!(nobody(Kind::Iq(kind), false), unavailable);
    }
}

/// RFC 6120 §13.10.2: what the sender hears does not tell whether the account exists, is available, or has bound the resource.
#[test]
fn errors_tell_nothing_of_the_account() {
    let absent = [vec![], vec![resource(9, false, 0)], vec![resource(2, true, -1)]];
    for kind in [MessageType::Groupchat, MessageType::Headline, MessageType::Error] {
        for resources in &absent {
            assert_eq!(
                Some(message(kind, Addressed::Bare, resources)),
                nobody(Kind::Message(kind), true),
                "{kind:?}"
            );
        }
    }
    for kind in [MessageType::Normal, MessageType::Groupchat, MessageType::Headline, MessageType::Error] {
        let there = [resource(1, true, 0)];
        assert_eq!(
            Some(message(kind, Addressed::Full(None), &there)),
            nobody(Kind::Message(kind), false),
            "{kind:?}"
        );
    }
}
