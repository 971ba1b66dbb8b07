//! From the first byte to a bound resource: what a client says, and what it insists to hear.

use super::scan::{Found, Next, Nonsense, attr, has, name, text, text_of};
use super::scram::{Exchange, KeyRing, Mechanism};
use crate::target::{Start, Target};

/// What a session shall have.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wish {
    /// The number of the account.
    pub(crate) account: u32,
    /// The resource.
    pub(crate) resource: String,
    /// Stream management (XEP-0198), to be resumed.
    pub(crate) managed: bool,
    /// Fetch the roster.
    pub(crate) roster: bool,
    /// Send initial presence, and wait until it comes back (RFC 6121 §4.2.2).
    pub(crate) presence: bool,
    /// The session to resume instead of binding a new one: its id and how many stanzas were handled.
    pub(crate) resume: Option<(String, u32)>,
    /// How to log in.
    pub(crate) mechanism: Mechanism,
    /// The relay only: the pair to join.
    pub(crate) pair: u64,
    /// At the target's partner, if it has one.
    pub(crate) away: bool,
}

/// What the connection must do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    /// Go on reading.
    Go,
    /// A stream header follows.
    Restart,
    /// TLS begins.
    StartTls,
    /// The session is there.
    Up,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Clear,
    Proceed,
    Tls,
    Offer,
    Challenge,
    Success,
    Bind,
    Bound,
    Resumed,
    Rest,
    Relay,
    Over,
}

/// One login.
pub(crate) struct Login {
    wish: Wish,
    step: Step,
    domain: String,
    name: String,
    password: String,
    exchange: Option<Exchange>,
    /// The bound address.
    jid: String,
    /// The id to resume with.
    session: Option<String>,
    wants_enabled: bool,
    wants_roster: bool,
    wants_presence: bool,
    /// Stanzas of the server are counted from here on.
    pub(crate) counts: bool,
    /// Messages that came before the session was complete: some servers send what waited before they send our presence back.
    early: Vec<Vec<u8>>,
}

/// Stream management (XEP-0198).
pub(crate) const SM: &str = "urn:xmpp:sm:3";

impl Login {
    pub(crate) fn new(wish: Wish, target: &Target) -> Self {
        let step = match target.start {
            Start::DirectTls => Step::Tls,
            Start::StartTls => Step::Clear,
            Start::Relay => Step::Relay,
        };
        Self {
            name: target.accounts.name(wish.account),
            password: target.accounts.password.clone(),
            domain: target.domain.clone(),
            step,
            exchange: None,
            jid: String::new(),
            session: None,
            wants_enabled: false,
            wants_roster: false,
            wants_presence: false,
            counts: false,
            early: Vec::new(),
            wish,
        }
    }

    fn header(&self, out: &mut Vec<u8>) {
        let Self { domain, .. } = self;
        let header = format!(
            "<?xml version='1.0'?><stream:stream to='{domain}' version='1.0' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>"
        );
        out.extend_from_slice(header.as_bytes());
    }

    /// The bound address, the id of the session if it can be resumed, and what was resumed.
    pub(crate) fn session(self) -> (String, Option<String>, Option<(String, u32)>) {
        (self.jid, self.session, self.wish.resume)
    }

