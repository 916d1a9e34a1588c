//! What a plugin with state has been told since its last save, so that an instance that takes its place can be told
//! again. Bounded: whoever keeps one saves before it is full.

use std::time::Duration;

use crate::chain::sandbox::batch::PackedBatch;
use crate::clock::Now;

/// Something a plugin was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum JournalEntry {
    /// A batch that ends at these lengths of words and data.
    Batch {
        now: Now,
        words_end: usize,
        data_end: usize,
        messages: usize,
    },
    Tick {
        now: Now,
    },
}

/// How much a journal holds.
#[derive(Clone, Copy, Debug)]
pub(super) struct JournalBound {
    pub(crate) messages: usize,
    pub(crate) bytes: usize,
    pub(crate) time: Duration,
}

impl JournalBound {
    /// Between two saves: a save costs about as much as running this again.
    pub(super) const SAVE: Self = Self {
        messages: 4_096,
        bytes: 512 << 10,
        time: Duration::from_millis(100),
    };

    /// The same where a save takes so long: it shall be a tenth of the work at most.
    pub(super) fn after_save(taken: Duration) -> Self {
        let time = taken
            .saturating_mul(10)
            .clamp(Self::SAVE.time, Duration::from_secs(1));
        Self { time, ..Self::SAVE }
    }
}

/// Batches and ticks in their order, back to back in two buffers.
#[derive(Clone, Debug)]
pub(super) struct Journal {
    bound: JournalBound,
    told: Vec<JournalEntry>,
    words: Vec<u32>,
    data: Vec<u8>,
    messages: usize,
    missed: usize,
    /// What it took to run it.
    time: Duration,
}

impl Journal {
    pub(crate) fn new(bound: JournalBound) -> Self {
        Self {
            bound,
            told: Vec::new(),
            words: Vec::new(),
            data: Vec::new(),
            messages: 0,
            missed: 0,
            time: Duration::ZERO,
        }
    }

    /// Adds a batch that took so long; what does not fit is only counted.
    pub(super) fn push_batch(&mut self, packed: &PackedBatch, now: Now, taken: Duration) {
        if self.is_full() {
            self.missed += packed.len();
            return;
        }
        self.words.extend_from_slice(&packed.words);
        self.data.extend_from_slice(&packed.data);
        self.messages += packed.len();
        self.time += taken;
        let words_end = self.words.len();
        let data_end = self.data.len();
        self.told.push(JournalEntry::Batch {
            now,
            words_end,
            data_end,
            messages: packed.len(),
        });
    }

    /// Adds a tick that took so long.
    pub(super) fn push_tick(&mut self, now: Now, taken: Duration) {
        if !self.is_full() {
            self.time += taken;
            self.told.push(JournalEntry::Tick { now });
        }
    }

    /// Whether it is time to save: what comes now is still taken, what comes after that is not.
    pub(crate) fn is_full(&self) -> bool {
        let bytes = self.words.len() * 4 + self.data.len();
        let is_long = self.told.len().max(self.messages) >= self.bound.messages
            || self.time >= self.bound.time;
        is_long || bytes >= self.bound.bytes
    }

    /// Messages it can tell again.
    pub(crate) fn messages(&self) -> usize {
        self.messages
    }

    /// Messages it had no room for.
    pub(crate) fn missed(&self) -> usize {
        self.missed
    }

    /// Forgets all and has another bound from now on; its buffers are kept.
    pub(super) fn begin_anew(&mut self, bound: JournalBound) {
        self.clear();
        self.bound = bound;
    }

    /// Forgets all; its buffers are kept.
    pub(crate) fn clear(&mut self) {
        self.told.clear();
        self.words.clear();
        self.data.clear();
        (self.messages, self.missed, self.time) = (0, 0, Duration::ZERO);
    }

    /// Number of things told.
    pub(crate) fn len(&self) -> usize {
        self.told.len()
    }

