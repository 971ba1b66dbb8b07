//! What every backend keeps to. Each law runs on each backend, with shapes of its own.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, in its helpers too")]

use std::ops::Bound;

use bytes::Bytes;
use nuncio_store::{Entry, Fault, Options, Range, Row, RowId, Store};

type Outcome = Result<(), Fault>;
type Law = (&'static str, fn(&Store, &tokio::runtime::Runtime) -> Outcome);

macro_rules! laws {
    ($($name:ident),+ $(,)?) => {
        /// All of them.
        const LAWS: &[Law] = &[$((stringify!($name), |store, runtime| runtime.block_on($name(store)))),+];
    };
}

laws![
    a_value_is_what_was_put_last,
    keys_are_ordered_as_bytes,
    prefixes_end_where_they_should,
    bounds_hold_at_both_ends,
    pages_join_without_gap_or_overlap,
    a_range_can_be_deleted,
    owners_do_not_see_each_other,
    owners_are_listed_in_order,
    any_text_is_an_owner,
    tables_of_other_names_are_apart,
    large_values_are_like_small_ones,
    a_batch_happens_in_order,
    a_batch_with_a_failed_check_does_not_happen,
    a_check_sees_the_time_before_the_batch,
    compare_and_set_lets_one_win,
    a_batch_belongs_to_one_store,
    limits_are_told,
    numbers_rise_and_are_known_at_once,
    entries_are_read_both_ways,
    one_body_has_many_rows,
    a_redaction_is_one_owners,
    removal_leaves_the_others,
    a_row_may_go_before_it_was_written,
    a_log_is_trimmed,
    batches_span_tables_and_logs,
    a_dropped_owner_is_gone_everywhere,
    nobody_cannot_be_dropped,
    blobs_are_read_in_parts,
    tickets_join,
    reads_see_what_was_committed_before,
];

fn check(store: &Store, backend: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for (name, law) in LAWS {
        if let Err(fault) = law(store, &runtime) {
            panic!("{backend}: {name}: {fault}");
        }
    }
}

#[test]
fn memory_keeps_the_laws() {
    check(&Store::memory(), "memory");
}

#[test]
fn sqlite_keeps_the_laws() {
    let folder = tempfile::tempdir().unwrap();
    check(&Store::open(folder.path(), &Options::default()).unwrap(), "sqlite");
}

/// The laws hold in a store that has lived before: numbers go on, what was left does not disturb.
#[test]
fn sqlite_keeps_the_laws_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options { readers: 1, pace: std::time::Duration::ZERO, ..Options::default() };
    for round in ["first", "second"] {
        let store = Store::open(folder.path(), &options).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        check(&store, round);
        runtime.block_on(async {
            for owner in store.table("t").owners(None, 1000).await.unwrap() {
                store.table("t").delete_range(&owner, Range::all()).await.unwrap();
            }
            for name in ["a@x", "a@x.y", "a@", "b@x", "c@x"] {
                store.drop_owner(name).await.unwrap();
            }
            store.close().await.unwrap();
        });
    }
}

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

async fn keys(store: &Store, name: &'static str, owner: &str, range: Range) -> Result<Vec<Bytes>, Fault> {
    Ok(store.table(name).range(owner, range, 1000, false).await?.into_iter().map(|(key, _)| key).collect())
}

fn ids(entries: &[Entry]) -> Vec<RowId> {
    entries.iter().map(|entry| entry.id).collect()
}

async fn a_value_is_what_was_put_last(store: &Store) -> Outcome {
    let table = store.table("last");
    assert_eq!(table.get("a@x", b"k").await?, None);
    table.put("a@x", b"k", "1").await?;
    table.put("a@x", b"k", "2").await?;
    assert_eq!(table.get("a@x", b"k").await?, Some(bytes("2")));
    table.put("a@x", b"k", "").await?;
    assert_eq!(table.get("a@x", b"k").await?, Some(Bytes::new()), "an empty value is a value");
    table.put("a@x", b"", "no key").await?;
    assert_eq!(table.get("a@x", b"").await?, Some(bytes("no key")), "an empty key is a key");
    table.delete("a@x", b"k").await?;
    table.delete("a@x", b"never was").await?;
    assert_eq!(table.get("a@x", b"k").await?, None);
    assert_eq!(keys(store, "last", "a@x", Range::all()).await?, [Bytes::new()]);
    table.delete("a@x", b"").await
}

