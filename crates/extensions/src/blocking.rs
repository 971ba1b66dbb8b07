//! XEP-0191 Blocking Command: an account's list of addresses that it neither hears nor speaks to, and that see it offline.

use std::collections::BTreeSet;

use bytes::Bytes;
use nuncio_router::choose::{self, Choice};
use nuncio_router::facts::{Blocked, Unblocked};
use nuncio_router::points::{Handler, Judge, Load, Police, PoliceAt, Sees, Sight, Standing, Verdict, failed};
use nuncio_router::slots::{AccountSlot, Life, SessionSlot};
use nuncio_router::store::{Fault, Look, Range, Table};
use nuncio_router::{Ask, At, ConfigError, Cx, Extension, Host, Reply, Step, Xep};
use nuncio_xmpp::error::{Condition, ErrorType, StanzaError};
use nuncio_xmpp::jid::{BareJid, Jid};
use nuncio_xmpp::ns;
use nuncio_xmpp::stanza::{IqType, Kind, PresenceType, Stanza, iq, presence};
use nuncio_xmpp::xml::{Builder, ElementRef};
use std::sync::Arc;

/// See the module.
pub const EXTENSION: Extension = Extension {
    name: "blocking",
    xeps: &[Xep { number: 191, version: "1.3", title: "Blocking Command" }],
    needs: &[],
    default_on: true,
    plug,
};

/// Addresses that one account may block.
const MOST: usize = 5_000;

fn plug(host: &mut Host<'_>) -> Result<(), ConfigError> {
    let table = host.table("blocklist")?;
    let list = host.loaded_slot(Loads(table.clone()));
    let asked = host.session_slot(Life::Session);
    let block = Blocking { table, list, asked };
    host.feature(ns::BLOCKING);
    host.handler(At::Account, IqType::Get, "blocklist", ns::BLOCKING, block.clone())?;
    host.handler(At::Account, IqType::Set, "block", ns::BLOCKING, block.clone())?;
    host.handler(At::Account, IqType::Set, "unblock", ns::BLOCKING, block)?;
    host.police(PoliceAt::Leaving, Arc::new(Outward(list)));
    host.police(PoliceAt::Arriving, Arc::new(Inward(list)));
    host.judge::<Sees>(Unseen(list));
    Ok(())
}

/// The addresses that an account blocks.
#[derive(Debug, Default)]
struct Blocklist(BTreeSet<Jid>);

impl Blocklist {
    /// Whether an entry matches: the full address, the account, the domain's resource, the domain (XEP-0191 §4).
    fn holds(&self, jid: &Jid) -> bool {
        if self.0.is_empty() {
            return false;
        }
        let domain = || Jid::from_parts(None, jid.domain(), None);
        let of_domain = || Jid::from_parts(None, jid.domain(), jid.resource());
        self.0.contains(jid)
            || self.0.contains(jid.bare_str())
            || of_domain().is_ok_and(|jid| self.0.contains(&jid))
            || domain().is_ok_and(|jid| self.0.contains(&jid))
    }
}

struct Loads(Table);

impl Load<Blocklist> for Loads {
    fn load(&self, look: &Look<'_>) -> Result<Blocklist, Fault> {
        let rows = look.range(&self.0, &Range::all(), MOST)?;
        let jids = rows.iter().filter_map(|(key, _)| Jid::new(std::str::from_utf8(key).ok()?).ok());
        Ok(Blocklist(jids.collect()))
    }
}

fn blocks(at: &Standing<'_>, list: AccountSlot<Blocklist>, other: Option<&Jid>) -> bool {
    let (Some(account), Some(other)) = (at.account, other) else {
        return false;
    };
    // An account's own resources never block each other (§5), and it goes on asking its own server.
    let own = other.bare_str() == account.jid.as_str() || other.bare_str() == account.jid.domain();
    !own && account.slot(list).is_some_and(|list| list.holds(other))
}

struct Outward(AccountSlot<Blocklist>);

impl Police for Outward {
    fn judge(&self, at: &Standing<'_>, stanza: &Stanza) -> Verdict {
        if !blocks(at, self.0, stanza.to()) {
            return Verdict::Pass;
        }
        let mut error = StanzaError::new(Condition::NotAcceptable);
        error.kind = ErrorType::Cancel; // XEP-0191 §3.4
        error.extra = Some(Box::new(Builder::new("blocked", ns::BLOCKING_ERRORS)));
        Verdict::Refuse(error)
    }
}

