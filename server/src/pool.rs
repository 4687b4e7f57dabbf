//! What a thread has used and uses again.

use std::cell::RefCell;

/// Pieces of memory that are spare, at most so many. For a `thread_local!`.
pub(crate) struct Pool<T> {
    spare: RefCell<Vec<T>>,
    most: usize,
}

impl<T> Pool<T> {
    pub(crate) const fn new(most: usize) -> Self {
        Self { spare: RefCell::new(Vec::new()), most }
    }

    /// One that is spare; the last, which the processor's cache has most likely.
    pub(crate) fn take(&self) -> Option<T> {
        self.spare.borrow_mut().pop()
    }

    /// Keeps it, if there are not enough. It must hold nothing any more.
    pub(crate) fn keep(&self, piece: T) {
        let mut spare = self.spare.borrow_mut();
        if spare.len() < self.most {
            spare.push(piece);
        }
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.spare.borrow().len()
    }
}
