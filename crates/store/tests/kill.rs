//! `kill -9` at any moment: what was reported durable is there, all of a batch or nothing of it, and no number is given twice.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::collections::{BTreeMap, HashSet};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::SystemTime;

use nuncio_store::{Options, Range, Row, RowId, Store, Ticket};

/// Set for the process that is to be killed: the folder that it writes to.
const CHILD: &str = "NUNCIO_KILL_CHILD";
const OWNERS: [&str; 3] = ["a@x", "b@x", "c@x"];

/// Writes numbered batches without end and says what it does: `given N` before a batch is committed, `done N` once it is durable.
fn child(folder: &Path) -> ! {
    let store = Store::open(folder, &Options::default()).unwrap();
    let (store, table, log) = (&store, &store.table("kill"), &store.log("kill"));
    // The semicolon tells a whole number from one that was cut short.
    let say = &|word: &str, number: u64| writeln!(std::io::stdout().lock(), "\n{word} {number};").unwrap();
    std::thread::scope(|scope| {
        for owner in OWNERS {
            scope.spawn(move || {
                loop {
                    // Several batches on their way at once, some of them large, one owner's body shared with another.
                    let tickets: Vec<_> = (0..7)
                        .map(|turn| {
                            let mut batch = store.batch();
                            let body = vec![b'x'; if turn == 3 { 100_000 } else { 300 }];
                            let ids = batch.append(
                                log,
                                body,
                                &[Row::new(owner, owner), Row::new("shared@x", owner)],
                            );
                            let number = ids[0].get();
                            say("given", number);
                            batch.put(
                                table,
                                owner,
                                &number.to_be_bytes(),
                                vec![b'v'; if turn == 5 { 70_000 } else { 30 }],
                            );
                            (number, batch.commit())
                        })
                        .collect();
                    for (number, ticket) in tickets {
                        ticket.wait().unwrap();
                        say("done", number);
                    }
                }
            });
        }
    });
    unreachable!("the writers never end")
}

#[test]
fn nothing_reported_durable_is_lost_by_kill_9() {
    if let Some(folder) = std::env::var_os(CHILD) {
        child(Path::new(&folder));
    }
    let rounds: u32 = std::env::var("NUNCIO_KILL_ROUNDS").map_or(5, |rounds| rounds.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let mut given = HashSet::new();
    let mut done = HashSet::new();
    let mut acknowledged = 0;
    for round in 0..rounds {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "nothing_reported_durable_is_lost_by_kill_9", "--nocapture"])
            .env(CHILD, folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        // The moment is random, but counted in what the child has said, not in time.
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        let patience = 1 + u64::from(now.subsec_nanos()) % 1_000;
        let mut killed = false;
        let mut heard = 0;
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            let line = line.unwrap();
            match line
                .strip_suffix(';')
                .and_then(|line| line.split_once(' '))
                .map(|(word, number)| (word, number.parse::<u64>()))
            {
                Some(("given", Ok(number))) => {
                    assert!(given.insert(number), "round {round}: {number} was given twice");
                    assert!(given.insert(number + 1), "round {round}: {number} + 1 was given twice");
                }
                Some(("done", Ok(number))) => assert!(done.insert(number), "round {round}: {number} twice"),
                _ => continue,
            }
            heard += 1;
            if heard == patience {
                child.kill().unwrap();
                killed = true;
            }
        }
        child.wait().unwrap();
        assert!(killed, "round {round}: the child ended by itself after {heard} words");
        check(folder.path(), round, &given, &done);
        if round % 10 == 9 {
            // Begins anew, so that a long run does not spend its time reading what it has seen before.
            let store = Store::open(folder.path(), &Options::default()).unwrap();
            Ticket::join([&OWNERS[..], &["shared@x"]].concat().iter().map(|owner| store.drop_owner(owner)))
                .wait()
                .unwrap();
            acknowledged += std::mem::take(&mut done).len();
        }
    }
    acknowledged += done.len();
    assert!(acknowledged > 0, "no round got as far as a durable batch");
}

fn check(folder: &Path, round: u32, given: &HashSet<u64>, done: &HashSet<u64>) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let store = Store::open(folder, &Options::default()).unwrap();
    runtime.block_on(async {
        let (table, log) = (store.table("kill"), store.log("kill"));
        let mut rows = BTreeMap::new();
        for owner in OWNERS {
            let entries = log.read(owner, None, usize::MAX).await.unwrap();
            let cells = table.range(owner, Range::all(), usize::MAX, false).await.unwrap();
            let keys: Vec<_> = entries.iter().map(|entry| entry.id.get().to_be_bytes()).collect();
            assert!(
                cells.iter().map(|(key, _)| &key[..]).eq(keys.iter().map(|key| &key[..])),
                "round {round}: half a batch"
            );
            assert!(
                entries.iter().all(|entry| entry.body.len() >= 300 && entry.meta == owner),
                "round {round}"
            );
            rows.extend(entries.into_iter().map(|entry| (entry.id.get(), entry.body)));
        }
        let shared = log.read("shared@x", None, usize::MAX).await.unwrap();
        let shared: BTreeMap<_, _> =
            shared.into_iter().map(|entry| (entry.id.get() - 1, entry.body)).collect();
        assert!(shared == rows, "round {round}: half an append");
        for number in done {
            assert!(rows.contains_key(number), "round {round}: {number} was reported durable and is lost");
        }
        for number in rows.keys() {
            assert!(given.contains(number), "round {round}: {number} came from nowhere");
        }
        let (next, ticket) = log.append("next", &[Row::new("next@x", "")]);
        ticket.await.unwrap();
        assert!(given.iter().all(|number| RowId::new(*number) < next[0]), "round {round}: a number again");
        store.drop_owner("next@x").await.unwrap();
        store.close().await.unwrap();
    });
    let database = rusqlite::Connection::open(folder.join("store.db")).unwrap();
    let verdict: String = database.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(verdict, "ok", "round {round}");
}
