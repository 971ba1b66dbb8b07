//! The log: one line an event, with stable fields (`stream`, `account`, `peer`, `proof`).

use std::io::IsTerminal as _;

use anyhow::Context as _;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Registry, fmt, reload};

use crate::config::{Log, LogFormat};

/// Changes the filter of a running log.
pub(crate) struct LevelHandle(reload::Handle<EnvFilter, Registry>);

impl LevelHandle {
    /// Takes a new filter; the old one stays if it cannot be read.
    pub(crate) fn set(&self, level: &str) -> anyhow::Result<()> {
        self.0.reload(filter(level)?).context("the log's filter cannot be changed")
    }
}

/// Whether this is a filter as `log.level` takes it: levels, or `target=level`, with commas between. `EnvFilter` alone would take a misspelt level
/// for a target and let nothing through.
pub(crate) fn is_filter(level: &str) -> bool {
    let known = |word: &str| ["off", "error", "warn", "info", "debug", "trace"].contains(&word.trim());
    level.split(',').all(|part| known(part.rsplit('=').next().unwrap_or(part)))
        && EnvFilter::try_new(level).is_ok()
}

fn filter(level: &str) -> anyhow::Result<EnvFilter> {
    anyhow::ensure!(is_filter(level), "log.level: `{level}` is no filter; {FILTERS}");
    Ok(EnvFilter::try_new(level)?)
}

/// What `log.level` takes.
pub(crate) const FILTERS: &str = "take `off`, `error`, `warn`, `info`, `debug` or `trace`, alone or for a part, as in `info,nuncio_stream=debug`";

/// Starts the log on standard error.
pub(crate) fn start(log: &Log) -> anyhow::Result<LevelHandle> {
    let (filter, handle) = reload::Layer::new(filter(&log.level)?);
    let registry = Registry::default().with(filter);
    // A log that nobody takes is no reason to panic, as telling of it on standard error would be.
    let lines = fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .log_internal_errors(false);
    match log.format {
        LogFormat::Text => registry.with(lines.with_target(false)).try_init(),
        LogFormat::Json => registry.with(lines.json().flatten_event(true)).try_init(),
    }
    .context("the log cannot be started")?;
    Ok(LevelHandle(handle))
}
