//! One errand for many who want the same.

use std::collections::HashMap;
use std::future::Future;
use std::hash::Hash;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::OnceCell;

/// Errands that are being run, by what they are for.
#[derive(Debug)]
pub(crate) struct Flights<K, V>(Mutex<HashMap<K, Arc<OnceCell<V>>>>);

impl<K, V> Default for Flights<K, V> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K, V> Flights<K, V>
where
    K: Clone + Eq + Hash,
    V: Clone,
{
    /// What comes of the errand for `key`: of one that is being run already, or of this one. Whoever runs it may go away; then another does.
    pub(crate) async fn join<F>(&self, key: K, errand: impl FnOnce() -> F) -> V
    where
        F: Future<Output = V>,
    {
        let cell = Arc::clone(self.0.lock().entry(key.clone()).or_default());
        let seat = Seat { flights: self, key, cell };
        seat.cell.get_or_init(errand).await.clone()
    }

    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.lock().is_empty()
    }
}

/// One who waits. The last who leaves, early or late, takes the errand away.
struct Seat<'a, K: Eq + Hash, V> {
    flights: &'a Flights<K, V>,
    key: K,
    cell: Arc<OnceCell<V>>,
}

impl<K: Eq + Hash, V> Drop for Seat<'_, K, V> {
    fn drop(&mut self) {
        let mut under_way = self.flights.0.lock();
        // The map's own and this one: nobody else is there, and under the lock nobody joins.
        if Arc::strong_count(&self.cell) == 2 {
            under_way.remove(&self.key);
        }
    }
}
