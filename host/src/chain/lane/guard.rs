//! What stands between a lane and a plugin that fails: its breaker, and what `on_error` says becomes of a message it
//! fails on or is not asked about. Who can put another version in its place is told when it is given up on.
//!
//! Where devices are judged (`quarantine`), a fault is the plugin's or the device's (`standing.rs`), and while the breaker
//! is open those the plugin serves well go on, as do strangers until so many of them in a row fail too. Its timer has a
//! breaker of its own: a tick that fails costs no message, and messages that go well do not excuse it.

mod alarm;
pub(crate) mod breaker;
pub(crate) mod held;
pub(crate) mod quarantine;
mod standing;

use std::sync::Arc;
use std::time::Duration;

use super::item::Item;
use super::outbox::Outbox;
use super::version::Version;
use crate::chain::sandbox::fault::{Fault, FaultKind};
use crate::chain::settings::{OnError, PluginConfig};
use crate::clock::{Now, Uptime, WallTime};
use crate::message::key_hash;
pub(crate) use alarm::Alarm;
pub use alarm::BreakerOpened;
use breaker::{Breaker, BreakerState};
use standing::{DeviceStanding, Evidence, Standings};

/// Shortest time between two log lines about faults of a plugin in one lane; the metric counts every one.
const LOG_EVERY_US: u64 = 1_000_000;

/// What becomes of so many of the next messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    /// The plugin gets them.
    Tried(usize),
    /// It is not asked about them.
    Away(usize),
}

/// Faults on messages of one device, none of it going well in between.
#[derive(Clone, Copy, Debug)]
struct FaultStreak {
    device: u64,
    faults: u32,
    /// Uptime of the lane's turn.
    turn: Uptime,
}

pub(crate) struct Guard {
    breaker: Breaker,
    ticks: Breaker,
    /// Whose fault a fault is; without, every one counts.
    standings: Option<Standings>,
    /// Strangers in a row on which it has failed while its breaker is open, and how many are tried.
    strikes: u32,
    most_strikes: u32,
    row: Option<FaultStreak>,
    on_error: OnError,
    plugin: usize,
    lane: usize,
    alarm: Arc<Alarm>,
    /// The last fault, for those that are not asked about.
    why: String,
    /// When a fault was last logged, by the wall clock, and how many were not since.
    logged: WallTime,
    unlogged: u64,
}

impl Guard {
    /// Of plugin number `plugin` in a lane; `judges` says whether devices are judged there for themselves.
    pub(crate) fn new(
        config: &PluginConfig,
        (plugin, lane): (usize, usize),
        judges: bool,
        alarm: Arc<Alarm>,
    ) -> Self {
        let breaker = Breaker::new(config.breaker);
        let ticks = Breaker::new(config.breaker);
        let standings = judges.then(|| Standings::new(config.breaker.window));
        let most_strikes = config.breaker.after;
        let on_error = config.on_error;
        let why = String::new();
        Self {
            breaker,
            ticks,
            standings,
            strikes: 0,
            most_strikes,
            row: None,
            on_error,
            plugin,
            lane,
            alarm,
            why,
            logged: WallTime::default(),
            unlogged: 0,
        }
    }

    /// What becomes of the next of `items`, which are some. Where the plugin has failed on so many messages of one device
    /// in this turn, one after the other, its others would only cost the lane its time: the quarantine has it soon.
    pub(super) fn admit(&mut self, version: &Version, items: &[Item], now: Now) -> Admission {
        let Some(row) = self
            .row
            .filter(|row| row.faults >= self.most_strikes && row.turn == now.uptime)
        else {
            return self.admit_by_state(version, items, now);
        };
        let is_worn = |item: &Item| row.device == key_hash(item.device());
        let alike = items
            .iter()
            .take_while(|item| is_worn(item) == is_worn(&items[0]))
            .count();
        if is_worn(&items[0]) {
            Admission::Away(alike)
        } else {
            self.admit_by_state(version, &items[..alike], now)
        }
    }

    fn admit_by_state(&mut self, version: &Version, items: &[Item], now: Now) -> Admission {
        let before = self.state();
        let admitted = self.breaker.admit(items.len(), now.uptime);
        self.tell(before, version);
        if admitted > 0 {
            return Admission::Tried(admitted);
        }
        // What is held is not overtaken.
        if self.holds() {
            return Admission::Away(items.len());
        }
        let is_tried = self.tries(&items[0]);
        let alike = items
            .iter()
            .take_while(|item| self.tries(item) == is_tried)
            .count();
        if is_tried {
            Admission::Tried(alike)
        } else {
            Admission::Away(alike)
        }
    }

    /// Whether it gets this one although its breaker is open.
    fn tries(&self, item: &Item) -> bool {
        let Some(standings) = self
            .standings
            .as_ref()
            .filter(|_| !item.device().is_empty())
        else {
            return false;
        };
        match standings.of(key_hash(item.device())) {
            DeviceStanding::Good => true,
            DeviceStanding::Stranger => self.strikes < self.most_strikes,
            DeviceStanding::Bad => false,
        }
    }

