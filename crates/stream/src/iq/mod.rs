//! Requests and who may answer them (RFC 6120 §8.2.3, §8.1.2; draft-alkemade-xmpp-iq-validation).
//!
//! An id is no secret: every hop of a request sees it, and whoever learns or guesses it can send a result with it. So a request is known by
//! who was asked *and* by its id ([`Line`]), and an answer counts only if the addressee gave it. All others are ignored: they complete
//! nothing, cancel nothing, move no deadline, and are never answered (S4-04, S4-05).
//!
//! [`Tracker`] is the one table of both roles. A client asks as an [`Account`], whose own server may answer in its name; a server asks as
//! [`Server`], for its domains and accounts. It touches no clock: who drives it tells the time.

mod asker;
#[doc(hidden)]
pub mod fuzz;
#[cfg(test)]
mod tests;
mod tracker;

pub use asker::{Account, Asker, Leniency, Line, Server};
pub use tracker::{Refused, Tracker};
