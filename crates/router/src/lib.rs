//! The server's core: accounts, sessions, the way of a stanza, and the typed points that extensions plug into.
//!
//! - [`Router`] is the whole; [`c2s::ClientHost`] ties one client stream to it, and [`commands`] are what operators ask of it.
//! - [`lane`]: one account in memory. A *step* in its lane is synchronous, never awaits and never enters another lane; what it
//!   wants to send elsewhere waits in the lane's outbox until the step is over.
//! - `route`: the way of a stanza, in one file: admit, enter, leave, locate, arrive, choose, deliver, settle.
//! - [`points`]: what an extension can be; [`host`]: how it registers.
//!
//! Nothing here knows a socket or TLS.

pub mod accounts;
pub mod c2s;
pub mod choose;
pub mod clock;
pub mod commands;
pub mod config;
pub mod delivery;
pub mod disco;
mod elsewhere;
pub mod facts;
pub mod host;
pub mod lane;
pub mod limits;
pub mod metrics;
pub mod offline;
mod outbox;
pub mod points;
pub mod presence;
pub mod refuse;
mod request;
pub mod roster;
mod route;
mod router;
pub mod session;
mod shutdown;
pub mod slots;

pub use clock::{Clock, SystemClock};
pub use config::{DomainConfig, Limits, Refusable, RouterConfig, ServiceContacts};
pub use elsewhere::Elsewhere;
pub use host::{ConfigError, Extension, Host, Xep};
pub use lane::{AccountState, Lane, SessionState, Step, Stepped};
pub use points::{Ask, At, Boxed, Cx, Place, Reply};
pub use request::RequestError;
pub use router::{Parts, Router, StartError};
pub use session::{Session, SessionId};

/// The store's shapes, for extensions.
pub use nuncio_store as store;
/// The streams' words, for extensions.
pub use nuncio_stream as stream;
