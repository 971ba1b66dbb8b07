//! Several servers, the connections between them, and one clock. Each server's host is a small model of what federation does: who is believed is
//! decided by the names that its certificate is good for, else by calling back.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use nuncio_sansio::Time;
use nuncio_sansio::pair::{self, Counter, Script, Side, Split};
use nuncio_stream::redirect::Host;
use nuncio_stream::s2s::{
    Accepted, Answer, Command, Condition, DialbackError, Event, NotResumed, Opening, Pair, Place, Purpose,
    Question, S2s, S2sConfig, Start, Tls, Verdict,
};
use nuncio_xmpp::error::{StreamCondition, StreamError};
use nuncio_xmpp::ns;

/// A server: what it serves, what its certificate proves, and its dialback secret.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    pub(crate) domains: Vec<&'static str>,
    /// The names that its certificate is good for, as seen by others.
    pub(crate) certificate: Vec<&'static str>,
    /// Whether it presents the certificate as TLS client, and others take it.
    pub(crate) as_client: bool,
    pub(crate) secret: &'static str,
    /// The secret that it checks keys with, where that is another one.
    pub(crate) checks: Option<&'static str>,
    /// Takes the same certificate on a second connection for a proof (XEP-0344 §2.6).
    pub(crate) same_certificate: bool,
    /// What it says to assertions of these domains, without looking.
    pub(crate) refuses: Vec<(&'static str, DialbackError)>,
    pub(crate) config: S2sConfig,
}

impl Server {
    pub(crate) fn new(domains: &[&'static str], secret: &'static str) -> Self {
        Self {
            domains: domains.to_vec(),
            certificate: domains.to_vec(),
            as_client: true,
            secret,
            checks: None,
            same_certificate: false,
            refuses: Vec::new(),
            config: S2sConfig { bidi: false, ..S2sConfig::default() },
        }
    }

    fn key(secret: &str, local: &str, remote: &str, id: &str) -> String {
        format!("{secret}/{local}/{remote}/{id}")
    }
}

/// What a host has to do on other connections.
enum Mail {
    Asserted { link: usize, initiator: bool, pair: Pair, key: String, id: String },
    Verified { link: usize, pair: Pair, outcome: Result<(), DialbackError> },
    Secured { link: usize, pair: Pair },
}

#[derive(Default)]
struct Net {
    servers: Vec<Server>,
    mail: Vec<Mail>,
}

/// A connection: who called whom.
pub(crate) struct Link {
    pub(crate) from: usize,
    pub(crate) to: usize,
    pub(crate) pair: pair::Pair<S2s, S2s>,
    /// When it was made; its own clock began then.
    born: Time,
    /// The assertion that it was made for: on which connection, from which end.
    verifies: Option<(usize, bool)>,
}

pub(crate) struct World {
    net: Rc<RefCell<Net>>,
    pub(crate) links: Vec<Link>,
    now: Time,
    split: Split,
    start: Start,
}

impl World {
    pub(crate) fn new(servers: &[Server]) -> Self {
        let net = Net { servers: servers.to_vec(), mail: Vec::new() };
        Self {
            net: Rc::new(RefCell::new(net)),
            links: Vec::new(),
            now: Time::ZERO,
            split: Split::Whole,
            start: Start::Tcp,
        }
    }

    pub(crate) fn split(mut self, split: Split) -> Self {
        self.split = split;
        self
    }

    pub(crate) fn direct_tls(mut self) -> Self {
        self.start = Start::DirectTls;
        self
    }

    pub(crate) fn with(&self, server: usize, change: impl FnOnce(&mut Server)) {
        change(&mut self.net.borrow_mut().servers[server]);
    }

    /// DNS: who serves a domain.
    fn find(&self, domain: &str) -> Option<usize> {
        self.net.borrow().servers.iter().position(|server| server.domains.contains(&domain))
    }

