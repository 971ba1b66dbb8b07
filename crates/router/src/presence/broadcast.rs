//! Initial presence, updates, unavailable and directed presence (RFC 6121 §4.2, §4.4, §4.5, §4.6).

use nuncio_xmpp::error::{Condition, StanzaError};
use nuncio_xmpp::jid::{BareJid, Jid};
use nuncio_xmpp::stanza::{PresenceType, Stanza, presence};

use super::{priority, refuse, restore};
use crate::facts::{Available, Unavailable};
use crate::lane::Step;
use crate::points::{PoliceAt, Verdict};
use crate::session::SessionId;

/// A session says that it is available. Returns whether offline messages are due.
pub(super) fn available(step: &mut Step<'_>, id: SessionId, stanza: &Stanza) -> bool {
    let priority = match priority(stanza) {
        Ok(priority) => priority,
        Err(error) => {
            refuse(step, id, stanza, error);
            return false;
        }
    };
    let alone = !step.account.is_available();
    let Some(state) = step.account.session_mut(id) else { return false };
    let due = priority >= 0 && (state.presence.is_none() || state.priority < 0);
    let first = state.presence.replace(stanza.clone()).is_none();
    state.priority = priority;
    let jid = state.jid().clone();
    to_subscribers(step, id, stanza);
    to_own(step, stanza, None);
    if first {
        others_of_own(step, id);
        requests(step, id);
        probes(step, &jid);
        if alone {
            ask_again(step);
        }
    }
    step.fact(&Available { session: id, jid, first, presence: stanza.clone() });
    due
}

/// A session is no longer available: it says so, or it has ended. Everybody who knows otherwise is told; its directed presence is forgotten.
/// `echo`: the session is told too.
pub(super) fn unavailable(step: &mut Step<'_>, id: SessionId, stanza: &Stanza, echo: bool) {
    let Some(state) = step.account.session_mut(id) else { return };
    let jid = state.jid().clone();
    let was = state.presence.take().is_some();
    state.priority = 0;
    let mut directed: Vec<Jid> = std::mem::take(&mut state.directed).into_iter().collect();
    directed.sort_unstable();
    if was {
        to_subscribers(step, id, stanza);
        to_own(step, stanza, echo.then_some(id));
    }
    for to in directed {
        let bare = to.bare();
        let told = was && (bare == step.account.jid || step.account.roster.shares_with(&bare));
        if !told {
            step.send(addressed(stanza, to));
        }
    }
    if was {
        if !step.account.is_available() {
            step.note_last();
        }
        step.fact(&Unavailable { session: id, jid, presence: stanza.clone() });
    }
}

/// A session sends presence to somebody in particular (RFC 6121 §4.6.3). Who would not be told of its end by broadcast is noted.
pub(super) fn directed(step: &mut Step<'_>, id: SessionId, stanza: &Stanza, to: &Jid) {
    let limit = step.router.config().limits.directed;
    let bare = to.bare();
    let told = bare == step.account.jid || step.account.roster.shares_with(&bare);
    let Some(state) = step.account.session_mut(id) else { return };
    if stanza.kind() == nuncio_xmpp::stanza::Kind::Presence(PresenceType::Unavailable) {
        state.directed.remove(to);
    } else if !(state.directed.contains(to) || told && state.is_available()) {
        if state.directed.len() >= limit {
            let error = StanzaError::new(Condition::ResourceConstraint);
            refuse(step, id, stanza, error.with_text("this session has sent presence to too many addresses"));
            return;
        }
        state.directed.insert(to.clone());
    }
    step.send_or_bounce(stanza.clone());
}

/// Sends a contact the current presence of each available session, if it may see it: it has just got a subscription.
pub(super) fn show(step: &mut Step<'_>, contact: &BareJid) {
    let to = contact.to_jid();
    let current: Vec<_> =
        step.account.available().map(|state| (state.id(), state.presence.clone())).collect();
    for (id, current) in current {
        if let Some(current) = current
            && step.sees(&to, Some(id))
        {
            step.send(addressed(&current, to.clone()));
        }
    }
}

