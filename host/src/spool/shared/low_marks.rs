//! The thread of the low marks: tells their file how far each queue is accepted, within milliseconds, also while a sync hangs.

use std::io;

use crate::clock::RunningTime;
use crate::spool::lock::locked;
use crate::spool::shared::Shared;

/// How long a disk that refused is left alone.
const RETRY_US: u64 = 1_000_000;

impl Shared {
    /// The thread of the low marks: writes what is due, ends with the spool.
    pub(crate) fn keep_low_marks(&self) {
        let mut rest_until = RunningTime::START;
        loop {
            self.noting.wake_up.look();
            if self.end.has_come() {
                return;
            }
            let now = self.clock.now();
            match self.note_due().map(|due| due.max(rest_until)) {
                Some(due) if due <= now => {
                    self.noting.wake_up.busy();
                    if let Err(error) = self.write_low_marks() {
                        tracing::debug!(%error, "how far the queues are accepted was not noted; the store hears of it later");
                        rest_until = now.plus_us(RETRY_US);
                    }
                }
                due => self.noting.wake_up.sleep(now, due),
            }
        }
    }

    /// When there is something to note.
    fn note_due(&self) -> Option<RunningTime> {
        if !self.noting.has_file() {
            return None;
        }
        let witness = self.noting.witness_due();
        self.slots
            .iter()
            .filter_map(|slot| locked(&slot.queue).note_due())
            .chain(witness)
            .min()
    }

    /// Something was committed: what there is now is noted soon.
    pub(crate) fn witness_soon(&self) {
        self.noting.witness_soon(self.clock.now());
    }

    /// Notes how far the queues are accepted, and what there is.
    pub(crate) fn write_low_marks(&self) -> io::Result<()> {
        // In hand while it is written: a store that was opened anew meanwhile has brought its own.
        let Some(mut low_marks) = self.noting.take_file() else {
            return Ok(());
        };
        let now = self.clock.now();
        let mut is_news = self.noting.witness_noted();
        for (index, slot) in self.slots.iter().enumerate() {
            let mark = {
                let mut queue = locked(&slot.queue);
                let news = queue.note(now);
                is_news |= news.is_some();
                news.unwrap_or_else(|| queue.mark_noted(now))
            };
            low_marks.set(index, &slot.name, mark);
        }
        low_marks.record(self.noting.witness());
        let written = if is_news { low_marks.write() } else { Ok(()) };
        self.noting.give_back(low_marks);
        written
    }
}
