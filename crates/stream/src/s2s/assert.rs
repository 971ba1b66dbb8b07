//! Dialback on an open stream: assertions of theirs and ours, keys to check, and what nobody asked for (XEP-0220 §2, §3.1; RFC 7712 §4.4).

use nuncio_sansio::Time;

use super::api::{By, Condition, DialbackError, Event, Pair, Question, Reason};
use super::core::{Ask, Core, Timer, Verification};
use super::dialback::{Body, Kind, Received, What};
use super::open::Open;
use super::{Next, State};
use crate::error::{Error, Misbehaved, Ours};

/// Keys: the peer asks about one of ours, or answers about one of theirs. The same in each state.
pub(super) fn asked(core: &mut Core, received: Received) -> Result<(), Error> {
    let Received { pair, what } = received;
    match what {
        What::Question { id, key } => {
            core.asked = Some((pair.clone(), id.clone()));
            core.ask(Question::Verify { pair, id, key });
        }
        What::Verdict { id, outcome } => {
            let index = core.verifications.iter().position(|verification| {
                verification.pair == pair
                    && verification.id == id
                    && matches!(verification.state, Ask::Sent(_))
            });
            // S3-13: what answers no question of this stream is ignored.
            match index.and_then(|index| core.verifications.remove(index)) {
                Some(Verification { pair, id, .. }) => {
                    core.useful = true;
                    core.wire.event(Event::Verified { pair, id, outcome });
                }
                None => core.wire.event(Event::Unsolicited { pair }),
            }
        }
        What::Answer(_) => core.wire.event(Event::Unsolicited { pair }),
        What::Assertion { .. } => return Err(Ours::Input.into()),
    }
    Ok(())
}

/// The host has looked at a key.
pub(super) fn verified(core: &mut Core, outcome: Result<(), DialbackError>) -> Result<(), Error> {
    let (pair, id) = core.asked.take().ok_or(Ours::Answer)?;
    core.useful = true;
    core.dialback(Kind::Verify(&id), &pair, Body::Outcome(outcome));
    Ok(())
}

/// [`super::Command::Verify`], in any state.
pub(super) fn verify(core: &mut Core, now: Time, pair: Pair, id: String, key: String, open: bool) {
    // XEP-0288 §2: no key is checked on the connection that it came by, so never where the peer called.
    let able = core.config.dialback && core.opening.is_some();
    if !able || core.verifications.len() >= core.config.max_pairs {
        core.wire.event(Event::Verified { pair, id, outcome: Err(DialbackError::Unsupported) });
        return;
    }
    if open {
        send(core, now, pair, id, &key);
    } else {
        core.verifications.push_back(Verification { pair, id, state: Ask::Waits(key) });
    }
}

fn send(core: &mut Core, now: Time, pair: Pair, id: String, key: &str) {
    let at = core.wait(now);
    core.dialback(Kind::Verify(&id), &pair, Body::Key(key));
    core.verifications.push_back(Verification { pair, id, state: Ask::Sent(at) });
}

/// The stream is negotiated: what waited for it is asked.
pub(super) fn flush(core: &mut Core, now: Time) {
    for Verification { pair, id, state } in std::mem::take(&mut core.verifications) {
        match state {
            Ask::Waits(key) => send(core, now, pair, id, &key),
            state => core.verifications.push_back(Verification { pair, id, state }),
        }
    }
}

impl Open {
    /// An element of dialback.
    pub(super) fn dialback(self: Box<Self>, core: &mut Core, now: Time, received: Received) -> Next {
        match received.what {
            What::Assertion { key } => return self.asserted(core, now, received.pair, key),
            What::Answer(outcome) => return self.answered(core, now, received.pair, outcome),
            What::Question { .. } | What::Verdict { .. } => asked(core, received)?,
        }
        self.give_up(core, now)
    }

