//! XEP-0030 Service Discovery and XEP-0128 Service Discovery Extensions: what the server and each account can do.

use nuncio_router::disco::{About, Disco, Identity, Info, Item};
use nuncio_router::points::{Handler, failed};
use nuncio_router::{Ask, At, Boxed, ConfigError, Cx, Extension, Host, Reply, Xep};
use nuncio_xmpp::error::{Condition, StanzaError};
use nuncio_xmpp::ns;
use nuncio_xmpp::payload;
use nuncio_xmpp::stanza::IqType;

/// See the module.
pub const EXTENSION: Extension = Extension {
    name: "disco",
    xeps: &[
        Xep { number: 30, version: "2.5.0", title: "Service Discovery" },
        Xep { number: 128, version: "1.0.1", title: "Service Discovery Extensions" },
    ],
    needs: &[],
    default_on: true,
    plug,
};

fn plug(host: &mut Host<'_>) -> Result<(), ConfigError> {
    for at in [At::Server, At::Account] {
        host.feature_at(at, ns::DISCO_INFO);
        host.feature_at(at, ns::DISCO_ITEMS);
        host.handler(at, IqType::Get, "query", ns::DISCO_INFO, AskInfo)?;
        host.handler(at, IqType::Get, "query", ns::DISCO_ITEMS, AskItems)?;
    }
    host.disco(Own);
    Ok(())
}

/// What an account tells only to those who may see its presence (XEP-0030 §8): everybody else learns nothing, not even that it exists.
async fn may_know(cx: &Cx<'_>, ask: &Ask) -> Result<(), StanzaError> {
    if ask.place.at != At::Account || ask.is_own() {
        return Ok(());
    }
    let from = ask.from.clone();
    let seen = cx.router.step(&ask.account(), |step| step.sees(&from, None)).await;
    match seen.map_err(|fault| failed(&fault))? {
        Some(seen) if seen.value => Ok(()),
        _ => Err(StanzaError::new(Condition::ServiceUnavailable)),
    }
}

struct AskInfo;

impl Handler for AskInfo {
    async fn handle(&self, cx: &Cx<'_>, ask: Ask) -> Result<Reply, StanzaError> {
        may_know(cx, &ask).await?;
        let node = ask.payload()?.attr("node");
        let about = About { place: &ask.place, asker: &ask.from, node: node.as_deref() };
        let info = cx.router.disco_info(&about);
        if !info.found {
            return Err(StanzaError::new(Condition::ItemNotFound));
        }
        Ok(Reply::Result(info.payload(node.as_deref()).builder()))
    }
}

struct AskItems;

impl Handler for AskItems {
    async fn handle(&self, cx: &Cx<'_>, ask: Ask) -> Result<Reply, StanzaError> {
        may_know(cx, &ask).await?;
        let node = ask.payload()?.attr("node");
        let about = About { place: &ask.place, asker: &ask.from, node: node.as_deref() };
        let found = cx.router.disco_items(&about).await;
        if found.is_empty() && !cx.router.disco_info(&about).found {
            return Err(StanzaError::new(Condition::ItemNotFound)); // §7: there is no such node
        }
        let items =
            found.into_iter().map(|item| payload::Item { jid: item.jid, node: item.node, name: item.name });
        let items = payload::Items { node: node.as_deref().map(str::to_owned), items: items.collect() };
        Ok(Reply::Result(items.builder()))
    }
}

/// What every server and account says of itself.
struct Own;

impl Disco for Own {
    fn info(&self, _cx: &Cx<'_>, about: &About<'_>, out: &mut Info) {
        if about.node.is_some() {
            return;
        }
        match about.place.at {
            At::Server => out.identity(Identity::new("server", "im", "Nuncio")),
            At::Account => out.identity(Identity {
                category: "account".to_owned(),
                kind: "registered".to_owned(),
                lang: None,
                name: None,
            }),
            At::Unbound | At::Resource => {}
        }
    }

    /// An account's items are its available resources (XEP-0030 §4.1); who may ask was decided before.
    fn items<'a>(&'a self, cx: &'a Cx<'a>, about: &'a About<'a>) -> Boxed<'a, Vec<Item>> {
        Box::pin(async move {
            if about.place.at != At::Account || about.node.is_some() {
                return Vec::new();
            }
            let asker = about.asker.clone();
            let stepped = cx
                .router
                .step(&about.place.jid.bare(), |step| {
                    let seen = step.account.available().filter(|state| step.sees(&asker, Some(state.id())));
                    seen.map(|state| Item { jid: state.jid().clone(), node: None, name: None }).collect()
                })
                .await;
            stepped.ok().flatten().map(|stepped| stepped.value).unwrap_or_default()
        })
    }
}
