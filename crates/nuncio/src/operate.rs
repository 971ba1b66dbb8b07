//! Operators' commands: one definition in the router, reached from the command line through the control socket, or, where no server
//! runs, over the store itself.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use nuncio_federation::Federation;
use nuncio_net::{OsEntropy, TlsHosts};
use nuncio_router::Router;
use nuncio_router::commands::{Caller, Refused};
use nuncio_sansio::Entropy as _;
use serde_json::{Value, json};

use crate::cli::{Password, Place};
use crate::config::{self, Config, ConfigError};
use crate::control::{self, Reply};
use crate::logging::LevelHandle;
use crate::serve::Local;
use crate::{out, place, serve};

/// A command was asked for wrongly: exit status 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct WrongUse(pub(crate) String);

/// The commands of a running server.
pub(crate) struct Operator {
    router: Arc<Router>,
    tls: Arc<TlsHosts>,
    federation: Option<(Arc<Federation>, Arc<TlsHosts>)>,
    relay: Option<crate::msrp::Running>,
    place: Place,
    level: LevelHandle,
    /// The configuration that the server started with.
    config: Config,
}

impl Operator {
    pub(crate) fn new(
        router: Arc<Router>,
        tls: Arc<TlsHosts>,
        federation: Option<(Arc<Federation>, Arc<TlsHosts>)>,
        relay: Option<crate::msrp::Running>,
        place: Place,
        level: LevelHandle,
        config: &Config,
    ) -> Self {
        Self { router, tls, federation, relay, place, level, config: config.clone() }
    }

    /// Reads the configuration again. Certificates and the log's level are taken over; what else differs is named, and needs a restart. On an error
    /// everything stays as it was.
    pub(crate) fn reload(&self) -> anyhow::Result<String> {
        let result = self.read_again();
        match &result {
            Ok(said) => tracing::info!(%said, "reloaded"),
            Err(error) => {
                tracing::error!(error = format!("{error:#}"), "not reloaded; everything stays as it was");
            }
        }
        result
    }

    fn read_again(&self) -> anyhow::Result<String> {
        let config = config::check_files(self.place.config.as_deref(), self.place.data.as_deref())?;
        let (settings, local) = serve::tls_settings(&config, Local::Make)?;
        // Everything is read before anything is replaced.
        let relay = match &self.relay {
            Some(running) => {
                let policy = crate::msrp::policy(&config)?;
                let settings = serve::msrp_tls(&config, &settings, local.as_ref())?;
                let tls = running.tls.prepare(settings).context("certificates of the MSRP relay")?;
                Some((&running.relay, tls, policy))
            }
            None => None,
        };
        let federation = match &self.federation {
            Some((federation, tls)) => {
                let policy = crate::federation::policy(&config)?;
                let read = tls.prepare(crate::federation::tls_settings(&settings)).context("certificates")?;
                Some((federation, tls, read, policy))
            }
            None => None,
        };
        let clients = self.tls.prepare(settings).context("certificates")?;
        self.level.set(&config.log.level)?;
        let mut warnings = clients.commit();
        if let Some((relay, tls, policy)) = relay {
            warnings.extend(tls.commit());
            relay.set_policy(policy);
        }
        if let Some((federation, tls, read, policy)) = federation {
            let before = tls.certificates();
            warnings.extend(read.commit());
            federation.set_policy(policy);
            if tls.certificates() != before {
                // They believe us for what we have shown them.
                federation.reset_streams(self.reset_window());
            }
        }
        let mut said = format!(
            "{} certificates in use; the log's level is {}",
            self.tls.certificates().len(),
            config.log.level
        );
        for warning in warnings {
            said.push_str(&format!("; {warning}"));
        }
        let left = self.config.needs_restart(&config);
        if !left.is_empty() {
            said.push_str(&format!("; changed, but taken over at the next start only: {}", left.join(", ")));
        }
        Ok(said)
    }

    fn reset_window(&self) -> Duration {
        Duration::from_secs(self.config.timeouts.reset_seconds)
    }

    /// New ticket keys, then `<reset/>` for every stream: no older TLS session can be resumed (S0-27, S0-28).
    async fn reset(&self) -> anyhow::Result<Value> {
        self.tls.reset_tickets().context("ticket keys")?;
        if let Some(running) = &self.relay {
            running.tls.reset_tickets().context("ticket keys")?;
        }
        if let Some((federation, tls)) = &self.federation {
            tls.reset_tickets().context("ticket keys")?;
            federation.reset_streams(self.reset_window());
        }
        run(&self.router, "stream.reset", json!({"seconds": self.config.timeouts.reset_seconds})).await
    }
}