const EDGES: &[&[u8]] = &[
    b"",
    b"\x00",
    b"\x00\x00",
    b"\x00\xff",
    b"a",
    b"a\x00",
    b"a\xfe",
    b"a\xff",
    b"a\xff\x00",
    b"a\xff\xff",
    b"b",
    b"\xfe\xff",
    b"\xff",
    b"\xff\x00",
    b"\xff\xff",
    b"\xff\xff\xff",
];

async fn edges(store: &Store) -> Outcome {
    let mut batch = store.batch();
    for key in EDGES.iter().rev() {
        batch.put(&store.table("edges"), "a@x", key, Bytes::from_static(key));
    }
    batch.commit().await
}

async fn keys_are_ordered_as_bytes(store: &Store) -> Outcome {
    edges(store).await?;
    assert_eq!(keys(store, "edges", "a@x", Range::all()).await?, EDGES);
    let mut reverse = store.table("edges").range("a@x", Range::all(), 1000, true).await?;
    reverse.reverse();
    assert_eq!(reverse.into_iter().map(|(_, value)| value).collect::<Vec<_>>(), EDGES);
    Ok(())
}

async fn prefixes_end_where_they_should(store: &Store) -> Outcome {
    edges(store).await?;
    for prefix in EDGES {
        let expected: Vec<_> = EDGES.iter().filter(|key| key.starts_with(prefix)).collect();
        assert_eq!(keys(store, "edges", "a@x", Range::prefix(prefix)).await?, expected, "{prefix:?}");
    }
    assert_eq!(keys(store, "edges", "a@x", Range::prefix(b"nothing")).await?, Vec::<Bytes>::new());
    Ok(())
}

async fn bounds_hold_at_both_ends(store: &Store) -> Outcome {
    edges(store).await?;
    for from in EDGES {
        for to in EDGES {
            for (from, to) in [
                (Bound::Included(*from), Bound::Included(*to)),
                (Bound::Included(*from), Bound::Excluded(*to)),
                (Bound::Excluded(*from), Bound::Included(*to)),
                (Bound::Excluded(*from), Bound::Excluded(*to)),
                (Bound::Unbounded, Bound::Excluded(*to)),
                (Bound::Excluded(*from), Bound::Unbounded),
            ] {
                let range = Range::bounds(from, to);
                let expected: Vec<_> = EDGES.iter().filter(|key| range.contains(key)).collect();
                assert_eq!(keys(store, "edges", "a@x", range).await?, expected, "{from:?} {to:?}");
            }
        }
    }
    Ok(())
}

async fn pages_join_without_gap_or_overlap(store: &Store) -> Outcome {
    edges(store).await?;
    let table = store.table("edges");
    for size in 1..=EDGES.len() {
        for reverse in [false, true] {
            let mut found = Vec::new();
            let mut rest = Range::all();
            loop {
                let page = table.range("a@x", rest.clone(), size, reverse).await?;
                assert!(page.len() <= size);
                let Some((last, _)) = page.last() else { break };
                rest = if reverse { Range::all().before(last) } else { Range::all().after(last) };
                found.extend(page.into_iter().map(|(key, _)| key));
            }
            if reverse {
                found.reverse();
            }
            assert_eq!(found, EDGES, "pages of {size}");
        }
    }
    assert!(table.range("a@x", Range::all(), 0, false).await?.is_empty());
    Ok(())
}

async fn a_range_can_be_deleted(store: &Store) -> Outcome {
    for prefix in EDGES {
        edges(store).await?;
        store.table("edges").delete_range("a@x", Range::prefix(prefix)).await?;
        let left: Vec<_> = EDGES.iter().filter(|key| !key.starts_with(prefix)).collect();
        assert_eq!(keys(store, "edges", "a@x", Range::all()).await?, left, "{prefix:?}");
    }
    edges(store).await?;
    store
        .table("edges")
        .delete_range("a@x", Range::bounds(Bound::Included(b"b"), Bound::Excluded(b"b")))
        .await?;
    assert_eq!(keys(store, "edges", "a@x", Range::all()).await?.len(), EDGES.len());
    Ok(())
}

async fn owners_do_not_see_each_other(store: &Store) -> Outcome {
    let table = store.table("apart");
    // One owner's name begins the other's, and name plus key of one reads like that of the other.
    for (owner, key, value) in
        [("a@x", ".yk", "1"), ("a@x.y", "k", "2"), ("a@", "x.yk", "3"), ("", "a@x.yk", "4")]
    {
        table.put(owner, key.as_bytes(), value).await?;
    }
    assert_eq!(keys(store, "apart", "a@x", Range::all()).await?, [".yk"]);
    assert_eq!(keys(store, "apart", "a@x.y", Range::all()).await?, ["k"]);
    assert_eq!(table.get("a@x", b"k").await?, None);
    table.delete_range("a@x", Range::all()).await?;
    assert_eq!(table.get("a@x.y", b"k").await?, Some(bytes("2")));
    store.drop_owner("a@").await?;
    assert_eq!(table.get("", b"a@x.yk").await?, Some(bytes("4")));
    assert_eq!(table.owners(None, 10).await?, ["", "a@x.y"]);
    Ok(())
}

