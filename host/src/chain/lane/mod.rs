//! A lane: an instance of every plugin, and one worker at a time. Takes what waits, up to a limit and without waiting for
//! more, and runs it through the plugins in order.

pub(super) mod clock;
pub(super) mod guard;
pub(super) mod inbox;
pub(super) mod item;
pub(super) mod leave;
pub(super) mod live;
pub(super) mod load;
pub(super) mod onward;
pub(super) mod outbox;
mod pair;
pub(super) mod portion;
mod running;
pub(super) mod recall;
mod shared;
pub(super) mod slot;
pub(super) mod stage;
pub(super) mod template;
pub(super) mod trial;
pub(super) mod version;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;

use super::pool::{AfterTurn, Task};
use super::tap::TapPoint;
use super::trace::PluginFate;
use crate::clock::{Clock, Now, Uptime};
use crate::message::{Checkpoint, Delivery};
use crate::words::with_causes;
use guard::quarantine::Quarantine;
use inbox::{Appetite, Inbox, InboxPoll, Taken};
use item::{Item, NO_ORIGIN};
use leave::Leave;
use live::Broken;
use outbox::Outbox;
use portion::Portion;
pub(super) use shared::ChainContext;
use stage::Stage;

/// So many panics within [`RESTART_WINDOW_US`] end the lane: whatever it is, starting again does not mend it.
const MAX_RESTARTS: usize = 3;
const RESTART_WINDOW_US: u64 = 60_000_000;

/// While memory is full, between two looks whether there is room.
const FULL_LOOK: Duration = Duration::from_millis(20);

/// The lane's own part.
pub(super) struct Lane {
    pub(super) index: usize,
    pub(super) shared: Arc<ChainContext>,
    pub(super) inbox: Arc<Inbox>,
    pub(super) stages: Vec<Stage>,
    pub(super) outbox: Outbox,
    pub(super) batch: Vec<Delivery>,
    pub(super) items: Vec<Item>,
    pub(super) portion: Portion,
    pub(super) quarantine: Option<Quarantine>,
    /// Uptime of the last panics, microseconds.
    pub(super) restarts: Vec<Uptime>,
    /// What guests' calls of WASI find: wasmtime-wasi starts a runtime of its own for a thread that is in none.
    pub(super) runtime: Option<Handle>,
    /// Dropped with the lane, after everything else of it.
    pub(super) _alive: SyncSender<()>,
}

impl Task for Lane {
    /// One round, until the inbox is stopped and empty, or the lane cannot go on.
    fn turn(&mut self) -> AfterTurn {
        let runtime = self.runtime.clone();
        let _runtime = runtime.as_ref().map(Handle::enter);
        let why = match catch_unwind(AssertUnwindSafe(|| self.round())) {
            Ok(Ok(AfterTurn::Done)) => {
                self.keep_all(self.clock().now());
                self.end();
                return AfterTurn::Done;
            }
            Ok(Ok(next)) => return next,
            Ok(Err(broken)) => with_causes(&broken),
            Err(panic) => panic_text(panic.as_ref()),
        };
        let Err(why) = self.restart(&why, self.clock().now()) else {
            return AfterTurn::Again;
        };
        tracing::error!(
            flow = &*self.shared.name,
            lane = self.index,
            "lane ends: {why}"
        );
        self.shared.failure.raise(format!(
            "lane {} of flow `{}`: {why}",
            self.index, self.shared.name
        ));
        self.end();
        AfterTurn::Done
    }
}

impl Lane {
    /// The clocks it lives by.
    fn clock(&self) -> &Clock {
        self.shared.engine.clock()
    }

    fn end(&mut self) {
        self.retire();
        let left = self.inbox.close();
        if left > 0 {
            tracing::warn!(
                flow = &*self.shared.name,
                lane = self.index,
                left,
                "lane ended before its inbox was empty; the broker sends those again"
            );
        }
    }

    fn round(&mut self) -> Result<AfterTurn, Broken> {
        let is_held = self.is_held();
        let can_leave = !is_held && self.shared.outlet.has_room();
        let appetite = if !can_leave {
            Appetite::Nothing
        } else if !self.shared.onward.has_room() {
            Appetite::NothingYet
        } else {
            Appetite::UpTo(self.portion.count())
        };
        let wake = self.next_due(is_held);
        let is_due = wake.is_some_and(|wake| wake <= self.clock().moment());
        match self.inbox.take(&mut self.batch, appetite, is_due) {
            InboxPoll::Found(taken) => self.work(taken, is_held),
            InboxPoll::Nothing { waiting } => {
                let is_full = waiting > 0 && !is_held;
                let look = is_full.then(|| self.clock().moment() + FULL_LOOK);
                Ok(AfterTurn::Rest(wake.into_iter().chain(look).min()))
            }
            InboxPoll::Away => Ok(AfterTurn::Rest(None)),
        }
    }

