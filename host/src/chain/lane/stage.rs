//! One plugin's place in a lane: runs its batches, finds the one message it fails on, and exchanges its version.

mod cost;

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::clock::pause_of_checkpoints;
use super::guard::{Admission, Guard};
use super::inbox::InitialState;
use super::item::{Item, clock_message};
use super::leave::Legacy;
use super::live::{Broken, Live};
use super::outbox::Outbox;
use super::pair::{Hands, Joined, STOPPED};
use super::running::Running;
use super::trial::Trial;
use crate::chain::lane::trial::phase::KeyShare;
use crate::chain::sandbox::batch::{OutputEntry, PackedBatch};
use crate::chain::sandbox::fault::{Fault, FaultKind};
use crate::chain::sandbox::state::Snapshot;
use crate::clock::Now;
use crate::message::{Checkpoint, FlowId};

/// Share of a guest's memory that one batch may fill: it holds the batch, its own view of it and the output.
const BATCH_SHARE: usize = 8;

/// A plugin in a lane.
pub(crate) struct Stage {
    running: Running,
    guard: Guard,
    /// When the changes of its state are due on disk; `None` while there are none.
    next_checkpoint: Option<Instant>,
    /// Checkpoints in a row that could not be had: each makes the next one wait for twice as long.
    unkept_tries: u32,
    packed: PackedBatch,
    entries: Vec<OutputEntry>,
    /// Of the batch it has in hand, where its guard learns them.
    devices: Vec<u64>,
    /// What it is to get before anything else, in order.
    pub(super) held: Vec<Item>,
    /// While it holds messages beside a candidate: when to look how far that is.
    next_look: Option<Instant>,
    lane: usize,
    cost: crate::chain::cost::Cost,
}

/// While messages are held, between two looks at how far a candidate is.
const HELD_LOOK: Duration = Duration::from_millis(2);

impl Stage {
    /// `live`, not at work yet, behind `guard`; its first tick comes one interval after `moment`.
    pub(crate) fn new(mut live: Live, guard: Guard, lane: usize, moment: Instant) -> Self {
        live.next_tick = live.version.tick_every().map(|every| moment + every);
        Self {
            running: Running::Alone(live),
            guard,
            next_checkpoint: None,
            unkept_tries: 0,
            packed: PackedBatch::default(),
            entries: Vec::new(),
            devices: Vec::new(),
            held: Vec::new(),
            next_look: None,
            lane,
            cost: Default::default(),
        }
    }

    /// The last fault of its plugin, in words.
    pub(crate) fn why(&self) -> &str {
        self.guard.why()
    }

