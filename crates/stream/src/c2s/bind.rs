//! After SASL: resource binding (RFC 6120 §7), resumption (XEP-0198 §5), and what may be said before a resource is bound.

use nuncio_sansio::Time;
use nuncio_xmpp::error::{Condition, StanzaError};
use nuncio_xmpp::jid::{self, Jid};
use nuncio_xmpp::ns;
use nuncio_xmpp::stanza::{IqType, Kind, Stanza};
use nuncio_xmpp::xml::{Builder, Element};

use super::api::{Event, Question, ResumeFailed, Resumed};
use super::auth::ExpectAuth;
use super::core::{Core, Timer};
use super::open::Open;
use super::{Next, State};
use crate::error::Misbehaved;
use crate::sasl::Authenticated;
use crate::sm;

/// Whether the stanza wants an answer from somebody.
pub(super) fn is_request(stanza: &Stanza) -> bool {
    matches!(stanza.kind(), Kind::Iq(IqType::Get | IqType::Set))
}

/// Waits for the client to bind a resource or to resume a session.
pub(super) struct ExpectBind {
    domain: String,
    who: Authenticated,
    /// The language of what the client sends.
    lang: Option<Box<str>>,
    /// Attempts that failed.
    attempts: u8,
}

impl ExpectBind {
    pub(super) fn new(domain: String, who: Authenticated, lang: Option<Box<str>>) -> Self {
        Self { domain, who, lang, attempts: 0 }
    }

    pub(super) fn element(self, core: &mut Core, element: &Element) -> Next {
        match element.ns() {
            ns::CLIENT => self.stanza(core, element),
            ns::SM => self.management(core, element),
            _ => Err(Misbehaved::Element.into()),
        }
    }

    /// XEP-0198 §3: before binding only a resumption makes sense.
    fn management(self, core: &mut Core, element: &Element) -> Next {
        match element.name() {
            "enable" => {
                core.wire.send_builder(&sm::failed(Condition::UnexpectedRequest, None));
                Ok(State::ExpectBind(self))
            }
            "resume" if !core.config.stream_management => {
                core.wire.send_builder(&sm::failed(Condition::FeatureNotImplemented, None));
                Ok(State::ExpectBind(self))
            }
            "resume" => {
                let (Some(h), Some(previd)) = (sm::read_h(element), element.attr("previd")) else {
                    core.wire.send_builder(&sm::failed(Condition::BadRequest, None));
                    return Ok(State::ExpectBind(self));
                };
                let previd = previd.into_owned();
                core.ask(Question::Resume { who: self.who.clone(), previd: previd.clone(), h });
                Ok(State::AwaitResume(Box::new(AwaitResume { bind: self, previd, h })))
            }
            _ => Err(Misbehaved::Element.into()),
        }
    }

    fn stanza(self, core: &mut Core, element: &Element) -> Next {
        let mut stanza = match Stanza::from_element(element.clone()) {
            Ok(stanza) => stanza,
            Err(fault) => {
                return match fault.reply(element) {
                    Some(reply) => {
                        core.wire.send_stanza(&reply);
                        Ok(State::ExpectBind(self))
                    }
                    None => Err(Misbehaved::Element.into()),
                };
            }
        };
        // S0-05, RFC 6120 §7.1: to the server or to the own account, else the stream ends and nothing is processed.
        if !stanza.to().is_none_or(|to| self.is_own(to)) {
            return Err(Misbehaved::Unbound.into());
        }
        if !stanza.from().is_none_or(|from| from.bare() == *self.who.account() && from.is_bare()) {
            return Err(Misbehaved::From.into());
        }
        if !is_request(&stanza) {
            // Nobody could answer: S0-06 asks for a clean error.
            return Ok(self.too_early(core, &stanza));
        }
        let wish = stanza
            .child("bind", ns::BIND)
            .filter(|_| stanza.kind() == Kind::Iq(IqType::Set))
            .map(|bind| bind.child("resource", ns::BIND).map(|resource| resource.text().into_owned()));
        let Some(wish) = wish else {
            stanza.set_from(Some(self.who.account().to_jid()));
            core.ask(Question::Unbound {
                domain: self.domain.clone(),
                who: Some(self.who.clone()),
                stanza: Box::new(stanza.clone()),
            });
            return Ok(State::AwaitUnbound(Box::new(AwaitUnbound { back: Back::Bind(self), stanza })));
        };
        match wish.filter(|wish| !wish.is_empty()).map(|wish| jid::prepare_resource(&wish)).transpose() {
            Ok(resource) => {
                core.ask(Question::Bind { who: self.who.clone(), resource });
                Ok(State::AwaitBind(Box::new(AwaitBind { bind: self, stanza })))
            }
            // RFC 6120 §7.7.2.1.
            Err(_) => self.refused(core, &stanza, StanzaError::new(Condition::BadRequest)),
        }
    }

