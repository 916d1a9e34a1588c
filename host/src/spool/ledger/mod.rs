//! What was given up, counted: by reason, queue, topic, device and time span.
//!
//! The list is bounded, what is counted never gets lost: beyond [`MOST`] entries the largest group (reason, uplink,
//! class) is told more coarsely: first without the device, then without the topic, then as one span.
//!
//! ```text
//! tree "ledger"   't' + id                 → entry: everything since the store was made
//!                 'u' + id + name of uplink → entry that this uplink's upstream has not been told of
//!                 'n'                      → u64: number of the last change, the witness after a failed commit
//! entry           [version u8, crc u32 of the version and the rest, MessagePack]
//! ```
//!
//! A change goes to the disk in one transaction with what it counts, so neither is there without the other.

pub(crate) mod format;
pub(crate) mod loss_counts;
pub(crate) mod store;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::message::{LossReason, Seq};

/// Entries kept; at some 200 bytes each a ledger stays far below a chunk.
const MOST: usize = 256;
/// What happens within an hour of an entry's span belongs to it.
const SPAN_US: u64 = 3_600_000_000;

/// A place in a queue: the boot that gave it, and its number in that boot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct QueuePlace {
    /// Number of the start.
    pub boot: u32,
    /// Rises by one with every message of that boot.
    pub sequence: u64,
}

impl QueuePlace {
    /// The place behind a queue's number.
    pub(super) fn of(place: Seq) -> Self {
        let boot = u32::try_from(place.boot()).unwrap_or(u32::MAX);
        Self {
            boot,
            sequence: place.number(),
        }
    }
}

/// Messages given up for one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerEntry {
    pub reason: LossReason,
    /// The uplink they were owed to; empty when they were lost before that was known.
    pub uplink: Arc<str>,
    /// Their class; empty as the uplink.
    pub class: Arc<str>,
    /// Their topic; `None` when it is not known, or they had several.
    pub topic: Option<Arc<str>>,
    /// Their key; the same.
    pub device: Option<Arc<str>>,
    /// How many; 0 when that cannot be known.
    pub count: u64,
    /// Wall clock when the first came in, microseconds since 1970; of what is not known, when it was found out.
    pub first_us: u64,
    /// The same of the last.
    pub last_us: u64,
    /// Whether the clock had been set for all of them.
    pub is_clock_set: bool,
    /// Place of the first; boot 0 when they had none.
    pub first_place: QueuePlace,
    /// Place of the last.
    pub last_place: QueuePlace,
    /// Name of their flow; `None` when none had them, or several had. Last, since entries of before have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flow: Option<Arc<str>>,
}

type EntryGroup = (LossReason, Arc<str>, Arc<str>);
type EntryKey = (
    LossReason,
    Arc<str>,
    Arc<str>,
    Option<Arc<str>>,
    Option<Arc<str>>,
);

impl LedgerEntry {
    /// One without topic, device and places, by a clock that was set.
    pub(super) fn plain(
        reason: LossReason,
        uplink: &Arc<str>,
        class: &Arc<str>,
        count: u64,
        at_us: u64,
    ) -> Self {
        Self {
            reason,
            uplink: Arc::clone(uplink),
            class: Arc::clone(class),
            topic: None,
            device: None,
            count,
            first_us: at_us,
            last_us: at_us,
            is_clock_set: true,
            first_place: QueuePlace::default(),
            last_place: QueuePlace::default(),
            flow: None,
        }
    }

    fn group(&self) -> EntryGroup {
        (
            self.reason,
            Arc::clone(&self.uplink),
            Arc::clone(&self.class),
        )
    }

    fn key(&self, topic: Option<&Arc<str>>, device: Option<&Arc<str>>) -> EntryKey {
        (
            self.reason,
            Arc::clone(&self.uplink),
            Arc::clone(&self.class),
            topic.cloned(),
            device.cloned(),
        )
    }

    fn full_key(&self) -> EntryKey {
        self.key(self.topic.as_ref(), self.device.as_ref())
    }

    fn is_near(&self, other: &Self) -> bool {
        self.first_us <= other.last_us.saturating_add(SPAN_US)
            && other.first_us <= self.last_us.saturating_add(SPAN_US)
    }

