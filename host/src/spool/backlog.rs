//! The side of an uplink: fetch and accept in RAM, read from disk.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::Notify;

use super::chunk::{self, Content, Damage};
use super::letters::{self, Then};
use super::store::{Near, Store, StoreError};
use super::{Link, Shared, Slot, locked};
use crate::clock::Now;
use crate::message::{Backlog, DeadLetter, Fetch, QueueId, Reason, Seq, Stored};

/// How long a read waits for a store that is being opened anew; it also keeps a reader from spinning meanwhile.
const PATIENCE: Duration = Duration::from_secs(1);

struct Drain {
    shared: Arc<Shared>,
    link: Arc<Link>,
}

/// The backlog of an uplink; of one without queues it is always empty.
pub(super) fn of(shared: &Arc<Shared>, uplink: &str) -> Arc<dyn Backlog> {
    let link = shared
        .links
        .iter()
        .find(|link| &*link.name == uplink)
        .map_or_else(|| Arc::new(Link::new(uplink.into())), Arc::clone);
    Arc::new(Drain {
        shared: Arc::clone(shared),
        link,
    })
}

impl Backlog for Drain {
    fn low(&self, queue: QueueId) -> Seq {
        self.shared
            .slot(queue)
            .map_or(Seq(0), |slot| Seq(locked(&slot.queue).low()))
    }

    fn fetch(&self, queue: QueueId, from: Seq, max: usize, max_bytes: usize) -> Fetch {
        let Some(slot) = self.shared.slot(queue) else {
            return Fetch::Empty;
        };
        let mut state = locked(&slot.queue);
        let fetched = state.fetch(from.0, max, max_bytes);
        match &fetched {
            // Under the queue's lock: an append either was seen by this fetch or sees the flag.
            Fetch::Empty => self.link.waiting.store(true, Ordering::Release),
            Fetch::Ready(list) if slot.link.up.load(Ordering::Acquire) => {
                state.lend(list.last().map_or(0, |stored| stored.seq.next().0));
            }
            Fetch::Ready(_) | Fetch::Spilled => {}
        }
        fetched
    }

    fn fetch_fresh(&self, queue: QueueId, from: Seq, max: usize, max_bytes: usize) -> Fetch {
        let Some(slot) = self.shared.slot(queue) else {
            return Fetch::Empty;
        };
        let mut state = locked(&slot.queue);
        let fetched =
            state.fetch_fresh(from.0, max, max_bytes, slot.link.up.load(Ordering::Acquire));
        if matches!(fetched, Fetch::Empty) {
            // Under the lock, as with any fetch.
            self.link.waiting.store(true, Ordering::Release);
        }
        drop(state);
        fetched
    }

    fn read(&self, queue: QueueId, from: Seq) -> Vec<Stored> {
        let index = usize::from(queue.0);
        match self.shared.slot(queue) {
            Some(slot) => Reader {
                shared: &self.shared,
                slot,
                index,
            }
            .read(from.0),
            None => Vec::new(),
        }
    }

    fn accept(&self, queue: QueueId, from: Seq, to: Seq) {
        self.shared.accept(queue, from, to);
    }

    fn expire(&self, queue: QueueId, messages: &[Stored]) {
        self.shared.expire(queue, messages);
    }

    fn boot(&self) -> u32 {
        self.shared.boot
    }

    fn origin(&self) -> String {
        format!("{}/{}", self.shared.config.gateway, self.shared.name.ids)
    }

    fn has_room_for_refused(&self, letters: u64, bytes: u64) -> bool {
        let (config, on_the_way) = (&self.shared.config, locked(&self.shared.pile).on_the_way());
        let kept = *locked(&self.shared.letters);
        letters::has_room_for_refused(
            (letters, bytes),
            &kept,
            on_the_way,
            config.dead_letters as u64,
            config.dead_letter_bytes,
        )
    }

    fn refuse(&self, queue: QueueId, stored: Stored, detail: String) {
        let Some(slot) = self.shared.slot(queue) else {
            return;
        };
        if !locked(&slot.queue).refuse(stored.seq.0) {
            return;
        }
        let flow = self.shared.flows.name(stored.message.flow);
        let (message, reason, own_topic) = (stored.message, Reason::Refused, true);
        let letter = DeadLetter {
            message,
            flow,
            plugin: None,
            reason,
            detail,
            own_topic,
            receipt: None,
        };
        self.shared
            .metrics
            .letters
            .with_label_values(&[letter.reason.name()])
            .inc();
        locked(&self.shared.pile).push(
            letter,
            Now::read().wall_us,
            Then::Accept(queue, stored.seq),
        );
        self.shared.bell.due(0);
    }

    fn link(&self, up: bool) {
        self.link.up.store(up, Ordering::Release);
        for slot in self
            .shared
            .slots
            .iter()
            .filter(|slot| Arc::ptr_eq(&slot.link, &self.link))
        {
            let limits = self.shared.limits(slot);
            let due = {
                let mut queue = locked(&slot.queue);
                queue.take_back();
                queue.due(limits)
            };
            if let Some(due) = due {
                self.shared.bell.due(due);
            }
        }
        if up {
            // There may be something to tell.
            self.shared.bell.due(0);
        }
    }

