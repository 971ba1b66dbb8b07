//! The control socket: how commands reach a running server.
//!
//! A Unix socket in the data folder, readable by its owner only. One JSON object a line:
//! `{"command": "account.add", "args": {…}}`, answered by `{"done": …}` or `{"refused": "why"}`.

use std::future::Future;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};

/// The longest request or answer.
const LINE_BYTES: u64 = 16 << 20;

/// What a command is asked with.
#[derive(Debug, Deserialize, Serialize)]
struct Request {
    command: String,
    args: Value,
}

/// What came of a command.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Reply {
    /// It is done; its result.
    Done(Value),
    /// It is not, and why.
    Refused(String),
    /// It was asked for wrongly: no such command, or arguments that do not fit.
    Wrong(String),
}

/// Runs commands.
pub(crate) trait Runs: Send + Sync + 'static {
    /// Runs one command.
    fn run(&self, command: String, args: Value) -> impl Future<Output = Reply> + Send;
}

/// The socket of a data folder.
pub(crate) fn path(data: &Path) -> PathBuf {
    data.join("control.sock")
}

/// Listens on the data folder's socket. The caller holds the store's lock, so a socket that is there already is a dead server's.
pub(crate) fn listen(data: &Path) -> io::Result<UnixListener> {
    let path = path(data);
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&path)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Answers commands until dropped.
pub(crate) async fn serve<R: Runs>(listener: UnixListener, runs: Arc<R>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let runs = Arc::clone(&runs);
                tokio::spawn(async move {
                    if let Err(error) = answer(stream, &*runs).await {
                        tracing::debug!(%error, "control connection ended");
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "control socket cannot accept");
                tokio::time::sleep(std::time::Duration::from_secs(1)).await;
            }
        }
    }
}

async fn answer<R: Runs>(stream: UnixStream, runs: &R) -> io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut lines = BufReader::new(read.take(LINE_BYTES)).lines();
    while let Some(line) = lines.next_line().await? {
        let reply = match serde_json::from_str::<Request>(&line) {
            Ok(request) => runs.run(request.command, request.args).await,
            Err(error) => Reply::Wrong(format!("not a request: {error}")),
        };
        let mut line = serde_json::to_vec(&reply)?;
        line.push(b'\n');
        write.write_all(&line).await?;
    }
    Ok(())
}

/// Asks the server of this data folder; none if none is running.
pub(crate) async fn ask(data: &Path, command: &str, args: Value) -> io::Result<Option<Reply>> {
    let stream = match UnixStream::connect(path(data)).await {
        Ok(stream) => stream,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    let (read, mut write) = stream.into_split();
    let mut line = serde_json::to_vec(&Request { command: command.to_owned(), args })?;
    line.push(b'\n');
    write.write_all(&line).await?;
    let mut answer = String::new();
    BufReader::new(read.take(LINE_BYTES)).read_line(&mut answer).await?;
    if answer.is_empty() {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the server closed before it answered"));
    }
    Ok(Some(serde_json::from_str(&answer)?))
}
