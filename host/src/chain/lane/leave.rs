//! How a lane gives its state to the lane that is to follow it.

use std::sync::Arc;
use std::sync::mpsc::SyncSender;

use crate::chain::sandbox::state::Snapshot;

/// What a plugin in one lane leaves to the plugin of its name in the next chain.
pub(crate) struct Legacy {
    pub(crate) plugin: Arc<str>,
    pub(crate) snapshot: Snapshot,
    /// The disk has it.
    pub(crate) is_kept: bool,
}

/// What all plugins of a lane leave, or why they cannot.
pub(crate) type LeftState = Result<Vec<Legacy>, String>;

/// A lane's way out: it gives its state away, and waits.
pub(crate) struct Leave(SyncSender<LeftState>);

impl Leave {
    /// The state goes to whoever has the other end.
    pub(crate) fn new(state: SyncSender<LeftState>) -> Self {
        Self(state)
    }

    /// `false` when nobody is there who takes it.
    pub(crate) fn give(self, state: LeftState) -> bool {
        self.0.send(state).is_ok()
    }
}
