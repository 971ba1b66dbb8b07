//! Checks what the configuration names: certificates, keys, lists and anchors in files, and the extensions' own tables.

use std::path::Path;
use std::sync::Arc;

use nuncio_dna::Policy;
use nuncio_net::tls::{HostFiles, PairFiles, Roots, TlsSettings};
use nuncio_net::{OsEntropy, TlsHosts};
use nuncio_router::{ConfigError as Wrong, Router, StartError, SystemClock};

use super::federation::Validate;
use super::source::{At, ConfigError, Source};
use super::{Config, load};
use crate::{federation, serve};

/// What is odd and works all the same, in words.
pub(crate) type Warnings = Vec<String>;

/// The longest file that is named in a configuration, in bytes: revocation lists are the longest.
const MOST: u64 = 256 << 20;

/// Whether a file can be read to its end. What is not there or may not be read is said by whoever reads it.
fn ends(file: &Path, at: &At, source: &mut Source) -> bool {
    let Ok(found) = std::fs::metadata(file) else { return true };
    let what = match load::special(&found) {
        Ok(()) if found.len() <= MOST => return true,
        Ok(()) => format!("is longer than {MOST} bytes"),
        Err(what) => what,
    };
    source.say(at, format!("{}: {what}", file.display()), "name a file");
    false
}

/// Checks every file that is named. Reads only.
pub(super) fn files(config: &Config, source: &mut Source) -> Warnings {
    let mut warnings = Vec::new();
    for (index, file) in config.tls.client_authorities.iter().enumerate() {
        let at = At::key("tls.client_authorities").nth(index);
        let settings = TlsSettings { client_roots: vec![file.clone()], ..TlsSettings::default() };
        if ends(file, &at, source)
            && let Err(error) = TlsHosts::load(settings)
        {
            error.problems.iter().for_each(|problem| source.say(&at, problem.to_string(), AUTHORITY));
        }
    }
    certificates(config, source, &mut warnings);
    let federation = &config.federation;
    for (key, list) in [
        ("federation.authorities", &federation.authorities),
        ("federation.posh.authorities", &federation.posh.authorities),
        ("msrp.authorities", &config.msrp.authorities),
    ] {
        for (index, file) in list.iter().enumerate() {
            let at = At::key(key).nth(index);
            if !ends(file, &at, source) {
                continue;
            }
            let mut policy = Policy::default();
            match federation::trust(&mut policy, &Roots::Files(vec![file.clone()])) {
                Err(error) => source.say(&at, error.to_string(), AUTHORITY),
                Ok(unusable) if policy.trust.anchors() == 0 => {
                    source.say(&at, format!("{}: {}", file.display(), unusable.join("; ")), AUTHORITY);
                }
                Ok(unusable) => warnings.extend(
                    unusable.iter().map(|why| format!("{}: an authority is left out: {why}", file.display())),
                ),
            }
        }
    }
    for (index, file) in federation.revocation_lists.iter().enumerate() {
        let at = At::key("federation.revocation_lists").nth(index);
        if ends(file, &at, source)
            && let Err(error) = federation::revocation_list(&mut Policy::default(), file)
        {
            let remedy = "name a file with one list of the authority, as it is fetched: DER or PEM";
            source.say(&at, format!("{error:#}"), remedy);
        }
    }
    let anchors = At::key("federation.dns.trust_anchors");
    if let Some(file) =
        federation.dns.trust_anchors.as_ref().filter(|_| federation.dns.validate == Validate::Local)
        && ends(file, &anchors, source)
        && let Err(error) = federation::anchors(file)
    {
        let remedy = "write DS or DNSKEY records into it, one a line, or leave it out for the root's keys";
        source.say(&anchors, format!("{error:#}"), remedy);
    }
    warnings
}

const AUTHORITY: &str = "name a PEM file with certificates of authorities (\"BEGIN CERTIFICATE\")";

fn certificates(config: &Config, source: &mut Source, warnings: &mut Warnings) {
    for (index, domain) in config.domain.iter().enumerate() {
        let (Some(chain), Some(key)) = (&domain.certificate, &domain.key) else { continue };
        let Ok(host) = serve::host_files(domain, chain, key) else { continue };
        let at = |key: &str| At::key("domain").nth(index).below(key);
        certificate(host, [at("certificate"), at("key")], source, warnings);
    }
    if let (Some(host), Some(chain), Some(key)) =
        (&config.msrp.host, &config.msrp.certificate, &config.msrp.key)
    {
        let pair = PairFiles { chain: chain.clone(), key: key.clone() };
        let host = HostFiles { domain: host.clone(), pairs: vec![pair], ..HostFiles::default() };
        certificate(host, [At::key("msrp.certificate"), At::key("msrp.key")], source, warnings);
    }
}