async fn owners_are_listed_in_order(store: &Store) -> Outcome {
    let table = store.table("listed");
    let all = ["", "a@x", "a@x.y", "b@x", "zoë@x", "ü@x"];
    for owner in all.iter().rev() {
        for key in [b"1", b"2", b"3"] {
            table.put(owner, key, *owner).await?;
        }
    }
    assert_eq!(table.owners(None, 100).await?, all);
    assert_eq!(table.owners(None, 2).await?, all[..2]);
    assert_eq!(table.owners(Some(""), 100).await?, all[1..]);
    assert_eq!(table.owners(Some("a@x"), 2).await?, all[2..4]);
    assert_eq!(table.owners(Some("a@x."), 1).await?, ["a@x.y"], "the place need not be an owner");
    assert!(table.owners(Some("ü@x"), 100).await?.is_empty());
    assert!(table.owners(None, 0).await?.is_empty());
    for key in [b"1", b"2", b"3"] {
        table.delete("b@x", key).await?;
    }
    assert!(!table.owners(None, 100).await?.contains(&"b@x".to_owned()), "who has nothing is no owner");
    Ok(())
}

async fn any_text_is_an_owner(store: &Store) -> Outcome {
    let table = store.table("text");
    let log = store.log("text");
    let owners = [
        "ジュリエット@例え.テスト",
        "\u{10ffff}@x",
        "a\0b",
        "a\0",
        "a",
        "A",
        "é",
        "e\u{301}",
        "%",
        "_",
        "'; DROP TABLE cells; --",
    ];
    for (number, owner) in owners.iter().enumerate() {
        table.put(owner, b"k", number.to_string()).await?;
        log.append(number.to_string(), &[Row::new(owner, "")]).1.await?;
    }
    let mut sorted = owners.to_vec();
    sorted.sort_unstable();
    assert_eq!(table.owners(None, 100).await?, sorted);
    assert_eq!(log.owners(None, 100).await?, sorted);
    for (number, owner) in owners.iter().enumerate() {
        assert_eq!(table.get(owner, b"k").await?, Some(bytes(&number.to_string())), "{owner:?}");
        assert_eq!(log.read(owner, None, 10).await?[0].body, number.to_string(), "{owner:?}");
        store.drop_owner(owner).await?;
    }
    assert!(table.owners(None, 1).await?.is_empty() && log.owners(None, 1).await?.is_empty());
    Ok(())
}

async fn tables_of_other_names_are_apart(store: &Store) -> Outcome {
    store.table("one").put("a@x", b"k", "1").await?;
    store.table("other").put("a@x", b"k", "2").await?;
    store.blobs("one").put("a@x", b"k", "3").await?;
    let (_, appended) = store.log("one").append("4", &[Row::new("a@x", "")]);
    appended.await?;
    assert_eq!(store.table("one").get("a@x", b"k").await?, Some(bytes("1")));
    assert_eq!(store.table("other").get("a@x", b"k").await?, Some(bytes("2")));
    assert_eq!(store.blobs("one").get("a@x", b"k").await?, Some(bytes("3")));
    assert_eq!(store.log("one").read("a@x", None, 9).await?[0].body, "4");
    store.drop_owner("a@x").await
}

async fn large_values_are_like_small_ones(store: &Store) -> Outcome {
    let table = store.table("large");
    let sizes = [65_535, 65_536, 65_537, 300_000, 3_000_000];
    let value = |size: usize, salt: u8| (0..size).map(|at| (at % 251) as u8 ^ salt).collect::<Vec<u8>>();
    for size in sizes {
        table.put("a@x", b"k", value(size, 0)).await?;
        assert_eq!(table.get("a@x", b"k").await?.as_deref(), Some(&value(size, 0)[..]), "{size}");
        table.put("a@x", b"k", value(size, 7)).await?;
        assert_eq!(table.get("a@x", b"k").await?.as_deref(), Some(&value(size, 7)[..]), "{size}");
        assert!(table.compare_and_set("a@x", b"k", Some(&value(size, 7)), Some(b"small")).await?, "{size}");
        assert!(table.compare_and_set("a@x", b"k", Some(b"small"), Some(&value(size, 1))).await?, "{size}");
        assert!(!table.compare_and_set("a@x", b"k", Some(&value(size, 2)), None).await?, "{size}");
        let found = table.range("a@x", Range::all(), 10, false).await?;
        assert_eq!(found, [(bytes("k"), Bytes::from(value(size, 1)))]);
    }
    let log = store.log("large");
    let (ids, appended) =
        log.append(value(300_000, 0), &[Row::new("a@x", value(70_000, 1)), Row::new("b@x", "")]);
    appended.await?;
    log.redact("a@x", ids[0], value(200_000, 2)).await?;
    assert_eq!(log.get("a@x", ids[0]).await?.unwrap().body, value(200_000, 2));
    assert_eq!(log.get("a@x", ids[0]).await?.unwrap().meta, value(70_000, 1));
    assert_eq!(log.get("b@x", ids[1]).await?.unwrap().body, value(300_000, 0));
    store.drop_owner("a@x").await?;
    store.drop_owner("b@x").await
}

