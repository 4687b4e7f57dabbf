//! What waits for a batch or a flush to be settled.

use std::collections::VecDeque;

/// Values under the ids of what they wait for. Settled from the front nearly always: a hash would cost more than it finds. And
/// taken from there without moving the rest: of batches with one message each there can be as many as the buffer holds.
pub(super) struct Settling<K, V>(VecDeque<(K, V)>);

impl<K: PartialEq, V> Settling<K, V> {
    pub(super) fn new() -> Self {
        Self(VecDeque::new())
    }

    /// The value that was added last, where it is of this id.
    pub(super) fn last_mut(&mut self, id: &K) -> Option<&mut V> {
        self.0.back_mut().filter(|(own, _)| own == id).map(|(_, value)| value)
    }

    /// Adds a value behind all others.
    pub(super) fn push(&mut self, id: K, value: V) {
        self.0.push_back((id, value));
    }

    /// Takes the value of an id.
    pub(super) fn take(&mut self, id: &K) -> Option<V> {
        let at = self.0.iter().position(|(own, _)| own == id)?;
        // One that is not the first changes places with it: the order of those before it does not matter.
        self.0.swap_remove_front(at).map(|(_, value)| value)
    }

    /// Keeps the values for which `keep` says so.
    pub(super) fn retain(&mut self, mut keep: impl FnMut(&K, &V) -> bool) {
        self.0.retain(|(id, value)| keep(id, value));
    }

    /// Takes all values.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = V> + use<K, V> {
        std::mem::take(&mut self.0).into_iter().map(|(_, value)| value)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn values_are_found_by_their_ids_and_come_once() {
        let mut settling = Settling::new();
        for (id, value) in [(1, "a"), (2, "b"), (3, "c")] {
            settling.push(id, value);
        }
        assert_eq!((settling.take(&2), settling.take(&2)), (Some("b"), None));
        assert_eq!(settling.last_mut(&1), None);
        *settling.last_mut(&3).unwrap() = "d";
        settling.push(4, "e");
        settling.retain(|id, _| *id != 1);
        assert_eq!(settling.drain().collect::<Vec<_>>(), ["d", "e"]);
        assert_eq!(settling.drain().count(), 0);
    }
}
