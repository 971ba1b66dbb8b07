//! XEP-0199 XMPP Ping: the server and each account answer, and the server pings silent clients that have no stream management.

use nuncio_router::points::Handler;
use nuncio_router::{Ask, At, ConfigError, Cx, Extension, Host, Reply, Xep};
use nuncio_xmpp::error::StanzaError;
use nuncio_xmpp::ns;
use nuncio_xmpp::stanza::IqType;
use nuncio_xmpp::xml::Builder;

/// See the module.
pub const EXTENSION: Extension = Extension {
    name: "ping",
    xeps: &[Xep { number: 199, version: "2.0.1", title: "XMPP Ping" }],
    needs: &[],
    default_on: true,
    plug,
};

fn plug(host: &mut Host<'_>) -> Result<(), ConfigError> {
    for at in [At::Server, At::Account] {
        host.feature_at(at, ns::PING);
        host.handler(at, IqType::Get, "ping", ns::PING, Pong)?;
    }
    // §4.1; with stream management `<r/>` does the same.
    host.probe(Builder::new("ping", ns::PING))
}

struct Pong;

impl Handler for Pong {
    async fn handle(&self, _cx: &Cx<'_>, ask: Ask) -> Result<Reply, StanzaError> {
        if ask.place.at == At::Account {
            ask.own()?; // nobody learns by it whether an account exists
        }
        Ok(Reply::Empty)
    }
}
