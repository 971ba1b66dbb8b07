//! `nuncio check`: what this server thinks of another domain, by its own configuration and its own code.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use nuncio_dna::{CertificateDer, Policy, Time};
use nuncio_federation::check::{CheckParts, check};
use nuncio_net::tls::Roots;
use nuncio_net::{Clock, NetMetrics, OsEntropy, TlsHosts};
use nuncio_stream::s2s::Pair;

use crate::cli::Check;
use crate::config::Config;
use crate::{federation, operate, serve};

/// Checks, prints, and says whether this server would send to the domain.
pub(crate) async fn run(given: Check, config: &Config) -> anyhow::Result<bool> {
    let pair = Pair::new(local(config, given.from.as_deref())?, domain(&given.domain)?);
    if config.domain.iter().any(|served| served.name == *pair.remote) {
        return Err(operate::WrongUse(format!(
            "{} is served here; name another server's domain",
            pair.remote
        ))
        .into());
    }
    let (settings, _) = serve::tls_settings(config)?;
    let (tls, _) = TlsHosts::load(federation::tls_settings(&settings)).context("certificates")?;
    let parts = CheckParts {
        config: federation::config(config)?,
        tls: Arc::new(tls),
        chain: chain(config, &pair.local)?,
        public: public()?,
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
        println!("{:#}", report.to_json());
    } else {
        println!("{report}");
    }
    Ok(report.verdict.is_accepted())
}

fn now() -> Time {
    Time::from_secs(u64::try_from(jiff::Timestamp::now().as_second()).unwrap_or(0))
}

fn domain(text: &str) -> anyhow::Result<String> {
    let wrong = |why: &dyn std::fmt::Display| {
        operate::WrongUse(format!("`{text}` is not a domain ({why}); write it as in example.org"))
    };
    if text.contains(['@', '/']) {
        return Err(wrong(&"it is an address").into());
    }
    Ok(nuncio_xmpp::jid::prepare_domain(text).map_err(|why| wrong(&why))?)
}

/// The domain of ours that asks.
fn local(config: &Config, wanted: Option<&str>) -> anyhow::Result<String> {
    let served = || config.domain.iter().map(|domain| domain.name.as_str());
    let Some(wanted) = wanted else {
        return served().next().map(str::to_owned).context("no domain is configured");
    };
    let wanted = domain(wanted)?;
    if served().any(|name| name == wanted) {
        return Ok(wanted);
    }
    let served = served().collect::<Vec<_>>().join(", ");
    Err(operate::WrongUse(format!("--from {wanted}: it is not served here; served are {served}")).into())
}

/// The chain that the configuration names for a domain, its own certificate first.
pub(crate) fn chain(config: &Config, domain: &str) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let (settings, _) = serve::tls_settings(config)?;
    let ascii = nuncio_xmpp::jid::to_ascii(domain).unwrap_or_else(|| domain.to_owned());
    let host = settings.hosts.into_iter().find(|host| host.domain == ascii);
    let files: Vec<_> = host.into_iter().flat_map(|host| host.pairs).map(|pair| pair.chain).take(1).collect();
    let read = Roots::Files(files).certificates().context("certificates")?;
    Ok(read.into_iter().map(|one| CertificateDer::from(one.to_vec())).collect())
}

/// What a server that trusts the public authorities, and demands no more than a proof, goes by.
fn public() -> anyhow::Result<Policy> {
    let mut policy = Policy::default();
    for certificate in Roots::System.certificates().context("the system's authorities")? {
        // Those that cannot be read are nobody's help.
        let _unusable = policy.trust.add_anchor(&CertificateDer::from(certificate.to_vec()));
    }
    Ok(policy)
}
