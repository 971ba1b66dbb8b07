//! From the first byte to a bound resource, as the client sees it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use nuncio_sansio::{Output, Time, TlsFacts};
use nuncio_xmpp::error::{Condition, StanzaError};
use nuncio_xmpp::jid::Jid;
use nuncio_xmpp::ns;
use nuncio_xmpp::stanza::{self, IqType, Kind, Stanza};
use nuncio_xmpp::xml::{Builder, Element, Header};

use super::api::{Event, Reason};
use super::core::{Core, Timer};
use super::open::Open;
use super::{Next, State};
use crate::error::{Error, Incompatible, Misbehaved};
use crate::header;
use crate::sasl::client::{Context, Exchange};
use crate::sasl::{Binding, Offer, SaslCondition};
use crate::sm;

/// How far negotiation has come.
enum Phase {
    Clear,
    Tls(Vec<Binding>),
    Known,
}

/// Waits for the end of the TLS handshake.
pub(super) struct ExpectTls;

impl ExpectTls {
    pub(super) fn secured(self, core: &mut Core, facts: TlsFacts) -> State {
        core.discard();
        core.secured = true;
        let bindings = Binding::of(&facts);
        core.wire.event(Event::Secured(facts));
        core.open();
        State::ExpectHeader(ExpectHeader { phase: Phase::Tls(bindings) })
    }
}

/// Waits for the server's header.
pub(super) struct ExpectHeader {
    phase: Phase,
}

impl ExpectHeader {
    pub(super) fn in_clear() -> Self {
        Self { phase: Phase::Clear }
    }

    pub(super) fn header(self, _: &mut Core, header: &Header) -> Next {
        header::check(header, ns::CLIENT)?;
        Ok(State::ExpectFeatures(ExpectFeatures { phase: self.phase }))
    }
}

/// Waits for `<stream:features/>`.
pub(super) struct ExpectFeatures {
    phase: Phase,
}

impl ExpectFeatures {
    pub(super) fn element(self, core: &mut Core, now: Time, element: &Element) -> Next {
        if !element.is("features", ns::STREAMS) {
            return Err(Misbehaved::OutOfTurn.into());
        }
        match self.phase {
            Phase::Clear => {
                // RFC 7590 §3.1: asked for even where it is not offered, since somebody may have removed the offer.
                core.wire.send_builder(&Builder::new("starttls", ns::TLS));
                Ok(State::ExpectProceed(ExpectProceed))
            }
            Phase::Tls(bindings) => authenticate(core, bindings, element),
            Phase::Known => {
                let management = core.config.stream_management && element.child("sm", ns::SM).is_some();
                let session = element.child("session", ns::SESSION);
                let offers = Offers {
                    management,
                    session: session.is_some_and(|session| session.child("optional", ns::SESSION).is_none()),
                };
                if management && let Some(old) = &core.old {
                    let resume =
                        Builder::new("resume", ns::SM).attr("h", old.inbound).attr("previd", &old.id);
                    core.wire.send_builder(&resume);
                    return Ok(State::ExpectResumed(ExpectResumed { offers }));
                }
                Ok(bind(core, now, offers))
            }
        }
    }
}

/// What the last features offered.
#[derive(Clone, Copy)]
struct Offers {
    management: bool,
    /// RFC 3921 §3, if it is not optional.
    session: bool,
}

/// Waits for `<proceed/>`.
pub(super) struct ExpectProceed;

impl ExpectProceed {
    pub(super) fn element(self, core: &mut Core, element: &Element) -> Next {
        if element.is("proceed", ns::TLS) {
            core.wire.push(Output::StartTls { domain: None });
            core.discard();
            return Ok(State::ExpectTls(ExpectTls));
        }
        if element.ns() == ns::TLS {
            core.close_all(None, Reason::NoTls, false);
            return Ok(State::Ended);
        }
        Err(Misbehaved::OutOfTurn.into())
    }
}

