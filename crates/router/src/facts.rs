//! What listeners hear. A fact is told inside the step of the lane it happened in, so facts of one account come in order.

use nuncio_xmpp::jid::{BareJid, Jid};
use nuncio_xmpp::stanza::Stanza;

use crate::session::SessionId;

/// Something that has happened at an account.
pub trait Fact: Send + Sync + 'static {}

macro_rules! facts {
    ($($(#[$doc:meta])* $name:ident { $($(#[$about:meta])* $field:ident: $kind:ty),* $(,)? })*) => {
        $($(#[$doc])* #[derive(Clone, Debug)] pub struct $name { $($(#[$about])* pub $field: $kind),* }
        impl Fact for $name {})*
    };
}

facts! {
    /// A password was set or changed.
    PasswordChanged {
        /// Whose.
        account: BareJid,
    }
    /// The account was disabled: it may not log in, and its sessions have ended.
    AccountDisabled {
        /// Which.
        account: BareJid,
    }
    /// The account was removed; its rows are being dropped. Told in its lane, after its sessions ended.
    AccountRemoved {
        /// Which.
        account: BareJid,
    }
    /// A resource was bound.
    Bound {
        /// The session.
        session: SessionId,
        /// Its full address.
        jid: Jid,
    }
    /// A session's presence became or stayed available.
    Available {
        /// The session.
        session: SessionId,
        /// Its full address.
        jid: Jid,
        /// Whether it was not available before.
        first: bool,
        /// What was broadcast.
        presence: Stanza,
    }
    /// A session's presence became unavailable, by its own word or by its end.
    Unavailable {
        /// The session.
        session: SessionId,
        /// Its full address.
        jid: Jid,
        /// What was broadcast.
        presence: Stanza,
    }
    /// A session lost its connection and waits to be resumed.
    Hibernated {
        /// The session.
        session: SessionId,
        /// Its full address.
        jid: Jid,
        /// Stanzas that the client has not acknowledged.
        unacknowledged: usize,
    }
    /// A session was resumed.
    Resumed {
        /// The session.
        session: SessionId,
        /// Its full address.
        jid: Jid,
    }
    /// A session is over.
    Ended {
        /// The session.
        session: SessionId,
        /// Its full address.
        jid: Jid,
    }
    /// Presence of a contact arrived at the account.
    ContactPresence {
        /// The contact's address.
        from: Jid,
        /// What arrived.
        presence: Stanza,
    }
    /// A subscription changed.
    Subscription {
        /// With whom.
        contact: BareJid,
    }
    /// A roster item was set or removed.
    RosterChanged {
        /// The contact.
        contact: BareJid,
        /// Whether the item is gone.
        removed: bool,
    }
    /// Addresses were blocked (XEP-0191).
    Blocked {
        /// Which.
        jids: Vec<Jid>,
    }
    /// Addresses were unblocked; none named means all.
    Unblocked {
        /// Which.
        jids: Vec<Jid>,
    }
    /// A vCard was set (XEP-0054).
    VcardSet {
        /// Whose.
        account: BareJid,
    }
    /// Private XML was set (XEP-0049).
    PrivateSet {
        /// Namespace of the element.
        ns: String,
    }
}
