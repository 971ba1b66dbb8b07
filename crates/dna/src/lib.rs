//! Domain Name Associations for XMPP (RFC 7712): who is at the other end of a stream, and why we believe it.
//!
//! A [`Claim`] says which domain the other end speaks for. [`Evidence`] is what was collected about it: the certificates of the TLS handshake, what DNS says and
//! whether that is signed, documents of the domain's web server, dialback answers. [`judge`] looks at both, at the operator's [`Policy`] and at the time, and
//! says what proves the claim, why everything else does not, and whether the peer may speak. Nothing else makes a [`ProvenDomain`].
//!
//! There is no socket here, no clock and no randomness: whoever collects the evidence knows nothing of what it proves, and this crate knows nothing of how it was
//! collected. `nuncio check` and the server ask the same function.
//!
//! # Collecting
//!
//! - **TLS** asks the peer for a certificate in both directions, checks that it holds the key, and hands over what it sent, unjudged. The claim is known only after
//!   the stream headers.
//! - **DNS** asks for [`Service::srv_owners`], for the addresses of each target, and where those are secure for [`dns::Endpoint::tlsa_owners`]. It says of
//!   every step what validation says; a lookup that failed is [`dns::Answer::Failed`], never "no records".
//! - **HTTPS** asks for [`posh::url`], and once more where [`posh::follow`] says so; it connects to what [`posh::is_public`] allows and follows redirects that
//!   [`posh::https_host`] allows.
//! - **Dialback** makes and checks keys by [`dialback::Secret`]. The stream to the domain's own server is judged like any other, and its proofs go into
//!   [`dialback::Callback`]. It is worth the trouble only where [`Expression::wants_dialback`].
//! - **Time**: a judgement is good until [`Decision::Accept`] says; before that, evidence is collected again and judged again. When the policy, the
//!   trusted authorities or the revocation lists change, everything is judged again.
//!
//! Several domains on one connection are several claims with the same certificates (RFC 7712 §4.4); so is the question whether one could be added.
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

mod certificate;
mod chain;
mod claim;
mod dane;
pub mod dialback;
pub mod dns;
mod domain;
mod evidence;
#[doc(hidden)]
pub mod fuzz;
mod json;
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

pub use certificate::Certificate;
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