    /// The thing told at `index`; a batch is copied into `packed`.
    pub(crate) fn read(&self, index: usize, packed: &mut PackedBatch) -> Option<JournalEntry> {
        let told = *self.told.get(index)?;
        if let JournalEntry::Batch {
            words_end,
            data_end,
            ..
        } = told
        {
            let before = self.told[..index]
                .iter()
                .rev()
                .find_map(|earlier| match earlier {
                    JournalEntry::Batch {
                        words_end,
                        data_end,
                        ..
                    } => Some((*words_end, *data_end)),
                    JournalEntry::Tick { .. } => None,
                });
            let (words_start, data_start) = before.unwrap_or_default();
            packed.clear();
            packed
                .words
                .extend_from_slice(&self.words[words_start..words_end]);
            packed
                .data
                .extend_from_slice(&self.data[data_start..data_end]);
        }
        Some(told)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::clock::{RunningTime, Uptime, WallTime};
    use crate::message::Message;

    fn at(wall_us: u64) -> Now {
        Now {
            wall: WallTime(wall_us),
            uptime: Uptime(0),
        }
    }

    fn batch(payloads: &[&'static str]) -> PackedBatch {
        let message = |payload: &&'static str| {
            let (topic, payload) = (
                Bytes::from_static(b"t"),
                Bytes::from_static(payload.as_bytes()),
            );
            Message {
                topic,
                payload,
                ..Message::default()
            }
        };
        let messages: Vec<_> = payloads.iter().map(message).collect();
        let mut packed = PackedBatch::default();
        packed.fill(&messages, |uptime| RunningTime(uptime.0));
        packed
    }

    #[test]
    fn it_tells_again_what_was_told_in_order() {
        let mut journal = Journal::new(JournalBound::SAVE);
        let batches = [batch(&["a", "bb"]), batch(&["ccc"])];
        journal.push_batch(&batches[0], at(1), Duration::ZERO);
        journal.push_tick(at(2), Duration::ZERO);
        journal.push_batch(&batches[1], at(3), Duration::ZERO);
        let mut packed = PackedBatch::default();
        assert!(matches!(
            journal.read(0, &mut packed),
            Some(JournalEntry::Batch {
                now: Now {
                    wall: WallTime(1),
                    ..
                },
                messages: 2,
                ..
            })
        ));
        assert_eq!(packed, batches[0]);
        assert_eq!(
            journal.read(1, &mut packed),
            Some(JournalEntry::Tick { now: at(2) })
        );
        assert!(matches!(
            journal.read(2, &mut packed),
            Some(JournalEntry::Batch {
                now: Now {
                    wall: WallTime(3),
                    ..
                },
                ..
            })
        ));
        assert_eq!(packed, batches[1]);
        assert_eq!(
            (journal.read(3, &mut packed), journal.messages()),
            (None, 3)
        );
    }

    #[test]
    fn what_does_not_fit_is_counted() {
        let mut journal = Journal::new(JournalBound {
            messages: 3,
            bytes: 1 << 20,
            time: Duration::MAX,
        });
        journal.push_batch(&batch(&["a", "b"]), at(1), Duration::ZERO);
        assert!(!journal.is_full());
        journal.push_batch(&batch(&["c", "d"]), at(2), Duration::ZERO);
        assert!(journal.is_full());
        journal.push_batch(&batch(&["e"]), at(3), Duration::ZERO);
        assert_eq!(
            (journal.messages(), journal.missed(), journal.len()),
            (4, 1, 2)
        );
        journal.clear();
        assert_eq!(
            (journal.messages(), journal.missed(), journal.is_full()),
            (0, 0, false)
        );

        let mut ticks = Journal::new(JournalBound {
            messages: 2,
            bytes: 1 << 20,
            time: Duration::MAX,
        });
        (0..5).for_each(|now| ticks.push_tick(at(now), Duration::ZERO));
        assert_eq!(ticks.len(), 2);
    }

    #[test]
    fn what_takes_long_fills_it_sooner_and_a_slow_save_makes_it_longer() {
        let mut journal = Journal::new(JournalBound::SAVE);
        (0..4).for_each(|_| journal.push_batch(&batch(&["a"]), at(1), Duration::from_millis(24)));
        assert!(!journal.is_full());
        journal.push_tick(at(2), Duration::from_millis(24));
        assert!(journal.is_full(), "running it again takes 120 ms");
        journal.begin_anew(JournalBound::after_save(Duration::from_millis(20)));
        journal.push_batch(&batch(&["a"]), at(1), Duration::from_millis(120));
        assert!(!journal.is_full());
        journal.push_batch(&batch(&["a"]), at(1), Duration::from_millis(80));
        assert!(journal.is_full());
    }
}