    fn work(&mut self, taken: Taken, is_held: bool) -> Result<AfterTurn, Broken> {
        let now = self.clock().now();
        self.stages.iter_mut().for_each(|stage| stage.heed(now));
        if !taken.commands.is_empty()
            && let Some(quarantine) = &mut self.quarantine
        {
            // A plugin changes, or an operator has mended something.
            quarantine.forget();
        }
        for command in taken.commands {
            self.obey(command, now)?;
        }
        if is_held {
            self.run_held(now)?;
        }
        if !self.batch.is_empty() {
            self.run_batch(now)?;
        }
        if !self.is_held()
            && self
                .next_due(false)
                .is_some_and(|due| due <= self.clock().moment())
        {
            self.run_ticks(now)?;
        }
        self.keep(now)?;
        if let Some(leave) = taken.leave {
            self.leave(leave, self.clock().now());
        }
        Ok(if taken.last {
            AfterTurn::Done
        } else {
            AfterTurn::Again
        })
    }

    /// Whether a plugin has to do its work before anything else is taken.
    fn is_held(&self) -> bool {
        self.stages.iter().any(Stage::is_waited_for)
    }

    fn next_due(&mut self, is_held: bool) -> Option<Instant> {
        if !is_held {
            return self.stages.iter().filter_map(Stage::next_due).min();
        }
        let moment = self.clock().moment();
        let now = self.clock().now();
        self.stages
            .iter_mut()
            .filter_map(|stage| stage.next_due_held(moment, now))
            .min()
    }

    /// Tries again what is held: what is nearest to the end first, so that nothing is overtaken.
    fn run_held(&mut self, now: Now) -> Result<(), Broken> {
        for first in (0..self.stages.len()).rev() {
            let held = self.stages[first].take_held();
            if held.is_empty() {
                continue;
            }
            self.items.clear();
            // Several may have come of one message.
            let mut last = None;
            let mut origins = 0;
            let mut several = Vec::new();
            for mut item in held {
                if item.origin != NO_ORIGIN {
                    if last.replace(item.origin) == Some(item.origin) {
                        several.push(origins - 1);
                    } else {
                        origins += 1;
                    }
                    item.origin = origins - 1;
                }
                self.items.push(item);
            }
            self.outbox.begin(origins as usize);
            several
                .into_iter()
                .for_each(|origin| self.outbox.spread(origin));
            self.run_from(first, now)?;
        }
        Ok(())
    }

    /// Hands over what is due of the plugins' state.
    fn keep(&mut self, now: Now) -> Result<(), Broken> {
        let moment = self.clock().moment();
        let mut due = Vec::new();
        for stage in &mut self.stages {
            due.extend(stage.checkpoint(moment, now)?);
        }
        self.hand_over(due, now);
        Ok(())
    }

    /// The last: everything that has changed.
    fn keep_all(&mut self, now: Now) {
        let moment = self.clock().moment();
        let mut due = Vec::new();
        for stage in &mut self.stages {
            let why = match catch_unwind(AssertUnwindSafe(|| stage.last_checkpoint(moment, now))) {
                Ok(Ok(checkpoint)) => {
                    due.extend(checkpoint);
                    continue;
                }
                Ok(Err(broken)) => with_causes(&broken),
                Err(panic) => panic_text(panic.as_ref()),
            };
            let flow = &*self.shared.name;
            let lane = self.index;
            tracing::error!(
                flow,
                lane,
                "state of a plugin is not kept at the end; that of its last checkpoint is: {why}"
            );
        }
        self.hand_over(due, now);
    }

    /// Checkpoints go with the running clock, since moments of it lie in them.
    fn hand_over(&self, mut due: Vec<Checkpoint>, now: Now) {
        if !due.is_empty() {
            due.push(clock::checkpoint(self.clock().running(now.uptime)));
            self.shared.states.checkpoint(due);
        }
    }

    /// What the gauges have of this lane goes with it.
    fn retire(&mut self) {
        self.stages.iter().for_each(Stage::retire);
        if let Some(quarantine) = &mut self.quarantine {
            quarantine.forget();
        }
    }

    /// Gives the state to the chain that is to follow. The inbox gives nothing out until that one has said its word.
    fn leave(&mut self, leave: Leave, now: Now) {
        let state = if self.is_held() {
            Err("a plugin holds messages until it does its work; give it a version that does, or restart the gateway".to_owned())
        } else {
            let legacies = self
                .stages
                .iter_mut()
                .map(|stage| stage.bequeath(now))
                .collect();
            self.keep_all(now);
            legacies
        };
        if !leave.give(state) {
            self.inbox.come_back();
        }
    }

