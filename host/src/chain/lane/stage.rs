//! One plugin's place in a lane: runs its batches, finds the one message it fails on, and exchanges its version.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::guard::{Admission, Guard};
use super::inbox::Origin;
use super::item::{Item, clock_message};
use super::leave::Legacy;
use super::live::Live;
use super::outbox::Outbox;
use super::pair::{Pair, STOPPED};
use super::trial::{Trial, Verdict};
use super::version::Version;
use crate::chain::lane::trial::phase::Share;
use crate::chain::sandbox::batch::{Entry, Packed};
use crate::chain::sandbox::fault::{Fault, FaultKind};
use crate::chain::sandbox::state::Snapshot;
use crate::clock::Now;
use crate::message::{Checkpoint, FlowId};

/// Share of a guest's memory that one batch may fill: it holds the batch, its own view of it and the output.
const BATCH_SHARE: usize = 8;

/// Shortest time between two log lines about faults of one stage; the metric counts every one.
const LOG_EVERY_US: u64 = 1_000_000;

/// Longest time between two tries of a checkpoint that cannot be had.
const LONGEST_PAUSE: Duration = Duration::from_secs(3_600);

/// No instance of a plugin can be made any more: the lane cannot go on.
#[derive(Debug, thiserror::Error)]
#[error("no instance of plugin `{plugin}` can be made")]
pub(crate) struct Broken {
    plugin: String,
    pub(crate) source: Fault,
}

impl Broken {
    pub(crate) fn of(version: &Version, source: Fault) -> Self {
        Self { plugin: version.label(), source }
    }
}

/// A plugin in a lane.
pub(crate) struct Stage {
    /// The version that is confirmed. Only its state is kept.
    pub(crate) live: Live,
    pub(crate) guard: Guard,
    /// The candidate beside it, while a change is under way.
    pub(super) pair: Option<Box<Pair>>,
    pub(super) next_tick: Option<Instant>,
    /// When the changes of its state are due on disk; `None` while there are none.
    next_checkpoint: Option<Instant>,
    /// Checkpoints in a row that could not be had: each makes the next one wait for twice as long.
    unkept_tries: u32,
    pub(crate) packed: Packed,
    entries: Vec<Entry>,
    /// Of the batch it has in hand, where its guard learns them.
    devices: Vec<u64>,
    /// What it is to get before anything else, in order.
    pub(crate) held: Vec<Item>,
    /// While it holds messages beside a candidate: when to look how far that is.
    next_look: Option<Instant>,
    pub(crate) lane: usize,
    logged_us: u64,
    unlogged: u64,
}

/// While messages are held, between two looks at how far a candidate is.
const HELD_LOOK: Duration = Duration::from_millis(2);

impl Stage {
    /// `live`, not at work yet, behind `guard`.
    pub(crate) fn new(live: Live, guard: Guard, lane: usize) -> Self {
        let next_tick = live.version.tick_every().map(|every| Instant::now() + every);
        let (packed, entries, devices, held) = (Packed::default(), Vec::new(), Vec::new(), Vec::new());
        let (pair, next_checkpoint, next_look, unkept_tries, logged_us, unlogged) = (None, None, None, 0, 0, 0);
        Self {
            live,
            guard,
            pair,
            next_tick,
            next_checkpoint,
            unkept_tries,
            packed,
            entries,
            devices,
            held,
            next_look,
            lane,
            logged_us,
            unlogged,
        }
    }

    /// When it wants to be told the time, or to have its state kept.
    pub(super) fn next_due(&self) -> Option<Instant> {
        let candidate = self.pair.as_ref().and_then(|pair| pair.next_tick);
        [self.next_tick, self.next_checkpoint, candidate].into_iter().flatten().min()
    }

    /// The same while messages are held: time stands still for the plugins, and what is held is tried again.
    pub(super) fn next_due_held(&mut self, now: Now) -> Option<Instant> {
        let next_try = if !self.is_waited_for() {
            None
        } else if self.pair.is_some() {
            // It stands until it has come: whoever asks again must not put it off.
            Some(*self.next_look.get_or_insert_with(|| Instant::now() + HELD_LOOK))
        } else {
            Some(self.guard.next_try(now))
        };
        [self.next_checkpoint, next_try].into_iter().flatten().min()
    }

    /// Whether nothing else is to be done before it has done its work: it holds messages, or would have to park what it
    /// fails on, since a candidate is beside it and not at work in every lane yet.
    pub(super) fn is_waited_for(&self) -> bool {
        let is_joined = || self.pair.as_ref().is_some_and(|pair| !pair.trial.has_begun());
        !self.held.is_empty() || self.guard.holds() && is_joined()
    }

    /// What is to be tried again now. Beside a candidate only once that one's outputs count, since the one that failed on
    /// it would park it.
    pub(super) fn take_held(&mut self) -> Vec<Item> {
        self.next_look = None;
        let is_idle = self.pair.as_ref().is_some_and(|pair| pair.trial.share() != Share::ALL);
        if is_idle { Vec::new() } else { std::mem::take(&mut self.held) }
    }

