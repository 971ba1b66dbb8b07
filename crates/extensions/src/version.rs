//! XEP-0092 Software Version: name and version of the server, the operating system only if the operator wants it told.

use nuncio_router::points::Handler;
use nuncio_router::{Ask, At, ConfigError, Cx, Extension, Host, Reply, Xep};
use nuncio_xmpp::error::StanzaError;
use nuncio_xmpp::ns;
use nuncio_xmpp::stanza::IqType;
use nuncio_xmpp::xml::Builder;
use serde::Deserialize;

/// See the module.
pub const EXTENSION: Extension = Extension {
    name: "version",
    xeps: &[Xep { number: 92, version: "1.1", title: "Software Version" }],
    needs: &[],
    default_on: true,
    plug,
};

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Config {
    /// Whether the operating system is told too.
    system: bool,
}

fn plug(host: &mut Host<'_>) -> Result<(), ConfigError> {
    let config: Config = host.config()?;
    host.feature(ns::VERSION);
    host.handler(At::Server, IqType::Get, "query", ns::VERSION, Version { system: config.system })
}

struct Version {
    system: bool,
}

impl Handler for Version {
    async fn handle(&self, _cx: &Cx<'_>, _ask: Ask) -> Result<Reply, StanzaError> {
        let text = |name, text| Builder::new(name, ns::VERSION).text(text);
        let query = Builder::new("query", ns::VERSION)
            .child(text("name", "Nuncio"))
            .child(text("version", env!("CARGO_PKG_VERSION")))
            .child_opt(self.system.then(|| text("os", std::env::consts::OS)));
        Ok(Reply::Result(query))
    }
}
