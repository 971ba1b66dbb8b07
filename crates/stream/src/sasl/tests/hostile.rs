//! Hostile messages to the server. Those with a password sign what they say, so that only what they say can be wrong.

use super::*;
use SaslCondition::{
    EncryptionRequired, InvalidAuthzid, InvalidMechanism, MalformedRequest, NotAuthorized,
    TemporaryAuthFailure,
};

fn refused(mechanism: &str, initial: &[u8], context: Context) -> (SaslCondition, &'static str, usize) {
    let mut host = Host::new();
    let (mut server, step) = Exchange::start(mechanism, Some(initial), context, &Counter::default());
    let failure = failure(host.settle(&mut server, step));
    (failure.condition, failure.why, host.asked.len())
}

/// First messages: refused before the host is asked anything.
#[test]
fn first_messages() {
    let long = "a".repeat(1024);
    let long_name = format!("n,,n={long},r=nonce");
    let long_escaped = format!("n,,n={},r=nonce", "=2C".repeat(1024));
    let long_authzid = format!("n,a={},n=user,r=nonce", "a".repeat(2048));
    let too_long = format!("n,,n=user,r={}", "a".repeat(super::super::MAX_MESSAGE));
    let long_plain_user = format!("\0{long}\0pencil");
    let long_plain_password = format!("\0user\0{long}");
    let long_plain_authzid = format!("{}@example.org\0user\0pencil", "a".repeat(1024));
    let too_long_plain = format!("{}\0user\0pencil", "a".repeat(super::super::MAX_MESSAGE));
    let too_long_external = "a".repeat(super::super::MAX_MESSAGE + 1);
    let cases: &[(&str, &[u8], SaslCondition)] = &[
        ("SCRAM-SHA-1", b"", MalformedRequest),
        ("SCRAM-SHA-1", b",", MalformedRequest),
        ("SCRAM-SHA-1", b",,", MalformedRequest),
        ("SCRAM-SHA-1", b"n,,", MalformedRequest),
        ("SCRAM-SHA-1", b"n", MalformedRequest),
        ("SCRAM-SHA-1", b"n,n=user,r=nonce", MalformedRequest),
        ("SCRAM-SHA-1", b"N,,n=user,r=nonce", MalformedRequest),
        ("SCRAM-SHA-1", b"x,,n=user,r=nonce", MalformedRequest),
        ("SCRAM-SHA-1", b"F,n,,n=user,r=nonce", MalformedRequest),
        ("SCRAM-SHA-1", b"nn,,n=user,r=nonce", MalformedRequest),
        ("SCRAM-SHA-1", b" n,,n=user,r=nonce", MalformedRequest),
        ("SCRAM-SHA-1", b"n,user@example.org,n=user,r=nonce", MalformedRequest),
        ("SCRAM-SHA-1", b"n,a=,n=user,r=nonce", MalformedRequest),
        ("SCRAM-SHA-1", b"n,b=user@example.org,n=user,r=nonce", MalformedRequest),
        ("SCRAM-SHA-1", b"n,a=us=er@example.org,n=user,r=nonce", MalformedRequest),
        ("SCRAM-SHA-1", b"n,a=not a jid@@,n=user,r=nonce", InvalidAuthzid),
        ("SCRAM-SHA-1", b"n,,m=ext,n=user,r=nonce", MalformedRequest),
        ("SCRAM-SHA-1", b"n,,n=user,m=ext,r=nonce", MalformedRequest),
        ("SCRAM-SHA-1", b"n,,n=user,r=nonce,m=ext", MalformedRequest),
        ("SCRAM-SHA-1", b"n,,r=nonce,n=user", MalformedRequest),
        ("SCRAM-SHA-1", b"n,,n=user", MalformedRequest),
        ("SCRAM-SHA-1", b"n,,r=nonce", MalformedRequest),
        ("SCRAM-SHA-1", b"n,,n=,r=nonce", MalformedRequest),
        ("SCRAM-SHA-1", b"n,,n=user,r=", MalformedRequest),
        ("SCRAM-SHA-1", b"n,,n=us,er,r=nonce", MalformedRequest),
        ("SCRAM-SHA-1", b"n,,n=us=er,r=nonce", MalformedRequest),
        ("SCRAM-SHA-1", b"n,,n=us=2cer,r=nonce", MalformedRequest),
        ("SCRAM-SHA-1", b"n,,n=us=3D2,=,r=nonce", MalformedRequest),
        ("SCRAM-SHA-1", b"n,,n=user=,r=nonce", MalformedRequest),
        ("SCRAM-SHA-1", b"n,,n=user,n=admin,r=nonce", MalformedRequest),
        ("SCRAM-SHA-1", b"n,,n=user,r=nonce,r=other", MalformedRequest),
        ("SCRAM-SHA-1", b"n,,n=user,r=nonce,n=admin", MalformedRequest),
        ("SCRAM-SHA-1", b"n,,n=user,r=nonce,", MalformedRequest),
        ("SCRAM-SHA-1", b"n,,n=user,r=nonce,x", MalformedRequest),
        ("SCRAM-SHA-1", b"n,,n=user,r=nonce,x=", MalformedRequest),
        ("SCRAM-SHA-1", b"n,,n=user,r=nonce,xx=1", MalformedRequest),
        ("SCRAM-SHA-1", b"n,,n=user,r=nonce,1=1", MalformedRequest),
        ("SCRAM-SHA-1", b"n,,n=user,r=non ce", MalformedRequest),
        ("SCRAM-SHA-1", b"n,,n=user,r=non\x7fce", MalformedRequest),
        ("SCRAM-SHA-1", "n,,n=user,r=nonc\u{e9}".as_bytes(), MalformedRequest),
        ("SCRAM-SHA-1", b"n,,n=us\0er,r=nonce", MalformedRequest),
        ("SCRAM-SHA-1", b"n,,n=user,r=nonce\0", MalformedRequest),
        ("SCRAM-SHA-1", b"n,,n=us\xffer,r=nonce", MalformedRequest),
        ("SCRAM-SHA-1", b"n,,n=us\xc0\x80er,r=nonce", MalformedRequest),
        ("SCRAM-SHA-1", b"\xef\xbb\xbfn,,n=user,r=nonce", MalformedRequest),
        ("SCRAM-SHA-1", b"n,,n=\x07,r=nonce", MalformedRequest),
        ("SCRAM-SHA-1", long_name.as_bytes(), MalformedRequest),
        ("SCRAM-SHA-1", long_escaped.as_bytes(), MalformedRequest),
        ("SCRAM-SHA-1", long_authzid.as_bytes(), MalformedRequest),
        ("SCRAM-SHA-1", too_long.as_bytes(), MalformedRequest),
        ("SCRAM-SHA-1", b"p=tls-exporter,,n=user,r=nonce", MalformedRequest),
        ("SCRAM-SHA-1", b"p=tls-unique,,n=user,r=nonce", MalformedRequest),
        ("SCRAM-SHA-1", b"y,,n=user,r=nonce", NotAuthorized),
        ("SCRAM-SHA-1-PLUS", b"y,,n=user,r=nonce", MalformedRequest),
        ("SCRAM-SHA-1-PLUS", b"n,,n=user,r=nonce", MalformedRequest),
        ("SCRAM-SHA-1-PLUS", b"p,,n=user,r=nonce", MalformedRequest),
        ("SCRAM-SHA-1-PLUS", b"p=,,n=user,r=nonce", MalformedRequest),
        ("SCRAM-SHA-1-PLUS", b"p=tls-unique,,n=user,r=nonce", MalformedRequest),
        ("SCRAM-SHA-1-PLUS", b"p=TLS-EXPORTER,,n=user,r=nonce", MalformedRequest),
        ("SCRAM-SHA-1-PLUS", b"p=tls_exporter,,n=user,r=nonce", MalformedRequest),
        ("SCRAM-SHA-1-PLUS", b"p=tls-server-end-point,,n=user,r=nonce", MalformedRequest),
        ("PLAIN", b"", MalformedRequest),
        ("PLAIN", b"user", MalformedRequest),
        ("PLAIN", b"user\0pencil", MalformedRequest),
        ("PLAIN", b"\0user\0pencil\0", MalformedRequest),
        ("PLAIN", b"\0user\0pen\0cil", MalformedRequest),
        ("PLAIN", b"\0\0pencil", MalformedRequest),
        ("PLAIN", b"\0user\0", MalformedRequest),
        ("PLAIN", b"\0\0", MalformedRequest),
        ("PLAIN", b"\0us\xffer\0pencil", MalformedRequest),
        ("PLAIN", b"\0user\0pen\xffcil", MalformedRequest),
        ("PLAIN", b"\0\x07\0pencil", MalformedRequest),
        ("PLAIN", b"\0user@example.org\0pencil", NotAuthorized),
        ("PLAIN", b"not a jid@@\0user\0pencil", InvalidAuthzid),
        ("PLAIN", b"user@example.org/desk\0user\0pencil", InvalidAuthzid),
        ("PLAIN", long_plain_user.as_bytes(), MalformedRequest),
        ("PLAIN", long_plain_password.as_bytes(), MalformedRequest),
        ("PLAIN", long_plain_authzid.as_bytes(), InvalidAuthzid),
        ("PLAIN", too_long_plain.as_bytes(), MalformedRequest),
        ("EXTERNAL", b"\xff", MalformedRequest),
        ("EXTERNAL", b"\0", InvalidAuthzid),
        ("EXTERNAL", b"user@example.org/desk", InvalidAuthzid),
        ("EXTERNAL", too_long_external.as_bytes(), MalformedRequest),
        ("ANONYMOUS", b"", InvalidMechanism),
        ("scram-sha-1", b"n,,n=user,r=nonce", InvalidMechanism),
        ("", b"", InvalidMechanism),
        ("DIGEST-MD5", b"", InvalidMechanism),
    ];
    for (mechanism, message, condition) in cases {
        // Of the two types only tls-exporter is offered here.
        let (got, why, asked) = refused(mechanism, message, context(&BOTH[..1]));
        let text = String::from_utf8_lossy(message);
        let shown: String = text.chars().take(60).collect();
        assert_eq!(got, *condition, "{mechanism} {shown:?}: {why}");
        assert_eq!(asked, 0, "{mechanism} {shown:?}: the host was asked");
        assert!(!why.is_empty());
    }
}