    /// The changes of its state, if they are due at `moment`. Nothing is due while nothing changes.
    pub(crate) fn checkpoint(&mut self, moment: Instant, now: Now) -> Result<Option<Checkpoint>, Broken> {
        match self.next_checkpoint {
            Some(due) if due <= moment => self.take_checkpoint(moment, now),
            None if self.live.is_unkept() => {
                self.next_checkpoint = self.live.version.checkpoint.map(|every| moment + every);
                Ok(None)
            }
            _ => Ok(None),
        }
    }

    /// The same at the end: at once. A candidate that is not confirmed by now is gone.
    pub(super) fn last_checkpoint(&mut self, now: Now) -> Result<Option<Checkpoint>, Broken> {
        if let Some(pair) = &self.pair {
            pair.trial.cancel(STOPPED);
        }
        self.heed();
        self.take_checkpoint(Instant::now(), now)
    }

    fn take_checkpoint(&mut self, moment: Instant, now: Now) -> Result<Option<Checkpoint>, Broken> {
        self.next_checkpoint = None;
        if !self.live.is_unkept() {
            return Ok(None);
        }
        let taken = self.live.take_unkept(now);
        self.unkept_tries = if taken.is_ok() { 0 } else { self.unkept_tries.saturating_add(1) };
        match taken {
            Ok(changes) if changes.is_empty() => Ok(None),
            Ok(changes) => {
                let metrics = &self.live.version.metrics;
                let (flow, plugin) = (Arc::clone(&metrics.flow), Arc::clone(&metrics.plugin));
                Ok(Some(Checkpoint { flow, plugin, changes }))
            }
            Err(fault) => {
                self.next_checkpoint = self.live.version.checkpoint.map(|every| moment + self.pause_of_checkpoints(every));
                self.live.version.metrics.error(fault.kind);
                let plugin = self.live.version.label();
                tracing::error!(plugin, lane = self.lane, %fault, "state of a plugin cannot be kept: after a restart it would be that of the last checkpoint");
                if fault.kind == FaultKind::State { Ok(None) } else { self.recover(now).map(|()| None) }
            }
        }
    }

    /// One that cannot be had may cost as much time as a save may take, so the next ones come ever later.
    fn pause_of_checkpoints(&self, every: Duration) -> Duration {
        let doubled = every.saturating_mul(1_u32.checked_shl(self.unkept_tries).unwrap_or(u32::MAX));
        doubled.min(LONGEST_PAUSE.max(every))
    }

    /// Runs `items` through the plugin; all of them find their way into `outbox`, or are held.
    pub(crate) fn run(&mut self, items: &mut [Item], now: Now, outbox: &mut Outbox) -> Result<(), Broken> {
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
        self.held.append(&mut outbox.held);
        outbox.forget_void();
        Ok(())
    }

    /// Runs what the breaker lets through; the rest is turned away.
    fn run_guarded(&mut self, items: &mut [Item], now: Now, outbox: &mut Outbox) -> Result<(), Broken> {
        let mut rest = items;
        while !rest.is_empty() {
            let void = rest.iter().take_while(|item| outbox.is_void(item)).count();
            if void > 0 {
                let (gone, others) = rest.split_at_mut(void);
                gone.iter_mut().for_each(|item| outbox.discard(std::mem::take(item)));
                rest = others;
                continue;
            }
            let wanted = rest.iter().take_while(|item| !outbox.is_void(item)).count();
            // While a change is under way the candidate has to be seen at work.
            let admission = match self.pair {
                Some(_) => Admission::Tried(wanted),
                None => self.guard.admit(&self.live.version, &rest[..wanted], now),
            };
            let (Admission::Tried(count) | Admission::Away(count)) = admission;
            let (batch, others) = rest.split_at_mut(count);
            match admission {
                Admission::Tried(_) => self.run_batch(batch, now, outbox)?,
                Admission::Away(_) => self.guard.turn_away(&self.live.version, batch, outbox),
            }
            rest = others;
        }
        Ok(())
    }

    fn run_batch(&mut self, items: &mut [Item], now: Now, outbox: &mut Outbox) -> Result<(), Broken> {
        self.entries.clear();
        let whole = self.live.pack(&mut self.packed, items.iter().map(|item| &item.message), now);
        if whole && let Some(pair) = self.pair.take() {
            return self.run_pair(pair, items, now, outbox);
        }
        let result = if whole {
            self.live.process(&self.packed, now, &mut self.entries)
        } else {
            Err(Fault::contract("a message is longer than 4 GiB"))
        };
        match result {
            Ok(answer) => {
                self.guard.learn(items, now, &mut self.devices);
                outbox.take(&self.live.version, items, (&answer, &self.entries), now);
                self.guard.succeed(&self.live.version, self.packed.len(), &self.devices, now);
                self.guard.settle_overflows(&self.live.version, now, outbox);
                Ok(())
            }
            Err(fault) => self.isolate(items, now, outbox, &fault),
        }
    }

