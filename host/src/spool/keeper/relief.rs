//! Below the mark of free space: classes give up what they may so that what comes can be written, and only where that is
//! not enough nothing is spilled any more.
//!
//! Nothing is given up before it has to be: a queue's head must be full, or a source wait for it. Then the queue that
//! holds most on the card gives first, as its class says; one with `drop = "newest"` takes nothing more instead. What is
//! pressed may fill the reserve down to its half, and room is made up to three quarters of it, so that the condition
//! stays what it is until somebody tidies up. Where all that may go would not be enough, nothing goes.

use super::Keeper;
use crate::spool::room::Condition;
use crate::spool::settings::{Giving, Policy};
use crate::spool::{Slot, locked};

/// What may be done below the mark, as of the last look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Relief {
    /// There is room down to half of the reserve.
    has_budget: bool,
    /// What is spilled can be made up for.
    can_give: bool,
    /// The queue that is to make room now.
    pub(super) giver: Option<usize>,
}

impl Relief {
    /// Whether something may be written.
    pub(super) fn may_write(self) -> bool {
        self.has_budget && self.can_give
    }

    /// Whether anything goes on at all.
    pub(super) fn is_possible(self) -> bool {
        self.may_write() || self.giver.is_some()
    }

    /// Whether a queue that is pressed may go to disk. What takes nothing more writes next to nothing.
    pub(super) fn lets_spill(self, policy: Policy) -> bool {
        self.may_write() || (self.has_budget && policy.giving == Giving::Newest)
    }
}

impl Keeper {
    /// What may be done. Nothing, where the disk is not the trouble.
    pub(super) fn find_relief(&self) -> Relief {
        if self.standing.condition != Condition::DiskFull {
            return Relief::default();
        }
        let now_us = self.shared.clock.now();
        let bytes = self
            .shared
            .slots
            .iter()
            .map(|slot| locked(&slot.queue).bytes_to_give(slot.policy, now_us));
        let (held, most) = (0..)
            .zip(bytes)
            .fold((0_u64, (0, 0)), |(sum, most), (index, bytes)| {
                (
                    sum.saturating_add(bytes),
                    if bytes > most.1 { (index, bytes) } else { most },
                )
            });
        let lacks = self.standing.lacks();
        let can_give = held > lacks;
        let giver = (can_give && lacks > 0 && self.is_pressed()).then_some(most.0);
        Relief {
            has_budget: self.standing.budget > 0,
            can_give,
            giver,
        }
    }

    /// Whether something has to be written.
    fn is_pressed(&self) -> bool {
        let is_ending = locked(&self.shared.ending).is_some();
        let has_letters = locked(&self.shared.pile).is_due();
        let is_urgent = |slot: &Slot| locked(&slot.queue).is_urgent(self.shared.config.head_bytes);
        is_ending || has_letters || self.shared.slots.iter().any(is_urgent)
    }
}