/// A binding of the connection that was not offered is refused like one that it has not, and the other way round (RFC 5802 §6).
#[test]
fn binding_must_be_offered_and_there() {
    let first = b"p=tls-server-end-point,,n=user,r=nonce";
    let mut there = context(&BOTH[..1]);
    there.bindings = bindings(&BOTH);
    assert_eq!(refused("SCRAM-SHA-1-PLUS", first, there).0, MalformedRequest);
    let mut offered = context(&BOTH);
    offered.bindings = bindings(&BOTH[..1]);
    assert_eq!(refused("SCRAM-SHA-1-PLUS", first, offered).0, MalformedRequest);
    let mut empty = context(&BOTH);
    for bound in &mut empty.bindings {
        bound.data = Bytes::new();
    }
    assert_eq!(refused("SCRAM-SHA-1-PLUS", first, empty).0, MalformedRequest);
}

/// S0-34: passwords and certificates count only inside TLS; what was not offered is not done.
#[test]
fn mechanisms_outside_their_place() {
    let mut clear = context(&[]);
    clear.encrypted = false;
    assert_eq!(refused("PLAIN", b"\0user\0pencil", clear.clone()).0, EncryptionRequired);
    assert_eq!(refused("EXTERNAL", b"", clear).0, EncryptionRequired);
    for mechanism in Mechanism::ALL {
        let mut nothing = context(&BOTH);
        nothing.offer.mechanisms.retain(|name| name != mechanism.as_str());
        assert_eq!(refused(mechanism.as_str(), b"", nothing).0, InvalidMechanism, "{mechanism}");
    }
}

