//! The engine of the checker: connections, names, and what a step means.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;

use nuncio_msrp::media::{Accept, AcceptTypes};
use nuncio_msrp::uri::Hop;
use nuncio_msrp::{Flag, Method, Scheme, Uri};
use nuncio_net::tls::{Believe, Connector, OwnCertificate};
use nuncio_net::{OsEntropy, Security};
use nuncio_sansio::Entropy as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Duration, Instant, timeout};

use super::conversation::{Came, Conversation, Frame};
use super::hello::Old;
use super::login::Sent;
use super::{CheckError, Subject};
use crate::raw::{Got, Raw};
use crate::setup::strong;
use crate::{Unjudged, place};

/// Connections of a case, by what they stand for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Who {
    /// The owner of a URI of the relay; or whoever the endpoint's session is with.
    A,
    /// A peer that was given the path.
    B,
    /// Somebody else.
    C,
}

/// How to log in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Login {
    /// Without credentials: for the challenge.
    Bare,
    /// As it should be.
    Right,
    /// With a password that is wrong.
    Wrong,
    /// What was right before, once more.
    Again,
    /// With the right password, and a nonce that the relay never made.
    Invented,
    /// As it should be, for so many seconds.
    For(&'static str),
}

/// What a case does. Texts are templates: `|` ends a line, and in braces stand names: `t…` and `m…` are new identifiers of the case, others are those of the
/// world; `random:N`, `octets` and `long:N` are bodies.
#[derive(Clone, Copy)]
pub(super) enum Step {
    /// These, one after the other.
    Row(&'static [Self]),
    /// Only where a login is given.
    NeedsLogin,
    /// Only where TLS is spoken.
    NeedsTls,
    /// Only where no relay is between, whose answer it would be.
    Direct,
    /// Only where this holds; else why not.
    Needs(fn(&Subject) -> bool, &'static str),
    /// Connects.
    Open(Who),
    /// Connects without TLS.
    Clear(Who),
    /// Closes, and waits for the other side's end.
    Close(Who),
    /// Writes a frame.
    Send(Who, &'static str),
    /// Writes a frame in pieces of so many bytes, each of its own.
    Cut(Who, &'static str, usize),
    /// Logs in. What comes of it is the last answer.
    Auth(Who, Login),
    /// A response to this transaction, with one of these codes.
    Answer(Who, &'static str, &'static [u16]),
    /// The same, or the end of the connection.
    AnswerOrEnd(Who, &'static str, &'static [u16]),
    /// The connection is ended by the other side.
    End(Who),
    /// A REPORT on this message with this status.
    Report(Who, &'static str, &'static [u16]),
    /// The same, within so many seconds.
    ReportWithin(Who, &'static str, &'static [u16], u64),
    /// The message of this transaction is refused with this code: in the response, or through a relay in a REPORT (RFC 4976 §6.4.3).
    Denied(Who, &'static str, &'static str, u16),
    /// Nothing comes: shown by a request that is answered and has nothing before its answer.
    Silent(Who),
    /// Something holds of the last frame.
    Holds(&'static str, fn(&Frame, &Names) -> bool),
    /// The message arrives, whole, with the content that was sent; and is answered with this, if anything.
    Arrives(Who, &'static str, Option<u16>),
    /// The message is given up on its way (`#`).
    Aborted(Who, &'static str),
    /// A request of this method arrives.
    Request(Who, &'static str),
    /// A response to this transaction with one of these codes; or the request itself arrives there.
    AnswerOrMethod(Who, &'static str, &'static [u16], Who, &'static str),
    /// No request of this method arrives for a while.
    NoRequest(Who, &'static str),
    /// A frame that is written again and again until it is refused so, or the connection ends: what it is about takes the other side a moment to notice.
    Refused(Who, &'static str, &'static str, &'static [u16]),
    /// Whatever was sent did not get to where nobody asked for it; nor, unless `taken`, was it answered with 200, which a relay may say of a URI that it has
    /// issued, since it answers before it forwards (RFC 4976 §6.4.1). Where it was not refused either, and could not have got there, nobody knows.
    Untouched {
        /// Whether 200 is as good as an error.
        taken: bool,
    },
    /// URIs are as random as they have to be, in bits.
    Unguessable(f64),
    /// This version of TLS is refused.
    Refuses(Old),
    /// The certificate is for the name of the URI, and by somebody who is believed.
    Named,
}

/// Why a case does not go on.
pub(super) enum Stop {
    Fail(String),
    Skip(String),
}

/// The names of a case, and what stands for them.
pub(super) type Names = BTreeMap<String, String>;

/// Connections, and what is known of the one that is checked.
pub(super) struct World {
    pub(super) subject: Subject,
    pub(super) to: Uri,
    address: SocketAddr,
    pub(super) by_name: Result<Arc<Connector>, String>,
    pub(super) anybody: Arc<Connector>,
    /// The first hop as it stands in requests that are no AUTH: with its port (RFC 4976 §8).
    pub(super) here: Hop,
    /// Why the login that was given is not used.
    pub(super) withheld: Option<String>,
    /// Where what is relayed without permission would go.
    pub(super) trap: TcpListener,
    trap_uri: String,
    /// A message that may be carried there was.
    pub(super) reachable: bool,
    pub(super) names: Names,
    pub(super) connections: HashMap<Who, Conversation>,
    body: Vec<u8>,
    pub(super) last: Option<Frame>,
    pub(super) login: Option<Sent>,
    pub(super) lines: Vec<String>,
}

/// The URI of a device.
fn device(hop: &Hop) -> String {
    format!("{}://{};{}", hop.scheme.as_str(), place::place(hop), hop.transport.as_str())
}

/// A media type that is among these, a text if it may be.
fn taken(accepts: &AcceptTypes) -> &str {
    const TEXT: &str = "text/plain";
    let named = accepts.entries().iter().find_map(|entry| match entry {
        Accept::Type(named) => Some(&**named),
        Accept::Any | Accept::Family(_) => None,
    });
    if accepts.accepts(TEXT) { TEXT } else { named.unwrap_or(TEXT) }
}

/// How long the trap is watched when the other side has refused in words; it has to be long enough for a connection.
pub(super) const TRAP: Duration = Duration::from_millis(500);

impl World {
    pub(super) async fn new(mut subject: Subject) -> Result<Self, CheckError> {
        let own = OwnCertificate::self_signed("check.invalid")?;
        let to = subject.path.first().cloned().ok_or(crate::ConnectError::Uri)?;
        if subject.login.is_some() && to.scheme() == Scheme::Msrp {
            return Err(CheckError::Clear);
        }
        if !subject.fingerprints.is_empty() {
            if to.scheme() == Scheme::Msrp {
                return Err(Unjudged::Clear.into());
            }
            if subject.path.len() > 1 {
                return Err(Unjudged::Relay.into());
            }
            subject.fingerprints = strong(&subject.fingerprints, subject.sha1)?;
        }
        let stream = Box::pin(place::connect(to.hop(), subject.patience)).await?;
        let address = stream.peer_addr()?;
        let here = stream.local_addr()?.ip();
        let trap = TcpListener::bind((here, 0)).await?;
        let host = if here.is_ipv6() { format!("[{here}]") } else { here.to_string() };
        let trap_uri = format!("msrp://{host}:{};tcp", trap.local_addr()?.port());
        let by_name = Connector::showing(&own, Believe::Roots(&subject.roots));
        let known = Hop { port: Some(address.port()), ..to.hop().clone() };
        Ok(Self {
            to,
            here: known,
            address,
            by_name: by_name.map(Arc::new).map_err(|error| error.to_string()),
            anybody: Arc::new(Connector::showing(&own, Believe::Anybody)?),
            withheld: None,
            trap,
            trap_uri,
            reachable: false,
            names: Names::new(),
            connections: HashMap::new(),
            body: Vec::new(),
            last: None,
            login: None,
            lines: Vec::new(),
            subject,
        })
    }

    /// What stops a case that wants a login.
    pub(super) fn no_login(&self) -> Stop {
        skip(self.withheld.as_deref().unwrap_or("it needs a login (--user)"))
    }

    /// A new case: new names, and new connections if they are not to be kept.
    pub(super) fn begin(&mut self, afresh: bool) {
        if afresh {
            self.connections.clear();
        } else {
            self.connections.retain(|who, _| *who == Who::A);
            if let Some(kept) = self.connections.get_mut(&Who::A) {
                kept.unclaimed.clear();
            }
        }
        let kept = ["me"].into_iter().filter(|_| !afresh).filter_map(|name| self.names.remove_entry(name));
        let kept: Vec<_> = kept.collect();
        self.names.clear();
        self.names.extend(kept);
        self.body.clear();
        self.last = None;
        self.login = None;
        self.lines.clear();
        let here = device(&self.here);
        for (name, value) in [
            ("relay", device(self.to.hop())),
            ("to", self.subject.path.to_string()),
            ("type", self.subject.accepts.as_ref().map_or("text/plain", taken).to_owned()),
            ("unissued", session(&here)),
            ("wrong", session(&here)),
            ("here", here),
            ("elsewhere", session("msrps://elsewhere.invalid:2855;tcp")),
            ("peer", session("msrps://peer.invalid:2855;tcp")),
            ("stranger", session("msrps://stranger.invalid:2855;tcp")),
            ("owner", session("msrps://client.invalid:2855;tcp")),
            ("trap", session(&self.trap_uri)),
        ] {
            self.names.insert(name.to_owned(), value);
        }
        if !self.names.contains_key("me") {
            let from = self.subject.from.as_ref().map(ToString::to_string);
            let me = from.unwrap_or_else(|| session("msrps://client.invalid:2855;tcp"));
            self.names.insert("me".to_owned(), me);
        }
    }

    pub(super) fn transcript(&mut self) -> Vec<String> {
        std::mem::take(&mut self.lines)
    }

    pub(super) async fn run(&mut self, steps: &[Step]) -> Result<(), Stop> {
        for step in steps {
            Box::pin(self.step(*step)).await?;
        }
        Ok(())
    }

    pub(super) fn until(&self) -> Instant {
        Instant::now() + self.subject.patience
    }

    /// A handshake that takes too long is given up here, with a reason, before the connection gives it up.
    pub(super) fn handshake_at_most(&self) -> Duration {
        self.subject.patience + TRAP
    }

    pub(super) fn note(&mut self, who: Who, way: char, what: &str) {
        self.lines.push(format!("{who:?}{way} {what}"));
    }

    async fn step(&mut self, step: Step) -> Result<(), Stop> {
        match step {
            Step::Row(steps) => self.run(steps).await,
            Step::NeedsLogin if self.subject.login.is_none() => Err(self.no_login()),
            Step::NeedsTls if self.to.scheme() == Scheme::Msrp => Err(skip("the URI is not msrps")),
            Step::Direct if self.relayed() => Err(skip(
                "a relay is between, which answers by itself: check the endpoint directly, and the relay by its own URI",
            )),
            Step::NeedsLogin | Step::NeedsTls | Step::Direct => Ok(()),
            Step::Needs(holds, why) => {
                if holds(&self.subject) {
                    Ok(())
                } else {
                    Err(skip(why))
                }
            }
            Step::Open(who) => self.open(who, self.to.scheme() == Scheme::Msrps).await,
            Step::Clear(who) => self.open(who, false).await,
            Step::Close(who) => {
                self.connections.remove(&who);
                self.note(who, '>', "closes");
                Ok(())
            }
            Step::Send(who, template) => self.send(who, template, usize::MAX),
            Step::Cut(who, template, size) => self.send(who, template, size),
            Step::Auth(who, login) => self.auth(who, login).await,
            Step::Answer(who, tid, codes) => self.answer(who, tid, codes, false).await,
            Step::AnswerOrEnd(who, tid, codes) => self.answer(who, tid, codes, true).await,
            Step::End(who) => self.end(who).await,
            Step::Report(who, message, codes) => {
                self.report(who, message, codes, self.subject.patience).await
            }
            Step::ReportWithin(who, message, codes, seconds) => {
                self.report(who, message, codes, Duration::from_secs(seconds)).await
            }
            Step::Denied(who, tid, message, code) => {
                if self.relayed() {
                    self.answer(who, tid, &[200, code], false).await?;
                    if self.last.as_ref().and_then(Frame::status) == Some(code) {
                        return Ok(());
                    }
                    return self.report(who, message, &[code], self.subject.patience).await;
                }
                self.answer(who, tid, &[code], false).await
            }
            Step::Silent(who) => self.silent(who).await,
            Step::Holds(what, holds) => match &self.last {
                Some(frame) if holds(frame, &self.names) => Ok(()),
                Some(frame) => Err(fail(format!("{what}: not so in {}", frame.told()))),
                None => Err(fail(format!("{what}: nothing came"))),
            },
            Step::Arrives(who, message, answer) => self.arrives(who, message, answer).await,
            Step::Aborted(who, message) => self.aborted(who, message).await,
            Step::Request(who, method) => {
                let wanted = Method::parse(method);
                let what = format!("a {method} request");
                self.want(who, self.until(), &what, |frame| frame.head.method() == wanted.as_ref()).await
            }
            Step::AnswerOrMethod(who, tid, codes, there, method) => {
                self.answer_or_method(who, tid, codes, there, method).await
            }
            Step::NoRequest(who, method) => {
                let (wanted, until) = (Method::parse(method), Instant::now() + self.subject.grace);
                match self.want(who, until, method, |frame| frame.head.method() == wanted.as_ref()).await {
                    Ok(()) => Err(fail(format!("{method} arrived"))),
                    Err(_) => Ok(()),
                }
            }
            Step::Refused(who, template, tid, codes) => self.refused(who, template, tid, codes).await,
            Step::Untouched { taken } => self.untouched(taken).await,
            Step::Unguessable(bits) => self.unguessable(bits).await,
            Step::Refuses(version) => self.refuses(version).await,
            Step::Named => self.named().await,
        }
    }

    /// Whether others are between us and who is checked.
    fn relayed(&self) -> bool {
        self.subject.path.len() > 1
    }

    pub(super) async fn connect(&self) -> Result<TcpStream, Stop> {
        match timeout(self.subject.patience, TcpStream::connect(self.address)).await {
            Ok(Ok(stream)) => {
                drop(stream.set_nodelay(true));
                Ok(stream)
            }
            Ok(Err(error)) => Err(fail(format!("no connection: {error}"))),
            Err(_) => Err(fail("no connection in time".to_owned())),
        }
    }

    pub(super) fn security(&self, connector: &Arc<Connector>) -> Security {
        let server_name = place::server_name(self.to.hop());
        Security::Client { connector: Arc::clone(connector), server_name }
    }

    pub(super) async fn open(&mut self, who: Who, tls: bool) -> Result<(), Stop> {
        if self.connections.get(&who).is_some_and(|known| !known.is_over()) {
            return Ok(());
        }
        // Whoever may be told a login proves himself in every connection: by his name, or below by a fingerprint.
        let connector = match self.subject.login.is_some() && self.subject.fingerprints.is_empty() {
            true => self.by_name.as_ref().map_err(|why| fail(why.clone()))?,
            false => &self.anybody,
        };
        let security = if tls { self.security(connector) } else { Security::None };
        let stream = self.connect().await?;
        let raw = Raw::run(stream, security, self.handshake_at_most());
        let mut made = Conversation::new(raw);
        if tls {
            let facts = made.secured(self.until()).await.map_err(fail)?;
            // Whoever has another certificate than was promised is told nothing (RFC 8122 §6.2).
            let promised = &self.subject.fingerprints;
            let kept = facts
                .peer_certificates
                .first()
                .is_some_and(|shown| nuncio_msrp::sdp::Fingerprint::verify(promised, shown));
            if !promised.is_empty() && !kept {
                return Err(fail("the certificate has none of the agreed fingerprints".to_owned()));
            }
        }
        self.connections.insert(who, made);
        Ok(())
    }

    /// Fills a template.
    pub(super) fn fill(&mut self, template: &str) -> Vec<u8> {
        let mut out = Vec::new();
        let mut rest = template;
        while let Some(at) = rest.find(['|', '{']) {
            let (before, found) = rest.split_at(at);
            out.extend_from_slice(before.as_bytes());
            if let Some(after) = found.strip_prefix('|') {
                out.extend_from_slice(b"\r\n");
                rest = after;
                continue;
            }
            let (name, after) = found.trim_start_matches('{').split_once('}').unwrap_or((found, ""));
            self.filled(name, &mut out);
            rest = after;
        }
        out.extend_from_slice(rest.as_bytes());
        out
    }

    fn filled(&mut self, name: &str, out: &mut Vec<u8>) {
        let (kind, count) = name.split_once(':').unwrap_or((name, ""));
        let count: usize = count.parse().unwrap_or_default();
        let body = match kind {
            "random" => {
                let mut bytes = vec![0; count];
                OsEntropy.fill(&mut bytes);
                bytes
            }
            "octets" => (0..4).flat_map(|_| 0..=u8::MAX).collect(),
            "long" => vec![b'x'; count],
            // Content whose bytes are compared when it arrives.
            "body" => name.split_once(':').map(|(_, text)| text.as_bytes().to_vec()).unwrap_or_default(),
            "fields" => {
                let fields = (0..count).map(|field| format!("X-Field-{field}: {field}\r\n"));
                out.extend_from_slice(fields.collect::<String>().as_bytes());
                return;
            }
            "filler" => {
                out.extend(std::iter::repeat_n(b'x', count));
                return;
            }
            _ => {
                let value = self.names.entry(name.to_owned()).or_insert_with(|| OsEntropy.token());
                out.extend_from_slice(value.as_bytes());
                return;
            }
        };
        out.extend_from_slice(&body);
        self.body.extend_from_slice(&body);
    }

    fn send(&mut self, who: Who, template: &str, size: usize) -> Result<(), Stop> {
        let bytes = self.fill(template);
        let line: Vec<_> = template.split('|').filter(|line| !line.is_empty()).collect();
        let shown: Vec<_> = line.iter().filter(|line| !line.starts_with("From-Path")).copied().collect();
        self.note(who, '>', &shorter(&shown.join(" | ")));
        let Some(to) = self.connections.get(&who) else { return Err(fail("there is no connection".into())) };
        let mut written = true;
        for piece in bytes.chunks(size.max(1)) {
            written &= to.write(piece.to_vec());
        }
        // Whoever has gone shows that by his answers.
        if !written {
            self.note(who, '<', "(closed before)");
        }
        Ok(())
    }

    /// Waits for a frame of this connection. What is not asked for is kept.
    pub(super) async fn want(
        &mut self,
        who: Who,
        until: Instant,
        what: &str,
        wanted: impl Fn(&Frame) -> bool,
    ) -> Result<(), Stop> {
        let Some(from) = self.connections.get_mut(&who) else {
            return Err(fail("there is no connection".into()));
        };
        if let Some(at) = from.unclaimed.iter().position(&wanted) {
            self.last = from.unclaimed.remove(at);
            return Ok(());
        }
        loop {
            let came = from.next(until).await;
            let line = match &came {
                Some(Came::Frame(frame)) => frame.told(),
                Some(Came::Bad(bad)) => format!("(a malformed frame: {})", bad.fault),
                Some(Came::Garbage) => "(no MSRP)".to_owned(),
                Some(Came::End) => "closes".to_owned(),
                None => "(nothing)".to_owned(),
            };
            self.lines.push(format!("{who:?}< {line}"));
            match came {
                Some(Came::Frame(frame)) if wanted(&frame) => {
                    self.last = Some(frame);
                    return Ok(());
                }
                Some(Came::Frame(frame)) => from.unclaimed.push_back(frame),
                Some(Came::Bad(_)) => {}
                Some(Came::Garbage) => {
                    return Err(fail(format!("{what} was expected; what came is no MSRP")));
                }
                Some(Came::End) => {
                    return Err(fail(format!("{what} was expected; the connection was closed")));
                }
                None => return Err(fail(format!("{what} was expected; nothing came"))),
            }
        }
    }

    async fn answer(&mut self, who: Who, tid: &str, codes: &[u16], or_end: bool) -> Result<(), Stop> {
        let tid = self.names.get(tid).cloned().unwrap_or_default();
        let what = format!("a response ({})", list(codes));
        let response = |frame: &Frame| frame.status().is_some() && frame.head.id.as_str() == tid;
        // A login has taken its own answer already.
        if !self.last.as_ref().is_some_and(&response)
            && let Err(stop) = self.want(who, self.until(), &what, response).await
        {
            let over = self.connections.get(&who).is_some_and(Conversation::is_over);
            return if or_end && over { Ok(()) } else { Err(stop) };
        }
        let code = self.last.as_ref().and_then(Frame::status).unwrap_or_default();
        if codes.contains(&code) {
            return Ok(());
        }
        Err(fail(format!("{} was expected; {code} came", list(codes))))
    }

    async fn answer_or_method(
        &mut self,
        who: Who,
        tid: &str,
        codes: &[u16],
        there: Who,
        method: &str,
    ) -> Result<(), Stop> {
        let wanted = Method::parse(method);
        let until = Instant::now() + self.subject.grace;
        if self.want(there, until, method, |frame| frame.head.method() == wanted.as_ref()).await.is_ok() {
            return Ok(());
        }
        self.answer(who, tid, codes, false).await
    }

    async fn refused(&mut self, who: Who, template: &str, tid: &str, codes: &[u16]) -> Result<(), Stop> {
        let until = self.until();
        loop {
            self.names.remove(tid);
            self.names.remove("m1");
            self.send(who, template, usize::MAX)?;
            match self.answer(who, tid, codes, true).await {
                Err(Stop::Fail(_)) if Instant::now() < until => tokio::time::sleep(TRAP).await,
                other => return other,
            }
        }
    }

    async fn end(&mut self, who: Who) -> Result<(), Stop> {
        let until = self.until();
        let Some(from) = self.connections.get_mut(&who) else { return Ok(()) };
        loop {
            match from.next(until).await {
                Some(Came::End | Came::Garbage) => {
                    self.note(who, '<', "closes");
                    return Ok(());
                }
                Some(Came::Frame(frame)) => {
                    let line = frame.told();
                    self.lines.push(format!("{who:?}< {line}"));
                }
                Some(Came::Bad(_)) => {}
                None => return Err(fail("the connection should have been closed; it stays open".to_owned())),
            }
        }
    }

    async fn report(&mut self, who: Who, message: &str, codes: &[u16], within: Duration) -> Result<(), Stop> {
        let message = self.names.get(message).cloned().unwrap_or_default();
        let what = format!("a REPORT ({})", list(codes));
        let report = |frame: &Frame| {
            frame.head.method() == Some(&Method::Report)
                && frame.head.message_id.is_some_and(|id| id.as_str() == message)
        };
        self.want(who, Instant::now() + within, &what, report).await?;
        let status = self.last.as_ref().and_then(|frame| frame.head.status.as_ref()?.known());
        match status {
            Some(status) if codes.contains(&status.code()) => Ok(()),
            Some(status) => Err(fail(format!("{what} was expected; one with {} came", status.code()))),
            None => Err(fail(format!("{what} was expected; its Status is missing or unknown"))),
        }
    }

    /// Nothing came before the answer to a request that has one. Through a relay, whose responses say nothing of the endpoint, its REPORT is that answer.
    async fn silent(&mut self, who: Who) -> Result<(), Stop> {
        const RELAY: &str = "MSRP {tfence} AUTH|To-Path: {relay}|From-Path: {owner}|-------{tfence}$|";
        const ENDPOINT: &str = "MSRP {tfence} SEND|To-Path: {to}|From-Path: {me}|Message-ID: {mfence}|\
                                Byte-Range: 1-0/0|-------{tfence}$|";
        const BEHIND: &str = "MSRP {tfence} SEND|To-Path: {to}|From-Path: {me}|Message-ID: {mfence}|Byte-Range: 1-5/5|\
                              Success-Report: yes|Content-Type: {type}||fence|-------{tfence}$|";
        self.names.remove("tfence");
        self.names.remove("mfence");
        let fence = match (self.subject.is_relay(), self.relayed()) {
            (true, _) => RELAY,
            (false, false) => ENDPOINT,
            (false, true) => BEHIND,
        };
        self.send(who, fence, usize::MAX)?;
        let fence = self.names.get("tfence").cloned().unwrap_or_default();
        let answered = |frame: &Frame| frame.status().is_some() && frame.head.id.as_str() == fence;
        self.want(who, self.until(), "a response to what was sent behind", answered).await?;
        if self.relayed() {
            self.report(who, "mfence", &[200], self.subject.patience).await?;
        }
        let of_this_case = |frame: &Frame| match frame.head.message_id {
            Some(id) if frame.head.method() == Some(&Method::Report) => {
                self.names.values().any(|known| known == id.as_str())
            }
            _ => true,
        };
        let came =
            self.connections.get(&who).and_then(|from| from.unclaimed.iter().find(|it| of_this_case(it)));
        match came {
            Some(frame) => Err(fail(format!("nothing was expected; {} came", frame.told()))),
            None => Ok(()),
        }
    }

    /// A message arrives whole, in whatever chunks. Each is answered.
    async fn arrives(&mut self, who: Who, message: &str, answer: Option<u16>) -> Result<(), Stop> {
        let id = self.names.get(message).cloned().unwrap_or_default();
        let mut content: Vec<u8> = Vec::new();
        loop {
            let chunk = |frame: &Frame| {
                frame.head.is_send() && frame.head.message_id.is_some_and(|it| it.as_str() == id)
            };
            self.want(who, self.until(), "the message", chunk).await?;
            let Some(frame) = self.last.clone() else { return Err(fail("the message is missing".into())) };
            let offset = frame.head.range.map_or(0, nuncio_msrp::ByteRange::offset);
            let offset = usize::try_from(offset).unwrap_or(usize::MAX);
            if offset > content.len() {
                return Err(fail(format!("bytes {offset} came before those that precede them")));
            }
            content.truncate(offset);
            content.extend_from_slice(&frame.body);
            if let Some(code) = answer {
                self.respond(who, &frame, code);
            }
            match frame.flag {
                Flag::More => {}
                Flag::Abort => return Err(fail("the message was given up on its way".to_owned())),
                Flag::Last => break,
            }
        }
        if content != self.body {
            let (came, sent) = (content.len(), self.body.len());
            return Err(fail(format!("the content has changed: {sent} bytes were sent, {came} came")));
        }
        Ok(())
    }

    fn respond(&mut self, who: Who, frame: &Frame, code: u16) {
        let to = frame.head.from.first().map(ToString::to_string).unwrap_or_default();
        let from = frame.head.to.first().map(ToString::to_string).unwrap_or_default();
        let tid = frame.head.id;
        let response =
            format!("MSRP {tid} {code}\r\nTo-Path: {to}\r\nFrom-Path: {from}\r\n-------{tid}$\r\n");
        self.note(who, '>', &code.to_string());
        if let Some(to) = self.connections.get(&who) {
            to.write(response.into_bytes());
        }
    }

    async fn aborted(&mut self, who: Who, message: &str) -> Result<(), Stop> {
        let id = self.names.get(message).cloned().unwrap_or_default();
        loop {
            let chunk = |frame: &Frame| {
                frame.head.is_send() && frame.head.message_id.is_some_and(|it| it.as_str() == id)
            };
            self.want(who, self.until(), "the end of the message (#)", chunk).await?;
            match self.last.as_ref().map(|frame| frame.flag) {
                Some(Flag::Abort) => return Ok(()),
                Some(Flag::More) => {}
                Some(Flag::Last) | None => return Err(fail("the message ends as if it were whole".into())),
            }
        }
    }

    /// The trap has seen nothing.
    async fn untouched(&mut self, taken: bool) -> Result<(), Stop> {
        let status = self.last.as_ref().and_then(Frame::status);
        let took = !taken && status == Some(200);
        let refused =
            status.is_some_and(|it| it != 200) || self.connections.values().any(Conversation::is_over);
        let until = Instant::now() + if took { self.subject.grace.max(TRAP) } else { self.subject.grace };
        let trap = self.names.get("trap").cloned().unwrap_or_default();
        let fell = loop {
            let Ok(Ok((stream, _))) = tokio::time::timeout_at(until, self.trap.accept()).await else {
                break None;
            };
            let mut raw = Raw::run(stream, Security::None, self.subject.patience);
            match raw.next(self.until()).await {
                Some(Got::Bytes(bytes)) if bytes.windows(trap.len()).any(|it| it == trap.as_bytes()) => {
                    break Some(true);
                }
                // What an earlier case has sent comes late.
                Some(Got::Bytes(bytes)) if bytes.starts_with(b"MSRP ") => {}
                _ => break Some(false),
            }
        };
        match (fell, took) {
            (Some(true), _) => Err(fail(
                "open relay: a request of somebody without credentials was carried to a third party"
                    .to_owned(),
            )),
            (Some(false), _) => {
                Err(fail("somebody without credentials had it connect to a third party".to_owned()))
            }
            (None, true) => {
                Err(fail("it answered 200 to a request for a third party, as an open relay does".to_owned()))
            }
            (None, false) if refused || self.reachable => Ok(()),
            (None, false) => Err(skip(
                "it was not refused, and the relay is not seen to reach the port where it would come",
            )),
        }
    }
}

pub(super) fn fail(why: String) -> Stop {
    Stop::Fail(why)
}

pub(super) fn skip(why: &str) -> Stop {
    Stop::Skip(why.to_owned())
}

fn list(codes: &[u16]) -> String {
    let codes: Vec<_> = codes.iter().map(u16::to_string).collect();
    codes.join(" or ")
}

/// A URI like this one, with a session id of its own.
pub(super) fn session(bare: &str) -> String {
    match bare.split_once(';') {
        Some((before, after)) => format!("{before}/{};{after}", OsEntropy.token()),
        None => bare.to_owned(),
    }
}

/// For people.
fn shorter(text: &str) -> String {
    const MOST: usize = 160;
    match text.char_indices().nth(MOST) {
        Some((at, _)) => format!("{}…", text.get(..at).unwrap_or_default()),
        None => text.to_owned(),
    }
}