    /// The peer says that it is `pair.remote`.
    fn asserted(self: Box<Self>, core: &mut Core, now: Time, pair: Pair, key: String) -> Next {
        if self.is_closing() {
            // No answer could be given any more.
            return Ok(State::Open(self));
        }
        // On a stream that we opened they may not send, unless it goes both ways.
        if core.opening.is_some() && !core.bidi {
            let outcome = Err(DialbackError::Unsupported);
            core.dialback(Kind::Result, &pair, Body::Outcome(outcome));
            return Ok(State::Open(self));
        }
        let (known, pending) = core
            .pairs
            .get(&pair.local, &pair.remote)
            .map_or((false, false), |entry| (entry.receives, entry.theirs.is_some()));
        if known {
            core.dialback(Kind::Result, &pair, Body::Outcome(Ok(())));
            return Ok(State::Open(self));
        }
        if pending {
            // One answer will do for both.
            core.wire.event(Event::Unsolicited { pair });
            return Ok(State::Open(self));
        }
        let at = core.wait(now);
        if core.pairs.change(&pair, |entry| entry.theirs = Some(at)).is_err() {
            let outcome = Err(DialbackError::Error(Condition::ResourceConstraint));
            core.dialback(Kind::Result, &pair, Body::Outcome(outcome));
            return Ok(State::Open(self));
        }
        core.wire.event(Event::Asserted { pair, key, id: core.id.clone() });
        self.patient(core, at);
        Ok(State::Open(self))
    }

    /// The peer says what became of our assertion.
    fn answered(
        mut self: Box<Self>,
        core: &mut Core,
        now: Time,
        pair: Pair,
        outcome: Result<(), DialbackError>,
    ) -> Next {
        let ours = core.pairs.get(&pair.local, &pair.remote).is_some_and(|entry| entry.ours.is_some());
        if !ours {
            // S3-13: never trusted, whatever it says.
            core.wire.event(Event::Unsolicited { pair });
            return Ok(State::Open(self));
        }
        let _ = core.pairs.change(&pair, |entry| entry.ours = None);
        if outcome.is_ok() {
            self.hopeful();
            return self.begin(core, now, pair, By::Dialback);
        }
        self.settle(core, now, pair, outcome)
    }

    /// Tells the host what became of an assertion of ours.
    pub(super) fn settle(
        mut self: Box<Self>,
        core: &mut Core,
        now: Time,
        pair: Pair,
        outcome: Result<(), DialbackError>,
    ) -> Next {
        core.wire.event(Event::Answered { pair, outcome });
        if let Err(error) = outcome {
            self.hopeless(Reason::Dialback(error));
        }
        self.give_up(core, now)
    }

    /// [`super::Command::Assert`].
    pub(super) fn assert(self: Box<Self>, core: &mut Core, now: Time, pair: Pair, key: &str) -> Next {
        let (done, pending) = core
            .pairs
            .get(&pair.local, &pair.remote)
            .map_or((false, false), |entry| (entry.sends, entry.ours.is_some()));
        if done {
            core.wire.event(Event::Answered { pair, outcome: Ok(()) });
            return Ok(State::Open(self));
        }
        if pending {
            return Ok(State::Open(self));
        }
        let at = core.wait(now);
        if !self.may_assert(core, &pair) || core.pairs.change(&pair, |entry| entry.ours = Some(at)).is_err() {
            core.wire.event(Event::Answered { pair, outcome: Err(DialbackError::Unsupported) });
            return Ok(State::Open(self));
        }
        core.dialback(Kind::Result, &pair, Body::Key(key));
        self.patient(core, at);
        Ok(State::Open(self))
    }

    fn may_assert(&self, core: &Core, pair: &Pair) -> bool {
        if !core.config.dialback || self.is_closing() {
            return false;
        }
        match &core.opening {
            // S3-12: another domain than the one that we called, or that the stream carries already, is supposed to be there, and a server
            // that cannot say no would close the stream over it.
            Some(opening) => {
                let known = opening.pair.remote == pair.remote
                    || core.pairs.of(&pair.remote).any(|entry| entry.sends);
                core.offers.dialback && (known || core.offers.dialback_errors)
            }
            // XEP-0288 §2: to domains that the other end has shown to be.
            None => core.bidi && core.pairs.of(&pair.remote).any(|entry| entry.receives),
        }
    }

