//! Plugins' state: the changes that wait for a commit, and their form on disk.
//!
//! ```text
//! key    flow, 0, plugin, 0, the plugin's key
//! value  [crc u32 of all else and the key, version u32, the plugin's value]
//! ```

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::clock::RunningTime;
use crate::message::{Checkpoint, Remembered};

/// How long changes wait for those of other lanes, so that they share a commit.
const LINGER_US: u64 = 200_000;

/// Keys that are gone and wait: with endless new keys and a disk that cannot be written there is no other bound. A
/// key that is forgotten to be gone comes back at the next start.
const MOST_GONE: usize = 65_536;

/// Bytes before the value.
const HEADER: usize = 8;

/// StateChanges, by their key on disk.
pub(crate) type StateChanges = BTreeMap<Vec<u8>, KeyChange>;

/// What a key becomes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeyChange {
    version: u32,
    value: Option<Bytes>,
}

/// What is kept of one plugin's state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptState {
    /// Name of the flow.
    pub flow: String,
    /// Name of the plugin in it.
    pub plugin: String,
    pub keys: u64,
    /// Bytes of keys and values.
    pub bytes: u64,
}

/// StateChanges that no commit has written yet.
#[derive(Debug, Default)]
pub(crate) struct Checkpoints {
    changes: StateChanges,
    gone: usize,
    /// When the first of them came.
    since: Option<RunningTime>,
}

impl Checkpoints {
    /// Takes changes; a later one of a key replaces an earlier one.
    pub(crate) fn add(&mut self, batch: Vec<Checkpoint>, now: RunningTime) {
        for Checkpoint {
            flow,
            plugin,
            changes,
        } in batch
        {
            let prefix = prefix(&flow, &plugin);
            for Remembered {
                key,
                version,
                value,
            } in changes
            {
                let key = [&prefix, key.as_ref()].concat();
                let waiting = self.changes.get(&key);
                let was_gone = waiting.is_some_and(|change| change.value.is_none());
                // One that waits already is replaced: that takes no more room, and it would come back otherwise.
                if value.is_none() && waiting.is_none() && self.gone >= MOST_GONE {
                    continue;
                }
                self.gone -= usize::from(was_gone);
                self.gone += usize::from(value.is_none());
                self.changes.insert(key, KeyChange { version, value });
            }
        }
        if !self.changes.is_empty() {
            self.since.get_or_insert(now);
        }
    }

    /// What waits of one plugin, each key once.
    pub(crate) fn of(&self, prefix: &[u8]) -> Vec<Remembered> {
        let own = self
            .changes
            .range(prefix.to_vec()..)
            .take_while(|(key, _)| key.starts_with(prefix));
        let remembered = |(key, change): (&Vec<u8>, &KeyChange)| Remembered {
            key: Bytes::copy_from_slice(&key[prefix.len()..]),
            version: change.version,
            value: change.value.clone(),
        };
        own.map(remembered).collect()
    }

    /// When they want to be written.
    pub(crate) fn due(&self) -> Option<RunningTime> {
        self.since.map(|since| since.plus_us(LINGER_US))
    }

    /// Number of changes that wait.
    pub(crate) fn len(&self) -> usize {
        self.changes.len()
    }

    /// All of them, for a commit.
    pub(crate) fn take(&mut self) -> StateChanges {
        (self.gone, self.since) = (0, None);
        std::mem::take(&mut self.changes)
    }

    /// After a commit that failed; what has changed again meanwhile is newer.
    pub(crate) fn give_back(&mut self, mut changes: StateChanges, now: RunningTime) {
        changes.append(&mut self.changes);
        self.gone = changes
            .values()
            .filter(|change| change.value.is_none())
            .count();
        self.since = self.since.or((!changes.is_empty()).then_some(now));
        self.changes = changes;
    }
}

/// How the keys of a plugin's state begin; names have no zero byte.
pub(crate) fn prefix(flow: &str, plugin: &str) -> Vec<u8> {
    [flow.as_bytes(), b"\0", plugin.as_bytes(), b"\0"].concat()
}

