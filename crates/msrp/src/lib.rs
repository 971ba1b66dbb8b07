//! MSRP (RFC 4975) and its relays (RFC 4976) without IO: frames, URIs, chunks, reports, sessions, credentials, CPIM and SDP.
//!
//! ```text
//! words       uri, ident, range, status, media, head, limits
//! frames      parse (bytes to items), head (items to bytes), wire
//! messages    reassembly (which bytes are there), lanes (whose turn it is), transaction (who waits)
//! machines    endpoint (a client's or a gateway's end of a connection), relay (one of its connections)
//! content     cpim (RFC 3862), imdn (RFC 5438), sdp (offer and answer)
//! ```
//! The machines are [`nuncio_sansio::Machine`]s: they touch neither socket nor clock and ask their host what they do not know. A machine
//! is one connection; what connections share ([`endpoint::Directory`]) is plain data that the host keeps.

pub mod cpim;
pub mod digest;
pub mod endpoint;
#[doc(hidden)]
pub mod fuzz;
pub mod head;
pub mod ident;
pub mod imdn;
pub mod lanes;
pub mod limits;
pub mod media;
pub mod parse;
pub mod range;
pub mod reassembly;
pub mod relay;
pub mod sdp;
pub mod status;
pub mod transaction;
pub mod uri;
mod wire;

pub use head::{FailureReport, Field, Flag, Head, Method, Start};
pub use ident::Ident;
pub use limits::Limits;
pub use parse::{Item, Parser};
pub use range::ByteRange;
pub use status::{ReportStatus, Status};
pub use uri::{Path, Scheme, Transport, Uri};
