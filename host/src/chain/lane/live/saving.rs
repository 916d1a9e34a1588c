//! How the state of an instance is saved, had back after a fault, and handed on.

use super::journal::{Journal, JournalBound};
use super::{Live, SUSPECT_BATCHES, fresh};
use crate::chain::sandbox::fault::{Fault, FaultKind};
use crate::chain::sandbox::state::{SaveScope, Snapshot, StatePage};
use crate::clock::Now;
use crate::message::Remembered;
use crate::words;

/// A save, and what was told since.
pub(crate) struct SavedPast {
    snapshot: Snapshot,
    journal: Journal,
}

impl Live {
    /// After a fault: puts a fresh instance in the place of the broken one, with the last saved state and the inputs
    /// since run again, and saves: the next fault, of the same batch perhaps, finds nothing to be run again. What of the
    /// state cannot be had back is counted and logged; the instance then runs without.
    ///
    /// # Errors
    /// No instance can be made at all.
    pub(crate) fn recover(&mut self, now: Now) -> Result<(), Fault> {
        self.renew(now)?;
        if !self.has_state() {
            return Ok(());
        }
        let journal = std::mem::replace(&mut self.journal, Journal::new(JournalBound::SAVE));
        if let Err(fault) = self.rebuild(&journal, now) {
            self.report_lost(journal.messages() + journal.missed(), &fault);
            self.fall_back(now)?;
        } else if journal.missed() > 0 {
            self.report_lost(
                journal.missed(),
                &Fault::new(
                    FaultKind::State,
                    "the state had not been saved for too long",
                ),
            );
        }
        if self.journal.len() > 0 {
            self.save_rebuilt(now)
        } else {
            Ok(())
        }
    }

    /// One that cannot be saved is rebuilt once more, and not saved again before `patience` is over.
    pub(super) fn save_rebuilt(&mut self, now: Now) -> Result<(), Fault> {
        if self.patience > 0 {
            return Ok(());
        }
        match self.save(self.next_extent(), now) {
            Err(fault) if !matches!(fault.kind, FaultKind::State | FaultKind::Misplaced) => {
                self.version.metrics.error(fault.kind);
                self.unsaved = Some(fault);
                self.recover(now)
            }
            _ => Ok(()),
        }
    }

    pub(super) fn renew(&mut self, now: Now) -> Result<(), Fault> {
        // The broken one goes first: two at once would be twice the memory.
        self.instance = None;
        let mut instance = fresh(&self.version, &self.engine, self.slot.lane, now)?;
        instance.mute(self.muted);
        self.growth.begin(&self.version, instance.memory_bytes());
        self.instance = Some(instance);
        Ok(())
    }

    pub(super) fn rebuild(&mut self, journal: &Journal, now: Now) -> Result<(), Fault> {
        self.restore(now)?;
        self.catch_up(journal)
    }

    pub(super) fn restore(&mut self, now: Now) -> Result<(), Fault> {
        let Some(instance) = &mut self.instance else {
            return Ok(());
        };
        instance.restore(self.snapshot.versioned_pages(), now)
    }

    /// The state of the last save alone; if not even that works, none.
    pub(super) fn fall_back(&mut self, now: Now) -> Result<(), Fault> {
        self.journal.clear();
        self.renew(now)?;
        if let Err(fault) = self.restore(now) {
            tracing::error!(plugin = self.version.label(), lane = self.slot.lane, %fault, "plugin starts without state: its saved state is not accepted");
            self.version.metrics.error(fault.kind);
            // So that the next checkpoint says that its keys are gone.
            self.snapshot.replace(
                SaveScope::Complete,
                self.version.setup.state_version(),
                Vec::new(),
            );
            self.renew(now)?;
        }
        Ok(())
    }

    /// Saves the whole state, forgets the journal, and hands out a copy.
    ///
    /// # Errors
    /// As [`Live::process`], unless the kind is `state`: then it is only too large, and the instance goes on.
    pub(crate) fn checkpoint(&mut self, now: Now) -> Result<Snapshot, Fault> {
        self.save(SaveScope::Complete, now)?;
        Ok(self.snapshot.clone())
    }

    /// Takes over the state another instance saved.
    ///
    /// # Errors
    /// The plugin refuses it or has no `state`, or it failed: this instance is then void.
    pub(crate) fn adopt(&mut self, snapshot: &Snapshot, now: Now) -> Result<(), Fault> {
        if !self.has_state() && !snapshot.is_empty() {
            let text = "the running version keeps state and this one does not export `state`";
            return Err(Fault::new(FaultKind::State, text));
        }
        if !self.has_state() {
            return Ok(());
        }
        if !snapshot.is_empty() {
            self.instance(now)?
                .restore(snapshot.versioned_pages(), now)?;
        }
        self.snapshot = snapshot.clone();
        Ok(())
    }

    /// Goes on from these pages in place of its own state, which it keeps where they are not accepted.
    ///
    /// # Errors
    /// The plugin refuses them, or no instance can be made with them.
    pub(crate) fn take_over(&mut self, pages: &[(u32, StatePage)], now: Now) -> Result<(), Fault> {
        let mut instance = fresh(&self.version, &self.engine, self.slot.lane, now)?;
        instance.mute(self.muted);
        instance.restore(pages.iter().map(|(version, page)| (*version, page)), now)?;
        let saved = instance.save(SaveScope::Complete, self.version.limits.state_bytes, now)?;
        self.check_home(&saved)?;
        self.growth.begin(&self.version, instance.memory_bytes());
        self.instance = Some(instance);
        self.snapshot.replace(
            SaveScope::Complete,
            self.version.setup.state_version(),
            saved,
        );
        if self.version.checkpoint.is_none() {
            self.snapshot.forget_unkept();
        }
        self.journal.begin_anew(JournalBound::SAVE);
        self.patience = 0;
        Ok(())
    }