    /// Opens a connection for a pair. None if nobody is there.
    pub(crate) fn dial(&mut self, from: usize, pair: &Pair, purpose: Purpose) -> Option<usize> {
        let to = self.find(&pair.remote)?;
        let link = self.links.len();
        let config = |server: usize| Arc::new(self.net.borrow().servers[server].config.clone());
        let place = Place { host: Host::Name(pair.remote.to_string()), port: 5269, redirects: 0 };
        let opening = Opening { start: self.start, pair: pair.clone(), purpose, place };
        // Ids of different connections are different.
        let entropy = Arc::new(Counter::default());
        for _ in 0..link {
            nuncio_sansio::Entropy::token(&*entropy);
        }
        let a = S2s::initiating(config(from), entropy.clone(), opening, Time::ZERO);
        let b = S2s::receiving(config(to), entropy, self.start, Time::ZERO);
        let mut pair = pair::Pair::new(
            Side::new(a, self.host(link, from, to, true)),
            Side::new(b, self.host(link, to, from, false)),
        );
        pair.split = self.split;
        pair.run_until(Time::ZERO);
        if self.start == Start::DirectTls {
            pair.direct_tls();
        }
        self.links.push(Link { from, to, pair, born: self.now, verifies: None });
        Some(link)
    }

    fn host(&self, link: usize, own: usize, other: usize, initiator: bool) -> Script<S2s> {
        let (asks, hears) = (Rc::clone(&self.net), Rc::clone(&self.net));
        Script::new(move |_, question| {
            let net = asks.borrow();
            let (own, other) = (&net.servers[own], &net.servers[other]);
            match question {
                Question::Header { to, .. } => Answer::Header(match to {
                    Some(to) if own.domains.contains(&to.as_str()) => {
                        Ok(Accepted { local: to, tls: Tls::Required })
                    }
                    _ => Err(StreamError::new(StreamCondition::HostUnknown)),
                }),
                Question::External { pair, .. } => {
                    let proven = other.as_client && other.certificate.contains(&&*pair.remote);
                    Answer::External(if proven { Verdict::Accepted } else { Verdict::Unproven })
                }
                Question::Server { pair, .. } => {
                    let proven = other.certificate.contains(&&*pair.remote);
                    Answer::Server(if proven { Verdict::Accepted } else { Verdict::Unproven })
                }
                Question::Key { pair, id } => {
                    Answer::Key(Some(Server::key(own.secret, &pair.local, &pair.remote, &id)))
                }
                Question::Verify { pair, id, key } => {
                    Answer::Verify(if own.domains.contains(&&*pair.local) {
                        let secret = own.checks.unwrap_or(own.secret);
                        let ours = Server::key(secret, &pair.local, &pair.remote, &id) == key;
                        if ours { Ok(()) } else { Err(DialbackError::Invalid) }
                    } else {
                        Err(DialbackError::Error(Condition::ItemNotFound))
                    })
                }
                Question::Previous { .. } => Answer::Previous(None),
                Question::Resume { .. } => Answer::Resume(Err(NotResumed { h: None })),
            }
        })
        .react(move |_, event| {
            let mut net = hears.borrow_mut();
            match event {
                Event::Asserted { pair, key, id } => {
                    let own = &net.servers[own];
                    let decided = if !own.domains.contains(&&*pair.local) {
                        Some(Err(DialbackError::Error(Condition::ItemNotFound)))
                    } else if let Some((_, error)) =
                        own.refuses.iter().find(|(domain, _)| *domain == &*pair.remote)
                    {
                        Some(Err(*error))
                    } else {
                        // RFC 7712 §4.4.1: "If the certificate presented is also valid for c.example".
                        let other = &net.servers[other];
                        let shown = other.as_client || initiator;
                        (shown && other.certificate.contains(&&*pair.remote)).then_some(Ok(()))
                    };
                    if let Some(outcome) = decided {
                        return vec![Command::Decide { pair: pair.clone(), outcome }];
                    }
                    let (pair, key, id) = (pair.clone(), key.clone(), id.clone());
                    net.mail.push(Mail::Asserted { link, initiator, pair, key, id });
                    Vec::new()
                }
                Event::Verified { pair, outcome, .. } => {
                    let (pair, outcome) = (pair.clone(), *outcome);
                    net.mail.push(Mail::Verified { link, pair, outcome });
                    Vec::new()
                }
                Event::Opened { pair: Some(pair), .. } if initiator => {
                    net.mail.push(Mail::Secured { link, pair: pair.clone() });
                    Vec::new()
                }
                Event::Stanza { number, .. } => vec![Command::Handled { number: *number }],
                _ => Vec::new(),
            }
        })
    }

