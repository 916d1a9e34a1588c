//! What the chunks of one queue are sealed with.

use crate::spool::disk::sealing::sealer::Sealer;

/// What the chunks of a queue are sealed with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct QueueSealer<'a> {
    pub sealer: &'a Sealer,
    /// Name of the queue, `uplink:class`.
    pub queue: &'a str,
}

impl QueueSealer<'_> {
    /// What is sealed together with a block.
    pub(super) fn about(self, header: &[u8]) -> Vec<u8> {
        [b"chunk\0", self.queue.as_bytes(), b"\0", &header[5..]].concat()
    }
}
