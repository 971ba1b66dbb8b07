//! The receiving role from the first byte to an open stream: header, STARTTLS, features, SASL EXTERNAL (RFC 6120 §4.3, §5, XEP-0178 §3).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use nuncio_sansio::{Time, TlsFacts};
use nuncio_xmpp::error::StreamError;
use nuncio_xmpp::xml::{Builder, Element, Header};
use nuncio_xmpp::{jid, ns};

use super::api::{Accepted, By, Condition, DialbackError, Event, Pair, Question, Reason, Tls, Verdict};
use super::core::{Core, Timer};
use super::dialback::{self, Body, Kind, What};
use super::open::Open;
use super::{Next, State};
use crate::error::{Error, Misbehaved, Refused};
use crate::header::{self, Peer};
use crate::redirect;
use crate::sasl::SaslCondition;

/// Waits for the end of the TLS handshake, in either role.
pub(super) struct ExpectTls;

impl ExpectTls {
    pub(super) fn secured(self, core: &mut Core, facts: TlsFacts) -> State {
        core.discard();
        core.wire.event(Event::Secured(facts.clone()));
        core.tls = Some(Box::new(facts));
        if core.opening.is_some() {
            core.initiate();
        }
        State::ExpectHeader(ExpectHeader { known: None })
    }
}

/// Waits for a stream header, in either role.
pub(super) struct ExpectHeader {
    /// The pair that SASL has authenticated.
    known: Option<Pair>,
}

impl ExpectHeader {
    pub(super) const fn first() -> Self {
        Self { known: None }
    }

    /// After SASL (RFC 6120 §6.4.6).
    pub(super) const fn known(pair: Pair) -> Self {
        Self { known: Some(pair) }
    }

    pub(super) fn header(self, core: &mut Core, now: Time, header: &Header) -> Next {
        if core.opening.is_some() {
            return super::initiate::header(core, self.known, header);
        }
        let peer = match header::read_server(header) {
            Ok(peer) => peer,
            Err(error) => {
                // RFC 6120 §4.9.1.3: nothing is known for certain, so `from` is empty.
                let from = self.known.as_ref().map_or("", |pair| &*pair.local).to_owned();
                let to = header.attr("from").and_then(|from| jid::prepare_domain(&from).ok());
                core.respond(&from, to.as_deref());
                return Err(error);
            }
        };
        core.lang.clone_from(&peer.lang);
        let Some(pair) = self.known else {
            let tls = core.tls.as_deref().cloned();
            core.ask(Question::Header { to: peer.to, from: peer.from.clone(), tls });
            return Ok(State::AwaitHeader(AwaitHeader { from: peer.from }));
        };
        core.respond(&pair.local, Some(&pair.remote));
        let Peer { to, from, .. } = peer;
        if to.is_some_and(|to| *to != *pair.local) {
            return Err(Misbehaved::HeaderTo.into());
        }
        if from.is_some_and(|from| *from != *pair.remote) {
            return Err(Misbehaved::HeaderFrom.into());
        }
        core.wire.event(Event::Opened { id: core.id.clone(), pair: Some(pair.clone()) });
        core.features(&further(core));
        core.authorise(now, &pair, By::External);
        Ok(State::Open(Box::new(Open::new(core, now))))
    }
}

/// The features that every stream has on which stanzas may flow.
fn further(core: &Core) -> Vec<Builder> {
    let mut features = Vec::new();
    if core.config.dialback {
        let errors = Builder::new("errors", ns::DIALBACK_FEATURE);
        features.push(Builder::new("dialback", ns::DIALBACK_FEATURE).child(errors));
    }
    if core.config.stream_management {
        features.push(Builder::new("sm", ns::SM));
    }
    features
}

/// Waits for the host to say whether the domain is ours.
pub(super) struct AwaitHeader {
    from: Option<String>,
}

