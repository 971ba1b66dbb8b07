//! Random histories against a model of plain maps, on every backend, through restarts.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::collections::BTreeMap;

use bytes::Bytes;
use nuncio_store::{Fault, Options, Range, Row, RowId, Store};
use proptest::prelude::*;
use proptest::sample::select;

const OWNERS: [&str; 5] = ["", "a@x", "a@x.y", "b@x", "zoë@x"];
const KEYS: [&[u8]; 6] = [b"", b"a", b"a\xff", b"a\xff\xff", b"b", b"\xff\xff"];

#[derive(Clone, Debug)]
enum Step {
    Put(usize, usize, Vec<u8>),
    Delete(usize, usize),
    DeletePrefix(usize, usize),
    /// A batch that demands a value which may be wrong, then writes another.
    Swap(usize, usize, Option<Vec<u8>>, Vec<u8>),
    Append(Vec<u8>, Vec<usize>),
    /// The row is chosen among all that were ever given; the owner may be a wrong one.
    Remove(usize, prop::sample::Index),
    Redact(usize, prop::sample::Index, Vec<u8>),
    Trim(Option<usize>, prop::sample::Index),
    Drop(usize),
    Restart,
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => select(vec![b"".to_vec(), b"1".to_vec(), b"2".to_vec()]),
        1 => (65_530_usize..65_540, any::<u8>()).prop_map(|(size, byte)| vec![byte; size]),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let (owner, key, row) = (0..OWNERS.len(), 0..KEYS.len(), any::<prop::sample::Index>());
    prop_oneof![
        6 => (owner.clone(), key.clone(), value()).prop_map(|(o, k, v)| Step::Put(o, k, v)),
        2 => (owner.clone(), key.clone()).prop_map(|(o, k)| Step::Delete(o, k)),
        1 => (owner.clone(), key.clone()).prop_map(|(o, k)| Step::DeletePrefix(o, k)),
        3 => (owner.clone(), key, prop::option::of(value()), value()).prop_map(|(o, k, e, v)| Step::Swap(o, k, e, v)),
        6 => (value(), prop::collection::vec(owner.clone(), 0..4)).prop_map(|(b, o)| Step::Append(b, o)),
        2 => (owner.clone(), row.clone()).prop_map(|(o, r)| Step::Remove(o, r)),
        2 => (owner.clone(), row.clone(), value()).prop_map(|(o, r, b)| Step::Redact(o, r, b)),
        1 => (prop::option::of(owner.clone()), row).prop_map(|(o, r)| Step::Trim(o, r)),
        1 => (1..OWNERS.len()).prop_map(Step::Drop),
        1 => Just(Step::Restart),
    ]
}

/// A row's meta, body and whether it was redacted.
type Seen = (Bytes, Bytes, bool);

#[derive(Default)]
struct Model {
    cells: BTreeMap<(usize, Vec<u8>), Vec<u8>>,
    rows: BTreeMap<(usize, RowId), Seen>,
    given: Vec<RowId>,
}

impl Model {
    fn row(&self, index: prop::sample::Index) -> RowId {
        if self.given.is_empty() { RowId::new(7) } else { *index.get(&self.given) }
    }

    /// Does one step on both sides.
    async fn step(&mut self, store: &Store, step: &Step) -> Result<(), Fault> {
        let (table, log) = (store.table("model"), store.log("model"));
        match step {
            Step::Put(owner, key, value) => {
                drop(table.put(OWNERS[*owner], KEYS[*key], value.clone()));
                self.cells.insert((*owner, KEYS[*key].to_vec()), value.clone());
            }
            Step::Delete(owner, key) => {
                drop(table.delete(OWNERS[*owner], KEYS[*key]));
                self.cells.remove(&(*owner, KEYS[*key].to_vec()));
            }
            Step::DeletePrefix(owner, key) => {
                drop(table.delete_range(OWNERS[*owner], Range::prefix(KEYS[*key])));
                self.cells.retain(|(whose, name), _| whose != owner || !name.starts_with(KEYS[*key]));
            }
            Step::Swap(owner, key, expected, new) => {
                let swapped =
                    table.compare_and_set(OWNERS[*owner], KEYS[*key], expected.as_deref(), Some(new)).await?;
                let holds = self.cells.get(&(*owner, KEYS[*key].to_vec())) == expected.as_ref();
                assert_eq!(swapped, holds, "{step:?}");
                if holds {
                    self.cells.insert((*owner, KEYS[*key].to_vec()), new.clone());
                }
            }
            Step::Append(body, owners) => {
                let meta = Bytes::from(format!("{}", self.given.len()));
                let rows: Vec<_> =
                    owners.iter().map(|owner| Row::new(OWNERS[*owner], meta.clone())).collect();
                let (ids, ticket) = log.append(body.clone(), &rows);
                drop(ticket);
                for (owner, id) in owners.iter().zip(ids) {
                    assert!(self.given.last().is_none_or(|last| *last < id), "numbers rise");
                    self.given.push(id);
                    self.rows.insert((*owner, id), (meta.clone(), body.clone().into(), false));
                }
            }
            Step::Remove(owner, index) => {
                let id = self.row(*index);
                drop(log.remove(OWNERS[*owner], &[id]));
                self.rows.remove(&(*owner, id));
            }
            Step::Redact(owner, index, body) => {
                let id = self.row(*index);
                drop(log.redact(OWNERS[*owner], id, body.clone()));
                if let Some((_, seen, redacted)) = self.rows.get_mut(&(*owner, id)) {
                    (*seen, *redacted) = (body.clone().into(), true);
                }
            }
            Step::Trim(owner, index) => {
                let before = self.row(*index);
                drop(log.trim(owner.map(|owner| OWNERS[owner]), before));
                self.rows
                    .retain(|(whose, id), _| owner.is_some_and(|owner| owner != *whose) || *id >= before);
            }
            Step::Drop(owner) => {
                drop(store.drop_owner(OWNERS[*owner]));
                self.cells.retain(|(whose, _), _| whose != owner);
                self.rows.retain(|(whose, _), _| whose != owner);
            }
            Step::Restart => {}
        }
        Ok(())
    }

