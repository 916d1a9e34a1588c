//! Which of an uplink's messages one of its connections takes.

use crate::message::{Message, key_hash};

/// Which of a queue's messages a pull takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PullMode {
    /// All, first in first out.
    Whole,
    /// What has not been spilled.
    Fresh,
    /// What has, behind fresh data that went ahead.
    Replay,
}

/// The part of the keys that one of several connections carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shard {
    pub(super) index: u64,
    pub(super) of: u64,
}

impl Shard {
    /// All keys: there is one connection.
    pub(super) const WHOLE: Self = Self { index: 0, of: 1 };

    pub(super) fn has(self, message: &Message) -> bool {
        self.of == 1 || key_hash(message.key()) % self.of == self.index
    }
}
