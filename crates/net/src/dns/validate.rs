//! Signatures, checked up to a trust anchor (RFC 4035 §5, RFC 5155), with bounds on the work that a reply can cause (KeyTrap, CVE-2023-50387; NSEC3,
//! CVE-2023-50868).
//!
//! The validator of `domain` judges whole replies and asks for the keys on the way. Its bounds hold for one set of records; those here hold for one lookup.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use domain::base::iana::{Class, Rtype};
use domain::base::name::ParsedName;
use domain::base::opt::ExtendedError;
use domain::base::{Message, ToName as _};
use domain::dnssec::validator::anchor::TrustAnchors;
use domain::dnssec::validator::context::{Config, ValidationContext, ValidationState};
use domain::net::client::request::{ComposeRequest as _, Error, GetResponse, RequestMessage, SendRequest};
use domain::rdata::{Rrsig, ZoneRecordData};
use domain::zonefile::inplace::{Entry, Zonefile};
use parking_lot::Mutex;

use super::exchange::Exchange;
use super::grafts::Grafts;
use super::resolver::now;
use super::{Anchors, BadAnchors, DnsError, Name, Security, reply};

/// Questions for keys and delegations that one lookup may cause. A name of ten labels under ten zones needs twenty.
const MOST_QUESTIONS: u32 = 48;

/// Sets of records with signatures in one reply. What is needed is aliases, the answer, and up to four sets of a denial.
const MOST_SIGNED_SETS: usize = 24;

/// Signatures of one set of records: one for each algorithm, twice while keys are exchanged.
const MOST_SIGNATURES: usize = 8;

/// Keys of one zone.
const MOST_KEYS: usize = 24;

/// Records of one reply.
const MOST_RECORDS: usize = 512;

/// Signatures of one set of records that may be wrong before the set is: none but what two keys with one tag cause (RFC 4034 §B).
const MOST_BAD_SIGNATURES: u8 = 1;

/// Zones whose keys are remembered.
const ZONES: u64 = 4096;

tokio::task_local! {
    /// The lookup that is going on.
    static WORK: Arc<Work>;
}

/// What the validator says of a reply.
type Judged =
    Result<(ValidationState, Option<ExtendedError<Vec<u8>>>), domain::dnssec::validator::context::Error>;

/// What one lookup may still cause, and what went wrong on the way.
struct Work {
    questions: AtomicU32,
    failed: Mutex<Option<DnsError>>,
}

/// Zones under zones that are to be grafted, for one lookup.
const MOST_GRAFTS: usize = 4;

/// Judges replies.
pub(super) struct Validator {
    anchors: Arc<str>,
    exchange: Arc<Exchange>,
    grafts: Arc<Grafts>,
    checks: Mutex<Arc<Checks>>,
    /// Whoever has this proves what is to be grafted; the others wait for it.
    grafting: tokio::sync::Mutex<()>,
}

/// The validator of `domain` with the anchors of a time.
struct Checks {
    context: ValidationContext<Upstream>,
    /// When the first anchor ends, in seconds of the time of day.
    until: u64,
}

impl Checks {
    fn new(anchors: &str, exchange: &Arc<Exchange>, grafts: &Arc<Grafts>) -> Arc<Self> {
        let mut config = Config::new();
        config.set_bad_signatures(MOST_BAD_SIGNATURES);
        config.set_max_node_cache(ZONES);
        config.set_max_validity(exchange.config.longest);
        // Failures are remembered by the resolver; here a broken zone would outlive its repair.
        config.set_max_bogus_validity(Duration::from_secs(1));
        let (more, until) = grafts.anchors(now().as_secs());
        // They were read once already.
        let mut anchors = TrustAnchors::from_u8(anchors.as_bytes()).unwrap_or_else(|_| TrustAnchors::empty());
        if let Err(error) = anchors.add_u8(more.as_bytes()) {
            tracing::error!(%error, "a delegation cannot be used as a trust anchor");
        }
        let upstream = Upstream { exchange: Arc::clone(exchange), grafts: Arc::clone(grafts) };
        Arc::new(Self { context: ValidationContext::with_config(anchors, upstream, config), until })
    }
}

