//! A byte stream with TLS on it or not: reads and encrypts in shared buffers, coalesces writes, and watches for stalls.

use std::cell::Cell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use nuncio_sansio::{Eof, TlsFacts};
use rustls::ProtocolVersion;
use rustls::server::Acceptor;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Duration, Instant};

use crate::guard::{Renegotiation, RenegotiationGuard};
use crate::metrics::NetMetrics;
use crate::tls::bare::{Bare, BareError};
use crate::tls::{ConnectError, Connector, Exporter, Kind, Side, TlsHosts, facts, refusing};

/// How much is read at once: the longest record of TLS, and some.
const SCRATCH: usize = 18 * 1024;
/// The most pieces handed to one write in clear.
const PIECES: usize = 32;
/// The most bytes that are encrypted before the socket has taken those before; the rest waits in clear, where bodies are shared
/// between connections.
const BATCH: usize = 32 * 1024;

/// What a connection needs while it reads or writes, and only then.
struct Scratch {
    /// What the socket gave.
    read: Box<[u8]>,
    /// In clear: what was in it, or what is to be encrypted.
    plain: Vec<u8>,
    /// Encrypted, for the socket.
    sealed: Vec<u8>,
}

thread_local! {
    // One for each worker thread: a connection has no buffer of its own while it waits for bytes.
    static SHARED: Cell<Option<Box<Scratch>>> = const { Cell::new(None) };
}

