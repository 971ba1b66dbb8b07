//! What a start says to the person who started it, and the first account.

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context as _;
use nuncio_net::ca::LocalCa;
use nuncio_router::Router;
use serde_json::json;

use crate::config::Config;
use crate::operate;
use crate::serve::Reach;

/// The account that a start without configuration makes; it may use the administrators' commands.
pub(crate) const FIRST_ACCOUNT: &str = "admin@localhost";

/// Says what is served and how to connect. As long as there is no account, one is made where only `localhost` is served, and its password is printed;
/// elsewhere it is said how to make one.
pub(crate) async fn greet(
    router: &Arc<Router>,
    config: &Config,
    local: Option<&LocalCa>,
    reach: &Reach,
) -> anyhow::Result<()> {
    let domains: Vec<_> = config.domain.iter().map(|domain| domain.name.as_str()).collect();
    let mut text = format!("Nuncio serves {}.\n", domains.join(", "));
    let nobody = router.accounts(None, 1).await?.is_empty();
    if nobody && config.is_local() {
        let password = operate::made_password();
        operate::run(router, "account.add", json!({"jid": FIRST_ACCOUNT, "password": password}))
            .await
            .context("the first account cannot be made")?;
        let _ = write!(
            text,
            "\nA first account, an administrator's; its password is shown only this once:\n  \
             address   {FIRST_ACCOUNT}\n  password  {password}\n"
        );
    } else if nobody {
        let domain = domains.first().copied().unwrap_or("example.org");
        let _ = write!(text, "\nThere is no account yet. Make one:\n  nuncio account add user@{domain}\n");
    }
    if config.is_local() {
        text.push_str(&lines(FIRST_ACCOUNT, reach, local));
    }
    let mut out = std::io::stdout().lock();
    // Standard output may be closed; the server does not depend on it.
    if out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_err() && nobody {
        tracing::warn!(
            "the first password could not be shown; give a new one with `nuncio account passwd {FIRST_ACCOUNT}`"
        );
    }
    Ok(())
}

/// How to connect with a client that anybody can install.
fn lines(jid: &str, reach: &Reach, local: Option<&LocalCa>) -> String {
    let Some(address) = reach.c2s.iter().find(|address| address.is_ipv4()).or_else(|| reach.c2s.first())
    else {
        return String::new();
    };
    let mut text = format!(
        "\nConnect with profanity (Debian: apt install profanity); start it and type:\n  \
         /connect {jid} server {} port {} tls trust\n",
        host(address),
        address.port()
    );
    if let Some(local) = local {
        let _ = writeln!(
            text,
            "Other clients: trust the authority in {}.",
            std::path::absolute(&local.authority).unwrap_or_else(|_| local.authority.clone()).display()
        );
    }
    text
}

fn host(address: &SocketAddr) -> String {
    if address.ip().is_unspecified() { "localhost".to_owned() } else { address.ip().to_string() }
}
