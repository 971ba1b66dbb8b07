//! S3-28, Show 2 of issue 4: the table of XEP-0238, each cell judged from both sides.

use nuncio_dna::dialback::{Callback, Dialback};
use nuncio_dna::{Evidence, Judgement, Level, Policy, Rule, Tls};

use super::certs::{Ca, Der, leaf, trust};
use super::{incoming, judge, outgoing};

/// A type of service of XEP-0238 §2.
struct Server {
    policy: &'static str,
    certificate: Option<Der>,
}

/// The columns are the receiving, the rows the initiating services; U is "unsuccessful".
const TABLE: [&str; 6] = ["VVVUUU", "VVEEUU", "VVEEET", "UEEEEU", "UETETT", "UUTUTT"];

/// Cells in which the table says less than its own protocol flows, whose text is followed here: (initiator, receiver, table, ours).
///
/// - Types 2 to 5 do STARTTLS whenever both can, so what they reach is encrypted, not merely verified (flows 2 to 2 and 3 to 2).
/// - Two certificates of a common authority authenticate, whatever less would have been enough (flow 3 to 5, and 3 to 3 likewise).
/// - Type 5 accepts dialback over TLS, from type 2 (flow 2 to 5 ends with the stanza being routed) as from type 4.
const FLOWS: [(usize, usize, char, char); 5] =
    [(2, 2, 'V', 'E'), (3, 2, 'V', 'E'), (3, 3, 'E', 'T'), (3, 5, 'E', 'T'), (2, 5, 'U', 'E')];

fn servers(root: &Ca) -> Vec<Server> {
    let name = |number: usize| format!("type{number}.example");
    let issued = |number: usize| Some(root.issue(&leaf(&[&name(number)])));
    let own = |number: usize| Some(leaf(&[&name(number)]).self_signed());
    [
        ("verified", None),
        ("verified", own(2)),
        ("verified", issued(3)),
        ("encrypted", own(4)),
        ("encrypted", issued(5)),
        ("authenticated", issued(6)),
    ]
    .map(|(policy, certificate)| Server { policy, certificate })
    .into()
}

/// How one side sees the other: with its certificate when both can do TLS, and with an answer to dialback, which all but type 6 know.
fn evidence(own: &Server, other: &Server, incoming: bool, dialback: bool) -> Evidence {
    let secured = own.certificate.is_some() && other.certificate.is_some();
    let version = if secured { Tls::V13 } else { Tls::None };
    let chain = if secured { other.certificate.iter().cloned().collect() } else { vec![] };
    let mut evidence = Evidence::of(version, chain);
    if dialback {
        evidence.dialback = if incoming {
            Dialback::Verified(Callback {
                tls: version,
                certificate: other.certificate.clone(),
                proofs: vec![],
            })
        } else {
            Dialback::Accepted
        };
    }
    evidence
}

fn letter(initiator: &Judgement, receiver: &Judgement) -> char {
    if !initiator.is_accepted() || !receiver.is_accepted() {
        return 'U';
    }
    match initiator.level.min(receiver.level) {
        Level::Permissive => 'P',
        Level::Verified => 'V',
        Level::Encrypted => 'E',
        Level::Authenticated => 'T',
    }
}

#[test]
fn the_table_of_xep_0238_holds() {
    let root = Ca::root("common root");
    let servers = servers(&root);
    let policy = |server: &Server| Policy {
        trust: trust(&[&root]),
        default: Rule { require: server.policy.parse().unwrap(), ..Rule::default() },
        ..Policy::default()
    };
    for (row, initiator) in servers.iter().enumerate() {
        for (column, receiver) in servers.iter().enumerate() {
            let (from, to) = (format!("type{}.example", row + 1), format!("type{}.example", column + 1));
            let dialback = row != 5 && column != 5;
            let seen =
                judge(&outgoing(&to), &evidence(initiator, receiver, false, dialback), &policy(initiator));
            let heard =
                judge(&incoming(&from), &evidence(receiver, initiator, true, dialback), &policy(receiver));
            let printed = TABLE[row].chars().nth(column).unwrap();
            let flow = FLOWS.iter().find(|cell| (cell.0, cell.1) == (row + 1, column + 1));
            let wanted = flow.map_or(printed, |(.., table, ours)| {
                assert_eq!(*table, printed);
                *ours
            });
            assert_eq!(
                letter(&seen, &heard),
                wanted,
                "type {} to type {}: {seen}\n{heard}",
                row + 1,
                column + 1
            );
        }
    }
}