impl AwaitHeader {
    pub(super) fn answer(self, core: &mut Core, answer: Result<Accepted, StreamError>) -> Next {
        let to = self.from.as_deref();
        let accepted = match answer {
            Ok(accepted) => accepted,
            Err(error) => {
                core.respond("", to);
                let error = if core.tls.is_none() { redirect::without(error) } else { error };
                return Err(Refused::Domain(error).into());
            }
        };
        core.respond(&accepted.local, to);
        let pair = self.from.map(|from| Pair::new(accepted.local.as_str(), from));
        core.wire.event(Event::Opened { id: core.id.clone(), pair: pair.clone() });
        let Accepted { local, tls } = accepted;
        match (core.tls.as_deref(), pair) {
            (None, pair) => {
                let mut features = Vec::new();
                let starttls = Builder::new("starttls", ns::TLS);
                match tls {
                    // RFC 6120 §5.3.1: where TLS is required nothing else is offered.
                    Tls::Required => features.push(starttls.child(Builder::new("required", ns::TLS))),
                    Tls::Optional => {
                        features.push(starttls);
                        features.extend(further(core));
                    }
                    Tls::Never => features.extend(further(core)),
                }
                core.features(&features);
                Ok(State::ExpectAuth(ExpectAuth { local, tls, pair, external: false }))
            }
            (Some(facts), Some(pair)) => {
                let facts = facts.clone();
                core.timers.clear(Timer::Negotiation);
                core.ask(Question::External { pair: pair.clone(), tls: facts });
                Ok(State::AwaitExternal(AwaitExternal { local, pair }))
            }
            (Some(_), None) => Ok(offer(core, local, None, false)),
        }
    }
}

/// Waits for the host to judge the certificate of the peer.
pub(super) struct AwaitExternal {
    local: String,
    pair: Pair,
}

impl AwaitExternal {
    pub(super) fn answer(self, core: &mut Core, now: Time, verdict: Verdict) -> Next {
        core.timers.set(Timer::Negotiation, now + core.config.negotiation);
        let external = match verdict {
            Verdict::Accepted => true,
            Verdict::Unproven => false,
            Verdict::Refused(error) => return Err(Refused::Domain(error).into()),
        };
        Ok(offer(core, self.local, Some(self.pair), external))
    }
}

/// The features inside TLS.
fn offer(core: &mut Core, local: String, pair: Option<Pair>, external: bool) -> State {
    let mut features = Vec::new();
    if external {
        let mechanism = Builder::new("mechanism", ns::SASL).text("EXTERNAL");
        features.push(Builder::new("mechanisms", ns::SASL).child(mechanism));
    }
    if core.config.bidi {
        features.push(Builder::new("bidi", ns::BIDI_FEATURE));
    }
    features.extend(further(core));
    core.features(&features);
    State::ExpectAuth(ExpectAuth { local, tls: Tls::Never, pair, external })
}

/// Features are out; no pair is authorised or under way. Waits for STARTTLS, SASL or dialback.
pub(super) struct ExpectAuth {
    /// Our domain.
    local: String,
    /// What may be done about TLS; never where it is there already.
    tls: Tls,
    /// The pair of the headers.
    pair: Option<Pair>,
    /// EXTERNAL is offered.
    external: bool,
}

impl ExpectAuth {
    pub(super) fn element(self, core: &mut Core, now: Time, element: &Element) -> Next {
        match (element.ns(), element.name()) {
            (ns::TLS, "starttls") if core.tls.is_none() => {
                if self.tls == Tls::Never {
                    // RFC 6120 §5.4.2.2: the failure, our closing tag, the end.
                    core.wire.send_builder(&Builder::new("failure", ns::TLS));
                    core.close_all(None, Reason::Failed(Refused::NoCertificate.into()), false);
                    return Ok(State::Ended);
                }
                core.wire.send_builder(&Builder::new("proceed", ns::TLS));
                // Whatever came after `<starttls/>` in clear is dropped, unread: it could be anybody's.
                core.start_tls(Some(self.local));
                Ok(State::ExpectTls(ExpectTls))
            }
            // XEP-0288 §2: TLS comes first, and this before authentication.
            (ns::BIDI, "bidi") => {
                core.bidi = core.config.bidi && core.tls.is_some();
                Ok(State::ExpectAuth(self))
            }
            (ns::SASL, "auth") => self.auth(core, element),
            (ns::SASL, _) => self.fail(core, SaslCondition::MalformedRequest),
            (ns::DIALBACK, _) if core.config.dialback => self.dialback(core, now, element),
            _ => Err(Misbehaved::Unauthenticated.into()),
        }
    }

