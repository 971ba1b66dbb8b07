//! A stream to one of their servers, opened to see who answers.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use nuncio_dna::{Certificate, Direction, Judgement, Tls};
use nuncio_net::evidence::{Step, steps};
use nuncio_net::{Options, Security, Settings, dial, drive};
use nuncio_sansio::{Host, TlsFacts};
use nuncio_stream::s2s::{
    Answer, By, Command, DialbackError, End, Event, NotResumed, Offers, Opening, Pair, Purpose, Question,
    Reason, S2s, Start, Verdict,
};
use nuncio_xmpp::error::{StreamCondition, StreamError};
use parking_lot::Mutex;
use tokio::time::timeout;

use super::CheckParts;
use crate::failure::Failure;
use crate::mind::{self, Mind};
use crate::reached::Reached;
use crate::route::Target;
use crate::show::version;

/// What was seen of one of their servers.
#[derive(Default)]
pub struct Server {
    /// Its name or address, the port, and whether TLS comes first.
    pub target: String,
    /// The address that answered.
    pub address: Option<SocketAddr>,
    /// The version and cipher suite of TLS.
    pub tls: Option<(Tls, String)>,
    /// The certificates that it presented, its own first; or why one cannot be read.
    pub certificates: Vec<Result<Certificate, String>>,
    /// What it offers to us.
    pub offers: Option<Offers>,
    /// What was asked to judge it, with the answers.
    pub steps: Vec<Step>,
    /// What is proven, and what policy makes of it.
    pub judgement: Option<Judgement>,
    /// What it made of our certificate: none if it was not offered the chance.
    pub takes_us: Option<bool>,
    /// What policy would make of it if dialback succeeded, where only that is missing.
    pub by_dialback: Option<Judgement>,
    failure: Option<Failure>,
}

impl Server {
    /// Why no stream came about, if none did; that it was we who did not believe them stands in the judgement.
    pub(crate) const fn failure(&self) -> Option<&Failure> {
        self.failure.as_ref()
    }

    /// The code and text of [`Server::failure`].
    #[must_use]
    pub fn problem(&self) -> Option<(&str, &str)> {
        self.failure.as_ref().map(|failure| (failure.code.as_str(), failure.text.as_str()))
    }
}

/// Connects, opens a stream, and closes it once it is known what either side makes of the other.
pub(super) async fn call(parts: &CheckParts, mind: &Mind<'_>, pair: &Pair, target: Target) -> Server {
    let seen = Mutex::new(Server { target: target.to_string(), ..Server::default() });
    let failed = match timeout(parts.within, open(parts, mind, pair, &target, &seen)).await {
        Ok(Ok(())) => None,
        Ok(Err(failure)) => Some(failure),
        Err(_) => Some(Failure::passing("slow", format!("{target} took too long"))),
    };
    let mut seen = seen.into_inner();
    seen.failure = seen.failure.or(failed);
    seen
}

async fn open(
    parts: &CheckParts,
    mind: &Mind<'_>,
    pair: &Pair,
    target: &Target,
    seen: &Mutex<Server>,
) -> Result<(), Failure> {
    let claim = mind::claim(pair, Direction::Out)?;
    let unreachable = |why: &dyn std::fmt::Display| {
        Failure::passing("unreachable", format!("{target} cannot be connected to: {why}"))
    };
    let connector = parts
        .tls
        .connector(claim.local.as_str())
        .ok_or_else(|| Failure::passing("no-connector", "there is no TLS to connect with"))?;
    let io =
        dial::connect(&target.addresses, parts.config.haste).await.map_err(|error| unreachable(&error))?;
    let peer = io.peer_addr().map_err(|error| unreachable(&error))?;
    seen.lock().address = Some(peer);
    let start = if target.direct_tls { Start::DirectTls } else { Start::Tcp };
    let opening = Opening { start, pair: pair.clone(), purpose: Purpose::Stanzas, place: target.place(peer) };
    let machine = S2s::initiating(
        Arc::clone(&parts.config.stream),
        Arc::clone(&parts.entropy),
        opening,
        parts.clock.now(),
    );
    let handshake = Arc::new(OnceLock::new());
    let options = Options {
        peer: Some(peer),
        security: Security::Client { connector, server_name: claim.remote.as_str().to_owned() },
        direct_tls: target.direct_tls,
        handshake_failure: Some(Arc::clone(&handshake)),
        ..Options::new(Arc::new(Settings {
            handshake: parts.config.handshake,
            close: parts.config.close,
            ..Settings::new(parts.clock, Arc::clone(&parts.net))
        }))
    };
    let reached = Reached::default();
    let caller = Caller { mind, target, seen, handshake, reached, closing: false, closed: false };
    drive(io, machine, caller, options).await;
    Ok(())
}

