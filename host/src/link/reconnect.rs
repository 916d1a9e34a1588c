//! When to dial again: the five states of a connection and the way between them. Pure: the caller brings the time
//! and the dice.
//!
//! ```text
//!              ┌──────────── failed ◄─────────────┬──────────────┬──────────┐
//!              ▼                                  │              │          │
//!           waiting ──dial──► dialling ──greeted──► authenticating ──online──► online
//!              ▲                                  │
//!           refused ◄──── failed for good ────────┘   (and from any state but waiting)
//! ```
//!
//! It never gives up. Delays double up to the cap and start over once a connection has been stable; refused
//! credentials or rights are tried again at the cap only, since somebody has to act first. Where nobody listens, and that
//! is said at once, asking again costs nobody anything: there a retry is never far off while the outage is young.

use std::time::{Duration, Instant};

use super::{Backoff, FailureKind, delay};

/// A connection that lasted this long was a good one: the next failure counts as the first. Longer than it takes
/// a peer to let us in and throw us out again.
pub const STABLE: Duration = Duration::from_secs(10);

/// Longest delay after a dial that was turned down at once, in the first [`YOUNG`] of an outage: who restarts a
/// server expects his gateways soon.
const PROMPT: Duration = Duration::from_secs(2);

/// How long an outage is young.
const YOUNG: Duration = Duration::from_secs(600);

/// Failures in a row that call for the operator.
pub const ALARM: u32 = 5;

/// What a stage that holds a connection is told by the gateway.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stop {
    #[default]
    Run,
    /// Take nothing new, finish what was taken, leave in good order.
    Drain,
    Now,
}

/// Where a connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkState {
    Waiting,
    /// An attempt is under way: TCP, TLS, the protocol's greeting.
    Dialling,
    /// The other end let us in and has not yet granted what we need.
    Authenticating,
    Online,
    /// Credentials, certificate or rights were refused: the next attempt is far off.
    Refused,
}

impl LinkState {
    /// All of them, in order.
    pub const ALL: [Self; 5] = [
        Self::Waiting,
        Self::Dialling,
        Self::Authenticating,
        Self::Online,
        Self::Refused,
    ];

    /// The name in metrics and logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Dialling => "dialling",
            Self::Authenticating => "authenticating",
            Self::Online => "online",
            Self::Refused => "refused",
        }
    }
}

/// How loudly a failure is to be reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loudness {
    /// It may pass by itself.
    Warn,
    /// The operator must act: refused, or `ALARM` failures in a row, then at each doubling of their number.
    Alarm,
    /// Said often enough: a week without a link shall not fill the log.
    Quiet,
}

impl Loudness {
    /// What is said in any case: at the level it has where it is not quiet.
    pub fn aloud(self, is_alarming: bool) -> Self {
        match self {
            Self::Quiet if is_alarming => Self::Alarm,
            Self::Quiet => Self::Warn,
            loud => loud,
        }
    }
}

/// What follows a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// Until the next attempt.
    pub after: Duration,
    /// How loudly to say so.
    pub level: Loudness,
}

#[derive(Clone, Debug)]
pub struct Reconnect {
    backoff: Backoff,
    state: LinkState,
    failures: u32,
    /// Of these, those that cost somebody something: time, traffic, a look at credentials.
    costly: u32,
    /// Since when no connection has lasted.
    since: Option<Instant>,
    online_since: Option<Instant>,
}

impl Reconnect {
    /// Waiting, with nothing behind it.
    pub fn new(backoff: Backoff) -> Self {
        Self {
            backoff,
            state: LinkState::Waiting,
            failures: 0,
            costly: 0,
            since: None,
            online_since: None,
        }
    }

    pub fn state(&self) -> LinkState {
        self.state
    }

    /// Failures in a row.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// Since when no connection has lasted; `None` before the first failure.
    pub fn since(&self) -> Option<Instant> {
        self.since
    }

    /// Whether so many attempts failed in a row, or one for good, that somebody should look.
    pub fn is_alarming(&self) -> bool {
        self.failures >= ALARM || self.state == LinkState::Refused
    }

    pub fn dial(&mut self) {
        debug_assert!(
            matches!(self.state, LinkState::Waiting | LinkState::Refused),
            "dialled while {:?}",
            self.state
        );
        self.state = LinkState::Dialling;
    }

    /// The other end let us in.
    pub fn greeted(&mut self) {
        debug_assert_eq!(self.state, LinkState::Dialling);
        self.state = LinkState::Authenticating;
    }

    /// The other end granted what we need.
    pub fn online(&mut self, now: Instant) {
        debug_assert_eq!(self.state, LinkState::Authenticating);
        self.state = LinkState::Online;
        self.online_since = Some(now);
    }

    /// The connection was good for something, however short it was: the next failure counts as the first.
    pub fn worked(&mut self) {
        (self.failures, self.costly, self.since) = (0, 0, None);
    }