    /// When it wants to be told the time, or to have its state kept.
    pub(super) fn next_due(&self) -> Option<Instant> {
        let candidate = self.running.pair();
        let candidate = candidate.and_then(|pair| pair.candidate.next_tick);
        [
            self.running.confirmed().next_tick,
            self.next_checkpoint,
            candidate,
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// The same while messages are held, asked at `moment`: time stands still for the plugins, and what is held is tried
    /// again.
    pub(super) fn next_due_held(&mut self, moment: Instant, now: Now) -> Option<Instant> {
        let next_try = if !self.is_waited_for() {
            None
        } else if self.running.pair().is_some() {
            // It stands until it has come: whoever asks again must not put it off.
            Some(*self.next_look.get_or_insert(moment + HELD_LOOK))
        } else {
            Some(moment + self.guard.pause(now))
        };
        [self.next_checkpoint, next_try].into_iter().flatten().min()
    }

    /// Whether nothing else is to be done before it has done its work: it holds messages, or would have to park what it
    /// fails on, since a candidate is beside it and not at work in every lane yet.
    pub(super) fn is_waited_for(&self) -> bool {
        let is_joined = || {
            self.running
                .pair()
                .is_some_and(|pair| !pair.trial.has_begun())
        };
        !self.held.is_empty() || self.guard.holds() && is_joined()
    }

    /// What is to be tried again now. Beside a candidate only once that one's outputs count, since the one that failed on
    /// it would park it.
    pub(super) fn take_held(&mut self) -> Vec<Item> {
        self.next_look = None;
        let is_idle = self
            .running
            .pair()
            .is_some_and(|pair| pair.trial.share() != KeyShare::ALL);
        if is_idle {
            Vec::new()
        } else {
            std::mem::take(&mut self.held)
        }
    }

    /// The changes of its state, if they are due at `moment`. Nothing is due while nothing changes.
    pub(crate) fn checkpoint(
        &mut self,
        moment: Instant,
        now: Now,
    ) -> Result<Option<Checkpoint>, Broken> {
        match self.next_checkpoint {
            Some(due) if due <= moment => self.take_checkpoint(moment, now),
            None if self.running.confirmed().is_unkept() => {
                self.next_checkpoint = self
                    .running
                    .confirmed()
                    .version
                    .checkpoint
                    .map(|every| moment + every);
                Ok(None)
            }
            _ => Ok(None),
        }
    }

    /// The same at the end: at once. A candidate that is not confirmed by now is gone.
    pub(super) fn last_checkpoint(
        &mut self,
        moment: Instant,
        now: Now,
    ) -> Result<Option<Checkpoint>, Broken> {
        if let Some(pair) = self.running.pair() {
            pair.trial.cancel(STOPPED);
        }
        self.heed(now);
        self.take_checkpoint(moment, now)
    }

    fn take_checkpoint(&mut self, moment: Instant, now: Now) -> Result<Option<Checkpoint>, Broken> {
        self.next_checkpoint = None;
        if !self.running.confirmed().is_unkept() {
            return Ok(None);
        }
        if let Some(pair) = self.running.pair_mut() {
            pair.align(now);
        }
        let live = self.running.confirmed_mut();
        match live.take_unkept(now) {
            Ok(changes) => {
                self.unkept_tries = 0;
                let metrics = &live.version.metrics;
                let checkpoint = Checkpoint {
                    flow: Arc::clone(&metrics.flow),
                    plugin: Arc::clone(&metrics.plugin),
                    changes,
                };
                Ok(Some(checkpoint).filter(|checkpoint| !checkpoint.changes.is_empty()))
            }
            Err(fault) => {
                self.unkept_tries = self.unkept_tries.saturating_add(1);
                let pause = |every| pause_of_checkpoints(every, self.unkept_tries);
                self.next_checkpoint = live.version.checkpoint.map(|every| moment + pause(every));
                live.version.metrics.error(fault.kind);
                let plugin = live.version.label();
                tracing::error!(plugin, lane = self.lane, %fault, "state of a plugin cannot be kept: after a restart it would be that of the last checkpoint");
                if fault.kind == FaultKind::State {
                    Ok(None)
                } else {
                    live.mend(now).map(|()| None)
                }
            }
        }
    }

    /// Runs `items` through the plugin; all of them find their way into `outbox`, or are held.
    pub(crate) fn run(
        &mut self,
        items: &mut [Item],
        now: Now,
        outbox: &mut Outbox,
    ) -> Result<(), Broken> {
        let room = (self.running.confirmed().version.limits.memory_bytes / BATCH_SHARE).max(1);
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
        self.held.append(&mut outbox.held);
        outbox.forget_void();
        Ok(())
    }

    /// Runs what the breaker lets through; the rest is turned away.
    fn run_guarded(
        &mut self,
        items: &mut [Item],
        now: Now,
        outbox: &mut Outbox,
    ) -> Result<(), Broken> {
        let mut rest = items;
        while !rest.is_empty() {
            let void = rest.iter().take_while(|item| outbox.is_void(item)).count();
            if void > 0 {
                let (gone, others) = rest.split_at_mut(void);
                gone.iter_mut()
                    .for_each(|item| outbox.discard(std::mem::take(item)));
                rest = others;
                continue;
            }
            let wanted = rest.iter().take_while(|item| !outbox.is_void(item)).count();
            // While a change is under way the candidate has to be seen at work.
            let admission = match &self.running {
                Running::Paired(_) => Admission::Tried(wanted),
                Running::Alone(live) => self.guard.admit(&live.version, &rest[..wanted], now),
            };
            let (Admission::Tried(count) | Admission::Away(count)) = admission;
            let (batch, others) = rest.split_at_mut(count);
            match admission {
                Admission::Tried(_) => self.run_batch(batch, now, outbox)?,
                Admission::Away(_) => {
                    self.guard
                        .turn_away(&self.running.confirmed().version, batch, outbox)
                }
            }
            rest = others;
        }
        Ok(())
    }

    fn run_batch(
        &mut self,
        items: &mut [Item],
        now: Now,
        outbox: &mut Outbox,
    ) -> Result<(), Broken> {
        let messages = items.iter().map(|item| &item.message);
        if !self
            .running
            .confirmed()
            .pack(&mut self.packed, messages, now)
        {
            return self.isolate(
                items,
                now,
                outbox,
                &Fault::contract("a message is longer than 4 GiB"),
            );
        }
        match &mut self.running {
            Running::Alone(live) => {
                self.entries.clear();
                match live.process(&self.packed, now, &mut self.entries) {
                    Ok(answer) => {
                        self.guard.learn(items, now, &mut self.devices);
                        outbox.take(&live.version, items, (&answer, &self.entries), now);
                        self.guard
                            .succeed(&live.version, self.packed.len(), &self.devices, now);
                        self.guard.settle_overflows(&live.version, now, outbox);
                        Ok(())
                    }
                    Err(fault) => self.isolate(items, now, outbox, &fault),
                }
            }
            Running::Paired(pair) => {
                let hands = &mut Hands {
                    guard: &mut self.guard,
                    now,
                    outbox,
                };
                if !pair.run(self.lane, items, &mut self.packed, hands)? {
                    self.running.part(now);
                }
                Ok(())
            }
        }
    }

    /// After a fault: halves the batch until only the message that does it is left; `on_error` says what becomes of that.
    fn isolate(
        &mut self,
        items: &mut [Item],
        now: Now,
        outbox: &mut Outbox,
        fault: &Fault,
    ) -> Result<(), Broken> {
        self.guard
            .report(&self.running.confirmed().version, fault, now);
        self.recover(now)?;
        if let [item] = items {
            self.guard.fail(
                &self.running.confirmed().version,
                (item, fault),
                now,
                outbox,
            );
            return Ok(());
        }
        let (first, second) = items.split_at_mut(items.len() / 2);
        self.run_guarded(first, now, outbox)?;
        self.run_guarded(second, now, outbox)
    }

    /// Tells the plugin the time if it is due at `moment`; what it brings goes into `outbox`.
    pub(crate) fn tick(
        &mut self,
        moment: Instant,
        now: Now,
        flow: FlowId,
        outbox: &mut Outbox,
    ) -> Result<bool, Broken> {
        let live = match &mut self.running {
            Running::Alone(live) => live,
            Running::Paired(pair) => {
                let hands = &mut Hands {
                    guard: &mut self.guard,
                    now,
                    outbox,
                };
                let ticked = pair.tick(self.lane, moment, &clock_message(flow, now), hands)?;
                if !ticked.stays {
                    self.running.part(now);
                }
                return Ok(ticked.is_told);
            }
        };
        if !live.is_tick_due(moment) || !self.guard.admit_tick(&live.version, now) {
            return Ok(false);
        }
        self.entries.clear();
        let begun = live.clock().moment();
        let told = live.tick(now, &mut self.entries);
        self.guard.ticked(&live.version, told.as_ref().err(), now);
        match told {
            Ok(answer) => outbox.take_tick(
                &live.version,
                (&clock_message(flow, now), now),
                &answer,
                &self.entries,
            ),
            Err(fault) => {
                self.guard.report(&live.version, &fault, now);
                live.mend(now)?;
            }
        }
        // A tick has half of a lane's time at most, and one that keeps failing is tried as seldom as its breaker says.
        let taken = live.clock().since(begun);
        live.put_off_tick(moment + self.guard.tick_pause(now).max(2 * taken));
        Ok(true)
    }

    /// Puts a fresh instance in the place of the present one, with its state as far as it can be had.
    pub(super) fn recover(&mut self, now: Now) -> Result<(), Broken> {
        self.running.confirmed_mut().mend(now)
    }

    /// A copy of the plugin's state.
    pub(super) fn save(&mut self, now: Now) -> Result<Snapshot, String> {
        let live = self.running.confirmed_mut();
        if !live.has_state() {
            return Ok(Snapshot::default());
        }
        live.checkpoint(now).or_else(|fault| {
            self.guard.report(&live.version, &fault, now);
            live.mend(now).map_err(|broken| broken.to_string())?;
            Err(format!(
                "the running version does not give its state: {fault}"
            ))
        })
    }

    /// What the same plugin of the chain that follows is to begin with.
    pub(super) fn bequeath(&mut self, now: Now) -> Result<Legacy, String> {
        let snapshot = self.save(now)?;
        let version = &self.running.confirmed().version;
        Ok(Legacy {
            plugin: Arc::clone(&version.reference.name),
            snapshot,
            is_kept: version.checkpoint.is_some(),
        })
    }

    /// Puts `candidate` beside the present version, with a copy of its state or without.
    pub(super) fn join(
        &mut self,
        mut candidate: Live,
        origin: InitialState,
        trial: Arc<Trial>,
        now: Now,
    ) -> Result<(), String> {
        if origin == InitialState::Copy {
            let snapshot = self.save(now)?;
            candidate
                .adopt(&snapshot, now)
                .map_err(|fault| fault.to_string())?;
        }
        let trial = Joined::new(trial)?;
        let old = self.running.confirmed();
        let mine = old.version.tick_every();
        let yours = candidate.version.tick_every();
        // With the same interval they tick together, so that what they say can be compared.
        candidate.next_tick = if mine == yours {
            old.next_tick
        } else {
            yours.map(|every| candidate.clock().moment() + every)
        };
        self.running.join(candidate, trial, origin, now);
        Ok(())
    }

    /// Acts on the verdict about a candidate, if there is one.
    pub(super) fn heed(&mut self, now: Now) {
        if self.running.heed(now).is_some() {
            self.guard.begin_anew(&self.running.confirmed().version);
            self.next_checkpoint = None;
        }
    }

    /// A panic of the host's own code, while a change is under way here, is held against the candidate.
    pub(super) fn accuse(&mut self, why: &str, now: Now) {
        if let Some(pair) = self.running.pair_mut()
            && pair.trial.fail(why)
        {
            pair.take_back(now);
        }
    }

    /// What the gauges have of it goes.
    pub(super) fn retire(&self) {
        self.guard.retire(&self.running.confirmed().version);
    }
}
