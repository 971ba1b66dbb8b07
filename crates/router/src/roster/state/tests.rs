//! The tables of RFC 6121 Appendix A, as they are printed there, against the code.

use super::*;

/// Tables 2 to 5: what a user's server does with what the user sends.
const OUTBOUND: [(Event, &str); 4] = [
    (
        Event::Subscribe,
        r#"
   |  "None"                  |  MUST [1] |  "None + Pending Out"     |
   |  "None + Pending Out"    |  MUST     |  no state change          |
   |  "None + Pending In"     |  MUST [1] |  "None + Pending Out+In"  |
   |  "None + Pending Out+In" |  MUST     |  no state change          |
   |  "To"                    |  MUST     |  no state change          |
   |  "To + Pending In"       |  MUST     |  no state change          |
   |  "From"                  |  MUST [1] |  "From + Pending Out"     |
   |  "From + Pending Out"    |  MUST     |  no state change          |
   |  "Both"                  |  MUST     |  no state change          |
"#,
    ),
    (
        Event::Unsubscribe,
        r#"
   |  "None"                  |  MUST    |  no state change          |
   |  "None + Pending Out"    |  MUST    |  "None"                   |
   |  "None + Pending In"     |  MUST    |  no state change          |
   |  "None + Pending Out+In" |  MUST    |  "None + Pending In"      |
   |  "To"                    |  MUST    |  "None"                   |
   |  "To + Pending In"       |  MUST    |  "None + Pending In"      |
   |  "From"                  |  MUST    |  no state change          |
   |  "From + Pending Out"    |  MUST    |  "From"                   |
   |  "Both"                  |  MUST    |  "From"                   |
"#,
    ),
    (
        Event::Subscribed,
        r#"
   |  "None"                  |  M.N.    |  pre-approval [1]         |
   |  "None + Pending Out"    |  M.N.    |  pre-approval [1]         |
   |  "None + Pending In"     |  MUST    |  "From"                   |
   |  "None + Pending Out+In" |  MUST    |  "From + Pending Out"     |
   |  "To"                    |  M.N.    |  pre-approval [1]         |
   |  "To + Pending In"       |  MUST    |  "Both"                   |
   |  "From"                  |  M.N.    |  no state change          |
   |  "From + Pending Out"    |  M.N.    |  no state change          |
   |  "Both"                  |  M.N.    |  no state change          |
"#,
    ),
    (
        Event::Unsubscribed,
        r#"
   |  "None"                  |  S.N.    |  no state change [1]      |
   |  "None + Pending Out"    |  S.N.    |  no state change [1]      |
   |  "None + Pending In"     |  MUST    |  "None"                   |
   |  "None + Pending Out+In" |  MUST    |  "None + Pending Out"     |
   |  "To"                    |  S.N.    |  no state change [1]      |
   |  "To + Pending In"       |  MUST    |  "To"                     |
   |  "From"                  |  MUST    |  "None"                   |
   |  "From + Pending Out"    |  MUST    |  "None + Pending Out"     |
   |  "Both"                  |  MUST    |  "To"                     |
"#,
    ),
];

