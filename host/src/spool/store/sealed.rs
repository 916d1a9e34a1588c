//! Values among the records that are sealed (`vault`), and names that are hidden.
//!
//! ```text
//! value        b'S', then as `vault` says; the name of its tree and its key go with it
//! in "state"   the key is flow + 0 + plugin + 0 + hidden name, the value [length of the plugin's key u32][key][value]
//! ```
//!
//! Without a key everything stands as it is. What does not open is taken as it is, and its own checksum tells the rest.

use std::borrow::Cow;

use super::records::Tree;
use super::{Store, StoreError};
use crate::spool::state;
use crate::spool::vault::{ID, Vault};

const MARK: u8 = b'S';
/// Bytes written anew in one batch.
const STEP: usize = 1 << 20;

/// What is sealed in sled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Letter,
    Ledger,
    State,
}

impl Kind {
    fn name(self) -> &'static [u8] {
        match self {
            Self::Letter => b"dead",
            Self::Ledger => b"ledger",
            Self::State => b"state",
        }
    }

    /// Numbers stand in the clear under short keys.
    fn has_content(self, key: &[u8]) -> bool {
        key.len() > 1 || self == Self::State
    }

    fn about(self, key: &[u8]) -> Vec<u8> {
        [self.name(), b"\0", key].concat()
    }
}

/// A value as it goes to sled.
pub(super) fn seal(vault: &Vault, kind: Kind, key: &[u8], plain: Vec<u8>) -> Vec<u8> {
    if vault.current().is_none() || !kind.has_content(key) {
        return plain;
    }
    let mut sealed = vec![MARK];
    vault.seal(&kind.about(key), &plain, &mut sealed);
    sealed
}

/// A value as it was.
pub(super) fn open<'v>(vault: &Vault, kind: Kind, key: &[u8], value: &'v [u8]) -> Cow<'v, [u8]> {
    let opened = value
        .strip_prefix(&[MARK])
        .and_then(|sealed| vault.open(&kind.about(key), sealed));
    opened.map_or(Cow::Borrowed(value), Cow::Owned)
}

/// The key of an entry of plugins' state as it stands in sled.
pub(super) fn state_key<'k>(vault: &Vault, key: &'k [u8]) -> Cow<'k, [u8]> {
    let hidden = vault.hide(key).zip(state::split(key));
    hidden.map_or(Cow::Borrowed(key), |(hidden, (.., own))| {
        Cow::Owned([&key[..key.len() - own.len()], &hidden].concat())
    })
}

/// An entry of plugins' state as it goes to sled, under its key there.
pub(super) fn seal_state(vault: &Vault, stored: &[u8], key: &[u8], value: &[u8]) -> Vec<u8> {
    let Some((.., own)) = state::split(key).filter(|_| vault.current().is_some()) else {
        return value.to_vec();
    };
    let length = u32::try_from(own.len()).unwrap_or(u32::MAX).to_le_bytes();
    seal(vault, Kind::State, stored, [&length, own, value].concat())
}

/// Key and value of an entry of plugins' state.
pub(super) fn open_state<'v>(
    vault: &Vault,
    stored: &'v [u8],
    value: &'v [u8],
) -> (Cow<'v, [u8]>, Cow<'v, [u8]>) {
    let Cow::Owned(inner) = open(vault, Kind::State, stored, value) else {
        return (stored.into(), value.into());
    };
    let parts = inner.split_first_chunk::<4>().and_then(|(length, rest)| {
        let (own, value) =
            rest.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)?;
        let (.., hidden) = state::split(stored)?;
        Some((
            [&stored[..stored.len() - hidden.len()], own].concat(),
            value.to_vec(),
        ))
    });
    parts.map_or((stored.into(), value.into()), |(key, value)| {
        (key.into(), value.into())
    })
}

impl Store {
    /// Seals with today's key what is not yet, of all records. Not durable yet.
    pub(super) fn renew(&self) -> Result<(), StoreError> {
        let trees = [
            (Tree::Letters, Kind::Letter),
            (Tree::Ledger, Kind::Ledger),
            (Tree::State, Kind::State),
            (Tree::StateAside, Kind::State),
        ];
        trees
            .into_iter()
            .try_for_each(|(tree, kind)| self.renew_tree(tree, kind))
    }

    fn renew_tree(&self, tree: Tree, kind: Kind) -> Result<(), StoreError> {
        let vault = &self.vault;
        let current = vault.current();
        let is_current = |value: &[u8]| {
            let id = value
                .strip_prefix(&[MARK])
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
            if kind == Kind::State {
                let (plain, value) = open_state(vault, &key, &value);
                let stored = state_key(vault, &plain);
                let sealed = seal_state(vault, &stored, &plain, &value);
                self.records.remove(tree, &key);
                self.records.put(tree, &stored, sealed);
            } else {
                self.records.put(
                    tree,
                    &key,
                    seal(
                        vault,
                        kind,
                        &key,
                        open(vault, kind, &key, &value).into_owned(),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spool::vault::tests::vault;

    #[test]
    fn a_value_opens_under_its_key_only_and_numbers_stay_in_the_clear() {
        let vault = vault(&[1]);
        let sealed = seal(&vault, Kind::Letter, b"l123", b"payload".to_vec());
        assert_eq!(&*open(&vault, Kind::Letter, b"l123", &sealed), b"payload");
        assert_eq!(&*open(&vault, Kind::Letter, b"l124", &sealed), &*sealed);
        assert_eq!(&*open(&vault, Kind::Ledger, b"l123", &sealed), &*sealed);
        assert_eq!(
            seal(&vault, Kind::Letter, b"m", b"count".to_vec()),
            b"count"
        );
        assert_eq!(&*open(&vault, Kind::Letter, b"l125", b"Stale"), b"Stale");
    }

    #[test]
    fn a_hidden_key_shows_flow_and_plugin_and_comes_back_with_its_value() {
        let vault = vault(&[1]);
        let key = [state::prefix("climate", "count").as_slice(), b"d\x007"].concat();
        let stored = state_key(&vault, &key).into_owned();
        let (flow, plugin, hidden) = state::split(&stored).unwrap();
        assert_eq!((flow, plugin, hidden.len()), ("climate", "count", 16));
        let value = seal_state(&vault, &stored, &key, b"21.5");
        let (back, plain) = open_state(&vault, &stored, &value);
        assert_eq!((&*back, &*plain), (&*key, &b"21.5"[..]));
        let none = Vault::default();
        assert_eq!(
            (
                &*state_key(&none, &key),
                seal_state(&none, &key, &key, b"21.5")
            ),
            (&*key, b"21.5".to_vec())
        );
    }
}
