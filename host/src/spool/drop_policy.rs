//! What of a class goes when there is no more room for it. Every question about that is answered here: what goes, when,
//! how much of it, whether data on disk may go to make room, and what the ledger says. The writer does as it is told
//! (`writer/make_room`, `writer/compact`, `writer/spill`): a new policy is a variant, its answers below, and its word.

use std::time::Duration;

use crate::message::LossReason;

/// Most bytes that a full queue is brought below its limit at a time.
const STEP_BYTES: u64 = 4 << 20;

/// What of a class goes first when there is no more room for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DropPolicy {
    /// The oldest messages make room.
    #[default]
    Oldest,
    /// What comes is not taken any more.
    Newest,
    /// What a newer message of its topic has superseded, at every spill; then the oldest.
    KeepLastPerTopic,
}

/// What a spill does not write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LeftOut {
    Nothing,
    /// Everything, once so many bytes of chunks are full.
    Behind(u64),
    /// Everything but the last message of each topic.
    Superseded,
}

/// What is on disk already and goes to make room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Clearing {
    Oldest,
    /// What was owed for too long.
    Expired,
    /// What a newer message of its topic has superseded.
    Superseded,
}

impl LeftOut {
    /// What the ledger says of it.
    pub(crate) fn reason(self) -> LossReason {
        match self {
            Self::Nothing | Self::Behind(_) => LossReason::QuotaNewest,
            Self::Superseded => LossReason::Superseded,
        }
    }
}

impl Clearing {
    /// What the ledger says of it.
    pub(crate) fn reason(self) -> LossReason {
        match self {
            Self::Oldest => LossReason::QuotaOldest,
            Self::Expired => LossReason::Expired,
            Self::Superseded => LossReason::Superseded,
        }
    }
}

/// Whether upstream is told what was given up for this reason: that a newer message took the place of an older one is
/// what its class is for, and no loss to tell of over a metered link.
pub(crate) fn is_told_upstream(reason: LossReason) -> bool {
    reason != LossReason::Superseded
}

impl DropPolicy {
    /// Its words in the config.
    pub const WORDS: [(&'static str, Self); 3] = [
        ("oldest", Self::Oldest),
        ("newest", Self::Newest),
        ("keep-last-per-topic", Self::KeepLastPerTopic),
    ];

    /// Whether messages with room for them may go before they were sent, as what the class is for.
    pub fn supersedes(self) -> bool {
        self == Self::KeepLastPerTopic
    }

    /// Whether what is on disk goes to make room for what comes.
    fn gives_up_disk(self) -> bool {
        self != Self::Newest
    }
}

/// What is given up, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Bytes of one queue's chunks on disk.
    pub max_bytes: u64,
    /// How long a message may be owed while the gateway runs.
    pub max_age: Option<Duration>,
    pub drop: DropPolicy,
}

impl Default for Policy {
    fn default() -> Self {
        Self::UNLIMITED
    }
}

impl Policy {
    /// Nothing is ever given up.
    pub const UNLIMITED: Self = Self {
        max_bytes: u64::MAX,
        max_age: None,
        drop: DropPolicy::Oldest,
    };

    /// `max_age` as the running clock counts.
    pub(crate) fn max_age_us(self) -> Option<u64> {
        self.max_age
            .map(|age| u64::try_from(age.as_micros()).unwrap_or(u64::MAX))
    }

    fn has_limit(self) -> bool {
        self.max_bytes < u64::MAX
    }

    /// Whether something on disk has to go, where there are so many bytes of it.
    pub(crate) fn is_over(self, disk_bytes: u64) -> bool {
        self.drop.gives_up_disk() && disk_bytes > self.max_bytes
    }

    /// Whether data on disk may go when the disk is nearly full, below the limit too.
    pub(crate) fn gives_up_on_full_disk(self) -> bool {
        self.drop.gives_up_disk() && self.has_limit()
    }

    /// Whether what is pressed may be spilled on a nearly full disk though nothing makes room for it: what takes nothing
    /// more writes next to nothing.
    pub(crate) fn spills_on_full_disk(self) -> bool {
        self.drop == DropPolicy::Newest
    }