    /// The messages that came before the session was complete.
    pub(crate) fn early(&mut self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.early)
    }

    /// TCP is there, and TLS is not.
    pub(crate) fn connected(&self, out: &mut Vec<u8>) {
        if self.step == Step::Clear {
            self.header(out);
        }
    }

    /// TLS is there.
    pub(crate) fn secured(&mut self, out: &mut Vec<u8>) {
        if self.step == Step::Relay {
            out.extend_from_slice(format!("pair {:x}\n", self.wish.pair).as_bytes());
        } else {
            self.step = Step::Offer;
            self.header(out);
        }
    }

    /// Takes what the server said.
    ///
    /// # Errors
    /// It is not what must come now; the text says what came.
    pub(crate) fn take(
        &mut self,
        found: Found<'_>,
        ring: &mut KeyRing,
        out: &mut Vec<u8>,
    ) -> Result<Act, Nonsense> {
        match found {
            Found::Header(tag) if name(tag) == b"stream" => Ok(Act::Go),
            Found::Header(tag) => Err(said(tag, "a stream header")),
            Found::End => Err(Nonsense(format!("closed the stream during {}", self.during()))),
            Found::Element(element) => self.element(element, ring, out),
        }
    }

    /// What is being waited for.
    pub(crate) const fn during(&self) -> &'static str {
        match self.step {
            Step::Clear | Step::Proceed => "STARTTLS",
            Step::Tls => "the TLS handshake",
            Step::Offer | Step::Challenge | Step::Success => "authentication",
            Step::Bind | Step::Bound => "resource binding",
            Step::Resumed => "resumption",
            Step::Rest => "session start",
            Step::Relay => "the first line",
            Step::Over => "the session",
        }
    }

    fn element(&mut self, element: &[u8], ring: &mut KeyRing, out: &mut Vec<u8>) -> Result<Act, Nonsense> {
        let what = name(element);
        if what == b"error" {
            return Err(stream_error(element));
        }
        match (self.step, what) {
            (Step::Clear, b"features") if has(element, b"urn:ietf:params:xml:ns:xmpp-tls") => {
                out.extend_from_slice(b"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>");
                self.step = Step::Proceed;
                Ok(Act::Go)
            }
            (Step::Clear, b"features") => Err(Nonsense("offers no STARTTLS".to_owned())),
            (Step::Proceed, b"proceed") => {
                self.step = Step::Tls;
                Ok(Act::StartTls)
            }
            (Step::Offer, b"features") => self.authenticate(element, out),
            (Step::Challenge, b"challenge") => {
                let exchange = self.exchange.as_mut().ok_or_else(|| said(element, "no challenge"))?;
                let response = exchange.challenge(text(element), ring)?;
                sasl(out, "response", "", &response);
                self.step = Step::Success;
                Ok(Act::Go)
            }
            (Step::Challenge | Step::Success, b"success") => {
                let exchange = self.exchange.take().ok_or_else(|| said(element, "no success"))?;
                exchange.success(text(element))?;
                self.header(out);
                self.step = Step::Bind;
                Ok(Act::Restart)
            }
            (Step::Challenge | Step::Success, b"failure") => {
                Err(Nonsense(format!("refused the login of {}: {}", self.name, first_child(element))))
            }
            (Step::Bind, b"features") => self.bind(element, out),
            (Step::Bound, b"iq") => self.bound(element, out),
            (Step::Resumed, b"resumed") => {
                self.step = Step::Over;
                self.session = self.wish.resume.as_ref().map(|(id, _)| id.clone());
                Ok(Act::Up)
            }
            (Step::Resumed, b"failed") => {
                Err(Nonsense(format!("refused to resume: {}", first_child(element))))
            }
            (Step::Rest, b"failed") => {
                Err(Nonsense(format!("refused stream management: {}", first_child(element))))
            }
            (Step::Rest, b"enabled") => {
                let id = attr(element, b"id").map(|id| String::from_utf8_lossy(id).into_owned());
                self.session = id.filter(|_| matches!(attr(element, b"resume"), Some(b"true" | b"1")));
                self.wants_enabled = false;
                self.counts = true;
                Ok(self.rest())
            }
            (Step::Rest, b"iq") if attr(element, b"id") == Some(b"roster") => {
                if attr(element, b"type") != Some(b"result") {
                    return Err(said(element, "the roster"));
                }
                self.wants_roster = false;
                Ok(self.rest())
            }
            (Step::Rest, b"presence") if attr(element, b"from") == Some(self.jid.as_bytes()) => {
                self.wants_presence = false;
                Ok(self.rest())
            }
            (Step::Rest, b"message") => {
                self.early.push(element.to_vec());
                Ok(Act::Go)
            }
            (Step::Rest, b"presence" | b"iq" | b"r" | b"a") => Ok(Act::Go),
            (Step::Relay, b"ready") => {
                self.step = Step::Over;
                Ok(Act::Up)
            }
            _ => Err(said(element, self.during())),
        }
    }

    fn authenticate(&mut self, features: &[u8], out: &mut Vec<u8>) -> Result<Act, Nonsense> {
        let mechanism = self.wish.mechanism;
        let offered = format!(">{}<", mechanism.as_str());
        if !has(features, offered.as_bytes()) {
            return Err(Nonsense(format!("does not offer {}", mechanism.as_str())));
        }
        let (exchange, initial) = Exchange::start(mechanism, self.wish.account, &self.name, &self.password)?;
        let attribute = format!(" mechanism='{}'", mechanism.as_str());
        sasl(out, "auth", &attribute, &initial);
        self.exchange = Some(exchange);
        self.step = Step::Challenge;
        Ok(Act::Go)
    }

    fn bind(&mut self, features: &[u8], out: &mut Vec<u8>) -> Result<Act, Nonsense> {
        if (self.wish.managed || self.wish.resume.is_some()) && !has(features, SM.as_bytes()) {
            return Err(Nonsense("offers no stream management".to_owned()));
        }
        if let Some((id, handled)) = &self.wish.resume {
            let quote = if id.contains('\'') { '"' } else { '\'' };
            let resume = format!("<resume xmlns='{SM}' h='{handled}' previd={quote}{id}{quote}/>");
            out.extend_from_slice(resume.as_bytes());
            self.step = Step::Resumed;
        } else {
            let resource = &self.wish.resource;
            let bind = format!(
                "<iq type='set' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>{resource}</resource></bind></iq>"
            );
            out.extend_from_slice(bind.as_bytes());
            self.step = Step::Bound;
        }
        Ok(Act::Go)
    }

    /// The rest goes out together, as clients do it that know what they want.
    fn bound(&mut self, element: &[u8], out: &mut Vec<u8>) -> Result<Act, Nonsense> {
        let jid = text_of(element, "jid").filter(|_| attr(element, b"type") == Some(b"result"));
        let jid = jid.ok_or_else(|| said(element, "a bound resource"))?;
        self.jid = String::from_utf8_lossy(jid).into_owned();
        self.wants_enabled = self.wish.managed;
        self.wants_roster = self.wish.roster;
        self.wants_presence = self.wish.presence;
        if self.wants_enabled {
            out.extend_from_slice(format!("<enable xmlns='{SM}' resume='true'/>").as_bytes());
        }
        if self.wants_roster {
            out.extend_from_slice(b"<iq type='get' id='roster'><query xmlns='jabber:iq:roster'/></iq>");
        }
        if self.wants_presence {
            out.extend_from_slice(b"<presence/>");
        }
        self.step = Step::Rest;
        Ok(self.rest())
    }

    const fn rest(&mut self) -> Act {
        if self.wants_enabled || self.wants_roster || self.wants_presence {
            return Act::Go;
        }
        self.step = Step::Over;
        Act::Up
    }
}

