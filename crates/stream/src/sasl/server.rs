//! The receiving side of a SASL exchange.
//!
//! [`Exchange::start`] takes the first message, [`Exchange::answer`] what the host said, [`Exchange::respond`] the client's next
//! message; each gives the next [`Step`]. After [`Step::Done`] and [`Step::Fail`] nothing more comes of it.
//!
//! A user who does not exist, a wrong password and an account that is switched off cannot be told apart from outside: the host answers
//! [`Lookup::Scram`] for an unknown user with [`Keys::fake`] and no account, and asks whether the account is usable only
//! at [`Lookup::Login`], which comes after the proof was right.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use nuncio_sansio::Entropy;
use nuncio_xmpp::jid::{self, BareJid};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::scram::{self, ClientFinal, ClientFirst, Flag};
use super::{Binding, Hash, Keys, MAX_MESSAGE, MAX_NAME, Mechanism, Offer, SaslCondition};

/// An account whose credentials were proven. Only a finished [`Exchange`] makes one.
#[derive(Clone, Debug)]
pub struct Authenticated {
    account: BareJid,
    mechanism: &'static str,
    channel_binding: Option<&'static str>,
}

impl Authenticated {
    /// The account, normalised.
    pub const fn account(&self) -> &BareJid {
        &self.account
    }

    /// The mechanism's registered name.
    pub const fn mechanism(&self) -> &str {
        self.mechanism
    }

    /// The channel-binding type that tied the exchange to the TLS connection, if one did.
    pub const fn channel_binding(&self) -> Option<&str> {
        self.channel_binding
    }
}

/// What a domain lets clients use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The hashes for which accounts have keys.
    pub scram: Vec<Hash>,
    /// Whether PLAIN is offered, inside TLS.
    pub plain: bool,
    /// Whether EXTERNAL is offered. The caller has judged the client's certificate (RFC 6120 §6.3.4).
    pub external: bool,
}

impl Policy {
    /// The offer under this policy: EXTERNAL first, then by strength; -PLUS and XEP-0440 types only where `bindings` has data, PLAIN and EXTERNAL only if `encrypted`.
    pub fn offer(&self, encrypted: bool, bindings: &[Binding]) -> Offer {
        let offered = |mechanism: &Mechanism| match mechanism.hash() {
            Some(hash) => self.scram.contains(&hash) && (!mechanism.is_plus() || !bindings.is_empty()),
            None if *mechanism == Mechanism::External => self.external && encrypted,
            None => self.plain && encrypted,
        };
        let mechanisms: Vec<String> = Mechanism::ALL
            .into_iter()
            .filter(offered)
            .map(|mechanism| mechanism.as_str().to_owned())
            .collect();
        let bound = mechanisms.iter().any(|name| name.ends_with("-PLUS"));
        let channel_bindings =
            bound.then(|| bindings.iter().map(|bound| bound.kind.as_str().to_owned()).collect());
        Offer { mechanisms, channel_bindings }
    }
}

/// What an exchange knows about its stream.
#[derive(Clone, Debug)]
pub struct Context {
    /// The stream's domain, normalised: a user name is a localpart of it.
    pub domain: String,
    /// Whether TLS protects the stream.
    pub encrypted: bool,
    /// This connection's channel bindings. Those of them count that `offer` names too.
    pub bindings: Vec<Binding>,
    /// What the stream's features offered. Anything else is refused, and XEP-0474 hashes it.
    pub offer: Offer,
    /// Whether to send `h` (XEP-0474). True except against clients whose SCRAM breaks on optional attributes.
    pub downgrade_protection: bool,
}

impl Context {
    /// A context with downgrade protection.
    pub const fn new(domain: String, encrypted: bool, bindings: Vec<Binding>, offer: Offer) -> Self {
        Self { domain, encrypted, bindings, offer, downgrade_protection: true }
    }
}

