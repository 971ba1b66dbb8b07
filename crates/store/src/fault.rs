//! What can go wrong, with the file it happened to and what would be right.

use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Why the store did not do as asked.
///
/// [`Fault::Conflict`] and [`Fault::Misuse`] are about one batch and leave nothing of it behind. After any other
/// fault of a commit the batch is *not known* to be durable; it may still be found after a restart.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// The operating system refused to read or write.
    #[error("cannot {doing} {}: {why}; nothing of it is counted as stored", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What was attempted, as a verb.
        doing: &'static str,
        /// The system's reason.
        why: Arc<str>,
    },
    /// The database is not what this store wrote.
    #[error("{} is damaged or not a store of this server: {why}; put back a backup of the folder", path.display())]
    Corrupt {
        /// The database file.
        path: PathBuf,
        /// What was found.
        why: Arc<str>,
    },
    /// A value was not what a [`Batch::check`](crate::Batch::check) expected; nothing of the batch was written.
    #[error("a value was changed by someone else in the meantime")]
    Conflict,
    /// Another process has the folder open for writing.
    #[error(
        "the data folder {} is in use by {}; stop it first, or use another folder", path.display(),
        pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
    )]
    InUse {
        /// The data folder.
        path: PathBuf,
        /// Who holds it, if it said so.
        pid: Option<u32>,
    },
    /// The database was written by a later version of the program.
    #[error(
        "{} has schema version {found}, this program knows versions up to {known}; \
         run the newer program, or put back a backup from before the upgrade", path.display()
    )]
    Newer {
        /// The database file.
        path: PathBuf,
        /// The version in the file.
        found: i64,
        /// The latest version that this program can read.
        known: i64,
    },
    /// The disk, or the size that [`Options::max_bytes`](crate::Options::max_bytes) allows, is used up.
    #[error("no room is left for {}: {why}; free some space, writing goes on by itself", path.display())]
    Full {
        /// The database file.
        path: PathBuf,
        /// The limit that was met.
        why: Arc<str>,
    },
    /// The store has been closed.
    #[error("the store is closed")]
    Closed,
    /// The caller asked for something that no store does, such as dropping the owner `""`.
    #[error("the store was asked for something impossible: {why}")]
    Misuse {
        /// What, and the limit if there is one.
        why: Arc<str>,
    },
}

impl Fault {
    pub(crate) fn io(path: &Path, doing: &'static str, why: &impl ToString) -> Self {
        Self::Io { path: path.to_owned(), doing, why: why.to_string().into() }
    }

    pub(crate) fn corrupt(path: &Path, why: &impl ToString) -> Self {
        Self::Corrupt { path: path.to_owned(), why: why.to_string().into() }
    }

    pub(crate) fn misuse(why: &impl ToString) -> Self {
        Self::Misuse { why: why.to_string().into() }
    }

    /// A short fixed word for metrics and logs: `io`, `corrupt`, `conflict`, `in-use`, `newer`, `full`, `closed`, `misuse`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Io { .. } => "io",
            Self::Corrupt { .. } => "corrupt",
            Self::Conflict => "conflict",
            Self::InUse { .. } => "in-use",
            Self::Newer { .. } => "newer",
            Self::Full { .. } => "full",
            Self::Closed => "closed",
            Self::Misuse { .. } => "misuse",
        }
    }
}
