//! Servers that talk to each other: two of a kind, each at a loopback address of its own, with certificates of the run's authority.
//!
//! Where the other domains are stands in each configuration, so that there is no DNS between them.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use nuncio_net::ca::{self, LocalCa};

use super::config::{DOMAIN, Federation, Relay};
use super::plan::{SITE_ACCOUNTS, Site};
use super::subject::{Kind, Place, Subject, free_address};
use crate::Target;

/// Where the first server is, and its domain.
const HOME: (Ipv4Addr, &str) = (Ipv4Addr::new(127, 0, 0, 2), "a.test");
/// Where the second server is.
const AWAY: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);
/// Where nobody is who answers.
const NOBODY: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 4);

/// The servers of a site.
pub(super) struct Couple {
    pub(super) kind: Kind,
    pub(super) site: Site,
    home: Subject,
    /// The other one, and where it listens for servers.
    away: Option<(Subject, SocketAddr)>,
    /// Where nobody says anything.
    _silent: Vec<TcpListener>,
}

impl Couple {
    /// Makes folders, certificates, configurations and accounts. `base` has the run's authority in `tls`.
    pub(super) fn prepare(kind: Kind, site: Site, base: &Path, binary: Option<&Path>) -> Result<Self> {
        let authority = base.join("tls/ca.pem");
        let listen = free_address(AWAY)?;
        let mut silent = Vec::new();
        let (hosts, others) = match site {
            Site::Alone | Site::Msrp(1) => (Vec::new(), Vec::new()),
            Site::Two | Site::Msrp(_) => (vec![("b.test".to_owned(), listen)], vec!["b.test".to_owned()]),
            Site::Hoster(count) => {
                let names = numbered(count, "hoster.test");
                (names.iter().map(|name| (name.clone(), listen)).collect(), names)
            }
            Site::Dead(count) => {
                let hosts;
                (hosts, silent) = dead(count)?;
                (hosts, Vec::new())
            }
        };
        let build =
            |part: &str, domain: &str, certified: &[&str], ip, federation: Federation, ranges: &[_]| {
                let folder = format!("{}-{}-{part}", kind.name(), site.name());
                let tls = certificate(base, &base.join(format!("{folder}-tls")), certified)?;
                let place = Place {
                    folder,
                    address: free_address(ip)?,
                    domain: domain.to_owned(),
                    federation: Some(federation),
                };
                Subject::prepare(kind, place, base, &tls, binary, ranges)
            };
        let (ip, domain) = HOME;
        // The bare relay has the certificate of the run.
        let domain = if kind == Kind::Relay { DOMAIN } else { domain };
        let (mut near, mut far) = (None, None);
        if matches!(site, Site::Msrp(_)) {
            let (here, there) = (free_address(ip)?, free_address(AWAY)?);
            let known = |names: &[String], place| names.iter().map(|name| (name.clone(), place)).collect();
            near = Some(Relay { listen: here, hosts: known(&others, there) });
            far = Some(Relay { listen: there, hosts: vec![(domain.to_owned(), here)] });
        }
        let federation = Federation {
            listen: free_address(ip)?,
            authority: authority.clone(),
            more: Vec::new(),
            hosts,
            relay: near,
        };
        let back = vec![(domain.to_owned(), federation.listen)];
        let home = build("home", domain, &[domain], ip, federation, &[SITE_ACCOUNTS])?;
        let away = match others.split_first() {
            Some((first, more)) => {
                let more = more.to_vec();
                let federation = Federation { listen, authority, more, hosts: back, relay: far };
                // The whole name, and whatever stands below the same parent.
                let parent = first.split_once('.').map_or("", |(_, parent)| parent);
                let below = format!("*.{parent}");
                let certified: &[&str] = if others.len() == 1 { &[first] } else { &[&below] };
                Some((build("away", first, certified, AWAY, federation, &[SITE_ACCOUNTS])?, listen))
            }
            None => None,
        };
        Ok(Self { kind, site, home, away, _silent: silent })
    }

    /// New processes over the same data.
    pub(super) fn restart(&mut self) -> Result<()> {
        if let Some((away, _)) = &mut self.away {
            away.restart(None)?;
        }
        self.home.restart(None)
    }

    /// Ends them, if they run.
    pub(super) fn stop(&mut self) {
        self.home.stop();
        if let Some((away, _)) = &mut self.away {
            away.stop();
        }
    }

    /// How the generator gets in at both.
    pub(super) fn target(&self, prefix: &str) -> Target {
        let mut target = self.home.target(prefix);
        target.partner = self.away.as_ref().map(|(away, listen)| {
            let mut partner = away.target(prefix);
            partner.federation = Some(*listen);
            Box::new(partner)
        });
        target
    }

    /// The last lines of all logs, with their names.
    pub(super) fn log(&self) -> String {
        let away = self.away.as_ref().map(|(away, _)| away.log()).unwrap_or_default();
        format!("{}\n{away}", self.home.log())
    }
}

/// Names as the scenarios have them.
fn numbered(count: u32, domain: &str) -> Vec<String> {
    (0..count).map(|number| format!("d{number}.{domain}")).collect()
}

/// Domains and where they are.
type Hosts = Vec<(String, SocketAddr)>;

/// Domains that nobody answers for, each at a port of its own: every other one refuses, the others accept (the kernel does, for as long as the
/// listener lives) and say nothing.
fn dead(count: u32) -> Result<(Hosts, Vec<TcpListener>)> {
    let mut hosts = Vec::new();
    // All at once, so that no port is given twice.
    let bound = (0..count).map(|_| TcpListener::bind((NOBODY, 0))).collect::<Result<Vec<_>, _>>()?;
    for (name, listener) in numbered(count, "dead.test").into_iter().zip(&bound) {
        hosts.push((name, listener.local_addr()?));
    }
    let silent = bound.into_iter().skip(1).step_by(2).collect();
    Ok((hosts, silent))
}

/// A certificate of the run's authority, in a folder of its own.
fn certificate(base: &Path, folder: &Path, names: &[&str]) -> Result<LocalCa> {
    std::fs::create_dir_all(folder)?;
    for file in ["ca.pem", "ca-key.pem"] {
        let (from, to): (PathBuf, PathBuf) = (base.join("tls").join(file), folder.join(file));
        std::fs::copy(&from, &to).with_context(|| format!("cannot copy {}", from.display()))?;
    }
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    Ok(ca::local(folder, &names)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_of_the_runs_authority() {
        let base = tempfile::tempdir().unwrap();
        let run = ca::local(&base.path().join("tls"), &["localhost".to_owned()]).unwrap();
        let made = certificate(base.path(), &base.path().join("other"), &["*.hoster.test"]).unwrap();
        let read = |file: &Path| std::fs::read_to_string(file).unwrap();
        assert_eq!(read(&made.authority), read(&run.authority));
        assert_ne!(read(&made.chain), read(&run.chain));
    }

    #[test]
    fn half_of_the_dead_refuse_and_half_are_silent() {
        let (hosts, _silent) = dead(4).unwrap();
        let names: Vec<_> = hosts.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["d0.dead.test", "d1.dead.test", "d2.dead.test", "d3.dead.test"]);
        let open = |at: usize| std::net::TcpStream::connect(hosts[at].1).is_ok();
        assert_eq!([open(0), open(1), open(2), open(3)], [false, true, false, true]);
    }
}
