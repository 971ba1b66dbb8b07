//! The backend that forgets: for tests, and for a server that keeps nothing.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use crate::batch::Op;
use crate::log::{Entry, Numbers, RowId, Span};
use crate::store::{Kind, View};
use crate::{Fault, Range};

/// Everything in maps under one lock; a batch is applied as it is committed.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    state: Mutex<State>,
}

type Owners<K, V> = BTreeMap<Arc<str>, BTreeMap<K, V>>;

#[derive(Debug, Default)]
pub(crate) struct State {
    shapes: HashMap<(Kind, String), (u32, Arc<Numbers>)>,
    cells: HashMap<u32, Owners<Bytes, Bytes>>,
    rows: HashMap<u32, Owners<RowId, Entry>>,
    closed: bool,
}

impl Memory {
    pub(crate) fn declare(&self, kind: Kind, name: &str) -> (u32, Arc<Numbers>) {
        let mut state = self.state.lock();
        let number = state.shapes.len() as u32 + 1;
        let fresh = || (number, Arc::new(Numbers::new(0, u64::MAX)));
        state.shapes.entry((kind, name.to_owned())).or_insert_with(fresh).clone()
    }

    pub(crate) fn commit(&self, ops: Vec<Op>) -> Result<(), Fault> {
        let mut state = self.state.lock();
        if state.closed {
            return Err(Fault::Closed);
        }
        for op in &ops {
            if let Op::Check { shape, owner, key, expected } = op
                && state.cell(*shape, owner, key) != expected.as_ref()
            {
                return Err(Fault::Conflict);
            }
        }
        ops.into_iter().for_each(|op| state.apply(op));
        Ok(())
    }

    pub(crate) fn read<T>(&self, look: impl FnOnce(&dyn View) -> Result<T, Fault>) -> Result<T, Fault> {
        let state = self.state.lock();
        if state.closed { Err(Fault::Closed) } else { look(&*state) }
    }

    pub(crate) fn close(&self) {
        self.state.lock().closed = true;
    }
}

impl State {
    fn cell(&self, shape: u32, owner: &str, key: &[u8]) -> Option<&Bytes> {
        self.cells.get(&shape)?.get(owner)?.get(key)
    }

    fn apply(&mut self, op: Op) {
        match op {
            Op::Check { .. } => {}
            Op::Put { shape, owner, key, value } => {
                self.cells.entry(shape).or_default().entry(owner).or_default().insert(key, value);
            }
            Op::Delete { shape, owner, key } => edit(&mut self.cells, shape, &owner, |cells| {
                cells.remove(&key);
            }),
            Op::DeleteRange { shape, owner, range } => edit(&mut self.cells, shape, &owner, |cells| {
                cells.retain(|key, _| !range.contains(key));
            }),
            Op::Append { shape, body, first, rows } => {
                let log = self.rows.entry(shape).or_default();
                for (number, row) in (first.0..).zip(rows) {
                    let entry =
                        Entry { id: RowId(number), meta: row.meta, body: body.clone(), redacted: false };
                    log.entry(row.owner).or_default().insert(entry.id, entry);
                }
            }
            Op::Remove { shape, owner, id } => edit(&mut self.rows, shape, &owner, |rows| {
                rows.remove(&id);
            }),
            Op::Redact { shape, owner, id, body } => edit(&mut self.rows, shape, &owner, |rows| {
                if let Some(entry) = rows.get_mut(&id) {
                    entry.body = body;
                    entry.redacted = true;
                }
            }),
            Op::Trim { shape, owner: Some(owner), before } => {
                edit(&mut self.rows, shape, &owner, |rows| rows.retain(|id, _| *id >= before));
            }
            Op::Trim { shape, owner: None, before } => {
                if let Some(owners) = self.rows.get_mut(&shape) {
                    owners.values_mut().for_each(|rows| rows.retain(|id, _| *id >= before));
                    owners.retain(|_, rows| !rows.is_empty());
                }
            }
            Op::DropOwner { owner } => {
                self.cells.values_mut().for_each(|owners| drop(owners.remove(&owner)));
                self.rows.values_mut().for_each(|owners| drop(owners.remove(&owner)));
            }
        }
    }
}

