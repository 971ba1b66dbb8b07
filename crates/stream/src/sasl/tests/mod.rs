//! Tests of both roles: against the RFCs' vectors, each other, another implementation, and hostile messages.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use nuncio_sansio::Entropy;
use nuncio_xmpp::jid::BareJid;

use super::server::{Answer, Context, Done, Exchange, Failure, Lookup, Policy, Record, Step};
use super::{Binding, ChannelBinding, Hash, Keys, Mechanism, Offer, SaslCondition, client, scram};

mod client_side;
mod hostile;
mod properties;
mod secrecy;
mod server_side;
mod vectors;

const DOMAIN: &str = "example.org";
const SECRET: &[u8] = b"the server's own secret";

/// Counts, so that two draws differ.
#[derive(Default)]
struct Counter(std::sync::atomic::AtomicU8);

impl Entropy for Counter {
    fn fill(&self, out: &mut [u8]) {
        for byte in out {
            *byte = self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        }
    }
}

fn jid(text: &str) -> BareJid {
    BareJid::new(text).expect("a test's JID")
}

fn bindings(kinds: &[ChannelBinding]) -> Vec<Binding> {
    let data = |kind| match kind {
        ChannelBinding::TlsExporter => Bytes::from_static(&[7; 32]),
        ChannelBinding::TlsServerEndPoint => Bytes::from_static(&[9; 32]),
    };
    kinds.iter().map(|kind| Binding { kind: *kind, data: data(*kind) }).collect()
}

const BOTH: [ChannelBinding; 2] = [ChannelBinding::TlsExporter, ChannelBinding::TlsServerEndPoint];

fn everything() -> Policy {
    Policy { scram: Hash::ALL.to_vec(), plain: true, external: true }
}

fn context(kinds: &[ChannelBinding]) -> Context {
    let bindings = bindings(kinds);
    let offer = everything().offer(true, &bindings);
    Context::new(DOMAIN.to_owned(), true, bindings, offer)
}

/// A host with one account, `user`, whose password is `pencil`, and one that is switched off, `gone`.
struct Host {
    /// Everything it was asked, in `Debug` form.
    asked: Vec<String>,
    login: Result<(), SaslCondition>,
    /// What every other question gets, if the backend is down.
    down: Option<SaslCondition>,
}

impl Host {
    fn new() -> Self {
        Self { asked: Vec::new(), login: Ok(()), down: None }
    }

    fn keys(hash: Hash) -> Keys {
        Keys::derive(hash, "pencil", b"sixteen byte slt", 4096).expect("keys")
    }

    fn record(hash: Hash, username: &str) -> Record {
        match username {
            "user" | "gone" => {
                Record { keys: Self::keys(hash), account: Some(jid(&format!("{username}@{DOMAIN}"))) }
            }
            _ => Record { keys: Keys::fake(SECRET, hash, username, 4096), account: None },
        }
    }

    fn answer(&mut self, lookup: &Lookup) -> Answer {
        self.asked.push(format!("{lookup:?}"));
        match lookup {
            Lookup::Scram { .. } if self.down.is_some() => Answer::Scram(Err(self.down.expect("checked"))),
            Lookup::Password { .. } if self.down.is_some() => {
                Answer::Password(Err(self.down.expect("checked")))
            }
            Lookup::External { .. } if self.down.is_some() => {
                Answer::External(Err(self.down.expect("checked")))
            }
            Lookup::Scram { username, hash } => Answer::Scram(Ok(Self::record(*hash, username))),
            Lookup::Password { username, password } => {
                Answer::Password(Ok(Self::record(Hash::Sha1, username).verify(password)))
            }
            Lookup::External { authzid } => {
                let holder = jid(&format!("user@{DOMAIN}"));
                Answer::External(Ok(authzid.as_ref().is_none_or(|wish| *wish == holder).then_some(holder)))
            }
            Lookup::Login { account, .. } if account.local() == Some("gone") => {
                Answer::Login(Err(SaslCondition::AccountDisabled))
            }
            Lookup::Login { .. } => Answer::Login(self.login),
        }
    }

    /// Answers until the exchange wants the client again or ends.
    fn settle(&mut self, exchange: &mut Exchange, mut step: Step) -> Step {
        while let Step::Need(lookup) = step {
            let answer = self.answer(&lookup);
            step = exchange.answer(answer);
        }
        step
    }
}

fn failure(step: Step) -> Failure {
    match step {
        Step::Fail(failure) => failure,
        other => panic!("not a failure: {other:?}"),
    }
}

fn done(step: Step) -> Done {
    match step {
        Step::Done(done) => done,
        other => panic!("not done: {other:?}"),
    }
}

fn challenge(step: Step) -> Vec<u8> {
    match step {
        Step::Challenge(bytes) => bytes,
        other => panic!("not a challenge: {other:?}"),
    }
}

/// A client that knows the password and signs whatever it is told to say: a refusal is for what it says, never for its proof.
struct Signer<'a> {
    hash: Hash,
    bare: &'a str,
    server_first: &'a str,
}

