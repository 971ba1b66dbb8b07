//! Lookups: the cache before the servers, one question for many callers.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use domain::base::iana::Rtype;
use nuncio_dna::dns::Alias;
use nuncio_dna::{Time, Tlsa};
use nuncio_sansio::Entropy;
use parking_lot::Mutex;
use tokio::time::{Instant, timeout};

use super::cache::Cache;
use super::exchange::{Exchange, Reply, rtype};
use super::reply::{self, Hop, Said};
use super::validate::{Validator, anchored};
use super::{Answer, Data, DnsConfig, DnsError, Kind, Name, Security, Srv, Validation, in_order};
use crate::OsEntropy;
use crate::flight::Flights;

/// How long IPv6 is waited for once IPv4 addresses are there (RFC 8305 §3, "Resolution Delay").
const RESOLUTION_DELAY: Duration = Duration::from_millis(50);

/// How long a failure is remembered, so that many callers do not ask in vain one after the other (RFC 9520 §3.2).
const FAILURE: Duration = Duration::from_secs(1);

/// A question.
pub(super) type Key = (Name, Kind);

/// What is known about a question.
pub(super) type Found = Result<Arc<Answer<Data>>, DnsError>;

/// Looks up names. Cheap to clone; clones share the cache.
#[derive(Clone)]
pub struct Resolver(Arc<Inner>);

struct Inner {
    exchange: Arc<Exchange>,
    validator: Option<Validator>,
    cache: Mutex<Cache>,
    asking: Flights<Key, Found>,
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolver").field("config", &self.0.exchange.config).finish_non_exhaustive()
    }
}

/// One place where a service is, of those that [`Resolver::services`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service<T> {
    /// The record.
    pub srv: Srv,
    /// Under which of the names it was.
    pub tag: T,
    /// How far the record can be believed.
    pub security: Security,
}

/// Where a service is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Services<T> {
    /// In these places, the best first; never empty.
    At(Vec<Service<T>>),
    /// Decidedly nowhere: the only record's target is `.` (RFC 2782). Nothing else may be tried (RFC 6120 §3.2.1, XEP-0368 §2).
    Nowhere,
    /// There are no records. The name's own addresses may be tried (RFC 6120 §3.2.2).
    Unknown,
    /// There is no answer, and why. The name's own addresses may be tried (RFC 6120 §3.2.1, step 9).
    Unanswered(DnsError),
}

impl Resolver {
    /// A resolver with an empty cache. `entropy` makes ids of questions and draws lots among weights.
    #[must_use]
    pub fn new(config: DnsConfig, entropy: Arc<dyn Entropy>) -> Self {
        let cache = Mutex::new(Cache::new(config.cache));
        let validation = config.validation.clone();
        let exchange = Arc::new(Exchange::new(config, entropy));
        let validator = match validation {
            Validation::Local(anchors) => Some(Validator::new(&anchors, Arc::clone(&exchange))),
            Validation::Off | Validation::TrustAd => None,
        };
        Self(Arc::new(Inner { exchange, validator, cache, asking: Flights::default() }))
    }

    /// A resolver with the operating system's randomness.
    #[must_use]
    pub fn with(config: DnsConfig) -> Self {
        Self::new(config, Arc::new(OsEntropy))
    }

    /// The settings.
    #[must_use]
    pub fn config(&self) -> &DnsConfig {
        &self.0.exchange.config
    }

