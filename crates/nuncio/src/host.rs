//! A client's host on the server: the router's, and the budget's word when the client has logged in.

use std::net::IpAddr;
use std::sync::Arc;

use nuncio_net::Permit;
use nuncio_net::listen::Counted;
use nuncio_router::Router;
use nuncio_router::c2s::ClientHost;
use nuncio_sansio::{Host, Waiting};
use nuncio_stream::c2s::{Answer, C2s, Command, Event, Question};

/// See the module.
pub(crate) struct Client {
    host: ClientHost,
    permit: Permit,
    _counted: Counted,
}

impl Client {
    pub(crate) fn new(router: Arc<Router>, peer: IpAddr, permit: Permit, counted: Counted) -> Self {
        Self { host: ClientHost::new(router, peer), permit, _counted: counted }
    }

    fn told(&mut self, event: &Event) {
        if let Event::Authenticated(_) = event {
            self.permit.authenticated();
        }
    }
}

// No future of its own around the router's, which would be held twice.
impl Host<C2s> for Client {
    fn ask(&mut self, question: Question) -> impl Future<Output = Answer> + Send {
        self.host.ask(question)
    }

    fn event(&mut self, event: Event) -> impl Future<Output = ()> + Send {
        self.told(&event);
        self.host.event(event)
    }

    fn hear(&mut self, event: Event) -> Option<Waiting<'_>> {
        self.told(&event);
        self.host.hear(event)
    }

    fn command(&mut self) -> impl Future<Output = Command> + Send {
        self.host.command()
    }

    fn closed(&mut self) -> impl Future<Output = ()> + Send {
        self.host.closed()
    }
}
