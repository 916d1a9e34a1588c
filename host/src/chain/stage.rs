//! One plugin's place in a lane: runs its batches, finds the one message it fails on, and exchanges its version.

use std::sync::Arc;
use std::time::Instant;

use super::batch::{Entry, Packed};
use super::fault::{Fault, FaultKind};
use super::guard::Guard;
use super::journal::{Bound, Journal};
use super::live::Live;
use super::outbox::{Item, Outbox, clock_message};
use super::state::Snapshot;
use super::trial::{Trial, Verdict};
use super::version::Version;
use crate::clock::Now;
use crate::message::{Checkpoint, FlowId};

/// Share of a guest's memory that one batch may fill: it holds the batch, its own view of it and the output.
const BATCH_SHARE: usize = 8;

/// Shortest time between two log lines about faults of one stage; the metric counts every one.
const LOG_EVERY_US: u64 = 1_000_000;

/// Why a trial fails that nobody waits for.
const STOPPED: &str = "the flow stopped before the new version was proven";

/// No instance of a plugin can be made any more: the lane cannot go on.
#[derive(Debug, thiserror::Error)]
#[error("no instance of plugin `{plugin}` can be made")]
pub(super) struct Broken {
    plugin: String,
    source: Fault,
}

/// The version that waits while its successor is on trial.
struct Previous {
    live: Live,
    /// What the successor has been told, for the case that this one comes back.
    journal: Journal,
    trial: Arc<Trial>,
    proven: bool,
}

impl Drop for Previous {
    fn drop(&mut self) {
        // A lane that ends before the verdict cannot prove anything any more.
        self.trial.fail(STOPPED);
        self.trial.settle();
    }
}

/// A plugin in a lane.
pub(super) struct Stage {
    live: Live,
    guard: Guard,
    previous: Option<Previous>,
    next_tick: Option<Instant>,
    /// When the changes of its state are due on disk; `None` while there are none.
    next_checkpoint: Option<Instant>,
    packed: Packed,
    entries: Vec<Entry>,
    lane: usize,
    logged_us: u64,
    unlogged: u64,
}

impl Stage {
    /// `live`, not at work yet, behind `guard`.
    pub(super) fn new(live: Live, guard: Guard, lane: usize) -> Self {
        let next_tick = live.version.tick_every().map(|every| Instant::now() + every);
        let (packed, entries) = (Packed::default(), Vec::new());
        Self { live, guard, previous: None, next_tick, next_checkpoint: None, packed, entries, lane, logged_us: 0, unlogged: 0 }
    }

    /// When it wants to be told the time, or to have its state kept. While a version is on trial nothing of it is
    /// kept: it may have to be taken back.
    pub(super) fn next_due(&self) -> Option<Instant> {
        let checkpoint = self.next_checkpoint.filter(|_| self.previous.is_none());
        [self.next_tick, checkpoint].into_iter().flatten().min()
    }

    /// The changes of its state, if they are due at `moment`. Nothing is due while nothing changes.
    pub(super) fn checkpoint(&mut self, moment: Instant, now: Now) -> Result<Option<Checkpoint>, Broken> {
        if self.previous.is_some() {
            return Ok(None);
        }
        match self.next_checkpoint {
            Some(due) if due <= moment => self.take_checkpoint(moment, now),
            None if self.live.is_unkept() => {
                self.next_checkpoint = self.live.version.checkpoint.map(|every| moment + every);
                Ok(None)
            }
            _ => Ok(None),
        }
    }

    /// The same at the end: at once. A version on trial is taken back first.
    pub(super) fn last_checkpoint(&mut self, now: Now) -> Result<Option<Checkpoint>, Broken> {
        if let Some(previous) = &self.previous {
            previous.trial.fail(STOPPED);
        }
        self.heed(now)?;
        self.take_checkpoint(Instant::now(), now)
    }

    fn take_checkpoint(&mut self, moment: Instant, now: Now) -> Result<Option<Checkpoint>, Broken> {
        self.next_checkpoint = None;
        if !self.live.is_unkept() {
            return Ok(None);
        }
        match self.live.take_unkept(now.wall_us) {
            Ok(changes) if changes.is_empty() => Ok(None),
            Ok(changes) => {
                let metrics = &self.live.version.metrics;
                let (flow, plugin) = (Arc::clone(&metrics.flow), Arc::clone(&metrics.plugin));
                Ok(Some(Checkpoint { flow, plugin, changes }))
            }
            Err(fault) => {
                self.next_checkpoint = self.live.version.checkpoint.map(|every| moment + every);
                self.live.version.metrics.error(fault.kind);
                let plugin = self.live.version.label();
                tracing::error!(plugin, lane = self.lane, %fault, "state of a plugin cannot be kept: after a restart it would be that of the last checkpoint");
                if fault.kind == FaultKind::State { Ok(None) } else { self.recover(now).map(|()| None) }
            }
        }
    }