/// A question to the host.
#[derive(Clone, PartialEq, Eq)]
pub enum Lookup {
    /// The keys of a user. Answered with [`Answer::Scram`].
    Scram {
        /// The prepared localpart; not empty.
        username: String,
        /// Of which hash.
        hash: Hash,
    },
    /// Whose password is it? Answered with [`Answer::Password`].
    Password {
        /// The prepared localpart; not empty.
        username: String,
        /// As received, not prepared: [`Keys::verify`] does that. Not empty.
        password: Zeroizing<String>,
    },
    /// Which account does the client's certificate speak for? Answered with [`Answer::External`].
    External {
        /// The identity that the client asks for. Without one there must be only one candidate (XEP-0178 §2).
        authzid: Option<BareJid>,
    },
    /// The credentials of this account were right. May it log in (disabled, expired, locked out, mechanism too weak)?
    /// Answered with [`Answer::Login`].
    Login {
        /// The account.
        account: BareJid,
        /// How it was proven.
        mechanism: Mechanism,
        /// With which channel-binding type.
        channel_binding: Option<&'static str>,
    },
}

impl fmt::Debug for Lookup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scram { username, hash } => {
                f.debug_struct("Scram").field("username", username).field("hash", hash).finish()
            }
            Self::Password { username, .. } => {
                f.debug_struct("Password").field("username", username).finish_non_exhaustive()
            }
            Self::External { authzid } => f.debug_struct("External").field("authzid", authzid).finish(),
            Self::Login { account, mechanism, channel_binding } => f
                .debug_struct("Login")
                .field("account", account)
                .field("mechanism", mechanism)
                .field("channel_binding", channel_binding)
                .finish(),
        }
    }
}

/// What the host knows about a user.
#[derive(Clone, Debug)]
pub struct Record {
    /// The keys; [`Keys::fake`] ones for a user who does not exist or has none of this hash.
    pub keys: Keys,
    /// The account; none for a user who does not exist or has no keys of this hash.
    pub account: Option<BareJid>,
}

impl Record {
    /// The account if `password` is right: what answers [`Lookup::Password`]. The work is the same for every user, existing or not, and
    /// as costly as [`Keys::derive`].
    pub fn verify(&self, password: &str) -> Option<BareJid> {
        let right = self.keys.verify(password);
        self.account.clone().filter(|_| right)
    }
}

/// The answer to a [`Lookup`]. An `Err` ends the exchange with that condition; a failed backend is
/// [`SaslCondition::TemporaryAuthFailure`].
#[derive(Clone, Debug)]
pub enum Answer {
    /// To [`Lookup::Scram`].
    Scram(Result<Record, SaslCondition>),
    /// To [`Lookup::Password`]: the account if user and password fit.
    Password(Result<Option<BareJid>, SaslCondition>),
    /// To [`Lookup::External`]: the account if the certificate speaks for one.
    External(Result<Option<BareJid>, SaslCondition>),
    /// To [`Lookup::Login`].
    Login(Result<(), SaslCondition>),
}

/// What comes next.
#[derive(Debug)]
pub enum Step {
    /// Send this in `<challenge/>`; it may be empty.
    Challenge(Vec<u8>),
    /// Ask the host.
    Need(Lookup),
    /// Success.
    Done(Done),
    /// Failure.
    Fail(Failure),
}

/// A successful end.
#[derive(Debug)]
pub struct Done {
    /// Who it is.
    pub authenticated: Authenticated,
    /// The additional data of `<success/>`, if the mechanism has any.
    pub additional: Option<Vec<u8>>,
}

/// A failed end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What to tell the client.
    pub condition: SaslCondition,
    /// What to tell the log, never the client.
    pub why: &'static str,
    /// Whether a password or a proof was checked and did not fit: what lock-outs count.
    pub guess: bool,
}

/// The bytes of a fresh nonce; 24 characters of base64.
const NONCE: usize = 18;

/// One exchange. Dropped secrets are wiped.
pub struct Exchange {
    mechanism: Option<Mechanism>,
    context: Context,
    nonce: String,
    username: Option<String>,
    authzid: Option<BareJid>,
    bound: Option<Binding>,
    additional: Option<Vec<u8>>,
    state: State,
}

