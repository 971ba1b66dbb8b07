//! Requests that wait for their answers, and requests that only the own server may make.
//!
//! Who may answer what is decided by [`nuncio_stream::iq`]; here are the futures that wait, and the numbers of the stanzas by which a
//! lost session tells which answers will never come.

use nuncio_sansio::Entropy;
use nuncio_stream::iq::{Account, Leniency, Refused, Tracker};
use nuncio_xmpp::error::StanzaError;
use nuncio_xmpp::jid::{BareJid, Jid};
use nuncio_xmpp::ns;
use nuncio_xmpp::stanza::{IqType, Kind, Marks, Stanza};
use tokio::sync::oneshot;

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
    /// The request has no id that nobody else has.
    #[error("the source of randomness repeats itself")]
    Entropy,
    /// The request cannot be sent.
    #[error(transparent)]
    Send(#[from] crate::SendError),
}

impl From<Refused> for RequestError {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::TooMany => Self::TooMany,
            Refused::Entropy => Self::Entropy,
        }
    }
}

#[derive(Debug)]
struct Waiting {
    answer: oneshot::Sender<Stanza>,
    /// The request's number among all stanzas sent.
    number: u64,
}

/// All requests of a session that wait.
#[derive(Debug)]
pub(crate) struct Pending(Tracker<Account, Waiting>);

impl Pending {
    pub(crate) const fn new(account: BareJid, leniency: Leniency, most: usize) -> Self {
        Self(Tracker::new(Account::new(account, leniency), most))
    }

    /// A request is about to be sent as stanza number `number`, with the id that is returned.
    pub(crate) fn ask(
        &mut self,
        to: Option<&Jid>,
        number: u64,
        entropy: &dyn Entropy,
    ) -> Result<(String, oneshot::Receiver<Stanza>), RequestError> {
        let (answer, answered) = oneshot::channel();
        let line = self.0.asker().line(to);
        let id = self.0.ask(line, None, Waiting { answer, number }, entropy)?;
        Ok((id, answered))
    }

    /// Nobody waits for this answer any more.
    pub(crate) fn forget(&mut self, to: Option<&Jid>, id: &str) {
        let line = self.0.asker().line(to);
        self.0.forget(line, id);
    }

    /// An IQ result or error came. Whether it completed a request.
    ///
    /// `own` is the address that this session has bound.
    pub(crate) fn settle(&mut self, answer: &Stanza, own: Option<&Jid>) -> bool {
        self.0.asker_mut().bind(own.cloned());
        let settled = self.0.settle(answer);
        let found = settled.is_some();
        if let Some(waiting) = settled {
            // Whoever asked may have gone.
            drop(waiting.answer.send(answer.clone()));
        }
        found
    }

    /// A session ended: requests up to stanza number `sent` are answered by nobody, but for those in `again`, which will be sent anew.
    pub(crate) fn lose(&mut self, sent: u64, again: &impl Fn(u64) -> bool) {
        self.0.retain(|waiting| waiting.number > sent || again(waiting.number));
    }

    /// Nothing will ever be answered.
    pub(crate) fn close(&mut self) {
        self.0.close();
    }

