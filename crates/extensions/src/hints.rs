//! XEP-0334 Message Processing Hints: obeyed wherever the router asks what class a message is of; declared here.

use nuncio_router::{ConfigError, Extension, Host, Xep};
use nuncio_xmpp::ns;

/// See the module.
pub const EXTENSION: Extension = Extension {
    name: "hints",
    xeps: &[Xep { number: 334, version: "1.0.0", title: "Message Processing Hints" }],
    needs: &[],
    default_on: true,
    plug,
};

fn plug(host: &mut Host<'_>) -> Result<(), ConfigError> {
    host.feature(ns::HINTS);
    Ok(())
}
