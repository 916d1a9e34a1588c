//! The side of the chains: memory work only.

use std::collections::HashMap;
use std::sync::Arc;

use crate::clock::{Now, RunningTime};
use crate::message::{
    Append, DeadLetter, FlowId, Loss, LossReason, Message, Outlet, QueueId, Seq, Wait,
};
use crate::spool::dead_letters::waiting::Then;
use crate::spool::ledger::LedgerEntry;
use crate::spool::ledger::loss_counts::LossCounts;
use crate::spool::lock::locked;
use crate::spool::shared::Shared;
use crate::spool::space::condition::StoreCondition;

impl Outlet for Shared {
    fn append(&self, batch: Vec<Append>) {
        if self.end.has_come() {
            // Unsettled receipts make the source's broker send again.
            tracing::debug!(messages = batch.len(), "append after the end");
            return;
        }
        let now = self.clock.now();
        let condition = self.condition(now);
        let cannot_write = condition != StoreCondition::Well;
        let most_in_ram = if cannot_write {
            self.most_in_ram()
        } else {
            usize::MAX
        };
        self.metrics.payload.inc_by(
            batch
                .iter()
                .map(|item| item.message.payload.len() as u64)
                .sum(),
        );
        let mut items = batch.into_iter().peekable();
        while let Some(first) = items.next() {
            let id = first.queue;
            let Some(slot) = self.slots.get(usize::from(id.0)) else {
                tracing::error!(queue = id.0, "append to a queue that does not exist");
                continue;
            };
            let limits = self.limits(slot);
            let mut count = 1;
            let mut dropped = Vec::new();
            let due = {
                let mut queue = locked(&slot.queue);
                queue.append(first.message, first.receipt, now);
                while let Some(next) = items.next_if(|next| next.queue == id) {
                    queue.append(next.message, next.receipt, now);
                    count += 1;
                }
                let excess = self.ram.excess();
                if cannot_write || excess > 0 {
                    let most = most_in_ram.min(queue.ram_bytes().saturating_sub(excess));
                    dropped = queue.shed(most, now);
                }
                queue.due(limits)
            };
            slot.appended.inc_by(count);
            if !dropped.is_empty() {
                self.record_shed(id, cannot_write, &dropped);
            }
            // Who cannot write looks again by himself; on a full disk others may make room.
            if let Some(due) = due.filter(|due| {
                !cannot_write
                    || (condition == StoreCondition::DiskFull && *due == RunningTime::START)
            }) {
                self.wake_up.due(due);
            }
            slot.link.wake();
        }
    }

    fn has_room(&self) -> bool {
        !self.ram.is_full()
    }

    fn park(&self, letters: Vec<DeadLetter>) {
        if letters.is_empty() || self.end.has_come() {
            return;
        }
        let parked_us = Now::read().wall.0;
        let cannot_write = self.cannot_write(self.clock.now());
        let dropped = {
            let mut waiting_letters = locked(&self.letters.waiting);
            for mut letter in letters {
                self.metrics
                    .letters
                    .with_label_values(&[letter.reason.name()])
                    .inc();
                let then = Then::Release(letter.receipt.take());
                waiting_letters.push(letter, parked_us, then);
            }
            if cannot_write {
                waiting_letters.shed(self.most_in_ram())
            } else {
                0
            }
        };
        if dropped > 0 {
            self.record_losses([self.plain(LossReason::LettersFull, dropped)]);
        }
        self.wake_up.due(RunningTime::START);
    }

    fn lose(&self, mut losses: Vec<Loss>) {
        let receipts: Vec<_> = losses
            .iter_mut()
            .filter_map(|loss| loss.receipt.take())
            .collect();
        let entry = |loss: Loss| {
            let message = Message {
                topic: loss.topic,
                key: loss.key,
                device: loss.device,
                ..Message::default()
            };
            let text = |bytes: &[u8]| {
                (!bytes.is_empty()).then(|| Arc::<str>::from(String::from_utf8_lossy(bytes)))
            };
            let plain = LedgerEntry::plain(
                loss.reason,
                &self.nobody,
                &self.nobody,
                loss.count,
                loss.received.0,
            );
            LedgerEntry {
                is_clock_set: loss.is_clock_set,
                topic: text(&message.topic),
                device: text(message.key()),
                flow: loss.flow,
                ..plain
            }
        };
        self.record_losses_with(losses.into_iter().map(entry), |pending| {
            pending.hold(receipts)
        });
    }

    fn hurry(&self, wait: Wait) {
        for slot in self.slots.iter() {
            locked(&slot.queue).press(wait);
        }
        self.wake_up.due(RunningTime::START);
    }
}

impl Shared {
    /// Counts what RAM had no more room for.
    fn record_shed(&self, id: QueueId, cannot_write: bool, dropped: &[(Seq, Message)]) {
        let slot = &self.slots[usize::from(id.0)];
        let reason = if cannot_write {
            LossReason::SpoolFull
        } else {
            LossReason::MemoryFull
        };
        let mut by_flow: HashMap<Option<FlowId>, LossCounts> = HashMap::new();
        for (place, message) in dropped {
            let counts = by_flow.entry(message.flow).or_insert_with(|| {
                let name = self.flows.name(message.flow);
                LossCounts::new(reason, &slot.uplink, &slot.class).of_flow(name)
            });
            counts.add(*place, message);
        }
        let counts = by_flow.into_values();
        self.record_losses(counts.flat_map(LossCounts::into_entries));
    }
}
