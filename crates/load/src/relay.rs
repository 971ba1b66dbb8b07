//! The bare relay: the floor under every figure.
//!
//! It terminates TLS with the library and the runtime that the server uses, reads one line that names a pair, joins the two connections
//! that name the same one, and copies bytes both ways. There is no XML, no routing, no account and no store: what it costs is what
//! any program must pay that has a TLS connection on either side of a message.
//!
//! It is written to be cheap, as a careful program on this runtime would be:
//! - a pair is one task, so that nothing crosses threads between a read and the write that follows from it;
//! - what a socket has is read with one call, decrypted in place, encrypted once, and written with one call;
//! - buffers belong to the thread; a quiet connection has none;
//! - handshakes are TLS 1.3 without session tickets.

use std::cell::RefCell;
use std::collections::HashMap;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use nuncio_net::tls::PairFiles;
use nuncio_net::tls::bare::{Bare, BareConfig};
use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

/// What is read at once: a whole record and then some.
const READ: usize = 32 << 10;
/// The longest first line.
const LINE: usize = 64;
/// How long handshake and first line may take.
const HURRY: Duration = Duration::from_secs(30);
/// What answers the first line.
const READY: &[u8] = b"<ready/>";

thread_local! {
    static INPUT: RefCell<Vec<u8>> = RefCell::new(vec![0; READ]);
}

/// A relay that listens.
pub struct Relay {
    listener: TcpListener,
    config: BareConfig,
    waiting: Arc<Waiting>,
}

/// Those who wait for their partner, by the name of the pair.
type Waiting = Mutex<HashMap<u64, oneshot::Sender<Link>>>;

impl Relay {
    /// Binds a socket; the certificate is by a local authority in `folder` (`ca.pem`), which is made if it is not there.
    ///
    /// # Errors
    /// The address or the folder cannot be used.
    pub async fn bind(address: SocketAddr, folder: &Path) -> anyhow::Result<Self> {
        let authority = nuncio_net::ca::local(folder, &["localhost".to_owned()])?;
        let config = BareConfig::server(&PairFiles { chain: authority.chain, key: authority.key })?;
        let listener = TcpListener::bind(address).await?;
        Ok(Self { listener, config, waiting: Arc::default() })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// The system does not say.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until dropped.
    ///
    /// # Errors
    /// The socket cannot accept.
    pub async fn serve(self) -> io::Result<()> {
        loop {
            let (stream, _) = self.listener.accept().await?;
            let (config, waiting) = (self.config.clone(), Arc::clone(&self.waiting));
            tokio::spawn(async move {
                // Whatever ends a connection ends its pair; there is nobody to tell.
                let _ = connection(stream, &config, &waiting).await;
            });
        }
    }
}

/// One TLS connection.
struct Link {
    stream: TcpStream,
    tls: Bare,
    /// Bytes that the socket has not taken.
    unsent: Vec<u8>,
    /// What came before the partner did.
    early: Vec<u8>,
}

async fn connection(stream: TcpStream, config: &BareConfig, waiting: &Waiting) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let tls = config.connection().map_err(io::Error::other)?;
    let mut link = Link { stream, tls, unsent: Vec::new(), early: Vec::new() };
    let name = tokio::time::timeout(HURRY, link.first_line()).await??;
    let Some((mut link, mut receiver)) = join(waiting, name, link) else { return Ok(()) };
    let other = loop {
        tokio::select! {
            other = &mut receiver => break other,
            more = link.more_early(), if link.early.len() < READ => if let Err(gone) = more {
                drop(receiver);
                let mut waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
                if waiting.get(&name).is_some_and(oneshot::Sender::is_closed) {
                    waiting.remove(&name);
                }
                return Err(gone);
            },
        }
    };
    let Ok(mut other) = other else { return Ok(()) };
    link.hand_over(&mut other)?;
    other.hand_over(&mut link)?;
    let mut pair = Pair { one: link, other };
    poll_fn(|context| pair.poll(context)).await
}

/// Gives the link to the task of its partner, or makes it the one that waits.
fn join(waiting: &Waiting, name: u64, link: Link) -> Option<(Link, oneshot::Receiver<Link>)> {
    let mut waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
    let link = match waiting.remove(&name) {
        None => link,
        Some(partner) => partner.send(link).err()?,
    };
    let (sender, receiver) = oneshot::channel();
    waiting.insert(name, sender);
    Some((link, receiver))
}

