//! The initiating role from the first byte to an open stream.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use nuncio_sansio::Time;
use nuncio_xmpp::ns;
use nuncio_xmpp::xml::{Builder, Element, Header};

use super::api::{By, DialbackError, Event, Offers, Pair, Purpose, Question, Reason, Verdict};
use super::core::{Core, Timer};
use super::dialback::{Body, Kind};
use super::open::Open;
use super::receive::{ExpectHeader, ExpectTls};
use super::{Next, State};
use crate::error::{Misbehaved, Ours, Refused};
use crate::header;
use crate::sasl::SaslCondition;

/// The pair that the stream was opened for.
fn pair(core: &Core) -> Result<Pair, Ours> {
    core.opening.as_ref().map(|opening| opening.pair.clone()).ok_or(Ours::Input)
}

/// The header of the peer.
pub(super) fn header(core: &mut Core, known: Option<Pair>, header: &Header) -> Next {
    let pair = pair(core)?;
    let peer = header::read_server(header)?;
    // RFC 6120 §4.7.1, §4.7.2: it answers as whom we called, to whom called. What a server leaves out is not held against it.
    if peer.from.is_some_and(|from| *from != *pair.remote) {
        return Err(Misbehaved::HeaderFrom.into());
    }
    if peer.to.is_some_and(|to| *to != *pair.local) {
        return Err(Misbehaved::HeaderTo.into());
    }
    core.lang = peer.lang;
    core.id = peer.id.unwrap_or_default();
    // Without an id a key would be good for ever.
    core.offers = Offers { dialback: peer.dialback && !core.id.is_empty(), ..Offers::default() };
    core.wire.event(Event::Opened { id: core.id.clone(), pair: Some(pair.clone()) });
    match &core.tls {
        Some(tls) if known.is_none() => {
            let tls = Some((**tls).clone());
            core.timers.clear(Timer::Negotiation);
            core.ask(Question::Server { pair, tls });
            Ok(State::AwaitServer(AwaitServer::Header))
        }
        _ => Ok(State::ExpectFeatures(ExpectFeatures { known })),
    }
}

/// Waits for the host to judge the peer: after its header inside TLS, after its features in clear.
pub(super) enum AwaitServer {
    Header,
    Features,
}

impl AwaitServer {
    pub(super) fn answer(self, core: &mut Core, now: Time, verdict: Verdict) -> Next {
        core.timers.set(Timer::Negotiation, now + core.config.negotiation);
        match verdict {
            Verdict::Accepted => core.proven = true,
            Verdict::Unproven => {}
            Verdict::Refused(error) => return Err(Refused::Domain(error).into()),
        }
        match self {
            Self::Header => Ok(State::ExpectFeatures(ExpectFeatures { known: None })),
            Self::Features => authenticate(core, now, None),
        }
    }
}

/// Waits for `<stream:features/>`.
pub(super) struct ExpectFeatures {
    known: Option<Pair>,
}

impl ExpectFeatures {
    pub(super) fn element(self, core: &mut Core, now: Time, element: &Element) -> Next {
        if !element.is("features", ns::STREAMS) {
            return Err(Misbehaved::OutOfTurn.into());
        }
        if core.tls.is_none() && core.wants_tls(element.child("starttls", ns::TLS).is_some()) {
            // RFC 7590 §3.1, S3-30: asked for even where it is not offered, since somebody may have removed the offer.
            core.wire.send_builder(&Builder::new("starttls", ns::TLS));
            return Ok(State::ExpectProceed(ExpectProceed));
        }
        core.offers = read(core, element);
        core.wire.event(Event::Offered(core.offers));
        match self.known {
            Some(pair) => Box::new(Open::new(core, now)).begin(core, now, pair, By::External),
            None if core.tls.is_none() => {
                core.timers.clear(Timer::Negotiation);
                core.ask(Question::Server { pair: pair(core)?, tls: None });
                Ok(State::AwaitServer(AwaitServer::Features))
            }
            None => authenticate(core, now, None),
        }
    }
}

/// Reads what a peer offers. Its header may have told of dialback before (XEP-0220 §2.4.1).
fn read(core: &Core, features: &Element) -> Offers {
    let mechanisms = features.child("mechanisms", ns::SASL);
    let external = mechanisms.is_some_and(|mechanisms| {
        mechanisms
            .children()
            .any(|child| child.is("mechanism", ns::SASL) && child.text().trim() == "EXTERNAL")
    });
    let feature = features.child("dialback", ns::DIALBACK_FEATURE);
    Offers {
        external,
        dialback: core.offers.dialback || (feature.is_some() && !core.id.is_empty()),
        dialback_errors: feature
            .is_some_and(|feature| feature.child("errors", ns::DIALBACK_FEATURE).is_some()),
        bidi: features.child("bidi", ns::BIDI_FEATURE).is_some(),
        stream_management: features.child("sm", ns::SM).is_some(),
    }
}