    /// Whether a stanza says what only the own server may say, and does not come from there (S4-10): a roster push (RFC 6121 §2.1.6), the
    /// like of it for the block list (XEP-0191), a carbon (XEP-0280 §11). It must be ignored, and an answer would only tell the forger that
    /// somebody is there.
    pub(crate) fn is_forged(&self, stanza: &Stanza) -> bool {
        let only_own = match stanza.kind() {
            Kind::Iq(IqType::Set) => stanza.payload().is_some_and(|payload| {
                payload.is("query", ns::ROSTER)
                    || payload.is("block", ns::BLOCKING)
                    || payload.is("unblock", ns::BLOCKING)
            }),
            Kind::Message(_) => {
                stanza.marks().any(Marks::CARBON_COPY)
                    && ["received", "sent"].iter().any(|name| stanza.child(name, ns::CARBONS).is_some())
            }
            Kind::Iq(_) | Kind::Presence(_) => false,
        };
        only_own && !self.0.asker().is_from(stanza)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use nuncio_net::OsEntropy;
    use nuncio_sansio::pair::Counter;
    use nuncio_xmpp::stanza::iq;
    use nuncio_xmpp::xml::Element;

    use super::*;

    fn jid(text: &str) -> Jid {
        Jid::new(text).unwrap()
    }

    fn pending(most: usize) -> Pending {
        Pending::new(BareJid::new("juliet@example.com").unwrap(), Leniency::default(), most)
    }

    /// S4-02, S4-04: the address that was bound may answer for the account; before and after it is a stranger's.
    #[test]
    fn the_bound_address_is_that_of_the_moment() {
        let own = jid("juliet@example.com/balcony");
        let mut pending = pending(1);
        let (id, mut answered) = pending.ask(None, 1, &Counter::default()).unwrap();
        assert!(matches!(pending.ask(None, 2, &Counter::default()), Err(RequestError::TooMany)));
        let answer = iq(IqType::Result, &id).from(own.clone()).build();
        for bound in [None, Some(jid("juliet@example.com/other"))] {
            assert!(!pending.settle(&answer, bound.as_ref()));
            assert!(answered.try_recv().is_err());
        }
        assert!(pending.settle(&answer, Some(&own)));
        assert_eq!(answered.try_recv().unwrap().id(), Some(id.as_str()));
        assert!(!pending.settle(&answer, Some(&own)), "once");
    }

    #[test]
    fn a_lost_session_loses_what_it_had_sent() {
        let entropy = Counter::default();
        let mut pending = pending(100);
        let mut ask = |number| pending.ask(None, number, &entropy).unwrap().1;
        let (mut sent, mut again, mut later) = (ask(1), ask(2), ask(3));
        pending.lose(2, &|number| number == 2);
        let gone = |answered: &mut oneshot::Receiver<Stanza>| {
            matches!(answered.try_recv(), Err(oneshot::error::TryRecvError::Closed))
        };
        assert!(gone(&mut sent) && !gone(&mut again) && !gone(&mut later));
        pending.close();
        assert!(gone(&mut again) && gone(&mut later));
        assert!(pending.ask(None, 4, &entropy).is_err());
    }

    /// S4-10: what only the own server may say.
    #[test]
    fn pushes_and_carbons_of_others_are_forged() {
        let push = "<iq type='set' id='1'FROM><query xmlns='jabber:iq:roster'><item jid='a@b.example'/></query></iq>";
        let block = "<iq type='set' id='1'FROM><block xmlns='urn:xmpp:blocking'><item jid='a@b.example'/></block></iq>";
        let unblock = "<iq type='set' id='1'FROM><unblock xmlns='urn:xmpp:blocking'/></iq>";
        let sent = "<message type='chat'FROM><sent xmlns='urn:xmpp:carbons:2'><forwarded xmlns='urn:xmpp:forward:0'>\
            <message xmlns='jabber:client'><body>hi</body></message></forwarded></sent></message>";
        let received = "<message FROM><body>x</body><received xmlns='urn:xmpp:carbons:2'/></message>";
        let authorities = [push, block, unblock, sent, received];
        let harmless = [
            "<message FROM><body>x</body><private xmlns='urn:xmpp:carbons:2'/></message>",
            "<message FROM><received xmlns='urn:xmpp:receipts' id='1'/></message>",
            "<iq type='get' id='1'FROM><query xmlns='jabber:iq:roster'/></iq>",
            "<iq type='set' id='1'FROM><query xmlns='urn:example'/></iq>",
            "<presence FROM/>",
        ];
        let owners = ["", " from='juliet@example.com'", " from='JULIET@Example.com'"];
        let strangers = [
            " from='romeo@example.net'",
            " from='romeo@example.net/orchard'",
            " from='example.com'",
            " from='juliet@example.com/balcony'",
            " from='juliet@example.net'",
        ];
        let forged = |text: &str, from: &str| {
            let element = Element::parse_in(ns::CLIENT, text.replace("FROM", from)).unwrap();
            pending(1).is_forged(&Stanza::from_element(element).unwrap())
        };
        for text in authorities {
            assert!(owners.iter().all(|from| !forged(text, from)), "{text}");
            assert!(strangers.iter().all(|from| forged(text, from)), "{text}");
        }
        for text in harmless {
            assert!(owners.iter().chain(&strangers).all(|from| !forged(text, from)), "{text}");
        }
    }

    /// The 128 bits of an id: 25 letters carry 5 bits each, the last carries 3.
    fn bits(id: &str) -> u128 {
        let letter = |byte: u8| match byte {
            b'a'..=b'z' => byte - b'a',
            b'2'..=b'7' => byte - b'2' + 26,
            other => panic!("{other} in {id}"),
        };
        id.bytes().rev().fold(0, |bits, byte| bits << 5 | u128::from(letter(byte)))
    }

    /// Whether so many of `all`, each with a chance of one in `of`, are within five standard deviations of what is expected.
    fn is_usual(count: usize, all: usize, of: usize) -> bool {
        let expected = all / of;
        count.abs_diff(expected) < 5 * expected.isqrt() + 1
    }

    /// S4-03, S4-08, S4-09: a million ids are unique and random in each of their 128 bits and from one to the next; they are no counter, no
    /// time and no UUID.
    #[test]
    fn a_million_ids_are_unique_and_random() {
        const MANY: usize = 1_000_000;
        let mut pending = pending(1);
        let ids: Vec<_> = (0..MANY)
            .map(|_| {
                let (id, _) = pending.ask(None, 1, &OsEntropy).unwrap();
                pending.forget(None, &id);
                id
            })
            .collect();
        assert!(ids.iter().all(|id| id.len() == 26 && !id.contains('-')), "no UUID is written so");
        let ids: Vec<_> = ids.iter().map(|id| bits(id)).collect();
        assert_eq!(ids.iter().collect::<HashSet<_>>().len(), MANY);
        for bit in 0..128 {
            let set = |id: &u128| id >> bit & 1 == 1;
            assert!(is_usual(ids.iter().filter(|id| set(id)).count(), MANY, 2), "bit {bit}");
            let kept = ids.windows(2).filter(|pair| set(&pair[0]) == set(&pair[1])).count();
            assert!(is_usual(kept, MANY - 1, 2), "bit {bit} tells the next");
        }
        // What is true of the bits is true of either order of the bytes that a UUID could be read from.
        for ids in [ids.clone(), ids.iter().map(|id| id.swap_bytes()).collect()] {
            // A counter or a time would rise; later ids would lie near.
            assert!(is_usual(ids.windows(2).filter(|pair| pair[0] < pair[1]).count(), MANY - 1, 2));
            let near = ids.windows(2).filter(|pair| pair[0].abs_diff(pair[1]) < 1 << 100).count();
            assert!(near < 10, "{near} of a million lie as near as one in 2^27 would");
            // UUIDs say their version in four bits: here all of them are as frequent, those with a time in them (1, 6, 7) too.
            let mut versions = HashMap::new();
            ids.iter().for_each(|id| *versions.entry(id >> 76 & 15).or_insert(0) += 1);
            assert!((0..16).all(|version| is_usual(versions[&version], MANY, 16)), "{versions:?}");
        }
    }
}
