//! A session as its user sees it: what is sent, what comes, how it ends.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use nuncio_msrp::endpoint::{Body as MachineBody, Command, Failure, Message as MachineMessage, SessionId};
use nuncio_msrp::head::Field;
use nuncio_msrp::imdn::{Asked, Request};
use nuncio_msrp::{FailureReport, Ident, Status, Uri};
use nuncio_net::OsEntropy;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval};

use crate::Inner;
use crate::connection::Commands;
use crate::error::{Broken, ConnectError, End, SendError};
use crate::relay::Route;
use crate::store::Body;
use crate::wrapped::Notified;

/// Messages that may wait to be read. Beyond that the peer is slowed, with all that shares its connection.
const INBOX: usize = 1_024;
/// Messages of a session of which a notification may come yet.
const ASKED: usize = 1_024;
/// So much of a stream is read and handed to the connection at once.
const PIECE: usize = 64 * 1024;

/// What became of a message of ours.
#[derive(Debug)]
pub(crate) enum Outcome {
    Sent,
    Delivered,
    Failed(Failure),
}

#[derive(Clone, Debug)]
enum Phase {
    /// The peer has not come yet, or we have not got there.
    Waiting,
    Bound(Commands),
    Ended(End),
}

struct Waiting {
    report: bool,
    tell: oneshot::Sender<Outcome>,
}

/// What the user's handles, the connection and the endpoint share of a session.
pub(crate) struct Shared {
    pub(crate) id: SessionId,
    pub(crate) local: Uri,
    phase: watch::Sender<Phase>,
    waiting: Mutex<HashMap<Ident, Waiting>>,
    /// Messages of ours that want to know more than MSRP says.
    pub(crate) asked: Mutex<Asked<Ident>>,
    inbox: Mutex<Option<mpsc::Sender<Incoming>>>,
    /// It goes through a relay of ours, by a [`Route`].
    routed: AtomicBool,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("id", &self.id).field("local", &self.local).finish_non_exhaustive()
    }
}

impl Shared {
    pub(crate) fn new(id: SessionId, local: Uri) -> (Arc<Self>, mpsc::Receiver<Incoming>) {
        let (inbox, read) = mpsc::channel(INBOX);
        let shared = Self {
            id,
            local,
            phase: watch::Sender::new(Phase::Waiting),
            waiting: Mutex::default(),
            asked: Mutex::new(Asked::new(ASKED)),
            inbox: Mutex::new(Some(inbox)),
            routed: AtomicBool::new(false),
        };
        (Arc::new(shared), read)
    }

