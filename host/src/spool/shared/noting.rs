//! What the thread of the low marks has at hand: their file, and what was last committed of letters, ledger and state.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::clock::RunningTime;
use crate::spool::disk::low_marks::LowMarks;
use crate::spool::disk::records::batch::Witness;
use crate::spool::lock::locked;
use crate::spool::wake_up::WakeUp;

/// What was written is noted so long after that: with each commit it would cost the card a block more.
pub(crate) const WITNESS_US: u64 = 5_000_000;

/// The file `low`, and what it is to say.
#[derive(Default)]
pub(crate) struct Noting {
    /// None while the thread has it in hand, or there is no store.
    file: Mutex<Option<LowMarks>>,
    pub(crate) wake_up: WakeUp,
    witness: Mutex<Witness>,
    /// When that is to be noted (running clock); 0 when it is.
    witness_due: AtomicU64,
}

impl Noting {
    /// With what the start has found.
    pub(crate) fn new(file: Option<LowMarks>, witness: Witness) -> Self {
        Self {
            file: Mutex::new(file),
            witness: Mutex::new(witness),
            ..Self::default()
        }
    }

    /// Whether there is a file at hand.
    pub(crate) fn has_file(&self) -> bool {
        locked(&self.file).is_some()
    }

    /// Takes the file in hand.
    pub(crate) fn take_file(&self) -> Option<LowMarks> {
        locked(&self.file).take()
    }

    /// Lays the file back, unless a store that was opened anew has brought its own.
    pub(crate) fn give_back(&self, file: LowMarks) {
        locked(&self.file).get_or_insert(file);
    }

    /// A store that was opened anew has brought this file: it is written at once.
    pub(crate) fn put_file(&self, file: LowMarks) {
        *locked(&self.file) = Some(file);
        self.wake_up.due(RunningTime::START);
    }

    /// What was last committed of letters, ledger and state.
    pub(crate) fn witness(&self) -> Witness {
        locked(&self.witness).clone()
    }

    /// That is this now.
    pub(crate) fn set_witness(&self, witness: Witness) {
        *locked(&self.witness) = witness;
    }

    /// When that is to be noted, if it is not.
    pub(crate) fn witness_due(&self) -> Option<RunningTime> {
        Some(self.witness_due.load(Ordering::Acquire))
            .filter(|due| *due > 0)
            .map(RunningTime)
    }

    /// That is noted now. Answers whether it was to be.
    pub(crate) fn witness_noted(&self) -> bool {
        self.witness_due.swap(0, Ordering::AcqRel) > 0
    }

    /// Something was committed: what there is now is noted soon.
    pub(crate) fn witness_soon(&self, now: RunningTime) {
        let due = now.plus_us(WITNESS_US);
        if self
            .witness_due
            .compare_exchange(0, due.0, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
        {
            self.wake_up.due(due);
        }
    }
}
