//! The side of the chains that keeps plugins' state: a checkpoint is memory work only, the others read the disk, at the start.

use crate::message::StateStore;
use crate::message::{Checkpoint, Remembered};
use crate::spool::lock::locked;
use crate::spool::memory::checkpoints;
use crate::spool::shared::Shared;

impl StateStore for Shared {
    fn checkpoint(&self, batch: Vec<Checkpoint>) {
        if self.end.has_come() {
            return;
        }
        let due = {
            let mut checkpoints = locked(&self.checkpoints);
            checkpoints.add(batch, self.clock.now());
            checkpoints.due()
        };
        if let Some(due) = due {
            self.wake_up.due(due);
        }
    }

    fn recall(&self, flow: &str, plugin: &str) -> Result<Vec<Remembered>, String> {
        let prefix = checkpoints::prefix(flow, plugin);
        // Of a plugin that was there a moment ago, and newer than what the disk has.
        let waiting = locked(&self.checkpoints).of(&prefix);
        let (mut found, damaged) = self.read_store(|store| store.state_of(&prefix))?;
        if damaged > 0 {
            tracing::error!(
                flow,
                plugin,
                keys = damaged,
                "what a plugin remembered under some keys is damaged on disk and lost"
            );
        }
        found.retain(|entry| !waiting.iter().any(|newer| newer.key == entry.key));
        found.extend(waiting.into_iter().filter(|entry| entry.value.is_some()));
        Ok(found)
    }

    fn set_aside(&self, flow: &str, plugin: &str) {
        if let Err(why) =
            self.read_store(|store| store.set_state_aside(&checkpoints::prefix(flow, plugin)))
        {
            tracing::error!(
                flow,
                plugin,
                why,
                "the state that a plugin cannot read stays in its place"
            );
        }
    }
}