impl Validator {
    pub(super) fn new(anchors: &Anchors, exchange: Arc<Exchange>) -> Self {
        let (anchors, grafts) = (Arc::from(&*anchors.0), Arc::default());
        let checks = Mutex::new(Checks::new(&anchors, &exchange, &grafts));
        Self { anchors, exchange, grafts, checks, grafting: tokio::sync::Mutex::default() }
    }

    /// The anchors as of now. What was found out under others is forgotten with them.
    fn checks(&self) -> Arc<Checks> {
        let checks = &mut *self.checks.lock();
        if checks.until <= now().as_secs() {
            *checks = Checks::new(&self.anchors, &self.exchange, &self.grafts);
        }
        Arc::clone(checks)
    }

    /// Takes zones in that were said not to be signed because of their algorithm. Whether a reply is to be judged again.
    async fn graft(&self, by: &Arc<Checks>) -> bool {
        let _mine = self.grafting.lock().await;
        if !Arc::ptr_eq(by, &self.checks()) {
            return true;
        }
        let mut proven = false;
        for (zone, mut message) in self.grafts.open() {
            let judged = by.context.validate_msg::<Vec<u8>, Vec<u8>>(&mut message).await;
            let is = matches!(judged, Ok((ValidationState::Secure, _)));
            self.grafts.settle(&zone, is);
            proven |= is;
        }
        if proven {
            *self.checks.lock() = Checks::new(&self.anchors, &self.exchange, &self.grafts);
        }
        proven
    }

    /// What can be said of a reply, and for how many seconds its signatures hold. Never [`Security::Bogus`]: that is an error.
    pub(super) async fn judge(&self, message: Message<Vec<u8>>) -> Result<(Security, Option<u32>), DnsError> {
        bounded(&message)?;
        let signed = reply::signed_for(&message, now().as_secs())?;
        let work = Arc::new(Work { questions: AtomicU32::new(MOST_QUESTIONS), failed: Mutex::default() });
        let judged = WORK.scope(Arc::clone(&work), self.state_of(&message)).await;
        match judged {
            Ok((ValidationState::Secure, _)) => Ok((Security::Secure, signed)),
            Ok((ValidationState::Insecure, _)) => Ok((Security::Insecure, None)),
            Ok((ValidationState::Indeterminate, _)) => Ok((Security::Indeterminate, None)),
            Ok((ValidationState::Bogus, why)) => {
                // What could not be asked for is not what contradicts.
                let failed = work.failed.lock().take();
                let why = || why.map_or_else(|| "no reason given".to_owned(), |why| why.to_string());
                Err(failed.unwrap_or_else(|| DnsError::Bogus(why())))
            }
            Err(error) => {
                Err(work.failed.lock().take().unwrap_or_else(|| DnsError::Bogus(error.to_string())))
            }
        }
    }
}

impl Validator {
    async fn state_of(&self, message: &Message<Vec<u8>>) -> Judged {
        for _ in 0..=MOST_GRAFTS {
            let checks = self.checks();
            let judged = checks.context.validate_msg::<Vec<u8>, Vec<u8>>(&mut message.clone()).await;
            if !matches!(judged, Ok((ValidationState::Insecure, _))) || !self.graft(&checks).await {
                return judged;
            }
        }
        Ok((ValidationState::Bogus, None))
    }
}

