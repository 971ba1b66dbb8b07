//! XEP-0054 vcard-temp: each account's card, readable by everybody; the server has one too.

use nuncio_router::facts::VcardSet;
use nuncio_router::points::{Handler, failed};
use nuncio_router::store::Table;
use nuncio_router::{Ask, At, ConfigError, Cx, Extension, Host, Reply, Xep};
use nuncio_xmpp::error::{Condition, StanzaError};
use nuncio_xmpp::ns;
use nuncio_xmpp::stanza::IqType;
use nuncio_xmpp::xml::{Builder, Element};

/// See the module.
pub const EXTENSION: Extension = Extension {
    name: "vcard",
    xeps: &[Xep { number: 54, version: "1.3.0", title: "vcard-temp" }],
    needs: &[],
    default_on: true,
    plug,
};

const KEY: &[u8] = b"vcard";

fn plug(host: &mut Host<'_>) -> Result<(), ConfigError> {
    let table = host.table("vcard")?;
    for at in [At::Server, At::Account] {
        host.feature_at(at, ns::VCARD);
    }
    host.handler(At::Server, IqType::Get, "vCard", ns::VCARD, OfServer)?;
    host.handler(At::Account, IqType::Get, "vCard", ns::VCARD, OfAccount(table.clone()))?;
    host.handler(At::Account, IqType::Set, "vCard", ns::VCARD, OfAccount(table))
}

struct OfServer;

impl Handler for OfServer {
    async fn handle(&self, _cx: &Cx<'_>, ask: Ask) -> Result<Reply, StanzaError> {
        let text = |name, text: &str| Builder::new(name, ns::VCARD).text(text);
        let card = Builder::new("vCard", ns::VCARD)
            .child(text("FN", ask.place.jid.domain()))
            .child(text("DESC", "Nuncio, a federated messaging server"));
        Ok(Reply::Result(card))
    }
}

struct OfAccount(Table);

impl Handler for OfAccount {
    async fn handle(&self, cx: &Cx<'_>, ask: Ask) -> Result<Reply, StanzaError> {
        let owner = ask.account();
        if ask.is_set() {
            ask.own()?; // §3.2: an error; this one does not tell whether there is such an account
            let mut bytes = Vec::new();
            ask.payload()?.write_closed(&mut bytes, "");
            let fact = VcardSet { account: owner.clone() };
            let stepped = cx.router.step(&owner, |step| {
                step.wait(self.0.put(owner.as_str(), KEY, bytes));
                step.fact(&fact);
            });
            let stepped = stepped.await.map_err(|fault| failed(&fault))?;
            let stepped = stepped.ok_or_else(|| StanzaError::new(Condition::ServiceUnavailable))?;
            stepped.ticket.await.map_err(|fault| failed(&fault))?;
            return Ok(Reply::Empty);
        }
        let found = self.0.get(owner.as_str(), KEY).await.map_err(|fault| failed(&fault))?;
        match found.and_then(|bytes| Element::parse(bytes).ok()) {
            Some(card) => Ok(Reply::Result(card.root().to_builder())),
            None if ask.is_own() => Ok(Reply::Result(Builder::new("vCard", ns::VCARD))),
            // The same answer whether the account has no card or is none (§3.3): nobody learns which.
            None => Err(StanzaError::new(Condition::ServiceUnavailable)),
        }
    }
}
