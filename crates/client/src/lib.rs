//! A client library: connect, log in, send, validated IQs, sessions that survive their connection.
//!
//! - The server is found by the domain's SRV records for STARTTLS and direct TLS in one order (RFC 6120 §3.2, XEP-0368), then by its
//!   addresses; of several addresses the first that answers is taken (RFC 8305). [`Server`] names another place, [`Resolve`] another
//!   source.
//! - TLS is always required, and the server must be proven to be that of the account's domain, whatever host was connected to
//!   (RFC 6120 §13.7, RFC 7590 §3.1, RFC 7712 §3); a redirect changes neither (S0-31). The engine that judges is the servers' own,
//!   [`dna`]: see [`Proofs`]. Whoever is refused gets nothing but a handshake, and the caller an [`IdentityError`] with the reason.
//!   A proof that ends is renewed in time; where that fails the stream ends with it, and an [`IdentityError`] says why.
//! - The strongest mechanism that both sides have is used, with channel binding where there is one; PLAIN only by [`Policy`].
//! - Nothing is sent before a resource is bound: stanzas wait (S0-07).
//! - An IQ is answered only by whom it was sent to, and has an id that nobody can guess (S4-03 to S4-09). Roster pushes and carbons that
//!   do not come from the own account are dropped (S4-10).
//! - A connection that breaks leaves a session that goes on with [`Session::reconnect`] (XEP-0198 §5): what was not acknowledged is
//!   sent again. With [`ClientConfig::reconnect`] that happens by itself, after the waits of RFC 6120 §3.3 ([`Backoff`], S0-03).
//! - Every queue is bounded. A caller who does not read slows the server; a server who does not read slows the caller.
//!
//! # Sending a message
//!
//! ```no_run
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! use nuncio_client::xmpp::jid::{BareJid, Jid};
//! use nuncio_client::xmpp::stanza::{MessageType, message};
//! use nuncio_client::{Client, ClientConfig, Roots};
//!
//! let account = ClientConfig::new(BareJid::new("juliet@example.org")?, "secret", Roots::System);
//! let mut session = Client::connect(account).await?;
//! session.send(&message(MessageType::Chat).to(Jid::new("romeo@example.net")?).body("Good night").build()).await?;
//! session.close().await;
//! # Ok(())
//! # }
//! ```
//!
//! # Staying online
//!
//! ```no_run
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! use nuncio_client::xmpp::jid::BareJid;
//! use nuncio_client::xmpp::stanza::{PresenceType, presence};
//! use nuncio_client::{Backoff, Client, ClientConfig, Event, Roots};
//!
//! let roots = Roots::Files(vec!["nuncio-data/tls/ca.pem".into()]);
//! let mut account = ClientConfig::new(BareJid::new("juliet@example.org")?, "secret", roots);
//! account.reconnect = Some(Backoff::default());
//! let mut session = Client::connect(account).await?;
//! session.send(&presence(PresenceType::Available).build()).await?;
//! while let Some(event) = session.next().await {
//!     match event {
//!         Event::Stanza(stanza) => println!("{:?}: {:?}", stanza.from(), stanza.body_text()),
//!         // A new session instead of the old one: nobody knows yet that we are there.
//!         Event::Online(online) if !online.resumed => {
//!             session.send(&presence(PresenceType::Available).build()).await?;
//!         }
//!         Event::Disconnected(end) if end.retry_in.is_none() => return Err(end.why.into()),
//!         _ => {}
//!     }
//! }
//! # Ok(())
//! # }
//! ```

mod backoff;
mod config;
mod cut;
mod gate;
mod identity;
mod link;
mod pending;
mod renewal;
mod resolve;
mod session;
mod target;
mod why;

pub use backoff::Backoff;
pub use config::{ClientConfig, Server};
pub use identity::{IdentityError, Pinned, Proofs};
pub use nuncio_dna as dna;
pub use nuncio_net::HttpsConfig;
pub use nuncio_net::dns::{Anchors, DnsConfig, Validation};
pub use nuncio_net::tls::{ConnectError, PairFiles, Roots};
pub use nuncio_stream::client::Reason;
pub use nuncio_stream::iq::Leniency;
pub use nuncio_stream::redirect::{Decision, Refusal};
pub use nuncio_stream::sasl::Mechanism;
pub use nuncio_stream::sasl::client::{Credentials, Policy, Proven};
pub use nuncio_stream::{Pace, Start};
pub use nuncio_xmpp as xmpp;
pub use pending::RequestError;
pub use resolve::{DnsResolver, Resolve, Resolved, Service, Services, SystemResolver};
pub use session::{Client, Disconnected, Event, LoginError, Online, SendError, Sender, Session};
pub use why::Why;