    /// The attempt failed, or the connection was lost. `random` is between 0 and 1.
    pub fn failed(&mut self, failure: FailureKind, now: Instant, random: f64) -> Retry {
        let was_stable = self
            .online_since
            .take()
            .is_some_and(|since| now.saturating_duration_since(since) >= STABLE);
        if was_stable {
            (self.failures, self.costly, self.since) = (0, 0, None);
        }
        self.failures = self.failures.saturating_add(1);
        self.costly = self
            .costly
            .saturating_add(u32::from(failure != FailureKind::NotThere));
        let age = now.saturating_duration_since(*self.since.get_or_insert(now));
        let refused = matches!(failure, FailureKind::Refused | FailureKind::Unread);
        self.state = if refused {
            LinkState::Refused
        } else {
            LinkState::Waiting
        };
        let (backoff, attempt) = match failure {
            FailureKind::Refused => (self.backoff, u32::MAX),
            FailureKind::NotThere if age < YOUNG => {
                (self.backoff.capped(PROMPT), self.failures - 1)
            }
            FailureKind::NotThere => (self.backoff, self.failures - 1),
            FailureKind::Passing | FailureKind::Clock | FailureKind::Unread => {
                (self.backoff, self.costly - 1)
            }
        };
        let alarm = self.failures >= ALARM
            && self.failures.is_multiple_of(ALARM)
            && (self.failures / ALARM).is_power_of_two();
        let level = match (refused && self.failures < ALARM) || alarm {
            true => Loudness::Alarm,
            false if self.failures < ALARM => Loudness::Warn,
            false => Loudness::Quiet,
        };
        Retry {
            after: delay(&backoff, attempt, random),
            level,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn machine() -> Reconnect {
        Reconnect::new(Backoff::default())
    }

    fn through(machine: &mut Reconnect, now: Instant) {
        machine.dial();
        machine.greeted();
        machine.online(now);
    }

    #[test]
    fn delays_double_and_start_over_after_a_stable_connection() {
        let (mut machine, start) = (machine(), Instant::now());
        let after = |machine: &mut Reconnect, now| {
            machine
                .failed(FailureKind::Passing, now, 0.5)
                .after
                .as_secs_f64()
                .round()
        };
        machine.dial();
        assert_eq!(after(&mut machine, start), 1.0);
        through(&mut machine, start);
        assert_eq!(after(&mut machine, start + STABLE / 2), 2.0);
        through(&mut machine, start);
        assert_eq!(after(&mut machine, start + STABLE), 1.0);
    }

    #[test]
    fn a_connection_that_was_good_for_something_makes_the_next_failure_the_first() {
        let (mut machine, now) = (machine(), Instant::now());
        for _ in 0..8 {
            machine.dial();
            machine.failed(FailureKind::Passing, now, 0.5);
        }
        through(&mut machine, now);
        machine.worked();
        assert_eq!(
            machine
                .failed(FailureKind::Passing, now, 0.5)
                .after
                .as_secs_f64()
                .round(),
            1.0
        );
        assert_eq!(machine.failures(), 1);
    }

    #[test]
    fn refused_credentials_wait_for_the_cap_and_say_so_at_once() {
        let mut machine = machine();
        machine.dial();
        let retry = machine.failed(FailureKind::Refused, Instant::now(), 1.0);
        assert_eq!(
            retry,
            Retry {
                after: Duration::from_secs(60),
                level: Loudness::Alarm
            }
        );
        assert_eq!(machine.state(), LinkState::Refused);
        assert!(machine.is_alarming());
    }

    #[test]
    fn a_dial_that_is_turned_down_at_once_is_repeated_soon_while_the_outage_is_young() {
        let (mut machine, start) = (machine(), Instant::now());
        let mut after = |failure, at: u64| {
            machine.dial();
            machine
                .failed(failure, start + Duration::from_secs(at), 1.0)
                .after
        };
        for at in 0..599 {
            assert!(after(FailureKind::NotThere, at) <= PROMPT, "after {at} s");
        }
        // What costs something backs off by its own count, however often it was turned down before.
        assert_eq!(after(FailureKind::Passing, 599).as_secs_f64(), 1.2);
        assert_eq!(after(FailureKind::Passing, 599).as_secs_f64(), 2.4);
        assert_eq!(after(FailureKind::NotThere, 700).as_secs(), 60);
    }

    #[test]
    fn the_alarm_sounds_at_five_failures_and_then_ever_more_seldom() {
        let mut machine = machine();
        let alarms: Vec<_> = (1..=100)
            .filter(|_| {
                machine.dial();
                machine
                    .failed(FailureKind::Passing, Instant::now(), 0.5)
                    .level
                    == Loudness::Alarm
            })
            .collect();
        assert_eq!(alarms, [5, 10, 20, 40, 80]);
    }

    proptest! {
        #[test]
        fn whatever_happens_there_is_a_next_attempt_within_the_cap(
            steps in proptest::collection::vec((0..4_u8, 0..3_u8, 0..30_u64, 0.0..1.0_f64), 1..60),
        ) {
            let (mut machine, mut now) = (machine(), Instant::now());
            let mut in_a_row = 0_u32;
            for (depth, kind, seconds, random) in steps {
                machine.dial();
                if depth > 0 {
                    machine.greeted();
                }
                if depth > 1 {
                    machine.online(now);
                }
                now += Duration::from_secs(seconds);
                let stable = depth > 1 && Duration::from_secs(seconds) >= STABLE;
                in_a_row = if stable { 1 } else { in_a_row + 1 };
                let failure = [FailureKind::Refused, FailureKind::Passing, FailureKind::NotThere][usize::from(kind)];
                let refused = failure == FailureKind::Refused;
                let retry = machine.failed(failure, now, random);
                prop_assert!(retry.after <= Backoff::default().cap);
                prop_assert!(!retry.after.is_zero());
                prop_assert_eq!(machine.failures(), in_a_row);
                prop_assert_eq!(machine.state(), if refused { LinkState::Refused } else { LinkState::Waiting });
                prop_assert_eq!(machine.is_alarming(), refused || in_a_row >= ALARM);
            }
        }
    }
}
