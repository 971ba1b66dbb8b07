//! XEP-0012 Last Activity: how long the server runs, and how long ago an account was last available, told to those who may see its presence.
//! A resource answers for itself.

use std::time::Instant;

use nuncio_router::facts::Unavailable;
use nuncio_router::points::{Handler, Listener, failed};
use nuncio_router::store::Table;
use nuncio_router::{
    AccountState, Ask, At, ConfigError, Cx, Extension, Host, Reply, SessionState, Step, Xep,
};
use nuncio_xmpp::error::{Condition, StanzaError};
use nuncio_xmpp::jid::Jid;
use nuncio_xmpp::ns;
use nuncio_xmpp::stanza::IqType;
use nuncio_xmpp::xml::Builder;
use serde::{Deserialize, Serialize};

/// See the module.
pub const EXTENSION: Extension = Extension {
    name: "last",
    xeps: &[Xep { number: 12, version: "2.0", title: "Last Activity" }],
    needs: &[],
    default_on: true,
    plug,
};

const KEY: &[u8] = b"last";

/// The longest status that is kept, in bytes.
const STATUS: usize = 1_024;

fn plug(host: &mut Host<'_>) -> Result<(), ConfigError> {
    let table = host.table("last")?;
    for at in [At::Server, At::Account] {
        host.feature_at(at, ns::LAST);
    }
    host.listen::<Unavailable>(Remember(table.clone()));
    host.handler(At::Server, IqType::Get, "query", ns::LAST, OfServer(Instant::now()))?;
    host.handler(At::Account, IqType::Get, "query", ns::LAST, OfAccount(table))?;
    host.handler(At::Resource, IqType::Get, "query", ns::LAST, OfResource)
}

/// When an account was last available, and what it said then.
#[derive(Deserialize, Serialize)]
struct Last {
    /// Unix time in milliseconds.
    at: i64,
    /// The status of the last unavailable presence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    status: Option<String>,
}

struct Remember(Table);

impl Listener<Unavailable> for Remember {
    fn heard(&self, step: &mut Step<'_>, fact: &Unavailable) {
        if step.account.available().any(|state| state.id() != fact.session) {
            return;
        }
        let status = fact.presence.child("status", ns::CLIENT).map(|status| status.text().into_owned());
        let status = status.filter(|status| status.len() <= STATUS);
        let last = Last { at: step.now.as_millisecond(), status };
        match serde_json::to_vec(&last) {
            // Nobody is told that this is kept, so nobody waits for it.
            Ok(row) => drop(self.0.put(step.account.jid.as_str(), KEY, row)),
            Err(error) => tracing::error!(%error, "a last activity cannot be written"),
        }
    }
}

fn answer(seconds: i64, status: Option<&str>) -> Reply {
    let query = Builder::new("query", ns::LAST).attr("seconds", seconds.max(0));
    Reply::Result(match status {
        Some(status) => query.text(status),
        None => query,
    })
}

/// Who may not see the presence is told so, in the same words whether there is something to see or not (§3, §8).
fn denied() -> StanzaError {
    StanzaError::new(Condition::Forbidden)
}

struct OfServer(Instant);

impl Handler for OfServer {
    async fn handle(&self, _cx: &Cx<'_>, _ask: Ask) -> Result<Reply, StanzaError> {
        Ok(answer(i64::try_from(self.0.elapsed().as_secs()).unwrap_or(i64::MAX), None))
    }
}

struct OfAccount(Table);

impl Handler for OfAccount {
    const NOBODY: Condition = Condition::Forbidden;

    async fn handle(&self, cx: &Cx<'_>, ask: Ask) -> Result<Reply, StanzaError> {
        let owner = ask.account();
        let asker = ask.from.clone();
        let stepped = cx.router.step(&owner, |step| {
            let seen = |state: &SessionState| step.sees(&asker, Some(state.id()));
            step.sees(&asker, None).then(|| step.account.available().any(seen))
        });
        let seen = stepped.await.map_err(|fault| failed(&fault))?;
        let here = seen.and_then(|seen| seen.value).ok_or_else(denied)?;
        if here {
            return Ok(answer(0, None));
        }
        let row = self.0.get(owner.as_str(), KEY).await.map_err(|fault| failed(&fault))?;
        let since = |at: i64| cx.now.as_millisecond().saturating_sub(at) / 1_000;
        if let Some(last) = row.and_then(|row| serde_json::from_slice::<Last>(&row).ok()) {
            return Ok(answer(since(last.at), last.status.as_deref()));
        }
        // Never available so far: nothing has happened since the account was made.
        let account = cx.router.account(&owner).await.map_err(|fault| failed(&fault))?.ok_or_else(denied)?;
        Ok(answer(since(account.created.as_millisecond()), None))
    }
}

/// Asked before the resource is (§4): who may not see its presence is told what they would be told at the bare address.
struct OfResource;

impl Handler for OfResource {
    const NOBODY: Condition = Condition::Forbidden;

    async fn handle(&self, cx: &Cx<'_>, ask: Ask) -> Result<Reply, StanzaError> {
        let (asker, to) = (ask.from.clone(), ask.place.jid.clone());
        let owner = ask.account();
        let stepped = cx.router.step(&owner, |step| {
            match to.resource().and_then(|resource| step.account.resource(resource)) {
                Some(state) => step.sees(&asker, Some(state.id())),
                None => step.sees(&asker, None) && by_subscription(step.account, &asker),
            }
        });
        match stepped.await.map_err(|fault| failed(&fault))? {
            Some(seen) if seen.value => Ok(Reply::Pass),
            _ => Err(denied()),
        }
    }
}

/// Whether an address sees every resource, not only one that sent it directed presence: else the answer would tell which resources exist.
fn by_subscription(account: &AccountState, asker: &Jid) -> bool {
    let asker = asker.bare();
    asker == account.jid || account.roster.shares_with(&asker)
}