/// Tables 6 to 9: what a user's server does with what the contact sent.
const INBOUND: [(Event, &str); 4] = [
    (
        Event::Subscribe,
        r#"
   |  "None"                  |  MUST [1]  |  "None + Pending In"     |
   |  "None + Pending Out"    |  MUST      |  "None + Pending Out+In" |
   |  "None + Pending In"     |  S.N.      |  no state change         |
   |  "None + Pending Out+In" |  S.N.      |  no state change         |
   |  "To"                    |  MUST      |  "To + Pending In"       |
   |  "To + Pending In"       |  S.N.      |  no state change         |
   |  "From"                  |  S.N. [2]  |  no state change         |
   |  "From + Pending Out"    |  S.N. [2]  |  no state change         |
   |  "Both"                  |  S.N. [2]  |  no state change         |
"#,
    ),
    (
        Event::Unsubscribe,
        r#"
   |  "None"                  |  S.N.      |  no state change         |
   |  "None + Pending Out"    |  S.N.      |  no state change         |
   |  "None + Pending In"     |  MUST [1]  |  "None"                  |
   |  "None + Pending Out+In" |  MUST [1]  |  "None + Pending Out"    |
   |  "To"                    |  S.N.      |  no state change         |
   |  "To + Pending In"       |  MUST [1]  |  "To"                    |
   |  "From"                  |  MUST [1]  |  "None"                  |
   |  "From + Pending Out"    |  MUST [1]  |  "None + Pending Out"    |
   |  "Both"                  |  MUST [1]  |  "To"                    |
"#,
    ),
    (
        Event::Subscribed,
        r#"
   |  "None"                  |  S.N.      |  no state change         |
   |  "None + Pending Out"    |  MUST      |  "To"                    |
   |  "None + Pending In"     |  S.N.      |  no state change         |
   |  "None + Pending Out+In" |  MUST      |  "To + Pending In"       |
   |  "To"                    |  S.N.      |  no state change         |
   |  "To + Pending In"       |  S.N.      |  no state change         |
   |  "From"                  |  S.N.      |  no state change         |
   |  "From + Pending Out"    |  MUST      |  "Both"                  |
   |  "Both"                  |  S.N.      |  no state change         |
"#,
    ),
    (
        Event::Unsubscribed,
        r#"
   |  "None"                  |  S.N.      |  no state change         |
   |  "None + Pending Out"    |  MUST      |  "None"                  |
   |  "None + Pending In"     |  S.N.      |  no state change         |
   |  "None + Pending Out+In" |  MUST      |  "None + Pending In"     |
   |  "To"                    |  MUST      |  "None"                  |
   |  "To + Pending In"       |  MUST      |  "None + Pending In"     |
   |  "From"                  |  S.N.      |  no state change         |
   |  "From + Pending Out"    |  MUST      |  "From"                  |
   |  "Both"                  |  MUST      |  "From"                  |
"#,
    ),
];

fn state(name: &str) -> Option<State> {
    let names = [
        "\"None\"",
        "\"None + Pending Out\"",
        "\"None + Pending In\"",
        "\"None + Pending Out+In\"",
        "\"To\"",
        "\"To + Pending In\"",
        "\"From\"",
        "\"From + Pending Out\"",
        "\"Both\"",
    ];
    names.iter().position(|known| *known == name).map(|place| State::ALL[place])
}

/// The rows of a table: existing state, obligation, note, new state.
fn rows(table: &str) -> Vec<(State, &str, bool, &str)> {
    table
        .lines()
        .filter(|line| !line.trim().is_empty())
        .map(|line| {
            let cells: Vec<_> = line.split('|').map(str::trim).collect();
            let word = cells[2].split_whitespace().next().unwrap();
            (state(cells[1]).unwrap(), word, cells[2].contains('['), cells[3])
        })
        .collect()
}

#[test]
fn tables_2_to_5_outbound() {
    for (event, table) in OUTBOUND {
        let rows = rows(table);
        assert_eq!(rows.len(), 9, "{event:?}");
        for (before, word, _, after) in rows {
            let got = before.sends(event, false);
            assert_eq!(got.route, word == "MUST", "{event:?} in {before:?}");
            if after == "pre-approval [1]" {
                assert_eq!(
                    got,
                    Sent { state: before, approved: true, route: false },
                    "{event:?} in {before:?}"
                );
            } else {
                assert_eq!(got.state, state(after).unwrap_or(before), "{event:?} in {before:?}");
                assert!(!got.approved, "{event:?} in {before:?}");
            }
        }
    }
}

