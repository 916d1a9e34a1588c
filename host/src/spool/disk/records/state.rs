//! Plugins' state among the records.

use crate::message::Remembered;
use crate::spool::disk::error::StoreError;
use crate::spool::disk::records::batch::Tree;
use crate::spool::disk::records::sealed::{open_state, seal_state, state_key};
use crate::spool::disk::store::Store;
use crate::spool::memory::checkpoints::{self, KeptState, StateChanges};

impl Store {
    /// Writes changes, those that change nothing left out. Not durable yet. The answer is the bytes.
    pub(crate) fn write_state(&self, changes: &StateChanges) -> Result<u64, StoreError> {
        let mut bytes = 0;
        for (key, change) in changes {
            let stored = state_key(&self.sealer, key);
            let kept = self
                .records
                .get(Tree::State, &stored)
                .map_err(StoreError::Disk)?;
            let is_kept = |value: &[u8]| {
                kept.as_ref()
                    .is_some_and(|kept| *open_state(&self.sealer, &stored, kept).1 == *value)
            };
            match checkpoints::encode(key, change) {
                Some(value) if !is_kept(&value) => {
                    let value = seal_state(&self.sealer, &stored, key, &value);
                    bytes += stored.len() + value.len();
                    self.records.put(Tree::State, &stored, value);
                }
                None if self.records.remove(Tree::State, &stored) => bytes += stored.len(),
                Some(_) | None => {}
            }
        }
        Ok(bytes as u64)
    }

    /// What is kept under `prefix`, and how many entries are damaged.
    pub(crate) fn state_of(&self, prefix: &[u8]) -> Result<(Vec<Remembered>, usize), StoreError> {
        let mut found = Vec::new();
        let mut damaged = 0;
        for entry in self.records.each(Tree::State, prefix) {
            let (key, value) = entry.map_err(StoreError::Disk)?;
            let (key, value) = open_state(&self.sealer, &key, &value);
            match checkpoints::decode(&key, &value) {
                Some(remembered) => found.push(remembered),
                None => damaged += 1,
            }
        }
        Ok((found, damaged))
    }

    /// Moves what is kept under `prefix` beside, in place of what an earlier move has left there.
    pub(crate) fn set_state_aside(&self, prefix: &[u8]) -> Result<(), StoreError> {
        let all = |tree| {
            self.records
                .each(tree, prefix)
                .collect::<Result<Vec<_>, _>>()
                .map_err(StoreError::Disk)
        };
        let old = all(Tree::StateAside)?;
        let own = all(Tree::State)?;
        for (key, _) in old {
            self.records.remove(Tree::StateAside, &key);
        }
        for (key, value) in own {
            self.records.remove(Tree::State, &key);
            self.records.put(Tree::StateAside, &key, value);
        }
        Ok(())
    }

    /// Whose state is kept, and how much.
    pub(crate) fn states(&self) -> Result<Vec<KeptState>, StoreError> {
        let mut found: Vec<KeptState> = Vec::new();
        for entry in self.records.each(Tree::State, &[]) {
            let (key, value) = entry.map_err(StoreError::Disk)?;
            let Some((flow, plugin, own)) = checkpoints::split(&key) else {
                continue;
            };
            // Keys are sorted, so those of one plugin follow one another.
            if found
                .last()
                .is_none_or(|last| last.flow != flow || last.plugin != plugin)
            {
                found.push(KeptState {
                    flow: flow.to_owned(),
                    plugin: plugin.to_owned(),
                    keys: 0,
                    bytes: 0,
                });
            }
            if let Some(last) = found.last_mut() {
                last.keys += 1;
                last.bytes += (own.len() + value.len()) as u64;
            }
        }
        Ok(found)
    }
}
