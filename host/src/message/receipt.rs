//! Receipts: how a source learns that a message is settled.
//!
//! One read burst of a source is one [`Burst`] with a pending counter per message; a [`Receipt`] is (burst, index).
//! The source sets pending to the number of flows that match; a stage that makes k messages out of one calls
//! [`Receipt::add`] with k − 1 *before* it hands them on; whoever brings a message to its end calls
//! [`Receipt::release`]. A message is settled when its counter reads 0. When the last message of a burst is
//! settled the source is woken, once. A burst that is freed while receipts are pending is a fault: it is counted
//! and wakes the source, which reconnects so that the broker sends again.

use super::sync::{Arc, AtomicBool, AtomicU32, AtomicU64, Notify, Ordering};

/// The part of a source that receipts reach: its wake-up, its faults, and whether it is pressed for room.
#[derive(Debug, Default)]
pub struct Settled {
    wake: Notify,
    faults: AtomicU64,
    pressed: AtomicBool,
}

impl Settled {
    /// Waits until a burst has settled, or fell unsettled.
    pub async fn changed(&self) {
        self.wake.notified().await;
    }

    /// Bursts that were freed with receipts pending.
    pub fn faults(&self) -> u64 {
        self.faults.load(Ordering::Acquire)
    }

    /// Raised by the source at 80 % of its Receive Maximum, or where its broker waits for it; the spool then writes instead of
    /// waiting.
    pub fn press(&self, pressed: bool) {
        self.pressed.store(pressed, Ordering::Relaxed);
    }
}

/// How far a burst is settled. The source keeps this and not the burst, so that a burst is freed, and found out
/// if that was too early, when the last receipt is gone.
#[derive(Debug)]
pub struct Progress {
    pending: Box<[AtomicU32]>,
    open: AtomicU32,
    fallen: AtomicBool,
}

impl Progress {
    /// Whether message `index` is settled.
    pub fn is_settled(&self, index: usize) -> bool {
        self.pending[index].load(Ordering::Acquire) == 0
    }

    /// Whether every message is settled.
    pub fn all_settled(&self) -> bool {
        self.open.load(Ordering::Acquire) == 0
    }

    /// Whether the burst was freed with receipts pending: what is unsettled stays so for ever.
    pub fn has_fallen(&self) -> bool {
        self.fallen.load(Ordering::Acquire)
    }
}

/// One read burst of a source.
#[derive(Debug)]
pub struct Burst {
    settled: Arc<Settled>,
    progress: Arc<Progress>,
}

impl Burst {
    /// A burst whose message `i` waits for `pending[i]` releases; 0 is settled from the start.
    pub fn new(settled: Arc<Settled>, pending: impl IntoIterator<Item = u32>) -> Arc<Self> {
        let mut open = 0;
        let pending = pending
            .into_iter()
            .inspect(|count| open += u32::from(*count > 0))
            .map(AtomicU32::new)
            .collect();
        Arc::new(Self {
            settled,
            progress: Arc::new(Progress {
                pending,
                open: AtomicU32::new(open),
                fallen: AtomicBool::new(false),
            }),
        })
    }

    /// How many messages the burst has.
    pub fn len(&self) -> usize {
        self.progress.pending.len()
    }

    /// Whether the burst has no message.
    pub fn is_empty(&self) -> bool {
        self.progress.pending.is_empty()
    }

    /// Whether message `index` is settled.
    pub fn is_settled(&self, index: usize) -> bool {
        self.progress.is_settled(index)
    }

    /// Whether every message is settled.
    pub fn all_settled(&self) -> bool {
        self.progress.all_settled()
    }

    /// What tells how far it is settled, without keeping it alive.
    pub fn progress(&self) -> Arc<Progress> {
        Arc::clone(&self.progress)
    }

    /// One of the receipts of message `index`; the caller hands out exactly as many as it declared pending.
    pub fn receipt(self: &Arc<Self>, index: u32) -> Receipt {
        Receipt {
            burst: Arc::clone(self),
            index,
            race: None,
        }
    }
}

impl Drop for Burst {
    fn drop(&mut self) {
        if !self.all_settled() {
            self.progress.fallen.store(true, Ordering::Release);
            self.settled.faults.fetch_add(1, Ordering::Release);
            self.settled.wake.notify_one();
        }
    }
}

/// The claim of one message in flight on its acknowledgement. Forgetting it is safe: the message is then not
/// acknowledged, and the broker sends it again.
#[derive(Clone, Debug)]
#[must_use = "a receipt that is not released keeps its message unacknowledged"]
pub struct Receipt {
    burst: Arc<Burst>,
    index: u32,
    /// Of several ends of which one is enough: whether that has come.
    race: Option<Arc<AtomicBool>>,
}

impl Receipt {
    /// The same claim, of which all clones made from now on count as one: the first release is the one that counts.
    pub fn any(self) -> Self {
        Self {
            race: Some(Arc::default()),
            ..self
        }
    }

    /// Declares `more` further releases; call it before the clones are handed on.
    pub fn add(&self, more: u32) {
        self.burst.progress.pending[self.index as usize].fetch_add(more, Ordering::Relaxed);
    }

    /// One of the declared ends has come.
    pub fn release(self) {
        if self
            .race
            .as_ref()
            .is_some_and(|is_over| is_over.swap(true, Ordering::AcqRel))
        {
            return;
        }
        let progress = &self.burst.progress;
        if progress.pending[self.index as usize].fetch_sub(1, Ordering::AcqRel) == 1
            && progress.open.fetch_sub(1, Ordering::AcqRel) == 1
        {
            self.burst.settled.wake.notify_one();
        }
    }

    /// Whether the source this came from is pressed for room in its window.
    pub fn pressed(&self) -> bool {
        self.burst.settled.pressed.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_message_settles_when_all_its_ends_have_come() {
        let settled = Arc::new(Settled::default());
        let burst = Burst::new(Arc::clone(&settled), [2, 0, 1]);
        let first = burst.receipt(0);
        first.add(1);
        let (second, third) = (first.clone(), first.clone());
        first.release();
        second.release();
        assert!(!burst.is_settled(0) && burst.is_settled(1) && !burst.all_settled());
        third.release();
        assert!(burst.is_settled(0) && !burst.all_settled());
        burst.receipt(2).release();
        assert!(burst.all_settled());
        settled.changed().await;
        drop(burst);
        assert_eq!(settled.faults(), 0);
    }

    #[tokio::test]
    async fn of_ends_of_which_one_is_enough_the_first_counts_and_none_of_the_others() {
        let settled = Arc::new(Settled::default());
        let burst = Burst::new(Arc::clone(&settled), [2]);
        let (one, other) = (burst.receipt(0).any(), burst.receipt(0));
        let (two, three) = (one.clone(), one.clone());
        two.release();
        one.release();
        assert!(!burst.is_settled(0));
        other.release();
        assert!(burst.all_settled());
        drop((three, burst));
        assert_eq!(settled.faults(), 0);
    }

    #[tokio::test]
    async fn a_burst_freed_with_receipts_pending_is_a_fault_that_wakes_the_source() {
        let settled = Arc::new(Settled::default());
        let burst = Burst::new(Arc::clone(&settled), [1, 1]);
        let (one, two, progress) = (burst.receipt(0), burst.receipt(1), burst.progress());
        drop(burst);
        one.release();
        assert!(!progress.has_fallen());
        drop(two);
        settled.changed().await;
        assert_eq!(settled.faults(), 1);
        assert!(progress.has_fallen() && progress.is_settled(0) && !progress.is_settled(1));
    }
}
