//! TLS without a socket, a buffer or a runtime: bytes in, bytes out, for programs that do their own input and output.
//!
//! The load generator and its relay are such programs, and [`crate::driver`] is built on it. What comes is decrypted where it
//! lies, what goes is appended to the caller's buffer, and a connection that is quiet keeps nothing but the state of the TLS
//! library.

use std::sync::Arc;

use rustls::client::{ClientConfig, Resumption, UnbufferedClientConnection};
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::kx_group;
use rustls::pki_types::ServerName;
use rustls::server::{NoServerSessionStorage, ServerConfig, UnbufferedServerConnection};
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus};
use rustls::{CommonState, RootCertStore, version};

use super::{ALPN_CLIENT, ConnectError, Kind, PairFiles, Roots, TlsError, files, provider};

/// What a record adds to its plaintext at most: header, content type, tag, and the explicit nonce of TLS 1.2.
const RECORD_OVERHEAD: usize = 40;
/// The most plaintext of one record (RFC 8446 §5.1).
const RECORD: usize = 1 << 14;

/// What a handshake of one role begins with.
#[derive(Clone)]
pub struct BareConfig(Role);

#[derive(Clone)]
enum Role {
    Client(Arc<ClientConfig>, ServerName<'static>),
    Server(Arc<ServerConfig>),
}

impl BareConfig {
    /// The initiating role: TLS 1.3 only, and every handshake is a full one. The server's certificate must be for `server_name`.
    ///
    /// `classic` offers X25519 alone; otherwise the post-quantum hybrid comes first, as everywhere in this crate.
    ///
    /// # Errors
    /// Files that cannot be read, no root, a name that is none.
    pub fn client(roots: &Roots, server_name: &str, kind: Kind, classic: bool) -> Result<Self, ConnectError> {
        let mut store = RootCertStore::empty();
        store.add_parsable_certificates(roots.certificates()?);
        if store.is_empty() {
            return Err(ConnectError::NoRoots);
        }
        let name = ServerName::try_from(server_name.to_owned())
            .map_err(|_| ConnectError::Name(server_name.to_owned()))?;
        let mut config = ClientConfig::builder_with_provider(groups(classic))
            .with_protocol_versions(&[&version::TLS13])?
            .with_root_certificates(store)
            .with_no_client_auth();
        config.resumption = Resumption::disabled();
        if kind == Kind::Direct {
            config.alpn_protocols = vec![ALPN_CLIENT.to_vec()];
        }
        Ok(Self(Role::Client(Arc::new(config), name)))
    }

    /// The receiving role, with one certificate and no tickets: the least that a handshake can be.
    ///
    /// # Errors
    /// Files that cannot be read or do not fit together.
    pub fn server(pair: &PairFiles) -> Result<Self, ConnectError> {
        let (chain, key) = match (files::certificates(&pair.chain), files::private_key(&pair.key)) {
            (Ok(chain), Ok(key)) => (chain, key),
            (chain, key) => {
                let problems = chain.err().into_iter().chain(key.err()).collect();
                return Err(TlsError { problems }.into());
            }
        };
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&version::TLS13])?
            .with_no_client_auth()
            .with_single_cert(chain, key)?;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        config.alpn_protocols = vec![ALPN_CLIENT.to_vec()];
        Ok(Self(Role::Server(Arc::new(config))))
    }

    /// A new connection. The initiating role has something to send at once: call [`Bare::read`] with nothing.
    ///
    /// # Errors
    /// The TLS library refuses, for want of randomness say.
    pub fn connection(&self) -> Result<Bare, BareError> {
        Ok(match &self.0 {
            Role::Client(config, name) => Bare::client(Arc::clone(config), name.clone())?,
            Role::Server(config) => Bare::server(Arc::clone(config))?,
        })
    }
}

fn groups(classic: bool) -> Arc<CryptoProvider> {
    if !classic {
        return provider();
    }
    let mut reduced = CryptoProvider::clone(&provider());
    reduced.kx_groups = vec![kx_group::X25519];
    Arc::new(reduced)
}

/// Why a connection cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum BareError {
    /// The peer breaks TLS, or its certificate does not convince.
    #[error("TLS failed: {0}")]
    Tls(#[from] rustls::Error),
    /// Nothing can be sent: the handshake is not done, or this side has closed.
    #[error("TLS is not open for sending")]
    NotOpen,
    /// The TLS library asked for something that cannot be: an error of this program.
    #[error("TLS library in an unexpected state")]
    Internal,
}

/// How far a connection is after [`Bare::read`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The handshake is done.
    pub up: bool,
    /// The peer has sent `close_notify`.
    pub closed: bool,
}