enum State {
    /// The client sent no initial response.
    First,
    /// [`Lookup::Scram`] is open.
    Keys(Greeting),
    /// The server's first message is out.
    Proof(Pending),
    /// [`Lookup::Password`] is open.
    Password,
    /// [`Lookup::External`] is open.
    External,
    /// [`Lookup::Login`] is open.
    Login(BareJid),
    Over,
}

/// What of the client's first message is needed later.
struct Greeting {
    hash: Hash,
    bare: String,
    nonce: String,
    binding: String,
}

struct Pending {
    greeting: Greeting,
    record: Record,
    nonce: String,
    server_first: String,
}

impl Exchange {
    /// Starts with the client's `<auth/>`: the mechanism by name and the decoded initial response (`=` decodes to an empty one; none if
    /// the element was empty). Every exchange needs a fresh nonce, which comes from `entropy`.
    pub fn start(
        mechanism: &str,
        initial: Option<&[u8]>,
        context: Context,
        entropy: &dyn Entropy,
    ) -> (Self, Step) {
        let mut raw = [0; NONCE];
        entropy.fill(&mut raw);
        Self::with_nonce(mechanism, initial, context, STANDARD.encode(raw))
    }

    /// Starts with a given nonce, as the vectors of the RFCs need it.
    pub(super) fn with_nonce(
        mechanism: &str,
        initial: Option<&[u8]>,
        context: Context,
        nonce: String,
    ) -> (Self, Step) {
        let mut this = Self {
            mechanism: mechanism.parse().ok(),
            context,
            nonce,
            username: None,
            authzid: None,
            bound: None,
            additional: None,
            state: State::First,
        };
        let step = match this.mechanism {
            Some(Mechanism::Plain | Mechanism::External) if !this.context.encrypted => {
                this.fail(SaslCondition::EncryptionRequired, "mechanism needs TLS")
            }
            Some(_) if this.context.offer.has(mechanism) => match initial {
                Some(message) => this.respond(message),
                None => Step::Challenge(Vec::new()),
            },
            _ => this.fail(SaslCondition::InvalidMechanism, "mechanism was not offered"),
        };
        (this, step)
    }

    /// The prepared user name, once a message has named one: for the log and for lock-outs. It is proven only after [`Step::Done`].
    pub fn username(&self) -> Option<&str> {
        self.username.as_deref()
    }

    /// The mechanism; none if the name is unknown.
    pub const fn mechanism(&self) -> Option<Mechanism> {
        self.mechanism
    }

    /// Takes the client's `<response/>`, decoded.
    pub fn respond(&mut self, message: &[u8]) -> Step {
        match (std::mem::replace(&mut self.state, State::Over), self.mechanism) {
            (State::First, Some(Mechanism::Plain)) => self.plain(message),
            (State::First, Some(Mechanism::External)) => self.external(message),
            (State::First, Some(mechanism)) => match mechanism.hash() {
                Some(hash) => self.scram_first(mechanism, hash, message),
                None => self.fail(SaslCondition::InvalidMechanism, "mechanism is not implemented"),
            },
            (State::Proof(pending), Some(mechanism)) => self.scram_final(mechanism, &pending, message),
            _ => self.fail(SaslCondition::MalformedRequest, "unexpected response"),
        }
    }

    /// Takes the host's answer to the open [`Step::Need`].
    pub fn answer(&mut self, answer: Answer) -> Step {
        let state = std::mem::replace(&mut self.state, State::Over);
        match (state, answer) {
            (
                State::Keys(_) | State::Password | State::External | State::Login(_),
                Answer::Scram(Err(condition))
                | Answer::Password(Err(condition))
                | Answer::External(Err(condition))
                | Answer::Login(Err(condition)),
            ) => self.fail(condition, "the host refused"),
            (State::Keys(greeting), Answer::Scram(Ok(record))) => self.scram_challenge(greeting, record),
            (State::Password, Answer::Password(Ok(Some(account)))) => self.proven(account),
            (State::Password, Answer::Password(Ok(None))) => self.wrong("unknown user or wrong password"),
            (State::External, Answer::External(Ok(Some(account)))) => self.proven(account),
            (State::External, Answer::External(Ok(None))) if self.authzid.is_some() => {
                self.fail(SaslCondition::InvalidAuthzid, "certificate does not speak for the authzid")
            }
            (State::External, Answer::External(Ok(None))) => {
                self.fail(SaslCondition::NotAuthorized, "certificate speaks for no account")
            }
            (State::Login(account), Answer::Login(Ok(()))) => self.done(account),
            _ => self.fail(SaslCondition::TemporaryAuthFailure, "the host gave the wrong kind of answer"),
        }
    }

