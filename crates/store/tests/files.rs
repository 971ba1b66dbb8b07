//! The files: who may open them, and what happens when they are damaged, foreign, too new or full.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::path::Path;
use std::time::Duration;

use nuncio_store::{Fault, Options, Range, Row, Store, Ticket};

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().build().unwrap()
}

fn open(folder: &Path) -> Result<Store, Fault> {
    Store::open(folder, &Options { readers: 1, pace: Duration::ZERO, ..Options::default() })
}

/// A store with something of everything in it, closed.
fn fill(folder: &Path) {
    let store = open(folder).unwrap();
    let tickets = (0..200_u32).map(|number| {
        let owner = format!("{}@x", number % 7);
        let mut batch = store.batch();
        batch.put(&store.table("t"), &owner, &number.to_be_bytes(), vec![b'v'; number as usize * 10]);
        batch.put_blob(&store.blobs("b"), &owner, b"n", vec![b'b'; 70_000]);
        batch.append(&store.log("l"), vec![b'l'; 500], &[Row::new(&owner, "m"), Row::new("all@x", "m")]);
        batch.commit()
    });
    Ticket::join(tickets.collect::<Vec<_>>()).wait().unwrap();
}

#[test]
fn two_do_not_open_one_folder() {
    let folder = tempfile::tempdir().unwrap();
    let first = open(folder.path()).unwrap();
    match open(folder.path()) {
        Err(Fault::InUse { path, pid }) => {
            assert_eq!(path, folder.path());
            assert_eq!(pid, Some(std::process::id()));
        }
        other => panic!("{other:?}"),
    }
    let message = open(folder.path()).unwrap_err().to_string();
    assert!(message.contains(&format!("process {}", std::process::id())), "{message}");
    first.table("t").put("a@x", b"k", "v").wait().unwrap();
    runtime().block_on(first.close()).unwrap();
    let second = open(folder.path()).unwrap();
    drop((first, second));
    open(folder.path()).unwrap();
}

#[test]
fn a_folder_that_cannot_be_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "not a folder").unwrap();
    match open(&file.join("data")) {
        Err(fault @ Fault::Io { .. }) => assert!(fault.to_string().contains("file"), "{fault}"),
        other => panic!("{other:?}"),
    }
    let deep = folder.path().join("a/b/c");
    open(&deep).unwrap();
    assert!(deep.join("store.db").exists());
}

#[cfg(unix)]
#[test]
fn the_files_are_their_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let store = open(&data).unwrap();
    store.table("t").put("a@x", b"k", "v").wait().unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&data), 0o700);
    for entry in std::fs::read_dir(&data).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
}

#[test]
fn a_newer_database_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    fill(folder.path());
    let file = folder.path().join("store.db");
    rusqlite::Connection::open(&file).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let fault = open(folder.path()).unwrap_err();
    let Fault::Newer { path, found: 99, known } = &fault else { panic!("{fault:?}") };
    assert_eq!(path, &file);
    let message = fault.to_string();
    assert!(
        message.contains("store.db") && message.contains("99") && message.contains(&known.to_string()),
        "{message}"
    );
    // Nothing was changed: with its version back it opens.
    rusqlite::Connection::open(&file).unwrap().pragma_update(None, "user_version", *known).unwrap();
    open(folder.path()).unwrap();
}

#[test]
fn another_programs_database_is_refused() {
    type Make = fn(&Path);
    let foreign: [(&str, Make); 5] = [
        ("tables", |file| {
            rusqlite::Connection::open(file)
                .unwrap()
                .execute_batch("CREATE TABLE t (x); CREATE TABLE u (y);")
                .unwrap()
        }),
        ("application", |file| {
            rusqlite::Connection::open(file)
                .unwrap()
                .execute_batch("PRAGMA application_id = 7; CREATE TABLE t (x);")
                .unwrap();
        }),
        ("version", |file| {
            rusqlite::Connection::open(file).unwrap().pragma_update(None, "user_version", -3).unwrap()
        }),
        ("text", |file| {
            std::fs::write(file, "this is a text and no database at all, however long it may be").unwrap()
        }),
        ("zeros", |file| std::fs::write(file, vec![0; 100_000]).unwrap()),
    ];
    for (name, make) in foreign {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("store.db");
        make(&file);
        match open(folder.path()) {
            Err(Fault::Corrupt { path, .. }) => assert_eq!(path, file, "{name}"),
            other => panic!("{name}: {other:?}"),
        }
    }
}

/// Everything that the store can be asked, on whatever the file holds. Answers and faults are both right; a panic is not.
async fn exercise(store: &Store) -> Result<(), Fault> {
    let (table, log, blobs) = (store.table("t"), store.log("l"), store.blobs("b"));
    let mut outcomes = Vec::new();
    outcomes.push(table.owners(None, 100).await.map(drop));
    outcomes.push(log.owners(None, 100).await.map(drop));
    for owner in ["0@x", "3@x", "all@x"] {
        outcomes.push(table.range(owner, Range::all(), 1_000, false).await.map(drop));
        outcomes.push(table.get(owner, &3_u32.to_be_bytes()).await.map(drop));
        outcomes.push(log.read(owner, None, 1_000).await.map(drop));
        outcomes.push(log.read_back(owner, None, 1_000).await.map(drop));
        outcomes.push(log.count(owner).await.map(drop));
        outcomes.push(blobs.get(owner, b"n").await.map(drop));
        outcomes.push(blobs.read(owner, b"n", 60_000, 9_000).await.map(drop));
        outcomes.push(blobs.list(owner, None, 100).await.map(drop));
        outcomes.push(table.put(owner, b"new", vec![b'n'; 100_000]).await);
        outcomes.push(log.append("new", &[Row::new(owner, "")]).1.await);
        outcomes.push(table.compare_and_set(owner, b"new", None, None).await.map(drop));
        outcomes.push(store.drop_owner(owner).await);
    }
    outcomes.push(log.trim(None, nuncio_store::RowId::new(1 << 40)).await);
    outcomes.push(store.close().await);
    outcomes.into_iter().collect()
}

