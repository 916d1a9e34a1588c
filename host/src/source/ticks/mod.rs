//! A clock: what a flow is to do at its times, whatever devices send.
//!
//! **In**: nothing but the time. **Out**: as every source; each tick is a message in JSON.
//!
//! **Promised**
//! - Ticks stand where the clock has them: at the times of day that were asked for, or at whole multiples of a period.
//! - What was missed (the machine slept, the gateway stood still) is one late tick, which says how many it stands for; never a burst.
//! - Nobody waits for a tick, so none holds anything up: one for which there is no room is left out, and in the ledger.
//! - While the clock was never set, a tick says so; at a time of day none is told then.
//!
//! **Not promised**: ticks of the time in which the gateway did not run, or that a clock which was set jumps over; that a tick is there to the millisecond.
//!
//! - `rhythm`: which moments; `schedule`: when one is due and what was missed; `payload`: what a tick says. All without a clock of their own.

mod payload;
mod rhythm;
mod schedule;
mod settings;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use prometheus::IntCounter;
use tokio::sync::watch;

pub use rhythm::{DayTime, Rhythm, TickZone};
pub use settings::Config;

use super::conditions::{ConditionBoard, SourceCondition};
use super::taker::{Arrival, Borders, Judged, Taker};
use super::unsettled::AckOrder;
use crate::clock::{Now, sleep_until};
use crate::link::{self, Backoff, Dial, Redial, Stop};
use crate::message::{LossReason, Qos, legal, push_header};
use payload::payload;
use schedule::{DueTick, TickSchedule};

/// What became of a tick, for a metric.
#[derive(Clone, Copy, Debug)]
enum TickOutcome {
    Told,
    Missed,
    Pressed,
}

const OUTCOMES: [&str; 3] = ["told", "missed", "pressed"];

/// Tells ticks until `stop` says otherwise.
pub(super) async fn run(
    config: &super::Config,
    own: &Config,
    borders: Borders,
    metrics: &super::Metrics,
    mut stop: watch::Receiver<Stop>,
) {
    let name = Arc::clone(&config.name);
    let mut redial = Redial::new(ClockAtHand, "source", name, &metrics.link);
    let mut source = TickSource::new(config, own, borders, metrics);
    if redial.connect(&mut stop).await.is_some() {
        redial.stands();
        tracing::info!(source = %config.name, clock = %own, "it runs");
        source.serve(&mut stop).await;
    }
    source.leave(&mut stop).await;
    redial.left();
}

/// When the next tick is, in words.
///
/// # Errors
/// That there is none while the clock is not set.
pub(super) fn reach(config: &Config) -> Result<String, String> {
    let now = Now::read();
    let wait = TickSchedule::new(config.rhythm.clone(), now).due_in(now);
    wait.map(|wait| format!("the next tick is due in {wait:.0?}"))
        .ok_or_else(|| NOT_SET.to_owned())
}

const NOT_SET: &str =
    "the machine's clock was never set, so no time of day is known: see that it is (`timedatectl`)";

/// There is always a clock.
#[derive(Debug)]
struct ClockAtHand;

impl Dial for ClockAtHand {
    type Up = ();
    type Error = link::Error;

    async fn dial(&self, _: u32) -> Result<(), link::Error> {
        Ok(())
    }

    fn id(&self) -> &str {
        "clock"
    }

    fn backoff(&self) -> Backoff {
        Backoff::default()
    }

    fn complaint(&self) -> &'static str {
        "no ticks"
    }
}

struct TickSource<'a> {
    own: &'a Config,
    taker: Taker<()>,
    schedule: TickSchedule,
    headers: Bytes,
    /// Ticks that were told since the source began.
    count: u64,
    /// For each of [`OUTCOMES`].
    outcomes: Vec<IntCounter>,
    board: ConditionBoard,
    /// Since when ticks are left out for want of room, and how many were.
    pressed: Option<(Instant, u64)>,
    /// Since when there are none for want of a time of day.
    unset: Option<Instant>,
}

