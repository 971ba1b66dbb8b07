//! One end of a stream against text that a test writes.

use std::sync::Arc;
use std::time::Duration;

use nuncio_sansio::pair::{Counter, Script, Side, facts};
use nuncio_sansio::{Close, Eof, Time};
use nuncio_stream::redirect::Host;
use nuncio_stream::s2s::{
    Accepted, Answer, Command, DialbackError, End, Event, NotResumed, Opening, Pair, Place, Previous,
    Purpose, Question, S2s, S2sConfig, Start, Tls, Verdict,
};
use nuncio_xmpp::error::{StreamCondition, StreamError};

use crate::world::words;

/// Us.
pub(crate) const US: &str = "us.example";
/// Them.
pub(crate) const THEM: &str = "them.example";

pub(crate) const STARTTLS: &str = "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>";
pub(crate) const PROCEED: &str = "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>";
/// EXTERNAL with the empty authorization identity.
pub(crate) const AUTH: &str = "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'>=</auth>";
pub(crate) const SUCCESS: &str = "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>";

/// Their header.
pub(crate) fn header(more: &str) -> String {
    format!(
        "<?xml version='1.0'?><stream:stream {more} version='1.0' xmlns='jabber:server' xmlns:db='jabber:server:dialback' \
         xmlns:stream='http://etherx.jabber.org/streams'>"
    )
}

/// Their header when they call.
pub(crate) fn hello() -> String {
    header("from='them.example' to='us.example'")
}

/// Their header and features when they are called.
pub(crate) fn welcome(features: &str) -> String {
    let header = header("from='them.example' to='us.example' id='their-id'");
    format!("{header}<stream:features>{features}</stream:features>")
}

/// What they may offer.
pub(crate) const OFFER_TLS: &str = "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls>";
pub(crate) const OFFER_EXTERNAL: &str =
    "<mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>EXTERNAL</mechanism></mechanisms>";
pub(crate) const OFFER_ERRORS: &str = "<dialback xmlns='urn:xmpp:features:dialback'><errors/></dialback>";
pub(crate) const OFFER_DIALBACK: &str = "<dialback xmlns='urn:xmpp:features:dialback'/>";
pub(crate) const OFFER_SM: &str = "<sm xmlns='urn:xmpp:sm:3'/>";
pub(crate) const OFFER_BIDI: &str = "<bidi xmlns='urn:xmpp:features:bidi'/>";

/// What the scripted host says.
#[derive(Clone)]
pub(crate) struct Wishes {
    pub(crate) external: Verdict,
    pub(crate) server: Verdict,
    /// What becomes of each assertion; none to let it wait.
    pub(crate) decide: Option<Result<(), DialbackError>>,
    pub(crate) tls: Tls,
    pub(crate) key: Option<&'static str>,
    /// The answer about keys.
    pub(crate) verify: Result<(), DialbackError>,
    /// A stream error for everybody who comes.
    pub(crate) refuse: Option<StreamError>,
    /// Handles stanzas only when told to.
    pub(crate) lazy: bool,
    /// A stream that was lost, and that the peer should resume.
    pub(crate) previous: Option<Previous>,
    /// One that the peer may resume.
    pub(crate) resume: Result<Previous, NotResumed>,
    /// How long it takes for each answer.
    pub(crate) delay: Duration,
}

impl Default for Wishes {
    fn default() -> Self {
        Self {
            external: Verdict::Accepted,
            server: Verdict::Accepted,
            decide: Some(Ok(())),
            tls: Tls::Required,
            key: Some("our-key"),
            verify: Ok(()),
            refuse: None,
            lazy: false,
            previous: None,
            resume: Err(NotResumed { h: None }),
            delay: Duration::ZERO,
        }
    }
}

pub(crate) fn host(wishes: Wishes) -> Script<S2s> {
    let (lazy, decide) = (wishes.lazy, wishes.decide);
    Script::with_delay(move |_, question| {
        let answer = match question {
            Question::Header { to, .. } => Answer::Header(match (&wishes.refuse, to.as_deref()) {
                (Some(error), _) => Err(error.clone()),
                (None, None | Some(US | "also.us.example")) => {
                    Ok(Accepted { local: to.unwrap_or_else(|| US.to_owned()), tls: wishes.tls })
                }
                (None, Some(_)) => Err(StreamError::new(StreamCondition::HostUnknown)),
            }),
            Question::External { .. } => Answer::External(wishes.external.clone()),
            Question::Server { .. } => Answer::Server(wishes.server.clone()),
            Question::Key { .. } => Answer::Key(wishes.key.map(str::to_owned)),
            Question::Verify { .. } => Answer::Verify(wishes.verify),
            Question::Previous { .. } => Answer::Previous(wishes.previous.clone()),
            Question::Resume { previd, .. } => Answer::Resume(match &wishes.resume {
                Ok(previous) if previous.id != previd => Err(NotResumed { h: None }),
                known => known.clone(),
            }),
        };
        (wishes.delay, answer)
    })
    .react(move |_, event| match event {
        Event::Asserted { pair, .. } => {
            let decided = decide.map(|outcome| Command::Decide { pair: pair.clone(), outcome });
            decided.into_iter().collect()
        }
        Event::Stanza { number, .. } if !lazy => vec![Command::Handled { number: *number }],
        _ => Vec::new(),
    })
}