/// Changes what one owner has of a shape; an owner who has nothing left is no owner.
fn edit<K, V>(
    shapes: &mut HashMap<u32, Owners<K, V>>,
    shape: u32,
    owner: &str,
    change: impl FnOnce(&mut BTreeMap<K, V>),
) {
    let Some(owners) = shapes.get_mut(&shape) else { return };
    let Some(own) = owners.get_mut(owner) else { return };
    change(own);
    if own.is_empty() {
        owners.remove(owner);
    }
}

fn names<K, V>(owners: Option<&Owners<K, V>>, after: Option<&str>, limit: usize) -> Vec<String> {
    let from = after.map_or(Bound::Unbounded, Bound::Excluded);
    owners.map_or_else(Vec::new, |owners| {
        owners
            .range::<str, _>((from, Bound::Unbounded))
            .take(limit)
            .map(|(owner, _)| (**owner).to_owned())
            .collect()
    })
}

fn page<T>(found: impl DoubleEndedIterator<Item = T>, limit: usize, reverse: bool) -> Vec<T> {
    if reverse { found.rev().take(limit).collect() } else { found.take(limit).collect() }
}

impl View for State {
    fn get(&self, shape: u32, owner: &str, key: &[u8]) -> Result<Option<Bytes>, Fault> {
        Ok(self.cell(shape, owner, key).cloned())
    }

    fn range(
        &self,
        shape: u32,
        owner: &str,
        range: &Range,
        limit: usize,
        reverse: bool,
    ) -> Result<Vec<(Bytes, Bytes)>, Fault> {
        let Some(cells) = self.cells.get(&shape).and_then(|owners| owners.get(owner)) else {
            return Ok(Vec::new());
        };
        if range.is_empty() {
            return Ok(Vec::new());
        }
        let found = cells.range((range.from.clone(), range.to.clone()));
        Ok(page(found.map(|(key, value)| (key.clone(), value.clone())), limit, reverse))
    }

    fn owners(&self, shape: u32, after: Option<&str>, limit: usize) -> Result<Vec<String>, Fault> {
        Ok(names(self.cells.get(&shape), after, limit))
    }

    fn part(
        &self,
        shape: u32,
        owner: &str,
        key: &[u8],
        offset: u64,
        length: usize,
    ) -> Result<Option<Bytes>, Fault> {
        Ok(self.cell(shape, owner, key).map(|content| {
            let start = usize::try_from(offset).unwrap_or(usize::MAX).min(content.len());
            content.slice(start..start.saturating_add(length).min(content.len()))
        }))
    }

    fn size(&self, shape: u32, owner: &str, key: &[u8]) -> Result<Option<u64>, Fault> {
        Ok(self.cell(shape, owner, key).map(|content| content.len() as u64))
    }

    fn sizes(
        &self,
        shape: u32,
        owner: &str,
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Bytes, u64)>, Fault> {
        let range = after.map_or_else(Range::all, |after| Range::all().after(after));
        let found = self.range(shape, owner, &range, limit, false)?;
        Ok(found.into_iter().map(|(name, content)| (name, content.len() as u64)).collect())
    }

    fn entries(
        &self,
        shape: u32,
        owner: &str,
        span: Span,
        limit: usize,
        reverse: bool,
    ) -> Result<Vec<Entry>, Fault> {
        let Some(rows) = self.rows.get(&shape).and_then(|owners| owners.get(owner)) else {
            return Ok(Vec::new());
        };
        Ok(page(rows.range(span).map(|(_, entry)| entry.clone()), limit, reverse))
    }

    fn count(&self, shape: u32, owner: &str) -> Result<u64, Fault> {
        Ok(self.rows.get(&shape).and_then(|owners| owners.get(owner)).map_or(0, |rows| rows.len() as u64))
    }

    fn row_owners(&self, shape: u32, after: Option<&str>, limit: usize) -> Result<Vec<String>, Fault> {
        Ok(names(self.rows.get(&shape), after, limit))
    }
}
