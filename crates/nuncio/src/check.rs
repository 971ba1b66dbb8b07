//! `nuncio check`: what this server thinks of another domain, by its own configuration and its own code.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use nuncio_dna::{CertificateDer, Domain, Policy, Time};
use nuncio_federation::check::{CheckParts, check};
use nuncio_net::tls::{Roots, TlsSettings};
use nuncio_net::{Clock, NetMetrics, OsEntropy, TlsHosts};
use nuncio_stream::s2s::Pair;

use crate::cli::Check;
use crate::config::{self, Config};
use crate::serve::Local;
use crate::{federation, operate, serve};

/// Checks, prints, and says whether this server would send to the domain.
pub(crate) async fn run(given: Check) -> anyhow::Result<bool> {
    let remote = domain(&given.domain)?;
    let config = &config::check_files(given.place.config.as_deref(), given.place.data.as_deref())?;
    let pair = Pair::new(local(config, given.from.as_deref())?, remote);
    if config.domain.iter().any(|served| served.name == *pair.remote) {
        return Err(operate::WrongUse(format!(
            "{} is served here; name another server's domain",
            pair.remote
        ))
        .into());
    }
    let (settings, _) = serve::tls_settings(config, Local::Find)?;
    let (tls, _) = TlsHosts::load(federation::tls_settings(&settings)).context("certificates")?;
    let ours = federation::config(config)?;
    let own = &config.federation.authorities;
    let mut others = vec![(PUBLIC.to_owned(), believing(&Roots::System)?)];
    if !own.is_empty() {
        others.push((OWN.to_owned(), believing(&Roots::Files(own.clone()))?));
    }
    let parts = CheckParts {
        config: ours,
        tls: Arc::new(tls),
        chain: chain(&settings, &pair.local)?,
        others,
        entropy: Arc::new(OsEntropy),
        clock: Clock::start(),
        collector: federation::collector(config)?,
        net: Arc::new(NetMetrics::default()),
        enabled: federation::is_on(config),
        now,
        within: Duration::from_secs(given.timeout),
    };
    let report = check(&parts, pair).await;
    if given.json {
        say!("{:#}", report.to_json())?;
    } else {
        say!("{report}")?;
    }
    Ok(report.verdict.is_accepted())
}

/// Whom others believe.
const PUBLIC: &str = "the public authorities (the operating system's)";
const OWN: &str = "the authorities of federation.authorities";

fn now() -> Time {
    Time::from_secs(u64::try_from(jiff::Timestamp::now().as_second()).unwrap_or(0))
}

/// A domain as it was typed.
pub(crate) fn domain(text: &str) -> anyhow::Result<String> {
    let wrong = |why: &dyn std::fmt::Display| {
        operate::WrongUse(format!("`{text}` is not a domain: {why}; write it as in example.org"))
    };
    if text.contains(['@', '/']) {
        return Err(wrong(&"it is somebody's address").into());
    }
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    if bare.parse::<IpAddr>().is_ok() || text.parse::<SocketAddr>().is_ok() {
        return Err(wrong(&"it is an IP address, and nobody proves one between servers").into());
    }
    let prepared = nuncio_xmpp::jid::prepare_domain(text).map_err(|why| wrong(&why))?;
    Domain::new(&prepared).map_err(|why| wrong(&format_args!("it is {why}")))?;
    Ok(prepared)
}

/// The domain of ours that is meant: the first where none is named.
pub(crate) fn local(config: &Config, wanted: Option<&str>) -> anyhow::Result<String> {
    let served = || config.domain.iter().map(|domain| domain.name.as_str());
    let Some(wanted) = wanted else {
        return served().next().map(str::to_owned).context("no domain is configured");
    };
    let wanted = domain(wanted)?;
    if served().any(|name| nuncio_xmpp::jid::prepare_domain(name).is_ok_and(|name| name == wanted)) {
        return Ok(wanted);
    }
    let served = served().collect::<Vec<_>>().join(", ");
    Err(operate::WrongUse(format!("{wanted} is not served here; served are {served}")).into())
}

/// The chain that is shown for a domain, its own certificate first; empty where there is none yet.
pub(crate) fn chain(settings: &TlsSettings, domain: &str) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let ascii = nuncio_xmpp::jid::to_ascii(domain).unwrap_or_else(|| domain.to_owned());
    let host = settings.hosts.iter().find(|host| host.domain == ascii);
    let files =
        host.into_iter().flat_map(|host| &host.pairs).map(|pair| pair.chain.clone()).take(1).collect();
    let read = Roots::Files(files).certificates().context("certificates")?;
    Ok(read.into_iter().map(|one| CertificateDer::from(one.to_vec())).collect())
}

/// What a server goes by that believes these authorities, and demands no more than a proof.
fn believing(roots: &Roots) -> anyhow::Result<Policy> {
    let mut policy = Policy::default();
    // Those that cannot be read are nobody's help.
    let _unusable = federation::trust(&mut policy, roots).context("authorities")?;
    Ok(policy)
}
