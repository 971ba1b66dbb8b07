//! `nuncio serve`: puts the rooms together and runs them until told to stop.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use nuncio_federation::Federation;
use nuncio_net::http::{HttpLimits, HttpServer, Reply, Routes};
use nuncio_net::tls::{HostFiles, PairFiles, TlsSettings};
use nuncio_net::{
    Budget, BudgetLimits, Clock, Incoming, Listener, NetMetrics, Options, OsEntropy, Rate, RateLimit,
    Security, Settings, TlsHosts, ca,
};
use nuncio_router::Router;
use nuncio_router::host::Points;
use nuncio_stream::c2s::{C2s, C2sConfig, Idle, Start};
use prometheus_client::registry::Registry;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinSet;

use crate::config::{Config, Domain, Limits};
use crate::host::Client;
use crate::logging::LevelHandle;
use crate::operate::Operator;
use crate::place;
use crate::{control, federation, msrp};

/// How long a stop may take before what is left is cut off.
const STOP: Duration = Duration::from_secs(30);

/// What to do where a domain has no certificate of the operator's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Local {
    /// The local authority makes one, if need be after it was made itself.
    Make,
    /// The one that the local authority has made is used; nothing is written. A domain for which there is none has none.
    Find,
}

/// Certificates: the operator's where they are named, the local authority's elsewhere.
pub(crate) fn tls_settings(
    config: &Config,
    local: Local,
) -> anyhow::Result<(TlsSettings, Option<ca::LocalCa>)> {
    let mut own = Vec::new();
    for domain in config.domain.iter().filter(|domain| domain.certificate.is_none()) {
        own.push(alabels(&domain.name)?);
    }
    if !own.is_empty()
        && let Some(host) = msrp::of_local_authority(config)
    {
        own.push(alabels(host)?);
    }
    let folder = config.data.join("tls");
    let local = match local {
        _ if own.is_empty() => Ok(None),
        Local::Make => ca::local(&folder, &own).map(Some),
        Local::Find => ca::find(&folder, &own),
    };
    let local = local.context("the local certificate authority")?;
    let mut settings =
        TlsSettings { client_roots: config.tls.client_authorities.clone(), ..TlsSettings::default() };
    for domain in &config.domain {
        let (chain, key) = match (&domain.certificate, &domain.key, &local) {
            (Some(chain), Some(key), _) => (chain, key),
            (_, _, Some(local)) => (&local.chain, &local.key),
            _ => continue,
        };
        let host = host_files(domain, chain, key)?;
        settings.hosts.push(HostFiles {
            request_client_certificate: !config.tls.client_authorities.is_empty(),
            ..host
        });
    }
    settings.default = settings.hosts.first().map(|host| host.domain.clone());
    Ok((settings, local))
}

/// The certificates of the MSRP relay.
pub(crate) fn msrp_tls(
    config: &Config,
    settings: &TlsSettings,
    local: Option<&ca::LocalCa>,
) -> anyhow::Result<TlsSettings> {
    let pair = local.map(|local| PairFiles { chain: local.chain.clone(), key: local.key.clone() });
    msrp::tls_settings(config, settings, pair.as_ref())
}

/// A domain, with this certificate.
pub(crate) fn host_files(domain: &Domain, chain: &Path, key: &Path) -> anyhow::Result<HostFiles> {
    Ok(HostFiles {
        domain: alabels(&domain.name)?,
        other_names: domain.hosted,
        aliases: if domain.name.is_ascii() { Vec::new() } else { vec![domain.name.clone()] },
        pairs: vec![PairFiles { chain: chain.to_owned(), key: key.to_owned() }],
        request_client_certificate: false,
    })
}

fn alabels(name: &str) -> anyhow::Result<String> {
    nuncio_xmpp::jid::to_ascii(name).with_context(|| format!("domain `{name}` has no form for DNS and TLS"))
}

/// The addresses of a listener: those configured, else the default port, on loopback if only `localhost` is served; and whether it is the default.
pub(crate) fn addresses(
    configured: Option<&Vec<SocketAddr>>,
    port: u16,
    local: bool,
) -> (Vec<SocketAddr>, bool) {
    if let Some(addresses) = configured {
        return (addresses.clone(), false);
    }
    let ips = if local {
        [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)]
    } else {
        [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)]
    };
    (ips.iter().map(|ip| SocketAddr::new(*ip, port)).collect(), true)
}

/// Binds a listener. Of default addresses those of a family that the machine lacks are left out.
fn bind(
    kind: &'static str,
    configured: Option<&Vec<SocketAddr>>,
    port: u16,
    local: bool,
    budget: &Budget,
) -> anyhow::Result<Listener> {
    let (mut wanted, implied) = addresses(configured, port, local);
    if implied {
        wanted.retain(|address| std::net::UdpSocket::bind((address.ip(), 0)).is_ok());
    }
    Listener::bind(kind, &wanted, 1024, budget.clone())
        .with_context(|| format!("listen.{kind}: take another address or port, or stop what uses it"))
}

