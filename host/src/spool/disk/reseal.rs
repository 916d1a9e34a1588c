//! What today's key has not sealed is sealed with it.

use crate::spool::disk::error::StoreError;
use crate::spool::disk::records::batch::Tree;
use crate::spool::disk::records::sealed::{
    SEALED_MARK, Sealed, open, open_state, seal, seal_state, state_key,
};
use crate::spool::disk::sealing::sealer::ID;
use crate::spool::disk::store::Store;

/// Bytes written anew in one batch.
const STEP: usize = 1 << 20;

impl Store {
    /// Seals with today's key what is not yet, of all records. Not durable yet.
    pub(crate) fn renew(&self) -> Result<(), StoreError> {
        let trees = [
            (Tree::Letters, Sealed::Letter),
            (Tree::Ledger, Sealed::Ledger),
            (Tree::State, Sealed::State),
            (Tree::StateAside, Sealed::State),
        ];
        trees
            .into_iter()
            .try_for_each(|(tree, kind)| self.renew_tree(tree, kind))
    }

    fn renew_tree(&self, tree: Tree, kind: Sealed) -> Result<(), StoreError> {
        let sealer = &self.sealer;
        let current = sealer.current();
        let is_current = |value: &[u8]| {
            let id = value
                .strip_prefix(&[SEALED_MARK])
                .and_then(|sealed| sealed.first_chunk::<ID>());
            id.is_some_and(|id| current.is_some_and(|current| current.0 == *id))
        };
        let mut bytes = 0;
        for entry in self.records.each(tree, &[]) {
            let (key, value) = entry.map_err(StoreError::Disk)?;
            if !kind.has_content(&key) || is_current(&value) {
                continue;
            }
            bytes += value.len();
            if kind == Sealed::State {
                let (plain, value) = open_state(sealer, &key, &value);
                let stored = state_key(sealer, &plain);
                let sealed = seal_state(sealer, &stored, &plain, &value);
                self.records.remove(tree, &key);
                self.records.put(tree, &stored, sealed);
            } else {
                self.records.put(
                    tree,
                    &key,
                    seal(
                        sealer,
                        kind,
                        &key,
                        open(sealer, kind, &key, &value).into_owned(),
                    ),
                );
            }
            if bytes >= STEP {
                self.records.append().map_err(StoreError::Disk)?;
                bytes = 0;
            }
        }
        Ok(())
    }
}
