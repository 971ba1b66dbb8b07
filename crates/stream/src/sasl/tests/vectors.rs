//! The examples of the specifications, byte for byte.

use super::*;

struct Vector {
    name: &'static str,
    mechanism: Mechanism,
    nonces: [&'static str; 2],
    salt: &'static str,
    client_first: &'static str,
    server_first: &'static str,
    client_final: &'static str,
    server_final: &'static str,
}

const VECTORS: [Vector; 3] = [
    Vector {
        name: "RFC 5802 §5",
        mechanism: Mechanism::ScramSha1,
        nonces: ["fyko+d2lbbFgONRv9qkxdawL", "3rfcNHYJY1ZVvWVs7j"],
        salt: "QSXCR+Q6sek8bf92",
        client_first: "n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL",
        server_first: "r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096",
        client_final: "c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=",
        server_final: "v=rmF9pqV8S7suAoZWja4dJRkFsKQ=",
    },
    Vector {
        name: "RFC 7677 §3",
        mechanism: Mechanism::ScramSha256,
        nonces: ["rOprNGfwEbeRWgbNEkqO", "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"],
        salt: "W22ZaJ0SNY7soEsUEjb6gQ==",
        client_first: "n,,n=user,r=rOprNGfwEbeRWgbNEkqO",
        server_first: "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
        client_final: "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                       p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
        server_final: "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
    },
    // No specification has one for this hash; computed with another language's standard library.
    Vector {
        name: "SHA-512",
        mechanism: Mechanism::ScramSha512,
        nonces: ["fyko+d2lbbFgONRv9qkxdawL", "3rfcNHYJY1ZVvWVs7j"],
        salt: "QSXCR+Q6sek8bf92",
        client_first: "n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL",
        server_first: "r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096",
        client_final: "c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=VdS8LkrURiej1tG6iX+fqCXQfUnBb//d9llXYaH+\
                       ylUbDwBUz9geyR9fC4TewskRUM2tlYSalhAT4Aay1Q5dTA==",
        server_final: "v=14PAAuavk9hxBEkgB0brDxUhvWu+N16meYk+qxVNFqchR8QPohM09Y4Z6WaTCuX4C6nqMB9KIJTDm6RpSM990g==",
    },
];

/// S0-35: SCRAM-SHA-1 is mandatory to implement (RFC 6120 §13.8).
#[test]
fn both_roles_reproduce_the_vectors() {
    for vector in VECTORS {
        let name = vector.name;
        let hash = vector.mechanism.hash().expect("SCRAM");
        let offer = Offer { mechanisms: vec![vector.mechanism.as_str().to_owned()], channel_bindings: None };

        let (mut us, start) = client::Exchange::with_nonce(
            &client::Credentials::password("user", "pencil"),
            client_context(&offer, &[], &Mechanism::ALL),
            vector.nonces[0].to_owned(),
        )
        .expect(name);
        assert_eq!(String::from_utf8_lossy(&start.initial), vector.client_first, "{name}");
        let response = us.challenge(vector.server_first.as_bytes()).expect(name);
        assert_eq!(String::from_utf8_lossy(&response), vector.client_final, "{name}");
        let proven = us.success(Some(vector.server_final.as_bytes())).expect(name);
        assert!(proven.mutual && !proven.downgrade_protected, "{name}");

        let mut context = Context::new(DOMAIN.to_owned(), true, vec![], offer);
        context.downgrade_protection = false;
        let (mut server, step) = Exchange::with_nonce(
            vector.mechanism.as_str(),
            Some(vector.client_first.as_bytes()),
            context,
            vector.nonces[1].to_owned(),
        );
        let Step::Need(Lookup::Scram { username, hash: asked }) = step else { panic!("{name}: {step:?}") };
        assert_eq!((username.as_str(), asked), ("user", hash), "{name}");
        let keys =
            Keys::derive(hash, "pencil", &STANDARD.decode(vector.salt).expect("salt"), 4096).expect("keys");
        let step = server.answer(Answer::Scram(Ok(Record { keys, account: Some(jid("user@example.org")) })));
        assert_eq!(String::from_utf8_lossy(&challenge(step)), vector.server_first, "{name}");
        let step = server.respond(vector.client_final.as_bytes());
        assert!(matches!(step, Step::Need(Lookup::Login { .. })), "{name}: {step:?}");
        let done = done(server.answer(Answer::Login(Ok(()))));
        assert_eq!(done.additional.as_deref(), Some(vector.server_final.as_bytes()), "{name}");
        assert_eq!(done.authenticated.account().as_str(), "user@example.org", "{name}");
        assert_eq!(done.authenticated.mechanism(), vector.mechanism.as_str(), "{name}");
        assert_eq!(done.authenticated.channel_binding(), None, "{name}");
    }
}

/// XEP-0474 §"Full Example": the hash of its offer, and its whole exchange with an unknown optional attribute in the client's last message.
#[test]
fn downgrade_protection_example() {
    let bound =
        Binding { kind: ChannelBinding::TlsExporter, data: Bytes::from_static(b"THIS IS FAKE CB DATA") };
    let names = |names: [&str; 2]| names.map(str::to_owned).to_vec();
    let offer = Offer {
        mechanisms: names(["SCRAM-SHA-1", "SCRAM-SHA-1-PLUS"]),
        channel_bindings: Some(names(["tls-server-end-point", "tls-exporter"])),
    };
    assert_eq!(offer.downgrade_hash(Hash::Sha1), "G6k/rBLDqgOhRRaCuuatSDFkJ08=");
    let reversed = Offer {
        mechanisms: names(["SCRAM-SHA-1-PLUS", "SCRAM-SHA-1"]),
        channel_bindings: Some(names(["tls-exporter", "tls-server-end-point"])),
    };
    assert_eq!(reversed.downgrade_hash(Hash::Sha1), offer.downgrade_hash(Hash::Sha1), "order does not count");

    let (mut server, step) = Exchange::with_nonce(
        "SCRAM-SHA-1-PLUS",
        Some(b"p=tls-exporter,,n=user,r=12C4CD5C-E38E-4A98-8F6D-15C38F51CCC6"),
        Context::new(DOMAIN.to_owned(), true, vec![bound], offer),
        "a09117a6-ac50-4f2f-93f1-93799c2bddf6".to_owned(),
    );
    assert!(matches!(step, Step::Need(Lookup::Scram { .. })), "{step:?}");
    let salt = STANDARD.decode("QSXCR+Q6sek8bf92").expect("salt");
    let keys = Keys::derive(Hash::Sha1, "pencil", &salt, 4096).expect("keys");
    let step = server.answer(Answer::Scram(Ok(Record { keys, account: Some(jid("user@example.org")) })));
    assert_eq!(
        String::from_utf8_lossy(&challenge(step)),
        "r=12C4CD5C-E38E-4A98-8F6D-15C38F51CCC6a09117a6-ac50-4f2f-93f1-93799c2bddf6,s=QSXCR+Q6sek8bf92,i=4096,\
         h=G6k/rBLDqgOhRRaCuuatSDFkJ08="
    );
    let step = server.respond(
        b"c=cD10bHMtZXhwb3J0ZXIsLFRISVMgSVMgRkFLRSBDQiBEQVRB,\
          r=12C4CD5C-E38E-4A98-8F6D-15C38F51CCC6a09117a6-ac50-4f2f-93f1-93799c2bddf6,\
          x=19C6532F-1CF4-4A27-A18D-DC9CEA41BBB3,p=M/SIDjT+dfcxUh89jZEypRvFxB4=",
    );
    assert!(matches!(step, Step::Need(Lookup::Login { .. })), "{step:?}");
    let done = done(server.answer(Answer::Login(Ok(()))));
    assert_eq!(done.additional.as_deref(), Some(&b"v=MQrMPvv7yv4x4Cq4W4Ih25EqS2c="[..]));
    assert_eq!(done.authenticated.channel_binding(), Some("tls-exporter"));
}

/// The stored form, with keys that another language's standard library computed.
#[test]
fn stored_keys() {
    let salt = STANDARD.decode("QSXCR+Q6sek8bf92").expect("salt");
    for text in [
        "SCRAM-SHA-1$4096:QSXCR+Q6sek8bf92$6dlGYMOdZcOPutkcNY8U2g7vK9Y=:D+CSWLOshSulAsxiupA+qs2/fTE=",
        "SCRAM-SHA-256$4096:QSXCR+Q6sek8bf92$FO+9jBb3MUukt6jJnzjPZOWc5ow/Pu6JtPyju0aqaE8=:\
         qxJ1SbmSAi5EcS0J5Ck/cKAm/+Ixa+Kwp63f4OHDgzo=",
        "SCRAM-SHA-512$4096:QSXCR+Q6sek8bf92$Lm7w6zPGAx+UoahlEm1whIN7PS1KGU+9+V5PyudK6c/mWVVtkXSCpVPmUKQLYDKR7v0uSkxrBzPm7HuSw\
         Z/ytw==:b/Ph5kGCpfdw2MyLh0C8l10iiFENloZLKPiJIHv57J3BRD9++4RvoYjTKhOehyHgJS/nsxnNB17UKgNU7nRy6g==",
    ] {
        let keys: Keys = text.parse().expect(text);
        assert_eq!(keys.to_text().as_str(), text);
        let derived = Keys::derive(keys.hash(), "pencil", &salt, 4096).expect("keys");
        assert_eq!(derived.to_text().as_str(), text);
        assert!(
            keys.verify("pencil") && !keys.verify("pencils") && !keys.verify("") && !keys.verify("\u{7}")
        );
    }
    for broken in [
        "",
        "SCRAM-SHA-1",
        "SCRAM-SHA-3$4096:QSXCR+Q6sek8bf92$6dlGYMOdZcOPutkcNY8U2g7vK9Y=:D+CSWLOshSulAsxiupA+qs2/fTE=",
        "SCRAM-SHA-1$0:QSXCR+Q6sek8bf92$6dlGYMOdZcOPutkcNY8U2g7vK9Y=:D+CSWLOshSulAsxiupA+qs2/fTE=",
        "SCRAM-SHA-1$-1:QSXCR+Q6sek8bf92$6dlGYMOdZcOPutkcNY8U2g7vK9Y=:D+CSWLOshSulAsxiupA+qs2/fTE=",
        "SCRAM-SHA-1$4096:$6dlGYMOdZcOPutkcNY8U2g7vK9Y=:D+CSWLOshSulAsxiupA+qs2/fTE=",
        "SCRAM-SHA-1$4096:QSXCR+Q6sek8bf92$6dlG:D+CSWLOshSulAsxiupA+qs2/fTE=",
        "SCRAM-SHA-1$4096:QSXCR+Q6sek8bf92$6dlGYMOdZcOPutkcNY8U2g7vK9Y=:D+CS",
        "SCRAM-SHA-1$4096:QSXCR+Q6sek8bf92$6dlGYMOdZcOPutkcNY8U2g7vK9Y=:D+CSWLOshSulAsxiupA+qs2/fTE=$",
    ] {
        assert!(broken.parse::<Keys>().is_err(), "{broken}");
    }
}

/// RFC 4013 §3, and RFC 5802 §5.1: a user name is a query, so code points unknown to Unicode 3.2 pass; a password is stored, so they do not.
#[test]
fn saslprep() {
    for (given, name, password) in [
        ("I\u{ad}X", Some("IX"), Some("IX")),
        ("user", Some("user"), Some("user")),
        ("USER", Some("USER"), Some("USER")),
        ("\u{aa}", Some("a"), Some("a")),
        ("\u{2168}", Some("IX"), Some("IX")),
        ("\u{7}", None, None),
        ("\u{627}\u{31}", None, None),
        ("", None, None),
        ("\u{ad}", None, None),
        ("caf\u{e9}", Some("caf\u{e9}"), Some("caf\u{e9}")),
        ("cafe\u{301}", Some("caf\u{e9}"), Some("caf\u{e9}")),
        ("\u{1f600}", Some("\u{1f600}"), None),
        ("\u{7}\u{1f600}", None, None),
    ] {
        assert_eq!(scram::prepare_username(given).as_deref(), name, "{given:?}");
        assert_eq!(scram::prepare_password(given).as_deref().map(String::as_str), password, "{given:?}");
    }
    // What stands in for a password that cannot be prepared opens nothing.
    let stand_in = Keys::derive(Hash::Sha256, "unusable", b"salt", 4096).expect("keys");
    assert!(stand_in.verify("unusable") && !stand_in.verify("\u{7}") && !stand_in.verify(""));
    let keys = Keys::derive(Hash::Sha256, "I\u{ad}X", b"salt", 4096).expect("keys");
    assert!(keys.verify("IX") && keys.verify("\u{2168}"));
}
