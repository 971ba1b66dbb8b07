//! What a peer asserts by dialback: proven by its certificate, by the certificate of the domain's own server, or by asking that server for the key
//! (XEP-0220, XEP-0344, RFC 7712 §4.3, §4.4.1).

use std::sync::Arc;

use nuncio_dna::Direction;
use nuncio_dna::dialback::{Callback, Dialback};
use nuncio_net::evidence;
use nuncio_stream::s2s::{Command, Condition, DialbackError, Pair, Purpose};

use crate::Federation;
use crate::failure::Failure;
use crate::live::{Judged, Live};
use crate::mind;
use crate::route::{Target, turn_of};

/// Assertions that are looked into at once, for a peer that has proven nothing yet: each may make us ask DNS and connect to a server.
const UNPROVEN: usize = 8;
/// The same for one that carries proven domains: one of a hoster, say.
const PROVEN: usize = 1_000;

impl Federation {
    /// A peer asserts to be `pair.remote`. It is told in its own time.
    pub(crate) fn asserted(self: Arc<Self>, live: Arc<Live>, pair: Pair, key: String, id: String) {
        if !live.may_assert(UNPROVEN, PROVEN) {
            let outcome = Err(DialbackError::Error(Condition::ResourceConstraint));
            live.command(Command::Decide { pair, outcome });
            return;
        }
        tokio::spawn(async move {
            let within = self.config.stream.dialback_within;
            let decided = tokio::time::timeout(within, self.decide(&live, &pair, &key, &id)).await;
            let outcome = match decided {
                Ok(outcome) => outcome,
                Err(_) => {
                    let failure =
                        Failure::passing("proof-timeout", "it took too long to find out who they are");
                    self.note(&pair, Direction::In, Err(&failure));
                    Err(DialbackError::Error(Condition::RemoteServerTimeout))
                }
            };
            live.decided();
            live.command(Command::Decide { pair, outcome });
        });
    }

    async fn decide(
        self: &Arc<Self>,
        live: &Arc<Live>,
        pair: &Pair,
        key: &str,
        id: &str,
    ) -> Result<(), DialbackError> {
        let told = |condition| Err(DialbackError::Error(condition));
        if self.router.domain(&pair.local).is_none() {
            return told(Condition::ItemNotFound);
        }
        let failure = match self.look_into(live, pair, key, id).await {
            Ok(judged) if judged.judgement.is_accepted() => {
                live.judged(pair.clone(), judged);
                return Ok(());
            }
            Ok(judged) => {
                let failure = Failure::refused(&judged.judgement);
                self.note(pair, Direction::In, Err(&failure));
                return match judged.evidence.dialback {
                    Dialback::Invalid => Err(DialbackError::Invalid),
                    Dialback::TimedOut => told(Condition::RemoteServerTimeout),
                    Dialback::Unreachable => told(Condition::RemoteConnectionFailed),
                    _ => told(Condition::NotAuthorized),
                };
            }
            Err(failure) => failure,
        };
        self.note(pair, Direction::In, Err(&failure));
        told(Condition::NotAuthorized)
    }

    async fn look_into(
        self: &Arc<Self>,
        live: &Arc<Live>,
        pair: &Pair,
        key: &str,
        id: &str,
    ) -> Result<Judged, Failure> {
        if self.router.domain(&pair.remote).is_some() {
            return Err(Failure::lasting("our-own-domain", "they claim a domain that is served here"));
        }
        self.mind().may_speak(&pair.remote, Direction::In)?;
        let (tls, _) = live.facts();
        let judged = self.prove(pair, live.direction, tls.as_deref(), live.target.as_ref()).await?;
        if judged.judgement.is_accepted() || !self.may_dialback(pair, live.direction, &judged) {
            return Ok(judged);
        }
        if live.direction == Direction::Out {
            // We called them: what they assert besides is proven by certificate or not at all.
            return Ok(judged);
        }
        let leaf = judged.evidence.chain.first().cloned();
        let dialback = self.call_back(pair, key, id, leaf.as_deref()).await;
        self.judge_with(pair, live.direction, &judged.evidence, dialback)
    }

    /// Asks the domain's own server whether it made the key. `leaf`: the certificate of the peer that showed the key.
    async fn call_back(self: &Arc<Self>, pair: &Pair, key: &str, id: &str, leaf: Option<&[u8]>) -> Dialback {
        let Ok(claim) = mind::claim(pair, Direction::Out) else { return Dialback::Unreachable };
        let Ok(route) = self.route(&pair.remote, &claim.remote).await else { return Dialback::Unreachable };
        let mut last = Dialback::Unreachable;
        for target in &route {
            let Some(live) = self.verifier(pair, target).await else { continue };
            let asked = live.verify(pair.clone(), id.to_owned(), key.to_owned());
            let answer = asked.await.unwrap_or(Err(DialbackError::Ended));
            let (tls, _) = live.facts();
            let judged = self.prove(pair, Direction::Out, tls.as_deref(), Some(target)).await.ok();
            let shown = evidence::of(tls.as_deref());
            let same = leaf.is_some() && shown.chain.first().map(|first| &**first) == leaf;
            let callback = Callback {
                tls: shown.tls,
                certificate: shown.chain.into_iter().next(),
                proofs: judged.map(|judged| judged.judgement.proofs).unwrap_or_default(),
            };
            last = match answer {
                Ok(()) => return Dialback::Verified(callback),
                Err(DialbackError::Invalid) => return Dialback::Invalid,
                // XEP-0344 §2.6: nobody else has that certificate's key.
                Err(_) if same => return Dialback::SameCertificate(callback),
                Err(DialbackError::TimedOut) => Dialback::TimedOut,
                Err(DialbackError::Error(condition)) => Dialback::Error(condition.as_str().to_owned()),
                Err(DialbackError::Ended | DialbackError::Unsupported) => Dialback::Unreachable,
            };
        }
        last
    }

    /// A stream to a server on which keys can be asked about: one that is there, or a new one for all who ask now.
    async fn verifier(self: &Arc<Self>, pair: &Pair, target: &Target) -> Option<Arc<Live>> {
        let there = || {
            self.streams().into_iter().find(|live| {
                let same = live.target.as_ref().is_some_and(|other| target.is_at(other, live.peer));
                live.direction == Direction::Out && same && live.can_verify()
            })
        };
        if let Some(live) = there() {
            return Some(live);
        }
        let turn = self.turns.of(&format!("verify {}", turn_of(std::slice::from_ref(target))));
        let _mine = turn.wait().await;
        if let Some(live) = there() {
            return Some(live);
        }
        // What becomes of the stream shows in the answer.
        let (live, _told) = self.dial(pair, target, Purpose::Verify).await.ok()?;
        live.set_verifies();
        Some(live)
    }
}