    fn merge(&mut self, other: &Self) {
        self.count += other.count;
        self.first_us = self.first_us.min(other.first_us);
        self.last_us = self.last_us.max(other.last_us);
        self.is_clock_set &= other.is_clock_set;
        let first = match (self.first_place, other.first_place) {
            (mine, theirs) if mine.boot == 0 => theirs,
            (mine, theirs) if theirs.boot == 0 => mine,
            (mine, theirs) => mine.min(theirs),
        };
        self.first_place = first;
        self.last_place = self.last_place.max(other.last_place);
        if self.flow != other.flow {
            self.flow = None;
        }
    }
}

/// What an entry no longer tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coarse {
    Device,
    Topic,
    Span,
}

/// A bounded list of entries, each under an id that is never used twice.
#[derive(Clone, Debug, Default)]
pub(super) struct Ledger {
    entries: BTreeMap<u64, LedgerEntry>,
    index: HashMap<EntryKey, u64>,
    next: u64,
    changed: BTreeSet<u64>,
    gone: BTreeSet<u64>,
}

impl Ledger {
    /// The list as it was found.
    fn found(entries: BTreeMap<u64, LedgerEntry>) -> Self {
        let next = entries.last_key_value().map_or(0, |(id, _)| id + 1);
        let mut ledger = Self {
            entries,
            next,
            ..Self::default()
        };
        ledger.rebuild_index();
        ledger
    }

    fn rebuild_index(&mut self) {
        self.index = self
            .entries
            .iter()
            .map(|(id, entry)| (entry.full_key(), *id))
            .collect();
    }

    /// All entries, in the order they were begun.
    pub(super) fn entries(&self) -> impl Iterator<Item = &LedgerEntry> {
        self.entries.values()
    }

    /// Whether it has no entry.
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Counts what `entry` says: in the entry that is as exact, else in a coarser one of this span, else in one of its own.
    pub(super) fn post(&mut self, entry: LedgerEntry) {
        let keys = [
            entry.full_key(),
            entry.key(entry.topic.as_ref(), None),
            entry.key(None, None),
        ];
        for id in keys.iter().filter_map(|key| self.index.get(key)) {
            if let Some(known) = self
                .entries
                .get_mut(id)
                .filter(|known| known.is_near(&entry))
            {
                known.merge(&entry);
                self.changed.insert(*id);
                return;
            }
        }
        let id = self.next;
        self.next += 1;
        self.index.insert(entry.full_key(), id);
        self.entries.insert(id, entry);
        self.changed.insert(id);
        for coarse in [Coarse::Device, Coarse::Topic, Coarse::Span] {
            if self.entries.len() > MOST {
                self.coarsen(coarse);
            }
        }
    }

    /// Tells the largest group more coarsely.
    fn coarsen(&mut self, coarse: Coarse) {
        let mut sizes: BTreeMap<EntryGroup, usize> = BTreeMap::new();
        for entry in self.entries.values() {
            *sizes.entry(entry.group()).or_default() += 1;
        }
        let Some((group, _)) = sizes.into_iter().max_by_key(|(_, size)| *size) else {
            return;
        };
        let mut part: Vec<(u64, LedgerEntry)> = self
            .entries
            .extract_if(.., |_, entry| entry.group() == group)
            .collect();
        part.sort_by_key(|(_, entry)| entry.first_us);
        // By key, the last of its span: it is the only one that a later entry can be near to.
        let mut open: HashMap<EntryKey, u64> = HashMap::new();
        for (id, mut entry) in part {
            entry.device = None;
            if coarse != Coarse::Device {
                entry.topic = None;
            }
            let key = entry.full_key();
            let near = open
                .get(&key)
                .and_then(|id| Some((*id, self.entries.get_mut(id)?)));
            match near.filter(|(_, known)| coarse == Coarse::Span || known.is_near(&entry)) {
                Some((known_id, known)) => {
                    known.merge(&entry);
                    self.changed.insert(known_id);
                    self.changed.remove(&id);
                    self.gone.insert(id);
                }
                None => {
                    open.insert(key, id);
                    self.changed.insert(id);
                    self.entries.insert(id, entry);
                }
            }
        }
        self.rebuild_index();
    }

    /// Takes all entries out; their ids stay used.
    fn take(&mut self) -> BTreeMap<u64, LedgerEntry> {
        self.index.clear();
        std::mem::take(&mut self.entries)
    }

