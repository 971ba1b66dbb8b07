//! What must not be told: who exists, and any secret.

use super::*;

/// The server's messages in one exchange of a client that knows the password of `user` only.
fn transcript(mechanism: Mechanism, name: &str, password: &str) -> (Vec<Vec<u8>>, Failure) {
    let server = context(&BOTH);
    let ours = client_context(&server.offer, &BOTH, &[mechanism]);
    let credentials = client::Credentials::password(name, password);
    let entropy = Counter::default();
    let (mut us, start) = client::Exchange::start(&credentials, ours, &entropy).expect("start");
    let mut host = Host::new();
    let (mut exchange, step) =
        Exchange::start(start.mechanism.as_str(), Some(&start.initial), server, &entropy);
    let mut step = host.settle(&mut exchange, step);
    let mut sent = Vec::new();
    while let Step::Challenge(message) = step {
        let response = us.challenge(&message).expect("well-formed");
        sent.push(message);
        let next = exchange.respond(&response);
        step = host.settle(&mut exchange, next);
    }
    (sent, failure(step))
}

/// S0-24: who does not exist, whose password is wrong and who is switched off all see the same messages, but for the salt.
#[test]
fn unknown_user_looks_like_a_wrong_password() {
    for mechanism in Mechanism::ALL {
        if mechanism == Mechanism::External {
            continue;
        }
        let (known, reason) = transcript(mechanism, "user", "wrong");
        for name in ["nobody", "gone", "user2", "a"] {
            let (unknown, same_reason) = transcript(mechanism, name, "wrong");
            assert_eq!(reason, same_reason, "{mechanism} {name}");
            assert_eq!(known.len(), unknown.len(), "{mechanism} {name}");
            for (one, other) in known.iter().zip(&unknown) {
                assert_eq!(one.len(), other.len(), "{mechanism} {name}");
                let (one, other) = (
                    scram::ServerFirst::parse(one).expect("grammar"),
                    scram::ServerFirst::parse(other).expect("grammar"),
                );
                assert_eq!(one.nonce, other.nonce);
                assert_eq!(one.iterations, other.iterations);
                assert_eq!(one.salt.len(), other.salt.len());
                assert_eq!(one.downgrade_hash, other.downgrade_hash);
            }
        }
    }
}

/// Salts of users who do not exist: the same every time, different between users, hashes and servers, and as long as genuine ones.
#[test]
fn fake_keys() {
    let fake = |secret: &[u8], hash, name: &str| Keys::fake(secret, hash, name, 4096);
    let salt = |secret: &[u8], hash, name: &str| fake(secret, hash, name).salt().to_vec();
    let one = salt(SECRET, Hash::Sha256, "nobody");
    assert_eq!(one, salt(SECRET, Hash::Sha256, "nobody"));
    assert_ne!(one, salt(SECRET, Hash::Sha256, "nobody2"));
    assert_ne!(one, salt(SECRET, Hash::Sha1, "nobody"));
    assert_ne!(one, salt(b"other", Hash::Sha256, "nobody"));
    for hash in Hash::ALL {
        let genuine = Keys::generate(hash, "pencil", 4096, &Counter::default()).expect("keys");
        let fake = fake(SECRET, hash, "nobody");
        assert_eq!(genuine.salt().len(), fake.salt().len());
        assert_eq!(genuine.to_text().len(), fake.to_text().len());
        assert!(!fake.verify("pencil"));
    }
}

/// A user who does not exist cannot log in even with keys that fit.
#[test]
fn no_account_no_login() {
    let bare = "n=nobody,r=nonce";
    let (mut server, step) = Exchange::start(
        "SCRAM-SHA-1",
        Some(format!("n,,{bare}").as_bytes()),
        context(&[]),
        &Counter::default(),
    );
    assert!(matches!(step, Step::Need(Lookup::Scram { .. })));
    let record = Record { keys: Host::keys(Hash::Sha1), account: None };
    let server_first = String::from_utf8(challenge(server.answer(Answer::Scram(Ok(record))))).expect("text");
    let nonce = scram::ServerFirst::parse(server_first.as_bytes()).expect("grammar").nonce;
    let last =
        Signer { hash: Hash::Sha1, bare, server_first: &server_first }.sign(&format!("c=biws,r={nonce}"));
    let failure = failure(server.respond(last.as_bytes()));
    assert_eq!((failure.condition, failure.guess), (SaslCondition::NotAuthorized, true));
}

/// No `Debug` shows a password, a key, a proof or a salt.
#[test]
fn debug_is_silent() {
    const PASSWORD: &str = "correct-horse-battery";
    let keys = Keys::derive(Hash::Sha256, PASSWORD, b"sixteen byte slt", 4096).expect("keys");
    let text = keys.to_text();
    let secrets: Vec<&str> = text.split(['$', ':']).skip(2).chain([PASSWORD]).collect();
    assert_eq!(secrets.len(), 4);

    let record = Record { keys: keys.clone(), account: Some(jid("user@example.org")) };
    let credentials = client::Credentials::password("user", PASSWORD);
    let server = context(&[]);
    let offered = server.offer.clone();
    let ours = client_context(&offered, &[], &[Mechanism::ScramSha256]);
    let (mut us, start) = client::Exchange::start(&credentials, ours, &Counter::default()).expect("start");
    let (mut scram, step) =
        Exchange::start("SCRAM-SHA-256", Some(&start.initial), server.clone(), &Counter::default());
    let mut shown = vec![format!("{keys:?}"), format!("{record:?}"), format!("{credentials:?}")];
    shown.extend([format!("{us:?}"), format!("{scram:?}"), format!("{step:?}")]);
    let answer = Answer::Scram(Ok(record));
    shown.push(format!("{answer:?}"));
    let message = challenge(scram.answer(answer));
    let last = us.challenge(&message).expect("proof");
    shown.extend([format!("{us:?}"), format!("{scram:?}")]);
    let step = scram.respond(&last);
    shown.extend([format!("{step:?}"), format!("{scram:?}")]);

    let clear = client_context(&offered, &[], &[Mechanism::Plain]);
    let (us, start) = client::Exchange::start(&credentials, clear, &Counter::default()).expect("start");
    assert!(start.initial.ends_with(PASSWORD.as_bytes()));
    shown.extend([format!("{us:?}"), format!("{start:?}")]);
    let octets = format!("{:?}", PASSWORD.as_bytes());
    let octets = octets.trim_matches(['[', ']']);

    let plain = format!("\0user\0{PASSWORD}");
    let (exchange, step) = Exchange::start("PLAIN", Some(plain.as_bytes()), server, &Counter::default());
    let Step::Need(lookup) = &step else { panic!("{step:?}") };
    assert!(matches!(lookup, Lookup::Password { password, .. } if password.as_str() == PASSWORD));
    shown.extend([format!("{exchange:?}"), format!("{step:?}")]);
    for text in &shown {
        for secret in secrets.iter().copied().chain([octets]) {
            assert!(!text.contains(secret), "{text}");
        }
    }
    assert!(shown.iter().any(|text| text.contains("user")), "something is shown");
}

/// Every exchange has a nonce of its own, of at least 128 bits.
#[test]
fn nonces_differ() {
    let entropy = Counter::default();
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..5 {
        let (mut server, step) =
            Exchange::start("SCRAM-SHA-1", Some(b"n,,n=user,r=x"), context(&[]), &entropy);
        let message = challenge(Host::new().settle(&mut server, step));
        let first = scram::ServerFirst::parse(&message).expect("grammar");
        assert!(first.nonce.len() > 22);
        assert!(seen.insert(first.nonce.to_owned()));
    }
}