impl Act {
    /// How the scan of the stream goes on.
    pub(crate) const fn next(&self) -> Next {
        match self {
            Self::Restart => Next::Restart,
            // What came in clear after `<proceed/>` is not read (RFC 6120 §5.4.3.3).
            Self::StartTls => Next::Stop,
            Self::Go | Self::Up => Next::Go,
        }
    }
}

fn sasl(out: &mut Vec<u8>, tag: &str, attributes: &str, data: &str) {
    let element = format!("<{tag} xmlns='urn:ietf:params:xml:ns:xmpp-sasl'{attributes}>{data}</{tag}>");
    out.extend_from_slice(element.as_bytes());
}

fn said(element: &[u8], instead_of: &str) -> Nonsense {
    let start = element.get(..element.len().min(120)).unwrap_or_default();
    Nonsense(format!("answered {:?} where {instead_of} was due", String::from_utf8_lossy(start)))
}

/// The name of the first child: the condition of a failure.
pub(crate) fn first_child(element: &[u8]) -> String {
    let children = memchr::memchr_iter(b'<', element).skip(1);
    let first = children.filter_map(|at| element.get(at..)).find(|tag| !tag.starts_with(b"</"));
    first.map_or_else(|| "no reason given".to_owned(), |tag| String::from_utf8_lossy(name(tag)).into_owned())
}

/// What a stream error says.
pub(crate) fn stream_error(element: &[u8]) -> Nonsense {
    let detail = text_of(element, "text").map(|text| format!(" ({})", String::from_utf8_lossy(text)));
    Nonsense(format!("ended the stream: {}{}", first_child(element), detail.unwrap_or_default()))
}
