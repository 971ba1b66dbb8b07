//! The roster (RFC 6121 §2) and its subscriptions (§3).

use nuncio_store::{Fault, Store};
use nuncio_xmpp::jid::BareJid;

use crate::host::{ConfigError, Host};

/// An account's roster in memory.
#[derive(Debug, Default)]
pub struct Roster {}

impl Roster {
    /// Reads it from the store.
    ///
    /// # Errors
    /// The store failed.
    pub async fn load(_store: &Store, _of: &BareJid) -> Result<Self, Fault> {
        Ok(Self::default())
    }

    /// Whether the account's presence goes to this contact: subscription `from` or `both` (RFC 6121 §3.1.1).
    pub fn shares_with(&self, _contact: &BareJid) -> bool {
        false
    }
}

/// Registers the handlers of `jabber:iq:roster`, its shapes and features.
pub(crate) fn plug(_host: &mut Host<'_>) -> Result<(), ConfigError> {
    Ok(())
}
