//! The initiating side of a SASL exchange.
//!
//! [`Exchange::start`] chooses the strongest mechanism that both sides can do; [`Exchange::challenge`] and [`Exchange::success`] take
//! what the server says. Only `success` returning `Ok` means that the server is who it should be: a server that cannot prove that it
//! knows the keys gets no further.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use nuncio_sansio::Entropy;
use nuncio_xmpp::jid::BareJid;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::scram::{self, ScramError, ServerFinal, ServerFirst};
use super::{Binding, ChannelBinding, Hash, MAX_NAME, Mechanism, Offer};

/// Who logs in. `Debug` shows no password.
#[derive(Clone)]
pub struct Credentials {
    /// The user name: the localpart of the account's JID (RFC 6120 §6.3.7).
    pub username: String,
    /// The password, if there is one.
    pub password: Option<Zeroizing<String>>,
    /// The identity to act as; almost always none (RFC 6120 §6.3.8).
    pub authzid: Option<BareJid>,
    /// Whether the TLS handshake presented a client certificate that speaks for the account.
    pub certificate: bool,
}

impl Credentials {
    /// A user name and a password.
    pub fn password(username: impl Into<String>, password: impl Into<String>) -> Self {
        Self {
            username: username.into(),
            password: Some(Zeroizing::new(password.into())),
            authzid: None,
            certificate: false,
        }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("username", &self.username)
            .field("authzid", &self.authzid)
            .field("certificate", &self.certificate)
            .finish_non_exhaustive()
    }
}

/// What the client insists on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The mechanisms that may be used.
    pub mechanisms: Vec<Mechanism>,
    /// The fewest iterations that a server may ask for: fewer would make a recorded exchange cheap to search.
    pub minimum_iterations: u32,
    /// The most: more would only burn this side's time (RFC 5802 §9).
    pub maximum_iterations: u32,
    /// Whether a SCRAM server must send the downgrade-protection hash of XEP-0474.
    pub require_downgrade_protection: bool,
}

impl Default for Policy {
    /// Everything but PLAIN, 4096 to 10 million iterations. PLAIN must be added on purpose; whoever logged in by SCRAM once should not (XEP-0474 §"Business Rules").
    fn default() -> Self {
        Self {
            mechanisms: Mechanism::ALL
                .into_iter()
                .filter(|mechanism| *mechanism != Mechanism::Plain)
                .collect(),
            minimum_iterations: 4096,
            maximum_iterations: 10_000_000,
            require_downgrade_protection: false,
        }
    }
}

/// What the client knows about its stream.
#[derive(Clone, Debug)]
pub struct Context {
    /// Whether TLS protects the stream and the server's certificate was accepted.
    pub encrypted: bool,
    /// This connection's channel bindings.
    pub bindings: Vec<Binding>,
    /// What the server's features offered, exactly.
    pub offer: Offer,
    /// What the client insists on.
    pub policy: Policy,
}

/// Why the client ends the exchange. It must then send `<abort/>` or close, and never try a weaker way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// No offered mechanism is both possible and allowed.
    #[error("no acceptable mechanism was offered")]
    NoMechanism,
    /// User name or password is empty, too long, or has a character that SASLprep prohibits.
    #[error("user name or password cannot be used")]
    Credentials,
    /// The offer contradicts itself or what the server says it offered: somebody in between has changed it.
    #[error("the offered mechanisms were tampered with")]
    Downgrade,
    /// The server sends no downgrade protection but the policy requires it.
    #[error("server does not protect its offer against downgrades")]
    Unprotected,
    /// The server's message breaks the grammar.
    #[error("malformed message: {0}")]
    Malformed(#[from] ScramError),
    /// The server's nonce does not continue the client's.
    #[error("nonce does not continue the client's")]
    Nonce,
    /// Fewer iterations than the policy allows.
    #[error("server asks for only {0} iterations")]
    TooFewIterations(u32),
    /// More iterations than the policy allows.
    #[error("server asks for {0} iterations")]
    TooManyIterations(u32),
    /// The server's signature is wrong: it does not know the keys.
    #[error("server could not prove that it knows the credentials")]
    ServerSignature,
    /// The server says in SCRAM's own way that it failed.
    #[error("server reports a failed exchange")]
    Refused,
    /// A message at a moment when none can be.
    #[error("unexpected message")]
    Unexpected,
}