    /// From now on its route says when its relay is gone.
    pub(crate) fn route(&self) {
        self.routed.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_routed(&self) -> bool {
        self.routed.load(Ordering::Relaxed)
    }

    /// Whether the peer is there.
    pub(crate) fn is_bound(&self) -> bool {
        matches!(*self.phase.borrow(), Phase::Bound(_))
    }

    /// The peer is there. False if the session is over already: then the connection has to end it.
    pub(crate) fn bound(&self, commands: &Commands) -> bool {
        self.phase.send_if_modified(|phase| {
            let good = !matches!(phase, Phase::Ended(_));
            if good {
                *phase = Phase::Bound(commands.clone());
            }
            good
        })
    }

    /// Nobody uses it any more. Gives the connection that has to end it; without one it is over.
    fn left(&self) -> Option<Commands> {
        let mut on = None;
        self.phase.send_if_modified(|phase| {
            match phase {
                Phase::Bound(commands) => on = Some(commands.clone()),
                Phase::Waiting => *phase = Phase::Ended(End::Local),
                Phase::Ended(_) => {}
            }
            matches!(phase, Phase::Ended(_))
        });
        if on.is_none() {
            self.end(End::Local);
        }
        on
    }

    /// It is over; the first reason counts.
    pub(crate) fn end(&self, end: End) {
        self.phase.send_if_modified(|phase| {
            let news = !matches!(phase, Phase::Ended(_));
            if news {
                *phase = Phase::Ended(end);
            }
            news
        });
        self.inbox.lock().take();
        self.waiting.lock().clear();
    }

    pub(crate) async fn deliver(&self, incoming: Incoming) {
        let inbox = self.inbox.lock().clone();
        if let Some(inbox) = inbox {
            // Nobody reads any more: it is dropped, and with it its file.
            drop(inbox.send(incoming).await);
        }
    }

    pub(crate) fn answered(&self, message: Ident, outcome: Outcome) {
        let mut all = self.waiting.lock();
        // With a report to come, what the next hop says is not the end.
        if matches!(outcome, Outcome::Sent) && all.get(&message).is_some_and(|waiting| waiting.report) {
            return;
        }
        if let Some(waiting) = all.remove(&message) {
            drop(waiting.tell.send(outcome));
        }
    }

    /// Waits until the peer is there.
    pub(crate) async fn ready(&self) -> Result<Commands, End> {
        let mut phase = self.phase.subscribe();
        let found = phase.wait_for(|phase| !matches!(phase, Phase::Waiting)).await;
        match found.as_deref() {
            Ok(Phase::Bound(commands)) => Ok(commands.clone()),
            Ok(Phase::Ended(end)) => Err(end.clone()),
            // The value that would change is our own.
            Ok(Phase::Waiting) | Err(_) => Err(End::Local),
        }
    }

    async fn over(&self) -> End {
        let mut phase = self.phase.subscribe();
        let found = phase.wait_for(|phase| matches!(phase, Phase::Ended(_))).await;
        match found.as_deref() {
            Ok(Phase::Ended(end)) => end.clone(),
            _ => End::Local,
        }
    }
}

/// Something that came.
#[derive(Debug)]
pub enum Incoming {
    /// A whole message.
    Message(Message),
    /// A message broke off; nothing of it is kept.
    Broken(Broken),
    /// What the peer tells of a message of ours that asked for that ([`Outgoing::inside`]).
    Notification(Notified),
}

/// A message that has come.
#[derive(Debug)]
pub struct Message {
    /// Its identifier.
    pub id: Ident,
    /// Its media type.
    pub content_type: Box<str>,
    /// MIME fields and extensions.
    pub fields: Vec<Field>,
    /// Whether its sender wants to know that it arrived.
    pub success_report: bool,
    /// Its content.
    pub body: Body,
    /// As long as it was when it came.
    pub(crate) length: u64,
    pub(crate) session: SessionId,
    pub(crate) commands: Commands,
}

impl Message {
    /// Its content as text, if it is text in UTF-8 and in memory.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        let text = self.content_type.get(..5).is_some_and(|kind| kind.eq_ignore_ascii_case("text/"));
        self.body.memory().filter(|_| text).and_then(|bytes| std::str::from_utf8(bytes).ok())
    }

    /// Reports to its sender what became of it, as far as he wants to know: with [`nuncio_msrp::endpoint::Reports::Host`] success is told by nobody
    /// else. Gives what can still be done with it: its content.
    #[must_use]
    pub fn receipt(&self) -> Receipt {
        Receipt { session: self.session, id: self.id, length: self.length, commands: self.commands.clone() }
    }
}

/// Tells the sender of a message what became of it, when its content may have been given away already.
#[derive(Debug)]
pub struct Receipt {
    session: SessionId,
    id: Ident,
    length: u64,
    commands: Commands,
}

impl Receipt {
    /// Sends the REPORT. Once is enough, and with automatic reports success has been told.
    pub fn report(self, status: Status) {
        let (session, message, length) = (self.session, self.id, self.length);
        self.commands.urgent(Command::Report { session, message, length, status });
    }
}

pub(crate) enum Source {
    Bytes(Bytes),
    File(File, u64),
    Reader(Box<dyn AsyncRead + Send + Unpin>, Option<u64>),
}

/// A message to be sent.
pub struct Outgoing {
    pub(crate) content_type: Box<str>,
    pub(crate) fields: Vec<Field>,
    /// What stands before the content.
    pub(crate) prefix: Bytes,
    pub(crate) asks: Option<Request>,
    pub(crate) source: Source,
    success_report: bool,
    failure_report: FailureReport,
}

impl std::fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outgoing").field("content_type", &self.content_type).finish_non_exhaustive()
    }
}

impl Outgoing {
    fn new(content_type: &str, source: Source) -> Self {
        Self {
            content_type: content_type.into(),
            fields: Vec::new(),
            prefix: Bytes::new(),
            asks: None,
            source,
            success_report: true,
            failure_report: FailureReport::Yes,
        }
    }

    /// A text, as `text/plain`.
    #[must_use]
    pub fn text(text: impl Into<String>) -> Self {
        Self::bytes("text/plain", text.into().into_bytes())
    }

    /// Bytes of this media type.
    #[must_use]
    pub fn bytes(content_type: &str, bytes: impl Into<Bytes>) -> Self {
        Self::new(content_type, Source::Bytes(bytes.into()))
    }

