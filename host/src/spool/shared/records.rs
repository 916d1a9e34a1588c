//! Where the uplinks get what the gateway itself has to say.

use crate::message::QueueId;
use crate::spool::shared::Shared;

impl Shared {
    /// Which queue of an uplink: the class `alarm`, else the first that does not keep only the last message of a topic.
    pub(crate) fn queue_for_records(&self, uplink: &str) -> Option<QueueId> {
        let own = || {
            (0..)
                .zip(self.slots.iter())
                .filter(|(_, slot)| *slot.uplink == *uplink && slot.is_drained())
        };
        let alarm = own().find(|(_, slot)| &*slot.class == "alarm");
        let plain = || own().find(|(_, slot)| !slot.policy().drop.supersedes());
        alarm
            .or_else(plain)
            .or_else(|| own().next())
            .map(|(index, _)| QueueId(index))
    }

    /// That of each uplink.
    pub(crate) fn queues_for_records(&self) -> Vec<QueueId> {
        let mut uplinks: Vec<_> = self.slots.iter().map(|slot| &slot.uplink).collect();
        uplinks.sort_unstable();
        uplinks.dedup();
        let queues = uplinks.into_iter();
        queues
            .filter_map(|uplink| self.queue_for_records(uplink))
            .collect()
    }
}
