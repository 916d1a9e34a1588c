//! What the store has of a device: beside the plugins' state, under the device's name.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::device::{KnownDevice, Moment};
use super::status::ToldStatus;
use crate::clock::{Now, WallTime};
use crate::message::{Checkpoint, Remembered, StateStore};

/// In the place of a flow and a plugin: no flow has such a name.
const FLOW: &str = "";
const PLUGIN: &str = "devices";

/// Of the form below; one of another is left alone.
const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
struct KeptDevice {
    source: String,
    /// Microseconds since 1970, and whether the clock had been set.
    first: (u64, bool),
    last: Option<(u64, bool)>,
    count: u64,
    bytes: u64,
    word: Option<(bool, Option<u64>)>,
}

/// A device as it is written, by the clock as it goes now.
pub(super) fn remember(name: &[u8], device: &KnownDevice, now: Now) -> Remembered {
    let moment = |moment: Moment| {
        let seen = moment.seen_from(now);
        (seen.wall.0, seen.is_set)
    };
    let kept = KeptDevice {
        source: device.source.to_string(),
        first: moment(device.first),
        last: device.last.map(moment),
        count: device.count,
        bytes: device.bytes,
        word: device.word.map(|word| (word.is_online, word.version)),
    };
    Remembered {
        key: Bytes::copy_from_slice(name),
        version: VERSION,
        // Numbers and a text: nothing of it can fail.
        value: rmp_serde::to_vec(&kept).ok().map(Bytes::from),
    }
}

/// A device that is gone.
pub(super) fn forget(name: Box<[u8]>) -> Remembered {
    Remembered {
        key: Bytes::from(name),
        version: VERSION,
        value: None,
    }
}

pub(super) fn checkpoint(changes: Vec<Remembered>) -> Checkpoint {
    Checkpoint {
        flow: FLOW.into(),
        plugin: PLUGIN.into(),
        changes,
    }
}

/// All devices that the store has. Blocks on the disk.
pub(super) fn recall(states: &dyn StateStore) -> Vec<(Box<[u8]>, KnownDevice)> {
    let kept = states.recall(FLOW, PLUGIN).unwrap_or_else(|why| {
        tracing::warn!(
            why,
            "what was known of devices cannot be read: their counts begin anew"
        );
        Vec::new()
    });
    let mut sources: Vec<Arc<str>> = Vec::new();
    let mut device = |kept: Remembered| {
        let value = kept.value.filter(|_| kept.version == VERSION)?;
        let KeptDevice {
            source,
            first,
            last,
            count,
            bytes,
            word,
        } = rmp_serde::from_slice(&value).ok()?;
        let known = sources.iter().find(|known| ***known == *source).cloned();
        let source = known.unwrap_or_else(|| {
            sources.push(source.into());
            sources.last().map(Arc::clone).unwrap_or_default()
        });
        let moment = |(wall, is_set): (u64, bool)| Moment {
            wall: WallTime(wall),
            is_set,
            uptime: None,
        };
        let mut device = KnownDevice::new(source, Now::default());
        (device.first, device.last) = (moment(first), last.map(moment));
        (device.count, device.bytes) = (count, bytes);
        device.word = word.map(|(is_online, version)| ToldStatus { is_online, version });
        (device.is_dirty, device.is_kept) = (false, true);
        Some((Box::from(&*kept.key), device))
    };
    kept.into_iter().filter_map(&mut device).collect()
}