fn stream_config(config: &Config, points: &Points) -> C2sConfig {
    let limits = &config.limits;
    C2sConfig {
        before: limits.before(),
        after: limits.after(),
        negotiation: Duration::from_secs(config.timeouts.login_seconds),
        closing: Duration::from_secs(config.timeouts.close_seconds),
        tries: u8::try_from(limits.failed_logins_per_stream).unwrap_or(5),
        idle: Some(idle(Duration::from_secs(config.timeouts.idle_seconds))),
        nonzas: points.nonzas(),
        stream_management: points.xeps().iter().any(|(_, xep)| xep.number == 198),
        ..C2sConfig::default()
    }
}

/// Whoever is asked sooner has no longer to answer than he may be silent.
fn idle(after: Duration) -> Idle {
    Idle { after, answer_within: Idle::default().answer_within.min(after) }
}

fn budget_limits(limits: &Limits) -> BudgetLimits {
    BudgetLimits {
        total: limits.connections as usize,
        per_network: limits.connections_per_address as usize,
        unauthenticated_per_network: limits.unauthenticated_per_address as usize,
        rate_per_network: Rate {
            per_second: limits.connects_per_second.into(),
            burst: u64::from(limits.connects_per_second) * 4,
        },
        ..BudgetLimits::default()
    }
}

/// What every client connection shares.
struct Door {
    router: Arc<Router>,
    tls: Arc<TlsHosts>,
    stream: Arc<C2sConfig>,
    entropy: Arc<OsEntropy>,
    settings: Arc<Settings>,
}

impl Door {
    /// Accepts clients until dropped.
    async fn accept(self: Arc<Self>, mut listener: Listener, direct: bool) {
        loop {
            let Incoming { stream, peer, permit, counted, .. } = listener.accept().await;
            let start = if direct { Start::DirectTls } else { Start::Tcp };
            let machine =
                C2s::new(Arc::clone(&self.stream), self.entropy.clone(), start, self.settings.clock.now());
            let host = Client::new(Arc::clone(&self.router), peer.ip(), permit, counted);
            let options = Options {
                peer: Some(peer),
                security: Security::Server(Arc::clone(&self.tls)),
                direct_tls: direct,
                ..Options::new(Arc::clone(&self.settings))
            };
            // Nothing around it: the task is as large as its future, and there is one for each client.
            tokio::spawn(nuncio_net::drive(stream, machine, host, options));
        }
    }
}

/// The signals that a server hears.
struct Signals {
    stop: Signal,
    interrupt: Signal,
    reload: Signal,
}

/// What a signal asks for.
enum Told {
    Stop,
    Reload,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            stop: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            reload: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> Told {
        tokio::select! {
            _ = self.stop.recv() => Told::Stop,
            _ = self.interrupt.recv() => Told::Stop,
            _ = self.reload.recv() => Told::Reload,
        }
    }
}