/// Last messages, each signed with the right password: `{c}` is the right binding, `{r}` the right nonce.
#[test]
fn last_messages() {
    let long = format!("c={{c}},r={{r}},x={}", "a".repeat(super::super::MAX_MESSAGE));
    let cases: &[(&str, SaslCondition)] = &[
        ("c={c},r={r}x", MalformedRequest),
        ("c={c},r=x{r}", MalformedRequest),
        ("c={c},r=nonce", MalformedRequest),
        ("c={c},r=", MalformedRequest),
        ("c={c}", MalformedRequest),
        ("r={r}", MalformedRequest),
        ("r={r},c={c}", MalformedRequest),
        ("c=,r={r}", MalformedRequest),
        ("c={c}=,r={r}", MalformedRequest),
        ("c=!!!!,r={r}", MalformedRequest),
        ("c=biws,r={r}", NotAuthorized),
        ("c=eSws,r={r}", NotAuthorized),
        ("c=cD10bHMtZXhwb3J0ZXIsLA==,r={r}", NotAuthorized),
        ("c=cD10bHMtc2VydmVyLWVuZC1wb2ludCws,r={r}", NotAuthorized),
        ("c={wrong},r={r}", NotAuthorized),
        ("m=ext,c={c},r={r}", MalformedRequest),
        ("c={c},m=ext,r={r}", MalformedRequest),
        ("c={c},r={r},m=ext", MalformedRequest),
        ("c={c},r={r},c={c}", MalformedRequest),
        ("c={c},r={r},r={r}", MalformedRequest),
        ("c={c},r={r},x", MalformedRequest),
        ("c={c},r={r},x=", MalformedRequest),
        ("c={c},r={r},", MalformedRequest),
        ("c={c},r={r},p=AAAA", MalformedRequest),
        ("c={c},r={r},h=AAAA,h=AAAA", MalformedRequest),
        (",c={c},r={r}", MalformedRequest),
        ("c={c},r={r},x=\0", MalformedRequest),
        (&long, MalformedRequest),
    ];
    for (template, condition) in cases {
        let failure = failure(last_message(|signer, fill| signer.sign(&fill(template)).into_bytes()));
        let shown: String = template.chars().take(40).collect();
        assert_eq!(failure.condition, *condition, "{shown:?}: {}", failure.why);
        assert!(!failure.guess, "{shown:?}: it was no guess at a password");
    }
    for harmless in ["c={c},r={r}", "c={c},r={r},x=1", "c={c},r={r},x==,y=\u{e9}"] {
        done(last_message(|signer, fill| signer.sign(&fill(harmless)).into_bytes()));
    }
}

