//! Federation as the configuration wants it.

use std::net::IpAddr;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use nuncio_dna::dialback::Secret;
use nuncio_dna::{CertificateDer, DaneUse, Expression, Pattern, Pin, Policy, Rule};
use nuncio_federation::{FederationConfig, Fixed, QueueLimits};
use nuncio_net::dns::{Anchors, DnsConfig, Resolver, Validation};
use nuncio_net::tls::{Peers, Roots, TlsError, TlsSettings};
use nuncio_net::{Collector, CollectorConfig, Https, HttpsConfig, OsEntropy, Rate};
use nuncio_sansio::Entropy as _;
use nuncio_stream::s2s::{S2sConfig, Tls};

use crate::config::Config;
use crate::config::federation::{Encryption, Validate};

/// Whether this server talks to others.
pub(crate) fn is_on(config: &Config) -> bool {
    config.federation.enabled.unwrap_or_else(|| !config.is_local())
}

fn roots(files: &[std::path::PathBuf]) -> Roots {
    if files.is_empty() { Roots::System } else { Roots::Files(files.to_vec()) }
}

/// The certificates, as they are shown to other servers and asked of them.
pub(crate) fn tls_settings(clients: &TlsSettings) -> TlsSettings {
    TlsSettings { peers: Peers::Servers, client_roots: Vec::new(), ..clients.clone() }
}

fn parsed<T: FromStr>(key: &str, text: &str) -> anyhow::Result<T>
where
    T::Err: std::fmt::Display,
{
    text.parse().map_err(|why: T::Err| anyhow::anyhow!("{key}: `{text}`: {why}"))
}

/// Has a policy believe these authorities. Returns why some are left out: one odd certificate does no harm to the others of a collection.
pub(crate) fn trust(policy: &mut Policy, roots: &Roots) -> Result<Vec<String>, TlsError> {
    let mut unusable = Vec::new();
    for certificate in roots.certificates()? {
        if let Err(reason) = policy.trust.add_anchor(&CertificateDer::from(certificate.to_vec())) {
            unusable.push(reason.to_string());
        }
    }
    Ok(unusable)
}

/// Has a policy heed the revocation list in a file.
pub(crate) fn revocation_list(policy: &mut Policy, file: &Path) -> anyhow::Result<()> {
    let shown = file.display();
    let list = std::fs::read(file).with_context(|| format!("{shown}: cannot be read"))?;
    policy.trust.add_revocation_list(&list).with_context(|| shown.to_string())
}

/// The operator's policy. Files are read each time.
pub(crate) fn policy(config: &Config) -> anyhow::Result<Policy> {
    let federation = &config.federation;
    let mut policy = Policy::default();
    let unusable = trust(&mut policy, &roots(&federation.authorities)).context("federation.authorities")?;
    for reason in unusable {
        tracing::warn!(reason, "an authority cannot be used");
    }
    for file in &federation.revocation_lists {
        revocation_list(&mut policy, file).context("federation.revocation_lists")?;
    }
    policy.default.require = parsed("federation.require", &federation.require)?;
    let patterns = |key: &str, all: &[String]| -> anyhow::Result<Vec<Pattern>> {
        all.iter().map(|one| parsed(key, one)).collect()
    };
    policy.allow = patterns("federation.allow", &federation.allow)?;
    policy.deny = patterns("federation.deny", &federation.deny)?;
    for peer in &federation.peer {
        let require: Expression = match &peer.require {
            Some(require) => parsed("federation.peer[].require", require)?,
            None => policy.default.require.clone(),
        };
        let pins: Vec<Pin> = peer
            .pins
            .iter()
            .map(|pin| parsed("federation.peer[].pins", pin))
            .collect::<anyhow::Result<_>>()?;
        let rule = Rule {
            require,
            dane: if peer.ignore_dane { DaneUse::Ignore } else { DaneUse::Enforce },
            posh_stale: Duration::from_secs(peer.posh_stale_seconds),
            pins,
        };
        policy.peers.push((parsed("federation.peer[].domain", &peer.domain)?, rule));
    }
    Ok(policy)
}

