//! A byte stream with TLS on it or not: reads into a shared buffer, coalesces writes, and watches for stalls.

use std::cell::Cell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::{self, BufRead, IoSlice, Read, Write};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use nuncio_sansio::{Eof, TlsFacts};
use rustls::server::Acceptor;
use rustls::{Connection, ProtocolVersion};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Duration, Instant};

use crate::guard::{Renegotiation, RenegotiationGuard};
use crate::metrics::NetMetrics;
use crate::tls::{ConnectError, Connector, Kind, TlsHosts, facts, refusing};

/// How much is read at once.
const SCRATCH: usize = 16 * 1024;
/// The most pieces handed to one write.
const PIECES: usize = 32;
/// The most encrypted bytes that wait for the socket; the rest waits in clear, where bodies are shared between connections.
const ENCRYPTED: usize = 32 * 1024;

thread_local! {
    // One for each worker thread: a connection has no buffer of its own while it waits for bytes.
    static BUFFER: Cell<Option<Box<[u8]>>> = const { Cell::new(None) };
}

/// Runs `f` with this thread's buffer.
fn with_scratch<T>(f: impl FnOnce(&mut [u8]) -> T) -> T {
    let mut buffer = BUFFER.take().unwrap_or_else(|| vec![0; SCRATCH].into_boxed_slice());
    let result = f(&mut buffer);
    BUFFER.set(Some(buffer));
    result
}

/// What a read brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Got {
    /// So many bytes.
    Bytes(usize),
    /// Nothing more will come.
    Eof(Eof),
}

