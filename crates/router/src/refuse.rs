//! Kinds of stanzas that a domain refuses as a whole: a service for presence only, say.
//!
//! Such a refusal is `not-allowed` of type `cancel`: nothing that the sender could do would change it, so it is neither `not-authorized` nor
//! `forbidden` (RFC 6120 §8.3.3.10, S0-25).

use std::sync::Arc;

use nuncio_xmpp::error::{Condition, StanzaError};
use nuncio_xmpp::jid::Jid;
use nuncio_xmpp::stanza::{Kind, PresenceType, Stanza};

use crate::config::{DomainConfig, Refusable};
use crate::host::Host;
use crate::points::{Police, PoliceAt, Standing, Verdict};

pub(crate) fn plug(host: &mut Host<'_>) {
    let domains: Vec<_> =
        host.router().domains.iter().filter(|domain| !domain.refuse.is_empty()).cloned().collect();
    if !domains.is_empty() {
        host.police(PoliceAt::Entering, Arc::new(Kinds(domains)));
    }
}

struct Kinds(Vec<DomainConfig>);

impl Kinds {
    fn refuses(&self, of: Option<&Jid>, what: Refusable) -> bool {
        of.is_some_and(|jid| {
            self.0.iter().any(|domain| domain.name == jid.domain() && domain.refuse.contains(&what))
        })
    }
}

impl Police for Kinds {
    fn judge(&self, _at: &Standing<'_>, stanza: &Stanza) -> Verdict {
        let what = match stanza.kind() {
            Kind::Message(_) => Refusable::Messages,
            // What ends presence is let through: refusing it would leave ghosts.
            Kind::Presence(PresenceType::Unavailable) | Kind::Iq(_) => return Verdict::Pass,
            Kind::Presence(_) => Refusable::Presence,
        };
        if !self.refuses(stanza.from(), what) && !self.refuses(stanza.to(), what) {
            Verdict::Pass
        } else if stanza.is_error() {
            Verdict::Drop
        } else {
            Verdict::Refuse(StanzaError::new(Condition::NotAllowed))
        }
    }
}