    /// The addresses of a host: IPv6 first, then IPv4, each in the order of the answer. One family is enough; if IPv4 addresses are
    /// there and IPv6 takes much longer, it is left out (RFC 8305 §3).
    ///
    /// `host` is absolute and ASCII. `localhost` and what ends in it are loopback addresses without a question (RFC 6761 §6.3).
    ///
    /// # Errors
    /// Neither family has an answer.
    pub async fn addresses(&self, host: &str) -> Result<Answer<IpAddr>, DnsError> {
        let address = |data: &Data| match data {
            Data::Address(address) => Some(*address),
            Data::Srv(_) | Data::Tlsa(_) => None,
        };
        let has = |found: &Found| found.as_ref().is_ok_and(|answer| !answer.records.is_empty());
        let mut four = std::pin::pin!(self.lookup(host, Kind::A));
        let mut six = std::pin::pin!(self.lookup(host, Kind::Aaaa));
        let (six, four) = tokio::select! {
            six = &mut six => (Some(six), four.await),
            four = &mut four => {
                let six = if has(&four) { timeout(RESOLUTION_DELAY, six).await.ok() } else { Some(six.await) };
                (six, four)
            }
        };
        match (six, four) {
            (Some(Ok(six)), Ok(four)) => {
                let mut both = only(&six, address);
                both.records.extend(four.records.iter().filter_map(address));
                if six.records.is_empty() {
                    both.name.clone_from(&four.name);
                    both.aliases.clone_from(&four.aliases);
                }
                both.exists |= four.exists;
                both.security = both.security.max(four.security);
                both.expires = both.expires.min(four.expires);
                Ok(both)
            }
            (Some(Ok(six)), Err(error)) => {
                if six.records.is_empty() {
                    Err(error)
                } else {
                    Ok(only(&six, address))
                }
            }
            (None, four) => four.map(|four| only(&four, address)),
            (Some(Err(error)), four) => match four {
                Ok(four) if !four.records.is_empty() => Ok(only(&four, address)),
                _ => Err(error),
            },
        }
    }

    /// The SRV records of a name such as `_xmpp-client._tcp.example.org`, in the order of the answer.
    ///
    /// # Errors
    /// There is no answer.
    pub async fn srv(&self, name: &str) -> Result<Answer<Srv>, DnsError> {
        let answer = self.lookup(name, Kind::Srv).await?;
        Ok(only(&answer, |data| match data {
            Data::Srv(srv) => Some(srv.clone()),
            Data::Address(_) | Data::Tlsa(_) => None,
        }))
    }

    /// The addresses of one family, IPv6 or IPv4, in the order of the answer; otherwise as [`Resolver::addresses`].
    ///
    /// # Errors
    /// There is no answer.
    pub async fn family(&self, host: &str, six: bool) -> Result<Answer<IpAddr>, DnsError> {
        let answer = self.lookup(host, if six { Kind::Aaaa } else { Kind::A }).await?;
        Ok(only(&answer, |data| match data {
            Data::Address(address) => Some(*address),
            Data::Srv(_) | Data::Tlsa(_) => None,
        }))
    }

    /// The TLSA records of a name such as `_5269._tcp.host.example.org` (RFC 6698).
    ///
    /// # Errors
    /// There is no answer.
    pub async fn tlsa(&self, name: &str) -> Result<Answer<Tlsa>, DnsError> {
        let answer = self.lookup(name, Kind::Tlsa).await?;
        Ok(only(&answer, |data| match data {
            Data::Tlsa(tlsa) => Some(tlsa.clone()),
            Data::Address(_) | Data::Srv(_) => None,
        }))
    }

    /// Whether signatures can be checked at all with these name servers: asks for the keys that validation ends at. Worth doing when a program starts, since
    /// otherwise each single lookup fails. Without validation there is nothing to find out.
    ///
    /// # Errors
    /// The keys cannot be had, or are not those of the anchors, or the server that is believed does not validate.
    pub async fn check_validation(&self) -> Result<(), DnsError> {
        let exchange = &self.0.exchange;
        let names = match &exchange.config.validation {
            Validation::Off => return Ok(()),
            Validation::TrustAd
                if !exchange.config.servers.iter().any(|server| server.ip().is_loopback()) =>
            {
                let why = "the one that is believed about signatures must be on a loopback address";
                return Err(DnsError::Unreachable(why.to_owned()));
            }
            Validation::TrustAd => vec![Name::root_vec()],
            Validation::Local(anchors) => anchored(&anchors.0).unwrap_or_default(),
        };
        for name in names {
            let keys = timeout(exchange.config.patience, async {
                self.0.judge(exchange.ask(&name, Rtype::DNSKEY).await?).await
            });
            if keys.await.unwrap_or(Err(DnsError::Timeout))?.0 != Security::Secure {
                return Err(DnsError::Bogus(format!("nothing proves the keys of {name}")));
            }
        }
        Ok(())
    }

