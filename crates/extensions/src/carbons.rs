//! XEP-0280 Message Carbons: sessions that asked for it get a copy of what the account's other sessions send and receive.

use nuncio_router::points::{Copier, Copies, CopyAt, Handler, Standing, failed};
use nuncio_router::slots::{Life, SessionSlot};
use nuncio_router::{Ask, At, ConfigError, Cx, Extension, Host, Reply, SessionId, SessionState, Xep};
use nuncio_xmpp::error::{Condition, StanzaError};
use nuncio_xmpp::ns;
use nuncio_xmpp::payload::forwarded;
use nuncio_xmpp::stanza::{IqType, Kind, Marks, MessageType, Stanza, message};
use nuncio_xmpp::xml::Builder;
use std::sync::Arc;

/// See the module.
pub const EXTENSION: Extension = Extension {
    name: "carbons",
    xeps: &[Xep { number: 280, version: "1.0.1", title: "Message Carbons" }],
    needs: &[],
    default_on: true,
    plug,
};

fn plug(host: &mut Host<'_>) -> Result<(), ConfigError> {
    // A resumed session has them still.
    let on = host.session_slot(Life::Session);
    host.feature(ns::CARBONS);
    host.handler(At::Account, IqType::Set, "enable", ns::CARBONS, Switch { on, to: true })?;
    host.handler(At::Account, IqType::Set, "disable", ns::CARBONS, Switch { on, to: false })?;
    host.copier(CopyAt::Leaving, Arc::new(Carbons { on, way: "sent" }));
    host.copier(CopyAt::Arriving, Arc::new(Carbons { on, way: "received" }));
    Ok(())
}

struct Switch {
    on: SessionSlot<bool>,
    to: bool,
}

impl Handler for Switch {
    async fn handle(&self, cx: &Cx<'_>, ask: Ask) -> Result<Reply, StanzaError> {
        ask.own()?;
        let Some(session) = &ask.session else {
            return Err(StanzaError::new(Condition::NotAllowed)); // §4.1
        };
        let account = ask.account();
        cx.router
            .step(&account, |step| {
                if let Some(state) = step.account.session_mut(session.id()) {
                    *state.slot_mut(self.on) = self.to;
                }
            })
            .await
            .map_err(|fault| failed(&fault))?;
        Ok(Reply::Empty)
    }
}

struct Carbons {
    on: SessionSlot<bool>,
    way: &'static str,
}

impl Copier for Carbons {
    fn copy(&self, at: &Standing<'_>, stanza: &Stanza, chosen: &[SessionId], copies: &mut Copies) {
        let Some(account) = at.account else {
            return;
        };
        let Kind::Message(kind) = stanza.kind() else {
            return;
        };
        if !stanza.class().copyable {
            return;
        }
        // §6.1: what an occupant says privately goes to every joined client by itself; what is said to one interests those who are joined.
        let other = if self.way == "sent" { stanza.to() } else { stanza.from() };
        let marks = stanza.marks();
        let room =
            other.filter(|jid| jid.is_full() && marks.any(Marks::MUC_USER) && !marks.any(Marks::INVITE));
        if room.is_some() && self.way == "received" {
            return;
        }
        let joined = |state: &SessionState| {
            room.is_none_or(|room| state.directed.iter().any(|jid| jid.bare_str() == room.bare_str()))
        };
        let wants = |state: &&SessionState| {
            state.slot(self.on).copied().unwrap_or(false)
                && !chosen.contains(&state.id())
                // Neither to the sender, also where it writes to its own account (§8).
                && stanza.from() != Some(state.jid())
                && joined(state)
        };
        let mut wrapped = None;
        for state in account.sessions.iter().filter(wants) {
            let wrapped = wrapped.get_or_insert_with(|| self.wrap(stanza));
            let copy = message(kind_of_wrapper(kind))
                .from(account.jid.to_jid())
                .to(state.jid().clone())
                .child(wrapped.clone())
                .build();
            copies.push(state.id(), copy);
        }
    }
}

/// §7: the wrapper has the type of what it wraps, but an error must not look like one about the wrapper.
const fn kind_of_wrapper(kind: MessageType) -> MessageType {
    match kind {
        MessageType::Error => MessageType::Normal,
        kind => kind,
    }
}

impl Carbons {
    fn wrap(&self, stanza: &Stanza) -> Builder {
        Builder::new(self.way, ns::CARBONS).child(forwarded::wrap(stanza, None))
    }
}