async fn a_batch_happens_in_order(store: &Store) -> Outcome {
    let table = store.table("order");
    let mut batch = store.batch();
    batch.put(&table, "a@x", b"1", "first");
    batch.put(&table, "a@x", b"1", "second");
    batch.put(&table, "a@x", b"2", "x");
    batch.delete(&table, "a@x", b"2");
    batch.put(&table, "a@x", b"3", "x");
    batch.delete_range(&table, "a@x", Range::prefix(b"3"));
    batch.put(&table, "a@x", b"3", "again");
    assert_eq!(batch.len(), 7);
    assert_eq!(store.table("order").get("a@x", b"1").await?, None, "nothing happens before the commit");
    store.commit(batch).await?;
    let found = table.range("a@x", Range::all(), 10, false).await?;
    assert_eq!(found, [(bytes("1"), bytes("second")), (bytes("3"), bytes("again"))]);
    assert!(store.batch().is_empty());
    store.batch().commit().await?;
    table.delete_range("a@x", Range::all()).await
}

async fn a_batch_with_a_failed_check_does_not_happen(store: &Store) -> Outcome {
    let (table, log) = (store.table("failed"), store.log("failed"));
    table.put("a@x", b"k", "1").await?;
    for expected in [None, Some(&b"2"[..]), Some(b""), Some(b"11")] {
        let mut batch = store.batch();
        batch.put(&table, "a@x", b"other", "written");
        batch.append(&log, "written", &[Row::new("a@x", "")]);
        batch.check(&table, "a@x", b"k", expected);
        batch.put(&table, "a@x", b"k", "written");
        let before = table.put("b@x", b"k", "before");
        let failed = batch.commit();
        let after = table.put("b@x", b"l", "after");
        assert!(matches!(failed.await, Err(Fault::Conflict)), "{expected:?}");
        before.await?;
        after.await?;
        assert_eq!(table.range("a@x", Range::all(), 10, false).await?, [(bytes("k"), bytes("1"))]);
        assert_eq!(table.range("b@x", Range::all(), 10, false).await?.len(), 2, "neighbours are unharmed");
        assert_eq!(log.count("a@x").await?, 0);
        table.delete_range("b@x", Range::all()).await?;
    }
    let mut batch = store.batch();
    batch.check(&table, "a@x", b"k", Some(b"1"));
    batch.check(&table, "a@x", b"absent", None);
    batch.delete(&table, "a@x", b"k");
    batch.commit().await?;
    assert_eq!(table.get("a@x", b"k").await?, None);
    Ok(())
}

async fn a_check_sees_the_time_before_the_batch(store: &Store) -> Outcome {
    let table = store.table("before");
    let mut batch = store.batch();
    batch.put(&table, "a@x", b"k", "1");
    batch.check(&table, "a@x", b"k", None);
    let first = batch.commit();
    // Committed behind it, it sees it, durable or not.
    let mut batch = store.batch();
    batch.check(&table, "a@x", b"k", Some(b"1"));
    batch.put(&table, "a@x", b"k", "2");
    let second = batch.commit();
    first.await?;
    second.await?;
    assert_eq!(table.get("a@x", b"k").await?, Some(bytes("2")));
    table.delete("a@x", b"k").await
}

