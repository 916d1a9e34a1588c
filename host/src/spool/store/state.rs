//! The trees of plugins' state.

use std::sync::atomic::Ordering;

use super::sealed::{open_state, seal_state, state_key};
use super::{Store, StoreError, guarded};
use crate::message::Remembered;
use crate::spool::state::{self, Changes, KeptState};

impl Store {
    /// Writes changes in one batch, those that change nothing left out. Not durable yet. The answer is the bytes.
    pub(in crate::spool) fn write_state(&self, changes: &Changes) -> Result<u64, StoreError> {
        let (mut batch, mut bytes) = (sled::Batch::default(), 0);
        for (key, change) in changes {
            let stored = state_key(&self.vault, key);
            let kept = guarded(|| self.state.get(&stored))?;
            let is_kept = |value: &[u8]| kept.as_ref().is_some_and(|kept| *open_state(&self.vault, &stored, kept).1 == *value);
            match state::encode(key, change) {
                Some(value) if !is_kept(&value) => {
                    let value = seal_state(&self.vault, &stored, key, &value);
                    bytes += stored.len() + value.len();
                    batch.insert(&*stored, value);
                }
                None if kept.is_some() => {
                    bytes += stored.len();
                    batch.remove(&*stored);
                }
                Some(_) | None => {}
            }
        }
        if !changes.is_empty() {
            self.is_behind.store(true, Ordering::Release);
        }
        if bytes > 0 {
            guarded(|| self.state.apply_batch(batch))?;
        }
        Ok(bytes as u64)
    }

    /// What is kept under `prefix`, and how many entries are damaged.
    pub(in crate::spool) fn state_of(&self, prefix: &[u8]) -> Result<(Vec<Remembered>, usize), StoreError> {
        let (mut found, mut damaged) = (Vec::new(), 0);
        for entry in self.state.scan_prefix(prefix) {
            let (key, value) = guarded(|| entry)?;
            let (key, value) = open_state(&self.vault, &key, &value);
            match state::decode(&key, &value) {
                Some(remembered) => found.push(remembered),
                None => damaged += 1,
            }
        }
        Ok((found, damaged))
    }

    /// Moves what is kept under `prefix` to the tree beside, in place of what an earlier move has left there.
    pub(in crate::spool) fn set_state_aside(&self, prefix: &[u8]) -> Result<(), StoreError> {
        self.is_behind.store(true, Ordering::Release);
        let (mut aside, mut gone) = (sled::Batch::default(), sled::Batch::default());
        for key in self.state_aside.scan_prefix(prefix).keys() {
            aside.remove(guarded(|| key)?);
        }
        for entry in self.state.scan_prefix(prefix) {
            let (key, value) = guarded(|| entry)?;
            aside.insert(&key, value);
            gone.remove(key);
        }
        // In this order, so that a kill leaves it in both places rather than in none.
        guarded(|| self.state_aside.apply_batch(aside))?;
        guarded(|| self.state.apply_batch(gone))
    }

    /// Whose state is kept, and how much.
    pub(in crate::spool) fn states(&self) -> Result<Vec<KeptState>, StoreError> {
        let mut found: Vec<KeptState> = Vec::new();
        for entry in self.state.iter() {
            let (key, value) = guarded(|| entry)?;
            let Some((flow, plugin, own)) = state::split(&key) else { continue };
            // Keys are sorted, so those of one plugin follow one another.
            if found.last().is_none_or(|last| last.flow != flow || last.plugin != plugin) {
                found.push(KeptState { flow: flow.to_owned(), plugin: plugin.to_owned(), keys: 0, bytes: 0 });
            }
            if let Some(last) = found.last_mut() {
                last.keys += 1;
                last.bytes += (own.len() + value.len()) as u64;
            }
        }
        Ok(found)
    }
}
