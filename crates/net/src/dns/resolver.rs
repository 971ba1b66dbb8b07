//! Lookups: the cache before the servers, one question for many callers.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use nuncio_sansio::Entropy;
use parking_lot::Mutex;
use tokio::sync::OnceCell;
use tokio::time::{Instant, timeout};

use super::cache::Cache;
use super::exchange::Exchange;
use super::reply::{self, MOST_ALIASES, Said};
use super::{Answer, Data, DnsConfig, DnsError, Kind, Name, Security, Srv, in_order};
use crate::OsEntropy;

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
    exchange: Exchange,
    cache: Mutex<Cache>,
    asking: Mutex<HashMap<Key, Arc<OnceCell<Found>>>>,
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
        Self(Arc::new(Inner { exchange: Exchange::new(config, entropy), cache, asking: Mutex::default() }))
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
            Data::Srv(_) => None,
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
                }
                both.exists |= four.exists;
                both.security = both.security.min(four.security);
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
            Data::Address(_) => None,
        }))
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
        let flight = Flight::join(&self.0, key);
        flight.cell.get_or_init(|| self.find(&flight.key)).await.clone()
    }

    #[cfg(test)]
    pub(super) fn asks_nothing(&self) -> bool {
        self.0.asking.lock().is_empty()
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
        let config = &self.0.exchange.config;
        let (mut name, mut aliases, mut longest) = (name.clone(), MOST_ALIASES, u32::MAX);
        let mut security = Security::Secure;
        loop {
            let reply = self.0.exchange.ask(&name, *kind).await?;
            let vouched = config.trust_ad && reply.server.ip().is_loopback() && reply.message.header().ad();
            security = security.min(if vouched { Security::Secure } else { Security::Indeterminate });
            match reply::read(&reply.message, &name, *kind, &mut aliases)? {
                Said::All { name, records, exists, ttl } => {
                    let name = reply::text(&name);
                    return Ok((Answer { name, records, exists, security }, longest.min(ttl)));
                }
                Said::Alias { target, ttl } => (name, longest) = (target, longest.min(ttl)),
            }
        }
    }
}

/// A question that is being asked. The last caller who leaves, early or late, takes it away.
struct Flight<'a> {
    inner: &'a Inner,
    key: Key,
    cell: Arc<OnceCell<Found>>,
}

impl<'a> Flight<'a> {
    fn join(inner: &'a Inner, key: Key) -> Self {
        let cell = Arc::clone(inner.asking.lock().entry(key.clone()).or_default());
        Self { inner, key, cell }
    }
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        let mut asking = self.inner.asking.lock();
        // The map's own and this one: nobody else is there, and under the lock nobody joins.
        if Arc::strong_count(&self.cell) == 2 {
            asking.remove(&self.key);
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
    Some(Answer { name: reply::text(name), records, exists: loopback, security: Security::Indeterminate })
}

/// The answer with records of one type.
fn only<T>(answer: &Answer<Data>, of: impl Fn(&Data) -> Option<T>) -> Answer<T> {
    Answer {
        name: answer.name.clone(),
        records: answer.records.iter().filter_map(of).collect(),
        exists: answer.exists,
        security: answer.security,
    }
}