/// Proofs that are none.
#[test]
fn proofs() {
    let cases: &[(&str, SaslCondition)] = &[
        ("", MalformedRequest),
        (",p=", MalformedRequest),
        (",p=!", MalformedRequest),
        (",p=AAA", MalformedRequest),
        (",p=AAAA", NotAuthorized),
        (",p=AAAA,x=1", MalformedRequest),
        (",v=AAAA", MalformedRequest),
        (",p=AAAAAAAAAAAAAAAAAAAAAAAAAAA=", NotAuthorized),
        (",p=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", NotAuthorized),
    ];
    for (proof, condition) in cases {
        let failure = failure(last_message(|_, fill| (fill("c={c},r={r}") + proof).into_bytes()));
        assert_eq!(failure.condition, *condition, "{proof:?}: {}", failure.why);
    }
    // The right proof with more behind it, and cut short.
    for change in [|proof: &mut Vec<u8>| proof.push(0), |proof: &mut Vec<u8>| proof.truncate(19)] {
        let failure = failure(last_message(|signer, fill| {
            let whole = signer.sign(&fill("c={c},r={r}"));
            let (rest, proof) = whole.split_once(",p=").expect("a proof");
            let mut proof = STANDARD.decode(proof).expect("base64");
            change(&mut proof);
            format!("{rest},p={}", STANDARD.encode(proof)).into_bytes()
        }));
        assert_eq!((failure.condition, failure.guess), (NotAuthorized, true));
    }
    for bytes in [&b""[..], b"\xff", b"c", b",", b",,,", b"="] {
        let refused = failure(last_message(|_, _| bytes.to_vec()));
        assert_eq!(refused.condition, MalformedRequest, "{bytes:?}");
    }
}