/// The configuration of federation.
pub(crate) fn config(config: &Config) -> anyhow::Result<FederationConfig> {
    let federation = &config.federation;
    let limits = &config.limits;
    let mut hosts = std::collections::BTreeMap::new();
    for (domain, servers) in &federation.hosts {
        let name = nuncio_xmpp::jid::prepare_domain(domain)
            .with_context(|| format!("federation.hosts: `{domain}` is not a domain"))?;
        let all = servers.all().iter().map(|one| parsed::<Fixed>("federation.hosts", one));
        hosts.insert(name, all.collect::<anyhow::Result<Vec<_>>>()?);
    }
    let stream = S2sConfig {
        before: limits.before(),
        after: limits.after(),
        tls: match federation.tls {
            Encryption::Required => Tls::Required,
            Encryption::Optional => Tls::Optional,
            Encryption::Never => Tls::Never,
        },
        negotiation: Duration::from_secs(config.timeouts.login_seconds),
        closing: Duration::from_secs(config.timeouts.close_seconds),
        unused: Some(Duration::from_secs(federation.unused_seconds)),
        resume: (federation.resume_seconds > 0).then(|| Duration::from_secs(federation.resume_seconds)),
        bidi: federation.bidi,
        dialback: federation.dialback,
        ..S2sConfig::default()
    };
    Ok(FederationConfig {
        policy: policy(config)?,
        hosts,
        queue: QueueLimits {
            stanzas: federation.queue_stanzas,
            bytes: federation.queue_bytes,
            age: Duration::from_secs(federation.queue_seconds),
        },
        stream: Arc::new(stream),
        handshake: Duration::from_secs(config.timeouts.login_seconds),
        write: Duration::from_secs(config.timeouts.write_seconds),
        close: Duration::from_secs(config.timeouts.close_seconds),
        rate: Rate {
            per_second: u64::from(limits.bytes_per_second) * 8,
            burst: u64::from(limits.bytes_per_second) * 8,
        },
        renew: Duration::from_secs(federation.renew_seconds),
        ..FederationConfig::default()
    })
}

/// What asks DNS and web servers about other domains.
pub(crate) fn collector(config: &Config) -> anyhow::Result<Collector> {
    let dns = &config.federation.dns;
    let mut settings = DnsConfig::system().context("the system's name servers")?;
    if !dns.servers.is_empty() {
        settings.servers.clone_from(&dns.servers);
    }
    settings.validation = match dns.validate {
        Validate::Off => Validation::Off,
        Validate::TrustAd => Validation::TrustAd,
        Validate::Local => Validation::Local(match &dns.trust_anchors {
            Some(file) => anchors(file).context("federation.dns.trust_anchors")?,
            None => Anchors::root(),
        }),
    };
    let resolver = Resolver::with(settings);
    let posh = &config.federation.posh;
    let https = if posh.enabled {
        let mut allow = Vec::new();
        for one in &posh.allow_networks {
            allow.push(parse_network(one).context("federation.posh.allow_networks")?);
        }
        let settings =
            HttpsConfig { roots: roots(&posh.authorities), allow, port: posh.port, ..HttpsConfig::default() };
        match Https::new(resolver.clone(), settings) {
            Ok(https) => Some(https),
            Err(nuncio_net::tls::ConnectError::NoRoots) => {
                tracing::warn!("there is no authority to believe web servers by: POSH is off");
                None
            }
            Err(error) => return Err(error).context("federation.posh"),
        }
    } else {
        None
    };
    Ok(Collector::new(resolver, https, CollectorConfig::default()))
}

/// Tells the operator if no signature can be checked: then no domain would be found.
pub(crate) fn watch_validation(collector: &Collector) {
    let resolver = collector.resolver().clone();
    tokio::spawn(async move {
        if let Err(error) = resolver.check_validation().await {
            tracing::warn!(
                %error,
                "DNS answers cannot be validated, so other domains cannot be looked up: name a server that passes DNSSEC on \
                 (federation.dns.servers), or set federation.dns.validate"
            );
        }
    });
}

pub(crate) fn anchors(file: &Path) -> anyhow::Result<Anchors> {
    let shown = file.display();
    let text = std::fs::read_to_string(file).with_context(|| format!("{shown}: cannot be read"))?;
    Anchors::parse(&text).with_context(|| shown.to_string())
}

/// A network: an address, a slash, and how many leading bits count.
pub(crate) fn parse_network(text: &str) -> anyhow::Result<(IpAddr, u8)> {
    let parts = text.split_once('/').and_then(|(address, bits)| {
        let (address, bits) = (address.parse::<IpAddr>().ok()?, bits.parse::<u8>().ok()?);
        (bits <= if address.is_ipv4() { 32 } else { 128 }).then_some((address, bits))
    });
    parts.with_context(|| format!("`{text}` is no network"))
}

/// What makes dialback keys: new at each start. Keys are good for the seconds of a negotiation.
pub(crate) fn secret() -> Secret {
    let mut raw = [0; 32];
    OsEntropy.fill(&mut raw);
    Secret::new(&raw)
}
