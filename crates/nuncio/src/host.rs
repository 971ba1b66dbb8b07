//! A client's host on the server: the router's, and the budget's word when the client has logged in.

use std::net::IpAddr;
use std::sync::Arc;

use nuncio_net::Permit;
use nuncio_router::Router;
use nuncio_router::c2s::ClientHost;
use nuncio_sansio::Host;
use nuncio_stream::c2s::{Answer, C2s, Command, Event, Question};

/// See the module.
pub(crate) struct Client {
    host: ClientHost,
    permit: Permit,
}

impl Client {
    pub(crate) fn new(router: Arc<Router>, peer: IpAddr, permit: Permit) -> Self {
        Self { host: ClientHost::new(router, peer), permit }
    }
}

impl Host<C2s> for Client {
    async fn ask(&mut self, question: Question) -> Answer {
        self.host.ask(question).await
    }

    async fn event(&mut self, event: Event) {
        if let Event::Authenticated(_) = event {
            self.permit.authenticated();
        }
        self.host.event(event).await;
    }

    async fn command(&mut self) -> Command {
        self.host.command().await
    }

    async fn closed(&mut self) {
        self.host.closed().await;
    }
}