/// What to send in `<auth/>`. `Debug` shows the mechanism only.
pub struct Start {
    /// The mechanism.
    pub mechanism: Mechanism,
    /// The initial response; an empty one is sent as `=`. With PLAIN it contains the password.
    pub initial: Zeroizing<Vec<u8>>,
}

impl fmt::Debug for Start {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Start").field("mechanism", &self.mechanism).finish_non_exhaustive()
    }
}

/// What a finished exchange proved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proven {
    /// The mechanism.
    pub mechanism: Mechanism,
    /// The channel-binding type in use.
    pub channel_binding: Option<ChannelBinding>,
    /// Whether the server proved that it knows the credentials. True for SCRAM only.
    pub mutual: bool,
    /// Whether the server vouched for its offer (XEP-0474).
    pub downgrade_protected: bool,
}

/// One exchange. Dropped secrets are wiped.
pub struct Exchange {
    mechanism: Mechanism,
    binding: Option<Binding>,
    offer: Offer,
    policy: Policy,
    /// The offer has channel-binding types but none that we can do and none that everybody can: only a right `h` tells that it is genuine.
    suspicious: bool,
    downgrade_protected: bool,
    state: State,
}

enum State {
    First {
        hash: Hash,
        password: Zeroizing<String>,
        header: String,
        bare: String,
        nonce: String,
    },
    Final {
        verifier: Zeroizing<Vec<u8>>,
    },
    /// Nothing more to prove.
    Proven,
    Over,
}

/// The bytes of a fresh nonce; 32 characters of base64.
const NONCE: usize = 24;

/// What became of the channel-binding negotiation.
struct Plan {
    mechanism: Mechanism,
    binding: Option<Binding>,
    flag: &'static str,
    suspicious: bool,
}

fn plan(credentials: &Credentials, context: &Context) -> Result<Plan, ClientError> {
    let offer = &context.offer;
    let plus = offer.has_plus();
    // XEP-0440 §3 rule 5: types without a mechanism for them.
    if offer.channel_bindings.as_ref().is_some_and(|types| !types.is_empty())
        && !plus
        && !context.bindings.is_empty()
    {
        return Err(ClientError::Downgrade);
    }
    let mut bindings: Vec<&Binding> =
        context.bindings.iter().filter(|bound| !bound.data.is_empty()).collect();
    bindings.sort_by_key(|bound| std::cmp::Reverse(bound.kind));
    let binding = match &offer.channel_bindings {
        Some(types) => bindings.iter().find(|bound| types.iter().any(|name| name == bound.kind.as_str())),
        // Rule 4: a server without XEP-0440 is most likely to do the type that everybody must.
        None => bindings.iter().min_by_key(|bound| bound.kind),
    }
    .filter(|_| plus)
    .map(|bound| Binding::clone(bound));
    let usable = |mechanism: &Mechanism| {
        context.policy.mechanisms.contains(mechanism)
            && offer.has(mechanism.as_str())
            && match mechanism {
                Mechanism::Plain => context.encrypted && credentials.password.is_some(),
                Mechanism::External => context.encrypted && credentials.certificate,
                _ => credentials.password.is_some() && (!mechanism.is_plus() || binding.is_some()),
            }
    };
    let mechanism = Mechanism::ALL.into_iter().find(usable).ok_or(ClientError::NoMechanism)?;
    let able = !bindings.is_empty();
    let flag = if able && !plus { "y" } else { "n" };
    let everybody = ChannelBinding::TlsServerEndPoint.as_str();
    let lacks_common = offer.channel_bindings.iter().flatten().all(|name| name != everybody);
    // Rule 6 as XEP-0474 amends it.
    let suspicious = able && plus && binding.is_none() && lacks_common;
    let binding = binding.filter(|_| mechanism.is_plus());
    Ok(Plan { mechanism, binding, flag, suspicious })
}

impl Exchange {
    /// Chooses the strongest offered mechanism and makes the initial response. PLAIN and EXTERNAL are never used outside TLS.
    ///
    /// # Errors
    /// No mechanism fits, the credentials cannot be prepared, or the offer contradicts itself.
    pub fn start(
        credentials: &Credentials,
        context: Context,
        entropy: &dyn Entropy,
    ) -> Result<(Self, Start), ClientError> {
        let mut raw = [0; NONCE];
        entropy.fill(&mut raw);
        Self::with_nonce(credentials, context, STANDARD.encode(raw))
    }

