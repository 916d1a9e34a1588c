//! What is still owed moves out of files that are mostly settled.

use crate::message::Seq;
use crate::spool::disk::chunk::Chunk;
use crate::spool::disk::chunk::queue_sealer::QueueSealer;
use crate::spool::disk::error::StoreError;
use crate::spool::disk::index::guarded;
use crate::spool::disk::queue_store::QueueStore;
use crate::spool::disk::queue_store::places::{key, located};
use crate::spool::disk::sealing::sealer::Sealer;

/// Chunks moved together when a file is emptied.
const TIDY_AT_ONCE: usize = 256;

impl QueueStore {
    /// Moves what is still owed out of a file that is mostly settled, when there are too many of those, as today's key
    /// seals it. Answers whether there was something to move.
    pub(crate) fn tidy(&self, sealer: &Sealer) -> Result<bool, StoreError> {
        let Some(file) = self.log.sparse() else {
            return Ok(false);
        };
        let mut moved = 0;
        for entry in self.tree.range(key(Seq::FIRST)..=key(Seq::END)) {
            let (key, value) = guarded(|| entry)?;
            let Some(from) = located(&key, &value).filter(|from| from.file == file) else {
                continue;
            };
            // What cannot be read stays where it is, and whoever it is owed to finds out.
            let Some(bytes) = self
                .log
                .read(&from)
                .ok()
                .filter(|bytes| bytes.len() as u64 == from.extent.bytes)
            else {
                continue;
            };
            let chunk = Chunk {
                extent: from.extent,
                count: from.count,
                value: bytes,
            };
            let renewed = QueueSealer {
                sealer,
                queue: &self.name,
            }
            .renew(&chunk);
            let to = self
                .log
                .append(renewed.as_ref().unwrap_or(&chunk))
                .map_err(StoreError::Disk)?;
            let swapped = guarded(|| {
                self.tree
                    .compare_and_swap(&key, Some(&value), Some(to.encode()))
            })?;
            self.log.release(if swapped.is_ok() { &from } else { &to });
            moved += 1;
            if moved == TIDY_AT_ONCE {
                break;
            }
        }
        Ok(moved > 0)
    }
}
