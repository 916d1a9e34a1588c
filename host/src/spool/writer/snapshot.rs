//! A picture of the store: what is in memory is written, then the files are put aside, and only then does the writer go on.

use crate::message::Seq;
use crate::spool::disk::snapshot::take;
use crate::spool::lock::locked;
use crate::spool::shared::slot::Slot;
use crate::spool::shared::snapshots::SnapshotError;
use crate::spool::writer::Writer;
use crate::spool::writer::work::Demand;

impl Writer {
    /// Takes the one that is asked for.
    pub(super) fn take_snapshot(&mut self) {
        let wanted = locked(&self.shared.snapshot).take();
        if let Some(wanted) = wanted {
            let taken = self.write_what_is_owed().and_then(|()| {
                take(self.folder.path(), &self.folder.store(), &wanted.into)
                    .map_err(SnapshotError::Files)
            });
            // An error means that nobody waits any more.
            let _ = wanted.answer.send(taken);
        }
    }

    /// Everything that is owed at this moment goes to disk, with letters, ledger and state, and how far upstream has accepted.
    fn write_what_is_owed(&mut self) -> Result<(), SnapshotError> {
        let ends: Vec<Seq> = self
            .shared
            .slots
            .iter()
            .map(|slot| locked(&slot.queue).end())
            .collect();
        let mut before = None;
        loop {
            self.look();
            if self.shared.health.is_in_trouble() || !self.commit(Demand::All) {
                return Err(SnapshotError::Trouble);
            }
            let left = |(slot, end): (&Slot, &Seq)| {
                let queue = locked(&slot.queue);
                let is_written = queue.disk_end() >= *end || queue.tally().in_ram == 0;
                if is_written {
                    0
                } else {
                    end.places_since(queue.disk_end())
                }
            };
            let left: u64 = self.shared.slots.iter().zip(&ends).map(left).sum();
            if left == 0 {
                break;
            }
            // A full disk takes nothing of it.
            if before.replace(left).is_some_and(|before| before <= left) {
                return Err(SnapshotError::Trouble);
            }
        }
        self.note_all();
        Ok(())
    }
}