/// Waits for `<proceed/>`.
pub(super) struct ExpectProceed;

impl ExpectProceed {
    pub(super) fn element(self, core: &mut Core, element: &Element) -> Next {
        if element.is("proceed", ns::TLS) {
            core.start_tls(None);
            return Ok(State::ExpectTls(ExpectTls));
        }
        if element.ns() == ns::TLS {
            core.close_all(None, Reason::NoTls, false);
            return Ok(State::Ended);
        }
        Err(Misbehaved::OutOfTurn.into())
    }
}

/// By the certificate if the peer takes it, else by dialback.
fn authenticate(core: &mut Core, now: Time, failed: Option<SaslCondition>) -> Next {
    let pair = pair(core)?;
    if core.opening.as_ref().is_some_and(|opening| opening.purpose == Purpose::Verify) {
        let open = Open::new(core, now);
        open.ready(core, now);
        return Ok(State::Open(Box::new(open)));
    }
    if failed.is_none() && core.config.bidi && core.offers.bidi && core.proven && core.tls.is_some() {
        // XEP-0288 §2: before authentication, and only to somebody whom we would believe.
        core.wire.send_builder(&Builder::new("bidi", ns::BIDI));
        core.bidi = true;
    }
    if failed.is_none() && core.offers.external && core.tls.is_some() {
        let authzid = STANDARD.encode(&*pair.local);
        let auth = Builder::new("auth", ns::SASL).attr("mechanism", "EXTERNAL").text(&authzid);
        core.wire.send_builder(&auth);
        return Ok(State::ExpectSasl(ExpectSasl { pair }));
    }
    if core.config.dialback && core.offers.dialback {
        core.ask(Question::Key { pair: pair.clone(), id: core.id.clone() });
        return Ok(State::AwaitKey(AwaitKey { pair, failed }));
    }
    Ok(unauthenticated(core, now, failed))
}

/// Nothing is left to try. Keys may still be asked for.
fn unauthenticated(core: &mut Core, now: Time, failed: Option<SaslCondition>) -> State {
    if core.verifications.is_empty() {
        core.close_all(None, Reason::Unauthenticated(failed), false);
        return State::Ended;
    }
    let mut open = Open::new(core, now);
    open.hopeless(Reason::Unauthenticated(failed));
    open.ready(core, now);
    State::Open(Box::new(open))
}

/// Waits for `<success/>` or `<failure/>`.
pub(super) struct ExpectSasl {
    pair: Pair,
}

impl ExpectSasl {
    pub(super) fn element(self, core: &mut Core, now: Time, element: &Element) -> Next {
        if element.ns() != ns::SASL {
            return Err(Misbehaved::OutOfTurn.into());
        }
        match element.name() {
            // All that there was to say was in the initial response.
            "challenge" => {
                core.wire.send_builder(&Builder::new("response", ns::SASL).text("="));
                Ok(State::ExpectSasl(self))
            }
            "success" => {
                core.restart();
                core.initiate();
                Ok(State::ExpectHeader(ExpectHeader::known(self.pair)))
            }
            "failure" => {
                let condition = element.children().find_map(|child| SaslCondition::from_name(child.name()));
                let condition = condition.unwrap_or(SaslCondition::NotAuthorized);
                core.wire.event(Event::ExternalFailed(condition));
                authenticate(core, now, Some(condition))
            }
            _ => Err(Misbehaved::OutOfTurn.into()),
        }
    }
}

/// Waits for the host's dialback key.
pub(super) struct AwaitKey {
    pair: Pair,
    failed: Option<SaslCondition>,
}

impl AwaitKey {
    pub(super) fn answer(self, core: &mut Core, now: Time, key: Option<String>) -> Next {
        let Some(key) = key else { return Ok(unauthenticated(core, now, self.failed)) };
        let at = core.wait(now);
        core.dialback(Kind::Result, &self.pair, Body::Key(&key));
        if core.pairs.change(&self.pair, |entry| entry.ours = Some(at)).is_err() {
            let outcome = Err(DialbackError::Unsupported);
            core.wire.event(Event::Answered { pair: self.pair, outcome });
        }
        let open = Open::new(core, now);
        open.ready(core, now);
        Ok(State::Open(Box::new(open)))
    }
}