impl Signer<'_> {
    /// `without_proof` with a proof that is right for it.
    fn sign(&self, without_proof: &str) -> String {
        let first = scram::ServerFirst::parse(self.server_first.as_bytes()).expect("server-first-message");
        let salted = self.hash.salted(b"pencil", &first.salt, first.iterations);
        let client_key = self.hash.hmac(&salted, &[b"Client Key"]);
        let text = format!("{},{},{without_proof}", self.bare, self.server_first);
        let mut proof = self.hash.hmac(&self.hash.digest(&client_key), &[text.as_bytes()]);
        for (byte, key) in proof.iter_mut().zip(client_key.iter()) {
            *byte ^= key;
        }
        format!("{without_proof},p={}", STANDARD.encode(&*proof))
    }
}

/// Lets the client of this crate log in to the server of this crate.
fn converse(
    credentials: &client::Credentials,
    client_context: client::Context,
    server_context: Context,
    host: &mut Host,
) -> Result<(Done, client::Proven), Result<Failure, client::ClientError>> {
    let entropy = Counter::default();
    let (mut us, start) = client::Exchange::start(credentials, client_context, &entropy).map_err(Err)?;
    let (mut server, step) =
        Exchange::start(start.mechanism.as_str(), Some(&start.initial), server_context, &entropy);
    let mut step = host.settle(&mut server, step);
    loop {
        match step {
            Step::Challenge(message) => {
                let response = us.challenge(&message).map_err(Err)?;
                let next = server.respond(&response);
                step = host.settle(&mut server, next);
            }
            Step::Done(done) => {
                let proven = us.success(done.additional.as_deref()).map_err(Err)?;
                return Ok((done, proven));
            }
            Step::Fail(failure) => return Err(Ok(failure)),
            Step::Need(_) => unreachable!("the host settles"),
        }
    }
}

fn client_context(offer: &Offer, kinds: &[ChannelBinding], mechanisms: &[Mechanism]) -> client::Context {
    client::Context {
        encrypted: true,
        bindings: bindings(kinds),
        offer: offer.clone(),
        policy: client::Policy { mechanisms: mechanisms.to_vec(), ..client::Policy::default() },
    }
}

#[test]
fn names_and_strength() {
    for mechanism in Mechanism::ALL {
        assert_eq!(mechanism.as_str().parse(), Ok(mechanism));
        assert!(mechanism.as_str().len() <= 20, "RFC 4422 §3.1");
        assert_eq!(mechanism.is_plus(), mechanism.as_str().ends_with("-PLUS"));
        if let Some(hash) = mechanism.hash() {
            assert_eq!(Mechanism::scram(hash, mechanism.is_plus()), mechanism);
        }
    }
    assert!("scram-sha-1".parse::<Mechanism>().is_err());
    assert!(Mechanism::ALL.is_sorted_by(|a, b| a > b));
    assert_eq!(SaslCondition::ALL.len(), 11, "RFC 6120 §6.5");
    for condition in SaslCondition::ALL {
        assert_eq!(SaslCondition::from_name(condition.as_str()), Some(*condition));
    }
    for kind in BOTH {
        assert_eq!(ChannelBinding::from_name(kind.as_str()), Some(kind));
    }
}

/// RFC 6120 §6.3.4 (EXTERNAL first), RFC 5802 §6 (-PLUS only with data), XEP-0440, S0-34 (no PLAIN before TLS).
#[test]
fn offers() {
    let offer = everything().offer(true, &bindings(&BOTH));
    assert_eq!(offer.mechanisms.first().map(String::as_str), Some("EXTERNAL"));
    assert_eq!(offer.mechanisms.len(), 8);
    assert_eq!(offer.channel_bindings, Some(BOTH.map(|kind| kind.as_str().to_owned()).to_vec()));

    let offer = everything().offer(true, &[]);
    assert!(!offer.has_plus() && offer.channel_bindings.is_none());
    let offer = everything().offer(false, &[]);
    assert_eq!(offer.mechanisms, ["SCRAM-SHA-512", "SCRAM-SHA-256", "SCRAM-SHA-1"]);
    let policy = Policy { scram: vec![], plain: true, external: false };
    let offer = policy.offer(true, &bindings(&BOTH));
    assert_eq!((offer.mechanisms, offer.channel_bindings), (vec!["PLAIN".to_owned()], None));
}

/// RFC 9266 §4.2: no exporter bytes, no `tls-exporter`.
#[test]
fn bindings_of_a_connection() {
    let facts = |exporter, server_end_point| nuncio_sansio::TlsFacts {
        version: nuncio_sansio::TlsVersion::Tls13,
        suite: String::new(),
        resumed: false,
        server_name: None,
        exporter,
        server_end_point,
        client_certificate: None,
        peer_certificates: Vec::new(),
    };
    let kinds = |facts| Binding::of(&facts).into_iter().map(|bound| bound.kind).collect::<Vec<_>>();
    assert_eq!(kinds(facts(Some([1; 32]), Some(Bytes::from_static(b"x")))), BOTH);
    assert_eq!(kinds(facts(None, Some(Bytes::from_static(b"x")))), [ChannelBinding::TlsServerEndPoint]);
    assert_eq!(kinds(facts(Some([1; 32]), None)), [ChannelBinding::TlsExporter]);
    assert_eq!(kinds(facts(None, Some(Bytes::new()))), []);
}