impl<'a> TickSource<'a> {
    fn new(
        config: &super::Config,
        own: &'a Config,
        borders: Borders,
        metrics: &super::Metrics,
    ) -> Self {
        let mut headers = Vec::new();
        // It fits: both are short.
        let _ = push_header(&mut headers, legal::CONTENT_TYPE, b"application/json");
        let outcome = |outcome| metrics.polls(&config.name, outcome);
        Self {
            own,
            taker: Taker::new(config, AckOrder::Any, borders),
            schedule: TickSchedule::new(own.rhythm.clone(), Now::read()),
            headers: headers.into(),
            count: 0,
            outcomes: OUTCOMES.map(outcome).into(),
            board: metrics.board(&config.name),
            pressed: None,
            unset: None,
        }
    }

    async fn serve(&mut self, stop: &mut watch::Receiver<Stop>) {
        let settled = self.taker.settled();
        while *stop.borrow_and_update() == Stop::Run {
            self.settle(false);
            let now = Now::read();
            if let Some(due) = self.schedule.look(now) {
                self.tick(due, now);
                continue;
            }
            self.tell_unset(self.schedule.due_in(now).is_none());
            let next = Instant::now() + self.schedule.look_in(now);
            tokio::select! {
                changed = stop.changed() => if changed.is_err() {
                    return;
                },
                () = settled.changed() => {}
                () = sleep_until(Some(next)) => {}
            }
        }
    }

    fn tick(&mut self, due: DueTick, now: Now) {
        self.outcomes[TickOutcome::Missed as usize].inc_by(due.missed);
        if self.taker.is_full() {
            self.outcomes[TickOutcome::Pressed as usize].inc();
            let (_, left_out) = self.pressed.get_or_insert((Instant::now(), 0));
            *left_out += 1;
            self.taker
                .left_out(LossReason::SourcePressed, &self.own.topic, 1);
            return self.show();
        }
        if self.pressed.take().is_some() {
            self.show();
        }
        self.outcomes[TickOutcome::Told as usize].inc();
        self.count += 1;
        let arrival = Arrival {
            topic: self.own.topic.clone(),
            payload: payload(&due, self.count, now, &self.own.zone),
            headers: self.headers.clone(),
            qos: Qos::AtLeastOnce,
            retain: false,
            duplicate: false,
            rounds: 0,
            // Nobody waits for it, but what was taken is dropped as little as what somebody waits for.
            ack: Some(()),
            judged: Judged::Sound,
        };
        self.taker.take(1, now, std::iter::once(arrival));
    }

    /// Forgets what is settled, and tells the inside how pressed we are.
    fn settle(&mut self, draining: bool) {
        self.taker.settle_repeats();
        self.taker.settle(usize::MAX, |()| ());
        self.taker.fell();
        self.taker.press(draining || self.taker.is_pressed());
        self.taker.show();
    }

    fn tell_unset(&mut self, is_unset: bool) {
        if is_unset == self.unset.is_some() {
            return;
        }
        self.unset = is_unset.then(Instant::now);
        self.show();
    }

    /// Tells what is not as it should be.
    fn show(&self) {
        let own = "ticks are left out, as what came before is not safe yet";
        let pressed = self
            .pressed
            .map(|(since, left_out)| SourceCondition::no_room(own, since, left_out));
        let unset = self.unset.map(|since| SourceCondition {
            kind: "clock-not-set",
            words: format!("there are no ticks: {NOT_SET}"),
            own: "there are no ticks while the clock was never set",
            messages: 0,
            since,
            next_try: None,
        });
        self.board.show(pressed.into_iter().chain(unset).collect());
    }

    /// Waits until all that was told is settled, or for the end.
    async fn leave(&mut self, stop: &mut watch::Receiver<Stop>) {
        self.taker.cease();
        let settled = self.taker.settled();
        /// What is settled from the start, as what no flow asks for, wakes nobody.
        const LOOK: Duration = Duration::from_millis(100);
        loop {
            self.settle(true);
            if self.taker.unsettled().is_empty() || *stop.borrow_and_update() == Stop::Now {
                return;
            }
            tokio::select! {
                changed = stop.changed() => if changed.is_err() {
                    return;
                },
                () = settled.changed() => {}
                () = tokio::time::sleep(LOOK) => {}
            }
        }
    }
}