impl control::Runs for Operator {
    async fn run(&self, command: String, args: Value) -> Reply {
        let result = match command.as_str() {
            "reload" => self.reload().map(Value::String),
            "reset" => self.reset().await,
            name => run(&self.router, name, args).await,
        };
        match result {
            Ok(value) => Reply::Done(value),
            Err(error) if error.is::<WrongUse>() || error.is::<ConfigError>() => {
                Reply::Wrong(format!("{error:#}"))
            }
            Err(error) => Reply::Refused(format!("{error:#}")),
        }
    }
}

/// Runs one of the router's commands as the operator.
pub(crate) async fn run(router: &Arc<Router>, name: &str, args: Value) -> anyhow::Result<Value> {
    match router.run(Caller::Operator, name, args).await {
        Ok(value) => Ok(value),
        Err(refused @ (Refused::Args(_) | Refused::Unknown(_))) => Err(WrongUse(refused.to_string()).into()),
        Err(refused) => Err(refused.into()),
    }
}

/// Asks the running server.
pub(crate) async fn beside(config: &Config, name: &str, args: Value) -> anyhow::Result<Value> {
    match ask(config, name, args).await? {
        Some(value) => Ok(value),
        None => bail!(
            "no server runs on {}; start one with `nuncio serve`, or name its folder with --data",
            config.data.display()
        ),
    }
}

/// Asks the running server; none if none runs.
pub(crate) async fn ask(config: &Config, name: &str, args: Value) -> anyhow::Result<Option<Value>> {
    let socket = control::path(&config.data);
    let reply = control::ask(&config.data, name, args)
        .await
        .with_context(|| format!("{}: the server cannot be asked", socket.display()))?;
    match reply {
        None => Ok(None),
        Some(Reply::Done(value)) => Ok(Some(value)),
        Some(Reply::Refused(why)) => bail!(why),
        Some(Reply::Wrong(why)) => Err(WrongUse(why).into()),
    }
}

/// Asks the running server, or does it over the store if none runs.
pub(crate) async fn anywhere(config: &Config, name: &str, args: Value) -> anyhow::Result<Value> {
    if let Some(value) = ask(config, name, args.clone()).await? {
        return Ok(value);
    }
    if name != "account.add" && !place::Open::is_there(config) {
        bail!(
            "{}: there are no data of a server; name its folder with --data, or its configuration with --config",
            config.data.display()
        );
    }
    let open = place::Open::at(config).await?;
    let result = run(&open.router, name, args).await;
    open.close(config).await;
    result
}

/// `account list`: page by page, so that no answer grows with the server.
pub(crate) async fn accounts(config: &Config, domain: Option<&str>) -> anyhow::Result<Value> {
    const PAGE: u64 = 1_000;
    let mut all = Vec::new();
    let mut after = Value::Null;
    loop {
        let mut args = json!({"limit": PAGE});
        if !after.is_null() {
            args["after"] = after;
        }
        let page = anywhere(config, "account.list", args).await?;
        let rows = page["accounts"].as_array().cloned().unwrap_or_default();
        after = rows.last().map_or(Value::Null, |row| row["jid"].clone());
        let last = (rows.len() as u64) < PAGE;
        let of = |row: &Value| row["jid"].as_str().and_then(|jid| jid.rsplit('@').next()).map(str::to_owned);
        all.extend(
            rows.into_iter().filter(|row| domain.is_none_or(|domain| of(row).as_deref() == Some(domain))),
        );
        if last || after.is_null() {
            return Ok(json!({"accounts": all}));
        }
    }
}

/// `account add` and `account passwd`.
pub(crate) async fn with_password(name: &str, given: Password) -> anyhow::Result<bool> {
    let config = Config::read(given.place.config.as_deref(), given.place.data.as_deref())?;
    let (password, made) = if given.password_stdin {
        let mut line = String::new();
        std::io::stdin().read_line(&mut line).context("the password cannot be read from standard input")?;
        let password = line.trim_end_matches(['\r', '\n']).to_owned();
        if password.is_empty() {
            bail!("the password on standard input is empty; write it as the first line");
        }
        (password, false)
    } else {
        (made_password(), true)
    };
    anywhere(&config, name, json!({"jid": given.jid, "password": password})).await?;
    if made {
        let another = || {
            format!("the password is set, but not shown: `nuncio account passwd {}` makes another", given.jid)
        };
        say!("{password}").with_context(another)?;
    }
    Ok(true)
}

/// A password that nobody guesses: 130 bits.
pub(crate) fn made_password() -> String {
    OsEntropy.token()
}