struct Inward(AccountSlot<Blocklist>);

impl Police for Inward {
    fn judge(&self, at: &Standing<'_>, stanza: &Stanza) -> Verdict {
        if !blocks(at, self.0, stanza.from()) {
            return Verdict::Pass;
        }
        // As if there were no such account (§3.3); presence gets no answer at all.
        let bare = stanza.to().is_none_or(Jid::is_bare);
        match (stanza.kind(), choose::nobody(stanza.kind(), bare)) {
            (Kind::Message(_), Some(Choice::Bounce(condition))) => {
                Verdict::Refuse(StanzaError::new(condition))
            }
            (Kind::Iq(_), Some(Choice::Bounce(_))) => {
                Verdict::Refuse(StanzaError::new(at.cx.router.nobody(stanza)))
            }
            _ => Verdict::Drop,
        }
    }
}

struct Unseen(AccountSlot<Blocklist>);

impl Judge<Sees> for Unseen {
    fn judge(&self, _cx: &Cx<'_>, about: &Sight<'_>) -> bool {
        about.asker.bare_str() == about.account.jid.as_str()
            || !about.account.slot(self.0).is_some_and(|list| list.holds(about.asker))
    }
}

#[derive(Clone)]
struct Blocking {
    table: Table,
    list: AccountSlot<Blocklist>,
    /// Sessions that asked for the list get pushes.
    asked: SessionSlot<bool>,
}

impl Handler for Blocking {
    async fn handle(&self, cx: &Cx<'_>, ask: Ask) -> Result<Reply, StanzaError> {
        ask.own()?;
        let payload = ask.payload()?;
        let jids = items(payload)?;
        let name = payload.name().to_owned();
        let owner = ask.account();
        let session = ask.session.as_ref().map(|session| session.id());
        let stepped = cx
            .router
            .step(&owner, |step| match name.as_str() {
                "block" => self.block(step, jids),
                "unblock" => Ok(self.unblock(step, jids)),
                _ => {
                    if let Some(state) = session.and_then(|id| step.account.session_mut(id)) {
                        *state.slot_mut(self.asked) = true;
                    }
                    let list = step.account.slot(self.list);
                    let jids = list.into_iter().flat_map(|list| &list.0);
                    Ok(Reply::Result(Builder::new("blocklist", ns::BLOCKING).children(jids.map(item))))
                }
            })
            .await
            .map_err(|fault| failed(&fault))?
            .ok_or_else(|| StanzaError::new(Condition::ServiceUnavailable))?;
        stepped.ticket.await.map_err(|fault| failed(&fault))?;
        stepped.value
    }
}

impl Blocking {
    /// Order: unavailable goes out, the block holds, pushes; the result follows (XEP-0191 §3.3).
    fn block(&self, step: &mut Step<'_>, jids: Vec<Jid>) -> Result<Reply, StanzaError> {
        if jids.is_empty() {
            return Err(StanzaError::new(Condition::BadRequest));
        }
        let kept = step.account.slot(self.list).map_or(0, |list| list.0.len());
        if kept + jids.len() > MOST {
            return Err(StanzaError::new(Condition::ResourceConstraint));
        }
        for jid in &jids {
            for stanza in Self::presences(step, jid, true) {
                step.send(stanza);
            }
        }
        let mut batch = step.router.store().batch();
        for jid in &jids {
            batch.put(&self.table, step.account.jid.as_str(), jid.as_str().as_bytes(), Bytes::new());
        }
        step.commit(batch);
        step.account.slot_mut(self.list).0.extend(jids.iter().cloned());
        self.push(step, "block", &jids);
        step.fact(&Blocked { jids });
        Ok(Reply::Empty)
    }

    /// Order: the block is lifted, pushes, current presence; the result follows.
    fn unblock(&self, step: &mut Step<'_>, jids: Vec<Jid>) -> Reply {
        let all: Vec<Jid> = if jids.is_empty() {
            step.account.slot(self.list).map(|list| list.0.iter().cloned().collect()).unwrap_or_default()
        } else {
            jids.clone()
        };
        let mut batch = step.router.store().batch();
        for jid in &all {
            batch.delete(&self.table, step.account.jid.as_str(), jid.as_str().as_bytes());
            step.account.slot_mut(self.list).0.remove(jid);
        }
        step.commit(batch);
        self.push(step, "unblock", &jids);
        for jid in &all {
            for stanza in Self::presences(step, jid, false) {
                step.send(stanza);
            }
        }
        step.fact(&Unblocked { jids });
        Reply::Empty
    }