/// Checks the one pair of a host. `places`: where the chain and the key are named.
fn certificate(host: HostFiles, places: [At; 2], source: &mut Source, warnings: &mut Warnings) {
    let key_file = host.pairs.first().filter(|pair| pair.chain != pair.key).map(|pair| pair.key.clone());
    let [chain, key] = places;
    for pair in &host.pairs {
        let good = [(&pair.chain, &chain), (&pair.key, &key)].map(|(file, at)| ends(file, at, source));
        if good != [true, true] {
            return;
        }
    }
    match TlsHosts::load(TlsSettings { hosts: vec![host], ..TlsSettings::default() }) {
        Ok((_, odd)) => warnings.extend(odd.iter().map(ToString::to_string)),
        Err(error) => {
            for problem in error.problems {
                let (at, remedy) = if problem.file.is_some() && problem.file == key_file {
                    (&key, "name a PEM file with the certificate's private key, which the server may read")
                } else {
                    (&chain, "name a PEM file with a certificate of this name, then those above it")
                };
                source.say(at, problem.to_string(), remedy);
            }
        }
    }
}

/// Checks the extensions' tables, by starting everything over a store in memory.
pub(super) async fn extensions(config: &Config, source: &mut Source) {
    let Ok(mut router) = serve::router_config(config) else {
        // What is wrong has been said: it is about domains.
        return;
    };
    let start = async |config: &nuncio_router::RouterConfig| {
        let parts = nuncio_router::Parts {
            config: config.clone(),
            store: nuncio_store::Store::memory(),
            entropy: Arc::new(OsEntropy),
            clock: Arc::new(SystemClock),
            extensions: nuncio_extensions::ALL,
        };
        Router::start(parts).await.err()
    };
    let mut why = start(&router).await;
    // Each mistake ends a start; without what it is about, the next shows the next one.
    while let Some(StartError::Config(wrong)) = why {
        match &wrong {
            Wrong::Invalid { name, why: text } => {
                let table = router.extensions.get(*name).and_then(|table| table.as_object()).cloned();
                let mut culprit = None;
                for key in table.iter().flat_map(serde_json::Map::keys) {
                    let mut without = router.clone();
                    if let Some(table) =
                        without.extensions.get_mut(*name).and_then(|table| table.as_object_mut())
                    {
                        table.remove(key);
                    }
                    let then = start(&without).await;
                    let same = matches!(&then, Some(StartError::Config(Wrong::Invalid { name: other, why })) if other == name && why == text);
                    if !same {
                        culprit = Some((key.clone(), without, then));
                        break;
                    }
                }
                let at = At::key("extensions").below(name);
                let Some((key, without, then)) = culprit else {
                    source.say(&at, text.clone(), MANUAL);
                    return;
                };
                source.say(&at.below(&key), text.clone(), MANUAL);
                (router, why) = (without, then);
            }
            Wrong::Needs { name, needs } => {
                let remedy = format!(
                    "set `extensions.{needs}.enabled = true`, or `extensions.{name}.enabled = false`"
                );
                source.say(
                    &At::key("extensions").below(name),
                    format!("needs `{needs}`, which is off"),
                    remedy,
                );
                router.enabled.insert((*name).to_owned(), false);
                why = start(&router).await;
            }
            // Names have been looked at with the keys.
            Wrong::Unknown { .. } => return,
            Wrong::Conflict { one, two, what } => {
                let remedy = "switch one of them off (`enabled = false`)";
                let text = format!("`{one}` and `{two}` both own {what}");
                source.say(&At::key("extensions").below(one), text, remedy);
                return;
            }
        }
    }
}

const MANUAL: &str = "see the manual's page extensions.md";

/// Everything: shape, values, files and extensions.
///
/// # Errors
/// All that is wrong.
pub(crate) async fn check(
    file: Option<&Path>,
    data: Option<&Path>,
) -> Result<(Config, Warnings), ConfigError> {
    let mut read = Config::open(file, data)?;
    let mut warnings = Vec::new();
    if let Some(config) = &read.config {
        warnings = files(config, &mut read.source);
        extensions(config, &mut read.source).await;
    }
    let config = read.finish()?;
    Ok((config, warnings))
}

/// All that can change while a server runs: everything but extensions.
///
/// # Errors
/// All that is wrong.
pub(crate) fn check_files(file: Option<&Path>, data: Option<&Path>) -> Result<Config, ConfigError> {
    let mut read = Config::open(file, data)?;
    if let Some(config) = &read.config {
        files(config, &mut read.source);
    }
    read.finish()
}
