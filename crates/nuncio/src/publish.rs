//! `nuncio tlsa` and `nuncio posh`: what to publish about our own certificates, so that others can prove who we are.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use nuncio_dna::{CertificateDer, Domain, posh, tlsa};
use nuncio_net::tls::Roots;

use crate::cli::{Posh, Published, Tlsa};
use crate::config::Config;
use crate::serve::Local;
use crate::{check, operate, out, serve};

/// The ports of a server, for each host that is given without one: servers, then clients, each with STARTTLS and with direct TLS.
const PORTS: [u16; 4] = [5269, 5270, 5222, 5223];

/// The certificates to publish: the one that is shown for the domain, and those that will follow.
fn certificates(
    config: &Config,
    given: &Published,
) -> anyhow::Result<(String, Vec<CertificateDer<'static>>)> {
    let domain = check::local(config, given.domain.as_deref())?;
    let (settings, _) = serve::tls_settings(config, Local::Find)?;
    let Some(shown) = check::chain(&settings, &domain)?.into_iter().next() else {
        bail!(
            "there is no certificate for {domain} yet: name one (domain[].certificate), or start the server once, \
             and the local authority makes one"
        );
    };
    let mut found = vec![shown];
    for file in &given.next {
        found.push(leaf(file)?);
    }
    Ok((domain, found))
}

/// The first certificate of a PEM file.
fn leaf(file: &Path) -> anyhow::Result<CertificateDer<'static>> {
    let read = Roots::Files(vec![PathBuf::from(file)]).certificates().context("--next")?;
    let first =
        read.into_iter().next().with_context(|| format!("{} holds no certificate", file.display()))?;
    Ok(CertificateDer::from(first.to_vec()))
}

/// Prints TLSA records for a zone file.
pub(crate) fn tlsa(given: &Tlsa, config: &Config) -> anyhow::Result<bool> {
    let (domain, certificates) = certificates(config, &given.published)?;
    let mut endpoints = Vec::new();
    let hosts = if given.host.is_empty() { vec![domain] } else { given.host.clone() };
    for host in &hosts {
        let (name, port) = match host.rsplit_once(':') {
            Some((name, port)) => {
                let number = port.parse().ok().filter(|port| *port != 0);
                let wrong = || operate::WrongUse(format!("`{host}`: {port} is not a port; take 1 to 65535"));
                (name, Some(number.ok_or_else(wrong)?))
            }
            None => (host.as_str(), None),
        };
        let name = Domain::host(name).map_err(|why| operate::WrongUse(format!("`{host}` is {why}")))?;
        match port {
            Some(port) => endpoints.push((name, port)),
            None => endpoints.extend(PORTS.map(|port| (name.clone(), port))),
        }
    }
    let ders: Vec<&[u8]> = certificates.iter().map(AsRef::as_ref).collect();
    let records = tlsa::publish(&endpoints, given.ttl, &ders)
        .map_err(|_| anyhow::anyhow!("a certificate cannot be read"))?;
    out::write(format_args!("{records}"))?;
    Ok(true)
}

/// Prints a POSH document.
pub(crate) fn posh(given: &Posh, config: &Config) -> anyhow::Result<bool> {
    let expires = Duration::from_secs(given.expires);
    if let Some(url) = &given.refer {
        let document = posh::reference(url, expires)
            .ok_or_else(|| operate::WrongUse(format!("`{url}` is no https address of a host")))?;
        out::write(format_args!("{document}"))?;
        return Ok(true);
    }
    let (_, certificates) = certificates(config, &given.published)?;
    // What comes next stands first (RFC 7711 §3.1).
    let ders: Vec<&[u8]> = certificates.iter().rev().map(AsRef::as_ref).collect();
    out::write(format_args!("{}", posh::publish(&ders, expires)))?;
    Ok(true)
}
