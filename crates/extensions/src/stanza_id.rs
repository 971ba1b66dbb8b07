//! XEP-0359 Unique and Stable Stanza IDs: what claims to be assigned by one of our addresses is taken off when it enters, and
//! messages get an id of the recipient's account when they arrive.

use nuncio_router::points::{Edit, Name, Stamp, StampAt, Standing, Wants};
use nuncio_router::{At, ConfigError, Extension, Host, Xep};
use nuncio_xmpp::jid::Jid;
use nuncio_xmpp::ns;
use nuncio_xmpp::stanza::{Marks, Stanza};
use nuncio_xmpp::xml::escape_attr;
use std::sync::Arc;

/// See the module.
pub const EXTENSION: Extension = Extension {
    name: "stanza_id",
    xeps: &[Xep { number: 359, version: "0.7.0", title: "Unique and Stable Stanza IDs" }],
    needs: &[],
    default_on: true,
    plug,
};

const OWNED: &[Name] = &[Name { name: "stanza-id", ns: ns::SID }];

fn plug(host: &mut Host<'_>) -> Result<(), ConfigError> {
    host.feature_at(At::Account, ns::SID);
    host.feature(ns::SID);
    let domains = host.router().domains.iter().map(|domain| domain.name.clone()).collect();
    host.stamp(StampAt::Entering, Arc::new(Strip(domains)))?;
    host.stamp(StampAt::Arriving, Arc::new(Assign))
}

/// Nobody outside assigns ids in the name of our addresses (§5 rule 3).
struct Strip(Arc<[String]>);

impl Stamp for Strip {
    fn wants(&self) -> Wants {
        Wants::ALL.with(Marks::STANZA_ID)
    }

    fn owns(&self) -> &'static [Name] {
        OWNED
    }

    fn stamp(&self, _at: &Standing<'_>, _stanza: &Stanza, edit: &mut Edit) {
        let ours = Arc::clone(&self.0);
        edit.strip(move |child| {
            // Compared as addresses, not as text (§5 rule 8). What has another author stays (rule 4).
            let by = || Jid::new(&child.attr("by")?).ok();
            child.is("stanza-id", ns::SID) && by().is_some_and(|by| ours.iter().any(|own| own == by.domain()))
        });
    }
}

/// One id by the recipient's account (§3.1).
struct Assign;

impl Stamp for Assign {
    fn wants(&self) -> Wants {
        Wants::MESSAGES
    }

    fn owns(&self) -> &'static [Name] {
        OWNED
    }

    fn stamp(&self, at: &Standing<'_>, stanza: &Stanza, edit: &mut Edit) {
        let Some(account) = at.account else {
            return;
        };
        if stanza.is_error() || !stanza.class().storable {
            return;
        }
        let id = at.cx.router.entropy().token();
        let by = account.jid.as_str();
        // Every message gets one: written at once, without a tree, and mostly into just the room that it needs.
        let [start, middle, end] =
            ["<stanza-id xmlns='urn:xmpp:sid:0' id='", "' by='", "'/>"].map(str::as_bytes);
        let mut child = Vec::with_capacity(start.len() + id.len() + middle.len() + by.len() + end.len());
        child.extend_from_slice(start);
        child.extend_from_slice(id.as_bytes());
        child.extend_from_slice(middle);
        escape_attr(&mut child, by);
        child.extend_from_slice(end);
        edit.add_closed(child.into());
    }
}
