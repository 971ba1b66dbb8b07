//! The router: everything that a connection, a command or an extension starts from.

use std::any::{Any, TypeId};
use std::hash::BuildHasher as _;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use hashbrown::{DefaultHashBuilder, HashMap};
use jiff::Timestamp;
use nuncio_sansio::Entropy;
use nuncio_store::{Fault, Log, Store, Table, Ticket};
use nuncio_xmpp::jid::{BareJid, Jid};
use parking_lot::Mutex;
use tokio::sync::Notify;
use zeroize::Zeroizing;

use crate::accounts;
use crate::clock::Clock;
use crate::config::{DomainConfig, RouterConfig};
use crate::elsewhere::Elsewhere;
use crate::host::{ConfigError, Extension, Host, Points};
use crate::lane::{AccountState, Lane, Step, Stepped};
use crate::limits::Throttle;
use crate::metrics::RouterMetrics;
use crate::points::{Cx, Judge, Question};
use crate::request::Requests;
use crate::roster;
use crate::session::{Session, SessionId};

/// What a router is made of.
pub struct Parts<'a> {
    /// Its configuration.
    pub config: RouterConfig,
    /// Where everything is kept.
    pub store: Store,
    /// Where ids and salts come from.
    pub entropy: Arc<dyn Entropy>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// Every extension there is; the configuration says which are on.
    pub extensions: &'a [Extension],
}

/// Why a router could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An extension or its configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The store.
    #[error(transparent)]
    Store(#[from] Fault),
    /// No domain is configured.
    #[error("no domain is configured; name at least one")]
    NoDomain,
}

/// Shapes of the core.
pub(crate) struct Shapes {
    pub(crate) accounts: Table,
    pub(crate) credentials: Table,
    pub(crate) offline: Log,
}

const SHARDS: usize = 64;

/// How long an account is kept in memory at least after it was needed last: far longer than a commit takes, so that what
/// is read next is what was written.
const IDLE: Duration = Duration::from_secs(60);

#[derive(Default)]
struct Shard {
    lanes: Mutex<HashMap<BareJid, Arc<Lane>>>,
    /// One account of a shard is loaded at a time, so that none is loaded twice.
    loading: tokio::sync::Mutex<()>,
}

/// The router.
pub struct Router {
    config: RouterConfig,
    store: Store,
    shapes: Shapes,
    points: Points,
    metrics: RouterMetrics,
    entropy: Arc<dyn Entropy>,
    clock: Arc<dyn Clock>,
    shards: Vec<Shard>,
    hasher: DefaultHashBuilder,
    /// What unknown users' salts are made from; outlives restarts.
    pub(crate) secret: Vec<u8>,
    pub(crate) throttle: Throttle,
    requests: Requests,
    /// Sessions that can be resumed, by the id of XEP-0198.
    pub(crate) resumable: Mutex<HashMap<String, Arc<Session>>>,
    numbers: AtomicU64,
    pub(crate) closing: AtomicBool,
    /// Tells connections that have no session yet.
    pub(crate) stopping: tokio::sync::watch::Sender<bool>,
    /// Work that goes on beside the streams, so that a stop can wait for it.
    busy: AtomicUsize,
    idle: Notify,
    /// Who carries stanzas to other domains.
    pub(crate) elsewhere: OnceLock<Weak<dyn Elsewhere>>,
    /// What runs beside the router and extensions know of.
    beside: Mutex<HashMap<TypeId, Arc<dyn Any + Send + Sync>>>,
}

/// Counts work that goes on beside the streams.
pub(crate) struct Busy(Arc<Router>);

impl Drop for Busy {
    fn drop(&mut self) {
        if self.0.busy.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.idle.notify_waiters();
        }
    }
}

fn core() -> [Extension; 1] {
    fn plug(host: &mut Host<'_>) -> Result<(), ConfigError> {
        host.table("accounts")?;
        host.table("credentials")?;
        host.table("server")?;
        host.table("elsewhere")?;
        host.log("offline")?;
        crate::commands::plug(host)?;
        crate::refuse::plug(host);
        roster::plug(host)
    }
    [Extension { name: "core", xeps: &[], needs: &[], default_on: true, plug }]
}

