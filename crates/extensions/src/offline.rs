//! XEP-0160 Best Practices for Handling Offline Messages and XEP-0203 Delayed Delivery: the router keeps the messages
//! (`nuncio_router::offline`); declared here.

use nuncio_router::{ConfigError, Extension, Host, Xep};

/// See the module.
pub const EXTENSION: Extension = Extension {
    name: "offline",
    xeps: &[
        Xep { number: 160, version: "1.0.1", title: "Best Practices for Handling Offline Messages" },
        Xep { number: 203, version: "2.0", title: "Delayed Delivery" },
    ],
    needs: &[],
    default_on: true,
    plug,
};

fn plug(host: &mut Host<'_>) -> Result<(), ConfigError> {
    host.feature("msgoffline"); // XEP-0160 §4
    Ok(())
}