fn authenticate(core: &mut Core, bindings: Vec<Binding>, features: &Element) -> Next {
    let names = |parent: &str, child: &str, ns: &str| -> Option<Vec<Element>> {
        let parent = features.child(parent, ns)?;
        Some(
            parent
                .children()
                .filter(|element| element.is(child, ns))
                .map(|element| element.to_element())
                .collect(),
        )
    };
    let mechanisms = names("mechanisms", "mechanism", ns::SASL).unwrap_or_default();
    let types = names("sasl-channel-binding", "channel-binding", ns::SASL_CB);
    let offer = Offer {
        mechanisms: mechanisms.iter().map(|element| element.text().trim().to_owned()).collect(),
        channel_bindings: types.map(|types| {
            types
                .iter()
                .filter_map(|element| element.attr("type").map(std::borrow::Cow::into_owned))
                .collect()
        }),
    };
    let context = Context { encrypted: true, bindings, offer, policy: core.config.policy.clone() };
    let (exchange, start) =
        Exchange::start(&core.config.credentials, context, &*core.entropy).map_err(Misbehaved::Sasl)?;
    // RFC 6120 §6.4.2: an empty initial response is `=`.
    let initial = if start.initial.is_empty() { "=".to_owned() } else { STANDARD.encode(&start.initial) };
    core.wire.send_builder(
        &Builder::new("auth", ns::SASL).attr("mechanism", start.mechanism.as_str()).text(&initial),
    );
    Ok(State::ExpectChallenge(Box::new(ExpectChallenge { exchange })))
}

/// Waits for `<challenge/>`, `<success/>` or `<failure/>`.
pub(super) struct ExpectChallenge {
    exchange: Exchange,
}

impl ExpectChallenge {
    pub(super) fn element(mut self: Box<Self>, core: &mut Core, element: &Element) -> Next {
        if element.ns() != ns::SASL {
            return Err(Misbehaved::OutOfTurn.into());
        }
        match element.name() {
            "challenge" => {
                let message = decode(&element.text())?.unwrap_or_default();
                let response = self.exchange.challenge(&message).map_err(Misbehaved::Sasl)?;
                let text = if response.is_empty() { "=".to_owned() } else { STANDARD.encode(&response) };
                core.wire.send_builder(&Builder::new("response", ns::SASL).text(&text));
                Ok(State::ExpectChallenge(self))
            }
            "success" => {
                let message = decode(&element.text())?;
                let proven = self.exchange.success(message.as_deref()).map_err(Misbehaved::Sasl)?;
                core.restart();
                core.wire.event(Event::Authenticated(proven));
                core.open();
                Ok(State::ExpectHeader(ExpectHeader { phase: Phase::Known }))
            }
            "failure" => {
                let condition = element.children().find_map(|child| SaslCondition::from_name(child.name()));
                let condition = condition.unwrap_or(SaslCondition::NotAuthorized);
                core.close_all(None, Reason::Login(condition), false);
                Ok(State::Ended)
            }
            _ => Err(Misbehaved::OutOfTurn.into()),
        }
    }
}

/// Strict base64; no text is no data, `=` is data of no length.
fn decode(text: &str) -> Result<Option<Vec<u8>>, Error> {
    match text {
        "" => Ok(None),
        "=" => Ok(Some(Vec::new())),
        text => STANDARD.decode(text).map(Some).map_err(|_| Misbehaved::Encoding.into()),
    }
}

/// Waits for `<resumed/>` or `<failed/>`.
pub(super) struct ExpectResumed {
    offers: Offers,
}

impl ExpectResumed {
    pub(super) fn element(self, core: &mut Core, now: Time, element: &Element) -> Next {
        // Until it is clear what becomes of it, the session stays where the end of the stream finds it.
        let known = core
            .old
            .as_ref()
            .is_some_and(|old| element.attr("previd").is_some_and(|previd| previd == old.id));
        let settles = element.is("failed", ns::SM) || (element.is("resumed", ns::SM) && known);
        let Some(mut old) = core.old.take_if(|_| settles) else { return Err(Misbehaved::OutOfTurn.into()) };
        match element.name() {
            "resumed" => {
                let Some(h) = sm::read_h(element) else {
                    core.old = Some(old);
                    return Err(Misbehaved::Counter.into());
                };
                core.timers.clear(Timer::Negotiation);
                Ok(State::Open(Box::new(Open::resumed(core, now, old, h)?)))
            }
            _ => {
                // What the server still knows to have handled is not sent again; the rest is new to the next session.
                let handled = sm::read_h(element).map_or(0, |h| h.wrapping_sub(old.acked));
                let fresh = usize::try_from(handled).ok().filter(|handled| *handled <= old.unacked.len());
                if fresh.is_some_and(|fresh| fresh > 0) {
                    core.wire.event(Event::Acked { fresh: handled });
                }
                for bytes in old.unacked.drain(..).skip(fresh.unwrap_or(0)).rev() {
                    core.waiting.push_front(bytes);
                }
                let condition = element.children().find_map(|child| Condition::from_word(child.name()));
                core.wire.event(Event::Unmanaged(condition));
                Ok(bind(core, now, self.offers))
            }
        }
    }
}

