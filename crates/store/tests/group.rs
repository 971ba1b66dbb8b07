//! The writer: group commit, order, a bounded queue, metrics.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, in its helpers too")]

use std::time::Duration;

use nuncio_store::{Fault, Options, Row, Store};
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

fn open(folder: &tempfile::TempDir, options: &Options) -> (Store, Registry) {
    let store = Store::open(folder.path(), options).unwrap();
    let mut registry = Registry::default();
    store.register(&mut registry);
    (store, registry)
}

fn metric(registry: &Registry, name: &str) -> f64 {
    let mut text = String::new();
    encode(&mut text, registry).unwrap();
    let line = text.lines().find(|line| line.split_once(' ').is_some_and(|(left, _)| left == name));
    line.unwrap_or_else(|| panic!("no {name} in\n{text}")).split_once(' ').unwrap().1.parse().unwrap()
}

#[test]
fn many_tickets_share_few_transactions() {
    let folder = tempfile::tempdir().unwrap();
    let (store, registry) = open(&folder, &Options::default());
    let table = store.table("group");
    let before = metric(&registry, "store_transactions_total");
    let tickets: Vec<_> =
        (0..5_000_u32).map(|number| table.put("a@x", &number.to_be_bytes(), "value")).collect();
    // A later ticket is never done before an earlier one.
    for (number, ticket) in tickets.iter().enumerate().rev() {
        if ticket.is_done() {
            assert!(tickets[..number].iter().all(|earlier| earlier.is_done()));
            break;
        }
    }
    for ticket in tickets {
        ticket.wait().unwrap();
    }
    let transactions = metric(&registry, "store_transactions_total") - before;
    assert!((10.0..=500.0).contains(&transactions), "{transactions} transactions for 5000 batches");
    assert!(metric(&registry, "store_batches_total") >= 5_000.0);
    assert!(metric(&registry, "store_writes_total") >= 5_000.0);
    assert!(metric(&registry, "store_commit_seconds_count") >= transactions);
    assert_eq!(metric(&registry, "store_queued_writes"), 0.0);
}

/// What is kept only until it is passed on costs the disk nothing; whatever else is written, read or closed does not wait for it.
#[test]
fn a_row_that_lingers_is_taken_out_or_written_with_what_comes_behind() {
    let folder = tempfile::tempdir().unwrap();
    let (store, registry) =
        open(&folder, &Options { linger: Duration::from_secs(3_600), ..Options::default() });
    let (log, table) = (store.log("lingering"), store.table("lingering"));
    let append = |owner: &str| {
        let (ids, ticket) = log.append("body", &[Row::new(owner, "")]);
        (ids[0], ticket)
    };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let read = |owner: &str| runtime.block_on(log.read(owner, None, 9)).unwrap().len();

    let before = metric(&registry, "store_transactions_total");
    for _ in 0..1_000 {
        let (first, one) = append("a@x");
        let (second, two) = append("b@x");
        log.remove("b@x", &[second]).wait().unwrap();
        assert!(!one.is_done() && !two.is_done(), "tickets resolve in their order");
        log.remove("a@x", &[first]).wait().unwrap();
        one.wait().unwrap();
        two.wait().unwrap();
    }
    assert_eq!(metric(&registry, "store_passed_total"), 2_000.0);
    assert_eq!(metric(&registry, "store_transactions_total"), before, "nothing was written");

    let (_, lingers) = append("a@x");
    table.put("c@x", b"k", "v").wait().unwrap();
    assert!(lingers.is_done(), "what is behind it does not wait for it");
    drop(append("a@x"));
    assert_eq!(read("a@x"), 2, "nor does a reader of the same owner");
    drop(append("b@x"));
    runtime.block_on(store.flush()).unwrap();
    drop(append("b@x"));
    runtime.block_on(store.close()).unwrap();
    let again = Store::open(folder.path(), &Options::default()).unwrap();
    assert_eq!(runtime.block_on(again.log("lingering").count("b@x")).unwrap(), 2);
}

