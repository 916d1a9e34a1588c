//! Reads the spilled part of one queue.

use std::ops::Range;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::message::{Seq, Stored};
use crate::spool::disk::chunk::{self, ChunkContent, ChunkDamage};
use crate::spool::disk::error::StoreError;
use crate::spool::disk::queue_store::Near;
use crate::spool::disk::store::Store;
use crate::spool::lock::locked;
use crate::spool::shared::Shared;
use crate::spool::shared::slot::Slot;

/// How long a read waits for a store that is being opened anew; it also keeps a reader from spinning meanwhile.
const PATIENCE: Duration = Duration::from_secs(1);

/// What a place on disk holds. A part that cannot be read ends before `to`, or with the disk's part of the queue.
pub(crate) enum ReadPart {
    Chunk(ChunkContent),
    Gap { to: Seq },
    Damaged { near: Near, damage: ChunkDamage },
}

/// Reads the spilled part of one queue.
pub(crate) struct QueueReader<'a> {
    pub(crate) shared: &'a Shared,
    pub(crate) slot: &'a Slot,
    pub(crate) index: usize,
}

impl QueueReader<'_> {
    /// The messages of the chunk that holds the first owed place at or after `from`. What the disk has lost on the way
    /// is counted, reported and passed over.
    pub(crate) fn read(&self, from: Seq) -> Vec<Stored> {
        if !self.may_try() {
            return Vec::new();
        }
        let Some(store) = self.shared.store(PATIENCE) else {
            return Vec::new();
        };
        let mut from = from;
        loop {
            let Some(place) = locked(&self.slot.queue).to_replay(from) else {
                return Vec::new();
            };
            match self.find(&store, place) {
                Ok(Some(content)) => {
                    self.recover();
                    from = content.extent.end;
                    match self.owed(content, place) {
                        Some(owed) if owed.is_empty() => {}
                        owed => return owed.unwrap_or_default(),
                    }
                }
                Ok(None) => {}
                Err(error) if error.is_of_a_chunk() => {
                    self.fall_sick(&store, &error, place);
                    return Vec::new();
                }
                Err(error) => {
                    self.shared.report_trouble(&error);
                    return Vec::new();
                }
            }
        }
    }

    /// What of a chunk may be handed out; `None` when a commit is about to give it up. The queue learns what the chunk
    /// tells.
    fn owed(&self, content: ChunkContent, place: Seq) -> Option<Vec<Stored>> {
        let ChunkContent {
            extent,
            mut messages,
        } = content;
        let mut queue = locked(&self.slot.queue);
        queue.learn(
            extent,
            messages.iter().map(|stored| stored.seq),
            self.shared.clock.now(),
        );
        if queue.is_marked_for_drop(place) {
            return None;
        }
        messages.retain(|Stored { seq, .. }| {
            *seq >= place && queue.is_owed(*seq) && !queue.is_ahead(*seq)
        });
        if self.slot.link.up.load(Ordering::Acquire) {
            queue.mark_in_flight(
                messages
                    .last()
                    .map_or(Seq::FIRST, |stored| stored.seq.next()),
            );
        }
        Some(messages)
    }

    /// The chunk that answers for `place`. `None` when there is none: the gap is passed over, look again.
    pub(crate) fn find(
        &self,
        store: &Store,
        place: Seq,
    ) -> Result<Option<ChunkContent>, StoreError> {
        match self.look(store, place)? {
            ReadPart::Chunk(content) => Ok(Some(content)),
            ReadPart::Gap { .. } if self.was_forgotten(store, place)? => Ok(None),
            ReadPart::Gap { to } => {
                let places = place..to.min(locked(&self.slot.queue).disk_end());
                self.lose(
                    places.clone(),
                    store.missing_in(self.index, &places),
                    "its chunk is missing",
                );
                Ok(None)
            }
            ReadPart::Damaged {
                damage: ChunkDamage::Version(version),
                ..
            } => Err(StoreError::Newer(version)),
            ReadPart::Damaged {
                near:
                    Near {
                        first,
                        end,
                        count,
                        value,
                    },
                damage,
            } => {
                store.set_chunk_aside(self.index, first, &value);
                self.lose(
                    place.min(first)..end,
                    Some(count),
                    &format!("its chunk was set aside: {damage}"),
                );
                Ok(None)
            }
        }
    }

    /// Whether chunks that the index does not know were found in the files. What was accepted meanwhile is not looked for.
    fn was_forgotten(&self, store: &Store, place: Seq) -> Result<bool, StoreError> {
        let owed = {
            let queue = locked(&self.slot.queue);
            (queue.owed_on_disk(place) == Some(place)).then(|| queue.low()..queue.disk_end())
        };
        owed.map_or(Ok(false), |owed| store.search(self.index, owed))
    }

    /// What is to be found at `place`; changes nothing.
    pub(crate) fn look(&self, store: &Store, place: Seq) -> Result<ReadPart, StoreError> {
        let Some(near) = store.chunk_near(self.index, place)? else {
            return Ok(ReadPart::Gap { to: Seq::END });
        };
        if near.first > place {
            return Ok(ReadPart::Gap { to: near.first });
        }
        let content = chunk::decode(
            &near.value,
            &self.shared.flows,
            self.shared.sealer(self.index),
        );
        let content = content.and_then(|found| {
            if found.extent.first == near.first {
                Ok(found)
            } else {
                Err(ChunkDamage::Place)
            }
        });
        Ok(content.map_or_else(|damage| ReadPart::Damaged { near, damage }, ReadPart::Chunk))
    }

    /// Places that cannot be read any more, and how many messages they held, if that is known. Those that were accepted
    /// meanwhile are no loss: their chunk was deleted.
    pub(crate) fn lose(&self, places: Range<Seq>, known: Option<u64>, why: &str) {
        let (lost, places) = {
            let mut queue = locked(&self.slot.queue);
            let places = places.start.max(queue.low())..places.end.min(queue.disk_end());
            (queue.lose(places.start, places.end, known), places)
        };
        let Some(lost) = lost else { return };
        if lost > 0 {
            let slot = self.slot;
            let from = places.start.0;
            let to = places.end.0;
            tracing::error!(uplink = %slot.uplink, class = %slot.class, from, to, messages = lost, why, "messages are lost on disk");
        }
        self.shared.note_damage(self.index, lost, places);
    }
}