/// Why a handshake failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HandshakeError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Tls(#[from] rustls::Error),
    #[error("{0}")]
    Connect(#[from] ConnectError),
    #[error("the peer asked for a host that has no certificate here")]
    Unknown,
    #[error("the peer ended the connection")]
    Eof,
    #[error(transparent)]
    Renegotiation(#[from] Renegotiation),
}

struct Layer {
    conn: Connection,
    guard: RenegotiationGuard,
}

/// The stream of one connection.
pub(crate) struct Wire<Io> {
    // None once the connection has been dropped.
    io: Option<Io>,
    tls: Option<Box<Layer>>,
    out: VecDeque<Bytes>,
    waiting: usize,
    stalled_since: Option<Instant>,
    write_broken: bool,
    peer: Option<SocketAddr>,
    metrics: Arc<NetMetrics>,
    bytes_in: u64,
    bytes_out: u64,
}

impl<Io: AsyncRead + AsyncWrite + Unpin> Wire<Io> {
    pub(crate) fn new(io: Io, peer: Option<SocketAddr>, metrics: Arc<NetMetrics>) -> Self {
        Self {
            io: Some(io),
            tls: None,
            out: VecDeque::new(),
            waiting: 0,
            stalled_since: None,
            write_broken: false,
            peer,
            metrics,
            bytes_in: 0,
            bytes_out: 0,
        }
    }

    /// Bytes of protocol read and written.
    pub(crate) fn counted(&self) -> (u64, u64) {
        (self.bytes_in, self.bytes_out)
    }

    pub(crate) fn inside_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// The peer has attempted a renegotiation: drops the connection, writes nothing (S2-04), and tells the operator (S2-08).
    pub(crate) fn renegotiated(&mut self) {
        self.kill();
        self.metrics.renegotiation();
        tracing::warn!(
            peer = self.peer.map(tracing::field::display),
            "the peer attempted a TLS renegotiation; its connection was dropped"
        );
    }

    /// Drops the connection; nothing is written any more.
    pub(crate) fn kill(&mut self) {
        self.io = None;
        self.give_up_writing();
    }

    fn give_up_writing(&mut self) {
        self.write_broken = true;
        self.out = VecDeque::new();
        self.waiting = 0;
        self.stalled_since = None;
    }

    /// Queues bytes behind everything queued before.
    pub(crate) fn push(&mut self, bytes: Bytes) {
        if !self.write_broken && !bytes.is_empty() {
            self.waiting += bytes.len();
            self.out.push_back(bytes);
        }
    }

    /// How many bytes of protocol wait to be written.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting
    }

    /// Whether anything waits to be written.
    pub(crate) fn has_pending(&self) -> bool {
        !self.write_broken
            && (!self.out.is_empty() || self.tls.as_ref().is_some_and(|layer| layer.conn.wants_write()))
    }

    /// Whether writing has failed for good.
    pub(crate) fn write_broken(&self) -> bool {
        self.write_broken
    }

    /// Since when not one byte could be written although some wait.
    pub(crate) fn stalled_since(&self) -> Option<Instant> {
        self.stalled_since
    }

    /// Writes as much as the socket takes. Ready when nothing waits any more, or cannot be written ever.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.write_broken {
            return Poll::Ready(());
        }
        let mut progress = false;
        match self.poll_write_all(cx, &mut progress) {
            Poll::Ready(Ok(())) => {
                self.stalled_since = None;
                if self.out.capacity() > PIECES {
                    self.out = VecDeque::new();
                }
                Poll::Ready(())
            }
            Poll::Ready(Err(error)) => {
                tracing::debug!(%error, "writing failed");
                self.give_up_writing();
                Poll::Ready(())
            }
            Poll::Pending => {
                if progress || self.stalled_since.is_none() {
                    self.stalled_since = Some(Instant::now());
                }
                Poll::Pending
            }
        }
    }

    fn poll_write_all(&mut self, cx: &mut Context<'_>, progress: &mut bool) -> Poll<io::Result<()>> {
        let Some(io) = self.io.as_mut() else {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        };
        loop {
            if self.out.is_empty() && self.tls.as_ref().is_none_or(|layer| !layer.conn.wants_write()) {
                return Pin::new(io).poll_flush(cx);
            }
            let mut pieces = [IoSlice::new(&[]); PIECES];
            let mut count = 0;
            for (slot, piece) in pieces.iter_mut().zip(&self.out) {
                *slot = IoSlice::new(piece);
                count += 1;
            }
            let taken = match self.tls.as_mut() {
                None => {
                    let taken = ready!(Pin::new(&mut *io).poll_write_vectored(cx, &pieces[..count]))?;
                    if taken == 0 {
                        return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                    }
                    *progress = true;
                    taken
                }
                Some(layer) => {
                    let taken = match count {
                        0 => 0,
                        _ => layer.conn.writer().write_vectored(&pieces[..count])?,
                    };
                    if taken == 0 || self.out.len() == count {
                        // The library's buffer is full, or holds all there is: now it goes to the socket.
                        while layer.conn.wants_write() {
                            let mut adapter = Adapter { io: &mut *io, cx, guard: None };
                            match layer.conn.write_tls(&mut adapter) {
                                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                                Ok(_) => *progress = true,
                                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                                    forget(&mut self.out, taken);
                                    self.waiting -= taken;
                                    self.bytes_out += taken as u64;
                                    self.metrics.bytes_out(taken);
                                    return Poll::Pending;
                                }
                                Err(error) => return Poll::Ready(Err(error)),
                            }
                        }
                    }
                    taken
                }
            };
            forget(&mut self.out, taken);
            self.waiting -= taken;
            if taken > 0 {
                self.bytes_out += taken as u64;
                self.metrics.bytes_out(taken);
            }
        }
    }

    /// Reads what is there and hands it to `take`, once. Never hands over an empty slice.
    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>, take: impl FnOnce(&[u8])) -> Poll<Got> {
        let Some(io) = self.io.as_mut() else {
            return Poll::Ready(Got::Eof(Eof::Reset));
        };
        let got = match self.tls.as_mut() {
            None => ready!(read_plain(io, cx, take)),
            Some(layer) => match ready!(read_tls(io, layer, cx, take)) {
                Ok(got) => got,
                Err(HandshakeError::Renegotiation(_)) => {
                    self.renegotiated();
                    Got::Eof(Eof::Reset)
                }
                Err(error) => {
                    tracing::debug!(%error, "reading failed");
                    Got::Eof(Eof::Reset)
                }
            },
        };
        if let Got::Bytes(count) = got {
            self.bytes_in += count as u64;
            self.metrics.bytes_in(count);
        }
        Poll::Ready(got)
    }

    /// Says that nothing more will be written: `close_notify` inside TLS, then the end of TCP's direction.
    pub(crate) async fn finish_writing(&mut self) {
        // What still waits comes first: behind close_notify TLS takes no more data (RFC 8446 §6.1).
        poll_fn(|cx| self.poll_flush(cx)).await;
        if let Some(layer) = self.tls.as_mut() {
            layer.conn.send_close_notify();
            poll_fn(|cx| self.poll_flush(cx)).await;
        }
        if let Some(io) = self.io.as_mut().filter(|_| !self.write_broken) {
            // A peer that is already gone makes this fail, which changes nothing.
            let _gone = poll_fn(|cx| Pin::new(&mut *io).poll_shutdown(cx)).await;
        }
    }

    /// The receiving role's handshake. `domain`: what the stream was addressed to.
    pub(crate) async fn accept_tls(
        &mut self,
        hosts: &TlsHosts,
        kind: Kind,
        domain: Option<&str>,
    ) -> Result<TlsFacts, HandshakeError> {
        let io = self.io.as_mut().ok_or(HandshakeError::Eof)?;
        let mut guard = RenegotiationGuard::new();
        let mut acceptor = Acceptor::default();
        let accepted = loop {
            let read = poll_fn(|cx| {
                let mut adapter = Adapter { io: &mut *io, cx, guard: Some(&mut guard) };
                unblock(acceptor.read_tls(&mut adapter))
            });
            if read.await? == 0 {
                return Err(HandshakeError::Eof);
            }
            match acceptor.accept() {
                Ok(Some(accepted)) => break accepted,
                Ok(None) => {}
                Err((error, mut alert)) => {
                    say(io, |adapter| alert.write(adapter)).await;
                    return Err(error.into());
                }
            }
        };
        let Some(picked) = hosts.pick(kind, domain, &accepted.client_hello()) else {
            if let Err((_, mut alert)) = accepted.into_connection(refusing()?) {
                say(io, |adapter| alert.write(adapter)).await;
            }
            return Err(HandshakeError::Unknown);
        };
        let conn = match accepted.into_connection(picked.config) {
            Ok(conn) => conn,
            Err((error, mut alert)) => {
                say(io, |adapter| alert.write(adapter)).await;
                return Err(error.into());
            }
        };
        let mut layer = Box::new(Layer { conn: conn.into(), guard });
        complete(io, &mut layer).await?;
        let found = facts(&layer.conn, picked.identity.end_point(), &picked.client_roots)?;
        self.tls = Some(layer);
        Ok(found)
    }

    /// The initiating role's handshake.
    pub(crate) async fn connect_tls(
        &mut self,
        connector: &Connector,
        kind: Kind,
        server_name: &str,
    ) -> Result<TlsFacts, HandshakeError> {
        let io = self.io.as_mut().ok_or(HandshakeError::Eof)?;
        let conn = connector.connection(kind, server_name)?;
        let mut layer = Box::new(Layer { conn: conn.into(), guard: RenegotiationGuard::new() });
        complete(io, &mut layer).await?;
        let found = facts(&layer.conn, None, &[])?;
        self.tls = Some(layer);
        Ok(found)
    }
}

