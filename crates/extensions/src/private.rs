//! XEP-0049 Private XML Storage: one element for each namespace, for the account itself only.

use std::collections::BTreeMap;

use nuncio_router::facts::PrivateSet;
use nuncio_router::points::{Handler, failed};
use nuncio_router::store::{Range, Table};
use nuncio_router::{Ask, At, ConfigError, Cx, Extension, Host, Reply, Xep};
use nuncio_xmpp::error::{Condition, StanzaError};
use nuncio_xmpp::ns;
use nuncio_xmpp::stanza::IqType;
use nuncio_xmpp::xml::{Builder, Element, ElementRef};
use serde::Deserialize;

/// See the module.
pub const EXTENSION: Extension = Extension {
    name: "private",
    xeps: &[Xep { number: 49, version: "1.2", title: "Private XML Storage" }],
    needs: &[],
    default_on: true,
    plug,
};

/// What one account may keep.
#[derive(Clone, Copy, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Config {
    /// Elements.
    elements: usize,
    /// Bytes of all of them.
    bytes: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self { elements: 200, bytes: 1 << 20 }
    }
}

fn plug(host: &mut Host<'_>) -> Result<(), ConfigError> {
    let config: Config = host.config()?;
    let table = host.table("private")?;
    host.feature_at(At::Account, ns::PRIVATE);
    host.feature(ns::PRIVATE);
    for kind in [IqType::Get, IqType::Set] {
        host.handler(
            At::Account,
            kind,
            "query",
            ns::PRIVATE,
            Private { table: table.clone(), most: config },
        )?;
    }
    Ok(())
}

struct Private {
    table: Table,
    most: Config,
}

impl Handler for Private {
    async fn handle(&self, cx: &Cx<'_>, ask: Ask) -> Result<Reply, StanzaError> {
        // §2.3 leaves two conditions for somebody else's storage; this one does not tell whether there is such an account.
        ask.own()?;
        if ask.is_set() { self.set(cx, &ask).await } else { self.get(&ask).await }
    }
}

impl Private {
    async fn get(&self, ask: &Ask) -> Result<Reply, StanzaError> {
        let query = ask.payload()?;
        let mut asked = query.children();
        let wanted = asked.next().ok_or_else(|| StanzaError::new(Condition::NotAcceptable))?; // §2.3
        if asked.next().is_some() {
            return Err(StanzaError::new(Condition::BadRequest)); // §2.3: one namespace a request
        }
        let owner = ask.account();
        let found = self.table.get(owner.as_str(), &key(wanted)?).await.map_err(|fault| failed(&fault))?;
        let kept = found.and_then(|bytes| Element::parse(bytes).ok());
        let child = match &kept {
            Some(kept) => Builder::new("query", ns::PRIVATE).copy(kept.root()),
            // What was never stored is returned as it was asked for: empty.
            None => Builder::new("query", ns::PRIVATE).child(Builder::new(wanted.name(), wanted.ns())),
        };
        Ok(Reply::Result(child))
    }

    async fn set(&self, cx: &Cx<'_>, ask: &Ask) -> Result<Reply, StanzaError> {
        let query = ask.payload()?;
        let owner = ask.account();
        if query.children().next().is_none() {
            return Err(StanzaError::new(Condition::NotAcceptable)); // §2.3
        }
        let kept = self.table.range(owner.as_str(), Range::all(), self.most.elements, false).await;
        let kept = kept.map_err(|fault| failed(&fault))?.into_iter();
        let mut sizes: BTreeMap<Vec<u8>, usize> =
            kept.map(|(key, kept)| (key.to_vec(), kept.len())).collect();
        let mut batch = cx.router.store().batch();
        let mut set = Vec::new();
        for child in query.children() {
            let mut bytes = Vec::new();
            child.write_closed(&mut bytes, "");
            let key = key(child)?;
            sizes.insert(key.clone(), bytes.len());
            batch.put(&self.table, owner.as_str(), &key, bytes);
            set.push(PrivateSet { ns: child.ns().to_owned() });
        }
        if sizes.len() > self.most.elements || sizes.values().sum::<usize>() > self.most.bytes {
            return Err(StanzaError::new(Condition::ResourceConstraint));
        }
        let stepped = cx.router.step(&owner, |step| {
            step.commit(batch);
            set.iter().for_each(|fact| step.fact(fact));
        });
        let stepped = stepped.await.map_err(|fault| failed(&fault))?;
        let stepped = stepped.ok_or_else(|| StanzaError::new(Condition::ServiceUnavailable))?;
        stepped.ticket.await.map_err(|fault| failed(&fault))?;
        Ok(Reply::Empty)
    }
}

/// Namespace and name, parted by a byte that neither can hold.
fn key(element: ElementRef<'_>) -> Result<Vec<u8>, StanzaError> {
    // §2.1: an element needs a namespace of its own.
    if element.ns().is_empty() || element.ns() == ns::CLIENT {
        return Err(StanzaError::new(Condition::NotAcceptable));
    }
    let mut key = element.ns().as_bytes().to_vec();
    key.push(0);
    key.extend_from_slice(element.name().as_bytes());
    Ok(key)
}
