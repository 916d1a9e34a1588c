//! All devices of a source: which is asked next, what becomes of what it answers, and what is told of it. No sockets; time is an
//! argument.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use prometheus::IntCounter;

use super::Config;
use super::frame::AnswerFault;
use super::message::{Stale, payload};
use super::plan::ReadRound;
use super::station::Station;
use crate::clock::Now;
use crate::link::Contribution;
use crate::message::{LossReason, Qos, Settled, legal, push_header};
use crate::source::conditions::{ConditionBoard, SourceCondition};
use crate::source::taker::{Arrival, Borders, Judged, Taker};
use crate::source::unsettled::AckOrder;

/// A group, by the numbers of its device and itself.
pub(super) type GroupIndex = (usize, usize);

/// What is to be done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NextPoll {
    Poll(GroupIndex),
    WaitUntil(Option<Instant>),
}

/// What became of a poll, for a metric.
#[derive(Clone, Copy, Debug)]
enum PollOutcome {
    Read,
    Unchanged,
    Failed,
    Late,
    Pressed,
}

const OUTCOMES: [&str; 5] = ["read", "unchanged", "failed", "late", "pressed"];

pub(super) struct PollScheduler {
    name: Arc<str>,
    address: String,
    taker: Taker<()>,
    pub(super) stations: Vec<Station>,
    headers: Bytes,
    /// For each of [`OUTCOMES`].
    polls: Vec<IntCounter>,
    alarm: Contribution,
    board: ConditionBoard,
    /// Since when readings are left out for want of room, and how many were.
    pressed: Option<(Instant, u64)>,
}

impl PollScheduler {
    pub(super) fn new(
        config: &crate::source::Config,
        own: &Config,
        borders: Borders,
        metrics: &crate::source::Metrics,
        now: Instant,
    ) -> Self {
        let all = u32::try_from(own.devices.len()).unwrap_or(u32::MAX);
        let stations = own.devices.iter().zip(0..);
        let stations =
            stations.map(|(device, place)| Station::new(device, own.probe, (place, all), now));
        let mut headers = Vec::new();
        // It fits: both are short.
        let _ = push_header(&mut headers, legal::CONTENT_TYPE, b"application/json");
        Self {
            name: Arc::clone(&config.name),
            address: own.address.to_string(),
            stations: stations.collect(),
            taker: Taker::new(config, AckOrder::Any, borders),
            headers: headers.into(),
            polls: OUTCOMES
                .map(|outcome| metrics.polls(&config.name, outcome))
                .into(),
            alarm: metrics.link.alarm(&config.name),
            board: metrics.board(&config.name),
            pressed: None,
        }
    }

    /// From now on nothing is taken.
    pub(super) fn cease(&mut self) {
        self.taker.cease();
    }

    /// What is due first; of a silent station only where `has_line`.
    pub(super) fn next(&self, now: Instant, has_line: bool) -> NextPoll {
        let stations = self.stations.iter().enumerate();
        let asked = stations.filter(|(_, station)| has_line || !station.breaker.is_open());
        let dues = asked.filter_map(|(number, station)| {
            let (group, at) = station.next()?;
            Some((at, (number, group)))
        });
        match dues.min() {
            Some((at, place)) if at <= now => NextPoll::Poll(place),
            found => NextPoll::WaitUntil(found.map(|(at, _)| at)),
        }
    }