    fn ready(&self) -> Arc<Notify> {
        Arc::clone(&self.link.ready)
    }
}

impl Shared {
    pub(super) fn slot(&self, queue: QueueId) -> Option<&Slot> {
        let slot = self.slots.get(usize::from(queue.0));
        if slot.is_none() {
            tracing::error!(queue = queue.0, "a queue that does not exist was asked for");
        }
        slot
    }

    /// Upstream has `from..to`.
    pub(super) fn accept(&self, queue: QueueId, from: Seq, to: Seq) {
        let Some(slot) = self.slot(queue) else { return };
        let limits = self.limits(slot);
        let now_us = self.clock.now();
        let mut released = Vec::new();
        let (fresh, due, note_due) = {
            let mut state = locked(&slot.queue);
            let fresh = state.accept(from.0, to.0, now_us, &mut released);
            (fresh, state.due(limits), state.note_due())
        };
        slot.accepted.inc_by(fresh);
        for receipt in released {
            receipt.release();
        }
        if let Some(due) = due {
            self.bell.due(due);
        }
        if let Some(due) = note_due {
            self.note_bell.due(due);
        }
    }
}

/// What a place on disk holds. A part that cannot be read ends before `to`, or with the disk's part of the queue.
pub(super) enum Found {
    Chunk(Content),
    Gap { to: u64 },
    Damaged { near: Near, damage: Damage },
}

/// Reads the spilled part of one queue.
pub(super) struct Reader<'a> {
    pub(super) shared: &'a Shared,
    pub(super) slot: &'a Slot,
    pub(super) index: usize,
}

impl Reader<'_> {
    /// The messages of the chunk that holds the first owed place at or after `from`. What the disk has lost on the way
    /// is counted, reported and passed over.
    pub(super) fn read(&self, from: u64) -> Vec<Stored> {
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
    fn owed(&self, content: Content, place: u64) -> Option<Vec<Stored>> {
        let Content {
            extent,
            mut messages,
        } = content;
        let mut queue = locked(&self.slot.queue);
        queue.learn(
            extent,
            messages.iter().map(|stored| stored.seq.0),
            self.shared.clock.now(),
        );
        if queue.is_doomed(place) {
            return None;
        }
        messages.retain(|Stored { seq, .. }| {
            seq.0 >= place && queue.is_owed(seq.0) && !queue.is_ahead(seq.0)
        });
        if self.slot.link.up.load(Ordering::Acquire) {
            queue.lend(messages.last().map_or(0, |stored| stored.seq.next().0));
        }
        Some(messages)
    }

    /// The chunk that answers for `place`. `None` when there is none: the gap is passed over, look again.
    pub(super) fn find(&self, store: &Store, place: u64) -> Result<Option<Content>, StoreError> {
        match self.look(store, place)? {
            Found::Chunk(content) => Ok(Some(content)),
            Found::Gap { .. } if self.was_forgotten(store, place)? => Ok(None),
            Found::Gap { to } => {
                let places = place..to.min(locked(&self.slot.queue).disk_end());
                self.lose(
                    places.clone(),
                    store.missing_in(self.index, &places),
                    "its chunk is missing",
                );
                Ok(None)
            }
            Found::Damaged {
                damage: Damage::Version(version),
                ..
            } => Err(StoreError::Newer(version)),
            Found::Damaged {
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
    fn was_forgotten(&self, store: &Store, place: u64) -> Result<bool, StoreError> {
        let owed = {
            let queue = locked(&self.slot.queue);
            (queue.owed_on_disk(place) == Some(place)).then(|| queue.low()..queue.disk_end())
        };
        owed.map_or(Ok(false), |owed| store.search(self.index, owed))
    }

    /// What is to be found at `place`; changes nothing.
    pub(super) fn look(&self, store: &Store, place: u64) -> Result<Found, StoreError> {
        let Some(near) = store.chunk_near(self.index, place)? else {
            return Ok(Found::Gap { to: u64::MAX });
        };
        if near.first > place {
            return Ok(Found::Gap { to: near.first });
        }
        let content = chunk::decode(
            &near.value,
            &self.shared.flows,
            self.shared.seal(self.index),
        );
        let content = content.and_then(|found| {
            if found.extent.first == near.first {
                Ok(found)
            } else {
                Err(Damage::Place)
            }
        });
        Ok(content.map_or_else(|damage| Found::Damaged { near, damage }, Found::Chunk))
    }

    /// Places that cannot be read any more, and how many messages they held, if that is known. Those that were accepted
    /// meanwhile are no loss: their chunk was deleted.
    pub(super) fn lose(&self, places: Range<u64>, known: Option<u64>, why: &str) {
        let (lost, places) = {
            let mut queue = locked(&self.slot.queue);
            let places = places.start.max(queue.low())..places.end.min(queue.disk_end());
            (queue.lose(places.start, places.end, known), places)
        };
        let Some(lost) = lost else { return };
        if lost > 0 {
            let config = &self.shared.config.queues[self.index];
            let (from, to) = (places.start, places.end);
            tracing::error!(uplink = %config.uplink, class = %config.class, from, to, messages = lost, why, "messages are lost on disk");
        }
        self.shared.note_damage(self.index, lost, places);
    }
}