    /// Runs `items` through the plugin; all of them find their way into `outbox`.
    pub(super) fn run(&mut self, items: &mut [Item], now: Now, outbox: &mut Outbox) -> Result<(), Broken> {
        let room = (self.live.version.limits.memory_bytes / BATCH_SHARE).max(1);
        let mut rest = items;
        while !rest.is_empty() {
            let mut bytes = 0;
            let fitting = rest.iter().take_while(|item| {
                bytes += item.message.weight();
                bytes <= room
            });
            let count = fitting.count().max(1);
            let (batch, others) = rest.split_at_mut(count);
            self.run_guarded(batch, now, outbox)?;
            rest = others;
        }
        Ok(())
    }

    /// Runs what the breaker lets through; the rest is turned away.
    fn run_guarded(&mut self, items: &mut [Item], now: Now, outbox: &mut Outbox) -> Result<(), Broken> {
        let mut rest = items;
        while !rest.is_empty() {
            let admitted = self.guard.admit(&self.live.version, rest.len(), now);
            if admitted == 0 {
                self.guard.turn_away(&self.live.version, rest, outbox);
                break;
            }
            let (batch, others) = rest.split_at_mut(admitted);
            self.run_batch(batch, now, outbox)?;
            rest = others;
        }
        Ok(())
    }

    fn run_batch(&mut self, items: &mut [Item], now: Now, outbox: &mut Outbox) -> Result<(), Broken> {
        self.packed.clear();
        self.entries.clear();
        let whole = items.iter().all(|item| self.packed.push(&item.message));
        let result = if whole {
            self.live.process(&self.packed, now.wall_us, &mut self.entries)
        } else {
            Err(Fault::contract("a message is longer than 4 GiB"))
        };
        match result {
            Ok(answer) => {
                outbox.take(&self.live.version, items, &answer, &self.entries);
                self.guard.succeed(&self.live.version, self.packed.len(), now);
                self.told_batch(now);
                Ok(())
            }
            Err(fault) => self.isolate(items, now, outbox, &fault),
        }
    }

    /// After a fault: halves the batch until only the message that does it is left; `on_error` says what becomes of that.
    fn isolate(&mut self, items: &mut [Item], now: Now, outbox: &mut Outbox, fault: &Fault) -> Result<(), Broken> {
        if self.fails_trial(fault) {
            self.live.version.metrics.error(fault.kind);
            self.revert(now)?;
            return self.run_batch(items, now, outbox);
        }
        self.report(fault, now);
        self.recover(now)?;
        if let [item] = items {
            self.guard.fail(&self.live.version, item, fault, now, outbox);
            return Ok(());
        }
        let (first, second) = items.split_at_mut(items.len() / 2);
        self.run_guarded(first, now, outbox)?;
        self.run_guarded(second, now, outbox)
    }

    /// Tells the plugin the time if it is due at `moment`; what it brings goes into `outbox`.
    pub(super) fn tick(&mut self, moment: Instant, now: Now, flow: FlowId, outbox: &mut Outbox) -> Result<bool, Broken> {
        let (Some(due), Some(every)) = (self.next_tick, self.live.version.tick_every()) else { return Ok(false) };
        if due > moment {
            return Ok(false);
        }
        // Ticks that were missed are not made up for.
        let next = due + every;
        self.next_tick = Some(if next > moment { next } else { moment + every });
        self.entries.clear();
        match self.live.tick(now.wall_us, &mut self.entries) {
            Ok(answer) => {
                outbox.take_tick(&self.live.version, &clock_message(flow, now), &answer, &self.entries);
                if let Some(previous) = &mut self.previous {
                    previous.journal.push_tick(now.wall_us);
                }
            }
            Err(fault) if self.fails_trial(&fault) => {
                self.live.version.metrics.error(fault.kind);
                self.revert(now)?;
            }
            Err(fault) => {
                self.report(&fault, now);
                self.recover(now)?;
            }
        }
        Ok(true)
    }