    fn fail(&mut self, condition: SaslCondition, why: &'static str) -> Step {
        self.state = State::Over;
        Step::Fail(Failure { condition, why, guess: false })
    }

    fn wrong(&mut self, why: &'static str) -> Step {
        self.state = State::Over;
        Step::Fail(Failure { condition: SaslCondition::NotAuthorized, why, guess: true })
    }

    fn need(&mut self, state: State, lookup: Lookup) -> Step {
        self.state = state;
        Step::Need(lookup)
    }

    /// Credentials were right: whose they are, and whether that is whom the client wants to be. Acting for another account is never allowed.
    fn proven(&mut self, account: BareJid) -> Step {
        let Some(mechanism) = self.mechanism else {
            return self.fail(SaslCondition::InvalidMechanism, "mechanism is not implemented");
        };
        if self.authzid.as_ref().is_some_and(|authzid| *authzid != account) {
            return self.fail(SaslCondition::InvalidAuthzid, "authzid is another account");
        }
        if account.domain() != self.context.domain || account.local().is_none() {
            return self.fail(SaslCondition::NotAuthorized, "account is not of this domain");
        }
        let channel_binding = self.bound.as_ref().map(|bound| bound.kind.as_str());
        let lookup = Lookup::Login { account: account.clone(), mechanism, channel_binding };
        self.need(State::Login(account), lookup)
    }

    fn done(&mut self, account: BareJid) -> Step {
        let Some(mechanism) = self.mechanism else {
            return self.fail(SaslCondition::InvalidMechanism, "mechanism is not implemented");
        };
        let channel_binding = self.bound.as_ref().map(|bound| bound.kind.as_str());
        let authenticated = Authenticated { account, mechanism: mechanism.as_str(), channel_binding };
        Step::Done(Done { authenticated, additional: self.additional.take() })
    }

    /// Notes the user name and the authorization identity.
    ///
    /// The name must be a localpart: a client that sends `user@domain` gets the answer of a wrong password, for there is no such user.
    fn identify(&mut self, username: &str, authzid: Option<&str>) -> Result<String, Failure> {
        let refuse = |condition, why| Failure { condition, why, guess: false };
        let prepared = scram::prepare_username(username)
            .ok_or_else(|| refuse(SaslCondition::MalformedRequest, "user name fails SASLprep"))?;
        let local = jid::prepare_local(&prepared)
            .map_err(|_| refuse(SaslCondition::NotAuthorized, "user name is no localpart"))?;
        self.authzid = authzid
            .map(BareJid::new)
            .transpose()
            .map_err(|_| refuse(SaslCondition::InvalidAuthzid, "authzid is no bare JID"))?;
        self.username = Some(local.clone());
        Ok(local)
    }

    /// RFC 4616 §2: `[authzid] NUL authcid NUL passwd`.
    fn plain(&mut self, message: &[u8]) -> Step {
        let malformed = SaslCondition::MalformedRequest;
        let Some(text) = Some(message).filter(|message| message.len() <= MAX_MESSAGE) else {
            return self.fail(malformed, "message too long");
        };
        let Ok(text) = std::str::from_utf8(text) else {
            return self.fail(malformed, "message is not UTF-8");
        };
        let mut fields = text.split('\0');
        let (Some(authzid), Some(username), Some(password), None) =
            (fields.next(), fields.next(), fields.next(), fields.next())
        else {
            return self.fail(malformed, "message has not three fields");
        };
        if username.is_empty() || password.is_empty() {
            return self.fail(malformed, "user name or password is empty");
        }
        if username.len() > MAX_NAME || password.len() > MAX_NAME {
            return self.fail(malformed, "user name or password too long");
        }
        match self.identify(username, Some(authzid).filter(|authzid| !authzid.is_empty())) {
            Ok(username) => {
                let password = Zeroizing::new(password.to_owned());
                self.need(State::Password, Lookup::Password { username, password })
            }
            Err(failure) => Step::Fail(failure),
        }
    }