#[test]
fn conflicts_are_counted_and_harm_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let (store, registry) = open(&folder, &Options::default());
    let table = store.table("conflicts");
    let tickets: Vec<_> = (0..300_u32)
        .map(|number| {
            let mut batch = store.batch();
            batch.put(&table, "a@x", &number.to_be_bytes(), "value");
            if number % 3 == 0 {
                batch.check(&table, "a@x", b"absent", Some(b"something"));
            }
            batch.commit()
        })
        .collect();
    for (number, ticket) in tickets.into_iter().enumerate() {
        match ticket.wait() {
            Ok(()) => assert_ne!(number % 3, 0),
            Err(fault) => assert!(number % 3 == 0 && matches!(fault, Fault::Conflict), "{number}: {fault}"),
        }
    }
    assert_eq!(metric(&registry, "store_faults_total{kind=\"conflict\"}"), 100.0);
    assert!(store.health().is_ok(), "a conflict is no fault of the store");
}

#[test]
fn the_queue_is_bounded_and_the_runtime_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let (queue, group) = (10, 5);
    let (store, _registry) =
        open(&folder, &Options { queue, group, pace: Duration::ZERO, ..Options::default() });
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    runtime.block_on(async {
        let writer = store.clone();
        // The only worker thread blocks again and again; the reads beside it are answered all the same.
        let writing = tokio::spawn(async move {
            let table = writer.table("bounded");
            let mut tickets = Vec::new();
            for number in 0..1_000_u32 {
                tickets.push(table.put("a@x", &number.to_be_bytes(), "value"));
                let open = tickets.iter().rev().take_while(|ticket| !ticket.is_done()).count();
                // Those in the queue, those in the writer's hands, and those which it has just written.
                assert!(open <= queue + 2 * group, "{open} batches are waiting");
            }
            nuncio_store::Ticket::join(tickets).await
        });
        let reading = tokio::spawn(async move {
            for _ in 0..100 {
                store.table("bounded").get("b@x", b"k").await.unwrap();
                store.ready().await;
            }
        });
        reading.await.unwrap();
        writing.await.unwrap().unwrap();
    });
}

#[test]
fn a_batch_larger_than_the_queue_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _registry) =
        open(&folder, &Options { queue: 1, group: 1, queue_bytes: 1, ..Options::default() });
    let table = store.table("large");
    for round in 0..3_u32 {
        let mut batch = store.batch();
        for number in 0..100_u32 {
            batch.put(&table, "a@x", &(round * 100 + number).to_be_bytes(), "value");
        }
        drop(batch.commit());
    }
    let last = table.put("a@x", b"last", "value");
    last.wait().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let found = runtime.block_on(table.range("a@x", nuncio_store::Range::all(), 1_000, false)).unwrap();
    assert_eq!(found.len(), 301);
}

#[test]
fn closing_writes_what_is_queued_and_ends_the_rest() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _registry) = open(&folder, &Options::default());
    let table = store.table("close");
    let tickets: Vec<_> =
        (0..2_000_u32).map(|number| table.put("a@x", &number.to_be_bytes(), "value")).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        store.close().await.unwrap();
        store.clone().close().await.unwrap();
        assert!(tickets.iter().all(|ticket| matches!(ticket.peek(), Some(Ok(())))));
        assert!(matches!(table.put("a@x", b"late", "value").await, Err(Fault::Closed)));
        assert!(matches!(table.get("a@x", b"late").await, Err(Fault::Closed)));
        assert!(matches!(store.health(), Err(Fault::Closed)));
        assert!(!folder.path().join("store.db-wal").exists(), "all is in the database proper");
        let again = Store::open(folder.path(), &Options::default()).unwrap();
        let found =
            again.table("close").range("a@x", nuncio_store::Range::all(), 9_999, false).await.unwrap();
        assert_eq!(found.len(), 2_000);
        let memory = Store::memory();
        memory.close().await.unwrap();
        assert!(matches!(memory.table("t").put("a@x", b"k", "v").await, Err(Fault::Closed)));
        assert!(matches!(memory.table("t").get("a@x", b"k").await, Err(Fault::Closed)));
    });
}
