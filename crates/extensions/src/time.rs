//! XEP-0202 Entity Time: the server's time, in UTC.

use nuncio_router::clock::stamp;
use nuncio_router::points::Handler;
use nuncio_router::{Ask, At, ConfigError, Cx, Extension, Host, Reply, Xep};
use nuncio_xmpp::error::StanzaError;
use nuncio_xmpp::ns;
use nuncio_xmpp::stanza::IqType;
use nuncio_xmpp::xml::Builder;

/// See the module.
pub const EXTENSION: Extension = Extension {
    name: "time",
    xeps: &[Xep { number: 202, version: "2.0", title: "Entity Time" }],
    needs: &[],
    default_on: true,
    plug,
};

fn plug(host: &mut Host<'_>) -> Result<(), ConfigError> {
    host.feature(ns::TIME);
    host.handler(At::Server, IqType::Get, "time", ns::TIME, Time)
}

struct Time;

impl Handler for Time {
    async fn handle(&self, cx: &Cx<'_>, _ask: Ask) -> Result<Reply, StanzaError> {
        let time = Builder::new("time", ns::TIME)
            .child(Builder::new("tzo", ns::TIME).text("+00:00"))
            .child(Builder::new("utc", ns::TIME).text(&stamp(cx.now)));
        Ok(Reply::Result(time))
    }
}