#[test]
fn tables_6_to_9_inbound() {
    for (event, table) in INBOUND {
        let rows = rows(table);
        assert_eq!(rows.len(), 9, "{event:?}");
        for (before, word, note, after) in rows {
            let got = before.receives(event, false);
            assert_eq!(got.deliver, word == "MUST", "{event:?} in {before:?}");
            assert_eq!(got.state, state(after).unwrap_or(before), "{event:?} in {before:?}");
            let reply = match event {
                // Note [2]; note [1] of this table is about pre-approvals.
                Event::Subscribe if word == "S.N." && note => Some(Event::Subscribed),
                Event::Unsubscribe if note => Some(Event::Unsubscribed),
                _ => None,
            };
            assert_eq!(got.reply, reply, "{event:?} in {before:?}");
            assert!(!got.approved);
        }
    }
}

/// RFC 6121 §3.4.2: an approved request is granted by the server, not delivered; §3.2.2: `unsubscribed` takes the approval back.
#[test]
fn section_3_4_pre_approval() {
    for (before, after) in
        [(State::None, State::From), (State::NonePendingOut, State::FromPendingOut), (State::To, State::Both)]
    {
        assert!(before.sends(Event::Subscribed, false).approved);
        let got = before.receives(Event::Subscribe, true);
        let granted =
            Received { state: after, approved: false, deliver: false, reply: Some(Event::Subscribed) };
        assert_eq!(got, granted, "{before:?}");
        let back = before.sends(Event::Unsubscribed, true);
        assert_eq!(back, Sent { state: before, approved: false, route: false }, "{before:?}");
    }
    // Nothing that the contact does but asking touches it.
    for event in [Event::Subscribed, Event::Unsubscribe, Event::Unsubscribed] {
        for before in State::ALL {
            assert!(before.receives(event, true).approved, "{event:?} in {before:?}");
        }
    }
}

#[test]
fn what_a_state_shows() {
    use Subscription as S;
    let shown: Vec<_> = State::ALL
        .iter()
        .map(|state| (state.subscription(), state.pending_out(), state.pending_in()))
        .collect();
    let expected = [
        (S::None, false, false),
        (S::None, true, false),
        (S::None, false, true),
        (S::None, true, true),
        (S::To, false, false),
        (S::To, false, true),
        (S::From, false, false),
        (S::From, true, false),
        (S::Both, false, false),
    ];
    assert_eq!(shown, expected);
    for state in State::ALL {
        assert_eq!(State::from_number(state.number()), Some(state));
    }
    assert_eq!(State::from_number(9), None);
}

/// Whatever two servers say to each other, once all of it has arrived they agree on who is subscribed to whom.
#[test]
fn both_sides_agree_once_nothing_is_on_its_way() {
    const EVENTS: [Event; 4] = [Event::Subscribe, Event::Subscribed, Event::Unsubscribe, Event::Unsubscribed];
    // Every history of five acts of either side.
    let mut histories = 0;
    for code in 0..8_u32.pow(5) {
        let (mut mine, mut theirs) = ((State::None, false), (State::None, false));
        let mut rest = code;
        for _ in 0..5 {
            let (act, by_me) = (EVENTS[(rest % 4) as usize], rest / 4 % 2 == 0);
            rest /= 8;
            let (sender, reader) = if by_me { (&mut mine, &mut theirs) } else { (&mut theirs, &mut mine) };
            let sent = sender.0.sends(act, sender.1);
            *sender = (sent.state, sent.approved);
            if !sent.route {
                continue;
            }
            let got = reader.0.receives(act, reader.1);
            *reader = (got.state, got.approved);
            if let Some(reply) = got.reply {
                let back = sender.0.receives(reply, sender.1);
                assert_eq!(back.reply, None, "replies end");
                *sender = (back.state, back.approved);
            }
        }
        assert_eq!(mine.0.subscription().is_to(), theirs.0.subscription().is_from(), "history {code:o}");
        assert_eq!(mine.0.subscription().is_from(), theirs.0.subscription().is_to(), "history {code:o}");
        assert_eq!(mine.0.pending_out(), theirs.0.pending_in(), "history {code:o}");
        assert_eq!(mine.0.pending_in(), theirs.0.pending_out(), "history {code:o}");
        histories += 1;
    }
    assert_eq!(histories, 32_768);
}
