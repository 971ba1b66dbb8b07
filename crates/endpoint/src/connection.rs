//! One connection: a task that runs the machine, and its host, which knows the sessions and where their messages go.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use nuncio_msrp::endpoint::{
    Answer, Command, ConnectionId, Endpoint as Machine, Event, Failure, Granted, Incomplete, LoginError,
    Question, Reports, SessionEnd, SessionId,
};
use nuncio_msrp::head::Field;
use nuncio_msrp::sdp::Fingerprint;
use nuncio_msrp::uri::Hop;
use nuncio_msrp::{Ident, Scheme, Status};
use nuncio_net::listen::{Counted, Incoming, Permit};
use nuncio_net::{HandshakeFailure, Options, OsEntropy, Security, Settings};
use nuncio_sansio::Host;
use parking_lot::Mutex;
use tokio::net::TcpStream;
use tokio::sync::{OwnedMutexGuard, mpsc, oneshot};

use crate::Inner;
use crate::error::{Broken, ConnectError, End, Lost, Why};
use crate::place;
use crate::session::{Incoming as Came, Message, Outcome, Shared};
use crate::store::Store;

/// Pieces that may wait for the connection: who sends more waits for his turn, first come, first served.
const QUEUE: usize = 4;

/// What is left of a connection when it is over; and who waits for a relay's answer.
#[derive(Debug, Default)]
pub(crate) struct Life {
    lost: OnceLock<Lost>,
    handshake: Arc<OnceLock<HandshakeFailure>>,
    login: Mutex<Option<LoggingIn>>,
}

/// A login that is under way. Its turn is over when it is answered, not when nobody waits for the answer any more: else that would be taken for the next
/// login's.
#[derive(Debug)]
struct LoggingIn {
    tell: oneshot::Sender<Result<Granted, LoginError>>,
    _turn: OwnedMutexGuard<()>,
}

impl Life {
    /// Why the connection is over, or will be.
    pub(crate) fn lost(&self) -> Lost {
        match self.handshake.get() {
            Some(failure) => Lost::Handshake(failure.why.clone()),
            None => self.lost.get().cloned().unwrap_or(Lost::Cut),
        }
    }
}

/// Speaks to a connection.
#[derive(Clone, Debug)]
pub(crate) struct Commands {
    pub(crate) id: ConnectionId,
    urgent: mpsc::UnboundedSender<Command>,
    data: mpsc::Sender<Command>,
    pub(crate) life: Arc<Life>,
    /// One login at a time.
    turn: Arc<tokio::sync::Mutex<()>>,
}

impl Commands {
    /// What goes before everything that waits. False if the connection is over.
    pub(crate) fn urgent(&self, command: Command) -> bool {
        self.urgent.send(command).is_ok()
    }

    /// What takes its turn, and waits for it. False if the connection is over.
    pub(crate) async fn send(&self, command: Command) -> bool {
        self.data.send(command).await.is_ok()
    }

    pub(crate) fn is_over(&self) -> bool {
        self.urgent.is_closed()
    }

    /// Waits until the connection is over.
    pub(crate) async fn over(&self) {
        self.urgent.closed().await;
    }

    /// Commands that nobody takes but the test.
    #[cfg(test)]
    pub(crate) fn unheard() -> (Self, mpsc::UnboundedReceiver<Command>) {
        let (urgent, heard) = mpsc::unbounded_channel();
        let (data, _) = mpsc::channel(QUEUE);
        (Self { id: ConnectionId(0), urgent, data, life: Arc::default(), turn: Arc::default() }, heard)
    }

    /// Logs in at a relay, when nobody else does. May be cancelled.
    pub(crate) async fn log_in(
        &self,
        login: nuncio_msrp::endpoint::Login,
    ) -> Result<Granted, Option<LoginError>> {
        let turn = Arc::clone(&self.turn).lock_owned().await;
        let (tell, told) = oneshot::channel();
        *self.life.login.lock() = Some(LoggingIn { tell, _turn: turn });
        if !self.urgent(Command::Auth(login)) {
            self.life.login.lock().take();
            return Err(None);
        }
        match told.await {
            Ok(Err(LoginError::Connection)) | Err(_) => Err(None),
            Ok(answer) => answer.map_err(Some),
        }
    }
}

