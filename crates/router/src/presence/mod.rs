//! Presence and subscriptions (RFC 6121 §3, §4) as steps of the account's lane.

use nuncio_xmpp::stanza::{Kind, PresenceType, Stanza};

use crate::facts::{Available, Unavailable};
use crate::lane::Step;
use crate::session::SessionId;

/// A session has sent presence: a broadcast, directed presence, a probe or a subscription stanza. It has passed police and stamps at Leaving.
/// `stanza.from()` is the full address; the stanza goes out with [`Step::send`] and the like.
///
/// Sets presence and priority of the session and tells [`Available`] and [`Unavailable`]. Returns whether
/// this was the session's first non-negative presence since it became available: offline messages are due (XEP-0160).
pub(crate) fn outgoing(step: &mut Step<'_>, from: SessionId, stanza: &Stanza) -> bool {
    if stanza.to().is_some() {
        step.send_or_bounce(stanza.clone());
        return false;
    }
    let Some(session) = step.account.session_mut(from) else {
        return false;
    };
    let jid = session.jid().clone();
    match stanza.kind() {
        Kind::Presence(PresenceType::Available) => {
            let before = session.presence.is_some() && session.priority >= 0;
            let first = session.presence.replace(stanza.clone()).is_none();
            session.priority = priority(stanza);
            let due = session.priority >= 0 && !before;
            step.fact(&Available { session: from, jid, first, presence: stanza.clone() });
            due
        }
        Kind::Presence(PresenceType::Unavailable) => {
            session.presence = None;
            step.fact(&Unavailable { session: from, jid, presence: stanza.clone() });
            false
        }
        _ => false,
    }
}

/// The priority of a presence; 0 if it has none or an invalid one (RFC 6121 §4.7.2.3).
pub(crate) fn priority(stanza: &Stanza) -> i8 {
    stanza
        .child("priority", nuncio_xmpp::ns::CLIENT)
        .and_then(|priority| priority.text().trim().parse().ok())
        .unwrap_or(0)
}

/// Presence has arrived for the account, at its bare or a full address: of contacts, probes, subscription stanzas. It has passed police at Arriving.
pub(crate) fn incoming(step: &mut Step<'_>, stanza: &Stanza) {
    let Some(to) = stanza.to() else { return };
    let sessions: Vec<_> = match to.resource() {
        Some(resource) => {
            step.account.resource(resource).map(super::lane::SessionState::id).into_iter().collect()
        }
        None => step.account.available().map(super::lane::SessionState::id).collect(),
    };
    for session in sessions {
        step.deliver(session, stanza);
    }
}

/// A session is about to be removed from the account: it has ended without saying so, or was ended. It is still in `account.sessions`.
/// Everyone who knows of its presence, by broadcast or directed, gets `unavailable` (RFC 6121 §4.5, §4.6.3).
pub(crate) fn ended(step: &mut Step<'_>, session: SessionId) {
    let Some(state) = step.account.session_mut(session) else { return };
    state.presence = None;
}

/// The account is being removed: contacts are told (`unsubscribe` and `unsubscribed`), as RFC 6121 §2.5.2 does for each item.
pub(crate) fn removed(_step: &mut Step<'_>) {}