    /// The devices of `items` go into `devices`, if it is to be told whom the plugin served well.
    pub(super) fn learn(&mut self, items: &[Item], now: Now, devices: &mut Vec<u64>) {
        devices.clear();
        if self
            .standings
            .as_mut()
            .is_some_and(|standings| standings.learns(now.uptime))
        {
            devices.extend(
                items
                    .iter()
                    .map(Item::device)
                    .filter(|device| !device.is_empty())
                    .map(key_hash),
            );
        }
    }

    /// It has processed so many, of `devices` as far as they were learnt.
    pub(crate) fn succeed(
        &mut self,
        version: &Version,
        messages: usize,
        devices: &[u64],
        now: Now,
    ) {
        let before = self.state();
        if let Some(standings) = self.standings.as_mut().filter(|_| !devices.is_empty()) {
            let strangers = devices
                .iter()
                .filter(|device| standings.of(**device) == DeviceStanding::Stranger)
                .count();
            standings.serve(devices);
            self.row = self.row.filter(|row| !devices.contains(&row.device));
            if strangers > 0 {
                self.strikes = 0;
                self.breaker.vouch(strangers);
            }
        }
        self.breaker.succeed(messages, now.uptime);
        self.tell(before, version);
    }

    /// A fault on a message of `item`'s device.
    fn blame(&mut self, item: &Item, kind: FaultKind, now: Now) {
        let serves = self.breaker.serves(now.uptime);
        let device = item.device();
        let Some(standings) = self.standings.as_mut().filter(|_| !device.is_empty()) else {
            return self.breaker.fail(now.uptime);
        };
        let device = key_hash(device);
        let is_stranger = standings.of(device) == DeviceStanding::Stranger;
        if is_stranger && self.breaker.state() == BreakerState::Open {
            self.strikes = self.strikes.saturating_add(1);
        }
        self.row = match self.row {
            Some(row) if row.device == device && row.turn == now.uptime => Some(FaultStreak {
                faults: row.faults + 1,
                ..row
            }),
            _ => Some(FaultStreak {
                device,
                faults: 1,
                turn: now.uptime,
            }),
        };
        match standings.fail(device, serves, now.uptime) {
            // Each has cost all the time that a call may take.
            Evidence::None if is_stranger && kind == FaultKind::Timeout => {
                self.breaker.fail(now.uptime)
            }
            Evidence::Proves => self.breaker.trip(now.uptime),
            Evidence::None if self.breaker.state() == BreakerState::Closed => {}
            Evidence::None | Evidence::Counts => self.breaker.fail(now.uptime),
        }
    }

    /// Counts a fault, and logs it where none was logged lately.
    pub(super) fn report(&mut self, version: &Version, fault: &Fault, now: Now) {
        version.metrics.error(fault.kind);
        if now.wall.0.abs_diff(self.logged.0) < LOG_EVERY_US {
            self.unlogged += 1;
            return;
        }
        tracing::warn!(
            flow = &*version.metrics.flow,
            plugin = version.label(),
            lane = self.lane,
            kind = fault.kind.name(),
            unlogged = self.unlogged,
            "plugin failed and is replaced: {fault}"
        );
        self.logged = now.wall;
        self.unlogged = 0;
    }

    /// The last fault, in words.
    pub(super) fn why(&self) -> &str {
        &self.why
    }

    /// Whether its timer is to have a tick.
    pub(super) fn admit_tick(&mut self, version: &Version, now: Now) -> bool {
        let before = self.state();
        let is_admitted = self.ticks.admit(1, now.uptime) > 0;
        self.tell(before, version);
        is_admitted
    }

    /// How a tick went.
    pub(crate) fn ticked(&mut self, version: &Version, fault: Option<&Fault>, now: Now) {
        let before = self.state();
        match fault {
            None => self.ticks.succeed(1, now.uptime),
            Some(fault) => {
                self.why = format!("in a tick: {fault}");
                self.ticks.fail(now.uptime);
            }
        }
        self.tell(before, version);
    }

    /// How long its timer is not tried.
    pub(super) fn tick_pause(&self, now: Now) -> Duration {
        self.ticks.probe().since(now.uptime)
    }

    /// How it is, its timer included.
    fn state(&self) -> BreakerState {
        match (self.breaker.state(), self.ticks.state()) {
            (BreakerState::Open, _) | (_, BreakerState::Open) => BreakerState::Open,
            (BreakerState::HalfOpen, _) | (_, BreakerState::HalfOpen) => BreakerState::HalfOpen,
            (BreakerState::Closed, BreakerState::Closed) => BreakerState::Closed,
        }
    }