async fn compare_and_set_lets_one_win(store: &Store) -> Outcome {
    let table = store.table("cas");
    assert!(table.compare_and_set("a@x", b"k", None, Some(b"0")).await?);
    assert!(!table.compare_and_set("a@x", b"k", None, Some(b"0")).await?);
    let claims: Vec<_> = (0..20)
        .map(|number: u8| {
            let mut batch = store.batch();
            batch.check(&table, "a@x", b"k", Some(b"0"));
            batch.put(&table, "a@x", b"k", vec![number]);
            batch.commit()
        })
        .collect();
    let mut won = Vec::new();
    for (number, claim) in claims.into_iter().enumerate() {
        match claim.await {
            Ok(()) => won.push(number as u8),
            Err(Fault::Conflict) => {}
            Err(fault) => return Err(fault),
        }
    }
    assert_eq!(won, [0], "the first in call order");
    assert_eq!(table.get("a@x", b"k").await?.as_deref(), Some(&won[..]));
    assert!(table.compare_and_set("a@x", b"k", Some(&won), None).await?);
    assert_eq!(table.get("a@x", b"k").await?, None);
    assert!(table.compare_and_set("a@x", b"k", None, None).await?, "absent and to be absent");
    Ok(())
}

async fn a_batch_belongs_to_one_store(store: &Store) -> Outcome {
    let stranger = Store::memory();
    let mut batch = store.batch();
    batch.put(&stranger.table("t"), "a@x", b"k", "1");
    assert!(matches!(batch.commit().await, Err(Fault::Misuse { .. })));
    let mut batch = stranger.batch();
    batch.put(&stranger.table("t"), "a@x", b"k", "1");
    assert!(matches!(store.commit(batch).await, Err(Fault::Misuse { .. })));
    Ok(())
}

async fn limits_are_told(store: &Store) -> Outcome {
    let table = store.table("limits");
    let key = vec![b'k'; nuncio_store::MAX_KEY + 1];
    let owner = "o".repeat(nuncio_store::MAX_KEY + 1);
    assert!(matches!(table.put("a@x", &key, "").await, Err(Fault::Misuse { .. })));
    assert!(matches!(table.put(&owner, b"k", "").await, Err(Fault::Misuse { .. })));
    assert!(matches!(
        store.log("limits").append("", &[Row::new(&owner, "")]).1.await,
        Err(Fault::Misuse { .. })
    ));
    table.put(&owner[1..], &key[1..], "fits").await?;
    assert_eq!(table.get(&owner[1..], &key[1..]).await?, Some(bytes("fits")));
    store.drop_owner(&owner[1..]).await
}

async fn numbers_rise_and_are_known_at_once(store: &Store) -> Outcome {
    let log = store.log("rise");
    let mut batch = store.batch();
    let mut given =
        batch.append(&log, "1", &[Row::new("a@x", "m1"), Row::new("b@x", "m2"), Row::new("a@x", "m3")]);
    given.extend(batch.append(&log, "2", &[Row::new("a@x", "m4")]));
    assert_eq!(batch.append(&log, "nobody's", &[]), []);
    let (more, ticket) = log.append("3", &[Row::new("b@x", "m5")]);
    given.extend(more);
    ticket.await?;
    batch.commit().await?;
    assert_eq!(given.len(), 5);
    assert!(given[0].get() >= 1 && given.windows(2).all(|pair| pair[0] < pair[1]), "{given:?}");
    assert_eq!(ids(&log.read("a@x", None, 10).await?), [given[0], given[2], given[3]]);
    assert_eq!(ids(&log.read("b@x", None, 10).await?), [given[1], given[4]]);
    let metas: Vec<_> = log.read("a@x", None, 10).await?.into_iter().map(|entry| entry.meta).collect();
    assert_eq!(metas, ["m1", "m3", "m4"]);
    // What is gone leaves its numbers taken.
    log.trim(None, RowId::new(u64::MAX)).await?;
    let (next, ticket) = log.append("4", &[Row::new("a@x", "")]);
    ticket.await?;
    assert!(next[0] > given[4]);
    log.trim(None, RowId::new(u64::MAX)).await
}

async fn entries_are_read_both_ways(store: &Store) -> Outcome {
    let log = store.log("ways");
    let mut given = Vec::new();
    for number in 0..10 {
        let (ids, ticket) = log.append(number.to_string(), &[Row::new("a@x", ""), Row::new("b@x", "")]);
        given.push(ids[0]);
        ticket.await?;
    }
    assert_eq!(ids(&log.read("a@x", None, 100).await?), given);
    assert_eq!(ids(&log.read("a@x", Some(given[3]), 3).await?), given[4..7]);
    assert!(log.read("a@x", Some(given[9]), 3).await?.is_empty());
    assert_eq!(ids(&log.read("a@x", Some(RowId::new(0)), 1).await?), given[..1]);
    assert!(log.read("a@x", Some(RowId::new(u64::MAX)), 1).await?.is_empty());
    let newest: Vec<_> = given.iter().rev().copied().collect();
    assert_eq!(ids(&log.read_back("a@x", None, 100).await?), newest);
    assert_eq!(ids(&log.read_back("a@x", Some(given[3]), 2).await?), [given[2], given[1]]);
    assert_eq!(ids(&log.read_back("a@x", Some(RowId::new(u64::MAX)), 1).await?), newest[..1]);
    assert!(log.read_back("a@x", Some(RowId::new(0)), 1).await?.is_empty());
    assert!(log.read("a@x", None, 0).await?.is_empty() && log.read("c@x", None, 9).await?.is_empty());
    assert_eq!(log.get("a@x", given[4]).await?.map(|entry| entry.body), Some(bytes("4")));
    assert_eq!(log.get("b@x", given[4]).await?, None, "it is another owner's");
    assert_eq!(log.count("a@x").await?, 10);
    assert_eq!(log.count("c@x").await?, 0);
    log.trim(None, RowId::new(u64::MAX)).await
}