    /// Lets time pass on all connections.
    pub(crate) fn run(&mut self, span: Duration) {
        let end = self.now + span;
        while self.now < end {
            self.now = end.min(self.now + Duration::from_millis(5));
            for link in &mut self.links {
                link.pair.run_until(Time::from_origin(self.now.since(link.born)));
            }
            self.deliver();
        }
    }

    pub(crate) fn seconds(&mut self, seconds: u64) {
        self.run(Duration::from_secs(seconds));
    }

    fn deliver(&mut self) {
        let mail = std::mem::take(&mut self.net.borrow_mut().mail);
        for mail in mail {
            match mail {
                Mail::Asserted { link, initiator, pair, key, id } => {
                    let own = if initiator { self.links[link].from } else { self.links[link].to };
                    let Some(call) = self.dial(own, &pair, Purpose::Verify) else {
                        // S0-26: somebody else's connection failed.
                        let outcome = Err(DialbackError::Error(Condition::RemoteConnectionFailed));
                        self.tell(link, initiator, Command::Decide { pair, outcome });
                        continue;
                    };
                    self.links[call].verifies = Some((link, initiator));
                    let same = self.net.borrow().servers[own].same_certificate;
                    if !same {
                        self.tell(call, true, Command::Verify { pair, id, key });
                    }
                }
                Mail::Secured { link, pair } => {
                    let Some((asserted, initiator)) = self.links[link].verifies else { continue };
                    let own = self.links[link].from;
                    if self.net.borrow().servers[own].same_certificate {
                        // RFC 7712 §4.3: steps 8 and 9 are skipped. The same server means the same certificate here.
                        self.tell(asserted, initiator, Command::Decide { pair, outcome: Ok(()) });
                        self.tell(link, true, Command::Close(None));
                    }
                }
                Mail::Verified { link, pair, outcome } => {
                    let Some((asserted, initiator)) = self.links[link].verifies else { continue };
                    let outcome = outcome.map_err(|error| match error {
                        DialbackError::Ended | DialbackError::Error(Condition::ItemNotFound) => {
                            DialbackError::Error(Condition::RemoteServerNotFound)
                        }
                        other => other,
                    });
                    self.tell(asserted, initiator, Command::Decide { pair, outcome });
                    // RFC 7712 §4.4.1: "The parties can then terminate the second connection".
                    self.tell(link, true, Command::Close(None));
                }
            }
        }
    }

    pub(crate) fn tell(&mut self, link: usize, initiator: bool, command: Command) {
        let pair = &mut self.links[link].pair;
        if initiator { pair.command_a(command) } else { pair.command_b(command) }
    }

    /// A stanza of a pair, from one end of a connection.
    pub(crate) fn say(&mut self, link: usize, initiator: bool, pair: &Pair, id: &str) {
        let (from, to) = (format!("x@{}", pair.local), format!("y@{}", pair.remote));
        let stanza = format!("<message from='{from}' to='{to}' id='{id}'/>");
        self.tell(link, initiator, Command::Stanza(stanza.into()));
    }

    /// Asserts one more pair on a connection, with the key for it.
    pub(crate) fn assert(&mut self, link: usize, initiator: bool, pair: &Pair) {
        let ends = &self.links[link];
        let own = if initiator { ends.from } else { ends.to };
        let events = if initiator { ends.pair.a.events() } else { ends.pair.b.events() };
        let id = events.iter().rev().find_map(|(_, event)| match event {
            Event::Opened { id, .. } => Some(id.clone()),
            _ => None,
        });
        let key = Server::key(self.net.borrow().servers[own].secret, &pair.local, &pair.remote, &id.unwrap());
        self.tell(link, initiator, Command::Assert { pair: pair.clone(), key });
    }

    /// What one end has heard, in words.
    pub(crate) fn heard(&self, link: usize, initiator: bool) -> Vec<String> {
        let pair = &self.links[link].pair;
        let events = if initiator { pair.a.events() } else { pair.b.events() };
        events.iter().map(|(_, event)| words(event)).collect()
    }

