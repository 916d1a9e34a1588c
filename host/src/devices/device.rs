//! One device: what is known of it, and what follows from what is heard, told, and not heard. No clock, no lock.

use std::sync::Arc;
use std::time::Duration;

use super::book::{Jot, ToldWord};
use super::status::ToldStatus;
use crate::clock::{Now, Uptime, WallTime};

/// Over so long a rate is a mean, seconds: later messages count for more.
const RATE_S: f64 = 60.0;

/// What is so of a device, as far as is known.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum DeviceState {
    /// Nothing was heard of it in this run.
    #[default]
    Unknown,
    /// It was heard, or it was said to be there.
    Online,
    /// It was not heard for as long as a heartbeat may take.
    Silent,
    /// It was said not to be there, and was not heard since.
    Offline,
}

impl DeviceState {
    pub const ALL: [Self; 4] = [Self::Unknown, Self::Online, Self::Silent, Self::Offline];

    /// The name used in events, metrics and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Online => "online",
            Self::Silent => "silent",
            Self::Offline => "offline",
        }
    }
}

/// Why a device is what it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Cause {
    /// A message of its own came.
    #[default]
    Heard,
    /// A status said so.
    ToldWord,
    /// It sent nothing for too long.
    Heartbeat,
}

impl Cause {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Heard => "heard",
            Self::ToldWord => "told",
            Self::Heartbeat => "heartbeat",
        }
    }
}

/// What became of a status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StatusOutcome {
    Taken,
    /// It says what is so already.
    Repeated,
    /// It is older than what is known.
    Late,
}

/// A moment of a device: by the wall clock, and in this run by the monotonic one, too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Moment {
    pub(super) wall: WallTime,
    /// The wall clock had been set.
    pub(super) is_set: bool,
    /// `None`: it was in an earlier run.
    pub(super) uptime: Option<Uptime>,
}

impl Moment {
    pub(super) fn of(now: Now) -> Self {
        Self {
            wall: now.wall,
            is_set: now.is_set(),
            uptime: Some(now.uptime),
        }
    }

    /// The same by the wall clock as it goes now: one that was set later, or jumped, is right for what came before.
    pub(super) fn seen_from(self, now: Now) -> Self {
        match self.uptime {
            Some(uptime) if now.is_set() => Self {
                wall: now.wall.minus_us(now.uptime.us_since(uptime)),
                is_set: true,
                ..self
            },
            _ => self,
        }
    }
}

/// Messages a second, lately.
#[derive(Clone, Copy, Debug, Default)]
struct MessageRate {
    value: f64,
    at: Uptime,
}

impl MessageRate {
    fn at(self, now: Uptime) -> f64 {
        let seconds = now.us_since(self.at) as f64 / 1e6;
        self.value * (-seconds / RATE_S).exp()
    }

    fn add(&mut self, count: u64, now: Uptime) {
        *self = Self {
            value: self.at(now) + count as f64 / RATE_S,
            at: now,
        };
    }
}

#[derive(Clone, Debug)]
pub(super) struct KnownDevice {
    /// The source that heard it last.
    pub(super) source: Arc<str>,
    pub(super) first: Moment,
    /// When the device itself was heard last.
    pub(super) last: Option<Moment>,
    pub(super) count: u64,
    pub(super) bytes: u64,
    /// The last status that was taken.
    pub(super) word: Option<ToldStatus>,
    pub(super) state: DeviceState,
    pub(super) cause: Cause,
    /// Since when that is so.
    pub(super) since: Option<Moment>,
    /// Of the last event: what it said, and its version.
    pub(super) said: DeviceState,
    pub(super) version: u64,
    /// The last sign of life in this run.
    alive: Option<Uptime>,
    rate: MessageRate,
    /// It is not as it was written.
    pub(super) is_dirty: bool,
    /// The store has it.
    pub(super) is_kept: bool,
}

impl KnownDevice {
    pub(super) fn new(source: Arc<str>, first: Now) -> Self {
        Self {
            source,
            first: Moment::of(first),
            last: None,
            count: 0,
            bytes: 0,
            word: None,
            state: DeviceState::Unknown,
            cause: Cause::default(),
            since: None,
            said: DeviceState::Unknown,
            version: 0,
            alive: None,
            rate: MessageRate::default(),
            is_dirty: true,
            is_kept: false,
        }
    }