    /// [`super::Command::Decide`].
    pub(super) fn decide(
        self: Box<Self>,
        core: &mut Core,
        now: Time,
        pair: &Pair,
        outcome: Result<(), DialbackError>,
    ) -> Next {
        let open = core.pairs.get(&pair.local, &pair.remote).is_some_and(|entry| entry.theirs.is_some());
        if !open {
            // Too late: the peer was told already.
            return Ok(State::Open(self));
        }
        let _ = core.pairs.change(pair, |entry| entry.theirs = None);
        match outcome {
            Ok(()) => {
                core.dialback(Kind::Result, pair, Body::Outcome(Ok(())));
                core.authorise(now, pair, By::Dialback);
                Ok(State::Open(self))
            }
            Err(error) => self.refuse(core, now, pair, error),
        }
    }

    /// Tells the peer no. A pair that is refused takes no other with it.
    fn refuse(mut self: Box<Self>, core: &mut Core, now: Time, pair: &Pair, error: DialbackError) -> Next {
        let alone = !core.pairs.is_authorised() && !core.pairs.is_pending();
        let told = match error {
            // XEP-0220 §2.2.1: `invalid` is for a stream that ends with it.
            DialbackError::Invalid if !alone => DialbackError::Error(Condition::Forbidden),
            error => error,
        };
        core.dialback(Kind::Result, pair, Body::Outcome(Err(told)));
        if told == DialbackError::Invalid {
            self.close(core, now, None, Reason::Dialback(error));
            return Ok(State::Open(self));
        }
        if core.refused() { Err(Misbehaved::Guesses.into()) } else { Ok(State::Open(self)) }
    }

    /// [`super::Command::Revoke`].
    pub(super) fn revoke(self: Box<Self>, core: &mut Core, now: Time, pair: &Pair) -> State {
        let carried =
            core.pairs.get(&pair.local, &pair.remote).is_some_and(|entry| entry.sends || entry.receives);
        if carried {
            let _ = core.pairs.change(pair, |entry| {
                entry.revoked = entry.receives;
                entry.receives = false;
                entry.sends = false;
            });
            if !core.pairs.is_authorised() {
                self.patient(core, now + core.config.negotiation);
            }
        }
        State::Open(self)
    }

    /// Dialback that has waited for long enough, on either side.
    pub(super) fn late(mut self: Box<Self>, core: &mut Core, now: Time) -> Next {
        let (theirs, ours) = core.pairs.late(now);
        for pair in theirs {
            let _ = core.pairs.change(&pair, |entry| entry.theirs = None);
            let outcome = Err(DialbackError::TimedOut);
            core.dialback(Kind::Result, &pair, Body::Outcome(outcome));
        }
        for pair in ours {
            let _ = core.pairs.change(&pair, |entry| entry.ours = None);
            let outcome = Err(DialbackError::TimedOut);
            core.wire.event(Event::Answered { pair, outcome });
            self.hopeless(Reason::Dialback(DialbackError::TimedOut));
        }
        let late = |verification: &Verification| matches!(verification.state, Ask::Sent(at) if at <= now);
        while let Some(index) = core.verifications.iter().position(late)
            && let Some(Verification { pair, id, .. }) = core.verifications.remove(index)
        {
            core.wire.event(Event::Verified { pair, id, outcome: Err(DialbackError::TimedOut) });
        }
        let sent = core.verifications.iter().filter_map(|verification| match verification.state {
            Ask::Sent(at) => Some(at),
            Ask::Waits(_) => None,
        });
        if let Some(at) = sent.chain(core.pairs.due()).min() {
            core.timers.set(Timer::Dialback, at);
        }
        self.give_up(core, now)
    }
}