/// Refuses a reply that would cause too much work.
pub(super) fn bounded(message: &Message<Vec<u8>>) -> Result<(), DnsError> {
    let broken = |_| DnsError::Broken;
    let too_much = |what: &str| Err(DnsError::Bogus(format!("too many {what} in one answer")));
    let mut signatures: HashMap<(Name, Rtype), usize> = HashMap::new();
    let (mut keys, mut records) = (0, 0);
    for section in [message.answer().map_err(broken)?, message.authority().map_err(broken)?] {
        for record in section {
            let record = record.map_err(broken)?;
            records += 1;
            if records > MOST_RECORDS {
                return too_much("records");
            }
            match record.rtype() {
                Rtype::DNSKEY | Rtype::DS => keys += 1,
                Rtype::RRSIG => {
                    let mut owner: Name = record.owner().to_vec();
                    owner.make_canonical();
                    let found = record.to_record::<Rrsig<_, ParsedName<_>>>().map_err(broken)?;
                    if let Some(found) = found {
                        *signatures.entry((owner, found.data().type_covered())).or_default() += 1;
                    }
                }
                _ => {}
            }
        }
    }
    match () {
        () if keys > MOST_KEYS => too_much("keys"),
        () if signatures.len() > MOST_SIGNED_SETS => too_much("signed sets"),
        () if signatures.values().any(|count| *count > MOST_SIGNATURES) => too_much("signatures of one set"),
        () => Ok(()),
    }
}

/// Asks for keys and delegations on behalf of the validator.
struct Upstream {
    exchange: Arc<Exchange>,
    grafts: Arc<Grafts>,
}

impl SendRequest<RequestMessage<Vec<u8>>> for Upstream {
    fn send_request(&self, request: RequestMessage<Vec<u8>>) -> Box<dyn GetResponse + Send + Sync> {
        let question = request.to_message().ok().and_then(|message| {
            let question = message.sole_question().ok()?;
            Some((question.qname().to_vec(), question.qtype()))
        });
        Box::new(Request { exchange: Arc::clone(&self.exchange), grafts: Arc::clone(&self.grafts), question })
    }
}

struct Request {
    exchange: Arc<Exchange>,
    grafts: Arc<Grafts>,
    question: Option<(Name, Rtype)>,
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Request").field(&self.question).finish()
    }
}

impl GetResponse for Request {
    fn get_response(
        &mut self,
    ) -> Pin<Box<dyn Future<Output = Result<Message<Bytes>, Error>> + Send + Sync + '_>> {
        Box::pin(async {
            let Some((name, kind)) = &self.question else { return Err(Error::FormError) };
            let work = WORK.try_with(Arc::clone).map_err(|_| Error::ConnectionClosed)?;
            let spend = |left: u32| left.checked_sub(1);
            let asked = match work.questions.fetch_update(Ordering::Relaxed, Ordering::Relaxed, spend) {
                Ok(_) => self.exchange.ask(name, *kind).await,
                Err(_) => Err(DnsError::Bogus("too many zones on the way".to_owned())),
            };
            let asked = asked.and_then(|reply| bounded(&reply.message).map(|()| reply.message));
            match asked {
                Ok(message) => {
                    if *kind == Rtype::DS {
                        self.grafts.seen(name, &message, now().as_secs());
                    }
                    Message::from_octets(Bytes::from(message.into_octets())).map_err(|_| Error::ShortMessage)
                }
                Err(error) => {
                    *work.failed.lock() = Some(error);
                    Err(Error::NoTransportAvailable)
                }
            }
        })
    }
}

/// The names that trust anchors are for, of a text that holds them and nothing else.
pub(super) fn anchored(text: &str) -> Result<Vec<Name>, BadAnchors> {
    let mut file = Zonefile::new();
    file.set_default_class(Class::IN);
    file.extend_from_slice(text.as_bytes());
    file.extend_from_slice(b"\n");
    let mut names: Vec<Name> = Vec::new();
    for entry in file {
        match entry.map_err(|error| BadAnchors(error.to_string()))? {
            Entry::Record(record) => {
                match record.data() {
                    ZoneRecordData::Ds(ds) if !ds.digest().is_empty() => {}
                    ZoneRecordData::Dnskey(key) if !key.public_key().is_empty() => {}
                    _ => return Err(BadAnchors(format!("a record of type {} is none", record.rtype()))),
                }
                let name = record.owner().to_name();
                if !names.contains(&name) {
                    names.push(name);
                }
            }
            Entry::Include { .. } => return Err(BadAnchors("other files are not read".to_owned())),
        }
    }
    if names.is_empty() { Err(BadAnchors("there is none".to_owned())) } else { Ok(names) }
}
