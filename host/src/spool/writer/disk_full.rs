//! What may be done below the mark of free space is found out: see `space::disk_full`.

use crate::spool::lock::locked;
use crate::spool::shared::slot::Slot;
use crate::spool::space::condition::StoreCondition;
use crate::spool::space::disk_full::DiskFullPlan;
use crate::spool::writer::Writer;

impl Writer {
    /// What may be done. Nothing, where the disk is not the trouble.
    pub(super) fn plan_for_disk_full(&self) -> DiskFullPlan {
        if self.space_level.condition != StoreCondition::DiskFull {
            return DiskFullPlan::default();
        }
        let now = self.shared.clock.now();
        let bytes = self
            .shared
            .slots
            .iter()
            .map(|slot| locked(&slot.queue).bytes_to_give(slot.policy(), now));
        let (held, most) = (0..)
            .zip(bytes)
            .fold((0_u64, (0, 0)), |(sum, most), (index, bytes)| {
                (
                    sum.saturating_add(bytes),
                    if bytes > most.1 { (index, bytes) } else { most },
                )
            });
        let lacks = self.space_level.lacks();
        let can_give = held > lacks;
        let giver = (can_give && lacks > 0 && self.is_pressed()).then_some(most.0);
        DiskFullPlan {
            has_budget: self.space_level.budget > 0,
            can_give,
            giver,
        }
    }

    /// Bytes of a queue's head that have to be written: a full one can stay in RAM as long as there is room.
    pub(super) fn urgent_bytes(&self) -> usize {
        let is_disk_full = self.space_level.condition == StoreCondition::DiskFull;
        if is_disk_full && !self.shared.ram.is_nearly_full() {
            usize::MAX
        } else {
            self.shared.config.head_bytes
        }
    }

    /// Whether something has to be written.
    fn is_pressed(&self) -> bool {
        let is_ending = self.shared.end.how().is_some();
        let has_letters = locked(&self.shared.letters.waiting).is_due();
        let is_urgent = |slot: &Slot| locked(&slot.queue).is_urgent(self.urgent_bytes());
        is_ending || has_letters || self.shared.slots.iter().any(is_urgent)
    }
}