    fn is_own(&self, to: &Jid) -> bool {
        (to.is_domain() && to.domain() == self.domain) || to.bare() == *self.who.account()
    }

    fn too_early(self, core: &mut Core, stanza: &Stanza) -> State {
        if let Some(reply) = stanza.error(StanzaError::new(Condition::UnexpectedRequest)) {
            core.wire.send_stanza(&reply);
        }
        State::ExpectBind(self)
    }

    /// RFC 6120 §7.7.3: a bounded number of attempts.
    fn refused(mut self, core: &mut Core, request: &Stanza, error: StanzaError) -> Next {
        if let Some(reply) = request.error(error) {
            core.wire.send_stanza(&reply);
        }
        self.attempts = self.attempts.saturating_add(1);
        if self.attempts >= core.config.bindings.clamp(5, 10) {
            return Err(Misbehaved::Binding.into());
        }
        Ok(State::ExpectBind(self))
    }
}

/// Waits for the host to bind a resource.
pub(super) struct AwaitBind {
    bind: ExpectBind,
    stanza: Stanza,
}

impl AwaitBind {
    pub(super) fn answer(self, core: &mut Core, now: Time, answer: Result<Jid, StanzaError>) -> Next {
        let Self { bind, stanza } = self;
        match answer {
            Ok(jid) => {
                let bound = Builder::new("jid", ns::BIND).text(jid.as_str());
                let mut reply = stanza.result(Some(Builder::new("bind", ns::BIND).child(bound)));
                // RFC 6120 §7.6.1: between the client and its server, without addresses.
                reply.set_to(None);
                reply.set_from(None);
                core.wire.send_stanza(&reply);
                core.timers.clear(Timer::Negotiation);
                core.wire.event(Event::Bound(jid.clone()));
                Ok(State::Open(Box::new(Open::bound(core, now, bind.domain, bind.lang, jid))))
            }
            Err(error) => bind.refused(core, &stanza, error),
        }
    }
}

/// Waits for the host to resume a session.
pub(super) struct AwaitResume {
    bind: ExpectBind,
    previd: String,
    h: u32,
}

impl AwaitResume {
    pub(super) fn answer(self, core: &mut Core, now: Time, answer: Result<Resumed, ResumeFailed>) -> Next {
        let Self { bind, previd, h } = self;
        match answer {
            Ok(resumed) => {
                let element =
                    Builder::new("resumed", ns::SM).attr("previd", &previd).attr("h", resumed.inbound);
                core.wire.send_builder(&element);
                core.timers.clear(Timer::Negotiation);
                core.wire.event(Event::Resumed { jid: resumed.jid.clone(), h });
                Ok(State::Open(Box::new(Open::resumed(core, now, bind.domain, bind.lang, resumed, h))))
            }
            // XEP-0198 §5: the client may still bind.
            Err(ResumeFailed { condition, h }) => {
                core.wire.send_builder(&sm::failed(condition, h));
                Ok(State::ExpectBind(bind))
            }
        }
    }
}

/// Waits for the host's handlers of IQs on unbound streams.
pub(super) struct AwaitUnbound {
    back: Back,
    stanza: Stanza,
}

enum Back {
    Auth(Box<ExpectAuth>),
    Bind(ExpectBind),
}

impl AwaitUnbound {
    /// An IQ of somebody who is not known yet.
    pub(super) fn stranger(auth: Box<ExpectAuth>, stanza: Stanza) -> Self {
        Self { back: Back::Auth(auth), stanza }
    }

    pub(super) fn answer(self, core: &mut Core, reply: Option<Stanza>) -> Next {
        let Self { back, stanza } = self;
        match (back, reply) {
            (Back::Auth(_), None) => Err(Misbehaved::Unauthenticated.into()),
            (Back::Bind(bind), None) => Ok(bind.too_early(core, &stanza)),
            (back, Some(reply)) => {
                core.wire.send_stanza(&reply);
                Ok(match back {
                    Back::Auth(auth) => State::ExpectAuth(auth),
                    Back::Bind(bind) => State::ExpectBind(bind),
                })
            }
        }
    }
}
