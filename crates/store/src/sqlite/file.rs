//! The files: who may open them, what they look like inside, what their errors mean.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::{Shape, kind_code, resumed, signed, unsigned};
use crate::log::RESERVE;
use crate::store::Kind;
use crate::{Fault, Options};

/// Marks the file as ours, so that no other program's database is taken for one: "Nunc".
const APPLICATION: i64 = 0x4e75_6e63;
/// Bytes a page; only a new database takes it.
const PAGE: i64 = 8192;
/// Pages that a reader's connection keeps in memory: the upper levels of the trees, and what is hot. The system's cache has the rest.
const READER_PAGES: i64 = 64;
/// How long a connection waits for another one's lock.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// Each step of the schema's history, in order; the file's `user_version` counts those that it has.
const MIGRATIONS: &[&str] = &["
    CREATE TABLE shapes (
        id INTEGER PRIMARY KEY, kind INTEGER NOT NULL, name TEXT NOT NULL,
        given INTEGER NOT NULL,  -- a log's: no number up to this one is given again
        UNIQUE (kind, name)
    ) STRICT;
    CREATE TABLE large (id INTEGER PRIMARY KEY, content BLOB NOT NULL) STRICT;
    CREATE TABLE cells (
        shape INTEGER NOT NULL, owner TEXT NOT NULL, key BLOB NOT NULL,
        value BLOB, large INTEGER,  -- one of the two
        PRIMARY KEY (shape, owner, key)
    ) STRICT, WITHOUT ROWID;
    CREATE TRIGGER cell_removed AFTER DELETE ON cells WHEN OLD.large IS NOT NULL BEGIN
        DELETE FROM large WHERE id = OLD.large;
    END;
    CREATE TRIGGER cell_replaced AFTER UPDATE OF large ON cells WHEN OLD.large IS NOT NULL BEGIN
        DELETE FROM large WHERE id = OLD.large;
    END;
    CREATE TABLE bodies (id INTEGER PRIMARY KEY, rows INTEGER NOT NULL, body BLOB NOT NULL) STRICT;
    CREATE TABLE rows (
        log INTEGER NOT NULL, owner TEXT NOT NULL, id INTEGER NOT NULL,
        body INTEGER NOT NULL, redacted INTEGER NOT NULL, meta BLOB NOT NULL,
        PRIMARY KEY (log, owner, id)
    ) STRICT, WITHOUT ROWID;
    CREATE TRIGGER row_removed AFTER DELETE ON rows BEGIN
        UPDATE bodies SET rows = rows - 1 WHERE id = OLD.body;
        DELETE FROM bodies WHERE id = OLD.body AND rows <= 0;
    END;
    CREATE TRIGGER row_redacted AFTER UPDATE OF body ON rows BEGIN
        UPDATE bodies SET rows = rows - 1 WHERE id = OLD.body;
        DELETE FROM bodies WHERE id = OLD.body AND rows <= 0;
    END;
"];

/// Makes the data folder if there is none, for its owner's eyes only.
pub(super) fn make_folder(folder: &Path) -> Result<(), Fault> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder).map_err(|error| Fault::io(folder, "create the data folder", &error))
}

/// A file for its owner's eyes only, made if there is none.
fn private(path: &Path) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// The right to write in a folder. The system takes it back when the process ends, however it ends.
#[derive(Debug)]
pub(super) struct Lock(#[expect(dead_code, reason = "the lock lives as long as the file is open")] File);

impl Lock {
    /// Takes the lock of a folder and leaves the process's number in it, for the message of the next one.
    pub(super) fn take(folder: &Path) -> Result<Self, Fault> {
        let path = folder.join("store.lock");
        let mut file = private(&path).map_err(|error| Fault::io(&path, "open", &error))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                let _ = file.take(20).read_to_string(&mut holder);
                return Err(Fault::InUse { path: folder.to_owned(), pid: holder.trim().parse().ok() });
            }
            Err(TryLockError::Error(error)) => return Err(Fault::io(&path, "lock", &error)),
        }
        let noted = file
            .set_len(0)
            .and_then(|()| file.seek(SeekFrom::Start(0)))
            .and_then(|_| writeln!(file, "{}", std::process::id()));
        noted.map_err(|error| Fault::io(&path, "write", &error))?;
        Ok(Self(file))
    }
}

/// Where the database is and how it is to be opened.
#[derive(Debug)]
pub(super) struct Database {
    pub(super) path: PathBuf,
    sync: bool,
    max_bytes: Option<u64>,
}

impl Database {
    pub(super) fn new(folder: &Path, options: &Options) -> Self {
        Self { path: folder.join("store.db"), sync: options.sync, max_bytes: options.max_bytes }
    }