    fn fail(self, core: &mut Core, condition: SaslCondition) -> Next {
        let condition = Builder::new(condition.as_str(), ns::SASL);
        core.wire.send_builder(&Builder::new("failure", ns::SASL).child(condition));
        if core.refused() { Err(Misbehaved::Guesses.into()) } else { Ok(State::ExpectAuth(self)) }
    }

    fn auth(self, core: &mut Core, element: &Element) -> Next {
        if core.tls.is_none() {
            // S0-34: the layers have an order.
            return self.fail(core, SaslCondition::EncryptionRequired);
        }
        if !self.external || element.attr("mechanism").as_deref() != Some("EXTERNAL") {
            return self.fail(core, SaslCondition::InvalidMechanism);
        }
        match &*element.text() {
            "" => {
                // RFC 6120 §6.4.2: no initial response, so an empty challenge asks for one.
                core.wire.send_builder(&Builder::new("challenge", ns::SASL));
                Ok(State::ExpectResponse(ExpectResponse(self)))
            }
            text => self.authzid(core, text),
        }
    }

    /// RFC 6120 §6.3.8, XEP-0178 §3: who the peer wants to be is who its header and certificate say, or it is nobody.
    fn authzid(self, core: &mut Core, text: &str) -> Next {
        let authzid = match text {
            "" | "=" => Vec::new(),
            text => match STANDARD.decode(text) {
                Ok(authzid) => authzid,
                Err(_) => return self.fail(core, SaslCondition::IncorrectEncoding),
            },
        };
        let Some(pair) = self.pair.clone() else { return self.fail(core, SaslCondition::InvalidAuthzid) };
        let asked = std::str::from_utf8(&authzid).ok().map(|text| text.trim());
        let fits = match asked {
            Some("") => true,
            Some(text) => jid::prepare_domain(text).is_ok_and(|domain| *domain == *pair.remote),
            None => false,
        };
        if !fits {
            return self.fail(core, SaslCondition::InvalidAuthzid);
        }
        core.wire.send_builder(&Builder::new("success", ns::SASL));
        core.restart();
        core.tokenizer.set_limits(core.config.after);
        Ok(State::ExpectHeader(ExpectHeader::known(pair)))
    }

    fn dialback(self, core: &mut Core, now: Time, element: &Element) -> Next {
        let received = dialback::read(element)?;
        if core.tls.is_none() && self.tls == Tls::Required {
            // XEP-0220 §2.4.2: TLS first. An answer is none that anybody asked for.
            let outcome = Body::Outcome(Err(DialbackError::Error(Condition::PolicyViolation)));
            match received.what {
                What::Assertion { .. } => core.dialback(Kind::Result, &received.pair, outcome),
                What::Question { id, .. } => core.dialback(Kind::Verify(&id), &received.pair, outcome),
                What::Answer(_) | What::Verdict { .. } => {
                    core.wire.event(Event::Unsolicited { pair: received.pair });
                    return Ok(State::ExpectAuth(self));
                }
            }
            return if core.refused() {
                Err(Misbehaved::Guesses.into())
            } else {
                Ok(State::ExpectAuth(self))
            };
        }
        if let What::Assertion { .. } = received.what {
            return Box::new(Open::new(core, now)).dialback(core, now, received);
        }
        super::assert::asked(core, received)?;
        Ok(State::ExpectAuth(self))
    }

    /// Nothing has come of it in time.
    pub(super) fn late(core: &mut Core) -> Next {
        if core.useful {
            // It wanted to know about keys only, and does.
            core.close_all(None, Reason::Unused, false);
            return Ok(State::Ended);
        }
        Err(Error::from(Refused::Slow))
    }
}

/// Waits for `<response/>`.
pub(super) struct ExpectResponse(ExpectAuth);

impl ExpectResponse {
    pub(super) fn element(self, core: &mut Core, element: &Element) -> Next {
        match (element.ns(), element.name()) {
            (ns::SASL, "response") => self.0.authzid(core, &element.text()),
            (ns::SASL, "abort") => self.0.fail(core, SaslCondition::Aborted),
            (ns::SASL, _) => self.0.fail(core, SaslCondition::MalformedRequest),
            _ => Err(Misbehaved::Unauthenticated.into()),
        }
    }
}