    /// Starts with a given nonce, as the vectors of the RFCs need it.
    pub(super) fn with_nonce(
        credentials: &Credentials,
        context: Context,
        nonce: String,
    ) -> Result<(Self, Start), ClientError> {
        let Plan { mechanism, binding, flag, suspicious } = plan(credentials, &context)?;
        let authzid = credentials.authzid.as_ref().map(BareJid::as_str);
        let password = || credentials.password.as_ref().ok_or(ClientError::Credentials);
        let mut state = State::Proven;
        let initial = match mechanism.hash() {
            None if mechanism == Mechanism::External => authzid.unwrap_or_default().as_bytes().to_vec(),
            None => plain(&credentials.username, password()?, authzid)?,
            Some(hash) => {
                let username =
                    scram::prepare_username(&credentials.username).ok_or(ClientError::Credentials)?;
                let flag = match &binding {
                    Some(bound) => format!("p={}", bound.kind),
                    None => flag.to_owned(),
                };
                let authzid = authzid.map(|name| format!("a={}", scram::escape(name))).unwrap_or_default();
                let header = format!("{flag},{authzid},");
                let bare = format!("n={},r={nonce}", scram::escape(&username));
                let initial = format!("{header}{bare}").into_bytes();
                let password = scram::prepare_password(password()?).ok_or(ClientError::Credentials)?;
                state = State::First { hash, password, header, bare, nonce };
                initial
            }
        };
        let exchange = Self {
            mechanism,
            binding,
            offer: context.offer,
            policy: context.policy,
            suspicious,
            downgrade_protected: false,
            state,
        };
        Ok((exchange, Start { mechanism, initial: Zeroizing::new(initial) }))
    }

    /// Takes a decoded `<challenge/>` and gives the response. The one of SCRAM's first message costs as many HMACs as the server asks
    /// for, within the policy's limits.
    ///
    /// # Errors
    /// The server breaks the protocol, or is not who it should be. The exchange is over then.
    pub fn challenge(&mut self, message: &[u8]) -> Result<Vec<u8>, ClientError> {
        match std::mem::replace(&mut self.state, State::Over) {
            State::First { hash, password, header, bare, nonce } => {
                let (response, verifier) = self.prove(hash, &password, &header, &bare, &nonce, message)?;
                self.state = State::Final { verifier };
                Ok(response)
            }
            // RFC 6120 §6.3.10: the server may send its last message as a challenge.
            State::Final { verifier } => {
                verify(&verifier, message)?;
                self.state = State::Proven;
                Ok(Vec::new())
            }
            State::Proven | State::Over => Err(ClientError::Unexpected),
        }
    }

    /// Takes `<success/>` with its decoded data, if it has any.
    ///
    /// # Errors
    /// The server has not proven itself; the connection must not be used.
    pub fn success(&mut self, additional: Option<&[u8]>) -> Result<Proven, ClientError> {
        match (std::mem::replace(&mut self.state, State::Over), additional) {
            (State::Final { verifier }, Some(message)) => verify(&verifier, message)?,
            (State::Final { .. }, None) => return Err(ClientError::ServerSignature),
            (State::Proven, _) => {}
            (State::First { .. } | State::Over, _) => return Err(ClientError::Unexpected),
        }
        Ok(Proven {
            mechanism: self.mechanism,
            channel_binding: self.binding.as_ref().map(|bound| bound.kind),
            mutual: self.mechanism.hash().is_some(),
            downgrade_protected: self.downgrade_protected,
        })
    }