    /// What an error of SQLite says about this file.
    pub(super) fn fault(&self, doing: &'static str, error: &rusqlite::Error) -> Fault {
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => {
                Fault::Full { path: self.path.clone(), why: error.to_string().into() }
            }
            Some(
                ErrorCode::DatabaseCorrupt
                | ErrorCode::NotADatabase
                | ErrorCode::ConstraintViolation
                | ErrorCode::TypeMismatch,
            ) => Fault::corrupt(&self.path, error),
            Some(_) => Fault::io(&self.path, doing, error),
            // Not SQLite itself but a value of the wrong kind in one of its columns.
            None => Fault::corrupt(&self.path, error),
        }
    }

    /// Opens the database for writing, makes it if there is none, and brings its schema up to date.
    pub(super) fn create(&self) -> Result<Connection, Fault> {
        private(&self.path).map_err(|error| Fault::io(&self.path, "create", &error))?;
        let mut connection = self.open_writer()?;
        self.migrate(&mut connection)?;
        Ok(connection)
    }

    /// Opens the database for writing as it is.
    pub(super) fn open_writer(&self) -> Result<Connection, Fault> {
        let connection = self.open(OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        let prepared = (|| {
            connection.pragma_update(None, "page_size", PAGE)?;
            let mode: String =
                connection.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get(0))?;
            connection.pragma_update(None, "synchronous", if self.sync { "full" } else { "normal" })?;
            connection.pragma_update(None, "journal_size_limit", 64 * 1024 * 1024)?;
            // What is deleted is overwritten: a removed account leaves nothing to be found in free pages.
            connection.pragma_update(None, "secure_delete", "on")?;
            if let Some(bytes) = self.max_bytes {
                let pages = (signed(bytes) / PAGE).max(1);
                connection.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()))?;
            }
            Ok(mode)
        })();
        match prepared {
            Ok(mode) if mode.eq_ignore_ascii_case("wal") => Ok(connection),
            Ok(_) => {
                Err(Fault::io(&self.path, "keep a write-ahead log beside", &"the file system cannot do it"))
            }
            Err(error) => Err(self.fault("open", &error)),
        }
    }

    /// Opens the database for reading.
    pub(super) fn open_reader(&self) -> Result<Connection, Fault> {
        let connection = self.open(OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        connection
            .pragma_update(None, "cache_size", READER_PAGES)
            .map_err(|error| self.fault("open", &error))?;
        Ok(connection)
    }

    fn open(&self, mode: OpenFlags) -> Result<Connection, Fault> {
        let opened = Connection::open_with_flags(&self.path, mode | OpenFlags::SQLITE_OPEN_NO_MUTEX);
        let prepared = opened.and_then(|connection| {
            connection.busy_timeout(PATIENCE)?;
            connection.set_prepared_statement_cache_capacity(64);
            // One plan for a statement, whatever is bound to it: otherwise each new range has it compiled again.
            connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
            connection.pragma_update(None, "trusted_schema", false)?;
            connection.pragma_update(None, "cell_size_check", true)?;
            connection.pragma_update(None, "temp_store", "memory")?;
            Ok(connection)
        });
        prepared.map_err(|error| self.fault("open", &error))
    }

    fn migrate(&self, connection: &mut Connection) -> Result<(), Fault> {
        let read = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
        let facts = read("application_id")
            .and_then(|application| Ok((application, read("user_version")?, read("page_count")?)));
        let (application, found, pages) = facts.map_err(|error| self.fault("read", &error))?;
        let known = MIGRATIONS.len() as i64;
        let ours = application == APPLICATION || (application == 0 && found == 0 && pages <= 1);
        if !ours || found < 0 {
            return Err(Fault::corrupt(&self.path, &"it is another program's database"));
        }
        if found > known {
            return Err(Fault::Newer { path: self.path.clone(), found, known });
        }
        for (step, sql) in (1..).zip(MIGRATIONS).skip(found as usize) {
            let stepped = (|| {
                let transaction = connection.transaction()?;
                transaction.execute_batch(sql)?;
                transaction.pragma_update(None, "user_version", step)?;
                transaction.pragma_update(None, "application_id", APPLICATION)?;
                transaction.commit()
            })();
            stepped.map_err(|error| self.fault("bring up to date", &error))?;
        }
        Ok(())
    }
}

/// The shapes that the database has. The logs' next numbers are noted as given before this returns.
pub(super) fn load_shapes(database: &Database, connection: &Connection) -> Result<Vec<Shape>, Fault> {
    let loaded = (|| {
        let transaction = connection.unchecked_transaction()?;
        let mut shapes = Vec::new();
        let mut statement = transaction.prepare("SELECT id, kind, name, given FROM shapes")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let code: i64 = row.get(1)?;
            let kinds = [Kind::Table, Kind::Log, Kind::Blobs];
            // A kind from nowhere: its content is out of reach, but not in the way.
            let Some(kind) = kinds.into_iter().find(|kind| kind_code(*kind) == code) else { continue };
            let (number, name) = (row.get(0)?, row.get(2)?);
            let numbers = Arc::new(resumed(unsigned(row.get(3)?)?));
            shapes.push(Shape { number, kind, name, numbers, noted: true });
        }
        drop(rows);
        drop(statement);
        let sql = "UPDATE shapes SET given = given + ?1 WHERE kind = ?2";
        transaction.execute(sql, (signed(RESERVE), kind_code(Kind::Log)))?;
        transaction.commit()?;
        Ok(shapes)
    })();
    loaded.map_err(|error: rusqlite::Error| database.fault("read", &error))
}
