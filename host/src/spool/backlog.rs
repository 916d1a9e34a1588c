//! The side of an uplink: fetch and accept in RAM, read from disk.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::Notify;

use crate::clock::{Now, RunningTime};
use crate::message::{
    Backlog, BacklogLink, DeadLetter, Fetch, LinkTurn, OwedQueues, QueueId, Reason, Seq, Stored,
};
use crate::spool::dead_letters::kept::has_room_for_refused;
use crate::spool::dead_letters::waiting::Then;
use crate::spool::lock::locked;
use crate::spool::reading::reader::QueueReader;
use crate::spool::shared::Shared;
use crate::spool::shared::link::UplinkState;
use crate::spool::shared::slot::Slot;

struct UplinkBacklog {
    shared: Arc<Shared>,
    link: Arc<UplinkState>,
}

/// The backlog of an uplink; of one without queues it is always empty.
pub(super) fn of(shared: &Arc<Shared>, uplink: &str) -> OwedQueues {
    let link = shared
        .links
        .iter()
        .find(|link| &*link.name == uplink)
        .map_or_else(|| Arc::new(UplinkState::new(uplink.into())), Arc::clone);
    let backlog = Arc::new(UplinkBacklog {
        shared: Arc::clone(shared),
        link,
    });
    OwedQueues {
        link: Arc::clone(&backlog) as Arc<dyn BacklogLink>,
        backlog,
    }
}

impl Backlog for UplinkBacklog {
    fn low(&self, queue: QueueId) -> Seq {
        self.shared
            .slot(queue)
            .map_or(Seq::FIRST, |slot| locked(&slot.queue).low())
    }

    fn fetch(&self, queue: QueueId, from: Seq, max: usize, max_bytes: usize) -> Fetch {
        let Some(slot) = self.shared.slot(queue) else {
            return Fetch::Empty;
        };
        let mut state = locked(&slot.queue);
        let fetched = state.fetch(from, max, max_bytes);
        match &fetched {
            // Under the queue's lock: an append either was seen by this fetch or sees the flag.
            Fetch::Empty => self.link.waiting.store(true, Ordering::Release),
            Fetch::Ready(list) if slot.link.up.load(Ordering::Acquire) => {
                state.mark_in_flight(list.last().map_or(Seq::FIRST, |stored| stored.seq.next()));
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
        let fetched = state.fetch_fresh(from, max, max_bytes, slot.link.up.load(Ordering::Acquire));
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
            Some(slot) => QueueReader {
                shared: &self.shared,
                slot,
                index,
            }
            .read(from),
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
        let config = &self.shared.config;
        let on_the_way = locked(&self.shared.letters.waiting).on_the_way();
        let kept = *locked(&self.shared.letters.kept);
        has_room_for_refused(
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
        if !locked(&slot.queue).refuse(stored.seq) {
            return;
        }
        let flow = self.shared.flows.name(stored.message.flow);
        let message = stored.message;
        let reason = Reason::Refused;
        let own_topic = true;
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
        locked(&self.shared.letters.waiting).push(
            letter,
            Now::read().wall.0,
            Then::Accept(queue, stored.seq),
        );
        self.shared.wake_up.due(RunningTime::START);
    }
}

impl BacklogLink for UplinkBacklog {
    fn turn(&self, state: LinkTurn) {
        let is_up = state == LinkTurn::Up;
        self.link.up.store(is_up, Ordering::Release);
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
                self.shared.wake_up.due(due);
            }
        }
        if is_up {
            // There may be something to tell.
            self.shared.wake_up.due(RunningTime::START);
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

    /// Notes that upstream has accepted `from..to`.
    pub(super) fn accept(&self, queue: QueueId, from: Seq, to: Seq) {
        let Some(slot) = self.slot(queue) else { return };
        let limits = self.limits(slot);
        let now = self.clock.now();
        let mut released = Vec::new();
        let (fresh, due, note_due) = {
            let mut state = locked(&slot.queue);
            let fresh = state.accept(from, to, now, &mut released);
            (fresh, state.due(limits), state.note_due())
        };
        slot.accepted.inc_by(fresh);
        for receipt in released {
            receipt.release();
        }
        if let Some(due) = due {
            self.wake_up.due(due);
        }
        if let Some(due) = note_due {
            self.noting.wake_up.due(due);
        }
    }
}
