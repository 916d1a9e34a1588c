//! Below the mark of free space: classes give up what they may so that what comes can be written, and only where that is
//! not enough nothing is spilled any more.
//!
//! Nothing is given up before it has to be: as long as `memory` has room what comes waits there, however much one queue has. Two
//! things have to be: `memory` is nearly full, and a queue's head is; or a source's broker waits with its window full, so that no more
//! comes into `memory` anyway, and what that broker keeps meanwhile overflows where nobody tells. Then the queue that
//! holds most on the card gives first, as its class says; one with `drop = "newest"` takes nothing more instead. What is
//! pressed may fill the reserve down to its half, and room is made up to three quarters of it, so that the condition
//! stays what it is until somebody tidies up. Where all that may go would not be enough, nothing goes.

use crate::spool::drop_policy::Policy;

/// What may be done below the mark, as of the last look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct DiskFullPlan {
    /// There is room down to half of the reserve.
    pub(crate) has_budget: bool,
    /// What is spilled can be made up for.
    pub(crate) can_give: bool,
    /// The queue that is to make room now.
    pub(crate) giver: Option<usize>,
}

impl DiskFullPlan {
    /// Whether something may be written.
    pub(crate) fn may_write(self) -> bool {
        self.has_budget && self.can_give
    }

    /// Whether anything goes on at all.
    pub(crate) fn is_possible(self) -> bool {
        self.may_write() || self.giver.is_some()
    }

    /// Whether a queue that is pressed may go to disk.
    pub(crate) fn lets_spill(self, policy: Policy) -> bool {
        self.may_write() || (self.has_budget && policy.spills_on_full_disk())
    }
}
