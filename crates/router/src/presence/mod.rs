//! Presence and subscriptions (RFC 6121 §3, §4) as steps of the account's lane.
//!
//! Whatever is said to others goes through [`Step::send`], whose police may stop it, and to those only whom [`Step::sees`] allows it, who are
//! asked wherever the account's presence could show. Whatever is said to the account's own sessions goes through [`Step::deliver`].

mod broadcast;
mod probe;
mod subscription;

use nuncio_xmpp::error::{Condition, StanzaError};
use nuncio_xmpp::ns;
use nuncio_xmpp::stanza::{Kind, PresenceType, Stanza, presence};

use crate::choose::{self, Choice};
use crate::facts::ContactPresence;
use crate::lane::Step;
use crate::session::SessionId;
pub(crate) use probe::stranger;
pub(crate) use subscription::part_from;

use crate::roster::Event;

/// A session has sent presence: a broadcast, directed presence, a probe or a subscription stanza. It has passed police and stamps at Leaving.
/// `stanza.from()` is the full address; the stanza goes out with [`Step::send`] and the like.
///
/// Sets presence and priority of the session and tells [`crate::facts::Available`] and [`crate::facts::Unavailable`]. Returns whether
/// this was the session's first non-negative presence since it became available: offline messages are due (XEP-0160).
pub(crate) fn outgoing(step: &mut Step<'_>, from: SessionId, stanza: &Stanza) -> bool {
    let Kind::Presence(kind) = stanza.kind() else { return false };
    match (kind, stanza.to()) {
        (PresenceType::Available, None) => return broadcast::available(step, from, stanza),
        (PresenceType::Unavailable, None) => broadcast::unavailable(step, from, stanza, true),
        (PresenceType::Available | PresenceType::Unavailable, Some(to)) => {
            broadcast::directed(step, from, stanza, &to.clone());
        }
        // A client need not probe, but it is not to be told off for it (RFC 6121 §4.3).
        (PresenceType::Probe | PresenceType::Error, Some(_)) => step.send(stanza.clone()),
        (PresenceType::Probe | PresenceType::Error, None) => {}
        (
            PresenceType::Subscribe
            | PresenceType::Subscribed
            | PresenceType::Unsubscribe
            | PresenceType::Unsubscribed,
            _,
        ) => {
            if let Some(event) = Event::of(kind) {
                subscription::sends(step, from, event, stanza);
            }
        }
    }
    false
}

/// Presence has arrived for the account, at its bare or a full address: of contacts, probes, subscription stanzas. It has passed police and
/// stamps at Arriving (RFC 6121 §8.5.2.1.2, §8.5.3.1, §8.5.3.2.2).
pub(crate) fn incoming(step: &mut Step<'_>, stanza: &Stanza) {
    let (Kind::Presence(kind), Some(from)) = (stanza.kind(), stanza.from()) else { return };
    let sessions = match choose::presence(kind, step.addressed(stanza), &step.resources()) {
        None => {
            match Event::of(kind) {
                Some(event) => subscription::receives(step, event, stanza),
                None => probe::answer(step, stanza),
            }
            return;
        }
        Some(Choice::Deliver(sessions)) => sessions,
        Some(Choice::Drop | Choice::Offline | Choice::Bounce(_)) => choose::Chosen::new(),
    };
    for id in sessions {
        if kind == PresenceType::Unavailable
            && let Some(state) = step.account.session_mut(id)
        {
            // Who has gone need not be told when this session goes (RFC 6121 §4.6.1).
            state.directed.remove(from);
        }
        step.deliver(id, stanza);
    }
    if kind != PresenceType::Error && step.is_heard::<ContactPresence>() {
        step.fact(&ContactPresence { from: from.clone(), presence: stanza.clone() });
    }
}

/// A session is about to be removed from the account: it has ended without saying so, or was ended. It is still in `account.sessions`.
/// Everyone who knows of its presence, by broadcast or directed, gets `unavailable` (RFC 6121 §4.5, §4.6.3).
pub(crate) fn ended(step: &mut Step<'_>, session: SessionId) {
    let Some(state) = step.account.session(session) else { return };
    if !state.is_available() && state.directed.is_empty() {
        return;
    }
    let mut stanza = presence(PresenceType::Unavailable).from(state.jid().clone()).build();
    step.stamp_leaving(&mut stanza, Some(session));
    broadcast::unavailable(step, session, &stanza, false);
}

/// The account is being removed: contacts are told (`unsubscribe` and `unsubscribed`), as RFC 6121 §2.5.2 does for each item.
pub(crate) fn removed(step: &mut Step<'_>) {
    let everyone: Vec<_> = step.account.roster.everyone().map(|(contact, _)| contact.clone()).collect();
    for contact in everyone {
        part_from(step, &contact);
    }
    // The rows go with the account; its sessions, which are ended next, are told by their stream's end.
    step.account.roster.clear();
}

/// The priority of a presence; 0 if it has none (RFC 6121 §4.7.2.3).
///
/// # Errors
/// `bad-request` for what is not one integer from -128 to 127.
pub(crate) fn priority(stanza: &Stanza) -> Result<i8, StanzaError> {
    let bad =
        || StanzaError::new(Condition::BadRequest).with_text("a priority is one integer from -128 to 127");
    let own = stanza.element().ns();
    let mut priorities = stanza.children().filter(|child| child.is("priority", own));
    let Some(priority) = priorities.next() else {
        return Ok(0);
    };
    if priorities.next().is_some() || priority.children().next().is_some() {
        return Err(bad());
    }
    priority.text().trim_matches([' ', '\t', '\r', '\n']).parse().map_err(|_| bad())
}

/// A session's own stanza is refused: the error comes from where it was to go.
fn refuse(step: &mut Step<'_>, session: SessionId, stanza: &Stanza, error: StanzaError) {
    let Some(mut answer) = stanza.error(error) else { return };
    let to = step.account.session(session).map(|state| state.jid().clone());
    answer.set_to(to);
    step.deliver(session, &answer);
}

/// Reads a stanza that was stored as it arrived.
fn restore(stored: &bytes::Bytes) -> Option<Stanza> {
    let element = nuncio_xmpp::xml::Element::parse_in(ns::CLIENT, stored.clone()).ok()?;
    Stanza::from_element(element).ok()
}

#[cfg(test)]
mod tests;
