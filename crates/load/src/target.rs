//! Whom to put under load.

use std::net::SocketAddr;
use std::path::PathBuf;

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
    /// Said twice on the command line: that a target outside this machine and the private networks is meant.
    pub far: bool,
}

impl Target {
    /// A target on this machine with direct TLS and the usual accounts.
    #[must_use]
    pub fn new(name: impl Into<String>, address: SocketAddr, domain: impl Into<String>, roots: Vec<PathBuf>) -> Self {
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
            far: false,
        }
    }
}
