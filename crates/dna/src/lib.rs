//! Domain Name Associations for XMPP (RFC 7712): who is at the other end of a stream, and why we believe it.
//!
//! A [`Claim`] says which domain the other end speaks for. [`Evidence`] is what was collected about it: the certificates of the TLS handshake, what DNS says and
//! whether that is signed, documents of the domain's web server, dialback answers. [`judge`] looks at both, at the operator's [`Policy`] and at the time, and
//! says what proves the claim, why everything else does not, and whether the peer may speak. Nothing else makes a [`ProvenDomain`].
//!
//! There is no socket here, no clock and no randomness: whoever collects the evidence knows nothing of what it proves, and this crate knows nothing of how it was
//! collected. `nuncio check` and the server ask the same function.
//!
//! ```
//! use nuncio_dna::{Claim, Direction, Domain, Evidence, Policy, Service, Time, Tls, judge};
//!
//! let claim = Claim {
//!     local: Domain::new("us.example")?,
//!     remote: Domain::new("them.example")?,
//!     direction: Direction::In,
//!     service: Service::XmppServer,
//! };
//! let evidence = Evidence::of(Tls::V13, Vec::new());
//! let judgement = judge(&claim, &evidence, &Policy::default(), Time::from_secs(1_800_000_000));
//! assert!(!judgement.is_accepted());
//! assert_eq!(judgement.cause().map(|finding| finding.reason.code()), Some("no-certificate"));
//! # Ok::<(), nuncio_dna::BadDomain>(())
//! ```

mod chain;
mod claim;
mod dane;
pub mod dialback;
pub mod dns;
mod domain;
mod evidence;
#[doc(hidden)]
pub mod fuzz;
mod judge;
mod names;
mod pkix;
pub mod policy;
pub mod posh;
mod proof;
mod reason;
mod time;
pub mod tlsa;
mod x509;

pub use rustls_pki_types::CertificateDer;

pub use chain::{MAX_CERTIFICATES, Trust};
pub use claim::{Claim, Direction, Service};
pub use domain::{BadDomain, Domain};
pub use evidence::{Evidence, Tls};
pub use judge::{Decision, Judgement, judge, prooftypes};
pub use names::Identifier;
pub use policy::{DaneUse, Expression, Level, Pattern, Pin, Policy, Rule};
pub use proof::{Basis, Description, Finding, Material, Nature, Prooftype, ProvenDomain, Strength};
pub use reason::Reason;
pub use time::Time;
pub use tlsa::Tlsa;