/// One TLS connection.
pub struct Bare {
    inner: Inner,
    /// The beginning of a record, or of a handshake message, whose rest has not come.
    left: Vec<u8>,
    up: bool,
    closed: bool,
    failed: bool,
}

enum Inner {
    Client(UnbufferedClientConnection),
    Server(UnbufferedServerConnection),
}

/// What the library says next, once what it gave has been taken.
enum Step {
    Again,
    Wait,
    Open,
    PeerClosed,
}

/// The same for both roles, whose types have the method but no trait in common.
macro_rules! step {
    ($status:expr, $out:expr, $plain:expr) => {{
        let UnbufferedStatus { mut discard, state, .. } = $status;
        let step = match state? {
            ConnectionState::ReadTraffic(mut traffic) => {
                while let Some(record) = traffic.next_record() {
                    let record = record?;
                    discard += record.discard;
                    $plain(record.payload);
                }
                Step::Again
            }
            ConnectionState::EncodeTlsData(mut data) => {
                encode(&mut |room| data.encode(room), $out)?;
                Step::Again
            }
            ConnectionState::TransmitTlsData(data) => {
                data.done();
                Step::Again
            }
            ConnectionState::BlockedHandshake => Step::Wait,
            ConnectionState::WriteTraffic(_) => Step::Open,
            ConnectionState::PeerClosed | ConnectionState::Closed => Step::PeerClosed,
            _ => return Err(BareError::Internal),
        };
        (discard, step)
    }};
}

/// Encrypts into `$room` bytes at the end of `$out`. What is left of the input is incomplete, so nothing can come out of it; but the
/// library must see the same bytes each time. An update of the keys goes first if one is due.
macro_rules! send {
    ($inner:expr, $left:expr, $out:expr, $room:expr, |$traffic:ident, $to:ident| $write:expr) => {{
        let mut room = $room;
        loop {
            let UnbufferedStatus { discard, state, .. } = $inner.process_tls_records(&mut $left);
            let done = match state? {
                ConnectionState::WriteTraffic(mut $traffic) => {
                    let start = $out.len();
                    $out.resize(start + room, 0);
                    let $to = $out.get_mut(start..).unwrap_or_default();
                    let written = $write;
                    $out.truncate(start + written.as_ref().copied().unwrap_or(0));
                    match written {
                        // The answer to an update of the peer's keys goes first.
                        Err(EncryptError::InsufficientSize(needed)) if needed.required_size > room => {
                            room = needed.required_size;
                            None
                        }
                        written => Some(written.map(drop).map_err(|_| BareError::NotOpen)),
                    }
                }
                ConnectionState::EncodeTlsData(mut data) => {
                    encode(&mut |room| data.encode(room), $out)?;
                    None
                }
                ConnectionState::TransmitTlsData(data) => {
                    data.done();
                    None
                }
                _ => Some(Err(BareError::NotOpen)),
            };
            if discard > 0 {
                $left.drain(..discard.min($left.len()));
            }
            if let Some(done) = done {
                return done;
            }
        }
    }};
}

fn encode(
    encode: &mut dyn FnMut(&mut [u8]) -> Result<usize, EncodeError>,
    out: &mut Vec<u8>,
) -> Result<(), BareError> {
    let start = out.len();
    let mut room = RECORD + RECORD_OVERHEAD;
    loop {
        out.resize(start + room, 0);
        match encode(out.get_mut(start..).unwrap_or_default()) {
            Ok(written) => {
                out.truncate(start + written);
                return Ok(());
            }
            Err(EncodeError::InsufficientSize(needed)) if needed.required_size > room => {
                room = needed.required_size;
            }
            Err(_) => return Err(BareError::Internal),
        }
    }
}

impl Bare {
    /// The initiating role. It has something to send at once.
    pub(crate) fn client(
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
    ) -> Result<Self, rustls::Error> {
        Ok(Self::new(Inner::Client(UnbufferedClientConnection::new(config, name)?)))
    }

    /// The receiving role.
    pub(crate) fn server(config: Arc<ServerConfig>) -> Result<Self, rustls::Error> {
        Ok(Self::new(Inner::Server(UnbufferedServerConnection::new(config)?)))
    }

    const fn new(inner: Inner) -> Self {
        Self { inner, left: Vec::new(), up: false, closed: false, failed: false }
    }

    /// What both roles know of the connection.
    pub(crate) fn common(&self) -> &CommonState {
        match &self.inner {
            Inner::Client(inner) => inner,
            Inner::Server(inner) => inner,
        }
    }

