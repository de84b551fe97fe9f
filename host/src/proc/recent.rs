//! What was used lately, within a bound: what was not used for longest leaves first.

use std::collections::HashMap;
use std::sync::Arc;

use crate::device::tick;

/// Values by key, whose weights add up to `capacity` at most.
pub(super) struct Recent<V> {
    kept: HashMap<String, Kept<V>>,
    capacity: u64,
    weight: u64,
}

struct Kept<V> {
    value: Arc<V>,
    weight: u64,
    used: u64,
}

impl<V> Recent<V> {
    /// Nothing yet.
    pub(super) fn new(capacity: u64) -> Self {
        Self { kept: HashMap::new(), capacity, weight: 0 }
    }

    /// Whether it is there; does not count as use.
    pub(super) fn contains(&self, key: &str) -> bool {
        self.kept.contains_key(key)
    }

    /// What is there, used now.
    pub(super) fn get(&mut self, key: &str) -> Option<Arc<V>> {
        let kept = self.kept.get_mut(key)?;
        kept.used = tick();
        Some(Arc::clone(&kept.value))
    }

    /// Keeps a value in place of an older one, unless it alone is too much.
    pub(super) fn put(&mut self, key: &str, value: &Arc<V>, weight: u64) {
        self.remove(key);
        if weight > self.capacity {
            return;
        }
        while self.weight.saturating_add(weight) > self.capacity {
            let oldest = self.kept.iter().min_by_key(|(_, kept)| kept.used).map(|(key, _)| key.clone());
            let Some(oldest) = oldest else { break };
            self.remove(&oldest);
        }
        self.weight = self.weight.saturating_add(weight);
        self.kept.insert(key.to_owned(), Kept { value: Arc::clone(value), weight, used: tick() });
    }

    /// All values with their keys, and when they were last used.
    pub(super) fn all(&self) -> impl Iterator<Item = (&str, &Arc<V>, u64)> {
        self.kept.iter().map(|(key, kept)| (key.as_str(), &kept.value, kept.used))
    }

    /// Forgets a value, and gives it back.
    pub(super) fn remove(&mut self, key: &str) -> Option<Arc<V>> {
        let kept = self.kept.remove(key)?;
        self.weight = self.weight.saturating_sub(kept.weight);
        Some(kept.value)
    }
}
