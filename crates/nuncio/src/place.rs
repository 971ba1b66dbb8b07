//! A data folder, opened: its store, and a router over it.

use std::os::unix::fs::DirBuilderExt as _;
use std::sync::Arc;

use anyhow::Context as _;
use nuncio_net::OsEntropy;
use nuncio_router::{Parts, Router, SystemClock};
use nuncio_store::{Options, Store};

use crate::config::Config;
use crate::{control, serve};

/// An open data folder. Nobody else has it open meanwhile.
pub(crate) struct Open {
    pub(crate) router: Arc<Router>,
    store: Store,
}

impl Open {
    /// Opens the folder, and makes it if need be, readable by its owner only.
    pub(crate) async fn at(config: &Config) -> anyhow::Result<Self> {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&config.data)
            .with_context(|| format!("{}: the data folder cannot be made", config.data.display()))?;
        let store = Store::open(&config.data.join("store"), &Options::default())?;
        let router = Router::start(Parts {
            config: serve::router_config(config)?,
            store: store.clone(),
            entropy: Arc::new(OsEntropy),
            clock: Arc::new(SystemClock),
            extensions: nuncio_extensions::ALL,
        })
        .await?;
        Ok(Self { router, store })
    }

    /// Whether there is a store to open.
    pub(crate) fn is_there(config: &Config) -> bool {
        config.data.join("store").exists()
    }

    /// Closes the store; what was acknowledged is on the disk.
    pub(crate) async fn close(self, config: &Config) {
        if let Err(fault) = self.store.close().await {
            tracing::error!(%fault, "the store did not close well");
        }
        // A socket without a server only makes the next command slower.
        drop(std::fs::remove_file(control::path(&config.data)));
    }
}
