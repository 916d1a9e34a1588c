//! Whose outputs count, his state counts: where that passes from one version to the other, the state goes along. What one
//! has told, the other would tell again from a state of its own, and what one has swallowed, the other would miss.

use super::Pair;
use crate::chain::lane::trial::phase::KeyShare;
use crate::chain::sandbox::fault::{Fault, FaultKind};
use crate::chain::sandbox::state::{Snapshot, merged};
use crate::clock::Now;

impl Pair {
    /// From now on the candidate's outputs count for `share` of the keys: for those that are new to it, it goes on from the
    /// old version's state. `false`: it cannot, and is to go.
    pub(in crate::chain::lane) fn pass_on(&mut self, share: KeyShare, now: Now) -> bool {
        if share == self.spoken {
            return true;
        }
        if let Err(why) = self.give_on(now) {
            let why = format!("it cannot go on from the running version's state: {why}");
            if self.trial.fail(why.as_str()) {
                return false;
            }
            let plugin = self.candidate.version.label();
            tracing::error!(
                plugin,
                "a new version goes on from a state of its own: {why}"
            );
        }
        (self.spoken, self.is_apart) = (share, false);
        true
    }

    fn give_on(&mut self, now: Now) -> Result<(), Fault> {
        if !self.is_apart || self.parted.is_some() {
            return Ok(());
        }
        let old = self.old_state(now)?;
        let spoken = self.spoken;
        let new = if spoken == KeyShare::NONE {
            Snapshot::default()
        } else {
            self.candidate.checkpoint(now)?
        };
        self.candidate
            .take_over(&merged(&old, &new, |key| spoken.holds(key)), now)
    }

    fn old_state(&mut self, now: Now) -> Result<Snapshot, Fault> {
        self.old.checkpoint(now).inspect_err(|fault| {
            self.old.version.metrics.error(fault.kind);
            // Where there is no instance any more, the next call says so.
            drop(self.old.recover(now));
        })
    }

    /// Before the old version's state goes to disk: it is that of those whose outputs count, in the old version's form, since
    /// that is the one which would start with it.
    pub(in crate::chain::lane) fn align(&mut self, now: Now) {
        if self.spoken == KeyShare::NONE || self.parted.is_some() {
            return;
        }
        if let Err(fault) = self.give_back(now)
            && !std::mem::replace(&mut self.is_told, true)
        {
            let plugin = self.old.version.label();
            tracing::warn!(plugin, %fault, "while a version is on trial, what is kept is the state of the version before: it cannot take over the new one's");
        }
    }

    /// The old version speaks for all keys again, and goes on from the candidate's state for those that were the
    /// candidate's. `false`: it goes on from its own for all, as if there had been no other.
    pub(in crate::chain::lane) fn hand_back(&mut self, now: Now) -> bool {
        if self.spoken == KeyShare::NONE {
            return false;
        }
        let given = match &self.parted {
            Some(why) => Err(why.clone()),
            None => self.give_back(now).map_err(|fault| fault.to_string()),
        };
        self.spoken = KeyShare::NONE;
        let Err(why) = given else {
            return self.old.has_state();
        };
        let messages = self.answered;
        let plugin = self.old.version.label();
        self.old.version.metrics.tally.state_lost.inc_by(messages);
        tracing::error!(
            plugin,
            messages,
            "the version before goes on from its own state, not from the one that it replaces ({why}): what that one told of \
             these messages may be told again, or be missing"
        );
        self.trial.note_parted(messages, why);
        false
    }

    /// The same where the candidate is in the middle of something: what it has not ended is not done.
    pub(in crate::chain::lane) fn take_back(&mut self, now: Now) -> bool {
        // One of which no instance can be made any more has nothing to hand back, and that is said then.
        drop(self.candidate.recover(now));
        self.hand_back(now)
    }

    fn give_back(&mut self, now: Now) -> Result<(), Fault> {
        if !self.old.has_state() {
            return Ok(());
        }
        let new = match self.candidate.checkpoint(now) {
            Ok(new) => new,
            Err(fault) => {
                self.candidate.version.metrics.error(fault.kind);
                if fault.kind != FaultKind::State {
                    // One that cannot go on has no instance, and the next call says so.
                    drop(self.candidate.recover(now));
                }
                drop(self.charge(&fault));
                return Err(fault);
            }
        };
        let spoken = self.spoken;
        let old = if spoken == KeyShare::ALL {
            Snapshot::default()
        } else {
            self.old_state(now)?
        };
        self.old
            .take_over(&merged(&old, &new, |key| spoken.holds(key)), now)
    }
}