    /// Puts things with a priority and a weight in the order of RFC 2782, by this resolver's lots.
    pub(crate) fn in_order<T>(&self, all: Vec<T>, of: impl Fn(&T) -> (u16, u16)) -> Vec<T> {
        in_order(all, of, &*self.0.exchange.entropy)
    }

    /// Looks up SRV records under several names at once, and mixes them into one order by priority and weight (XEP-0368 §2). Each
    /// name has a tag that says what it stands for.
    pub async fn services<T: Clone>(&self, [one, other]: [(&str, T); 2]) -> Services<T> {
        let (first, second) = tokio::join!(self.srv(one.0), self.srv(other.0));
        let (mut found, mut denied, mut problem) = (Vec::new(), false, None);
        for (answer, tag) in [(first, one.1), (second, other.1)] {
            match answer {
                Ok(answer) => {
                    denied |= answer.records.iter().any(Srv::is_denial);
                    let security = answer.security;
                    let places = answer.records.into_iter().filter(|srv| !srv.is_denial());
                    found.extend(places.map(|srv| Service { srv, tag: tag.clone(), security }));
                }
                Err(error) => problem = Some(error),
            }
        }
        if !found.is_empty() {
            let weigh = |service: &Service<T>| (service.srv.priority, service.srv.weight);
            return Services::At(in_order(found, weigh, &*self.0.exchange.entropy));
        }
        match problem {
            _ if denied => Services::Nowhere,
            Some(problem) => Services::Unanswered(problem),
            None => Services::Unknown,
        }
    }

    pub(super) async fn lookup(&self, text: &str, kind: Kind) -> Found {
        let mut name = match text {
            "" => return Err(DnsError::Name(String::new())),
            _ => Name::vec_from_str(text).map_err(|_| DnsError::Name(text.to_owned()))?,
        };
        name.make_canonical();
        if let Some(answer) = reserved(&name, kind) {
            return Ok(Arc::new(answer));
        }
        let key = (name, kind);
        if let Some(found) = self.0.cache.lock().get(&key, Instant::now()) {
            return found;
        }
        self.0.asking.join(key.clone(), || self.find(&key)).await
    }

    #[cfg(test)]
    pub(super) fn asks_nothing(&self) -> bool {
        self.0.asking.is_empty()
    }

    /// Asks, and remembers.
    async fn find(&self, key: &Key) -> Found {
        let inner = &*self.0;
        // Somebody may have found it between the look into the cache and this.
        if let Some(found) = inner.cache.lock().get(key, Instant::now()) {
            return found;
        }
        let patience = inner.exchange.config.patience;
        let asked = timeout(patience, self.ask(key)).await.unwrap_or(Err(DnsError::Timeout));
        let (found, holds) = match asked {
            Ok((answer, ttl)) => {
                (Ok(Arc::new(answer)), Duration::from_secs(u64::from(ttl)).min(inner.exchange.config.longest))
            }
            Err(error) => (Err(error), FAILURE),
        };
        if !holds.is_zero() {
            inner.cache.lock().put(key.clone(), found.clone(), Instant::now() + holds);
        }
        found
    }