async fn one_body_has_many_rows(store: &Store) -> Outcome {
    let log = store.log("shared");
    let owners: Vec<String> = (0..50).map(|number| format!("{number:02}@x")).collect();
    let rows: Vec<Row> = owners.iter().map(|owner| Row::new(owner, owner.clone())).collect();
    let (given, ticket) = log.append("shared", &rows);
    ticket.await?;
    for (owner, id) in owners.iter().zip(&given) {
        let entry = Entry { id: *id, meta: bytes(owner), body: bytes("shared"), redacted: false };
        assert_eq!(log.read(owner, None, 10).await?, [entry]);
        assert_eq!(log.count(owner).await?, 1);
    }
    assert_eq!(log.owners(None, 100).await?, owners);
    assert_eq!(log.owners(Some("48@x"), 100).await?, ["49@x"]);
    assert_eq!(log.owners(None, 1).await?, ["00@x"]);
    log.trim(None, RowId::new(u64::MAX)).await
}

async fn a_redaction_is_one_owners(store: &Store) -> Outcome {
    let log = store.log("redacted");
    let (given, ticket) =
        log.append("secret", &[Row::new("a@x", "m"), Row::new("b@x", "m"), Row::new("a@x", "m")]);
    ticket.await?;
    log.redact("a@x", given[0], "gone").await?;
    log.redact("b@x", given[0], "not b's").await?;
    log.redact("a@x", RowId::new(u64::MAX), "nobody's").await?;
    let seen = |entries: Vec<Entry>| {
        entries.into_iter().map(|entry| (entry.body, entry.redacted)).collect::<Vec<_>>()
    };
    assert_eq!(seen(log.read("a@x", None, 9).await?), [(bytes("gone"), true), (bytes("secret"), false)]);
    assert_eq!(seen(log.read("b@x", None, 9).await?), [(bytes("secret"), false)]);
    log.redact("a@x", given[0], "").await?;
    assert_eq!(seen(log.read("a@x", None, 1).await?), [(Bytes::new(), true)]);
    log.remove("b@x", &[given[1]]).await?;
    log.remove("a@x", &[given[0]]).await?;
    assert_eq!(seen(log.read("a@x", None, 9).await?), [(bytes("secret"), false)]);
    log.trim(None, RowId::new(u64::MAX)).await
}

async fn removal_leaves_the_others(store: &Store) -> Outcome {
    let log = store.log("removed");
    let (given, ticket) = log.append("x", &[Row::new("a@x", ""), Row::new("b@x", ""), Row::new("a@x", "")]);
    ticket.await?;
    log.remove("a@x", &[given[0], given[1], RowId::new(u64::MAX)]).await?;
    log.remove("a@x", &[]).await?;
    assert_eq!(ids(&log.read("a@x", None, 9).await?), [given[2]]);
    assert_eq!(
        ids(&log.read("b@x", None, 9).await?),
        [given[1]],
        "a number alone removes nothing of another owner"
    );
    log.remove("a@x", &[given[2]]).await?;
    assert_eq!(log.owners(None, 9).await?, ["b@x"]);
    assert_eq!(log.read("b@x", None, 9).await?[0].body, "x");
    log.remove("b@x", &[given[1]]).await
}

