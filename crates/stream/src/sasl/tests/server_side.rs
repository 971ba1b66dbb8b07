//! The server's side in agreement with a client: every mechanism, every binding, every rule about who may be whom.

use super::*;

/// Every mechanism with every channel-binding type (S0-35: SCRAM-SHA-1, SCRAM-SHA-1-PLUS and EXTERNAL are mandatory to implement).
#[test]
fn every_mechanism_and_binding_logs_in() {
    let mut combinations = 0;
    for mechanism in Mechanism::ALL {
        for kinds in [&[][..], &BOTH[..1], &BOTH[1..], &BOTH[..]] {
            let server = context(kinds);
            if !server.offer.has(mechanism.as_str()) {
                assert!(mechanism.is_plus() && kinds.is_empty());
                continue;
            }
            let mut credentials = client::Credentials::password("user", "pencil");
            credentials.certificate = true;
            let mut host = Host::new();
            let ours = client_context(&server.offer, kinds, &[mechanism]);
            let (done, proven) = converse(&credentials, ours, server, &mut host)
                .unwrap_or_else(|error| panic!("{mechanism} {kinds:?}: {error:?}"));
            let bound = kinds.iter().max().filter(|_| mechanism.is_plus());
            assert_eq!(done.authenticated.account().as_str(), "user@example.org");
            assert_eq!(done.authenticated.mechanism(), mechanism.as_str());
            assert_eq!(done.authenticated.channel_binding(), bound.map(|kind| kind.as_str()));
            assert_eq!(proven.channel_binding, bound.copied());
            assert_eq!(proven.mutual, mechanism.hash().is_some());
            assert_eq!(proven.downgrade_protected, mechanism.hash().is_some(), "XEP-0474 is on by default");
            assert_eq!(host.asked.len(), 2, "credentials, then login: {:?}", host.asked);
            combinations += 1;
        }
    }
    assert_eq!(combinations, 5 * 4 + 3 * 3);
}

/// S0-24: wrong credentials are SASL's `not-authorized` (RFC 6120 §6.5.10), whatever the mechanism, and whether or not there is such a user.
#[test]
fn wrong_credentials() {
    for mechanism in Mechanism::ALL {
        if mechanism == Mechanism::External {
            continue;
        }
        for (user, password) in [("user", "pencils"), ("nobody", "pencil"), ("gone", "pencils")] {
            let server = context(&BOTH);
            let ours = client_context(&server.offer, &BOTH, &[mechanism]);
            let credentials = client::Credentials::password(user, password);
            let result = converse(&credentials, ours, server, &mut Host::new());
            let failure = result.expect_err("wrong").expect("the server refuses");
            assert_eq!(failure.condition, SaslCondition::NotAuthorized, "{mechanism} {user}");
            assert!(failure.guess, "lock-outs count it");
        }
    }
}

/// RFC 6120 §6.5.2: that an account is switched off is told only to whoever knows its password.
#[test]
fn disabled_account() {
    for mechanism in [Mechanism::ScramSha256, Mechanism::ScramSha512Plus, Mechanism::Plain] {
        let server = context(&BOTH);
        let ours = client_context(&server.offer, &BOTH, &[mechanism]);
        let credentials = client::Credentials::password("gone", "pencil");
        let failure =
            converse(&credentials, ours, server, &mut Host::new()).expect_err("disabled").expect("refused");
        assert_eq!((failure.condition, failure.guess), (SaslCondition::AccountDisabled, false));
    }
}

/// S0-26: a backend that is down is `temporary-auth-failure`, and the proof is never asked for.
#[test]
fn backend_down() {
    for mechanism in [Mechanism::ScramSha1, Mechanism::Plain, Mechanism::External] {
        let server = context(&BOTH);
        let ours = client_context(&server.offer, &BOTH, &[mechanism]);
        let mut credentials = client::Credentials::password("user", "pencil");
        credentials.certificate = true;
        let mut host = Host { down: Some(SaslCondition::TemporaryAuthFailure), ..Host::new() };
        let failure = converse(&credentials, ours, server, &mut host).expect_err("down").expect("refused");
        assert_eq!((failure.condition, failure.guess), (SaslCondition::TemporaryAuthFailure, false));
        assert_eq!(host.asked.len(), 1);
    }
}