    /// Takes in what `source` has heard of it until `now`; what became of the status, if one was told.
    pub(super) fn take(&mut self, source: &Arc<str>, jot: &Jot, now: Now) -> Option<StatusOutcome> {
        self.count += jot.count;
        self.bytes += jot.bytes;
        self.is_dirty |= jot.count > 0;
        if jot.count > 0 {
            self.rate.add(jot.count, now.uptime);
        }
        let is_newer = |last: Now| self.alive.is_none_or(|alive| last.uptime >= alive);
        if let Some(last) = jot.last.filter(|last| is_newer(*last)) {
            self.last = Some(Moment::of(last));
            if *self.source != **source {
                self.source = Arc::clone(source);
            }
        }
        if let Some(last) = jot.last.filter(|_| jot.spoke_before) {
            self.live(last, Cause::Heard);
        }
        let outcome = jot.told.map(|told| self.told(&told));
        if let Some(last) = jot.last.filter(|_| jot.spoke_after) {
            self.live(last, Cause::Heard);
        }
        outcome
    }

    /// A sign of life.
    fn live(&mut self, at: Now, cause: Cause) {
        self.alive = self.alive.max(Some(at.uptime));
        self.turn(DeviceState::Online, cause, at);
    }

    fn told(&mut self, told: &ToldWord) -> StatusOutcome {
        let ToldWord {
            status,
            at,
            is_live,
        } = *told;
        let versions = self.word.and_then(|word| word.version).zip(status.version);
        let is_first = self.state == DeviceState::Unknown;
        let is_same = self
            .word
            .is_some_and(|word| word.is_online == status.is_online);
        match versions {
            Some((known, new)) if new < known => return StatusOutcome::Late,
            Some((known, new)) if new == known && !is_first => return StatusOutcome::Repeated,
            // What a broker kept, or sends again, was taken when it came first; the device may have spoken since.
            None if is_same && !is_live && !is_first => return StatusOutcome::Repeated,
            _ => {}
        }
        self.is_dirty |= self.word != Some(status);
        self.word = Some(status);
        let said = if status.is_online {
            DeviceState::Online
        } else {
            DeviceState::Offline
        };
        let is_so = self.state == said;
        if status.is_online {
            self.live(at, Cause::ToldWord);
        } else {
            self.turn(said, Cause::ToldWord, at);
        }
        if is_so {
            StatusOutcome::Repeated
        } else {
            StatusOutcome::Taken
        }
    }

    /// What follows from its silence, where its source hears since `listening`.
    pub(super) fn judge(&mut self, now: Now, listening: Option<Uptime>, heartbeat: Duration) {
        let waits = matches!(self.state, DeviceState::Unknown | DeviceState::Online);
        let Some(since) = listening.filter(|_| waits) else {
            return;
        };
        let since = self.alive.map_or(since, |alive| alive.max(since));
        if now.uptime.since(since) >= heartbeat {
            self.turn(DeviceState::Silent, Cause::Heartbeat, now);
        }
    }

    fn turn(&mut self, state: DeviceState, cause: Cause, at: Now) {
        if self.state != state {
            (self.state, self.cause, self.since) = (state, cause, Some(Moment::of(at)));
        }
    }

    /// Whether an event is due.
    pub(super) fn is_untold(&self) -> bool {
        self.state != self.said && self.state != DeviceState::Unknown
    }

    /// Messages a second, over the last minute.
    pub(super) fn rate(&self, now: Uptime) -> f64 {
        self.rate.at(now)
    }

    /// The same, where only that matters: a rate only falls by itself.
    pub(super) fn is_faster_than(&self, above: f64, now: Uptime) -> bool {
        self.rate.value > above && self.rate.at(now) > above
    }

    /// How long it was not heard in this run; `None` where it was not heard at all.
    pub(super) fn silence(&self, now: Uptime) -> Option<Duration> {
        self.alive.map(|alive| now.since(alive))
    }