    /// Checks `server-first-message` and computes the proof and the signature to expect.
    fn prove(
        &mut self,
        hash: Hash,
        password: &str,
        header: &str,
        bare: &str,
        nonce: &str,
        message: &[u8],
    ) -> Result<(Vec<u8>, Zeroizing<Vec<u8>>), ClientError> {
        let first = ServerFirst::parse(message)?;
        if first.nonce.len() <= nonce.len() || !first.nonce.starts_with(nonce) {
            return Err(ClientError::Nonce);
        }
        // Before anything costly, and before the proof gives anybody something to search in.
        match first.downgrade_hash {
            Some(theirs) if theirs == self.offer.downgrade_hash(hash) => self.downgrade_protected = true,
            Some(_) => return Err(ClientError::Downgrade),
            None if self.suspicious => return Err(ClientError::Downgrade),
            None if self.policy.require_downgrade_protection => return Err(ClientError::Unprotected),
            None => {}
        }
        if first.iterations < self.policy.minimum_iterations {
            return Err(ClientError::TooFewIterations(first.iterations));
        }
        if first.iterations > self.policy.maximum_iterations {
            return Err(ClientError::TooManyIterations(first.iterations));
        }
        let data = self.binding.as_ref().map(|bound| bound.data.as_ref()).unwrap_or_default();
        let without_proof = format!("c={},r={}", scram::binding_text(header, data), first.nonce);
        let signed: [&[u8]; 5] = [bare.as_bytes(), b",", message, b",", without_proof.as_bytes()];

        let salted = hash.salted(password.as_bytes(), &first.salt, first.iterations);
        let client_key = hash.hmac(&salted, &[b"Client Key"]);
        let mut proof = hash.hmac(&hash.digest(&client_key), &signed);
        for (proof, key) in proof.iter_mut().zip(client_key.iter()) {
            *proof ^= key;
        }
        let verifier = hash.hmac(&hash.hmac(&salted, &[b"Server Key"]), &signed);
        Ok((format!("{without_proof},p={}", STANDARD.encode(&*proof)).into_bytes(), verifier))
    }
}

impl fmt::Debug for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exchange").field("mechanism", &self.mechanism).finish_non_exhaustive()
    }
}

fn verify(verifier: &[u8], message: &[u8]) -> Result<(), ClientError> {
    match ServerFinal::parse(message)? {
        ServerFinal::Verifier(theirs) if bool::from(theirs.ct_eq(verifier)) => Ok(()),
        ServerFinal::Verifier(_) => Err(ClientError::ServerSignature),
        ServerFinal::Error(_) => Err(ClientError::Refused),
    }
}

/// RFC 4616 §2.
fn plain(username: &str, password: &str, authzid: Option<&str>) -> Result<Vec<u8>, ClientError> {
    let fits = |text: &str| !text.is_empty() && text.len() <= MAX_NAME && !text.contains('\0');
    if !fits(username) || !fits(password) {
        return Err(ClientError::Credentials);
    }
    Ok([authzid.unwrap_or_default(), username, password].join("\0").into_bytes())
}

/// The body of [`super::fuzz_client`].
pub(super) fn fuzz(data: &[u8]) {
    struct Fixed;
    impl Entropy for Fixed {
        fn fill(&self, out: &mut [u8]) {
            out.fill(7);
        }
    }
    let Some((&selector, rest)) = data.split_first() else { return };
    let mechanisms = Mechanism::ALL.into_iter().map(|mechanism| mechanism.as_str().to_owned()).collect();
    let kinds = [ChannelBinding::TlsExporter, ChannelBinding::TlsServerEndPoint];
    let bindings = kinds
        .into_iter()
        .enumerate()
        .filter(|(index, _)| selector >> index & 1 == 1)
        .map(|(_, kind)| Binding { kind, data: bytes::Bytes::from_static(b"binding") })
        .collect();
    let offer = Offer { mechanisms, channel_bindings: (selector & 4 == 4).then(Vec::new) };
    // A fuzzer must not find the iteration count that keeps it busy.
    let policy = Policy { minimum_iterations: 1, maximum_iterations: 16, ..Policy::default() };
    let context = Context { encrypted: selector & 8 == 8, bindings, offer, policy };
    let credentials = Credentials::password("juliet", "r0m30");
    let Ok((mut exchange, _)) = Exchange::start(&credentials, context, &Fixed) else { return };
    for message in rest.split(|byte| *byte == 0xff) {
        if selector & 16 == 16 {
            let _ = exchange.challenge(message);
        } else {
            // What continues the nonce gets further.
            let _ = exchange.challenge(&[b"r=", STANDARD.encode([7; NONCE]).as_bytes(), message].concat());
        }
    }
    let _ = exchange.success(Some(rest));
}
