//! An entry as bytes on disk, and as JSON for whoever is told of it.

use serde_json::json;

use crate::spool::ledger::{LedgerEntry, QueuePlace};

/// The layout of an entry on disk.
const VERSION: u8 = 1;
/// Bytes before the MessagePack.
const HEADER: usize = 5;

/// The value of an entry.
pub(super) fn encode(entry: &LedgerEntry) -> Vec<u8> {
    let mut value = vec![VERSION, 0, 0, 0, 0];
    rmp_serde::encode::write(&mut value, entry)
        .expect("fields of known length always go into a Vec");
    let sum = checksum(&value);
    value[1..HEADER].copy_from_slice(&sum.to_le_bytes());
    value
}

/// Reads an entry; `None` for what is not one. Never panics, whatever the bytes.
pub(super) fn decode(value: &[u8]) -> Option<LedgerEntry> {
    if value.len() < HEADER
        || value[0] != VERSION
        || checksum(value).to_le_bytes() != value[1..HEADER]
    {
        return None;
    }
    rmp_serde::from_slice(&value[HEADER..]).ok()
}

fn checksum(value: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&value[..1]);
    hasher.update(&value[HEADER..]);
    hasher.finalize()
}

/// Entries as a JSON array: times in microseconds since 1970, `null` for what is not known.
pub(crate) fn to_json<'a>(entries: impl Iterator<Item = &'a LedgerEntry>) -> serde_json::Value {
    let place = |place: QueuePlace| {
        (place.boot > 0).then(|| json!({ "boot": place.boot, "seq": place.sequence }))
    };
    let entry = |entry: &LedgerEntry| {
        json!({
            "reason": entry.reason.name(),
            "uplink": *entry.uplink,
            "class": *entry.class,
            "topic": entry.topic.as_deref(),
            "device": entry.device.as_deref(),
            "flow": entry.flow.as_deref(),
            "count": entry.count,
            "first": entry.first_us,
            "last": entry.last_us,
            "clock": if entry.is_clock_set { "set" } else { "unset" },
            "first_place": place(entry.first_place),
            "last_place": place(entry.last_place),
        })
    };
    entries.map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::LossReason;

    fn sample() -> LedgerEntry {
        let plain = LedgerEntry::plain(
            LossReason::Expired,
            &"cloud".into(),
            &"telemetry".into(),
            3,
            9,
        );
        LedgerEntry {
            is_clock_set: false,
            topic: Some("a/b".into()),
            first_place: QueuePlace {
                boot: 2,
                sequence: 7,
            },
            ..plain
        }
    }

    #[test]
    fn an_entry_is_read_back_and_a_changed_bit_is_seen() {
        let mut value = encode(&sample());
        assert_eq!(decode(&value), Some(sample()));
        for at in 0..value.len() {
            value[at] ^= 4;
            assert_eq!(decode(&value), None, "byte {at}");
            value[at] ^= 4;
        }
        assert_eq!(decode(&value[..4]), None);
    }

    #[test]
    fn a_flow_is_kept_and_an_entry_of_before_has_none() {
        let entry = LedgerEntry {
            flow: Some("climate".into()),
            ..sample()
        };
        assert_eq!(decode(&encode(&entry)), Some(entry));
        // What has none is written as it always was: eleven members.
        assert_eq!(encode(&sample())[HEADER], 0x9b);
    }

    #[test]
    fn the_record_says_what_is_known_and_null_for_the_rest() {
        let expected = json!([{
            "reason": "expired", "uplink": "cloud", "class": "telemetry", "topic": "a/b", "device": null, "flow": null, "count": 3,
            "first": 9, "last": 9, "clock": "unset", "first_place": { "boot": 2, "seq": 7 }, "last_place": null,
        }]);
        assert_eq!(to_json([sample()].iter()), expected);
    }
}
