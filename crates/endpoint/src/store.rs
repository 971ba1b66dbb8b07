//! Where the bytes of an incoming message go: memory up to a bound, a file beyond it.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use nuncio_net::OsEntropy;
use nuncio_sansio::Entropy as _;
use tokio::sync::watch;
use tokio::task::spawn_blocking;

/// Bytes that are gathered for one write into a file.
const BATCH: usize = 256 * 1024;

/// The memory that all incoming messages of an endpoint share, and how many files they have.
#[derive(Debug)]
pub(crate) struct Room {
    left: AtomicUsize,
    files: watch::Sender<usize>,
}

impl Room {
    pub(crate) fn new(bytes: usize) -> Arc<Self> {
        Arc::new(Self { left: AtomicUsize::new(bytes), files: watch::Sender::new(0) })
    }

    /// Waits until there is no file.
    pub(crate) async fn cleared(&self) {
        // The sender is ours.
        drop(self.files.subscribe().wait_for(|count| *count == 0).await);
    }

    fn take(&self, bytes: usize) -> bool {
        self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(bytes)).is_ok()
    }

    fn give(&self, bytes: usize) {
        self.left.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// A file that is gone with this value, unless it was given a name.
#[derive(Debug)]
pub(crate) struct Spool {
    path: PathBuf,
    room: Arc<Room>,
}

impl Drop for Spool {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.path)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(file = %self.path.display(), %error, "a temporary file stays behind");
        }
        self.room.files.send_modify(|count| *count = count.saturating_sub(1));
    }
}

fn spool(folder: &Path, room: &Arc<Room>) -> io::Result<(Spool, File)> {
    let path = folder.join(format!(".nuncio-{}.part", OsEntropy.token()));
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(&path)?;
    room.files.send_modify(|count| *count += 1);
    Ok((Spool { path, room: Arc::clone(room) }, file))
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    spawn_blocking(work).await.unwrap_or_else(|error| Err(io::Error::other(error)))
}

/// What has come of one message.
#[derive(Debug)]
pub(crate) struct Store {
    room: Arc<Room>,
    /// The most that it may hold in memory, and what of the shared room it has.
    bound: usize,
    taken: usize,
    memory: Vec<u8>,
    folder: Arc<Path>,
    spooled: Option<(Spool, File)>,
    /// What is to be written at `at`, one piece after the other.
    batch: Vec<u8>,
    at: u64,
    /// Bytes that came, repeated ones included.
    pub(crate) came: u64,
}

impl Store {
    pub(crate) fn new(room: &Arc<Room>, bound: usize, folder: &Arc<Path>) -> Self {
        Self {
            room: Arc::clone(room),
            bound,
            taken: 0,
            memory: Vec::new(),
            folder: Arc::clone(folder),
            spooled: None,
            batch: Vec::new(),
            at: 0,
            came: 0,
        }
    }

