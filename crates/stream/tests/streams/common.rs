//! A server's end of a stream with a scripted host, in virtual time.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use nuncio_sansio::pair::{Counter, Script, Side, facts};
use nuncio_sansio::{Close, Eof, Time, TlsFacts};
use nuncio_stream::c2s::{
    Answer, C2s, C2sConfig, Command, Domain, Enabled, Event, Question, Reason, ResumeFailed, Resumed, Start,
};
use nuncio_stream::sasl::server::{self, Lookup, Policy};
use nuncio_stream::sasl::{Hash, Keys, SaslCondition};
use nuncio_xmpp::error::{Condition, StanzaError, StreamCondition, StreamError};
use nuncio_xmpp::jid::{BareJid, Jid};
use nuncio_xmpp::ns;

pub(crate) const DOMAIN: &str = "im.example.com";
pub(crate) const HEADER: &str = "<?xml version='1.0'?><stream:stream to='im.example.com' version='1.0' xml:lang='en' \
     xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>";
pub(crate) const STARTTLS: &str = "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>";
/// PLAIN: juliet, "secret".
pub(crate) const AUTH: &str =
    "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>AGp1bGlldABzZWNyZXQ=</auth>";
pub(crate) const BIND: &str = "<iq type='set' id='b1'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>\
     <resource>balcony</resource></bind></iq>";
pub(crate) const ENABLE: &str = "<enable xmlns='urn:xmpp:sm:3' resume='true'/>";

static KEYS: LazyLock<Keys> =
    LazyLock::new(|| Keys::derive(Hash::Sha256, "secret", b"pepper and salt", 4096).unwrap());

/// What the scripted host does beyond the usual.
#[derive(Clone, Copy, Default)]
pub(crate) struct Wishes {
    /// Handle stanzas only when told to.
    pub(crate) lazy: bool,
    /// Answers to these take that long, all of them.
    pub(crate) delay: Duration,
    /// The domain has no certificate.
    pub(crate) no_certificate: bool,
}

pub(crate) fn policy() -> Policy {
    Policy { scram: vec![Hash::Sha256], plain: true, external: true }
}

/// The host: one domain, juliet with the password "secret", one resumable session `sm-1`.
pub(crate) fn host(wishes: Wishes) -> Script<C2s> {
    let Wishes { lazy, delay, no_certificate } = wishes;
    Script::with_delay(move |_, question| (delay, answer(question, no_certificate))).react(move |_, event| {
        match event {
            Event::Stanza { number, .. } if !lazy => vec![Command::Handled { number: *number }],
            Event::Answered { reply: Some(reply), .. } => vec![Command::Stanza(reply.bytes(ns::CLIENT))],
            _ => Vec::new(),
        }
    })
}

fn juliet() -> BareJid {
    BareJid::new("juliet@im.example.com").unwrap()
}

fn answer(question: Question, no_certificate: bool) -> Answer {
    match question {
        Question::Domain { to, .. } => match to.as_deref() {
            None | Some(DOMAIN) => {
                Answer::Domain(Ok(Domain { name: DOMAIN.to_owned(), policy: policy(), tls: !no_certificate }))
            }
            Some(_) => Answer::Domain(Err(StreamError::new(StreamCondition::HostUnknown))),
        },
        Question::Offer(_) => Answer::Offer(Vec::new()),
        Question::Sasl { addresses, lookup, .. } => Answer::Sasl(match lookup {
            Lookup::Scram { username, hash } => server::Answer::Scram(Ok(server::Record {
                keys: if username == "juliet" {
                    KEYS.clone()
                } else {
                    Keys::fake(b"s", hash, &username, 4096)
                },
                account: (username == "juliet").then(juliet),
            })),
            Lookup::Password { username, password } => server::Answer::Password(match username.as_str() {
                "outage" => Err(SaslCondition::TemporaryAuthFailure),
                "juliet" if *password == "secret" => Ok(Some(juliet())),
                _ => Ok(None),
            }),
            Lookup::External { authzid } => server::Answer::External(Ok(match authzid {
                Some(authzid) => addresses.into_iter().find(|address| *address == authzid),
                None if addresses.len() == 1 => addresses.into_iter().next(),
                None => None,
            })),
            Lookup::Login { .. } => server::Answer::Login(Ok(())),
        }),
        Question::Unbound { stanza, .. } => {
            Answer::Unbound(stanza.child("query", ns::REGISTER).map(|_| stanza.result(None)))
        }
        Question::Bind { who, resource } => Answer::Bind(match resource.as_deref() {
            Some("taken") => Err(StanzaError::new(Condition::Conflict)),
            resource => Ok(who.account().with_resource(resource.unwrap_or("made-up")).unwrap()),
        }),
        Question::Enable { resume, .. } => Answer::Enable(Ok(Enabled {
            id: resume.then(|| "sm-1".to_owned()),
            max: Some(300),
            location: None,
        })),
        Question::Resume { previd, h, .. } => Answer::Resume(if previd == "sm-1" && (3..=7).contains(&h) {
            Ok(Resumed { jid: Jid::new("juliet@im.example.com/balcony").unwrap(), inbound: 5, outbound: 7 })
        } else {
            let h = (previd == "sm-0").then_some(9);
            Err(ResumeFailed { condition: Condition::ItemNotFound, h })
        }),
    }
}