    /// A file of this media type, which is read while it is sent.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn file(content_type: &str, path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let length = file.metadata()?.len();
        Ok(Self::new(content_type, Source::File(file, length)))
    }

    /// What comes of a reader, with its length if that is known.
    #[must_use]
    pub fn reader(
        content_type: &str,
        length: Option<u64>,
        reader: impl AsyncRead + Send + Unpin + 'static,
    ) -> Self {
        Self::new(content_type, Source::Reader(Box::new(reader), length))
    }

    /// With a field of MIME or of an extension.
    #[must_use]
    pub fn field(mut self, field: Field) -> Self {
        self.fields.push(field);
        self
    }

    /// Without asking the peer for a report of success: sent is when the next hop has it.
    #[must_use]
    pub const fn unreported(mut self) -> Self {
        self.success_report = false;
        self
    }

    /// When to hear of failure (RFC 4975 §7.1.4); `Yes` unless this says otherwise.
    #[must_use]
    pub const fn failure_report(mut self, failure_report: FailureReport) -> Self {
        self.failure_report = failure_report;
        self
    }
}

/// What is known of a message that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// The message.
    pub id: Ident,
    /// The peer itself has said that it has all of it; else the next hop has.
    pub delivered: bool,
}

/// Sends in a session. Clones send beside each other, piece by piece in turns.
#[derive(Clone, Debug)]
pub struct Sender {
    shared: Arc<Shared>,
}

/// Gives a message up when nobody waits for it any more.
struct Giving<'a> {
    commands: &'a Commands,
    shared: &'a Arc<Shared>,
    message: Ident,
    done: bool,
}

impl Drop for Giving<'_> {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        self.shared.waiting.lock().remove(&self.message);
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            // Behind what is on its way already.
            let (commands, session, message) = (self.commands.clone(), self.shared.id, self.message);
            runtime.spawn(async move { commands.send(Command::Abort { session, message }).await });
        }
    }
}

impl Sender {
    /// Sends a message and waits until it is known what became of it: with a report (the default) until the peer says that it has all of it, else until
    /// the next hop has taken all of it. Waits for the peer if the session is not bound yet. When the future is dropped the message is given up (`#`).
    ///
    /// # Errors
    /// See [`SendError`].
    pub async fn send(&self, message: Outgoing) -> Result<Sent, SendError> {
        let commands = self.shared.ready().await?;
        let Outgoing { content_type, fields, prefix, asks, source, success_report, failure_report } = message;
        let (session, id) = (self.shared.id, Ident::random(&OsEntropy));
        let (source, prefix) = match source {
            Source::Bytes(bytes) if !prefix.is_empty() => {
                (Source::Bytes([prefix, bytes].concat().into()), Bytes::new())
            }
            source => (source, prefix),
        };
        let before = prefix.len() as u64;
        if let Some(request) = asks {
            self.shared.asked.lock().ask(request, id);
        }
        let (tell, mut told) = oneshot::channel();
        self.shared.waiting.lock().insert(id, Waiting { report: success_report, tell });
        if let Phase::Ended(end) = &*self.shared.phase.borrow() {
            // Nobody would take it out again.
            self.shared.waiting.lock().remove(&id);
            return Err(end.clone().into());
        }
        let body = match &source {
            Source::Bytes(bytes) if bytes.len() <= PIECE => MachineBody::Whole(bytes.clone()),
            Source::Bytes(bytes) => MachineBody::Stream(Some(bytes.len() as u64)),
            Source::File(_, length) => MachineBody::Stream(Some(length.saturating_add(before))),
            Source::Reader(_, length) => {
                MachineBody::Stream(length.map(|length| length.saturating_add(before)))
            }
        };
        let message =
            MachineMessage { session, id, content_type, fields, body, success_report, failure_report };
        let mut giving = Giving { commands: &commands, shared: &self.shared, message: id, done: false };
        commands.send(Command::Send(message)).await;
        let begun = match prefix.is_empty() {
            true => Ok(()),
            false => self.piece(&commands, id, prefix, false, &mut told).await,
        };
        let streamed = match (begun, source) {
            (Err(stopped), _) => Err(stopped),
            (Ok(()), Source::Bytes(bytes)) if bytes.len() <= PIECE => Ok(()),
            (Ok(()), Source::Bytes(bytes)) => self.pieces(&commands, id, bytes, &mut told).await,
            (Ok(()), Source::File(file, length)) => {
                self.stream_file(&commands, id, file, length, &mut told).await
            }
            (Ok(()), Source::Reader(reader, length)) => {
                self.stream(&commands, id, reader, length, &mut told).await
            }
        };
        let outcome = match streamed {
            Ok(()) => told.await,
            Err(Stopped::Known(outcome)) => outcome,
            Err(Stopped::Source(error)) => return Err(error.into()),
        };
        giving.done = true;
        match outcome {
            Ok(Outcome::Sent) => Ok(Sent { id, delivered: false }),
            Ok(Outcome::Delivered) => Ok(Sent { id, delivered: true }),
            Ok(Outcome::Failed(failure)) => match SendError::of(failure) {
                Some(error) => Err(error),
                None => Err(self.shared.over().await.into()),
            },
            // Whoever would have told is gone with the session.
            Err(_) => Err(self.shared.over().await.into()),
        }
    }

