//! Subscriptions (RFC 6121 §3): what the tables of Appendix A leave to be done.

use bytes::Bytes;
use nuncio_xmpp::error::{Condition, ErrorType, StanzaError};
use nuncio_xmpp::jid::BareJid;
use nuncio_xmpp::ns;
use nuncio_xmpp::stanza::{Stanza, presence};

use super::broadcast::{hide, show};
use super::refuse;
use crate::lane::Step;
use crate::roster::{Event, Item};
use crate::session::SessionId;

/// A request that is larger is kept without its content: requests of strangers are kept for as long as they are not answered.
const MAX_REQUEST: usize = 4096;

/// A session sends a subscription stanza (RFC 6121 §3.1.2, §3.1.5, §3.2.2, §3.3.2, §3.4.2).
pub(super) fn sends(step: &mut Step<'_>, session: SessionId, event: Event, stanza: &Stanza) {
    let contact = match stanza.to() {
        Some(to) => to.bare(),
        None => return refuse(step, session, stanza, Condition::BadRequest.into()),
    };
    if contact == step.account.jid {
        // An account has its own presence without asking (RFC 6121 §4.2.2).
        return refuse(
            step,
            session,
            stanza,
            StanzaError::new(Condition::NotAllowed).with_type(ErrorType::Cancel),
        );
    }
    let before = step.account.roster.known(&contact);
    let sent = before.state.sends(event, before.approved);
    let listed = before.listed || matches!(event, Event::Subscribe | Event::Subscribed);
    if listed && !before.listed && step.account.roster.len() >= step.router.config().limits.roster_items {
        let full = StanzaError::new(Condition::ResourceConstraint).with_type(ErrorType::Cancel);
        return refuse(step, session, stanza, full.with_text("the roster is full"));
    }
    let (was, is) = (before.subscription().is_from(), sent.state.subscription().is_from());
    if was && !is {
        hide(step, &contact);
    }
    if sent.route {
        let mut out = stanza.clone();
        out.set_from(Some(step.account.jid.to_jid()));
        out.set_to(Some(contact.to_jid()));
        step.send_or_bounce(out);
    }
    let request = before.request.clone().filter(|_| sent.state.pending_in());
    let item = Item { state: sent.state, approved: sent.approved, listed, request, ..before };
    step.set_item(&contact, item, false);
    if is && !was {
        show(step, &contact);
    }
}

/// A subscription stanza arrives (RFC 6121 §3.1.3, §3.1.6, §3.2.3, §3.3.3).
pub(super) fn receives(step: &mut Step<'_>, event: Event, stanza: &Stanza) {
    let Some(contact) = stanza.from().map(nuncio_xmpp::jid::Jid::bare) else { return };
    if contact == step.account.jid {
        return;
    }
    let mut stanza = stanza.clone();
    stanza.set_from(Some(contact.to_jid()));
    stanza.set_to(Some(step.account.jid.to_jid()));
    let before = step.account.roster.known(&contact);
    let got = before.state.receives(event, before.approved);
    let asks = got.state.pending_in() && !before.state.pending_in();
    if asks && step.account.roster.requests().count() >= step.router.config().limits.subscription_requests {
        // Nobody is told, as if the account never answered.
        step.router.metrics().requests_full.inc();
        return;
    }
    let (was, is) = (before.subscription().is_from(), got.state.subscription().is_from());
    if was && !is {
        hide(step, &contact);
    }
    if let Some(reply) = got.reply {
        let reply =
            presence(reply.kind()).from(step.account.jid.to_jid()).to(contact.to_jid()).id(stanza.id());
        step.send(reply.build());
    }
    if got.deliver {
        // Requests go to the available resources, answers to the interested ones, before the push (RFC 6121 §3.1.6).
        let readers: Vec<_> = step
            .account
            .sessions
            .iter()
            .filter(|state| if event == Event::Subscribe { state.is_available() } else { state.interested })
            .map(crate::lane::SessionState::id)
            .collect();
        for reader in readers {
            step.deliver(reader, &stanza);
        }
    }
    let request = if asks {
        Some(Box::new(kept(&stanza)))
    } else {
        before.request.clone().filter(|_| got.state.pending_in())
    };
    // The server's own approval is the account's: the contact is in the roster then (RFC 6121 §3.4).
    let listed = before.listed || got.state != before.state && is && !was;
    let item = Item { state: got.state, approved: got.approved, listed, request, ..before };
    step.set_item(&contact, item, false);
    if got.reply == Some(Event::Subscribed) {
        show(step, &contact);
    }
}

/// Ends whatever there is between the account and a contact, and tells the contact (RFC 6121 §2.5.2). The item is the caller's.
pub(crate) fn part_from(step: &mut Step<'_>, contact: &BareJid) {
    let state = step.account.roster.known(contact).state;
    if state.subscription().is_from() {
        hide(step, contact);
    }
    let tell = |step: &mut Step<'_>, event: Event| {
        let id = step.router.entropy().token();
        let from = step.account.jid.to_jid();
        step.send(presence(event.kind()).from(from).to(contact.to_jid()).id(id.as_str()).build());
    };
    if state.subscription().is_to() || state.pending_out() {
        tell(step, Event::Unsubscribe);
    }
    if state.subscription().is_from() || state.pending_in() {
        tell(step, Event::Unsubscribed);
    }
}

/// The request as it is kept: the complete stanza (RFC 6121 §3.1.3), unless it is too large.
fn kept(request: &Stanza) -> Bytes {
    let whole = request.bytes(ns::CLIENT);
    if whole.len() <= MAX_REQUEST {
        return whole;
    }
    let bare = presence(Event::Subscribe.kind()).from(request.from().cloned()).to(request.to().cloned());
    bare.id(request.id().filter(|id| id.len() <= 256)).build().bytes(ns::CLIENT)
}