/// Runs SCRAM-SHA-1-PLUS with `tls-exporter` up to the last message, which `last` makes.
fn last_message(last: impl FnOnce(&Signer<'_>, &dyn Fn(&str) -> String) -> Vec<u8>) -> Step {
    let header = "p=tls-exporter,,";
    let bare = "n=user,r=nonce";
    let mut host = Host::new();
    let (mut server, step) = Exchange::start(
        "SCRAM-SHA-1-PLUS",
        Some(format!("{header}{bare}").as_bytes()),
        context(&BOTH),
        &Counter::default(),
    );
    let server_first = String::from_utf8(challenge(host.settle(&mut server, step))).expect("text");
    let nonce = scram::ServerFirst::parse(server_first.as_bytes()).expect("grammar").nonce;
    let fill = |template: &str| {
        template
            .replace("{c}", &scram::binding_text(header, &[7; 32]))
            .replace("{wrong}", &scram::binding_text(header, &[8; 32]))
            .replace("{r}", nonce)
    };
    let message = last(&Signer { hash: Hash::Sha1, bare, server_first: &server_first }, &fill);
    let step = server.respond(&message);
    host.settle(&mut server, step)
}

/// A proof holds for one exchange: replayed into another it fails.
#[test]
fn replay() {
    let mut recorded = Vec::new();
    done(last_message(|signer, fill| {
        recorded = signer.sign(&fill("c={c},r={r}")).into_bytes();
        recorded.clone()
    }));
    let entropy = Counter::default();
    entropy.fill(&mut [0; 5]);
    let mut host = Host::new();
    let first = b"p=tls-exporter,,n=user,r=nonce";
    let (mut server, step) = Exchange::start("SCRAM-SHA-1-PLUS", Some(first), context(&BOTH), &entropy);
    challenge(host.settle(&mut server, step));
    assert_eq!(failure(server.respond(&recorded)).why, "nonce differs");
}

/// Calls at the wrong moment end the exchange; an ended exchange stays ended.
#[test]
fn out_of_turn() {
    let start = |mechanism: &str, first: &[u8]| {
        Exchange::start(mechanism, Some(first), context(&[]), &Counter::default()).0
    };
    let mut server = start("PLAIN", b"\0user\0pencil");
    assert_eq!(failure(server.respond(b"\0user\0pencil")).condition, MalformedRequest);
    let answer = Answer::Password(Ok(Some(jid("user@example.org"))));
    assert_eq!(failure(server.answer(answer)).condition, TemporaryAuthFailure, "over is over");

    let mut server = start("PLAIN", b"\0user\0pencil");
    assert_eq!(failure(server.answer(Answer::Login(Ok(())))).condition, TemporaryAuthFailure);
    let mut server = start("SCRAM-SHA-256", b"n,,n=user,r=nonce");
    let record = Record { keys: Host::keys(Hash::Sha1), account: Some(jid("user@example.org")) };
    assert_eq!(failure(server.answer(Answer::Scram(Ok(record)))).condition, TemporaryAuthFailure);

    let mut host = Host::new();
    let (mut server, step) =
        Exchange::start("PLAIN", Some(b"\0user\0pencil"), context(&[]), &Counter::default());
    done(host.settle(&mut server, step));
    assert_eq!(failure(server.respond(b"")).condition, MalformedRequest);
    assert_eq!(failure(server.answer(Answer::Login(Ok(())))).condition, TemporaryAuthFailure);
}