/// The server's end.
pub(crate) struct Server {
    pub(crate) side: Side<C2s>,
    pub(crate) now: Time,
    tls: TlsFacts,
}

impl Server {
    pub(crate) fn new(config: C2sConfig, start: Start, wishes: Wishes) -> Self {
        let machine = C2s::new(Arc::new(config), Arc::new(Counter::default()), start, Time::ZERO);
        let mut side = Side::new(machine, host(wishes));
        side.start(Time::ZERO);
        Self { side, now: Time::ZERO, tls: facts() }
    }

    pub(crate) fn usual() -> Self {
        Self::new(C2sConfig::default(), Start::Tcp, Wishes::default())
    }

    pub(crate) fn lazy() -> Self {
        Self::new(C2sConfig::default(), Start::Tcp, Wishes { lazy: true, ..Wishes::default() })
    }

    /// Sends, and returns what comes back at once.
    pub(crate) fn send(&mut self, text: &str) -> String {
        self.side.bytes(self.now, text.as_bytes());
        self.sent()
    }

    pub(crate) fn sent(&mut self) -> String {
        String::from_utf8(self.side.take_sent()).unwrap()
    }

    pub(crate) fn eof(&mut self, eof: Eof) -> String {
        self.side.eof(self.now, eof);
        self.sent()
    }

    pub(crate) fn command(&mut self, command: Command) -> String {
        self.side.command(self.now, command);
        self.sent()
    }

    pub(crate) fn secured(&mut self) {
        self.side.secured(self.now, self.tls.clone());
    }

    pub(crate) fn secured_with(&mut self, tls: TlsFacts) {
        self.tls = tls;
        self.secured();
    }

    /// Lets time pass and returns what was sent meanwhile.
    pub(crate) fn pass(&mut self, span: Duration) -> String {
        self.now = self.now + span;
        self.side.run_until(self.now);
        self.sent()
    }

    pub(crate) fn seconds(&mut self, seconds: u64) -> String {
        self.pass(Duration::from_secs(seconds))
    }

    /// As far as the features in clear.
    pub(crate) fn clear(mut self) -> Self {
        let features = self.send(HEADER);
        assert!(features.contains("<starttls"), "{features}");
        self
    }

    /// As far as the features inside TLS.
    pub(crate) fn tls(self) -> Self {
        let mut this = self.clear();
        let proceed = this.send(STARTTLS);
        assert!(proceed.contains("<proceed"), "{proceed}");
        assert!(this.side.wants_tls());
        this.secured();
        let features = this.send(HEADER);
        assert!(features.contains("<mechanisms"), "{features}");
        this
    }

    /// As far as the features after login.
    pub(crate) fn known(self) -> Self {
        let mut this = self.tls();
        let success = this.send(AUTH);
        assert!(success.contains("<success"), "{success}");
        let features = this.send(HEADER);
        assert!(features.contains("<bind"), "{features}");
        this
    }

    /// As far as a bound resource.
    pub(crate) fn bound(self) -> Self {
        let mut this = self.known();
        let bound = this.send(BIND);
        assert!(bound.contains("<jid>juliet@im.example.com/balcony</jid>"), "{bound}");
        this.side.take_events();
        this
    }

    /// As far as stream management.
    pub(crate) fn managed(self) -> Self {
        let mut this = self.bound();
        let enabled = this.send(ENABLE);
        assert!(enabled.contains("<enabled"), "{enabled}");
        this.side.take_events();
        this
    }

    pub(crate) fn closed(&self) -> Option<Close> {
        self.side.closed().map(|(_, close)| close)
    }

    /// The last event, which says how the stream ended.
    pub(crate) fn end(&self) -> &nuncio_stream::c2s::End {
        match self.side.events().last() {
            Some((_, Event::Ended(end))) => end,
            other => panic!("not ended: {other:?}"),
        }
    }

    pub(crate) fn host_closed(&self) -> bool {
        matches!(self.end().reason, Reason::Host)
    }

    /// The stanzas that the host was given.
    pub(crate) fn stanzas(&mut self) -> Vec<(u64, String)> {
        let text = |stanza: &nuncio_xmpp::stanza::Stanza| {
            String::from_utf8(stanza.bytes(ns::CLIENT).to_vec()).unwrap()
        };
        let events = self.side.take_events();
        let stanzas = events.iter().filter_map(|event| match event {
            Event::Stanza { number, stanza } => Some((*number, text(stanza))),
            _ => None,
        });
        stanzas.collect()
    }
}

/// A stream error of this condition and our closing tag, and nothing after.
pub(crate) fn assert_stream_error(sent: &str, condition: &str) {
    let expected = format!("<{condition} xmlns='urn:ietf:params:xml:ns:xmpp-streams'");
    assert!(sent.contains("<stream:error>") && sent.contains(&expected), "{condition} in {sent}");
    assert!(sent.ends_with("</stream:error></stream:stream>"), "{sent}");
}