/// Drops the first `count` bytes.
fn forget(out: &mut VecDeque<Bytes>, mut count: usize) {
    while let Some(first) = out.front_mut().filter(|_| count > 0) {
        let take = first.len().min(count);
        first.advance(take);
        count -= take;
        if first.is_empty() {
            out.pop_front();
        }
    }
}

fn read_plain<Io>(io: &mut Io, cx: &mut Context<'_>, take: impl FnOnce(&[u8])) -> Poll<Got>
where
    Io: AsyncRead + Unpin,
{
    with_scratch(|scratch| {
        let mut buffer = ReadBuf::new(scratch);
        match ready!(Pin::new(io).poll_read(cx, &mut buffer)) {
            Ok(()) if buffer.filled().is_empty() => Poll::Ready(Got::Eof(Eof::Clean)),
            Ok(()) => {
                take(buffer.filled());
                Poll::Ready(Got::Bytes(buffer.filled().len()))
            }
            Err(_) => Poll::Ready(Got::Eof(Eof::Reset)),
        }
    })
}

fn read_tls<Io>(
    io: &mut Io,
    layer: &mut Layer,
    cx: &mut Context<'_>,
    take: impl FnOnce(&[u8]),
) -> Poll<Result<Got, HandshakeError>>
where
    Io: AsyncRead + AsyncWrite + Unpin,
{
    loop {
        let mut reader = layer.conn.reader();
        match reader.fill_buf() {
            Ok([]) => return Poll::Ready(Ok(Got::Eof(Eof::Clean))),
            Ok(chunk) => {
                let count = chunk.len();
                take(chunk);
                reader.consume(count);
                return Poll::Ready(Ok(Got::Bytes(count)));
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Poll::Ready(Ok(Got::Eof(Eof::Truncated)));
            }
            Err(error) => return Poll::Ready(Err(error.into())),
        }
        if let Err(error) = ready!(receive(io, layer, cx)) {
            return Poll::Ready(Err(error));
        }
    }
}

/// Brings bytes of the socket to the TLS library, past the guard. On an error of TLS, tries once to send its alert.
fn receive<Io>(io: &mut Io, layer: &mut Layer, cx: &mut Context<'_>) -> Poll<Result<usize, HandshakeError>>
where
    Io: AsyncRead + AsyncWrite + Unpin,
{
    let mut adapter = Adapter { io: &mut *io, cx, guard: Some(&mut layer.guard) };
    let count = match ready!(unblock(layer.conn.read_tls(&mut adapter))) {
        Ok(count) => count,
        Err(error) => {
            let attempt = error.get_ref().and_then(|inner| inner.downcast_ref::<Renegotiation>()).copied();
            return Poll::Ready(Err(attempt.map_or_else(|| error.into(), Into::into)));
        }
    };
    let processed = layer.conn.process_new_packets();
    if layer.conn.protocol_version() == Some(ProtocolVersion::TLSv1_3) {
        layer.guard.tls13();
    }
    if !layer.conn.is_handshaking() {
        layer.guard.handshake_finished();
    }
    if let Err(error) = processed {
        let mut adapter = Adapter { io, cx, guard: None };
        let _best_effort = layer.conn.write_tls(&mut adapter);
        return Poll::Ready(Err(error.into()));
    }
    Poll::Ready(Ok(count))
}

/// Goes through a handshake. What the library still wants to write at its end goes out with what follows.
async fn complete<Io>(io: &mut Io, layer: &mut Layer) -> Result<(), HandshakeError>
where
    Io: AsyncRead + AsyncWrite + Unpin,
{
    layer.conn.set_buffer_limit(Some(ENCRYPTED));
    poll_fn(|cx| {
        loop {
            let mut blocked = false;
            while layer.conn.wants_write() && !blocked {
                let mut adapter = Adapter { io: &mut *io, cx, guard: None };
                match layer.conn.write_tls(&mut adapter) {
                    Ok(0) => return Poll::Ready(Err(io::Error::from(io::ErrorKind::WriteZero).into())),
                    Ok(_) => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => blocked = true,
                    Err(error) => return Poll::Ready(Err(error.into())),
                }
            }
            if !layer.conn.is_handshaking() {
                return Poll::Ready(Ok(()));
            }
            if !blocked && let Poll::Ready(Err(error)) = Pin::new(&mut *io).poll_flush(cx) {
                return Poll::Ready(Err(error.into()));
            }
            if ready!(receive(io, layer, cx))? == 0 {
                return Poll::Ready(Err(HandshakeError::Eof));
            }
        }
    })
    .await
}

/// Writes an alert. Nobody minds if that fails: the connection is over.
async fn say<Io>(io: &mut Io, mut write: impl FnMut(&mut dyn Write) -> io::Result<usize>)
where
    Io: AsyncRead + AsyncWrite + Unpin,
{
    // `AcceptedAlert::write` returns zero when all is written.
    let alert = poll_fn(|cx| {
        loop {
            let mut adapter = Adapter { io: &mut *io, cx, guard: None };
            match ready!(unblock(write(&mut adapter))) {
                Ok(0) => return Poll::Ready(Ok(())),
                Ok(_) => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    });
    let written = alert.await;
    let flushed = poll_fn(|cx| Pin::new(&mut *io).poll_flush(cx)).await;
    tracing::trace!(ok = written.is_ok() && flushed.is_ok(), "sent a TLS alert");
}

/// How long a peer gets to take the alert that says why its handshake failed.
pub(crate) const ALERT: Duration = Duration::from_millis(500);

fn unblock<T>(result: io::Result<T>) -> Poll<io::Result<T>> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Poll::Pending,
        other => Poll::Ready(other),
    }
}

/// A tokio stream as the blocking one that the TLS library expects; "would block" stands for pending.
struct Adapter<'a, 'b, Io> {
    io: &'a mut Io,
    cx: &'a mut Context<'b>,
    guard: Option<&'a mut RenegotiationGuard>,
}

impl<Io: AsyncRead + Unpin> Read for Adapter<'_, '_, Io> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let mut buffer = ReadBuf::new(into);
        match Pin::new(&mut *self.io).poll_read(self.cx, &mut buffer) {
            Poll::Ready(Ok(())) => {
                if let Some(guard) = self.guard.as_mut() {
                    guard.check(buffer.filled()).map_err(io::Error::other)?;
                }
                Ok(buffer.filled().len())
            }
            Poll::Ready(Err(error)) => Err(error),
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }
}

impl<Io: AsyncWrite + Unpin> Adapter<'_, '_, Io> {
    fn done(poll: Poll<io::Result<usize>>) -> io::Result<usize> {
        match poll {
            Poll::Ready(result) => result,
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }
}

impl<Io: AsyncWrite + Unpin> Write for Adapter<'_, '_, Io> {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        Self::done(Pin::new(&mut *self.io).poll_write(self.cx, from))
    }

    fn write_vectored(&mut self, from: &[IoSlice<'_>]) -> io::Result<usize> {
        Self::done(Pin::new(&mut *self.io).poll_write_vectored(self.cx, from))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
