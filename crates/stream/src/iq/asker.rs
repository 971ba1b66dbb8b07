//! Who asks, and so between whom an answer must go.

use nuncio_xmpp::jid::{BareJid, Jid};
use nuncio_xmpp::stanza::Stanza;

/// Between whom a request and its answer go. Addresses are normalised (RFC 7622), so `Romeo@Example.NET` is one with `romeo@example.net`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Line {
    /// In whose name was asked; none where only one can ask, as on a client's stream.
    asker: Option<Jid>,
    peer: Peer,
}

/// Whom a request is addressed to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Peer {
    /// A client's own account: no `to`, or the own bare address.
    Account,
    /// A client's own server.
    Server,
    /// Anybody else.
    Other(Jid),
}

/// Who asks.
pub trait Asker {
    /// The lines that a result or error may be the answer on; at most one of them has a request with its id.
    fn answers(&self, answer: &Stanza) -> [Option<Line>; 2];
}

/// Answers that a client accepts beyond RFC 6120 §8.1.2.1 rule 3, for requests to the own account only (S4-02).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leniency {
    /// From the own full address.
    pub full_address: bool,
    /// From the own domain, as servers of RFC 3920 answer.
    pub domain: bool,
}

impl Default for Leniency {
    fn default() -> Self {
        Self { full_address: true, domain: false }
    }
}

/// A client of an account. Its server answers in the account's name: without `from`, or from the bare address (S4-01).
#[derive(Clone, Debug)]
pub struct Account {
    address: BareJid,
    bound: Option<Jid>,
    leniency: Leniency,
}

impl Account {
    /// A client that has bound no resource yet.
    pub const fn new(address: BareJid, leniency: Leniency) -> Self {
        Self { address, bound: None, leniency }
    }

    /// The full address that the client has bound; none once it has not.
    pub fn bind(&mut self, jid: Option<Jid>) {
        self.bound = jid;
    }

    /// The line of a request to this address; none is the own account (RFC 6120 §10.3.3).
    pub fn line(&self, to: Option<&Jid>) -> Line {
        let peer = match to {
            None => Peer::Account,
            Some(to) if to.as_str() == self.address.as_str() => Peer::Account,
            Some(to) if to.as_str() == self.address.domain() => Peer::Server,
            Some(to) => Peer::Other(to.clone()),
        };
        Line { asker: None, peer }
    }

    /// Whether a stanza comes with the account's own authority: without `from`, or from the bare address. Roster pushes (RFC 6121 §2.1.6)
    /// and carbons (XEP-0280 §11) from anybody else are forged (S4-10).
    pub fn is_from(&self, stanza: &Stanza) -> bool {
        stanza.from().is_none_or(|from| from.as_str() == self.address.as_str())
    }
}

impl Asker for Account {
    fn answers(&self, answer: &Stanza) -> [Option<Line>; 2] {
        let line = |peer| Some(Line { asker: None, peer });
        match answer.from() {
            None => [line(Peer::Account), line(Peer::Server)],
            Some(from) if from.as_str() == self.address.as_str() => [line(Peer::Account), None],
            Some(from) if from.as_str() == self.address.domain() => {
                [line(Peer::Server), self.leniency.domain.then_some(Peer::Account).and_then(line)]
            }
            Some(from) if Some(from) == self.bound.as_ref() => {
                let account = self.leniency.full_address.then_some(Peer::Account);
                [line(Peer::Other(from.clone())), account.and_then(line)]
            }
            Some(from) => [line(Peer::Other(from.clone())), None],
        }
    }
}

/// A server, which asks in the name of its domains and accounts. What comes to it is stamped by whoever let it in (S4-11), so an answer
/// has both addresses, the request's turned around, and there are no exceptions (S4-06, S4-07).
#[derive(Clone, Copy, Debug, Default)]
pub struct Server;

impl Server {
    /// The line of a request from one of the own addresses to anybody.
    pub fn line(from: &Jid, to: &Jid) -> Line {
        Line { asker: Some(from.clone()), peer: Peer::Other(to.clone()) }
    }
}

impl Asker for Server {
    fn answers(&self, answer: &Stanza) -> [Option<Line>; 2] {
        [answer.to().zip(answer.from()).map(|(to, from)| Self::line(to, from)), None]
    }
}