/// Nobody logs in as somebody else, whatever the mechanism (RFC 6120 §6.3.8).
#[test]
fn authorization_identity() {
    let cases = [
        (None, None),
        (Some("user@example.org"), None),
        (Some("USER@EXAMPLE.ORG"), None),
        (Some("admin@example.org"), Some(SaslCondition::InvalidAuthzid)),
        (Some("user@example.com"), Some(SaslCondition::InvalidAuthzid)),
        (Some("example.org"), Some(SaslCondition::InvalidAuthzid)),
        (Some("user@example.org/desk"), Some(SaslCondition::InvalidAuthzid)),
        (Some("user"), Some(SaslCondition::InvalidAuthzid)),
        (Some("@"), Some(SaslCondition::InvalidAuthzid)),
    ];
    for (authzid, expected) in cases {
        let wish = authzid.unwrap_or_default();
        let plain = format!("{wish}\0user\0pencil");
        for (mechanism, initial) in [("PLAIN", plain.as_str()), ("EXTERNAL", wish)] {
            let (mut server, step) =
                Exchange::start(mechanism, Some(initial.as_bytes()), context(&BOTH), &Counter::default());
            let step = Host::new().settle(&mut server, step);
            match expected {
                Some(condition) => assert_eq!(failure(step).condition, condition, "{mechanism} {wish}"),
                None => assert_eq!(done(step).authenticated.account().as_str(), "user@example.org"),
            }
        }
        let header = format!("n,{},", authzid.map(|wish| format!("a={wish}")).unwrap_or_default());
        let (step, _) = scram_login(&header, "user");
        match expected {
            Some(condition) => assert_eq!(failure(step).condition, condition, "SCRAM {wish}"),
            None => assert_eq!(done(step).authenticated.account().as_str(), "user@example.org"),
        }
    }
}

/// Logs in with SCRAM-SHA-256, a hand-written gs2 header and the right proof.
fn scram_login(header: &str, name: &str) -> (Step, Host) {
    let mut host = Host::new();
    let bare = format!("n={name},r=nonce");
    let first = format!("{header}{bare}");
    let (mut server, step) =
        Exchange::start("SCRAM-SHA-256", Some(first.as_bytes()), context(&[]), &Counter::default());
    let step = match host.settle(&mut server, step) {
        Step::Challenge(message) => {
            let server_first = String::from_utf8(message).expect("text");
            let nonce = server_first.split(',').next().expect("nonce");
            let signer = Signer { hash: Hash::Sha256, bare: &bare, server_first: &server_first };
            let last = signer.sign(&format!("c={},{nonce}", scram::binding_text(header, b"")));
            let step = server.respond(last.as_bytes());
            host.settle(&mut server, step)
        }
        other => other,
    };
    (step, host)
}

/// An authzid that only the host's account can refute is looked at after the proof, so it tells nothing about who exists.
#[test]
fn foreign_authzid_needs_the_proof_first() {
    let (step, host) = scram_login("n,a=admin@example.org,", "user");
    assert_eq!(failure(step).condition, SaslCondition::InvalidAuthzid);
    assert_eq!(host.asked.len(), 1, "login was not asked");
    let (step, _) = scram_login("n,a=user@example.org,", "nobody");
    assert_eq!(failure(step).condition, SaslCondition::NotAuthorized);
}

/// User names are prepared and normalised; `=2C` and `=3D` are unescaped (RFC 5802 §5.1); what is no localpart is nobody.
#[test]
fn user_names() {
    for (sent, asked) in [
        ("user", Some("user")),
        ("USER", Some("user")),
        ("us\u{ad}er", Some("user")),
        ("a=2Cb=3Dc", Some("a,b=c")),
    ] {
        let (_, host) = scram_login("n,,", sent);
        let lookup = Lookup::Scram { username: asked.unwrap_or_default().to_owned(), hash: Hash::Sha256 };
        assert_eq!(host.asked.first().cloned(), asked.map(|_| format!("{lookup:?}")), "{sent}");
    }
    for (sent, condition) in [
        ("user@example.org", SaslCondition::NotAuthorized),
        ("a b", SaslCondition::NotAuthorized),
        ("a/b", SaslCondition::NotAuthorized),
        ("\u{7}", SaslCondition::MalformedRequest),
        ("\u{ad}", SaslCondition::MalformedRequest),
    ] {
        let (step, host) = scram_login("n,,", sent);
        let failure = failure(step);
        assert_eq!((failure.condition, failure.guess), (condition, false), "{sent:?}");
        assert!(host.asked.is_empty(), "{sent:?}");
    }
}

