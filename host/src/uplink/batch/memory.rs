//! What is remembered of an upstream over all connections of a way to it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::super::carrier::{Answer, CarrierFault, Manner};
use super::patience::Patience;
use super::request::RequestBatch;

/// The same for whoever dials and for the connection that stands.
#[derive(Clone, Debug, Default)]
pub(in crate::uplink) struct BatchMemory {
    is_unproven: Arc<AtomicBool>,
    patience: Arc<Mutex<Patience>>,
}

impl BatchMemory {
    fn patience(&self) -> MutexGuard<'_, Patience> {
        self.patience.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether upstream turned away what it was sent last, whatever it was.
    pub(in crate::uplink) fn is_unproven(&self) -> bool {
        self.is_unproven.load(Ordering::Relaxed)
    }

    /// Notes whether it did, and says what was noted before.
    pub(in crate::uplink) fn set_unproven(&self, is_unproven: bool) -> bool {
        self.is_unproven.swap(is_unproven, Ordering::Relaxed)
    }

    /// Whether messages of this topic go alone.
    pub(super) fn is_doubted(&self, topic: u64) -> bool {
        self.patience().is_doubted(topic)
    }

    /// How long the next answer is waited for, which may take `answer`.
    pub(in crate::uplink) fn left(&self, answer: Duration) -> Duration {
        self.patience().left(answer)
    }

    /// Upstream took these in so much time.
    pub(in crate::uplink) fn took(&self, time: Duration, topics: Vec<u64>) {
        self.patience().took(time, topics.into_iter());
    }

    /// There was an answer, whatever it was.
    pub(in crate::uplink) fn told(&self, topics: Vec<u64>) {
        self.patience().told(topics.into_iter());
    }

    /// A connection ended like this while these were under way.
    pub(in crate::uplink) fn ended(&self, fault: &impl CarrierFault, sent: Vec<u64>) {
        if fault.manner() == Manner::StoodStill {
            self.patience().had_none(sent.into_iter());
        }
    }

    /// Upstream took others, and does not take what was sent for now: several are halved, and one waits by itself, with which none goes
    /// the next time: it may have waited for a lock. `false` where it is about all, as [`RequestBatch::busy`] says.
    pub(in crate::uplink) fn is_of_one<T>(
        &self,
        batch: &mut RequestBatch<T>,
        reason: &str,
        answers: &mut Vec<Answer>,
    ) -> bool {
        let (sent, is_alone) = (batch.topics(), batch.is_one());
        if !batch.busy(reason, answers) {
            return false;
        }
        self.set_unproven(false);
        if is_alone {
            self.patience().had_none(sent.into_iter());
        }
        true
    }
}