    /// Those go first that rank lowest: not heard in this run, by the wall clock; then those that were silent for longest.
    pub(super) fn rank(&self) -> (Option<Uptime>, WallTime) {
        let wall = self.last.unwrap_or(self.first).wall;
        (self.alive, wall)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEARTBEAT: Duration = Duration::from_secs(60);

    fn at(seconds: u64) -> Now {
        Now {
            wall: WallTime(1_800_000_000_000_000 + seconds * 1_000_000),
            uptime: Uptime(seconds * 1_000_000),
        }
    }

    fn device() -> (KnownDevice, Arc<str>) {
        let source: Arc<str> = "field".into();
        (KnownDevice::new(Arc::clone(&source), at(0)), source)
    }

    fn heard(seconds: u64) -> Jot {
        Jot {
            count: 1,
            bytes: 10,
            first: at(seconds),
            last: Some(at(seconds)),
            spoke_before: true,
            ..Jot::default()
        }
    }

    fn online(version: Option<u64>) -> ToldStatus {
        ToldStatus {
            is_online: true,
            version,
        }
    }

    fn offline(version: Option<u64>) -> ToldStatus {
        ToldStatus {
            is_online: false,
            version,
        }
    }

    fn told(seconds: u64, status: ToldStatus, is_live: bool) -> Jot {
        Jot {
            first: at(seconds),
            told: Some(ToldWord {
                status,
                at: at(seconds),
                is_live,
            }),
            ..Jot::default()
        }
    }

    #[test]
    fn silence_counts_only_while_its_source_hears() {
        let (mut device, source) = device();
        device.take(&source, &heard(0), at(0));
        device.judge(at(59), Some(Uptime(0)), HEARTBEAT);
        assert_eq!(device.state, DeviceState::Online);
        // Its broker was away, and is back since second 100.
        device.judge(at(90), None, HEARTBEAT);
        device.judge(at(150), Some(at(100).uptime), HEARTBEAT);
        assert_eq!(device.state, DeviceState::Online);
        device.judge(at(160), Some(at(100).uptime), HEARTBEAT);
        assert_eq!(
            (device.state, device.cause),
            (DeviceState::Silent, Cause::Heartbeat)
        );
        device.take(&source, &heard(161), at(161));
        assert_eq!(device.state, DeviceState::Online);
    }

    #[test]
    fn a_status_that_is_repeated_or_late_changes_nothing() {
        let (mut device, source) = device();
        let mut take = |jot: Jot| {
            let outcome = device.take(&source, &jot, jot.first);
            (outcome, device.state)
        };
        use DeviceState::{Offline, Online};
        assert_eq!(
            take(told(1, online(Some(3)), true)),
            (Some(StatusOutcome::Taken), Online)
        );
        assert_eq!(
            take(told(2, offline(Some(4)), true)),
            (Some(StatusOutcome::Taken), Offline)
        );
        assert_eq!(
            take(told(3, online(Some(3)), true)),
            (Some(StatusOutcome::Late), Offline)
        );
        assert_eq!(
            take(told(4, offline(Some(4)), true)),
            (Some(StatusOutcome::Repeated), Offline)
        );
        assert_eq!(take(heard(5)), (None, Online));
        assert_eq!(
            take(told(6, offline(Some(4)), true)),
            (Some(StatusOutcome::Repeated), Online)
        );
        // Without a count of its own: what a broker kept was known before the device spoke.
        assert_eq!(
            take(told(7, offline(None), false)),
            (Some(StatusOutcome::Repeated), Online)
        );
        assert_eq!(
            take(told(8, offline(None), true)),
            (Some(StatusOutcome::Taken), Offline)
        );
        assert_eq!(
            take(told(9, offline(None), true)),
            (Some(StatusOutcome::Repeated), Offline)
        );
    }

    #[test]
    fn who_speaks_behind_a_status_is_there_and_who_spoke_before_is_not() {
        let (mut device, source) = device();
        let mut jot = told(1, offline(None), true);
        (jot.count, jot.last, jot.spoke_before) = (1, Some(at(1)), true);
        device.take(&source, &jot, at(1));
        assert_eq!(device.state, DeviceState::Offline);
        jot.spoke_after = true;
        device.take(&source, &jot, at(2));
        assert_eq!(device.state, DeviceState::Online);
    }

    #[test]
    fn a_device_is_where_it_was_heard_last() {
        let (mut device, source) = device();
        let other: Arc<str> = "annex".into();
        device.take(&other, &heard(9), at(10));
        device.take(&source, &heard(3), at(10));
        assert_eq!((&*device.source, device.count), ("annex", 2));
    }

    #[test]
    fn a_clock_that_is_set_later_is_right_for_what_came_before() {
        let unset = Now {
            wall: WallTime(1_000_000),
            uptime: Uptime(1_000_000),
        };
        let moment = Moment::of(unset);
        assert!(!moment.is_set && moment.seen_from(unset) == moment);
        let seen = moment.seen_from(at(11));
        assert_eq!((seen.is_set, seen.wall), (true, at(1).wall));
        let of_before = Moment {
            uptime: None,
            ..moment
        };
        assert_eq!(of_before.seen_from(at(11)), of_before);
    }

    #[test]
    fn a_rate_is_of_the_last_minute() {
        let (mut device, source) = device();
        let jot = Jot {
            count: 50,
            ..heard(0)
        };
        for second in 1..=600 {
            assert_eq!(device.take(&source, &jot, at(second)), None);
        }
        assert!((45.0..55.0).contains(&device.rate(at(600).uptime)));
        assert!(device.rate(at(900).uptime) < 1.0);
    }
}
