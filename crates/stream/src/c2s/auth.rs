//! SASL inside TLS (RFC 6120 §6).

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use nuncio_sansio::TlsFacts;
use nuncio_xmpp::jid::{BareJid, Jid};
use nuncio_xmpp::ns;
use nuncio_xmpp::stanza::Stanza;
use nuncio_xmpp::xml::{Builder, Element};

use super::api::{Event, Question};
use super::bind::AwaitUnbound;
use super::core::Core;
use super::negotiate::ExpectHeader;
use super::{Next, State};
use crate::error::{Error, Misbehaved};
use crate::sasl::server::{Answer, Context, Done, Exchange, Failure, Lookup, Policy, Step};
use crate::sasl::{Binding, Mechanism, Offer, SaslCondition};

/// Waits for `<auth/>`.
pub(super) struct ExpectAuth {
    domain: String,
    facts: Box<TlsFacts>,
    /// What the client called itself in the header that TLS protects.
    from: Option<BareJid>,
    /// The accounts of this domain in the client's certificate.
    addresses: Vec<BareJid>,
    bindings: Vec<Binding>,
    offer: Offer,
}

impl ExpectAuth {
    pub(super) fn new(domain: String, facts: Box<TlsFacts>, from: Option<BareJid>, policy: &Policy) -> Self {
        let addresses = addresses(&facts, &domain);
        let bindings = Binding::of(&facts);
        // A mechanism that cannot succeed is not offered: EXTERNAL needs a certificate that speaks for an account.
        let policy = Policy { external: policy.external && !addresses.is_empty(), ..policy.clone() };
        let offer = policy.offer(true, &bindings);
        Self { domain, facts, from, addresses, bindings, offer }
    }

    /// The mechanisms, and the channel-binding types if any mechanism binds (XEP-0440).
    pub(super) fn features(&self) -> Vec<Builder> {
        let types = self.offer.channel_bindings.iter().flatten();
        let types: Vec<_> =
            types.map(|name| Builder::new("channel-binding", ns::SASL_CB).attr("type", name)).collect();
        let names = self.offer.mechanisms.iter();
        let mechanisms: Vec<_> = names.map(|name| Builder::new("mechanism", ns::SASL).text(name)).collect();
        let mut features = Vec::new();
        if !mechanisms.is_empty() {
            features.push(Builder::new("mechanisms", ns::SASL).children(mechanisms));
        }
        if !types.is_empty() {
            features.push(Builder::new("sasl-channel-binding", ns::SASL_CB).children(types));
        }
        features
    }

    pub(super) fn element(self: Box<Self>, core: &mut Core, element: &Element) -> Next {
        if element.ns() == ns::SASL {
            return match element.name() {
                "auth" => self.start(core, element),
                "abort" => {
                    self.failed(core, None, &refusal(SaslCondition::Aborted, "abort without an exchange"))
                }
                _ => {
                    let failure = refusal(SaslCondition::MalformedRequest, "element out of order");
                    self.failed(core, None, &failure)
                }
            };
        }
        // Before login only an IQ to the server itself is looked at, and only by a handler made for that (XEP-0077); all else is data
        // before authentication (S0-05).
        match Stanza::from_element(element.clone()) {
            Ok(stanza) if self.may_ask(&stanza) => {
                core.ask(Question::Unbound {
                    domain: self.domain.clone(),
                    who: None,
                    stanza: Box::new(stanza.clone()),
                });
                Ok(State::AwaitUnbound(Box::new(AwaitUnbound::stranger(self, stanza))))
            }
            _ => Err(Misbehaved::Unauthenticated.into()),
        }
    }

    fn may_ask(&self, stanza: &Stanza) -> bool {
        let to_server = stanza.to().is_none_or(|to| to.is_domain() && to.domain() == self.domain);
        to_server && stanza.from().is_none() && super::bind::is_request(stanza)
    }

    fn start(self: Box<Self>, core: &mut Core, element: &Element) -> Next {
        let Some(mechanism) = element.attr("mechanism").map(std::borrow::Cow::into_owned) else {
            return self.failed(core, None, &refusal(SaslCondition::InvalidMechanism, "no mechanism named"));
        };
        let text = element.text();
        // RFC 6120 §6.4.2: nothing is no initial response, `=` is an empty one.
        let initial = if text.is_empty() {
            None
        } else {
            match decode(&text) {
                Some(initial) => Some(initial),
                None => {
                    return self.failed(core, None, &refusal(SaslCondition::IncorrectEncoding, "not base64"));
                }
            }
        };
        let context = Context::new(self.domain.clone(), true, self.bindings.clone(), self.offer.clone());
        let (exchange, step) = Exchange::start(&mechanism, initial.as_deref(), context, &*core.entropy);
        proceed(self, core, exchange, step)
    }

    /// Tells the client and the host about a failure, unless it was one too many.
    fn failed(self: Box<Self>, core: &mut Core, exchange: Option<&Exchange>, failure: &Failure) -> Next {
        core.wire.event(Event::LoginFailed {
            domain: self.domain.clone(),
            mechanism: exchange.and_then(Exchange::mechanism).map(Mechanism::as_str),
            username: exchange.and_then(Exchange::username).map(str::to_owned),
            condition: failure.condition,
            why: failure.why,
            guess: failure.guess,
        });
        refuse(core, failure.condition)?;
        Ok(State::ExpectAuth(self))
    }
}

fn refusal(condition: SaslCondition, why: &'static str) -> Failure {
    Failure { condition, why, guess: false }
}