    /// Begins a poll, unless there is no room for what it reads: then it is left out, and counted.
    pub(super) fn begin(&mut self, (number, group): GroupIndex, now: Instant) -> Option<ReadRound> {
        let station = &mut self.stations[number];
        let was_behind = station.groups[group].behind.is_some();
        let late = station.begin(group, now);
        let config = &station.device.groups[group];
        if late > 0 {
            self.polls[PollOutcome::Late as usize].inc_by(late);
            if !was_behind {
                let (source, device) = (&self.name, &station.device.name);
                tracing::warn!(%source, %device, group = %config.name, left_out = late, "the line cannot keep the pace of this group: polls are left out (the next ones are only counted)");
            }
        }
        if self.taker.is_full() {
            station.breaker.try_at(now + config.every);
            self.polls[PollOutcome::Pressed as usize].inc();
            self.taker
                .left_out(LossReason::SourcePressed, &config.topic, 1);
            let (_, left_out) = self.pressed.get_or_insert((now, 0));
            *left_out += 1;
            self.show(now);
            return None;
        }
        let round = station.groups[group].plan.begin(&config.points, now);
        let was_pressed = self.pressed.take().is_some();
        if was_pressed || was_behind || late > 0 {
            self.show(now);
        }
        Some(round)
    }

    /// Every request of a poll was answered.
    pub(super) fn answered(
        &mut self,
        (number, group): GroupIndex,
        round: ReadRound,
        (now, at): (Instant, Now),
    ) {
        let station = &mut self.stations[number];
        let was_failing = !station.breaker.is_trusted();
        station.failing_since = None;
        if let Some(silent) = station.breaker.answered(now) {
            let (source, device) = (&self.name, &station.device.name);
            tracing::info!(%source, %device, silent_for = format!("{silent:.0?}"), "the device answers again");
            station.is_back(now);
        }
        let config = &station.device.groups[group];
        let state = &mut station.groups[group];
        let (mut readings, is_other) = state.plan.learn(&config.points, round, now);
        for refused in &state.plan.refused {
            readings[refused.point] = Some(Err(refused.why));
        }
        if is_other {
            let (source, device) = (&self.name, &station.device.name);
            let left_out = state.refused(&config.points);
            let left_out = left_out.unwrap_or_else(|| "nothing".to_owned());
            tracing::warn!(%source, %device, group = %config.name, left_out, "what the device refuses is another: it is left out, and asked for again in an hour");
        }
        if state.read(config, readings.clone(), (now, at)) {
            self.polls[PollOutcome::Read as usize].inc();
            let message = payload(config, &readings, Some(at), None);
            let topic = config.topic.clone();
            self.take(topic, message, at);
        } else {
            self.polls[PollOutcome::Unchanged as usize].inc();
        }
        if was_failing || is_other {
            self.show(now);
        }
    }

    /// A poll came to nothing. Where the device counts as silent from now on, its last values go out once, marked.
    pub(super) fn failed(
        &mut self,
        (number, _): GroupIndex,
        fault: &AnswerFault,
        (now, at): (Instant, Now),
    ) {
        self.polls[PollOutcome::Failed as usize].inc();
        let cause = crate::words::line(&fault.to_string(), 300);
        let station = &mut self.stations[number];
        station.is_cut_off = false;
        let since = *station.failing_since.get_or_insert(at);
        if station.breaker.failed(cause.clone(), now, fastrand::f64()) {
            let (source, device, address) = (&self.name, &station.device.name, &self.address);
            let groups = station.device.groups.len();
            let station = station.device.station;
            tracing::warn!(%source, %device, station, address, cause, "the device is silent: its last values go out marked as stale, and it is asked now and then");
            for group in 0..groups {
                self.tell_stale((number, group), since, &cause, at);
            }
        }
        self.show(now);
    }

    /// A poll came to nothing for want of a line.
    pub(super) fn cut_off(&mut self, place: GroupIndex, fault: &AnswerFault, at: (Instant, Now)) {
        self.failed(place, fault, at);
        self.stations[place.0].is_cut_off = true;
    }

    /// Whether there is one whose last poll was answered, or that was not asked yet.
    pub(super) fn has_working_station(&self) -> bool {
        let mut stations = self.stations.iter();
        stations.any(|station| station.breaker.is_trusted())
    }

