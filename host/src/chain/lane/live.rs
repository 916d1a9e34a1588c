//! A version at work in one lane: its instance, and what is needed to put another in its place after a fault. One that
//! nothing was brought to yet has no instance: a flow that is idle from its start costs next to nothing.

mod growth;
mod journal;
mod orders;
mod saving;

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::slot::LaneIndex;
use super::version::Version;
use crate::chain::cost::CostLimit;
use crate::chain::sandbox::batch::{GuestAnswer, OutputEntry, PackedBatch, unpack};
use crate::chain::sandbox::engine::Engine;
use crate::chain::sandbox::fault::{Fault, FaultKind};
use crate::chain::sandbox::guest::GuestContext;
use crate::chain::sandbox::instance::Instance;
use crate::chain::sandbox::series::CallSeries;
use crate::chain::sandbox::state::SaveScope;
use crate::chain::sandbox::state::Snapshot;
use crate::clock::{Clock, Now};
use crate::message::Message;
use growth::Growth;
use journal::{Journal, JournalBound, JournalEntry};

/// Batches that are looked at one by one, each for a foreign key of its own, after one was found.
const SUSPECT_BATCHES: u32 = 256;

/// No instance of a plugin can be made any more: the lane cannot go on.
#[derive(Debug, thiserror::Error)]
#[error("no instance of plugin `{plugin}` can be made")]
pub(crate) struct Broken {
    plugin: String,
    pub(super) source: Fault,
}

/// An instance with the memory of how it came to its state.
pub(crate) struct Live {
    pub(crate) version: Arc<Version>,
    engine: Engine,
    slot: LaneIndex,
    /// Batches since it began.
    batches: u64,
    /// Batches to come that are looked at one by one, since state was found under a foreign key.
    suspect: u32,
    /// Made with the first call.
    instance: Option<Instance>,
    snapshot: Snapshot,
    journal: Journal,
    /// After a save that failed: how many messages the journal may miss before the next try.
    patience: usize,
    growth: Growth,
    /// When it is to be told the time.
    pub(super) next_tick: Option<Instant>,
    /// Another version speaks: log lines, metrics and times of this one are not for the world.
    muted: bool,
    /// Why a save between two batches failed.
    unsaved: Option<Fault>,
}

impl Live {
    /// A configured instance without state.
    pub(crate) fn start(
        version: &Arc<Version>,
        engine: &Engine,
        slot: LaneIndex,
        now: Now,
    ) -> Result<Self, Fault> {
        let mut live = Self::at_rest(version, engine, slot);
        live.instance(now)?;
        Ok(live)
    }

    /// The same, whose instance is made with the first call.
    pub(crate) fn at_rest(version: &Arc<Version>, engine: &Engine, slot: LaneIndex) -> Self {
        Self {
            version: Arc::clone(version),
            engine: engine.clone(),
            slot,
            batches: 0,
            suspect: 0,
            instance: None,
            snapshot: Snapshot::default(),
            journal: Journal::new(JournalBound::SAVE),
            patience: 0,
            growth: Growth::default(),
            next_tick: None,
            muted: false,
            unsaved: None,
        }
    }

    /// The same with nothing of what it has become.
    pub(super) fn blank(&self) -> Self {
        Self::at_rest(&self.version, &self.engine, self.slot)
    }

    /// The clocks it lives by.
    pub(super) fn clock(&self) -> &Clock {
        self.engine.clock()
    }

    /// Its instance, made where there is none yet.
    fn instance(&mut self, now: Now) -> Result<&mut Instance, Fault> {
        if self.instance.is_none() {
            self.renew(now)?;
        }
        self.instance
            .as_mut()
            .ok_or_else(|| Fault::new(FaultKind::Instantiate, "there is no instance"))
    }

