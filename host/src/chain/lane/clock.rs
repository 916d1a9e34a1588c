//! The running clock over a restart: it is kept beside the plugins' state, since moments of it lie in there, and goes on
//! from there.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::clock::{Now, RunningClock, RunningTime};
use crate::message::{Checkpoint, Remembered, StateStore};

/// In the place of a flow and a plugin: no config has such names.
const OWNER: &str = "";

/// What is written with each checkpoint.
pub(crate) fn checkpoint(running: RunningTime) -> Checkpoint {
    let value = Some(Bytes::copy_from_slice(&running.0.to_le_bytes()));
    let changes = vec![Remembered {
        key: Bytes::from_static(b"running"),
        version: 0,
        value,
    }];
    Checkpoint {
        flow: Arc::from(OWNER),
        plugin: Arc::from(OWNER),
        changes,
    }
}

/// The clock of a gateway that starts now: it goes on where the last checkpoint left it. Blocks on the disk.
pub fn recalled(states: &dyn StateStore, now: Now) -> RunningClock {
    // A store that cannot be read has lost the state that it is for, too.
    let kept = states.recall(OWNER, OWNER).unwrap_or_default();
    let value = kept
        .iter()
        .filter_map(|entry| <[u8; 8]>::try_from(entry.value.as_deref()?).ok());
    let base = value
        .map(|shown| RunningTime(u64::from_le_bytes(shown)))
        .max()
        .unwrap_or_default();
    RunningClock {
        base,
        started: now.uptime,
    }
}

/// Longest time between two tries of a checkpoint that cannot be had.
const LONGEST_PAUSE: Duration = Duration::from_secs(3_600);

/// One that cannot be had may cost as much time as a save may take, so the next ones come ever later.
pub(super) fn pause_of_checkpoints(every: Duration, tries: u32) -> Duration {
    let doubled = every.saturating_mul(1_u32.checked_shl(tries).unwrap_or(u32::MAX));
    doubled.min(LONGEST_PAUSE.max(every))
}