#[test]
fn a_damaged_database_is_reported_and_never_panics() {
    let folder = tempfile::tempdir().unwrap();
    fill(folder.path());
    let whole = std::fs::read(folder.path().join("store.db")).unwrap();
    // Small steps through the pages that hold the structure, large ones through the content.
    let places =
        (0..whole.len()).step_by(whole.len() / 60).chain((0..100).step_by(7)).chain((8192..8500).step_by(31));
    let mut reported = 0;
    let mut damages: Vec<(String, Vec<u8>)> = places
        .map(|place| {
            let mut bytes = whole.clone();
            let end = (place + 16).min(bytes.len());
            bytes[place..end].fill(0xa5);
            (format!("bytes {place}..{end}"), bytes)
        })
        .collect();
    for length in [1, 99, 100, 4096, 8192, 8193, 3 * 8192, whole.len() / 2, whole.len() - 8192] {
        damages.push((format!("cut to {length}"), whole[..length].to_vec()));
    }
    for (damage, bytes) in damages {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("store.db"), bytes).unwrap();
        let outcome = open(folder.path()).and_then(|store| runtime().block_on(exercise(&store)));
        match outcome {
            Ok(()) => {}
            Err(Fault::Corrupt { path, .. }) => {
                assert!(path.starts_with(folder.path()), "{damage}");
                reported += 1;
            }
            // A damaged header may read as a later version, or as a file that cannot be opened.
            Err(Fault::Newer { .. } | Fault::Io { .. }) => reported += 1,
            Err(fault) => panic!("{damage}: {fault:?}"),
        }
    }
    assert!(reported >= 20, "only {reported} damages were noticed");
}

#[test]
fn a_full_disk_is_reported_and_recovers() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options { max_bytes: Some(2 * 1024 * 1024), pace: Duration::ZERO, ..Options::default() };
    let store = Store::open(folder.path(), &options).unwrap();
    let (table, log) = (store.table("t"), store.log("l"));
    let runtime = runtime();
    runtime.block_on(async {
        let mut stored = Vec::new();
        let fault = loop {
            let number = stored.len() as u32;
            assert!(number < 1_000, "the disk never became full");
            match table.put("a@x", &number.to_be_bytes(), vec![b'v'; 30_000]).await {
                Ok(()) => stored.push(number),
                Err(fault) => break fault,
            }
        };
        assert!(matches!(&fault, Fault::Full { .. }), "{fault:?}");
        assert!(fault.to_string().contains("store.db"), "{fault}");
        assert!(matches!(store.health(), Err(Fault::Full { .. })));
        // Still full: nothing is reported as stored, in whatever company it is written.
        let crowd: Vec<_> =
            (0..50).map(|_| log.append(vec![b'l'; 60_000], &[Row::new("a@x", "")]).1).collect();
        let outcomes: Vec<_> = crowd.iter().map(|ticket| ticket.clone().wait()).collect();
        let told = outcomes.iter().filter(|outcome| outcome.is_ok()).count() as u64;
        assert!(told < 50);
        assert_eq!(log.count("a@x").await.unwrap(), told);
        let found = table.range("a@x", Range::all(), 10_000, false).await.unwrap();
        assert_eq!(found.len(), stored.len(), "what was reported as stored is there, and nothing else");
        // With some room it goes on by itself.
        table.delete_range("a@x", Range::all().before(&10_u32.to_be_bytes())).await.unwrap();
        table.put("a@x", b"again", "v").await.unwrap();
        store.health().unwrap();
        store.flush().await.unwrap();
        store.close().await.unwrap();
    });
    let store = open(folder.path()).unwrap();
    assert_eq!(runtime.block_on(store.table("t").get("a@x", b"again")).unwrap().as_deref(), Some(&b"v"[..]));
}

#[test]
fn a_dropped_owner_leaves_no_trace_in_the_files() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).unwrap();
    let (juliet, romeo) = ("juliet@capulet.example", "romeo@montague.example");
    let mut batch = store.batch();
    for number in 0..300_u32 {
        batch.put(&store.table("t"), juliet, &number.to_be_bytes(), "deny-thy-father ".repeat(20));
        batch.append(&store.log("l"), "refuse-thy-name ".repeat(20), &[Row::new(juliet, "balcony")]);
    }
    batch.put(&store.table("t"), juliet, b"large", "deny-thy-father ".repeat(10_000));
    batch.put_blob(&store.blobs("b"), juliet, b"large", "refuse-thy-name ".repeat(10_000));
    batch.append(&store.log("l"), "parting", &[Row::new(juliet, "balcony"), Row::new(romeo, "orchard")]);
    batch.commit().wait().unwrap();
    let holding = |word: &str| {
        let files = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path());
        files
            .filter(|path| {
                std::fs::read(path).unwrap().windows(word.len()).any(|window| window == word.as_bytes())
            })
            .collect::<Vec<_>>()
    };
    let words = [juliet, "deny-thy-father", "refuse-thy-name", "balcony"];
    assert!(words.iter().all(|word| !holding(word).is_empty()), "the search itself works");
    store.drop_owner(juliet).wait().unwrap();
    for word in words {
        assert_eq!(holding(word), Vec::<std::path::PathBuf>::new(), "{word}");
    }
    assert!(
        !holding("parting").is_empty() && !holding("orchard").is_empty(),
        "Romeo keeps his row and the body"
    );
}
