//! The binary: configuration, listeners, command line.

#![deny(clippy::print_stdout, clippy::print_stderr, reason = "`say!` and `complain!` do not panic")]

#[macro_use]
mod out;

mod check;
mod cli;
mod config;
mod control;
mod docs;
mod federation;
mod first_run;
mod host;
mod import;
mod logging;
mod login;
mod msrp;
mod msrp_tools;
mod operate;
mod place;
mod publish;
mod send;
mod serve;
mod stop;

use std::process::ExitCode;

use clap::Parser as _;
use nuncio_net::tls::TlsError;
use nuncio_router::StartError;

use crate::cli::{Account, Cli, Command, ConfigAct, Federation, Place, Session};
use crate::config::{Config, ConfigError};
use crate::out::Unheard;
use crate::stop::Stopped;

/// Exit status: done, the answer is no, wrong use or configuration.
const NO: u8 = 1;
const WRONG: u8 = 2;

fn main() -> ExitCode {
    // clap itself ends wrong use with status 2.
    let cli = Cli::parse();
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if let Some(threads) = threads(&cli.command) {
        builder.worker_threads(threads);
    }
    let runtime = match builder.enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            complain!("nuncio: no runtime: {error}");
            return ExitCode::from(NO);
        }
    };
    let client = matches!(cli.command, Command::Send(_) | Command::Msrp { .. });
    let code = match runtime.block_on(run(cli.command)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(NO),
        Err(error) => failed(&error),
    };
    if client {
        // They have waited for what they wait for; a lookup by the system cannot be given up.
        runtime.shutdown_background();
    }
    code
}

/// Says what went wrong, and whose fault it is.
fn failed(error: &anyhow::Error) -> ExitCode {
    if error.downcast_ref().is_some_and(Unheard::is_closed) {
        return ExitCode::from(out::PIPE);
    }
    complain!("nuncio: {}", out::whole(error));
    if let Some(stopped) = error.downcast_ref::<Stopped>() {
        return ExitCode::from(stopped.status);
    }
    let wrong = error.is::<ConfigError>()
        || error.is::<operate::WrongUse>()
        || error.is::<TlsError>()
        || matches!(error.downcast_ref(), Some(StartError::Config(_) | StartError::NoDomain));
    ExitCode::from(if wrong { WRONG } else { NO })
}

/// How many threads the configuration of a server wants. A configuration that cannot be read is told of when it is served.
fn threads(command: &Command) -> Option<usize> {
    let Command::Serve(place) = command else { return None };
    usize::try_from(read(place).ok()?.runtime.threads?).ok()
}

fn read(place: &Place) -> Result<Config, ConfigError> {
    Config::read(place.config.as_deref(), place.data.as_deref())
}

async fn run(command: Command) -> anyhow::Result<bool> {
    match command {
        Command::Serve(place) => {
            let (config, _) = config::check(place.config.as_deref(), place.data.as_deref()).await?;
            let level = logging::start(&config.log)?;
            serve::serve(config, place, level).await?;
            Ok(true)
        }
        Command::Account { act } => account(act).await,
        Command::Session { act: Session::List { json, place } } => operate::print(
            &operate::beside(&read(&place)?, "session.list", serde_json::json!({})).await?,
            json,
        ),
        Command::Session { act: Session::End(one) } => {
            let args = serde_json::json!({"jid": one.jid});
            operate::print(&operate::beside(&read(&one.place)?, "session.end", args).await?, false)
        }
        Command::Federation { act: Federation::List { json, place } } => {
            let told = operate::beside(&read(&place)?, "federation.list", serde_json::json!({})).await?;
            operate::federation(&told, json)
        }
        Command::Federation { act: Federation::Explain { domain, json, place } } => {
            let args = serde_json::json!({"domain": check::domain(&domain)?});
            let told = operate::beside(&read(&place)?, "federation.explain", args).await?;
            operate::explain(&told, json)
        }
        Command::Check(given) => check::run(given).await,
        Command::Tlsa(given) => publish::tlsa(&given, &read(&given.published.place)?),
        Command::Posh(given) => publish::posh(&given, &read(&given.published.place)?),
        Command::Reload(place) => {
            operate::print(&operate::beside(&read(&place)?, "reload", serde_json::json!({})).await?, false)
        }
        Command::Reset(place) => {
            operate::print(&operate::beside(&read(&place)?, "reset", serde_json::json!({})).await?, false)
        }
        Command::Send(given) => send::send(given).await,
        Command::Msrp { act } => msrp_tools::run(act).await,
        Command::Config { act: ConfigAct::Check(place) } => {
            let (_, warnings) = config::check(place.config.as_deref(), place.data.as_deref()).await?;
            for warning in warnings {
                say!("warning: {warning}")?;
            }
            say!("the configuration is good")?;
            Ok(true)
        }
        Command::Config { act: ConfigAct::Show(place) } => {
            out::write(format_args!("{}", toml::to_string_pretty(&read(&place)?)?))?;
            Ok(true)
        }
        Command::Docs { folder, check } => docs::run(&folder, check),
    }
}

async fn account(act: Account) -> anyhow::Result<bool> {
    use serde_json::json;
    let (name, args, place) = match act {
        Account::Add(given) => return operate::with_password("account.add", given).await,
        Account::Import(place) => return import::run(&place).await,
        Account::Passwd(given) => return operate::with_password("account.passwd", given).await,
        Account::Disable(one) => ("account.disable", json!({"jid": one.jid}), one.place),
        Account::Enable(one) => ("account.enable", json!({"jid": one.jid}), one.place),
        Account::Delete(one) => ("account.delete", json!({"jid": one.jid}), one.place),
        Account::List(list) => {
            let config = read(&list.place)?;
            return operate::print(&operate::accounts(&config, list.domain.as_deref()).await?, list.json);
        }
    };
    operate::print(&operate::anywhere(&read(&place)?, name, args).await?, false)
}