    /// After a fault: halves the batch until only the message that does it is left; `on_error` says what becomes of that.
    fn isolate(&mut self, items: &mut [Item], now: Now, outbox: &mut Outbox, fault: &Fault) -> Result<(), Broken> {
        self.report(fault, now);
        self.recover(now)?;
        if let [item] = items {
            self.guard.fail(&self.live.version, (item, fault), now, outbox);
            return Ok(());
        }
        let (first, second) = items.split_at_mut(items.len() / 2);
        self.run_guarded(first, now, outbox)?;
        self.run_guarded(second, now, outbox)
    }

    /// Tells the plugin the time if it is due at `moment`; what it brings goes into `outbox`.
    pub(crate) fn tick(&mut self, moment: Instant, now: Now, flow: FlowId, outbox: &mut Outbox) -> Result<bool, Broken> {
        if self.pair.is_some() {
            return self.tick_pair(moment, now, flow, outbox);
        }
        let Some(every) = self.live.version.tick_every() else { return Ok(false) };
        if !is_due(&mut self.next_tick, every, moment) || !self.guard.admit_tick(&self.live.version, now) {
            return Ok(false);
        }
        self.entries.clear();
        let begun = Instant::now();
        let told = self.live.tick(now, &mut self.entries);
        self.guard.ticked(&self.live.version, told.as_ref().err(), now);
        match told {
            Ok(answer) => outbox.take_tick(&self.live.version, (&clock_message(flow, now), now), &answer, &self.entries),
            Err(fault) => {
                self.report(&fault, now);
                self.recover(now)?;
            }
        }
        self.put_off_tick(begun.elapsed(), moment, now);
        Ok(true)
    }

    /// A tick has half of a lane's time at most, and one that keeps failing is tried as seldom as its breaker says.
    pub(super) fn put_off_tick(&mut self, taken: Duration, moment: Instant, now: Now) {
        let earliest = moment + self.guard.tick_pause(now).max(2 * taken);
        self.next_tick = self.next_tick.map(|next| next.max(earliest));
    }

    /// Puts a fresh instance in the place of the present one, with its state as far as it can be had.
    pub(super) fn recover(&mut self, now: Now) -> Result<(), Broken> {
        self.live.recover(now).map_err(|source| Broken::of(&self.live.version, source))
    }

    /// A copy of the plugin's state.
    pub(crate) fn save(&mut self, now: Now) -> Result<Snapshot, String> {
        if !self.live.has_state() {
            return Ok(Snapshot::default());
        }
        self.live.checkpoint(now).or_else(|fault| {
            self.report(&fault, now);
            self.recover(now).map_err(|broken| broken.to_string())?;
            Err(format!("the running version does not give its state: {fault}"))
        })
    }

    /// What the same plugin of the chain that follows is to begin with.
    pub(super) fn bequeath(&mut self, now: Now) -> Result<Legacy, String> {
        let snapshot = self.save(now)?;
        let version = &self.live.version;
        Ok(Legacy { plugin: Arc::clone(&version.reference.name), snapshot, is_kept: version.checkpoint.is_some() })
    }

    /// Puts `candidate` beside the present version, with a copy of its state or without.
    pub(crate) fn join(&mut self, mut candidate: Live, origin: Origin, trial: Arc<Trial>, now: Now) -> Result<(), String> {
        if origin == Origin::Copy {
            let snapshot = self.save(now)?;
            candidate.adopt(&snapshot, now).map_err(|fault| fault.to_string())?;
        }
        trial.join()?;
        let (mine, yours) = (self.live.version.tick_every(), candidate.version.tick_every());
        // With the same interval they tick together, so that what they say can be compared.
        let next_tick = if mine == yours { self.next_tick } else { yours.map(|every| Instant::now() + every) };
        self.pair = Some(Box::new(Pair { candidate, trial, next_tick }));
        Ok(())
    }

    /// Acts on the verdict about a candidate, if there is one.
    pub(super) fn heed(&mut self) {
        let Some(mut pair) = self.pair.take() else { return };
        match pair.trial.verdict() {
            Verdict::Running => self.pair = Some(pair),
            Verdict::Confirmed => {
                pair.candidate.succeed(&self.live);
                std::mem::swap(&mut self.live, &mut pair.candidate);
                self.guard.begin_anew(&self.live.version);
                (self.next_tick, self.next_checkpoint) = (pair.next_tick, None);
            }
            Verdict::Failed(..) => self.live.mute(false),
        }
    }

    /// A panic of the host's own code, while a change is under way here, is held against the candidate.
    pub(super) fn accuse(&mut self, why: &str) {
        if let Some(pair) = &self.pair {
            pair.trial.fail(why);
        }
    }

    pub(crate) fn report(&mut self, fault: &Fault, now: Now) {
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

/// Whether a tick is due at `moment`; if so `next` becomes the one after it. Ticks that were missed are not made up for.
pub(super) fn is_due(next: &mut Option<Instant>, every: Duration, moment: Instant) -> bool {
    let Some(due) = next.filter(|due| *due <= moment) else { return false };
    let after = due + every;
    *next = Some(if after > moment { after } else { moment + every });
    true
}