impl Link {
    /// Handshake and first line: the name of the pair.
    async fn first_line(&mut self) -> io::Result<u64> {
        let mut line = Vec::new();
        loop {
            poll_fn(|context| {
                self.poll_flush(context)?;
                self.poll_read(context, |chunk| {
                    line.extend_from_slice(chunk);
                    Ok(())
                })
            })
            .await?;
            if let Some(end) = memchr::memchr(b'\n', &line) {
                self.early = line.split_off(end + 1);
                let name = line.strip_prefix(b"pair ").map(|name| name.trim_ascii());
                let name = name.and_then(|name| std::str::from_utf8(name).ok());
                let name = name.and_then(|name| u64::from_str_radix(name, 16).ok());
                let name = name.ok_or(io::ErrorKind::InvalidData)?;
                self.tls.write(READY, &mut self.unsent).map_err(io::Error::other)?;
                poll_fn(|context| match self.poll_flush(context) {
                    Ok(true) => Poll::Ready(Ok(())),
                    Ok(false) => Poll::Pending,
                    Err(error) => Poll::Ready(Err(error)),
                })
                .await?;
                return Ok(name);
            }
            if line.len() > LINE {
                return Err(io::ErrorKind::InvalidData.into());
            }
        }
    }

    /// Reads once while nobody is there to take it.
    async fn more_early(&mut self) -> io::Result<()> {
        let mut more = Vec::new();
        let read = poll_fn(|context| {
            self.poll_read(context, |chunk| {
                more.extend_from_slice(chunk);
                Ok(())
            })
        });
        read.await?;
        self.early.extend_from_slice(&more);
        Ok(())
    }

    /// Gives the partner what came too early for it.
    fn hand_over(&mut self, to: &mut Self) -> io::Result<()> {
        let early = std::mem::take(&mut self.early);
        if early.is_empty() {
            return Ok(());
        }
        to.tls.write(&early, &mut to.unsent).map_err(io::Error::other)
    }

    /// Reads once; `plain` gets what was inside. Ready when something came.
    fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        mut plain: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> Poll<io::Result<()>> {
        INPUT.with_borrow_mut(|input| {
            let mut buffer = ReadBuf::new(input);
            ready!(Pin::new(&mut self.stream).poll_read(context, &mut buffer))?;
            let bytes = buffer.filled_mut();
            if bytes.is_empty() {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
            let mut done = Ok(());
            let progress = self.tls.read(bytes, &mut self.unsent, |chunk| {
                if done.is_ok() {
                    done = plain(chunk);
                }
            });
            let progress = progress.map_err(io::Error::other)?;
            done?;
            if progress.closed {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
            Poll::Ready(Ok(()))
        })
    }

    /// Writes what there is, as far as the socket takes it. Whether nothing is left.
    fn poll_flush(&mut self, context: &mut Context<'_>) -> io::Result<bool> {
        while !self.unsent.is_empty() {
            match Pin::new(&mut self.stream).poll_write(context, &self.unsent) {
                Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(count)) => drop(self.unsent.drain(..count)),
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Pending => return Ok(false),
            }
        }
        Ok(true)
    }
}

/// Two joined connections.
struct Pair {
    one: Link,
    other: Link,
}

impl Pair {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let one = copy(&mut self.one, &mut self.other, context);
        let other = copy(&mut self.other, &mut self.one, context);
        match (one, other) {
            (Err(error), _) | (_, Err(error)) => Poll::Ready(Err(error)),
            (Ok(()), Ok(())) => Poll::Pending,
        }
    }
}

/// Copies all that is ready. A socket that takes no more is not written for.
fn copy(from: &mut Link, to: &mut Link, context: &mut Context<'_>) -> io::Result<()> {
    while to.poll_flush(context)? {
        let Link { tls, unsent, .. } = to;
        match from.poll_read(context, |chunk| tls.write(chunk, unsent).map_err(io::Error::other)) {
            Poll::Ready(done) => done?,
            Poll::Pending => {
                // Buffers are given back between two bursts.
                if to.unsent.capacity() > 0 && to.unsent.is_empty() {
                    to.unsent = Vec::new();
                }
                return Ok(());
            }
        }
    }
    Ok(())
}
