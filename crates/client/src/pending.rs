//! Requests that wait for their answers.
//!
//! An answer completes a request only if its id *and* its sender fit (S4-04). What fits nothing is ignored: it is not answered and neither
//! completes, cancels nor delays anything (S4-05).

use std::collections::HashMap;

use nuncio_xmpp::error::StanzaError;
use nuncio_xmpp::jid::{BareJid, Jid};
use nuncio_xmpp::stanza::Stanza;
use tokio::sync::oneshot;

use crate::config::Leniency;

/// Why a request has no result.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// The answer is an error.
    #[error("the answer is an error: {}", .0.condition.as_str())]
    Refused(StanzaError),
    /// No answer came in time.
    #[error("no answer came in time")]
    Timeout,
    /// The session went down, and its answer with it.
    #[error("the session ended before the answer came")]
    Lost,
    /// Too many requests wait.
    #[error("too many requests wait for their answers")]
    TooMany,
    /// The request cannot be sent.
    #[error(transparent)]
    Send(#[from] crate::SendError),
}

/// Whom a request is addressed to. Addresses are normalised (RFC 7622), so `Romeo@Example.NET` is one with `romeo@example.net`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Peer {
    /// The own account: no `to`, or the own bare address.
    Account,
    /// The own server.
    Server,
    /// Anybody else.
    Other(Jid),
}

#[derive(Debug)]
struct Waiting {
    answer: oneshot::Sender<Stanza>,
    /// The request's number among all stanzas sent, once it has one.
    number: u64,
}

/// All requests of a session that wait, by peer and id.
#[derive(Debug)]
pub(crate) struct Pending {
    account: BareJid,
    leniency: Leniency,
    most: usize,
    waiting: HashMap<(Peer, String), Waiting>,
}

impl Pending {
    pub(crate) fn new(account: BareJid, leniency: Leniency, most: usize) -> Self {
        Self { account, leniency, most, waiting: HashMap::new() }
    }

    fn addressee(&self, to: Option<&Jid>) -> Peer {
        match to {
            None => Peer::Account,
            Some(to) if to.as_str() == self.account.as_str() => Peer::Account,
            Some(to) if to.as_str() == self.account.domain() => Peer::Server,
            Some(to) => Peer::Other(to.clone()),
        }
    }

    /// A request with this id is about to be sent as stanza number `number`.
    pub(crate) fn insert(
        &mut self,
        to: Option<&Jid>,
        id: &str,
        number: u64,
    ) -> Result<oneshot::Receiver<Stanza>, RequestError> {
        if self.waiting.len() >= self.most {
            return Err(RequestError::TooMany);
        }
        let (answer, answered) = oneshot::channel();
        self.waiting.insert((self.addressee(to), id.to_owned()), Waiting { answer, number });
        Ok(answered)
    }

    /// Nobody waits for this answer any more.
    pub(crate) fn forget(&mut self, to: Option<&Jid>, id: &str) {
        self.waiting.remove(&(self.addressee(to), id.to_owned()));
    }

    /// An IQ result or error came. Whether it completed a request.
    ///
    /// `own` is the address that this session has bound.
    pub(crate) fn settle(&mut self, answer: &Stanza, own: Option<&Jid>) -> bool {
        let Some(id) = answer.id() else { return false };
        // Who the sender may speak for (RFC 6120 §8.1.2.1 rule 3; S4-01, S4-02, S4-06).
        let peers: &[Option<Peer>] = &match answer.from() {
            None => [Some(Peer::Account), Some(Peer::Server)],
            Some(from) if from.as_str() == self.account.as_str() => [Some(Peer::Account), None],
            Some(from) if from.as_str() == self.account.domain() => {
                [Some(Peer::Server), self.leniency.domain.then_some(Peer::Account)]
            }
            Some(from) if Some(from) == own => {
                [Some(Peer::Other(from.clone())), self.leniency.full_address.then_some(Peer::Account)]
            }
            Some(from) => [Some(Peer::Other(from.clone())), None],
        };
        for peer in peers.iter().flatten() {
            if let Some(waiting) = self.waiting.remove(&(peer.clone(), id.to_owned())) {
                // Whoever asked may have gone.
                drop(waiting.answer.send(answer.clone()));
                return true;
            }
        }
        false
    }