    async fn pieces(
        &self,
        commands: &Commands,
        id: Ident,
        mut bytes: Bytes,
        told: &mut oneshot::Receiver<Outcome>,
    ) -> Result<(), Stopped> {
        while !bytes.is_empty() {
            let piece = bytes.split_to(PIECE.min(bytes.len()));
            self.piece(commands, id, piece, bytes.is_empty(), told).await?;
        }
        Ok(())
    }

    async fn stream_file(
        &self,
        commands: &Commands,
        id: Ident,
        file: File,
        length: u64,
        told: &mut oneshot::Receiver<Outcome>,
    ) -> Result<(), Stopped> {
        let mut file = file.take(length);
        let mut left = length;
        while left > 0 {
            let (back, piece) = spawn_blocking(move || {
                let mut piece = vec![0; PIECE];
                let mut filled = 0;
                while let Some(rest) = piece.get_mut(filled..).filter(|rest| !rest.is_empty()) {
                    match file.read(rest) {
                        Ok(0) => break,
                        Ok(count) => filled += count,
                        Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                        Err(error) => return (file, Err(error)),
                    }
                }
                piece.truncate(filled);
                (file, Ok(piece))
            })
            .await
            .map_err(io::Error::other)?;
            file = back;
            let piece = piece?;
            left = left.saturating_sub(piece.len() as u64);
            if piece.is_empty() {
                // It has become shorter than it said.
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
            self.piece(commands, id, piece.into(), left == 0, told).await?;
        }
        if length == 0 {
            self.piece(commands, id, Bytes::new(), true, told).await?;
        }
        Ok(())
    }

    async fn stream(
        &self,
        commands: &Commands,
        id: Ident,
        mut reader: Box<dyn AsyncRead + Send + Unpin>,
        length: Option<u64>,
        told: &mut oneshot::Receiver<Outcome>,
    ) -> Result<(), Stopped> {
        let mut count = 0_u64;
        loop {
            let mut piece = Vec::with_capacity(PIECE);
            let mut part = (&mut reader).take(PIECE as u64);
            let read = tokio::select! {
                biased;
                outcome = &mut *told => return Err(Stopped::Known(outcome)),
                read = part.read_to_end(&mut piece) => read?,
            };
            count = count.saturating_add(read as u64);
            if read == 0 {
                if length.is_some_and(|length| length != count) {
                    return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
                }
                return self.piece(commands, id, Bytes::new(), true, told).await;
            }
            self.piece(commands, id, piece.into(), false, told).await?;
        }
    }

    /// Hands a piece to the connection when its turn has come; unless it is known meanwhile that nobody wants it.
    async fn piece(
        &self,
        commands: &Commands,
        message: Ident,
        bytes: Bytes,
        last: bool,
        told: &mut oneshot::Receiver<Outcome>,
    ) -> Result<(), Stopped> {
        let session = self.shared.id;
        tokio::select! {
            biased;
            outcome = &mut *told => Err(Stopped::Known(outcome)),
            _ = commands.send(Command::Data { session, message, bytes, last }) => Ok(()),
        }
    }
}

/// Why no more of a message is sent.
enum Stopped {
    Known(Result<Outcome, oneshot::error::RecvError>),
    Source(io::Error),
}

impl From<io::Error> for Stopped {
    fn from(error: io::Error) -> Self {
        Self::Source(error)
    }
}

/// A session. It ends when this value is dropped; what was not answered until then is not waited for.
#[derive(Debug)]
pub struct Session {
    inner: Arc<Inner>,
    shared: Arc<Shared>,
    inbox: mpsc::Receiver<Incoming>,
    /// Kept as long as the session.
    route: Option<Route>,
}

impl Session {
    pub(crate) fn new(inner: &Arc<Inner>, shared: Arc<Shared>, inbox: mpsc::Receiver<Incoming>) -> Self {
        if let Some(every) = inner.config.keep_alive {
            let shared = Arc::clone(&shared);
            tokio::spawn(async move {
                let Ok(commands) = shared.ready().await else { return };
                let mut ticks = interval(every);
                ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
                ticks.tick().await;
                loop {
                    tokio::select! {
                        _ = shared.over() => return,
                        _ = ticks.tick() => {
                            commands.send(Command::Send(alive(shared.id))).await;
                        }
                    }
                }
            });
        }
        Self { inner: Arc::clone(inner), shared, inbox, route: None }
    }

