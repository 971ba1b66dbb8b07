//! Relays that run beside a test, and who may log in there.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nuncio_dna::Policy;
use nuncio_endpoint::RelayAccount;
use nuncio_msrp::Uri;
use nuncio_net::tls::{HostFiles, Peers, TlsHosts, TlsSettings};
use nuncio_net::{Budget, BudgetLimits, Clock, Listener, NetMetrics, OsEntropy};
use nuncio_relay::{Account, Accounts, Boxed, Holder, Parts, Relay, RelayConfig};
use tokio::sync::watch;

use crate::common::{Authority, soon};

/// What endpoints call every relay here: the only name that all systems look up.
pub(crate) const NEAR: &str = "localhost";

/// A user of the relay.
#[derive(Clone)]
struct User {
    account: String,
    password: String,
    until: Option<Instant>,
    allowed: bool,
}

/// Who may log in, and who has tried.
pub(crate) struct Known {
    users: Mutex<BTreeMap<String, User>>,
    asked: Mutex<Vec<String>>,
    count: watch::Sender<usize>,
}

impl Known {
    fn new() -> Self {
        let known =
            Self { users: Mutex::default(), asked: Mutex::default(), count: watch::Sender::default() };
        for user in ["alice", "bob", "carol"] {
            known.set(user, user, &format!("secret of {user}"), None);
        }
        known
    }

    /// From now on this is the user's account and password, good for so long if that is said.
    pub(crate) fn set(&self, user: &str, account: &str, password: &str, good: Option<Duration>) {
        let until = good.map(|good| Instant::now() + good);
        let known = User { account: account.to_owned(), password: password.to_owned(), until, allowed: true };
        self.users.lock().expect("a lock").insert(user.to_owned(), known);
    }

    /// From now on this user may not use the relay.
    pub(crate) fn forbid(&self, user: &str) {
        if let Some(user) = self.users.lock().expect("a lock").get_mut(user) {
            user.allowed = false;
        }
    }

    /// From now on there is no such user.
    pub(crate) fn remove(&self, user: &str) {
        self.users.lock().expect("a lock").remove(user);
    }

    /// Whose credentials have come, one after the other.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("a lock").clone()
    }

    /// Waits until credentials of this user have come so many times.
    pub(crate) async fn asked_times(&self, user: &str, times: usize) {
        let mut count = self.count.subscribe();
        let enough = |_: &usize| self.asked().iter().filter(|asked| *asked == user).count() >= times;
        soon(count.wait_for(enough)).await.expect("it is counted");
    }
}

impl Accounts for Known {
    fn by_name<'a>(&'a self, username: &'a str, _peer: IpAddr) -> Boxed<'a, Option<Account>> {
        self.asked.lock().expect("a lock").push(username.to_owned());
        self.count.send_modify(|count| *count += 1);
        let known = self.users.lock().expect("a lock").get(username).cloned();
        let now = Instant::now();
        let account = known.filter(|user| user.until.is_none_or(|until| until > now)).map(|user| Account {
            holder: Holder::new(&user.account, 0),
            password: user.password.into(),
            allowed: user.allowed,
            seconds: user
                .until
                .and_then(|until| u32::try_from((until - now).as_millis().div_ceil(1_000)).ok()),
        });
        Box::pin(async move { account })
    }

    fn by_certificate<'a>(&'a self, _addresses: &'a [String]) -> Boxed<'a, Option<Account>> {
        Box::pin(async { None })
    }

    fn may<'a>(&'a self, _holder: &'a Holder) -> Boxed<'a, Option<bool>> {
        Box::pin(async { Some(true) })
    }

    fn failed(&self, _username: &str, _peer: IpAddr) {}
}

/// A name's certificates, and the port where the relay will be.
pub(crate) struct Begun {
    name: String,
    authority: Authority,
    listener: Listener,
    net: Arc<NetMetrics>,
}

/// A relay that runs.
pub(crate) struct Stage {
    pub(crate) accounts: Arc<Known>,
    pub(crate) authority: Authority,
    pub(crate) port: u16,
    pub(crate) relay: Arc<Relay>,
    accepting: tokio::task::AbortHandle,
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Begun {
    pub(crate) fn new(name: &str) -> Self {
        let net = Arc::new(NetMetrics::default());
        let budget = Budget::new(BudgetLimits::default(), Arc::clone(&net));
        let any = "127.0.0.1:0".parse().expect("an address");
        let listener = Listener::bind("msrp", &[any], 64, budget).expect("a port");
        Self { name: name.to_owned(), authority: Authority::new(name), listener, net }
    }

    fn port(&self) -> u16 {
        self.listener.addresses()[0].port()
    }

    /// Settings by which it knows where others are.
    pub(crate) fn config(&self, others: &[&Self]) -> RelayConfig {
        let mut config = RelayConfig::new(&self.name, self.port());
        if self.name != NEAR {
            config.others = vec![NEAR.to_owned()];
        }
        config.networks = vec![("127.0.0.0".parse().expect("an address"), 8)];
        config.hosts = others.iter().map(|it| (it.name.clone(), it.listener.addresses()[0])).collect();
        config
    }

    /// Believes the authorities of others.
    pub(crate) fn policy(others: &[&Self]) -> Policy {
        let mut policy = Policy::default();
        for other in others {
            let anchor = other.authority.roots().certificates().expect("an authority").remove(0);
            policy.trust.add_anchor(&anchor).expect("an anchor");
        }
        policy
    }

    pub(crate) fn start(self, config: RelayConfig, policy: Policy) -> Stage {
        let port = self.port();
        let settings = TlsSettings {
            hosts: vec![HostFiles {
                domain: self.name.clone(),
                pairs: vec![self.authority.pair()],
                ..HostFiles::default()
            }],
            default: Some(self.name),
            peers: Peers::Relays,
            ..TlsSettings::default()
        };
        let (tls, _warnings) = TlsHosts::load(settings).expect("certificates");
        let accounts = Arc::new(Known::new());
        let relay = Relay::start(Parts {
            config,
            accounts: Arc::clone(&accounts) as Arc<dyn Accounts>,
            tls: Arc::new(tls),
            collector: None,
            policy,
            entropy: Arc::new(OsEntropy),
            clock: Clock::start(),
            net: self.net,
        })
        .expect("a relay");
        let accepting = tokio::spawn(Arc::clone(&relay).accept(self.listener)).abort_handle();
        Stage { accounts, authority: self.authority, port, relay, accepting }
    }

    /// One relay alone, with these settings.
    pub(crate) fn alone(settings: impl FnOnce(&mut RelayConfig)) -> Stage {
        let begun = Self::new(NEAR);
        let mut config = begun.config(&[]);
        settings(&mut config);
        begun.start(config, Self::policy(&[]))
    }
}

impl Stage {
    /// The relay, as it is configured by those who use it.
    pub(crate) fn uri(&self) -> String {
        format!("msrps://{NEAR}:{};tcp", self.port)
    }

    /// Its URI by another name.
    pub(crate) fn named(&self, name: &str) -> Uri {
        Uri::parse(&format!("msrps://{name}:{};tcp", self.port)).expect("a URI")
    }

    /// The account of a user there.
    pub(crate) fn account(&self, user: &str) -> RelayAccount {
        RelayAccount {
            relay: self.named(NEAR),
            username: user.to_owned(),
            password: format!("secret of {user}").into(),
            expires: None,
            md5: false,
        }
    }
}