/// What is appended and removed in one breath leaves nothing behind, and disturbs nothing beside it.
async fn a_row_may_go_before_it_was_written(store: &Store) -> Outcome {
    let log = store.log("fleeting");
    let (mut tickets, mut kept, mut others) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..50 {
        let (gone, first) = log.append("gone", &[Row::new("a@x", "")]);
        let (stays, second) = log.append("stays", &[Row::new("a@x", "")]);
        let (other, third) = log.append("other", &[Row::new("b@x", "")]);
        let (redacted, fourth) = log.append("long", &[Row::new("a@x", "")]);
        tickets.extend([first, second, third, fourth]);
        tickets.push(log.redact("a@x", redacted[0], "short"));
        tickets.push(log.remove("a@x", &[gone[0]]));
        tickets.push(log.remove("a@x", &[redacted[0]]));
        // Not its owner: nothing happens.
        tickets.push(log.remove("a@x", &[other[0]]));
        kept.push(stays[0]);
        others.push(other[0]);
    }
    for ticket in tickets {
        ticket.await?;
    }
    assert_eq!(ids(&log.read("a@x", None, 200).await?), kept);
    assert_eq!(ids(&log.read("b@x", None, 200).await?), others);
    assert!(log.read("a@x", None, 200).await?.iter().all(|entry| entry.body == "stays"));
    Ok(())
}

async fn a_log_is_trimmed(store: &Store) -> Outcome {
    let log = store.log("trimmed");
    let mut given = Vec::new();
    for _ in 0..5 {
        given.extend(log.append("x", &[Row::new("a@x", ""), Row::new("b@x", "")]).0);
    }
    log.trim(Some("a@x"), given[4]).await?;
    assert_eq!(ids(&log.read("a@x", None, 9).await?), [given[4], given[6], given[8]]);
    assert_eq!(log.count("b@x").await?, 5);
    log.trim(None, given[7]).await?;
    assert_eq!(ids(&log.read("a@x", None, 9).await?), [given[8]]);
    assert_eq!(ids(&log.read("b@x", None, 9).await?), [given[7], given[9]]);
    assert_eq!(log.read("b@x", None, 1).await?[0].body, "x");
    log.trim(None, RowId::new(u64::MAX)).await?;
    assert!(log.owners(None, 9).await?.is_empty());
    Ok(())
}

async fn batches_span_tables_and_logs(store: &Store) -> Outcome {
    let (table, log, blobs) = (store.table("span"), store.log("span"), store.blobs("span"));
    let mut batch = store.batch();
    batch.put(&table, "a@x", b"k", "1");
    let given = batch.append(&log, "2", &[Row::new("a@x", "")]);
    batch.put_blob(&blobs, "a@x", b"n", "3");
    batch.redact(&log, "a@x", given[0], "4");
    batch.commit().await?;
    assert_eq!(table.get("a@x", b"k").await?, Some(bytes("1")));
    assert_eq!(log.read("a@x", None, 9).await?[0].body, "4", "a batch may change what it appended");
    assert_eq!(blobs.get("a@x", b"n").await?, Some(bytes("3")));
    let mut batch = store.batch();
    batch.remove(&log, "a@x", given[0]);
    batch.trim(&log, None, RowId::new(1));
    batch.delete_blob(&blobs, "a@x", b"n");
    batch.delete(&table, "a@x", b"k");
    batch.commit().await?;
    assert!(table.owners(None, 1).await?.is_empty() && log.owners(None, 1).await?.is_empty());
    assert!(blobs.owners(None, 1).await?.is_empty());
    Ok(())
}

async fn a_dropped_owner_is_gone_everywhere(store: &Store) -> Outcome {
    let (one, other, log, blobs) =
        (store.table("drop1"), store.table("drop2"), store.log("drop"), store.blobs("drop"));
    let mut given = Vec::new();
    for owner in ["a@x", "a@x.y", "b@x"] {
        one.put(owner, b"k", owner).await?;
        other.put(owner, b"k", vec![1; 100_000]).await?;
        blobs.put(owner, b"n", vec![2; 100_000]).await?;
        given.extend(log.append("own", &[Row::new(owner, "")]).0);
    }
    let (shared, ticket) = log.append("shared", &[Row::new("a@x", ""), Row::new("b@x", "")]);
    ticket.await?;
    log.redact("a@x", shared[0], "redacted").await?;
    let dropped = store.drop_owner("a@x");
    let again = one.put("a@x", b"new", "life");
    dropped.await?;
    again.await?;
    assert_eq!(keys(store, "drop1", "a@x", Range::all()).await?, ["new"], "what comes later stays");
    assert!(keys(store, "drop2", "a@x", Range::all()).await?.is_empty());
    assert_eq!(blobs.size("a@x", b"n").await?, None);
    assert_eq!(log.count("a@x").await?, 0);
    for owner in ["a@x.y", "b@x"] {
        assert_eq!(one.get(owner, b"k").await?, Some(bytes(owner)));
        assert_eq!(other.get(owner, b"k").await?.map(|value| value.len()), Some(100_000));
        assert_eq!(blobs.size(owner, b"n").await?, Some(100_000));
    }
    assert_eq!(log.count("a@x.y").await?, 1);
    assert_eq!(log.get("b@x", shared[1]).await?.map(|entry| entry.body), Some(bytes("shared")));
    store.drop_owner("b@x").await?;
    assert_eq!(log.owners(None, 9).await?, ["a@x.y"]);
    store.drop_owner("never was").await?;
    store.drop_owner("a@x").await?;
    store.drop_owner("a@x.y").await
}