    /// A session ended: requests up to stanza number `sent` are answered by nobody, but for those in `again`, which will be sent anew.
    pub(crate) fn lose(&mut self, sent: u64, again: &impl Fn(u64) -> bool) {
        self.waiting.retain(|_, waiting| waiting.number > sent || again(waiting.number));
    }

    /// Nothing will ever be answered.
    pub(crate) fn close(&mut self) {
        self.waiting.clear();
        self.most = 0;
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.waiting.len()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use nuncio_sansio::Entropy as _;
    use nuncio_xmpp::stanza::{IqType, iq};

    use super::*;

    fn jid(text: &str) -> Jid {
        Jid::new(text).unwrap()
    }

    fn answer(from: Option<&str>, id: &str, kind: IqType) -> Stanza {
        iq(kind, id).from(from.map(jid)).build()
    }

    const OWN: &str = "juliet@example.com/balcony";

    fn pending(leniency: Leniency) -> Pending {
        Pending::new(BareJid::new("juliet@example.com").unwrap(), leniency, 100)
    }

    /// S4-01, S4-02, S4-04, S4-06: who may answer what.
    #[test]
    fn only_the_addressee_answers() {
        let usual = Leniency::default();
        let strict = Leniency { full_address: false, domain: false };
        let old = Leniency { full_address: true, domain: true };
        let account: &[Option<&str>] = &[None, Some("juliet@example.com"), Some("JULIET@Example.com")];
        type Case<'a> = (Leniency, Option<&'a str>, &'a [Option<&'a str>], &'a [Option<&'a str>]);
        let cases: &[Case<'_>] = &[
            (
                usual,
                None,
                account,
                &[
                    Some("example.com"),
                    Some("juliet@example.com/other"),
                    Some("romeo@example.net"),
                    Some("example.net"),
                ],
            ),
            (usual, Some("juliet@example.com"), account, &[Some("example.com"), Some("romeo@example.net")]),
            (usual, None, &[Some(OWN)], &[]),
            (strict, None, account, &[Some(OWN), Some("example.com")]),
            (old, None, &[Some("example.com"), Some(OWN)], &[Some("example.net")]),
            (
                usual,
                Some("example.com"),
                &[None, Some("example.com"), Some("EXAMPLE.com")],
                &[Some("juliet@example.com"), Some(OWN), Some("example.net")],
            ),
            (
                usual,
                Some("Romeo@Example.NET"),
                &[Some("romeo@example.net"), Some("ROMEO@example.net")],
                &[
                    None,
                    Some("romeo@example.net/orchard"),
                    Some("example.net"),
                    Some("juliet@example.com"),
                    Some("mercutio@example.net"),
                ],
            ),
            (
                usual,
                Some("romeo@example.net/orchard"),
                &[Some("romeo@example.net/orchard")],
                &[None, Some("romeo@example.net"), Some("romeo@example.net/Orchard")],
            ),
            (usual, Some("example.net"), &[Some("example.net")], &[None, Some("example.com")]),
            (usual, Some(OWN), &[Some(OWN)], &[None, Some("juliet@example.com")]),
        ];
        for (leniency, to, right, wrong) in cases {
            let to = to.map(jid);
            for kind in [IqType::Result, IqType::Error] {
                for from in *wrong {
                    let mut pending = pending(*leniency);
                    let mut answered = pending.insert(to.as_ref(), "q", 1).unwrap();
                    assert!(
                        !pending.settle(&answer(*from, "q", kind), Some(&jid(OWN))),
                        "{to:?} by {from:?}"
                    );
                    // S4-05: it neither completes nor cancels.
                    assert!(answered.try_recv().is_err() && pending.len() == 1);
                }
                for from in *right {
                    let mut pending = pending(*leniency);
                    let mut answered = pending.insert(to.as_ref(), "q", 1).unwrap();
                    assert!(!pending.settle(&answer(*from, "other id", kind), Some(&jid(OWN))));
                    assert!(pending.settle(&answer(*from, "q", kind), Some(&jid(OWN))), "{to:?} by {from:?}");
                    assert!(answered.try_recv().is_ok() && pending.len() == 0);
                    assert!(!pending.settle(&answer(*from, "q", kind), Some(&jid(OWN))), "twice");
                }
            }
        }
    }

    /// S4-05: a flood of forged answers with all ids leaves the true ones as they were.
    #[test]
    fn a_flood_of_forgeries_changes_nothing() {
        let mut pending = pending(Leniency::default());
        let to = jid("romeo@example.net/orchard");
        let ids: Vec<_> = (0..100).map(|n| format!("id-{n}")).collect();
        let mut answers: Vec<_> = ids.iter().map(|id| pending.insert(Some(&to), id, 1).unwrap()).collect();
        assert!(matches!(pending.insert(Some(&to), "more", 1), Err(RequestError::TooMany)));
        for id in &ids {
            for kind in [IqType::Result, IqType::Error] {
                for from in [
                    None,
                    Some("mallory@example.net"),
                    Some("romeo@example.net/x"),
                    Some("juliet@example.com"),
                ] {
                    assert!(!pending.settle(&answer(from, id, kind), Some(&jid(OWN))));
                }
            }
        }
        for (id, answered) in ids.iter().zip(&mut answers) {
            assert!(pending.settle(&answer(Some(to.as_str()), id, IqType::Result), Some(&jid(OWN))));
            assert_eq!(answered.try_recv().unwrap().id(), Some(id.as_str()));
        }
    }

    #[test]
    fn a_lost_session_loses_what_it_had_sent() {
        let mut pending = pending(Leniency::default());
        let mut sent = pending.insert(None, "sent", 1).unwrap();
        let mut again = pending.insert(None, "again", 2).unwrap();
        let mut later = pending.insert(None, "later", 3).unwrap();
        pending.lose(2, &|number| number == 2);
        let gone = |answered: &mut oneshot::Receiver<Stanza>| {
            matches!(answered.try_recv(), Err(oneshot::error::TryRecvError::Closed))
        };
        assert!(gone(&mut sent) && !gone(&mut again) && !gone(&mut later));
        pending.close();
        assert!(gone(&mut again) && gone(&mut later));
        assert!(pending.insert(None, "never", 4).is_err());
    }

    /// S4-03, S4-08, S4-09: ids are unique, carry 128 bits of the system's randomness, are no counter and no UUID.
    #[test]
    fn ids_are_random() {
        let ids: Vec<_> = (0..100_000).map(|_| nuncio_net::OsEntropy.token()).collect();
        assert_eq!(ids.iter().collect::<HashSet<_>>().len(), ids.len());
        assert!(ids.iter().all(|id| id.len() == 26 && !id.contains('-')));
        // 25 letters carry 5 bits each, the last carries 3. A counter or a time would leave some place nearly constant.
        for place in 0..26 {
            let mut seen = HashMap::new();
            for id in &ids {
                *seen.entry(id.as_bytes()[place]).or_insert(0_usize) += 1;
            }
            let letters = if place == 25 { 8 } else { 32 };
            let expected = ids.len() / letters;
            assert_eq!(seen.len(), letters, "place {place}");
            assert!(seen.values().all(|count| count.abs_diff(expected) < expected / 4), "place {place}");
            // Nor does one id tell the next.
            let same =
                ids.windows(2).filter(|pair| pair[0].as_bytes()[place] == pair[1].as_bytes()[place]).count();
            assert!(same.abs_diff(expected) < expected / 4, "place {place}: {same}");
        }
    }
}