pub(crate) fn pair() -> Pair {
    Pair::new(US, THEM)
}

pub(crate) fn opening() -> Opening {
    let place = Place { host: Host::Name(THEM.to_owned()), port: 5269, redirects: 0 };
    Opening { start: Start::Tcp, pair: pair(), purpose: Purpose::Stanzas, place }
}

/// One end.
pub(crate) struct Raw {
    pub(crate) side: Side<S2s>,
    pub(crate) now: Time,
}

impl Raw {
    pub(crate) fn receiving(config: S2sConfig, wishes: Wishes) -> Self {
        let machine = S2s::receiving(Arc::new(config), Arc::new(Counter::default()), Start::Tcp, Time::ZERO);
        Self::new(machine, wishes)
    }

    pub(crate) fn initiating(config: S2sConfig, opening: Opening, wishes: Wishes) -> Self {
        let machine = S2s::initiating(Arc::new(config), Arc::new(Counter::default()), opening, Time::ZERO);
        Self::new(machine, wishes)
    }

    fn new(machine: S2s, wishes: Wishes) -> Self {
        let mut side = Side::new(machine, host(wishes));
        side.start(Time::ZERO);
        Self { side, now: Time::ZERO }
    }

    /// Sends, and returns what comes back at once.
    pub(crate) fn send(&mut self, text: &str) -> String {
        self.side.bytes(self.now, text.as_bytes());
        self.sent()
    }

    pub(crate) fn sent(&mut self) -> String {
        String::from_utf8(self.side.take_sent()).unwrap()
    }

    pub(crate) fn secured(&mut self) -> String {
        assert!(self.side.wants_tls());
        self.side.secured(self.now, facts());
        self.sent()
    }

    pub(crate) fn command(&mut self, command: Command) -> String {
        self.side.command(self.now, command);
        self.sent()
    }

    pub(crate) fn eof(&mut self, eof: Eof) -> String {
        self.side.eof(self.now, eof);
        self.sent()
    }

    /// Lets time pass and returns what was sent meanwhile.
    pub(crate) fn seconds(&mut self, seconds: u64) -> String {
        self.now = self.now + Duration::from_secs(seconds);
        self.side.run_until(self.now);
        self.sent()
    }

    /// What the host heard since the last time, in words.
    pub(crate) fn heard(&mut self) -> Vec<String> {
        self.side.take_events().iter().map(words).collect()
    }

    pub(crate) fn closed(&self) -> Option<Close> {
        self.side.closed().map(|(_, close)| close)
    }

    /// How it ended.
    pub(crate) fn end(&self) -> &End {
        match self.side.events().last() {
            Some((_, Event::Ended(end))) => end,
            other => panic!("not ended: {other:?}"),
        }
    }

    /// Receiving: as far as the features inside TLS.
    pub(crate) fn tls(mut self) -> Self {
        let features = self.send(&hello());
        assert!(features.contains("<starttls"), "{features}");
        let proceed = self.send(STARTTLS);
        assert!(proceed.contains("<proceed"), "{proceed}");
        self.secured();
        let features = self.send(&hello());
        assert!(features.contains("<stream:features>"), "{features}");
        self
    }

    /// Receiving: as far as a pair that EXTERNAL has authorised.
    pub(crate) fn known(self) -> Self {
        let mut this = self.tls();
        let success = this.send(AUTH);
        assert!(success.contains("<success"), "{success}");
        let features = this.send(&hello());
        assert!(features.contains("<stream:features>"), "{features}");
        this.heard();
        this
    }

    /// Initiating: as far as our header inside TLS.
    pub(crate) fn called(mut self) -> Self {
        let header = self.sent();
        assert!(header.contains("from='us.example' to='them.example'"), "{header}");
        let starttls = self.send(&welcome(OFFER_TLS));
        assert_eq!(starttls, STARTTLS);
        self.send(PROCEED);
        self.secured();
        self
    }

    /// Initiating: as far as a pair that EXTERNAL has authorised.
    pub(crate) fn taken(self, features: &str) -> Self {
        let mut this = self.called();
        let auth = this.send(&welcome(&format!("{OFFER_EXTERNAL}{OFFER_BIDI}")));
        assert!(auth.contains("<auth "), "{auth}");
        this.send(SUCCESS);
        this.send(&welcome(features));
        let heard = this.heard();
        assert!(
            heard.iter().any(|line| line.starts_with("authorised us.example with them.example")),
            "{heard:?}"
        );
        this
    }
}

/// A stream error of this condition and our closing tag, and nothing after.
pub(crate) fn assert_stream_error(sent: &str, condition: &str) {
    let expected = format!("<{condition} xmlns='urn:ietf:params:xml:ns:xmpp-streams'");
    assert!(sent.contains("<stream:error>") && sent.contains(&expected), "{condition} in {sent}");
    assert!(sent.ends_with("</stream:error></stream:stream>"), "{sent}");
}
