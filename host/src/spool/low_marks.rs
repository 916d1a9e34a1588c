//! The thread of the low marks: tells their file how far each queue is accepted, within milliseconds, also while a sync hangs.

use std::io;
use std::sync::atomic::Ordering;

use crate::spool::lock::locked;
use crate::spool::shared::Shared;

/// How long a disk that refused is left alone.
const RETRY_US: u64 = 1_000_000;
/// What was written is noted so long after that: with each commit it would cost the card a block more.
pub(crate) const WITNESS_US: u64 = 5_000_000;

impl Shared {
    /// The thread of the low marks: writes what is due, ends with the spool.
    pub(super) fn keep_low_marks(&self) {
        let mut rest_until_us = 0;
        loop {
            self.low_marks_wake_up.look();
            if self.is_ending.load(Ordering::Acquire) {
                return;
            }
            let now_us = self.clock.now();
            match self.note_due().map(|due| due.max(rest_until_us)) {
                Some(due) if due <= now_us => {
                    self.low_marks_wake_up.busy();
                    if let Err(error) = self.write_low_marks() {
                        tracing::debug!(%error, "how far the queues are accepted was not noted; the store hears of it later");
                        rest_until_us = now_us.saturating_add(RETRY_US);
                    }
                }
                due => self.low_marks_wake_up.sleep(now_us, due),
            }
        }
    }

    /// When there is something to note (running clock).
    fn note_due(&self) -> Option<u64> {
        locked(&self.low_marks).as_ref()?;
        let witness = Some(self.witness_due.load(Ordering::Acquire)).filter(|due| *due > 0);
        self.slots
            .iter()
            .filter_map(|slot| locked(&slot.queue).note_due())
            .chain(witness)
            .min()
    }

    /// Something was committed: what there is now is noted soon.
    pub(super) fn witness_soon(&self) {
        let due = self.clock.now().saturating_add(WITNESS_US);
        if self
            .witness_due
            .compare_exchange(0, due, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
        {
            self.low_marks_wake_up.due(due);
        }
    }

    /// Notes how far the queues are accepted, and what there is.
    pub(super) fn write_low_marks(&self) -> io::Result<()> {
        // In hand while it is written: a store that was opened anew meanwhile has brought its own.
        let Some(mut low_marks) = locked(&self.low_marks).take() else {
            return Ok(());
        };
        let now_us = self.clock.now();
        let mut is_news = self.witness_due.swap(0, Ordering::AcqRel) > 0;
        for (index, slot) in self.slots.iter().enumerate() {
            let mark = {
                let mut queue = locked(&slot.queue);
                let news = queue.note(now_us);
                is_news |= news.is_some();
                news.unwrap_or_else(|| queue.mark_noted(now_us))
            };
            low_marks.set(index, mark);
        }
        low_marks.record(locked(&self.witness).clone());
        let written = if is_news { low_marks.write() } else { Ok(()) };
        locked(&self.low_marks).get_or_insert(low_marks);
        written
    }
}
