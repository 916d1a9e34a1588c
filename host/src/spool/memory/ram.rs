//! One account of the bytes that messages and dead letters take in RAM, whoever brought them: over it, lanes wait, and
//! then the sources before them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

#[derive(Debug)]
pub(crate) struct Ram {
    held: AtomicUsize,
    most: usize,
}

impl Ram {
    /// One that is full at `most` bytes.
    pub(crate) fn new(most: usize) -> Self {
        Self {
            held: AtomicUsize::new(0),
            most,
        }
    }

    pub(crate) fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    /// Bytes at which it is full.
    pub(crate) fn most(&self) -> usize {
        self.most
    }

    /// Bytes held beyond that.
    pub(crate) fn excess(&self) -> usize {
        self.held().saturating_sub(self.most)
    }

    /// Whether three quarters of it are used.
    pub(crate) fn is_nearly_full(&self) -> bool {
        self.held() / 3 >= self.most / 4
    }

    /// Whether who can wait shall wait.
    pub(crate) fn is_full(&self) -> bool {
        self.held() >= self.most
    }
}

/// What one queue holds of it.
#[derive(Debug)]
pub(crate) struct RamShare {
    own: usize,
    of: Arc<Ram>,
}

impl RamShare {
    pub(crate) fn new(of: &Arc<Ram>) -> Self {
        Self {
            own: 0,
            of: Arc::clone(of),
        }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.own
    }

    pub(crate) fn add(&mut self, bytes: usize) {
        self.own += bytes;
        self.of.held.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn sub(&mut self, bytes: usize) {
        self.own -= bytes;
        self.of.held.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Drop for RamShare {
    fn drop(&mut self) {
        self.of.held.fetch_sub(self.own, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_shares_count_and_one_that_goes_gives_back() {
        let ram = Arc::new(Ram::new(100));
        let (mut one, mut other) = (RamShare::new(&ram), RamShare::new(&ram));
        one.add(60);
        other.add(50);
        assert_eq!((ram.held(), ram.excess(), ram.is_full()), (110, 10, true));
        one.sub(20);
        assert_eq!((one.bytes(), ram.excess(), ram.is_full()), (40, 0, false));
        assert!(ram.is_nearly_full());
        drop(other);
        assert!(ram.held() == 40 && !ram.is_nearly_full());
    }
}
