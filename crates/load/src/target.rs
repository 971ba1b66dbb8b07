//! Whom to put under load.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// How a connection begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// TLS first, then XMPP (XEP-0368).
    #[default]
    DirectTls,
    /// XMPP, then STARTTLS (RFC 6120 §5).
    StartTls,
    /// The bare relay: TLS, one line that names the pair, then bytes. No accounts, no XMPP.
    Relay,
}

/// Accounts that exist at the target: `user0@domain`, `user1@domain` and so on, all with one password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accounts {
    /// What stands before the number.
    pub prefix: String,
    /// The password of all.
    pub password: String,
    /// The number of the first one.
    pub first: u32,
}

impl Default for Accounts {
    fn default() -> Self {
        Self { prefix: "user".to_owned(), password: "password".to_owned(), first: 0 }
    }
}

impl Accounts {
    /// The localpart of the account with this number, counted from the first.
    #[must_use]
    pub fn name(&self, number: u32) -> String {
        format!("{}{}", self.prefix, self.first.saturating_add(number))
    }
}

/// A server and how to get in.
#[derive(Clone, Debug)]
pub struct Target {
    /// What it is called in reports.
    pub name: String,
    /// Where it listens.
    pub address: SocketAddr,
    /// The XMPP domain; the certificate must be for it.
    pub domain: String,
    /// How a connection begins.
    pub start: Start,
    /// PEM files of the authorities that vouch for it.
    pub roots: Vec<PathBuf>,
    /// Who logs in.
    pub accounts: Accounts,
    /// The server's process, if it runs on this machine: its CPU time and memory are measured, those of its children included.
    pub process: Option<u32>,
    /// Whether TLS offers X25519 alone instead of the post-quantum hybrid first: what servers without the hybrid do anyway.
    pub classic_key_exchange: bool,
    /// Threads of the generator, 1 to 64.
    pub threads: u16,
    /// How long a server may be silent where something must come.
    pub patience: Duration,
    /// Another server, which the first one talks to: a scenario of pairs logs one of each pair in there. Its process is measured too.
    pub partner: Option<Box<Self>>,
    /// Where it listens for other servers, if connections between servers are to be counted.
    pub federation: Option<SocketAddr>,
    /// Said twice on the command line: that a target outside this machine and the private networks is meant.
    pub far: bool,
}

impl Target {
    /// A target on this machine with direct TLS and the usual accounts.
    #[must_use]
    pub fn new(
        name: impl Into<String>,
        address: SocketAddr,
        domain: impl Into<String>,
        roots: Vec<PathBuf>,
    ) -> Self {
        Self {
            name: name.into(),
            address,
            domain: domain.into(),
            start: Start::DirectTls,
            roots,
            accounts: Accounts::default(),
            process: None,
            classic_key_exchange: false,
            threads: 1,
            patience: Duration::from_secs(15),
            partner: None,
            federation: None,
            far: false,
        }
    }
}

impl Target {
    /// Whether it may be put under load, and can be.
    ///
    /// A loopback address may. So may a private one (10/8, 172.16/12, 192.168/16, fc00::/7) inside a network namespace that is not the
    /// machine's first: there it leads to a test set-up, elsewhere to somebody's office. Anything else only if `far` says so.
    ///
    /// # Errors
    /// Why not. The same is asked of its partner.
    pub fn check(&self) -> Result<(), String> {
        if let Some(partner) = &self.partner {
            partner.check()?;
        }
        let ip = self.address.ip().to_canonical();
        let near = ip.is_loopback() || (is_private(ip) && own_namespace());
        if !near && !self.far {
            return Err(format!(
                "{ip} is neither loopback nor private in a network namespace of its own: putting load on it must be asked for twice"
            ));
        }
        if !(1..=64).contains(&self.threads) {
            return Err(format!("{} threads; there can be 1 to 64", self.threads));
        }
        if !(Duration::from_millis(10)..=Duration::from_secs(3600)).contains(&self.patience) {
            return Err(format!("a patience of {:?}; it must be from 10 ms to an hour", self.patience));
        }
        let plain =
            |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
        if !plain(&self.accounts.prefix) || !plain(&self.domain) || self.domain.is_empty() {
            return Err(
                "domain and prefix of accounts may have ASCII letters, digits, '-', '.' and '_'".to_owned()
            );
        }
        Ok(())
    }
}

const fn is_private(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_private(),
        IpAddr::V6(ip) => ip.is_unique_local(),
    }
}

/// Whether this process is in another network namespace than the machine's first process. Where that cannot be seen, it is not.
fn own_namespace() -> bool {
    let of = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/net"));
    matches!((of("self"), of("1")), (Ok(own), Ok(first)) if own != first)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(address: &str) -> Target {
        Target::new("test", address.parse().unwrap(), "localhost", Vec::new())
    }

    #[test]
    fn only_loopback_is_loaded_without_being_told_twice() {
        for near in ["127.0.0.1:5223", "127.9.9.9:1", "[::1]:5223", "[::ffff:127.0.0.1]:1"] {
            target(near).check().unwrap();
        }
        for far in
            ["192.0.2.1:5223", "[2001:db8::1]:5223", "8.8.8.8:443", "0.0.0.0:1", "[::ffff:192.0.2.1]:1"]
        {
            let mut target = target(far);
            assert!(target.check().is_err(), "{far}");
            target.far = true;
            target.check().unwrap();
        }
    }

    #[test]
    fn private_addresses_are_near_only_in_a_namespace_of_ones_own() {
        for private in ["10.0.0.1:1", "172.16.0.1:1", "192.168.7.7:1", "[fd00::1]:1"] {
            assert_eq!(target(private).check().is_ok(), own_namespace(), "{private}");
        }
        for public in ["172.32.0.1:1", "11.0.0.1:1", "192.169.0.1:1", "[fe80::1]:1"] {
            assert!(target(public).check().is_err(), "{public}");
        }
    }

    #[test]
    fn a_partner_must_be_near_too() {
        let mut near = target("127.0.0.1:1");
        near.partner = Some(Box::new(target("127.0.0.2:1")));
        near.check().unwrap();
        near.partner = Some(Box::new(target("192.0.2.1:1")));
        assert!(near.check().is_err());
    }

    #[test]
    fn what_would_break_the_stanzas_is_refused() {
        let mut target = target("127.0.0.1:1");
        target.accounts.prefix = "a'b".to_owned();
        assert!(target.check().is_err());
        target.accounts.prefix = "user".to_owned();
        target.domain = "a b".to_owned();
        assert!(target.check().is_err());
        target.domain = "localhost".to_owned();
        target.threads = 0;
        assert!(target.check().is_err());
        target.threads = 1;
        target.check().unwrap();
        target.patience = Duration::ZERO;
        assert!(target.check().is_err());
    }
}
