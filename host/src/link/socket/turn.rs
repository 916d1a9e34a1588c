//! Whose turn it is to read: behind much that comes in a row others on the same thread have theirs.

use std::task::{Context, Poll};

/// Bytes that are read in a row.
const ROW_BYTES: usize = 256 << 10;

/// How much one connection has read in a row.
#[derive(Debug, Default)]
pub struct ReadTurn {
    /// Bytes read since nothing was there twice over, or since others had their turn.
    row: usize,
    has_read: bool,
}

impl ReadTurn {
    /// Ready while more may be read; else others have their turn first, and then more may be.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.is_over() {
            return Poll::Ready(());
        }
        *self = Self::default();
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Whether so much was read that the caller should act on it, and others have their turn.
    pub fn is_over(&self) -> bool {
        self.row >= ROW_BYTES
    }

    /// So many bytes were read.
    pub fn read(&mut self, bytes: usize) {
        self.row = self.row.saturating_add(bytes);
        self.has_read = true;
    }

    /// Nothing was there. Whoever found something before may look again without having waited, so that once is no rest.
    pub fn found_nothing(&mut self) {
        if !std::mem::take(&mut self.has_read) {
            self.row = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    #[test]
    fn behind_a_row_others_have_their_turn_once_and_a_rest_ends_a_row() {
        let mut cx = Context::from_waker(Waker::noop());
        let mut turn = ReadTurn::default();
        turn.read(ROW_BYTES - 1);
        assert!(turn.poll(&mut cx).is_ready());
        // Found empty between two reads: still the same row.
        turn.found_nothing();
        turn.read(1);
        assert!(turn.is_over() && turn.poll(&mut cx).is_pending());
        assert!(turn.poll(&mut cx).is_ready());
        turn.read(ROW_BYTES - 1);
        turn.found_nothing();
        turn.found_nothing();
        turn.read(1);
        assert!(turn.poll(&mut cx).is_ready());
    }
}