/// Runs `f` with this thread's buffers; the last two are empty.
fn with_scratch<T>(f: impl FnOnce(&mut Scratch) -> T) -> T {
    let mut scratch = SHARED.take().unwrap_or_else(|| {
        let read = vec![0; SCRATCH].into_boxed_slice();
        Box::new(Scratch { read, plain: Vec::new(), sealed: Vec::new() })
    });
    let result = f(&mut scratch);
    scratch.plain.clear();
    scratch.sealed.clear();
    // A certificate chain or the like may have made them longer than what comes every day.
    scratch.plain.shrink_to(2 * BATCH);
    scratch.sealed.shrink_to(2 * BATCH);
    SHARED.set(Some(scratch));
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
    #[error("{}", within(.0))]
    Bare(#[from] BareError),
    #[error("{0}")]
    Connect(#[from] ConnectError),
    #[error("the peer asked for a host that has no certificate here")]
    Unknown,
    #[error("the peer ended the connection")]
    Eof,
    #[error(transparent)]
    Renegotiation(#[from] Renegotiation),
}

/// What failed, for whoever says himself that it was TLS.
fn within(error: &BareError) -> String {
    match error {
        BareError::Tls(error) => error.to_string(),
        error => error.to_string(),
    }
}

struct Layer {
    bare: Bare,
    guard: RenegotiationGuard,
    /// Encrypted bytes that the socket has not taken, from `taken` on.
    sealed: Vec<u8>,
    taken: usize,
    /// What was read together with the end of the handshake.
    early: Vec<u8>,
    /// The peer has said `close_notify`.
    closed: bool,
}

impl Layer {
    fn new(bare: Bare) -> Box<Self> {
        Box::new(Self {
            bare,
            guard: RenegotiationGuard::new(),
            sealed: Vec::new(),
            taken: 0,
            early: Vec::new(),
            closed: false,
        })
    }

    /// Takes bytes of the socket, past the guard. What they mean is appended to `plain`, what must be sent to `sealed`, on an error too.
    fn take(
        &mut self,
        bytes: &mut [u8],
        plain: &mut Vec<u8>,
        sealed: &mut Vec<u8>,
    ) -> Result<(), HandshakeError> {
        self.guard.check(bytes)?;
        let progress = self.bare.read(bytes, sealed, |part| plain.extend_from_slice(part));
        let common = self.bare.common();
        if common.protocol_version() == Some(ProtocolVersion::TLSv1_3) {
            self.guard.tls13();
        }
        if !common.is_handshaking() {
            self.guard.handshake_finished();
        }
        self.closed = progress?.closed;
        Ok(())
    }

    /// Writes what is sealed. Ready when nothing of it is left.
    fn poll_sealed<Io>(
        &mut self,
        io: &mut Io,
        cx: &mut Context<'_>,
        progress: &mut bool,
    ) -> Poll<io::Result<()>>
    where
        Io: AsyncWrite + Unpin,
    {
        while let Some(rest) = self.sealed.get(self.taken..).filter(|rest| !rest.is_empty()) {
            self.taken += ready!(poll_some(io, cx, rest))?;
            *progress = true;
        }
        self.sealed = Vec::new();
        self.taken = 0;
        Poll::Ready(Ok(()))
    }

    /// Has `sealed` written behind everything before it, at once as far as that goes.
    fn send<Io>(
        &mut self,
        io: &mut Io,
        cx: &mut Context<'_>,
        sealed: &[u8],
        progress: &mut bool,
    ) -> io::Result<()>
    where
        Io: AsyncWrite + Unpin,
    {
        let mut rest = sealed;
        if self.sealed.is_empty() {
            while !rest.is_empty() {
                match poll_some(io, cx, rest) {
                    Poll::Ready(Ok(count)) => {
                        *progress = true;
                        rest = rest.get(count..).unwrap_or_default();
                    }
                    Poll::Ready(Err(error)) => return Err(error),
                    Poll::Pending => break,
                }
            }
        }
        self.sealed.extend_from_slice(rest);
        Ok(())
    }
}

/// Writes at least one byte.
fn poll_some<Io>(io: &mut Io, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>>
where
    Io: AsyncWrite + Unpin,
{
    match ready!(Pin::new(io).poll_write(cx, bytes))? {
        0 => Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
        count => Poll::Ready(Ok(count)),
    }
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
    metrics: Arc<NetMetrics>,
    bytes_in: u64,
    bytes_out: u64,
}

impl<Io: AsyncRead + AsyncWrite + Unpin> Wire<Io> {
    pub(crate) fn new(io: Io, metrics: Arc<NetMetrics>) -> Self {
        Self {
            io: Some(io),
            tls: None,
            out: VecDeque::new(),
            waiting: 0,
            stalled_since: None,
            write_broken: false,
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

    /// Drops the connection; nothing is written any more.
    pub(crate) fn kill(&mut self) {
        self.io = None;
        self.give_up_writing();
    }

    /// Drops everything.
    pub(crate) fn finish(&mut self) {
        self.kill();
        self.tls = None;
    }

    fn give_up_writing(&mut self) {
        self.write_broken = true;
        self.out = VecDeque::new();
        self.waiting = 0;
        self.stalled_since = None;
        if let Some(layer) = self.tls.as_mut() {
            layer.sealed = Vec::new();
            layer.taken = 0;
        }
    }

    /// Queues bytes behind everything queued before.
    pub(crate) fn push(&mut self, bytes: Bytes) {
        if !self.write_broken && !bytes.is_empty() {
            self.waiting += bytes.len();
            if self.out.capacity() == 0 {
                // Most of the time there is one.
                self.out.reserve_exact(1);
            }
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
            && (!self.out.is_empty() || self.tls.as_ref().is_some_and(|layer| !layer.sealed.is_empty()))
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
                if self.out.capacity() > 1 {
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
            if let Some(layer) = self.tls.as_mut() {
                ready!(layer.poll_sealed(io, cx, progress))?;
            }
            if self.out.is_empty() {
                return Pin::new(io).poll_flush(cx);
            }
            let taken = match self.tls.as_mut() {
                None => ready!(write_pieces(io, cx, &self.out))?,
                Some(layer) => with_scratch(|scratch| {
                    let plain = gather(&self.out, &mut scratch.plain);
                    let written = layer.bare.write(plain, &mut scratch.sealed);
                    layer.send(io, cx, &scratch.sealed, progress)?;
                    written.map_err(io::Error::other)?;
                    Ok::<_, io::Error>(plain.len())
                })?,
            };
            *progress |= self.tls.is_none();
            forget(&mut self.out, taken);
            self.waiting -= taken;
            self.bytes_out += taken as u64;
            self.metrics.bytes_out(taken);
        }
    }

    /// Reads what is there and hands it to `take`, once. Never hands over an empty slice.
    pub(crate) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        take: impl FnOnce(&[u8]),
    ) -> Poll<Result<Got, Renegotiation>> {
        let Some(io) = self.io.as_mut() else {
            return Poll::Ready(Ok(Got::Eof(Eof::Reset)));
        };
        let got = with_scratch(|scratch| match self.tls.as_mut() {
            None => Poll::Ready(Ok(ready!(read_plain(io, scratch, cx, take)))),
            Some(layer) => read_tls(io, layer, scratch, cx, take),
        });
        let got = match ready!(got) {
            Ok(got) => got,
            Err(HandshakeError::Renegotiation(attempt)) => return Poll::Ready(Err(attempt)),
            Err(error) => {
                tracing::debug!(%error, "reading failed");
                Got::Eof(Eof::Reset)
            }
        };
        if let Got::Bytes(count) = got {
            self.bytes_in += count as u64;
            self.metrics.bytes_in(count);
        }
        Poll::Ready(Ok(got))
    }

    /// Says that nothing more will be written: `close_notify` inside TLS, then the end of TCP's direction.
    pub(crate) async fn finish_writing(&mut self) {
        // What still waits comes first: behind close_notify TLS takes no more data (RFC 8446 §6.1).
        poll_fn(|cx| self.poll_flush(cx)).await;
        if let Some(layer) = self.tls.as_mut().filter(|_| !self.write_broken) {
            // It fails only after an alert, which has closed TLS as well.
            let _closed = layer.bare.close(&mut layer.sealed);
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
        let mut acceptor = Acceptor::default();
        // The ClientHello is read twice: to choose the configuration, and by the connection that is made of it.
        let mut hello = Vec::new();
        let accepted = loop {
            let start = hello.len();
            let read = poll_fn(|cx| poll_more(io, cx, &mut hello));
            if read.await? == 0 {
                return Err(HandshakeError::Eof);
            }
            let mut fresh = hello.get(start..).unwrap_or_default();
            let accepted = loop {
                if fresh.is_empty() {
                    break None;
                }
                acceptor.read_tls(&mut fresh)?;
                match acceptor.accept() {
                    Ok(None) => {}
                    Ok(accepted) => break accepted,
                    Err((error, mut alert)) => {
                        let mut bytes = Vec::new();
                        alert.write_all(&mut bytes)?;
                        say(io, &bytes).await;
                        return Err(error.into());
                    }
                }
            };
            if let Some(accepted) = accepted {
                break accepted;
            }
        };
        let name = accepted.client_hello().server_name().map(str::to_lowercase);
        let Some(picked) = hosts.pick(kind, domain, &accepted.client_hello()) else {
            if let Err((_, mut alert)) = accepted.into_connection(refusing()?) {
                let mut bytes = Vec::new();
                alert.write_all(&mut bytes)?;
                say(io, &bytes).await;
            }
            return Err(HandshakeError::Unknown);
        };
        drop(accepted);
        let mut layer = Layer::new(Bare::server(picked.config)?);
        let exporter = complete(io, &mut layer, hello).await?;
        let side =
            Side::Server { name, end_point: picked.identity.end_point(), client_roots: &picked.client_roots };
        let found = facts(layer.bare.common(), exporter.as_ref(), side);
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
        let mut layer = Layer::new(connector.connection(kind, server_name)?);
        let exporter = complete(io, &mut layer, Vec::new()).await?;
        let found = facts(layer.bare.common(), exporter.as_ref(), Side::Client);
        self.tls = Some(layer);
        Ok(found)
    }
}

/// What is written next: the first piece, or as many as fit into a batch, one behind the other.
fn gather<'a>(out: &'a VecDeque<Bytes>, into: &'a mut Vec<u8>) -> &'a [u8] {
    if let Some(first) = out.front()
        && (out.len() == 1 || first.len() >= BATCH)
    {
        return first.get(..BATCH).unwrap_or(first);
    }
    for piece in out {
        let room = BATCH - into.len();
        into.extend_from_slice(piece.get(..room).unwrap_or(piece));
        if into.len() == BATCH {
            break;
        }
    }
    into
}

/// Writes pieces in clear, some of them at least in part.
fn write_pieces<Io>(io: &mut Io, cx: &mut Context<'_>, out: &VecDeque<Bytes>) -> Poll<io::Result<usize>>
where
    Io: AsyncWrite + Unpin,
{
    let mut pieces = [IoSlice::new(&[]); PIECES];
    let mut count = 0;
    for (slot, piece) in pieces.iter_mut().zip(out) {
        *slot = IoSlice::new(piece);
        count += 1;
    }
    match ready!(Pin::new(io).poll_write_vectored(cx, pieces.get(..count).unwrap_or_default()))? {
        0 => Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
        taken => Poll::Ready(Ok(taken)),
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

fn read_plain<Io>(
    io: &mut Io,
    scratch: &mut Scratch,
    cx: &mut Context<'_>,
    take: impl FnOnce(&[u8]),
) -> Poll<Got>
where
    Io: AsyncRead + Unpin,
{
    let mut buffer = ReadBuf::new(&mut scratch.read);
    match ready!(Pin::new(io).poll_read(cx, &mut buffer)) {
        Ok(()) if buffer.filled().is_empty() => Poll::Ready(Got::Eof(Eof::Clean)),
        Ok(()) => {
            take(buffer.filled());
            Poll::Ready(Got::Bytes(buffer.filled().len()))
        }
        Err(_) => Poll::Ready(Got::Eof(Eof::Reset)),
    }
}

/// Reads until there is something in clear. On an error of TLS, tries once to send its alert.
fn read_tls<Io>(
    io: &mut Io,
    layer: &mut Layer,
    scratch: &mut Scratch,
    cx: &mut Context<'_>,
    take: impl FnOnce(&[u8]),
) -> Poll<Result<Got, HandshakeError>>
where
    Io: AsyncRead + AsyncWrite + Unpin,
{
    if !layer.early.is_empty() {
        let early = std::mem::take(&mut layer.early);
        take(&early);
        return Poll::Ready(Ok(Got::Bytes(early.len())));
    }
    loop {
        if layer.closed {
            return Poll::Ready(Ok(Got::Eof(Eof::Clean)));
        }
        let mut buffer = ReadBuf::new(&mut scratch.read);
        ready!(Pin::new(&mut *io).poll_read(cx, &mut buffer))?;
        let bytes = buffer.filled_mut();
        if bytes.is_empty() {
            return Poll::Ready(Ok(Got::Eof(Eof::Truncated)));
        }
        let taken = layer.take(bytes, &mut scratch.plain, &mut scratch.sealed);
        if !scratch.sealed.is_empty() {
            // A key update's answer, or the alert of an error.
            let mut progress = false;
            let sent = layer.send(io, cx, &scratch.sealed, &mut progress);
            scratch.sealed.clear();
            taken?;
            sent?;
        } else {
            taken?;
        }
        if !scratch.plain.is_empty() {
            take(&scratch.plain);
            return Poll::Ready(Ok(Got::Bytes(scratch.plain.len())));
        }
    }
}

/// Reads some bytes to the end of `into`; zero at the end of the stream.
fn poll_more<Io>(io: &mut Io, cx: &mut Context<'_>, into: &mut Vec<u8>) -> Poll<io::Result<usize>>
where
    Io: AsyncRead + Unpin,
{
    with_scratch(|scratch| {
        let mut buffer = ReadBuf::new(&mut scratch.read);
        ready!(Pin::new(io).poll_read(cx, &mut buffer))?;
        into.extend_from_slice(buffer.filled());
        Poll::Ready(Ok(buffer.filled().len()))
    })
}

/// Goes through a handshake, `incoming` having been read already. What the library still wants to write at its end goes out with
/// what follows.
async fn complete<Io>(
    io: &mut Io,
    layer: &mut Layer,
    mut incoming: Vec<u8>,
) -> Result<Option<Exporter>, HandshakeError>
where
    Io: AsyncRead + AsyncWrite + Unpin,
{
    let mut exporter = None;
    loop {
        let mut sealed = Vec::new();
        let mut early = Vec::new();
        let (taken, heard) = Exporter::during(|| layer.take(&mut incoming, &mut early, &mut sealed));
        exporter = heard.or(exporter);
        layer.early.append(&mut early);
        layer.sealed.append(&mut sealed);
        if let Err(error) = taken {
            say(io, &std::mem::take(&mut layer.sealed)).await;
            return Err(error);
        }
        if !layer.bare.common().is_handshaking() {
            return Ok(exporter);
        }
        poll_fn(|cx| {
            ready!(layer.poll_sealed(io, cx, &mut false))?;
            Pin::new(&mut *io).poll_flush(cx)
        })
        .await?;
        incoming.clear();
        if poll_fn(|cx| poll_more(io, cx, &mut incoming)).await? == 0 {
            return Err(HandshakeError::Eof);
        }
    }
}

/// Writes an alert. Nobody minds if that fails: the connection is over.
async fn say<Io>(io: &mut Io, alert: &[u8])
where
    Io: AsyncRead + AsyncWrite + Unpin,
{
    let mut rest = alert;
    let written = poll_fn(|cx| {
        while !rest.is_empty() {
            let count = ready!(poll_some(io, cx, rest))?;
            rest = rest.get(count..).unwrap_or_default();
        }
        Pin::new(&mut *io).poll_flush(cx)
    });
    let written: io::Result<()> = written.await;
    tracing::trace!(ok = written.is_ok(), "sent a TLS alert");
}

/// How long a peer gets to take the alert that says why its handshake failed.
pub(crate) const ALERT: Duration = Duration::from_millis(500);
