//! XEP-0198 Stream Management: counted and offered by the streams, queued and resumed by the router's sessions; declared here.

use nuncio_router::{ConfigError, Extension, Host, Xep};

/// See the module.
pub const EXTENSION: Extension = Extension {
    name: "sm",
    xeps: &[Xep { number: 198, version: "1.6.3", title: "Stream Management" }],
    needs: &[],
    default_on: true,
    plug,
};

#[expect(clippy::unnecessary_wraps, reason = "the signature of every extension")]
const fn plug(_host: &mut Host<'_>) -> Result<(), ConfigError> {
    Ok(())
}
