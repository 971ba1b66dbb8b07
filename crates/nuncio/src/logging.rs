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

fn filter(level: &str) -> anyhow::Result<EnvFilter> {
    EnvFilter::try_new(level).with_context(|| {
        format!("log.level: `{level}` is no filter; take `info`, or `info,nuncio_stream=debug`")
    })
}

/// Starts the log on standard error.
pub(crate) fn start(log: &Log) -> anyhow::Result<LevelHandle> {
    let (filter, handle) = reload::Layer::new(filter(&log.level)?);
    let registry = Registry::default().with(filter);
    let lines = fmt::layer().with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal());
    match log.format {
        LogFormat::Text => registry.with(lines.with_target(false)).try_init(),
        LogFormat::Json => registry.with(lines.json().flatten_event(true)).try_init(),
    }
    .context("the log cannot be started")?;
    Ok(LevelHandle(handle))
}