    /// Puts a fresh instance in the place of the present one, with its state as far as it can be had.
    pub(super) fn recover(&mut self, now: Now) -> Result<(), Broken> {
        self.live.recover(now.wall_us).map_err(|source| broken(&self.live.version, source))
    }

    /// A copy of the plugin's state.
    pub(super) fn save(&mut self, now: Now) -> Result<Snapshot, String> {
        if !self.live.has_state() {
            return Ok(Snapshot::default());
        }
        self.live.checkpoint(now.wall_us).or_else(|fault| {
            self.report(&fault, now);
            self.recover(now).map_err(|broken| broken.to_string())?;
            Err(format!("the running version does not give its state: {fault}"))
        })
    }

    /// Puts `candidate` to work with the state of the present version, which waits until the trial is over.
    pub(super) fn swap(&mut self, mut candidate: Live, trial: Arc<Trial>, now: Now) -> Result<(), String> {
        let snapshot = self.save(now)?;
        candidate.adopt(&snapshot, now.wall_us).map_err(|fault| fault.to_string())?;
        trial.join()?;
        let live = std::mem::replace(&mut self.live, candidate);
        self.previous = Some(Previous { live, journal: Journal::new(Bound::TRIAL), trial, proven: false });
        self.next_tick = self.live.version.tick_every().map(|every| Instant::now() + every);
        Ok(())
    }

    /// Acts on the verdict of a trial, if there is one.
    pub(super) fn heed(&mut self, now: Now) -> Result<(), Broken> {
        match self.previous.as_ref().map(|previous| previous.trial.verdict()) {
            None | Some(Verdict::Running) => Ok(()),
            Some(Verdict::Confirmed) => {
                self.previous = None;
                Ok(())
            }
            Some(Verdict::Failed(_)) => self.revert(now),
        }
    }

    /// A panic of the host's own code, while a version is on trial here, is held against it.
    pub(super) fn accuse(&mut self, why: &str) {
        if let Some(previous) = &self.previous {
            previous.trial.fail(why);
        }
    }

    fn told_batch(&mut self, now: Now) {
        let Some(previous) = &mut self.previous else { return };
        previous.journal.push_batch(&self.packed, now.wall_us);
        if !std::mem::replace(&mut previous.proven, true) {
            previous.trial.prove();
        }
        if previous.journal.is_half_full() {
            previous.trial.outgrow();
        }
    }

    fn fails_trial(&self, fault: &Fault) -> bool {
        self.previous.as_ref().is_some_and(|previous| {
            let verdict = previous.trial.fail(format!("failed in lane {} on live messages: {fault}", self.lane));
            verdict != Verdict::Confirmed
        })
    }

    /// The old version comes back, with the state from before the swap and the inputs since run again.
    fn revert(&mut self, now: Now) -> Result<(), Broken> {
        let Some(mut previous) = self.previous.take() else { return Ok(()) };
        let caught_up = previous.live.catch_up(&previous.journal);
        std::mem::swap(&mut self.live, &mut previous.live);
        self.next_tick = self.live.version.tick_every().map(|every| Instant::now() + every);
        if let Err(fault) = caught_up {
            self.report(&fault, now);
            self.recover(now)?;
        }
        let missed = previous.journal.missed();
        if missed > 0 {
            let plugin = self.live.version.label();
            self.live.version.metrics.state_lost.inc_by(missed as u64);
            tracing::error!(
                plugin,
                lane = self.lane,
                missed,
                "state of a plugin lacks messages that its failed successor had taken"
            );
        }
        Ok(())
    }

    fn report(&mut self, fault: &Fault, now: Now) {
        let version = &self.live.version;
        version.metrics.error(fault.kind);
        if now.wall_us.abs_diff(self.logged_us) < LOG_EVERY_US {
            self.unlogged += 1;
            return;
        }
        let (flow, plugin, unlogged) = (&*version.metrics.flow, version.label(), self.unlogged);
        tracing::warn!(
            flow,
            plugin,
            lane = self.lane,
            kind = fault.kind.name(),
            unlogged,
            "plugin failed and is replaced: {fault}"
        );
        (self.logged_us, self.unlogged) = (now.wall_us, 0);
    }
}

fn broken(version: &Version, source: Fault) -> Broken {
    Broken { plugin: version.label(), source }
}