    /// Bytes of the message, behind `offset` others.
    pub(crate) async fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.came = self.came.saturating_add(bytes.len() as u64);
        if self.spooled.is_none() {
            if self.remember(offset, bytes) {
                return Ok(());
            }
            self.spill().await?;
        }
        if self.at.saturating_add(self.batch.len() as u64) != offset || self.batch.len() >= BATCH {
            self.flush().await?;
            self.at = offset;
        }
        self.batch.extend_from_slice(bytes);
        Ok(())
    }

    fn remember(&mut self, offset: u64, bytes: &[u8]) -> bool {
        let until = usize::try_from(offset).ok().and_then(|offset| offset.checked_add(bytes.len()));
        let (Some(until), Ok(offset)) = (until, usize::try_from(offset)) else { return false };
        if until > self.bound {
            return false;
        }
        if until > self.taken {
            // In steps, so that a byte at a time does not ask a thousand times.
            let wanted = until.next_power_of_two().min(self.bound).saturating_sub(self.taken);
            if !self.room.take(wanted) {
                return false;
            }
            self.taken += wanted;
        }
        if self.memory.len() < until {
            self.memory.resize(until, 0);
        }
        if let Some(place) = self.memory.get_mut(offset..until) {
            place.copy_from_slice(bytes);
        }
        true
    }

    /// From memory to a file.
    async fn spill(&mut self) -> io::Result<()> {
        let folder = Arc::clone(&self.folder);
        let memory = std::mem::take(&mut self.memory);
        let room = Arc::clone(&self.room);
        let made = blocking(move || {
            let (spool, mut file) = spool(&folder, &room)?;
            file.write_all(&memory)?;
            Ok((spool, file))
        });
        self.spooled = Some(made.await?);
        self.room.give(std::mem::take(&mut self.taken));
        Ok(())
    }

    async fn flush(&mut self) -> io::Result<()> {
        if self.batch.is_empty() {
            return Ok(());
        }
        let Some((spool, mut file)) = self.spooled.take() else { return Ok(()) };
        let (mut batch, at) = (std::mem::take(&mut self.batch), self.at);
        let (spool, file, batch) = blocking(move || {
            file.seek(SeekFrom::Start(at))?;
            file.write_all(&batch)?;
            batch.clear();
            Ok((spool, file, batch))
        })
        .await?;
        self.spooled = Some((spool, file));
        self.batch = batch;
        Ok(())
    }

    /// All of it is there.
    pub(crate) async fn finish(mut self, length: u64) -> io::Result<Body> {
        self.flush().await?;
        Ok(match self.spooled.take() {
            Some((spool, file)) => Body { length, content: Content::File(spool, file, 0) },
            None => {
                let bytes = Bytes::from(std::mem::take(&mut self.memory));
                let taken = std::mem::take(&mut self.taken);
                let held = Held { room: Arc::clone(&self.room), taken };
                Body { length, content: Content::Memory { bytes, _held: held } }
            }
        })
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.room.give(self.taken);
    }
}

/// A part of the shared room.
#[derive(Debug)]
struct Held {
    room: Arc<Room>,
    taken: usize,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.room.give(self.taken);
    }
}

#[derive(Debug)]
enum Content {
    Memory {
        bytes: Bytes,
        _held: Held,
    },
    /// So many bytes of the file stand before the content.
    File(Spool, File, u64),
}

/// The content of a message that has come: in memory, or in a temporary file that is gone with this value unless it is saved.
#[derive(Debug)]
pub struct Body {
    length: u64,
    content: Content,
}

impl Body {
    /// Its length in bytes.
    #[must_use]
    pub const fn len(&self) -> u64 {
        self.length
    }

    /// Whether it has none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// The bytes, if they are in memory.
    #[must_use]
    pub const fn memory(&self) -> Option<&Bytes> {
        match &self.content {
            Content::Memory { bytes, .. } => Some(bytes),
            Content::File(..) => None,
        }
    }