/// Sends `<failure/>`, and counts: after too many the stream ends (RFC 6120 §6.4.5).
pub(super) fn refuse(core: &mut Core, condition: SaslCondition) -> Result<(), Error> {
    core.wire
        .send_builder(&Builder::new("failure", ns::SASL).child(Builder::new(condition.as_str(), ns::SASL)));
    core.failures = core.failures.saturating_add(1);
    if core.failures >= core.config.tries.clamp(2, 5) {
        return Err(Misbehaved::Guesses.into());
    }
    Ok(())
}

/// Waits for `<response/>`.
pub(super) struct ExpectResponse {
    auth: Box<ExpectAuth>,
    exchange: Exchange,
}

impl ExpectResponse {
    pub(super) fn element(self: Box<Self>, core: &mut Core, element: &Element) -> Next {
        let Self { auth, mut exchange } = *self;
        if element.ns() != ns::SASL {
            return Err(Misbehaved::Unauthenticated.into());
        }
        let failure = match element.name() {
            "response" => match decode_response(&element.text()) {
                Some(response) => {
                    let step = exchange.respond(&response);
                    return proceed(auth, core, exchange, step);
                }
                None => refusal(SaslCondition::IncorrectEncoding, "not base64"),
            },
            "abort" => refusal(SaslCondition::Aborted, "aborted by the client"),
            _ => refusal(SaslCondition::MalformedRequest, "element out of order"),
        };
        auth.failed(core, Some(&exchange), &failure)
    }
}

/// Waits for the host to answer what the exchange asks.
pub(super) struct AwaitSasl {
    auth: Box<ExpectAuth>,
    exchange: Exchange,
}

impl AwaitSasl {
    pub(super) fn answer(self: Box<Self>, core: &mut Core, answer: Answer) -> Next {
        let Self { auth, mut exchange } = *self;
        let step = exchange.answer(answer);
        proceed(auth, core, exchange, step)
    }
}

fn proceed(auth: Box<ExpectAuth>, core: &mut Core, exchange: Exchange, step: Step) -> Next {
    match step {
        Step::Challenge(message) => {
            core.wire.send_builder(&with_data(Builder::new("challenge", ns::SASL), Some(&message), false));
            Ok(State::ExpectResponse(Box::new(ExpectResponse { auth, exchange })))
        }
        Step::Need(lookup) => {
            let addresses = match lookup {
                Lookup::External { .. } => auth.addresses.clone(),
                _ => Vec::new(),
            };
            core.ask(Question::Sasl { domain: auth.domain.clone(), addresses, lookup });
            Ok(State::AwaitSasl(Box::new(AwaitSasl { auth, exchange })))
        }
        Step::Done(done) => succeed(*auth, core, done),
        Step::Fail(failure) => auth.failed(core, Some(&exchange), &failure),
    }
}

fn succeed(auth: ExpectAuth, core: &mut Core, done: Done) -> Next {
    let Done { authenticated, additional } = done;
    // RFC 6120 §6.4.6: who the client called itself inside TLS must be who it has proven to be.
    if auth.from.is_some_and(|from| from != *authenticated.account()) {
        return Err(Misbehaved::HeaderFrom.into());
    }
    core.wire.send_builder(&with_data(Builder::new("success", ns::SASL), additional.as_deref(), true));
    // One operation with the success: the next byte is read as a new stream, under the limits of a known client.
    core.restart();
    let limits = core.config.after;
    core.tokenizer.set_limits(limits);
    core.wire.event(Event::Authenticated(authenticated.clone()));
    Ok(State::ExpectHeader(ExpectHeader::known(auth.facts, authenticated)))
}

/// An element with base64 data. RFC 6120 §6.4.6: with success, data of no length are `=`; a challenge may just be empty.
fn with_data(builder: Builder, data: Option<&[u8]>, mark_empty: bool) -> Builder {
    match data {
        None => builder,
        Some([]) if mark_empty => builder.text("="),
        Some([]) => builder,
        Some(data) => builder.text(&STANDARD.encode(data)),
    }
}

/// Base64 without tolerance (RFC 6120 §13.9.1); `=` is data of no length.
fn decode(text: &str) -> Option<Vec<u8>> {
    if text == "=" { Some(Vec::new()) } else { STANDARD.decode(text).ok() }
}

/// As [`decode`]; a response without text is one of no length.
fn decode_response(text: &str) -> Option<Vec<u8>> {
    if text.is_empty() { Some(Vec::new()) } else { decode(text) }
}

/// The accounts of `domain` that a trusted client certificate names (RFC 6120 §13.7.1.4).
fn addresses(facts: &TlsFacts, domain: &str) -> Vec<BareJid> {
    let Some(certificate) = facts.client_certificate.as_ref().filter(|certificate| certificate.trusted)
    else {
        return Vec::new();
    };
    let addresses = certificate.xmpp_addresses.iter().filter_map(|address| Jid::new(address).ok());
    let ours = addresses.filter(|jid| jid.is_bare() && jid.local().is_some() && jid.domain() == domain);
    ours.map(|jid| jid.bare()).collect::<BTreeSet<_>>().into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 6120 §13.9.1: no white space, no missing padding, no other alphabet, no trailing bits.
    #[test]
    fn base64_is_strict() {
        for (text, data) in [("AGE=", Some(&b"\0a"[..])), ("=", Some(b"")), ("YQ==", Some(b"a"))] {
            assert_eq!(decode(text).as_deref(), data, "{text}");
        }
        for text in ["AGE", "AG E=", "AGE=\n", "A-_=", "==", "AGF=", "AGE=AGE="] {
            assert_eq!(decode(text), None, "{text}");
        }
    }
}