async fn nobody_cannot_be_dropped(store: &Store) -> Outcome {
    store.table("nobody").put("", b"k", "1").await?;
    assert!(matches!(store.drop_owner("").await, Err(Fault::Misuse { .. })));
    assert_eq!(store.table("nobody").get("", b"k").await?, Some(bytes("1")));
    store.table("nobody").delete("", b"k").await
}

async fn blobs_are_read_in_parts(store: &Store) -> Outcome {
    let blobs = store.blobs("parts");
    for size in [0_usize, 10, 200_000] {
        let content: Vec<u8> = (0..size).map(|at| (at % 253) as u8).collect();
        blobs.put("a@x", b"n", content.clone()).await?;
        assert_eq!(blobs.get("a@x", b"n").await?, Some(content.clone().into()));
        assert_eq!(blobs.size("a@x", b"n").await?, Some(size as u64));
        for (offset, length) in
            [(0, 0), (0, 5), (3, 5), (8, 5), (9, usize::MAX), (199_000, 5_000), (200_000, 1), (u64::MAX, 1)]
        {
            let start = usize::try_from(offset).unwrap_or(usize::MAX).min(size);
            let end = start.saturating_add(length).min(size);
            let part = blobs.read("a@x", b"n", offset, length).await?;
            assert_eq!(part.as_deref(), Some(&content[start..end]), "{offset} {length} of {size}");
        }
    }
    blobs.put("a@x", b"m", "small").await?;
    assert_eq!(blobs.list("a@x", None, 9).await?, [(bytes("m"), 5), (bytes("n"), 200_000)]);
    assert_eq!(blobs.list("a@x", Some(b"m"), 9).await?, [(bytes("n"), 200_000)]);
    assert_eq!(blobs.list("a@x", None, 1).await?, [(bytes("m"), 5)]);
    assert_eq!(blobs.read("a@x", b"absent", 0, 1).await?, None);
    assert_eq!(blobs.owners(None, 9).await?, ["a@x"]);
    blobs.delete("a@x", b"m").await?;
    blobs.delete("a@x", b"n").await?;
    assert_eq!(blobs.size("a@x", b"n").await?, None);
    Ok(())
}

async fn tickets_join(store: &Store) -> Outcome {
    use nuncio_store::Ticket;
    let table = store.table("join");
    assert!(Ticket::done().is_done() && Ticket::join([]).is_done());
    let one = table.put("a@x", b"1", "1");
    let both = Ticket::join([one.clone(), table.put("a@x", b"2", "2"), Ticket::done()]);
    both.clone().await?;
    assert!(one.is_done() && both.is_done() && matches!(both.peek(), Some(Ok(()))));
    let failing =
        Ticket::join([table.put("a@x", b"1", "1"), store.drop_owner(""), table.delete("a@x", b"2")]);
    assert!(matches!(failing.await, Err(Fault::Misuse { .. })));
    table.delete("a@x", b"1").wait()?;
    assert!(table.owners(None, 1).await?.is_empty());
    Ok(())
}

async fn reads_see_what_was_committed_before(store: &Store) -> Outcome {
    let (table, log) = (store.table("own"), store.log("own"));
    for round in 0..50 {
        let owner = format!("{}@x", round % 3);
        let pending = table.put(&owner, b"k", round.to_string());
        let (given, appended) = log.append(round.to_string(), &[Row::new(&owner, "")]);
        assert_eq!(table.get(&owner, b"k").await?, Some(bytes(&round.to_string())));
        assert!(pending.is_done());
        assert_eq!(ids(&log.read_back(&owner, None, 1).await?), given);
        assert!(appended.is_done());
    }
    let pending = table.put("new@x", b"k", "1");
    assert!(table.owners(None, 9).await?.contains(&"new@x".to_owned()) && pending.is_done());
    let pending = store.log("own").trim(None, RowId::new(u64::MAX));
    assert_eq!(log.count("1@x").await?, 0, "what is done to everybody is seen by each");
    assert!(pending.is_done());
    let last = table.delete_range("new@x", Range::all());
    store.flush().await?;
    assert!(last.is_done());
    store.ready().await;
    store.settled().await;
    store.health()
}