    /// Bytes that are left before messages are lost, where a limit loses any.
    pub(crate) fn room_left(self, disk_bytes: u64) -> Option<u64> {
        let loses = self.has_limit() && !self.drop.supersedes();
        loses.then(|| self.max_bytes.saturating_sub(disk_bytes))
    }

    /// Whether a queue with so many bytes on disk is full: the last eighth comes and goes with its chunks.
    pub(crate) fn is_filled(self, disk_bytes: u64) -> bool {
        let room = self.room_left(disk_bytes);
        room.is_some_and(|room| room < self.max_bytes / 8)
    }

    /// What a spill does not write of a queue that has so many bytes on disk, takes `step` at most with this spill, and
    /// keeps `margin` for what the last chunk brings. `may_spill` is false while the disk is nearly full.
    pub(crate) fn left_out(
        self,
        disk_bytes: u64,
        (step, margin): (u64, u64),
        may_spill: bool,
    ) -> LeftOut {
        match self.drop {
            DropPolicy::Newest if !may_spill => LeftOut::Behind(0),
            DropPolicy::Newest if disk_bytes.saturating_add(step) > self.max_bytes => {
                let used = disk_bytes.saturating_add(margin);
                LeftOut::Behind(self.max_bytes.saturating_sub(used))
            }
            DropPolicy::KeepLastPerTopic => LeftOut::Superseded,
            DropPolicy::Newest | DropPolicy::Oldest => LeftOut::Nothing,
        }
    }

    /// So many bytes a queue must have got since the last time before what is superseded is looked for on disk, where
    /// `most` bytes fit: the queue is read as a whole for that. `None` where nothing is.
    pub(crate) fn compacts_after(self, most: u64) -> Option<u64> {
        self.drop.supersedes().then_some(most / 4)
    }

    /// Bytes that a full queue is brought down to. A little more than it must: entries of the ledger are then written
    /// once for many chunks. One that keeps the last message of each topic has to be read as a whole, so it gives more.
    pub(crate) fn goal(self) -> u64 {
        match self.drop {
            DropPolicy::Oldest => self.max_bytes - (self.max_bytes / 32).min(STEP_BYTES),
            DropPolicy::Newest => u64::MAX,
            DropPolicy::KeepLastPerTopic => self.max_bytes / 4 * 3,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn of(drop: DropPolicy) -> Policy {
        Policy {
            max_bytes: 64 * MIB,
            max_age: None,
            drop,
        }
    }

    #[test]
    fn what_takes_nothing_more_keeps_what_it_has_and_the_others_make_room() {
        for (word, drop) in DropPolicy::WORDS {
            let (policy, keeps) = (of(drop), drop == DropPolicy::Newest);
            assert_eq!(policy.is_over(65 * MIB), !keeps, "{word}");
            assert_eq!(policy.gives_up_on_full_disk(), !keeps, "{word}");
            assert_eq!(policy.spills_on_full_disk(), keeps, "{word}");
            assert!(!policy.is_over(64 * MIB), "{word}");
            assert_eq!(policy.goal() < policy.max_bytes, !keeps, "{word}");
        }
        assert!(!Policy::UNLIMITED.gives_up_on_full_disk());
        assert_eq!(Policy::UNLIMITED.room_left(MIB), None);
    }

    #[test]
    fn a_spill_leaves_out_what_does_not_fit_or_is_superseded() {
        let left_out =
            |drop, disk_bytes, may_spill| of(drop).left_out(disk_bytes, (4 * MIB, MIB), may_spill);
        let newest = DropPolicy::Newest;
        assert_eq!(left_out(newest, 60 * MIB, true), LeftOut::Nothing);
        assert_eq!(left_out(newest, 61 * MIB, true), LeftOut::Behind(2 * MIB));
        assert_eq!(left_out(newest, 0, false), LeftOut::Behind(0));
        let last = DropPolicy::KeepLastPerTopic;
        assert_eq!(left_out(last, 0, true), LeftOut::Superseded);
        assert_eq!(
            left_out(DropPolicy::Oldest, 99 * MIB, true),
            LeftOut::Nothing
        );
        assert_eq!(left_out(last, 0, true).reason(), LossReason::Superseded);
        assert!(!is_told_upstream(LossReason::Superseded) && is_told_upstream(LossReason::Expired));
    }
}
