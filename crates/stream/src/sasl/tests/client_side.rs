//! The client's side against servers that are not what they seem.

use super::*;
use client::{ClientError, Credentials, Exchange as Client, Policy as ClientPolicy};

fn offer(mechanisms: &[&str], types: Option<&[&str]>) -> Offer {
    let own = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    Offer { mechanisms: own(mechanisms), channel_bindings: types.map(own) }
}

fn user() -> Credentials {
    Credentials::password("user", "pencil")
}

fn with(offer: &Offer, kinds: &[ChannelBinding]) -> client::Context {
    client_context(offer, kinds, &Mechanism::ALL)
}

/// RFC 6120 §6.3.3: the strongest mechanism that both can do, with the flag of RFC 5802 §6 and XEP-0440 §3.
#[test]
fn choice() {
    const EXPORTER: &[ChannelBinding] = &[ChannelBinding::TlsExporter];
    const END_POINT: &[ChannelBinding] = &[ChannelBinding::TlsServerEndPoint];
    let all =
        ["PLAIN", "SCRAM-SHA-1", "SCRAM-SHA-1-PLUS", "SCRAM-SHA-256", "SCRAM-SHA-256-PLUS", "SCRAM-SHA-512"];
    let types = ["tls-server-end-point", "tls-exporter"];
    /// Offered mechanisms and types, own bindings, then the expected mechanism and how its initial response begins.
    type Case<'a> = (&'a [&'a str], Option<&'a [&'a str]>, &'a [ChannelBinding], &'a str, &'a str);
    let cases: &[Case<'_>] = &[
        (&all, Some(&types), &BOTH, "SCRAM-SHA-256-PLUS", "p=tls-exporter,,"),
        (&all, Some(&types), END_POINT, "SCRAM-SHA-256-PLUS", "p=tls-server-end-point,,"),
        (&all, Some(&types[..1]), &BOTH, "SCRAM-SHA-256-PLUS", "p=tls-server-end-point,,"),
        (&all, Some(&types), &[], "SCRAM-SHA-512", "n,,"),
        (&all, None, &BOTH, "SCRAM-SHA-256-PLUS", "p=tls-server-end-point,,"),
        (&all, None, EXPORTER, "SCRAM-SHA-256-PLUS", "p=tls-exporter,,"),
        (&all, Some(&types[..1]), EXPORTER, "SCRAM-SHA-512", "n,,"),
        (&all[..2], None, &BOTH, "SCRAM-SHA-1", "y,,"),
        (&all[..2], None, &[], "SCRAM-SHA-1", "n,,"),
        (&["PLAIN", "X-OAUTH2", "DIGEST-MD5"], None, &BOTH, "PLAIN", "\0user\0pencil"),
    ];
    for (mechanisms, types, kinds, expected, begins) in cases {
        let context = with(&offer(mechanisms, *types), kinds);
        let (_, start) = Client::start(&user(), context, &Counter::default()).expect("a mechanism");
        assert_eq!(start.mechanism.as_str(), *expected, "{mechanisms:?} {types:?} {kinds:?}");
        assert!(start.initial.starts_with(begins.as_bytes()), "{mechanisms:?} {types:?} {kinds:?}");
    }
}

/// A certificate goes first (RFC 6120 §6.3.4); neither it nor a password in clear is used outside TLS (S0-34), and PLAIN never by default.
#[test]
fn choice_and_tls() {
    let everything = everything().offer(true, &bindings(&BOTH));
    let mut holder = user();
    holder.certificate = true;
    let (_, start) = Client::start(&holder, with(&everything, &BOTH), &Counter::default()).expect("EXTERNAL");
    assert_eq!((start.mechanism, start.initial.len()), (Mechanism::External, 0));
    holder.authzid = Some(jid("user@example.org"));
    let (_, start) = Client::start(&holder, with(&everything, &BOTH), &Counter::default()).expect("EXTERNAL");
    assert_eq!(start.initial.as_slice(), b"user@example.org");

    for name in ["PLAIN", "EXTERNAL"] {
        let mut clear = with(&offer(&[name], None), &[]);
        clear.encrypted = false;
        let error = Client::start(&holder, clear, &Counter::default()).expect_err(name);
        assert_eq!(error, ClientError::NoMechanism, "{name}");
    }
    let mut default = with(&offer(&["PLAIN"], None), &[]);
    default.policy = ClientPolicy::default();
    let error = Client::start(&user(), default, &Counter::default()).expect_err("PLAIN by default");
    assert_eq!(error, ClientError::NoMechanism);
    let nobody =
        Credentials { username: "user".to_owned(), password: None, authzid: None, certificate: false };
    let error = Client::start(&nobody, with(&everything, &BOTH), &Counter::default()).expect_err("no secret");
    assert_eq!(error, ClientError::NoMechanism);
}

/// What cannot be prepared is not sent.
#[test]
fn credentials_that_cannot_be_sent() {
    let long = "a".repeat(1024);
    for (name, password) in [("", "x"), ("\u{7}", "x"), ("a", ""), ("a", "\u{7}"), (&long, "x"), ("a", &long)]
    {
        for mechanism in ["SCRAM-SHA-256", "PLAIN"] {
            if mechanism == "PLAIN" && (name == "\u{7}" || password == "\u{7}") {
                continue;
            }
            let context = with(&offer(&[mechanism], None), &[]);
            let error = Client::start(&Credentials::password(name, password), context, &Counter::default());
            assert_eq!(error.err(), Some(ClientError::Credentials), "{mechanism} {name:?} {password:?}");
        }
    }
    let context = with(&offer(&["PLAIN"], None), &[]);
    let error = Client::start(&Credentials::password("us\0er", "x"), context, &Counter::default());
    assert_eq!(error.err(), Some(ClientError::Credentials));
    let context = with(&offer(&["SCRAM-SHA-1"], None), &[]);
    let (_, start) =
        Client::start(&Credentials::password("a,b=c", "x"), context, &Counter::default()).expect("start");
    assert!(start.initial.starts_with(b"n,,n=a=2Cb=3Dc,r="));
}

/// Server-first messages that the client refuses before it has computed anything: `{r}` is its nonce.
#[test]
fn server_first_messages() {
    use scram::ScramError as S;
    let m = ClientError::Malformed;
    let cases: &[(&[u8], ClientError)] = &[
        (b"", m(S::Order)),
        (b"\xff", m(S::NotText)),
        (b"e=other-error", m(S::Order)),
        (b"m=x,r={r}s,s=AAAA,i=4096", m(S::Mandatory)),
        (b"r={r}s,s=AAAA,i=4096,m=x", m(S::Mandatory)),
        (b"r={r},s=AAAA,i=4096", ClientError::Nonce),
        (b"r=x{r},s=AAAA,i=4096", ClientError::Nonce),
        (b"r=other-nonce-that-is-longer-than-ours-is,s=AAAA,i=4096", ClientError::Nonce),
        (b"r={r} s,s=AAAA,i=4096", m(S::Nonce)),
        (b"s=AAAA,r={r}s,i=4096", m(S::Order)),
        (b"r={r}s,i=4096,s=AAAA", m(S::Order)),
        (b"r={r}s,s=,i=4096", m(S::Order)),
        (b"r={r}s,s=AAA,i=4096", m(S::Base64)),
        (b"r={r}s,s=AAAA", m(S::Order)),
        (b"r={r}s,s=AAAA,i=", m(S::Order)),
        (b"r={r}s,s=AAAA,i=0", m(S::Iterations)),
        (b"r={r}s,s=AAAA,i=-1", m(S::Iterations)),
        (b"r={r}s,s=AAAA,i=+4096", m(S::Iterations)),
        (b"r={r}s,s=AAAA,i=04096", m(S::Iterations)),
        (b"r={r}s,s=AAAA,i=4096 ", m(S::Iterations)),
        (b"r={r}s,s=AAAA,i=4294967296", m(S::Iterations)),
        (b"r={r}s,s=AAAA,i=99999999999999999999999999", m(S::Iterations)),
        (b"r={r}s,s=AAAA,i=1", ClientError::TooFewIterations(1)),
        (b"r={r}s,s=AAAA,i=4095", ClientError::TooFewIterations(4095)),
        (b"r={r}s,s=AAAA,i=10000001", ClientError::TooManyIterations(10_000_001)),
        (b"r={r}s,s=AAAA,i=4294967295", ClientError::TooManyIterations(u32::MAX)),
        (b"r={r}s,s=AAAA,i=4096,h=AAAA", ClientError::Downgrade),
        (b"r={r}s,s=AAAA,i=4096,h=AAAA,h=AAAA", m(S::Order)),
        (b"r={r}s,s=AAAA,i=4096,x", m(S::Extension)),
    ];
    for (template, expected) in cases {
        let context = with(&offer(&["SCRAM-SHA-256"], None), &[]);
        let (mut exchange, start) = Client::start(&user(), context, &Counter::default()).expect("start");
        let first = scram::ClientFirst::parse(&start.initial).expect("grammar");
        let shown = String::from_utf8_lossy(template).into_owned();
        let message = match std::str::from_utf8(template) {
            Ok(text) => text.replace("{r}", first.nonce).into_bytes(),
            Err(_) => template.to_vec(),
        };
        assert_eq!(exchange.challenge(&message), Err(*expected), "{shown}");
        assert_eq!(exchange.challenge(&message), Err(ClientError::Unexpected), "{shown}: over is over");
        assert_eq!(exchange.success(None).err(), Some(ClientError::Unexpected), "{shown}");
    }
}

/// Starts SCRAM-SHA-256 and goes on until the client waits for the server's proof; gives that proof too.
fn until_final() -> (Client, Vec<u8>) {
    let server = context(&[]);
    let ours = client_context(&server.offer, &[], &[Mechanism::ScramSha256]);
    let (mut exchange, start) = Client::start(&user(), ours, &Counter::default()).expect("start");
    let mut host = Host::new();
    let (mut server, step) =
        Exchange::start(start.mechanism.as_str(), Some(&start.initial), server, &Counter::default());
    let message = challenge(host.settle(&mut server, step));
    let response = exchange.challenge(&message).expect("proof");
    let step = server.respond(&response);
    let proof = done(host.settle(&mut server, step)).additional.expect("a verifier");
    (exchange, proof)
}

/// RFC 5802 §5: a server that cannot prove that it knows the keys is refused, also when it says `<success/>`.
#[test]
fn server_must_prove_itself() {
    let (mut exchange, proof) = until_final();
    assert!(exchange.success(Some(&proof)).expect("genuine").mutual);
    assert_eq!(exchange.success(Some(&proof)).err(), Some(ClientError::Unexpected));
    let (mut exchange, proof) = until_final();
    assert_eq!(exchange.challenge(&proof), Ok(Vec::new()), "the proof as a challenge: RFC 6120 §6.3.10");
    exchange.success(None).expect("genuine");

    let zeroes = format!("v={}", STANDARD.encode([0; 32]));
    let short = b"v=AAAA";
    let cases: &[(Option<&[u8]>, ClientError)] = &[
        (None, ClientError::ServerSignature),
        (Some(zeroes.as_bytes()), ClientError::ServerSignature),
        (Some(short), ClientError::ServerSignature),
        (Some(b""), ClientError::Malformed(scram::ScramError::Order)),
        (Some(b"v="), ClientError::Malformed(scram::ScramError::Order)),
        (Some(b"v=!"), ClientError::Malformed(scram::ScramError::Base64)),
        (Some(b"e=other-error"), ClientError::Refused),
        (Some(b"m=x"), ClientError::Malformed(scram::ScramError::Mandatory)),
    ];
    for (additional, expected) in cases {
        let (mut exchange, _) = until_final();
        assert_eq!(exchange.success(*additional).err(), Some(*expected), "{additional:?}");
    }
    // Success before any challenge.
    let context = with(&offer(&["SCRAM-SHA-256"], None), &[]);
    let (mut exchange, _) = Client::start(&user(), context, &Counter::default()).expect("start");
    assert_eq!(exchange.success(Some(b"v=AAAA")).err(), Some(ClientError::Unexpected));
}

/// A man in the middle changes the offer. Whatever he does, one side notices (RFC 5802 §6, XEP-0440 §3, XEP-0474).
#[test]
fn downgrades() {
    let genuine = context(&BOTH).offer;
    let strip = |change: &dyn Fn(&mut Offer)| {
        let mut offer = genuine.clone();
        change(&mut offer);
        offer
    };
    let no_plus = |offer: &mut Offer| offer.mechanisms.retain(|name| !name.ends_with("-PLUS"));
    let cases = [
        ("the stronger hashes", strip(&|offer| offer.mechanisms.retain(|name| !name.contains("512")))),
        ("everything but SHA-1", strip(&|offer| offer.mechanisms.retain(|name| name.contains("SHA-1")))),
        (
            "-PLUS and the types",
            strip(&|offer| {
                no_plus(offer);
                offer.channel_bindings = None;
            }),
        ),
        ("-PLUS but not the types", strip(&no_plus)),
        (
            "the stronger type",
            strip(&|offer| {
                offer.channel_bindings = Some(vec!["tls-server-end-point".to_owned()]);
            }),
        ),
        (
            "all types for made-up ones",
            strip(&|offer| {
                offer.channel_bindings = Some(vec!["tls-imaginary".to_owned()]);
            }),
        ),
        ("the types' feature", strip(&|offer| offer.channel_bindings = None)),
    ];
    let scram: Vec<_> = Mechanism::ALL.into_iter().filter(|mechanism| mechanism.hash().is_some()).collect();
    for (what, seen) in cases {
        for kinds in [&BOTH[..], &[]] {
            let ours = client_context(&seen, kinds, &scram);
            let result = converse(&user(), ours, context(&BOTH), &mut Host::new());
            let noticed = match &result {
                Err(Err(error)) => *error == ClientError::Downgrade,
                Err(Ok(failure)) => failure.why.starts_with("downgrade"),
                Ok(_) => false,
            };
            assert!(noticed, "{what} with {kinds:?}: {result:?}");
        }
    }
    // Without the server's word the client goes by the rules that it has.
    let mut server = context(&BOTH);
    server.downgrade_protection = false;
    let mut ours = client_context(&genuine, &BOTH, &scram);
    assert!(
        !converse(&user(), ours.clone(), server.clone(), &mut Host::new())
            .expect("genuine")
            .1
            .downgrade_protected
    );
    ours.policy.require_downgrade_protection = true;
    let error = converse(&user(), ours, server.clone(), &mut Host::new()).expect_err("required");
    assert_eq!(error, Err(ClientError::Unprotected));
    let mut imaginary = genuine;
    imaginary.channel_bindings = Some(vec!["tls-imaginary".to_owned()]);
    let error = converse(&user(), client_context(&imaginary, &BOTH, &scram), server, &mut Host::new());
    assert_eq!(error.expect_err("made-up types only"), Err(ClientError::Downgrade));
}

/// Two TLS connections joined by a man in the middle have different bindings: the server refuses.
#[test]
fn man_in_the_middle() {
    for kinds in [&BOTH[..1], &BOTH[1..]] {
        let server = context(kinds);
        let mut ours = client_context(&server.offer, kinds, &[Mechanism::ScramSha256Plus]);
        ours.bindings = vec![Binding { data: Bytes::from_static(&[1; 32]), ..ours.bindings[0].clone() }];
        let failure = converse(&user(), ours, server, &mut Host::new()).expect_err("MITM").expect("server");
        assert_eq!(
            (failure.condition, failure.why),
            (SaslCondition::NotAuthorized, "channel binding differs")
        );
    }
}