/// Withdraws the presence of each available session from a contact that is about to lose its subscription (RFC 6121 §3.2.2, §3.3.3).
/// That it got directed presence besides changes nothing (§4.6.1).
pub(super) fn hide(step: &mut Step<'_>, contact: &BareJid) {
    let to = contact.to_jid();
    let sessions: Vec<_> = step.account.available().map(|state| (state.id(), state.jid().clone())).collect();
    for (id, from) in sessions {
        if step.sees(&to, Some(id)) {
            step.send(presence(PresenceType::Unavailable).from(from).to(to.clone()).build());
        }
    }
    for state in &mut step.account.sessions {
        if state.is_available() {
            state.directed.retain(|directed| directed.bare_str() != contact.as_str());
        }
    }
}

pub(super) fn addressed(stanza: &Stanza, to: Jid) -> Stanza {
    let mut stanza = stanza.clone();
    stanza.set_to(Some(to));
    stanza
}

fn to_subscribers(step: &mut Step<'_>, id: SessionId, stanza: &Stanza) {
    let contacts: Vec<_> = step.account.roster.subscribers().map(BareJid::to_jid).collect();
    for to in contacts {
        if step.sees(&to, Some(id)) {
            step.send(addressed(stanza, to));
        }
    }
}

/// An account's resources know of each other, and of themselves (RFC 6121 §4.2.2). `also` one that is not available any more.
fn to_own(step: &mut Step<'_>, stanza: &Stanza, also: Option<SessionId>) {
    let readers: Vec<_> = step
        .account
        .sessions
        .iter()
        .filter(|state| state.is_available() || Some(state.id()) == also)
        .map(|state| (state.id(), state.jid().clone()))
        .collect();
    for (id, to) in readers {
        step.deliver(id, &addressed(stanza, to));
    }
}

/// A session that has just become available gets the presence of the account's others.
fn others_of_own(step: &mut Step<'_>, id: SessionId) {
    let Some(to) = step.account.session(id).map(|state| state.jid().clone()) else { return };
    let others: Vec<_> = step
        .account
        .available()
        .filter(|state| state.id() != id)
        .filter_map(|state| state.presence.clone())
        .collect();
    for other in others {
        step.deliver(id, &addressed(&other, to.clone()));
    }
}

/// It gets the requests that wait for an answer, as they came, at each login until there is one (RFC 6121 §3.1.3). One of
/// somebody who may not come through any more waits on.
fn requests(step: &mut Step<'_>, id: SessionId) {
    let requests: Vec<_> = step.account.roster.requests().cloned().collect();
    for request in requests {
        let Some(request) = restore(&request) else {
            tracing::error!(account = %step.account.jid, "a subscription request cannot be read; it is left alone");
            continue;
        };
        if matches!(
            step.router.points().police(PoliceAt::Arriving, &step.standing(None), &request),
            Verdict::Pass
        ) {
            step.deliver(id, &request);
        }
    }
}

/// It learns who of those is there whose presence the account gets (RFC 6121 §4.3.1). Accounts of this server answer to the new resource alone,
/// and one that is not in memory has nobody there to tell of; other servers know the account only by its bare address.
fn probes(step: &mut Step<'_>, jid: &Jid) {
    let contacts: Vec<_> = step.account.roster.subscriptions().cloned().collect();
    for contact in contacts {
        let here = step.router.domain(contact.domain()).is_some();
        if here && step.router.lane_in_memory(&contact).is_none() {
            continue;
        }
        let from = if here { jid.clone() } else { step.account.jid.to_jid() };
        step.send(presence(PresenceType::Probe).from(from).to(contact.to_jid()).build());
    }
}

/// Requests that another server has not answered are sent once more when the account comes back (RFC 6121 §3.1.2).
fn ask_again(step: &mut Step<'_>) {
    let open: Vec<_> = step
        .account
        .roster
        .everyone()
        .filter(|(contact, item)| item.state.pending_out() && step.router.domain(contact.domain()).is_none())
        .map(|(contact, _)| contact.to_jid())
        .collect();
    for to in open {
        let id = step.router.entropy().token();
        let from = step.account.jid.to_jid();
        step.send(presence(PresenceType::Subscribe).from(from).to(to).id(id.as_str()).build());
    }
}
