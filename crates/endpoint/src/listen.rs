//! The passive side: who connects to us.

use std::net::SocketAddr;
use std::sync::Arc;

use nuncio_msrp::uri::Host;
use nuncio_msrp::{Scheme, Transport, Uri};
use nuncio_net::{Budget, BudgetLimits, Listener, OsEntropy};
use tokio::task::AbortHandle;

use crate::error::StartError;
use crate::{Endpoint, connection};

/// How many connections may wait for being accepted.
const BACKLOG: u32 = 128;

/// A listener. Nobody is accepted any more when it is dropped; connections that stand are not touched.
#[derive(Debug)]
pub struct Listening {
    addresses: Vec<SocketAddr>,
    host: String,
    port: u16,
    tls: bool,
    accepting: AbortHandle,
}

impl Endpoint {
    /// Listens on these addresses; port 0 picks one. `host`, a name or an address (IPv6 in brackets), is what our URIs say, with the port of the first
    /// address. With `tls` they are `msrps` URIs, and nobody speaks in clear.
    ///
    /// # Errors
    /// An address is in use or not ours, or `host` is none.
    pub fn listen(&self, addresses: &[SocketAddr], host: &str, tls: bool) -> Result<Listening, StartError> {
        Host::parse(host)?;
        let budget = Budget::new(BudgetLimits::default(), Arc::clone(&self.inner.metrics));
        let mut listener = Listener::bind("msrp", addresses, BACKLOG, budget)?;
        let addresses = listener.addresses().to_vec();
        let port = addresses.first().map_or(0, SocketAddr::port);
        let inner = Arc::downgrade(&self.inner);
        let accepting = tokio::spawn(async move {
            loop {
                let incoming = listener.accept().await;
                let Some(inner) = inner.upgrade() else { return };
                connection::accepted(&inner, incoming, tls);
            }
        });
        let accepting = accepting.abort_handle();
        Ok(Listening { addresses, host: host.to_owned(), port, tls, accepting })
    }
}

impl Listening {
    /// The addresses that are listened on, with real ports.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// A new URI of ours here (S1-01).
    pub(crate) fn uri(&self) -> Result<Uri, StartError> {
        let scheme = if self.tls { Scheme::Msrps } else { Scheme::Msrp };
        Ok(Uri::of_session(scheme, &self.host, self.port, &Transport::Tcp, &OsEntropy)?)
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}
