//! How much a plugin keeps at most.

use crate::plugin::Result;

/// Bytes of keys and values together. Between two saves all that was saved may make room for others, and the next one tells of
/// both: twice as much has to fit `limits.state`, 4 MiB unless the config says otherwise.
const MOST_BYTES: usize = 15 << 17;

/// Bytes of an entry beside its key and its value: more than it has when it is saved, and about a quarter of what it has in memory.
pub(super) const EACH: usize = 24;

/// Bytes of a value that says something, and of its key.
const LEAST: usize = 24;

/// What may be kept, and what a value weighs.
pub(super) struct Bounds<T> {
    pub keys: usize,
    pub bytes: usize,
    /// Bytes of a value as it is saved, or more; `None` where nothing is bounded.
    pub weigh: Option<fn(&T) -> usize>,
    /// The plugin takes what is too much out itself.
    pub is_by_hand: bool,
}

impl<T> Bounds<T> {
    pub fn none() -> Self {
        Self {
            keys: usize::MAX,
            bytes: usize::MAX,
            weigh: None,
            is_by_hand: false,
        }
    }

    pub fn of(keys: usize, weigh: fn(&T) -> usize) -> Self {
        Self {
            keys: keys.max(1),
            bytes: MOST_BYTES,
            weigh: Some(weigh),
            is_by_hand: false,
        }
    }

    pub fn weight(&self, value: &T) -> usize {
        self.weigh.map_or(0, |weigh| weigh(value))
    }
}

/// Checks a setting that says how many keys are kept: it is none, or more than ever fit, where a value has `least` bytes or more.
pub fn check_most(setting: &str, keys: usize, least: usize) -> Result<()> {
    let most = MOST_BYTES / (EACH + least.max(LEAST));
    match keys {
        0 => Err(format!("`{setting}` is 0").into()),
        keys if keys > most => Err(format!(
            "`{setting}` is {keys}, and what a plugin keeps, {} KiB at most, never has room for more than {most}: \
             no limit changes that; set it to {most} or less, or share the devices among flows",
            MOST_BYTES >> 10
        )
        .into()),
        _ => Ok(()),
    }
}
