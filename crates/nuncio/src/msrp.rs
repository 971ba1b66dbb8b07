//! The MSRP relay as the configuration wants it, on the server's own accounts.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use nuncio_dna::Policy;
use nuncio_extensions::external_services::{self, Named};
use nuncio_net::tls::{HostFiles, PairFiles, Peers, TlsSettings};
use nuncio_net::{Clock, Collector, Listener, NetMetrics, OsEntropy, Rate, TlsHosts};
use nuncio_relay::{
    Account, Accounts, Algorithm, Bounds, Boxed, Expires, Holder, Parts, Relay, RelayConfig, SealKeys,
};
use nuncio_router::Router;
use nuncio_router::store::Fault;
use nuncio_sansio::Entropy as _;
use nuncio_xmpp::jid::BareJid;
use zeroize::Zeroizing;

use crate::config::Config;
use crate::config::msrp::Hash;

/// The relay and its certificates.
#[derive(Clone)]
pub(crate) struct Running {
    pub(crate) relay: Arc<Relay>,
    pub(crate) tls: Arc<TlsHosts>,
}

/// A name of the configuration, as A-labels.
fn alabels(name: &str) -> anyhow::Result<String> {
    nuncio_xmpp::jid::to_ascii(name).with_context(|| format!("`{name}` has no form for DNS and TLS"))
}

/// The host in the relay's URIs, and the other names that it goes by.
fn names(config: &Config) -> anyhow::Result<(String, Vec<String>)> {
    let mut all = Vec::new();
    for name in config.msrp.host.iter().chain(config.domain.iter().map(|domain| &domain.name)) {
        let name = alabels(name)?;
        if !all.contains(&name) {
            all.push(name);
        }
    }
    let first = if all.is_empty() { "localhost".to_owned() } else { all.remove(0) };
    Ok((first, all))
}

/// Whether there is a relay.
pub(crate) fn is_on(config: &Config) -> bool {
    config.msrp.enabled && config.listen.msrp.as_ref().is_none_or(|addresses| !addresses.is_empty())
}

/// The host of the relay if the local authority has to vouch for it.
pub(crate) fn of_local_authority(config: &Config) -> Option<&str> {
    let host = config.msrp.host.as_deref().filter(|_| is_on(config))?;
    let known = config.domain.iter().any(|domain| domain.name == host);
    (!known && config.msrp.certificate.is_none()).then_some(host)
}

/// The certificates, as they are shown to clients and relays and asked of them. `local` is the local authority's.
pub(crate) fn tls_settings(
    config: &Config,
    clients: &TlsSettings,
    local: Option<&PairFiles>,
) -> anyhow::Result<TlsSettings> {
    let mut settings = TlsSettings { peers: Peers::Relays, ..clients.clone() };
    let (host, _) = names(config)?;
    let pair = match (&config.msrp.certificate, &config.msrp.key, local) {
        (Some(chain), Some(key), _) => PairFiles { chain: chain.clone(), key: key.clone() },
        (_, _, Some(local)) if of_local_authority(config).is_some() => local.clone(),
        _ => return Ok(settings),
    };
    settings.hosts.retain(|known| known.domain != host);
    settings.hosts.push(HostFiles { domain: host, pairs: vec![pair], ..HostFiles::default() });
    settings.default = settings.hosts.last().map(|host| host.domain.clone());
    Ok(settings)
}

/// What other relays and next hops must prove: what other servers must, by the authorities of `[msrp]` if there are any.
pub(crate) fn policy(config: &Config) -> anyhow::Result<Policy> {
    let mut config = config.clone();
    if !config.msrp.authorities.is_empty() {
        config.federation.authorities = std::mem::take(&mut config.msrp.authorities);
    }
    crate::federation::policy(&config).context("msrp")
}

/// The relay's settings.
pub(crate) fn settings(config: &Config, port: u16, websocket: Option<u16>) -> anyhow::Result<RelayConfig> {
    let msrp = &config.msrp;
    let (host, others) = names(config)?;
    let mut networks = Vec::new();
    for network in &msrp.allow_networks {
        networks.push(crate::federation::parse_network(network)?);
    }
    if config.is_local() {
        networks.push((IpAddr::V4(Ipv4Addr::new(127, 0, 0, 0)), 8));
        networks.push((IpAddr::V6(Ipv6Addr::LOCALHOST), 128));
    }
    let mut relays = Vec::new();
    for relay in &msrp.relays {
        relays.push(relay.parse().map_err(|why| anyhow::anyhow!("msrp.relays: `{relay}`: {why}"))?);
    }
    let rate = u64::from(msrp.bytes_per_second);
    let algorithm = |hash: &Hash| match hash {
        Hash::Sha256 => Algorithm::Sha256,
        Hash::Md5 => Algorithm::Md5,
    };
    Ok(RelayConfig {
        others,
        websocket: websocket.map(|port| msrp.websocket_port.unwrap_or(port)),
        algorithms: msrp.algorithms.iter().map(algorithm).collect(),
        expires: Expires {
            least: msrp.expires_least,
            // Clients that name no time do not renew either (AG Projects' msrplib): theirs is as long as their credentials.
            default: msrp.expires_default.unwrap_or(msrp.expires_most),
            most: msrp.expires_most,
        },
        bounds: Bounds {
            uris_per_account: msrp.uris_per_account,
            connects_per_account: msrp.connects_per_account,
            connects_per_host: msrp.connects_per_host,
            links_per_account: msrp.connections_per_account,
            ..Bounds::default()
        },
        idle_own: Duration::from_secs(msrp.idle_seconds),
        idle_foreign: Duration::from_secs(msrp.peer_idle_seconds),
        failures: config.limits.failed_logins_per_stream,
        handshake: Duration::from_secs(config.timeouts.login_seconds),
        write: Duration::from_secs(config.timeouts.write_seconds),
        close: Duration::from_secs(config.timeouts.close_seconds),
        rate: Rate { per_second: rate, burst: rate.max(65_536) },
        lane: msrp.buffer_bytes,
        waiting: msrp.buffers_bytes,
        patience: Duration::from_secs(msrp.hold_seconds),
        outgoing: msrp.connections_out,
        relays,
        clear: msrp.clear,
        hosts: msrp.hosts.clone(),
        networks,
        ..RelayConfig::new(&host, msrp.port.unwrap_or(port))
    })
}