struct Caller<'a> {
    mind: &'a Mind<'a>,
    target: &'a Target,
    seen: &'a Mutex<Server>,
    handshake: Arc<OnceLock<nuncio_net::HandshakeFailure>>,
    reached: Reached,
    closing: bool,
    closed: bool,
}

impl Caller<'_> {
    async fn judge(&self, pair: &Pair, tls: Option<&TlsFacts>) -> Verdict {
        match self.mind.prove(pair, Direction::Out, tls, Some(self.target)).await {
            Ok(judged) => {
                let accepted = judged.judgement.is_accepted();
                let then = self.mind.after_dialback(pair, Direction::Out, &judged).filter(|_| !accepted);
                let mut seen = self.seen.lock();
                seen.steps = steps(&judged.evidence);
                seen.by_dialback = then.map(|then| then.judgement);
                seen.judgement = Some(judged.judgement);
                // Even where they are not believed it is worth knowing what they offer.
                if accepted { Verdict::Accepted } else { Verdict::Unproven }
            }
            Err(failure) => {
                self.seen.lock().failure = Some(failure);
                Verdict::Refused(StreamError::new(StreamCondition::NotAuthorized))
            }
        }
    }

    fn secured(&self, tls: &TlsFacts) {
        let mut seen = self.seen.lock();
        seen.tls = Some((version(Some(tls)), tls.suite.clone()));
        let read = |der: &[u8]| Certificate::read(der).map_err(|reason| reason.to_string());
        seen.certificates = tls.peer_certificates.iter().map(|der| read(der)).collect();
    }

    fn ended(&self, end: &End) {
        let mut seen = self.seen.lock();
        let refused = matches!(end.reason, Reason::Host | Reason::Unauthenticated(_) | Reason::Dialback(_));
        // That they take nothing that was shown here says little: the server itself can be called back, this cannot.
        if refused && seen.judgement.is_some() {
            return;
        }
        let handshake = self.handshake.get().map(|failure| failure.why.as_str());
        seen.failure = Some(Failure::ended(end, handshake).at(self.reached));
    }
}

impl Host<S2s> for Caller<'_> {
    async fn ask(&mut self, question: Question) -> Answer {
        match question {
            Question::Server { pair, tls } => Answer::Server(self.judge(&pair, tls.as_ref()).await),
            // No key: there is nobody who could confirm it.
            Question::Key { .. } => Answer::Key(None),
            Question::Previous { .. } => Answer::Previous(None),
            Question::Resume { .. } => Answer::Resume(Err(NotResumed::default())),
            Question::Verify { .. } => Answer::Verify(Err(DialbackError::Invalid)),
            Question::Header { .. } => Answer::Header(Err(StreamError::new(StreamCondition::HostUnknown))),
            Question::External { .. } => {
                Answer::External(Verdict::Refused(StreamError::new(StreamCondition::NotAuthorized)))
            }
        }
    }

    async fn event(&mut self, event: Event) {
        self.reached.note(&event);
        match event {
            Event::Secured(tls) => self.secured(&tls),
            Event::Offered(offers) => {
                let mut seen = self.seen.lock();
                // After a login less may be offered.
                let before = seen.offers.unwrap_or_default();
                seen.offers = Some(Offers {
                    external: offers.external || before.external,
                    dialback: offers.dialback || before.dialback,
                    dialback_errors: offers.dialback_errors || before.dialback_errors,
                    bidi: offers.bidi || before.bidi,
                    stream_management: offers.stream_management || before.stream_management,
                });
            }
            Event::Authorised { by, .. } => {
                self.seen.lock().takes_us = Some(by == By::External);
                self.closing = true;
            }
            Event::ExternalFailed(_) => self.seen.lock().takes_us = Some(false),
            Event::Ended(end) => self.ended(&end),
            // Stanzas are not due on a stream that was opened by us and authorised for nothing but to look.
            _ => {}
        }
    }

    async fn command(&mut self) -> Command {
        if self.closing && !self.closed {
            self.closed = true;
            return Command::Close(None);
        }
        std::future::pending().await
    }

    async fn closed(&mut self) {}
}
