//! From the first byte to SASL: header, domain, features, STARTTLS (RFC 6120 §4.3, §5).

use nuncio_sansio::TlsFacts;
use nuncio_xmpp::error::StreamError;
use nuncio_xmpp::jid::BareJid;
use nuncio_xmpp::ns;
use nuncio_xmpp::xml::{Builder, Element, Header};

use super::api::{Domain, Event, Moment, Question};
use super::auth::ExpectAuth;
use super::bind::ExpectBind;
use super::core::Core;
use super::{Next, State};
use crate::error::{Error, Misbehaved, Refused};
use crate::header::{self, Initial};
use crate::redirect;
use crate::sasl::server::Policy;
use crate::sasl::{Authenticated, SaslCondition};

/// How far security has come. Each step forgets what was learnt before it (S0-33).
#[derive(Clone, Debug)]
pub(super) enum Security {
    /// Nothing.
    Clear,
    /// Inside TLS.
    Tls(Box<TlsFacts>),
    /// Inside TLS, and the client is known.
    Known(Box<TlsFacts>, Authenticated),
}

/// Waits for the end of the TLS handshake.
pub(super) struct ExpectTls;

impl ExpectTls {
    pub(super) fn secured(self, core: &mut Core, facts: TlsFacts) -> State {
        core.discard();
        core.wire.event(Event::Secured(Box::new(facts.clone())));
        State::ExpectHeader(ExpectHeader { security: Security::Tls(Box::new(facts)) })
    }
}

/// Waits for a stream header.
pub(super) struct ExpectHeader {
    security: Security,
}

impl ExpectHeader {
    pub(super) fn in_clear() -> Self {
        Self { security: Security::Clear }
    }

    /// After SASL (RFC 6120 §6.4.6).
    pub(super) fn known(facts: Box<TlsFacts>, who: Authenticated) -> Self {
        Self { security: Security::Known(facts, who) }
    }

    pub(super) fn is_in_clear(&self) -> bool {
        matches!(self.security, Security::Clear)
    }

    pub(super) fn header(self, core: &mut Core, header: &Header) -> Next {
        let initial = match header::read_client(header) {
            Ok(initial) => initial,
            Err(error) => {
                // RFC 6120 §4.9.1.3: nothing is known for certain, so `from` is empty.
                let from = match &self.security {
                    Security::Known(_, who) => who.account().domain(),
                    _ => "",
                };
                core.open(from, header::sender(header).as_ref().map(BareJid::as_str));
                return Err(error);
            }
        };
        match self.security {
            Security::Known(facts, who) => {
                let domain = who.account().domain().to_owned();
                let id = core.open(&domain, initial.from.as_ref().map(BareJid::as_str));
                if initial.to.is_some_and(|to| to != domain) {
                    return Err(Misbehaved::HeaderTo.into());
                }
                if initial.from.is_some_and(|from| from != *who.account()) {
                    return Err(Misbehaved::HeaderFrom.into());
                }
                core.wire.event(Event::Opened { domain: domain.clone(), id });
                Ok(AwaitOffer::ask(core, Phase::Bind { facts, who, lang: initial.lang }, domain))
            }
            Security::Tls(facts) => Ok(AwaitDomain::ask(core, Some(facts), initial)),
            Security::Clear => Ok(AwaitDomain::ask(core, None, initial)),
        }
    }
}

/// Waits for the host to say whether the domain is served.
pub(super) struct AwaitDomain {
    /// None in clear.
    tls: Option<Box<TlsFacts>>,
    from: Option<BareJid>,
}

impl AwaitDomain {
    fn ask(core: &mut Core, tls: Option<Box<TlsFacts>>, initial: Initial) -> State {
        core.ask(Question::Domain { to: initial.to, tls: tls.clone() });
        State::AwaitDomain(Self { tls, from: initial.from })
    }

    pub(super) fn is_in_clear(&self) -> bool {
        self.tls.is_none()
    }