    /// Takes what came from the socket; it is decrypted in place. `plain` gets what was inside, record by record; what the
    /// handshake must send is appended to `out`.
    ///
    /// # Errors
    /// The peer breaks TLS. The connection is over then; the alert that says so has been appended to `out`.
    pub fn read(
        &mut self,
        incoming: &mut [u8],
        out: &mut Vec<u8>,
        mut plain: impl FnMut(&[u8]),
    ) -> Result<Progress, BareError> {
        if self.failed {
            return Err(BareError::NotOpen);
        }
        let result = self.take(incoming, out, &mut plain);
        if result.is_err() {
            self.failed = true;
            self.last_words(out);
        }
        result.map(|()| Progress { up: self.up, closed: self.closed })
    }

    fn take(
        &mut self,
        incoming: &mut [u8],
        out: &mut Vec<u8>,
        plain: &mut impl FnMut(&[u8]),
    ) -> Result<(), BareError> {
        if self.left.is_empty() {
            let used = self.process(incoming, out, plain)?;
            self.left.extend_from_slice(incoming.get(used..).unwrap_or_default());
        } else {
            let mut all = std::mem::take(&mut self.left);
            all.extend_from_slice(incoming);
            let used = self.process(&mut all, out, plain)?;
            if used < all.len() {
                all.drain(..used);
                self.left = all;
            }
        }
        Ok(())
    }

    fn process(
        &mut self,
        bytes: &mut [u8],
        out: &mut Vec<u8>,
        plain: &mut impl FnMut(&[u8]),
    ) -> Result<usize, BareError> {
        let mut used = 0;
        loop {
            let rest = bytes.get_mut(used..).unwrap_or_default();
            let (discard, step) = self.next(rest, out, plain)?;
            used += discard;
            match step {
                Step::Again => {}
                Step::Wait => return Ok(used),
                Step::Open => {
                    self.up = true;
                    return Ok(used);
                }
                Step::PeerClosed => {
                    self.closed = true;
                    return Ok(bytes.len());
                }
            }
        }
    }

    fn next(
        &mut self,
        bytes: &mut [u8],
        out: &mut Vec<u8>,
        plain: &mut impl FnMut(&[u8]),
    ) -> Result<(usize, Step), BareError> {
        Ok(match &mut self.inner {
            Inner::Client(inner) => step!(inner.process_tls_records(bytes), out, plain),
            Inner::Server(inner) => step!(inner.process_tls_records(bytes), out, plain),
        })
    }

    /// Appends `plain` to `out` as records, as few as possible.
    ///
    /// # Errors
    /// The handshake is not done, this side has closed, or its keys are worn out and TLS 1.2 cannot change them; then
    /// `close_notify` has been appended.
    pub fn write(&mut self, plain: &[u8], out: &mut Vec<u8>) -> Result<(), BareError> {
        if self.failed {
            return Err(BareError::NotOpen);
        }
        let records = plain.len().div_ceil(RECORD).max(1);
        let room = plain.len() + records * RECORD_OVERHEAD;
        let sent = self.seal(plain, out, room);
        if sent.is_err() {
            self.last_words(out);
        }
        sent
    }

    fn seal(&mut self, plain: &[u8], out: &mut Vec<u8>, room: usize) -> Result<(), BareError> {
        match &mut self.inner {
            Inner::Client(inner) => send!(inner, self.left, out, room, |to, room| to.encrypt(plain, room)),
            Inner::Server(inner) => send!(inner, self.left, out, room, |to, room| to.encrypt(plain, room)),
        }
    }

    /// The alert that the library has ready after an error. It must not look for more in a buffer that may be gone, so it is asked
    /// for nothing else.
    fn last_words(&mut self, out: &mut Vec<u8>) {
        while self.common().wants_write() {
            let Ok((_, Step::Again)) = self.next(&mut [], out, &mut |_: &[u8]| ()) else { break };
        }
    }

    /// Appends `close_notify` to `out`; nothing can be written after it.
    ///
    /// # Errors
    /// The handshake is not done, or this side has closed before.
    pub fn close(&mut self, out: &mut Vec<u8>) -> Result<(), BareError> {
        if self.failed {
            return Err(BareError::NotOpen);
        }
        let room = 2 * RECORD_OVERHEAD;
        match &mut self.inner {
            Inner::Client(inner) => {
                send!(inner, self.left, out, room, |to, room| to.queue_close_notify(room))
            }
            Inner::Server(inner) => {
                send!(inner, self.left, out, room, |to, room| to.queue_close_notify(room))
            }
        }
    }

    /// Whether the handshake is done.
    #[must_use]
    pub const fn is_up(&self) -> bool {
        self.up
    }
}