    /// All bytes; reads them if they are in a file.
    ///
    /// # Errors
    /// The file cannot be read, or there are more than `most` bytes (`FileTooLarge`).
    pub async fn bytes(&self, most: usize) -> io::Result<Bytes> {
        if usize::try_from(self.length).map_or(true, |length| length > most) {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.start(most).await
    }

    /// The first bytes, up to so many.
    pub(crate) async fn start(&self, most: usize) -> io::Result<Bytes> {
        let (file, before) = match &self.content {
            Content::Memory { bytes, .. } => return Ok(bytes.slice(..bytes.len().min(most))),
            Content::File(_, file, before) => (file.try_clone()?, *before),
        };
        blocking(move || {
            let mut file = file;
            let mut all = Vec::new();
            file.seek(SeekFrom::Start(before))?;
            file.take(most as u64).read_to_end(&mut all)?;
            Ok(all.into())
        })
        .await
    }

    /// Without so many bytes at its start.
    pub(crate) fn after(self, bytes: u64) -> Self {
        let length = self.length.saturating_sub(bytes);
        let content = match self.content {
            Content::Memory { bytes: all, _held } => {
                let at = usize::try_from(bytes).map_or(all.len(), |at| at.min(all.len()));
                Content::Memory { bytes: all.slice(at..), _held }
            }
            Content::File(spool, file, before) => Content::File(spool, file, before.saturating_add(bytes)),
        };
        Self { length, content }
    }

    /// Gives it this name, on the disk. A file of this name is never replaced, and never is there one with less than all of the content.
    ///
    /// # Errors
    /// What the system says; `AlreadyExists` if there is such a file. Then nothing was written.
    pub async fn save(self, to: PathBuf) -> io::Result<()> {
        blocking(move || {
            let folder = to.parent().filter(|folder| !folder.as_os_str().is_empty());
            let folder = folder.unwrap_or_else(|| Path::new(".")).to_owned();
            let (held, mut file) = match self.content {
                Content::File(spool, file, 0) if spool.path.parent() == Some(&*folder) => (spool, file),
                Content::File(before_it, mut other, before) => {
                    let (spool, mut file) = spool(&folder, &before_it.room)?;
                    other.seek(SeekFrom::Start(before))?;
                    io::copy(&mut other, &mut file)?;
                    (spool, file)
                }
                Content::Memory { bytes, _held: held } => {
                    let (spool, mut file) = spool(&folder, &held.room)?;
                    file.write_all(&bytes)?;
                    (spool, file)
                }
            };
            file.flush()?;
            file.sync_all()?;
            // A link, unlike a new name, does not replace what is there.
            if let Err(error) = std::fs::hard_link(&held.path, &to) {
                if error.kind() == io::ErrorKind::AlreadyExists || to.exists() {
                    return Err(io::ErrorKind::AlreadyExists.into());
                }
                std::fs::rename(&held.path, &to)?;
            }
            drop(held);
            // The name is to be there after a crash as well, where folders can be written out.
            if let Ok(folder) = File::open(&folder) {
                drop(folder.sync_all());
            }
            Ok(())
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().expect("a folder")
    }

    fn files(folder: &Path) -> usize {
        std::fs::read_dir(folder).expect("a folder").count()
    }

    /// S1: bytes in any order; beyond the bound, or the room of all, they are in a file that is gone with its message.
    #[tokio::test]
    async fn memory_then_a_file() {
        let folder = folder();
        let path: Arc<Path> = folder.path().into();
        let body: Vec<u8> = (0..=255).cycle().take(1_000).collect();
        for (room, bound, spooled) in
            [(1_000, 1_000, false), (999, 1_000, true), (1_000, 999, true), (1_000, 0, true)]
        {
            let room = Room::new(room);
            let mut store = Store::new(&room, bound, &path);
            for at in [500, 0, 700, 200, 400] {
                let until = if at == 400 { 500 } else { (at + 300).min(1_000) };
                store.write(at as u64, &body[at..until]).await.expect("room");
            }
            assert_eq!(files(&path) == 1, spooled, "{bound}");
            let read = store.finish(1_000).await.expect("a body");
            assert_eq!(read.bytes(1_000).await.expect("bytes"), body);
            assert_eq!(read.bytes(999).await.map_err(|it| it.kind()), Err(io::ErrorKind::FileTooLarge));
            drop(read);
            assert_eq!(files(&path), 0);
        }
        let room = Room::new(100);
        let mut store = Store::new(&room, 100, &path);
        store.write(10, b"there").await.expect("room");
        store.write(0, b"0123456789").await.expect("room");
        let read = store.finish(15).await.expect("a body");
        assert_eq!(read.memory().map(|it| &it[..]), Some(&b"0123456789there"[..]));
        assert!(room.left.load(Ordering::Relaxed) < 100, "what is kept counts");
        drop(read);
        assert_eq!(room.left.load(Ordering::Relaxed), 100);
    }

    /// Nothing half-written ever has the name of the whole, and nothing is replaced.
    #[tokio::test]
    async fn saved_whole_or_not_at_all() {
        let (folder, elsewhere) = (folder(), folder());
        let path: Arc<Path> = folder.path().into();
        let room = Room::new(1_000);
        for (bound, place) in [(1_000, &folder), (0, &folder), (0, &elsewhere)] {
            let name = place.path().join(format!("{bound}"));
            for again in [false, true] {
                let mut store = Store::new(&room, bound, &path);
                store.write(0, b"content").await.expect("room");
                let saved = store.finish(7).await.expect("a body").save(name.clone()).await;
                assert_eq!(saved.map_err(|it| it.kind()).is_err(), again);
            }
            assert_eq!(std::fs::read(&name).expect("saved"), b"content");
        }
        assert_eq!((files(folder.path()), files(elsewhere.path())), (2, 1));
    }
}