/// XEP-0178 §2: a certificate that speaks for nobody, and one of another domain.
#[test]
fn external() {
    let start =
        |initial: &[u8]| Exchange::start("EXTERNAL", Some(initial), context(&[]), &Counter::default());
    let (mut server, step) = start(b"");
    assert!(matches!(step, Step::Need(Lookup::External { authzid: None })), "{step:?}");
    let refused = failure(server.answer(Answer::External(Ok(None))));
    assert_eq!(refused.condition, SaslCondition::NotAuthorized);
    let (mut server, _) = start(b"user@example.org");
    let refused = failure(server.answer(Answer::External(Ok(None))));
    assert_eq!(refused.condition, SaslCondition::InvalidAuthzid);
    let (mut server, _) = start(b"");
    let refused = failure(server.answer(Answer::External(Ok(Some(jid("user@elsewhere.example"))))));
    assert_eq!(refused.condition, SaslCondition::NotAuthorized);
    let (mut server, _) = start(b"");
    let refused = failure(server.answer(Answer::External(Ok(Some(jid("example.org"))))));
    assert_eq!(refused.condition, SaslCondition::NotAuthorized);
    let (mut server, _) = start(b"");
    let refused = failure(server.answer(Answer::External(Err(SaslCondition::InvalidAuthzid))));
    assert_eq!(refused.condition, SaslCondition::InvalidAuthzid, "more than one candidate");
}

/// RFC 6120 §6.3.10: an initial response may be left out.
#[test]
fn without_initial_response() {
    for (mechanism, message) in
        [("PLAIN", &b"\0user\0pencil"[..]), ("EXTERNAL", b""), ("SCRAM-SHA-1", b"n,,n=user,r=nonce")]
    {
        let (mut server, step) = Exchange::start(mechanism, None, context(&[]), &Counter::default());
        assert_eq!(challenge(step), b"", "{mechanism}");
        let step = server.respond(message);
        let step = Host::new().settle(&mut server, step);
        assert!(matches!(step, Step::Done(_) | Step::Challenge(_)), "{mechanism}: {step:?}");
    }
}

/// Against the client of rsasl, which is another team's work. It has no XEP-0474: it leaves unknown attributes out of what it
/// signs, which RFC 5802 §5.1 does not allow, so downgrade protection is off for it.
#[test]
fn logs_in_rsasl() {
    use rsasl::prelude::{Mechname, SASLClient, SASLConfig};
    for (mechanism, name) in
        [(Mechanism::ScramSha1, "user"), (Mechanism::ScramSha256, "user"), (Mechanism::ScramSha512, "user")]
    {
        for (password, right) in [("pencil", true), ("pencils", false)] {
            let config =
                SASLConfig::with_credentials(None, name.to_owned(), password.to_owned()).expect("config");
            let offered = [Mechname::parse(mechanism.as_str().as_bytes()).expect("name")];
            let mut peer = SASLClient::new(config).start_suggested(&offered).expect("rsasl knows it");
            let mut first = Vec::new();
            peer.step(None, &mut first).expect("client-first");

            let mut context = context(&[]);
            context.downgrade_protection = false;
            let mut host = Host::new();
            let (mut server, step) =
                Exchange::start(mechanism.as_str(), Some(&first), context, &Counter::default());
            let message = challenge(host.settle(&mut server, step));
            let mut last = Vec::new();
            peer.step(Some(&message), &mut last).expect("client-final");
            let step = server.respond(&last);
            match host.settle(&mut server, step) {
                Step::Done(done) if right => {
                    let additional = done.additional.expect("a verifier");
                    let mut nothing = Vec::new();
                    peer.step(Some(&additional), &mut nothing).expect("rsasl accepts our signature");
                }
                Step::Fail(failure) if !right => assert_eq!(failure.condition, SaslCondition::NotAuthorized),
                other => panic!("{mechanism} {password}: {other:?}"),
            }
        }
    }
}