/// Runs a connection that was accepted.
pub(crate) fn accepted(inner: &Arc<Inner>, incoming: Incoming, tls: bool) {
    let Incoming { stream, peer, permit, counted, .. } = incoming;
    let security = if tls { Security::Server(Arc::clone(&inner.hosts)) } else { Security::None };
    let _commands = start(inner, stream, peer, security, Vec::new(), false, Some((permit, counted)));
}

/// Connects to a hop. TLS is judged by fingerprints if there are any, else by the name of the hop (S1-04, S1-08).
pub(crate) async fn connect(
    inner: &Arc<Inner>,
    hop: &Hop,
    promised: Vec<Fingerprint>,
    kept: bool,
) -> Result<Commands, ConnectError> {
    let stream = Box::pin(place::connect(hop, inner.config.connect)).await?;
    let peer = stream.peer_addr().map_err(|source| ConnectError::Tcp { place: place::place(hop), source })?;
    let security = match hop.scheme {
        Scheme::Msrp => Security::None,
        Scheme::Msrps => Security::Client {
            connector: if promised.is_empty() { inner.by_name()? } else { Arc::clone(&inner.by_fingerprint) },
            server_name: place::server_name(hop),
        },
    };
    Ok(start(inner, stream, peer, security, promised, kept, None))
}

/// The place of a connection that was accepted.
type Held = (Permit, Counted);

fn start(
    inner: &Arc<Inner>,
    stream: TcpStream,
    peer: SocketAddr,
    security: Security,
    promised: Vec<Fingerprint>,
    kept: bool,
    held: Option<Held>,
) -> Commands {
    let (urgent, urgent_here) = mpsc::unbounded_channel();
    let (data, data_here) = mpsc::channel(QUEUE);
    let life = Arc::new(Life::default());
    let id = inner.next_connection();
    let commands = Commands { id, urgent, data, life: Arc::clone(&life), turn: Arc::default() };
    let settings = Settings::new(inner.clock, Arc::clone(&inner.metrics));
    let mut options = Options::new(Arc::new(Settings { handshake: inner.config.connect, ..settings }));
    options.peer = Some(peer);
    options.direct_tls = !matches!(security, Security::None);
    options.security = security;
    options.handshake_failure = Some(Arc::clone(&life.handshake));
    let machine =
        Machine::new(Arc::clone(&inner.machine), Arc::new(OsEntropy), inner.clock.now()).promised(promised);
    let host = Connection {
        inner: Arc::clone(inner),
        commands: commands.clone(),
        urgent: urgent_here,
        data: data_here,
        receiving: HashMap::new(),
        sessions: HashMap::new(),
        lost_with_it: Vec::new(),
        kept,
        held,
    };
    inner.connections.send_modify(|count| *count += 1);
    let inner = Arc::clone(inner);
    tokio::spawn(async move {
        let _ended = Box::pin(nuncio_net::drive(stream, machine, host, options)).await;
        inner.connections.send_modify(|count| *count = count.saturating_sub(1));
    });
    commands
}

/// A message that comes.
struct Receiving {
    content_type: Box<str>,
    fields: Vec<Field>,
    success_report: bool,
    store: Store,
    /// Why it could not be stored.
    broken: Option<ErrorKind>,
}

/// The host of one connection.
struct Connection {
    inner: Arc<Inner>,
    commands: Commands,
    urgent: mpsc::UnboundedReceiver<Command>,
    data: mpsc::Receiver<Command>,
    receiving: HashMap<(SessionId, Ident), Receiving>,
    sessions: HashMap<SessionId, Arc<Shared>>,
    /// Sessions that ended with the connection, and are told when it is known why.
    lost_with_it: Vec<Arc<Shared>>,
    /// The connection outlives its sessions: a relay's.
    kept: bool,
    held: Option<Held>,
}

impl Connection {
    fn close_if_idle(&self) {
        if !self.kept && self.sessions.is_empty() && self.inner.retire(self.commands.id) {
            self.commands.urgent(Command::Close);
        }
    }