/// Flow, plugin and the plugin's own key.
pub(crate) fn split(key: &[u8]) -> Option<(&str, &str, &[u8])> {
    let mut parts = key.splitn(3, |byte| *byte == 0);
    let mut text = || std::str::from_utf8(parts.next()?).ok();
    let flow = text()?;
    let plugin = text()?;
    Some((flow, plugin, parts.next()?))
}

/// The value on disk; `None` when the key is gone.
pub(crate) fn encode(key: &[u8], change: &KeyChange) -> Option<Vec<u8>> {
    let value = change.value.as_ref()?;
    let version = change.version.to_le_bytes();
    Some(
        [
            checksum(key, &version, value).to_le_bytes().as_slice(),
            &version,
            value,
        ]
        .concat(),
    )
}

/// One entry from disk; `None` when it is damaged.
pub(crate) fn decode(key: &[u8], stored: &[u8]) -> Option<Remembered> {
    let (header, value) = stored.split_first_chunk::<HEADER>()?;
    let (sum, version) = header.split_first_chunk::<4>()?;
    let version = version.first_chunk::<4>()?;
    let (_, _, own) = split(key)?;
    let is_whole = checksum(key, version, value) == u32::from_le_bytes(*sum);
    let version = u32::from_le_bytes(*version);
    is_whole.then(|| Remembered {
        key: Bytes::copy_from_slice(own),
        version,
        value: Some(Bytes::copy_from_slice(value)),
    })
}

fn checksum(key: &[u8], version: &[u8; 4], value: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(key);
    hasher.update(version);
    hasher.update(value);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(key: &str, value: Option<&str>) -> Remembered {
        let value = value.map(|value| Bytes::copy_from_slice(value.as_bytes()));
        Remembered {
            key: Bytes::copy_from_slice(key.as_bytes()),
            version: 3,
            value,
        }
    }

    fn checkpoint(changes: Vec<Remembered>) -> Vec<Checkpoint> {
        vec![Checkpoint {
            flow: "climate".into(),
            plugin: "count".into(),
            changes,
        }]
    }

    #[test]
    fn an_entry_comes_back_as_it_was_and_with_any_bit_flipped_not_at_all() {
        let key = [prefix("climate", "count").as_slice(), b"d\x007"].concat();
        let value = encode(
            &key,
            &KeyChange {
                version: 3,
                value: Some(Bytes::from_static(b"21.5")),
            },
        )
        .unwrap();
        let expected = Remembered {
            key: Bytes::from_static(b"d\x007"),
            version: 3,
            value: Some(Bytes::from_static(b"21.5")),
        };
        assert_eq!(decode(&key, &value), Some(expected));
        for bit in 0..value.len() * 8 {
            let mut flipped = value.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode(&key, &flipped), None, "bit {bit}");
        }
        assert_eq!(decode(&prefix("climate", "other"), &value), None);
    }

    #[test]
    fn the_last_change_of_a_key_counts_also_after_a_failed_commit() {
        let mut waiting = Checkpoints::default();
        waiting.add(
            checkpoint(vec![
                change("d1", Some("1")),
                change("d2", Some("1")),
                change("d1", Some("2")),
            ]),
            RunningTime(1_000),
        );
        assert_eq!(
            (waiting.len(), waiting.due()),
            (2, Some(RunningTime(201_000)))
        );
        let failed = waiting.take();
        assert_eq!((waiting.len(), waiting.due()), (0, None));
        waiting.add(checkpoint(vec![change("d1", None)]), RunningTime(5_000));
        waiting.give_back(failed, RunningTime(6_000));
        let values: Vec<_> = waiting
            .take()
            .into_values()
            .map(|change| change.value)
            .collect();
        assert_eq!(values, [None, Some(Bytes::from_static(b"1"))]);
    }

    #[test]
    fn endless_keys_that_are_gone_do_not_fill_the_memory() {
        let mut waiting = Checkpoints::default();
        let gone = (0..MOST_GONE + 10)
            .map(|number| change(&number.to_string(), None))
            .collect();
        waiting.add(checkpoint(gone), RunningTime::START);
        waiting.add(
            checkpoint(vec![change("d1", Some("1"))]),
            RunningTime::START,
        );
        assert_eq!(waiting.len(), MOST_GONE + 1);
    }
}