    /// Messages counted for `reason`.
    pub(super) fn total(&self, reason: LossReason) -> u64 {
        self.entries()
            .filter(|entry| entry.reason == reason)
            .map(|entry| entry.count)
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn entry(reason: usize, topic: u32, first_us: u64, count: u64) -> LedgerEntry {
        let device: Arc<str> = format!("d{topic}").into();
        let plain = LedgerEntry::plain(
            LossReason::ALL[reason],
            &"cloud".into(),
            &"telemetry".into(),
            count,
            first_us,
        );
        LedgerEntry {
            topic: Some(format!("devices/{device}/t").into()),
            device: Some(device),
            ..plain
        }
    }

    proptest! {
        #[test]
        fn nothing_is_ever_uncounted_and_the_list_stays_bounded(
            low_marks in proptest::collection::vec((0_usize..4, 0_u32..400, 0_u64..20, 1_u64..50), 1..900),
        ) {
            let mut ledger = Ledger::default();
            let mut disk = BTreeMap::new();
            let mut counts = [0; 4];
            for (number, (reason, topic, hours, count)) in low_marks.into_iter().enumerate() {
                counts[reason] += count;
                ledger.post(entry(reason, topic, hours * SPAN_US, count));
                prop_assert!(ledger.entries.len() <= MOST);
                if number % 7 == 0 {
                    follow(&mut ledger, &mut disk);
                }
            }
            follow(&mut ledger, &mut disk);
            prop_assert_eq!(&ledger.entries, &disk);
            for (reason, count) in LossReason::ALL.into_iter().zip(counts) {
                prop_assert_eq!(Ledger::found(disk.clone()).total(reason), count);
            }
        }
    }

    /// What the disk holds after the changes were written.
    fn follow(ledger: &mut Ledger, disk: &mut BTreeMap<u64, LedgerEntry>) {
        for id in std::mem::take(&mut ledger.gone) {
            disk.remove(&id);
        }
        for id in std::mem::take(&mut ledger.changed) {
            disk.insert(id, ledger.entries[&id].clone());
        }
    }

    #[test]
    fn the_device_goes_before_the_topic_and_what_follows_joins_the_coarse_entry() {
        let mut ledger = Ledger::default();
        for device in 0..=MOST {
            let device: Arc<str> = format!("d{device}").into();
            ledger.post(LedgerEntry {
                topic: Some("all".into()),
                device: Some(device),
                ..entry(0, 0, 5, 1)
            });
        }
        let left: Vec<_> = ledger.entries().collect();
        assert_eq!(
            (left.len(), left[0].count, left[0].topic.as_deref()),
            (1, MOST as u64 + 1, Some("all"))
        );
        for topic in 0..=u32::try_from(MOST).unwrap() {
            ledger.post(entry(0, topic, 5, 1));
        }
        assert_eq!(
            ledger
                .entries()
                .map(|entry| (entry.topic.clone(), entry.count))
                .collect::<Vec<_>>(),
            [(None, 2 * MOST as u64 + 2)]
        );
        ledger.post(entry(0, 7, 6, 3));
        assert_eq!(ledger.entries().count(), 1);
        ledger.post(entry(0, 7, 3 * SPAN_US, 3));
        assert_eq!(ledger.entries().count(), 2);
    }

    #[test]
    fn an_entry_knows_its_span_and_its_places() {
        let mut ledger = Ledger::default();
        let place = |place: Seq| LedgerEntry {
            first_place: QueuePlace::of(place),
            last_place: QueuePlace::of(place),
            ..entry(0, 1, place.number(), 1)
        };
        for at in [Seq::base_of(3).plus(7), Seq::base_of(2).plus(9)] {
            ledger.post(LedgerEntry {
                first_us: 5,
                last_us: 5,
                is_clock_set: at.boot() == 3,
                ..place(at)
            });
        }
        let merged = ledger.entries().next().unwrap();
        assert_eq!(
            (merged.first_place, merged.last_place),
            (
                QueuePlace {
                    boot: 2,
                    sequence: 9
                },
                QueuePlace {
                    boot: 3,
                    sequence: 7
                }
            )
        );
        assert!(!merged.is_clock_set && merged.count == 2);
    }
}