/// Prints a command's result: for programs as it is, for people a line an entry.
pub(crate) fn print(value: &Value, json: bool) -> anyhow::Result<bool> {
    if json {
        say!("{}", serde_json::to_string_pretty(value)?)?;
        return Ok(true);
    }
    let rows = value.as_object().filter(|fields| fields.len() == 1).and_then(|fields| fields.values().next());
    match rows.filter(|rows| rows.is_array()).unwrap_or(value) {
        Value::Null => {}
        Value::Array(rows) => rows.iter().try_for_each(|row| say!("{}", line(row)))?,
        other => say!("{}", line(other))?,
    }
    Ok(true)
}

/// The columns of `federation list`: what is told in a row, and its heading.
const COLUMNS: [(&str, &str); 10] = [
    ("domain", "DOMAIN"),
    ("local", "OURS"),
    ("state", "STATE"),
    ("stanzas", "STANZAS"),
    ("proven-by", "PROVEN BY"),
    ("level", "LEVEL"),
    ("tls", "TLS"),
    ("opened-by", "OPENED BY"),
    ("address", "ADDRESS"),
    ("until", "UNTIL"),
];

/// Prints streams, pairs and what fails: for people a table, whose last column says why, and what waits.
pub(crate) fn federation(value: &Value, json: bool) -> anyhow::Result<bool> {
    if json {
        return print(value, true);
    }
    let rows = value["federation"].as_array().map(Vec::as_slice).unwrap_or_default();
    if rows.is_empty() {
        say!("no other server is connected, and nothing waits for one")?;
        return Ok(true);
    }
    out::write(format_args!("{}", table(rows)))?;
    Ok(true)
}

fn table(rows: &[Value]) -> String {
    let cell = |row: &Value, key: &str| match &row[key] {
        Value::Null => "-".to_owned(),
        value => line(value),
    };
    let mut lines = vec![COLUMNS.iter().map(|(_, heading)| (*heading).to_owned()).collect::<Vec<_>>()];
    lines[0].push("WHY".to_owned());
    for row in rows {
        let mut cells: Vec<_> = COLUMNS.iter().map(|(key, _)| cell(row, key)).collect();
        let mut why = Vec::new();
        if let (Some(code), Some(text)) = (row["code"].as_str(), row["text"].as_str()) {
            why.push(format!("{text} [{code}]"));
        }
        why.extend(
            row["waiting"]
                .as_u64()
                .filter(|waiting| *waiting > 0)
                .map(|waiting| format!("{waiting} waiting")),
        );
        why.extend(row["next-attempt-seconds"].as_u64().map(|seconds| format!("tried again in {seconds} s")));
        cells.push(why.join("; "));
        lines.push(cells);
    }
    // A column of which nothing is known tells nothing.
    let told: Vec<_> = (0..=COLUMNS.len())
        .filter(|column| lines.iter().skip(1).any(|cells| !matches!(&*cells[*column], "-" | "")))
        .collect();
    let width = |column: usize| lines.iter().map(|cells| cells[column].chars().count()).max().unwrap_or(0);
    let mut out = String::new();
    for cells in &lines {
        let padded: Vec<_> =
            told.iter().map(|column| format!("{:<width$}", cells[*column], width = width(*column))).collect();
        out.push_str(padded.join("  ").trim_end());
        out.push('\n');
    }
    out
}

/// Prints what is known about another domain. False if it fails now.
pub(crate) fn explain(value: &Value, json: bool) -> anyhow::Result<bool> {
    if json {
        say!("{}", serde_json::to_string_pretty(value)?)?;
    } else {
        for line in value["says"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            say!("{line}")?;
        }
    }
    Ok(value["failing"].is_null())
}

fn line(value: &Value) -> String {
    match value {
        Value::Object(fields) => {
            let told = fields.iter().filter(|(_, value)| !value.is_null());
            told.map(
                |(name, value)| if name == "jid" { line(value) } else { format!("{name}={}", line(value)) },
            )
            .collect::<Vec<_>>()
            .join("  ")
        }
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Columns stand below their headings, in the order of a reader; what nobody has is left out.
    #[test]
    fn rows_make_a_table() {
        let rows = [
            json!({"domain": "them.example", "local": "us.example", "state": "up", "stanzas": "both", "tls": "TLS 1.3"}),
            json!({"domain": "old.example", "local": "us.example", "state": "failing", "waiting": 3, "code": "self-signed",
                "text": "it is", "next-attempt-seconds": 40}),
        ];
        assert_eq!(
            table(&rows),
            "DOMAIN        OURS        STATE    STANZAS  TLS      WHY\n\
             them.example  us.example  up       both     TLS 1.3\n\
             old.example   us.example  failing  -        -        it is [self-signed]; 3 waiting; tried again in 40 s\n"
        );
    }
}