    /// The presence of every available session for those whom the entry means and who may see it.
    fn presences(step: &Step<'_>, entry: &Jid, unavailable: bool) -> Vec<Stanza> {
        let means = Blocklist([entry.clone()].into());
        let own = &step.account.jid;
        // Those with a subscription: the contact, its resource, or whom a domain has. The account's own sessions stay what they are (§5).
        let contacts: Vec<Jid> = match entry.local() {
            Some(_) if step.account.roster.shares_with(&entry.bare()) => vec![entry.clone()],
            Some(_) => Vec::new(),
            None => step
                .account
                .roster
                .subscribers()
                .map(BareJid::to_jid)
                .filter(|jid| means.holds(jid))
                .collect(),
        };
        let contacts: Vec<Jid> = contacts.into_iter().filter(|jid| jid.bare_str() != own.as_str()).collect();
        let mut out = Vec::new();
        for state in step.account.available() {
            // And those who were told directly, unless they are told with all of the contact's resources.
            let directed = state.directed.iter().filter(|jid| {
                means.holds(jid) && !contacts.iter().any(|contact| contact.as_str() == jid.bare_str())
            });
            let mut readers: Vec<&Jid> = contacts.iter().chain(directed).collect();
            readers.sort_unstable();
            readers.dedup();
            for reader in readers {
                if !step.sees(reader, Some(state.id())) {
                    continue;
                }
                if unavailable {
                    let gone = presence(PresenceType::Unavailable).from(state.jid().clone());
                    out.push(gone.to(reader.clone()).build());
                } else if let Some(last) = &state.presence {
                    let mut last = last.clone();
                    last.set_to(Some(reader.clone()));
                    out.push(last);
                }
            }
        }
        out
    }

    fn push(&self, step: &mut Step<'_>, name: &str, jids: &[Jid]) {
        let readers: Vec<_> = step
            .account
            .sessions
            .iter()
            .filter(|state| state.slot(self.asked).copied().unwrap_or(false))
            .map(|state| (state.id(), state.jid().clone()))
            .collect();
        for (id, to) in readers {
            let change = Builder::new(name, ns::BLOCKING).children(jids.iter().map(item));
            let push = iq(IqType::Set, &step.router.entropy().token())
                .from(step.account.jid.to_jid())
                .to(to)
                .child(change)
                .build();
            step.deliver(id, &push);
        }
    }
}

fn item(jid: &Jid) -> Builder {
    Builder::new("item", ns::BLOCKING).attr("jid", jid)
}

fn items(payload: ElementRef<'_>) -> Result<Vec<Jid>, StanzaError> {
    let mut jids = Vec::new();
    for child in payload.children().filter(|child| child.is("item", ns::BLOCKING)) {
        let jid = child.attr("jid").ok_or_else(|| StanzaError::new(Condition::BadRequest))?;
        jids.push(Jid::new(&jid).map_err(|_| StanzaError::new(Condition::JidMalformed))?);
    }
    Ok(jids)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_match_in_four_ways() {
        // XEP-0191 §4: the entry, what it matches, what it does not.
        let cases: &[(&str, &[&str], &[&str])] = &[
            ("a@b.example/r", &["a@b.example/r"], &["a@b.example", "a@b.example/s"]),
            ("a@b.example", &["a@b.example", "a@b.example/r"], &["c@b.example", "b.example"]),
            ("b.example/r", &["b.example/r"], &["b.example", "b.example/s"]),
            ("b.example", &["b.example", "b.example/r", "a@b.example", "a@b.example/r"], &["x.b.example"]),
        ];
        for (entry, matched, others) in cases {
            let list = Blocklist([Jid::new(entry).unwrap()].into());
            for jid in *matched {
                assert!(list.holds(&Jid::new(jid).unwrap()), "{entry} holds {jid}");
            }
            for jid in *others {
                assert!(!list.holds(&Jid::new(jid).unwrap()), "{entry} does not hold {jid}");
            }
        }
    }
}
