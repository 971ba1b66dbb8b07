//! Answers to probes (RFC 6121 §4.3.2, §4.6.6).

use nuncio_xmpp::jid::Jid;
use nuncio_xmpp::ns;
use nuncio_xmpp::stanza::{PresenceType, Stanza, StanzaBuilder, presence};
use nuncio_xmpp::xml::Builder;

use super::broadcast::addressed;
use crate::clock;
use crate::lane::{SessionState, Step};

/// The account is probed, at its bare address or about one resource.
pub(super) fn answer(step: &mut Step<'_>, probe: &Stanza) {
    let (Some(asker), Some(about)) = (probe.from().cloned(), probe.to().cloned()) else { return };
    let bare = asker.bare();
    let subscribed = bare == step.account.jid || step.account.roster.shares_with(&bare);
    match (subscribed, about.is_full()) {
        (true, false) => whole(step, probe, &asker),
        (true, true) => one(step, probe, &asker, &about),
        (false, _) => directed(step, probe, &asker, &about),
    }
}

/// What a server answers to the probe of somebody who has no subscription, or about an account that does not exist: not told apart
/// (RFC 6121 §4.3.2, rule 1).
pub(crate) fn stranger(probe: &Stanza) -> Option<Stanza> {
    let (asker, about) = (probe.from()?.bare(), probe.to()?.bare());
    Some(answer_to(probe, PresenceType::Unsubscribed).from(about.to_jid()).to(asker.to_jid()).build())
}

/// Rules 3 and 4: the last presence of each available resource with its own id; if there is none, since when.
fn whole(step: &mut Step<'_>, probe: &Stanza, asker: &Jid) {
    let shown: Vec<_> = step
        .account
        .available()
        .filter(|state| step.sees(asker, Some(state.id())))
        .filter_map(|state| state.presence.clone())
        .collect();
    if shown.is_empty() {
        let mut gone = unavailable(probe, step.account.jid.to_jid(), asker);
        // One who sees nothing is not told since when either.
        if step.sees(asker, None)
            && !step.account.is_available()
            && let Some(last) = step.account.roster.last()
        {
            gone = gone.child(Builder::new("delay", ns::DELAY).attr("stamp", clock::stamp(last)));
        }
        step.send(gone.build());
    }
    for current in shown {
        step.send(addressed(&current, asker.clone()));
    }
}

/// Only that the resource is there, or that it is not.
fn one(step: &mut Step<'_>, probe: &Stanza, asker: &Jid, about: &Jid) {
    let there = step
        .account
        .sessions
        .iter()
        .any(|state| state.jid() == about && state.is_available() && step.sees(asker, Some(state.id())));
    let answer = if there {
        presence(PresenceType::Available).from(about.clone()).to(asker.clone())
    } else {
        unavailable(probe, about.clone(), asker)
    };
    step.send(answer.build());
}

/// Somebody without a subscription learns only of the resources that sent it directed presence, and of these only that they are there.
fn directed(step: &mut Step<'_>, probe: &Stanza, asker: &Jid, about: &Jid) {
    let told: Vec<_> = step
        .account
        .sessions
        .iter()
        .filter(|state| about.is_bare() || state.jid() == about)
        .filter(|state| step.sees(asker, Some(state.id())))
        .map(SessionState::jid)
        .cloned()
        .collect();
    if told.is_empty()
        && let Some(no) = stranger(probe)
    {
        step.send(no);
    }
    for from in told {
        step.send(presence(PresenceType::Available).from(from).to(asker.clone()).build());
    }
}

fn unavailable(probe: &Stanza, from: Jid, asker: &Jid) -> StanzaBuilder {
    answer_to(probe, PresenceType::Unavailable).from(from).to(asker.clone())
}

/// RFC 6121 §4.3.2.1: the id of the probe is mirrored where no presence of the account is passed on.
fn answer_to(probe: &Stanza, kind: PresenceType) -> StanzaBuilder {
    presence(kind).id(probe.id())
}
