//! Which lane a key takes.

use crate::message::key_hash;

/// The lane of a key. FNV's low bits are weak for short keys, so the high half is folded in.
pub(crate) fn lane_of(key: &[u8], lanes: usize) -> usize {
    let hash = key_hash(key);
    ((hash ^ hash >> 32) % lanes as u64) as usize
}

/// Which of a chain's lanes something is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LaneIndex {
    pub(crate) lane: usize,
    pub(crate) lanes: usize,
}

impl LaneIndex {
    /// Whether messages with this key come here.
    pub(super) fn holds(self, key: &[u8]) -> bool {
        self.lanes == 1 || lane_of(key, self.lanes) == self.lane
    }
}