    /// Asks, and asks on where an alias leads.
    async fn ask(&self, (name, kind): &Key) -> Result<(Answer<Data>, u32), DnsError> {
        let mut name = name.clone();
        let (mut path, mut hops) = (Path::default(), Vec::new());
        loop {
            let mut reply = self.0.exchange.ask(&name, rtype(*kind)).await?;
            let before = hops.len();
            let mut said = reply::read(&reply.message, &name, *kind, &mut hops)?;
            if matches!(said, Said::Alias { .. }) && self.0.validator.is_some() {
                // There is no proof that the reply says all: it says more than was asked. Asked for the alias, it says all.
                hops.truncate(before);
                reply = self.0.exchange.ask(&name, Rtype::CNAME).await?;
                let target = reply::alias(&reply.message, &name, &mut hops)?.ok_or(DnsError::Broken)?;
                said = Said::Alias { target };
            }
            let (security, signed) = self.0.judge(reply).await?;
            path.add(hops.get(before..).unwrap_or_default(), security, signed);
            match said {
                Said::All { name, records, exists, ttl } => {
                    let ttl = path.ttl.min(ttl);
                    let expires = path.now.after(Duration::from_secs(u64::from(ttl)));
                    let (name, aliases) = (reply::text(&name), path.aliases);
                    let answer = Answer { name, records, exists, security: path.security, aliases, expires };
                    return Ok((answer, ttl));
                }
                Said::Alias { target } => name = target,
            }
        }
    }
}

impl Inner {
    /// What can be said of a reply, and for how many seconds its signatures hold.
    async fn judge(&self, reply: Reply) -> Result<(Security, Option<u32>), DnsError> {
        match (&self.validator, &self.exchange.config.validation) {
            (Some(validator), _) => validator.judge(reply.message).await,
            (None, Validation::TrustAd) if reply.server.ip().is_loopback() => {
                let signed = reply::signed_for(&reply.message, now().as_secs())?;
                Ok(if reply.message.header().ad() {
                    (Security::Secure, signed)
                } else {
                    (Security::Insecure, None)
                })
            }
            (None, _) => Ok((Security::Indeterminate, None)),
        }
    }
}

pub(super) fn now() -> Time {
    SystemTime::now().into()
}

/// What was learned on the way from a name over its aliases.
struct Path {
    now: Time,
    aliases: Vec<Alias>,
    security: Security,
    /// For how many seconds all of it holds.
    ttl: u32,
}

impl Default for Path {
    fn default() -> Self {
        Self { now: now(), aliases: Vec::new(), security: Security::Secure, ttl: u32::MAX }
    }
}

impl Path {
    fn add(&mut self, hops: &[Hop], security: Security, signed: Option<u32>) {
        let signed = signed.unwrap_or(u32::MAX);
        self.security = self.security.max(security);
        self.ttl = self.ttl.min(signed);
        for hop in hops {
            self.ttl = self.ttl.min(hop.ttl);
            self.aliases.push(Alias {
                owner: reply::text(&hop.owner),
                target: reply::text(&hop.target),
                security,
                expires: self.now.after(Duration::from_secs(u64::from(hop.ttl.min(signed)))),
            });
        }
    }
}

/// Names whose answers are known to everybody (RFC 6761 §6.3 and §6.4).
fn reserved(name: &Name, kind: Kind) -> Option<Answer<Data>> {
    let last = name.iter().rfind(|label| !label.is_root())?;
    let loopback = last.as_slice() == b"localhost";
    if !loopback && last.as_slice() != b"invalid" {
        return None;
    }
    let records = match kind {
        Kind::A if loopback => vec![Data::Address(IpAddr::V4(Ipv4Addr::LOCALHOST))],
        Kind::Aaaa if loopback => vec![Data::Address(IpAddr::V6(Ipv6Addr::LOCALHOST))],
        _ => Vec::new(),
    };
    Some(Answer {
        name: reply::text(name),
        records,
        exists: loopback,
        // There is no zone that could be signed.
        security: Security::Insecure,
        aliases: Vec::new(),
        expires: Time::NEVER,
    })
}

/// The answer with records of one type.
fn only<T>(answer: &Answer<Data>, of: impl Fn(&Data) -> Option<T>) -> Answer<T> {
    Answer {
        name: answer.name.clone(),
        records: answer.records.iter().filter_map(of).collect(),
        exists: answer.exists,
        security: answer.security,
        aliases: answer.aliases.clone(),
        expires: answer.expires,
    }
}