    /// How it came to its state so far.
    pub(crate) fn past(&self) -> SavedPast {
        SavedPast {
            snapshot: self.snapshot.clone(),
            journal: self.journal.clone(),
        }
    }

    /// Has the state again that it had then.
    ///
    /// # Errors
    /// No instance can be made any more.
    pub(crate) fn rewind(&mut self, past: SavedPast, now: Now) -> Result<(), Fault> {
        (self.snapshot, self.journal) = (past.snapshot, past.journal);
        self.recover(now)
    }

    /// Takes over what an earlier process has kept. What is in another form than this version's is kept anew.
    ///
    /// # Errors
    /// The plugin refuses it, or it failed: this instance is then void.
    pub(crate) fn recall(&mut self, pages: &[(u32, StatePage)], now: Now) -> Result<(), Fault> {
        self.instance(now)?
            .restore(pages.iter().map(|(version, page)| (*version, page)), now)?;
        self.save(SaveScope::Complete, now)?;
        let version = self.version.setup.state_version();
        if pages.iter().all(|(saved, _)| *saved == version) {
            self.snapshot.forget_unkept();
        }
        Ok(())
    }

    /// Whether its state may be another than that of the last checkpoint.
    pub(crate) fn is_unkept(&self) -> bool {
        self.version.checkpoint.is_some()
            && (self.journal.len() > 0 || self.journal.missed() > 0 || self.snapshot.has_unkept())
    }

    /// What has changed since the last checkpoint.
    ///
    /// # Errors
    /// As [`Live::checkpoint`].
    pub(crate) fn take_unkept(&mut self, now: Now) -> Result<Vec<Remembered>, Fault> {
        if self.journal.len() > 0 || self.journal.missed() > 0 {
            self.save(self.next_extent(), now)?;
        }
        Ok(self.snapshot.take_unkept())
    }

    /// Whether it has state that can be saved.
    pub(crate) fn has_state(&self) -> bool {
        self.version.program.state.is_some()
    }

    pub(super) fn save(&mut self, extent: SaveScope, now: Now) -> Result<(), Fault> {
        let Some(instance) = &mut self.instance else {
            // What was never called has the state it began with.
            let is_untouched = self.journal.len() == 0 && self.journal.missed() == 0;
            return if is_untouched {
                Ok(())
            } else {
                Err(Fault::new(
                    FaultKind::Instantiate,
                    "there is no instance to save",
                ))
            };
        };
        let begun = self.engine.clock().moment();
        let saved = instance.save(extent, self.version.limits.state_bytes, now);
        let pages = saved.inspect_err(|_| {
            self.patience = (self.patience * 2).max(JournalBound::SAVE.messages)
        })?;
        self.check_home(&pages)?;
        self.snapshot
            .replace(extent, self.version.setup.state_version(), pages);
        if self.version.checkpoint.is_none() {
            self.snapshot.forget_unkept();
        }
        self.journal
            .begin_anew(JournalBound::after_save(self.engine.clock().since(begun)));
        self.patience = 0;
        Ok(())
    }

    /// Whether all keys of a save are keys of messages that come to this lane.
    pub(super) fn check_home(&mut self, pages: &[StatePage]) -> Result<(), Fault> {
        if self.slot.lanes == 1 {
            return Ok(());
        }
        let Some(key) = pages
            .iter()
            .flat_map(StatePage::keys)
            .find(|key| !self.slot.holds(key))
        else {
            return Ok(());
        };
        self.suspect = SUSPECT_BATCHES;
        let key = words::line_of_bytes(key, 64);
        let lanes = self.slot.lanes;
        let text = format!(
            "it keeps state under `{key}`, which is not the key of the flow's messages: each of the {lanes} lanes would have its own. \
             Where that is a level of the flow's topics, name it (key = \"{{room}}\" with topics as \"{{room}}/{{device}}/#\"); \
             else give the flow lanes = 1"
        );
        Err(Fault::new(FaultKind::Misplaced, text))
    }

    /// Saves when the journal is full. The batch before has been processed, so a failure here is none of that batch:
    /// the journal stays as it is, and what it misses is counted until a later save succeeds.
    pub(super) fn move_save_point(&mut self, now: Now) -> Result<(), Fault> {
        if !self.journal.is_full() || self.journal.missed() < self.patience {
            return Ok(());
        }
        match self.save(self.next_extent(), now) {
            Err(fault) if fault.kind != FaultKind::Misplaced => self.go_on_unsaved(fault, now),
            saved => saved,
        }
    }

    pub(super) fn go_on_unsaved(&mut self, fault: Fault, now: Now) -> Result<(), Fault> {
        self.version.metrics.error(fault.kind);
        self.unsaved = Some(fault.clone());
        let plugin = self.version.label();
        tracing::error!(plugin, lane = self.slot.lane, %fault, "state of a plugin cannot be saved: after a fault it would be that of the last save");
        // Too much state leaves the instance whole; anything else broke it, and the journal has what the batch did.
        if fault.kind == FaultKind::State {
            Ok(())
        } else {
            self.recover(now)
        }
    }

    /// After a failed save the guest may think its changes are known.
    pub(super) fn next_extent(&self) -> SaveScope {
        if self.patience > 0 {
            SaveScope::Complete
        } else {
            self.snapshot
                .next_extent(self.version.setup.state_version())
        }
    }

    pub(super) fn report_lost(&self, messages: usize, fault: &Fault) {
        let plugin = self.version.label();
        self.version
            .metrics
            .tally
            .state_lost
            .inc_by(messages as u64);
        tracing::error!(plugin, lane = self.slot.lane, messages, %fault, "state of a plugin is that of its last save: the effect of later messages is lost");
    }
}