    /// RFC 4422 appendix A: the message is the authorization identity, or empty.
    fn external(&mut self, message: &[u8]) -> Step {
        let authzid = match std::str::from_utf8(message) {
            Ok("") => None,
            Ok(text) if text.len() <= MAX_MESSAGE => match BareJid::new(text) {
                Ok(authzid) => Some(authzid),
                Err(_) => return self.fail(SaslCondition::InvalidAuthzid, "authzid is no bare JID"),
            },
            _ => return self.fail(SaslCondition::MalformedRequest, "authzid is not UTF-8 or too long"),
        };
        self.authzid.clone_from(&authzid);
        self.need(State::External, Lookup::External { authzid })
    }

    /// `client-first-message` and the downgrade rules of RFC 5802 §6.
    fn scram_first(&mut self, mechanism: Mechanism, hash: Hash, message: &[u8]) -> Step {
        let malformed = SaslCondition::MalformedRequest;
        let first = match ClientFirst::parse(message) {
            Ok(first) => first,
            Err(error) => return self.fail(malformed, reason(error)),
        };
        match (&first.flag, mechanism.is_plus()) {
            (Flag::Bound(name), true) => {
                let offered =
                    self.context.offer.channel_bindings.iter().flatten().any(|offered| offered == name);
                let bound = self.context.bindings.iter().find(|bound| bound.kind.as_str() == name);
                match bound.filter(|bound| offered && !bound.data.is_empty()) {
                    Some(bound) => self.bound = Some(bound.clone()),
                    None => return self.fail(malformed, "channel-binding type was not offered"),
                }
            }
            (Flag::Bound(_), false) => return self.fail(malformed, "channel binding without -PLUS"),
            (_, true) => return self.fail(malformed, "-PLUS without channel binding"),
            (Flag::NotOffered, false) if self.context.offer.has_plus() => {
                return self.fail(
                    SaslCondition::NotAuthorized,
                    "downgrade: the client saw no -PLUS but it was offered",
                );
            }
            (Flag::NotOffered | Flag::Unsupported, false) => {}
        }
        let data = self.bound.as_ref().map(|bound| bound.data.clone()).unwrap_or_default();
        let username = match self.identify(&first.username, first.authzid.as_deref()) {
            Ok(username) => username,
            Err(failure) => return Step::Fail(failure),
        };
        let greeting = Greeting {
            hash,
            bare: first.bare.to_owned(),
            nonce: first.nonce.to_owned(),
            binding: scram::binding_text(first.header, &data),
        };
        self.need(State::Keys(greeting), Lookup::Scram { username, hash })
    }

    fn scram_challenge(&mut self, greeting: Greeting, record: Record) -> Step {
        if record.keys.hash() != greeting.hash {
            return self.fail(SaslCondition::TemporaryAuthFailure, "the host gave keys of another hash");
        }
        let nonce = format!("{}{}", greeting.nonce, self.nonce);
        let mut server_first =
            format!("r={nonce},s={},i={}", STANDARD.encode(record.keys.salt()), record.keys.iterations());
        if self.context.downgrade_protection {
            server_first.push_str(",h=");
            server_first.push_str(&self.context.offer.downgrade_hash(greeting.hash));
        }
        let challenge = server_first.clone().into_bytes();
        self.state = State::Proof(Pending { greeting, record, nonce, server_first });
        Step::Challenge(challenge)
    }