fn bind(core: &mut Core, _: Time, offers: Offers) -> State {
    if let Some(old) = core.old.take() {
        // The server manages no streams any more.
        for bytes in old.unacked.into_iter().rev() {
            core.waiting.push_front(bytes);
        }
    }
    let id = core.entropy.token();
    let resource = core.config.resource.as_deref().map(|name| Builder::new("resource", ns::BIND).text(name));
    let request = stanza::iq(IqType::Set, &id).child(Builder::new("bind", ns::BIND).child_opt(resource));
    core.wire.send_stanza(&request.build());
    State::ExpectBound(ExpectBound { id, offers })
}

/// Reads an IQ answer with this id.
fn answer(element: &Element, id: &str) -> Result<Result<Stanza, StanzaError>, Error> {
    let stanza = Stanza::from_element(element.clone()).map_err(|_| Misbehaved::OutOfTurn)?;
    match stanza.kind() {
        _ if stanza.id() != Some(id) => Err(Misbehaved::OutOfTurn.into()),
        Kind::Iq(IqType::Result) => Ok(Ok(stanza)),
        Kind::Iq(IqType::Error) => {
            let error = stanza.own_child("error").and_then(StanzaError::parse);
            Ok(Err(error.unwrap_or_else(|| StanzaError::new(Condition::UndefinedCondition))))
        }
        _ => Err(Misbehaved::OutOfTurn.into()),
    }
}

/// Waits for the answer to the request to bind a resource (RFC 6120 §7).
pub(super) struct ExpectBound {
    id: String,
    offers: Offers,
}

impl ExpectBound {
    pub(super) fn element(self, core: &mut Core, now: Time, element: &Element) -> Next {
        let bound = match answer(element, &self.id)? {
            Ok(bound) => bound,
            Err(error) => {
                core.close_all(None, Reason::Bind(error), false);
                return Ok(State::Ended);
            }
        };
        let jid = bound
            .child("bind", ns::BIND)
            .and_then(|bind| bind.child("jid", ns::BIND))
            .and_then(|jid| Jid::new(jid.text().trim()).ok())
            .filter(Jid::is_full)
            .ok_or(Incompatible::Bind)?;
        if self.offers.session {
            let id = core.entropy.token();
            let request = stanza::iq(IqType::Set, &id).child(Builder::new("session", ns::SESSION));
            core.wire.send_stanza(&request.build());
            return Ok(State::ExpectSession(ExpectSession { id, jid, offers: self.offers }));
        }
        Ok(opened(core, now, jid, self.offers))
    }
}

/// Waits for the answer to the session request of RFC 3921 §3, which old servers insist on.
pub(super) struct ExpectSession {
    id: String,
    jid: Jid,
    offers: Offers,
}

impl ExpectSession {
    pub(super) fn element(self, core: &mut Core, now: Time, element: &Element) -> Next {
        match answer(element, &self.id)? {
            Ok(_) => Ok(opened(core, now, self.jid, self.offers)),
            Err(error) => {
                core.close_all(None, Reason::Bind(error), false);
                Ok(State::Ended)
            }
        }
    }
}

fn opened(core: &mut Core, now: Time, jid: Jid, offers: Offers) -> State {
    core.timers.clear(Timer::Negotiation);
    core.wire.event(Event::Bound(jid.clone()));
    State::Open(Box::new(Open::bound(core, now, jid, offers.management)))
}
