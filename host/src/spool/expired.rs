//! Messages whose own time is over: they are barred at once, entered in the ledger with a commit soon, and owed until that
//! is through. A kill in between finds them owed, and expired again; one behind it can count those twice that were in RAM and
//! that the field broker had no acknowledgement of (at most `receive_maximum` for each source connection), since it sends
//! them again. The other order, acknowledged first, could leave them uncounted.

use crate::message::{LossReason, QueueId, Receipt, Stored};
use crate::spool::ledger::loss_counts::LossCounts;
use crate::spool::ledger::store::Settling;
use crate::spool::lock::locked;
use crate::spool::shared::Shared;

impl Shared {
    /// Does what [`crate::message::Backlog::expire`] says.
    pub(super) fn expire(&self, queue: QueueId, messages: &[Stored]) {
        let Some(slot) = self.slot(queue) else { return };
        let mut counts = LossCounts::new(LossReason::Expired, &slot.uplink, &slot.class);
        let mut places = Vec::with_capacity(messages.len());
        {
            let mut state = locked(&slot.queue);
            for stored in messages.iter().filter(|stored| state.refuse(stored.seq)) {
                counts.add(stored.seq, &stored.message);
                places.push(stored.seq);
            }
        }
        self.record_losses_with(counts.into_entries(), |pending| {
            pending.expire(queue, places)
        });
    }

    /// The ledger has these for good.
    pub(super) fn settle(&self, settling: Settling) {
        settling.receipts.into_iter().for_each(Receipt::release);
        for place in settling.places {
            let Some(slot) = self.slot(place.queue) else {
                continue;
            };
            let limits = self.limits(slot);
            let mut released: Vec<Receipt> = Vec::new();
            let due = {
                let mut state = locked(&slot.queue);
                state.expire(place.from, place.to, self.clock.now(), &mut released);
                state.due(limits)
            };
            released.into_iter().for_each(Receipt::release);
            if let Some(due) = due {
                self.wake_up.due(due);
            }
        }
    }
}
