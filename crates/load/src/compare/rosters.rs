//! Rosters through clients, where a server's store is not ours to write: contacts are listed, and asked and answered, as people do (RFC 6121 §2.3, §3).

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use nuncio_client::{Client, ClientConfig, Event, Roots, Server, Session, Start};
use nuncio_xmpp::jid::{BareJid, Jid};
use nuncio_xmpp::ns;
use nuncio_xmpp::stanza::{Kind, PresenceType, Stanza, presence};
use nuncio_xmpp::xml::Builder;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::seed::{self, Range, Roster};
use crate::Target;

/// Clients at a time: so many that the server's store has something to write together.
const AT_ONCE: usize = 64;

/// What the server may take for one account.
const PATIENCE: Duration = Duration::from_secs(60);

/// Fills the rosters of these ranges of accounts.
pub(super) fn fill(target: &Target, ranges: &[Range]) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        for range in ranges {
            match range.roster {
                Roster::Empty => {}
                Roster::Listed(contacts) => listed(target, *range, contacts).await?,
                Roster::Star => star(target, *range).await?,
            }
        }
        Ok(())
    })
}

async fn session(target: &Target, name: &str) -> Result<Session> {
    let account = BareJid::new(&format!("{name}@{}", target.domain))?;
    let roots = Roots::Files(target.roots.clone());
    let mut config = ClientConfig::new(account, &target.accounts.password, roots);
    config.server = Server::Address(target.address);
    config.start = Start::DirectTls;
    config.stream_management = false;
    config.inbox = 1 << 20;
    Client::connect(config).await.with_context(|| format!("{name} cannot log in"))
}

/// Runs one task for each name, some at a time; the first error ends it.
async fn each<F>(names: impl Iterator<Item = String>, run: impl Fn(String) -> F) -> Result<()>
where
    F: Future<Output = Result<()>> + Send + 'static,
{
    let mut running = JoinSet::new();
    for name in names {
        if running.len() >= AT_ONCE
            && let Some(done) = running.join_next().await
        {
            done??;
        }
        let task = run(name);
        running.spawn(async move { timeout(PATIENCE, task).await.context("the server does not answer")? });
    }
    while let Some(done) = running.join_next().await {
        done??;
    }
    Ok(())
}

/// Each account lists contacts who share no presence with it.
async fn listed(target: &Target, range: Range, contacts: u32) -> Result<()> {
    let target = Arc::new(target.clone());
    each(range.names(), |name| {
        let target = Arc::clone(&target);
        async move {
            let mut session = session(&target, &name).await?;
            for contact in 0..contacts {
                let jid = format!("{}@{}", seed::listed(contact), target.domain);
                let item = Builder::new("item", ns::ROSTER).attr("jid", &jid);
                session.set(None, Builder::new("query", ns::ROSTER).child(item)).await?;
            }
            session.close().await;
            Ok(())
        }
    })
    .await
}

/// The first account and each of the others subscribe to each other.
async fn star(target: &Target, range: Range) -> Result<()> {
    let mut names = range.names();
    let Some(first) = names.next() else { return Ok(()) };
    let target = Arc::new(target.clone());
    let mut hub = session(&target, &first).await?;
    hub.send(&presence(PresenceType::Available).build()).await?;
    let to = BareJid::new(&format!("{first}@{}", target.domain))?;
    let answering = tokio::spawn(async move {
        while let Some(event) = hub.next().await {
            if let Event::Stanza(stanza) = event
                && let (Kind::Presence(PresenceType::Subscribe), Some(from)) = (stanza.kind(), stanza.from())
            {
                let from = from.bare().to_jid();
                for kind in [PresenceType::Subscribed, PresenceType::Subscribe] {
                    hub.send(&presence(kind).to(from.clone()).build()).await?;
                }
            }
        }
        Ok::<(), nuncio_client::SendError>(())
    });
    let all = each(names, |name| {
        let (target, to) = (Arc::clone(&target), to.clone());
        async move {
            let mut session = session(&target, &name).await?;
            // Only who has asked for the roster hears of changes (RFC 6121 §2.2).
            session.get(None, Builder::new("query", ns::ROSTER)).await?;
            // What is granted beforehand needs no second round (RFC 6121 §3.4).
            for kind in [PresenceType::Subscribed, PresenceType::Subscribe] {
                session.send(&presence(kind).to(to.to_jid()).build()).await?;
            }
            while let Some(event) = session.next().await {
                match event {
                    Event::Stanza(stanza) if is_mutual(&stanza, to.as_str()) => {
                        session.close().await;
                        return Ok(());
                    }
                    Event::Disconnected(end) => bail!("{name} was disconnected: {}", end.why),
                    _ => {}
                }
            }
            bail!("the session of {name} ended")
        }
    })
    .await;
    answering.abort();
    all
}

/// Whether this is a roster push with a contact who has both subscriptions.
fn is_mutual(stanza: &Stanza, contact: &str) -> bool {
    stanza.child("query", ns::ROSTER).is_some_and(|query| {
        query.children().any(|item| {
            item.is("item", ns::ROSTER)
                && item.attr("jid").is_some_and(|jid| Jid::new(&jid).is_ok_and(|jid| jid.as_str() == contact))
                && item.attr("subscription").is_some_and(|value| value == "both")
        })
    })
}

#[cfg(test)]
mod tests {
    use nuncio_xmpp::stanza::{IqType, iq};

    use super::*;

    #[test]
    fn a_push_tells_when_both_are_subscribed() {
        let push = |jid: &str, subscription: &str| {
            let item = Builder::new("item", ns::ROSTER).attr("jid", jid).attr("subscription", subscription);
            iq(IqType::Set, "1").child(Builder::new("query", ns::ROSTER).child(item)).build()
        };
        assert!(is_mutual(&push("fan0@localhost", "both"), "fan0@localhost"));
        assert!(!is_mutual(&push("fan0@localhost", "to"), "fan0@localhost"));
        assert!(!is_mutual(&push("fan1@localhost", "both"), "fan0@localhost"));
        assert!(!is_mutual(&presence(PresenceType::Available).build(), "fan0@localhost"));
    }
}
