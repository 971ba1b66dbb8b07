//! `account import`: many accounts at once, from standard input.

use std::io::BufRead;
use std::sync::Arc;

use anyhow::Context as _;
use nuncio_router::Router;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use zeroize::Zeroizing;

use crate::cli::Place;
use crate::config::Config;
use crate::{operate, out, place};

/// The account and the password of a line: the address ends at the first blank, the password is all that follows it.
fn read_line(line: &str) -> Option<(&str, &str)> {
    let (jid, password) = line.split_once([' ', '\t'])?;
    (!jid.is_empty() && !password.is_empty()).then_some((jid, password))
}

/// Makes the accounts of standard input, beside a running server or over the store. Lines that cannot be done are named on standard error, the others
/// are done all the same. Whether all were.
pub(crate) async fn run(given: &Place) -> anyhow::Result<bool> {
    let config = Arc::new(Config::read(given.config.as_deref(), given.data.as_deref())?);
    let open = match operate::ask(&config, "account.list", json!({"limit": 1})).await? {
        Some(_) => None,
        None => Some(place::Open::at(&config).await?),
    };
    let router = open.as_ref().map(|open| Arc::clone(&open.router));
    // PBKDF2 is what takes the time: as many at once as there are cores, and as the store can write in one go.
    let at_once = std::thread::available_parallelism().map_or(1, std::num::NonZero::get) * 4;
    let mut running = JoinSet::new();
    let (mut made, mut failed) = (0_u64, 0_u64);
    let mut count = |done: anyhow::Result<()>| match done {
        Ok(()) => made += 1,
        Err(why) => {
            failed += 1;
            complain!("nuncio: {}", out::whole(&why));
        }
    };
    for (number, line) in std::io::stdin().lock().lines().enumerate() {
        let line = Zeroizing::new(line.context("standard input cannot be read")?);
        if line.trim().is_empty() {
            continue;
        }
        let Some((jid, password)) = read_line(&line) else {
            count(Err(anyhow::anyhow!("line {}: write an address, a blank and a password", number + 1)));
            continue;
        };
        let args = json!({"jid": jid, "password": password});
        let what = format!("line {}: {jid}", number + 1);
        let (config, router) = (Arc::clone(&config), router.clone());
        running.spawn(async move { add(&config, router.as_ref(), args).await.context(what) });
        if running.len() >= at_once
            && let Some(done) = running.join_next().await
        {
            count(done.context("an account was given up")?);
        }
    }
    while let Some(done) = running.join_next().await {
        count(done.context("an account was given up")?);
    }
    if let Some(open) = open {
        open.close(&config).await;
    }
    say!("{made} accounts made")?;
    Ok(failed == 0)
}

async fn add(config: &Config, router: Option<&Arc<Router>>, args: Value) -> anyhow::Result<()> {
    match router {
        Some(router) => operate::run(router, "account.add", args).await?,
        None => operate::beside(config, "account.add", args).await?,
    };
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_an_address_and_a_password() {
        assert_eq!(read_line("juliet@localhost secret"), Some(("juliet@localhost", "secret")));
        assert_eq!(read_line("juliet@localhost\ttwo words "), Some(("juliet@localhost", "two words ")));
        for wrong in ["juliet@localhost", "juliet@localhost ", " secret", ""] {
            assert_eq!(read_line(wrong), None, "{wrong:?}");
        }
    }
}
