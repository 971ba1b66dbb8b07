//! Proofs: evidence is collected, `nuncio_dna::judge` judges it, and what it says is kept for each pair of each stream, and renewed before it ends.

use std::sync::Arc;

use nuncio_dna::dialback::Dialback;
use nuncio_dna::{Decision, Direction, Evidence, Prooftype, Time};
use nuncio_sansio::TlsFacts;
use nuncio_stream::s2s::{By, Command, Pair, Way};
use nuncio_xmpp::error::{StreamCondition, StreamError};

use crate::Federation;
use crate::failure::Failure;
use crate::live::{Carried, Judged, Live};
use crate::mind::{self, Mind};
use crate::pairs::Then;
use crate::route::Target;

impl Federation {
    /// What decides about other domains, as of now.
    pub(crate) fn mind(&self) -> Mind<'_> {
        Mind { config: &self.config, policy: self.policy(), collector: &self.collector, clock: self }
    }

    /// Collects evidence for what a stream claims, and judges it.
    pub(crate) async fn prove(
        &self,
        pair: &Pair,
        direction: Direction,
        tls: Option<&TlsFacts>,
        target: Option<&Target>,
    ) -> Result<Judged, Failure> {
        Box::pin(self.mind().prove(pair, direction, tls, target)).await
    }

    /// Judges again, with what dialback came to.
    pub(crate) fn judge_with(
        &self,
        pair: &Pair,
        direction: Direction,
        evidence: &Evidence,
        dialback: Dialback,
    ) -> Result<Judged, Failure> {
        let claim = mind::claim(pair, direction)?;
        Ok(self.mind().judge(&claim, Evidence { dialback, ..evidence.clone() }))
    }

    /// Whether policy might accept the peer if dialback succeeds.
    pub(crate) fn may_dialback(&self, pair: &Pair, direction: Direction, judged: &Judged) -> bool {
        self.mind().after_dialback(pair, direction, judged).is_some()
    }

    /// The wire says that a stream carries a pair: it does if that is proven too.
    pub(crate) fn carry(
        &self,
        live: &Arc<Live>,
        pair: &Pair,
        way: Way,
        by: By,
        dialback: bool,
    ) -> Result<(), Failure> {
        let Some(judged) = live.take_judged(pair) else {
            return Err(Failure::lasting("policy-unmet", "nothing was proven"));
        };
        let judged = if dialback { self.they_accepted(live, pair, judged)? } else { judged };
        let Decision::Accept { proof, until } = &judged.judgement.decision else {
            return Err(Failure::refused(&judged.judgement));
        };
        tracing::info!(stream = live.number, direction = %live.direction, %pair, by = %proof.by(), level = %judged.judgement.level, tls = %judged.judgement.tls, until = %until, "a domain is proven");
        let carried = Carried {
            way,
            by,
            proof: Arc::new(proof.clone()),
            level: judged.judgement.level,
            until: *until,
            renew: self.renew_at(*until.min(&proof.expires())),
            since: self.now(),
            renewing: false,
        };
        if live.carry(pair.clone(), carried) {
            self.metrics.pairs.inc();
        }
        if way == Way::In {
            for entry in self.pairs.of(&pair.remote) {
                entry.hasten();
            }
        } else {
            let entry = self.pairs.entry(&pair.local, &pair.remote);
            self.then(&entry, entry.attach(live));
        }
        Ok(())
    }

    /// Where they have accepted us, they speak for the domain that we asked for.
    fn they_accepted(&self, live: &Live, pair: &Pair, judged: Judged) -> Result<Judged, Failure> {
        if judged.judgement.is_accepted() || live.direction == Direction::In {
            return Ok(judged);
        }
        self.judge_with(pair, live.direction, &judged.evidence, Dialback::Accepted)
    }

    /// By what a pair will be proven that a stream of ours is about to carry.
    pub(crate) fn proof_to_be(&self, live: &Live, pair: &Pair) -> Option<Prooftype> {
        let judged = self.they_accepted(live, pair, live.pending(pair)?).ok()?;
        judged.judgement.accepted().map(|proof| proof.by())
    }

    /// Renews what ends soon, and ends what could not be renewed. Called again and again.
    pub(crate) fn renew(self: &Arc<Self>) {
        let now = self.now();
        for live in self.streams() {
            for (pair, by) in live.lapsing(now) {
                self.renew_beside(&live, pair, by, false);
            }
        }
    }

    /// Collects evidence for a pair anew. `strict`: what cannot be proven now is not carried any more, even if its last proof has not ended yet.
    pub(crate) fn renew_beside(self: &Arc<Self>, live: &Arc<Live>, pair: Pair, by: By, strict: bool) {
        let (this, live) = (Arc::clone(self), Arc::clone(live));
        tokio::spawn(async move { this.renew_pair(&live, &pair, by, strict).await });
    }

    pub(crate) async fn renew_pair(self: &Arc<Self>, live: &Arc<Live>, pair: &Pair, by: By, strict: bool) {
        let (tls, _) = live.facts();
        let mut judged = self.prove(pair, live.direction, tls.as_deref(), live.target.as_ref()).await;
        if let Ok(first) = &judged
            && !first.judgement.is_accepted()
            && live.direction == Direction::Out
            && (by == By::Dialback || self.may_dialback(pair, live.direction, first))
        {
            // That they accepted us is good for as long as the stream.
            judged = self.judge_with(pair, live.direction, &first.evidence, Dialback::Accepted);
        }
        let may_pass = judged
            .as_ref()
            .is_ok_and(|judged| judged.judgement.cause().is_some_and(|finding| finding.reason.may_pass()));
        let failure = match judged {
            Ok(judged) => match &judged.judgement.decision {
                Decision::Accept { proof, until } => {
                    tracing::debug!(stream = live.number, %pair, until = %until, "a proof is renewed");
                    live.renew(
                        pair,
                        Arc::new(proof.clone()),
                        judged.judgement.level,
                        *until,
                        self.renew_at(*until),
                    );
                    if let Some(entry) = self.pairs.known(pair) {
                        live.ready(entry);
                    }
                    return;
                }
                Decision::Refuse => Failure::refused(&judged.judgement),
            },
            Err(failure) => failure,
        };
        // What contradicts is heeded at once; whoever did not answer is asked again while the old proof holds.
        if !strict && may_pass && live.keep_for_now(pair, self.now()) {
            tracing::info!(stream = live.number, %pair, code = failure.code, text = failure.text, "a proof cannot be renewed; it has not ended yet");
            return;
        }
        tracing::warn!(stream = live.number, %pair, code = failure.code, text = failure.text, "a proof lapses and cannot be renewed");
        self.note(pair, live.direction, Err(&failure));
        self.lapsed(live, pair, &failure);
    }

    /// When to renew what ends at `until`: some time before, or when it ends if that is sooner.
    pub(crate) fn renew_at(&self, until: Time) -> Time {
        let early = Time::from_secs(until.as_secs().saturating_sub(self.config.renew.as_secs()));
        if until == Time::NEVER || early <= self.now() { until } else { early }
    }

    /// A pair is no longer carried by a stream. Where it was the only one the stream ends with it, so that they hear why and may prove it anew
    /// (RFC 6120 §4.9.3.16, S3-20).
    fn lapsed(&self, live: &Arc<Live>, pair: &Pair, failure: &Failure) {
        let Some(left) = live.drop_pair(pair) else { return };
        self.metrics.revoked.inc();
        self.metrics.pairs.dec();
        live.command(if left == 0 {
            let error = StreamError::new(StreamCondition::Reset);
            Command::Close(Some(error.with_text(format!("{}: {}", failure.code, failure.text))))
        } else {
            Command::Revoke { pair: pair.clone() }
        });
        if let Some(entry) = self.pairs.known(pair) {
            let then: Then = entry.detach(live, Vec::new());
            self.then(&entry, then);
        }
    }
}
