//! Properties of all messages.

use proptest::prelude::*;

use super::*;

/// Messages near enough to SCRAM's to get somewhere.
fn nearly() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        "[nyp]",
        "p=tls-exporter",
        "a=[a-z@=2C3D]{0,12}",
        "[nrcsipvemhx]=[ -~]{0,12}",
        "n=user",
        "r=nonce[!-+]{0,4}",
        "i=[0-9]{1,12}",
        "c=biws",
        "[s-v]=[A-Za-z0-9+/]{4,8}",
        Just(String::new()),
        "\\PC{0,6}",
    ];
    prop_oneof![
        4 => prop::collection::vec(piece, 0..7).prop_map(|pieces| pieces.join(",").into_bytes()),
        1 => prop::collection::vec(any::<u8>(), 0..200),
        1 => "[a-z@.]{0,8}\0[a-z@.]{0,8}\0[a-z\0]{0,8}".prop_map(String::into_bytes),
    ]
}

proptest! {
    /// Whatever comes, no panic, and nobody gets in who has not the password.
    #[test]
    fn no_message_panics_or_logs_in(
        messages in prop::collection::vec(nearly(), 1..4),
        index in 0_usize..8,
        bound in any::<bool>(),
    ) {
        let mechanism = Mechanism::ALL[index];
        let kinds = if bound { &BOTH[..] } else { &[] };
        let (mut server, mut step) = Exchange::start(mechanism.as_str(), None, context(kinds), &Counter::default());
        for message in messages {
            step = server.respond(&message);
            while let Step::Need(lookup) = step {
                step = server.answer(match lookup {
                    Lookup::Scram { username, hash } => Answer::Scram(Ok(Record {
                        keys: Keys::fake(SECRET, hash, &username, 4096),
                        account: Some(jid("user@example.org")),
                    })),
                    Lookup::Password { .. } => Answer::Password(Ok(None)),
                    Lookup::External { .. } => Answer::External(Ok(None)),
                    Lookup::Login { .. } => panic!("credentials were accepted"),
                });
            }
        }
        prop_assert!(!matches!(step, Step::Done(_)));
    }

    /// The bodies of the fuzz targets.
    #[test]
    fn fuzz_bodies(mut data in nearly(), more in nearly(), selector in any::<u8>()) {
        data.insert(0, selector);
        data.push(0xff);
        data.extend(more);
        crate::sasl::fuzz_server(&data);
        crate::sasl::fuzz_client(&data);
    }

    /// Names survive escaping, and a parser reads what the client writes.
    #[test]
    fn names_survive(name in "[^\0]{1,40}", nonce in "[!-+\\--~]{1,40}") {
        let message = format!("n,,n={},r={nonce},x=1", scram::escape(&name));
        let first = scram::ClientFirst::parse(message.as_bytes()).expect("grammar");
        prop_assert_eq!(first.username, name);
        prop_assert_eq!(first.nonce, nonce.as_str());
        prop_assert_eq!(format!("{}{}", first.header, first.bare), message.clone());
    }

    /// Keys survive storage.
    #[test]
    fn keys_survive(secret in any::<[u8; 8]>(), name in ".{0,20}", index in 0_usize..3, iterations in 1_u32..) {
        let text = Keys::fake(&secret, Hash::ALL[index], &name, iterations).to_text();
        let read: Keys = text.parse().expect("what was written");
        let again = read.to_text();
        prop_assert_eq!(again.as_str(), text.as_str());
    }
}