    async fn arrived(&mut self, session: SessionId, id: Ident, length: u64) {
        let Some(receiving) = self.receiving.remove(&(session, id)) else { return };
        let Some(shared) = self.sessions.get(&session).cloned() else { return };
        let Receiving { content_type, fields, success_report, store, .. } = receiving;
        let came = store.came;
        let incoming = match store.finish(length).await {
            Ok(body) => match shared.notified(&content_type, &body).await {
                Some(notified) => {
                    if self.inner.config.reports == Reports::Host {
                        // Nobody else sees it.
                        let status = Status::OK;
                        self.commands.urgent(Command::Report { session, message: id, length, status });
                    }
                    Came::Notification(notified)
                }
                None => Came::Message(Message {
                    id,
                    content_type,
                    fields,
                    success_report,
                    body,
                    length,
                    session,
                    commands: self.commands.clone(),
                }),
            },
            Err(error) => {
                tracing::warn!(%error, "a message cannot be stored");
                self.commands.urgent(Command::Report { session, message: id, length, status: Status::STOP });
                Came::Broken(Broken { id, content_type, came, why: Why::Store(error.kind()) })
            }
        };
        shared.deliver(incoming).await;
    }

    async fn broke(&mut self, session: SessionId, id: Ident, why: Incomplete) {
        let Some(receiving) = self.receiving.remove(&(session, id)) else { return };
        let why = match (receiving.broken, why) {
            (Some(kind), _) => Why::Store(kind),
            (None, Incomplete::Sender) => Why::Sender,
            (None, Incomplete::Silence) => Why::Silence,
            (None, Incomplete::Refused(status)) => Why::Refused(status),
            (None, Incomplete::Session) => Why::Session,
        };
        let came = receiving.store.came;
        // The temporary file is gone before anybody hears of it.
        let content_type = receiving.content_type;
        drop(receiving.store);
        if let Some(shared) = self.sessions.get(&session).cloned() {
            shared.deliver(Came::Broken(Broken { id, content_type, came, why })).await;
        }
    }

    async fn stored(&mut self, session: SessionId, id: Ident, offset: u64, bytes: &[u8]) {
        let Some(receiving) = self.receiving.get_mut(&(session, id)) else { return };
        if receiving.broken.is_some() {
            return;
        }
        if let Err(error) = receiving.store.write(offset, bytes).await {
            tracing::warn!(%error, "a message cannot be stored");
            receiving.broken = Some(error.kind());
            self.commands.urgent(Command::Refuse { session, message: id, status: Status::STOP });
        }
    }

    fn ended(&mut self, session: SessionId, why: SessionEnd) {
        let Some(shared) = self.sessions.remove(&session) else {
            self.close_if_idle();
            return;
        };
        self.inner.forget(session);
        let end = match why {
            SessionEnd::Connection => {
                self.lost_with_it.push(shared);
                return;
            }
            SessionEnd::Host => End::Local,
            SessionEnd::Gone => End::Gone,
            SessionEnd::Elsewhere => End::Elsewhere,
            SessionEnd::Failed(status) => End::Failed(status),
        };
        shared.end(end);
        self.close_if_idle();
    }
}

impl Host<Machine> for Connection {
    async fn ask(&mut self, question: Question) -> Answer {
        let Question::Bind { to, from, secured, certificate } = question;
        Answer::Bind(self.inner.bind(self.commands.id, &to, &from, secured, certificate.as_ref()))
    }