    async fn compare(&self, store: &Store) -> Result<(), Fault> {
        store.flush().await?;
        let (table, log) = (store.table("model"), store.log("model"));
        for (number, owner) in OWNERS.into_iter().enumerate() {
            let cells = table.range(owner, Range::all(), usize::MAX, false).await?;
            let expected: Vec<(Bytes, Bytes)> = self
                .cells
                .iter()
                .filter(|((whose, _), _)| *whose == number)
                .map(|((_, key), value)| (key.clone().into(), value.clone().into()))
                .collect();
            assert_eq!(cells, expected, "the cells of {owner:?}");
            let found = log.read(owner, None, usize::MAX).await?;
            let found: Vec<_> =
                found.into_iter().map(|row| (row.id, (row.meta, row.body, row.redacted))).collect();
            let rows = self.rows.iter().filter(|((whose, _), _)| *whose == number);
            let expected: Vec<_> = rows.map(|((_, id), seen)| (*id, seen.clone())).collect();
            assert_eq!(found, expected, "the rows of {owner:?}");
            assert_eq!(log.count(owner).await?, expected.len() as u64);
        }
        let owners = OWNERS.iter().enumerate().filter(|(n, _)| self.cells.keys().any(|(o, _)| o == n));
        assert_eq!(
            table.owners(None, 100).await?,
            owners.map(|(_, owner)| owner.to_string()).collect::<Vec<_>>()
        );
        Ok(())
    }
}

fn run(steps: &[Step], mut store: Store, restart: impl Fn(Store) -> Store) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut model = Model::default();
    for step in steps {
        if matches!(step, Step::Restart) {
            runtime.block_on(model.compare(&store)).unwrap();
            store = restart(store);
            runtime.block_on(model.compare(&store)).unwrap();
        }
        runtime.block_on(model.step(&store, step)).unwrap();
    }
    runtime.block_on(model.compare(&store)).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn memory_is_as_the_model(steps in prop::collection::vec(step(), 1..60)) {
        run(&steps, Store::memory(), |store| store);
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        cases: ProptestConfig::default().cases.div_ceil(4),
        ..ProptestConfig::default()
    })]

    #[test]
    fn sqlite_is_as_the_model(steps in prop::collection::vec(step(), 1..60)) {
        let folder = tempfile::tempdir().unwrap();
        // Durability is not what is tested here.
        let options = Options { readers: 2, pace: std::time::Duration::ZERO, sync: false, ..Options::default() };
        let open = || Store::open(folder.path(), &options).unwrap();
        run(&steps, open(), |store| { drop(store); open() });
        // Nothing is left behind that no key and no row leads to.
        let database = rusqlite::Connection::open(folder.path().join("store.db")).unwrap();
        let count = |sql: &str| database.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
        prop_assert_eq!(count("SELECT count(*) FROM large WHERE id NOT IN (SELECT large FROM cells WHERE large IS NOT NULL)"), 0);
        prop_assert_eq!(count("SELECT count(*) FROM bodies WHERE rows <> (SELECT count(*) FROM rows WHERE rows.body = bodies.id)"), 0);
        prop_assert_eq!(count("SELECT count(*) FROM bodies WHERE rows <= 0"), 0);
        prop_assert_eq!(count("SELECT count(*) FROM rows WHERE body NOT IN (SELECT id FROM bodies)"), 0);
    }
}