/// Runs the server until it is told to stop.
pub(crate) async fn serve(
    config: Config,
    source: crate::cli::Place,
    level: LevelHandle,
) -> anyhow::Result<()> {
    let mut signals = Signals::new().context("signals cannot be heard")?;
    let place = place::Open::at(&config).await?;
    let router = Arc::clone(&place.router);

    let (settings, local) = tls_settings(&config, Local::Make)?;
    let between = federation::tls_settings(&settings);
    let relaying = msrp_tls(&config, &settings, local.as_ref())?;
    let (tls, warnings) = TlsHosts::load(settings).context("certificates")?;
    for warning in warnings {
        tracing::warn!(%warning, "certificate");
    }
    let tls = Arc::new(tls);

    let mut registry = Registry::with_prefix("nuncio");
    let metrics = Arc::new(NetMetrics::default());
    metrics.register(&mut registry);
    router.metrics().register(&mut registry);
    router.store().register(&mut registry);
    let clock = Clock::start();
    let mut asking = None;
    let federated = if federation::is_on(&config) {
        let (between, _) = TlsHosts::load(between).context("certificates")?;
        let between = Arc::new(between);
        let collector = federation::collector(&config)?;
        asking = Some(collector.clone());
        federation::watch_validation(&collector);
        let federated = Federation::start(nuncio_federation::Parts {
            config: federation::config(&config)?,
            router: Arc::clone(&router),
            tls: Arc::clone(&between),
            entropy: Arc::new(OsEntropy),
            clock,
            collector,
            net: Arc::clone(&metrics),
            secret: federation::secret(),
        })
        .await?;
        federated.metrics().register(&mut registry);
        Some((federated, between))
    } else {
        None
    };

    let budget = Budget::new(budget_limits(&config.limits), Arc::clone(&metrics));
    let local_only = config.is_local();
    let relaying = if msrp::is_on(&config) {
        let listener = bind("msrp", config.listen.msrp.as_ref(), 2855, local_only, &budget)?;
        let websocket = bind("msrp_websocket", Some(&config.listen.msrp_websocket), 0, local_only, &budget)?;
        let collector = asking.or_else(|| {
            let made = federation::collector(&config);
            made.inspect_err(|error| {
                tracing::warn!(error = format!("{error:#}"), "the MSRP relay cannot ask DNS")
            })
            .ok()
        });
        let running = msrp::start(msrp::Needs {
            config: &config,
            router: &router,
            tls: relaying,
            collector,
            clock,
            net: &metrics,
            listener: &listener,
            websocket: &websocket,
        })?;
        running.relay.metrics().register(&mut registry);
        Some((running, (listener, websocket)))
    } else {
        None
    };
    let (relay, relaying) = relaying.unzip();
    let registry = Arc::new(registry);
    let starttls = bind("c2s", config.listen.c2s.as_ref(), 5222, local_only, &budget)?;
    let direct = bind("c2s_tls", config.listen.c2s_tls.as_ref(), 5223, local_only, &budget)?;
    let mut servers = Vec::new();
    if federated.is_some() {
        servers.push((bind("s2s", config.listen.s2s.as_ref(), 5269, local_only, &budget)?, false));
        servers.push((bind("s2s_tls", config.listen.s2s_tls.as_ref(), 5270, local_only, &budget)?, true));
    }
    let mut http = Vec::new();
    let http_addresses = config.listen.http.clone();
    for address in http_addresses.unwrap_or_else(|| vec![nuncio_net::http::DEFAULT_ADDRESS]) {
        http.push(HttpServer::bind(address).await.context("listen.http: take another address or port")?);
    }
    let reach = Reach {
        c2s: starttls.addresses().to_vec(),
        c2s_tls: direct.addresses().to_vec(),
        http: http.iter().map(HttpServer::address).collect(),
    };
    let s2s: Vec<_> = servers.iter().flat_map(|(listener, _)| listener.addresses()).collect();
    let addresses =
        |listener: Option<&Listener>| listener.map(Listener::addresses).unwrap_or_default().to_vec();
    let msrp = addresses(relaying.as_ref().map(|(listener, _)| listener));
    let msrp_websocket = addresses(relaying.as_ref().map(|(_, listener)| listener));
    tracing::info!(
        c2s = ?reach.c2s,
        c2s_tls = ?reach.c2s_tls,
        http = ?reach.http,
        ?s2s,
        ?msrp,
        ?msrp_websocket,
        "listening"
    );

    let operator = Operator::new(
        Arc::clone(&router),
        Arc::clone(&tls),
        federated.clone(),
        relay.clone(),
        source,
        level,
        &config,
    );
    let operator = Arc::new(operator);
    let socket = control::listen(&config.data).context("the control socket")?;
    crate::first_run::greet(&router, &config, local.as_ref(), &reach).await?;

    let door = Arc::new(Door {
        router: Arc::clone(&router),
        tls,
        stream: Arc::new(stream_config(&config, router.points())),
        entropy: Arc::new(OsEntropy),
        settings: Arc::new(Settings {
            rate: Some(Arc::new(RateLimit::new(Rate {
                per_second: config.limits.bytes_per_second.into(),
                burst: u64::from(config.limits.bytes_per_second).max(config.limits.stanza_bytes as u64),
            }))),
            handshake: Duration::from_secs(config.timeouts.login_seconds),
            write_stall: Duration::from_secs(config.timeouts.write_seconds),
            close: Duration::from_secs(config.timeouts.close_seconds),
            ..Settings::new(clock, metrics)
        }),
    });
    let mut accepting = JoinSet::new();
    accepting.spawn(Arc::clone(&door).accept(starttls, false));
    accepting.spawn(door.accept(direct, true));
    if let Some((federated, _)) = &federated {
        for (listener, direct) in servers {
            accepting.spawn(Arc::clone(federated).accept(listener, direct));
        }
    }
    if let (Some(running), Some((listener, websocket))) = (&relay, relaying) {
        accepting.spawn(Arc::clone(&running.relay).accept(listener));
        accepting.spawn(Arc::clone(&running.relay).accept_websocket(websocket));
    }
    let mut operating = JoinSet::new();
    operating.spawn(control::serve(socket, Arc::clone(&operator)));
    for server in http {
        let routes = routes(&registry, &router);
        operating.spawn(async move {
            server.serve(routes, HttpLimits::default()).await;
        });
    }
    notify(&[sd_notify::NotifyState::Ready]);
    let watchdog = sd_notify::watchdog_enabled().map(|period| period / 2);
    loop {
        let tick = async {
            match watchdog {
                Some(period) => tokio::time::sleep(period).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            told = signals.next() => match told {
                Told::Stop => break,
                Told::Reload => {
                    if let Ok(now) = sd_notify::NotifyState::monotonic_usec_now() {
                        notify(&[sd_notify::NotifyState::Reloading, now]);
                    }
                    // What came of it is in the log.
                    drop(operator.reload());
                    notify(&[sd_notify::NotifyState::Ready]);
                }
            },
            () = tick => notify(&[sd_notify::NotifyState::Watchdog]),
        }
    }

    tracing::info!("stopping: streams are closed by the book");
    notify(&[sd_notify::NotifyState::Stopping]);
    accepting.shutdown().await;
    if let Some(running) = &relay {
        running.relay.stop(STOP / 4).await;
    }
    let stopped = router.shutdown(STOP).await;
    if let Some((federated, _)) = federated {
        federated.stop(STOP / 2).await;
        router.store().flush().await?;
    }
    stopped.context("what was not delivered could not be kept")?;
    operating.shutdown().await;
    place.close(&config).await;
    tracing::info!("stopped");
    Ok(())
}

/// Where the server can be reached.
pub(crate) struct Reach {
    pub(crate) c2s: Vec<SocketAddr>,
    pub(crate) c2s_tls: Vec<SocketAddr>,
    pub(crate) http: Vec<SocketAddr>,
}

fn routes(registry: &Arc<Registry>, router: &Arc<Router>) -> Routes {
    let registry = Arc::clone(registry);
    let router = Arc::clone(router);
    Routes::new()
        .get("/metrics", move || {
            let registry = Arc::clone(&registry);
            async move { Reply::metrics(&registry) }
        })
        .get("/healthz", move || {
            let router = Arc::clone(&router);
            async move {
                match router.store().health() {
                    Ok(()) => Reply::text(200, "ok"),
                    Err(fault) => Reply::text(503, &fault.to_string()),
                }
            }
        })
}

/// Tells systemd, if it listens.
fn notify(states: &[sd_notify::NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "the service manager was not told");
    }
}