    fn tell_stale(&mut self, (number, group): GroupIndex, since: Now, why: &str, at: Now) {
        let station = &self.stations[number];
        let config = &station.device.groups[group];
        let never = vec![None; config.points.len()];
        let (readings, read_at) = match &station.groups[group].last {
            Some((readings, read_at)) => (readings, Some(*read_at)),
            None => (&never, None),
        };
        let message = payload(config, readings, read_at, Some(Stale { since, why }));
        let topic = config.topic.clone();
        self.take(topic, message, at);
    }

    fn take(&mut self, topic: Bytes, payload: Bytes, at: Now) {
        let arrival = Arrival {
            topic,
            payload,
            headers: self.headers.clone(),
            qos: Qos::AtLeastOnce,
            retain: false,
            duplicate: false,
            rounds: 0,
            // Nobody waits for it, but it is dropped as little as what somebody waits for.
            ack: Some(()),
            judged: Judged::Sound,
        };
        self.taker.take(1, at, std::iter::once(arrival));
    }

    /// A line stands again: stations that were silent for want of it are asked at once.
    pub(super) fn line_stands(&mut self, now: Instant) {
        let stations = self.stations.iter_mut();
        let cut_off = stations.filter(|station| station.is_cut_off);
        cut_off.for_each(|station| station.breaker.try_at(now));
    }

    /// Forgets what is settled, and tells the inside how pressed we are.
    pub(super) fn settle(&mut self, draining: bool) {
        self.taker.settle_repeats();
        self.taker.settle(usize::MAX, |()| ());
        self.taker.fell();
        self.taker.press(draining || self.taker.is_pressed());
        self.taker.show();
    }

    /// What wakes when something settles.
    pub(super) fn settled(&self) -> Arc<Settled> {
        self.taker.settled()
    }

    /// Whether all that was taken is settled.
    pub(super) fn is_empty(&self) -> bool {
        self.taker.unsettled().messages() == 0
    }

    /// Tells what is not as it should be.
    fn show(&mut self, now: Instant) {
        let mut conditions = Vec::new();
        if let Some((since, left_out)) = self.pressed {
            let own = "polls are left out, as what was read before is not safe yet";
            conditions.push(SourceCondition::no_room(own, since, left_out));
        }
        for station in &self.stations {
            self.conditions_of(station, now, &mut conditions);
        }
        let open = self
            .stations
            .iter()
            .filter(|station| station.breaker.is_open());
        self.alarm.set(crate::link::level(open.count()));
        self.board.show(conditions);
    }

    fn conditions_of(
        &self,
        station: &Station,
        now: Instant,
        conditions: &mut Vec<SourceCondition>,
    ) {
        let number = station.device.station;
        let who = format!(
            "device `{}` (station {number} at {})",
            station.device.name, self.address
        );
        if station.breaker.is_open() {
            let (cause, since) = station.breaker.cause();
            conditions.push(SourceCondition {
                kind: "device-silent",
                words: format!("{who} is silent, and its values are stale: {cause}"),
                own: "a device is silent, and its values are stale",
                messages: 0,
                since: since.unwrap_or(now),
                next_try: station.breaker.next_try(),
            });
        }
        for (state, group) in station.groups.iter().zip(&station.device.groups) {
            let name = &group.name;
            if let Some(refused) = state.refused(&group.points) {
                conditions.push(SourceCondition {
                    kind: "registers-refused",
                    words: format!("{who} refuses in group `{name}`: {refused}: see its manual, or take them out"),
                    own: "a device refuses registers",
                    messages: 0,
                    since: state.plan.refused_since().unwrap_or(now),
                    next_try: None,
                });
            }
            if let Some((since, left_out)) = state.behind {
                conditions.push(SourceCondition {
                    kind: "behind",
                    words: format!("{who}: polls of group `{name}` are left out, as the line cannot keep their pace: raise `every`, or ask for less"),
                    own: "polls are left out, as the line cannot keep their pace",
                    messages: left_out,
                    since,
                    next_try: None,
                });
            }
        }
    }
}
