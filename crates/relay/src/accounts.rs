//! Who may use the relay: asked of whoever runs it, so that there is no second account system.

use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;

pub use nuncio_msrp::relay::{Account, Holder};

/// A boxed future.
pub type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The accounts of a server. Whoever implements it also ends what has begun ([`crate::Relay::end`]), when an account is disabled or deleted.
pub trait Accounts: Send + Sync + 'static {
    /// The account that credentials of this name belong to, with their password; none if there is none, or if somebody tries too often.
    /// `peer` is the client, or the relay through which it comes.
    fn by_name<'a>(&'a self, username: &'a str, peer: IpAddr) -> Boxed<'a, Option<Account>>;

    /// The account of a client certificate with these `id-on-xmppAddr` names (RFC 6120 §13.7.1.4). An authority that the operator trusts for
    /// clients vouches for it.
    fn by_certificate<'a>(&'a self, addresses: &'a [String]) -> Boxed<'a, Option<Account>>;

    /// Whether an account may use the relay now, and is still of this generation; none if that cannot be found out. Asked once more when a URI
    /// was issued, and when one is known by its seal only.
    fn may<'a>(&'a self, holder: &'a Holder) -> Boxed<'a, Option<bool>>;

    /// Somebody at this address has named this user and did not know the password. Not told of what comes through a relay that has proven its name: its address is that of
    /// many (RFC 4976 §6.3).
    fn failed(&self, username: &str, peer: IpAddr);
}