    pub(super) fn answer(self, core: &mut Core, answer: Result<Domain, StreamError>) -> Next {
        let to = self.from.as_ref().map(BareJid::as_str);
        let domain = match answer {
            Ok(domain) => domain,
            Err(error) => {
                core.open("", to);
                let error = if self.is_in_clear() { redirect::without(error) } else { error };
                return Err(Refused::Domain(error).into());
            }
        };
        let id = core.open(&domain.name, to);
        core.wire.event(Event::Opened { domain: domain.name.clone(), id });
        match self.tls {
            None => {
                // TLS is required, so nothing else is offered (RFC 6120 §5.3.1, §5.3.4). What the client claimed about itself is forgotten.
                let required = Builder::new("required", ns::TLS);
                core.features(&[Builder::new("starttls", ns::TLS).child(required)]);
                Ok(State::ExpectStartTls(ExpectStartTls { domain: domain.name, certificate: domain.tls }))
            }
            Some(facts) => {
                let name = domain.name.clone();
                Ok(AwaitOffer::ask(core, Phase::Auth { facts, from: self.from, policy: domain.policy }, name))
            }
        }
    }
}

/// Which features are due.
enum Phase {
    Auth { facts: Box<TlsFacts>, from: Option<BareJid>, policy: Policy },
    Bind { facts: Box<TlsFacts>, who: Authenticated, lang: Option<Box<str>> },
}

/// Waits for the host's own features.
pub(super) struct AwaitOffer {
    phase: Phase,
    domain: String,
}

impl AwaitOffer {
    fn ask(core: &mut Core, phase: Phase, domain: String) -> State {
        let (tls, authenticated) = match &phase {
            Phase::Auth { facts, .. } => ((**facts).clone(), None),
            Phase::Bind { facts, who, .. } => ((**facts).clone(), Some(who.clone())),
        };
        core.ask(Question::Offer(Box::new(Moment { domain: domain.clone(), authenticated, tls })));
        State::AwaitOffer(Box::new(Self { phase, domain }))
    }

    pub(super) fn answer(self, core: &mut Core, offer: Vec<Builder>) -> State {
        match self.phase {
            Phase::Auth { facts, from, policy } => {
                let state = ExpectAuth::new(self.domain, facts, from, &policy);
                let mut features = state.features();
                features.extend(offer);
                core.features(&features);
                State::ExpectAuth(Box::new(state))
            }
            Phase::Bind { facts: _, who, lang } => {
                let mut features = vec![
                    Builder::new("bind", ns::BIND),
                    // RFC 6121 dropped the session request; clients that still wait for it may skip it.
                    Builder::new("session", ns::SESSION).child(Builder::new("optional", ns::SESSION)),
                ];
                if core.config.stream_management {
                    features.push(Builder::new("sm", ns::SM));
                }
                features.extend(offer);
                core.features(&features);
                State::ExpectBind(ExpectBind::new(self.domain, who, lang))
            }
        }
    }
}

/// Waits for `<starttls/>`; nothing else is allowed in clear.
pub(super) struct ExpectStartTls {
    domain: String,
    certificate: bool,
}

impl ExpectStartTls {
    pub(super) fn element(self, core: &mut Core, element: &Element) -> Next {
        if element.is("starttls", ns::TLS) {
            if !self.certificate {
                // RFC 6120 §5.4.2.2: the failure, our closing tag, the end.
                core.wire.send_builder(&Builder::new("failure", ns::TLS));
                core.close_all(None, super::Reason::Failed(Refused::NoCertificate.into()), false);
                return Ok(State::Ended);
            }
            core.wire.send_builder(&Builder::new("proceed", ns::TLS));
            core.start_tls(Some(self.domain));
            // Whatever came after `<starttls/>` in clear is dropped here, unread: it could be anybody's.
            core.discard();
            return Ok(State::ExpectTls(ExpectTls));
        }
        if element.ns() == ns::SASL {
            // S0-34: the layers have an order.
            return super::auth::refuse(core, SaslCondition::EncryptionRequired)
                .map(|()| State::ExpectStartTls(self));
        }
        Err(Error::from(Misbehaved::Unauthenticated))
    }
}