impl Router {
    /// Starts the router: plugs the extensions and finishes what a dead process left undone.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start(parts: Parts<'_>) -> Result<Arc<Self>, StartError> {
        let Parts { config, store, entropy, clock, extensions } = parts;
        if config.domains.is_empty() {
            return Err(StartError::NoDomain);
        }
        let points = Points::build(&core(), extensions, &config, &store)?;
        let shapes = Shapes {
            accounts: store.table("accounts"),
            credentials: store.table("credentials"),
            offline: store.log("offline"),
        };
        let secret = accounts::secret(&store.table("server"), &*entropy).await?;
        let limits = &config.limits;
        let throttle = Throttle::new(limits.failed_logins_per_account, limits.failed_logins_per_address);
        let router = Arc::new(Self {
            throttle,
            requests: Requests::new(),
            config,
            store,
            shapes,
            points,
            metrics: RouterMetrics::default(),
            entropy,
            clock,
            shards: std::iter::repeat_with(Shard::default).take(SHARDS).collect(),
            hasher: DefaultHashBuilder::default(),
            secret,
            resumable: Mutex::new(HashMap::new()),
            numbers: AtomicU64::new(0),
            closing: AtomicBool::new(false),
            stopping: tokio::sync::watch::Sender::new(false),
            busy: AtomicUsize::new(0),
            idle: Notify::new(),
            elsewhere: OnceLock::new(),
            beside: Mutex::default(),
        });
        router.finish_deletions().await?;
        Ok(router)
    }

    /// The configuration.
    pub const fn config(&self) -> &RouterConfig {
        &self.config
    }

    /// The store.
    pub const fn store(&self) -> &Store {
        &self.store
    }

    pub(crate) const fn shapes(&self) -> &Shapes {
        &self.shapes
    }

    /// What is plugged in.
    pub const fn points(&self) -> &Points {
        &self.points
    }

    /// The metrics.
    pub const fn metrics(&self) -> &RouterMetrics {
        &self.metrics
    }

    /// The server's own requests that wait for their answers.
    pub(crate) const fn requests(&self) -> &Requests {
        &self.requests
    }

    /// Where ids come from.
    pub fn entropy(&self) -> &dyn Entropy {
        &*self.entropy
    }

    /// What time it is.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// A secret of the server for one purpose: it outlives restarts, and tells nothing of those for others.
    pub fn secret_for(&self, purpose: &str) -> Zeroizing<Vec<u8>> {
        nuncio_stream::sasl::Hash::Sha256.hmac(&self.secret, &[b"purpose ", purpose.as_bytes()])
    }

    /// Tells extensions of something that runs beside the router; one of each type, the last.
    pub fn runs_beside<T: Any + Send + Sync>(&self, it: Arc<T>) {
        self.beside.lock().insert(TypeId::of::<T>(), it);
    }

    /// What runs beside the router, if it does.
    pub fn beside<T: Any + Send + Sync>(&self) -> Option<Arc<T>> {
        let it = self.beside.lock().get(&TypeId::of::<T>()).cloned()?;
        it.downcast().ok()
    }

    /// What extensions are given.
    pub fn cx(self: &Arc<Self>) -> Cx<'_> {
        Cx { router: self, now: self.now() }
    }

    /// The served domain of this name.
    pub fn domain(&self, name: &str) -> Option<&DomainConfig> {
        self.config.domains.iter().find(|domain| domain.name == name)
    }

    /// Whether an account may use the administrators' commands.
    pub fn is_admin(&self, account: &BareJid) -> bool {
        self.config.domains.iter().any(|domain| domain.admins.contains(account))
    }

    /// The joined answer of all judges of a question.
    pub fn judge<Q: Question>(self: &Arc<Self>, about: &Q::About<'_>) -> Q::Answer {
        self.points.judge::<Q>(&self.cx(), about)
    }

    pub(crate) fn number(&self) -> SessionId {
        SessionId(self.numbers.fetch_add(1, Ordering::Relaxed) + 1)
    }

    fn shard(&self, of: &str) -> &Shard {
        // The hash is cut on purpose: it only picks a shard.
        #[expect(clippy::cast_possible_truncation, reason = "only the low bits pick the shard")]
        let place = self.hasher.hash_one(of) as usize % SHARDS;
        &self.shards[place]
    }

    /// The account's lane, loaded if it is not in memory; none if there is no such account.
    ///
    /// # Errors
    /// The store failed.
    pub async fn lane(self: &Arc<Self>, of: &BareJid) -> Result<Option<Arc<Lane>>, Fault> {
        let shard = self.shard(of.as_str());
        if let Some(lane) = shard.lanes.lock().get(of) {
            return Ok(Some(Arc::clone(lane)));
        }
        if of.local().is_none() || self.domain(of.domain()).is_none() {
            return Ok(None);
        }
        let _one = shard.loading.lock().await;
        if let Some(lane) = shard.lanes.lock().get(of) {
            return Ok(Some(Arc::clone(lane)));
        }
        let Some(state) = self.load(of).await? else {
            return Ok(None);
        };
        let lane = Lane::new(state);
        let mut lanes = shard.lanes.lock();
        if lanes.len() >= (self.config.limits.idle_accounts / SHARDS).max(1) {
            // An Arc is only ever taken under this lock, so nobody else can have one of those that go.
            lanes.retain(|_, lane| Arc::strong_count(lane) > 1 || !lane.is_idle_for(IDLE));
        }
        lanes.insert(of.clone(), Arc::clone(&lane));
        drop(lanes);
        self.metrics.accounts_in_memory.set(self.lanes_count());
        Ok(Some(lane))
    }

    async fn load(self: &Arc<Self>, of: &BareJid) -> Result<Option<AccountState>, Fault> {
        let Some(found) = self.everything(of).await?.filter(|found| !found.account.deleting) else {
            return Ok(None);
        };
        let waiting = usize::try_from(found.waiting).unwrap_or(usize::MAX);
        let mut state = AccountState::new(of.clone(), found.roster, found.account.disabled, waiting);
        for (index, value) in found.loaded {
            state.slots.set(index, value);
        }
        Ok(Some(state))
    }

    /// The lane of an address's account if it is in memory.
    pub(crate) fn lane_of(&self, to: &Jid) -> Option<Arc<Lane>> {
        let bare = to.bare_str();
        self.shard(bare).lanes.lock().get(bare).map(Arc::clone)
    }

    /// The lane if the account is in memory.
    pub fn lane_in_memory(&self, of: &BareJid) -> Option<Arc<Lane>> {
        self.shard(of.as_str()).lanes.lock().get(of).map(Arc::clone)
    }

    /// All lanes in memory.
    pub(crate) fn lanes(&self) -> Vec<Arc<Lane>> {
        self.shards
            .iter()
            .flat_map(|shard| shard.lanes.lock().values().cloned().collect::<Vec<_>>())
            .collect()
    }

    fn lanes_count(&self) -> i64 {
        let count: usize = self.shards.iter().map(|shard| shard.lanes.lock().len()).sum();
        i64::try_from(count).unwrap_or(i64::MAX)
    }

    /// Takes a deleted account out of the memory.
    pub(crate) fn unload(&self, of: &BareJid) {
        self.shard(of.as_str()).lanes.lock().remove(of);
    }

    /// One step in an account's lane; what it sends is routed before this returns. None if there is no such account.
    ///
    /// # Errors
    /// The account could not be loaded.
    pub async fn step<R>(
        self: &Arc<Self>,
        of: &BareJid,
        work: impl FnOnce(&mut Step<'_>) -> R + Send,
    ) -> Result<Option<Stepped<R>>, Fault>
    where
        R: Send,
    {
        let Some(lane) = self.lane(of).await? else {
            return Ok(None);
        };
        // A deleted account writes nothing more: its rows are being dropped.
        let stepped = lane.step(self, |step| (!step.account.gone).then(|| work(step)));
        let Stepped { value, ticket, posted } = stepped;
        if posted {
            self.route_outbox(&lane).await;
        }
        let Some(value) = value else { return Ok(None) };
        Ok(Some(Stepped { value, ticket: Ticket::join([ticket, lane.written()]), posted: false }))
    }

    /// Does something beside the streams. A stop waits for it.
    pub fn spawn(self: &Arc<Self>, work: impl Future<Output = ()> + Send + 'static) {
        self.busy.fetch_add(1, Ordering::AcqRel);
        let busy = Busy(Arc::clone(self));
        tokio::spawn(async move {
            work.await;
            drop(busy);
        });
    }

    /// Resolves once nothing goes on beside the streams.
    pub async fn quiet(&self) {
        loop {
            let idle = self.idle.notified();
            let mut idle = std::pin::pin!(idle);
            idle.as_mut().enable();
            if self.busy.load(Ordering::Acquire) == 0 {
                return;
            }
            idle.await;
        }
    }
}

/// A judge made of a function.
impl<Q: Question, F> Judge<Q> for F
where
    F: Fn(&Cx<'_>, &Q::About<'_>) -> Q::Answer + Send + Sync + 'static,
{
    fn judge(&self, cx: &Cx<'_>, about: &Q::About<'_>) -> Q::Answer {
        self(cx, about)
    }
}