/// What the relay is started with.
pub(crate) struct Needs<'a> {
    pub(crate) config: &'a Config,
    pub(crate) router: &'a Arc<Router>,
    pub(crate) tls: TlsSettings,
    pub(crate) collector: Option<Collector>,
    pub(crate) clock: Clock,
    pub(crate) net: &'a Arc<NetMetrics>,
    pub(crate) listener: &'a Listener,
    pub(crate) websocket: &'a Listener,
}

/// Starts the relay, and tells the router of it.
pub(crate) fn start(needs: Needs<'_>) -> anyhow::Result<Running> {
    let Needs { config, router, tls, collector, clock, net, listener, websocket } = needs;
    let (tls, _) = TlsHosts::load(tls).context("certificates")?;
    let tls = Arc::new(tls);
    let port_of = |listener: &Listener| listener.addresses().first().map(std::net::SocketAddr::port);
    let port = port_of(listener).unwrap_or(2855);
    let mut settings = settings(config, port, port_of(websocket))?;
    let secret = router.secret_for("sealed URIs of the MSRP relay");
    settings.seal =
        <[u8; 32]>::try_from(&secret[..]).ok().and_then(|key| SealKeys::new([&key])).map(Arc::new);
    let host = settings.host.clone();
    let ports = std::iter::once((settings.port, "tcp")).chain(settings.websocket.map(|port| (port, "ws")));
    let ports = ports.collect();
    let relay = Relay::start(Parts {
        config: settings,
        accounts: Arc::new(Ours(Arc::clone(router))),
        tls: Arc::clone(&tls),
        collector,
        policy: policy(config)?,
        entropy: Arc::new(OsEntropy),
        clock,
        net: Arc::clone(net),
    })
    .context("msrp.host")?;
    let known = Arc::downgrade(&relay);
    router.runs_beside(Arc::new(external_services::Relay {
        host,
        ports,
        good: Duration::from_secs(config.msrp.credentials_seconds.into()),
        end: Box::new(move |account| known.upgrade().map_or(0, |relay| relay.end(account.as_str()))),
    }));
    Ok(Running { relay, tls })
}

/// The server's accounts.
struct Ours(Arc<Router>);

impl Ours {
    /// An account as it is now, and whether it may use the relay; none if there is none.
    async fn holder(&self, account: &BareJid) -> Result<Option<(Holder, bool)>, Fault> {
        let router = &self.0;
        let found = async {
            // In this order: an account that is made anew or disabled in between is found with the generation that has just begun.
            let known = router.account(account).await?.filter(|known| !known.deleting);
            let generation = router.generation(account).await?;
            Ok(known.map(|known| (Holder::new(account.as_str(), generation), !known.disabled)))
        };
        found.await.inspect_err(|fault| {
            tracing::error!(%account, %fault, "the store failed where the MSRP relay asked for an account");
        })
    }
}

impl Accounts for Ours {
    fn by_name<'a>(&'a self, username: &'a str, peer: IpAddr) -> Boxed<'a, Option<Account>> {
        Box::pin(async move {
            let named = Named::read(username)?;
            if self.0.is_throttled(peer) {
                tracing::info!(account = %named.account, %peer, "a login at the MSRP relay was refused: too many failures");
                return None;
            }
            let left = named.expires.saturating_sub(self.0.now().as_second());
            let seconds = u32::try_from(left).ok().filter(|left| *left > 0)?;
            let (holder, allowed) = self.holder(&named.account).await.ok()??;
            let password = Zeroizing::new(named.pass(&self.0, holder.generation).password);
            Some(Account { holder, password, allowed, seconds: Some(seconds) })
        })
    }

    fn by_certificate<'a>(&'a self, addresses: &'a [String]) -> Boxed<'a, Option<Account>> {
        Box::pin(async move {
            let mut ours = Vec::new();
            for address in addresses.iter().filter_map(|address| BareJid::new(address).ok()) {
                if address.local().is_some() && !ours.contains(&address) {
                    ours.push(address);
                }
            }
            // Of several nobody can say which is meant: AUTH names none.
            let [account] = ours.as_slice() else { return None };
            let (holder, allowed) = self.holder(account).await.ok()??;
            // Nobody can know it, and nobody is asked for it.
            let password = Zeroizing::new(OsEntropy.token());
            Some(Account { holder, password, allowed, seconds: None })
        })
    }

    fn may<'a>(&'a self, holder: &'a Holder) -> Boxed<'a, Option<bool>> {
        Box::pin(async move {
            let Ok(account) = BareJid::new(&holder.name) else { return Some(false) };
            let found = self.holder(&account).await.ok()?;
            Some(found.is_some_and(|(now, allowed)| allowed && now == *holder))
        })
    }

    fn failed(&self, _username: &str, peer: IpAddr) {
        // By address alone: nobody guesses what is made of 256 bits, and a count for each account would let anybody shut its owner out.
        self.0.login_failed(peer);
    }
}