    /// What one end has sent; all of it is for `jabber:server`.
    pub(crate) fn sent(&self, link: usize, initiator: bool) -> String {
        let pair = &self.links[link].pair;
        let sent = if initiator { pair.a.sent() } else { pair.b.sent() };
        let sent = String::from_utf8(sent.to_vec()).unwrap();
        assert!(sent.is_empty() || sent.contains("xmlns='jabber:server'"), "{sent}");
        assert!(!sent.contains("jabber:client"), "{sent}");
        sent
    }

    /// Whether one end has closed.
    pub(crate) fn closed(&self, link: usize) -> bool {
        self.links[link].pair.a.closed().is_some()
    }

    /// Asserts that these pieces were sent by one end, in this order.
    pub(crate) fn assert_sent(&self, link: usize, initiator: bool, pieces: &[&str]) {
        let sent = self.sent(link, initiator);
        let mut rest = sent.as_str();
        for piece in pieces {
            let Some((_, after)) = rest.split_once(piece) else {
                panic!("{piece} is not in the rest of {sent}");
            };
            rest = after;
        }
    }

    /// Asserts that one end heard these, in this order, others between them.
    pub(crate) fn assert_heard(&self, link: usize, initiator: bool, expected: &[&str]) {
        let heard = self.heard(link, initiator);
        let mut rest = heard.iter();
        for line in expected {
            assert!(rest.any(|heard| heard == line), "{line:?} is not in the rest of {heard:#?}");
        }
    }

    /// Everything that happened, for comparison.
    pub(crate) fn story(&self) -> Vec<String> {
        let mut story = Vec::new();
        for link in 0..self.links.len() {
            for initiator in [true, false] {
                story.extend(self.heard(link, initiator));
                story.push(self.sent(link, initiator));
                let pair = &self.links[link].pair;
                let side = if initiator { pair.a.closed() } else { pair.b.closed() };
                story.push(format!("{side:?}"));
            }
        }
        story
    }
}

/// An event in a few words.
pub(crate) fn words(event: &Event) -> String {
    match event {
        Event::Opened { pair, .. } => match pair {
            Some(pair) => format!("opened {pair}"),
            None => "opened".to_owned(),
        },
        Event::Secured(_) => "secured".to_owned(),
        Event::Offered(offers) => {
            let mut line = "offered".to_owned();
            for (name, is) in [
                ("external", offers.external),
                ("dialback", offers.dialback),
                ("errors", offers.dialback_errors),
                ("bidi", offers.bidi),
                ("sm", offers.stream_management),
            ] {
                if is {
                    line += " ";
                    line += name;
                }
            }
            line
        }
        Event::Authorised { pair, way, by } => format!("authorised {pair} {way:?} {by:?}"),
        Event::Asserted { pair, .. } => format!("asserted {pair}"),
        Event::Answered { pair, outcome } => format!("answered {pair} {outcome:?}"),
        Event::Verified { pair, outcome, .. } => format!("verified {pair} {outcome:?}"),
        Event::Unsolicited { pair } => format!("unsolicited {pair}"),
        Event::ExternalFailed(condition) => format!("external failed {}", condition.as_str()),
        Event::Managed => "managed".to_owned(),
        Event::Unmanaged => "unmanaged".to_owned(),
        Event::Resumable { id, within } => format!("resumable {id} {}", within.as_secs()),
        Event::Resumed { h } => format!("resumed {h}"),
        Event::NotResumed { h } => format!("not resumed {h:?}"),
        Event::Stanza { pair, number, stanza } => {
            format!("stanza {number} {} of {pair}", stanza.id().unwrap_or("-"))
        }
        Event::Rejected { number, reply } => {
            let reply =
                reply.as_ref().map(|reply| String::from_utf8(reply.bytes(ns::SERVER).to_vec()).unwrap());
            format!("rejected {number} {}", reply.unwrap_or_default())
        }
        Event::Acked { h, fresh } => format!("acked {h} {fresh}"),
        Event::Finishing => "finishing".to_owned(),
        Event::Ended(end) => {
            let error = end.error.map(|error| format!(" {error}")).unwrap_or_default();
            let clean = if end.clean { " clean" } else { "" };
            format!("ended {}{clean}{error}", end.reason.as_str())
        }
    }
}