    /// Packs messages for it; `false` when one of them is beyond what 32-bit lengths can say.
    pub(crate) fn pack<'m>(
        &self,
        packed: &mut PackedBatch,
        messages: impl IntoIterator<Item = &'m Message>,
        now: Now,
    ) -> bool {
        // What comes back from the dead letters may have come by the clock of an earlier boot.
        packed.fill(messages, |uptime| {
            self.engine.clock().running(uptime.min(now.uptime))
        })
    }

    /// Runs a batch; its entries are appended to `entries`.
    ///
    /// # Errors
    /// The instance is then void: [`Live::recover`] comes next.
    pub(crate) fn process(
        &mut self,
        packed: &PackedBatch,
        now: Now,
        entries: &mut Vec<OutputEntry>,
    ) -> Result<GuestAnswer, Fault> {
        let begun = self.engine.clock().moment();
        let result = self.instance(now)?.process(packed, now);
        let taken = self.engine.clock().since(begun);
        if !self.muted {
            self.version
                .metrics
                .call_seconds
                .observe(taken.as_secs_f64());
        }
        let answer = result?;
        unpack(&answer, self.version.shape(Some(packed.len())), entries)?;
        self.version.grants.check(&answer, entries)?;
        if !self.muted {
            self.note_output(&answer, entries.len(), now);
        }
        if self.has_state() {
            self.note_batch(packed, now, taken)?;
        }
        self.recycle_if_grown(now)?;
        Ok(answer)
    }

    /// How near a batch's output has come to its limits.
    fn note_output(&self, answer: &GuestAnswer, entries: usize, now: Now) {
        let limits = &self.version.limits;
        let part = |held: usize, limit: usize| held as f64 / limit.max(1) as f64;
        let near = [
            (
                CostLimit::Output,
                part(answer.data.len(), limits.output_bytes),
            ),
            (
                CostLimit::OutputMessages,
                part(entries, limits.output_messages),
            ),
        ];
        self.version.metrics.tally.came_near(now.uptime, &near);
    }

    /// Takes a batch into what can be had back after a fault.
    fn note_batch(&mut self, packed: &PackedBatch, now: Now, taken: Duration) -> Result<(), Fault> {
        self.batches += 1;
        // Where there are several lanes, state under a key of another lane would be another one's over a restart, or count
        // beside it: that is to be seen with the first messages, so the first saves come early.
        let is_looked_at = self.batches.is_power_of_two() || self.suspect > 0;
        self.suspect = self.suspect.saturating_sub(1);
        if self.slot.lanes == 1 || !is_looked_at || self.patience > 0 {
            self.journal.push_batch(packed, now, taken);
            return self.move_save_point(now);
        }
        match self.save(self.next_extent(), now) {
            Err(fault) if fault.kind != FaultKind::Misplaced => {
                self.journal.push_batch(packed, now, taken);
                self.go_on_unsaved(fault, now)
            }
            saved => saved,
        }
    }

    /// Tells the time; the outputs are appended to `entries`.
    ///
    /// # Errors
    /// As [`Live::process`].
    pub(crate) fn tick(
        &mut self,
        now: Now,
        entries: &mut Vec<OutputEntry>,
    ) -> Result<GuestAnswer, Fault> {
        let begun = self.engine.clock().moment();
        let answer = self.instance(now)?.tick(now)?;
        let taken = self.engine.clock().since(begun);
        unpack(&answer, self.version.shape(None), entries)?;
        self.version.grants.check(&answer, entries)?;
        if self.has_state() {
            self.journal.push_tick(now, taken);
            self.move_save_point(now)?;
        }
        self.recycle_if_grown(now)?;
        Ok(answer)
    }

    /// Shows the instance what `journal` holds, outputs discarded.
    ///
    /// # Errors
    /// As [`Live::process`], or it takes too long.
    fn catch_up(&mut self, journal: &Journal) -> Result<(), Fault> {
        let mut packed = PackedBatch::default();
        let mut entries = Vec::new();
        let series = CallSeries::begin();
        self.mute_instance(true);
        for index in 0..journal.len() {
            if let Some(why) = series.over() {
                return Err(Fault::new(
                    FaultKind::State,
                    format!("running the inputs since the last save again takes {why}"),
                ));
            }
            entries.clear();
            match journal.read(index, &mut packed) {
                Some(JournalEntry::Batch { now, .. }) => {
                    drop(self.process(&packed, now, &mut entries)?)
                }
                Some(JournalEntry::Tick { now }) => drop(self.tick(now, &mut entries)?),
                None => break,
            }
        }
        self.mute_instance(self.muted);
        Ok(())
    }

    /// The same for a lane, which cannot go on without it.
    pub(super) fn mend(&mut self, now: Now) -> Result<(), Broken> {
        self.recover(now).map_err(|source| Broken {
            plugin: self.version.label(),
            source,
        })
    }

    /// While muted, what it says and measures goes nowhere.
    pub(crate) fn mute(&mut self, muted: bool) {
        self.muted = muted;
        self.mute_instance(muted);
    }

    fn mute_instance(&mut self, muted: bool) {
        if let Some(instance) = &mut self.instance {
            instance.mute(muted);
        }
    }

    /// Takes the place of `old`, beside which it has worked: the disk has that one's keys.
    pub(crate) fn succeed(&mut self, old: &Self) {
        self.mute(false);
        self.snapshot.succeed(&old.snapshot);
        if self.version.checkpoint.is_none() {
            self.snapshot.forget_unkept();
        }
    }

    /// Whether it is to be told the time at `moment`; if so the next time is one interval on. What was missed is not made
    /// up for.
    pub(super) fn is_tick_due(&mut self, moment: Instant) -> bool {
        let (Some(every), Some(due)) = (self.version.tick_every(), self.next_tick) else {
            return false;
        };
        if due > moment {
            return false;
        }
        let after = due + every;
        self.next_tick = Some(if after > moment {
            after
        } else {
            moment + every
        });
        true
    }

    /// It is not told the time before `earliest`.
    pub(super) fn put_off_tick(&mut self, earliest: Instant) {
        self.next_tick = self.next_tick.map(|next| next.max(earliest));
    }

    /// Why a save between two batches failed, if one has since this was last asked.
    pub(super) fn take_unsaved(&mut self) -> Option<Fault> {
        self.unsaved.take()
    }

    /// Linear memory of its instance.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.instance.as_ref().map_or(0, Instance::memory_bytes)
    }

    /// Takes over a copy of a state, saves it again and, with a timer, has a tick, and is thrown away: would it work?
    ///
    /// # Errors
    /// What it did wrong.
    pub(crate) fn rehearse(mut self, snapshot: &Snapshot, now: Now) -> Result<(), Fault> {
        self.mute(true);
        self.adopt(snapshot, now)?;
        self.process(&PackedBatch::default(), now, &mut Vec::new())?;
        self.save(SaveScope::Complete, now)?;
        if self.version.tick_every().is_some() {
            self.tick(now, &mut Vec::new())?;
        }
        Ok(())
    }

    /// Replaces an instance that has grown past its soft limit: the fresh one has the state, and the size it needs.
    fn recycle_if_grown(&mut self, now: Now) -> Result<(), Fault> {
        if !self.growth.is_over(self.memory_bytes()) {
            return Ok(());
        }
        if self.has_state()
            && let Err(fault) = self.save(self.next_extent(), now)
        {
            self.growth.fail(&self.version, self.slot.lane, &fault);
            // As when a save point is moved: too much state leaves the instance whole, anything else broke it.
            return if fault.kind == FaultKind::State {
                Ok(())
            } else {
                self.recover(now)
            };
        }
        match self.replacement(now) {
            Ok(instance) => self.replace_grown(instance, now),
            // The old instance is whole.
            Err(fault) => self.growth.fail(&self.version, self.slot.lane, &fault),
        }
        Ok(())
    }

    /// A fresh instance with the state as it was saved.
    fn replacement(&self, now: Now) -> Result<Instance, Fault> {
        let mut instance = fresh(&self.version, &self.engine, self.slot.lane, now)?;
        instance.mute(self.instance.as_ref().is_some_and(Instance::is_muted));
        instance.restore(self.snapshot.versioned_pages(), now)?;
        Ok(instance)
    }

    fn replace_grown(&mut self, instance: Instance, now: Now) {
        let bytes = [self.memory_bytes(), instance.memory_bytes()];
        self.instance = Some(instance);
        self.growth
            .replaced(&self.version, self.slot.lane, bytes, now);
    }
}

/// A configured instance of a version; it must ask for the same as the first one did.
fn fresh(version: &Version, engine: &Engine, lane: usize, now: Now) -> Result<Instance, Fault> {
    let place = GuestContext {
        limits: &version.limits,
        metrics: &version.metrics,
        lane,
        topics: &version.topics,
    };
    let mut instance = Instance::new(&version.program, engine, place)?;
    match instance.configure(&version.settings, now)? {
        Ok(setup) if setup == version.setup => Ok(instance),
        Ok(_) => Err(Fault::contract(
            "`configure` asks for something else than before with the same settings",
        )),
        Err(why) => Err(Fault::contract(format!(
            "`configure` refused settings it accepted before: {why}"
        ))),
    }
}