    /// What has led to too much is poison as a whole, whatever the plugin is to do with what it fails on.
    pub(super) fn settle_overflows(&mut self, version: &Version, now: Now, outbox: &mut Outbox) {
        while let Some((item, plugin)) = outbox.overflows.pop() {
            let before = self.state();
            let why = outbox.too_much();
            version.metrics.error(FaultKind::Output);
            self.blame(&item, FaultKind::Output, now);
            self.why.clone_from(&why);
            self.tell(before, version);
            outbox.accuse(&item);
            if self.on_error == OnError::Drop {
                outbox.give_up(item);
            } else {
                outbox.poison(&plugin, &item, why);
            }
        }
    }

    /// It failed on exactly this message.
    pub(crate) fn fail(
        &mut self,
        version: &Version,
        (item, fault): (&mut Item, &Fault),
        now: Now,
        outbox: &mut Outbox,
    ) {
        if !self.holds() {
            return self.fail_for_good(version, (item, fault), now, outbox);
        }
        let before = self.state();
        self.breaker.trip(now.uptime);
        self.why = fault.to_string();
        self.tell(before, version);
        outbox.hold(item);
    }

    /// The same where those behind it are through already, so that it cannot be held: then it is parked instead.
    pub(super) fn fail_for_good(
        &mut self,
        version: &Version,
        (item, fault): (&mut Item, &Fault),
        now: Now,
        outbox: &mut Outbox,
    ) {
        let before = self.state();
        self.blame(item, fault.kind, now);
        self.why = fault.to_string();
        self.tell(before, version);
        outbox.accuse(item);
        match self.on_error {
            OnError::Park | OnError::Hold => {
                outbox.poison(&version.reference, item, fault.detail())
            }
            OnError::Drop => outbox.give_up(std::mem::take(item)),
            OnError::Pass => outbox.next.push(std::mem::take(item)),
        }
    }

    /// `version` takes the place of the one it was about.
    pub(super) fn begin_anew(&mut self, version: &Version) {
        let before = self.state();
        self.breaker.reset();
        self.ticks.reset();
        (self.strikes, self.row) = (0, None);
        self.tell(before, version);
    }

    /// Whether what it fails on is held.
    pub(crate) fn holds(&self) -> bool {
        self.on_error == OnError::Hold
    }

    /// How long a message that is held is not tried again.
    pub(super) fn pause(&self, now: Now) -> Duration {
        self.breaker.probe().since(now.uptime)
    }

    /// It is not asked about these.
    pub(super) fn turn_away(&self, version: &Version, items: &mut [Item], outbox: &mut Outbox) {
        let is_open = self.breaker.state() != BreakerState::Closed;
        for item in items {
            if !is_open {
                outbox.accuse(item);
            }
            match self.on_error {
                OnError::Park => {
                    let whose = if is_open {
                        "keeps failing, and its breaker is open"
                    } else {
                        "keeps failing on its device"
                    };
                    let why = format!(
                        "not tried: the plugin {whose}; its last fault: {}",
                        self.why
                    );
                    outbox.poison(&version.reference, item, why);
                }
                OnError::Drop => outbox.give_up(std::mem::take(item)),
                OnError::Pass => outbox.next.push(std::mem::take(item)),
                OnError::Hold => outbox.hold(item),
            }
        }
    }

    /// Its lane ends: the gauges forget it.
    pub(super) fn retire(&self, version: &Version) {
        version
            .metrics
            .tally
            .breaker_moved(self.state(), BreakerState::Closed);
    }

    /// One line for each change, and the gauges.
    fn tell(&mut self, before: BreakerState, version: &Version) {
        let state = self.state();
        if state == before {
            return;
        }
        self.strikes = 0;
        version.metrics.tally.breaker_moved(before, state);
        let flow = &*version.metrics.flow;
        let plugin = version.label();
        let lane = self.lane;
        match (before, state) {
            (_, BreakerState::Closed) => tracing::info!(
                flow,
                plugin,
                lane,
                "plugin works again: its breaker is closed"
            ),
            (_, BreakerState::HalfOpen) => {
                tracing::info!(
                    flow,
                    plugin,
                    lane,
                    "breaker of a plugin is half-open: it gets one message"
                )
            }
            (BreakerState::HalfOpen, BreakerState::Open) => {
                tracing::warn!(
                    flow,
                    plugin,
                    lane,
                    "plugin failed again: its breaker stays open: {}",
                    self.why
                );
            }
            (_, BreakerState::Open) => {
                let on_error = self.on_error.name();
                tracing::error!(
                    flow,
                    plugin,
                    lane,
                    on_error,
                    "plugin keeps failing: its breaker is open: {}",
                    self.why
                );
                self.alarm.ring(BreakerOpened {
                    flow: Arc::clone(&version.metrics.flow),
                    plugin: self.plugin,
                    digest: Arc::clone(&version.reference.digest),
                    why: self.why.clone(),
                });
            }
        }
    }
}