    fn run_batch(&mut self, now: Now) -> Result<(), Broken> {
        if let Some(tape) = self.shared.tape.get() {
            tape.batch(self.index, now, &self.batch);
        }
        let count = self.batch.len();
        self.outbox.begin(count);
        self.items.clear();
        let bytes = self.batch.iter().map(|delivery| delivery.message.weight());
        self.shared
            .metrics
            .bytes_in
            .inc_by(bytes.sum::<usize>() as u64);
        let item = |(origin, delivery): (usize, Delivery)| Item {
            message: delivery.message,
            receipt: delivery.receipt,
            origin: origin as u32,
            own_topic: false,
            sender: None,
        };
        self.items
            .extend(self.batch.drain(..).enumerate().map(item));
        if let Some(quarantine) = &mut self.quarantine {
            quarantine.sort_out(&mut self.items, now, &mut self.outbox);
        }
        self.run_from(0, now)?;
        self.portion.brought(count, self.outbox.take_brought());
        if let Some(quarantine) = &mut self.quarantine {
            quarantine.judge(&mut self.outbox.bad, &self.shared.name, now);
        }
        Ok(())
    }

    fn run_ticks(&mut self, now: Now) -> Result<(), Broken> {
        let moment = self.clock().moment();
        for index in 0..self.stages.len() {
            self.outbox.begin(0);
            if self.stages[index].tick(moment, now, self.shared.flow, &mut self.outbox)? {
                if let Some(tape) = self.shared.tape.get() {
                    tape.tick(self.index, index, now);
                }
                self.items.clear();
                self.items.append(&mut self.outbox.next);
                self.run_from(index + 1, now)?;
            }
        }
        Ok(())
    }

    /// Runs `items` through the plugins from `first` on, and hands over what is left of them.
    fn run_from(&mut self, first: usize, now: Now) -> Result<(), Broken> {
        let clock = self.shared.engine.clock();
        let taps = &*self.shared.taps;
        let trace = &self.shared.trace;
        let mut before = clock.thread_cpu();
        for stage in &mut self.stages[first..] {
            if self.items.is_empty() {
                break;
            }
            if taps.is_open() {
                let into = || TapPoint::Into(stage.name());
                taps.show(into, self.items.iter().map(|item| &item.message), now);
            }
            let turns = trace.begin(&mut self.items, || clock.now().uptime);
            stage.run(&mut self.items, now, &mut self.outbox)?;
            if !turns.is_empty() {
                let held = stage.held.iter().map(|item| &item.message);
                let held = held.map(|message| (message, PluginFate::Held));
                let after = self.outbox.seen().chain(held);
                trace.end(turns, after, stage.plugin(), clock.now().uptime);
            }
            if taps.is_open() {
                let out_of = || TapPoint::OutOf(stage.name());
                taps.show(
                    out_of,
                    self.outbox.next.iter().map(|item| &item.message),
                    now,
                );
            }
            let after = clock.thread_cpu();
            stage.spent(after.saturating_sub(before), now);
            before = after;
            self.items.clear();
            std::mem::swap(&mut self.items, &mut self.outbox.next);
        }
        for item in self.items.drain(..) {
            self.outbox.leave(item, &self.shared.out);
        }
        if taps.is_open() {
            self.outbox.show(taps, now);
            taps.forget_gone(now);
        }
        let ChainContext {
            outlet,
            onward,
            metrics,
            ..
        } = &*self.shared;
        let uptime = || clock.now().uptime;
        self.outbox.hand_over(&**outlet, onward, metrics, uptime);
        Ok(())
    }

    /// After a panic of the host's own code, or when no instance could be made: what was in hand falls unsettled,
    /// and every plugin gets a fresh instance with its state as far as it can be had.
    fn restart(&mut self, why: &str, now: Now) -> Result<(), String> {
        self.shared.metrics.restarts.inc();
        tracing::error!(
            flow = &*self.shared.name,
            lane = self.index,
            "lane starts again; the broker sends what was in hand again: {why}"
        );
        self.batch.clear();
        self.items.clear();
        self.stages.iter_mut().for_each(|stage| stage.held.clear());
        self.outbox.begin(0);
        self.restarts
            .retain(|moment| now.uptime.us_since(*moment) < RESTART_WINDOW_US);
        self.restarts.push(now.uptime);
        if self.restarts.len() >= MAX_RESTARTS {
            return Err(format!("{MAX_RESTARTS} times within a minute: {why}"));
        }
        for stage in &mut self.stages {
            stage.accuse(why, now);
            stage.heed(now);
            stage.recover(now).map_err(|broken| with_causes(&broken))?;
        }
        Ok(())
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "panic without a text".to_owned())
}