    pub(crate) fn through(mut self, route: Option<Route>) -> Self {
        if let Some(route) = &route {
            route.serve(&self.shared);
        }
        self.route = route;
        self
    }

    pub(crate) const fn inner(&self) -> &Arc<Inner> {
        &self.inner
    }

    /// Waits until the peer is there, or we are: the session is bound to a connection.
    ///
    /// # Errors
    /// It ended before.
    pub async fn ready(&self) -> Result<(), End> {
        self.shared.ready().await.map(drop)
    }

    /// [`Session::ready`], with the place that it was about.
    pub(crate) async fn opened(self, place: String) -> Result<Self, ConnectError> {
        match self.ready().await {
            Ok(()) => Ok(self),
            Err(end) => Err(ConnectError::Ended { place, end }),
        }
    }

    /// The way through relays of ours, if it has one.
    #[must_use]
    pub const fn route(&self) -> Option<&Route> {
        self.route.as_ref()
    }

    /// Our URI in it.
    #[must_use]
    pub fn local(&self) -> &Uri {
        &self.shared.local
    }

    /// Sends in it, also beside reading it.
    #[must_use]
    pub fn sender(&self) -> Sender {
        Sender { shared: Arc::clone(&self.shared) }
    }

    /// Sends a message: [`Sender::send`].
    ///
    /// # Errors
    /// See [`SendError`].
    pub async fn send(&self, message: Outgoing) -> Result<Sent, SendError> {
        self.sender().send(message).await
    }

    /// The next thing that comes; none when the session is over, and [`Session::over`] says why. Cancel-safe. What nobody reads slows its sender, and
    /// whoever shares his connection.
    pub async fn next(&mut self) -> Option<Incoming> {
        self.inbox.recv().await
    }

    /// Waits for its end.
    pub async fn over(&self) -> End {
        self.shared.over().await
    }
}

/// A request without content (RFC 4975 §7.1: any SEND keeps a connection alive).
fn alive(session: SessionId) -> MachineMessage {
    MachineMessage {
        session,
        id: Ident::random(&OsEntropy),
        content_type: "".into(),
        fields: Vec::new(),
        body: MachineBody::None,
        success_report: false,
        failure_report: FailureReport::Yes,
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Some(commands) = self.shared.left() {
            commands.urgent(Command::End(self.shared.id));
        }
        self.inner.forget(self.shared.id);
    }
}

#[cfg(test)]
mod tests {
    use nuncio_msrp::Transport;

    use super::*;

    fn shared() -> Arc<Shared> {
        let uri = Uri::of_session(nuncio_msrp::Scheme::Msrps, "a.invalid", 9, &Transport::Tcp, &OsEntropy);
        Shared::new(SessionId(1), uri.expect("a URI")).0
    }

    /// RFC 4975 §5.4: a session that was left while its peer came is not kept alive for nobody; its connection is told to end it, whoever was first.
    #[tokio::test]
    async fn a_session_that_was_left_is_not_bound() {
        let (commands, _heard) = Commands::unheard();
        let left_first = shared();
        assert!(left_first.left().is_none());
        assert!(!left_first.bound(&commands));
        assert_eq!(left_first.ready().await.err(), Some(End::Local));
        assert_eq!(left_first.over().await, End::Local);

        let bound_first = shared();
        assert!(bound_first.bound(&commands));
        assert!(bound_first.left().is_some(), "the connection ends it");
        bound_first.end(End::Gone);
        assert!(bound_first.left().is_none() && !bound_first.bound(&commands));
        assert_eq!(bound_first.over().await, End::Gone, "the first reason counts");
    }
}
