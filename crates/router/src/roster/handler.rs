//! `jabber:iq:roster` (RFC 6121 §2.1), and the stream features that tell what the server can (§2.6.1, §3.4).

use nuncio_stream::c2s::Moment;
use nuncio_xmpp::error::{Condition, StanzaError};
use nuncio_xmpp::ns;
use nuncio_xmpp::stanza::IqType;
use nuncio_xmpp::xml::Builder;

use super::{TABLE, Wish};
use crate::host::{ConfigError, Host};
use crate::points::{Ask, At, Cx, Greeter, Handler, Reply, failed};

/// Registers the handlers of `jabber:iq:roster`, its shapes and features.
pub(crate) fn plug(host: &mut Host<'_>) -> Result<(), ConfigError> {
    host.table(TABLE)?;
    host.handler(At::Account, IqType::Get, "query", ns::ROSTER, Get)?;
    host.handler(At::Account, IqType::Set, "query", ns::ROSTER, Set)?;
    host.feature(ns::ROSTER);
    host.greeter(Versions)?;
    host.greeter(PreApproval)
}

/// Refuses everyone but the account itself (RFC 6121 §2.1.5, §2.3.3). An account that does not exist says the same.
fn own(ask: &Ask) -> Result<(), StanzaError> {
    if ask.is_own() { Ok(()) } else { Err(StanzaError::new(Condition::Forbidden)) }
}

/// A roster get.
struct Get;

impl Handler for Get {
    const NOBODY: Condition = Condition::Forbidden;

    /// The result, and the pushes that bring a client with an older version up to date, go into the session's queue in the step in which the
    /// roster is read: no push of a later change can come before them.
    async fn handle(&self, cx: &Cx<'_>, ask: Ask) -> Result<Reply, StanzaError> {
        own(&ask)?;
        let query = ask.payload()?;
        if query.children().any(|child| child.is("item", ns::ROSTER)) {
            return Err(StanzaError::new(Condition::BadRequest).with_text("a roster get has no items"));
        }
        let ver = query.attr("ver").map(|ver| ver.into_owned());
        let session = ask.session.as_ref().map(|session| session.id());
        let stanza = &ask.stanza;
        let stepped = cx
            .router
            .step(&ask.account(), move |step| {
                let roster = &step.account.roster;
                let Some(state) = session.and_then(|id| step.account.session(id)) else {
                    return Reply::Result(roster.query());
                };
                let id = state.id();
                let changes = ver.and_then(|ver| roster.since(&ver));
                let result = stanza.result(changes.is_none().then(|| roster.query()));
                step.deliver(id, &result);
                for push in changes.unwrap_or_default() {
                    step.push_item(id, &push);
                }
                if let Some(state) = step.account.session_mut(id) {
                    state.interested = true;
                }
                Reply::Silent
            })
            .await
            .map_err(|fault| failed(&fault))?;
        Ok(stepped.ok_or_else(|| StanzaError::new(Condition::ItemNotFound))?.value)
    }
}

/// A roster set.
struct Set;

impl Handler for Set {
    const NOBODY: Condition = Condition::Forbidden;

    async fn handle(&self, cx: &Cx<'_>, ask: Ask) -> Result<Reply, StanzaError> {
        own(&ask)?;
        let account = ask.account();
        let wish = Wish::read(ask.payload()?, &account)?;
        let stepped = cx.router.step(&account, move |step| step.set_roster(wish)).await;
        let stepped = stepped
            .map_err(|fault| failed(&fault))?
            .ok_or_else(|| StanzaError::new(Condition::ItemNotFound))?;
        stepped.value?;
        stepped.ticket.await.map_err(|fault| failed(&fault))?;
        Ok(Reply::Empty)
    }
}

/// Tells that versions are understood (RFC 6121 §2.6.1).
struct Versions;

impl Greeter for Versions {
    fn offer(&self, _cx: &Cx<'_>, at: &Moment) -> Option<Builder> {
        at.authenticated.is_some().then(|| Builder::new("ver", ns::ROSTERVER))
    }
}

/// Tells that subscriptions can be approved before they are asked for (RFC 6121 §3.4).
struct PreApproval;

impl Greeter for PreApproval {
    fn offer(&self, _cx: &Cx<'_>, at: &Moment) -> Option<Builder> {
        at.authenticated.is_some().then(|| Builder::new("sub", ns::PREAPPROVAL))
    }
}
