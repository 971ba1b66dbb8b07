//! A client library: connect, log in, send, validated IQs, sessions that survive their connection.
//!
//! - TLS is always required, and the server's certificate must be for the account's domain, whatever host was connected to
//!   (RFC 6120 §13.7, RFC 7590 §3.1); a redirect changes neither (S0-31).
//! - Nothing is sent before a resource is bound: stanzas wait (S0-07).
//! - An IQ is answered only by whom it was sent to, and has an id that nobody can guess (S4-03 to S4-09).
//! - A connection that breaks leaves a session that goes on with [`Session::reconnect`] (XEP-0198 §5): what was not acknowledged is
//!   sent again. When to reconnect is the caller's decision; [`Backoff`] is the policy of RFC 6120 §3.3 (S0-03).
//! - Every queue is bounded. A caller who does not read slows the server; a server who does not read slows the caller.
//!
//! ```no_run
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! use nuncio_client::{Client, ClientConfig, Event, Roots};
//! use nuncio_xmpp::jid::BareJid;
//! use nuncio_xmpp::stanza::{self, MessageType, PresenceType};
//!
//! let roots = Roots::Files(vec!["nuncio-data/tls/ca.pem".into()]);
//! let config = ClientConfig::new(BareJid::new("juliet@example.org")?, "secret", roots);
//! let mut session = Client::connect(config).await?;
//! session.send(&stanza::presence(PresenceType::Available).build()).await?;
//! while let Some(event) = session.next().await {
//!     match event {
//!         Event::Stanza(stanza) => println!("{:?}: {:?}", stanza.from(), stanza.body_text()),
//!         Event::Disconnected(end) if end.may_retry => session.reconnect(),
//!         _ => {}
//!     }
//! }
//! # Ok(())
//! # }
//! ```

mod backoff;
mod config;
mod cut;
mod link;
mod pending;
mod session;

pub use backoff::Backoff;
pub use config::{ClientConfig, Leniency, Resolve, Resolved, Server, SystemResolver};
pub use nuncio_net::tls::{ConnectError, PairFiles, Roots};
pub use nuncio_stream::client::Reason;
pub use nuncio_stream::redirect::{Decision, Refusal};
pub use nuncio_stream::sasl::Mechanism;
pub use nuncio_stream::sasl::client::{Credentials, Policy, Proven};
pub use nuncio_stream::{Pace, Start};
pub use pending::RequestError;
pub use session::{Client, Disconnected, Event, LoginError, Online, SendError, Sender, Session, Why};