    async fn event(&mut self, event: Event) {
        match event {
            Event::Bound(id) => {
                if let Some((permit, _)) = &self.held {
                    permit.authenticated();
                }
                match self.inner.session(id) {
                    Some(shared) if shared.bound(&self.commands) => drop(self.sessions.insert(id, shared)),
                    // Its user has gone meanwhile.
                    Some(_) | None => drop(self.commands.urgent(Command::End(id))),
                }
            }
            Event::Incoming { session, message, content_type, fields, success_report, .. } => {
                let store = self.inner.store();
                let receiving = Receiving { content_type, fields, success_report, store, broken: None };
                self.receiving.insert((session, message), receiving);
            }
            Event::Data { session, message, offset, bytes } => {
                self.stored(session, message, offset, &bytes).await;
            }
            Event::Complete { session, message, length } => self.arrived(session, message, length).await,
            Event::Incomplete { session, message, why } => self.broke(session, message, why).await,
            Event::Sent { session, message } => {
                if let Some(shared) = self.sessions.get(&session) {
                    shared.answered(message, Outcome::Sent);
                }
            }
            Event::Delivered { session, message } => {
                if let Some(shared) = self.sessions.get(&session) {
                    shared.answered(message, Outcome::Delivered);
                }
            }
            Event::Failed { session, message, why } => match self.sessions.get(&session) {
                Some(shared) => shared.answered(message, Outcome::Failed(why)),
                None => {
                    // It was for a session that had gone before the command came.
                    if let Some(shared) = self.inner.session(session) {
                        shared.answered(message, Outcome::Failed(Failure::Session));
                    }
                }
            },
            Event::Ended { session, why } => self.ended(session, why),
            Event::Auth(answer) => {
                let login = self.commands.life.login.lock().take();
                if let Some(LoggingIn { tell, _turn }) = login {
                    drop(tell.send(answer));
                }
            }
            Event::Closed(why) => drop(self.commands.life.lost.set(why.into())),
            Event::Alive(_) | Event::Duplicate { .. } | Event::Progress { .. } => {}
        }
    }

    async fn command(&mut self) -> Command {
        tokio::select! {
            biased;
            Some(command) = self.urgent.recv() => command,
            Some(command) = self.data.recv() => command,
        }
    }

    async fn closed(&mut self) {
        self.urgent.close();
        self.data.close();
        drop(self.commands.life.login.lock().take());
        let lost = self.commands.life.lost();
        self.receiving.clear();
        let bound = self.sessions.drain().map(|(_, shared)| shared);
        let claimed: Vec<_> = self.inner.release(self.commands.id);
        for shared in bound.chain(self.lost_with_it.drain(..)).chain(claimed) {
            // What goes through a relay of ours is ended by its route, which knows what else is over, and why.
            if !shared.is_routed() {
                shared.end(End::Connection(lost.clone()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use nuncio_msrp::endpoint::Login;
    use nuncio_msrp::{Path, Uri};

    use super::*;

    fn login(name: &str) -> Login {
        let relay = Path::parse("msrps://relay.example:2855;tcp", 1).expect("a path");
        let from = Uri::parse("msrps://client.invalid:9/abcdefgh;tcp").expect("a URI");
        let username = name.to_owned();
        Login { to: relay, from, username, password: String::new().into(), expires: None, md5: false }
    }

    fn answer(commands: &Commands, answer: Result<Granted, LoginError>) {
        let login = commands.life.login.lock().take().expect("somebody logs in");
        // Nobody may wait for it any more.
        drop(login.tell.send(answer));
    }

    /// RFC 4976 §5.1: what a relay answers to a login that was given up is not taken for the answer to the next one.
    #[tokio::test]
    async fn a_login_that_was_given_up_answers_no_other() {
        let (commands, mut heard) = Commands::unheard();
        let name = |command: Command| match command {
            Command::Auth(login) => login.username,
            other => unreachable!("{other:?}"),
        };
        let given_up = tokio::spawn({
            let commands = commands.clone();
            async move { commands.log_in(login("first")).await }
        });
        assert_eq!(heard.recv().await.map(name).as_deref(), Some("first"));
        given_up.abort();
        assert!(given_up.await.is_err_and(|error| error.is_cancelled()));
        let next = tokio::spawn({
            let commands = commands.clone();
            async move { commands.log_in(login("second")).await }
        });
        // It has its turn when the first is answered, and not before.
        tokio::task::yield_now().await;
        assert!(heard.try_recv().is_err());
        answer(&commands, Err(LoginError::Credentials));
        assert_eq!(heard.recv().await.map(name).as_deref(), Some("second"));
        answer(&commands, Err(LoginError::Unproven));
        assert_eq!(next.await.expect("it ends"), Err(Some(LoginError::Unproven)));
        // Where the connection is over nobody waits for a turn.
        drop(heard);
        for _ in 0..2 {
            assert_eq!(commands.log_in(login("third")).await, Err(None));
        }
    }
}