/// The router's configuration, of the binary's.
pub(crate) fn router_config(config: &Config) -> anyhow::Result<nuncio_router::RouterConfig> {
    use crate::config::Refuse;
    use nuncio_router::{DomainConfig, Refusable, RouterConfig, ServiceContacts};
    let mut domains = Vec::new();
    for domain in &config.domain {
        let contacts = domain.contacts.clone();
        domains.push(DomainConfig {
            name: nuncio_xmpp::jid::prepare_domain(&domain.name)?,
            admins: domain
                .admins
                .iter()
                .map(|jid| nuncio_xmpp::jid::BareJid::new(jid))
                .collect::<Result<_, _>>()?,
            contacts: ServiceContacts {
                abuse: contacts.abuse,
                admin: contacts.admin,
                feedback: contacts.feedback,
                sales: contacts.sales,
                security: contacts.security,
                support: contacts.support,
            },
            refuse: domain
                .refuse
                .iter()
                .map(|kind| match kind {
                    Refuse::Messages => Refusable::Messages,
                    Refuse::Presence => Refusable::Presence,
                })
                .collect(),
        });
    }
    let mut enabled = BTreeMap::new();
    let mut extensions = BTreeMap::new();
    for (name, table) in &config.extensions {
        let toml::Value::Table(table) = table else {
            anyhow::bail!("extensions.{name}: is not a table; write `[extensions.{name}]`");
        };
        let mut table = table.clone();
        match table.remove("enabled") {
            None => {}
            Some(toml::Value::Boolean(on)) => {
                enabled.insert(name.clone(), on);
            }
            Some(other) => anyhow::bail!("extensions.{name}.enabled: is {other}; take true or false"),
        }
        extensions.insert(name.clone(), serde_json::to_value(table)?);
    }
    let limits = &config.limits;
    Ok(RouterConfig {
        domains,
        limits: nuncio_router::Limits {
            sessions: config.accounts.sessions as usize,
            failed_logins_per_account: limits.failed_logins_per_account,
            failed_logins_per_address: limits.failed_logins_per_address,
            bytes_per_second: limits.bytes_per_second,
            stanzas_per_second: limits.stanzas_per_second,
            queue_stanzas: limits.queue_stanzas,
            queue_bytes: limits.queue_bytes,
            offline_messages: limits.offline_messages,
            roster_items: limits.roster_items,
            subscription_requests: limits.subscription_requests,
            directed: limits.directed_presence,
            idle_accounts: limits.idle_accounts,
        },
        plain: config.accounts.plain,
        external: !config.tls.client_authorities.is_empty(),
        scram_iterations: config.accounts.scram_iterations,
        resume: Duration::from_secs(config.timeouts.resume_seconds),
        enabled,
        extensions,
    })
}