    /// `client-final-message`. All checks are made for every user, existing or not, before any of them decides.
    fn scram_final(&mut self, mechanism: Mechanism, pending: &Pending, message: &[u8]) -> Step {
        let last = match ClientFinal::parse(message) {
            Ok(last) => last,
            Err(error) => return self.fail(SaslCondition::MalformedRequest, reason(error)),
        };
        if last.nonce != pending.nonce {
            return self.fail(SaslCondition::MalformedRequest, "nonce differs");
        }
        if !bool::from(last.binding.as_bytes().ct_eq(pending.greeting.binding.as_bytes())) {
            let why = if mechanism.is_plus() { "channel binding differs" } else { "gs2 header differs" };
            return self.fail(SaslCondition::NotAuthorized, why);
        }
        let keys = &pending.record.keys;
        let hash = keys.hash();
        let message: [&[u8]; 5] = [
            pending.greeting.bare.as_bytes(),
            b",",
            pending.server_first.as_bytes(),
            b",",
            last.without_proof.as_bytes(),
        ];
        let mut client_key = hash.hmac(keys.stored_key(), &message);
        let verifier = hash.hmac(keys.server_key(), &message);
        for (key, proof) in client_key.iter_mut().zip(&last.proof) {
            *key ^= proof;
        }
        let fits = hash.digest(&client_key).as_slice().ct_eq(keys.stored_key());
        let right = bool::from(fits) & (last.proof.len() == hash.size());
        match &pending.record.account {
            Some(account) if right => {
                self.additional = Some(format!("v={}", STANDARD.encode(&*verifier)).into_bytes());
                self.proven(account.clone())
            }
            _ => self.wrong("unknown user or wrong password"),
        }
    }
}

impl fmt::Debug for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exchange")
            .field("mechanism", &self.mechanism)
            .field("username", &self.username)
            .field("over", &matches!(self.state, State::Over))
            .finish_non_exhaustive()
    }
}

/// A parser's error as a reason for the log.
const fn reason(error: scram::ScramError) -> &'static str {
    use scram::ScramError as E;
    match error {
        E::TooLong => "message too long",
        E::NotText => "message is not UTF-8 without NUL",
        E::Header => "malformed gs2 header",
        E::Order => "attribute missing, repeated or out of order",
        E::Mandatory => "unsupported mandatory extension",
        E::Name => "malformed name",
        E::Nonce => "malformed nonce",
        E::Base64 => "malformed base64 value",
        E::Iterations => "malformed iteration count",
        E::Extension => "malformed extension",
    }
}

/// The body of [`super::fuzz_server`]: the first byte chooses mechanism and context, the rest is messages separated by 0xFF.
pub(super) fn fuzz(data: &[u8]) {
    struct Fixed;
    impl Entropy for Fixed {
        fn fill(&self, out: &mut [u8]) {
            out.fill(7);
        }
    }
    let Some((&selector, rest)) = data.split_first() else { return };
    let bindings = vec![Binding {
        kind: super::ChannelBinding::TlsExporter,
        data: bytes::Bytes::from_static(b"binding"),
    }];
    let bindings = if selector & 8 == 8 { bindings } else { Vec::new() };
    let policy = Policy { scram: Hash::ALL.to_vec(), plain: true, external: true };
    let offer = policy.offer(true, &bindings);
    let context = Context::new("localhost".to_owned(), true, bindings, offer);
    let Some(mechanism) = Mechanism::ALL.get(usize::from(selector & 7)) else { return };
    let (mut exchange, mut step) = Exchange::start(mechanism.as_str(), None, context, &Fixed);
    for message in rest.split(|byte| *byte == 0xff) {
        while let Step::Need(lookup) = step {
            let account = BareJid::new("juliet@localhost").ok();
            step = exchange.answer(match lookup {
                Lookup::Scram { username, hash } => {
                    Answer::Scram(Ok(Record { keys: Keys::fake(b"secret", hash, &username, 4096), account }))
                }
                Lookup::Password { .. } => Answer::Password(Ok(account)),
                Lookup::External { .. } => Answer::External(Ok(account)),
                Lookup::Login { .. } => Answer::Login(Ok(())),
            });
        }
        step = exchange.respond(message);
    }
}
